/* gatehouse probe: options, the collecting, and what is printed of it. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <jansson.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/ct.h"
#include "base/digest.h"
#include "cli/cli.h"
#include "cli/connect.h"
#include "cli/file.h"
#include "client/probe.h"
#include "client/resolver.h"

#define CA_MAX (16u << 20)

enum { OPT_USER = 256, OPT_PASSWORD_FILE, OPT_CA, OPT_AUTH, OPT_JSON, OPT_INSECURE };

static const struct option options[] = {
    { "user", required_argument, NULL, OPT_USER },
    { "password-file", required_argument, NULL, OPT_PASSWORD_FILE },
    { "ca", required_argument, NULL, OPT_CA },
    { "auth", required_argument, NULL, OPT_AUTH },
    { "json", no_argument, NULL, OPT_JSON },
    { "insecure", no_argument, NULL, OPT_INSECURE },
    { NULL, 0, NULL, 0 },
};

static void random_fill(void *arg, void *out, size_t n)
{
    (void)arg;
    for (size_t done = 0; done < n;) {
        ssize_t got = getrandom((uint8_t *)out + done, n - done, 0);
        if (got < 0 && errno != EINTR)
            abort();
        done += got > 0 ? (size_t)got : 0;
    }
}

static void on_progress(void *arg, const char *address, const char *what)
{
    (void)arg;
    fprintf(stderr, "\r\033[K%s: %s ...", address, what);
    fflush(stderr);
}

/* ---- text ---- */

#define LABEL "    %-12s "

static void date_text(int64_t s, char *out, size_t cap)
{
    time_t t = (time_t)s;
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(out, cap, "%Y-%m-%d", &tm);
}

static bool same_certificate(const struct probe_tls *a, const struct probe_tls *b)
{
    return a->n_chain && b->n_chain && !memcmp(a->chain[0].sha256, b->chain[0].sha256, 32);
}

static void print_certificate(const char *label, const struct probe_tls *t)
{
    char from[32], to[32], hex[65];
    const struct tls_peer_cert *c = &t->chain[0];
    const struct tls_verdict *v = &t->verdict;
    date_text(c->not_before_s, from, sizeof from);
    date_text(c->not_after_s, to, sizeof to);
    printf(LABEL "%s\n", label, c->names[0] ? c->names : c->subject);
    printf(LABEL "%s to %s, %s, %s, chain of %u\n", "", from, to, c->key_type,
           !c->has_eku      ? "for any use"
           : c->server_auth ? "for servers"
                            : "NOT for servers",
           t->n_chain);
    printf(LABEL "issuer  %s\n", "", c->issuer);
    hex_encode(c->sha256, 32, hex);
    printf(LABEL "SHA-256 %s\n", "", hex);
    hex_encode(c->sha1, 20, hex);
    printf(LABEL "SHA-1   %s\n", "", hex);
    printf(LABEL "%s; %s%s\n", "", v->fault == TLS_FAULT_NONE ? "good: chain, name, dates" : v->text,
           v->stapled ? "OCSP staple: " : "no OCSP staple", v->stapled ? tls_ocsp_state_name(v->ocsp) : "");
}

/* One certificate stands there once: above, or at the first address. */
static void print_leaf(const char *label, const struct probe_tls *t, const struct probe_address *a,
                       const struct probe_address *first)
{
    const struct probe_tls *told = first->sni.n_chain ? &first->sni : &first->no_sni;
    if (!t->tried)
        return;
    if (!t->good)
        printf(LABEL "no TLS: %s\n", label, t->error);
    else if (!t->n_chain)
        printf(LABEL "none: anonymous TLS\n", label);
    else if (t != &a->sni && same_certificate(t, &a->sni))
        printf(LABEL "the same\n", label);
    else if (first != a && same_certificate(t, told))
        printf(LABEL "the same as %s has\n", label, first->text);
    else if (first != a && same_certificate(t, &first->no_sni))
        printf(LABEL "the same as %s has without SNI\n", label, first->text);
    else
        print_certificate(label, t);
}

static void print_versions(const struct probe_address *a)
{
    const struct probe_tls *t = a->sni.good ? &a->sni : &a->no_sni;
    const char *comma = "";
    if (!t->good)
        return;
    printf(LABEL, "TLS");
    for (int v = PROBE_VERSIONS - 1; v >= 0; v--)
        if (a->version[v]) {
            printf("%s%s", comma, probe_version_name((enum probe_version)v) + strlen("TLSv"));
            comma = ", ";
        }
    printf("; %s; %s%s\n", t->cipher, t->alpn[0] ? "ALPN " : "no ALPN", t->alpn);
}

