#include "ppp/ipv6cp.h"

static const uint8_t zero[IPV6CP_ID_LEN];

static bool same(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, IPV6CP_ID_LEN) == 0;
}

static void build(void *self, struct wr *w)
{
    const struct ipv6cp *v = self;
    if (v->want_id)
        ppp_opt_put(w, IPV6CP_OPT_ID, v->id, IPV6CP_ID_LEN);
}

static enum cp_verdict judge(void *self, const struct ppp_opt *opt, unsigned naks, struct wr *nak)
{
    (void)naks;
    const struct ipv6cp *v = self;
    uint8_t id[IPV6CP_ID_LEN];
    if (opt->type != IPV6CP_OPT_ID || !ppp_opt_copy(opt, id, sizeof id))
        return CP_REJECT;
    if (!same(id, zero) && !same(id, v->id))
        return CP_ACK;
    ppp_opt_put(nak, IPV6CP_OPT_ID, v->suggest, IPV6CP_ID_LEN);
    return CP_NAK;
}

static void missing(void *self, struct rd options, struct wr *nak)
{
    const struct ipv6cp *v = self;
    struct ppp_opt opt;
    while (ppp_opt_next(&options, &opt) == 0)
        if (opt.type == IPV6CP_OPT_ID)
            return;
    ppp_opt_put(nak, IPV6CP_OPT_ID, v->suggest, IPV6CP_ID_LEN);
}

static void accept(void *self, struct rd options)
{
    struct ipv6cp *v = self;
    struct ppp_opt opt;
    while (ppp_opt_next(&options, &opt) == 0)
        (void)!ppp_opt_copy(&opt, v->peer_id, IPV6CP_ID_LEN);
}

static bool apply(void *self, enum cp_code code, struct rd options)
{
    struct ipv6cp *v = self;
    struct ppp_opt opt;
    uint8_t id[IPV6CP_ID_LEN];
    while (ppp_opt_next(&options, &opt) == 0) {
        if (opt.type != IPV6CP_OPT_ID)
            continue;
        if (code == CP_CONF_REJ)
            v->want_id = false;
        else if (ppp_opt_copy(&opt, id, sizeof id) && !same(id, zero) && !same(id, v->peer_id) && !same(id, v->suggest))
            memcpy(v->id, id, sizeof id);
        break;
    }
    return true;
}

static const struct cp_ops ipv6cp_ops = {
    .protocol = PPP_IPV6CP,
    .restart_ms = { 1000, 3000, 3000 },
    .build = build,
    .judge = judge,
    .missing = missing,
    .accept = accept,
    .apply = apply,
};

/* Random, nonzero, and not claiming to be globally unique (RFC 5072 4.1: u bit 0). */
static void random_id(struct rng *rng, uint8_t id[IPV6CP_ID_LEN])
{
    rng_fill(rng, id, IPV6CP_ID_LEN);
    id[0] &= 0xfd;
    if (same(id, zero))
        id[7] = 1;
}

void ipv6cp_init(struct ipv6cp *v, const uint8_t id[IPV6CP_ID_LEN], struct rng rng, struct cp_common *common)
{
    *v = (struct ipv6cp){ .want_id = true };
    cp_init(&v->cp, &ipv6cp_ops, v, common);
    if (same(id, zero))
        random_id(&rng, v->id);
    else
        memcpy(v->id, id, sizeof v->id);
    random_id(&rng, v->suggest);
    if (same(v->id, v->suggest))
        v->suggest[7] ^= 0x55;
}
