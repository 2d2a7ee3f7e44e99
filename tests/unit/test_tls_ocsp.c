/* OCSP responses: judged, and stapled or not. The whole PKI is made on the spot. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/ocsp.h>
#include <signal.h>
#include <stdio.h>

#include "tls/internal.h"
#include "tlsclient.h"
#include "tlstest.h"

enum { ROOT, CA, LEAF, RSA_LEAF, SIBLING, DELEGATE, NO_DELEGATE, LATE_DELEGATE, OTHER_CA, OTHER_DELEGATE, N };
static struct test_cert pki[N];
static EVP_PKEY *key[N];
static int64_t now_s;

static int group_setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < N; i++)
        if (!(key[i] = i == RSA_LEAF ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256")))
            return -1;
    const struct test_cert *root = &pki[ROOT], *ca = &pki[CA], *other = &pki[OTHER_CA];
    const struct test_spec spec[N] = {
        [ROOT] = { .cn = "root", .ca = true },
        [CA] = { .cn = "ca", .issuer = root, .ca = true },
        [LEAF] = { .cn = "vpn.example.com", .issuer = ca },
        [RSA_LEAF] = { .cn = "vpn.example.com", .issuer = ca },
        [SIBLING] = { .cn = "www.example.com", .issuer = ca },
        [DELEGATE] = { .cn = "ocsp", .issuer = ca, .eku = "OCSPSigning" },
        [NO_DELEGATE] = { .cn = "no ocsp", .issuer = ca, .eku = "serverAuth" },
        [LATE_DELEGATE] = { .cn = "late", .issuer = ca, .eku = "OCSPSigning", .from_s = -7200, .to_s = -3600 },
        [OTHER_CA] = { .cn = "ca", .ca = true }, /* the name of ours */
        [OTHER_DELEGATE] = { .cn = "ocsp", .issuer = other, .eku = "OCSPSigning" },
    };
    static const int order[] = { ROOT,     CA,          LEAF,          RSA_LEAF, SIBLING,
                                 DELEGATE, NO_DELEGATE, LATE_DELEGATE, OTHER_CA, OTHER_DELEGATE };
    for (size_t i = 0; i < N; i++) {
        struct test_spec s = spec[order[i]];
        s.key = key[order[i]];
        pki[order[i]] = test_cert_issue(&s);
    }
    now_s = time(NULL);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    for (int i = 0; i < N; i++) {
        test_cert_free(&pki[i]);
        EVP_PKEY_free(key[i]);
    }
    return 0;
}

/* ---- responses ---- */

struct answer {
    int about, issuer; /* indexes into pki[] */
    int status;        /* V_OCSP_CERTSTATUS_... */
    int from_s, to_s;  /* relative to now_s; to_s 0: none */
    bool sha256;       /* names the certificate by SHA-256 */
};

struct bytes {
    uint8_t *p;
    size_t len;
};

static struct bytes respond(const struct answer *a, size_t n, int signer)
{
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    for (size_t i = 0; i < n; i++) {
        OCSP_CERTID *id =
            OCSP_cert_to_id(a[i].sha256 ? EVP_sha256() : EVP_sha1(), pki[a[i].about].x, pki[a[i].issuer].x);
        ASN1_TIME *from = ASN1_TIME_adj(NULL, now_s, 0, a[i].from_s);
        ASN1_TIME *to = a[i].to_s ? ASN1_TIME_adj(NULL, now_s, 0, a[i].to_s) : NULL;
        ASN1_TIME *revoked = a[i].status == V_OCSP_CERTSTATUS_REVOKED ? ASN1_TIME_adj(NULL, now_s, 0, -60) : NULL;
        ASN1_TIME_to_generalizedtime(from, &from);
        if (to)
            ASN1_TIME_to_generalizedtime(to, &to);
        assert_non_null(OCSP_basic_add1_status(basic, id, a[i].status, 0, revoked, from, to));
        OCSP_CERTID_free(id);
        ASN1_TIME_free(from);
        ASN1_TIME_free(to);
        ASN1_TIME_free(revoked);
    }
    assert_int_equal(OCSP_basic_sign(basic, pki[signer].x, key[signer], EVP_sha256(), NULL, 0), 1);
    OCSP_RESPONSE *resp = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
    struct bytes b = { 0 };
    b.len = (size_t)i2d_OCSP_RESPONSE(resp, &b.p);
    OCSP_RESPONSE_free(resp);
    OCSP_BASICRESP_free(basic);
    return b;
}

