/* TLS as a client: see client.h. What the certificates are worth is told by verdict.c. */
#include "tls/client.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/wr.h"
#include "tls/bundle.h"
#include "tls/internal.h"
#include "tls/pem.h"
#include "tls/verdict.h"

/*
 * Forward secrecy first. Servers in the field want the rest: RRAS on Windows Server 2012 R2 has ECDHE with CBC only,
 * RouterOS without its "pfs" has RSA key exchange only. No DHE: old servers have parameters that are too small, and all
 * that know DHE have one of the others. AES-128 before AES-256, as at our server: no weaker in practice, and faster.
 */
#define CIPHERS      "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:kRSA+AESGCM:kRSA+AES:!aNULL:!PSK:!AESCCM"
#define CIPHERSUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define CIPHERS_OLD  "ALL:!aNULL:!PSK:!SRP"
#define CIPHERS_ANON "ALL:+aNULL:!PSK:!SRP" /* RouterOS without a certificate */
#define GROUPS       "X25519:P-256:P-384"
#define CERTS_MAX    (64 << 10) /* bytes of a Certificate message */

struct tls_client {
    SSL_CTX *ctx;
    struct tls_trust trust;
    bool insecure;
};

struct tls_peer {
    struct tls_client *client;
    char *host;
    bool judged;
    struct tls_judgement j;
};

static int fail(char *err, size_t cap, const char *words)
{
    snprintf(err, cap, "%s", words);
    ERR_clear_error();
    return ERR_USAGE;
}

/* ---- during the handshake ---- */

static bool refused(const struct tls_peer *p)
{
    return p->j.verdict.fault != TLS_FAULT_NONE && !p->client->insecure;
}

static void judge(struct tls_peer *p, STACK_OF(X509) * sent)
{
    if (!p->judged)
        tls_judge(&p->client->trust, p->host, sent, &p->j);
    p->judged = true;
}

static void staple_judge(struct tls_peer *p, SSL *ssl)
{
    const unsigned char *der = NULL;
    long len = SSL_get_tlsext_status_ocsp_resp(ssl, &der);
    if (der && len > 0)
        tls_judge_staple(&p->client->trust, p->host, der, (size_t)len, &p->j);
}

static int verify_cb(X509_STORE_CTX *ctx, void *arg)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_peer *p = tls_stream_peer(ssl);
    (void)arg;
    judge(p, X509_STORE_CTX_get0_untrusted(ctx));
    staple_judge(p, ssl); /* TLS 1.3 has it already */
    X509_STORE_CTX_set_error(ctx, refused(p) ? tls_fault_code(p->j.verdict.fault) : X509_V_OK);
    return !refused(p);
}

/* The server has said all that it has to say: TLS 1.2's staple comes after the certificate. */
static int status_cb(SSL *ssl, void *arg)
{
    struct tls_peer *p = tls_stream_peer(ssl);
    (void)arg;
    staple_judge(p, ssl);
    return !refused(p);
}

struct tls_peer *tls_peer_new(struct tls_client *c, const char *host)
{
    struct tls_peer *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->client = c;
    p->host = strdup(host);
    if (!p->host) {
        free(p);
        return NULL;
    }
    return p;
}

void tls_peer_free(struct tls_peer *p)
{
    if (!p)
        return;
    tls_judgement_fini(&p->j);
    free(p->host);
    free(p);
}

SSL *tls_peer_ssl(const struct tls_peer *p, bool sni)
{
    char canon[46], name[TLS_NAME_MAX + 2];
    SSL *ssl = SSL_new(p->client->ctx);
    size_t len = strlen(p->host);
    bool ok = ssl && SSL_set_tlsext_status_type(ssl, TLSEXT_STATUSTYPE_ocsp) == 1;
    if (sni && len && len < sizeof name && !tls_host_literal(p->host, canon)) {
        len -= p->host[len - 1] == '.'; /* RFC 6066 3: without a trailing dot */
        memcpy(name, p->host, len);
        name[len] = 0;
        ok = ok && (!name[0] || SSL_set_tlsext_host_name(ssl, name) == 1);
    }
    if (ok)
        return ssl;
    SSL_free(ssl);
    return NULL;
}

bool tls_peer_accepted(struct tls_peer *p, bool done)
{
    if (done)
        judge(p, NULL); /* nothing was shown: anonymous */
    return !refused(p);
}

const struct tls_judgement *tls_peer_judgement(const struct tls_peer *p)
{
    return &p->j;
}

/* ---- what is trusted ---- */

static int authorities_add(X509_STORE *store, const char *pem, size_t len, char *err, size_t cap)
{
    STACK_OF(X509) *list = NULL;
    struct tls_pem_error e;
    int rc = tls_pem_bundle(pem, len, "the file of authorities", &list, &e);
    if (rc == ERR_USAGE)
        return fail(err, cap, e.text);
    for (int i = 0; !rc && i < sk_X509_num(list); i++)
        rc = X509_STORE_add_cert(store, sk_X509_value(list, i)) == 1 ? 0 : ERR_NOMEM;
    sk_X509_pop_free(list, X509_free);
    ERR_clear_error();
    return rc;
}

