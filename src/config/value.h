/*
 * What values of a configuration file become: plain data, and the few questions that are asked of it. All kinds of
 * configuration (the server's, the client's) are made of these.
 */
#ifndef GH_CONFIG_VALUE_H
#define GH_CONFIG_VALUE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/err.h"

/* Where something stands. Names of files are as the operator wrote them, and belong to the configuration. */
struct config_place {
    const char *file;
    int line;
};

struct config_addr {
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    } u;
    socklen_t len; /* 0: not set */
    char *text;    /* as written: "0.0.0.0:443", "[::]:443", "127.0.0.1:8080", "unix:/run/blog.sock" */
    const char *file;
    int line; /* 0: a default */
};

struct config_prefix { /* a network, or a single address */
    uint8_t family;    /* 4, 6 */
    uint8_t bits;
    uint8_t ip[16]; /* network order; IPv4 in the first 4 bytes, the rest zero */
};

struct config_leaf { /* a certificate that a front serves */
    char *text;      /* absolute path of a PEM file, or "sha256:HEX", "sha1:HEX" in lower case */
    size_t hash_len; /* 32, 20; 0: it is a file */
    uint8_t hash[32];
    const char *file;
    int line;
};

struct config_net4 {
    uint32_t base; /* host order */
    uint8_t prefix;
    const char *file;
    int line;
};

struct config_error {
    char text[1024]; /* one line: "FILE:LINE: what was wrong: what was expected, what to do" */
    char file[256];  /* the parts of it: as the operator wrote the path, included files in their own name */
    int line;
    const char *code; /* stable, "config-unknown-key"; static storage */
    char what[320];
    char remedy[320]; /* what was expected and what to do */
};

typedef void config_report_fn(void *arg, const struct config_error *err);

/* Is the address (family 4 or 6) in one of the prefixes? */
MUST_USE bool config_prefix_has(const struct config_prefix *list, size_t n, uint8_t family, const uint8_t ip[16]);

/* A DNS name as the configuration takes it: labels of letters, digits, - and _, not all digits at the end. */
MUST_USE bool config_name_valid(const char *text);

/*
 * Parses "1.2.3.4:443", "[::1]:443", "unix:/path" (unix only if allowed). No names are resolved. ERR_USAGE, ERR_NOMEM.
 */
MUST_USE int config_addr_parse(const char *text, bool allow_unix, struct config_addr *out);

/*
 * "10.0.0.0/8", "2001:db8::/32", or an address alone; false: not written so. Bits behind the prefix are kept: see
 * config_prefix_clean().
 */
MUST_USE bool config_prefix_parse(const char *text, struct config_prefix *out);
/* No bits are set behind the prefix. */
MUST_USE bool config_prefix_clean(const struct config_prefix *p);

/* "10.77.0.0/16"; false: not written so. Bits behind the prefix are kept: the caller judges. */
MUST_USE bool config_net4_parse(const char *text, struct config_net4 *out);

/* Edit distance, for "did you mean": changes, insertions and removals of one byte from a to b; 99 for long words. */
size_t config_word_distance(const char *a, const char *b);
#define CONFIG_WORD_NEAR 3 /* suggest only words less than this far away */

static inline uint32_t config_net4_mask(uint8_t prefix)
{
    return prefix ? ~0u << (32 - prefix) : 0;
}

static inline struct in_addr config_ip4(uint32_t host_order)
{
    return (struct in_addr){ htonl(host_order) };
}

#endif
