/* The client's call on a stream without TLS: a server of few words on the other end of a socket pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/digest.h"
#include "client/call.h"
#include "net/loop.h"

enum { CONF_REQ = 1, CONF_ACK = 2, ECHO_REQ = 9, ECHO_REP = 10 };

struct lab {
    struct tunnel_bufs bufs;
    struct client_call k;
    struct client_call_cfg cfg;
    struct ppp_secret secret;
    struct tls_stream *tls;
    int server, client;
    uint64_t now;
    uint16_t refused; /* Configure-Requests of this protocol get no answer */
    unsigned ups, downs;
    unsigned echoes[2]; /* heard: SSTP's, LCP's */
    bool deaf;          /* to LCP's too; nobody answers SSTP's */
};

static void fill(void *arg, void *out, size_t n)
{
    (void)arg;
    memset(out, 0x5a, n);
}

static void on_step(void *arg, const char *step, const char *text)
{
    (void)arg, (void)step, (void)text;
}

static void on_up(void *arg)
{
    ((struct lab *)arg)->ups++;
}

static void on_down(void *arg)
{
    ((struct lab *)arg)->downs++;
}

/* ---- the server ---- */

static void say_frame(struct lab *l, uint16_t protocol, uint8_t code, uint8_t id, const void *data, size_t n)
{
    uint8_t pkt[256];
    struct wr w = wr_make(pkt + SSTP_HDR_LEN, sizeof pkt - SSTP_HDR_LEN);
    wr_u16(&w, 0xff03);
    wr_u16(&w, protocol);
    wr_u8(&w, code);
    wr_u8(&w, id);
    wr_u16(&w, (uint16_t)(n + 4));
    wr_bytes(&w, data, n);
    assert_true(wr_ok(&w));
    sstp_data_hdr(pkt, wr_len(&w));
    assert_int_equal(send(l->server, pkt, wr_len(&w) + SSTP_HDR_LEN, 0), wr_len(&w) + SSTP_HDR_LEN);
}

static void say_ack(struct lab *l)
{
    uint8_t pkt[128];
    struct wr w = wr_make(pkt, sizeof pkt);
    struct sstp_ack ack = { .hash_mask = SSTP_HASH_SHA256 };
    sstp_ack_encode(&w, &ack);
    assert_int_equal(send(l->server, pkt, wr_len(&w), 0), wr_len(&w));
}

static void ask_ipv6cp(struct lab *l, uint8_t id)
{
    static const uint8_t own[] = { 1, 10, 2, 0, 0, 0, 0, 0, 0, 1 };
    say_frame(l, PPP_IPV6CP, CONF_REQ, id, own, sizeof own);
}

static void hear_frame(struct lab *l, uint16_t protocol, struct rd info)
{
    static const uint8_t pap[] = { 3, 4, 0xc0, 0x23 }, nothing[] = { 0 };
    uint8_t code = 0, id = 0;
    uint16_t len;
    assert_true(rd_u8(&info, &code) && rd_u8(&info, &id) && rd_u16(&info, &len));
    if (protocol == PPP_LCP && code == ECHO_REQ) {
        l->echoes[1]++;
        if (!l->deaf)
            say_frame(l, PPP_LCP, ECHO_REP, id, "\0\0\0\7", 4);
    }
    if (protocol == PPP_PAP)
        say_frame(l, PPP_PAP, 2, id, nothing, 1);
    if (code != CONF_REQ || protocol == l->refused || protocol == PPP_PAP)
        return;
    say_frame(l, protocol, CONF_ACK, id, info.p, rd_left(&info));
    if (protocol == PPP_LCP)
        say_frame(l, PPP_LCP, CONF_REQ, 7, pap, sizeof pap);
    else if (protocol == PPP_IPV6CP)
        ask_ipv6cp(l, 8);
}

