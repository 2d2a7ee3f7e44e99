/*
 * What several commands share: text for terminals, the lock of a folder; certificate files; what `check` says about a
 * host with given addresses, and about an OCSP response when time has gone by.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/ocsp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/ct.h"
#include "cli/certfile.h"
#include "cli/check.h"
#include "cli/cli.h"
#include "cli/file.h"
#include "tlstest.h"

void cli_fail(const char *fmt, ...)
{
    (void)fmt;
}

/* A user's name is shown in `gatehouse sessions` before its password is judged: a terminal must not obey it. */
static void test_printable(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        { "alice", "alice" },
        { "", "" },
        { "\x1b]0;own\x07\x1b[2J", "?]0;own??[2J" },
        { "a\r\nb\tc\x7f", "a??b?c?" },
        { "\xc2\x9b"
          "2J\xc2\x80\xc2\x9f",
          "?2J??" }, /* CSI of C1 */
        { "J\xc3\xbcrgen \xc2\xa0\xe2\x82\xac", "J\xc3\xbcrgen \xc2\xa0\xe2\x82\xac" },
        { "\xc2", "\xc2" },
    };
    char out[64];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cli_printable(cases[i].in, out, sizeof out);
        assert_string_equal(out, cases[i].out);
    }
    memset(out, 'x', sizeof out);
    cli_printable("alice", out, 4);
    assert_string_equal(out, "ali");
    assert_int_equal(out[4], 'x');
}

/* Two editors of one file wait for one another, by whichever name they came. */
static void test_lock_behind_link(void **state)
{
    (void)state;
    char top[] = "/tmp/gatehouse-cli-XXXXXX", real[64], file[72], link[64], cmd[96];
    assert_non_null(mkdtemp(top));
    snprintf(real, sizeof real, "%s/d", top);
    snprintf(file, sizeof file, "%s/users", real);
    snprintf(link, sizeof link, "%s/users", top);
    assert_int_equal(mkdir(real, 0700), 0);
    assert_int_equal(file_write(file, "", 0, 0600, FILE_OLD_STAYS), 0);
    assert_int_equal(symlink(file, link), 0);
    int lock = file_lock(link), other = open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(lock >= 0 && other >= 0);
    assert_int_equal(flock(other, LOCK_EX | LOCK_NB), -1);
    assert_int_equal(errno, EWOULDBLOCK);
    close(lock);
    assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
    close(other);
    snprintf(cmd, sizeof cmd, "rm -r %s", top);
    assert_int_equal(system(cmd), 0);
}

/* ---- check: addresses ---- */

/* "eth0 192.0.2.2/24 fd00::2/64"; the word before an address is its interface. */
static struct check_host host_of(const char *addrs, const char *routes)
{
    struct check_host h = { .n_addr = 0 };
    char text[400], name[16] = "eth0";
    for (int route = 0; route < 2; route++) {
        snprintf(text, sizeof text, "%s", route ? routes : addrs);
        for (char *save = NULL, *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
            char *slash = strchr(w, '/');
            struct check_addr *a = route ? &h.route[h.n_route] : &h.addr[h.n_addr];
            if (!slash) {
                snprintf(name, sizeof name, "%s", w);
                continue;
            }
            *slash = 0;
            a->family = strchr(w, ':') ? 6 : 4;
            a->bits = (uint8_t)atoi(slash + 1);
            snprintf(a->ifname, sizeof a->ifname, "%s", name);
            assert_int_equal(inet_pton(a->family == 6 ? AF_INET6 : AF_INET, w, a->ip), 1);
            *(route ? &h.n_route : &h.n_addr) += 1;
        }
    }
    return h;
}

