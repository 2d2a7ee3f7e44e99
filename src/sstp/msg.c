#include "sstp/msg.h"

#define ATTR_HDR_LEN      4
#define LEN_MASK          0x0fff /* R bits of every Length are ignored, MS-SSTP 2.2.1, 2.2.4 */
#define STATUS_INFO_MIN   8      /* Reserved1, AttribID, Status */
#define BINDING_VALUE_LEN 100

bool sstp_attr_next(struct rd *attrs, struct sstp_attr *out)
{
    struct rd at = *attrs;
    struct sstp_attr a;
    uint16_t len;
    if (!rd_skip(&at, 1) || !rd_u8(&at, &a.id) || !rd_u16(&at, &len))
        return false;
    len &= LEN_MASK;
    if (len < ATTR_HDR_LEN || !rd_sub(&at, len - ATTR_HDR_LEN, &a.value))
        return false;
    *attrs = at;
    *out = a;
    return true;
}

/* A binding of another length than its definition (3.3.5.2.3 refuses that by a status of its own). */
static bool binding_length_differs(const struct sstp_msg *msg)
{
    struct rd attrs = msg->attrs;
    struct sstp_attr a;
    return sstp_attr_next(&attrs, &a) && a.id == SSTP_ATTR_CRYPTO_BINDING && rd_left(&a.value) != BINDING_VALUE_LEN;
}

/* 3.1.5.1; exact: the attributes fill the packet and are as many as it says. */
static bool body_valid(const struct sstp_msg *msg, bool exact)
{
    switch (msg->type) {
    case SSTP_CALL_CONNECT_NAK:
    case SSTP_CALL_ABORT:
    case SSTP_CALL_DISCONNECT: return true;
    case SSTP_CALL_CONNECT_REQUEST:
    case SSTP_CALL_CONNECT_ACK: return exact;
    case SSTP_CALL_CONNECTED: return exact || binding_length_differs(msg);
    case SSTP_CALL_DISCONNECT_ACK:
    case SSTP_ECHO_REQUEST:
    case SSTP_ECHO_RESPONSE: return exact && msg->count == 0; /* 2.2.15 */
    case SSTP_TYPES: break;
    }
    return false;
}

int sstp_msg_parse(struct rd pkt, struct sstp_msg *out)
{
    struct sstp_pkt p;
    uint16_t type, count;
    if (sstp_pkt_next(&pkt, &p) || !p.control || !rd_end(&pkt) || !rd_u16(&p.payload, &type) ||
        !rd_u16(&p.payload, &count))
        return ERR_PEER;
    if (type == 0 || type >= SSTP_TYPES)
        return ERR_PEER;
    struct sstp_msg msg = { .type = (enum sstp_type)type, .whole = p.whole };
    struct rd rest = p.payload;
    struct sstp_attr a;
    while (msg.count < count && sstp_attr_next(&rest, &a))
        msg.count++;
    msg.attrs = (struct rd){ p.payload.p, rest.p };
    if (!body_valid(&msg, msg.count == count && rd_end(&rest)))
        return ERR_PEER;
    *out = msg;
    return 0;
}

static bool status_info_parse(struct rd value, struct sstp_status_info *out)
{
    struct sstp_status_info i;
    if (!rd_skip(&value, 3) || !rd_u8(&value, &i.attrib) || !rd_u32(&value, &i.status))
        return false;
    i.value = value;
    *out = i;
    return true;
}

bool sstp_msg_status(const struct sstp_msg *msg, struct sstp_status_info *out)
{
    struct rd attrs = msg->attrs;
    struct sstp_attr a;
    while (sstp_attr_next(&attrs, &a))
        if (a.id == SSTP_ATTR_STATUS_INFO && status_info_parse(a.value, out))
            return true;
    return false;
}

