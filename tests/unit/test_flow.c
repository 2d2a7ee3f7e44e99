/* What a flow is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ip/flow.h"

#define QUEUES 32

/* On the heap, so that a sanitizer sees a byte read past the end. */
static uint32_t hash(const uint8_t *packet, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, packet, len);
    uint32_t h = flow_hash(copy, len);
    free(copy);
    return h;
}

static const uint8_t udp4[32] = { 0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 10, 77, 0, 2, 10, 77, 0, 1, 0, 7, 0, 9 };

static void test_v4(void **state)
{
    (void)state;
    uint8_t p[64];
    const uint32_t h = hash(udp4, sizeof udp4);
    const unsigned matter[] = { 9, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23 };
    const unsigned other[] = { 1, 3, 5, 8, 10, 11, 24, 25, 26, 30, 31 };
    for (unsigned i = 0; i < sizeof matter / sizeof *matter; i++) {
        memcpy(p, udp4, sizeof udp4);
        p[matter[i]] ^= 1;
        assert_int_not_equal(hash(p, sizeof udp4), h);
    }
    for (unsigned i = 0; i < sizeof other / sizeof *other; i++) {
        memcpy(p, udp4, sizeof udp4);
        p[other[i]] ^= 1;
        assert_int_equal(hash(p, sizeof udp4), h);
    }
    for (unsigned words = 6; words <= 15; words++) { /* the same flow behind options */
        memset(p, 1, sizeof p);
        memcpy(p, udp4, 20);
        p[0] = (uint8_t)(0x40 | words);
        memcpy(p + words * 4, udp4 + 20, 4);
        assert_int_equal(hash(p, words * 4 + 4), h);
    }
}

static void test_fragments(void **state)
{
    (void)state;
    uint8_t first[32], later[32];
    memcpy(first, udp4, 32);
    memcpy(later, udp4, 32);
    first[6] = 0x20; /* more fragments */
    later[7] = 100;  /* an offset, and no ports */
    later[20] = 99;
    assert_int_equal(hash(first, 32), hash(later, 32));
    later[12] ^= 1;
    assert_int_not_equal(hash(first, 32), hash(later, 32));
    later[12] ^= 1;
    later[9] = 6;
    assert_int_not_equal(hash(first, 32), hash(later, 32));
    memcpy(first, udp4, 32);
    first[6] = 0x40; /* must not be fragmented: is not */
    assert_int_equal(hash(first, 32), hash(udp4, 32));
}

static void test_v6(void **state)
{
    (void)state;
    uint8_t plain[64] = { 0x60, 0, 0, 0, 0, 24, 17, 64, 0x20, 1, [23] = 1, [24] = 0x20, 2, [39] = 2, 0, 7, 0, 9 };
    uint8_t options[64] = { 0x60, 0, 0, 0, 0, 24, 0, 64, 0x20, 1, [23] = 1, [24] = 0x20, 2, [39] = 2, 60, 0, 1,
                            4,    0, 0, 0, 0, 17, 0, 1,  4,    0, 0,        0,           0, 0,        7,  0, 9 };
    uint8_t p[64], ah[64];
    const uint32_t h = hash(plain, 48);
    memcpy(ah, plain, 40); /* behind an authentication header of 16 bytes, counted in fours (RFC 4302 2.2) */
    ah[6] = 51;
    memset(ah + 40, 0, 24);
    ah[40] = 17;
    ah[41] = 2;
    memcpy(ah + 56, plain + 40, 4);
    assert_int_equal(hash(ah, 64), h);
    assert_int_equal(hash(options, 64), h); /* behind hop-by-hop and destination options */
    for (unsigned i = 8; i < 44; i++) {
        memcpy(p, plain, sizeof p);
        p[i] ^= 1;
        assert_int_not_equal(hash(p, 48), h);
    }
    p[6] = 6;
    assert_int_not_equal(hash(p, 48), h);
    memcpy(p, plain, sizeof p); /* a label does not make a flow, since nobody has to keep it */
    p[3] = 5;
    assert_int_equal(hash(p, 48), h);

    uint8_t first[64] = {
        0x60, 0, 0, 0, 0, 24, 44, 64, 0x20, 1, [23] = 1, [24] = 0x20, 2, [39] = 2, 17, 0, 0, 1, 0, 0, 0, 5, 0, 7, 0, 9
    };
    memcpy(p, first, sizeof p);
    p[42] = 5;
    p[48] = 0x77;
    assert_int_equal(hash(p, 64), hash(first, 64));
    p[40] = 6;
    assert_int_not_equal(hash(p, 64), hash(first, 64));
}

static void test_echo(void **state)
{
    (void)state;
    uint8_t ask[28] = { 0x45, 0, 0, 28, 0, 1, 0, 0, 64, 1, 0, 0, 10, 77, 0, 2, 10, 77, 0, 1, 8, 0, 0, 0, 0, 1, 0, 1 };
    uint8_t p[28];
    memcpy(p, ask, 28);
    p[27] = 2; /* the next one of the same program */
    assert_int_equal(hash(p, 28), hash(ask, 28));
    p[25] = 2; /* another program's */
    assert_int_not_equal(hash(p, 28), hash(ask, 28));
    memcpy(p, ask, 28);
    p[20] = ask[20] = 3; /* unreachable: what is there is no id */
    p[25] = 2;
    assert_int_equal(hash(p, 28), hash(ask, 28));
}

/* The low bits choose the queue: they are spread, whichever part of the address or port counts up. */
static void test_spread(void **state)
{
    (void)state;
    const unsigned at[] = { 15, 19, 21, 23, 14, 22 };
    for (unsigned i = 0; i < sizeof at / sizeof *at; i++) {
        unsigned n[QUEUES] = { 0 };
        uint8_t p[32];
        memcpy(p, udp4, 32);
        for (unsigned k = 0; k < 256 * 16; k++) {
            p[at[i]] = (uint8_t)k;
            p[at[i] - 1] = (uint8_t)(k >> 8);
            n[flow_hash(p, 32) % QUEUES]++;
        }
        for (unsigned k = 0; k < QUEUES; k++)
            assert_in_range(n[k], 128 - 60, 128 + 60);
    }
}

static void test_any_bytes(void **state)
{
    (void)state;
    uint8_t p[80];
    srand(3);
    for (unsigned i = 0; i < 200000; i++) {
        size_t len = (size_t)rand() % sizeof p;
        for (size_t k = 0; k < len; k++)
            p[k] = (uint8_t)(rand() % 3 ? rand() : 0);
        p[0] = (uint8_t)((rand() % 2 ? 0x40 : 0x60) | (rand() % 16));
        p[6] = (uint8_t[]){ 0, 43, 60, 51, 44, 17 }[rand() % 6];
        p[40] = (uint8_t[]){ 0, 43, 60, 51, 44, 17 }[rand() % 6];
        uint32_t h = hash(p, len);
        if (len > 64)
            assert_int_equal(hash(p, 64), h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v4),   cmocka_unit_test(test_fragments), cmocka_unit_test(test_v6),
        cmocka_unit_test(test_echo), cmocka_unit_test(test_spread),    cmocka_unit_test(test_any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
