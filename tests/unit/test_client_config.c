#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/request.h"
#include "client/config.h"
#include "client/netconf.h"

#define HEX "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define PIN "sha256:" HEX

/* libconfig 1.5 loses a buffer when a text ends inside a string. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so";
}

static char folder[] = "/tmp/gatehouse-client-XXXXXX";

static const char *at(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void file_write(const char *name, const char *text)
{
    FILE *f = fopen(at(name), "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int folder_make(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int folder_remove(void **state)
{
    (void)state;
    char cmd[64];
    snprintf(cmd, sizeof cmd, "rm -r %s", folder);
    return system(cmd);
}

static struct client_config *defaults(void)
{
    struct client_config *c = NULL;
    assert_int_equal(client_config_default(&c), 0);
    return c;
}

static struct client_config *parse(const char *text)
{
    struct client_config *c = NULL;
    struct config_error err;
    int rc = client_config_parse_text(text, &c, &err);
    if (rc)
        print_error("%s\n", err.text);
    assert_int_equal(rc, 0);
    return c;
}

static void set(struct client_config *c, const char *name, const char *text)
{
    char err[400] = "";
    int rc = client_config_set(c, name, text, err, sizeof err);
    if (rc)
        print_error("%s\n", err);
    assert_int_equal(rc, 0);
}

static void test_defaults(void **state)
{
    (void)state;
    struct client_config *c = defaults();
    assert_null(c->server.url);
    assert_null(c->server.ca);
    assert_int_equal(c->server.n_pin, 0);
    assert_false(c->server.insecure);
    assert_int_equal(c->server.min_version, 0x0303);
    assert_null(c->login.user);
    assert_int_equal(c->login.auth[0], PPP_AUTH_EAP_MSCHAPV2);
    assert_int_equal(c->login.auth[1], PPP_AUTH_MSCHAPV2);
    assert_int_equal(c->login.auth[2], 0); /* neither chap nor pap unless it is asked for */
    assert_string_equal(c->tunnel.interface, "ghc0");
    assert_int_equal(c->tunnel.mtu, 1400);
    assert_int_equal(c->tunnel.n_route, 0);
    assert_false(c->tunnel.default_route);
    assert_int_equal(c->tunnel.dns, NETCONF_DNS_AUTO);
    assert_string_equal(c->tunnel.resolv_conf, "/etc/resolv.conf");
    assert_true(c->tunnel.ipv6);
    assert_int_equal(c->tunnel.offload, CONFIG_AUTO);
    assert_null(c->proxy.url);
    assert_false(c->reconnect.once);
    assert_int_equal(c->reconnect.first_s, 1);
    assert_int_equal(c->reconnect.max_s, 60);
    assert_int_equal(c->reconnect.echo_interval_s, 20);
    assert_int_equal(c->reconnect.echo_timeout_s, 20);
    assert_string_equal(c->control.folder, "/run/gatehouse/connect");
    assert_int_equal(c->log.level, LOG_LV_NOTICE);
    assert_string_equal(c->worker.user, "gatehouse");
    client_config_free(c);
}

static const char all[] =
    "server: { url = \"https://vpn.example.com\"; pin = [ \"" PIN "\", \"SHA256:00:11:22:33"
    "445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF\" ]; min-version = \"1.3\"; };\n"
    "login: { user = \"EXAMPLE\\\\anna\"; password-file = \"/p\"; auth = [ \"mschapv2\", "
    "\"chap\", \"pap\" ]; };\n"
    "tunnel: { interface = \"vpn7\"; mtu = 1280; routes = [ \"10.0.0.0/8\", \"2001:db8::/32\", "
    "\"192.0.2.1\" ]; dns = \"resolv.conf\"; resolv-conf = \"/r\"; ipv6 = false; offload = \"off\"; };\n"
    "proxy: { url = \"http://proxy:3128\"; user = \"u\"; password-file = \"/pp\"; none = [ "
    "\".example.org\", \"10.0.0.0/8\" ]; };\n"
    "reconnect: { once = true; first = 2; max = 30; echo-interval = 5; echo-timeout = 7; };\n"
    "control: { folder = \"/f\"; }; log: { level = \"debug\"; format = \"json\"; };\n"
    "worker: { user = \"nobody\"; };\n";

