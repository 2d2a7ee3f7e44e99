/* Certificate files as operators have them: good, odd and broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <time.h>

#include "tls/internal.h"
#include "tlstest.h"

static EVP_PKEY *ca_key, *ec_key, *rsa_key;
static struct test_cert ca, ec, rsa;
static char *ec_chain; /* leaf and issuer */

static char *text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static char *text(const char *fmt, ...)
{
    char *out = NULL;
    va_list ap;
    va_start(ap, fmt);
    assert_true(vasprintf(&out, fmt, ap) >= 0);
    va_end(ap);
    return out;
}

static int group_setup(void **state)
{
    (void)state;
    ca_key = EVP_EC_gen("P-256");
    ec_key = EVP_EC_gen("P-256");
    rsa_key = EVP_RSA_gen(2048);
    ca = test_cert_issue(&(struct test_spec){ .key = ca_key, .cn = "ca", .ca = true });
    ec = test_cert_issue(&(struct test_spec){ .key = ec_key, .cn = "vpn.example.com", .issuer = &ca });
    rsa = test_cert_make(rsa_key, "rsa");
    ec_chain = text("%s%s", ec.chain_pem, ca.chain_pem);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    test_cert_free(&ca);
    test_cert_free(&ec);
    test_cert_free(&rsa);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(ec_key);
    EVP_PKEY_free(rsa_key);
    free(ec_chain);
    return 0;
}

static int load_bytes(const void *chain, size_t chain_len, const void *key, size_t key_len, struct tls_cert **out,
                      char *err, size_t cap)
{
    /* Of the exact size, so that a sanitizer sees every byte read past the end. */
    char *c = malloc(chain_len ? chain_len : 1), *k = malloc(key_len ? key_len : 1);
    memcpy(c, chain, chain_len);
    memcpy(k, key, key_len);
    const struct tls_cert_source src = {
        .name = "main", .chain_pem = c, .chain_len = chain_len, .key_pem = k, .key_len = key_len
    };
    int rc = tls_cert_load(&src, time(NULL), out, err, cap);
    free(c);
    free(k);
    assert_int_equal(ERR_peek_error(), 0);
    return rc;
}

static struct tls_cert *loaded(const char *chain, const char *key)
{
    struct tls_cert *c = NULL;
    char err[300] = "";
    if (load_bytes(chain, strlen(chain), key, strlen(key), &c, err, sizeof err))
        print_error("%s\n", err);
    assert_non_null(c);
    return c;
}

static void refused_bytes(const void *chain, size_t chain_len, const void *key, size_t key_len, const char *words)
{
    struct tls_cert *c = NULL;
    char err[300] = "";
    assert_int_equal(load_bytes(chain, chain_len, key, key_len, &c, err, sizeof err), ERR_USAGE);
    assert_null(c);
    if (!strstr(err, words))
        print_error("\"%s\" does not say \"%s\"\n", err, words);
    assert_non_null(strstr(err, words));
    assert_int_equal(strncmp(err, "main: ", 6), 0);
}

static void refused(const char *chain, const char *key, const char *words)
{
    refused_bytes(chain, strlen(chain), key, strlen(key), words);
}

/* Loads, with the EC leaf and so many certificates behind it. */
static void good(char *chain, char *key, int behind)
{
    struct tls_cert *c = loaded(chain, key);
    assert_memory_equal(tls_cert_info(c)->sha256, ec.sha256, 32);
    assert_int_equal(sk_X509_num(c->chain), behind);
    tls_cert_unref(c);
    free(chain);
    free(key);
}

static char *crlf(const char *s)
{
    char *out = malloc(2 * strlen(s) + 1), *p = out;
    for (; *s; s++) {
        if (*s == '\n')
            *p++ = '\r';
        *p++ = *s;
    }
    *p = 0;
    return out;
}

/* ---- good ones ---- */

