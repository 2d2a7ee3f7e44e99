#include "tls/pem.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 3, 4))) static int fail(struct tls_pem_error *e, enum tls_pem_fault fault,
                                                      const char *fmt, ...)
{
    va_list ap;
    e->fault = fault;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    ERR_clear_error();
    return ERR_USAGE;
}

/* Never asks the terminal. */
static int password_cb(char *buf, int size, int rw, void *arg)
{
    (void)buf, (void)size, (void)rw;
    *(bool *)arg = true;
    return -1;
}

static int open_text(const char *pem, size_t len, const char *what, BIO **out, struct tls_pem_error *e)
{
    ERR_clear_error();
    if (!len)
        return fail(e, TLS_PEM_EMPTY, "%s is empty", what);
    if (len > TLS_PEM_FILE_MAX)
        return fail(e, TLS_PEM_TOO_LARGE, "%s is larger than 1 MiB: no PEM file is", what);
    if (len >= 3 && !memcmp(pem, "\xef\xbb\xbf", 3)) { /* UTF-8's byte order mark, as editors leave it */
        pem += 3;
        len -= 3;
    }
    if (len && (uint8_t)pem[0] == 0x30 && memchr(pem, 0, len)) /* an ASN.1 SEQUENCE, and no text */
        return fail(e, TLS_PEM_BINARY,
                    "%s is binary (DER or PKCS #12), not PEM: convert it, `openssl x509`, `openssl pkey` or "
                    "`openssl pkcs12` can",
                    what);
    *out = BIO_new_mem_buf(pem, (int)len);
    return *out ? 0 : ERR_NOMEM;
}

/* The next certificate, NULL at the end; *rc says whether it was the end. */
static X509 *next_cert(BIO *bio, const char *what, int number, int *rc, struct tls_pem_error *e)
{
    bool encrypted = false;
    X509 *x = PEM_read_bio_X509(bio, NULL, password_cb, &encrypted);
    unsigned long err = ERR_peek_last_error();
    bool at_end = !x && ERR_GET_LIB(err) == ERR_LIB_PEM && ERR_GET_REASON(err) == PEM_R_NO_START_LINE;
    *rc = 0;
    if (!x && !at_end) {
        const char *words = ERR_reason_error_string(ERR_peek_error());
        *rc = fail(e, TLS_PEM_DAMAGED, "certificate %d in %s cannot be read: %s", number, what,
                   words ? words : "unknown error");
    }
    ERR_clear_error();
    return x;
}

static int certs_read(BIO *bio, const char *what, int max, STACK_OF(X509) * list, struct tls_pem_error *e)
{
    int rc = 0;
    for (int n = 1; !rc; n++) {
        X509 *x = next_cert(bio, what, n, &rc, e);
        if (!x && !rc)
            return 0;
        if (x && sk_X509_num(list) == max)
            rc = fail(e, TLS_PEM_TOO_MANY, "more than %d certificates in %s", max - 1, what);
        else if (x && sk_X509_push(list, x) <= 0)
            rc = ERR_NOMEM;
        else if (x)
            continue;
        X509_free(x);
    }
    return rc;
}

static int certs_open(const char *pem, size_t len, const char *what, int max, STACK_OF(X509) * *out,
                      struct tls_pem_error *e)
{
    BIO *bio = NULL;
    int rc = open_text(pem, len, what, &bio, e);
    STACK_OF(X509) *list = rc ? NULL : sk_X509_new_null();
    if (!rc)
        rc = list ? certs_read(bio, what, max, list, e) : ERR_NOMEM;
    BIO_free(bio);
    if (!rc && !sk_X509_num(list))
        rc = fail(e, TLS_PEM_NONE, "no certificate in %s: it must be PEM, the leaf first", what);
    if (rc)
        sk_X509_pop_free(list, X509_free);
    else
        *out = list;
    return rc;
}

int tls_pem_chain(const char *pem, size_t len, const char *what, STACK_OF(X509) * *out, struct tls_pem_error *e)
{
    return certs_open(pem, len, what, TLS_PEM_CHAIN_MAX + 1, out, e);
}

int tls_pem_bundle(const char *pem, size_t len, const char *what, STACK_OF(X509) * *out, struct tls_pem_error *e)
{
    int rc = certs_open(pem, len, what, INT_MAX, out, e);
    if (rc == ERR_USAGE && e->fault == TLS_PEM_NONE)
        return fail(e, TLS_PEM_NONE, "no certificate in %s: it must be PEM, `BEGIN CERTIFICATE`", what);
    return rc;
}

int tls_pem_crls(const void *data, size_t len, const char *what, STACK_OF(X509_CRL) * *out, struct tls_pem_error *e)
{
    ERR_clear_error();
    if (len > TLS_CRL_FILE_MAX)
        return fail(e, TLS_PEM_TOO_LARGE, "%s is larger than 32 MiB", what);
    const uint8_t *p = data, *end = p + len;
    STACK_OF(X509_CRL) *list = sk_X509_CRL_new_null();
    BIO *bio = BIO_new_mem_buf(data, (int)len);
    X509_CRL *crl = len ? d2i_X509_CRL(NULL, &p, (long)len) : NULL;
    bool der = crl && p == end;
    bool ok = list && bio;
    if (crl && !der) {
        X509_CRL_free(crl);
        crl = NULL;
    }
    ERR_clear_error();
    while (ok && (crl || (!der && (crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL))))) {
        ok = sk_X509_CRL_push(list, crl) > 0;
        if (!ok)
            X509_CRL_free(crl);
        crl = NULL;
    }
    X509_CRL_free(crl);
    unsigned long err = ERR_peek_last_error();
    bool at_end = !err || (ERR_GET_LIB(err) == ERR_LIB_PEM && ERR_GET_REASON(err) == PEM_R_NO_START_LINE);
    int rc = !ok ? ERR_NOMEM : 0;
    if (!rc && !at_end)
        rc = fail(e, TLS_PEM_DAMAGED, "revocation list %d in %s cannot be read", sk_X509_CRL_num(list) + 1, what);
    else if (!rc && !sk_X509_CRL_num(list))
        rc = fail(e, TLS_PEM_NONE, "no revocation list in %s: it must be PEM, `BEGIN X509 CRL`, or DER", what);
    BIO_free(bio);
    ERR_clear_error();
    if (rc)
        sk_X509_CRL_pop_free(list, X509_CRL_free);
    else
        *out = list;
    return rc;
}

int tls_pem_key(const char *pem, size_t len, const char *what, EVP_PKEY **out, struct tls_pem_error *e)
{
    bool encrypted = false;
    BIO *bio = NULL;
    int rc = open_text(pem, len, what, &bio, e);
    if (rc)
        return rc;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, password_cb, &encrypted);
    BIO_free(bio);
    if (encrypted) {
        EVP_PKEY_free(key);
        return fail(e, TLS_PEM_ENCRYPTED,
                    "its key is encrypted with a password: take that off with `openssl pkey -in KEY -out NEW`");
    }
    if (!key)
        return fail(e, TLS_PEM_NONE, "no private key can be read from %s: it must be PEM, `BEGIN PRIVATE KEY`", what);
    ERR_clear_error();
    *out = key;
    return 0;
}
