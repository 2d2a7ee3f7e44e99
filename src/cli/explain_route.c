/* gatehouse explain ADDRESS: who listens there, which certificate is shown, where the request goes. */
#include "cli/explain_route.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/explain.h"
#include "http/head.h"

#define DEFAULT_PORT 443

/* ---- what was asked ---- */

/* "203.0.113.5", "[2001:db8::5]", "2001:db8::5", each with or without a port but the last. */
static int parse_address(const char *text, struct route_ask *out, char *why, size_t cap)
{
    char full[80];
    struct tls_rule r;
    struct in6_addr six;
    if (inet_pton(AF_INET6, text, &six) == 1)
        snprintf(full, sizeof full, "[%s]:%d", text, DEFAULT_PORT);
    else if (text[0] == '[' ? text[strlen(text) - 1] == ']' : !strchr(text, ':'))
        snprintf(full, sizeof full, "%s:%d", text, DEFAULT_PORT);
    else
        snprintf(full, sizeof full, "%s", text);
    if (tls_rule_parse(full, &r) < 0 || r.kind == TLS_RULE_NAME || r.kind == TLS_RULE_WILDCARD ||
        r.kind == TLS_RULE_DEFAULT) {
        snprintf(why, cap, "\"%s\" is no address; write 203.0.113.5:443 or [2001:db8::5]:443", text);
        return ERR_USAGE;
    }
    if (r.kind != TLS_RULE_ADDR) {
        snprintf(why, cap, "nobody dials %s: write an address of this host, as clients dial it", text);
        return ERR_USAGE;
    }
    tls_rule_text(&r, out->address, sizeof out->address);
    out->where = (struct tls_where){ .family = r.family, .port = r.port };
    memcpy(out->where.ip, r.ip, sizeof r.ip);
    return 0;
}

/* As the server keeps it: lower case, no final dot. */
static int parse_name(const char *text, struct route_ask *out, char *why, size_t cap)
{
    size_t len = strlen(text);
    if (len && text[len - 1] == '.')
        len--;
    snprintf(out->name, sizeof out->name, "%.*s", (int)(len < sizeof out->name ? len : 0), text);
    for (char *p = out->name; *p; p++)
        *p = (char)(*p >= 'A' && *p <= 'Z' ? *p - 'A' + 'a' : *p);
    if (!config_name_valid(out->name)) {
        snprintf(why, cap, "\"%s\" is no server name; clients that dial by address send none", text);
        return ERR_USAGE;
    }
    out->where.sni = out->name;
    return 0;
}

static bool one_word(const char *text)
{
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7f)
            return false;
    return *text != 0;
}

static int parse_request(const char *method, const char *target, struct route_ask *out, char *why, size_t cap)
{
    if (!one_word(method) || !one_word(target) || strlen(method) + strlen(target) > HTTP_HEAD_MAX / 2) {
        snprintf(why, cap, "a request is METHOD URL, as in GET / or SSTP_DUPLEX_POST %s", SSTP_URI);
        return ERR_USAGE;
    }
    out->method = method;
    out->target = target;
    return 0;
}

int route_ask_parse(int n, char **args, struct route_ask *out, char *why, size_t cap)
{
    memset(out, 0, sizeof *out);
    if (n < 1 || n > 4) {
        snprintf(why, cap, "usage: gatehouse explain ADDRESS[:PORT] [NAME] [METHOD URL]");
        return ERR_USAGE;
    }
    int rc = parse_address(args[0], out, why, cap);
    if (!rc && n % 2 == 0)
        rc = parse_name(args[1], out, why, cap);
    if (!rc && n > 2)
        rc = parse_request(args[n - 2], args[n - 1], out, why, cap);
    return rc;
}

/* ---- the listener ---- */

/* 2: listens on this very address, 1: on any of its family, 0: not. The port has to be right. */
static int listens(const struct config_addr *a, const struct tls_where *w)
{
    static const uint8_t any[16];
    bool six = a->u.sa.sa_family == AF_INET6;
    const void *ip = six ? (const void *)&a->u.in6.sin6_addr : (const void *)&a->u.in.sin_addr;
    size_t len = six ? 16 : 4;
    uint16_t port = ntohs(six ? a->u.in6.sin6_port : a->u.in.sin_port);
    if (w->family != (six ? 6 : 4) || port != w->port)
        return 0;
    return !memcmp(ip, w->ip, len) ? 2 : !memcmp(ip, any, len) ? 1 : 0;
}

/* The kernel prefers a socket that is bound to the very address. */
static void find_listener(const struct config *c, const struct tls_where *w, struct route *out)
{
    const struct {
        enum route_listener kind;
        const struct config_addr *list;
        size_t n;
    } lists[] = { { ROUTE_TLS, c->listen.address, c->listen.n_address },
                  { ROUTE_FRONT, c->offload.listen, c->offload.n_listen },
                  { ROUTE_REDIRECT, c->listen.redirect, c->listen.n_redirect } };
    int best = 0;
    for (size_t k = 0; k < sizeof lists / sizeof lists[0]; k++)
        for (size_t i = 0; i < lists[k].n; i++) {
            int fit = listens(&lists[k].list[i], w);
            if (fit <= best)
                continue;
            best = fit;
            out->listener = lists[k].kind;
            out->listen = lists[k].list[i].text;
        }
}

/* ---- the certificate ---- */

