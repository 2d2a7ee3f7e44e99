/* The relay between a TLS client and a web server: see relay.h. */
#include "web/relay.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/head.h"
#include "web/upstream.h"

#define BUDGET       (256 * 1024)  /* bytes moved in one direction in one wake-up */
#define HALF_MS      30000         /* the web server is done and has said so to the client, which stays silent */
#define LINGER_MS    2000          /* an error page is on its way: how long the client may go on talking */
#define LINGER_BYTES (1024 * 1024) /* and how much */

enum state {
    CONNECTING, /* to the web server; nothing is read from the client */
    OPEN,       /* bytes go both ways, each until its end */
    LINGER,     /* the web server is out of it: flush, close, read away what the client still sends, so that no reset
                   overtakes the last bytes */
};

/* Bytes under way in one direction. It is filled when empty and emptied in order: what OpenSSL has seen once stays in
 * place. */
struct buf {
    uint8_t *mem; /* NULL while nothing waits */
    size_t off, len;
};

struct relay {
    struct net_loop *loop;
    struct tls_stream *tls;
    struct net_fd *client, *up;
    enum state state;
    bool over;                 /* freed at the end of this round */
    bool client_eof, up_eof;   /* nothing more will come from there */
    bool client_dry, up_dry;   /* nothing there now: only after an event it makes sense to look again */
    bool client_shut, up_shut; /* and it was told that nothing more will come from us */
    bool discard;              /* the web server takes no more: what the client sends is read and forgotten */
    bool h2;
    int rd_wants, wr_wants; /* events that TLS waits for */
    struct buf to_up, to_client;
    size_t discarded;
    struct timer_entry timer; /* deadline of the state */
    struct timer_entry soon;  /* another round though no socket may say so */
    struct upstream connecting;
    uint64_t idle_ms, moved_ms;
    struct relay_result res;
    void (*done)(void *arg, const struct relay_result *r);
    void *arg;
};

static void relay_round(struct relay *r);

const char *relay_end_name(enum relay_end end)
{
    switch (end) {
    case RELAY_DONE: return "done";
    case RELAY_CLIENT_GONE: return "client-gone";
    case RELAY_UPSTREAM_DOWN: return "upstream-down";
    case RELAY_UPSTREAM_GONE: return "upstream-gone";
    case RELAY_IDLE: return "idle";
    case RELAY_STOPPED: return "stopped";
    case RELAY_NOMEM: return "out-of-memory";
    }
    return "unknown";
}

/* ---- end ---- */

static void buf_drop(struct buf *b)
{
    free(b->mem);
    *b = (struct buf){ 0 };
}

static bool buf_room(struct buf *b)
{
    if (!b->mem)
        b->mem = malloc(RELAY_BUF);
    return b->mem;
}

static void buf_consume(struct buf *b, size_t n)
{
    b->off += n;
    b->len -= n;
    if (!b->len)
        b->off = 0;
}

static void relay_free(struct relay *r)
{
    net_timer_cancel(r->loop, &r->timer);
    net_timer_cancel(r->loop, &r->soon);
    upstream_cancel(&r->connecting);
    tls_stream_free(r->tls);
    net_fd_close(r->client);
    net_fd_close(r->up);
    buf_drop(&r->to_up);
    buf_drop(&r->to_client);
    free(r);
}

/* The first reason is the one that is told. */
static void because(struct relay *r, enum relay_end end, int error)
{
    if (r->res.end == RELAY_DONE) {
        r->res.end = end;
        r->res.error = error;
    }
}

static void over(struct relay *r, enum relay_end end, int error)
{
    because(r, end, error);
    r->over = true;
}

/* Due in ms from `from`. */
static void set_timer(struct relay *r, struct timer_entry *e, uint64_t from, uint64_t ms)
{
    if (net_timer_set(r->loop, e, ms < TIME_NEVER - from ? from + ms : TIME_NEVER))
        over(r, RELAY_NOMEM, 0);
}

/* ---- client to web server ---- */

/*
 * Fills to_up from TLS, several records if they are there. It ends with what TLS holds: more in the socket is announced
 * by the loop, and asking for it in vain costs a system call for each request.
 */
static void client_read(struct relay *r)
{
    struct buf *b = &r->to_up;
    if (!buf_room(b)) {
        over(r, RELAY_NOMEM, 0);
        return;
    }
    while (b->len < RELAY_BUF && !r->client_eof && !r->client_dry) {
        size_t n;
        int rc = tls_stream_read(r->tls, b->mem + b->len, RELAY_BUF - b->len, &n);
        if (rc == ERR_AGAIN) {
            r->rd_wants = tls_stream_wants(r->tls);
            r->client_dry = true;
        } else if (rc == ERR_CLOSED) {
            r->client_eof = true;
        } else if (rc) {
            over(r, RELAY_CLIENT_GONE, 0);
            return;
        } else {
            b->len += n;
            r->res.up += n;
            r->client_dry = !tls_stream_pending(r->tls);
        }
    }
}

