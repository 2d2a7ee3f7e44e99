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
#include "sstp/client.h"
#include "sstp/server.h"

#define T0    1000000u
#define CCR   "1001000e00010001000100060001"
#define NONCE "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define ACK   "10010030000200010004002800000003" NONCE
#define ACK_1 "10010030000200010004002800000001" NONCE
#define ACK_2 "10010030000200010004002800000002" NONCE
#define NAK   "10010016000300010002000e00000001000000040002"
/* accel-ppp: two stray octets behind the attribute */
#define NAK_STRAY      "10010016000300010002000c000000010000000a0000"
#define CC             "10010070000400010003006800000002" NONCE NONCE NONCE
#define ABORT          "10010014000500010002000c0000000200000008"
#define DISCONNECT     "10010014000600010002000c0000000000000000"
#define DISCONNECT_ACK "1001000800070000"
#define ECHO_REQUEST   "1001000800080000"
#define ECHO_RESPONSE  "1001000800090000"
#define UNKNOWN        "10010008000a0000"

/* One machine with its queue and what came out of it. */
struct rig {
    struct sstp_client s;
    struct sstp_client_cfg cfg;
    struct sstp_cert_hashes leaf;
    uint8_t hlak[SSTP_HLAK_LEN];
    uint8_t buf[8192];
    struct evq q;
    uint64_t now;
    struct sstp_ended why;      /* of the last ENDING */
    uint8_t sent[SSTP_PKT_MAX]; /* the last packet sent */
    size_t sent_len;
    unsigned ups, ppps, endings, closes;
};

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

static const char *const causes[] = { "peer-disconnect", "peer-abort",  "disconnect", "abort",
                                      "binding",         "negotiation", "hello",      "refused" };

static void describe_sent(struct rig *r, const struct ev *e, char *out, size_t cap)
{
    struct sstp_msg m = { 0 };
    struct sstp_status_info i = { 0 };
    assert_int_equal(sstp_msg_parse(rd_make(e->data, e->len), &m), 0);
    memcpy(r->sent, e->data, e->len);
    r->sent_len = e->len;
    if (m.type == SSTP_CALL_ABORT || m.type == SSTP_CALL_DISCONNECT) {
        assert_int_equal(e->len, 20); /* never without Status Info */
        assert_true(sstp_msg_status(&m, &i));
        snprintf(out, cap, "%s(%u,%u)", sstp_type_name((uint16_t)m.type) + 5, i.attrib, i.status);
    } else if (m.type == SSTP_CALL_CONNECT_REQUEST) {
        struct sstp_status_info none[1];
        assert_int_equal(sstp_ccr_faults(&m, none, 1), 0);
        snprintf(out, cap, "CCR");
    } else if (m.type == SSTP_CALL_CONNECTED) {
        assert_true(sstp_cc_shaped(&m));
        snprintf(out, cap, "CC");
    } else {
        snprintf(out, cap, "%s", sstp_type_name((uint16_t)m.type));
    }
}

/* Drains the queue into words; checks on the way what holds for every life: ENDING once, CLOSE last, PPP and UP once.
 */
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
        case SSTP_EV_PPP_START:
            snprintf(word, sizeof word, "PPP");
            assert_int_equal(r->ppps++ + r->endings, 0);
            break;
        case SSTP_EV_UP:
            snprintf(word, sizeof word, "UP");
            assert_int_equal(r->ups++ + r->endings, 0);
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
    assert_int_equal(sstp_client_may_pass(&r->s, 0x0021), r->ups && !r->endings);
    assert_int_equal(sstp_client_may_pass(&r->s, 0xc021), r->ppps && !r->endings);
    return text;
}

static const char *input(struct rig *r, const void *pkt, size_t n)
{
    uint8_t *copy = malloc(n + 1);
    memcpy(copy, pkt, n);
    assert_int_equal(sstp_client_control(&r->s, rd_make(copy, n), r->now, &r->q), 0);
    memset(copy, 0xdb, n); /* nothing may point into it any more */
    free(copy);
    return events(r);
}

static size_t from_hex(const char *hex, uint8_t *out, size_t cap)
{
    size_t n = strlen(hex) / 2;
    assert_true(n <= cap && hex_decode(hex, 2 * n, out, n));
    return n;
}

static const char *input_hex(struct rig *r, const char *hex)
{
    uint8_t pkt[SSTP_PKT_MAX];
    return input(r, pkt, from_hex(hex, pkt, sizeof pkt));
}

static const char *start(struct rig *r)
{
    assert_int_equal(sstp_client_start(&r->s, r->now, &r->q), 0);
    return events(r);
}

