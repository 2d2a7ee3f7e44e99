#include "ip/fq.h"

#include <assert.h>

/* A hash looks for its queue among this many, so that flows share one only when their part of the table is full. */
#define WAYS 8

#define LOOK 16 /* calls to choose from when memory runs out */

#define TURN_MIN 256 /* a turn in bytes: a flow's deficit is paid back in a bounded number of them */

static_assert(FQ_FLOWS == 32, "a bit in a word for each queue");

enum flow_state { FLOW_IDLE, FLOW_NEW, FLOW_OLD }; /* in no list, in q->fresh, in q->old */

/* As fq.bytes counts. */
static uint32_t bytes_left(const struct pktbuf *b)
{
    return b->cut.done ? 0 : b->cut.hdr_len + b->cut.left;
}

/* As they travel. */
static uint32_t packets_left(const struct cut *c)
{
    if (c->done)
        return 0;
    return c->left <= c->size ? 1 : (c->left + c->size - 1) / c->size;
}

void fq_init(struct fq *q, struct pktbuf_pool *pool, struct fq_counts *counts, uint32_t mtu, uint32_t max)
{
    q->pool = pool;
    q->counts = counts;
    q->turn = q->mtu = mtu > TURN_MIN ? mtu : TURN_MIN;
    q->max = max > PKTBUF_COST_MAX ? max : PKTBUF_COST_MAX;
    q->bytes = q->cost = 0;
    q->known = q->listed = q->shared = 0;
    TAILQ_INIT(&q->fresh);
    TAILQ_INIT(&q->old);
    q->head_flow = NULL;
    q->head_mark = false;
}

static struct fq_flows *list_of(struct fq *q, const struct fq_flow *f)
{
    return f->state == FLOW_NEW ? &q->fresh : &q->old;
}

static uint32_t bit_of(const struct fq *q, const struct fq_flow *f)
{
    return 1U << (f - q->flow);
}

static void to_fresh(struct fq *q, struct fq_flow *f)
{
    f->state = FLOW_NEW;
    f->deficit = (int32_t)q->turn;
    q->listed |= bit_of(q, f);
    TAILQ_INSERT_TAIL(&q->fresh, f, link);
}

static void to_old(struct fq *q, struct fq_flow *f)
{
    TAILQ_REMOVE(list_of(q, f), f, link);
    f->state = FLOW_OLD;
    TAILQ_INSERT_TAIL(&q->old, f, link);
}

static void to_idle(struct fq *q, struct fq_flow *f)
{
    TAILQ_REMOVE(list_of(q, f), f, link);
    f->state = FLOW_IDLE;
    q->listed &= ~bit_of(q, f);
    q->shared &= ~bit_of(q, f);
}

/*
 * The queue of this hash; else one that is free; else the one that it has to share. Who shares one stays there while it
 * has packets: there is an order to keep.
 */
static struct fq_flow *flow_find(struct fq *q, uint32_t hash)
{
    uint32_t home = hash % FQ_FLOWS, first = home / WAYS * WAYS, i;
    for (i = first; i < first + WAYS; i++)
        if ((q->known >> i & 1) && q->hash[i] == hash)
            return &q->flow[i];
    uint32_t unlisted = ~q->listed & ((1U << WAYS) - 1) << first;
    if (!unlisted || (q->shared >> home & 1)) {
        q->shared |= 1U << home;
        return &q->flow[home];
    }
    uint32_t unknown = unlisted & ~q->known; /* leaves what CoDel knows of the others where it is */
    i = (uint32_t)__builtin_ctz(unknown ? unknown : unlisted);
    q->known |= 1U << i;
    q->hash[i] = hash;
    q->flow[i] = (struct fq_flow){ .state = FLOW_IDLE };
    STAILQ_INIT(&q->flow[i].list);
    return &q->flow[i];
}

static void flow_pop(struct fq *q, struct fq_flow *f)
{
    struct pktbuf *b = STAILQ_FIRST(&f->list);
    uint32_t cost = (uint32_t)pktbuf_cost(b);
    STAILQ_REMOVE_HEAD(&f->list, link);
    f->cost -= cost;
    q->cost -= cost;
    if (!q->cost)
        TAILQ_REMOVE(&q->pool->waiting, q, waiting);
    pktbuf_free(q->pool, b);
}

static void flow_free(struct fq *q, struct fq_flow *f)
{
    while (!STAILQ_EMPTY(&f->list))
        flow_pop(q, f);
}

void fq_fini(struct fq *q)
{
    struct fq_flow *f;
    TAILQ_FOREACH(f, &q->fresh, link)
    flow_free(q, f);
    TAILQ_FOREACH(f, &q->old, link)
    flow_free(q, f);
    fq_init(q, q->pool, q->counts, q->mtu, q->max);
}

/* A packet of len bytes was just cut from the head of f, b. */
static void took(struct fq *q, struct fq_flow *f, struct pktbuf *b, uint32_t len)
{
    uint32_t gone = b->cut.done ? len : len - b->cut.hdr_len;
    f->bytes -= gone;
    q->bytes -= gone;
    if (b->cut.done)
        flow_pop(q, f);
}

