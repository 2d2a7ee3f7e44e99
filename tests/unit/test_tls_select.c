/* Which certificate a connection is shown: the rules alone, over the whole matrix, and with real handshakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>

#include "tls/select.h"
#include "tlsclient.h"
#include "tlstest.h"

/* ---- one rule ---- */

static struct tls_rule rule(const char *text)
{
    struct tls_rule r;
    assert_int_equal(tls_rule_parse(text, &r), 0);
    return r;
}

static void test_parse(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
        enum tls_rule_kind kind;
    } good[] = {
        { "203.0.113.5:443", "203.0.113.5:443", TLS_RULE_ADDR },
        { "203.0.113.5:1", "203.0.113.5:1", TLS_RULE_ADDR },
        { "[2001:DB8:0::5]:65535", "[2001:db8::5]:65535", TLS_RULE_ADDR },
        { "[::1]:443", "[::1]:443", TLS_RULE_ADDR },
        { "[::]:443", "[::]:443", TLS_RULE_ANY6 },
        { "[0:0:0:0:0:0:0:0]:443", "[::]:443", TLS_RULE_ANY6 },
        { "0.0.0.0:443", "0.0.0.0:443", TLS_RULE_ANY },
        { "default", "default", TLS_RULE_DEFAULT },
        { "VPN.Example.com", "vpn.example.com", TLS_RULE_NAME },
        { "*.Example.COM", "*.example.com", TLS_RULE_WILDCARD },
        { "default.example", "default.example", TLS_RULE_NAME },
    };
    static const char *const bad[] = {
        "203.0.113.5",
        "203.0.113.5:",
        "203.0.113.5:0",
        "203.0.113.5:65536",
        "203.0.113.5:4430000000",
        "203.0.113.5:44x",
        "203.0.113.5: 44",
        "203.0.113:443",
        "203.0.113.256:443",
        "a.example:443",
        "[2001:db8::5]",
        "[2001:db8::5]:",
        "2001:db8::5",
        "[2001:db8::5:443",
        "[2001:db8::g]:443",
        "[203.0.113.5]:443",
        "[]:443",
        "[::]443",
        ":443",
        "*:443",
        "[fe80::1%lo]:443",
        "[",
        "::",
        "*.",
        "",
        "2001:db8::5:443:[::]",
        "[::]:-1",
        "*.example:443",
        "[0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0]:1",
    };
    char text[300];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct tls_rule r = rule(good[i].in), again;
        assert_int_equal(r.kind, good[i].kind);
        tls_rule_text(&r, text, sizeof text);
        assert_string_equal(text, good[i].out);
        again = rule(text);
        assert_true(tls_rule_equal(&r, &again));
        for (size_t j = 0; j < i; j++) {
            again = rule(good[j].in);
            assert_int_equal(tls_rule_equal(&r, &again), !strcmp(good[i].out, good[j].out));
        }
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct tls_rule r = { .port = 7 };
        assert_int_equal(tls_rule_parse(bad[i], &r), ERR_USAGE);
        assert_int_equal(r.port, 7); /* untouched */
    }
    memset(text, 'a', sizeof text);
    for (size_t n = TLS_NAME_MAX - 1; n <= TLS_NAME_MAX + 1; n++) {
        struct tls_rule r;
        text[n] = 0;
        assert_int_equal(tls_rule_parse(text, &r), n > TLS_NAME_MAX ? ERR_USAGE : 0);
        text[n] = 'a';
    }
}

/* ---- connections ---- */

enum { NONE, EXACT, WILD, UNKNOWN, N_SNI };
static const char *const names[N_SNI] = { NULL, "vpn.example.com", "blog.example.com", "nobody.example.org" };

static struct tls_where dialled(int family, const char *sni)
{
    struct tls_rule at = rule(family == 4 ? "203.0.113.5:443" : "[2001:db8::5]:443");
    struct tls_where w = { .family = (uint8_t)family, .port = 443, .sni = sni };
    memcpy(w.ip, at.ip, sizeof w.ip);
    return w;
}

