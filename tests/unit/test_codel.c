/* CoDel against the RFC's own pseudo code, written once more over a whole queue and in floating point. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ip/codel.h"

#define MTU     1400
#define PACKETS 200000

/* RFC 8289 5: the queue, and its dequeue with CoDel, word for word. */
struct model {
    double first_above, drop_next; /* microseconds */
    uint32_t count, last_count;
    bool dropping;
    double at[PACKETS]; /* since when each packet waits */
    uint32_t len[PACKETS];
    int head, tail;
    uint32_t bytes;
    bool dropped[PACKETS];
};

static int model_dodeque(struct model *m, double now, bool *ok_to_drop)
{
    *ok_to_drop = false;
    if (m->head == m->tail) {
        m->first_above = 0;
        return -1;
    }
    uint32_t with = m->bytes; /* its own bytes counted: one packet's worth may be the last */
    int p = m->head++;
    m->bytes -= m->len[p];
    if (now - m->at[p] < CODEL_TARGET_US || with <= MTU)
        m->first_above = 0;
    else if (m->first_above == 0)
        m->first_above = now + CODEL_INTERVAL_US;
    else if (now >= m->first_above)
        *ok_to_drop = true;
    return p;
}

/* Whole microseconds, so that it can be compared to the bit over any time. */
static double model_law(double t, uint32_t count)
{
    return t + floor(CODEL_INTERVAL_US / sqrt(count));
}

static int model_deque(struct model *m, double now)
{
    bool ok;
    int p = model_dodeque(m, now, &ok);
    if (m->dropping) {
        if (!ok)
            m->dropping = false;
        while (now >= m->drop_next && m->dropping) {
            m->dropped[p] = true;
            m->count++;
            p = model_dodeque(m, now, &ok);
            if (!ok)
                m->dropping = false;
            else
                m->drop_next = model_law(m->drop_next, m->count);
        }
    } else if (ok) {
        m->dropped[p] = true;
        p = model_dodeque(m, now, &ok);
        m->dropping = true;
        uint32_t delta = m->count - m->last_count;
        m->count = 1;
        if (delta > 1 && now - m->drop_next < 16 * CODEL_INTERVAL_US)
            m->count = delta;
        m->drop_next = model_law(now, m->count);
        m->last_count = m->count;
    }
    return p;
}

/* The same queue, with ours asked about each head. */
struct ours {
    struct codel codel;
    int head;
    uint32_t bytes;
    bool dropped[PACKETS];
};

static int ours_deque(struct ours *o, const struct model *m, uint64_t now)
{
    for (; o->head < m->tail; o->head++) {
        bool drop = codel_says(&o->codel, now, now - (uint64_t)m->at[o->head], o->bytes, MTU);
        o->bytes -= m->len[o->head];
        if (!drop)
            return o->head++;
        o->dropped[o->head] = true;
    }
    (void)codel_says(&o->codel, now, 0, 0, MTU);
    return -1;
}

static struct model *model;
static struct ours *ours;

static int reset(void **state)
{
    (void)state;
    free(model);
    free(ours);
    model = calloc(1, sizeof *model);
    ours = calloc(1, sizeof *ours);
    return model && ours ? 0 : -1;
}

static int done(void **state)
{
    (void)state;
    free(model);
    free(ours);
    model = NULL;
    ours = NULL;
    return 0;
}

static void put(uint64_t now, uint32_t len)
{
    model->at[model->tail] = (double)now;
    model->len[model->tail++] = len;
    model->bytes += len;
    ours->bytes += len;
}

/* Loads of every kind after one another: none, bursts, a little and far too much, and stalls of the line. */
static void run_random(unsigned seed)
{
    uint64_t now = 1000000, next_in = now, phase_end = 0;
    unsigned load = 0, drops = 0;
    srand(seed);
    while (model->tail < PACKETS - 1) {
        if (now >= phase_end) {
            phase_end = now + (uint64_t)(rand() % 900000);
            load = (unsigned)rand() % 220;
            if (rand() % 20 == 0)
                now += (uint64_t)(rand() % 3000000);
        }
        for (; next_in <= now && model->tail < PACKETS - 1; next_in += load ? 22400 / load : 50000)
            put(next_in, 40 + (uint32_t)rand() % (MTU - 39));
        int want = model_deque(model, (double)now), got = ours_deque(ours, model, now);
        assert_int_equal(got, want);
        assert_int_equal(ours->bytes, model->bytes);
        assert_int_equal(ours->codel.dropping, model->dropping);
        assert_int_equal(ours->codel.count, model->count);
        now += 224 + (uint64_t)rand() % 3;
    }
    assert_memory_equal(ours->dropped, model->dropped, sizeof model->dropped);
    for (int i = 0; i < model->tail; i++)
        drops += model->dropped[i];
    assert_true(drops > 100);
}

