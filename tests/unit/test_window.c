/*
 * The bound of a call's socket, against a simulated path: a first-in first-out buffer before a link, and a sender that
 * fills it as cubic does, with the kernel's habits (writable again at two thirds, a smoothed round trip).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tunnel/window.h"

/* ---- a path ---- */

#define PACKET  1500
#define TICK_US 100
#define RING    (1u << 17)

struct flow {
    double cwnd, w_max, w_last, ssthresh; /* packets */
    uint64_t epoch_us, reduced_us;
    uint64_t in_flight, delivered; /* bytes */
    uint32_t srtt_us, min_rtt_us;
    uint32_t bound; /* bytes; 0: none */
    bool full;      /* the bound was reached: not writable before two thirds */
    bool idle;
    uint64_t rate_at_us, rate_delivered, rate;
};

struct packet {
    uint64_t sent_us, at_us;
    uint8_t flow;
    bool lost;
};

struct path {
    double rate; /* bytes a second */
    uint32_t base_us, buffer_ms;
    uint64_t now_us, ack_us;
    double credit;
    struct packet *queue, *acks;
    unsigned waiting, queue_head, queue_n, acks_head, acks_n;
    struct flow flow[2];
    struct window window;
    bool control;
    /* of flow 0, since mark() */
    uint64_t marked_us, marked_delivered;
    double queue_sum_us;
    uint64_t queue_samples, queue_max_us, bounded_ms;
};

static void path_init(struct path *p, double mbit, uint32_t base_us, uint32_t buffer_ms, bool control)
{
    memset(p, 0, sizeof(*p));
    p->rate = mbit * 1e6 / 8;
    p->base_us = base_us;
    p->buffer_ms = buffer_ms;
    p->control = control;
    p->now_us = 5000000;
    p->queue = calloc(RING, sizeof(*p->queue));
    p->acks = calloc(RING, sizeof(*p->acks));
    assert_true(p->queue && p->acks);
    for (int i = 0; i < 2; i++) {
        p->flow[i].cwnd = 10;
        p->flow[i].ssthresh = 1e9;
        p->flow[i].idle = i;
    }
}

static void path_fini(struct path *p)
{
    free(p->queue);
    free(p->acks);
}

static void ack_add(struct path *p, struct packet k, uint64_t at_us)
{
    k.at_us = p->ack_us = at_us > p->ack_us ? at_us : p->ack_us;
    assert_true(p->acks_n < RING);
    p->acks[(p->acks_head + p->acks_n++) % RING] = k;
}

static void enqueue(struct path *p, uint8_t flow)
{
    struct packet k = { .sent_us = p->now_us, .flow = flow };
    p->flow[flow].in_flight += PACKET;
    if (p->waiting * PACKET / p->rate * 1000 >= p->buffer_ms)
        k.lost = true; /* its place says when the acknowledgements of what follows tell */
    else
        p->waiting++;
    assert_true(p->queue_n < RING);
    p->queue[(p->queue_head + p->queue_n++) % RING] = k;
}

static void serve(struct path *p)
{
    p->credit += p->rate * TICK_US / 1e6;
    while (p->queue_n) {
        const struct packet *k = &p->queue[p->queue_head % RING];
        if (!k->lost && p->credit < PACKET)
            return;
        if (!k->lost) {
            p->credit -= PACKET;
            p->waiting--;
        }
        ack_add(p, *k, p->now_us + p->base_us);
        p->queue_head++;
        p->queue_n--;
    }
    p->credit = fmin(p->credit, PACKET);
}

static void cubic_grow(struct flow *f, uint64_t now_us)
{
    if (f->cwnd < f->ssthresh) {
        f->cwnd += 1;
        return;
    }
    double k = cbrt(fmax(f->w_max - f->ssthresh, 0) / 0.4), t = (double)(now_us - f->epoch_us) / 1e6 + f->srtt_us / 1e6;
    double want = 0.4 * (t - k) * (t - k) * (t - k) + f->w_max;
    f->cwnd += want > f->cwnd ? fmin((want - f->cwnd) / f->cwnd, 0.5) : 0.01 / f->cwnd;
}

