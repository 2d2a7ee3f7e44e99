#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/ct.h"
#include "base/digest.h"
#include "base/timerq.h"
#include "sstp/server.h"

#define T0      1000000u
#define CCR     "1001000e00010001000100060001"
#define CCR_BAD "1001000e00010001000100060002"
#define ACK                                                                                                            \
    "10010030000200010004002800000003000102030405060708090a0b0c0d0e0f"                                                 \
    "101112131415161718191a1b1c1d1e1f"
#define NAK            "10010016000300010002000e00000001000000040002"
#define ABORT          "10010014000500010002000c0000000200000008"
#define DISCONNECT     "10010014000600010002000c0000000000000000"
#define DISCONNECT_ACK "1001000800070000"
#define ECHO_REQUEST   "1001000800080000"
#define ECHO_RESPONSE  "1001000800090000"
#define UNKNOWN        "10010008000a0000"
#define CC_NO_ATTR     "1001000800040000"

/* One machine with its queue and what came out of it. */
struct rig {
    struct sstp_server s;
    struct sstp_server_cfg cfg;
    struct sstp_cert_hashes cert;
    uint8_t nonce[SSTP_NONCE_LEN], hlak[SSTP_HLAK_LEN], cc[SSTP_CC_LEN];
    uint8_t buf[8192];
    struct evq q;
    uint64_t now;
    struct sstp_ended why;      /* of the last ENDING */
    uint8_t sent[SSTP_PKT_MAX]; /* the last packet sent */
    size_t sent_len;
    unsigned ups, endings, closes;
};

static void fixed_nonce(void *arg, void *out, size_t n)
{
    assert_int_equal(n, SSTP_NONCE_LEN);
    memcpy(out, arg, n);
}

static int setup(void **state)
{
    (void)state;
    return digest_init();
}

static int teardown(void **state)
{
    (void)state;
    digest_fini();
    return 0;
}

static void start(struct rig *r)
{
    r->q = evq_make(r->buf, sizeof r->buf);
    r->now = T0;
    sstp_server_init(&r->s, &r->cfg, &r->cert, 1, (struct rng){ fixed_nonce, r->nonce }, r->now);
}

/* Nonce 00..1f, some certificate and key, and the CALL_CONNECTED that goes with them. */
static void rig_up(struct rig *r)
{
    *r = (struct rig){ .cfg = sstp_server_cfg_default };
    for (unsigned i = 0; i < 32; i++) {
        r->nonce[i] = (uint8_t)i;
        r->hlak[i] = (uint8_t)(0xa0 + i);
        r->cert.sha256[i] = (uint8_t)(0x40 + i);
    }
    memset(r->cert.sha1, 0x77, sizeof r->cert.sha1);
    r->cert.known = 3;
    struct wr w = wr_make(r->cc, sizeof r->cc);
    assert_int_equal(sstp_cc_encode(&w, SSTP_HASH_SHA256, r->nonce, r->cert.sha256, r->hlak), 0);
    start(r);
}

static const char *const causes[] = { "peer-disconnect", "peer-abort",  "disconnect", "abort",
                                      "binding",         "negotiation", "hello" };

static void describe_sent(struct rig *r, const struct ev *e, char *out, size_t cap)
{
    struct sstp_msg m = { 0 };
    struct sstp_status_info i = { 0 };
    struct rd pkt = rd_make(e->data, e->len);
    assert_int_equal(sstp_msg_parse(pkt, &m), 0);
    memcpy(r->sent, e->data, e->len);
    r->sent_len = e->len;
    if (m.type == SSTP_CALL_ABORT || m.type == SSTP_CALL_DISCONNECT) {
        assert_int_equal(e->len, 20); /* never without Status Info */
        assert_true(sstp_msg_status(&m, &i));
        snprintf(out, cap, "%s(%u,%u)", sstp_type_name((uint16_t)m.type) + 5, i.attrib, i.status);
    } else {
        snprintf(out, cap, "%s", sstp_type_name((uint16_t)m.type));
    }
}

/* Drains the queue into words; checks on the way what holds for every life: ENDING once, CLOSE last, UP once. */
static const char *events(struct rig *r)
{
    static char text[512];
    struct ev e;
    size_t n = 0;
    text[0] = 0;
    assert_false(r->q.failed);
    while (evq_next(&r->q, &e)) {
        char word[64] = "";
        assert_int_equal(r->closes, 0);
        switch ((enum sstp_event)e.type) {
        case SSTP_EV_SEND: describe_sent(r, &e, word, sizeof word); break;
        case SSTP_EV_PPP_START: snprintf(word, sizeof word, "PPP"); break;
        case SSTP_EV_UP:
            snprintf(word, sizeof word, "UP");
            assert_int_equal(r->ups++ + r->endings, 0);
            assert_true(r->s.authenticated);
            break;
        case SSTP_EV_ENDING:
            assert_int_equal(e.len, sizeof r->why);
            memcpy(&r->why, e.data, sizeof r->why);
            snprintf(word, sizeof word, "ENDING(%s)", causes[r->why.cause]);
            assert_int_equal(r->endings++, 0);
            break;
        case SSTP_EV_CLOSE:
            snprintf(word, sizeof word, "CLOSE");
            assert_int_equal(r->endings, 1);
            r->closes++;
            break;
        }
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n ? " " : "", word);
        assert_true(n < sizeof text);
    }
    evq_reset(&r->q);
    return text;
}

