/*
 * LCP's options (RFC 1661 6), server side: what we ask for and what we take.
 *
 * We ask for MRU, Authentication-Protocol and Magic-Number. Each is dropped when rejected, except authentication, which
 * MS-SSTP requires. PFC and ACFC of the peer are acknowledged and not used.
 */
#ifndef GH_PPP_LCP_H
#define GH_PPP_LCP_H

#include "ppp/lcp_msg.h"

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

#endif
