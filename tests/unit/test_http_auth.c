#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/digest.h"
#include "http/authenticate.h"

#define URI    "vpn.example.com:443"
#define CNONCE "000102030405060708090a0b0c0d0e0f"

static struct http_answer a;
static char out[2048];
static enum http_scheme scheme;
static bool stale;

static int setup(void **state)
{
    (void)state;
    return digest_init();
}

static int teardown(void **state)
{
    (void)state;
    digest_fini();
    return 0;
}

/* The answer of a proxy with these lines, parted by '\n'. */
static void challenged(const char *lines)
{
    char head[4096];
    size_t n = (size_t)snprintf(head, sizeof head, "HTTP/1.1 407 x\r\n");
    while (*lines) {
        size_t len = strcspn(lines, "\n");
        n += (size_t)snprintf(head + n, sizeof head - n, "Proxy-Authenticate: %.*s\r\n", (int)len, lines);
        lines += len + (lines[len] == '\n');
    }
    n += (size_t)snprintf(head + n, sizeof head - n, "\r\n");
    assert_true(n < sizeof head);
    http_answer_init(&a);
    assert_int_equal(http_answer_input(&a, rd_make(head, n)), HTTP_ANSWER_DONE);
}

static int answer_as(const char *user, const char *password, size_t cap)
{
    unsigned char cnonce[16];
    for (unsigned i = 0; i < 16; i++)
        cnonce[i] = (unsigned char)i;
    struct http_login login = { user, password };
    memset(out, 0xee, sizeof out);
    stale = true;
    return http_authenticate(&a, &login, "CONNECT", URI, cnonce, out, cap, &scheme, &stale);
}

static int answer(const char *lines)
{
    challenged(lines);
    return answer_as("user", "pass", sizeof out);
}

/* ---- the response of Digest ---- */

/* RFC 7616 3.9.1, both algorithms; the -sess and qop-less forms of the same inputs; RFC 2069's example as corrected by
 * its erratum, and RFC 2617 3.5. */
static void test_published_digests(void **state)
{
    (void)state;
    static const struct http_login rfc7616 = { "Mufasa", "Circle of Life" }, rfc2617 = { "Mufasa", "Circle Of Life" };
    struct http_digest d = { .qop = true,
                             .login = &rfc7616,
                             .realm = "http-auth@example.org",
                             .nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
                             .cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
                             .method = "GET",
                             .uri = "/dir/index.html" };
    static const struct {
        bool sha256, session, qop;
        const char *response;
    } rows[] = {
        { false, false, true, "8ca523f5e9506fed4657c9700eebdbec" },
        { true, false, true, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1" },
        { false, true, true, "e783283f46242139c486a698fec7211d" },
        { true, true, true, "2fd51b3a77ad75bad6afad6003e818d767133c46d9e2749e7f5232ae1ea3efd7" },
        { false, true, false, "37a7f42db2090a3fcac4e26e747d4fc8" },
        { true, true, false, "30bc0742357e535c85094121d22cf826b794be0667e19537beb7b28f2251c274" },
        { false, false, false, "7b2cc3b30e75b4777ea31027084363fd" },
        { true, false, false, "a1306b0595a6c7fe96c448631fb5cfbd5107bd1fe1da729d978dd7446b812363" },
    };
    char got[HTTP_DIGEST_MAX];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        d.sha256 = rows[i].sha256;
        d.session = rows[i].session;
        d.qop = rows[i].qop;
        assert_int_equal(http_digest_response(&d, got), 0);
        assert_string_equal(got, rows[i].response);
    }
    d = (struct http_digest){ .login = &rfc2617,
                              .realm = "testrealm@host.com",
                              .nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093",
                              .cnonce = "0a4f113b",
                              .method = "GET",
                              .uri = "/dir/index.html" };
    assert_int_equal(http_digest_response(&d, got), 0);
    assert_string_equal(got, "670fd8c2df070c60b045671b8b24ff02");
    d.qop = true;
    assert_int_equal(http_digest_response(&d, got), 0);
    assert_string_equal(got, "6629fae49393a05397450978507c4ef1");
}

/* Every form, with characters that need an escape and some beyond ASCII; what is sent is escaped, what is hashed not.
 */
