#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/digest.h"

static void test_digest_md4(void **state)
{
    (void)state;
    uint8_t out[16];
    struct digest_part part = { "abc", 3 };
    const uint8_t want[16] = { 0xa4, 0x48, 0x01, 0x7a, 0xaf, 0x21, 0xd8, 0x52,
                               0x5f, 0xc1, 0x0a, 0xe8, 0x7a, 0xa6, 0x72, 0x9d }; /* RFC 1320 A.5 */
    assert_int_equal(digest_init(), 0);
    assert_int_equal(digest(DIGEST_MD4, &part, 1, out), 0);
    assert_memory_equal(out, want, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_digest_md4) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
