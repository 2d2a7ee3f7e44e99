/*
 * What tests of tunnel/stream.h share: a stream over a socket pair, a sink that remembers what it was given, packets,
 * and a peer that reads the SSTP stream again. Needs cmocka.h before it.
 */
#ifndef GH_TESTS_TUNNELTEST_H
#define GH_TESTS_TUNNELTEST_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cutflow.h"
#include "ppp/link.h"
#include "tunnel/stream.h"

#define SEEN_MAX   8192
#define SEEN_BYTES (1u << 20)
#define RIG_CALL   (256u << 10) /* bytes that may wait for a call, and */
#define RIG_ALL    (4u << 20)   /* for all */

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

static inline void see(struct seen *v, struct rd bytes)
{
    assert_true(v->n < SEEN_MAX && v->total + rd_left(&bytes) <= SEEN_BYTES);
    v->len[v->n++] = rd_left(&bytes);
    memcpy(v->bytes + v->total, bytes.p, rd_left(&bytes));
    v->total += rd_left(&bytes);
}

static inline void on_control(void *arg, struct rd whole)
{
    struct rig *r = arg;
    r->seen.controls++;
    see(&r->seen, whole);
}

static inline void on_frame(void *arg, struct rd frame)
{
    struct rig *r = arg;
    see(&r->seen, frame);
    r->seen.frame[r->seen.n_frames++] = frame;
}

/* Frames are still what they were; then each is written over, with the bytes in front of it. */
static inline void on_walked(void *arg)
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

static inline bool is_done(void *arg)
{
    const struct rig *r = arg;
    return r->seen.stop_at && r->seen.n >= r->seen.stop_at;
}

/* ---- the rig ---- */

static inline void rig_begin(struct rig *r, int fd, int peer, struct tls_stream *tls)
{
    memset(r, 0, sizeof *r);
    r->fd = fd;
    r->peer = peer;
    assert_int_equal(tunnel_bufs_init(&r->bufs, RIG_CALL, RIG_ALL), 0);
    r->s = (struct tunnel_stream){ .bufs = &r->bufs, .tls = tls, .mtu = 1400 };
    assert_non_null(tls);
    r->sink = (struct tunnel_sink){ on_control, on_frame, on_walked, is_done, r };
    r->seen.bytes = malloc(SEEN_BYTES);
    assert_non_null(r->seen.bytes);
}

/* A plain one. type: of the socket pair; one that keeps the boundaries of writes shows each system call. */
static inline void rig_open(struct rig *r, int type)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    rig_begin(r, pair[0], pair[1], tls_stream_new_plain(pair[0], NULL));
}

/* An idle stream holds nothing. */
static inline void assert_idle(const struct rig *r)
{
    assert_null(r->s.control);
    assert_null(r->s.fq);
    assert_null(r->s.left);
    assert_false(tunnel_waits(&r->s) || tunnel_owes(&r->s));
    assert_int_equal(tunnel_queued(&r->s), 0);
    assert_int_equal(r->bufs.packets.used, 0);
}

static inline void rig_close(struct rig *r)
{
    tunnel_stream_fini(&r->s);
    tls_stream_free(r->s.tls);
    assert_int_equal(r->bufs.packets.used, 0);
    tunnel_bufs_fini(&r->bufs);
    assert_int_equal(r->bufs.packets.kept, 0);
    free(r->seen.bytes);
    close(r->fd);
    if (r->peer >= 0)
        close(r->peer);
}

static inline void make_room(int fd, int bytes)
{
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
}

/* ---- packets ---- */

/* A data packet whose payload is its length's low byte, over and over. Returns its length with the header. */
static inline size_t data_packet(uint8_t *at, size_t payload)
{
    sstp_data_hdr(at, payload);
    memset(at + SSTP_HDR_LEN, (uint8_t)payload, payload);
    return payload + SSTP_HDR_LEN;
}

static inline size_t echo_packet(uint8_t *at)
{
    struct wr w = wr_make(at, SSTP_CTL_HDR_LEN);
    sstp_bare_encode(&w, SSTP_ECHO_REQUEST);
    assert_true(wr_ok(&w));
    return SSTP_CTL_HDR_LEN;
}

