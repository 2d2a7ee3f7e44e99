/*
 * HOT PATH: packets between the TUN queue and the TLS streams of this worker's calls, in batches. No allocation, lock
 * or log line for a packet; packets for another worker's calls are handed over a batch at a time.
 */
#include <string.h>

#include "base/ct.h"
#include "ip/inner.h"
#include "server/call.h"

#define READS_PER_WAKEUP   8 /* records of one client before the others get their turn */
#define BATCHES_PER_WAKEUP 4 /* of PKT_BATCH_MAX packets from the TUN */

/* ---- output: plaintext that waits, cut into records at packet boundaries ---- */

static bool out_room(struct call *k, size_t len, size_t limit)
{
    if (!k->out) {
        k->out = buf_get(&k->c->w->out_bufs);
        k->out_off = k->out_len = 0;
    }
    if (k->out && k->out_len + len > limit && k->out_off) {
        memmove(k->out, k->out + k->out_off, k->out_len - k->out_off);
        k->out_len -= k->out_off;
        k->out_off = 0;
    }
    return k->out && k->out_len + len <= limit;
}

static void mark_dirty(struct call *k)
{
    if (k->dirty)
        return;
    k->dirty = true;
    TAILQ_INSERT_TAIL(&k->c->w->dirty, k, dirty_link);
}

bool call_queue(struct call *k, const void *packet, size_t len, bool control)
{
    size_t control_max = k->c->unauthenticated ? OUT_CTL_RESERVE : OUT_CAP;
    bool room = out_room(k, len, control ? control_max : OUT_DATA_MAX);
    if (!room && control) {
        call_flush(k); /* what one wake-up made us say may be more than this; only who does not read it is deaf */
        room = !k->broken && out_room(k, len, control_max);
    }
    if (!room) {
        if (control)
            call_break(k, "client-deaf", "it makes us talk and does not listen");
        else
            k->n.drop_queue++;
        return false;
    }
    memcpy(k->out + k->out_len, packet, len);
    k->out_len += len;
    mark_dirty(k);
    return true;
}

/*
 * As many whole SSTP packets as fit one record; the HTTP answer goes alone (sstpc throws away what comes with it). A
 * repeated write (after ERR_AGAIN) starts at the same place, so it finds the same packets, or more.
 */
static size_t record_len(const struct call *k)
{
    const uint8_t *p = k->out + k->out_off;
    size_t n = 0, len = k->out_len - k->out_off;
    if (k->answer_len)
        return k->answer_len;
    while (n + SSTP_HDR_LEN <= len) {
        size_t next = (size_t)(p[n + 2] & 0x0f) << 8 | p[n + 3];
        if (n + next > TLS_RECORD_MAX || n + next > len)
            break;
        n += next;
    }
    return n;
}

void call_flush(struct call *k)
{
    while (!k->broken && k->out && k->out_off < k->out_len) {
        size_t done = 0;
        int rc = tls_stream_write(k->c->tls, k->out + k->out_off, record_len(k), &done);
        if (rc == ERR_AGAIN) {
            net_fd_want(k->c->nf, (k->closing ? 0 : NET_READ) | NET_WRITE); /* nobody reads any more when closing */
            return;
        }
        if (rc)
            k->broken = true;
        k->out_off += done;
        k->answer_len -= k->answer_len ? done : 0;
    }
    if (k->out) {
        buf_put(&k->c->w->out_bufs, k->out);
        k->out = NULL;
        k->out_off = k->out_len = 0;
    }
    if (!k->broken)
        net_fd_want(k->c->nf, NET_READ);
}

void data_flush_dirty(struct worker *w)
{
    struct call *k;
    while ((k = TAILQ_FIRST(&w->dirty))) {
        TAILQ_REMOVE(&w->dirty, k, dirty_link);
        k->dirty = false;
        call_flush(k);
        if (k->broken || k->closing)
            call_settle(k);
    }
}

/* ---- from the client ---- */

static bool source_is_theirs(const struct call *k, const struct ip_view *v, uint16_t protocol)
{
    if (protocol == PPP_IP)
        return v->version == 4 && k->ip4_up && v->src4 == k->ip4;
    return v->version == 6 && k->ip6_up && ip6_is_link_local(v->src6) && memcmp(v->src6 + 8, k->iid, 8) == 0;
}

static void flush_up(struct call *k)
{
    struct worker *w = k->c->w;
    if (w->up_batch.n)
        tun_queue_write(&w->tun, &w->up_batch);
    w->up_batch.n = 0;
}

