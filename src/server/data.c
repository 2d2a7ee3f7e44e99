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

/* ---- output ---- */

static void mark_dirty(struct call *k)
{
    if (k->dirty)
        return;
    k->dirty = true;
    TAILQ_INSERT_TAIL(&k->c->w->dirty, k, dirty_link);
}

void call_queue(struct call *k, const void *packet, size_t len)
{
    if (tunnel_put(&k->stream, packet, len, k->c->unauthenticated ? TUNNEL_OUT_RESERVE : TUNNEL_OUT_CAP))
        mark_dirty(k);
    else
        call_break(k, "client-deaf", "it makes us talk and does not listen");
}

void call_flush(struct call *k)
{
    if (k->broken)
        return;
    int rc = tunnel_flush(&k->stream);
    if (rc == ERR_AGAIN)
        net_fd_want(k->c->nf, (k->closing ? 0 : NET_READ) | NET_WRITE); /* nobody reads any more when closing */
    else if (rc)
        k->broken = true;
    else
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

static void to_tun(struct call *k, uint8_t *data, uint32_t len)
{
    struct worker *w = k->c->w;
    k->n.rx_packets++;
    k->n.rx_bytes += len;
    if (pkt_batch_add(&w->up_batch, data, len))
        return;
    flush_up(k);
    pkt_batch_add(&w->up_batch, data, len);
}

static void on_frame(void *arg, struct rd frame)
{
    struct call *k = arg;
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
            secret_wipe(tunnel_writable(&k->stream, whole.p), rd_left(&whole)); /* a password */
    } else if ((protocol == PPP_IP || protocol == PPP_IPV6) && ip_view(frame, &v) &&
               source_is_theirs(k, &v, protocol)) {
        to_tun(k, tunnel_writable(&k->stream, frame.p), v.len);
    } else if (protocol == PPP_IP || protocol == PPP_IPV6) {
        k->n.drop_source++;
    } else {
        call_ppp_frame(k, whole); /* a data protocol that nobody negotiated: Protocol-Reject is PPP's matter */
    }
}

static void on_control(void *arg, struct rd whole)
{
    flush_up(arg);
    call_control_packet(arg, whole);
}

/* The batch borrows what was read: it is written before that is used again. */
static void on_walked(void *arg)
{
    struct call *k = arg;
    flush_up(k);
    sstp_server_alive(&k->sstp, net_now(&k->c->w->loop));
}

static bool walk_done(void *arg)
{
    const struct call *k = arg;
    return k->broken || k->closing;
}

static struct tunnel_sink sink_for(struct call *k)
{
    return (struct tunnel_sink){ on_control, on_frame, on_walked, walk_done, k };
}

/* What tunnel_receive() and tunnel_early() could not go on with. */
static void input_failed(struct call *k)
{
    if (k->stream.unframed)
        call_break(k, "framing", "the client's SSTP stream lost its framing");
    k->broken = true;
}

void call_receive(struct call *k)
{
    struct worker *w = k->c->w;
    struct tunnel_sink sink = sink_for(k);
    bool more;
    int rc = tunnel_receive(&k->stream, &sink, READS_PER_WAKEUP, &more);
    if (rc == ERR_AGAIN && (tls_stream_wants(k->c->tls) & NET_WRITE))
        net_fd_want(k->c->nf, NET_READ | NET_WRITE); /* TLS has an answer of its own to send */
    else if (rc && rc != ERR_AGAIN)
        input_failed(k);
    if (more && !k->again) {
        k->again = true;
        w->n_again++;
        TAILQ_INSERT_TAIL(&w->again, k, again_link);
        net_loop_wake(&w->loop);
    }
}

void call_early(struct call *k, struct rd early)
{
    struct tunnel_sink sink = sink_for(k);
    if (tunnel_early(&k->stream, &sink, early))
        input_failed(k);
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
    if (!tunnel_put_ip(&k->stream, data, len, protocol)) {
        k->n.drop_queue++;
        return;
    }
    mark_dirty(k);
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
