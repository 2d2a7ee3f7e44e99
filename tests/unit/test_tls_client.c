/* The client of TLS against OpenSSL's servers: what is accepted, and each reason to refuse. The PKI is made on the
 * spot. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls/client.h"
#include "tlstest.h"

#pragma GCC diagnostic ignored "-Wcast-qual" /* in OpenSSL's own macros */

#define HOST     "vpn.example.com"
#define HOST_SAN "DNS:" HOST
#define DAY      86400

static EVP_PKEY *root_key, *ca_key, *leaf_key, *other_key;
static struct test_cert root, ca, other_root, good;
static time_t start_s;

struct bytes {
    uint8_t *p;
    size_t len;
};

struct dialled {                     /* one connection to be made */
    const struct test_cert *leaf;    /* NULL: an anonymous server */
    const struct test_cert *sent[3]; /* beside the leaf */
    const char *host;                /* NULL: HOST */
    bool no_sni;
    int version; /* the server's only one; 0: TLS 1.3 */
    const char *server_ciphers, *server_alpn;
    struct tls_client_cfg cfg; /* without authorities: root; see no_ca */
    bool no_ca;
    struct bytes crl[3], staple;
};

struct duo {
    const struct dialled *how;
    SSL_CTX *ctx;
    SSL *srv;
    struct tls_client *client;
    struct tls_stream *s;
    int fd[2]; /* server, client */
    int alert; /* what the server was told; -1: nothing */
    bool asked_staple, saw_sni;
};

static void pki_make(struct test_cert *out, EVP_PKEY *key, const char *cn, const struct test_cert *issuer)
{
    *out = test_cert_issue(&(struct test_spec){ .key = key, .cn = cn, .issuer = issuer, .ca = true });
}

static struct test_cert leaf_of(const struct test_cert *issuer, const char *cn, const char *san, const char *eku)
{
    return test_cert_issue(&(struct test_spec){ .key = leaf_key, .cn = cn, .issuer = issuer, .san = san, .eku = eku });
}

static int group_setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    start_s = time(NULL);
    EVP_PKEY **keys[] = { &root_key, &ca_key, &leaf_key, &other_key };
    for (size_t i = 0; i < 4; i++)
        if (!(*keys[i] = EVP_EC_gen("P-256")))
            return -1;
    pki_make(&root, root_key, "root", NULL);
    pki_make(&ca, ca_key, "ca", &root);
    pki_make(&other_root, other_key, "other root", NULL);
    good = leaf_of(&ca, "leaf", HOST_SAN, "serverAuth");
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    test_cert_free(&good);
    test_cert_free(&other_root);
    test_cert_free(&ca);
    test_cert_free(&root);
    EVP_PKEY_free(root_key);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(leaf_key);
    EVP_PKEY_free(other_key);
    return 0;
}

/* ---- both ends ---- */

static void alert_cb(const SSL *ssl, int where, int value)
{
    struct duo *d = SSL_get_app_data(ssl);
    if (where == SSL_CB_READ_ALERT && value >> 8 == SSL3_AL_FATAL)
        d->alert = value & 0xff;
}

static int staple_cb(SSL *ssl, void *arg)
{
    struct duo *d = SSL_get_app_data(ssl);
    const struct bytes *b = &d->how->staple;
    (void)arg;
    d->asked_staple = true;
    if (!b->p)
        return SSL_TLSEXT_ERR_NOACK;
    SSL_set_tlsext_status_ocsp_resp(ssl, OPENSSL_memdup(b->p, b->len), (long)b->len);
    return SSL_TLSEXT_ERR_OK;
}

