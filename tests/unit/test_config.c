#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/config.h"
#include "auth/request.h"

#define CERTS     "certificates: ( { chain = \"/c.pem\"; key = \"/c.key\"; } );\n"
#define VPN(rest) CERTS "vpn: {\n network = [ \"10.77.0.0/16\" ];\n users = \"/u\";\n" rest "\n};\n"

/* libconfig 1.5 loses a buffer when a text ends inside a string. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so";
}

static char folder[] = "/tmp/gatehouse-config-XXXXXX";

static struct config *parse(const char *text)
{
    struct config *c = NULL;
    struct config_error err;
    int rc = config_parse_text(text, &c, &err);
    if (rc < 0)
        print_error("%s\n", err.text);
    assert_int_equal(rc, 0);
    return c;
}

static void file_write(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int file_load(const char *name, struct config **c, struct config_error *err)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return config_load(path, c, err);
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

static void test_defaults(void **state)
{
    (void)state;
    struct config *c = parse(CERTS);
    assert_int_equal(c->listen.n_address, 2);
    assert_string_equal(c->listen.address[0].text, "0.0.0.0:443");
    assert_int_equal(c->listen.address[1].u.in6.sin6_port, htons(443));
    assert_int_equal(c->n_certs, 1);
    assert_string_equal(c->certs[0].name, "certificate 1");
    assert_int_equal(c->certs[0].n_for, 1);
    assert_string_equal(c->certs[0].for_[0], "default");
    assert_int_equal(c->certs[0].line, 1);
    assert_int_equal(c->n_web, 1);
    assert_null(c->web[0].name);
    assert_int_equal(c->web[0].upstream.len, 0);
    assert_false(c->vpn_on);
    assert_int_equal(c->vpn.mtu, 1400);
    assert_int_equal(c->tls.min_version, 0x0303);
    assert_int_equal(c->log.level, LOG_LV_NOTICE);
    assert_string_equal(c->control.socket, "/run/gatehouse/control");
    assert_string_equal(c->worker.user, "gatehouse");
    assert_int_equal(c->limits.connections, 20000);
    assert_int_equal(c->limits.call_queue_kib, 16384);
    assert_int_equal(c->limits.worker_queue_mib, 64);
    config_free(c);
    /* a client that waits 60 s hears us in time, one that waits 20 s hears its own echo's answer */
    c = parse(VPN(""));
    assert_int_equal(c->vpn.echo_interval_s, 25);
    assert_int_equal(c->vpn.echo_timeout_s, 60);
    assert_int_equal(c->vpn.lcp_echo_interval_s, 0);
    assert_int_equal(c->vpn.mtu, 1400);
    assert_int_equal(c->vpn.offload, CONFIG_AUTO);
    assert_int_equal(c->vpn.steering, CONFIG_AUTO);
    config_free(c);
}

static void test_values(void **state)
{
    (void)state;
    struct config *c =
        parse(VPN("dns = [ \"10.77.0.1\" ]; nbns = [ \"1.2.3.4\", \"1.2.3.5\" ]; mtu = 1500; nat = \"auto\";"
                  "auth = [ \"mschapv2\", \"chap\", \"pap\" ]; forward = true; ipv6 = false; offload = \"off\"; "
                  "steering = \"off\";") "limits: { call-queue = 65536; worker-queue = 65536; };"
                                         "web: ( { name = "
                                         "\"Blog.Example.COM\"; upstream = "
                                         "\"unix:/run/b\"; proxy-protocol "
                                         "= \"v2\"; } );");
    assert_true(c->vpn_on);
    assert_int_equal(c->vpn.network[0].base, 0x0a4d0000);
    assert_int_equal(c->vpn.network[0].prefix, 16);
    assert_int_equal(config_server_ip4(c), 0x0a4d0001);
    assert_int_equal(c->vpn.dns[0], 0x0a4d0001);
    assert_int_equal(c->vpn.dns[1], 0);
    assert_int_equal(c->vpn.nbns[1], 0x01020305);
    assert_int_equal(c->vpn.auth[0], PPP_AUTH_MSCHAPV2);
    assert_int_equal(c->vpn.auth[1], PPP_AUTH_CHAP_MD5);
    assert_int_equal(c->vpn.auth[2], PPP_AUTH_PAP);
    assert_int_equal(c->vpn.auth[3], 0);
    assert_int_equal(config_place(c, &c->vpn.users).line, 4);
    assert_int_equal(c->vpn.nat, CONFIG_NAT_AUTO);
    assert_true(c->vpn.forward);
    assert_false(c->vpn.ipv6);
    assert_int_equal(c->vpn.offload, CONFIG_OFF);
    assert_int_equal(c->vpn.steering, CONFIG_OFF);
    assert_int_equal(c->limits.call_queue_kib, 65536);
    assert_int_equal(c->limits.worker_queue_mib, 65536);
    assert_int_equal(c->n_web, 2);
    assert_string_equal(c->web[0].name, "blog.example.com");
    assert_int_equal(c->web[0].proxy_protocol, PROXY_V2);
    assert_int_equal(c->web[0].upstream.u.sa.sa_family, AF_UNIX);
    assert_null(c->web[1].name);
    config_free(c);
}