static void test_mismatch(void **state)
{
    (void)state;
    static const struct {
        const char *rule;
        int family;
        const char *sni, *why;
    } row[] = {
        { "203.0.113.5:443", 4, NULL, NULL },
        { "203.0.113.5:443", 4, "vpn.example.com", NULL },
        { "203.0.113.5:443", 6, NULL, "for an IPv4 address" },
        { "203.0.113.6:443", 4, NULL, "another address" },
        { "203.0.113.5:444", 4, NULL, "another port" },
        { "203.0.113.5:443", 0, NULL, "the address that was dialled is not known" },
        { "[2001:db8::5]:443", 6, NULL, NULL },
        { "[2001:db8::5]:443", 4, NULL, "for an IPv6 address" },
        { "[2001:db8::1:5]:443", 6, NULL, "another address" },
        { "vpn.example.com", 4, "vpn.example.com", NULL },
        { "vpn.example.com", 0, "vpn.example.com", NULL },
        { "vpn.example.com", 4, NULL, "the client sent no name" },
        { "vpn.example.com", 4, "vpn.example.com.org", "another name" },
        { "*.example.com", 4, NULL, "the client sent no name" },
        { "*.example.com", 4, "vpn.example.com", NULL },
        { "*.example.com", 4, "example.com", "another name" },
        { "*.example.com", 4, ".example.com", "another name" },
        { "*.example.com", 4, "vpnexample.com", "another name" },
        { "*.example.com", 4, "vpn.example.org", "another name" },
        { "*.example.com", 4, "a.vpn.example.com", "a wildcard stands for one label only" },
        { "*.example.com", 4, "..example.com", "a wildcard stands for one label only" },
        { "[::]:443", 6, NULL, NULL },
        { "[::]:443", 4, NULL, "for IPv6 only" },
        { "[::]:444", 6, NULL, "another port" },
        { "[::]:443", 0, NULL, "the address that was dialled is not known" },
        { "0.0.0.0:443", 4, NULL, NULL },
        { "0.0.0.0:443", 6, NULL, NULL },
        { "0.0.0.0:444", 4, NULL, "another port" },
        { "0.0.0.0:443", 0, NULL, "the address that was dialled is not known" },
        { "default", 0, NULL, NULL },
        { "default", 6, "vpn.example.com", NULL },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct tls_rule r = rule(row[i].rule);
        struct tls_where w = dialled(row[i].family, row[i].sni);
        const char *why = tls_rule_mismatch(&r, &w);
        assert_int_equal(!why, !row[i].why);
        if (why)
            assert_string_equal(why, row[i].why);
        assert_int_equal(tls_rule_select(&r, 1, &w), why ? -1 : 0);
    }
}

/* ---- the matrix ---- */

enum { ADDR4, ADDR6, NAME, WILDCARD, ANY6, ANY, DEFAULT, N_KINDS, NOTHING = N_KINDS };
static const char *const texts[N_KINDS] = { "203.0.113.5:443", "[2001:db8::5]:443", "vpn.example.com", "*.example.com",
                                            "[::]:443",        "0.0.0.0:443",       "default" };
/* One of each kind that is about somebody else. */
static const char *const others[] = { "203.0.113.5:8443", "203.0.113.50:443",   "[2001:db8::50]:443", "www.example.com",
                                      "*.example.net",    "*.blog.example.com", "[::]:8443",          "0.0.0.0:8443" };

/* The order of HTTP.sys in plain words; have is a set of kinds. */
static int expected(unsigned have, int family, int sni)
{
    bool vpn_asked = sni == EXACT, below_example_com = sni == EXACT || sni == WILD;
    if (family == 4 && have & 1 << ADDR4)
        return ADDR4;
    if (family == 6 && have & 1 << ADDR6)
        return ADDR6;
    if (vpn_asked && have & 1 << NAME)
        return NAME;
    if (below_example_com && have & 1 << WILDCARD)
        return WILDCARD;
    if (family == 6 && have & 1 << ANY6)
        return ANY6;
    if (have & 1 << ANY)
        return ANY;
    return have & 1 << DEFAULT ? DEFAULT : NOTHING;
}

/* Rules in some order, with or without those of others between; what[i]: the kind of rule i. */
static size_t rules_make(unsigned have, bool backwards, bool with_others, struct tls_rule *out, int *what)
{
    size_t n = 0;
    for (int i = 0; i < N_KINDS; i++) {
        int kind = backwards ? N_KINDS - 1 - i : i;
        if (with_others) {
            what[n] = NOTHING;
            out[n++] = rule(others[kind]);
        }
        if (have & 1u << kind) {
            what[n] = kind;
            out[n++] = rule(texts[kind]);
        }
    }
    if (with_others) {
        what[n] = NOTHING;
        out[n++] = rule(others[N_KINDS]);
    }
    return n;
}