static int alpn_cb(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned len,
                   void *arg)
{
    const char *mine = ((struct duo *)SSL_get_app_data(ssl))->how->server_alpn;
    (void)arg;
    if (!mine || SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len, (const unsigned char *)mine,
                                       (unsigned)strlen(mine), in, len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    return SSL_TLSEXT_ERR_OK;
}

static void server_open(struct duo *d)
{
    const struct dialled *how = d->how;
    int version = how->version ? how->version : TLS1_3_VERSION;
    d->ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_security_level(d->ctx, 0);
    SSL_CTX_set_max_cert_list(d->ctx, 1 << 20);
    assert_int_equal(SSL_CTX_set_min_proto_version(d->ctx, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(d->ctx, version), 1);
    SSL_CTX_set_dh_auto(d->ctx, 1);
    if (how->server_ciphers)
        assert_int_equal(SSL_CTX_set_cipher_list(d->ctx, how->server_ciphers), 1);
    if (how->leaf) {
        assert_int_equal(SSL_CTX_use_certificate(d->ctx, how->leaf->x), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(d->ctx, how->leaf->key), 1);
    }
    for (size_t i = 0; i < 3 && how->sent[i]; i++)
        assert_int_equal(SSL_CTX_add1_chain_cert(d->ctx, how->sent[i]->x), 1);
    SSL_CTX_set_mode(d->ctx, SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_info_callback(d->ctx, alert_cb);
    SSL_CTX_set_tlsext_status_cb(d->ctx, staple_cb);
    SSL_CTX_set_alpn_select_cb(d->ctx, alpn_cb, NULL);
}

static void duo_open(struct duo *d, const struct dialled *how)
{
    char err[300] = "";
    *d = (struct duo){ .how = how, .alert = -1 };
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, d->fd), 0);
    server_open(d);
    d->srv = SSL_new(d->ctx);
    SSL_set_app_data(d->srv, d);
    SSL_set_fd(d->srv, d->fd[0]);
    SSL_set_accept_state(d->srv);
    struct tls_client_cfg cfg = how->cfg;
    if (!how->no_ca && !cfg.ca_pem) {
        cfg.ca_pem = root.chain_pem;
        cfg.ca_len = strlen(root.chain_pem);
    }
    assert_int_equal(tls_client_new(&cfg, &d->client, err, sizeof err), 0);
    for (size_t i = 0; i < 3 && how->crl[i].p; i++)
        assert_int_equal(tls_client_add_crl(d->client, how->crl[i].p, how->crl[i].len, err, sizeof err), 0);
    d->s = tls_stream_new_client(d->client, d->fd[1], how->host ? how->host : HOST, !how->no_sni);
    assert_non_null(d->s);
}

static void duo_close(struct duo *d)
{
    SSL_free(d->srv);
    SSL_CTX_free(d->ctx);
    tls_stream_free(d->s);
    tls_client_free(d->client);
    close(d->fd[0]);
    close(d->fd[1]);
    ERR_clear_error();
}

/* Both in turn, until neither has more to say; the client's result. */
static int duo_handshake(struct duo *d)
{
    int rc = ERR_AGAIN;
    for (int i = 0; i < 20; i++) {
        if (rc == ERR_AGAIN)
            rc = tls_stream_handshake(d->s);
        int done = SSL_do_handshake(d->srv);
        d->saw_sni = d->saw_sni || SSL_get_servername(d->srv, TLSEXT_NAMETYPE_host_name);
        ERR_clear_error();
        if (rc != ERR_AGAIN && (rc || done == 1))
            break;
    }
    if (rc)
        assert_int_equal(SSL_is_init_finished(d->srv), 0);
    return rc;
}

static struct tls_verdict verdict_of(const struct duo *d)
{
    struct tls_verdict v;
    memset(&v, 0xa5, sizeof v);
    tls_stream_verdict(d->s, &v);
    assert_non_null(memchr(v.text, 0, sizeof v.text));
    for (const char *c = v.text; *c; c++)
        assert_true(*c >= ' ' && *c < 0x7f);
    return v;
}

static void talk(struct duo *d)
{
    char c = 0;
    size_t n = 0;
    assert_int_equal(tls_stream_write(d->s, "c", 1, &n), 0);
    assert_int_equal(SSL_read(d->srv, &c, 1), 1);
    assert_int_equal(SSL_write(d->srv, "s", 1), 1);
    assert_int_equal(tls_stream_read(d->s, &c, 1, &n), 0);
    assert_int_equal(c, 's');
    ERR_clear_error();
}

static struct tls_verdict accepted(const struct dialled *how)
{
    struct duo d;
    duo_open(&d, how);
    int rc = duo_handshake(&d);
    struct tls_verdict v = verdict_of(&d);
    if (rc)
        fail_msg("%d: %s / %s", rc, tls_stream_error(d.s), v.text);
    uint8_t sha1[20], sha256[32];
    tls_stream_leaf_hashes(d.s, sha1, sha256);
    if (how->leaf) {
        assert_memory_equal(sha1, how->leaf->sha1, 20);
        assert_memory_equal(sha256, how->leaf->sha256, 32);
    }
    assert_true(d.asked_staple || !how->leaf);
    assert_false(tls_stream_resumed(d.s));
    talk(&d);
    duo_close(&d);
    return v;
}

static struct tls_verdict trusted(const struct dialled *how)
{
    struct tls_verdict v = accepted(how);
    if (v.fault != TLS_FAULT_NONE)
        fail_msg("%s: %s", tls_fault_name(v.fault), v.text);
    return v;
}

static void same_verdict(const struct tls_verdict *a, const struct tls_verdict *b)
{
    assert_int_equal(a->fault, b->fault);
    assert_int_equal(a->depth, b->depth);
    assert_int_equal(a->chain_ok, b->chain_ok);
    assert_int_equal(a->name_ok, b->name_ok);
    assert_int_equal(a->usage_ok, b->usage_ok);
    assert_int_equal(a->dates_ok, b->dates_ok);
    assert_string_equal(a->text, b->text);
}

/* Refused with this fault and alert; in TLS 1.2 as in 1.3 if it was not said; and with "insecure" only remarked. */
static struct tls_verdict refused(const struct dialled *how, enum tls_fault fault, int alert)
{
    struct dialled again = *how;
    struct tls_verdict first = { 0 };
    const int versions[] = { TLS1_3_VERSION, TLS1_2_VERSION };
    for (size_t i = 0; i < 2; i++) {
        struct duo d;
        char buf[8];
        size_t n = 0;
        uint8_t sha1[20], sha256[32];
        again.version = how->version ? how->version : versions[i];
        duo_open(&d, &again);
        assert_int_equal(duo_handshake(&d), ERR_AUTH);
        struct tls_verdict v = verdict_of(&d);
        if (v.fault != fault)
            fail_msg("%s instead of %s: %s", tls_fault_name(v.fault), tls_fault_name(fault), v.text);
        assert_string_equal(tls_stream_error(d.s), v.text);
        assert_int_equal(d.alert, alert);
        assert_int_equal(tls_stream_read(d.s, buf, sizeof buf, &n), ERR_AUTH);
        assert_int_equal(tls_stream_write(d.s, "x", 1, &n), ERR_AUTH);
        assert_int_equal(tls_stream_handshake(d.s), ERR_AUTH);
        tls_stream_leaf_hashes(d.s, sha1, sha256);
        assert_memory_equal(sha256, how->leaf->sha256, 32);
        duo_close(&d);
        again.cfg.insecure = true;
        struct tls_verdict told = accepted(&again);
        same_verdict(&told, &v);
        again.cfg.insecure = false;
        if (i)
            same_verdict(&v, &first);
        first = v;
    }
    return first;
}

/* ---- revocation lists and responses ---- */

static struct bytes crl_make(const struct test_cert *issuer, EVP_PKEY *key, int from_s, int to_s,
                             const struct test_cert *revoked, bool der)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *from = ASN1_TIME_adj(NULL, start_s, 0, from_s), *to = ASN1_TIME_adj(NULL, start_s, 0, to_s);
    X509_CRL_set_version(crl, 1);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer->x));
    X509_CRL_set1_lastUpdate(crl, from);
    X509_CRL_set1_nextUpdate(crl, to);
    if (revoked) {
        X509_REVOKED *r = X509_REVOKED_new();
        X509_REVOKED_set_serialNumber(r, X509_get_serialNumber(revoked->x));
        X509_REVOKED_set_revocationDate(r, from);
        X509_CRL_add0_revoked(crl, r);
    }
    X509_CRL_sort(crl);
    assert_true(X509_CRL_sign(crl, key, EVP_sha256()) > 0);
    struct bytes out = { 0 };
    if (der) {
        out.len = (size_t)i2d_X509_CRL(crl, &out.p);
    } else {
        BIO *b = BIO_new(BIO_s_mem());
        PEM_write_bio_X509_CRL(b, crl);
        char *text;
        out.len = (size_t)BIO_get_mem_data(b, &text);
        out.p = OPENSSL_memdup(text, out.len);
        BIO_free(b);
    }
    ASN1_TIME_free(from);
    ASN1_TIME_free(to);
    X509_CRL_free(crl);
    return out;
}

static struct bytes staple_make(const struct test_cert *about, int status, int from_s, int to_s, EVP_PKEY *key,
                                const struct test_cert *signer)
{
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), about->x, ca.x);
    ASN1_TIME *from = ASN1_TIME_adj(NULL, start_s, 0, from_s), *to = ASN1_TIME_adj(NULL, start_s, 0, to_s);
    ASN1_TIME_to_generalizedtime(from, &from);
    ASN1_TIME_to_generalizedtime(to, &to);
    OCSP_basic_add1_status(basic, id, status, 0, status == V_OCSP_CERTSTATUS_REVOKED ? from : NULL, from, to);
    assert_int_equal(OCSP_basic_sign(basic, signer->x, key, EVP_sha256(), NULL, 0), 1);
    OCSP_RESPONSE *resp = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
    struct bytes b = { 0 };
    b.len = (size_t)i2d_OCSP_RESPONSE(resp, &b.p);
    ASN1_TIME_free(from);
    ASN1_TIME_free(to);
    OCSP_CERTID_free(id);
    OCSP_RESPONSE_free(resp);
    OCSP_BASICRESP_free(basic);
    return b;
}

/* ---- accepted ---- */

static void test_good(void **state)
{
    (void)state;
    const int versions[] = { TLS1_3_VERSION, TLS1_2_VERSION };
    for (size_t i = 0; i < 2; i++) {
        struct tls_verdict v = trusted(&(struct dialled){ .leaf = &good, .sent = { &ca }, .version = versions[i] });
        assert_true(v.chain_ok && v.name_ok && v.usage_ok && v.dates_ok && !v.pinned && !v.stapled);
        assert_int_equal(v.ocsp, TLS_OCSP_NONE);
    }
    struct dialled how = { .leaf = &good, .sent = { &ca }, .no_ca = true };
    how.cfg.system_pem = root.chain_pem;
    how.cfg.system_len = strlen(root.chain_pem);
    trusted(&how);
}

