#include "client/probe.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/ct.h"
#include "client/dial.h"
#include "client/request.h"
#include "http/head.h"

#define CONNECT_MS 5000
#define STEP_MS    6000  /* a handshake, an answer */
#define SURVEY_MS  15000 /* SSTP, and LCP until the methods are known */
#define LOGIN_MS   30000 /* a whole call: the server may have to ask somebody about the password */
#define BYE_MS     8000  /* for the end of a call */
#define UP_MS      500   /* that a call stays up: the server may object to the binding */
#define SILENT_MAX 2     /* handshakes without a word, one after the other, until no more are tried */

/* All that older RouterOS speaks: TLS 1.2 with AES-CBC and SHA-1. */
#define CBC_CIPHERS                                                                                                    \
    "ECDHE-RSA-AES256-SHA:ECDHE-ECDSA-AES256-SHA:AES256-SHA:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA:AES128-SHA"

struct probe {
    const struct http_url *url;
    const struct probe_options *o;
    struct tls_client *tls[PROBE_VERSIONS]; /* one version alone */
    struct tls_client *any;                 /* TLS 1.2 and up, http/1.1 */
    struct tls_client *h2;                  /* the same, as a browser */
    struct tls_client *old;                 /* whatever it speaks */
    struct tls_client *cbc;                 /* TLS 1.2 with CBC_CIPHERS */
    unsigned silent;                        /* handshakes in a row that got no answer */
    struct tunnel_bufs bufs;
};

struct line { /* one connection */
    int fd;
    struct tls_stream *tls;
};

static uint64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static bool wait_for(int fd, int events, uint64_t until)
{
    uint64_t now = now_ms();
    struct pollfd p = { fd, (short)((events & NET_READ ? POLLIN : 0) | (events & NET_WRITE ? POLLOUT : 0)), 0 };
    return now < until && poll(&p, 1, (int)(until - now)) > 0;
}

static void say(const struct probe *p, const struct probe_address *a, const char *what)
{
    if (p->o->progress)
        p->o->progress(p->o->arg, a->text, what);
}

/* ---- TCP and TLS ---- */

static int tcp_open(const union race_addr *a)
{
    int one = 1, error = 0;
    socklen_t len = sizeof error;
    int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, &a->sa, a->sa.sa_family == AF_INET6 ? sizeof a->in6 : sizeof a->in) == 0)
        return fd;
    if (errno == EINPROGRESS) {
        if (!wait_for(fd, NET_WRITE, now_ms() + CONNECT_MS))
            errno = ETIMEDOUT;
        else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && !error)
            return fd;
        else
            errno = error ? error : errno;
    }
    error = errno;
    close(fd);
    errno = error;
    return -1;
}

static void line_close(struct line *l)
{
    if (l->tls) {
        int rc = tls_stream_shutdown(l->tls);
        (void)rc;
        tls_stream_free(l->tls);
    }
    if (l->fd >= 0)
        close(l->fd);
    *l = (struct line){ .fd = -1 };
}

static bool handshake(struct line *l, uint64_t until, char *error, size_t cap)
{
    int rc;
    while ((rc = tls_stream_handshake(l->tls)) == ERR_AGAIN)
        if (!wait_for(l->fd, tls_stream_wants(l->tls), until)) {
            snprintf(error, cap, "no answer in %d s", STEP_MS / 1000);
            return false;
        }
    if (rc)
        snprintf(error, cap, "%s", rc == ERR_CLOSED ? "closed" : tls_stream_error(l->tls));
    return rc == 0;
}

/* True when the handshake succeeded; else error says why not. */
static bool line_open(struct probe *p, const struct probe_address *a, struct tls_client *c, bool sni, struct line *l,
                      char *error, size_t cap)
{
    *l = (struct line){ .fd = -1 };
    if (p->silent >= SILENT_MAX) {
        snprintf(error, cap, "no answer before, so not asked again");
        return false;
    }
    l->fd = tcp_open(&a->addr);
    if (l->fd < 0) {
        snprintf(error, cap, "%s", strerrordesc_np(errno));
        p->silent += errno == ETIMEDOUT;
        return false;
    }
    uint64_t until = now_ms() + STEP_MS;
    l->tls = tls_stream_new_client(c, l->fd, p->url->host, sni);
    bool good = l->tls && handshake(l, until, error, cap);
    if (!l->tls)
        snprintf(error, cap, "out of memory");
    p->silent = !good && now_ms() >= until ? p->silent + 1 : 0;
    if (!good)
        line_close(l);
    return good;
}

