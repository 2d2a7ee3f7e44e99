/*
 * CHAP packets (RFC 1994 4) with MD5 values, and their MS-CHAPv2 forms (RFC 2759 4-6): both directions, since the
 * server writes what a client reads.
 *
 * Parsers take the information of a PPP frame, change nothing and borrow: the readers in the results point into the
 * packet. They fail with ERR_PEER only, the packet is then dropped in silence. Encoders append to the writer;
 * wr_ok() tells at the end.
 */
#ifndef GH_AUTH_CHAP_H
#define GH_AUTH_CHAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/mschapv2.h"
#include "base/err.h"
#include "base/rd.h"
#include "base/wr.h"

#define CHAP_ALG_MD5      0x05 /* RFC 1994 3; the octet after C2 23 in LCP option 3 */
#define CHAP_ALG_MSCHAPV2 0x81 /* RFC 2759 3 */

#define CHAP_NAME_MAX           256
#define CHAP_CHALLENGE_LEN      16 /* ours, and all of MS-CHAPv2 */
#define CHAP_MD5_VALUE_LEN      16
#define CHAP_MSCHAPV2_VALUE_LEN 49

enum chap_code { CHAP_CHALLENGE = 1, CHAP_RESPONSE = 2, CHAP_SUCCESS = 3, CHAP_FAILURE = 4 };

struct chap_pkt {
    uint8_t code; /* enum chap_code */
    uint8_t id;
    struct rd value;   /* Challenge, Response: never empty */
    struct rd name;    /* Challenge, Response: at most CHAP_NAME_MAX, may be empty */
    struct rd message; /* Success, Failure: may be empty */
};

/*
 * value_len: what Value-Size of a Challenge or Response must be (CHAP_..._LEN above), 0: any but 0 (an MD5
 * Challenge is free in length).
 * Octets past Length are padding. Codes other than the four are ERR_PEER.
 */
MUST_USE int chap_parse(struct rd in, size_t value_len, struct chap_pkt *out);

/* Challenge or Response; value_len 1..255, ours. */
void chap_value_encode(struct wr *w, enum chap_code code, uint8_t id, const void *value, uint8_t value_len,
                       const void *name, size_t name_len);
/* Success or Failure with a readable text. */
void chap_message_encode(struct wr *w, enum chap_code code, uint8_t id, const void *message, size_t len);

/* MD5(Identifier | secret | challenge): RFC 1994 4.1. Errors of digest(). */
MUST_USE int chap_md5_value(uint8_t id, const void *secret, size_t secret_len, const void *challenge,
                            size_t challenge_len, uint8_t out[CHAP_MD5_VALUE_LEN]);
/* 0 when the value is right, ERR_AUTH when not. */
MUST_USE int chap_md5_check(uint8_t id, const void *secret, size_t secret_len, const void *challenge,
                            size_t challenge_len, const uint8_t value[CHAP_MD5_VALUE_LEN]);

struct chap_mschapv2_response { /* the 49 octets of a Response's value, RFC 2759 4 */
    uint8_t peer_challenge[16];
    uint8_t nt_response[24];
};

/* Reserved and Flags are not looked at (many clients leave them nonzero). */
MUST_USE int chap_mschapv2_response_parse(struct rd value, struct chap_mschapv2_response *out);
void chap_mschapv2_response_encode(struct wr *w, uint8_t id, const struct chap_mschapv2_response *r, const void *name,
                                   size_t name_len);

/* Success: "S=" and 40 digits, then " M=text" when there is a text (RFC 2759 5). message may be NULL. */
void chap_mschapv2_success_encode(struct wr *w, uint8_t id, const char auth_response[MSCHAPV2_AUTH_RESPONSE_LEN],
                                  const char *message);
/* The first 42 characters of the message, and the text of M=, empty if none. The caller compares with ct_equal. */
MUST_USE int chap_mschapv2_success_parse(struct rd message, char auth_response[MSCHAPV2_AUTH_RESPONSE_LEN],
                                         struct rd *text);

struct chap_failure { /* RFC 2759 6 */
    uint32_t error;   /* E= enum ppp_auth_code and others */
    bool retry;       /* R= the peer may answer once more, on challenge if there is one */
    bool has_challenge;
    uint8_t challenge[16]; /* C= */
    uint32_t version;      /* V= 3; 0: left out */
    struct rd text;        /* M= borrowed, from the peer, unescaped; empty: left out */
};

/* All five in the order of the RFC; C= and M= only if there is one. */
void chap_mschapv2_failure_encode(struct wr *w, uint8_t id, const struct chap_failure *f);
/* Keys in any order, all but E= may be missing, unknown ones are skipped; M= takes the rest once E= was seen. */
MUST_USE int chap_mschapv2_failure_parse(struct rd message, struct chap_failure *out);

#endif
