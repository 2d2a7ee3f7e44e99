/*
 * What comes in, and control packets. The stream is a plain one over a socket pair that keeps the boundaries of writes,
 * so that a message is what a record is to TLS; where a socket has to take parts of a write, it is one of bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tunneltest.h"

static void forget(struct rig *r)
{
    uint8_t *bytes = r->seen.bytes;
    memset(&r->seen, 0, sizeof r->seen);
    r->seen.bytes = bytes;
}

static void peer_sends(struct rig *r, const void *data, size_t len)
{
    if (len)
        assert_int_equal(send(r->peer, data, len, 0), len);
}

/* All that is there. */
static int receive(struct rig *r)
{
    bool more = true;
    size_t bytes;
    int rc;
    do {
        rc = tunnel_receive(&r->s, &r->sink, &more, &bytes);
        assert_false(more); /* a plain stream hides nothing */
        assert_true(rc || bytes > 0);
    } while (!rc);
    return rc;
}

/* Packets of every kind of length, an ECHO_REQUEST between. */
static const size_t some[] = { 0, 1, 3, 60, 0, 200, 2 };

static size_t some_packets(uint8_t *at)
{
    size_t n = 0;
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        n += data_packet(at + n, some[i]);
        if (i == 3)
            n += echo_packet(at + n);
    }
    return n;
}

static void assert_some(const struct rig *r)
{
    const struct seen *v = &r->seen;
    assert_int_equal(v->n, sizeof some / sizeof some[0] + 1);
    assert_int_equal(v->controls, 1);
    for (size_t i = 0; i < v->n; i++)
        assert_int_equal(v->len[i], i == 4 ? SSTP_CTL_HDR_LEN : some[i > 4 ? i - 1 : i]);
    assert_int_equal(v->n_frames, 0); /* every piece was walked to its end */
}

/* ---- in ---- */

static void test_in_cut_at_every_byte(void **state)
{
    (void)state;
    struct rig r;
    uint8_t in[1024];
    size_t len = some_packets(in);
    rig_open(&r, SOCK_SEQPACKET);
    for (size_t cut = 0; cut <= len; cut++) {
        forget(&r);
        peer_sends(&r, in, cut);
        assert_int_equal(receive(&r), ERR_AGAIN);
        peer_sends(&r, in + cut, len - cut);
        assert_int_equal(receive(&r), ERR_AGAIN);
        assert_some(&r);
        assert_null(r.s.left);
        assert_int_equal(r.s.left_len, 0);
    }
    /* And by single bytes, each a record: read at one go, and one by one. */
    for (int at_once = 0; at_once < 2; at_once++) {
        forget(&r);
        for (size_t i = 0; i < len; i++) {
            peer_sends(&r, in + i, 1);
            if (!at_once || i % 32 == 31)
                assert_int_equal(receive(&r), ERR_AGAIN);
        }
        assert_int_equal(receive(&r), ERR_AGAIN);
        assert_some(&r);
    }
    rig_close(&r);
}

static void test_in_largest_packet(void **state)
{
    (void)state;
    struct rig r;
    uint8_t in[2 * SSTP_PKT_MAX];
    size_t len = data_packet(in, SSTP_PAYLOAD_MAX);
    len += data_packet(in + len, SSTP_PAYLOAD_MAX);
    rig_open(&r, SOCK_SEQPACKET);
    static const size_t cut[] = { 1, 4, SSTP_PKT_MAX - 1, SSTP_PKT_MAX, SSTP_PKT_MAX + 1, 2 * SSTP_PKT_MAX - 1 };
    for (size_t i = 0; i < sizeof cut / sizeof cut[0]; i++) {
        forget(&r);
        peer_sends(&r, in, cut[i]);
        assert_int_equal(receive(&r), ERR_AGAIN);
        assert_int_equal(r.s.left_len, cut[i] % SSTP_PKT_MAX);
        peer_sends(&r, in + cut[i], len - cut[i]);
        assert_int_equal(receive(&r), ERR_AGAIN);
        assert_int_equal(r.seen.n, 2);
        assert_int_equal(r.seen.total, 2 * SSTP_PAYLOAD_MAX);
    }
    rig_close(&r);
}

