/* gatehouse connect: options, secrets, and the client's monitor. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/ct.h"
#include "cli/cli.h"
#include "cli/connect.h"
#include "cli/file.h"
#include "cli/password.h"
#include "client/config.h"
#include "client/monitor.h"
#include "client/call.h"
#include "client/causes.h"
#include "http/url.h"
#include "priv/process.h"

#define PASSWORD_MAX 1024

enum {
    OPT_USER = 256,
    OPT_PASSWORD_FILE,
    OPT_INTERFACE,
    OPT_ROUTE,
    OPT_DEFAULT_ROUTE,
    OPT_PROXY,
    OPT_CA,
    OPT_PIN,
    OPT_INSECURE,
    OPT_ONCE,
    OPT_AUTH,
    OPT_JSON,
    OPT_PRINT_OPTIONS
};

static const struct option options[] = {
    { "config", required_argument, NULL, 'c' },
    { "user", required_argument, NULL, OPT_USER },
    { "password-file", required_argument, NULL, OPT_PASSWORD_FILE },
    { "interface", required_argument, NULL, OPT_INTERFACE },
    { "route", required_argument, NULL, OPT_ROUTE },
    { "default-route", no_argument, NULL, OPT_DEFAULT_ROUTE },
    { "proxy", required_argument, NULL, OPT_PROXY },
    { "ca", required_argument, NULL, OPT_CA },
    { "pin", required_argument, NULL, OPT_PIN },
    { "insecure", no_argument, NULL, OPT_INSECURE },
    { "once", no_argument, NULL, OPT_ONCE },
    { "auth", required_argument, NULL, OPT_AUTH },
    { "json", no_argument, NULL, OPT_JSON },
    { "print-options", no_argument, NULL, OPT_PRINT_OPTIONS },
    { NULL, 0, NULL, 0 },
};

/* Which key of the file an option stands for; the same types, ranges and words. */
static const char *key_of(int option)
{
    switch (option) {
    case OPT_USER: return "login.user";
    case OPT_PASSWORD_FILE: return "login.password-file";
    case OPT_INTERFACE: return "tunnel.interface";
    case OPT_ROUTE: return "tunnel.routes";
    case OPT_DEFAULT_ROUTE: return "tunnel.default-route";
    case OPT_PROXY: return "proxy.url";
    case OPT_CA: return "server.ca";
    case OPT_PIN: return "server.pin";
    case OPT_INSECURE: return "server.insecure";
    case OPT_ONCE: return "reconnect.once";
    case OPT_AUTH: return "login.auth";
    default: return NULL;
    }
}

struct asked { /* the command line, before the file is read */
    const char *config;
    struct {
        int option;
        const char *text;
    } set[64];
    size_t n;
    bool json, print_options;
};

