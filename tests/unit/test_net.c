/* The event loop, on socket pairs. Every wait is for something that the test itself has caused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/loop.h"

struct fix {
    struct net_loop loop;
    int wakes;
    int pair[2];
};

static void woken(struct net_loop *l)
{
    struct fix *f = l->arg;
    f->wakes++;
    net_loop_stop(l);
}

static int setup(void **state)
{
    struct fix *f = calloc(1, sizeof *f);
    if (!f || net_loop_init(&f->loop, woken, f) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->pair))
        return -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fix *f = *state;
    net_loop_fini(&f->loop);
    for (int i = 0; i < 2; i++)
        if (f->pair[i] >= 0)
            close(f->pair[i]);
    free(f);
    return 0;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* ---- timers ---- */

struct tick {
    struct timer_entry e;
    struct net_loop *loop;
    int *order, *n, id;
    uint64_t at;
    struct timer_entry *cancel;
    bool stop;
};

static void tick_fn(struct timer_entry *e, uint64_t now)
{
    struct tick *t = (struct tick *)(void *)e;
    t->order[(*t->n)++] = t->id;
    t->at = now;
    if (t->cancel)
        net_timer_cancel(t->loop, t->cancel);
    if (t->stop)
        net_loop_stop(t->loop);
}

static void test_timers_fire_in_order(void **state)
{
    struct fix *f = *state;
    int order[8], n = 0;
    static const int after[] = { 30, 10, 20, 15, 40 };
    struct tick t[5];
    uint64_t start = net_now(&f->loop);
    for (int i = 0; i < 5; i++) {
        t[i] = (struct tick){ .e.fn = tick_fn, .loop = &f->loop, .order = order, .n = &n, .id = i };
        assert_int_equal(net_timer_set(&f->loop, &t[i].e, start + (uint64_t)after[i]), 0);
    }
    t[4].stop = true;
    t[1].cancel = &t[2].e;                                             /* one cancels another from its callback */
    assert_int_equal(net_timer_set(&f->loop, &t[3].e, start + 35), 0); /* moved later */
    net_loop_run(&f->loop);
    assert_int_equal(n, 4);
    static const int want[] = { 1, 0, 3, 4 };
    assert_memory_equal(order, want, sizeof want);
    for (int i = 0; i < 5; i++)
        assert_true(i == 2 || t[i].at >= t[i].e.deadline_ms);
    assert_int_equal(t[2].e.pos, 0);
}

static void test_timer_never_and_past(void **state)
{
    struct fix *f = *state;
    int order[8], n = 0;
    struct tick never = { .e.fn = tick_fn, .loop = &f->loop, .order = order, .n = &n, .id = 1 };
    struct tick past = { .e.fn = tick_fn, .loop = &f->loop, .order = order, .n = &n, .id = 2, .stop = true };
    assert_int_equal(net_timer_set(&f->loop, &never.e, net_now(&f->loop)), 0);
    assert_int_equal(net_timer_set(&f->loop, &never.e, TIME_NEVER), 0);
    assert_int_equal(net_timer_set(&f->loop, &past.e, 0), 0);
    net_loop_run(&f->loop);
    assert_int_equal(n, 1);
    assert_int_equal(order[0], 2);
}

/* ---- wake from another thread ---- */

static void *waker(void *arg)
{
    net_loop_wake(arg);
    return NULL;
}

static void test_wake_from_thread(void **state)
{
    struct fix *f = *state;
    pthread_t th;
    assert_int_equal(pthread_create(&th, NULL, waker, &f->loop), 0);
    net_loop_run(&f->loop);
    pthread_join(th, NULL);
    assert_int_equal(f->wakes, 1);
}

/* ---- descriptors ---- */

struct watch {
    struct fix *f;
    struct net_fd *nf, *also;
    int calls, events;
    bool close_self;
};

static void watch_fn(void *arg, int events)
{
    struct watch *w = arg;
    w->calls++;
    w->events |= events;
    if (w->also) {
        net_fd_close(w->also);
        w->also = NULL;
    }
    if (w->close_self) {
        net_fd_close(w->nf);
        w->nf = NULL;
    }
    net_loop_stop(&w->f->loop);
}

static void watch_open(struct fix *f, struct watch *w, int side)
{
    *w = (struct watch){ .f = f };
    w->nf = net_fd_new(&f->loop, f->pair[side], watch_fn, w);
    f->pair[side] = -1;
    assert_non_null(w->nf);
}

static void test_fd_reads_when_wanted(void **state)
{
    struct fix *f = *state;
    struct watch w;
    watch_open(f, &w, 0);
    assert_int_equal(write(f->pair[1], "x", 1), 1);
    net_loop_wake(&f->loop); /* nothing is wanted: only the wake comes */
    net_loop_run(&f->loop);
    assert_int_equal(w.calls, 0);
    net_fd_want(w.nf, NET_READ);
    net_loop_run(&f->loop);
    assert_int_equal(w.calls, 1);
    assert_int_equal(w.events, NET_READ);
    w.events = 0;
    net_fd_want(w.nf, NET_READ | NET_WRITE);
    net_loop_run(&f->loop);
    assert_int_equal(w.events, NET_READ | NET_WRITE);
    net_fd_want(w.nf, 0);
    net_loop_wake(&f->loop);
    net_loop_run(&f->loop);
    assert_int_equal(w.calls, 2);
    assert_int_not_equal(fcntl(net_fd_num(w.nf), F_GETFL) & O_NONBLOCK, 0);
}