/* One IP packet of a protocol that nobody knows, whose payload follows from its number. ecn: the two bits. */
static inline uint32_t ip_packet(uint8_t *at, uint8_t version, uint32_t len, uint32_t number, uint8_t ecn)
{
    uint32_t hdr = version == 4 ? 20 : 40, state = number * 2 + 1;
    assert_true(len >= hdr + 4);
    memset(at, 0, hdr);
    at[0] = (uint8_t)(version << 4 | (version == 4 ? 5 : 0));
    flow_put16(at + (version == 4 ? 2 : 4), (uint16_t)(version == 4 ? len : len - 40));
    at[version == 4 ? 9 : 6] = 253;
    at[1] = (uint8_t)(version == 4 ? ecn : ecn << 4);
    if (version == 4)
        flow_put16(at + 10, (uint16_t)~flow_fold(flow_sum(0, at, 20)));
    flow_put16(at + hdr, (uint16_t)(number >> 16));
    flow_put16(at + hdr + 2, (uint16_t)number);
    flow_fill(&state, at + hdr + 4, len - hdr - 4);
    return len;
}

/* A buffer as the TUN's reader would fill it. */
static inline struct pktbuf *buf_of(struct rig *r, const uint8_t *packet, uint32_t len, const struct offload *o)
{
    struct pktbuf *b = pktbuf_new(&r->bufs.packets, len);
    assert_non_null(b);
    memcpy(b->data, packet, len);
    b->len = len;
    b->version = packet[0] >> 4;
    b->offload = *o;
    return b;
}

static inline int take_ip(struct rig *r, uint8_t version, uint32_t len, uint32_t number, uint64_t now_us)
{
    static const struct offload none = { .gso = OFFLOAD_NONE };
    uint8_t packet[4096] = { 0 };
    return tunnel_take(&r->s, buf_of(r, packet, ip_packet(packet, version, len, number, 0), &none), now_us);
}

/* ---- the peer ---- */

struct reader { /* of the SSTP stream; zeros to begin with */
    uint8_t left[SSTP_PKT_MAX];
    size_t left_len;
    void (*ip)(void *arg, struct rd packet); /* NULL: thrown away */
    void (*control)(void *arg, struct rd packet);
    void *arg;
    uint64_t packets, controls;
};

static inline void reader_packet(struct reader *p, const struct sstp_pkt *pkt)
{
    if (pkt->control) {
        p->controls++;
        if (p->control)
            p->control(p->arg, pkt->whole);
        return;
    }
    struct rd ip = pkt->payload;
    uint16_t protocol;
    uint8_t first = 0;
    assert_true(rd_left(&ip) > 4 && ip.p[0] == 0xff && ip.p[1] == 0x03); /* not compressed */
    assert_true(ppp_frame_open(&ip, &protocol) && rd_peek_u8(&ip, &first));
    assert_int_equal(protocol, first >> 4 == 4 ? PPP_IP : PPP_IPV6);
    p->packets++;
    if (p->ip)
        p->ip(p->arg, ip);
}

/* A piece of the stream, cut anywhere. */
static inline void reader_feed(struct reader *p, const uint8_t *data, size_t n)
{
    uint8_t all[SSTP_PKT_MAX + 4096];
    while (n) {
        size_t part = n < 4096 ? n : 4096;
        struct sstp_pkt pkt;
        int rc;
        memcpy(all, p->left, p->left_len);
        memcpy(all + p->left_len, data, part);
        struct rd in = rd_make(all, p->left_len + part);
        while (!(rc = sstp_pkt_next(&in, &pkt)))
            reader_packet(p, &pkt);
        assert_int_equal(rc, ERR_AGAIN);
        p->left_len = rd_left(&in);
        memcpy(p->left, in.p, p->left_len);
        data += part;
        n -= part;
    }
}

/* What is there, at most max bytes. Returns how many. */
static inline size_t reader_read(struct reader *p, int fd, size_t max)
{
    static uint8_t buf[1 << 18];
    ssize_t n = recv(fd, buf, max < sizeof buf ? max : sizeof buf, MSG_DONTWAIT);
    if (n < 0)
        assert_int_equal(errno, EAGAIN);
    if (n <= 0)
        return 0;
    reader_feed(p, buf, (size_t)n);
    return (size_t)n;
}

#endif
