/*
 * Deficit round robin (Shreedhar and Varghese, 1996) between calls that send in turns. Records are sent whole, so a
 * turn takes a little less than its quantum, or a packet more; what is missing is added to the next one, for as long as
 * the call has something to send. Calls with records of different sizes so get the same bytes. Pure.
 */
#ifndef GH_SERVER_TURN_H
#define GH_SERVER_TURN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TURN_KEPT_MAX 16384 /* bytes of a turn that are kept: a record did not fit, no more */

/* What a turn left, bytes; < 0: what it took from the next one. Begins as 0. */
struct turn {
    int32_t left;
};

/* Bytes that this turn may take: quantum is more than a packet. */
static inline size_t turn_budget(const struct turn *t, size_t quantum)
{
    return (size_t)((int64_t)quantum + t->left);
}

/* It took `sent`, at most a packet more than the budget; more: something still waits. */
static inline void turn_took(struct turn *t, size_t budget, size_t sent, bool more)
{
    int64_t left = (int64_t)budget - (int64_t)sent;
    t->left = !more ? 0 : (int32_t)(left < TURN_KEPT_MAX ? left : TURN_KEPT_MAX);
}

#endif