/* Answers what the client has said; false when that was nothing. */
static bool hear(struct lab *l)
{
    uint8_t buf[8192];
    struct sstp_pkt pkt;
    uint16_t protocol;
    ssize_t n = recv(l->server, buf, sizeof buf, MSG_DONTWAIT);
    if (n <= 0)
        return false;
    for (struct rd in = rd_make(buf, (size_t)n); sstp_pkt_next(&in, &pkt) == 0;) {
        if (pkt.control && pkt.whole.p[5] == SSTP_CALL_CONNECT_REQUEST)
            say_ack(l);
        else if (pkt.control && pkt.whole.p[5] == SSTP_ECHO_REQUEST)
            l->echoes[0]++;
        else if (!pkt.control && ppp_frame_open(&pkt.payload, &protocol))
            hear_frame(l, protocol, pkt.payload);
    }
    return true;
}

static void talk(struct lab *l)
{
    while (hear(l))
        client_call_io(&l->k, NET_READ, l->now);
}

static void begin(struct lab *l, uint16_t refused)
{
    const struct client_call_ops ops = { on_step, on_up, on_down, l };
    int pair[2];
    *l = (struct lab){ .now = 1000, .refused = refused, .secret = { "alice", "secret" } };
    assert_int_equal(digest_init(), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    l->client = pair[0];
    l->server = pair[1];
    l->tls = tls_stream_new_plain(pair[0], NULL);
    assert_non_null(l->tls);
    assert_int_equal(tunnel_bufs_init(&l->bufs, 1 << 20, 4 << 20), 0);
    l->cfg = (struct client_call_cfg){ .sstp = sstp_client_cfg_default,
                                       .ppp = { .auth = { PPP_AUTH_PAP }, .ipv6 = true },
                                       .secret = &l->secret,
                                       .rng.fill = fill };
    assert_int_equal(client_call_start(&l->k, &l->cfg, &ops, l->tls, &l->bufs, rd_make(NULL, 0), l->now), 0);
    talk(l);
    assert_true(l->k.sstp_up);
}

static void end(struct lab *l)
{
    client_call_fini(&l->k);
    tls_stream_free(l->tls);
    close(l->server);
    close(l->client);
    tunnel_bufs_fini(&l->bufs);
}

/* ---- the tests ---- */

static void ipv4_comes_first(void **state)
{
    struct lab l = { 0 };
    (void)state;
    begin(&l, PPP_IPCP); /* the server's IPCP stays silent */
    assert_true(l.k.ip6_up);
    assert_false(l.k.up);
    assert_int_equal(l.k.alone_at, l.now + 3000);
    l.now += 3000;
    client_call_expire(&l.k, l.now);
    assert_true(l.k.up);
    assert_int_equal(l.ups, 1);
    end(&l);
}

/* IPv6 came and went while IPv4 was waited for: nothing is due any more, or the owner's timer would never rest. */
static void ipv6_that_went_is_not_waited_for(void **state)
{
    struct lab l = { 0 };
    (void)state;
    begin(&l, PPP_IPCP);
    assert_true(l.k.ip6_up);
    l.refused = 0xffff;
    ask_ipv6cp(&l, 9); /* begins anew, and then says nothing */
    client_call_io(&l.k, NET_READ, l.now);
    assert_false(l.k.ip6_up);
    l.now += 3000;
    client_call_expire(&l.k, l.now);
    client_call_expire(&l.k, l.now);
    assert_false(l.k.up);
    assert_true(client_call_deadline(&l.k) > l.now);
    assert_int_equal(l.ups, 0);
    end(&l);
}

/* Some servers answer no ECHO_REQUEST: LCP's is as good a sign of life. Without either the call is given up. */
static void doubt_asks_both_ways(void **state)
{
    struct lab l = { 0 };
    struct client_end why;
    (void)state;
    for (int deaf = 0; deaf < 2; deaf++) {
        begin(&l, PPP_IPCP);
        l.deaf = deaf;
        client_call_doubt(&l.k, 5000, l.now);
        assert_int_equal(client_call_deadline(&l.k) <= l.now + 5000, 1);
        talk(&l);
        assert_int_equal(l.echoes[0], 1);
        assert_int_equal(l.echoes[1], 1);
        l.now += 5000;
        client_call_expire(&l.k, l.now);
        assert_int_equal(client_call_over(&l.k, &why), deaf);
        if (deaf)
            assert_int_equal(why.cause, CLIENT_SILENT);
        end(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ipv4_comes_first),
        cmocka_unit_test(ipv6_that_went_is_not_waited_for),
        cmocka_unit_test(doubt_asks_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
