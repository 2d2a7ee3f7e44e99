/* Classes of bytes in HTTP, all ASCII. */
#ifndef GH_HTTP_OCTET_H
#define GH_HTTP_OCTET_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline uint8_t octet_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : c;
}

static inline bool octet_is_alpha(uint8_t c)
{
    return octet_lower(c) >= 'a' && octet_lower(c) <= 'z';
}

static inline bool octet_is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* tchar, RFC 9110 5.6.2 */
static inline bool octet_is_token(uint8_t c)
{
    return octet_is_alpha(c) || octet_is_digit(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* What may stand between the words of a request line, RFC 9112 3. */
static inline bool octet_is_gap(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\v' || c == '\f' || c == '\r';
}

/* The value of a hexadecimal digit, negative when it is none. */
static inline int octet_hex(uint8_t c)
{
    if (octet_is_digit(c))
        return c - '0';
    return octet_lower(c) >= 'a' && octet_lower(c) <= 'f' ? octet_lower(c) - 'a' + 10 : -1;
}

#endif
