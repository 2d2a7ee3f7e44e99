#include "http/answer.h"

#include <string.h>
#include <strings.h>

#include "http/octet.h"

static const char http_name[] = "HTTP/";
#define HTTP_NAME_LEN (sizeof http_name - 1)

void http_answer_init(struct http_answer *a)
{
    *a = (struct http_answer){ .verdict = HTTP_ANSWER_MORE, .minor = -1 };
}

static enum http_answer_verdict bad(struct http_answer *a, const char *why)
{
    a->why = why;
    return HTTP_ANSWER_BAD;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static struct rd trim(struct rd r)
{
    uint8_t c;
    while (rd_peek_u8(&r, &c) && is_blank(c) && rd_skip(&r, 1))
        ;
    while (rd_left(&r) && is_blank(r.end[-1]))
        r.end--;
    return r;
}

static bool same_text(struct rd r, const char *text)
{
    return rd_left(&r) == strlen(text) && !strncasecmp((const char *)r.p, text, rd_left(&r));
}

/* For people: cut, and nothing in it can move a cursor or pass for another line. */
static void keep(struct rd value, char *out, size_t cap)
{
    size_t n = 0;
    for (uint8_t c; n + 1 < cap && rd_u8(&value, &c); n++)
        out[n] = c >= ' ' && c < 0x7f ? (char)c : '?';
    out[n] = 0;
}

/* ---- status line, RFC 9112 4 ---- */

/* "1.x", then a blank. */
static bool version(struct rd *line, int *minor)
{
    uint8_t major, dot, digit, blank;
    if (!rd_u8(line, &major) || !rd_u8(line, &dot) || !rd_u8(line, &digit) || !rd_u8(line, &blank))
        return false;
    if (major != '1' || dot != '.' || !octet_is_digit(digit) || blank != ' ')
        return false;
    *minor = digit - '0';
    return true;
}

/* Three digits; the reason phrase and even the blank in front of it may be missing (MS-SSTP 4.1, Windows servers). */
static bool status(struct rd *line, int *out)
{
    uint8_t d[3], blank;
    if (!rd_copy(line, d, 3) || !octet_is_digit(d[0]) || !octet_is_digit(d[1]) || !octet_is_digit(d[2]))
        return false;
    *out = (d[0] - '0') * 100 + (d[1] - '0') * 10 + (d[2] - '0');
    return *out >= 100 && *out <= 599 && (!rd_u8(line, &blank) || blank == ' ');
}

static enum http_answer_verdict status_line(struct http_answer *a, struct rd line)
{
    int code;
    if (!rd_skip(&line, HTTP_NAME_LEN))
        return bad(a, "no HTTP answer");
    if (!version(&line, &a->minor))
        return bad(a, "another version of HTTP than 1.x");
    if (!status(&line, &code))
        return bad(a, "malformed status line");
    a->status = code;
    keep(trim(line), a->reason, sizeof a->reason);
    return HTTP_ANSWER_MORE;
}

/* ---- header lines, RFC 9112 5 ---- */

/* RFC 9112 6.3: lengths that differ cannot be recovered from; the same one again is harmless. */
static enum http_answer_verdict content_length(struct http_answer *a, struct rd value, struct rd all)
{
    uint64_t n = 0;
    uint8_t c;
    if (rd_end(&value))
        return bad(a, "malformed Content-Length");
    while (rd_left(&value) > 1 && value.p[0] == '0' && rd_skip(&value, 1))
        ;
    for (struct rd digits = value; rd_u8(&digits, &c);) {
        if (!octet_is_digit(c))
            return bad(a, "malformed Content-Length");
        unsigned d = c - '0';
        n = n > (UINT64_MAX - d) / 10 ? UINT64_MAX : n * 10 + d;
    }
    struct rd first;
    if (a->has_length && (!rd_skip(&all, a->s.length_at) || !rd_sub(&all, a->s.length_len, &first) ||
                          rd_left(&first) != rd_left(&value) || memcmp(first.p, value.p, rd_left(&value)) != 0))
        return bad(a, "two different values of Content-Length");
    if (!a->has_length) {
        a->s.length_at = (size_t)(value.p - all.p);
        a->s.length_len = rd_left(&value);
    }
    a->has_length = true;
    a->length = n;
    a->sstp_length = same_text(value, "18446744073709551615");
    return HTTP_ANSWER_MORE;
}

/* Takes the next element of a list (RFC 9110 5.6.1). */
static bool list_next(struct rd *list, struct rd *out)
{
    struct rd rest = *list;
    uint8_t c = 0;
    if (rd_end(list))
        return false;
    while (rd_u8(&rest, &c) && c != ',')
        ;
    const uint8_t *end = c == ',' ? rest.p - 1 : rest.p;
    *out = trim((struct rd){ list->p, end });
    *list = rest;
    return true;
}

static void keep_challenge(struct http_answer *a, struct rd value)
{
    if (a->n_challenges == HTTP_ANSWER_CHALLENGES)
        return;
    char *out = a->challenge[a->n_challenges];
    size_t n = rd_left(&value);
    if (n >= sizeof a->challenge[0] || !rd_copy(&value, out, n))
        return;
    out[n] = 0;
    a->n_challenges++;
}

static enum http_answer_verdict header_value(struct http_answer *a, struct rd name, struct rd value, struct rd all)
{
    struct rd item;
    if (same_text(name, "Content-Length"))
        return content_length(a, value, all);
    if (same_text(name, "Transfer-Encoding")) {
        while (list_next(&value, &item))
            a->chunked = same_text(item, "chunked"); /* the last one counts */
    } else if (same_text(name, "Connection")) {
        while (list_next(&value, &item))
            a->close = a->close || same_text(item, "close");
    } else if (same_text(name, "Server")) {
        keep(value, a->server, sizeof a->server);
    } else if (same_text(name, "Location")) {
        keep(value, a->location, sizeof a->location);
    } else if ((a->status == 401 && same_text(name, "WWW-Authenticate")) ||
               (a->status == 407 && same_text(name, "Proxy-Authenticate"))) {
        keep_challenge(a, value);
    }
    return HTTP_ANSWER_MORE;
}

static enum http_answer_verdict header_line(struct http_answer *a, struct rd line, struct rd all)
{
    struct rd rest = line, name;
    size_t name_len = 0;
    uint8_t c = 0;
    if (rd_end(&line)) {
        a->head_len = a->s.pos;
        return HTTP_ANSWER_DONE;
    }
    if (a->s.lines++ == HTTP_ANSWER_LINES)
        return bad(a, "too many header lines");
    if (is_blank(line.p[0]))
        return bad(a, "folded header line"); /* RFC 9112 5.2 */
    while (rd_u8(&rest, &c) && octet_is_token(c))
        name_len++;
    if (c != ':' || !name_len || !rd_sub(&line, name_len, &name))
        return bad(a, "malformed header line");
    return header_value(a, name, trim(rest), all);
}

/* ---- bytes ---- */

/* The line that ends with the LF looked at last. */
static enum http_answer_verdict line_end(struct http_answer *a, struct rd all)
{
    struct rd in = all, line;
    size_t start = a->s.line_start, end = a->s.pos - 1 - (a->s.cr ? 1 : 0);
    if (!rd_skip(&in, start) || !rd_sub(&in, end - start, &line))
        return bad(a, "no HTTP answer"); /* cannot be: the caller holds all bytes */
    a->s.line_start = a->s.pos;
    a->s.cr = false;
    return start ? header_line(a, line, all) : status_line(a, line);
}

static enum http_answer_verdict take(struct http_answer *a, uint8_t c, struct rd all)
{
    size_t at = a->s.pos++;
    if (at < HTTP_NAME_LEN && c != (uint8_t)http_name[at])
        return bad(a, "no HTTP answer");
    if (c == '\n')
        return line_end(a, all);
    if (a->s.cr)
        return bad(a, "CR without LF");
    if (c == '\r')
        a->s.cr = true;
    else if ((c < ' ' && c != '\t') || c == 0x7f)
        return bad(a, "control character in the head");
    return HTTP_ANSWER_MORE;
}

enum http_answer_verdict http_answer_input(struct http_answer *a, struct rd all)
{
    struct rd in = all;
    uint8_t c;
    if (!rd_skip(&in, a->s.pos))
        return a->verdict;
    while (a->verdict == HTTP_ANSWER_MORE && a->s.pos < HTTP_ANSWER_MAX && rd_u8(&in, &c))
        a->verdict = take(a, c, all);
    if (a->verdict == HTTP_ANSWER_MORE && a->s.pos == HTTP_ANSWER_MAX)
        a->verdict = bad(a, "head too large");
    return a->verdict;
}
