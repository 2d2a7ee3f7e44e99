/* The passthrough of bytes that are not looked at: see splice.h. */
#include "web/splice.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "web/upstream.h"

#define PIPE_BYTES   (256 * 1024)
#define PIPES_KEPT   64
#define BUDGET       (512 * 1024)  /* bytes moved in one direction in one wake-up */
#define BULK         65536         /* so much at once: there is probably more; less: the loop will tell */
#define RETRY_MS     20            /* until a pipe is asked for again when there was none */
#define HALF_MS      30000         /* the server is done and has said so to the client, which stays silent */
#define LINGER_MS    2000          /* the last bytes are on their way: how long the client may go on talking */
#define LINGER_BYTES (1024 * 1024) /* and how much */

/* ---- pipes ---- */

struct pipe_ends {
    int out, in;
};

static const struct pipe_ends no_pipe = { -1, -1 };

/* Only empty ones are kept: they cost two descriptors each and no memory to speak of. */
struct splice_pool {
    unsigned n;
    struct pipe_ends kept[PIPES_KEPT];
};

struct splice_pool *splice_pool_new(void)
{
    return calloc(1, sizeof(struct splice_pool));
}

static void pipe_close(struct pipe_ends p)
{
    close(p.out);
    close(p.in);
}

void splice_pool_free(struct splice_pool *pool)
{
    if (!pool)
        return;
    while (pool->n)
        pipe_close(pool->kept[--pool->n]);
    free(pool);
}

/* False: out of descriptors or memory. */
static bool pool_get(struct splice_pool *pool, struct pipe_ends *out)
{
    int fd[2];
    if (pool->n) {
        *out = pool->kept[--pool->n];
        return true;
    }
    if (pipe2(fd, O_CLOEXEC | O_NONBLOCK) < 0)
        return false;
    (void)fcntl(fd[1], F_SETPIPE_SZ, PIPE_BYTES); /* refused beyond the account's share: then it stays small */
    *out = (struct pipe_ends){ fd[0], fd[1] };
    return true;
}

static void pool_put(struct splice_pool *pool, struct pipe_ends p, bool empty)
{
    if (empty && pool->n < PIPES_KEPT)
        pool->kept[pool->n++] = p;
    else
        pipe_close(p);
}

/* ---- a passthrough ---- */

/* One direction. The pipe is filled when it is empty and emptied in order: a socket that has nothing to give and a
 * pipe that is full, which splice(2) does not tell apart, are never mistaken for each other. */
struct way {
    struct net_fd *from, *to; /* NULL while there is none */
    const uint8_t *pre;       /* goes first: the PROXY header */
    size_t pre_len;
    struct pipe_ends pipe; /* no_pipe while nothing waits */
    size_t len;            /* waits in it */
    uint64_t moved;
    bool starved; /* there was no pipe to be had */
    bool eof;     /* nothing more will come */
    bool shut;    /* and the other side was told */
};

enum state {
    CONNECTING, /* to the server; nothing is read from the client */
    OPEN,
    LINGER, /* the server is out of it; what the client still sends is read away, so that no reset overtakes the last
               bytes */
};

struct splice {
    struct net_loop *loop;
    struct splice_pool *pool;
    struct net_fd *client, *up;
    enum state state;
    bool over;    /* freed at the end of this round */
    bool discard; /* the server takes no more: what the client sends is read and forgotten */
    struct way to_up, to_client;
    size_t discarded;
    uint8_t head[PROXY_V1_MAX];
    struct upstream connecting;
    struct timer_entry timer; /* deadline of the state */
    struct timer_entry retry; /* armed while a way is starved */
    uint64_t idle_ms, moved_ms;
    struct relay_result res;
    void (*done)(void *arg, const struct relay_result *r);
    void *arg;
};

/* The first reason is the one that is told. */
static void because(struct splice *s, enum relay_end end, int error)
{
    if (s->res.end == RELAY_DONE) {
        s->res.end = end;
        s->res.error = error;
    }
}

static void over(struct splice *s, enum relay_end end, int error)
{
    because(s, end, error);
    s->over = true;
}

/* Due in ms from `from`. */
static void set_timer(struct splice *s, struct timer_entry *e, uint64_t from, uint64_t ms)
{
    if (net_timer_set(s->loop, e, ms < TIME_NEVER - from ? from + ms : TIME_NEVER))
        over(s, RELAY_NOMEM, 0);
}

static void way_release(struct splice *s, struct way *w)
{
    if (w->pipe.in >= 0)
        pool_put(s->pool, w->pipe, w->len == 0);
    w->pipe = no_pipe;
    w->len = 0;
}

