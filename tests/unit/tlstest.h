/* What tests of TLS share: certificates made on the spot. */
#ifndef GH_TESTS_TLSTEST_H
#define GH_TESTS_TLSTEST_H

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tls/certs.h"

struct test_cert {
    X509 *x;
    EVP_PKEY *key;
    char *chain_pem, *key_pem; /* NUL-terminated */
    uint8_t sha1[20], sha256[32];
};

static inline char *test_bio_text(BIO *b)
{
    char *data;
    long n = BIO_get_mem_data(b, &data);
    char *out = strndup(data, (size_t)n);
    BIO_free(b);
    return out;
}

struct test_spec {
    EVP_PKEY *key; /* the certificate takes a reference */
    const char *cn;
    const struct test_cert *issuer; /* NULL: signs itself */
    const char *eku, *san;          /* as in openssl.cnf; NULL: none */
    bool ca;
    int from_s, to_s; /* relative to now; 0 and 0: an hour ago to tomorrow */
};

static inline void test_ext_add(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *ext = value ? X509V3_EXT_conf_nid(NULL, NULL, nid, value) : NULL;
    if (ext)
        X509_add_ext(x, ext, -1);
    X509_EXTENSION_free(ext);
}

static inline struct test_cert test_cert_issue(const struct test_spec *spec)
{
    static int serial;
    const struct test_cert *by = spec->issuer;
    struct test_cert c = { .x = X509_new(), .key = spec->key };
    EVP_PKEY *signer = by ? by->key : c.key;
    bool usual = !spec->from_s && !spec->to_s;
    EVP_PKEY_up_ref(c.key);
    X509_set_version(c.x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c.x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(c.x), usual ? -3600 : spec->from_s);
    X509_gmtime_adj(X509_getm_notAfter(c.x), usual ? 86400 : spec->to_s);
    X509_set_pubkey(c.x, c.key);
    if (spec->cn)
        X509_NAME_add_entry_by_txt(X509_get_subject_name(c.x), "CN", MBSTRING_UTF8, (const unsigned char *)spec->cn, -1,
                                   -1, 0);
    X509_set_issuer_name(c.x, X509_get_subject_name(by ? by->x : c.x));
    test_ext_add(c.x, NID_basic_constraints, spec->ca ? "critical,CA:TRUE" : NULL);
    test_ext_add(c.x, NID_ext_key_usage, spec->eku);
    test_ext_add(c.x, NID_subject_alt_name, spec->san);
    X509_sign(c.x, signer, EVP_PKEY_get_base_id(signer) == EVP_PKEY_ED25519 ? NULL : EVP_sha256());
    BIO *b = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(b, c.x);
    c.chain_pem = test_bio_text(b);
    b = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(b, c.key, NULL, NULL, 0, NULL, NULL);
    c.key_pem = test_bio_text(b);
    X509_digest(c.x, EVP_sha1(), c.sha1, NULL);
    X509_digest(c.x, EVP_sha256(), c.sha256, NULL);
    return c;
}

/* A self-signed one. */
static inline struct test_cert test_cert_make(EVP_PKEY *key, const char *cn)
{
    return test_cert_issue(&(struct test_spec){ .key = key, .cn = cn });
}

/* Reads it in; NULL when it cannot be. */
static inline struct tls_cert *test_cert_load(const struct test_cert *c, const char *name)
{
    const struct tls_cert_source src = { .name = name,
                                         .chain_pem = c->chain_pem,
                                         .chain_len = strlen(c->chain_pem),
                                         .key_pem = c->key_pem,
                                         .key_len = strlen(c->key_pem) };
    struct tls_cert *out = NULL;
    char err[300];
    return tls_cert_load(&src, time(NULL), &out, err, sizeof err) ? NULL : out;
}

static inline void test_cert_free(struct test_cert *c)
{
    X509_free(c->x);
    EVP_PKEY_free(c->key);
    free(c->chain_pem);
    free(c->key_pem);
}

#endif
