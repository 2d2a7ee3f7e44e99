/*
 * An SSTP call: the SSTP machine, the PPP link and the packets of one client. call.c is the control side, data.c the
 * hot path.
 */
#ifndef GH_SERVER_CALL_H
#define GH_SERVER_CALL_H

#include "ppp/link.h"
#include "server/conn.h"
#include "server/turn.h"
#include "server/worker.h"
#include "sstp/server.h"
#include "tunnel/shaper.h"

struct call_counts {
    uint64_t rx_packets, rx_bytes; /* those to the client are the stream's */
    uint64_t drop_source;          /* from the client: not its address, or not an IP packet */
    uint64_t drop_gate;            /* data before the call was up */
    uint64_t drop_mtu;             /* to the client: larger than its MRU */
    uint64_t drop_odd;             /* to the client: a packet whose headers lie */
};

struct call {
    struct conn *c;
    TAILQ_ENTRY(call) active_link, again_link;
    bool active;     /* on a list of the worker: it has packets for the client, and the socket takes them */
    bool fresh;      /* which list: nothing waited for it before */
    bool again;      /* on the list of those with input left over */
    bool blocked;    /* the socket is full */
    bool paced;      /* the client's rate is used up until stream.resume_us */
    bool tls_writes; /* TLS has an answer of its own to send before it goes on reading */
    bool up;         /* SSTP connected and IPv4 or IPv6 open: logged as up */
    bool sstp_up, ip4_up, ip6_up;
    bool closing; /* SSTP machine is done: flush, then close */
    bool ended;   /* SSTP_EV_ENDING was seen */
    bool broken;  /* TLS or TCP is gone, or a cap was hit: free at the next safe point */
    bool hangup;  /* we are ending it */
    bool ppp_down;
    bool logged;  /* the end is in the log */
    bool told;    /* a line of its own said already why it cannot come up */
    uint32_t ip4; /* host order, 0: none yet */
    uint8_t iid[8];
    struct sstp_cert_hashes leaf; /* that this connection was served */
    struct sstp_server sstp;
    struct ppp_link *ppp;
    uint64_t hangup_at;  /* when to go on from PPP to SSTP disconnect */
    uint64_t close_at;   /* when to give up flushing */
    struct turn turn;    /* of those that have something to send */
    uint64_t read_at_ms; /* when we read on from who sends far more than the user's rate; 0: now */
    uint64_t started_ms, up_ms;
    uint64_t up_bps, down_bps;   /* the user's rates, bits a second; 0: none */
    struct rates *rates;         /* NULL without */
    struct tunnel_shaper shaper; /* of what the client sends */
    struct bucket read_bucket;   /* what is read of it, whatever goes on */
    struct bucket_tap read_tap;
    struct tunnel_stream stream;
    struct call_counts n;
    char end_cause[32];
    char end_text[96];
};

/*
 * Sends nothing yet: the owner has queued the HTTP answer. early: bytes that came with the request. Owns c from now on.
 */
void call_start(struct conn *c, const void *answer, size_t answer_len, struct rd early);

/* The socket is ready. */
void call_io(struct call *k, int events);

/*
 * Ends in order: LCP Terminate-Request with the reason, then CALL_DISCONNECT. From outside of the call's own events
 * call_settle() must follow.
 */
void call_hangup(struct call *k, const char *cause, const char *reason);

/* Frees everything of the call (not the connection). Logs the end if that was not done. */
void call_free(struct call *k);

/* control side, for data.c */
void call_break(struct call *k, const char *cause, const char *text); /* the first cause is the one that is logged */
void call_control_packet(struct call *k, struct rd whole);
void call_ppp_frame(struct call *k, struct rd frame);
void call_settle(struct call *k); /* after any work on it: output, deadlines, its end; k may be gone afterwards */

/* data.c */
void call_up_begins(struct call *k);                             /* the user's rate up, from now on */
void call_receive(struct call *k);                               /* socket -> TUN */
void call_again(struct call *k);                                 /* the same in its turn */
void call_early(struct call *k, struct rd early);                /* bytes that came with the HTTP request */
void call_queue(struct call *k, const void *packet, size_t len); /* control, or the HTTP answer; ends who is deaf */
void call_flush(struct call *k);                                 /* control packets, and what TLS has left */
void call_watch(struct call *k);                                 /* for what its state says */
void call_resume(struct call *k, uint64_t now_ms);               /* what a rate stopped and is due */
uint64_t call_resume_at(const struct call *k);                   /* when that is */
void call_off_lists(struct call *k);

void data_from_inbox(struct worker *w, struct pktbuf_list *list); /* packets handed over -> queues of calls */
void data_turn(struct worker *w); /* TUN -> queues of calls -> sockets, and input left over */

#endif
