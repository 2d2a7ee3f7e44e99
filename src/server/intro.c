#include "server/intro.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "http/proxy.h"
#include "tls/peek.h"

#define PAUSE_MS 20

/* ---- who it is ---- */

static void addr_set(const struct sockaddr_storage *ss, uint8_t ip[16], uint16_t *port, uint8_t *family)
{
    if (ss->ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, ss, sizeof in);
        memcpy(ip, &in.sin_addr, 4);
        *port = ntohs(in.sin_port);
        *family = 4;
    } else {
        struct sockaddr_in6 in6;
        memcpy(&in6, ss, sizeof in6);
        memcpy(ip, &in6.sin6_addr, 16);
        *port = ntohs(in6.sin6_port);
        *family = 6;
    }
}

static void addr_text(uint8_t family, const uint8_t ip[16], uint16_t port, char *text, size_t cap)
{
    char t[INET6_ADDRSTRLEN];
    inet_ntop(family == 4 ? AF_INET : AF_INET6, ip, t, sizeof t);
    snprintf(text, cap, family == 4 ? "%s:%u" : "[%s]:%u", t, port);
}

static void set_peer(struct conn *c)
{
    addr_text(c->addr.family, c->addr.src, c->addr.src_port, c->log.peer, sizeof c->log.peer);
}

void conn_local(const struct conn *c, char *out, size_t cap)
{
    addr_text(c->addr.family, c->addr.dst, c->addr.dst_port, out, cap);
}

static bool addresses(int fd, struct proxy_addr *a)
{
    struct sockaddr_storage peer = { 0 }, own = { 0 };
    socklen_t peer_len = sizeof peer, own_len = sizeof own;
    if (getpeername(fd, (struct sockaddr *)&peer, &peer_len) < 0 ||
        getsockname(fd, (struct sockaddr *)&own, &own_len) < 0)
        return false; /* gone already */
    addr_set(&peer, a->src, &a->src_port, &a->family);
    addr_set(&own, a->dst, &a->dst_port, &a->family);
    return true;
}

/* Counts the new connection, or says why it cannot be taken. */
static bool admit(struct conn *c)
{
    struct worker *w = c->w;
    const struct config *cfg = c->gen->cfg;
    if (!c->shared_source && c->source->unauthenticated >= (unsigned)cfg->limits.unauthenticated_per_source) {
        conn_refuse(c, "source-limit", "too many unfinished connections from this address", NULL,
                    "an attack, or many clients behind one NAT: limits.unauthenticated-per-source");
        return false;
    }
    if (atomic_load(&w->engine->n_conns) > (unsigned)cfg->limits.connections) { /* this one is counted already */
        conn_refuse(c, "connection-limit", "too many connections", NULL, "raise limits.connections");
        return false;
    }
    return true;
}

/* ---- what is peeked at ---- */

static void low_water(int fd, int bytes)
{
    setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes);
}

static bool still_open(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_state == TCP_ESTABLISHED;
}

/*
 * The loop says that there is more than was seen, and there is not: urgent data (RFC 6093), a window filled in the
 * wrong order, a kernel in want of memory. It would say so for ever: we look again after a pause.
 */
static void pause_looking(struct conn *c)
{
    net_fd_want(c->nf, 0);
    c->paused = true;
    conn_timer(c, PAUSE_MS);
}

/* The timer is the deadline of all this again. */
static void look_on(struct conn *c)
{
    uint64_t now = net_now(&c->w->loop), end = conn_intro_end(c);
    if (c->paused)
        conn_timer(c, end > now ? end - now : 0);
    c->paused = false;
}

/*
 * Looks at the first bytes without taking them. False: nothing new, wait (or the connection is gone, and so is c).
 */
static bool peek(struct conn *c, uint8_t *buf, size_t cap, size_t *n)
{
    int fd = net_fd_num(c->nf);
    look_on(c);
    ssize_t got = recv(fd, buf, cap, MSG_PEEK);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        net_fd_want(c->nf, NET_READ);
        return false;
    }
    if (got > 0 && (size_t)got > c->peeked) {
        *n = (size_t)got;
        return true;
    }
    if (got > 0 && still_open(fd))
        pause_looking(c);
    else
        conn_free(c);
    return false;
}

/* Wakes up when there is more than the n bytes that were seen: what is peeked at stays readable. */
static void wait_for_more(struct conn *c, size_t n)
{
    c->peeked = n;
    low_water(net_fd_num(c->nf), (int)n + 1);
    net_fd_want(c->nf, NET_READ);
}