static const char *input(struct rig *r, const void *pkt, size_t n)
{
    uint8_t *copy = malloc(n + 1);
    memcpy(copy, pkt, n);
    assert_int_equal(sstp_server_control(&r->s, rd_make(copy, n), r->now, &r->q), 0);
    memset(copy, 0xdb, n); /* nothing may point into it any more */
    free(copy);
    return events(r);
}

static const char *input_hex(struct rig *r, const char *hex)
{
    uint8_t pkt[SSTP_PKT_MAX];
    size_t n = strlen(hex) / 2;
    assert_true(n <= sizeof pkt && hex_decode(hex, 2 * n, pkt, n));
    return input(r, pkt, n);
}

static const char *authenticated(struct rig *r)
{
    assert_int_equal(sstp_server_authenticated(&r->s, r->hlak, r->now, &r->q), 0);
    return events(r);
}

static const char *hang_up(struct rig *r)
{
    assert_int_equal(sstp_server_disconnect(&r->s, r->now, &r->q), 0);
    return events(r);
}

/* The clock moves; the owner calls in whether or not it is time. */
static const char *pass(struct rig *r, uint64_t ms)
{
    r->now += ms;
    assert_int_equal(sstp_server_expire(&r->s, r->now, &r->q), 0);
    return events(r);
}

/* Nothing one millisecond before the deadline, which is ms away; at it, what is returned. */
static const char *deadline(struct rig *r, uint64_t ms)
{
    assert_int_equal(sstp_server_deadline(&r->s), r->now + ms);
    enum sstp_server_state before = r->s.call.state;
    assert_string_equal(pass(r, ms - 1), "");
    assert_int_equal(r->s.call.state, before);
    return pass(r, 1);
}

/* ---- states ---- */

enum column { OFF, CRP, CCP, HELD, UP, AP, ATP, DAP, DTP, COLUMNS };

static const enum sstp_server_state state_of[COLUMNS] = {
    [OFF] = SSTP_SERVER_CALL_DISCONNECTED,
    [CRP] = SSTP_SERVER_CONNECT_REQUEST_PENDING,
    [CCP] = SSTP_SERVER_CALL_CONNECTED_PENDING,
    [HELD] = SSTP_SERVER_CALL_CONNECTED_PENDING,
    [UP] = SSTP_SERVER_CALL_CONNECTED,
    [AP] = SSTP_SERVER_CALL_ABORT_PENDING,
    [ATP] = SSTP_SERVER_CALL_ABORT_TIMEOUT_PENDING,
    [DAP] = SSTP_SERVER_CALL_DISCONNECT_ACK_PENDING,
    [DTP] = SSTP_SERVER_CALL_DISCONNECT_TIMEOUT_PENDING,
};

static void reach(struct rig *r, enum column c)
{
    rig_up(r);
    switch (c) {
    case CRP: break;
    case CCP: assert_string_equal(input_hex(r, CCR), "CALL_CONNECT_ACK PPP"); break;
    case HELD:
        reach(r, CCP);
        assert_string_equal(input(r, r->cc, sizeof r->cc), "");
        assert_non_null(r->s.held_cc);
        break;
    case UP:
        reach(r, CCP);
        assert_string_equal(authenticated(r), "");
        assert_string_equal(input(r, r->cc, sizeof r->cc), "UP");
        break;
    case AP:
        reach(r, UP);
        assert_string_equal(input_hex(r, UNKNOWN), "ABORT(2,7) ENDING(abort)");
        break;
    case ATP:
        reach(r, AP);
        assert_string_equal(input_hex(r, ABORT), "");
        break;
    case DAP:
        reach(r, UP);
        assert_string_equal(hang_up(r), "DISCONNECT(0,0) ENDING(disconnect)");
        break;
    case DTP:
        reach(r, UP);
        assert_string_equal(input_hex(r, DISCONNECT), "CALL_DISCONNECT_ACK ENDING(peer-disconnect)");
        break;
    case OFF: assert_string_equal(pass(r, 60000), "ENDING(negotiation) CLOSE"); break;
    case COLUMNS: fail();
    }
    assert_int_equal(r->s.call.state, state_of[c]);
}

static void done(struct rig *r)
{
    sstp_server_fini(&r->s);
}

/* ---- the receive matrix, MS-SSTP 3.3.5.2, figures 4 and 5: events > next ---- */

struct matrix_row {
    const char *name, *hex; /* NULL: the valid CALL_CONNECTED */
    struct {
        const char *events;
        enum column next;
    } cell[COLUMNS];
};

/* clang-format off */
#define WRONG { "ABORT(2,5) ENDING(abort)", AP }
#define BROKEN { "ABORT(2,7) ENDING(abort)", AP }
#define ENDED [OFF] = { "", OFF }, [ATP] = { "", ATP }, [DTP] = { "", DTP }
#define TEARDOWN ENDED, [AP] = { "", AP }, [DAP] = { "", DAP }
#define PEER_ABORT { "ABORT(0,0) ENDING(peer-abort)", ATP }
#define PEER_DISC { "CALL_DISCONNECT_ACK ENDING(peer-disconnect)", DTP }
#define EVERY_CALL(x) [CRP] = x, [CCP] = x, [HELD] = x, [UP] = x

