#include "client/call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ct.h"
#include "ip/flow.h"
#include "ip/inner.h"
#include "net/loop.h"

#define EV_CAP    16384
#define TUN_READS 1024       /* packets or super-packets from the interface in a wake-up, and */
#define TUN_BYTES (1u << 20) /* bytes */
/* Bytes to the server in a turn: less than is read, so that what waits waits in our queues. */
#define TURN_BYTES        (256u << 10)
#define HANGUP_PPP_MS     1000
#define PEER_TERMINATE_MS 1000 /* for the CALL_DISCONNECT of a server that ended PPP */
#define CLOSE_FLUSH_MS    1000
#define IP4_WAIT_MS       3000  /* for IPv4 when IPv6 is up: they come side by side */
#define BINDING_MS        10000 /* an ABORT so soon after CALL_CONNECTED is about it */

/* ---- ends ---- */

__attribute__((format(printf, 3, 4))) static void set_end(struct client_call *k, enum client_cause cause,
                                                          const char *fmt, ...)
{
    char text[sizeof k->end.text];
    va_list ap;
    if (k->end_known)
        return; /* the first cause stands */
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    client_end_set(&k->end, cause, "%s", text);
    k->end_known = true;
}

static void went_down(struct client_call *k)
{
    bool was = k->up;
    k->alone_at = 0;
    k->up = k->ip4_up = k->ip6_up = false;
    if (was)
        k->ops.down(k->ops.arg);
}

static void break_off(struct client_call *k, enum client_cause cause, const char *text)
{
    set_end(k, cause, "%s", text);
    k->broken = true;
    went_down(k);
}

static void machine_error(struct client_call *k, int rc)
{
    if (rc)
        break_off(k, CLIENT_INTERNAL, err_name(rc));
}

static void set_ppp_end(struct client_call *k, const struct ppp_down *d);

/* The line went before PPP's goodbye was answered: why PPP ended is why the call ended. */
static void ask_ppp(struct client_call *k)
{
    struct ppp_down d;
    if (ppp_peer_ending(k->ppp, &d))
        set_ppp_end(k, &d);
}

static void lost(struct client_call *k)
{
    ask_ppp(k);
    bool was_up = k->up || k->cc_ms;
    if (was_up)
        set_end(k, CLIENT_LOST, "%s", tls_stream_error(k->tls));
    else
        set_end(k, CLIENT_SSTP, "the server closed the connection in PPP's phase \"%s\"", ppp_peer_phase(k->ppp));
    k->broken = true;
    went_down(k);
}

/* ---- from the PPP link ---- */

static void send_frame(struct client_call *k, const uint8_t *frame, size_t len)
{
    uint8_t pkt[SSTP_PKT_MAX];
    if (len > SSTP_PAYLOAD_MAX || !sstp_client_may_pass(&k->sstp, 0xc021))
        return;
    sstp_data_hdr(pkt, len);
    memcpy(pkt + SSTP_HDR_LEN, frame, len);
    if (!tunnel_put(&k->stream, pkt, len + SSTP_HDR_LEN, TUNNEL_CONTROL_CAP))
        break_off(k, CLIENT_SSTP, "the server makes us talk and does not listen");
    secret_wipe(pkt, sizeof pkt); /* PAP */
}

const char *client_method_name(enum ppp_auth_method m)
{
    switch (m) {
    case PPP_AUTH_PAP: return "pap";
    case PPP_AUTH_CHAP_MD5: return "chap";
    case PPP_AUTH_MSCHAPV2: return "mschapv2";
    case PPP_AUTH_EAP_MSCHAPV2: return "eap-mschapv2";
    case PPP_AUTH_NONE:
    case PPP_AUTH_METHODS: break;
    }
    return "none";
}

static void authed(struct client_call *k, const struct ev *ev)
{
    struct ppp_authed a;
    memcpy(&a, ev->data, sizeof a);
    k->ops.step(k->ops.arg, "login", client_method_name(a.method));
    k->cc_ms = k->now_ms;
    machine_error(k, sstp_client_authenticated(&k->sstp, a.hlak, k->now_ms, &k->ev_sstp));
    secret_wipe(&a, sizeof a);
}

