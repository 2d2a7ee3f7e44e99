/* One TLS connection: see stream.h. */
#include "tls/stream.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "net/loop.h"
#include "tls/internal.h"
#include "tls/wire.h"

/*
 * Bytes read from the socket at once: three records of the largest size. OpenSSL holds them only while something waits
 * in them, and the whole of a stranger's connection stays below 64 KiB. The default of one record is kept until the
 * handshake is done.
 */
#define READ_BUF (3 * (TLS_RECORD_MAX + 22) + 3)

struct tls_stream {
    SSL *ssl; /* NULL: plain */
    struct wire wire;
    size_t ahead;            /* bytes that are encrypted and not sent, so that the caller must offer them again */
    struct tls_certs *certs; /* NULL: plain */
    struct tls_where where;
    char *sni;                 /* that of where, too */
    const char *error, *blame; /* blame: the better word for what is about to happen */
    int wants;
    int broken; /* not 0: no more calls into OpenSSL, all ask for this */
    bool up;    /* the handshake is done */
    bool dry;   /* the last read found no whole record */
    bool h2;
    uint8_t leaf[TLS_LEAF_LEN];
};

static struct tls_stream *stream_new(int fd)
{
    struct tls_stream *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->wire.fd = fd;
    s->error = "";
    s->wants = NET_READ;
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
    s->ssl = SSL_new(tls_certs_front(certs));
    BIO *bio = wire_bio(&s->wire);
    if (!s->ssl || !bio || SSL_set_app_data(s->ssl, s) != 1) {
        ERR_clear_error();
        BIO_free(bio);
        tls_stream_free(s);
        return NULL;
    }
    SSL_set_bio(s->ssl, bio, bio);
    SSL_set_accept_state(s->ssl);
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

void tls_stream_free(struct tls_stream *s)
{
    if (!s)
        return;
    SSL_free(s->ssl);
    wire_fini(&s->wire);
    tls_certs_unref(s->certs);
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

int tls_stream_handshake(struct tls_stream *s)
{
    if (s->broken)
        return s->broken;
    if (s->up || !s->ssl)
        return 0;
    ERR_clear_error();
    errno = 0;
    int rc = SSL_do_handshake(s->ssl);
    if (rc != 1) {
        int err = outcome(s, rc);
        if (err == ERR_CLOSED && !s->broken)
            return broken(s, ERR_CLOSED, "closed");
        return err;
    }
    if (!tls_leaf_get(s->ssl, s->leaf))
        return broken(s, ERR_PEER, "the served certificate is not known");
    const unsigned char *alpn;
    unsigned alpn_len;
    SSL_get0_alpn_selected(s->ssl, &alpn, &alpn_len);
    s->h2 = alpn_len == 2 && !memcmp(alpn, "h2", 2);
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
    return s->h2;
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

const char *tls_stream_error(const struct tls_stream *s)
{
    return s->error;
}
