/*
 * gatehouse check, inside: one file a subject, each looks at the configuration and reports findings. docs/check.md
 * lists their codes, which are stable.
 */
#ifndef GH_CLI_CHECK_H
#define GH_CLI_CHECK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/certfile.h"
#include "server/config.h"
#include "tls/select.h"

#define CHECK_ADDRS_MAX  256
#define CHECK_ROUTES_MAX 1024

struct check_addr { /* of an interface, or a route's network */
    uint8_t family; /* 4, 6 */
    uint8_t bits;   /* of its network */
    uint8_t ip[16]; /* network order; IPv4 in the first 4 bytes, the rest zero */
    char ifname[16];
};

struct check_host { /* what this host has */
    struct check_addr addr[CHECK_ADDRS_MAX];
    size_t n_addr;
    struct check_addr route[CHECK_ROUTES_MAX]; /* IPv4, without the default route */
    size_t n_route;
};

struct check_cert {
    struct certfile file;
    bool read; /* file is known, and it is the leaf's */
};

struct check {
    bool json, unreadable;
    json_t *findings; /* with json */
    size_t count[3];  /* by enum severity */
    int64_t now_s;
    const struct config *c;
    const struct check_host *host;
    struct check_cert *cert; /* as many as c->n_certs; filled by check_certs() */
};

/* Line 0 is taken for 1: what stands nowhere is a default. Text may hold anything; it is made printable. */
__attribute__((format(printf, 7, 8))) void finding(struct check *k, enum severity sev, const char *code,
                                                   const char *file, int line, const char *remedy, const char *fmt,
                                                   ...);

void check_certs(struct check *k);  /* the files, each by itself          src/cli/check_certs.c  */
void check_shown(struct check *k);  /* who is shown which certificate     src/cli/check_shown.c  */
void check_front(struct check *k);  /* offload                            src/cli/check_front.c  */
void check_net(struct check *k);    /* addresses, listeners, upstreams    src/cli/check_net.c    */
void check_vpn(struct check *k);    /* users, pool, forwarding            src/cli/check_vpn.c    */
void check_daemon(struct check *k); /* what the running server says       src/cli/check_daemon.c */

/* The rest of the findings about one certificate: also for a front's. name: in the texts. */
void check_reasons(struct check *k, const struct certfile_reason *why, size_t n, const char *file, int line,
                   const char *name);

/* Addresses and routes of this host; what cannot be read is left out. src/cli/check_host.c */
void check_host_read(struct check_host *out);

/* The parts of check_daemon() behind the socket: status is the answer to GET /v1/status. */
void check_daemon_status(struct check *k, const json_t *status);

#endif
