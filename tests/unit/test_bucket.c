/*
 * The token bucket: its rate in the long run, what it lets go at once, its debts; several who take from one, also on
 * threads of their own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <pthread.h>

#include "ip/bucket.h"

#define SECOND   1000000ULL
#define RATE_MAX (1ULL << 40)

static uint64_t burst(uint64_t rate)
{
    uint64_t n = rate * BUCKET_BURST_US / SECOND;
    return n > BUCKET_BURST_MIN ? n : BUCKET_BURST_MIN;
}

static void test_no_limit(void **state)
{
    (void)state;
    struct bucket_tap t;
    bucket_open(&t, NULL, 0);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(bucket_wait_us(&t, 5), 0);
        assert_int_equal(bucket_left(&t, 5), UINT32_MAX);
        bucket_take(&t, UINT32_MAX, 5);
    }
}

static void test_full_then_empty(void **state)
{
    (void)state;
    struct bucket b = { 0 };
    struct bucket_tap t;
    bucket_open(&t, &b, 10 * SECOND); /* ten bytes a microsecond */
    assert_int_equal(bucket_left(&t, 7), 200000);
    bucket_take(&t, 180000, 7);
    assert_int_equal(bucket_left(&t, 7), 20000);
    bucket_take(&t, 19990, 7);
    assert_int_equal(bucket_left(&t, 7), 10001); /* a turn, which makes a debt */
    assert_int_equal(bucket_wait_us(&t, 7), 0);
    bucket_take(&t, 1410, 7);
    assert_int_equal(bucket_left(&t, 7), 0);
    assert_int_equal(bucket_wait_us(&t, 7), 140); /* 1400 of debt */
    assert_int_equal(bucket_wait_us(&t, 7 + 139), 1);
    assert_int_equal(bucket_left(&t, 7 + 139), 0);
    assert_int_equal(bucket_wait_us(&t, 7 + 140), 0);
    assert_int_equal(bucket_left(&t, 7 + 140), 10001);
    assert_int_equal(bucket_left(&t, 7 + 1140), 10001);
    assert_int_equal(bucket_left(&t, 7 + 1240), 11000);
}

static void test_small_rate_still_lets_packets_go(void **state)
{
    (void)state;
    struct bucket b = { 0 };
    struct bucket_tap t;
    bucket_open(&t, &b, 1); /* a byte a second */
    assert_int_equal(bucket_left(&t, 0), BUCKET_BURST_MIN);
    bucket_take(&t, BUCKET_BURST_MIN + 1, 0);
    assert_int_equal(bucket_wait_us(&t, 0), SECOND);
    assert_int_equal(bucket_wait_us(&t, 1), SECOND - 1);
    assert_int_equal(bucket_wait_us(&t, SECOND - 1), 1);
    assert_int_equal(bucket_wait_us(&t, SECOND), 0);
}

/* Asked at odd moments and for odd sizes, for simulated minutes: what went is the rate's, but for what may go at once.
 */
static void check_rate(uint64_t rate, unsigned seed)
{
    struct bucket b = { 0 };
    struct bucket_tap t;
    uint64_t now = 123456789, begin = now, sent = 0, rounded = 0;
    srand(seed);
    bucket_open(&t, &b, rate);
    bucket_take(&t, (uint32_t)burst(rate), now); /* level 0 from here */
    while (now - begin < 300 * SECOND) {
        uint64_t wait = bucket_wait_us(&t, now);
        if (wait) {
            assert_int_equal(bucket_wait_us(&t, now + wait - 1),
                             1); /* asking changes nothing, and it was the soonest */
            now += wait;
            assert_int_equal(bucket_wait_us(&t, now), 0);
            continue;
        }
        uint32_t len = (uint32_t)(40 + rand() % 1361) * (rate > 100000000 ? 40 : 1);
        bucket_take(&t, len, now);
        sent += len;
        rounded += rate; /* a nanosecond's, in 10^9th of a byte */
        uint64_t most = (now - begin) / SECOND * rate + (now - begin) % SECOND * rate / SECOND;
        assert_true(sent <= most + len);
        assert_true(sent + 1 + rounded / 1000000000 >= most); /* always asked in time: nothing else was lost */
    }
    assert_true(sent > 0);
}

static void test_rate_is_exact(void **state)
{
    (void)state;
    const uint64_t rates[] = { 125, 1001, 7777, 125000, 999983, 6250000, 33333333, 125000000, 1250000001 };
    for (unsigned i = 0; i < sizeof rates / sizeof *rates; i++)
        check_rate(rates[i], i);
}

/* Refilled each microsecond by less than a byte. */
static void test_fractions_add_up(void **state)
{
    (void)state;
    struct bucket b = { 0 };
    struct bucket_tap t;
    bucket_open(&t, &b, 333333);
    bucket_take(&t, BUCKET_BURST_MIN, 0);
    for (uint64_t now = 100; now < 50000; now++) {
        uint64_t want = now * 333333 / SECOND, turn = 334; /* as long as that is more */
        assert_in_range(bucket_left(&t, now), want < turn ? turn : want - 1, want < turn ? turn : want);
    }
}

