/*
 * Many TCP connections at once, each from an address of its own: what all of them move, and how fairly.
 *
 *   bench-tcp sink ADDR:PORT
 *   bench-tcp run  ADDR:PORT [--sources A,B,...] [--streams N] [--down] [--warm MS] [--ms MS]
 *
 * `run` opens N connections from each source (none: the kernel chooses), moves data for the warm-up and then for the
 * measured time, and prints one line of JSON: bytes a second of all, and of the slowest and the fastest. Upwards the
 * sink reads and drops, and what it acknowledged counts; downwards (the first byte tells it so) it sends without end,
 * and what was read counts. One thread, as much as the machine gives.
 */
#include "tool.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 128 * 1024, TURNS = 4, BACKLOG = 4096 };

struct conn {
    int fd;
    bool known, sends; /* the sink: the first byte has told the direction */
    uint64_t got;      /* bytes read */
    uint64_t at_start; /* of the measured time: bytes read or acknowledged */
};

static uint8_t chunk[CHUNK];

static int socket_tcp(void)
{
    int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    if (s < 0)
        tool_die_errno("socket");
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    return s;
}

static void watch(int ep, int fd, uint32_t events, void *what)
{
    struct epoll_event ev = { .events = events, .data.ptr = what };
    if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0)
        tool_die_errno("epoll_ctl");
}

/* False when the connection is over. */
static bool send_some(const struct conn *c)
{
    for (int i = 0; i < TURNS; i++) {
        if (send(c->fd, chunk, sizeof chunk, MSG_NOSIGNAL) < 0)
            return errno == EAGAIN;
    }
    return true;
}

static bool read_some(struct conn *c)
{
    for (int i = 0; i < TURNS; i++) {
        ssize_t n = recv(c->fd, chunk, sizeof chunk, 0);
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        c->got += (uint64_t)n;
    }
    return true;
}

/* ---- sink ---- */

static void sink_accept(int ep, int listener)
{
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): epoll has what is allocated */
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        struct conn *c = calloc(1, sizeof *c);
        if (!c)
            tool_die("out of memory");
        c->fd = fd;
        watch(ep, fd, EPOLLIN, c);
    }
}

static bool sink_first(int ep, struct conn *c)
{
    char what;
    if (recv(c->fd, &what, 1, 0) != 1)
        return false;
    c->known = true;
    c->sends = what == 'd';
    struct epoll_event ev = { .events = c->sends ? EPOLLOUT : EPOLLIN, .data.ptr = c };
    return epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev) == 0;
}

__attribute__((noreturn)) static void run_sink(const char *where)
{
    struct sockaddr_in at = tool_addr(where);
    int listener = socket_tcp(), ep = epoll_create1(EPOLL_CLOEXEC);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, BACKLOG) < 0 || ep < 0)
        tool_die_errno(where);
    watch(ep, listener, EPOLLIN, NULL);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event ev[64];
        int n = epoll_wait(ep, ev, 64, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = ev[i].data.ptr;
            if (!c) {
                sink_accept(ep, listener);
            } else if (!(c->known ? c->sends ? send_some(c) : read_some(c) : sink_first(ep, c))) {
                close(c->fd);
                free(c);
            }
        }
    }
}

/* ---- run ---- */

struct run {
    struct sockaddr_in to;
    char *sources;
    unsigned streams, warm_ms, ms, n;
    bool down;
    int ep;
    struct conn *conns;
};

static void open_one(struct run *r, const char *source)
{
    struct conn *c = &r->conns[r->n++];
    struct sockaddr_in a = { .sin_family = AF_INET };
    c->fd = socket_tcp();
    if (source && (inet_pton(AF_INET, source, &a.sin_addr) != 1 || bind(c->fd, (struct sockaddr *)&a, sizeof a) < 0))
        tool_die("%s: cannot be a source address", source);
    if (connect(c->fd, (struct sockaddr *)&r->to, sizeof r->to) < 0 && errno != EINPROGRESS)
        tool_die_errno("connect");
    watch(r->ep, c->fd, EPOLLOUT, c);
}

