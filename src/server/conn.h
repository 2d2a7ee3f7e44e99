/*
 * A connection from accept until it is known what it is: PROXY header (intro.c), name for passthrough (intro.c), TLS
 * handshake, first request, verdict. Then a call, a relay or a splice has it.
 */
#ifndef GH_SERVER_CONN_H
#define GH_SERVER_CONN_H

#include "http/head.h"
#include "server/worker.h"
#include "tls/stream.h"
#include "web/relay.h"
#include "web/splice.h"

enum conn_state {
    CONN_PROXY,     /* waiting for a PROXY header                                */
    CONN_PEEK,      /* waiting for the name in the ClientHello                   */
    CONN_HANDSHAKE, /* TLS                                                       */
    CONN_HEAD,      /* reading the first request                                 */
    CONN_REPLY,     /* a short answer is on its way, then the end                */
    CONN_LINGER,    /* answered and shut down: waiting for the client to close   */
    CONN_RELAY,     /* the relay has the descriptor and the stream               */
    CONN_SPLICE,    /* TLS is another server's: the splice has the descriptor    */
    CONN_CALL,      /* an SSTP call                                              */
};

struct conn {
    LIST_ENTRY(conn) link;
    TAILQ_ENTRY(conn) queue_link;
    struct worker *w;
    struct generation *gen;
    struct log_ctx log;
    enum conn_state state;
    bool queued, asleep;    /* in the list of handshakes.h; and not watched */
    bool unauthenticated;   /* counted so in its source */
    bool web;               /* counted so */
    bool front;             /* from a front that ended TLS: plain HTTP or SSTP */
    bool shared_source;     /* a front's address, not a client's: no limit of its own */
    struct proxy_addr addr; /* the client's and ours */
    struct source *source;
    struct net_fd *nf;
    struct tls_stream *tls;
    struct timer_entry timer;
    uint64_t accepted_ms;
    size_t peeked;     /* bytes seen by the last look, when it was not enough */
    bool paused;       /* and the next one waits for the timer */
    uint8_t *head_buf; /* CONN_HEAD: HTTP_HEAD_MAX + 1 bytes */
    size_t head_len;
    struct http_head *head; /* CONN_HEAD */
    char *reply;            /* CONN_REPLY: malloc'ed */
    size_t reply_len, reply_off;
    struct relay *relay;
    struct splice *splice;
    const char *upstream; /* CONN_RELAY, CONN_SPLICE: its address, for the log; the generation's */
    struct call *call;
};

/* Takes the accepted socket over; refuses it cheaply when a limit is reached. front: from offload.listen. */
void conn_accept(struct worker *w, int fd, bool front);

/* For intro.c, which has conn_accept(): an entry for a socket, which it owns (NULL: closed); what it then becomes. */
struct conn *conn_new(struct worker *w, int fd);
void conn_timer(struct conn *c, uint64_t ms);
uint64_t conn_intro_end(const struct conn *c);                /* when TLS must be there */
void conn_begin_tls(struct conn *c);                          /* c may be gone */
void conn_begin_plain(struct conn *c, const char *authority); /* the server name that a front was asked for, or NULL */
void conn_begin_passthrough(struct conn *c, const struct config_pass *pass);

/*
 * Logs that the connection is refused, within limits. cause: a stable word (docs/events.md); text: more about this one,
 * or NULL.
 */
void conn_refuse(struct conn *c, const char *cause, const char *what, const char *text, const char *remedy);

/* The address that was dialled, for the log. */
void conn_local(const struct conn *c, char *out, size_t cap);

/* For handshakes.c: the next step to a call, and what it leads to; or there is no time for it. c may be gone. */
void conn_step(struct conn *c);
void conn_refuse_handshake(struct conn *c);
uint64_t conn_handshake_ms(const struct conn *c); /* limits.handshake-timeout */

/* The one place where a connection ends. */
void conn_free(struct conn *c);

/* Ends a connection that is neither a call nor a relay, or a relay, at once (stopping). */
void conn_stop(struct conn *c);

/* The connection is somebody's now: it no longer counts as unauthenticated. */
void conn_authenticated(struct conn *c);

#endif
