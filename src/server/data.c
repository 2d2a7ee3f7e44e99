/*
 * HOT PATH: packets between the TUN queues and the TLS streams of this worker's calls. No allocation, lock, log line or
 * system call for a packet (but a lock for IPv6, whose link-local packets are few); packets for another worker's calls
 * are handed over a list at a time.
 *
 * From the TUN packets come into the queues of calls, in a turn of the loop; then the calls that have some are served
 * in turns (data_turn). More is read than is sent: when the worker is the bottleneck, what waits is where flows are
 * kept apart and delays are measured, not in the kernel's queues before us. Of those there are several, to which calls
 * are spread, so that one that runs over is not in the way of all.
 */
#include <string.h>

#include "base/ct.h"
#include "ip/flow.h"
#include "ip/inner.h"
#include "net/tcp.h"
#include "server/call.h"

#define IN_BYTES      (512u << 10) /* from sockets in a turn, and */
#define IN_FRAMES     2048         /* packets: small ones cost as much as large ones */
#define IN_SMALL      1000         /* so many of them at once: its next read is a small one */
#define TUN_READS     512          /* packets or super-packets from the TUN in a turn, and */
#define TUN_BYTES     (512u << 10) /* bytes */
#define QUEUE_READS   64           /* of it from a queue before the next has its turn, and */
#define QUEUE_BYTES   (64u << 10)
#define TURN_BYTES    (128u << 10) /* to sockets in a turn */
#define QUANTUM       65536        /* of it a call's before the next has its turn; with many calls */
#define QUANTUM_SMALL TLS_RECORD_MAX
#define MANY_CALLS    4 /* more than these have something to send */

static uint64_t now_us(void)
{
    return uv_hrtime() / 1000;
}

/* ---- whose turn it is ---- */

/* To be served in this turn of the loop, or in the next when this one's is over. */
static void enlist(struct call *k)
{
    struct worker *w = k->c->w;
    if (k->active || k->blocked || k->paced || k->broken)
        return;
    k->active = k->fresh = true;
    TAILQ_INSERT_TAIL(&w->fresh, k, active_link);
    w->n_active++;
}

static void activate(struct call *k)
{
    enlist(k);
    if (k->active)
        net_loop_again(&k->c->w->loop);
}

static void deactivate(struct call *k)
{
    struct worker *w = k->c->w;
    if (!k->active)
        return;
    if (k->fresh)
        TAILQ_REMOVE(&w->fresh, k, active_link);
    else
        TAILQ_REMOVE(&w->active, k, active_link);
    k->active = false;
    w->n_active--;
}

void call_again(struct call *k)
{
    struct worker *w = k->c->w;
    if (k->again)
        return;
    k->again = true;
    w->n_again++;
    TAILQ_INSERT_TAIL(&w->again, k, again_link);
    net_loop_again(&w->loop);
}

static void not_again(struct call *k)
{
    if (!k->again)
        return;
    k->again = false;
    k->c->w->n_again--;
    TAILQ_REMOVE(&k->c->w->again, k, again_link);
}

void call_off_lists(struct call *k)
{
    deactivate(k);
    not_again(k);
}

void call_watch(struct call *k)
{
    if (k->c->queued)
        return;                                           /* it waits in a list before it is looked at */
    bool reads = !k->closing && !k->read_at_ms;           /* nobody reads any more when closing */
    bool writes = k->blocked || (k->tls_writes && reads); /* TLS's own answer goes out when it reads on */
    net_fd_want(k->c->nf, (reads ? NET_READ : 0) | (writes ? NET_WRITE : 0));
}

uint64_t call_resume_at(const struct call *k)
{
    uint64_t send_at = k->paced ? k->stream.resume_us / 1000 + 1 : TIME_NEVER;
    uint64_t pass_at = k->shaper.resume_us ? k->shaper.resume_us / 1000 + 1 : TIME_NEVER;
    uint64_t at = send_at < pass_at ? send_at : pass_at;
    return k->read_at_ms && k->read_at_ms < at ? k->read_at_ms : at;
}

void call_resume(struct call *k, uint64_t now_ms)
{
    if (k->paced && now_ms * 1000 >= k->stream.resume_us) {
        k->paced = false;
        activate(k);
    }
    if (k->read_at_ms && now_ms >= k->read_at_ms) {
        k->read_at_ms = 0;
        call_again(k); /* it may be decrypted already */
    }
    if (k->shaper.resume_us && now_ms * 1000 >= k->shaper.resume_us) {
        k->shaper.resume_us = 0;
        call_again(k);
    }
}

