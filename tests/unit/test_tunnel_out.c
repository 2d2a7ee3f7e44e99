/* IP packets on their way out, over a plain stream: a message of the socket pair is a system call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tunneltest.h"

#define HDR        8 /* SSTP's and PPP's */
#define ALL        (1u << 30)
#define FULL       11 /* packets of 1392 bytes in a record */
#define MANY_CALLS 24

static uint32_t rnd = 1;

static enum tunnel_state send_now(struct rig *r, size_t budget, uint64_t now_us)
{
    size_t sent;
    return tunnel_send(&r->s, budget, now_us, &sent);
}

/* A number in each packet says that order was kept: checks, and counts. */
static void in_order(void *arg, struct rd ip)
{
    uint32_t *next = arg;
    uint8_t want[4096];
    size_t len = rd_left(&ip);
    ip_packet(want, ip.p[0] >> 4, (uint32_t)len, (*next)++, 0);
    assert_memory_equal(ip.p, want, len);
}

static void test_header(void **state)
{
    (void)state;
    static const uint8_t want[2][HDR] = { { 0x10, 0, 0, 108, 0xff, 3, 0x00, 0x21 },
                                          { 0x10, 0, 0x05, 0x78, 0xff, 3, 0x00, 0x57 } };
    struct rig r;
    uint8_t got[2048], packet[2048];
    rig_open(&r, SOCK_SEQPACKET);
    for (int v6 = 0; v6 < 2; v6++) {
        uint32_t len = v6 ? 1392 : 100;
        size_t sent;
        ip_packet(packet, v6 ? 6 : 4, len, 5, 0);
        assert_int_equal(take_ip(&r, v6 ? 6 : 4, len, 5, 0), 0);
        assert_true(tunnel_waits(&r.s));
        assert_false(tunnel_owes(&r.s)); /* IP packets hold up no end */
        assert_int_equal(tunnel_queued(&r.s), len);
        assert_int_equal(tunnel_send(&r.s, ALL, 0, &sent), TUNNEL_EMPTY);
        assert_int_equal(sent, HDR + len);
        assert_int_equal(recv(r.peer, got, sizeof got, 0), HDR + len);
        assert_memory_equal(got, want[v6], HDR);
        assert_memory_equal(got + HDR, packet, len);
        assert_idle(&r);
    }
    assert_int_equal(r.s.packets, 2);
    assert_int_equal(r.s.bytes, 100 + 1392);
    rig_close(&r);
}

/* Four records to a system call, each of as many whole packets as it has room for. */
static void test_system_calls(void **state)
{
    (void)state;
    enum { N = 4 * FULL + 5 };
    struct rig r;
    static uint8_t got[1 << 17];
    size_t sent;
    rig_open(&r, SOCK_SEQPACKET);
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(take_ip(&r, 4, 1392, i, 0), 0);
    assert_int_equal(tunnel_send(&r.s, ALL, 0, &sent), TUNNEL_EMPTY);
    assert_int_equal(sent, N * 1400);
    assert_int_equal(recv(r.peer, got, sizeof got, 0), 4 * FULL * 1400);
    assert_int_equal(recv(r.peer, got, sizeof got, 0), 5 * 1400);
    assert_int_equal(recv(r.peer, got, sizeof got, 0), -1);
    assert_idle(&r);
    rig_close(&r);
}

static void test_control_first(void **state)
{
    (void)state;
    struct rig r;
    uint8_t echo[SSTP_CTL_HDR_LEN], got[4096];
    size_t len = echo_packet(echo), sent;
    rig_open(&r, SOCK_SEQPACKET);
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(take_ip(&r, 4, 100, i, 0), 0);
    assert_true(tunnel_put(&r.s, echo, len, TUNNEL_CONTROL_CAP));
    assert_int_equal(tunnel_send(&r.s, 0, 0, &sent), TUNNEL_MORE);
    assert_int_equal(sent, 0);
    assert_int_equal(recv(r.peer, got, sizeof got, 0), len);
    assert_memory_equal(got, echo, len);
    assert_int_equal(recv(r.peer, got, sizeof got, 0), -1);
    assert_true(tunnel_put(&r.s, echo, len, TUNNEL_CONTROL_CAP));
    assert_int_equal(tunnel_send(&r.s, 1, 0, &sent), TUNNEL_MORE);
    assert_int_equal(recv(r.peer, got, sizeof got, 0), len);
    assert_memory_equal(got, echo, len);
    assert_int_equal(recv(r.peer, got, sizeof got, 0), HDR + 100);
    rig_close(&r);
}

