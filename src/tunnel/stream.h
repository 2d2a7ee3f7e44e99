/*
 * The data path that both ends of a call share: SSTP packets on a TLS stream. HOT PATH: no allocation, lock, log line
 * or system call for a packet.
 *
 * Out: control packets wait in a small buffer and go first; IP packets wait in the call's flow queues (ip/fq.h) and are
 * cut straight into the plaintext of TLS records, many to a record, several records to a system call. In: records are
 * read, several at once, into one buffer of the thread and walked packet by packet in place; one that is not yet whole
 * is kept in between. Everything that a call holds comes out of pools of the thread and goes back when it is empty, so
 * that an idle call has nothing.
 *
 * stream.c: the pools; out.c, in.c: the two ways. shaper.c: what came in beyond a user's rate.
 */
#ifndef GH_TUNNEL_STREAM_H
#define GH_TUNNEL_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pkt.h"
#include "base/rd.h"
#include "ip/bucket.h"
#include "ip/fq.h"
#include "ip/pktbuf.h"
#include "sstp/msg.h"
#include "tls/stream.h"
#include "tunnel/window.h"

#define TUNNEL_RX_RECORDS  8 /* read at once before they are walked */
#define TUNNEL_RX_CAP      (TUNNEL_RX_RECORDS * TLS_RECORD_MAX)
#define TUNNEL_RX_KEEP     SSTP_PKT_MAX /* longest unfinished packet kept between two reads */
#define TUNNEL_CONTROL_CAP 32768        /* control packets that may wait for a slow peer */
#define TUNNEL_CONTROL_NEW 16384        /* the same of who has not logged in */

/* Buffers of one size that come and go with traffic: some are kept, so that the hot path does not allocate. */
struct tunnel_pool {
    size_t size;
    unsigned n;
    void *kept[32];
};

struct tunnel_bufs { /* one a thread, shared by its streams */
    struct tunnel_pool control, left, queue;
    struct pktbuf_pool packets;
    size_t call_max; /* bytes of packets that may wait for one call */
    uint8_t *memory;
    uint8_t *record; /* in it: plaintext of a record that is being filled */
    uint8_t *rx;     /* in it: TUNNEL_RX_KEEP + TUNNEL_RX_CAP bytes, and PKT_HEADROOM in front of them */
};

/* call_max, all_max: bytes that may wait for one call, and for all together. ERR_NOMEM: fini is still fine. */
MUST_USE int tunnel_bufs_init(struct tunnel_bufs *b, size_t call_max, size_t all_max);
void tunnel_bufs_fini(struct tunnel_bufs *b); /* after its streams; fine on zeros */

/* Begins as { .bufs, .tls }, both borrowed; .mtu is set before the first packet. */
struct tunnel_stream {
    struct tunnel_bufs *bufs;
    struct tls_stream *tls;
    /* out */
    uint8_t *control; /* TUNNEL_CONTROL_CAP bytes while something waits, else NULL */
    size_t control_len;
    size_t alone;  /* first bytes of control make a record of their own: an HTTP answer */
    struct fq *fq; /* while packets wait, else NULL */
    uint32_t mtu;  /* largest IP packet to the peer */
    struct fq_counts dropped;
    struct bucket_tap tap;   /* of what goes out */
    uint64_t resume_us;      /* when it lets more go; 0: now */
    uint64_t packets, bytes; /* IP packets that went out */
    struct window window;
    uint64_t rate;       /* bytes a second that the path took lately; 0: not known yet */
    uint64_t asked_us;   /* when the socket was asked last */
    uint32_t since;      /* bytes since */
    uint32_t burst;      /* bytes to encrypt for one system call; 0: as many as there is room for */
    uint32_t lowat;      /* set on the socket; 0: not yet */
    uint64_t delivered;  /* what it had delivered then */
    bool was_full;       /* the socket, since then */
    uint64_t full_at_us; /* when it was; 0: never */
    uint32_t path_us;    /* what a packet waits behind us */
    uint64_t ready_us;   /* since when packets wait for their turn; 0: for the socket or the rate, or there are none */
    uint32_t turn_us;    /* how long that lasts, the longest of late */
    /* in */
    uint8_t *left; /* unfinished packet between two wake-ups: TUNNEL_RX_KEEP bytes while there is one */
    size_t left_len;
    bool secrets;     /* the owner's: passwords pass, what they passed through is wiped */
    bool small_reads; /* the owner's: one record's worth at a time */
    bool unframed;    /* the peer's SSTP stream lost its framing */
};

