#include "client/dial.h"
#include "client/request.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/ct.h"
#include "client/outside.h"

#define RESOLVE_MS  20000
#define PROXY_MS    30000
#define TLS_MS      20000
#define HTTP_MS     60000 /* MS-SSTP 4.1 */
#define INTERIM_MAX 4     /* answers of 1xx ahead of the real one */
#define LOGINS_MAX  2     /* with a password: the second one answers "stale" */

static bool by_proxy(const struct dial *d)
{
    return d->cfg->proxy.host[0];
}

/* ---- ends ---- */

static void put_down(struct dial *d)
{
    race_cancel(&d->race);
    net_timer_cancel(d->loop, &d->timer);
    tls_stream_free(d->line.tls);
    d->line.tls = NULL;
    net_fd_close(d->line.nf);
    d->line.nf = NULL;
    secret_wipe(d->out, sizeof d->out);
    secret_wipe(d->proxy_auth, sizeof d->proxy_auth);
    d->stage = DIAL_IDLE;
}

void dial_cancel(struct dial *d)
{
    if (d->stage != DIAL_IDLE)
        put_down(d);
}

static bool try_next(struct dial *d, const struct client_end *why);

static void fail_with(struct dial *d, const struct client_end *why)
{
    if (try_next(d, why))
        return;
    put_down(d);
    /* What an address said that did answer tells more than that the others do not. */
    struct client_end end = d->let_down ? d->first : *why;
    d->ops.done(d->ops.arg, &end);
}