static const struct matrix_row matrix[] = {
    { "CCR", CCR, { TEARDOWN, [CRP] = { "CALL_CONNECT_ACK PPP", CCP }, [CCP] = WRONG, [HELD] = WRONG, [UP] = WRONG } },
    { "CCR refused", CCR_BAD,
      { TEARDOWN, [CRP] = { "CALL_CONNECT_NAK", CRP }, [CCP] = WRONG, [HELD] = WRONG, [UP] = WRONG } },
    { "ACK", ACK, { TEARDOWN, [CRP] = WRONG, [CCP] = WRONG, [HELD] = WRONG, [UP] = WRONG } },
    { "NAK", NAK, { TEARDOWN, [CRP] = WRONG, [CCP] = WRONG, [HELD] = WRONG, [UP] = WRONG } },
    { "CC", NULL, { TEARDOWN, [CRP] = WRONG, [CCP] = { "", HELD }, [HELD] = WRONG, [UP] = WRONG } },
    { "CC without attribute", CC_NO_ATTR,
      { TEARDOWN, [CRP] = WRONG, [CCP] = { "ABORT(2,9) ENDING(binding)", AP }, [HELD] = WRONG, [UP] = WRONG } },
    { "ECHO_REQUEST", ECHO_REQUEST,
      { TEARDOWN, [CRP] = WRONG, [CCP] = WRONG, [HELD] = { "ECHO_RESPONSE", HELD }, [UP] = { "ECHO_RESPONSE", UP } } },
    { "ECHO_RESPONSE", ECHO_RESPONSE,
      { TEARDOWN, [CRP] = WRONG, [CCP] = WRONG, [HELD] = { "", HELD }, [UP] = { "", UP } } },
    { "ABORT", ABORT, { ENDED, EVERY_CALL(PEER_ABORT), [AP] = { "", ATP }, [DAP] = { "ABORT(0,0)", ATP } } },
    { "ABORT bare", "1001000800050000",
      { ENDED, EVERY_CALL(PEER_ABORT), [AP] = { "", ATP }, [DAP] = { "ABORT(0,0)", ATP } } },
    { "ABORT odd", "1001000e0005ffff000200000102",
      { ENDED, EVERY_CALL(PEER_ABORT), [AP] = { "", ATP }, [DAP] = { "ABORT(0,0)", ATP } } },
    { "DISCONNECT", DISCONNECT,
      { ENDED, EVERY_CALL(PEER_DISC), [AP] = { "", AP }, [DAP] = { "CALL_DISCONNECT_ACK", DTP } } },
    { "DISCONNECT bare", "1001000800060000",
      { ENDED, EVERY_CALL(PEER_DISC), [AP] = { "", AP }, [DAP] = { "CALL_DISCONNECT_ACK", DTP } } },
    { "DISCONNECT odd", "10010010000600010000000800000000",
      { ENDED, EVERY_CALL(PEER_DISC), [AP] = { "", AP }, [DAP] = { "CALL_DISCONNECT_ACK", DTP } } },
    { "DISCONNECT_ACK", DISCONNECT_ACK,
      { ENDED, EVERY_CALL(WRONG), [AP] = { "", AP }, [DAP] = { "CLOSE", OFF } } },
    { "unknown type", UNKNOWN, { TEARDOWN, EVERY_CALL(BROKEN) } },
    { "type 0", "1001000800000000", { TEARDOWN, EVERY_CALL(BROKEN) } },
    { "echo with attribute", "1001000e00080001000100060001", { TEARDOWN, EVERY_CALL(BROKEN) } },
    { "CCR cut", "1001000c0001000100010010", { TEARDOWN, EVERY_CALL(BROKEN) } },
};
/* clang-format on */

static void test_every_cell_of_the_matrix(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof matrix / sizeof *matrix; i++)
        for (unsigned c = 0; c < COLUMNS; c++) {
            struct rig r;
            const struct matrix_row *row = &matrix[i];
            reach(&r, (enum column)c);
            assert_non_null(row->cell[c].events);
            const char *got = row->hex ? input_hex(&r, row->hex) : input(&r, r.cc, sizeof r.cc);
            if (strcmp(got, row->cell[c].events))
                fail_msg("%s in column %u: \"%s\"", row->name, c, got);
            assert_int_equal(r.s.call.state, state_of[row->cell[c].next]);
            assert_int_equal(r.s.held_cc != NULL, row->cell[c].next == HELD);
            if (r.endings && c != OFF && c < AP)
                assert_int_equal(r.why.state, state_of[c]);
            assert_int_equal(sstp_server_deadline(&r.s) == TIME_NEVER, row->cell[c].next == OFF);
            done(&r);
        }
}

/* ---- timers, MS-SSTP 3.1.2, 3.3.2 ---- */

static void test_negotiation_timer(void **state)
{
    (void)state;
    struct rig r;
    reach(&r, CRP);
    assert_string_equal(deadline(&r, 60000), "ENDING(negotiation) CLOSE");
    assert_int_equal(r.s.call.state, SSTP_SERVER_CALL_DISCONNECTED);
    assert_string_equal(pass(&r, 1000000), "");
    done(&r);

    rig_up(&r);
    assert_string_equal(pass(&r, 59999), "");
    assert_string_equal(input_hex(&r, CCR_BAD), "CALL_CONNECT_NAK"); /* a NAK does not give more time */
    assert_int_equal(sstp_server_deadline(&r.s), T0 + 60000);
    assert_string_equal(input_hex(&r, CCR), "CALL_CONNECT_ACK PPP"); /* the ACK does */
    assert_string_equal(deadline(&r, 60000), "ABORT(2,8) ENDING(negotiation)");
    assert_int_equal(r.why.state, SSTP_SERVER_CALL_CONNECTED_PENDING);
    assert_string_equal(deadline(&r, 3000), "CLOSE");
    done(&r);

    reach(&r, HELD); /* neither a held CALL_CONNECTED nor life stops it */
    r.now += 5000;
    assert_string_equal(input_hex(&r, ECHO_REQUEST), "ECHO_RESPONSE");
    sstp_server_alive(&r.s, r.now);
    assert_string_equal(deadline(&r, 55000), "ABORT(2,8) ENDING(negotiation)");
    assert_null(r.s.held_cc);
    assert_string_equal(authenticated(&r), "");
    done(&r);

    reach(&r, CCP); /* nor does authentication */
    r.now += 5000;
    assert_string_equal(authenticated(&r), "");
    assert_string_equal(deadline(&r, 55000), "ABORT(2,8) ENDING(negotiation)");
    done(&r);
}

