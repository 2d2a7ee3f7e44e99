/* The automaton of RFC 1661 4, cell by cell, its timers and its option handling; the option iterator. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/ct.h"
#include "ppp/cp.h"
#include "ppp/link.h"

/* RFC 1661 4.1 as it is printed there. */
static const char rfc_left[] = "Up   |    2     irc,scr/6     -         -         -         -\n"
                               "Down |    -         -         0       tls/1       0         1\n"
                               "Open |  tls/1       1     irc,scr/6     3r        5r        5r\n"
                               "Close|    0       tlf/0       2         2         4         4\n"
                               "TO+  |    -         -         -         -       str/4     str/5\n"
                               "TO-  |    -         -         -         -       tlf/2     tlf/3\n"
                               "RCR+ |    -         -       sta/2 irc,scr,sca/8   4         5\n"
                               "RCR- |    -         -       sta/2 irc,scr,scn/6   4         5\n"
                               "RCA  |    -         -       sta/2     sta/3       4         5\n"
                               "RCN  |    -         -       sta/2     sta/3       4         5\n"
                               "RTR  |    -         -       sta/2     sta/3     sta/4     sta/5\n"
                               "RTA  |    -         -         2         3       tlf/2     tlf/3\n"
                               "RUC  |    -         -       scj/2     scj/3     scj/4     scj/5\n"
                               "RXJ+ |    -         -         2         3         4         5\n"
                               "RXJ- |    -         -       tlf/2     tlf/3     tlf/2     tlf/3\n"
                               "RXR  |    -         -         2         3         4         5\n";
static const char rfc_right[] = "Up   |    -         -         -           -\n"
                                "Down |    1         1         1         tld/1\n"
                                "Open |    6         7         8           9r\n"
                                "Close|irc,str/4 irc,str/4 irc,str/4 tld,irc,str/4\n"
                                "TO+  |  scr/6     scr/6     scr/8         -\n"
                                "TO-  |  tlf/3p    tlf/3p    tlf/3p        -\n"
                                "RCR+ |  sca/8   sca,tlu/9   sca/8   tld,scr,sca/8\n"
                                "RCR- |  scn/6     scn/7     scn/6   tld,scr,scn/6\n"
                                "RCA  |  irc/7     scr/6x  irc,tlu/9   tld,scr/6x\n"
                                "RCN  |irc,scr/6   scr/6x  irc,scr/8   tld,scr/6x\n"
                                "RTR  |  sta/6     sta/6     sta/6   tld,zrc,sta/5\n"
                                "RTA  |    6         6         8       tld,scr/6\n"
                                "RUC  |  scj/6     scj/7     scj/8     scj/9\n"
                                "RXJ+ |    6         6         8           9\n"
                                "RXJ- |  tlf/3     tlf/3     tlf/3   tld,irc,str/5\n"
                                "RXR  |    6         7         8         ser/9\n";

/* The word for (event, state), copied to out. */
static void rfc_cell(unsigned event, unsigned state, char *out, size_t cap)
{
    const char *line = state < 6 ? rfc_left : rfc_right;
    unsigned column = state < 6 ? state : state - 6;
    while (event--)
        line = strchr(line, '\n') + 1;
    line = strchr(line, '|') + 1;
    for (;; column--) {
        line += strspn(line, " ");
        size_t n = strcspn(line, " \n");
        if (column == 0) {
            assert_true(n < cap);
            memcpy(out, line, n);
            out[n] = 0;
            return;
        }
        line += n;
    }
}

static unsigned rfc_actions(const char *cell)
{
    static const struct {
        const char *name;
        unsigned bit;
    } names[] = { { "tlu", CP_TLU }, { "tld", CP_TLD }, { "tls", CP_TLS }, { "tlf", CP_TLF }, { "irc", CP_IRC },
                  { "zrc", CP_ZRC }, { "scr", CP_SCR }, { "sca", CP_SCA }, { "scn", CP_SCN }, { "str", CP_STR },
                  { "sta", CP_STA }, { "scj", CP_SCJ }, { "ser", CP_SER } };
    unsigned bits = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strstr(cell, names[i].name))
            bits |= names[i].bit;
    return bits;
}

static unsigned rfc_next(const char *cell)
{
    const char *slash = strchr(cell, '/');
    if (cell[0] == '-')
        return CP_IMPOSSIBLE;
    return (unsigned)((slash ? slash[1] : cell[0]) - '0');
}

