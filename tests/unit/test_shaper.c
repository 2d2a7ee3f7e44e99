/* What a peer sends beyond its user's rate: on a simulated clock, packets in, and what comes out of the join. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tunnel/shaper.h"

#define RATE   2000000 /* bytes a second: 16 Mbit/s */
#define TICK   1000    /* the timer's, microseconds */
#define SECOND 1000000
#define FLOWS  4
#define HEAD   28 /* IPv4 and UDP */
#define FULL   1400
#define BUDGET 65536

struct end {
    struct tunnel_shaper s;
    struct join join;
    uint64_t packets, bytes, marked;
    uint64_t of[FLOWS];     /* bytes that went on */
    uint32_t in[FLOWS];     /* packets sent */
    uint32_t out[FLOWS];    /* the number behind that of the last one that went on */
    uint64_t worst[FLOWS];  /* microseconds until it did */
    uint64_t at[FLOWS][64]; /* when the last ones were sent */
};

static struct {
    struct tunnel_bufs bufs;
    struct bucket bucket;
    struct end a, b;
    uint64_t now;
} t;

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void took(void *arg, struct iovec *iov, unsigned n, const struct offload *o)
{
    struct end *e = arg;
    const uint8_t *p = iov[1].iov_base;
    unsigned flow = p[21];
    uint32_t seq = get32(p + HEAD);
    assert_int_equal(n, 2);
    assert_int_equal(o->gso, OFFLOAD_NONE);
    assert_int_equal(iov[1].iov_len, p[2] << 8 | p[3]);
    assert_true(flow < FLOWS && seq >= e->out[flow] && seq < e->in[flow]); /* in order, and not twice */
    for (size_t i = HEAD + 4; i < iov[1].iov_len; i++)
        assert_int_equal(p[i], (uint8_t)(seq + i));
    e->out[flow] = seq + 1;
    e->packets++;
    e->bytes += iov[1].iov_len;
    e->of[flow] += iov[1].iov_len;
    e->marked += (p[1] & 3) == 3;
    uint64_t waited = t.now - e->at[flow][seq % 64];
    e->worst[flow] = waited > e->worst[flow] ? waited : e->worst[flow];
}

static void open_end(struct end *e, uint64_t rate)
{
    *e = (struct end){ .join = { .write = took, .arg = e } };
    shaper_open(&e->s, &t.bufs, &t.bucket, rate, 1400, t.now);
}

static int begin(void **state)
{
    (void)state;
    memset(&t, 0, sizeof t);
    t.now = 5 * SECOND;
    return tunnel_bufs_init(&t.bufs, 16 << 20, 64 << 20);
}

static int end(void **state)
{
    (void)state;
    shaper_fini(&t.a.s);
    shaper_fini(&t.b.s);
    int rc = t.bufs.packets.used ? -1 : 0;
    tunnel_bufs_fini(&t.bufs);
    return rc;
}

/* As the owner does with a packet that came. */
static int give(struct end *e, unsigned flow, uint32_t len, bool ect)
{
    uint8_t p[FULL] = { 0x45, ect ? 2 : 0, (uint8_t)(len >> 8), (uint8_t)len, [8] = 64, 17, [12] = 10, [16] = 10 };
    uint32_t seq = e->in[flow]++;
    p[21] = (uint8_t)flow;
    p[24] = (uint8_t)((len - 20) >> 8);
    p[25] = (uint8_t)(len - 20);
    put32(p + HEAD, seq);
    for (size_t i = HEAD + 4; i < len; i++)
        p[i] = (uint8_t)(seq + i);
    e->at[flow][seq % 64] = t.now;
    if (!shaper_lets(&e->s, len))
        return shaper_keep(&e->s, p, len, 4);
    join_add(&e->join, p, len);
    return 0;
}

static bool due(const struct end *e)
{
    return !e->s.resume_us || t.now >= e->s.resume_us;
}

/* A wake-up of e in which so many full packets of each flow in the mask come. */
static bool wake(struct end *e, unsigned flows, unsigned n, bool ect)
{
    int rc = 0;
    shaper_begin(&e->s, &e->join, BUDGET, t.now);
    for (unsigned i = 0; i < n; i++)
        for (unsigned f = 0; f < FLOWS; f++)
            if (flows >> f & 1)
                rc = give(e, f, FULL, ect);
    assert_true(rc == 0 || rc == ERR_AGAIN);
    return shaper_end(&e->s);
}

static void test_no_rate(void **state)
{
    (void)state;
    open_end(&t.a, 0);
    for (int i = 0; i < 100; i++)
        assert_false(wake(&t.a, 3, 100, false));
    assert_int_equal(t.a.packets, 20000);
    assert_null(t.a.s.fq);
    assert_int_equal(t.a.s.resume_us, 0);
}

