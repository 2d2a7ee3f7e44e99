#include "http/head.h"

#include <string.h>
#include <strings.h>

/* Where in the request the next byte belongs. */
enum step {
    STEP_START,     /* empty lines before the request */
    STEP_METHOD,    /* in the method */
    STEP_TARGET,    /* blanks before the target */
    STEP_SCHEME,    /* absolute-form: in the scheme */
    STEP_COLON,     /* after "scheme:" */
    STEP_SLASH,     /* after "scheme:/" */
    STEP_AUTHORITY, /* after "scheme://" */
    STEP_PATH,      /* in the path */
    STEP_ESCAPE_HI, /* after % */
    STEP_ESCAPE_LO, /* after % and a digit */
    STEP_QUERY,     /* the path was the SSTP URI; behind ? or # */
    STEP_VERSION,   /* up to the end of the request line */
    STEP_HEADER,    /* in a header line */
};

/* A path segment so far. Anything else cannot be part of the URI. */
enum segment {
    SEGMENT_EMPTY,
    SEGMENT_DOT,    /* "."  */
    SEGMENT_DOTDOT, /* ".." */
    SEGMENT_NAME,   /* a prefix of the URI's only segment, or all of it */
};

static const char uri_name[] = "sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}";
#define URI_NAME_LEN (sizeof uri_name - 1)
_Static_assert(sizeof SSTP_URI - 1 == URI_NAME_LEN + 2, "the segment and its two slashes");

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : c;
}

static bool is_alpha(uint8_t c)
{
    return lower(c) >= 'a' && lower(c) <= 'z';
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* tchar, RFC 9110 5.6.2 */
static bool is_token(uint8_t c)
{
    return is_alpha(c) || is_digit(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* What may stand between the words of a request line, RFC 9112 3. */
static bool is_gap(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\v' || c == '\f' || c == '\r';
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static int hex_value(uint8_t c)
{
    if (is_digit(c))
        return c - '0';
    return lower(c) >= 'a' && lower(c) <= 'f' ? lower(c) - 'a' + 10 : -1;
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
    if (is_token(c)) {
        if (h->s.method_len < HTTP_METHOD_MAX)
            h->method[h->s.method_len] = (char)c;
        h->s.method_len++;
        return go(h, STEP_METHOD);
    }
    return is_gap(c) && h->s.method_len ? go(h, STEP_TARGET) : HTTP_WEB;
}

/* Closes the current segment, at a slash or at the end of the path (RFC 3986 5.2.4). */
static enum http_verdict segment_end(struct http_head *h)
{
    if (h->s.segment == SEGMENT_NAME) {
        if (h->s.matched < URI_NAME_LEN)
            return HTTP_WEB;
        h->s.inside = true;
    } else if (h->s.segment == SEGMENT_DOTDOT) {
        h->s.inside = false;
    }
    h->s.segment = SEGMENT_EMPTY;
    h->s.matched = 0;
    return HTTP_MORE;
}

/* One byte of the path, decoded. */
static enum http_verdict path_byte(struct http_head *h, uint8_t c)
{
    h->s.step = STEP_PATH;
    if (c == '/')
        return segment_end(h);
    if (c == '.' && h->s.segment <= SEGMENT_DOT) {
        h->s.segment++;
        return HTTP_MORE;
    }
    bool in_name = h->s.segment == SEGMENT_EMPTY || h->s.segment == SEGMENT_NAME;
    if (h->s.inside || !in_name || h->s.matched == URI_NAME_LEN || lower(c) != lower((uint8_t)uri_name[h->s.matched]))
        return HTTP_WEB;
    h->s.segment = SEGMENT_NAME;
    h->s.matched++;
    return HTTP_MORE;
}

/* At the end of the path: is it the URI, with or without its trailing slash? */
static bool path_is_uri(struct http_head *h)
{
    h->s.slash = h->s.segment != SEGMENT_NAME;
    return segment_end(h) == HTTP_MORE && h->s.inside;
}

/* A byte of a percent-encoded one. What is not hexadecimal is refused by web servers, so it is theirs to refuse. */
static enum http_verdict escape_byte(struct http_head *h, uint8_t c)
{
    int v = hex_value(c);
    if (v < 0)
        return HTTP_WEB;
    if (h->s.step == STEP_ESCAPE_LO)
        return path_byte(h, (uint8_t)(h->s.hi << 4 | v));
    h->s.hi = (uint8_t)v;
    return go(h, STEP_ESCAPE_LO);
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
    if (!rd_copy(&v, name, 5) || memcmp(name, "HTTP/", 5) != 0 || !rd_u8(&v, &major) || !is_digit(major) ||
        !rd_u8(&v, &dot) || dot != '.' || !rd_u8(&v, &minor) || !is_digit(minor) || !rd_end(&v))
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
            if (!is_digit(c))
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
    while (rd_u8(&rest, &c) && is_token(c))
        name_len++;
    if (c != ':' || !name_len)
        return bad(h, 400, "malformed header line");
    struct rd value = trim(rest);
    while (rd_u8(&rest, &c))
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return bad(h, 400, "control character in a header line");
    return header_value(h, piece(line, 0, name_len), value);
}

/* The byte c ended the target, which is the URI. The request line may end with it too. */
static enum http_verdict target_end(struct http_head *h, uint8_t c, struct rd all)
{
    h->s.line_start = h->s.pos - 1;
    h->s.step = STEP_VERSION;
    return c == '\n' ? version_line(h, all) : HTTP_MORE;
}

static enum http_verdict take(struct http_head *h, uint8_t c, struct rd all)
{
    bool ends = is_gap(c) || c == '\n';
    switch ((enum step)h->s.step) {
    case STEP_START: return c == '\r' || c == '\n' ? HTTP_MORE : method_byte(h, c);
    case STEP_METHOD: return method_byte(h, c);
    case STEP_TARGET:
        if (is_gap(c))
            return HTTP_MORE;
        return c == '/' ? path_byte(h, c) : is_alpha(c) ? go(h, STEP_SCHEME) : HTTP_WEB;
    case STEP_SCHEME:
        if (c == ':')
            return go(h, STEP_COLON);
        return is_alpha(c) || is_digit(c) || c == '+' || c == '-' || c == '.' ? HTTP_MORE : HTTP_WEB;
    case STEP_COLON: return c == '/' ? go(h, STEP_SLASH) : HTTP_WEB;
    case STEP_SLASH: return c == '/' ? go(h, STEP_AUTHORITY) : HTTP_WEB;
    case STEP_AUTHORITY:
        if (c == '/')
            return path_byte(h, c);
        return ends || c == '?' || c == '#' ? HTTP_WEB : HTTP_MORE;
    case STEP_PATH:
        if (c == '%')
            return go(h, STEP_ESCAPE_HI);
        if (!ends && c != '?' && c != '#')
            return path_byte(h, c);
        if (!path_is_uri(h))
            return HTTP_WEB;
        return ends ? target_end(h, c, all) : go(h, STEP_QUERY);
    case STEP_ESCAPE_HI:
    case STEP_ESCAPE_LO: return escape_byte(h, c);
    case STEP_QUERY: return ends ? target_end(h, c, all) : HTTP_MORE;
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
        h->verdict = bad(h, 431, "head too large");
    return h->verdict;
}