#define X64 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define OFFLOAD(cert)                                                                                                  \
    CERTS "offload: { listen = [ \"127.0.0.1:8443\" ]; from = [ \"127.0.0.1\" ];\ncertificates = [ \"" cert "\" ]; };"

/* What is in front of TLS, around it, and beside it. */
static void test_fronts(void **state)
{
    (void)state;
    struct config *c = NULL;
    struct config_error err;
    const char *text =
        "listen: { address = [ ]; redirect = [ \"0.0.0.0:80\", \"[::]:80\" ]; proxy-from = [ \"10.0.0.0/8\", \"::1\" "
        "]; };\n"
        "passthrough: ( { name = \"*.Legacy.example.com\"; upstream = \"192.0.2.9:443\"; proxy-protocol = \"v2\"; },\n"
        "  { name = \"a.legacy.example.com\"; upstream = \"unix:/run/a\"; } );\n"
        "offload: { listen = [ \"127.0.0.1:8443\" ]; from = [ \"127.0.0.1\", \"2001:db8::/32\" ]; proxy-protocol = "
        "true;\n"
        "  certificates = [ \"/f.pem\",\n \"SHA256:" X64
        "\", \"sha1:01:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f:10:11:"
        "12:13:14\" ]; };\n";
    for (int round = 0; round < 2; round++) { /* as written, and as printed */
        char *again = round ? config_print(c) : NULL;
        config_free(c);
        if (config_parse_text(round ? again : text, &c, &err))
            fail_msg("%s", err.text);
        free(again);
        assert_int_equal(c->listen.n_address, 0);
        assert_int_equal(c->listen.n_redirect, 2);
        assert_int_equal(c->listen.redirect[1].u.in6.sin6_port, htons(80));
        assert_int_equal(c->n_certs, 0);
        assert_true(c->offload_on);
        assert_false(c->vpn_on);
        assert_true(c->offload.proxy_required);
        assert_int_equal(c->offload.overlap_s, 600);
        assert_int_equal(c->offload.n_cert, 3);
        assert_string_equal(c->offload.cert[0].text, "/f.pem");
        assert_int_equal(c->offload.cert[0].hash_len, 0);
        assert_string_equal(c->offload.cert[1].text, "sha256:" X64);
        assert_int_equal(c->offload.cert[1].hash_len, 32);
        assert_int_equal(c->offload.cert[1].hash[31], 0xff);
        assert_int_equal(c->offload.cert[2].hash_len, 20);
        assert_int_equal(c->offload.cert[2].hash[19], 0x14);
        assert_string_equal(c->pass[0].name, "*.legacy.example.com");
        assert_int_equal(c->pass[0].proxy_protocol, PROXY_V2);
        assert_ptr_equal(config_passthrough(c, "A.legacy.example.com"), &c->pass[1]);
        assert_ptr_equal(config_passthrough(c, "b.legacy.example.com"), &c->pass[0]);
        assert_null(config_passthrough(c, "legacy.example.com"));
        assert_null(config_passthrough(c, "a.b.legacy.example.com"));
        assert_null(config_passthrough(c, NULL));
        if (!round)
            assert_int_equal(c->offload.cert[1].line, 6);
    }
    config_free(c);
}

