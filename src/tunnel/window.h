/*
 * How much of a call may be in the kernel and on the path at once, so that what waits waits here, where flows are kept
 * apart, and not in a modem's buffer that a TCP of the old school fills to the brim. Pure: fed with what TCP_INFO says
 * (net/tcp.h) while data of the call moves, every WINDOW_EVERY_MS or so.
 *
 * No bound until the path has a queue: the round trip is longer than the shortest one by WINDOW_HIGH_US at every look
 * for WINDOW_LAST_MS. Whose queue? That shows only by trying:
 *
 *   OPEN      no bound. A queue that lasts, and is WINDOW_ROOM_US long or lasts for WINDOW_ROOM_MS  -> CHECKING
 *   CHECKING  bound to what halves the queue if it is ours. Queue shorter, rate the same: it is.
 *             Still long: again. Short now                                                       -> BOUNDED
 *             The rate fell, or the queue stayed: another's download, or a longer path           -> LIFTED
 *             The same after a step that helped: what is left is the path, perhaps               -> BOUNDED
 *   BOUNDED   to the shortest round trip's worth and WINDOW_KEEP_US more. No queue although
 *             the bound bites: more (beyond WINDOW_MAX                                      -> LIFTED)
 *             A queue beyond what we have in flight, for WINDOW_FOREIGN_MS: another's, or the
 *             path got slower; which of them, we see later                                       -> LIFTED
 *             (but if the bound does not bite: a queue on the way back, or we send next to nothing)
 *             A small one that lasts                                                             -> CHECKING
 *             In doubt (the base was learned, the rate fell to less than half), after a while    -> OPEN
 *             Half the rate although there is no queue: we do not understand it                  -> LIFTED
 *   LIFTED    the bound doubles in half a round trip each until there is none. No try for WINDOW_SOON_MS after a bound
 *             that was good, WINDOW_RETRY_MS after a try in vain, twice as long after each more   -> OPEN
 *
 * So a mistake costs a part of the rate for some round trips now and then, less often with each. Where the bound would
 * be above WINDOW_MAX (fast paths, this machine's own among them) nothing is tried.
 *
 * Beside another's download we get no more than who comes second. The kernel's congestion window stays as it is while
 * the socket is bounded, and it decides who gets what afterwards: a queue may grow a little at first (WINDOW_ROOM_US),
 * so that it is not small, and a bound goes at once when another's queue comes. Later the other one has won, for
 * minutes. docs/performance.md has numbers.
 */
#ifndef GH_TUNNEL_WINDOW_H
#define GH_TUNNEL_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#define WINDOW_HIGH_US       8000   /* queue on the path that we act on, and an eighth of the shortest round trip */
#define WINDOW_KEEP_US       5000   /* queue that we leave there, and a sixteenth: else pauses would cost rate */
#define WINDOW_ROOM_US       60000  /* that a first queue may reach, so that the congestion window is worth something */
#define WINDOW_ROOM_MS       1000   /* ... or last */
#define WINDOW_MIN           6000   /* bytes: never less; four packets, so that acknowledgements come at once */
#define WINDOW_MAX           300000 /* more is as good as no bound (and more than an unprivileged process may set) */
#define WINDOW_SOON_MS       1000   /* after a bound that was good until then */
#define WINDOW_RETRY_MS      10000  /* after a try in vain; 20, 40, 80 s */
#define WINDOW_VAIN_MAX      4
#define WINDOW_PROVEN_MS     10000 /* a bound that lasted so long was right */
#define WINDOW_DOUBT_MS      2500  /* one that may be a mistake; twice as long each time */
#define WINDOW_FOREIGN_MS    30    /* another's queue, while we are bounded: soon, before it is large */
#define WINDOW_FOREIGN_LOOKS 4
#define WINDOW_EVERY_MS      10    /* between two looks at a busy call */
#define WINDOW_LAST_MS       100   /* a queue that lasts */
#define WINDOW_LAST_LOOKS    5     /* ... seen so often at least */
#define WINDOW_LAST_BYTES    24000 /* ... so much was delivered in that time, or ten times as long */
#define WINDOW_PAUSE_MS      500   /* without a look: what came before says nothing about now */
#define WINDOW_GROW_MS       40    /* between two steps up, and two round trips */
#define WINDOW_DELAY_MAX_US  200000

struct window_sample {   /* of one moment */
    uint32_t rtt_us;     /* smoothed round trip; 0: not known */
    uint32_t min_rtt_us; /* the kernel's, of minutes; 0: not known */
    uint64_t rate;       /* bytes a second delivered, over a round trip, as the kernel says; 0: not known */
    bool app_limited;    /* ... when we had no more to send, so that it says little */
    uint64_t delivered;  /* bytes acknowledged since the beginning; 0: none, or not known */
    bool busy;           /* the socket took less than there was, lately: if there is a bound, it may be what bites */
};

enum window_state { WINDOW_OPEN, WINDOW_CHECKING, WINDOW_BOUNDED, WINDOW_LIFTED };

struct window {     /* zeros to begin with; window.c's, but for bytes */
    uint32_t bytes; /* the bound; 0: none */
    enum window_state state;
    uint32_t base_us;       /* shortest round trip, as far as we know */
    uint32_t seen_min_us;   /* the kernel's when we last looked */
    uint32_t before_rtt_us; /* CHECKING: at its beginning */
    uint64_t rate;          /* bytes a second: CHECKING: at its beginning */
    uint64_t usual;         /* ... BOUNDED: when the bound was found, or more since */
    uint64_t until_ms;      /* CHECKING: the old queue is gone, measure from here; LIFTED: ends; BOUNDED: if in doubt */
    uint64_t since_ms;      /* BOUNDED */
    uint64_t last_ms;
    uint8_t vain;       /* tries in vain, in a row */
    bool helped;        /* CHECKING: a step before this one did */
    bool was_bounded;   /* CHECKING: before it */
    struct window_run { /* looks in a row that said the same */
        uint8_t what;
        uint32_t looks, low_us; /* least round trip */
        uint64_t from_ms, from_delivered;
    } run, load, more; /* BOUNDED: load: while busy; more: beyond our own queue */
};

/* The bound from now on, bytes; 0: none. The clock is monotonic. */
uint32_t window_update(struct window *w, const struct window_sample *s, uint64_t now_ms);

/*
 * What a packet that leaves now will wait on the path beyond the shortest round trip and what we leave there on
 * purpose, microseconds, at most WINDOW_DELAY_MAX_US. 0 when the queue is another's, or may be.
 */
uint32_t window_path_delay_us(const struct window *w, const struct window_sample *s);

/* How much to write at once, at most: the kernel takes a whole write when it has room for one byte. */
static inline uint32_t window_chunk(const struct window *w, uint32_t most)
{
    uint32_t part = w->bytes / 4 > WINDOW_MIN / 4 ? w->bytes / 4 : WINDOW_MIN / 4;
    return w->bytes && part < most ? part : most;
}

#endif
