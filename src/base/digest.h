/*
 * Hashes and ciphers that the protocols need, on OpenSSL's libcrypto.
 *
 * MD4 and DES exist in OpenSSL's legacy provider only. It is loaded into a private library context, so
 * that TLS never sees a legacy algorithm. digest_init() must run before the process is sandboxed (it
 * opens the provider's module) and before any other function here; it is not thread safe, the rest is.
 */
#ifndef GH_BASE_DIGEST_H
#define GH_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define MD4_LEN    16
#define MD5_LEN    16
#define SHA1_LEN   20
#define SHA256_LEN 32

enum digest_alg { DIGEST_MD4, DIGEST_MD5, DIGEST_SHA1, DIGEST_SHA256 };

struct digest_part {
    const void *data; /* borrowed */
    size_t len;       /* bytes */
};

/* ERR_SYSTEM when the legacy provider (MD4, DES) cannot be loaded. Calling it again is fine. */
MUST_USE int digest_init(void);
void digest_fini(void);

/* Hash of the parts one after the other. out has room for the algorithm's length. */
MUST_USE int digest(enum digest_alg alg, const struct digest_part *parts, size_t n, uint8_t *out);

/* HMAC with SHA-1 or SHA-256 over one piece. */
MUST_USE int digest_hmac(enum digest_alg alg, const void *key, size_t key_len, const void *msg, size_t msg_len,
                         uint8_t *out);

/* DES in ECB of one block with a 7-byte key spread to 8 (RFC 2759 8.6). */
MUST_USE int digest_des7(const uint8_t key[7], const uint8_t in[8], uint8_t out[8]);

#endif
