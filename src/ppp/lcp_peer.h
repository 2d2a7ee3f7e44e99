/*
 * LCP's options (RFC 1661 6), client side: an undemanding peer.
 *
 * We ask for MRU and Magic-Number, drop what is rejected and may end with an empty request. Of the server's request
 * nothing is refused but what we cannot do; a method of authentication that we may not answer is Nak'd with one that we
 * may, and never rejected.
 */
#ifndef GH_PPP_LCP_PEER_H
#define GH_PPP_LCP_PEER_H

#include "ppp/lcp_msg.h"
#include "ppp/peer.h"

#define LCP_PEER_WISHES 2 /* Naks for one method: the server's next request may have been on its way already */

struct lcp_peer {
    struct cp cp;
    const struct ppp_peer_cfg *cfg; /* borrowed */
    struct rng rng;
    uint32_t magic; /* ours, 0: not negotiated */
    uint16_t mru;   /* that we ask for, 0: the option is left out */
    uint16_t peer_mru;
    uint8_t auth;                     /* enum ppp_auth_method of the request that we acknowledged */
    uint8_t barred;                   /* bit per method that turned out to be of no use */
    uint8_t seen;                     /* bit per method that the server asked for */
    uint8_t first;                    /* the first of them */
    uint8_t wished[PPP_AUTH_METHODS]; /* Naks that asked for it since LCP was open */
    uint8_t mru_naks, magic_naks;
    uint8_t unknown[8]; /* data of the latest option 3 of none of our methods, cut */
    uint8_t unknown_len;
};

void lcp_peer_init(struct lcp_peer *l, const struct ppp_peer_cfg *cfg, struct rng rng, struct cp_common *common);

/*
 * Notes the method in the options of a Configure-Request, before the automaton judges them. False when it is none that
 * we may answer and there is none left to ask for: the end of the link.
 */
MUST_USE bool lcp_peer_study(struct lcp_peer *l, struct rd options);

/* A method turned out to be of no use. Whether there is another one. */
MUST_USE bool lcp_peer_bar(struct lcp_peer *l, enum ppp_auth_method method);

/* "the server wants only CHAP-MD5, PAP": what the server asked for, for people. */
void lcp_peer_tell(const struct lcp_peer *l, char *out, size_t cap);

#endif
