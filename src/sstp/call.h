/* What the call machines of both roles share: events, ends (MS-SSTP 3.1). */
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

#endif
