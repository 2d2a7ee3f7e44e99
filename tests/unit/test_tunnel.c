/*
 * Packets over a TLS stream. The stream is a plain one over a socket pair that keeps the boundaries of writes, so that
 * a message is what a record is to TLS; where a socket has to take parts of a write, it is one of bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ppp/link.h"
#include "tunnel/stream.h"

#define SEEN_MAX 8192

struct seen { /* what the sink was given */
    unsigned n, walked, controls;
    size_t len[SEEN_MAX];
    uint8_t *bytes; /* all of them, one behind the other */
    size_t total;
    struct rd frame[SEEN_MAX]; /* borrowed, since the last walked() */
    unsigned n_frames;
    unsigned stop_at; /* done after so many; 0: never */
};

struct rig {
    struct tunnel_bufs bufs;
    struct tunnel_stream s;
    struct seen seen;
    struct tunnel_sink sink;
    int fd, peer;
};

/* ---- the sink ---- */

static void see(struct seen *v, struct rd bytes)
{
    assert_true(v->n < SEEN_MAX && v->total + rd_left(&bytes) <= 1 << 20);
    v->len[v->n++] = rd_left(&bytes);
    memcpy(v->bytes + v->total, bytes.p, rd_left(&bytes));
    v->total += rd_left(&bytes);
}

static void on_control(void *arg, struct rd whole)
{
    struct rig *r = arg;
    r->seen.controls++;
    see(&r->seen, whole);
}

static void on_frame(void *arg, struct rd frame)
{
    struct rig *r = arg;
    see(&r->seen, frame);
    r->seen.frame[r->seen.n_frames++] = frame;
}

/* Frames are still what they were; then each goes out as a batch does, over the bytes in front of it. */
static void on_walked(void *arg)
{
    struct rig *r = arg;
    struct seen *v = &r->seen;
    for (unsigned i = 0; i < v->n_frames; i++) {
        size_t len = rd_left(&v->frame[i]);
        uint8_t *at = tunnel_writable(&r->s, v->frame[i].p);
        assert_ptr_equal(at, v->frame[i].p);
        for (size_t j = 0; j < len; j++)
            assert_int_equal(at[j], (uint8_t)len);
        memset(at - PKT_HEADROOM, 0xee, PKT_HEADROOM + len);
    }
    v->walked++;
    v->n_frames = 0;
}

static bool is_done(void *arg)
{
    const struct rig *r = arg;
    return r->seen.stop_at && r->seen.n >= r->seen.stop_at;
}

/* ---- the rig ---- */

static void rig_open(struct rig *r, int type)
{
    int pair[2];
    memset(r, 0, sizeof *r);
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    r->fd = pair[0];
    r->peer = pair[1];
    assert_int_equal(tunnel_bufs_init(&r->bufs), 0);
    r->s = (struct tunnel_stream){ .bufs = &r->bufs, .tls = tls_stream_new_plain(r->fd, NULL) };
    assert_non_null(r->s.tls);
    r->sink = (struct tunnel_sink){ on_control, on_frame, on_walked, is_done, r };
    r->seen.bytes = malloc(1 << 20);
    assert_non_null(r->seen.bytes);
}

static void rig_close(struct rig *r)
{
    tunnel_stream_fini(&r->s);
    tls_stream_free(r->s.tls);
    tunnel_bufs_fini(&r->bufs);
    free(r->seen.bytes);
    close(r->fd);
    if (r->peer >= 0)
        close(r->peer);
}

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

static int receive(struct rig *r)
{
    bool more = true;
    int rc = tunnel_receive(&r->s, &r->sink, 64, &more);
    assert_false(more); /* a plain stream hides nothing */
    return rc;
}

/* A data packet whose payload is its length's low byte, over and over. Returns its length with the header. */
static size_t data_packet(uint8_t *at, size_t payload)
{
    sstp_data_hdr(at, payload);
    memset(at + SSTP_HDR_LEN, (uint8_t)payload, payload);
    return payload + SSTP_HDR_LEN;
}

