/* What an administrator needs to know about what was collected: see probe.h. */
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/probe.h"

#define EXPIRING_S (30 * 86400)

static void find(struct probe_judgement *j, enum probe_severity severity, const char *code, const char *remedy,
                 const char *fmt, ...) __attribute__((format(printf, 5, 6)));

static void find(struct probe_judgement *j, enum probe_severity severity, const char *code, const char *remedy,
                 const char *fmt, ...)
{
    va_list ap;
    if (j->n == PROBE_FINDINGS_MAX)
        return;
    struct probe_finding *f = &j->finding[j->n++];
    f->severity = severity;
    f->code = code;
    snprintf(f->remedy, sizeof f->remedy, "%s", remedy);
    va_start(ap, fmt);
    vsnprintf(f->text, sizeof f->text, fmt, ap);
    va_end(ap);
}

/* ---- leaves ---- */

static bool same_leaf(const struct probe_tls *a, const struct probe_tls *b)
{
    return a->n_chain && b->n_chain && !memcmp(a->chain[0].sha256, b->chain[0].sha256, 32);
}

/* What a client that sends a name is shown; for an address there is one certificate only. */
static const struct probe_tls *named(const struct probe_address *a)
{
    return a->sni.good ? &a->sni : &a->no_sni;
}

static bool is6(const struct probe_address *a)
{
    return a->addr.sa.sa_family == AF_INET6;
}

struct leaves { /* where they differ: the two addresses, or NULL */
    const struct probe_address *family[2], *address[2], *sni;
};

static struct leaves compare_leaves(const struct probe_report *r)
{
    struct leaves d = { 0 };
    for (size_t i = 0; i < r->n; i++) {
        const struct probe_address *a = &r->address[i];
        if (a->sni.good && a->no_sni.good && !same_leaf(&a->sni, &a->no_sni) && !d.sni)
            d.sni = a;
        for (size_t k = i + 1; k < r->n; k++) {
            const struct probe_address *b = &r->address[k];
            if (!named(a)->good || !named(b)->good || same_leaf(named(a), named(b)))
                continue;
            const struct probe_address **pair = is6(a) == is6(b) ? d.address : d.family;
            if (!pair[0]) {
                pair[0] = a;
                pair[1] = b;
            }
        }
    }
    return d;
}

static void judge_leaves(const struct leaves *d, struct probe_judgement *j)
{
    j->same_leaf = !d->family[0] && !d->address[0] && !d->sni;
    if (d->family[0])
        find(j, PROBE_WARNING, "leaf-differs-by-family",
             "serve one certificate on both families; on Windows bind it to 0.0.0.0:443 and [::]:443 alike",
             "%s and %s serve different certificates", d->family[0]->text, d->family[1]->text);
    if (d->address[0])
        find(j, PROBE_WARNING, "leaf-differs-by-address", "serve one certificate on all addresses of this name",
             "%s and %s serve different certificates", d->address[0]->text, d->address[1]->text);
    if (d->sni)
        find(j, PROBE_WARNING, "leaf-differs-by-sni",
             "make the certificate for this name the default one too: RouterOS and older clients send no name",
             "%s serves another certificate to clients that send no name (SNI)", d->sni->text);
}

/* ---- one address ---- */

static void judge_certificate(const struct probe_address *a, const char *how, const struct probe_tls *t, int64_t now_s,
                              struct probe_judgement *j)
{
    const struct tls_verdict *v = &t->verdict;
    if (!t->n_chain) {
        find(j, PROBE_ERROR, "no-certificate", "give the server a certificate", "%s%s: the server shows no certificate",
             a->text, how);
        return;
    }
    const struct tls_peer_cert *leaf = &t->chain[0];
    if (!v->chain_ok && v->dates_ok)
        find(j, PROBE_ERROR, "chain-untrusted",
             "send the intermediates with the leaf; or, with an authority of your own, import it at the clients (here: "
             "--ca FILE)",
             "%s%s: %s", a->text, how, v->text);
    if (!v->name_ok)
        find(j, PROBE_ERROR, "name-mismatch", "get a certificate that holds the name that is dialled",
             "%s%s: the certificate is for %s", a->text, how, leaf->names[0] ? leaf->names : leaf->subject);
    if (!v->usage_ok)
        find(j, PROBE_ERROR, "usage", "get a certificate whose extended key usage has serverAuth",
             "%s%s: the certificate is not for servers (Windows logs RasSstp 16)", a->text, how);
    if (leaf->not_after_s < now_s)
        find(j, PROBE_ERROR, "expired", "renew it", "%s%s: the certificate has expired", a->text, how);
    else if (leaf->not_after_s < now_s + EXPIRING_S)
        find(j, PROBE_WARNING, "expiring", "renew it", "%s%s: the certificate expires in %d days", a->text, how,
             (int)((leaf->not_after_s - now_s) / 86400));
    if (leaf->not_before_s > now_s)
        find(j, PROBE_ERROR, "not-yet-valid", "check the clocks of server and authority",
             "%s%s: the certificate is not valid yet", a->text, how);
    if (v->fault == TLS_FAULT_REVOKED)
        find(j, PROBE_ERROR, "revoked", "replace the certificate", "%s%s: %s", a->text, how, v->text);
    if (v->stapled && v->ocsp != TLS_OCSP_GOOD && v->ocsp != TLS_OCSP_REVOKED)
        find(j, PROBE_WARNING, "staple", "refresh the OCSP response that is stapled",
             "%s%s: the stapled OCSP response is %s", a->text, how, tls_ocsp_state_name(v->ocsp));
}

