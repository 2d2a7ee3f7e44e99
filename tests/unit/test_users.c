#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "auth/users.h"
#include "base/ct.h"
#include "base/digest.h"

#define H "8846f7eaee8fb117ad06bdd830b7586c" /* of "password" */

static struct users *parse(const char *text)
{
    struct users *u = NULL;
    struct users_error err;
    int r = users_parse(text, strlen(text), &u, &err);
    if (r != 0)
        fail_msg("line %u: %s", err.line, err.text);
    return u;
}

static const struct user *find(const struct users *u, const char *name)
{
    return users_find(u, name, strlen(name));
}

static void test_good(void **state)
{
    (void)state;
    struct users *u = parse("# people\n"
                            "\n"
                            "  \t \n"
                            "alice nt:" H "\n"
                            "  # indented\r\n"
                            "bob\tplain:\"correct horse\"  ip=10.77.0.20 groups=staff,admins\r\n"
                            "carol nt:8846F7EAEE8FB117AD06BDD830B7586C disabled\n"
                            "\"D \\\"x\\\" \\\\\" plain:a\\b#c expires=2026-12-31\n"
                            "EXAMPLE\\eve plain:\"\"\n"
                            "z\xc3\xb6"
                            "e plain:\"q\\\"\\\\\" ip=10.77.0.21 disabled expires=1970-01-01 groups=a");
    uint8_t hash[16];
    assert_int_equal(users_count(u), 6);
    assert_null(users_at(u, 6));
    const struct user *a = users_at(u, 0), *b = find(u, "BOB"), *d = users_at(u, 3);
    assert_string_equal(a->name, "alice");
    assert_int_equal(users_nt_hash("password", 8, hash), 0);
    assert_memory_equal(a->nt_hash, hash, 16);
    assert_null(a->password);
    assert_null(a->groups);
    assert_int_equal(a->ip4, 0);
    assert_true(a->expires_s == INT64_MAX && !a->disabled);
    assert_int_equal(a->line, 4);
    assert_ptr_equal(b, users_at(u, 1));
    assert_string_equal(b->password, "correct horse");
    assert_int_equal(users_nt_hash("correct horse", 13, hash), 0);
    assert_memory_equal(b->nt_hash, hash, 16);
    assert_int_equal(b->ip4, 0x0a4d0014);
    assert_string_equal(b->groups, "staff,admins");
    assert_int_equal(b->line, 6);
    assert_true(users_at(u, 2)->disabled);
    assert_memory_equal(users_at(u, 2)->nt_hash, a->nt_hash, 16);
    assert_string_equal(d->name, "D \"x\" \\");
    assert_string_equal(d->password, "a\\b#c");
    assert_true(d->expires_s == 1798675200); /* date -u -d 2026-12-31 +%s */
    assert_string_equal(find(u, "example\\EVE")->password, "");
    assert_null(find(u, "eve"));
    assert_string_equal(find(u, "Z\xc3\xb6"
                                "E")
                            ->password,
                        "q\"\\");
    assert_null(find(u, "Z\xc3\x96"
                        "E")); /* only ASCII letters are folded */
    assert_true(users_at(u, 5)->expires_s == 0);
    assert_null(find(u, "ali"));
    assert_null(find(u, "alicee"));
    assert_null(users_find(u, "alice", 6)); /* the NUL counts */
    assert_null(users_find(u, "", 0));
    users_free(u);
    users_free(NULL);
}

static void test_empty(void **state)
{
    (void)state;
    struct users *u = NULL;
    struct users_error err;
    assert_int_equal(users_parse(NULL, 0, &u, &err), 0);
    assert_int_equal(users_count(u), 0);
    assert_null(find(u, "x"));
    assert_null(users_at(u, 0));
    users_free(u);
}

