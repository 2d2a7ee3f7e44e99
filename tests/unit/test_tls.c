/* TLS over socket pairs, with OpenSSL's own client on the other end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/loop.h"
#include "tls/internal.h"
#include "tls/stream.h"
#include "tlsclient.h"
#include "tlstest.h"

enum { RSA_DEF, EC_DEF, EC_WWW, RSA_WILD, EC_NEW, ED, N_CERTS };
static struct test_cert cert[N_CERTS];
static struct tls_cert *loaded[N_CERTS];
static EVP_PKEY *rsa_key, *ec_key, *ed_key;

static int group_setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    rsa_key = EVP_RSA_gen(2048);
    ec_key = EVP_EC_gen("P-256");
    ed_key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    if (!rsa_key || !ec_key || !ed_key)
        return -1;
    cert[RSA_DEF] = test_cert_make(rsa_key, "default rsa");
    cert[EC_DEF] = test_cert_make(ec_key, "default ec");
    cert[EC_WWW] = test_cert_make(ec_key, "www");
    cert[RSA_WILD] = test_cert_make(rsa_key, "wild");
    cert[EC_NEW] = test_cert_make(ec_key, "new");
    cert[ED] = test_cert_make(ed_key, "ed25519");
    for (int i = 0; i < N_CERTS; i++)
        if (!(loaded[i] = test_cert_load(&cert[i], "cert")))
            return -1;
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    for (int i = 0; i < N_CERTS; i++) {
        test_cert_free(&cert[i]);
        tls_cert_unref(loaded[i]);
    }
    EVP_PKEY_free(rsa_key);
    EVP_PKEY_free(ec_key);
    EVP_PKEY_free(ed_key);
    return 0;
}

/* ---- generations ---- */

#define RULES_MAX 4

/* A certificate (index into cert[]) and the texts of its rules, NULL ends. */
struct use {
    int cert;
    const char *rules[RULES_MAX + 1];
};

static const struct tls_params plain = { .min_version = 0x0303 };

static int try_generation(const struct use *u, size_t n, const struct tls_params *p, struct tls_ticket_keys *keys,
                          struct tls_certs **out, char *err, size_t cap)
{
    struct tls_cert_use use[8];
    struct tls_rule rules[8][RULES_MAX];
    assert_true(n <= 8);
    for (size_t i = 0; i < n; i++) {
        use[i] = (struct tls_cert_use){ .cert = loaded[u[i].cert], .rules = rules[i] };
        for (size_t *k = &use[i].n_rules; u[i].rules[*k]; ++*k)
            assert_int_equal(tls_rule_parse(u[i].rules[*k], &rules[i][*k]), 0);
    }
    return tls_certs_new(use, n, p, keys, out, err, cap);
}

static struct tls_certs *generation(const struct use *u, size_t n, const struct tls_params *p,
                                    struct tls_ticket_keys *keys)
{
    struct tls_certs *out = NULL;
    char err[256] = "";
    int rc = try_generation(u, n, p, keys, &out, err, sizeof err);
    if (rc)
        print_error("%s\n", err);
    assert_int_equal(rc, 0);
    return out;
}

static struct tls_certs *usual(const struct tls_params *p, struct tls_ticket_keys *keys)
{
    static const struct use u[] = { { EC_WWW, { "WWW.Example.com", "other.example.net" } },
                                    { RSA_DEF, { "default" } },
                                    { EC_DEF, { "default" } },
                                    { RSA_WILD, { "*.example.com" } } };
    return generation(u, 4, p, keys);
}

static struct tls_certs *only(int i, struct tls_ticket_keys *keys)
{
    return generation(&(struct use){ i, { "default" } }, 1, &plain, keys);
}

/* ---- what was served ---- */

static void assert_leaf(const struct tls_stream *s, int i)
{
    uint8_t sha1[20], sha256[32];
    tls_stream_leaf_hashes(s, sha1, sha256);
    assert_memory_equal(sha1, cert[i].sha1, 20);
    assert_memory_equal(sha256, cert[i].sha256, 32);
}

/* The client was shown certificate i, and the server knows so. */
static void assert_served(struct conn *k, int i)
{
    X509 *x = SSL_get1_peer_certificate(k->c);
    assert_non_null(x);
    assert_int_equal(X509_cmp(x, cert[i].x), 0);
    X509_free(x);
    assert_leaf(k->s, i);
}

static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

/* ---- which certificate ---- */

