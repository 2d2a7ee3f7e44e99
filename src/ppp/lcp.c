#include "ppp/lcp.h"

#include "auth/chap.h"

static uint32_t random_magic(struct lcp *l)
{
    uint32_t magic;
    rng_fill(&l->rng, &magic, sizeof magic);
    return magic ? magic : 1; /* zero means none (RFC 1661 6.4) */
}

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

static void put_auth(struct wr *w, unsigned method)
{
    static const struct {
        uint8_t data[3];
        uint8_t len;
    } forms[] = {
        [PPP_AUTH_PAP] = { { 0xc0, 0x23 }, 2 },
        [PPP_AUTH_CHAP_MD5] = { { 0xc2, 0x23, CHAP_ALG_MD5 }, 3 },
        [PPP_AUTH_MSCHAPV2] = { { 0xc2, 0x23, CHAP_ALG_MSCHAPV2 }, 3 },
    };
    if (method < sizeof forms / sizeof forms[0] && forms[method].len)
        ppp_opt_put(w, LCP_OPT_AUTH, forms[method].data, forms[method].len);
}

static void build(void *self, struct wr *w)
{
    const struct lcp *l = self;
    if (l->mru)
        ppp_opt_put_u16(w, LCP_OPT_MRU, l->mru);
    put_auth(w, l->auth);
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

static enum cp_verdict judge_magic(struct lcp *l, const struct ppp_opt *opt, struct wr *nak)
{
    uint32_t magic;
    if (!ppp_opt_u32(opt, &magic))
        return CP_REJECT;
    if (magic != 0 && magic != l->magic)
        return CP_ACK;
    ppp_opt_put_u32(nak, LCP_OPT_MAGIC, random_magic(l)); /* zero is illegal, ours is a loop: RFC 1661 6.4 */
    return CP_NAK;
}

static enum cp_verdict judge(void *self, const struct ppp_opt *opt, unsigned naks, struct wr *nak)
{
    struct lcp *l = self;
    uint32_t accm;
    switch (opt->type) {
    case LCP_OPT_MRU: return judge_mru(l, opt, naks, nak);
    case LCP_OPT_MAGIC: return judge_magic(l, opt, nak);
    case LCP_OPT_ACCM: return ppp_opt_u32(opt, &accm) ? CP_ACK : CP_REJECT; /* has no meaning here (RFC 1662 7) */
    case LCP_OPT_PFC:
    case LCP_OPT_ACFC: return rd_end(&opt->data) ? CP_ACK : CP_REJECT;
    default: return CP_REJECT; /* callback, multilink, authentication of us, quality, and what nobody knows */
    }
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
            l->magic = nak ? random_magic(l) : 0;
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

/* Our magic, then what came behind the peer's (RFC 1661 5.8). */
static void echo(void *self, struct rd data, struct wr *w)
{
    const struct lcp *l = self;
    wr_u32(w, l->magic);
    if (rd_skip(&data, 4))
        wr_bytes(w, data.p, rd_left(&data));
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
    l->magic = random_magic(l);
    (void)auth_offer_next(l);
}

void lcp_send_echo(struct lcp *l, struct evq *out)
{
    struct ppp_pkt p = ppp_pkt_open(out, PPP_LCP, CP_ECHO_REQ, l->cp.next_id++);
    wr_u32(&p.w, l->magic);
    ppp_pkt_close(&p, out);
}

bool lcp_is_own_echo(const struct lcp *l, struct rd data)
{
    uint32_t magic;
    return rd_u32(&data, &magic) && magic != 0 && magic == l->magic;
}

void lcp_send_protocol_reject(struct lcp *l, uint16_t protocol, struct rd info, struct evq *out)
{
    size_t room = (l->peer_mru < LCP_MRU_DEFAULT ? l->peer_mru : LCP_MRU_DEFAULT) - 6u;
    size_t n = rd_left(&info) < room ? rd_left(&info) : room;
    struct ppp_pkt p = ppp_pkt_open(out, PPP_LCP, CP_PROT_REJ, l->cp.next_id++);
    wr_u16(&p.w, protocol);
    wr_bytes(&p.w, info.p, n);
    ppp_pkt_close(&p, out);
}