static void methods_text(unsigned methods, char *out, size_t cap)
{
    size_t n = 0;
    out[0] = 0;
    for (unsigned m = PPP_AUTH_METHODS - 1; m > PPP_AUTH_NONE; m--)
        if (methods & 1u << m && n < cap)
            n += (size_t)snprintf(out + n, cap - n, "%s%s", n ? ", " : "", probe_method_name((enum ppp_auth_method)m));
}

static const char *hash_text(unsigned mask)
{
    static const char *const names[] = { "none", "SHA-1", "SHA-256", "SHA-1 and SHA-256" };
    return names[mask & 3];
}

static void print_page(const char *label, const struct probe_http *h)
{
    if (h->tried && h->status)
        printf(LABEL "%d%s%s%s%s%s%s\n", label, h->status, h->reason[0] ? " " : "", h->reason,
               h->server[0] ? ", server " : "", h->server, h->location[0] ? ", to " : "", h->location);
    else if (h->tried && h->error[0])
        printf(LABEL "%s\n", label, h->error);
}

static void print_pages(const struct probe_address *a)
{
    if (a->get.status && a->get.status == a->head.status) {
        print_page("GET, HEAD", &a->get);
        return;
    }
    print_page("GET", &a->get);
    print_page("HEAD", &a->head);
}

static void print_call(const struct probe_call *c)
{
    char methods[128], unknown[24];
    if (!c->tried)
        return;
    if (!c->acked) {
        printf(LABEL "no: %s\n", "SSTP", c->end.text);
        return;
    }
    printf(LABEL "yes; crypto binding by %s%s%s\n", "SSTP", hash_text(c->hash_mask), c->server[0] ? "; server " : "",
           c->server);
    methods_text(c->methods, methods, sizeof methods);
    probe_unknown_text(c, unknown);
    if (!c->lcp)
        printf(LABEL "no PPP: %s\n", "login by", c->end.text);
    else if (!methods[0] && !unknown[0])
        printf(LABEL "nothing: everybody is let in\n", "login by");
    else
        printf(LABEL "%s%s%s\n", "login by", methods, methods[0] && unknown[0] ? ", " : "", unknown);
}

static void print_login(const struct probe_login *l)
{
    char ip[INET_ADDRSTRLEN];
    struct in_addr a = { htonl(l->ip4) };
    if (!l->tried) {
        if (l->end.cause != CLIENT_OK)
            printf(LABEL "not tried: %s\n", "login", l->end.text);
        return;
    }
    if (l->up)
        printf(LABEL "good by %s in %llu ms, bound by %s, address %s\n", "login",
               client_method_name((enum ppp_auth_method)l->method), (unsigned long long)l->ms, hash_text(l->hash),
               inet_ntop(AF_INET, &a, ip, sizeof ip));
    if (!l->up || l->end.cause != CLIENT_OK)
        printf(LABEL "%s%s%s\n", l->up ? "" : "login", client_causes[l->end.cause].text, l->end.text[0] ? ": " : "",
               l->end.text);
}

static const struct probe_address *first_with_certificate(const struct probe_report *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->address[i].sni.n_chain || r->address[i].no_sni.n_chain)
            return &r->address[i];
    return r->address;
}

static void print_address(const struct probe_address *a, const struct probe_address *first)
{
    if (!a->tcp) {
        printf("%s  %s\n\n", a->text, a->tcp_error);
        return;
    }
    printf("%s  connected in %llu ms\n", a->text, (unsigned long long)a->tcp_ms);
    print_versions(a);
    print_leaf("certificate", &a->sni, a, first);
    print_leaf(a->sni.tried ? "without SNI" : "certificate", &a->no_sni, a, first);
    print_pages(a);
    print_call(&a->call);
    print_login(&a->login);
    putchar('\n');
}

static const char *const severity_name[] = { "note", "warning", "error" };
static const char *const answer_name[] = { "no", "if", "yes" };

static bool first_of_its_code(const struct probe_judgement *j, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (!strcmp(j->finding[k].code, j->finding[i].code))
            return false;
    return true;
}

/* The worst first; one remedy for all addresses that have the same. */
static void print_findings(const struct probe_judgement *j)
{
    for (int s = PROBE_ERROR; s >= PROBE_INFO; s--)
        for (size_t i = 0; i < j->n; i++) {
            const struct probe_finding *f = &j->finding[i];
            if (f->severity != (enum probe_severity)s || !first_of_its_code(j, i))
                continue;
            printf("%s [%s]\n", severity_name[s], f->code);
            for (size_t k = i; k < j->n; k++)
                if (!strcmp(j->finding[k].code, f->code))
                    printf("    %s\n", j->finding[k].text);
            printf("    Remedy: %s\n", f->remedy);
        }
    if (j->kb947026 && j->kb947026 != 3)
        printf("KB 947026, %s\n    Cure: %s\n", j->kb947026_text, j->kb947026_cure);
    if (!j->n)
        printf("Nothing is wrong.\n");
}

