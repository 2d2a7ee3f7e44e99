/* EAP packets: the vectors both ways, cut and lied about; the Type-Data of EAP-MSCHAPv2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "auth/eap.h"
#include "base/ct.h"

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

/* The packet of this name among the vectors. */
static struct bytes packet(const char *name)
{
    json_t *root = load("eap.json"), *v;
    struct bytes b = { .len = 0 };
    size_t i;
    json_array_foreach(json_object_get(root, "packets"), i, v) {
        if (strcmp(text(v, "name"), name) == 0)
            b = unhex(text(v, "hex"));
    }
    json_decref(root);
    if (b.len == 0)
        fail_msg("no packet %s", name);
    return b;
}

static struct eap_pkt parsed(const struct bytes *b)
{
    struct eap_pkt pkt;
    assert_int_equal(eap_parse(rd_make(b->data, b->len), &pkt), 0);
    return pkt;
}

static struct eap_mschapv2 parsed_mschapv2(const struct bytes *b)
{
    struct eap_mschapv2 m;
    struct eap_pkt pkt = parsed(b);
    assert_int_equal(pkt.type, EAP_TYPE_MSCHAPV2);
    assert_int_equal(eap_mschapv2_parse(pkt.data, &m), 0);
    return m;
}

/* A copy of n bytes of its own, so that a sanitizer sees reads past the end. */
static uint8_t *exact(const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, p, n);
    return copy;
}

static void assert_written(const struct wr *w, const struct bytes *want)
{
    assert_true(wr_ok(w));
    assert_int_equal(wr_len(w), want->len);
    assert_memory_equal(w->base, want->data, want->len);
}

static void assert_text(struct rd r, const char *want)
{
    assert_int_equal(rd_left(&r), strlen(want));
    assert_memory_equal(r.p, want, strlen(want));
}

/* Every packet: read, written again, cut at each length, its Length off by one, padded. */
static void test_packets(void **state)
{
    (void)state;
    json_t *root = load("eap.json"), *v;
    size_t i;
    assert_int_equal(json_array_size(json_object_get(root, "packets")), 15);
    json_array_foreach(json_object_get(root, "packets"), i, v) {
        struct bytes b = unhex(text(v, "hex"));
        struct eap_pkt pkt = parsed(&b), untouched = { .code = 77 };
        assert_int_equal(pkt.code == EAP_REQUEST, text(v, "direction")[0] == 'S' && pkt.code < EAP_SUCCESS);
        uint8_t buf[256];
        struct wr w = wr_make(buf, sizeof buf);
        eap_encode(&w, pkt.code, pkt.id, pkt.type, pkt.data.p, rd_left(&pkt.data));
        assert_written(&w, &b);
        for (size_t n = 0; n < b.len; n++) {
            uint8_t *part = exact(b.data, n);
            assert_int_equal(eap_parse(rd_make(part, n), &untouched), ERR_PEER);
            assert_int_equal(untouched.code, 77);
            free(part);
        }
        b.data[3]++; /* one octet that is not there */
        assert_int_equal(eap_parse(rd_make(b.data, b.len), &untouched), ERR_PEER);
        b.data[b.len] = 0; /* now it is */
        assert_int_equal(eap_parse(rd_make(b.data, b.len + 1), &untouched), 0);
        b.data[3] -= 2; /* the last octet is padding now: less data, no Type, or no whole header */
        bool too_short = b.data[3] < (pkt.type ? 5 : 4);
        assert_int_equal(eap_parse(rd_make(b.data, b.len), &untouched), too_short ? ERR_PEER : 0);
        if (!too_short)
            assert_int_equal(rd_left(&untouched.data) + 1, rd_left(&pkt.data));
    }
    json_decref(root);
}

static void test_codes(void **state)
{
    (void)state;
    for (unsigned code = 0; code < 256; code++) {
        uint8_t bytes[] = { (uint8_t)code, 9, 0, 5, EAP_TYPE_IDENTITY };
        struct eap_pkt pkt;
        int rc = eap_parse(rd_make(bytes, sizeof bytes), &pkt);
        assert_int_equal(rc, code >= EAP_REQUEST && code <= EAP_FAILURE ? 0 : ERR_PEER);
        if (rc == 0) { /* octets behind a Success or Failure are not a Type */
            assert_int_equal(pkt.id, 9);
            assert_int_equal(pkt.type, code <= EAP_RESPONSE ? EAP_TYPE_IDENTITY : 0);
        }
        for (uint8_t len = 0; len < 4; len++) { /* less than the header itself */
            bytes[3] = len;
            assert_int_equal(eap_parse(rd_make(bytes, sizeof bytes), &pkt), ERR_PEER);
        }
    }
}

