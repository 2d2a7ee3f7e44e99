#include "ip/bucket.h"

#include <stdatomic.h>

#define RATE_MAX    (1ULL << 40)
#define SECOND      1000000000ULL
#define DEBT_MAX_NS (3600 * SECOND)
#define EPOCH_NS    (1ULL << 45) /* before the clock's zero: more than any burst takes, so that a bucket begins full */

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t in_ns(uint64_t now_us)
{
    return now_us * 1000 + EPOCH_NS;
}

/* Rounded up: the rate is never exceeded. */
static uint64_t cost_ns(uint64_t rate, uint32_t bytes)
{
    return (bytes * SECOND + rate - 1) / rate;
}

/* Microseconds and the rest apart, so that nothing overflows. */
static uint64_t worth(uint64_t rate, uint64_t ns)
{
    return ns / 1000 * rate / 1000000 + ns % 1000 * rate / SECOND;
}

static uint64_t burst_ns(uint64_t rate)
{
    return most(BUCKET_BURST_US * 1000ULL, cost_ns(rate, BUCKET_BURST_MIN));
}

/* What was not used is not saved up for longer than a burst. */
static uint64_t paid_since(uint64_t paid_ns, uint64_t rate, uint64_t now_ns)
{
    return most(paid_ns, now_ns - burst_ns(rate));
}

void bucket_open(struct bucket_tap *t, struct bucket *b, uint64_t rate)
{
    *t = (struct bucket_tap){ .bucket = b, .rate = rate < RATE_MAX ? rate : RATE_MAX };
}

uint64_t bucket_wait_us(const struct bucket_tap *t, uint64_t now_us)
{
    uint64_t now_ns = in_ns(now_us);
    return t->next_ns > now_ns ? (t->next_ns - now_ns + 999) / 1000 : 0;
}

uint32_t bucket_left(const struct bucket_tap *t, uint64_t now_us)
{
    uint64_t now_ns = in_ns(now_us);
    if (!t->rate)
        return UINT32_MAX;
    if (t->next_ns > now_ns)
        return 0;
    uint64_t paid = paid_since(atomic_load_explicit(&t->bucket->paid_ns, memory_order_relaxed), t->rate, now_ns);
    uint64_t left = paid < now_ns ? worth(t->rate, now_ns - paid) : 0;
    left = most(left, worth(t->rate, BUCKET_TURN_US * 1000) + 1);
    return left < UINT32_MAX ? (uint32_t)left : UINT32_MAX;
}

void bucket_take(struct bucket_tap *t, uint32_t bytes, uint64_t now_us)
{
    uint64_t now_ns = in_ns(now_us);
    if (!t->rate || !bytes) /* who took nothing does not wait for what others took */
        return;
    uint64_t was = atomic_load_explicit(&t->bucket->paid_ns, memory_order_relaxed), cost = cost_ns(t->rate, bytes),
             paid;
    do {
        paid = paid_since(was, t->rate, now_ns) + cost;
        if (paid > now_ns + DEBT_MAX_NS)
            paid = now_ns + DEBT_MAX_NS;
    } while (!atomic_compare_exchange_weak_explicit(&t->bucket->paid_ns, &was, paid, memory_order_relaxed,
                                                    memory_order_relaxed));
    t->next_ns = paid;
}