static void acked(struct path *p, const struct packet *k)
{
    struct flow *f = &p->flow[k->flow];
    f->in_flight -= PACKET;
    if (k->lost) {
        if (k->sent_us >= f->reduced_us) {                             /* once for all that was sent before */
            f->w_max = f->cwnd < f->w_last ? f->cwnd * 0.85 : f->cwnd; /* RFC 9438 4.7 */
            f->w_last = f->cwnd;
            f->cwnd = f->ssthresh = fmax(f->cwnd * 0.7, 2);
            f->epoch_us = f->reduced_us = p->now_us;
        }
        return;
    }
    uint32_t rtt = (uint32_t)(p->now_us - k->sent_us);
    f->delivered += PACKET;
    f->srtt_us = f->srtt_us ? (uint32_t)((int64_t)f->srtt_us + ((int64_t)rtt - f->srtt_us) / 8) : rtt;
    if (!f->min_rtt_us || rtt < f->min_rtt_us)
        f->min_rtt_us = rtt;
    if (f->in_flight + 2 * PACKET >= (uint64_t)(f->cwnd * PACKET)) /* only what is used grows */
        cubic_grow(f, p->now_us);
    if (p->now_us - f->rate_at_us > f->srtt_us) {
        f->rate = (f->delivered - f->rate_delivered) * 1000000 / (p->now_us - f->rate_at_us);
        f->rate_delivered = f->delivered;
        f->rate_at_us = p->now_us;
    }
}

static void flow_send(struct path *p, uint8_t flow)
{
    struct flow *f = &p->flow[flow];
    if (f->idle)
        return;
    if (f->full && f->in_flight > (uint64_t)f->bound * 2 / 3)
        return;
    f->full = false;
    while (f->in_flight + PACKET <= (uint64_t)(f->cwnd * PACKET)) {
        if (f->bound && f->in_flight >= f->bound) {
            f->full = true;
            break;
        }
        enqueue(p, flow);
    }
}

static void look(struct path *p)
{
    struct flow *f = &p->flow[0];
    struct window_sample s = { .rtt_us = f->srtt_us, .min_rtt_us = f->min_rtt_us, .delivered = f->delivered };
    s.rate = f->rate;
    s.app_limited = f->bound || f->idle;
    s.busy = !f->idle;
    if (!p->control || (f->idle && !f->in_flight))
        return;
    f->bound = window_update(&p->window, &s, p->now_us / 1000);
    f->full = f->full && f->bound;
    if (f->bound)
        p->bounded_ms += WINDOW_EVERY_MS;
}

static void mark(struct path *p)
{
    p->marked_us = p->now_us;
    p->marked_delivered = p->flow[0].delivered;
    p->queue_sum_us = 0;
    p->queue_samples = p->queue_max_us = p->bounded_ms = 0;
}

static double share(const struct path *p) /* of the link, since mark() */
{
    return (double)(p->flow[0].delivered - p->marked_delivered) * 1e6 / (double)(p->now_us - p->marked_us) / p->rate;
}

static double queue_ms(const struct path *p) /* mean since mark() */
{
    return p->queue_sum_us / (double)p->queue_samples / 1000;
}

static void run(struct path *p, uint32_t ms)
{
    uint64_t end_us = p->now_us + (uint64_t)ms * 1000;
    for (; p->now_us < end_us; p->now_us += TICK_US) {
        serve(p);
        for (; p->acks_n && p->acks[p->acks_head % RING].at_us <= p->now_us; p->acks_n--)
            acked(p, &p->acks[p->acks_head++ % RING]);
        /* Who is first by turns. */
        flow_send(p, p->now_us / TICK_US % 2);
        flow_send(p, !(p->now_us / TICK_US % 2));
        uint64_t wait_us = (uint64_t)(p->waiting * PACKET / p->rate * 1e6);
        p->queue_sum_us += (double)wait_us;
        p->queue_samples++;
        if (wait_us > p->queue_max_us)
            p->queue_max_us = wait_us;
        if (p->now_us % (WINDOW_EVERY_MS * 1000) == 0)
            look(p);
        if (getenv("WINDOW_TRACE") && p->now_us % 50000 == 0)
            print_message("%7.2f s queue %6.1f ms rtt %6.1f base %5.1f cwnd %6.0f bound %6u state %d in flight %lu\n",
                          (double)p->now_us / 1e6, (double)wait_us / 1000, p->flow[0].srtt_us / 1e3,
                          p->window.base_us / 1e3, p->flow[0].cwnd, p->flow[0].bound, p->window.state,
                          (unsigned long)p->flow[0].in_flight);
    }
}

