/* LCP's options and messages as both roles write and read them (RFC 1661 5.7, 5.8, 6). */
#ifndef GH_PPP_LCP_MSG_H
#define GH_PPP_LCP_MSG_H

#include "base/rand.h"
#include "ppp/cp.h"
#include "ppp/link.h"

#define LCP_MRU_DEFAULT 1500
#define LCP_MRU_MIN     576  /* smallest that we live with */
#define LCP_MRU_MIN_NAK 1280 /* what we answer to a smaller one: IPv6's minimum */
#define LCP_MRU_MAX     4091 /* SSTP's payload: what Windows asks for */

enum lcp_opt {
    LCP_OPT_MRU = 1,
    LCP_OPT_ACCM = 2,
    LCP_OPT_AUTH = 3,
    LCP_OPT_QUALITY = 4,
    LCP_OPT_MAGIC = 5,
    LCP_OPT_PFC = 7,
    LCP_OPT_ACFC = 8,
    LCP_OPT_CALLBACK = 13,
};

uint32_t lcp_magic_random(const struct rng *rng); /* never zero, which means none (RFC 1661 6.4) */

/* Option 3 of a method; the reader gives PPP_AUTH_NONE for what is unknown. */
void lcp_auth_put(struct wr *w, unsigned method);
enum ppp_auth_method lcp_auth_get(const struct ppp_opt *opt);

/* Judges what both roles see alike: Magic-Number against ours, ACCM, PFC, ACFC; everything else is rejected. */
enum cp_verdict lcp_judge_common(const struct ppp_opt *opt, uint32_t magic, const struct rng *rng, struct wr *nak);

/* Data of an Echo-Reply: our magic, then what came behind the peer's. */
void lcp_echo_data(uint32_t magic, struct rd data, struct wr *w);

/* An Echo-Request with our magic. */
void lcp_echo_send(struct cp *cp, uint32_t magic, struct evq *out);

/* Whether a received Echo packet is our own, looped back (RFC 1661 6.4). */
bool lcp_echo_is_own(uint32_t magic, struct rd data);

/* Protocol-Reject for a frame of that protocol, cut to the peer's MRU (RFC 1661 5.7). */
void lcp_protocol_reject_send(struct cp *cp, uint16_t peer_mru, uint16_t protocol, struct rd info, struct evq *out);

#endif