static void test_as_the_rfc(void **state)
{
    for (unsigned seed = 1; seed <= 12; seed++) {
        reset(state);
        run_random(seed);
    }
}

/* A queue that never gets better: the interval, once more, then divided by the square roots of 2, 3, 4... */
static void test_times_of_drops(void **state)
{
    (void)state;
    struct codel c = { 0 };
    const uint64_t begin = 5000000;
    double next = CODEL_INTERVAL_US;
    unsigned drops = 0;
    for (uint64_t t = 0; t < 5000000; t += 10) {
        if (!codel_says(&c, begin + t, 50000, 100000, MTU))
            continue;
        assert_true(fabs((double)t - next) <= 10 + drops); /* of the step, and of whole microseconds */
        drops++;
        next += CODEL_INTERVAL_US / sqrt(drops);
    }
    assert_in_range(drops, 634, 640); /* of n drops, the last comes after 2 * sqrt(n) - 1.46 intervals */
}

static void test_below_target(void **state)
{
    (void)state;
    struct codel c = { 0 };
    for (uint64_t now = 1; now < 10000000; now += 224)
        assert_false(codel_says(&c, now, CODEL_TARGET_US - 1, 1000000, MTU));
}

static void test_one_packet_is_never_too_much(void **state)
{
    (void)state;
    struct codel c = { 0 };
    for (uint64_t now = 1; now < 10000000; now += 224)
        assert_false(codel_says(&c, now, 1000000, MTU, MTU));
}

static void test_short_burst_is_let_through(void **state)
{
    (void)state;
    struct codel c = { 0 };
    for (unsigned i = 0; i < 100; i++) {
        uint64_t now = 1 + i * 200000ULL;
        for (uint64_t t = 0; t < CODEL_INTERVAL_US; t += 100)
            assert_false(codel_says(&c, now + t, 80000, 100000, MTU));
        assert_false(codel_says(&c, now + CODEL_INTERVAL_US, 0, 100, MTU)); /* it was gone within the interval */
    }
}

/* Soon after, it goes on nearly where it left off; long after, it begins anew. */
static void test_comes_back(void **state)
{
    (void)state;
    const uint64_t pauses[] = { 200000, 10 * CODEL_INTERVAL_US, 20 * CODEL_INTERVAL_US };
    const bool recent[] = { true, true, false };
    for (unsigned i = 0; i < 3; i++) {
        struct codel c = { 0 };
        uint64_t now = 1;
        while (c.count < 20) {
            (void)codel_says(&c, now, 50000, 100000, MTU);
            now += 100;
        }
        assert_false(codel_says(&c, now, 0, 100, MTU));
        assert_false(c.dropping);
        now += pauses[i];
        while (!codel_says(&c, now, 50000, 100000, MTU))
            now += 100;
        assert_int_equal(c.count, recent[i] ? 19 : 1);
    }
}

/* A flood that no drop slows, for as long as one likes: the count stands at its end. */
static void test_count_has_an_end(void **state)
{
    (void)state;
    struct codel c = { .dropping = true, .count = UINT32_MAX - 3, .first_above_us = 1, .drop_next_us = 10 };
    for (uint64_t now = 20; now < 120; now++)
        (void)codel_says(&c, now, 50000, 100000, MTU);
    assert_int_equal(c.count, UINT32_MAX);
    assert_true(c.drop_next_us >= 100);
}

/* Where a packet itself takes longer than the target, one and a half of them may wait. */
static void test_slack_of_slow_rates(void **state)
{
    (void)state;
    assert_int_equal(codel_slack_us(0, 1400), 0);
    assert_int_equal(codel_slack_us(1000000000, 1400), 0);
    assert_int_equal(codel_slack_us(420000, 1400), 0);
    assert_int_equal(codel_slack_us(64000, 1400), 32812 - CODEL_TARGET_US);
    assert_int_equal(codel_slack_us(8000, 1400), 262500 - CODEL_TARGET_US);
    assert_int_equal(codel_slack_us(1, UINT32_MAX), UINT32_MAX - CODEL_TARGET_US);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_as_the_rfc, done),
        cmocka_unit_test(test_times_of_drops),
        cmocka_unit_test(test_below_target),
        cmocka_unit_test(test_one_packet_is_never_too_much),
        cmocka_unit_test(test_short_burst_is_let_through),
        cmocka_unit_test(test_comes_back),
        cmocka_unit_test(test_count_has_an_end),
        cmocka_unit_test(test_slack_of_slow_rates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
