#include "base/timerq.h"

#include <assert.h>
#include <stdlib.h>

void timerq_init(struct timerq *q)
{
    *q = (struct timerq){ 0 };
}

void timerq_fini(struct timerq *q)
{
    for (size_t i = 1; i <= q->n; i++)
        q->heap[i]->pos = 0;
    free(q->heap);
    *q = (struct timerq){ 0 };
}

static void put(struct timerq *q, size_t pos, struct timer_entry *e)
{
    q->heap[pos] = e;
    e->pos = pos;
}

static void sift_up(struct timerq *q, struct timer_entry *e, size_t pos)
{
    while (pos > 1 && q->heap[pos / 2]->deadline_ms > e->deadline_ms) {
        put(q, pos, q->heap[pos / 2]);
        pos /= 2;
    }
    put(q, pos, e);
}

static void sift_down(struct timerq *q, struct timer_entry *e, size_t pos)
{
    for (;;) {
        size_t child = pos * 2;
        if (child > q->n)
            break;
        if (child < q->n && q->heap[child + 1]->deadline_ms < q->heap[child]->deadline_ms)
            child++;
        if (q->heap[child]->deadline_ms >= e->deadline_ms)
            break;
        put(q, pos, q->heap[child]);
        pos = child;
    }
    put(q, pos, e);
}

/* Puts e, whose deadline may have moved either way, in its place starting from pos. */
static void settle(struct timerq *q, struct timer_entry *e, size_t pos)
{
    sift_up(q, e, pos);
    sift_down(q, e, e->pos);
}

int timerq_set(struct timerq *q, struct timer_entry *e, uint64_t deadline_ms)
{
    if (deadline_ms == TIME_NEVER) {
        timerq_cancel(q, e);
        return 0;
    }
    if (!e->pos) {
        if (q->n + 1 >= q->cap) {
            size_t cap = q->cap ? q->cap * 2 : 64;
            struct timer_entry **heap = realloc(q->heap, cap * sizeof(struct timer_entry *));
            if (!heap)
                return ERR_NOMEM;
            q->heap = heap;
            q->cap = cap;
        }
        e->pos = ++q->n;
    }
    e->deadline_ms = deadline_ms;
    settle(q, e, e->pos);
    return 0;
}

void timerq_cancel(struct timerq *q, struct timer_entry *e)
{
    size_t pos = e->pos;
    if (!pos)
        return;
    assert(pos <= q->n && q->heap[pos] == e);
    struct timer_entry *last = q->heap[q->n--];
    e->pos = 0;
    if (last != e)
        settle(q, last, pos);
}

uint64_t timerq_next(const struct timerq *q)
{
    return q->n ? q->heap[1]->deadline_ms : TIME_NEVER;
}

void timerq_run(struct timerq *q, uint64_t now_ms)
{
    while (q->n && q->heap[1]->deadline_ms <= now_ms) {
        struct timer_entry *e = q->heap[1];
        timerq_cancel(q, e);
        e->fn(e, now_ms);
    }
}
