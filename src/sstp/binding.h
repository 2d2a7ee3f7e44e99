/*
 * Crypto binding (MS-SSTP 3.2.5.2): the proof that the PPP authentication and the TLS connection end at the same two
 * parties. The keyed hash covers the whole CALL_CONNECTED as it travelled: a packet is checked on its received bytes.
 * Needs digest_init().
 */
#ifndef GH_SSTP_BINDING_H
#define GH_SSTP_BINDING_H

#include "sstp/msg.h"

#define SSTP_BINDING_HASH_MAX 32 /* the longer of the two hashes */

struct sstp_cert_hashes { /* of the DER of a leaf: the one served on this very connection, or one that a front serves */
    uint8_t known;        /* SSTP_HASH_*: which of the two are */
    uint8_t sha1[20];
    uint8_t sha256[32];
};

enum sstp_binding_fault { /* which of the checks of MS-SSTP 3.3.5.2.3 failed */
                          SSTP_BINDING_OK,
                          SSTP_BINDING_MISSING, /* no well-formed attribute 3              */
                          SSTP_BINDING_HASH,    /* hash protocol not one that was offered  */
                          SSTP_BINDING_NONCE,
                          SSTP_BINDING_CERT, /* the client saw another certificate      */
                          SSTP_BINDING_MAC,  /* keys differ                             */
};

/* Bytes of a hash protocol's digest: 20 or 32; 0 when it is not exactly SSTP_HASH_SHA1 or SSTP_HASH_SHA256. */
size_t sstp_hash_len(uint8_t hash_protocol);

/*
 * Compound MAC key (3.2.5.2.2): the first block of PRF+. cmk gets sstp_hash_len() bytes and is secret. ERR_USAGE for an
 * unknown hash; else the digest's errors.
 */
MUST_USE int sstp_binding_cmk(uint8_t hash_protocol, const uint8_t hlak[SSTP_HLAK_LEN],
                              uint8_t cmk[SSTP_BINDING_HASH_MAX]);

/* Compound MAC (3.2.5.2.3) over cc with bytes 80..111 taken as zero, whatever stands there. Errors as above. */
MUST_USE int sstp_binding_mac(uint8_t hash_protocol, const uint8_t hlak[SSTP_HLAK_LEN], const uint8_t cc[SSTP_CC_LEN],
                              uint8_t mac[SSTP_BINDING_HASH_MAX]);

/* True for a CALL_CONNECTED of 112 bytes with exactly one attribute 3 of Length 104 (2.2.11). */
MUST_USE bool sstp_cc_shaped(const struct sstp_msg *cc);

struct sstp_binding {                     /* what one connection's CALL_CONNECTED must agree with; all borrowed */
    uint8_t hash_mask;                    /* offered in the ACK       */
    const uint8_t *nonce;                 /* SSTP_NONCE_LEN, from the ACK */
    const struct sstp_cert_hashes *certs; /* one of these is what the client saw; each is compared */
    size_t n_certs;
    const uint8_t *hlak; /* SSTP_HLAK_LEN, secret */
};

struct sstp_binding_verdict {
    enum sstp_binding_fault fault;
    uint8_t hash_protocol;                    /* as the client sent it */
    uint8_t cert_hash[SSTP_BINDING_HASH_MAX]; /* as the client sent it, padded with zeros; none for SSTP_BINDING_HASH */
};

/*
 * The server's checks, in the order of 3.3.5.2.3, comparing in constant time. cc has passed sstp_cc_shaped(). Returns 0
 * and a verdict, or the digest's error: then nothing is known and the call must end.
 */
MUST_USE int sstp_binding_check(const struct sstp_binding *want, const uint8_t cc[SSTP_CC_LEN],
                                struct sstp_binding_verdict *out);

/*
 * For a client: writes a whole CALL_CONNECTED (2.2.11). cert_hash: sstp_hash_len() bytes. ERR_USAGE for an unknown
 * hash, ERR_LIMIT when w has no room for SSTP_CC_LEN bytes; else the digest's errors.
 */
MUST_USE int sstp_cc_encode(struct wr *w, uint8_t hash_protocol, const uint8_t nonce[SSTP_NONCE_LEN],
                            const uint8_t *cert_hash, const uint8_t hlak[SSTP_HLAK_LEN]);

#endif
