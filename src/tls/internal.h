/* What the files of this folder share. */
#ifndef GH_TLS_INTERNAL_H
#define GH_TLS_INTERNAL_H

#include <openssl/ssl.h>
#include <stdatomic.h>

#include "base/rd.h"
#include "tls/certs.h"
#include "tls/stream.h"

/* ---- cert.c ---- */

enum tls_slot { TLS_SLOT_RSA, TLS_SLOT_EC, TLS_SLOT_ED25519 }; /* types of keys: one of each may be for one rule */
#define TLS_SLOTS 3

struct tls_cert {
    atomic_uint refs;
    char *name; /* for messages */
    X509 *leaf;
    STACK_OF(X509) * chain; /* without the leaf */
    EVP_PKEY *key;
    enum tls_slot slot;
    struct tls_cert_info info;
    uint8_t *ocsp_der; /* of OPENSSL_malloc; NULL: none */
    size_t ocsp_len;
};

/* ---- certs.c ---- */

/* What one rule shows, at most one certificate of each key type. It is the application data of its context. */
struct tls_shown {
    struct tls_cert *cert[TLS_SLOTS]; /* references; NULL: none */
    struct tls_ticket_keys *tickets;  /* NULL: no resumption */
};

const struct tls_shown *tls_shown(SSL *ssl);

/* The certificate that is being shown on this connection; NULL before it is chosen. Not for resumed sessions. */
const struct tls_cert *tls_served(SSL *ssl);

/* The context that connections start with, until their ClientHello is read: that of the first rule. */
SSL_CTX *tls_certs_front(const struct tls_certs *c);

/* The context for a connection; NULL: none, the client is to be refused. */
SSL_CTX *tls_certs_select(const struct tls_certs *c, const struct tls_where *where);

bool tls_certs_h2(const struct tls_certs *c, const char *sni);

/* ---- client.c ---- */

struct tls_client;
struct tls_peer; /* what a client's stream knows about its server */

/* host is copied. NULL: out of memory. */
struct tls_peer *tls_peer_new(struct tls_client *c, const char *host);
void tls_peer_free(struct tls_peer *p); /* NULL is fine */
SSL *tls_peer_ssl(const struct tls_peer *p, bool sni);

/* After a handshake: false when the server is refused, or was in the middle of it. */
MUST_USE bool tls_peer_accepted(struct tls_peer *p, bool done);
const struct tls_judgement *tls_peer_judgement(const struct tls_peer *p);

/* ---- describe.c ---- */

struct tls_peer_cert;

void tls_clean_text(const char *text, char *out, size_t cap); /* what is not printable ASCII becomes '?' */
void tls_subject_text(X509 *x, char *out, size_t cap);        /* the CN, else the first DNS name */
void tls_issuer_text(X509 *x, char *out, size_t cap);
void tls_key_text(EVP_PKEY *key, char *out, size_t cap); /* "RSA 2048" */
bool tls_cert_hashes(X509 *x, uint8_t sha1[20], uint8_t sha256[32]);
bool tls_cert_describe(X509 *x, struct tls_peer_cert *out);

/* Up to max of its DNS names and addresses, blank between. Returns how many there are. */
size_t tls_names_text(X509 *x, size_t max, char *out, size_t cap);

/* ---- hello.c ---- */

/* The client hello, ALPN and OCSP status callbacks of one context. */
void tls_hello_install(SSL_CTX *ctx);

/* ---- ocsp.c ---- */

/* What is left of a judgement at now_s: a good response becomes stale with time. */
enum tls_ocsp_state tls_ocsp_at(const struct tls_ocsp *o, int64_t now_s);

MUST_USE bool tls_asn1_time(const ASN1_TIME *t, int64_t *out); /* Unix seconds */

/* ---- peek.c ---- */

/*
 * Reads what a ClientHello's server_name extension holds (RFC 6066 3). NULL: nothing usable. Lower case, no final dot.
 */
const char *tls_sni_parse(struct rd ext, char out[TLS_NAME_MAX + 1]);

/* ---- tickets.c ---- */

/*
 * A session is resumed this long after its full handshake at most, however often its tickets were renewed. For tests to
 * change.
 */
extern int64_t tls_ticket_life_s;

#define TLS_LEAF_LEN 52 /* SHA-1 and SHA-256 of the DER of the leaf, one after the other */

/* Session tickets that carry the hashes of the leaf that was served. NULL keys: no tickets, no resumption. */
MUST_USE int tls_tickets_install(SSL_CTX *ctx, struct tls_ticket_keys *keys);

/* A new key; tickets under the one before are still accepted, older ones no more. Happens by itself every 12 hours. */
void tls_ticket_keys_rotate(struct tls_ticket_keys *keys);

/*
 * After a handshake: the leaf that this client was shown, now or in the full handshake that it resumes. False: unknown.
 */
MUST_USE bool tls_leaf_get(SSL *ssl, uint8_t out[TLS_LEAF_LEN]);

/* ---- stream.c ---- */

/* From the client hello callback: notes the name (NULL: none). False when out of memory. */
MUST_USE bool tls_stream_hello(SSL *ssl, const char *sni);
const struct tls_certs *tls_stream_certs(SSL *ssl);
const struct tls_where *tls_stream_where(SSL *ssl);

struct tls_peer *tls_stream_peer(SSL *ssl); /* a client's; NULL: a server's stream */

/* Why the handshake is going to fail, in place of OpenSSL's words. Static text. */
void tls_stream_blame(SSL *ssl, const char *words);

#endif
