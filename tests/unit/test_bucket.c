/* The token bucket: its rate in the long run to the byte, what it lets go at once, its debts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

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
    struct bucket b;
    bucket_init(&b, 0, 5);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(bucket_wait_us(&b, 5), 0);
        assert_int_equal(bucket_left(&b, 5), UINT32_MAX);
        bucket_take(&b, UINT32_MAX);
    }
}

static void test_full_then_empty(void **state)
{
    (void)state;
    struct bucket b;
    bucket_init(&b, 10 * SECOND, 7); /* ten bytes a microsecond */
    assert_int_equal(bucket_left(&b, 7), 200000);
    bucket_take(&b, 199999);
    assert_int_equal(bucket_wait_us(&b, 7), 0); /* one byte is left: the next packet goes */
    bucket_take(&b, 1401);
    assert_int_equal(bucket_left(&b, 7), 0);
    assert_int_equal(bucket_wait_us(&b, 7), 141); /* 1400 of debt, and one byte more */
    assert_int_equal(bucket_wait_us(&b, 7 + 140), 1);
    assert_int_equal(bucket_wait_us(&b, 7 + 141), 0);
    assert_int_equal(bucket_left(&b, 7 + 141), 10);
}

static void test_small_rate_still_lets_packets_go(void **state)
{
    (void)state;
    struct bucket b;
    bucket_init(&b, 1, 0); /* a byte a second */
    assert_int_equal(bucket_left(&b, 0), BUCKET_BURST_MIN);
    bucket_take(&b, BUCKET_BURST_MIN);
    assert_int_equal(bucket_wait_us(&b, 0), SECOND);
    assert_int_equal(bucket_wait_us(&b, 1), SECOND - 1);
    assert_int_equal(bucket_wait_us(&b, SECOND - 1), 1);
    assert_int_equal(bucket_wait_us(&b, SECOND), 0);
}

/* Asked at odd moments and for odd sizes, for simulated minutes: what went is the rate's, but for what may go at once.
 */
static void check_rate(uint64_t rate, unsigned seed)
{
    struct bucket b;
    uint64_t now = 123456789, begin = now, sent = 0;
    srand(seed);
    bucket_init(&b, rate, now);
    bucket_take(&b, (uint32_t)burst(rate)); /* level 0 from here */
    while (now - begin < 300 * SECOND) {
        uint64_t wait = bucket_wait_us(&b, now);
        if (wait) {
            uint64_t early = now + wait - 1;
            assert_true(wait == 1 ||
                        bucket_wait_us(&b, early) == 1); /* asking changes nothing, and it was the soonest */
            now += wait;
            assert_int_equal(bucket_wait_us(&b, now), 0);
            continue;
        }
        uint32_t len = (uint32_t)(40 + rand() % 1361) * (rate > 100000000 ? 40 : 1);
        bucket_take(&b, len);
        sent += len;
        uint64_t most = (now - begin) / SECOND * rate + (now - begin) % SECOND * rate / SECOND;
        assert_true(sent <= most + len);
        assert_true(sent + 1 >= most); /* always asked in time: nothing of the rate was lost to rounding */
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
    struct bucket b;
    bucket_init(&b, 333333, 0);
    bucket_take(&b, BUCKET_BURST_MIN);
    for (uint64_t now = 1; now < 50000; now++)
        assert_int_equal(bucket_left(&b, now), now * 333333 / SECOND);
}

static void test_burst_is_bounded(void **state)
{
    (void)state;
    const uint64_t rates[] = { 1, 125, 1000000, 125000000, RATE_MAX };
    const uint64_t idle[] = { 30000 * SECOND, (1ULL << 24) * SECOND /* of 2^40 bytes: 2^64 */, 1ULL << 40, 1ULL << 62,
                              UINT64_MAX };
    for (unsigned i = 0; i < sizeof rates / sizeof *rates; i++)
        for (unsigned k = 0; k < sizeof idle / sizeof *idle; k++) {
            struct bucket b;
            uint64_t want = burst(rates[i]) < UINT32_MAX ? burst(rates[i]) : UINT32_MAX;
            bucket_init(&b, rates[i], 0);
            bucket_take(&b, BUCKET_BURST_MIN);
            assert_int_equal(bucket_left(&b, idle[k]), want);
            bucket_take(&b, BUCKET_BURST_MIN + 1500);
            assert_true(b.level == (int64_t)(burst(rates[i]) - BUCKET_BURST_MIN - 1500));
        }
}

static void test_extremes(void **state)
{
    (void)state;
    struct bucket b;
    bucket_init(&b, UINT64_MAX, 0); /* taken as the most there is */
    assert_true(b.rate == RATE_MAX);
    assert_int_equal(bucket_left(&b, 0), UINT32_MAX);
    for (int i = 0; i < 6; i++)
        bucket_take(&b, UINT32_MAX);
    assert_true(bucket_wait_us(&b, 0) > 0 && bucket_wait_us(&b, 0) < 10000);
    for (uint64_t now = 1; now; now <<= 1)
        (void)bucket_left(&b, now);
    assert_int_equal(bucket_wait_us(&b, 1ULL << 63), 0);

    bucket_init(&b, 1, 0);
    for (int i = 0; i < 1000000; i++)
        bucket_take(&b, UINT32_MAX);
    assert_true(bucket_wait_us(&b, 0) > 1000000 * SECOND); /* a debt without end is still a time */
    assert_true(b.level >= -(1LL << 41));
}

static void test_clock_that_stands(void **state)
{
    (void)state;
    struct bucket b;
    bucket_init(&b, 1000000, 1000);
    bucket_take(&b, 30000);
    uint64_t wait = bucket_wait_us(&b, 1000);
    assert_int_equal(wait, 10001);
    assert_int_equal(bucket_wait_us(&b, 500), wait); /* an earlier time gives nothing and takes nothing */
    assert_int_equal(bucket_wait_us(&b, 1000), wait);
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
