/* The buffers of streams: see stream.h. */
#include "tunnel/stream.h"

#include <stdlib.h>

void *tunnel_pool_get(struct tunnel_pool *p)
{
    return p->n ? p->kept[--p->n] : malloc(p->size);
}

void tunnel_pool_put(struct tunnel_pool *p, void *buf)
{
    if (buf && p->n < sizeof p->kept / sizeof p->kept[0])
        p->kept[p->n++] = buf;
    else
        free(buf);
}

static void pool_fini(struct tunnel_pool *p)
{
    while (p->n)
        free(p->kept[--p->n]);
}

int tunnel_bufs_init(struct tunnel_bufs *b, size_t call_max, size_t all_max)
{
    *b = (struct tunnel_bufs){ .control.size = TUNNEL_CONTROL_CAP,
                               .left.size = TUNNEL_RX_KEEP,
                               .queue.size = sizeof(struct fq),
                               .packets.max = all_max,
                               .call_max = call_max };
    b->memory = malloc(TLS_RECORD_MAX + PKT_HEADROOM + TUNNEL_RX_KEEP + TUNNEL_RX_CAP);
    if (!b->memory)
        return ERR_NOMEM;
    b->record = b->memory;
    b->rx = b->memory + TLS_RECORD_MAX + PKT_HEADROOM;
    return 0;
}

void tunnel_bufs_fini(struct tunnel_bufs *b)
{
    pool_fini(&b->control);
    pool_fini(&b->left);
    pool_fini(&b->queue);
    pktbuf_pool_fini(&b->packets);
    free(b->memory);
    b->memory = b->record = b->rx = NULL;
}

void tunnel_stream_fini(struct tunnel_stream *s)
{
    tunnel_out_fini(s);
    tunnel_in_fini(s);
}
