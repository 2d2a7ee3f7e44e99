/* From a plain request to a place in https: see redirect.h. */
#include "web/redirect.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/rd.h"
#include "base/wr.h"

#define NAME_MAX_LEN  253 /* RFC 1035 2.3.4, without the final dot */
#define LABEL_MAX_LEN 63
#define PORT_DIGITS   5

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(uint8_t c) /* of a label, and of a token (RFC 8555 8.3: base64url) */
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

/* Bytes that stand in a URL and in a header as they are. What browsers always escape ends here, and so does what some
 * of them take for a slash. */
static bool is_plain(char c)
{
    return c > 0x20 && c < 0x7f && !strchr("\"<>\\#", c);
}

/* ":80" at the end of a Host header, not used; RFC 3986 3.2.3 allows a bare colon. */
static bool skip_port(struct rd *in)
{
    uint8_t c;
    if (rd_end(in))
        return true;
    if (!rd_u8(in, &c) || c != ':')
        return false;
    for (int i = 0; i < PORT_DIGITS && rd_peek_u8(in, &c) && is_digit(c); i++)
        if (!rd_skip(in, 1))
            return false;
    return rd_end(in);
}

/* "[2001:db8::1]", without a zone. */
static bool put_ipv6(struct wr *out, struct rd *in)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr ip;
    size_t n = 0;
    uint8_t c = 0;
    while (rd_u8(in, &c) && c != ']' && n < sizeof text - 1)
        text[n++] = (char)c;
    text[n] = 0;
    if (c != ']' || inet_pton(AF_INET6, text, &ip) != 1)
        return false;
    wr_u8(out, '[');
    wr_str(out, text);
    wr_u8(out, ']');
    return true;
}

/* A name or an IPv4 address, which looks like one. */
static bool put_name(struct wr *out, struct rd *in)
{
    size_t label = 0, all = 0;
    uint8_t c;
    for (; rd_peek_u8(in, &c) && c != ':'; all++) {
        if (!(c == '.' ? label > 0 : is_word(c) && label < LABEL_MAX_LEN) || !rd_skip(in, 1))
            return false;
        label = c == '.' ? 0 : label + 1;
        wr_u8(out, c);
    }
    bool final_dot = all && !label;
    return all > 0 && all - final_dot <= NAME_MAX_LEN;
}

static bool put_host(struct wr *out, const char *host)
{
    struct rd in = rd_make(host, strlen(host));
    uint8_t c;
    if (!rd_peek_u8(&in, &c))
        return false;
    if (c != '[')
        return put_name(out, &in) && skip_port(&in);
    return rd_skip(&in, 1) && put_ipv6(out, &in) && skip_port(&in);
}

/* The target from its path on, which may be empty in absolute-form; NULL: it has none, or cannot be used. */
static const char *path_of(const char *target)
{
    size_t scheme = !strncasecmp(target, "http://", 7) ? 7 : !strncasecmp(target, "https://", 8) ? 8 : 0;
    const char *path = target + scheme + (scheme ? strcspn(target + scheme, "/?") : 0);
    if (scheme ? path == target + scheme : *target != '/')
        return NULL;
    for (const char *c = target; *c; c++)
        if (!is_plain(*c))
            return NULL;
    return path;
}

int redirect_location(const char *host, const char *target, uint16_t https_port, char *out, size_t cap)
{
    struct wr w = wr_make(out, cap);
    char port[8] = "";
    const char *path = target ? path_of(target) : NULL;
    if (cap)
        *out = 0;
    wr_str(&w, "https://");
    if (!path || !host || !put_host(&w, host)) {
        if (cap)
            *out = 0;
        return ERR_PEER;
    }
    if (https_port != 443)
        snprintf(port, sizeof port, ":%u", https_port);
    wr_str(&w, port);
    if (*path != '/')
        wr_u8(&w, '/');
    wr_str(&w, path);
    wr_u8(&w, 0);
    if (!wr_ok(&w) && cap)
        *out = 0;
    return wr_ok(&w) ? 0 : ERR_LIMIT;
}

bool redirect_challenge(const char *target, char token[REDIRECT_TOKEN_MAX + 1])
{
    static const char prefix[] = "/.well-known/acme-challenge/";
    const char *path = path_of(target);
    size_t n = 0;
    if (!path || strncmp(path, prefix, sizeof prefix - 1) != 0)
        return false;
    for (path += sizeof prefix - 1; *path && *path != '?'; path++) {
        if (n == REDIRECT_TOKEN_MAX || !is_word((uint8_t)*path))
            return false;
        token[n++] = *path;
    }
    token[n] = 0;
    return n > 0;
}
