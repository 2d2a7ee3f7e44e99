/* The look inside packets: whose it is, and headers that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ip/inner.h"

static const uint8_t v4[28] = { 0x45, 0, 0,  28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 77,
                                0,    2, 10, 77, 0, 1, 0, 7, 0,  7,  0, 8, 0,  0 };

static bool view(const void *data, size_t len, struct ip_view *out)
{
    /* On the heap, so that a sanitizer sees a byte read past the end. */
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, data, len);
    bool ok = ip_view(rd_make(copy, len), out);
    free(copy);
    return ok;
}

static void test_v4(void **state)
{
    (void)state;
    struct ip_view v;
    assert_true(view(v4, sizeof v4, &v));
    assert_int_equal(v.version, 4);
    assert_int_equal(v.src4, 0x0a4d0002);
    assert_int_equal(v.dst4, 0x0a4d0001);
    assert_int_equal(v.len, 28);
    for (size_t n = 0; n < sizeof v4; n++)
        assert_false(view(v4, n, &v)); /* the total length says more than is there */
}

static void test_v4_padding_is_cut(void **state)
{
    (void)state;
    struct ip_view v;
    uint8_t padded[40] = { 0 };
    memcpy(padded, v4, sizeof v4);
    assert_true(view(padded, sizeof padded, &v));
    assert_int_equal(v.len, 28);
}

static void test_v4_lies(void **state)
{
    (void)state;
    struct ip_view v;
    uint8_t p[28];
    memcpy(p, v4, sizeof p);
    p[0] = 0x44; /* header of 16 bytes */
    assert_false(view(p, sizeof p, &v));
    memcpy(p, v4, sizeof p);
    p[0] = 0x4f; /* header of 60 bytes in a packet of 28 */
    assert_false(view(p, sizeof p, &v));
    memcpy(p, v4, sizeof p);
    p[3] = 19; /* shorter than its header */
    assert_false(view(p, sizeof p, &v));
    p[0] = 0x55;
    assert_false(view(p, sizeof p, &v));
}

static void test_v6(void **state)
{
    (void)state;
    struct ip_view v;
    uint8_t p[48] = { 0x60 };
    p[5] = 8;
    p[8] = 0xfe;
    p[9] = 0x80;
    p[23] = 2;
    p[24] = 0xff;
    p[39] = 1;
    assert_true(view(p, sizeof p, &v));
    assert_int_equal(v.version, 6);
    assert_int_equal(v.len, 48);
    assert_true(ip6_is_link_local(v.src6));
    assert_false(ip6_is_link_local(v.dst6));
    for (size_t n = 0; n < sizeof p; n++)
        assert_false(view(p, n, &v));
    p[15] = 1; /* fe80:0:0:1:: is not fe80::/64 */
    assert_true(view(p, sizeof p, &v));
    assert_false(ip6_is_link_local(v.src6));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v4),
        cmocka_unit_test(test_v4_padding_is_cut),
        cmocka_unit_test(test_v4_lies),
        cmocka_unit_test(test_v6),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
