/* What comes in: see stream.h. HOT PATH. */
#include <string.h>

#include "base/ct.h"
#include "tunnel/stream.h"

#define RX_ROOM (TUNNEL_RX_KEEP + TUNNEL_RX_CAP)

void tunnel_in_fini(struct tunnel_stream *s)
{
    if (!s->left)
        return;
    secret_wipe(s->left, s->left_len); /* perhaps half a password, which may come again later */
    tunnel_pool_put(&s->bufs->left, s->left);
    s->left = NULL;
    s->left_len = 0;
}

/* What is longer than the new rest is a password's, perhaps. */
static void keep_left(struct tunnel_stream *s, const uint8_t *at, size_t left, int *rc)
{
    if (!left) {
        tunnel_in_fini(s);
    } else if (s->left || (s->left = tunnel_pool_get(&s->bufs->left))) {
        memcpy(s->left, at, left);
        if (left < s->left_len)
            secret_wipe(s->left + left, s->left_len - left);
        s->left_len = left;
    } else {
        *rc = ERR_NOMEM;
    }
}

/* Walks the first `have` bytes of rx; *left: how many at their end are an unfinished packet. */
static int walk(struct tunnel_stream *s, const struct tunnel_sink *sink, size_t have, size_t *left)
{
    struct rd in = rd_make(s->bufs->rx, have);
    struct sstp_pkt pkt;
    bool any = false, done = false;
    int rc = 0;
    while (!(done = sink->done(sink->arg)) && !(rc = sstp_pkt_next(&in, &pkt))) {
        any = true;
        if (pkt.control)
            sink->control(sink->arg, pkt.whole);
        else
            sink->frame(sink->arg, pkt.payload);
    }
    if (any)
        sink->walked(sink->arg);
    *left = 0;
    if (done)
        return 0;
    if (rc == ERR_PEER) {
        s->unframed = true;
        return rc;
    }
    *left = rd_left(&in);
    return 0;
}

int tunnel_receive(struct tunnel_stream *s, const struct tunnel_sink *sink, bool *more, size_t *bytes)
{
    uint8_t *rx = s->bufs->rx;
    size_t begin = s->left_len, have = begin, left = 0;
    int rc = 0;
    *more = false;
    *bytes = 0;
    if (begin)
        memcpy(rx, s->left, begin);
    /* Who has not logged in is not worth more at a time: the calls wait meanwhile. */
    size_t most = s->secrets || s->small_reads ? begin + TLS_RECORD_MAX : RX_ROOM;
    for (unsigned i = 0; !rc && i < TUNNEL_RX_RECORDS && have < most && !sink->done(sink->arg); i++) {
        size_t n = 0;
        rc = tls_stream_read(s->tls, rx + have, most - have, &n);
        have += n;
    }
    int walked = have > begin ? walk(s, sink, have, &left) : 0;
    if (have == begin)
        left = begin;
    rc = walked ? walked : rc;
    *bytes = have - begin;
    bool over = (rc && rc != ERR_AGAIN) || sink->done(sink->arg);
    if (over || have > begin)
        keep_left(s, rx + have - left, over ? 0 : left, &rc);
    secret_wipe(rx + have - left, left); /* it is all streams' buffer */
    *more = !rc && !over && tls_stream_pending(s->tls);
    return rc;
}

int tunnel_early(struct tunnel_stream *s, const struct tunnel_sink *sink, struct rd early)
{
    size_t have = rd_left(&early), left = 0;
    if (have > TUNNEL_RX_CAP)
        return ERR_LIMIT;
    if (!rd_copy(&early, s->bufs->rx, have))
        return ERR_BUG;
    int rc = walk(s, sink, have, &left);
    keep_left(s, s->bufs->rx + have - left, rc ? 0 : left, &rc);
    secret_wipe(s->bufs->rx + have - left, left);
    return rc;
}