static void test_table(void **state)
{
    (void)state;
    for (unsigned e = 0; e < CP_EVENTS; e++)
        for (unsigned s = 0; s < CP_STATES; s++) {
            char cell[32];
            rfc_cell(e, s, cell, sizeof cell);
            assert_int_equal(cp_table[e][s].actions, rfc_actions(cell));
            assert_int_equal(cp_table[e][s].next, rfc_next(cell));
        }
}

/* A protocol with one option: type 1, one byte, which has to be 7. Ours is 9 until it is rejected. */
struct toy {
    struct cp cp;
    struct cp_common common;
    bool ask, need, refuse;
    uint8_t accepted;
    uint8_t mem[8192];
    struct evq q;
};

static void toy_build(void *self, struct wr *w)
{
    const struct toy *t = self;
    uint8_t nine = 9;
    if (t->ask)
        ppp_opt_put(w, 1, &nine, 1);
}

static enum cp_verdict toy_judge(void *self, const struct ppp_opt *opt, unsigned naks, struct wr *nak)
{
    (void)self, (void)naks;
    uint8_t value, seven = 7;
    if (opt->type != 1 || !ppp_opt_copy(opt, &value, 1))
        return CP_REJECT;
    if (value == 7)
        return CP_ACK;
    ppp_opt_put(nak, 1, &seven, 1);
    return CP_NAK;
}

static void toy_missing(void *self, struct rd options, struct wr *nak)
{
    const struct toy *t = self;
    uint8_t seven = 7;
    if (t->need && rd_end(&options))
        ppp_opt_put(nak, 1, &seven, 1);
}

static void toy_accept(void *self, struct rd options)
{
    struct toy *t = self;
    struct ppp_opt opt;
    while (ppp_opt_next(&options, &opt) == 0)
        assert_true(ppp_opt_copy(&opt, &t->accepted, 1));
}

static bool toy_apply(void *self, enum cp_code code, struct rd options)
{
    struct toy *t = self;
    if (code == CP_CONF_REJ && !rd_end(&options))
        t->ask = false;
    return !t->refuse;
}

static void toy_echo(void *self, struct rd data, struct wr *w)
{
    (void)self;
    wr_bytes(w, data.p, rd_left(&data));
}

static const struct cp_ops toy_ops = { .protocol = 0xc021,
                                       .restart_ms = { 300, 1000, 3000 },
                                       .build = toy_build,
                                       .judge = toy_judge,
                                       .missing = toy_missing,
                                       .accept = toy_accept,
                                       .apply = toy_apply,
                                       .echo = toy_echo };

static void toy_init(struct toy *t)
{
    memset(t, 0, sizeof *t);
    t->q = evq_make(t->mem, sizeof t->mem);
    t->ask = true;
    cp_init(&t->cp, &toy_ops, t, &t->common);
}

static void expect(struct toy *t, const char *hex)
{
    struct ev ev = { 0 };
    char text[1024] = "";
    assert_true(evq_next(&t->q, &ev));
    assert_int_equal(ev.type, PPP_EV_SEND);
    assert_true(ev.len >= 4 && ev.len < 512);
    assert_memory_equal(ev.data, "\xff\x03\xc0\x21", 4);
    hex_encode(ev.data + 4, ev.len - 4u, text);
    assert_string_equal(text, hex);
}

static void quiet(struct toy *t)
{
    struct ev ev = { 0 };
    assert_false(evq_next(&t->q, &ev));
    assert_false(t->q.failed);
    evq_reset(&t->q);
}

static void give(struct toy *t, const char *hex, uint64_t now_ms)
{
    uint8_t bytes[2048];
    size_t n = strlen(hex) / 2;
    struct ppp_hdr pkt;
    assert_true(n <= sizeof bytes && hex_decode(hex, 2 * n, bytes, n));
    if (ppp_hdr_parse(rd_make(bytes, n), &pkt))
        cp_input(&t->cp, &pkt, now_ms, &t->q);
}

/* Brings the automaton into a state by hand, with request 5 outstanding where one can be. */
static void force(struct toy *t, unsigned state)
{
    toy_init(t);
    t->cp.state = (uint8_t)state;
    t->cp.next_id = 6;
    t->cp.req_id = 5;
    t->cp.restart = 4;
    t->cp.deadline_ms = state >= CP_CLOSING && state <= CP_ACK_SENT ? 1000 : TIME_NEVER;
}