static size_t echo_packet(uint8_t *at)
{
    struct wr w = wr_make(at, SSTP_CTL_HDR_LEN);
    sstp_bare_encode(&w, SSTP_ECHO_REQUEST);
    assert_true(wr_ok(&w));
    return SSTP_CTL_HDR_LEN;
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

static void test_in_reads_are_bounded(void **state)
{
    (void)state;
    struct rig r;
    uint8_t in[64];
    size_t len = data_packet(in, 20);
    bool more = true;
    rig_open(&r, SOCK_SEQPACKET);
    for (int i = 0; i < 5; i++)
        peer_sends(&r, in, len);
    assert_int_equal(tunnel_receive(&r.s, &r.sink, 2, &more), 0);
    assert_int_equal(r.seen.n, 2);
    assert_int_equal(r.seen.walked, 2);
    assert_int_equal(tunnel_receive(&r.s, &r.sink, 4, &more), ERR_AGAIN);
    assert_int_equal(r.seen.n, 5);
    assert_int_equal(tunnel_receive(&r.s, &r.sink, 4, &more), ERR_AGAIN);
    assert_int_equal(r.seen.walked, 5); /* not for nothing */
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
    assert_int_equal(receive(&r), 0);
    assert_int_equal(r.seen.n, 3);
    assert_int_equal(r.seen.n_frames, 0);
    assert_null(r.s.left);
    assert_int_equal(receive(&r), 0); /* reads no more */
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

static void test_left_is_wiped(void **state)
{
    (void)state;
    for (int secrets = 0; secrets < 2; secrets++) {
        for (int whole = 0; whole < 2; whole++) {
            struct rig r;
            uint8_t in[512];
            size_t len = data_packet(in, 0xff);
            rig_open(&r, SOCK_SEQPACKET);
            r.s.secrets = secrets;
            peer_sends(&r, in, len - 1);
            assert_int_equal(receive(&r), ERR_AGAIN);
            const uint8_t *left = r.s.left;
            assert_memory_equal(left, in, len - 1);
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
            if (secrets)
                assert_zeros(left, TUNNEL_RX_KEEP);
            else
                assert_memory_equal(left, in, len - 1);
            rig_close(&r);
        }
    }
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

/* ---- out ---- */

/* Waits for nothing: what is there. Returns the bytes of all records; each is whole packets, and as many as fit. */
static size_t take_records(struct rig *r, uint8_t *all, size_t cap, unsigned *n)
{
    size_t total = 0, last = 0;
    *n = 0;
    for (;;) {
        ssize_t got = recv(r->peer, all + total, cap - total, 0);
        if (got < 0) {
            assert_int_equal(errno, EAGAIN);
            return total;
        }
        assert_in_range(got, 1, TLS_RECORD_MAX);
        struct rd in = rd_make(all + total, (size_t)got);
        struct sstp_pkt p;
        int rc;
        size_t first = 0;
        while (!(rc = sstp_pkt_next(&in, &p)))
            first = first ? first : rd_left(&p.whole);
        assert_int_equal(rc, ERR_AGAIN);
        assert_true(rd_end(&in));
        assert_true(!last || last + first > TLS_RECORD_MAX);
        last = (size_t)got;
        total += last;
        ++*n;
    }
}

static void make_room(int fd, int bytes)
{
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
}

static void test_out_records(void **state)
{
    (void)state;
    struct rig r;
    static uint8_t want[TUNNEL_OUT_CAP], got[TUNNEL_OUT_CAP];
    rig_open(&r, SOCK_SEQPACKET);
    make_room(r.fd, 1 << 20);
    for (size_t payload = 0; payload <= SSTP_PAYLOAD_MAX;
         payload += payload < 8 || payload == SSTP_PAYLOAD_MAX - 1 ? 1 : 307) {
        size_t len = 0;
        unsigned n;
        while (len + payload + SSTP_HDR_LEN + SSTP_CTL_HDR_LEN <= 60000) {
            size_t one = len % 5 ? data_packet(want + len, payload) : echo_packet(want + len);
            assert_true(tunnel_put(&r.s, want + len, one, TUNNEL_OUT_CAP));
            len += one;
        }
        assert_true(tunnel_waits(&r.s));
        assert_int_equal(tunnel_flush(&r.s), 0);
        assert_false(tunnel_waits(&r.s));
        assert_int_equal(take_records(&r, got, sizeof got, &n), len);
        assert_memory_equal(got, want, len);
        assert_int_equal(r.bufs.out.n, 1); /* it is lent again and again */
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
    r.s.alone = strlen(answer);
    assert_true(tunnel_put(&r.s, answer, strlen(answer), TUNNEL_OUT_RESERVE));
    assert_true(tunnel_put(&r.s, packet, len, TUNNEL_OUT_RESERVE));
    assert_true(tunnel_put(&r.s, packet, len, TUNNEL_OUT_RESERVE));
    assert_int_equal(tunnel_flush(&r.s), 0);
    assert_int_equal(recv(r.peer, got, sizeof got, 0), strlen(answer));
    assert_memory_equal(got, answer, strlen(answer));
    assert_int_equal(recv(r.peer, got, sizeof got, 0), 2 * len);
    rig_close(&r);
}

static void test_out_ip_header(void **state)
{
    (void)state;
    struct rig r;
    uint8_t slot[PKT_HEADROOM + 3] = { 0 }, got[64];
    static const uint8_t want[][11] = { { 0x10, 0, 0, 11, 0xff, 3, 0x00, 0x21, 'a', 'b', 'c' },
                                        { 0x10, 0, 0, 11, 0xff, 3, 0x00, 0x57, 'a', 'b', 'c' } };
    rig_open(&r, SOCK_SEQPACKET);
    memcpy(slot + PKT_HEADROOM, "abc", 3);
    assert_true(tunnel_put_ip(&r.s, slot + PKT_HEADROOM, 3, PPP_IP));
    assert_true(tunnel_put_ip(&r.s, slot + PKT_HEADROOM, 3, PPP_IPV6));
    assert_int_equal(tunnel_flush(&r.s), 0);
    assert_int_equal(recv(r.peer, got, sizeof got, 0), sizeof want);
    assert_memory_equal(got, want, sizeof want);
    assert_zeros(slot, PKT_HEADROOM - 8);
    rig_close(&r);
}

/* A full record does not wait for the end of the batch. */
static void test_out_ip_full_record_goes(void **state)
{
    (void)state;
    struct rig r;
    static uint8_t slot[PKT_HEADROOM + 1392], got[TUNNEL_OUT_CAP];
    unsigned n;
    rig_open(&r, SOCK_SEQPACKET);
    for (int i = 0; i < 11; i++)
        assert_true(tunnel_put_ip(&r.s, slot + PKT_HEADROOM, 1392, PPP_IP));
    assert_int_equal(take_records(&r, got, sizeof got, &n), 0);
    assert_true(tunnel_put_ip(&r.s, slot + PKT_HEADROOM, 1392, PPP_IP));
    assert_int_equal(take_records(&r, got, sizeof got, &n), 11 * 1400);
    assert_int_equal(n, 1);
    assert_int_equal(r.s.out_len, 1400);
    rig_close(&r);
}

/* Until the socket takes nothing more. Returns the bytes it took. */
static size_t fill_socket(struct rig *r)
{
    uint8_t packet[1024];
    size_t len = data_packet(packet, sizeof packet - SSTP_HDR_LEN), sum = 0;
    int rc;
    do {
        assert_true(sum < 1 << 22);
        assert_true(tunnel_put(&r->s, packet, len, TUNNEL_OUT_CAP));
        sum += len;
        rc = tunnel_flush(&r->s);
    } while (!rc);
    assert_int_equal(rc, ERR_AGAIN);
    return sum - (r->s.out_len - r->s.out_off);
}

static size_t drain(struct rig *r, uint8_t *all, size_t cap)
{
    size_t total = 0;
    ssize_t got;
    while ((got = recv(r->peer, all + total, cap - total, 0)) > 0)
        total += (size_t)got;
    return total;
}

static void test_out_limits(void **state)
{
    (void)state;
    struct rig r;
    static uint8_t slot[PKT_HEADROOM + 1400], got[1 << 20];
    uint8_t echo[SSTP_CTL_HDR_LEN];
    rig_open(&r, SOCK_SEQPACKET);
    size_t sum = fill_socket(&r);
    assert_int_equal(r.s.out_off, 0);
    size_t at = r.s.out_len;
    for (; at + 1000 <= TUNNEL_OUT_DATA; at += 1000)
        assert_true(tunnel_put_ip(&r.s, slot + PKT_HEADROOM, 992, PPP_IP));
    uint32_t rest = (uint32_t)(TUNNEL_OUT_DATA - at);
    assert_true(rest > 8);
    assert_false(tunnel_put_ip(&r.s, slot + PKT_HEADROOM, rest - 7, PPP_IP));
    assert_true(tunnel_put_ip(&r.s, slot + PKT_HEADROOM, rest - 8, PPP_IP));
    assert_false(tunnel_put_ip(&r.s, slot + PKT_HEADROOM, 0, PPP_IP));
    assert_int_equal(r.s.out_len, TUNNEL_OUT_DATA);
    /* Control has room of its own, and not for ever. */
    echo_packet(echo);
    assert_false(tunnel_put(&r.s, echo, sizeof echo, TUNNEL_OUT_DATA));
    for (at = TUNNEL_OUT_DATA; at < TUNNEL_OUT_CAP; at += sizeof echo)
        assert_true(tunnel_put(&r.s, echo, sizeof echo, TUNNEL_OUT_CAP));
    assert_false(tunnel_put(&r.s, echo, sizeof echo, TUNNEL_OUT_CAP));
    assert_int_equal(r.s.out_len, TUNNEL_OUT_CAP);
    /* The peer reads: control makes itself room. Nothing was lost or changed its place. */
    size_t have = drain(&r, got, sizeof got);
    assert_int_equal(have, sum);
    assert_true(tunnel_put(&r.s, echo, sizeof echo, TUNNEL_OUT_CAP));
    sum += TUNNEL_OUT_CAP + sizeof echo;
    while (have < sum) {
        size_t more = drain(&r, got + have, sizeof got - have);
        assert_true(more > 0);
        have += more;
        int rc = tunnel_flush(&r.s);
        assert_true(rc == 0 || rc == ERR_AGAIN);
    }
    struct rd in = rd_make(got, have);
    struct sstp_pkt p;
    unsigned controls = 0;
    while (!sstp_pkt_next(&in, &p))
        controls += p.control;
    assert_true(rd_end(&in));
    assert_int_equal(controls, TUNNEL_OUT_RESERVE / sizeof echo + 1);
    assert_false(tunnel_waits(&r.s));
    rig_close(&r);
}

/* A socket of bytes takes what it has room for: the next record begins inside a packet, of which nothing is a header.
 */
static void test_out_parts_of_records(void **state)
{
    (void)state;
    struct rig r;
    static uint8_t got[1 << 20];
    uint8_t packet[1404] = { 0 };
    size_t put = 0, have = 0;
    rig_open(&r, SOCK_STREAM);
    make_room(r.fd, 4096);
    for (unsigned i = 0; put < 600000 || have < put; i++) {
        size_t len = 1404 - i % 7;
        sstp_data_hdr(packet, len - SSTP_HDR_LEN);
        while (put < 600000 && tunnel_put(&r.s, packet, len, TUNNEL_OUT_DATA))
            put += len;
        ssize_t n = recv(r.peer, got + have, 1 + i * 37 % 3001, 0);
        have += n > 0 ? (size_t)n : 0;
        int rc = tunnel_flush(&r.s);
        assert_true(rc == 0 || rc == ERR_AGAIN);
    }
    assert_false(tunnel_waits(&r.s));
    struct rd in = rd_make(got, have);
    struct sstp_pkt p;
    while (!sstp_pkt_next(&in, &p))
        assert_zeros(p.payload.p, rd_left(&p.payload));
    assert_true(rd_end(&in));
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
    assert_true(tunnel_put(&r.s, echo, len, TUNNEL_OUT_CAP));
    int rc = tunnel_flush(&r.s);
    assert_true(rc == ERR_PEER || rc == ERR_CLOSED);
    assert_false(tunnel_waits(&r.s));
    assert_int_equal(r.bufs.out.n, 1);
    /* Nor does it pretend later that there was room. */
    for (size_t at = 0; at < TUNNEL_OUT_CAP; at += len)
        assert_true(tunnel_put(&r.s, echo, len, TUNNEL_OUT_CAP));
    assert_false(tunnel_put(&r.s, echo, len, TUNNEL_OUT_CAP));
    rig_close(&r);
}

static void test_out_is_wiped(void **state)
{
    (void)state;
    struct rig r;
    uint8_t packet[2000], got[8192];
    rig_open(&r, SOCK_STREAM);
    make_room(r.fd, 4096);
    r.s.secrets = true;
    data_packet(packet, sizeof packet - SSTP_HDR_LEN);
    fill_socket(&r);
    const uint8_t *out = r.s.out;
    while (r.s.out_len + sizeof packet <= TUNNEL_OUT_RESERVE)
        assert_true(tunnel_put(&r.s, packet, sizeof packet, TUNNEL_OUT_RESERVE));
    /* Moved to the front where there is no more room behind; the old place forgets. */
    while (r.s.out_off < 2 * sizeof packet) {
        assert_true(recv(r.peer, got, sizeof got, 0) > 0);
        assert_int_equal(tunnel_flush(&r.s), ERR_AGAIN);
    }
    size_t waits = r.s.out_len - r.s.out_off, end = r.s.out_len;
    assert_true(tunnel_put(&r.s, packet, sizeof packet, TUNNEL_OUT_RESERVE));
    assert_int_equal(r.s.out_off, 0);
    assert_int_equal(r.s.out_len, waits + sizeof packet);
    assert_true(end > r.s.out_len);
    assert_zeros(out + r.s.out_len, end - r.s.out_len);
    end = r.s.out_len;
    tunnel_stream_fini(&r.s);
    assert_ptr_equal(r.bufs.out.kept[0], out);
    assert_zeros(out, end);
    rig_close(&r);
}

/* More streams than the pool keeps buffers for: nothing is lost twice, nothing leaks. */
static void test_pool(void **state)
{
    (void)state;
    enum { N = 40 };
    struct rig r;
    uint8_t echo[SSTP_CTL_HDR_LEN];
    size_t len = echo_packet(echo);
    struct tunnel_stream s[N];
    rig_open(&r, SOCK_SEQPACKET);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++) {
            s[i] = (struct tunnel_stream){ .bufs = &r.bufs, .tls = r.s.tls };
            assert_true(tunnel_put(&s[i], echo, len, TUNNEL_OUT_CAP));
            assert_int_equal(tunnel_early(&s[i], &r.sink, rd_make(echo, 3)), 0);
            for (int j = 0; j < i; j++)
                assert_true(s[i].out != s[j].out && s[i].left != s[j].left);
        }
        for (int i = 0; i < N; i++)
            tunnel_stream_fini(&s[i]);
        assert_int_equal(r.bufs.out.n, 32);
        assert_int_equal(r.bufs.left.n, 32);
    }
    struct tunnel_stream none = { 0 };
    tunnel_stream_fini(&none);
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
        cmocka_unit_test(test_in_stops_when_done),
        cmocka_unit_test(test_in_framing_lost),
        cmocka_unit_test(test_in_closed),
        cmocka_unit_test(test_left_is_wiped),
        cmocka_unit_test(test_early),
        cmocka_unit_test(test_early_refused),
        cmocka_unit_test(test_out_records),
        cmocka_unit_test(test_out_answer_alone),
        cmocka_unit_test(test_out_ip_header),
        cmocka_unit_test(test_out_ip_full_record_goes),
        cmocka_unit_test(test_out_limits),
        cmocka_unit_test(test_out_parts_of_records),
        cmocka_unit_test(test_out_dead),
        cmocka_unit_test(test_out_is_wiped),
        cmocka_unit_test(test_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
