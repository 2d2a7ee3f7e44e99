/*
 * The server's call machine (MS-SSTP 3.3; figure 5), without I/O: bytes and time go in, events come out.
 *
 * The owner answers the HTTP request with 200, calls sstp_server_init(), then passes every packet of the stream in
 * order: control packets to sstp_server_control(), data packets after sstp_server_alive() through the gate
 * sstp_server_may_pass(). It calls sstp_server_expire() when sstp_server_deadline() has come, and drains the queue of
 * events after each call. Machine errors are ERR_NOMEM/ERR_BUG/ERR_SYSTEM only; a peer's fault is an ABORT, an event.
 */
#ifndef GH_SSTP_SERVER_H
#define GH_SSTP_SERVER_H

#include "base/evq.h"
#include "base/log.h"
#include "base/rand.h"
#include "base/rd.h"
#include "sstp/call.h"

enum sstp_server_state {
    /* before init, and after the end */
    SSTP_SERVER_CALL_DISCONNECTED = SSTP_STATE_DISCONNECTED,
    /* 200 sent, waiting for CALL_CONNECT_REQUEST */
    SSTP_SERVER_CONNECT_REQUEST_PENDING = SSTP_STATE_REQUEST,
    /* ACK sent; PPP authenticates; waiting for CALL_CONNECTED */
    SSTP_SERVER_CALL_CONNECTED_PENDING = SSTP_STATE_NEGOTIATES,
    /* crypto binding checked: data passes */
    SSTP_SERVER_CALL_CONNECTED = SSTP_STATE_CONNECTED,
    /* ABORT sent first, waiting for the peer's */
    SSTP_SERVER_CALL_ABORT_PENDING = SSTP_STATE_ABORT_PENDING,
    /* ABORTs crossed, waiting for the close */
    SSTP_SERVER_CALL_ABORT_TIMEOUT_PENDING = SSTP_STATE_ABORT_TIMEOUT_PENDING,
    /* DISCONNECT sent */
    SSTP_SERVER_CALL_DISCONNECT_ACK_PENDING = SSTP_STATE_DISCONNECT_ACK_PENDING,
    /* DISCONNECT_ACK sent, waiting for the close */
    SSTP_SERVER_CALL_DISCONNECT_TIMEOUT_PENDING = SSTP_STATE_DISCONNECT_TIMEOUT_PENDING,
};

struct sstp_server_cfg {
    uint8_t hash_mask;       /* SSTP_HASH_SHA1 | SSTP_HASH_SHA256 offered */
    uint32_t negotiation_ms; /* 60 000                                    */
    uint32_t echo_idle_ms;   /* silence after which ECHO_REQUEST is sent  */
    uint32_t echo_wait_ms;   /* silence after that until the call is dropped */
    uint8_t naks_max;        /* 3                                         */
};
extern const struct sstp_server_cfg sstp_server_cfg_default; /* both hashes, 60 s, 25 s, 60 s, 3 */

struct sstp_server {
    struct sstp_call call; /* its state is an enum sstp_server_state; the owner may set its log after init */
    const struct sstp_server_cfg *cfg; /* borrowed */
    const struct sstp_cert_hashes
        *certs; /* borrowed; the owner may exchange the list between calls of functions here */
    size_t n_certs;
    uint8_t offered; /* hashes offered in the ACK */
    uint8_t nonce[SSTP_NONCE_LEN];
    uint8_t hlak[SSTP_HLAK_LEN]; /* secret; wiped when used and at fini */
    uint8_t *held_cc;            /* SSTP_CC_LEN bytes, owned, only while CC waits for authentication */
    uint8_t naks;
    bool authenticated;
    struct rng rng;
};

/*
 * State Connect_Request_Pending, negotiation timer running. certs: the leaf that this connection was served; or, when a
 * front ended TLS, all that it may have served. Borrowed. A hash that is not known of each of them is not offered.
 */
void sstp_server_init(struct sstp_server *s, const struct sstp_server_cfg *cfg, const struct sstp_cert_hashes *certs,
                      size_t n_certs, struct rng rng, uint64_t now_ms);
/* Wipes and frees what the machine holds; fine on a zeroed one. */
void sstp_server_fini(struct sstp_server *s);

/* One whole control packet as received (MS-SSTP 3.3.5.2). It counts as life without sstp_server_alive(). */
MUST_USE int sstp_server_control(struct sstp_server *s, struct rd pkt, uint64_t now_ms, struct evq *out);

/* A packet of any kind arrived: the peer lives (3.1.6.3). Cheap; call it once a batch. */
static inline void sstp_server_alive(struct sstp_server *s, uint64_t now_ms)
{
    sstp_call_alive(&s->call, now_ms);
}

/* Whether a PPP frame with this protocol number may pass now, either way (MS-SSTP 3.3.7). */
static inline bool sstp_server_may_pass(const struct sstp_server *s, uint16_t ppp_protocol)
{
    return sstp_call_may_pass(&s->call, ppp_protocol);
}

/*
 * PPP authentication ended well. hlak: 32 bytes (zeros for PAP, CHAP-MD5), copied. A CALL_CONNECTED that was held is
 * checked now. Once only; later calls are ignored.
 */
MUST_USE int sstp_server_authenticated(struct sstp_server *s, const uint8_t hlak[SSTP_HLAK_LEN], uint64_t now_ms,
                                       struct evq *out);

/* Hang up in order: DISCONNECT, wait for its ACK. Ignored when an end is under way already. */
MUST_USE int sstp_server_disconnect(struct sstp_server *s, uint64_t now_ms, struct evq *out);

uint64_t sstp_server_deadline(const struct sstp_server *s); /* ms, TIME_NEVER when none */
MUST_USE int sstp_server_expire(struct sstp_server *s, uint64_t now_ms, struct evq *out);

const char *sstp_server_state_name(unsigned state); /* the specification's name; never NULL */

#endif
