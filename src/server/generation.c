#include "server/generation.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <time.h>

#include "base/ct.h"
#include "base/log.h"
#include "server/monitor_setup.h"
#include "server/priv.h"

struct blob {
    char *data;
    size_t len;
};

static void blob_free(struct blob *b)
{
    secret_free(b->data, b->data ? b->len : 0);
}

/* A file's contents. said: why not, or where it was named (FILE:LINE); for the configuration, its path. */
static int ask_blob(int channel, enum priv_request what, uint32_t index, struct blob *out, char *said, size_t cap)
{
    struct priv_msg answer = { 0 };
    int fd = -1;
    int rc = priv_ask(channel, what, index, &answer, &fd, 1);
    if (!rc && answer.n_fds != 1)
        rc = ERR_BUG;
    if (!rc)
        rc = priv_take_blob(fd, &out->data, &out->len);
    snprintf(said, cap, "%s", answer.text[0] ? answer.text : priv_error(rc));
    return rc;
}

static int load_config(int channel, struct generation *g, char *err, size_t cap)
{
    struct blob text = { 0 };
    struct config_error cerr = { "" };
    char path[PRIV_TEXT_MAX];
    int rc = ask_blob(channel, PRIV_CONFIG, 0, &text, path, sizeof path);
    if (rc)
        snprintf(err, cap, "%s", path);
    if (!rc && (rc = config_parse_text(text.data, &g->cfg, &cerr)))
        snprintf(err, cap, "%s", cerr.text);
    if (!rc) {
        free(g->cfg->origin.path);
        g->cfg->origin.path = strdup(path);
        rc = g->cfg->origin.path ? 0 : ERR_NOMEM;
    }
    blob_free(&text);
    return rc;
}

static bool offers_h2(void *arg, const char *sni)
{
    const struct generation_web *w = generation_site(arg, sni);
    return w->cfg->upstream_h2.len != 0;
}

/* ---- certificates ---- */

#define LABEL_MAX 850

/* Where a certificate comes from, for messages. */
static void cert_label(const struct config_cert *c, const char *where, char *out, size_t cap)
{
    snprintf(out, cap, "%.250s: certificate %.64s (%.250s, %.250s)", where, c->name, c->chain, c->key);
}

static int ask_cert(int channel, const struct config_cert *c, uint32_t i, struct tls_cert **out, char label[LABEL_MAX],
                    char *err, size_t cap)
{
    struct blob chain = { 0 }, key = { 0 }, ocsp = { 0 };
    char where[PRIV_TEXT_MAX];
    int rc = ask_blob(channel, PRIV_CHAIN, i, &chain, err, cap);
    if (!rc)
        rc = ask_blob(channel, PRIV_KEY, i, &key, err, cap);
    if (!rc) {
        snprintf(where, sizeof where, "%s", err);
        cert_label(c, where, label, LABEL_MAX);
        if (c->ocsp && ask_blob(channel, PRIV_OCSP, i, &ocsp, where, sizeof where))
            ocsp = (struct blob){ 0 }; /* served without: status and check tell */
        struct tls_cert_source src = { .name = label,
                                       .chain_pem = chain.data,
                                       .chain_len = chain.len,
                                       .key_pem = key.data,
                                       .key_len = key.len,
                                       .ocsp_der = (const uint8_t *)ocsp.data,
                                       .ocsp_len = ocsp.len };
        rc = tls_cert_load(&src, time(NULL), out, err, cap);
    }
    blob_free(&chain);
    blob_free(&key);
    blob_free(&ocsp);
    return rc;
}

static bool was_in_force(const struct generation *before, const struct tls_cert *cert)
{
    for (size_t i = 0; before && i < before->cfg->n_certs; i++)
        if (!memcmp(tls_cert_info(before->cert[i].cert)->sha256, tls_cert_info(cert)->sha256, 32))
            return true;
    return false;
}

/* What a client would refuse is not taken into use instead of what it accepts. */
static int judge_new(const struct config_cert *c, const char *label, const struct generation *before,
                     const struct tls_cert *cert, char *err, size_t cap)
{
    char why[200];
    if (was_in_force(before, cert) || !tls_cert_fit(cert, time(NULL), why, sizeof why))
        return 0;
    if (!before) {
        log_warn(NULL, "certificate-unfit", "clients will not accept this certificate", LOG_S("name", c->name),
                 LOG_S("reason", why), LOG_S("remedy", "renew it; a changed file is taken into use by itself"));
        return 0;
    }
    snprintf(err, cap, "%s: %s", label, why);
    return ERR_USAGE;
}

