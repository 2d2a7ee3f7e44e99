#include "server/worker.h"

#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/ct.h"
#include "server/call.h"
#include "server/conn.h"
#include "web/splice.h"

#define ACCEPTS_PER_WAKEUP 16
#define STOP_MS            5000
#define ACCEPT_PAUSE_MS    100
#define TRIM_BYTES         (4u << 20) /* of waiting packets: when they are gone, memory is given back, but */
#define TRIM_MS            2000       /* later */

/* ---- sources ---- */

static void source_key(const struct proxy_addr *a, uint8_t key[16])
{
    memset(key, 0, 16);
    if (a->family == 4) {
        key[10] = key[11] = 0xff;
        memcpy(key + 12, a->src, 4);
    } else {
        memcpy(key, a->src, 8); /* one customer has a /64 */
    }
}

struct source *worker_source(struct worker *w, const struct proxy_addr *a)
{
    uint8_t key[16];
    struct source *s;
    source_key(a, key);
    HASH_FIND(hh, w->sources, key, 16, s);
    if (s)
        return s;
    s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    memcpy(s->key, key, 16);
    HASH_ADD(hh, w->sources, key, 16, s);
    if (!s->hh.tbl) {
        free(s);
        return NULL;
    }
    return s;
}

void worker_source_release(struct worker *w, struct source *s)
{
    if (--s->total)
        return;
    HASH_DEL(w->sources, s);
    free(s);
}

/* ---- events of the loop ---- */

static void want_listeners(struct worker *w, int events)
{
    for (unsigned i = 0; i < w->n_listeners; i++)
        if (w->listener[i].nf)
            net_fd_want(w->listener[i].nf, events);
}

static void on_accept_again(struct timer_entry *e, uint64_t now_ms)
{
    (void)now_ms;
    want_listeners((struct worker *)(void *)((char *)e - offsetof(struct worker, accept_timer)), NET_READ);
}

/*
 * Out of descriptors or memory: the connection stays in the backlog, and asking again at once would only burn the CPU.
 */
static void accept_pause(struct worker *w, int error)
{
    uint64_t now = net_now(&w->loop);
    if (log_allowed(&w->log_accept, 1, now)) {
        log_error(NULL, "accept-failed", "a connection cannot be accepted", LOG_S("reason", strerror(error)),
                  LOG_NZ("dropped", w->log_accept.dropped),
                  LOG_S("remedy", "raise fs.file-max / fs.nr_open, or lower limits.connections"));
        w->log_accept.dropped = 0;
    }
    if (!net_timer_set(&w->loop, &w->accept_timer, now + ACCEPT_PAUSE_MS))
        want_listeners(w, 0);
}

static void on_listener(void *arg, int events)
{
    struct listener *l = arg;
    (void)events;
    for (int i = 0; i < ACCEPTS_PER_WAKEUP; i++) {
        int fd = accept4(net_fd_num(l->nf), NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
                accept_pause(l->w, errno);
            return;
        }
        conn_accept(l->w, fd, l->front);
    }
}

static void on_tun(void *arg, int events)
{
    struct worker_queue *q = arg;
    (void)events;
    q->ready = true;
}

static void run_messages(struct worker *w)
{
    struct worker_msg *m;
    for (;;) {
        pthread_mutex_lock(&w->inbox.lock);
        m = STAILQ_FIRST(&w->inbox.msgs);
        if (m)
            STAILQ_REMOVE_HEAD(&w->inbox.msgs, link);
        pthread_mutex_unlock(&w->inbox.lock);
        if (!m)
            return;
        m->run(w, m);
    }
}

static void on_wake(struct net_loop *l)
{
    struct worker *w = l->arg;
    struct pktbuf_list packets = STAILQ_HEAD_INITIALIZER(packets);
    pthread_mutex_lock(&w->inbox.lock);
    STAILQ_CONCAT(&packets, &w->inbox.packets);
    w->inbox.bytes = 0;
    pthread_mutex_unlock(&w->inbox.lock);
    data_from_inbox(w, &packets);
    run_messages(w);
}

