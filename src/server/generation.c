#include "server/generation.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/ct.h"
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
    snprintf(said, cap, "%s", answer.text[0] ? answer.text : err_name(rc));
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
        free(g->cfg->path);
        g->cfg->path = strdup(path);
        rc = g->cfg->path ? 0 : ERR_NOMEM;
    }
    blob_free(&text);
    return rc;
}

static bool offers_h2(void *arg, const char *sni)
{
    const struct generation_web *w = generation_site(arg, sni);
    return w->cfg->upstream_h2.len != 0;
}

static int load_cert(int channel, const struct config_cert *cfg, uint32_t index, struct tls_cert **out, char *err,
                     size_t cap)
{
    struct blob chain = { 0 }, key = { 0 };
    char label[850];
    int rc = ask_blob(channel, PRIV_CHAIN, index, &chain, err, cap);
    if (!rc)
        rc = ask_blob(channel, PRIV_KEY, index, &key, err, cap);
    if (!rc) {
        snprintf(label, sizeof label, "%.250s: certificate %.64s (%.250s, %.250s)", err, cfg->name, cfg->chain,
                 cfg->key);
        const struct tls_cert_source src = { .name = label,
                                             .chain_pem = chain.data,
                                             .chain_len = chain.len,
                                             .key_pem = key.data,
                                             .key_len = key.len };
        rc = tls_cert_load(&src, time(NULL), out, err, cap);
    }
    blob_free(&chain);
    blob_free(&key);
    return rc;
}

/* The rules of a certificate, malloc'ed. */
static int load_rules(const struct config_cert *cfg, struct tls_rule **out, char *err, size_t cap)
{
    struct tls_rule *rules = *out = calloc(cfg->n_for, sizeof *rules);
    int rc = rules ? 0 : ERR_NOMEM;
    for (size_t i = 0; !rc && i < cfg->n_for; i++)
        if ((rc = tls_rule_parse(cfg->for_[i], &rules[i])))
            snprintf(err, cap, "certificate %s: \"%s\" is neither a name nor an address with a port", cfg->name,
                     cfg->for_[i]);
    return rc;
}

static int load_certs(int channel, struct generation *g, struct tls_ticket_keys *tickets, char *err, size_t cap)
{
    struct config *cfg = g->cfg;
    struct tls_cert *cert[CONFIG_CERTS_MAX] = { 0 };
    struct tls_rule *rules[CONFIG_CERTS_MAX] = { 0 };
    struct tls_cert_use use[CONFIG_CERTS_MAX];
    int rc = 0;
    for (size_t i = 0; !rc && i < cfg->n_certs; i++) {
        rc = load_cert(channel, &cfg->certs[i], (uint32_t)i, &cert[i], err, cap);
        if (!rc)
            rc = load_rules(&cfg->certs[i], &rules[i], err, cap);
        use[i] = (struct tls_cert_use){ .cert = cert[i], .rules = rules[i], .n_rules = cfg->certs[i].n_for };
    }
    struct tls_params params = { .min_version = cfg->tls.min_version,
                                 .ciphers = cfg->tls.ciphers,
                                 .ciphersuites = cfg->tls.ciphersuites,
                                 .h2 = offers_h2,
                                 .arg = g };
    if (!rc)
        rc = tls_certs_new(use, cfg->n_certs, &params, tickets, &g->certs, err, cap);
    for (size_t i = 0; i < cfg->n_certs; i++) {
        tls_cert_unref(cert[i]);
        free(rules[i]);
    }
    return rc;
}

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
            snprintf(err, cap, "no socket of the built-in site: %s", err_name(rc));
            return rc ? rc : ERR_BUG;
        }
        memset(un, 0, sizeof *un);
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path + 1, answer.text, len);
        g->web[i].upstream.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len);
    }
    return 0;
}

int generation_load(int channel, struct tls_ticket_keys *tickets, unsigned number, struct generation **out, char *err,
                    size_t cap, int *status)
{
    struct generation *g = calloc(1, sizeof *g);
    *status = 1;
    if (!g)
        return ERR_NOMEM;
    g->refs = 1;
    g->number = number;
    int rc = load_config(channel, g, err, cap);
    if (!rc)
        rc = load_certs(channel, g, tickets, err, cap);
    if (!rc && g->cfg->vpn_on)
        rc = load_users(channel, g, err, cap);
    if (!rc)
        rc = load_web(channel, g, err, cap);
    if (rc) {
        *status = rc == ERR_USAGE ? 2 : 1;
        generation_unref(g);
        return rc;
    }
    set_protocols(g);
    *out = g;
    return 0;
}

struct generation *generation_ref(struct generation *g)
{
    atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
    return g;
}

void generation_unref(struct generation *g)
{
    if (!g || atomic_fetch_sub(&g->refs, 1) > 1)
        return;
    tls_certs_unref(g->certs);
    users_free(g->users);
    config_free(g->cfg);
    free(g);
}

static bool names_match(const char *pattern, const char *name)
{
    if (pattern[0] != '*' || pattern[1] != '.')
        return strcasecmp(pattern, name) == 0;
    const char *dot = strchr(name, '.');
    return dot && dot != name && strcasecmp(pattern + 1, dot) == 0;
}

const struct generation_web *generation_site(const struct generation *g, const char *sni)
{
    const struct generation_web *fallback = NULL, *wild = NULL;
    for (size_t i = 0; i < g->cfg->n_web; i++) {
        const char *name = g->cfg->web[i].name;
        if (!name)
            fallback = fallback ? fallback : &g->web[i];
        else if (sni && names_match(name, sni)) {
            if (name[0] != '*')
                return &g->web[i];
            wild = &g->web[i];
        }
    }
    return wild ? wild : fallback;
}
