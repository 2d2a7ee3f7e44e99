/* What goes out: see stream.h. HOT PATH. */
#include <string.h>

#include "base/ct.h"
#include "net/tcp.h"
#include "ppp/link.h"
#include "tunnel/stream.h"

#define HDR (SSTP_HDR_LEN + PPP_HDR_MAX)

#define ASK_US      (WINDOW_EVERY_MS * 1000) /* between two looks at the path, when much went out, and */
#define ASK_SLOW_US 100000                   /* when it was not much */
#define ASK_LATE_US 200000 /* so long after the last look it says nothing how much was delivered since */
#define ASK_BYTES   65536
#define ASK_LEAST   3000  /* a call that sent less since then is not asked about */
#define TURN_US_MAX 20000 /* a longer wait for a turn is a queue after all */
#define LOWAT_FIRST 16384 /* until something is known */
#define LOWAT_MIN   4096  /* bytes unsent in the socket: what its path carries in LOWAT_US, within these bounds */
#define LOWAT_MAX   131072
#define LOWAT_US    2000
#define SLOW_RATE   50000000 /* bytes a second: a slower path gets one record at a time */

/* ---- buffers ---- */

static void release_control(struct tunnel_stream *s)
{
    if (!s->control)
        return;
    if (s->secrets)
        secret_wipe(s->control, s->control_len);
    tunnel_pool_put(&s->bufs->control, s->control);
    s->control = NULL;
    s->control_len = s->alone = 0;
}

static void release_queue(struct tunnel_stream *s)
{
    if (!s->fq)
        return;
    fq_fini(s->fq);
    tunnel_pool_put(&s->bufs->queue, s->fq);
    s->fq = NULL;
}

void tunnel_out_fini(struct tunnel_stream *s)
{
    release_control(s);
    release_queue(s);
}

/* ---- queueing ---- */

static bool control_room(struct tunnel_stream *s, size_t len, size_t limit)
{
    if (!s->control)
        s->control = tunnel_pool_get(&s->bufs->control);
    return s->control && s->control_len + len <= limit;
}

bool tunnel_put(struct tunnel_stream *s, const void *packet, size_t len, size_t limit)
{
    size_t sent;
    /* What one wake-up makes us say may be more than the limit; only who does not read it is deaf. */
    if (!control_room(s, len, limit) && (tunnel_send(s, 0, 0, &sent) == TUNNEL_DEAD || !control_room(s, len, limit)))
        return false;
    memcpy(s->control + s->control_len, packet, len);
    s->control_len += len;
    return true;
}

int tunnel_take(struct tunnel_stream *s, struct pktbuf *b, uint64_t now_us)
{
    struct tunnel_bufs *bufs = s->bufs;
    int rc = cut_init(&b->cut, b->data, b->len, &b->offload, s->mtu);
    if (!rc && !s->fq) {
        s->fq = tunnel_pool_get(&bufs->queue);
        if (s->fq)
            fq_init(s->fq, &bufs->packets, &s->dropped, s->mtu, (uint32_t)bufs->call_max);
        else
            rc = ERR_NOMEM;
        s->ready_us = tls_stream_unsent(s->tls) ? 0 : now_us;
    }
    if (rc) {
        pktbuf_free(&bufs->packets, b);
        return rc;
    }
    s->fq->max = (uint32_t)(bufs->call_max > PKTBUF_COST_MAX ? bufs->call_max : PKTBUF_COST_MAX);
    bool taken = fq_put(s->fq, pktbuf_fit(&bufs->packets, b), now_us);
    if (fq_empty(s->fq))
        release_queue(s);
    return taken ? 0 : ERR_AGAIN;
}

/* ---- what the path says ---- */

void tunnel_up(struct tunnel_stream *s, struct bucket *bucket, uint64_t rate)
{
    bucket_open(&s->tap, bucket, rate);
    tls_stream_bulk(s->tls);
    s->lowat = LOWAT_FIRST;
    net_tcp_lowat(tls_stream_fd(s->tls), s->lowat);
}

/*
 * Where the socket was full since the last look, it keeps what the path carries in LOWAT_US, and a slow path gets small
 * writes. Where it never was, the path takes what comes at once: nothing waits there, and larger writes cost less.
 */
static void set_lowat(struct tunnel_stream *s, uint64_t rate, bool full)
{
    uint64_t keep = full ? rate * LOWAT_US / 1000000 : (uint64_t)s->lowat * 2;
    uint32_t lowat = keep < LOWAT_MIN ? LOWAT_MIN : keep > LOWAT_MAX ? LOWAT_MAX : (uint32_t)keep;
    bool more = lowat > s->lowat + s->lowat / 2, less = lowat < s->lowat / 2;
    if (full && !rate)
        return;
    s->burst = !full || rate >= SLOW_RATE ? 0 : lowat < TLS_RECORD_MAX ? lowat : TLS_RECORD_MAX;
    if (!more && !less)
        return;
    net_tcp_lowat(tls_stream_fd(s->tls), lowat);
    s->lowat = lowat;
}