static bool same_verdict(const struct probe_client_verdict *a, const struct probe_client_verdict *b)
{
    return a->connects == b->connects && !strcmp(a->why, b->why);
}

static void print_clients(const struct probe_client_verdict v[PROBE_CLIENTS])
{
    bool all = true;
    for (int c = 1; c < PROBE_CLIENTS; c++)
        all &= same_verdict(&v[c], &v[0]);
    for (int c = 0; c < PROBE_CLIENTS && !all; c++) {
        const char *why = c && v[c].why[0] && same_verdict(&v[c], &v[c - 1]) ? "the same" : v[c].why;
        printf(LABEL "%s%.*s%s\n", probe_client_name((enum probe_client)c), answer_name[v[c].connects],
               why[0] ? 5 - (int)strlen(answer_name[v[c].connects]) : 0, "   ", why);
    }
    if (all)
        printf("    %s%s%s\n",
               v[0].connects == PROBE_NO   ? "nobody"
               : v[0].connects == PROBE_IF ? "perhaps"
                                           : "everybody",
               v[0].why[0] ? ": " : "", v[0].why);
}

static void print_judgement(const struct probe_judgement *j)
{
    print_findings(j);
    printf("\nWho would get in?\n");
    print_clients(j->client);
    if (j->client[PROBE_WINDOWS_10].connects != PROBE_NO)
        printf("Windows also asks whether the certificate is revoked (CRL, OCSP) and gives up without an answer: not "
               "tried here.\n");
}

/* ---- JSON ---- */

static json_t *cert_json(const struct tls_peer_cert *c)
{
    char sha1[41], sha256[65];
    hex_encode(c->sha1, 20, sha1);
    hex_encode(c->sha256, 32, sha256);
    return json_pack("{s:s s:s s:s s:I s:I s:s s:s s:b s:b s:b s:s s:s}", "subject", c->subject, "issuer", c->issuer,
                     "names", c->names, "not_before", (json_int_t)c->not_before_s, "not_after",
                     (json_int_t)c->not_after_s, "key", c->key_type, "signature", c->signature, "has_eku", c->has_eku,
                     "server_auth", c->server_auth, "self_signed", c->self_signed, "sha1", sha1, "sha256", sha256);
}

static json_t *tls_json(const struct probe_tls *t)
{
    if (!t->tried)
        return json_null();
    if (!t->good)
        return json_pack("{s:b s:s}", "good", 0, "error", t->error);
    json_t *chain = json_array();
    for (unsigned i = 0; i < t->n_chain; i++)
        json_array_append_new(chain, cert_json(&t->chain[i]));
    const struct tls_verdict *v = &t->verdict;
    return json_pack("{s:b s:s s:s s:s s:o s:{s:s s:s s:b s:b s:b s:b s:b s:s}}", "good", 1, "version", t->version,
                     "cipher", t->cipher, "alpn", t->alpn, "chain", chain, "verdict", "fault", tls_fault_name(v->fault),
                     "text", v->text, "chain_ok", v->chain_ok, "name_ok", v->name_ok, "usage_ok", v->usage_ok,
                     "dates_ok", v->dates_ok, "stapled", v->stapled, "ocsp", tls_ocsp_state_name(v->ocsp));
}

static json_t *page_json(const struct probe_http *h)
{
    if (!h->tried)
        return json_null();
    return json_pack("{s:i s:s s:s s:s s:s}", "status", h->status, "reason", h->reason, "server", h->server, "location",
                     h->location, "error", h->error);
}

static json_t *end_json(const struct client_end *e)
{
    return json_pack("{s:s s:s s:s s:s}", "cause", client_causes[e->cause].name, "text", e->text, "remedy",
                     client_end_remedy(e), "windows", client_end_ras(e));
}