/* What is read at once begins behind what was kept: the longest of both fits. */
static void test_in_full_read_behind_left(void **state)
{
    (void)state;
    struct rig r;
    size_t cap = TUNNEL_RX_CAP + SSTP_PKT_MAX, len = 0;
    uint8_t *in = malloc(cap);
    assert_non_null(in);
    rig_open(&r, SOCK_STREAM);
    make_room(r.peer, 1 << 20);
    len += data_packet(in, SSTP_PAYLOAD_MAX);
    while (len + 1404 < cap)
        len += data_packet(in + len, 1400);
    len += data_packet(in + len, cap - len - SSTP_HDR_LEN);
    assert_int_equal(len, cap);
    peer_sends(&r, in, SSTP_PKT_MAX - 1);
    assert_int_equal(receive(&r), ERR_AGAIN);
    assert_int_equal(r.s.left_len, SSTP_PKT_MAX - 1);
    peer_sends(&r, in + SSTP_PKT_MAX - 1, len - SSTP_PKT_MAX + 1);
    assert_int_equal(receive(&r), ERR_AGAIN);
    assert_null(r.s.left);
    assert_int_equal(r.seen.total, cap - r.seen.n * SSTP_HDR_LEN);
    rig_close(&r);
    free(in);
}

/* So many records at a time, walked together. */
static void test_in_reads_are_bounded(void **state)
{
    (void)state;
    struct rig r;
    uint8_t in[64];
    size_t len = data_packet(in, 20), bytes;
    bool more = true;
    rig_open(&r, SOCK_SEQPACKET);
    for (int i = 0; i < TUNNEL_RX_RECORDS + 3; i++)
        peer_sends(&r, in, len);
    assert_int_equal(tunnel_receive(&r.s, &r.sink, &more, &bytes), 0);
    assert_int_equal(r.seen.n, TUNNEL_RX_RECORDS);
    assert_int_equal(bytes, TUNNEL_RX_RECORDS * len);
    assert_int_equal(r.seen.walked, 1);
    assert_int_equal(tunnel_receive(&r.s, &r.sink, &more, &bytes), ERR_AGAIN);
    assert_int_equal(r.seen.n, TUNNEL_RX_RECORDS + 3);
    assert_int_equal(bytes, 3 * len);
    assert_int_equal(tunnel_receive(&r.s, &r.sink, &more, &bytes), ERR_AGAIN);
    assert_int_equal(bytes, 0);
    assert_int_equal(r.seen.walked, 2); /* not for nothing */
    rig_close(&r);
}

/* Before the login one record's worth, in however few pieces it comes. */
static void test_in_reads_little_at_first(void **state)
{
    (void)state;
    struct rig r;
    static uint8_t in[40 * 1004];
    size_t len = 0, bytes;
    bool more = true;
    rig_open(&r, SOCK_STREAM);
    r.s.secrets = true;
    while (len < sizeof in)
        len += data_packet(in + len, 1000);
    peer_sends(&r, in, len);
    for (size_t left = len; left; left -= bytes) {
        assert_int_equal(tunnel_receive(&r.s, &r.sink, &more, &bytes), left < TLS_RECORD_MAX ? ERR_AGAIN : 0);
        assert_int_equal(bytes, left < TLS_RECORD_MAX ? left : TLS_RECORD_MAX);
    }
    assert_int_equal(r.seen.n, 40);
    rig_close(&r);
}

static void test_in_stops_when_done(void **state)
{
    (void)state;
    struct rig r;
    uint8_t in[1024];
    size_t len = some_packets(in);
    rig_open(&r, SOCK_SEQPACKET);
    r.seen.stop_at = 3;
    peer_sends(&r, in, 6); /* half of the second: something is kept */
    assert_int_equal(receive(&r), ERR_AGAIN);
    assert_non_null(r.s.left);
    peer_sends(&r, in + 6, len - 6);
    peer_sends(&r, in, len);
    assert_int_equal(receive(&r), ERR_AGAIN);
    assert_int_equal(r.seen.n, 3);
    assert_int_equal(r.seen.n_frames, 0);
    assert_null(r.s.left);
    bool more = true;
    size_t bytes;
    peer_sends(&r, in, len);
    assert_int_equal(tunnel_receive(&r.s, &r.sink, &more, &bytes), 0);
    assert_int_equal(bytes, 0); /* reads no more */
    assert_false(more);
    assert_int_equal(r.seen.n, 3);
    rig_close(&r);
}

