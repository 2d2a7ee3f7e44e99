#include "client/request.h"

#include <stdio.h>
#include <string.h>

#include "http/head.h"

size_t request_write(char *out, size_t cap, const struct http_url *server, const struct rng *rng)
{
    char host[300];
    uint8_t g[16];
    http_url_authority(server, host, sizeof host);
    rng_fill(rng, g, sizeof g);
    g[6] = (uint8_t)((g[6] & 0x0f) | 0x40); /* RFC 9562 5.4 */
    g[8] = (uint8_t)((g[8] & 0x3f) | 0x80);
    int n =
        snprintf(out, cap,
                 "%s %s HTTP/1.1\r\nContent-Length: 18446744073709551615\r\nHost: %s\r\nSSTPCORRELATIONID: "
                 "{%02X%02X%02X%02X-%02X%02X-%02X%02X-%02X%02X-%02X%02X%02X%02X%02X%02X}\r\n\r\n",
                 SSTP_METHOD, server->path[0] && strcmp(server->path, "/") != 0 ? server->path : SSTP_URI, host, g[0],
                 g[1], g[2], g[3], g[4], g[5], g[6], g[7], g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]);
    return n < 0 || (size_t)n >= cap ? 0 : (size_t)n;
}

bool request_answer_good(const struct http_answer *a, struct client_end *why)
{
    if (a->minor != 1) {
        client_end_set(why, CLIENT_HTTP, "it answers with another version than HTTP/1.1: %d %s", a->status, a->reason);
        why->ras = "RasSstp 3";
    } else if (a->status == 503) {
        client_end_set(why, CLIENT_HTTP_BUSY, "it answers 503 %s", a->reason);
    } else if (a->status >= 300 && a->status < 400) {
        client_end_set(why, CLIENT_HTTP, "it answers %d %s, to %s: redirects are not followed", a->status, a->reason,
                       a->location[0] ? a->location : "nowhere");
    } else if (a->status != 200) {
        client_end_set(why, CLIENT_HTTP, "it answers %d %s%s%s", a->status, a->reason, a->server[0] ? ", server " : "",
                       a->server);
    } else if ((a->has_length && !a->sstp_length) || a->chunked) {
        client_end_set(why, CLIENT_HTTP, "it answers with a page: a web server, that knows no SSTP%s%s",
                       a->server[0] ? ": " : "", a->server);
    } else {
        return true;
    }
    return false;
}