static void test_matrix(void **state)
{
    (void)state;
    unsigned checked = 0;
    for (unsigned have = 0; have < 1 << N_KINDS; have++)
        for (int form = 0; form < 4; form++) {
            struct tls_rule r[2 * N_KINDS + 1];
            int what[2 * N_KINDS + 1];
            size_t n = rules_make(have, form & 1, form & 2, r, what);
            for (int family = 4; family <= 6; family += 2)
                for (int sni = 0; sni < N_SNI; sni++, checked++) {
                    struct tls_where w = dialled(family, names[sni]);
                    int got = tls_rule_select(r, n, &w), want = expected(have, family, sni);
                    assert_int_equal(got < 0 ? NOTHING : what[got], want);
                }
        }
    assert_int_equal(checked, 128 * 4 * 2 * 4);
}

/* The first of equal rules, and of several that match in one kind. */
static void test_first_of_equals(void **state)
{
    (void)state;
    for (int kind = 0; kind < N_KINDS; kind++) {
        struct tls_rule r[3] = { rule("other.example"), rule(texts[kind]), rule(texts[kind]) };
        struct tls_where w = dialled(kind == ADDR6 || kind == ANY6 ? 6 : 4, names[EXACT]);
        assert_int_equal(tls_rule_select(r, 3, &w), 1);
    }
    struct tls_where w = dialled(4, NULL);
    assert_int_equal(tls_rule_select(NULL, 0, &w), -1);
}

/* ---- the same with handshakes ---- */

static EVP_PKEY *rsa_key, *ec_key;
static struct test_cert shown[N_KINDS], rsa;
static struct tls_cert *loaded[N_KINDS], *loaded_rsa;

static int group_setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    rsa_key = EVP_RSA_gen(2048);
    ec_key = EVP_EC_gen("P-256");
    rsa = test_cert_make(rsa_key, "rsa");
    loaded_rsa = test_cert_load(&rsa, "rsa");
    for (int i = 0; i < N_KINDS; i++) {
        shown[i] = test_cert_make(ec_key, texts[i]);
        if (!(loaded[i] = test_cert_load(&shown[i], texts[i])))
            return -1;
    }
    return loaded_rsa ? 0 : -1;
}

static int group_teardown(void **state)
{
    (void)state;
    for (int i = 0; i < N_KINDS; i++) {
        test_cert_free(&shown[i]);
        tls_cert_unref(loaded[i]);
    }
    test_cert_free(&rsa);
    tls_cert_unref(loaded_rsa);
    EVP_PKEY_free(rsa_key);
    EVP_PKEY_free(ec_key);
    return 0;
}

static struct tls_certs *generation(const struct tls_cert_use *use, size_t n, bool alert)
{
    const struct tls_params p = { .min_version = 0x0303, .no_match_alert = alert };
    struct tls_certs *out = NULL;
    char err[300];
    assert_int_equal(tls_certs_new(use, n, &p, NULL, &out, err, sizeof err), 0);
    return out;
}

/* The client saw this leaf, and the server knows so. */
static void assert_served(struct conn *k, const struct test_cert *want)
{
    uint8_t sha1[20], sha256[32];
    X509 *x = SSL_get1_peer_certificate(k->c);
    assert_non_null(x);
    assert_int_equal(X509_cmp(x, want->x), 0);
    X509_free(x);
    tls_stream_leaf_hashes(k->s, sha1, sha256);
    assert_memory_equal(sha1, want->sha1, 20);
    assert_memory_equal(sha256, want->sha256, 32);
}

static void assert_refused(struct conn *k)
{
    assert_int_equal(handshake(k), ERR_PEER);
    assert_string_equal(tls_stream_error(k->s), "no certificate is for this address and name");
    assert_int_equal(SSL_do_handshake(k->c), -1);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV1_UNRECOGNIZED_NAME);
    assert_int_equal(tls_stream_handshake(k->s), ERR_PEER); /* and stays so */
}