static void test_bad(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned line;
        const char *says;
    } cases[] = {
        { "alice", 1, "no secret" },
        { "\n# x\nalice \n", 3, "no secret" },
        { "alice secret\n", 1, "second field" },
        { "alice NT:" H "\n", 1, "second field" },
        { "alice nt:\n", 1, "32 hexadecimal" },
        { "alice nt:8846f7eaee8fb117ad06bdd830b7586\n", 1, "32 hexadecimal" },
        { "alice nt:" H "0\n", 1, "32 hexadecimal" },
        { "alice nt:g846f7eaee8fb117ad06bdd830b7586c\n", 1, "32 hexadecimal" },
        { "alice plain:\n", 1, "no password" },
        { "alice plain:a\"b\n", 1, "stays open" },
        { "alice plain:a\"b\"\n", 1, "bad password" },
        { "alice plain:\"a\"b\n", 1, "bad password" },
        { "alice plain:\"a\\n\"\n", 1, "bad password" },
        { "alice plain:\"a\n", 1, "stays open" },
        { "alice plain:\"a\\\"\n", 1, "stays open" },
        { "alice plain:\xff\n", 1, "not UTF-8" },
        { "\"alice nt:" H "\n", 1, "stays open" },
        { "\"\" nt:" H "\n", 1, "empty" },
        { "al\"i\"ce nt:" H "\n", 1, "bad name" },
        { "ok nt:" H "\nbob plain:correct horse\n", 2, "unknown option" },
        { "bob nt:" H " # trailing\n", 1, "unknown option" },
        { "bob nt:" H " colour=red\n", 1, "unknown option" },
        { "bob nt:" H " Disabled\n", 1, "unknown option" },
        { "bob nt:" H " disabled disabled\n", 1, "twice" },
        { "bob nt:" H " disabled=1\n", 1, "unknown option" },
        { "bob nt:" H " ip=\n", 1, "bad ip=" },
        { "bob nt:" H " ip=10.0.0\n", 1, "bad ip=" },
        { "bob nt:" H " ip=10.0.0.256\n", 1, "bad ip=" },
        { "bob nt:" H " ip=10.0.0.1/24\n", 1, "bad ip=" },
        { "bob nt:" H " ip=10.0.0.10000000000000000000\n", 1, "bad ip=" },
        { "bob nt:" H " ip=0.0.0.0\n", 1, "bad ip=" },
        { "bob nt:" H " ip=224.0.0.1\n", 1, "bad ip=" },
        { "bob nt:" H " ip=127.0.0.1\n", 1, "bad ip=" },
        { "bob nt:" H " ip=10.0.0.1 ip=10.0.0.2\n", 1, "twice" },
        { "a nt:" H " ip=10.0.0.1\n\nb nt:" H " ip=10.0.0.1\n", 3, "line 1" },
        { "a nt:" H "\n#\nA nt:" H "\n", 3, "line 1" },
        { "a nt:" H "\n\"a\" nt:" H "\n", 2, "line 1" },
        { "bob nt:" H " expires=\n", 1, "YYYY-MM-DD" },
        { "bob nt:" H " expires=2026-2-30\n", 1, "YYYY-MM-DD" },
        { "bob nt:" H " expires=2026-02-29\n", 1, "YYYY-MM-DD" },
        { "bob nt:" H " expires=2026-13-01\n", 1, "YYYY-MM-DD" },
        { "bob nt:" H " expires=2026-00-01\n", 1, "YYYY-MM-DD" },
        { "bob nt:" H " expires=2026-01-00\n", 1, "YYYY-MM-DD" },
        { "bob nt:" H " expires=2026/01/01\n", 1, "YYYY-MM-DD" },
        { "bob nt:" H " expires=1969-12-31\n", 1, "YYYY-MM-DD" },
        { "bob nt:" H " expires=2026-01-01 expires=2026-01-01\n", 1, "twice" },
        { "bob nt:" H " up=\n", 1, "bad up=: expected bits a second as 800k, 10M or 1G, from 64k to 1000G" },
        { "bob nt:" H " down=\n", 1, "bad down=" },
        { "bob nt:" H " up=0\n", 1, "bad up=" },
        { "bob nt:" H " up=63999\n", 1, "bad up=" },
        { "bob nt:" H " up=63k\n", 1, "bad up=" },
        { "bob nt:" H " down=1001G\n", 1, "bad down=" },
        { "bob nt:" H " down=10m\n", 1, "bad down=" },
        { "bob nt:" H " down=10MB\n", 1, "bad down=" },
        { "bob nt:" H " up=1.5M\n", 1, "bad up=" },
        { "bob nt:" H " up=-1M\n", 1, "bad up=" },
        { "bob nt:" H " up=64 k\n", 1, "bad up=" },
        { "bob nt:" H " Up=10M\n", 1, "unknown option" },
        { "a nt:" H "\nbob nt:" H " up=1M down=1M up=2M\n", 2, "up= is given twice" },
        { "bob nt:" H " down=1M down=1M\n", 1, "down= is given twice" },
        { "bob nt:" H " groups=\n", 1, "groups=" },
        { "bob nt:" H " groups=a,,b\n", 1, "groups=" },
        { "bob nt:" H " groups=,a\n", 1, "groups=" },
        { "bob nt:" H " groups=a,\n", 1, "groups=" },
        { "bob nt:" H " groups=\"a b\"\n", 1, "groups=" },
        { "bob nt:" H " groups=a groups=b\n", 1, "twice" },
        { "x nt:" H "\nbob\x01 nt:" H "\n", 2, "control" },
        { "bob nt:" H "\r \n", 1, "control" },
        { "bob nt:" H "\x7f\n", 1, "control" },
        { "# \x1b\n", 1, "control" },
        { "a nt:" H "\n\xef\xbb\xbf"
          "bob nt:" H "\n",
          2, "byte order mark" },
        { "\xef\xbb\xbf"
          "bob nt:" H "\n",
          1, "byte order mark" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct users *u = NULL;
        struct users_error err;
        int r = users_parse(cases[i].text, strlen(cases[i].text), &u, &err);
        if (r != ERR_USAGE || err.line != cases[i].line || !strstr(err.text, cases[i].says))
            fail_msg("case %zu: %d line %u: %s (expected line %u: %s)", i, r, err.line, err.text, cases[i].line,
                     cases[i].says);
        assert_null(u);
        assert_null(strstr(err.text, "horse")); /* never a secret */
    }
}

