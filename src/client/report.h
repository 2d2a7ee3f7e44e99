/*
 * How it goes, told as it happens: to a person at a terminal, to a script (--json), or to the log. Text is printable
 * already.
 */
#ifndef GH_CLIENT_REPORT_H
#define GH_CLIENT_REPORT_H

#include <stdint.h>

#include "client/causes.h"
#include "client/requests.h"

struct report_up {
    const char *ip, *peer, *dns[2]; /* "" when there is none */
    const char *interface, *routes; /* routes: blank between */
    const char *server, *proxy;     /* TCP peer; "" */
    const char *tls, *cipher, *hash, *method, *dns_way;
    unsigned mtu;
    uint64_t ms; /* from the beginning of the dial */
};

/* stdout_fd: where JSON goes. Before any other function here. */
void report_setup(enum client_mode mode, int stdout_fd);

void report_dialling(const char *url, unsigned attempt);
void report_step(const char *step, const char *text, uint64_t ms);
void report_up(const struct report_up *u);
void report_warning(const char *event, const char *text, const char *remedy);
/* was_up: a call ended; else a dial failed. */
void report_failed(const struct client_end *why, bool was_up);
void report_retry(uint64_t in_ms);
void report_end(const struct client_end *why, int exit_status);

#endif