static void maybe_up(struct client_call *k)
{
    if (k->ended || k->hangup || !k->sstp_up || !(k->ip4_up || k->ip6_up))
        return;
    if (!k->ip4_up && !k->up && (!k->alone_at || k->now_ms < k->alone_at)) {
        k->alone_at = k->alone_at ? k->alone_at : k->now_ms + IP4_WAIT_MS;
        return;
    }
    k->alone_at = 0;
    if (!k->up)
        tunnel_up(&k->stream, NULL, 0);
    k->up = true;
    k->stream.secrets = false;
    k->ops.up(k->ops.arg);
}

static void login_failed(struct client_call *k, const char *text)
{
    static const struct {
        uint32_t code;
        const char *words, *ras;
    } codes[] = {
        { 646, "not at this hour", "RasClient 20227 (646)" },
        { 647, "the account is disabled", "RasClient 20227 (647)" },
        { 648, "the password has expired: change it where the account is kept", "RasClient 20227 (648)" },
        { 649, "the account may not dial in", "RasClient 20227 (649)" },
        { 691, "user or password is wrong", "RasClient 20227 (691)" },
    };
    uint32_t code = ppp_peer_auth_error(k->ppp);
    if (!code) {
        set_end(k, CLIENT_SERVER_PROOF, "%s", text);
        return;
    }
    if (k->end_known)
        return;
    set_end(k, CLIENT_LOGIN, "%u: %s", code, text);
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (codes[i].code == code) {
            client_end_set(&k->end, CLIENT_LOGIN, "%u, %s%s%s", code, codes[i].words,
                           text[0] ? "; the server says: " : "", text);
            k->end.ras = codes[i].ras;
        }
}

/* A server that has no further method may say so by ending PPP: were all that it asked for ones that we refuse? */
static bool methods_refused(const struct client_call *k, char *list, size_t cap)
{
    unsigned theirs = ppp_peer_methods(k->ppp);
    size_t n = 0;
    for (size_t i = 0; i < sizeof k->cfg->ppp.auth; i++)
        if (theirs & 1u << k->cfg->ppp.auth[i])
            return false;
    list[0] = 0;
    for (unsigned m = PPP_AUTH_NONE + 1; m < PPP_AUTH_METHODS && n < cap; m++)
        if (theirs & 1u << m)
            n +=
                (size_t)snprintf(list + n, cap - n, "%s%s", n ? ", " : "", client_method_name((enum ppp_auth_method)m));
    return n > 0;
}

static void set_ppp_end(struct client_call *k, const struct ppp_down *d)
{
    char list[64];
    switch ((enum ppp_down_cause)d->cause) {
    case PPP_DOWN_PEER_TERMINATE:
        if (k->told_lcp && !k->cc_ms) /* some servers say no by this alone */
            set_end(k, CLIENT_LOGIN, "the server ended PPP instead of a verdict%s%s", d->text[0] ? ": " : "", d->text);
        else if (!k->told_lcp && methods_refused(k, list, sizeof list))
            set_end(k, CLIENT_NO_METHOD, "the server wants only %s, and ends PPP: %s", list, d->text);
        else
            set_end(k, k->up ? CLIENT_HUNG_UP : CLIENT_PPP, "%s%s", k->up ? "" : "the server ended PPP: ", d->text);
        break;
    case PPP_DOWN_OUR_TERMINATE: set_end(k, CLIENT_OK, "%s", d->text); break;
    case PPP_DOWN_LCP_TIMEOUT: set_end(k, CLIENT_TIMEOUT, "PPP's LCP did not open"); break;
    case PPP_DOWN_NO_AUTH: set_end(k, CLIENT_NO_METHOD, "%s", d->text); break;
    case PPP_DOWN_AUTH_FAILED: login_failed(k, d->text); break;
    case PPP_DOWN_AUTH_TIMEOUT: set_end(k, CLIENT_TIMEOUT, "no verdict on the login"); break;
    case PPP_DOWN_ECHO: set_end(k, CLIENT_SILENT, "%s", d->text); break;
    case PPP_DOWN_NCP_FAILED: set_end(k, CLIENT_NO_ADDRESS, "%s", d->text); break;
    case PPP_DOWN_PROTOCOL: set_end(k, CLIENT_PPP, "%s", d->text); break;
    }
}

static void ppp_down(struct client_call *k, const struct ev *ev)
{
    struct ppp_down d;
    memcpy(&d, ev->data, sizeof d);
    d.text[sizeof d.text - 1] = 0;
    set_ppp_end(k, &d);
    k->hangup = true;
    k->hangup_at = k->now_ms + (d.cause == PPP_DOWN_PEER_TERMINATE ? PEER_TERMINATE_MS : 0);
    went_down(k);
}

