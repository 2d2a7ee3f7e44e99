#include "server/call.h"

#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "auth/login.h"
#include "base/ct.h"

#define HANGUP_PPP_MS     1000 /* for the client's Terminate-Ack, before CALL_DISCONNECT */
#define PEER_TERMINATE_MS 1000 /* the client ended PPP: its own CALL_DISCONNECT should follow */
#define CLOSE_FLUSH_MS    1000

static const char *ip4_text(uint32_t ip, char out[INET_ADDRSTRLEN])
{
    struct in_addr a = { htonl(ip) };
    return inet_ntop(AF_INET, &a, out, INET_ADDRSTRLEN);
}

/* ---- why it ended, in words for the operator ---- */

static void set_end(struct call *k, const char *cause, const char *text)
{
    if (k->end_cause[0])
        return; /* the first cause is the cause */
    snprintf(k->end_cause, sizeof k->end_cause, "%s", cause);
    snprintf(k->end_text, sizeof k->end_text, "%s", text);
}

static const char *remedy_for(const struct call *k)
{
    static const struct {
        const char *cause, *remedy;
    } table[] = {
        { "binding-cert", "a re-encrypting device is in the path (a TLS-inspecting firewall or proxy): look at the "
                          "certificate that the "
                          "client is shown; or a front serves a certificate that is not configured here" },
        { "binding-mac",
          "client and server derived different keys: another password, or a client with a faulty binding" },
        { "binding-missing", "the client sent no usable crypto binding: update it" },
        { "binding-hash", "the client chose a hash that was not offered: update it" },
        { "binding-nonce", "the client answered another connection's challenge: a replay, or a faulty client" },
        { "no-auth-method", "the client allows none of vpn.auth: allow MS-CHAPv2 in the client" },
        { "auth-failed", "see the login-failed line" },
        { "no-address", "make vpn.network larger" },
        { "address-invalid",
          "the user's ip= is not in the vpn.network in force: correct it, or restart after changing the network" },
        { "lost",
          "the path or the client broke off: see the client's own log, and whether only this client is affected" },
        { "client-aborted", "the client found fault with the call: see text, and its own log" },
        { "client-silent", "the client vanished: asleep, switched off, or its path is down" },
        { "client-hung-up", "the client ended the call itself: see its own log if that was not wanted" },
        { "error", "see the call-error line" },
        { "server-stopped", "dial again when the server is back" },
        { "address-taken",
          "the user's fixed address is still held by an earlier call, which is being ended: dial again" },
        { "negotiation-timeout", "the client stopped answering while the call was set up" },
        { "auth-timeout", "the client did not answer the challenge" },
        { "lcp-timeout", "the client does not speak PPP" },
        { "framing", "a client or a device in between sends what is not SSTP" },
        { "client-deaf", "the client stopped reading while it went on sending: see its own log" },
        { "protocol", "the client broke the protocol: see text, and its own log" },
        { "network-failed", "client and server could not agree on IPv4 or IPv6" },
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(k->end_cause, table[i].cause) == 0)
            return table[i].remedy;
    return "";
}

/*
 * Behind a front the leaf is one of several, which change with its files: those of this moment count. The list is the
 * worker's and good until another call asks for it.
 */
static void take_front(struct call *k)
{
    struct worker *w = k->c->w;
    if (!k->c->front)
        return;
    k->sstp.certs = w->front;
    k->sstp.n_certs = front_accepted(&w->gen->front, time(NULL), w->front);
}

