/* The server name read out of ClientHellos that OpenSSL made, whole, cut up and spoilt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/ssl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/wr.h"
#include "tls/internal.h"
#include "tls/peek.h"
#include "tlsclient.h"
#include "tlstest.h"

struct bytes {
    uint8_t *p;
    size_t len;
};

static uint32_t seed = 1;
static uint32_t rnd(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

/* ---- real ClientHellos ---- */

static int ext_add(SSL *ssl, unsigned type, unsigned context, const unsigned char **out, size_t *len, X509 *x,
                   size_t chain, int *alert, void *arg)
{
    static const uint8_t filler[4000];
    (void)ssl, (void)type, (void)context, (void)x, (void)chain, (void)alert;
    *out = filler;
    *len = (size_t)(uintptr_t)arg;
    return 1;
}

/* What a client writes first: records, which the caller frees. Some extensions of ext_len bytes each besides. */
static struct bytes hello_make(const char *sni, int version, unsigned extensions, size_t ext_len)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(ctx, version);
    for (unsigned i = 0; i < extensions; i++)
        assert_int_equal(SSL_CTX_add_custom_ext(ctx, 0xff10 + i, SSL_EXT_CLIENT_HELLO, ext_add, NULL,
                                                (void *)(uintptr_t)ext_len, NULL, NULL),
                         1);
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    if (sni)
        SSL_set_tlsext_host_name(ssl, sni);
    SSL_connect(ssl);
    char *p;
    struct bytes b = { .len = (size_t)BIO_get_mem_data(out, &p) };
    b.p = malloc(b.len);
    memcpy(b.p, p, b.len);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    ERR_clear_error();
    return b;
}

enum { WITH_NAME, WITHOUT, OLD, OLD_WITHOUT, MANY, LONG, LONGEST, N_HELLOS };
static struct bytes hello[N_HELLOS];
static const char *const hello_name[N_HELLOS] = {
    "vpn.example.com", "", "vpn.example.com", "", "many.example.com", "long.example.com", "longest.example.com"
};

static int group_setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    hello[WITH_NAME] = hello_make("VPN.example.com.", TLS1_3_VERSION, 0, 0);
    hello[WITHOUT] = hello_make(NULL, TLS1_3_VERSION, 0, 0);
    hello[OLD] = hello_make("vpn.example.com", TLS1_2_VERSION, 0, 0);
    hello[OLD_WITHOUT] = hello_make(NULL, TLS1_2_VERSION, 0, 0);
    hello[MANY] = hello_make("many.example.com", TLS1_3_VERSION, 200, 3);
    hello[LONG] = hello_make("long.example.com", TLS1_3_VERSION, 3, 1500);
    hello[LONGEST] = hello_make("longest.example.com", TLS1_3_VERSION, 4, 3950);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    for (int i = 0; i < N_HELLOS; i++)
        free(hello[i].p);
    return 0;
}

/* On the heap and of the exact size, so that a sanitizer sees every byte read past the end. */
static int peek(const uint8_t *p, size_t len, char out[TLS_NAME_MAX + 1])
{
    uint8_t *copy = malloc(len ? len : 1);
    memcpy(copy, p, len);
    memset(out, '#', TLS_NAME_MAX + 1);
    int rc = tls_peek_sni(rd_make(copy, len), out);
    free(copy);
    return rc;
}

static void assert_name(const uint8_t *p, size_t len, const char *want)
{
    char name[TLS_NAME_MAX + 1];
    assert_int_equal(peek(p, len, name), 0);
    assert_string_equal(name, want);
}

static void assert_rc(const void *p, size_t len, int want)
{
    char name[TLS_NAME_MAX + 1];
    assert_int_equal(peek(p, len, name), want);
}

