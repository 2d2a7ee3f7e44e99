/* The event loop: see loop.h. */
#include "net/loop.h"

#include <stdlib.h>
#include <unistd.h>

/*
 * Allocated on its own because uv_close() is asynchronous: the owner forgets it at once, libuv gives the
 * memory back one round later. Every uv_poll_t on a net_loop is the first member of one of these.
 */
struct net_fd {
    uv_poll_t poll;
    net_fd_fn *fn;
    void *arg;
    int fd;
    int want; /* NET_READ | NET_WRITE that libuv watches for */
};

static void tick_cb(uv_timer_t *t);

/* Makes the uv timer fire no later than the earliest deadline. Too early is harmless: tick_cb looks again. */
static void tick_arm(struct net_loop *l)
{
    uint64_t next = timerq_next(&l->timers);
    if (next >= l->tick_at)
        return;
    uint64_t now = net_now(l);
    l->tick_at = next;
    uv_timer_start(&l->tick, tick_cb, next > now ? next - now : 0, 0);
}

static void tick_cb(uv_timer_t *t)
{
    struct net_loop *l = t->data;
    l->tick_at = TIME_NEVER;
    timerq_run(&l->timers, net_now(l));
    tick_arm(l);
}

static void async_cb(uv_async_t *a)
{
    struct net_loop *l = a->data;
    if (l->woken)
        l->woken(l);
}

static void idle_cb(uv_idle_t *i)
{
    (void)i; /* that it is active is what makes the loop not wait */
}

static void round_cb(uv_check_t *c)
{
    struct net_loop *l = c->data;
    uv_idle_stop(&l->again);
    if (l->turn)
        l->turn(l);
}

int net_loop_init(struct net_loop *l, void (*woken)(struct net_loop *), void *arg)
{
    *l = (struct net_loop){ .woken = woken, .arg = arg, .tick_at = TIME_NEVER };
    if (uv_loop_init(&l->uv))
        return ERR_SYSTEM;
    if (uv_async_init(&l->uv, &l->async, async_cb)) {
        uv_loop_close(&l->uv);
        return ERR_SYSTEM;
    }
    uv_timer_init(&l->uv, &l->tick); /* cannot fail */
    uv_check_init(&l->uv, &l->round);
    uv_idle_init(&l->uv, &l->again);
    uv_check_start(&l->round, round_cb);
    l->async.data = l;
    l->tick.data = l;
    l->round.data = l;
    timerq_init(&l->timers);
    return 0;
}

void net_loop_run(struct net_loop *l)
{
    uv_run(&l->uv, UV_RUN_DEFAULT);
}

void net_loop_stop(struct net_loop *l)
{
    uv_stop(&l->uv);
}

void net_loop_wake(struct net_loop *l)
{
    uv_async_send(&l->async);
}

void net_loop_again(struct net_loop *l)
{
    uv_idle_start(&l->again, idle_cb); /* nothing when it is active already */
}

static void close_left(uv_handle_t *h, void *arg)
{
    (void)arg;
    if (h->type == UV_POLL && !uv_is_closing(h))
        net_fd_close((struct net_fd *)h);
}

void net_loop_fini(struct net_loop *l)
{
    uv_walk(&l->uv, close_left, NULL);
    uv_close((uv_handle_t *)&l->async, NULL);
    uv_close((uv_handle_t *)&l->tick, NULL);
    uv_close((uv_handle_t *)&l->round, NULL);
    uv_close((uv_handle_t *)&l->again, NULL);
    /* Two rounds: uv_stop() may have left its mark for the first one. */
    for (int i = 0; i < 2; i++)
        uv_run(&l->uv, UV_RUN_NOWAIT);
    uv_loop_close(&l->uv);
    timerq_fini(&l->timers);
}

int net_timer_set(struct net_loop *l, struct timer_entry *e, uint64_t deadline_ms)
{
    int err = timerq_set(&l->timers, e, deadline_ms);
    if (!err)
        tick_arm(l);
    return err;
}

void net_timer_cancel(struct net_loop *l, struct timer_entry *e)
{
    timerq_cancel(&l->timers, e);
}

static void fd_cb(uv_poll_t *p, int status, int events);

static int fd_start(struct net_fd *nf, int events)
{
    int uv_events = (events & NET_READ ? UV_READABLE : 0) | (events & NET_WRITE ? UV_WRITABLE : 0);
    return uv_poll_start(&nf->poll, uv_events, fd_cb);
}

static void fd_cb(uv_poll_t *p, int status, int events)
{
    struct net_fd *nf = (struct net_fd *)p;
    int out = (events & UV_READABLE ? NET_READ : 0) | (events & UV_WRITABLE ? NET_WRITE : 0);
    if (status < 0) {
        /* libuv stops watching at EPOLLERR. The owner finds the error at its next read or write, and where
         * there is none (a TUN queue of a link that went away) it still has what it asked for. */
        out = nf->want | NET_READ;
        if (fd_start(nf, nf->want))
            nf->want = 0;
    }
    nf->fn(nf->arg, out); /* may have closed nf */
}

struct net_fd *net_fd_new(struct net_loop *l, int fd, net_fd_fn *fn, void *arg)
{
    struct net_fd *nf = calloc(1, sizeof(*nf));
    if (!nf || uv_poll_init(&l->uv, &nf->poll, fd)) { /* makes it non-blocking too */
        free(nf);
        close(fd);
        return NULL;
    }
    nf->fd = fd;
    nf->fn = fn;
    nf->arg = arg;
    return nf;
}

void net_fd_want(struct net_fd *nf, int events)
{
    if (events == nf->want)
        return;
    nf->want = events;
    if (!events)
        uv_poll_stop(&nf->poll);
    else if (fd_start(nf, events))
        nf->want = 0; /* only for a closed handle or a foreign watcher of this fd: our own bug */
}

void net_fd_rebind(struct net_fd *nf, net_fd_fn *fn, void *arg)
{
    nf->fn = fn;
    nf->arg = arg;
}

int net_fd_num(const struct net_fd *nf)
{
    return nf->fd;
}

static void fd_closed(uv_handle_t *h)
{
    free(h);
}

void net_fd_close(struct net_fd *nf)
{
    if (!nf)
        return;
    uv_close((uv_handle_t *)&nf->poll, fd_closed); /* takes it out of epoll now, so that the number may be reused */
    close(nf->fd);
    nf->fd = -1;
}