/* ---- output ---- */

static void after_send(struct call *k, enum tunnel_state state)
{
    k->blocked = k->paced = false;
    switch (state) {
    case TUNNEL_EMPTY: break;
    case TUNNEL_MORE: activate(k); break;
    case TUNNEL_BLOCKED:
        k->blocked = true;
        deactivate(k);
        break;
    case TUNNEL_PACED:
        k->paced = true;
        deactivate(k);
        break;
    case TUNNEL_DEAD: k->broken = true; return;
    }
    call_watch(k);
}

void call_queue(struct call *k, const void *packet, size_t len)
{
    if (!tunnel_put(&k->stream, packet, len, k->c->unauthenticated ? TUNNEL_CONTROL_NEW : TUNNEL_CONTROL_CAP))
        call_break(k, "client-deaf", "it makes us talk and does not listen");
}

void call_flush(struct call *k)
{
    size_t sent;
    bool paced = k->paced;
    if (k->broken)
        return;
    enum tunnel_state state = tunnel_send(&k->stream, 0, 0, &sent);
    after_send(k, state == TUNNEL_MORE && paced ? TUNNEL_PACED : state);
}

static void to_old(struct call *k)
{
    struct worker *w = k->c->w;
    k->active = true;
    k->fresh = false;
    TAILQ_INSERT_TAIL(&w->active, k, active_link);
    w->n_active++;
}

static void send_in_turn(struct worker *w)
{
    uint64_t now = now_us();
    size_t quantum = w->n_active > MANY_CALLS ? QUANTUM_SMALL : QUANTUM, done = 0, sent;
    struct call *k;
    while (done < TURN_BYTES && ((k = TAILQ_FIRST(&w->fresh)) || (k = TAILQ_FIRST(&w->active)))) {
        bool was_fresh = k->fresh;
        deactivate(k);
        size_t budget = turn_budget(&k->turn, quantum);
        enum tunnel_state state = tunnel_send(&k->stream, budget, now, &sent);
        done += state == TUNNEL_MORE ? quantum : sent + 1;
        turn_took(&k->turn, budget, sent, state == TUNNEL_MORE);
        if (state == TUNNEL_MORE) {
            to_old(k);
            continue;
        }
        after_send(k, state);
        /* Who was served first is not so again before the others had their turn (as RFC 8290 4.2 has it for flows). */
        if (state == TUNNEL_EMPTY && was_fresh && !TAILQ_EMPTY(&w->active))
            to_old(k);
        call_settle(k);
    }
    if (w->n_active)
        net_loop_again(&w->loop);
}

/* Calls with something to read, first come, first served; those that come back during this turn wait for the next. */
static void receive_in_turn(struct worker *w)
{
    struct call *k;
    w->in_bytes = w->in_frames = 0;
    for (unsigned n = w->n_again; n && w->in_bytes < IN_BYTES && w->in_frames < IN_FRAMES; n--) {
        k = TAILQ_FIRST(&w->again);
        if (!k)
            break; /* some ended meanwhile */
        not_again(k);
        if (k->up) {
            call_receive(k);
            call_settle(k);
        } else {
            handshakes_add(&w->handshakes, k->c); /* as all that it does before */
        }
    }
    if (w->n_again)
        net_loop_again(&w->loop);
}

/* ---- from the client ---- */

static bool source_is_theirs(const struct call *k, const struct ip_view *v, uint16_t protocol)
{
    if (protocol == PPP_IP)
        return v->version == 4 && k->ip4_up && v->src4 == k->ip4;
    return v->version == 6 && k->ip6_up && ip6_is_link_local(v->src6) && memcmp(v->src6 + 8, k->iid, 8) == 0;
}