static void fire(struct toy *t, unsigned event)
{
    switch ((enum cp_event)event) {
    case CP_EV_UP:
    case CP_EV_DOWN:
    case CP_EV_OPEN:
    case CP_EV_CLOSE:
    case CP_EV_RXJ_PLUS: cp_event(&t->cp, (enum cp_event)event, 1000, &t->q); break;
    case CP_EV_TO_MINUS:
        t->cp.restart = 0;
        cp_expire(&t->cp, 1000, &t->q);
        break;
    case CP_EV_TO_PLUS: cp_expire(&t->cp, 1000, &t->q); break;
    case CP_EV_RCR_PLUS: give(t, "01210007010307", 1000); break;
    case CP_EV_RCR_MINUS: give(t, "01210007010308", 1000); break;
    case CP_EV_RCA: give(t, "02050007010309", 1000); break;
    case CP_EV_RCN: give(t, "03050007010308", 1000); break;
    case CP_EV_RTR: give(t, "0521000461", 1000); break;
    case CP_EV_RTA: give(t, "06050004", 1000); break;
    case CP_EV_RUC: give(t, "0e210004", 1000); break;
    case CP_EV_RXJ_MINUS: give(t, "0721000801050004", 1000); break;
    case CP_EV_RXR: give(t, "0921000811223344", 1000); break;
    case CP_EVENTS: break;
    }
}

/* Every cell, driven by real packets and timeouts: frames, signals, counter, timer and next state. */
static void test_cells(void **state)
{
    (void)state;
    static struct toy t;
    for (unsigned e = 0; e < CP_EVENTS; e++)
        for (unsigned s = 0; s < CP_STATES; s++) {
            char cell[32];
            rfc_cell(e, s, cell, sizeof cell);
            unsigned a = rfc_actions(cell), next = rfc_next(cell);
            force(&t, s);
            fire(&t, e);
            assert_int_equal(t.cp.state, next == CP_IMPOSSIBLE ? s : next);
            assert_int_equal(cp_signals(&t.cp), a & CP_SIGNALS);
            assert_int_equal(cp_signals(&t.cp), 0);
            if (a & CP_SCR)
                expect(&t, "01060007010309");
            if (a & CP_SCA)
                expect(&t, "02210007010307");
            if (a & CP_SCN)
                expect(&t, "03210007010307");
            if (a & CP_STR)
                expect(&t, "05060004");
            if (a & CP_STA)
                expect(&t, e == CP_EV_RTR || e == CP_EV_RCR_PLUS || e == CP_EV_RCR_MINUS ? "06210004" : "06050004");
            if (a & CP_SCJ)
                expect(&t, "070600080e210004");
            if (a & CP_SER)
                expect(&t, "0a21000811223344");
            quiet(&t);
            if (a & CP_IRC)
                assert_int_equal(t.cp.restart,
                                 (a & CP_STR ? CP_MAX_TERMINATE : CP_MAX_CONFIGURE) - !!(a & (CP_STR | CP_SCR)));
            if (a & CP_ZRC)
                assert_int_equal(t.cp.restart, 0);
            bool runs = t.cp.state >= CP_CLOSING && t.cp.state <= CP_ACK_SENT;
            assert_int_equal(t.cp.deadline_ms != TIME_NEVER, runs);
        }
}

static void test_schedule(void **state)
{
    (void)state;
    static struct toy t;
    toy_init(&t);
    cp_event(&t.cp, CP_EV_OPEN, 0, &t.q);
    cp_event(&t.cp, CP_EV_UP, 0, &t.q);
    assert_int_equal(cp_signals(&t.cp), CP_TLS);
    uint64_t at = 0;
    for (unsigned i = 1; i <= CP_MAX_CONFIGURE; i++) {
        char want[32];
        snprintf(want, sizeof want, "01%02x0007010309", i); /* each with an Identifier of its own */
        expect(&t, want);
        quiet(&t);
        at += i == 1 ? 300 : i == 2 ? 1000 : 3000;
        assert_int_equal(t.cp.deadline_ms, at);
        cp_expire(&t.cp, at - 1, &t.q);
        quiet(&t);
        cp_expire(&t.cp, at, &t.q);
    }
    quiet(&t);
    assert_int_equal(cp_signals(&t.cp), CP_TLF);
    assert_int_equal(t.cp.state, CP_STOPPED);
    assert_int_equal(t.cp.deadline_ms, TIME_NEVER);
}

static void test_terminate_twice(void **state)
{
    (void)state;
    static struct toy t;
    force(&t, CP_OPENED);
    t.cp.reason = "bye";
    cp_event(&t.cp, CP_EV_CLOSE, 0, &t.q);
    expect(&t, "05060007627965");
    cp_expire(&t.cp, CP_TERMINATE_MS, &t.q);
    expect(&t, "05070007627965");
    cp_expire(&t.cp, 2 * CP_TERMINATE_MS, &t.q);
    quiet(&t);
    assert_int_equal(cp_signals(&t.cp), CP_TLD | CP_TLF);
}

