/* MS-CHAPv2 arithmetic (RFC 2759 8, RFC 3079 3). digest_init() first. All of it is pure; errors are
 * ERR_SYSTEM/ERR_NOMEM. */
#ifndef GH_AUTH_MSCHAPV2_H
#define GH_AUTH_MSCHAPV2_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define MSCHAPV2_CHALLENGE_LEN     16
#define MSCHAPV2_NT_RESPONSE_LEN   24
#define MSCHAPV2_AUTH_RESPONSE_LEN 42 /* "S=" and 40 digits, without NUL */

struct mschapv2_keys {            /* secret */
    uint8_t client_to_server[16]; /* K_cs: RFC 3079 Magic2, the client's send key */
    uint8_t server_to_client[16]; /* K_sc: Magic3 */
};

/* The first 8 bytes of SHA-1(peer | authenticator | user): RFC 2759 8.2. The name is hashed as given; see
 * mschapv2_bare_name(). */
MUST_USE int mschapv2_challenge_hash(const uint8_t peer[16], const uint8_t auth[16], const char *user, size_t user_len,
                                     uint8_t out[8]);
/* The name without DOMAIN\ : what follows the last backslash. */
void mschapv2_bare_name(const char *name, size_t len, const char **bare, size_t *bare_len);

MUST_USE int mschapv2_nt_response(const uint8_t nt_hash[16], const uint8_t challenge8[8], uint8_t out[24]);

/* "S=..." (RFC 2759 8.7), 42 bytes, no NUL. */
MUST_USE int mschapv2_auth_response(const uint8_t nt_hash[16], const uint8_t nt_response[24],
                                    const uint8_t challenge8[8], char out[MSCHAPV2_AUTH_RESPONSE_LEN]);
MUST_USE int mschapv2_keys(const uint8_t nt_hash[16], const uint8_t nt_response[24], struct mschapv2_keys *out);

/* HLAK = K_cs | K_sc (MS-SSTP 3.2.5.2.4). */
void mschapv2_hlak(const struct mschapv2_keys *k, uint8_t out[32]);

#endif