/* The one that is in force stays in its place; why: what is wrong with the new one. */
static int keep_old(struct generation_cert *gc, const struct generation_cert *old, const char *why)
{
    tls_cert_unref(gc->cert);
    gc->cert = tls_cert_ref(old->cert);
    gc->trouble = strdup(why);
    return gc->trouble ? 0 : ERR_NOMEM;
}

/* keep: what cannot be used is replaced by what `before` has in its place. */
static int load_cert(int channel, struct generation *g, size_t i, const struct generation *before, bool keep, char *err,
                     size_t cap)
{
    struct generation_cert *gc = &g->cert[i];
    const struct config_cert *c = &g->cfg->certs[i];
    char label[LABEL_MAX];
    int rc = ask_cert(channel, c, (uint32_t)i, &gc->cert, label, err, cap);
    if (!rc)
        rc = judge_new(c, label, before, gc->cert, err, cap);
    if (rc != ERR_USAGE || !keep)
        return rc;
    int64_t valid_s = gc->cert ? tls_cert_info(gc->cert)->not_before_s : 0;
    if (valid_s > time(NULL) && (!g->again_s || valid_s < g->again_s))
        g->again_s = valid_s; /* the authority's clock is ahead of ours */
    return keep_old(gc, &before->cert[i], err);
}

static int parse_rules(const struct config_cert *c, struct tls_rule **out, char *err, size_t cap)
{
    struct tls_rule *rules = calloc(c->n_for, sizeof *rules);
    *out = rules;
    for (size_t k = 0; rules && k < c->n_for; k++)
        if (tls_rule_parse(c->for_[k], &rules[k]) < 0) {
            snprintf(err, cap, "%s:%d: certificates.for cannot be \"%s\"", c->file, c->line, c->for_[k]);
            return ERR_USAGE;
        }
    return rules ? 0 : ERR_NOMEM;
}

/* What makes one generation's tls_certs of its certificates. */
struct cert_set {
    struct tls_cert_use use[CONFIG_CERTS_MAX];
    struct tls_rule *rules[CONFIG_CERTS_MAX];
    struct tls_params params;
    struct tls_ticket_keys *tickets;
};

static int build_certs(struct generation *g, struct cert_set *s, char *err, size_t cap)
{
    tls_certs_unref(g->certs);
    g->certs = NULL;
    for (size_t i = 0; i < g->cfg->n_certs; i++)
        s->use[i] =
            (struct tls_cert_use){ .cert = g->cert[i].cert, .rules = s->rules[i], .n_rules = g->cfg->certs[i].n_for };
    return g->cfg->n_certs ? tls_certs_new(s->use, g->cfg->n_certs, &s->params, s->tickets, &g->certs, err, cap) : 0;
}

/*
 * Each by itself can be read, but not all can be served together: beginning with what is in force, they are taken one
 * after the other, and those with which it does not work are kept back.
 */
static int sort_out(struct generation *g, struct cert_set *s, const struct generation *before, char *err, size_t cap)
{
    struct tls_cert *fresh[CONFIG_CERTS_MAX] = { 0 };
    int rc = 0;
    for (size_t i = 0; i < g->cfg->n_certs; i++) {
        fresh[i] = g->cert[i].cert;
        g->cert[i].cert = tls_cert_ref(before->cert[i].cert);
    }
    for (size_t i = 0; i < g->cfg->n_certs; i++) {
        tls_cert_unref(g->cert[i].cert);
        g->cert[i].cert = fresh[i];
        if (rc || g->cert[i].trouble)
            continue;
        rc = build_certs(g, s, err, cap);
        if (rc == ERR_USAGE)
            rc = keep_old(&g->cert[i], &before->cert[i], err);
    }
    return rc ? rc : build_certs(g, s, err, cap);
}

static int load_certs(int channel, struct generation *g, struct tls_ticket_keys *tickets,
                      const struct generation *before, bool keep, char *err, size_t cap)
{
    struct config *cfg = g->cfg;
    struct cert_set s = { .tickets = tickets,
                          .params = { .min_version = cfg->tls.min_version,
                                      .ciphers = cfg->tls.ciphers,
                                      .ciphersuites = cfg->tls.ciphersuites,
                                      .h2 = offers_h2,
                                      .arg = g,
                                      .no_match_alert = cfg->tls.no_match == CONFIG_NO_MATCH_ALERT } };
    int rc = 0;
    for (size_t i = 0; !rc && i < cfg->n_certs; i++) {
        rc = load_cert(channel, g, i, before, keep, err, cap);
        if (!rc)
            rc = parse_rules(&cfg->certs[i], &s.rules[i], err, cap);
    }
    if (!rc) {
        rc = build_certs(g, &s, err, cap);
        if (rc == ERR_USAGE && keep)
            rc = sort_out(g, &s, before, err, cap);
    }
    for (size_t i = 0; i < cfg->n_certs; i++)
        free(s.rules[i]);
    return rc;
}

