/* gatehouse explain ADDRESS: the answer in words, and as JSON. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/certfile.h"
#include "cli/cli.h"
#include "cli/explain.h"
#include "cli/explain_route.h"
#include "http/head.h"

static const char *const listener_name[] = { "none", "tls", "offload", "redirect" };

/* Is this certificate shown? An RSA and an ECDSA one may have the same rule. */
static bool is_shown(const struct route *r, size_t cert)
{
    for (size_t i = 0; r->shown >= 0 && i < r->n_rules; i++)
        if (r->rules[i].cert == cert && tls_rule_equal(&r->rules[i].rule, &r->rules[r->shown].rule))
            return true;
    return false;
}

static bool good(const struct route *r)
{
    return r->listener != ROUTE_NOBODY && (r->listener != ROUTE_TLS || r->pass || r->shown >= 0);
}

static void date_text(int64_t s, char out[32])
{
    time_t t = (time_t)s;
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(out, 32, "%Y-%m-%d %H:%M:%S UTC", &tm);
}

static const char *site_kind(const struct config_web *w)
{
    return w->upstream.len ? "upstream" : w->root ? "root" : "welcome";
}

static const char *proxy_name(enum proxy_version v)
{
    return v == PROXY_V1 ? "v1" : v == PROXY_V2 ? "v2" : "off";
}

/* ---- text ---- */

__attribute__((format(printf, 2, 3))) static void say(const char *label, const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    explain_field(label, text);
}

static void say_listeners(const struct config *c, const struct route_ask *ask)
{
    char all[1024] = "";
    size_t n = 0;
    const struct {
        const struct config_addr *list;
        size_t n;
    } lists[] = { { c->listen.address, c->listen.n_address },
                  { c->offload.listen, c->offload.n_listen },
                  { c->listen.redirect, c->listen.n_redirect } };
    for (size_t k = 0; k < 3; k++)
        for (size_t i = 0; i < lists[k].n && n < sizeof all; i++)
            n += (size_t)snprintf(all + n, sizeof all - n, "%s%s", n ? ", " : "", lists[k].list[i].text);
    say("listen", "nobody: %s is none of %s", ask->address, all);
    explain_field("do", "dial an address, family and port of these, or add one to listen.address (it needs a restart)");
}

/* What a client that dials so would say of it, NULL: nothing. */
static const char *objection(const struct certfile *f, const char *name)
{
    int64_t now = time(NULL);
    if (now >= f->not_after_s)
        return "expired: clients refuse it";
    if (now < f->not_before_s)
        return "not valid yet: clients refuse it";
    if (name && !certfile_names_host(f, name))
        return "does not have the name that was dialled: clients refuse it";
    return NULL;
}

static int say_certificate(const struct config_cert *cert, const char *name)
{
    static struct certfile f; /* large */
    char why[256], from[32], until[32];
    printf("\ncertificate \"%s\"\n", cert->name);
    explain_field("chain", cert->chain);
    if (certfile_read(cert->chain, &f, why, sizeof why) < 0) {
        explain_field("error", why);
        return EXIT_BAD;
    }
    date_text(f.not_before_s, from);
    date_text(f.not_after_s, until);
    explain_field("subject", f.subject);
    say("key", "%s, %d bits", f.key_type, f.key_bits);
    explain_field("SHA-256", f.sha256);
    explain_field("SHA-1", f.sha1);
    say("valid", "%s to %s", from, until);
    explain_field("warning", objection(&f, name));
    return EXIT_GOOD;
}

static void say_rules(const struct config *c, const struct route *r)
{
    char text[300];
    bool any = false;
    if (r->won >= 0) {
        tls_rule_text(&r->rules[r->won].rule, text, sizeof text);
        explain_field("rule", text);
    } else if (r->shown >= 0) {
        explain_field("rule", "none matches; tls.no-match is default: the first certificate is shown");
    } else {
        explain_field("rule", "none matches; tls.no-match is alert: the client is refused with unrecognized_name");
    }
    for (size_t i = 0; i < r->n_rules; i++) {
        if (!r->rules[i].why)
            continue;
        tls_rule_text(&r->rules[i].rule, text, sizeof text);
        say(any ? "" : "not", "%s (\"%s\"): %s", text, c->certs[r->rules[i].cert].name, r->rules[i].why);
        any = true;
    }
}