static void test_ca_given_is_all(void **state)
{
    (void)state;
    struct dialled how = { .leaf = &good, .sent = { &ca } };
    how.cfg.system_pem = root.chain_pem;
    how.cfg.system_len = strlen(root.chain_pem);
    how.cfg.ca_pem = other_root.chain_pem;
    how.cfg.ca_len = strlen(other_root.chain_pem);
    refused(&how, TLS_FAULT_UNKNOWN_CA, SSL_AD_UNKNOWN_CA);
}

static void test_trusted_intermediate(void **state)
{
    (void)state;
    struct dialled how = { .leaf = &good };
    how.cfg.ca_pem = ca.chain_pem;
    how.cfg.ca_len = strlen(ca.chain_pem);
    trusted(&how);
}

static void one_name(const char *cn, const char *san, const char *host, bool good_name)
{
    struct test_cert leaf = leaf_of(&ca, cn, san, NULL);
    struct dialled how = { .leaf = &leaf, .sent = { &ca }, .host = host };
    if (good_name)
        assert_true(trusted(&how).name_ok);
    else
        assert_false(refused(&how, TLS_FAULT_NAME, SSL_AD_BAD_CERTIFICATE).name_ok);
    test_cert_free(&leaf);
}

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *cn, *san, *host;
        bool good;
    } t[] = {
        { "x", "DNS:vpn.example.com", "vpn.example.com", true },
        { "x", "DNS:VPN.Example.COM", "vpn.example.com", true },
        { "x", "DNS:vpn.example.com", "vpn.example.com.", true },
        { "x", "DNS:mail.example.com,DNS:vpn.example.com", "vpn.example.com", true },
        { "x", "DNS:mail.example.com", "vpn.example.com", false },
        { "x", "DNS:*.example.com", "vpn.example.com", true },
        { "x", "DNS:*.example.com", "a.vpn.example.com", false },
        { "x", "DNS:*.example.com", "example.com", false },
        { "x", "DNS:v*.example.com", "vpn.example.com", false },
        { "x", "DNS:*", "localhost", false },
        { "x", "DNS:vpn.example.com", ".example.com", false },
        { "x", "DNS:vpn.example.com", "", false },
        { "x", "IP:192.0.2.1", "192.0.2.1", true },
        { "x", "IP:192.0.2.1", "192.0.2.2", false },
        { "x", "IP:2001:db8::1", "2001:DB8:0::1", true },
        { "x", "IP:2001:db8::1", "2001:db8::2", false },
        { "x", "IP:fe80::1", "fe80::1%eth0", true },
        { "x", "DNS:192.0.2.1", "192.0.2.1", false },
        { "vpn.example.com", NULL, "vpn.example.com", true },
        { "*.example.com", NULL, "vpn.example.com", true },
        { "192.0.2.1", NULL, "192.0.2.1", true },
        { "*.0.2.1", NULL, "192.0.2.1", false },
        { "vpn.example.com", "DNS:mail.example.com", "vpn.example.com", false },
        { "vpn.example.com", "IP:192.0.2.1", "vpn.example.com", false },
        { "192.0.2.1", "DNS:vpn.example.com", "192.0.2.1", false },
        { "vpn.example.com", "email:a@example.com", "vpn.example.com", true },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
        one_name(t[i].cn, t[i].san, t[i].host, t[i].good);
}

static void test_sni(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        bool no_sni, sent;
    } t[] = { { HOST, false, true },
              { HOST ".", false, true },
              { HOST, true, false },
              { "192.0.2.1", false, false },
              { "2001:db8::1", false, false } };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct duo d;
        struct dialled how = { .leaf = &good, .sent = { &ca }, .host = t[i].host, .no_sni = t[i].no_sni };
        how.cfg.insecure = true;
        duo_open(&d, &how);
        assert_int_equal(duo_handshake(&d), 0);
        assert_int_equal(d.saw_sni, t[i].sent);
        assert_int_equal(tls_stream_sni(d.s) != NULL, t[i].sent);
        if (t[i].sent)
            assert_string_equal(SSL_get_servername(d.srv, TLSEXT_NAMETYPE_host_name), HOST);
        duo_close(&d);
    }
}

static void test_usages(void **state)
{
    (void)state;
    static const struct {
        const char *eku;
        bool good;
    } t[] = { { NULL, true },
              { "serverAuth", true },
              { "anyExtendedKeyUsage", true },
              { "clientAuth,serverAuth", true },
              { "clientAuth", false },
              { "codeSigning,emailProtection", false } };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct test_cert leaf = leaf_of(&ca, "x", HOST_SAN, t[i].eku);
        struct dialled how = { .leaf = &leaf, .sent = { &ca } };
        struct tls_verdict v =
            t[i].good ? trusted(&how) : refused(&how, TLS_FAULT_USAGE, SSL_AD_UNSUPPORTED_CERTIFICATE);
        assert_int_equal(v.usage_ok, t[i].good);
        assert_true(v.chain_ok && v.name_ok && v.dates_ok);
        test_cert_free(&leaf);
    }
}

/* An authority that may make certificates of clients only. */
static void test_usage_of_authority(void **state)
{
    (void)state;
    struct test_cert by = test_cert_issue(
        &(struct test_spec){ .key = ca_key, .cn = "clients", .issuer = &root, .ca = true, .eku = "clientAuth" });
    struct test_cert leaf = leaf_of(&by, "x", HOST_SAN, "serverAuth");
    assert_int_equal(
        refused(&(struct dialled){ .leaf = &leaf, .sent = { &by } }, TLS_FAULT_USAGE, SSL_AD_UNSUPPORTED_CERTIFICATE)
            .depth,
        1);
    test_cert_free(&leaf);
    test_cert_free(&by);
}

/* ---- the chain ---- */

static void test_chain_faults(void **state)
{
    (void)state;
    struct tls_verdict v = refused(&(struct dialled){ .leaf = &good }, TLS_FAULT_UNKNOWN_CA, SSL_AD_UNKNOWN_CA);
    assert_string_equal(v.text, "its certificate leads to \"ca\", which is not trusted or which it should send along");
    assert_true(!v.chain_ok && v.name_ok && v.usage_ok && v.dates_ok);

    struct test_cert foreign = leaf_of(&other_root, "x", HOST_SAN, NULL);
    refused(&(struct dialled){ .leaf = &foreign, .sent = { &other_root } }, TLS_FAULT_UNKNOWN_CA, SSL_AD_UNKNOWN_CA);
    test_cert_free(&foreign);

    struct test_cert no_ca = leaf_of(&good, "x", HOST_SAN, NULL); /* a leaf plays authority */
    refused(&(struct dialled){ .leaf = &no_ca, .sent = { &good, &ca } }, TLS_FAULT_OTHER, SSL_AD_BAD_CERTIFICATE);
    test_cert_free(&no_ca);

    struct test_cert fake_ca, forged; /* the name of ours, another key */
    pki_make(&fake_ca, other_key, "ca", NULL);
    forged = leaf_of(&fake_ca, "x", HOST_SAN, NULL);
    refused(&(struct dialled){ .leaf = &forged, .sent = { &ca } }, TLS_FAULT_OTHER, SSL_AD_BAD_CERTIFICATE);
    test_cert_free(&forged);
    test_cert_free(&fake_ca);
    trusted(&(struct dialled){ .leaf = &good, .sent = { &other_root, &ca, &root } }); /* in no order */
}

