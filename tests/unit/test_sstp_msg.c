#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/ct.h"
#include "sstp/msg.h"

#define CCR "1001000e00010001000100060001"

static uint32_t seed;

static uint32_t rnd(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(seed >> 8) * below >> 24);
}

struct bytes {
    uint8_t b[SSTP_PKT_MAX + 64];
    size_t n;
};

static struct bytes unhex(const char *hex)
{
    struct bytes x = { .n = strlen(hex) / 2 };
    assert_true(x.n <= sizeof x.b);
    assert_true(hex_decode(hex, strlen(hex), x.b, x.n));
    return x;
}

static struct rd view(const struct bytes *x)
{
    return rd_make(x->b, x->n);
}

static struct sstp_msg parsed(const struct bytes *x)
{
    struct sstp_msg m = { 0 };
    assert_int_equal(sstp_msg_parse(view(x), &m), 0);
    return m;
}

static int parse_hex(const char *hex)
{
    struct bytes x = unhex(hex);
    struct sstp_msg m = { 0 };
    return sstp_msg_parse(view(&x), &m);
}

static bool judged_by_type_alone(unsigned type)
{
    return type == SSTP_CALL_ABORT || type == SSTP_CALL_DISCONNECT || type == SSTP_CALL_CONNECT_NAK;
}

static void each_valid_vector(void (*fn)(const char *name, const struct bytes *x))
{
    json_error_t e;
    json_t *root = json_load_file(VECTORS_DIR "/sstp-messages.json", 0, &e), *v;
    assert_non_null(root);
    size_t i, n = 0;
    json_array_foreach(json_object_get(root, "valid"), i, v) {
        struct bytes x = unhex(json_string_value(json_object_get(v, "hex")));
        assert_int_equal(x.n, json_integer_value(json_object_get(v, "length")));
        fn(json_string_value(json_object_get(v, "name")), &x);
        n++;
    }
    assert_int_equal(n, 20);
    json_decref(root);
}

/* ---- parse and encode again ---- */

static void encode_again(struct wr *w, const struct sstp_msg *m)
{
    struct sstp_status_info info[8] = { 0 };
    struct sstp_ack ack;
    struct sstp_attr a;
    struct rd attrs = m->attrs;
    size_t n = 0;
    switch (m->type) {
    case SSTP_CALL_CONNECT_REQUEST: sstp_ccr_encode(w, SSTP_PROTOCOL_PPP); break;
    case SSTP_CALL_CONNECT_ACK:
        assert_int_equal(sstp_ack_parse(m, &ack), 0);
        sstp_ack_encode(w, &ack);
        break;
    case SSTP_CALL_CONNECT_NAK:
        while (sstp_attr_next(&attrs, &a)) {
            struct sstp_msg one = { .attrs = { a.value.p - 4, a.value.end } };
            assert_true(sstp_msg_status(&one, &info[n++]));
        }
        assert_int_equal(n, m->count);
        sstp_nak_encode(w, info, n);
        break;
    case SSTP_CALL_ABORT:
    case SSTP_CALL_DISCONNECT:
        assert_true(sstp_msg_status(m, info));
        sstp_status_encode(w, m->type, info->attrib, info->status);
        break;
    case SSTP_CALL_DISCONNECT_ACK:
    case SSTP_ECHO_REQUEST:
    case SSTP_ECHO_RESPONSE: sstp_bare_encode(w, m->type); break;
    case SSTP_CALL_CONNECTED:
    case SSTP_TYPES: fail();
    }
}

static void round_trip(const char *name, const struct bytes *x)
{
    struct rd in = view(x);
    struct sstp_pkt pkt = { 0 };
    assert_int_equal(sstp_pkt_next(&in, &pkt), 0);
    assert_true(rd_end(&in));
    uint8_t buf[SSTP_PKT_MAX];
    if (!pkt.control) {
        assert_string_equal(name, "data_packet_lcp_echo_request_acfc_off");
        sstp_data_hdr(buf, rd_left(&pkt.payload));
        assert_memory_equal(buf, x->b, SSTP_HDR_LEN);
        return;
    }
    struct sstp_msg m = parsed(x);
    assert_ptr_equal(m.whole.p, x->b);
    if (m.count == 0 && judged_by_type_alone(m.type)) /* never sent by us so */
        return;
    struct wr w = wr_make(buf, sizeof buf);
    encode_again(&w, &m);
    assert_true(wr_ok(&w));
    assert_int_equal(wr_len(&w), x->n);
    assert_memory_equal(buf, x->b, x->n);
    for (size_t room = 0; room < x->n; room++) {
        w = wr_make(buf, room);
        encode_again(&w, &m);
        assert_false(wr_ok(&w));
    }
}

