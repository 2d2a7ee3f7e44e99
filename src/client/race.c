#include "client/race.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void race_order(union race_addr *addr, size_t n)
{
    /* One of the other family is moved up behind each; those that are moved over keep their order. */
    for (size_t i = 1; i < n; i++) {
        size_t k = i;
        while (k < n && addr[k].sa.sa_family == addr[i - 1].sa.sa_family)
            k++;
        if (k == n)
            return;
        union race_addr up = addr[k];
        memmove(&addr[i + 1], &addr[i], (k - i) * sizeof *addr);
        addr[i] = up;
    }
}

void race_addr_text(const union race_addr *a, char *out, size_t cap)
{
    char ip[INET6_ADDRSTRLEN] = "";
    if (a->sa.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a->in6.sin6_addr, ip, sizeof ip);
        snprintf(out, cap, "[%s]:%u", ip, ntohs(a->in6.sin6_port));
    } else {
        inet_ntop(AF_INET, &a->in.sin_addr, ip, sizeof ip);
        snprintf(out, cap, "%s:%u", ip, ntohs(a->in.sin_port));
    }
}

void race_cancel(struct race *r)
{
    for (size_t i = 0; i < r->next; i++) {
        net_fd_close(r->tries[i].nf);
        r->tries[i].nf = NULL;
    }
    if (r->loop)
        net_timer_cancel(r->loop, &r->timer);
    r->open = 0;
    r->next = r->n;
    r->end_at = TIME_NEVER;
}

static void finish(struct race *r, int fd, const union race_addr *at)
{
    int error = r->error;
    race_cancel(r);
    r->done(r->arg, fd, at, error);
}

static void go_on(struct race *r);

static void on_try(void *arg, int events)
{
    struct race_try *t = arg;
    struct race *r = t->race;
    int error = 0;
    socklen_t len = sizeof error;
    (void)events;
    if (getsockopt(net_fd_num(t->nf), SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (!error) {
        int fd = fcntl(net_fd_num(t->nf), F_DUPFD_CLOEXEC, 0); /* what watches it is closed with the rest */
        error = fd < 0 ? errno : 0;
        if (!error) {
            finish(r, fd, &r->addr[t - r->tries]);
            return;
        }
    }
    r->error = error;
    net_fd_close(t->nf);
    t->nf = NULL;
    r->open--;
    r->next_at = 0;
    go_on(r);
}

static void try_one(struct race *r)
{
    const union race_addr *a = &r->addr[r->next];
    struct race_try *t = &r->tries[r->next++];
    int one = 1, fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        r->error = errno;
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, &a->sa, a->sa.sa_family == AF_INET6 ? sizeof a->in6 : sizeof a->in) < 0 && errno != EINPROGRESS) {
        r->error = errno;
        close(fd);
        return;
    }
    t->race = r;
    t->nf = net_fd_new(r->loop, fd, on_try, t);
    if (!t->nf) {
        r->error = ENOMEM;
        return;
    }
    net_fd_want(t->nf, NET_WRITE);
    r->open++;
}

/* Tries what is due, and sets the timer for what comes next; the end is told by timer alone. */
static void go_on(struct race *r)
{
    uint64_t now = net_now(r->loop);
    if (now >= r->end_at) {
        if (r->open || !r->error)
            r->error = ETIMEDOUT; /* some never answered: that is the news, not what another one said */
        finish(r, -1, NULL);
        return;
    }
    while (r->next < r->n && (now >= r->next_at || !r->open)) {
        unsigned before = r->open;
        try_one(r);
        if (r->open > before)
            r->next_at = now + RACE_STAGGER_MS;
    }
    uint64_t at = r->next < r->n ? r->next_at : r->end_at;
    if (!r->open && r->next == r->n)
        r->end_at = at = now;
    if (net_timer_set(r->loop, &r->timer, at < r->end_at ? at : r->end_at)) {
        r->error = ENOMEM;
        finish(r, -1, NULL);
    }
}

static void on_timer(struct timer_entry *e, uint64_t now_ms)
{
    struct race *r = (struct race *)(void *)((char *)e - offsetof(struct race, timer));
    (void)now_ms;
    go_on(r);
}

int race_start(struct race *r, struct net_loop *loop, const union race_addr *addr, size_t n,
               void (*done)(void *arg, int fd, const union race_addr *at, int error), void *arg)
{
    *r = (struct race){ .loop = loop, .done = done, .arg = arg, .timer.fn = on_timer };
    r->n = n < RACE_MAX ? n : RACE_MAX;
    memcpy(r->addr, addr, r->n * sizeof *addr);
    race_order(r->addr, r->n);
    r->end_at = net_now(loop) + RACE_LIMIT_MS;
    return net_timer_set(loop, &r->timer, net_now(loop));
}
