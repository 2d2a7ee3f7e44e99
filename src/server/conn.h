/*
 * A connection from accept until it is known what it is: TLS handshake, first request, verdict. Then a call or a relay
 * has it.
 */
#ifndef GH_SERVER_CONN_H
#define GH_SERVER_CONN_H

#include "http/head.h"
#include "server/worker.h"
#include "tls/stream.h"
#include "web/relay.h"

enum conn_state {
    CONN_HANDSHAKE, /* TLS                                                       */
    CONN_HEAD,      /* reading the first request                                 */
    CONN_REPLY,     /* a short answer is on its way, then the end                */
    CONN_LINGER,    /* answered and shut down: waiting for the client to close   */
    CONN_RELAY,     /* the relay has the descriptor and the stream               */
    CONN_CALL,      /* an SSTP call                                              */
};

struct conn {
    LIST_ENTRY(conn) link;
    struct worker *w;
    struct generation *gen;
    struct log_ctx log;
    enum conn_state state;
    bool unauthenticated;   /* counted so in its source */
    bool web;               /* counted so */
    struct proxy_addr addr; /* the client's and ours */
    struct source *source;
    struct net_fd *nf;
    struct tls_stream *tls;
    struct timer_entry timer;
    uint64_t accepted_ms;
    uint8_t *head_buf; /* CONN_HEAD: HTTP_HEAD_MAX + 1 bytes */
    size_t head_len;
    struct http_head *head; /* CONN_HEAD */
    char *reply;            /* CONN_REPLY: malloc'ed */
    size_t reply_len, reply_off;
    struct relay *relay;
    const char *upstream; /* CONN_RELAY: its address, for the log; the generation's */
    struct call *call;
};

/* Takes the accepted socket over; refuses it cheaply when a limit is reached. */
void conn_accept(struct worker *w, int fd);

/* The one place where a connection ends. */
void conn_free(struct conn *c);

/* Ends a connection that is neither a call nor a relay, or a relay, at once (stopping). */
void conn_stop(struct conn *c);

/* The connection is somebody's now: it no longer counts as unauthenticated. */
void conn_authenticated(struct conn *c);

#endif
