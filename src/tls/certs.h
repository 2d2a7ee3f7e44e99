/*
 * Server certificates: each with its key, chain and staple (struct tls_cert), and one immutable generation of them with
 * the rules that say who is shown which (struct tls_certs; select.h has the order).
 *
 * Certificates are reference counted and outlive generations: a reload that cannot use a new file goes on with the
 * certificate of the generation before. All functions are for any thread.
 */
#ifndef GH_TLS_CERTS_H
#define GH_TLS_CERTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "tls/ocsp.h"
#include "tls/select.h"

/* ---- one certificate ---- */

struct tls_cert;

struct tls_cert_source {
    const char *name;      /* for messages */
    const char *chain_pem; /* leaf first; borrowed */
    size_t chain_len;
    const char *key_pem; /* secret; borrowed */
    size_t key_len;
    const uint8_t *ocsp_der; /* a response to staple; NULL: none */
    size_t ocsp_len;
};

struct tls_cert_info {
    uint8_t sha1[20], sha256[32]; /* of the leaf's DER */
    int64_t not_before_s, not_after_s;
    bool server_auth;     /* no extended key usage, or serverAuth or anyExtendedKeyUsage is in it */
    char subject[256];    /* its common name, else its first DNS name; printable */
    char key_type[16];    /* "RSA 2048", "EC P-256", "Ed25519" */
    struct tls_ocsp ocsp; /* as judged when it was loaded; see tls_cert_ocsp() */
};

/*
 * Reads and checks: PEM, key unencrypted and belonging to the leaf. ERR_USAGE with what is wrong in err ("NAME: ..."),
 * ERR_NOMEM. A bad OCSP response is no failure: it is not stapled, and info.ocsp says why. Dates are not judged.
 */
MUST_USE int tls_cert_load(const struct tls_cert_source *src, int64_t now_s, struct tls_cert **out, char *err,
                           size_t cap);
struct tls_cert *tls_cert_ref(struct tls_cert *c);
void tls_cert_unref(struct tls_cert *c); /* NULL is fine */
const struct tls_cert_info *tls_cert_info(const struct tls_cert *c);

/* Would a client take it now? 0, or ERR_USAGE with why: expired, not yet valid, not for servers. */
MUST_USE int tls_cert_fit(const struct tls_cert *c, int64_t now_s, char *why, size_t cap);

/* What is stapled at now_s: TLS_OCSP_GOOD, or what speaks against it. */
enum tls_ocsp_state tls_cert_ocsp(const struct tls_cert *c, int64_t now_s);

/*
 * The hashes of the first certificate in a PEM text, whatever else is in it: that of a front that ends TLS before us.
 * ERR_USAGE with why.
 */
MUST_USE int tls_leaf_hashes(const char *pem, size_t len, uint8_t sha1[20], uint8_t sha256[32], char *why, size_t cap);

/* ---- a generation ---- */

struct tls_certs; /* reference counted, shared by threads */

struct tls_cert_use {
    struct tls_cert *cert;
    const struct tls_rule *rules; /* borrowed */
    size_t n_rules;
};

struct tls_params {
    int min_version;          /* 0x0303 or 0x0304; highest is TLS 1.3 */
    const char *ciphers;      /* TLS 1.2 list; NULL: Mozilla intermediate */
    const char *ciphersuites; /* TLS 1.3 list; NULL: Mozilla intermediate */
    bool (*h2)(void *arg,
               const char *sni); /* whether ALPN h2 is offered for this name (NULL: no SNI); NULL: never. Any thread */
    void *arg;                   /* outlives the generation */
    bool no_match_alert; /* no rule matches: alert unrecognized_name; false: the first rule counts as matching */
};

/*
 * Secret keys of session tickets, shared by all generations of a process so that a reload keeps sessions; rotated every
 * 12 hours.
 */
struct tls_ticket_keys;
struct tls_ticket_keys *tls_ticket_keys_new(void);
void tls_ticket_keys_free(struct tls_ticket_keys *k);

/*
 * Builds a generation; takes its own references to the certificates. Without ticket keys (NULL) there is no resumption;
 * they outlive every generation built with them. On failure ERR_USAGE (what is wrong, in err: bad cipher list, nothing
 * in the list, two certificates with one type of key for one rule) or ERR_NOMEM.
 *
 * A session is resumed only if the leaf that it began with is one that a full handshake would show at this address and
 * name now: a certificate that is no longer configured is out of use at once.
 */
MUST_USE int tls_certs_new(const struct tls_cert_use *use, size_t n, const struct tls_params *params,
                           struct tls_ticket_keys *tickets, struct tls_certs **out, char *err, size_t err_cap);
struct tls_certs *tls_certs_ref(struct tls_certs *c);
void tls_certs_unref(struct tls_certs *c); /* NULL is fine */

#endif
