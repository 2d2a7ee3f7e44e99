/* The parts of the client that need no server: order of addresses, the race itself on loopback, waits, causes, the
 * request and its answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "client/backoff.h"
#include "client/causes.h"
#include "client/dial.h"
#include "client/outside.h"
#include "client/request.h"
#include "client/race.h"
#include "http/head.h"

static union race_addr v4(const char *ip, uint16_t port)
{
    union race_addr a = { .in = { .sin_family = AF_INET, .sin_port = htons(port) } };
    assert_int_equal(inet_pton(AF_INET, ip, &a.in.sin_addr), 1);
    return a;
}

static union race_addr v6(const char *ip, uint16_t port)
{
    union race_addr a = { .in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) } };
    assert_int_equal(inet_pton(AF_INET6, ip, &a.in6.sin6_addr), 1);
    return a;
}

static void families_take_turns(void **state)
{
    static const struct {
        const char *before, *after; /* a letter an address: capitals are IPv6 */
    } cases[] = { { "", "" },         { "a", "a" },         { "abc", "abc" },
                  { "aA", "aA" },     { "Aa", "Aa" },       { "ABCabc", "AaBbCc" },
                  { "abcA", "aAbc" }, { "ABCDa", "AaBCD" }, { "abABCD", "aAbBCD" } };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        union race_addr list[16];
        char out[17] = "";
        size_t n = strlen(cases[i].before);
        for (size_t k = 0; k < n; k++)
            list[k] = cases[i].before[k] < 'a' ? v6("2001:db8::1", (uint16_t)cases[i].before[k])
                                               : v4("192.0.2.1", (uint16_t)cases[i].before[k]);
        race_order(list, n);
        for (size_t k = 0; k < n; k++)
            out[k] = (char)ntohs(list[k].in.sin_port);
        assert_string_equal(out, cases[i].after);
    }
}

static void addresses_as_text(void **state)
{
    char text[64];
    union race_addr a = v4("198.51.100.7", 443), b = v6("2001:db8::7", 4443);
    (void)state;
    race_addr_text(&a, text, sizeof text);
    assert_string_equal(text, "198.51.100.7:443");
    race_addr_text(&b, text, sizeof text);
    assert_string_equal(text, "[2001:db8::7]:4443");
}

/* ---- the race ---- */

struct result {
    struct net_loop loop;
    struct race race;
    struct timer_entry limit;
    unsigned calls;
    int fd, error;
    char at[64];
};

static void on_done(void *arg, int fd, const union race_addr *at, int error)
{
    struct result *r = arg;
    r->calls++;
    r->fd = fd;
    r->error = error;
    r->at[0] = 0;
    if (at)
        race_addr_text(at, r->at, sizeof r->at);
    net_loop_stop(&r->loop);
}

static void run(struct result *r, const union race_addr *list, size_t n)
{
    *r = (struct result){ .fd = -1 };
    assert_int_equal(net_loop_init(&r->loop, NULL, NULL), 0);
    assert_int_equal(race_start(&r->race, &r->loop, list, n, on_done, r), 0);
    assert_int_equal(r->calls, 0);
    net_loop_run(&r->loop);
    assert_int_equal(r->calls, 1);
    net_loop_fini(&r->loop);
}

static int listener(const char *ip, uint16_t *port)
{
    union race_addr a = v4(ip, 0);
    socklen_t len = sizeof a.in;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, &a.sa, len), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, &a.sa, &len), 0);
    *port = ntohs(a.in.sin_port);
    return fd;
}

static void first_that_answers(void **state)
{
    struct result r;
    uint16_t port;
    char want[64];
    (void)state;
    int l = listener("127.0.0.1", &port);
    /* The first two refuse at once: nobody waits for the stagger. */
    const union race_addr list[3] = { v4("127.0.0.2", port), v4("127.0.0.3", port), v4("127.0.0.1", port) };
    run(&r, list, 3);
    assert_true(r.fd >= 0);
    race_addr_text(&list[2], want, sizeof want);
    assert_string_equal(r.at, want);
    close(r.fd);
    close(l);
}