/* Codes of what check_net() finds, "error upstream-loops, warning ...". */
static void net_expect(const char *options, const char *addrs, const char *routes, const char *want)
{
    struct config_error err;
    struct config *c = NULL;
    char conf[800], got[400] = "";
    const json_t *f;
    size_t i, n = 0;
    snprintf(conf, sizeof conf, "certificates: ( { chain = \"/c\"; key = \"/k\"; } ); %s", options);
    assert_int_equal(config_parse_text(conf, &c, &err), 0);
    const struct check_host host = host_of(addrs, routes);
    struct check k = { .json = true, .findings = json_array(), .c = c, .host = &host };
    check_net(&k);
    json_array_foreach(k.findings, i, f)
        n += (size_t)snprintf(got + n, sizeof got - n, "%s%s %s", i ? ", " : "",
                              json_string_value(json_object_get(f, "severity")),
                              json_string_value(json_object_get(f, "code")));
    assert_string_equal(got, want);
    json_decref(k.findings);
    config_free(c);
}

static void test_families(void **state)
{
    (void)state;
    static const char both[] = "lo 127.0.0.1/8 ::1/128 eth0 192.0.2.2/24 2001:db8::2/64 fe80::2/64",
                      four[] = "lo 127.0.0.1/8 ::1/128 eth0 192.0.2.2/24 fe80::2/64",
                      six[] = "lo 127.0.0.1/8 ::1/128 eth0 169.254.1.1/16 2001:db8::2/64";
    static const struct {
        const char *address, *redirect, *addrs, *want;
    } row[] = {
        { "0.0.0.0:443\", \"[::]:443", NULL, both, "" },
        { "0.0.0.0:443", NULL, both, "warning listen-no-ipv6" },
        { "0.0.0.0:443", NULL, four, "" },
        { "0.0.0.0:443", NULL, six, "warning listen-no-ipv6" },
        { "192.0.2.2:443", NULL, both, "warning listen-no-ipv6" },
        { "192.0.2.2:443\", \"[2001:db8::2]:8443", NULL, both, "" },
        { "192.0.2.2:443\", \"[::1]:443", NULL, both, "warning listen-no-ipv6" },
        { "[::]:443", NULL, both, "warning listen-no-ipv4" },
        { "[::]:443", NULL, six, "" },
        { "[::]:443", NULL, four, "warning listen-no-ipv4" },
        { "127.0.0.1:443", NULL, both, "" }, /* for something on this host */
        { "[::1]:443", NULL, both, "" },
        { "0.0.0.0:443\", \"[::]:443", "0.0.0.0:80", both, "warning listen-no-ipv6" },
        { "0.0.0.0:443\", \"[::]:443", "[::]:80", both, "warning listen-no-ipv4" },
        { "0.0.0.0:443\", \"[::]:443", "0.0.0.0:80\", \"[::]:80", both, "" },
        { "0.0.0.0:443", "0.0.0.0:80", both, "warning listen-no-ipv6, warning listen-no-ipv6" },
        { "0.0.0.0:443", NULL, "", "" },
        { "0.0.0.0:443", NULL, "gh0 2001:db8::2/64", "warning listen-no-ipv6" }, /* without VPN it is not ours */
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        char conf[400];
        size_t n = (size_t)snprintf(conf, sizeof conf, "listen: { address = [ \"%s\" ];", row[i].address);
        if (row[i].redirect)
            n += (size_t)snprintf(conf + n, sizeof conf - n, " redirect = [ \"%s\" ];", row[i].redirect);
        snprintf(conf + n, sizeof conf - n, " };");
        net_expect(conf, row[i].addrs, "", row[i].want);
    }
    net_expect("listen: { address = [ \"0.0.0.0:443\" ]; }; vpn: { network = [ \"10.77.0.0/16\" ]; users = \"/u\"; };",
               "gh0 2001:db8::2/64", "", "");
}