/*
 * No more than the budget, but for the packet that uses it up, and no record less; and something always, however small
 * the budget.
 */
static void test_budget(void **state)
{
    (void)state;
    struct rig r;
    struct reader peer = { 0 };
    uint32_t next = 0, put = 0;
    rig_open(&r, SOCK_STREAM);
    make_room(r.fd, 1 << 20);
    peer.ip = in_order;
    peer.arg = &next;
    for (unsigned i = 0; i < 3000; i++) {
        static const size_t budgets[] = { 1, 100, 1400, 1401, 15400, 16384, 16385, 65536 };
        size_t budget = flow_below(&rnd, 3) ? budgets[flow_below(&rnd, 8)] : 1 + flow_below(&rnd, 70000), sent;
        while (tunnel_queued(&r.s) < 80000)
            assert_int_equal(take_ip(&r, flow_below(&rnd, 2) ? 4 : 6, 64 + flow_below(&rnd, 1329), put++, 0), 0);
        enum tunnel_state now = tunnel_send(&r.s, budget, 0, &sent);
        assert_int_equal(now, TUNNEL_MORE);
        assert_true(sent && sent + TLS_RECORD_MAX > budget && sent < budget + HDR + 1392);
        assert_int_equal(reader_read(&peer, r.peer, 1 << 20), sent);
    }
    assert_int_equal(send_now(&r, ALL, 0), TUNNEL_EMPTY);
    while (reader_read(&peer, r.peer, 1 << 20))
        ;
    assert_int_equal(next, put);
    assert_idle(&r);
    rig_close(&r);
}

/* A window or a slow path makes small writes; a record still holds one packet at least. */
static void test_burst(void **state)
{
    (void)state;
    struct rig r;
    static uint8_t got[1 << 17];
    rig_open(&r, SOCK_SEQPACKET);
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(take_ip(&r, 4, 1392, i, 0), 0);
    r.s.burst = 1500;
    assert_int_equal(send_now(&r, 2 * 1400 + 1500, 0), TUNNEL_MORE);
    for (int i = 0; i < 3; i++)
        assert_int_equal(recv(r.peer, got, sizeof got, 0), 1400);
    assert_int_equal(recv(r.peer, got, sizeof got, 0), -1);
    rig_close(&r);
}

/* The socket takes parts: what is kept goes on where it ended, and control packets go between, not into, others. */
static void test_partial_writes(void **state)
{
    (void)state;
    enum { N = 30000 };
    struct rig r;
    struct reader peer = { 0 };
    uint32_t next = 0, put = 0;
    unsigned blocked = 0, controls = 0;
    uint8_t echo[SSTP_CTL_HDR_LEN];
    echo_packet(echo);
    rig_open(&r, SOCK_STREAM);
    make_room(r.fd, 4096);
    peer.ip = in_order;
    peer.arg = &next;
    while (next < N) {
        while (put < N && tunnel_queued(&r.s) < 50000)
            assert_int_equal(take_ip(&r, 4, 24 + flow_below(&rnd, flow_below(&rnd, 2) ? 1300 : 60), put++, 0), 0);
        if (!flow_below(&rnd, 10) && tunnel_put(&r.s, echo, sizeof echo, TUNNEL_CONTROL_CAP))
            controls++;
        size_t sent;
        enum tunnel_state now = tunnel_send(&r.s, flow_below(&rnd, 40000), 0, &sent);
        assert_true(now != TUNNEL_DEAD && now != TUNNEL_PACED);
        assert_int_equal(now == TUNNEL_BLOCKED, tls_stream_unsent(r.s.tls));
        assert_int_equal(now == TUNNEL_EMPTY, !tunnel_waits(&r.s));
        blocked += now == TUNNEL_BLOCKED;
        (void)reader_read(&peer, r.peer, 1 + flow_below(&rnd, flow_below(&rnd, 2) ? 50 : 5000));
    }
    while (send_now(&r, 0, 0) != TUNNEL_EMPTY || reader_read(&peer, r.peer, 1 << 20))
        (void)reader_read(&peer, r.peer, 1 << 20);
    assert_true(blocked > 5000);
    assert_int_equal(peer.packets, N);
    assert_int_equal(peer.controls, controls);
    assert_int_equal(peer.left_len, 0);
    assert_idle(&r);
    assert_int_equal(r.s.dropped.drop_full + r.s.dropped.drop_late, 0);
    rig_close(&r);
}

