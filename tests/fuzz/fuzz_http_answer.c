/*
 * The head of an answer. The first two bytes of an input say where the rest is cut into three pieces; the verdict and
 * all results must be those of the uncut bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "http/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

/* Feeds the first n bytes from a copy of exactly that size. */
static enum http_answer_verdict feed(struct http_answer *a, const uint8_t *data, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    check(copy != NULL);
    if (n)
        memcpy(copy, data, n);
    enum http_answer_verdict v = http_answer_input(a, rd_make(copy, n));
    free(copy);
    return v;
}

static void check_printable(const char *text, size_t cap)
{
    check(memchr(text, 0, cap) != NULL);
    for (; *text; text++)
        check(*text >= ' ' && *text < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_answer whole, cut;
    struct rd in = rd_make(data, size);
    uint8_t x, y;
    if (!rd_u8(&in, &x) || !rd_u8(&in, &y))
        return 0;
    size_t n = rd_left(&in), first = n * x / 256, second = first + (n - first) * y / 256;
    memset(&whole, 0, sizeof whole);
    memset(&cut, 0, sizeof cut);
    http_answer_init(&whole);
    http_answer_init(&cut);
    enum http_answer_verdict v = feed(&whole, in.p, n);
    enum http_answer_verdict v1 = feed(&cut, in.p, first), v2 = feed(&cut, in.p, second), v3 = feed(&cut, in.p, n);
    check(v == v3 && (v1 == HTTP_ANSWER_MORE || v1 == v) && (v2 == HTTP_ANSWER_MORE || v2 == v));
    check(memcmp(&whole, &cut, sizeof whole) == 0);
    check(whole.head_len <= n && (whole.head_len > 0) == (v == HTTP_ANSWER_DONE));
    check((v == HTTP_ANSWER_BAD) == (whole.why != NULL));
    check(v != HTTP_ANSWER_MORE || n < HTTP_ANSWER_MAX);
    check(v != HTTP_ANSWER_DONE || (whole.status >= 100 && whole.status <= 599 && whole.minor >= 0));
    check(!whole.sstp_length || whole.length == UINT64_MAX);
    check(whole.n_challenges <= HTTP_ANSWER_CHALLENGES);
    check_printable(whole.reason, sizeof whole.reason);
    check_printable(whole.server, sizeof whole.server);
    check_printable(whole.location, sizeof whole.location);
    return 0;
}