static void test_loops_by_address(void **state)
{
    (void)state;
    static const struct {
        const char *listen, *upstream, *want;
    } row[] = {
        { "0.0.0.0:443", "192.0.2.2:443", "error upstream-loops" },
        { "0.0.0.0:443", "192.0.2.3:443", "" },
        { "0.0.0.0:443", "[2001:db8::2]:443", "" }, /* not listened on */
        { "[::]:443", "[2001:db8::2]:443", "error upstream-loops" },
        { "[::]:443", "192.0.2.2:443", "" }, /* it takes IPv6 only */
        { "192.0.2.2:443", "192.0.2.2:443", "error upstream-loops" },
        { "192.0.2.2:443", "[::ffff:192.0.2.2]:443", "error upstream-loops" },
        { "192.0.2.2:443", "127.0.0.1:443", "" },
        { "198.51.100.1:443", "198.51.100.1:443", "error upstream-loops" }, /* an address that comes later */
        { "127.0.0.1:443", "0.0.0.0:443", "error upstream-loops" },
        { "[::1]:443", "[::]:443", "error upstream-loops" },
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        char conf[300];
        snprintf(conf, sizeof conf,
                 "listen: { address = [ \"%s\", \"203.0.113.1:1\", \"[2001:db8:1::1]:1\" ]; };" /* both families */
                 "web: ( { upstream = \"%s\"; } );",
                 row[i].listen, row[i].upstream);
        net_expect(conf, "lo 127.0.0.1/8 ::1/128 eth0 192.0.2.2/24 2001:db8::2/64", "", row[i].want);
    }
}

