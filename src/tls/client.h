/*
 * TLS as a client: what is trusted, and a verdict on what was shown (MS-SSTP 2.1, RFC 6125, RFC 5280).
 *
 * The stream itself has the face of tls/stream.h: tls_stream_new_client() makes one, tls_stream_leaf_hashes() is then
 * of the certificate that the server showed. There is no resumption: each connection sees a certificate.
 *
 * Judged: the chain up to a trusted authority, dates, the name or address that was dialled, serverAuth (or
 * anyExtendedKeyUsage, or no extended key usage) of the leaf, revocation by the CRLs given (when there are any, the
 * leaf's issuer must have one that is in date; others of the chain when there is one), a stapled OCSP response when
 * there is one, and pins. Pins alone are an identity of their own: exactly that certificate, in date; chain and name
 * are asked too only when the caller gave authorities (ca_pem).
 */
#ifndef GH_TLS_CLIENT_H
#define GH_TLS_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "tls/ocsp.h"
#include "tls/stream.h"

#define TLS_PINS_MAX 8

struct tls_client;

struct tls_client_cfg {
    const char *ca_pem; /* trusted authorities, PEM, borrowed for the call; NULL: none given, system_pem counts */
    size_t ca_len;
    const char *system_pem; /* the system's; NULL: none */
    size_t system_len;
    uint8_t pin[TLS_PINS_MAX][32]; /* SHA-256 of the leaf's DER */
    size_t n_pins;
    bool insecure;       /* judge, and go on whatever the verdict is */
    int min_version;     /* 0x0301 .. 0x0304; below 0x0303 (the probe's) ciphers of that age are offered too */
    int max_version;     /* 0: TLS 1.3 */
    const char *alpn;    /* "h2,http/1.1"; NULL: none is offered */
    const char *ciphers; /* of TLS 1.2 and below, as OpenSSL writes them; NULL: the usual ones. For the probe */
    int64_t now_s;       /* Unix; 0: the clock. For tests */
};

/* ERR_USAGE with why in err: no certificate in ca_pem, bad PEM. */
MUST_USE int tls_client_new(const struct tls_client_cfg *cfg, struct tls_client **out, char *err, size_t cap);
/* Adds revocation lists: PEM with any number of them, or one DER. ERR_USAGE with why. Before the first stream. */
MUST_USE int tls_client_add_crl(struct tls_client *c, const void *data, size_t len, char *err, size_t cap);
void tls_client_free(struct tls_client *c); /* NULL is fine; after its streams */

/*
 * host: a DNS name or an IP literal, copied: what the certificate must hold. sni: send the name (never sent for a
 * literal). The handshake fails with ERR_AUTH when the verdict is bad and insecure is not set; ERR_PEER, ERR_CLOSED as
 * ever.
 */
struct tls_stream *tls_stream_new_client(struct tls_client *c, int fd, const char *host, bool sni);

enum tls_fault { /* what is wrong with the server's certificate; the first that applies, in this order */
                 TLS_FAULT_NONE,
                 TLS_FAULT_NO_CERTIFICATE, /* anonymous TLS, as RouterOS can */
                 TLS_FAULT_PIN,            /* not one of the pinned certificates */
                 TLS_FAULT_SELF_SIGNED,    /* and not itself trusted */
                 TLS_FAULT_UNKNOWN_CA,     /* the chain ends at nobody we know, or an intermediate is missing */
                 TLS_FAULT_EXPIRED,
                 TLS_FAULT_NOT_YET,
                 TLS_FAULT_NAME,
                 TLS_FAULT_USAGE, /* not for servers */
                 TLS_FAULT_REVOKED,
                 TLS_FAULT_CRL, /* revocation cannot be told: no CRL of the issuer, or it is out of date */
                 TLS_FAULT_OTHER,
};

struct tls_verdict {
    enum tls_fault fault;
    int depth;     /* of the certificate it is about; 0: the leaf */
    bool chain_ok; /* the chain alone, dates included, whatever the name */
    bool name_ok;
    bool usage_ok;
    bool dates_ok;
    bool pinned;  /* matches a pin */
    bool stapled; /* an OCSP response was there */
    enum tls_ocsp_state ocsp;
    char text[200]; /* for people, printable: "its certificate is for mail.example.com, not vpn.example.com" */
};

/* After the handshake, or after it failed with ERR_AUTH. */
void tls_stream_verdict(const struct tls_stream *s, struct tls_verdict *out);

struct tls_peer_cert { /* printable */
    char subject[256], issuer[256];
    char names[512]; /* DNS names and addresses of the subjectAltName, blank between; cut */
    int64_t not_before_s, not_after_s;
    char key_type[16];  /* "RSA 2048", "EC P-256" */
    char signature[48]; /* "sha256WithRSAEncryption" */
    bool has_eku, server_auth, self_signed;
    uint8_t sha1[20], sha256[32];
};

/* Certificate i of what the server sent, 0 the leaf. False when there is none. */
MUST_USE bool tls_stream_peer_cert(const struct tls_stream *s, unsigned i, struct tls_peer_cert *out);

/* "h2", "http/1.1", or "". */
const char *tls_stream_alpn(const struct tls_stream *s);

const char *tls_fault_name(enum tls_fault f); /* "unknown-ca" */

#endif