static void test_nothing_trusted(void **state)
{
    (void)state;
    refused(&(struct dialled){ .leaf = &good, .sent = { &ca, &root }, .no_ca = true }, TLS_FAULT_UNKNOWN_CA,
            SSL_AD_UNKNOWN_CA);
}

static void test_self_signed(void **state)
{
    (void)state;
    struct test_cert self =
        test_cert_issue(&(struct test_spec){ .key = leaf_key, .cn = "self", .san = HOST_SAN, .eku = "serverAuth" });
    struct tls_verdict v = refused(&(struct dialled){ .leaf = &self }, TLS_FAULT_SELF_SIGNED, SSL_AD_UNKNOWN_CA);
    assert_string_equal(v.text, "its certificate, \"self\", is self-signed and not trusted");
    struct dialled how = { .leaf = &self };
    how.cfg.ca_pem = self.chain_pem;
    how.cfg.ca_len = strlen(self.chain_pem);
    assert_true(trusted(&how).chain_ok);
    how.crl[0] = crl_make(&root, root_key, -600, 600, NULL, false); /* is about others */
    trusted(&how);
    OPENSSL_free(how.crl[0].p);
    test_cert_free(&self);
}

static void dated(int from_s, int to_s, bool of_ca, int64_t now_s, enum tls_fault fault, int alert)
{
    struct test_spec spec = { .key = ca_key, .cn = "dated", .issuer = &root, .ca = true };
    struct test_spec leaf_spec = { .key = leaf_key, .cn = "x", .san = HOST_SAN };
    struct test_spec *about = of_ca ? &spec : &leaf_spec;
    about->from_s = from_s;
    about->to_s = to_s;
    struct test_cert by = test_cert_issue(&spec);
    leaf_spec.issuer = &by;
    struct test_cert leaf = test_cert_issue(&leaf_spec);
    struct dialled how = { .leaf = &leaf, .sent = { &by }, .cfg = { .now_s = now_s } };
    if (fault == TLS_FAULT_NONE) {
        trusted(&how);
    } else {
        struct tls_verdict v = refused(&how, fault, alert);
        assert_int_equal(v.depth, of_ca);
        assert_true(!v.chain_ok && !v.dates_ok && v.name_ok && v.usage_ok);
        assert_non_null(strstr(v.text, " UTC"));
    }
    test_cert_free(&leaf);
    test_cert_free(&by);
}

static void test_dates(void **state)
{
    (void)state;
    for (int of_ca = 0; of_ca < 2; of_ca++) {
        dated(-2 * DAY, -DAY, of_ca, 0, TLS_FAULT_EXPIRED, SSL_AD_CERTIFICATE_EXPIRED);
        dated(DAY, 2 * DAY, of_ca, 0, TLS_FAULT_NOT_YET, SSL_AD_BAD_CERTIFICATE);
        dated(-600, 600, of_ca, start_s + 900, TLS_FAULT_EXPIRED, SSL_AD_CERTIFICATE_EXPIRED);
        dated(-600, 600, of_ca, start_s - 900, TLS_FAULT_NOT_YET, SSL_AD_BAD_CERTIFICATE);
        dated(-600, 600, of_ca, start_s + 500, TLS_FAULT_NONE, 0);
    }
}

/* All that is wrong is told, the worst first. */
static void test_all_at_once(void **state)
{
    (void)state;
    struct test_cert bad = test_cert_issue(&(struct test_spec){ .key = leaf_key,
                                                                .cn = "bad",
                                                                .san = "DNS:other.example.com",
                                                                .eku = "clientAuth",
                                                                .from_s = -2 * DAY,
                                                                .to_s = -DAY });
    struct tls_verdict v = refused(&(struct dialled){ .leaf = &bad }, TLS_FAULT_SELF_SIGNED, SSL_AD_UNKNOWN_CA);
    assert_true(!v.chain_ok && !v.name_ok && !v.usage_ok && !v.dates_ok);
    test_cert_free(&bad);
}

static void test_weak_key(void **state)
{
    (void)state;
    EVP_PKEY *small = EVP_RSA_gen(1024);
    struct test_cert leaf =
        test_cert_issue(&(struct test_spec){ .key = small, .cn = "x", .issuer = &ca, .san = HOST_SAN });
    struct tls_verdict v =
        refused(&(struct dialled){ .leaf = &leaf, .sent = { &ca } }, TLS_FAULT_OTHER, SSL_AD_BAD_CERTIFICATE);
    assert_non_null(strstr(v.text, "key too weak"));
    test_cert_free(&leaf);
    EVP_PKEY_free(small);
}

/* ---- pins ---- */

static void test_pins(void **state)
{
    (void)state;
    struct test_cert self = test_cert_make(leaf_key, "no name of ours");
    struct dialled how = { .leaf = &self, .no_ca = true, .cfg = { .n_pins = 2 } };
    struct tls_verdict v = refused(&how, TLS_FAULT_PIN, SSL_AD_BAD_CERTIFICATE);
    assert_false(v.pinned);
    memcpy(how.cfg.pin[1], self.sha256, 32);
    v = trusted(&how);
    assert_true(v.pinned && !v.chain_ok && !v.name_ok);
    how.cfg.pin[1][31] ^= 1;
    refused(&how, TLS_FAULT_PIN, SSL_AD_BAD_CERTIFICATE);
    how.cfg.pin[1][31] ^= 1;
    how.cfg.now_s = start_s + 2 * DAY;
    refused(&how, TLS_FAULT_EXPIRED, SSL_AD_CERTIFICATE_EXPIRED);
    /* The system's authorities are not asked, and do not help. */
    how.cfg.now_s = 0;
    how.cfg.system_pem = root.chain_pem;
    how.cfg.system_len = strlen(root.chain_pem);
    trusted(&how);
    how.leaf = &good;
    how.sent[0] = &ca;
    refused(&how, TLS_FAULT_PIN, SSL_AD_BAD_CERTIFICATE);
    test_cert_free(&self);
}

static void test_pin_and_ca(void **state)
{
    (void)state;
    struct dialled how = { .leaf = &good, .sent = { &ca }, .cfg = { .n_pins = 1 } };
    memcpy(how.cfg.pin[0], good.sha256, 32);
    assert_true(trusted(&how).pinned);
    how.host = "mail.example.com";
    assert_true(refused(&how, TLS_FAULT_NAME, SSL_AD_BAD_CERTIFICATE).pinned);
    how.host = NULL;
    how.sent[0] = NULL;
    refused(&how, TLS_FAULT_UNKNOWN_CA, SSL_AD_UNKNOWN_CA);
    how.sent[0] = &ca;
    how.cfg.pin[0][0] ^= 1;
    refused(&how, TLS_FAULT_PIN, SSL_AD_BAD_CERTIFICATE);
}

