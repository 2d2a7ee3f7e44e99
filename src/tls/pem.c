#include "tls/pem.h"

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

int tls_pem_chain(const char *pem, size_t len, const char *what, STACK_OF(X509) * *out, struct tls_pem_error *e)
{
    BIO *bio = NULL;
    int rc = open_text(pem, len, what, &bio, e), n = 0;
    STACK_OF(X509) *list = rc ? NULL : sk_X509_new_null();
    if (!rc && !list)
        rc = ERR_NOMEM;
    for (X509 *x; !rc && (x = next_cert(bio, what, n + 1, &rc, e)); n++) {
        if (n > TLS_PEM_CHAIN_MAX)
            rc = fail(e, TLS_PEM_TOO_MANY, "more than %d certificates in %s", TLS_PEM_CHAIN_MAX, what);
        else if (sk_X509_push(list, x) <= 0)
            rc = ERR_NOMEM;
        if (rc)
            X509_free(x);
    }
    BIO_free(bio);
    if (!rc && !n)
        rc = fail(e, TLS_PEM_NONE, "no certificate in %s: it must be PEM, the leaf first", what);
    if (rc)
        sk_X509_pop_free(list, X509_free);
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
