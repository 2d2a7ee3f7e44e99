/*
 * What keeps a link of either role finite: counts of negotiation and renegotiation, Protocol-Rejects once each, and the
 * one cause of its end.
 */
#ifndef GH_PPP_GUARD_H
#define GH_PPP_GUARD_H

#include "ppp/cp.h"
#include "ppp/link.h"

#define PPP_NEGOTIATION_MAX         60 /* Configure packets taken without any protocol opening */
#define PPP_RENEGOTIATIONS_MAX      20 /* from Opened, in PPP_RENEGOTIATION_WINDOW_MS */
#define PPP_RENEGOTIATION_WINDOW_MS 60000
#define PPP_REJECTED_MAX            8 /* protocols that are answered with Protocol-Reject, once each */

struct ppp_guard {
    struct cp_common common;
    uint64_t window_ms; /* start of the window in which renegotiations are counted */
    uint16_t rejected[PPP_REJECTED_MAX];
    uint8_t rejected_n;
    uint8_t renegotiations;
    bool cause_known;
    struct ppp_down down; /* why, once cause_known */
};

/* The first cause stands; what follows from it is not news. The text is cut to fit. */
void ppp_guard_cause(struct ppp_guard *g, enum ppp_down_cause cause, const void *text, size_t n);

/* A protocol left Opened, which costs little once; as a loop it would never end: then false. */
MUST_USE bool ppp_guard_renegotiate(struct ppp_guard *g, uint64_t now_ms);

/* Whether a frame of this protocol is to be answered with Protocol-Reject: the first one. Some peers end their session
 * when they get too many. */
MUST_USE bool ppp_guard_reject(struct ppp_guard *g, uint16_t protocol);

static inline bool ppp_guard_endless(const struct ppp_guard *g)
{
    return g->common.packets > PPP_NEGOTIATION_MAX;
}

#endif
