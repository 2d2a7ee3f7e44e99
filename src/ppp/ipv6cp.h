/* IPV6CP's option (RFC 5072 4.1), the same in both roles: interface identifiers for the link-local addresses. */
#ifndef GH_PPP_IPV6CP_H
#define GH_PPP_IPV6CP_H

#include "base/rand.h"
#include "ppp/cp.h"
#include "ppp/link.h"

#define IPV6CP_ID_LEN 8

enum ipv6cp_opt { IPV6CP_OPT_ID = 1 };

struct ipv6cp {
    struct cp cp;
    uint8_t id[IPV6CP_ID_LEN];      /* ours */
    uint8_t suggest[IPV6CP_ID_LEN]; /* for a peer without a usable one */
    uint8_t peer_id[IPV6CP_ID_LEN];
    bool want_id; /* the option is part of our request */
};

/* id: ours; zeros: a random one. A Nak's is taken over where it is usable. */
void ipv6cp_init(struct ipv6cp *v, const uint8_t id[IPV6CP_ID_LEN], struct rng rng, struct cp_common *common);

#endif
