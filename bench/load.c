/*
 * gatehouse-load: a client of many calls, for measuring servers. It verifies no certificate.
 *
 *   rate    --total N --concurrency K   dials N calls, K at once, and hangs each up when it is up
 *   dial    --total N                   the same one at a time
 *   hold    --total N --concurrency K   keeps N calls up, says so, and hangs up when standard input ends; a line
 *                                       "move ADDRESS" there: an echo through each call within a second
 *   tunnel  --tun NAME [--calls N]      N calls attached to one TUN device
 *
 * A dial is everything from the TCP connection to IPCP done both ways. Without any call:
 *
 *   handshake  --total N --concurrency K [--sigalgs LIST]   full TLS handshakes
 *   download   --path P --ms T --concurrency K              GET over and over on connections that are kept
 *   upload     --path P --ms T --concurrency K [--bytes N]  the same with POST and a body of N bytes
 */
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <arpa/inet.h>

#include "auth/users.h"
#include "base/digest.h"
#include "load_call.h"
#include "load_echo.h"
#include "load_tunnel.h"
#include "load_web.h"
#include "tool.h"

enum { RECORDS = 16, DIAL_MS = 30000, MOVE_MS = 1000, MOVE_WAIT_MS = 3000 };

struct load {
    struct call_cfg cfg;
    unsigned total, at_once;
    bool json, hold;
    struct tunnel_cfg tunnel;
    const char *mode, *path;
    char *sni, *sigalgs; /* not const for OpenSSL's macros */
    unsigned ms_long;
    uint64_t body;

    int ep;
    struct call *calls; /* total of them */
    unsigned started, up, ended, failed;
    unsigned lost;   /* came up, was to be held, and ended by itself */
    const char *why; /* of the first failure */
    uint64_t first_ns, last_ns;
    double *ms; /* of each dial that came up */
    struct echo echo;
};

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static double percentile(const struct load *l, unsigned p)
{
    size_t at = (size_t)l->up * p / 100;
    return l->up ? l->ms[at < l->up ? at : l->up - 1] : 0;
}

static void report(struct load *l)
{
    double s = (double)(l->last_ns - l->first_ns) / 1e9;
    qsort(l->ms, l->up, sizeof *l->ms, by_value);
    const char *format =
        l->json
            ? "{\"%s\": %u, \"failed\": %u, \"seconds\": %.3f, \"calls_s\": %.1f, \"p50_ms\": %.2f, \"p99_ms\": %.2f, "
              "\"error\": \"%s\"}\n"
            : "%s %u, failed %u, %.3f s, %.1f calls/s, dial ms p50 %.2f p99 %.2f %s\n";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    printf(format, l->hold ? "held" : "calls", l->up, l->failed, s, s > 0 ? l->up / s : 0, percentile(l, 50),
           percentile(l, 99), l->why ? l->why : "");
#pragma GCC diagnostic pop
    fflush(stdout);
}

/* After anything happened to a call: counts what is new, frees what is over. */
static void settle(struct load *l, struct call *c)
{
    if (c->state == CALL_UP && c->up_ns && !l->hold) {
        call_hang_up(c);
        call_drive(c, RECORDS);
    }
    if (c->state < CALL_ENDED)
        return;
    if (c->state == CALL_ENDED) {
        l->ended++;
    } else {
        if (l->hold && c->up_ns)
            l->lost++;
        else
            l->failed++;
        l->why = l->why ? l->why : c->why;
    }
    call_close(c);
}

static void drive(struct load *l, struct call *c)
{
    bool was_up = c->up_ns != 0;
    c->blocked = false;
    while (call_drive(c, RECORDS) && c->state != CALL_UP)
        ;
    if (c->up_ns && !was_up) {
        l->ms[l->up++] = (double)(c->up_ns - c->start_ns) / 1e6;
        l->last_ns = c->up_ns;
    }
    /* Up is seen before the socket is empty: the edge has been used, so go on to the end. */
    while (c->state == CALL_UP && l->hold && call_drive(c, RECORDS))
        ;
    settle(l, c);
}

static void start_one(struct load *l)
{
    struct call *c = &l->calls[l->started];
    call_start(c, &l->cfg, l->started++);
    struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c };
    if (c->state == CALL_FAILED || epoll_ctl(l->ep, EPOLL_CTL_ADD, c->fd, &ev) < 0) {
        c->state = CALL_FAILED;
        settle(l, c);
    }
}

static unsigned in_progress(const struct load *l)
{
    return l->started - l->failed - (l->hold ? l->up : l->ended);
}

/* False when a while has passed without any event, or standard input has something. */
static bool wait_events(struct load *l, int timeout_ms)
{
    struct epoll_event ev[64];
    int n = epoll_wait(l->ep, ev, 64, timeout_ms);
    if (n < 0 && errno != EINTR)
        tool_die_errno("epoll_wait");
    bool typed = false;
    for (int i = 0; i < n; i++) {
        if (ev[i].data.ptr)
            drive(l, ev[i].data.ptr);
        else
            typed = true;
    }
    return n != 0 && !typed;
}

