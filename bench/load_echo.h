/* Every call moves a packet: an ICMP echo to a host behind the server, and how long its answer took. */
#ifndef GH_BENCH_LOAD_ECHO_H
#define GH_BENCH_LOAD_ECHO_H

#include "load_call.h"

struct echo {
    const struct call *calls; /* borrowed: n of them, at most 65536 */
    unsigned n, sent, got;
    uint16_t round;
    uint32_t to;       /* host order */
    uint64_t *sent_ns; /* of each call; 0: none is awaited */
    double *ms;        /* of each answer */
};

/* Exits when out of memory. */
void echo_init(struct echo *e, const struct call *calls, unsigned n);
void echo_fini(struct echo *e);

void echo_begin(struct echo *e, uint32_t to);
void echo_send(struct echo *e, struct call *c);

/* For struct call_cfg's data, with a struct echo: takes what is an answer. */
void echo_input(void *arg, struct call *c, struct rd packet);

/* One line of JSON: {"sent", "lost", "p50_ms", "p99_ms", "max_ms"}. */
void echo_report(struct echo *e);

#endif
