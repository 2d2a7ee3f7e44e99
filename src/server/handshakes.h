/*
 * Connections that wait for their next step to a call: TLS handshake, request, SSTP and PPP until the call is up. A
 * step of a handshake may cost a worker a third of a millisecond with ECDSA and several with RSA, the others a tenth: a
 * few hundred dials at once would keep it from its calls for as long as people notice. The steps are therefore taken
 * first come, first served, for a millisecond (at least one) in each turn of the loop. A connection in the list is not
 * watched by the loop: it costs nothing while it waits.
 *
 * A handshake that could not be finished before its deadline only takes time from those that can: what a step takes,
 * with all else that the worker does, is measured, and new connections are refused when the list is too long for it.
 */
#ifndef GH_SERVER_HANDSHAKES_H
#define GH_SERVER_HANDSHAKES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

#define HANDSHAKES_TURN_NS UINT64_C(1000000)
#define HANDSHAKES_MAX     4096

struct conn;
struct worker;
TAILQ_HEAD(conn_queue, conn);

/*
 * How long one that waits takes, by the clock, with all else that happened between the turns. Time and steps are two
 * sums of the last sixteen turns or so: a turn of one slow step must not count as much as one of many. Pure.
 */
struct pace {
    uint64_t time_ns;
    uint64_t steps; /* of PACE_STEP */
    uint64_t since_ns;
    bool behind; /* some were left waiting at since_ns */
};
#define PACE_TURNS  16
#define PACE_STEP   16 /* steps are counted in sixteenths: whole ones would stop fading below PACE_TURNS */
#define PACE_ENOUGH 8  /* steps that are seen before anybody is refused: one may just have waited for the processor */

/* A turn in which `served` (at least one) were served, and after which `left` wait on. */
void pace_turn(struct pace *p, uint64_t start_ns, uint64_t end_ns, unsigned served, unsigned left);

/* Has enough been seen to judge? */
bool pace_known(const struct pace *p);

/*
 * Is a list of n too long for those at its end? A handshake waits in it twice, and half of the time that it has is the
 * client's and the path's.
 */
bool pace_too_long(const struct pace *p, unsigned n, uint64_t limit_ms);

struct handshakes {
    struct conn_queue waiting;
    unsigned n;
    struct pace pace;
    bool judged; /* those that wait have been, once: the pace is known */
};

void handshakes_init(struct handshakes *h);
bool handshakes_full(const struct handshakes *h, uint64_t limit_ms); /* no more, please */
void handshakes_add(struct handshakes *h, struct conn *c);           /* nothing when it is there already */
void handshakes_remove(struct handshakes *h, struct conn *c);        /* nothing when it is not there */

/* Takes steps for as long as a turn may; conn_step() is called for each, the connection being off the list. */
void handshakes_turn(struct worker *w);

#endif
