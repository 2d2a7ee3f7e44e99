/*
 * A TCP connection to the first address that answers (RFC 8305): families take turns, the next address is tried when
 * one failed or RACE_STAGGER_MS after the one before, without giving that one up.
 */
#ifndef GH_CLIENT_RACE_H
#define GH_CLIENT_RACE_H

#include <netinet/in.h>
#include <stddef.h>

#include "base/err.h"
#include "net/loop.h"

#define RACE_MAX        16    /* addresses that are tried */
#define RACE_STAGGER_MS 250   /* RFC 8305 5 */
#define RACE_LIMIT_MS   15000 /* in all */

union race_addr {
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

struct race_try {
    struct race *race;
    struct net_fd *nf; /* NULL: not begun, or over */
};

struct race {
    struct net_loop *loop;
    union race_addr addr[RACE_MAX];
    struct race_try tries[RACE_MAX];
    size_t n, next; /* addresses; the first one not yet tried */
    unsigned open;  /* attempts under way */
    int error;      /* errno of the latest failure */
    uint64_t next_at, end_at;
    struct timer_entry timer;
    /*
     * fd is the caller's (-1: nobody answered, error is an errno); at: the address. Comes once, never from inside
     * race_start().
     */
    void (*done)(void *arg, int fd, const union race_addr *at, int error);
    void *arg;
};

/* Orders them: families alternate, beginning with that of the first. */
void race_order(union race_addr *addr, size_t n);

/* Begins; addresses are copied. ERR_NOMEM. */
MUST_USE int race_start(struct race *r, struct net_loop *loop, const union race_addr *addr, size_t n,
                        void (*done)(void *arg, int fd, const union race_addr *at, int error), void *arg);
void race_cancel(struct race *r); /* fine at any time after it was zeroed */

/* "198.51.100.1:443", "[2001:db8::1]:443". out: at least 64 bytes. */
void race_addr_text(const union race_addr *a, char *out, size_t cap);

#endif