static void splice_free(struct splice *s)
{
    net_timer_cancel(s->loop, &s->timer);
    net_timer_cancel(s->loop, &s->retry);
    upstream_cancel(&s->connecting);
    net_fd_close(s->client);
    net_fd_close(s->up);
    way_release(s, &s->to_up);
    way_release(s, &s->to_client);
    free(s);
}

/* ---- one direction ---- */

static bool way_waits(const struct way *w)
{
    return w->len || w->pre_len;
}

static void read_failed(struct splice *s, const struct way *w, int error)
{
    over(s, w == &s->to_up ? RELAY_CLIENT_GONE : RELAY_UPSTREAM_GONE, error);
}

/* A server that takes no more may still have an answer to give. */
static void write_failed(struct splice *s, struct way *w, int error)
{
    if (w == &s->to_client) {
        over(s, RELAY_CLIENT_GONE, error);
        return;
    }
    if (!s->to_client.eof)
        because(s, RELAY_UPSTREAM_GONE, error);
    s->discard = w->shut = true;
    w->pre_len = 0;
    way_release(s, w);
}

static ssize_t way_read(const struct way *w)
{
    ssize_t n;
    do
        n = splice(net_fd_num(w->from), NULL, w->pipe.in, NULL, PIPE_BYTES, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    while (n < 0 && errno == EINTR);
    return n;
}

/*
 * Urgent data (RFC 6093) stop splice(2) for good, while the loop goes on saying that there is something to be read. TLS
 * has none. Called when nothing came: what is there now and does not come either is that.
 */
static ssize_t way_read_again(const struct way *w)
{
    uint8_t c;
    if (recv(net_fd_num(w->from), &c, 1, MSG_PEEK) <= 0)
        return -1;
    ssize_t n = way_read(w);
    if (n < 0 && errno == EAGAIN)
        errno = EPROTO;
    return n;
}

/* Socket to pipe, which is empty; false when nothing came. */
static bool way_fill(struct splice *s, struct way *w)
{
    w->starved = w->pipe.in < 0 && !pool_get(s->pool, &w->pipe);
    if (w->starved) {
        set_timer(s, &s->retry, net_now(s->loop), RETRY_MS);
        return false;
    }
    ssize_t n = way_read(w);
    if (n < 0 && errno == EAGAIN)
        n = way_read_again(w);
    if (n > 0)
        w->len = (size_t)n;
    else if (n == 0)
        w->eof = true;
    else if (errno != EAGAIN)
        read_failed(s, w, errno);
    return n > 0;
}

/* One piece of what waits; as write(2). */
static ssize_t way_write(struct way *w)
{
    ssize_t n;
    if (w->pre_len) {
        n = send(net_fd_num(w->to), w->pre, w->pre_len, MSG_NOSIGNAL);
        if (n > 0) {
            w->pre += n;
            w->pre_len -= (size_t)n;
        }
        return n;
    }
    n = splice(w->pipe.out, NULL, net_fd_num(w->to), NULL, w->len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n > 0) {
        w->len -= (size_t)n;
        w->moved += (size_t)n;
    }
    return n;
}

/* Pipe to socket; false when not all of it could go now. */
static bool way_drain(struct splice *s, struct way *w)
{
    while (way_waits(w)) {
        ssize_t n = way_write(w);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n <= 0) {
            write_failed(s, w, n ? errno : EPIPE);
            return false;
        }
        s->moved_ms = net_now(s->loop);
    }
    return true;
}

/* Tells the other side that nothing more comes. */
static void way_shut(struct splice *s, struct way *w)
{
    shutdown(net_fd_num(w->to), SHUT_WR);
    w->shut = true;
    s->moved_ms = net_now(s->loop);
    if (w == &s->to_client && HALF_MS < s->idle_ms)
        set_timer(s, &s->timer, s->moved_ms, HALF_MS);
}

static void pump(struct splice *s, struct way *w)
{
    size_t moved = 0;
    bool more = true;
    while (!s->over && way_drain(s, w) && more && !w->eof && way_fill(s, w)) {
        moved += w->len;
        more = w->len >= BULK && moved < BUDGET;
    }
    if (!w->len)
        way_release(s, w);
    if (w->eof && !way_waits(w) && !w->shut && !s->over)
        way_shut(s, w);
}

static void client_discard(struct splice *s)
{
    uint8_t sink[16384];
    ssize_t n = recv(net_fd_num(s->client), sink, sizeof sink, 0);
    if (n > 0)
        s->discarded += (size_t)n;
    else if (n == 0)
        s->to_up.eof = true;
    else if (errno != EAGAIN && errno != EINTR)
        over(s, RELAY_CLIENT_GONE, errno);
}

/* ---- states ---- */

static void linger(struct splice *s)
{
    net_fd_close(s->up);
    s->up = NULL;
    s->state = LINGER;
    set_timer(s, &s->timer, net_now(s->loop), LINGER_MS);
}

