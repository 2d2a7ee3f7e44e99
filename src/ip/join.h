/*
 * Joins consecutive packets of a flow into super-packets for the TUN, which then costs one system call and one way
 * through the kernel's stack. HOT PATH.
 *
 * Joined is only what the kernel's own segmentation would cut into the same packets, bit for bit: TCP segments with
 * equal headers but for sequence number, IPv4 id (counted up), checksum and, on the last one, PSH and FIN; UDP
 * datagrams of one size. A packet whose checksum is wrong stays alone, so that it stays wrong. Fragments, packets with
 * IPv4 options or IPv6 extension headers, TCP with SYN, RST, URG or CWR, empty segments and everything else go alone.
 * The order of packets of a flow is kept: whatever might be one's of an open super-packet closes that first. What
 * cannot be joined is never held back.
 */
#ifndef GH_IP_JOIN_H
#define GH_IP_JOIN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "ip/offload.h"

#define JOIN_FLOWS  16 /* super-packets open at once */
#define JOIN_PIECES 64 /* packets in one; the kernel takes no more than 64 UDP datagrams */

struct join_flow {                     /* join.c's */
    struct iovec iov[1 + JOIN_PIECES]; /* iov[1]: the first packet, whole; the rest: payload */
    unsigned n;                        /* entries used, with iov[0] */
    uint32_t len;                      /* bytes of the super-packet */
    uint32_t seq;                      /* TCP: of the packet that would follow */
    uint16_t id;                       /* IPv4: of the packet that would follow */
    uint16_t size;                     /* payload bytes of its packets */
    uint8_t kind;                      /* enum offload_gso */
    bool v4;
    uint8_t l4, hdr_len;
};

struct join {
    /*
     * One packet or super-packet for the TUN: iov[1..n-1] are its bytes; iov[0] is the sink's own, for the header that
     * the TUN wants in front.
     */
    void (*write)(void *arg, struct iovec *iov, unsigned n, const struct offload *o);
    void *arg;
    bool tcp, udp; /* what may be joined: what the device takes */
    uint64_t packets, writes;
    uint32_t open;             /* a bit for each flow that is */
    unsigned last;             /* the flow that took the last packet, if it is open */
    uint32_t hash[JOIN_FLOWS]; /* of addresses and ports */
    uint64_t born[JOIN_FLOWS]; /* packets when it was opened */
    struct join_flow flow[JOIN_FLOWS];
};

/*
 * data: one whole IP packet (len bytes by its own header), in memory that stays until join_flush(); the headers of it
 * may be written over. The caller has set write, arg, tcp, udp; the rest is zeros.
 */
void join_add(struct join *j, uint8_t *data, uint32_t len);

/* Writes what is open. */
void join_flush(struct join *j);

#endif