static void on_frame(void *arg, struct rd frame)
{
    struct call *k = arg;
    struct worker *w = k->c->w;
    struct rd whole = frame;
    struct ip_view v;
    uint16_t protocol;
    w->in_frames++;
    if (!ppp_frame_open(&frame, &protocol))
        return;
    if (!sstp_server_may_pass(&k->sstp, protocol)) {
        k->n.drop_gate++;
    } else if (protocol >= 0x8000) {
        join_flush(&w->join);
        call_ppp_frame(k, whole);
        if (protocol == PPP_PAP)
            secret_wipe(tunnel_writable(&k->stream, whole.p), rd_left(&whole)); /* a password */
    } else if ((protocol == PPP_IP || protocol == PPP_IPV6) && ip_view(frame, &v) &&
               source_is_theirs(k, &v, protocol)) {
        k->n.rx_packets++;
        k->n.rx_bytes += v.len;
        if (shaper_lets(&k->shaper, v.len))
            join_add(&w->join, tunnel_writable(&k->stream, frame.p), v.len);
        else if (shaper_keep(&k->shaper, frame.p, v.len, v.version) == ERR_NOMEM)
            w->counts.drop_memory++;
    } else if (protocol == PPP_IP || protocol == PPP_IPV6) {
        k->n.drop_source++;
    } else {
        call_ppp_frame(k, whole); /* a data protocol that nobody negotiated: Protocol-Reject is PPP's matter */
    }
}

static void on_control(void *arg, struct rd whole)
{
    struct call *k = arg;
    join_flush(&k->c->w->join);
    call_control_packet(k, whole);
}

/* What is joined borrows what was read: it is written before that is used again. */
static void on_walked(void *arg)
{
    struct call *k = arg;
    join_flush(&k->c->w->join);
    sstp_server_alive(&k->sstp, net_now(&k->c->w->loop));
}

static bool walk_done(void *arg)
{
    const struct call *k = arg;
    return k->broken || k->closing;
}

/* Where its packets go: without steering the kernel's answers come back the same way. */
static void choose_queue(struct call *k)
{
    struct worker *w = k->c->w;
    if (k->ip4)
        w->join.arg = &w->queue[steer_queue(pool_slot(&w->engine->pool, k->ip4), w->n_queues)].tun;
    else if (k->ip6_up)
        w->join.arg = &w->queue[steer_queue(steer_hash6(k->iid), w->n_queues)].tun;
}

static struct tunnel_sink sink_for(struct call *k)
{
    choose_queue(k);
    return (struct tunnel_sink){ on_control, on_frame, on_walked, walk_done, k };
}

/* What tunnel_receive() and tunnel_early() could not go on with. */
static void input_failed(struct call *k)
{
    if (k->stream.unframed)
        call_break(k, "framing", "the client's SSTP stream lost its framing");
    k->broken = true;
}

#define READ_RATE      4     /* times the user's rate is read: flows that look for their share send twice of it */
#define READ_QUEUE_US  10000 /* of that, and two round trips of it, may wait in the socket */
#define READ_QUEUE_MIN 65536 /* bytes: what the kernel begins with, so that a burst of small segments has room */

/*
 * What is sent faster than it is read waits in the socket, where nothing overtakes it: little of it, so that the queue
 * is at the client, which knows his flows.
 */
void call_up_begins(struct call *k)
{
    struct net_tcp_info i;
    int fd = tls_stream_fd(k->c->tls);
    uint64_t rate = k->up_bps / 8 * READ_RATE;
    shaper_open(&k->shaper, &k->c->w->bufs, k->rates ? &k->rates->up : NULL, k->up_bps / 8, k->c->gen->ppp.mtu,
                now_us());
    bucket_open(&k->read_tap, &k->read_bucket, rate);
    if (!rate || !net_tcp_ask(fd, &i) || !i.min_rtt_us)
        return;
    /* Two round trips, for a path that gets longer. */
    uint64_t bytes = rate * (READ_QUEUE_US + 2 * (uint64_t)i.min_rtt_us) / 1000000;
    if (bytes <= UINT32_MAX)
        (void)net_tcp_take(fd, bytes > READ_QUEUE_MIN ? (uint32_t)bytes : READ_QUEUE_MIN);
}

/* Who sends far more than his rate, and does not heed losses, is read later: his own TCP slows him down. */
static void take_from_rate(struct call *k, size_t bytes, uint64_t now)
{
    bucket_take(&k->read_tap, (uint32_t)bytes, now);
    uint64_t wait_us = bucket_wait_us(&k->read_tap, now);
    k->read_at_ms = wait_us ? (now + wait_us) / 1000 + 1 : 0;
}