/* One attribute of a request, 3.3.5.2.2; seen: by AttribID, those that came before. */
static enum sstp_status ccr_attr_status(const struct sstp_attr *a, bool seen[3])
{
    size_t len = rd_left(&a->value);
    struct rd value = a->value;
    struct sstp_status_info info;
    uint16_t protocol;
    if (a->id != SSTP_ATTR_ENCAPSULATED_PROTOCOL_ID && a->id != SSTP_ATTR_STATUS_INFO)
        return SSTP_STATUS_UNRECOGNIZED_ATTRIBUTE;
    if (seen[a->id])
        return SSTP_STATUS_DUPLICATE_ATTRIBUTE;
    seen[a->id] = true;
    if (a->id == SSTP_ATTR_STATUS_INFO) {
        if (!status_info_parse(value, &info) || len > STATUS_INFO_MIN + SSTP_ATTR_VALUE_MAX)
            return SSTP_STATUS_INVALID_ATTRIB_VALUE_LENGTH;
        return info.status ? SSTP_STATUS_STATUS_INFO_NOT_SUPPORTED_IN_MSG : SSTP_STATUS_NO_ERROR;
    }
    if (!rd_u16(&value, &protocol) || !rd_end(&value))
        return SSTP_STATUS_INVALID_ATTRIB_VALUE_LENGTH;
    return protocol == SSTP_PROTOCOL_PPP ? SSTP_STATUS_NO_ERROR : SSTP_STATUS_VALUE_NOT_SUPPORTED;
}

size_t sstp_ccr_faults(const struct sstp_msg *ccr, struct sstp_status_info *faults, size_t cap)
{
    bool seen[3] = { false };
    size_t n = 0;
    struct rd attrs = ccr->attrs;
    struct sstp_attr a;
    while (sstp_attr_next(&attrs, &a)) {
        struct sstp_status_info f = { a.id, ccr_attr_status(&a, seen), a.value };
        if (f.status == SSTP_STATUS_UNRECOGNIZED_ATTRIBUTE)
            f.value = rd_make(NULL, 0); /* 2.2.8: what was not understood is not repeated */
        if (f.status != SSTP_STATUS_NO_ERROR && n < cap)
            faults[n++] = f;
    }
    /* AttribID 1 by 2.2.8, where 3.3.5.2.2 says 2. */
    if (!seen[SSTP_ATTR_ENCAPSULATED_PROTOCOL_ID] && n < cap)
        faults[n++] = (struct sstp_status_info){ SSTP_ATTR_ENCAPSULATED_PROTOCOL_ID,
                                                 SSTP_STATUS_REQUIRED_ATTRIBUTE_MISSING, rd_make(NULL, 0) };
    return n;
}

int sstp_ack_parse(const struct sstp_msg *msg, struct sstp_ack *out)
{
    struct rd attrs = msg->attrs;
    struct sstp_attr a;
    struct sstp_ack ack;
    if (msg->type != SSTP_CALL_CONNECT_ACK || msg->count != 1 || !sstp_attr_next(&attrs, &a) ||
        a.id != SSTP_ATTR_CRYPTO_BINDING_REQ)
        return ERR_PEER;
    if (!rd_skip(&a.value, 3) || !rd_u8(&a.value, &ack.hash_mask) || !rd_copy(&a.value, ack.nonce, SSTP_NONCE_LEN) ||
        !rd_end(&a.value))
        return ERR_PEER;
    ack.hash_mask &= SSTP_HASH_SHA1 | SSTP_HASH_SHA256;
    if (!ack.hash_mask)
        return ERR_PEER;
    *out = ack;
    return 0;
}

/* Length counts its own header: the two bytes before it and all after. Close with close16(). */
static size_t msg_open(struct wr *w, enum sstp_type type, uint16_t count)
{
    wr_u8(w, SSTP_VERSION);
    wr_u8(w, 1);
    size_t mark = wr_open16(w);
    wr_u16(w, (uint16_t)type);
    wr_u16(w, count);
    return mark;
}

static size_t attr_open(struct wr *w, enum sstp_attr_id id)
{
    wr_u8(w, 0);
    wr_u8(w, (uint8_t)id);
    return wr_open16(w);
}

static void close16(struct wr *w, size_t mark)
{
    wr_close16(w, mark, 2);
}

static void status_info_put(struct wr *w, uint8_t attrib, uint32_t status, struct rd value)
{
    size_t left = rd_left(&value);
    size_t attr = attr_open(w, SSTP_ATTR_STATUS_INFO);
    wr_zero(w, 3);
    wr_u8(w, attrib);
    wr_u32(w, status);
    wr_bytes(w, value.p, left < SSTP_ATTR_VALUE_MAX ? left : SSTP_ATTR_VALUE_MAX);
    close16(w, attr);
}

