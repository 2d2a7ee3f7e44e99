/*
 * Deadline heap: many timers, one wake-up.
 *
 * An entry is a member of its owner's structure; the heap holds pointers only. Times are milliseconds of
 * a monotonic clock that the caller passes in. Arming an armed entry moves it. O(log n) to arm and disarm.
 */
#ifndef GH_BASE_TIMERQ_H
#define GH_BASE_TIMERQ_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define TIME_NEVER UINT64_MAX

struct timer_entry {
    uint64_t deadline_ms; /* valid while armed */
    size_t pos;           /* 1-based place in the heap; 0: not armed */
    void (*fn)(struct timer_entry *e, uint64_t now_ms);
};

struct timerq {
    struct timer_entry **heap; /* heap[1..n] */
    size_t n, cap;
};

void timerq_init(struct timerq *q);
void timerq_fini(struct timerq *q);

/* Arms e for deadline_ms, or disarms it when that is TIME_NEVER. ERR_NOMEM leaves e disarmed. */
MUST_USE int timerq_set(struct timerq *q, struct timer_entry *e, uint64_t deadline_ms);

/* Fine on an entry that is not armed. */
void timerq_cancel(struct timerq *q, struct timer_entry *e);

/* The earliest deadline, or TIME_NEVER. */
uint64_t timerq_next(const struct timerq *q);

/* Disarms and calls every entry that is due; entries may be armed, disarmed or freed from the callbacks. */
void timerq_run(struct timerq *q, uint64_t now_ms);

#endif
