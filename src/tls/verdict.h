/*
 * Is this the server that was dialled? A judgement on the certificates that it sent, whatever the connection is. All
 * that is wrong is found, each thing independently of the others; the verdict names the one that comes first in enum
 * tls_fault. See tls/client.h for what is asked.
 */
#ifndef GH_TLS_VERDICT_H
#define GH_TLS_VERDICT_H

#include <openssl/x509.h>

#include "tls/client.h"

#define TLS_FAULTS (TLS_FAULT_OTHER + 1)

struct tls_trust {     /* what is asked */
    X509_STORE *store; /* authorities and revocation lists */
    bool has_ca;       /* the caller gave authorities: with pins, chain and name count too */
    bool has_crl;
    uint8_t pin[TLS_PINS_MAX][32];
    size_t n_pins;
    int64_t now_s; /* 0: the clock */
};

struct tls_found { /* one kind of fault */
    bool is;
    int depth;
    int code; /* X509_V_ERR_..., 0: not of OpenSSL */
};

struct tls_judgement { /* zeros to begin with */
    struct tls_verdict verdict;
    STACK_OF(X509) * sent;  /* by the server, leaf first; NULL: nothing */
    STACK_OF(X509) * chain; /* as it was built, leaf first, up to an authority when there is one */
    struct tls_found found[TLS_FAULTS];
    uint8_t sha1[20], sha256[32]; /* of the leaf */
};

/*
 * sent: leaf first, NULL or empty when the server is anonymous; references are taken. host: a name, or an address as
 * text. Once for a judgement.
 */
void tls_judge(const struct tls_trust *t, const char *host, STACK_OF(X509) * sent, struct tls_judgement *j);

/* Then the OCSP response that came with them, if any. It can make the verdict worse only. */
void tls_judge_staple(const struct tls_trust *t, const char *host, const uint8_t *der, size_t len,
                      struct tls_judgement *j);

/* The X509_V_ERR_... that has OpenSSL send the fitting alert. */
int tls_fault_code(enum tls_fault f);

/* Whether host is an address; *canon (46 bytes) gets its usual spelling. */
MUST_USE bool tls_host_literal(const char *host, char canon[46]);

void tls_judgement_fini(struct tls_judgement *j);

#endif
