/* One TLS connection: see stream.h. */
#include "tls/stream.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "net/loop.h"
#include "tls/client.h"
#include "tls/internal.h"
#include "tls/verdict.h"
#include "tls/wire.h"

/*
 * Bytes read from the socket at once: three records of the largest size. OpenSSL holds them only while something waits
 * in them, and the whole of a stranger's connection stays below 64 KiB. The default of one record is kept until the
 * handshake is done.
 */
#define READ_BUF  (3 * (TLS_RECORD_MAX + 22) + 3)
#define READ_BULK (6 * (TLS_RECORD_MAX + 22) + 3)

struct tls_stream {
    SSL *ssl; /* NULL: plain */
    struct wire wire;
    size_t ahead;              /* bytes that are encrypted and not sent, so that the caller must offer them again */
    struct tls_certs *certs;   /* a server's; NULL: plain, or a client's */
    struct tls_where where;    /* a server's */
    struct tls_peer *peer;     /* a client's; NULL: a server's */
    char *sni;                 /* that of where, too; a client's is what it sent */
    const char *error, *blame; /* blame: the better word for what is about to happen */
    int wants;
    int broken; /* not 0: no more calls into OpenSSL, all ask for this */
    bool up;    /* the handshake is done */
    bool dry;   /* the last read found no whole record */
    const char *alpn;
    uint8_t leaf[TLS_LEAF_LEN];
};

static struct tls_stream *stream_new(int fd)
{
    struct tls_stream *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->wire.fd = fd;
    s->error = s->alpn = "";
    s->wants = NET_READ;
    return s;
}

/* Takes ssl over. NULL, and the stream is gone, when out of memory. */
static struct tls_stream *stream_start(struct tls_stream *s, SSL *ssl)
{
    s->ssl = ssl;
    BIO *bio = wire_bio(&s->wire);
    if (!s->ssl || !bio || SSL_set_app_data(s->ssl, s) != 1) {
        ERR_clear_error();
        BIO_free(bio);
        tls_stream_free(s);
        return NULL;
    }
    SSL_set_bio(s->ssl, bio, bio);
    return s;
}

struct tls_stream *tls_stream_new(struct tls_certs *certs, int fd, const struct tls_where *where)
{
    struct tls_stream *s = stream_new(fd);
    if (!s)
        return NULL;
    s->where = *where;
    s->where.sni = NULL;
    s->certs = tls_certs_ref(certs);
    s = stream_start(s, SSL_new(tls_certs_front(certs)));
    if (s)
        SSL_set_accept_state(s->ssl);
    return s;
}

struct tls_stream *tls_stream_new_client(struct tls_client *c, int fd, const char *host, bool sni)
{
    struct tls_stream *s = stream_new(fd);
    if (!s)
        return NULL;
    s->peer = tls_peer_new(c, host);
    s = stream_start(s, s->peer ? tls_peer_ssl(s->peer, sni) : NULL);
    const char *sent = s ? SSL_get_servername(s->ssl, TLSEXT_NAMETYPE_host_name) : NULL;
    if (sent && !(s->sni = strdup(sent))) {
        tls_stream_free(s);
        return NULL;
    }
    if (s)
        SSL_set_connect_state(s->ssl);
    return s;
}

struct tls_stream *tls_stream_new_plain(int fd, const char *sni)
{
    struct tls_stream *s = stream_new(fd);
    if (s && sni && !(s->sni = strdup(sni))) {
        tls_stream_free(s);
        return NULL;
    }
    return s;
}

bool tls_stream_is_plain(const struct tls_stream *s)
{
    return !s->ssl;
}

int tls_stream_fd(const struct tls_stream *s)
{
    return s->wire.fd;
}

void tls_stream_free(struct tls_stream *s)
{
    if (!s)
        return;
    SSL_free(s->ssl);
    wire_fini(&s->wire);
    tls_certs_unref(s->certs);
    tls_peer_free(s->peer);
    free(s->sni);
    free(s);
}

bool tls_stream_hello(SSL *ssl, const char *sni)
{
    struct tls_stream *s = SSL_get_app_data(ssl);
    free(s->sni); /* a second ClientHello after HelloRetryRequest */
    s->where.sni = s->sni = sni ? strdup(sni) : NULL;
    return !sni || s->sni;
}

const struct tls_certs *tls_stream_certs(SSL *ssl)
{
    struct tls_stream *s = SSL_get_app_data(ssl);
    return s->certs;
}

const struct tls_where *tls_stream_where(SSL *ssl)
{
    struct tls_stream *s = SSL_get_app_data(ssl);
    return &s->where;
}

struct tls_peer *tls_stream_peer(SSL *ssl)
{
    struct tls_stream *s = SSL_get_app_data(ssl);
    return s->peer;
}

void tls_stream_blame(SSL *ssl, const char *words)
{
    struct tls_stream *s = SSL_get_app_data(ssl);
    s->blame = words;
}

static int broken(struct tls_stream *s, int err, const char *words)
{
    s->error = words ? words : "protocol error";
    return s->broken = err;
}