/* The same message cut into records after each of these many bytes; 0 ends the list, the rest is one record. */
static struct bytes recut(const struct bytes *h, const size_t *cuts)
{
    struct bytes out = { .p = malloc(6 * h->len) };
    size_t at = 5; /* OpenSSL writes the message as one record up to 16 KiB */
    while (at < h->len) {
        size_t n = *cuts && *cuts < h->len - at ? *cuts++ : h->len - at;
        memcpy(out.p + out.len, (uint8_t[]){ 22, 3, 1, (uint8_t)(n >> 8), (uint8_t)n }, 5);
        memcpy(out.p + out.len + 5, h->p + at, n);
        out.len += 5 + n;
        at += n;
    }
    return out;
}

static void test_real(void **state)
{
    (void)state;
    for (int i = 0; i < N_HELLOS; i++) {
        const struct bytes *h = &hello[i];
        assert_name(h->p, h->len, hello_name[i]);
        assert_int_equal(h->p[3] << 8 | h->p[4], h->len - 5); /* one record, as recut() takes it */
        uint8_t *more = malloc(h->len + 3000);                /* what follows it is not looked at */
        memcpy(more, h->p, h->len);
        memset(more + h->len, 0x80, 3000);
        assert_name(more, h->len + 3000, hello_name[i]);
        free(more);
    }
    assert_true(hello[LONGEST].len > 16000 && hello[LONGEST].len < 16384);
}

static void test_every_segment(void **state)
{
    (void)state;
    for (int i = 0; i < N_HELLOS; i++)
        for (size_t n = 0; n < hello[i].len; n += n < 600 || hello[i].len - n < 600 ? 1 : 97)
            assert_rc(hello[i].p, n, ERR_AGAIN);
}

static void test_every_record(void **state)
{
    (void)state;
    for (int i = 0; i < N_HELLOS; i++)
        for (size_t n = 1; n < hello[i].len - 5; n += n < 600 ? 1 : 97) {
            struct bytes b = recut(&hello[i], (size_t[]){ n, 0 });
            assert_int_equal(b.len, hello[i].len + 5);
            assert_name(b.p, b.len, hello_name[i]);
            assert_rc(b.p, b.len - 1, ERR_AGAIN);
            assert_rc(b.p, n + 5 + rnd(5), ERR_AGAIN); /* in the second header */
            free(b.p);
        }
}

static void test_records_and_segments(void **state)
{
    (void)state;
    for (int i = 0; i < N_HELLOS; i++)
        for (int round = 0; round < 20; round++) {
            size_t cuts[101] = { 0 };
            for (int k = 0; k < 100; k++)
                cuts[k] = 1 + rnd(round < 10 ? 3 : 300);
            struct bytes b = recut(&hello[i], cuts);
            for (size_t n = 0; n<b.len; n += b.len> 3000 ? 53 : 3)
                assert_rc(b.p, n, ERR_AGAIN);
            assert_name(b.p, b.len, hello_name[i]);
            free(b.p);
        }
    /* A record for each byte. */
    size_t ones[3000];
    for (size_t k = 0; k < 2999; k++)
        ones[k] = 1;
    ones[2999] = 0;
    struct bytes b = recut(&hello[WITH_NAME], ones);
    assert_int_equal(b.len, 6 * (hello[WITH_NAME].len - 5));
    assert_name(b.p, b.len, hello_name[WITH_NAME]);
    free(b.p);
    b = recut(&hello[LONGEST], ones);
    assert_rc(b.p, TLS_PEEK_MAX - 1, ERR_AGAIN);
    assert_rc(b.p, TLS_PEEK_MAX, ERR_LIMIT);
    assert_rc(b.p, b.len, ERR_LIMIT);
    free(b.p);
}

/* ---- the same name as the handshake finds ---- */