static void on_ppp(struct client_call *k, const struct ev *ev)
{
    switch ((enum ppp_event)ev->type) {
    case PPP_EV_SEND: send_frame(k, ev->data, ev->len); return;
    case PPP_EV_AUTH: return; /* a server's */
    case PPP_EV_AUTHED: authed(k, ev); return;
    case PPP_EV_IP4_UP:
        memcpy(&k->ip4, ev->data, sizeof k->ip4);
        k->ip4_up = true;
        maybe_up(k);
        return;
    case PPP_EV_IP4_DOWN: k->ip4_up = false; return;
    case PPP_EV_IP6_UP:
        memcpy(&k->ip6, ev->data, sizeof k->ip6);
        k->ip6_up = true;
        maybe_up(k);
        return;
    case PPP_EV_IP6_DOWN:
        k->ip6_up = false;
        k->alone_at = 0;
        return;
    case PPP_EV_DOWN: ppp_down(k, ev); return;
    }
}

/* ---- from the SSTP machine ---- */

static bool about_binding(const struct client_call *k)
{
    return k->cc_ms && !k->up && k->now_ms - k->cc_ms < BINDING_MS;
}

static void sstp_ending(struct client_call *k, const struct ev *ev)
{
    struct sstp_ended e;
    memcpy(&e, ev->data, sizeof e);
    k->ended = true;
    if (e.cause == SSTP_END_PEER_DISCONNECT || e.cause == SSTP_END_PEER_ABORT)
        ask_ppp(k);
    switch ((enum sstp_end_cause)e.cause) {
    case SSTP_END_PEER_DISCONNECT:
        set_end(k, k->up ? CLIENT_HUNG_UP : CLIENT_SSTP, "%s",
                k->up ? "" : "the server disconnected before the call was up");
        break;
    case SSTP_END_PEER_ABORT:
        if (about_binding(k) || (e.attrib == SSTP_ATTR_CRYPTO_BINDING && e.status == SSTP_STATUS_VALUE_NOT_SUPPORTED))
            set_end(k, CLIENT_BINDING, "CALL_ABORT after CALL_CONNECTED: %s about attribute %u",
                    sstp_status_name(e.status), e.attrib);
        else
            set_end(k, k->up ? CLIENT_HUNG_UP : CLIENT_SSTP, "the server aborts the call: %s",
                    sstp_status_name(e.status));
        break;
    case SSTP_END_OUR_DISCONNECT: set_end(k, CLIENT_OK, "%s", ""); break;
    case SSTP_END_ABORT:
        set_end(k, CLIENT_SSTP, "the server broke the protocol: %s in %s", sstp_status_name(e.status),
                sstp_client_state_name(e.state));
        break;
    case SSTP_END_NEGOTIATION_TIMEOUT:
        set_end(k, CLIENT_TIMEOUT, "no progress in %s, PPP's phase \"%s\"", sstp_client_state_name(e.state),
                ppp_peer_phase(k->ppp));
        break;
    case SSTP_END_HELLO_TIMEOUT: set_end(k, CLIENT_SILENT, "nothing heard, ECHO_REQUEST unanswered"); break;
    case SSTP_END_REFUSED:
        set_end(k, CLIENT_SSTP_REFUSED, "CALL_CONNECT_NAK: %s about attribute %u", sstp_status_name(k->sstp.nak.status),
                k->sstp.nak.attrib);
        break;
    case SSTP_END_BINDING: break; /* a server's */
    }
    k->sstp_up = false;
    went_down(k);
}

static void on_sstp(struct client_call *k, const struct ev *ev)
{
    switch ((enum sstp_event)ev->type) {
    case SSTP_EV_SEND:
        if (!tunnel_put(&k->stream, ev->data, ev->len, TUNNEL_CONTROL_CAP))
            break_off(k, CLIENT_SSTP, "the server makes us talk and does not listen");
        return;
    case SSTP_EV_PPP_START:
        k->ops.step(k->ops.arg, "sstp",
                    k->sstp.hash == SSTP_HASH_SHA256 ? "accepted, binding by SHA-256" : "accepted, binding by SHA-1");
        machine_error(k, ppp_peer_start(k->ppp, k->now_ms, &k->ev_ppp));
        return;
    case SSTP_EV_UP:
        k->sstp_up = true;
        k->ops.step(k->ops.arg, "binding", "certificate and login bound together, sent");
        maybe_up(k);
        return;
    case SSTP_EV_ENDING: sstp_ending(k, ev); return;
    case SSTP_EV_CLOSE:
        k->closing = true;
        k->close_at = k->now_ms + CLOSE_FLUSH_MS;
        return;
    }
}