static void test_prefixes(void **state)
{
    (void)state;
    static const struct {
        const char *from, *ip;
        bool in;
    } rows[] = {
        { "192.0.2.1", "192.0.2.1", true },
        { "192.0.2.1", "192.0.2.2", false },
        { "192.0.2.0/25", "192.0.2.127", true },
        { "192.0.2.0/25", "192.0.2.128", false },
        { "0.0.0.0/0", "203.0.113.9", true },
        { "0.0.0.0/0", "::1", false },
        { "::/0", "::1", true },
        { "::/0", "127.0.0.1", false },
        { "2001:db8::/33", "2001:db8:7fff::", true },
        { "2001:db8::/33", "2001:db8:8000::", false },
        { "::1", "::1", true },
        { "::1", "::2", false },
        { "c000:0200::/24", "192.0.2.0", false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config *c = NULL;
        struct config_error err;
        char text[300];
        uint8_t ip[16] = { 0 };
        bool six = strchr(rows[i].ip, ':');
        snprintf(text, sizeof text, CERTS "listen: { proxy-from = [ \"%s\" ]; };", rows[i].from);
        assert_int_equal(config_parse_text(text, &c, &err), 0);
        assert_int_equal(inet_pton(six ? AF_INET6 : AF_INET, rows[i].ip, ip), 1);
        if (config_prefix_has(c->listen.proxy_from, c->listen.n_proxy_from, six ? 6 : 4, ip) != rows[i].in)
            fail_msg("%s in %s", rows[i].ip, rows[i].from);
        config_free(c);
    }
}

/* Each bad text, the line and code that it must be reported with, and words of the message. */
static const struct {
    const char *text;
    int line;
    const char *code, *words;
} bad[] = {
    { "", 1, "config-no-certificate", "gatehouse cert new" },
    { "certificates: ( );", 1, "config-no-certificate", "there is no certificate" },
    { CERTS "\nlisten = 5;", 3, "config-bad-type", "listen is not a group" },
    { "certificates: { };", 1, "config-bad-type", "list of groups" },
    { "certificates: ( 5 );", 1, "config-bad-type", "entry 1 of certificates is not a group" },
    { CERTS "lissen: { };", 2, "config-unknown-section", "did you mean \"listen\"" },
    { CERTS "mtu = 1400;", 2, "config-unknown-section", "mtu belongs into the section vpn" },
    { CERTS "radius: { };", 2, "config-unknown-section", "passthrough, vpn, offload" },
    { CERTS "listen: {\n backlog = 5; };", 3, "config-unknown-key", "listen knows address" },
    { CERTS "listen: {\n redirect = [ \"0.0.0.0:443\" ]; };", 3, "config-duplicate", "listened on already" },
    { CERTS "listen: {\n acme-webroot = \"/\"; };", 3, "config-conflict", "redirect" },
    { CERTS "listen: { proxy-from = [ \"192.0.2.1\",\n \"192.0.2.1/24\" ]; };", 3, "config-bad-value", "bits set" },
    { CERTS "listen: { proxy-from = [ \"lb.example.com\" ]; };", 2, "config-bad-value", "2001:db8::/32" },
    { CERTS "listen: { proxy-from = [ \"::/129\" ]; };", 2, "config-bad-value", "129" },
    { CERTS "listen: { proxy-from = [ \"10.0.0.0/\" ]; };", 2, "config-bad-value", "10.0.0.0/" },
    { CERTS "passthrough: ( { upstream = \"192.0.2.1:443\"; } );", 2, "config-missing", "passthrough.name" },
    { CERTS "passthrough: ( { name = \"a.x\"; } );", 2, "config-missing", "passthrough.upstream" },
    { CERTS "passthrough: ( { name = \"a.x\"; upstream = \"192.0.2.1:443\"; },\n"
            "{ name = \"A.X\"; upstream = \"192.0.2.2:443\"; } );",
      3, "config-duplicate", "a.x" },
    { CERTS "offload: { };", 2, "config-missing", "offload.listen" },
    { CERTS "offload: { listen = [ \"127.0.0.1:8443\" ]; certificates = [ \"/f\" ]; };", 2, "config-missing",
      "offload.from" },
    { CERTS "offload: { listen = [ \"127.0.0.1:8443\" ]; from = [ \"127.0.0.1\" ]; };", 2, "config-missing",
      "offload.certificates" },
    { CERTS "offload: { listen = [ \"0.0.0.0:443\" ]; from = [ \"::1\" ]; certificates = [ \"/f\" ]; };", 2,
      "config-duplicate", "listened on already" },
    { OFFLOAD("sha256:12"), 3, "config-bad-value", "sha256:12" },
    { OFFLOAD("sha256:" X64 "0"), 3, "config-bad-value", "sha256:" },
    { OFFLOAD("sha1:" X64), 3, "config-bad-value", "sha1:" },
    { OFFLOAD("relative.pem"), 3, "config-bad-value", "relative.pem" },
    { VPN("max-cals = 5;"), 5, "config-unknown-key", "did you mean \"max-calls\"" },
    { VPN("mtu = \"1400\";"), 5, "config-bad-type", "vpn.mtu is text in quotes: a whole number from 1280 to 4087" },
    { VPN("mtu = 1400.5;"), 5, "config-bad-type", "number with a point" },
    { VPN("mtu = 1279;"), 5, "config-out-of-range", "from 1280 to 4087" },
    { VPN("mtu = 4088;"), 5, "config-out-of-range", "4088" },
    { VPN("max-calls = 4294977296;"), 5, "config-out-of-range", "4294977296 is too large" },
    { VPN("/* \" 9999999999 */ # 9999999999 \"\n ipv6 = true; max-calls = 0xfffffffff;"), 6, "config-out-of-range",
      "too large" },
    { VPN("forward = 1;"), 5, "config-bad-type", "true or false" },
    { VPN("nat = \"on\";"), 5, "config-bad-value", "\"off\" or \"auto\"" },
    { VPN("dns = [ \"10.77.0.1\", \"dns.example.com\" ];"), 5, "config-bad-value", "dns.example.com" },
    { VPN("dns = [ \"10.0.0.1\", \"10.0.0.2\", \"10.0.0.3\" ];"), 5, "config-out-of-range", "3 entries" },
    { VPN("dns = \"10.77.0.1\";"), 5, "config-bad-type", "a list of up to 2" },
    { VPN("dns = [ 10 ];"), 5, "config-bad-type", "whole number" },
    { VPN("auth = [ ];"), 5, "config-out-of-range", "0 entries" },
    { VPN("auth = [ \"eap-tls\" ];"), 5, "config-bad-value", "mschapv2" },
    { VPN("auth = [ \"pap\", \"chap\" ];"), 5, "config-bad-value", "weaker" },
    { VPN("auth = [ \"pap\", \"pap\" ];"), 5, "config-duplicate", "twice" },
    { VPN("interface = \"a/b\";"), 5, "config-bad-value", "interface name" },
    { VPN("interface = \"sixteen-letters-\";"), 5, "config-bad-value", "interface name" },
    { VPN("mtu = 1400; mtu = 1401;"), 5, "config-duplicate", "duplicate setting" },
    { VPN("ipv6 = \n= true;"), 6, "config-syntax", "syntax error" },
    { CERTS "vpn: { network = [ \"10.77.0.0/16\" ]; };", 2, "config-missing", "vpn.users is missing" },
    { CERTS "vpn: { users = \"/u\"; };", 2, "config-missing", "vpn.network is missing" },
    { CERTS "vpn: { users = \"/u\"; network = [\n \"10.77.0.0/16\",\n \"10.77.3.0/24\" ]; };", 4, "config-conflict",
      "overlaps" },
    { CERTS "vpn: { users = \"/u\"; network = [\n \"10.77.3.0/24\",\n \"10.77.0.0/16\" ]; };", 4, "config-conflict",
      "overlaps" },
    { CERTS "vpn: { users = \"/u\"; network = [ \"10.77.0.0/31\" ]; };", 2, "config-out-of-range", "too small" },
    { CERTS "vpn: { users = \"/u\"; network = [ \"10.77.0.1/16\" ]; };", 2, "config-bad-value", "10.77.0.0/16" },
    { CERTS "vpn: { users = \"/u\"; network = [ \"10.0.0.0/11\" ]; };", 2, "config-out-of-range", "1048576" },
    { CERTS "vpn: { users = \"/u\"; network = [ \"10.0.0.0/12\", \"10.16.0.0/30\" ]; };", 2, "config-out-of-range",
      "1048576" },
    { CERTS "vpn: { users = \"/u\"; network = [ \"0.0.0.0/0\" ]; };", 2, "config-bad-value", "hosts cannot have" },
    { CERTS "vpn: { users = \"/u\"; network = [ \"127.0.0.0/16\" ]; };", 2, "config-bad-value", "hosts cannot have" },
    { CERTS "vpn: { users = \"/u\"; network = [ \"10.0.0.0\" ]; };", 2, "config-bad-value", "10.0.0.0" },
    { CERTS "vpn: { users = \"/u\"; network = [ \"10.0.0.0/33\" ]; };", 2, "config-bad-value", "10.0.0.0/33" },
    { CERTS "vpn: { users = \"u\"; network = [ \"10.0.0.0/16\" ]; };", 2, "config-bad-value", "a path" },
    { CERTS "listen: { address = [ \"0.0.0.0:443\",\n \"0.0.0.0:0443\" ]; };", 3, "config-duplicate", "already" },
    { CERTS "listen: { address = [ ]; };", 2, "config-missing", "nothing would be served" },
    { CERTS "listen: { address = [ \"0.0.0.0:0\" ]; };", 2, "config-bad-value", "0.0.0.0:0" },
    { CERTS "listen: { address = [ \"0.0.0.0:65536\" ]; };", 2, "config-bad-value", "65536" },
    { CERTS "listen: { address = [ \"443\" ]; };", 2, "config-bad-value", "443" },
    { CERTS "listen: { address = [ \"unix:/x\" ]; };", 2, "config-bad-value", "unix:/x" },
    { CERTS "listen: { address = [ \"[::1]\" ]; };", 2, "config-bad-value", "[::1]" },
    { CERTS "listen: { address = [ \"localhost:443\" ]; };", 2, "config-bad-value", "localhost" },
    { "certificates: ( { key = \"/k\"; } );", 1, "config-missing", "certificates.chain is missing" },
    { "certificates: (\n { chain = \"/c\"; } );", 2, "config-missing", "certificates.key is missing" },
    { "certificates: ( { chain = \"/c\"; key = \"/k\"; for = [ \"192.0.2.1\" ]; } );", 1, "config-bad-value",
      "there is no port" },
    { "certificates: ( { chain = \"/c\"; key = \"/k\"; for = [ \"[::1]\" ]; } );", 1, "config-bad-value",
      "there is no port" },
    { "certificates: ( { chain = \"/c\"; key = \"/k\"; for = [ \"192.0.2.1:70000\" ]; } );", 1, "config-bad-value",
      "192.0.2.1:70000" },
    { "certificates: ( { chain = \"/c\"; key = \"/k\"; for = [ \"[2001:db8::1]:443\", \"[2001:DB8:0::1]:443\" ]; } "
      ");",
      1, "config-duplicate", "[2001:db8::1]:443" },
    { "certificates: ( { chain = \"/c\"; key = \"/k\"; for = [ \"*.*.x\" ]; } );", 1, "config-bad-value", "*.*.x" },
    { "certificates: ( { chain = \"/c\"; key = \"/k\"; for = [ \"a..b\" ]; } );", 1, "config-bad-value", "a..b" },
    { "certificates: ( { chain = \"/c\"; key = \"/k\"; for = [ \"a.x\", \"A.x\" ]; } );", 1, "config-duplicate",
      "a.x" },
    { "certificates: ( { chain = \"/c\"; key = \"/k\"; },\n { chain = \"/d\"; key = \"/e\"; },\n "
      "{ chain = \"/f\"; key = \"/g\"; } );",
      3, "config-duplicate", "\"default\"" },
    { "certificates: ( { name = \"a\"; chain = \"/c\"; key = \"/k\"; },\n { name = \"a\"; chain = \"/d\"; key = "
      "\"/e\"; for = [ \"b.x\" ]; } );",
      2, "config-duplicate", "named \"a\"" },
    { CERTS "web: ( { upstream = \"127.0.0.1:80\"; root = \"/\"; } );", 2, "config-conflict", "upstream and root" },
    { CERTS "web: ( { upstream-h2 = \"127.0.0.1:80\"; } );", 2, "config-conflict", "upstream-h2 without upstream" },
    { CERTS "web: ( { proxy-protocol = \"v1\"; } );", 2, "config-conflict", "proxy-protocol without upstream" },
    { CERTS "web: ( { upstream = \"127.0.0.1\"; } );", 2, "config-bad-value", "address and port" },
    { CERTS "web: ( { upstream = \"unix:relative\"; } );", 2, "config-bad-value", "unix:relative" },
    { CERTS "web: ( { name = \"a.x\"; },\n { name = \"A.X\"; } );", 3, "config-duplicate", "a.x" },
    { CERTS "web: ( { },\n { } );", 3, "config-duplicate", "no name" },
    { CERTS "log: { to = \"file\"; };", 2, "config-bad-value", "\"stderr\"" },
    { CERTS "log: { level = \"loud\"; };", 2, "config-bad-value",
      "\"error\", \"warn\", \"notice\", \"info\" or \"debug\"" },
    { CERTS "tls: { min-version = \"1.1\"; };", 2, "config-bad-value", "1.2" },
    { CERTS "worker: { user = \"a\\nb\"; };", 2, "config-bad-value", "control characters" },
    { CERTS "worker: { user = \"\xff\"; };", 2, "config-bad-value", "UTF-8" },
    { CERTS "worker: { user = \"\"; };", 2, "config-bad-value", "1 to 32" },
    { CERTS "worker: { threads = 65; };", 2, "config-out-of-range", "65" },
    { CERTS "limits: { head-timeout = -1; };", 2, "config-out-of-range", "-1" },
    { CERTS "limits: { call-queue = 63; };", 2, "config-out-of-range", "from 64 to 65536" },
    { CERTS "limits: { call-queue = 65537; };", 2, "config-out-of-range", "65537" },
    { CERTS "limits: { worker-queue = 7; };", 2, "config-out-of-range", "from 8 to 65536" },
    { CERTS "limits: { worker-queue = 65537; };", 2, "config-out-of-range", "65537" },
    { CERTS "limits: { worker-queue = 8;\n call-queue = 8193; };", 3, "config-conflict", "8193 KiB, is more than" },
    { VPN("offload = \"on\";"), 5, "config-bad-value", "\"off\" or \"auto\"" },
    { VPN("steering = true;"), 5, "config-bad-type", "vpn.steering" },
    { "@include \"/etc/passwd\"\n", 1, "config-syntax", "@include" },
    { " \t@include \"x\"\n", 1, "config-syntax", "@include" },
};

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct config *c = NULL;
        struct config_error err;
        char place[64];
        int rc = config_parse_text(bad[i].text, &c, &err);
        snprintf(place, sizeof place, "configuration:%d: ", bad[i].line);
        if (rc != ERR_USAGE || err.line != bad[i].line || strcmp(err.code, bad[i].code) != 0 ||
            !strstr(err.text, bad[i].words) || strncmp(err.text, place, strlen(place)) != 0)
            fail_msg("%s\nwanted line %d %s \"%s\", got %d \"%s\" %s", bad[i].text, bad[i].line, bad[i].code,
                     bad[i].words, rc, err.text, rc ? err.code : "");
        assert_null(c);
    }
}

