/* What the files of this folder share. */
#ifndef GH_TLS_INTERNAL_H
#define GH_TLS_INTERNAL_H

#include <openssl/ssl.h>

#include "base/rd.h"
#include "tls/certs.h"
#include "tls/stream.h"

#define SNI_MAX 253 /* characters of a host name, RFC 1035 3.1 in its text form */

/* ---- certs.c ---- */

/* The context that connections start with: that of "default", and where there is none of the first certificate. */
SSL_CTX *tls_certs_front(const struct tls_certs *c);

/* The context for a name in lower case; the front one when no certificate has it. */
SSL_CTX *tls_certs_select(const struct tls_certs *c, const char *sni);

bool tls_certs_h2(const struct tls_certs *c, const char *sni);

/* ---- hello.c ---- */

/*
 * Reads what a ClientHello's server_name extension holds (RFC 6066 3). NULL: nothing usable. Lower case, no final dot.
 */
const char *tls_sni_parse(struct rd ext, char out[SNI_MAX + 1]);

/* The client hello and ALPN callbacks of one context. */
void tls_hello_install(SSL_CTX *ctx);

/* ---- tickets.c ---- */

/*
 * A session is resumed this long after its full handshake at most, however often its tickets were renewed: a
 * certificate that was replaced is out of use then. For tests to change.
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

/* From the client hello callback. False when out of memory. */
MUST_USE bool tls_stream_hello(SSL *ssl, const char *sni);
const struct tls_certs *tls_stream_certs(SSL *ssl);

#endif