static void test_vectors_round_trip(void **state)
{
    (void)state;
    each_valid_vector(round_trip);
}

/* ---- cut, lengthened, mutated ---- */

static void cut_everywhere(const char *name, const struct bytes *x)
{
    (void)name;
    for (size_t n = 0; n < x->n; n++) {
        uint8_t *copy = malloc(n + 1); /* its own allocation, so that a sanitizer sees a read past the end */
        memcpy(copy, x->b, n);
        struct rd in = rd_make(copy, n);
        struct sstp_pkt pkt = { 0 };
        struct sstp_msg m;
        assert_int_equal(sstp_pkt_next(&in, &pkt), ERR_AGAIN);
        assert_ptr_equal(in.p, copy);
        assert_int_equal(sstp_msg_parse(rd_make(copy, n), &m), ERR_PEER);
        free(copy);
    }
}

static void test_cut_at_each_length(void **state)
{
    (void)state;
    each_valid_vector(cut_everywhere);
}

/* A message whose body is judged, with the 16-bit field at `at` changed by d. */
static void bumped_is_invalid(const struct bytes *x, size_t at, int d)
{
    struct bytes y = *x;
    struct sstp_msg m = { 0 };
    unsigned v = (unsigned)(y.b[at] << 8 | y.b[at + 1]) + (unsigned)d;
    y.b[at] = (uint8_t)(v >> 8);
    y.b[at + 1] = (uint8_t)v;
    if (at == 2)
        y.n = v; /* the stream goes on: a longer packet takes bytes of the next */
    bool fine = judged_by_type_alone(x->b[5]) && (at != 2 || y.n >= SSTP_CTL_HDR_LEN);
    assert_int_equal(sstp_msg_parse(view(&y), &m), fine ? 0 : ERR_PEER);
}

static void off_by_one(const char *name, const struct bytes *x)
{
    (void)name;
    if (!(x->b[1] & 1))
        return;
    for (int d = -1; d <= 1; d += 2) {
        bumped_is_invalid(x, 2, d);
        bumped_is_invalid(x, 6, d);
        if (x->n > 8)
            bumped_is_invalid(x, 10, d);
    }
}

static void test_length_fields_off_by_one(void **state)
{
    (void)state;
    each_valid_vector(off_by_one);
}

static void mutate(const char *name, const struct bytes *x)
{
    (void)name;
    for (int round = 0; round < 5000; round++) {
        struct bytes y = *x;
        for (uint32_t k = 1 + rnd(3); k; k--)
            y.b[rnd((uint32_t)y.n)] = (uint8_t)rnd(256);
        uint8_t *copy = malloc(y.n);
        memcpy(copy, y.b, y.n);
        struct sstp_msg m;
        if (sstp_msg_parse(rd_make(copy, y.n), &m) == 0) {
            assert_in_range(m.type, 1, SSTP_TYPES - 1);
            assert_true(m.attrs.p == copy + 8 && m.attrs.end <= copy + y.n);
            struct rd attrs = m.attrs;
            struct sstp_attr a;
            size_t n = 0, octets = 0;
            for (; sstp_attr_next(&attrs, &a); n++)
                octets += 4 + rd_left(&a.value);
            assert_int_equal(n, m.count);
            assert_true(rd_end(&attrs));
            if (!judged_by_type_alone(m.type))
                assert_int_equal(8 + octets, y.n);
        }
        free(copy);
    }
}

static void test_random_mutation(void **state)
{
    (void)state;
    seed = 1;
    each_valid_vector(mutate);
}

/* ---- delineation ---- */

