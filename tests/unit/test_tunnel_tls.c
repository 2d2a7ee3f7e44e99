/*
 * Two tunnels on one TLS connection over TCP on the loopback, both ways at once, through small socket buffers that cut
 * every write somewhere. What comes out must be what went in, packet by packet, in order; the owner looks only when the
 * socket or the tunnel says so, as a worker does. The clock is not the machine's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>

#include "net/loop.h"
#include "tls/client.h"
#include "tlstest.h"
#include "tunneltest.h"

#define ECT 2

static struct test_cert cert;
static struct tls_cert *loaded;
static struct tls_certs *certs;
static uint32_t rnd = 1;

static int group_setup(void **state)
{
    static const struct tls_params params = { .min_version = 0x0303 };
    struct tls_rule rule;
    char err[256];
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    cert = test_cert_make(EVP_EC_gen("P-256"), "tunnel");
    loaded = test_cert_load(&cert, "cert");
    if (!loaded || tls_rule_parse("default", &rule))
        return -1;
    struct tls_cert_use use = { .cert = loaded, .rules = &rule, .n_rules = 1 };
    return tls_certs_new(&use, 1, &params, NULL, &certs, err, sizeof err);
}

static int group_teardown(void **state)
{
    (void)state;
    tls_certs_unref(certs);
    tls_cert_unref(loaded);
    test_cert_free(&cert);
    return 0;
}

/* ---- one end ---- */

struct end {
    struct rig r;
    struct reader in;
    struct tunnel_sink sink;
    uint32_t put, controls, next, next_part; /* numbers: of what was taken; of what is to come */
    uint64_t packets, marked;                /* heard */
    unsigned blocked, nothing;               /* sends that the socket stopped; reads in vain */
    bool more, readable, writable, is_blocked;
};

static void end_begin(struct end *e, int fd, struct tls_stream *tls)
{
    memset(e, 0, sizeof *e);
    rig_begin(&e->r, fd, -1, tls);
    e->readable = true;
}

/* The number says all about it. f: as it is cut; *len: one packet of it, in out, when *size is 0. */
static void nth(uint32_t number, struct flow *f, uint16_t *size, uint8_t *out, uint32_t *len)
{
    uint32_t state = number * 2 + 1;
    flow_random(&state);
    uint32_t kind = flow_below(&state, 20);
    *size = 0;
    *len = 0;
    if (kind > 1) {
        *len = ip_packet(out, kind % 2 ? 4 : 6, 64 + flow_below(&state, 1300), number, ECT);
        return;
    }
    *size = (uint16_t)(100 + flow_below(&state, 1000));
    flow_any(f, &state, flow_below(&state, 2), kind == 0, kind == 0 ? 30000 : 20 * *size);
    f->tos = (uint8_t)((f->tos & ~3) | ECT);
    if (f->payload_len <= *size)
        *size = (uint16_t)(f->payload_len - f->payload_len / 2);
}

static bool same_but_for_ecn(struct rd ip, uint8_t *want, const uint8_t *marked, uint32_t len, uint64_t *n_marked)
{
    if (rd_left(&ip) != len)
        return false;
    if (!memcmp(ip.p, want, len))
        return true;
    ++*n_marked;
    return !memcmp(ip.p, marked, len);
}

static void hear_ip(void *arg, struct rd ip)
{
    static struct flow f;
    struct end *e = arg;
    uint8_t want[2048], marked[2048];
    uint16_t size;
    uint32_t len;
    nth(e->next, &f, &size, want, &len);
    if (!size) {
        memcpy(marked, want, len);
        marked[1] |= marked[0] >> 4 == 4 ? 3 : 3 << 4;
        if (marked[0] >> 4 == 4) {
            flow_put16(marked + 10, 0);
            flow_put16(marked + 10, (uint16_t)~flow_fold(flow_sum(0, marked, 20)));
        }
        e->next++;
    } else {
        len = flow_nth(&f, size, (uint16_t)e->next_part, false, want, sizeof want);
        flow_nth(&f, size, (uint16_t)e->next_part, true, marked, sizeof marked);
        e->next_part++;
        if (e->next_part * size >= f.payload_len) {
            e->next++;
            e->next_part = 0;
        }
    }
    e->packets++;
    if (!same_but_for_ecn(ip, want, marked, len, &e->marked))
        fail_msg("packet %u.%u came out as another", e->next, e->next_part);
}

static void hear_frame(void *arg, struct rd frame)
{
    struct end *e = arg;
    struct sstp_pkt pkt = { .payload = frame };
    reader_packet(&e->in, &pkt);
}

