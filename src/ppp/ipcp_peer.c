#include "ppp/ipcp_peer.h"

#define NAKS_MAX      10 /* of our request, before we give up */
#define DNS_NAKS_MAX  3  /* of which those with a name server are followed */
#define ZERO_ACKS_MAX 3

static const uint8_t dns_opts[2] = { IPCP_OPT_DNS1, IPCP_OPT_DNS2 };

static void build(void *self, struct wr *w)
{
    const struct ipcp_peer *i = self;
    ppp_opt_put_u32(w, IPCP_OPT_ADDRESS, i->ip4.ip4);
    for (size_t k = 0; k < 2; k++)
        if (i->want_dns[k])
            ppp_opt_put_u32(w, dns_opts[k], i->ip4.dns[k]);
}

/* An address that a host can have: not 0/8, not 127/8, nothing from multicast up. */
static bool unicast(uint32_t ip4)
{
    uint8_t net = (uint8_t)(ip4 >> 24);
    return net != 0 && net != 127 && net < 224;
}

static enum cp_verdict judge(void *self, const struct ppp_opt *opt, unsigned naks, struct wr *nak)
{
    (void)self, (void)naks, (void)nak;
    uint32_t ip4;
    /* A server that wants an address of us is told that we have none to give. */
    return opt->type == IPCP_OPT_ADDRESS && ppp_opt_u32(opt, &ip4) && ip4 != 0 ? CP_ACK : CP_REJECT;
}

static void accept(void *self, struct rd options)
{
    struct ipcp_peer *i = self;
    struct ppp_opt opt;
    uint32_t ip4;
    i->ip4.peer = 0;
    while (ppp_opt_next(&options, &opt) == 0)
        if (opt.type == IPCP_OPT_ADDRESS && ppp_opt_u32(&opt, &ip4) && unicast(ip4))
            i->ip4.peer = ip4;
}

static void apply_dns(struct ipcp_peer *i, size_t k, enum cp_code code, const struct ppp_opt *opt)
{
    uint32_t ip4 = 0;
    bool good = code == CP_CONF_NAK && ppp_opt_u32(opt, &ip4) && unicast(ip4) && i->naks <= DNS_NAKS_MAX;
    i->want_dns[k] = i->want_dns[k] && good;
    i->ip4.dns[k] = i->want_dns[k] ? ip4 : 0;
}

static bool apply(void *self, enum cp_code code, struct rd options)
{
    struct ipcp_peer *i = self;
    struct ppp_opt opt;
    uint32_t ip4;
    if (++i->naks > NAKS_MAX)
        return false;
    while (ppp_opt_next(&options, &opt) == 0) {
        if (opt.type == IPCP_OPT_ADDRESS && code == CP_CONF_REJ)
            return false;
        if (opt.type == IPCP_OPT_ADDRESS && ppp_opt_u32(&opt, &ip4))
            i->ip4.ip4 = unicast(ip4) ? ip4 : 0;
        for (size_t k = 0; k < 2; k++)
            if (opt.type == dns_opts[k])
                apply_dns(i, k, code, &opt);
    }
    return true;
}

static const struct cp_ops ipcp_peer_ops = {
    .protocol = PPP_IPCP,
    .restart_ms = { 300, 1000, 3000 }, /* accel-ppp drops a request that comes right after authentication */
    .build = build,
    .judge = judge,
    .accept = accept,
    .apply = apply,
};

void ipcp_peer_init(struct ipcp_peer *i, const struct ppp_peer_cfg *cfg, struct cp_common *common)
{
    *i = (struct ipcp_peer){ .want_dns = { cfg->dns, cfg->dns } };
    cp_init(&i->cp, &ipcp_peer_ops, i, common);
}

enum cp_verdict ipcp_peer_study(struct ipcp_peer *i, const struct ppp_hdr *pkt)
{
    if (pkt->code != CP_CONF_ACK || pkt->id != i->cp.req_id || i->ip4.ip4 != 0 || i->cp.state < CP_REQ_SENT)
        return CP_ACK; /* a stale one is dropped by the automaton, and says nothing about addresses */
    return ++i->zero_acks < ZERO_ACKS_MAX ? CP_NAK : CP_REJECT;
}

void ipcp_peer_opened(struct ipcp_peer *i)
{
    i->naks = i->zero_acks = 0;
}
