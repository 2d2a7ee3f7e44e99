/* One certificate with its key, chain and staple: see certs.h. */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls/internal.h"
#include "tls/pem.h"

struct fault { /* where words about what is wrong go */
    const char *name;
    char *err;
    size_t cap;
};

__attribute__((format(printf, 2, 3))) static int fail(const struct fault *f, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = f->name ? snprintf(f->err, f->cap, "%s: ", f->name) : 0;
    if (n >= 0 && (size_t)n < f->cap)
        vsnprintf(f->err + n, f->cap - (size_t)n, fmt, ap);
    va_end(ap);
    ERR_clear_error();
    return ERR_USAGE;
}

/* ---- reading ---- */

static int chain_read(const struct fault *f, const struct tls_cert_source *src, struct tls_cert *c)
{
    struct tls_pem_error e;
    int rc = tls_pem_chain(src->chain_pem, src->chain_len, "its chain file", &c->chain, &e);
    if (!rc)
        c->leaf = sk_X509_shift(c->chain);
    return rc == ERR_USAGE ? fail(f, "%s", e.text) : rc;
}

static int key_belongs(const struct fault *f, const struct tls_cert *c)
{
    if (X509_check_private_key(c->leaf, c->key) == 1)
        return 0;
    for (int i = 0; i < sk_X509_num(c->chain); i++)
        if (X509_check_private_key(sk_X509_value(c->chain, i), c->key) == 1)
            return fail(f, "the first certificate is not the one that the key belongs to: put the leaf first");
    return fail(f, "its key does not belong to its certificate: give the key that the certificate was issued for");
}

static int key_read(const struct fault *f, const struct tls_cert_source *src, struct tls_cert *c)
{
    struct tls_pem_error e;
    int rc = tls_pem_key(src->key_pem, src->key_len, "its key file", &c->key, &e);
    if (rc)
        return rc == ERR_USAGE ? fail(f, "%s", e.text) : rc;
    switch (EVP_PKEY_get_base_id(c->key)) {
    case EVP_PKEY_RSA: c->slot = TLS_SLOT_RSA; break;
    case EVP_PKEY_EC: c->slot = TLS_SLOT_EC; break;
    case EVP_PKEY_ED25519: c->slot = TLS_SLOT_ED25519; break;
    default: return fail(f, "its key is neither RSA, ECDSA nor Ed25519: get a certificate with one of these");
    }
    return key_belongs(f, c);
}

/* ---- what is known about it ---- */

static int info_get(const struct fault *f, struct tls_cert *c)
{
    struct tls_cert_info *o = &c->info;
    if (!tls_cert_hashes(c->leaf, o->sha1, o->sha256))
        return ERR_NOMEM;
    if (!tls_asn1_time(X509_get0_notBefore(c->leaf), &o->not_before_s) ||
        !tls_asn1_time(X509_get0_notAfter(c->leaf), &o->not_after_s))
        return fail(f, "the dates of its certificate cannot be read");
    o->server_auth = X509_get_extended_key_usage(c->leaf) & (XKU_SSL_SERVER | XKU_ANYEKU);
    tls_subject_text(c->leaf, o->subject, sizeof o->subject);
    tls_key_text(c->key, o->key_type, sizeof o->key_type);
    ERR_clear_error();
    return 0;
}

/* What OpenSSL would not serve (a key too small, a digest too weak) is refused before a generation is made with it. */
static int servable(const struct fault *f, const struct tls_cert *c)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    int rc = ctx ? 0 : ERR_NOMEM;
    if (!rc && SSL_CTX_use_cert_and_key(ctx, c->leaf, c->key, c->chain, 0) != 1) {
        const char *words = ERR_reason_error_string(ERR_peek_error());
        rc = fail(f, "it cannot be served: %s", words ? words : "unknown error");
    }
    SSL_CTX_free(ctx);
    return rc;
}

