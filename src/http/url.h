/*
 * URLs that a person gives: https://host[:port][/path] of a server, http://[user[:password]@]host[:port] of a proxy;
 * and the no_proxy list. Pure.
 */
#ifndef GH_HTTP_URL_H
#define GH_HTTP_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define HTTP_URL_HOST_MAX 253

struct http_url {  /* user and password are secret */
    bool https;    /* else http */
    bool ip6;      /* host is an IPv6 literal, without brackets, in its short form */
    bool ip4;      /* host is an IPv4 literal */
    uint16_t port; /* 443, 80 when not given; a proxy's too: ask for 3128 with the scheme's help */
    bool port_given;
    char host[HTTP_URL_HOST_MAX + 1]; /* lower case, no final dot */
    char path[512];                   /* with its query, begins with "/"; empty when not given */
    char user[128];                   /* percent-decoded; empty: none */
    char password[128];               /* percent-decoded; secret */
};

/*
 * Without a scheme `scheme` is assumed ("https", "http"). ERR_USAGE with what is wrong and what was expected in why:
 * another scheme, no host, characters that no host name has (a name in other letters must be given in its xn-- form),
 * a port out of range, blanks, a fragment, something too long. User and password are never in why; *out is wiped then.
 */
MUST_USE int http_url_parse(const char *text, const char *scheme, struct http_url *out, char *why, size_t cap);

/* "host:port", "[v6]:port": for CONNECT and Host. out has at least 264 bytes. */
void http_url_authority(const struct http_url *u, char *out, size_t cap);

/*
 * Whether a host is excepted from proxies by the value of no_proxy (NULL: no): "*"; names with or without a leading dot
 * that are it or its parent; addresses; networks as 10.0.0.0/8; each may have ":port".
 */
MUST_USE bool http_no_proxy(const char *list, const struct http_url *u);

#endif
