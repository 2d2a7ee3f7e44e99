#include "ppp/lcp_msg.h"

#include "auth/chap.h"

uint32_t lcp_magic_random(const struct rng *rng)
{
    uint32_t magic;
    rng_fill(rng, &magic, sizeof magic);
    return magic ? magic : 1;
}

static const struct {
    uint8_t data[3];
    uint8_t len;
} forms[PPP_AUTH_METHODS] = {
    [PPP_AUTH_PAP] = { { 0xc0, 0x23 }, 2 },
    [PPP_AUTH_CHAP_MD5] = { { 0xc2, 0x23, CHAP_ALG_MD5 }, 3 },
    [PPP_AUTH_MSCHAPV2] = { { 0xc2, 0x23, CHAP_ALG_MSCHAPV2 }, 3 },
    [PPP_AUTH_EAP_MSCHAPV2] = { { 0xc2, 0x27 }, 2 },
};

void lcp_auth_put(struct wr *w, unsigned method)
{
    if (method < PPP_AUTH_METHODS && forms[method].len)
        ppp_opt_put(w, LCP_OPT_AUTH, forms[method].data, forms[method].len);
}

enum ppp_auth_method lcp_auth_get(const struct ppp_opt *opt)
{
    uint8_t data[3];
    for (unsigned m = PPP_AUTH_NONE + 1; m < PPP_AUTH_METHODS; m++)
        if (ppp_opt_copy(opt, data, forms[m].len) && memcmp(data, forms[m].data, forms[m].len) == 0)
            return (enum ppp_auth_method)m;
    return PPP_AUTH_NONE;
}

static enum cp_verdict judge_magic(const struct ppp_opt *opt, uint32_t own, const struct rng *rng, struct wr *nak)
{
    uint32_t magic;
    if (!ppp_opt_u32(opt, &magic))
        return CP_REJECT;
    if (magic != 0 && magic != own)
        return CP_ACK;
    ppp_opt_put_u32(nak, LCP_OPT_MAGIC, lcp_magic_random(rng)); /* zero is illegal, ours is a loop: RFC 1661 6.4 */
    return CP_NAK;
}

enum cp_verdict lcp_judge_common(const struct ppp_opt *opt, uint32_t magic, const struct rng *rng, struct wr *nak)
{
    uint32_t accm;
    switch (opt->type) {
    case LCP_OPT_MAGIC: return judge_magic(opt, magic, rng, nak);
    case LCP_OPT_ACCM: return ppp_opt_u32(opt, &accm) ? CP_ACK : CP_REJECT; /* has no meaning here (RFC 1662 7) */
    case LCP_OPT_PFC:
    case LCP_OPT_ACFC: return rd_end(&opt->data) ? CP_ACK : CP_REJECT;
    default: return CP_REJECT; /* callback, multilink, quality, and what nobody knows */
    }
}

void lcp_echo_data(uint32_t magic, struct rd data, struct wr *w)
{
    wr_u32(w, magic);
    if (rd_skip(&data, 4))
        wr_bytes(w, data.p, rd_left(&data));
}

void lcp_echo_send(struct cp *cp, uint32_t magic, struct evq *out)
{
    struct ppp_pkt p = ppp_pkt_open(out, PPP_LCP, CP_ECHO_REQ, cp->next_id++);
    wr_u32(&p.w, magic);
    ppp_pkt_close(&p, out);
}

bool lcp_echo_is_own(uint32_t magic, struct rd data)
{
    uint32_t seen;
    return rd_u32(&data, &seen) && seen != 0 && seen == magic;
}

void lcp_protocol_reject_send(struct cp *cp, uint16_t peer_mru, uint16_t protocol, struct rd info, struct evq *out)
{
    size_t room = (peer_mru < LCP_MRU_DEFAULT ? peer_mru : LCP_MRU_DEFAULT) - 6u;
    size_t n = rd_left(&info) < room ? rd_left(&info) : room;
    struct ppp_pkt p = ppp_pkt_open(out, PPP_LCP, CP_PROT_REJ, cp->next_id++);
    wr_u16(&p.w, protocol);
    wr_bytes(&p.w, info.p, n);
    ppp_pkt_close(&p, out);
}
