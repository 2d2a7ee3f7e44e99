#include "sstp/binding.h"

#include "base/ct.h"
#include "base/digest.h"

/* Where things stand in a CALL_CONNECTED (MS-SSTP 2.2.11). */
#define CC_ATTR_LEN (SSTP_CC_LEN - SSTP_CTL_HDR_LEN)
#define CC_HDRS_LEN 15 /* packet, control and attribute header, Reserved1 */
#define CC_MAC_AT   80

static const char cmk_seed[] = "SSTP inner method derived CMK"; /* 29 bytes without the NUL, 3.2.5.2.2 */

size_t sstp_hash_len(uint8_t hash_protocol)
{
    if (hash_protocol == SSTP_HASH_SHA1)
        return SHA1_LEN;
    return hash_protocol == SSTP_HASH_SHA256 ? SHA256_LEN : 0;
}

static enum digest_alg hash_alg(uint8_t hash_protocol)
{
    return hash_protocol == SSTP_HASH_SHA1 ? DIGEST_SHA1 : DIGEST_SHA256;
}

int sstp_binding_cmk(uint8_t hash_protocol, const uint8_t hlak[SSTP_HLAK_LEN], uint8_t cmk[SSTP_BINDING_HASH_MAX])
{
    size_t len = sstp_hash_len(hash_protocol);
    if (!len)
        return ERR_USAGE;
    uint8_t msg[sizeof cmk_seed - 1 + 3];
    struct wr w = wr_make(msg, sizeof msg);
    wr_str(&w, cmk_seed);
    wr_u8(&w, (uint8_t)len); /* LEN is little-endian here, unlike everything else in the protocol */
    wr_u8(&w, 0);
    wr_u8(&w, 1);
    if (!wr_ok(&w))
        return ERR_BUG;
    return digest_hmac(hash_alg(hash_protocol), hlak, SSTP_HLAK_LEN, msg, sizeof msg, cmk);
}

int sstp_binding_mac(uint8_t hash_protocol, const uint8_t hlak[SSTP_HLAK_LEN], const uint8_t cc[SSTP_CC_LEN],
                     uint8_t mac[SSTP_BINDING_HASH_MAX])
{
    uint8_t cmk[SSTP_BINDING_HASH_MAX];
    int err = sstp_binding_cmk(hash_protocol, hlak, cmk);
    if (err)
        return err;
    uint8_t msg[SSTP_CC_LEN] = { 0 };
    memcpy(msg, cc, CC_MAC_AT);
    err = digest_hmac(hash_alg(hash_protocol), cmk, sstp_hash_len(hash_protocol), msg, sizeof msg, mac);
    secret_wipe(cmk, sizeof cmk);
    return err;
}

bool sstp_cc_shaped(const struct sstp_msg *cc)
{
    struct rd attrs = cc->attrs;
    struct sstp_attr a;
    return rd_left(&cc->whole) == SSTP_CC_LEN && cc->count == 1 && sstp_attr_next(&attrs, &a) &&
           a.id == SSTP_ATTR_CRYPTO_BINDING && rd_left(&a.value) == CC_ATTR_LEN - 4;
}

/* Is the hash that of one of the certificates? All are compared, so that the time does not tell which. */
static bool cert_is_known(const struct sstp_binding *want, uint8_t hash, const uint8_t *cert, size_t len)
{
    bool found = false;
    for (size_t i = 0; i < want->n_certs; i++) {
        const struct sstp_cert_hashes *c = &want->certs[i];
        bool same = ct_equal(cert, hash == SSTP_HASH_SHA1 ? c->sha1 : c->sha256, len);
        found |= same & ((c->known & hash) != 0);
    }
    return found;
}

int sstp_binding_check(const struct sstp_binding *want, const uint8_t cc[SSTP_CC_LEN], struct sstp_binding_verdict *out)
{
    struct rd r = rd_make(cc, SSTP_CC_LEN);
    uint8_t hash;
    const uint8_t *nonce, *cert, *mac;
    if (!rd_skip(&r, CC_HDRS_LEN) || !rd_u8(&r, &hash) || !rd_bytes(&r, SSTP_NONCE_LEN, &nonce) ||
        !rd_bytes(&r, SSTP_BINDING_HASH_MAX, &cert) || !rd_bytes(&r, SSTP_BINDING_HASH_MAX, &mac))
        return ERR_BUG;
    *out = (struct sstp_binding_verdict){ .fault = SSTP_BINDING_HASH, .hash_protocol = hash };
    size_t len = sstp_hash_len(hash);
    if (!len || !(hash & want->hash_mask))
        return 0;
    memcpy(out->cert_hash, cert, len);
    out->fault = SSTP_BINDING_NONCE;
    if (!ct_equal(nonce, want->nonce, SSTP_NONCE_LEN))
        return 0;
    out->fault = SSTP_BINDING_CERT;
    if (!cert_is_known(want, hash, cert, len))
        return 0;
    out->fault = SSTP_BINDING_MAC;
    uint8_t expected[SSTP_BINDING_HASH_MAX];
    int err = sstp_binding_mac(hash, want->hlak, cc, expected);
    if (!err && ct_equal(mac, expected, len))
        out->fault = SSTP_BINDING_OK;
    secret_wipe(expected, sizeof expected);
    return err;
}

int sstp_cc_encode(struct wr *w, uint8_t hash_protocol, const uint8_t nonce[SSTP_NONCE_LEN], const uint8_t *cert_hash,
                   const uint8_t hlak[SSTP_HLAK_LEN])
{
    size_t len = sstp_hash_len(hash_protocol);
    if (!len)
        return ERR_USAGE;
    uint8_t cc[SSTP_CC_LEN] = { 0 }, mac[SSTP_BINDING_HASH_MAX];
    struct wr head = wr_make(cc, CC_MAC_AT);
    wr_u8(&head, SSTP_VERSION);
    wr_u8(&head, 1);
    wr_u16(&head, SSTP_CC_LEN);
    wr_u16(&head, SSTP_CALL_CONNECTED);
    wr_u16(&head, 1);
    wr_u8(&head, 0);
    wr_u8(&head, SSTP_ATTR_CRYPTO_BINDING);
    wr_u16(&head, CC_ATTR_LEN);
    wr_zero(&head, 3);
    wr_u8(&head, hash_protocol);
    wr_bytes(&head, nonce, SSTP_NONCE_LEN);
    wr_bytes(&head, cert_hash, len); /* padding stays zero, as for the MAC: it is part of what is hashed */
    int err = wr_ok(&head) ? sstp_binding_mac(hash_protocol, hlak, cc, mac) : ERR_BUG;
    if (err)
        return err;
    wr_bytes(w, cc, CC_MAC_AT);
    wr_bytes(w, mac, len);
    wr_zero(w, SSTP_BINDING_HASH_MAX - len);
    return wr_ok(w) ? 0 : ERR_LIMIT;
}
