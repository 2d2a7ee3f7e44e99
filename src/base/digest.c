#include "base/digest.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>

#include "base/ct.h"

static OSSL_LIB_CTX *legacy_ctx;
static OSSL_PROVIDER *legacy_prov, *legacy_default;
static EVP_MD *md[4];
static EVP_CIPHER *des_ecb;
static EVP_MAC_CTX *hmac[4]; /* without a key, to be copied: finding HMAC and its hash by name costs more than a MAC */

static const size_t md_len[4] = { MD4_LEN, MD5_LEN, SHA1_LEN, SHA256_LEN };

static EVP_MAC_CTX *hmac_new(char *hash)
{
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
    OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, hash, 0),
                            OSSL_PARAM_construct_end() };
    EVP_MAC_free(mac);
    if (ctx && EVP_MAC_CTX_set_params(ctx, params) == 1)
        return ctx;
    EVP_MAC_CTX_free(ctx);
    return NULL;
}

int digest_init(void)
{
    if (des_ecb)
        return 0;
    legacy_ctx = OSSL_LIB_CTX_new();
    if (!legacy_ctx)
        return ERR_NOMEM;
    legacy_prov = OSSL_PROVIDER_load(legacy_ctx, "legacy");
    legacy_default = OSSL_PROVIDER_load(legacy_ctx, "default");
    if (legacy_prov && legacy_default) {
        md[DIGEST_MD4] = EVP_MD_fetch(legacy_ctx, "MD4", NULL);
        md[DIGEST_MD5] = EVP_MD_fetch(legacy_ctx, "MD5", NULL);
        md[DIGEST_SHA1] = EVP_MD_fetch(NULL, "SHA1", NULL);
        md[DIGEST_SHA256] = EVP_MD_fetch(NULL, "SHA256", NULL);
        des_ecb = EVP_CIPHER_fetch(legacy_ctx, "DES-ECB", NULL);
        char sha1[] = "SHA1", sha256[] = "SHA256";
        hmac[DIGEST_SHA1] = hmac_new(sha1);
        hmac[DIGEST_SHA256] = hmac_new(sha256);
    }
    bool ok = des_ecb && hmac[DIGEST_SHA1] && hmac[DIGEST_SHA256];
    for (int i = 0; i < 4; i++)
        ok = ok && md[i];
    if (ok)
        return 0;
    digest_fini();
    return ERR_SYSTEM;
}

void digest_fini(void)
{
    for (int i = 0; i < 4; i++) {
        EVP_MD_free(md[i]);
        EVP_MAC_CTX_free(hmac[i]);
        md[i] = NULL;
        hmac[i] = NULL;
    }
    EVP_CIPHER_free(des_ecb);
    des_ecb = NULL;
    if (legacy_prov)
        OSSL_PROVIDER_unload(legacy_prov);
    if (legacy_default)
        OSSL_PROVIDER_unload(legacy_default);
    OSSL_LIB_CTX_free(legacy_ctx);
    legacy_prov = legacy_default = NULL;
    legacy_ctx = NULL;
}

int digest(enum digest_alg alg, const struct digest_part *parts, size_t n, uint8_t *out)
{
    if (!md[alg])
        return ERR_BUG;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx)
        return ERR_NOMEM;
    bool ok = EVP_DigestInit_ex2(ctx, md[alg], NULL) == 1;
    for (size_t i = 0; ok && i < n; i++)
        ok = EVP_DigestUpdate(ctx, parts[i].data, parts[i].len) == 1;
    unsigned len = 0;
    ok = ok && EVP_DigestFinal_ex(ctx, out, &len) == 1 && len == md_len[alg];
    EVP_MD_CTX_free(ctx);
    return ok ? 0 : ERR_SYSTEM;
}

int digest_hmac(enum digest_alg alg, const void *key, size_t key_len, const void *msg, size_t msg_len, uint8_t *out)
{
    if (!hmac[alg])
        return ERR_BUG;
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_dup(hmac[alg]);
    if (!ctx)
        return ERR_NOMEM;
    size_t len = 0;
    bool ok = EVP_MAC_init(ctx, key, key_len, NULL) == 1 && EVP_MAC_update(ctx, msg, msg_len) == 1 &&
              EVP_MAC_final(ctx, out, &len, md_len[alg]) == 1 && len == md_len[alg];
    EVP_MAC_CTX_free(ctx);
    return ok ? 0 : ERR_SYSTEM;
}

/* Seven key bits a byte, from the top; the parity bit is left zero, DES does not look at it. */
static void des_spread(const uint8_t in[7], uint8_t out[8])
{
    uint64_t bits = 0;
    for (int i = 0; i < 7; i++)
        bits = bits << 8 | in[i];
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(bits >> (49 - 7 * i) << 1);
}

int digest_des7(const uint8_t key[7], const uint8_t in[8], uint8_t out[8])
{
    if (!des_ecb)
        return ERR_BUG;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (!ctx)
        return ERR_NOMEM;
    uint8_t spread[8];
    int len = 0;
    des_spread(key, spread);
    bool ok = EVP_EncryptInit_ex2(ctx, des_ecb, spread, NULL, NULL) == 1 && EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 &&
              EVP_EncryptUpdate(ctx, out, &len, in, 8) == 1 && len == 8;
    EVP_CIPHER_CTX_free(ctx);
    secret_wipe(spread, sizeof spread);
    return ok ? 0 : ERR_SYSTEM;
}