static void hear_control(void *arg, struct rd whole)
{
    struct end *e = arg;
    assert_int_equal(rd_left(&whole), SSTP_CTL_HDR_LEN);
    e->in.controls++;
}

static void hear_walked(void *arg)
{
    (void)arg;
}

static bool hear_all(void *arg)
{
    (void)arg;
    return false;
}

static void take_nth(struct end *e, uint64_t now_us)
{
    static struct flow f;
    static uint8_t packet[OFFLOAD_PACKET_MAX];
    struct offload o = { .gso = OFFLOAD_NONE };
    uint16_t size;
    uint32_t len;
    nth(e->put++, &f, &size, packet, &len);
    if (size)
        len = flow_super(&f, size, packet, sizeof packet, &o);
    assert_int_equal(tunnel_take(&e->r.s, buf_of(&e->r, packet, len, &o), now_us), 0);
}

/* What a worker does in a turn of its loop, with its limits drawn by lot. */
static void turn(struct end *e, uint32_t last, uint64_t now_us)
{
    uint8_t echo[SSTP_CTL_HDR_LEN];
    size_t sent, bytes;
    if (e->readable || e->more) {
        int rc = tunnel_receive(&e->r.s, &e->sink, &e->more, &bytes);
        assert_true(rc == 0 || rc == ERR_AGAIN);
        assert_true(rc == ERR_AGAIN || bytes > 0);
        e->nothing += !bytes;
        e->readable = false;
    }
    for (uint32_t n = flow_below(&rnd, 20); n && e->put < last && tunnel_queued(&e->r.s) < 60000; n--)
        take_nth(e, now_us);
    if (e->put < last && !flow_below(&rnd, 16)) {
        echo_packet(echo);
        e->controls += tunnel_put(&e->r.s, echo, sizeof echo, TUNNEL_CONTROL_CAP);
    }
    if (e->is_blocked && !e->writable)
        return;
    enum tunnel_state state = tunnel_send(&e->r.s, flow_below(&rnd, 70000), now_us, &sent);
    assert_true(state != TUNNEL_DEAD && state != TUNNEL_PACED);
    assert_int_equal(state == TUNNEL_BLOCKED, tls_stream_unsent(e->r.s.tls));
    e->is_blocked = state == TUNNEL_BLOCKED;
    e->blocked += e->is_blocked;
    e->writable = false;
}

static void look(struct end *e)
{
    struct pollfd p = { e->r.fd, (short)(POLLIN | (e->is_blocked ? POLLOUT : 0)), 0 };
    assert_true(poll(&p, 1, 0) >= 0);
    e->readable = p.revents & POLLIN;
    e->writable = p.revents & POLLOUT;
}

static bool is_quiet(const struct end *e, const struct end *other, uint32_t last)
{
    return e->put == last && other->next == last && other->in.controls == e->controls && !tunnel_waits(&e->r.s);
}

/* ---- the connection ---- */