/* As we are, and if that fails in the way that old age has, as old as the server likes. */
static bool line_open_any(struct probe *p, const struct probe_address *a, struct tls_client *c, bool sni,
                          struct line *l, char *error, size_t cap)
{
    return line_open(p, a, c, sni, l, error, cap) || (!p->silent && line_open(p, a, p->old, sni, l, error, cap));
}

static bool line_write(struct line *l, const char *data, size_t len, uint64_t until)
{
    size_t done = 0, n = 0;
    while (done < len) {
        int rc = tls_stream_write(l->tls, data + done, len - done, &n);
        if (rc == ERR_AGAIN && wait_for(l->fd, tls_stream_wants(l->tls), until))
            continue;
        if (rc)
            return false;
        done += n;
    }
    return true;
}

/* Sends a request and reads the head of its answer. *in_len: all that was read. False: error says why. */
static bool line_ask(struct line *l, const char *request, size_t len, struct http_answer *a, uint8_t *in, size_t in_cap,
                     size_t *in_len, char *error, size_t cap)
{
    uint64_t until = now_ms() + STEP_MS;
    size_t n = 0;
    http_answer_init(a);
    *in_len = 0;
    if (!line_write(l, request, len, until)) {
        snprintf(error, cap, "the connection broke while asking");
        return false;
    }
    while (*in_len < in_cap) {
        int rc = tls_stream_read(l->tls, in + *in_len, in_cap - *in_len, &n);
        if (rc == ERR_AGAIN && wait_for(l->fd, tls_stream_wants(l->tls), until))
            continue;
        if (rc) {
            snprintf(error, cap, "%s", rc == ERR_AGAIN ? "no answer in time" : "closed without an answer");
            return false;
        }
        *in_len += n;
        enum http_answer_verdict v = http_answer_input(a, rd_make(in, *in_len));
        if (v == HTTP_ANSWER_DONE)
            return true;
        if (v == HTTP_ANSWER_BAD)
            break;
    }
    snprintf(error, cap, "no HTTP: %s", a->why ? a->why : "too long");
    return false;
}

/* ---- the steps ---- */

static void note_version(struct probe_address *a, const struct line *l)
{
    for (unsigned v = 0; v < PROBE_VERSIONS; v++)
        if (!strcmp(tls_stream_version(l->tls), probe_version_name((enum probe_version)v))) {
            a->version[v] = true;
            snprintf(a->version_cipher[v], sizeof a->version_cipher[v], "%s", tls_stream_cipher(l->tls));
        }
}

static void look_at_tls(const struct line *l, struct probe_tls *t)
{
    t->good = true;
    snprintf(t->version, sizeof t->version, "%s", tls_stream_version(l->tls));
    snprintf(t->cipher, sizeof t->cipher, "%s", tls_stream_cipher(l->tls));
    snprintf(t->alpn, sizeof t->alpn, "%s", tls_stream_alpn(l->tls));
    tls_stream_verdict(l->tls, &t->verdict);
    while (t->n_chain < PROBE_CHAIN_MAX && tls_stream_peer_cert(l->tls, t->n_chain, &t->chain[t->n_chain]))
        t->n_chain++;
}

static bool is_literal(const struct http_url *u)
{
    return u->ip4 || u->ip6;
}