static void test_selection(void **state)
{
    (void)state;
    static const struct {
        const char *sni, *seen;
        int want;
    } row[] = {
        { NULL, NULL, EC_DEF },
        { "www.example.com", "www.example.com", EC_WWW },
        { "wWw.eXample.COM", "www.example.com", EC_WWW },
        { "www.example.com.", "www.example.com", EC_WWW },
        { "other.example.net", "other.example.net", EC_WWW },
        { "blog.example.com", "blog.example.com", RSA_WILD },
        { "a.blog.example.com", "a.blog.example.com", EC_DEF }, /* a wildcard covers one label */
        { "example.com", "example.com", EC_DEF },
        { ".example.com", ".example.com", EC_DEF },
        { "nobody.example.org", "nobody.example.org", EC_DEF },
        { "default", "default", EC_DEF },
        { "*.example.com", NULL, EC_DEF }, /* not a host name: ignored */
        { "b\xc3\xbc.example.com", NULL, EC_DEF },
        { "203.0.113.5", "203.0.113.5", EC_DEF },
        { "www example.com", NULL, EC_DEF },
    };
    struct tls_certs *certs = usual(&plain, NULL);
    for (size_t v = 0; v < 2; v++)
        for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
            struct conn k;
            conn_open(&k, certs, versions[v], row[i].sni);
            assert_int_equal(handshake(&k), 0);
            assert_served(&k, row[i].want);
            if (row[i].seen)
                assert_string_equal(tls_stream_sni(k.s), row[i].seen);
            else
                assert_null(tls_stream_sni(k.s));
            assert_string_equal(tls_stream_version(k.s), v ? "TLSv1.3" : "TLSv1.2");
            assert_false(tls_stream_resumed(k.s));
            say_hello(&k);
            conn_close(&k);
        }
    tls_certs_unref(certs);
}

static void test_no_default_shows_first(void **state)
{
    (void)state;
    static const struct use u[] = { { RSA_WILD, { "*.example.com" } }, { EC_WWW, { "www.example.com" } } };
    struct tls_certs *certs = generation(u, 2, &plain, NULL);
    static const char *const sni[] = { NULL, "nobody.example.org", "www.example.com" };
    static const int want[] = { RSA_WILD, RSA_WILD, EC_WWW };
    for (int i = 0; i < 3; i++) {
        struct conn k;
        conn_open(&k, certs, TLS1_3_VERSION, sni[i]);
        assert_int_equal(handshake(&k), 0);
        assert_served(&k, want[i]);
        conn_close(&k);
    }
    tls_certs_unref(certs);
}

static void test_key_type_by_signature_algorithms(void **state)
{
    (void)state;
    struct tls_certs *certs = usual(&plain, NULL);
    static const char *const algs[] = { "RSA-PSS+SHA256:RSA+SHA256", "ECDSA+SHA256" };
    static const int want[] = { RSA_DEF, EC_DEF };
    for (size_t v = 0; v < 2; v++)
        for (int i = 0; i < 2; i++) {
            struct conn k;
            conn_open(&k, certs, versions[v], "nobody.example.org");
            SSL_set1_sigalgs_list(k.c, algs[i]);
            assert_int_equal(handshake(&k), 0);
            assert_served(&k, want[i]);
            conn_close(&k);
        }
    tls_certs_unref(certs);
}

static void test_ed25519(void **state)
{
    (void)state;
    struct tls_certs *certs = only(ED, NULL);
    struct conn k;
    conn_open(&k, certs, TLS1_3_VERSION, NULL);
    assert_int_equal(handshake(&k), 0);
    assert_served(&k, ED);
    conn_close(&k);
    tls_certs_unref(certs);
}

/* ---- ALPN ---- */

static bool h2_for_www(void *arg, const char *sni)
{
    *(int *)arg += 1;
    return sni && !strcmp(sni, "www.example.com");
}

static void test_alpn(void **state)
{
    (void)state;
    static const struct {
        const char *sni, *offer, *want;
    } row[] = {
        { "www.example.com", "\2h2\10http/1.1", "h2" },
        { "www.example.com", "\10http/1.1\2h2", "h2" },
        { "www.example.com", "\10http/1.1", "http/1.1" },
        { "www.example.com", "\6spdy/1", "" }, /* never refused */
        { "www.example.com", NULL, "" },
        { "blog.example.com", "\2h2\10http/1.1", "http/1.1" },
        { "blog.example.com", "\2h2", "" },
        { NULL, "\2h2\10http/1.1", "http/1.1" },
        { "www.example.com", "\3h2c\11http/1.12", "" },
    };
    int asked = 0;
    struct tls_params p = plain;
    p.h2 = h2_for_www;
    p.arg = &asked;
    struct tls_certs *with = usual(&p, NULL), *without = usual(&plain, NULL);
    for (size_t v = 0; v < 4; v++)
        for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
            struct conn k;
            conn_open(&k, v < 2 ? with : without, versions[v & 1], row[i].sni);
            if (row[i].offer)
                SSL_set_alpn_protos(k.c, (const unsigned char *)row[i].offer, (unsigned)strlen(row[i].offer));
            assert_int_equal(handshake(&k), 0);
            const unsigned char *got;
            unsigned len;
            SSL_get0_alpn_selected(k.c, &got, &len);
            const char *want = row[i].want;
            if (v >= 2 && !strcmp(want, "h2"))
                want = strchr(row[i].offer, 'p') ? "http/1.1" : "";
            assert_int_equal(len, strlen(want));
            assert_true(!len || !memcmp(got, want, len));
            assert_int_equal(tls_stream_h2(k.s), !strcmp(want, "h2"));
            conn_close(&k);
        }
    assert_true(asked > 0);
    tls_certs_unref(with);
    tls_certs_unref(without);
}

/* ---- resumption: the hash is that of the full handshake ---- */

static SSL_SESSION *full(struct tls_certs *certs, int version, const char *sni, int want)
{
    struct conn k;
    conn_open(&k, certs, version, sni);
    assert_int_equal(handshake(&k), 0);
    assert_served(&k, want);
    say_hello(&k);
    assert_non_null(k.got);
    SSL_SESSION *got = k.got;
    k.got = NULL;
    SSL_shutdown(k.c); /* else OpenSSL marks the session as not fit for another use */
    conn_close(&k);
    return got;
}

