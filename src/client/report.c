#include "client/report.h"

#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#define READER_MS 1000

static enum client_mode mode;
static int json_fd = -1;

void report_setup(enum client_mode m, int stdout_fd)
{
    mode = m;
    json_fd = stdout_fd;
}

/* One line, in one write; what cannot be written is lost, as with any closed pipe. */
static void put_json(json_t *j)
{
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    size_t n = text ? strlen(text) : 0;
    char *line = text ? realloc(text, n + 1) : NULL;
    if (line) {
        struct pollfd p = { json_fd, POLLOUT, 0 };
        line[n] = '\n';         /* in the NUL's place */
        poll(&p, 1, READER_MS); /* a reader that has stopped must not stop the call */
        ssize_t w = p.revents & POLLOUT ? write(json_fd, line, n + 1) : -1;
        (void)w;
    }
    free(line ? line : text);
    json_decref(j);
}

void report_dialling(const char *url, unsigned attempt)
{
    switch (mode) {
    case CLIENT_MODE_LOG: log_info(NULL, "dialling", "dialling", LOG_S("url", url), LOG_N("attempt", attempt)); return;
    case CLIENT_MODE_TERMINAL: dprintf(STDERR_FILENO, "Connecting to %s\n", url); return;
    case CLIENT_MODE_JSON:
        put_json(json_pack("{s:s s:s s:i}", "event", "dialling", "url", url, "attempt", (int)attempt));
    }
}

void report_step(const char *step, const char *text, uint64_t ms)
{
    switch (mode) {
    case CLIENT_MODE_LOG: log_info(NULL, "step", text, LOG_S("step", step), LOG_N("ms", ms)); return;
    case CLIENT_MODE_TERMINAL:
        dprintf(STDERR_FILENO, "  %-8s %s  (%llu ms)\n", step, text, (unsigned long long)ms);
        return;
    case CLIENT_MODE_JSON:
        put_json(json_pack("{s:s s:s s:s s:I}", "event", "step", "step", step, "text", text, "ms", (json_int_t)ms));
    }
}

static json_t *words(const char *text)
{
    json_t *list = json_array();
    while (*text) {
        size_t n = strcspn(text, " ");
        if (n)
            json_array_append_new(list, json_stringn(text, n));
        text += n + (text[n] != 0);
    }
    return list;
}

static void up_json(const struct report_up *u)
{
    json_t *dns = json_array();
    for (int i = 0; i < 2; i++)
        if (u->dns[i][0])
            json_array_append_new(dns, json_string(u->dns[i]));
    put_json(json_pack("{s:s s:s s:s s:o s:s s:s s:o s:s s:s s:s s:s s:s s:s s:i s:I}", "event", "up", "ip", u->ip,
                       "peer", u->peer, "dns", dns, "dns_way", u->dns_way, "interface", u->interface, "routes",
                       words(u->routes), "server", u->server, "proxy", u->proxy, "tls", u->tls, "cipher", u->cipher,
                       "hash", u->hash, "method", u->method, "mtu", (int)u->mtu, "ms", (json_int_t)u->ms));
}

void report_up(const struct report_up *u)
{
    switch (mode) {
    case CLIENT_MODE_LOG:
        log_notice(NULL, "call-up", "call is up", LOG_S("ip", u->ip), LOG_S("interface", u->interface),
                   LOG_S("server", u->server), LOG_S("proxy", u->proxy), LOG_S("method", u->method),
                   LOG_S("tls", u->tls), LOG_S("routes", u->routes), LOG_S("dns", u->dns[0]), LOG_N("setup_ms", u->ms));
        return;
    case CLIENT_MODE_TERMINAL:
        dprintf(STDERR_FILENO, "Connected in %llu ms: %s on %s, routes %s%s%s%s%s.%s\n", (unsigned long long)u->ms,
                u->ip, u->interface, u->routes[0] ? u->routes : "none", u->dns_way[0] ? ", DNS " : "",
                u->dns_way[0] ? u->dns[0] : "", u->dns_way[0] ? " by " : "", u->dns_way,
                isatty(STDIN_FILENO) || isatty(STDERR_FILENO) ? " Ctrl-C hangs up." : "");
        return;
    case CLIENT_MODE_JSON: up_json(u);
    }
}

void report_warning(const char *event, const char *text, const char *remedy)
{
    switch (mode) {
    case CLIENT_MODE_LOG: log_warn(NULL, event, text, LOG_S("remedy", remedy)); return;
    case CLIENT_MODE_TERMINAL: dprintf(STDERR_FILENO, "WARNING: %s\n  %s\n", text, remedy); return;
    case CLIENT_MODE_JSON:
        put_json(json_pack("{s:s s:s s:s s:s}", "event", "warning", "name", event, "text", text, "remedy", remedy));
    }
}

void report_failed(const struct client_end *why, bool was_up)
{
    const struct client_cause_info *info = &client_causes[why->cause];
    const char *remedy = client_end_remedy(why), *ras = client_end_ras(why);
    switch (mode) {
    case CLIENT_MODE_LOG:
        if (why->cause == CLIENT_OK)
            log_notice(NULL, "call-down", "call ended", LOG_S("cause", info->name));
        else
            log_warn(NULL, was_up ? "call-down" : "dial-failed", info->text, LOG_S("cause", info->name),
                     LOG_S("reason", why->text), LOG_S("windows", ras), LOG_S("remedy", remedy));
        return;
    case CLIENT_MODE_TERMINAL:
        if (why->cause == CLIENT_OK)
            return;
        dprintf(STDERR_FILENO, "%s: %s%s%s\n", was_up ? "Disconnected" : "Failed", info->text, why->text[0] ? ": " : "",
                why->text);
        if (ras[0])
            dprintf(STDERR_FILENO, "  Windows would log %s\n", ras);
        if (remedy[0])
            dprintf(STDERR_FILENO, "  Remedy: %s\n", remedy);
        return;
    case CLIENT_MODE_JSON:
        put_json(json_pack("{s:s s:s s:s s:s s:s s:s}", "event", was_up ? "down" : "failed", "cause", info->name,
                           "what", info->text, "text", why->text, "remedy", remedy, "windows", ras));
    }
}

void report_retry(uint64_t in_ms)
{
    switch (mode) {
    case CLIENT_MODE_LOG: log_info(NULL, "retry", "dialling again", LOG_N("in_ms", in_ms)); return;
    case CLIENT_MODE_TERMINAL:
        dprintf(STDERR_FILENO, "Trying again in %llu.%llu s (Ctrl-C stops, --once gives up)\n",
                (unsigned long long)in_ms / 1000, (unsigned long long)in_ms % 1000 / 100);
        return;
    case CLIENT_MODE_JSON: put_json(json_pack("{s:s s:I}", "event", "retry", "in_ms", (json_int_t)in_ms));
    }
}

void report_end(const struct client_end *why, int exit_status)
{
    switch (mode) {
    case CLIENT_MODE_LOG:
        log_notice(NULL, "stopped", "stopped", LOG_S("cause", client_causes[why->cause].name));
        return;
    case CLIENT_MODE_TERMINAL:
        if (why->cause == CLIENT_OK)
            dprintf(STDERR_FILENO, "Disconnected.\n");
        return;
    case CLIENT_MODE_JSON:
        put_json(
            json_pack("{s:s s:s s:i}", "event", "end", "cause", client_causes[why->cause].name, "exit", exit_status));
    }
}
