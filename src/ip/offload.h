/*
 * What the kernel leaves undone in a packet that it gives to us, and lets us leave undone in one that we give to it:
 * checksums, and the cutting of one large TCP or UDP packet (a super-packet) into those that travel. The fields are
 * those of struct virtio_net_hdr, in host order; tun/queue.c converts.
 */
#ifndef GH_IP_OFFLOAD_H
#define GH_IP_OFFLOAD_H

#include <stdbool.h>
#include <stdint.h>

enum offload_gso {
    OFFLOAD_NONE, /* one packet as it travels */
    OFFLOAD_TCP4,
    OFFLOAD_TCP6,
    OFFLOAD_UDP, /* IPv4 or IPv6 (VIRTIO_NET_HDR_GSO_UDP_L4); datagrams of equal size, the last may be shorter */
};

struct offload {
    uint8_t gso;         /* enum offload_gso */
    bool ecn;            /* TCP: the super-packet has CWR, which its first packet keeps (RFC 3168 6.1.2) */
    bool csum;           /* the checksum at csum_start + csum_offset holds the pseudo header's sum only */
    uint16_t gso_size;   /* payload bytes of each packet but the last */
    uint16_t hdr_len;    /* bytes of network and transport headers; a hint, 0 when not known */
    uint16_t csum_start; /* from the first byte of the IP header */
    uint16_t csum_offset;
};

/* Bytes of the largest super-packet: 65535 in an IPv4 length field, and IPv6's 40 bytes more. */
#define OFFLOAD_PACKET_MAX (65535 + 40)

#endif
