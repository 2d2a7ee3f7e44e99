#include "auth/eap.h"

int eap_parse(struct rd info, struct eap_pkt *out)
{
    struct eap_pkt pkt = { 0 };
    uint16_t len;
    /* Code, Identifier, Length: RFC 3748 4. The rest is what Length says. */
    if (!rd_u8(&info, &pkt.code) || !rd_u8(&info, &pkt.id) || !rd_u16(&info, &len) || len < 4 ||
        !rd_sub(&info, len - 4u, &pkt.data))
        return ERR_PEER;
    switch (pkt.code) {
    case EAP_REQUEST:
    case EAP_RESPONSE:
        if (!rd_u8(&pkt.data, &pkt.type))
            return ERR_PEER;
        break;
    case EAP_SUCCESS: /* RFC 3748 4.2: nothing follows; what does is not looked at */
    case EAP_FAILURE: break;
    default: return ERR_PEER; /* a wire value, not our enum */
    }
    *out = pkt;
    return 0;
}

/* Code, Identifier, Length, Type; whoever has written the Type-Data gives the mark to close(). */
static size_t header_open(struct wr *w, enum eap_code code, uint8_t id, uint8_t type)
{
    wr_u8(w, (uint8_t)code);
    wr_u8(w, id);
    size_t mark = wr_open16(w);
    if (code == EAP_REQUEST || code == EAP_RESPONSE)
        wr_u8(w, type);
    return mark;
}

static void header_close(struct wr *w, size_t mark)
{
    wr_close16(w, mark, 2);
}

void eap_encode(struct wr *w, enum eap_code code, uint8_t id, uint8_t type, const void *data, size_t len)
{
    size_t mark = header_open(w, code, id, type);
    wr_bytes(w, data, len);
    header_close(w, mark);
}

/* Value-Size, which can only be this, Value, Name: RFC 2759 3 and 4. */
static bool value_parse(struct rd *data, uint8_t want, struct eap_mschapv2 *out)
{
    uint8_t size;
    return rd_u8(data, &size) && size == want && rd_sub(data, size, &out->value) && rd_left(data) <= CHAP_NAME_MAX &&
           rd_sub(data, rd_left(data), &out->name);
}

int eap_mschapv2_parse(struct rd type_data, struct eap_mschapv2 *out)
{
    struct eap_mschapv2 m = { 0 };
    uint16_t ms_length;
    bool ok = rd_u8(&type_data, &m.op);
    bool alone = rd_end(&type_data);
    ok = ok && (alone || (rd_u8(&type_data, &m.id) && rd_u16(&type_data, &ms_length)));
    switch (m.op) {
    case EAP_MSCHAPV2_CHALLENGE: ok = ok && value_parse(&type_data, CHAP_CHALLENGE_LEN, &m); break;
    case EAP_MSCHAPV2_RESPONSE: ok = ok && value_parse(&type_data, CHAP_MSCHAPV2_VALUE_LEN, &m); break;
    case EAP_MSCHAPV2_SUCCESS: /* alone: the client's answer */
    case EAP_MSCHAPV2_FAILURE: m.message = type_data; break;
    case EAP_MSCHAPV2_CHANGE_PASSWORD: /* known, never offered: its content is not looked at */
        ok = ok && !alone;
        break;
    default: return ERR_PEER; /* a wire value, not our enum */
    }
    if (!ok)
        return ERR_PEER;
    *out = m;
    return 0;
}

/* The Type-Data is a CHAP packet with the OpCode for a Code, and MS-Length is its Length. */

void eap_mschapv2_challenge_encode(struct wr *w, uint8_t id, uint8_t ms_id, const uint8_t challenge[16],
                                   const void *name, size_t name_len)
{
    size_t mark = header_open(w, EAP_REQUEST, id, EAP_TYPE_MSCHAPV2);
    chap_value_encode(w, CHAP_CHALLENGE, ms_id, challenge, CHAP_CHALLENGE_LEN, name, name_len);
    header_close(w, mark);
}

void eap_mschapv2_response_encode(struct wr *w, uint8_t id, uint8_t ms_id, const struct chap_mschapv2_response *r,
                                  const void *name, size_t name_len)
{
    size_t mark = header_open(w, EAP_RESPONSE, id, EAP_TYPE_MSCHAPV2);
    chap_mschapv2_response_encode(w, ms_id, r, name, name_len);
    header_close(w, mark);
}

void eap_mschapv2_message_encode(struct wr *w, uint8_t id, uint8_t ms_id, enum eap_mschapv2_op op, const void *message,
                                 size_t len)
{
    size_t mark = header_open(w, EAP_REQUEST, id, EAP_TYPE_MSCHAPV2);
    chap_message_encode(w, op == EAP_MSCHAPV2_SUCCESS ? CHAP_SUCCESS : CHAP_FAILURE, ms_id, message, len);
    header_close(w, mark);
}

void eap_mschapv2_ack_encode(struct wr *w, uint8_t id, enum eap_mschapv2_op op)
{
    uint8_t octet = (uint8_t)op;
    eap_encode(w, EAP_RESPONSE, id, EAP_TYPE_MSCHAPV2, &octet, 1);
}