static void test_odd_but_good(void **state)
{
    (void)state;
    good(strdup(ec.chain_pem), strdup(ec.key_pem), 0);
    good(strdup(ec_chain), strdup(ec.key_pem), 1);
    good(crlf(ec_chain), crlf(ec.key_pem), 1);
    good(text("\xef\xbb\xbf%s", ec_chain), text("\xef\xbb\xbf%s", ec.key_pem), 1);
    char *dos = crlf(ec_chain);
    good(text("\xef\xbb\xbf%s", dos), strdup(ec.key_pem), 1); /* as Windows' editor saves it */
    free(dos);
    good(text("subject=CN = vpn\nissuer=CN = ca\n%s\n\n junk -----\nBEGIN\n%s", ec.chain_pem, ca.chain_pem),
         text("Bag Attributes\n    friendlyName: x\n%s", ec.key_pem), 1);
    /* Everything in one file, in either order, and that file as both. */
    good(text("%s%s%s", ec.chain_pem, ec.key_pem, ca.chain_pem), strdup(ec.key_pem), 1);
    good(text("%s%s", ec.key_pem, ec_chain), text("%s%s", ec.key_pem, ec_chain), 1);
    good(text("%s%s", ec_chain, ec.key_pem), text("%s%s", ec_chain, ec.key_pem), 1);
    /* No line end at the end. */
    char *chain = strdup(ec_chain), *key = strdup(ec.key_pem);
    chain[strlen(chain) - 1] = key[strlen(key) - 1] = 0;
    good(chain, key, 1);
    /* The older forms of a key, with its parameters in front. */
    BIO *b = BIO_new(BIO_s_mem());
    BIO_puts(b, "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n");
    PEM_write_bio_PrivateKey_traditional(b, ec_key, NULL, NULL, 0, NULL, NULL);
    good(strdup(ec_chain), test_bio_text(b), 1);
}

static void test_info(void **state)
{
    (void)state;
    struct tls_cert *c = loaded(ec_chain, ec.key_pem);
    const struct tls_cert_info *i = tls_cert_info(c);
    int64_t now = time(NULL);
    assert_memory_equal(i->sha1, ec.sha1, 20);
    assert_memory_equal(i->sha256, ec.sha256, 32);
    assert_in_range(now - i->not_before_s, 3600, 3700);
    assert_in_range(i->not_after_s - now, 86300, 86400);
    assert_true(i->server_auth);
    assert_string_equal(i->subject, "vpn.example.com");
    assert_string_equal(i->key_type, "EC P-256");
    assert_int_equal(i->ocsp.state, TLS_OCSP_NONE);
    assert_int_equal(tls_cert_ocsp(c, now), TLS_OCSP_NONE);
    assert_ptr_equal(tls_cert_ref(c), c);
    tls_cert_unref(c);
    tls_cert_unref(c);
    tls_cert_unref(NULL);
    c = loaded(rsa.chain_pem, rsa.key_pem);
    assert_string_equal(tls_cert_info(c)->key_type, "RSA 2048");
    tls_cert_unref(c);
}

static void key_type(EVP_PKEY *key, const char *want)
{
    struct test_cert t = test_cert_make(key, "t");
    struct tls_cert *c = loaded(t.chain_pem, t.key_pem);
    assert_string_equal(tls_cert_info(c)->key_type, want);
    tls_cert_unref(c);
    test_cert_free(&t);
    EVP_PKEY_free(key);
}

static void test_key_types(void **state)
{
    (void)state;
    key_type(EVP_EC_gen("P-384"), "EC P-384");
    key_type(EVP_EC_gen("secp256k1"), "EC secp256k1");
    key_type(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), "Ed25519");
    key_type(EVP_RSA_gen(3072), "RSA 3072");
}

