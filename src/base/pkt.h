/*
 * Packets travel in batches, each with room in front, so that TUN -> PPP -> SSTP -> TLS prepends
 * instead of copying. A batch borrows its packets' memory; it stays valid until whoever filled the batch
 * fills it again.
 */
#ifndef GH_BASE_PKT_H
#define GH_BASE_PKT_H

#include <stddef.h>
#include <stdint.h>

#define PKT_BATCH_MAX 64
#define PKT_HEADROOM  32 /* bytes writable in front of data: vnet header 10..12, SSTP 4, PPP 4 */

struct pkt {
    uint8_t *data; /* first byte of the IP packet */
    uint32_t len;  /* bytes */
};

struct pkt_batch {
    unsigned n;
    struct pkt pkts[PKT_BATCH_MAX];
};

/* False when the batch is full. */
static inline int pkt_batch_add(struct pkt_batch *b, uint8_t *data, uint32_t len)
{
    if (b->n == PKT_BATCH_MAX)
        return 0;
    b->pkts[b->n++] = (struct pkt){ data, len };
    return 1;
}

#endif
