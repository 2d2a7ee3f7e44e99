/* How long to wait before the next dial: doubling from first to max, with jitter, so that clients of one server that
 * went down do not come back as one. Pure. */
#ifndef GH_CLIENT_BACKOFF_H
#define GH_CLIENT_BACKOFF_H

#include <stdint.h>

struct backoff {
    uint32_t first_ms, max_ms;
    unsigned failures; /* in a row */
};

/* A wait between half of and the whole of first_ms * 2^failures, at most max_ms; counts one failure. random: any. */
static inline uint32_t backoff_next(struct backoff *b, uint32_t random)
{
    uint64_t wait = b->first_ms;
    for (unsigned i = 0; i < b->failures && wait < b->max_ms; i++)
        wait *= 2;
    if (wait > b->max_ms)
        wait = b->max_ms;
    b->failures++;
    return (uint32_t)(wait - wait * (random >> 16) / 0x1ffff); /* up to half of it less */
}

static inline void backoff_reset(struct backoff *b)
{
    b->failures = 0;
}

#endif
