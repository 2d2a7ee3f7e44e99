/*
 * Two workers whose packets come in on the other's queue, while addresses change hands: every packet gets to the worker
 * that has its address or is counted, and the memory it lies in is counted where it is. Under TSan it is about what
 * threads share: inboxes, buffers, owners, messages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/call.h"
#include "server/engine.h"
#include "server/worker.h"

enum { WORKERS = 2, QUEUES = 2, HOMES = 5, PACKETS = 20000, BIG = 60000, MOVES = 300 };
#define HOME(i) ((uint32_t)10 << 24 | 77 << 16 | (10 + (i)))

struct rig {
    struct config cfg;
    struct generation gen;
    struct engine e;
    int tun[WORKERS][QUEUES]; /* the kernel's ends of the worker's queues */
    struct home { /* an address, and a call that has it on either worker; data does not pass yet, so it counts */
        struct call call[WORKERS];
        struct conn conn[WORKERS];
    } home[HOMES];
};

/* Work for a worker's thread, and waiting for its end. */
struct order {
    struct worker_msg m; /* first */
    struct rig *r;
    unsigned home;
    struct worker_counts counts;
    uint64_t arrived, dropped;
    sem_t done;
};

static void order(struct rig *r, unsigned worker, void (*run)(struct worker *, struct worker_msg *), struct order *o)
{
    o->m.run = run;
    o->r = r;
    assert_int_equal(sem_init(&o->done, 0, 0), 0);
    worker_post(&r->e.worker[worker], &o->m);
    while (sem_wait(&o->done))
        ;
    sem_destroy(&o->done);
}

static void run_take(struct worker *w, struct worker_msg *m)
{
    struct order *o = (struct order *)(void *)m;
    uint32_t ip;
    if (pool_take(&w->engine->pool, HOME(o->home), w->index, &ip))
        abort();
    w->by_slot[pool_slot(&w->engine->pool, ip)] = &o->r->home[o->home].call[w->index];
    sem_post(&o->done);
}

static void run_give(struct worker *w, struct worker_msg *m)
{
    struct order *o = (struct order *)(void *)m;
    w->by_slot[pool_slot(&w->engine->pool, HOME(o->home))] = NULL;
    pool_give(&w->engine->pool, HOME(o->home));
    sem_post(&o->done);
}

static void run_count(struct worker *w, struct worker_msg *m)
{
    struct order *o = (struct order *)(void *)m;
    o->counts = w->counts;
    o->arrived = 0;
    for (unsigned i = 0; i < HOMES; i++)
        o->arrived += o->r->home[i].call[w->index].n.drop_gate;
    pthread_mutex_lock(&w->inbox.lock);
    o->dropped = w->inbox.dropped;
    pthread_mutex_unlock(&w->inbox.lock);
    sem_post(&o->done);
}

static void run_stop(struct worker *w, struct worker_msg *m)
{
    struct order *o = (struct order *)(void *)m;
    worker_begin_stop(w);
    sem_post(&o->done);
}

/* ---- the kernel's side ---- */

struct feeder {
    pthread_t thread;
    const int *fd; /* of one worker, in turns */
    uint32_t seed;
};

static uint32_t rnd(uint32_t *seed, uint32_t below)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % below;
}

static void *feed(void *arg)
{
    struct feeder *f = arg;
    struct {
        struct virtio_net_hdr head;
        uint8_t ip[BIG];
    } *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    for (unsigned i = 0; i < PACKETS; i++) {
        uint32_t len = i % 100 ? 20 + rnd(&f->seed, 1400) : BIG, dst = HOME(rnd(&f->seed, HOMES + 1));
        const uint8_t head[20] = { [0] = 0x45,
                                   [2] = (uint8_t)(len >> 8),
                                   [3] = (uint8_t)len,
                                   [16] = (uint8_t)(dst >> 24),
                                   [17] = (uint8_t)(dst >> 16),
                                   [18] = (uint8_t)(dst >> 8),
                                   [19] = (uint8_t)dst };
        memcpy(p->ip, head, sizeof head);
        int fd = f->fd[i % QUEUES];
        while (send(fd, p, sizeof p->head + len, 0) < 0) {
            struct pollfd w = { .fd = fd, .events = POLLOUT };
            if (errno != EAGAIN || poll(&w, 1, -1) < 0)
                abort();
        }
    }
    free(p);
    return NULL;
}

/* ---- the rig ---- */