static void test_in_framing_lost(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = { { "\x11", 1 },
                { "\x11\x00\x00\x04", 4 },
                { "\x10\x00\x00\x03", 4 },
                { "\x10\x01\x00\x07\0\0\0", 7 },
                { "\x10\x01\x00\x00", 4 } };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct rig r;
        uint8_t in[64];
        size_t len = data_packet(in, 20);
        rig_open(&r, SOCK_SEQPACKET);
        memcpy(in + len, bad[i].bytes, bad[i].len);
        peer_sends(&r, in, len + bad[i].len);
        assert_int_equal(receive(&r), ERR_PEER);
        assert_true(r.s.unframed);
        assert_int_equal(r.seen.n, 1); /* what was good before it counts */
        assert_int_equal(r.seen.walked, 1);
        assert_null(r.s.left);
        rig_close(&r);
    }
}

static void test_in_closed(void **state)
{
    (void)state;
    struct rig r;
    uint8_t in[64];
    size_t len = data_packet(in, 20);
    rig_open(&r, SOCK_STREAM);
    peer_sends(&r, in, len);
    peer_sends(&r, in, 10);
    close(r.peer);
    r.peer = -1;
    assert_int_equal(receive(&r), ERR_CLOSED);
    assert_int_equal(r.seen.n, 1);
    assert_false(r.s.unframed);
    assert_null(r.s.left);
    rig_close(&r);
}

static void assert_zeros(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_int_equal(p[i], 0);
}

/* Always: a password may come again in a call that is up. */
static void test_left_is_wiped(void **state)
{
    (void)state;
    for (int whole = 0; whole < 2; whole++) {
        struct rig r;
        uint8_t in[512];
        size_t len = data_packet(in, 0xff);
        rig_open(&r, SOCK_SEQPACKET);
        peer_sends(&r, in, len - 1);
        assert_int_equal(receive(&r), ERR_AGAIN);
        const uint8_t *left = r.s.left;
        assert_memory_equal(left, in, len - 1);
        assert_zeros(r.bufs.rx, len - 1); /* all streams' */
        assert_int_equal(r.bufs.left.n, 0);
        assert_int_equal(r.seen.walked, 0); /* half a packet is none */
        if (whole) {
            peer_sends(&r, in + len - 1, 1);
            assert_int_equal(receive(&r), ERR_AGAIN);
        } else {
            tunnel_stream_fini(&r.s);
        }
        assert_int_equal(r.bufs.left.n, 1);
        assert_ptr_equal(r.bufs.left.kept[0], left);
        assert_zeros(left, len - 1);
        rig_close(&r);
    }
}

/* A long rest, then a short one, then none: the pool's buffer has nothing of the long one. */
static void test_left_gets_shorter(void **state)
{
    (void)state;
    struct rig r;
    uint8_t in[1024];
    size_t len = data_packet(in, 0xff);
    memcpy(in + len, in, len);
    rig_open(&r, SOCK_SEQPACKET);
    peer_sends(&r, in, len - 1);
    assert_int_equal(receive(&r), ERR_AGAIN);
    const uint8_t *left = r.s.left;
    peer_sends(&r, in + len - 1, 11);
    assert_int_equal(receive(&r), ERR_AGAIN);
    assert_int_equal(r.s.left_len, 10);
    peer_sends(&r, in + len + 10, len - 10);
    assert_int_equal(receive(&r), ERR_AGAIN);
    assert_ptr_equal(r.bufs.left.kept[0], left);
    assert_zeros(left, len - 1);
    rig_close(&r);
}

static void test_early(void **state)
{
    (void)state;
    uint8_t in[1024];
    size_t len = some_packets(in);
    for (size_t cut = 0; cut <= len; cut++) {
        struct rig r;
        rig_open(&r, SOCK_SEQPACKET);
        assert_int_equal(tunnel_early(&r.s, &r.sink, rd_make(cut ? in : NULL, cut)), 0);
        peer_sends(&r, in + cut, len - cut);
        assert_int_equal(receive(&r), ERR_AGAIN);
        assert_some(&r);
        rig_close(&r);
    }
}

static void test_early_refused(void **state)
{
    (void)state;
    struct rig r;
    uint8_t *in = calloc(1, TUNNEL_RX_CAP + 1);
    assert_non_null(in);
    rig_open(&r, SOCK_SEQPACKET);
    assert_int_equal(tunnel_early(&r.s, &r.sink, rd_make(in, TUNNEL_RX_CAP + 1)), ERR_LIMIT);
    assert_false(r.s.unframed);
    assert_int_equal(tunnel_early(&r.s, &r.sink, rd_make(in, TUNNEL_RX_CAP)), ERR_PEER); /* no version 0x10 */
    assert_true(r.s.unframed);
    assert_int_equal(r.seen.n, 0);
    rig_close(&r);
    free(in);
}

/* ---- control packets ---- */

