/* What the engine is told before it dials: configuration, secrets, whom to trust. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "auth/users.h"
#include "base/ct.h"
#include "base/digest.h"
#include "base/log.h"
#include "client/engine_state.h"
#include "client/report.h"

#define CRLS_MAX        1000
#define LCP_ECHO_MISSES 3

int client_ask(struct client_engine *e, enum client_request what, uint32_t index, struct priv_msg *m, int *fd)
{
    *m = (struct priv_msg){ .type = what, .index = index };
    if (fd)
        *fd = -1;
    return priv_call(e->channel, m, fd, fd ? 1 : 0);
}

/* *data stays NULL where the monitor has none to give. */
static int ask_blob(struct client_engine *e, enum client_request what, uint32_t index, char **data, size_t *len,
                    struct priv_msg *m)
{
    int fd;
    int rc = client_ask(e, what, index, m, &fd);
    *data = NULL;
    *len = 0;
    if (!rc && m->n_fds)
        rc = priv_take_blob(fd, data, len);
    return rc;
}

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

int client_trouble(struct client_end *why, int rc, const char *text)
{
    client_end_set(why, rc == ERR_USAGE ? CLIENT_CONFIGURATION : CLIENT_INTERNAL, "%s", text[0] ? text : err_name(rc));
    return rc;
}

static int load_config(struct client_engine *e, struct client_end *why)
{
    struct config_error err;
    struct priv_msg m;
    char *text;
    size_t len;
    int rc = ask_blob(e, CLIENT_CONFIG, 0, &text, &len, &m);
    if (!rc && !text)
        rc = ERR_BUG;
    if (rc)
        return client_trouble(why, rc, "no configuration");
    report_setup((enum client_mode)m.index, CLIENT_STDOUT_FD);
    rc = client_config_parse_text(text, &e->cfg, &err);
    free(text);
    if (rc)
        return client_trouble(why, rc, err.text);
    log_setup(e->cfg->log.level, e->cfg->log.format, !getenv("JOURNAL_STREAM"));
    return 0;
}

static bool has_mschapv2(const struct client_config *c)
{
    for (size_t i = 0; i < sizeof c->login.auth && c->login.auth[i]; i++)
        if (c->login.auth[i] == PPP_AUTH_MSCHAPV2 || c->login.auth[i] == PPP_AUTH_EAP_MSCHAPV2)
            return true;
    return false;
}

/* RFC 2759 8.3 makes UTF-16 of it: better said now than in the middle of the first login. */
static int password_check(const struct client_engine *e, struct client_end *why)
{
    uint8_t nt_hash[16];
    if (!e->password)
        return client_trouble(why, ERR_BUG, "no password");
    int rc = users_nt_hash(e->password, strlen(e->password), nt_hash);
    secret_wipe(nt_hash, sizeof nt_hash);
    return rc ? client_trouble(why, rc, rc == ERR_USAGE ? "the password is not UTF-8" : "") : 0;
}

static int load_secrets(struct client_engine *e, struct client_end *why)
{
    struct priv_msg m;
    size_t len;
    int rc = ask_blob(e, CLIENT_PASSWORD, 0, &e->password, &len, &m);
    if (!rc)
        rc = ask_blob(e, CLIENT_PROXY_USER, 0, &e->proxy_user, &len, &m);
    if (!rc)
        rc = ask_blob(e, CLIENT_PROXY_PASSWORD, 0, &e->proxy_password, &len, &m);
    if (rc)
        return client_trouble(why, rc, m.text);
    return has_mschapv2(e->cfg) ? password_check(e, why) : 0;
}

int client_trust_load(struct client_engine *e, struct client_end *why)
{
    struct tls_client_cfg c = { .insecure = e->cfg->server.insecure, .min_version = e->cfg->server.min_version };
    struct priv_msg m;
    struct tls_client *fresh = NULL;
    char *ca = NULL, *system = NULL, *crl = NULL, err[300] = "";
    size_t len;
    int rc = ask_blob(e, CLIENT_CA, 0, &ca, &c.ca_len, &m);
    if (!rc)
        rc = ask_blob(e, CLIENT_SYSTEM_CA, 0, &system, &c.system_len, &m);
    if (rc)
        snprintf(err, sizeof err, "%.299s", m.text);
    c.ca_pem = ca;
    c.system_pem = system;
    c.n_pins = e->cfg->server.n_pin;
    memcpy(c.pin, e->cfg->server.pin, c.n_pins * 32);
    if (!rc)
        rc = tls_client_new(&c, &fresh, err, sizeof err);
    for (uint32_t i = 0; !rc && i < CRLS_MAX; i++) {
        rc = ask_blob(e, CLIENT_CRL, i, &crl, &len, &m);
        if (rc)
            snprintf(err, sizeof err, "%.299s", m.text);
        if (rc || !crl)
            break;
        rc = tls_client_add_crl(fresh, crl, len, err, sizeof err);
        free(crl);
        crl = NULL;
    }
    free(ca);
    free(system);
    if (rc) {
        tls_client_free(fresh);
        return client_trouble(why, rc, err);
    }
    tls_client_free(e->tls);
    e->dial_cfg.tls = e->tls = fresh;
    return 0;
}

static void use_config(struct client_engine *e)
{
    const struct client_config *c = e->cfg;
    char why[200];
    int rc = http_url_parse(c->server.url, "https", &e->dial_cfg.server, why, sizeof why);
    if (!rc && c->proxy.url && c->proxy.url[0])
        rc = http_url_parse(c->proxy.url, "http", &e->dial_cfg.proxy, why, sizeof why);
    (void)rc; /* judged by client_config_check() before it came here */
    e->dial_cfg.proxy_login = (struct http_login){ e->proxy_user, e->proxy_password };
    e->dial_cfg.insecure = c->server.insecure;
    e->secret = (struct ppp_secret){ c->login.user, e->password };
    e->call_cfg.sstp = sstp_client_cfg_default;
    e->call_cfg.sstp.echo_idle_ms = (uint32_t)c->reconnect.echo_interval_s * 1000;
    e->call_cfg.sstp.echo_wait_ms = (uint32_t)c->reconnect.echo_timeout_s * 1000;
    e->call_cfg.ppp = (struct ppp_peer_cfg){ .mru = (uint16_t)c->tunnel.mtu, .dns = true, .ipv6 = c->tunnel.ipv6 };
    memcpy(e->call_cfg.ppp.auth, c->login.auth, sizeof e->call_cfg.ppp.auth);
    e->call_cfg.ppp.lcp_echo_idle_ms = e->call_cfg.sstp.echo_idle_ms;
    e->call_cfg.ppp.lcp_echo_misses = LCP_ECHO_MISSES;
    e->call_cfg.secret = &e->secret;
    e->call_cfg.rng.fill = random_fill;
    e->backoff = (struct backoff){ (uint32_t)c->reconnect.first_s * 1000, (uint32_t)c->reconnect.max_s * 1000, 0 };
}

int client_setup(struct client_engine *e, struct client_end *why)
{
    int rc = load_config(e, why);
    if (!rc && (rc = digest_init()))
        client_trouble(why, rc, "OpenSSL's legacy provider (MD4, DES) is missing");
    if (!rc)
        rc = load_secrets(e, why);
    if (!rc)
        rc = client_trust_load(e, why);
    if (!rc)
        use_config(e);
    return rc;
}
