/* The fast ways to sum against the plain one: every length, every alignment, carries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ip/checksum.h"

enum { ROOM = 70000, GUARD = 64 };

static uint8_t *area, *copy; /* ROOM + GUARD bytes each */

static void fill(unsigned kind)
{
    uint32_t x = 0x9e3779b9;
    for (size_t i = 0; i < ROOM + GUARD; i++) {
        x = x * 1664525 + 1013904223;
        area[i] = kind == 0 ? (uint8_t)(x >> 24) : kind == 1 ? 0xff : kind == 2 ? 0 : (uint8_t)(i % 2 ? 0xff : 0xfe);
    }
}

/* n bytes from offset from, copied to offset to. */
static void one(size_t from, size_t to, size_t n, uint32_t sum)
{
    uint32_t plain = checksum_add_plain(sum, area + from, n);
    uint32_t added = checksum_add(sum, area + from, n);
    assert_int_equal(checksum_fold(added), checksum_fold(plain));
    assert_true(added < 1 << 17 && plain < 1 << 17);
    memset(copy + to, 0xa5, n + GUARD);
    assert_int_equal(checksum_copy(sum, copy + to, area + from, n), added);
    assert_memory_equal(copy + to, area + from, n);
    for (size_t i = 0; i < GUARD; i++)
        assert_int_equal(copy[to + n + i], 0xa5);
}

static void all_of(const char *way)
{
    static const uint32_t sums[] = { 0, 1, 0xffff, 0x10000, 0xfffe0001, UINT32_MAX };
    static const size_t longs[] = { 1400, 1401, 4096, 9000, 65535, 65536, 65575, 69000 };
    if (!checksum_use(way)) {
        print_message("this CPU has no %s\n", way);
        skip();
    }
    assert_string_equal(checksum_way(), way);
    for (unsigned kind = 0; kind < 4; kind++) {
        fill(kind);
        for (size_t n = 0; n <= 300; n++)
            for (size_t at = 0; at < 64; at++)
                one(at, (at * 7 + n) % 64, n, sums[(n + at) % 6]);
        for (size_t i = 0; i < sizeof longs / sizeof *longs; i++)
            for (size_t at = 0; at < 64; at += 5)
                one(at, 63 - at, longs[i], sums[i % 6]);
    }
}

static void test_plain64(void **state)
{
    (void)state;
    all_of("plain64");
}

static void test_avx2(void **state)
{
    (void)state;
    all_of("avx2");
}

static void test_ways(void **state)
{
    (void)state;
    assert_false(checksum_use("abacus"));
    assert_true(checksum_use("plain64"));
    assert_string_equal(checksum_way(), "plain64");
}

/* RFC 1071 3: the example's sum is ddf2. */
static void test_known(void **state)
{
    (void)state;
    static const uint8_t data[8] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 }, sum[2] = { 0xdd, 0xf2 };
    uint16_t folded = checksum_fold(checksum_add_plain(0, data, sizeof data));
    assert_memory_equal(&folded, sum, 2);
    static const uint8_t odd[3] = { 0x12, 0x34, 0x56 }, odd_sum[2] = { 0x68, 0x34 };
    folded = checksum_fold(checksum_add_plain(0, odd, sizeof odd));
    assert_memory_equal(&folded, odd_sum, 2);
}

/* Pieces of even length, summed one after the other. */
static void test_pieces(void **state)
{
    (void)state;
    fill(0);
    uint32_t sum = 0, whole = checksum_add_plain(0, area, 5001);
    for (size_t at = 0; at < 5001; at += 26)
        sum = checksum_add(sum, area + at, at + 26 <= 5001 ? 26 : 5001 - at);
    assert_int_equal(checksum_fold(sum), checksum_fold(whole));
}

static int setup(void **state)
{
    (void)state;
    area = malloc(ROOM + GUARD);
    copy = malloc(ROOM + GUARD);
    return area && copy ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    free(area);
    free(copy);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known), cmocka_unit_test(test_pieces), cmocka_unit_test(test_plain64),
        cmocka_unit_test(test_avx2),  cmocka_unit_test(test_ways),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
