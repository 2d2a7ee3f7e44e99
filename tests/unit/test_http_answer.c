#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "http/answer.h"

static struct http_answer a;

/* From a copy of exactly that size. */
static enum http_answer_verdict feed(struct http_answer *into, const void *data, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    memcpy(copy, data, n);
    enum http_answer_verdict v = http_answer_input(into, rd_make(copy, n));
    free(copy);
    return v;
}

static enum http_answer_verdict whole(const void *data, size_t n)
{
    memset(&a, 0xee, sizeof a);
    http_answer_init(&a);
    return feed(&a, data, n);
}

static enum http_answer_verdict text(const char *head)
{
    return whole(head, strlen(head));
}

static void test_windows(void **state)
{
    (void)state;
    json_error_t e;
    json_t *root = json_load_file(VECTORS_DIR "/session-mschapv2.json", 0, &e);
    const char *head = json_string_value(json_object_get(root, "text_http_response"));
    assert_non_null(head);
    assert_int_equal(text(head), HTTP_ANSWER_DONE);
    assert_int_equal(a.head_len, strlen(head));
    assert_int_equal(a.status, 200);
    assert_int_equal(a.minor, 1);
    assert_string_equal(a.reason, "");
    assert_string_equal(a.server, "Microsoft-HTTPAPI/2.0");
    assert_true(a.has_length && a.sstp_length);
    assert_true(a.length == UINT64_MAX);
    assert_false(a.chunked || a.close);
    json_decref(root);
}

static void test_status_lines(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        int status, minor; /* status 0: refused */
        const char *reason;
    } rows[] = {
        { "HTTP/1.1 200 OK", 200, 1, "OK" },
        { "HTTP/1.1 200 ", 200, 1, "" },
        { "HTTP/1.1 200", 200, 1, "" },
        { "HTTP/1.0 200 Connection established", 200, 0, "Connection established" },
        { "HTTP/1.9 599 x", 599, 9, "x" },
        { "HTTP/1.1 100 Continue", 100, 1, "Continue" }, /* interim answers are told as they are */
        { "HTTP/1.1 101", 101, 1, "" },
        { "HTTP/1.1 407  two \t ", 407, 1, "two" },
        { "HTTP/1.1 404 n\xc3\xa4h", 404, 1, "n??h" },
        { "HTTP/1.1 099 x", 0, 1, "" },
        { "HTTP/1.1 600 x", 0, 1, "" },
        { "HTTP/1.1 999 x", 0, 1, "" },
        { "HTTP/1.1 20 OK", 0, 1, "" },
        { "HTTP/1.1 2000 OK", 0, 1, "" },
        { "HTTP/1.1 +20 OK", 0, 1, "" },
        { "HTTP/1.1 200\tOK", 0, 1, "" },
        { "HTTP/1.1  200 OK", 0, 1, "" },
        { "HTTP/1.1\t200 OK", 0, -1, "" },
        { "HTTP/1.1", 0, -1, "" },
        { "HTTP/1.1 ", 0, 1, "" },
        { "HTTP/0.9 200 OK", 0, -1, "" },
        { "HTTP/2 200", 0, -1, "" },
        { "HTTP/2.0 200 OK", 0, -1, "" },
        { "HTTP/11 200 OK", 0, -1, "" },
        { "HTTP/1.10 200 OK", 0, -1, "" },
        { "HTTP/1.x 200 OK", 0, -1, "" },
        { "http/1.1 200 OK", 0, -1, "" },
        { " HTTP/1.1 200 OK", 0, -1, "" },
        { "", 0, -1, "" },
        { "<html>", 0, -1, "" },
        { "PRI * HTTP/2.0", 0, -1, "" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int lf = 0; lf < 2; lf++) {
            char head[128];
            const char *end = lf ? "\n" : "\r\n";
            snprintf(head, sizeof head, "%s%s%s", rows[i].line, end, end);
            enum http_answer_verdict v = text(head);
            if (v != (rows[i].status ? HTTP_ANSWER_DONE : HTTP_ANSWER_BAD))
                fail_msg("%s: %d, %s", rows[i].line, v, a.why ? a.why : "");
            assert_int_equal(a.status, rows[i].status);
            assert_int_equal(a.minor, rows[i].minor);
            assert_string_equal(a.reason, rows[i].reason);
            assert_int_equal(a.head_len, rows[i].status ? strlen(head) : 0);
            assert_int_equal(a.why != NULL, !rows[i].status);
        }
}