static const char *authenticated(struct rig *r)
{
    assert_int_equal(sstp_client_authenticated(&r->s, r->hlak, r->now, &r->q), 0);
    return events(r);
}

static const char *hang_up(struct rig *r)
{
    assert_int_equal(sstp_client_disconnect(&r->s, r->now, &r->q), 0);
    return events(r);
}

static const char *doubt(struct rig *r, uint32_t wait_ms)
{
    assert_int_equal(sstp_client_doubt(&r->s, wait_ms, r->now, &r->q), 0);
    return events(r);
}

/* The clock moves; the owner calls in whether or not it is time. */
static const char *pass(struct rig *r, uint64_t ms)
{
    r->now += ms;
    assert_int_equal(sstp_client_expire(&r->s, r->now, &r->q), 0);
    return events(r);
}

/* Nothing one millisecond before the deadline, which is ms away; at it, what is returned. */
static const char *deadline(struct rig *r, uint64_t ms)
{
    assert_int_equal(sstp_client_deadline(&r->s), r->now + ms);
    unsigned before = r->s.call.state;
    assert_string_equal(pass(r, ms - 1), "");
    assert_int_equal(r->s.call.state, before);
    return pass(r, 1);
}

/* Some certificate and key. */
static void rig_up(struct rig *r)
{
    *r = (struct rig){ .cfg = sstp_client_cfg_default, .now = T0 };
    for (unsigned i = 0; i < 32; i++) {
        r->hlak[i] = (uint8_t)(0xa0 + i);
        r->leaf.sha256[i] = (uint8_t)(0x40 + i);
    }
    memset(r->leaf.sha1, 0x77, sizeof r->leaf.sha1);
    r->leaf.known = 3;
    r->q = evq_make(r->buf, sizeof r->buf);
    sstp_client_init(&r->s, &r->cfg, &r->leaf);
    assert_int_equal(sstp_client_deadline(&r->s), TIME_NEVER);
}

/* ---- states ---- */

enum column { NEW, CRS, CAR, UP, AP, ATP, DAP, DTP, OFF, COLUMNS };

static const enum sstp_client_state state_of[COLUMNS] = {
    [NEW] = SSTP_CLIENT_CALL_DISCONNECTED,           [CRS] = SSTP_CLIENT_CONNECT_REQUEST_SENT,
    [CAR] = SSTP_CLIENT_CONNECT_ACK_RECEIVED,        [UP] = SSTP_CLIENT_CALL_CONNECTED,
    [AP] = SSTP_CLIENT_CALL_ABORT_PENDING,           [ATP] = SSTP_CLIENT_CALL_ABORT_TIMEOUT_PENDING,
    [DAP] = SSTP_CLIENT_CALL_DISCONNECT_ACK_PENDING, [DTP] = SSTP_CLIENT_CALL_DISCONNECT_TIMEOUT_PENDING,
    [OFF] = SSTP_CLIENT_CALL_DISCONNECTED,
};

static void reach(struct rig *r, enum column c)
{
    rig_up(r);
    switch (c) {
    case NEW: break;
    case CRS: assert_string_equal(start(r), "CCR"); break;
    case CAR:
        reach(r, CRS);
        assert_string_equal(input_hex(r, ACK), "PPP");
        break;
    case UP:
        reach(r, CAR);
        assert_string_equal(authenticated(r), "CC UP");
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
    case OFF:
        reach(r, DTP);
        assert_string_equal(pass(r, 1000), "CLOSE");
        break;
    case COLUMNS: fail();
    }
    assert_int_equal(r->s.call.state, state_of[c]);
    r->q = evq_make(r->buf, sizeof r->buf); /* of this copy */
}

static void done(struct rig *r)
{
    static const struct sstp_client zeroed;
    sstp_client_fini(&r->s);
    assert_memory_equal(&r->s, &zeroed, sizeof zeroed);
}

/* ---- the receive matrix, MS-SSTP 3.2.5.3, figure 4: events > next ---- */

struct matrix_row {
    const char *name, *hex;
    struct {
        const char *events;
        enum column next;
    } cell[COLUMNS];
};