/* In the long run exactly the rate, whatever the packets; never more at once than a burst of it and a packet. */
static void test_rate(void **state)
{
    (void)state;
    static const uint64_t rates[] = { 2000, 125000, 1250000, 125000000 }; /* bytes a second */
    for (size_t i = 0; i < 4; i++) {
        struct rig r;
        struct reader peer = { 0 };
        uint64_t begin = 1000000, now = begin, all = 0, burst = rates[i] / 50 > 20000 ? rates[i] / 50 : 20000;
        uint32_t put = 0, paced = 0;
        rig_open(&r, SOCK_STREAM);
        make_room(r.fd, 1 << 20);
        struct bucket bucket = { 0 };
        tunnel_up(&r.s, &bucket, rates[i]);
        while (now - begin < 2000000 || paced < 100) {
            size_t sent;
            while (tunnel_queued(&r.s) < 100000)
                (void)take_ip(&r, 4, 24 + flow_below(&rnd, 1369), put++, now);
            enum tunnel_state s = tunnel_send(&r.s, 65536, now, &sent);
            all += sent;
            assert_true(all <= burst + rates[i] / 1000 + rates[i] * (now - begin) / 1000000 + HDR + 1392);
            while (reader_read(&peer, r.peer, 1 << 20))
                ;
            if (s == TUNNEL_MORE)
                continue;
            assert_int_equal(s, TUNNEL_PACED);
            assert_true(all + 1 + all / 10000 >=
                        burst + rates[i] * (now - begin) / 1000000); /* nanoseconds, rounded up */
            assert_true(r.s.resume_us > now && tunnel_waits(&r.s));
            assert_int_equal(tunnel_send(&r.s, 65536, r.s.resume_us - 1, &sent), TUNNEL_PACED);
            assert_int_equal(sent, 0);
            now = r.s.resume_us;
            assert_true(tunnel_send(&r.s, 65536, now, &sent) != TUNNEL_DEAD && sent > 0);
            all += sent;
            paced++;
        }
        rig_close(&r);
    }
}

/* Control packets are not the user's: they go at once. */
static void test_rate_not_for_control(void **state)
{
    (void)state;
    struct rig r;
    uint8_t echo[SSTP_CTL_HDR_LEN], got[1 << 16];
    size_t len = echo_packet(echo), sent;
    rig_open(&r, SOCK_SEQPACKET);
    struct bucket bucket = { 0 };
    tunnel_up(&r.s, &bucket, 1000);
    for (uint32_t i = 0; i < 30; i++)
        assert_int_equal(take_ip(&r, 4, 1392, i, 1), 0);
    assert_int_equal(tunnel_send(&r.s, ALL, 1, &sent), TUNNEL_PACED);
    assert_int_equal(recv(r.peer, got, sizeof got, 0), sent);
    assert_true(tunnel_put(&r.s, echo, len, TUNNEL_CONTROL_CAP));
    assert_int_equal(tunnel_send(&r.s, ALL, 2, &sent), TUNNEL_PACED);
    assert_int_equal(sent, 0);
    assert_int_equal(recv(r.peer, got, sizeof got, 0), len);
    rig_close(&r);
}

