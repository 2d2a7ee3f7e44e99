/* The relay between OpenSSL's client and a web server played by the test, all on one loop that the test turns by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tlstest.h"
#include "web/relay.h"

#define TURNS 1000000 /* of the loop, before a test gives up */

static struct tls_certs *certs;
static SSL_CTX *client_ctx;

static int group_setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    struct test_cert c = test_cert_make(key, "relay");
    static const struct tls_rule rule = { .kind = TLS_RULE_DEFAULT };
    const struct tls_cert_use use = { .cert = test_cert_load(&c, "c"), .rules = &rule, .n_rules = 1 };
    const struct tls_params p = { .min_version = 0x0303 };
    char err[200];
    int rc = use.cert ? tls_certs_new(&use, 1, &p, NULL, &certs, err, sizeof err) : -1;
    tls_cert_unref(use.cert);
    test_cert_free(&c);
    EVP_PKEY_free(key);
    client_ctx = SSL_CTX_new(TLS_client_method());
    return rc || !client_ctx ? -1 : 0;
}

static int group_teardown(void **state)
{
    (void)state;
    tls_certs_unref(certs);
    SSL_CTX_free(client_ctx);
    return 0;
}

/* ---- the three parties ---- */

struct fix {
    struct net_loop loop;
    int listener, up; /* the web server's sockets */
    struct sockaddr_storage addr;
    socklen_t addr_len;
    char path[64];
    SSL *c;
    int cfd;
    struct tls_stream *tls;
    struct net_fd *client;
    struct relay *relay;
    struct relay_params params;
    struct relay_result res;
    int done;
};

static void done(void *arg, const struct relay_result *r)
{
    struct fix *f = arg;
    f->res = *r;
    f->done++;
    f->relay = NULL;
}

static void no_event(void *arg, int events)
{
    (void)arg, (void)events;
}

static void listen_tcp(struct fix *f)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    f->addr_len = sizeof a;
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(f->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(f->listener, (struct sockaddr *)&f->addr, &f->addr_len), 0);
    assert_int_equal(listen(f->listener, 8), 0);
}

static void listen_unix(struct fix *f, int backlog)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    snprintf(f->path, sizeof f->path, "/tmp/test-relay-%d.sock", (int)getpid());
    snprintf(a.sun_path, sizeof a.sun_path, "%s", f->path);
    unlink(f->path);
    f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(f->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(f->listener, backlog), 0);
    memcpy(&f->addr, &a, sizeof a);
    f->addr_len = sizeof a;
}

static void turn(struct fix *f)
{
    uv_run(&f->loop.uv, UV_RUN_NOWAIT);
}

static void nonblock(int fd)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static int setup(void **state)
{
    struct fix *f = calloc(1, sizeof *f);
    int fd[2];
    f->listener = f->up = -1;
    if (net_loop_init(&f->loop, NULL, f) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd))
        return -1;
    nonblock(fd[1]);
    f->cfd = fd[1];
    f->client = net_fd_new(&f->loop, fd[0], no_event, NULL);
    f->tls = tls_stream_new(certs, fd[0], &(struct tls_where){ 0 });
    f->c = SSL_new(client_ctx);
    SSL_set_fd(f->c, fd[1]);
    SSL_set_connect_state(f->c);
    SSL_set_mode(f->c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    for (int i = 0, s = ERR_AGAIN; i < 20 && (s || !SSL_is_init_finished(f->c)); i++) {
        SSL_do_handshake(f->c);
        if (s == ERR_AGAIN)
            s = tls_stream_handshake(f->tls);
    }
    ERR_clear_error();
    f->params = (struct relay_params){ .idle_ms = 60000, .connect_ms = 5000, .done = done, .arg = f };
    *state = f;
    return SSL_is_init_finished(f->c) ? 0 : -1;
}