static void test_stale_dropped(void **state)
{
    (void)state;
    static struct toy t;
    const char *const stale[] = { "02040007010309", "03040007010308",       "04040007010309", "06040004",
                                  "02050007010308", /* an Ack of what we did not ask */
                                  "02050004",       "0205000a010309020309", "03050007010408", "02050003",
                                  "020500" };
    for (size_t i = 0; i < sizeof stale / sizeof stale[0]; i++) {
        force(&t, CP_REQ_SENT);
        give(&t, stale[i], 10);
        assert_int_equal(t.cp.state, CP_REQ_SENT);
        assert_true(t.ask);
        quiet(&t);
    }
}

static void test_padding_ignored(void **state)
{
    (void)state;
    static struct toy t;
    force(&t, CP_REQ_SENT);
    give(&t, "02050007010309deadbeef", 10);
    assert_int_equal(t.cp.state, CP_ACK_RCVD);
}

static void test_reject_before_nak(void **state)
{
    (void)state;
    static struct toy t;
    force(&t, CP_REQ_SENT);
    give(&t, "0101000e0103080204aabb010307", 0); /* to be nak'd, unknown, good */
    expect(&t, "040100080204aabb");
    quiet(&t);
    assert_int_equal(t.cp.naks, 0);
}

static void test_max_failure(void **state)
{
    (void)state;
    static struct toy t;
    force(&t, CP_REQ_SENT);
    for (unsigned i = 0; i < CP_MAX_FAILURE; i++) {
        give(&t, "01010007010308", 0);
        expect(&t, "03010007010307");
    }
    give(&t, "01010007010308", 0);
    expect(&t, "04010007010308"); /* RFC 1661 4.6: Reject instead */
    quiet(&t);
    give(&t, "01020004", 0);
    expect(&t, "02020004"); /* an empty request is fine, and the count starts anew */
    assert_int_equal(t.cp.naks, 0);
}

static void test_missing_option(void **state)
{
    (void)state;
    static struct toy t;
    force(&t, CP_REQ_SENT);
    t.need = true;
    for (unsigned i = 0; i < CP_MAX_FAILURE; i++) {
        give(&t, "01010004", 0);
        expect(&t, "03010007010307");
        assert_int_equal(cp_signals(&t.cp), 0);
    }
    give(&t, "01010004", 0);
    quiet(&t);
    assert_int_equal(cp_signals(&t.cp), CP_FAILED);
}

static void test_refused(void **state)
{
    (void)state;
    static struct toy t;
    force(&t, CP_REQ_SENT);
    t.refuse = true;
    give(&t, "04050007010309", 0);
    quiet(&t);
    assert_int_equal(cp_signals(&t.cp), CP_FAILED);
    assert_int_equal(t.cp.state, CP_REQ_SENT);
}

static void test_code_reject_once(void **state)
{
    (void)state;
    static struct toy t;
    force(&t, CP_OPENED);
    give(&t, "0c210004", 0);
    give(&t, "0d210004", 0);
    quiet(&t); /* Identification and Time-Remaining */
    give(&t, "0e210004", 0);
    expect(&t, "070600080e210004");
    give(&t, "00210004", 0);
    give(&t, "ff210004", 0);
    quiet(&t);
}

static void test_code_reject_received(void **state)
{
    (void)state;
    static struct toy t;
    for (unsigned code = 0; code < 256; code++) {
        char hex[32];
        force(&t, CP_OPENED);
        snprintf(hex, sizeof hex, "07010008%02x050004", code);
        give(&t, hex, 0);
        assert_int_equal(t.cp.state, code >= 1 && code <= 7 ? CP_STOPPING : CP_OPENED);
    }
    force(&t, CP_OPENED);
    give(&t, "07010004", 0); /* says nothing */
    assert_int_equal(t.cp.state, CP_OPENED);
}