/* ---- the front's certificates ---- */

static int ask_front(int channel, const struct config_leaf *leaf, uint32_t i, struct sstp_cert_hashes *out, char *err,
                     size_t cap)
{
    struct blob pem = { 0 };
    char where[PRIV_TEXT_MAX], why[200];
    int rc = ask_blob(channel, PRIV_FRONT, i, &pem, where, sizeof where);
    if (rc) {
        snprintf(err, cap, "%s", where);
        return rc;
    }
    out->known = SSTP_HASH_SHA1 | SSTP_HASH_SHA256;
    rc = tls_leaf_hashes(pem.data, pem.len, out->sha1, out->sha256, why, sizeof why);
    if (rc)
        snprintf(err, cap, "%s: offload.certificates %s: %s", where, leaf->text, why);
    blob_free(&pem);
    return rc;
}

static int load_front(int channel, struct generation *g, const struct generation *before, bool keep, char *err,
                      size_t cap)
{
    const struct config *cfg = g->cfg;
    for (size_t i = 0; i < cfg->offload.n_cert; i++) {
        const struct config_leaf *leaf = &cfg->offload.cert[i];
        struct sstp_cert_hashes *h = &g->front_named[i];
        memset(h, 0, sizeof *h);
        if (leaf->hash_len) {
            h->known = leaf->hash_len == 32 ? SSTP_HASH_SHA256 : SSTP_HASH_SHA1;
            memcpy(leaf->hash_len == 32 ? h->sha256 : h->sha1, leaf->hash, leaf->hash_len);
            continue;
        }
        int rc = ask_front(channel, leaf, (uint32_t)i, h, err, cap);
        if (rc && (rc != ERR_USAGE || !keep))
            return rc;
        if (rc) {
            *h = before->front_named[i];
            if (!(g->front_trouble[i] = strdup(err)))
                return ERR_NOMEM;
        }
    }
    if (front_build(&g->front, g->front_named, cfg->offload.n_cert, before ? &before->front : NULL, time(NULL),
                    cfg->offload.overlap_s) &&
        before)
        log_notice(NULL, "front-changed", "the accepted certificates of the front changed",
                   LOG_N("certificates", cfg->offload.n_cert), LOG_N("overlap_s", cfg->offload.overlap_s));
    return 0;
}

/* ---- users, web, protocols ---- */

static int check_fixed_addresses(const struct generation *g, char *err, size_t cap)
{
    const struct config *cfg = g->cfg;
    for (size_t i = 0; i < users_count(g->users); i++) {
        const struct user *u = users_at(g->users, i);
        bool inside = u->ip4 == 0;
        for (size_t k = 0; !inside && k < cfg->vpn.n_network; k++) {
            uint32_t size = (uint32_t)1 << (32 - cfg->vpn.network[k].prefix), at = u->ip4 - cfg->vpn.network[k].base;
            inside = at > 0 && at < size - 1 && u->ip4 != config_server_ip4(cfg);
        }
        if (!inside) {
            snprintf(err, cap,
                     "%s:%u: the fixed address of user %s is not one that vpn.network can give: choose another",
                     cfg->vpn.users, u->line, u->name);
            return ERR_USAGE;
        }
    }
    return 0;
}

static int load_users(int channel, struct generation *g, char *err, size_t cap)
{
    struct blob text = { 0 };
    struct users_error uerr = { 0 };
    int rc = ask_blob(channel, PRIV_USERS, 0, &text, err, cap);
    if (!rc && (rc = users_parse(text.data, text.len, &g->users, &uerr)))
        snprintf(err, cap, "%s:%u: %s", g->cfg->vpn.users, uerr.line, uerr.text);
    blob_free(&text);
    return rc ? rc : check_fixed_addresses(g, err, cap);
}

static void set_protocols(struct generation *g)
{
    const struct config *cfg = g->cfg;
    g->sstp = sstp_server_cfg_default;
    g->sstp.echo_idle_ms = (uint32_t)cfg->vpn.echo_interval_s * 1000;
    g->sstp.echo_wait_ms = (uint32_t)cfg->vpn.echo_timeout_s * 1000;
    g->ppp = (struct ppp_cfg){
        .mtu = (uint16_t)cfg->vpn.mtu,
        .server_ip4 = config_server_ip4(cfg),
        .dns = { cfg->vpn.dns[0], cfg->vpn.dns[1] },
        .nbns = { cfg->vpn.nbns[0], cfg->vpn.nbns[1] },
        .ipv6 = cfg->vpn.ipv6,
        .lcp_echo_idle_ms = (uint32_t)cfg->vpn.lcp_echo_interval_s * 1000,
        .lcp_echo_misses = 3,
        .auth_tries = (uint8_t)cfg->vpn.auth_tries,
        .name = "gatehouse",
    };
    memcpy(g->ppp.auth, cfg->vpn.auth, sizeof g->ppp.auth);
    memcpy(g->ppp.ip6_iid, setup_ip6_iid, sizeof g->ppp.ip6_iid);
}

