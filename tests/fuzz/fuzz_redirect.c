/*
 * From a plain request to a place in https. The input is the port (2 bytes), then the Host header up to a NUL, then the
 * target. What comes out is a URL of that host and path, holds nothing that ends a header, and leads to itself.
 */
#include <stdlib.h>
#include <string.h>

#include "base/rd.h"
#include "web/redirect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_url(const char *out, const char *host)
{
    char only[REDIRECT_LOCATION_MAX], again[REDIRECT_LOCATION_MAX];
    check(strncmp(out, "https://", 8) == 0);
    for (const char *c = out; *c; c++)
        check(*c > 0x20 && *c < 0x7f && *c != '"' && *c != '<' && *c != '>' && *c != '\\' && *c != '#');
    size_t n = strcspn(out + 8, "/");
    check(out[8 + n] == '/' && n > 0);
    memcpy(only, out + 8, n);
    only[n] = 0;
    check(!strpbrk(only, "@?,;"));
    size_t name = only[0] == '[' ? strcspn(only, "]") + 1 : strcspn(only, ":");
    check(strncmp(only, host, name) == 0 && (!host[name] || host[name] == ':'));
    uint16_t port = only[name] == ':' ? (uint16_t)atoi(only + name + 1) : 443;
    check(redirect_location(only, out, port, again, sizeof again) == 0 && strcmp(out, again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd in = rd_make(data, size);
    char out[REDIRECT_LOCATION_MAX], token[REDIRECT_TOKEN_MAX + 1];
    uint16_t port;
    if (!rd_u16(&in, &port))
        return 0;
    size_t left = rd_left(&in);
    char *text = calloc(1, left + 2); /* two strings, each with its NUL */
    if (!text || !rd_copy(&in, text, left))
        abort();
    const char *host = text, *target = text + strlen(text) + 1 <= text + left ? text + strlen(text) + 1 : "";
    int rc = redirect_location(host, target, port, out, sizeof out);
    check(rc == 0 || rc == ERR_PEER || rc == ERR_LIMIT);
    check((rc == 0) == (*out != 0));
    if (rc == 0)
        check_url(out, host);
    size_t need = rc == 0 ? strlen(out) + 1 : 0;
    if (need) {
        check(redirect_location(host, target, port, out, need) == 0);
        check(redirect_location(host, target, port, out, need - 1) == ERR_LIMIT);
    }
    if (redirect_challenge(target, token)) {
        check(*token && strlen(token) <= REDIRECT_TOKEN_MAX);
        check(strspn(token, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == strlen(token));
    }
    free(text);
    return 0;
}