static struct rig *rig_open(void)
{
    struct rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->cfg.vpn.network[r->cfg.vpn.n_network++] = (struct config_net4){ .base = HOME(0) & ~0xffu, .prefix = 24 };
    r->cfg.limits.call_queue_kib = 4096;
    r->cfg.limits.worker_queue_mib = 16;
    r->gen.refs = 1;
    r->gen.cfg = &r->cfg;
    r->e.gen = &r->gen;
    r->e.n_workers = WORKERS;
    r->e.worker = calloc(WORKERS, sizeof *r->e.worker);
    assert_non_null(r->e.worker);
    pthread_mutex_init(&r->e.iid_lock, NULL);
    assert_int_equal(pool_init(&r->e.pool, &r->cfg), 0);
    for (unsigned i = 0; i < HOMES * WORKERS; i++) {
        struct home *h = &r->home[i / WORKERS];
        h->conn[i % WORKERS].w = &r->e.worker[i % WORKERS];
        h->call[i % WORKERS].c = &h->conn[i % WORKERS];
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker_tun tun = { .n = QUEUES };
        for (unsigned q = 0; q < QUEUES; q++) {
            int pair[2]; /* one read gives one packet, as of a TUN */
            assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
            tun.fd[q] = pair[0];
            r->tun[i][q] = pair[1];
        }
        assert_int_equal(worker_start(&r->e.worker[i], &r->e, i, NULL, 0, &tun), 0);
    }
    return r;
}

static void rig_close(struct rig *r)
{
    struct order o = { 0 };
    for (unsigned i = 0; i < WORKERS; i++)
        order(r, i, run_stop, &o);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_join(r->e.worker[i].thread, NULL), 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        worker_fini(&r->e.worker[i]);
        assert_int_equal(r->e.worker[i].bufs.packets.used, 0);
        for (unsigned q = 0; q < QUEUES; q++)
            close(r->tun[i][q]);
    }
    assert_int_equal(r->gen.refs, 1);
    pool_fini(&r->e.pool);
    free(r->e.worker);
    free(r);
}

/* Until all is where it belongs. */
static void count(struct rig *r, uint64_t all, uint64_t *arrived, uint64_t *handed)
{
    uint64_t sum;
    do {
        sum = *arrived = *handed = 0;
        for (unsigned i = 0; i < WORKERS; i++) {
            struct order o = { 0 };
            order(r, i, run_count, &o);
            *arrived += o.arrived;
            *handed += o.counts.handed_over;
            sum += o.arrived + o.dropped + o.counts.unknown_dst + o.counts.drop_memory;
        }
        assert_true(sum <= all);
    } while (sum < all);
}

/* ---- the tests ---- */

static void test_addresses_move(void **state)
{
    (void)state;
    struct rig *r = rig_open();
    struct feeder f[WORKERS];
    struct order o = { 0 };
    unsigned owner[HOMES] = { 0 };
    uint64_t arrived, handed;
    for (o.home = 0; o.home < HOMES; o.home++)
        order(r, owner[o.home] = o.home % WORKERS, run_take, &o);
    for (unsigned i = 0; i < WORKERS; i++) {
        f[i] = (struct feeder){ .fd = r->tun[i], .seed = i };
        assert_int_equal(pthread_create(&f[i].thread, NULL, feed, &f[i]), 0);
    }
    for (unsigned i = 0; i < MOVES; i++) {
        o.home = i % HOMES;
        order(r, owner[o.home], run_give, &o);
        owner[o.home] = (owner[o.home] + 1) % WORKERS;
        order(r, owner[o.home], run_take, &o);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_join(f[i].thread, NULL), 0);
    count(r, (uint64_t)WORKERS * PACKETS, &arrived, &handed);
    assert_true(arrived > PACKETS / 4 && handed > PACKETS / 4);
    rig_close(r);
}

/* One worker has ended, and the other does not know: what is handed to it lies there until both are taken apart. */
static void test_late(void **state)
{
    (void)state;
    struct rig *r = rig_open();
    struct feeder f = { .fd = r->tun[0] };
    struct order o = { 0 }, c = { 0 };
    for (o.home = 0; o.home < HOMES; o.home++)
        order(r, 1, run_take, &o);
    order(r, 1, run_stop, &o);
    assert_int_equal(pthread_create(&f.thread, NULL, feed, &f), 0);
    assert_int_equal(pthread_join(f.thread, NULL), 0);
    do
        order(r, 0, run_count, &c);
    while (!c.counts.handed_over);
    order(r, 0, run_stop, &o);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_join(r->e.worker[i].thread, NULL), 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        worker_fini(&r->e.worker[i]);
        assert_int_equal(r->e.worker[i].bufs.packets.used, 0);
        for (unsigned q = 0; q < QUEUES; q++)
            close(r->tun[i][q]);
    }
    pool_fini(&r->e.pool);
    free(r->e.worker);
    free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_move),
        cmocka_unit_test(test_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
