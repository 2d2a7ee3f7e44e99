#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "auth/chap.h"
#include "auth/mschapv2.h"
#include "auth/pap.h"
#include "auth/users.h"
#include "base/ct.h"
#include "base/digest.h"

/* The vectors, and hexadecimal fields of them. */

static json_t *load(const char *name)
{
    char path[512];
    json_error_t err;
    snprintf(path, sizeof path, "%s/%s", VECTORS_DIR, name);
    json_t *root = json_load_file(path, 0, &err);
    if (!root)
        fail_msg("%s: %s", path, err.text);
    return root;
}

static const char *text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    if (!s)
        fail_msg("vector without %s", key);
    return s;
}

struct bytes {
    uint8_t data[1024];
    size_t len;
};

static struct bytes unhex(const char *hex)
{
    struct bytes b = { .len = strlen(hex) / 2 };
    assert_true(b.len <= sizeof b.data && hex_decode(hex, strlen(hex), b.data, b.len));
    return b;
}

static struct bytes bin(const json_t *o, const char *key)
{
    return unhex(text(o, key));
}

#define assert_bytes(got, want)                                                                                        \
    do {                                                                                                               \
        struct bytes want_ = (want);                                                                                   \
        assert_memory_equal(got, want_.data, want_.len);                                                               \
    } while (0)

static void assert_text(struct rd r, const char *want)
{
    assert_int_equal(rd_left(&r), strlen(want));
    if (*want)
        assert_memory_equal(r.p, want, strlen(want));
}

/* A copy of n bytes of its own, so that a sanitizer sees reads past the end. */
static uint8_t *exact(const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, p, n);
    return copy;
}

static void test_arithmetic(void **state)
{
    (void)state;
    json_t *root = load("mschapv2.json"), *v;
    size_t i;
    /* a description, auth, mppe_session_keys, des_key_expansion (test_base), failure_messages, change_password: a new
       group of vectors wants a test of its own */
    assert_int_equal(json_object_size(root), 6);
    assert_true(json_array_size(json_object_get(root, "auth")) >= 6);
    json_array_foreach(json_object_get(root, "auth"), i, v) {
        const char *password = text(v, "password"), *bare;
        size_t bare_len;
        uint8_t hash[16], challenge8[8], nt[24], hlak[32];
        char auth[42];
        struct mschapv2_keys keys;
        struct bytes peer = bin(v, "peer_challenge"), ours = bin(v, "authenticator_challenge");
        assert_int_equal(users_nt_hash(password, strlen(password), hash), 0);
        assert_bytes(hash, bin(v, "nt_hash"));
        mschapv2_bare_name(text(v, "user"), strlen(text(v, "user")), &bare, &bare_len);
        assert_int_equal(mschapv2_challenge_hash(peer.data, ours.data, bare, bare_len, challenge8), 0);
        assert_bytes(challenge8, bin(v, "challenge8"));
        assert_int_equal(mschapv2_nt_response(hash, challenge8, nt), 0);
        assert_bytes(nt, bin(v, "nt_response"));
        assert_int_equal(mschapv2_auth_response(hash, nt, challenge8, auth), 0);
        assert_memory_equal(auth, text(v, "authenticator_response"), 42);
        assert_int_equal(mschapv2_keys(hash, nt, &keys), 0);
        assert_bytes(keys.client_to_server, bin(v, "key_client_to_server_magic2"));
        assert_bytes(keys.server_to_client, bin(v, "key_server_to_client_magic3"));
        mschapv2_hlak(&keys, hlak);
        assert_bytes(hlak, bin(v, "hlak"));
    }
    json_decref(root);
}

/* RFC 3079 7.3, GetNewKeyFromSHA; in place. */
static void new_key_from_sha(const uint8_t *start, uint8_t *session, size_t len)
{
    uint8_t pad1[40] = { 0 }, pad2[40], out[SHA1_LEN];
    memset(pad2, 0xf2, sizeof pad2);
    const struct digest_part parts[] = {
        { start, len }, { pad1, sizeof pad1 }, { session, len }, { pad2, sizeof pad2 }
    };
    assert_int_equal(digest(DIGEST_SHA1, parts, 4, out), 0);
    memcpy(session, out, len);
}

