#include "auth/pap.h"

#include <stdbool.h>

#define PAP_FIELD_MAX 255

/* One length octet, then that many octets. */
static bool field_parse(struct rd *r, struct rd *field)
{
    struct rd at = *r;
    uint8_t len;
    if (!rd_u8(&at, &len) || !rd_sub(&at, len, field))
        return false;
    *r = at;
    return true;
}

int pap_parse(struct rd in, struct pap_pkt *out)
{
    struct pap_pkt pkt = { 0 };
    struct rd body;
    uint16_t len;
    if (!rd_u8(&in, &pkt.code) || !rd_u8(&in, &pkt.id) || !rd_u16(&in, &len) || len < 4 ||
        !rd_sub(&in, len - 4u, &body))
        return ERR_PEER;
    switch (pkt.code) {
    case PAP_REQUEST: /* RFC 1334 2.2.1 */
        if (!field_parse(&body, &pkt.name) || !field_parse(&body, &pkt.password))
            return ERR_PEER;
        break;
    case PAP_ACK: /* RFC 1334 2.2.2; some leave out Msg-Length: then all of it is the text */
    case PAP_NAK:
        if (!field_parse(&body, &pkt.message))
            pkt.message = body;
        break;
    default: return ERR_PEER; /* a wire value, not our enum */
    }
    *out = pkt;
    return 0;
}

static void field_encode(struct wr *w, const void *data, size_t len)
{
    if (len > PAP_FIELD_MAX) {
        w->failed = true;
        return;
    }
    wr_u8(w, (uint8_t)len);
    wr_bytes(w, data, len);
}

void pap_request_encode(struct wr *w, uint8_t id, const void *name, size_t name_len, const void *password,
                        size_t password_len)
{
    wr_u8(w, PAP_REQUEST);
    wr_u8(w, id);
    size_t mark = wr_open16(w);
    field_encode(w, name, name_len);
    field_encode(w, password, password_len);
    wr_close16(w, mark, 2);
}

void pap_reply_encode(struct wr *w, enum pap_code code, uint8_t id, const void *message, size_t len)
{
    wr_u8(w, (uint8_t)code);
    wr_u8(w, id);
    size_t mark = wr_open16(w);
    field_encode(w, message, len > PAP_FIELD_MAX ? PAP_FIELD_MAX : len);
    wr_close16(w, mark, 2);
}