/* True: there is more, which came already. */
static bool read_in(struct call *k, const struct tunnel_sink *sink, uint64_t now)
{
    struct worker *w = k->c->w;
    size_t bytes;
    bool more;
    unsigned frames = w->in_frames;
    int rc = tunnel_receive(&k->stream, sink, &more, &bytes);
    frames = w->in_frames - frames;
    w->in_bytes += bytes;
    k->stream.small_reads = k->up_bps || frames > (k->stream.small_reads ? IN_SMALL / TUNNEL_RX_RECORDS : IN_SMALL);
    k->tls_writes = rc == ERR_AGAIN && (tls_stream_wants(k->c->tls) & NET_WRITE);
    if (rc && rc != ERR_AGAIN)
        input_failed(k);
    else if (k->up_bps)
        take_from_rate(k, bytes, now);
    return more;
}

void call_receive(struct call *k)
{
    uint64_t now = now_us();
    struct worker *w = k->c->w;
    struct tunnel_sink sink = sink_for(k);
    uint64_t packets = w->join.packets;
    shaper_begin(&k->shaper, &w->join, QUANTUM, now);
    w->in_bytes += k->shaper.gone;
    w->in_frames += (unsigned)(w->join.packets - packets);
    bool more = !k->read_at_ms && read_in(k, &sink, now);
    bool waits = shaper_end(&k->shaper);
    if (k->broken)
        return;
    if (waits || (more && !k->read_at_ms))
        call_again(k);
    call_watch(k);
}

void call_early(struct call *k, struct rd early)
{
    struct tunnel_sink sink = sink_for(k);
    if (tunnel_early(&k->stream, &sink, early))
        input_failed(k);
}

/* ---- to the client ---- */

static uint32_t mtu_of(const struct call *k)
{
    uint32_t mru = ppp_link_peer_mru(k->ppp);
    return mru < SSTP_PAYLOAD_MAX - PPP_HDR_MAX ? mru : SSTP_PAYLOAD_MAX - PPP_HDR_MAX;
}

