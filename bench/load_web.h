/* The load client's modes without a call: full TLS handshakes, and downloads over connections that are kept. */
#ifndef GH_BENCH_LOAD_WEB_H
#define GH_BENCH_LOAD_WEB_H

#include <netinet/in.h>
#include <stdbool.h>

#include <openssl/ssl.h>

struct web_cfg {
    struct sockaddr_in server;
    SSL_CTX *tls;
    char *sni;               /* NULL: none is sent; not const for OpenSSL's macro */
    const char *path;        /* what a download asks for */
    unsigned total, at_once; /* handshakes in all; connections at a time */
    unsigned ms;             /* how long a download goes on */
    bool json;
};

/*
 * Makes cfg->total connections, cfg->at_once at a time: TCP, a full handshake, close_notify, and the end of the stream
 * from the server, so that its share is done when a connection counts.
 */
int web_handshakes(const struct web_cfg *cfg);

/* GET over and over on cfg->at_once connections for cfg->ms; what is counted is bytes of answers, heads included. */
int web_download(const struct web_cfg *cfg);

#endif
