#include "http/url.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/ct.h"
#include "base/rd.h"
#include "http/octet.h"

#define LABEL_MAX 63 /* RFC 1035 2.3.4 */

/* What parsing of one URL passes along. */
struct reading {
    struct http_url *u;
    char *why;
    size_t cap;
};

__attribute__((format(printf, 2, 3))) static int wrong(struct reading *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (r->cap)
        vsnprintf(r->why, r->cap, fmt, ap);
    va_end(ap);
    return ERR_USAGE;
}

static struct rd text_rd(const char *text)
{
    return rd_make(text, strlen(text));
}

/* The part of `in` before the first `sep`; *in moves behind it. False, and nothing moved, when there is none. */
static bool cut(struct rd *in, char sep, struct rd *before)
{
    const uint8_t *at = rd_left(in) ? memchr(in->p, sep, rd_left(in)) : NULL;
    if (!at)
        return false;
    *before = (struct rd){ in->p, at };
    in->p = at + 1;
    return true;
}

static bool is_text(struct rd r, const char *lower)
{
    uint8_t c;
    while (*lower && rd_u8(&r, &c) && octet_lower(c) == (uint8_t)*lower)
        lower++;
    return !*lower && rd_end(&r);
}

/* As text with a NUL; false when it does not fit. */
static bool copy_text(struct rd r, char *out, size_t cap)
{
    size_t n = rd_left(&r);
    if (n >= cap || !rd_copy(&r, out, n))
        return false;
    out[n] = 0;
    return true;
}

static bool port_read(struct rd r, uint16_t *out)
{
    unsigned v = 0;
    uint8_t c;
    if (rd_end(&r))
        return false;
    while (rd_u8(&r, &c)) {
        if (!octet_is_digit(c))
            return false;
        v = v * 10 + (unsigned)(c - '0');
        if (v > UINT16_MAX)
            return false;
    }
    *out = (uint16_t)v;
    return v > 0;
}

/* ---- the host ---- */

/* Letters, digits, hyphens and underscores in labels; lower case, no final dot. False for anything else. */
static bool host_name(struct rd r, char out[HTTP_URL_HOST_MAX + 1])
{
    size_t n = 0, label = 0;
    if (rd_left(&r) > 1 && r.end[-1] == '.')
        r.end--;
    for (uint8_t c; rd_u8(&r, &c);) {
        bool plain = octet_is_alpha(c) || octet_is_digit(c) || c == '-' || c == '_';
        label = c == '.' ? 0 : label + 1;
        if (n == HTTP_URL_HOST_MAX || label > LABEL_MAX || !(plain || (c == '.' && n && out[n - 1] != '.')))
            return false;
        out[n++] = (char)octet_lower(c);
    }
    out[n] = 0;
    return n && label;
}

/* What some systems would read as an IPv4 address (127.1, 0x7f.1) is no name. */
static bool ends_in_number(const char *host)
{
    const char *dot = strrchr(host, '.'), *last = dot ? dot + 1 : host;
    if (last[0] == '0' && last[1] == 'x')
        return true;
    while (octet_is_digit((uint8_t)*last))
        last++;
    return !*last;
}

static int host_named(struct reading *r, struct rd host)
{
    struct in_addr ip4;
    for (struct rd in = host; !rd_end(&in); in.p++)
        if (in.p[0] >= 0x80)
            return wrong(r, "a host name in other letters than ASCII must be given in its xn-- form");
    if (!host_name(host, r->u->host))
        return wrong(r, "this is no host name: letters, digits, hyphens and dots make one, of at most %d characters",
                     HTTP_URL_HOST_MAX);
    r->u->ip4 = inet_pton(AF_INET, r->u->host, &ip4) == 1;
    if (!r->u->ip4 && ends_in_number(r->u->host))
        return wrong(r, "\"%s\" is no IPv4 address: four numbers from 0 to 255 are expected", r->u->host);
    return 0;
}

static int host_ip6(struct reading *r, struct rd host)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr ip6;
    if (!copy_text(host, text, sizeof text) || inet_pton(AF_INET6, text, &ip6) != 1 ||
        !inet_ntop(AF_INET6, &ip6, r->u->host, sizeof r->u->host))
        return wrong(r, "what stands in brackets is no IPv6 address (one without a zone is expected)");
    r->u->ip6 = true;
    return 0;
}

