/* The passthrough between a client and a server that the test plays both, over loopback, on one loop that the test
 * turns by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "web/splice.h"

#define TURNS 1000000 /* of the loop, before a test gives up */
#define MANY  200

/* ---- the three parties ---- */

struct fix {
    struct net_loop loop;
    struct splice_pool *pool;
    int listener, up, c; /* the server's sockets, the client's */
    struct sockaddr_storage addr;
    socklen_t addr_len;
    char path[64];
    struct splice *splice;
    struct relay_params params;
    struct relay_result res;
    int done;
};

static uint32_t seed = 11;
static uint32_t rnd(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

static void done(void *arg, const struct relay_result *r)
{
    struct fix *f = arg;
    f->res = *r;
    f->done++;
    f->splice = NULL;
}

static void no_event(void *arg, int events)
{
    (void)arg, (void)events;
}

static int listen_any(struct sockaddr_storage *addr, socklen_t *len)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    *len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)addr, len), 0);
    assert_int_equal(listen(fd, MANY), 0);
    return fd;
}

static void listen_tcp(struct fix *f)
{
    f->listener = listen_any(&f->addr, &f->addr_len);
}

static void listen_unix(struct fix *f, int backlog)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    snprintf(f->path, sizeof f->path, "/tmp/test-splice-%d.sock", (int)getpid());
    snprintf(a.sun_path, sizeof a.sun_path, "%s", f->path);
    unlink(f->path);
    f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(f->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(f->listener, backlog), 0);
    memcpy(&f->addr, &a, sizeof a);
    f->addr_len = sizeof a;
}