/*
 * RFC 3079 3.5: the start keys are ours, cut to the strength. MPPE itself is not implemented: the session keys follow
 * from the start key by SHA-1 and are checked, the RC4 test messages are not.
 */
static void test_mppe_keys(void **state)
{
    (void)state;
    static const struct {
        int bits;
        size_t len, salt_len;
        const char *salt;
    } rows[] = { { 40, 8, 3, "\xd1\x26\x9e" }, { 56, 8, 1, "\xd1" }, { 128, 16, 0, "" } };
    json_t *root = load("mschapv2.json"), *all = json_object_get(json_object_get(root, "mppe_session_keys"), "keys");
    json_t *v, *auth = json_array_get(json_object_get(root, "auth"), 0);
    struct bytes hash = bin(auth, "nt_hash"), nt = bin(auth, "nt_response");
    struct mschapv2_keys keys;
    size_t i;
    assert_string_equal(text(auth, "id"), "rfc2759-9.2");
    assert_int_equal(mschapv2_keys(hash.data, nt.data, &keys), 0);
    assert_int_equal(json_array_size(all), sizeof rows / sizeof rows[0]);
    json_array_foreach(all, i, v) {
        struct bytes start = bin(v, "send_start_key"), want = bin(v, "send_session_key");
        uint8_t session[16];
        assert_int_equal(json_integer_value(json_object_get(v, "bits")), rows[i].bits);
        assert_int_equal(start.len, rows[i].len);
        assert_int_equal(want.len, rows[i].len);
        assert_memory_equal(keys.server_to_client, start.data, start.len);
        memcpy(session, keys.server_to_client, start.len);
        new_key_from_sha(keys.server_to_client, session, start.len);
        memcpy(session, rows[i].salt, rows[i].salt_len);
        assert_memory_equal(session, want.data, want.len);
    }
    json_decref(root);
}

/*
 * Change-Password (RFC 2759 7) is not implemented, RC4 neither, so that the encryption of the block is not checked.
 * What our primitives can say of the vector is: both hashes, the block's clear text, Encrypted-Hash, NT-Response, the
 * packet's parts; and that such a packet is none that we take.
 */
static void test_change_password(void **state)
{
    (void)state;
    json_t *root = load("mschapv2.json"), *v = json_object_get(root, "change_password");
    const char *old = text(v, "old_password"), *new = text(v, "new_password"), *user = text(v, "user");
    struct bytes ours = bin(v, "failure_challenge"), peer = bin(v, "peer_challenge"), clear = bin(v, "clear_pwblock"),
                 block = bin(v, "encrypted_pwblock"), packet = bin(v, "packet");
    uint8_t old_hash[16], new_hash[16], sealed[16], challenge8[8], nt[24], buf[600];
    assert_int_equal(users_nt_hash(old, strlen(old), old_hash), 0);
    assert_bytes(old_hash, bin(v, "old_nt_hash"));
    assert_int_equal(users_nt_hash(new, strlen(new), new_hash), 0);
    assert_bytes(new_hash, bin(v, "new_nt_hash"));

    /* 8.10: the password ends at octet 512, its length follows */
    size_t n = strlen(new);
    assert_int_equal(clear.len, 516);
    assert_memory_equal(clear.data + 512, ((uint8_t[4]){ (uint8_t)(2 * n), 0, 0, 0 }), 4);
    for (size_t i = 0; i < n; i++)
        assert_memory_equal(clear.data + 512 - 2 * (n - i), ((uint8_t[2]){ (uint8_t) new[i], 0 }), 2);

    /* 8.12: the old hash, sealed with the new one */
    for (size_t half = 0; half < 2; half++)
        assert_int_equal(digest_des7(new_hash + 7 * half, old_hash + 8 * half, sealed + 8 * half), 0);
    assert_bytes(sealed, bin(v, "encrypted_hash"));
    assert_int_equal(mschapv2_challenge_hash(peer.data, ours.data, user, strlen(user), challenge8), 0);
    assert_int_equal(mschapv2_nt_response(new_hash, challenge8, nt), 0);
    assert_bytes(nt, bin(v, "nt_response"));

    struct wr w = wr_make(buf, sizeof buf);
    wr_u8(&w, 7);
    wr_u8(&w, packet.data[1]);
    wr_u16(&w, 586);
    wr_bytes(&w, block.data, block.len);
    wr_bytes(&w, sealed, sizeof sealed);
    wr_bytes(&w, peer.data, peer.len);
    wr_bytes(&w, (uint8_t[8]){ 0 }, 8);
    wr_bytes(&w, nt, sizeof nt);
    wr_u16(&w, 0);
    assert_int_equal(wr_len(&w), packet.len);
    assert_memory_equal(buf, packet.data, packet.len);
    struct chap_pkt pkt;
    assert_int_equal(chap_parse(rd_make(packet.data, packet.len), 0, &pkt), ERR_PEER);
    json_decref(root);
}

