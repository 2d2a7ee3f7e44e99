#include "tls/peek.h"

#include "tls/internal.h"

#define HELLO_MAX 16384 /* bytes of a ClientHello that are looked at, without its header of 4 */

const char *tls_sni_parse(struct rd ext, char out[TLS_NAME_MAX + 1])
{
    uint16_t list_len, name_len;
    uint8_t type;
    struct rd list, name;
    if (!rd_u16(&ext, &list_len) || !rd_sub(&ext, list_len, &list) || !rd_u8(&list, &type) || type != 0 ||
        !rd_u16(&list, &name_len) || !rd_sub(&list, name_len, &name))
        return NULL;
    size_t n = 0;
    for (uint8_t c; rd_u8(&name, &c);) {
        if (c >= 'A' && c <= 'Z')
            c = (uint8_t)(c - 'A' + 'a');
        bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
        if (!good || n == TLS_NAME_MAX)
            return NULL;
        out[n++] = (char)c;
    }
    if (n && out[n - 1] == '.')
        n--;
    out[n] = 0;
    return n ? out : NULL;
}

/* The header of a record (RFC 8446 5.1) and what is there of its fragment. */
static int record_next(struct rd *all, struct rd *fragment)
{
    uint8_t type, major, minor;
    uint16_t len;
    if (!rd_u8(all, &type))
        return ERR_AGAIN;
    if (type != 22) /* handshake */
        return ERR_PEER;
    if (!rd_u8(all, &major))
        return ERR_AGAIN;
    if (major != 3)
        return ERR_PEER;
    if (!rd_u8(all, &minor) || !rd_u16(all, &len))
        return ERR_AGAIN;
    if (!len || len > 16384)
        return ERR_PEER;
    size_t have = rd_left(all) < len ? rd_left(all) : len;
    return rd_sub(all, have, fragment) ? 0 : ERR_BUG;
}

/* Type and length of the handshake message (RFC 8446 4), as far as they are there. */
static int message_len(struct rd msg, size_t *len)
{
    uint8_t type, high;
    uint16_t low;
    if (!rd_u8(&msg, &type))
        return ERR_AGAIN;
    if (type != 1) /* client_hello */
        return ERR_PEER;
    if (!rd_u8(&msg, &high) || !rd_u16(&msg, &low))
        return ERR_AGAIN;
    *len = (size_t)high << 16 | low;
    return *len > HELLO_MAX ? ERR_LIMIT : 0;
}

/* The extensions of a ClientHello (RFC 8446 4.1.2; RFC 5246 7.4.1.2 may have none). */
static int hello_extensions(struct rd hello, struct rd *out)
{
    uint8_t id_len, compressions;
    uint16_t ciphers, len;
    *out = rd_make(NULL, 0);
    if (!rd_skip(&hello, 2 + 32) || !rd_u8(&hello, &id_len) || id_len > 32 || !rd_skip(&hello, id_len) ||
        !rd_u16(&hello, &ciphers) || !ciphers || ciphers % 2 || !rd_skip(&hello, ciphers) ||
        !rd_u8(&hello, &compressions) || !compressions || !rd_skip(&hello, compressions))
        return ERR_PEER;
    if (rd_end(&hello))
        return 0;
    return rd_u16(&hello, &len) && rd_sub(&hello, len, out) && rd_end(&hello) ? 0 : ERR_PEER;
}

static int hello_sni(struct rd hello, char out[TLS_NAME_MAX + 1])
{
    struct rd exts, ext, name = { 0 };
    bool named = false;
    int rc = hello_extensions(hello, &exts);
    while (!rc && !rd_end(&exts)) {
        uint16_t type, len;
        if (!rd_u16(&exts, &type) || !rd_u16(&exts, &len) || !rd_sub(&exts, len, &ext))
            return ERR_PEER;
        if (type != 0) /* server_name */
            continue;
        if (named) /* RFC 8446 4.2: one of a type */
            return ERR_PEER;
        named = true;
        name = ext;
    }
    if (!rc && (!named || !tls_sni_parse(name, out)))
        out[0] = 0;
    return rc;
}

int tls_peek_sni(struct rd all, char out[TLS_NAME_MAX + 1])
{
    uint8_t msg[4 + HELLO_MAX];
    size_t have = 0, body = 0;
    bool full = rd_left(&all) >= TLS_PEEK_MAX;
    if (full)
        all = rd_make(all.p, TLS_PEEK_MAX);
    for (;;) {
        struct rd fragment;
        int rc = record_next(&all, &fragment);
        if (rc == ERR_AGAIN && full)
            return ERR_LIMIT;
        if (rc)
            return rc;
        size_t n = rd_left(&fragment) < sizeof msg - have ? rd_left(&fragment) : sizeof msg - have;
        if (!rd_copy(&fragment, msg + have, n))
            return ERR_BUG;
        have += n;
        rc = message_len(rd_make(msg, have), &body);
        if (!rc && have >= 4 + body)
            return hello_sni(rd_make(msg + 4, body), out);
        if (rc && rc != ERR_AGAIN)
            return rc;
    }
}
