/*
 * What the call machines of both roles share (MS-SSTP 3.1): their events, how a call ends, the hello timer. The owner
 * of a call uses sstp/server.h or sstp/client.h; the functions here are for those two.
 */
#ifndef GH_SSTP_CALL_H
#define GH_SSTP_CALL_H

#include "base/evq.h"
#include "base/log.h"
#include "base/timerq.h"
#include "sstp/binding.h"
#include "sstp/msg.h"

enum sstp_event {
    SSTP_EV_SEND,      /* payload: one whole SSTP control packet to send                                        */
    SSTP_EV_PPP_START, /* no payload: start PPP (the ACK is sent, or was received)                              */
    SSTP_EV_UP,        /* no payload: CALL_CONNECTED was valid, or was sent: data may pass                      */
    SSTP_EV_ENDING,    /* payload struct sstp_ended: teardown began; PPP is down, no data passes from now on. Exactly
                          once in a call's life, before SSTP_EV_CLOSE                                           */
    SSTP_EV_CLOSE,     /* no payload: send what is queued, then close TLS and TCP; the machine is done           */
};

enum sstp_end_cause {
    SSTP_END_PEER_DISCONNECT, /* the other side hung up                          */
    SSTP_END_PEER_ABORT,      /* the other side aborted: its status is in status     */
    SSTP_END_OUR_DISCONNECT,  /* sstp_..._disconnect()                           */
    SSTP_END_ABORT,           /* we aborted: see attrib and status               */
    SSTP_END_BINDING,         /* we aborted: crypto binding failed, see binding  */
    SSTP_END_NEGOTIATION_TIMEOUT,
    SSTP_END_HELLO_TIMEOUT, /* nothing heard                                   */
    SSTP_END_REFUSED,       /* client: every CALL_CONNECT_REQUEST was answered by a NAK */
};

struct sstp_ended {
    uint8_t cause;              /* enum sstp_end_cause     */
    uint8_t attrib;             /* AttribID sent or received */
    uint8_t binding;            /* enum sstp_binding_fault */
    uint8_t state;              /* enum sstp_server_state or sstp_client_state in which it happened */
    uint32_t status;            /* enum sstp_status sent or received */
    uint8_t cert_hash_seen[32]; /* SSTP_BINDING_CERT: what the client sent, 20 or 32 bytes, rest zero */
    uint8_t hash_protocol;      /* SSTP_BINDING_*: what the client chose */
};

/* The states of figures 4 and 5: each role's own enum has these values, and names for the two that differ. */
enum sstp_state {
    SSTP_STATE_DISCONNECTED,
    SSTP_STATE_REQUEST,    /* CALL_CONNECT_REQUEST awaited, or sent               */
    SSTP_STATE_NEGOTIATES, /* the ACK is sent, or received: PPP authenticates     */
    SSTP_STATE_CONNECTED,
    SSTP_STATE_ABORT_PENDING,
    SSTP_STATE_ABORT_TIMEOUT_PENDING,
    SSTP_STATE_DISCONNECT_ACK_PENDING,
    SSTP_STATE_DISCONNECT_TIMEOUT_PENDING,
    SSTP_STATES
};
#define SSTP_CALL_STATES 3 /* REQUEST, NEGOTIATES, CONNECTED: those in which the roles differ */

struct sstp_call;
typedef int sstp_handler(struct sstp_call *c, const struct sstp_msg *m, uint64_t now_ms, struct evq *out);

/*
 * One role. The matrix has a row for each enum sstp_type, and row 0 for a message that sstp_msg_parse() refused; its
 * columns are the states of SSTP_CALL_STATES. The rest of the receive matrix is the same for both (3.2.5.3, 3.3.5.2).
 */
struct sstp_role {
    const char *names[SSTP_STATES]; /* the specification's */
    sstp_handler *matrix[SSTP_TYPES][SSTP_CALL_STATES];
    /* The negotiation timer expired in REQUEST or NEGOTIATES. */
    int (*overdue)(struct sstp_call *c, uint64_t now_ms, struct evq *out);
    void (*forget)(struct sstp_call *c); /* the end begins: secrets are of no more use; may be NULL */
};

struct sstp_call {  /* the first member of either machine */
    unsigned state; /* enum sstp_state */
    const struct sstp_role *role;
    const struct log_ctx *log; /* borrowed, for debug lines, may be NULL */
    uint64_t deadline_ms;
    uint32_t echo_idle_ms; /* silence after which ECHO_REQUEST is sent */
    uint32_t echo_wait_ms; /* silence after that until the call is dropped */
    bool echo_sent;
    bool ended; /* SSTP_EV_ENDING was given */
};

/* Every transition passes here: a state always comes with the timer that ends it. */
void sstp_call_set_state(struct sstp_call *c, const char *event, enum sstp_state next, uint64_t deadline_ms);

/* One whole control packet: sign of life, then the matrix. */
MUST_USE int sstp_call_control(struct sstp_call *c, struct rd pkt, uint64_t now_ms, struct evq *out);
MUST_USE int sstp_call_disconnect(struct sstp_call *c, uint64_t now_ms, struct evq *out);
MUST_USE int sstp_call_expire(struct sstp_call *c, uint64_t now_ms, struct evq *out);
uint64_t sstp_call_deadline(const struct sstp_call *c); /* ms, TIME_NEVER when none */

/* The ABORT procedure (3.1.5.1) with why.attrib and why.status. */
MUST_USE int sstp_call_abort(struct sstp_call *c, const char *event, struct sstp_ended why, uint64_t now_ms,
                             struct evq *out);
/* The same with a status about no attribute of ours. */
MUST_USE int sstp_call_abort_status(struct sstp_call *c, const char *event, enum sstp_end_cause cause,
                                    enum sstp_status status, uint64_t now_ms, struct evq *out);
/* The end without a word: events ENDING and CLOSE. */
void sstp_call_drop(struct sstp_call *c, const char *event, enum sstp_end_cause cause, struct evq *out);

void sstp_send_bare(struct evq *out, enum sstp_type type);

/* Cells of the matrices. */
sstp_handler sstp_on_invalid, sstp_on_unexpected, sstp_on_echo_request, sstp_on_echo_response, sstp_on_abort,
    sstp_on_disconnect;

/* Any packet restarts the hello timer (3.1.6.3). Inline because every data packet passes here. */
static inline void sstp_call_alive(struct sstp_call *c, uint64_t now_ms)
{
    if (c->state == SSTP_STATE_CONNECTED) {
        c->deadline_ms = now_ms + c->echo_idle_ms;
        c->echo_sent = false;
    }
}

/* The gate of 3.2.7, 3.3.7, both ways: PPP control once there is an ACK, network data when connected. */
static inline bool sstp_call_may_pass(const struct sstp_call *c, uint16_t ppp_protocol)
{
    if (c->state == SSTP_STATE_CONNECTED)
        return true;
    return c->state == SSTP_STATE_NEGOTIATES && ppp_protocol >= 0x8000;
}

#endif
