/* What clients need to know, out of the server's configuration: what to dial, whom to trust, what to route. */
#include "cli/profile.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "cli/certfile.h"
#include "cli/cli.h"
#include "cli/file.h"
#include "tls/pem.h"
#include "tls/select.h"

static int read_chain(const char *path, STACK_OF(X509) * *out)
{
    struct tls_pem_error e;
    char *text;
    size_t len;
    if (file_read(path, TLS_PEM_FILE_MAX, &text, &len) < 0) {
        cli_fail("cannot read %s: %s", path, strerror(errno));
        return ERR_USAGE;
    }
    int rc = tls_pem_chain(text, len, path, out, &e);
    free(text);
    if (rc)
        cli_fail("%s", rc == ERR_USAGE ? e.text : err_name(rc));
    return rc;
}

/* ---- what is dialled ---- */

static bool is_v4(const char *text)
{
    uint8_t ip[4];
    return inet_pton(AF_INET, text, ip) == 1;
}

static bool is_v6(const char *text)
{
    uint8_t ip[16];
    return inet_pton(AF_INET6, text, ip) == 1;
}

/* HOST, HOST:PORT, [V6]:PORT or a bare IPv6 address; *port stays when none is given. */
static bool parse_host(const char *text, char *host, size_t cap, uint16_t *port)
{
    const char *colon = strrchr(text, ':'), *begin = text, *end = text + strlen(text);
    if (*text == '[') {
        begin = text + 1;
        end = strchr(text, ']');
        if (!end || (end[1] && end[1] != ':'))
            return false;
        colon = end[1] ? end + 1 : NULL;
    } else if (colon && strchr(text, ':') == colon) {
        end = colon;
    } else {
        colon = NULL; /* none, or the colons of an IPv6 address */
    }
    if (colon) {
        size_t digits = strspn(colon + 1, "0123456789");
        long n = digits && digits <= 5 && !colon[1 + digits] ? strtol(colon + 1, NULL, 10) : 0;
        if (n < 1 || n > 65535)
            return false;
        *port = (uint16_t)n;
    }
    if ((size_t)(end - begin) >= cap)
        return false;
    snprintf(host, cap, "%.*s", (int)(end - begin), begin);
    return *text == '[' ? is_v6(host) : is_v4(host) || is_v6(host) || config_name_valid(host);
}

/* 443 when that is listened on (or all TLS ends in front of us), else the first. */
static uint16_t listen_port(const struct config *c)
{
    uint16_t first = 0;
    for (size_t i = 0; i < c->listen.n_address; i++) {
        const struct config_addr *a = &c->listen.address[i];
        uint16_t port = ntohs(a->u.sa.sa_family == AF_INET6 ? a->u.in6.sin6_port : a->u.in.sin_port);
        if (port == 443)
            return 443;
        first = first ? first : port;
    }
    return first ? first : 443;
}

/* Which certificate a client is shown that dials host; n_certs: none. */
static size_t shown_cert(const struct config *c, const char *host, uint16_t port, struct tls_rule *won)
{
    size_t n = 0, best = c->n_certs;
    struct tls_rule *rules = calloc(CONFIG_CERTS_MAX * (size_t)CONFIG_CERT_FOR_MAX, sizeof *rules);
    size_t *of = calloc(CONFIG_CERTS_MAX * (size_t)CONFIG_CERT_FOR_MAX, sizeof *of);
    struct tls_where w = { .family = 4, .port = port, .sni = host && !is_v4(host) && !is_v6(host) ? host : NULL };
    if (host && inet_pton(AF_INET, host, w.ip) != 1 && inet_pton(AF_INET6, host, w.ip) == 1)
        w.family = 6;
    for (size_t i = 0; rules && of && i < c->n_certs; i++)
        for (size_t k = 0; k < c->certs[i].n_for; k++)
            if (!tls_rule_parse(c->certs[i].for_[k], &rules[n]))
                of[n++] = i;
    int k = rules && of && n ? tls_rule_select(rules, n, &w) : -1;
    if (k < 0 && n && c->tls.no_match == CONFIG_NO_MATCH_DEFAULT)
        k = 0;
    if (k >= 0) {
        best = of[k];
        *won = rules[k];
    }
    free(rules);
    free(of);
    return best;
}

struct best { /* a name to dial, the best one so far */
    const struct config *c;
    char name[256];
    int rank; /* 0: none yet */
};

/* rank: how much the place speaks for it; a name that begins with "vpn" is meant for this. */
static void consider(struct best *b, const char *name, int rank)
{
    bool address = is_v4(name) || is_v6(name);
    if (strchr(name, '*') || (!address && (!config_name_valid(name) || !strchr(name, '.'))) ||
        config_passthrough(b->c, name) || strlen(name) >= sizeof b->name)
        return;
    rank = address ? 1 : rank * 2 + (strncasecmp(name, "vpn", 3) == 0);
    if (rank <= b->rank)
        return;
    b->rank = rank;
    snprintf(b->name, sizeof b->name, "%s", name);
}

