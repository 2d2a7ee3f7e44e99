#include "tunnel/window.h"

enum { RUN_NONE, RUN_HIGH, RUN_BUSY, RUN_SETTLE, RUN_MEASURE }; /* window_run.what */

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
    w->run.what = w->load.what = w->more.what = RUN_NONE;
}

static void lift(struct window *w, uint64_t now_ms)
{
    w->until_ms = now_ms + (w->vain ? (uint64_t)WINDOW_RETRY_MS << (w->vain - 1) : WINDOW_SOON_MS);
    if (w->vain < WINDOW_VAIN_MAX)
        w->vain++;
    uint64_t bytes = 2 * (uint64_t)w->bytes;
    set_state(w, WINDOW_LIFTED, 0);
    w->bytes = bytes > WINDOW_MAX ? 0 : (uint32_t)bytes;
    w->load.from_ms = now_ms;
}

static void bound(struct window *w, uint64_t bytes, uint64_t now_ms)
{
    w->since_ms = now_ms;
    w->until_ms = 0;
    set_state(w, WINDOW_BOUNDED, bytes);
}

/* Bounded by what may be a mistake: looked at again from the beginning, soon. */
static void bound_in_doubt(struct window *w, uint64_t bytes, uint64_t now_ms)
{
    w->since_ms = now_ms;
    w->until_ms = now_ms + ((uint64_t)WINDOW_DOUBT_MS << w->vain);
    if (w->vain < WINDOW_VAIN_MAX)
        w->vain++;
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

/*
 * Not all at once: what the congestion window was once would go out in one burst, and be lost. But fast: another's
 * download takes the path while we hesitate, and gives back little of it for minutes.
 */
static void lifted_look(struct window *w, const struct window_sample *s, uint64_t now_ms)
{
    if (now_ms >= w->until_ms) {
        forget_base(w, s);
        set_state(w, WINDOW_OPEN, 0);
    } else if (w->bytes && now_ms - w->load.from_ms >= s->rtt_us / 2000) {
        w->load.from_ms = now_ms;
        w->bytes = w->bytes > WINDOW_MAX / 2 ? 0 : 2 * w->bytes;
    }
}

static void run_add(struct window_run *r, uint8_t what, const struct window_sample *s, uint64_t now_ms)
{
    if (r->what != what)
        *r = (struct window_run){
            .what = what, .low_us = UINT32_MAX, .from_ms = now_ms, .from_delivered = s->delivered
        };
    r->looks++;
    if (s->rtt_us < r->low_us)
        r->low_us = s->rtt_us;
}

static uint64_t run_rate(const struct window_run *r, const struct window_sample *s, uint64_t now_ms)
{
    uint64_t ms = now_ms - r->from_ms;
    return ms && s->delivered > r->from_delivered ? (s->delivered - r->from_delivered) * 1000 / ms : 0;
}

/*
 * Long enough for a rate, too: of one round trip at least, since what is lost and sent anew comes in lumps, and of some
 * packets, or a second.
 */
static bool run_lasted(const struct window_run *r, const struct window_sample *s, uint32_t rtt_us, uint64_t now_ms)
{
    uint64_t ms = now_ms - r->from_ms;
    bool enough = s->delivered - r->from_delivered >= WINDOW_LAST_BYTES || ms >= 10 * WINDOW_LAST_MS;
    return enough && ms >= WINDOW_LAST_MS && ms >= rtt_us / 1000 && r->looks >= WINDOW_LAST_LOOKS;
}

/* One step down: half of the queue, if it is ours. False: nothing to gain, or nothing that we could set. */
static bool step_down(struct window *w, uint64_t rate, uint32_t rtt_us, uint64_t now_ms)
{
    uint32_t goal_us = w->base_us + (rtt_us - w->base_us) / 2;
    if (goal_us < keep_us(w))
        goal_us = keep_us(w);
    uint64_t have = bytes_in(rate, rtt_us);
    if (w->bytes && w->bytes < have)
        have = w->bytes;

    if (bytes_in(rate, keep_us(w)) > WINDOW_MAX || have * 7 / 8 < WINDOW_MIN)
        return false;
    w->before_rtt_us = rtt_us;
    w->until_ms = now_ms + rtt_us / 1000 + SETTLE_MS;
    set_state(w, WINDOW_CHECKING, have * goal_us / rtt_us);
    return true;
}

/*
 * A first queue may grow for a while: the congestion window does not while we bound the socket, and is all that we have
 * against another's download.
 */
static bool grown(const struct window *w, const struct window_sample *s, uint64_t now_ms)
{
    return s->rtt_us > w->base_us + WINDOW_ROOM_US || now_ms - w->run.from_ms >= WINDOW_ROOM_MS;
}

static void open_look(struct window *w, const struct window_sample *s, uint64_t now_ms)
{
    run_add(&w->run, s->rtt_us > high_us(w) ? RUN_HIGH : RUN_NONE, s, now_ms);
    if (w->run.what != RUN_HIGH || !run_lasted(&w->run, s, s->rtt_us, now_ms) || !grown(w, s, now_ms))
        return;
    uint64_t rate = run_rate(&w->run, s, now_ms);
    w->run.what = RUN_NONE; /* the next rate is of the next looks */
    /* A busy machine's pauses lower what we count, and lengthen round trips; a path that is fast in between is fast. */
    if (!s->app_limited && bytes_in(s->rate, keep_us(w)) > WINDOW_MAX)
        return;
    w->helped = w->was_bounded = false;
    w->rate = w->usual = rate;
    (void)step_down(w, rate, s->rtt_us, now_ms);
}

/* A step helped: the next one, or done. */
static void checking_helped(struct window *w, uint64_t rate, uint32_t low_us, uint64_t now_ms)
{
    w->helped = true;
    if (low_us > high_us(w) && step_down(w, w->rate, low_us, now_ms))
        return;
    uint64_t bytes = low_us > keep_us(w) ? (uint64_t)w->bytes * keep_us(w) / low_us : w->bytes;
    bool slower = rate < w->usual / 2;
    w->rate = rate;
    w->usual = slower ? rate : (w->usual + rate) / 2;
    if (slower) /* the path; or we share it, and gave way */
        bound_in_doubt(w, bytes, now_ms);
    else
        bound(w, bytes, now_ms);
}

static void checking_judge(struct window *w, const struct window_sample *s, uint64_t now_ms)
{
    uint64_t rate = run_rate(&w->run, s, now_ms);
    uint32_t low_us = w->run.low_us;
    uint32_t excess_us = low_us > w->base_us ? low_us - w->base_us : 0;
    uint32_t before_us = w->before_rtt_us > w->base_us ? w->before_rtt_us - w->base_us : 0;
    bool held = rate >= w->rate / 5 * 4, shorter = excess_us <= before_us / 4 * 3;

    if (held && shorter) {
        checking_helped(w, rate, low_us, now_ms);
    } else if (held && now_ms - w->until_ms < w->before_rtt_us / 500) {
        w->run.what = RUN_NONE; /* the old queue was longer than the smoothed round trip said: still leaving */
    } else if (held && bytes_in(rate, low_us) < w->bytes / 2 && step_down(w, rate, low_us, now_ms)) {
        w->rate = rate; /* there was less than we thought: that was no bound */
    } else if (w->helped) {
        w->base_us = low_us; /* what would not shrink */
        bound_in_doubt(w, bytes_in(w->rate, keep_us(w)), now_ms);
    } else {
        if (!w->vain && !w->was_bounded)
            w->vain = 1;
        lift(w, now_ms);
    }
}

static void checking_look(struct window *w, const struct window_sample *s, uint64_t now_ms)
{
    run_add(&w->run, now_ms < w->until_ms ? RUN_SETTLE : RUN_MEASURE, s, now_ms);
    if (w->run.what == RUN_MEASURE && run_lasted(&w->run, s, w->before_rtt_us / 4 * 3, now_ms))
        checking_judge(w, s, now_ms);
}

/* The bound bit, and the path had next to nothing at least once, or carried less than usual: more. */
static void bounded_grow(struct window *w, uint64_t rate, uint64_t now_ms)
{
    uint64_t bytes = (uint64_t)w->bytes * keep_us(w) / w->load.low_us;
    uint64_t most = (uint64_t)w->bytes * 3 / 2, least = (uint64_t)w->bytes * 17 / 16;
    if (rate > w->usual)
        w->usual = rate < w->usual * 5 / 4 ? rate : w->usual * 5 / 4;
    bytes = bytes > most ? most : bytes < least ? least : bytes;
    if (bytes > WINDOW_MAX)
        lift(w, now_ms);
    else
        set_state(w, WINDOW_BOUNDED, bytes);
}

/*
 * Longer than what our bound makes on the path as we know it, which a slow path's may. What is in flight did not
 * change, so this is another's queue, or the path got slower.
 */
static bool foreign(struct window *w, const struct window_sample *s, uint64_t now_ms)
{
    uint64_t own_us = w->usual ? (uint64_t)w->bytes * 3 / 2 * 1000000 / w->usual : 0;
    bool more = s->busy && s->rtt_us > high_us(w) && s->rtt_us > own_us && now_ms - w->since_ms >= s->rtt_us / 500;
    uint64_t ms = now_ms - w->more.from_ms;

    run_add(&w->more, more ? RUN_HIGH : RUN_NONE, s, now_ms);
    return more && w->more.looks >= WINDOW_FOREIGN_LOOKS && ms >= WINDOW_FOREIGN_MS && ms >= s->rtt_us / 4000;
}

static void bounded_high(struct window *w, const struct window_sample *s, uint64_t now_ms)
{
    uint64_t rate = run_rate(&w->run, s, now_ms);
    w->run.what = RUN_NONE;
    w->helped = false;
    w->was_bounded = true;
    w->rate = rate;
    /* As low as it gets and still a queue: a slow path's packets take that long, unless it carries others'. */
    if (!step_down(w, rate, s->rtt_us, now_ms) && rate < w->usual / 2)
        lift(w, now_ms);
}

static void bounded_busy(struct window *w, const struct window_sample *s, uint64_t now_ms)
{
    uint64_t ms = now_ms - w->load.from_ms, rate = run_rate(&w->load, s, now_ms);
    if (ms < WINDOW_GROW_MS || ms < s->rtt_us / 500)
        return;
    if (w->load.low_us - w->base_us < (keep_us(w) - w->base_us) / 2) {
        bounded_grow(w, rate, now_ms);
    } else if (run_lasted(&w->load, s, s->rtt_us, now_ms)) {
        w->load.what = RUN_NONE;
        if (w->load.low_us > high_us(w))
            return; /* bounded_high() is about it */
        if (rate < w->usual / 2)
            lift(w, now_ms); /* the round trip says that all is well, but it is not */
        else if (rate < w->usual / 16 * 15)
            bounded_grow(w, rate, now_ms);
    }
}

static void bounded_look(struct window *w, const struct window_sample *s, uint64_t now_ms)
{
    bool high = s->busy && s->rtt_us > high_us(w);

    if (s->busy && now_ms - w->since_ms >= WINDOW_PROVEN_MS)
        w->vain = 0;
    if (w->until_ms && now_ms >= w->until_ms) {
        forget_base(w, s);
        set_state(w, WINDOW_OPEN, 0);
        return;
    }
    run_add(&w->run, high ? RUN_HIGH : RUN_NONE, s, now_ms);
    run_add(&w->load, s->busy ? RUN_BUSY : RUN_NONE, s, now_ms);
    if (foreign(w, s, now_ms))
        lift(w, now_ms);
    else if (w->more.what == RUN_HIGH)
        return;
    else if (high && run_lasted(&w->run, s, s->rtt_us, now_ms))
        bounded_high(w, s, now_ms);
    else if (w->load.what == RUN_BUSY)
        bounded_busy(w, s, now_ms);
}

uint32_t window_update(struct window *w, const struct window_sample *sample, uint64_t now_ms)
{
    struct window_sample s = *sample;

    if (!s.rtt_us || !s.min_rtt_us || !s.delivered)
        return w->bytes;
    if (s.rtt_us > ROUND_TRIP_MAX)
        s.rtt_us = ROUND_TRIP_MAX;
    learn_base(w, &s);
    if (now_ms - w->last_ms > WINDOW_PAUSE_MS)
        w->run.what = w->load.what = w->more.what = RUN_NONE;
    w->last_ms = now_ms;

    switch (w->state) {
    case WINDOW_OPEN: open_look(w, &s, now_ms); break;
    case WINDOW_CHECKING: checking_look(w, &s, now_ms); break;
    case WINDOW_BOUNDED: bounded_look(w, &s, now_ms); break;
    case WINDOW_LIFTED: lifted_look(w, &s, now_ms); break;
    }
    return w->bytes;
}

uint32_t window_path_delay_us(const struct window *w, const struct window_sample *s)
{
    bool ours = s->busy && (w->state == WINDOW_BOUNDED || (w->state == WINDOW_CHECKING && w->helped));
    if (!ours || s->rtt_us <= keep_us(w))
        return 0;
    uint32_t us = s->rtt_us - keep_us(w);
    return us < WINDOW_DELAY_MAX_US ? us : WINDOW_DELAY_MAX_US;
}
