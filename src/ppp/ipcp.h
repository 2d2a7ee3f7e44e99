/* IPCP's options (RFC 1332, RFC 1877), server side: addresses are given, not negotiated. */
#ifndef GH_PPP_IPCP_H
#define GH_PPP_IPCP_H

#include "ppp/cp.h"
#include "ppp/link.h"

enum ipcp_opt {
    IPCP_OPT_ADDRESS = 3,
    IPCP_OPT_DNS1 = 129,
    IPCP_OPT_NBNS1 = 130,
    IPCP_OPT_DNS2 = 131,
    IPCP_OPT_NBNS2 = 132,
};

struct ipcp {
    struct cp cp;
    const struct ppp_cfg *cfg; /* borrowed */
    uint32_t peer_ip4;         /* the client's, host order; 0: not known yet */
    uint8_t own_naks;          /* of our address */
    bool want_address;         /* our address is part of the request */
};

void ipcp_init(struct ipcp *i, const struct ppp_cfg *cfg, struct cp_common *common);

#endif
