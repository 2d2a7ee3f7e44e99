/*
 * Packets that wait, and the memory they wait in: a pool of one thread, with buffers of a few sizes that are kept for
 * the next packet, and a bound on all of them together. HOT PATH: no allocation while traffic is steady.
 */
#ifndef GH_IP_PKTBUF_H
#define GH_IP_PKTBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "ip/cut.h"
#include "ip/offload.h"

struct pktbuf {
    STAILQ_ENTRY(pktbuf) link;
    uint64_t at_us;     /* since when it waits */
    uint32_t len;       /* bytes of the packet */
    uint32_t flow;      /* hash of its addresses, protocol and ports */
    uint8_t size_class; /* of the pool */
    uint8_t version;    /* 4 or 6 */
    uint8_t owner;      /* of a packet on its way to another worker: which */
    struct offload offload;
    struct cut cut;
    uint8_t data[];
};
STAILQ_HEAD(pktbuf_list, pktbuf);

#define PKTBUF_CLASSES  5         /* packets of up to 256, 2048, 8192, 32768, OFFLOAD_PACKET_MAX bytes */
#define PKTBUF_KEPT_MAX (2 << 20) /* bytes of buffers that a pool keeps for the next packets */

/* Bytes that a buffer of a class of this size costs: its head, and what the allocator adds. */
#define PKTBUF_COST(size) (sizeof(struct pktbuf) + (size) + 16)
#define PKTBUF_COST_MAX   PKTBUF_COST(OFFLOAD_PACKET_MAX)

struct fq;
TAILQ_HEAD(fq_list, fq);

struct pktbuf_pool { /* zeros, and max, to begin with */
    size_t max;      /* bytes that all its buffers in use may have together */
    size_t used;     /* now, with what else the buffers cost */
    size_t kept;     /* bytes of those kept for the next packet */
    struct pktbuf_list free[PKTBUF_CLASSES];
    uint32_t n_free[PKTBUF_CLASSES];
    struct fq_list waiting; /* fq.c's: where its buffers wait */
    bool ready;
};

/* Bytes that a buffer of this class costs. */
size_t pktbuf_cost(const struct pktbuf *b);

/* Is one more for len bytes within max? */
bool pktbuf_fits(const struct pktbuf_pool *p, size_t len);

/* A buffer for len bytes, cleared but for data; NULL: more than max, larger than the largest, or out of memory. */
struct pktbuf *pktbuf_new(struct pktbuf_pool *p, size_t len);
void pktbuf_free(struct pktbuf_pool *p, struct pktbuf *b); /* NULL is fine */

/* b, or a smaller one with the same packet when b is much too large for it (b is freed then). Never NULL. */
struct pktbuf *pktbuf_fit(struct pktbuf_pool *p, struct pktbuf *b);

/* A buffer goes from one thread's pool to another's: given() on the one side, taken() on the other. */
void pktbuf_given(struct pktbuf_pool *p, const struct pktbuf *b);
void pktbuf_taken(struct pktbuf_pool *p, const struct pktbuf *b);

void pktbuf_pool_fini(struct pktbuf_pool *p); /* frees what is kept */

#endif