static void say_site(const struct config_web *w)
{
    char where[1024];
    if (w->upstream.len)
        snprintf(where, sizeof where, "%s", w->upstream.text);
    else
        snprintf(where, sizeof where, "the built-in site%s%s", w->root ? ", " : " (welcome page)",
                 w->root ? w->root : "");
    say("web", "%s, %s%s%s%s%s", w->name ? w->name : "any name", where, w->upstream_h2.len ? "; HTTP/2 to " : "",
        w->upstream_h2.len ? w->upstream_h2.text : "", w->proxy_protocol == PROXY_OFF ? "" : "; PROXY protocol ",
        w->proxy_protocol == PROXY_OFF ? "" : proxy_name(w->proxy_protocol));
}

static void say_request(const struct config *c, const struct route_ask *ask, const struct route *r)
{
    say_site(r->site);
    if (!ask->method) {
        explain_field("calls", c->vpn_on ? "taken, on " SSTP_URI : "answered 400: there is no vpn section");
        return;
    }
    say("request", "%s %s", ask->method, ask->target);
    switch (r->end) {
    case ROUTE_CALL: say("goes", "to a call: %s", r->why); return;
    case ROUTE_WEB: say("goes", "to the web site above: %s", r->why); return;
    case ROUTE_REPLY: say("goes", "nowhere, answered %d %s: %s", r->status, http_reason(r->status), r->why); return;
    }
}

static void say_front(const struct config *c)
{
    explain_field("TLS", "ended in front of us: the front chooses the certificate");
    for (size_t i = 0; i < c->offload.n_cert; i++)
        explain_field(i ? "" : "accepts", c->offload.cert[i].text);
    explain_field("name", c->offload.proxy_required ? "as the PROXY header tells it (version 2, authority), else none"
                                                    : "none: the front sends no PROXY header");
}

int route_print_text(const struct config *c, const struct route_ask *ask, const struct route *r)
{
    int status = good(r) ? EXIT_GOOD : EXIT_BAD;
    printf("%s, %s%s\n\n", ask->address, ask->where.sni ? "server name " : "no server name",
           ask->where.sni ? ask->where.sni : "");
    if (r->listener == ROUTE_NOBODY) {
        say_listeners(c, ask);
        return status;
    }
    say("listen", "%s, %s", r->listen, listener_name[r->listener]);
    if (r->listener == ROUTE_REDIRECT) {
        say("goes", "redirected to https with the same name and path%s%s",
            c->listen.acme_webroot ? "; /.well-known/acme-challenge/ is served from " : "",
            c->listen.acme_webroot ? c->listen.acme_webroot : "");
        return status;
    }
    if (r->pass) {
        say("pass", "passthrough \"%s\": TLS is ended by %s, with its own certificate; PROXY protocol %s",
            r->pass->name, r->pass->upstream.text, proxy_name(r->pass->proxy_protocol));
        return status;
    }
    if (r->listener == ROUTE_FRONT)
        say_front(c);
    else
        say_rules(c, r);
    if (good(r))
        say_request(c, ask, r);
    for (size_t i = 0; i < c->n_certs; i++)
        if (is_shown(r, i) && say_certificate(&c->certs[i], ask->where.sni) != EXIT_GOOD)
            status = EXIT_BAD;
    return status;
}

/* ---- JSON ---- */

static json_t *text_json(const char *text)
{
    return text ? json_string(text) : json_null();
}

static json_t *addr_json(const struct config_addr *a)
{
    return text_json(a->len ? a->text : NULL);
}

