#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/ct.h"
#include "http/head.h"
#include "http/uri.h"

#define NAME "sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}"
#define CALL SSTP_METHOD " " SSTP_URI " HTTP/1.1\r\n"

static uint32_t seed;

static uint32_t rnd(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(seed >> 8) * below >> 24);
}

/* ---- request heads ---- */

static struct http_head one_shot(const void *data, size_t len)
{
    struct http_head h;
    http_head_init(&h);
    enum http_verdict v = http_head_input(&h, rd_make(data, len));
    assert_int_equal(v, h.verdict);
    return h;
}

static void same_result(const struct http_head *a, const struct http_head *b)
{
    assert_int_equal(a->verdict, b->verdict);
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->head_len, b->head_len);
    assert_int_equal(a->s.pos, b->s.pos);
    assert_true(a->why == b->why);
    assert_true(a->has_length == b->has_length);
    assert_string_equal(a->method, b->method);
    assert_string_equal(a->host, b->host);
    assert_string_equal(a->corr, b->corr);
}

/* The bytes in two pieces, cut everywhere, and one by one; every call sees them at another address. */
static struct http_head all_splits(const char *data, size_t len)
{
    struct http_head whole = one_shot(data, len), h;
    for (size_t cut = 0; cut <= len; cut++) {
        http_head_init(&h);
        char *first = malloc(cut + 1);
        memcpy(first, data, cut);
        http_head_input(&h, rd_make(first, cut));
        free(first);
        http_head_input(&h, rd_make(data, len));
        same_result(&whole, &h);
    }
    http_head_init(&h);
    for (size_t n = 0; n <= len; n++)
        http_head_input(&h, rd_make(data, n));
    same_result(&whole, &h);
    assert_int_equal(http_head_input(&h, rd_make(data, len)), whole.verdict);
    return whole;
}

struct spelling {
    enum http_verdict verdict;
    int status;
    const char *text;
};