static void tcp_pair(int fd[2], int buffer)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof a;
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    assert_int_equal(setsockopt(l, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer), 0);
    assert_int_equal(bind(l, (struct sockaddr *)&a, sizeof a) | listen(l, 1), 0);
    assert_int_equal(getsockname(l, (struct sockaddr *)&a, &len), 0);
    fd[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setsockopt(fd[1], SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer), 0);
    assert_int_equal(connect(fd[1], (struct sockaddr *)&a, sizeof a), 0);
    fd[0] = accept4(l, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_true(fd[0] >= 0);
    for (int i = 0; i < 2; i++) {
        make_room(fd[i], buffer);
        setsockopt(fd[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    assert_int_equal(fcntl(fd[1], F_SETFL, O_NONBLOCK), 0);
    close(l);
}

static void shake_hands(struct tls_stream *s, struct tls_stream *c)
{
    int a = ERR_AGAIN, b = ERR_AGAIN;
    for (int i = 0; i < 1000 && (a || b); i++) {
        struct pollfd p = { tls_stream_fd(i % 2 ? s : c), POLLIN, 0 };
        if (i > 10)
            (void)poll(&p, 1, 100);
        b = b == ERR_AGAIN ? tls_stream_handshake(c) : b;
        a = a == ERR_AGAIN ? tls_stream_handshake(s) : a;
    }
    assert_int_equal(a, 0);
    assert_int_equal(b, 0);
}

static void open_both(struct end end[2], int version, int buffer, struct tls_client **client)
{
    struct tls_client_cfg cfg = { .insecure = true, .min_version = version, .max_version = version };
    char err[256];
    int fd[2];
    tcp_pair(fd, buffer);
    assert_int_equal(tls_client_new(&cfg, client, err, sizeof err), 0);
    end_begin(&end[0], fd[0], tls_stream_new(certs, fd[0], &(struct tls_where){ 0 }));
    end_begin(&end[1], fd[1], tls_stream_new_client(*client, fd[1], "tunnel", true));
    shake_hands(end[0].r.s.tls, end[1].r.s.tls);
    for (int i = 0; i < 2; i++) {
        struct end *e = &end[i];
        e->in = (struct reader){ .ip = hear_ip, .arg = e };
        e->sink = (struct tunnel_sink){ hear_control, hear_frame, hear_walked, hear_all, e };
        tunnel_up(&e->r.s, NULL, 0);
    }
}

static void both_ways(int version, int buffer, uint32_t packets)
{
    static struct end end[2];
    struct tls_client *client = NULL;
    uint64_t now_us = 1000000;
    open_both(end, version, buffer, &client);
    for (unsigned idle = 0; !is_quiet(&end[0], &end[1], packets) || !is_quiet(&end[1], &end[0], packets);
         now_us += flow_below(&rnd, 3000)) {
        uint64_t heard = end[0].packets + end[1].packets;
        for (int i = 0; i < 2; i++) {
            look(&end[i]);
            if (flow_below(&rnd, 4)) /* the other one is slow for a while */
                turn(&end[i], packets, now_us);
        }
        idle = heard == end[0].packets + end[1].packets ? idle + 1 : 0;
        if (idle > 1000) { /* the machine is busy, or nobody told that there is more */
            struct pollfd p[2] = { { end[0].r.fd, POLLIN, 0 }, { end[1].r.fd, POLLIN, 0 } };
            (void)poll(p, 2, 10);
        }
        assert_true(idle < 3000);
    }
    for (int i = 0; i < 2; i++) {
        assert_true(end[i].blocked > packets / 100);
        assert_int_equal(end[i].packets, end[1 - i].r.s.packets);
        assert_int_equal(end[i].r.s.dropped.drop_full + end[i].r.s.dropped.drop_late, 0);
        assert_int_equal(end[i].marked, end[1 - i].r.s.dropped.marked);
        assert_idle(&end[i].r);
        rig_close(&end[i].r);
    }
    tls_client_free(client);
}

static void test_tls12(void **state)
{
    (void)state;
    both_ways(0x0303, 4096, 5000);
    both_ways(0x0303, 16384, 5000);
}

static void test_tls13(void **state)
{
    (void)state;
    both_ways(0x0304, 4096, 5000);
    both_ways(0x0304, 16384, 5000);
}

/* Many small records, read from the socket at once: nobody is told by the socket of those that are left. */
static void test_more(void **state)
{
    (void)state;
    enum { N = 5 * TUNNEL_RX_RECORDS + 1 };
    static struct end end[2];
    static const int versions[] = { 0x0303, 0x0304 };
    for (int v = 0; v < 2; v++) {
        struct tls_client *client = NULL;
        size_t sent, bytes;
        open_both(end, versions[v], 1 << 18, &client);
        while (end[0].put < N) {
            static const struct offload none = { .gso = OFFLOAD_NONE };
            uint8_t packet[100];
            ip_packet(packet, 4, sizeof packet, end[0].put++, 0);
            assert_int_equal(tunnel_take(&end[0].r.s, buf_of(&end[0].r, packet, sizeof packet, &none), 1000000), 0);
            assert_int_equal(tunnel_send(&end[0].r.s, 1, 1000000, &sent), TUNNEL_EMPTY);
        }
        end[1].in.ip = NULL;
        for (unsigned i = 0; end[1].in.packets < N; i++) {
            struct pollfd p = { end[1].r.fd, POLLIN, 0 };
            assert_true(end[1].more || poll(&p, 1, 5000) == 1);
            int rc = tunnel_receive(&end[1].r.s, &end[1].sink, &end[1].more, &bytes);
            assert_true(rc == 0 || rc == ERR_AGAIN);
            assert_true(i < 100 && bytes <= TUNNEL_RX_RECORDS * 108);
        }
        if (end[1].more) /* the last record ended a batch */
            assert_int_equal(tunnel_receive(&end[1].r.s, &end[1].sink, &end[1].more, &bytes), ERR_AGAIN);
        assert_false(end[1].more);
        for (int i = 0; i < 2; i++) {
            assert_idle(&end[i].r);
            rig_close(&end[i].r);
        }
        tls_client_free(client);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls12),
        cmocka_unit_test(test_tls13),
        cmocka_unit_test(test_more),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