/* clang-format off */
#define WRONG { "ABORT(2,5) ENDING(abort)", AP }
#define BROKEN { "ABORT(2,7) ENDING(abort)", AP }
#define NO_BINDING { "ABORT(4,4) ENDING(abort)", AP }
#define ENDED [NEW] = { "", NEW }, [ATP] = { "", ATP }, [DTP] = { "", DTP }, [OFF] = { "", OFF }
#define TEARDOWN ENDED, [AP] = { "", AP }, [DAP] = { "", DAP }
#define PEER_ABORT { "ABORT(0,0) ENDING(peer-abort)", ATP }
#define PEER_DISC { "CALL_DISCONNECT_ACK ENDING(peer-disconnect)", DTP }
#define EVERY_CALL(...) [CRS] = __VA_ARGS__, [CAR] = __VA_ARGS__, [UP] = __VA_ARGS__
#define LATER_WRONG TEARDOWN, [CAR] = WRONG, [UP] = WRONG
#define GOOD_ACK { LATER_WRONG, [CRS] = { "PPP", CAR } }
#define ANY_NAK { LATER_WRONG, [CRS] = { "CCR", CRS } }
#define BAD_ACK { LATER_WRONG, [CRS] = NO_BINDING }
#define ANY_ABORT { ENDED, EVERY_CALL(PEER_ABORT), [AP] = { "", ATP }, [DAP] = { "ABORT(0,0)", ATP } }
#define ANY_DISCONNECT { ENDED, EVERY_CALL(PEER_DISC), [AP] = { "", AP }, [DAP] = { "CALL_DISCONNECT_ACK", DTP } }

static const struct matrix_row matrix[] = {
    { "CCR", CCR, { TEARDOWN, EVERY_CALL(WRONG) } },
    { "CC", CC, { TEARDOWN, EVERY_CALL(WRONG) } },
    { "ACK", ACK, GOOD_ACK },
    { "ACK SHA-1", ACK_1, GOOD_ACK },
    { "ACK SHA-256", ACK_2, GOOD_ACK },
    { "ACK reserved bits", "10fff03000020001ff04f028ffffffff" NONCE, GOOD_ACK },
    { "ACK no hash", "10010030000200010004002800000000" NONCE, BAD_ACK },
    { "ACK other hash", "100100300002000100040028000000fc" NONCE, BAD_ACK },
    { "ACK attribute 3", "10010030000200010003002800000003" NONCE, BAD_ACK },
    { "ACK short nonce",
      "1001002f000200010004002700000003" "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
      BAD_ACK },
    { "ACK empty", "1001000800020000", BAD_ACK },
    { "ACK miscounted", "10010030000200020004002800000003" NONCE, { TEARDOWN, EVERY_CALL(BROKEN) } },
    { "NAK", NAK, ANY_NAK },
    { "NAK stray octets", NAK_STRAY, ANY_NAK },
    { "NAK bare", "1001000800030000", ANY_NAK },
    { "NAK odd", "1001000c0003ffff00020001", ANY_NAK },
    { "ECHO_REQUEST", ECHO_REQUEST, { TEARDOWN, [CRS] = WRONG, [CAR] = WRONG, [UP] = { "ECHO_RESPONSE", UP } } },
    { "ECHO_REQUEST reserved bits", "10fff00800080000",
      { TEARDOWN, [CRS] = WRONG, [CAR] = WRONG, [UP] = { "ECHO_RESPONSE", UP } } },
    { "ECHO_RESPONSE", ECHO_RESPONSE, { TEARDOWN, [CRS] = WRONG, [CAR] = WRONG, [UP] = { "", UP } } },
    { "ABORT", ABORT, ANY_ABORT },
    { "ABORT bare", "1001000800050000", ANY_ABORT },
    { "ABORT odd", "1001000e0005ffff000200000102", ANY_ABORT },
    { "ABORT 4-octet value", "100100100005000100020008" "00000004", ANY_ABORT },
    { "DISCONNECT", DISCONNECT, ANY_DISCONNECT },
    { "DISCONNECT bare", "1001000800060000", ANY_DISCONNECT },
    { "DISCONNECT attribute 0", "10010010000600010000000800000000", ANY_DISCONNECT },
    { "DISCONNECT_ACK", DISCONNECT_ACK, { ENDED, EVERY_CALL(WRONG), [AP] = { "", AP }, [DAP] = { "CLOSE", OFF } } },
    { "unknown type", UNKNOWN, { TEARDOWN, EVERY_CALL(BROKEN) } },
    { "type 0", "1001000800000000", { TEARDOWN, EVERY_CALL(BROKEN) } },
    { "echo with attribute", "1001000e00080001000100060001", { TEARDOWN, EVERY_CALL(BROKEN) } },
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
            const char *got = input_hex(&r, row->hex);
            if (strcmp(got, row->cell[c].events))
                fail_msg("%s in column %u: \"%s\"", row->name, c, got);
            assert_int_equal(r.s.call.state, state_of[row->cell[c].next]);
            if (r.endings && c >= CRS && c <= UP)
                assert_int_equal(r.why.state, state_of[c]);
            bool off = row->cell[c].next == OFF || row->cell[c].next == NEW;
            assert_int_equal(sstp_client_deadline(&r.s) == TIME_NEVER, off);
            done(&r);
        }
}

