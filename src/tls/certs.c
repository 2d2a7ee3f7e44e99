/* A generation of certificates: see certs.h. */
#include "tls/certs.h"

#include <ctype.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdatomic.h>
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

#define CHAIN_MAX 16 /* certificates in one file */

enum key_slot { SLOT_RSA, SLOT_EC, SLOT_ED25519, SLOTS };

/* A certificate with its key, read and checked. */
struct cert {
    X509 *leaf;
    STACK_OF(X509) * chain;
    EVP_PKEY *key;
    enum key_slot slot;
};

/* What is shown for one name: at most one certificate of each key type. Names with equal sets share a context. */
struct name {
    char *name;      /* lower case; "*.parent", "default" */
    int cert[SLOTS]; /* index + 1 into the sources, 0: none */
    SSL_CTX *ctx;    /* a reference */
};

struct tls_certs {
    atomic_uint refs;
    struct tls_params params; /* h2 and arg; the strings are used while building only */
    struct name *names;       /* sorted by name once built */
    size_t n_names;
    SSL_CTX *front; /* borrowed from names */
};

/* While building. */
struct build {
    struct tls_certs *out;
    const struct tls_cert_source *src;
    size_t n;
    struct cert *certs;
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

static int chain_read(struct build *b, const struct tls_cert_source *src, struct cert *c)
{
    BIO *bio = BIO_new_mem_buf(src->chain_pem, (int)src->chain_len);
    c->chain = sk_X509_new_null();
    if (!bio || !c->chain) {
        BIO_free(bio);
        return ERR_NOMEM;
    }
    int n = 0;
    bool too_many = false;
    for (X509 *x; (x = PEM_read_bio_X509(bio, NULL, NULL, NULL)); n++) {
        if (!c->leaf)
            c->leaf = x;
        else if (n >= CHAIN_MAX || !sk_X509_push(c->chain, x)) {
            X509_free(x);
            too_many = true;
            break;
        }
    }
    BIO_free(bio);
    if (too_many)
        return fail(b, "%s: more than %d certificates in its chain", src->name, CHAIN_MAX);
    unsigned long e = ERR_peek_last_error();
    bool at_end = ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
    if (!at_end)
        return fail(b, "%s: certificate %d of its chain cannot be read: %s", src->name, n + 1, ssl_words());
    ERR_clear_error();
    return n ? 0 : fail(b, "%s: no certificate in its chain file: it must be PEM, the leaf first", src->name);
}

static int password_cb(char *buf, int size, int rw, void *arg)
{
    (void)buf, (void)size, (void)rw;
    *(bool *)arg = true;
    return -1;
}

static int key_read(struct build *b, const struct tls_cert_source *src, struct cert *c)
{
    bool encrypted = false;
    BIO *bio = BIO_new_mem_buf(src->key_pem, (int)src->key_len);
    if (!bio)
        return ERR_NOMEM;
    c->key = PEM_read_bio_PrivateKey(bio, NULL, password_cb, &encrypted);
    BIO_free(bio);
    if (encrypted)
        return fail(b, "%s: its key is encrypted with a password: take that off with `openssl pkey -in KEY -out NEW`",
                    src->name);
    if (!c->key)
        return fail(b, "%s: no private key can be read from its key file: it must be PEM, `BEGIN PRIVATE KEY`",
                    src->name);
    ERR_clear_error();
    switch (EVP_PKEY_get_base_id(c->key)) {
    case EVP_PKEY_RSA: c->slot = SLOT_RSA; break;
    case EVP_PKEY_EC: c->slot = SLOT_EC; break;
    case EVP_PKEY_ED25519: c->slot = SLOT_ED25519; break;
    default:
        return fail(b, "%s: its key is neither RSA, ECDSA nor Ed25519: get a certificate with one of these", src->name);
    }
    if (X509_check_private_key(c->leaf, c->key) != 1)
        return fail(b,
                    "%s: its key does not belong to its certificate: give the key that the certificate was issued for",
                    src->name);
    return 0;
}

static struct name *name_find(const struct tls_certs *c, const char *name)
{
    for (size_t i = 0; i < c->n_names; i++)
        if (!strcmp(c->names[i].name, name))
            return &c->names[i];
    return NULL;
}

/* Puts certificate number i down for one name. */
static int name_add(struct build *b, size_t i, const char *text)
{
    struct tls_certs *c = b->out;
    char *low = strdup(text);
    if (!low)
        return ERR_NOMEM;
    for (char *p = low; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    struct name *nm = name_find(c, low);
    if (nm) {
        free(low);
    } else {
        nm = &c->names[c->n_names++];
        *nm = (struct name){ .name = low };
    }
    int *slot = &nm->cert[b->certs[i].slot];
    if (*slot && *slot != (int)i + 1)
        return fail(b, "%s and %s: both are for \"%s\" with the same type of key: take the name out of one of them",
                    b->src[*slot - 1].name, b->src[i].name, text);
    *slot = (int)i + 1;
    return 0;
}

static int names_collect(struct build *b)
{
    size_t total = 0;
    for (size_t i = 0; i < b->n; i++)
        total += b->src[i].n_for;
    b->out->names = calloc(total ? total : 1, sizeof(struct name));
    if (!b->out->names)
        return ERR_NOMEM;
    for (size_t i = 0; i < b->n; i++) {
        if (!b->src[i].n_for)
            return fail(b, "%s: it is for no name at all", b->src[i].name);
        for (size_t j = 0; j < b->src[i].n_for; j++) {
            int err = name_add(b, i, b->src[i].for_[j]);
            if (err)
                return err;
        }
    }
    return 0;
}

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
static int ctx_new(struct build *b, const struct name *nm, SSL_CTX **out)
{
    SSL_CTX *ctx = *out = SSL_CTX_new(TLS_server_method());
    if (!ctx)
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
    for (int slot = 0; !err && slot < SLOTS; slot++) {
        if (!nm->cert[slot])
            continue;
        const struct cert *c = &b->certs[nm->cert[slot] - 1];
        if (SSL_CTX_use_cert_and_key(ctx, c->leaf, c->key, c->chain, 0) != 1)
            err = fail(b, "%s: OpenSSL refuses it: %s", b->src[nm->cert[slot] - 1].name, ssl_words());
    }
    return err;
}

static int contexts_make(struct build *b)
{
    struct tls_certs *c = b->out;
    for (size_t i = 0; i < c->n_names; i++) {
        struct name *nm = &c->names[i];
        for (size_t j = 0; j < i && !nm->ctx; j++)
            if (!memcmp(nm->cert, c->names[j].cert, sizeof nm->cert) && SSL_CTX_up_ref(c->names[j].ctx))
                nm->ctx = c->names[j].ctx;
        if (nm->ctx)
            continue;
        int err = ctx_new(b, nm, &nm->ctx);
        if (err)
            return err;
    }
    return 0;
}

static int name_order(const void *a, const void *b)
{
    return strcmp(((const struct name *)a)->name, ((const struct name *)b)->name);
}

static int build(struct build *b)
{
    if (!b->n)
        return fail(b, "there is no certificate");
    for (size_t i = 0; i < b->n; i++) {
        int err = chain_read(b, &b->src[i], &b->certs[i]);
        if (!err)
            err = key_read(b, &b->src[i], &b->certs[i]);
        if (err)
            return err;
    }
    int err = names_collect(b);
    if (!err)
        err = contexts_make(b);
    if (err)
        return err;
    const struct name *def = name_find(b->out, "default");
    b->out->front = def ? def->ctx : b->out->names[0].ctx; /* names[0] is the first one of the first certificate */
    qsort(b->out->names, b->out->n_names, sizeof(struct name), name_order);
    return 0;
}

int tls_certs_new(const struct tls_cert_source *src, size_t n, const struct tls_params *params,
                  struct tls_ticket_keys *tickets, struct tls_certs **out, char *err, size_t err_cap)
{
    struct build b = { .src = src, .n = n, .tickets = tickets, .err = err, .err_cap = err_cap };
    b.out = calloc(1, sizeof(*b.out));
    b.certs = calloc(n ? n : 1, sizeof(struct cert));
    int rc = ERR_NOMEM;
    if (b.out && b.certs) {
        atomic_init(&b.out->refs, 1);
        b.out->params = *params;
        ERR_clear_error();
        rc = build(&b);
        b.out->params.ciphers = b.out->params.ciphersuites = NULL;
    }
    for (size_t i = 0; b.certs && i < n; i++) {
        X509_free(b.certs[i].leaf);
        sk_X509_pop_free(b.certs[i].chain, X509_free);
        EVP_PKEY_free(b.certs[i].key);
    }
    free(b.certs);
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
    for (size_t i = 0; i < c->n_names; i++) {
        SSL_CTX_free(c->names[i].ctx);
        free(c->names[i].name);
    }
    free(c->names);
    free(c);
}

SSL_CTX *tls_certs_front(const struct tls_certs *c)
{
    return c->front;
}

static SSL_CTX *lookup(const struct tls_certs *c, char *name)
{
    struct name key = { .name = name };
    const struct name *hit = bsearch(&key, c->names, c->n_names, sizeof key, name_order);
    return hit ? hit->ctx : NULL;
}

SSL_CTX *tls_certs_select(const struct tls_certs *c, const char *sni)
{
    char wild[SNI_MAX + 2];
    snprintf(wild, sizeof wild, "%s", sni);
    SSL_CTX *ctx = lookup(c, wild);
    const char *parent = strchr(sni, '.');
    if (!ctx && parent && parent != sni) {
        snprintf(wild, sizeof wild, "*%s", parent);
        ctx = lookup(c, wild);
    }
    return ctx ? ctx : c->front;
}

bool tls_certs_h2(const struct tls_certs *c, const char *sni)
{
    return c->params.h2 && c->params.h2(c->params.arg, sni);
}
