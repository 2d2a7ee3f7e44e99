/*
 * Token bucket: a rate that may be exceeded for a moment. Several may take from one, on any threads: what all of them
 * get is the rate, and in equal parts when each always wants more, because who has taken waits until that is paid for,
 * behind those who took before. Pure; microseconds of a monotonic clock. HOT PATH.
 */
#ifndef GH_IP_BUCKET_H
#define GH_IP_BUCKET_H

#include <stdint.h>

#define BUCKET_BURST_US  20000 /* of the rate may go at once, and at least BUCKET_BURST_MIN bytes */
#define BUCKET_BURST_MIN 20000
#define BUCKET_TURN_US   1000 /* of the rate may always go, and at least a packet, by who has no debt */

/* Zeros: full. */
struct bucket {
    _Atomic uint64_t paid_ns; /* when all that was taken is paid for; a time that has passed is what may go at once */
};

/* One's way to it. */
struct bucket_tap {
    struct bucket *bucket; /* borrowed; not looked at without a rate */
    uint64_t rate;         /* bytes a second; 0: no limit */
    uint64_t next_ns;      /* when what it took itself is paid for */
};

/* rate in bytes a second, 2^40 is the most; 0: everything may go. */
void bucket_open(struct bucket_tap *t, struct bucket *b, uint64_t rate);

/* 0: bytes may go now (also when it is only one more byte than was left: a packet is not split); else when to ask
 * again, in microseconds from now, at least 1. */
uint64_t bucket_wait_us(const struct bucket_tap *t, uint64_t now_us);

/* Bytes that may go now; UINT32_MAX at most, and for no limit. */
uint32_t bucket_left(const struct bucket_tap *t, uint64_t now_us);

/* May make a debt, which it is the taker's to wait for; not of more than an hour. */
void bucket_take(struct bucket_tap *t, uint32_t bytes, uint64_t now_us);

#endif
