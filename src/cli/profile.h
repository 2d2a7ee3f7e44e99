/*
 * What `gatehouse profile` knows about the way in: read from the server's configuration and certificates by
 * profile_server.c, written down for one kind of client by the others. No profile holds a password or a private key.
 */
#ifndef GH_CLI_PROFILE_H
#define GH_CLI_PROFILE_H

#include <openssl/x509.h>
#include <stdio.h>

#include "server/config.h"

#define PROFILE_ROUTES_MAX 64
#define PROFILE_LEAVES_MAX 8

struct profile_ask {     /* the command line; borrowed */
    const char *name;    /* of the connection: printable, one line */
    const char *address; /* HOST or HOST:PORT; NULL: the certificate's best name */
    const char *user;    /* NULL: not told */
    const char *ca;      /* PEM file; NULL: see struct profile */
    bool split;          /* only vpn.network and route; else everything */
    const char *route[PROFILE_ROUTES_MAX];
    size_t n_route;
};

struct profile {
    const struct profile_ask *ask;
    const struct config *c;
    char host[256]; /* what clients dial: a DNS name, or an address without brackets */
    bool literal;   /* host is an address */
    bool ip6;       /* and one of IPv6 */
    uint16_t port;
    struct config_prefix route[PROFILE_ROUTES_MAX + CONFIG_NETWORKS_MAX];
    size_t n_route;                      /* 0: everything goes through the tunnel */
    uint8_t pin[PROFILE_LEAVES_MAX][32]; /* SHA-256 of what is served for host */
    size_t n_pin;
    X509 *authority; /* what clients must be given to trust; NULL: they know it */
};

/* ERR_USAGE after cli_fail(): no name, a bad route, a file that cannot be read. profile_fini() in any case. */
MUST_USE int profile_read(struct profile *p, const struct config *c, const struct profile_ask *ask);
void profile_fini(struct profile *p);

/* "vpn.example.com", "vpn.example.com:4433", "[2001:db8::1]:443" (brackets for IPv6; the port when it is not 443). */
void profile_server_text(const struct profile *p, char *out, size_t cap);
void profile_route_text(const struct config_prefix *r, bool with_bits, char *out, size_t cap);
MUST_USE bool profile_has_auth(const struct profile *p, uint8_t method); /* enum ppp_auth_method */

/* DER of the authority in base64, lines of 64 characters; indent in front of each. */
void profile_authority_base64(FILE *out, const struct profile *p, const char *indent);

/* profile_windows.c. ERR_USAGE after cli_fail() when this kind cannot say it. */
MUST_USE int profile_windows_script(FILE *out, const struct profile *p);
MUST_USE int profile_windows_xml(FILE *out, const struct profile *p);
/* profile_others.c */
MUST_USE int profile_linux(FILE *out, const struct profile *p);
MUST_USE int profile_routeros(FILE *out, const struct profile *p);

#endif