/* Every set of rules, every connection; the version and what happens without a match take turns. */
static void test_matrix_served(void **state)
{
    (void)state;
    unsigned served = 0, refused = 0;
    for (unsigned have = 1; have < 1 << N_KINDS; have++) {
        bool alert = __builtin_popcount(have) & 1;
        struct tls_rule r[N_KINDS];
        int what[N_KINDS];
        struct tls_cert_use use[N_KINDS];
        size_t n = rules_make(have, have & 2, false, r, what);
        for (size_t i = 0; i < n; i++)
            use[i] = (struct tls_cert_use){ .cert = loaded[what[i]], .rules = &r[i], .n_rules = 1 };
        struct tls_certs *certs = generation(use, n, alert);
        for (int i = 0; i < 2 * N_SNI; i++) {
            int family = i & 1 ? 6 : 4, sni = i / 2, want = expected(have, family, sni);
            struct tls_where w = dialled(family, "this is not looked at");
            struct conn k;
            conn_open_at(&k, certs, &w, (have + (unsigned)i) & 1 ? TLS1_2_VERSION : TLS1_3_VERSION, names[sni]);
            if (want == NOTHING && alert) {
                assert_refused(&k);
                refused++;
            } else {
                assert_int_equal(handshake(&k), 0);
                assert_served(&k, &shown[want == NOTHING ? what[0] : want]);
                served++;
            }
            conn_close(&k);
        }
        tls_certs_unref(certs);
    }
    assert_int_equal(served + refused, 127 * 8);
    assert_true(refused > 20);
}

static const char *const algs[] = { "RSA-PSS+SHA256:RSA+SHA256", "ECDSA+SHA256" };

/* RSA and ECDSA for one rule: the client's signature algorithms choose between them, whatever kind of rule it is. */
static void test_pair(void **state)
{
    (void)state;
    for (int kind = 0; kind < N_KINDS; kind++) {
        const struct tls_rule r = rule(texts[kind]);
        const struct tls_cert_use use[] = { { loaded[kind], &r, 1 }, { loaded_rsa, &r, 1 } };
        struct tls_certs *certs = generation(use, 2, true);
        for (int i = 0; i < 4; i++) {
            struct tls_where w = dialled(kind == ADDR6 || kind == ANY6 ? 6 : 4, NULL);
            struct conn k;
            conn_open_at(&k, certs, &w, i & 2 ? TLS1_2_VERSION : TLS1_3_VERSION,
                         kind == NAME || kind == WILDCARD ? names[EXACT] : NULL);
            SSL_set1_sigalgs_list(k.c, algs[i & 1]);
            assert_int_equal(handshake(&k), 0);
            assert_served(&k, i & 1 ? &shown[kind] : &rsa);
            conn_close(&k);
        }
        tls_certs_unref(certs);
    }
}

/* The rule decides first: a certificate of the wrong type of key does not send the client to the next rule. */
static void test_rule_before_key_type(void **state)
{
    (void)state;
    const struct tls_rule at = rule(texts[ADDR4]), name = rule(texts[NAME]);
    const struct tls_cert_use use[] = { { loaded[ADDR4], &at, 1 }, { loaded_rsa, &name, 1 } };
    struct tls_certs *certs = generation(use, 2, false);
    for (int i = 0; i < 2; i++) {
        struct tls_where w = dialled(4, NULL);
        struct conn k;
        conn_open_at(&k, certs, &w, TLS1_3_VERSION, names[EXACT]);
        SSL_set1_sigalgs_list(k.c, algs[i]);
        assert_int_equal(handshake(&k), i ? 0 : ERR_PEER);
        if (i)
            assert_served(&k, &shown[ADDR4]);
        conn_close(&k);
    }
    tls_certs_unref(certs);
}

/* The name of the first ClientHello counts, and the second one says the same: the client is asked for another group. */
static void test_hello_retry(void **state)
{
    (void)state;
    const struct tls_rule name = rule(texts[NAME]), def = rule("default");
    const struct tls_cert_use use[] = { { loaded[DEFAULT], &def, 1 }, { loaded[NAME], &name, 1 } };
    struct tls_certs *certs = generation(use, 2, false);
    struct tls_where w = dialled(4, NULL);
    struct conn k;
    conn_open_at(&k, certs, &w, TLS1_3_VERSION, names[EXACT]);
    SSL_set1_groups_list(k.c, "P-521:P-256");
    assert_int_equal(handshake(&k), 0);
    assert_served(&k, &shown[NAME]);
    assert_string_equal(tls_stream_sni(k.s), names[EXACT]);
    conn_close(&k);
    tls_certs_unref(certs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_mismatch),
        cmocka_unit_test(test_matrix),
        cmocka_unit_test(test_first_of_equals),
        cmocka_unit_test(test_matrix_served),
        cmocka_unit_test(test_pair),
        cmocka_unit_test(test_rule_before_key_type),
        cmocka_unit_test(test_hello_retry),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
