/* See stream.h. HOT PATH. */
#include "tunnel/stream.h"

#include <stdlib.h>
#include <string.h>

#include "base/ct.h"
#include "ppp/link.h"

/* ---- buffers ---- */

static uint8_t *pool_get(struct tunnel_pool *p)
{
    return p->n ? p->kept[--p->n] : malloc(p->size);
}

static void pool_put(struct tunnel_pool *p, uint8_t *buf)
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

int tunnel_bufs_init(struct tunnel_bufs *b)
{
    *b = (struct tunnel_bufs){ .out.size = TUNNEL_OUT_CAP, .left.size = TUNNEL_RX_KEEP };
    b->memory = malloc(PKT_HEADROOM + TUNNEL_RX_KEEP + TUNNEL_RX_CAP);
    if (!b->memory)
        return ERR_NOMEM;
    b->rx = b->memory + PKT_HEADROOM;
    return 0;
}

void tunnel_bufs_fini(struct tunnel_bufs *b)
{
    pool_fini(&b->out);
    pool_fini(&b->left);
    free(b->memory);
    b->memory = b->rx = NULL;
}

static void release_out(struct tunnel_stream *s)
{
    if (!s->out)
        return;
    if (s->secrets)
        secret_wipe(s->out, s->out_len);
    pool_put(&s->bufs->out, s->out);
    s->out = NULL;
    s->out_off = s->out_len = s->alone = 0;
}

static void release_left(struct tunnel_stream *s)
{
    if (!s->left)
        return;
    if (s->secrets)
        secret_wipe(s->left, TUNNEL_RX_KEEP); /* perhaps half a password */
    pool_put(&s->bufs->left, s->left);
    s->left = NULL;
    s->left_len = 0;
}

void tunnel_stream_fini(struct tunnel_stream *s)
{
    release_out(s);
    release_left(s);
}

/* ---- out: plaintext that waits, cut into records at packet boundaries ---- */

static void move_to_front(struct tunnel_stream *s)
{
    size_t waits = s->out_len - s->out_off;
    memmove(s->out, s->out + s->out_off, waits);
    if (s->secrets)
        secret_wipe(s->out + waits, s->out_len - waits);
    s->out_off = 0;
    s->out_len = waits;
}

static bool out_room(struct tunnel_stream *s, size_t len, size_t limit)
{
    if (!s->out)
        s->out = pool_get(&s->bufs->out);
    if (s->out && s->out_len + len > limit && s->out_off)
        move_to_front(s);
    return s->out && s->out_len + len <= limit;
}

static void append(struct tunnel_stream *s, const void *packet, size_t len)
{
    memcpy(s->out + s->out_len, packet, len);
    s->out_len += len;
}

bool tunnel_put(struct tunnel_stream *s, const void *packet, size_t len, size_t limit)
{
    if (!out_room(s, len, limit)) {
        /* What one wake-up makes us say may be more than the limit; only who does not read it is deaf. */
        int rc = tunnel_flush(s);
        if ((rc && rc != ERR_AGAIN) || !out_room(s, len, limit))
            return false;
    }
    append(s, packet, len);
    return true;
}

bool tunnel_put_ip(struct tunnel_stream *s, uint8_t *data, uint32_t len, uint16_t ppp_protocol)
{
    uint8_t *at = data - SSTP_HDR_LEN - PPP_HDR_MAX;
    size_t whole = len + SSTP_HDR_LEN + PPP_HDR_MAX;
    sstp_data_hdr(at, len + PPP_HDR_MAX);
    at[4] = 0xff;
    at[5] = 0x03;
    at[6] = (uint8_t)(ppp_protocol >> 8);
    at[7] = (uint8_t)ppp_protocol;
    /*
     * A full record goes out before the packet that no longer fits it, so that the queue measures the peer and not our
     * batch. That a stream is dead is learnt at the owner's own flush.
     */
    if (s->out && s->out_off == 0 && s->out_len + whole > TLS_RECORD_MAX) {
        int rc = tunnel_flush(s);
        (void)rc;
    }
    if (!out_room(s, whole, TUNNEL_OUT_DATA))
        return false;
    append(s, at, whole);
    return true;
}

/*
 * As many whole SSTP packets as fit one record; an HTTP answer goes alone (sstpc throws away what comes with it). A
 * repeated write (after ERR_AGAIN) starts at the same place, so it finds the same packets, or more.
 */
static size_t record_len(const struct tunnel_stream *s)
{
    const uint8_t *p = s->out + s->out_off;
    size_t n = 0, len = s->out_len - s->out_off;
    if (s->alone)
        return s->alone;
    while (n + SSTP_HDR_LEN <= len) {
        size_t next = (size_t)(p[n + 2] & 0x0f) << 8 | p[n + 3];
        if (n + next > TLS_RECORD_MAX || n + next > len)
            break;
        n += next;
    }
    return n;
}

int tunnel_flush(struct tunnel_stream *s)
{
    int rc = 0;
    while (!rc && s->out && s->out_off < s->out_len) {
        size_t len = record_len(s), done = 0;
        rc = tls_stream_write(s->tls, s->out + s->out_off, len, &done);
        if (rc == ERR_AGAIN)
            return rc;
        s->out_off += done;
        s->alone = len - done; /* a socket without TLS may take a part: the next write begins inside a packet */
    }
    release_out(s);
    return rc;
}

/* ---- in ---- */

static void keep_left(struct tunnel_stream *s, size_t left, int *rc)
{
    if (!left) {
        release_left(s);
    } else if (s->left || (s->left = pool_get(&s->bufs->left))) {
        memcpy(s->left, s->bufs->rx, left);
        s->left_len = left;
    } else {
        *rc = ERR_NOMEM;
    }
}

/* Walks the first `have` bytes of rx; what is unfinished is moved to its front, have is then that much. */
static int walk(struct tunnel_stream *s, const struct tunnel_sink *sink, size_t *have)
{
    struct rd in = rd_make(s->bufs->rx, *have);
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
    *have = 0;
    if (done)
        return 0;
    if (rc == ERR_PEER) {
        s->unframed = true;
        return rc;
    }
    *have = rd_left(&in);
    memmove(s->bufs->rx, in.p, *have);
    return 0;
}

int tunnel_receive(struct tunnel_stream *s, const struct tunnel_sink *sink, unsigned reads_max, bool *more)
{
    size_t have = s->left_len;
    int rc = 0;
    *more = false;
    if (have)
        memcpy(s->bufs->rx, s->left, have);
    while (!rc && reads_max-- && !sink->done(sink->arg)) {
        size_t n = 0;
        rc = tls_stream_read(s->tls, s->bufs->rx + have, TUNNEL_RX_CAP, &n);
        have += n;
        if (!rc)
            rc = walk(s, sink, &have);
    }
    bool over = (rc && rc != ERR_AGAIN) || sink->done(sink->arg);
    keep_left(s, over ? 0 : have, &rc);
    *more = !rc && !over && tls_stream_pending(s->tls);
    return rc;
}

int tunnel_early(struct tunnel_stream *s, const struct tunnel_sink *sink, struct rd early)
{
    size_t have = rd_left(&early);
    if (have > TUNNEL_RX_CAP)
        return ERR_LIMIT;
    if (!rd_copy(&early, s->bufs->rx, have))
        return ERR_BUG;
    int rc = walk(s, sink, &have);
    keep_left(s, have, &rc);
    return rc;
}