static void test_fd_close_in_own_callback(void **state)
{
    struct fix *f = *state;
    struct watch w;
    watch_open(f, &w, 0);
    int num = net_fd_num(w.nf);
    w.close_self = true;
    net_fd_want(w.nf, NET_READ | NET_WRITE);
    net_loop_run(&f->loop);
    assert_int_equal(w.calls, 1);
    assert_false(is_open(num));
    char c;
    assert_int_equal(read(f->pair[1], &c, 1), 0); /* the peer sees it at once */
}

/* Both are ready in one round; whichever comes first closes the other, which must then stay silent. */
static void test_fd_close_of_another_ready_one(void **state)
{
    struct fix *f = *state;
    struct watch a, b;
    watch_open(f, &a, 0);
    watch_open(f, &b, 1);
    a.also = b.nf;
    b.also = a.nf;
    net_fd_want(a.nf, NET_WRITE);
    net_fd_want(b.nf, NET_WRITE);
    net_loop_run(&f->loop);
    assert_int_equal(a.calls + b.calls, 1);
}

/* The number is free again at once, and the new owner's events are its own. */
static void test_fd_number_reused(void **state)
{
    struct fix *f = *state;
    struct watch old, new_;
    watch_open(f, &old, 0);
    int num = net_fd_num(old.nf);
    net_fd_want(old.nf, NET_READ);
    net_loop_wake(&f->loop);
    net_loop_run(&f->loop); /* old is in epoll now */
    net_fd_close(old.nf);
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    if (pair[0] != num) {
        assert_int_equal(dup2(pair[0], num), num);
        close(pair[0]);
    }
    f->pair[0] = num;
    watch_open(f, &new_, 0);
    net_fd_want(new_.nf, NET_READ);
    assert_int_equal(write(pair[1], "y", 1), 1);
    net_loop_run(&f->loop);
    assert_int_equal(new_.calls, 1);
    assert_int_equal(old.calls, 0);
    close(pair[1]);
}

static void test_fd_hangup_is_read(void **state)
{
    struct fix *f = *state;
    struct watch w;
    watch_open(f, &w, 0);
    net_fd_want(w.nf, NET_READ);
    close(f->pair[1]);
    f->pair[1] = -1;
    net_loop_run(&f->loop);
    assert_int_equal(w.events & NET_READ, NET_READ);
}

/* A pipe whose reader is gone reports EPOLLERR, for which libuv stops watching; the owner hears of it again until it
 * closes. */
static void test_fd_error_is_read(void **state)
{
    struct fix *f = *state;
    struct watch w;
    int p[2];
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    close(f->pair[0]);
    f->pair[0] = p[1];
    watch_open(f, &w, 0);
    net_fd_want(w.nf, NET_WRITE);
    close(p[0]);
    for (int i = 1; i <= 3; i++) {
        net_loop_run(&f->loop);
        assert_int_equal(w.calls, i);
        assert_int_equal(w.events & NET_WRITE, NET_WRITE);
    }
}

static void other_fn(void *arg, int events)
{
    struct watch *w = arg;
    w->events = events + 100;
    net_loop_stop(&w->f->loop);
}

static void test_fd_rebind(void **state)
{
    struct fix *f = *state;
    struct watch w, other = { .f = f };
    watch_open(f, &w, 0);
    net_fd_want(w.nf, NET_WRITE);
    net_fd_rebind(w.nf, other_fn, &other);
    net_loop_run(&f->loop);
    assert_int_equal(w.calls, 0);
    assert_int_equal(other.events, NET_WRITE + 100);
}

static unsigned turns;

static void turn_fn(struct net_loop *l)
{
    if (++turns < 5)
        net_loop_again(l); /* nothing else happens, and yet it does not wait */
    else
        net_loop_stop(l);
}

static void test_turn_and_again(void **state)
{
    struct fix *f = *state;
    turns = 0;
    f->loop.turn = turn_fn;
    net_loop_again(&f->loop);
    net_loop_run(&f->loop);
    assert_int_equal(turns, 5);
}

static void test_fd_refused_is_closed(void **state)
{
    struct fix *f = *state;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC); /* a regular file cannot be watched */
    assert_true(fd >= 0);
    assert_null(net_fd_new(&f->loop, fd, watch_fn, NULL));
    assert_false(is_open(fd));
    net_fd_close(NULL);
}

static void test_fini_closes_what_is_left(void **state)
{
    (void)state;
    struct fix *g = NULL;
    assert_int_equal(setup((void **)&g), 0);
    struct watch w;
    watch_open(g, &w, 0);
    net_fd_want(w.nf, NET_READ);
    int num = net_fd_num(w.nf);
    assert_int_equal(teardown((void **)&g), 0);
    assert_false(is_open(num));
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_timers_fire_in_order),     T(test_timer_never_and_past),
        T(test_wake_from_thread),         T(test_fd_reads_when_wanted),
        T(test_fd_close_in_own_callback), T(test_fd_close_of_another_ready_one),
        T(test_fd_number_reused),         T(test_fd_hangup_is_read),
        T(test_fd_error_is_read),         T(test_fd_rebind),
        T(test_fd_refused_is_closed),     T(test_fini_closes_what_is_left),
        T(test_turn_and_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
