#include "ppp/lcp_peer.h"

#include <stdio.h>

#define MRU_NAKS_MAX   3  /* of our MRU, before it is left out */
#define MAGIC_NAKS_MAX 5  /* likewise */
#define NAKS_MAX       12 /* of the server's request: more than all methods that we can ask for */

/* What a survey asks for, strongest first. */
static const uint8_t survey_order[] = { PPP_AUTH_EAP_MSCHAPV2, PPP_AUTH_MSCHAPV2, PPP_AUTH_CHAP_MD5, PPP_AUTH_PAP };

static bool may_answer(const struct lcp_peer *l, unsigned method)
{
    if (l->cfg->survey || method == PPP_AUTH_NONE || l->barred & 1u << method)
        return false;
    for (size_t i = 0; i < sizeof l->cfg->auth && l->cfg->auth[i]; i++)
        if (l->cfg->auth[i] == method)
            return true;
    return false;
}

/* The method that a Nak asks for; PPP_AUTH_NONE: none is left. */
static unsigned wish(const struct lcp_peer *l)
{
    const uint8_t *order = l->cfg->survey ? survey_order : l->cfg->auth;
    size_t n = l->cfg->survey ? sizeof survey_order : sizeof l->cfg->auth;
    for (size_t i = 0; i < n && order[i]; i++) {
        unsigned m = order[i];
        if (m >= PPP_AUTH_METHODS || l->wished[m] >= LCP_PEER_WISHES || l->barred & 1u << m)
            continue;
        if (!l->cfg->survey || !(l->seen & 1u << m))
            return m;
    }
    return PPP_AUTH_NONE;
}

static void build(void *self, struct wr *w)
{
    const struct lcp_peer *l = self;
    if (l->mru)
        ppp_opt_put_u16(w, LCP_OPT_MRU, l->mru);
    if (l->magic)
        ppp_opt_put_u32(w, LCP_OPT_MAGIC, l->magic);
}

static enum cp_verdict judge_mru(const struct ppp_opt *opt, unsigned naks, struct wr *nak)
{
    uint16_t mru;
    if (!ppp_opt_u16(opt, &mru))
        return CP_REJECT;
    if (mru >= LCP_MRU_MIN)
        return CP_ACK; /* above LCP_MRU_MAX too: it is a promise, of which we take what fits */
    if (naks >= CP_MAX_FAILURE)
        return CP_REJECT;
    ppp_opt_put_u16(nak, LCP_OPT_MRU, LCP_MRU_MIN_NAK);
    return CP_NAK;
}

static enum cp_verdict judge_auth(const struct lcp_peer *l, const struct ppp_opt *opt, struct wr *nak)
{
    if (may_answer(l, lcp_auth_get(opt)))
        return CP_ACK;
    lcp_auth_put(nak, wish(l)); /* there is one: lcp_peer_study() */
    return CP_NAK;
}

static enum cp_verdict judge(void *self, const struct ppp_opt *opt, unsigned naks, struct wr *nak)
{
    struct lcp_peer *l = self;
    switch (opt->type) {
    case LCP_OPT_MRU: return judge_mru(opt, naks, nak);
    case LCP_OPT_AUTH: return judge_auth(l, opt, nak);
    default: return lcp_judge_common(opt, l->magic, &l->rng, nak);
    }
}

/* The next option 3 of the list. */
static bool auth_next(struct rd *options, struct ppp_opt *out)
{
    while (ppp_opt_next(options, out) == 0)
        if (out->type == LCP_OPT_AUTH)
            return true;
    return false;
}

static bool asks_too_much(const struct lcp_peer *l, struct rd options)
{
    struct ppp_opt opt;
    while (auth_next(&options, &opt))
        if (!may_answer(l, lcp_auth_get(&opt)))
            return true;
    return false;
}

static void nakked(void *self, struct rd options)
{
    struct lcp_peer *l = self;
    if (asks_too_much(l, options)) /* else the Nak was about something else */
        l->wished[wish(l)]++;
}

static void accept(void *self, struct rd options)
{
    struct lcp_peer *l = self;
    struct rd list = options;
    struct ppp_opt opt;
    l->auth = auth_next(&list, &opt) ? (uint8_t)lcp_auth_get(&opt) : PPP_AUTH_NONE;
    l->peer_mru = LCP_MRU_DEFAULT;
    memset(l->wished, 0, sizeof l->wished);
    while (ppp_opt_next(&options, &opt) == 0)
        if (opt.type == LCP_OPT_MRU)
            (void)!ppp_opt_u16(&opt, &l->peer_mru);
}

/* SoftEther Naks what is above 1500 with 1500, which is the default and needs no option. */
static void nak_mru(struct lcp_peer *l, const struct ppp_opt *opt)
{
    uint16_t mru;
    if (!l->mru)
        return;
    bool sane = ppp_opt_u16(opt, &mru) && mru >= LCP_MRU_MIN && mru <= LCP_MRU_MAX && mru != LCP_MRU_DEFAULT;
    l->mru = sane && ++l->mru_naks < MRU_NAKS_MAX ? mru : 0;
}