/* RFC 2759 9.3: the hash of MyPw. */
static void test_nt_hash(void **state)
{
    (void)state;
    uint8_t hash[16];
    json_t *root = load("mschapv2.json");
    assert_int_equal(users_nt_hash("MyPw", 4, hash), 0);
    assert_bytes(hash, bin(json_object_get(root, "des_key_expansion"), "nt_hash"));
    json_decref(root);
    static const char *const not_utf8[] = {
        "\x80", "a\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80",
        "\xff", "\xc3("
    };
    for (size_t i = 0; i < sizeof not_utf8 / sizeof *not_utf8; i++)
        assert_int_equal(users_nt_hash(not_utf8[i], strlen(not_utf8[i]), hash), ERR_USAGE);
    char big[USERS_PASSWORD_MAX + 1];
    memset(big, 'x', sizeof big);
    assert_int_equal(users_nt_hash(big, USERS_PASSWORD_MAX, hash), 0);
    assert_int_equal(users_nt_hash(big, USERS_PASSWORD_MAX + 1, hash), ERR_USAGE);
}

static void test_bare_name(void **state)
{
    (void)state;
    static const char *const cases[][2] = { { "User", "User" },       { "DOM\\User", "User" }, { "A\\B\\c", "c" },
                                            { "u@realm", "u@realm" }, { "DOM\\", "" },         { "", "" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *bare;
        size_t len;
        mschapv2_bare_name(cases[i][0], strlen(cases[i][0]), &bare, &len);
        assert_int_equal(len, strlen(cases[i][1]));
        assert_memory_equal(bare, cases[i][1], len);
    }
}

/* Cut at each length nothing parses; octets after Length are padding; Length off by one is seen. */
static void check_cuts(const struct bytes *b, size_t value_len)
{
    struct chap_pkt pkt;
    for (size_t n = 0; n < b->len; n++) {
        uint8_t *cut = exact(b->data, n);
        assert_int_equal(chap_parse(rd_make(cut, n), value_len, &pkt), ERR_PEER);
        free(cut);
    }
    struct bytes more = *b;
    more.data[more.len++] = 0xee;
    assert_int_equal(chap_parse(rd_make(more.data, more.len), value_len, &pkt), 0);
    more.len--;
    more.data[3]++;
    assert_int_equal(chap_parse(rd_make(more.data, more.len), value_len, &pkt), ERR_PEER);
    for (uint8_t len = 0; len < 4; len++) {
        more.data[3] = len;
        assert_int_equal(chap_parse(rd_make(more.data, more.len), value_len, &pkt), ERR_PEER);
    }
}

static void reencode(const struct chap_pkt *p, const struct bytes *want)
{
    uint8_t buf[1024];
    for (size_t cap = 0; cap <= want->len; cap++) {
        struct wr w = wr_make(buf, cap);
        if (p->code <= CHAP_RESPONSE)
            chap_value_encode(&w, p->code, p->id, p->value.p, (uint8_t)rd_left(&p->value), p->name.p,
                              rd_left(&p->name));
        else
            chap_message_encode(&w, p->code, p->id, p->message.p, rd_left(&p->message));
        assert_int_equal(wr_ok(&w), cap == want->len);
    }
    assert_memory_equal(buf, want->data, want->len);
}

static void check_challenge(const json_t *v)
{
    struct bytes b = bin(v, "chap_challenge_packet");
    struct chap_pkt pkt;
    assert_int_equal(chap_parse(rd_make(b.data, b.len), CHAP_CHALLENGE_LEN, &pkt), 0);
    assert_int_equal(pkt.code, CHAP_CHALLENGE);
    assert_int_equal(rd_left(&pkt.value), 16);
    assert_bytes(pkt.value.p, bin(v, "authenticator_challenge"));
    reencode(&pkt, &b);
    check_cuts(&b, CHAP_CHALLENGE_LEN);
    assert_int_equal(chap_parse(rd_make(b.data, b.len), 0, &pkt), 0);
    assert_int_equal(chap_parse(rd_make(b.data, b.len), CHAP_MSCHAPV2_VALUE_LEN, &pkt), ERR_PEER);
}

static void check_response(const json_t *v)
{
    struct bytes b = bin(v, "chap_response_packet");
    struct chap_pkt pkt;
    struct chap_mschapv2_response r;
    uint8_t buf[512];
    struct wr w = wr_make(buf, sizeof buf);
    assert_int_equal(chap_parse(rd_make(b.data, b.len), CHAP_MSCHAPV2_VALUE_LEN, &pkt), 0);
    assert_int_equal(pkt.code, CHAP_RESPONSE);
    assert_text(pkt.name, text(v, "user"));
    assert_int_equal(chap_mschapv2_response_parse(pkt.value, &r), 0);
    assert_bytes(r.peer_challenge, bin(v, "peer_challenge"));
    assert_bytes(r.nt_response, bin(v, "nt_response"));
    chap_mschapv2_response_encode(&w, pkt.id, &r, pkt.name.p, rd_left(&pkt.name));
    assert_true(wr_ok(&w));
    assert_int_equal(wr_len(&w), b.len);
    assert_memory_equal(buf, b.data, b.len);
    reencode(&pkt, &b);
    check_cuts(&b, CHAP_MSCHAPV2_VALUE_LEN);
    struct rd value = pkt.value;
    for (value.end--; !rd_end(&value); value.end--)
        assert_int_equal(chap_mschapv2_response_parse(value, &r), ERR_PEER);
    b.data[4]--; /* Value-Size off by one */
    assert_int_equal(chap_parse(rd_make(b.data, b.len), CHAP_MSCHAPV2_VALUE_LEN, &pkt), ERR_PEER);
    b.data[4] += 2;
    assert_int_equal(chap_parse(rd_make(b.data, b.len), CHAP_MSCHAPV2_VALUE_LEN, &pkt), ERR_PEER);
    b.data[4] = 0;
    assert_int_equal(chap_parse(rd_make(b.data, b.len), 0, &pkt), ERR_PEER);
}

static void check_success(const json_t *v)
{
    struct bytes b = bin(v, "chap_success_packet");
    struct chap_pkt pkt;
    struct rd msg;
    char auth[42];
    uint8_t buf[512];
    struct wr w = wr_make(buf, sizeof buf);
    assert_int_equal(chap_parse(rd_make(b.data, b.len), CHAP_MSCHAPV2_VALUE_LEN, &pkt), 0);
    assert_int_equal(pkt.code, CHAP_SUCCESS);
    assert_int_equal(chap_mschapv2_success_parse(pkt.message, auth, &msg), 0);
    assert_memory_equal(auth, text(v, "authenticator_response"), 42);
    assert_text(msg, "Access granted");
    chap_mschapv2_success_encode(&w, pkt.id, auth, "Access granted");
    assert_true(wr_ok(&w));
    assert_int_equal(wr_len(&w), b.len);
    assert_memory_equal(buf, b.data, b.len);
    reencode(&pkt, &b);
    check_cuts(&b, 0);
    struct rd cut = { pkt.message.p, pkt.message.p };
    for (; cut.end < pkt.message.p + 42; cut.end++)
        assert_int_equal(chap_mschapv2_success_parse(cut, auth, &msg), ERR_PEER);
    assert_int_equal(chap_mschapv2_success_parse(cut, auth, &msg), 0);
    assert_true(rd_end(&msg));
}

static void test_packets(void **state)
{
    (void)state;
    json_t *root = load("mschapv2.json"), *v;
    size_t i;
    json_array_foreach(json_object_get(root, "auth"), i, v) {
        check_challenge(v);
        check_response(v);
        check_success(v);
    }
    json_decref(root);
}

static struct rd str(const char *s)
{
    return rd_make(s, strlen(s));
}

static void test_failure_vectors(void **state)
{
    (void)state;
    json_t *root = load("mschapv2.json"), *v;
    size_t i;
    assert_true(json_array_size(json_object_get(root, "failure_messages")) >= 4);
    json_array_foreach(json_object_get(root, "failure_messages"), i, v) {
        struct chap_failure f;
        uint8_t buf[256];
        struct wr w = wr_make(buf, sizeof buf);
        const char *want = text(v, "text"), *c = json_string_value(json_object_get(v, "challenge"));
        assert_int_equal(chap_mschapv2_failure_parse(str(want), &f), 0);
        assert_int_equal(f.error, json_integer_value(json_object_get(v, "error")));
        assert_int_equal(f.retry, json_integer_value(json_object_get(v, "retry")));
        assert_int_equal(f.version, json_integer_value(json_object_get(v, "version")));
        assert_int_equal(f.has_challenge, c != NULL);
        if (c)
            assert_bytes(f.challenge, unhex(c));
        const char *m = strstr(want, "M=");
        assert_text(f.text, m ? m + 2 : "");
        chap_mschapv2_failure_encode(&w, 7, &f);
        assert_true(wr_ok(&w));
        assert_int_equal(wr_len(&w), strlen(want) + 4);
        assert_memory_equal(buf + 4, want, strlen(want));
        assert_int_equal(buf[0], CHAP_FAILURE);
        assert_int_equal(buf[3], wr_len(&w));
    }
    json_decref(root);
}

static void test_failure_forms(void **state)
{
    (void)state;
    static const struct {
        const char *message, *text;
        uint32_t error, version;
        bool retry, challenge;
    } good[] = {
        { "E=691", "", 691, 0, false, false },
        { "  E=691  ", "", 691, 0, false, false },
        { "V=3 R=1 E=691", "", 691, 3, true, false },
        { "C=00112233445566778899aabbccddeeff E=648", "", 648, 0, false, true },
        { "E=691 R=2", "", 691, 0, false, false },
        { "M=some words R=1 E=647", "some words", 647, 0, true, false },
        { "E=691 M=no E=5 R=1 here", "no E=5 R=1 here", 691, 0, false, false },
        { "X=9 E=691 what R=1", "", 691, 0, true, false },
    };
    static const char *const wrong[] = {
        "",         "R=1",        "E=",       "E=x",        "E=1234567890", "E=-1",
        "E=691 R=", "E=691 C=00", "E=691 V=", "E=691 R=1x", "M=E=691",      "E=691 C=zz112233445566778899aabbccddeeff"
    };
    struct chap_failure f;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(chap_mschapv2_failure_parse(str(good[i].message), &f), 0);
        assert_int_equal(f.error, good[i].error);
        assert_int_equal(f.version, good[i].version);
        assert_int_equal(f.retry, good[i].retry);
        assert_int_equal(f.has_challenge, good[i].challenge);
        assert_text(f.text, good[i].text);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(chap_mschapv2_failure_parse(str(wrong[i]), &f), ERR_PEER);
}

static void test_success_forms(void **state)
{
    (void)state;
    struct rd msg;
    char auth[42];
#define S40 "407A5589115FD0D6209F510FE9C04566932CDA56"
    assert_int_equal(chap_mschapv2_success_parse(str("S=" S40), auth, &msg), 0);
    assert_int_equal(chap_mschapv2_success_parse(str("S=" S40 "M=hi"), auth, &msg), 0);
    assert_text(msg, "hi");
    assert_int_equal(chap_mschapv2_success_parse(str("S=" S40 " else"), auth, &msg), 0);
    assert_text(msg, "");
    assert_int_equal(chap_mschapv2_success_parse(str("s=" S40), auth, &msg), ERR_PEER);
    assert_int_equal(chap_mschapv2_success_parse(str("S=X07A5589115FD0D6209F510FE9C04566932CDA56"), auth, &msg),
                     ERR_PEER);
    uint8_t buf[64];
    struct wr w = wr_make(buf, sizeof buf);
    chap_mschapv2_success_encode(&w, 1, "S=" S40, NULL);
    assert_int_equal(wr_len(&w), 46);
}

static void test_chap_codes_and_names(void **state)
{
    (void)state;
    struct chap_pkt pkt;
    uint8_t name[CHAP_NAME_MAX + 1], buf[512];
    memset(name, 'n', sizeof name);
    for (unsigned code = 0; code < 256; code++) {
        uint8_t p[] = { (uint8_t)code, 9, 0, 7, 1, 0xaa, 'x' };
        assert_int_equal(chap_parse(rd_make(p, sizeof p), 0, &pkt), code >= 1 && code <= 4 ? 0 : ERR_PEER);
    }
    for (size_t extra = 0; extra < 2; extra++) {
        struct wr w = wr_make(buf, sizeof buf);
        chap_value_encode(&w, CHAP_RESPONSE, 1, "0123456789abcdef", 16, name, CHAP_NAME_MAX + extra);
        assert_true(wr_ok(&w));
        assert_int_equal(chap_parse(rd_make(buf, wr_len(&w)), 16, &pkt), extra ? ERR_PEER : 0);
    }
}

static void test_chap_md5(void **state)
{
    (void)state;
    json_t *root = load("radius.json"), *v = json_object_get(root, "chap_md5");
    uint8_t value[16], id = (uint8_t)json_integer_value(json_object_get(v, "identifier"));
    const char *secret = text(v, "secret");
    struct bytes challenge = bin(v, "challenge");
    assert_int_equal(chap_md5_value(id, secret, strlen(secret), challenge.data, challenge.len, value), 0);
    assert_bytes(value, bin(v, "response"));
    assert_int_equal(chap_md5_check(id, secret, strlen(secret), challenge.data, challenge.len, value), 0);
    for (size_t i = 0; i < 16; i++) {
        value[i] ^= 1;
        assert_int_equal(chap_md5_check(id, secret, strlen(secret), challenge.data, challenge.len, value), ERR_AUTH);
        value[i] ^= 1;
    }
    id++;
    assert_int_equal(chap_md5_check(id, secret, strlen(secret), challenge.data, challenge.len, value), ERR_AUTH);
    json_decref(root);
}

static void pap_check(const uint8_t *p, size_t n)
{
    struct pap_pkt pkt;
    uint8_t buf[1024];
    struct wr w = wr_make(buf, sizeof buf);
    assert_int_equal(pap_parse(rd_make(p, n), &pkt), 0);
    assert_int_equal(pkt.id, 1);
    if (pkt.code == PAP_REQUEST) {
        assert_text(pkt.name, "alice");
        assert_text(pkt.password, "s3cret");
        pap_request_encode(&w, pkt.id, pkt.name.p, rd_left(&pkt.name), pkt.password.p, rd_left(&pkt.password));
    } else {
        assert_text(pkt.message, pkt.code == PAP_NAK ? "Login failed" : "");
        pap_reply_encode(&w, pkt.code, pkt.id, pkt.message.p, rd_left(&pkt.message));
    }
    assert_true(wr_ok(&w));
    assert_int_equal(wr_len(&w), n);
    assert_memory_equal(buf, p, n);
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *part = exact(p, cut);
        assert_int_equal(pap_parse(rd_make(part, cut), &pkt), ERR_PEER);
        free(part);
    }
}