/* ---- revocation ---- */

static void test_crls(void **state)
{
    (void)state;
    struct bytes clean = crl_make(&ca, ca_key, -600, 600, NULL, false),
                 der = crl_make(&ca, ca_key, -600, 600, NULL, true);
    struct bytes listed = crl_make(&ca, ca_key, -600, 600, &good, false);
    struct bytes listed_der = crl_make(&ca, ca_key, -600, 600, &good, true);
    struct bytes late = crl_make(&ca, ca_key, -600, -60, NULL, false),
                 early = crl_make(&ca, ca_key, 60, 600, NULL, false);
    struct bytes late_listed = crl_make(&ca, ca_key, -600, -60, &good, false);
    struct bytes forged = crl_make(&ca, other_key, -600, 600, NULL, false);
    struct bytes upper = crl_make(&root, root_key, -600, 600, NULL, false);
    struct bytes upper_listed = crl_make(&root, root_key, -600, 600, &ca, false);
    struct bytes upper_late = crl_make(&root, root_key, -600, -60, NULL, false);
    const struct {
        struct bytes crl[2];
        enum tls_fault fault;
        int depth, alert;
    } t[] = {
        { { clean }, TLS_FAULT_NONE, 0, 0 },
        { { der }, TLS_FAULT_NONE, 0, 0 },
        { { clean, upper }, TLS_FAULT_NONE, 0, 0 },
        { { listed }, TLS_FAULT_REVOKED, 0, SSL_AD_CERTIFICATE_REVOKED },
        { { listed_der, upper }, TLS_FAULT_REVOKED, 0, SSL_AD_CERTIFICATE_REVOKED },
        { { late_listed }, TLS_FAULT_REVOKED, 0, SSL_AD_CERTIFICATE_REVOKED },
        { { clean, upper_listed }, TLS_FAULT_REVOKED, 1, SSL_AD_CERTIFICATE_REVOKED },
        { { upper }, TLS_FAULT_CRL, 0, SSL_AD_UNKNOWN_CA },
        { { late }, TLS_FAULT_CRL, 0, SSL_AD_UNKNOWN_CA },
        { { early }, TLS_FAULT_CRL, 0, SSL_AD_UNKNOWN_CA },
        { { forged }, TLS_FAULT_CRL, 0, SSL_AD_UNKNOWN_CA },
        { { clean, upper_late }, TLS_FAULT_CRL, 1, SSL_AD_UNKNOWN_CA },
        { { late, clean }, TLS_FAULT_NONE, 0, 0 },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct dialled how = { .leaf = &good, .sent = { &ca }, .crl = { t[i].crl[0], t[i].crl[1] } };
        struct tls_verdict v = t[i].fault == TLS_FAULT_NONE ? trusted(&how) : refused(&how, t[i].fault, t[i].alert);
        assert_int_equal(v.depth, t[i].depth);
        assert_true(v.chain_ok && v.name_ok && v.usage_ok && v.dates_ok);
    }
    struct bytes *all[] = { &clean,       &der,    &listed, &listed_der,   &late,      &early,
                            &late_listed, &forged, &upper,  &upper_listed, &upper_late };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        OPENSSL_free(all[i]->p);
}

static void test_crl_files(void **state)
{
    (void)state;
    struct bytes a = crl_make(&root, root_key, -600, 600, NULL, false),
                 b = crl_make(&ca, ca_key, -600, 600, &good, false);
    struct bytes both = { OPENSSL_malloc(a.len + b.len), a.len + b.len },
                 der = crl_make(&ca, ca_key, -600, 600, NULL, true);
    memcpy(both.p, a.p, a.len);
    memcpy(both.p + a.len, b.p, b.len);
    refused(&(struct dialled){ .leaf = &good, .sent = { &ca }, .crl = { both } }, TLS_FAULT_REVOKED,
            SSL_AD_CERTIFICATE_REVOKED);
    struct tls_client *c;
    char err[300];
    struct tls_client_cfg cfg = { .ca_pem = root.chain_pem, .ca_len = strlen(root.chain_pem) };
    assert_int_equal(tls_client_new(&cfg, &c, err, sizeof err), 0);
    for (size_t len = 0; len < der.len; len++) { /* cut at each length */
        uint8_t *copy = malloc(len ? len : 1);
        memcpy(copy, der.p, len);
        err[0] = 0;
        assert_int_equal(tls_client_add_crl(c, copy, len, err, sizeof err), ERR_USAGE);
        assert_true(err[0]);
        free(copy);
    }
    uint8_t *more = malloc(der.len + 1);
    memcpy(more, der.p, der.len);
    more[der.len] = 0;
    assert_int_equal(tls_client_add_crl(c, more, der.len + 1, err, sizeof err), ERR_USAGE);
    free(more);
    assert_int_equal(tls_client_add_crl(c, root.chain_pem, strlen(root.chain_pem), err, sizeof err), ERR_USAGE);
    assert_int_equal(tls_client_add_crl(c, both.p, both.len - 40, err, sizeof err), ERR_USAGE); /* the second is cut */
    tls_client_free(c);
    OPENSSL_free(a.p);
    OPENSSL_free(b.p);
    OPENSSL_free(both.p);
    OPENSSL_free(der.p);
}

/* A list is as old as the moment says that was asked for. */
static void test_crl_at_another_time(void **state)
{
    (void)state;
    struct dialled how = { .leaf = &good, .sent = { &ca } };
    how.crl[0] = crl_make(&ca, ca_key, -600, 600, NULL, false);
    how.cfg.now_s = start_s + 900;
    refused(&how, TLS_FAULT_CRL, SSL_AD_UNKNOWN_CA);
    how.cfg.now_s = start_s + 500;
    trusted(&how);
    OPENSSL_free(how.crl[0].p);
}

/* Whose certificate is pinned need not answer for its authority's. */
static void test_pin_below_expired(void **state)
{
    (void)state;
    struct test_cert by = test_cert_issue(&(struct test_spec){
        .key = ca_key, .cn = "old", .issuer = &root, .ca = true, .from_s = -2 * DAY, .to_s = -DAY });
    struct test_cert leaf = leaf_of(&by, "x", NULL, NULL);
    struct dialled how = { .leaf = &leaf, .sent = { &by }, .no_ca = true, .cfg = { .n_pins = 1 } };
    memcpy(how.cfg.pin[0], leaf.sha256, 32);
    assert_false(trusted(&how).dates_ok);
    test_cert_free(&leaf);
    test_cert_free(&by);
}

/* A pinned one needs no list, and is refused when one has it. */
static void test_pin_and_crl(void **state)
{
    (void)state;
    struct dialled how = { .leaf = &good, .sent = { &ca }, .no_ca = true, .cfg = { .n_pins = 1 } };
    memcpy(how.cfg.pin[0], good.sha256, 32);
    how.crl[0] = crl_make(&other_root, other_key, -600, 600, NULL, true);
    trusted(&how);
    OPENSSL_free(how.crl[0].p);
    how.crl[0] = crl_make(&ca, ca_key, -600, 600, &good, true);
    refused(&how, TLS_FAULT_REVOKED, SSL_AD_CERTIFICATE_REVOKED);
    OPENSSL_free(how.crl[0].p);
}

