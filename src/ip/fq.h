/*
 * What waits for one call: a queue for each of its flows, served in turn, new and sparse flows first, each with CoDel
 * (RFC 8290 in spirit). A flow that fills the call delays itself, not the others. HOT PATH.
 *
 * Exists only while something waits. Bounded by bytes: when full, the packet at the head of the longest queue goes.
 * Lengths of queues are those of the memory that they take: many small packets are not a short queue. Calls that nobody
 * empties may fill the pool that they share: fq_relieve() takes from them.
 */
#ifndef GH_IP_FQ_H
#define GH_IP_FQ_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "ip/codel.h"
#include "ip/pktbuf.h"

/* What owners set a flow's turn to: this part of a second of the line's rate, so that the next flow does not feel it,
 * and no more than so many bytes, which are whole super-packets. */
#define FQ_TURN_RATE 1000
#define FQ_TURN_MOST 65536

#define FQ_FLOWS 32 /* queues of a call; when more flows than that have packets waiting, some share one */

struct fq_counts {      /* of packets as they travel */
    uint64_t drop_full; /* no room */
    uint64_t drop_late; /* CoDel */
    uint64_t marked;    /* CoDel, ECN */
};

struct fq_flow {
    TAILQ_ENTRY(fq_flow) link;
    struct pktbuf_list list;
    struct codel codel;
    uint32_t bytes;  /* waiting, as fq.bytes counts */
    uint32_t cost;   /* waiting, as the pool counts */
    int32_t deficit; /* bytes it may still send in its turn */
    uint8_t state;   /* fq.c's: idle, new, old */
};
TAILQ_HEAD(fq_flows, fq_flow);

struct fq {
    struct pktbuf_pool *pool; /* borrowed */
    struct fq_counts *counts; /* borrowed: the call's, which outlives it */
    uint32_t mtu;             /* largest packet that travels */
    uint32_t turn;            /* bytes of a flow's turn: mtu, or what the owner sets, at least that: a fast line is
                               * served as evenly by larger turns, whose packets can be joined again */
    uint32_t max;             /* bytes (as the pool counts them) that may wait */
    uint32_t bytes;           /* waiting, by packet lengths: with the headers that cutting repeats not counted */
    uint32_t cost;            /* the same as the pool counts */
    TAILQ_ENTRY(fq) waiting;  /* in pool->waiting while there is any */
    struct fq_flows fresh, old;
    struct fq_flow *head_flow; /* of the packet that fq_next() chose */
    bool head_mark;
    uint32_t known;          /* a bit for each flow[] that has a hash; the others hold nothing yet */
    uint32_t listed;         /* a bit for each that is in fresh or old */
    uint32_t shared;         /* a bit for each of those that has packets of more than one hash */
    uint32_t hash[FQ_FLOWS]; /* of the flow whose queue it is or was last */
    struct fq_flow flow[FQ_FLOWS];
};

/*
 * Cheap: the memory needs no clearing. mtu: at least 1. max: at least one packet of any size may wait
 * (PKTBUF_COST_MAX), also when max is less; and no more than half of what the pool has left, but for that one.
 */
void fq_init(struct fq *q, struct pktbuf_pool *pool, struct fq_counts *counts, uint32_t mtu, uint32_t max);
void fq_fini(struct fq *q); /* frees what waits, uncounted */

static inline bool fq_empty(const struct fq *q)
{
    return !q->bytes;
}

/*
 * Takes b, whose cut is ready and has a packet left, into the queue of b->flow. False: it was dropped itself (b is
 * gone): alone in its queue, and that was the longest.
 */
bool fq_put(struct fq *q, struct pktbuf *b, uint64_t now_us);

/*
 * Makes room in the pool for a packet of len bytes, whoever it is for: while there is none, drops from the longest
 * queue of the call that has most waiting (of some of them, another some each time). What it empties stays: see
 * fq_empty().
 */
void fq_relieve(struct pktbuf_pool *pool, size_t len);

/*
 * The packet buffer whose next packet (cut_len(&b->cut) bytes) goes next, after CoDel has dropped what it wants; *mark:
 * with Congestion Experienced. outside_us is added to its waiting: what it will wait behind us, in the socket and on
 * the path, as far as known; less what it waited for other calls' turns, which no flow of this one can help. NULL:
 * nothing waits. The same again until fq_sent() (or fq_put() made room by it).
 */
struct pktbuf *fq_next(struct fq *q, uint64_t now_us, int64_t outside_us, bool *mark);

/* len bytes of what fq_next() gave went out by cut_next(): b may be gone now. */
void fq_sent(struct fq *q, struct pktbuf *b, uint32_t len);

#endif