static void test_pap(void **state)
{
    (void)state;
    json_t *root = load("ppp-frames.json"), *v;
    size_t i, seen = 0;
    json_array_foreach(json_object_get(root, "frames"), i, v) {
        struct bytes b = bin(v, "hex");
        if (b.len < 8 || memcmp(b.data, "\xff\x03\xc0\x23", 4) != 0)
            continue;
        pap_check(b.data + 4, b.len - 4);
        seen++;
    }
    json_decref(root);
    assert_int_equal(seen, 3);
}

static void test_pap_forms(void **state)
{
    (void)state;
    struct pap_pkt pkt;
    /* an Ack with no Msg-Length, with a text without one, with octets past the message and past Length */
    assert_int_equal(pap_parse(rd_make("\2\1\0\4", 4), &pkt), 0);
    assert_text(pkt.message, "");
    assert_int_equal(pap_parse(rd_make("\2\1\0\7Hey", 7), &pkt), 0);
    assert_text(pkt.message, "Hey");
    assert_int_equal(pap_parse(rd_make("\3\1\0\7\1ab", 7), &pkt), 0);
    assert_text(pkt.message, "a");
    assert_int_equal(pap_parse(rd_make("\3\1\0\6\1abcd", 9), &pkt), 0);
    assert_text(pkt.message, "a");
    /* lengths that lie: the name's, the password's, the packet's */
    assert_int_equal(pap_parse(rd_make("\1\1\0\10\1a\1b", 8), &pkt), 0);
    assert_int_equal(pap_parse(rd_make("\1\1\0\10\3a\1b", 8), &pkt), ERR_PEER);
    assert_int_equal(pap_parse(rd_make("\1\1\0\10\1a\2b", 8), &pkt), ERR_PEER);
    assert_int_equal(pap_parse(rd_make("\1\1\0\7\1a\1b", 8), &pkt), ERR_PEER);
    assert_int_equal(pap_parse(rd_make("\1\1\0\11\1a\1b", 8), &pkt), ERR_PEER);
    assert_int_equal(pap_parse(rd_make("\4\1\0\4", 4), &pkt), ERR_PEER);
    assert_int_equal(pap_parse(rd_make("\0\1\0\4", 4), &pkt), ERR_PEER);
    uint8_t buf[600], big[256] = { 0 };
    struct wr w = wr_make(buf, sizeof buf);
    pap_request_encode(&w, 1, big, 256, "x", 1);
    assert_false(wr_ok(&w));
    w = wr_make(buf, sizeof buf);
    pap_reply_encode(&w, PAP_NAK, 1, big, 256);
    assert_int_equal(wr_len(&w), 260);
}