static void test_staples(void **state)
{
    (void)state;
    const struct {
        int status, from_s, to_s;
        const struct test_cert *about, *signer;
        EVP_PKEY *key;
        enum tls_ocsp_state want;
    } t[] = {
        { V_OCSP_CERTSTATUS_GOOD, -600, 600, &good, &ca, ca_key, TLS_OCSP_GOOD },
        { V_OCSP_CERTSTATUS_GOOD, -600, -60, &good, &ca, ca_key, TLS_OCSP_STALE },
        { V_OCSP_CERTSTATUS_GOOD, -600, 600, &ca, &ca, ca_key, TLS_OCSP_WRONG },
        { V_OCSP_CERTSTATUS_UNKNOWN, -600, 600, &good, &ca, ca_key, TLS_OCSP_WRONG },
        { V_OCSP_CERTSTATUS_REVOKED, -600, 600, &good, &other_root, other_key, TLS_OCSP_WRONG },
        { V_OCSP_CERTSTATUS_REVOKED, -600, 600, &good, &ca, ca_key, TLS_OCSP_REVOKED },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct dialled how = { .leaf = &good, .sent = { &ca } };
        how.staple = staple_make(t[i].about, t[i].status, t[i].from_s, t[i].to_s, t[i].key, t[i].signer);
        for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
            how.version = version;
            /* RFC 6066 8 has an alert of its own; TLS 1.3 brings the staple with the certificate */
            int alert = version == TLS1_3_VERSION ? SSL_AD_CERTIFICATE_REVOKED : SSL_AD_BAD_CERTIFICATE_STATUS_RESPONSE;
            struct tls_verdict v =
                t[i].want == TLS_OCSP_REVOKED ? refused(&how, TLS_FAULT_REVOKED, alert) : trusted(&how);
            assert_true(v.stapled && v.chain_ok);
            assert_int_equal(v.ocsp, t[i].want);
        }
        OPENSSL_free(how.staple.p);
    }
    struct bytes junk = { (uint8_t *)(uintptr_t) "\x30\x03junk", 6 };
    assert_int_equal(trusted(&(struct dialled){ .leaf = &good, .sent = { &ca }, .staple = junk }).ocsp, TLS_OCSP_WRONG);
}

/* ---- old and odd servers ---- */

static void test_old_versions(void **state)
{
    (void)state;
    EVP_PKEY *rsa = EVP_RSA_gen(2048);
    struct test_cert leaf =
        test_cert_issue(&(struct test_spec){ .key = rsa, .cn = "x", .issuer = &ca, .san = HOST_SAN });
    const char *const ciphers[] = { "AES128-SHA", "ECDHE-RSA-AES256-SHA", "DHE-RSA-AES128-SHA" };
    for (int version = TLS1_VERSION; version <= TLS1_1_VERSION; version++) {
        for (size_t i = 0; i < 3; i++) {
            struct dialled how = { .leaf = &leaf, .sent = { &ca }, .version = version, .server_ciphers = ciphers[i] };
            struct duo d;
            duo_open(&d, &how); /* a client of today */
            assert_int_equal(duo_handshake(&d), ERR_PEER);
            assert_int_equal(verdict_of(&d).fault, TLS_FAULT_NONE);
            assert_false(verdict_of(&d).chain_ok);
            duo_close(&d);
            how.cfg.min_version = TLS1_VERSION;
            trusted(&how);
            how.host = "mail.example.com";
            refused(&how, TLS_FAULT_NAME, SSL_AD_BAD_CERTIFICATE);
        }
    }
    const char *const today[] = { "AES128-SHA", "AES256-GCM-SHA384", "ECDHE-RSA-AES256-SHA384" }; /* RouterOS, RRAS */
    for (size_t i = 0; i < 3; i++)
        trusted(
            &(struct dialled){ .leaf = &leaf, .sent = { &ca }, .version = TLS1_2_VERSION, .server_ciphers = today[i] });
    test_cert_free(&leaf);
    EVP_PKEY_free(rsa);
}

/* A server without an order of its own takes ours. */
static void test_order_of_suites(void **state)
{
    (void)state;
    struct dialled how = { .leaf = &good, .sent = { &ca }, .version = TLS1_3_VERSION };
    struct duo d;
    duo_open(&d, &how);
    assert_int_equal(duo_handshake(&d), 0);
    assert_string_equal(tls_stream_cipher(d.s), "TLS_AES_128_GCM_SHA256");
    duo_close(&d);
}

static void test_version_bounds(void **state)
{
    (void)state;
    struct dialled how = { .leaf = &good, .sent = { &ca }, .version = TLS1_2_VERSION };
    struct duo d;
    how.cfg.min_version = TLS1_3_VERSION;
    duo_open(&d, &how);
    assert_int_equal(duo_handshake(&d), ERR_PEER);
    assert_true(tls_stream_error(d.s)[0]);
    duo_close(&d);
    how.cfg.min_version = how.cfg.max_version = TLS1_2_VERSION;
    trusted(&how);
}

/* Shows nothing: never with a client that did not ask for it, and known as what it is. */
static void test_anonymous(void **state)
{
    (void)state;
    struct dialled how = { .version = TLS1_2_VERSION,
                           .server_ciphers = "aNULL",
                           .cfg = { .min_version = TLS1_VERSION } };
    struct duo d;
    struct tls_peer_cert cert;
    uint8_t sha1[20], sha256[32];
    static const uint8_t zero[32];
    duo_open(&d, &how);
    assert_int_equal(duo_handshake(&d), ERR_PEER);
    duo_close(&d);
    how.cfg.insecure = true;
    duo_open(&d, &how);
    assert_int_equal(duo_handshake(&d), 0);
    assert_int_equal(verdict_of(&d).fault, TLS_FAULT_NO_CERTIFICATE);
    assert_false(tls_stream_peer_cert(d.s, 0, &cert));
    tls_stream_leaf_hashes(d.s, sha1, sha256);
    assert_memory_equal(sha256, zero, 32);
    talk(&d);
    duo_close(&d);
    how.cfg.min_version = 0; /* insecure, and of today */
    duo_open(&d, &how);
    assert_int_equal(duo_handshake(&d), ERR_PEER);
    duo_close(&d);
}

static void test_alpn(void **state)
{
    (void)state;
    static const struct {
        const char *offer, *server, *want;
    } t[] = { { "h2,http/1.1", "\x02h2", "h2" },
              { "h2,http/1.1", "\x08http/1.1", "http/1.1" },
              { "h2", NULL, "" },
              { NULL, "\x02h2", "" } };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct dialled how = { .leaf = &good, .sent = { &ca }, .server_alpn = t[i].server };
        struct duo d;
        how.cfg.alpn = t[i].offer;
        duo_open(&d, &how);
        assert_int_equal(duo_handshake(&d), 0);
        assert_string_equal(tls_stream_alpn(d.s), t[i].want);
        assert_int_equal(tls_stream_h2(d.s), !strcmp(t[i].want, "h2"));
        duo_close(&d);
    }
}