static void data_packet(struct call *k, struct rd frame)
{
    struct worker *w = k->c->w;
    struct rd whole = frame;
    struct ip_view v;
    uint16_t protocol;
    if (!ppp_frame_open(&frame, &protocol))
        return;
    if (!sstp_server_may_pass(&k->sstp, protocol)) {
        k->n.drop_gate++;
    } else if (protocol >= 0x8000) {
        flush_up(k);
        call_ppp_frame(k, whole);
        if (protocol == PPP_PAP)
            secret_wipe(w->rx + (whole.p - w->rx), rd_left(&whole)); /* a password */
    } else if ((protocol == PPP_IP || protocol == PPP_IPV6) && ip_view(frame, &v) &&
               source_is_theirs(k, &v, protocol)) {
        k->n.rx_packets++;
        k->n.rx_bytes += v.len;
        /* The batch borrows: it is written before the buffer is used again. */
        if (!pkt_batch_add(&w->up_batch, w->rx + (frame.p - w->rx), v.len)) {
            flush_up(k);
            pkt_batch_add(&w->up_batch, w->rx + (frame.p - w->rx), v.len);
        }
    } else if (protocol == PPP_IP || protocol == PPP_IPV6) {
        k->n.drop_source++;
    } else {
        call_ppp_frame(k, whole); /* a data protocol that nobody negotiated: Protocol-Reject is PPP's matter */
    }
}

/* Walks what is in w->rx; returns the bytes of an unfinished packet, moved to the front. */
static size_t walk(struct call *k, size_t have)
{
    struct worker *w = k->c->w;
    struct rd in = rd_make(w->rx, have); /* PKT_HEADROOM bytes in front of it are ours too */
    struct sstp_pkt pkt;
    bool any = false;
    int rc = 0;
    while (!k->broken && !k->closing && !(rc = sstp_pkt_next(&in, &pkt))) {
        any = true;
        if (pkt.control) {
            flush_up(k);
            call_control_packet(k, pkt.whole);
        } else {
            data_packet(k, pkt.payload);
        }
    }
    flush_up(k);
    if (any)
        sstp_server_alive(&k->sstp, net_now(&w->loop));
    if (rc == ERR_PEER)
        call_break(k, "framing", "the client's SSTP stream lost its framing");
    size_t left = rd_left(&in);
    if (k->broken || k->closing)
        return 0;
    memmove(w->rx, in.p, left);
    return left;
}

static void keep_left(struct call *k, size_t left)
{
    if (!left) {
        if (k->left && !k->up)
            secret_wipe(k->left, RX_KEEP); /* perhaps half a password */
        buf_put(&k->c->w->left_bufs, k->left);
        k->left = NULL;
    } else if (k->left || (k->left = buf_get(&k->c->w->left_bufs))) {
        memcpy(k->left, k->c->w->rx, left);
    } else {
        k->broken = true;
    }
    k->left_len = left;
}

void call_receive(struct call *k)
{
    struct worker *w = k->c->w;
    size_t have = k->left_len;
    if (have)
        memcpy(w->rx, k->left, have);
    int rc = 0;
    unsigned reads = 0;
    while (!k->broken && !k->closing && reads++ < READS_PER_WAKEUP) {
        size_t n = 0;
        rc = tls_stream_read(k->c->tls, w->rx + have, RX_CAP, &n);
        if (rc)
            break;
        have = walk(k, have + n);
    }
    if (rc == ERR_AGAIN && (tls_stream_wants(k->c->tls) & NET_WRITE))
        net_fd_want(k->c->nf, NET_READ | NET_WRITE); /* TLS has an answer of its own to send */
    else if (rc && rc != ERR_AGAIN)
        k->broken = true;
    if (k->broken || k->closing)
        have = 0;
    keep_left(k, have);
    if (!rc && !k->broken && !k->closing && tls_stream_pending(k->c->tls) && !k->again) {
        k->again = true;
        w->n_again++;
        TAILQ_INSERT_TAIL(&w->again, k, again_link);
        net_loop_wake(&w->loop);
    }
}

void call_early(struct call *k, struct rd early)
{
    size_t n = rd_left(&early);
    memcpy(k->c->w->rx, early.p, n);
    n = walk(k, n);
    if (!k->broken && !k->closing)
        keep_left(k, n);
}

void call_not_again(struct call *k)
{
    if (!k->again)
        return;
    k->again = false;
    k->c->w->n_again--;
    TAILQ_REMOVE(&k->c->w->again, k, again_link);
}

/* ---- to the client ---- */