static int read_options(int argc, char **argv, struct asked *a)
{
    int c;
    while ((c = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
        if (c == '?')
            return EXIT_USAGE;
        if (c == 'c') {
            a->config = optarg;
        } else if (c == OPT_JSON) {
            a->json = true;
        } else if (c == OPT_PRINT_OPTIONS) {
            a->print_options = true;
        } else if (a->n == sizeof a->set / sizeof a->set[0]) {
            cli_fail("too many options: write them into a file for -c");
            return EXIT_USAGE;
        } else {
            a->set[a->n].option = c;
            a->set[a->n++].text = optarg ? optarg : "true";
        }
    }
    return 0;
}

static int load(const struct asked *a, const char *url, struct client_config **out)
{
    struct config_error err;
    char why[400];
    int rc = a->config ? client_config_load(a->config, out, &err) : client_config_default(out);
    if (rc) {
        cli_fail("%s", a->config ? err.text : "out of memory");
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < a->n; i++) {
        if (client_config_set(*out, key_of(a->set[i].option), a->set[i].text, why, sizeof why)) {
            cli_fail("%s", why);
            return EXIT_USAGE;
        }
    }
    if (url && client_config_set(*out, "server.url", url, why, sizeof why)) {
        cli_fail("%s", why);
        return EXIT_USAGE;
    }
    return 0;
}

/* ---- the web proxy of the environment ---- */

static const char *environment(const char *lower, const char *upper)
{
    const char *v = getenv(lower);
    return v && v[0] ? v : getenv(upper);
}

/* The configuration's exceptions, as no_proxy has them. */
static bool is_exception(const struct client_config *cfg, const struct http_url *server)
{
    for (size_t i = 0; i < cfg->proxy.n_none; i++)
        if (http_no_proxy(cfg->proxy.none[i], server))
            return true;
    return false;
}

/*
 * The option or file first, then the environment; "none" dials directly. A login in the URL moves to the secrets: the
 * configuration is printed for the engine without any.
 */
static int find_proxy(struct client_config *cfg, struct http_url *proxy)
{
    struct http_url server = { 0 };
    char why[300], bare[320];
    const char *url = cfg->proxy.url;
    *proxy = (struct http_url){ 0 };
    if (http_url_parse(cfg->server.url ? cfg->server.url : "", "https", &server, why, sizeof why)) {
        cli_fail("%s: %s", cfg->server.url ? cfg->server.url : "no URL is given", why);
        return EXIT_USAGE;
    }
    if (!url || !url[0])
        url = http_no_proxy(environment("no_proxy", "NO_PROXY"), &server) ? NULL
                                                                          : environment("https_proxy", "HTTPS_PROXY");
    if (!url || !url[0] || !strcmp(url, "none") || is_exception(cfg, &server)) {
        if (client_config_set(cfg, "proxy.url", "", why, sizeof why))
            return EXIT_USAGE;
        return 0;
    }
    if (http_url_parse(url, "http", proxy, why, sizeof why) || proxy->https) {
        cli_fail("proxy: %s", proxy->https ? "TLS to a proxy is not known here: give it as http://HOST:PORT" : why);
        return EXIT_USAGE;
    }
    if (url == cfg->proxy.url && proxy->password[0]) {
        cli_fail("proxy: a URL with a password can be read by others ('ps'): leave it out and be asked for it, or give "
                 "proxy.password-file or the credential \"proxy-password\"");
        return EXIT_USAGE;
    }
    char authority[264];
    http_url_authority(proxy, authority, sizeof authority);
    snprintf(bare, sizeof bare, "http://%s", authority);
    if (client_config_set(cfg, "proxy.url", bare, why, sizeof why)) {
        cli_fail("proxy: %s", why);
        return EXIT_USAGE;
    }
    return 0;
}

/* ---- secrets ---- */

static void warn_readable(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & 077))
        fprintf(stderr, "gatehouse: warning: %s can be read by others: chmod 600 %s\n", path, path);
}

/* The first line of a file, which may be empty. */
static int password_from(const char *path, char *out, size_t cap)
{
    char *data;
    size_t len;
    if (file_read(path, cap - 1, &data, &len)) {
        cli_fail("password file %s: %s", path, strerror(errno));
        return EXIT_USAGE;
    }
    size_t n = strcspn(data, "\r\n");
    memcpy(out, data, n);
    out[n] = 0;
    bool good = strlen(out) == n;
    secret_free(data, len);
    if (!good)
        cli_fail("password file %s: its first line has a zero byte", path);
    return good ? 0 : EXIT_USAGE;
}

/*
 * A file, the service manager's credential, or the person at the terminal. An empty credential counts as none: a unit
 * can name a file that need not be there only by setting an empty one for that case.
 */
int connect_password(const char *file, const char *credential, const char *prompt, char *out, size_t cap)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY"), *why;
    char path[4096];
    size_t len;
    out[0] = 0;
    if (file) {
        warn_readable(file);
        int rc = password_from(file, out, cap);
        if (!rc && !out[0])
            cli_fail("password file %s: its first line is empty", file);
        return out[0] ? rc : EXIT_USAGE;
    }
    if (folder) {
        snprintf(path, sizeof path, "%s/%s", folder, credential);
        int rc = access(path, R_OK) == 0 ? password_from(path, out, cap) : 0;
        if (rc || out[0])
            return rc;
    }
    if (!isatty(STDIN_FILENO)) {
        bool proxy = strcmp(credential, "password") != 0;
        cli_fail("no password%s: give %s, or a credential named \"%s\" (systemd), or run it at a terminal",
                 proxy ? " for the proxy" : "", proxy ? "proxy.password-file" : "--password-file FILE", credential);
        return EXIT_USAGE;
    }
    if (password_ask(prompt, out, cap, &len, &why)) {
        cli_fail("%s", why);
        return EXIT_USAGE;
    }
    return 0;
}

