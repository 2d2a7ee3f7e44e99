/*
 * How much of a call may be in the kernel and on the path at once, so that what waits waits here, where flows are kept
 * apart, and not in a modem's buffer that a TCP of the old school fills to the brim. Pure: fed with what TCP_INFO says
 * (net/tcp.h) while the call is busy.
 *
 * Acts only when the path itself has grown a queue: the round trip is longer than the shortest one by more than
 * WINDOW_HIGH_US. Then the bytes are bounded to what the path carries in the shortest round trip and
 * WINDOW_KEEP_US more. When bounding does not shorten the round trip, the queue is not ours (another's download, a
 * longer path): the bound is lifted and not tried again for WINDOW_RETRY_MS.
 */
#ifndef GH_TUNNEL_WINDOW_H
#define GH_TUNNEL_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#define WINDOW_HIGH_US  8000
#define WINDOW_KEEP_US  5000
#define WINDOW_MIN      8192    /* bytes: never less */
#define WINDOW_MAX      300000  /* more is as good as no bound (and more than an unprivileged process may set) */
#define WINDOW_RETRY_MS 10000
#define WINDOW_EVERY_MS 10      /* between two looks at a busy call */

struct window_sample { /* of one moment */
    uint32_t rtt_us;        /* smoothed round trip; 0: not known */
    uint32_t min_rtt_us;    /* the kernel's, of minutes; 0: not known */
    uint64_t rate;          /* bytes a second delivered, lately; 0: not known */
    bool app_limited;       /* ... when we had no more to send, so that it says little */
    uint64_t delivered;     /* bytes acknowledged since the beginning */
    bool busy;              /* something waits here now */
};

struct window { /* zeros to begin with; window.c's */
    uint32_t bytes; /* the bound; 0: none */
    uint32_t base_us;
    uint32_t before_rtt_us;
    uint64_t before_rate;
    uint64_t base_at_ms, changed_ms, retry_ms, last_ms, last_delivered;
    uint32_t base_next_us;
};

/* The bound from now on, bytes; 0: none. */
uint32_t window_update(struct window *w, const struct window_sample *s, uint64_t now_ms);

/* What a packet that leaves now will wait on the path, beyond the shortest round trip, microseconds. */
uint32_t window_path_delay_us(const struct window *w, const struct window_sample *s);

#endif