static void test_subject_is_printable(void **state)
{
    (void)state;
    char longest[300];
    memset(longest, 'x', sizeof longest);
    longest[64] = 0; /* what X.509 lets a common name have */
    static const char *const san = "IP:192.0.2.1,DNS:alt.example.com,DNS:b.example.com";
    const struct {
        const char *cn, *san, *want;
    } row[] = {
        { "plain name", san, "plain name" },
        { "a\x1b[31mred\x07\n\r\t", san, "a?[31mred????" },
        { "b\xc3\xbc.example", san, "b??.example" },
        { NULL, san, "alt.example.com" },
        { "", san, "alt.example.com" },
        { NULL, NULL, "" },
        { NULL, "DNS:a\x1b]0;x\x07", "a?]0;x?" },
        { longest, san, longest },
        { NULL, "IP:192.0.2.1", "" },
        { "\x7f\xc2\x9b", san, "???" },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct test_cert t =
            test_cert_issue(&(struct test_spec){ .key = ec_key, .cn = row[i].cn, .san = row[i].san, .issuer = &ca });
        struct tls_cert *c = loaded(t.chain_pem, t.key_pem);
        assert_string_equal(tls_cert_info(c)->subject, row[i].want);
        tls_cert_unref(c);
        test_cert_free(&t);
    }
}

static void test_fit(void **state)
{
    (void)state;
    static const struct {
        const char *eku;
        int from_s, to_s;
        const char *words; /* NULL: it is */
    } row[] = {
        { NULL, 0, 0, NULL },
        { "serverAuth", 0, 0, NULL },
        { "clientAuth,serverAuth", 0, 0, NULL },
        { "anyExtendedKeyUsage", 0, 0, NULL },
        { "clientAuth", 0, 0, "not for servers" },
        { "1.3.6.1.5.5.7.3.17", 0, 0, "not for servers" },
        { NULL, -7200, -60, "expired" },
        { NULL, 60, 7200, "not valid yet" },
        { "clientAuth", -7200, -60, "expired" },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct test_cert t = test_cert_issue(&(struct test_spec){
            .key = ec_key, .cn = "t", .eku = row[i].eku, .from_s = row[i].from_s, .to_s = row[i].to_s });
        struct tls_cert *c = loaded(t.chain_pem, t.key_pem); /* whatever its dates are */
        char why[200] = "";
        assert_int_equal(tls_cert_fit(c, time(NULL), why, sizeof why), row[i].words ? ERR_USAGE : 0);
        if (row[i].words)
            assert_non_null(strstr(why, row[i].words));
        const struct tls_cert_info *o = tls_cert_info(c);
        if (!row[i].words) { /* to the second */
            assert_int_equal(tls_cert_fit(c, o->not_after_s, why, sizeof why), 0);
            assert_int_equal(tls_cert_fit(c, o->not_after_s + 1, why, sizeof why), ERR_USAGE);
            assert_int_equal(tls_cert_fit(c, o->not_before_s, why, sizeof why), 0);
            assert_int_equal(tls_cert_fit(c, o->not_before_s - 1, why, sizeof why), ERR_USAGE);
        }
        tls_cert_unref(c);
        test_cert_free(&t);
    }
}

/* ---- bad ones ---- */

static void test_wrong_key(void **state)
{
    (void)state;
    refused(ec_chain, rsa.key_pem, "does not belong");
    EVP_PKEY *other = EVP_EC_gen("P-256");
    struct test_cert t = test_cert_make(other, "other");
    refused(ec_chain, t.key_pem, "does not belong");
    test_cert_free(&t);
    EVP_PKEY_free(other);
}

static void test_wrong_order(void **state)
{
    (void)state;
    char *turned = text("%s%s", ca.chain_pem, ec.chain_pem);
    refused(turned, ec.key_pem, "the first certificate is not the one that the key belongs to: put the leaf first");
    free(turned);
    turned = text("%s%s%s", ca.chain_pem, rsa.chain_pem, ec.chain_pem);
    refused(turned, ec.key_pem, "put the leaf first");
    free(turned);
}

