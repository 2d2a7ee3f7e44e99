/*
 * EAP packets (RFC 3748 4) and the Type-Data of EAP-MSCHAPv2 (draft-kamath-pppext-eap-mschapv2), both directions.
 * Conventions as in chap.h: parsers take the information of a PPP frame, change nothing and borrow, fail with ERR_PEER
 * only; encoders append whole packets.
 */
#ifndef GH_AUTH_EAP_H
#define GH_AUTH_EAP_H

#include <stddef.h>
#include <stdint.h>

#include "auth/chap.h"
#include "base/err.h"
#include "base/rd.h"
#include "base/wr.h"

enum eap_code { EAP_REQUEST = 1, EAP_RESPONSE = 2, EAP_SUCCESS = 3, EAP_FAILURE = 4 };

enum eap_type {
    EAP_TYPE_IDENTITY = 1,
    EAP_TYPE_NOTIFICATION = 2,
    EAP_TYPE_NAK = 3,
    EAP_TYPE_MD5 = 4,
    EAP_TYPE_TLS = 13,
    EAP_TYPE_PEAP = 25,
    EAP_TYPE_MSCHAPV2 = 26,
    EAP_TYPE_EXPANDED = 254,
};

struct eap_pkt {
    uint8_t code, id;
    uint8_t type;   /* Request, Response; else 0 */
    struct rd data; /* Type-Data, borrowed */
};

/* Octets past Length are padding. ERR_PEER: cut short, a Length that lies, an unknown Code, a Request without a Type.
 */
MUST_USE int eap_parse(struct rd info, struct eap_pkt *out);
void eap_encode(struct wr *w, enum eap_code code, uint8_t id, uint8_t type, const void *data, size_t len);

enum eap_mschapv2_op {
    EAP_MSCHAPV2_CHALLENGE = 1,
    EAP_MSCHAPV2_RESPONSE = 2,
    EAP_MSCHAPV2_SUCCESS = 3,
    EAP_MSCHAPV2_FAILURE = 4,
    EAP_MSCHAPV2_CHANGE_PASSWORD = 7
};

struct eap_mschapv2 {
    uint8_t op;        /* enum eap_mschapv2_op */
    uint8_t id;        /* MS-CHAPv2-ID; 0 in the one-octet answers */
    struct rd value;   /* Challenge (16), Response (49): borrowed */
    struct rd name;    /* of these two */
    struct rd message; /* Success, Failure requests: "S=...", "E=..." */
};

/* MS-Length is judged with lenience: what EAP's Length holds counts. ERR_PEER for what cannot be read. */
MUST_USE int eap_mschapv2_parse(struct rd type_data, struct eap_mschapv2 *out);

/* Whole EAP Requests (of a server) and Responses (of a client). */
void eap_mschapv2_challenge_encode(struct wr *w, uint8_t id, uint8_t ms_id, const uint8_t challenge[16],
                                   const void *name, size_t name_len);
void eap_mschapv2_response_encode(struct wr *w, uint8_t id, uint8_t ms_id, const struct chap_mschapv2_response *r,
                                  const void *name, size_t name_len);
void eap_mschapv2_message_encode(struct wr *w, uint8_t id, uint8_t ms_id, enum eap_mschapv2_op op, const void *message,
                                 size_t len);
/* The client's answer to a Success or Failure request: the OpCode alone, EAP Length 6. */
void eap_mschapv2_ack_encode(struct wr *w, uint8_t id, enum eap_mschapv2_op op);

#endif
