/* Turns of calls: bytes, not records, are what they get alike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/turn.h"

#define QUANTUM 16384u

/* Whole records of this size while they fit, as tunnel_send() does it. */
static size_t whole_records(size_t budget, size_t record)
{
    return budget / record * record;
}

static void test_sizes_of_records(void **state)
{
    (void)state;
    static const size_t sizes[] = { 1400, 9001, 12345, 15400, 16384 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct turn t = { 0 };
        uint64_t sent = 0;
        for (int n = 1; n <= 10000; n++) {
            size_t budget = turn_budget(&t, QUANTUM), took = whole_records(budget, sizes[i]);
            turn_took(&t, budget, took, true);
            sent += took;
            uint64_t fair = (uint64_t)n * QUANTUM, apart = sent > fair ? sent - fair : fair - sent;
            assert_true(apart < sizes[i]); /* however long it goes on */
        }
    }
}

static void test_who_has_nothing_saves_nothing(void **state)
{
    (void)state;
    struct turn t = { 0 };
    for (int n = 0; n < 100; n++) {
        size_t budget = turn_budget(&t, QUANTUM);
        assert_int_equal(budget, QUANTUM);
        turn_took(&t, budget, 100, false);
    }
    turn_took(&t, QUANTUM, QUANTUM + 1500, true);
    assert_int_equal(turn_budget(&t, QUANTUM), QUANTUM - 1500);
    turn_took(&t, QUANTUM - 1500, 0, false);
    assert_int_equal(turn_budget(&t, QUANTUM), QUANTUM);
}

static void test_no_more_than_a_record_is_kept(void **state)
{
    (void)state;
    struct turn t = { 0 };
    for (int n = 0; n < 100; n++)
        turn_took(&t, turn_budget(&t, 65536), 1, true);
    assert_int_equal(turn_budget(&t, 65536), 65536 + TURN_KEPT_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_of_records),
        cmocka_unit_test(test_who_has_nothing_saves_nothing),
        cmocka_unit_test(test_no_more_than_a_record_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