static int teardown(void **state)
{
    struct fix *f = *state;
    if (f->relay)
        relay_stop(f->relay);
    turn(f);
    net_loop_fini(&f->loop);
    SSL_free(f->c);
    ERR_clear_error();
    if (f->cfd >= 0)
        close(f->cfd);
    if (f->listener >= 0)
        close(f->listener);
    if (f->up >= 0)
        close(f->up);
    if (f->path[0])
        unlink(f->path);
    free(f);
    return 0;
}

static void start(struct fix *f)
{
    f->params.upstream = (struct sockaddr *)&f->addr;
    f->params.upstream_len = f->addr_len;
    f->relay = relay_start(&f->loop, f->tls, f->client, &f->params);
    assert_non_null(f->relay);
    assert_int_equal(f->done, 0);
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

static void wait_done(struct fix *f, enum relay_end want)
{
    for (int i = 0; i < TURNS && !f->done; i++)
        turn(f);
    assert_int_equal(f->done, 1);
    if (f->res.end != want)
        print_error("ended with %s\n", relay_end_name(f->res.end));
    assert_int_equal(f->res.end, want);
}

/* What the web server receives, up to n bytes; less only at its end. */
static size_t up_gets(struct fix *f, void *buf, size_t n)
{
    size_t got = 0;
    for (int i = 0; i < TURNS && got < n; i++) {
        ssize_t r = read(f->up, (char *)buf + got, n - got);
        if (r == 0)
            break;
        if (r > 0)
            got += (size_t)r;
        turn(f);
    }
    return got;
}

static size_t client_gets(struct fix *f, void *buf, size_t n)
{
    size_t got = 0;
    for (int i = 0; i < TURNS && got < n; i++) {
        int r = SSL_read(f->c, (char *)buf + got, (int)(n - got));
        if (r > 0)
            got += (size_t)r;
        else if (SSL_get_error(f->c, r) != SSL_ERROR_WANT_READ)
            break;
        turn(f);
    }
    ERR_clear_error();
    return got;
}

static void client_says(struct fix *f, const char *text)
{
    assert_int_equal(SSL_write(f->c, text, (int)strlen(text)), strlen(text));
}

static void up_says(struct fix *f, const char *text)
{
    assert_int_equal(write(f->up, text, strlen(text)), strlen(text));
}

/* The end, with close_notify (or the plain end of file, when that is what was wanted). */
static void client_sees_end(struct fix *f, bool notify)
{
    char c;
    for (int i = 0; i < TURNS; i++) {
        int r = SSL_read(f->c, &c, 1);
        assert_true(r <= 0);
        int e = SSL_get_error(f->c, r);
        ERR_clear_error();
        if (e == SSL_ERROR_WANT_READ) {
            turn(f);
            continue;
        }
        assert_int_equal(e == SSL_ERROR_ZERO_RETURN, notify);
        return;
    }
    fail();
}

static uint32_t seed = 7;
static uint32_t rnd(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

/* ---- tests ---- */

static void test_early_bytes_and_both_closes(void **state)
{
    struct fix *f = *state;
    char buf[200];
    listen_tcp(f);
    f->params.early = "GET / HTTP/1.1\r\n";
    f->params.early_len = 16;
    start(f);
    client_says(f, "Host: a\r\n\r\n");
    accept_up(f);
    assert_int_equal(up_gets(f, buf, 27), 27);
    assert_memory_equal(buf, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27);
    up_says(f, "HTTP/1.1 200 OK\r\n\r\n");
    assert_int_equal(client_gets(f, buf, 19), 19);
    assert_memory_equal(buf, "HTTP/1.1 200 OK\r\n\r\n", 19);
    SSL_shutdown(f->c);
    assert_int_equal(up_gets(f, buf, 1), 0); /* FIN */
    assert_int_equal(f->done, 0);
    up_says(f, "rest"); /* the other half is still open */
    assert_int_equal(client_gets(f, buf, 4), 4);
    shutdown(f->up, SHUT_WR);
    client_sees_end(f, true);
    wait_done(f, RELAY_DONE);
    assert_int_equal(f->res.up, 27);
    assert_int_equal(f->res.down, 23);
    assert_int_equal(f->res.error, 0);
}

static void test_upstream_closes_first(void **state)
{
    struct fix *f = *state;
    char buf[200];
    listen_tcp(f);
    start(f);
    accept_up(f);
    up_says(f, "page");
    shutdown(f->up, SHUT_WR);
    assert_int_equal(client_gets(f, buf, 4), 4);
    client_sees_end(f, true);
    assert_int_equal(read(f->cfd, buf, 1), 0); /* FIN behind close_notify */
    client_says(f, "still talking");
    assert_int_equal(up_gets(f, buf, 13), 13);
    SSL_shutdown(f->c);
    assert_int_equal(up_gets(f, buf, 1), 0);
    wait_done(f, RELAY_DONE);
}

static void proxied(struct fix *f, enum proxy_version v, uint8_t family)
{
    char buf[400];
    uint8_t want[200];
    f->params.proxy = v;
    f->params.addr = (struct proxy_addr){ .family = family, .src_port = 50112, .dst_port = 443 };
    memset(f->params.addr.src, 0x20, 16);
    memset(f->params.addr.dst, 0xfd, 16);
    f->params.early = "G";
    f->params.early_len = 1;
    struct wr w = wr_make(want, sizeof want);
    proxy_encode(&w, v, &f->params.addr);
    assert_true(wr_ok(&w) && wr_len(&w) > 10);
    wr_bytes(&w, "GET", 3);
    listen_tcp(f);
    start(f);
    f->params.early = NULL; /* it was copied */
    client_says(f, "ET");
    accept_up(f);
    assert_int_equal(up_gets(f, buf, wr_len(&w)), wr_len(&w));
    assert_memory_equal(buf, want, wr_len(&w));
    assert_int_equal(read(f->up, buf, 1), -1);
}

static void test_proxy_v1(void **state)
{
    proxied(*state, PROXY_V1, 4);
}

static void test_proxy_v2(void **state)
{
    proxied(*state, PROXY_V2, 6);
}

/* Random pieces both ways at once, each side reading and writing when it feels like it. */
static void test_random_traffic(void **state)
{
    struct fix *f = *state;
    enum { TOTAL = 3 << 20 };
    uint8_t *a = malloc(TOTAL), *b = malloc(TOTAL), *ga = malloc(TOTAL), *gb = malloc(TOTAL);
    for (size_t i = 0; i < TOTAL; i++) {
        a[i] = (uint8_t)rnd(256);
        b[i] = (uint8_t)rnd(256);
    }
    listen_tcp(f);
    int small = 8192;
    setsockopt(f->cfd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    setsockopt(f->listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    start(f);
    accept_up(f);
    size_t sa = 0, sb = 0, ra = 0, rb = 0, must = 0;
    for (int i = 0; i < TURNS && (ra < TOTAL || rb < TOTAL); i++) {
        unsigned mood = i / 500 % 4; /* now and then a side only sends or only reads */
        if (sa < TOTAL && mood != 1) {
            size_t n = 1 + rnd(rnd(4) ? 3000 : 40000);
            n = n < must ? must : n;
            n = n < TOTAL - sa ? n : TOTAL - sa;
            int r = SSL_write(f->c, a + sa, (int)n);
            must = r > 0 ? 0 : n;
            sa += r > 0 ? (size_t)r : 0;
        }
        if (sb < TOTAL && mood != 2) {
            size_t n = 1 + rnd(rnd(4) ? 3000 : 80000);
            ssize_t r = write(f->up, b + sb, n < TOTAL - sb ? n : TOTAL - sb);
            sb += r > 0 ? (size_t)r : 0;
        }
        if (ra < TOTAL && mood != 3) {
            size_t n = 1 + rnd(20000);
            ssize_t r = read(f->up, ga + ra, n < TOTAL - ra ? n : TOTAL - ra);
            ra += r > 0 ? (size_t)r : 0;
        }
        if (rb < TOTAL && mood != 0) {
            size_t n = 1 + rnd(20000);
            int r = SSL_read(f->c, gb + rb, (int)(n < TOTAL - rb ? n : TOTAL - rb));
            rb += r > 0 ? (size_t)r : 0;
        }
        ERR_clear_error();
        if (rnd(3))
            turn(f);
    }
    assert_int_equal(ra, TOTAL);
    assert_int_equal(rb, TOTAL);
    assert_memory_equal(a, ga, TOTAL);
    assert_memory_equal(b, gb, TOTAL);
    SSL_shutdown(f->c);
    shutdown(f->up, SHUT_WR);
    wait_done(f, RELAY_DONE);
    assert_int_equal(f->res.up, TOTAL);
    assert_int_equal(f->res.down, TOTAL);
    free(a);
    free(b);
    free(ga);
    free(gb);
}

/*
 * A round's budget ends while one more record lies inside TLS and the socket is empty: no event tells of it. All of
 * that comes behind a single early byte, too, whose buffer is filled again in the same round.
 */
static void test_nothing_stays_inside_tls(void **state)
{
    struct fix *f = *state;
    enum { TOTAL = 256 * 1024 + 10000 };
    char *data = malloc(TOTAL), *got = malloc(TOTAL + 1);
    for (size_t i = 0; i < TOTAL; i++)
        data[i] = (char)rnd(256);
    int big = 4 << 20;
    setsockopt(f->cfd, SOL_SOCKET, SO_SNDBUF, &big, sizeof big);
    for (size_t sent = 0; sent < TOTAL;) {
        int r = SSL_write(f->c, data + sent, (int)(TOTAL - sent));
        assert_true(r > 0);
        sent += (size_t)r;
    }
    listen_tcp(f);
    f->params.early = "E";
    f->params.early_len = 1;
    start(f);
    accept_up(f);
    assert_int_equal(up_gets(f, got, TOTAL + 1), TOTAL + 1);
    assert_int_equal(got[0], 'E');
    assert_memory_equal(data, got + 1, TOTAL);
    free(data);
    free(got);
}

static void test_refused_gives_502(void **state)
{
    struct fix *f = *state;
    char buf[1000] = "";
    listen_tcp(f);
    close(f->listener);
    f->listener = -1;
    f->params.early = "GET / HTTP/1.1\r\n";
    f->params.early_len = 16;
    start(f);
    client_says(f, "POST body that goes on and on"); /* unread bytes must not turn into a reset */
    size_t n = client_gets(f, buf, sizeof buf - 1);
    assert_true(n > 50 && n < sizeof buf - 1);
    assert_memory_equal(buf, "HTTP/1.1 502 ", 13);
    assert_non_null(strstr(buf, "Connection: close"));
    client_sees_end(f, true);
    assert_int_equal(f->done, 0);
    client_says(f, "and on");
    SSL_shutdown(f->c);
    wait_done(f, RELAY_UPSTREAM_DOWN);
    assert_int_equal(f->res.error, ECONNREFUSED);
}

static void test_refused_h2_just_closes(void **state)
{
    struct fix *f = *state;
    listen_tcp(f);
    close(f->listener);
    f->listener = -1;
    f->params.h2 = true;
    start(f);
    client_sees_end(f, true);
    close(f->cfd);
    f->cfd = -1;
    wait_done(f, RELAY_UPSTREAM_DOWN);
    assert_int_equal(f->res.down, 0);
}

/* The client neither reads nor goes away: the linger ends by itself. */
static void test_linger_is_bounded(void **state)
{
    struct fix *f = *state;
    listen_tcp(f);
    close(f->listener);
    f->listener = -1;
    start(f);
    uint64_t begin = uv_hrtime();
    while (!f->done && uv_hrtime() - begin < 20u * 1000000000ull) {
        uv_run(&f->loop.uv, UV_RUN_NOWAIT);
        usleep(1000);
    }
    assert_int_equal(f->done, 1);
    assert_int_equal(f->res.end, RELAY_UPSTREAM_DOWN);
}

static void test_connect_timeout(void **state)
{
    struct fix *f = *state;
    char buf[1000] = "";
    listen_unix(f, 0);
    int fill[8];
    for (int i = 0; i < 8; i++) { /* a full backlog: connect() says EAGAIN */
        fill[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (connect(fill[i], (struct sockaddr *)&f->addr, f->addr_len) == 0)
            continue;
        assert_int_equal(errno, EAGAIN);
    }
    f->params.connect_ms = 60;
    start(f);
    assert_true(client_gets(f, buf, 20) == 20);
    assert_memory_equal(buf, "HTTP/1.1 502 ", 13);
    for (int i = 0; i < 8; i++)
        close(fill[i]);
    SSL_shutdown(f->c);
    client_gets(f, buf, sizeof buf);
    wait_done(f, RELAY_UPSTREAM_DOWN);
    assert_true(f->res.error == EAGAIN || f->res.error == ETIMEDOUT);
}

static void test_unix_upstream_waits_for_backlog(void **state)
{
    struct fix *f = *state;
    char buf[8];
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
    client_says(f, "hi");
    assert_int_equal(up_gets(f, buf, 2), 2);
    up_says(f, "ho");
    assert_int_equal(client_gets(f, buf, 2), 2);
}

static void test_idle(void **state)
{
    struct fix *f = *state;
    char buf[8];
    listen_tcp(f);
    f->params.idle_ms = 40;
    start(f);
    accept_up(f);
    uint64_t begin = uv_hrtime();
    client_says(f, "hi");
    assert_int_equal(up_gets(f, buf, 2), 2);
    wait_done(f, RELAY_IDLE);
    assert_true(uv_hrtime() - begin >= 39u * 1000000);
    assert_int_equal(up_gets(f, buf, 1), 0);
    client_sees_end(f, false);
}

static void test_client_gone(void **state)
{
    struct fix *f = *state;
    char buf[16];
    listen_tcp(f);
    start(f);
    accept_up(f);
    close(f->cfd); /* an abort: reading gives the end, writing fails */
    f->cfd = -1;
    assert_int_equal(up_gets(f, buf, 1), 0);
    up_says(f, "data for nobody");
    wait_done(f, RELAY_CLIENT_GONE);
}

static void test_client_breaks_tls(void **state)
{
    struct fix *f = *state;
    listen_tcp(f);
    start(f);
    accept_up(f);
    assert_int_equal(write(f->cfd, "garbage that is no record of TLS", 32), 32);
    wait_done(f, RELAY_CLIENT_GONE);
}

static void reset_up(struct fix *f)
{
    struct linger l = { 1, 0 };
    setsockopt(f->up, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    close(f->up);
    f->up = -1;
}

static void test_upstream_resets(void **state)
{
    struct fix *f = *state;
    listen_tcp(f);
    start(f);
    accept_up(f);
    reset_up(f);
    wait_done(f, RELAY_UPSTREAM_GONE);
    assert_int_equal(f->res.error, ECONNRESET);
    client_sees_end(f, false);
}

/* A web server that answers early (413) and takes no more: its answer arrives though the client goes on uploading. */
static void test_early_answer_during_upload(void **state)
{
    struct fix *f = *state;
    static char junk[20000];
    char buf[64];
    listen_unix(f, 8);
    start(f);
    accept_up(f);
    client_says(f, "POST");
    assert_int_equal(up_gets(f, buf, 4), 4);
    up_says(f, "413 too much");
    close(f->up);
    f->up = -1;
    for (int i = 0; i < 20; i++)
        if (SSL_write(f->c, junk, sizeof junk) <= 0)
            turn(f);
    assert_int_equal(client_gets(f, buf, 12), 12);
    assert_memory_equal(buf, "413 too much", 12);
    client_sees_end(f, true);
    ERR_clear_error();
    close(f->cfd);
    f->cfd = -1;
    for (int i = 0; i < TURNS && !f->done; i++)
        turn(f);
    assert_int_equal(f->done, 1);
}

/* Nobody reads: what is held is bounded, and nothing is lost once they do. */
static void stopped_reader(struct fix *f, bool down)
{
    enum { MANY = 8 << 20 };
    char *data = malloc(MANY), *got = malloc(MANY);
    for (size_t i = 0; i < MANY; i++)
        data[i] = (char)rnd(256);
    listen_tcp(f);
    start(f);
    accept_up(f);
    size_t before = mallinfo2().uordblks, sent = 0, must = 0;
    for (int i = 0, quiet = 0; quiet < 200 && sent < MANY; i++, quiet++) {
        size_t n = MANY - sent < 16000 ? MANY - sent : 16000;
        ssize_t r = down ? write(f->up, data + sent, n) : SSL_write(f->c, data + sent, (int)(must ? must : n));
        ERR_clear_error();
        must = r > 0 || down ? 0 : n;
        if (r > 0) {
            sent += (size_t)r;
            quiet = 0;
        }
        turn(f);
    }
    size_t held = mallinfo2().uordblks - before;
    assert_true(sent > 0 && sent < MANY);
    assert_true(held < 3 * RELAY_BUF + 16384);
    assert_int_equal(down ? client_gets(f, got, sent) : up_gets(f, got, sent), sent);
    assert_memory_equal(data, got, sent);
    free(data);
    free(got);
}

static void test_stopped_client(void **state)
{
    stopped_reader(*state, true);
}

static void test_stopped_upstream(void **state)
{
    stopped_reader(*state, false);
}

/* A WebSocket at rest costs the relay next to nothing. */
static void test_idle_memory(void **state)
{
    struct fix *f = *state;
    char buf[8];
    listen_tcp(f);
    size_t before = mallinfo2().uordblks;
    start(f);
    accept_up(f);
    for (int i = 0; i < 50; i++) {
        client_says(f, "ping");
        assert_int_equal(up_gets(f, buf, 4), 4);
        up_says(f, "pong");
        assert_int_equal(client_gets(f, buf, 4), 4);
    }
    for (int i = 0; i < 5; i++)
        turn(f);
    /* The client in this process has its own buffers: two records, at most. */
    assert_true(mallinfo2().uordblks < before + 4096 + 2 * 17408);
}

static void test_stop(void **state)
{
    struct fix *f = *state;
    char c;
    listen_tcp(f);
    start(f);
    accept_up(f);
    relay_stop(f->relay);
    assert_int_equal(f->done, 1);
    assert_int_equal(f->res.end, RELAY_STOPPED);
    assert_int_equal(up_gets(f, &c, 1), 0);
}

static void test_stop_while_connecting(void **state)
{
    struct fix *f = *state;
    listen_tcp(f);
    start(f);
    relay_stop(f->relay);
    assert_int_equal(f->done, 1);
}

static void test_bad_address_length(void **state)
{
    struct fix *f = *state;
    f->params.upstream = (struct sockaddr *)&f->addr;
    f->params.upstream_len = sizeof(struct sockaddr_storage) + 1;
    assert_null(relay_start(&f->loop, f->tls, f->client, &f->params));
    assert_int_equal(f->done, 0);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_early_bytes_and_both_closes),
        T(test_upstream_closes_first),
        T(test_proxy_v1),
        T(test_proxy_v2),
        T(test_random_traffic),
        T(test_nothing_stays_inside_tls),
        T(test_refused_gives_502),
        T(test_refused_h2_just_closes),
        T(test_linger_is_bounded),
        T(test_connect_timeout),
        T(test_unix_upstream_waits_for_backlog),
        T(test_idle),
        T(test_client_gone),
        T(test_client_breaks_tls),
        T(test_upstream_resets),
        T(test_early_answer_during_upload),
        T(test_stopped_client),
        T(test_stopped_upstream),
        T(test_idle_memory),
        T(test_stop),
        T(test_stop_while_connecting),
        T(test_bad_address_length),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