/* What the owner may call, in every state. */
static void test_calls_of_the_owner_in_every_state(void **state)
{
    (void)state;
    for (unsigned c = 0; c < COLUMNS; c++) {
        struct rig r;
        reach(&r, (enum column)c);
        assert_string_equal(start(&r), c == NEW ? "CCR" : "");
        done(&r);
        reach(&r, (enum column)c);
        assert_string_equal(authenticated(&r), c == CAR ? "CC UP" : "");
        assert_string_equal(authenticated(&r), ""); /* once */
        done(&r);
        reach(&r, (enum column)c);
        bool call = c >= CRS && c <= UP;
        assert_string_equal(hang_up(&r), call ? "DISCONNECT(0,0) ENDING(disconnect)" : "");
        assert_string_equal(hang_up(&r), "");
        done(&r);
        reach(&r, (enum column)c);
        uint64_t before = sstp_client_deadline(&r.s);
        assert_string_equal(doubt(&r, 1000), c == UP ? "ECHO_REQUEST" : "");
        assert_int_equal(sstp_client_deadline(&r.s), c == UP ? r.now + 1000 : before);
        done(&r);
        reach(&r, (enum column)c);
        before = sstp_client_deadline(&r.s);
        sstp_client_alive(&r.s, r.now + 7);
        assert_int_equal(sstp_client_deadline(&r.s), c == UP ? r.now + 7 + 20000 : before);
        done(&r);
    }
}

/* ---- timers, MS-SSTP 3.1.2, 3.2.2 ---- */

static void test_negotiation_timer(void **state)
{
    (void)state;
    struct rig r;
    reach(&r, CRS);
    assert_string_equal(deadline(&r, 60000), "ABORT(2,8) ENDING(negotiation)");
    assert_int_equal(r.why.state, SSTP_CLIENT_CONNECT_REQUEST_SENT);
    assert_string_equal(deadline(&r, 3000), "CLOSE");
    assert_string_equal(pass(&r, 1000000), "");
    assert_string_equal(start(&r), ""); /* a machine lives once */
    done(&r);

    reach(&r, CRS);
    assert_string_equal(pass(&r, 59999), "");
    assert_string_equal(input_hex(&r, NAK), "CCR"); /* the retry restarts it, 3.2.2.1 */
    assert_int_equal(sstp_client_deadline(&r.s), r.now + 60000);
    assert_string_equal(pass(&r, 59999), "");
    assert_string_equal(input_hex(&r, ACK), "PPP"); /* so does the ACK */
    sstp_client_alive(&r.s, r.now + 100);           /* PPP's packets do not */
    assert_string_equal(deadline(&r, 60000), "ABORT(2,8) ENDING(negotiation)");
    assert_int_equal(r.why.state, SSTP_CLIENT_CONNECT_ACK_RECEIVED);
    assert_int_equal(r.why.status, SSTP_STATUS_NEGOTIATION_TIMEOUT);
    done(&r);
}

static void test_teardown_timers(void **state)
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
}

static void test_hello_timer(void **state)
{
    (void)state;
    struct rig r;
    reach(&r, UP);
    assert_string_equal(deadline(&r, 20000), "ECHO_REQUEST");
    assert_string_equal(deadline(&r, 20000), "ENDING(hello) CLOSE");
    assert_int_equal(r.why.state, SSTP_CLIENT_CALL_CONNECTED);
    done(&r);

    reach(&r, UP); /* an answer; then data */
    assert_string_equal(deadline(&r, 20000), "ECHO_REQUEST");
    assert_string_equal(pass(&r, 19999), "");
    assert_string_equal(input_hex(&r, ECHO_RESPONSE), "");
    assert_string_equal(deadline(&r, 20000), "ECHO_REQUEST");
    assert_string_equal(pass(&r, 19999), "");
    sstp_client_alive(&r.s, r.now);
    assert_string_equal(deadline(&r, 20000), "ECHO_REQUEST"); /* asked anew, not dropped */
    assert_string_equal(deadline(&r, 20000), "ENDING(hello) CLOSE");
    done(&r);
}