static void test_stream_is_cut_into_packets(void **state)
{
    (void)state;
    static const struct {
        const char *hex;
        int result;
        size_t left; /* bytes after the packet */
    } rows[] = {
        /* clang-format off */
        { "", ERR_AGAIN, 0 },
        { "20", ERR_PEER, 0 },               /* another version is seen at once */
        { "11010008", ERR_PEER, 0 },
        { "2001000800080000", ERR_PEER, 0 },
        { "10000000", ERR_PEER, 0 },         /* Length 0: a reader that advances by it would spin */
        { "10000001", ERR_PEER, 0 },
        { "10000002", ERR_PEER, 0 },
        { "10000003", ERR_PEER, 0 },
        { "10010003", ERR_PEER, 0 },
        { "1000f003", ERR_PEER, 0 },         /* R bits do not make it longer */
        { "10000004", 0, 0 },
        { "10010004", ERR_PEER, 0 },
        { "10010007000800", ERR_PEER, 0 },
        { "100100060008", ERR_PEER, 0 },
        { "1001000800080000", 0, 0 },
        { "10ff000800080000", 0, 0 },        /* reserved bits */
        { "1001f00800080000", 0, 0 },
        { "10fe0005aa", 0, 0 },              /* C is clear: data */
        { "100100080008000010", 0, 1 },
        { "10000fff00", ERR_AGAIN, 0 },
        /* clang-format on */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bytes x = unhex(rows[i].hex);
        struct rd in = view(&x);
        struct sstp_pkt pkt = { 0 };
        assert_int_equal(sstp_pkt_next(&in, &pkt), rows[i].result);
        assert_int_equal(rd_left(&in), rows[i].result ? x.n : rows[i].left);
        if (rows[i].result == 0)
            assert_int_equal(pkt.control, x.b[1] & 1);
    }
}

static void test_longest_packet(void **state)
{
    (void)state;
    static uint8_t buf[SSTP_PKT_MAX + 1];
    sstp_data_hdr(buf, SSTP_PAYLOAD_MAX);
    struct rd in = rd_make(buf, sizeof buf);
    struct sstp_pkt pkt = { 0 };
    assert_int_equal(sstp_pkt_next(&in, &pkt), 0);
    assert_int_equal(rd_left(&pkt.payload), SSTP_PAYLOAD_MAX);
    assert_int_equal(rd_left(&in), 1);
}

static void test_invalid_messages(void **state)
{
    (void)state;
    /* clang-format off */
    static const char *const invalid[] = {
        "1001000800000000", "10010008000a0000", "10010008ffff0000",             /* unknown types */
        "1001000c0001000100010000", "1001000c0001000100010001",                 /* attribute Length 0..3 */
        "1001000c0001000100010002", "1001000c0001000100010003",
        "1001000c0001000100010010",                                             /* past the packet */
        "1001000e00010002000100060001",                                         /* count 2, one there */
        "1001000e0001ffff000100060001", "100100080001ffff",                     /* count 65535 */
        "1001001000010001000100060001dead", "1001000a00010000dead",             /* left over */
        "1001000e00080001000100060001", "1001000e00090001000100060001",         /* 2.2.15: no attributes */
        "1001000e00070001000100060001", "1001000a000800000000",
        "1001000c0004000100030003", "1001000e00040001000100060001ab",
        "1000000800080000",                                                     /* not a control packet */
        "100100080008000000", "2001000800080000", "10010007000800", "",         /* not one whole packet */
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++)
        assert_int_equal(parse_hex(invalid[i]), ERR_PEER);
    /* clang-format off */
    static const char *const valid[] = {
        "1001000c0005000100020003", "100100080005ffff", "1001000c000500000badcafe", /* by type alone */
        "1001000c0006000100000008", "1001000900060000aa", "1001000c0003000100020000", "1001000800030000",
        "10010010000600010000000800000000",                                         /* sorz: DISCONNECT under ID 0 */
        "1001000c0004000100030004", "1001000800040000",                             /* judged by the binding's checks */
        CCR, "10ff000800080000", "1001f00800080000",
        "1001000e00010001ff01f0060001",                                             /* reserved bits of an attribute */
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof valid / sizeof *valid; i++)
        assert_int_equal(parse_hex(valid[i]), 0);
}

/* ---- what is in a message ---- */

struct fault_row {
    const char *ccr;
    const char *nak; /* NULL: acceptable */
};