static void ask_page(const struct probe *p, struct line *l, const char *method, struct probe_http *h)
{
    char request[512], host[300];
    uint8_t in[HTTP_ANSWER_MAX];
    struct http_answer a;
    size_t in_len;
    h->tried = true;
    http_url_authority(p->url, host, sizeof host);
    int n = snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", method,
                     SSTP_URI, host);
    if (n < 0 || (size_t)n >= sizeof request ||
        !line_ask(l, request, (size_t)n, &a, in, sizeof in, &in_len, h->error, sizeof h->error))
        return;
    h->status = a.status;
    snprintf(h->reason, sizeof h->reason, "%s", a.reason);
    snprintf(h->server, sizeof h->server, "%s", a.server);
    snprintf(h->location, sizeof h->location, "%s", a.location);
}

static void one_handshake(struct probe *p, struct probe_address *a, struct tls_client *c, bool sni, struct probe_tls *t,
                          const char *method, struct probe_http *h)
{
    struct line l;
    t->tried = true;
    if (!line_open_any(p, a, c, sni, &l, t->error, sizeof t->error))
        return;
    t->error[0] = 0;
    look_at_tls(&l, t);
    note_version(a, &l);
    if (h)
        ask_page(p, &l, method, h);
    line_close(&l);
}

/* Newest first: what holds up the handshakes of old versions must not hold up the others'. */
static void ask_versions(struct probe *p, struct probe_address *a)
{
    struct line l;
    char error[160];
    for (int v = PROBE_VERSIONS - 1; v >= 0; v--) {
        if (a->version[v])
            continue;
        say(p, a, probe_version_name((enum probe_version)v));
        if (!line_open(p, a, p->tls[v], !is_literal(p->url), &l, error, sizeof error))
            continue;
        note_version(a, &l);
        line_close(&l);
    }
    if (!a->version[PROBE_TLS12] || !a->no_sni.n_chain)
        return;
    say(p, a, "TLSv1.2, AES-CBC");
    a->cbc_tried = true;
    a->cbc = line_open(p, a, p->cbc, false, &l, error, sizeof error);
    if (a->cbc)
        line_close(&l);
}

/* ---- SSTP ---- */

static void on_step(void *arg, const char *step, const char *text)
{
    (void)arg, (void)step, (void)text;
}

struct watched {
    struct client_call k;
    struct probe_login *login; /* NULL: a survey */
    uint64_t begun;
    bool seen_up;
};

static void on_up(void *arg)
{
    struct watched *w = arg;
    w->seen_up = true;
    if (!w->login || !w->k.ip4_up)
        return;
    w->login->up = true;
    w->login->ip4 = w->k.ip4.ip4;
    w->login->peer = w->k.ip4.peer;
    memcpy(w->login->dns, w->k.ip4.dns, sizeof w->login->dns);
    w->login->ms = now_ms() - w->begun;
}

static void on_down(void *arg)
{
    (void)arg;
}

/* Until it is over; a call that is up is ended in order after a moment. */
static void run_call(struct line *l, struct watched *w, uint32_t limit_ms, struct client_end *end)
{
    uint64_t until = now_ms() + limit_ms, bye_at = TIME_NEVER;
    bool leaving = false;
    while (!client_call_over(&w->k, end)) {
        uint64_t now = now_ms(), at = client_call_deadline(&w->k);
        if (w->seen_up && bye_at == TIME_NEVER && !leaving)
            bye_at = now + UP_MS;
        if (now >= until && leaving)
            return; /* it does not even end: *end has why it should */
        if (now >= until || now >= bye_at) {
            client_call_hangup(&w->k, now >= until ? CLIENT_TIMEOUT : CLIENT_OK,
                               now >= until ? "PPP does not get on" : "", now);
            client_end_set(end, CLIENT_TIMEOUT, "the call does not end");
            leaving = true;
            bye_at = TIME_NEVER;
            until = now + BYE_MS;
        }
        at = at < until ? at : until;
        at = at < bye_at ? at : bye_at;
        int events = client_call_wants(&w->k);
        if (client_call_turns(&w->k) || (events && wait_for(l->fd, events, at > now ? at : now + 1)))
            client_call_io(&w->k, NET_READ | NET_WRITE, now_ms());
        else
            client_call_expire(&w->k, now_ms());
    }
}

