#include "tun/queue.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <unistd.h>

#include "ip/fq.h"

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

static int gso_of(uint8_t type, struct offload *o)
{
    switch (type & ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_NONE: o->gso = OFFLOAD_NONE; return 0;
    case VIRTIO_NET_HDR_GSO_TCPV4: o->gso = OFFLOAD_TCP4; return 0;
    case VIRTIO_NET_HDR_GSO_TCPV6: o->gso = OFFLOAD_TCP6; return 0;
    case VIRTIO_NET_HDR_GSO_UDP_L4: o->gso = OFFLOAD_UDP; return 0;
    default: return ERR_PEER;
    }
}

/* EINVAL: the kernel had a packet that its header for us cannot describe, and dropped it. */
static int failed_read(void)
{
    return errno == EAGAIN || errno == EINTR ? ERR_AGAIN : errno == EINVAL ? ERR_PEER : ERR_SYSTEM;
}

/* Throws the next packet away, so that it is not what wakes us again and again. */
static int read_nothing(struct tun_queue *q)
{
    uint8_t some[sizeof(struct virtio_net_hdr)];
    ssize_t n = read(q->fd, some, sizeof some);
    if (n < 0)
        return failed_read();
    q->reads++;
    return ERR_NOMEM;
}

int tun_queue_read(struct tun_queue *q, uint8_t *buf, uint32_t *len, struct offload *o)
{
    struct virtio_net_hdr h;
    struct iovec iov[2] = { { &h, sizeof h }, { buf, OFFLOAD_PACKET_MAX } };
    ssize_t n = readv(q->fd, iov, 2);
    if (n < 0)
        return failed_read();
    q->reads++;
    if ((size_t)n <= sizeof h)
        return ERR_PEER;
    *len = (uint32_t)((size_t)n - sizeof h);
    *o = (struct offload){ .ecn = h.gso_type & VIRTIO_NET_HDR_GSO_ECN,
                           .csum = h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM,
                           .gso_size = h.gso_size,
                           .hdr_len = h.hdr_len,
                           .csum_start = h.csum_start,
                           .csum_offset = h.csum_offset };
    return gso_of(h.gso_type, o);
}

/* What waits for clients that do not read is never so much that nothing is read for the others. */
static struct pktbuf *buffer(struct pktbuf_pool *pool, size_t len)
{
    fq_relieve(pool, len);
    return pktbuf_new(pool, len);
}

int tun_queue_take(struct tun_queue *q, struct pktbuf_pool *pool, struct pktbuf **hand, struct pktbuf **out)
{
    struct pktbuf *b = *hand ? *hand : buffer(pool, OFFLOAD_PACKET_MAX);
    *out = NULL;
    *hand = b;
    if (!b)
        return read_nothing(q);
    int rc = tun_queue_read(q, b->data, &b->len, &b->offload);
    if (rc)
        return rc;
    if (b->len > OFFLOAD_PACKET_MAX / 2) {
        *out = b;
        *hand = NULL;
        return 0;
    }
    *out = buffer(pool, b->len);
    if (!*out)
        return ERR_NOMEM;
    (*out)->len = b->len;
    (*out)->offload = b->offload;
    memcpy((*out)->data, b->data, b->len);
    return 0;
}

void tun_queue_write(struct tun_queue *q, struct iovec *iov, unsigned n, const struct offload *o)
{
    static const uint8_t types[] = { [OFFLOAD_NONE] = VIRTIO_NET_HDR_GSO_NONE,
                                     [OFFLOAD_TCP4] = VIRTIO_NET_HDR_GSO_TCPV4,
                                     [OFFLOAD_TCP6] = VIRTIO_NET_HDR_GSO_TCPV6,
                                     [OFFLOAD_UDP] = VIRTIO_NET_HDR_GSO_UDP_L4 };
    struct virtio_net_hdr h = { .flags = o->csum ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0,
                                .gso_type = (uint8_t)(types[o->gso] | (o->ecn ? VIRTIO_NET_HDR_GSO_ECN : 0)),
                                .hdr_len = o->hdr_len,
                                .gso_size = o->gso_size,
                                .csum_start = o->csum_start,
                                .csum_offset = o->csum_offset };
    iov[0] = (struct iovec){ &h, sizeof h };
    if (writev(q->fd, iov, (int)n) < 0)
        q->write_errors++;
    else
        q->writes++;
}

static void join_write(void *arg, struct iovec *iov, unsigned n, const struct offload *o)
{
    tun_queue_write(arg, iov, n, o);
}

void tun_queue_join(struct tun_queue *q, struct join *j)
{
    *j = (struct join){ .write = join_write, .arg = q, .tcp = q->offload.tso, .udp = q->offload.uso };
}
