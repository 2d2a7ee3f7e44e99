#include "tunnel/window.h"

enum { RUN_NONE, RUN_HIGH, RUN_LOW, RUN_SETTLE, RUN_MEASURE }; /* window_run.what */

#define SETTLE_MS      20      /* after the old queue is gone */
#define ROUND_TRIP_MAX 2000000 /* us: longer ones are taken for this */

static uint32_t high_us(const struct window *w)
{
    return w->base_us + WINDOW_HIGH_US + w->base_us / 8;
}

static uint32_t keep_us(const struct window *w)
{
    return w->base_us + WINDOW_KEEP_US + w->base_us / 16;
}

static uint64_t bytes_in(uint64_t rate, uint32_t us)
{
    return rate * us / 1000000; /* 2^64 / ROUND_TRIP_MAX: far beyond any rate */
}

static void set_state(struct window *w, enum window_state state, uint64_t bytes)
{
    w->state = state;
    if (bytes < WINDOW_MIN)
        bytes = WINDOW_MIN;
    if (bytes > WINDOW_MAX)
        bytes = WINDOW_MAX;
    w->bytes = state == WINDOW_CHECKING || state == WINDOW_BOUNDED ? (uint32_t)bytes : 0;
    w->run.what = RUN_NONE;
}

static void lift(struct window *w, uint64_t now_ms)
{
    w->until_ms = now_ms + ((uint64_t)WINDOW_RETRY_MS << w->vain);
    if (w->vain < WINDOW_RETRY_DOUBLES)
        w->vain++;
    set_state(w, WINDOW_LIFTED, 0);
}

static void bound(struct window *w, uint64_t bytes)
{
    w->vain = 0;
    set_state(w, WINDOW_BOUNDED, bytes);
}

/* The shortest round trip: the kernel forgets its one after minutes with a queue of ours, so ours only falls ... */
static void learn_base(struct window *w, const struct window_sample *s)
{
    if (!w->base_us || s->rtt_us < w->base_us)
        w->base_us = s->rtt_us;
    if (s->min_rtt_us < w->seen_min_us || !w->seen_min_us)
        if (s->min_rtt_us < w->base_us)
            w->base_us = s->min_rtt_us;
    w->seen_min_us = s->min_rtt_us;
}

/* ... but for a try, which starts from the kernel's. */
static void forget_base(struct window *w, const struct window_sample *s)
{
    w->base_us = s->min_rtt_us < s->rtt_us ? s->min_rtt_us : s->rtt_us;
}

static void run_add(struct window *w, uint8_t what, const struct window_sample *s, uint64_t now_ms)
{
    struct window_run *r = &w->run;

    if (r->what != what) {
        r->what = what;
        r->looks = 0;
        r->low_us = UINT32_MAX;
        r->from_ms = now_ms;
        r->from_delivered = s->delivered;
    }
    r->looks++;
    if (s->rtt_us < r->low_us)
        r->low_us = s->rtt_us;
}

static uint64_t run_rate(const struct window_run *r, const struct window_sample *s, uint64_t now_ms)
{
    uint64_t ms = now_ms - r->from_ms;
    return ms && s->delivered > r->from_delivered ? (s->delivered - r->from_delivered) * 1000 / ms : 0;
}

static bool run_lasted(const struct window_run *r, uint64_t now_ms)
{
    return now_ms - r->from_ms >= WINDOW_LAST_MS && r->looks >= WINDOW_LAST_LOOKS;
}

/* One step down: half of the queue, if it is ours. False: nothing to gain, or nothing that we could set. */
static bool step_down(struct window *w, uint64_t rate, uint32_t rtt_us, uint64_t now_ms)
{
    uint32_t goal_us = w->base_us + (rtt_us - w->base_us) / 2;
    if (goal_us < keep_us(w))
        goal_us = keep_us(w);
    uint64_t have = w->bytes ? w->bytes : bytes_in(rate, rtt_us);
    uint64_t bytes = have * goal_us / rtt_us;

    if (bytes_in(rate, keep_us(w)) > WINDOW_MAX || have * 7 / 8 < WINDOW_MIN)
        return false;
    w->before_rtt_us = rtt_us;
    w->until_ms = now_ms + rtt_us / 1000 + SETTLE_MS;
    set_state(w, WINDOW_CHECKING, bytes);
    return true;
}

static void open_look(struct window *w, const struct window_sample *s, uint64_t now_ms)
{
    run_add(w, s->rtt_us > high_us(w) ? RUN_HIGH : RUN_NONE, s, now_ms);
    if (w->run.what != RUN_HIGH || !run_lasted(&w->run, now_ms))
        return;
    uint64_t rate = run_rate(&w->run, s, now_ms);
    uint32_t low_us = w->run.low_us;
    w->run.what = RUN_NONE; /* the next rate is of the next looks */
    /* A busy machine's pauses lower what we count, and lengthen round trips; a path that is fast in between is fast. */
    if (!s->app_limited && bytes_in(s->rate, keep_us(w)) > WINDOW_MAX)
        return;
    w->helped = false;
    w->rate = rate;
    (void)step_down(w, rate, low_us, now_ms);
}