/* Empties the error queue. TLS's own word is the useful one; before it may stand that of a cipher, after it that of a
 * caller. */
static const char *error_words(const struct tls_stream *s)
{
    unsigned long first = ERR_peek_error(), e;
    while ((e = ERR_get_error()) && ERR_GET_LIB(e) != ERR_LIB_SSL)
        ;
    ERR_clear_error();
    return s->blame ? s->blame : ERR_reason_error_string(e ? e : first);
}

/* What an OpenSSL call that returned rc <= 0 means. */
static int outcome(struct tls_stream *s, int rc)
{
    int saved = errno;
    switch (SSL_get_error(s->ssl, rc)) {
    case SSL_ERROR_WANT_READ: s->wants = NET_READ; return ERR_AGAIN;
    case SSL_ERROR_WANT_WRITE: s->wants = NET_WRITE; return ERR_AGAIN;
    case SSL_ERROR_ZERO_RETURN: return ERR_CLOSED;
    case SSL_ERROR_SYSCALL:
        ERR_clear_error();
        if (!saved)
            return broken(s, ERR_CLOSED, "closed");
        return broken(s, s->up ? ERR_PEER : ERR_CLOSED, strerrordesc_np(saved));
    default: return broken(s, ERR_PEER, error_words(s));
    }
}

/* ---- without TLS: the same outcomes from the socket itself ---- */

static int plain_outcome(struct tls_stream *s, ssize_t rc, int event)
{
    if (rc > 0)
        return 0;
    if (rc == 0)
        return ERR_CLOSED;
    if (errno != EAGAIN && errno != EINTR)
        return broken(s, ERR_PEER, strerrordesc_np(errno));
    s->wants = event;
    return ERR_AGAIN;
}

static int plain_read(struct tls_stream *s, void *buf, size_t cap, size_t *n)
{
    ssize_t rc = recv(s->wire.fd, buf, cap, 0);
    *n = rc > 0 ? (size_t)rc : 0;
    return plain_outcome(s, rc, NET_READ);
}

static int plain_write(struct tls_stream *s, const void *buf, size_t len, size_t *n)
{
    ssize_t rc = send(s->wire.fd, buf, len, MSG_NOSIGNAL);
    *n = rc > 0 ? (size_t)rc : 0;
    return plain_outcome(s, rc, NET_WRITE);
}

/* ---- the face ---- */

static const char *alpn_get(const SSL *ssl)
{
    static const char *const known[] = { "h2", "http/1.1" };
    const unsigned char *name;
    unsigned len;
    SSL_get0_alpn_selected(ssl, &name, &len);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (len == strlen(known[i]) && !memcmp(name, known[i], len))
            return known[i];
    return "";
}

/* Who is on the other side, once the handshake is done or broken. 0, or what to answer instead of err. */
static int peer_check(struct tls_stream *s, int err)
{
    const struct tls_judgement *j = tls_peer_judgement(s->peer);
    memcpy(s->leaf, j->sha1, 20);
    memcpy(s->leaf + 20, j->sha256, 32);
    if (tls_peer_accepted(s->peer, !err))
        return err;
    if (!err)
        (void)SSL_shutdown(s->ssl);
    ERR_clear_error();
    return broken(s, ERR_AUTH, j->verdict.text);
}

int tls_stream_handshake(struct tls_stream *s)
{
    if (s->broken)
        return s->broken;
    if (s->up || !s->ssl)
        return 0;
    ERR_clear_error();
    errno = 0;
    int rc = SSL_do_handshake(s->ssl), err = rc == 1 ? 0 : outcome(s, rc);
    if (err == ERR_AGAIN)
        return err;
    if (err == ERR_CLOSED && !s->broken)
        err = broken(s, ERR_CLOSED, "closed");
    if (s->peer)
        err = peer_check(s, err);
    else if (!err && !tls_leaf_get(s->ssl, s->leaf))
        err = broken(s, ERR_PEER, "the served certificate is not known");
    if (err)
        return err;
    s->alpn = alpn_get(s->ssl);
    SSL_set_default_read_buffer_len(s->ssl, READ_BUF);
    s->up = true;
    return 0;
}

int tls_stream_wants(const struct tls_stream *s)
{
    return s->wants;
}

int tls_stream_read(struct tls_stream *s, void *buf, size_t cap, size_t *n)
{
    if (s->broken)
        return s->broken;
    if (!s->ssl)
        return plain_read(s, buf, cap, n);
    ERR_clear_error();
    errno = 0;
    *n = 0;
    int rc = SSL_read_ex(s->ssl, buf, cap, n);
    s->dry = rc != 1;
    return rc == 1 ? 0 : outcome(s, rc);
}

bool tls_stream_pending(const struct tls_stream *s)
{
    /* OpenSSL counts the beginning of a record too, of which the rest must come from the socket. */
    return s->ssl && !s->broken && !s->dry && SSL_has_pending(s->ssl);
}