static void round_trip(struct config *c)
{
    char *one = config_print(c);
    assert_non_null(one);
    struct config *again = parse(one);
    char *two = config_print(again), *a = config_print_json(c), *b = config_print_json(again), names[256];
    assert_string_equal(one, two);
    assert_string_equal(a, b);
    config_restart_needed(c, again, names, sizeof names);
    assert_string_equal(names, "");
    free(one);
    free(two);
    free(a);
    free(b);
    config_free(again);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const char *const good[] = {
        CERTS,
        VPN(""),
        VPN("dns = [ ]; nbns = [ \"1.2.3.4\" ]; auth = [ \"chap\" ]; mtu = 1280; probe-answer = \"web\";"),
        CERTS "web: ( { root = \"/a \\\"b\\\" \\\\ \xc3\xa9\"; }, { name = \"x.y\"; upstream = \"[::1]:80\"; "
              "upstream-h2 = \"unix:/h2\"; proxy-protocol = \"v1\"; } );",
        CERTS "log: { level = \"debug\"; format = \"json\"; }; worker: { threads = 64; user = \"nobody\"; };",
        CERTS "tls: { min-version = \"1.3\"; }; limits: { idle-timeout = 86400; };",
        CERTS "limits: { worker-queue = 8; call-queue = 8192; };",
        CERTS "limits: { worker-queue = 8; };",
        VPN("offload = \"off\"; steering = \"off\";"),
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct config *c = parse(good[i]);
        round_trip(c);
        config_free(c);
    }
}

