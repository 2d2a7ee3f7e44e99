/*
 * An SSTP call from the client's side: the SSTP machine, the PPP link and the packets, over a TLS stream whose HTTP
 * request was answered with 200. Knows no event loop: the owner calls client_call_io() when the stream's socket is
 * ready, client_call_expire() at client_call_deadline(), client_call_from_tun() when the interface has packets,
 * client_call_turn() after each round of these while client_call_turns(), and then looks at client_call_wants() and
 * client_call_over().
 */
#ifndef GH_CLIENT_CALL_H
#define GH_CLIENT_CALL_H

#include "client/causes.h"
#include "ppp/peer.h"
#include "sstp/client.h"
#include "tls/stream.h"
#include "tun/queue.h"
#include "tunnel/stream.h"

struct client_call_cfg { /* borrowed, outlives the call */
    struct sstp_client_cfg sstp;
    struct ppp_peer_cfg ppp;
    const struct ppp_secret *secret; /* NULL: a survey, see ppp_peer_cfg */
    struct rng rng;
};

struct client_call_ops {
    void (*step)(void *arg, const char *step, const char *text); /* done: "sstp", "lcp", "login", "binding" */
    void (*up)(void *arg);   /* data passes and IPv4 or IPv6 is up; again when one of them changes: see ip4, ip6 */
    void (*down)(void *arg); /* no data passes any more; once, if up() came */
    void *arg;
};

struct client_call_counts {
    uint64_t rx_packets, rx_bytes; /* those to the server are the stream's */
    uint64_t drop_gate;            /* before the call was up, or of a family that is not */
    uint64_t drop_odd;             /* no IP packets */
    uint64_t drop_mtu;             /* larger than the server takes */
    uint64_t drop_memory;          /* no memory at all */
};

struct client_call {
    const struct client_call_cfg *cfg;
    struct client_call_ops ops;
    struct tls_stream *tls; /* borrowed */
    struct tunnel_stream stream;
    struct tun_queue *tun;  /* where packets go; NULL: nowhere, they are counted */
    struct pktbuf *tun_buf; /* what is read next; NULL: none yet */
    struct join join;
    struct sstp_cert_hashes leaf;
    struct sstp_client sstp;
    struct ppp_peer *ppp;
    struct evq ev_sstp, ev_ppp;
    uint8_t *ev_mem; /* of both queues */
    bool sstp_up, ip4_up, ip6_up, up, ended, closing, broken, hangup, blocked, more;
    bool tls_writes; /* TLS has an answer of its own to send before it goes on reading */
    bool told_lcp, heard, heard_data;
    uint64_t hangup_at, close_at, now_ms;
    uint64_t cc_ms;          /* when CALL_CONNECTED went out */
    uint64_t alone_at;       /* IPv6 came up and IPv4 did not: when it is up with IPv6 alone; 0: does not apply */
    struct ppp_peer_ip4 ip4; /* valid while ip4_up */
    struct ppp_peer_ip6 ip6;
    struct client_call_counts n;
    bool end_known;
    struct client_end end;
};

/* Begins with CALL_CONNECT_REQUEST. bufs: shared by all streams of the thread. early: what came behind the 200. */
MUST_USE int client_call_start(struct client_call *k, const struct client_call_cfg *cfg,
                               const struct client_call_ops *ops, struct tls_stream *tls, struct tunnel_bufs *bufs,
                               struct rd early, uint64_t now_ms);
void client_call_fini(struct client_call *k); /* wipes; fine on a zeroed one */

void client_call_io(struct client_call *k, int events, uint64_t now_ms);
void client_call_tun(struct client_call *k, struct tun_queue *tun); /* borrowed: from now on packets pass */
void client_call_from_tun(struct client_call *k, uint64_t now_us);  /* HOT PATH; monotonic, as now_ms */
void client_call_turn(struct client_call *k, uint64_t now_us);      /* sends what waits; input left over */
bool client_call_turns(const struct client_call *k);                /* it has work without any event */
uint64_t client_call_deadline(const struct client_call *k);
void client_call_expire(struct client_call *k, uint64_t now_ms);

/* Events (NET_READ, NET_WRITE) that the socket is to be watched for. */
int client_call_wants(const struct client_call *k);

/* In order: LCP Terminate, then CALL_DISCONNECT, then it is over within some seconds. */
void client_call_hangup(struct client_call *k, enum client_cause cause, const char *text, uint64_t now_ms);
/* The network changed: ask whether the server is still there, and give up unless it speaks within wait_ms. */
void client_call_doubt(struct client_call *k, uint32_t wait_ms, uint64_t now_ms);

/* True when it is over; *why then says how it ended. */
MUST_USE bool client_call_over(const struct client_call *k, struct client_end *why);

const char *client_method_name(enum ppp_auth_method m); /* "mschapv2" */

#endif