static void test_below_the_rate_nothing_waits(void **state)
{
    (void)state;
    open_end(&t.a, RATE);
    for (int i = 0; i < 5000; i++, t.now += TICK) { /* one packet a tick is 0.7 of the rate */
        assert_false(wake(&t.a, 1, 1, false));
        assert_null(t.a.s.fq);
    }
    assert_int_equal(t.a.packets, 5000);
    assert_int_equal(t.a.worst[0], 0);
}

/* In its own wake-up, too: a call comes up with packets behind the one that said so. */
static void test_from_the_first_packet(void **state)
{
    (void)state;
    open_end(&t.a, RATE);
    for (int i = 0; i < 40; i++)
        assert_int_equal(give(&t.a, 0, FULL, false), 0);
    assert_in_range(t.a.bytes, 40000, 40000 + FULL); /* 20 ms of the rate */
    assert_false(shaper_end(&t.a.s));
    assert_true(t.a.s.resume_us > t.now && t.a.s.resume_us <= t.now + TICK);
    t.now = t.a.s.resume_us;
    (void)wake(&t.a, 0, 0, false);
    assert_in_range(t.a.bytes, 42000, 42000 + 2 * FULL);
}

/* Ten seconds of four times the rate, of somebody who heeds nothing. */
static void test_flood(void **state)
{
    (void)state;
    uint64_t most = 0;
    open_end(&t.a, RATE);
    for (int i = 0; i < 10000; i++, t.now += TICK) {
        assert_false(wake(&t.a, 1, 6, false));
        assert_true(!t.a.s.fq || !due(&t.a));
        most = t.bufs.packets.used > most ? t.bufs.packets.used : most;
    }
    assert_in_range(t.a.bytes, 10 * RATE - FULL, 10 * RATE + 40000 + 2 * FULL);
    assert_in_range(most, 0, RATE * SHAPER_QUEUE_MS / 1000 + PKTBUF_COST_MAX);
    uint32_t waiting = shaper_queued(&t.a.s) / FULL;
    assert_int_equal(t.a.in[0], t.a.packets + t.a.s.dropped.drop_full + t.a.s.dropped.drop_late + waiting);
    assert_true(t.a.s.dropped.drop_full && t.a.s.dropped.drop_late);
}

/* At the smallest rate of a user as well little waits, and whoever sends no more than a packet at a time loses none. */
static void test_slowest(void **state)
{
    (void)state;
    open_end(&t.a, 8000);
    for (int i = 0; i < 100000; i++, t.now += TICK) {
        if (due(&t.a) || t.a.out[0] == t.a.in[0])
            (void)wake(&t.a, 1, t.a.out[0] == t.a.in[0], false);
    }
    assert_int_equal(t.a.s.dropped.drop_full + t.a.s.dropped.drop_late, 0);
    assert_in_range(t.a.bytes, 100 * 8000 - 2 * FULL, 100 * 8000 + 20000 + 2 * FULL);
    for (int i = 0; i < 10; i++)
        (void)wake(&t.a, 1, 8, false);
    assert_in_range(shaper_queued(&t.a.s), 31 * FULL, 32 * FULL);
}

/* A wake-up hands on no more packets than its worker has time for. */
static void test_small_packets(void **state)
{
    (void)state;
    open_end(&t.a, 100 * RATE);
    for (int i = 0; i < 200; i++)
        (void)wake(&t.a, 1, 16, false);
    t.a.packets = 0;
    shaper_begin(&t.a.s, &t.a.join, BUDGET, t.now);
    for (int i = 0; i < 2000; i++)
        assert_int_equal(give(&t.a, 1, 64, false), 0);
    assert_false(shaper_end(&t.a.s));
    t.now += 20 * TICK;
    for (int i = 0; i < 100 && t.a.s.fq; i++) {
        uint64_t before = t.a.packets;
        (void)wake(&t.a, 0, 0, false);
        assert_true(t.a.packets - before <= SHAPER_PACKETS);
    }
    assert_int_equal(t.a.out[1], 2000);
}

static void test_little_beside_a_flood(void **state)
{
    (void)state;
    open_end(&t.a, RATE);
    for (int i = 0; i < 5000; i++, t.now += TICK) {
        shaper_begin(&t.a.s, &t.a.join, BUDGET, t.now);
        for (int n = 0; n < 6; n++)
            (void)give(&t.a, 0, FULL, false);
        if (i % 10 == 0)
            assert_int_equal(give(&t.a, 1, 100, false), 0);
        assert_false(shaper_end(&t.a.s));
    }
    assert_in_range(t.a.out[1], 499, 500);
    assert_in_range(t.a.worst[1], 0, 2 * TICK);
}

