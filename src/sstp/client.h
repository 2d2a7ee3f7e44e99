/*
 * The client's call machine (MS-SSTP 3.2; figure 4), without I/O: bytes and time go in, events come out. The other role
 * of sstp/server.h, with the same face, events and ends (sstp/call.h).
 *
 * The owner has sent the HTTP request and read the 200; then calls sstp_client_init(), sstp_client_start(), and passes
 * every packet of the stream in order: control packets to sstp_client_control(), data packets after
 * sstp_client_alive() through the gate sstp_client_may_pass(). It calls sstp_client_authenticated() as soon as the
 * server has proved itself, and drains the queue of events after each call. Machine errors are
 * ERR_NOMEM/ERR_BUG/ERR_SYSTEM only; a peer's fault is an ABORT, an event.
 */
#ifndef GH_SSTP_CLIENT_H
#define GH_SSTP_CLIENT_H

#include "sstp/call.h"

enum sstp_client_state {
    /* before start, and after the end */
    SSTP_CLIENT_CALL_DISCONNECTED = SSTP_STATE_DISCONNECTED,
    /* CALL_CONNECT_REQUEST sent, waiting for ACK or NAK */
    SSTP_CLIENT_CONNECT_REQUEST_SENT = SSTP_STATE_REQUEST,
    /* PPP authenticates */
    SSTP_CLIENT_CONNECT_ACK_RECEIVED = SSTP_STATE_NEGOTIATES,
    /* CALL_CONNECTED sent: data passes */
    SSTP_CLIENT_CALL_CONNECTED = SSTP_STATE_CONNECTED,
    /* ABORT sent first, waiting for the peer's */
    SSTP_CLIENT_CALL_ABORT_PENDING = SSTP_STATE_ABORT_PENDING,
    /* ABORTs crossed, waiting for the close */
    SSTP_CLIENT_CALL_ABORT_TIMEOUT_PENDING = SSTP_STATE_ABORT_TIMEOUT_PENDING,
    /* DISCONNECT sent */
    SSTP_CLIENT_CALL_DISCONNECT_ACK_PENDING = SSTP_STATE_DISCONNECT_ACK_PENDING,
    /* DISCONNECT_ACK sent, waiting for the close */
    SSTP_CLIENT_CALL_DISCONNECT_TIMEOUT_PENDING = SSTP_STATE_DISCONNECT_TIMEOUT_PENDING,
};

struct sstp_client_cfg {
    uint8_t hash_mask;       /* SSTP_HASH_*: what we can do; both: SHA-256 is taken where the server offers it */
    uint32_t negotiation_ms; /* 60 000 */
    uint32_t echo_idle_ms;   /* silence after which ECHO_REQUEST is sent */
    uint32_t echo_wait_ms;   /* silence after that until the call is dropped */
    uint8_t retries_max;     /* CALL_CONNECT_REQUESTs after a NAK: 3 */
};
extern const struct sstp_client_cfg sstp_client_cfg_default; /* both hashes, 60 s, 20 s, 20 s, 3 */

struct sstp_client {
    struct sstp_call call; /* its state is an enum sstp_client_state; the owner may set its log after init */
    const struct sstp_client_cfg *cfg;   /* borrowed */
    const struct sstp_cert_hashes *leaf; /* borrowed: of the leaf that TLS was shown; both hashes known */
    uint8_t naks;
    uint8_t offered; /* hash bitmask of the ACK; 0 before it */
    uint8_t hash;    /* chosen */
    uint8_t nonce[SSTP_NONCE_LEN];
    struct sstp_status_info nak; /* of the latest NAK, zero when it had none; its value not kept (empty) */
};

void sstp_client_init(struct sstp_client *s, const struct sstp_client_cfg *cfg, const struct sstp_cert_hashes *leaf);
void sstp_client_fini(struct sstp_client *s); /* wipes */

/* HTTPS is up: CALL_CONNECT_REQUEST. Once only. */
MUST_USE int sstp_client_start(struct sstp_client *s, uint64_t now_ms, struct evq *out);

/* One whole control packet, header included. */
MUST_USE int sstp_client_control(struct sstp_client *s, struct rd pkt, uint64_t now_ms, struct evq *out);

/*
 * Authentication is complete on both sides: sends CALL_CONNECTED, and SSTP_EV_UP. hlak: zeros for PAP, CHAP-MD5; not
 * kept. A no-op unless the ACK is there and nothing came of it yet.
 */
MUST_USE int sstp_client_authenticated(struct sstp_client *s, const uint8_t hlak[SSTP_HLAK_LEN], uint64_t now_ms,
                                       struct evq *out);

/* The user or PPP wants the end: DISCONNECT. A no-op before the start and when the end has begun. */
MUST_USE int sstp_client_disconnect(struct sstp_client *s, uint64_t now_ms, struct evq *out);

/*
 * The network changed or the machine slept: ECHO_REQUEST at once, and the call is dropped unless any packet comes
 * within wait_ms. A no-op unless connected. Doubts that follow each other do not add up: the earliest end counts.
 */
MUST_USE int sstp_client_doubt(struct sstp_client *s, uint32_t wait_ms, uint64_t now_ms, struct evq *out);

uint64_t sstp_client_deadline(const struct sstp_client *s);
MUST_USE int sstp_client_expire(struct sstp_client *s, uint64_t now_ms, struct evq *out);

/* Any packet is a sign of life. Cheap: every data packet passes here. */
static inline void sstp_client_alive(struct sstp_client *s, uint64_t now_ms)
{
    sstp_call_alive(&s->call, now_ms);
}

/* The gate of MS-SSTP 3.2.7, both ways: PPP control once the ACK is there, network data when connected. */
static inline bool sstp_client_may_pass(const struct sstp_client *s, uint16_t ppp_protocol)
{
    return sstp_call_may_pass(&s->call, ppp_protocol);
}

const char *sstp_client_state_name(unsigned state); /* the specification's name; never NULL */

#endif
