#include "client/outside.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SLEPT_MS 2000 /* a gap between the clocks that is one */

bool outside_way(const union race_addr *to, union race_addr *from)
{
    socklen_t len = sizeof *from;
    int fd = socket(to->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && connect(fd, &to->sa, to->sa.sa_family == AF_INET6 ? sizeof to->in6 : sizeof to->in) == 0 &&
                getsockname(fd, &from->sa, &len) == 0;
    if (fd >= 0)
        close(fd);
    return good;
}

bool outside_same_ip(const union race_addr *a, const union race_addr *b)
{
    if (a->sa.sa_family != b->sa.sa_family)
        return false;
    return a->sa.sa_family == AF_INET6 ? !memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, 16)
                                       : a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
}

bool outside_is_ours(const union race_addr *a)
{
    union race_addr free_port = *a;
    free_port.in6.sin6_port = 0; /* the same place in both */
    int fd = socket(a->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ours = fd < 0 || bind(fd, &free_port.sa, a->sa.sa_family == AF_INET6 ? sizeof a->in6 : sizeof a->in) == 0 ||
                errno != EADDRNOTAVAIL;
    if (fd >= 0)
        close(fd);
    return ours;
}

/* ---- sleep ---- */

int outside_tick_open(void)
{
    int fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    const struct itimerspec every = { { OUTSIDE_TICK_S, 0 }, { OUTSIDE_TICK_S, 0 } };
    if (fd >= 0 && timerfd_settime(fd, 0, &every, NULL) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int64_t clock_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void outside_clocks(struct outside_clocks *out)
{
    out->boot_ms = clock_ms(CLOCK_BOOTTIME);
    out->awake_ms = clock_ms(CLOCK_MONOTONIC);
}

int64_t outside_slept_ms(struct outside_clocks *before, const struct outside_clocks *now)
{
    int64_t slept = (now->boot_ms - before->boot_ms) - (now->awake_ms - before->awake_ms);
    *before = *now;
    return slept > SLEPT_MS ? slept : 0;
}