static enum tunnel_state flush(struct rig *r)
{
    size_t sent = 1;
    enum tunnel_state state = tunnel_send(&r->s, 0, 0, &sent);
    assert_int_equal(sent, 0);
    return state;
}

static uint8_t *some_control(uint8_t *at, size_t len, uint8_t number)
{
    memset(at, number, len);
    sstp_data_hdr(at, len - SSTP_HDR_LEN);
    return at;
}

/* Whole control packets of each length, as many as there is room for; nothing is lost or changes its place. */
static void test_out_control(void **state)
{
    (void)state;
    struct rig r;
    static uint8_t want[TUNNEL_CONTROL_CAP], got[TUNNEL_CONTROL_CAP];
    rig_open(&r, SOCK_SEQPACKET);
    make_room(r.fd, 1 << 20);
    for (size_t size = SSTP_HDR_LEN; size <= SSTP_PKT_MAX; size += size < 16 || size == SSTP_PKT_MAX - 1 ? 1 : 307) {
        size_t len = 0, at = 0;
        for (; len + size <= sizeof want; len += size)
            assert_true(tunnel_put(&r.s, some_control(want + len, size, (uint8_t)len), size, TUNNEL_CONTROL_CAP));
        assert_true(tunnel_waits(&r.s) && tunnel_owes(&r.s));
        assert_int_equal(r.s.control_len, len);
        assert_int_equal(flush(&r), TUNNEL_EMPTY);
        assert_idle(&r);
        for (ssize_t n; (n = recv(r.peer, got + at, sizeof got - at, 0)) > 0;)
            at += (size_t)n;
        assert_int_equal(at, len);
        assert_memory_equal(got, want, len);
        assert_int_equal(r.bufs.control.n, 1); /* it is lent again and again */
    }
    rig_close(&r);
}

static void test_out_answer_alone(void **state)
{
    (void)state;
    struct rig r;
    uint8_t packet[64], got[256];
    static const char answer[] = "HTTP/1.1 200 OK\r\n\r\n";
    size_t len = data_packet(packet, 10);
    rig_open(&r, SOCK_SEQPACKET);
    for (int round = 0; round < 2; round++) { /* it is forgotten with the answer */
        r.s.alone = round ? 0 : strlen(answer);
        assert_true(round || tunnel_put(&r.s, answer, strlen(answer), TUNNEL_CONTROL_NEW));
        assert_true(tunnel_put(&r.s, packet, len, TUNNEL_CONTROL_NEW));
        assert_true(tunnel_put(&r.s, packet, len, TUNNEL_CONTROL_NEW));
        assert_int_equal(flush(&r), TUNNEL_EMPTY);
        if (!round) {
            assert_int_equal(recv(r.peer, got, sizeof got, 0), strlen(answer));
            assert_memory_equal(got, answer, strlen(answer));
        }
        assert_int_equal(recv(r.peer, got, sizeof got, 0), 2 * len);
        assert_int_equal(r.s.alone, 0);
    }
    rig_close(&r);
}

/* Until the socket takes nothing more, and a part waits inside. Returns the bytes that were put. */
static size_t fill_socket(struct rig *r)
{
    uint8_t packet[1024] = { 0 };
    size_t len = data_packet(packet, sizeof packet - SSTP_HDR_LEN), sum = 0;
    memcpy(packet + SSTP_HDR_LEN, "\xff\x03\x00\x21\x45", 5);
    do {
        assert_true(sum < 1 << 22);
        assert_true(tunnel_put(&r->s, packet, len, TUNNEL_CONTROL_CAP));
        sum += len;
    } while (flush(r) == TUNNEL_EMPTY);
    assert_int_equal(flush(r), TUNNEL_BLOCKED);
    assert_true(tls_stream_unsent(r->s.tls));
    assert_null(r->s.control);
    return sum;
}

