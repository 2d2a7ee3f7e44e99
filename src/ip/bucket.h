/* Token bucket: a rate that may be exceeded for a moment. Pure; microseconds of a monotonic clock. */
#ifndef GH_IP_BUCKET_H
#define GH_IP_BUCKET_H

#include <stdint.h>

#define BUCKET_BURST_US  20000 /* of the rate may go at once, and at least BUCKET_BURST_MIN bytes */
#define BUCKET_BURST_MIN 20000

struct bucket {
    uint64_t rate;    /* bytes a second; 0: no limit */
    int64_t level;    /* bytes that may go; negative: debt */
    uint64_t last_us; /* when level was right */
    uint32_t rest;    /* of the last refill: millionths of a byte */
};

/* Full. rate in bytes a second, at most 2^40; 0: everything may go. */
void bucket_init(struct bucket *b, uint64_t rate, uint64_t now_us);

/* 0: bytes may go now (also when it is only one more byte than was left: a packet is not split); else when to ask
 * again, in microseconds from now, at least 1. */
uint64_t bucket_wait_us(struct bucket *b, uint64_t now_us);

/* Bytes that may go now; UINT32_MAX at most, and for no limit. */
uint32_t bucket_left(struct bucket *b, uint64_t now_us);

void bucket_take(struct bucket *b, uint32_t bytes); /* may make a debt of one packet */

#endif