/* What decides, decides with the last byte of its text: without it the verdict is HTTP_MORE. */
static const struct spelling spellings[] = {
    /* no request: web, at the first byte that is wrong */
    { HTTP_WEB, 0, "\x16" },
    { HTTP_WEB, 0, "\r\n\x16" },
    { HTTP_WEB, 0, "\x80" },
    { HTTP_WEB, 0, " \t GET /x\n" },
    { HTTP_WEB, 0, "GET\x01" },
    { HTTP_WEB, 0, "GE(" },
    { HTTP_WEB, 0, "GET\n" },
    { HTTP_WEB, 0, "GET\r\n" },
    { HTTP_WEB, 0, "GET \n" },
    { HTTP_WEB, 0, "SSH-2.0-OpenSSH_9.2\r\n" },
    /* web, at the ? or at the end of the line */
    { HTTP_WEB, 0, "GET /?" },
    { HTTP_WEB, 0, "GET ?" },
    { HTTP_WEB, 0, "GET /x?" },
    { HTTP_WEB, 0, "GET / HTTP/1.1\r\n" },
    { HTTP_WEB, 0, "GET / HTTP/1.1\n" },
    { HTTP_WEB, 0, "GET /#x HTTP/1.1\r\n" },
    { HTTP_WEB, 0, "GET /x HTTP/9.9\r\n" },
    { HTTP_WEB, 0, "GET /x y z\r\n" },
    { HTTP_WEB, 0, "GET /x\r\n" },
    { HTTP_WEB, 0, "GET /x\n" },
    { HTTP_WEB, 0, "CONNECT example.com:443 HTTP/1.1\r\n" },
    { HTTP_WEB, 0, "OPTIONS * HTTP/1.1\r\n" },
    { HTTP_WEB, 0, "PRI * HTTP/2.0\r\n" },
    { HTTP_WEB, 0, SSTP_METHOD " / HTTP/1.1\r\n" },
    { HTTP_WEB, 0, SSTP_METHOD " /sra_{00000000-CD49-458b-9E23-C84EE0ADCD75}/ HTTP/1.1\r\n" },
    { HTTP_WEB, 0, "GET http://www.example.com HTTP/1.1\r\n" },
    { HTTP_WEB, 0, "GET http://www.example.com?" },
    /* the URI by other methods */
    { HTTP_PROBE, 0, "GET " SSTP_URI " HTTP/1.1\r\n\r\n" },
    { HTTP_PROBE, 0, "HEAD " SSTP_URI " HTTP/1.0\r\n\r\n" },
    { HTTP_PROBE, 0, "sstp_duplex_post " SSTP_URI " HTTP/1.1\r\n\r\n" },
    { HTTP_PROBE, 0, SSTP_METHOD "S " SSTP_URI " HTTP/1.1\r\n\r\n" },
    { HTTP_PROBE, 0, "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ " SSTP_URI " HTTP/1.1\r\n\r\n" },
    { HTTP_PROBE, 0, "GET /" NAME " HTTP/1.1\r\n\r\n" },
    { HTTP_PROBE, 0, "GET /" NAME "? HTTP/1.1\r\n\r\n" },
    { HTTP_PROBE, 0, "GET " SSTP_URI "?a=/../x%zz HTTP/1.1\r\n\r\n" },
    { HTTP_PROBE, 0, "GET " SSTP_URI "#top HTTP/1.1\r\n\r\n" },
    { HTTP_PROBE, 0, "GET " SSTP_URI "#top?x HTTP/1.1\r\n\r\n" },
    { HTTP_PROBE, 0, "CONNECT " SSTP_URI " HTTP/1.1\r\n\r\n" },
    { HTTP_PROBE, 0, "PUT /x/.." SSTP_URI " HTTP/1.0\r\nContent-Length: 3\r\n\r\n" },
    { HTTP_PROBE, 0, "GET " SSTP_URI " HTTP/1.1\n\n" },
    { HTTP_PROBE, 0, "GET  \t " SSTP_URI " \t HTTP/1.1  \r\n\r\n" },
    { HTTP_PROBE, 0, " \tGET " SSTP_URI " HTTP/1.1\r\n\r\n" }, /* servers that split at blanks read it */
    { HTTP_PROBE, 0, "GET\r\v\f" SSTP_URI " HTTP/1.1\r\nA: b\r\n\r\n" },
    { HTTP_PROBE, 0, "\r\n\n\r\r\n\r\n\r\n\r\nGET " SSTP_URI " HTTP/1.1\r\n\r\n" },
    /* SSTP, in every spelling of the URI */
    { HTTP_SSTP, 0, CALL "\r\n" },
    { HTTP_SSTP, 0, "\r\n" CALL "\r\n" },
    { HTTP_SSTP, 0, SSTP_METHOD " " SSTP_URI "?tenantid=a%20b HTTP/1.1\r\n\r\n" },
    { HTTP_SSTP, 0, SSTP_METHOD " /SRA_{ba195980-cd49-458B-9e23-c84ee0adcd75}/ HTTP/1.1\r\n\r\n" },
    { HTTP_SSTP, 0, SSTP_METHOD " /sra_%7BBA195980-CD49-458b-9E23-C84EE0ADCD75%7d/ HTTP/1.1\r\n\r\n" },
    { HTTP_SSTP, 0, SSTP_METHOD " /%73%52a_{BA195980%2dCD49-458b-9E23-C84EE0ADCD7%35}%2f HTTP/1.1\r\n\r\n" },
    { HTTP_SSTP, 0, SSTP_METHOD " http://vpn.example.com" SSTP_URI " HTTP/1.1\r\n\r\n" },
    { HTTP_SSTP, 0, SSTP_METHOD " HTTPS://[2001:db8::1]:443" SSTP_URI " HTTP/1.1\r\n\r\n" },
    { HTTP_SSTP, 0, SSTP_METHOD " x-1+y.z://user@host%41" SSTP_URI " HTTP/1.1\r\n\r\n" },
    { HTTP_SSTP, 0, SSTP_METHOD " https://" SSTP_URI " HTTP/1.1\r\n\r\n" },
    { HTTP_SSTP, 0, SSTP_METHOD " //" SSTP_URI "// HTTP/1.1\r\n\r\n" },
    { HTTP_SSTP, 0, SSTP_METHOD " /./%2e/.." SSTP_URI "./ HTTP/1.1\r\n\r\n" },
    { HTTP_SSTP, 0, SSTP_METHOD " " SSTP_URI ". HTTP/1.1\r\n\r\n" },
    { HTTP_SSTP, 0, SSTP_METHOD " " SSTP_URI "%2e." SSTP_URI " HTTP/1.1\r\n\r\n" },
    { HTTP_SSTP, 0, CALL "A:b\nb: \t c\t \r\nc: \xc3\xa4\xff:d\r\n\n" },
    /* a head that cannot be served */
    { HTTP_BAD, 404, SSTP_METHOD " /" NAME " HTTP/1.1\r\n" },
    { HTTP_BAD, 404, SSTP_METHOD " /" NAME "?x HTTP/1.1\r\n" },
    { HTTP_BAD, 505, SSTP_METHOD " " SSTP_URI " HTTP/1.0\r\n" },
    { HTTP_BAD, 505, SSTP_METHOD " " SSTP_URI " HTTP/1.2\r\n" },
    { HTTP_BAD, 505, "GET " SSTP_URI " HTTP/2.0\r\n" },
    { HTTP_BAD, 400, SSTP_METHOD " " SSTP_URI " http/1.1\r\n" },
    { HTTP_BAD, 400, SSTP_METHOD " " SSTP_URI " HTTP/1.1x\r\n" },
    { HTTP_BAD, 400, SSTP_METHOD " " SSTP_URI " HTTP/11\r\n" },
    { HTTP_BAD, 400, SSTP_METHOD " " SSTP_URI " x HTTP/1.1\r\n" },
    { HTTP_BAD, 400, "GET " SSTP_URI " HTTP/1.1 HTTP/1.1\r\n" },
    { HTTP_BAD, 400, "GET /x /.." SSTP_URI " HTTP/1.1\r\n" }, /* blanks in a target */
    { HTTP_BAD, 400, "GET /x\t/.." SSTP_URI " HTTP/1.1\r\n" },
    { HTTP_BAD, 400, "GET " SSTP_URI " x?y HTTP/1.1\r\n" },
    { HTTP_BAD, 400, "GET /x HTTP/1.1/../.." SSTP_URI "\r\n" },
    { HTTP_BAD, 505, "GET /x/.." SSTP_URI " HTTP/3.7\r\n" },
    { HTTP_BAD, 400, "GET " SSTP_URI "\r\n" },
    { HTTP_BAD, 400, "GET " SSTP_URI "\n" },
    { HTTP_BAD, 400, "GET " SSTP_URI "?q\n" },
    { HTTP_BAD, 400, CALL " a: b\r\n" },
    { HTTP_BAD, 400, CALL "A: b\r\n\tc: d\r\n" },
    { HTTP_BAD, 400, CALL "no colon\r\n" },
    { HTTP_BAD, 400, CALL "nocolon\r\n" },
    { HTTP_BAD, 400, CALL ": b\r\n" },
    { HTTP_BAD, 400, CALL "A : b\r\n" },
    { HTTP_BAD, 400, CALL "A(: b\r\n" },
    { HTTP_BAD, 400, CALL "A: b\rc\r\n" },
    { HTTP_BAD, 400, CALL "A: b\r\r\n" },
    { HTTP_BAD, 400, CALL "\r\r\n" },
    { HTTP_BAD, 400, CALL "A: b\x01\r\n" },
    { HTTP_BAD, 400, CALL "A: b\x7f\r\n" },
    { HTTP_BAD, 400, CALL "Content-Length:\r\n" },
    { HTTP_BAD, 400, CALL "Content-Length: -1\r\n" },
    { HTTP_BAD, 400, CALL "content-length: 1 2\r\n" },
    { HTTP_BAD, 400, CALL "transfer-ENCODING: chunked\r\n" },
};