static void send_packet(struct call *k, uint8_t *data, uint32_t len, uint16_t protocol)
{
    if (k->sstp.call.state != SSTP_STATE_CONNECTED || !(protocol == PPP_IP ? k->ip4_up : k->ip6_up)) {
        k->n.drop_gate++;
        return;
    }
    if (len > ppp_link_peer_mru(k->ppp) || len > SSTP_PAYLOAD_MAX - PPP_HDR_MAX) {
        k->n.drop_mtu++;
        return;
    }
    uint8_t *at = data - SSTP_HDR_LEN - PPP_HDR_MAX;
    sstp_data_hdr(at, len + PPP_HDR_MAX);
    at[4] = 0xff;
    at[5] = 0x03;
    at[6] = (uint8_t)(protocol >> 8);
    at[7] = (uint8_t)protocol;
    size_t whole = len + SSTP_HDR_LEN + PPP_HDR_MAX;
    /*
     * A full record goes out before the packet that no longer fits it, so that the queue measures the client and not
     * our batch.
     */
    if (k->out && k->out_off == 0 && k->out_len + whole > TLS_RECORD_MAX)
        call_flush(k);
    if (!call_queue(k, at, whole, false))
        return;
    k->n.tx_packets++;
    k->n.tx_bytes += len;
}

static struct call *call_for(struct worker *w, const struct ip_view *v, int *owner)
{
    struct engine *e = w->engine;
    struct call *k = NULL;
    if (v->version == 4) {
        uint32_t slot = pool_slot(&e->pool, v->dst4);
        *owner = slot == UINT32_MAX ? -1 : pool_owner(&e->pool, slot);
        return *owner == (int)w->index ? w->by_slot[slot] : NULL;
    }
    *owner = ip6_is_link_local(v->dst6) ? engine_iid_find(e, v->dst6 + 8, &k) : -1;
    return *owner == (int)w->index ? k : NULL;
}

static void to_call(struct worker *w, uint8_t *data, uint32_t len, struct pkt_batch *others, uint8_t *other_owner)
{
    struct ip_view v;
    int owner = -1;
    if (!ip_view(rd_make(data, len), &v))
        return;
    struct call *k = call_for(w, &v, &owner);
    if (k)
        send_packet(k, data, v.len, v.version == 4 ? PPP_IP : PPP_IPV6);
    else if (owner >= 0 && owner != (int)w->index && others) {
        other_owner[others->n] = (uint8_t)owner;
        pkt_batch_add(others, data, v.len);
    } else {
        w->counts.unknown_dst++;
    }
}

/* One lock for each worker that gets something out of this batch. */
static void hand_over(struct worker *w, const struct pkt_batch *b, const uint8_t *owner)
{
    for (unsigned to = 0; to < w->engine->n_workers; to++) {
        struct worker *dst = &w->engine->worker[to];
        bool any = false;
        for (unsigned i = 0; i < b->n; i++) {
            if (owner[i] != to)
                continue;
            if (!any)
                pthread_mutex_lock(&dst->inbox.lock);
            any = true;
            uint32_t len = b->pkts[i].len;
            size_t need = sizeof len + PKT_HEADROOM + len;
            if (dst->inbox.len + need > HANDOVER_CAP) {
                dst->inbox.dropped++;
                continue;
            }
            memcpy(dst->inbox.buf + dst->inbox.len, &len, sizeof len);
            memcpy(dst->inbox.buf + dst->inbox.len + sizeof len + PKT_HEADROOM, b->pkts[i].data, len);
            dst->inbox.len += need;
            w->counts.handed_over++;
        }
        if (any) {
            pthread_mutex_unlock(&dst->inbox.lock);
            net_loop_wake(&dst->loop);
        }
    }
}

void data_from_tun(struct worker *w)
{
    struct pkt_batch others;
    uint8_t other_owner[PKT_BATCH_MAX];
    int rc = 0;
    for (unsigned i = 0; i < BATCHES_PER_WAKEUP && !rc; i++) {
        rc = tun_queue_read(&w->tun, &w->tun_batch);
        others.n = 0;
        for (unsigned n = 0; n < w->tun_batch.n; n++)
            to_call(w, w->tun_batch.pkts[n].data, w->tun_batch.pkts[n].len, &others, other_owner);
        if (others.n)
            hand_over(w, &others, other_owner);
    }
    data_flush_dirty(w);
    if (rc == ERR_SYSTEM) {
        log_error(NULL, "tun-gone", "the VPN's interface is gone: no call can move packets, the server stops",
                  LOG_S("remedy", "somebody deleted the interface; start gatehouse again"));
        engine_fail(w->engine);
        net_fd_close(w->tun_fd);
        w->tun_fd = NULL;
        w->tun.fd = -1; /* the number will be another's: what clients still send must not go there */
    }
}

void data_from_inbox(struct worker *w, size_t len)
{
    for (size_t at = 0; at < len;) {
        uint32_t n;
        memcpy(&n, w->inbox_swap + at, sizeof n);
        uint8_t *data = w->inbox_swap + at + sizeof n + PKT_HEADROOM;
        to_call(w, data, n, NULL, NULL);
        at += sizeof n + PKT_HEADROOM + n;
    }
    data_flush_dirty(w);
}
