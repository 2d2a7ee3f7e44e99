/* How long one that waits for its handshake takes, and when a list is too long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/handshakes.h"

#define MS UINT64_C(1000000)

static void test_unknown(void **state)
{
    (void)state;
    struct pace p = { 0 };
    assert_false(pace_too_long(&p, HANDSHAKES_MAX - 1, 1));
    assert_true(pace_too_long(&p, HANDSHAKES_MAX, UINT64_C(1) << 40));
}

static uint64_t each_ns(const struct pace *p)
{
    return p->time_ns * PACE_STEP / p->steps;
}

static void test_some_steps_tell(void **state)
{
    (void)state;
    struct pace p = { 0 };
    pace_turn(&p, 70 * MS, 110 * MS, 8, 500); /* 5 ms each: a quarter of 2 s is enough for 100 */
    assert_false(pace_too_long(&p, 100, 2000));
    assert_true(pace_too_long(&p, 101, 2000));
    assert_false(pace_too_long(&p, 500, 10000));
}

static void test_one_slow_step_does_not(void **state)
{
    (void)state;
    struct pace p = { 0 };
    pace_turn(&p, 70 * MS, 270 * MS, 1, 500); /* the processor was somebody else's */
    assert_false(pace_too_long(&p, 500, 2000));
    for (int i = 0; i < 20; i++)
        pace_turn(&p, p.since_ns, p.since_ns + 200 * MS, 1, 500); /* it is slow */
    assert_true(pace_too_long(&p, 500, 2000));
}

static void test_turns_count_by_their_steps(void **state)
{
    (void)state;
    struct pace p = { 0 };
    pace_turn(&p, 0, MS, 4, 300);
    for (int i = 0; i < 100; i++) {
        pace_turn(&p, p.since_ns, p.since_ns + MS, 4, 300);
        pace_turn(&p, p.since_ns, p.since_ns + 4 * MS, 1, 300);
    }
    assert_in_range(each_ns(&p), 9 * MS / 10, 11 * MS / 10); /* 5 steps in 5 ms, not 2.1 ms each */
    assert_false(pace_too_long(&p, 400, 2000));
}

static void test_other_work_counts(void **state)
{
    (void)state;
    struct pace p = { 0 };
    uint64_t now = 1000 * MS;
    for (int i = 0; i < 100; i++, now += 10 * MS) /* two in a millisecond, every ten */
        pace_turn(&p, now - MS, now, 2, 50);
    assert_in_range(each_ns(&p), 49 * MS / 10, 51 * MS / 10);
}

static void test_pauses_do_not_count(void **state)
{
    (void)state;
    struct pace p = { 0 };
    pace_turn(&p, 0, MS, 2, 10);
    pace_turn(&p, 2 * MS, 3 * MS, 10, 0);
    assert_false(pace_too_long(&p, 1000, 1)); /* nobody waits */
    pace_turn(&p, 9000 * MS, 9001 * MS, 4, 0);
    pace_turn(&p, 9900 * MS, 9901 * MS, 4, 100);
    assert_in_range(each_ns(&p), MS / 4, MS / 4);
}

static void test_huge(void **state)
{
    (void)state;
    struct pace p = { 0 };
    pace_turn(&p, 0, UINT64_C(1) << 50, 8, 1); /* a machine that slept */
    assert_true(pace_too_long(&p, HANDSHAKES_MAX - 1, 10000));
    for (int i = 0; i < 300; i++)
        pace_turn(&p, p.since_ns, p.since_ns + MS, 4, 100);
    assert_false(pace_too_long(&p, 100, 1000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_some_steps_tell),
        cmocka_unit_test(test_one_slow_step_does_not),
        cmocka_unit_test(test_turns_count_by_their_steps),
        cmocka_unit_test(test_other_work_counts),
        cmocka_unit_test(test_pauses_do_not_count),
        cmocka_unit_test(test_huge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