static const struct answer good = { LEAF, CA, V_OCSP_CERTSTATUS_GOOD, -600, 3600, false };

static struct tls_ocsp judge(const uint8_t *der, size_t len, int64_t at)
{
    struct tls_ocsp o;
    memset(&o, 0xa5, sizeof o);
    uint8_t *copy = malloc(len ? len : 1); /* of the exact size */
    memcpy(copy, der, len);
    tls_ocsp_judge(copy, len, pki[LEAF].x, pki[CA].x, at, &o);
    free(copy);
    assert_non_null(memchr(o.why, 0, sizeof o.why));
    assert_int_equal(!o.why[0], o.state == TLS_OCSP_GOOD);
    assert_int_equal(ERR_peek_error(), 0);
    return o;
}

static struct tls_ocsp judged(const struct answer *a, size_t n, int signer)
{
    struct bytes b = respond(a, n, signer);
    struct tls_ocsp o = judge(b.p, b.len, now_s);
    OPENSSL_free(b.p);
    return o;
}

static void test_verdicts(void **state)
{
    (void)state;
    enum { G = V_OCSP_CERTSTATUS_GOOD, R = V_OCSP_CERTSTATUS_REVOKED, U = V_OCSP_CERTSTATUS_UNKNOWN };
    static const struct {
        struct answer a;
        int signer;
        enum tls_ocsp_state state;
        const char *why;
    } row[] = {
        { { LEAF, CA, G, -600, 3600, false }, CA, TLS_OCSP_GOOD, "" },
        { { LEAF, CA, G, -600, 3600, true }, CA, TLS_OCSP_GOOD, "" },
        { { LEAF, CA, G, -600, 3600, false }, DELEGATE, TLS_OCSP_GOOD, "" },
        { { LEAF, CA, G, 299, 3600, false }, CA, TLS_OCSP_GOOD, "" }, /* the responder's clock */
        { { LEAF, CA, G, -600, 1, false }, CA, TLS_OCSP_GOOD, "" },
        { { LEAF, CA, G, -86399, 0, false }, CA, TLS_OCSP_GOOD, "" },
        { { LEAF, CA, G, -86400, 0, false }, CA, TLS_OCSP_STALE, "over" },
        { { LEAF, CA, G, -600, -1, false }, CA, TLS_OCSP_STALE, "over" },
        { { LEAF, CA, G, 301, 3600, false }, CA, TLS_OCSP_STALE, "not come" },
        { { LEAF, CA, G, 301, 0, false }, CA, TLS_OCSP_STALE, "not come" },
        { { LEAF, CA, G, -600, -600, false }, CA, TLS_OCSP_WRONG, "times" },
        { { LEAF, CA, R, -600, 3600, false }, CA, TLS_OCSP_REVOKED, "revoked" },
        { { LEAF, CA, R, -600, 3600, false }, DELEGATE, TLS_OCSP_REVOKED, "revoked" },
        { { LEAF, CA, R, -600, -1, false }, CA, TLS_OCSP_REVOKED, "revoked" }, /* for ever */
        { { LEAF, CA, U, -600, 3600, false }, CA, TLS_OCSP_WRONG, "does not know" },
        { { SIBLING, CA, G, -600, 3600, false }, CA, TLS_OCSP_WRONG, "about this certificate" },
        { { LEAF, OTHER_CA, G, -600, 3600, false }, OTHER_CA, TLS_OCSP_WRONG, "about this certificate" },
        { { LEAF, CA, G, -600, 3600, false }, OTHER_CA, TLS_OCSP_WRONG, "not signed" },
        { { LEAF, CA, G, -600, 3600, false }, OTHER_DELEGATE, TLS_OCSP_WRONG, "not signed" },
        { { LEAF, CA, G, -600, 3600, false }, NO_DELEGATE, TLS_OCSP_WRONG, "not signed" },
        { { LEAF, CA, G, -600, 3600, false }, LATE_DELEGATE, TLS_OCSP_WRONG, "not signed" },
        { { LEAF, CA, G, -600, 3600, false }, LEAF, TLS_OCSP_WRONG, "not signed" },
        { { LEAF, CA, G, -600, 3600, false }, ROOT, TLS_OCSP_WRONG, "not signed" },
        { { LEAF, CA, R, -600, 3600, false }, NO_DELEGATE, TLS_OCSP_WRONG, "not signed" },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct tls_ocsp o = judged(&row[i].a, 1, row[i].signer);
        if (o.state != row[i].state || !strstr(o.why, row[i].why))
            print_error("row %zu: %s, %s\n", i, tls_ocsp_state_name(o.state), o.why);
        assert_int_equal(o.state, row[i].state);
        assert_non_null(strstr(o.why, row[i].why));
        if (o.state != TLS_OCSP_WRONG) {
            assert_int_equal(o.this_update_s, now_s + row[i].a.from_s);
            assert_int_equal(o.next_update_s, row[i].a.to_s ? now_s + row[i].a.to_s : 0);
        }
    }
}

