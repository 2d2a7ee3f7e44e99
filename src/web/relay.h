/*
 * The relay: a TLS client on one side, a web server on the other, bytes untouched between them.
 *
 * What was read before is sent first (after a PROXY header, where wanted). A half-close is carried through either way
 * (close_notify or FIN becomes FIN or close_notify). A slow side stops the reader of the other: at most RELAY_BUF bytes
 * wait in each direction; buffers are held only while bytes wait in them.
 */
#ifndef GH_WEB_RELAY_H
#define GH_WEB_RELAY_H

#include <stdint.h>
#include <sys/socket.h>

#include "http/proxy.h"
#include "net/loop.h"
#include "tls/stream.h"

#define RELAY_BUF 65536

enum relay_end {
    RELAY_DONE,          /* both sides closed in order               */
    RELAY_CLIENT_GONE,   /* the client reset or broke TLS            */
    RELAY_UPSTREAM_DOWN, /* connect failed or timed out: the client got a 502 page (h1) or a close (h2) */
    RELAY_UPSTREAM_GONE, /* the web server reset the connection      */
    RELAY_IDLE,          /* nothing moved for idle_ms                */
    RELAY_STOPPED,       /* relay_stop()                             */
    RELAY_NOMEM,
};

struct relay_result {
    enum relay_end end;
    int error;         /* errno where it has sense, else 0 */
    uint64_t up, down; /* bytes: from the client, to the client */
};

struct relay_params {
    const struct sockaddr *upstream; /* TCP or Unix; copied */
    socklen_t upstream_len;
    enum proxy_version proxy; /* header sent first */
    struct proxy_addr addr;   /* for it */
    const void *early;        /* bytes read already; copied */
    size_t early_len;
    bool h2; /* no 502 page */
    uint64_t idle_ms, connect_ms;
    void (*done)(void *arg,
                 const struct relay_result *r); /* once, from the loop or relay_stop(); the relay is gone by then */
    void *arg;
};

struct relay;

/* Takes over tls and client (the socket's net_fd, rebound to the relay): it frees both at the end. NULL: out of memory,
 * then both are freed too and done() is not called. */
struct relay *relay_start(struct net_loop *loop, struct tls_stream *tls, struct net_fd *client,
                          const struct relay_params *p);

/* Ends it at once; done() is called with RELAY_STOPPED. */
void relay_stop(struct relay *r);

const char *relay_end_name(enum relay_end end);

#endif