static void test_spellings(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof spellings / sizeof spellings[0]; i++) {
        const struct spelling *s = &spellings[i];
        size_t len = strlen(s->text);
        struct http_head h = all_splits(s->text, len), before = one_shot(s->text, len - 1);
        if (h.verdict != s->verdict || h.status != s->status || before.verdict != HTTP_MORE)
            fail_msg("%s: verdict %d status %d, one byte earlier %d", s->text, h.verdict, h.status, before.verdict);
        assert_int_equal(h.s.pos, len);
        assert_int_equal(h.head_len, s->verdict == HTTP_SSTP || s->verdict == HTTP_PROBE ? len : 0);
        assert_true((h.why != NULL) == (s->verdict == HTTP_BAD));
    }
}

/* Every spelling, in every place where a server decides otherwise, and what comes close. %s is the URI's segment. */
static const struct {
    enum uri_match match;
    const char *target;
} targets[] = {
    /* plain */
    { URI_SSTP, "/%s/" },
    { URI_NO_SLASH, "/%s" },
    { URI_OTHER, "/" },
    { URI_OTHER, "" },
    { URI_OTHER, "*" },
    { URI_OTHER, "/%sx/" },
    { URI_OTHER, "/x%s/" },
    { URI_OTHER, "/%s./" }, /* only in Windows file names it is the same */
    { URI_OTHER, "/%s%%20/" },
    { URI_OTHER, "/%s%s/" },
    { URI_OTHER, "/%s/x" },
    { URI_OTHER, "/%s/%s/" },
    { URI_OTHER, "/x/%s/" },
    { URI_OTHER, "/sra_/" },
    { URI_OTHER, "/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75/" },
    { URI_OTHER, "/sra_BA195980-CD49-458b-9E23-C84EE0ADCD75/" },
    { URI_OTHER, "/\xff%s/" },
    { URI_OTHER, "example.com:443" },
    { URI_OTHER, "%s:443" },
    { URI_SSTP, "%s/" }, /* no first slash */
    /* letters */
    { URI_SSTP, "/SRA_{ba195980-cd49-458B-9e23-c84ee0adcd75}/" },
    { URI_OTHER, "/\xd3ra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/" },
    /* percent-encoding, once */
    { URI_SSTP, "/sra_%%7BBA195980-CD49-458b-9E23-C84EE0ADCD75%%7d/" },
    { URI_SSTP, "/%%73%%52a_{BA195980%%2dCD49-458b-9E23-C84EE0ADCD7%%35}%%2f" },
    { URI_SSTP, "%%2F%s/" },
    { URI_SSTP, "/%s%%2f" },
    { URI_SSTP, "/x%%2f..%%2f%s/" },
    { URI_SSTP, "/x%%2f..%%2F%s/" },
    { URI_SSTP, "/x%%2Fy/../%s/" }, /* of one segment */
    { URI_OTHER, "/%s%%2fx" },
    { URI_OTHER, "/%%25sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/" },
    { URI_OTHER, "/%%2573ra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/" },
    { URI_OTHER, "/x/%%252e%%252e/%s/" },
    { URI_OTHER, "/%s%%3f" },
    { URI_OTHER, "/%s%%3fx/" },
    { URI_OTHER, "/%s%%23/" },
    { URI_OTHER, "/%%/%s/" },
    { URI_SSTP, "/%%/../%s/" },
    { URI_SSTP, "/%%g/../%s/" },
    { URI_SSTP, "/%%2/../%s/" },
    { URI_OTHER, "/%s%%" },
    { URI_OTHER, "/%s%%7" },
    { URI_SSTP, "/%%u0073ra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/" },
    { URI_SSTP, "/x/%%U002E./%s%%u002f" },
    { URI_OTHER, "/%%u0173ra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/" },
    { URI_OTHER, "/%%u073ra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/" },
    { URI_OTHER, "/%%u25%%3733ra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/" },
    /* empty segments */
    { URI_SSTP, "//%s/" },
    { URI_SSTP, "///%s///" },
    { URI_OTHER, "//%s//x" },
    { URI_SSTP, "/%s//.." },    /* where empty segments count */
    { URI_SSTP, "/x//../%s/" }, /* where they do not */
    { URI_SSTP, "//x/../%s/" },
    { URI_SSTP, "//host/%s/" }, /* an authority to some */
    { URI_NO_SLASH, "//host:1/%s" },
    { URI_OTHER, "/x//host/%s/" },
    { URI_OTHER, "///host/%s/" },
    /* dot segments */
    { URI_SSTP, "/./%s/" },
    { URI_SSTP, "/%s/." },
    { URI_SSTP, "/%s/./" },
    { URI_SSTP, "/../%s/" },
    { URI_SSTP, "/../../..//../%s/" },
    { URI_SSTP, "/x/../%s/" },
    { URI_NO_SLASH, "/x/../%s" },
    { URI_SSTP, "/%s/x/.." },
    { URI_SSTP, "/%s/x/../" },
    { URI_SSTP, "/%s/x/y/../../" },
    { URI_SSTP, "/a/b/../c/../../%s/d/.." },
    { URI_SSTP, "/%s/../%s/" },
    { URI_OTHER, "/%s/.." },
    { URI_OTHER, "/%s/../" },
    { URI_OTHER, "/%s/../x/" },
    { URI_OTHER, "/%s/x/../y" },
    { URI_OTHER, "/%s/..." },
    { URI_OTHER, "/.../%s/" },
    { URI_OTHER, "/x/./%s/" },
    { URI_OTHER, "/a/b/../%s/" },
    { URI_OTHER, "/.%s/" },
    { URI_SSTP, "/x/%%2e%%2E/%s/" },
    { URI_SSTP, "/x/.%%2e/%s/" },
    { URI_SSTP, "/%%2e/%s/%%2e" },
    { URI_SSTP, "/%s/%%2e%%2e/.." }, /* %2e is text */
    { URI_SSTP, "/%s/a%%2fb/%%2e%%2e/" },
    /* backslashes */
    { URI_SSTP, "\\%s\\" },
    { URI_SSTP, "/%s\\" },
    { URI_SSTP, "/x\\..\\%s/" },
    { URI_SSTP, "/x%%5c..%%5C%s/" },
    { URI_SSTP, "/x\\y/../%s/" },
    { URI_OTHER, "/%s\\x" },
    { URI_OTHER, "/x\\%s/" },
    /* parameters */
    { URI_NO_SLASH, "/%s;v=1" },
    { URI_SSTP, "/%s;v=1/" },
    { URI_SSTP, "/%s/;v=1" },
    { URI_SSTP, "/x/..;/%s/" },
    { URI_SSTP, "/x;a=b;c/..;d/%s;e/" },
    { URI_SSTP, "/;/%s/" },
    { URI_SSTP, "/.;x/%s/" },
    { URI_SSTP, "/%s/..;/../" }, /* a plain segment to most */
    { URI_SSTP, "/%s%%3bv/" },
    { URI_OTHER, "/;%s/" },
    { URI_OTHER, "/x;/%s/" },
    { URI_OTHER, "/%s;/x" },
    /* absolute-form */
    { URI_SSTP, "http://vpn.example.com/%s/" },
    { URI_SSTP, "HTTPS://[2001:db8::1]:443/%s/" },
    { URI_SSTP, "x-1+y.z://user@host%%41/%s/" },
    { URI_SSTP, "http://u:p;q@host//./%s/" },
    { URI_SSTP, "https:///%s/" },
    { URI_SSTP, "https:/%s/" },
    { URI_SSTP, "https:%s/" },
    { URI_SSTP, "http://host\\%s/" },
    { URI_SSTP, "http:\\\\host\\%s/" },
    { URI_SSTP, "http://a\\b/%s/" },
    { URI_SSTP, "http://host/x/..;/../%s/" },
    { URI_NO_SLASH, "http://host/%s" },
    { URI_OTHER, "http://host" },
    { URI_OTHER, "http://host/" },
    { URI_OTHER, "http://host/x/%s/" },
    { URI_OTHER, "http:/host/%s/" },
    { URI_OTHER, "1http://host/%s/" },
    { URI_OTHER, "ht_tp://host/%s/" },
    { URI_OTHER, "://host/%s/" },
    /* where a path may end */
    { URI_SSTP, "/%s/#" },
    { URI_SSTP, "/%s/#/../x" },
    { URI_SSTP, "/x#/../%s/" },
    { URI_OTHER, "/#/%s/" },
    { URI_OTHER, "/x#%s/" },
    { URI_SSTP, "/%s/%%00" },
    { URI_NO_SLASH, "/%s%%00.html" },
    { URI_SSTP, "/x%%00/../%s/" },
    { URI_OTHER, "/%%00/%s/" },
    { URI_SSTP, "/%s/ HTTP/1.1" },
    { URI_NO_SLASH, "/%s\tHTTP/1.1\r" },
    { URI_SSTP, "/x\v/../%s/ HTTP/1.1" },
    { URI_OTHER, "/ /%s/" },
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static size_t spell(char *out, size_t cap, const char *format)
{
    size_t n = 0;
    for (; *format; format++) {
        assert_true(n + sizeof NAME < cap);
        if (format[0] == '%' && format[1] == 's') {
            memcpy(out + n, NAME, sizeof NAME - 1);
            n += sizeof NAME - 1;
            format++;
        } else {
            format += format[0] == '%'; /* %% */
            out[n++] = *format;
        }
    }
    out[n] = 0;
    return n;
}

static void test_targets(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(targets); i++) {
        static const char *const methods[] = { "GET", "HEAD", "get", "X-any" };
        char target[256], text[512];
        size_t len = spell(target, sizeof target, targets[i].target);
        enum uri_match m = uri_match(rd_make(target, len));
        if (m != targets[i].match)
            fail_msg("%s: %d", target, m);
        /* As a request: decided with the end of its line, or with its ?, and not before. */
        snprintf(text, sizeof text, "%s %s HTTP/1.1\r\n\r\n", methods[i % COUNT(methods)], target);
        struct http_head h = all_splits(text, strlen(text));
        if ((h.verdict == HTTP_WEB) != (m == URI_OTHER))
            fail_msg("%s: verdict %d", text, h.verdict);
        assert_int_equal(one_shot(text, strlen(text) - 3).verdict, HTTP_MORE);
        snprintf(text, sizeof text, "GET %s?", target);
        assert_int_equal(all_splits(text, strlen(text)).verdict == HTTP_WEB, m == URI_OTHER);
        assert_int_equal(one_shot(text, strlen(text) - 1).verdict, HTTP_MORE);
        if (h.verdict == HTTP_PROBE) { /* a call, if it has its slash */
            snprintf(text, sizeof text, SSTP_METHOD " %s HTTP/1.1\r\n\r\n", target);
            h = all_splits(text, strlen(text));
            assert_int_equal(h.verdict, m == URI_SSTP ? HTTP_SSTP : HTTP_BAD);
            assert_int_equal(h.status, m == URI_SSTP ? 0 : 404);
        }
    }
}

