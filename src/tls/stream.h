/*
 * A server-side TLS stream on a non-blocking socket. It does not own the descriptor and never blocks: ERR_AGAIN says
 * that tls_stream_wants() events must come first. The process ignores SIGPIPE.
 *
 * The hashes of the served leaf are those of the certificate that this very connection was shown; for a resumed session
 * they come out of the ticket, where the full handshake put them.
 */
#ifndef GH_TLS_STREAM_H
#define GH_TLS_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "tls/certs.h"

#define TLS_RECORD_MAX 16384 /* bytes of plaintext in one record */

struct tls_stream;

/* Keeps a reference to certs. where: the address that was dialled (its sni is not looked at). NULL when out of memory.
 */
struct tls_stream *tls_stream_new(struct tls_certs *certs, int fd, const struct tls_where *where);

/*
 * The same face without TLS, for a connection from a front that has ended it: reads and writes go to the socket as they
 * are, the handshake is done at once, tls_stream_version() is "none", and there are no leaf hashes (zeros). sni: what
 * the front said, copied; NULL: nothing.
 */
struct tls_stream *tls_stream_new_plain(int fd, const char *sni);
bool tls_stream_is_plain(const struct tls_stream *s);
int tls_stream_fd(const struct tls_stream *s); /* the socket */
void tls_stream_free(struct tls_stream *s);    /* sends nothing; NULL is fine */

/* 0 when done; ERR_AGAIN; ERR_CLOSED (gone away); ERR_PEER (tls_stream_error() says what). */
MUST_USE int tls_stream_handshake(struct tls_stream *s);

/* Events (NET_READ/NET_WRITE) that the last ERR_AGAIN waits for. */
int tls_stream_wants(const struct tls_stream *s);

/*
 * Reads up to cap bytes (one record at a time, whatever remains of it first). 0 with *n > 0; ERR_AGAIN; ERR_CLOSED at
 * close_notify or end of file; ERR_PEER. Never returns 0 with *n == 0.
 */
MUST_USE int tls_stream_read(struct tls_stream *s, void *buf, size_t cap, size_t *n);

/*
 * True when plaintext or undecrypted records are buffered inside, so that the socket may never become readable for
 * them.
 */
bool tls_stream_pending(const struct tls_stream *s);

/*
 * Writes up to len bytes; 0 with *n > 0 accepted (may be fewer than len); ERR_AGAIN: repeat with the same first bytes,
 * at least as many as before (another address is fine); ERR_CLOSED, ERR_PEER. Pieces of up to TLS_RECORD_MAX make one
 * record each; four of them, if there are as many, go to the socket together.
 */
MUST_USE int tls_stream_write(struct tls_stream *s, const void *buf, size_t len, size_t *n);

/*
 * Many records with one system call: begin, up to TLS_GATHER records (each of at most TLS_RECORD_MAX bytes of
 * plaintext, encrypted at once: buf is free again), end. Nothing else is done with any stream of this thread in
 * between, and none of this while tls_stream_unsent(). tls_stream_end(): 0; ERR_AGAIN: taken, but a part waits inside
 * until tls_stream_flush() when the socket is writable; ERR_CLOSED, ERR_PEER.
 */
#define TLS_GATHER 4
void tls_stream_begin(struct tls_stream *s);
MUST_USE int tls_stream_record(struct tls_stream *s, const void *buf, size_t len);
MUST_USE int tls_stream_end(struct tls_stream *s);
MUST_USE int tls_stream_flush(struct tls_stream *s);
bool tls_stream_unsent(const struct tls_stream *s);

/* Sends are held to the bound of the socket (net_tcp_hold()), or not. */
void tls_stream_held(struct tls_stream *s, bool held);

/* From now on much is read: larger reads from the socket, whose buffer is held only while something waits in it. */
void tls_stream_bulk(struct tls_stream *s);

/* Sends close_notify. 0 or ERR_AGAIN or an error; harmless to give up. */
MUST_USE int tls_stream_shutdown(struct tls_stream *s);

/* After the handshake. */
const char *tls_stream_sni(const struct tls_stream *s); /* NULL: none was sent */
bool tls_stream_h2(const struct tls_stream *s);         /* ALPN chose h2 */
bool tls_stream_resumed(const struct tls_stream *s);
const char *tls_stream_version(const struct tls_stream *s); /* "TLSv1.3" */
const char *tls_stream_cipher(const struct tls_stream *s);
void tls_stream_leaf_hashes(const struct tls_stream *s, uint8_t sha1[20], uint8_t sha256[32]);

/*
 * What went wrong, for the log: static or owned by the stream, never NULL, no secrets ("no shared cipher", "http
 * request").
 */
const char *tls_stream_error(const struct tls_stream *s);

#endif