static void test_several_answers(void **state)
{
    (void)state;
    struct answer a[3] = { good, good, good };
    a[0].about = SIBLING;
    a[0].status = V_OCSP_CERTSTATUS_REVOKED;
    assert_int_equal(judged(a, 2, CA).state, TLS_OCSP_GOOD); /* one about us, one about somebody else */
    assert_int_equal(judged(a, 2, DELEGATE).state, TLS_OCSP_GOOD);
    assert_int_equal(judged(a, 3, CA).state, TLS_OCSP_WRONG);
    a[2].status = V_OCSP_CERTSTATUS_REVOKED;
    assert_int_equal(judged(a + 1, 2, CA).state, TLS_OCSP_WRONG);
    assert_int_equal(judged(a, 1, CA).state, TLS_OCSP_WRONG);
}

static void test_no_issuer(void **state)
{
    (void)state;
    struct bytes b = respond(&good, 1, CA);
    struct tls_ocsp o;
    tls_ocsp_judge(b.p, b.len, pki[LEAF].x, NULL, now_s, &o);
    assert_int_equal(o.state, TLS_OCSP_WRONG);
    assert_non_null(strstr(o.why, "issuer"));
    tls_ocsp_judge(b.p, b.len, pki[SIBLING].x, pki[CA].x, now_s, &o);
    assert_int_equal(o.state, TLS_OCSP_WRONG);
    tls_ocsp_judge(b.p, b.len, pki[LEAF].x, pki[OTHER_CA].x, now_s, &o);
    assert_int_equal(o.state, TLS_OCSP_WRONG);
    OPENSSL_free(b.p);
}

/* The time of the judgement is the one that is given, for the certificates of the signers, too. */
static void test_other_times(void **state)
{
    (void)state;
    struct answer a = good;
    a.from_s = -5000;
    a.to_s = 30 * 86400;
    struct bytes b = respond(&a, 1, LATE_DELEGATE);
    assert_int_equal(judge(b.p, b.len, now_s).state, TLS_OCSP_WRONG);
    assert_int_equal(judge(b.p, b.len, now_s - 3601).state, TLS_OCSP_WRONG); /* its issuer was not yet */
    OPENSSL_free(b.p);
    b = respond(&a, 1, CA);
    assert_int_equal(judge(b.p, b.len, now_s).state, TLS_OCSP_GOOD);
    assert_int_equal(judge(b.p, b.len, now_s + 2 * 86400).state, TLS_OCSP_WRONG); /* the issuer has expired */
    OPENSSL_free(b.p);
}