static void test_whole_digest(void **state)
{
    (void)state;
#define START  "Digest username=\"us\\\"er\\\\\", realm=\"re\\\"al\\\\m\", nonce=\"no\\\"nce\", uri=\"" URI "\""
#define QOP    ", qop=auth, nc=00000001"
#define NEEDED ", cnonce=\"" CNONCE "\""
#define OPAQUE ", opaque=\"o\\\"p\""
    static const struct {
        const char *params, *sent;
        enum http_scheme scheme;
    } rows[] = {
        { "", START ", response=\"f8bad08abfb917cfc4cd9da7409e0cd4\"" OPAQUE, HTTP_SCHEME_DIGEST_MD5 },
        { ", algorithm=MD5", START ", algorithm=MD5, response=\"f8bad08abfb917cfc4cd9da7409e0cd4\"" OPAQUE,
          HTTP_SCHEME_DIGEST_MD5 },
        { ", qop=\"auth\"", START ", response=\"f6be5b87f1a52dde360b9b2d3c24c94c\"" QOP NEEDED OPAQUE,
          HTTP_SCHEME_DIGEST_MD5 },
        { ", algorithm=\"md5-SESS\"",
          START ", algorithm=MD5-sess, response=\"afa661665985ddc642702384623d437a\"" NEEDED OPAQUE,
          HTTP_SCHEME_DIGEST_MD5 },
        { ", algorithm=MD5-sess, qop=auth",
          START ", algorithm=MD5-sess, response=\"d468a6078ca1c10845444c74fa22a992\"" QOP NEEDED OPAQUE,
          HTTP_SCHEME_DIGEST_MD5 },
        { ", algorithm=sha-256",
          START
          ", algorithm=SHA-256, response=\"44dd59d379c32993c501ec2af8e9c96a513dea87ee2599089bfb87e211211021\"" OPAQUE,
          HTTP_SCHEME_DIGEST_SHA256 },
        { ", algorithm=SHA-256, qop=\"auth-int,AUTH\"",
          START ", algorithm=SHA-256, response=\"effc29da839a5045e5ae72103fbc06732e1e589c103114897154219e95ef9616\"" QOP
              NEEDED OPAQUE,
          HTTP_SCHEME_DIGEST_SHA256 },
        { ", algorithm=SHA-256-sess",
          START ", algorithm=SHA-256-sess, "
                "response=\"577f1ec7066cdbe71eee8872245df929f7cdf0a4946d40ef694a2cc0bc510a6b\"" NEEDED OPAQUE,
          HTTP_SCHEME_DIGEST_SHA256 },
        { ", algorithm=SHA-256-sess, qop=\" auth , auth-int\"",
          START
          ", algorithm=SHA-256-sess, response=\"90eac88e7f75d416542f54cce1520d9cb89fa35da087f296f56adc8cc53a2884\"" QOP
              NEEDED OPAQUE,
          HTTP_SCHEME_DIGEST_SHA256 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char line[512];
        snprintf(line, sizeof line, "Digest realm=\"re\\\"al\\\\m\", nonce=\"no\\\"nce\", opaque=\"o\\\"p\"%s",
                 rows[i].params);
        challenged(line);
        assert_int_equal(answer_as("us\"er\\", "p\"\xc3\xa4\\:s", sizeof out), 0);
        assert_string_equal(out, rows[i].sent);
        assert_int_equal(scheme, rows[i].scheme);
        assert_false(stale);
        /* exactly the room it needs, and one byte less */
        size_t need = strlen(rows[i].sent) + 1;
        assert_int_equal(answer_as("us\"er\\", "p\"\xc3\xa4\\:s", need), 0);
        assert_int_equal(answer_as("us\"er\\", "p\"\xc3\xa4\\:s", need - 1), ERR_LIMIT);
        assert_int_equal(answer_as("us\"er\\", "p\"\xc3\xa4\\:s", 0), ERR_LIMIT);
    }
}

static void test_names_are_sent_as_utf8(void **state)
{
    (void)state;
    challenged("Digest realm=\"p\xc3\xa4\", nonce=x, qop=auth, charset=UTF-8");
    assert_int_equal(answer_as("J\xc3\xa4s\xc3\xb8n", "pass", sizeof out), 0);
    assert_non_null(strstr(out, "username=\"J\xc3\xa4s\xc3\xb8n\", realm=\"p\xc3\xa4\""));
}

/* ---- Basic ---- */

static void test_basic(void **state)
{
    (void)state;
    static const struct {
        const char *user, *password, *sent;
    } rows[] = {
        { "Aladdin", "open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==" }, /* RFC 7617 2 */
        { "test", "123\xc2\xa3", "Basic dGVzdDoxMjPCow==" },                /* RFC 7617 2.1 */
        { "", "", "Basic Og==" },
        { "a", "", "Basic YTo=" },
        { "ab", "", "Basic YWI6" },
        { "a", ":\"\\:", "Basic YTo6Ilw6" },
        { "\xff", "\xff\xff\xff\xff", "Basic /zr/////" },
    };
    challenged("Basic realm=\"foo\", charset=\"UTF-8\"");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(answer_as(rows[i].user, rows[i].password, sizeof out), 0);
        assert_string_equal(out, rows[i].sent);
        assert_int_equal(scheme, HTTP_SCHEME_BASIC);
        size_t need = strlen(rows[i].sent) + 1;
        assert_int_equal(answer_as(rows[i].user, rows[i].password, need), 0);
        assert_int_equal(answer_as(rows[i].user, rows[i].password, need - 1), ERR_LIMIT);
        for (size_t k = 0; k < need - 1; k++)
            assert_int_equal(out[k], 0); /* nothing of the password is left */
    }
}

