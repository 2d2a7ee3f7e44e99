#include "auth/chap.h"

#include <stdio.h>

#include "base/ct.h"
#include "base/digest.h"

/* Code, Identifier, Length: RFC 1994 4. The rest is what Length says; octets after it are padding. */
static bool header_parse(struct rd in, struct chap_pkt *out, struct rd *body)
{
    uint16_t len;
    return rd_u8(&in, &out->code) && rd_u8(&in, &out->id) && rd_u16(&in, &len) && len >= 4 &&
           rd_sub(&in, len - 4u, body);
}

static bool value_parse(struct rd *body, size_t value_len, struct chap_pkt *out)
{
    uint8_t size;
    if (!rd_u8(body, &size) || size == 0 || (value_len && size != value_len) || !rd_sub(body, size, &out->value))
        return false;
    return rd_left(body) <= CHAP_NAME_MAX && rd_sub(body, rd_left(body), &out->name);
}

int chap_parse(struct rd in, size_t value_len, struct chap_pkt *out)
{
    struct chap_pkt pkt = { 0 };
    struct rd body;
    if (!header_parse(in, &pkt, &body))
        return ERR_PEER;
    switch (pkt.code) {
    case CHAP_CHALLENGE:
    case CHAP_RESPONSE:
        if (!value_parse(&body, value_len, &pkt))
            return ERR_PEER;
        break;
    case CHAP_SUCCESS:
    case CHAP_FAILURE: pkt.message = body; break;
    default: return ERR_PEER; /* a wire value, not our enum; Change-Password (7) is not offered */
    }
    *out = pkt;
    return 0;
}

static size_t header_open(struct wr *w, enum chap_code code, uint8_t id)
{
    wr_u8(w, (uint8_t)code);
    wr_u8(w, id);
    return wr_open16(w);
}

static void header_close(struct wr *w, size_t mark)
{
    wr_close16(w, mark, 2);
}

void chap_value_encode(struct wr *w, enum chap_code code, uint8_t id, const void *value, uint8_t value_len,
                       const void *name, size_t name_len)
{
    size_t mark = header_open(w, code, id);
    wr_u8(w, value_len);
    wr_bytes(w, value, value_len);
    wr_bytes(w, name, name_len);
    header_close(w, mark);
}

void chap_message_encode(struct wr *w, enum chap_code code, uint8_t id, const void *message, size_t len)
{
    size_t mark = header_open(w, code, id);
    wr_bytes(w, message, len);
    header_close(w, mark);
}

int chap_md5_value(uint8_t id, const void *secret, size_t secret_len, const void *challenge, size_t challenge_len,
                   uint8_t out[CHAP_MD5_VALUE_LEN])
{
    const struct digest_part parts[] = { { &id, 1 }, { secret, secret_len }, { challenge, challenge_len } };
    return digest(DIGEST_MD5, parts, 3, out);
}

int chap_md5_check(uint8_t id, const void *secret, size_t secret_len, const void *challenge, size_t challenge_len,
                   const uint8_t value[CHAP_MD5_VALUE_LEN])
{
    uint8_t want[CHAP_MD5_VALUE_LEN];
    int r = chap_md5_value(id, secret, secret_len, challenge, challenge_len, want);
    if (r == 0 && !ct_equal(want, value, sizeof want))
        r = ERR_AUTH;
    secret_wipe(want, sizeof want);
    return r;
}

int chap_mschapv2_response_parse(struct rd value, struct chap_mschapv2_response *out)
{
    struct chap_mschapv2_response r = { 0 };
    uint8_t flags;
    /* RFC 2759 4: Peer-Challenge, 8 reserved, NT-Response, Flags */
    if (!rd_copy(&value, r.peer_challenge, 16) || !rd_skip(&value, 8) || !rd_copy(&value, r.nt_response, 24) ||
        !rd_u8(&value, &flags) || !rd_end(&value))
        return ERR_PEER;
    *out = r;
    return 0;
}

void chap_mschapv2_response_encode(struct wr *w, uint8_t id, const struct chap_mschapv2_response *r, const void *name,
                                   size_t name_len)
{
    uint8_t value[CHAP_MSCHAPV2_VALUE_LEN];
    struct wr v = wr_make(value, sizeof value);
    wr_bytes(&v, r->peer_challenge, 16);
    wr_zero(&v, 8);
    wr_bytes(&v, r->nt_response, 24);
    wr_u8(&v, 0);
    chap_value_encode(w, CHAP_RESPONSE, id, value, sizeof value, name, name_len);
}