static void test_abort_timers(void **state)
{
    (void)state;
    struct rig r;
    reach(&r, AP);
    assert_string_equal(deadline(&r, 3000), "CLOSE");
    done(&r);
    reach(&r, AP);
    assert_string_equal(pass(&r, 2999), "");
    assert_string_equal(input_hex(&r, ABORT), "");
    assert_string_equal(deadline(&r, 1000), "CLOSE");
    done(&r);
    reach(&r, UP);
    assert_string_equal(input_hex(&r, ABORT), "ABORT(0,0) ENDING(peer-abort)");
    assert_int_equal(r.why.attrib, 2);
    assert_int_equal(r.why.status, SSTP_STATUS_NEGOTIATION_TIMEOUT);
    assert_string_equal(pass(&r, 500), "");
    assert_string_equal(input_hex(&r, ABORT), ""); /* does not start it anew */
    assert_string_equal(deadline(&r, 500), "CLOSE");
    done(&r);
}

static void test_disconnect_timers(void **state)
{
    (void)state;
    struct rig r;
    reach(&r, DAP);
    assert_string_equal(deadline(&r, 5000), "CLOSE");
    done(&r);
    reach(&r, DTP);
    assert_string_equal(deadline(&r, 1000), "CLOSE");
    done(&r);
    reach(&r, DAP); /* both hang up at once */
    assert_string_equal(pass(&r, 4999), "");
    assert_string_equal(input_hex(&r, DISCONNECT), "CALL_DISCONNECT_ACK");
    assert_string_equal(deadline(&r, 1000), "CLOSE");
    done(&r);
    reach(&r, DAP);
    assert_string_equal(input_hex(&r, DISCONNECT_ACK), "CLOSE");
    assert_int_equal(sstp_server_deadline(&r.s), TIME_NEVER);
    done(&r);
}

static void test_hello_timer(void **state)
{
    (void)state;
    struct rig r;
    reach(&r, UP);
    assert_string_equal(deadline(&r, 25000), "ECHO_REQUEST");
    assert_string_equal(deadline(&r, 60000), "ENDING(hello) CLOSE");
    assert_int_equal(r.why.state, SSTP_SERVER_CALL_CONNECTED);
    done(&r);

    reach(&r, UP); /* an answer; then any control packet; then data */
    assert_string_equal(deadline(&r, 25000), "ECHO_REQUEST");
    assert_string_equal(pass(&r, 59999), "");
    assert_string_equal(input_hex(&r, ECHO_RESPONSE), "");
    assert_string_equal(pass(&r, 24999), "");
    assert_string_equal(input_hex(&r, ECHO_REQUEST), "ECHO_RESPONSE");
    assert_string_equal(deadline(&r, 25000), "ECHO_REQUEST");
    assert_string_equal(pass(&r, 59999), "");
    sstp_server_alive(&r.s, r.now);
    assert_string_equal(deadline(&r, 25000), "ECHO_REQUEST"); /* asked anew, not dropped */
    assert_string_equal(deadline(&r, 60000), "ENDING(hello) CLOSE");
    done(&r);
}

static void test_alive_touches_only_a_connected_call(void **state)
{
    (void)state;
    for (unsigned c = 0; c < COLUMNS; c++) {
        struct rig r;
        reach(&r, (enum column)c);
        uint64_t before = sstp_server_deadline(&r.s);
        sstp_server_alive(&r.s, r.now + 7);
        assert_int_equal(sstp_server_deadline(&r.s), c == UP ? r.now + 7 + 25000 : before);
        done(&r);
    }
}

/* ---- requests ---- */

static void test_nak_rounds(void **state)
{
    (void)state;
    struct rig r;
    for (unsigned bad = 0; bad <= 3; bad++) { /* up to three, a good request is still welcome */
        rig_up(&r);
        for (unsigned i = 0; i < bad; i++)
            assert_string_equal(input_hex(&r, CCR_BAD), "CALL_CONNECT_NAK");
        assert_string_equal(input_hex(&r, CCR), "CALL_CONNECT_ACK PPP");
        done(&r);
    }
    rig_up(&r);
    for (unsigned i = 0; i < 3; i++)
        assert_string_equal(input_hex(&r, CCR_BAD), "CALL_CONNECT_NAK");
    assert_string_equal(input_hex(&r, CCR_BAD), "ABORT(2,6) ENDING(abort)");
    assert_int_equal(r.why.status, SSTP_STATUS_RETRY_COUNT_EXCEEDED);
    done(&r);
    rig_up(&r);
    r.cfg.naks_max = 0;
    assert_string_equal(input_hex(&r, CCR_BAD), "ABORT(2,6) ENDING(abort)");
    done(&r);
}