static void dial_all(struct load *l)
{
    l->first_ns = l->last_ns = tool_now_ns();
    while (l->started < l->total || in_progress(l)) {
        while (l->started < l->total && in_progress(l) < l->at_once)
            start_one(l);
        if (in_progress(l) && !wait_events(l, DIAL_MS)) {
            l->failed += in_progress(l);
            l->why = "no answer";
            break;
        }
    }
}

/* An echo through each call, their beginnings spread evenly. */
static void move(struct load *l, const char *where)
{
    struct in_addr to;
    if (inet_pton(AF_INET, where, &to) != 1)
        tool_die("move: expected an address, not \"%s\"", where);
    echo_begin(&l->echo, ntohl(to.s_addr));
    uint64_t start = tool_now_ns(), last = start;
    for (unsigned next = 0; next < l->total || l->echo.got < l->echo.sent;) {
        uint64_t now = tool_now_ns(), due = (now - start) * l->total / (MOVE_MS * 1000000ull);
        for (; next < l->total && next <= due; next++, last = now) {
            if (l->calls[next].state == CALL_UP)
                echo_send(&l->echo, &l->calls[next]);
        }
        if (next == l->total && now - last > MOVE_WAIT_MS * 1000000ull)
            break;
        wait_events(l, 1);
    }
    echo_report(&l->echo);
}

/* Answers echoes and does what standard input says until that ends. */
static void hold(struct load *l)
{
    struct epoll_event ev = { .events = EPOLLIN };
    if (epoll_ctl(l->ep, EPOLL_CTL_ADD, STDIN_FILENO, &ev) < 0)
        tool_die_errno("standard input must be a pipe or a terminal");
    for (char line[64];;) {
        if (wait_events(l, -1))
            continue;
        ssize_t n = read(STDIN_FILENO, line, sizeof line - 1);
        if (n <= 0)
            break;
        line[n] = '\0';
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "move ", 5) == 0)
            move(l, line + 5);
    }
    if (l->lost)
        fprintf(stderr, "gatehouse-load: %u calls were lost: %s\n", l->lost, l->why);
    epoll_ctl(l->ep, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    l->hold = false;
    for (unsigned i = 0; i < l->started; i++) {
        if (l->calls[i].state == CALL_UP)
            settle(l, &l->calls[i]);
    }
    while (l->ended + l->failed + l->lost < l->started && wait_events(l, 3000))
        ;
}

static int many(struct load *l)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
    l->ep = epoll_create1(EPOLL_CLOEXEC);
    l->calls = calloc(l->total, sizeof *l->calls);
    l->ms = calloc(l->total, sizeof *l->ms);
    if (l->ep < 0 || !l->calls || !l->ms)
        tool_die("out of memory");
    if (l->hold) {
        echo_init(&l->echo, l->calls, l->total);
        l->cfg.data = echo_input;
        l->cfg.arg = &l->echo;
    }
    dial_all(l);
    report(l);
    if (l->hold)
        hold(l);
    echo_fini(&l->echo);
    for (unsigned i = 0; i < l->started; i++)
        call_close(&l->calls[i]);
    bool good = l->failed + l->lost == 0;
    free(l->calls);
    free(l->ms);
    return good ? 0 : 1;
}

