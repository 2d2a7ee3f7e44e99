/* Connecting to a web server: see upstream.h. */
#include "web/upstream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define RETRY_MS 20

static void finish(struct upstream *u, int error)
{
    struct net_fd *nf = u->nf;
    net_timer_cancel(u->loop, &u->timer);
    u->nf = NULL;
    if (error) {
        net_fd_close(nf);
        nf = NULL;
    } else {
        net_fd_want(nf, 0);
    }
    u->done(u->arg, nf, error); /* u may be gone now */
}

static void connected(void *arg, int events)
{
    struct upstream *u = arg;
    int error = 0;
    socklen_t len = sizeof error;
    (void)events;
    getsockopt(net_fd_num(u->nf), SOL_SOCKET, SO_ERROR, &error, &len);
    finish(u, error);
}

/* One attempt. What comes of it is found when the socket is writable, or when the timer is due. */
static int attempt(struct upstream *u)
{
    int family = u->addr.ss_family, one = 1;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    if (family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (struct sockaddr *)&u->addr, u->addr_len) && errno != EINPROGRESS) {
        int error = errno;
        close(fd);
        return error;
    }
    u->nf = net_fd_new(u->loop, fd, connected, u);
    if (!u->nf)
        return ENOMEM;
    net_fd_want(u->nf, NET_WRITE);
    return 0;
}

/* Tries, and arms the timer for what may come of it. */
static int try_now(struct upstream *u)
{
    uint64_t now = net_now(u->loop);
    int error = attempt(u);
    bool again = error == EAGAIN && now + RETRY_MS < u->deadline_ms;
    u->error = again ? 0 : error;
    return net_timer_set(u->loop, &u->timer, !error ? u->deadline_ms : again ? now + RETRY_MS : now);
}

static void due(struct timer_entry *e, uint64_t now)
{
    struct upstream *u = (struct upstream *)(void *)((char *)e - offsetof(struct upstream, timer));
    if (u->error || u->nf || now >= u->deadline_ms)
        finish(u, u->error ? u->error : ETIMEDOUT);
    else if (try_now(u))
        finish(u, ENOMEM);
}

int upstream_connect(struct upstream *u, struct net_loop *loop, const struct sockaddr *addr, socklen_t len,
                     uint64_t connect_ms, upstream_fn *done, void *arg)
{
    if (len < sizeof(sa_family_t) || len > sizeof u->addr)
        return ERR_USAGE;
    *u = (struct upstream){ .loop = loop, .timer.fn = due, .addr_len = len, .done = done, .arg = arg };
    u->deadline_ms = net_now(loop) + connect_ms;
    memcpy(&u->addr, addr, len);
    int rc = try_now(u);
    if (rc)
        upstream_cancel(u);
    return rc;
}

void upstream_cancel(struct upstream *u)
{
    if (!u->loop)
        return;
    net_timer_cancel(u->loop, &u->timer);
    net_fd_close(u->nf);
    u->nf = NULL;
}