static void test_agrees_with_handshake(void **state)
{
    (void)state;
    static const char *const sni[] = {
        NULL, "a", "A.Example.COM.", "203.0.113.5", "*.example.com", "b\xc3\xbc.a", "under_score.a", "a b", "..", "a.."
    };
    EVP_PKEY *key = EVP_EC_gen("P-256");
    struct test_cert c = test_cert_make(key, "peek");
    const struct tls_rule rule = { .kind = TLS_RULE_DEFAULT };
    const struct tls_cert_use use = { .cert = test_cert_load(&c, "peek"), .rules = &rule, .n_rules = 1 };
    const struct tls_params params = { .min_version = 0x0303 };
    struct tls_certs *certs = NULL;
    char err[200], name[TLS_NAME_MAX + 1];
    assert_int_equal(tls_certs_new(&use, 1, &params, NULL, &certs, err, sizeof err), 0);
    for (size_t i = 0; i < sizeof sni / sizeof *sni; i++) {
        struct conn k;
        uint8_t first[2000];
        conn_open(&k, certs, TLS1_3_VERSION, sni[i]);
        SSL_do_handshake(k.c);
        ssize_t n = recv(k.fd[0], first, sizeof first, MSG_PEEK);
        assert_true(n > 100);
        assert_int_equal(peek(first, (size_t)n, name), 0);
        assert_int_equal(handshake(&k), 0);
        assert_string_equal(name, tls_stream_sni(k.s) ? tls_stream_sni(k.s) : "");
        conn_close(&k);
    }
    tls_certs_unref(certs);
    tls_cert_unref(use.cert);
    test_cert_free(&c);
    EVP_PKEY_free(key);
}

/* ---- server_name extension, as bytes ---- */

static void test_sni_parse_every_cut(void **state)
{
    (void)state;
    static const uint8_t good[] = "\x00\x0b\x00\x00\x08"
                                  "Ab-1.c_d";
    const size_t len = sizeof good - 1;
    char out[TLS_NAME_MAX + 1];
    assert_string_equal(tls_sni_parse(rd_make(good, len), out), "ab-1.c_d");
    for (size_t n = 0; n < len; n++)
        assert_null(tls_sni_parse(rd_make(good, n), out));
    for (size_t at = 0; at < 5; at++)
        for (int d = -1; d <= 1; d += 2) {
            uint8_t bad[sizeof good];
            memcpy(bad, good, sizeof good);
            bad[at] = (uint8_t)(bad[at] + d);
            const char *got = tls_sni_parse(rd_make(bad, len), out);
            if (at == 4 && d == -1)
                assert_string_equal(got, "ab-1.c_"); /* a shorter name with a rest behind it is still a name */
            else
                assert_null(got);
        }
    uint8_t big[5 + 254];
    memset(big, 'a', sizeof big);
    for (unsigned n = 252; n <= 254; n++) {
        memcpy(big, (uint8_t[]){ 0, (uint8_t)(n + 3), 0, 0, (uint8_t)n }, 5);
        if (n + 3 > 255)
            memcpy(big, (uint8_t[]){ 1, (uint8_t)(n + 3 - 256), 0, 0, (uint8_t)n }, 5);
        const char *got = tls_sni_parse(rd_make(big, 5 + n), out);
        assert_int_equal(got ? strlen(got) : 0, n <= TLS_NAME_MAX ? n : 0);
    }
    assert_null(tls_sni_parse(rd_make("\0\4\0\0\1.", 6), out));
    assert_null(tls_sni_parse(rd_make("\0\3\0\0\0", 5), out));
    assert_null(tls_sni_parse(rd_make("\0\5\0\0\2a\0", 7), out));
}

/* ---- hostile ones ---- */

/* A small ClientHello made by hand; the offsets of its length fields. */
static const uint8_t small[] = "\x16\x03\x01\x00\x4f"                 /* record                              */
                               "\x01\x00\x00\x4b"                     /* client_hello                        */
                               "\x03\x03"                             /* version                             */
                               "0123456789abcdef0123456789abcdef"     /* random                              */
                               "\x02id"                               /* session id                          */
                               "\x00\x04\x13\x01\x13\x02"             /* cipher suites                       */
                               "\x01\x00"                             /* compression                         */
                               "\x00\x1c"                             /* extensions                          */
                               "\x00\x2b\x00\x03\x02\x03\x04"         /* supported_versions                  */
                               "\x00\x00\x00\x0d\x00\x0b\x00\x00\x08" /* server_name, list, type, length */
                               "ab.exa.m"
                               "\x00\x17\x00\x00"; /* extended_master_secret              */
