/* This machine as a call sees it: the way out, its own addresses, whether it slept. */
#ifndef GH_CLIENT_OUTSIDE_H
#define GH_CLIENT_OUTSIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "client/race.h"

/* The address that a connection to `to` would have now, by a socket that sends nothing. False: there is no way. */
MUST_USE bool outside_way(const union race_addr *to, union race_addr *from);
MUST_USE bool outside_same_ip(const union race_addr *a, const union race_addr *b);
/* Whether the address is still one of this machine's; true when that cannot be told. */
MUST_USE bool outside_is_ours(const union race_addr *a);

#define OUTSIDE_TICK_S 5

/*
 * A descriptor that becomes readable every OUTSIDE_TICK_S seconds of a clock that goes on while the machine sleeps: it
 * wakes whoever waits as soon as the machine has woken. -1: none.
 */
int outside_tick_open(void);

struct outside_clocks {
    int64_t boot_ms;  /* goes on while the machine sleeps */
    int64_t awake_ms; /* does not */
};
void outside_clocks(struct outside_clocks *out);
/* How long the machine slept since *before, which becomes now; 0: it did not. Pure. */
int64_t outside_slept_ms(struct outside_clocks *before, const struct outside_clocks *now);

#endif