/* The answer blocks: what is behind it keeps its place. */
static void test_out_answer_blocks(void **state)
{
    (void)state;
    struct rig r;
    static uint8_t got[1 << 20], answer[2048];
    uint8_t packet[64];
    size_t len = data_packet(packet, 10), sum = 0, at = 0;
    rig_open(&r, SOCK_STREAM);
    memset(answer, 'H', sizeof answer);
    for (uint8_t one = 'x'; send(r.fd, &one, 1, MSG_DONTWAIT) == 1;)
        sum++; /* the socket is full of another's, and the stream's own first record has to wait */
    r.s.secrets = true;
    r.s.alone = sizeof answer;
    assert_true(tunnel_put(&r.s, answer, sizeof answer, TUNNEL_CONTROL_NEW));
    for (int i = 0; i < 100; i++)
        assert_true(tunnel_put(&r.s, packet, len, TUNNEL_CONTROL_NEW));
    uint8_t *control = r.s.control;
    assert_int_equal(flush(&r), TUNNEL_BLOCKED);
    assert_int_equal(r.s.control_len, 100 * len);
    assert_int_equal(r.s.alone, 0);
    assert_true(tunnel_owes(&r.s));
    assert_zeros(control + r.s.control_len, sizeof answer); /* the old place forgets */
    enum tunnel_state now;
    do {
        for (ssize_t n; (n = recv(r.peer, got + at, sizeof got - at, 0)) > 0;)
            at += (size_t)n;
        now = flush(&r);
        assert_true(now == TUNNEL_EMPTY || now == TUNNEL_BLOCKED);
    } while (now != TUNNEL_EMPTY || at < sum + sizeof answer + 100 * len);
    assert_int_equal(at, sum + sizeof answer + 100 * len);
    assert_memory_equal(got + sum, answer, sizeof answer);
    for (size_t i = 0; i < 100; i++)
        assert_memory_equal(got + sum + sizeof answer + i * len, packet, len);
    assert_zeros(control, 100 * len);
    assert_idle(&r);
    rig_close(&r);
}

/* Who does not listen is deaf at the limit, not before; who reads again hears all of it. */
static void test_out_limits(void **state)
{
    (void)state;
    static const size_t limits[] = { TUNNEL_CONTROL_NEW, TUNNEL_CONTROL_CAP };
    for (size_t i = 0; i < 2; i++) {
        struct rig r;
        struct reader peer = { 0 };
        uint8_t echo[SSTP_CTL_HDR_LEN];
        rig_open(&r, SOCK_STREAM);
        size_t sum = fill_socket(&r), have = 0;
        echo_packet(echo);
        for (size_t at = 0; at < limits[i]; at += sizeof echo)
            assert_true(tunnel_put(&r.s, echo, sizeof echo, limits[i]));
        assert_false(tunnel_put(&r.s, echo, sizeof echo, limits[i]));
        assert_int_equal(r.s.control_len, limits[i]);
        /* The peer reads: control makes itself room. */
        while (have < sum) {
            size_t n = reader_read(&peer, r.peer, 1 << 20);
            assert_true(n > 0 || flush(&r) != TUNNEL_DEAD);
            have += n;
        }
        assert_true(tunnel_put(&r.s, echo, sizeof echo, limits[i]));
        sum += limits[i] + sizeof echo;
        while (have < sum) {
            have += reader_read(&peer, r.peer, 1 << 20);
            assert_int_not_equal(flush(&r), TUNNEL_DEAD);
        }
        assert_int_equal(peer.controls, limits[i] / sizeof echo + 1);
        assert_int_equal(peer.left_len, 0);
        assert_idle(&r);
        rig_close(&r);
    }
}

/* More than the limit in one wake-up is no reason to call a peer deaf that reads. */
static void test_out_limit_sends_first(void **state)
{
    (void)state;
    struct rig r;
    struct reader peer = { 0 };
    uint8_t echo[SSTP_CTL_HDR_LEN];
    rig_open(&r, SOCK_STREAM);
    echo_packet(echo);
    for (size_t at = 0; at < 4 * TUNNEL_CONTROL_NEW; at += sizeof echo)
        assert_true(tunnel_put(&r.s, echo, sizeof echo, TUNNEL_CONTROL_NEW));
    assert_true(r.s.control_len <= TUNNEL_CONTROL_NEW);
    assert_int_equal(flush(&r), TUNNEL_EMPTY);
    while (reader_read(&peer, r.peer, 1 << 20))
        ;
    assert_int_equal(peer.controls, 4 * TUNNEL_CONTROL_NEW / sizeof echo);
    rig_close(&r);
}