static void nobody_answers(void **state)
{
    struct result r;
    uint16_t port;
    (void)state;
    int l = listener("127.0.0.1", &port);
    close(l);
    const union race_addr list[2] = { v4("127.0.0.1", port), v4("127.0.0.2", port) };
    run(&r, list, 2);
    assert_int_equal(r.fd, -1);
    assert_int_equal(r.error, ECONNREFUSED);
    run(&r, list, 0);
    assert_int_equal(r.fd, -1);
    assert_int_not_equal(r.error, 0);
}

/* Silence is told as silence. */
static void nobody_answers_in_time(void **state)
{
    struct result r = { .fd = -1 };
    uint16_t port;
    int full[4];
    (void)state;
    int l = listener("127.0.0.1", &port);
    assert_int_equal(listen(l, 0), 0);
    const union race_addr list[1] = { v4("127.0.0.1", port) };
    for (size_t i = 0; i < 4; i++) { /* nobody takes these: the next one waits */
        full[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)!connect(full[i], &list[0].sa, sizeof list[0].in);
    }
    assert_int_equal(net_loop_init(&r.loop, NULL, NULL), 0);
    assert_int_equal(race_start(&r.race, &r.loop, list, 1, on_done, &r), 0);
    r.race.end_at = net_now(&r.loop) + 20;
    net_loop_run(&r.loop);
    assert_int_equal(r.calls, 1);
    assert_int_equal(r.fd, -1);
    assert_int_equal(r.error, ETIMEDOUT);
    net_loop_fini(&r.loop);
    for (size_t i = 0; i < 4; i++)
        close(full[i]);
    close(l);
}

/* ---- waits ---- */

static void waits_double_and_stay_below_the_cap(void **state)
{
    static const uint32_t randoms[] = { 0, 1, 0x7fffffff, 0x80000000, 0xffffffff };
    (void)state;
    for (size_t i = 0; i < sizeof randoms / sizeof randoms[0]; i++) {
        struct backoff b = { 1000, 60000, 0 };
        uint64_t top = 1000;
        for (int n = 0; n < 100; n++) {
            uint32_t wait = backoff_next(&b, randoms[i]);
            assert_in_range(wait, top / 2, top);
            top = top * 2 > 60000 ? 60000 : top * 2;
        }
        backoff_reset(&b);
        assert_in_range(backoff_next(&b, randoms[i]), 500, 1000);
    }
}

/* ---- sleep ---- */

static void sleep_is_the_gap_between_the_clocks(void **state)
{
    struct outside_clocks c = { 100000, 100000 };
    (void)state;
    assert_int_equal(outside_slept_ms(&c, &(struct outside_clocks){ 105000, 105000 }), 0);
    assert_int_equal(outside_slept_ms(&c, &(struct outside_clocks){ 111000, 110000 }), 0); /* a hiccup */
    assert_int_equal(outside_slept_ms(&c, &(struct outside_clocks){ 3711000, 110010 }), 3599990);
    /* What was told once is not told again. */
    assert_int_equal(outside_slept_ms(&c, &(struct outside_clocks){ 3716000, 115010 }), 0);
}

static void the_tick_goes_on_by_the_clock_that_does(void **state)
{
    struct outside_clocks a, b;
    (void)state;
    int fd = outside_tick_open();
    assert_true(fd >= 0);
    struct itimerspec left;
    assert_int_equal(timerfd_gettime(fd, &left), 0);
    assert_int_equal(left.it_interval.tv_sec, OUTSIDE_TICK_S);
    outside_clocks(&a);
    outside_clocks(&b);
    assert_true(b.boot_ms >= a.boot_ms && b.awake_ms >= a.awake_ms);
    assert_int_equal(outside_slept_ms(&a, &b), 0);
    close(fd);
}

static void own_addresses_are_known(void **state)
{
    union race_addr local = v4("127.0.0.1", 443), foreign = v4("192.0.2.77", 443), from;
    (void)state;
    assert_true(outside_is_ours(&local));
    assert_false(outside_is_ours(&foreign));
    assert_true(outside_way(&local, &from));
    assert_true(outside_same_ip(&from, &local));
    assert_false(outside_same_ip(&from, &foreign));
}

/* ---- causes ---- */

