#include "ip/codel.h"

/* Rounded down. Newton's way from above: it falls until it is there. */
static uint64_t square_root(uint64_t n)
{
    if (n < 2)
        return n;
    uint64_t x = 1ULL << ((65 - __builtin_clzll(n)) / 2), y;
    while ((y = (x + n / x) / 2) < x)
        x = y;
    return x;
}

/* RFC 8289 5.5, control_law: the interval shrinks with the square root of the drops, so that TCP slows evenly. */
static uint64_t control_law(uint64_t t_us, uint32_t count)
{
    return t_us + square_root((uint64_t)CODEL_INTERVAL_US * CODEL_INTERVAL_US / count);
}

/* RFC 8289 5.5, dodequeue: above the target for a whole interval. */
static bool too_long(struct codel *c, uint64_t now_us, uint64_t waited_us, uint32_t backlog, uint32_t mtu)
{
    if (waited_us < CODEL_TARGET_US || backlog <= mtu) {
        c->first_above_us = 0;
        return false;
    }
    if (!c->first_above_us) {
        c->first_above_us = now_us + CODEL_INTERVAL_US;
        return false;
    }
    return now_us >= c->first_above_us;
}

/* RFC 8289 5.5, deque, the packet that starts a time of dropping: soon after the last, where that left off. */
static void start(struct codel *c, uint64_t now_us)
{
    uint32_t delta = c->count - c->last_count;
    bool recent = (int64_t)(now_us - c->drop_next_us) < 16 * CODEL_INTERVAL_US;
    c->dropping = true;
    c->dropped = false;
    c->count = delta > 1 && recent ? delta : 1;
    c->last_count = c->count;
    c->drop_next_us = control_law(now_us, c->count);
}

bool codel_says(struct codel *c, uint64_t now_us, uint64_t waited_us, uint32_t backlog, uint32_t mtu)
{
    if (!too_long(c, now_us, waited_us, backlog, mtu)) {
        c->dropping = false;
        return false;
    }
    if (!c->dropping) {
        start(c, now_us);
        return true;
    }
    /* Only now, as the RFC's loop has it: a drop that cured the queue leaves drop_next_us where it was. */
    if (c->dropped)
        c->drop_next_us = control_law(c->drop_next_us, c->count);
    c->dropped = now_us >= c->drop_next_us;
    if (c->dropped && c->count < UINT32_MAX)
        c->count++;
    return c->dropped;
}