static void log_end(struct call *k)
{
    char ip[INET_ADDRSTRLEN] = "";
    uint64_t now = net_now(&k->c->w->loop);
    if (k->logged)
        return;
    k->logged = true;
    set_end(k, "lost", "the connection broke");
    if (k->up) {
        log_notice(&k->c->log, "call-down", "call ended", LOG_S("cause", k->end_cause), LOG_S("text", k->end_text),
                   LOG_S("ip", ip4_text(k->ip4, ip)), LOG_N("seconds", (now - k->up_ms) / 1000),
                   LOG_N("rx_bytes", k->n.rx_bytes), LOG_N("tx_bytes", k->stream.bytes),
                   LOG_NZ("drop_source", k->n.drop_source),
                   LOG_NZ("drop_queue", k->stream.dropped.drop_full + k->stream.dropped.drop_late),
                   LOG_NZ("up_drop", k->shaper.dropped.drop_full + k->shaper.dropped.drop_late),
                   LOG_S("remedy", k->hangup || k->ppp_down ? "" : remedy_for(k)));
        return;
    }
    struct worker *w = k->c->w;
    w->counts.refused++;
    if (!log_allowed(&w->log_calls, 50, now))
        return;
    /* One line an operator must read: a failed login or binding was told already. */
    enum log_level level = k->told ? LOG_LV_INFO : LOG_LV_NOTICE;
    log_ev(level, &k->c->log, "refused", "the call did not come up", LOG_S("cause", k->end_cause),
           LOG_S("text", k->end_text), LOG_S("phase", ppp_link_phase(k->ppp)), LOG_S("remedy", remedy_for(k)),
           LOG_NZ("dropped", w->log_calls.dropped));
    w->log_calls.dropped = 0;
}

void call_break(struct call *k, const char *cause, const char *text)
{
    set_end(k, cause, text);
    k->broken = true;
}

/* ---- what the machines want ---- */

static void machine_error(struct call *k, int rc)
{
    if (!rc)
        return;
    set_end(k, "error", err_name(rc));
    log_warn(&k->c->log, "call-error", "the call cannot go on", LOG_S("reason", err_name(rc)));
    k->broken = true;
}

static void send_frame(struct call *k, const uint8_t *frame, size_t len)
{
    uint8_t packet[SSTP_PKT_MAX];
    struct rd r = rd_make(frame, len);
    uint16_t protocol;
    if (len > SSTP_PAYLOAD_MAX || !ppp_frame_open(&r, &protocol) || !sstp_server_may_pass(&k->sstp, protocol))
        return;
    sstp_data_hdr(packet, len);
    memcpy(packet + SSTP_HDR_LEN, frame, len);
    call_queue(k, packet, SSTP_HDR_LEN + len);
}

static const char *login_why(enum user_state why, const char **remedy)
{
    switch (why) {
    case USER_OK: *remedy = ""; return "";
    case USER_UNKNOWN: *remedy = "gatehouse user add NAME"; return "unknown-user";
    case USER_DISABLED: *remedy = "remove `disabled` from the user's line"; return "disabled";
    case USER_EXPIRED: *remedy = "move the user's expires= date"; return "expired";
    case USER_WRONG_SECRET: *remedy = "gatehouse user passwd NAME, if the password is lost"; return "wrong-password";
    case USER_NEEDS_PLAIN:
        *remedy = "CHAP-MD5 needs the full password: gatehouse user passwd --plain NAME";
        return "no-plain-password";
    }
    return "";
}

static const char *method_name(uint8_t method)
{
    switch ((enum ppp_auth_method)method) {
    case PPP_AUTH_NONE: return "none";
    case PPP_AUTH_PAP: return "pap";
    case PPP_AUTH_CHAP_MD5: return "chap";
    case PPP_AUTH_MSCHAPV2: return "mschapv2";
    case PPP_AUTH_EAP_MSCHAPV2: return "eap-mschapv2";
    case PPP_AUTH_METHODS: break;
    }
    return "?";
}

static void login(struct call *k, const struct ev *ev)
{
    struct ppp_auth_request req;
    struct ppp_auth_result result;
    enum user_state why = USER_UNKNOWN;
    struct worker *w = k->c->w;
    const char *remedy = "";
    memcpy(&req, ev->data, sizeof req);
    size_t cut = req.name_len < sizeof k->c->log.user ? req.name_len : sizeof k->c->log.user - 1;
    memcpy(k->c->log.user, req.name, cut);
    k->c->log.user[cut] = 0;
    int rc = login_check(k->c->gen->users, &req, (int64_t)time(NULL), &result, &why);
    if (rc)
        log_error(&k->c->log, "login-error", "a login cannot be verified", LOG_S("reason", err_name(rc)));
    if (result.code == PPP_AUTH_OK) {
        w->counts.login_ok++;
        k->told = false;
        log_notice(&k->c->log, "login-ok", "logged in", LOG_S("method", method_name(req.method)));
    } else {
        w->counts.login_failed++;
        k->told = true;
        const char *reason = login_why(why, &remedy);
        if (log_allowed(&w->log_login, 200, net_now(&w->loop)))
            log_notice(&k->c->log, "login-failed", "login refused", LOG_S("reason", reason),
                       LOG_S("method", method_name(req.method)), LOG_N("code", result.code), LOG_S("remedy", remedy),
                       LOG_NZ("dropped", w->log_login.dropped));
    }
    machine_error(k, ppp_link_auth_result(k->ppp, &result, net_now(&w->loop), &w->ev_ppp));
    secret_wipe(&req, sizeof req);
    secret_wipe(&result, sizeof result);
}