static void judge_tls(const struct probe_address *a, struct probe_judgement *j)
{
    bool any = a->version[PROBE_TLS12] || a->version[PROBE_TLS13];
    if (!any)
        find(j, PROBE_ERROR, "tls-old", "enable TLS 1.2", "%s: neither TLS 1.2 nor TLS 1.3 is spoken%s%s", a->text,
             a->no_sni.error[0] ? ": " : "", a->no_sni.error);
    else if (a->version[PROBE_TLS10] || a->version[PROBE_TLS11])
        find(j, PROBE_WARNING, "tls-legacy", "switch TLS 1.0 and 1.1 off, unless Windows 7 must connect",
             "%s: TLS %s is still spoken", a->text, a->version[PROBE_TLS10] ? "1.0" : "1.1");
    if (any && !a->version[PROBE_TLS12])
        find(j, PROBE_ERROR, "tls12-missing", "enable TLS 1.2 beside TLS 1.3: Windows 10 and RouterOS need it",
             "%s: TLS 1.2 is not spoken", a->text);
}

static void judge_call(const struct probe_address *a, struct probe_judgement *j)
{
    const struct probe_call *c = &a->call;
    if (!c->tried)
        return;
    if (c->status != 200 || !c->acked) {
        find(j, PROBE_ERROR, "no-sstp", client_end_remedy(&c->end), "%s: %s: %s", a->text,
             client_causes[c->end.cause].text, c->end.text);
        return;
    }
    if (!(c->hash_mask & SSTP_HASH_SHA256))
        find(j, PROBE_WARNING, "hash-sha1", "let the server offer SHA-256 for the crypto binding",
             "%s: the crypto binding is offered with SHA-1 alone", a->text);
    if (!c->lcp)
        find(j, PROBE_ERROR, "no-ppp", "look into the server's log", "%s: SSTP answers, PPP does not: %s", a->text,
             c->end.text);
    else if (!c->methods)
        find(j, PROBE_ERROR, "no-method", "enable MS-CHAPv2 or EAP-MSCHAPv2", "%s: the server asks for %s%s", a->text,
             c->unknown_auth[0] ? "a login that is not known here: option 3 is " : "no login at all", c->unknown_auth);
    if (c->methods & 1u << PPP_AUTH_PAP)
        find(j, PROBE_WARNING, "pap", "allow MS-CHAPv2 or EAP alone",
             "%s: PAP is accepted: passwords travel as they are, inside TLS alone", a->text);
}

static void judge_login(const struct probe_address *a, struct probe_judgement *j)
{
    const struct probe_login *l = &a->login;
    if (!l->tried || (l->up && l->end.cause == CLIENT_OK))
        return;
    find(j, PROBE_ERROR, l->end.cause == CLIENT_BINDING ? "binding-refused" : "login-failed",
         client_end_remedy(&l->end), "%s: %s%s%s", a->text, client_causes[l->end.cause].text,
         l->end.text[0] ? ": " : "", l->end.text);
}

static void judge_address(const struct probe_address *a, int64_t now_s, struct probe_judgement *j)
{
    if (!a->tcp) {
        find(j, PROBE_WARNING, "tcp", "open the port there, or take the address out of DNS", "%s: %s", a->text,
             a->tcp_error);
        return;
    }
    judge_tls(a, j);
    if (named(a)->good)
        judge_certificate(a, "", named(a), now_s, j);
    else
        find(j, PROBE_ERROR, "tls-failed", "see what listens there", "%s: %s", a->text,
             a->sni.error[0] ? a->sni.error : a->no_sni.error);
    if (a->sni.good && !a->no_sni.good)
        find(j, PROBE_ERROR, "sni-required",
             "give the server a default certificate: RouterOS and older clients send no name",
             "%s: without a name (SNI) there is no TLS: %s", a->text, a->no_sni.error);
    else if (a->sni.good && a->no_sni.good && !same_leaf(&a->sni, &a->no_sni))
        judge_certificate(a, ", without SNI", &a->no_sni, now_s, j);
    judge_call(a, j);
    judge_login(a, j);
}