/* ---- alone ---- */

static void test_a_queue_of_ours_moves_to_us(void **state)
{
    (void)state;
    for (int control = 0; control < 2; control++) {
        struct path p;
        path_init(&p, 50, 10000, 200, control);
        run(&p, 1000);
        mark(&p);
        run(&p, 9000);
        print_message("50 Mbit/s, 10 ms: control %d: rate %.3f, queue %.1f ms, most %.1f\n", control, share(&p),
                      queue_ms(&p), (double)p.queue_max_us / 1e3);
        assert_true(share(&p) >= 0.95);
        assert_true(control ? queue_ms(&p) < 10 : queue_ms(&p) > 100); /* the path is as bad as we say without */
        path_fini(&p);
    }
}

static void test_other_rates(void **state)
{
    static const struct {
        double mbit, most_ms;
        bool bounded;
    } t[] = {
        { 0.5, 100, true }, /* four packets are 96 ms */
        { 1, 50, true },    /* ... 48 ms */
        { 5, 10, true },    { 20, 10, true },
        { 100, 10, true },  { 1000, 300, false }, /* beyond what we may hold: as it is */
    };
    (void)state;
    for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
        struct path p;
        path_init(&p, t[i].mbit, 10000, 200, true);
        run(&p, 3000);
        mark(&p);
        run(&p, 5000);
        print_message("%g Mbit/s: rate %.3f, queue %.1f ms, bound %u\n", t[i].mbit, share(&p), queue_ms(&p),
                      p.flow[0].bound);
        assert_true(share(&p) >= 0.95);
        assert_true(queue_ms(&p) < t[i].most_ms);
        assert_int_equal(!!p.bounded_ms, t[i].bounded);
        path_fini(&p);
    }
}

static void test_other_lengths(void **state)
{
    static const uint32_t base_us[] = { 100, 1000, 5000, 20000, 30000 };
    (void)state;
    for (size_t i = 0; i < sizeof(base_us) / sizeof(*base_us); i++) {
        struct path p;
        path_init(&p, 50, base_us[i], 200, true);
        run(&p, 2000);
        mark(&p);
        run(&p, 8000);
        print_message("50 Mbit/s, %u us: rate %.3f, queue %.1f ms, bound %u\n", base_us[i], share(&p), queue_ms(&p),
                      p.flow[0].bound);
        assert_true(share(&p) >= 0.95);
        assert_true(queue_ms(&p) < 12);
        path_fini(&p);
    }
}

/* ---- not alone ---- */

static double beside_another(bool control, uint32_t other_from_ms)
{
    struct path p;
    path_init(&p, 50, 10000, 200, control);
    p.flow[1].idle = other_from_ms;
    run(&p, other_from_ms);
    p.flow[1].idle = false;
    run(&p, 1000);
    mark(&p);
    run(&p, 60000);
    double r = share(&p);
    path_fini(&p);
    return r;
}

/*
 * A fair half. Who came first has more than that for minutes, by cubic's ways, and we cannot: our congestion window
 * does not grow while we hold the socket, so that the other one's begins at a par in this simulation, where losses hit
 * both alike. With the kernel's cubic it is worse: docs/performance.md. Who gets the losses is a matter of luck: so
 * many beginnings, before we are bounded, while we try, and after.
 */
static void test_another_download_does_not_starve_us(void **state)
{
    double without = 0, with = 0;
    int n = 0;
    (void)state;
    for (uint32_t from_ms = 0; from_ms <= 6000; from_ms += 400, n++) {
        double a = fmin(beside_another(false, from_ms), 0.5), b = beside_another(true, from_ms);
        print_message("another from %u ms: %.3f without, %.3f with\n", from_ms, a, b);
        assert_true(b >= a * 0.7);
        without += a;
        with += b;
    }
    print_message("together: %.3f without, %.3f with\n", without / n, with / n);
    assert_true(with >= without * 0.9);
}

static void test_after_the_other_it_is_ours_again(void **state)
{
    struct path p;
    (void)state;
    path_init(&p, 50, 10000, 200, true);
    p.flow[1].idle = false;
    run(&p, 8000);
    p.flow[1].idle = true;
    run(&p, 25000);
    mark(&p);
    run(&p, 5000);
    print_message("after the other: rate %.3f, queue %.1f ms\n", share(&p), queue_ms(&p));
    assert_true(share(&p) >= 0.95);
    assert_true(queue_ms(&p) < 12);
    path_fini(&p);
}

