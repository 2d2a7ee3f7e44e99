/*
 * SSTP packets: codec (MS-SSTP 2.2). Integers in host order, reserved bits sent zero and ignored on receipt.
 *
 * A stream is cut by sstp_pkt_next(), a control packet read by sstp_msg_parse() and sstp_attr_next(). Every message has
 * an encoder that writes one whole packet; CALL_CONNECTED, which needs keys, has its own in sstp/binding.h.
 */
#ifndef GH_SSTP_MSG_H
#define GH_SSTP_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rd.h"
#include "base/wr.h"

#define SSTP_VERSION        0x10
#define SSTP_HDR_LEN        4
#define SSTP_PKT_MAX        4095
#define SSTP_PAYLOAD_MAX    (SSTP_PKT_MAX - SSTP_HDR_LEN)
#define SSTP_CTL_HDR_LEN    8
#define SSTP_NONCE_LEN      32
#define SSTP_HLAK_LEN       32
#define SSTP_CC_LEN         112 /* CALL_CONNECTED, header included */
#define SSTP_ATTR_VALUE_MAX 64  /* bytes of a refused value repeated in a NAK */
#define SSTP_CCR_FAULTS_MAX 16  /* faults listed in one NAK; a request may hold a thousand of them */
#define SSTP_NAK_MAX        (SSTP_CTL_HDR_LEN + SSTP_CCR_FAULTS_MAX * (12 + SSTP_ATTR_VALUE_MAX))

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
    SSTP_TYPES
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

#define SSTP_PROTOCOL_PPP 1 /* MS-SSTP 2.2.5 */
#define SSTP_HASH_SHA1    1
#define SSTP_HASH_SHA256  2

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

struct sstp_attr {
    uint8_t id;      /* enum sstp_attr_id, or any other octet */
    struct rd value; /* after the 4-byte attribute header, borrowed */
};

/* One control packet. Everything is borrowed from the packet. */
struct sstp_msg {
    enum sstp_type type;
    uint16_t count;  /* attributes in attrs */
    struct rd attrs; /* whole attributes only: walk with sstp_attr_next() */
    struct rd whole; /* the packet as received */
};

/*
 * Reads one whole control packet (MS-SSTP 2.2.2, 3.1.5.1); *out is written on success only. ERR_PEER when the message
 * is invalid: unknown type; an attribute with a Length below 4 or past the packet; a count that differs from the
 * attributes that are there; bytes left over; attributes where 2.2.15 allows none. Three are exceptions:
 *   ABORT, DISCONNECT, NAK  judged by type alone, since other stacks fill them oddly: attrs is the readable beginning
 *   CALL_CONNECTED          a binding of another Length than 104 is left to sstp_cc_shaped(): 3.3.5.2.3
 */
MUST_USE int sstp_msg_parse(struct rd pkt, struct sstp_msg *out);

/* Takes the next attribute (MS-SSTP 2.2.4); false, and nothing consumed, where no whole attribute follows. */
MUST_USE bool sstp_attr_next(struct rd *attrs, struct sstp_attr *out);

struct sstp_status_info { /* MS-SSTP 2.2.8 */
    uint8_t attrib;       /* AttribID: the attribute spoken of */
    uint32_t status;      /* enum sstp_status, or any other number */
    struct rd value;      /* AttribValue, borrowed; often empty */
};

/* The first Status Info of a message; false (out untouched) when there is none with at least AttribID and Status. */
MUST_USE bool sstp_msg_status(const struct sstp_msg *msg, struct sstp_status_info *out);

/*
 * The faults of a CALL_CONNECT_REQUEST (MS-SSTP 3.3.5.2.2) in the order of its attributes, as a NAK lists them; values
 * are borrowed from the request. Returns their number, at most cap; 0: acceptable.
 */
size_t sstp_ccr_faults(const struct sstp_msg *ccr, struct sstp_status_info *faults, size_t cap);

struct sstp_ack {
    uint8_t hash_mask; /* SSTP_HASH_* offered, never 0 */
    uint8_t nonce[SSTP_NONCE_LEN];
};

/*
 * For a client: what a CALL_CONNECT_ACK holds (MS-SSTP 3.2.5.3.2). ERR_PEER unless it is exactly one attribute 4 of
 * Length 40 that offers a hash we know.
 */
MUST_USE int sstp_ack_parse(const struct sstp_msg *msg, struct sstp_ack *out);

/* Encoders: one whole packet each; wr_ok() tells whether it did fit. */
void sstp_ccr_encode(struct wr *w, uint16_t protocol); /* protocol: SSTP_PROTOCOL_PPP */
void sstp_ack_encode(struct wr *w, const struct sstp_ack *ack);
/* Values are cut to SSTP_ATTR_VALUE_MAX. A NAK of SSTP_CCR_FAULTS_MAX faults fits in SSTP_NAK_MAX bytes. */
void sstp_nak_encode(struct wr *w, const struct sstp_status_info *faults, size_t n);
/* ABORT or DISCONNECT, always with Status Info: some clients act on nothing less (MS-SSTP 2.2.13, 2.2.14). */
void sstp_status_encode(struct wr *w, enum sstp_type type, uint8_t attrib, uint32_t status);
void sstp_bare_encode(struct wr *w, enum sstp_type type); /* DISCONNECT_ACK, ECHO_*: 8 bytes */

const char *sstp_status_name(uint32_t status); /* "unknown" for a number of no meaning; never NULL */
const char *sstp_type_name(uint16_t type);

#endif