static void encrypted(char *key)
{
    refused(ec_chain, key, "its key is encrypted");
    free(key);
}

static void test_encrypted(void **state)
{
    (void)state;
    BIO *b = BIO_new(BIO_s_mem());
    PEM_write_bio_PKCS8PrivateKey(b, ec_key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL);
    encrypted(test_bio_text(b));
    b = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey_traditional(b, ec_key, EVP_aes_128_cbc(), (const unsigned char *)"secret", 6, NULL, NULL);
    encrypted(test_bio_text(b));
    b = BIO_new(BIO_s_mem());
    PEM_write_bio_PKCS8PrivateKey(b, ec_key, EVP_aes_128_cbc(), "", 0, NULL, NULL);
    encrypted(test_bio_text(b));
    /* A certificate that says it is: the terminal is not asked. */
    refused(
        "-----BEGIN CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n"
        "\nAAAA\n-----END CERTIFICATE-----\n",
        ec.key_pem, "cannot be read");
}

/* Cut anywhere: an error, or the leaf whole. */
static void test_truncated(void **state)
{
    (void)state;
    size_t leaf_len = strlen(ec.chain_pem), len = strlen(ec_chain);
    for (size_t n = 0; n < len; n++) {
        struct tls_cert *c = NULL;
        char err[300];
        int rc = load_bytes(ec_chain, n, ec.key_pem, strlen(ec.key_pem), &c, err, sizeof err);
        assert_int_equal(!rc, c != NULL);
        if (n < leaf_len - 1)
            assert_int_equal(rc, ERR_USAGE);
        if (n > leaf_len + strlen("-----BEGIN CERTIFICATE-----\n") && n < len - 1)
            assert_int_equal(rc, ERR_USAGE);
        if (c)
            assert_memory_equal(tls_cert_info(c)->sha256, ec.sha256, 32);
        tls_cert_unref(c);
    }
    for (size_t n = 0; n < strlen(ec.key_pem) - 1; n++)
        refused_bytes(ec_chain, len, ec.key_pem, n, n ? "no private key" : "its key file is empty");
}

