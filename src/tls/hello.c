/*
 * What a ClientHello decides: the certificate, by SNI, and the protocol, by ALPN. A client is never refused for either:
 * clients in the field send names with a dot at the end, addresses, or nothing.
 */
#include <string.h>

#include "tls/internal.h"

const char *tls_sni_parse(struct rd ext, char out[SNI_MAX + 1])
{
    uint16_t list_len, name_len;
    uint8_t type;
    struct rd list, name;
    if (!rd_u16(&ext, &list_len) || !rd_sub(&ext, list_len, &list) || !rd_u8(&list, &type) || type != 0 ||
        !rd_u16(&list, &name_len) || !rd_sub(&list, name_len, &name))
        return NULL;
    size_t n = 0;
    for (uint8_t c; rd_u8(&name, &c);) {
        if (c >= 'A' && c <= 'Z')
            c = (uint8_t)(c - 'A' + 'a');
        bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
        if (!good || n == SNI_MAX)
            return NULL;
        out[n++] = (char)c;
    }
    if (n && out[n - 1] == '.')
        n--;
    out[n] = 0;
    return n ? out : NULL;
}

static int hello_cb(SSL *ssl, int *alert, void *arg)
{
    (void)arg;
    const unsigned char *ext;
    size_t len;
    char buf[SNI_MAX + 1];
    const char *sni = NULL;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &ext, &len) == 1)
        sni = tls_sni_parse(rd_make(ext, len), buf);
    if (!tls_stream_hello(ssl, sni)) {
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    SSL_CTX *ctx = sni ? tls_certs_select(tls_stream_certs(ssl), sni) : SSL_get_SSL_CTX(ssl);
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

void tls_hello_install(SSL_CTX *ctx)
{
    SSL_CTX_set_client_hello_cb(ctx, hello_cb, NULL);
    SSL_CTX_set_alpn_select_cb(ctx, alpn_cb, NULL);
}
