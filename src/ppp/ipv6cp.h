/* IPV6CP's option (RFC 5072 4.1): interface identifiers for the link-local addresses. */
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
    uint8_t suggest[IPV6CP_ID_LEN]; /* for a client without a usable one */
    uint8_t peer_id[IPV6CP_ID_LEN];
    bool want_id; /* the option is part of our request */
};

void ipv6cp_init(struct ipv6cp *v, const struct ppp_cfg *cfg, struct rng rng, struct cp_common *common);

#endif
