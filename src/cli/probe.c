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

enum { OPT_USER = 256, OPT_PASSWORD_FILE, OPT_CA, OPT_AUTH, OPT_JSON };

static const struct option options[] = {
    { "user", required_argument, NULL, OPT_USER }, { "password-file", required_argument, NULL, OPT_PASSWORD_FILE },
    { "ca", required_argument, NULL, OPT_CA },     { "auth", required_argument, NULL, OPT_AUTH },
    { "json", no_argument, NULL, OPT_JSON },       { NULL, 0, NULL, 0 },
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

static void date_text(int64_t s, char *out, size_t cap)
{
    time_t t = (time_t)s;
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(out, cap, "%Y-%m-%d", &tm);
}

static void print_leaf(const char *how, const struct probe_tls *t)
{
    char from[32], to[32], hex[65];
    if (!t->tried)
        return;
    if (!t->good) {
        printf("    %-12s %s\n", how, t->error);
        return;
    }
    printf("    %-12s %s, %s%s%s\n", how, t->version, t->cipher, t->alpn[0] ? ", ALPN " : "", t->alpn);
    if (!t->n_chain) {
        printf("    %-12s no certificate\n", "");
        return;
    }
    const struct tls_peer_cert *c = &t->chain[0];
    date_text(c->not_before_s, from, sizeof from);
    date_text(c->not_after_s, to, sizeof to);
    printf("    %-12s %s, %s, %s to %s\n", "", c->names[0] ? c->names : c->subject, c->key_type, from, to);
    hex_encode(c->sha256, 32, hex);
    printf("    %-12s SHA-256 %s\n", "", hex);
    hex_encode(c->sha1, 20, hex);
    printf("    %-12s SHA-1   %s\n", "", hex);
    printf("    %-12s usage: %s; signed with %s; chain of %u\n", "",
           !c->has_eku      ? "any"
           : c->server_auth ? "serverAuth"
                            : "NOT for servers",
           c->signature, t->n_chain);
    printf("    %-12s %s%s%s\n", "",
           t->verdict.fault == TLS_FAULT_NONE ? "good: chain, name and dates" : t->verdict.text,
           t->verdict.stapled ? "; OCSP staple " : "; no OCSP staple",
           t->verdict.stapled ? tls_ocsp_state_name(t->verdict.ocsp) : "");
}

static void methods_text(unsigned methods, char *out, size_t cap)
{
    size_t n = 0;
    out[0] = 0;
    for (unsigned m = PPP_AUTH_METHODS - 1; m > PPP_AUTH_NONE; m--)
        if (methods & 1u << m && n < cap)
            n += (size_t)snprintf(out + n, cap - n, "%s%s", n ? ", " : "", client_method_name((enum ppp_auth_method)m));
}

static const char *hash_text(unsigned mask)
{
    static const char *const names[] = { "none", "SHA-1", "SHA-256", "SHA-1 and SHA-256" };
    return names[mask & 3];
}

static void print_page(const char *method, const struct probe_http *h)
{
    if (h->tried && h->status)
        printf("    %-12s %d %s%s%s\n", method, h->status, h->reason, h->server[0] ? ", server " : "", h->server);
    else if (h->tried)
        printf("    %-12s %s\n", method, h->error);
}

static void print_login(const struct probe_login *l)
{
    char ip[INET_ADDRSTRLEN];
    struct in_addr a = { htonl(l->ip4) };
    if (!l->tried)
        return;
    if (l->up)
        printf("    %-12s good by %s in %llu ms, binding by %s, address %s\n", "login",
               client_method_name((enum ppp_auth_method)l->method), (unsigned long long)l->ms, hash_text(l->hash),
               inet_ntop(AF_INET, &a, ip, sizeof ip));
    if (!l->up || l->end.cause != CLIENT_OK)
        printf("    %-12s %s: %s\n", "login", client_causes[l->end.cause].text, l->end.text);
}

static void print_address(const struct probe_address *a)
{
    char methods[128];
    printf("%s\n", a->text);
    if (!a->tcp) {
        printf("    %-12s %s\n\n", "TCP", a->tcp_error);
        return;
    }
    printf("    %-12s connected in %llu ms\n", "TCP", (unsigned long long)a->tcp_ms);
    printf("    %-12s", "TLS");
    for (int v = 0; v < PROBE_VERSIONS; v++)
        printf(" %s %s%s", probe_version_name((enum probe_version)v), a->version[v] ? "yes" : "no",
               v + 1 < PROBE_VERSIONS ? "," : "\n");
    print_leaf("with SNI", &a->sni);
    print_leaf("without SNI", &a->no_sni);
    print_page("GET", &a->get);
    print_page("HEAD", &a->head);
    const struct probe_call *c = &a->call;
    if (c->acked) {
        methods_text(c->methods, methods, sizeof methods);
        printf("    %-12s accepted, crypto binding by %s\n", "SSTP", hash_text(c->hash_mask));
        printf("    %-12s %s%s%s\n", "login by", methods[0] ? methods : "none of ours",
               c->unknown_auth[0] ? ", also option 3 " : "", c->unknown_auth);
    } else if (c->tried) {
        printf("    %-12s %s: %s\n", "SSTP", client_causes[c->end.cause].text, c->end.text);
    }
    print_login(&a->login);
    putchar('\n');
}

static void print_judgement(const struct probe_judgement *j)
{
    static const char *const severity[] = { "note", "warning", "error" };
    static const char *const answer[] = { "no", "if", "yes" };
    for (size_t i = 0; i < j->n; i++)
        printf("%s [%s] %s\n    Remedy: %s\n", severity[j->finding[i].severity], j->finding[i].code, j->finding[i].text,
               j->finding[i].remedy);
    if (j->kb947026)
        printf("KB 947026, %s\n    Cure: %s\n", j->kb947026_text, j->kb947026_cure);
    printf("%s\nWould it connect?\n", j->n || j->kb947026 ? "" : "Nothing is wrong.\n");
    for (int c = 0; c < PROBE_CLIENTS; c++)
        printf("    %-12s %-4s %s\n", probe_client_name((enum probe_client)c), answer[j->client[c].connects],
               j->client[c].why);
    printf("\nWindows also asks for the certificate's revocation (CRL, OCSP) and gives up when it gets no answer: not "
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
            json_array_append_new(methods, json_string(client_method_name((enum ppp_auth_method)m)));
    return json_pack("{s:i s:s s:b s:i s:b s:b s:o s:s s:s s:o}", "status", c->status, "server", c->server, "acked",
                     c->acked, "hash_mask", c->hash_mask, "sha1", c->hash_mask & 1, "sha256", c->hash_mask >> 1 & 1,
                     "methods", methods, "first", client_method_name((enum ppp_auth_method)c->first), "unknown_auth",
                     c->unknown_auth, "end", end_json(&c->end));
}

static json_t *login_json(const struct probe_login *l)
{
    char ip[INET_ADDRSTRLEN] = "";
    struct in_addr a = { htonl(l->ip4) };
    if (!l->tried)
        return json_null();
    if (l->ip4)
        inet_ntop(AF_INET, &a, ip, sizeof ip);
    return json_pack("{s:b s:s s:s s:s s:I s:o}", "up", l->up, "method",
                     client_method_name((enum ppp_auth_method)l->method), "hash", hash_text(l->hash), "ip", ip, "ms",
                     (json_int_t)l->ms, "end", end_json(&l->end));
}

static json_t *address_json(const struct probe_address *a)
{
    json_t *versions = json_object();
    for (int v = 0; v < PROBE_VERSIONS; v++)
        json_object_set_new(versions, probe_version_name((enum probe_version)v),
                            a->version[v] ? json_string(a->version_cipher[v]) : json_null());
    return json_pack("{s:s s:b s:s s:I s:o s:o s:o s:o s:o s:o s:o}", "address", a->text, "tcp", a->tcp, "tcp_error",
                     a->tcp_error, "tcp_ms", (json_int_t)a->tcp_ms, "versions", versions, "sni", tls_json(&a->sni),
                     "no_sni", tls_json(&a->no_sni), "get", page_json(&a->get), "head", page_json(&a->head), "sstp",
                     call_json(&a->call), "login", login_json(&a->login));
}

static void print_json(const struct probe_report *r, const struct probe_judgement *j)
{
    static const char *const severity[] = { "note", "warning", "error" };
    static const char *const answer[] = { "no", "if", "yes" };
    json_t *addresses = json_array(), *findings = json_array(), *clients = json_object();
    for (size_t i = 0; i < r->n; i++)
        json_array_append_new(addresses, address_json(&r->address[i]));
    for (size_t i = 0; i < j->n; i++)
        json_array_append_new(findings, json_pack("{s:s s:s s:s s:s}", "severity", severity[j->finding[i].severity],
                                                  "code", j->finding[i].code, "text", j->finding[i].text, "remedy",
                                                  j->finding[i].remedy));
    for (int c = 0; c < PROBE_CLIENTS; c++)
        json_object_set_new(clients, probe_client_name((enum probe_client)c),
                            json_pack("{s:s s:s}", "connects", answer[j->client[c].connects], "why", j->client[c].why));
    json_t *all = json_pack("{s:s s:i s:o s:o s:o s:b s:{s:i s:s s:s}}", "host", r->url.host, "port", r->url.port,
                            "addresses", addresses, "findings", findings, "clients", clients, "same_leaf", j->same_leaf,
                            "kb947026", "scenario", j->kb947026, "text", j->kb947026_text, "cure", j->kb947026_cure);
    char *text = all ? json_dumps(all, JSON_INDENT(2)) : NULL;
    puts(text ? text : "{}");
    free(text);
    json_decref(all);
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

static bool fails_somewhere(const struct probe_judgement *j)
{
    for (int c = 0; c < PROBE_CLIENTS; c++)
        if (j->client[c].connects == PROBE_NO)
            return true;
    return false;
}

static int probe(const struct http_url *url, struct probe_options *o, bool json)
{
    struct probe_report *r = calloc(1, sizeof *r);
    struct probe_judgement *j = calloc(1, sizeof *j);
    struct resolver_ask ask = { .port = url->port };
    struct resolver_answer found;
    char err[300];
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
        cli_fail("%s", r && j ? err : "out of memory");
    } else {
        probe_judge(r, (int64_t)time(NULL), j);
        for (size_t i = 0; !json && i < r->n; i++)
            print_address(&r->address[i]);
        if (json)
            print_json(r, j);
        else
            print_judgement(j);
        rc = fails_somewhere(j) ? EXIT_BAD : EXIT_GOOD;
    }
    free(r);
    free(j);
    return rc < 0 ? EXIT_USAGE : rc;
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
    struct http_url url;
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