static void end_older_call(struct call *k, uint32_t ip)
{
    struct worker *w = k->c->w;
    uint32_t slot = pool_slot(&w->engine->pool, ip);
    int owner = slot == UINT32_MAX ? -1 : pool_owner(&w->engine->pool, slot);
    if (owner >= 0)
        engine_hangup_ip(w->engine, (unsigned)owner, ip);
}

/* The address is the user's own, or the pool's next. */
static void give_address(struct call *k, const struct user *user)
{
    struct worker *w = k->c->w;
    uint32_t fixed = user ? user->ip4 : 0;
    int rc = pool_take(&w->engine->pool, fixed, w->index, &k->ip4);
    if (!rc) {
        /* From now on, not only when IPv4 is up: whoever needs the address must find who holds it. */
        w->by_slot[pool_slot(&w->engine->pool, k->ip4)] = k;
        machine_error(k, ppp_link_set_ip4(k->ppp, k->ip4, net_now(&w->loop), &w->ev_ppp));
        return;
    }
    k->ip4 = 0;
    if (rc == ERR_AGAIN) {
        end_older_call(k, fixed);
        call_hangup(k, "address-taken", "your address is still in use by an earlier call: dial again");
    } else if (rc == ERR_USAGE) {
        call_hangup(k, "address-invalid", "the address set for you is not one of this server's");
    } else {
        call_hangup(k, "no-address", "no address left for another call");
    }
}

static void take_rates(struct call *k, const struct user *user)
{
    if (!user || !(user->up_bps || user->down_bps))
        return;
    k->rates = rates_get(&k->c->w->engine->rates, user->name);
    if (k->rates) {
        k->up_bps = user->up_bps;
        k->down_bps = user->down_bps;
    } else {
        machine_error(k, ERR_NOMEM);
    }
}

static void authed(struct call *k, const struct ev *ev)
{
    struct ppp_authed a;
    uint64_t now = net_now(&k->c->w->loop);
    memcpy(&a, ev->data, sizeof a);
    conn_authenticated(k->c);
    take_front(k);
    machine_error(k, sstp_server_authenticated(&k->sstp, a.hlak, now, &k->c->w->ev_sstp));
    const struct user *user = login_user(k->c->gen->users, a.name, a.name_len);
    take_rates(k, user);
    give_address(k, user);
    secret_wipe(&a, sizeof a);
}

static void maybe_up(struct call *k)
{
    char ip[INET_ADDRSTRLEN];
    if (k->up || k->ended || !k->sstp_up || !(k->ip4_up || k->ip6_up))
        return;
    k->up = true;
    k->stream.secrets = false;
    k->up_ms = net_now(&k->c->w->loop);
    tunnel_up(&k->stream, k->rates ? &k->rates->down : NULL, k->down_bps / 8);
    call_up_begins(k);
    k->c->w->counts.calls_up++;
    log_notice(&k->c->log, "call-up", "call is up", LOG_S("ip", k->ip4_up ? ip4_text(k->ip4, ip) : ""),
               LOG_N("setup_ms", k->up_ms - k->c->accepted_ms), LOG_S("tls", tls_stream_version(k->c->tls)));
}

static void ip6_up(struct call *k, const struct ev *ev)
{
    memcpy(k->iid, ev->data, 8);
    if (engine_iid_claim(k->c->w->engine, k->iid, k->c->w->index, k)) {
        log_info(&k->c->log, "ip6-taken", "another call has this interface identifier: no IPv6 in this one");
        return;
    }
    k->ip6_up = true;
    maybe_up(k);
}

static void ip6_down(struct call *k)
{
    if (k->ip6_up)
        engine_iid_release(k->c->w->engine, k->iid);
    k->ip6_up = false;
}