/* Canonical text cut anywhere or with one byte changed: an answer, and what loads survives the round trip. */
static void test_mutations(void **state)
{
    (void)state;
    struct config *c = parse(VPN("dns = [ \"10.77.0.1\" ];") "web: ( { upstream = \"127.0.0.1:80\"; } );");
    char *text = config_print(c);
    config_free(c);
    size_t len = strlen(text), loaded = 0, refused = 0;
    uint32_t seed = 1;
    for (size_t i = 0; i < 2 * len; i++) {
        char *t = strdup(text);
        seed = seed * 1664525 + 1013904223;
        if (i < len)
            t[i] = 0;
        else
            t[seed >> 8 & 0xffff ? (seed >> 8) % len : 0] = (char)(seed >> 24);
        struct config_error err;
        int rc = config_parse_text(t, &c, &err);
        if (!rc) {
            round_trip(c);
            config_free(c);
            loaded++;
        } else {
            assert_int_equal(rc, ERR_USAGE);
            assert_true(err.text[0] && err.line > 0);
            refused++;
        }
        free(t);
    }
    assert_true(loaded > 0 && refused > 0);
    free(text);
}

static void test_files(void **state)
{
    (void)state;
    struct config *c = NULL;
    struct config_error err;
    file_write("main.conf",
               "certificates: ( { chain = \"c.pem\"; key = \"/dev/null/x\"; } );\n@include \"sub.conf\"\n");
    file_write("sub.conf", "\nvpn: { network = [ \"10.77.0.0/16\" ];\n users = \"users\"; };\n");
    assert_int_equal(file_load("main.conf", &c, &err), ERR_USAGE);
    assert_non_null(strstr(err.text, "/main.conf:1: certificates.chain: "));
    assert_string_equal(err.code, "config-file-missing");

    file_write("c.pem", "");
    assert_int_equal(file_load("main.conf", &c, &err), ERR_USAGE);
    assert_non_null(strstr(err.text, "certificates.key: /dev/null/x: Not a directory"));

    file_write("main.conf", "certificates: ( { chain = \"c.pem\"; key = \"c.pem\"; } );\n@include \"sub.conf\"\n");
    assert_int_equal(file_load("main.conf", &c, &err), ERR_USAGE);
    assert_non_null(strstr(err.text, "/sub.conf:3: vpn.users: "));
    assert_non_null(strstr(err.text, "gatehouse user add"));

    file_write("users", "");
    assert_int_equal(file_load("main.conf", &c, &err), 0);
    char want[128];
    snprintf(want, sizeof want, "%s/users", folder);
    assert_string_equal(c->vpn.users, want);
    struct config_place users = config_place(c, &c->vpn.users), forward = config_place(c, &c->vpn.forward);
    assert_int_equal(users.line, 3);
    assert_non_null(strstr(users.file, "/sub.conf"));
    assert_int_equal(forward.line, 2); /* not written: its section */
    assert_ptr_equal(forward.file, users.file);
    assert_ptr_equal(c->vpn.network[0].file, users.file);
    assert_int_equal(c->vpn.network[0].line, 2);
    assert_int_equal(config_place(c, &c->worker.user).line, 1); /* nor is the section */
    assert_ptr_equal(config_place(c, &c->worker.user).file, c->certs[0].file);
    assert_ptr_equal(c->certs[0].file, c->origin.file);
    round_trip(c);
    config_free(c);

    file_write("sub.conf", "web: ( { root = \"users\"; } );\n");
    assert_int_equal(file_load("main.conf", &c, &err), ERR_USAGE);
    assert_non_null(strstr(err.text, "/sub.conf:1: web.root: "));
    file_write("sub.conf", "\n\n vpn = = 1;\n");
    assert_int_equal(file_load("main.conf", &c, &err), ERR_USAGE);
    assert_non_null(strstr(err.text, "/sub.conf:3: syntax error"));
    file_write("sub.conf", "\nworker: { threads = 4294967297; };\n");
    assert_int_equal(file_load("main.conf", &c, &err), ERR_USAGE);
    assert_non_null(strstr(err.text, "/sub.conf:2: 4294967297 is too large"));
    file_write("sub.conf", "@include \"sub.conf\"\n");
    assert_int_equal(file_load("main.conf", &c, &err), ERR_USAGE);
    assert_non_null(strstr(err.text, "must not include itself"));
    assert_int_equal(file_load("nothing.conf", &c, &err), ERR_USAGE);
    assert_non_null(strstr(err.text, "No such file"));
    assert_int_equal(file_load(".", &c, &err), ERR_USAGE);
    assert_non_null(strstr(err.text, "not a file"));
}

