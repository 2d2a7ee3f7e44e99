#include "http/head.h"

#include <string.h>
#include <strings.h>

#include "http/octet.h"
#include "http/uri.h"

/* Where in the request the next byte belongs. */
enum step {
    STEP_START,   /* empty lines and blanks before the request */
    STEP_METHOD,  /* in the method */
    STEP_GAP,     /* blanks before the target */
    STEP_TARGET,  /* up to the first ?, or else the end of the line */
    STEP_QUERY,   /* the target is the SSTP URI; behind its ? */
    STEP_VERSION, /* up to the end of the request line */
    STEP_HEADER,  /* in a header line */
};

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static enum http_verdict bad(struct http_head *h, int status, const char *why)
{
    h->status = status;
    h->why = why;
    return HTTP_BAD;
}

static enum http_verdict go(struct http_head *h, enum step step)
{
    h->s.step = step;
    return HTTP_MORE;
}

void http_head_init(struct http_head *h)
{
    *h = (struct http_head){ .verdict = HTTP_MORE, .s.step = STEP_START };
}

static enum http_verdict method_byte(struct http_head *h, uint8_t c)
{
    if (octet_is_token(c)) {
        if (h->s.method_len < HTTP_METHOD_MAX)
            h->method[h->s.method_len] = (char)c;
        h->s.method_len++;
        return go(h, STEP_METHOD);
    }
    return octet_is_gap(c) && h->s.method_len ? go(h, STEP_GAP) : HTTP_WEB;
}