static void ip4_set(struct call *k, bool up)
{
    k->ip4_up = up && k->ip4;
    maybe_up(k);
}

static const char *ppp_cause(enum ppp_down_cause cause)
{
    switch (cause) {
    case PPP_DOWN_PEER_TERMINATE: return "client-hung-up";
    case PPP_DOWN_OUR_TERMINATE: return "server-hung-up";
    case PPP_DOWN_LCP_TIMEOUT: return "lcp-timeout";
    case PPP_DOWN_NO_AUTH: return "no-auth-method";
    case PPP_DOWN_AUTH_FAILED: return "auth-failed";
    case PPP_DOWN_AUTH_TIMEOUT: return "auth-timeout";
    case PPP_DOWN_ECHO: return "client-silent";
    case PPP_DOWN_NCP_FAILED: return "network-failed";
    case PPP_DOWN_PROTOCOL: return "protocol";
    }
    return "protocol";
}

static void ppp_down(struct call *k, const struct ev *ev)
{
    struct ppp_down d;
    memcpy(&d, ev->data, sizeof d);
    d.text[sizeof d.text - 1] = 0;
    k->ppp_down = true;
    set_end(k, ppp_cause(d.cause), d.text);
    /* The client's own CALL_DISCONNECT is on its way when it was the one to end PPP. */
    k->hangup = true;
    k->hangup_at = net_now(&k->c->w->loop) + (d.cause == PPP_DOWN_PEER_TERMINATE ? PEER_TERMINATE_MS : 0);
}

static void on_ppp(struct call *k, const struct ev *ev)
{
    switch ((enum ppp_event)ev->type) {
    case PPP_EV_SEND: send_frame(k, ev->data, ev->len); return;
    case PPP_EV_AUTH: login(k, ev); return;
    case PPP_EV_AUTHED: authed(k, ev); return;
    case PPP_EV_IP4_UP: ip4_set(k, true); return;
    case PPP_EV_IP4_DOWN: ip4_set(k, false); return;
    case PPP_EV_IP6_UP: ip6_up(k, ev); return;
    case PPP_EV_IP6_DOWN: ip6_down(k); return;
    case PPP_EV_DOWN: ppp_down(k, ev); return;
    }
}

/*
 * The one way to a mismatch: somebody in between ended TLS. Behind a front that is the arrangement itself, and its
 * certificate is not among offload.certificates.
 */
static void tell_mismatch(struct call *k, const struct sstp_ended *end)
{
    const struct conn *c = k->c;
    bool strong = end->hash_protocol == SSTP_HASH_SHA256;
    char served[65] = "", sent[65], local[64];
    if (k->sstp.n_certs)
        hex_encode(strong ? k->sstp.certs[0].sha256 : k->sstp.certs[0].sha1, strong ? 32 : 20, served);
    hex_encode(end->cert_hash_seen, strong ? 32 : 20, sent);
    conn_local(c, local, sizeof local);
    if (c->front)
        log_notice(&c->log, "binding-mismatch", "the client saw a certificate that is none of offload.certificates",
                   LOG_S("accepted", served), LOG_N("accepted_count", k->sstp.n_certs), LOG_S("client_sent", sent),
                   LOG_S("sni", tls_stream_sni(c->tls)), LOG_S("local", local),
                   LOG_S("remedy", "a front whose certificate is not configured: add its PEM file, or this hash, to "
                                   "offload.certificates; or a re-encrypting device in front of the front"));
    else
        log_notice(&c->log, "binding-mismatch", "the client saw another certificate than the one served here",
                   LOG_S("served", served), LOG_S("certificate", generation_cert_name(c->gen, k->leaf.sha256)),
                   LOG_S("client_sent", sent), LOG_S("sni", tls_stream_sni(c->tls)), LOG_S("local", local),
                   LOG_S("remedy", remedy_for(k)));
}

static void binding_failed(struct call *k, const struct sstp_ended *end)
{
    static const char *const cause[] = { "binding",       "binding-missing", "binding-hash",
                                         "binding-nonce", "binding-cert",    "binding-mac" };
    set_end(k, cause[end->binding], "crypto binding failed");
    k->told = end->binding == SSTP_BINDING_CERT;
    if (k->told)
        tell_mismatch(k, end);
}