/*
 * What may wait now: the call's own bound; and of the worker's memory half of what is left, so that however many calls
 * fill theirs, there is some for the next one. One packet of any size always.
 */
static size_t room(const struct fq *q)
{
    size_t left = q->pool->max > q->pool->used ? q->pool->max - q->pool->used : 0;
    size_t share = left / 2 > PKTBUF_COST_MAX ? left / 2 : PKTBUF_COST_MAX;
    return share < q->max ? share : q->max;
}

static struct fq_flow *longest_of(struct fq_flows *list, struct fq_flow *best, const struct fq_flow *mine)
{
    struct fq_flow *f;
    TAILQ_FOREACH(f, list, link)
    if (f != mine && (!best || f->cost >= best->cost))
        best = f;
    return best;
}

/*
 * Drops the head of the longest queue, as memory counts; among equals rather not that of `mine`, if given. True: it was
 * b.
 */
static bool drop_longest(struct fq *q, struct fq_flow *mine, const struct pktbuf *b)
{
    struct fq_flow *f = longest_of(&q->old, longest_of(&q->fresh, mine, mine), mine);
    struct pktbuf *head = STAILQ_FIRST(&f->list);
    bool itself = head == b;
    uint32_t gone = bytes_left(head);
    q->counts->drop_full += packets_left(&head->cut);
    f->bytes -= gone;
    q->bytes -= gone;
    flow_pop(q, f);
    if (q->head_flow == f)
        q->head_flow = NULL;
    return itself;
}

void fq_relieve(struct pktbuf_pool *pool, size_t len)
{
    struct fq *q, *most;
    while (!pktbuf_fits(pool, len) && pool->ready && (most = TAILQ_FIRST(&pool->waiting))) {
        for (unsigned i = 0; i < LOOK; i++) {
            q = TAILQ_FIRST(&pool->waiting);
            TAILQ_REMOVE(&pool->waiting, q, waiting);
            TAILQ_INSERT_TAIL(&pool->waiting, q, waiting);
            if (q->cost > most->cost)
                most = q;
        }
        (void)drop_longest(most, NULL, NULL);
    }
}

bool fq_put(struct fq *q, struct pktbuf *b, uint64_t now_us)
{
    struct fq_flow *f = flow_find(q, b->flow);
    uint32_t cost = (uint32_t)pktbuf_cost(b), bytes = bytes_left(b);
    bool stays = true;
    b->at_us = now_us;
    if (!q->cost)
        TAILQ_INSERT_TAIL(&q->pool->waiting, q, waiting);
    STAILQ_INSERT_TAIL(&f->list, b, link);
    f->bytes += bytes;
    q->bytes += bytes;
    f->cost += cost;
    q->cost += cost;
    if (f->state == FLOW_IDLE)
        to_fresh(q, f);
    while (q->cost > room(q))
        if (drop_longest(q, f, b))
            stays = false;
    return stays;
}

/* CoDel on the head of f, until one may go. False: f is empty. */
static bool flow_head(struct fq *q, struct fq_flow *f, uint64_t now_us, int64_t outside_us)
{
    struct pktbuf *b;
    while ((b = STAILQ_FIRST(&f->list))) {
        int64_t waited = (now_us > b->at_us ? (int64_t)(now_us - b->at_us) : 0) + outside_us;
        q->head_mark = codel_says(&f->codel, now_us, waited > 0 ? (uint64_t)waited : 0, f->bytes, q->mtu);
        if (!q->head_mark || b->cut.ect)
            return true;
        uint32_t len = cut_len(&b->cut);
        cut_skip(&b->cut);
        q->counts->drop_late++;
        took(q, f, b, len);
    }
    (void)codel_says(&f->codel, now_us, 0, 0, q->mtu);
    return false;
}

/* RFC 8290 4.2. */
static void choose(struct fq *q, uint64_t now_us, int64_t outside_us)
{
    struct fq_flow *f;
    while ((f = TAILQ_FIRST(&q->fresh)) || (f = TAILQ_FIRST(&q->old))) {
        if (f->deficit <= 0) {
            f->deficit += (int32_t)q->turn;
            to_old(q, f);
        } else if (flow_head(q, f, now_us, outside_us)) {
            q->head_flow = f;
            return;
        } else if (f->state == FLOW_NEW) {
            to_old(q, f); /* empty, and yet: it is not to be new again before the others had their turn */
        } else {
            to_idle(q, f);
        }
    }
}

struct pktbuf *fq_next(struct fq *q, uint64_t now_us, int64_t outside_us, bool *mark)
{
    if (!q->head_flow)
        choose(q, now_us, outside_us);
    *mark = q->head_flow && q->head_mark;
    return q->head_flow ? STAILQ_FIRST(&q->head_flow->list) : NULL;
}

void fq_sent(struct fq *q, struct pktbuf *b, uint32_t len)
{
    struct fq_flow *f = q->head_flow;
    assert(f && STAILQ_FIRST(&f->list) == b);
    f->deficit -= (int32_t)len;
    if (q->head_mark)
        q->counts->marked++;
    q->head_flow = NULL;
    took(q, f, b, len);
}