/* SoftEther never answers ECHO_REQUEST, and asks every few seconds itself. */
static void test_a_peer_that_only_asks_lives(void **state)
{
    (void)state;
    struct rig r;
    reach(&r, UP);
    for (int i = 0; i < 100; i++) {
        assert_string_equal(pass(&r, 4800), "");
        assert_string_equal(input_hex(&r, ECHO_REQUEST), "ECHO_RESPONSE");
    }
    assert_string_equal(deadline(&r, 20000), "ECHO_REQUEST"); /* ours was not answered, but there is life */
    assert_string_equal(pass(&r, 4800), "");
    assert_string_equal(input_hex(&r, ECHO_REQUEST), "ECHO_RESPONSE");
    assert_int_equal(sstp_client_deadline(&r.s), r.now + 20000);
    assert_int_equal(r.endings, 0);
    done(&r);
}

static void test_doubt(void **state)
{
    (void)state;
    struct rig r;
    reach(&r, UP);
    assert_string_equal(doubt(&r, 3000), "ECHO_REQUEST");
    assert_string_equal(deadline(&r, 3000), "ENDING(hello) CLOSE");
    done(&r);

    reach(&r, UP); /* any packet ends it */
    assert_string_equal(doubt(&r, 3000), "ECHO_REQUEST");
    assert_string_equal(pass(&r, 2999), "");
    sstp_client_alive(&r.s, r.now);
    assert_string_equal(deadline(&r, 20000), "ECHO_REQUEST");
    done(&r);

    reach(&r, UP); /* one doubt after the other does not put off the end */
    assert_string_equal(doubt(&r, 3000), "ECHO_REQUEST");
    assert_string_equal(pass(&r, 2000), "");
    assert_string_equal(doubt(&r, 3000), "ECHO_REQUEST");
    assert_string_equal(deadline(&r, 1000), "ENDING(hello) CLOSE");
    done(&r);

    reach(&r, UP); /* a question that waits already may wait less */
    assert_string_equal(deadline(&r, 20000), "ECHO_REQUEST");
    assert_string_equal(doubt(&r, 3000), "ECHO_REQUEST");
    assert_string_equal(deadline(&r, 3000), "ENDING(hello) CLOSE");
    done(&r);
}

/* ---- requests ---- */

static void test_nak_rounds(void **state)
{
    (void)state;
    struct rig r;
    for (unsigned naks = 0; naks <= 3; naks++) { /* up to three, an ACK is still welcome */
        reach(&r, CRS);
        for (unsigned i = 0; i < naks; i++)
            assert_string_equal(input_hex(&r, i % 2 ? NAK_STRAY : NAK), "CCR");
        assert_string_equal(input_hex(&r, ACK), "PPP");
        done(&r);
    }
    reach(&r, CRS);
    for (unsigned i = 0; i < 3; i++)
        assert_string_equal(input_hex(&r, NAK), "CCR");
    assert_string_equal(input_hex(&r, NAK), "ABORT(2,6) ENDING(refused)");
    assert_int_equal(r.why.status, SSTP_STATUS_RETRY_COUNT_EXCEEDED);
    assert_int_equal(r.s.nak.attrib, 1);
    assert_int_equal(r.s.nak.status, SSTP_STATUS_VALUE_NOT_SUPPORTED);
    assert_null(r.s.nak.value.p);
    done(&r);
    reach(&r, CRS); /* a NAK that says nothing leaves nothing of the one before */
    assert_string_equal(input_hex(&r, NAK_STRAY), "CCR");
    assert_int_equal(r.s.nak.status, SSTP_STATUS_REQUIRED_ATTRIBUTE_MISSING);
    assert_string_equal(input_hex(&r, "1001000800030000"), "CCR");
    assert_int_equal(r.s.nak.attrib | r.s.nak.status, 0);
    done(&r);
    reach(&r, CRS);
    r.cfg.retries_max = 0;
    assert_string_equal(input_hex(&r, NAK), "ABORT(2,6) ENDING(refused)");
    done(&r);
}

/* MS-SSTP 2.2.6, 3.2.5.3.2: both: SHA-256; else the common one; none: the end. */
static void test_choice_of_hash(void **state)
{
    (void)state;
    for (uint8_t ours = 1; ours <= 3; ours++)
        for (uint8_t known = 0; known <= 3; known++)
            for (unsigned theirs = 0; theirs < 16; theirs++) {
                struct rig r;
                char ack[97];
                snprintf(ack, sizeof ack, "100100300002000100040028000000%02x" NONCE, theirs);
                rig_up(&r);
                r.cfg.hash_mask = ours;
                r.leaf.known = known;
                assert_string_equal(start(&r), "CCR");
                unsigned common = ours & known & theirs;
                const char *got = input_hex(&r, ack);
                assert_string_equal(got, common ? "PPP" : "ABORT(4,4) ENDING(abort)");
                if (common) {
                    assert_int_equal(r.s.offered, theirs & 3);
                    assert_int_equal(r.s.hash, common & 2 ? 2 : 1);
                    assert_string_equal(authenticated(&r), "CC UP");
                    assert_int_equal(r.sent[15], r.s.hash);
                }
                done(&r);
            }
}