/* Drains both queues, SSTP's first: CALL_CONNECTED goes ahead of what PPP says after the login. */
static void pump(struct client_call *k)
{
    struct ev ev;
    for (;;) {
        if (evq_next(&k->ev_sstp, &ev))
            on_sstp(k, &ev);
        else if (evq_next(&k->ev_ppp, &ev))
            on_ppp(k, &ev);
        else
            break;
    }
    if (k->ev_sstp.failed || k->ev_ppp.failed)
        machine_error(k, ERR_LIMIT);
    secret_wipe(k->ev_ppp.buf, k->ev_ppp.len); /* passwords and keys passed through */
    evq_reset(&k->ev_sstp);
    evq_reset(&k->ev_ppp);
    if (!k->told_lcp && ppp_peer_method(k->ppp) != PPP_AUTH_NONE && !strcmp(ppp_peer_phase(k->ppp), "authenticate")) {
        char text[64];
        k->told_lcp = true;
        snprintf(text, sizeof text, "login by %s", client_method_name(ppp_peer_method(k->ppp)));
        k->ops.step(k->ops.arg, "lcp", text);
    }
}

/* ---- packets from the server. HOT PATH ---- */

static void to_tun(struct client_call *k, uint8_t *data, uint32_t len)
{
    k->n.rx_packets++;
    k->n.rx_bytes += len;
    k->heard_data = true;
    if (k->tun)
        join_add(&k->join, data, len);
}

static void flush_batch(struct client_call *k)
{
    if (k->tun)
        join_flush(&k->join);
}

static void on_control(void *arg, struct rd whole)
{
    struct client_call *k = arg;
    k->heard = true;
    flush_batch(k);
    machine_error(k, sstp_client_control(&k->sstp, whole, k->now_ms, &k->ev_sstp));
    pump(k);
}

static void on_frame(void *arg, struct rd frame)
{
    struct client_call *k = arg;
    struct rd whole = frame;
    struct ip_view v;
    uint16_t protocol;
    k->heard = true;
    if (!ppp_frame_open(&frame, &protocol))
        return;
    if (protocol == PPP_IP || protocol == PPP_IPV6) {
        if (!sstp_client_may_pass(&k->sstp, protocol) || !(protocol == PPP_IP ? k->ip4_up : k->ip6_up)) {
            k->n.drop_gate++;
        } else if (!ip_view(frame, &v) || v.version != (protocol == PPP_IP ? 4 : 6)) {
            k->n.drop_odd++;
        } else {
            to_tun(k, tunnel_writable(&k->stream, frame.p), v.len);
        }
        return;
    }
    if (!sstp_client_may_pass(&k->sstp, protocol)) {
        k->n.drop_gate++;
        return;
    }
    flush_batch(k);
    machine_error(k, ppp_peer_input(k->ppp, whole, k->now_ms, &k->ev_ppp));
    pump(k);
}

static bool walking_done(void *arg)
{
    const struct client_call *k = arg;
    return k->broken || k->closing;
}

/* What is joined borrows what was read: it is written before that memory is used again. */
static void on_walked(void *arg)
{
    flush_batch(arg);
}

static struct tunnel_sink sink_of(struct client_call *k)
{
    return (struct tunnel_sink){
        .control = on_control, .frame = on_frame, .walked = on_walked, .done = walking_done, .arg = k
    };
}

static void receive(struct client_call *k)
{
    struct tunnel_sink sink = sink_of(k);
    k->more = k->heard = k->heard_data = false;
    size_t bytes;
    int rc = tunnel_receive(&k->stream, &sink, &k->more, &bytes);
    k->tls_writes = rc == ERR_AGAIN && (tls_stream_wants(k->tls) & NET_WRITE);
    if (k->heard)
        sstp_client_alive(&k->sstp, k->now_ms);
    if (k->heard_data)
        ppp_peer_alive(k->ppp, k->now_ms);
    if (rc && rc != ERR_AGAIN && k->stream.unframed)
        break_off(k, CLIENT_SSTP, "the SSTP stream lost its framing");
    else if (rc && rc != ERR_AGAIN && !k->broken)
        lost(k);
}

