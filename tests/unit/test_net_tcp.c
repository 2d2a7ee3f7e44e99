/* What a TCP socket says of its path, and how much it may hold: over a real connection on the loopback device. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/tcp.h"
#include "tls/stream.h"

struct pair {
    int ours, theirs;
};

static struct pair pair_new(void)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(sa);
    struct pair p;
    int one = 1, small = 4096, l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(l >= 0);
    assert_int_equal(setsockopt(l, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    assert_int_equal(bind(l, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(l, 1), 0);
    assert_int_equal(getsockname(l, (struct sockaddr *)&sa, &len), 0);
    p.ours = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(p.ours, (struct sockaddr *)&sa, sizeof(sa)), 0);
    p.theirs = accept(l, NULL, NULL);
    assert_true(p.theirs >= 0);
    assert_int_equal(setsockopt(p.ours, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
    close(l);
    return p;
}

static void pair_free(struct pair p)
{
    close(p.ours);
    close(p.theirs);
}

/* Until it takes no more; bytes. */
static size_t fill(int fd)
{
    static const char data[4096];
    size_t n = 0;
    for (;;) {
        ssize_t w = send(fd, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (w < 0) {
            assert_int_equal(errno, EAGAIN);
            return n;
        }
        n += (size_t)w;
        assert_true(n < 1u << 30);
    }
}

static bool writable(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT);
}

static void test_ask(void **state)
{
    struct net_tcp_info before, after;
    char data[2000] = { 0 };
    size_t got = 0;
    struct pair p = pair_new();
    (void)state;
    assert_true(net_tcp_ask(p.ours, &before));
    assert_int_equal(before.unsent, 0);
    assert_int_equal(before.in_flight, 0);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(send(p.ours, data, 1000, 0), 1000);
        for (ssize_t n; got < 1000u * (size_t)(i + 1); got += (size_t)n)
            assert_true((n = recv(p.theirs, data, sizeof(data), 0)) > 0);
    }
    assert_true(net_tcp_ask(p.ours, &after));
    assert_in_range(after.rtt_us, 1, 1000000);
    assert_in_range(after.min_rtt_us, 1, after.rtt_us);
    assert_true(after.rate > 1000);
    assert_in_range(after.delivered - before.delivered, 40000, 50000); /* the last ones may be on their way */
    assert_true(after.delivered - before.delivered + after.in_flight >= 50000);
    assert_int_equal(after.unsent, 0);

    size_t n = fill(p.ours); /* who reads nothing */
    assert_true(net_tcp_ask(p.ours, &after));
    assert_true(after.unsent > n / 2);
    assert_true(after.in_flight < 65536);
    assert_true(after.unsent + after.delivered - before.delivered + after.in_flight >= 50000 + n);
    pair_free(p);
}

