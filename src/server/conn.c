#include "server/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/ct.h"
#include "server/call.h"
#include "server/intro.h"

#define LINGER_MS  2000
#define CONNECT_MS 10000

/* ---- limits and accounting ---- */

void conn_refuse(struct conn *c, const char *cause, const char *what, const char *text, const char *remedy)
{
    struct worker *w = c->w;
    w->counts.refused++;
    if (!log_allowed(&w->log_refused, 20, net_now(&w->loop)))
        return;
    log_notice(&c->log, "refused", what, LOG_S("cause", cause), LOG_S("text", text), LOG_S("remedy", remedy),
               LOG_NZ("dropped", w->log_refused.dropped));
    w->log_refused.dropped = 0;
}

static void source_is_web(struct conn *c)
{
    conn_authenticated(c);
    c->web = true;
    c->source->web++;
}

void conn_authenticated(struct conn *c)
{
    if (c->unauthenticated)
        c->source->unauthenticated--;
    c->unauthenticated = false;
}

/* ---- the end ---- */

void conn_free(struct conn *c)
{
    struct worker *w = c->w;
    handshakes_remove(&w->handshakes, c);
    net_timer_cancel(&w->loop, &c->timer);
    tls_stream_free(c->tls);
    net_fd_close(c->nf);
    free(c->head_buf);
    free(c->head);
    free(c->reply);
    if (c->source) {
        conn_authenticated(c);
        if (c->web)
            c->source->web--;
        worker_source_release(w, c->source);
    }
    generation_unref(c->gen);
    LIST_REMOVE(c, link);
    w->n_conns--;
    atomic_fetch_sub(&w->engine->n_conns, 1);
    free(c);
    worker_conn_gone(w);
}

void conn_stop(struct conn *c)
{
    if (c->relay)
        relay_stop(c->relay); /* frees the connection from relay_done() */
    else if (c->splice)
        splice_stop(c->splice); /* the same, from splice_done() */
    else if (!c->call)
        conn_free(c);
}

void conn_timer(struct conn *c, uint64_t ms)
{
    if (net_timer_set(&c->w->loop, &c->timer, net_now(&c->w->loop) + ms))
        c->timer.deadline_ms = 0; /* no memory for a timer: the next I/O or stop ends it */
}

uint64_t conn_handshake_ms(const struct conn *c)
{
    return (uint64_t)c->gen->cfg->limits.handshake_timeout_s * 1000;
}

uint64_t conn_intro_end(const struct conn *c)
{
    return c->accepted_ms + conn_handshake_ms(c);
}

/* ---- short answers ---- */

static void reply_io(struct conn *c)
{
    while (c->reply_off < c->reply_len) {
        size_t n = 0;
        int rc = tls_stream_write(c->tls, c->reply + c->reply_off, c->reply_len - c->reply_off, &n);
        if (rc == ERR_AGAIN) {
            net_fd_want(c->nf, tls_stream_wants(c->tls));
            return;
        }
        if (rc) {
            conn_free(c);
            return;
        }
        c->reply_off += n;
    }
    /* A reset would throw the answer away: end our side, then wait a little for the client to end its own. */
    int rc = tls_stream_shutdown(c->tls);
    (void)rc;
    shutdown(net_fd_num(c->nf), SHUT_WR);
    c->state = CONN_LINGER;
    net_fd_want(c->nf, NET_READ);
    conn_timer(c, LINGER_MS);
}

