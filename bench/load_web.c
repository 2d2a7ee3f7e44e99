#include "load_web.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>

#include "tool.h"

enum { WAIT_MS = 10000, HEAD_MAX = 4096, CHUNK = 65536, TURN = 16, WARM_MS = 200 };

enum peer_state {
    PEER_FREE,
    PEER_TLS,    /* TCP and TLS */
    PEER_BODY,   /* a request is on its way; `left` bytes of its answer are to come */
    PEER_HEAD,   /* the same, and its head is not whole yet */
    PEER_ENDING, /* close_notify and FIN sent; reading until the server ends, too */
};

struct peer {
    enum peer_state state;
    int fd;
    SSL *ssl;
    uint64_t start_ns;
    char head[HEAD_MAX + 1];
    size_t head_len;
    uint64_t left;
    uint64_t sent; /* of the request, its body with it */
    bool more;     /* stopped with something left to read or room to write: no event will say so */
};

struct run {
    const struct web_cfg *cfg;
    bool transfer; /* not handshakes alone */
    bool more;     /* some peer has something left */
    int ep;
    struct peer *peers;
    unsigned started, done, open;
    uint64_t in, out, answers; /* bytes both ways, without TLS; requests that were answered */
    double *ms;                /* of each handshake, with the TCP connection */
    char request[512];
    uint64_t request_len; /* and its body behind it */
};

static void peer_close(struct run *r, struct peer *p)
{
    SSL_free(p->ssl);
    close(p->fd);
    p->ssl = NULL;
    p->state = PEER_FREE;
    r->open--;
}

static void peer_start(struct run *r, struct peer *p)
{
    int one = 1;
    p->start_ns = tool_now_ns();
    p->state = PEER_TLS;
    p->head_len = 0;
    p->more = false;
    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    p->ssl = SSL_new(r->cfg->tls);
    if (p->fd < 0 || !p->ssl || SSL_set_fd(p->ssl, p->fd) != 1)
        tool_die_errno("socket");
    if (r->cfg->sni && SSL_set_tlsext_host_name(p->ssl, r->cfg->sni) != 1)
        tool_die("SNI");
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(p->fd, (const struct sockaddr *)&r->cfg->server, sizeof r->cfg->server) < 0 && errno != EINPROGRESS)
        tool_die_errno("connect");
    struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = p };
    if (epoll_ctl(r->ep, EPOLL_CTL_ADD, p->fd, &ev) < 0)
        tool_die_errno("epoll_ctl");
    SSL_set_connect_state(p->ssl);
    r->started++;
    r->open++;
}

/* False when it has to wait. Whoever fails ends the program: a server that fails cannot be measured. */
static bool handshake(struct run *r, struct peer *p)
{
    int n = SSL_connect(p->ssl);
    if (n != 1) {
        int why = SSL_get_error(p->ssl, n);
        if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
            tool_die("TLS handshake %u: %s", r->started, errno ? strerror(errno) : "refused");
        return false;
    }
    if (SSL_session_reused(p->ssl))
        tool_die("a session was resumed");
    if (r->transfer)
        return true;
    r->ms[r->done++] = (double)(tool_now_ns() - p->start_ns) / 1e6;
    SSL_shutdown(p->ssl);
    shutdown(p->fd, SHUT_WR);
    p->state = PEER_ENDING;
    return true;
}

static void ask(struct peer *p)
{
    p->state = PEER_HEAD;
    p->head_len = 0;
    p->sent = 0;
}

/* The next request, when this one was sent and answered. A server may answer before it has read a body to its end. */
static void settle(struct run *r, struct peer *p)
{
    if (p->state != PEER_BODY || p->left || p->sent < r->request_len)
        return;
    r->answers++;
    ask(p);
}

/* Sends a part of the request; true when there may be room for more. */
static bool request(struct run *r, struct peer *p)
{
    static const char zeros[CHUNK];
    uint64_t head = strlen(r->request), left = r->request_len - p->sent;
    size_t n, len = p->sent < head ? head - p->sent : left < CHUNK ? left : CHUNK;
    if (!left)
        return false;
    if (SSL_write_ex(p->ssl, p->sent < head ? r->request + p->sent : zeros, len, &n) != 1) {
        if (SSL_get_error(p->ssl, 0) != SSL_ERROR_WANT_WRITE)
            tool_die("a request could not be sent");
        return false;
    }
    p->sent += n;
    r->out += n;
    settle(r, p);
    return true;
}

/* Takes what came of a head and behind it. */
static void head_input(struct peer *p, const char *data, size_t n)
{
    size_t part = n < HEAD_MAX - p->head_len ? n : HEAD_MAX - p->head_len;
    memcpy(p->head + p->head_len, data, part);
    p->head_len += part;
    p->head[p->head_len] = '\0';
    const char *end = strstr(p->head, "\r\n\r\n");
    if (!end) {
        if (p->head_len == HEAD_MAX)
            tool_die("the head of an answer is too long");
        return;
    }
    const char *length = strcasestr(p->head, "\r\nContent-Length:");
    if (strncmp(p->head, "HTTP/1.1 200", 12) != 0 || !length || length > end)
        tool_die("an answer that is none: %.60s", p->head);
    uint64_t whole = (uint64_t)(end + 4 - p->head) + strtoull(length + 17, NULL, 10), had = p->head_len - part + n;
    if (had > whole)
        tool_die("an answer that is longer than it says");
    p->left = whole - had;
    p->state = PEER_BODY;
}

