/* What tests of TLS share: certificates made on the spot. */
#ifndef GH_TESTS_TLSTEST_H
#define GH_TESTS_TLSTEST_H

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
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

/* A self-signed certificate over the key, which it takes over a reference of. */
static inline struct test_cert test_cert_make(EVP_PKEY *key, const char *cn)
{
    static int serial;
    struct test_cert c = { .x = X509_new(), .key = key };
    EVP_PKEY_up_ref(key);
    X509_set_version(c.x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c.x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(c.x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(c.x), 86400);
    X509_set_pubkey(c.x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(c.x), "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(c.x, X509_get_subject_name(c.x));
    X509_sign(c.x, key, EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256());
    BIO *b = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(b, c.x);
    c.chain_pem = test_bio_text(b);
    b = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL);
    c.key_pem = test_bio_text(b);
    X509_digest(c.x, EVP_sha1(), c.sha1, NULL);
    X509_digest(c.x, EVP_sha256(), c.sha256, NULL);
    return c;
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