static SSL_CTX *tls_context(const char *version, char *sigalgs)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    int v = strcmp(version, "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
    if (!ctx || SSL_CTX_set_min_proto_version(ctx, v) != 1 || SSL_CTX_set_max_proto_version(ctx, v) != 1 ||
        SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") != 1 ||
        SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM") != 1 || (sigalgs && SSL_CTX_set1_sigalgs_list(ctx, sigalgs) != 1))
        tool_die("TLS context");
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return ctx;
}

static void usage(void)
{
    fprintf(stderr,
            "usage: gatehouse-load rate|dial|hold|tunnel --server ADDR:PORT --user NAME --password TEXT [--json]\n"
            "         [--total N] [--concurrency K] [--source FIRST --sources COUNT] [--tls 1.2|1.3]\n"
            "         [--tun NAME] [--calls N] [--mtu BYTES]\n"
            "       gatehouse-load handshake|download|upload --server ADDR:PORT [--sni NAME] [--tls 1.2|1.3] [--json]\n"
            "         [--total N] [--concurrency K] [--sigalgs LIST] [--path PATH] [--ms TIME] [--bytes N]\n");
    exit(2);
}

static const struct option options[] = {
    { "server", required_argument, NULL, 's' },
    { "user", required_argument, NULL, 'u' },
    { "password", required_argument, NULL, 'p' },
    { "total", required_argument, NULL, 'n' },
    { "concurrency", required_argument, NULL, 'k' },
    { "source", required_argument, NULL, 'a' },
    { "sources", required_argument, NULL, 'c' },
    { "tls", required_argument, NULL, 'v' },
    { "tun", required_argument, NULL, 't' },
    { "mtu", required_argument, NULL, 'm' },
    { "sni", required_argument, NULL, 'S' },
    { "sigalgs", required_argument, NULL, 'g' },
    { "path", required_argument, NULL, 'P' },
    { "ms", required_argument, NULL, 'T' },
    { "bytes", required_argument, NULL, 'b' },
    { "calls", required_argument, NULL, 'N' },
    { "json", no_argument, NULL, 'j' },
    { "insecure", no_argument, NULL, 'i' },
    { NULL, 0, NULL, 0 },
};

static bool is_web(const struct load *l)
{
    return strcmp(l->mode, "handshake") == 0 || strcmp(l->mode, "download") == 0 || strcmp(l->mode, "upload") == 0;
}

static void parse(struct load *l, int argc, char **argv)
{
    const char *server = NULL, *password = NULL, *tls = "1.3";
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (o) {
        case 's': server = optarg; break;
        case 'u': l->cfg.user = optarg; break;
        case 'p': password = optarg; break;
        case 'n': l->total = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'k': l->at_once = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'a': l->cfg.n_sources = inet_pton(AF_INET, optarg, &l->cfg.source) == 1 ? 1 : (usage(), 0); break;
        case 'c': l->cfg.n_sources = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'v': tls = optarg; break;
        case 't': l->tunnel.tun = optarg; break;
        case 'm': l->tunnel.mtu = (int)strtol(optarg, NULL, 10); break;
        case 'N': l->tunnel.calls = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'S': l->sni = optarg; break;
        case 'g': l->sigalgs = optarg; break;
        case 'P': l->path = optarg; break;
        case 'T': l->ms_long = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'b': l->body = strtoull(optarg, NULL, 10); break;
        case 'j': l->json = true; break;
        case 'i': break; /* always */
        default: usage();
        }
    }
    if (optind + 1 != argc || !server || !l->total || !l->at_once || !l->body)
        usage();
    l->mode = argv[optind];
    l->cfg.server = tool_addr(server);
    l->cfg.tls = tls_context(tls, l->sigalgs);
    if (is_web(l))
        return;
    if (!l->cfg.user || !password)
        usage();
    if (digest_init() != 0 || users_nt_hash(password, strlen(password), l->cfg.nt_hash) != 0)
        tool_die("cannot hash the password");
}

/* Nothing is looked up for a chain that nobody judges: the server's time is to be measured, not the client's. */
static int any_chain(X509_STORE_CTX *store, void *arg)
{
    (void)store, (void)arg;
    return 1;
}

static int web(const struct load *l)
{
    struct web_cfg cfg = { .server = l->cfg.server,
                           .tls = l->cfg.tls,
                           .sni = l->sni,
                           .path = l->path,
                           .body = strcmp(l->mode, "upload") == 0 ? l->body : 0,
                           .total = l->total,
                           .at_once = l->at_once,
                           .ms = l->ms_long,
                           .json = l->json };
    SSL_CTX_set_session_cache_mode(cfg.tls, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_cert_verify_callback(cfg.tls, any_chain, NULL);
    if (strcmp(l->mode, "handshake") == 0)
        return web_handshakes(&cfg);
    SSL_CTX_set_read_ahead(cfg.tls, 1);
    SSL_CTX_set_default_read_buffer_len(cfg.tls, 256 * 1024);
    return web_transfer(&cfg);
}

int main(int argc, char **argv)
{
    struct load l = { .total = 1,
                      .at_once = 1,
                      .tunnel = { .mtu = 1400, .calls = 1 },
                      .path = "/",
                      .ms_long = 1000,
                      .body = 10ull << 20 };
    parse(&l, argc, argv);
    signal(SIGPIPE, SIG_IGN);
    if (is_web(&l))
        return web(&l);
    if (strcmp(l.mode, "tunnel") == 0) {
        if (!l.tunnel.tun || !l.tunnel.calls)
            usage();
        SSL_CTX_set_read_ahead(l.cfg.tls, 1);
        SSL_CTX_set_default_read_buffer_len(l.cfg.tls, 256 * 1024);
        return tunnel_run(&l.cfg, &l.tunnel);
    }
    l.hold = strcmp(l.mode, "hold") == 0;
    if (strcmp(l.mode, "dial") == 0)
        l.at_once = 1;
    else if (!l.hold && strcmp(l.mode, "rate") != 0)
        usage();
    SSL_CTX_set_mode(l.cfg.tls, SSL_MODE_RELEASE_BUFFERS);
    return many(&l);
}