/* What carries the name and is long is not read any further. */
static void test_long_targets(void **state)
{
    (void)state;
    for (size_t n = URI_READ_MAX; n <= URI_READ_MAX + 1; n++) {
        char target[URI_READ_MAX + 1];
        memset(target, 'x', n);
        memcpy(target, "/x" SSTP_URI, strlen("/x" SSTP_URI));
        assert_int_equal(uri_match(rd_make(target, n)), n <= URI_READ_MAX ? URI_OTHER : URI_NO_SLASH);
        memset(target, 'x', n);
        assert_int_equal(uri_match(rd_make(target, n)), URI_OTHER);
    }
}

/* ---- the same question, asked in another way ---- */

/* The value of an escape at the start of the text, "%2f" or "%u002f", and its length; 0 when there is none. */
static size_t escape(const char *at, unsigned *value)
{
    size_t start = at[0] != '%' ? 0 : at[1] == 'u' || at[1] == 'U' ? 2 : 1, digits = start == 2 ? 4 : 2;
    char text[5] = "";
    if (!start || strspn(at + start, "0123456789abcdefABCDEF") < digits)
        return 0;
    memcpy(text, at + start, digits);
    *value = (unsigned)strtoul(text, NULL, 16);
    return start + digits;
}

/* The target as a text of structure: '/', '.', ';' mean what they are; what is none of these stays or is a '*'. */
static void plain_text(const char *target, size_t len, unsigned how, char *out)
{
    for (size_t i = 0; i < len; i++) {
        unsigned v = 0;
        size_t n = escape(target + i, &v);
        bool escaped = n > 0;
        char c = target[i];
        if (escaped) {
            c = v < 128 ? (char)v : '*';
            i += n - 1;
        }
        if (c == '.' && escaped && !(how & 1))
            c = '*';
        if (strchr("/\\;", c) && c && escaped && !(how & 2))
            c = '*';
        if (c == '\\')
            c = how & 4 ? '/' : '*';
        if (c == ';' && !(how & 8))
            c = '*';
        *out++ = c ? c : '*';
    }
    *out = 0;
}