enum { SMALL_LEN = sizeof small - 1 };
enum {
    AT_RECORD = 4,
    AT_MESSAGE = 8,
    AT_ID = 43,
    AT_CIPHERS = 47,
    AT_COMPRESSION = 52,
    AT_EXTENSIONS = 55,
    AT_VERSIONS = 59,
    AT_NAME_EXT = 66,
    AT_NAME_LIST = 68,
    AT_NAME_TYPE = 69,
    AT_NAME = 71,
    AT_LAST_EXT = 83
};

static int small_with(size_t at, int delta, char name[TLS_NAME_MAX + 1])
{
    uint8_t b[SMALL_LEN];
    memcpy(b, small, SMALL_LEN);
    b[at] = (uint8_t)(b[at] + delta);
    return peek(b, SMALL_LEN, name);
}

static void test_lengths_off_by_one(void **state)
{
    (void)state;
    char name[TLS_NAME_MAX + 1];
    assert_name(small, SMALL_LEN, "ab.exa.m");
    static const struct {
        size_t at;
        int less, more; /* 0: a shorter name, 1: none, 2: the whole one */
    } row[] = {
        { AT_RECORD, ERR_PEER, 2 }, /* its last byte begins another record; the message ends before the record does */
        { AT_MESSAGE, ERR_PEER, ERR_AGAIN },
        { AT_ID, ERR_PEER, ERR_PEER },
        { AT_CIPHERS, ERR_PEER, ERR_PEER }, /* odd */
        { AT_COMPRESSION, ERR_PEER, ERR_PEER },
        { AT_EXTENSIONS, ERR_PEER, ERR_PEER },
        { AT_VERSIONS, ERR_PEER, ERR_PEER },
        { AT_NAME_EXT, ERR_PEER, ERR_PEER },
        { AT_NAME_LIST, 1, 1 }, /* a spoilt name is no name, as in the handshake */
        { AT_NAME_TYPE, 1, 1 },
        { AT_NAME, 0, 1 }, /* a shorter name with a rest behind it is still a name */
        { AT_LAST_EXT, ERR_PEER, ERR_PEER },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        for (int d = -1; d <= 1; d += 2) {
            int want = d < 0 ? row[i].less : row[i].more, got = small_with(row[i].at, d, name);
            if (got != (want > 0 ? 0 : want))
                print_error("byte %zu %+d: %d\n", row[i].at, d, got);
            assert_int_equal(got, want > 0 ? 0 : want);
            if (want >= 0)
                assert_string_equal(name, want == 0 ? "ab.exa" : want == 1 ? "" : "ab.exa.m");
        }
}

static void test_rest_behind_extensions(void **state)
{
    (void)state;
    uint8_t b[SMALL_LEN + 1] = { 0 };
    memcpy(b, small, SMALL_LEN);
    b[AT_RECORD]++;
    b[AT_MESSAGE]++;
    assert_rc(b, sizeof b, ERR_PEER);
}

static void test_twice_named(void **state)
{
    (void)state;
    uint8_t b[SMALL_LEN];
    char name[TLS_NAME_MAX + 1];
    memcpy(b, small, SMALL_LEN);
    b[AT_LAST_EXT - 2] = 0; /* extended_master_secret becomes a second, empty server_name */
    assert_int_equal(peek(b, SMALL_LEN, name), ERR_PEER);
}

static void test_no_extensions(void **state)
{
    (void)state;
    uint8_t b[SMALL_LEN];
    memcpy(b, small, SMALL_LEN);
    b[AT_RECORD] = AT_EXTENSIONS - 1 - 5;
    b[AT_MESSAGE] = AT_EXTENSIONS - 1 - 9;
    assert_name(b, AT_EXTENSIONS - 1, "");
    b[AT_RECORD] += 2; /* an empty list of them */
    b[AT_MESSAGE] += 2;
    b[AT_EXTENSIONS] = 0;
    assert_name(b, AT_EXTENSIONS + 1, "");
}

static void test_not_a_client_hello(void **state)
{
    (void)state;
    static const char *const others[] = {
        "GET / HTTP/1.1\r\n\r\n",
        "SSTP_DUPLEX_POST /sra",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "PROXY TCP4 ",
        "\x15\x03\x01",     /* alert */
        "\x17\x03\x03",     /* application data */
        "\x14\x03\x03",     /* change cipher spec */
        "\x80\x2e\x01\x03", /* SSLv2 */
        "\x16\x02\x00",     /* no TLS */
        "\x16GET",
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        for (size_t n = others[i][0] == 22 ? 2 : 1; n <= strlen(others[i]); n++)
            assert_rc(others[i], n, ERR_PEER);      /* as early as it can be seen */
    assert_rc("\x16\x03\x01\x00\x00", 5, ERR_PEER); /* RFC 8446 5.1: no empty ones */
    assert_rc("\x16\x03\x01\x40\x01", 5, ERR_PEER); /* longer than a record may be */
    assert_rc("\x16\x03\x01\x40\x00", 5, ERR_AGAIN);
    for (int type = 0; type < 256; type++)
        assert_rc((uint8_t[]){ 22, 3, 1, 0, 10, (uint8_t)type }, 6, type == 1 ? ERR_AGAIN : ERR_PEER);
    assert_rc("\x16\x03\x01\x00\x0a\x01\x00\x40\x00", 9, ERR_AGAIN);
    assert_rc("\x16\x03\x01\x00\x0a\x01\x00\x40\x01", 9, ERR_LIMIT);
    assert_rc("\x16\x03\x01\x00\x0a\x01\x01\x00\x00", 9, ERR_LIMIT);
    assert_rc("", 0, ERR_AGAIN);
    assert_int_equal(tls_peek_sni(rd_make(NULL, 0), (char[TLS_NAME_MAX + 1]){ 0 }), ERR_AGAIN);
    /* The second record is something else. */
    assert_rc("\x16\x03\x01\x00\x04\x01\x00\x00\x10\x15\x03\x01", 12, ERR_PEER);
}

/* Whatever was done to it: an answer as promised, and one that stays the same with more bytes. */
static void test_mutations(void **state)
{
    (void)state;
    unsigned good = 0, bad = 0;
    for (int round = 0; round < 40000; round++) {
        const struct bytes whole = { .p = (uint8_t *)(uintptr_t)small, .len = SMALL_LEN };
        const struct bytes *h = round & 1 ? &whole : &hello[rnd(OLD_WITHOUT + 1)];
        uint8_t b[1000];
        char name[TLS_NAME_MAX + 1], early[TLS_NAME_MAX + 1];
        assert_true(h->len <= sizeof b);
        memcpy(b, h->p, h->len);
        for (uint32_t k = 1 + rnd(4); k; k--) {
            uint32_t at = rnd(4) ? rnd((uint32_t)h->len) : rnd(60);
            b[at] = (uint8_t)(rnd(2) ? b[at] + 1 + 254 * rnd(2) : rnd(256));
        }
        int rc = peek(b, h->len, name);
        assert_true(rc == 0 || rc == ERR_AGAIN || rc == ERR_PEER || rc == ERR_LIMIT);
        if (rc == 0) {
            assert_non_null(memchr(name, 0, sizeof name));
            assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-._"), strlen(name));
        }
        rc ? bad++ : good++;
        int before = peek(b, rnd((uint32_t)h->len), early);
        assert_true(before == ERR_AGAIN || before == rc);
        if (!before)
            assert_string_equal(early, name);
    }
    assert_true(good > 1000 && bad > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sni_parse_every_cut),  cmocka_unit_test(test_real),
        cmocka_unit_test(test_every_segment),        cmocka_unit_test(test_every_record),
        cmocka_unit_test(test_records_and_segments), cmocka_unit_test(test_agrees_with_handshake),
        cmocka_unit_test(test_lengths_off_by_one),   cmocka_unit_test(test_rest_behind_extensions),
        cmocka_unit_test(test_twice_named),          cmocka_unit_test(test_no_extensions),
        cmocka_unit_test(test_not_a_client_hello),   cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