static void test_a_thousand_faults(void **state)
{
    (void)state;
    uint8_t pkt[SSTP_PKT_MAX - 3];
    struct wr w = wr_make(pkt, sizeof pkt);
    wr_u16(&w, 0x1001);
    wr_u16(&w, sizeof pkt);
    wr_u16(&w, SSTP_CALL_CONNECT_REQUEST);
    wr_u16(&w, (sizeof pkt - 8) / 4);
    while (wr_len(&w) < sizeof pkt)
        wr_u32(&w, 0x00090004); /* attribute 9, empty */
    assert_true(wr_ok(&w));
    struct rig r;
    rig_up(&r);
    assert_string_equal(input(&r, pkt, sizeof pkt), "CALL_CONNECT_NAK");
    assert_int_equal(r.sent_len, 8 + SSTP_CCR_FAULTS_MAX * 12);
    done(&r);
}

/* Each attack on a reader of CALL_CONNECT_REQUEST ends in a NAK or an ABORT of the right status. */
static void test_malformed_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *name, *events, *sent; /* NULL: cut off before it is a message; sent: NULL not looked at */
        enum column in;
    } rows[] = {
        { "version_0x20", NULL, NULL, CRP },
        { "length_3", NULL, NULL, CRP },
        { "length_0", NULL, NULL, CRP },
        { "control_length_6", NULL, NULL, CRP },
        { "reserved_bits_set_in_flags", "ECHO_RESPONSE", ECHO_RESPONSE, UP },
        { "reserved_nibble_set_in_length", "ECHO_RESPONSE", ECHO_RESPONSE, UP },
        { "unknown_message_0x000a", "ABORT(2,7) ENDING(abort)", NULL, UP },
        { "attr_length_below_4", "ABORT(2,7) ENDING(abort)", NULL, CRP },
        { "attr_overruns_packet", "ABORT(2,7) ENDING(abort)", NULL, CRP },
        { "count_larger_than_attributes", "ABORT(2,7) ENDING(abort)", NULL, CRP },
        { "bytes_after_last_attribute", "ABORT(2,7) ENDING(abort)", NULL, CRP },
        { "ccr_proto_2", "CALL_CONNECT_NAK", "10010016000300010002000e00000001000000040002", CRP },
        { "ccr_no_attribute", "CALL_CONNECT_NAK", "10010014000300010002000c000000010000000a", CRP },
        { "ccr_duplicate", "CALL_CONNECT_NAK", "10010016000300010002000e00000001000000010001", CRP },
        { "ccr_unknown_attr_7", "CALL_CONNECT_NAK", "10010014000300010002000c0000000700000002", CRP },
        { "ccr_attr_length_8", "CALL_CONNECT_NAK", "100100180003000100020010000000010000000300010000", CRP },
        { "ccr_status_nonzero", "CALL_CONNECT_NAK", "1001001c0003000100020014000000020000000b0000000000000004", CRP },
        { "echo_request_with_attribute", "ABORT(2,7) ENDING(abort)", NULL, UP },
    };
    json_error_t e;
    json_t *root = json_load_file(VECTORS_DIR "/sstp-messages.json", 0, &e), *all = json_object_get(root, "malformed");
    assert_int_equal(json_array_size(all), sizeof rows / sizeof *rows);
    for (size_t i = 0; i < json_array_size(all); i++) {
        json_t *v = json_array_get(all, i);
        assert_string_equal(json_string_value(json_object_get(v, "name")), rows[i].name);
        const char *hex = json_string_value(json_object_get(v, "hex"));
        uint8_t pkt[64], sent[64];
        size_t n = strlen(hex) / 2;
        assert_true(n <= sizeof pkt && hex_decode(hex, 2 * n, pkt, n));
        struct rd in = rd_make(pkt, n);
        struct sstp_pkt p = { 0 };
        assert_int_equal(sstp_pkt_next(&in, &p), rows[i].events ? 0 : ERR_PEER);
        if (!rows[i].events)
            continue;
        struct rig r;
        reach(&r, rows[i].in);
        assert_string_equal(input(&r, pkt, n), rows[i].events);
        if (rows[i].sent) {
            size_t len = strlen(rows[i].sent) / 2;
            assert_true(hex_decode(rows[i].sent, 2 * len, sent, len));
            assert_int_equal(r.sent_len, len);
            assert_memory_equal(r.sent, sent, len);
        }
        done(&r);
    }
    json_decref(root);
}

/* ---- crypto binding, end to end ---- */

static void field(const json_t *v, const char *key, uint8_t *out, size_t n)
{
    const char *hex = json_string_value(json_object_get(v, key));
    assert_non_null(hex);
    assert_true(hex_decode(hex, strlen(hex), out, n));
}

/* The connection of a positive case, at its start. The other hash of the leaf is wrong: it must not be looked at. */
static void rig_up_vector(struct rig *r, const json_t *v)
{
    *r = (struct rig){ .cfg = sstp_server_cfg_default };
    bool sha1 = json_integer_value(json_object_get(v, "hash_protocol")) == SSTP_HASH_SHA1;
    r->cfg.hash_mask = (uint8_t)json_integer_value(json_object_get(v, "ack_bitmask"));
    memset(&r->cert, 0xee, sizeof r->cert);
    r->cert.known = 3;
    field(v, "cert_hash", sha1 ? r->cert.sha1 : r->cert.sha256, sha1 ? 20 : 32);
    field(v, "nonce", r->nonce, 32);
    field(v, "hlak", r->hlak, 32);
    field(v, "call_connected_112", r->cc, SSTP_CC_LEN);
    start(r);
}

