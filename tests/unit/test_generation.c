/* Which web entry a server name leads to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "server/generation.h"

static struct config cfg;
static struct generation gen;

static void sites(char *const *names, size_t n)
{
    cfg.n_web = n;
    gen.cfg = &cfg;
    for (size_t i = 0; i < n; i++)
        cfg.web[i].name = names[i];
}

static void exact_before_wildcard_before_the_rest(void **state)
{
    (void)state;
    char wild[] = "*.example.com", rest[] = "other.example.net", exact[] = "blog.example.com";
    char *const names[] = { wild, NULL, rest, exact };
    sites(names, 4);
    assert_ptr_equal(generation_site(&gen, "blog.example.com"), &gen.web[3]);
    assert_ptr_equal(generation_site(&gen, "BLOG.example.COM"), &gen.web[3]);
    assert_ptr_equal(generation_site(&gen, "shop.example.com"), &gen.web[0]);
    assert_ptr_equal(generation_site(&gen, "other.example.net"), &gen.web[2]);
    assert_ptr_equal(generation_site(&gen, "example.org"), &gen.web[1]);
    assert_ptr_equal(generation_site(&gen, NULL), &gen.web[1]);
}

static void a_wildcard_is_one_whole_label(void **state)
{
    (void)state;
    char wild[] = "*.example.com";
    char *const names[] = { wild };
    sites(names, 1);
    assert_ptr_equal(generation_site(&gen, "a.example.com"), &gen.web[0]);
    assert_null(generation_site(&gen, "a.b.example.com"));
    assert_null(generation_site(&gen, "example.com"));
    assert_null(generation_site(&gen, ".example.com"));
    assert_null(generation_site(&gen, "xexample.com"));
    assert_null(generation_site(&gen, "a.example.com.evil.org"));
    assert_null(generation_site(&gen, ""));
    assert_null(generation_site(&gen, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_before_wildcard_before_the_rest),
        cmocka_unit_test(a_wildcard_is_one_whole_label),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
