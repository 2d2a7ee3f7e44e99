#include "load_echo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/wr.h"
#include "ip/checksum.h"
#include "sstp/msg.h"
#include "tool.h"

enum { FRAME_HDR = 8, IP_HDR = 20, ICMP = 8 + 56, ICMP_ECHO = 8, ICMP_ANSWER = 0, PROTOCOL_ICMP = 1 };

void echo_init(struct echo *e, const struct call *calls, unsigned n)
{
    *e = (struct echo){ .calls = calls, .n = n };
    e->sent_ns = calloc(n, sizeof *e->sent_ns);
    e->ms = calloc(n, sizeof *e->ms);
    if (!e->sent_ns || !e->ms)
        tool_die("out of memory");
}

void echo_fini(struct echo *e)
{
    free(e->sent_ns);
    free(e->ms);
}

void echo_begin(struct echo *e, uint32_t to)
{
    e->round++;
    e->to = to;
    e->sent = e->got = 0;
    memset(e->sent_ns, 0, e->n * sizeof *e->sent_ns);
}

static void put_sum(uint8_t *at, const uint8_t *from, size_t n)
{
    uint16_t sum = (uint16_t)~checksum_fold(checksum_add(0, from, n));
    memcpy(at, &sum, sizeof sum);
}

void echo_send(struct echo *e, struct call *c)
{
    static const uint8_t payload[ICMP - 8];
    uint8_t buf[FRAME_HDR + IP_HDR + ICMP];
    struct wr w = wr_make(buf, sizeof buf);
    unsigned index = (unsigned)(c - e->calls);
    wr_room(&w, SSTP_HDR_LEN);
    wr_u32(&w, 0xff030021);
    wr_u16(&w, 0x4500);
    wr_u16(&w, IP_HDR + ICMP);
    wr_u32(&w, 0x00004000); /* id, do not fragment */
    wr_u8(&w, 64);
    wr_u8(&w, PROTOCOL_ICMP);
    wr_u16(&w, 0);
    wr_u32(&w, c->ip4);
    wr_u32(&w, e->to);
    wr_u8(&w, ICMP_ECHO);
    wr_u8(&w, 0);
    wr_u16(&w, 0);
    wr_u16(&w, (uint16_t)index);
    wr_u16(&w, e->round);
    wr_bytes(&w, payload, sizeof payload);
    sstp_data_hdr(buf, sizeof buf - SSTP_HDR_LEN);
    put_sum(buf + FRAME_HDR + 10, buf + FRAME_HDR, IP_HDR);
    put_sum(buf + FRAME_HDR + IP_HDR + 2, buf + FRAME_HDR + IP_HDR, ICMP);
    e->sent_ns[index] = tool_now_ns();
    e->sent++;
    call_send(c, buf, sizeof buf);
    call_flush(c);
}

void echo_input(void *arg, struct call *c, struct rd packet)
{
    struct echo *e = arg;
    unsigned index = (unsigned)(c - e->calls);
    uint8_t protocol = 0, type = 0xff;
    uint16_t id = 0, round = 0;
    if (!rd_skip(&packet, 9) || !rd_u8(&packet, &protocol) || !rd_skip(&packet, 10) || !rd_u8(&packet, &type) ||
        !rd_skip(&packet, 3) || !rd_u16(&packet, &id) || !rd_u16(&packet, &round))
        return;
    if (protocol != PROTOCOL_ICMP || type != ICMP_ANSWER || id != index || round != e->round || !e->sent_ns[index])
        return;
    e->ms[e->got++] = (double)(tool_now_ns() - e->sent_ns[index]) / 1e6;
    e->sent_ns[index] = 0;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static double part(const struct echo *e, unsigned percent)
{
    size_t at = (size_t)e->got * percent / 100;
    return e->got ? e->ms[at < e->got ? at : e->got - 1] : 0;
}

void echo_report(struct echo *e)
{
    qsort(e->ms, e->got, sizeof *e->ms, by_value);
    printf("{\"sent\": %u, \"lost\": %u, \"p50_ms\": %.2f, \"p99_ms\": %.2f, \"max_ms\": %.2f}\n", e->sent,
           e->n - e->got, part(e, 50), part(e, 99), part(e, 100));
    fflush(stdout);
}