/* Frees sess; returns the next ticket. */
static SSL_SESSION *again_at(struct tls_certs *certs, const struct tls_where *where, int version, const char *sni,
                             SSL_SESSION *sess, bool resumed, int want)
{
    struct conn k;
    conn_open_at(&k, certs, where, version, sni);
    assert_int_equal(SSL_set_session(k.c, sess), 1);
    SSL_SESSION_free(sess);
    assert_int_equal(handshake(&k), 0);
    assert_int_equal(tls_stream_resumed(k.s), resumed);
    assert_int_equal(SSL_session_reused(k.c), resumed);
    if (resumed)
        assert_leaf(k.s, want);
    else
        assert_served(&k, want);
    say_hello(&k);
    SSL_SESSION *got = k.got;
    if (!got) {
        got = SSL_get1_session(k.c); /* TLS 1.2 gives a new ticket only when it is due */
    }
    k.got = NULL;
    SSL_shutdown(k.c);
    conn_close(&k);
    return got;
}

static SSL_SESSION *again(struct tls_certs *certs, int version, const char *sni, SSL_SESSION *sess, bool resumed,
                          int want)
{
    return again_at(certs, &(struct tls_where){ 0 }, version, sni, sess, resumed, want);
}

static void test_resumption(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        struct tls_ticket_keys *keys = tls_ticket_keys_new();
        struct tls_certs *old = usual(&plain, keys);
        SSL_SESSION *s = full(old, versions[v], "www.example.com", EC_WWW);
        s = again(old, versions[v], "www.example.com", s, true, EC_WWW);

        /* A reload that keeps the certificate, and one that replaces it: the session was for the old one. */
        struct tls_certs *same = usual(&plain, keys), *new_ = only(EC_NEW, keys);
        tls_certs_unref(old);
        s = again(same, versions[v], "www.example.com", s, true, EC_WWW);
        s = again(new_, versions[v], "www.example.com", s, false, EC_NEW);
        s = again(new_, versions[v], "www.example.com", s, true, EC_NEW);
        tls_certs_unref(same);

        /* The ticket keys turn: the last ones still open it and the new ticket, which keeps the hash, goes on; */
        tls_ticket_keys_rotate(keys);
        s = again(new_, versions[v], NULL, s, true, EC_NEW);
        tls_ticket_keys_rotate(keys);
        s = again(new_, versions[v], NULL, s, true, EC_NEW);
        /* the ones before them do not. */
        tls_ticket_keys_rotate(keys);
        tls_ticket_keys_rotate(keys);
        s = again(new_, versions[v], NULL, s, false, EC_NEW);
        SSL_SESSION_free(s);
        tls_certs_unref(new_);
        tls_ticket_keys_free(keys);
    }
}

/* Renewed tickets do not make a session everlasting: the time of the full handshake counts. */
static void test_resumption_has_an_end(void **state)
{
    (void)state;
    int64_t life = tls_ticket_life_s;
    for (size_t v = 0; v < 2; v++) {
        struct tls_ticket_keys *keys = tls_ticket_keys_new();
        struct tls_certs *certs = usual(&plain, keys);
        SSL_SESSION *s = full(certs, versions[v], "www.example.com", EC_WWW);
        s = again(certs, versions[v], "www.example.com", s, true, EC_WWW);
        tls_ticket_life_s = 0;
        s = again(certs, versions[v], "www.example.com", s, false, EC_WWW);
        tls_ticket_life_s = life;
        s = again(certs, versions[v], "www.example.com", s, true, EC_WWW);
        SSL_SESSION_free(s);
        tls_certs_unref(certs);
        tls_ticket_keys_free(keys);
    }
}

/* RSA and ECDSA on one context: after a resumption OpenSSL names one of them, whichever was shown. */
static void test_resumption_two_key_types(void **state)
{
    (void)state;
    struct tls_ticket_keys *keys = tls_ticket_keys_new();
    struct tls_certs *certs = usual(&plain, keys);
    static const char *const algs[] = { "RSA-PSS+SHA256:RSA+SHA256", "ECDSA+SHA256" };
    static const int want[] = { RSA_DEF, EC_DEF };
    for (size_t v = 0; v < 2; v++)
        for (int i = 0; i < 2; i++) {
            struct conn k;
            conn_open(&k, certs, versions[v], NULL);
            SSL_set1_sigalgs_list(k.c, algs[i]);
            assert_int_equal(handshake(&k), 0);
            assert_served(&k, want[i]);
            say_hello(&k);
            SSL_SESSION *s = k.got;
            k.got = NULL;
            SSL_shutdown(k.c);
            conn_close(&k);
            s = again(certs, versions[v], NULL, s, true, want[i]);
            SSL_SESSION_free(s);
        }
    tls_certs_unref(certs);
    tls_ticket_keys_free(keys);
}