/* ---- vectors ---- */

static json_t *vectors(const char *path)
{
    json_error_t e;
    json_t *root = json_load_file(path, 0, &e);
    assert_non_null(root);
    return root;
}

static const char *text_of(const json_t *v, const char *key)
{
    const char *text = json_string_value(json_object_get(v, key));
    assert_non_null(text);
    return text;
}

static void field(const json_t *v, const char *key, uint8_t *out, size_t n)
{
    assert_int_equal(from_hex(text_of(v, key), out, n), n);
}

/* A case of the binding's vectors up to Client_Connect_Ack_Received. The other hash is wrong: it must not be used. */
static void rig_up_vector(struct rig *r, const json_t *v)
{
    rig_up(r);
    bool sha1 = json_integer_value(json_object_get(v, "hash_protocol")) == SSTP_HASH_SHA1;
    r->cfg.hash_mask = sha1 ? SSTP_HASH_SHA1 : 3;
    memset(&r->leaf, 0xee, sizeof r->leaf);
    r->leaf.known = 3;
    field(v, "cert_hash", sha1 ? r->leaf.sha1 : r->leaf.sha256, sha1 ? 20 : 32);
    field(v, "hlak", r->hlak, 32);
    assert_string_equal(start(r), "CCR");
    assert_string_equal(input_hex(r, text_of(v, "call_connect_ack_48")), "PPP");
}

static void test_binding_vectors(void **state)
{
    (void)state;
    json_t *root = vectors(VECTORS_DIR "/sstp-crypto-binding.json"), *v;
    size_t i;
    assert_int_equal(json_array_size(json_object_get(root, "positive")), 10);
    json_array_foreach(json_object_get(root, "positive"), i, v) {
        struct rig r;
        uint8_t want[SSTP_CC_LEN];
        field(v, "call_connected_112", want, sizeof want);
        rig_up_vector(&r, v);
        assert_string_equal(authenticated(&r), "CC UP");
        assert_int_equal(r.sent_len, sizeof want);
        assert_memory_equal(r.sent, want, sizeof want);
        /* HLAK is nowhere in the machine. */
        for (size_t at = 0; at + 32 <= sizeof r.s; at++)
            assert_memory_not_equal((const uint8_t *)&r.s + at, r.hlak, 32);
        done(&r);
    }
    json_decref(root);
}

/* Every SSTP control packet of the session, both ways. */
static void test_session_vector(void **state)
{
    (void)state;
    json_t *root = vectors(VECTORS_DIR "/session-mschapv2.json"), *v;
    json_t *keys = vectors(VECTORS_DIR "/sstp-crypto-binding.json"), *k;
    struct rig r;
    size_t i, seen = 0;
    rig_up(&r);
    json_array_foreach(json_object_get(keys, "positive"), i, k)
        if (!strcmp(text_of(k, "id"), "mschapv2-sha256-rsa")) {
            field(k, "cert_hash", r.leaf.sha256, 32);
            field(k, "hlak", r.hlak, 32);
            seen++;
        }
    assert_int_equal(seen, 1);
    json_array_foreach(json_object_get(root, "steps"), i, v) {
        uint8_t pkt[SSTP_PKT_MAX];
        size_t n = from_hex(text_of(v, "hex"), pkt, sizeof pkt);
        const char *name = text_of(v, "name");
        if (pkt[0] != SSTP_VERSION || !(pkt[1] & 1)) {
            sstp_client_alive(&r.s, r.now);
            continue;
        }
        seen++;
        if (*text_of(v, "from") == 'S') {
            input(&r, pkt, n);
            continue;
        }
        if (!strcmp(name, "Call Connect Request"))
            assert_string_equal(start(&r), "CCR");
        else if (!strcmp(name, "Call Connected (SHA-256)"))
            assert_string_equal(authenticated(&r), "CC UP");
        else if (!strcmp(name, "Call Disconnect"))
            assert_string_equal(hang_up(&r), "DISCONNECT(0,0) ENDING(disconnect)");
        else
            assert_string_equal(name, "SSTP Echo Response"); /* sent with the packet before */
        assert_int_equal(r.sent_len, n);
        assert_memory_equal(r.sent, pkt, n);
    }
    assert_int_equal(seen, 1 + 7);
    assert_int_equal(r.closes, 1);
    assert_int_equal(r.why.cause, SSTP_END_OUR_DISCONNECT);
    done(&r);
    json_decref(root);
    json_decref(keys);
}

