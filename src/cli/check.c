/* gatehouse check: what the server's own parser says, and what it could not know: certificates, users, accounts. */
#include "cli/cli.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "auth/request.h"
#include "auth/users.h"
#include "base/ct.h"
#include "base/digest.h"
#include "cli/certfile.h"
#include "cli/file.h"
#include "server/config.h"

#define USERS_FILE_MAX (256u << 20)

enum severity { SEV_ERROR, SEV_WARNING, SEV_NOTE };
static const char *const severity_name[] = { "error", "warning", "note" };

struct check {
    bool json, unreadable;
    json_t *findings;
    size_t count[3];
    const struct config *c;
};

__attribute__((format(printf, 7, 8))) static void finding(struct check *k, enum severity sev, const char *code,
                                                          const char *file, int line, const char *remedy,
                                                          const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    k->count[sev]++;
    if (!k->json) {
        printf("%s: %s:%d: %s [%s]\n    %s\n", severity_name[sev], file, line, text, code, remedy);
        return;
    }
    json_array_append_new(k->findings,
                          json_pack("{s:s, s:s, s:s, s:i, s:s, s:s}", "severity", severity_name[sev], "code", code,
                                    "file", file, "line", line, "text", text, "remedy", remedy));
}

static void parser_finding(void *arg, const struct config_error *e)
{
    struct check *k = arg;
    k->unreadable = k->unreadable || !strcmp(e->code, "config-unreadable");
    finding(k, SEV_ERROR, e->code, e->file, e->line, e->remedy, "%s", e->what);
}

static void check_names(struct check *k, const struct config_cert *cert, const struct certfile *have)
{
    for (size_t i = 0; i < cert->n_for; i++) {
        if (strcmp(cert->for_[i], "default") != 0 && !certfile_names_host(have, cert->for_[i]))
            finding(k, SEV_WARNING, "cert-wrong-name", cert->file, cert->line,
                    "get a certificate with this name, or take the name out of for",
                    "certificate \"%s\" is for \"%s\", which is not among its names: clients would refuse it",
                    cert->name, cert->for_[i]);
    }
}

static void check_key(struct check *k, const struct config_cert *cert)
{
    char why[256];
    struct stat st;
    int rc = certfile_key_check(cert->chain, cert->key, why, sizeof why);
    if (rc < 0)
        finding(k, SEV_ERROR, rc == ERR_USAGE ? "key-mismatch" : "key-unreadable", cert->file, cert->line,
                "name the key that was made together with the certificate", "key %s: %s", cert->key, why);
    else if (stat(cert->key, &st) == 0 && st.st_mode & 07)
        finding(k, SEV_WARNING, "key-exposed", cert->file, cert->line, "chmod o= it: the server reads it as root",
                "key %s can be read by everyone on this host", cert->key);
}

static void check_cert(struct check *k, const struct config_cert *cert)
{
    static struct certfile have; /* large */
    struct certfile_reason why[CERTFILE_REASONS_MAX];
    char text[256];
    if (certfile_read(cert->chain, &have, text, sizeof text) < 0) {
        finding(k, SEV_ERROR, "cert-unreadable", cert->file, cert->line,
                "a PEM file is expected: the leaf, then its issuers", "chain %s: %s", cert->chain, text);
        return;
    }
    check_key(k, cert);
    size_t n = certfile_judge(&have, time(NULL), why);
    for (size_t i = 0; i < n; i++)
        finding(k, why[i].fatal ? SEV_ERROR : SEV_WARNING, why[i].code, cert->file, cert->line, why[i].remedy, "%s: %s",
                cert->name, why[i].text);
    check_names(k, cert, &have);
}

static bool both_for(const struct config_cert *a, const struct config_cert *b, const char **what)
{
    for (size_t i = 0; i < a->n_for; i++)
        for (size_t j = 0; j < b->n_for; j++)
            if (!strcmp(*what = a->for_[i], b->for_[j]))
                return true;
    return false;
}

/* One name may have two certificates, an RSA and an ECDSA one. */
static void check_pairs(struct check *k)
{
    static struct certfile a, b; /* large */
    char text[256];
    const char *what;
    for (size_t i = 0; i < k->c->n_certs; i++)
        for (size_t j = 0; j < i; j++) {
            const struct config_cert *later = &k->c->certs[i], *earlier = &k->c->certs[j];
            if (!both_for(later, earlier, &what) || certfile_read(later->chain, &a, text, sizeof text) < 0 ||
                certfile_read(earlier->chain, &b, text, sizeof text) < 0 || strncmp(a.key_type, b.key_type, 2) != 0)
                continue;
            finding(k, SEV_ERROR, "cert-same-key-type", later->file, later->line,
                    "take the name out of one of the two, or make them an RSA and an ECDSA certificate",
                    "\"%s\" and \"%s\" are both for \"%s\", with the same type of key", earlier->name, later->name,
                    what);
        }
}