static void test_caps(void **state)
{
    (void)state;
    char line[1024], name[USERS_NAME_MAX + 2];
    for (size_t extra = 0; extra < 2; extra++) {
        struct users *u = NULL;
        struct users_error err;
        memset(name, 'n', sizeof name);
        name[USERS_NAME_MAX + extra] = 0;
        snprintf(line, sizeof line, "%s nt:" H, name);
        assert_int_equal(users_parse(line, strlen(line), &u, &err), extra ? ERR_USAGE : 0);
        users_free(u);
        u = NULL;
        snprintf(line, sizeof line, "x plain:%s", name);
        assert_int_equal(users_parse(line, strlen(line), &u, &err), extra ? ERR_USAGE : 0);
        users_free(u);
    }
}

/* A NUL anywhere, and the text cut at each length: an error or a table, and never a read past the end. */
static void test_cuts(void **state)
{
    (void)state;
    static const char good[] =
        "al nt:" H
        " ip=10.0.0.1\n\"b \\\" c\" plain:\"d e\\\\\" groups=x,y expires=2030-01-01 disabled up=10M down=50M\n";
    size_t parsed = 0;
    for (size_t n = 0; n < sizeof good; n++) {
        char *part = malloc(n ? n : 1);
        assert_non_null(part);
        memcpy(part, good, n);
        struct users *u = NULL;
        struct users_error err;
        if (users_parse(part, n, &u, &err) == 0) {
            parsed++;
            users_free(u);
        }
        if (n) {
            u = NULL;
            part[n / 2] = 0;
            assert_int_equal(users_parse(part, n, &u, &err), ERR_USAGE);
        }
        free(part);
    }
    assert_true(parsed > 10 && parsed < sizeof good - 10);
}

static void test_many(void **state)
{
    (void)state;
    const size_t n = 100000, cap = n * 64;
    char *text = malloc(cap), name[32];
    assert_non_null(text);
    size_t len = 0;
    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(text + len, cap - len, "User%zu nt:" H " ip=10.%zu.%zu.%zu\n", i, i >> 16, i >> 8 & 255,
                                i & 255);
    struct users *u = NULL;
    struct users_error err;
    assert_int_equal(users_parse(text, len, &u, &err), 0);
    assert_int_equal(users_count(u), n);
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "uSER%zu", i);
        assert_ptr_equal(find(u, name), users_at(u, i));
    }
    users_free(u);
    free(text);
}

