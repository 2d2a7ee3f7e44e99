/*
 * A URL as a person gives it, and what follows its first line as a no_proxy list. What is taken must be taken the same
 * when it is written out again; a refusal has words and leaves nothing behind.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_taken(const struct http_url *u, const char *list)
{
    struct http_url again = { 0 };
    char authority[264], text[1024], why[128];
    http_url_authority(u, authority, sizeof authority);
    check(u->host[0] && u->port && !(u->ip4 && u->ip6) && (!u->path[0] || u->path[0] == '/'));
    snprintf(text, sizeof text, "%s://%s%s", u->https ? "https" : "http", authority, u->path);
    check(http_url_parse(text, "https", &again, why, sizeof why) == 0);
    check(!strcmp(u->host, again.host) && u->port == again.port && !strcmp(u->path, again.path));
    check(u->ip4 == again.ip4 && u->ip6 == again.ip6 && u->https == again.https && again.port_given);
    check(http_no_proxy(u->ip6 ? authority : u->host, u) && !http_no_proxy(NULL, u) && !http_no_proxy("", u));
    check(http_no_proxy("*", u));
    (void)!http_no_proxy(list, u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct http_url none;
    struct http_url u = { 0 };
    char why[128], *text = malloc(size + 1), *end;
    check(text != NULL);
    if (size)
        memcpy(text, data, size);
    text[size] = 0;
    end = strchr(text, '\n');
    if (end)
        *end++ = 0;
    int err = http_url_parse(text, size % 2 ? "https" : "http", &u, why, sizeof why);
    check(!err || (err == ERR_USAGE && why[0] && !memcmp(&u, &none, sizeof u)));
    if (!err)
        check_taken(&u, end ? end : "");
    free(text);
    return 0;
}