/* `len` bytes of `all` from `from`; no more than there are. */
static struct rd piece(struct rd all, size_t from, size_t len)
{
    struct rd sub = { 0 };
    if (!rd_skip(&all, from) || !rd_sub(&all, len, &sub))
        return rd_make("", 0);
    return sub;
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

/* The line in progress, which ends with the LF looked at last, without its CR LF or LF. */
static struct rd line_of(const struct http_head *h, struct rd all)
{
    struct rd line = piece(all, h->s.line_start, h->s.pos - 1 - h->s.line_start);
    if (rd_left(&line) && line.end[-1] == '\r')
        line.end--;
    return line;
}

static bool same_text(struct rd r, const char *text)
{
    return rd_left(&r) == strlen(text) && !strncasecmp((const char *)r.p, text, rd_left(&r));
}

/* The rest of the request line: the version alone. */
static enum http_verdict version_line(struct http_head *h, struct rd all)
{
    struct rd v = trim(line_of(h, all));
    uint8_t name[5], major, dot, minor;
    /* No version is HTTP/0.9, which web servers still answer. */
    if (!rd_copy(&v, name, 5) || memcmp(name, "HTTP/", 5) != 0 || !rd_u8(&v, &major) || !octet_is_digit(major) ||
        !rd_u8(&v, &dot) || dot != '.' || !rd_u8(&v, &minor) || !octet_is_digit(minor) || !rd_end(&v))
        return bad(h, 400, "malformed request line");
    bool sstp = strcmp(h->method, SSTP_METHOD) == 0;
    if (major != '1' || (sstp && minor != '1'))
        return bad(h, 505, "HTTP version not supported");
    if (sstp && !h->s.slash)
        return bad(h, 404, "URI without its trailing slash");
    h->s.line_start = h->s.pos;
    return go(h, STEP_HEADER);
}

static void keep(struct rd value, char *out, size_t cap)
{
    size_t n = rd_left(&value) < cap ? rd_left(&value) : cap - 1;
    memcpy(out, value.p, n);
    out[n] = 0;
}

static enum http_verdict header_value(struct http_head *h, struct rd name, struct rd value)
{
    if (same_text(name, "Transfer-Encoding"))
        return bad(h, 400, "Transfer-Encoding");
    if (same_text(name, "Content-Length")) {
        uint8_t c;
        bool max = same_text(value, "18446744073709551615");
        if (rd_end(&value))
            return bad(h, 400, "malformed Content-Length");
        while (rd_u8(&value, &c))
            if (!octet_is_digit(c))
                return bad(h, 400, "malformed Content-Length");
        h->has_length = h->has_length || max;
    } else if (same_text(name, "Host")) {
        keep(value, h->host, sizeof h->host);
    } else if (same_text(name, "SSTPCORRELATIONID")) {
        keep(value, h->corr, sizeof h->corr);
    }
    return HTTP_MORE;
}

static enum http_verdict header_line(struct http_head *h, struct rd all)
{
    struct rd line = line_of(h, all), rest = line;
    size_t name_len = 0;
    uint8_t c = 0;
    h->s.line_start = h->s.pos;
    if (rd_end(&line)) {
        h->head_len = h->s.pos;
        return strcmp(h->method, SSTP_METHOD) == 0 ? HTTP_SSTP : HTTP_PROBE;
    }
    if (h->s.lines++ == HTTP_HEADERS_MAX)
        return bad(h, 431, "too many header lines");
    /* A line that begins with a blank continues the one before (obs-fold, RFC 9112 5.2); blanks are no token. */
    while (rd_u8(&rest, &c) && octet_is_token(c))
        name_len++;
    if (c != ':' || !name_len)
        return bad(h, 400, "malformed header line");
    struct rd value = trim(rest);
    while (rd_u8(&rest, &c))
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return bad(h, 400, "control character in a header line");
    return header_value(h, piece(line, 0, name_len), value);
}

/* The version begins where the target ended first: at the first blank behind it, or with the byte looked at last. */
static enum http_verdict version_begins(struct http_head *h, uint8_t c, struct rd all)
{
    h->s.line_start = h->s.blank ? h->s.blank : h->s.pos - 1;
    h->s.step = STEP_VERSION;
    return c == '\n' ? version_line(h, all) : HTTP_MORE;
}

static enum http_verdict target_byte(struct http_head *h, uint8_t c, struct rd all)
{
    if (octet_is_gap(c) && !h->s.blank)
        h->s.blank = h->s.pos - 1;
    if (c != '?' && c != '\n')
        return HTTP_MORE;
    enum uri_match m = uri_match(piece(all, h->s.target, h->s.pos - 1 - h->s.target));
    h->s.slash = m == URI_SSTP;
    if (m == URI_OTHER)
        return HTTP_WEB;
    return c == '?' && !h->s.blank ? go(h, STEP_QUERY) : version_begins(h, c, all);
}

static enum http_verdict take(struct http_head *h, uint8_t c, struct rd all)
{
    switch ((enum step)h->s.step) {
    case STEP_START: return c == '\n' || octet_is_gap(c) ? HTTP_MORE : method_byte(h, c);
    case STEP_METHOD: return method_byte(h, c);
    case STEP_GAP:
        if (octet_is_gap(c))
            return HTTP_MORE;
        h->s.target = h->s.pos - 1;
        h->s.step = STEP_TARGET;
        return target_byte(h, c, all);
    case STEP_TARGET: return target_byte(h, c, all);
    case STEP_QUERY: return octet_is_gap(c) || c == '\n' ? version_begins(h, c, all) : HTTP_MORE;
    case STEP_VERSION: return c == '\n' ? version_line(h, all) : HTTP_MORE;
    case STEP_HEADER: return c == '\n' ? header_line(h, all) : HTTP_MORE;
    }
    return HTTP_WEB;
}

enum http_verdict http_head_input(struct http_head *h, struct rd all)
{
    struct rd in = all;
    uint8_t c;
    if (!rd_skip(&in, h->s.pos))
        return h->verdict;
    while (h->verdict == HTTP_MORE && h->s.pos < HTTP_HEAD_MAX && rd_u8(&in, &c)) {
        h->s.pos++;
        h->verdict = take(h, c, all);
    }
    if (h->verdict == HTTP_MORE && h->s.pos == HTTP_HEAD_MAX)
        h->verdict = h->s.step < STEP_HEADER ? bad(h, 414, "request line too long") : bad(h, 431, "head too large");
    return h->verdict;
}
