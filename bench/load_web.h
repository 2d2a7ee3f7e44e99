/* The load client's modes without a call: full TLS handshakes, and transfers over connections that are kept. */
#ifndef GH_BENCH_LOAD_WEB_H
#define GH_BENCH_LOAD_WEB_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include <openssl/ssl.h>

struct web_cfg {
    struct sockaddr_in server;
    SSL_CTX *tls;
    char *sni;               /* NULL: none is sent; not const for OpenSSL's macro */
    const char *path;        /* what a transfer asks for */
    uint64_t body;           /* bytes of a request's body; 0: it has none */
    unsigned total, at_once; /* handshakes in all; connections at a time */
    unsigned ms;             /* how long a transfer goes on */
    bool json;
};

/*
 * Makes cfg->total connections, cfg->at_once at a time: TCP, a full handshake, close_notify, and the end of the stream
 * from the server, so that its share is done when a connection counts.
 */
int web_handshakes(const struct web_cfg *cfg);

/*
 * Requests over and over on cfg->at_once connections for cfg->ms. Without a body it is GET, and bytes of answers count;
 * with one it is POST, and bytes of requests count as they are sent. Heads are counted, too.
 */
int web_transfer(const struct web_cfg *cfg);

#endif