static void test_burst_is_bounded(void **state)
{
    (void)state;
    const uint64_t rates[] = { 1, 125, 1000000, 125000000, RATE_MAX };
    const uint64_t idle[] = { 30000 * SECOND, 1ULL << 40, 1ULL << 53 };
    for (unsigned i = 0; i < sizeof rates / sizeof *rates; i++)
        for (unsigned k = 0; k < sizeof idle / sizeof *idle; k++) {
            struct bucket b = { 0 };
            struct bucket_tap t;
            uint64_t want = burst(rates[i]) < UINT32_MAX ? burst(rates[i]) : UINT32_MAX;
            bucket_open(&t, &b, rates[i]);
            bucket_take(&t, BUCKET_BURST_MIN, 0);
            assert_int_equal(bucket_left(&t, idle[k]), want);
            bucket_take(&t, (uint32_t)want, idle[k]);
            assert_true(rates[i] == RATE_MAX || bucket_left(&t, idle[k]) <= rates[i] / 1000 + 1);
        }
}

static void test_extremes(void **state)
{
    (void)state;
    struct bucket b = { 0 }, slow = { 0 };
    struct bucket_tap t;
    bucket_open(&t, &b, UINT64_MAX); /* taken as the most there is */
    assert_true(t.rate == RATE_MAX);
    assert_int_equal(bucket_left(&t, 0), UINT32_MAX);
    for (int i = 0; i < 7; i++)
        bucket_take(&t, UINT32_MAX, 0);
    assert_true(bucket_wait_us(&t, 0) > 0 && bucket_wait_us(&t, 0) < 10000);
    for (uint64_t now = 1; now < 1ULL << 53; now <<= 1)
        (void)bucket_left(&t, now);
    assert_int_equal(bucket_wait_us(&t, 1ULL << 53), 0);

    bucket_open(&t, &slow, 1);
    for (int i = 0; i < 1000000; i++)
        bucket_take(&t, UINT32_MAX, 0);
    assert_int_equal(bucket_wait_us(&t, 0), 3600 * SECOND); /* a debt without end is an hour's */
}

static void test_clock_that_stands(void **state)
{
    (void)state;
    struct bucket b = { 0 };
    struct bucket_tap t;
    bucket_open(&t, &b, 1000000);
    bucket_take(&t, 30000, 1000);
    assert_int_equal(bucket_wait_us(&t, 1000), 10000);
    assert_int_equal(bucket_wait_us(&t, 500), 10500); /* an earlier time gives nothing and takes nothing */
    assert_int_equal(bucket_wait_us(&t, 1000), 10000);
}

/* What each of several got in 20 seconds; who does not want anything is left out (a bit in `idle`). */
static void share(unsigned takers, unsigned idle, uint64_t rate, uint64_t got[])
{
    struct bucket b = { 0 };
    struct bucket_tap t[8];
    uint64_t begin = 1000, all = 0;
    for (unsigned i = 0; i < takers; i++) {
        got[i] = 0;
        bucket_open(&t[i], &b, rate);
    }
    for (uint64_t now = begin; now < begin + 20 * SECOND; now += 100) {
        for (unsigned i = 0; i < takers; i++) {
            uint32_t left = (idle >> i & 1) || bucket_wait_us(&t[i], now) ? 0 : bucket_left(&t[i], now);
            if (!left)
                continue;
            left = left < 1400 ? 1400 : left < 65536 ? left : 65536; /* a packet, or a turn */
            bucket_take(&t[i], left, now);
            got[i] += left;
            all += left;
        }
        assert_true(all <= burst(rate) + (now - begin) * rate / SECOND + takers * (rate / 1000 + 1400));
    }
    assert_true(all >= 20 * rate * 99 / 100);
}

/* All together have the rate, each the same part, and one alone has all. */
static void test_shared(void **state)
{
    (void)state;
    static const uint64_t rates[] = { 8000, 125000, 5000000, 125000000 };
    uint64_t got[8];
    for (size_t r = 0; r < sizeof rates / sizeof *rates; r++)
        for (unsigned takers = 1; takers <= 8; takers *= 2) {
            share(takers, 0, rates[r], got);
            for (unsigned i = 0; i < takers; i++)
                assert_in_range(got[i], 20 * rates[r] / takers * 8 / 10,
                                20 * rates[r] / takers * 12 / 10 + burst(rates[r]));
            share(takers, ((1U << takers) - 1) & ~1U, rates[r], got);
            assert_true(got[0] >= 20 * rates[r] * 99 / 100);
        }
}

enum { THREADS = 4, TAKES = 200000 };

static void *takes(void *arg)
{
    struct bucket_tap t;
    bucket_open(&t, arg, 1000000); /* a microsecond a byte */
    for (int i = 0; i < TAKES; i++)
        bucket_take(&t, 1 + i % 3, 1);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct bucket b = { 0 };
    struct bucket_tap t;
    pthread_t thread[THREADS];
    uint64_t each = 0;
    for (int i = 0; i < TAKES; i++)
        each += 1 + i % 3;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, takes, &b), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    bucket_open(&t, &b, 1000000);
    bucket_take(&t, 1, 1);
    assert_int_equal(bucket_wait_us(&t, 1), THREADS * each + 1 - BUCKET_BURST_MIN); /* nobody's was lost */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_limit),
        cmocka_unit_test(test_full_then_empty),
        cmocka_unit_test(test_small_rate_still_lets_packets_go),
        cmocka_unit_test(test_rate_is_exact),
        cmocka_unit_test(test_fractions_add_up),
        cmocka_unit_test(test_burst_is_bounded),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_clock_that_stands),
        cmocka_unit_test(test_shared),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
