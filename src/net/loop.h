/*
 * One event loop a thread: libuv, with our own deadline heap on a single uv timer, and file descriptors as
 * objects that can be closed at any moment, their own callback included.
 *
 * Nothing here is thread safe but net_loop_wake().
 */
#ifndef GH_NET_LOOP_H
#define GH_NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "base/timerq.h"

enum { NET_READ = 1, NET_WRITE = 2 };

struct net_loop {
    uv_loop_t uv;
    uv_timer_t tick;
    uv_async_t async;
    uv_check_t round;
    uv_idle_t again;
    struct timerq timers;
    uint64_t tick_at;                  /* what tick is armed for */
    void (*woken)(struct net_loop *l); /* runs on the loop's thread after net_loop_wake(); wakes may be merged */
    void (*turn)(struct net_loop *l);  /* NULL, or runs after each round of events; the owner sets it after init */
    void *arg;                         /* the owner's */
};

MUST_USE int net_loop_init(struct net_loop *l, void (*woken)(struct net_loop *), void *arg);
void net_loop_run(struct net_loop *l);  /* until net_loop_stop() */
void net_loop_stop(struct net_loop *l); /* from the loop's own thread */
void net_loop_wake(struct net_loop *l); /* from any thread */
/*
 * From the loop's own thread: there is work left for turn(), so the loop looks for events without waiting for them.
 * Asked anew in each round.
 */
void net_loop_again(struct net_loop *l);
void net_loop_fini(struct net_loop *l); /* after net_loop_run() returned; closes what is left open of ours */

/* Monotonic milliseconds, cached by the loop for this round. */
static inline uint64_t net_now(struct net_loop *l)
{
    return uv_now(&l->uv);
}

/* Arms (or with TIME_NEVER disarms) an entry; its fn runs on this loop. */
MUST_USE int net_timer_set(struct net_loop *l, struct timer_entry *e, uint64_t deadline_ms);
void net_timer_cancel(struct net_loop *l, struct timer_entry *e);

struct net_fd;
/* events: NET_READ and/or NET_WRITE; errors and hang-ups count as NET_READ. */
typedef void net_fd_fn(void *arg, int events);

/*
 * Watches fd, which it owns from now on, also when it fails (NULL: closed already). Watches for nothing until
 * net_fd_want().
 */
struct net_fd *net_fd_new(struct net_loop *l, int fd, net_fd_fn *fn, void *arg);
void net_fd_want(struct net_fd *nf, int events); /* no system call when nothing changes */
void net_fd_rebind(struct net_fd *nf, net_fd_fn *fn, void *arg);
int net_fd_num(const struct net_fd *nf);
/* Stops, closes the descriptor, frees. No callback comes after. NULL is fine. */
void net_fd_close(struct net_fd *nf);

#endif
