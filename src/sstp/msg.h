/*
 * SSTP packets: codec (MS-SSTP 2.2). Integers in host order, reserved bits sent zero and ignored on receipt.
 */
#ifndef GH_SSTP_MSG_H
#define GH_SSTP_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rd.h"
#include "base/wr.h"

#define SSTP_VERSION 0x10
#define SSTP_HDR_LEN 4
#define SSTP_PKT_MAX 4095
#define SSTP_PAYLOAD_MAX (SSTP_PKT_MAX - SSTP_HDR_LEN)
#define SSTP_CTL_HDR_LEN 8
#define SSTP_NONCE_LEN 32
#define SSTP_HLAK_LEN 32
#define SSTP_CC_LEN 112          /* CALL_CONNECTED, header included */
#define SSTP_ATTR_VALUE_MAX 64   /* bytes of a refused value repeated in a NAK */

enum sstp_type {
    SSTP_CALL_CONNECT_REQUEST = 1,
    SSTP_CALL_CONNECT_ACK = 2,
    SSTP_CALL_CONNECT_NAK = 3,
    SSTP_CALL_CONNECTED = 4,
    SSTP_CALL_ABORT = 5,
    SSTP_CALL_DISCONNECT = 6,
    SSTP_CALL_DISCONNECT_ACK = 7,
    SSTP_ECHO_REQUEST = 8,
    SSTP_ECHO_RESPONSE = 9,
};

enum sstp_attr_id {
    SSTP_ATTR_NO_ERROR = 0,
    SSTP_ATTR_ENCAPSULATED_PROTOCOL_ID = 1,
    SSTP_ATTR_STATUS_INFO = 2,
    SSTP_ATTR_CRYPTO_BINDING = 3,
    SSTP_ATTR_CRYPTO_BINDING_REQ = 4,
};

enum sstp_status { /* MS-SSTP 2.2.8 */
    SSTP_STATUS_NO_ERROR = 0,
    SSTP_STATUS_DUPLICATE_ATTRIBUTE = 1,
    SSTP_STATUS_UNRECOGNIZED_ATTRIBUTE = 2,
    SSTP_STATUS_INVALID_ATTRIB_VALUE_LENGTH = 3,
    SSTP_STATUS_VALUE_NOT_SUPPORTED = 4,
    SSTP_STATUS_UNACCEPTED_FRAME_RECEIVED = 5,
    SSTP_STATUS_RETRY_COUNT_EXCEEDED = 6,
    SSTP_STATUS_INVALID_FRAME_RECEIVED = 7,
    SSTP_STATUS_NEGOTIATION_TIMEOUT = 8,
    SSTP_STATUS_ATTRIB_NOT_SUPPORTED_IN_MSG = 9,
    SSTP_STATUS_REQUIRED_ATTRIBUTE_MISSING = 10,
    SSTP_STATUS_STATUS_INFO_NOT_SUPPORTED_IN_MSG = 11,
};

#define SSTP_HASH_SHA1 1
#define SSTP_HASH_SHA256 2

/* One whole packet of the stream. */
struct sstp_pkt {
    bool control;
    struct rd payload; /* after the 4-byte header, borrowed */
    struct rd whole;   /* with it */
};

/*
 * Takes the next packet from the stream (MS-SSTP 2.2.1). Returns 0 and moves `in` past it; ERR_AGAIN when the stream
 * ends inside it (nothing consumed); ERR_PEER when delineation is lost (version not 0x10, Length below 4, or, for a
 * control packet, below 8): the connection must be closed without a word.
 * Inline because every data packet passes here.
 */
MUST_USE static inline int sstp_pkt_next(struct rd *in, struct sstp_pkt *out)
{
    const uint8_t *p = in->p;
    size_t left = rd_left(in);
    if (left >= 1 && p[0] != SSTP_VERSION)
        return ERR_PEER;
    if (left < SSTP_HDR_LEN)
        return ERR_AGAIN;
    size_t len = (size_t)(p[2] & 0x0f) << 8 | p[3];
    bool control = p[1] & 1;
    if (len < (control ? SSTP_CTL_HDR_LEN : SSTP_HDR_LEN))
        return ERR_PEER;
    if (left < len)
        return ERR_AGAIN;
    out->control = control;
    out->whole = (struct rd){ p, p + len };
    out->payload = (struct rd){ p + SSTP_HDR_LEN, p + len };
    in->p = p + len;
    return 0;
}

/* Writes the 4-byte header of a data packet with a payload of n bytes, n <= SSTP_PAYLOAD_MAX. */
static inline void sstp_data_hdr(uint8_t *at, size_t n)
{
    size_t len = n + SSTP_HDR_LEN;
    at[0] = SSTP_VERSION;
    at[1] = 0;
    at[2] = (uint8_t)(len >> 8);
    at[3] = (uint8_t)len;
}

#endif
