/*
 * From a URL to a stream on which SSTP can begin: name, TCP, web proxy, TLS, and the answer 200 to the SSTP request
 * (MS-SSTP 3.2.4.1). Each step has its deadline. One dial at a time; the object is used again for the next.
 */
#ifndef GH_CLIENT_DIAL_H
#define GH_CLIENT_DIAL_H

#include "base/rand.h"
#include "client/causes.h"
#include "client/race.h"
#include "client/resolver.h"
#include "http/answer.h"
#include "http/authenticate.h"
#include "http/url.h"
#include "tls/client.h"

struct dial_cfg { /* borrowed, outlives the dial */
    struct http_url server;
    struct http_url proxy;         /* host empty: none */
    struct http_login proxy_login; /* user NULL: none */
    struct tls_client *tls;
    bool insecure; /* for the words alone */
};

enum dial_stage { DIAL_IDLE, DIAL_RESOLVE, DIAL_TCP, DIAL_PROXY, DIAL_TLS, DIAL_HTTP };

struct dial_ops {
    /* A step is done: "tcp", "198.51.100.1:443". text is printable. */
    void (*step)(void *arg, const char *step, const char *text, uint64_t ms);
    /* Over. NULL: good, take dial_take(). */
    void (*done)(void *arg, const struct client_end *why);
    void *arg;
};

struct dial_line { /* what a good dial leaves; the taker's */
    struct net_fd *nf;
    struct tls_stream *tls;
    union race_addr to;             /* TCP peer: the server or the proxy */
    uint8_t early[HTTP_ANSWER_MAX]; /* what came behind the 200, which should be nothing */
    size_t early_len;
};

struct dial {
    struct net_loop *loop;
    const struct dial_cfg *cfg;
    struct dial_ops ops;
    struct rng rng;
    struct net_fd *resolver; /* the channel to that process */
    uint32_t asked;          /* id of the latest question to it */
    enum dial_stage stage;
    struct race race;
    struct timer_entry timer; /* the stage's deadline */
    uint64_t begun_ms;        /* the stage */
    struct dial_line line;
    struct http_answer answer;
    uint8_t in[HTTP_ANSWER_MAX];
    size_t in_len;
    unsigned interim; /* answers of 1xx so far */
    char out[2048];   /* request; secret when it has a login */
    size_t out_len, out_done;
    union race_addr left[RACE_MAX]; /* addresses that this dial has not been let down by */
    size_t n_left;
    bool let_down; /* by an address: first says how */
    struct client_end first;
    unsigned logins;       /* to the proxy, in this dial */
    char proxy_auth[1024]; /* secret: value of Proxy-Authorization; empty: none yet */
    struct {               /* addresses that were good last time, for when DNS is gone */
        char host[RESOLVER_HOST_MAX + 1];
        union race_addr addr[RACE_MAX];
        size_t n;
    } known;
};

/* resolver_fd is owned from now on. */
MUST_USE int dial_init(struct dial *d, struct net_loop *loop, int resolver_fd, struct rng rng);
void dial_fini(struct dial *d);

void dial_start(struct dial *d, const struct dial_cfg *cfg, const struct dial_ops *ops);
void dial_cancel(struct dial *d); /* no call of ops comes any more; fine at any time */

/* After a good end, once: hands the line over (nf watches for nothing, and must be rebound). */
void dial_take(struct dial *d, struct dial_line *out);

#endif