static json_t *call_json(const struct probe_call *c)
{
    if (!c->tried)
        return json_null();
    json_t *methods = json_array();
    for (unsigned m = PPP_AUTH_METHODS - 1; m > PPP_AUTH_NONE; m--)
        if (c->methods & 1u << m)
            json_array_append_new(methods, json_string(probe_method_name((enum ppp_auth_method)m)));
    char unknown[24];
    probe_unknown_text(c, unknown);
    return json_pack("{s:i s:s s:b s:i s:b s:b s:b s:o s:s s:s s:o}", "status", c->status, "server", c->server, "acked",
                     c->acked, "hash_mask", c->hash_mask, "sha1", c->hash_mask & 1, "sha256", c->hash_mask >> 1 & 1,
                     "ppp", c->lcp, "methods", methods, "first", probe_method_name((enum ppp_auth_method)c->first),
                     "unknown_method", unknown, "end", end_json(&c->end));
}

static const char *ip_text(uint32_t ip4, char out[INET_ADDRSTRLEN])
{
    struct in_addr a = { htonl(ip4) };
    return ip4 && inet_ntop(AF_INET, &a, out, INET_ADDRSTRLEN) ? out : "";
}

static json_t *login_json(const struct probe_login *l)
{
    char ip[INET_ADDRSTRLEN], peer[INET_ADDRSTRLEN], name[INET_ADDRSTRLEN];
    if (!l->tried)
        return json_null();
    json_t *dns = json_array();
    for (int i = 0; i < 2; i++)
        if (l->dns[i])
            json_array_append_new(dns, json_string(ip_text(l->dns[i], name)));
    return json_pack("{s:b s:s s:s s:s s:s s:o s:I s:o}", "up", l->up, "method",
                     client_method_name((enum ppp_auth_method)l->method), "hash", hash_text(l->hash), "ip",
                     ip_text(l->ip4, ip), "peer", ip_text(l->peer, peer), "dns", dns, "ms", (json_int_t)l->ms, "end",
                     end_json(&l->end));
}

static json_t *address_json(const struct probe_address *a)
{
    json_t *versions = json_object();
    for (int v = 0; v < PROBE_VERSIONS; v++)
        json_object_set_new(versions, probe_version_name((enum probe_version)v),
                            a->version[v] ? json_string(a->version_cipher[v]) : json_null());
    return json_pack("{s:s s:b s:s s:I s:o s:o s:o s:o s:o s:o s:o s:o}", "address", a->text, "tcp", a->tcp,
                     "tcp_error", a->tcp_error, "tcp_ms", (json_int_t)a->tcp_ms, "versions", versions, "tls12_cbc",
                     a->cbc_tried ? json_boolean(a->cbc) : json_null(), "sni", tls_json(&a->sni), "no_sni",
                     tls_json(&a->no_sni), "get", page_json(&a->get), "head", page_json(&a->head), "sstp",
                     call_json(&a->call), "login", login_json(&a->login));
}

static json_t *findings_json(const struct probe_judgement *j)
{
    json_t *all = json_array();
    for (size_t i = 0; i < j->n; i++) {
        const struct probe_finding *f = &j->finding[i];
        json_array_append_new(all, json_pack("{s:s s:s s:s s:s}", "severity", severity_name[f->severity], "code",
                                             f->code, "text", f->text, "remedy", f->remedy));
    }
    return all;
}

static json_t *clients_json(const struct probe_judgement *j)
{
    json_t *all = json_object();
    for (int c = 0; c < PROBE_CLIENTS; c++)
        json_object_set_new(
            all, probe_client_name((enum probe_client)c),
            json_pack("{s:s s:s}", "connects", answer_name[j->client[c].connects], "why", j->client[c].why));
    return all;
}

/* False: out of memory. */
static bool print_json(const struct probe_report *r, const struct probe_judgement *j)
{
    json_t *addresses = json_array();
    for (size_t i = 0; i < r->n; i++)
        json_array_append_new(addresses, address_json(&r->address[i]));
    json_t *all =
        json_pack("{s:s s:i s:o s:o s:o s:b s:{s:i s:s s:s}}", "host", r->url.host, "port", r->url.port, "addresses",
                  addresses, "findings", findings_json(j), "clients", clients_json(j), "same_leaf", j->same_leaf,
                  "kb947026", "scenario", j->kb947026, "text", j->kb947026_text, "cure", j->kb947026_cure);
    char *text = all ? json_dumps(all, JSON_INDENT(2)) : NULL;
    bool good = text && puts(text) >= 0;
    free(text);
    json_decref(all);
    return good;
}

/* ---- the command ---- */

/* What strangers send is read with no more rights than needed: none. */
static bool drop_rights(void)
{
    if (geteuid() == 0) {
        const struct passwd *pw = getpwnam("gatehouse");
        if (!pw || pw->pw_uid == 0)
            pw = getpwnam("nobody");
        if (!pw || pw->pw_uid == 0 || setgroups(0, NULL) < 0 || setgid(pw->pw_gid) < 0 || setuid(pw->pw_uid) < 0)
            return false;
    }
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_DUMPABLE, 0) == 0;
}