void worker_post(struct worker *w, struct worker_msg *m)
{
    pthread_mutex_lock(&w->inbox.lock);
    STAILQ_INSERT_TAIL(&w->inbox.msgs, m, link);
    pthread_mutex_unlock(&w->inbox.lock);
    net_loop_wake(&w->loop);
}

/* ---- stopping ---- */

void worker_conn_gone(struct worker *w)
{
    if (!w->stopping || w->n_calls || w->cutting)
        return;
    w->cutting = true;
    /* Calls are gone: whatever else is open is cut now. */
    struct conn *c, *next;
    for (c = LIST_FIRST(&w->conns); c; c = next) {
        next = LIST_NEXT(c, link);
        conn_stop(c);
    }
    w->cutting = false;
    if (LIST_EMPTY(&w->conns))
        net_loop_stop(&w->loop);
}

static void on_stop_deadline(struct timer_entry *e, uint64_t now_ms)
{
    struct worker *w = (struct worker *)(void *)((char *)e - offsetof(struct worker, stop_timer));
    (void)now_ms;
    struct conn *c;
    while ((c = LIST_FIRST(&w->conns))) {
        if (c->call) {
            snprintf(c->call->end_cause, sizeof c->call->end_cause, "server-stopped");
            call_free(c->call);
            conn_free(c);
        } else {
            conn_stop(c);
        }
    }
    net_loop_stop(&w->loop);
}

void worker_begin_stop(struct worker *w)
{
    if (w->stopping)
        return;
    w->draining = true;
    for (unsigned i = 0; i < w->n_listeners; i++) {
        net_fd_close(w->listener[i].nf);
        w->listener[i].nf = NULL;
    }
    struct conn *c, *next;
    for (c = LIST_FIRST(&w->conns); c; c = next) {
        next = LIST_NEXT(c, link);
        if (c->call) {
            call_hangup(c->call, "server-stopped", "the server is going down");
            call_settle(c->call);
        }
    }
    w->stopping = true;
    if (net_timer_set(&w->loop, &w->stop_timer, net_now(&w->loop) + STOP_MS))
        net_loop_stop(&w->loop);
    worker_conn_gone(w);
}

static void trim_later(struct worker *w)
{
    if (!w->trim_timer.pos && net_timer_set(&w->loop, &w->trim_timer, net_now(&w->loop) + TRIM_MS))
        return; /* out of memory: the next turn */
}

/* What many packets waited in is free again, but the allocator's: the system's. */
static void on_trim(struct timer_entry *e, uint64_t now_ms)
{
    struct worker *w = (struct worker *)(void *)((char *)e - offsetof(struct worker, trim_timer));
    (void)now_ms;
    if (w->bufs.packets.used > TRIM_BYTES / 2)
        trim_later(w);
    else
        malloc_trim(0);
}

/* After each round of events. */
static void turn(struct net_loop *l)
{
    struct worker *w = l->arg;
    if (w->bufs.packets.used > TRIM_BYTES)
        trim_later(w);
    data_turn(w);
    handshakes_turn(w);
}

/* ---- life ---- */

static void rng_system(void *arg, void *out, size_t n)
{
    (void)arg;
    uint8_t *p = out;
    while (n) {
        ssize_t got = getrandom(p, n > 256 ? 256 : n, 0);
        if (got <= 0 && errno != EINTR)
            abort(); /* nothing here is safe without randomness */
        if (got > 0) {
            p += got;
            n -= (size_t)got;
        }
    }
}

void worker_fini(struct worker *w)
{
    run_messages(w); /* and what others posted too late */
    for (unsigned i = 0; i < w->n_queues; i++)
        net_fd_close(w->queue[i].nf);
    net_loop_fini(&w->loop);
    struct pktbuf *b;
    pktbuf_free(&w->bufs.packets, w->tun_buf);
    while ((b = STAILQ_FIRST(&w->inbox.packets))) { /* what others handed over too late */
        STAILQ_REMOVE_HEAD(&w->inbox.packets, link);
        free(b);
    }
    tunnel_bufs_fini(&w->bufs);
    splice_pool_free(w->pipes);
    secret_wipe(w->ev_ppp.buf, EV_CAP);
    free(w->ev_sstp.buf);
    free(w->ev_ppp.buf);
    free(w->by_slot);
    generation_unref(w->gen);
}