/* Address and name of now decide whether the certificate of then is still shown, not those of then. */
static void test_resumption_elsewhere(void **state)
{
    (void)state;
    static const struct use u[] = { { EC_DEF, { "default", "same.example.com" } },
                                    { EC_WWW, { "192.0.2.1:443" } },
                                    { EC_NEW, { "www.example.com" } },
                                    { RSA_DEF, { "pair.example.com" } },
                                    { EC_DEF, { "pair.example.com" } } };
    const struct tls_where nowhere = { 0 }, at = { .family = 4, .ip = { 192, 0, 2, 1 }, .port = 443 };
    for (size_t v = 0; v < 2; v++) {
        struct tls_ticket_keys *keys = tls_ticket_keys_new();
        struct tls_certs *certs = generation(u, 5, &plain, keys);
        SSL_SESSION *s = full(certs, versions[v], NULL, EC_DEF);
        s = again_at(certs, &nowhere, versions[v], NULL, s, true, EC_DEF);
        s = again_at(certs, &nowhere, versions[v], "same.example.com", s, true, EC_DEF);
        s = again_at(certs, &nowhere, versions[v], "pair.example.com", s, true, EC_DEF);
        s = again_at(certs, &at, versions[v], "same.example.com", s, false, EC_WWW);
        s = again_at(certs, &at, versions[v], NULL, s, true, EC_WWW);
        s = again_at(certs, &nowhere, versions[v], "www.example.com", s, false, EC_NEW);
        s = again_at(certs, &nowhere, versions[v], NULL, s, false, EC_DEF);
        SSL_SESSION_free(s);
        tls_certs_unref(certs);
        tls_ticket_keys_free(keys);
    }
}

/* Of a pair, one is replaced: sessions with it are over, those with the other go on. */
static void test_resumption_half_a_pair(void **state)
{
    (void)state;
    static const struct use before[] = { { RSA_DEF, { "default" } }, { EC_DEF, { "default" } } },
                            after[] = { { RSA_DEF, { "default" } }, { EC_NEW, { "default" } } };
    static const char *const algs[] = { "RSA-PSS+SHA256:RSA+SHA256", "ECDSA+SHA256" };
    for (size_t v = 0; v < 4; v++) {
        bool ec = v & 1;
        struct tls_ticket_keys *keys = tls_ticket_keys_new();
        struct tls_certs *old = generation(before, 2, &plain, keys), *new_ = generation(after, 2, &plain, keys);
        struct conn k;
        conn_open(&k, old, versions[v / 2], NULL);
        SSL_set1_sigalgs_list(k.c, algs[ec]);
        assert_int_equal(handshake(&k), 0);
        assert_served(&k, ec ? EC_DEF : RSA_DEF);
        say_hello(&k);
        SSL_SESSION *s = k.got;
        k.got = NULL;
        SSL_shutdown(k.c);
        conn_close(&k);
        SSL_SESSION_free(again(new_, versions[v / 2], NULL, s, !ec, ec ? EC_NEW : RSA_DEF));
        tls_certs_unref(old);
        tls_certs_unref(new_);
        tls_ticket_keys_free(keys);
    }
}

/* TLS 1.2 session identifiers: none are given out, and one that a client has from elsewhere resumes nothing. */
static void test_session_ids(void **state)
{
    (void)state;
    struct tls_ticket_keys *keys = tls_ticket_keys_new();
    struct tls_certs *certs = usual(&plain, keys), *new_ = only(EC_NEW, keys);
    unsigned len = 1;
    struct conn k;
    conn_open(&k, certs, TLS1_2_VERSION, NULL);
    SSL_set_options(k.c, SSL_OP_NO_TICKET);
    assert_int_equal(handshake(&k), 0);
    assert_served(&k, EC_DEF);
    SSL_SESSION *s = SSL_get1_session(k.c);
    SSL_SESSION_get_id(s, &len);
    assert_int_equal(len, 0);
    assert_false(SSL_SESSION_has_ticket(s));
    SSL_shutdown(k.c);
    conn_close(&k);

    static const uint8_t id[32] = "an identifier of another server";
    assert_int_equal(SSL_SESSION_set1_id(s, id, sizeof id), 1);
    assert_true(SSL_SESSION_is_resumable(s));
    conn_open(&k, new_, TLS1_2_VERSION, NULL);
    SSL_set_options(k.c, SSL_OP_NO_TICKET);
    assert_int_equal(SSL_set_session(k.c, s), 1);
    SSL_do_handshake(k.c);
    uint8_t hello[600];
    ssize_t n = recv(k.fd[0], hello, sizeof hello, MSG_PEEK);
    assert_true(n > 80 && memmem(hello, (size_t)n, id, sizeof id)); /* it was offered */
    assert_int_equal(handshake(&k), 0);
    assert_false(tls_stream_resumed(k.s));
    assert_served(&k, EC_NEW);
    say_hello(&k);
    SSL_SESSION_free(s);
    conn_close(&k);
    tls_certs_unref(certs);
    tls_certs_unref(new_);
    tls_ticket_keys_free(keys);
}

