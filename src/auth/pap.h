/*
 * PAP packets (RFC 1334 2), both directions. Conventions as in chap.h: parsers borrow and fail with ERR_PEER
 * only, encoders append.
 */
#ifndef GH_AUTH_PAP_H
#define GH_AUTH_PAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rd.h"
#include "base/wr.h"

enum pap_code { PAP_REQUEST = 1, PAP_ACK = 2, PAP_NAK = 3 };

struct pap_pkt {
    uint8_t code; /* enum pap_code */
    uint8_t id;
    struct rd name;     /* Request: Peer-ID, 0..255 octets */
    struct rd password; /* Request: secret, 0..255 octets */
    struct rd message;  /* Ack, Nak: may be empty; a text without Msg-Length is taken as it is (RouterOS and others) */
};

MUST_USE int pap_parse(struct rd in, struct pap_pkt *out);

/* A name or password above 255 octets makes the writer fail. */
void pap_request_encode(struct wr *w, uint8_t id, const void *name, size_t name_len, const void *password,
                        size_t password_len);
/* Ack or Nak; the text is cut to 255 octets. */
void pap_reply_encode(struct wr *w, enum pap_code code, uint8_t id, const void *message, size_t len);

#endif
