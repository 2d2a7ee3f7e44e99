#include "auth/mschapv2.h"

#include <string.h>

#include "base/ct.h"
#include "base/digest.h"

#define PART_STR(s)                                                                                                    \
    {                                                                                                                  \
        (s), sizeof(s) - 1                                                                                             \
    }

int mschapv2_challenge_hash(const uint8_t peer[16], const uint8_t auth[16], const char *user, size_t user_len,
                            uint8_t out[8])
{
    const struct digest_part parts[] = { { peer, 16 }, { auth, 16 }, { user, user_len } };
    uint8_t hash[SHA1_LEN];
    int r = digest(DIGEST_SHA1, parts, 3, hash);
    if (r == 0)
        memcpy(out, hash, 8);
    return r;
}

void mschapv2_bare_name(const char *name, size_t len, const char **bare, size_t *bare_len)
{
    const char *slash = len ? memrchr(name, '\\', len) : NULL;
    size_t skip = slash ? (size_t)(slash - name) + 1 : 0;
    *bare = name + skip;
    *bare_len = len - skip;
}

/* ChallengeResponse(), RFC 2759 8.5: the hash padded with zeros is three DES keys. */
int mschapv2_nt_response(const uint8_t nt_hash[16], const uint8_t challenge8[8], uint8_t out[24])
{
    uint8_t z[21] = { 0 };
    int r = 0;
    memcpy(z, nt_hash, 16);
    for (int i = 0; r == 0 && i < 3; i++)
        r = digest_des7(z + 7 * i, challenge8, out + 8 * i);
    secret_wipe(z, sizeof z);
    return r;
}

static int nt_hash_hash(const uint8_t nt_hash[16], uint8_t out[16])
{
    const struct digest_part part = { nt_hash, 16 };
    return digest(DIGEST_MD4, &part, 1, out);
}

/* GenerateAuthenticatorResponse(), RFC 2759 8.7. */
int mschapv2_auth_response(const uint8_t nt_hash[16], const uint8_t nt_response[24], const uint8_t challenge8[8],
                           char out[MSCHAPV2_AUTH_RESPONSE_LEN])
{
    static const char upper[] = "0123456789ABCDEF"; /* RFC 2759 5: upper-case digits */
    uint8_t hash_hash[16], hash[SHA1_LEN];
    int r = nt_hash_hash(nt_hash, hash_hash);
    const struct digest_part first[] = { { hash_hash, 16 },
                                         { nt_response, 24 },
                                         PART_STR("Magic server to client signing constant") };
    if (r == 0)
        r = digest(DIGEST_SHA1, first, 3, hash);
    const struct digest_part second[] = { { hash, SHA1_LEN },
                                          { challenge8, 8 },
                                          PART_STR("Pad to make it do more than one iteration") };
    if (r == 0)
        r = digest(DIGEST_SHA1, second, 3, hash);
    if (r == 0) {
        out[0] = 'S';
        out[1] = '=';
        for (int i = 0; i < SHA1_LEN; i++) {
            out[2 + 2 * i] = upper[hash[i] >> 4];
            out[3 + 2 * i] = upper[hash[i] & 15];
        }
    }
    secret_wipe(hash_hash, sizeof hash_hash);
    secret_wipe(hash, sizeof hash);
    return r;
}

/* GetAsymmetricStartKey() for 128 bits, RFC 3079 3.4. */
static int start_key(const uint8_t master[16], const char *magic, uint8_t out[16])
{
    static const uint8_t pad1[40];
    static const uint8_t pad2[40] = { [0 ... 39] = 0xf2 };
    const struct digest_part parts[] = { { master, 16 }, { pad1, 40 }, { magic, strlen(magic) }, { pad2, 40 } };
    uint8_t hash[SHA1_LEN];
    int r = digest(DIGEST_SHA1, parts, 4, hash);
    if (r == 0)
        memcpy(out, hash, 16);
    secret_wipe(hash, sizeof hash);
    return r;
}

int mschapv2_keys(const uint8_t nt_hash[16], const uint8_t nt_response[24], struct mschapv2_keys *out)
{
    uint8_t hash_hash[16], master[SHA1_LEN]; /* the first 16 count, RFC 3079 3.4 */
    int r = nt_hash_hash(nt_hash, hash_hash);
    const struct digest_part parts[] = { { hash_hash, 16 },
                                         { nt_response, 24 },
                                         PART_STR("This is the MPPE Master Key") };
    if (r == 0)
        r = digest(DIGEST_SHA1, parts, 3, master);
    if (r == 0)
        r = start_key(master, "On the client side, this is the send key; on the server side, it is the receive key.",
                      out->client_to_server);
    if (r == 0)
        r = start_key(master, "On the client side, this is the receive key; on the server side, it is the send key.",
                      out->server_to_client);
    if (r != 0)
        secret_wipe(out, sizeof *out);
    secret_wipe(hash_hash, sizeof hash_hash);
    secret_wipe(master, sizeof master);
    return r;
}

void mschapv2_hlak(const struct mschapv2_keys *k, uint8_t out[32])
{
    memcpy(out, k->client_to_server, 16);
    memcpy(out + 16, k->server_to_client, 16);
}