static int staple_take(const struct tls_cert_source *src, int64_t now_s, struct tls_cert *c)
{
    if (!src->ocsp_der)
        return 0;
    tls_ocsp_judge(src->ocsp_der, src->ocsp_len, c->leaf, tls_issuer_find(c->leaf, c->chain), now_s, &c->info.ocsp);
    ERR_clear_error();
    c->ocsp_der = OPENSSL_memdup(src->ocsp_der, src->ocsp_len ? src->ocsp_len : 1);
    c->ocsp_len = src->ocsp_len;
    return c->ocsp_der ? 0 : ERR_NOMEM;
}

/* ---- the face ---- */

int tls_cert_load(const struct tls_cert_source *src, int64_t now_s, struct tls_cert **out, char *err, size_t cap)
{
    const struct fault f = { .name = src->name, .err = err, .cap = cap };
    struct tls_cert *c = calloc(1, sizeof *c);
    int rc = ERR_NOMEM;
    ERR_clear_error();
    if (c) {
        atomic_init(&c->refs, 1);
        c->name = strdup(src->name);
        rc = c->name ? chain_read(&f, src, c) : ERR_NOMEM;
    }
    if (!rc)
        rc = key_read(&f, src, c);
    if (!rc)
        rc = servable(&f, c);
    if (!rc)
        rc = info_get(&f, c);
    if (!rc)
        rc = staple_take(src, now_s, c);
    if (rc) {
        if (rc != ERR_USAGE)
            snprintf(err, cap, "%s: %s", src->name, err_name(rc));
        ERR_clear_error();
        tls_cert_unref(c);
        return rc;
    }
    *out = c;
    return 0;
}

struct tls_cert *tls_cert_ref(struct tls_cert *c)
{
    atomic_fetch_add(&c->refs, 1);
    return c;
}

void tls_cert_unref(struct tls_cert *c)
{
    if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    X509_free(c->leaf);
    sk_X509_pop_free(c->chain, X509_free);
    EVP_PKEY_free(c->key);
    OPENSSL_free(c->ocsp_der);
    free(c->name);
    free(c);
}

const struct tls_cert_info *tls_cert_info(const struct tls_cert *c)
{
    return &c->info;
}

int tls_cert_fit(const struct tls_cert *c, int64_t now_s, char *why, size_t cap)
{
    const struct tls_cert_info *o = &c->info;
    const char *words = now_s > o->not_after_s    ? "it has expired"
                        : now_s < o->not_before_s ? "it is not valid yet"
                        : !o->server_auth         ? "it is not for servers: its extended key usage lacks serverAuth"
                                                  : NULL;
    if (!words)
        return 0;
    snprintf(why, cap, "%s", words);
    return ERR_USAGE;
}

enum tls_ocsp_state tls_cert_ocsp(const struct tls_cert *c, int64_t now_s)
{
    return tls_ocsp_at(&c->info.ocsp, now_s);
}

int tls_leaf_hashes(const char *pem, size_t len, uint8_t sha1[20], uint8_t sha256[32], char *why, size_t cap)
{
    const struct fault f = { .err = why, .cap = cap };
    struct tls_pem_error e;
    STACK_OF(X509) *all = NULL;
    int rc = tls_pem_chain(pem, len, "the file", &all, &e);
    if (rc == ERR_USAGE)
        fail(&f, "%s", e.text);
    X509 *leaf = rc ? NULL : sk_X509_value(all, 0);
    for (int i = 1; !rc && i < sk_X509_num(all); i++)
        if (X509_check_issued(leaf, sk_X509_value(all, i)) == X509_V_OK)
            rc = fail(&f, "the first certificate is the issuer of number %d: put the leaf first", i + 1);
    if (!rc && !tls_cert_hashes(leaf, sha1, sha256))
        rc = ERR_NOMEM;
    sk_X509_pop_free(all, X509_free);
    ERR_clear_error();
    return rc;
}