static char *read_system_ca(size_t *len)
{
    static const char *const places[] = { "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                          "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem" };
    char *data = NULL;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (!file_read(places[i], CA_MAX, &data, len))
            return data;
    return NULL;
}

static int tell(const struct probe_report *r, const struct probe_judgement *j, bool json)
{
    if (json && !print_json(r, j)) {
        cli_fail("out of memory");
        return EXIT_USAGE;
    }
    if (!json) {
        printf("%s, port %u: %zu %s\n\n", r->url.host, r->url.port, r->n, r->n == 1 ? "address" : "addresses");
        for (size_t i = 0; i < r->n; i++)
            print_address(&r->address[i], first_with_certificate(r));
        print_judgement(j);
    }
    return probe_fails_somewhere(j) ? EXIT_BAD : EXIT_GOOD;
}

static int probe(const struct http_url *url, struct probe_options *o, bool json)
{
    struct probe_report *r = calloc(1, sizeof *r);
    struct probe_judgement *j = calloc(1, sizeof *j);
    struct resolver_ask ask = { .port = url->port };
    struct resolver_answer found;
    char err[300] = "out of memory";
    int rc = r && j ? 0 : ERR_NOMEM;
    if (!rc) {
        snprintf(ask.host, sizeof ask.host, "%s", url->host);
        resolver_look_up(&ask, &found);
        snprintf(r->resolve_error, sizeof r->resolve_error, "%s", found.why);
        rc = probe_run(url, o, found.addr, found.n, r, err, sizeof err);
    }
    if (o->progress)
        fprintf(stderr, "\r\033[K");
    if (rc) {
        cli_fail("%s", err);
        rc = EXIT_USAGE;
    } else {
        probe_judge(r, (int64_t)time(NULL), j);
        rc = tell(r, j, json);
    }
    free(r);
    free(j);
    return rc;
}

static int usage(const char *text)
{
    cli_fail("%s", text);
    return EXIT_USAGE;
}

int cli_probe(int argc, char **argv)
{
    static const uint8_t strong[5] = { PPP_AUTH_EAP_MSCHAPV2, PPP_AUTH_MSCHAPV2 };
    struct probe_options o = { .rng.fill = random_fill };
    struct http_url url = { 0 };
    const char *ca = NULL, *password_file = NULL;
    char why[300], password[1024] = "", prompt[300], *ca_pem = NULL, *system_pem = NULL;
    bool json = false;
    int c, rc = 0;
    memcpy(o.auth, strong, sizeof o.auth);
    while ((c = getopt_long(argc, argv, "46", options, NULL)) != -1) {
        switch (c) {
        case '4':
        case '6': o.family = (unsigned)c - '0'; break;
        case OPT_USER: o.user = optarg; break;
        case OPT_PASSWORD_FILE: password_file = optarg; break;
        case OPT_CA: ca = optarg; break;
        case OPT_JSON: json = true; break;
        case OPT_INSECURE: o.insecure = true; break;
        case OPT_AUTH:
            if (connect_methods(optarg, o.auth, why, sizeof why))
                return usage(why);
            break;
        default: return EXIT_USAGE;
        }
    }
    if (argc - optind != 1)
        return usage("give one URL, as https://vpn.example.com; 'gatehouse probe --help' tells more");
    if (http_url_parse(argv[optind], "https", &url, why, sizeof why))
        return usage(why);
    if (ca && file_read(ca, CA_MAX, &ca_pem, &o.ca_len)) {
        cli_fail("--ca %s: %s", ca, strerror(errno));
        return EXIT_USAGE;
    }
    system_pem = read_system_ca(&o.system_len);
    o.ca_pem = ca_pem;
    o.system_pem = system_pem;
    if (o.user) {
        snprintf(prompt, sizeof prompt, "Password of %.200s: ", o.user);
        rc = connect_password(password_file, "password", prompt, password, sizeof password);
        o.password = password;
    }
    signal(SIGPIPE, SIG_IGN);
    if (!rc && digest_init())
        rc = usage("OpenSSL's legacy provider (MD4, DES) is missing");
    if (!rc && !drop_rights())
        rc = usage("cannot give up root's rights: there is neither an account \"gatehouse\" nor \"nobody\"");
    if (isatty(STDERR_FILENO))
        o.progress = on_progress;
    if (!rc)
        rc = probe(&url, &o, json);
    secret_wipe(password, sizeof password);
    free(ca_pem);
    free(system_pem);
    return rc;
}