static json_t *cert_json(const struct config_cert *cert, const char *name, int *status)
{
    static struct certfile f; /* large */
    char why[256];
    json_t *o = json_pack("{s:s, s:s}", "name", cert->name, "chain", cert->chain);
    if (certfile_read(cert->chain, &f, why, sizeof why) < 0) {
        json_object_set_new(o, "error", json_string(why));
        *status = EXIT_BAD;
        return o;
    }
    json_t *more = json_pack("{s:s, s:s, s:I, s:I, s:o, s:s, s:i}", "sha256", f.sha256, "sha1", f.sha1, "not_before",
                             (json_int_t)f.not_before_s, "not_after", (json_int_t)f.not_after_s, "subject",
                             json_string(f.subject), "key_type", f.key_type, "key_bits", f.key_bits);
    json_object_update(o, more);
    json_decref(more);
    json_object_set_new(o, "warning", text_json(objection(&f, name)));
    return o;
}

static void tls_json(const struct config *c, const char *name, const struct route *r, json_t *o, int *status)
{
    char text[300];
    json_t *certs = json_array(), *lost = json_array();
    for (size_t i = 0; i < c->n_certs; i++)
        if (is_shown(r, i))
            json_array_append_new(certs, cert_json(&c->certs[i], name, status));
    for (size_t i = 0; i < r->n_rules; i++) {
        tls_rule_text(&r->rules[i].rule, text, sizeof text);
        if (r->rules[i].why)
            json_array_append_new(lost, json_pack("{s:s, s:s, s:s}", "rule", text, "certificate",
                                                  c->certs[r->rules[i].cert].name, "why", r->rules[i].why));
    }
    if (r->won >= 0)
        tls_rule_text(&r->rules[r->won].rule, text, sizeof text);
    json_object_set_new(o, "rule", text_json(r->won >= 0 ? text : NULL));
    json_object_set_new(o, "refused", json_boolean(r->shown < 0));
    json_object_set_new(o, "certificates", certs);
    json_object_set_new(o, "lost", lost);
}

static void front_json(const struct config *c, json_t *o)
{
    json_t *accepts = json_array();
    for (size_t i = 0; i < c->offload.n_cert; i++)
        json_array_append_new(accepts, json_string(c->offload.cert[i].text));
    json_object_set_new(o, "accepts", accepts);
}

static void request_json(const struct config *c, const struct route_ask *ask, const struct route *r, json_t *o)
{
    static const char *const end[] = { "call", "web", "reply" };
    const struct config_web *w = r->site;
    json_object_set_new(o, "web",
                        json_pack("{s:o, s:s, s:o, s:o, s:o, s:s}", "name", text_json(w->name), "kind", site_kind(w),
                                  "upstream", addr_json(&w->upstream), "upstream_h2", addr_json(&w->upstream_h2),
                                  "root", text_json(w->root), "proxy_protocol", proxy_name(w->proxy_protocol)));
    json_object_set_new(o, "calls", json_boolean(c->vpn_on));
    if (ask->method)
        json_object_set_new(o, "request",
                            json_pack("{s:o, s:o, s:s, s:o, s:s}", "method", json_string(ask->method), "target",
                                      json_string(ask->target), "goes", end[r->end], "status",
                                      r->status ? json_integer(r->status) : json_null(), "why", r->why));
}

int route_print_json(const struct config *c, const struct route_ask *ask, const struct route *r)
{
    int status = good(r) ? EXIT_GOOD : EXIT_BAD;
    json_t *o = json_pack("{s:s, s:o, s:s, s:o}", "address", ask->address, "name", text_json(ask->where.sni),
                          "listener", listener_name[r->listener], "listen", text_json(r->listen));
    if (r->pass)
        json_object_set_new(o, "passthrough",
                            json_pack("{s:s, s:s, s:s}", "name", r->pass->name, "upstream", r->pass->upstream.text,
                                      "proxy_protocol", proxy_name(r->pass->proxy_protocol)));
    else if (r->listener == ROUTE_TLS)
        tls_json(c, ask->where.sni, r, o, &status);
    else if (r->listener == ROUTE_FRONT)
        front_json(c, o);
    if (r->site && good(r))
        request_json(c, ask, r, o);
    json_dumpf(o, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(o);
    return status;
}
