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

/* An IPv4 packet with nothing in it, behind what the kernel puts before it. */
struct fed {
    struct virtio_net_hdr head;
    uint8_t ip[BIG];
};

static size_t fed_make(struct fed *p, uint32_t len, uint32_t dst)
{
    const uint8_t head[20] = { [0] = 0x45,
                               [2] = (uint8_t)(len >> 8),
                               [3] = (uint8_t)len,
                               [16] = (uint8_t)(dst >> 24),
                               [17] = (uint8_t)(dst >> 16),
                               [18] = (uint8_t)(dst >> 8),
                               [19] = (uint8_t)dst };
    memcpy(p->ip, head, sizeof head);
    return sizeof p->head + len;
}

static void *feed(void *arg)
{
    struct feeder *f = arg;
    struct fed *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    for (unsigned i = 0; i < PACKETS; i++) {
        uint32_t len = i % 100 ? 20 + rnd(&f->seed, 1400) : BIG;
        size_t all = fed_make(p, len, HOME(rnd(&f->seed, HOMES + 1)));
        int fd = f->fd[i % QUEUES];
        while (send(fd, p, all, 0) < 0) {
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

/* Stops the worker until the test goes on, and looks after the first turn of the loop that finds something to read. */
struct gate {
    struct worker_msg m; /* first */
    sem_t stopped, go, looked;
    struct rig *r;
    void (*turn)(struct net_loop *l); /* the worker's */
    uint64_t flood, other;            /* packets that came by then */
};

static struct gate gate;

static void turn_and_look(struct net_loop *l)
{
    gate.turn(l);
    gate.flood = gate.r->home[0].call[0].n.drop_gate;
    gate.other = gate.r->home[1].call[0].n.drop_gate;
    if (!gate.flood && !gate.other)
        return;
    l->turn = gate.turn;
    sem_post(&gate.looked);
}

static void run_gate(struct worker *w, struct worker_msg *m)
{
    (void)m;
    sem_post(&gate.stopped);
    while (sem_wait(&gate.go))
        ;
    gate.turn = w->loop.turn;
    w->loop.turn = turn_and_look;
}

/* Queues are read in turns: what is in one does not wait until another, with more than a turn's worth, is empty. */
static void test_queues_in_turns(void **state)
{
    (void)state;
    struct rig *r = rig_open();
    struct order o = { 0 };
    struct fed *p = calloc(1, sizeof *p);
    int large = 16 << 20;
    unsigned fed = 0;
    assert_non_null(p);
    for (o.home = 0; o.home < 2; o.home++)
        order(r, 0, run_take, &o);
    gate = (struct gate){ .m.run = run_gate, .r = r };
    sem_init(&gate.stopped, 0, 0);
    sem_init(&gate.go, 0, 0);
    sem_init(&gate.looked, 0, 0);
    worker_post(&r->e.worker[0], &gate.m);
    while (sem_wait(&gate.stopped))
        ;
    if (setsockopt(r->tun[0][0], SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof large))
        print_message("with small buffers: this shows less\n");
    while (fed < 2000 && send(r->tun[0][0], p, fed_make(p, 100, HOME(0)), MSG_DONTWAIT) > 0)
        fed++;
    assert_true(send(r->tun[0][1], p, fed_make(p, 100, HOME(1)), 0) > 0);
    sem_post(&gate.go);
    while (sem_wait(&gate.looked))
        ;
    assert_int_equal(gate.other, 1);
    assert_true(gate.flood > 0 && (fed < 2000 || gate.flood < fed));
    free(p);
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_move),
        cmocka_unit_test(test_late),
        cmocka_unit_test(test_queues_in_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