/* RFC 3986 5.2.4, to the letter. */
static void remove_dot_segments(char *in, char *out)
{
    *out = 0;
    while (*in) {
        if (strncmp(in, "/./", 3) == 0) {
            in += 2;
        } else if (strcmp(in, "/.") == 0) {
            *++in = '/';
        } else if (strncmp(in, "/../", 4) == 0 || strcmp(in, "/..") == 0) {
            if (in[3])
                in += 3;
            else
                *(in += 2) = '/';
            *(strrchr(out, '/') ? strrchr(out, '/') : out) = 0;
        } else {
            size_t n = 1 + strcspn(in + 1, "/");
            strncat(out, in, n);
            in += n;
        }
    }
}

static void erase(char *from, size_t n)
{
    memmove(from, from + n, strlen(from + n) + 1);
}

static bool is_uri_as(const char *target, size_t len, unsigned how)
{
    char text[600] = "/", out[600], *p;
    plain_text(target, len, how, text + (target[0] != 0));
    if (target[0] == 0 || text[1] == '/')
        erase(text, target[0] != 0);
    for (p = text; (p = strchr(p, ';'));)
        erase(p, strcspn(p, "/"));
    if ((how & 16) && strncmp(text, "//", 2) == 0) {
        erase(text, 2);
        erase(text, strcspn(text, "/"));
    }
    if (how & 32)
        while ((p = strstr(text, "//")))
            erase(p, 1);
    remove_dot_segments(text, out);
    if ((how & 32) && strncmp(out, "//", 2) == 0)
        erase(out, 1);
    return strcasecmp(out, SSTP_URI) == 0 || strcasecmp(out, "/" NAME) == 0;
}