static void consider_file(struct best *b, const char *path, int rank)
{
    static struct certfile f;
    char why[300];
    if (certfile_read(path, &f, why, sizeof why))
        return; /* told when it is needed */
    for (size_t i = 0; i < f.n_names; i++)
        consider(b, f.names[i], rank);
    if (!f.n_names)
        consider(b, f.common_name, rank);
}

/* Names that the default certificate is for, then those in it, then the others': old clients send no name. */
static bool best_name(const struct config *c, uint16_t port, char *out, size_t cap)
{
    struct best b = { .c = c };
    struct tls_rule rule;
    size_t first = shown_cert(c, NULL, port, &rule);
    for (size_t i = 0; i < c->n_certs; i++) {
        for (size_t k = 0; k < c->certs[i].n_for; k++)
            if (!strchr(c->certs[i].for_[k], ':') && strcmp(c->certs[i].for_[k], "default") != 0)
                consider(&b, c->certs[i].for_[k], i == first ? 4 : 2);
        consider_file(&b, c->certs[i].chain, i == first ? 3 : 1);
    }
    for (size_t i = 0; i < c->offload.n_cert; i++)
        if (!c->offload.cert[i].hash_len)
            consider_file(&b, c->offload.cert[i].text, 1);
    snprintf(out, cap, "%s", b.name);
    return b.rank > 0;
}

/* ---- who is trusted ---- */

static bool issues(X509 *issuer, X509 *subject)
{
    return X509_check_issued(issuer, subject) == X509_V_OK;
}

static bool self_signed(X509 *x)
{
    return X509_self_signed(x, 1) == 1; /* whatever its key usage says */
}

/* Does this machine's own list of authorities lead to it? Then clients' lists do too. */
static bool publicly_trusted(STACK_OF(X509) * chain)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    bool good = store && ctx && X509_STORE_set_default_paths(store) == 1 &&
                X509_STORE_CTX_init(ctx, store, sk_X509_value(chain, 0), chain) == 1;
    if (good) {
        X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_NO_CHECK_TIME);
        good = X509_verify_cert(ctx) == 1;
    }
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return good;
}

/* Up the chain from the leaf to a certificate that is its own issuer; NULL when it is not in the file. */
static X509 *top_of(STACK_OF(X509) * chain)
{
    X509 *at = sk_X509_value(chain, 0);
    for (int steps = 0; steps <= sk_X509_num(chain) && !self_signed(at); steps++) {
        X509 *next = NULL;
        for (int i = 0; i < sk_X509_num(chain) && !next; i++)
            if (sk_X509_value(chain, i) != at && issues(sk_X509_value(chain, i), at))
                next = sk_X509_value(chain, i);
        if (!next)
            return NULL;
        at = next;
    }
    return self_signed(at) ? at : NULL;
}

static int find_authority(struct profile *p, STACK_OF(X509) * chain, const char *path)
{
    if (p->authority || publicly_trusted(chain))
        return 0;
    p->authority = top_of(chain);
    if (!p->authority) {
        cli_fail("%s: the authority at the top of this chain is neither in the file nor known to this machine: name "
                 "its certificate with --ca FILE",
                 path);
        return ERR_USAGE;
    }
    return X509_up_ref(p->authority) == 1 ? 0 : ERR_NOMEM;
}

static int add_leaf(struct profile *p, const char *path)
{
    STACK_OF(X509) * chain;
    int rc = read_chain(path, &chain);
    if (rc)
        return rc;
    X509 *leaf = sk_X509_value(chain, 0);
    if ((p->literal ? X509_check_ip_asc(leaf, p->host, 0) : X509_check_host(leaf, p->host, 0, 0, NULL)) != 1) {
        cli_fail(
            "%s is not for %s, so clients would refuse it: dial a name that it holds (--address), or have one made",
            path, p->host);
        rc = ERR_USAGE;
    }
    if (!rc && p->n_pin < PROFILE_LEAVES_MAX && X509_digest(leaf, EVP_sha256(), p->pin[p->n_pin], NULL) == 1)
        p->n_pin++;
    if (!rc)
        rc = find_authority(p, chain, path);
    sk_X509_pop_free(chain, X509_free);
    return rc;
}