__attribute__((format(printf, 3, 4))) static void fail(struct dial *d, enum client_cause cause, const char *fmt, ...)
{
    struct client_end why;
    char text[sizeof why.text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    client_end_set(&why, cause, "%s", text);
    fail_with(d, &why);
}

/* ---- stages ---- */

static void enter(struct dial *d, enum dial_stage stage, uint64_t limit_ms)
{
    d->stage = stage;
    d->begun_ms = net_now(d->loop);
    if (net_timer_set(d->loop, &d->timer, limit_ms == TIME_NEVER ? TIME_NEVER : d->begun_ms + limit_ms))
        fail(d, CLIENT_INTERNAL, "out of memory");
}

__attribute__((format(printf, 3, 4))) static void step(struct dial *d, const char *name, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (unsigned char *c = (unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c >= 0x7f)
            *c = '?';
    d->ops.step(d->ops.arg, name, text, net_now(d->loop) - d->begun_ms);
}

static void no_answer(struct dial *d, enum client_cause cause, const char *why);

static void on_timer(struct timer_entry *e, uint64_t now_ms)
{
    struct dial *d = (struct dial *)(void *)((char *)e - offsetof(struct dial, timer));
    (void)now_ms;
    switch (d->stage) {
    case DIAL_IDLE:
    case DIAL_TCP: return; /* the race has a limit of its own */
    case DIAL_RESOLVE: no_answer(d, CLIENT_RESOLVE, "no answer in time"); return;
    case DIAL_PROXY: fail(d, CLIENT_PROXY_DOWN, "no answer to CONNECT in %d s", PROXY_MS / 1000); return;
    case DIAL_TLS: fail(d, CLIENT_TLS, "no TLS handshake in %d s", TLS_MS / 1000); return;
    case DIAL_HTTP: fail(d, CLIENT_HTTP_TIMEOUT, "no answer in %d s", HTTP_MS / 1000); return;
    }
}

static void on_line(void *arg, int events);

/* ---- TCP ---- */

static void begin_proxy(struct dial *d);
static void begin_tls(struct dial *d);

static void on_race(void *arg, int fd, const union race_addr *at, int error)
{
    struct dial *d = arg;
    char text[64];
    if (fd < 0) {
        fail(d, by_proxy(d) ? CLIENT_PROXY_DOWN : CLIENT_UNREACHABLE, "%s%s:%u: %s", by_proxy(d) ? "proxy " : "",
             by_proxy(d) ? d->cfg->proxy.host : d->cfg->server.host,
             by_proxy(d) ? d->cfg->proxy.port : d->cfg->server.port, strerrordesc_np(error));
        return;
    }
    d->line.to = *at;
    d->line.nf = net_fd_new(d->loop, fd, on_line, d);
    if (!d->line.nf) {
        fail(d, CLIENT_INTERNAL, "out of memory");
        return;
    }
    race_addr_text(at, text, sizeof text);
    step(d, "tcp", "%s%s", by_proxy(d) ? "proxy " : "", text);
    if (by_proxy(d))
        begin_proxy(d);
    else
        begin_tls(d);
}

static void begin_race(struct dial *d, const union race_addr *addr, size_t n)
{
    if (addr != d->left)
        memcpy(d->left, addr, n * sizeof *addr);
    d->n_left = n;
    enter(d, DIAL_TCP, TIME_NEVER);
    if (d->stage != DIAL_TCP)
        return;
    if (race_start(&d->race, d->loop, addr, n, on_race, d))
        fail(d, CLIENT_INTERNAL, "out of memory");
}

/*
 * Whoever accepts a connection first need not be an SSTP server: when it fails behind TCP, the other addresses have
 * their turn. Each is verified by itself.
 */
static bool try_next(struct dial *d, const struct client_end *why)
{
    size_t kept = 0;
    if (by_proxy(d) || (d->stage != DIAL_TLS && d->stage != DIAL_HTTP) || why->cause == CLIENT_INTERNAL)
        return false;
    if (!d->let_down)
        d->first = *why;
    d->let_down = true;
    for (size_t i = 0; i < d->n_left; i++)
        if (!outside_same_ip(&d->left[i], &d->line.to))
            d->left[kept++] = d->left[i];
    d->n_left = kept < d->n_left ? kept : 0;
    if (!d->n_left)
        return false;
    step(d, d->stage == DIAL_TLS ? "tls" : "http", "%s; another address is tried", why->text);
    put_down(d);
    begin_race(d, d->left, d->n_left);
    return true;
}

/* ---- the name ---- */

static bool is_literal(const struct http_url *u)
{
    return u->ip4 || u->ip6;
}

static bool literal(const struct http_url *u, union race_addr *out)
{
    memset(out, 0, sizeof *out);
    out->in6.sin6_port = htons(u->port); /* the same place in both */
    out->sa.sa_family = u->ip6 ? AF_INET6 : AF_INET;
    return inet_pton(out->sa.sa_family, u->host, u->ip6 ? (void *)&out->in6.sin6_addr : (void *)&out->in.sin_addr) == 1;
}

static const struct http_url *target(const struct dial *d)
{
    return by_proxy(d) ? &d->cfg->proxy : &d->cfg->server;
}

/* The addresses of the dial before, if it was for that name; a network that has just changed may have no DNS yet. */
static void no_answer(struct dial *d, enum client_cause cause, const char *why)
{
    const char *host = target(d)->host;
    if (!d->known.n || strcmp(d->known.host, host) != 0) {
        fail(d, cause, "%s: %s", host, why);
        return;
    }
    step(d, "resolve", "%s: %s; the addresses of before are tried", host, why);
    begin_race(d, d->known.addr, d->known.n);
}

/* That process speaks to strangers: it sends us to no other kind of socket. */
static bool sane(const struct resolver_answer *a)
{
    if (a->n > RACE_MAX)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (a->addr[i].sa.sa_family != AF_INET && a->addr[i].sa.sa_family != AF_INET6)
            return false;
    return true;
}

static void on_resolver(void *arg, int events)
{
    struct dial *d = arg;
    struct resolver_answer a;
    (void)events;
    ssize_t n = recv(net_fd_num(d->resolver), &a, sizeof a, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n != (ssize_t)sizeof a || !sane(&a)) {
        net_fd_want(d->resolver, 0);
        if (d->stage == DIAL_RESOLVE)
            no_answer(d, CLIENT_INTERNAL, "the resolver's process is gone");
        return;
    }
    const struct http_url *u = target(d);
    a.host[sizeof a.host - 1] = a.why[sizeof a.why - 1] = 0;
    /* Of a dial that was given up: its addresses are welcome, its failure may be the old network's. */
    if (d->stage != DIAL_RESOLVE || strcmp(a.host, u->host) != 0 || (!a.n && a.id != d->asked))
        return;
    if (!a.n) {
        no_answer(d, CLIENT_RESOLVE, a.why);
        return;
    }
    snprintf(d->known.host, sizeof d->known.host, "%s", a.host);
    memcpy(d->known.addr, a.addr, a.n * sizeof a.addr[0]);
    d->known.n = a.n;
    step(d, "resolve", "%s: %u address%s", u->host, a.n, a.n == 1 ? "" : "es");
    begin_race(d, d->known.addr, d->known.n);
}

/* Begins anew, to where TCP has to go; for a proxy's second try too. */
static void begin(struct dial *d)
{
    const struct http_url *u = target(d);
    if (is_literal(u)) {
        union race_addr a;
        if (literal(u, &a))
            begin_race(d, &a, 1);
        else
            fail(d, CLIENT_RESOLVE, "%s is no address", u->host);
        return;
    }
    struct resolver_ask ask = { .port = u->port, .id = ++d->asked };
    snprintf(ask.host, sizeof ask.host, "%s", u->host);
    enter(d, DIAL_RESOLVE, RESOLVE_MS);
    if (d->stage != DIAL_RESOLVE)
        return;
    net_fd_want(d->resolver, NET_READ);
    if (send(net_fd_num(d->resolver), &ask, sizeof ask, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)sizeof ask)
        no_answer(d, CLIENT_INTERNAL, "the resolver's process is gone");
}

/* ---- the web proxy ---- */

static void begin_proxy(struct dial *d)
{
    char to[300];
    http_url_authority(&d->cfg->server, to, sizeof to);
    enter(d, DIAL_PROXY, PROXY_MS);
    if (d->stage != DIAL_PROXY)
        return;
    /* MS-SSTP 4.5: the header lets an administrator tell such calls from others. */
    int n = snprintf(d->out, sizeof d->out, "CONNECT %s HTTP/1.1\r\nHost: %s\r\nSSTPVERSION: 1.0\r\n%s%s%s\r\n", to, to,
                     d->proxy_auth[0] ? "Proxy-Authorization: " : "", d->proxy_auth, d->proxy_auth[0] ? "\r\n" : "");
    if (n < 0 || (size_t)n >= sizeof d->out) {
        fail(d, CLIENT_PROXY_LOGIN, "the login is too long");
        return;
    }
    d->out_len = (size_t)n;
    d->out_done = 0;
    d->in_len = 0;
    d->interim = 0;
    http_answer_init(&d->answer);
    net_fd_want(d->line.nf, NET_WRITE);
}

/* 407: once more on a new connection, with what the challenge asks for. */
static void proxy_login(struct dial *d)
{
    char offered[128];
    unsigned char cnonce[16];
    enum http_scheme scheme;
    bool stale;
    char to[300];
    http_schemes(&d->answer, offered, sizeof offered);
    if (!d->cfg->proxy_login.user) {
        fail(d, CLIENT_PROXY_LOGIN, "proxy %s: 407 %s: it wants a login (%s)", d->cfg->proxy.host, d->answer.reason,
             offered);
        return;
    }
    http_url_authority(&d->cfg->server, to, sizeof to);
    rng_fill(&d->rng, cnonce, sizeof cnonce);
    int rc = http_authenticate(&d->answer, &d->cfg->proxy_login, "CONNECT", to, cnonce, d->proxy_auth,
                               sizeof d->proxy_auth, &scheme, &stale);
    if (rc == ERR_PEER) {
        fail(d, CLIENT_PROXY_LOGIN, "proxy %s offers %s: only Basic and Digest are known here", d->cfg->proxy.host,
             offered);
    } else if (rc == ERR_USAGE || rc == ERR_LIMIT) {
        fail(d, CLIENT_PROXY_LOGIN, "proxy %s (%s): %s", d->cfg->proxy.host, offered,
             rc == ERR_USAGE ? "the user name or password holds what this login cannot carry"
                             : "its challenge is too long");
    } else if (rc) {
        fail(d, CLIENT_INTERNAL, "the proxy's challenge cannot be answered");
    } else if (d->logins && !(stale && d->logins < LOGINS_MAX)) {
        fail(d, CLIENT_PROXY_LOGIN, "proxy %s refuses user and password (%s)", d->cfg->proxy.host, offered);
    } else {
        d->logins++;
        net_fd_close(d->line.nf);
        d->line.nf = NULL;
        union race_addr to_proxy = d->line.to;
        begin_race(d, &to_proxy, 1);
    }
}

static void on_proxy_answer(struct dial *d)
{
    const struct http_answer *a = &d->answer;
    if (a->status >= 200 && a->status < 300) {
        step(d, "proxy", "CONNECT accepted%s", d->logins ? ", logged in" : "");
        secret_wipe(d->proxy_auth, sizeof d->proxy_auth);
        secret_wipe(d->out, sizeof d->out);
        begin_tls(d);
    } else if (a->status == 407) {
        proxy_login(d);
    } else if (a->status >= 500) {
        fail(d, CLIENT_PROXY_DOWN, "proxy %s cannot reach the server: %d %s", d->cfg->proxy.host, a->status, a->reason);
    } else {
        fail(d, CLIENT_PROXY_REFUSED, "proxy %s answers CONNECT with %d %s", d->cfg->proxy.host, a->status, a->reason);
    }
}

/* Interim answers (RFC 9110 15.2) are stepped over, a few of them. */
static bool interim(struct dial *d)
{
    if (d->answer.status >= 200 || d->interim == INTERIM_MAX)
        return false;
    d->interim++;
    d->in_len -= d->answer.head_len;
    memmove(d->in, d->in + d->answer.head_len, d->in_len);
    http_answer_init(&d->answer);
    return true;
}

/* Reads no further than the end of the head: what comes behind it belongs to TLS. */
static void proxy_read(struct dial *d)
{
    uint8_t *at = d->in + d->in_len;
    ssize_t n = recv(net_fd_num(d->line.nf), at, sizeof d->in - d->in_len, MSG_PEEK);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        fail(d, CLIENT_PROXY_REFUSED, "proxy %s closed the connection: %s", d->cfg->proxy.host,
             n ? strerrordesc_np(errno) : "no answer to CONNECT");
        return;
    }
    enum http_answer_verdict v = http_answer_input(&d->answer, rd_make(d->in, d->in_len + (size_t)n));
    if (v == HTTP_ANSWER_DONE)
        n = (ssize_t)(d->answer.head_len - d->in_len);
    if (recv(net_fd_num(d->line.nf), at, (size_t)n, 0) != n)
        v = HTTP_ANSWER_BAD;
    d->in_len += (size_t)n;
    if (v == HTTP_ANSWER_BAD || (v == HTTP_ANSWER_MORE && d->in_len == sizeof d->in))
        fail(d, CLIENT_PROXY_REFUSED, "proxy %s does not answer in HTTP: %s", d->cfg->proxy.host,
             d->answer.why ? d->answer.why : "its answer is too long");
    else if (v == HTTP_ANSWER_DONE && !interim(d)) /* what follows one is still in the socket */
        on_proxy_answer(d);
}

static void proxy_io(struct dial *d, int events)
{
    if (d->out_done < d->out_len && (events & NET_WRITE)) {
        ssize_t n = send(net_fd_num(d->line.nf), d->out + d->out_done, d->out_len - d->out_done, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            fail(d, CLIENT_PROXY_DOWN, "proxy %s: %s", d->cfg->proxy.host, strerrordesc_np(errno));
            return;
        }
        d->out_done += n > 0 ? (size_t)n : 0;
    }
    net_fd_want(d->line.nf, d->out_done < d->out_len ? NET_WRITE : NET_READ);
    if (events & NET_READ)
        proxy_read(d);
}

/* ---- TLS ---- */

static void tls_io(struct dial *d);

static void begin_tls(struct dial *d)
{
    enter(d, DIAL_TLS, TLS_MS);
    if (d->stage != DIAL_TLS)
        return;
    d->line.tls =
        tls_stream_new_client(d->cfg->tls, net_fd_num(d->line.nf), d->cfg->server.host, !is_literal(&d->cfg->server));
    if (!d->line.tls)
        fail(d, CLIENT_INTERNAL, "out of memory");
    else
        tls_io(d);
}

static void tls_failed(struct dial *d, int rc)
{
    struct client_end why;
    struct tls_verdict v;
    if (rc != ERR_AUTH) {
        fail(d, CLIENT_TLS, "%s: %s", d->cfg->server.host,
             rc == ERR_CLOSED ? "the connection was closed in the handshake" : tls_stream_error(d->line.tls));
        return;
    }
    tls_stream_verdict(d->line.tls, &v);
    client_end_set(&why, CLIENT_CERTIFICATE, "%s", v.text);
    if (v.fault == TLS_FAULT_USAGE)
        why.ras = "RasSstp 16";
    fail_with(d, &why);
}

static void http_io(struct dial *d);

static void begin_http(struct dial *d)
{
    struct tls_verdict v;
    tls_stream_verdict(d->line.tls, &v);
    step(d, "tls", "%s %s, certificate %s%s", tls_stream_version(d->line.tls), tls_stream_cipher(d->line.tls),
         v.fault == TLS_FAULT_NONE ? v.pinned ? "pinned" : "good" : "NOT VERIFIED: ",
         v.fault == TLS_FAULT_NONE ? "" : v.text);
    enter(d, DIAL_HTTP, HTTP_MS);
    if (d->stage != DIAL_HTTP)
        return;
    d->out_len = request_write(d->out, sizeof d->out, &d->cfg->server, &d->rng);
    d->out_done = d->in_len = 0;
    d->interim = 0;
    http_answer_init(&d->answer);
    http_io(d);
}

static void tls_io(struct dial *d)
{
    int rc = tls_stream_handshake(d->line.tls);
    if (rc == ERR_AGAIN)
        net_fd_want(d->line.nf, tls_stream_wants(d->line.tls));
    else if (rc)
        tls_failed(d, rc);
    else
        begin_http(d);
}

/* ---- the SSTP request ---- */

static void on_answer(struct dial *d)
{
    struct client_end why;
    if (!request_answer_good(&d->answer, &why)) {
        fail_with(d, &why);
        return;
    }
    step(d, "http", "200%s%s", d->answer.server[0] ? ", server " : "", d->answer.server);
    net_timer_cancel(d->loop, &d->timer);
    d->line.early_len = d->in_len - d->answer.head_len;
    memcpy(d->line.early, d->in + d->answer.head_len, d->line.early_len);
    net_fd_want(d->line.nf, 0);
    d->stage = DIAL_IDLE;
    d->ops.done(d->ops.arg, NULL);
}

static enum http_answer_verdict judge_input(struct dial *d)
{
    enum http_answer_verdict v;
    do
        v = http_answer_input(&d->answer, rd_make(d->in, d->in_len));
    while (v == HTTP_ANSWER_DONE && interim(d));
    return v;
}

static void http_io(struct dial *d)
{
    size_t n = 0;
    int rc = 0;
    while (!rc && d->out_done < d->out_len) {
        rc = tls_stream_write(d->line.tls, d->out + d->out_done, d->out_len - d->out_done, &n);
        d->out_done += rc ? 0 : n;
    }
    while (!rc) {
        rc = tls_stream_read(d->line.tls, d->in + d->in_len, sizeof d->in - d->in_len, &n);
        if (rc)
            break;
        d->in_len += n;
        enum http_answer_verdict v = judge_input(d);
        if (v == HTTP_ANSWER_DONE) {
            on_answer(d);
            return;
        }
        if (v == HTTP_ANSWER_BAD || d->in_len == sizeof d->in) {
            struct client_end why;
            client_end_set(&why, CLIENT_HTTP, "what answers there speaks no HTTP: %s",
                           d->answer.why ? d->answer.why : "its answer is too long");
            why.ras = "RasSstp 3";
            fail_with(d, &why);
            return;
        }
    }
    if (rc == ERR_AGAIN) {
        net_fd_want(d->line.nf, tls_stream_wants(d->line.tls));
        return;
    }
    /* With TLS 1.3 a server's alert about our side comes only now. */
    if (d->in_len)
        fail(d, CLIENT_HTTP, "the connection ended within the answer");
    else
        fail(d, CLIENT_HTTP_TIMEOUT, "the connection was closed without an answer to the SSTP request");
}

static void on_line(void *arg, int events)
{
    struct dial *d = arg;
    switch (d->stage) {
    case DIAL_PROXY: proxy_io(d, events); return;
    case DIAL_TLS: tls_io(d); return;
    case DIAL_HTTP: http_io(d); return;
    case DIAL_IDLE:
    case DIAL_RESOLVE:
    case DIAL_TCP: return;
    }
}

/* ---- the face ---- */

int dial_init(struct dial *d, struct net_loop *loop, int resolver_fd, struct rng rng)
{
    *d = (struct dial){ .loop = loop, .rng = rng, .timer.fn = on_timer };
    d->resolver = net_fd_new(loop, resolver_fd, on_resolver, d);
    return d->resolver ? 0 : ERR_NOMEM;
}

void dial_fini(struct dial *d)
{
    if (!d->loop)
        return;
    put_down(d);
    net_fd_close(d->resolver);
    d->resolver = NULL;
}

void dial_start(struct dial *d, const struct dial_cfg *cfg, const struct dial_ops *ops)
{
    put_down(d);
    d->cfg = cfg;
    d->ops = *ops;
    d->logins = 0;
    d->let_down = false;
    begin(d);
}

void dial_take(struct dial *d, struct dial_line *out)
{
    *out = d->line;
    d->line = (struct dial_line){ 0 };
}