static void test_not_tls(void **state)
{
    (void)state;
    struct dialled how = { .leaf = &good };
    struct duo d;
    duo_open(&d, &how);
    assert_int_equal(tls_stream_handshake(d.s), ERR_AGAIN);
    assert_int_equal(write(d.fd[0], "HTTP/1.1 400 Bad Request\r\n\r\n", 28), 28);
    assert_int_equal(tls_stream_handshake(d.s), ERR_PEER);
    assert_true(tls_stream_error(d.s)[0]);
    duo_close(&d);
    duo_open(&d, &how);
    assert_int_equal(tls_stream_handshake(d.s), ERR_AGAIN);
    shutdown(d.fd[0], SHUT_RDWR);
    assert_int_equal(tls_stream_handshake(d.s), ERR_CLOSED);
    duo_close(&d);
}

/* ---- hostile certificates ---- */

static void set_san_and_sign(struct test_cert *c, const char *name, int len, EVP_PKEY *signer)
{
    GENERAL_NAMES *list = sk_GENERAL_NAME_new_null();
    GENERAL_NAME *g = GENERAL_NAME_new();
    ASN1_IA5STRING *s = ASN1_IA5STRING_new();
    ASN1_STRING_set(s, name, len);
    GENERAL_NAME_set0_value(g, GEN_DNS, s);
    sk_GENERAL_NAME_push(list, g);
    assert_int_equal(X509_add1_ext_i2d(c->x, NID_subject_alt_name, list, 0, X509V3_ADD_REPLACE), 1);
    GENERAL_NAMES_free(list);
    assert_true(X509_sign(c->x, signer, EVP_sha256()) > 0);
    X509_digest(c->x, EVP_sha1(), c->sha1, NULL);
    X509_digest(c->x, EVP_sha256(), c->sha256, NULL);
}

static void test_hostile_names(void **state)
{
    (void)state;
    static const char nul[] = HOST "\0.evil.example";
    struct test_cert leaf = leaf_of(&ca, HOST, NULL, NULL);
    set_san_and_sign(&leaf, nul, sizeof nul - 1, ca_key);
    struct tls_verdict v =
        refused(&(struct dialled){ .leaf = &leaf, .sent = { &ca } }, TLS_FAULT_NAME, SSL_AD_BAD_CERTIFICATE);
    assert_string_equal(v.text, "its certificate is for " HOST "?.evil.example, not " HOST);
    test_cert_free(&leaf);

    leaf = leaf_of(&ca, "x", NULL, NULL);
    set_san_and_sign(&leaf, "\x1b[2J\r\nmail\x7f\x9b", 12, ca_key);
    v = refused(&(struct dialled){ .leaf = &leaf, .sent = { &ca } }, TLS_FAULT_NAME, SSL_AD_BAD_CERTIFICATE);
    assert_non_null(strstr(v.text, "?[2J??mail??"));
    test_cert_free(&leaf);

    leaf = test_cert_make(leaf_key, "evil\x1b]0;x\x07\n\"\xc3\xa4");
    struct dialled how = { .leaf = &leaf, .cfg = { .insecure = true } };
    refused(&(struct dialled){ .leaf = &leaf }, TLS_FAULT_SELF_SIGNED, SSL_AD_UNKNOWN_CA);
    struct duo d;
    struct tls_peer_cert c;
    duo_open(&d, &how);
    assert_int_equal(duo_handshake(&d), 0);
    assert_true(tls_stream_peer_cert(d.s, 0, &c));
    for (const char *p = c.subject; *p; p++)
        assert_true(*p >= ' ' && *p < 0x7f);
    duo_close(&d);
    test_cert_free(&leaf);
}

static void test_peer_cert(void **state)
{
    (void)state;
    struct test_cert leaf = leaf_of(&ca, "leaf", "DNS:" HOST ",IP:192.0.2.1,IP:2001:db8::1", "clientAuth");
    struct dialled how = { .leaf = &leaf, .sent = { &ca, &root } };
    struct tls_peer_cert c;
    struct duo d;
    duo_open(&d, &how);
    assert_int_equal(duo_handshake(&d), ERR_AUTH); /* and still it can be shown */
    assert_true(tls_stream_peer_cert(d.s, 0, &c));
    assert_string_equal(c.subject, "CN = leaf");
    assert_string_equal(c.issuer, "CN = ca");
    assert_string_equal(c.names, HOST " 192.0.2.1 2001:db8::1");
    assert_string_equal(c.key_type, "EC P-256");
    assert_string_equal(c.signature, "ecdsa-with-SHA256");
    assert_true(c.has_eku && !c.server_auth && !c.self_signed);
    assert_in_range(c.not_after_s - c.not_before_s, DAY + 3599, DAY + 3601);
    assert_memory_equal(c.sha1, leaf.sha1, 20);
    assert_memory_equal(c.sha256, leaf.sha256, 32);
    assert_true(tls_stream_peer_cert(d.s, 1, &c));
    assert_true(!c.has_eku && c.server_auth && !c.self_signed && !c.names[0]);
    assert_true(tls_stream_peer_cert(d.s, 2, &c));
    assert_true(c.self_signed);
    assert_false(tls_stream_peer_cert(d.s, 3, &c));
    assert_false(tls_stream_peer_cert(d.s, UINT32_MAX, &c));
    duo_close(&d);
    test_cert_free(&leaf);
}

static int with_many(int n, struct tls_verdict *v)
{
    struct duo d;
    struct dialled how = { .leaf = &good };
    duo_open(&d, &how);
    for (int i = 0; i < n; i++)
        assert_int_equal(SSL_add1_chain_cert(d.srv, ca.x), 1);
    int rc = duo_handshake(&d);
    *v = verdict_of(&d);
    duo_close(&d);
    return rc;
}

/* Many certificates: a chain of them is followed up to a bound only, and so much is read only. */
static void test_long_chains(void **state)
{
    (void)state;
    struct tls_verdict v;
    assert_int_equal(with_many(100, &v), 0);
    assert_int_equal(with_many(400, &v), ERR_PEER);

    enum { N = 100 };
    static struct test_cert link[N];
    link[0] = test_cert_issue(&(struct test_spec){ .key = ca_key, .cn = "a 0", .issuer = &root, .ca = true });
    for (int i = 1; i < N; i++) {
        char cn[16];
        snprintf(cn, sizeof cn, "a %d", i);
        link[i] = test_cert_issue(&(struct test_spec){ .key = ca_key, .cn = cn, .issuer = &link[i - 1], .ca = true });
    }
    for (int depth = 4; depth < N; depth += N - 5) { /* 5 are fine, 100 are not */
        struct test_cert leaf = leaf_of(&link[depth], "x", HOST_SAN, NULL);
        struct dialled how = { .leaf = &leaf };
        struct duo d;
        duo_open(&d, &how);
        for (int i = depth; i >= 0; i--)
            assert_int_equal(SSL_add1_chain_cert(d.srv, link[i].x), 1);
        assert_int_equal(duo_handshake(&d), depth == 4 ? 0 : ERR_AUTH);
        v = verdict_of(&d);
        assert_int_equal(v.chain_ok, depth == 4);
        assert_int_not_equal(v.fault, depth == 4 ? TLS_FAULT_OTHER : TLS_FAULT_NONE);
        duo_close(&d);
        test_cert_free(&leaf);
    }
    for (int i = 0; i < N; i++)
        test_cert_free(&link[i]);
}