/* Every certificate that may be shown for host: a pair of RSA and ECDSA has one rule. */
static int find_leaves(struct profile *p)
{
    const struct config *c = p->c;
    struct tls_rule won, rule;
    size_t shown = shown_cert(c, p->host, p->port, &won);
    int rc = 0;
    for (size_t i = 0; !rc && i < c->n_certs && shown < c->n_certs; i++)
        for (size_t k = 0; k < c->certs[i].n_for; k++)
            if (!rc && !tls_rule_parse(c->certs[i].for_[k], &rule) && tls_rule_equal(&rule, &won))
                rc = add_leaf(p, c->certs[i].chain);
    for (size_t i = 0; !rc && !c->listen.n_address && i < c->offload.n_cert; i++) {
        if (!c->offload.cert[i].hash_len) {
            rc = add_leaf(p, c->offload.cert[i].text);
        } else if (c->offload.cert[i].hash_len == 32 && p->n_pin < PROFILE_LEAVES_MAX) {
            memcpy(p->pin[p->n_pin++], c->offload.cert[i].hash,
                   32); /* trusted like a public one: nothing else is known */
        }
    }
    if (!rc && shown == c->n_certs && c->listen.n_address) {
        cli_fail("%s is shown no certificate: see 'gatehouse explain ADDRESS %s'", p->host, p->host);
        rc = ERR_USAGE;
    }
    return rc;
}

static int read_ca(struct profile *p, const char *path)
{
    STACK_OF(X509) * chain;
    int rc = read_chain(path, &chain);
    if (rc)
        return rc;
    p->authority = sk_X509_shift(chain);
    sk_X509_pop_free(chain, X509_free);
    return 0;
}

/* ---- what is routed ---- */

static int add_route(struct profile *p, const char *text)
{
    struct config_prefix *r = &p->route[p->n_route];
    if (config_prefix_parse(text, r) && config_prefix_clean(r)) {
        p->n_route++;
        return 0;
    }
    cli_fail("--route %s: write a network or address, as 10.0.0.0/8 or 2001:db8::/32, with no bits behind its prefix",
             text);
    return ERR_USAGE;
}

static int find_routes(struct profile *p)
{
    int rc = 0;
    for (size_t i = 0; p->ask->split && i < p->c->vpn.n_network; i++) {
        const struct config_net4 *n = &p->c->vpn.network[i];
        struct in_addr in = config_ip4(n->base);
        struct config_prefix *r = &p->route[p->n_route++];
        *r = (struct config_prefix){ .family = 4, .bits = n->prefix };
        memcpy(r->ip, &in, 4);
    }
    for (size_t i = 0; !rc && i < p->ask->n_route; i++)
        rc = add_route(p, p->ask->route[i]);
    return rc;
}

int profile_read(struct profile *p, const struct config *c, const struct profile_ask *ask)
{
    *p = (struct profile){ .ask = ask, .c = c, .port = listen_port(c) };
    if (!c->vpn_on) {
        cli_fail("%s has no vpn section: there is nothing to connect to", c->origin.file);
        return ERR_USAGE;
    }
    if (ask->address && !parse_host(ask->address, p->host, sizeof p->host, &p->port)) {
        cli_fail("--address %s: write a name or an address, with :PORT when it is not %u", ask->address, p->port);
        return ERR_USAGE;
    }
    if (!ask->address && !best_name(c, p->port, p->host, sizeof p->host)) {
        cli_fail("no certificate holds a name that clients could dial: give one with --address HOST");
        return ERR_USAGE;
    }
    p->ip6 = is_v6(p->host);
    p->literal = p->ip6 || is_v4(p->host);
    int rc = ask->ca ? read_ca(p, ask->ca) : 0;
    if (!rc)
        rc = find_leaves(p);
    return rc ? rc : find_routes(p);
}

void profile_fini(struct profile *p)
{
    X509_free(p->authority);
    p->authority = NULL;
}

void profile_server_text(const struct profile *p, char *out, size_t cap)
{
    char port[8] = "";
    if (p->port != 443)
        snprintf(port, sizeof port, ":%u", p->port);
    snprintf(out, cap, p->ip6 ? "[%s]%s" : "%s%s", p->host, port);
}

void profile_route_text(const struct config_prefix *r, bool with_bits, char *out, size_t cap)
{
    char ip[INET6_ADDRSTRLEN];
    inet_ntop(r->family == 4 ? AF_INET : AF_INET6, r->ip, ip, sizeof ip);
    snprintf(out, cap, with_bits ? "%s/%u" : "%s", ip, r->bits);
}

bool profile_has_auth(const struct profile *p, uint8_t method)
{
    return memchr(p->c->vpn.auth, method, sizeof p->c->vpn.auth) != NULL;
}

void profile_authority_base64(FILE *out, const struct profile *p, const char *indent)
{
    unsigned char *der = NULL;
    int len = i2d_X509(p->authority, &der);
    for (int at = 0; at < len; at += 48) {
        unsigned char line[65];
        EVP_EncodeBlock(line, der + at, len - at < 48 ? len - at : 48);
        fprintf(out, "%s%s\n", indent, line);
    }
    OPENSSL_free(der);
}