/* Never for reading what could not be put anywhere: the loop would not sleep. */
static int way_reads(const struct way *w)
{
    return !w->eof && !way_waits(w) && !w->starved ? NET_READ : 0;
}

static void rewatch(struct splice *s)
{
    int from_client = !s->discard ? way_reads(&s->to_up) : s->to_up.eof ? 0 : NET_READ;
    net_fd_want(s->client, from_client | (way_waits(&s->to_client) ? NET_WRITE : 0));
    if (s->up)
        net_fd_want(s->up, way_reads(&s->to_client) | (way_waits(&s->to_up) ? NET_WRITE : 0));
}

/* The end of each round: what is next, or the end of it all. */
static void settle(struct splice *s)
{
    if (s->state == OPEN && s->discard && s->to_client.shut && !s->over)
        linger(s);
    if (s->to_client.shut && s->to_up.shut && (s->to_up.eof || s->discarded > LINGER_BYTES))
        s->over = true;
    if (!s->over) {
        if (s->state != CONNECTING)
            rewatch(s);
        return;
    }
    struct relay_result res = s->res;
    res.up = s->to_up.moved;
    res.down = s->to_client.moved;
    void (*done)(void *, const struct relay_result *) = s->done;
    void *arg = s->arg;
    splice_free(s);
    done(arg, &res);
}

static void client_event(void *arg, int events)
{
    struct splice *s = arg;
    if (s->discard && (events & NET_READ))
        client_discard(s);
    else if (events & NET_READ)
        pump(s, &s->to_up);
    if ((events & NET_WRITE) && !s->over)
        pump(s, &s->to_client);
    settle(s);
}

static void up_event(void *arg, int events)
{
    struct splice *s = arg;
    if ((events & NET_WRITE) && !s->discard)
        pump(s, &s->to_up);
    if ((events & NET_READ) && !s->over)
        pump(s, &s->to_client);
    settle(s);
}

static void connected(void *arg, struct net_fd *up, int error)
{
    struct splice *s = arg;
    if (error) {
        over(s, RELAY_UPSTREAM_DOWN, error);
    } else {
        s->up = s->to_up.to = s->to_client.from = up;
        net_fd_rebind(up, up_event, s);
        s->state = OPEN;
        s->moved_ms = net_now(s->loop);
        set_timer(s, &s->timer, s->moved_ms, s->idle_ms);
        pump(s, &s->to_up);
    }
    settle(s);
}

static void timer_due(struct timer_entry *e, uint64_t now)
{
    struct splice *s = (struct splice *)(void *)((char *)e - offsetof(struct splice, timer));
    switch (s->state) {
    case CONNECTING: break; /* upstream.c has a timer of its own */
    case OPEN: {
        /* Bytes that move only note the time; the timer follows when it comes due. */
        uint64_t limit = s->to_client.shut && HALF_MS < s->idle_ms ? HALF_MS : s->idle_ms;
        if (now - s->moved_ms < limit)
            set_timer(s, e, s->moved_ms, limit);
        else
            over(s, s->to_client.shut ? RELAY_DONE : RELAY_IDLE, 0);
        break;
    }
    case LINGER: s->over = true; break;
    }
    settle(s);
}

static void retry_due(struct timer_entry *e, uint64_t now)
{
    struct splice *s = (struct splice *)(void *)((char *)e - offsetof(struct splice, retry));
    (void)now;
    if (s->to_up.starved && !s->discard)
        pump(s, &s->to_up);
    if (s->to_client.starved && !s->over)
        pump(s, &s->to_client);
    settle(s);
}

struct splice *splice_start(struct net_loop *loop, struct splice_pool *pool, struct net_fd *client,
                            const struct relay_params *p)
{
    struct splice *s = calloc(1, sizeof(*s));
    if (!s) {
        net_fd_close(client);
        return NULL;
    }
    struct wr w = wr_make(s->head, sizeof s->head);
    proxy_encode(&w, p->proxy, &p->addr);
    s->loop = loop;
    s->pool = pool;
    s->client = client;
    s->to_up = (struct way){ .from = client, .pre = s->head, .pre_len = wr_len(&w), .pipe = no_pipe };
    s->to_client = (struct way){ .to = client, .pipe = no_pipe };
    s->timer.fn = timer_due;
    s->retry.fn = retry_due;
    s->idle_ms = p->idle_ms;
    s->done = p->done;
    s->arg = p->arg;
    net_fd_want(client, 0);
    net_fd_rebind(client, client_event, s);
    if (!wr_ok(&w) ||
        upstream_connect(&s->connecting, loop, p->upstream, p->upstream_len, p->connect_ms, connected, s)) {
        splice_free(s);
        return NULL;
    }
    return s;
}

void splice_stop(struct splice *s)
{
    over(s, RELAY_STOPPED, 0);
    settle(s);
}
