/* What a TCP socket of ours knows of its path, and how much it may hold. Linux. */
#ifndef GH_NET_TCP_H
#define GH_NET_TCP_H

#include <stdbool.h>
#include <stdint.h>

struct net_tcp_info {
    uint32_t rtt_us, min_rtt_us; /* 0: not known */
    uint64_t rate;               /* delivery rate, bytes a second */
    bool app_limited;            /* ... measured when there was not enough to send */
    uint64_t delivered;          /* bytes acknowledged */
    uint32_t unsent;             /* bytes in the socket that were not sent yet */
    uint32_t in_flight;          /* bytes sent and not acknowledged, about */
};

/* One system call. False: not TCP, or the kernel does not say. */
bool net_tcp_ask(int fd, struct net_tcp_info *out);

/* Writable only while fewer than bytes wait unsent (TCP_NOTSENT_LOWAT). Best effort. */
void net_tcp_lowat(int fd, uint32_t bytes);

/*
 * Unsent and unacknowledged bytes together stay at about `bytes` (SO_SNDBUF); 0: as the kernel tunes it, again
 * (SO_BUF_LOCK; before Linux 5.15 a bound stays, as large as allowed). False: refused.
 *
 * Only sends with MSG_EOR are held: others join the last buffer of the socket while that has room, and nobody asks how
 * much there is. On a path where something always waits unsent that is for ever. Small ones fill the bound with fewer
 * bytes, since the kernel counts its own for each.
 */
bool net_tcp_hold(int fd, uint32_t bytes);

/*
 * At most about `bytes` are on the way to us or wait to be read (SO_RCVBUF); twice as many when they come in large
 * pieces. False: refused, or more than a process may ask for: then it is as the kernel tunes it.
 */
bool net_tcp_take(int fd, uint32_t bytes);

#endif