/* What is encrypted goes out; all of it, or the caller has to come again. */
static int encrypted_send(struct tls_stream *s, size_t *n)
{
    int err = wire_send(&s->wire);
    if (err == ERR_AGAIN)
        s->wants = NET_WRITE;
    else if (err)
        return broken(s, ERR_PEER, err == ERR_SYSTEM ? strerrordesc_np(errno) : "out of memory");
    *n = err ? 0 : s->ahead;
    s->ahead = err ? s->ahead : 0;
    return err;
}

int tls_stream_write(struct tls_stream *s, const void *buf, size_t len, size_t *n)
{
    if (s->broken)
        return s->broken;
    if (!s->ssl)
        return plain_write(s, buf, len, n);
    int err = encrypted_send(s, n);
    if (err || *n)
        return err;
    ERR_clear_error();
    errno = 0;
    wire_gather(&s->wire);
    while (!err && s->ahead < len && wire_room(&s->wire)) {
        size_t left = len - s->ahead, done = 0;
        int rc =
            SSL_write_ex(s->ssl, (const uint8_t *)buf + s->ahead, left < TLS_RECORD_MAX ? left : TLS_RECORD_MAX, &done);
        err = rc == 1 ? 0 : outcome(s, rc);
        s->ahead += done;
    }
    int sent = encrypted_send(s, n);
    return sent ? sent : *n ? 0 : err;
}

void tls_stream_begin(struct tls_stream *s)
{
    wire_gather(&s->wire);
}

int tls_stream_record(struct tls_stream *s, const void *buf, size_t len)
{
    size_t done = 0;
    if (s->broken)
        return s->broken;
    if (!s->ssl) {
        wire_put(&s->wire, buf, len);
        return 0;
    }
    ERR_clear_error();
    errno = 0;
    int err = 0;
    /* Several to a peer that takes small ones only (RFC 6066 4). */
    for (size_t off = 0; !err && off < len; off += done) {
        int rc = SSL_write_ex(s->ssl, (const uint8_t *)buf + off, len - off, &done);
        err = rc == 1 ? 0 : outcome(s, rc);
    }
    return err == ERR_AGAIN ? broken(s, ERR_PEER, "it wants another handshake") : err;
}

int tls_stream_end(struct tls_stream *s)
{
    size_t n;
    if (!s->broken)
        return encrypted_send(s, &n);
    s->wire.gathering = false; /* what was gathered is no whole stream any more */
    return s->broken;
}

int tls_stream_flush(struct tls_stream *s)
{
    size_t n;
    return s->broken ? s->broken : encrypted_send(s, &n);
}

bool tls_stream_unsent(const struct tls_stream *s)
{
    return wire_unsent(&s->wire);
}

void tls_stream_held(struct tls_stream *s, bool held)
{
    s->wire.apart = held;
}

void tls_stream_bulk(struct tls_stream *s)
{
    if (s->ssl)
        SSL_set_default_read_buffer_len(s->ssl, READ_BULK);
}

int tls_stream_shutdown(struct tls_stream *s)
{
    if (!s->broken && !s->ssl)
        return shutdown(s->wire.fd, SHUT_WR) ? ERR_CLOSED : 0; /* the one way to say it */
    if (s->broken || !s->up)
        return ERR_CLOSED;
    ERR_clear_error();
    errno = 0;
    int rc = SSL_shutdown(s->ssl);
    return rc >= 0 ? 0 : outcome(s, rc);
}

const char *tls_stream_sni(const struct tls_stream *s)
{
    return s->sni;
}

bool tls_stream_h2(const struct tls_stream *s)
{
    return !strcmp(s->alpn, "h2");
}

bool tls_stream_resumed(const struct tls_stream *s)
{
    return s->ssl && SSL_session_reused(s->ssl);
}

const char *tls_stream_version(const struct tls_stream *s)
{
    return s->ssl ? SSL_get_version(s->ssl) : "none";
}

const char *tls_stream_cipher(const struct tls_stream *s)
{
    return s->ssl ? SSL_get_cipher_name(s->ssl) : "none";
}

void tls_stream_leaf_hashes(const struct tls_stream *s, uint8_t sha1[20], uint8_t sha256[32])
{
    memcpy(sha1, s->leaf, 20);
    memcpy(sha256, s->leaf + 20, 32);
}

void tls_stream_verdict(const struct tls_stream *s, struct tls_verdict *out)
{
    if (s->peer)
        *out = tls_peer_judgement(s->peer)->verdict;
    else
        memset(out, 0, sizeof *out);
}

bool tls_stream_peer_cert(const struct tls_stream *s, unsigned i, struct tls_peer_cert *out)
{
    STACK_OF(X509) *sent = s->peer ? tls_peer_judgement(s->peer)->sent : NULL;
    return i < (unsigned)(sent ? sk_X509_num(sent) : 0) && tls_cert_describe(sk_X509_value(sent, (int)i), out);
}

const char *tls_stream_alpn(const struct tls_stream *s)
{
    return s->alpn;
}

const char *tls_stream_error(const struct tls_stream *s)
{
    return s->error;
}