/* The conversation of the vectors is what the encoders write, and what the parser reads. */
static void test_mschapv2_vectors(void **state)
{
    (void)state;
    json_t *root = load("mschapv2.json"), *auth = json_array_get(json_object_get(root, "auth"), 0);
    struct bytes peer = unhex(text(auth, "peer_challenge")), nt = unhex(text(auth, "nt_response"));
    struct bytes challenge = unhex(text(auth, "authenticator_challenge")), want;
    struct chap_mschapv2_response r;
    uint8_t buf[256];
    memcpy(r.peer_challenge, peer.data, 16);
    memcpy(r.nt_response, nt.data, 24);

    want = packet("request mschapv2 challenge");
    struct eap_mschapv2 m = parsed_mschapv2(&want);
    assert_int_equal(m.op, EAP_MSCHAPV2_CHALLENGE);
    assert_memory_equal(m.value.p, challenge.data, 16);
    struct wr w = wr_make(buf, sizeof buf);
    eap_mschapv2_challenge_encode(&w, 1, m.id, challenge.data, m.name.p, rd_left(&m.name));
    assert_written(&w, &want);

    want = packet("response mschapv2 response");
    m = parsed_mschapv2(&want);
    assert_int_equal(m.op, EAP_MSCHAPV2_RESPONSE);
    assert_int_equal(rd_left(&m.value), 49);
    assert_text(m.name, "User");
    w = wr_make(buf, sizeof buf);
    eap_mschapv2_response_encode(&w, 1, m.id, &r, "User", 4);
    assert_written(&w, &want);

    want = packet("request mschapv2 success");
    m = parsed_mschapv2(&want);
    assert_int_equal(m.op, EAP_MSCHAPV2_SUCCESS);
    assert_memory_equal(m.message.p, text(auth, "authenticator_response"), 42);
    w = wr_make(buf, sizeof buf);
    eap_mschapv2_message_encode(&w, 2, m.id, EAP_MSCHAPV2_SUCCESS, m.message.p, rd_left(&m.message));
    assert_written(&w, &want);

    want = packet("alt: request mschapv2 failure");
    m = parsed_mschapv2(&want);
    struct chap_failure f;
    assert_int_equal(m.op, EAP_MSCHAPV2_FAILURE);
    assert_int_equal(chap_mschapv2_failure_parse(m.message, &f), 0);
    assert_int_equal(f.error, 691);
    w = wr_make(buf, sizeof buf);
    eap_mschapv2_message_encode(&w, 2, m.id, EAP_MSCHAPV2_FAILURE, m.message.p, rd_left(&m.message));
    assert_written(&w, &want);
    json_decref(root);
}

static void test_mschapv2_acks(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum eap_mschapv2_op op;
    } rows[] = { { "response mschapv2 success (opcode only)", EAP_MSCHAPV2_SUCCESS },
                 { "alt: response mschapv2 failure (opcode only)", EAP_MSCHAPV2_FAILURE } };
    for (size_t i = 0; i < 2; i++) {
        struct bytes want = packet(rows[i].name);
        struct eap_mschapv2 m = parsed_mschapv2(&want);
        uint8_t buf[16];
        struct wr w = wr_make(buf, sizeof buf);
        assert_int_equal(m.op, rows[i].op);
        assert_int_equal(rd_left(&m.message), 0);
        eap_mschapv2_ack_encode(&w, 2, rows[i].op);
        assert_written(&w, &want);
    }
}

/* Type-Data cut at each length: what is left is read, or refused when a part that has a size is not whole. */
static void test_mschapv2_cut(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t whole; /* octets that must be there: OpCode, ID, MS-Length, Value-Size, Value */
    } rows[] = { { "request mschapv2 challenge", 21 },
                 { "response mschapv2 response", 54 },
                 { "request mschapv2 success", 4 },
                 { "alt: request mschapv2 failure", 4 } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bytes b = packet(rows[i].name);
        struct rd data = parsed(&b).data;
        bool may_be_alone = rows[i].whole == 4;
        assert_true(rd_left(&data) >= rows[i].whole);
        for (size_t n = 0; n <= rd_left(&data); n++) {
            uint8_t *part = exact(data.p, n);
            struct eap_mschapv2 m = { .op = 77 };
            bool good = n >= rows[i].whole || (n == 1 && may_be_alone);
            assert_int_equal(eap_mschapv2_parse(rd_make(part, n), &m), good ? 0 : ERR_PEER);
            if (!good)
                assert_int_equal(m.op, 77);
            free(part);
        }
    }
}

