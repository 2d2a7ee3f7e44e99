/* What the tests of the queues share: packets to put in, one taken out as the tunnel does it, and what always holds. */
#ifndef GH_TESTS_FQTEST_H
#define GH_TESTS_FQTEST_H

#include <stdlib.h>
#include <string.h>

#include "base/rd.h"
#include "ip/fq.h"

#define FQTEST_MTU 1400
#define FQTEST_MSS (FQTEST_MTU - 40)

/*
 * A TCP packet over IPv4, of as many as travel when payload is more than the largest; seq: its first byte. The queue is
 * chosen by `flow`, which is the source address too. NULL: the pool has none.
 */
static inline struct pktbuf *fqtest_packet(struct pktbuf_pool *pool, uint32_t flow, uint32_t seq, uint32_t payload,
                                           bool ect)
{
    uint32_t len = 40 + payload;
    const uint8_t head[40] = { 0x45,
                               ect ? 2 : 0,
                               (uint8_t)(len >> 8),
                               (uint8_t)len,
                               0,
                               0,
                               0x40,
                               0,
                               64,
                               6,
                               0,
                               0,
                               (uint8_t)(flow >> 24),
                               (uint8_t)(flow >> 16),
                               (uint8_t)(flow >> 8),
                               (uint8_t)flow,
                               10,
                               0,
                               0,
                               1,
                               1,
                               2,
                               3,
                               4,
                               (uint8_t)(seq >> 24),
                               (uint8_t)(seq >> 16),
                               (uint8_t)(seq >> 8),
                               (uint8_t)seq,
                               0,
                               0,
                               0,
                               0,
                               0x50,
                               0x10 };
    struct pktbuf *b = pktbuf_new(pool, len);
    if (!b)
        return NULL;
    memcpy(b->data, head, sizeof head);
    memset(b->data + sizeof head, 0x55, payload);
    b->len = len;
    b->flow = flow;
    b->version = 4;
    if (payload > FQTEST_MSS)
        b->offload = (struct offload){ .gso = OFFLOAD_TCP4,
                                       .csum = true,
                                       .gso_size = FQTEST_MSS,
                                       .hdr_len = 40,
                                       .csum_start = 20,
                                       .csum_offset = 16 };
    if (cut_init(&b->cut, b->data, len, &b->offload, FQTEST_MTU) < 0)
        abort();
    return b;
}

static inline uint32_t fqtest_packets(uint32_t payload)
{
    return payload <= FQTEST_MSS ? 1 : (payload + FQTEST_MSS - 1) / FQTEST_MSS;
}

struct fqtest_sent {
    uint32_t flow, seq, len, payload;
    uint64_t waited_us;
    bool ce;
};

/* Takes what is next out of the queue. False: there is nothing. */
static inline bool fqtest_send(struct fq *q, uint64_t now_us, uint32_t outside_us, struct fqtest_sent *s)
{
    uint8_t out[FQTEST_MTU], ecn;
    bool mark;
    struct pktbuf *b = fq_next(q, now_us, outside_us, &mark);
    if (!b)
        return false;
    s->len = cut_len(&b->cut);
    s->payload = s->len - 40;
    s->waited_us = now_us - b->at_us;
    cut_next(&b->cut, b->data, out, mark);
    fq_sent(q, b, s->len);
    struct rd r = rd_make(out, s->len);
    if (!rd_skip(&r, 1) || !rd_u8(&r, &ecn) || !rd_skip(&r, 10) || !rd_u32(&r, &s->flow) || !rd_skip(&r, 8) ||
        !rd_u32(&r, &s->seq))
        abort();
    s->ce = (ecn & 3) == 3;
    return true;
}

static inline bool fqtest_list_holds(const struct fq *q, const struct fq_flows *list, uint32_t *seen, uint32_t *bytes,
                                     uint32_t *cost, uint32_t *packets)
{
    const struct fq_flow *f;
    const struct pktbuf *b;
    TAILQ_FOREACH(f, list, link)
    {
        uint32_t bit = 1U << (f - q->flow), f_bytes = 0, f_cost = 0;
        if ((*seen & bit) || f->deficit > (int32_t)q->mtu || f->deficit <= -(int32_t)q->mtu)
            return false;
        *seen |= bit;
        STAILQ_FOREACH(b, &f->list, link)
        {
            if (b->cut.done)
                return false;
            f_bytes += b->cut.hdr_len + b->cut.left;
            f_cost += (uint32_t)pktbuf_cost(b);
            *packets += b->cut.gso ? (b->cut.left + b->cut.size - 1) / b->cut.size : 1;
        }
        if (f->bytes != f_bytes || f->cost != f_cost)
            return false;
        *bytes += f_bytes;
        *cost += f_cost;
    }
    return true;
}

/* Sums, lists and bounds are as they must be between any two calls; *packets: as they travel, that wait. */
static inline bool fqtest_holds(const struct fq *q, uint32_t *packets)
{
    uint32_t seen = 0, bytes = 0, cost = 0;
    *packets = 0;
    if (!fqtest_list_holds(q, &q->fresh, &seen, &bytes, &cost, packets) ||
        !fqtest_list_holds(q, &q->old, &seen, &bytes, &cost, packets))
        return false;
    return seen == q->listed && !(q->listed & ~q->known) && !(q->shared & ~q->listed) && bytes == q->bytes &&
           cost == q->cost && cost <= q->max && cost <= q->pool->used && fq_empty(q) == !cost &&
           q->pool->kept <= PKTBUF_KEPT_MAX;
}

#endif