/* A hostile server: every malformed message, in every state of a call. The framer refuses some before. */
static void test_malformed_vectors(void **state)
{
    (void)state;
    json_t *root = vectors(VECTORS_DIR "/sstp-messages.json"), *v;
    size_t i, lost = 0, echoes = 0;
    json_array_foreach(json_object_get(root, "malformed"), i, v)
        for (unsigned c = CRS; c <= UP; c++) {
            uint8_t pkt[64];
            size_t n = from_hex(text_of(v, "hex"), pkt, sizeof pkt);
            struct rd in = rd_make(pkt, n);
            struct sstp_pkt p = { 0 };
            if (sstp_pkt_next(&in, &p)) {
                lost++;
                continue;
            }
            struct rig r;
            reach(&r, (enum column)c);
            const char *got = input(&r, pkt, n);
            if (!strncmp(text_of(v, "expect"), "valid", 5) && c == UP) {
                assert_string_equal(got, "ECHO_RESPONSE");
                echoes++;
            } else {
                assert_int_equal(r.s.call.state, SSTP_CLIENT_CALL_ABORT_PENDING);
                assert_int_equal(strncmp(got, "ABORT(2,", 8), 0);
                assert_string_equal(deadline(&r, 3000), "CLOSE");
            }
            done(&r);
        }
    assert_int_equal(lost, 4 * 3);
    assert_int_equal(echoes, 2);
    json_decref(root);
}

/* Each good message cut at each length, its Length as it was or right: never taken for the whole, and always an end. */
static void test_cut_messages(void **state)
{
    (void)state;
    json_t *root = vectors(VECTORS_DIR "/sstp-messages.json"), *v;
    size_t i, cuts = 0;
    json_array_foreach(json_object_get(root, "valid"), i, v) {
        uint8_t pkt[64];
        size_t n = from_hex(text_of(v, "hex"), pkt, sizeof pkt);
        unsigned type = (unsigned)json_integer_value(json_object_get(v, "type"));
        for (size_t len = 0; len < n; len++)
            for (unsigned right = 0; right < 2; right++)
                for (unsigned c = CRS; c <= UP; c++, cuts++) {
                    struct rig r;
                    uint8_t piece[64];
                    memcpy(piece, pkt, n);
                    if (right)
                        piece[3] = (uint8_t)len;
                    reach(&r, (enum column)c);
                    input(&r, piece, len);
                    /* ABORT, DISCONNECT, NAK are judged by their type, which is there from 8 bytes on. */
                    bool by_type = right && len >= 8 && (type == 3 || type == 5 || type == 6);
                    if (!by_type) {
                        assert_int_equal(r.s.call.state, SSTP_CLIENT_CALL_ABORT_PENDING);
                        assert_int_equal(r.why.cause, SSTP_END_ABORT);
                    } else if (type != 3) {
                        assert_int_equal(r.why.cause, type == 5 ? SSTP_END_PEER_ABORT : SSTP_END_PEER_DISCONNECT);
                    }
                    done(&r);
                }
    }
    assert_true(cuts > 1000);
    json_decref(root);
}

static void some_nonce(void *arg, void *out, size_t n)
{
    memset(out, *(const uint8_t *)arg, n);
}

/* To the server; what it sends goes to the client. Returns whether its call is up now. */
static bool to_server(struct rig *r, struct sstp_server *server, struct evq *q)
{
    bool up = false;
    struct ev e;
    assert_int_equal(sstp_server_control(server, rd_make(r->sent, r->sent_len), r->now, q), 0);
    while (evq_next(q, &e))
        if (e.type == SSTP_EV_SEND)
            input(r, e.data, e.len);
        else
            up = up || e.type == SSTP_EV_UP;
    evq_reset(q);
    return up;
}

