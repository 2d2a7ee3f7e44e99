/*
 * The data path that both ends of a call share: SSTP packets on a TLS stream. HOT PATH: no allocation, lock or log line
 * for a packet.
 *
 * Out: packets wait in one buffer and are cut into TLS records at packet boundaries, many to a record. In: records are
 * read in large pieces and walked packet by packet; one that straddles two of them is kept in between. Buffers come out
 * of pools of the thread and are held only while something is in them, so that an idle call has none.
 */
#ifndef GH_TUNNEL_STREAM_H
#define GH_TUNNEL_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pkt.h"
#include "base/rd.h"
#include "sstp/msg.h"
#include "tls/stream.h"

#define TUNNEL_RX_CAP      65536        /* plaintext read at once, one buffer a thread */
#define TUNNEL_RX_KEEP     SSTP_PKT_MAX /* longest unfinished packet kept between two reads */
#define TUNNEL_OUT_DATA    98304        /* plaintext that may wait for a slow peer before data packets are dropped */
#define TUNNEL_OUT_RESERVE 16384        /* more, for control packets */
#define TUNNEL_OUT_CAP     (TUNNEL_OUT_DATA + TUNNEL_OUT_RESERVE)

/* Buffers of one size that come and go with traffic: some are kept, so that the hot path does not allocate. */
struct tunnel_pool {
    size_t size;
    unsigned n;
    uint8_t *kept[32];
};

struct tunnel_bufs { /* one a thread, shared by its streams */
    struct tunnel_pool out, left;
    uint8_t *memory;
    uint8_t *rx; /* in it:  TUNNEL_RX_KEEP + TUNNEL_RX_CAP bytes, and PKT_HEADROOM in front of them */
};

MUST_USE int tunnel_bufs_init(struct tunnel_bufs *b); /* ERR_NOMEM: fini is still fine */
void tunnel_bufs_fini(struct tunnel_bufs *b);         /* after its streams; fine on zeros */

/* Begins as { .bufs, .tls }, both borrowed. */
struct tunnel_stream {
    struct tunnel_bufs *bufs;
    struct tls_stream *tls;
    uint8_t *out; /* TUNNEL_OUT_CAP bytes while output waits, else NULL */
    size_t out_off, out_len;
    size_t alone;  /* first bytes of out that make a record of their own: an HTTP answer, or the rest of a record */
    uint8_t *left; /* unfinished packet between two wake-ups: TUNNEL_RX_KEEP bytes while there is one */
    size_t left_len;
    bool secrets;  /* the owner's: passwords pass, what they passed through is wiped */
    bool unframed; /* the peer's SSTP stream lost its framing */
};

void tunnel_stream_fini(struct tunnel_stream *s); /* gives the buffers back; fine on zeros */

/* ---- out ---- */

/*
 * Queues one whole packet as long as no more than limit bytes wait (at most TUNNEL_OUT_CAP); for control packets:
 * what does not fit makes room by a flush first. False when it still does not fit: the peer does not listen, or is
 * gone.
 */
MUST_USE bool tunnel_put(struct tunnel_stream *s, const void *packet, size_t len, size_t limit);

/*
 * Queues an IP packet behind its SSTP and PPP header, which are written over the 8 bytes in front of data. len is at
 * most SSTP_PAYLOAD_MAX - PPP_HDR_MAX. A full record goes out first. False when TUNNEL_OUT_DATA bytes wait: dropped.
 */
MUST_USE bool tunnel_put_ip(struct tunnel_stream *s, uint8_t *data, uint32_t len, uint16_t ppp_protocol);

/* 0: nothing waits any more; ERR_AGAIN: wait until the socket takes more; another error: the stream is dead. */
MUST_USE int tunnel_flush(struct tunnel_stream *s);

static inline bool tunnel_waits(const struct tunnel_stream *s)
{
    return s->out;
}

/* ---- in ---- */

/* Who gets the packets. All four are set; none may free the stream. */
struct tunnel_sink {
    void (*control)(void *arg, struct rd whole); /* one whole control packet */
    /* The payload of a data packet. Its memory, and PKT_HEADROOM bytes in front of it, are the sink's to write over
     * (tunnel_writable()), and stay as they are until walked(). */
    void (*frame)(void *arg, struct rd frame);
    void (*walked)(void *arg); /* there were packets, and what they lie in is about to be used again */
    bool (*done)(void *arg);   /* asked before each packet: stop, and forget the rest */
    void *arg;
};

/* A place in what a sink was given, to write to. */
static inline uint8_t *tunnel_writable(const struct tunnel_stream *s, const uint8_t *at)
{
    return s->bufs->rx + (at - s->bufs->rx);
}

/*
 * Reads up to reads_max records. 0: there may be more, *more: decrypted already, so that the socket does not tell;
 * ERR_AGAIN: nothing more now (tls_stream_wants()); ERR_CLOSED, ERR_PEER (of TLS, or s->unframed), ERR_NOMEM: the end.
 */
MUST_USE int tunnel_receive(struct tunnel_stream *s, const struct tunnel_sink *sink, unsigned reads_max, bool *more);

/*
 * What came behind the HTTP head, before the first tunnel_receive(). 0; ERR_PEER (s->unframed), ERR_NOMEM; ERR_LIMIT
 * when it is more than TUNNEL_RX_CAP bytes.
 */
MUST_USE int tunnel_early(struct tunnel_stream *s, const struct tunnel_sink *sink, struct rd early);

#endif
