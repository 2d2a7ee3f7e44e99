/* The client's call on a stream without TLS: a server of few words on the other end of a socket pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/virtio_net.h>

#include "base/digest.h"
#include "client/call.h"
#include "ip/cut.h"
#include "net/loop.h"
#include "tunneltest.h"

enum { CONF_REQ = 1, CONF_ACK = 2, CONF_NAK = 3, ECHO_REQ = 9, ECHO_REP = 10 };
enum { MTU = 1500, HDR = 8, CALL_QUEUE = 1 << 20 };

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
    struct tun_queue tun;
    int kernel; /* the device's other end; a message is a packet */
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
    if (protocol == PPP_IPCP && rd_left(&info) >= 6 && !memcmp(info.p, "\3\6\0\0\0\0", 6)) {
        say_frame(l, PPP_IPCP, CONF_NAK, id, "\3\6\12\0\0\2", 6);
        return;
    }
    say_frame(l, protocol, CONF_ACK, id, info.p, rd_left(&info));
    if (protocol == PPP_LCP)
        say_frame(l, PPP_LCP, CONF_REQ, 7, pap, sizeof pap);
    else if (protocol == PPP_IPCP)
        say_frame(l, PPP_IPCP, CONF_REQ, 9, "\3\6\12\0\0\1", 6);
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
    assert_int_equal(tunnel_bufs_init(&l->bufs, CALL_QUEUE, 2 * CALL_QUEUE), 0);
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
    if (l->kernel) {
        close(l->kernel);
        close(l->tun.fd);
    }
    assert_int_equal(l->bufs.packets.used, 0);
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

/* ---- packets ---- */

static uint32_t rnd = 1;

/* Up with both families, and an interface. */
static void begin_tun(struct lab *l, bool offload)
{
    int pair[2];
    begin(l, 0);
    assert_true(l->k.up && l->k.ip4_up && l->k.ip6_up);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    make_room(pair[0], 1 << 20);
    make_room(pair[1], 1 << 20);
    l->tun = (struct tun_queue){ .fd = pair[0], .offload = { offload, offload } };
    l->kernel = pair[1];
    client_call_tun(&l->k, &l->tun);
}

static const uint8_t gso_types[] = { [OFFLOAD_NONE] = 0, [OFFLOAD_TCP4] = 1, [OFFLOAD_TCP6] = 4, [OFFLOAD_UDP] = 5 };

static void kernel_gives(struct lab *l, uint8_t *packet, size_t len, const struct offload *o)
{
    struct virtio_net_hdr h = { .flags = o->csum,
                                .gso_type = gso_types[o->gso],
                                .hdr_len = o->hdr_len,
                                .gso_size = o->gso_size,
                                .csum_start = o->csum_start,
                                .csum_offset = o->csum_offset };
    struct iovec iov[2] = { { &h, sizeof h }, { packet, len } };
    assert_int_equal(writev(l->kernel, iov, 2), sizeof h + len);
}

static void gives_ip(struct lab *l, uint8_t version, uint32_t len, uint32_t number)
{
    static const struct offload none = { .gso = OFFLOAD_NONE };
    uint8_t packet[4096];
    kernel_gives(l, packet, ip_packet(packet, version, len, number, 0), &none);
}

/* As the engine does after a round of events. */
static void turns(struct lab *l)
{
    for (int i = 0; client_call_turns(&l->k); i++) {
        assert_true(i < 1000);
        client_call_turn(&l->k, l->now * 1000);
    }
}

struct expected {
    const struct flow *f; /* NULL: the numbered ones */
    uint16_t size, part;
    uint32_t next;
};

static void as_expected(void *arg, struct rd ip)
{
    struct expected *e = arg;
    uint8_t want[4096];
    uint32_t len = (uint32_t)rd_left(&ip);
    if (e->f)
        assert_int_equal(flow_nth(e->f, e->size, e->part++, false, want, sizeof want), len);
    else
        ip_packet(want, ip.p[0] >> 4, len, e->next++, 0);
    assert_memory_equal(ip.p, want, len);
}