static void test_values(void **state)
{
    (void)state;
    struct client_config *c = parse(all);
    assert_int_equal(c->server.n_pin, 2);
    assert_int_equal(c->server.pin[0][1], 0x11);
    assert_int_equal(c->server.pin[0][31], 0xff);
    assert_memory_equal(c->server.pin[0], c->server.pin[1], 32);
    assert_int_equal(c->server.min_version, 0x0304);
    assert_string_equal(c->login.user, "EXAMPLE\\anna");
    assert_int_equal(c->login.auth[2], PPP_AUTH_PAP);
    assert_int_equal(c->tunnel.n_route, 3);
    assert_int_equal(c->tunnel.route[0].bits, 8);
    assert_int_equal(c->tunnel.route[1].family, 6);
    assert_int_equal(c->tunnel.route[2].bits, 32);
    assert_int_equal(c->tunnel.dns, NETCONF_DNS_RESOLV_CONF);
    assert_int_equal(c->tunnel.offload, CONFIG_OFF);
    assert_int_equal(c->proxy.n_none, 2);
    assert_string_equal(c->proxy.none[1], "10.0.0.0/8");
    assert_true(c->reconnect.once);
    assert_int_equal(c->reconnect.echo_timeout_s, 7);
    assert_int_equal(c->log.format, LOG_FMT_JSON);
    client_config_free(c);
}

/* What is printed for the engine is read back the same. */
static void test_print(void **state)
{
    (void)state;
    const char *texts[] = { "", all };
    for (size_t i = 0; i < 2; i++) {
        struct client_config *c = parse(texts[i]);
        char *one = client_config_print(c);
        assert_non_null(one);
        struct client_config *again = parse(one);
        char *two = client_config_print(again);
        assert_string_equal(one, two);
        if (i) {
            assert_non_null(strstr(one, "pin = [ \"" PIN "\", \"" PIN "\" ];"));
            assert_non_null(strstr(one, "user = \"EXAMPLE\\\\anna\";"));
            assert_non_null(strstr(one, "none = [ \".example.org\", \"10.0.0.0/8\" ];"));
            assert_memory_equal(&c->tunnel.route, &again->tunnel.route, sizeof c->tunnel.route);
        }
        free(one);
        free(two);
        client_config_free(c);
        client_config_free(again);
    }
}

static void test_refused(void **state)
{
    (void)state;
    const struct {
        const char *text, *code, *part;
    } bad[] = {
        { "server: { pin = [ \"sha256:0011\" ]; };", "config-bad-value", "server.pin cannot be \"sha256:0011\"" },
        { "server: { pin = [ \"" PIN "0\" ]; };", "config-bad-value", "server.pin" },
        { "server: { pin = [ \"" HEX "\" ]; };", "config-bad-value", "server.pin" },
        { "server: { pin = [ \"sha1:00112233445566778899aabbccddeeff00112233\" ]; };", "config-bad-value", "pin" },
        { "server: { Url = \"x\"; };", "config-unknown-key", "did you mean \"url\"?" },
        { "servers: { };", "config-unknown-section", "did you mean \"server\"?" },
        { "vpn: { };", "config-unknown-section", "there are server, login, tunnel" },
        { "login: { auth = [ ]; };", "config-out-of-range", "login.auth has 0 entries" },
        { "login: { auth = [ \"pap\", \"chap\" ]; };", "config-bad-value", "after something weaker" },
        { "login: { auth = [ \"mschap\" ]; };", "config-bad-value", "\"eap-mschapv2\", \"mschapv2\"" },
        { "tunnel: { offload = \"tso\"; };", "config-bad-value", "\"off\" or \"auto\"" },
        { "tunnel: { mtu = 575; };", "config-out-of-range", "from 576 to 4087" },
        { "tunnel: { routes = [ \"10.0.0.1/8\" ]; };", "config-bad-value", "has bits set behind its prefix" },
        { "tunnel: { interface = \"a/b\"; };", "config-bad-value", "tunnel.interface" },
        { "proxy: { none = [ \"\" ]; };", "config-bad-value", "proxy.none" },
        { "login: { user = \"a\\x07\"; };", "config-bad-value", "not text" },
        { "server: { ca = \"ca.pem\"; };", "config-bad-value", "server.ca cannot be" }, /* text has no folder */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct client_config *c;
        struct config_error err;
        assert_int_equal(client_config_parse_text(bad[i].text, &c, &err), ERR_USAGE);
        assert_string_equal(err.code, bad[i].code);
        if (!strstr(err.text, bad[i].part))
            print_error("%s\n", err.text);
        assert_non_null(strstr(err.text, bad[i].part));
    }
}