/* ---- the path changes ---- */

static void test_a_longer_path(void **state)
{
    static const uint32_t before_ms[] = { 0, 300, 5000 };
    (void)state;
    for (size_t i = 0; i < sizeof(before_ms) / sizeof(*before_ms); i++) {
        struct path p;
        path_init(&p, 20, 10000, 200, true);
        run(&p, before_ms[i]);
        p.flow[0].min_rtt_us = 10000;
        p.base_us = 80000;
        mark(&p);
        run(&p, 15000);
        double meanwhile = share(&p);
        mark(&p);
        run(&p, 15000);
        print_message("10 to 80 ms after %u ms: rate %.3f meanwhile, then %.3f, queue %.1f\n", before_ms[i], meanwhile,
                      share(&p), queue_ms(&p));
        assert_true(meanwhile >= 0.8);
        assert_true(share(&p) >= 0.9);
        p.base_us = 10000; /* and back */
        run(&p, 15000);
        mark(&p);
        run(&p, 5000);
        print_message("... and back: rate %.3f, queue %.1f\n", share(&p), queue_ms(&p));
        assert_true(share(&p) >= 0.95);
        path_fini(&p);
    }
}

static void test_another_rate(void **state)
{
    static const double mbit[] = { 5, 50, 1, 20, 50 };
    struct path p;
    (void)state;
    path_init(&p, 50, 10000, 200, true);
    run(&p, 4000);
    for (size_t i = 0; i < sizeof(mbit) / sizeof(*mbit); i++) {
        p.rate = mbit[i] * 1e6 / 8;
        run(&p, 8000); /* the old queue takes its time to go, and half the rate is looked at twice */
        mark(&p);
        run(&p, 4000);
        print_message("now %g Mbit/s: rate %.3f, queue %.1f ms, bound %u\n", mbit[i], share(&p), queue_ms(&p),
                      p.flow[0].bound);
        assert_true(share(&p) >= 0.9);
        assert_true(queue_ms(&p) < (mbit[i] < 5 ? 50 : 12));
    }
    path_fini(&p);
}

static void test_pauses(void **state)
{
    static const uint32_t pause_ms[] = { 20, 200, 700, 20000, 60 };
    struct path p;
    (void)state;
    path_init(&p, 50, 10000, 200, true);
    run(&p, 3000);
    for (int i = 0; i < 15; i++) {
        p.flow[0].idle = true;
        run(&p, pause_ms[i % 5]);
        p.flow[0].idle = false;
        mark(&p);
        run(&p, 1500);
        assert_true(share(&p) >= 0.93);
        assert_true(queue_ms(&p) < 12);
    }
    path_fini(&p);
}

/* ---- fed by hand ---- */

struct feed {
    struct window w;
    struct window_sample s;
    uint64_t now_ms;
};

static struct feed feed_new(uint32_t base_us, uint64_t rate)
{
    return (struct feed){ .s = { base_us, base_us, rate, false, 1, true }, .now_ms = 1000 };
}

static uint32_t feed(struct feed *f, uint32_t ms, uint32_t rtt_us, uint64_t rate)
{
    for (uint32_t t = 0; t < ms; t += WINDOW_EVERY_MS) {
        f->now_ms += WINDOW_EVERY_MS;
        f->s.rtt_us = rtt_us;
        f->s.delivered += rate * WINDOW_EVERY_MS / 1000;
        window_update(&f->w, &f->s, f->now_ms);
    }
    return f->w.bytes;
}

static void test_noise_of_a_busy_machine(void **state)
{
    struct feed f = feed_new(200, 625000000);
    (void)state;
    srand(7);
    for (int i = 0; i < 60000; i++)
        assert_int_equal(feed(&f, 10, 200 + (uint32_t)(rand() % 10000), 625000000), 0);
    /* a slow share of the machine, and a pause of the scheduler of up to 90 ms each time: still not */
    f = feed_new(200, 3000000);
    for (int i = 0; i < 6000; i++) {
        assert_int_equal(feed(&f, 10 + (uint32_t)(rand() % 80), 200 + (uint32_t)(rand() % 30000), 3000000), 0);
        assert_int_equal(feed(&f, 10, 300, 3000000), 0);
    }
    /* fast, and late all the time */
    f = feed_new(200, 625000000);
    assert_int_equal(feed(&f, 5000, 30000, 625000000), 0);
    /* ... our own count low, the kernel's high */
    f = feed_new(200, 625000000);
    assert_int_equal(feed(&f, 5000, 30000, 3000000), 0);
}

