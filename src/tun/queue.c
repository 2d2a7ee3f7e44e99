#include "tun/queue.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VNET_LEN sizeof(struct virtio_net_hdr)

_Static_assert(VNET_LEN <= PKT_HEADROOM, "the kernel's header fits the headroom");

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
    b->n = 0;
    while (b->n < PKT_BATCH_MAX) {
        /* The header lands in the headroom, where nobody looks at it: without offloads it says nothing. */
        uint8_t *data = q->arena + (size_t)b->n * SLOT_LEN + PKT_HEADROOM;
        ssize_t n = read(q->fd, data - VNET_LEN, SLOT_LEN - PKT_HEADROOM + VNET_LEN);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? ERR_AGAIN : ERR_SYSTEM;
        if ((size_t)n > VNET_LEN)
            pkt_batch_add(b, data, (uint32_t)((size_t)n - VNET_LEN));
    }
    return 0;
}

void tun_queue_write(struct tun_queue *q, const struct pkt_batch *b)
{
    for (unsigned i = 0; i < b->n; i++) {
        uint8_t *at = b->pkts[i].data - VNET_LEN;
        memset(at, 0, VNET_LEN);
        if (write(q->fd, at, VNET_LEN + b->pkts[i].len) < 0)
            q->write_errors++;
        else
            q->written++;
    }
}
