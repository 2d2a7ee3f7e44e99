#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/ct.h"
#include "base/digest.h"
#include "sstp/binding.h"

struct vector { /* one positive case, with what its connection knew */
    uint8_t hash, mask;
    uint8_t nonce[32], hlak[32], cmk[32], mac[32], cc[SSTP_CC_LEN];
    struct sstp_cert_hashes cert;
};

static json_t *root;

static int setup(void **state)
{
    (void)state;
    json_error_t e;
    root = json_load_file(VECTORS_DIR "/sstp-crypto-binding.json", 0, &e);
    return root ? digest_init() : -1;
}

static int teardown(void **state)
{
    (void)state;
    json_decref(root);
    digest_fini();
    return 0;
}

static void field(const json_t *v, const char *key, uint8_t *out, size_t n)
{
    const char *hex = json_string_value(json_object_get(v, key));
    assert_non_null(hex);
    assert_true(hex_decode(hex, strlen(hex), out, n));
}

/* Both hashes of the leaf; a case without a certificate has the one that it was made with, and the other wrong. */
static void load_cert(const json_t *v, struct vector *out, size_t len)
{
    memset(&out->cert, 0xee, sizeof out->cert);
    out->cert.known = 3;
    const char *der = json_string_value(json_object_get(v, "cert_der"));
    uint8_t want[32], *bin;
    field(v, "cert_hash", want, len);
    if (der) {
        size_t n = strlen(der) / 2;
        bin = malloc(n);
        assert_true(hex_decode(der, 2 * n, bin, n));
        struct digest_part part = { bin, n };
        assert_int_equal(digest(DIGEST_SHA1, &part, 1, out->cert.sha1), 0);
        assert_int_equal(digest(DIGEST_SHA256, &part, 1, out->cert.sha256), 0);
        free(bin);
        assert_memory_equal(len == 20 ? out->cert.sha1 : out->cert.sha256, want, len);
    } else {
        memcpy(len == 20 ? out->cert.sha1 : out->cert.sha256, want, len);
    }
}

static struct vector load(const json_t *v)
{
    struct vector out = { .hash = (uint8_t)json_integer_value(json_object_get(v, "hash_protocol")),
                          .mask = (uint8_t)json_integer_value(json_object_get(v, "ack_bitmask")) };
    size_t len = sstp_hash_len(out.hash);
    assert_true(len > 0);
    field(v, "nonce", out.nonce, 32);
    field(v, "hlak", out.hlak, 32);
    field(v, "cmk", out.cmk, len);
    field(v, "compound_mac", out.mac, len);
    field(v, "call_connected_112", out.cc, SSTP_CC_LEN);
    load_cert(v, &out, len);
    return out;
}

static struct vector load_id(const char *id)
{
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(root, "positive"), i, v)
        if (!strcmp(json_string_value(json_object_get(v, "id")), id))
            return load(v);
    fail();
    return (struct vector){ 0 };
}

static struct sstp_binding_verdict judged(const struct vector *v, const uint8_t cc[SSTP_CC_LEN])
{
    struct sstp_binding want = { v->mask, v->nonce, &v->cert, 1, v->hlak };
    struct sstp_binding_verdict verdict;
    assert_int_equal(sstp_binding_check(&want, cc, &verdict), 0);
    return verdict;
}

static void test_positive_vectors(void **state)
{
    (void)state;
    size_t i;
    json_t *j;
    assert_int_equal(json_array_size(json_object_get(root, "positive")), 10);
    json_array_foreach(json_object_get(root, "positive"), i, j) {
        struct vector v = load(j);
        size_t len = sstp_hash_len(v.hash);
        uint8_t out[32], cc[SSTP_CC_LEN];
        assert_int_equal(sstp_binding_cmk(v.hash, v.hlak, out), 0);
        assert_memory_equal(out, v.cmk, len);
        assert_int_equal(sstp_binding_mac(v.hash, v.hlak, v.cc, out), 0);
        assert_memory_equal(out, v.mac, len);
        struct wr w = wr_make(cc, sizeof cc);
        const uint8_t *cert = v.hash == SSTP_HASH_SHA1 ? v.cert.sha1 : v.cert.sha256;
        assert_int_equal(sstp_cc_encode(&w, v.hash, v.nonce, cert, v.hlak), 0);
        assert_int_equal(wr_len(&w), SSTP_CC_LEN);
        assert_memory_equal(cc, v.cc, SSTP_CC_LEN);
        struct sstp_msg m;
        assert_int_equal(sstp_msg_parse(rd_make(v.cc, SSTP_CC_LEN), &m), 0);
        assert_true(sstp_cc_shaped(&m));
        struct sstp_binding_verdict got = judged(&v, v.cc);
        assert_int_equal(got.fault, SSTP_BINDING_OK);
        assert_int_equal(got.hash_protocol, v.hash);
        assert_memory_equal(got.cert_hash, cert, len);
    }
}