/*
 * From time to time, while much goes out: how much may wait in the socket, where nothing overtakes it. Two milliseconds
 * of what the path carries keep it busy; the window bounds what is on the path, too, when that has grown a queue.
 */
static void ask_path(struct tunnel_stream *s, uint64_t now_us)
{
    struct net_tcp_info i;
    bool busy = s->was_full || s->window.bytes || s->since >= ASK_BYTES;
    if (s->since < ASK_LEAST || now_us - s->asked_us < (busy ? ASK_US : ASK_SLOW_US))
        return;
    uint64_t passed_us = now_us - s->asked_us, before = s->delivered;
    s->asked_us = now_us;
    s->since = 0;
    if (!net_tcp_ask(tls_stream_fd(s->tls), &i))
        return;
    /* When it is the peer who reads slowly, what the kernel calls the rate is that of bursts. */
    uint64_t rate = (i.delivered - before) * 2000000 / passed_us;
    rate = rate < i.rate && passed_us < ASK_LATE_US ? rate : i.rate;
    s->delivered = i.delivered;
    s->rate = rate;
    uint64_t lately_us = 2 * (uint64_t)i.rtt_us > 2 * ASK_US ? 2 * (uint64_t)i.rtt_us : 2 * ASK_US;
    bool busy_lately = s->full_at_us && now_us - s->full_at_us <= lately_us;
    const struct window_sample sample = { i.rtt_us, i.min_rtt_us, i.rate, i.app_limited, i.delivered, busy_lately };
    uint32_t was = s->window.bytes, bound = window_update(&s->window, &sample, now_us / 1000);
    if (bound != was) {
        net_tcp_hold(tls_stream_fd(s->tls), bound);
        tls_stream_held(s->tls, bound);
    }
    s->path_us = window_path_delay_us(&s->window, &sample);
    bool full = s->was_full;
    s->was_full = false;
    if (bound) { /* small writes follow small acknowledgements, and what the kernel calls the rate is theirs */
        s->burst = window_chunk(&s->window, TLS_RECORD_MAX);
        return;
    }
    set_lowat(s, rate, full);
}

/* ---- records ---- */

static void header(uint8_t *at, uint32_t len, uint8_t version)
{
    uint16_t protocol = version == 4 ? PPP_IP : PPP_IPV6;
    sstp_data_hdr(at, len + PPP_HDR_MAX);
    at[4] = 0xff;
    at[5] = 0x03;
    at[6] = (uint8_t)(protocol >> 8);
    at[7] = (uint8_t)protocol;
}

/* Packets into one record of up to cap bytes; at least one, when one waits. */
static size_t fill(struct tunnel_stream *s, uint8_t *out, size_t cap, uint64_t now_us)
{
    int64_t outside_us = (int64_t)s->path_us - s->turn_us - codel_slack_us(s->tap.rate, s->mtu);
    struct pktbuf *b;
    size_t n = 0;
    bool mark;
    while ((b = fq_next(s->fq, now_us, outside_us, &mark))) {
        uint32_t len = cut_len(&b->cut);
        if (n + HDR + len > (n ? cap : TLS_RECORD_MAX))
            break;
        header(out + n, len, b->version);
        cut_next(&b->cut, b->data, out + n + HDR, mark);
        fq_sent(s->fq, b, len);
        n += HDR + len;
        s->packets++;
        s->bytes += len;
    }
    return n;
}

/* As many whole control packets as fit one record; an HTTP answer goes alone (sstpc throws away what comes with it). */
static size_t control_record(const struct tunnel_stream *s, size_t at)
{
    const uint8_t *p = s->control + at;
    size_t n = 0, len = s->control_len - at;
    if (at == 0 && s->alone)
        return s->alone;
    while (n + SSTP_HDR_LEN <= len) {
        size_t next = (size_t)(p[n + 2] & 0x0f) << 8 | p[n + 3];
        if (n + next > TLS_RECORD_MAX || n + next > len)
            break;
        n += next;
    }
    return n ? n : len;
}

