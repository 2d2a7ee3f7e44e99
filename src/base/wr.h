/*
 * Bounded writer over memory that the caller owns.
 *
 * Writing past the capacity stores nothing and makes the writer fail for good; the caller asks once, at
 * the end, with wr_ok(). Lengths are reserved with wr_open16() and filled in by wr_close16().
 */
#ifndef GH_BASE_WR_H
#define GH_BASE_WR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

struct wr {
    uint8_t *base, *p, *end;
    bool failed;
};

static inline struct wr wr_make(void *buf, size_t cap)
{
    uint8_t *p = buf;
    return (struct wr){ p, p, p ? p + cap : p, false };
}

static inline size_t wr_len(const struct wr *w)
{
    return (size_t)(w->p - w->base);
}

/* True while everything written so far did fit. */
MUST_USE static inline bool wr_ok(const struct wr *w)
{
    return !w->failed;
}

/* Room for n bytes that the caller fills in; NULL (and failed) when they do not fit. */
static inline uint8_t *wr_room(struct wr *w, size_t n)
{
    if (w->failed || (size_t)(w->end - w->p) < n) {
        w->failed = true;
        return NULL;
    }
    uint8_t *at = w->p;
    if (n) /* an empty writer may be NULL, to which not even 0 may be added */
        w->p += n;
    return at;
}

static inline void wr_u8(struct wr *w, uint8_t v)
{
    uint8_t *at = wr_room(w, 1);
    if (at)
        at[0] = v;
}

static inline void wr_u16(struct wr *w, uint16_t v)
{
    uint8_t *at = wr_room(w, 2);
    if (at) {
        at[0] = (uint8_t)(v >> 8);
        at[1] = (uint8_t)v;
    }
}

static inline void wr_u32(struct wr *w, uint32_t v)
{
    wr_u16(w, (uint16_t)(v >> 16));
    wr_u16(w, (uint16_t)v);
}

static inline void wr_bytes(struct wr *w, const void *src, size_t n)
{
    uint8_t *at = wr_room(w, n);
    if (at && n)
        memcpy(at, src, n);
}

static inline void wr_zero(struct wr *w, size_t n)
{
    uint8_t *at = wr_room(w, n);
    if (at && n)
        memset(at, 0, n);
}

static inline void wr_str(struct wr *w, const char *s)
{
    wr_bytes(w, s, strlen(s));
}

/* Reserves a 16-bit length; give the result to wr_close16(). */
static inline size_t wr_open16(struct wr *w)
{
    size_t mark = wr_len(w);
    wr_u16(w, 0);
    return mark;
}

/* Fills in the length reserved at mark with the bytes from (mark - before) up to here. */
static inline void wr_close16(struct wr *w, size_t mark, size_t before)
{
    if (w->failed)
        return;
    size_t len = wr_len(w) - mark + before;
    if (len > UINT16_MAX) {
        w->failed = true;
        return;
    }
    w->base[mark] = (uint8_t)(len >> 8);
    w->base[mark + 1] = (uint8_t)len;
}

#endif
