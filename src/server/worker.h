/*
 * A worker: one thread, one loop, its own listeners and TUN queues, and the connections that it accepted until they
 * end. Nothing here is shared with other workers but what struct engine names.
 *
 * conn.c takes a connection from accept to its verdict; call.c runs an SSTP call (control); data.c moves its packets
 * (hot); worker.c is the rest.
 */
#ifndef GH_SERVER_WORKER_H
#define GH_SERVER_WORKER_H

#include <pthread.h>

#include "base/evq.h"
#include "base/list.h"
#include "base/log.h"
#include "base/pkt.h"
#include "base/rand.h"
#include "net/loop.h"
#include "server/engine.h"
#include "server/generation.h"
#include "server/handshakes.h"
#include "server/pool.h"
#include "tun/queue.h"
#include "tunnel/stream.h"

#define HANDOVER_MAX (4u << 20) /* bytes of packets waiting for another worker */
#define EV_CAP       16384

struct conn;
struct call;
struct splice_pool;
TAILQ_HEAD(call_queue, call);

/* How much one source address (IPv4, or IPv6 /64) has open on this worker. */
struct source {
    uint8_t key[16];
    unsigned unauthenticated, web, total;
    UT_hash_handle hh;
};

/* Work for another thread's worker; freed by whoever runs it. */
struct worker_msg {
    STAILQ_ENTRY(worker_msg) link;
    void (*run)(struct worker *w, struct worker_msg *m);
};

struct handover { /* packets that came in on a queue of another worker; under the lock */
    pthread_mutex_t lock;
    struct pktbuf_list packets;
    size_t bytes;
    uint64_t dropped;
    STAILQ_HEAD(, worker_msg) msgs;
};

struct worker_counts { /* read by others only through messages */
    uint64_t accepted, refused, tls_failed, web, calls_up, login_ok, login_failed, handed_over, unknown_dst,
        drop_memory, drop_odd;
};

struct worker {
    unsigned index;
    struct engine *engine;
    pthread_t thread;
    struct net_loop loop;
    struct generation *gen; /* for new connections */
    struct splice_pool *pipes;
    struct sstp_cert_hashes front[FRONT_MAX]; /* scratch of call.c */
    struct listener {
        struct net_fd *nf;
        struct worker *w;
        bool front; /* of offload.listen */
    } listener[CONFIG_SOCKETS_MAX];
    unsigned n_listeners;
    struct worker_queue {
        struct tun_queue tun;
        struct net_fd *nf; /* NULL: none */
        bool ready;        /* to be read in this turn */
    } queue[TUN_QUEUES_WORKER];
    unsigned n_queues;      /* 0 without vpn */
    unsigned next_queue;    /* whose turn it is */
    struct pktbuf *tun_buf; /* what is read next; NULL: none yet */
    struct join join;       /* what goes to the TUN, on the queue of the call that it comes from */
    struct handover inbox;
    struct tunnel_bufs bufs;
    struct evq ev_sstp, ev_ppp;
    struct call **by_slot; /* per pool slot: this worker's call that has the address */
    LIST_HEAD(, conn) conns;
    struct handshakes handshakes;
    unsigned n_conns, n_calls, n_relays;
    struct source *sources;   /* uthash */
    struct call_queue fresh;  /* calls with packets to send, served first: nothing waited for them before */
    struct call_queue active; /* ... the others, in turns */
    unsigned n_active;        /* both */
    struct call_queue again;  /* calls with input left over for the next turn */
    unsigned n_again;
    size_t in_bytes; /* read from clients in this turn, and */
    unsigned in_frames;
    struct log_limit log_tls, log_login, log_refused, log_calls, log_left, log_accept, log_web;
    struct worker_counts counts;
    bool draining; /* new calls get 503 */
    bool stopping;
    bool cutting; /* worker_conn_gone() is at work */
    struct timer_entry stop_timer;
    struct timer_entry accept_timer; /* armed: out of descriptors, nothing is accepted until it is due */
    struct timer_entry trim_timer;   /* armed: much waited, and the memory is not given back yet */
    struct rng rng;
};

/* Of the interface. */
struct worker_tun {
    int fd[TUN_QUEUES_WORKER];
    unsigned n; /* 0: without vpn */
};

MUST_USE int worker_start(struct worker *w, struct engine *e, unsigned index, const int *listeners, unsigned n,
                          const struct worker_tun *tun);

/* After the threads of all workers have ended: until then others may hand packets over to it, or wake it. */
void worker_fini(struct worker *w);

/*
 * A VPN was added while running: the worker's TUN queues, and an entry for each address of the pool, malloc'ed; both
 * are the worker's from now on. On its thread.
 */
void worker_take_vpn(struct worker *w, const struct worker_tun *tun, struct call **by_slot);

/* What w->gen says of limits of its own. */
void worker_take_limits(struct worker *w);

/* Runs m->run on the worker's thread. From any thread. */
void worker_post(struct worker *w, struct worker_msg *m);

/* Messages of the control side (engine.c); each is malloc'ed by the caller. */
void worker_begin_stop(struct worker *w);

/* Gives the accounting of one source, made when needed; NULL: out of memory. */
struct source *worker_source(struct worker *w, const struct proxy_addr *a);
void worker_source_release(struct worker *w, struct source *s); /* frees it when nothing is open */

void worker_conn_gone(struct worker *w); /* a connection ended: a stopping worker may be done */

#endif
