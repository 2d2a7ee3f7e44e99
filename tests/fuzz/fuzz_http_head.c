/*
 * The request recogniser. The first two bytes of an input say where the rest is cut into three pieces; the verdict
 * and all results must be those of the uncut bytes. What goes to the web must not be a request for the URI in
 * its plain spelling, and must go there in letters of the other case, too.
 */
#include <stdlib.h>
#include <string.h>

#include "http/head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

/* Feeds the first n bytes from a copy of exactly that size. */
static enum http_verdict feed(struct http_head *h, const uint8_t *data, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    check(copy != NULL);
    if (n)
        memcpy(copy, data, n);
    enum http_verdict v = http_head_input(h, rd_make(copy, n));
    free(copy);
    return v;
}

/* "METHOD SSTP-URI" without anything odd, followed by what ends a target for everybody. */
static bool is_plain_uri(struct rd in)
{
    const char *uri = SSTP_URI;
    uint8_t c = 0;
    while (rd_u8(&in, &c) && c >= 'A' && c <= 'Z')
        ;
    if (c != ' ')
        return false;
    while (*uri && rd_u8(&in, &c) && c == (uint8_t)*uri)
        uri++;
    return !*uri && rd_u8(&in, &c) && (c == ' ' || c == '?' || c == '\r' || c == '\n');
}

static void check_web(const uint8_t *data, size_t n, bool web)
{
    struct http_head h;
    uint8_t *other = malloc(n ? n : 1);
    check(other != NULL);
    for (size_t i = 0; i < n; i++)
        other[i] = data[i] ^ ((data[i] >= 'A' && data[i] <= 'Z') || (data[i] >= 'a' && data[i] <= 'z') ? 0x20 : 0);
    http_head_init(&h);
    check((http_head_input(&h, rd_make(other, n)) == HTTP_WEB) == web);
    check(!web || n == 0 || data[0] == ' ' || !is_plain_uri(rd_make(data, n)));
    free(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd in = rd_make(data, size);
    uint8_t a, b;
    if (!rd_u8(&in, &a) || !rd_u8(&in, &b))
        return 0;
    size_t n = rd_left(&in), first = n * a / 256, second = first + (n - first) * b / 256;
    struct http_head whole, cut;
    http_head_init(&whole);
    http_head_init(&cut);
    enum http_verdict v = feed(&whole, in.p, n);
    enum http_verdict v1 = feed(&cut, in.p, first), v2 = feed(&cut, in.p, second), v3 = feed(&cut, in.p, n);
    check(v == v3 && (v1 == HTTP_MORE || v1 == v) && (v2 == HTTP_MORE || v2 == v));
    check(whole.status == cut.status && whole.why == cut.why && whole.head_len == cut.head_len);
    check(strcmp(whole.method, cut.method) == 0 && strcmp(whole.host, cut.host) == 0 &&
          strcmp(whole.corr, cut.corr) == 0 && whole.has_length == cut.has_length);
    check(whole.head_len <= n && (whole.head_len > 0) == (v == HTTP_SSTP || v == HTTP_PROBE));
    check((v == HTTP_BAD) == (whole.status != 0 && whole.why));
    check(v != HTTP_MORE || n < HTTP_HEAD_MAX);
    check_web(in.p, n, v == HTTP_WEB);
    check(v != HTTP_SSTP || strcmp(whole.method, SSTP_METHOD) == 0);
    return 0;
}