static json_t *binding_vectors(void)
{
    json_error_t e;
    json_t *root = json_load_file(VECTORS_DIR "/sstp-crypto-binding.json", 0, &e);
    assert_non_null(root);
    return root;
}

static void test_binding_accepted(void **state)
{
    (void)state;
    json_t *root = binding_vectors(), *v;
    size_t i;
    assert_int_equal(json_array_size(json_object_get(root, "positive")), 10);
    json_array_foreach(json_object_get(root, "positive"), i, v)
        for (int held = 0; held < 2; held++) {
            struct rig r;
            uint8_t ack[48];
            field(v, "call_connect_ack_48", ack, sizeof ack);
            rig_up_vector(&r, v);
            assert_string_equal(input_hex(&r, CCR), "CALL_CONNECT_ACK PPP");
            assert_int_equal(r.sent_len, sizeof ack);
            assert_memory_equal(r.sent, ack, sizeof ack);
            if (held)
                assert_string_equal(input(&r, r.cc, sizeof r.cc), "");
            assert_string_equal(authenticated(&r), held ? "UP" : "");
            if (!held)
                assert_string_equal(input(&r, r.cc, sizeof r.cc), "UP");
            assert_int_equal(r.s.call.state, SSTP_SERVER_CALL_CONNECTED);
            static const uint8_t zero[SSTP_HLAK_LEN];
            assert_memory_equal(r.s.hlak, zero, sizeof zero); /* used and wiped */
            assert_null(r.s.held_cc);
            done(&r);
        }
    json_decref(root);
}

static json_t *positive(json_t *root, const char *id)
{
    json_t *v;
    size_t i;
    json_array_foreach(json_object_get(root, "positive"), i, v)
        if (!strcmp(json_string_value(json_object_get(v, "id")), id))
            return v;
    fail();
    return NULL;
}

static void test_binding_refused(void **state)
{
    (void)state;
    json_t *root = binding_vectors(), *v;
    size_t i, n = 0;
    json_array_foreach(json_object_get(root, "negative"), i, v)
        for (int held = 0; held < 2; held++, n++) {
            unsigned attrib, status;
            const char *expect = json_string_value(json_object_get(v, "expect"));
            assert_int_equal(sscanf(expect, "Call Abort: attrib %x, status %x", &attrib, &status), 2);
            char want[64];
            snprintf(want, sizeof want, "ABORT(%u,%u) ENDING(binding)", attrib, status);
            struct rig r;
            rig_up_vector(&r, positive(root, json_string_value(json_object_get(v, "relative_to"))));
            if (strstr(expect, "when ACK bitmask was 2"))
                r.cfg.hash_mask = 2;
            input_hex(&r, CCR);
            const char *hex = json_string_value(json_object_get(v, "call_connected"));
            if (!held)
                authenticated(&r);
            const char *got = input_hex(&r, hex);
            if (held && status != SSTP_STATUS_ATTRIB_NOT_SUPPORTED_IN_MSG) {
                assert_string_equal(got, "");
                got = authenticated(&r);
            }
            if (strcmp(got, want))
                fail_msg("%s: \"%s\"", json_string_value(json_object_get(v, "id")), got);
            assert_int_equal(r.why.attrib, attrib);
            assert_int_equal(r.why.status, status);
            assert_int_not_equal(r.why.binding, SSTP_BINDING_OK);
            assert_int_equal(r.ups, 0);
            done(&r);
        }
    assert_int_equal(n, 28);
    json_decref(root);
}

static void test_other_certificate_is_reported(void **state)
{
    (void)state;
    struct rig r;
    reach(&r, CCP);
    authenticated(&r);
    uint8_t other[32];
    memset(other, 0x5a, sizeof other);
    struct wr w = wr_make(r.cc, sizeof r.cc);
    assert_int_equal(sstp_cc_encode(&w, SSTP_HASH_SHA256, r.nonce, other, r.hlak), 0);
    assert_string_equal(input(&r, r.cc, sizeof r.cc), "ABORT(3,4) ENDING(binding)");
    assert_int_equal(r.why.binding, SSTP_BINDING_CERT);
    assert_int_equal(r.why.hash_protocol, SSTP_HASH_SHA256);
    assert_memory_equal(r.why.cert_hash_seen, other, sizeof other);
    done(&r);
}

/* Behind a front that ends TLS: any of its certificates is right, and the list may change before CALL_CONNECTED. */
static void test_one_of_several_certificates(void **state)
{
    (void)state;
    struct rig r;
    struct sstp_cert_hashes list[3] = { { .known = 3 }, { .known = 3 }, { .known = SSTP_HASH_SHA256 } };
    memset(list[0].sha256, 1, 32);
    memset(list[2].sha256, 3, 32);
    for (int at = 0; at < 3; at++) {
        reach(&r, CCP);
        authenticated(&r);
        memcpy(list[at].sha256, r.cert.sha256, 32);
        r.s.certs = list;
        r.s.n_certs = 3;
        assert_string_equal(input(&r, r.cc, sizeof r.cc), "UP");
        memset(list[at].sha256, 0x10 + at, 32);
        done(&r);
    }
    reach(&r, CCP);
    authenticated(&r);
    r.s.certs = list;
    r.s.n_certs = 3;
    assert_string_equal(input(&r, r.cc, sizeof r.cc), "ABORT(3,4) ENDING(binding)");
    assert_int_equal(r.why.binding, SSTP_BINDING_CERT);
    done(&r);
}