/* ---- what is given ---- */

static void test_bad_configurations(void **state)
{
    (void)state;
    struct tls_client *c = NULL;
    char err[300];
    size_t len = strlen(root.chain_pem);
    const struct tls_client_cfg t[] = {
        { .ca_pem = "", .ca_len = 0 },
        { .ca_pem = "hello", .ca_len = 5 },
        { .ca_pem = root.chain_pem, .ca_len = len - 40 },
        { .ca_pem = root.key_pem, .ca_len = strlen(root.key_pem) },
        { .min_version = TLS1_3_VERSION, .max_version = TLS1_2_VERSION },
        { .min_version = 0x9999 },
        { .n_pins = TLS_PINS_MAX + 1 },
        { .alpn = "0123456789012345678901234567890123456789012345678901234567890123456789" },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        err[0] = 0;
        assert_int_equal(tls_client_new(&t[i], &c, err, sizeof err), ERR_USAGE);
        assert_true(err[0]);
        assert_null(c);
        assert_int_equal(ERR_peek_error(), 0);
    }
    tls_client_free(NULL);
}

/* One certificate of the system's that OpenSSL cannot read does not cost the others. */
static void test_damaged_bundle(void **state)
{
    (void)state;
    char pem[8192];
    int n = snprintf(pem, sizeof pem, "# comment\n-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n%s",
                     root.chain_pem);
    struct dialled how = { .leaf = &good, .sent = { &ca }, .no_ca = true };
    how.cfg.system_pem = pem;
    how.cfg.system_len = (size_t)n;
    trusted(&how);
    struct tls_client *c;
    char err[300];
    struct tls_client_cfg strict = { .ca_pem = pem, .ca_len = (size_t)n };
    assert_int_equal(tls_client_new(&strict, &c, err, sizeof err), ERR_USAGE);
}

/* Key identifiers, by which namesakes are told apart; what is derived from the certificate is made again. */
static void identify(struct test_cert *c, const struct test_cert *issuer, EVP_PKEY *signer)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer ? issuer->x : c->x, c->x, NULL, NULL, 0);
    const struct {
        int nid;
        const char *value;
    } t[] = { { NID_subject_key_identifier, "hash" }, { NID_authority_key_identifier, "keyid" } };
    for (size_t i = 0; i < 2; i++) {
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, t[i].nid, t[i].value);
        assert_non_null(e);
        X509_add_ext(c->x, e, -1);
        X509_EXTENSION_free(e);
    }
    assert_true(X509_sign(c->x, signer, EVP_sha256()) > 0);
    X509_digest(c->x, EVP_sha1(), c->sha1, NULL);
    X509_digest(c->x, EVP_sha256(), c->sha256, NULL);
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, c->x);
    free(c->chain_pem);
    c->chain_pem = test_bio_text(bio);
}

/* Authorities of one name and several keys, and one client for many connections. */
static void test_bundle_of_namesakes(void **state)
{
    (void)state;
    EVP_PKEY *keys[] = { other_key, root_key, ca_key };
    struct test_cert twin[3], leaf[3];
    char pem[16384];
    for (size_t i = 0; i < 3; i++) {
        pki_make(&twin[i], keys[i], "twin", NULL);
        identify(&twin[i], NULL, keys[i]);
        leaf[i] = leaf_of(&twin[i], "x", HOST_SAN, NULL);
        identify(&leaf[i], &twin[i], keys[i]);
    }
    size_t len = (size_t)snprintf(pem, sizeof pem, "%s%s%s%s", twin[0].chain_pem, other_root.chain_pem,
                                  twin[1].chain_pem, twin[0].chain_pem);
    struct dialled how = { .leaf = &leaf[1], .no_ca = true };
    how.cfg.system_pem = pem;
    how.cfg.system_len = len;
    struct duo first;
    duo_open(&first, &how);
    for (size_t i = 0; i < 6; i++) { /* the last of the three is not in the bundle */
        struct dialled next = { .leaf = &leaf[i % 3], .cfg = how.cfg, .no_ca = true };
        struct duo d;
        duo_open(&d, &next);
        tls_stream_free(d.s);
        d.s = tls_stream_new_client(first.client, d.fd[1], HOST, true);
        assert_int_equal(duo_handshake(&d), i % 3 == 2 ? ERR_AUTH : 0);
        duo_close(&d);
    }
    assert_int_equal(duo_handshake(&first), 0);
    duo_close(&first);
    for (size_t cut = 0; cut < len; cut += 7) { /* whatever is left of it is no reason to stop */
        struct tls_client_cfg cfg = { .system_pem = pem, .system_len = cut };
        struct tls_client *c;
        char err[300];
        assert_int_equal(tls_client_new(&cfg, &c, err, sizeof err), 0);
        tls_client_free(c);
    }
    how.cfg.system_len = strlen(twin[0].chain_pem) - 30;
    how.leaf = &leaf[0];
    refused(&how, TLS_FAULT_UNKNOWN_CA, SSL_AD_UNKNOWN_CA);
    for (size_t i = 0; i < 3; i++) {
        test_cert_free(&leaf[i]);
        test_cert_free(&twin[i]);
    }
}

static void test_fault_names(void **state)
{
    (void)state;
    for (int i = 0; i <= TLS_FAULT_OTHER; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(tls_fault_name((enum tls_fault)i), tls_fault_name((enum tls_fault)j));
    assert_string_equal(tls_fault_name(TLS_FAULT_UNKNOWN_CA), "unknown-ca");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_ca_given_is_all),
        cmocka_unit_test(test_trusted_intermediate),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_sni),
        cmocka_unit_test(test_usages),
        cmocka_unit_test(test_usage_of_authority),
        cmocka_unit_test(test_chain_faults),
        cmocka_unit_test(test_nothing_trusted),
        cmocka_unit_test(test_self_signed),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_all_at_once),
        cmocka_unit_test(test_weak_key),
        cmocka_unit_test(test_pins),
        cmocka_unit_test(test_pin_and_ca),
        cmocka_unit_test(test_crls),
        cmocka_unit_test(test_crl_files),
        cmocka_unit_test(test_crl_at_another_time),
        cmocka_unit_test(test_pin_below_expired),
        cmocka_unit_test(test_pin_and_crl),
        cmocka_unit_test(test_staples),
        cmocka_unit_test(test_old_versions),
        cmocka_unit_test(test_order_of_suites),
        cmocka_unit_test(test_version_bounds),
        cmocka_unit_test(test_anonymous),
        cmocka_unit_test(test_alpn),
        cmocka_unit_test(test_not_tls),
        cmocka_unit_test(test_hostile_names),
        cmocka_unit_test(test_peer_cert),
        cmocka_unit_test(test_long_chains),
        cmocka_unit_test(test_bad_configurations),
        cmocka_unit_test(test_damaged_bundle),
        cmocka_unit_test(test_bundle_of_namesakes),
        cmocka_unit_test(test_fault_names),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