static void test_garbage(void **state)
{
    (void)state;
    struct bytes b = respond(&good, 1, DELEGATE);
    for (size_t n = 0; n < b.len; n++)
        assert_int_equal(judge(b.p, n, now_s).state, TLS_OCSP_WRONG);
    assert_int_equal(judge(b.p, b.len, now_s).state, TLS_OCSP_GOOD);
    unsigned still = 0;
    for (size_t i = 0; i < b.len; i++)
        for (int bit = 0; bit < 8; bit++) {
            b.p[i] ^= (uint8_t)(1 << bit);
            struct tls_ocsp o = judge(b.p, b.len, now_s);
            /* Only the parts that nobody signed may change: NULL parameters, types of strings. */
            still += o.state != TLS_OCSP_WRONG;
            assert_true(o.state == TLS_OCSP_WRONG || o.state == TLS_OCSP_GOOD);
            b.p[i] ^= (uint8_t)(1 << bit);
        }
    assert_true(still < b.len / 8);
    uint8_t *more = calloc(1, 70000);
    memcpy(more, b.p, b.len);
    assert_int_equal(judge(more, b.len + 1, now_s).state, TLS_OCSP_WRONG); /* something behind it */
    assert_int_equal(judge(more, 70000, now_s).state, TLS_OCSP_WRONG);
    free(more);
    OPENSSL_free(b.p);
    static const uint8_t try_later[] = { 0x30, 3, 0x0a, 1, 3 };
    struct tls_ocsp o = judge(try_later, sizeof try_later, now_s);
    assert_int_equal(o.state, TLS_OCSP_WRONG);
    assert_non_null(strstr(o.why, "error"));
    static const uint8_t empty[] = { 0x30, 3, 0x0a, 1, 0 };
    assert_int_equal(judge(empty, sizeof empty, now_s).state, TLS_OCSP_WRONG);
    for (int s = TLS_OCSP_NONE; s <= TLS_OCSP_WRONG; s++)
        assert_true(strlen(tls_ocsp_state_name((enum tls_ocsp_state)s)) > 2);
}

/* ---- stapled or not ---- */

/* With its chain, leaf first, and a response; loaded as if it were `at`. */
static struct tls_cert *load(int leaf, bool with_issuer, const struct bytes *ocsp, int64_t at)
{
    char chain[8000], err[300];
    snprintf(chain, sizeof chain, "%s%s", pki[leaf].chain_pem, with_issuer ? pki[CA].chain_pem : "");
    const struct tls_cert_source src = { .name = "cert",
                                         .chain_pem = chain,
                                         .chain_len = strlen(chain),
                                         .key_pem = pki[leaf].key_pem,
                                         .key_len = strlen(pki[leaf].key_pem),
                                         .ocsp_der = ocsp ? ocsp->p : NULL,
                                         .ocsp_len = ocsp ? ocsp->len : 0 };
    struct tls_cert *c = NULL;
    assert_int_equal(tls_cert_load(&src, at, &c, err, sizeof err), 0);
    return c;
}

/* Serves the certificates, which it gives up, under one rule. */
static struct tls_certs *serve(struct tls_cert *a, struct tls_cert *b, struct tls_ticket_keys *tickets)
{
    static const struct tls_rule rule = { .kind = TLS_RULE_DEFAULT };
    const struct tls_params p = { .min_version = 0x0303 };
    const struct tls_cert_use use[] = { { a, &rule, 1 }, { b, &rule, 1 } };
    struct tls_certs *out = NULL;
    char err[300];
    assert_int_equal(tls_certs_new(use, b ? 2 : 1, &p, tickets, &out, err, sizeof err), 0);
    tls_cert_unref(a);
    tls_cert_unref(b);
    return out;
}