void sstp_ccr_encode(struct wr *w, uint16_t protocol)
{
    size_t msg = msg_open(w, SSTP_CALL_CONNECT_REQUEST, 1);
    size_t attr = attr_open(w, SSTP_ATTR_ENCAPSULATED_PROTOCOL_ID);
    wr_u16(w, protocol);
    close16(w, attr);
    close16(w, msg);
}

void sstp_ack_encode(struct wr *w, const struct sstp_ack *ack)
{
    size_t msg = msg_open(w, SSTP_CALL_CONNECT_ACK, 1);
    size_t attr = attr_open(w, SSTP_ATTR_CRYPTO_BINDING_REQ);
    wr_zero(w, 3);
    wr_u8(w, ack->hash_mask);
    wr_bytes(w, ack->nonce, SSTP_NONCE_LEN);
    close16(w, attr);
    close16(w, msg);
}

void sstp_nak_encode(struct wr *w, const struct sstp_status_info *faults, size_t n)
{
    size_t msg = msg_open(w, SSTP_CALL_CONNECT_NAK, (uint16_t)n);
    for (size_t i = 0; i < n; i++)
        status_info_put(w, faults[i].attrib, faults[i].status, faults[i].value);
    close16(w, msg);
}

void sstp_status_encode(struct wr *w, enum sstp_type type, uint8_t attrib, uint32_t status)
{
    size_t msg = msg_open(w, type, 1);
    status_info_put(w, attrib, status, rd_make(NULL, 0));
    close16(w, msg);
}

void sstp_bare_encode(struct wr *w, enum sstp_type type)
{
    close16(w, msg_open(w, type, 0));
}

static const char *const status_names[] = {
    [SSTP_STATUS_NO_ERROR] = "NO_ERROR",
    [SSTP_STATUS_DUPLICATE_ATTRIBUTE] = "DUPLICATE_ATTRIBUTE",
    [SSTP_STATUS_UNRECOGNIZED_ATTRIBUTE] = "UNRECOGNIZED_ATTRIBUTE",
    [SSTP_STATUS_INVALID_ATTRIB_VALUE_LENGTH] = "INVALID_ATTRIB_VALUE_LENGTH",
    [SSTP_STATUS_VALUE_NOT_SUPPORTED] = "VALUE_NOT_SUPPORTED",
    [SSTP_STATUS_UNACCEPTED_FRAME_RECEIVED] = "UNACCEPTED_FRAME_RECEIVED",
    [SSTP_STATUS_RETRY_COUNT_EXCEEDED] = "RETRY_COUNT_EXCEEDED",
    [SSTP_STATUS_INVALID_FRAME_RECEIVED] = "INVALID_FRAME_RECEIVED",
    [SSTP_STATUS_NEGOTIATION_TIMEOUT] = "NEGOTIATION_TIMEOUT",
    [SSTP_STATUS_ATTRIB_NOT_SUPPORTED_IN_MSG] = "ATTRIB_NOT_SUPPORTED_IN_MSG",
    [SSTP_STATUS_REQUIRED_ATTRIBUTE_MISSING] = "REQUIRED_ATTRIBUTE_MISSING",
    [SSTP_STATUS_STATUS_INFO_NOT_SUPPORTED_IN_MSG] = "STATUS_INFO_NOT_SUPPORTED_IN_MSG",
};

static const char *const type_names[SSTP_TYPES] = {
    [SSTP_CALL_CONNECT_REQUEST] = "CALL_CONNECT_REQUEST",
    [SSTP_CALL_CONNECT_ACK] = "CALL_CONNECT_ACK",
    [SSTP_CALL_CONNECT_NAK] = "CALL_CONNECT_NAK",
    [SSTP_CALL_CONNECTED] = "CALL_CONNECTED",
    [SSTP_CALL_ABORT] = "CALL_ABORT",
    [SSTP_CALL_DISCONNECT] = "CALL_DISCONNECT",
    [SSTP_CALL_DISCONNECT_ACK] = "CALL_DISCONNECT_ACK",
    [SSTP_ECHO_REQUEST] = "ECHO_REQUEST",
    [SSTP_ECHO_RESPONSE] = "ECHO_RESPONSE",
};

const char *sstp_status_name(uint32_t status)
{
    return status < sizeof status_names / sizeof *status_names ? status_names[status] : "unknown";
}

const char *sstp_type_name(uint16_t type)
{
    return type && type < SSTP_TYPES ? type_names[type] : "unknown";
}