static void test_unknown(void **state)
{
    struct feed f = feed_new(10000, 0), g;
    (void)state;
    f.s.min_rtt_us = 0;
    assert_int_equal(feed(&f, 5000, 200000, 6250000), 0);
    f = feed_new(10000, 0);
    assert_int_equal(feed(&f, 5000, 0, 6250000), 0);
    f = feed_new(10000, 0);
    f.s.delivered = 0;
    assert_int_equal(feed(&f, 5000, 200000, 0), 0);
    f = feed_new(10000, 0);
    assert_int_equal(feed(&f, 5000, 200000, 0), 0); /* nothing moves */
    f = feed_new(10000, 0);                         /* the rate alone: not needed */
    assert_true(feed(&f, 200, 100000, 1000000) > 0);
    assert_int_equal(window_path_delay_us(&f.w, &f.s), 0);
    g = f;
    memset(&g.s, 0, sizeof(g.s));
    assert_int_equal(feed(&g, 5000, 0, 0), f.w.bytes); /* not known any more: as it was */
    assert_int_equal(window_path_delay_us(&g.w, &g.s), 0);
    memset(&f.s, 0xff, sizeof(f.s)); /* the largest of everything, and wrapping */
    f.s.app_limited = f.s.busy = true;
    for (int i = 0; i < 1000; i++) {
        uint32_t bytes = feed(&f, 10, UINT32_MAX, UINT64_MAX / 3);
        assert_true(!bytes || (bytes >= WINDOW_MIN && bytes <= WINDOW_MAX));
    }
    f.now_ms = 5; /* a clock that steps back */
    feed(&f, 100, 1, 1);
}

static void test_a_queue_must_last(void **state)
{
    (void)state;
    struct feed f = feed_new(10000, 6250000);
    const uint32_t high = 10000 + WINDOW_HIGH_US + 10000 / 8, room = 10000 + WINDOW_ROOM_US;
    assert_int_equal(feed(&f, 5000, high, 6250000), 0); /* not above */
    assert_int_equal(feed(&f, WINDOW_LAST_MS, room + 1, 6250000), 0);
    assert_true(feed(&f, WINDOW_EVERY_MS, room + 1, 6250000) > 0); /* from the first look on so long */
    assert_int_equal(f.w.state, WINDOW_CHECKING);

    f = feed_new(10000, 6250000); /* shorter: for longer */
    feed(&f, 5000, high, 6250000);
    assert_int_equal(feed(&f, WINDOW_ROOM_MS, room, 6250000), 0);
    assert_true(feed(&f, WINDOW_EVERY_MS, high + 1, 6250000) > 0);

    f = feed_new(10000, 6250000); /* one look in between that is short */
    feed(&f, WINDOW_LAST_MS, 90000, 6250000);
    feed(&f, WINDOW_EVERY_MS, high, 6250000);
    assert_int_equal(feed(&f, WINDOW_LAST_MS, 90000, 6250000), 0);
    assert_true(feed(&f, WINDOW_EVERY_MS, 90000, 6250000) > 0);

    f = feed_new(10000, 6250000); /* a pause in between */
    feed(&f, WINDOW_LAST_MS, 90000, 6250000);
    f.now_ms += WINDOW_PAUSE_MS;
    assert_int_equal(feed(&f, WINDOW_EVERY_MS, 90000, 6250000), 0);
    f = feed_new(10000, 6250000);
    feed(&f, WINDOW_LAST_MS, 90000, 6250000);
    f.now_ms += WINDOW_PAUSE_MS - WINDOW_EVERY_MS;
    assert_true(feed(&f, WINDOW_EVERY_MS, 90000, 6250000) > 0);

    f = feed_new(10000, 6250000); /* few looks, far apart */
    for (int i = 0; i < WINDOW_LAST_LOOKS - 1; i++, f.now_ms += 200)
        assert_int_equal(feed(&f, WINDOW_EVERY_MS, 90000, 6250000), 0);
    assert_true(feed(&f, WINDOW_EVERY_MS, 90000, 6250000) > 0);
}