static void check_certs(struct check *k)
{
    bool fallback = false;
    check_pairs(k);
    for (size_t i = 0; i < k->c->n_certs; i++) {
        check_cert(k, &k->c->certs[i]);
        for (size_t j = 0; j < k->c->certs[i].n_for; j++)
            fallback = fallback || !strcmp(k->c->certs[i].for_[j], "default");
    }
    if (!fallback)
        finding(k, SEV_WARNING, "cert-no-default", k->c->path, 1,
                "add \"default\" to the for of the certificate for the VPN",
                "no certificate is for \"default\": clients that send no server name, as older VPN clients, "
                "are shown the first one");
}

static void check_tls(struct check *k)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (ctx && SSL_CTX_set_cipher_list(ctx, k->c->tls.ciphers) != 1)
        finding(k, SEV_ERROR, "tls-ciphers", k->c->path, 1, "'openssl ciphers LIST' tells what it knows",
                "tls.ciphers has nothing that OpenSSL knows: %s", k->c->tls.ciphers);
    if (ctx && SSL_CTX_set_ciphersuites(ctx, k->c->tls.ciphersuites) != 1)
        finding(k, SEV_ERROR, "tls-ciphers", k->c->path, 1, "the names look like TLS_AES_128_GCM_SHA256",
                "tls.ciphersuites has something that OpenSSL does not know: %s", k->c->tls.ciphersuites);
    SSL_CTX_free(ctx);
}

static bool in_pool(const struct config *c, uint32_t ip)
{
    for (size_t i = 0; i < c->vpn.n_network; i++) {
        const struct config_net4 *n = &c->vpn.network[i];
        if ((ip ^ n->base) >> (32 - n->prefix) == 0)
            return ip != config_server_ip4(c);
    }
    return false;
}

static bool allows(const struct config *c, enum ppp_auth_method method)
{
    return memchr(c->vpn.auth, method, sizeof c->vpn.auth) != NULL;
}

static void judge_users(struct check *k, const struct users *users)
{
    const struct config *c = k->c;
    size_t hashed = 0;
    for (size_t i = 0; i < users_count(users); i++) {
        const struct user *u = users_at(users, i);
        char ip[INET_ADDRSTRLEN];
        struct in_addr in = { htonl(u->ip4) };
        hashed += !u->password;
        if (u->ip4 && !in_pool(c, u->ip4))
            finding(k, SEV_ERROR, "users-address", c->vpn.users, (int)u->line,
                    "choose one of vpn.network that is not the server's",
                    "the address %s of user \"%s\" cannot be given to a client", inet_ntop(AF_INET, &in, ip, sizeof ip),
                    u->name);
    }
    if (!users_count(users))
        finding(k, SEV_WARNING, "users-none", c->vpn.users, 1, "gatehouse user add NAME",
                "there are no users: nobody can dial in");
    if (hashed && allows(c, PPP_AUTH_CHAP_MD5))
        finding(k, allows(c, PPP_AUTH_MSCHAPV2) ? SEV_NOTE : SEV_WARNING, "users-chap", c->vpn.users, 1,
                "'gatehouse user passwd --plain NAME' stores what CHAP needs",
                "vpn.auth allows chap, but %zu users have only an NT hash, which works with mschapv2 and pap", hashed);
}

static void check_users(struct check *k)
{
    const struct config *c = k->c;
    char *text = NULL;
    size_t len = 0;
    struct users *users = NULL;
    struct users_error err = { 0 };
    struct stat st;
    if (digest_init() < 0) { /* the parser hashes plain: secrets, the server every answer of MS-CHAPv2 */
        finding(k, SEV_ERROR, "crypto-legacy", c->path, 1,
                "install the package openssl whole: legacy.so is a part of it",
                "OpenSSL's legacy provider (MD4, DES) cannot be loaded");
        return;
    }
    if (file_read(c->vpn.users, USERS_FILE_MAX, &text, &len) < 0) {
        finding(k, SEV_ERROR, "users-unreadable", c->vpn.users, 1, "look at its owner and mode", "users file: %s",
                strerror(errno));
        return;
    }
    int rc = users_parse(text, len, &users, &err);
    if (rc == 0)
        judge_users(k, users);
    else
        finding(k, SEV_ERROR, "users-syntax", c->vpn.users, (int)err.line,
                "a line is NAME SECRET [key=value ...]; 'gatehouse user' writes them", "%s",
                err.text[0] ? err.text : err_name(rc));
    if (stat(c->vpn.users, &st) == 0 && st.st_mode & 07)
        finding(k, SEV_WARNING, "users-exposed", c->vpn.users, 1, "chmod 600 it: an NT hash is as good as a password",
                "everyone on this host can read the users' secrets");
    users_free(users);
    secret_free(text, len);
}

