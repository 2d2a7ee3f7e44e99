/*
 * Cuts a packet as the TUN gave it into the packets that travel. HOT PATH.
 *
 * A super-packet (TSO, USO) becomes packets of gso_size payload bytes, exactly those that the kernel's own segmentation
 * would have made: IPv4 id counted up, lengths, TCP sequence numbers; CWR in the first only, FIN and PSH in the last
 * only; checksums whole. Any other packet is one packet, with its checksum finished if that was left to us. Headers are
 * judged once, in cut_init(); after that nothing can fail.
 */
#ifndef GH_IP_CUT_H
#define GH_IP_CUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "ip/offload.h"

/* Where a packet's cutting stands. The packet is the caller's, unchanged, and the same in every call. */
struct cut {
    uint32_t left;    /* payload bytes not yet given out */
    uint32_t at;      /* the next of them, from the packet's first byte */
    uint16_t size;    /* payload bytes of the next packets but the last */
    uint16_t hdr_len; /* network and transport header; for a packet that is not cut: its bytes are all payload, 0 */
    uint16_t l4;      /* where the transport header begins */
    uint16_t csum_at; /* where the transport checksum is; 0: it is whole already */
    uint16_t n;       /* packets given out or skipped */
    uint8_t gso;      /* enum offload_gso */
    bool done;        /* nothing left */
    bool ect;         /* ECN-capable transport (RFC 3168): it may be marked */
    uint32_t hdr_sum; /* of what the packets' transport checksums have in common; cut.c's */
    uint32_t ip_sum;  /* of what the packets' IPv4 header checksums have in common; cut.c's */
};

/*
 * len: bytes of the IP packet by its own header or more; what is behind is padding. mtu: largest packet that may
 * travel, bytes; a TCP super-packet of larger ones is cut smaller. 0; ERR_PEER: header and lengths do not fit together;
 * ERR_LIMIT: larger than mtu, and cannot be made smaller. Reads, never writes.
 */
MUST_USE int cut_init(struct cut *c, const uint8_t *packet, size_t len, const struct offload *o, uint32_t mtu);

/* Bytes of the next packet; 0: done. */
static inline uint32_t cut_len(const struct cut *c)
{
    return c->done ? 0 : c->hdr_len + (c->left < c->size ? c->left : c->size);
}

/* Writes the next packet, cut_len() bytes, to out. ce: with Congestion Experienced, only where c->ect. */
void cut_next(struct cut *c, const uint8_t *packet, uint8_t *out, bool ce);

/* Leaves the next packet out: it was dropped. What follows is as if it had been sent. */
void cut_skip(struct cut *c);

#endif