/* Always before the turn's sending. */
static void to_client(struct call *k, struct pktbuf *b, uint64_t now)
{
    if (k->sstp.call.state != SSTP_STATE_CONNECTED || !(b->version == 4 ? k->ip4_up : k->ip6_up)) {
        k->n.drop_gate++;
        pktbuf_free(&k->c->w->bufs.packets, b);
        return;
    }
    b->flow = flow_hash(b->data, b->len);
    k->stream.mtu = mtu_of(k);
    int rc = tunnel_take(&k->stream, b, now);
    if (rc == ERR_LIMIT)
        k->n.drop_mtu++;
    else if (rc == ERR_PEER)
        k->n.drop_odd++;
    else if (rc == ERR_NOMEM)
        k->c->w->counts.drop_memory++;
    else
        enlist(k);
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

/* b is gone then. others: where packets for other workers go; NULL: it was handed over already. */
static void route(struct worker *w, struct pktbuf *b, struct pktbuf_list *others, uint64_t now)
{
    struct ip_view v;
    struct call *k = NULL;
    int owner = -1;
    if (!ip_view(rd_make(b->data, b->len), &v)) {
        w->counts.drop_odd++;
        pktbuf_free(&w->bufs.packets, b);
        return;
    }
    b->version = v.version;
    b->len = v.len;
    k = call_for(w, &v, &owner);
    if (k) {
        to_client(k, b, now);
    } else if (owner >= 0 && owner != (int)w->index && others) {
        b->owner = (uint8_t)owner;
        b = pktbuf_fit(&w->bufs.packets, b);
        STAILQ_INSERT_TAIL(others, b, link);
    } else {
        w->counts.unknown_dst++;
        pktbuf_free(&w->bufs.packets, b);
    }
}

/* What of the list is for worker `to`: moved over, or dropped when too much waits there. Under its lock. */
static void hand_to(struct worker *w, struct worker *dst, struct pktbuf_list *list)
{
    struct pktbuf_list rest = STAILQ_HEAD_INITIALIZER(rest);
    struct pktbuf *b;
    while ((b = STAILQ_FIRST(list))) {
        STAILQ_REMOVE_HEAD(list, link);
        if (b->owner != dst->index) {
            STAILQ_INSERT_TAIL(&rest, b, link);
        } else if (dst->inbox.bytes + pktbuf_cost(b) > HANDOVER_MAX) {
            dst->inbox.dropped++;
            pktbuf_free(&w->bufs.packets, b);
        } else {
            pktbuf_given(&w->bufs.packets, b);
            dst->inbox.bytes += pktbuf_cost(b);
            STAILQ_INSERT_TAIL(&dst->inbox.packets, b, link);
            w->counts.handed_over++;
        }
    }
    STAILQ_CONCAT(list, &rest);
}

/* One lock for each worker that gets something out of this batch. */
static void hand_over(struct worker *w, struct pktbuf_list *list)
{
    const struct pktbuf *b;
    while ((b = STAILQ_FIRST(list))) {
        struct worker *dst = &w->engine->worker[b->owner];
        pthread_mutex_lock(&dst->inbox.lock);
        hand_to(w, dst, list);
        pthread_mutex_unlock(&dst->inbox.lock);
        net_loop_wake(&dst->loop);
    }
}

static void tun_gone(struct worker *w)
{
    log_error(NULL, "tun-gone", "the VPN's interface is gone: no call can move packets, the server stops",
              LOG_S("remedy", "somebody deleted the interface; start gatehouse again"));
    engine_fail(w->engine);
    for (unsigned i = 0; i < w->n_queues; i++) {
        net_fd_close(w->queue[i].nf);
        w->queue[i].nf = NULL;
        w->queue[i].ready = false;
        w->queue[i].tun.fd = -1; /* the number will be another's: what clients still send must not go there */
    }
}

struct tun_turn {
    uint64_t now;
    unsigned reads; /* done, and */
    size_t bytes;
    struct pktbuf_list others; /* for other workers */
};

/* Up to so much of a queue: 0; ERR_AGAIN: it is empty; ERR_SYSTEM. */
static int read_queue(struct worker *w, struct worker_queue *q, struct tun_turn *t)
{
    unsigned reads = 0;
    size_t bytes = 0;
    int rc = 0;
    for (; reads < QUEUE_READS && bytes < QUEUE_BYTES && rc != ERR_AGAIN && rc != ERR_SYSTEM; reads++) {
        struct pktbuf *b;
        rc = tun_queue_take(&q->tun, &w->bufs.packets, &w->tun_buf, &b);
        if (rc == ERR_NOMEM)
            w->counts.drop_memory++;
        if (rc == ERR_PEER)
            w->counts.drop_odd++;
        if (!b)
            continue;
        bytes += b->len;
        route(w, b, &t->others, t->now);
    }
    t->reads += reads;
    t->bytes += bytes;
    return rc == ERR_AGAIN || rc == ERR_SYSTEM ? rc : 0;
}

static struct worker_queue *next_ready(struct worker *w)
{
    for (unsigned i = 0; i < w->n_queues; i++) {
        struct worker_queue *q = &w->queue[w->next_queue];
        w->next_queue = w->next_queue + 1 < w->n_queues ? w->next_queue + 1 : 0;
        if (q->ready)
            return q;
    }
    return NULL;
}

/* The queues that have something, in turns. What is left over makes them ready again in the next turn. */
static void take_from_tun(struct worker *w)
{
    struct tun_turn t = { .now = now_us(), .others = STAILQ_HEAD_INITIALIZER(t.others) };
    struct worker_queue *q;
    int rc = 0;
    while (rc != ERR_SYSTEM && t.reads < TUN_READS && t.bytes < TUN_BYTES && (q = next_ready(w))) {
        rc = read_queue(w, q, &t);
        q->ready = rc == 0;
    }
    for (unsigned i = 0; i < w->n_queues; i++)
        w->queue[i].ready = false;
    hand_over(w, &t.others);
    if (rc == ERR_SYSTEM)
        tun_gone(w);
}

void data_from_inbox(struct worker *w, struct pktbuf_list *list)
{
    uint64_t now = now_us();
    struct pktbuf *b;
    while ((b = STAILQ_FIRST(list))) {
        STAILQ_REMOVE_HEAD(list, link);
        fq_relieve(&w->bufs.packets, b->len);
        pktbuf_taken(&w->bufs.packets, b);
        if (w->bufs.packets.used <= w->bufs.packets.max) {
            route(w, b, NULL, now);
        } else {
            w->counts.drop_memory++;
            pktbuf_free(&w->bufs.packets, b);
        }
    }
}

/* ---- a turn of the loop ---- */

void data_turn(struct worker *w)
{
    take_from_tun(w);
    send_in_turn(w);
    receive_in_turn(w);
}