/* The two roles, whole, with every choice of hash. */
static void test_against_the_server(void **state)
{
    (void)state;
    for (uint8_t mask = 1; mask <= 3; mask++)
        for (int other_key = 0; other_key < 2; other_key++) {
            struct rig r;
            struct sstp_server server;
            struct sstp_server_cfg cfg = sstp_server_cfg_default;
            uint8_t buf[2048];
            struct evq q = evq_make(buf, sizeof buf);
            rig_up(&r);
            cfg.hash_mask = mask;
            sstp_server_init(&server, &cfg, &r.leaf, 1, (struct rng){ some_nonce, &mask }, r.now);
            assert_string_equal(start(&r), "CCR");
            assert_false(to_server(&r, &server, &q));
            assert_int_equal(r.s.call.state, SSTP_CLIENT_CONNECT_ACK_RECEIVED);
            assert_int_equal(sstp_server_authenticated(&server, r.hlak, r.now, &q), 0);
            r.hlak[0] ^= (uint8_t)other_key;
            assert_string_equal(authenticated(&r), "CC UP");
            assert_int_equal(to_server(&r, &server, &q), !other_key);
            assert_int_equal(r.endings, other_key); /* the server's ABORT */
            if (other_key)
                assert_int_equal(r.why.status, SSTP_STATUS_VALUE_NOT_SUPPORTED);
            sstp_server_fini(&server);
            done(&r);
        }
}

/* ---- properties ---- */

static uint32_t next_random(uint32_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 17;
    *x ^= *x << 5;
    return *x;
}

/* Whatever comes: the rules that events() checks, and left alone every call comes to its end soon. */
static void test_random_lives(void **state)
{
    (void)state;
    static const char *const good[] = { ACK,        ACK_1,          NAK,          NAK_STRAY,     ABORT,
                                        DISCONNECT, DISCONNECT_ACK, ECHO_REQUEST, ECHO_RESPONSE, CCR };
    uint32_t x = 2463534242u;
    unsigned ups = 0;
    for (unsigned life = 0; life < 4000; life++) {
        struct rig r;
        reach(&r, (enum column)(life % 4));
        for (unsigned step = 0; step < 12; step++) {
            uint8_t pkt[64];
            size_t n = from_hex(good[next_random(&x) % 10], pkt, sizeof pkt);
            for (unsigned flips = next_random(&x) % 4; flips; flips--)
                pkt[next_random(&x) % n] ^= (uint8_t)(1u << next_random(&x) % 8);
            switch (next_random(&x) % 6) {
            case 0: pass(&r, next_random(&x) % 30000); break;
            case 1: authenticated(&r); break;
            case 2: start(&r); break;
            case 3: doubt(&r, next_random(&x) % 5000); break;
            default: input(&r, pkt, next_random(&x) % 8 ? n : next_random(&x) % n);
            }
        }
        ups += r.ups;
        start(&r); /* of one that was never started */
        for (unsigned i = 0; i < 4 && !r.closes; i++)
            pass(&r, sstp_client_deadline(&r.s) - r.now);
        assert_int_equal(r.closes, 1);
        done(&r);
    }
    assert_true(ups > 500);
}

static void test_a_full_queue_fails(void **state)
{
    (void)state;
    struct rig r;
    for (size_t cap = 0; cap < 160; cap += 8) {
        reach(&r, CAR);
        r.q.cap = cap;
        int err = sstp_client_authenticated(&r.s, r.hlak, r.now, &r.q);
        assert_int_equal(err, 0);
        assert_int_equal(r.q.failed, cap < 8 + SSTP_CC_LEN + 8);
        sstp_client_fini(&r.s);
    }
}

static void test_state_names(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SSTP_STATES; i++)
        for (unsigned k = 0; k < i; k++)
            assert_string_not_equal(sstp_client_state_name(i), sstp_client_state_name(k));
    assert_string_equal(sstp_client_state_name(SSTP_CLIENT_CONNECT_ACK_RECEIVED), "Client_Connect_Ack_Received");
    assert_string_equal(sstp_client_state_name(SSTP_STATES), "unknown");
    assert_int_equal(sstp_client_cfg_default.hash_mask, 3);
    assert_int_equal(sstp_client_cfg_default.retries_max, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cell_of_the_matrix),
        cmocka_unit_test(test_calls_of_the_owner_in_every_state),
        cmocka_unit_test(test_negotiation_timer),
        cmocka_unit_test(test_teardown_timers),
        cmocka_unit_test(test_hello_timer),
        cmocka_unit_test(test_a_peer_that_only_asks_lives),
        cmocka_unit_test(test_doubt),
        cmocka_unit_test(test_nak_rounds),
        cmocka_unit_test(test_choice_of_hash),
        cmocka_unit_test(test_binding_vectors),
        cmocka_unit_test(test_session_vector),
        cmocka_unit_test(test_malformed_vectors),
        cmocka_unit_test(test_cut_messages),
        cmocka_unit_test(test_against_the_server),
        cmocka_unit_test(test_random_lives),
        cmocka_unit_test(test_a_full_queue_fails),
        cmocka_unit_test(test_state_names),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
