/*
 * Connecting to a web server (TCP or Unix socket) without blocking, by a deadline. A Unix socket whose backlog is full
 * says so at once instead of making us wait; it is asked again until the deadline.
 */
#ifndef GH_WEB_UPSTREAM_H
#define GH_WEB_UPSTREAM_H

#include <sys/socket.h>

#include "net/loop.h"

/* nf: the connected socket, the caller's from now on, to be rebound; NULL: it failed, with errno in error. */
typedef void upstream_fn(void *arg, struct net_fd *nf, int error);

struct upstream { /* a member of its owner's structure, which sets it to zeros before upstream_connect() */
    struct net_loop *loop;
    struct net_fd *nf;
    struct timer_entry timer;
    struct sockaddr_storage addr;
    socklen_t addr_len;
    uint64_t deadline_ms;
    int error; /* the attempt failed: told when the timer comes due */
    upstream_fn *done;
    void *arg;
};

/* done is called once, from the loop and never from here. ERR_USAGE: no such address; ERR_NOMEM: done is not called. */
MUST_USE int upstream_connect(struct upstream *u, struct net_loop *loop, const struct sockaddr *addr, socklen_t len,
                              uint64_t connect_ms, upstream_fn *done, void *arg);

/* done will not be called any more. Fine at any time, also on zeros. */
void upstream_cancel(struct upstream *u);

#endif