static bool is_uri(const char *target)
{
    size_t len = strcspn(target, "?");
    size_t scheme = strspn(target, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");
    if (scheme && target[scheme] == ':' && (target[0] | 32) >= 'a' && (target[0] | 32) <= 'z') {
        target += scheme + 1;
        len -= scheme + 1;
    }
    for (unsigned how = 0; how < 64; how++)
        for (size_t end = 0; end <= len; end++)
            if ((end == len || strchr("# ", target[end]) || strncmp(target + end, "%00", 3) == 0) &&
                is_uri_as(target, end, how))
                return true;
    return false;
}

static void test_against_another(void **state)
{
    (void)state;
    static const char *const pieces[] = { "/",      "/",
                                          "/",      "/",
                                          "//",     "\\",
                                          "%2f",    "%5c",
                                          ".",      "..",
                                          "..",     "%2e",
                                          "%2E.",   ";",
                                          ";a=b",   "%3b",
                                          "x",      "yz",
                                          "%",      "%2",
                                          "#",      "%00",
                                          " ",      "?",
                                          "%u002e", "%u2f",
                                          "%25",    ":",
                                          "h:",     "..;",
                                          NAME,     "/" NAME,
                                          NAME "/", SSTP_URI,
                                          SSTP_URI, "/..",
                                          "/../",   "%73ra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}" };
    seed = 5;
    unsigned hits = 0;
    for (int round = 0; round < 20000; round++) {
        char target[512] = "", text[600];
        bool named = false;
        for (uint32_t k = 1 + rnd(7); k > 0 || !named; k -= k > 0) {
            size_t which = rnd(k ? COUNT(pieces) : 4) + (k ? 0 : COUNT(pieces) - 8);
            if (strlen(target) + strlen(pieces[which]) > 400)
                break;
            named = named || strlen(pieces[which]) > 30;
            strcat(target, pieces[which]);
        }
        bool want = is_uri(target);
        hits += want;
        size_t len = strcspn(target, "?");
        if ((uri_match(rd_make(target, len)) != URI_OTHER) != want)
            fail_msg("%s: %s", target, want ? "is the URI" : "is not");
        int n = snprintf(text, sizeof text, "GET %s%s HTTP/1.1\r\n\r\n", target[0] == ' ' ? "x" : "", target);
        if (target[0] != ' ')
            assert_int_equal(one_shot(text, (size_t)n).verdict != HTTP_WEB, want);
    }
    assert_true(hits > 2000 && hits < 18000); /* the pieces are such that both happen */
}

static void test_nul_bytes(void **state)
{
    (void)state;
    static const char in_method[] = "GE\0", in_path[] = "GET /sra_\0 HTTP/1.1\r\n", in_header[] = CALL "A: b\0c\r\n",
                      at_end[] = "GET " SSTP_URI "\0.html HTTP/1.1\r\n\r\n";
    assert_int_equal(all_splits(in_method, 3).verdict, HTTP_WEB);
    assert_int_equal(all_splits(in_path, sizeof in_path - 1).verdict, HTTP_WEB);
    assert_int_equal(all_splits(at_end, sizeof at_end - 1).verdict, HTTP_PROBE);
    assert_int_equal(all_splits(in_header, sizeof in_header - 1).status, 400);
    assert_int_equal(all_splits("\0", 1).verdict, HTTP_WEB);
}

static void test_first_bytes(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        char byte = (char)c;
        bool token = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
                     (c && c < 128 && strchr("!#$%&'*+-.^_`|~", c));
        struct http_head h = one_shot(&byte, 1);
        assert_int_equal(h.verdict, token || (c && strchr("\r\n\t\v\f ", c)) ? HTTP_MORE : HTTP_WEB);
    }
}

/* Each byte of the URI's segment, replaced by each other one, is web unless it is another case or ends the path. */
static void test_every_wrong_byte(void **state)
{
    (void)state;
    const char good[] = "GET " SSTP_URI " HTTP/1.1\r\n\r\n";
    for (size_t at = 5; at < 5 + strlen(NAME); at++) {
        for (int c = 0; c < 256; c++) {
            char text[sizeof good];
            memcpy(text, good, sizeof good);
            text[at] = (char)c;
            bool same = c == good[at] || (((good[at] | 32) >= 'a') && ((good[at] | 32) <= 'z') && c == (good[at] ^ 32));
            assert_int_equal(one_shot(text, at + 1).verdict, c == '?' || c == '\n' ? HTTP_WEB : HTTP_MORE);
            assert_int_equal(one_shot(text, sizeof good - 1).verdict, same ? HTTP_PROBE : HTTP_WEB);
        }
    }
}

static json_t *vectors(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", VECTORS_DIR, name);
    json_t *root = json_load_file(path, 0, NULL);
    assert_non_null(root);
    return root;
}

/* The first two steps of the session are these texts. */
static void is_step(json_t *session, size_t i, const char *want)
{
    const char *hex = json_string_value(json_object_get(json_array_get(json_object_get(session, "steps"), i), "hex"));
    uint8_t bytes[512];
    size_t n = strlen(hex) / 2;
    assert_true(n <= sizeof bytes && hex_decode(hex, 2 * n, bytes, n));
    assert_int_equal(n, strlen(want));
    assert_memory_equal(bytes, want, n);
}