/* host[:port] */
static int host_port(struct reading *r, struct rd in)
{
    struct rd host = in, rest = in;
    uint8_t c = 0;
    bool brackets = rd_peek_u8(&in, &c) && c == '[';
    if (brackets) {
        if (!rd_skip(&rest, 1) || !cut(&rest, ']', &host))
            return wrong(r, "the bracket of the IPv6 address is not closed");
        if (!rd_end(&rest) && rest.p[0] != ':')
            return wrong(r, "behind the IPv6 address a colon and the port are expected");
    } else {
        if (!cut(&rest, ':', &host))
            rest.p = rest.end;
        else
            rest.p--;
    }
    if (rd_end(&host))
        return wrong(r, "there is no host");
    if (!rd_end(&rest)) { /* at its colon */
        struct rd port = { rest.p + 1, rest.end }, more;
        if (!brackets && cut(&(struct rd){ port.p, port.end }, ':', &more))
            return wrong(r, "an IPv6 address is written in brackets, as [2001:db8::1]");
        if (!port_read(port, &r->u->port))
            return wrong(r, "the port is no number from 1 to 65535");
        r->u->port_given = true;
    }
    return brackets ? host_ip6(r, host) : host_named(r, host);
}

/* ---- user and password ---- */

/* RFC 3986 2.1; control characters are nobody's password, and a NUL would cut it. */
static bool decode(struct rd in, char *out, size_t cap)
{
    size_t n = 0;
    for (uint8_t c, hex[2]; rd_u8(&in, &c); out[n++] = (char)c) {
        if (c == '%') {
            if (!rd_copy(&in, hex, 2))
                return false;
            int high = octet_hex(hex[0]), low = octet_hex(hex[1]);
            if (high < 0 || low < 0)
                return false;
            c = (uint8_t)((unsigned)high << 4 | (unsigned)low);
        }
        if (n + 1 == cap || c < ' ' || c == 0x7f)
            return false;
    }
    out[n] = 0;
    return true;
}

/* What is wrong is told without the text: it may be the password. */
static int userinfo(struct reading *r, struct rd in)
{
    struct rd user, password = in;
    if (!cut(&password, ':', &user)) {
        user = in;
        password.p = password.end;
    }
    if (!decode(user, r->u->user, sizeof r->u->user) || !decode(password, r->u->password, sizeof r->u->password))
        return wrong(r, "user or password is too long or not percent-encoded as in %%40 for @");
    return 0;
}

/* ---- the whole ---- */

/* Steps over "scheme://" if there is one. */
static int scheme_of(struct reading *r, struct rd *in, const char *fallback)
{
    struct rd scheme = text_rd(fallback), rest = *in;
    size_t n = 0;
    uint8_t c = 0, slash[2];
    while (rd_u8(&rest, &c) && (octet_is_alpha(c) || octet_is_digit(c) || (c && strchr("+-.", c))))
        n++;
    if (c == ':' && rd_copy(&rest, slash, 2) && slash[0] == '/' && slash[1] == '/') {
        scheme = (struct rd){ in->p, in->p + n };
        *in = rest;
    }
    r->u->https = is_text(scheme, "https");
    if (!r->u->https && !is_text(scheme, "http"))
        return wrong(r, "the scheme \"%.*s\" is none of https and http", (int)(n > 20 ? 20 : n),
                     (const char *)scheme.p);
    r->u->port = r->u->https ? 443 : 80;
    return 0;
}

static int characters(struct reading *r, struct rd in)
{
    for (uint8_t c; rd_u8(&in, &c);) {
        if (c <= ' ' || c == 0x7f)
            return wrong(r, "there is a blank or a control character in the URL");
        if (c == '#')
            return wrong(r, "a fragment (#...) means nothing here; # in a password is written %%23");
    }
    return 0;
}

static int path_of(struct reading *r, struct rd in)
{
    bool bare = !rd_end(&in) && in.p[0] == '?'; /* RFC 9112 3.2.1: an empty path is sent as "/" */
    char *out = r->u->path;
    for (struct rd look = in; !rd_end(&look); look.p++)
        if (look.p[0] >= 0x80)
            return wrong(r, "other letters than ASCII in the path must be percent-encoded");
    if (bare)
        out[0] = '/';
    if (!copy_text(in, out + bare, sizeof r->u->path - bare))
        return wrong(r, "the path is longer than %zu characters", sizeof r->u->path - 1);
    return 0;
}