/* Reads an answer; true when there may be more to read. */
static bool answer(struct run *r, struct peer *p)
{
    static char sink[CHUNK];
    size_t n;
    if (SSL_read_ex(p->ssl, sink, sizeof sink, &n) != 1) {
        if (SSL_get_error(p->ssl, 0) != SSL_ERROR_WANT_READ)
            tool_die("an answer was cut off");
        return false;
    }
    r->in += n;
    if (p->state == PEER_HEAD)
        head_input(p, sink, n);
    else if (n > p->left)
        tool_die("an answer that is longer than it says");
    else
        p->left -= n;
    settle(r, p);
    return true;
}

static bool ended(struct peer *p)
{
    char sink[CHUNK / 4];
    ssize_t n;
    while ((n = read(p->fd, sink, sizeof sink)) > 0)
        ;
    return n == 0 || errno != EAGAIN; /* a reset is an end, too: the server need not read what we say last */
}

static void drive(struct run *r, struct peer *p)
{
    ERR_clear_error();
    errno = 0;
    if (p->state == PEER_TLS) {
        if (!handshake(r, p))
            return;
        if (r->transfer)
            ask(p);
    }
    if (p->state == PEER_ENDING) {
        if (ended(p))
            peer_close(r, p);
        return;
    }
    bool in = true, out = true;
    for (int i = 0; i < TURN && in; i++)
        in = answer(r, p);
    for (int i = 0; i < TURN && out; i++)
        out = request(r, p);
    p->more = in || out;
    r->more |= p->more;
}

static void events(struct run *r)
{
    struct epoll_event ev[64];
    bool more = r->more;
    int n = epoll_wait(r->ep, ev, 64, more ? 0 : WAIT_MS);
    if (n < 0 && errno != EINTR)
        tool_die_errno("epoll_wait");
    if (n == 0 && !more)
        tool_die("no answer");
    r->more = false;
    for (unsigned i = 0; more && i < r->cfg->at_once; i++)
        if (r->peers[i].more)
            drive(r, &r->peers[i]);
    for (int i = 0; i < n; i++)
        drive(r, ev[i].data.ptr);
}

static void run_init(struct run *r, const struct web_cfg *cfg)
{
    *r = (struct run){ .cfg = cfg, .ep = epoll_create1(EPOLL_CLOEXEC) };
    r->peers = calloc(cfg->at_once, sizeof *r->peers);
    r->ms = calloc(cfg->total, sizeof *r->ms);
    if (r->ep < 0 || !r->peers || !r->ms)
        tool_die("out of memory");
}

static void run_fini(struct run *r)
{
    for (unsigned i = 0; i < r->cfg->at_once; i++)
        if (r->peers[i].state != PEER_FREE)
            peer_close(r, &r->peers[i]);
    close(r->ep);
    free(r->peers);
    free(r->ms);
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

int web_handshakes(const struct web_cfg *cfg)
{
    struct run r;
    run_init(&r, cfg);
    uint64_t start = tool_now_ns();
    while (r.started < cfg->total || r.open) {
        for (unsigned i = 0; i < cfg->at_once && r.started < cfg->total; i++)
            if (r.peers[i].state == PEER_FREE)
                peer_start(&r, &r.peers[i]);
        events(&r);
    }
    double s = (double)(tool_now_ns() - start) / 1e9;
    qsort(r.ms, r.done, sizeof *r.ms, by_value);
    double p50 = r.ms[r.done / 2], p99 = r.ms[(size_t)r.done * 99 / 100];
    if (cfg->json)
        printf("{\"handshakes\": %u, \"seconds\": %.3f, \"handshakes_s\": %.1f, \"p50_ms\": %.2f, \"p99_ms\": %.2f}\n",
               r.done, s, r.done / s, p50, p99);
    else
        printf("handshakes %u, %.3f s, %.1f/s, ms p50 %.2f p99 %.2f\n", r.done, s, r.done / s, p50, p99);
    run_fini(&r);
    return 0;
}

static void go_on_until(struct run *r, uint64_t end_ns)
{
    while (tool_now_ns() < end_ns)
        events(r);
}

static void request_init(struct run *r)
{
    const struct web_cfg *cfg = r->cfg;
    const char *host = cfg->sni ? cfg->sni : "bench";
    int n = cfg->body ? snprintf(r->request, sizeof r->request,
                                 "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %llu\r\n\r\n", cfg->path, host,
                                 (unsigned long long)cfg->body)
                      : snprintf(r->request, sizeof r->request, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", cfg->path, host);
    if (n < 0 || n >= (int)sizeof r->request)
        tool_die("the path is too long");
    r->request_len = (uint64_t)n + cfg->body;
}

int web_transfer(const struct web_cfg *cfg)
{
    struct run r;
    run_init(&r, cfg);
    r.transfer = true;
    request_init(&r);
    const uint64_t *moved = cfg->body ? &r.out : &r.in;
    for (unsigned i = 0; i < cfg->at_once; i++)
        peer_start(&r, &r.peers[i]);
    go_on_until(&r, tool_now_ns() + WARM_MS * 1000000ull); /* handshakes, and windows that grow */
    uint64_t start = tool_now_ns(), before = *moved, answers = r.answers;
    go_on_until(&r, start + cfg->ms * 1000000ull);
    uint64_t bytes = *moved - before;
    double s = (double)(tool_now_ns() - start) / 1e9, gbit = (double)bytes * 8 / 1e9;
    if (cfg->json)
        printf("{\"bytes\": %llu, \"answers\": %llu, \"seconds\": %.3f, \"gbit_s\": %.3f}\n", (unsigned long long)bytes,
               (unsigned long long)(r.answers - answers), s, gbit / s);
    else
        printf("bytes %llu, answers %llu, %.3f s, %.3f Gbit/s\n", (unsigned long long)bytes,
               (unsigned long long)(r.answers - answers), s, gbit / s);
    run_fini(&r);
    return 0;
}