static void test_pool(void **state)
{
    (void)state;
    static const struct {
        const char *addrs, *routes, *want;
    } row[] = {
        { "lo 127.0.0.1/8 eth0 192.0.2.2/24", "", "" },
        { "eth0 10.77.3.4/24", "", "error vpn-network-overlaps" },
        { "eth0 10.0.0.1/8", "", "error vpn-network-overlaps" }, /* it lies in ours, or ours in it */
        { "eth0 10.78.0.1/16", "", "" },
        { "gh0 10.77.0.1/16", "gh0 10.77.0.0/16", "" }, /* ours, while the server runs */
        { "eth0 192.0.2.2/24", "10.77.5.0/24", "warning vpn-network-routed" },
        { "eth0 192.0.2.2/24", "10.77.0.0/16", "warning vpn-network-routed" },
        { "eth0 192.0.2.2/24", "10.0.0.0/8", "" },
        { "eth0 10.77.5.1/24", "eth0 10.77.5.0/24", "error vpn-network-overlaps" }, /* once */
        { "eth0 fd00::2/64", "", "" },
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        net_expect("listen: { address = [ \"127.0.0.1:443\" ]; };"
                   "vpn: { network = [ \"10.77.0.0/16\" ]; users = \"/u\"; };",
                   row[i].addrs, row[i].routes, row[i].want);
}

static void test_host_read(void **state)
{
    (void)state;
    static struct check_host h;
    check_host_read(&h);
    for (size_t i = 0; i < h.n_addr; i++) {
        assert_true(h.addr[i].family == 4 || h.addr[i].family == 6);
        assert_true(h.addr[i].bits <= (h.addr[i].family == 4 ? 32 : 128) && h.addr[i].ifname[0]);
    }
    for (size_t i = 0; i < h.n_route; i++)
        assert_true(h.route[i].family == 4 && h.route[i].bits && h.route[i].bits <= 32 && h.route[i].ifname[0]);
}

/* ---- certificate files ---- */

static struct test_cert ca, leaf;

static int certs_setup(void **state)
{
    (void)state;
    struct test_spec spec = { .key = EVP_EC_gen("P-256"), .cn = "ca", .ca = true, .to_s = 400 * 86400 };
    ca = test_cert_issue(&spec);
    spec = (struct test_spec){ .key = EVP_EC_gen("P-256"),
                               .cn = "vpn.example.com",
                               .issuer = &ca,
                               .eku = "serverAuth",
                               .san = "DNS:vpn.example.com,DNS:*.example.org,IP:192.0.2.1,IP:2001:db8::1,email:a@b",
                               .to_s = 300 * 86400 };
    leaf = test_cert_issue(&spec);
    return 0;
}

static int certs_teardown(void **state)
{
    (void)state;
    EVP_PKEY_free(ca.key);
    EVP_PKEY_free(leaf.key);
    test_cert_free(&ca);
    test_cert_free(&leaf);
    return 0;
}

/* Whatever the text: an error in words, or facts that can be judged and printed. */
static int parse(const void *pem, size_t len, struct certfile *f)
{
    struct certfile_reason why[CERTFILE_REASONS_MAX];
    char *copy = malloc(len ? len : 1); /* of the exact size */
    memcpy(copy, pem, len);
    memset(why, 0, sizeof why);
    int rc = certfile_parse(copy, len, "the file", f, why);
    free(copy);
    if (rc) {
        assert_int_equal(rc, ERR_USAGE);
        assert_true(why->code && why->remedy && why->text[0]);
        return rc;
    }
    assert_true(f->chain_len >= 1 && f->chain_len <= TLS_PEM_CHAIN_MAX + 1 && f->n_names <= CERTFILE_NAMES_MAX);
    size_t n = certfile_judge(f, time(NULL), why);
    assert_true(n <= CERTFILE_REASONS_MAX);
    for (size_t i = 0; i < n; i++)
        for (const char *p = why[i].text; *p; p++)
            assert_true(*p >= ' ' && *p < 0x7f);
    for (size_t i = 0; i < f->n_names; i++)
        for (const char *p = f->names[i]; *p; p++)
            assert_true(*p >= ' ' && *p < 0x7f);
    return 0;
}

static void test_facts(void **state)
{
    (void)state;
    static struct certfile f;
    char both[8192], hex[65];
    snprintf(both, sizeof both, "%s%s", leaf.chain_pem, ca.chain_pem);
    assert_int_equal(parse(both, strlen(both), &f), 0);
    hex_encode(leaf.sha256, 32, hex);
    assert_string_equal(f.sha256, hex);
    assert_int_equal(f.chain_len, 2);
    assert_true(f.leaf_first && f.issuer_there && f.chain_ordered && !f.self_signed && f.has_eku && f.eku_server);
    assert_int_equal(f.n_names, 4);
    assert_string_equal(f.names[3], "2001:db8::1");
    assert_string_equal(f.key_type, "EC P-256");
    static const struct {
        const char *name;
        bool has;
    } row[] = { { "vpn.example.com", true },
                { "VPN.example.com", true },
                { "x.vpn.example.com", false },
                { "a.example.org", true },
                { "a.b.example.org", false },
                { "example.org", false },
                { "*.example.org", true },
                { "*.example.com", false },
                { "192.0.2.1", true },
                { "vpn.example.co", false },
                { "", false },
                { "a@b", false } };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        assert_int_equal(certfile_names_host(&f, row[i].name), row[i].has);
}

static void test_cut(void **state)
{
    (void)state;
    static struct certfile f;
    char both[8192];
    size_t len = (size_t)snprintf(both, sizeof both, "%s%s", leaf.chain_pem, ca.chain_pem),
           one = strlen(leaf.chain_pem);
    for (size_t n = 0; n < len; n++) {
        int rc = parse(both, n, &f);
        if (n + 1 < one)
            assert_int_equal(rc, ERR_USAGE);
        else if (!rc)
            assert_true(f.chain_len == 1 || n + 1 == len);
    }
}

/* DER with any bytes changed, well wrapped in PEM: OpenSSL's parser and what we make of its result. */
static void test_spoilt(void **state)
{
    (void)state;
    static struct certfile f;
    uint8_t *der = NULL, bad[4096];
    int len = i2d_X509(leaf.x, &der), good = 0;
    assert_true(len > 0 && len < (int)sizeof bad);
    uint32_t seed = 1;
    for (int round = 0; round < 4000; round++) {
        memcpy(bad, der, (size_t)len);
        for (int k = 0; k < 1 + round % 4; k++) {
            seed = seed * 1664525 + 1013904223;
            bad[(seed >> 8) % (uint32_t)len] = (uint8_t)(seed >> 24);
        }
        BIO *b = BIO_new(BIO_s_mem());
        PEM_write_bio(b, "CERTIFICATE", "", bad, len);
        char *pem = test_bio_text(b);
        good += !parse(pem, strlen(pem), &f);
        free(pem);
    }
    assert_true(good > 100); /* most that changed is text, a number or the signature */
    OPENSSL_free(der);
}

static void test_more_names_than_fit(void **state)
{
    (void)state;
    static struct certfile f;
    static char san[CERTFILE_NAMES_MAX * 24];
    size_t n = 0;
    for (int i = 0; i <= CERTFILE_NAMES_MAX; i++)
        n += (size_t)snprintf(san + n, sizeof san - n, "%sDNS:h%d.example.com", i ? "," : "", i);
    struct test_cert many = test_cert_issue(&(struct test_spec){ .key = leaf.key, .cn = "x", .san = san });
    assert_int_equal(parse(many.chain_pem, strlen(many.chain_pem), &f), 0);
    assert_int_equal(f.n_names, CERTFILE_NAMES_MAX);
    assert_true(f.more_names && certfile_names_host(&f, "h500.example.com")); /* it may be among them */
    test_cert_free(&many);
}

/* ---- an OCSP response, as time goes by ---- */

static void put(const char *folder, const char *name, const void *data, size_t len)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(file_write(path, data, len, 0600, FILE_OLD_GOES), 0);
}