static uint32_t any_super(struct flow *f, uint8_t *packet, struct offload *o, uint16_t gso_size)
{
    bool tcp = flow_below(&rnd, 2);
    do
        flow_any(f, &rnd, flow_below(&rnd, 2), tcp, tcp ? 60000 : 50 * gso_size);
    while (f->frag & 0x3fff);
    return flow_super(f, gso_size, packet, OFFLOAD_PACKET_MAX, o);
}

/* A peer that never reads: what waits is bounded for the call and for all; what had no room is counted; all goes back.
 */
static void test_memory(void **state)
{
    (void)state;
    static struct flow f;
    static uint8_t packet[OFFLOAD_PACKET_MAX];
    struct rig r;
    struct offload o;
    uint64_t taken = 0, refused = 0;
    rig_open(&r, SOCK_STREAM);
    for (uint32_t i = 0; i < 4000; i++) {
        if (flow_below(&rnd, 4)) {
            int rc = take_ip(&r, 4, 24 + flow_below(&rnd, 1300), i, 0);
            assert_true(rc == 0 || rc == ERR_AGAIN);
            refused += rc == ERR_AGAIN;
        } else {
            uint32_t len = any_super(&f, packet, &o, (uint16_t)(8 + flow_below(&rnd, 1200)));
            struct pktbuf *b = buf_of(&r, packet, len, &o);
            b->flow = flow_random(&rnd);
            int rc = tunnel_take(&r.s, b, 0);
            assert_true(rc == 0 || rc == ERR_AGAIN || rc == ERR_LIMIT);
            refused += rc == ERR_AGAIN;
        }
        taken++;
        assert_true(r.bufs.packets.used <= RIG_CALL);
        assert_true(!r.s.fq || r.s.fq->cost == r.bufs.packets.used);
        if (!flow_below(&rnd, 50))
            assert_true(send_now(&r, ALL, 0) != TUNNEL_DEAD);
    }
    assert_int_equal(send_now(&r, ALL, 0), TUNNEL_BLOCKED);
    assert_true(r.s.dropped.drop_full > 1000 && r.s.dropped.drop_full >= refused);
    assert_true(r.bufs.packets.used > 0);
    tunnel_stream_fini(&r.s);
    assert_int_equal(r.bufs.packets.used, 0);
    rig_close(&r);
}

/* Many calls that nobody reads: together they stay within what all may have, and the next one still gets some. */
static void test_memory_of_all(void **state)
{
    (void)state;
    struct rig r;
    struct tunnel_stream s[MANY_CALLS];
    static const struct offload none = { .gso = OFFLOAD_NONE };
    uint8_t packet[1400];
    rig_open(&r, SOCK_STREAM);
    r.bufs.call_max = RIG_ALL;
    for (int i = 0; i < MANY_CALLS; i++) {
        s[i] = (struct tunnel_stream){ .bufs = &r.bufs, .tls = r.s.tls, .mtu = 1400 };
        for (uint32_t n = 0; n < 4000; n++) {
            ip_packet(packet, 4, 1392, n, 0);
            if (!pktbuf_fits(&r.bufs.packets, 1392))
                fq_relieve(&r.bufs.packets, 1392); /* as who reads from the TUN does */
            int rc = tunnel_take(&s[i], buf_of(&r, packet, 1392, &none), 0);
            assert_true(rc == 0 || rc == ERR_AGAIN);
            assert_true(r.bufs.packets.used <= RIG_ALL);
        }
        assert_true(s[i].dropped.drop_full > 0);
        assert_true(tunnel_queued(&s[i]) >= 20 * 1392);
    }
    for (int i = 0; i < MANY_CALLS; i++)
        tunnel_stream_fini(&s[i]);
    assert_int_equal(r.bufs.packets.used, 0);
    rig_close(&r);
}

