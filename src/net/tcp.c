#include "net/tcp.h"

#include <limits.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* Linux 5.15 */
#endif
#define LOCK_SNDBUF 1 /* SOCK_SNDBUF_LOCK */
#define LOCK_RCVBUF 2 /* SOCK_RCVBUF_LOCK */

/* What the kernel counts for a buffer of its own beside the bytes in it, and how many bytes it puts in one at least. */
#define SKB_OVERHEAD 1280
#define SKB_BYTES    8192

/* Whether an answer of len bytes has this field (struct tcp_info grows with the kernel). */
#define HAS(len, field) ((len) >= offsetof(struct tcp_info, field) + sizeof(((struct tcp_info *)0)->field))

bool net_tcp_ask(int fd, struct net_tcp_info *out)
{
    struct tcp_info i;
    socklen_t len = sizeof(i);

    memset(&i, 0, sizeof(i));
    memset(out, 0, sizeof(*out));
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &len) < 0 || !HAS(len, tcpi_rtt))
        return false;
    /* Fields beyond len are zero, which is "not known" here too. */
    out->rtt_us = i.tcpi_rtt;
    out->min_rtt_us = i.tcpi_min_rtt == UINT32_MAX ? 0 : i.tcpi_min_rtt;
    out->rate = i.tcpi_delivery_rate;
    out->app_limited = i.tcpi_delivery_rate_app_limited;
    /* With what arrived out of order, so that a loss does not look like a stop and then a leap. */
    out->delivered = i.tcpi_bytes_acked + (uint64_t)i.tcpi_sacked * i.tcpi_snd_mss;
    out->unsent = i.tcpi_notsent_bytes;
    uint32_t away = i.tcpi_sacked + i.tcpi_lost;
    uint32_t packets = i.tcpi_unacked + i.tcpi_retrans;
    uint64_t in_flight = packets > away ? (uint64_t)(packets - away) * i.tcpi_snd_mss : 0;
    out->in_flight = in_flight > UINT32_MAX ? UINT32_MAX : (uint32_t)in_flight;
    return true;
}

void net_tcp_lowat(int fd, uint32_t bytes)
{
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes));
}

/* The kernel tunes a buffer again whose size was chosen. False: refused. */
static bool unlock(int fd, int which)
{
    int lock = 0;
    socklen_t len = sizeof(lock);

    if (getsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &lock, &len) < 0)
        return true;
    lock &= ~which;
    return setsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &lock, sizeof(lock)) == 0;
}

static bool lift(int fd)
{
    int most = INT_MAX / 2; /* the kernel clips it (net.core.wmem_max), and wakes who waits for room */

    return setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &most, sizeof(most)) == 0 && unlock(fd, LOCK_SNDBUF);
}

bool net_tcp_hold(int fd, uint32_t bytes)
{
    if (!bytes)
        return lift(fd);
    if (bytes > INT_MAX / 2)
        bytes = INT_MAX / 2;
    /* The kernel doubles what it is told and counts its own overhead in. */
    uint32_t real = bytes + (bytes / SKB_BYTES + 1) * SKB_OVERHEAD;
    int half = (int)(real / 2);
    return setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &half, sizeof(half)) == 0;
}

bool net_tcp_take(int fd, uint32_t bytes)
{
    /* The kernel doubles what it is told: half of it, and more with packets that are full, is what it offers. */
    int size = bytes > INT_MAX / 2 ? INT_MAX / 2 : (int)bytes, got = 0;
    socklen_t len = sizeof(got);

    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &got, &len) < 0)
        return false;
    if (got / 2 >= size)
        return true;
    (void)unlock(fd, LOCK_RCVBUF); /* clipped (net.core.rmem_max) */
    return false;
}
