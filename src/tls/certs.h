/*
 * Server certificates: one immutable generation, and which of them a ClientHello is shown (docs/architecture.md).
 *
 * Selection: exact SNI name, then the wildcard of its parent ("*.example.com" covers one label), then "default"; a
 * client without SNI gets "default". Two entries for the same name with different key types (RSA, ECDSA) are both
 * offered and OpenSSL picks by the client's signature algorithms. Without a match and without a default the first
 * certificate is shown: SNI is never required.
 */
#ifndef GH_TLS_CERTS_H
#define GH_TLS_CERTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct tls_certs; /* reference counted, shared by threads */

struct tls_cert_source {
    const char *name;      /* for messages */
    const char *chain_pem; /* leaf first; borrowed */
    size_t chain_len;
    const char *key_pem; /* secret; borrowed */
    size_t key_len;
    const char *const *for_; /* names, "*.name", "default" */
    size_t n_for;
};

struct tls_params {
    int min_version;          /* 0x0303 or 0x0304; highest is TLS 1.3 */
    const char *ciphers;      /* TLS 1.2 list; NULL: Mozilla intermediate */
    const char *ciphersuites; /* TLS 1.3 list; NULL: Mozilla intermediate */
    bool (*h2)(void *arg,
               const char *sni); /* whether ALPN h2 is offered for this name (NULL: no SNI); NULL: never. Any thread */
    void *arg;                   /* outlives the generation */
};

/*
 * Secret keys of session tickets, shared by all generations of a process so that a reload keeps sessions; rotated every
 * 12 hours.
 */
struct tls_ticket_keys;
struct tls_ticket_keys *tls_ticket_keys_new(void);
void tls_ticket_keys_free(struct tls_ticket_keys *k);

/*
 * Builds a generation. Without ticket keys (NULL) there is no resumption; they outlive every generation built with
 * them. On failure ERR_USAGE (what is wrong with which certificate, in err: unreadable PEM, key does not match,
 * encrypted key, bad cipher list, nothing in the list, two certificates with one type of key for one name) or
 * ERR_NOMEM.
 */
MUST_USE int tls_certs_new(const struct tls_cert_source *src, size_t n, const struct tls_params *params,
                           struct tls_ticket_keys *tickets, struct tls_certs **out, char *err, size_t err_cap);
struct tls_certs *tls_certs_ref(struct tls_certs *c);
void tls_certs_unref(struct tls_certs *c); /* NULL is fine */

#endif
