/* A generation of certificates: see certs.h. */
#include "tls/certs.h"

#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls/internal.h"

/* Mozilla, Server Side TLS 5.7, "intermediate". */
#define CIPHERS                                                                                                        \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"                         \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"                           \
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"
#define CIPHERSUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS       "X25519:P-256:P-384"

/* What the rule with the same index shows. Rules that show the same share a context. */
struct group {
    struct tls_shown shown;
    SSL_CTX *ctx; /* a reference; its application data is the shown of the first group that has it */
};

struct tls_certs {
    atomic_uint refs;
    struct tls_params params; /* h2, arg and no_match_alert; the strings are used while building only */
    struct tls_rule *rules;   /* no two are equal */
    struct group *groups;
    size_t n_rules;
};

/* While building. */
struct build {
    struct tls_certs *out;
    struct tls_ticket_keys *tickets;
    char *err;
    size_t err_cap;
};

__attribute__((format(printf, 2, 3))) static int fail(struct build *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(b->err, b->err_cap, fmt, ap);
    va_end(ap);
    ERR_clear_error();
    return ERR_USAGE;
}

/* The first of OpenSSL's complaints. */
static const char *ssl_words(void)
{
    const char *s = ERR_reason_error_string(ERR_peek_error());
    return s ? s : "unknown error";
}

/* ---- rules ---- */

/* Puts a certificate down for one rule. */
static int rule_add(struct build *b, struct tls_cert *cert, const struct tls_rule *rule)
{
    struct tls_certs *c = b->out;
    size_t i = 0;
    while (i < c->n_rules && !tls_rule_equal(&c->rules[i], rule))
        i++;
    if (i == c->n_rules) {
        c->rules[c->n_rules++] = *rule;
        c->groups[i].shown.tickets = b->tickets;
    }
    struct tls_cert **slot = &c->groups[i].shown.cert[cert->slot];
    if (*slot && *slot != cert) {
        char text[300];
        tls_rule_text(rule, text, sizeof text);
        return fail(b, "%s and %s: both are for \"%s\" with the same type of key: take it out of one of them",
                    (*slot)->name, cert->name, text);
    }
    if (!*slot)
        *slot = tls_cert_ref(cert);
    return 0;
}

static int rules_collect(struct build *b, const struct tls_cert_use *use, size_t n)
{
    struct tls_certs *c = b->out;
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += use[i].n_rules;
    c->rules = calloc(total ? total : 1, sizeof *c->rules);
    c->groups = calloc(total ? total : 1, sizeof *c->groups);
    if (!c->rules || !c->groups)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        if (!use[i].n_rules)
            return fail(b, "%s: it is for nothing at all", use[i].cert->name);
        for (size_t j = 0; j < use[i].n_rules; j++) {
            int err = rule_add(b, use[i].cert, &use[i].rules[j]);
            if (err)
                return err;
        }
    }
    return 0;
}

/* ---- contexts ---- */

static int ctx_ciphers(struct build *b, SSL_CTX *ctx)
{
    const struct tls_params *p = &b->out->params;
    if (SSL_CTX_set_cipher_list(ctx, p->ciphers ? p->ciphers : CIPHERS) != 1)
        return fail(b, "bad list of TLS 1.2 ciphers: %s", ssl_words());
    if (SSL_CTX_set_ciphersuites(ctx, p->ciphersuites ? p->ciphersuites : CIPHERSUITES) != 1)
        return fail(b, "bad list of TLS 1.3 cipher suites: %s", ssl_words());
    if (SSL_CTX_set_min_proto_version(ctx, p->min_version) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) != 1 || SSL_CTX_set1_groups_list(ctx, GROUPS) != 1 ||
        SSL_CTX_set_dh_auto(ctx, 1) != 1)
        return fail(b, "TLS versions or groups refused: %s", ssl_words());
    return 0;
}