/* Too large for the peer; but a TCP super-packet is cut smaller. Nothing stays of what was refused. */
static void test_mtu(void **state)
{
    (void)state;
    static struct flow f;
    static uint8_t packet[OFFLOAD_PACKET_MAX];
    struct rig r;
    struct reader peer = { 0 };
    struct offload o;
    rig_open(&r, SOCK_STREAM);
    assert_int_equal(take_ip(&r, 4, 1401, 0, 0), ERR_LIMIT);
    assert_int_equal(take_ip(&r, 6, 1401, 0, 0), ERR_LIMIT);
    assert_idle(&r);
    assert_int_equal(take_ip(&r, 6, 1400, 0, 0), 0);
    flow_any(&f, &rnd, false, false, 1);
    f.payload_len = 6000;
    assert_int_equal(tunnel_take(&r.s, buf_of(&r, packet, flow_super(&f, 1400, packet, sizeof packet, &o), &o), 0),
                     ERR_LIMIT);
    flow_any(&f, &rnd, false, true, 1);
    f.payload_len = 6000;
    assert_int_equal(tunnel_take(&r.s, buf_of(&r, packet, flow_super(&f, 1460, packet, sizeof packet, &o), &o), 0), 0);
    assert_int_equal(send_now(&r, ALL, 0), TUNNEL_EMPTY);
    while (reader_read(&peer, r.peer, 1 << 20))
        ;
    uint32_t room = 1400 - flow_headers(&f);
    assert_int_equal(peer.packets, 1 + (6000 + room - 1) / room);
    assert_idle(&r);
    rig_close(&r);
}

struct cutting { /* what is to come of a super-packet */
    const struct flow *f;
    uint16_t size, next;
};

static void as_cut(void *arg, struct rd ip)
{
    struct cutting *c = arg;
    uint8_t want[2048];
    uint32_t len = flow_nth(c->f, c->size, c->next++, false, want, sizeof want);
    assert_int_equal(rd_left(&ip), len);
    assert_memory_equal(ip.p, want, len);
}

/* Super-packets of each kind come out as the packets that they stand for, across records and budgets. */
static void test_super_packets(void **state)
{
    (void)state;
    static struct flow f;
    static uint8_t packet[OFFLOAD_PACKET_MAX];
    struct rig r;
    rig_open(&r, SOCK_STREAM);
    make_room(r.fd, 1 << 20);
    for (unsigned i = 0; i < 1000; i++) {
        struct offload o;
        uint16_t size = (uint16_t)(16 + flow_below(&rnd, 1184));
        uint32_t len = any_super(&f, packet, &o, size);
        struct cutting c = { &f, size, 0 };
        struct reader peer = { .ip = as_cut, .arg = &c };
        if (f.payload_len <= size)
            continue; /* one packet: its flags are its own */
        assert_int_equal(tunnel_take(&r.s, buf_of(&r, packet, len, &o), 0), 0);
        while (send_now(&r, 1 + flow_below(&rnd, 40000), 0) == TUNNEL_MORE)
            while (reader_read(&peer, r.peer, 1 << 20))
                ;
        while (reader_read(&peer, r.peer, 1 << 20))
            ;
        assert_int_equal(c.next, (f.payload_len + size - 1) / size);
        assert_idle(&r);
    }
    rig_close(&r);
}

static void any_lie(uint8_t *packet, uint32_t len, uint32_t *claimed, struct offload *o)
{
    switch (flow_below(&rnd, 8)) {
    case 0: o->gso_size = (uint16_t)flow_random(&rnd); break;
    case 1: o->csum_start = (uint16_t)(flow_below(&rnd, 2) ? flow_random(&rnd) : flow_below(&rnd, 100)); break;
    case 2: o->csum_offset = (uint16_t)(flow_below(&rnd, 2) ? flow_random(&rnd) : flow_below(&rnd, 30)); break;
    case 3: o->hdr_len = (uint16_t)flow_random(&rnd); break;
    case 4: o->gso = (uint8_t)flow_below(&rnd, 5); break;
    case 5: o->csum = !o->csum; break;
    case 6: *claimed = 1 + flow_below(&rnd, len); break;
    default: packet[flow_below(&rnd, len < 80 ? len : 80)] = (uint8_t)flow_random(&rnd);
    }
}

static void within_mtu(void *arg, struct rd ip)
{
    assert_true(rd_left(&ip) <= *(const uint32_t *)arg);
}