static void note_survey(struct watched *w, struct probe_call *c)
{
    uint8_t raw[8];
    size_t n = ppp_peer_unknown_auth(w->k.ppp, raw);
    c->methods = ppp_peer_methods(w->k.ppp);
    c->first = (uint8_t)ppp_peer_first_method(w->k.ppp);
    hex_encode(raw, n, c->unknown_auth);
    c->lcp = c->methods || n || c->end.cause == CLIENT_OK; /* the last: LCP opened without a login */
}

/* SSTP and PPP, behind the 200. */
static void hold_call(struct probe *p, struct line *l, struct rd early, uint64_t begun, struct probe_call *c,
                      struct probe_login *login, struct client_end *end)
{
    struct client_call_cfg cfg = { .sstp = sstp_client_cfg_default, .rng = p->o->rng };
    struct ppp_secret secret = { p->o->user, p->o->password };
    struct watched *w = calloc(1, sizeof *w);
    const struct client_call_ops ops = { on_step, on_up, on_down, w };
    cfg.ppp = (struct ppp_peer_cfg){ .mru = 1400, .dns = true, .survey = !login };
    memcpy(cfg.ppp.auth, p->o->auth, sizeof cfg.ppp.auth);
    cfg.secret = login ? &secret : NULL;
    if (w) {
        w->login = login;
        w->begun = begun;
    }
    if (!w || client_call_start(&w->k, &cfg, &ops, l->tls, &p->bufs, early, now_ms())) {
        client_end_set(end, CLIENT_INTERNAL, "out of memory");
        free(w);
        return;
    }
    run_call(l, w, login ? LOGIN_MS : SURVEY_MS, end);
    if (login) {
        login->hash = w->k.sstp.hash;
        login->method = (uint8_t)ppp_peer_method(w->k.ppp);
    } else {
        c->acked = w->k.sstp.offered != 0;
        c->hash_mask = w->k.sstp.offered;
        note_survey(w, c);
    }
    client_call_fini(&w->k);
    free(w);
}

/* Whoever is there instead of the server gets neither the password nor something to try passwords on. */
static bool may_log_in(const struct probe *p, const struct line *l, struct client_end *end)
{
    struct tls_verdict v;
    tls_stream_verdict(l->tls, &v);
    if (p->o->insecure || v.fault == TLS_FAULT_NONE)
        return true;
    client_end_set(end, CLIENT_CERTIFICATE, "%s", v.text);
    return false;
}

/* The real request, and then the call; a survey: login is NULL. */
static void ask_call(struct probe *p, struct probe_address *a, struct probe_call *c, struct probe_login *login)
{
    struct line l;
    char request[1024], error[160] = "";
    uint8_t in[HTTP_ANSWER_MAX];
    struct http_answer answer;
    struct client_end *end = login ? &login->end : &c->end;
    uint64_t begun = now_ms();
    size_t in_len = 0, n = request_write(request, sizeof request, p->url, &p->o->rng);
    if (!line_open_any(p, a, p->any, !is_literal(p->url), &l, error, sizeof error)) {
        client_end_set(end, CLIENT_TLS, "%s", error);
        return;
    }
    if (login && !may_log_in(p, &l, end)) {
        login->tried = false;
    } else if (!line_ask(&l, request, n, &answer, in, sizeof in, &in_len, error, sizeof error)) {
        client_end_set(end, CLIENT_HTTP_TIMEOUT, "%s", error);
    } else {
        if (!login) {
            c->status = answer.status;
            snprintf(c->server, sizeof c->server, "%s", answer.server);
        }
        if (request_answer_good(&answer, end))
            hold_call(p, &l, rd_make(in + answer.head_len, in_len - answer.head_len), begun, c, login, end);
    }
    line_close(&l);
}

/* ---- all of it ---- */

static bool reach(const struct probe *p, struct probe_address *a)
{
    uint64_t begun = now_ms();
    say(p, a, "TCP");
    int fd = tcp_open(&a->addr);
    a->tcp_ms = now_ms() - begun;
    a->tcp = fd >= 0;
    if (fd < 0)
        snprintf(a->tcp_error, sizeof a->tcp_error, "%s", strerrordesc_np(errno));
    else
        close(fd);
    return a->tcp;
}