static void test_request_faults(void **state)
{
    (void)state;
    static const struct fault_row rows[] = {
        { CCR, NULL },
        { "1001001a000100020001000600010002000c0000000000000000", NULL }, /* Status Info that says nothing */
        { "1001000e00010001000100060002", "10010016000300010002000e00000001000000040002" },
        { "1001000800010000", "10010014000300010002000c000000010000000a" },
        { "1001001400010002000100060001000100060001", "10010016000300010002000e00000001000000010001" },
        { "10010013000100020001000600010007000500", "10010014000300010002000c0000000700000002" },
        { "10010010000100010001000800010000", "100100180003000100020010000000010000000300010000" },
        { "1001000c0001000100010004", "10010014000300010002000c0000000100000003" },
        { "1001001a000100020001000600010002000c0000000000000004",
          "1001001c0003000100020014000000020000000b0000000000000004" },
        /* Status Info too short, twice; a binding has no place here; protocol 2: four faults in one NAK */
        /* clang-format off */
        { "1001001a00010004000200040002000400030004000100060002",
          "1001003a0003000400" "02000c0000000200000003" "0002000c0000000200000001" "0002000c0000000300000002"
          "0002000e00000001000000040002" },
        /* clang-format on */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bytes x = unhex(rows[i].ccr);
        struct sstp_msg m = parsed(&x);
        struct sstp_status_info faults[SSTP_CCR_FAULTS_MAX];
        size_t n = sstp_ccr_faults(&m, faults, SSTP_CCR_FAULTS_MAX);
        assert_int_equal(n > 0, rows[i].nak != NULL);
        if (!n)
            continue;
        uint8_t buf[SSTP_NAK_MAX];
        struct wr w = wr_make(buf, sizeof buf);
        sstp_nak_encode(&w, faults, n);
        struct bytes want = unhex(rows[i].nak);
        assert_true(wr_ok(&w));
        assert_int_equal(wr_len(&w), want.n);
        assert_memory_equal(buf, want.b, want.n);
    }
}

/* AttribValue has at most 64 bytes (MS-SSTP 2.2.8): a Status Info of 76 is one that says nothing, of 77 is a fault. */
static void test_longest_status_info(void **state)
{
    (void)state;
    for (size_t n = SSTP_ATTR_VALUE_MAX; n <= SSTP_ATTR_VALUE_MAX + 1; n++) {
        struct bytes x = { .n = 14 + 12 + n };
        struct wr w = wr_make(x.b, x.n);
        sstp_ccr_encode(&w, SSTP_PROTOCOL_PPP);
        wr_u16(&w, SSTP_ATTR_STATUS_INFO);
        wr_u16(&w, (uint16_t)(12 + n));
        wr_zero(&w, 8 + n);
        assert_true(wr_ok(&w));
        x.b[3] = (uint8_t)x.n;
        x.b[7] = 2;
        struct sstp_msg m = parsed(&x);
        struct sstp_status_info fault = { 0 };
        assert_int_equal(sstp_ccr_faults(&m, &fault, 1), n > SSTP_ATTR_VALUE_MAX);
        if (n > SSTP_ATTR_VALUE_MAX) {
            assert_int_equal(fault.attrib, SSTP_ATTR_STATUS_INFO);
            assert_int_equal(fault.status, SSTP_STATUS_INVALID_ATTRIB_VALUE_LENGTH);
        }
    }
}

static void test_fault_list_is_capped(void **state)
{
    (void)state;
    /* 40 attributes of 100 bytes, ID 1 all: faults with the longest values there are. */
    struct bytes x = { .n = 8 + 40 * 100 };
    struct wr w = wr_make(x.b, x.n);
    wr_u16(&w, 0x1001);
    wr_u16(&w, (uint16_t)x.n);
    wr_u16(&w, SSTP_CALL_CONNECT_REQUEST);
    wr_u16(&w, 40);
    for (int i = 0; i < 40; i++) {
        wr_u16(&w, SSTP_ATTR_ENCAPSULATED_PROTOCOL_ID);
        wr_u16(&w, 100);
        wr_zero(&w, 96);
    }
    assert_true(wr_ok(&w));
    struct sstp_msg m = parsed(&x);
    struct sstp_status_info faults[SSTP_CCR_FAULTS_MAX];
    assert_int_equal(sstp_ccr_faults(&m, faults, SSTP_CCR_FAULTS_MAX), SSTP_CCR_FAULTS_MAX);
    uint8_t buf[SSTP_NAK_MAX];
    w = wr_make(buf, sizeof buf);
    sstp_nak_encode(&w, faults, SSTP_CCR_FAULTS_MAX);
    assert_true(wr_ok(&w));
    assert_int_equal(wr_len(&w), SSTP_NAK_MAX); /* each value cut to 64 */
    assert_int_equal(sstp_msg_parse(rd_make(buf, wr_len(&w)), &m), 0);
    assert_int_equal(m.count, SSTP_CCR_FAULTS_MAX);
}