static void test_ask_what_is_no_tcp(void **state)
{
    struct net_tcp_info i = { .rtt_us = 7 };
    int fd[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    assert_false(net_tcp_ask(fd[0], &i));
    assert_int_equal(i.rtt_us, 0);
    net_tcp_lowat(fd[0], 4096); /* best effort: nothing happens */
    close(fd[0]);
    close(fd[1]);
    assert_false(net_tcp_ask(-1, &i));
    assert_false(net_tcp_hold(-1, 10000));
    assert_false(net_tcp_hold(-1, 0));
}

static void test_lowat(void **state)
{
    struct net_tcp_info i;
    struct pair p = pair_new();
    (void)state;
    net_tcp_lowat(p.ours, 16384);
    size_t n = fill(p.ours);
    assert_true(net_tcp_ask(p.ours, &i));
    assert_in_range(i.unsent, 16384, 16384 + 4096);
    assert_false(writable(p.ours));
    net_tcp_lowat(p.ours, 1 << 20);
    assert_true(fill(p.ours) > n);
    pair_free(p);
}

static void test_hold(void **state)
{
    static const uint32_t hold[] = { 6000, 20000, 65536, 120000, 250000 };
    size_t last = 0;
    (void)state;
    for (size_t k = 0; k < sizeof(hold) / sizeof(*hold); k++) {
        struct net_tcp_info i;
        struct pair p = pair_new();
        assert_true(net_tcp_hold(p.ours, hold[k]));
        size_t n = fill(p.ours);
        assert_true(net_tcp_ask(p.ours, &i));
        size_t held = i.unsent + i.in_flight;
        print_message("hold %u: %zu taken, %zu held\n", hold[k], n, held);
        assert_in_range(held, hold[k] * 3 / 4, hold[k] + 40000); /* the kernel fills its last buffer of 32 KiB */
        assert_false(writable(p.ours));
        assert_true(n >= last);
        last = n;

        assert_true(net_tcp_hold(p.ours, 0)); /* at once, without a word from the reader */
        assert_true(writable(p.ours));
        assert_true(fill(p.ours) > 100000);
        pair_free(p);
    }
}

static void test_hold_less_than_is_there(void **state)
{
    struct net_tcp_info i, j;
    struct pair p = pair_new();
    (void)state;
    fill(p.ours);
    assert_true(net_tcp_ask(p.ours, &i));
    assert_true(net_tcp_hold(p.ours, 10000)); /* what is there stays, no more comes */
    assert_int_equal(fill(p.ours), 0);
    assert_true(net_tcp_ask(p.ours, &j));
    assert_int_equal(j.unsent + j.delivered, i.unsent + i.delivered);
    pair_free(p);
}

/* A last buffer that has room, and always will, takes nothing for long: through the stream that a call has. */
static void test_hold_with_room_in_the_last_buffer(void **state)
{
    struct net_tcp_info i;
    static const char data[100000];
    struct pair p = pair_new();
    struct tls_stream *s = tls_stream_new_plain(p.ours, NULL);
    (void)state;
    assert_non_null(s);
    assert_true(fcntl(p.ours, F_SETFL, O_NONBLOCK) == 0);
    tls_stream_held(s, true);
    assert_int_equal(send(p.ours, data, sizeof(data), MSG_NOSIGNAL), sizeof(data));
    assert_true(net_tcp_hold(p.ours, 10000));
    size_t taken = 0;
    for (int k = 0; k < 500; k++) {
        char got[100];
        if (!tls_stream_unsent(s)) {
            tls_stream_begin(s);
            assert_int_equal(tls_stream_record(s, data, sizeof(got)), 0);
        }
        int rc = tls_stream_unsent(s) ? tls_stream_flush(s) : tls_stream_end(s);
        assert_true(!rc || rc == ERR_AGAIN);
        taken += rc ? 0 : sizeof(got);
        assert_int_equal(recv(p.theirs, got, sizeof(got), MSG_WAITALL), sizeof(got));
    }
    assert_true(net_tcp_ask(p.ours, &i));
    assert_true(i.unsent > 10000);
    assert_in_range(taken, 0, sizeof(data) / 1000); /* one more, before it is apart */
    tls_stream_free(s);
    pair_free(p);
}

static void test_lifted_is_the_kernels(void **state)
{
    int lock = -1;
    socklen_t len = sizeof(lock);
    struct pair p = pair_new();
    (void)state;
    if (getsockopt(p.ours, SOL_SOCKET, 72 /* SO_BUF_LOCK */, &lock, &len) < 0) {
        pair_free(p);
        skip(); /* before Linux 5.15 */
    }
    assert_int_equal(lock & 1, 0);
    int rcv = 8192; /* a receive buffer of a chosen size is not ours to unlock */
    assert_int_equal(setsockopt(p.ours, SOL_SOCKET, SO_RCVBUF, &rcv, sizeof(rcv)), 0);
    assert_true(net_tcp_hold(p.ours, 50000));
    assert_int_equal(getsockopt(p.ours, SOL_SOCKET, 72, &lock, &len), 0);
    assert_int_equal(lock, 3);
    assert_true(net_tcp_hold(p.ours, 0));
    assert_int_equal(getsockopt(p.ours, SOL_SOCKET, 72, &lock, &len), 0);
    assert_int_equal(lock, 2);
    pair_free(p);
}

static void test_take(void **state)
{
    static const uint32_t take[] = { 6000, 20000, 65536, 100000 };
    int lock = 0;
    socklen_t len = sizeof(lock);
    size_t last = 0;
    (void)state;
    for (size_t k = 0; k < sizeof(take) / sizeof(*take); k++) {
        struct pair p = pair_new();
        assert_true(net_tcp_hold(p.theirs, 6000));
        assert_true(net_tcp_take(p.ours, take[k]));
        size_t n = fill(p.theirs);
        print_message("take %u: %zu taken\n", take[k], n);
        assert_in_range(n, take[k] / 2, 2 * take[k] + 70000); /* and what the other end holds */
        assert_true(n >= last);
        last = n;
        pair_free(p);
    }
    struct pair p = pair_new();
    assert_false(net_tcp_take(p.ours, UINT32_MAX)); /* clipped: the kernel's again */
    if (!getsockopt(p.ours, SOL_SOCKET, 72 /* SO_BUF_LOCK */, &lock, &len))
        assert_int_equal(lock & 2, 0);
    pair_free(p);
    assert_false(net_tcp_take(-1, 10000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ask),
        cmocka_unit_test(test_ask_what_is_no_tcp),
        cmocka_unit_test(test_lowat),
        cmocka_unit_test(test_hold),
        cmocka_unit_test(test_hold_less_than_is_there),
        cmocka_unit_test(test_hold_with_room_in_the_last_buffer),
        cmocka_unit_test(test_lifted_is_the_kernels),
        cmocka_unit_test(test_take),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