static void *thread_main(void *arg)
{
    struct worker *w = arg;
    net_loop_run(&w->loop);
    run_messages(w); /* somebody may be waiting for an answer */
    return NULL;
}

static int allocate(struct worker *w)
{
    w->pipes = splice_pool_new();
    uint8_t *ev_sstp = malloc(EV_CAP), *ev_ppp = malloc(EV_CAP);
    w->ev_sstp = evq_make(ev_sstp, EV_CAP);
    w->ev_ppp = evq_make(ev_ppp, EV_CAP);
    w->by_slot = calloc(w->engine->pool.slots + 1, sizeof(struct call *));
    bool all = w->pipes && ev_sstp && ev_ppp && w->by_slot;
    const struct config *cfg = w->gen->cfg;
    return all ? tunnel_bufs_init(&w->bufs, (size_t)cfg->limits.call_queue_kib << 10,
                                  (size_t)cfg->limits.worker_queue_mib << 20)
               : ERR_NOMEM;
}

void worker_take_limits(struct worker *w)
{
    const struct config *cfg = w->gen->cfg;
    w->bufs.call_max = (size_t)cfg->limits.call_queue_kib << 10;
    w->bufs.packets.max = (size_t)cfg->limits.worker_queue_mib << 20;
}

static int watch(struct worker *w, struct net_fd **slot, int fd, net_fd_fn *fn, void *arg)
{
    *slot = net_fd_new(&w->loop, fd, fn, arg);
    if (!*slot)
        return ERR_NOMEM;
    net_fd_want(*slot, NET_READ);
    return 0;
}

static int take_queues(struct worker *w, const struct worker_tun *tun)
{
    int rc = 0;
    for (unsigned i = 0; i < tun->n; i++) {
        struct worker_queue *q = &w->queue[i];
        *q = (struct worker_queue){ .tun = { .fd = tun->fd[i], .offload = w->engine->tun_offload } };
        if (watch(w, &q->nf, tun->fd[i], on_tun, q)) {
            q->tun.fd = -1; /* closed already */
            rc = ERR_NOMEM;
        }
    }
    w->n_queues = tun->n;
    if (tun->n)
        tun_queue_join(&w->queue[0].tun, &w->join);
    return rc;
}

void worker_take_vpn(struct worker *w, const struct worker_tun *tun, struct call **by_slot)
{
    free(w->by_slot);
    w->by_slot = by_slot;
    if (take_queues(w, tun))
        engine_fail(w->engine);
}

int worker_start(struct worker *w, struct engine *e, unsigned index, const int *listeners, unsigned n,
                 const struct worker_tun *tun)
{
    w->index = index;
    w->engine = e;
    w->gen = generation_ref(e->gen);
    w->rng = (struct rng){ rng_system, NULL };
    w->stop_timer.fn = on_stop_deadline;
    w->accept_timer.fn = on_accept_again;
    w->trim_timer.fn = on_trim;
    LIST_INIT(&w->conns);
    handshakes_init(&w->handshakes);
    TAILQ_INIT(&w->fresh);
    TAILQ_INIT(&w->active);
    STAILQ_INIT(&w->inbox.packets);
    TAILQ_INIT(&w->again);
    STAILQ_INIT(&w->inbox.msgs);
    pthread_mutex_init(&w->inbox.lock, NULL);
    int rc = net_loop_init(&w->loop, on_wake, w);
    w->loop.turn = turn;
    if (!rc)
        rc = allocate(w);
    for (unsigned i = 0; !rc && i < n; i++) {
        w->listener[i].w = w;
        w->listener[i].front = i >= w->gen->cfg->listen.n_address;
        rc = watch(w, &w->listener[i].nf, listeners[i], on_listener, &w->listener[i]);
        w->n_listeners++;
    }
    if (!rc)
        rc = take_queues(w, tun);
    if (!rc && pthread_create(&w->thread, NULL, thread_main, w))
        rc = ERR_SYSTEM;
    return rc;
}