static void test_large_request_dropped(void **state)
{
    (void)state;
    static struct toy t;
    static uint8_t bytes[CP_REQUEST_MAX + 16];
    struct ppp_hdr pkt;
    for (size_t n = CP_REQUEST_MAX - 8; n < sizeof bytes; n++) {
        struct wr w = wr_make(bytes, sizeof bytes);
        wr_u16(&w, 0x0101);
        wr_u16(&w, (uint16_t)n);
        while (n - wr_len(&w) >= 4)
            ppp_opt_put(&w, 9, "unknown", n - wr_len(&w) < 8 ? n - wr_len(&w) - 2 : 2);
        force(&t, CP_REQ_SENT);
        assert_true(ppp_hdr_parse(rd_make(bytes, n), &pkt));
        cp_input(&t.cp, &pkt, 0, &t.q);
        struct ev ev;
        assert_int_equal(evq_next(&t.q, &ev), n <= CP_REQUEST_MAX);
    }
}

static void test_options(void **state)
{
    (void)state;
    const uint8_t good[] = { 1, 4, 0x05, 0xdc, 5, 6, 1, 2, 3, 4, 7, 2, 19, 3, 9 };
    const size_t ends[] = { 0, 4, 10, 12, 15 };
    for (size_t n = 0; n <= sizeof good; n++) { /* cut at each length */
        bool whole = false;
        for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
            whole |= ends[i] == n;
        assert_int_equal(ppp_opt_list_valid(rd_make(good, n)), whole);
    }
    uint8_t bad[sizeof good];
    const size_t lens[] = { 1, 5, 11, 13 };
    for (size_t i = 0; i < 4; i++) { /* the last Length off by one overruns or cuts; 0 and 1 never pass */
        memcpy(bad, good, sizeof bad);
        bad[lens[i]] = 0;
        assert_false(ppp_opt_list_valid(rd_make(bad, sizeof bad)));
        bad[lens[i]] = 1;
        assert_false(ppp_opt_list_valid(rd_make(bad, sizeof bad)));
        bad[lens[i]] = 255;
        assert_false(ppp_opt_list_valid(rd_make(bad, sizeof bad)));
    }
    struct rd list = rd_make(good, sizeof good);
    struct ppp_opt opt;
    uint16_t v16;
    uint32_t v32;
    assert_int_equal(ppp_opt_next(&list, &opt), 0);
    assert_true(ppp_opt_u16(&opt, &v16) && v16 == 1500);
    assert_false(ppp_opt_u32(&opt, &v32));
    assert_int_equal(ppp_opt_next(&list, &opt), 0);
    assert_true(ppp_opt_u32(&opt, &v32) && v32 == 0x01020304);
    assert_false(ppp_opt_u16(&opt, &v16));
    assert_int_equal(rd_left(&opt.whole), 6);
}

static void test_options_mutated(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (unsigned round = 0; round < 20000; round++) {
        uint8_t bytes[24];
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24) & (round & 1 ? 0x07 : 0xff);
        struct rd list = rd_make(bytes, sizeof bytes);
        struct ppp_opt opt;
        size_t sum = 0;
        int rc;
        while ((rc = ppp_opt_next(&list, &opt)) == 0) {
            assert_true(rd_left(&opt.whole) == rd_left(&opt.data) + 2);
            assert_ptr_equal(opt.whole.p, bytes + sum);
            sum += rd_left(&opt.whole);
        }
        assert_int_equal(sum + rd_left(&list), sizeof bytes);
        assert_int_equal(rc == ERR_CLOSED, sum == sizeof bytes);
    }
}

static void test_header(void **state)
{
    (void)state;
    const uint8_t good[] = { 9, 3, 0, 8, 0xa1, 0xb2, 0xc3, 0xd4 };
    struct ppp_hdr pkt;
    for (size_t n = 0; n < sizeof good; n++)
        assert_false(ppp_hdr_parse(rd_make(good, n), &pkt));
    assert_true(ppp_hdr_parse(rd_make(good, sizeof good), &pkt));
    assert_int_equal(rd_left(&pkt.data), 4);
    for (unsigned len = 0; len <= 9; len++) {
        uint8_t bytes[sizeof good];
        memcpy(bytes, good, sizeof good);
        bytes[3] = (uint8_t)len;
        assert_int_equal(ppp_hdr_parse(rd_make(bytes, sizeof bytes), &pkt), len >= 4 && len <= 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_cells),
        cmocka_unit_test(test_schedule),
        cmocka_unit_test(test_terminate_twice),
        cmocka_unit_test(test_stale_dropped),
        cmocka_unit_test(test_padding_ignored),
        cmocka_unit_test(test_reject_before_nak),
        cmocka_unit_test(test_max_failure),
        cmocka_unit_test(test_missing_option),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_code_reject_once),
        cmocka_unit_test(test_code_reject_received),
        cmocka_unit_test(test_large_request_dropped),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_options_mutated),
        cmocka_unit_test(test_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