/* What a client is given: want, or (NULL) nothing. */
static void assert_stapled(struct tls_certs *certs, int version, bool ask, const char *algs, const struct bytes *want)
{
    struct conn k;
    const unsigned char *got = NULL;
    conn_open(&k, certs, version, NULL);
    if (ask)
        SSL_set_tlsext_status_type(k.c, TLSEXT_STATUSTYPE_ocsp);
    if (algs)
        SSL_set1_sigalgs_list(k.c, algs);
    assert_int_equal(handshake(&k), 0);
    long len = SSL_get_tlsext_status_ocsp_resp(k.c, &got);
    assert_int_equal(len, want ? (long)want->len : -1);
    if (want)
        assert_memory_equal(got, want->p, want->len);
    conn_close(&k);
}

static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

static void test_stapled(void **state)
{
    (void)state;
    struct bytes b = respond(&good, 1, DELEGATE);
    for (int v = 0; v < 2; v++) {
        struct tls_certs *with = serve(load(LEAF, true, &b, now_s), NULL, NULL);
        assert_stapled(with, versions[v], true, NULL, &b);
        assert_stapled(with, versions[v], false, NULL, NULL); /* who does not ask is not told */
        tls_certs_unref(with);
        struct tls_certs *without = serve(load(LEAF, true, NULL, now_s), NULL, NULL);
        assert_stapled(without, versions[v], true, NULL, NULL);
        tls_certs_unref(without);
    }
    OPENSSL_free(b.p);
}

/* Each of a pair has its own, and only it. */
static void test_pair(void **state)
{
    (void)state;
    struct answer about_rsa = good;
    about_rsa.about = RSA_LEAF;
    struct bytes ec = respond(&good, 1, CA), rsa = respond(&about_rsa, 1, CA);
    static const char rsa_algs[] = "RSA-PSS+SHA256:RSA+SHA256", ec_algs[] = "ECDSA+SHA256";
    for (int v = 0; v < 2; v++) {
        struct tls_certs *certs = serve(load(LEAF, true, &ec, now_s), load(RSA_LEAF, true, &rsa, now_s), NULL);
        assert_stapled(certs, versions[v], true, ec_algs, &ec);
        assert_stapled(certs, versions[v], true, rsa_algs, &rsa);
        tls_certs_unref(certs);
        certs = serve(load(LEAF, true, NULL, now_s), load(RSA_LEAF, true, &rsa, now_s), NULL);
        assert_stapled(certs, versions[v], true, ec_algs, NULL);
        assert_stapled(certs, versions[v], true, rsa_algs, &rsa);
        tls_certs_unref(certs);
        certs = serve(load(LEAF, true, &rsa, now_s), load(RSA_LEAF, true, &ec, now_s), NULL); /* mixed up */
        assert_stapled(certs, versions[v], true, ec_algs, NULL);
        assert_stapled(certs, versions[v], true, rsa_algs, NULL);
        tls_certs_unref(certs);
    }
    OPENSSL_free(ec.p);
    OPENSSL_free(rsa.p);
}

static void never_stapled(struct bytes b, bool with_issuer, enum tls_ocsp_state want)
{
    struct tls_cert *c = load(LEAF, with_issuer, &b, now_s);
    assert_int_equal(tls_cert_info(c)->ocsp.state, want);
    assert_int_equal(tls_cert_ocsp(c, now_s), want);
    struct tls_certs *certs = serve(c, NULL, NULL);
    for (int v = 0; v < 2; v++)
        assert_stapled(certs, versions[v], true, NULL, NULL);
    tls_certs_unref(certs);
    OPENSSL_free(b.p);
}