static void test_session_vector(void **state)
{
    (void)state;
    json_t *root = vectors("session-mschapv2.json");
    const char *request = json_string_value(json_object_get(root, "text_http_request"));
    const char *response = json_string_value(json_object_get(root, "text_http_response"));
    size_t len = strlen(request), n = strlen(response);
    is_step(root, 0, request);
    is_step(root, 1, response);
    struct http_head h = all_splits(request, len);
    assert_int_equal(h.verdict, HTTP_SSTP);
    assert_int_equal(h.head_len, len);
    assert_true(h.has_length);
    assert_string_equal(h.method, "SSTP_DUPLEX_POST");
    assert_string_equal(h.host, "vpn.example.test");
    assert_string_equal(h.corr, "{6C9C8C0E-5D1B-4F7A-9C55-0A1B2C3D4E5F}");

    /* The first packets may come in the same segment as the head. */
    char *more = malloc(len + 14);
    memcpy(more, request, len);
    memset(more + len, 0x10, 14);
    h = all_splits(more, len + 14);
    assert_int_equal(h.verdict, HTTP_SSTP);
    assert_int_equal(h.head_len, len);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(one_shot(request, cut).verdict, HTTP_MORE);

    char out[256];
    assert_int_equal(http_sstp_accept(out, sizeof out, 1163033469), n); /* Thu, 09 Nov 2006 00:51:09 GMT */
    assert_memory_equal(out, response, n);
    for (size_t cap = 0; cap < n; cap++)
        assert_int_equal(http_sstp_accept(out, cap, 1163033469), 0);
    assert_int_equal(http_sstp_accept(out, n, 1163033469), n);
    free(more);
    json_decref(root);
}

static void test_captured_headers(void **state)
{
    (void)state;
    /* The order and case of sstpc and Open SSTP; values lose their blanks. */
    const char *text = CALL "host: \t vpn:443\t \r\nCONTENT-LENGTH: 0\r\nX:\r\nsstpcorrelationid:abc\r\n\r\n";
    struct http_head h = all_splits(text, strlen(text));
    assert_int_equal(h.verdict, HTTP_SSTP);
    assert_false(h.has_length);
    assert_string_equal(h.host, "vpn:443");
    assert_string_equal(h.corr, "abc");

    char line[1400], name[1001];
    memset(name, 'n', 1000);
    name[1000] = 0;
    snprintf(line, sizeof line, CALL "Host: %s\r\nContent-Length: %.99s\r\nSSTPCORRELATIONID: %.200s\r\n\r\n", name,
             "00000000000000000000000000000000000000000000000000000018446744073709551615", name);
    h = one_shot(line, strlen(line));
    assert_int_equal(h.verdict, HTTP_SSTP);
    assert_int_equal(strlen(h.host), sizeof h.host - 1);
    assert_int_equal(strlen(h.corr), sizeof h.corr - 1);
    assert_false(h.has_length);
}

static void test_method_is_cut(void **state)
{
    (void)state;
    char text[200];
    for (int n = 1; n < 60; n++) {
        snprintf(text, sizeof text, "%.*s " SSTP_URI " HTTP/1.1\r\n\r\n", n,
                 "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGH");
        struct http_head h = one_shot(text, strlen(text));
        assert_int_equal(h.verdict, HTTP_PROBE);
        assert_int_equal(strlen(h.method), n < HTTP_METHOD_MAX ? n : HTTP_METHOD_MAX);
        assert_memory_equal(h.method, text, strlen(h.method));
    }
}

static void test_header_count(void **state)
{
    (void)state;
    char text[4096];
    for (int lines = HTTP_HEADERS_MAX - 1; lines <= HTTP_HEADERS_MAX + 1; lines++) {
        strcpy(text, CALL);
        for (int i = 0; i < lines; i++)
            strcat(text, "A: b\r\n");
        strcat(text, "\r\n");
        struct http_head h = one_shot(text, strlen(text));
        assert_int_equal(h.verdict, lines <= HTTP_HEADERS_MAX ? HTTP_SSTP : HTTP_BAD);
        assert_int_equal(h.status, lines <= HTTP_HEADERS_MAX ? 0 : 431);
    }
}

/* Whatever is repeated without end stays undecided for exactly HTTP_HEAD_MAX bytes and is then refused. */
static void test_head_size(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *start, *repeat;
    } endless[] = {
        { 414, "", "\r\n" },
        { 414, "", "A" },
        { 414, "GET ", " " },
        { 414, "GET /", "./" },
        { 414, "GET /", "x" },
        { 414, "GET /x", " " },
        { 414, "GET ", "/" },
        { 414, "GET ", "a" },
        { 414, "GET http://", "host" },
        { 414, "GET " SSTP_URI "?", "x" },
        { 414, "GET " SSTP_URI " ", " " },
        { 414, "GET ", SSTP_URI ".." },
        { 431, CALL "A: ", "b" },
    };
    char buf[HTTP_HEAD_MAX + 100];
    for (size_t i = 0; i < sizeof endless / sizeof endless[0]; i++) {
        size_t len = strlen(endless[i].start), unit = strlen(endless[i].repeat);
        memcpy(buf, endless[i].start, len);
        for (size_t n = 0; len < sizeof buf; n++)
            buf[len++] = endless[i].repeat[n % unit];
        struct http_head h = one_shot(buf, HTTP_HEAD_MAX - 1);
        assert_int_equal(h.verdict, HTTP_MORE);
        assert_int_equal(http_head_input(&h, rd_make(buf, HTTP_HEAD_MAX)), HTTP_BAD);
        assert_int_equal(h.status, endless[i].status);
        assert_non_null(h.why);
        h = one_shot(buf, sizeof buf);
        assert_int_equal(h.verdict, HTTP_BAD);
        assert_int_equal(h.s.pos, HTTP_HEAD_MAX);
    }
    /* A path of the web that ends just in time; a query of any length. */
    for (int more = 0; more < 2; more++) {
        memset(buf, 'x', sizeof buf);
        memcpy(buf, "GET /", 5);
        buf[HTTP_HEAD_MAX - 1 + more] = '\n';
        assert_int_equal(one_shot(buf, sizeof buf).verdict, more ? HTTP_BAD : HTTP_WEB);
        buf[HTTP_HEAD_MAX - 1 + more] = '?';
        assert_int_equal(one_shot(buf, sizeof buf).verdict, more ? HTTP_BAD : HTTP_WEB);
    }
    /* A head of exactly the largest size is good. */
    for (int more = 0; more < 2; more++) {
        memset(buf, 'v', sizeof buf);
        memcpy(buf, CALL "A: ", strlen(CALL) + 3);
        memcpy(buf + HTTP_HEAD_MAX - 4 + more, "\r\n\r\n", 4);
        assert_int_equal(one_shot(buf, sizeof buf).verdict, more ? HTTP_BAD : HTTP_SSTP);
    }
}