static void test_file(void **state)
{
    (void)state;
    struct client_config *c;
    struct config_error err;
    char want[400], why[400];
    file_write("ca.pem", "x");
    file_write("office.conf", "server: {\n url = \"https://vpn.example.com\";\n ca = \"ca.pem\";\n crl = \".\";\n};\n"
                              "login: { password-file = \"not-there-yet\"; };\n");
    assert_int_equal(client_config_load(at("office.conf"), &c, &err), 0);
    snprintf(want, sizeof want, "%s/ca.pem", folder);
    assert_string_equal(c->server.ca, want);
    snprintf(want, sizeof want, "%s/not-there-yet", folder);
    assert_string_equal(c->login.password_file, want);
    snprintf(want, sizeof want, "%s:6: login.user is missing", at("office.conf"));
    assert_int_equal(client_config_check(c, why, sizeof why), ERR_USAGE);
    assert_true(!strncmp(why, want, strlen(want)));
    client_config_free(c);

    file_write("office.conf", "server: {\n url = \"https://vpn.example.com\";\n ca = \"no.pem\";\n};\n");
    assert_int_equal(client_config_load(at("office.conf"), &c, &err), ERR_USAGE);
    assert_int_equal(err.line, 3);
    assert_string_equal(err.code, "config-file-missing");
    assert_string_equal(err.remedy, "correct the path");
    assert_int_equal(client_config_load(at("nowhere.conf"), &c, &err), ERR_USAGE);
    assert_non_null(strstr(err.text, "give the server's URL alone"));
}

static void test_set(void **state)
{
    (void)state;
    struct client_config *c = parse(all);
    char cwd[256], want[300];
    set(c, "server.url", "https://other.example.com");
    set(c, "server.insecure", "true");
    set(c, "tunnel.mtu", "1300");
    set(c, "tunnel.dns", "off");
    set(c, "login.auth", "eap-mschapv2,mschapv2,pap");
    set(c, "tunnel.routes", "10.1.0.0/16"); /* takes the place of the file's three */
    set(c, "tunnel.routes", "10.2.0.0/16,10.3.0.0/16");
    set(c, "login.password-file", "pw"); /* relative to where we are */
    set(c, "proxy.url", "");
    assert_string_equal(c->server.url, "https://other.example.com");
    assert_true(c->server.insecure);
    assert_int_equal(c->tunnel.mtu, 1300);
    assert_int_equal(c->tunnel.dns, NETCONF_DNS_OFF);
    assert_int_equal(c->login.auth[0], PPP_AUTH_EAP_MSCHAPV2);
    assert_int_equal(c->login.auth[2], PPP_AUTH_PAP);
    assert_int_equal(c->login.auth[3], 0);
    assert_int_equal(c->tunnel.n_route, 3);
    assert_int_equal(c->tunnel.route[2].ip[1], 3);
    assert_string_equal(c->proxy.url, "");
    assert_non_null(getcwd(cwd, sizeof cwd));
    snprintf(want, sizeof want, "%s/pw", cwd);
    assert_string_equal(c->login.password_file, want);
    client_config_free(c);
}