static void seen(struct conn *c)
{
    if (c->peeked)
        low_water(net_fd_num(c->nf), 1);
    c->peeked = 0;
}

void intro_peek_io(struct conn *c)
{
    uint8_t buf[TLS_PEEK_MAX];
    char name[TLS_NAME_MAX + 1];
    size_t n;
    if (!peek(c, buf, sizeof buf, &n))
        return;
    int rc = tls_peek_sni(rd_make(buf, n), name);
    if (rc == ERR_AGAIN) {
        wait_for_more(c, n);
        return;
    }
    if (rc == ERR_LIMIT) {
        conn_refuse(c, "client-hello", "the first message of TLS is longer than any client's", NULL,
                    "no VPN client or browser sends this: a scanner, or a faulty client");
        conn_free(c);
        return;
    }
    seen(c);
    /* What is not TLS at all is for OpenSSL to say. */
    const struct config_pass *pass = rc || !name[0] ? NULL : config_passthrough(c->gen->cfg, name);
    if (pass)
        conn_begin_passthrough(c, pass);
    else
        conn_begin_tls(c);
}

/* Who the client is, is known: it is counted, and may begin. authority: the name that a front was asked for. */
static void begin(struct conn *c, const char *authority)
{
    set_peer(c);
    c->source = worker_source(c->w, &c->addr);
    if (c->source)
        c->source->total++;
    if (!c->source || !admit(c)) {
        conn_free(c);
        return;
    }
    c->unauthenticated = true;
    c->source->unauthenticated++;
    if (c->front) {
        conn_begin_plain(c, authority);
    } else if (c->gen->cfg->n_pass) {
        c->state = CONN_PEEK;
        intro_peek_io(c);
    } else {
        conn_begin_tls(c);
    }
}

static void introduced(struct conn *c, const struct proxy_header *header)
{
    if (header->addr.family)
        c->addr = header->addr;
    else
        c->shared_source = true; /* the balancer itself asks, or does not know */
    begin(c, header->authority[0] ? header->authority : NULL);
}

void intro_proxy_io(struct conn *c)
{
    uint8_t buf[PROXY_V2_MAX];
    struct proxy_header header;
    size_t n, used = 0;
    if (!peek(c, buf, sizeof buf, &n))
        return;
    int rc = proxy_decode(rd_make(buf, n), &header, &used);
    if (rc == ERR_AGAIN) {
        wait_for_more(c, n);
        return;
    }
    if (rc || recv(net_fd_num(c->nf), buf, used, 0) != (ssize_t)used) {
        conn_refuse(c, "proxy-header", "the connection does not begin with a PROXY header", NULL,
                    "let the load balancer send PROXY protocol, or take it out of listen.proxy-from (for offload: "
                    "proxy-protocol = false)");
        conn_free(c);
        return;
    }
    seen(c);
    introduced(c, &header);
}

/* ---- accept ---- */

/* May this address use that listener at all? */
static bool may_connect(struct conn *c)
{
    const struct config *cfg = c->gen->cfg;
    if (!c->front || config_prefix_has(cfg->offload.from, cfg->offload.n_from, c->addr.family, c->addr.src))
        return true;
    conn_refuse(c, "not-from-front", "this address may not connect to the listener for the front", NULL,
                "if it is a front, add it to offload.from; else keep others away from offload.listen");
    return false;
}

static bool begins_with_proxy(const struct conn *c)
{
    const struct config *cfg = c->gen->cfg;
    return c->front ? cfg->offload.proxy_required
                    : config_prefix_has(cfg->listen.proxy_from, cfg->listen.n_proxy_from, c->addr.family, c->addr.src);
}

void conn_accept(struct worker *w, int fd, bool front)
{
    struct conn *c = conn_new(w, fd);
    int one = 1;
    if (!c)
        return;
    c->front = front;
    if (!addresses(fd, &c->addr)) {
        conn_free(c); /* gone already */
        return;
    }
    set_peer(c);
    if (!may_connect(c)) {
        conn_free(c);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    conn_timer(c, conn_intro_end(c) - c->accepted_ms);
    if (begins_with_proxy(c)) {
        c->state = CONN_PROXY;
        intro_proxy_io(c);
    } else {
        c->shared_source = front;
        begin(c, NULL);
    }
}
