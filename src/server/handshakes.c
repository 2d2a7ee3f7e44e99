#include "server/handshakes.h"

#include <uv.h>

#include "server/conn.h"

void pace_turn(struct pace *p, uint64_t start_ns, uint64_t end_ns, unsigned served, unsigned left)
{
    if (!p->behind)
        *p = (struct pace){ .since_ns = start_ns };
    p->time_ns += end_ns - p->since_ns - p->time_ns / PACE_TURNS;
    p->steps += (uint64_t)served * PACE_STEP - p->steps / PACE_TURNS;
    p->behind = left > 0;
    p->since_ns = end_ns;
}

bool pace_known(const struct pace *p)
{
    return p->behind && p->steps >= (uint64_t)PACE_ENOUGH * PACE_STEP;
}

bool pace_too_long(const struct pace *p, unsigned n, uint64_t limit_ms)
{
    if (n >= HANDSHAKES_MAX)
        return true;
    return pace_known(p) && p->time_ns * PACE_STEP / p->steps / 1000 * n > limit_ms * 1000 / 4;
}

void handshakes_init(struct handshakes *h)
{
    *h = (struct handshakes){ .n = 0 };
    TAILQ_INIT(&h->waiting);
}

bool handshakes_full(const struct handshakes *h, uint64_t limit_ms)
{
    return pace_too_long(&h->pace, h->n, limit_ms);
}

void handshakes_add(struct handshakes *h, struct conn *c)
{
    if (c->queued)
        return;
    c->queued = true;
    TAILQ_INSERT_TAIL(&h->waiting, c, queue_link);
    h->n++;
}

void handshakes_remove(struct handshakes *h, struct conn *c)
{
    if (!c->queued)
        return;
    c->queued = c->asleep = false;
    TAILQ_REMOVE(&h->waiting, c, queue_link);
    h->n--;
}

/*
 * Those that came in this round and were not served stop being watched, or the loop would tell of them again; unless
 * there is no hope for them, and nothing was done for them yet. When the pace gets known, that is asked of all who came
 * before it was. They may be thousands: for a turn's time, and the rest in the next.
 */
static void sleep_on(struct handshakes *h)
{
    bool all = !h->judged && pace_known(&h->pace);
    uint64_t until = uv_hrtime() + HANDSHAKES_TURN_NS;
    struct conn *c, *before;
    h->judged = pace_known(&h->pace);
    for (c = TAILQ_LAST(&h->waiting, conn_queue); c && (all || !c->asleep); c = before) {
        before = TAILQ_PREV(c, conn_queue, queue_link);
        bool hopeless = !c->tls && handshakes_full(h, conn_handshake_ms(c));
        if (hopeless && uv_hrtime() > until)
            hopeless = h->judged = false;
        if (hopeless) {
            conn_refuse_handshake(c);
        } else if (!c->asleep) {
            c->asleep = true;
            net_fd_want(c->nf, 0);
        }
    }
}

void handshakes_turn(struct worker *w)
{
    struct handshakes *h = &w->handshakes;
    uint64_t start = 0, now = 0;
    unsigned served = 0;
    struct conn *c;
    while ((c = TAILQ_FIRST(&h->waiting)) && now - start < HANDSHAKES_TURN_NS) {
        if (!served++)
            start = uv_hrtime();
        handshakes_remove(h, c);
        conn_step(c); /* may be gone */
        now = uv_hrtime();
    }
    if (!served) {
        h->pace.behind = h->judged = false; /* those that were left are gone */
        return;
    }
    pace_turn(&h->pace, start, now, served, h->n);
    sleep_on(h);
    if (h->n)
        net_loop_again(&w->loop);
}