static int load_web(int channel, struct generation *g, char *err, size_t cap)
{
    for (size_t i = 0; i < g->cfg->n_web; i++) {
        const struct config_web *w = &g->cfg->web[i];
        g->web[i] = (struct generation_web){ .upstream = w->upstream, .cfg = w };
        if (w->upstream.len)
            continue;
        struct priv_msg answer = { 0 };
        int rc = priv_ask(channel, PRIV_SITE, (uint32_t)i, &answer, NULL, 0);
        size_t len = strlen(answer.text);
        struct sockaddr_un *un = &g->web[i].upstream.u.un;
        if (rc || !len || len + 1 > sizeof un->sun_path) {
            snprintf(err, cap, "no socket of the built-in site: %s", priv_error(rc));
            return rc ? rc : ERR_BUG;
        }
        memset(un, 0, sizeof *un);
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path + 1, answer.text, len);
        g->web[i].upstream.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len);
    }
    return 0;
}

/* ---- generations ---- */

static struct generation *generation_new(const struct generation *before)
{
    struct generation *g = calloc(1, sizeof *g);
    if (g) {
        g->refs = 1;
        g->number = before ? before->number + 1 : 1;
    }
    return g;
}

int generation_load(int channel, struct tls_ticket_keys *tickets, const struct generation *before,
                    struct generation **out, char *err, size_t cap, int *status)
{
    struct generation *g = generation_new(before);
    *status = 1;
    if (!g)
        return ERR_NOMEM;
    int rc = load_config(channel, g, err, cap);
    if (!rc)
        rc = load_certs(channel, g, tickets, before, false, err, cap);
    if (!rc && g->cfg->vpn_on)
        rc = load_users(channel, g, err, cap);
    if (!rc)
        rc = load_web(channel, g, err, cap);
    if (!rc)
        rc = load_front(channel, g, before, false, err, cap);
    if (!rc && !(g->base = malloc(sizeof *g->base)))
        rc = ERR_NOMEM;
    if (rc) {
        *status = rc == ERR_USAGE ? 2 : 1;
        generation_unref(g);
        return rc;
    }
    *g->base = (struct generation_base){ .refs = 1, .cfg = g->cfg, .users = g->users };
    set_protocols(g);
    *out = g;
    return 0;
}

int generation_refresh(int channel, struct tls_ticket_keys *tickets, struct generation *before, struct generation **out)
{
    struct generation *g = generation_new(before);
    char err[GENERATION_TROUBLE_MAX];
    if (!g)
        return ERR_NOMEM;
    g->base = before->base;
    atomic_fetch_add(&g->base->refs, 1);
    g->cfg = before->cfg;
    g->users = before->users;
    g->ppp = before->ppp;
    g->sstp = before->sstp;
    memcpy(g->web, before->web, sizeof g->web);
    int rc = load_certs(channel, g, tickets, before, true, err, sizeof err);
    if (!rc)
        rc = load_front(channel, g, before, true, err, sizeof err);
    if (rc)
        generation_unref(g);
    else
        *out = g;
    return rc;
}

struct generation *generation_ref(struct generation *g)
{
    atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
    return g;
}

bool generation_is_last(const struct generation *g)
{
    return atomic_load(&g->refs) == 1;
}

void generation_unref(struct generation *g)
{
    if (!g || atomic_fetch_sub(&g->refs, 1) > 1)
        return;
    tls_certs_unref(g->certs);
    for (size_t i = 0; i < CONFIG_CERTS_MAX; i++) {
        tls_cert_unref(g->cert[i].cert);
        free(g->cert[i].trouble);
    }
    for (size_t i = 0; i < CONFIG_FRONT_MAX; i++)
        free(g->front_trouble[i]);
    if (!g->base || atomic_fetch_sub(&g->base->refs, 1) == 1) {
        users_free(g->users);
        config_free(g->cfg);
        free(g->base);
    }
    free(g);
}

const char *generation_cert_name(const struct generation *g, const uint8_t sha256[32])
{
    for (size_t i = 0; i < g->cfg->n_certs; i++)
        if (!memcmp(tls_cert_info(g->cert[i].cert)->sha256, sha256, 32))
            return g->cfg->certs[i].name;
    return "";
}

const struct generation_web *generation_site(const struct generation *g, const char *sni)
{
    return &g->web[config_site(g->cfg, sni) - g->cfg->web];
}
