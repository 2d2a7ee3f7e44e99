/* The client's configuration: its face, and the rules between its options. */
#include "client/config.h"

#include <stdarg.h>
#include <string.h>
#include <sys/un.h>

#include "base/ct.h"
#include "client/config_options.h"
#include "http/url.h"

int client_config_load(const char *path, struct client_config **out, struct config_error *err)
{
    void *c;
    int rc = config_schema_load_first(&client_config_schema, path, &c, err);
    if (!rc)
        *out = c;
    return rc;
}

int client_config_parse_text(const char *text, struct client_config **out, struct config_error *err)
{
    void *c;
    int rc = config_schema_parse(&client_config_schema, text, &c, err);
    if (!rc)
        *out = c;
    return rc;
}

int client_config_default(struct client_config **out)
{
    struct config_error err;
    return client_config_parse_text("", out, &err);
}

char *client_config_print(const struct client_config *c)
{
    return config_schema_print(&client_config_schema, c);
}

void client_config_free(struct client_config *c)
{
    config_schema_free(&client_config_schema, c);
}

void client_config_print_options(FILE *out)
{
    config_schema_print_options(&client_config_schema, out);
}

int client_config_set(struct client_config *c, const char *name, const char *text, char *err, size_t cap)
{
    struct config_error e;
    int rc = config_schema_set(&client_config_schema, c, name, text, &e);
    if (rc == ERR_USAGE)
        snprintf(err, cap, "%s: %s", e.what, e.remedy);
    else if (rc)
        snprintf(err, cap, "%s", e.text);
    return rc;
}

/* What a rule found, with its place when that is a file. */
__attribute__((format(printf, 5, 6))) static int wrong(const struct client_config *c, const void *field, char *err,
                                                       size_t cap, const char *fmt, ...)
{
    struct config_place at = config_schema_place(&client_config_schema, c, field);
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (at.file && strchr(at.file, '/'))
        snprintf(err, cap, "%s:%d: %s", at.file, at.line, text);
    else
        snprintf(err, cap, "%s", text);
    return ERR_USAGE;
}

static int check_urls(const struct client_config *c, char *err, size_t cap)
{
    struct http_url u = { 0 };
    char why[200];
    int rc = 0;
    if (!c->server.url)
        return wrong(c, &c->server.url, err, cap,
                     "server.url is missing: give the server's URL, as https://vpn.example.com");
    if (http_url_parse(c->server.url, "https", &u, why, sizeof why))
        return wrong(c, &c->server.url, err, cap, "server.url %s: %s", c->server.url, why);
    if (!u.https)
        rc =
            wrong(c, &c->server.url, err, cap, "server.url %s: SSTP is spoken over TLS: write https://", c->server.url);
    else if (u.user[0] || u.password[0])
        rc =
            wrong(c, &c->server.url, err, cap, "server.url holds a login: use login.user (--user) and a password file");
    secret_wipe(&u, sizeof u);
    if (rc || !c->proxy.url || !c->proxy.url[0] || !strcmp(c->proxy.url, "none"))
        return rc;
    if (http_url_parse(c->proxy.url, "http", &u, why, sizeof why))
        return wrong(c, &c->proxy.url, err, cap, "proxy.url: %s", why);
    if (u.https)
        rc = wrong(c, &c->proxy.url, err, cap, "proxy.url: TLS to a proxy is not known here: write http://HOST:PORT");
    else if (u.password[0])
        rc = wrong(c, &c->proxy.url, err, cap,
                   "proxy.url holds a password, which others can see: use proxy.user and proxy.password-file");
    secret_wipe(&u, sizeof u);
    return rc;
}

/* Nothing is verified by accident, and nothing that was asked for is left out without a word. */
static int check_trust(const struct client_config *c, char *err, size_t cap)
{
    if (c->server.insecure && (c->server.ca || c->server.n_pin || c->server.crl))
        return wrong(c, &c->server.insecure, err, cap,
                     "server.insecure accepts any certificate, so %s would be for nothing: remove one of the two",
                     c->server.n_pin ? "server.pin"
                     : c->server.ca  ? "server.ca"
                                     : "server.crl");
    return 0;
}

int client_config_check(const struct client_config *c, char *err, size_t cap)
{
    int rc = check_urls(c, err, cap);
    if (!rc)
        rc = check_trust(c, err, cap);
    if (rc)
        return rc;
    if (!c->login.user)
        return wrong(c, &c->login.user, err, cap, "login.user is missing: who logs in? (--user NAME)");
    if (c->tunnel.default_route && c->tunnel.n_route)
        return wrong(c, &c->tunnel.default_route, err, cap,
                     "tunnel.default-route sends everything through the tunnel, tunnel.routes only some: keep one");
    if (c->reconnect.first_s > c->reconnect.max_s)
        return wrong(c, &c->reconnect.first_s, err, cap, "reconnect.first is longer than reconnect.max: %d and %d",
                     c->reconnect.first_s, c->reconnect.max_s);
    if (strlen(c->control.folder) + 1 + strlen(c->tunnel.interface) + sizeof ".sock" >
        sizeof((struct sockaddr_un *)0)->sun_path)
        return wrong(c, &c->control.folder, err, cap,
                     "control.folder is too long for the socket in it, 107 bytes in all: choose a shorter one");
    return 0;
}