static const char *lost_because(const struct route *r, const struct route_rule *x, const struct tls_where *w)
{
    const struct tls_rule *won = &r->rules[r->won].rule;
    const char *why = tls_rule_mismatch(&x->rule, w);
    if (why || tls_rule_equal(&x->rule, won))
        return why;
    switch (won->kind) {
    case TLS_RULE_ADDR: return "comes after a rule for this very address";
    case TLS_RULE_NAME: return "comes after a rule for this very name";
    case TLS_RULE_WILDCARD: return "comes after a wildcard";
    case TLS_RULE_ANY6: return "comes after a rule for all IPv6 addresses";
    case TLS_RULE_ANY: return "comes after a rule for all addresses";
    case TLS_RULE_DEFAULT: break;
    }
    return "comes after another";
}

static int select_certificate(const struct config *c, const struct tls_where *w, struct route *out)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n_certs; i++)
        n += c->certs[i].n_for;
    struct tls_rule *rules = calloc(n ? n : 1, sizeof *rules);
    out->rules = calloc(n ? n : 1, sizeof *out->rules);
    if (!rules || !out->rules) {
        free(rules);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < c->n_certs; i++)
        for (size_t k = 0; k < c->certs[i].n_for; k++)
            if (!tls_rule_parse(c->certs[i].for_[k], &rules[out->n_rules])) { /* the loader has read it already */
                out->rules[out->n_rules].rule = rules[out->n_rules];
                out->rules[out->n_rules++].cert = i;
            }
    out->won = tls_rule_select(rules, out->n_rules, w);
    free(rules);
    out->shown = out->won >= 0 ? out->won : c->tls.no_match == CONFIG_NO_MATCH_ALERT ? -1 : 0;
    for (size_t i = 0; i < out->n_rules; i++)
        out->rules[i].why =
            out->won < 0 ? tls_rule_mismatch(&out->rules[i].rule, w) : lost_because(out, &out->rules[i], w);
    return 0;
}

/* ---- the request ---- */

static void set_end(struct route *r, enum route_end end, int status, const char *why)
{
    r->end = end;
    r->status = status;
    r->why = why;
}

static void decide_probe(const struct config *c, struct route *out)
{
    if (!c->vpn_on)
        set_end(out, ROUTE_REPLY, 400, "the SSTP URI is reserved, and there is no vpn section");
    else if (c->vpn.probe_answer == CONFIG_PROBE_WEB)
        set_end(out, ROUTE_WEB, 0, "no call, and vpn.probe-answer is web");
    else
        set_end(out, ROUTE_REPLY, c->vpn.probe_answer == CONFIG_PROBE_404 ? 404 : 401,
                "the SSTP URI by another method, as load balancers probe: vpn.probe-answer; 503 while draining");
}

/* A head around the request, as a client would send it. */
static void decide_request(const struct config *c, const struct route_ask *ask, struct route *out)
{
    char text[HTTP_HEAD_MAX];
    struct http_head h;
    int n = snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: %s\r\n\r\n", ask->method, ask->target,
                     ask->where.sni ? ask->where.sni : ask->address);
    http_head_init(&h);
    switch (http_head_input(&h, rd_make((const uint8_t *)text, (size_t)n))) {
    case HTTP_MORE: /* an empty target: parse_request() lets none through */
    case HTTP_WEB: set_end(out, ROUTE_WEB, 0, "not the SSTP URI"); return;
    case HTTP_SSTP:
        if (c->vpn_on)
            set_end(out, ROUTE_CALL, 200, "an SSTP call; 503 while draining, or when vpn.max-calls are up");
        else
            set_end(out, ROUTE_REPLY, 400, "an SSTP call, and there is no vpn section");
        return;
    case HTTP_PROBE: decide_probe(c, out); return;
    case HTTP_BAD: set_end(out, ROUTE_REPLY, c->vpn_on || h.status == 414 ? h.status : 400, h.why); return;
    }
}

int route_decide(const struct config *c, const struct route_ask *ask, struct route *out)
{
    memset(out, 0, sizeof *out);
    out->won = out->shown = -1;
    find_listener(c, &ask->where, out);
    if (out->listener != ROUTE_TLS && out->listener != ROUTE_FRONT)
        return 0;
    if (out->listener == ROUTE_TLS) {
        out->pass = config_passthrough(c, ask->where.sni);
        if (out->pass)
            return 0;
        int rc = select_certificate(c, &ask->where, out);
        if (rc)
            return rc;
    }
    /* A front tells the name in the PROXY header, if at all. */
    bool named = out->listener == ROUTE_TLS || c->offload.proxy_required;
    out->site = config_site(c, named ? ask->where.sni : NULL);
    if (ask->method)
        decide_request(c, ask, out);
    return 0;
}

void route_free(struct route *r)
{
    free(r->rules);
}

/* ---- the command ---- */

int explain_route(const char *config, int n, char **args, bool json)
{
    struct route_ask ask;
    struct route r;
    struct config *c = NULL;
    struct config_error err = { "" };
    char why[256];
    if (route_ask_parse(n, args, &ask, why, sizeof why) < 0) {
        cli_fail("%s", why);
        return EXIT_USAGE;
    }
    int rc = config_load(config, &c, &err);
    if (rc) {
        cli_fail("%s", err.text[0] ? err.text : err_name(rc));
        return rc == ERR_USAGE ? EXIT_USAGE : EXIT_BAD;
    }
    rc = route_decide(c, &ask, &r);
    if (rc)
        cli_fail("%s", err_name(rc));
    int status = rc ? EXIT_BAD : (json ? route_print_json : route_print_text)(c, &ask, &r);
    route_free(&r);
    config_free(c);
    return status;
}
