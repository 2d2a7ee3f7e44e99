/*
 * Bounded reader: the only way bytes from the network are looked at.
 *
 * A reader borrows memory and never owns it. Every getter checks first: on false nothing was consumed
 * and nothing was stored. Integers are in network order on the wire and in host order in memory.
 */
#ifndef GH_BASE_RD_H
#define GH_BASE_RD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

struct rd {
    const uint8_t *p, *end;
};

static inline struct rd rd_make(const void *data, size_t len)
{
    const uint8_t *p = data;
    return (struct rd){ p, p ? p + len : p };
}

static inline size_t rd_left(const struct rd *r)
{
    return (size_t)(r->end - r->p);
}

/* Steps over n bytes that are there. An empty reader may be NULL, to which not even 0 may be added. */
static inline const uint8_t *rd_step(struct rd *r, size_t n)
{
    const uint8_t *at = r->p;
    if (n)
        r->p += n;
    return at;
}

/* True when all was consumed. */
MUST_USE static inline bool rd_end(const struct rd *r)
{
    return r->p == r->end;
}

MUST_USE static inline bool rd_u8(struct rd *r, uint8_t *out)
{
    if (rd_left(r) < 1)
        return false;
    *out = *r->p++;
    return true;
}

MUST_USE static inline bool rd_u16(struct rd *r, uint16_t *out)
{
    if (rd_left(r) < 2)
        return false;
    *out = (uint16_t)(r->p[0] << 8 | r->p[1]);
    r->p += 2;
    return true;
}

MUST_USE static inline bool rd_u32(struct rd *r, uint32_t *out)
{
    if (rd_left(r) < 4)
        return false;
    *out = (uint32_t)r->p[0] << 24 | (uint32_t)r->p[1] << 16 | (uint32_t)r->p[2] << 8 | r->p[3];
    r->p += 4;
    return true;
}

/* The next n bytes, borrowed. */
MUST_USE static inline bool rd_bytes(struct rd *r, size_t n, const uint8_t **out)
{
    if (rd_left(r) < n)
        return false;
    *out = rd_step(r, n);
    return true;
}

/* The next n bytes, copied to dst. */
MUST_USE static inline bool rd_copy(struct rd *r, void *dst, size_t n)
{
    if (rd_left(r) < n)
        return false;
    if (n)
        memcpy(dst, rd_step(r, n), n);
    return true;
}

/* The next n bytes as a reader of their own: a length-prefixed part cannot see past its end. */
MUST_USE static inline bool rd_sub(struct rd *r, size_t n, struct rd *sub)
{
    if (rd_left(r) < n)
        return false;
    const uint8_t *at = rd_step(r, n);
    *sub = (struct rd){ at, r->p };
    return true;
}

MUST_USE static inline bool rd_skip(struct rd *r, size_t n)
{
    if (rd_left(r) < n)
        return false;
    rd_step(r, n);
    return true;
}

/* Looks at the next byte without consuming it. */
MUST_USE static inline bool rd_peek_u8(const struct rd *r, uint8_t *out)
{
    if (rd_left(r) < 1)
        return false;
    *out = *r->p;
    return true;
}

#endif