static void sstp_ending(struct call *k, const struct ev *ev)
{
    struct sstp_ended end;
    char text[96];
    memcpy(&end, ev->data, sizeof end);
    k->ended = true;
    snprintf(text, sizeof text, "%s in %s", sstp_status_name(end.status), sstp_server_state_name(end.state));
    switch ((enum sstp_end_cause)end.cause) {
    case SSTP_END_PEER_DISCONNECT: set_end(k, "client-hung-up", ""); break;
    case SSTP_END_PEER_ABORT: set_end(k, "client-aborted", text); break;
    case SSTP_END_OUR_DISCONNECT: set_end(k, "server-hung-up", ""); break;
    case SSTP_END_ABORT: set_end(k, "protocol", text); break;
    case SSTP_END_BINDING: binding_failed(k, &end); break;
    case SSTP_END_NEGOTIATION_TIMEOUT: set_end(k, "negotiation-timeout", ppp_link_phase(k->ppp)); break;
    case SSTP_END_REFUSED: break; /* a client's */
    case SSTP_END_HELLO_TIMEOUT: set_end(k, "client-silent", "nothing heard, ECHO_REQUEST unanswered"); break;
    }
    ip4_set(k, false);
    ip6_down(k);
    k->sstp_up = false;
    log_end(k);
}

static void on_sstp(struct call *k, const struct ev *ev)
{
    struct worker *w = k->c->w;
    switch ((enum sstp_event)ev->type) {
    case SSTP_EV_SEND: call_queue(k, ev->data, ev->len); return;
    case SSTP_EV_PPP_START: machine_error(k, ppp_link_start(k->ppp, net_now(&w->loop), &w->ev_ppp)); return;
    case SSTP_EV_UP:
        k->sstp_up = true;
        maybe_up(k);
        return;
    case SSTP_EV_ENDING: sstp_ending(k, ev); return;
    case SSTP_EV_CLOSE:
        k->closing = true;
        k->close_at = net_now(&w->loop) + CLOSE_FLUSH_MS;
        return;
    }
}

/* Drains both queues; what the owner does may append more to either. */
static void pump(struct call *k)
{
    struct worker *w = k->c->w;
    struct ev ev;
    for (;;) {
        if (evq_next(&w->ev_sstp, &ev))
            on_sstp(k, &ev);
        else if (evq_next(&w->ev_ppp, &ev))
            on_ppp(k, &ev);
        else
            break;
    }
    if (w->ev_sstp.failed || w->ev_ppp.failed)
        machine_error(k, ERR_LIMIT);
    secret_wipe(w->ev_ppp.buf, w->ev_ppp.len); /* passwords and keys passed through */
    evq_reset(&w->ev_sstp);
    evq_reset(&w->ev_ppp);
}

void call_control_packet(struct call *k, struct rd whole)
{
    take_front(k);
    machine_error(k, sstp_server_control(&k->sstp, whole, net_now(&k->c->w->loop), &k->c->w->ev_sstp));
    pump(k);
}

void call_ppp_frame(struct call *k, struct rd frame)
{
    machine_error(k, ppp_link_input(k->ppp, frame, net_now(&k->c->w->loop), &k->c->w->ev_ppp));
    pump(k);
}

/* ---- time, hanging up, the end ---- */

static uint64_t deadline(const struct call *k)
{
    uint64_t d = sstp_server_deadline(&k->sstp), p = k->ended ? TIME_NEVER : ppp_link_deadline(k->ppp);
    d = p < d ? p : d;
    if (k->hangup && k->hangup_at && k->hangup_at < d)
        d = k->hangup_at;
    if (k->closing && k->close_at < d)
        d = k->close_at;
    uint64_t resume = call_resume_at(k);
    return resume < d ? resume : d;
}

static void expire(struct call *k)
{
    struct worker *w = k->c->w;
    uint64_t now = net_now(&w->loop);
    if (sstp_server_deadline(&k->sstp) <= now)
        machine_error(k, sstp_server_expire(&k->sstp, now, &w->ev_sstp));
    if (!k->ended && ppp_link_deadline(k->ppp) <= now)
        machine_error(k, ppp_link_expire(k->ppp, now, &w->ev_ppp));
    pump(k);
    if (k->hangup && k->hangup_at && k->hangup_at <= now) {
        k->hangup_at = 0;
        machine_error(k, sstp_server_disconnect(&k->sstp, now, &w->ev_sstp));
        pump(k);
    }
    call_resume(k, now);
    if (k->closing && k->close_at <= now)
        k->broken = true;
}