static void open_all(struct run *r)
{
    unsigned sources = 1;
    for (const char *p = r->sources; p && (p = strchr(p, ',')) != NULL; p++)
        sources++;
    r->conns = calloc((size_t)sources * r->streams, sizeof *r->conns);
    r->ep = epoll_create1(EPOLL_CLOEXEC);
    if (!r->conns || r->ep < 0)
        tool_die("out of memory");
    char *next = r->sources, *source = NULL;
    do {
        source = next ? strsep(&next, ",") : NULL;
        for (unsigned i = 0; i < r->streams; i++)
            open_one(r, source);
    } while (next);
}

/* Bytes that have arrived at the other end of what this is about. */
static uint64_t moved(const struct run *r, const struct conn *c)
{
    struct tcp_info info = { 0 };
    socklen_t len = sizeof info;
    if (r->down)
        return c->got;
    if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
        tool_die_errno("TCP_INFO");
    return info.tcpi_bytes_acked;
}

static void turn(struct run *r, struct conn *c)
{
    bool good = true;
    if (!c->known) {
        struct epoll_event ev = { .events = r->down ? EPOLLIN : EPOLLOUT, .data.ptr = c };
        c->known = true;
        good =
            send(c->fd, r->down ? "d" : "u", 1, MSG_NOSIGNAL) == 1 && epoll_ctl(r->ep, EPOLL_CTL_MOD, c->fd, &ev) == 0;
    } else {
        good = r->down ? read_some(c) : send_some(c);
    }
    if (!good)
        tool_die("a connection was lost: %s", strerror(errno));
}

static void until(struct run *r, uint64_t end)
{
    for (uint64_t now; (now = tool_now_ns()) < end;) {
        struct epoll_event ev[64];
        int n = epoll_wait(r->ep, ev, 64, (int)((end - now) / 1000000u + 1));
        for (int i = 0; i < n; i++)
            turn(r, ev[i].data.ptr);
    }
}

static void report(const struct run *r, double seconds)
{
    double all = 0, least = 0, most = 0;
    for (unsigned i = 0; i < r->n; i++) {
        double v = (double)(moved(r, &r->conns[i]) - r->conns[i].at_start) / seconds;
        all += v;
        least = i == 0 || v < least ? v : least;
        most = v > most ? v : most;
    }
    printf("{\"connections\": %u, \"seconds\": %.3f, \"bytes_s\": %.0f, \"least_bytes_s\": %.0f, \"most_bytes_s\": "
           "%.0f}\n",
           r->n, seconds, all, least, most);
}

static void run(struct run *r)
{
    open_all(r);
    until(r, tool_now_ns() + r->warm_ms * 1000000ull);
    for (unsigned i = 0; i < r->n; i++)
        r->conns[i].at_start = moved(r, &r->conns[i]);
    uint64_t start = tool_now_ns();
    until(r, start + r->ms * 1000000ull);
    report(r, (double)(tool_now_ns() - start) / 1e9);
    /* Nothing more of it shall be on its way when the next one begins. */
    struct linger reset = { .l_onoff = 1 };
    for (unsigned i = 0; i < r->n; i++) {
        setsockopt(r->conns[i].fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(r->conns[i].fd);
    }
    free(r->conns);
}

int main(int argc, char **argv)
{
    static const struct option opts[] = {
        { "sources", required_argument, NULL, 's' }, { "streams", required_argument, NULL, 'n' },
        { "down", no_argument, NULL, 'd' },          { "warm", required_argument, NULL, 'w' },
        { "ms", required_argument, NULL, 'm' },      { NULL, 0, NULL, 0 },
    };
    struct run r = { .streams = 1, .warm_ms = 500, .ms = 2000 };
    for (int o; (o = getopt_long(argc, argv, "", opts, NULL)) != -1;) {
        switch (o) {
        case 's': r.sources = optarg; break;
        case 'n': r.streams = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'd': r.down = true; break;
        case 'w': r.warm_ms = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'm': r.ms = (unsigned)strtoul(optarg, NULL, 10); break;
        default: return 2;
        }
    }
    if (argc - optind != 2 || !r.streams || !r.ms) {
        fprintf(stderr,
                "usage: bench-tcp sink ADDR:PORT\n"
                "       bench-tcp run ADDR:PORT [--sources A,B,...] [--streams N] [--down] [--warm MS] [--ms MS]\n");
        return 2;
    }
    if (strcmp(argv[optind], "sink") == 0)
        run_sink(argv[optind + 1]);
    r.to = tool_addr(argv[optind + 1]);
    run(&r);
    return 0;
}
