/* See shaper.h. HOT PATH. */
#include "tunnel/shaper.h"

#include <string.h>

#include "ip/flow.h"

static uint32_t within(uint64_t n, uint32_t least, uint32_t most)
{
    return n < least ? least : n > most ? most : (uint32_t)n;
}

void shaper_open(struct tunnel_shaper *s, struct tunnel_bufs *bufs, struct bucket *bucket, uint64_t rate, uint32_t mtu,
                 uint64_t now_us)
{
    *s = (struct tunnel_shaper){ .bufs = bufs, .mtu = mtu, .now_us = now_us };
    bucket_open(&s->tap, bucket, rate);
    s->may = bucket_left(&s->tap, now_us);
}

void shaper_fini(struct tunnel_shaper *s)
{
    if (!s->fq)
        return;
    fq_fini(s->fq);
    tunnel_pool_put(&s->bufs->queue, s->fq);
    s->fq = NULL;
}

/* As many as have room where streams read to, which is free between two reads. */
static void let_go(struct tunnel_shaper *s, struct join *j, uint32_t most)
{
    uint8_t *at = s->bufs->rx, *end = at + TUNNEL_RX_KEEP + TUNNEL_RX_CAP;
    int64_t slack_us = codel_slack_us(s->tap.rate, s->mtu);
    struct pktbuf *b;
    bool mark;
    for (unsigned n = 0; n < SHAPER_PACKETS && s->gone < most && (b = fq_next(s->fq, s->now_us, -slack_us, &mark));
         n++) {
        uint32_t len = cut_len(&b->cut);
        if (len > (size_t)(end - at))
            break;
        cut_next(&b->cut, b->data, at, mark);
        fq_sent(s->fq, b, len);
        join_add(j, at, len);
        at += len;
        s->gone += len;
    }
    join_flush(j);
    if (fq_empty(s->fq))
        shaper_fini(s);
}

void shaper_begin(struct tunnel_shaper *s, struct join *j, size_t budget, uint64_t now_us)
{
    if (!s->tap.rate)
        return;
    s->now_us = now_us;
    s->resume_us = 0;
    s->may = bucket_left(&s->tap, now_us);
    s->gone = 0;
    if (s->fq)
        let_go(s, j, s->may < budget ? s->may : (uint32_t)budget);
}

static int open_queue(struct tunnel_shaper *s)
{
    uint64_t max = s->tap.rate * SHAPER_QUEUE_MS / 1000;
    if (s->fq)
        return 0;
    s->fq = tunnel_pool_get(&s->bufs->queue);
    if (!s->fq)
        return ERR_NOMEM;
    fq_init(s->fq, &s->bufs->packets, &s->dropped, s->mtu, (uint32_t)s->bufs->call_max);
    s->fq->max = within(max, SHAPER_QUEUE_MIN, s->fq->max); /* there is no super-packet that must have room */
    s->fq->turn = within(s->tap.rate / FQ_TURN_RATE, s->fq->turn, FQ_TURN_MOST);
    return 0;
}

int shaper_keep(struct tunnel_shaper *s, const uint8_t *packet, uint32_t len, uint8_t version)
{
    struct pktbuf_pool *pool = &s->bufs->packets;
    fq_relieve(pool, len);
    struct pktbuf *b = pktbuf_new(pool, len);
    if (!b)
        return ERR_NOMEM;
    memcpy(b->data, packet, len);
    b->len = len;
    b->version = version;
    b->flow = flow_hash(b->data, len);
    int rc = cut_init(&b->cut, b->data, len, &b->offload, SSTP_PAYLOAD_MAX);
    rc = rc ? rc : open_queue(s);
    if (rc) {
        pktbuf_free(pool, b);
        return rc;
    }
    bool kept = fq_put(s->fq, b, s->now_us);
    if (fq_empty(s->fq))
        shaper_fini(s);
    return kept ? 0 : ERR_AGAIN;
}

bool shaper_end(struct tunnel_shaper *s)
{
    bucket_take(&s->tap, s->gone, s->now_us);
    s->gone = s->may = 0;
    if (!s->fq)
        return false;
    uint64_t wait_us = bucket_wait_us(&s->tap, s->now_us);
    s->resume_us = wait_us ? s->now_us + wait_us : 0;
    return !wait_us;
}