void chap_mschapv2_success_encode(struct wr *w, uint8_t id, const char auth_response[MSCHAPV2_AUTH_RESPONSE_LEN],
                                  const char *message)
{
    size_t mark = header_open(w, CHAP_SUCCESS, id);
    wr_bytes(w, auth_response, MSCHAPV2_AUTH_RESPONSE_LEN);
    if (message) {
        wr_str(w, " M=");
        wr_str(w, message);
    }
    header_close(w, mark);
}

/* Consumes text if the reader begins with it. */
static bool take(struct rd *r, const char *text)
{
    struct rd at = *r;
    const uint8_t *p;
    size_t n = strlen(text);
    if (!rd_bytes(&at, n, &p) || memcmp(p, text, n) != 0)
        return false;
    *r = at;
    return true;
}

static void skip_blanks(struct rd *r)
{
    while (take(r, " "))
        ;
}

int chap_mschapv2_success_parse(struct rd message, char auth_response[MSCHAPV2_AUTH_RESPONSE_LEN], struct rd *text)
{
    struct rd digits = message;
    uint8_t hash[20];
    const uint8_t *p;
    if (!take(&digits, "S=") || !rd_bytes(&digits, 40, &p) || !hex_decode((const char *)p, 40, hash, 20))
        return ERR_PEER;
    if (!rd_copy(&message, auth_response, MSCHAPV2_AUTH_RESPONSE_LEN))
        return ERR_PEER;
    skip_blanks(&message);
    if (!take(&message, "M="))
        message = (struct rd){ message.end, message.end };
    *text = message;
    return 0;
}

void chap_mschapv2_failure_encode(struct wr *w, uint8_t id, const struct chap_failure *f)
{
    char head[48], challenge[33];
    size_t mark = header_open(w, CHAP_FAILURE, id);
    snprintf(head, sizeof head, "E=%u R=%d", f->error, f->retry);
    wr_str(w, head);
    if (f->has_challenge) {
        hex_encode(f->challenge, 16, challenge);
        for (char *c = challenge; *c; c++) /* RFC 2759 6 shows upper-case digits */
            if (*c >= 'a')
                *c = (char)(*c - 'a' + 'A');
        wr_str(w, " C=");
        wr_str(w, challenge);
    }
    snprintf(head, sizeof head, " V=%u", f->version);
    wr_str(w, head);
    if (!rd_end(&f->text)) {
        wr_str(w, " M=");
        wr_bytes(w, f->text.p, rd_left(&f->text));
    }
    header_close(w, mark);
}

/* A decimal number of at most nine digits that is all of r. */
static bool number_parse(struct rd r, uint32_t *out)
{
    uint32_t v = 0;
    uint8_t c;
    if (rd_end(&r) || rd_left(&r) > 9)
        return false;
    while (rd_u8(&r, &c)) {
        if (c < '0' || c > '9')
            return false;
        v = v * 10 + (uint32_t)(c - '0');
    }
    *out = v;
    return true;
}

/* The text of M=: the rest, unless E= is still to come; then it ends at the next key, since keys have no order. */
static struct rd text_take(struct rd *r, bool seen_error)
{
    struct rd text = { r->p, r->p };
    uint8_t c;
    while (!rd_end(r)) {
        struct rd at = *r;
        if (!seen_error && (take(&at, " E=") || take(&at, " R=") || take(&at, " C=") || take(&at, " V=")))
            break;
        if (rd_u8(r, &c))
            text.end = r->p;
    }
    return text;
}

/* What stands before the next blank or the end. */
static struct rd word_take(struct rd *r)
{
    struct rd word = { r->p, r->p };
    uint8_t c;
    while (rd_peek_u8(r, &c) && c != ' ' && rd_skip(r, 1))
        word.end = r->p;
    return word;
}

int chap_mschapv2_failure_parse(struct rd message, struct chap_failure *out)
{
    struct chap_failure f = { .text = { message.end, message.end } };
    bool seen_error = false, ok = true;
    for (skip_blanks(&message); ok && !rd_end(&message); skip_blanks(&message)) {
        if (take(&message, "M=")) {
            f.text = text_take(&message, seen_error);
            continue;
        }
        struct rd word = word_take(&message);
        uint32_t retry;
        if (take(&word, "E=")) {
            ok = seen_error = number_parse(word, &f.error);
        } else if (take(&word, "R=")) {
            ok = number_parse(word, &retry);
            f.retry = ok && retry == 1;
        } else if (take(&word, "C=")) {
            ok = f.has_challenge = hex_decode((const char *)word.p, rd_left(&word), f.challenge, 16);
        } else if (take(&word, "V=")) {
            ok = number_parse(word, &f.version);
        }
    }
    if (!ok || !seen_error)
        return ERR_PEER;
    *out = f;
    return 0;
}