/* A hash that is not known of every certificate is not offered, and its zeros are no match for a client's zeros. */
static void test_unknown_hashes_are_not_offered(void **state)
{
    (void)state;
    struct rig r;
    rig_up(&r);
    struct sstp_cert_hashes list[2] = { r.cert, { .known = SSTP_HASH_SHA256 } };
    static const uint8_t zero[32];
    start(&r);
    r.s.certs = list;
    r.s.n_certs = 2;
    input_hex(&r, CCR);
    assert_int_equal(r.s.offered, SSTP_HASH_SHA256);
    authenticated(&r);
    struct wr w = wr_make(r.cc, sizeof r.cc);
    assert_int_equal(sstp_cc_encode(&w, SSTP_HASH_SHA1, r.nonce, zero, r.hlak), 0);
    assert_string_equal(input(&r, r.cc, sizeof r.cc), "ABORT(3,4) ENDING(binding)");
    assert_int_equal(r.why.binding, SSTP_BINDING_HASH);
    done(&r);
}

static void test_authenticated_once_and_in_time(void **state)
{
    (void)state;
    struct rig r;
    for (unsigned c = 0; c < COLUMNS; c++) {
        reach(&r, (enum column)c);
        assert_string_equal(authenticated(&r), c == HELD ? "UP" : "");
        assert_int_equal(r.s.call.state, c == HELD ? SSTP_SERVER_CALL_CONNECTED : state_of[c]);
        done(&r);
    }
    reach(&r, CRP); /* too early counts for nothing */
    authenticated(&r);
    input_hex(&r, CCR);
    assert_string_equal(input(&r, r.cc, sizeof r.cc), "");
    done(&r);
    reach(&r, CCP); /* the second key is not taken */
    authenticated(&r);
    static const uint8_t zero[SSTP_HLAK_LEN];
    assert_int_equal(sstp_server_authenticated(&r.s, zero, r.now, &r.q), 0);
    assert_string_equal(input(&r, r.cc, sizeof r.cc), "UP");
    done(&r);
}

/* A CALL_CONNECTED made with the zero key that an unfinished authentication would have. */
static void test_zero_key_before_authentication(void **state)
{
    (void)state;
    struct rig r;
    static const uint8_t zero[SSTP_HLAK_LEN];
    reach(&r, CCP);
    struct wr w = wr_make(r.cc, sizeof r.cc);
    assert_int_equal(sstp_cc_encode(&w, SSTP_HASH_SHA256, r.nonce, r.cert.sha256, zero), 0);
    assert_string_equal(input(&r, r.cc, sizeof r.cc), "");
    assert_string_equal(authenticated(&r), "ABORT(3,4) ENDING(binding)");
    assert_int_equal(r.why.binding, SSTP_BINDING_MAC);
    done(&r);
}

static uint32_t seed;

static uint32_t rnd(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(seed >> 8) * below >> 24);
}

/* No mutation of a CALL_CONNECTED brings a call up, but in the padding behind a SHA-1 MAC. */
static void test_mutated_connected(void **state)
{
    (void)state;
    seed = 3;
    for (int round = 0; round < 20000; round++) {
        struct rig r;
        reach(&r, CCP);
        bool sha1 = rnd(2), early = rnd(2);
        struct wr w = wr_make(r.cc, sizeof r.cc);
        assert_int_equal(sstp_cc_encode(&w, sha1 ? 1 : 2, r.nonce, sha1 ? r.cert.sha1 : r.cert.sha256, r.hlak), 0);
        uint8_t cc[SSTP_CC_LEN];
        memcpy(cc, r.cc, sizeof cc);
        for (uint32_t k = 1 + rnd(4); k; k--)
            cc[rnd(SSTP_CC_LEN)] ^= (uint8_t)(1 << rnd(8));
        if (!early)
            authenticated(&r);
        input(&r, cc, sizeof cc);
        if (early)
            authenticated(&r);
        assert_int_equal(r.ups, !memcmp(cc, r.cc, sha1 ? 100 : SSTP_CC_LEN));
        done(&r);
    }
}

/* A mutated request is acknowledged only when all that differs are bits to be ignored. */
static void test_mutated_request(void **state)
{
    (void)state;
    static const uint8_t ccr[14] = { 0x10, 1, 0, 14, 0, 1, 0, 1, 0, 1, 0, 6, 0, 1 };
    static const uint8_t mask[14] = { 0xff, 1, 0x0f, 255, 255, 255, 255, 255, 0, 255, 0x0f, 255, 255, 255 };
    seed = 4;
    unsigned good = 0;
    for (int round = 0; round < 20000; round++) {
        uint8_t pkt[14], same = 1;
        memcpy(pkt, ccr, sizeof pkt);
        for (uint32_t k = 1 + rnd(3); k; k--)
            pkt[rnd(14)] ^= (uint8_t)(1 << rnd(8));
        for (size_t i = 0; i < sizeof pkt; i++)
            same &= (pkt[i] & mask[i]) == (ccr[i] & mask[i]);
        struct rig r;
        rig_up(&r);
        bool acked = !strcmp(input(&r, pkt, sizeof pkt), "CALL_CONNECT_ACK PPP");
        assert_int_equal(acked, same);
        good += acked;
        done(&r);
    }
    assert_true(good > 100);
}

/* ---- a whole session ---- */

