/*
 * The queues of a call in front of a line of 50 Mbit/s, with simple models of those who send: TCP that slows by half
 * when it learns of a loss or a mark, UDP that does not care, and somebody who only wants to know whether we are there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ip/fq.h"

#include "fqtest.h"

#define LINE_BPS 50000000ULL
#define RTT_US   20000 /* but for our queue */
#define RTO_US   300000
#define ACKS     4096
#define SOURCES  8
#define WAITS    400000

struct tcp {
    bool ect;
    double cwnd, ssthresh; /* packets */
    uint32_t next, expected, in_flight;
    uint64_t slow_until, heard_at; /* once in a round trip */
};

static struct line {
    struct pktbuf_pool pool;
    struct fq_counts counts;
    struct fq fq;
    uint64_t now, ns; /* of the clock: microseconds, and what is less */
    struct tcp tcp[SOURCES];
    unsigned n_tcp;
    uint64_t bytes[SOURCES + 2]; /* sent, by flow */
    struct {
        uint64_t at;
        struct fqtest_sent s;
    } ack[ACKS];
    unsigned ack_in, ack_out;
    uint32_t *waits;
    unsigned n_waits;
    uint64_t ping_worst;
} * line;

enum { FLOOD = SOURCES, PING = SOURCES + 1 };

static int begin(void **state)
{
    (void)state;
    line = calloc(1, sizeof *line);
    if (!line || !(line->waits = malloc(WAITS * sizeof *line->waits)))
        return -1;
    line->pool.max = 64 << 20;
    line->now = 1000;
    fq_init(&line->fq, &line->pool, &line->counts, FQTEST_MTU, 4 << 20);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fq_fini(&line->fq);
    int rc = line->pool.used ? -1 : 0;
    pktbuf_pool_fini(&line->pool);
    free(line->waits);
    free(line);
    return rc;
}

static void tcp_start(unsigned n, bool ect)
{
    line->n_tcp = n;
    for (unsigned i = 0; i < n; i++)
        line->tcp[i] = (struct tcp){ .ect = ect, .cwnd = 10, .ssthresh = 1e9, .heard_at = line->now };
}

static void tcp_slow(struct tcp *t)
{
    if (line->now < t->slow_until)
        return;
    t->cwnd = t->cwnd > 4 ? t->cwnd / 2 : 2;
    t->ssthresh = t->cwnd;
    t->slow_until = line->now + RTT_US;
}

static void tcp_ack(struct tcp *t, const struct fqtest_sent *s)
{
    uint32_t gone = (s->seq - t->expected + s->payload) / FQTEST_MSS;
    if (s->seq != t->expected || s->ce)
        tcp_slow(t);
    else
        t->cwnd += t->cwnd < t->ssthresh ? 1 : 1 / t->cwnd;
    t->in_flight -= gone < t->in_flight ? gone : t->in_flight;
    t->expected = s->seq + s->payload;
    t->heard_at = line->now;
}

/* Gives the kernel's way: as much as the window lets go, in one super-packet of up to ten. */
static void tcp_send(unsigned flow)
{
    struct tcp *t = &line->tcp[flow];
    if (t->in_flight && line->now - t->heard_at > RTO_US) { /* the last ones were lost */
        *t = (struct tcp){ .ect = t->ect, .cwnd = 2, .ssthresh = t->cwnd / 2, .next = t->next, .expected = t->next };
        t->heard_at = line->now;
    }
    while (t->in_flight + 1 <= t->cwnd) {
        uint32_t n = (uint32_t)t->cwnd - t->in_flight;
        n = n > 10 ? 10 : n;
        struct pktbuf *b = fqtest_packet(&line->pool, flow, t->next, n * FQTEST_MSS, t->ect);
        assert_non_null(b);
        (void)fq_put(&line->fq, b, line->now);
        t->next += n * FQTEST_MSS;
        t->in_flight += n;
    }
}

/* One packet, or a moment without one. */
static void line_step(void)
{
    struct fqtest_sent s = { 0 };
    while (line->ack_out != line->ack_in && line->ack[line->ack_out % ACKS].at <= line->now) {
        const struct fqtest_sent *a = &line->ack[line->ack_out++ % ACKS].s;
        tcp_ack(&line->tcp[a->flow], a);
    }
    for (unsigned i = 0; i < line->n_tcp; i++)
        tcp_send(i);
    if (!fqtest_send(&line->fq, line->now, 0, &s)) {
        line->now += 20;
        return;
    }
    line->ns += s.len * 8 * 1000000000ULL / LINE_BPS;
    line->now += line->ns / 1000;
    line->ns %= 1000;
    line->bytes[s.flow] += s.len;
    if (s.flow == PING && s.waited_us > line->ping_worst)
        line->ping_worst = s.waited_us;
    if (s.flow >= SOURCES)
        return;
    line->ack[line->ack_in % ACKS].at = line->now + RTT_US;
    line->ack[line->ack_in++ % ACKS].s = s;
    assert_true(line->ack_in - line->ack_out <= ACKS);
    if (line->n_waits < WAITS)
        line->waits[line->n_waits++] = (uint32_t)s.waited_us;
}