static void packets_go_out(void **state)
{
    static struct flow f;
    static uint8_t packet[OFFLOAD_PACKET_MAX];
    struct lab l = { 0 };
    struct expected e = { 0 };
    struct reader in = { .ip = as_expected, .arg = &e };
    (void)state;
    begin_tun(&l, true);
    for (uint32_t i = 0; i < 20;) {
        for (uint32_t n = 0; n < 10; n++, i++)
            gives_ip(&l, i < 10 ? 4 : 6, 60 + 72 * i, i);
        assert_false(client_call_turns(&l.k));
        client_call_from_tun(&l.k, l.now * 1000);
        assert_true(client_call_turns(&l.k));
        turns(&l);
        while (reader_read(&in, l.server, 1 << 20))
            ;
    }
    assert_int_equal(e.next, 20);
    assert_int_equal(l.k.stream.packets, 20);
    assert_int_equal(l.tun.reads, 20);
    for (int i = 0; i < 200; i++) {
        struct offload o;
        bool tcp = i % 2;
        e.size = (uint16_t)(100 + flow_below(&rnd, 1100));
        do
            flow_any(&f, &rnd, i % 4 > 1, tcp, tcp ? 60000 : 50 * e.size);
        while (f.payload_len <= e.size);
        e.f = &f;
        e.part = 0;
        kernel_gives(&l, packet, flow_super(&f, e.size, packet, sizeof packet, &o), &o);
        client_call_from_tun(&l.k, l.now * 1000);
        turns(&l);
        while (reader_read(&in, l.server, 1 << 20))
            ;
        assert_int_equal(e.part, (f.payload_len + e.size - 1) / e.size);
    }
    end(&l);
}

static void what_does_not_go_out_is_counted(void **state)
{
    static const struct offload none = { .gso = OFFLOAD_NONE }, lie = { .gso = OFFLOAD_TCP4, .gso_size = 100 };
    struct lab l = { 0 };
    uint8_t packet[4096] = { 0x45, 0, 0xff, 0xff };
    (void)state;
    begin_tun(&l, true);
    kernel_gives(&l, packet, 100, &none); /* its length lies */
    kernel_gives(&l, packet, 1, &none);
    kernel_gives(&l, packet, ip_packet(packet, 4, 200, 0, 0), &lie); /* no TCP */
    gives_ip(&l, 4, MTU, 0);
    gives_ip(&l, 4, MTU + 1, 0);
    gives_ip(&l, 6, MTU + 1, 0);
    client_call_from_tun(&l.k, l.now * 1000);
    assert_int_equal(l.k.n.drop_odd, 3);
    assert_int_equal(l.k.n.drop_mtu, 2);
    assert_int_equal(tunnel_queued(&l.k.stream), MTU);
    turns(&l);
    /* Of a family that is not up. */
    l.refused = 0xffff;
    ask_ipv6cp(&l, 11);
    client_call_io(&l.k, NET_READ, l.now);
    assert_false(l.k.ip6_up);
    gives_ip(&l, 6, 100, 0);
    gives_ip(&l, 4, 100, 0);
    client_call_from_tun(&l.k, l.now * 1000);
    assert_int_equal(l.k.n.drop_gate, 1);
    assert_int_equal(tunnel_queued(&l.k.stream), 100);
    end(&l);
}

/* The server does not read: memory is bounded, the socket is waited for, and then it goes on. */
static void a_server_that_does_not_read(void **state)
{
    struct lab l = { 0 };
    struct reader in = { 0 };
    (void)state;
    begin_tun(&l, true);
    uint32_t put = 0;
    for (; put < 3000; put++) {
        gives_ip(&l, 4, 1000, put);
        client_call_from_tun(&l.k, l.now * 1000);
        turns(&l);
        assert_true(l.bufs.packets.used <= CALL_QUEUE + PKTBUF_COST_MAX); /* and the one in hand */
    }
    uint64_t dropped = l.k.stream.dropped.drop_full;
    assert_true(l.k.blocked && dropped > 0);
    assert_false(client_call_turns(&l.k));
    assert_int_equal(client_call_wants(&l.k), NET_READ | NET_WRITE);
    while (l.k.stream.fq || l.k.blocked) {
        assert_true(reader_read(&in, l.server, 1 << 20) > 0);
        client_call_io(&l.k, NET_WRITE, l.now);
        turns(&l);
    }
    while (reader_read(&in, l.server, 1 << 20))
        ;
    assert_int_equal(in.packets, put - dropped);
    assert_int_equal(client_call_wants(&l.k), NET_READ);
    end(&l);
}