static const struct {
    const char *id;
    enum sstp_binding_fault fault;
} negatives[] = {
    { "swapped-hlak", SSTP_BINDING_MAC },
    { "big-endian-len", SSTP_BINDING_MAC },
    { "nul-in-seed", SSTP_BINDING_MAC },
    { "nonce-bit", SSTP_BINDING_NONCE },
    { "other-nonce-valid-mac", SSTP_BINDING_NONCE },
    { "cert-hash-bit", SSTP_BINDING_CERT },
    { "cert-hash-other-cert-valid-mac", SSTP_BINDING_CERT },
    { "mac-last-bit", SSTP_BINDING_MAC },
    { "zero-hlak-when-keys-exist", SSTP_BINDING_MAC },
    { "hash-not-offered", SSTP_BINDING_HASH },
    { "hash-both-bits", SSTP_BINDING_HASH },
    { "wrong-attribute", SSTP_BINDING_MISSING },
    { "attr-length-100", SSTP_BINDING_MISSING },
    { "no-attribute", SSTP_BINDING_MISSING },
};

static void test_negative_vectors(void **state)
{
    (void)state;
    json_t *all = json_object_get(root, "negative");
    assert_int_equal(json_array_size(all), sizeof negatives / sizeof *negatives);
    for (size_t i = 0; i < json_array_size(all); i++) {
        json_t *j = json_array_get(all, i);
        assert_string_equal(json_string_value(json_object_get(j, "id")), negatives[i].id);
        struct vector v = load_id(json_string_value(json_object_get(j, "relative_to")));
        v.mask = strcmp(negatives[i].id, "hash-not-offered") ? 3 : 2;
        const char *hex = json_string_value(json_object_get(j, "call_connected"));
        uint8_t cc[SSTP_CC_LEN];
        size_t n = strlen(hex) / 2;
        assert_true(n <= sizeof cc && hex_decode(hex, 2 * n, cc, n));
        struct sstp_msg m;
        assert_int_equal(sstp_msg_parse(rd_make(cc, n), &m), 0);
        assert_int_equal(sstp_cc_shaped(&m), negatives[i].fault != SSTP_BINDING_MISSING);
        if (negatives[i].fault != SSTP_BINDING_MISSING)
            assert_int_equal(judged(&v, cc).fault, negatives[i].fault);
    }
}

static void test_the_served_leaf_is_compared(void **state)
{
    (void)state;
    static const char *const ids[] = { "mschapv2-sha1-rsa", "mschapv2-sha256-rsa" };
    for (int i = 0; i < 2; i++) {
        struct vector v = load_id(ids[i]);
        uint8_t *own = i ? v.cert.sha256 : v.cert.sha1, *other = i ? v.cert.sha1 : v.cert.sha256;
        other[0] ^= 1;
        assert_int_equal(judged(&v, v.cc).fault, SSTP_BINDING_OK);
        own[sstp_hash_len(v.hash) - 1] ^= 1;
        struct sstp_binding_verdict got = judged(&v, v.cc);
        assert_int_equal(got.fault, SSTP_BINDING_CERT);
        assert_memory_equal(got.cert_hash, v.cc + 48, 32);
    }
}