/* A shrinking buffer is a mistake of the caller; nothing may be read beyond what is there. */
static void test_shrunk_buffer(void **state)
{
    (void)state;
    struct http_head h = one_shot("GET /sra", 8);
    assert_int_equal(http_head_input(&h, rd_make("GET", 3)), HTTP_MORE);
    assert_int_equal(http_head_input(&h, rd_make(NULL, 0)), HTTP_MORE);
}

/* Mutated and cut spellings: the verdict does not depend on the splits, and results hold what the header says. */
static void test_random_heads(void **state)
{
    (void)state;
    seed = 1;
    for (int round = 0; round < 20000; round++) {
        char text[512];
        const char *from = spellings[rnd(sizeof spellings / sizeof spellings[0])].text;
        size_t len = (size_t)snprintf(text, sizeof text, "%sHost: a\r\nContent-Length: 1\r\n\r\n", from);
        for (uint32_t k = rnd(4); k > 0; k--)
            text[rnd((uint32_t)len)] = (char)(rnd(2) ? rnd(256) : (uint32_t) "/.%2e \r\n\t:"[rnd(10)]);
        struct http_head whole = one_shot(text, len), h;
        http_head_init(&h);
        for (size_t n = rnd(20); n < len; n += 1 + rnd(40))
            http_head_input(&h, rd_make(text, n));
        http_head_input(&h, rd_make(text, len));
        same_result(&whole, &h);
        bool complete = h.verdict == HTTP_SSTP || h.verdict == HTTP_PROBE;
        assert_true(complete == (h.head_len > 0) && h.head_len <= len);
        assert_true((h.verdict == HTTP_BAD) == (h.status != 0));
    }
}

/* ---- answers ---- */

static void test_dates(void **state)
{
    (void)state;
    char out[256], want[64];
    seed = 2;
    for (int i = 0; i < 100000; i++) {
        static const int64_t edge[] = { 0, 68169600, 951782400, 951868800, 4107542399, 4107542400, 253402300799 };
        int64_t t = i < 7 ? edge[i] : (int64_t)((uint64_t)rnd(1 << 24) * 1509 + rnd(1509)) * 10;
        struct tm tm;
        time_t as_time = t;
        assert_true(strftime(want, sizeof want, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", gmtime_r(&as_time, &tm)) > 0);
        size_t n = http_sstp_accept(out, sizeof out - 1, t);
        out[n] = 0;
        if (!strstr(out, want))
            fail_msg("%lld: %s, not %s", (long long)t, out, want);
    }
    /* Out of range is the nearest that can be written. */
    out[http_sstp_accept(out, sizeof out - 1, -1)] = 0;
    assert_non_null(strstr(out, "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"));
    out[http_sstp_accept(out, sizeof out - 1, INT64_MAX)] = 0;
    assert_non_null(strstr(out, "Date: Fri, 31 Dec 9999 23:59:59 GMT\r\n"));
}

static void test_error_reply(void **state)
{
    (void)state;
    char out[512];
    const char *want = "HTTP/1.1 503 Service Unavailable\r\nDate: Thu, 09 Nov 2006 00:51:09 GMT\r\n"
                       "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 9\r\n"
                       "Connection: close\r\n\r\ndraining\n";
    size_t n = http_error_reply(out, sizeof out, 503, 1163033469, "draining\n");
    assert_int_equal(n, strlen(want));
    assert_memory_equal(out, want, n);
    for (size_t cap = 0; cap < n; cap++)
        assert_int_equal(http_error_reply(out, cap, 503, 1163033469, "draining\n"), 0);

    want = "HTTP/1.1 401 Unauthorized\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nWWW-Authenticate: SSTP\r\n"
           "Content-Length: 0\r\nConnection: close\r\n\r\n";
    n = http_error_reply(out, sizeof out, 401, 0, NULL);
    assert_int_equal(n, strlen(want));
    assert_memory_equal(out, want, n);
    assert_int_equal(http_error_reply(out, sizeof out, 401, 0, ""), n);
    assert_string_equal(http_reason(404), "Not Found");
    assert_string_equal(http_reason(599), "Error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spellings),
        cmocka_unit_test(test_nul_bytes),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_against_another),
        cmocka_unit_test(test_long_targets),
        cmocka_unit_test(test_first_bytes),
        cmocka_unit_test(test_every_wrong_byte),
        cmocka_unit_test(test_session_vector),
        cmocka_unit_test(test_captured_headers),
        cmocka_unit_test(test_method_is_cut),
        cmocka_unit_test(test_header_count),
        cmocka_unit_test(test_head_size),
        cmocka_unit_test(test_shrunk_buffer),
        cmocka_unit_test(test_random_heads),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_error_reply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