static void test_flows_get_equal_parts(void **state)
{
    (void)state;
    open_end(&t.a, RATE);
    for (int i = 0; i < 5000; i++, t.now += TICK) {
        shaper_begin(&t.a.s, &t.a.join, BUDGET, t.now);
        for (unsigned f = 0; f < 3; f++)
            for (unsigned n = 0; n < 2 * (f + 1); n++)
                (void)give(&t.a, f, FULL, false);
        assert_false(shaper_end(&t.a.s));
    }
    for (unsigned f = 0; f < 3; f++)
        assert_in_range(t.a.of[f], t.a.bytes * 30 / 100, t.a.bytes * 37 / 100);
}

static void test_marks(void **state)
{
    (void)state;
    open_end(&t.a, RATE);
    for (int i = 0; i < 200; i++, t.now += TICK)
        (void)wake(&t.a, 1, 2, true);
    assert_true(t.a.marked > 0);
    assert_int_equal(t.a.marked, t.a.s.dropped.marked);
    assert_int_equal(t.a.s.dropped.drop_late, 0);
}

/* When it was not asked for a while there is more than a budget of rate: it says that it goes on. */
static void test_budget(void **state)
{
    (void)state;
    open_end(&t.a, 100 * RATE);
    (void)wake(&t.a, 1, 4000, false);
    uint64_t before = t.a.bytes;
    t.now += 2 * TICK;
    assert_true(wake(&t.a, 1, 1, false)); /* what comes meanwhile stays behind it */
    assert_in_range(t.a.bytes - before, BUDGET - 2 * FULL, BUDGET + FULL);
    while (wake(&t.a, 0, 0, false))
        ;
    assert_in_range(t.a.bytes - before, 2 * RATE * 100 / 1000 - FULL, 2 * RATE * 100 / 1000 + BUDGET);
}

static void test_two_share(void **state)
{
    (void)state;
    open_end(&t.a, RATE);
    open_end(&t.b, RATE);
    for (int i = 0; i < 10000; i++, t.now += TICK) {
        if (due(&t.a))
            (void)wake(&t.a, 1, 8, false);
        if (due(&t.b))
            (void)wake(&t.b, 3, 4, false);
    }
    uint64_t all = t.a.bytes + t.b.bytes;
    assert_in_range(all, 10 * RATE - 4 * FULL, 10 * RATE + 40000 + 8 * FULL);
    assert_in_range(t.a.bytes, all * 45 / 100, all * 55 / 100);
}

/* One that has nothing to send does not wait for what another took: it has its first packets at once. */
static void test_who_took_nothing_owes_nothing(void **state)
{
    (void)state;
    open_end(&t.a, RATE);
    open_end(&t.b, RATE);
    (void)wake(&t.a, 1, 100, false);
    assert_true(t.a.s.resume_us > t.now);
    (void)wake(&t.b, 0, 0, false);
    (void)wake(&t.b, 1, 1, false);
    assert_int_equal(t.b.packets, 1);
}

static void test_no_memory(void **state)
{
    (void)state;
    open_end(&t.a, RATE);
    t.bufs.packets.max = 0;
    shaper_begin(&t.a.s, &t.a.join, BUDGET, t.now);
    while (shaper_lets(&t.a.s, FULL))
        ;
    assert_int_equal(give(&t.a, 0, FULL, false), ERR_NOMEM);
    assert_false(shaper_end(&t.a.s));
    assert_null(t.a.s.fq);
    assert_int_equal(t.a.s.resume_us, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_rate, begin, end),
        cmocka_unit_test_setup_teardown(test_below_the_rate_nothing_waits, begin, end),
        cmocka_unit_test_setup_teardown(test_from_the_first_packet, begin, end),
        cmocka_unit_test_setup_teardown(test_flood, begin, end),
        cmocka_unit_test_setup_teardown(test_slowest, begin, end),
        cmocka_unit_test_setup_teardown(test_small_packets, begin, end),
        cmocka_unit_test_setup_teardown(test_little_beside_a_flood, begin, end),
        cmocka_unit_test_setup_teardown(test_flows_get_equal_parts, begin, end),
        cmocka_unit_test_setup_teardown(test_marks, begin, end),
        cmocka_unit_test_setup_teardown(test_budget, begin, end),
        cmocka_unit_test_setup_teardown(test_two_share, begin, end),
        cmocka_unit_test_setup_teardown(test_who_took_nothing_owes_nothing, begin, end),
        cmocka_unit_test_setup_teardown(test_no_memory, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
