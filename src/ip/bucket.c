#include "ip/bucket.h"

#define RATE_MAX (1ULL << 40)
#define DEBT_MAX (1LL << 40) /* far more than a packet: what bucket_wait_us() computes with has room */
#define SECOND   1000000U

static int64_t burst(const struct bucket *b)
{
    uint64_t n = b->rate * BUCKET_BURST_US / SECOND;
    return n < BUCKET_BURST_MIN ? BUCKET_BURST_MIN : (int64_t)n;
}

static void fill(struct bucket *b, uint64_t now_us)
{
    b->level = burst(b);
    b->rest = 0;
    b->last_us = now_us;
}

/* Seconds and microseconds apart, so that nothing overflows; what is less than a byte is kept for the next time. */
static void refill(struct bucket *b, uint64_t now_us)
{
    if (now_us <= b->last_us)
        return;
    uint64_t passed = now_us - b->last_us, seconds = passed / SECOND;
    int64_t room = burst(b) - b->level;
    if (seconds && seconds > (uint64_t)room / b->rate) {
        fill(b, now_us);
        return;
    }
    uint64_t parts = passed % SECOND * b->rate + b->rest;
    uint64_t bytes = seconds * b->rate + parts / SECOND;
    if (bytes >= (uint64_t)room) {
        fill(b, now_us);
        return;
    }
    b->level += (int64_t)bytes;
    b->rest = (uint32_t)(parts % SECOND);
    b->last_us = now_us;
}

void bucket_init(struct bucket *b, uint64_t rate, uint64_t now_us)
{
    *b = (struct bucket){ .rate = rate < RATE_MAX ? rate : RATE_MAX };
    fill(b, now_us);
}

uint64_t bucket_wait_us(struct bucket *b, uint64_t now_us)
{
    if (!b->rate)
        return 0;
    refill(b, now_us);
    if (b->level > 0)
        return 0;
    uint64_t parts = (uint64_t)(1 - b->level) * SECOND - b->rest;
    return (parts + b->rate - 1) / b->rate;
}

uint32_t bucket_left(struct bucket *b, uint64_t now_us)
{
    if (!b->rate)
        return UINT32_MAX;
    refill(b, now_us);
    if (b->level <= 0)
        return 0;
    return b->level < UINT32_MAX ? (uint32_t)b->level : UINT32_MAX;
}

void bucket_take(struct bucket *b, uint32_t bytes)
{
    if (b->rate && b->level > -DEBT_MAX)
        b->level -= bytes;
}