/* A connected pair over TCP: [0] for the passthrough, [1] the client's end. */
static void tcp_pair(int fd[2])
{
    struct sockaddr_storage addr;
    socklen_t len;
    int l = listen_any(&addr, &len);
    fd[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(connect(fd[1], (struct sockaddr *)&addr, len) == 0 || errno == EINPROGRESS);
    for (int i = 0; i < TURNS; i++)
        if ((fd[0] = accept4(l, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
            break;
    assert_true(fd[0] >= 0);
    close(l);
}

static int setup(void **state)
{
    struct fix *f = calloc(1, sizeof *f);
    signal(SIGPIPE, SIG_IGN);
    f->listener = f->up = f->c = -1;
    f->pool = splice_pool_new();
    f->params = (struct relay_params){ .idle_ms = 60000, .connect_ms = 5000, .done = done, .arg = f };
    *state = f;
    return net_loop_init(&f->loop, NULL, f) || !f->pool ? -1 : 0;
}

static int teardown(void **state)
{
    struct fix *f = *state;
    if (f->splice)
        splice_stop(f->splice);
    net_loop_fini(&f->loop);
    splice_pool_free(f->pool);
    splice_pool_free(NULL);
    if (f->c >= 0)
        close(f->c);
    if (f->listener >= 0)
        close(f->listener);
    if (f->up >= 0)
        close(f->up);
    if (f->path[0])
        unlink(f->path);
    free(f);
    return 0;
}

static void turn(struct fix *f)
{
    uv_run(&f->loop.uv, UV_RUN_NOWAIT);
}

static void start_on(struct fix *f, int fd[2])
{
    f->c = fd[1];
    f->params.upstream = (struct sockaddr *)&f->addr;
    f->params.upstream_len = f->addr_len;
    f->splice = splice_start(&f->loop, f->pool, net_fd_new(&f->loop, fd[0], no_event, NULL), &f->params);
    assert_non_null(f->splice);
    assert_int_equal(f->done, 0);
}

static void start(struct fix *f)
{
    int fd[2];
    tcp_pair(fd);
    start_on(f, fd);
}

static void accept_up(struct fix *f)
{
    for (int i = 0; i < TURNS && f->up < 0; i++) {
        turn(f);
        f->up = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    }
    assert_true(f->up >= 0);
    turn(f);
}

static void open_tcp(struct fix *f)
{
    listen_tcp(f);
    start(f);
    accept_up(f);
}

static void wait_done(struct fix *f, enum relay_end want)
{
    for (int i = 0; i < TURNS && !f->done; i++)
        turn(f);
    assert_int_equal(f->done, 1);
    if (f->res.end != want)
        print_error("ended with %s\n", relay_end_name(f->res.end));
    assert_int_equal(f->res.end, want);
}

/* What arrives at fd, up to n bytes; less only at its end. */
static size_t gets_at(struct fix *f, int fd, void *buf, size_t n)
{
    size_t got = 0;
    for (int i = 0; i < TURNS && got < n; i++) {
        ssize_t r = read(fd, (char *)buf + got, n - got);
        if (r == 0 || (r < 0 && errno != EAGAIN))
            break;
        if (r > 0)
            got += (size_t)r;
        turn(f);
    }
    return got;
}

static void arrives(struct fix *f, int fd, const char *text)
{
    char buf[200];
    assert_int_equal(gets_at(f, fd, buf, strlen(text)), strlen(text));
    assert_memory_equal(buf, text, strlen(text));
}

static void says(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void sees_end(struct fix *f, int fd)
{
    char c;
    for (int i = 0; i < TURNS; i++) {
        ssize_t r = read(fd, &c, 1);
        assert_true(r <= 0);
        if (r == 0)
            return;
        assert_int_equal(errno, EAGAIN);
        turn(f);
    }
    fail();
}

static void reset(int *fd)
{
    struct linger l = { 1, 0 };
    setsockopt(*fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    close(*fd);
    *fd = -1;
}

/* With nothing left to do, the loop would sleep: it is not told of sockets that nobody can use now. */
static void assert_quiet(struct fix *f)
{
    struct epoll_event ev[4];
    for (int i = 0; i < 50; i++)
        turn(f);
    assert_int_equal(epoll_wait(uv_backend_fd(&f->loop.uv), ev, 4, 0), 0);
}

static unsigned open_fds(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* ---- bytes ---- */

static void test_both_halves(void **state)
{
    struct fix *f = *state;
    listen_tcp(f);
    int fd[2];
    tcp_pair(fd);
    says(fd[1], "hello that was peeked at");
    start_on(f, fd);
    accept_up(f);
    arrives(f, f->up, "hello that was peeked at");
    says(f->up, "server");
    arrives(f, f->c, "server");
    shutdown(f->c, SHUT_WR);
    sees_end(f, f->up);
    assert_int_equal(f->done, 0);
    says(f->up, "rest"); /* the other half is still open */
    arrives(f, f->c, "rest");
    close(f->up);
    f->up = -1;
    sees_end(f, f->c);
    wait_done(f, RELAY_DONE);
    assert_int_equal(f->res.up, 24);
    assert_int_equal(f->res.down, 10);
    assert_int_equal(f->res.error, 0);
}

static void test_server_closes_first(void **state)
{
    struct fix *f = *state;
    open_tcp(f);
    says(f->up, "page");
    shutdown(f->up, SHUT_WR);
    arrives(f, f->c, "page");
    sees_end(f, f->c);
    says(f->c, "still talking");
    arrives(f, f->up, "still talking");
    assert_int_equal(f->done, 0);
    shutdown(f->c, SHUT_WR);
    sees_end(f, f->up);
    wait_done(f, RELAY_DONE);
}

/* TLS has no urgent data, and splice(2) cannot pass them: without an end the loop would never sleep again. */
static void urgent(struct fix *f, int from, int to, enum relay_end end)
{
    says(from, "before");
    arrives(f, to, "before");
    assert_int_equal(send(from, "!", 1, MSG_OOB), 1);
    says(from, "after");
    wait_done(f, end);
    assert_int_equal(f->res.error, EPROTO);
}

static void test_urgent_data_from_client(void **state)
{
    struct fix *f = *state;
    open_tcp(f);
    urgent(f, f->c, f->up, RELAY_CLIENT_GONE);
}

static void test_urgent_data_from_server(void **state)
{
    struct fix *f = *state;
    open_tcp(f);
    urgent(f, f->up, f->c, RELAY_UPSTREAM_GONE);
}

static void proxied(struct fix *f, enum proxy_version v, uint8_t family)
{
    char buf[400];
    uint8_t want[200];
    f->params.proxy = v;
    f->params.addr = (struct proxy_addr){ .family = family, .src_port = 50112, .dst_port = 443 };
    memset(f->params.addr.src, 0x20, 16);
    memset(f->params.addr.dst, 0xfd, 16);
    struct wr w = wr_make(want, sizeof want);
    proxy_encode(&w, v, &f->params.addr);
    assert_true(wr_ok(&w) && wr_len(&w) > 10);
    wr_bytes(&w, "hello", 5);
    listen_tcp(f);
    int fd[2];
    tcp_pair(fd);
    says(fd[1], "hello");
    start_on(f, fd);
    memset(&f->params.addr, 0, sizeof f->params.addr); /* it was copied */
    accept_up(f);
    assert_int_equal(gets_at(f, f->up, buf, wr_len(&w)), wr_len(&w));
    assert_memory_equal(buf, want, wr_len(&w));
    assert_int_equal(read(f->up, buf, 1), -1);
    says(f->up, "ok");
    arrives(f, f->c, "ok");
    shutdown(f->c, SHUT_WR);
    shutdown(f->up, SHUT_WR);
    wait_done(f, RELAY_DONE);
    assert_int_equal(f->res.up, 5); /* the header is ours */
}

static void test_proxy_v1(void **state)
{
    proxied(*state, PROXY_V1, 6);
}

static void test_proxy_v2(void **state)
{
    proxied(*state, PROXY_V2, 4);
}

/* The header comes though the client says nothing: then nothing else does, and the loop sleeps. */
static void test_proxy_to_a_silent_client(void **state)
{
    struct fix *f = *state;
    f->params.proxy = PROXY_V1;
    open_tcp(f);
    arrives(f, f->up, "PROXY UNKNOWN\r\n");
    assert_quiet(f);
    says(f->up, "banner");
    arrives(f, f->c, "banner");
}

struct flow { /* one direction of a test's traffic: what goes in, what comes out */
    int in, out;
    size_t sent, got;
    EVP_MD_CTX *sent_hash, *got_hash;
};

static uint8_t noise[1 << 20];

static void flow_init(struct flow *w, int in, int out)
{
    *w = (struct flow){ .in = in, .out = out, .sent_hash = EVP_MD_CTX_new(), .got_hash = EVP_MD_CTX_new() };
    assert_int_equal(EVP_DigestInit(w->sent_hash, EVP_sha256()) + EVP_DigestInit(w->got_hash, EVP_sha256()), 2);
}

static void flow_send(struct flow *w, size_t n)
{
    size_t at = rnd(sizeof noise);
    n = n < sizeof noise - at ? n : sizeof noise - at;
    ssize_t r = write(w->in, noise + at, n);
    assert_true(r > 0 || errno == EAGAIN);
    if (r > 0) {
        EVP_DigestUpdate(w->sent_hash, noise + at, (size_t)r);
        w->sent += (size_t)r;
    }
}

static void flow_recv(struct flow *w, size_t n)
{
    static uint8_t buf[1 << 18];
    ssize_t r = read(w->out, buf, n < sizeof buf ? n : sizeof buf);
    assert_true(r > 0 || errno == EAGAIN);
    if (r > 0) {
        EVP_DigestUpdate(w->got_hash, buf, (size_t)r);
        w->got += (size_t)r;
    }
}

static void flow_check(struct flow *w)
{
    uint8_t a[32], b[32];
    assert_int_equal(w->sent, w->got);
    EVP_DigestFinal(w->sent_hash, a, NULL);
    EVP_DigestFinal(w->got_hash, b, NULL);
    assert_memory_equal(a, b, 32);
    EVP_MD_CTX_free(w->sent_hash);
    EVP_MD_CTX_free(w->got_hash);
}

/* Random pieces both ways at once, each side reading and writing when it feels like it. */
static void traffic(struct fix *f, size_t total)
{
    struct flow up, down;
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)rnd(256);
    accept_up(f);
    flow_init(&up, f->c, f->up);
    flow_init(&down, f->up, f->c);
    for (int i = 0; i < TURNS && (up.sent < total || down.sent < total || up.got < up.sent || down.got < down.sent);
         i++) {
        unsigned mood = (unsigned)i / 200 % 4; /* now and then a side only sends or only reads */
        if (up.sent < total && mood != 1)
            flow_send(&up, 1 + rnd(rnd(4) ? 3000 : 300000));
        if (down.sent < total && mood != 2)
            flow_send(&down, 1 + rnd(rnd(4) ? 3000 : 300000));
        if (mood != 3 || up.sent >= total)
            flow_recv(&up, 1 + rnd(rnd(2) ? 2000 : 250000));
        if (mood != 0 || down.sent >= total)
            flow_recv(&down, 1 + rnd(rnd(2) ? 2000 : 250000));
        if (rnd(3))
            turn(f);
    }
    shutdown(f->c, SHUT_WR);
    shutdown(f->up, SHUT_WR);
    wait_done(f, RELAY_DONE);
    assert_int_equal(f->res.up, up.sent);
    assert_int_equal(f->res.down, down.sent);
    flow_check(&up);
    flow_check(&down);
}

static void test_traffic_tcp(void **state)
{
    struct fix *f = *state;
    listen_tcp(f);
    start(f);
    traffic(f, 32 << 20);
}

static void test_traffic_small_buffers(void **state)
{
    struct fix *f = *state;
    int fd[2], small = 8192;
    listen_tcp(f);
    setsockopt(f->listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    tcp_pair(fd);
    setsockopt(fd[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    start_on(f, fd);
    traffic(f, 8 << 20);
}

static void test_traffic_unix(void **state)
{
    struct fix *f = *state;
    int fd[2];
    listen_unix(f, 8);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd), 0);
    start_on(f, fd);
    traffic(f, 16 << 20);
}

/* Data and the end of file in one: what is still in the pipe goes out before the end does. */
static void test_end_behind_a_full_pipe(void **state)
{
    struct fix *f = *state;
    enum { TOTAL = 4 << 20 };
    char *got = malloc(TOTAL);
    open_tcp(f);
    size_t sent = 0;
    for (int i = 0; i < TURNS && sent < TOTAL; i++) {
        size_t n = TOTAL - sent < sizeof noise ? TOTAL - sent : sizeof noise;
        ssize_t r = write(f->up, noise, n);
        if (r > 0)
            sent += (size_t)r;
        turn(f);
        if (r < 0 && i > 1000)
            break;
    }
    close(f->up);
    f->up = -1;
    assert_quiet(f);
    assert_int_equal(gets_at(f, f->c, got, sent), sent);
    sees_end(f, f->c);
    free(got);
}

/* ---- slow sides ---- */

/* Nobody reads: what is held is bounded and costs no memory of ours, the loop sleeps, and nothing is lost. */
static void stopped_reader(struct fix *f, bool down)
{
    enum { MORE = 64 << 20 };
    open_tcp(f);
    int in = down ? f->up : f->c, out = down ? f->c : f->up;
    struct flow w;
    flow_init(&w, in, out);
    size_t before = mallinfo2().uordblks;
    for (int i = 0, quiet = 0; quiet < 300 && w.sent < MORE; i++, quiet++) {
        size_t had = w.sent;
        flow_send(&w, 100000);
        if (w.sent > had)
            quiet = 0;
        turn(f);
    }
    assert_true(w.sent > 0 && w.sent < MORE);
    assert_true(mallinfo2().uordblks < before + 8192);
    assert_quiet(f);
    for (int i = 0; i < TURNS && w.got < w.sent; i++) {
        flow_recv(&w, 1 + rnd(100000));
        turn(f);
    }
    flow_check(&w);
}

static void test_stopped_client(void **state)
{
    stopped_reader(*state, true);
}

static void test_stopped_server(void **state)
{
    stopped_reader(*state, false);
}

static void test_rest_costs_no_descriptor(void **state)
{
    struct fix *f = *state;
    open_tcp(f);
    unsigned before = open_fds();
    for (int i = 0; i < 20; i++) {
        says(f->c, "ping");
        arrives(f, f->up, "ping");
        says(f->up, "pong");
        arrives(f, f->c, "pong");
    }
    assert_quiet(f);
    assert_true(open_fds() <= before + 4); /* what the pool keeps */
}

/* ---- ends ---- */

static void test_client_resets(void **state)
{
    struct fix *f = *state;
    open_tcp(f);
    reset(&f->c);
    wait_done(f, RELAY_CLIENT_GONE);
    assert_int_equal(f->res.error, ECONNRESET);
    sees_end(f, f->up);
}

static void test_client_resets_while_it_is_written_to(void **state)
{
    struct fix *f = *state;
    open_tcp(f);
    for (int i = 0, quiet = 0; quiet < 300 && i < TURNS; i++, quiet++) {
        if (write(f->up, noise, sizeof noise) > 0)
            quiet = 0;
        turn(f);
    }
    reset(&f->c);
    wait_done(f, RELAY_CLIENT_GONE);
    assert_true(f->res.error == ECONNRESET || f->res.error == EPIPE);
}

static void test_server_resets(void **state)
{
    struct fix *f = *state;
    open_tcp(f);
    reset(&f->up);
    wait_done(f, RELAY_UPSTREAM_GONE);
    assert_int_equal(f->res.error, ECONNRESET);
    sees_end(f, f->c);
}

/* A server that answers early and takes no more: its answer arrives though the client goes on sending. */
static void test_early_answer_during_upload(void **state)
{
    struct fix *f = *state;
    listen_unix(f, 8);
    start(f);
    accept_up(f);
    says(f->c, "POST");
    arrives(f, f->up, "POST");
    says(f->up, "413 too much");
    close(f->up);
    f->up = -1;
    for (int i = 0; i < 50; i++) {
        (void)!write(f->c, noise, 20000);
        turn(f);
    }
    arrives(f, f->c, "413 too much");
    sees_end(f, f->c);
    close(f->c);
    f->c = -1;
    for (int i = 0; i < TURNS && !f->done; i++)
        turn(f);
    assert_int_equal(f->done, 1);
}

/* The same with a client that stays: the linger ends by itself. */
static void test_linger_is_bounded(void **state)
{
    struct fix *f = *state;
    listen_unix(f, 8);
    start(f);
    accept_up(f);
    close(f->up);
    f->up = -1;
    says(f->c, "data for nobody");
    uint64_t begin = uv_hrtime();
    while (!f->done && uv_hrtime() - begin < 20u * 1000000000ull) {
        turn(f);
        usleep(1000);
    }
    assert_int_equal(f->done, 1);
    sees_end(f, f->c);
}

static void test_refused(void **state)
{
    struct fix *f = *state;
    listen_tcp(f);
    close(f->listener);
    f->listener = -1;
    start(f);
    wait_done(f, RELAY_UPSTREAM_DOWN);
    assert_int_equal(f->res.error, ECONNREFUSED);
    sees_end(f, f->c);
}

static void test_no_such_unix_socket(void **state)
{
    struct fix *f = *state;
    listen_unix(f, 1);
    unlink(f->path);
    start(f); /* done is not called from here, though connect() fails at once */
    wait_done(f, RELAY_UPSTREAM_DOWN);
    assert_int_equal(f->res.error, ENOENT);
}

static void test_connect_timeout(void **state)
{
    struct fix *f = *state;
    listen_unix(f, 0);
    int fill[8];
    for (int i = 0; i < 8; i++) { /* a full backlog: connect() says EAGAIN */
        fill[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_true(connect(fill[i], (struct sockaddr *)&f->addr, f->addr_len) == 0 || errno == EAGAIN);
    }
    f->params.connect_ms = 60;
    uint64_t begin = uv_hrtime();
    start(f);
    wait_done(f, RELAY_UPSTREAM_DOWN);
    assert_true(uv_hrtime() - begin >= 30u * 1000000);
    assert_true(f->res.error == EAGAIN || f->res.error == ETIMEDOUT);
    for (int i = 0; i < 8; i++)
        close(fill[i]);
}

static void test_unix_upstream_waits_for_backlog(void **state)
{
    struct fix *f = *state;
    listen_unix(f, 0);
    int fill = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(fill, (struct sockaddr *)&f->addr, f->addr_len), 0);
    start(f);
    for (int i = 0; i < 10; i++)
        turn(f);
    int first = accept(f->listener, NULL, NULL);
    assert_true(first >= 0);
    close(first);
    close(fill);
    accept_up(f); /* the second attempt */
    says(f->c, "hi");
    arrives(f, f->up, "hi");
}

static void test_idle(void **state)
{
    struct fix *f = *state;
    f->params.idle_ms = 40;
    open_tcp(f);
    uint64_t begin = uv_hrtime();
    says(f->c, "hi");
    arrives(f, f->up, "hi");
    wait_done(f, RELAY_IDLE);
    assert_true(uv_hrtime() - begin >= 39u * 1000000);
    sees_end(f, f->up);
    sees_end(f, f->c);
}

/* The server is done, the client got it all and stays: that is no failure. */
static void test_idle_after_the_end(void **state)
{
    struct fix *f = *state;
    f->params.idle_ms = 40;
    open_tcp(f);
    shutdown(f->up, SHUT_WR);
    sees_end(f, f->c);
    wait_done(f, RELAY_DONE);
}

static void test_stop(void **state)
{
    struct fix *f = *state;
    open_tcp(f);
    splice_stop(f->splice);
    assert_int_equal(f->done, 1);
    assert_int_equal(f->res.end, RELAY_STOPPED);
    sees_end(f, f->up);
    sees_end(f, f->c);
}

static void test_stop_while_connecting(void **state)
{
    struct fix *f = *state;
    listen_tcp(f);
    start(f);
    splice_stop(f->splice);
    assert_int_equal(f->done, 1);
    assert_int_equal(f->res.end, RELAY_STOPPED);
}

static void test_stop_with_full_pipes(void **state)
{
    struct fix *f = *state;
    open_tcp(f);
    unsigned before = open_fds();
    for (int i = 0; i < 3000; i++) {
        (void)!write(f->up, noise, 100000);
        (void)!write(f->c, noise, 100000);
        turn(f);
    }
    assert_true(open_fds() > before);
    splice_stop(f->splice);
    assert_int_equal(f->done, 1);
    turn(f);
    assert_true(open_fds() <= before - 2); /* pipes with something in them do not go back to the pool */
}

static void test_bad_address_length(void **state)
{
    struct fix *f = *state;
    int fd[2];
    tcp_pair(fd);
    f->c = fd[1];
    f->params.upstream = (struct sockaddr *)&f->addr;
    f->params.upstream_len = sizeof(struct sockaddr_storage) + 1;
    assert_null(splice_start(&f->loop, f->pool, net_fd_new(&f->loop, fd[0], no_event, NULL), &f->params));
    assert_int_equal(f->done, 0);
    sees_end(f, f->c);
}

/* ---- many ---- */

struct one {
    struct splice *s;
    struct flow down, up;
    int done;
};

static void one_done(void *arg, const struct relay_result *r)
{
    struct one *o = arg;
    assert_int_equal(r->end, RELAY_DONE);
    o->done++;
}

static void test_many_at_once(void **state)
{
    struct fix *f = *state;
    enum { EACH = 300000 };
    struct one *o = calloc(MANY, sizeof *o);
    unsigned before = open_fds();
    listen_tcp(f);
    f->params.upstream = (struct sockaddr *)&f->addr;
    f->params.upstream_len = f->addr_len;
    f->params.done = one_done;
    for (int i = 0; i < MANY; i++) {
        int fd[2], up = -1;
        tcp_pair(fd);
        f->params.arg = &o[i];
        o[i].s = splice_start(&f->loop, f->pool, net_fd_new(&f->loop, fd[0], no_event, NULL), &f->params);
        assert_non_null(o[i].s);
        for (int t = 0; t < TURNS && up < 0; t++) {
            turn(f);
            up = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        }
        flow_init(&o[i].up, fd[1], up);
        flow_init(&o[i].down, up, fd[1]);
    }
    unsigned peak = 0;
    for (int t = 0, left = MANY; t < 20000 && left; t++) { /* all are held up at first: nobody reads for a while */
        left = 0;
        for (int i = 0; i < MANY; i++) {
            if (o[i].up.sent < EACH)
                flow_send(&o[i].up, 1 + rnd(60000));
            if (o[i].down.sent < EACH * 10)
                flow_send(&o[i].down, 1 + rnd(600000));
            if (t > 50) {
                flow_recv(&o[i].up, 1 + rnd(60000));
                flow_recv(&o[i].down, 1 + rnd(600000));
            }
            left += o[i].up.sent < EACH || o[i].down.sent < EACH * 10 || o[i].up.got < o[i].up.sent ||
                    o[i].down.got < o[i].down.sent;
        }
        unsigned n = t == 50 ? open_fds() : 0;
        peak = n > peak ? n : peak;
        turn(f);
    }
    assert_true(peak > before + 4 * MANY); /* there were more pipes than the pool keeps, or it would show nothing */
    assert_quiet(f);
    assert_true(open_fds() <= before + 1 + 3 * MANY + 2 * 64 + MANY);
    for (int i = 0; i < MANY; i++) {
        flow_check(&o[i].up);
        flow_check(&o[i].down);
        shutdown(o[i].up.in, SHUT_WR);
        shutdown(o[i].down.in, SHUT_WR);
    }
    for (int i = 0; i < MANY; i++) {
        for (int t = 0; t < TURNS && !o[i].done; t++)
            turn(f);
        assert_int_equal(o[i].done, 1);
        close(o[i].up.in);
        close(o[i].down.in);
    }
    turn(f);
    assert_true(open_fds() <= before + 1 + 2 * 64);
    free(o);
}

/* No descriptor for a pipe: bytes wait where they are, the loop sleeps, and all goes on when there is one. */
static void test_no_pipe_to_be_had(void **state)
{
    struct fix *f = *state;
    struct rlimit had, none;
    listen_tcp(f);
    start(f);
    for (int i = 0; i < TURNS && f->up < 0; i++) /* without a turn of the loop: no pipe was taken yet */
        f->up = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &had), 0);
    none = had;
    int next = dup(0);
    close(next);
    none.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    says(f->c, "up");
    says(f->up, "down");
    assert_quiet(f);
    char c;
    assert_int_equal(read(f->up, &c, 1), -1);
    assert_int_equal(read(f->c, &c, 1), -1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &had), 0);
    arrives(f, f->up, "up");
    arrives(f, f->c, "down");
    shutdown(f->c, SHUT_WR);
    sees_end(f, f->up);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_both_halves),
        T(test_server_closes_first),
        T(test_urgent_data_from_client),
        T(test_urgent_data_from_server),
        T(test_proxy_v1),
        T(test_proxy_v2),
        T(test_proxy_to_a_silent_client),
        T(test_traffic_tcp),
        T(test_traffic_small_buffers),
        T(test_traffic_unix),
        T(test_end_behind_a_full_pipe),
        T(test_stopped_client),
        T(test_stopped_server),
        T(test_rest_costs_no_descriptor),
        T(test_client_resets),
        T(test_client_resets_while_it_is_written_to),
        T(test_server_resets),
        T(test_early_answer_during_upload),
        T(test_linger_is_bounded),
        T(test_refused),
        T(test_no_such_unix_socket),
        T(test_connect_timeout),
        T(test_unix_upstream_waits_for_backlog),
        T(test_idle),
        T(test_idle_after_the_end),
        T(test_stop),
        T(test_stop_while_connecting),
        T(test_stop_with_full_pipes),
        T(test_bad_address_length),
        T(test_many_at_once),
        T(test_no_pipe_to_be_had),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