/* ---- clients ---- */

struct needs { /* of one kind of client */
    bool sends_name;
    bool trusts_chain, checks_name; /* as it comes out of the box */
    unsigned methods;
    bool old_tls; /* speaks nothing newer than TLS 1.0 unless it was updated */
};

#define M(m)            (1u << (m))
#define WINDOWS_METHODS (M(PPP_AUTH_MSCHAPV2) | M(PPP_AUTH_EAP_MSCHAPV2))
#define ALL_METHODS     (WINDOWS_METHODS | M(PPP_AUTH_CHAP_MD5) | M(PPP_AUTH_PAP))

static const struct needs needs[PROBE_CLIENTS] = {
    [PROBE_WINDOWS_7] = { true, true, true, WINDOWS_METHODS, true },
    [PROBE_WINDOWS_10] = { true, true, true, WINDOWS_METHODS, false },
    [PROBE_WINDOWS_11] = { true, true, true, WINDOWS_METHODS, false },
    [PROBE_ROUTEROS] = { false, false, false, M(PPP_AUTH_MSCHAPV2) | M(PPP_AUTH_CHAP_MD5) | M(PPP_AUTH_PAP), false },
    [PROBE_SSTPC] = { false, true, true, ALL_METHODS & ~M(PPP_AUTH_EAP_MSCHAPV2), false },
    [PROBE_GATEHOUSE] = { true, true, true, WINDOWS_METHODS, false },
};