/* ---- packets to the server. HOT PATH ---- */

static uint32_t mtu_of(const struct client_call *k)
{
    uint32_t mtu = ppp_peer_mtu(k->ppp);
    return mtu < SSTP_PAYLOAD_MAX - PPP_HDR_MAX ? mtu : SSTP_PAYLOAD_MAX - PPP_HDR_MAX;
}

/* b is gone then. */
static void send_packet(struct client_call *k, struct pktbuf *b, uint64_t now_us)
{
    struct ip_view v;
    if (!ip_view(rd_make(b->data, b->len), &v)) {
        k->n.drop_odd++;
    } else if (!k->sstp_up || !(v.version == 4 ? k->ip4_up : k->ip6_up)) {
        k->n.drop_gate++;
    } else {
        b->version = v.version;
        b->len = v.len;
        b->flow = flow_hash(b->data, b->len);
        k->stream.mtu = mtu_of(k);
        int rc = tunnel_take(&k->stream, b, now_us);
        k->n.drop_mtu += rc == ERR_LIMIT;
        k->n.drop_odd += rc == ERR_PEER;
        k->n.drop_memory += rc == ERR_NOMEM;
        return;
    }
    pktbuf_free(&k->stream.bufs->packets, b);
}

static void sent(struct client_call *k, enum tunnel_state state)
{
    k->blocked = state == TUNNEL_BLOCKED;
    if (state == TUNNEL_DEAD)
        lost(k);
}

/* Control packets, and what TLS has left. */
static void flush_out(struct client_call *k)
{
    size_t n;
    if (!k->broken)
        sent(k, tunnel_send(&k->stream, 0, 0, &n));
}

void client_call_tun(struct client_call *k, struct tun_queue *tun)
{
    k->tun = tun;
    tun_queue_join(tun, &k->join);
}

void client_call_from_tun(struct client_call *k, uint64_t now_us)
{
    struct pktbuf_pool *pool = &k->stream.bufs->packets;
    size_t bytes = 0;
    int rc = 0;
    k->now_ms = now_us / 1000;
    for (unsigned i = 0; i < TUN_READS && bytes < TUN_BYTES && rc != ERR_AGAIN && rc != ERR_SYSTEM; i++) {
        struct pktbuf *b;
        rc = tun_queue_take(k->tun, pool, &k->tun_buf, &b);
        k->n.drop_odd += rc == ERR_PEER;
        k->n.drop_memory += rc == ERR_NOMEM;
        if (!b)
            continue;
        bytes += b->len;
        send_packet(k, b, now_us);
    }
    if (rc == ERR_SYSTEM)
        break_off(k, CLIENT_LOCAL, "the interface is gone: somebody deleted it");
}

bool client_call_turns(const struct client_call *k)
{
    return !k->broken && !k->closing && (k->more || (k->stream.fq && !k->blocked));
}

void client_call_turn(struct client_call *k, uint64_t now_us)
{
    size_t n;
    k->now_ms = now_us / 1000;
    if (!k->broken && k->stream.fq && !k->blocked)
        sent(k, tunnel_send(&k->stream, TURN_BYTES, now_us, &n));
    if (k->more)
        client_call_io(k, NET_READ, k->now_ms);
}

/* ---- time ---- */

uint64_t client_call_deadline(const struct client_call *k)
{
    uint64_t d = sstp_client_deadline(&k->sstp), p = k->ended ? TIME_NEVER : ppp_peer_deadline(k->ppp);
    d = p < d ? p : d;
    if (k->hangup && k->hangup_at && k->hangup_at < d)
        d = k->hangup_at;
    if (k->alone_at && k->alone_at < d)
        d = k->alone_at;
    if (k->closing && k->close_at < d)
        d = k->close_at;
    return d;
}

void client_call_expire(struct client_call *k, uint64_t now_ms)
{
    k->now_ms = now_ms;
    if (k->broken)
        return;
    if (sstp_client_deadline(&k->sstp) <= now_ms)
        machine_error(k, sstp_client_expire(&k->sstp, now_ms, &k->ev_sstp));
    if (!k->ended && ppp_peer_deadline(k->ppp) <= now_ms)
        machine_error(k, ppp_peer_expire(k->ppp, now_ms, &k->ev_ppp));
    pump(k);
    if (k->alone_at && k->alone_at <= now_ms)
        maybe_up(k);
    if (k->hangup && k->hangup_at && k->hangup_at <= now_ms) {
        k->hangup_at = 0;
        machine_error(k, sstp_client_disconnect(&k->sstp, now_ms, &k->ev_sstp));
        pump(k);
    }
    flush_out(k);
    if (k->closing && k->close_at <= now_ms)
        k->broken = true;
}