static void test_session(void **state)
{
    (void)state;
    json_t *root = binding_vectors(), *v;
    json_error_t e;
    json_t *session = json_load_file(VECTORS_DIR "/session-mschapv2.json", 0, &e);
    struct rig r;
    rig_up_vector(&r, positive(root, "mschapv2-sha256-rsa"));
    unsigned checked = 0, data = 0;
    size_t i;
    json_array_foreach(json_object_get(session, "steps"), i, v) {
        const char *name = json_string_value(json_object_get(v, "name"));
        bool ours = *json_string_value(json_object_get(v, "from")) == 'S';
        uint8_t pkt[256];
        struct sstp_pkt p = { 0 };
        const char *hex = json_string_value(json_object_get(v, "hex"));
        if (i < 2) /* HTTP */
            continue;
        size_t n = strlen(hex) / 2;
        assert_true(n <= sizeof pkt && hex_decode(hex, 2 * n, pkt, n));
        struct rd in = rd_make(pkt, n);
        assert_int_equal(sstp_pkt_next(&in, &p), 0);
        r.now += 10;
        if (!p.control) {
            uint16_t protocol = 0;
            assert_true(rd_skip(&p.payload, 2) && rd_u16(&p.payload, &protocol));
            assert_true(sstp_server_may_pass(&r.s, protocol));
            sstp_server_alive(&r.s, r.now);
            if (!strcmp(name, "CHAP Success"))
                assert_string_equal(authenticated(&r), "");
            data++;
        } else if (ours) { /* what the machine sent last, or its hello */
            if (!strcmp(name, "SSTP Echo Request"))
                assert_string_equal(deadline(&r, 25000 - 10), "ECHO_REQUEST");
            assert_int_equal(r.sent_len, n);
            assert_memory_equal(r.sent, pkt, n);
            checked++;
        } else {
            input(&r, pkt, n);
        }
    }
    assert_int_equal(checked, 3); /* the ACK, our echo, DISCONNECT_ACK */
    /* and four control packets of the client; the rest is data */
    assert_int_equal(data, json_array_size(json_object_get(session, "steps")) - 2 - checked - 4);
    assert_int_equal(r.ups, 1);
    assert_int_equal(r.why.cause, SSTP_END_PEER_DISCONNECT);
    assert_string_equal(deadline(&r, 1000 - 10), "CLOSE");
    done(&r);
    json_decref(session);
    json_decref(root);
}

/* ---- the rest ---- */

static void test_gate(void **state)
{
    (void)state;
    for (unsigned c = 0; c < COLUMNS; c++) {
        struct rig r;
        reach(&r, (enum column)c);
        assert_int_equal(sstp_server_may_pass(&r.s, 0x0021), c == UP);
        assert_int_equal(sstp_server_may_pass(&r.s, 0x7fff), c == UP);
        assert_int_equal(sstp_server_may_pass(&r.s, 0x8000), c == UP || c == CCP || c == HELD);
        assert_int_equal(sstp_server_may_pass(&r.s, 0xc021), c == UP || c == CCP || c == HELD);
        done(&r);
    }
}

static void test_hanging_up(void **state)
{
    (void)state;
    for (unsigned c = 0; c < COLUMNS; c++) {
        struct rig r;
        reach(&r, (enum column)c);
        bool open = c == CRP || c == CCP || c == HELD || c == UP;
        uint64_t before = sstp_server_deadline(&r.s);
        assert_string_equal(hang_up(&r), open ? "DISCONNECT(0,0) ENDING(disconnect)" : "");
        assert_int_equal(sstp_server_deadline(&r.s), open ? r.now + 5000 : before);
        assert_string_equal(hang_up(&r), "");
        assert_null(r.s.held_cc);
        done(&r);
    }
}

static void test_fini(void **state)
{
    (void)state;
    struct sstp_server zeroed = { 0 };
    sstp_server_fini(&zeroed);
    assert_int_equal(sstp_server_deadline(&zeroed), TIME_NEVER);
    struct rig r;
    reach(&r, HELD);
    sstp_server_fini(&r.s);
    assert_memory_equal(&r.s, &zeroed, sizeof zeroed);
    sstp_server_fini(&r.s);
}

static void test_state_names(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SSTP_STATES; i++)
        for (unsigned k = 0; k < i; k++)
            assert_string_not_equal(sstp_server_state_name(i), sstp_server_state_name(k));
    assert_string_equal(sstp_server_state_name(SSTP_SERVER_CALL_CONNECTED), "Server_Call_Connected");
    assert_string_equal(sstp_server_state_name(SSTP_STATES), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cell_of_the_matrix),
        cmocka_unit_test(test_negotiation_timer),
        cmocka_unit_test(test_abort_timers),
        cmocka_unit_test(test_disconnect_timers),
        cmocka_unit_test(test_hello_timer),
        cmocka_unit_test(test_alive_touches_only_a_connected_call),
        cmocka_unit_test(test_nak_rounds),
        cmocka_unit_test(test_a_thousand_faults),
        cmocka_unit_test(test_malformed_vectors),
        cmocka_unit_test(test_binding_accepted),
        cmocka_unit_test(test_binding_refused),
        cmocka_unit_test(test_other_certificate_is_reported),
        cmocka_unit_test(test_one_of_several_certificates),
        cmocka_unit_test(test_unknown_hashes_are_not_offered),
        cmocka_unit_test(test_authenticated_once_and_in_time),
        cmocka_unit_test(test_zero_key_before_authentication),
        cmocka_unit_test(test_mutated_connected),
        cmocka_unit_test(test_mutated_request),
        cmocka_unit_test(test_session),
        cmocka_unit_test(test_gate),
        cmocka_unit_test(test_hanging_up),
        cmocka_unit_test(test_fini),
        cmocka_unit_test(test_state_names),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
