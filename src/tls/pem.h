/*
 * Certificates and keys out of PEM text, which may be anything at all: a file that was named by mistake, cut short,
 * binary, huge. Bounded, and no password is ever asked for. A UTF-8 byte order mark and CRLF are taken; blocks of other
 * kinds are passed over.
 */
#ifndef GH_TLS_PEM_H
#define GH_TLS_PEM_H

#include <openssl/x509.h>
#include <stddef.h>

#include "base/err.h"

#define TLS_PEM_CHAIN_MAX 16         /* certificates behind the leaf */
#define TLS_PEM_FILE_MAX  (1u << 20) /* bytes of one file */
#define TLS_CRL_FILE_MAX  (32u << 20)

enum tls_pem_fault {
    TLS_PEM_EMPTY,
    TLS_PEM_TOO_LARGE, /* more than TLS_PEM_FILE_MAX */
    TLS_PEM_BINARY,    /* DER, PKCS #12 */
    TLS_PEM_NONE,      /* holds nothing of what is looked for */
    TLS_PEM_DAMAGED,   /* begins well and cannot be read */
    TLS_PEM_TOO_MANY,  /* more than TLS_PEM_CHAIN_MAX */
    TLS_PEM_ENCRYPTED, /* a key with a password */
};

struct tls_pem_error {
    enum tls_pem_fault fault;
    char text[200]; /* in words */
};

/*
 * All return 0, ERR_USAGE with *e filled, or ERR_NOMEM. what: the text's name in *e, "its chain file". *out is the
 * caller's to free, and written on success only.
 */

/* All certificates, one at least, in the text's order. */
MUST_USE int tls_pem_chain(const char *pem, size_t len, const char *what, STACK_OF(X509) * *out,
                           struct tls_pem_error *e);

/* The same for any number of certificates, as a bundle of authorities has them. */
MUST_USE int tls_pem_bundle(const char *pem, size_t len, const char *what, STACK_OF(X509) * *out,
                            struct tls_pem_error *e);

/* Revocation lists: PEM with one at least, or one in DER. Up to TLS_CRL_FILE_MAX bytes. */
MUST_USE int tls_pem_crls(const void *data, size_t len, const char *what, STACK_OF(X509_CRL) * *out,
                          struct tls_pem_error *e);

/* The first private key. */
MUST_USE int tls_pem_key(const char *pem, size_t len, const char *what, EVP_PKEY **out, struct tls_pem_error *e);

#endif