static void verdict(struct probe_client_verdict *v, enum probe_answer answer, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The worst counts, and of equals the first. */
static void verdict(struct probe_client_verdict *v, enum probe_answer answer, const char *fmt, ...)
{
    va_list ap;
    if (answer >= v->connects)
        return;
    v->connects = answer;
    va_start(ap, fmt);
    vsnprintf(v->why, sizeof v->why, fmt, ap);
    va_end(ap);
}

static void judge_client_at(const struct probe_address *a, enum probe_client c, struct probe_client_verdict *v)
{
    const struct needs *n = &needs[c];
    const struct probe_tls *t = n->sends_name ? named(a) : &a->no_sni;
    const char *at = a->text;
    if (!a->tcp) {
        verdict(v, PROBE_IF, "%s does not answer (%s): it has to try another address", at, a->tcp_error);
        return;
    }
    if (!t->good)
        verdict(v, PROBE_NO, "%s: TLS fails%s: %s", at, n->sends_name ? "" : " without SNI", t->error);
    if (n->old_tls && !a->version[PROBE_TLS10])
        verdict(v, a->version[PROBE_TLS12] ? PROBE_IF : PROBE_NO,
                "TLS 1.0 is off: it must have been taught TLS 1.2 (update KB 3140245 and its registry value)");
    if (!n->old_tls && !a->version[PROBE_TLS12] && !a->version[PROBE_TLS13])
        verdict(v, PROBE_NO, "%s: neither TLS 1.2 nor 1.3", at);
    if (c == PROBE_ROUTEROS && t->good && !a->version[PROBE_TLS12])
        verdict(v, PROBE_NO, "%s: no TLS 1.2", at);
    if (t->good && n->trusts_chain && !t->verdict.chain_ok)
        verdict(v, PROBE_NO, "%s: the certificate's chain is not trusted: %s", at, t->verdict.text);
    if (t->good && n->checks_name && !t->verdict.name_ok)
        verdict(v, c == PROBE_SSTPC ? PROBE_IF : PROBE_NO, "%s%s: the certificate is for another name%s", at,
                n->sends_name ? "" : " without SNI", c == PROBE_SSTPC ? ": it needs --tls-ext, or --cert-warn" : "");
    if (t->good && n->trusts_chain && !t->verdict.usage_ok)
        verdict(v, PROBE_NO, "%s: the certificate is not for servers", at);
    if (t->good && n->trusts_chain && !t->verdict.dates_ok)
        verdict(v, PROBE_NO, "%s: the certificate is out of date", at);
    if (t->good && (a->call.status != 200 || !a->call.acked))
        verdict(v, PROBE_NO, "%s: no SSTP: %s", at, a->call.end.text);
    else if (t->good && !a->call.lcp)
        verdict(v, PROBE_NO, "%s: no PPP: %s", at, a->call.end.text);
    else if (t->good && a->call.unknown_auth[0] && !(a->call.methods & n->methods))
        verdict(v, PROBE_IF, "%s: the server's login is not known here (option 3: %s)", at, a->call.unknown_auth);
    else if (t->good && !(a->call.methods & n->methods))
        verdict(v, a->call.methods & ALL_METHODS ? PROBE_IF : PROBE_NO,
                "%s: the server's way to log in has to be allowed at the client first", at);
    if (a->login.tried && a->login.end.cause == CLIENT_BINDING)
        verdict(v, PROBE_NO, "%s: the server refuses the crypto binding", at);
}

static void judge_client(const struct probe_report *r, enum probe_client c, struct probe_client_verdict *v)
{
    bool any = false;
    *v = (struct probe_client_verdict){ .connects = PROBE_YES };
    for (size_t i = 0; i < r->n; i++) {
        any |= r->address[i].tcp;
        judge_client_at(&r->address[i], c, v);
    }
    if (!any)
        verdict(v, PROBE_NO, "%s", r->resolve_error[0] ? r->resolve_error : "no address answers");
}

/* ---- KB 947026 ---- */

/*
 * Its four scenarios: 1 the web's certificate is bound to one address family, the VPN's to the other; 2 to one address,
 * and the VPN's to all; 3 one certificate for both, which is the good one; 4 clients land on the web's certificate.
 * What makes any of them fail is that the VPN server compares with the hash of one certificate only.
 */
static void judge_kb947026(const struct probe_report *r, const struct leaves *d, struct probe_judgement *j)
{
    bool refused = false, bound = r->n > 0, foreign = false;
    for (size_t i = 0; i < r->n; i++) {
        const struct probe_address *a = &r->address[i];
        refused |= a->login.tried && a->login.end.cause == CLIENT_BINDING;
        bound &= a->login.tried && a->login.up && a->login.end.cause == CLIENT_OK;
        foreign |= named(a)->good && named(a)->n_chain && !named(a)->verdict.name_ok;
    }
    int like = d->family[0] ? 1 : d->address[0] ? 2 : d->sni || foreign || refused ? 4 : 0;
    if (!like || bound)
        return;
    static const char *const what[] = {
        [1] = "scenario 1: IPv4 and IPv6 have certificates of their own, and the VPN server knows the hash of one",
        [2] = "scenario 2: one address has a certificate of its own, and the VPN server knows the hash of one",
        [4] =
            "scenario 4: clients are shown the web site's certificate, and the VPN server compares with another's hash",
    };
    static const char *const cure[] = {
        [1] = "bind the VPN's certificate to 0.0.0.0:443 and [::]:443 ('netsh http show sslcert'), then restart "
              "RemoteAccess; "
              "with Gatehouse there is nothing to do: it compares with the certificate of that very connection",
        [2] = "bind one certificate to all addresses ('netsh http show sslcert'), or dial the address that has the "
              "VPN's; with "
              "Gatehouse there is nothing to do",
        [4] = "choose the certificate of the HTTPS binding in Routing and Remote Access, Properties, Security, or "
              "write its hash to "
              "Sha256CertificateHash and restart RemoteAccess; behind a load balancer, that of the front",
    };
    j->kb947026 = like;
    snprintf(j->kb947026_text, sizeof j->kb947026_text, "%s%s", what[like],
             refused ? ""
                     : ". Nobody logged in, so this is what it looks like, not what was seen: --user NAME makes sure");
    snprintf(j->kb947026_cure, sizeof j->kb947026_cure, "%s", cure[like]);
}

/* ---- all ---- */

void probe_judge(const struct probe_report *r, int64_t now_s, struct probe_judgement *out)
{
    *out = (struct probe_judgement){ 0 };
    if (!r->n)
        find(out, PROBE_ERROR, "resolve", "check the name and DNS", "%s: %s", r->url.host,
             r->resolve_error[0] ? r->resolve_error : "no address of this family");
    for (size_t i = 0; i < r->n; i++)
        judge_address(&r->address[i], now_s, out);
    struct leaves d = compare_leaves(r);
    judge_leaves(&d, out);
    judge_kb947026(r, &d, out);
    for (int c = 0; c < PROBE_CLIENTS; c++)
        judge_client(r, (enum probe_client)c, &out->client[c]);
}

const char *probe_client_name(enum probe_client c)
{
    static const char *const names[PROBE_CLIENTS] = { "windows-7", "windows-10", "windows-11",
                                                      "routeros",  "sstpc",      "gatehouse" };
    return c < PROBE_CLIENTS ? names[c] : "?";
}