static void test_what_a_name_cannot_hold(void **state)
{
    (void)state;
    challenged("Basic realm=x");
    assert_int_equal(answer_as("us:er", "pass", sizeof out), ERR_USAGE); /* RFC 7617 2 */
    assert_int_equal(scheme, HTTP_SCHEME_BASIC);
    assert_int_equal(answer_as("us\ner", "pass", sizeof out), ERR_USAGE);
    assert_int_equal(answer_as("user", "pa\tss", sizeof out), ERR_USAGE);
    challenged("Digest realm=x, nonce=y");
    assert_int_equal(answer_as("us:er", "pass", sizeof out), 0);
    assert_int_equal(answer_as("us\r\nX: y", "pass", sizeof out), ERR_USAGE);
    assert_int_equal(answer_as("us\x7f", "pass", sizeof out), ERR_USAGE);
}

/* ---- which one ---- */

static void test_choice(void **state)
{
    (void)state;
#define MD5    "Digest realm=\"r\", nonce=\"m\""
#define SHA256 "Digest realm=\"r\", nonce=\"s\", algorithm=SHA-256"
    static const struct {
        const char *lines;
        enum http_scheme scheme;
        const char *has; /* in the answer; NULL: nothing */
        const char *offered;
    } rows[] = {
        { "", HTTP_SCHEME_NONE, NULL, "" },
        { "Negotiate\nNTLM", HTTP_SCHEME_NONE, NULL, "Negotiate, NTLM" },
        { "Negotiate, NTLM", HTTP_SCHEME_NONE, NULL, "Negotiate, NTLM" },
        { "NTLM TlRMTVNTUAAB+/==, Basic realm=\"x\"", HTTP_SCHEME_BASIC, "Basic ", "NTLM, Basic" },
        { "Negotiate abc=\nBasic realm=\"x\"", HTTP_SCHEME_BASIC, "Basic ", "Negotiate, Basic" },
        { "Bearer realm=\"x\", scope=\"Basic realm=y\"", HTTP_SCHEME_NONE, NULL, "Bearer" },
        { "Basic", HTTP_SCHEME_BASIC, "Basic ", "Basic" },
        { "bAsIc REALM=x", HTTP_SCHEME_BASIC, "Basic ", "bAsIc" },
        { "Basic realm=\"x\", " MD5, HTTP_SCHEME_DIGEST_MD5, "nonce=\"m\"", "Basic, Digest" },
        { MD5 ", Basic realm=\"x\"", HTTP_SCHEME_DIGEST_MD5, "nonce=\"m\"", "Digest, Basic" },
        { MD5 ", " SHA256 ", Basic realm=\"x\"", HTTP_SCHEME_DIGEST_SHA256, "nonce=\"s\"", "Digest, Basic" },
        { "Basic realm=\"x\"\n" SHA256 "\n" MD5, HTTP_SCHEME_DIGEST_SHA256, "nonce=\"s\"", "Basic, Digest" },
        { MD5 ", Digest realm=\"r\", nonce=\"n\"", HTTP_SCHEME_DIGEST_MD5, "nonce=\"m\"", "Digest" },
        { "Negotiate, NTLM, Basic realm=\"a, b=\\\"c\", DIGEST nonce=e,realm=d", HTTP_SCHEME_DIGEST_MD5, "realm=\"d\"",
          "Negotiate, NTLM, Basic, DIGEST" },
        { ",, , Basic ,,realm=a,,", HTTP_SCHEME_BASIC, "Basic ", "Basic" },
        { "Digest \t realm = \"a\" ,nonce\t=\t\"b\" , qop = \"auth\"", HTTP_SCHEME_DIGEST_MD5, "qop=auth", "Digest" },
        { "Digest realm=\"a\", nonce=\"b\", domain=\"/x /y\", charset=UTF-8, userhash=false", HTTP_SCHEME_DIGEST_MD5,
          "nonce=\"b\"", "Digest" },
        { "Digest realm=\"\", nonce=\"\"", HTTP_SCHEME_DIGEST_MD5, "nonce=\"\"", "Digest" },
        /* what of Digest cannot be answered */
        { "Digest realm=\"a\"", HTTP_SCHEME_NONE, NULL, "Digest" },
        { "Digest nonce=\"a\"", HTTP_SCHEME_NONE, NULL, "Digest" },
        { "Digest realm=\"a\", nonce=\"b\", algorithm=SHA-512-256", HTTP_SCHEME_NONE, NULL, "Digest" },
        { "Digest realm=\"a\", nonce=\"b\", algorithm=MD5-other", HTTP_SCHEME_NONE, NULL, "Digest" },
        { "Digest realm=\"a\", nonce=\"b\", qop=\"auth-int\"", HTTP_SCHEME_NONE, NULL, "Digest" },
        { "Digest realm=\"a\", nonce=\"b\", qop=\"\"", HTTP_SCHEME_NONE, NULL, "Digest" },
        { SHA256 ", qop=auth-int, " MD5, HTTP_SCHEME_DIGEST_MD5, "nonce=\"m\"", "Digest" },
        /* what cannot be read ends its line; what stood in front of it counts, and so do the other lines */
        { "Basic realm=\"x", HTTP_SCHEME_NONE, NULL, "" },
        { "Basic realm=\"x\\", HTTP_SCHEME_NONE, NULL, "" },
        { "Basic realm=\"x\" Digest", HTTP_SCHEME_NONE, NULL, "" },
        { "=", HTTP_SCHEME_NONE, NULL, "" },
        { "\"Basic\"", HTTP_SCHEME_NONE, NULL, "" },
        { MD5 ", Basic realm=\"x", HTTP_SCHEME_DIGEST_MD5, "nonce=\"m\"", "Digest" },
        { "NTLM, Basic @", HTTP_SCHEME_NONE, NULL, "NTLM" },
        { "Basic realm=\"x\n" MD5, HTTP_SCHEME_DIGEST_MD5, "nonce=\"m\"", "Digest" },
        { "aVeryLongSchemeNameThatNobodyKnows", HTTP_SCHEME_NONE, NULL, "" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char names[64];
        int err = answer(rows[i].lines);
        http_schemes(&a, names, sizeof names);
        if (strcmp(names, rows[i].offered) != 0 || scheme != rows[i].scheme)
            fail_msg("\"%s\": scheme %d of \"%s\"", rows[i].lines, scheme, names);
        assert_int_equal(err, rows[i].has ? 0 : ERR_PEER);
        if (rows[i].has)
            assert_non_null(strstr(out, rows[i].has));
    }
}

static void test_stale(void **state)
{
    (void)state;
    assert_int_equal(answer("Digest realm=a, nonce=b, stale=true"), 0);
    assert_true(stale);
    assert_int_equal(answer("Digest realm=a, nonce=b, stale=\"TRUE\""), 0);
    assert_true(stale);
    assert_int_equal(answer("Digest realm=a, nonce=b, stale=false"), 0);
    assert_false(stale);
    assert_int_equal(answer("Digest realm=a, nonce=b"), 0);
    assert_false(stale);
    /* of the one that is answered */
    assert_int_equal(answer("Digest realm=a, nonce=b, stale=true\nDigest realm=a, nonce=c, algorithm=SHA-256"), 0);
    assert_false(stale);
    assert_int_equal(answer("NTLM"), ERR_PEER);
    assert_false(stale);
}

static void test_schemes_in_little_room(void **state)
{
    (void)state;
    challenged("Negotiate, NTLM, Basic realm=x, Digest nonce=y");
    static const char whole[] = "Negotiate, NTLM, Basic, Digest";
    for (size_t cap = 0; cap < 60; cap++) {
        char names[60];
        memset(names, '!', sizeof names);
        http_schemes(&a, names, cap);
        if (cap) {
            assert_non_null(memchr(names, 0, cap));
            for (const char *p = names; *p; p++)
                assert_true(*p != '!');
        }
        for (size_t i = cap; i < sizeof names; i++)
            assert_int_equal(names[i], '!');
        if (cap > sizeof whole + 2)
            assert_string_equal(names, whole);
    }
}

/* The longest values that a line can hold, and the line cut at every place. */
static void test_long_and_cut(void **state)
{
    (void)state;
    char line[512], nonce[480];
    memset(nonce, '"', sizeof nonce);
    for (size_t i = 0; i < sizeof nonce; i += 2)
        nonce[i] = '\\'; /* each escaped */
    snprintf(line, sizeof line, "Digest realm=a,nonce=\"%.480s\"", nonce);
    assert_int_equal(answer(line), 0);
    assert_int_equal(a.n_challenges, 1);
    assert_true(strlen(out) > 480);

    static const char full[] =
        "Digest realm=\"re\\\"alm\", nonce=\"nonce\", qop=\"auth,auth-int\", algorithm=SHA-256-sess, stale=true";
    for (size_t n = 0; n <= sizeof full - 1; n++) {
        snprintf(line, sizeof line, "%.*s", (int)n, full);
        int err = answer(line);
        assert_true(err == 0 || err == ERR_PEER);
        if (n < strlen("Digest realm=\"re\\\"alm\", nonce=\"nonce\""))
            assert_int_equal(err, ERR_PEER);
        snprintf(line, sizeof line, "%.*s\nBasic realm=x", (int)n, full); /* the next line is not touched */
        assert_int_equal(answer(line), 0);
    }
}

static void test_random_challenges(void **state)
{
    (void)state;
    static const char good[] = "Negotiate YII==, Basic realm=\"a\", Digest realm=\"b\\\"c\", nonce=\"n\", qop=\"auth\"";
    uint32_t x = 99;
    unsigned by_scheme[4] = { 0 };
    for (unsigned run = 0; run < 20000; run++) {
        http_answer_init(&a);
        a.n_challenges = 1;
        memcpy(a.challenge[0], good, sizeof good);
        for (unsigned i = 0; i <= run % 4; i++) {
            x = x * 1664525u + 1013904223u;
            a.challenge[0][(x >> 8) % (sizeof good - 1)] ^= (char)(1u << (x >> 3) % 7);
        }
        int err = answer_as("user", "topsecret", sizeof out);
        by_scheme[scheme]++;
        assert_int_equal(err, scheme == HTTP_SCHEME_NONE ? ERR_PEER : 0);
        if (!err)
            assert_null(strstr(out, "topsecret"));
    }
    assert_true(by_scheme[HTTP_SCHEME_NONE] > 100 && by_scheme[HTTP_SCHEME_BASIC] > 100 &&
                by_scheme[HTTP_SCHEME_DIGEST_MD5] > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_digests),
        cmocka_unit_test(test_whole_digest),
        cmocka_unit_test(test_names_are_sent_as_utf8),
        cmocka_unit_test(test_basic),
        cmocka_unit_test(test_what_a_name_cannot_hold),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_stale),
        cmocka_unit_test(test_schemes_in_little_room),
        cmocka_unit_test(test_long_and_cut),
        cmocka_unit_test(test_random_challenges),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