static void every_cause_is_told_in_full(void **state)
{
    (void)state;
    for (int c = 0; c < CLIENT_CAUSES; c++) {
        const struct client_cause_info *i = &client_causes[c];
        assert_non_null(i->name);
        assert_non_null(i->text);
        assert_non_null(i->ras);
        assert_non_null(i->remedy);
        assert_in_range(i->exit_status, 0, CLIENT_EXIT_LOST);
        assert_int_equal(i->exit_status == 0, c == CLIENT_OK);
        for (int d = 0; d < c; d++)
            assert_string_not_equal(i->name, client_causes[d].name);
    }
}

static void ends_are_printable(void **state)
{
    struct client_end e;
    (void)state;
    client_end_set(&e, CLIENT_HTTP, "it says %s", "\033[2J\r\nbad\x9b\xff");
    assert_string_equal(e.text, "it says ?[2J??bad??");
    assert_ptr_equal(client_end_ras(&e), client_causes[CLIENT_HTTP].ras);
    e.ras = "RasSstp 3";
    assert_string_equal(client_end_ras(&e), "RasSstp 3");
}

/* ---- the request and its answer ---- */

static void fill(void *arg, void *out, size_t n)
{
    memset(out, *(const uint8_t *)arg, n);
}

static void server_takes_the_request(void **state)
{
    static const char *const urls[] = { "https://vpn.example.com", "https://[2001:db8::1]:4443",
                                        "https://192.0.2.1/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/?tenantid=7" };
    uint8_t seed = 0xff;
    const struct rng rng = { fill, &seed };
    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct http_url u = { 0 };
        struct http_head h;
        char out[1024], why[200];
        assert_int_equal(http_url_parse(urls[i], "https", &u, why, sizeof why), 0);
        size_t n = request_write(out, sizeof out, &u, &rng);
        assert_true(n > 0);
        http_head_init(&h);
        assert_int_equal(http_head_input(&h, rd_make(out, n)), HTTP_SSTP);
        assert_int_equal(h.head_len, n);
        assert_true(h.has_length);
        assert_string_equal(h.corr, "{FFFFFFFF-FFFF-4FFF-BFFF-FFFFFFFFFFFF}");
        assert_int_equal(request_write(out, n, &u, &rng), 0);
    }
}

static void answers_are_judged(void **state)
{
    static const struct {
        const char *head;
        bool good;
        enum client_cause cause;
        const char *ras;
    } cases[] = {
        { "HTTP/1.1 200\r\nContent-Length: 18446744073709551615\r\nServer: Microsoft-HTTPAPI/2.0\r\n\r\n", true, 0,
          "" },
        { "HTTP/1.1 200 OK\r\n\r\n", true, 0, "" },
        { "HTTP/1.0 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n", false, CLIENT_HTTP, "RasSstp 3" },
        { "HTTP/1.1 200 OK\r\nContent-Length: 612\r\nServer: nginx\r\n\r\n", false, CLIENT_HTTP, "RasSstp 4" },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, CLIENT_HTTP, "RasSstp 4" },
        { "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", false, CLIENT_HTTP, "RasSstp 4" },
        { "HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\n\r\n", false, CLIENT_HTTP, "RasSstp 4" },
        { "HTTP/1.1 503 Service Unavailable\r\n\r\n", false, CLIENT_HTTP_BUSY, "RasSstp 4" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_answer a;
        struct client_end e;
        http_answer_init(&a);
        assert_int_equal(http_answer_input(&a, rd_make(cases[i].head, strlen(cases[i].head))), HTTP_ANSWER_DONE);
        assert_int_equal(request_answer_good(&a, &e), cases[i].good);
        if (cases[i].good)
            continue;
        assert_int_equal(e.cause, cases[i].cause);
        assert_string_equal(client_end_ras(&e), cases[i].ras);
        assert_true(strlen(e.text) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_take_turns),
        cmocka_unit_test(addresses_as_text),
        cmocka_unit_test(first_that_answers),
        cmocka_unit_test(nobody_answers),
        cmocka_unit_test(nobody_answers_in_time),
        cmocka_unit_test(waits_double_and_stay_below_the_cap),
        cmocka_unit_test(sleep_is_the_gap_between_the_clocks),
        cmocka_unit_test(the_tick_goes_on_by_the_clock_that_does),
        cmocka_unit_test(own_addresses_are_known),
        cmocka_unit_test(every_cause_is_told_in_full),
        cmocka_unit_test(ends_are_printable),
        cmocka_unit_test(server_takes_the_request),
        cmocka_unit_test(answers_are_judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