static void the_interface_is_gone(void **state)
{
    struct lab l = { 0 };
    struct client_end why;
    (void)state;
    begin_tun(&l, true);
    int fd = l.tun.fd;
    l.tun.fd = -1;
    client_call_from_tun(&l.k, l.now * 1000);
    assert_true(client_call_over(&l.k, &why));
    assert_int_equal(why.cause, CLIENT_LOCAL);
    assert_int_equal(l.downs, 1);
    l.tun.fd = fd;
    end(&l);
}

/* The server sends a flow's packets, each in two pieces, and an ECHO_REQUEST between if wanted. */
static void server_sends(struct lab *l, const struct flow *f, uint16_t size, bool echo)
{
    uint8_t pkt[4096];
    uint32_t len;
    for (uint16_t i = 0; (len = flow_nth(f, size, i, false, pkt + HDR, sizeof pkt - HDR)); i++) {
        size_t half = 1 + flow_below(&rnd, len);
        if (i == 3 && echo) {
            uint8_t e[SSTP_CTL_HDR_LEN];
            assert_int_equal(send(l->server, e, echo_packet(e), 0), sizeof e);
        }
        sstp_data_hdr(pkt, len + 4);
        memcpy(pkt + 4, f->v6 ? "\xff\x03\x00\x57" : "\xff\x03\x00\x21", 4);
        assert_int_equal(send(l->server, pkt, half, 0), half);
        if (!flow_below(&rnd, 4))
            client_call_io(&l->k, NET_READ, l->now);
        assert_int_equal(send(l->server, pkt + half, HDR + len - half, 0), HDR + len - half);
    }
}

/* What the kernel gets, cut again as it would. Returns how many writes it was. */
static unsigned kernel_takes(struct lab *l, struct expected *e, bool offload)
{
    static uint8_t buf[OFFLOAD_PACKET_MAX];
    uint8_t out[2048];
    unsigned n = 0;
    uint32_t len;
    struct offload o;
    struct tun_queue kernel = { .fd = l->kernel };
    for (; !tun_queue_read(&kernel, buf, &len, &o); n++) {
        struct cut c;
        assert_true(offload || (o.gso == OFFLOAD_NONE && !o.csum));
        assert_int_equal(cut_init(&c, buf, len, &o, MTU), 0);
        for (uint32_t one; (one = cut_len(&c));) {
            cut_next(&c, buf, out, false);
            as_expected(e, rd_make(out, one));
        }
    }
    return n;
}

static void packets_come_in(void **state)
{
    static struct flow f;
    (void)state;
    for (int offload = 0; offload < 2; offload++) {
        struct lab l = { 0 };
        unsigned writes = 0, packets = 0;
        begin_tun(&l, offload);
        for (int i = 0; i < 100; i++) {
            struct expected e = { .f = &f, .size = (uint16_t)(100 + flow_below(&rnd, 1100)) };
            flow_any(&f, &rnd, i % 4 > 1, i % 2, 20 * e.size);
            f.flags = 0x10; /* an ordinary one */
            f.reserved = 0;
            f.urgent = 0;
            f.net_more_len = 0;
            f.next = f.tcp ? FLOW_TCP : FLOW_UDP;
            memcpy(f.last, f.dst, sizeof f.last);
            server_sends(&l, &f, e.size, i % 3 == 0);
            client_call_io(&l.k, NET_READ, l.now);
            turns(&l);
            writes += kernel_takes(&l, &e, offload);
            packets += e.part;
            assert_int_equal(e.part, (f.payload_len + e.size - 1) / e.size);
        }
        assert_int_equal(l.k.n.rx_packets, packets);
        assert_int_equal(l.k.n.drop_odd + l.k.n.drop_gate, 0);
        if (offload)
            assert_true(writes < packets / 2);
        else
            assert_int_equal(writes, packets);
        assert_int_equal(l.tun.writes, writes);
        end(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ipv4_comes_first),
        cmocka_unit_test(ipv6_that_went_is_not_waited_for),
        cmocka_unit_test(doubt_asks_both_ways),
        cmocka_unit_test(packets_go_out),
        cmocka_unit_test(what_does_not_go_out_is_counted),
        cmocka_unit_test(a_server_that_does_not_read),
        cmocka_unit_test(the_interface_is_gone),
        cmocka_unit_test(packets_come_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
