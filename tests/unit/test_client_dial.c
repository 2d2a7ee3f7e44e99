/* Dialling as far as TCP, with the test in the resolver's place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/dial.h"

struct lab {
    struct net_loop loop;
    struct dial dial;
    struct dial_cfg cfg;
    int resolver, listener;
    bool done, tcp; /* over; TCP was reached, where these dials stop */
    struct client_end end;
    char step[256]; /* the latest text of "resolve" */
};

static void fill(void *arg, void *out, size_t n)
{
    (void)arg;
    memset(out, 0x5a, n);
}

static void on_step(void *arg, const char *step, const char *text, uint64_t ms)
{
    struct lab *l = arg;
    (void)ms;
    if (!strcmp(step, "resolve"))
        snprintf(l->step, sizeof l->step, "%s", text);
    l->tcp |= !strcmp(step, "tcp");
    if (l->tcp)
        net_loop_stop(&l->loop);
}

static void on_done(void *arg, const struct client_end *why)
{
    struct lab *l = arg;
    l->done = true;
    if (why)
        l->end = *why;
    net_loop_stop(&l->loop);
}

static void begin(struct lab *l)
{
    union race_addr a = { .in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) } };
    socklen_t len = sizeof a.in;
    int pair[2];
    *l = (struct lab){ .listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    assert_int_equal(bind(l->listener, &a.sa, len), 0);
    assert_int_equal(listen(l->listener, 8), 0);
    assert_int_equal(getsockname(l->listener, &a.sa, &len), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    l->resolver = pair[1];
    assert_int_equal(net_loop_init(&l->loop, NULL, NULL), 0);
    assert_int_equal(dial_init(&l->dial, &l->loop, pair[0], (struct rng){ .fill = fill }), 0);
    /* The proxy is where it stops: it waits for an answer that never comes. */
    l->cfg.server = (struct http_url){ .https = true, .port = 443, .host = "vpn.example.com" };
    l->cfg.proxy = (struct http_url){ .port = ntohs(a.in.sin_port), .host = "proxy.example.com" };
}

static void end(struct lab *l)
{
    dial_fini(&l->dial);
    net_loop_fini(&l->loop);
    close(l->listener);
    close(l->resolver);
}

static void start(struct lab *l)
{
    const struct dial_ops ops = { on_step, on_done, l };
    l->done = l->tcp = false;
    l->step[0] = 0;
    dial_start(&l->dial, &l->cfg, &ops);
}

static void ask_take(struct lab *l, struct resolver_ask *ask)
{
    assert_int_equal(recv(l->resolver, ask, sizeof *ask, MSG_DONTWAIT), sizeof *ask);
    assert_string_equal(ask->host, l->cfg.proxy.host);
}

static void answer(struct lab *l, const struct resolver_answer *a)
{
    assert_int_equal(send(l->resolver, a, sizeof *a, 0), sizeof *a);
}

static struct resolver_answer good(const struct lab *l)
{
    struct resolver_answer a = { .n = 1 };
    snprintf(a.host, sizeof a.host, "%s", l->cfg.proxy.host);
    a.addr[0].in = (struct sockaddr_in){ .sin_family = AF_INET,
                                         .sin_port = htons(l->cfg.proxy.port),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    return a;
}

/* One dial that gets its address, and is cancelled. */
static void learn(struct lab *l)
{
    struct resolver_ask ask;
    struct resolver_answer a = good(l);
    start(l);
    ask_take(l, &ask);
    answer(l, &a);
    net_loop_run(&l->loop);
    assert_true(l->tcp);
    dial_cancel(&l->dial);
}

static void addresses_of_before_serve_without_dns(void **state)
{
    struct lab l;
    struct resolver_ask ask;
    (void)state;
    begin(&l);
    learn(&l);
    struct resolver_answer none = good(&l);
    none.n = 0;
    none.id = 2;
    snprintf(none.why, sizeof none.why, "no \x1b[2J DNS");
    start(&l);
    ask_take(&l, &ask);
    answer(&l, &none);
    net_loop_run(&l.loop);
    assert_true(l.tcp);
    assert_non_null(strstr(l.step, "no ?[2J DNS; the addresses of before are tried"));
    dial_cancel(&l.dial);
    end(&l);
}

/* A resolver that does not come back keeps nobody from a server that was reached before. */
static void addresses_of_before_serve_without_an_answer(void **state)
{
    struct lab l;
    (void)state;
    begin(&l);
    learn(&l);
    start(&l);
    l.dial.timer.fn(&l.dial.timer, net_now(&l.loop) + 20000);
    assert_false(l.done);
    net_loop_run(&l.loop);
    assert_true(l.tcp);
    dial_cancel(&l.dial);
    shutdown(l.resolver, SHUT_RDWR);
    start(&l);
    assert_false(l.done);
    net_loop_run(&l.loop);
    assert_true(l.tcp);
    dial_cancel(&l.dial);
    snprintf(l.cfg.proxy.host, sizeof l.cfg.proxy.host, "other.example.com"); /* no name but that one */
    start(&l);
    assert_true(l.done);
    assert_int_equal(l.end.cause, CLIENT_INTERNAL);
    end(&l);
}

/* The resolver works off one question after the other: a failure of before is no answer to the latest. */
static void failures_of_before_do_not_count(void **state)
{
    struct lab l;
    struct resolver_ask first, second;
    (void)state;
    begin(&l);
    start(&l);
    ask_take(&l, &first);
    dial_cancel(&l.dial);
    start(&l);
    ask_take(&l, &second);
    struct resolver_answer a = good(&l), none = a;
    none.id = first.id;
    none.n = 0;
    answer(&l, &none);
    a.id = second.id;
    answer(&l, &a);
    net_loop_run(&l.loop);
    assert_false(l.done);
    assert_true(l.tcp);
    end(&l);
}

/* What the resolver's process says is a stranger's word: it sends us to no other kind of socket. */
static void answers_are_addresses(void **state)
{
    struct lab l;
    struct resolver_ask ask;
    (void)state;
    begin(&l);
    struct resolver_answer a = good(&l);
    a.addr[0].sa.sa_family = AF_UNIX;
    start(&l);
    ask_take(&l, &ask);
    answer(&l, &a);
    net_loop_run(&l.loop);
    assert_true(l.done);
    assert_int_equal(l.end.cause, CLIENT_INTERNAL);
    end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_of_before_serve_without_dns),
        cmocka_unit_test(addresses_of_before_serve_without_an_answer),
        cmocka_unit_test(failures_of_before_do_not_count),
        cmocka_unit_test(answers_are_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