static void nak_magic(struct lcp_peer *l)
{
    if (l->magic)
        l->magic = ++l->magic_naks < MAGIC_NAKS_MAX ? lcp_magic_random(&l->rng) : 0;
}

/* Each option once: one packet speaks once about it. What we did not ask for is not taken from a Nak. */
static bool apply(void *self, enum cp_code code, struct rd options)
{
    struct lcp_peer *l = self;
    struct ppp_opt opt;
    bool mru = false, magic = false;
    while (ppp_opt_next(&options, &opt) == 0) {
        if (opt.type == LCP_OPT_MRU && !mru) {
            mru = true;
            if (code == CP_CONF_NAK)
                nak_mru(l, &opt);
            else
                l->mru = 0;
        } else if (opt.type == LCP_OPT_MAGIC && !magic) {
            magic = true;
            if (code == CP_CONF_NAK)
                nak_magic(l);
            else
                l->magic = 0;
        }
    }
    return true;
}

static void echo(void *self, struct rd data, struct wr *w)
{
    const struct lcp_peer *l = self;
    lcp_echo_data(l->magic, data, w);
}

static const struct cp_ops lcp_peer_ops = {
    .protocol = PPP_LCP,
    .max_failure = NAKS_MAX,
    .restart_ms = { 1000, 3000, 3000 }, /* the server's PPP is ready: it said CALL_CONNECT_ACK */
    .build = build,
    .judge = judge,
    .nakked = nakked,
    .accept = accept,
    .apply = apply,
    .echo = echo,
};

void lcp_peer_init(struct lcp_peer *l, const struct ppp_peer_cfg *cfg, struct rng rng, struct cp_common *common)
{
    *l = (struct lcp_peer){ .cfg = cfg, .rng = rng, .peer_mru = LCP_MRU_DEFAULT };
    cp_init(&l->cp, &lcp_peer_ops, l, common);
    if (cfg->mru != LCP_MRU_DEFAULT)
        l->mru = cfg->mru;
    l->magic = lcp_magic_random(&rng);
}

static void note_method(struct lcp_peer *l, const struct ppp_opt *opt)
{
    enum ppp_auth_method m = lcp_auth_get(opt);
    if (m != PPP_AUTH_NONE) {
        if (!l->seen)
            l->first = (uint8_t)m;
        l->seen |= (uint8_t)(1u << m);
        return;
    }
    struct rd data = opt->data;
    size_t n = rd_left(&data) < sizeof l->unknown ? rd_left(&data) : sizeof l->unknown;
    if (rd_copy(&data, l->unknown, n))
        l->unknown_len = (uint8_t)n;
}

bool lcp_peer_study(struct lcp_peer *l, struct rd options)
{
    struct ppp_opt opt;
    if (!ppp_opt_list_valid(options))
        return true;
    for (struct rd list = options; auth_next(&list, &opt);)
        note_method(l, &opt);
    if (!asks_too_much(l, options))
        return true;
    return wish(l) != PPP_AUTH_NONE && l->cp.naks < NAKS_MAX; /* after which cp.c would reject it */
}

bool lcp_peer_bar(struct lcp_peer *l, enum ppp_auth_method method)
{
    l->barred |= (uint8_t)(1u << method);
    memset(l->wished, 0, sizeof l->wished);
    return wish(l) != PPP_AUTH_NONE;
}

void lcp_peer_tell(const struct lcp_peer *l, char *out, size_t cap)
{
    static const char *const names[PPP_AUTH_METHODS] = { [PPP_AUTH_PAP] = "PAP",
                                                         [PPP_AUTH_CHAP_MD5] = "CHAP-MD5",
                                                         [PPP_AUTH_MSCHAPV2] = "MS-CHAPv2",
                                                         [PPP_AUTH_EAP_MSCHAPV2] = "EAP" };
    static const uint8_t mschapv1[] = { 0xc2, 0x23, 0x80 };
    int n = snprintf(out, cap, "the server wants only");
    const char *comma = " ";
    for (unsigned m = 1; m < PPP_AUTH_METHODS; m++)
        if (l->seen & 1u << m && n >= 0 && (size_t)n < cap) {
            n += snprintf(out + n, cap - (size_t)n, "%s%s", comma, names[m]);
            comma = ", ";
        }
    if (!l->unknown_len || n < 0 || (size_t)n >= cap)
        return;
    if (l->unknown_len == sizeof mschapv1 && memcmp(l->unknown, mschapv1, sizeof mschapv1) == 0)
        snprintf(out + n, cap - (size_t)n, "%sMS-CHAPv1", comma);
    else
        snprintf(out + n, cap - (size_t)n, "%san unknown one", comma);
}