static void test_state(void **state)
{
    (void)state;
    struct users *u = parse("a nt:" H "\nb nt:" H " disabled expires=1970-01-02\nc nt:" H " expires=2024-03-01\n");
    assert_int_equal(user_state(NULL, 0), USER_UNKNOWN);
    assert_int_equal(user_state(find(u, "a"), INT64_MAX - 1), USER_OK);
    assert_int_equal(user_state(find(u, "b"), INT64_MAX - 1), USER_DISABLED);
    assert_int_equal(user_state(find(u, "c"), 1709251199), USER_OK); /* 2024-02-29 23:59:59 */
    assert_int_equal(user_state(find(u, "c"), 1709251200), USER_EXPIRED);
    users_free(u);
    for (int s = USER_OK; s <= USER_NEEDS_PLAIN; s++)
        assert_true(strlen(user_state_name((enum user_state)s)) > 1);
}

static void check_set(const char *before, const char *name, const char *secret, const char *after)
{
    char *out = NULL;
    size_t len = 0;
    assert_int_equal(users_edit_set(before, strlen(before), name, secret, &out, &len), 0);
    assert_string_equal(out, after);
    assert_int_equal(len, strlen(after));
    secret_free(out, len + 1);
}

static void test_edit_set(void **state)
{
    (void)state;
    check_set("", "bob", "nt:" H, "bob nt:" H "\n");
    check_set("a nt:x", "bob", "nt:" H, "a nt:x\nbob nt:" H "\n");
    check_set("# c\n\n\tBob \t plain:\"a b\"  ip=1.2.3.4   disabled \r\n# end", "bob", "plain:\"x \\\" y\"",
              "# c\n\n\tBob \t plain:\"x \\\" y\"  ip=1.2.3.4   disabled \r\n# end");
    check_set("bob nt:1\r\nal nt:2\r\n", "al", "plain:z", "bob nt:1\r\nal plain:z\r\n");
    check_set("bob nt:1", "BOB", "plain:z", "bob plain:z");
    check_set("#bob nt:1\nbobby nt:2\nbo nt:3\n", "bob", "plain:z", "#bob nt:1\nbobby nt:2\nbo nt:3\nbob plain:z\n");
    check_set("\"a b\" nt:1\n", "a b", "plain:z", "\"a b\" plain:z\n");
    check_set("", "a \"b\\", "plain:z", "\"a \\\"b\\\\\" plain:z\n");
    check_set("",
              "\xef\xbb\xbf"
              "a",
              "plain:z",
              "\"\xef\xbb\xbf"
              "a\" plain:z\n");
    check_set("", "#a", "plain:z", "\"#a\" plain:z\n");
    check_set("", "DOM\\a", "plain:z", "DOM\\a plain:z\n");
    check_set("broken \"line\n", "a", "plain:z", "broken \"line\na plain:z\n");
    static const char *const bad[][2] = {
        { "", "plain:z" },    { "a\nb", "plain:z" }, { "a\x7f", "plain:z" },
        { "a", "" },          { "a", "z" },          { "a", "plain:z disabled" },
        { "a", " plain:z" },  { "a", "plain:z " },   { "a", "plain:z\nb nt:" H },
        { "a", "plain:\"z" }, { "a", "nt:00" },      { "a", "plain:" },
    };
    char *out = NULL;
    size_t len;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(users_edit_set("", 0, bad[i][0], bad[i][1], &out, &len), ERR_USAGE);
    char name[USERS_NAME_MAX + 2];
    memset(name, '"', sizeof name);
    name[USERS_NAME_MAX + 1] = 0;
    assert_int_equal(users_edit_set("", 0, name, "plain:z", &out, &len), ERR_USAGE);
    name[USERS_NAME_MAX] = 0;
    assert_int_equal(users_edit_set("", 0, name, "plain:z", &out, &len), 0);
    struct users *u = parse(out);
    assert_string_equal(users_at(u, 0)->name, name);
    users_free(u);
    secret_free(out, len + 1);
}