/* Bounded, at 17 ms on a path of 10 ms that carries 3 MB/s. */
static struct feed feed_bounded(void)
{
    struct feed f = feed_new(10000, 3000000);
    f.w = (struct window){
        .state = WINDOW_BOUNDED, .bytes = 50000, .base_us = 10000, .usual = 3000000, .rate = 3000000, .since_ms = 1
    };
    feed(&f, 5000, 17000, 3000000);
    assert_int_equal(f.w.state, WINDOW_BOUNDED);
    assert_int_equal(f.w.bytes, 50000);
    return f;
}

static void test_another_queue_while_bounded(void **state)
{
    struct feed f = feed_bounded();
    (void)state;
    feed(&f, WINDOW_FOREIGN_MS, 40000, 1250000);
    assert_int_equal(f.w.state, WINDOW_BOUNDED); /* noise */
    feed(&f, 10, 17000, 3000000);
    feed(&f, WINDOW_FOREIGN_MS, 40000, 1250000);
    assert_int_equal(f.w.state, WINDOW_BOUNDED);
    feed(&f, 10, 40000, 1250000);
    assert_int_equal(f.w.state, WINDOW_LIFTED);
    assert_int_equal(f.w.bytes, 100000); /* twice at once, and again in half a round trip each */
    assert_int_equal(feed(&f, 20, 40000, 1250000), 200000);
    assert_int_equal(feed(&f, 20, 40000, 1250000), 0);

    /* It goes on: looked at soon, in vain, and then later and later. */
    uint64_t from_ms = f.now_ms - 40, wait_ms = WINDOW_SOON_MS;
    for (int i = 0; i < 6; i++) {
        while (f.w.state == WINDOW_LIFTED)
            feed(&f, WINDOW_EVERY_MS, 100000, 1500000);
        assert_int_equal(f.now_ms - from_ms, wait_ms);
        while (f.w.state != WINDOW_LIFTED) {
            assert_true(f.now_ms < 10000000);
            feed(&f, WINDOW_EVERY_MS, 100000, f.w.bytes ? 700000 : 1500000);
        }
        from_ms = f.now_ms;
        if (i < WINDOW_VAIN_MAX)
            wait_ms = (uint64_t)WINDOW_RETRY_MS << i;
    }

    /* A queue on the way back, while we send little: the bound takes nothing from us, and stays. Until it does. */
    f = feed_bounded();
    f.s.busy = false;
    feed(&f, 20000, 100000, 100000);
    assert_int_equal(f.w.state, WINDOW_BOUNDED);
    assert_int_equal(f.w.bytes, 50000);
    assert_int_equal(f.w.vain, 0);
    f.s.busy = true;
    feed(&f, 200, 100000, 500000);
    assert_int_equal(f.w.state, WINDOW_LIFTED);

    /* Where the queue is what our bound makes on a slow path: not another's. */
    f = feed_bounded();
    f.w.usual = 1250000;
    feed(&f, 100, 40000, 1250000);
    assert_int_equal(f.w.state, WINDOW_BOUNDED);
}

static void test_in_vain(void **state)
{
    struct feed f = feed_new(10000, 3000000);
    uint64_t wait_ms = WINDOW_RETRY_MS;
    (void)state;
    for (int i = 0; i < 8; i++) {
        uint64_t from_ms;
        while (f.w.state != WINDOW_LIFTED) { /* half the bytes: half the rate, and the queue is as before */
            assert_true(f.now_ms < 10000000);
            feed(&f, WINDOW_EVERY_MS, 100000, f.w.bytes ? 1500000 : 3000000);
        }
        assert_int_equal(f.w.bytes, 0);
        assert_int_equal(window_path_delay_us(&f.w, &f.s), 0);
        from_ms = f.now_ms;
        while (f.w.state == WINDOW_LIFTED)
            assert_int_equal(feed(&f, WINDOW_EVERY_MS, 100000, 3000000), 0);
        assert_int_equal(f.now_ms - from_ms, wait_ms);
        if (i + 1 < WINDOW_VAIN_MAX)
            wait_ms *= 2;
    }
    /* The rate as before but the queue, too (another's rate grew): not ours. And the queue gone with the rate. */
    f = feed_new(10000, 3000000);
    feed(&f, 1000, 100000, 3000000);
    assert_int_equal(f.w.state, WINDOW_LIFTED);
    f = feed_new(10000, 3000000);
    while (!f.w.bytes)
        feed(&f, WINDOW_EVERY_MS, 100000, 3000000);
    feed(&f, 800, 20000, 2300000);
    assert_int_equal(f.w.state, WINDOW_LIFTED);
}