/* ---- the owner's side ---- */

void client_call_io(struct client_call *k, int events, uint64_t now_ms)
{
    k->now_ms = now_ms;
    if (k->broken)
        return;
    if (events & NET_WRITE)
        flush_out(k);
    if (!k->broken)
        receive(k);
    /* Answers of this round, an immediate deadline's too. */
    client_call_expire(k, now_ms);
}

int client_call_wants(const struct client_call *k)
{
    bool writes = k->blocked || (k->tls_writes && !k->closing);
    return (k->closing ? 0 : NET_READ) | (writes ? NET_WRITE : 0);
}

bool client_call_over(const struct client_call *k, struct client_end *why)
{
    if (!k->broken && !(k->closing && !k->blocked))
        return false;
    *why = k->end;
    return true;
}

void client_call_hangup(struct client_call *k, enum client_cause cause, const char *text, uint64_t now_ms)
{
    k->now_ms = now_ms;
    if (k->hangup || k->ended || k->broken)
        return;
    set_end(k, cause, "%s", text);
    k->hangup = true;
    k->hangup_at = now_ms + HANGUP_PPP_MS;
    went_down(k);
    machine_error(k, ppp_peer_terminate(k->ppp, text[0] ? text : "the user hangs up", now_ms, &k->ev_ppp));
    client_call_expire(k, now_ms);
}

void client_call_doubt(struct client_call *k, uint32_t wait_ms, uint64_t now_ms)
{
    k->now_ms = now_ms;
    if (k->broken || k->ended)
        return;
    machine_error(k, sstp_client_doubt(&k->sstp, wait_ms, now_ms, &k->ev_sstp));
    machine_error(k, ppp_peer_ask(k->ppp, &k->ev_ppp)); /* SoftEther answers no ECHO_REQUEST */
    client_call_expire(k, now_ms);
}

int client_call_start(struct client_call *k, const struct client_call_cfg *cfg, const struct client_call_ops *ops,
                      struct tls_stream *tls, struct tunnel_bufs *bufs, struct rd early, uint64_t now_ms)
{
    *k = (struct client_call){ .cfg = cfg, .ops = *ops, .tls = tls, .now_ms = now_ms };
    k->ppp = ppp_peer_new(&cfg->ppp, cfg->secret, cfg->rng);
    k->ev_mem = malloc(2 * EV_CAP);
    if (!k->ppp || !k->ev_mem) {
        client_call_fini(k);
        return ERR_NOMEM;
    }
    k->ev_sstp = evq_make(k->ev_mem, EV_CAP);
    k->ev_ppp = evq_make(k->ev_mem + EV_CAP, EV_CAP);
    k->stream = (struct tunnel_stream){ .bufs = bufs, .tls = tls, .secrets = true };
    k->leaf.known = SSTP_HASH_SHA1 | SSTP_HASH_SHA256;
    tls_stream_leaf_hashes(tls, k->leaf.sha1, k->leaf.sha256);
    sstp_client_init(&k->sstp, &cfg->sstp, &k->leaf);
    machine_error(k, sstp_client_start(&k->sstp, now_ms, &k->ev_sstp));
    pump(k);
    if (!rd_end(&early) && !k->broken) {
        struct tunnel_sink sink = sink_of(k);
        if (tunnel_early(&k->stream, &sink, early))
            break_off(k, CLIENT_SSTP, "what follows the 200 is no SSTP");
    }
    client_call_io(k, 0, now_ms);
    return 0;
}

void client_call_fini(struct client_call *k)
{
    if (k->tun_buf)
        pktbuf_free(&k->stream.bufs->packets, k->tun_buf);
    tunnel_stream_fini(&k->stream);
    ppp_peer_free(k->ppp);
    sstp_client_fini(&k->sstp);
    if (k->ev_mem)
        secret_wipe(k->ev_mem, 2 * EV_CAP);
    free(k->ev_mem);
    secret_wipe(k, sizeof *k);
}