/* Every context of a generation is alike but for its certificates: SSL_set_SSL_CTX() changes those alone. */
static int ctx_new(struct build *b, struct group *g)
{
    SSL_CTX *ctx = g->ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx || SSL_CTX_set_app_data(ctx, &g->shown) != 1)
        return ERR_NOMEM;
    SSL_CTX_clear_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx,
                     SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(ctx, 1);
    tls_hello_install(ctx);
    int err = ctx_ciphers(b, ctx);
    if (!err)
        err = tls_tickets_install(ctx, b->tickets);
    for (int slot = 0; !err && slot < TLS_SLOTS; slot++) {
        const struct tls_cert *c = g->shown.cert[slot];
        if (c && SSL_CTX_use_cert_and_key(ctx, c->leaf, c->key, c->chain, 0) != 1)
            err = fail(b, "%s: OpenSSL refuses it: %s", c->name, ssl_words());
    }
    return err;
}

static int contexts_make(struct build *b)
{
    struct tls_certs *c = b->out;
    for (size_t i = 0; i < c->n_rules; i++) {
        struct group *g = &c->groups[i];
        for (size_t j = 0; j < i && !g->ctx; j++)
            if (!memcmp(&g->shown, &c->groups[j].shown, sizeof g->shown) && SSL_CTX_up_ref(c->groups[j].ctx))
                g->ctx = c->groups[j].ctx;
        if (g->ctx)
            continue;
        int err = ctx_new(b, g);
        if (err)
            return err;
    }
    return 0;
}

int tls_certs_new(const struct tls_cert_use *use, size_t n, const struct tls_params *params,
                  struct tls_ticket_keys *tickets, struct tls_certs **out, char *err, size_t err_cap)
{
    struct build b = { .tickets = tickets, .err = err, .err_cap = err_cap };
    int rc = ERR_NOMEM;
    ERR_clear_error();
    b.out = calloc(1, sizeof(*b.out));
    if (b.out) {
        atomic_init(&b.out->refs, 1);
        b.out->params = *params;
        rc = n ? rules_collect(&b, use, n) : fail(&b, "there is no certificate");
        if (!rc)
            rc = contexts_make(&b);
        b.out->params.ciphers = b.out->params.ciphersuites = NULL;
    }
    if (rc) {
        if (rc != ERR_USAGE)
            snprintf(err, err_cap, "%s", err_name(rc));
        ERR_clear_error();
        tls_certs_unref(b.out);
        return rc;
    }
    *out = b.out;
    return 0;
}

struct tls_certs *tls_certs_ref(struct tls_certs *c)
{
    atomic_fetch_add(&c->refs, 1);
    return c;
}

void tls_certs_unref(struct tls_certs *c)
{
    if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    for (size_t i = 0; i < c->n_rules; i++) {
        SSL_CTX_free(c->groups[i].ctx);
        for (int slot = 0; slot < TLS_SLOTS; slot++)
            tls_cert_unref(c->groups[i].shown.cert[slot]);
    }
    free(c->rules);
    free(c->groups);
    free(c);
}

/* ---- for connections ---- */

SSL_CTX *tls_certs_front(const struct tls_certs *c)
{
    return c->groups[0].ctx;
}

SSL_CTX *tls_certs_select(const struct tls_certs *c, const struct tls_where *where)
{
    int i = tls_rule_select(c->rules, c->n_rules, where);
    if (i < 0 && c->params.no_match_alert)
        return NULL;
    return i < 0 ? tls_certs_front(c) : c->groups[i].ctx;
}

bool tls_certs_h2(const struct tls_certs *c, const char *sni)
{
    return c->params.h2 && c->params.h2(c->params.arg, sni);
}

const struct tls_shown *tls_shown(SSL *ssl)
{
    return SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
}

const struct tls_cert *tls_served(SSL *ssl)
{
    const struct tls_shown *shown = tls_shown(ssl);
    const X509 *leaf = SSL_get_certificate(ssl);
    for (int slot = 0; leaf && slot < TLS_SLOTS; slot++)
        if (shown->cert[slot] && shown->cert[slot]->leaf == leaf)
            return shown->cert[slot];
    return NULL;
}