static void forget(void)
{
    line->n_waits = 0;
    line->ping_worst = 0;
    memset(line->bytes, 0, sizeof line->bytes);
}

static int by_size(const void *a, const void *b)
{
    uint32_t x, y;
    memcpy(&x, a, 4);
    memcpy(&y, b, 4);
    return x < y ? -1 : x > y;
}

static uint32_t percentile(unsigned p)
{
    qsort(line->waits, line->n_waits, sizeof *line->waits, by_size);
    return line->waits[(uint64_t)line->n_waits * p / 100];
}

/* Twenty seconds, of which the first four are for finding the rate. */
static void check_tcp(unsigned n, bool ect)
{
    const uint64_t seconds = 16;
    uint64_t all = 0;
    tcp_start(n, ect);
    uint64_t stop = line->now + 4000000;
    while (line->now < stop)
        line_step();
    forget();
    stop = line->now + seconds * 1000000;
    while (line->now < stop)
        line_step();
    for (unsigned i = 0; i < n; i++)
        all += line->bytes[i];
    printf("# %u TCP, %s: half wait %u us, 99 of 100 %u us; %.1f Mbit/s; marked %u, late %u, full %u\n", n,
           ect ? "ECN" : "no ECN", percentile(50), percentile(99), (double)all * 8 / 1e6 / (double)seconds,
           (unsigned)line->counts.marked, (unsigned)line->counts.drop_late, (unsigned)line->counts.drop_full);
    assert_in_range(percentile(50), 0, 2 * CODEL_TARGET_US);
    assert_in_range(percentile(99), 0, 4 * CODEL_TARGET_US);
    assert_true(all * 8 > LINE_BPS * seconds * 85 / 100); /* and the line is not left idle for it */
    assert_int_equal(line->counts.drop_full, 0);
    assert_true(ect ? line->counts.marked && !line->counts.drop_late : line->counts.drop_late && !line->counts.marked);
    for (unsigned i = 0; i < n; i++)
        assert_true(line->bytes[i] > all / n / 2);
}

static void test_tcp(void **state)
{
    const unsigned n[] = { 1, 4, 8 };
    for (unsigned i = 0; i < 6; i++) {
        if (i) {
            end(state);
            begin(state);
        }
        check_tcp(n[i / 2], i % 2);
    }
}

/* Ten times what the line carries, of packets of this size. The others do not feel it. */
static void check_flood(uint32_t payload)
{
    uint64_t next_flood = line->now, next_ping = line->now, stop = line->now + 10000000,
             forget_at = line->now + 2000000;
    uint32_t seq = 0, pings = 0;
    tcp_start(2, false);
    while (line->now < stop) {
        if (forget_at && line->now > forget_at) {
            forget();
            forget_at = 0;
        }
        for (; next_flood < line->now; next_flood += (payload + 40) * 8 * 1000000ULL / LINE_BPS / 10 + 1) {
            (void)fq_put(&line->fq, fqtest_packet(&line->pool, FLOOD, seq, payload, false), next_flood);
            seq += payload;
        }
        for (; next_ping < line->now; next_ping += 5000) /* comes while the line is busy with another */
            assert_true(fq_put(&line->fq, fqtest_packet(&line->pool, PING, pings++, 56, false), next_ping));
        line_step();
        assert_true(line->pool.used <= 4 << 20);
    }
    uint64_t all = line->bytes[0] + line->bytes[1] + line->bytes[FLOOD];
    printf(
        "# flood of %u bytes: the worst ping waited %u us, TCP waits %u us, has %u of 100; dropped full %u late %u\n",
        payload + 40, (unsigned)line->ping_worst, percentile(99),
        (unsigned)((line->bytes[0] + line->bytes[1]) * 100 / all), (unsigned)line->counts.drop_full,
        (unsigned)line->counts.drop_late);
    assert_in_range(line->ping_worst, 0, 999);
    assert_in_range(pings, 2000, 2001);
    assert_true(line->bytes[PING] / 96 > 1500);
    assert_in_range(percentile(99), 0, 10 * CODEL_TARGET_US);
    assert_in_range((line->bytes[0] + line->bytes[1]) * 100 / all, 55, 70); /* two flows of three */
    assert_true(line->counts.drop_full > 1000);
}

static void test_flood(void **state)
{
    (void)state;
    check_flood(FQTEST_MSS);
}

static void test_flood_of_small_ones(void **state)
{
    (void)state;
    check_flood(60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tcp, begin, end),
        cmocka_unit_test_setup_teardown(test_flood, begin, end),
        cmocka_unit_test_setup_teardown(test_flood_of_small_ones, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