static void count_error(void *arg, const struct config_error *e)
{
    assert_non_null(e->code);
    ++*(size_t *)arg;
}

static void test_judge(void **state)
{
    (void)state;
    char path[256];
    size_t errors = 0;
    struct config *c = NULL;
    snprintf(path, sizeof path, "%s/judge.conf", folder);
    file_write("judge.conf", VPN("mtu = 1; max-cals = 2;"));
    assert_int_equal(config_judge(path, false, &c, count_error, &errors), ERR_USAGE);
    assert_int_equal(errors, 2);
    errors = 0;
    assert_int_equal(config_judge(path, true, &c, count_error, &errors), ERR_USAGE);
    assert_int_equal(errors, 5); /* and chain, key and users are not there */
    file_write("judge.conf", VPN(""));
    assert_int_equal(config_judge(path, false, &c, count_error, &errors), 0);
    config_free(c);
}

static void test_example(void **state)
{
    (void)state;
    struct config *c = NULL;
    size_t errors = 0;
    assert_int_equal(config_judge(VECTORS_DIR "/../../docs/gatehouse.conf.example", false, &c, count_error, &errors),
                     0);
    assert_int_equal(c->n_certs, 2);
    assert_int_equal(c->n_web, 3);
    assert_true(c->vpn_on);
    round_trip(c);
    config_free(c);
}