static void ask_address(struct probe *p, struct probe_address *a)
{
    struct probe_tls page = { 0 };
    bool literal = is_literal(p->url);
    p->silent = 0;
    if (!reach(p, a))
        return;
    if (!literal) {
        say(p, a, "TLS with the name (SNI)");
        one_handshake(p, a, p->h2, true, &a->sni, "", NULL);
    }
    say(p, a, "TLS without the name, HEAD");
    one_handshake(p, a, literal ? p->h2 : p->any, false, &a->no_sni, "HEAD", literal ? NULL : &a->head);
    say(p, a, "GET");
    one_handshake(p, a, p->any, !literal, &page, "GET", &a->get);
    if (!literal && !a->sni.good)
        a->sni = page;
    if (!a->no_sni.good && !a->sni.good)
        return;
    if (literal) {
        struct probe_tls again = { 0 };
        say(p, a, "HEAD");
        one_handshake(p, a, p->any, false, &again, "HEAD", &a->head);
    }
    ask_versions(p, a);
    p->silent = 0; /* that was about old versions */
    say(p, a, "SSTP");
    a->call.tried = true;
    ask_call(p, a, &a->call, NULL);
    if (p->o->user && a->call.lcp) {
        say(p, a, "login");
        a->login.tried = true;
        ask_call(p, a, &a->call, &a->login);
    }
}

static int make_clients(struct probe *p, char *err, size_t cap)
{
    static const int number[PROBE_VERSIONS] = { 0x0301, 0x0302, 0x0303, 0x0304 };
    struct tls_client_cfg c = { .ca_pem = p->o->ca_pem,
                                .ca_len = p->o->ca_len,
                                .system_pem = p->o->system_pem,
                                .system_len = p->o->system_len,
                                .insecure = true };
    int rc = 0;
    for (int v = 0; !rc && v < PROBE_VERSIONS; v++) {
        c.min_version = c.max_version = number[v];
        rc = tls_client_new(&c, &p->tls[v], err, cap);
    }
    c.alpn = "h2,http/1.1";
    c.max_version = 0;
    c.min_version = 0x0303;
    if (!rc)
        rc = tls_client_new(&c, &p->h2, err, cap);
    c.alpn = "http/1.1";
    if (!rc)
        rc = tls_client_new(&c, &p->any, err, cap);
    c.min_version = 0x0301;
    if (!rc)
        rc = tls_client_new(&c, &p->old, err, cap);
    c.alpn = NULL;
    c.min_version = c.max_version = 0x0303;
    c.ciphers = CBC_CIPHERS;
    if (!rc)
        rc = tls_client_new(&c, &p->cbc, err, cap);
    return rc;
}

int probe_run(const struct http_url *url, const struct probe_options *o, const union race_addr *addr, size_t n,
              struct probe_report *out, char *err, size_t cap)
{
    struct probe p = { .url = url, .o = o };
    int rc = tunnel_bufs_init(&p.bufs, 0, PKTBUF_COST_MAX);
    if (rc)
        snprintf(err, cap, "out of memory");
    else
        rc = make_clients(&p, err, cap);
    out->url = *url;
    out->n = 0;
    for (size_t i = 0; !rc && i < n && out->n < RACE_MAX; i++) {
        struct probe_address *a = &out->address[out->n];
        if (o->family && (addr[i].sa.sa_family == AF_INET6 ? 6u : 4u) != o->family)
            continue;
        *a = (struct probe_address){ .addr = addr[i] };
        race_addr_text(&a->addr, a->text, sizeof a->text);
        ask_address(&p, a);
        out->n++;
    }
    for (int v = 0; v < PROBE_VERSIONS; v++)
        tls_client_free(p.tls[v]);
    tls_client_free(p.any);
    tls_client_free(p.h2);
    tls_client_free(p.old);
    tls_client_free(p.cbc);
    tunnel_bufs_fini(&p.bufs);
    return rc;
}

const char *probe_version_name(enum probe_version v)
{
    static const char *const names[PROBE_VERSIONS] = { "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3" };
    return v < PROBE_VERSIONS ? names[v] : "?";
}