static void test_found_ours(void **state)
{
    struct feed f = feed_new(10000, 3000000);
    (void)state;
    while (!f.w.bytes)
        feed(&f, WINDOW_EVERY_MS, 100000, 3000000);
    assert_int_equal(f.w.bytes, 3000000 / 1000 * 55); /* half the queue */
    while (!f.w.helped && f.w.state == WINDOW_CHECKING)
        feed(&f, WINDOW_EVERY_MS, 55000, 3000000);
    assert_int_equal(f.w.state, WINDOW_CHECKING); /* the next step */
    assert_int_equal(f.w.bytes, 3000000 / 1000 * 55 / 2 + 15000);
    assert_int_equal(window_path_delay_us(&f.w, &f.s), 55000 - 15625);
    while (f.w.state == WINDOW_CHECKING)
        feed(&f, WINDOW_EVERY_MS, 17000, 2900000);
    assert_int_equal(f.w.state, WINDOW_BOUNDED);
    uint32_t bytes = f.w.bytes;
    assert_in_range(bytes, 80000, 97500);
    assert_int_equal(window_path_delay_us(&f.w, &f.s), 17000 - 15625);
    feed(&f, 60000, 17000, 2900000); /* between what we keep and what is high: stays */
    assert_int_equal(f.w.bytes, bytes);
    f.s.busy = false; /* short, for want of data: stays */
    feed(&f, 60000, 10000, 1000000);
    assert_int_equal(f.w.bytes, bytes);
    assert_int_equal(window_path_delay_us(&f.w, &f.s), 0);
    f.s.busy = true; /* short, although data waits: more, until it is no bound */
    feed(&f, 50, 10000, 3000000);
    assert_true(f.w.bytes > bytes && f.w.bytes <= bytes * 3 / 2);
    feed(&f, 1000, 10000, 3000000);
    assert_int_equal(f.w.bytes, 0);
    assert_int_equal(f.w.state, WINDOW_LIFTED);
    f.w.state = WINDOW_BOUNDED;
    f.s.rtt_us = UINT32_MAX;
    assert_int_equal(window_path_delay_us(&f.w, &f.s), WINDOW_DELAY_MAX_US);
}

static void test_as_low_as_it_gets(void **state)
{
    struct feed f = feed_new(10000, 0);
    (void)state;
    f.w.state = WINDOW_BOUNDED;
    f.w.bytes = WINDOW_MIN;
    f.w.usual = 125000;
    feed(&f, 60000, 48000, 125000); /* a slow path */
    assert_int_equal(f.w.bytes, WINDOW_MIN);
    feed(&f, 60, 200000, 30000); /* a fast one with another's queue */
    feed(&f, 500, 200000, 30000);
    assert_int_equal(f.w.state, WINDOW_LIFTED);
}

static void test_chunk(void **state)
{
    struct window w = { 0 };
    (void)state;
    assert_int_equal(window_chunk(&w, 65536), 65536);
    w.bytes = 100000;
    assert_int_equal(window_chunk(&w, 65536), 25000);
    assert_int_equal(window_chunk(&w, 20000), 20000);
    w.bytes = WINDOW_MIN;
    assert_int_equal(window_chunk(&w, 65536), 1500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_queue_of_ours_moves_to_us),
        cmocka_unit_test(test_other_rates),
        cmocka_unit_test(test_other_lengths),
        cmocka_unit_test(test_another_download_does_not_starve_us),
        cmocka_unit_test(test_after_the_other_it_is_ours_again),
        cmocka_unit_test(test_a_longer_path),
        cmocka_unit_test(test_another_rate),
        cmocka_unit_test(test_pauses),
        cmocka_unit_test(test_noise_of_a_busy_machine),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_a_queue_must_last),
        cmocka_unit_test(test_another_queue_while_bounded),
        cmocka_unit_test(test_in_vain),
        cmocka_unit_test(test_found_ours),
        cmocka_unit_test(test_as_low_as_it_gets),
        cmocka_unit_test(test_chunk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