static void checking_judge(struct window *w, const struct window_sample *s, uint64_t now_ms)
{
    uint64_t rate = run_rate(&w->run, s, now_ms);
    uint32_t low_us = w->run.low_us < s->rtt_us ? w->run.low_us : s->rtt_us;
    uint32_t excess_us = low_us > w->base_us ? low_us - w->base_us : 0;
    uint32_t before_us = w->before_rtt_us > w->base_us ? w->before_rtt_us - w->base_us : 0;
    bool ours = rate >= w->rate / 5 * 4 && excess_us <= before_us / 4 * 3;

    if (ours) {
        w->helped = true;
        if (low_us > high_us(w) && step_down(w, w->rate, low_us, now_ms))
            return;
        uint64_t bytes = low_us > keep_us(w) ? (uint64_t)w->bytes * keep_us(w) / low_us : w->bytes;
        w->rate = rate;
        bound(w, bytes);
    } else if (w->helped) {
        w->base_us = low_us;
        bound(w, bytes_in(w->rate, keep_us(w)));
    } else {
        lift(w, now_ms);
    }
}

static void checking_look(struct window *w, const struct window_sample *s, uint64_t now_ms)
{
    uint64_t measure_ms = w->before_rtt_us / 2000;
    if (measure_ms < WINDOW_LAST_MS)
        measure_ms = WINDOW_LAST_MS;

    run_add(w, now_ms < w->until_ms ? RUN_SETTLE : RUN_MEASURE, s, now_ms);
    if (w->run.what == RUN_MEASURE && now_ms - w->run.from_ms >= measure_ms && w->run.looks >= WINDOW_LAST_LOOKS)
        checking_judge(w, s, now_ms);
}

static void bounded_grow(struct window *w, uint64_t rate)
{
    uint64_t bytes = (uint64_t)w->bytes * keep_us(w) / w->run.low_us;
    uint64_t most = (uint64_t)w->bytes * 3 / 2;
    if (bytes > most)
        bytes = most;
    if (rate > w->rate)
        w->rate = rate;
    set_state(w, bytes > WINDOW_MAX ? WINDOW_OPEN : WINDOW_BOUNDED, bytes);
}

static void bounded_look(struct window *w, const struct window_sample *s, uint64_t now_ms)
{
    uint8_t what = RUN_NONE;
    if (s->rtt_us > high_us(w))
        what = RUN_HIGH;
    else if (s->rtt_us < keep_us(w) && s->busy)
        what = RUN_LOW;
    run_add(w, what, s, now_ms);

    uint64_t rate = run_rate(&w->run, s, now_ms);
    uint32_t low_us = w->run.low_us;
    if (what == RUN_LOW) {
        uint64_t grow_ms = s->rtt_us / 500;
        if (grow_ms < WINDOW_GROW_MS)
            grow_ms = WINDOW_GROW_MS;
        if (now_ms - w->run.from_ms >= grow_ms)
            bounded_grow(w, rate);
    } else if (what == RUN_HIGH && run_lasted(&w->run, now_ms)) {
        uint64_t before = w->rate;
        w->run.what = RUN_NONE;
        w->helped = false;
        w->rate = rate;
        if (step_down(w, rate, low_us, now_ms))
            return;
        /* As low as it gets and still a queue: a slow path's packets take that long, unless it carries others'. */
        w->rate = before;
        if (s->busy && rate < before / 2)
            lift(w, now_ms);
    }
}

uint32_t window_update(struct window *w, const struct window_sample *sample, uint64_t now_ms)
{
    struct window_sample s = *sample;

    if (!s.rtt_us || !s.min_rtt_us || !s.delivered)
        return w->bytes;
    if (s.rtt_us > ROUND_TRIP_MAX)
        s.rtt_us = ROUND_TRIP_MAX;
    learn_base(w, &s);
    if (now_ms - w->run.last_ms > WINDOW_PAUSE_MS)
        w->run.what = RUN_NONE;
    w->run.last_ms = now_ms;

    switch (w->state) {
    case WINDOW_OPEN: open_look(w, &s, now_ms); break;
    case WINDOW_CHECKING: checking_look(w, &s, now_ms); break;
    case WINDOW_BOUNDED: bounded_look(w, &s, now_ms); break;
    case WINDOW_LIFTED:
        if (now_ms >= w->until_ms) {
            forget_base(w, &s);
            set_state(w, WINDOW_OPEN, 0);
        }
        break;
    }
    return w->bytes;
}

uint32_t window_path_delay_us(const struct window *w, const struct window_sample *s)
{
    bool ours = w->state == WINDOW_BOUNDED || (w->state == WINDOW_CHECKING && w->helped);
    if (!ours || s->rtt_us <= keep_us(w))
        return 0;
    uint32_t us = s->rtt_us - keep_us(w);
    return us < WINDOW_DELAY_MAX_US ? us : WINDOW_DELAY_MAX_US;
}