/* False when to_up could not be emptied now. A web server that takes no more may still have an answer to give. */
static bool up_write(struct relay *r)
{
    struct buf *b = &r->to_up;
    while (b->len) {
        ssize_t n = send(net_fd_num(r->up), b->mem + b->off, b->len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n < 0) {
            if (!r->up_eof)
                because(r, RELAY_UPSTREAM_GONE, errno);
            r->discard = r->up_shut = true;
            buf_drop(b);
            return false;
        }
        buf_consume(b, (size_t)n);
        r->moved_ms = net_now(r->loop);
    }
    return true;
}

static void pump_up(struct relay *r)
{
    size_t moved = 0;
    if (!r->client_dry)
        r->rd_wants = NET_READ;
    while (!r->over && moved < BUDGET && up_write(r) && !r->client_eof && !r->client_dry) {
        client_read(r);
        moved += r->to_up.len;
    }
    if (!r->to_up.len)
        buf_drop(&r->to_up);
    if (r->client_eof && !r->to_up.len && !r->up_shut && !r->over) {
        shutdown(net_fd_num(r->up), SHUT_WR);
        r->up_shut = true;
    }
}

static void client_discard(struct relay *r)
{
    uint8_t sink[4096];
    r->rd_wants = NET_READ;
    for (size_t moved = 0; moved < BUDGET && !r->client_eof;) {
        size_t n;
        int rc = tls_stream_read(r->tls, sink, sizeof sink, &n);
        if (rc == ERR_AGAIN) {
            r->rd_wants = tls_stream_wants(r->tls);
            return;
        }
        if (rc == ERR_CLOSED) {
            r->client_eof = true;
        } else if (rc) {
            over(r, RELAY_CLIENT_GONE, 0);
            return;
        } else {
            moved += n;
            r->discarded += n;
        }
    }
}

/* ---- web server to client ---- */

/* False when to_client could not be emptied now. */
static bool client_write(struct relay *r)
{
    struct buf *b = &r->to_client;
    r->wr_wants = NET_WRITE;
    while (b->len) {
        size_t n;
        int rc = tls_stream_write(r->tls, b->mem + b->off, b->len, &n);
        if (rc == ERR_AGAIN) {
            r->wr_wants = tls_stream_wants(r->tls);
            return false;
        }
        if (rc) {
            over(r, RELAY_CLIENT_GONE, 0);
            return false;
        }
        buf_consume(b, n);
        r->res.down += n;
        r->moved_ms = net_now(r->loop);
    }
    return true;
}

/* Fills to_client; false when nothing came. */
static bool up_read(struct relay *r)
{
    struct buf *b = &r->to_client;
    if (!buf_room(b)) {
        over(r, RELAY_NOMEM, 0);
        return false;
    }
    ssize_t n;
    do
        n = recv(net_fd_num(r->up), b->mem, RELAY_BUF, 0);
    while (n < 0 && errno == EINTR);
    r->up_dry = n < RELAY_BUF; /* a socket gives all that it has */
    if (n > 0)
        b->len = (size_t)n;
    else if (n == 0)
        r->up_eof = true;
    else if (errno != EAGAIN)
        over(r, RELAY_UPSTREAM_GONE, errno); /* no close_notify: the client shall see that something is missing */
    return n > 0;
}

/* Tells the client that nothing more comes, in TLS and in TCP. */
static void client_shutdown(struct relay *r)
{
    int rc = tls_stream_shutdown(r->tls);
    r->wr_wants = NET_WRITE;
    if (rc == ERR_AGAIN)
        return;
    shutdown(net_fd_num(r->client), SHUT_WR);
    r->client_shut = true;
    r->moved_ms = net_now(r->loop);
    if (r->state == LINGER)
        set_timer(r, &r->timer, r->moved_ms, LINGER_MS);
    else if (HALF_MS < r->idle_ms)
        set_timer(r, &r->timer, r->moved_ms, HALF_MS);
}

static void pump_down(struct relay *r)
{
    size_t moved = 0;
    while (!r->over && client_write(r) && moved < BUDGET && !r->up_eof && !r->up_dry && up_read(r))
        moved += r->to_client.len;
    if (!r->to_client.len)
        buf_drop(&r->to_client);
    if (r->up_eof && !r->to_client.len && !r->client_shut && !r->over)
        client_shutdown(r);
}

/* ---- states ---- */

static void linger(struct relay *r)
{
    net_fd_close(r->up);
    r->up = NULL;
    buf_drop(&r->to_up);
    r->up_eof = r->up_shut = r->discard = true;
    r->state = LINGER;
    set_timer(r, &r->timer, net_now(r->loop), r->client_shut ? LINGER_MS : r->idle_ms);
}

/* The web server cannot be reached: the client is told, once. */
static void upstream_down(struct relay *r, int error)
{
    because(r, RELAY_UPSTREAM_DOWN, error);
    if (!r->h2) {
        struct buf *b = &r->to_client;
        if (!buf_room(b)) {
            over(r, RELAY_NOMEM, 0);
            return;
        }
        b->len = http_error_reply((char *)b->mem, RELAY_BUF, 502, time(NULL), "The web server does not answer.\n");
    }
    linger(r);
}

