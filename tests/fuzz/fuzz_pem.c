/* One file as a certificate with its chain, as its key, and as that of a front: what is read is the same each time. */
#include <stdlib.h>
#include <string.h>

#include "tls/certs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_words(const char *words, size_t cap)
{
    check(memchr(words, 0, cap) != NULL && words[0]);
}

static void check_info(const struct tls_cert_info *i)
{
    check(memchr(i->key_type, 0, sizeof i->key_type) != NULL && i->key_type[0]);
    check(memchr(i->subject, 0, sizeof i->subject) != NULL);
    for (const char *p = i->subject; *p; p++)
        check(*p >= ' ' && *p < 0x7f);
    check(i->ocsp.state == TLS_OCSP_NONE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct tls_cert_source src = { .name = "seed",
                                         .chain_pem = (const char *)data,
                                         .chain_len = size,
                                         .key_pem = (const char *)data,
                                         .key_len = size };
    struct tls_cert *c = NULL;
    uint8_t sha1[20], sha256[32];
    char err[200] = "", why[200] = "";
    int loaded = tls_cert_load(&src, 1800000000, &c, err, sizeof err);
    int hashed = tls_leaf_hashes((const char *)data, size, sha1, sha256, why, sizeof why);
    check(loaded == 0 || loaded == ERR_USAGE);
    check(hashed == 0 || hashed == ERR_USAGE);
    if (hashed)
        check_words(why, sizeof why);
    if (loaded) {
        check_words(err, sizeof err);
        return 0;
    }
    const struct tls_cert_info *i = tls_cert_info(c);
    check_info(i);
    check(!hashed && !memcmp(sha1, i->sha1, 20) && !memcmp(sha256, i->sha256, 32));
    if (tls_cert_fit(c, 1800000000, why, sizeof why))
        check_words(why, sizeof why);
    tls_cert_unref(c);
    return 0;
}
