#include "ppp/lcp.h"

#include "auth/chap.h"

static bool auth_configured(const struct lcp *l, unsigned method)
{
    for (size_t i = 0; i < sizeof l->cfg->auth && l->cfg->auth[i]; i++)
        if (l->cfg->auth[i] == method)
            return true;
    return false;
}

/* Offers a method, which happens once for each. */
static bool auth_offer(struct lcp *l, unsigned method)
{
    if (method == PPP_AUTH_NONE || !auth_configured(l, method) || l->auth_tried & 1u << method)
        return false;
    l->auth = (uint8_t)method;
    l->auth_tried |= (uint8_t)(1u << method);
    return true;
}

static bool auth_offer_next(struct lcp *l)
{
    for (size_t i = 0; i < sizeof l->cfg->auth && l->cfg->auth[i]; i++)
        if (auth_offer(l, l->cfg->auth[i]))
            return true;
    l->auth = PPP_AUTH_NONE;
    return false;
}

static void build(void *self, struct wr *w)
{
    const struct lcp *l = self;
    if (l->mru)
        ppp_opt_put_u16(w, LCP_OPT_MRU, l->mru);
    lcp_auth_put(w, l->auth);
    if (l->magic)
        ppp_opt_put_u32(w, LCP_OPT_MAGIC, l->magic);
}

static enum cp_verdict judge_mru(const struct lcp *l, const struct ppp_opt *opt, unsigned naks, struct wr *nak)
{
    uint16_t mru;
    if (!ppp_opt_u16(opt, &mru))
        return CP_REJECT;
    uint16_t mtu = l->cfg->mtu;
    if (mru < LCP_MRU_MIN) {
        ppp_opt_put_u16(nak, LCP_OPT_MRU, mtu < LCP_MRU_MIN_NAK ? mtu : LCP_MRU_MIN_NAK);
        return CP_NAK;
    }
    /* Windows asks for 4091 and takes our MTU by Nak; a peer that insists loses nothing: we never send more than the
     * MTU. */
    if (mru > LCP_MRU_MAX || (mru > mtu && naks == 0)) {
        ppp_opt_put_u16(nak, LCP_OPT_MRU, mtu);
        return CP_NAK;
    }
    return CP_ACK;
}

static enum cp_verdict judge(void *self, const struct ppp_opt *opt, unsigned naks, struct wr *nak)
{
    struct lcp *l = self;
    if (opt->type == LCP_OPT_MRU)
        return judge_mru(l, opt, naks, nak);
    return lcp_judge_common(opt, l->magic, &l->rng, nak); /* authentication of us is rejected */
}

static void accept(void *self, struct rd options)
{
    struct lcp *l = self;
    struct ppp_opt opt;
    l->peer_mru = LCP_MRU_DEFAULT;
    l->peer_magic = 0;
    while (ppp_opt_next(&options, &opt) == 0) {
        if (opt.type == LCP_OPT_MRU)
            (void)!ppp_opt_u16(&opt, &l->peer_mru);
        else if (opt.type == LCP_OPT_MAGIC)
            (void)!ppp_opt_u32(&opt, &l->peer_magic);
    }
}

/* Open SSTP naks our MRU upwards to 1500: then the option goes. A smaller one costs us nothing. */
static void nak_mru(struct lcp *l, const struct ppp_opt *opt)
{
    uint16_t mru;
    if (l->mru && ppp_opt_u16(opt, &mru))
        l->mru = mru < l->mru && mru >= LCP_MRU_MIN ? mru : 0;
}

/* The method that the peer names, if it is allowed, else our next; CHAP without an algorithm is any CHAP. */
static bool nak_auth(struct lcp *l, const struct ppp_opt *opt)
{
    struct rd r = opt->data;
    uint16_t protocol;
    uint8_t alg;
    if (!rd_u16(&r, &protocol))
        return auth_offer_next(l);
    if (protocol == PPP_PAP)
        return auth_offer(l, PPP_AUTH_PAP) || auth_offer_next(l);
    if (protocol != PPP_CHAP)
        return auth_offer_next(l);
    bool any = !rd_u8(&r, &alg);
    if ((any || alg == CHAP_ALG_MSCHAPV2) && auth_offer(l, PPP_AUTH_MSCHAPV2))
        return true;
    if ((any || alg == CHAP_ALG_MD5) && auth_offer(l, PPP_AUTH_CHAP_MD5))
        return true;
    return auth_offer_next(l);
}

static bool apply_one(struct lcp *l, enum cp_code code, const struct ppp_opt *opt)
{
    bool nak = code == CP_CONF_NAK;
    switch (opt->type) {
    case LCP_OPT_MRU:
        if (nak)
            nak_mru(l, opt);
        else
            l->mru = 0;
        return true;
    case LCP_OPT_AUTH:
        if (nak)
            return nak_auth(l, opt);
        l->auth = PPP_AUTH_NONE; /* MS-SSTP 2.1: no call without authentication */
        return false;
    case LCP_OPT_MAGIC:
        if (l->magic)
            l->magic = nak ? lcp_magic_random(&l->rng) : 0;
        return true;
    default: return true; /* we asked for nothing else */
    }
}

static bool apply(void *self, enum cp_code code, struct rd options)
{
    struct lcp *l = self;
    struct ppp_opt opt;
    unsigned seen = 0; /* one packet speaks once about an option */
    while (ppp_opt_next(&options, &opt) == 0) {
        unsigned bit = opt.type < 8 ? 1u << opt.type : 0;
        if (seen & bit)
            continue;
        seen |= bit;
        if (!apply_one(l, code, &opt))
            return false;
    }
    return true;
}

static void echo(void *self, struct rd data, struct wr *w)
{
    const struct lcp *l = self;
    lcp_echo_data(l->magic, data, w);
}

static const struct cp_ops lcp_ops = {
    .protocol = PPP_LCP,
    .restart_ms = { 300, 1000, 3000 }, /* many clients' PPP is not ready yet right after CALL_CONNECT_ACK */
    .build = build,
    .judge = judge,
    .accept = accept,
    .apply = apply,
    .echo = echo,
};

void lcp_init(struct lcp *l, const struct ppp_cfg *cfg, struct rng rng, struct cp_common *common)
{
    *l = (struct lcp){ .cfg = cfg, .rng = rng, .mru = cfg->mru ? cfg->mru : cfg->mtu, .peer_mru = LCP_MRU_DEFAULT };
    cp_init(&l->cp, &lcp_ops, l, common);
    l->magic = lcp_magic_random(&l->rng);
    (void)auth_offer_next(l);
}