/* Whatever the bytes: what parses lies inside the packet. */
static void test_mutations(void **state)
{
    (void)state;
    json_t *root = load("mschapv2.json");
    struct bytes base = bin(json_array_get(json_object_get(root, "auth"), 0), "chap_response_packet");
    uint64_t seed = 1;
    unsigned good = 0;
    for (int round = 0; round < 20000; round++) {
        struct bytes b = base;
        for (int k = 0; k < 3; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            b.data[(seed >> 33) % 12] = (uint8_t)((seed >> 20) % (k ? 80 : 256));
        }
        b.len = (seed >> 40) % (base.len + 1);
        uint8_t *p = exact(b.data, b.len);
        struct chap_pkt c;
        struct pap_pkt a;
        if (chap_parse(rd_make(p, b.len), 0, &c) == 0) {
            const struct rd parts[] = { c.value, c.name, c.message };
            size_t sum = 0;
            for (size_t i = 0; i < 3; i++)
                sum += rd_left(&parts[i]);
            assert_true(sum <= b.len - 4);
            good++;
        }
        if (pap_parse(rd_make(p, b.len), &a) == 0)
            assert_true(rd_left(&a.name) + rd_left(&a.password) + rd_left(&a.message) <= b.len - 4);
        free(p);
    }
    assert_true(good > 0);
    json_decref(root);
}

static int setup(void **state)
{
    (void)state;
    return digest_init();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arithmetic),      cmocka_unit_test(test_nt_hash),
        cmocka_unit_test(test_bare_name),       cmocka_unit_test(test_packets),
        cmocka_unit_test(test_failure_vectors), cmocka_unit_test(test_failure_forms),
        cmocka_unit_test(test_success_forms),   cmocka_unit_test(test_chap_codes_and_names),
        cmocka_unit_test(test_chap_md5),        cmocka_unit_test(test_pap),
        cmocka_unit_test(test_pap_forms),       cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_mppe_keys),       cmocka_unit_test(test_change_password),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