static void test_foreign_and_no_tickets(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        struct tls_ticket_keys *a = tls_ticket_keys_new(), *b = tls_ticket_keys_new();
        struct tls_certs *ca = only(EC_DEF, a), *cb = only(EC_NEW, b), *none = only(EC_WWW, NULL);
        SSL_SESSION *s = full(ca, versions[v], NULL, EC_DEF);
        s = again(cb, versions[v], NULL, s, false, EC_NEW);
        s = again(none, versions[v], NULL, s, false, EC_WWW);
        SSL_SESSION_free(s);
        tls_certs_unref(ca);
        tls_certs_unref(cb);
        tls_certs_unref(none);
        tls_ticket_keys_free(a);
        tls_ticket_keys_free(b);
    }
}

/* A ticket under our own key but without the hashes, as a server without this code would write it, is not taken. */
static int write_nothing(SSL *ssl, void *arg)
{
    (void)ssl, (void)arg;
    return 1;
}

static void test_ticket_without_hash(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        struct tls_ticket_keys *keys = tls_ticket_keys_new();
        struct tls_certs *bare = only(EC_DEF, keys), *good = only(EC_NEW, keys);
        SSL_CTX_set_session_ticket_cb(tls_certs_front(bare), write_nothing, NULL, NULL);
        SSL_SESSION *s = full(bare, versions[v], NULL, EC_DEF);
        s = again(good, versions[v], NULL, s, false, EC_NEW);
        s = again(good, versions[v], NULL, s, true, EC_NEW);
        SSL_SESSION_free(s);
        tls_certs_unref(bare);
        tls_certs_unref(good);
        tls_ticket_keys_free(keys);
    }
}

/* ---- generations that cannot be ---- */

static void refused(const struct use *u, size_t n, const struct tls_params *p, const char *words)
{
    struct tls_certs *out = NULL;
    char err[256] = "";
    assert_int_equal(try_generation(u, n, p, NULL, &out, err, sizeof err), ERR_USAGE);
    assert_null(out);
    if (!strstr(err, words))
        print_error("\"%s\" does not say \"%s\"\n", err, words);
    assert_non_null(strstr(err, words));
    assert_int_equal(ERR_peek_error(), 0);
}

static void test_bad_generation(void **state)
{
    (void)state;
    static const struct use one = { EC_DEF, { "default" } }, nothing = { EC_DEF, { NULL } };
    refused(&one, 0, &plain, "no certificate");
    struct tls_params p = plain;
    p.ciphers = "NO-SUCH-CIPHER";
    refused(&one, 1, &p, "TLS 1.2 ciphers");
    p = plain;
    p.ciphersuites = "TLS_NO_SUCH";
    refused(&one, 1, &p, "TLS 1.3 cipher suites");
    static const char *const rule[] = { "default", "a.example", "*.a.example", "192.0.2.1:443", "[::]:443" };
    for (size_t i = 0; i < sizeof rule / sizeof *rule; i++) {
        const struct use twice[] = { { EC_DEF, { rule[i] } }, { RSA_DEF, { rule[i] } }, { EC_NEW, { rule[i] } } };
        refused(twice, 3, &plain, rule[i]);
        refused(twice, 3, &plain, "same type of key");
    }
    refused(&nothing, 1, &plain, "for nothing");

    /* The same rule written twice for one certificate is fine. */
    static const struct use good_use = { EC_DEF, { "a.example", "A.example", "default" } };
    struct tls_certs *good = generation(&good_use, 1, &plain, NULL);
    tls_certs_unref(tls_certs_ref(good));
    tls_certs_unref(good);
    tls_certs_unref(NULL);
}

static void test_min_version(void **state)
{
    (void)state;
    struct tls_params p = { .min_version = 0x0304 };
    struct tls_certs *certs = generation(&(struct use){ EC_DEF, { "default" } }, 1, &p, NULL);
    struct conn k;
    conn_open(&k, certs, TLS1_2_VERSION, NULL);
    assert_int_equal(handshake(&k), ERR_PEER);
    assert_string_equal(tls_stream_error(k.s), "unsupported protocol");
    assert_int_equal(tls_stream_handshake(k.s), ERR_PEER); /* and stays so */
    conn_close(&k);
    tls_certs_unref(certs);
}

/* ---- strangers ---- */

static void stranger(const void *data, size_t n, bool eof, int want, const char *words)
{
    struct tls_certs *certs = only(EC_DEF, NULL);
    struct conn k;
    conn_open(&k, certs, TLS1_3_VERSION, NULL);
    assert_int_equal(write(k.fd[1], data, n), n);
    if (eof)
        shutdown(k.fd[1], SHUT_WR);
    assert_int_equal(tls_stream_handshake(k.s), want);
    if (words)
        assert_string_equal(tls_stream_error(k.s), words);
    assert_int_equal(ERR_peek_error(), 0);
    conn_close(&k);
    tls_certs_unref(certs);
}

static void test_strangers(void **state)
{
    (void)state;
    stranger("GET / HTTP/1.1\r\n\r\n", 18, false, ERR_PEER, "http request");
    stranger("CONNECT a:443 HTTP/1.1\r\n\r\n", 26, false, ERR_PEER, "https proxy request");
    stranger("SSH-2.0-OpenSSH_9.2\r\n", 21, false, ERR_PEER, "wrong version number");
    stranger("\x16\x03\x01", 3, true, ERR_CLOSED, NULL);
    stranger("", 0, true, ERR_CLOSED, NULL);
    stranger("\x16\x03\x01\x02", 4, false, ERR_AGAIN, NULL);
    stranger("\x16\x03\x01\x00\x04\x02\x00\x00\x00", 9, false, ERR_PEER, NULL);
}