int connect_methods(const char *text, uint8_t out[5], char *why, size_t cap)
{
    size_t n = 0;
    memset(out, 0, 5);
    while (*text) {
        size_t len = strcspn(text, ",");
        unsigned m = PPP_AUTH_METHODS - 1;
        while (m > PPP_AUTH_NONE) {
            const char *name = client_method_name((enum ppp_auth_method)m);
            if (strlen(name) == len && !strncmp(name, text, len))
                break;
            m--;
        }
        if (m == PPP_AUTH_NONE || n == 4) {
            snprintf(why, cap, "\"%.*s\": expected eap-mschapv2, mschapv2, chap or pap, with commas between", (int)len,
                     text);
            return EXIT_USAGE;
        }
        out[n++] = (uint8_t)m;
        text += len + (text[len] == ',');
    }
    return 0;
}

static int run(struct client_config *cfg, struct http_url *proxy, enum client_mode mode)
{
    char password[PASSWORD_MAX] = "", proxy_password[PASSWORD_MAX] = "", prompt[400];
    const char *proxy_user = proxy->user[0] ? proxy->user : cfg->proxy.user;
    struct client_secrets s = { password, NULL, NULL };
    process_hide(); /* before there is a password in it */
    snprintf(prompt, sizeof prompt, "Password of %s: ", cfg->login.user);
    int rc = connect_password(cfg->login.password_file, "password", prompt, password, sizeof password);
    if (!rc && proxy->host[0] && proxy_user) {
        snprintf(prompt, sizeof prompt, "Password of %s at the proxy: ", proxy_user);
        if (proxy->password[0])
            snprintf(proxy_password, sizeof proxy_password, "%s", proxy->password);
        else
            rc = connect_password(cfg->proxy.password_file, "proxy-password", prompt, proxy_password,
                                  sizeof proxy_password);
        s.proxy_user = proxy_user;
        s.proxy_password = proxy_password;
    }
    if (!rc)
        rc = client_monitor_run(cfg, &s, mode);
    secret_wipe(password, sizeof password);
    secret_wipe(proxy_password, sizeof proxy_password);
    return rc;
}

int cli_connect(int argc, char **argv)
{
    struct asked a = { 0 };
    struct client_config *cfg = NULL;
    struct http_url proxy;
    char why[400];
    int rc = read_options(argc, argv, &a);
    if (!rc && a.print_options) {
        client_config_print_options(stdout);
        return EXIT_GOOD;
    }
    if (!rc && argc - optind > 1) {
        cli_fail("one URL at a time; 'gatehouse connect --help' tells more");
        rc = EXIT_USAGE;
    }
    if (!rc && optind == argc && !a.config) {
        cli_fail("give the server's URL, as https://vpn.example.com, or a configuration with -c FILE");
        rc = EXIT_USAGE;
    }
    if (!rc)
        rc = load(&a, optind < argc ? argv[optind] : NULL, &cfg);
    if (!rc)
        rc = find_proxy(cfg, &proxy);
    if (!rc && client_config_check(cfg, why, sizeof why)) {
        cli_fail("%s", why);
        rc = EXIT_USAGE;
    }
    if (!rc && geteuid() != 0) { /* before anybody types a password */
        cli_fail(
            "connect needs root for the interface, routes and DNS (it gives that up for everything that talks to the "
            "network): run it with sudo or from the service manager");
        rc = CLIENT_EXIT_LOCAL;
    }
    enum client_mode mode = a.json ? CLIENT_MODE_JSON : isatty(STDERR_FILENO) ? CLIENT_MODE_TERMINAL : CLIENT_MODE_LOG;
    if (!rc)
        rc = run(cfg, &proxy, mode);
    if (cfg)
        secret_wipe(&proxy, sizeof proxy);
    client_config_free(cfg);
    return rc;
}