static void test_ack_for_a_client(void **state)
{
    (void)state;
    uint8_t buf[48];
    struct sstp_ack in = { .hash_mask = 3 }, got = { 0 };
    for (unsigned i = 0; i < sizeof in.nonce; i++)
        in.nonce[i] = (uint8_t)(i * 7);
    struct wr w = wr_make(buf, sizeof buf);
    sstp_ack_encode(&w, &in);
    assert_true(wr_ok(&w) && wr_len(&w) == 48);
    struct sstp_msg m = { 0 };
    assert_int_equal(sstp_msg_parse(rd_make(buf, sizeof buf), &m), 0);
    assert_int_equal(sstp_ack_parse(&m, &got), 0);
    assert_memory_equal(&got, &in, sizeof in);
    static const struct {
        size_t at;
        uint8_t v;
        int result;
    } rows[] = {
        { 15, 0, ERR_PEER }, { 15, 0xfc, ERR_PEER }, { 15, 0xf1, 0 },
        { 9, 3, ERR_PEER },  { 5, 4, ERR_PEER },     { 12, 9, 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t bad[48];
        memcpy(bad, buf, sizeof bad);
        bad[rows[i].at] = rows[i].v;
        assert_int_equal(sstp_msg_parse(rd_make(bad, sizeof bad), &m), 0);
        assert_int_equal(sstp_ack_parse(&m, &got), rows[i].result);
    }
    assert_int_equal(got.hash_mask, 3); /* the last row had it again */
    struct bytes shorter = unhex("10010010000200010004000800000003"), two = unhex("10010010000200020004000400040004");
    m = parsed(&shorter);
    assert_int_equal(sstp_ack_parse(&m, &got), ERR_PEER);
    m = parsed(&two);
    assert_int_equal(sstp_ack_parse(&m, &got), ERR_PEER);
}

static void test_status_of_an_end(void **state)
{
    (void)state;
    struct sstp_status_info i = { .attrib = 77 };
    struct bytes good = unhex("10010014000500010002000c0000000300000004"), none = unhex("1001000800050000"),
                 odd = unhex("1001000d000500010002000500"), junk = unhex("1001000c0005ffff00020000");
    struct sstp_msg m = parsed(&none);
    assert_false(sstp_msg_status(&m, &i));
    m = parsed(&odd);
    assert_false(sstp_msg_status(&m, &i));
    m = parsed(&junk);
    assert_false(sstp_msg_status(&m, &i));
    assert_int_equal(i.attrib, 77);
    m = parsed(&good);
    assert_true(sstp_msg_status(&m, &i));
    assert_int_equal(i.attrib, 3);
    assert_int_equal(i.status, SSTP_STATUS_VALUE_NOT_SUPPORTED);
    assert_int_equal(rd_left(&i.value), 0);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(sstp_type_name(1), "CALL_CONNECT_REQUEST");
    assert_string_equal(sstp_type_name(9), "ECHO_RESPONSE");
    assert_string_equal(sstp_type_name(0), "unknown");
    assert_string_equal(sstp_type_name(10), "unknown");
    assert_string_equal(sstp_status_name(0), "NO_ERROR");
    assert_string_equal(sstp_status_name(11), "STATUS_INFO_NOT_SUPPORTED_IN_MSG");
    assert_string_equal(sstp_status_name(12), "unknown");
    assert_string_equal(sstp_status_name(UINT32_MAX), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors_round_trip),
        cmocka_unit_test(test_cut_at_each_length),
        cmocka_unit_test(test_length_fields_off_by_one),
        cmocka_unit_test(test_random_mutation),
        cmocka_unit_test(test_stream_is_cut_into_packets),
        cmocka_unit_test(test_longest_packet),
        cmocka_unit_test(test_invalid_messages),
        cmocka_unit_test(test_request_faults),
        cmocka_unit_test(test_longest_status_info),
        cmocka_unit_test(test_fault_list_is_capped),
        cmocka_unit_test(test_ack_for_a_client),
        cmocka_unit_test(test_status_of_an_end),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