static bool forwarding_is_on(void)
{
    char *text = NULL;
    size_t len = 0;
    bool on = file_read("/proc/sys/net/ipv4/ip_forward", 16, &text, &len) == 0 && text[0] == '1';
    free(text);
    return on;
}

static void check_vpn(struct check *k)
{
    const struct config *c = k->c;
    uint64_t hosts = 0;
    for (size_t i = 0; i < c->vpn.n_network; i++)
        hosts += (1ull << (32 - c->vpn.network[i].prefix)) - 2;
    check_users(k);
    if ((uint64_t)c->vpn.max_calls > hosts - 1)
        finding(k, SEV_NOTE, "vpn-pool", c->path, 1, "add a network, if that is too few",
                "vpn.network has addresses for %llu calls, vpn.max-calls allows %d", (unsigned long long)hosts - 1,
                c->vpn.max_calls);
    if (!c->vpn.forward && !forwarding_is_on())
        finding(k, SEV_WARNING, "vpn-forward", c->path, 1, "forward = true; in vpn, or sysctl net.ipv4.ip_forward=1",
                "this host does not forward packets: clients reach this host only");
}

static void check_rest(struct check *k)
{
    const struct config *c = k->c;
    if (!getpwnam(c->worker.user))
        finding(k, SEV_ERROR, "worker-user", c->path, 1,
                "useradd --system --shell /usr/sbin/nologin it, or change worker.user", "there is no account \"%s\"",
                c->worker.user);
    for (size_t i = 0; i < c->n_web; i++) {
        const struct config_addr *a = &c->web[i].upstream;
        if (a->len && a->u.sa.sa_family == AF_UNIX && access(a->u.un.sun_path, F_OK) < 0)
            finding(k, SEV_WARNING, "web-upstream", c->web[i].file, a->line,
                    "start the web server, or correct the path", "upstream %s: %s", a->text, strerror(errno));
    }
}

static int report(struct check *k, const char *path)
{
    bool good = !k->count[SEV_ERROR];
    if (k->json) {
        json_t *all = json_pack("{s:s, s:b, s:O}", "config", path, "good", good, "findings", k->findings);
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(all);
    } else if (good) {
        printf("%s is good%s\n", path, k->count[SEV_WARNING] ? ", but see above" : "");
    } else {
        printf("%s: %zu error%s: the server would not start or not serve all with it\n", path, k->count[SEV_ERROR],
               k->count[SEV_ERROR] == 1 ? "" : "s");
    }
    json_decref(k->findings);
    return k->unreadable ? EXIT_USAGE : good ? EXIT_GOOD : EXIT_BAD;
}

int cli_check(int argc, char **argv)
{
    static const struct option options[] = { { "config", required_argument, NULL, 'c' },
                                             { "json", no_argument, NULL, 'j' },
                                             { 0 } };
    const char *path = CLI_CONFIG_DEFAULT;
    struct check k = { 0 };
    struct config *c = NULL;
    for (int o; (o = getopt_long(argc, argv, "c:", options, NULL)) != -1;) {
        if (o == 'c')
            path = optarg;
        else if (o == 'j')
            k.json = true;
        else
            return EXIT_USAGE;
    }
    if (optind < argc) {
        cli_fail("check takes no \"%s\"; the file is named with -c FILE", argv[optind]);
        return EXIT_USAGE;
    }
    k.findings = json_array();
    int rc = config_judge(path, true, &c, parser_finding, &k);
    if (rc == ERR_NOMEM) {
        cli_fail("%s", err_name(rc));
        return EXIT_BAD;
    }
    if (!rc) {
        k.c = c;
        check_certs(&k);
        check_tls(&k);
        if (c->vpn_on)
            check_vpn(&k);
        check_rest(&k);
    }
    rc = report(&k, path);
    config_free(c);
    return rc;
}