static int trust_set(struct tls_client *c, const struct tls_client_cfg *cfg, char *err, size_t cap)
{
    struct tls_trust *t = &c->trust;
    t->store = X509_STORE_new();
    t->has_ca = cfg->ca_pem != NULL;
    t->now_s = cfg->now_s;
    c->insecure = cfg->insecure;
    if (!t->store)
        return ERR_NOMEM;
    if (cfg->n_pins > TLS_PINS_MAX)
        return fail(err, cap, "too many pins");
    memcpy(t->pin, cfg->pin, sizeof t->pin);
    t->n_pins = cfg->n_pins;
    if (cfg->ca_pem)
        return authorities_add(t->store, cfg->ca_pem, cfg->ca_len, err, cap);
    return cfg->system_pem ? tls_bundle_add(t->store, cfg->system_pem, cfg->system_len) : 0;
}

/* ---- the context ---- */

/* "h2,http/1.1" as RFC 7301 3.1 has it on the wire */
static bool alpn_set(SSL_CTX *ctx, const char *list)
{
    uint8_t buf[64];
    struct wr w = wr_make(buf, sizeof buf);
    for (size_t n; *list; list += n + (list[n] == ',')) {
        n = strcspn(list, ",");
        wr_u8(&w, (uint8_t)n);
        wr_bytes(&w, list, n);
    }
    return wr_ok(&w) && SSL_CTX_set_alpn_protos(ctx, buf, (unsigned)wr_len(&w)) == 0;
}

static int ctx_set(SSL_CTX *ctx, const struct tls_client_cfg *cfg, char *err, size_t cap)
{
    int min = cfg->min_version ? cfg->min_version : TLS1_2_VERSION;
    int max = cfg->max_version ? cfg->max_version : TLS1_3_VERSION;
    bool old = min < TLS1_2_VERSION;
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF |
                                 SSL_OP_NO_TICKET | (old ? SSL_OP_LEGACY_SERVER_CONNECT : 0));
    SSL_CTX_set_mode(ctx,
                     SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_max_cert_list(ctx, CERTS_MAX);
    SSL_CTX_set_security_level(ctx, old ? 0 : 2);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, verify_cb, NULL);
    SSL_CTX_set_tlsext_status_cb(ctx, status_cb);
    if (min > max || SSL_CTX_set_min_proto_version(ctx, min) != 1 || SSL_CTX_set_max_proto_version(ctx, max) != 1)
        return fail(err, cap, "no such TLS versions");
    if (SSL_CTX_set_cipher_list(ctx, cfg->ciphers    ? cfg->ciphers
                                     : !old          ? CIPHERS
                                     : cfg->insecure ? CIPHERS_ANON
                                                     : CIPHERS_OLD) != 1 ||
        SSL_CTX_set_ciphersuites(ctx, CIPHERSUITES) != 1 || SSL_CTX_set1_groups_list(ctx, GROUPS) != 1)
        return fail(err, cap, "OpenSSL refuses the ciphers");
    if (cfg->alpn && !alpn_set(ctx, cfg->alpn))
        return fail(err, cap, "bad list of ALPN names");
    return 0;
}

int tls_client_new(const struct tls_client_cfg *cfg, struct tls_client **out, char *err, size_t cap)
{
    struct tls_client *c = calloc(1, sizeof *c);
    ERR_clear_error();
    if (c)
        c->ctx = SSL_CTX_new(TLS_client_method());
    int rc = c && c->ctx ? ctx_set(c->ctx, cfg, err, cap) : ERR_NOMEM;
    if (!rc)
        rc = trust_set(c, cfg, err, cap);
    if (rc) {
        if (rc != ERR_USAGE)
            snprintf(err, cap, "%s", err_name(rc));
        ERR_clear_error();
        tls_client_free(c);
        return rc;
    }
    *out = c;
    return 0;
}

int tls_client_add_crl(struct tls_client *c, const void *data, size_t len, char *err, size_t cap)
{
    STACK_OF(X509_CRL) *list = NULL;
    struct tls_pem_error e;
    int rc = tls_pem_crls(data, len, "the file of revocation lists", &list, &e);
    if (rc == ERR_USAGE)
        return fail(err, cap, e.text);
    for (int i = 0; !rc && i < sk_X509_CRL_num(list); i++)
        rc = X509_STORE_add_crl(c->trust.store, sk_X509_CRL_value(list, i)) == 1 ? 0 : ERR_NOMEM;
    sk_X509_CRL_pop_free(list, X509_CRL_free);
    ERR_clear_error();
    if (rc)
        snprintf(err, cap, "%s", err_name(rc));
    else
        c->trust.has_crl = true;
    return rc;
}

void tls_client_free(struct tls_client *c)
{
    if (!c)
        return;
    SSL_CTX_free(c->ctx);
    X509_STORE_free(c->trust.store);
    free(c);
}