void tunnel_stream_fini(struct tunnel_stream *s); /* gives the buffers back; fine on zeros */

/* ---- out ---- */

/* The call is up: packets may come. rate: bytes a second that may go out of the bucket; 0: no limit. */
void tunnel_up(struct tunnel_stream *s, struct bucket *bucket, uint64_t rate);

/*
 * Queues one whole control packet as long as no more than limit bytes (at most TUNNEL_CONTROL_CAP) wait; what does not
 * fit makes room by sending first. False when it still does not fit: the peer does not listen, or is gone.
 */
MUST_USE bool tunnel_put(struct tunnel_stream *s, const void *packet, size_t len, size_t limit);

/*
 * Queues an IP packet or super-packet as it came from the TUN; b->version, len and offload are set. b is gone then. 0;
 * ERR_LIMIT: larger than s->mtu; ERR_PEER: its headers lie; ERR_AGAIN: dropped and counted, the queue is full;
 * ERR_NOMEM.
 */
MUST_USE int tunnel_take(struct tunnel_stream *s, struct pktbuf *b, uint64_t now_us);

enum tunnel_state {
    TUNNEL_EMPTY,   /* all went out */
    TUNNEL_MORE,    /* the budget is used up, but for less than a record */
    TUNNEL_BLOCKED, /* go on when the socket is writable */
    TUNNEL_PACED,   /* go on at s->resume_us */
    TUNNEL_DEAD,    /* the stream is broken */
};

/*
 * Sends what waits: all control packets, and about `budget` bytes of IP packets, at most a record less or a packet
 * more; *sent: of these.
 */
enum tunnel_state tunnel_send(struct tunnel_stream *s, size_t budget, uint64_t now_us, size_t *sent);

/* Something waits that tunnel_send() could send, now or later. */
static inline bool tunnel_waits(const struct tunnel_stream *s)
{
    return s->control || s->fq || tls_stream_unsent(s->tls);
}

/* The same without IP packets: what has to go before the connection can be closed. */
static inline bool tunnel_owes(const struct tunnel_stream *s)
{
    return s->control || tls_stream_unsent(s->tls);
}

/* Bytes of IP packets that wait. */
static inline uint32_t tunnel_queued(const struct tunnel_stream *s)
{
    return s->fq ? s->fq->bytes : 0;
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
 * Reads up to TUNNEL_RX_RECORDS records, with s->secrets or s->small_reads one record's worth, and walks them. 0: there
 * may be more, *more: decrypted already, so that the socket does not tell; ERR_AGAIN: nothing more now
 * (tls_stream_wants()); ERR_CLOSED, ERR_PEER (of TLS, or s->unframed), ERR_NOMEM: the end. *bytes: of plaintext read.
 */
MUST_USE int tunnel_receive(struct tunnel_stream *s, const struct tunnel_sink *sink, bool *more, size_t *bytes);

/*
 * What came behind the HTTP head, before the first tunnel_receive(). 0; ERR_PEER (s->unframed), ERR_NOMEM; ERR_LIMIT
 * when it is more than TUNNEL_RX_CAP bytes.
 */
MUST_USE int tunnel_early(struct tunnel_stream *s, const struct tunnel_sink *sink, struct rd early);

/* For out.c and in.c. */
void *tunnel_pool_get(struct tunnel_pool *p); /* NULL: out of memory */
void tunnel_pool_put(struct tunnel_pool *p, void *buf);
void tunnel_out_fini(struct tunnel_stream *s);
void tunnel_in_fini(struct tunnel_stream *s);

#endif
