/*
 * Event queue: what a protocol machine wants done, in order.
 *
 * A machine appends while x_input/x_expire runs; its owner drains when that call has returned, so a
 * machine is never entered from inside itself. The memory is the owner's, fixed in size, and is reused
 * from call to call. Running out makes the queue fail: the owner ends the connection (ERR_LIMIT).
 */
#ifndef GH_BASE_EVQ_H
#define GH_BASE_EVQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "base/wr.h"

struct evq {
    uint8_t *buf;   /* owned by whoever made the queue */
    size_t cap;     /* bytes */
    size_t len;     /* bytes used */
    size_t read;    /* bytes drained */
    size_t open_at; /* where the payload under construction has its length */
    bool failed;    /* something did not fit */
};

struct ev {
    uint16_t type;       /* the machine's own enum */
    uint16_t len;        /* bytes of payload */
    const uint8_t *data; /* payload, borrowed from the queue, aligned to 8 */
};

static inline struct evq evq_make(void *buf, size_t cap)
{
    return (struct evq){ .buf = buf, .cap = cap };
}

static inline void evq_reset(struct evq *q)
{
    q->len = q->read = 0;
    q->failed = false;
}

/* Starts an event whose payload the caller writes; evq_close() ends it. One may be open at a time. */
static inline struct wr evq_open(struct evq *q, uint16_t type)
{
    size_t at = (q->len + 7) & ~(size_t)7;
    q->open_at = at;
    if (q->failed || at + 8 > q->cap) {
        q->failed = true;
        return (struct wr){ .failed = true };
    }
    memcpy(q->buf + at, &type, 2);
    size_t room = q->cap - at - 8;
    return wr_make(q->buf + at + 8, room > UINT16_MAX ? UINT16_MAX : room);
}

static inline void evq_close(struct evq *q, const struct wr *w)
{
    if (q->failed || w->failed) {
        q->failed = true;
        return;
    }
    uint16_t len = (uint16_t)wr_len(w);
    memcpy(q->buf + q->open_at + 2, &len, 2);
    q->len = q->open_at + 8 + len;
}

/* Appends an event with a copy of n bytes; n may be 0. */
static inline void evq_put(struct evq *q, uint16_t type, const void *data, size_t n)
{
    struct wr w = evq_open(q, type);
    wr_bytes(&w, data, n);
    evq_close(q, &w);
}

/* Takes the oldest event; false when there is none. */
static inline bool evq_next(struct evq *q, struct ev *out)
{
    size_t at = (q->read + 7) & ~(size_t)7;
    if (at >= q->len)
        return false;
    memcpy(&out->type, q->buf + at, 2);
    memcpy(&out->len, q->buf + at + 2, 2);
    out->data = q->buf + at + 8;
    q->read = at + 8 + out->len;
    return true;
}

#endif