static void staple_make(const char *folder)
{
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), leaf.x, ca.x);
    ASN1_TIME *from = ASN1_TIME_adj(NULL, time(NULL), 0, -600), *to = ASN1_TIME_adj(NULL, time(NULL), 1, 0);
    ASN1_TIME_to_generalizedtime(from, &from);
    ASN1_TIME_to_generalizedtime(to, &to);
    assert_non_null(OCSP_basic_add1_status(basic, id, V_OCSP_CERTSTATUS_GOOD, 0, NULL, from, to));
    assert_int_equal(OCSP_basic_sign(basic, ca.x, ca.key, EVP_sha256(), NULL, 0), 1);
    OCSP_RESPONSE *resp = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
    uint8_t *der = NULL;
    int len = i2d_OCSP_RESPONSE(resp, &der);
    put(folder, "ocsp", der, (size_t)len);
    OPENSSL_free(der);
    OCSP_RESPONSE_free(resp);
    OCSP_BASICRESP_free(basic);
    OCSP_CERTID_free(id);
    ASN1_TIME_free(from);
    ASN1_TIME_free(to);
}

static void staple_expect(const struct config *c, int64_t now_s, const char *want)
{
    static struct check_cert cert;
    struct check k = { .json = true, .findings = json_array(), .c = c, .cert = &cert, .now_s = now_s };
    memset(&cert, 0, sizeof cert);
    check_certs(&k);
    const char *got = json_string_value(json_object_get(json_array_get(k.findings, 1), "code"));
    assert_string_equal(json_string_value(json_object_get(json_array_get(k.findings, 0), "code")),
                        "cert-root-included");
    assert_string_equal(got ? got : "", want);
    assert_int_equal(json_array_size(k.findings), *want ? 2 : 1);
    json_decref(k.findings);
}

static void test_stale(void **state)
{
    (void)state;
    char top[] = "/tmp/gatehouse-cli-XXXXXX", both[8192], conf[400], cmd[96];
    struct config_error err;
    struct config *c = NULL;
    assert_non_null(mkdtemp(top));
    snprintf(both, sizeof both, "%s%s", leaf.chain_pem, ca.chain_pem);
    put(top, "chain", both, strlen(both));
    put(top, "key", leaf.key_pem, strlen(leaf.key_pem));
    staple_make(top);
    snprintf(conf, sizeof conf, "certificates: ( { chain = \"%s/chain\"; key = \"%s/key\"; ocsp = \"%s/ocsp\"; } );",
             top, top, top);
    assert_int_equal(config_parse_text(conf, &c, &err), 0);
    int64_t now_s = time(NULL);
    staple_expect(c, now_s, "");
    staple_expect(c, now_s + 2 * 86400, "ocsp-stale");
    config_free(c);
    snprintf(cmd, sizeof cmd, "rm -r %s", top);
    assert_int_equal(system(cmd), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_printable), cmocka_unit_test(test_lock_behind_link),
        cmocka_unit_test(test_families),  cmocka_unit_test(test_loops_by_address),
        cmocka_unit_test(test_pool),      cmocka_unit_test(test_host_read),
        cmocka_unit_test(test_facts),     cmocka_unit_test(test_cut),
        cmocka_unit_test(test_spoilt),    cmocka_unit_test(test_more_names_than_fit),
        cmocka_unit_test(test_stale),
    };
    return cmocka_run_group_tests(tests, certs_setup, certs_teardown);
}