static void linger_io(struct conn *c)
{
    char sink[4096];
    ssize_t n = recv(net_fd_num(c->nf), sink, sizeof sink, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        conn_free(c);
}

static void reply(struct conn *c, int status, const char *body)
{
    char text[1024];
    bool head_only = c->head && strcmp(c->head->method, "HEAD") == 0;
    size_t n = http_error_reply(text, sizeof text, status, (int64_t)time(NULL), head_only ? NULL : body);
    c->reply = malloc(n ? n : 1);
    if (!c->reply || !n) {
        conn_free(c);
        return;
    }
    memcpy(c->reply, text, n);
    c->reply_len = n;
    c->state = CONN_REPLY;
    conn_timer(c, LINGER_MS);
    reply_io(c);
}

/* ---- verdicts ---- */

static void upstream_down(struct conn *c, int error)
{
    bool pass = c->state == CONN_SPLICE;
    struct log_limit *limit = &c->w->log_web;
    if (!log_allowed(limit, 5, net_now(&c->w->loop)))
        return;
    log_warn(&c->log, "upstream-down",
             pass ? "the server that ends TLS for this name cannot be reached: the client was closed"
                  : "the web server cannot be reached: the client got a 502 page",
             LOG_S("upstream", c->upstream), LOG_S("reason", error ? strerror(error) : "timed out"),
             LOG_NZ("dropped", limit->dropped),
             LOG_S("remedy", pass ? "start that server, or correct passthrough.upstream"
                                  : "start the web server, or correct web.upstream"));
    limit->dropped = 0;
}

static void relay_done(void *arg, const struct relay_result *r)
{
    struct conn *c = arg;
    c->relay = NULL;
    c->tls = NULL;
    c->nf = NULL;
    c->w->n_relays--;
    if (r->end == RELAY_UPSTREAM_DOWN)
        upstream_down(c, r->error);
    else
        log_info(&c->log, "web-done", "web connection ended", LOG_S("how", relay_end_name(r->end)), LOG_N("up", r->up),
                 LOG_N("down", r->down), LOG_S("reason", r->error ? strerror(r->error) : ""));
    conn_free(c);
}

/* A web connection more of this source, or one too many. */
static bool admit_web(struct conn *c)
{
    const struct config *cfg = c->gen->cfg;
    if (!c->shared_source && c->source->web >= (unsigned)cfg->limits.web_per_source) {
        conn_refuse(c, "web-limit", "too many web connections from this address", NULL, "raise limits.web-per-source");
        conn_free(c);
        return false;
    }
    source_is_web(c);
    net_timer_cancel(&c->w->loop, &c->timer);
    c->w->counts.web++;
    c->w->n_relays++;
    return true;
}

static void to_web(struct conn *c, bool h2)
{
    const struct generation_web *site = generation_site(c->gen, tls_stream_sni(c->tls));
    const struct config *cfg = c->gen->cfg;
    if (!admit_web(c))
        return;
    const struct config_addr *up = h2 ? &site->cfg->upstream_h2 : &site->upstream;
    c->upstream = up->text ? up->text : "the built-in site";
    struct relay_params p = { .upstream = &up->u.sa,
                              .upstream_len = up->len,
                              .proxy = site->cfg->upstream.len ? site->cfg->proxy_protocol : PROXY_OFF,
                              .addr = c->addr,
                              .early = c->head_buf,
                              .early_len = c->head_len,
                              .h2 = h2,
                              .idle_ms = (uint64_t)cfg->limits.idle_timeout_s * 1000,
                              .connect_ms = CONNECT_MS,
                              .done = relay_done,
                              .arg = c };
    c->state = CONN_RELAY;
    struct tls_stream *tls = c->tls;
    struct net_fd *nf = c->nf;
    uint8_t *early = c->head_buf;
    free(c->head);
    c->head = NULL;
    c->head_buf = NULL;
    c->tls = NULL;
    c->nf = NULL;
    c->relay = relay_start(&c->w->loop, tls, nf, &p);
    free(early);
    if (!c->relay) {
        c->w->n_relays--;
        conn_free(c);
    }
}

static void splice_done(void *arg, const struct relay_result *r)
{
    struct conn *c = arg;
    c->splice = NULL;
    c->nf = NULL;
    c->w->n_relays--;
    if (r->end == RELAY_UPSTREAM_DOWN)
        upstream_down(c, r->error);
    else
        log_info(&c->log, "passthrough-done", "passed-through connection ended", LOG_S("how", relay_end_name(r->end)),
                 LOG_N("up", r->up), LOG_N("down", r->down), LOG_S("reason", r->error ? strerror(r->error) : ""));
    conn_free(c);
}

void conn_begin_passthrough(struct conn *c, const struct config_pass *pass)
{
    const struct config *cfg = c->gen->cfg;
    if (!admit_web(c))
        return;
    c->state = CONN_SPLICE;
    c->upstream = pass->upstream.text;
    log_info(&c->log, "passthrough", "TLS for this name is ended by another server", LOG_S("name", pass->name),
             LOG_S("upstream", c->upstream));
    struct relay_params p = { .upstream = &pass->upstream.u.sa,
                              .upstream_len = pass->upstream.len,
                              .proxy = pass->proxy_protocol,
                              .addr = c->addr,
                              .idle_ms = (uint64_t)cfg->limits.idle_timeout_s * 1000,
                              .connect_ms = CONNECT_MS,
                              .done = splice_done,
                              .arg = c };
    struct net_fd *nf = c->nf;
    c->nf = NULL;
    c->splice = splice_start(&c->w->loop, c->w->pipes, nf, &p);
    if (!c->splice) {
        c->w->n_relays--;
        conn_free(c);
    }
}

static void refuse_sstp(struct conn *c, int status, const char *cause, const char *why, const char *remedy)
{
    conn_refuse(c, cause, why, NULL, remedy);
    reply(c, status, "");
}

static void to_call(struct conn *c)
{
    struct engine *e = c->w->engine;
    const struct config *cfg = c->gen->cfg;
    snprintf(c->log.corr, sizeof c->log.corr, "%s", c->head->corr);
    if (!cfg->vpn_on) {
        refuse_sstp(c, 400, "vpn-off", "an SSTP call came, but the VPN is off",
                    "add a vpn section to the configuration");
        return;
    }
    if (c->w->draining) {
        refuse_sstp(c, 503, "draining", "an SSTP call came while draining",
                    "dial another server, or `gatehouse drain --off`");
        return;
    }
    if (atomic_fetch_add(&e->n_calls, 1) >= (unsigned)cfg->vpn.max_calls) {
        atomic_fetch_sub(&e->n_calls, 1);
        refuse_sstp(c, 503, "call-limit", "all calls are taken", "raise vpn.max-calls");
        return;
    }
    char answer[512];
    size_t n = http_sstp_accept(answer, sizeof answer, (int64_t)time(NULL));
    log_info(&c->log, "call-request", "SSTP request accepted", LOG_S("host", c->head->host),
             LOG_S("tls", tls_stream_version(c->tls)), LOG_S("cipher", tls_stream_cipher(c->tls)),
             LOG_S("sni", tls_stream_sni(c->tls)));
    struct rd early = rd_make(c->head_buf + c->head->head_len, c->head_len - c->head->head_len);
    uint8_t *held = c->head_buf;
    c->head_buf = NULL;
    free(c->head);
    c->head = NULL;
    c->state = CONN_CALL;
    net_timer_cancel(&c->w->loop, &c->timer);
    call_start(c, answer, n, early);
    secret_free(held, HTTP_HEAD_MAX + 1);
}

static void to_probe(struct conn *c)
{
    const struct config *cfg = c->gen->cfg;
    log_info(&c->log, "probe", "a request that is not a call on the SSTP URI", LOG_S("method", c->head->method));
    if (!cfg->vpn_on)
        reply(c, 400, "");
    else if (c->w->draining)
        reply(c, 503, "");
    else if (cfg->vpn.probe_answer == CONFIG_PROBE_WEB)
        to_web(c, false);
    else
        reply(c, cfg->vpn.probe_answer == CONFIG_PROBE_404 ? 404 : 401, "");
}

/* A front that offered h2 in our place hands it on without TLS (RFC 9113 3.4), if that site can take it. */
static bool is_h2_preface(const struct conn *c)
{
    static const char preface[] = "PRI * HTTP/2.0";
    size_t n = c->head_len < sizeof preface - 1 ? c->head_len : sizeof preface - 1;
    return n >= 5 && !memcmp(c->head_buf, preface, n) &&
           generation_site(c->gen, tls_stream_sni(c->tls))->cfg->upstream_h2.len;
}

/* c may be gone afterwards, unless it is HTTP_MORE. */
static void act_on(struct conn *c, enum http_verdict verdict)
{
    switch (verdict) {
    case HTTP_MORE: return;
    case HTTP_WEB: to_web(c, c->front && is_h2_preface(c)); return;
    case HTTP_SSTP: to_call(c); return;
    case HTTP_PROBE: to_probe(c); return;
    case HTTP_BAD:
        conn_refuse(c, "bad-request", "a request that cannot be served", c->head->why,
                    "no SSTP client and no browser sends this: a scanner, a faulty client, or a proxy that rewrites "
                    "requests");
        /* 414 may be anybody's; the rest is about the SSTP URI, which is not there without a VPN. */
        reply(c, c->gen->cfg->vpn_on || c->head->status == 414 ? c->head->status : 400, "");
        return;
    }
}

/* ---- states ---- */

/*
 * A client that does not trust the certificate often says so by leaving right after the handshake. So do browsers that
 * connected in advance: a few lines a second are enough.
 */
static void left_early(struct conn *c)
{
    struct log_limit *limit = &c->w->log_left;
    if (c->front && !c->head_len)
        return; /* a front that looks whether we are there */
    if (!log_allowed(limit, 2, net_now(&c->w->loop)))
        return;
    log_notice(
        &c->log, "closed-early", "the client finished TLS and left without a whole request",
        LOG_S("reason", tls_stream_error(c->tls)), LOG_S("sni", tls_stream_sni(c->tls)),
        LOG_NZ("dropped", limit->dropped),
        LOG_S("remedy",
              "harmless from a browser; a VPN client may not trust the certificate: issuer, name, or revocation"));
    limit->dropped = 0;
}

static void head_io(struct conn *c)
{
    for (;;) {
        size_t n = 0, room = HTTP_HEAD_MAX + 1 - c->head_len;
        int rc = room ? tls_stream_read(c->tls, c->head_buf + c->head_len, room, &n) : ERR_LIMIT;
        if (rc == ERR_AGAIN) {
            net_fd_want(c->nf, tls_stream_wants(c->tls));
            return;
        }
        if (rc) {
            left_early(c);
            conn_free(c);
            return;
        }
        c->head_len += n;
        enum http_verdict verdict = http_head_input(c->head, rd_make(c->head_buf, c->head_len));
        act_on(c, verdict);
        if (verdict != HTTP_MORE)
            return;
    }
}

static void handshake_done(struct conn *c)
{
    if (tls_stream_h2(c->tls)) {
        to_web(c, true);
        return;
    }
    c->head_buf = malloc(HTTP_HEAD_MAX + 1);
    c->head = malloc(sizeof *c->head);
    if (!c->head_buf || !c->head) {
        conn_free(c);
        return;
    }
    http_head_init(c->head);
    c->state = CONN_HEAD;
    conn_timer(c, (uint64_t)c->gen->cfg->limits.head_timeout_s * 1000);
    head_io(c);
}

static void handshake_failed(struct conn *c)
{
    struct worker *w = c->w;
    w->counts.tls_failed++;
    if (log_allowed(&w->log_tls, 20, net_now(&w->loop))) {
        const char *why = tls_stream_error(c->tls);
        bool http = strstr(why, "http request") != NULL;
        log_notice(
            &c->log, "tls-failed", "no TLS connection came about", LOG_S("reason", why),
            LOG_NZ("dropped", w->log_tls.dropped),
            LOG_S("remedy", http ? "the client spoke plain HTTP to the TLS port: use https://"
                                 : "see whether the client's TLS versions and ciphers are among tls.*, and whether it "
                                   "trusts the certificate"));
        w->log_tls.dropped = 0;
    }
    conn_free(c);
}

/* What TLS needs is made when the first byte is there: who sends none costs little. */
static bool handshake_begun(struct conn *c)
{
    struct tls_where where = { .family = c->addr.family, .port = c->addr.dst_port };
    memcpy(where.ip, c->addr.dst, sizeof where.ip);
    if (!c->tls)
        c->tls = tls_stream_new(c->gen->certs, net_fd_num(c->nf), &where);
    return c->tls;
}

void conn_refuse_handshake(struct conn *c)
{
    conn_refuse(c, "handshake-limit", "more TLS handshakes wait than can be done in time", NULL,
                "an attack, or everybody dials at once; limits.handshake-timeout, worker.threads, or an ECDSA "
                "certificate");
    conn_free(c);
}

static void handshake_io(struct conn *c)
{
    int rc = handshake_begun(c) ? tls_stream_handshake(c->tls) : ERR_NOMEM;
    if (rc == ERR_AGAIN)
        net_fd_want(c->nf, tls_stream_wants(c->tls));
    else if (!rc)
        handshake_done(c);
    else if (c->tls)
        handshake_failed(c);
    else
        conn_free(c);
}

void conn_step(struct conn *c)
{
    if (c->state == CONN_HANDSHAKE) {
        handshake_io(c);
    } else if (c->state == CONN_HEAD) {
        head_io(c);
    } else {
        net_fd_want(c->nf, NET_READ);
        call_io(c->call, NET_READ | NET_WRITE); /* who waited to be able to write waited in the list */
    }
}

static void on_io(void *arg, int events)
{
    struct conn *c = arg;
    struct handshakes *h = &c->w->handshakes;
    switch (c->state) {
    case CONN_PROXY: intro_proxy_io(c); return;
    case CONN_PEEK: intro_peek_io(c); return;
    case CONN_HANDSHAKE: handshakes_add(h, c); return;
    case CONN_HEAD: handshakes_add(h, c); return;
    case CONN_REPLY: reply_io(c); return;
    case CONN_LINGER: linger_io(c); return;
    case CONN_CALL:
        if (c->call->up && !c->queued)
            call_io(c->call, events);
        else
            handshakes_add(h, c);
        return;
    case CONN_RELAY:
    case CONN_SPLICE: return;
    }
}

static void on_timer(struct timer_entry *e, uint64_t now_ms)
{
    struct conn *c = (struct conn *)(void *)((char *)e - offsetof(struct conn, timer));
    struct worker *w = c->w;
    if (c->state == CONN_CALL) {
        call_settle(c->call);
        return;
    }
    if (c->paused && now_ms < conn_intro_end(c)) {
        on_io(c, NET_READ);
        return;
    }
    if (c->state <= CONN_HEAD) {
        const char *what = c->state == CONN_PROXY  ? "no PROXY header in time"
                           : c->state == CONN_HEAD ? "no complete request in time"
                                                   : "no TLS handshake in time";
        if (log_allowed(&w->log_tls, 20, net_now(&w->loop)))
            log_notice(&c->log, "timed-out", what,
                       LOG_S("remedy", "a scanner, or a slow path: limits.handshake-timeout, limits.head-timeout"));
    }
    conn_free(c);
}

/* ---- from intro.c ---- */

void conn_begin_tls(struct conn *c)
{
    c->state = CONN_HANDSHAKE;
    if (handshakes_full(&c->w->handshakes, conn_handshake_ms(c)))
        conn_refuse_handshake(c);
    else
        net_fd_want(c->nf, NET_READ);
}

void conn_begin_plain(struct conn *c, const char *authority)
{
    c->tls = tls_stream_new_plain(net_fd_num(c->nf), authority);
    if (c->tls)
        handshake_done(c);
    else
        conn_free(c);
}

struct conn *conn_new(struct worker *w, int fd)
{
    struct conn *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return NULL;
    }
    c->w = w;
    c->gen = generation_ref(w->gen);
    c->timer.fn = on_timer;
    c->accepted_ms = net_now(&w->loop);
    LIST_INSERT_HEAD(&w->conns, c, link);
    w->n_conns++;
    w->counts.accepted++;
    atomic_fetch_add(&w->engine->n_conns, 1);
    c->log.conn = atomic_fetch_add(&w->engine->next_conn, 1) + 1;
    c->nf = net_fd_new(&w->loop, fd, on_io, c);
    if (c->nf)
        return c;
    conn_free(c);
    return NULL;
}