static void test_mschapv2_sizes(void **state)
{
    (void)state;
    struct bytes c = packet("request mschapv2 challenge"), r = packet("response mschapv2 response");
    struct rd data = parsed(&c).data;
    struct eap_mschapv2 m;
    for (unsigned size = 0; size < 256; size++) {
        c.data[9] = r.data[9] = (uint8_t)size;
        assert_int_equal(eap_mschapv2_parse(data, &m), size == 16 ? 0 : ERR_PEER);
        assert_int_equal(eap_mschapv2_parse(parsed(&r).data, &m), size == 49 ? 0 : ERR_PEER);
    }
    c.data[9] = 16;
    for (unsigned len = 0; len < 0x10000; len += 0xff) { /* MS-Length says nothing that EAP's Length does not */
        c.data[7] = (uint8_t)(len >> 8);
        c.data[8] = (uint8_t)len;
        assert_int_equal(eap_mschapv2_parse(data, &m), 0);
        assert_int_equal(rd_left(&m.name), rd_left(&data) - 21);
    }
    for (unsigned op = 0; op < 256; op++) {
        c.data[5] = (uint8_t)op;
        bool known = op == 1 || op == 3 || op == 4 || op == 7; /* 2 wants 49 octets */
        assert_int_equal(eap_mschapv2_parse(data, &m), known ? 0 : ERR_PEER);
    }
}

static void test_names(void **state)
{
    (void)state;
    uint8_t buf[400], challenge[16] = { 0 };
    char name[300];
    memset(name, 'n', sizeof name);
    for (size_t n = 0; n < sizeof name; n++) {
        struct wr w = wr_make(buf, sizeof buf);
        struct eap_pkt pkt;
        struct eap_mschapv2 m;
        eap_mschapv2_challenge_encode(&w, 3, 4, challenge, name, n);
        assert_true(wr_ok(&w));
        assert_int_equal(eap_parse(rd_make(buf, wr_len(&w)), &pkt), 0);
        assert_int_equal(eap_mschapv2_parse(pkt.data, &m), n <= CHAP_NAME_MAX ? 0 : ERR_PEER);
        if (n <= CHAP_NAME_MAX) {
            assert_int_equal(rd_left(&m.name), n);
            assert_int_equal(m.id, 4);
        }
    }
}

/* Writers without room fail and stay inside. */
static void test_no_room(void **state)
{
    (void)state;
    struct bytes want = packet("response mschapv2 response");
    struct chap_mschapv2_response r = { { 0 }, { 0 } };
    for (size_t n = 0; n <= want.len; n++) {
        uint8_t *room = exact(want.data, n);
        struct wr w = wr_make(room, n);
        eap_mschapv2_response_encode(&w, 1, 2, &r, "User", 4);
        assert_int_equal(wr_ok(&w), n == want.len);
        free(room);
    }
}

/* Whatever the octets: what is read is inside, and is written again as it was. */
static void test_mutations(void **state)
{
    (void)state;
    static const char *const names[] = { "request identity", "request mschapv2 challenge", "response mschapv2 response",
                                         "request mschapv2 success", "alt: response nak desiring mschapv2" };
    uint32_t seed = 1;
    unsigned good = 0, bad = 0;
    for (unsigned round = 0; round < 40000; round++) {
        static struct bytes base[5];
        if (round < 5)
            base[round] = packet(names[round]);
        struct bytes b = base[round % 5];
        for (unsigned k = 0; k < 1 + round % 3; k++) {
            seed = seed * 1664525u + 1013904223u;
            b.data[(seed >> 8) % (b.len < 12 ? b.len : 12)] = (uint8_t)(seed >> 24);
        }
        uint8_t *in = exact(b.data, b.len), buf[256];
        struct eap_pkt pkt;
        struct eap_mschapv2 m;
        struct wr w = wr_make(buf, sizeof buf);
        if (eap_parse(rd_make(in, b.len), &pkt) == 0) {
            good++;
            eap_encode(&w, pkt.code, pkt.id, pkt.type, pkt.data.p, rd_left(&pkt.data));
            assert_true(wr_ok(&w) && wr_len(&w) <= b.len);
            assert_memory_equal(buf, in, wr_len(&w));
            if (eap_mschapv2_parse(pkt.data, &m) == 0)
                assert_true(rd_left(&m.value) + rd_left(&m.name) + rd_left(&m.message) < b.len);
        } else {
            bad++;
        }
        free(in);
    }
    assert_true(good > 1000 && bad > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packets),
        cmocka_unit_test(test_codes),
        cmocka_unit_test(test_mschapv2_vectors),
        cmocka_unit_test(test_mschapv2_acks),
        cmocka_unit_test(test_mschapv2_cut),
        cmocka_unit_test(test_mschapv2_sizes),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
