/* OpenSSL's own client on the other end of a tls_stream, over a socket pair. Needs cmocka.h before it. */
#ifndef GH_TESTS_TLSCLIENT_H
#define GH_TESTS_TLSCLIENT_H

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls/stream.h"

#pragma GCC diagnostic ignored "-Wcast-qual" /* in OpenSSL's own macros */

struct conn {
    SSL_CTX *ctx;
    SSL *c;
    struct tls_stream *s;
    int fd[2]; /* server, client */
    SSL_SESSION *got;
};

static inline int new_session(SSL *ssl, SSL_SESSION *sess)
{
    struct conn *k = SSL_get_app_data(ssl);
    SSL_SESSION_free(k->got);
    k->got = sess;
    return 1;
}

static inline void conn_open_at(struct conn *k, struct tls_certs *certs, const struct tls_where *where, int version,
                                const char *sni)
{
    *k = (struct conn){ 0 };
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, k->fd), 0);
    k->ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(k->ctx, version);
    SSL_CTX_set_max_proto_version(k->ctx, version);
    SSL_CTX_set_session_cache_mode(k->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(k->ctx, new_session);
    k->c = SSL_new(k->ctx);
    SSL_set_app_data(k->c, k);
    SSL_set_fd(k->c, k->fd[1]);
    SSL_set_connect_state(k->c);
    if (sni)
        SSL_set_tlsext_host_name(k->c, sni);
    k->s = tls_stream_new(certs, k->fd[0], where);
    assert_non_null(k->s);
}

static inline void conn_open(struct conn *k, struct tls_certs *certs, int version, const char *sni)
{
    conn_open_at(k, certs, &(struct tls_where){ 0 }, version, sni);
}

static inline void conn_close(struct conn *k)
{
    SSL_free(k->c);
    SSL_CTX_free(k->ctx);
    SSL_SESSION_free(k->got);
    tls_stream_free(k->s);
    close(k->fd[0]);
    close(k->fd[1]);
    ERR_clear_error();
}

/* Both sides in turn; the server's verdict. */
static inline int handshake(struct conn *k)
{
    int rc = ERR_AGAIN;
    for (int i = 0; i < 50; i++) {
        int c = SSL_do_handshake(k->c);
        ERR_clear_error();
        if (rc == ERR_AGAIN)
            rc = tls_stream_handshake(k->s);
        if (rc && rc != ERR_AGAIN)
            return rc;
        if (!rc && c == 1)
            return 0;
    }
    return rc;
}

/* One byte each way: brings the tickets of TLS 1.3 to the client. */
static inline void say_hello(struct conn *k)
{
    size_t n = 0;
    char c = 0;
    assert_int_equal(tls_stream_write(k->s, "s", 1, &n), 0);
    assert_int_equal(SSL_read(k->c, &c, 1), 1);
    assert_int_equal(SSL_write(k->c, "c", 1), 1);
    assert_int_equal(tls_stream_read(k->s, &c, 1, &n), 0);
    assert_int_equal(c, 'c');
}

#endif
