/* Passwords of the users file: UTF-8 to NT hash (RFC 2759 8.3), and the field that holds them. */
#include <string.h>

#include "auth/users.h"
#include "auth/users_line.h"
#include "base/ct.h"
#include "base/digest.h"
#include "base/rd.h"

/* The n continuation bytes of a UTF-8 sequence. */
static bool utf8_tail(struct rd *r, int n, uint32_t *c)
{
    uint8_t b;
    for (; n > 0; n--) {
        if (!rd_u8(r, &b) || (b & 0xc0) != 0x80)
            return false;
        *c = *c << 6 | (b & 0x3f);
    }
    return true;
}

/* The next character; false on what RFC 3629 forbids: overlong forms, surrogates, above 10FFFF. */
static bool utf8_next(struct rd *r, uint32_t *out)
{
    uint8_t b;
    if (!rd_u8(r, &b))
        return false;
    *out = b;
    if (b < 0x80)
        return true;
    int n = b >= 0xf0 ? 3 : b >= 0xe0 ? 2 : 1;
    uint32_t least = n == 3 ? 0x10000 : n == 2 ? 0x800 : 0x80;
    *out = b & (0x3fu >> n);
    return b >= 0xc0 && b < 0xf8 && utf8_tail(r, n, out) && *out >= least && *out <= 0x10ffff && *out >> 11 != 0x1b;
}

static void utf16le_put(uint8_t *out, size_t *n, uint32_t unit)
{
    out[(*n)++] = (uint8_t)unit;
    out[(*n)++] = (uint8_t)(unit >> 8);
}

int users_nt_hash(const char *password, size_t len, uint8_t out[16])
{
    uint8_t utf16[2 * USERS_PASSWORD_MAX]; /* no character takes more UTF-16 units than UTF-8 bytes */
    struct rd r = rd_make(password, len);
    size_t n = 0;
    uint32_t c;
    int result = len > USERS_PASSWORD_MAX ? ERR_USAGE : 0;
    while (result == 0 && !rd_end(&r)) {
        if (!utf8_next(&r, &c)) {
            result = ERR_USAGE;
        } else if (c < 0x10000) {
            utf16le_put(utf16, &n, c);
        } else {
            utf16le_put(utf16, &n, 0xd800 + ((c - 0x10000) >> 10));
            utf16le_put(utf16, &n, 0xdc00 + ((c - 0x10000) & 0x3ff));
        }
    }
    const struct digest_part part = { utf16, n };
    if (result == 0)
        result = digest(DIGEST_MD4, &part, 1, out);
    secret_wipe(utf16, sizeof utf16);
    return result;
}

int users_secret_text(const char *password, size_t len, bool plain, char out[USERS_SECRET_MAX])
{
    uint8_t hash[MD4_LEN];
    int r = users_nt_hash(password, len, hash);
    if (r == 0 && !users_text_is_clean(password, len))
        r = ERR_USAGE;
    if (r == 0 && plain) {
        memcpy(out, "plain:", 6);
        users_value_quote(password, len, out + 6);
    } else if (r == 0) {
        memcpy(out, "nt:", 3);
        hex_encode(hash, sizeof hash, out + 3);
    }
    secret_wipe(hash, sizeof hash);
    return r;
}
