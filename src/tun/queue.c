#include "tun/queue.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

/* The interface's MTU is at most 4087; a packet that does not fit a slot is cut and then dropped by its own length. */
#define SLOT_LEN (PKT_HEADROOM + 4096 + 32)

int tun_queue_init(struct tun_queue *q, int fd)
{
    *q = (struct tun_queue){ .fd = fd };
    q->arena = malloc((size_t)PKT_BATCH_MAX * SLOT_LEN);
    return q->arena ? 0 : ERR_NOMEM;
}

void tun_queue_fini(struct tun_queue *q)
{
    free(q->arena);
    q->arena = NULL;
}

int tun_queue_read(struct tun_queue *q, struct pkt_batch *b)
{
    struct virtio_net_hdr vnet;
    b->n = 0;
    while (b->n < PKT_BATCH_MAX) {
        uint8_t *data = q->arena + (size_t)b->n * SLOT_LEN + PKT_HEADROOM;
        struct iovec iov[2] = { { &vnet, sizeof vnet }, { data, SLOT_LEN - PKT_HEADROOM } };
        ssize_t n = readv(q->fd, iov, 2);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? ERR_AGAIN : ERR_SYSTEM;
        if ((size_t)n <= sizeof vnet)
            continue;
        pkt_batch_add(b, data, (uint32_t)((size_t)n - sizeof vnet));
    }
    return 0;
}

void tun_queue_write(struct tun_queue *q, const struct pkt_batch *b)
{
    static const struct virtio_net_hdr plain;
    for (unsigned i = 0; i < b->n; i++) {
        struct iovec iov[2] = { { (void *)(uintptr_t)&plain, sizeof plain }, { b->pkts[i].data, b->pkts[i].len } };
        if (writev(q->fd, iov, 2) < 0)
            q->write_errors++;
        else
            q->written++;
    }
}