static void close_call(struct call *k)
{
    struct conn *c = k->c;
    struct worker *w = c->w;
    if (!k->broken) {
        int rc = tls_stream_shutdown(c->tls);
        (void)rc; /* the client may be gone already */
    }
    secret_wipe(w->ev_ppp.buf, w->ev_ppp.len);
    evq_reset(&w->ev_sstp);
    evq_reset(&w->ev_ppp);
    call_free(k);
    conn_free(c);
}

void call_settle(struct call *k)
{
    struct worker *w = k->c->w;
    if (!k->broken)
        expire(k);
    if (!k->broken && !k->blocked && tunnel_owes(&k->stream))
        call_flush(k);
    if (k->broken || (k->closing && !tunnel_owes(&k->stream))) {
        close_call(k);
        return;
    }
    uint64_t at = deadline(k);
    if (!k->c->timer.pos || k->c->timer.deadline_ms > at)
        if (net_timer_set(&w->loop, &k->c->timer, at)) {
            k->broken = true;
            close_call(k);
        }
}

void call_io(struct call *k, int events)
{
    if (events & NET_WRITE)
        call_flush(k);
    if (!k->broken && (events & NET_READ || k->tls_writes)) {
        if (k->up)
            call_again(k);
        else
            call_receive(k);
    }
    call_settle(k);
}

void call_hangup(struct call *k, const char *cause, const char *reason)
{
    struct worker *w = k->c->w;
    uint64_t now = net_now(&w->loop);
    if (k->hangup || k->ended)
        return;
    set_end(k, cause, reason);
    k->hangup = true;
    k->hangup_at = now + HANGUP_PPP_MS;
    machine_error(k, ppp_link_terminate(k->ppp, reason, now, &w->ev_ppp));
}

void call_start(struct conn *c, const void *answer, size_t answer_len, struct rd early)
{
    struct worker *w = c->w;
    struct call *k = calloc(1, sizeof *k);
    uint64_t now = net_now(&w->loop);
    if (k)
        k->ppp = ppp_link_new(&c->gen->ppp, w->rng);
    if (!k || !k->ppp) {
        free(k);
        atomic_fetch_sub(&w->engine->n_calls, 1);
        conn_free(c);
        return;
    }
    k->c = c;
    c->call = k;
    w->n_calls++;
    k->started_ms = now;
    k->leaf.known = SSTP_HASH_SHA1 | SSTP_HASH_SHA256;
    tls_stream_leaf_hashes(c->tls, k->leaf.sha1, k->leaf.sha256);
    sstp_server_init(&k->sstp, &c->gen->sstp, &k->leaf, 1, w->rng, now);
    take_front(k);
    k->sstp.call.log = &c->log;
    k->stream = (struct tunnel_stream){ .bufs = &w->bufs, .tls = c->tls, .alone = answer_len, .secrets = true };
    call_queue(k, answer, answer_len);
    call_flush(k);
    /* SSTP may come with the request, though it should not (MS-SSTP 3.2.4.1). At most HTTP_HEAD_MAX bytes. */
    size_t n = rd_left(&early);
    if (n && !k->broken)
        call_early(k, early);
    call_receive(k);
    call_settle(k);
}

void call_free(struct call *k)
{
    struct conn *c = k->c;
    struct worker *w = c->w;
    ip4_set(k, false);
    ip6_down(k);
    log_end(k);
    if (k->ip4) {
        w->by_slot[pool_slot(&w->engine->pool, k->ip4)] = NULL;
        pool_give(&w->engine->pool, k->ip4);
    }
    call_off_lists(k);
    tunnel_stream_fini(&k->stream);
    shaper_fini(&k->shaper);
    rates_put(&w->engine->rates, k->rates);
    ppp_link_free(k->ppp);
    sstp_server_fini(&k->sstp);
    w->n_calls--;
    atomic_fetch_sub(&w->engine->n_calls, 1);
    c->call = NULL;
    free(k);
}
