/*
 * Names to addresses, in a process of its own: the C library's resolver reads files, loads modules and speaks to
 * whomever nsswitch.conf names, none of which the engine may. It has no rights, reads only, and knows nothing but the
 * names that it is asked for.
 */
#ifndef GH_CLIENT_RESOLVER_H
#define GH_CLIENT_RESOLVER_H

#include "client/race.h"

#define RESOLVER_HOST_MAX 253

struct resolver_ask {
    char host[RESOLVER_HOST_MAX + 1];
    uint16_t port;
    uint32_t id; /* the answer has it too */
};

struct resolver_answer {
    char host[RESOLVER_HOST_MAX + 1]; /* that was asked for */
    uint32_t id;
    uint32_t n;                     /* addresses; 0: see why */
    union race_addr addr[RACE_MAX]; /* in the order of RFC 6724 */
    char why[96];                   /* the resolver's words */
};

/* The process: descriptor 3 is a SOCK_SEQPACKET pair's end. Returns the exit status. */
int resolver_main(void);

/* One look-up, as the process does it. Blocks. */
void resolver_look_up(const struct resolver_ask *ask, struct resolver_answer *out);

#endif