/* One call's default is never more than what all calls have. */
static void test_queue_of_a_call(void **state)
{
    (void)state;
    struct config *c = parse(CERTS "limits: { worker-queue = 8; };");
    assert_int_equal(c->limits.call_queue_kib, 8192);
    config_free(c);
}

static void test_restart(void **state)
{
    (void)state;
    char names[256], small[10];
    struct config *a = parse(CERTS), *b = parse(VPN("mtu = 1300;")),
                  *c = parse(VPN("interface = \"vpn1\"; mtu = 1301;")),
                  *d = parse(VPN("mtu = 1300; offload = \"off\"; steering = \"off\";") "limits: { call-queue = 64; };");
    config_restart_needed(a, b, names, sizeof names); /* added while running */
    assert_string_equal(names, "");
    config_restart_needed(b, a, names, sizeof names);
    assert_string_equal(names, "vpn.network, vpn.interface, vpn.mtu, vpn.nat, vpn.forward, vpn.ipv6, vpn.offload, "
                               "vpn.steering");
    config_restart_needed(b, d, names, sizeof names);
    assert_string_equal(names, "vpn.offload, vpn.steering");
    config_restart_needed(b, c, names, sizeof names);
    assert_string_equal(names, "vpn.interface, vpn.mtu");
    config_restart_needed(b, a, small, sizeof small);
    assert_string_equal(small, "vpn.netwo");
    config_free(a);
    config_free(b);
    config_free(c);
    config_free(d);
}