static void test_handshake_gone(void **state)
{
    (void)state;
    struct tls_certs *certs = only(EC_DEF, NULL);
    struct conn k;
    conn_open(&k, certs, TLS1_3_VERSION, NULL);
    SSL_do_handshake(k.c);
    close(k.fd[1]);
    k.fd[1] = -1;
    int rc = tls_stream_handshake(k.s);
    if (rc == ERR_AGAIN)
        rc = tls_stream_handshake(k.s);
    assert_int_equal(rc, ERR_CLOSED);
    conn_close(&k);
    tls_certs_unref(certs);
}

/* ---- bytes ---- */

static struct conn open_ready(struct tls_certs *certs, int version)
{
    struct conn k;
    conn_open(&k, certs, version, NULL);
    SSL_set_app_data(k.c, &k);
    assert_int_equal(handshake(&k), 0);
    say_hello(&k);
    SSL_SESSION_free(k.got);
    k.got = NULL;
    SSL_CTX_sess_set_new_cb(k.ctx, NULL);
    return k;
}

static uint32_t seed = 1;
static uint32_t rnd(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

/* A small socket buffer: every write is cut somewhere, and is repeated from another address. */
static void test_write_partial(void **state)
{
    (void)state;
    enum { TOTAL = 1 << 20 };
    uint8_t *data = malloc(TOTAL), *got = malloc(TOTAL);
    for (size_t i = 0; i < TOTAL; i++)
        data[i] = (uint8_t)rnd(256);
    struct tls_certs *certs = only(EC_DEF, NULL);
    for (size_t v = 0; v < 2; v++) {
        struct conn k = open_ready(certs, versions[v]);
        int small = 4096;
        setsockopt(k.fd[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
        size_t sent = 0, rcvd = 0, again_n = 0, more = 0, must = 0;
        while (rcvd < TOTAL) {
            size_t len = 1 + rnd(rnd(2) ? 100 : 100000), n = 0;
            len = len < must ? must : len;
            if (len > TOTAL - sent)
                len = TOTAL - sent;
            if (len) {
                uint8_t *copy = malloc(len);
                memcpy(copy, data + sent, len);
                int rc = tls_stream_write(k.s, copy, len, &n);
                free(copy);
                if (rc == ERR_AGAIN) {
                    assert_int_equal(tls_stream_wants(k.s), NET_WRITE);
                    must = len;
                    again_n++;
                } else {
                    assert_int_equal(rc, 0);
                    assert_true(n > 0 && n <= len && n <= 4 * TLS_RECORD_MAX);
                    more += n > TLS_RECORD_MAX;
                    sent += n;
                    must = 0;
                }
            }
            int r = SSL_read(k.c, got + rcvd,
                             (int)(1 + rnd(20000)) < (int)(TOTAL - rcvd) ? (int)(1 + rnd(8000)) : (int)(TOTAL - rcvd));
            if (r > 0)
                rcvd += (size_t)r;
            assert_true(r > 0 || SSL_get_error(k.c, r) == SSL_ERROR_WANT_READ);
        }
        assert_true(again_n > 0 && more > 0);
        assert_memory_equal(data, got, TOTAL);
        conn_close(&k);
    }
    tls_certs_unref(certs);
    free(data);
    free(got);
}

/* What is encrypted and waits for the socket goes before close_notify, though nobody repeats the write. */
static void test_shutdown_behind_write(void **state)
{
    (void)state;
    enum { TOTAL = 1 << 20 };
    uint8_t *data = malloc(TOTAL), *got = malloc(TOTAL);
    for (size_t i = 0; i < TOTAL; i++)
        data[i] = (uint8_t)rnd(256);
    struct tls_certs *certs = only(EC_DEF, NULL);
    for (size_t v = 0; v < 2; v++) {
        struct conn k = open_ready(certs, versions[v]);
        int small = 4096, rc, r;
        setsockopt(k.fd[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
        size_t sent = 0, rcvd = 0, n;
        while ((rc = tls_stream_write(k.s, data + sent, TOTAL - sent, &n)) == 0)
            sent += n;
        assert_int_equal(rc, ERR_AGAIN);
        assert_int_equal(tls_stream_shutdown(k.s), ERR_AGAIN);
        assert_int_equal(tls_stream_wants(k.s), NET_WRITE);
        bool over = false;
        while ((r = SSL_read(k.c, got + rcvd, (int)(TOTAL - rcvd))) > 0 || !over) {
            rcvd += r > 0 ? (size_t)r : 0;
            rc = over ? 0 : tls_stream_shutdown(k.s);
            over = over || rc == 0;
            assert_true(rc == 0 || rc == ERR_AGAIN);
        }
        assert_int_equal(SSL_get_error(k.c, r), SSL_ERROR_ZERO_RETURN);
        assert_true(rcvd > sent && rcvd < TOTAL); /* and what the last write took in without saying so */
        assert_memory_equal(data, got, rcvd);
        conn_close(&k);
    }
    tls_certs_unref(certs);
    free(data);
    free(got);
}

/* Reads happen only when the socket says so or tls_stream_pending() does: nothing may be left lying inside. */
static void test_pending(void **state)
{
    (void)state;
    struct tls_certs *certs = only(EC_DEF, NULL);
    uint8_t out[3000], in[1000];
    for (size_t i = 0; i < sizeof out; i++)
        out[i] = (uint8_t)i;
    for (size_t v = 0; v < 2; v++) {
        struct conn k = open_ready(certs, versions[v]);
        size_t n, got = 0;
        assert_false(tls_stream_pending(k.s));
        for (int i = 0; i < 10; i++) /* ten records, one read of the socket */
            assert_int_equal(SSL_write(k.c, out, sizeof out), sizeof out);
        assert_int_equal(tls_stream_read(k.s, in, sizeof in, &n), 0);
        got += n;
        char c;
        assert_int_equal(recv(k.fd[0], &c, 1, MSG_PEEK | MSG_DONTWAIT), -1); /* the socket is empty, yet: */
        while (tls_stream_pending(k.s)) {
            assert_int_equal(tls_stream_read(k.s, in, sizeof in, &n), 0);
            assert_memory_equal(in, out + got % sizeof out, n);
            got += n;
        }
        assert_int_equal(got, 10 * sizeof out);
        assert_int_equal(tls_stream_read(k.s, in, sizeof in, &n), ERR_AGAIN);
        assert_int_equal(tls_stream_wants(k.s), NET_READ);
        conn_close(&k);
    }
    tls_certs_unref(certs);
}

/* The beginning of a record is not pending: its rest comes from the socket. */
static void test_pending_not_for_a_piece(void **state)
{
    (void)state;
    struct tls_certs *certs = only(EC_DEF, NULL);
    struct conn k = open_ready(certs, TLS1_3_VERSION);
    int side[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, side), 0);
    BIO *aside = BIO_new_socket(side[0], BIO_NOCLOSE);
    SSL_set0_wbio(k.c, aside);
    assert_int_equal(SSL_write(k.c, "hello", 5), 5);
    char rec[200], in[200];
    ssize_t len = read(side[1], rec, sizeof rec);
    assert_true(len > 10);
    size_t n;
    assert_int_equal(write(k.fd[1], rec, 8), 8);
    assert_int_equal(tls_stream_read(k.s, in, sizeof in, &n), ERR_AGAIN);
    assert_false(tls_stream_pending(k.s));
    assert_int_equal(write(k.fd[1], rec + 8, (size_t)len - 8), len - 8);
    assert_int_equal(tls_stream_read(k.s, in, sizeof in, &n), 0);
    assert_int_equal(n, 5);
    close(side[0]);
    close(side[1]);
    conn_close(&k);
    tls_certs_unref(certs);
}

static void test_close(void **state)
{
    (void)state;
    struct tls_certs *certs = only(EC_DEF, NULL);
    char buf[16];
    size_t n;
    for (size_t v = 0; v < 2; v++) {
        /* close_notify from the client; we can still write, then close too */
        struct conn k = open_ready(certs, versions[v]);
        SSL_shutdown(k.c);
        assert_int_equal(tls_stream_read(k.s, buf, sizeof buf, &n), ERR_CLOSED);
        assert_int_equal(tls_stream_read(k.s, buf, sizeof buf, &n), ERR_CLOSED);
        assert_int_equal(tls_stream_write(k.s, "bye", 3, &n), 0);
        assert_int_equal(tls_stream_shutdown(k.s), 0);
        assert_int_equal(SSL_read(k.c, buf, sizeof buf), 3);
        assert_int_equal(SSL_read(k.c, buf, sizeof buf), 0);
        assert_int_equal(SSL_get_error(k.c, 0), SSL_ERROR_ZERO_RETURN);
        conn_close(&k);

        /* ours first: the client may go on */
        k = open_ready(certs, versions[v]);
        assert_int_equal(tls_stream_shutdown(k.s), 0);
        assert_int_equal(SSL_write(k.c, "more", 4), 4);
        assert_int_equal(tls_stream_read(k.s, buf, sizeof buf, &n), 0);
        assert_int_equal(n, 4);
        conn_close(&k);

        /* end of file without close_notify counts as one */
        k = open_ready(certs, versions[v]);
        shutdown(k.fd[1], SHUT_WR);
        assert_int_equal(tls_stream_read(k.s, buf, sizeof buf, &n), ERR_CLOSED);
        conn_close(&k);

        /* gone altogether */
        k = open_ready(certs, versions[v]);
        close(k.fd[1]);
        k.fd[1] = -1;
        assert_int_equal(tls_stream_write(k.s, "x", 1, &n), ERR_PEER);
        assert_string_equal(tls_stream_error(k.s), "Broken pipe");
        conn_close(&k);

        /* a broken record */
        k = open_ready(certs, versions[v]);
        assert_int_equal(write(k.fd[1], "\x17\x03\x03\x00\x20zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", 37), 37);
        assert_int_equal(tls_stream_read(k.s, buf, sizeof buf, &n), ERR_PEER);
        assert_string_equal(tls_stream_error(k.s), "decryption failed or bad record mac");
        assert_false(tls_stream_pending(k.s));
        assert_int_equal(tls_stream_write(k.s, "x", 1, &n), ERR_PEER);
        conn_close(&k);
    }
    tls_certs_unref(certs);
}

/* ---- without TLS ---- */

static void test_plain(void **state)
{
    (void)state;
    static uint8_t big[1 << 20];
    static const uint8_t zero[52];
    uint8_t sha1[20], sha256[32];
    char buf[64];
    size_t n = 0;
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd), 0);
    struct tls_stream *s = tls_stream_new_plain(fd[0], "vpn.example.com");
    assert_true(tls_stream_is_plain(s));
    assert_int_equal(tls_stream_handshake(s), 0);
    assert_string_equal(tls_stream_sni(s), "vpn.example.com");
    assert_string_equal(tls_stream_version(s), "none");
    assert_string_equal(tls_stream_cipher(s), "none");
    assert_false(tls_stream_h2(s) || tls_stream_resumed(s) || tls_stream_pending(s));
    tls_stream_leaf_hashes(s, sha1, sha256);
    assert_memory_equal(sha1, zero, 20);
    assert_memory_equal(sha256, zero, 32);
    assert_string_equal(tls_stream_error(s), "");

    assert_int_equal(tls_stream_read(s, buf, sizeof buf, &n), ERR_AGAIN);
    assert_int_equal(tls_stream_wants(s), NET_READ);
    assert_int_equal(write(fd[1], "\x16hello", 6), 6); /* bytes as they are */
    assert_int_equal(tls_stream_read(s, buf, 4, &n), 0);
    assert_int_equal(n, 4);
    assert_false(tls_stream_pending(s)); /* the rest is in the socket, which says so */
    assert_int_equal(tls_stream_read(s, buf + 4, sizeof buf - 4, &n), 0);
    assert_int_equal(n, 2);
    assert_memory_equal(buf, "\x16hello", 6);

    size_t sent = 0;
    int rc;
    while (!(rc = tls_stream_write(s, big, sizeof big, &n))) {
        assert_true(n > 0);
        sent += n;
    }
    assert_int_equal(rc, ERR_AGAIN);
    assert_int_equal(tls_stream_wants(s), NET_WRITE);
    ssize_t got;
    while ((got = read(fd[1], big, sizeof big)) > 0)
        sent -= (size_t)got;
    assert_int_equal(sent, 0);

    assert_int_equal(tls_stream_shutdown(s), 0); /* the other side sees the end, and may go on */
    assert_int_equal(read(fd[1], buf, sizeof buf), 0);
    assert_int_equal(write(fd[1], "more", 4), 4);
    assert_int_equal(tls_stream_read(s, buf, sizeof buf, &n), 0);
    assert_int_equal(tls_stream_write(s, "x", 1, &n), ERR_PEER);
    assert_string_equal(tls_stream_error(s), "Broken pipe");
    assert_int_equal(tls_stream_read(s, buf, sizeof buf, &n), ERR_PEER);
    tls_stream_free(s);
    close(fd[0]);
    close(fd[1]);
}

static void test_plain_end(void **state)
{
    (void)state;
    char buf[16];
    size_t n;
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd), 0);
    struct tls_stream *s = tls_stream_new_plain(fd[0], NULL);
    assert_null(tls_stream_sni(s));
    close(fd[1]);
    assert_int_equal(tls_stream_read(s, buf, sizeof buf, &n), ERR_CLOSED);
    assert_int_equal(tls_stream_read(s, buf, sizeof buf, &n), ERR_CLOSED);
    tls_stream_free(s);
    close(fd[0]);

    struct tls_certs *certs = only(EC_DEF, NULL);
    struct conn k = open_ready(certs, TLS1_3_VERSION);
    assert_false(tls_stream_is_plain(k.s));
    conn_close(&k);
    tls_certs_unref(certs);
}

