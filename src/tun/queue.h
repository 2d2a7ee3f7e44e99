/*
 * One queue of the TUN device. HOT PATH.
 *
 * With offloads (TSO, USO) a read gives and a write takes up to 64 KiB at once, as a super-packet with a struct
 * offload; without, the plain form, it is one packet as it travels. The callers are the same: whatever comes is cut
 * (ip/cut.h), and what goes was joined (ip/join.h) only where the device takes it.
 */
#ifndef GH_TUN_QUEUE_H
#define GH_TUN_QUEUE_H

#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "ip/join.h"
#include "ip/offload.h"
#include "ip/pktbuf.h"
#include "tun/device.h"

struct tun_queue {
    int fd; /* not owned; -1: none, writes go nowhere */
    struct tun_offload offload;
    uint64_t reads, writes, write_errors;
};

/*
 * One packet into buf, of at least OFFLOAD_PACKET_MAX bytes. 0; ERR_AGAIN: the queue is empty; ERR_PEER: what came is
 * no packet, or one that the kernel cannot give us, the next may be; ERR_SYSTEM: the device is gone.
 */
MUST_USE int tun_queue_read(struct tun_queue *q, uint8_t *buf, uint32_t *len, struct offload *o);

/*
 * The same into a buffer of the packet's own size out of pool. A large buffer is always in *hand (NULL to begin with,
 * the owner frees it). When the packets that wait have used up the memory, some of them make room: fq_relieve(). What
 * still has none is read and dropped: ERR_NOMEM. *out: NULL unless 0.
 */
MUST_USE int tun_queue_take(struct tun_queue *q, struct pktbuf_pool *pool, struct pktbuf **hand, struct pktbuf **out);

/* Writes iov[1..n-1] as one packet; iov[0] is written over. What the kernel refuses is counted, not retried. */
void tun_queue_write(struct tun_queue *q, struct iovec *iov, unsigned n, const struct offload *o);

/* Makes j, zeros before, one whose packets go to q: joined as far as q takes it. */
void tun_queue_join(struct tun_queue *q, struct join *j);

#endif