static void test_edit_remove(void **state)
{
    (void)state;
    static const struct {
        const char *before, *name, *after; /* NULL: not there */
    } cases[] = {
        { "a nt:1\nb nt:2\nc nt:3\n", "b", "a nt:1\nc nt:3\n" },
        { "a nt:1\r\n# b\r\n\r\nB nt:2\r\n", "b", "a nt:1\r\n# b\r\n\r\n" },
        { "a nt:1\nb nt:2", "b", "a nt:1\n" },
        { "b nt:2 disabled", "b", "" },
        { "b nt:2\nx\nb nt:3\n", "b", "x\n" },
        { "# b nt:2\n", "b", NULL },
        { "bb nt:2\n", "b", NULL },
        { "", "b", NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *out = NULL;
        size_t len = 0;
        int r = users_edit_remove(cases[i].before, strlen(cases[i].before), cases[i].name, &out, &len);
        assert_int_equal(r, cases[i].after ? 0 : ERR_USAGE);
        if (!cases[i].after)
            continue;
        assert_string_equal(out, cases[i].after);
        assert_int_equal(len, strlen(out));
        secret_free(out, len + 1);
    }
}

static void test_rates(void **state)
{
    (void)state;
    struct users *u = parse("a nt:" H " up=10M down=50M\nb nt:" H " down=64k\nc nt:" H "\nd nt:" H
                            " disabled up=1000G ip=10.0.0.1 down=64000");
    assert_true(users_at(u, 0)->up_bps == 10000000 && users_at(u, 0)->down_bps == 50000000);
    assert_true(users_at(u, 1)->up_bps == 0 && users_at(u, 1)->down_bps == 64000);
    assert_true(users_at(u, 2)->up_bps == 0 && users_at(u, 2)->down_bps == 0);
    assert_true(users_at(u, 3)->up_bps == 1000000000000 && users_at(u, 3)->down_bps == 64000);
    users_free(u);
    static const struct {
        const char *text;
        uint64_t bps;      /* 0: refused */
        const char *shown; /* NULL: as it was written */
    } rows[] = {
        { "64k", 64000, NULL },
        { "64000", 64000, "64k" },
        { "64001", 64001, NULL },
        { "100000", 100000, "100k" },
        { "1500k", 1500000, NULL },
        { "1000k", 1000000, "1M" },
        { "010M", 10000000, "10M" },
        { "1000M", 1000000000, "1G" },
        { "1000G", 1000000000000, NULL },
        { "1000000000000", 1000000000000, "1000G" },
        { "999999999999", 999999999999, NULL },
        { "", 0, NULL },
        { "k", 0, NULL },
        { "63999", 0, NULL },
        { "0G", 0, NULL },
        { "1001G", 0, NULL },
        { "1000001M", 0, NULL },
        { "1000000000001", 0, NULL },
        { "18446744073709551616", 0, NULL }, /* 2^64 */
        { "18446744073709615616", 0, NULL }, /* 2^64 + 64000 */
        { "18446744073710G", 0, NULL },      /* times the unit 2^64 and more */
        { "10K", 0, NULL },
        { "10g", 0, NULL },
        { "10T", 0, NULL },
        { "10kk", 0, NULL },
        { "10M ", 0, NULL },
        { " 10M", 0, NULL },
        { "+10M", 0, NULL },
        { "10M0", 0, NULL },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t bps = 7;
        char shown[USERS_RATE_TEXT_MAX];
        int r = users_rate_parse(rows[i].text, strlen(rows[i].text), &bps);
        if (r != (rows[i].bps ? 0 : ERR_USAGE) || bps != (rows[i].bps ? rows[i].bps : 7))
            fail_msg("%s: %d", rows[i].text, r);
        if (r)
            continue;
        users_rate_text(bps, shown);
        assert_string_equal(shown, rows[i].shown ? rows[i].shown : rows[i].text);
    }
}

static void test_edit_option(void **state)
{
    (void)state;
    static const struct {
        const char *before, *key, *value, *after; /* NULL: refused */
    } cases[] = {
        { "bob nt:1\n", "up=", "10M", "bob nt:1 up=10M\n" },
        { "bob nt:1", "up=", "10M", "bob nt:1 up=10M" },
        { "a nt:1\r\nBOB plain:\"up=1M x\"  \r\nc nt:2\r\n", "up=", "2M",
          "a nt:1\r\nBOB plain:\"up=1M x\" up=2M  \r\nc nt:2\r\n" },
        { "# bob nt:1\nbob nt:1\tup=1M\t\tdisabled\n", "up=", "2M", "# bob nt:1\nbob nt:1\tup=2M\t\tdisabled\n" },
        { "bob nt:1 ip=1.2.3.4  up=1M down=3M\n", "up=", NULL, "bob nt:1 ip=1.2.3.4 down=3M\n" },
        { "bob nt:1  down=3M", "down=", NULL, "bob nt:1" },
        { "bob nt:1 down=3M\n", "up=", NULL, "bob nt:1 down=3M\n" },
        { "bob nt:1 down=3M\n", "up=", "9M", "bob nt:1 down=3M up=9M\n" },
        { "bob nt:1 xup=3M\n", "up=", "9M", "bob nt:1 xup=3M up=9M\n" },
        { "up= nt:1\nbob nt:1\n", "up=", "9M", "up= nt:1\nbob nt:1 up=9M\n" },
        { "bobby nt:1\n", "up=", "9M", NULL },
        { "bob\n", "up=", "9M", NULL },
        { "", "up=", "9M", NULL },
        { "bob nt:1\n", "up=", "", NULL },
        { "bob nt:1\n", "up=", "9M disabled", NULL },
        { "bob nt:1\n", "up=", "9M\tdisabled", NULL },
        { "bob nt:1\n", "up=", "9M\neve nt:1", NULL },
        { "bob nt:1\n", "up=", "\"9M", NULL },
        { "bob nt:1\n", "up=", "9\\M", NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *out = NULL;
        size_t len = 0;
        int r = users_edit_option(cases[i].before, strlen(cases[i].before), "bob", cases[i].key, cases[i].value, &out,
                                  &len);
        assert_int_equal(r, cases[i].after ? 0 : ERR_USAGE);
        if (!cases[i].after)
            continue;
        assert_string_equal(out, cases[i].after);
        assert_int_equal(len, strlen(out));
        secret_free(out, len + 1);
    }
    /* another password leaves the limits where they are */
    check_set("bob nt:1 up=1M down=2M\n", "bob", "plain:z", "bob plain:z up=1M down=2M\n");
}

static void test_secret_text(void **state)
{
    (void)state;
    char out[USERS_SECRET_MAX], line[USERS_SECRET_MAX + 8], big[USERS_PASSWORD_MAX + 1];
    assert_int_equal(users_secret_text("password", 8, false, out), 0);
    assert_string_equal(out, "nt:" H);
    assert_int_equal(users_secret_text("a \"\\b", 5, true, out), 0);
    assert_string_equal(out, "plain:\"a \\\"\\\\b\"");
    assert_int_equal(users_secret_text("a\n", 2, true, out), ERR_USAGE);
    assert_int_equal(users_secret_text("\xff", 1, true, out), ERR_USAGE);
    memset(big, '"', sizeof big);
    assert_int_equal(users_secret_text(big, sizeof big, true, out), ERR_USAGE);
    assert_int_equal(users_secret_text(big, USERS_PASSWORD_MAX, true, out), 0);
    assert_int_equal(strlen(out), USERS_SECRET_MAX - 1);
    snprintf(line, sizeof line, "x %s", out);
    struct users *u = parse(line);
    assert_int_equal(strlen(users_at(u, 0)->password), USERS_PASSWORD_MAX);
    users_free(u);
}

static int setup(void **state)
{
    (void)state;
    return digest_init();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),        cmocka_unit_test(test_empty),    cmocka_unit_test(test_bad),
        cmocka_unit_test(test_caps),        cmocka_unit_test(test_cuts),     cmocka_unit_test(test_many),
        cmocka_unit_test(test_state),       cmocka_unit_test(test_edit_set), cmocka_unit_test(test_edit_remove),
        cmocka_unit_test(test_secret_text), cmocka_unit_test(test_rates),    cmocka_unit_test(test_edit_option),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