static void test_options(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len, lines = 0;
    FILE *out = open_memstream(&text, &len);
    config_print_options(out);
    fclose(out);
    for (char *p = text; *p; p = strchr(p, '\n') + 1, lines++) {
        size_t tabs = 0;
        for (char *q = p; *q != '\n'; q++)
            tabs += *q == '\t';
        assert_int_equal(tabs, 3);
    }
    assert_true(lines > 30);
    assert_non_null(strstr(text, "vpn.mtu\ta whole number from 1280 to 4087\t1400\t"));
    free(text);
}

static void test_addr(void **state)
{
    (void)state;
    struct config_addr a;
    assert_int_equal(config_addr_parse("[2001:db8::1]:65535", false, &a), 0);
    assert_int_equal(a.len, sizeof(struct sockaddr_in6));
    free(a.text);
    assert_int_equal(config_addr_parse("unix:/x", true, &a), 0);
    assert_string_equal(a.u.un.sun_path, "/x");
    free(a.text);
    char longest[5 + 109] = "unix:/";
    memset(longest + 6, 'a', 106);
    longest[5 + 107] = 0;
    assert_int_equal(config_addr_parse(longest, true, &a), 0);
    free(a.text);
    longest[5 + 107] = 'a';
    assert_int_equal(config_addr_parse(longest, true, &a), ERR_USAGE);
    static const char *const wrong[] = {
        "",          ":",       ":443",     "1.2.3.4",    "1.2.3.4:",      "1.2.3.4:x",           "1.2.3.4:443 ",
        "1.2.3:443", "::1:443", "[::1:443", "[::1]443",   "[1.2.3.4]:443", "1.2.3.4:99999999999", "[",
        "[]:1",      "unix:/x", "unix:",    "1.2.3.4:-1", "1.2.3.4:+1"
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(config_addr_parse(wrong[i], false, &a), ERR_USAGE);
}

static void test_distance(void **state)
{
    (void)state;
    assert_int_equal(config_word_distance("", "abc"), 3);
    assert_int_equal(config_word_distance("listen", "listen"), 0);
    assert_int_equal(config_word_distance("lissen", "listen"), 1);
    assert_int_equal(config_word_distance("mtu", "mutt"), 2);
    assert_int_equal(config_word_distance("kitten", "sitting"), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),        cmocka_unit_test(test_values),  cmocka_unit_test(test_fronts),
        cmocka_unit_test(test_prefixes),        cmocka_unit_test(test_bad),     cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_mutations),       cmocka_unit_test(test_files),   cmocka_unit_test(test_judge),
        cmocka_unit_test(test_queue_of_a_call), cmocka_unit_test(test_example), cmocka_unit_test(test_restart),
        cmocka_unit_test(test_options),         cmocka_unit_test(test_addr),    cmocka_unit_test(test_distance),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
