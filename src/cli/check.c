/* gatehouse check: what the server's own parser says, and what it could not know. This file: the frame. */
#include "cli/check.h"

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "cli/cli.h"

/* JSON takes UTF-8 only; paths and names may be anything. */
static void make_text(char *text)
{
    json_t *probe = json_string(text);
    for (unsigned char *p = (unsigned char *)text; !probe && *p; p++)
        *p = *p < 0x80 ? *p : '?';
    json_decref(probe);
}

void finding(struct check *k, enum severity sev, const char *code, const char *file, int line, const char *remedy,
             const char *fmt, ...)
{
    char raw[1000], text[1000], place[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    cli_printable(raw, text, sizeof text);
    cli_printable(file, place, sizeof place);
    make_text(text);
    make_text(place);
    line = line > 0 ? line : 1;
    k->count[sev]++;
    if (!k->json) {
        printf("%s: %s:%d: %s [%s]\n    %s\n", certfile_severity_name(sev), place, line, text, code, remedy);
        return;
    }
    json_array_append_new(k->findings,
                          json_pack("{s:s, s:s, s:s, s:i, s:s, s:s}", "severity", certfile_severity_name(sev), "code",
                                    code, "file", place, "line", line, "text", text, "remedy", remedy));
}

static void parser_finding(void *arg, const struct config_error *e)
{
    struct check *k = arg;
    k->unreadable = k->unreadable || !strcmp(e->code, "config-unreadable");
    finding(k, SEV_ERROR, e->code, e->file, e->line, e->remedy, "%s", e->what);
}

static void check_tls(struct check *k)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    struct config_place list = config_place(k->c, &k->c->tls.ciphers),
                        suites = config_place(k->c, &k->c->tls.ciphersuites);
    if (ctx && SSL_CTX_set_cipher_list(ctx, k->c->tls.ciphers) != 1)
        finding(k, SEV_ERROR, "tls-ciphers", list.file, list.line, "'openssl ciphers LIST' tells what it knows",
                "tls.ciphers has nothing that OpenSSL knows: %s", k->c->tls.ciphers);
    if (ctx && SSL_CTX_set_ciphersuites(ctx, k->c->tls.ciphersuites) != 1)
        finding(k, SEV_ERROR, "tls-ciphers", suites.file, suites.line, "the names look like TLS_AES_128_GCM_SHA256",
                "tls.ciphersuites has something that OpenSSL does not know: %s", k->c->tls.ciphersuites);
    SSL_CTX_free(ctx);
}

static void check_rest(struct check *k)
{
    const struct config *c = k->c;
    struct config_place user = config_place(c, &c->worker.user);
    if (!getpwnam(c->worker.user))
        finding(k, SEV_ERROR, "worker-user", user.file, user.line,
                "useradd --system --shell /usr/sbin/nologin it, or change worker.user", "there is no account \"%s\"",
                c->worker.user);
    for (size_t i = 0; i < c->n_web; i++) {
        const struct config_addr *a = &c->web[i].upstream;
        if (a->len && a->u.sa.sa_family == AF_UNIX && access(a->u.un.sun_path, F_OK) < 0)
            finding(k, SEV_WARNING, "web-upstream", a->file, a->line, "start the web server, or correct the path",
                    "upstream %s: %s", a->text, strerror(errno));
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

static void judge(struct check *k)
{
    static struct check_host host; /* large */
    check_host_read(&host);
    k->host = &host;
    check_certs(k);
    check_shown(k);
    check_tls(k);
    if (k->c->offload_on)
        check_front(k);
    check_net(k);
    if (k->c->vpn_on)
        check_vpn(k);
    check_rest(k);
    check_daemon(k);
}

int cli_check(int argc, char **argv)
{
    static const struct option options[] = { { "config", required_argument, NULL, 'c' },
                                             { "json", no_argument, NULL, 'j' },
                                             { 0 } };
    const char *path = CLI_CONFIG_DEFAULT;
    struct check k = { .now_s = time(NULL) };
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
    if (!rc && !(k.cert = calloc(c->n_certs + 1, sizeof *k.cert)))
        rc = ERR_NOMEM;
    if (rc == ERR_NOMEM) {
        cli_fail("%s", err_name(rc));
        config_free(c);
        return EXIT_BAD;
    }
    if (!rc) {
        k.c = c;
        judge(&k);
    }
    rc = report(&k, path);
    free(k.cert);
    config_free(c);
    return rc;
}