static void test_set_refused(void **state)
{
    (void)state;
    const struct {
        const char *name, *text, *err;
    } bad[] = {
        { "tunnel.routes", "10.0.0.0/33",
          "tunnel.routes cannot be \"10.0.0.0/33\": a list of addresses and networks, like [ \"127.0.0.1\", "
          "\"2001:db8::/32\" ]" },
        { "tunnel.mtu", "10", "tunnel.mtu is 10: a whole number from 576 to 4087" },
        { "tunnel.mtu", "99999999999999999999", "tunnel.mtu is 9999" },
        { "tunnel.mtu", "1400x", "tunnel.mtu cannot be \"1400x\"" },
        { "tunnel.mtu", "", "tunnel.mtu cannot be \"\"" },
        { "reconnect.once", "yes", "reconnect.once cannot be \"yes\": true or false" },
        { "login.user", "", "login.user cannot be \"\"" },
        { "login.user", "a\nb", "login.user holds something that is not text" },
        { "login.auth", "pap,mschapv2", "login.auth has \"mschapv2\" after something weaker" },
        { "login.auth", "", "login.auth has 0 entries: a list" },
        { "server.pin", "sha256:12", "server.pin cannot be" },
        { "server.ca", "/nowhere/ca.pem", "server.ca: /nowhere/ca.pem: No such file" },
        { "server.urls", "x", "there is no option server.urls" },
        { "url", "x", "there is no option url" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct client_config *c = defaults();
        char err[400] = "";
        assert_int_equal(client_config_set(c, bad[i].name, bad[i].text, err, sizeof err), ERR_USAGE);
        if (strncmp(err, bad[i].err, strlen(bad[i].err)) != 0)
            print_error("%s\n", err);
        assert_true(!strncmp(err, bad[i].err, strlen(bad[i].err)));
        client_config_free(c);
    }
}

/* A list is never filled beyond its end. */
static void test_set_too_many(void **state)
{
    (void)state;
    struct client_config *c = defaults();
    char err[400] = "";
    for (int i = 0; i < CLIENT_PINS_MAX; i++)
        set(c, "server.pin", PIN);
    assert_int_equal(client_config_set(c, "server.pin", PIN, err, sizeof err), ERR_USAGE);
    assert_string_equal(err, "server.pin has more than 8 entries: a list of certificates' hashes, like [ "
                             "\"sha256:9f86...\" ], 64 digits each");
    assert_int_equal(c->server.n_pin, CLIENT_PINS_MAX);
    client_config_free(c);
}

static void test_rules(void **state)
{
    (void)state;
    const struct {
        const char *set[6]; /* name, text, ... */
        const char *err;    /* NULL: good */
    } rule[] = {
        { { "server.url", "https://vpn.example.com" }, NULL },
        { { "server.url", "vpn.example.com:4433/x" }, NULL },
        { { "server.url", "http://vpn.example.com" }, "SSTP is spoken over TLS" },
        { { "server.url", "ftp://vpn.example.com" }, "server.url ftp://vpn.example.com: " },
        { { "server.url", "https://u@vpn.example.com" }, "server.url holds a login" },
        { { "login.user", "b" }, "server.url is missing" },
        { { "server.url", "https://v", "server.insecure", "true" }, NULL },
        { { "server.url", "https://v", "server.insecure", "true", "server.pin", PIN }, "server.pin would be for noth" },
        { { "server.url", "https://v", "server.insecure", "true", "server.crl", "/tmp" }, "server.crl would be for" },
        { { "server.url", "https://v", "proxy.url", "http://p:3128" }, NULL },
        { { "server.url", "https://v", "proxy.url", "none" }, NULL },
        { { "server.url", "https://v", "proxy.url", "https://p" }, "TLS to a proxy" },
        { { "server.url", "https://v", "proxy.url", "http://u:secret@p" }, "proxy.url holds a password" },
        { { "server.url", "https://v", "tunnel.default-route", "true", "tunnel.routes", "10.0.0.0/8" }, "keep one" },
        { { "server.url", "https://v", "reconnect.first", "61" }, "reconnect.first is longer than reconnect.max" },
        { { "server.url", "https://v", "control.folder",
            "/rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr" },
          NULL },
        { { "server.url", "https://v", "control.folder",
            "/rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr" },
          "control.folder is too long" },
    };
    for (size_t i = 0; i < sizeof rule / sizeof rule[0]; i++) {
        struct client_config *c = defaults();
        char err[400] = "";
        set(c, "login.user", "anna");
        for (size_t k = 0; k < 6 && rule[i].set[k]; k += 2)
            set(c, rule[i].set[k], rule[i].set[k + 1]);
        int rc = client_config_check(c, err, sizeof err);
        if (!rule[i].err ? rc : !strstr(err, rule[i].err))
            print_error("%zu: %s\n", i, err);
        assert_int_equal(rc, rule[i].err ? ERR_USAGE : 0);
        if (rule[i].err)
            assert_non_null(strstr(err, rule[i].err));
        assert_null(strstr(err, "secret"));
        client_config_free(c);
    }
    struct client_config *c = defaults();
    char err[400];
    set(c, "server.url", "https://v");
    assert_int_equal(client_config_check(c, err, sizeof err), ERR_USAGE);
    assert_string_equal(err, "login.user is missing: who logs in? (--user NAME)");
    client_config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),    cmocka_unit_test(test_values), cmocka_unit_test(test_print),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_file),   cmocka_unit_test(test_set),
        cmocka_unit_test(test_set_refused), cmocka_unit_test(test_rules),  cmocka_unit_test(test_set_too_many),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
