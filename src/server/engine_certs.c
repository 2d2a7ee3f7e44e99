#include "server/engine_certs.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/ct.h"
#include "base/log.h"
#include "server/expiry.h"

static void date_text(int64_t s, char out[24])
{
    struct tm tm;
    time_t t = (time_t)s;
    gmtime_r(&t, &tm);
    strftime(out, 24, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* ---- changes ---- */

static const struct tls_cert *find(const struct generation *g, const char *name)
{
    for (size_t i = 0; g && i < g->cfg->n_certs; i++)
        if (!strcmp(g->cfg->certs[i].name, name))
            return g->cert[i].cert;
    return NULL;
}

/* The same trouble as before: it was told then. A reload allows none, so that only a refresh has any. */
static bool is_news(const char *trouble, const char *before)
{
    return trouble && (!before || strcmp(trouble, before) != 0);
}

void cert_news_generation(struct cert_news *n, const struct generation *g, const struct generation *before,
                          int64_t now_s)
{
    bool refreshed = before && before->cfg == g->cfg;
    for (size_t i = 0; i < g->cfg->n_certs; i++) {
        const char *name = g->cfg->certs[i].name;
        const struct tls_cert_info *info = tls_cert_info(g->cert[i].cert);
        const struct tls_cert *old = find(before, name);
        char hex[65], until[24];
        hex_encode(info->sha256, 32, hex);
        date_text(info->not_after_s, until);
        if (is_news(g->cert[i].trouble, refreshed ? before->cert[i].trouble : NULL))
            log_error(NULL, "certificate-kept", "a changed certificate cannot be used: the last good one is served on",
                      LOG_S("name", name), LOG_S("reason", g->cert[i].trouble), LOG_S("not_after", until),
                      LOG_S("remedy", "correct the files; they are looked at again when they change"));
        else if (old && memcmp(tls_cert_info(old)->sha256, info->sha256, 32) != 0)
            log_notice(NULL, "certificate-changed", "a new certificate is served", LOG_S("name", name),
                       LOG_S("sha256", hex), LOG_S("not_after", until));
    }
    for (size_t i = 0; i < g->cfg->offload.n_cert; i++)
        if (is_news(g->front_trouble[i], refreshed ? before->front_trouble[i] : NULL))
            log_error(NULL, "front-kept",
                      "a changed certificate of the front cannot be read: the last good one is accepted on",
                      LOG_S("file", g->cfg->offload.cert[i].text), LOG_S("reason", g->front_trouble[i]),
                      LOG_S("remedy", "correct the file; it is looked at again when it changes"));
    cert_news_tick(n, g, now_s);
}

/* ---- expiry and OCSP ---- */

static void tell_expiry(const char *name, int64_t not_after_s, int64_t now_s, int due)
{
    char until[24];
    date_text(not_after_s, until);
    if (due)
        log_warn(NULL, "certificate-expires", "a certificate is about to expire", LOG_S("name", name),
                 LOG_N("days", expiry_days(not_after_s, now_s)), LOG_S("not_after", until),
                 LOG_S("remedy", "renew it; the changed file is taken into use by itself"));
    else
        log_error(NULL, "certificate-expired", "a certificate has expired: clients refuse it", LOG_S("name", name),
                  LOG_S("not_after", until),
                  LOG_S("remedy", "renew it now; the changed file is taken into use by itself"));
}

/* A response that was good when it was read says nothing about its end. */
static const char *ocsp_why(const struct tls_cert_info *info, enum tls_ocsp_state state)
{
    return state == TLS_OCSP_STALE && !info->ocsp.why[0] ? "its time is over: fetch a new one" : info->ocsp.why;
}

static void tell_ocsp(const char *name, const struct tls_cert_info *info, enum tls_ocsp_state state)
{
    if (state == TLS_OCSP_STALE)
        log_warn(NULL, "ocsp-stale", "an OCSP response is too old to be stapled", LOG_S("name", name),
                 LOG_S("reason", ocsp_why(info, state)),
                 LOG_S("remedy", "look at the program that refreshes the file; the changed file is used by itself"));
    else if (state == TLS_OCSP_NONE)
        log_notice(NULL, "ocsp-missing", "there is no OCSP response to staple yet", LOG_S("name", name),
                   LOG_S("remedy", "let the program that refreshes it write certificates.ocsp"));
    else if (state != TLS_OCSP_GOOD)
        log_warn(NULL, "ocsp-refused", "an OCSP response is not stapled", LOG_S("name", name),
                 LOG_S("reason", info->ocsp.why),
                 LOG_S("remedy", state == TLS_OCSP_REVOKED
                                     ? "the authority has revoked this certificate: get a new one"
                                     : "certificates.ocsp must be a DER response about this certificate"));
}

void cert_news_tick(struct cert_news *n, const struct generation *g, int64_t now_s)
{
    for (size_t i = 0; i < g->cfg->n_certs; i++) {
        const struct config_cert *c = &g->cfg->certs[i];
        const struct tls_cert_info *info = tls_cert_info(g->cert[i].cert);
        if (memcmp(n->said[i].sha256, info->sha256, 32) != 0) {
            memcpy(n->said[i].sha256, info->sha256, 32);
            n->said[i].days = EXPIRY_NONE;
            n->said[i].ocsp = TLS_OCSP_GOOD;
        }
        int due = expiry_due(info->not_after_s, now_s, n->said[i].days);
        if (due != EXPIRY_NONE) {
            tell_expiry(c->name, info->not_after_s, now_s, due);
            n->said[i].days = due;
        }
        enum tls_ocsp_state state = c->ocsp ? tls_cert_ocsp(g->cert[i].cert, now_s) : TLS_OCSP_GOOD;
        if (state != n->said[i].ocsp)
            tell_ocsp(c->name, info, state);
        n->said[i].ocsp = state;
    }
}

/* ---- status ---- */

static json_t *list_json(char *const *text, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_string(text[i]));
    return list;
}

static json_t *ocsp_json(const struct config_cert *c, const struct tls_cert *cert, int64_t now_s)
{
    const struct tls_ocsp *o = &tls_cert_info(cert)->ocsp;
    enum tls_ocsp_state state = tls_cert_ocsp(cert, now_s);
    if (!c->ocsp)
        return json_null();
    return json_pack("{s:s s:I s:I s:s}", "state", tls_ocsp_state_name(state), "this_update",
                     (json_int_t)o->this_update_s, "next_update", (json_int_t)o->next_update_s, "reason",
                     state == TLS_OCSP_GOOD ? "" : ocsp_why(tls_cert_info(cert), state));
}

json_t *cert_status_json(const struct generation *g, int64_t now_s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < g->cfg->n_certs; i++) {
        const struct config_cert *c = &g->cfg->certs[i];
        const struct tls_cert_info *info = tls_cert_info(g->cert[i].cert);
        char sha256[65], sha1[41], unfit[200];
        hex_encode(info->sha256, 32, sha256);
        hex_encode(info->sha1, 20, sha1);
        bool fit = !tls_cert_fit(g->cert[i].cert, now_s, unfit, sizeof unfit);
        json_array_append_new(list,
                              json_pack("{s:s s:o s:s s:s s:s s:s s:I s:I s:I s:s s:s s:o}", "name", c->name, "for",
                                        list_json(c->for_, c->n_for), "subject", info->subject, "key", info->key_type,
                                        "sha256", sha256, "sha1", sha1, "not_before", (json_int_t)info->not_before_s,
                                        "not_after", (json_int_t)info->not_after_s, "seconds_left",
                                        (json_int_t)(info->not_after_s - now_s), "state",
                                        g->cert[i].trouble ? "kept"
                                        : fit              ? "good"
                                                           : "unfit",
                                        "reason",
                                        g->cert[i].trouble ? g->cert[i].trouble
                                        : fit              ? ""
                                                           : unfit,
                                        "ocsp", ocsp_json(c, g->cert[i].cert, now_s)));
    }
    return list;
}

json_t *front_status_json(const struct generation *g, int64_t now_s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < g->front.n; i++) {
        const struct front_leaf *l = &g->front.leaf[i];
        char sha256[65] = "", sha1[41] = "";
        if (l->until_s && l->until_s <= now_s)
            continue;
        if (l->hashes.known & SSTP_HASH_SHA256)
            hex_encode(l->hashes.sha256, 32, sha256);
        if (l->hashes.known & SSTP_HASH_SHA1)
            hex_encode(l->hashes.sha1, 20, sha1);
        json_array_append_new(
            list, json_pack("{s:s s:s s:I}", "sha256", sha256, "sha1", sha1, "until", (json_int_t)l->until_s));
    }
    return list;
}
