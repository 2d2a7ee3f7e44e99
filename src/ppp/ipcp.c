#include "ppp/ipcp.h"

#define OWN_NAKS_MAX 3 /* of our address, before it is left out */

static void build(void *self, struct wr *w)
{
    const struct ipcp *i = self;
    /* Always told: pppd and RouterOS invent a peer address otherwise. */
    if (i->want_address)
        ppp_opt_put_u32(w, IPCP_OPT_ADDRESS, i->cfg->server_ip4);
}

/* What the client has to use for an option; 0: the option is not for it. */
static uint32_t assigned(const struct ipcp *i, uint8_t type)
{
    switch (type) {
    case IPCP_OPT_ADDRESS: return i->peer_ip4;
    case IPCP_OPT_DNS1: return i->cfg->dns[0];
    case IPCP_OPT_DNS2: return i->cfg->dns[1];
    case IPCP_OPT_NBNS1: return i->cfg->nbns[0];
    case IPCP_OPT_NBNS2: return i->cfg->nbns[1];
    default: return 0; /* IP-Addresses, IP-Compression-Protocol, Mobile-IPv4 and what nobody knows */
    }
}

static enum cp_verdict judge(void *self, const struct ppp_opt *opt, unsigned naks, struct wr *nak)
{
    (void)naks;
    uint32_t want = assigned(self, opt->type), asked;
    if (!want || !ppp_opt_u32(opt, &asked))
        return CP_REJECT;
    if (asked == want)
        return CP_ACK;
    ppp_opt_put_u32(nak, opt->type, want);
    return CP_NAK;
}

static void missing(void *self, struct rd options, struct wr *nak)
{
    const struct ipcp *i = self;
    struct ppp_opt opt;
    while (ppp_opt_next(&options, &opt) == 0)
        if (opt.type == IPCP_OPT_ADDRESS)
            return;
    ppp_opt_put_u32(nak, IPCP_OPT_ADDRESS, i->peer_ip4);
}

static void accept(void *self, struct rd options)
{
    (void)self, (void)options; /* what is acceptable is what was assigned */
}

static bool apply(void *self, enum cp_code code, struct rd options)
{
    struct ipcp *i = self;
    struct ppp_opt opt;
    while (ppp_opt_next(&options, &opt) == 0) {
        if (opt.type != IPCP_OPT_ADDRESS)
            continue;
        if (code == CP_CONF_REJ || ++i->own_naks >= OWN_NAKS_MAX)
            i->want_address = false;
        break;
    }
    return true;
}

static const struct cp_ops ipcp_ops = {
    .protocol = PPP_IPCP,
    .restart_ms = { 1000, 3000, 3000 },
    .build = build,
    .judge = judge,
    .missing = missing,
    .accept = accept,
    .apply = apply,
};

void ipcp_init(struct ipcp *i, const struct ppp_cfg *cfg, struct cp_common *common)
{
    *i = (struct ipcp){ .cfg = cfg, .want_address = true };
    cp_init(&i->cp, &ipcp_ops, i, common);
}
