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

/* Or both have none: anonymous TLS. */
static bool same_leaf(const struct probe_tls *a, const struct probe_tls *b)
{
    if (!a->n_chain || !b->n_chain)
        return a->n_chain == b->n_chain;
    return !memcmp(a->chain[0].sha256, b->chain[0].sha256, 32);
}

/* What a client that sends a name is shown; for an address there is one certificate only. */
static const struct probe_tls *named(const struct probe_address *a)
{
    return a->sni.tried ? &a->sni : &a->no_sni;
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

static void judge_leaves(const struct probe_report *r, const struct leaves *d, struct probe_judgement *j)
{
    bool any = false;
    for (size_t i = 0; i < r->n; i++)
        any |= named(&r->address[i])->n_chain > 0;
    j->same_leaf = any && !d->family[0] && !d->address[0] && !d->sni;
    if (d->family[0])
        find(j, PROBE_WARNING, "leaf-differs-by-family",
             "serve one certificate on both families; on Windows bind it to 0.0.0.0:443 and [::]:443 alike",
             "%s and %s serve different certificates", d->family[0]->text, d->family[1]->text);
    if (d->address[0])
        find(j, PROBE_WARNING, "leaf-differs-by-address", "serve one certificate on all addresses of this name",
             "%s and %s serve different certificates", d->address[0]->text, d->address[1]->text);
    if (d->sni)
        find(j, PROBE_WARNING, "leaf-differs-by-sni",
             "make the certificate for this name the default one too: Windows 7 and RouterOS send no name",
             "%s serves another certificate to clients that send no name (SNI)", d->sni->text);
}

/* ---- one address ---- */

static void judge_certificate(const struct probe_address *a, const char *how, const struct probe_tls *t, int64_t now_s,
                              struct probe_judgement *j)
{
    const struct tls_verdict *v = &t->verdict;
    if (!t->n_chain) {
        find(j, PROBE_ERROR, "no-certificate", "give the server a certificate",
             "%s%s: TLS without a certificate, which RouterOS alone can do", a->text, how);
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
        find(j, PROBE_ERROR, "tls-old", "enable TLS 1.2", "%s: neither TLS 1.2 nor TLS 1.3 is spoken", a->text);
    else if (a->version[PROBE_TLS10] || a->version[PROBE_TLS11])
        find(j, PROBE_WARNING, "tls-legacy", "switch TLS 1.0 and 1.1 off, unless Windows 7 must connect",
             "%s: TLS %s is still spoken", a->text, a->version[PROBE_TLS10] ? "1.0" : "1.1");
    if (any && !a->version[PROBE_TLS12])
        find(j, PROBE_ERROR, "tls12-missing", "enable TLS 1.2 beside TLS 1.3: Windows 10 and RouterOS need it",
             "%s: TLS 1.2 is not spoken", a->text);
}

/* What to do where the server does not take the request: client/causes.h speaks to whoever dials, this to its keeper.
 */
static const char *no_sstp_remedy(const struct probe_call *c)
{
    if (c->status == 503)
        return "it is full, or was told to take no new calls (Gatehouse: 'gatehouse drain --off'; Windows: SSTP ports "
               "of RRAS)";
    if (c->status == 404)
        return "a web server answers that knows no SSTP: check name and port; on Windows, whether RemoteAccess runs";
    if (c->status >= 300)
        return "a web server or proxy answers: let TCP through to the VPN server, by name (SNI) or address; HTTP "
               "proxies cannot carry SSTP";
    if (c->end.cause == CLIENT_HTTP_TIMEOUT)
        return "something between holds the request up, as HTTP proxies and inspection do: let TCP through";
    if (c->end.cause == CLIENT_HTTP)
        return "a web server answers that takes SSTP's request for a page: check name and port";
    return "the server's log at this time tells more";
}

static void judge_methods(const struct probe_address *a, struct probe_judgement *j)
{
    const struct probe_call *c = &a->call;
    char unknown[24];
    probe_unknown_text(c, unknown);
    if (c->methods & 1u << PPP_AUTH_PAP)
        find(j, PROBE_WARNING, "pap", "allow MS-CHAPv2 or EAP alone",
             "%s: PAP is accepted: passwords travel as they are, inside TLS alone", a->text);
    if (c->methods)
        return;
    if (unknown[0])
        find(j, PROBE_ERROR, "no-method", "enable MS-CHAPv2 or EAP", "%s: the only login is %s", a->text, unknown);
    else
        find(j, PROBE_ERROR, "no-method", "make the server ask for a login: MS-CHAPv2 or EAP",
             "%s: everybody is let in without a login", a->text);
}

static void judge_call(const struct probe_address *a, struct probe_judgement *j)
{
    const struct probe_call *c = &a->call;
    if (!c->tried)
        return;
    if (c->status != 200 || !c->acked) {
        find(j, PROBE_ERROR, "no-sstp", no_sstp_remedy(c), "%s: %s: %s", a->text, client_causes[c->end.cause].text,
             c->end.text);
        return;
    }
    if (!(c->hash_mask & SSTP_HASH_SHA256))
        find(j, PROBE_WARNING, "hash-sha1", "let the server offer SHA-256 for the crypto binding",
             "%s: the crypto binding is offered with SHA-1 alone", a->text);
    if (c->lcp)
        judge_methods(a, j);
    else
        find(j, PROBE_ERROR, "no-ppp", "look into the server's log", "%s: SSTP answers, PPP does not: %s", a->text,
             c->end.text);
}

static bool binding_refused(const struct probe_address *a)
{
    return a->login.tried && a->login.end.cause == CLIENT_BINDING;
}

static bool bound(const struct probe_address *a)
{
    return a->login.tried && a->login.up && a->login.end.cause == CLIENT_OK;
}

/* What client/causes.h says to whoever dials, or what says more to the server's keeper. */
static const char *login_remedy(const struct client_end *e)
{
    if (e->cause == CLIENT_LOGIN || e->cause == CLIENT_NO_METHOD || e->cause == CLIENT_SERVER_PROOF)
        return client_end_remedy(e);
    if (e->cause == CLIENT_NO_ADDRESS)
        return "its pool of addresses may be used up: the server's log at this time tells more";
    return "the server's log at this time tells more";
}

static void judge_login(const struct probe_address *a, struct probe_judgement *j)
{
    const struct probe_login *l = &a->login;
    if (l->end.cause == CLIENT_CERTIFICATE)
        find(j, PROBE_WARNING, "login-not-tried",
             "--ca FILE, or mend the certificate; --insecure shows the login to whoever it is",
             "%s: nobody logged in: %s", a->text, l->end.text);
    if (!l->tried || bound(a))
        return;
    if (binding_refused(a))
        find(j, PROBE_ERROR, "binding-refused",
             "give the server the hash of the certificate that is shown here, or find what ends TLS in between",
             "%s: %s", a->text, client_causes[l->end.cause].text);
    else
        find(j, PROBE_ERROR, "login-failed", login_remedy(&l->end), "%s: %s%s%s", a->text,
             client_causes[l->end.cause].text, l->end.text[0] ? ": " : "", l->end.text);
}

/* One that another address was found fault with already. */
static bool judged_before(const struct probe_report *r, const struct probe_address *a, const struct probe_tls *t)
{
    for (const struct probe_address *b = r->address; b < a; b++)
        if ((same_leaf(&b->sni, t) && b->sni.verdict.fault == t->verdict.fault) ||
            (same_leaf(&b->no_sni, t) && b->no_sni.verdict.fault == t->verdict.fault))
            return true;
    return false;
}

static bool any_answers(const struct probe_report *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->address[i].tcp)
            return true;
    return false;
}

static void judge_address(const struct probe_report *r, const struct probe_address *a, int64_t now_s,
                          struct probe_judgement *j)
{
    if (!a->tcp) {
        find(j, any_answers(r) ? PROBE_WARNING : PROBE_ERROR, "tcp",
             "open the port there, or take the address out of DNS", "%s: %s", a->text, a->tcp_error);
        return;
    }
    if (!named(a)->good && !a->no_sni.good) {
        find(j, PROBE_ERROR, "tls-failed", "see what listens there", "%s: no TLS: %s", a->text,
             a->sni.error[0] ? a->sni.error : a->no_sni.error);
        return;
    }
    judge_tls(a, j);
    if (named(a)->good && !judged_before(r, a, named(a)))
        judge_certificate(a, "", named(a), now_s, j);
    if (!named(a)->good)
        find(j, PROBE_ERROR, "sni-refused", "give the server a certificate for this name",
             "%s: TLS with the name (SNI) fails: %s", a->text, a->sni.error);
    if (a->sni.good && !a->no_sni.good)
        find(j, PROBE_ERROR, "sni-required",
             "give the server a default certificate: Windows 7 and RouterOS send no name",
             "%s: without a name (SNI) there is no TLS: %s", a->text, a->no_sni.error);
    else if (a->sni.tried && !same_leaf(&a->sni, &a->no_sni) && !judged_before(r, a, &a->no_sni))
        judge_certificate(a, ", without SNI", &a->no_sni, now_s, j);
    judge_call(a, j);
    judge_login(a, j);
}

/* ---- clients ---- */

struct needs { /* of one kind of client, as it comes */
    bool sends_name;
    bool checks;            /* chain, dates, name and use of the certificate */
    bool checks_revocation; /* by the staple */
    unsigned versions;      /* of TLS, 1 << enum probe_version each */
    unsigned more_versions; /* that it speaks in some cases: version_if */
    const char *version_if;
    unsigned methods;      /* ways to log in, 1 << enum ppp_auth_method each */
    unsigned more_methods; /* once they are allowed there: method_if */
    const char *method_if;
    const char *trust; /* how it gets another authority */
};

#define B(n)      (1u << (n))
#define M_MSCHAP  B(PPP_AUTH_MSCHAPV2)
#define M_EAP     B(PPP_AUTH_EAP_MSCHAPV2) /* which kind of EAP is told only to who logs in */
#define M_WEAK    (B(PPP_AUTH_CHAP_MD5) | B(PPP_AUTH_PAP))
#define V(n)      B(PROBE_TLS##n)
#define WIN_TRUST "; if the authority is your own, import it into Cert:\\LocalMachine\\Root"
#define WIN_ALLOW "its connection must be set (Set-VpnConnection -AuthenticationMethod) to"

static const struct needs needs[PROBE_CLIENTS] = {
    [PROBE_WINDOWS_7] = { false, true, true, V(10), V(11) | V(12),
                          "TLS 1.0 is off, so it must have been taught TLS 1.2 (KB 3140245 and its registry values)",
                          M_MSCHAP, M_EAP | M_WEAK, WIN_ALLOW, WIN_TRUST },
    [PROBE_WINDOWS_10] = { true, true, true, V(12), V(10) | V(11),
                           "as long as its TLS 1.0 and 1.1 are not switched off", M_MSCHAP, M_EAP | M_WEAK, WIN_ALLOW,
                           WIN_TRUST },
    [PROBE_WINDOWS_11] = { true, true, true, V(12), V(13),
                           "there is TLS 1.3 alone, which not every version can use here", M_MSCHAP, M_EAP | M_WEAK,
                           WIN_ALLOW, WIN_TRUST },
    [PROBE_ROUTEROS] = { false, false, false, V(12), 0, NULL, M_MSCHAP | M_WEAK, 0, NULL, "" },
    [PROBE_SSTPC] = { false, true, false, V(12) | V(13), 0, NULL, M_MSCHAP | M_WEAK, M_EAP,
                      "its pppd must be able to do", "; --ca-cert FILE if it is your own" },
    [PROBE_GATEHOUSE] = { true, true, true, V(12) | V(13), 0, NULL, M_MSCHAP, M_EAP | M_WEAK, "only with --auth",
                          "; --ca FILE or --pin if it is your own" },
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

static void client_tls(const struct probe_address *a, enum probe_client c, const struct probe_tls *t,
                       struct probe_client_verdict *v)
{
    const struct needs *n = &needs[c];
    unsigned spoken = 0;
    for (int i = 0; i < PROBE_VERSIONS; i++)
        spoken |= a->version[i] ? B(i) : 0;
    if (!t->good)
        verdict(v, PROBE_NO, "%s: TLS fails%s: %s", a->text, n->sends_name ? "" : " without SNI", t->error);
    else if (spoken & n->versions)
        ;
    else if (spoken & n->more_versions)
        verdict(v, PROBE_IF, "%s: %s", a->text, n->version_if);
    else
        verdict(v, PROBE_NO, "%s: no version of TLS that it speaks", a->text);
    if (c == PROBE_ROUTEROS && t->good && a->cbc_tried && !a->cbc)
        verdict(v, PROBE_IF, "%s: no AES-CBC with SHA-1 in TLS 1.2: a RouterOS that has AES-GCM gets in", a->text);
}

static void client_certificate(const struct probe_address *a, enum probe_client c, const struct probe_tls *t,
                               struct probe_client_verdict *v)
{
    const struct needs *n = &needs[c];
    const struct tls_verdict *k = &t->verdict;
    const char *how = n->sends_name || !a->sni.good || same_leaf(&a->sni, t) ? "" : " without SNI";
    if (!t->good || !n->checks)
        return;
    if (!t->n_chain) {
        verdict(v, PROBE_NO, "%s: no certificate", a->text);
        return;
    }
    if (!k->dates_ok)
        verdict(v, PROBE_NO, "%s%s: the certificate is out of date", a->text, how);
    if (!k->chain_ok)
        verdict(v, PROBE_NO, "%s%s: the certificate's authority is not trusted%s", a->text, how, n->trust);
    if (!k->usage_ok)
        verdict(v, PROBE_NO, "%s%s: the certificate is not for servers", a->text, how);
    if (n->checks_revocation && k->fault == TLS_FAULT_REVOKED)
        verdict(v, PROBE_NO, "%s%s: the certificate is revoked", a->text, how);
    if (k->name_ok)
        return;
    if (c == PROBE_SSTPC && a->sni.good && a->sni.verdict.name_ok)
        verdict(v, PROBE_IF, "%s%s: the certificate is for another name: it needs --tls-ext", a->text, how);
    else
        verdict(v, PROBE_NO, "%s%s: the certificate is for another name", a->text, how);
}

/* What it has to be allowed first: the strongest of those that the server has. */
static const char *method_wanted(unsigned methods)
{
    for (unsigned m = PPP_AUTH_METHODS - 1; m > PPP_AUTH_NONE; m--)
        if (methods & B(m))
            return probe_method_name((enum ppp_auth_method)m);
    return "";
}

static void client_login(const struct probe_address *a, enum probe_client c, struct probe_client_verdict *v)
{
    const struct needs *n = &needs[c];
    const struct probe_call *k = &a->call;
    char unknown[24];
    probe_unknown_text(k, unknown);
    if (k->methods & n->methods)
        return;
    if (k->methods & M_EAP && c == PROBE_GATEHOUSE) {
        if (a->login.tried && a->login.end.cause == CLIENT_NO_METHOD)
            verdict(v, PROBE_NO, "%s: %s", a->text, a->login.end.text);
        else if (!a->login.tried)
            verdict(v, PROBE_IF, "%s: only if its EAP is EAP-MSCHAPv2: --user NAME tells", a->text);
        return;
    }
    if (k->methods & n->more_methods) {
        verdict(v, PROBE_IF, "%s: %s %s", a->text, n->method_if, method_wanted(k->methods & n->more_methods));
    } else if (k->methods) {
        verdict(v, PROBE_NO, "%s: no way to log in that it has", a->text);
    } else if (unknown[0]) {
        verdict(v, c == PROBE_GATEHOUSE ? PROBE_NO : PROBE_IF, "%s: the only login is %s", a->text, unknown);
    } else {
        verdict(v, c == PROBE_GATEHOUSE ? PROBE_NO : PROBE_IF, "%s: the server asks for no login", a->text);
    }
}

/* The call that was made tells something about clients, unless it was the password or the method that it failed for. */
static void client_dialled(const struct probe_address *a, enum probe_client c, struct probe_client_verdict *v)
{
    const struct probe_login *l = &a->login;
    if (!l->tried || bound(a) || l->end.cause == CLIENT_LOGIN || l->end.cause == CLIENT_NO_METHOD)
        return;
    if (binding_refused(a))
        verdict(v, PROBE_NO, "%s: the server refuses the crypto binding", a->text);
    else
        verdict(v, c == PROBE_GATEHOUSE ? PROBE_NO : PROBE_IF, "%s: the call that was tried failed: %s", a->text,
                l->end.text[0] ? l->end.text : client_causes[l->end.cause].text);
}

static void client_call(const struct probe_address *a, enum probe_client c, const struct probe_tls *t,
                        struct probe_client_verdict *v)
{
    const struct probe_call *k = &a->call;
    if (!t->good || !k->tried)
        return;
    if (k->status != 200 || !k->acked) {
        verdict(v, PROBE_NO, "%s: no SSTP: %s", a->text, k->end.text);
        return;
    }
    if (!k->lcp) {
        verdict(v, PROBE_NO, "%s: no PPP: %s", a->text, k->end.text);
        return;
    }
    client_login(a, c, v);
    if (c == PROBE_ROUTEROS && !(k->hash_mask & SSTP_HASH_SHA1))
        verdict(v, PROBE_IF, "%s: the crypto binding is offered with SHA-256 alone, and RouterOS takes SHA-1", a->text);
    client_dialled(a, c, v);
}

static void judge_client_at(const struct probe_address *a, enum probe_client c, struct probe_client_verdict *v)
{
    const struct probe_tls *t = needs[c].sends_name ? named(a) : &a->no_sni;
    if (!a->tcp) {
        verdict(v, PROBE_IF, "%s does not answer (%s): it has to try another address", a->text, a->tcp_error);
        return;
    }
    client_tls(a, c, t, v);
    client_certificate(a, c, t, v);
    client_call(a, c, t, v);
    if (!needs[c].sends_name && a->sni.good && t->good && !same_leaf(&a->sni, t))
        verdict(v, PROBE_IF,
                "%s: it sends no name (SNI) and is shown another certificate: the crypto binding must be "
                "compared with that",
                a->text);
}

static void judge_client(const struct probe_report *r, enum probe_client c, const struct probe_judgement *j,
                         struct probe_client_verdict *v)
{
    *v = (struct probe_client_verdict){ .connects = PROBE_YES };
    for (size_t i = 0; i < r->n; i++)
        judge_client_at(&r->address[i], c, v);
    if (!any_answers(r))
        verdict(v, PROBE_NO, "%s", r->resolve_error[0] ? r->resolve_error : "no address answers");
    if (j->kb947026 == 1 || j->kb947026 == 2)
        verdict(v, PROBE_IF,
                "the server must accept the crypto binding for each of its certificates: scenario %d of KB "
                "947026",
                j->kb947026);
}

/* ---- KB 947026 ---- */

/*
 * Its four scenarios: 1 the web's certificate is bound to one address family, the VPN's to the other; 2 to one address,
 * and the VPN's to all; 3 one certificate for both, which is the good one; 4 clients land on the web's certificate.
 * What makes any of them fail is that the VPN server compares with the hash of one certificate only.
 */
static const char *const scenario_text[] = {
    [1] = "scenario 1: IPv4 and IPv6 have certificates of their own, and the VPN server knows the hash of one",
    [2] = "scenario 2: one address has a certificate of its own, and the VPN server knows the hash of one",
    [3] = "scenario 3: one certificate for all, the good one",
    [4] = "scenario 4: clients are shown the web site's certificate, and the VPN server compares with another's hash",
};
static const char *const scenario_cure[] = {
    [1] = "bind the VPN's certificate to 0.0.0.0:443 and [::]:443 ('netsh http show sslcert'), then restart "
          "RemoteAccess. Gatehouse needs nothing: it compares with the certificate of that very connection",
    [2] = "bind one certificate to all addresses ('netsh http show sslcert'), or dial the address that has the VPN's. "
          "Gatehouse needs nothing",
    [3] = "",
    [4] =
        "choose the certificate of the HTTPS binding in Routing and Remote Access, Properties, Security, or write its "
        "hash to Sha256CertificateHash and restart RemoteAccess; behind a load balancer, that of the front",
};

static int which_scenario(const struct probe_report *r, const struct leaves *d, bool *refused)
{
    bool all_bound = true, foreign = false, sstp = false, any = false;
    *refused = false;
    for (size_t i = 0; i < r->n; i++) {
        const struct probe_address *a = &r->address[i];
        if (!named(a)->n_chain)
            continue;
        any = true;
        sstp |= a->call.acked;
        *refused |= binding_refused(a);
        all_bound &= bound(a);
        foreign |= !named(a)->verdict.name_ok;
    }
    if (!any || !sstp)
        return 0;
    int like = d->family[0] ? 1 : d->address[0] ? 2 : d->sni || foreign || *refused ? 4 : 3;
    return like != 3 && all_bound ? 0 : like; /* the server has shown that it compares with each */
}

static void judge_kb947026(const struct probe_report *r, const struct leaves *d, struct probe_judgement *j)
{
    bool refused;
    int like = which_scenario(r, d, &refused);
    if (!like)
        return;
    j->kb947026 = like;
    snprintf(j->kb947026_text, sizeof j->kb947026_text, "%s%s", scenario_text[like],
             refused || like == 3 ? "" : ". So it looks; nobody logged in: --user NAME makes sure");
    snprintf(j->kb947026_cure, sizeof j->kb947026_cure, "%s", scenario_cure[like]);
}

/* ---- all ---- */

void probe_judge(const struct probe_report *r, int64_t now_s, struct probe_judgement *out)
{
    *out = (struct probe_judgement){ 0 };
    if (!r->n)
        find(out, PROBE_ERROR, "resolve", "check the name and DNS", "%s: %s", r->url.host,
             r->resolve_error[0] ? r->resolve_error : "no address of this family");
    for (size_t i = 0; i < r->n; i++)
        judge_address(r, &r->address[i], now_s, out);
    struct leaves d = compare_leaves(r);
    judge_leaves(r, &d, out);
    judge_kb947026(r, &d, out);
    for (int c = 0; c < PROBE_CLIENTS; c++)
        judge_client(r, (enum probe_client)c, out, &out->client[c]);
}

bool probe_fails_somewhere(const struct probe_judgement *j)
{
    for (int c = 0; c < PROBE_CLIENTS; c++)
        if (j->client[c].connects == PROBE_NO)
            return true;
    return false;
}

/* ---- names ---- */

const char *probe_client_name(enum probe_client c)
{
    static const char *const names[PROBE_CLIENTS] = { "windows-7", "windows-10", "windows-11",
                                                      "routeros",  "sstpc",      "gatehouse" };
    return c < PROBE_CLIENTS ? names[c] : "?";
}

const char *probe_method_name(enum ppp_auth_method m)
{
    return m == PPP_AUTH_EAP_MSCHAPV2 ? "eap" : client_method_name(m);
}

void probe_unknown_text(const struct probe_call *c, char *out)
{
    snprintf(out, 24, "%s", strcmp(c->unknown_auth, "c22380") == 0 ? "mschapv1" : c->unknown_auth);
}