/* What answers other protocols is known by its first bytes, not by a line that may never end. */
static void test_no_http_is_seen_at_once(void **state)
{
    (void)state;
    static const char http2[] = { 0, 0, 18, 4, 0, 0, 0, 0, 0 }; /* a SETTINGS frame */
    assert_int_equal(whole(http2, 1), HTTP_ANSWER_BAD);
    assert_int_equal(text("SSH-2.0-x"), HTTP_ANSWER_BAD);
    assert_string_equal(a.why, "no HTTP answer");
    assert_int_equal(text("<"), HTTP_ANSWER_BAD);
    assert_int_equal(text("HTT"), HTTP_ANSWER_MORE);
    assert_int_equal(text("HTTp"), HTTP_ANSWER_BAD);
    assert_int_equal(text("\r\nHTTP/1.1 200\r\n\r\n"), HTTP_ANSWER_BAD);
    assert_int_equal(text(""), HTTP_ANSWER_MORE);
}

static void test_header_lines(void **state)
{
    (void)state;
    static const struct {
        const char *lines, *why; /* NULL: taken */
    } rows[] = {
        { "X: y\r\n", NULL },
        { "X:y\r\n", NULL },
        { "X:\r\n", NULL },
        { "X:\t y \t\r\n", NULL },
        { "X: \xff\xfe\r\n", NULL },
        { "!#$%&'*+-.^_`|~9z: y\n", NULL },
        { "X: y\r\n folded\r\n", "folded header line" },
        { "X: y\r\n\tfolded\r\n", "folded header line" },
        { " \r\n", "folded header line" },
        { "X : y\r\n", "malformed header line" },
        { "X\r\n", "malformed header line" },
        { ": y\r\n", "malformed header line" },
        { "X y: z\r\n", "malformed header line" },
        { "X\xc3\xa4: z\r\n", "malformed header line" },
        { "HTTP/1.1 200 OK\r\n", "malformed header line" },
        { "X: a\rY: b\r\n", "CR without LF" },
        { "X: a\r\r\n", "CR without LF" },
        { "X: a\x01\r\n", "control character in the head" },
        { "X: a\x7f\r\n", "control character in the head" },
        { "X: \x1b[2J\r\n", "control character in the head" },
        { "Content-Length: \r\n", "malformed Content-Length" },
        { "Content-Length: -1\r\n", "malformed Content-Length" },
        { "Content-Length: +1\r\n", "malformed Content-Length" },
        { "Content-Length: 1 1\r\n", "malformed Content-Length" },
        { "Content-Length: 0x10\r\n", "malformed Content-Length" },
        { "Content-Length: 5, 5\r\n", "malformed Content-Length" },
        { "Content-Length: 5\r\nContent-Length: 5\r\n", NULL },
        { "Content-Length: 5\r\nX: y\r\ncontent-length: 005\r\n", NULL },
        { "Content-Length: 5\r\nContent-Length: 6\r\n", "two different values of Content-Length" },
        { "Content-Length: 5\r\nContent-Length: 55\r\n", "two different values of Content-Length" },
        { "Content-Length: 18446744073709551616\r\nContent-Length: 18446744073709551617\r\n",
          "two different values of Content-Length" },
        { "Content-Length: 18446744073709551615\r\nContent-Length: 0\r\n", "two different values of Content-Length" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char head[256];
        snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\n%s\r\n", rows[i].lines);
        enum http_answer_verdict v = text(head);
        if (v != (rows[i].why ? HTTP_ANSWER_BAD : HTTP_ANSWER_DONE))
            fail_msg("%s: %d %s", rows[i].lines, v, a.why ? a.why : "");
        if (rows[i].why)
            assert_string_equal(a.why, rows[i].why);
    }
    static const char nul[] = "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n";
    assert_int_equal(whole(nul, sizeof nul - 1), HTTP_ANSWER_BAD);
    assert_string_equal(a.why, "control character in the head");
    static const char nul_status[] = "HTTP/1.1 200 O\0K\r\n\r\n";
    assert_int_equal(whole(nul_status, sizeof nul_status - 1), HTTP_ANSWER_BAD);
}

static void test_lengths(void **state)
{
    (void)state;
    static const struct {
        const char *digits;
        uint64_t length;
        bool sstp;
    } rows[] = {
        { "0", 0, false },
        { "000", 0, false },
        { "17", 17, false },
        { "18446744073709551614", UINT64_MAX - 1, false },
        { "18446744073709551615", UINT64_MAX, true },
        { "0018446744073709551615", UINT64_MAX, true },
        { "18446744073709551616", UINT64_MAX, false },
        { "18446744073709551620", UINT64_MAX, false },
        { "184467440737095516150", UINT64_MAX, false },
        { "99999999999999999999999999999999999999999999", UINT64_MAX, false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char head[128];
        snprintf(head, sizeof head, "HTTP/1.1 200\r\nCONTENT-length:%s\r\n\r\n", rows[i].digits);
        assert_int_equal(text(head), HTTP_ANSWER_DONE);
        assert_true(a.has_length && a.length == rows[i].length);
        assert_int_equal(a.sstp_length, rows[i].sstp);
    }
    assert_int_equal(text("HTTP/1.1 200\r\n\r\n"), HTTP_ANSWER_DONE);
    assert_false(a.has_length || a.sstp_length || a.length);
}

static void test_what_is_kept(void **state)
{
    (void)state;
    assert_int_equal(
        text("HTTP/1.1 302 Found\r\nserver:  nginx/1.22 \xe2\x80\xae\tx \r\nLOCATION: https://a.example/?b\r\n"
             "Connection: Keep-Alive,  CLOSE , x\r\nTransfer-Encoding: gzip\r\n"
             "Transfer-Encoding: deflate, Chunked\r\n\r\nbody"),
        HTTP_ANSWER_DONE);
    assert_string_equal(a.server, "nginx/1.22 ????x"); /* nothing that moves a cursor or turns text round */
    assert_string_equal(a.location, "https://a.example/?b");
    assert_true(a.close && a.chunked);
    assert_int_equal(text("HTTP/1.1 200 OK\r\nConnection: closed\r\nTransfer-Encoding: chunked, gzip\r\n\r\n"),
                     HTTP_ANSWER_DONE);
    assert_false(a.close || a.chunked);
    char head[1200], name[1000];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    snprintf(head, sizeof head, "HTTP/1.1 200 %.200s\r\nServer: %.200s\r\nLocation: %s\r\n\r\n", name, name,
             name + 300);
    assert_int_equal(text(head), HTTP_ANSWER_DONE);
    assert_int_equal(strlen(a.reason), sizeof a.reason - 1);
    assert_int_equal(strlen(a.server), sizeof a.server - 1);
    assert_int_equal(strlen(a.location), sizeof a.location - 1);
}

static void test_challenges(void **state)
{
    (void)state;
    const char *lines = "WWW-Authenticate: Basic realm=\"w\"\r\nProxy-Authenticate: Digest realm=\"p\xc3\xa4\"\r\n"
                        "proxy-authenticate: Negotiate\r\n";
    char head[4096];
    snprintf(head, sizeof head, "HTTP/1.1 407 x\r\n%s\r\n", lines);
    assert_int_equal(text(head), HTTP_ANSWER_DONE);
    assert_int_equal(a.n_challenges, 2);
    assert_string_equal(a.challenge[0], "Digest realm=\"p\xc3\xa4\""); /* as sent: it goes into a hash */
    assert_string_equal(a.challenge[1], "Negotiate");
    snprintf(head, sizeof head, "HTTP/1.1 401 x\r\n%s\r\n", lines);
    assert_int_equal(text(head), HTTP_ANSWER_DONE);
    assert_int_equal(a.n_challenges, 1);
    assert_string_equal(a.challenge[0], "Basic realm=\"w\"");
    snprintf(head, sizeof head, "HTTP/1.1 200 x\r\n%s\r\n", lines);
    assert_int_equal(text(head), HTTP_ANSWER_DONE);
    assert_int_equal(a.n_challenges, 0);

    /* one that is too long is left out; so are those past the last place */
    char value[513];
    memset(value, 'v', sizeof value);
    size_t n = (size_t)snprintf(head, sizeof head, "HTTP/1.1 407 x\r\n");
    n += (size_t)snprintf(head + n, sizeof head - n, "Proxy-Authenticate: %.512s\r\n", value);
    n += (size_t)snprintf(head + n, sizeof head - n, "Proxy-Authenticate: %.511s\r\n", value);
    for (int i = 0; i < 5; i++)
        n += (size_t)snprintf(head + n, sizeof head - n, "Proxy-Authenticate: s%d\r\n", i);
    snprintf(head + n, sizeof head - n, "\r\n");
    assert_int_equal(text(head), HTTP_ANSWER_DONE);
    assert_int_equal(a.n_challenges, HTTP_ANSWER_CHALLENGES);
    assert_int_equal(strlen(a.challenge[0]), 511);
    assert_string_equal(a.challenge[3], "s2");
}

static void test_trailing_bytes_are_not_of_the_head(void **state)
{
    (void)state;
    static const char head[] = "HTTP/1.1 200\r\n\r\n";
    static const char bytes[] = "HTTP/1.1 200\r\n\r\n\x10\x01\0\x08\0\x08\0\0";
    assert_int_equal(whole(bytes, sizeof bytes - 1), HTTP_ANSWER_DONE);
    assert_int_equal(a.head_len, sizeof head - 1);
    assert_int_equal(feed(&a, bytes, sizeof bytes - 1), HTTP_ANSWER_DONE); /* final */
    assert_int_equal(a.head_len, sizeof head - 1);
}

/* A head without end: refused at the limits, however it comes. */
static void test_bounds(void **state)
{
    (void)state;
    static char big[HTTP_ANSWER_MAX + 4096];
    size_t n = (size_t)snprintf(big, sizeof big, "HTTP/1.1 200 OK\r\nX: ");
    memset(big + n, 'a', sizeof big - n);
    assert_int_equal(whole(big, HTTP_ANSWER_MAX - 1), HTTP_ANSWER_MORE);
    assert_int_equal(whole(big, HTTP_ANSWER_MAX), HTTP_ANSWER_BAD);
    assert_string_equal(a.why, "head too large");
    assert_int_equal(whole(big, sizeof big), HTTP_ANSWER_BAD);
    memcpy(big + HTTP_ANSWER_MAX - 4, "\r\n\r\n", 4); /* the largest that is taken */
    assert_int_equal(whole(big, sizeof big), HTTP_ANSWER_DONE);
    assert_int_equal(a.head_len, HTTP_ANSWER_MAX);
    memcpy(big + HTTP_ANSWER_MAX - 4, "a\r\n\r\n", 5);
    assert_int_equal(whole(big, sizeof big), HTTP_ANSWER_BAD);

    memset(big + 9, '7', sizeof big - 9); /* a status line without end */
    assert_int_equal(whole(big, HTTP_ANSWER_MAX), HTTP_ANSWER_BAD);

    for (unsigned lines = HTTP_ANSWER_LINES; lines <= HTTP_ANSWER_LINES + 1; lines++) {
        n = (size_t)snprintf(big, sizeof big, "HTTP/1.1 200 OK\r\n");
        for (unsigned i = 0; i < lines; i++)
            n += (size_t)snprintf(big + n, sizeof big - n, "X: y\r\n");
        snprintf(big + n, sizeof big - n, "\r\n");
        assert_int_equal(text(big), lines > HTTP_ANSWER_LINES ? HTTP_ANSWER_BAD : HTTP_ANSWER_DONE);
    }
    assert_string_equal(a.why, "too many header lines");
}

static const char *const samples[] = {
    "HTTP/1.1 200\r\nContent-Length: 18446744073709551615\r\nServer: Microsoft-HTTPAPI/2.0\r\n\r\n",
    "HTTP/1.0 407 Proxy Authentication Required\nProxy-Authenticate: Basic realm=\"x\"\nConnection: close\n\n",
    "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 3\r\nContent-Length: 3\r\nConnection: close\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n",
};

/* One byte at a time is as good as all at once; nothing short of the end is a head. */
static void test_how_it_is_split_has_no_influence(void **state)
{
    (void)state;
    static struct http_answer bytewise;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        size_t n = strlen(samples[i]), at = 0;
        enum http_answer_verdict v = text(samples[i]), one = HTTP_ANSWER_MORE;
        assert_int_not_equal(v, HTTP_ANSWER_MORE);
        memset(&bytewise, 0, sizeof bytewise);
        http_answer_init(&bytewise);
        while (one == HTTP_ANSWER_MORE && at < n)
            one = feed(&bytewise, samples[i], ++at);
        assert_int_equal(one, v);
        assert_int_equal(v == HTTP_ANSWER_DONE ? n : bytewise.s.pos, at);
        struct http_answer clean = { 0 };
        http_answer_init(&clean);
        feed(&clean, samples[i], n);
        assert_memory_equal(&clean, &bytewise, sizeof clean);
    }
}

static void test_random_heads(void **state)
{
    (void)state;
    uint32_t x = 88172645u;
    unsigned verdicts[3] = { 0 };
    for (unsigned run = 0; run < 20000; run++) {
        char head[256];
        size_t n = strlen(samples[run % 3]);
        memcpy(head, samples[run % 3], n);
        for (unsigned i = 0; i < run % 5; i++) {
            x = x * 1664525u + 1013904223u;
            head[(x >> 8) % n] ^= (char)(1u << (x >> 3) % 8);
        }
        size_t len = run % 7 ? n : (x >> 8) % n;
        enum http_answer_verdict v = whole(head, len);
        verdicts[v]++;
        assert_int_equal(v == HTTP_ANSWER_BAD, a.why != NULL);
        assert_true(a.head_len <= len && (a.head_len > 0) == (v == HTTP_ANSWER_DONE));
        if (v == HTTP_ANSWER_DONE)
            assert_in_range(a.status, 100, 599);
    }
    assert_true(verdicts[HTTP_ANSWER_MORE] > 100 && verdicts[HTTP_ANSWER_DONE] > 100 &&
                verdicts[HTTP_ANSWER_BAD] > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_status_lines),
        cmocka_unit_test(test_no_http_is_seen_at_once),
        cmocka_unit_test(test_header_lines),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_what_is_kept),
        cmocka_unit_test(test_challenges),
        cmocka_unit_test(test_trailing_bytes_are_not_of_the_head),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_how_it_is_split_has_no_influence),
        cmocka_unit_test(test_random_heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