static void test_out_dead(void **state)
{
    (void)state;
    struct rig r;
    uint8_t echo[SSTP_CTL_HDR_LEN];
    size_t len = echo_packet(echo);
    rig_open(&r, SOCK_STREAM);
    close(r.peer);
    r.peer = -1;
    assert_true(tunnel_put(&r.s, echo, len, TUNNEL_CONTROL_CAP));
    assert_int_equal(flush(&r), TUNNEL_DEAD);
    assert_false(tunnel_waits(&r.s));
    assert_int_equal(r.bufs.control.n, 1);
    /* Nor does it pretend that there was room for ever, or that somebody heard. */
    unsigned put = 0;
    while (put * len <= TUNNEL_CONTROL_CAP && tunnel_put(&r.s, echo, len, TUNNEL_CONTROL_CAP))
        put++;
    assert_int_equal(put, TUNNEL_CONTROL_CAP / len);
    assert_false(tunnel_waits(&r.s));
    assert_int_equal(take_ip(&r, 4, 100, 1, 0), 0);
    size_t sent;
    assert_int_equal(tunnel_send(&r.s, 65536, 0, &sent), TUNNEL_DEAD);
    rig_close(&r);
}

static void test_out_is_wiped(void **state)
{
    (void)state;
    for (int secrets = 0; secrets < 2; secrets++) {
        for (int sent = 0; sent < 2; sent++) {
            struct rig r;
            uint8_t packet[2000];
            size_t len = data_packet(packet, sizeof packet - SSTP_HDR_LEN);
            rig_open(&r, SOCK_STREAM);
            r.s.secrets = secrets;
            for (int i = 0; i < 5; i++)
                assert_true(tunnel_put(&r.s, packet, len, TUNNEL_CONTROL_NEW));
            const uint8_t *control = r.s.control;
            assert_memory_equal(control + 4 * len, packet, len);
            if (sent)
                assert_int_equal(flush(&r), TUNNEL_EMPTY);
            else
                tunnel_stream_fini(&r.s);
            assert_ptr_equal(r.bufs.control.kept[0], control);
            if (secrets)
                assert_zeros(control, 5 * len);
            else
                assert_memory_equal(control + 4 * len, packet, len);
            rig_close(&r);
        }
    }
}

/* More streams than the pool keeps buffers for: nothing is lost twice, nothing leaks. */
static void test_pool(void **state)
{
    (void)state;
    enum { N = 40 };
    struct rig r;
    uint8_t echo[SSTP_CTL_HDR_LEN], packet[64];
    static const struct offload none = { .gso = OFFLOAD_NONE };
    size_t len = echo_packet(echo);
    uint32_t ip_len = ip_packet(packet, 4, sizeof packet, 1, 0);
    struct tunnel_stream s[N];
    rig_open(&r, SOCK_SEQPACKET);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++) {
            s[i] = (struct tunnel_stream){ .bufs = &r.bufs, .tls = r.s.tls, .mtu = 1400 };
            assert_true(tunnel_put(&s[i], echo, len, TUNNEL_CONTROL_CAP));
            assert_int_equal(tunnel_early(&s[i], &r.sink, rd_make(echo, 3)), 0);
            assert_int_equal(tunnel_take(&s[i], buf_of(&r, packet, ip_len, &none), 0), 0);
            for (int j = 0; j < i; j++)
                assert_true(s[i].control != s[j].control && s[i].left != s[j].left && s[i].fq != s[j].fq);
        }
        for (int i = 0; i < N; i++)
            tunnel_stream_fini(&s[i]);
        assert_int_equal(r.bufs.control.n, 32);
        assert_int_equal(r.bufs.left.n, 32);
        assert_int_equal(r.bufs.queue.n, 32);
        assert_int_equal(r.bufs.packets.used, 0);
    }
    struct tunnel_stream none_of_it = { 0 };
    tunnel_stream_fini(&none_of_it);
    rig_close(&r);
    struct tunnel_bufs zeros = { 0 };
    tunnel_bufs_fini(&zeros);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_cut_at_every_byte),
        cmocka_unit_test(test_in_largest_packet),
        cmocka_unit_test(test_in_full_read_behind_left),
        cmocka_unit_test(test_in_reads_are_bounded),
        cmocka_unit_test(test_in_reads_little_at_first),
        cmocka_unit_test(test_in_stops_when_done),
        cmocka_unit_test(test_in_framing_lost),
        cmocka_unit_test(test_in_closed),
        cmocka_unit_test(test_left_is_wiped),
        cmocka_unit_test(test_left_gets_shorter),
        cmocka_unit_test(test_early),
        cmocka_unit_test(test_early_refused),
        cmocka_unit_test(test_out_control),
        cmocka_unit_test(test_out_answer_alone),
        cmocka_unit_test(test_out_answer_blocks),
        cmocka_unit_test(test_out_limits),
        cmocka_unit_test(test_out_limit_sends_first),
        cmocka_unit_test(test_out_dead),
        cmocka_unit_test(test_out_is_wiped),
        cmocka_unit_test(test_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