static void client_event(void *arg, int events)
{
    struct relay *r = arg;
    if (events & r->rd_wants)
        r->client_dry = false;
    relay_round(r);
}

static void up_event(void *arg, int events)
{
    struct relay *r = arg;
    if (events & NET_READ)
        r->up_dry = false;
    relay_round(r);
}

static void connected(void *arg, struct net_fd *up, int error)
{
    struct relay *r = arg;
    if (error) {
        upstream_down(r, error);
    } else {
        r->up = up;
        net_fd_rebind(up, up_event, r);
        r->state = OPEN;
        r->moved_ms = net_now(r->loop);
        set_timer(r, &r->timer, r->moved_ms, r->idle_ms);
    }
    relay_round(r);
}

static void timer_due(struct timer_entry *e, uint64_t now)
{
    struct relay *r = (struct relay *)(void *)((char *)e - offsetof(struct relay, timer));
    switch (r->state) {
    case CONNECTING: break; /* upstream.c has a timer of its own */
    case OPEN: {
        /* Bytes that move only note the time; the timer follows when it comes due. */
        uint64_t limit = r->client_shut && HALF_MS < r->idle_ms ? HALF_MS : r->idle_ms;
        if (now - r->moved_ms < limit)
            set_timer(r, e, r->moved_ms, limit);
        else
            over(r, r->client_shut ? RELAY_DONE : RELAY_IDLE, 0);
        break;
    }
    case LINGER: r->over = true; break;
    }
    relay_round(r);
}

static void soon_due(struct timer_entry *e, uint64_t now)
{
    (void)now;
    relay_round((struct relay *)(void *)((char *)e - offsetof(struct relay, soon)));
}

/* What each socket has to report before the next round makes sense. */
static void rewatch(struct relay *r)
{
    bool reading = !r->client_eof && (r->discard || (r->state == OPEN && !r->to_up.len));
    bool writing = r->to_client.len || (r->up_eof && !r->client_shut);
    net_fd_want(r->client, (reading ? r->rd_wants : 0) | (writing ? r->wr_wants : 0));
    if (r->up)
        net_fd_want(r->up, (r->to_up.len ? NET_WRITE : 0) | (!r->up_eof && !r->to_client.len ? NET_READ : 0));
    /* What lies inside TLS is announced by no socket. A round of pump_up() leaves either nothing there or bytes in
     * to_up, which ask for the next one; only here may it stop in the middle. */
    if (r->discard && reading && tls_stream_pending(r->tls))
        set_timer(r, &r->soon, net_now(r->loop), 1);
}

static void relay_round(struct relay *r)
{
    if (r->state == OPEN && !r->over && !r->discard)
        pump_up(r);
    if (r->state != CONNECTING && !r->over)
        pump_down(r);
    if (r->discard && !r->over)
        client_discard(r);
    if (r->state == OPEN && r->discard && r->up_eof && !r->over)
        linger(r);
    if (r->client_shut && (r->client_eof || r->discarded > LINGER_BYTES) && r->up_shut && !r->to_up.len)
        r->over = true;
    if (!r->over)
        rewatch(r);
    if (!r->over)
        return;
    struct relay_result res = r->res;
    void (*done)(void *, const struct relay_result *) = r->done;
    void *arg = r->arg;
    relay_free(r);
    done(arg, &res);
}

/* The PROXY header and what was read before. */
static int early_put(struct relay *r, const struct relay_params *p)
{
    size_t cap = PROXY_V1_MAX + p->early_len;
    cap = cap < RELAY_BUF ? RELAY_BUF : cap; /* it is filled again when it has been emptied */
    uint8_t *mem = malloc(cap);
    if (!mem)
        return ERR_NOMEM;
    struct wr w = wr_make(mem, cap);
    proxy_encode(&w, p->proxy, &p->addr);
    wr_bytes(&w, p->early, p->early_len);
    r->to_up = (struct buf){ mem, 0, wr_len(&w) };
    if (!wr_ok(&w))
        return ERR_BUG;
    if (!r->to_up.len)
        buf_drop(&r->to_up);
    r->res.up = p->early_len;
    return 0;
}

struct relay *relay_start(struct net_loop *loop, struct tls_stream *tls, struct net_fd *client,
                          const struct relay_params *p)
{
    struct relay *r = calloc(1, sizeof(*r));
    if (!r) {
        tls_stream_free(tls);
        net_fd_close(client);
        return NULL;
    }
    r->loop = loop;
    r->tls = tls;
    r->client = client;
    r->h2 = p->h2;
    r->rd_wants = NET_READ;
    r->wr_wants = NET_WRITE;
    r->timer.fn = timer_due;
    r->soon.fn = soon_due;
    r->idle_ms = p->idle_ms;
    r->done = p->done;
    r->arg = p->arg;
    net_fd_want(client, 0);
    net_fd_rebind(client, client_event, r);
    if (early_put(r, p) ||
        upstream_connect(&r->connecting, loop, p->upstream, p->upstream_len, p->connect_ms, connected, r)) {
        relay_free(r);
        return NULL;
    }
    return r;
}

void relay_stop(struct relay *r)
{
    over(r, RELAY_STOPPED, 0);
    relay_round(r);
}