static int parse(struct reading *r, struct rd in, const char *scheme)
{
    int err = characters(r, in);
    if (!err)
        err = scheme_of(r, &in, scheme);
    if (err)
        return err;
    struct rd authority = in, rest = in, user;
    uint8_t c;
    while (rd_peek_u8(&rest, &c) && c != '/' && c != '?' && rd_skip(&rest, 1))
        ;
    authority.end = rest.p;
    const uint8_t *at = rd_left(&authority) ? memrchr(authority.p, '@', rd_left(&authority)) : NULL;
    if (at) { /* the last one: passwords with a plain @ are common */
        user = (struct rd){ authority.p, at };
        authority.p = at + 1;
        err = userinfo(r, user);
    }
    if (!err)
        err = host_port(r, authority);
    return err ? err : path_of(r, rest);
}

int http_url_parse(const char *text, const char *scheme, struct http_url *out, char *why, size_t cap)
{
    struct reading r = { out, why, cap };
    *out = (struct http_url){ 0 };
    if (cap)
        why[0] = 0;
    int err = parse(&r, text_rd(text), scheme);
    if (err)
        secret_wipe(out, sizeof *out);
    return err;
}

void http_url_authority(const struct http_url *u, char *out, size_t cap)
{
    snprintf(out, cap, u->ip6 ? "[%s]:%u" : "%s:%u", u->host, u->port);
}

/* ---- no_proxy ---- */

/* The host's address in network order: 4 or 16 bytes; 0 when it is a name. */
static size_t address(const char *text, uint8_t out[16])
{
    return inet_pton(AF_INET, text, out) == 1 ? 4 : inet_pton(AF_INET6, text, out) == 1 ? 16 : 0;
}

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, left = bits % 8;
    return !memcmp(a, b, whole) && (!left || !((a[whole] ^ b[whole]) >> (8 - left)));
}

/* address, or address/bits */
static bool in_network(struct rd entry, const struct http_url *u)
{
    struct rd addr = entry, rest = entry;
    char text[INET6_ADDRSTRLEN];
    uint8_t want[16], have[16];
    uint16_t bits = 0;
    bool cidr = cut(&rest, '/', &addr);
    if (!copy_text(addr, text, sizeof text))
        return false;
    size_t n = address(text, want);
    if (!n || n != address(u->host, have))
        return false;
    if (!cidr)
        return same_bits(want, have, (unsigned)n * 8);
    if (is_text(rest, "0"))
        return true;
    return port_read(rest, &bits) && bits <= n * 8 && same_bits(want, have, bits);
}

static bool in_domain(struct rd entry, const struct http_url *u)
{
    char name[HTTP_URL_HOST_MAX + 1];
    if (!rd_end(&entry) && entry.p[0] == '*')
        entry.p++;
    if (!rd_end(&entry) && entry.p[0] == '.')
        entry.p++;
    if (u->ip4 || u->ip6 || !host_name(entry, name))
        return false;
    size_t n = strlen(name), have = strlen(u->host);
    return have >= n && !strcmp(u->host + have - n, name) && (have == n || u->host[have - n - 1] == '.');
}

/* One entry, with or without ":port". More than one colon and no brackets: an IPv6 address. */
static bool excepted(struct rd entry, const struct http_url *u)
{
    struct rd host = entry, rest = entry, more;
    uint16_t port;
    if (is_text(entry, "*"))
        return true;
    if (!rd_end(&entry) && entry.p[0] == '[') {
        if (!rd_skip(&rest, 1) || !cut(&rest, ']', &host))
            return false;
        if (!rd_end(&rest) && (rest.p[0] != ':' || !rd_skip(&rest, 1) || !port_read(rest, &port) || port != u->port))
            return false;
    } else if (cut(&rest, ':', &host)) {
        struct rd look = rest;
        if (cut(&look, ':', &more))
            host = entry;
        else if (!port_read(rest, &port) || port != u->port)
            return false;
    }
    return is_text(host, "*") || in_network(host, u) || in_domain(host, u);
}

bool http_no_proxy(const char *list, const struct http_url *u)
{
    while (list && *list) {
        const char *end = list;
        while (*end && *end != ',' && *end != ' ' && *end != '\t')
            end++;
        if (end > list && excepted(rd_make(list, (size_t)(end - list)), u))
            return true;
        list = *end ? end + 1 : end;
    }
    return false;
}
