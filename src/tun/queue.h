/*
 * One queue of the TUN device, packets in batches. HOT PATH.
 *
 * The plain form: one packet a system call, no offloads, a vnet header of zeros on each. Batches borrow the queue's own
 * memory until the next read.
 */
#ifndef GH_TUN_QUEUE_H
#define GH_TUN_QUEUE_H

#include <stdint.h>

#include "base/err.h"
#include "base/pkt.h"

struct tun_queue {
    int fd;         /* not owned */
    uint8_t *arena; /* owned: PKT_BATCH_MAX slots */
    uint64_t written, write_errors;
};

MUST_USE int tun_queue_init(struct tun_queue *q, int fd);
void tun_queue_fini(struct tun_queue *q);

/* Fills b with what waits, up to PKT_BATCH_MAX. 0 when there may be more; ERR_AGAIN when the queue is empty (b may hold
 * packets all the same); ERR_SYSTEM when the device is gone. Each packet has PKT_HEADROOM bytes in front. */
MUST_USE int tun_queue_read(struct tun_queue *q, struct pkt_batch *b);

/*
 * Writes all packets of b in order; what the kernel refuses is counted, not retried. Writes over up to PKT_HEADROOM
 * bytes in front of each packet just before it goes out: what stands there may be the end of the packet before, which
 * is gone by then.
 */
void tun_queue_write(struct tun_queue *q, const struct pkt_batch *b);

#endif
