/*
 * LCP's options (RFC 1661 6), server side: what we ask for and what we take.
 *
 * We ask for MRU, Authentication-Protocol and Magic-Number. Each is dropped when rejected, except authentication, which
 * MS-SSTP requires. PFC and ACFC of the peer are acknowledged and not used.
 */
#ifndef GH_PPP_LCP_H
#define GH_PPP_LCP_H

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

struct lcp {
    struct cp cp;
    const struct ppp_cfg *cfg; /* borrowed */
    struct rng rng;
    uint32_t magic;      /* ours, 0: not negotiated */
    uint32_t peer_magic; /* 0: none */
    uint16_t mru;        /* that we offer, 0: the option is left out */
    uint16_t peer_mru;
    uint8_t auth;       /* enum ppp_auth_method offered now; PPP_AUTH_NONE: none is left */
    uint8_t auth_tried; /* bit per method that was offered */
};

void lcp_init(struct lcp *l, const struct ppp_cfg *cfg, struct rng rng, struct cp_common *common);

/* An Echo-Request with our magic. */
void lcp_send_echo(struct lcp *l, struct evq *out);

/* Whether a received Echo packet is our own, looped back (RFC 1661 6.4). */
bool lcp_is_own_echo(const struct lcp *l, struct rd data);

/* Protocol-Reject for a frame of that protocol, cut to the peer's MRU (RFC 1661 5.7). */
void lcp_send_protocol_reject(struct lcp *l, uint16_t protocol, struct rd info, struct evq *out);

#endif