static void test_never_stapled(void **state)
{
    (void)state;
    struct answer a = good;
    never_stapled(respond(&a, 1, CA), false, TLS_OCSP_WRONG); /* nobody to check it against */
    never_stapled(respond(&a, 1, OTHER_CA), true, TLS_OCSP_WRONG);
    a.to_s = -1;
    never_stapled(respond(&a, 1, CA), true, TLS_OCSP_STALE);
    a.to_s = 3600;
    a.status = V_OCSP_CERTSTATUS_REVOKED;
    never_stapled(respond(&a, 1, CA), true, TLS_OCSP_REVOKED);
    never_stapled((struct bytes){ OPENSSL_zalloc(1), 0 }, true, TLS_OCSP_WRONG);
    never_stapled((struct bytes){ OPENSSL_zalloc(100), 100 }, true, TLS_OCSP_WRONG);
}

/* What counts is the moment of the handshake, not that of loading. */
static void test_time_goes_on(void **state)
{
    (void)state;
    struct answer a = good;
    a.from_s = -3000;
    a.to_s = -100;
    struct bytes b = respond(&a, 1, CA);
    struct tls_cert *c = load(LEAF, true, &b, now_s - 200);
    assert_int_equal(tls_cert_info(c)->ocsp.state, TLS_OCSP_GOOD);
    assert_int_equal(tls_cert_ocsp(c, now_s - 101), TLS_OCSP_GOOD);
    assert_int_equal(tls_cert_ocsp(c, now_s - 100), TLS_OCSP_STALE);
    struct tls_certs *certs = serve(c, NULL, NULL);
    assert_stapled(certs, TLS1_3_VERSION, true, NULL, NULL);
    tls_certs_unref(certs);
    OPENSSL_free(b.p);

    b = respond(&good, 1, CA); /* from 600 seconds ago */
    c = load(LEAF, true, &b, now_s - 1000);
    assert_int_equal(tls_cert_info(c)->ocsp.state, TLS_OCSP_STALE);
    assert_int_equal(tls_cert_ocsp(c, now_s - 901), TLS_OCSP_STALE);
    assert_int_equal(tls_cert_ocsp(c, now_s - 900), TLS_OCSP_GOOD);
    certs = serve(c, NULL, NULL);
    assert_stapled(certs, TLS1_2_VERSION, true, NULL, &b);
    tls_certs_unref(certs);
    OPENSSL_free(b.p);
}

/* A resumed session shows no certificate, and a client that asks for its staple all the same is well served. */
static void test_resumed(void **state)
{
    (void)state;
    struct bytes b = respond(&good, 1, CA);
    struct tls_ticket_keys *keys = tls_ticket_keys_new();
    struct tls_certs *certs = serve(load(LEAF, true, &b, now_s), NULL, keys);
    for (int v = 0; v < 2; v++) {
        SSL_SESSION *s = NULL;
        for (int round = 0; round < 2; round++) {
            struct conn k;
            conn_open(&k, certs, versions[v], NULL);
            SSL_set_tlsext_status_type(k.c, TLSEXT_STATUSTYPE_ocsp);
            if (s)
                assert_int_equal(SSL_set_session(k.c, s), 1);
            SSL_SESSION_free(s);
            assert_int_equal(handshake(&k), 0);
            assert_int_equal(tls_stream_resumed(k.s), round);
            say_hello(&k);
            s = k.got ? k.got : SSL_get1_session(k.c);
            k.got = NULL;
            SSL_shutdown(k.c);
            conn_close(&k);
        }
        SSL_SESSION_free(s);
    }
    tls_certs_unref(certs);
    tls_ticket_keys_free(keys);
    OPENSSL_free(b.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts),    cmocka_unit_test(test_several_answers), cmocka_unit_test(test_no_issuer),
        cmocka_unit_test(test_other_times), cmocka_unit_test(test_garbage),         cmocka_unit_test(test_stapled),
        cmocka_unit_test(test_pair),        cmocka_unit_test(test_never_stapled),   cmocka_unit_test(test_time_goes_on),
        cmocka_unit_test(test_resumed),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