/* Headers that lie: refused, or sent as packets of allowed lengths in a stream that stays whole. */
static void test_lies(void **state)
{
    (void)state;
    static struct flow f;
    static uint8_t packet[OFFLOAD_PACKET_MAX];
    struct rig r;
    uint32_t mtu = 1400, taken = 0, refused = 0;
    struct reader peer = { .ip = within_mtu, .arg = &mtu };
    rig_open(&r, SOCK_STREAM);
    make_room(r.fd, 1 << 20);
    for (unsigned i = 0; i < 30000; i++) {
        struct offload o;
        uint32_t len = any_super(&f, packet, &o, (uint16_t)(16 + flow_below(&rnd, 1300))), claimed = len;
        for (unsigned n = 1 + flow_below(&rnd, 3); n; n--)
            any_lie(packet, len, &claimed, &o);
        struct pktbuf *b = buf_of(&r, packet, claimed, &o); /* of that size: what is read behind it is found */
        b->version = packet[0] >> 4 == 6 ? 6 : 4;
        int rc = tunnel_take(&r.s, b, 0);
        assert_true(rc == 0 || rc == ERR_PEER || rc == ERR_LIMIT);
        taken += rc == 0;
        refused += rc != 0;
        assert_int_equal(send_now(&r, ALL, 0), TUNNEL_EMPTY);
        while (reader_read(&peer, r.peer, 1 << 20))
            ;
        assert_int_equal(peer.left_len, 0);
        assert_idle(&r);
    }
    assert_true(taken > 1000 && refused > 1000);
    assert_int_equal(peer.packets, r.s.packets);
    rig_close(&r);
}

/* What waits for a rate is a queue: late packets are dropped, ECN's marked. What waits for its turn is not. */
static void test_late(void **state)
{
    (void)state;
    static const struct offload none = { .gso = OFFLOAD_NONE };
    for (int ecn = 0; ecn < 2; ecn++) {
        for (int turns = 0; turns < 2; turns++) {
            struct rig r;
            struct reader peer = { 0 };
            uint8_t packet[1400];
            uint32_t put = 0;
            rig_open(&r, SOCK_STREAM);
            make_room(r.fd, 1 << 20);
            r.bufs.call_max = RIG_ALL;
            struct bucket bucket = { 0 };
            tunnel_up(&r.s, &bucket, turns ? 0 : 140000); /* 100 packets a second, and 200 come */
            for (uint64_t now = 1000000; now < 4000000; now += 20000) {
                for (int i = put ? 4 : 6; i; i--) { /* two more than go: what waits is never too little to count */
                    ip_packet(packet, 4, 1392, put++, ecn ? 2 : 0);
                    assert_int_equal(tunnel_take(&r.s, buf_of(&r, packet, 1392, &none), now), 0);
                }
                enum tunnel_state is = send_now(&r, 4 * 1400, turns ? now + 19999 : now);
                assert_true(is == TUNNEL_MORE || (is == TUNNEL_PACED && !turns));
                while (reader_read(&peer, r.peer, 1 << 20))
                    ;
            }
            const struct fq_counts *d = &r.s.dropped;
            assert_int_equal(d->drop_full, 0);
            assert_int_equal(d->drop_late > 0, !turns && !ecn);
            assert_int_equal(d->marked > 0, !turns && ecn);
            rig_close(&r);
        }
    }
}

/* What comes while the socket is full waits for that, not for its turn. */
static void test_full_socket_is_no_turn(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, SOCK_STREAM);
    assert_int_equal(take_ip(&r, 4, 1392, 0, 5), 0);
    assert_int_equal(r.s.ready_us, 5);
    for (uint32_t i = 1; send_now(&r, ALL, 6) != TUNNEL_BLOCKED; i++)
        assert_true(i < 1000 && !take_ip(&r, 4, 1392, i, 6));
    assert_null(r.s.fq);
    assert_int_equal(take_ip(&r, 4, 1392, 0, 7), 0);
    assert_int_equal(r.s.ready_us, 0);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_system_calls),
        cmocka_unit_test(test_control_first),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_burst),
        cmocka_unit_test(test_partial_writes),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_rate_not_for_control),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_memory_of_all),
        cmocka_unit_test(test_mtu),
        cmocka_unit_test(test_super_packets),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_late),
        cmocka_unit_test(test_full_socket_is_no_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