static void test_stream_outlives_generation(void **state)
{
    (void)state;
    struct tls_certs *certs = only(EC_DEF, NULL);
    struct conn k;
    conn_open(&k, certs, TLS1_3_VERSION, "a.example");
    tls_certs_unref(certs);
    assert_int_equal(handshake(&k), 0);
    assert_served(&k, EC_DEF);
    say_hello(&k);
    assert_non_null(strstr(tls_stream_cipher(k.s), "TLS_AES"));
    conn_close(&k);
    tls_stream_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_selection),
        cmocka_unit_test(test_no_default_shows_first),
        cmocka_unit_test(test_key_type_by_signature_algorithms),
        cmocka_unit_test(test_ed25519),
        cmocka_unit_test(test_alpn),
        cmocka_unit_test(test_resumption),
        cmocka_unit_test(test_resumption_has_an_end),
        cmocka_unit_test(test_resumption_two_key_types),
        cmocka_unit_test(test_resumption_elsewhere),
        cmocka_unit_test(test_resumption_half_a_pair),
        cmocka_unit_test(test_session_ids),
        cmocka_unit_test(test_foreign_and_no_tickets),
        cmocka_unit_test(test_ticket_without_hash),
        cmocka_unit_test(test_bad_generation),
        cmocka_unit_test(test_min_version),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_handshake_gone),
        cmocka_unit_test(test_write_partial),
        cmocka_unit_test(test_shutdown_behind_write),
        cmocka_unit_test(test_pending),
        cmocka_unit_test(test_pending_not_for_a_piece),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_plain_end),
        cmocka_unit_test(test_stream_outlives_generation),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
