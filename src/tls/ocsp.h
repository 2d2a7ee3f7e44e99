/*
 * A stapled OCSP response (RFC 6960, RFC 6066 8): is this file's content a good one for this certificate, and until
 * when? The response comes from a file that is refreshed outside; nothing is ever fetched here.
 */
#ifndef GH_TLS_OCSP_H
#define GH_TLS_OCSP_H

#include <openssl/x509.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum tls_ocsp_state {
    TLS_OCSP_NONE,    /* no file is configured, or there is none */
    TLS_OCSP_GOOD,    /* signed by the issuer or its delegate, about this leaf, "good", fresh */
    TLS_OCSP_STALE,   /* was good, its time is over (or has not come) */
    TLS_OCSP_REVOKED, /* says that the certificate is revoked */
    TLS_OCSP_WRONG,   /* unreadable, of another certificate, badly signed, "unknown" */
};

struct tls_ocsp {
    enum tls_ocsp_state state;
    int64_t this_update_s,
        next_update_s; /* Unix seconds; next_update_s 0: the response names none, taken as 24 hours after this_update */
    char why[160];     /* not GOOD: in words */
};

/*
 * Judges der (len bytes) at now_s. issuer: the certificate that signed leaf; NULL: not in the chain, then
 * TLS_OCSP_WRONG. Only responses with exactly one usable answer about the leaf count.
 */
void tls_ocsp_judge(const uint8_t *der, size_t len, X509 *leaf, X509 *issuer, int64_t now_s, struct tls_ocsp *out);

/* The certificate of the list that signed leaf, borrowed; NULL: none did. */
X509 *tls_issuer_find(X509 *leaf, const STACK_OF(X509) * list);

const char *tls_ocsp_state_name(enum tls_ocsp_state s); /* "none", "good", "stale", "revoked", "wrong" */

#endif
