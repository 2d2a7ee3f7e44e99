/*
 * Which certificate a connection is shown: rules, and their order. Pure: `gatehouse explain` asks the same function.
 *
 * The order is that of HTTP.sys, the listener that IIS and RRAS share: this very address and port; the server name
 * (SNI) exactly; the wildcard of its parent; any IPv6 address with this port ("[::]:443"); any address of either
 * family with this port ("0.0.0.0:443"); "default". Several certificates may have rules of one kind that match: RSA
 * and ECDSA on one name, chosen by the client's signature algorithms.
 */
#ifndef GH_TLS_SELECT_H
#define GH_TLS_SELECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define TLS_NAME_MAX 253 /* characters of a host name, RFC 1035 3.1 in its text form */

enum tls_rule_kind {                    /* in the order in which they win */
                     TLS_RULE_ADDR,     /* "203.0.113.5:443", "[2001:db8::5]:443" */
                     TLS_RULE_NAME,     /* "vpn.example.com"                      */
                     TLS_RULE_WILDCARD, /* "*.example.com": one label and the rest */
                     TLS_RULE_ANY6,     /* "[::]:443": IPv6 only                  */
                     TLS_RULE_ANY,      /* "0.0.0.0:443": IPv4 and IPv6           */
                     TLS_RULE_DEFAULT,  /* "default"                              */
};

struct tls_rule {
    enum tls_rule_kind kind;
    uint8_t family; /* TLS_RULE_ADDR: 4 or 6 */
    uint8_t ip[16]; /* network order; IPv4 in the first 4 bytes, the rest zero */
    uint16_t port;
    char name[TLS_NAME_MAX + 1]; /* lower case, without the "*."; names and wildcards */
};

struct tls_where {  /* what is known about a connection when its ClientHello is read */
    uint8_t family; /* 4 or 6; 0: unknown, no rule about addresses matches */
    uint8_t ip[16]; /* the address that was dialled */
    uint16_t port;
    const char *sni; /* lower case, no final dot; NULL: none was sent */
};

/* Reads a rule as `for` has it; names are taken as valid. ERR_USAGE: looks like an address and is none. */
MUST_USE int tls_rule_parse(const char *text, struct tls_rule *out);

/* The rule in its one spelling ("[2001:db8::5]:443"); cap of 300 is enough. */
void tls_rule_text(const struct tls_rule *r, char *out, size_t cap);

bool tls_rule_equal(const struct tls_rule *a, const struct tls_rule *b);

/* NULL when the rule matches; else why not, for people ("another port", "the client sent no name"). Static text. */
const char *tls_rule_mismatch(const struct tls_rule *r, const struct tls_where *w);

/* The winning rule's index, the first of equal ones; -1 when none matches. */
int tls_rule_select(const struct tls_rule *rules, size_t n, const struct tls_where *w);

#endif
