/*
 * What a peer sends while its user's rate is used up waits here, each flow in a queue of its own (ip/fq.h), and goes on
 * when there is rate again. In the socket it would wait in line, small packets behind large ones; and a receive buffer
 * that is always full makes the kernel lose what it has promised room for, which costs the peer's TCP 200 ms each time.
 * What is more than the rate is lost or marked, so that who sends it slows down. HOT PATH.
 *
 * Packets that find rate left, and nobody waiting, are not touched.
 */
#ifndef GH_TUNNEL_SHAPER_H
#define GH_TUNNEL_SHAPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ip/bucket.h"
#include "ip/fq.h"
#include "ip/join.h"
#include "tunnel/stream.h"

#define SHAPER_QUEUE_MS  250                      /* of the rate may wait, in bytes as the pool counts them, and */
#define SHAPER_QUEUE_MIN (32 * PKTBUF_COST(2048)) /* at least */
#define SHAPER_PACKETS   256                      /* go on in a wake-up, of those that waited */

struct tunnel_shaper {
    struct tunnel_bufs *bufs; /* borrowed */
    struct bucket_tap tap;    /* without a rate: no limit, all the rest is zeros */
    struct fq *fq;            /* while packets wait, else NULL */
    uint32_t mtu;             /* largest packet that is to be expected */
    struct fq_counts dropped;
    uint64_t now_us;    /* of this wake-up */
    uint32_t may, gone; /* bytes that may go on at once in it, and did */
    uint64_t resume_us; /* when some that wait may go on; 0: none waits, or now */
};

/* Begins within a wake-up. rate: bytes a second out of the bucket; 0: no limit. */
void shaper_open(struct tunnel_shaper *s, struct tunnel_bufs *bufs, struct bucket *bucket, uint64_t rate, uint32_t mtu,
                 uint64_t now_us);
void shaper_fini(struct tunnel_shaper *s); /* what waits is gone, uncounted; fine on zeros */

/* A wake-up: of those that wait, packets of about `budget` bytes go to j, as far as there is rate. */
void shaper_begin(struct tunnel_shaper *s, struct join *j, size_t budget, uint64_t now_us);

/* A packet that came in it: true: it goes on at once; else it is to be kept. */
static inline bool shaper_lets(struct tunnel_shaper *s, uint32_t len)
{
    if (!s->tap.rate)
        return true;
    if (s->fq || s->gone >= s->may)
        return false;
    s->gone += len;
    return true;
}

/* packet: one that ip_view() accepted, len bytes; copied. 0; ERR_AGAIN: it was dropped and counted; ERR_NOMEM. */
MUST_USE int shaper_keep(struct tunnel_shaper *s, const uint8_t *packet, uint32_t len, uint8_t version);

/* Bytes that wait. */
static inline uint32_t shaper_queued(const struct tunnel_shaper *s)
{
    return s->fq ? s->fq->bytes : 0;
}

/* Its end. True: more of those that wait may go on at once; else resume_us says when. */
MUST_USE bool shaper_end(struct tunnel_shaper *s);

#endif
