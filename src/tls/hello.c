/*
 * What a ClientHello decides: the certificate, by address and SNI, and its staple; the protocol, by ALPN. A client is
 * refused for none of them unless the configuration says so: clients in the field send names with a dot at the end,
 * addresses, or nothing.
 */
#include <openssl/crypto.h>
#include <string.h>
#include <time.h>

#include "tls/internal.h"

static int hello_cb(SSL *ssl, int *alert, void *arg)
{
    (void)arg;
    const unsigned char *ext;
    size_t len;
    char buf[TLS_NAME_MAX + 1];
    const char *sni = NULL;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &ext, &len) == 1)
        sni = tls_sni_parse(rd_make(ext, len), buf);
    if (!tls_stream_hello(ssl, sni)) {
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    SSL_CTX *ctx = tls_certs_select(tls_stream_certs(ssl), tls_stream_where(ssl));
    if (!ctx) { /* RFC 6066 3 */
        tls_stream_blame(ssl, "no certificate is for this address and name");
        *alert = SSL_AD_UNRECOGNIZED_NAME;
        return SSL_CLIENT_HELLO_ERROR;
    }
    if (ctx != SSL_get_SSL_CTX(ssl) && SSL_set_SSL_CTX(ssl, ctx) != ctx) {
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    return SSL_CLIENT_HELLO_SUCCESS;
}

static int alpn_cb(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                   unsigned in_len, void *arg)
{
    (void)arg;
    struct rd list = rd_make(in, in_len), name;
    const uint8_t *h1 = NULL, *h2 = NULL;
    for (uint8_t n; rd_u8(&list, &n) && rd_sub(&list, n, &name);) {
        if (n == 2 && !memcmp(name.p, "h2", 2))
            h2 = name.p;
        else if (n == 8 && !memcmp(name.p, "http/1.1", 8))
            h1 = name.p;
    }
    if (h2 && tls_certs_h2(tls_stream_certs(ssl), tls_stream_sni(SSL_get_app_data(ssl)))) {
        *out = h2;
        *out_len = 2;
        return SSL_TLSEXT_ERR_OK;
    }
    if (!h1)
        return SSL_TLSEXT_ERR_NOACK;
    *out = h1;
    *out_len = 8;
    return SSL_TLSEXT_ERR_OK;
}

/* A staple for the certificate that is shown (RFC 6066 8), good at this moment or none. */
static int status_cb(SSL *ssl, void *arg)
{
    (void)arg;
    const struct tls_cert *c = tls_served(ssl);
    if (!c || tls_cert_ocsp(c, time(NULL)) != TLS_OCSP_GOOD)
        return SSL_TLSEXT_ERR_NOACK;
    uint8_t *copy = OPENSSL_memdup(c->ocsp_der, c->ocsp_len);
    if (!copy)
        return SSL_TLSEXT_ERR_NOACK;
    SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)c->ocsp_len); /* takes it over */
    return SSL_TLSEXT_ERR_OK;
}

void tls_hello_install(SSL_CTX *ctx)
{
    SSL_CTX_set_client_hello_cb(ctx, hello_cb, NULL);
    SSL_CTX_set_alpn_select_cb(ctx, alpn_cb, NULL);
    SSL_CTX_set_tlsext_status_cb(ctx, status_cb);
}