/* All of it; it is not more than TLS_GATHER records, whose last part may wait inside the TLS stream. */
static int send_control(struct tunnel_stream *s)
{
    size_t at = 0;
    int rc = 0;
    while (!rc && at < s->control_len) {
        bool alone = at == 0 && s->alone;
        tls_stream_begin(s->tls);
        for (unsigned i = 0; !rc && i < (alone ? 1 : TLS_GATHER) && at < s->control_len; i++) {
            size_t n = control_record(s, at);
            rc = tls_stream_record(s->tls, s->control + at, n);
            at += n;
        }
        int sent = tls_stream_end(s->tls);
        rc = rc ? rc : sent;
    }
    if (rc == ERR_AGAIN && at < s->control_len) { /* the answer waits inside, the rest here */
        memmove(s->control, s->control + at, s->control_len - at);
        s->control_len -= at;
        if (s->secrets) /* where the end of it was */
            secret_wipe(s->control + s->control_len, at);
        s->alone = 0;
        return rc;
    }
    release_control(s);
    return rc;
}

/* What a flow may send before the next has its turn: never so much that the next one feels it. */
static uint32_t flow_turn(const struct tunnel_stream *s, size_t budget)
{
    uint64_t most = budget < FQ_TURN_MOST ? budget : FQ_TURN_MOST;
    uint64_t fair = s->rate ? s->rate / FQ_TURN_RATE : TLS_RECORD_MAX;
    if (s->tap.rate && s->tap.rate / FQ_TURN_RATE < fair)
        fair = s->tap.rate / FQ_TURN_RATE;
    fair = fair < most ? fair : most;
    return s->burst || fair < s->fq->mtu ? s->fq->mtu : (uint32_t)fair;
}

/* One system call's worth of packets. *n: bytes; 0: the bucket or the queue is empty. */
static int send_packets(struct tunnel_stream *s, size_t budget, uint64_t now_us, size_t *n)
{
    size_t most = s->burst && s->burst < budget ? s->burst : budget, allowed = bucket_left(&s->tap, now_us);
    int rc = 0;
    *n = 0;
    size_t piece = allowed < most ? 1 : TLS_RECORD_MAX; /* less is no record's worth, but for the rate's rest */
    most = allowed < most ? allowed : most;
    tls_stream_begin(s->tls);
    for (unsigned i = 0; !rc && i < TLS_GATHER && *n < most && (!*n || most - *n >= piece); i++) {
        size_t cap = most - *n < TLS_RECORD_MAX ? most - *n : TLS_RECORD_MAX,
               len = fill(s, s->bufs->record, cap, now_us);
        if (!len)
            break;
        rc = tls_stream_record(s->tls, s->bufs->record, len);
        *n += len;
    }
    int sent = tls_stream_end(s->tls);
    if (sent == ERR_AGAIN) {
        s->was_full = true;
        s->full_at_us = now_us;
    }
    bucket_take(&s->tap, (uint32_t)*n, now_us);
    s->since += (uint32_t)*n;
    return rc ? rc : sent;
}

static enum tunnel_state state_of(int rc)
{
    return rc == 0 ? TUNNEL_EMPTY : rc == ERR_AGAIN ? TUNNEL_BLOCKED : TUNNEL_DEAD;
}

/*
 * A worker with many calls, or without the CPU for a while, makes all of them wait. That is no queue of this call's
 * own: to drop its packets for it would only make its flows too small to be worth their turn.
 */
static void note_turn(struct tunnel_stream *s, uint64_t now_us)
{
    uint64_t waited = s->ready_us && now_us > s->ready_us ? now_us - s->ready_us : 0;
    s->turn_us -= s->turn_us / 8;
    if (waited > s->turn_us)
        s->turn_us = waited < TURN_US_MAX ? (uint32_t)waited : TURN_US_MAX;
    s->ready_us = 0;
}

enum tunnel_state tunnel_send(struct tunnel_stream *s, size_t budget, uint64_t now_us, size_t *sent)
{
    size_t n;
    *sent = 0;
    int rc = tls_stream_unsent(s->tls) ? tls_stream_flush(s->tls) : 0;
    if (!rc && s->control)
        rc = send_control(s);
    if (s->fq && budget && !rc) {
        note_turn(s, now_us);
        ask_path(s, now_us);
        s->fq->turn = flow_turn(s, budget);
    }
    /* What is left of the budget behind whole sends is not worth another one. */
    size_t piece = s->burst ? s->burst : TLS_RECORD_MAX;
    while (!rc && s->fq && *sent < budget && (!*sent || *sent + piece <= budget)) {
        uint64_t wait_us = bucket_wait_us(&s->tap, now_us);
        s->resume_us = wait_us ? now_us + wait_us : 0;
        if (wait_us)
            return TUNNEL_PACED;
        rc = send_packets(s, budget - *sent, now_us, &n);
        *sent += n;
        if (fq_empty(s->fq))
            release_queue(s);
    }
    if (!rc && s->fq && budget)
        s->ready_us = now_us;
    return rc ? state_of(rc) : s->fq ? TUNNEL_MORE : TUNNEL_EMPTY;
}