/* Every byte counts but the padding behind a SHA-1 MAC, which is ignored. The order of the checks shows. */
static void test_every_bit(void **state)
{
    (void)state;
    static const char *const ids[] = { "mschapv2-sha1-rsa", "mschapv2-sha256-rsa" };
    for (int i = 0; i < 2; i++) {
        struct vector v = load_id(ids[i]);
        v.mask = 3;
        size_t len = sstp_hash_len(v.hash);
        for (size_t bit = 0; bit < SSTP_CC_LEN * 8; bit++) {
            size_t at = bit / 8;
            uint8_t cc[SSTP_CC_LEN];
            memcpy(cc, v.cc, sizeof cc);
            cc[at] ^= (uint8_t)(1 << bit % 8);
            enum sstp_binding_fault want = SSTP_BINDING_MAC, got = judged(&v, cc).fault;
            if (at == 15)
                want = SSTP_BINDING_HASH;
            else if (at >= 16 && at < 48)
                want = SSTP_BINDING_NONCE;
            else if (at >= 48 && at < 48 + len)
                want = SSTP_BINDING_CERT;
            else if (at >= 80 + len)
                want = SSTP_BINDING_OK;
            assert_int_equal(got, want);
        }
    }
}

/* Reserved bits are covered as they were sent: set by the sender before the MAC, they do no harm. */
static void test_reserved_bits_are_covered_as_sent(void **state)
{
    (void)state;
    struct vector v = load_id("mschapv2-sha256-rsa");
    v.cc[1] |= 0xf0;
    v.cc[2] |= 0xf0;
    v.cc[8] = 0x55;
    v.cc[12] = 0x99;
    assert_int_equal(judged(&v, v.cc).fault, SSTP_BINDING_MAC);
    assert_int_equal(sstp_binding_mac(v.hash, v.hlak, v.cc, v.cc + 80), 0);
    struct sstp_msg m;
    assert_int_equal(sstp_msg_parse(rd_make(v.cc, SSTP_CC_LEN), &m), 0);
    assert_true(sstp_cc_shaped(&m));
    assert_int_equal(judged(&v, v.cc).fault, SSTP_BINDING_OK);
}

static void test_hash_must_be_one_of_those_offered(void **state)
{
    (void)state;
    struct vector v = load_id("mschapv2-sha256-rsa"), w = load_id("mschapv2-sha1-rsa");
    for (unsigned mask = 0; mask < 4; mask++) {
        v.mask = w.mask = (uint8_t)mask;
        assert_int_equal(judged(&v, v.cc).fault, mask & 2 ? SSTP_BINDING_OK : SSTP_BINDING_HASH);
        assert_int_equal(judged(&w, w.cc).fault, mask & 1 ? SSTP_BINDING_OK : SSTP_BINDING_HASH);
    }
    v.mask = 0xff;
    for (unsigned hash = 0; hash < 256; hash++) {
        v.cc[15] = (uint8_t)hash;
        assert_int_equal(judged(&v, v.cc).fault == SSTP_BINDING_HASH, hash != 1 && hash != 2);
    }
}

static void test_usage_errors(void **state)
{
    (void)state;
    struct vector v = load_id("mschapv2-sha256-rsa");
    uint8_t out[SSTP_CC_LEN];
    struct wr w = wr_make(out, SSTP_CC_LEN - 1);
    assert_int_equal(sstp_cc_encode(&w, v.hash, v.nonce, v.cert.sha256, v.hlak), ERR_LIMIT);
    w = wr_make(out, SSTP_CC_LEN);
    assert_int_equal(sstp_cc_encode(&w, 3, v.nonce, v.cert.sha256, v.hlak), ERR_USAGE);
    assert_int_equal(wr_len(&w), 0);
    assert_int_equal(sstp_binding_cmk(0, v.hlak, out), ERR_USAGE);
    assert_int_equal(sstp_binding_mac(4, v.hlak, v.cc, out), ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_positive_vectors),
        cmocka_unit_test(test_negative_vectors),
        cmocka_unit_test(test_the_served_leaf_is_compared),
        cmocka_unit_test(test_every_bit),
        cmocka_unit_test(test_reserved_bits_are_covered_as_sent),
        cmocka_unit_test(test_hash_must_be_one_of_those_offered),
        cmocka_unit_test(test_usage_errors),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