static void test_no_pem(void **state)
{
    (void)state;
    refused("", ec.key_pem, "its chain file is empty");
    refused(ec_chain, "", "its key file is empty");
    refused("\xef\xbb\xbf", ec.key_pem, "no certificate");
    refused("nothing here\n", ec.key_pem, "no certificate");
    refused(ec.key_pem, ec.key_pem, "no certificate");
    refused(ec_chain, "nothing here\n", "no private key");
    refused(ec_chain, ec_chain, "no private key");
    char *broken = text("%s-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ec.chain_pem);
    refused(broken, ec.key_pem, "certificate 2 ");
    free(broken);
    broken = text("%s-----BEGIN CERTIFICATE-----\n!\"$%%\n-----END CERTIFICATE-----\n", ec.chain_pem);
    refused(broken, ec.key_pem, "certificate 2 ");
    free(broken);

    uint8_t *der = NULL;
    int n = i2d_X509(ec.x, &der);
    refused_bytes(der, (size_t)n, ec.key_pem, strlen(ec.key_pem), "its chain file is binary");
    OPENSSL_free(der);
    der = NULL;
    n = i2d_PrivateKey(ec_key, &der);
    refused_bytes(ec_chain, strlen(ec_chain), der, (size_t)n, "its key file is binary");
    OPENSSL_free(der);
}

static void test_too_much(void **state)
{
    (void)state;
    enum { MIB = 1 << 20 };
    char *big = malloc(10 * MIB);
    memset(big, 'A', 10 * MIB);
    refused_bytes(big, 10 * MIB, ec.key_pem, strlen(ec.key_pem), "larger than 1 MiB");
    refused_bytes(ec_chain, strlen(ec_chain), big, 10 * MIB, "larger than 1 MiB");
    refused_bytes(big, MIB + 1, ec.key_pem, strlen(ec.key_pem), "larger than 1 MiB");
    refused_bytes(big, MIB, ec.key_pem, strlen(ec.key_pem), "no certificate");
    refused_bytes(ec_chain, strlen(ec_chain), big, MIB, "no private key");
    free(big);
    char *many = strdup(ec.chain_pem);
    for (int i = 0; i < 17; i++) {
        char *more = text("%s%s", many, ca.chain_pem);
        free(many);
        many = more;
        if (i == 15)
            good(strdup(many), strdup(ec.key_pem), 16);
    }
    refused(many, ec.key_pem, "more than 16 certificates");
    free(many);
}

/* As much as a file may have of what is slow to read: it takes a moment and no more. */
static void test_slow_to_read(void **state)
{
    (void)state;
    static const char *const block[] = {
        "-----BEGIN X-----\n-----END X-----\n",
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n", "-----BEGIN X-----\n", "\n",
        "-"
    };
    struct timespec a, b;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    for (size_t i = 0; i < sizeof block / sizeof *block; i++) {
        enum { MIB = 1 << 20 };
        char *big = malloc(MIB + 1);
        size_t n = 0;
        for (size_t len = strlen(block[i]); n + len <= MIB; n += len)
            memcpy(big + n, block[i], len + 1);
        refused_bytes(big, n, ec.key_pem, strlen(ec.key_pem), "certificate");
        refused_bytes(ec_chain, strlen(ec_chain), big, n, "key");
        free(big);
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    assert_true(b.tv_sec - a.tv_sec < 30); /* with sanitizers; a second or two without */
}

static void test_weak(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_RSA_gen(1024);
    struct test_cert t = test_cert_make(key, "weak");
    refused(t.chain_pem, t.key_pem, "cannot be served: ee key too small");
    test_cert_free(&t);
    EVP_PKEY_free(key);
    key = EVP_PKEY_Q_keygen(NULL, NULL, "ED448");
    t = test_cert_issue(&(struct test_spec){ .key = key, .cn = "ed448", .issuer = &ca });
    refused(t.chain_pem, t.key_pem, "neither RSA, ECDSA nor Ed25519");
    test_cert_free(&t);
    EVP_PKEY_free(key);
}

/* ---- the leaf of a front ---- */

static void test_leaf_hashes(void **state)
{
    (void)state;
    uint8_t sha1[20], sha256[32];
    char why[200] = "";
    char *dos = crlf(ec_chain), *all = text("\xef\xbb\xbf%s%s", ec.key_pem, dos);
    assert_int_equal(tls_leaf_hashes(all, strlen(all), sha1, sha256, why, sizeof why), 0);
    assert_memory_equal(sha1, ec.sha1, 20);
    assert_memory_equal(sha256, ec.sha256, 32);
    free(all);
    free(dos);
    static const struct {
        const char *pem, *words;
    } row[] = { { "", "empty" },
                { "hello", "no certificate" },
                { "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read" } };
    memset(sha1, 7, sizeof sha1);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        assert_int_equal(tls_leaf_hashes(row[i].pem, strlen(row[i].pem), sha1, sha256, why, sizeof why), ERR_USAGE);
        assert_non_null(strstr(why, row[i].words));
        assert_int_equal(sha1[0], 7);
        assert_int_equal(ERR_peek_error(), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_odd_but_good), cmocka_unit_test(test_info),
        cmocka_unit_test(test_key_types),    cmocka_unit_test(test_subject_is_printable),
        cmocka_unit_test(test_fit),          cmocka_unit_test(test_wrong_key),
        cmocka_unit_test(test_wrong_order),  cmocka_unit_test(test_encrypted),
        cmocka_unit_test(test_truncated),    cmocka_unit_test(test_no_pem),
        cmocka_unit_test(test_too_much),     cmocka_unit_test(test_slow_to_read),
        cmocka_unit_test(test_weak),         cmocka_unit_test(test_leaf_hashes),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
