/* The client's role of a link: against our server's role over a bad wire, and against frames of servers with habits.
 * The scenarios are in tests/replay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "auth/login.h"
#include "base/ct.h"
#include "base/digest.h"
#include "base/timerq.h"
#include "ppp/cp.h"
#include "ppp/opt.h"
#include "ppp/peer.h"

static const struct ppp_secret alice = { "alice", "clientPass" };

/* ---- our client and our server, with a wire between them ---- */

#define FLIGHT_MAX 512
#define WIRE_MS    20

struct frame {
    uint64_t at_ms;
    bool to_server;
    size_t len;
    uint8_t data[600];
};

struct pair {
    struct ppp_cfg scfg;
    struct ppp_peer_cfg ccfg;
    struct ppp_link *server;
    struct ppp_peer *client;
    struct users *users;
    uint64_t now_ms;
    uint32_t seed;        /* of the wire's faults and of the random numbers */
    unsigned lose, twice; /* per cent */
    bool lose_auth;       /* authentication suffers too */
    struct frame flight[FLIGHT_MAX];
    size_t sent, got;
    uint8_t cmem[32768], smem[32768];
    struct evq cq, sq;
    bool s_up4, c_up4, s_up6, c_up6;
    bool s_proved; /* the client was told that the server proved itself */
    unsigned s_downs, c_downs;
    struct ppp_down s_down, c_down;
    struct ppp_authed s_who, c_who;
    struct ppp_peer_ip4 ip4;
    struct ppp_peer_ip6 ip6;
    uint8_t s_ip6[8];
};

static uint32_t dice(struct pair *p)
{
    p->seed = p->seed * 1664525u + 1013904223u;
    return p->seed >> 8;
}

static void fill(void *arg, void *out, size_t n)
{
    uint8_t *b = out;
    for (size_t i = 0; i < n; i++)
        b[i] = (uint8_t)dice(arg);
}

static void put(struct pair *p, const struct ev *ev, bool to_server)
{
    uint16_t protocol = 0;
    struct rd r = rd_make(ev->data, ev->len);
    assert_true(ppp_frame_open(&r, &protocol));
    bool safe = !p->lose_auth && (protocol == PPP_PAP || protocol == PPP_CHAP || protocol == PPP_EAP);
    unsigned copies = safe ? 1 : dice(p) % 100 < p->lose ? 0 : dice(p) % 100 < p->twice ? 2 : 1;
    while (copies-- > 0) {
        struct frame *f = &p->flight[p->sent++ % FLIGHT_MAX];
        assert_true(p->sent - p->got <= FLIGHT_MAX && ev->len <= sizeof f->data);
        f->at_ms = p->now_ms + WIRE_MS;
        f->to_server = to_server;
        f->len = ev->len;
        memcpy(f->data, ev->data, ev->len);
    }
}

static void server_event(struct pair *p, const struct ev *ev)
{
    static struct ppp_auth_request asked;
    struct ppp_auth_result res;
    enum user_state why;
    switch (ev->type) {
    case PPP_EV_SEND: put(p, ev, false); break;
    case PPP_EV_AUTH:
        memcpy(&asked, ev->data, sizeof asked);
        assert_int_equal(login_check(p->users, &asked, 0, &res, &why), 0);
        assert_int_equal(ppp_link_auth_result(p->server, &res, p->now_ms, &p->sq), 0);
        break;
    case PPP_EV_AUTHED:
        memcpy(&p->s_who, ev->data, sizeof p->s_who);
        assert_int_equal(ppp_link_set_ip4(p->server, 0x0a080007, p->now_ms, &p->sq), 0);
        break;
    case PPP_EV_IP4_UP: p->s_up4 = true; break;
    case PPP_EV_IP4_DOWN: p->s_up4 = false; break;
    case PPP_EV_IP6_UP:
        p->s_up6 = true;
        memcpy(p->s_ip6, ev->data, 8);
        break;
    case PPP_EV_IP6_DOWN: p->s_up6 = false; break;
    case PPP_EV_DOWN:
        p->s_downs++;
        memcpy(&p->s_down, ev->data, sizeof p->s_down);
        break;
    default: fail();
    }
}

static void client_event(struct pair *p, const struct ev *ev)
{
    switch (ev->type) {
    case PPP_EV_SEND: put(p, ev, true); break;
    case PPP_EV_AUTHED:
        assert_false(p->s_proved); /* once */
        p->s_proved = true;
        memcpy(&p->c_who, ev->data, sizeof p->c_who);
        break;
    case PPP_EV_IP4_UP:
        assert_true(p->s_proved);
        p->c_up4 = true;
        memcpy(&p->ip4, ev->data, sizeof p->ip4);
        break;
    case PPP_EV_IP4_DOWN: p->c_up4 = false; break;
    case PPP_EV_IP6_UP:
        assert_true(p->s_proved);
        p->c_up6 = true;
        memcpy(&p->ip6, ev->data, sizeof p->ip6);
        break;
    case PPP_EV_IP6_DOWN: p->c_up6 = false; break;
    case PPP_EV_DOWN:
        p->c_downs++;
        memcpy(&p->c_down, ev->data, sizeof p->c_down);
        break;
    default: fail();
    }
}

static void drain(struct pair *p)
{
    struct ev ev;
    while (evq_next(&p->sq, &ev))
        server_event(p, &ev);
    while (evq_next(&p->cq, &ev))
        client_event(p, &ev);
    evq_reset(&p->sq);
    evq_reset(&p->cq);
}

static void pair_start(struct pair *p)
{
    const char text[] = "alice plain:\"clientPass\"\n";
    struct users_error err;
    assert_int_equal(digest_init(), 0);
    assert_int_equal(users_parse(text, strlen(text), &p->users, &err), 0);
    p->sq = evq_make(p->smem, sizeof p->smem);
    p->cq = evq_make(p->cmem, sizeof p->cmem);
    p->server = ppp_link_new(&p->scfg, (struct rng){ fill, p });
    p->client = ppp_peer_new(&p->ccfg, p->ccfg.survey ? NULL : &alice, (struct rng){ fill, p });
    assert_non_null(p->server);
    assert_non_null(p->client);
    assert_int_equal(ppp_link_start(p->server, 0, &p->sq), 0);
    assert_int_equal(ppp_peer_start(p->client, 0, &p->cq), 0);
    drain(p);
}

static uint64_t first(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void pair_run(struct pair *p, uint64_t until_ms)
{
    for (unsigned steps = 0;; steps++) {
        assert_true(steps < 100000);
        uint64_t wire = p->got < p->sent ? p->flight[p->got % FLIGHT_MAX].at_ms : TIME_NEVER;
        uint64_t at = first(wire, first(ppp_link_deadline(p->server), ppp_peer_deadline(p->client)));
        if (at > until_ms)
            break;
        p->now_ms = at > p->now_ms ? at : p->now_ms;
        if (wire <= p->now_ms) {
            struct frame f = p->flight[p->got++ % FLIGHT_MAX];
            struct rd r = rd_make(f.data, f.len);
            assert_int_equal(f.to_server ? ppp_link_input(p->server, r, p->now_ms, &p->sq)
                                         : ppp_peer_input(p->client, r, p->now_ms, &p->cq),
                             0);
        } else {
            assert_int_equal(ppp_link_expire(p->server, p->now_ms, &p->sq), 0);
            assert_int_equal(ppp_peer_expire(p->client, p->now_ms, &p->cq), 0);
        }
        drain(p);
    }
    p->now_ms = until_ms;
}

static void pair_end(struct pair *p)
{
    ppp_peer_free(p->client);
    ppp_link_free(p->server);
    users_free(p->users);
}

static void pair_make(struct pair *p, unsigned server_method, uint32_t seed)
{
    *p = (struct pair){
        .seed = seed,
        .scfg = { .mtu = 1400, .server_ip4 = 0x0a080001, .dns = { 0x0a080035 }, .ipv6 = true, .auth_tries = 1 },
        .ccfg = { .auth = { PPP_AUTH_EAP_MSCHAPV2, PPP_AUTH_MSCHAPV2, PPP_AUTH_CHAP_MD5, PPP_AUTH_PAP },
                  .dns = true,
                  .ipv6 = true },
    };
    p->scfg.auth[0] = (uint8_t)server_method;
}

static void test_each_method(void **state)
{
    (void)state;
    static struct pair p;
    static const uint8_t zeros[32];
    for (unsigned m = PPP_AUTH_PAP; m <= PPP_AUTH_MSCHAPV2; m++) {
        pair_make(&p, m, 7);
        pair_start(&p);
        pair_run(&p, 400); /* at once: no timer of either side is waited for but IPCP's shortest */
        assert_true(p.s_up4 && p.c_up4 && p.s_up6 && p.c_up6);
        assert_int_equal(p.ip4.ip4, 0x0a080007);
        assert_int_equal(p.ip4.peer, 0x0a080001);
        assert_int_equal(p.ip4.dns[0], 0x0a080035);
        assert_int_equal(p.ip4.dns[1], 0);
        assert_memory_equal(p.ip6.own, p.s_ip6, 8);
        assert_memory_not_equal(p.ip6.peer, p.s_ip6, 8);
        assert_int_equal(p.c_who.method, m);
        assert_int_equal(ppp_peer_method(p.client), m);
        assert_int_equal(ppp_peer_first_method(p.client), m);
        assert_memory_equal(p.c_who.hlak, p.s_who.hlak, 32);
        assert_int_equal(memcmp(p.c_who.hlak, zeros, 32) != 0, m == PPP_AUTH_MSCHAPV2);
        assert_int_equal(ppp_peer_mtu(p.client), 1400);
        assert_string_equal(ppp_peer_phase(p.client), "network");
        assert_int_equal(ppp_peer_terminate(p.client, "bye", p.now_ms, &p.cq), 0);
        drain(&p);
        pair_run(&p, 5000);
        assert_int_equal(p.c_downs, 1);
        assert_int_equal(p.s_downs, 1);
        assert_int_equal(p.c_down.cause, PPP_DOWN_OUR_TERMINATE);
        assert_int_equal(p.s_down.cause, PPP_DOWN_PEER_TERMINATE);
        assert_string_equal(p.s_down.text, "bye");
        assert_false(p.s_up4 || p.c_up4 || p.s_up6 || p.c_up6);
        pair_end(&p);
    }
}

static void test_wrong_password(void **state)
{
    (void)state;
    static struct pair p;
    static const struct ppp_secret wrong = { "alice", "wrong" };
    for (unsigned m = PPP_AUTH_PAP; m <= PPP_AUTH_MSCHAPV2; m++) {
        pair_make(&p, m, m);
        pair_start(&p);
        ppp_peer_free(p.client);
        p.client = ppp_peer_new(&p.ccfg, &wrong, (struct rng){ fill, &p });
        assert_int_equal(ppp_peer_start(p.client, 0, &p.cq), 0);
        drain(&p);
        pair_run(&p, 10000);
        assert_int_equal(p.c_downs, 1);
        assert_int_equal(p.c_down.cause, PPP_DOWN_AUTH_FAILED);
        assert_int_equal(ppp_peer_auth_error(p.client), PPP_AUTH_FAILURE);
        assert_false(p.s_proved || p.c_up4 || p.s_up4);
        pair_end(&p);
    }
}

/* LCP and the NCPs recover from everything that a wire can do. */
static void test_bad_wire(void **state)
{
    (void)state;
    static struct pair p;
    for (uint32_t seed = 1; seed <= 300; seed++) {
        pair_make(&p, PPP_AUTH_PAP + seed % 3, seed);
        p.lose = seed & 1 ? 20 : 0;
        p.twice = seed & 2 ? 8 : 0;
        pair_start(&p);
        pair_run(&p, 90000);
        if (!p.s_up4 || !p.c_up4 || !p.c_up6 || !p.s_up6)
            print_error("seed %u: %s, %s\n", (unsigned)seed, p.c_down.text, p.s_down.text);
        assert_true(p.s_up4 && p.c_up4);
        assert_true(p.s_up6 && p.c_up6);
        assert_int_equal(p.ip4.ip4, 0x0a080007);
        pair_end(&p);
    }
}

/* Authentication over such a wire may end the link, but in order, and never passes what is not proved. */
static void test_bad_wire_auth(void **state)
{
    (void)state;
    static struct pair p;
    unsigned up = 0;
    for (uint32_t seed = 1; seed <= 300; seed++) {
        pair_make(&p, PPP_AUTH_PAP + seed % 3, seed);
        p.lose = 15;
        p.twice = 5;
        p.lose_auth = true;
        pair_start(&p);
        pair_run(&p, 200000);
        assert_true(p.c_downs == 1 || p.c_up4);
        if (p.c_up4)
            assert_memory_equal(p.c_who.hlak, p.s_who.hlak, 32);
        up += p.c_up4;
        pair_end(&p);
    }
    assert_true(up > 150);
}

static void test_survey_of_our_server(void **state)
{
    (void)state;
    static struct pair p;
    pair_make(&p, PPP_AUTH_MSCHAPV2, 3);
    p.scfg.auth[1] = PPP_AUTH_PAP;
    p.ccfg.survey = true;
    memset(p.ccfg.auth, 0, sizeof p.ccfg.auth);
    pair_start(&p);
    pair_run(&p, 20000);
    assert_int_equal(p.c_downs, 1);
    assert_int_equal(p.c_down.cause, PPP_DOWN_OUR_TERMINATE);
    assert_int_equal(ppp_peer_methods(p.client), 1u << PPP_AUTH_MSCHAPV2 | 1u << PPP_AUTH_PAP);
    assert_int_equal(ppp_peer_first_method(p.client), PPP_AUTH_MSCHAPV2);
    assert_false(p.s_proved);
    pair_end(&p);
}

/* ---- against written frames; the random numbers are zeros, so that our magic is 1 ---- */

struct fix {
    struct ppp_peer_cfg cfg;
    struct ppp_peer *l;
    uint64_t now_ms;
    uint8_t mem[65536];
    struct evq q;
};

static void zeros(void *arg, void *out, size_t n)
{
    (void)arg;
    memset(out, 0, n);
}

static void start(struct fix *f)
{
    f->now_ms = 0;
    f->q = evq_make(f->mem, sizeof f->mem);
    f->l = ppp_peer_new(&f->cfg, f->cfg.survey ? NULL : &alice, (struct rng){ zeros, NULL });
    assert_non_null(f->l);
    assert_int_equal(ppp_peer_start(f->l, 0, &f->q), 0);
}

static void give(struct fix *f, uint16_t protocol, uint8_t code, uint8_t id, const char *hex)
{
    uint8_t frame[4100], data[4000];
    size_t n = strlen(hex) / 2;
    assert_true(n <= sizeof data && hex_decode(hex, 2 * n, data, n));
    struct wr w = wr_make(frame, sizeof frame);
    wr_u16(&w, 0xff03);
    wr_u16(&w, protocol);
    wr_u8(&w, code);
    wr_u8(&w, id);
    wr_u16(&w, (uint16_t)(4 + n));
    wr_bytes(&w, data, n);
    assert_int_equal(ppp_peer_input(f->l, rd_make(frame, wr_len(&w)), f->now_ms, &f->q), 0);
}

/* The next event has to be this frame; its Identifier is returned. */
static uint8_t expect(struct fix *f, uint16_t protocol, uint8_t code, const char *hex)
{
    struct ev ev = { 0 };
    uint16_t got = 0;
    struct ppp_hdr pkt = { 0 };
    char text[3100];
    assert_true(evq_next(&f->q, &ev));
    assert_int_equal(ev.type, PPP_EV_SEND);
    struct rd r = rd_make(ev.data, ev.len);
    assert_true(ppp_frame_open(&r, &got) && ppp_hdr_parse(r, &pkt) && rd_left(&pkt.data) < 1500);
    hex_encode(pkt.data.p, rd_left(&pkt.data), text);
    assert_int_equal(got, protocol);
    assert_int_equal(pkt.code, code);
    if (hex)
        assert_string_equal(text, hex);
    return pkt.id;
}

static struct ev event(struct fix *f, unsigned type)
{
    struct ev ev = { 0 };
    assert_true(evq_next(&f->q, &ev));
    assert_int_equal(ev.type, type);
    return ev;
}

static void quiet(struct fix *f)
{
    struct ev ev = { 0 };
    assert_false(evq_next(&f->q, &ev));
    evq_reset(&f->q);
}

static void ends(struct fix *f, enum ppp_down_cause cause, const char *text)
{
    struct ev ev = event(f, PPP_EV_DOWN);
    const struct ppp_down *down = (const void *)ev.data;
    assert_int_equal(down->cause, cause);
    assert_string_equal(down->text, text);
    assert_int_equal(ppp_peer_deadline(f->l), TIME_NEVER);
    quiet(f);
}

/* Terminate-Request, then the end when it is acknowledged. */
static void hangs_up(struct fix *f, enum ppp_down_cause cause, const char *text)
{
    char hex[200];
    hex_encode(text, strlen(text), hex);
    uint8_t id = expect(f, PPP_LCP, CP_TERM_REQ, hex);
    quiet(f);
    give(f, PPP_LCP, CP_TERM_ACK, id, "");
    ends(f, cause, text);
}

static void wait_to(struct fix *f, uint64_t at_ms)
{
    assert_int_equal(ppp_peer_deadline(f->l), at_ms);
    f->now_ms = at_ms;
    assert_int_equal(ppp_peer_expire(f->l, at_ms, &f->q), 0);
}

static const struct ppp_peer_cfg with_pap = { .auth = { PPP_AUTH_MSCHAPV2, PPP_AUTH_PAP }, .dns = true };

#define OWN   "050600000001"
#define PAP   "0304c023"
#define MAGIC "0506aabbccdd"

static void opened(struct fix *f)
{
    start(f);
    uint8_t id = expect(f, PPP_LCP, CP_CONF_REQ, OWN);
    give(f, PPP_LCP, CP_CONF_ACK, id, OWN);
    give(f, PPP_LCP, CP_CONF_REQ, 0, PAP MAGIC);
    expect(f, PPP_LCP, CP_CONF_ACK, PAP MAGIC);
    id = expect(f, PPP_PAP, 1, "05616c6963650a636c69656e7450617373");
    quiet(f);
    assert_string_equal(ppp_peer_phase(f->l), "authenticate");
}

/* Logged in; our IPCP request is out, and its Identifier returned. */
static uint8_t logged_in(struct fix *f)
{
    start(f);
    uint8_t id = expect(f, PPP_LCP, CP_CONF_REQ, NULL);
    give(f, PPP_LCP, CP_CONF_ACK, id, OWN);
    give(f, PPP_LCP, CP_CONF_REQ, 0, PAP MAGIC);
    expect(f, PPP_LCP, CP_CONF_ACK, PAP MAGIC);
    id = expect(f, PPP_PAP, 1, NULL);
    give(f, PPP_PAP, 2, id, "00");
    event(f, PPP_EV_AUTHED);
    return expect(f, PPP_IPCP, CP_CONF_REQ, f->cfg.dns ? "030600000000810600000000830600000000" : "030600000000");
}

static void test_server_options(void **state)
{
    (void)state;
    static struct fix f;
    static const struct {
        const char *request;
        uint8_t code;
        const char *answer;
    } rows[] = {
        { PAP, CP_CONF_ACK, PAP },
        { "010405dc" PAP, CP_CONF_ACK, "010405dc" PAP },
        { "01040240" PAP, CP_CONF_ACK, "01040240" PAP }, /* 576 */
        { "0104023f" PAP, CP_CONF_NAK, "01040500" },
        { "0104ffff" PAP, CP_CONF_ACK, "0104ffff" PAP },
        { "01030a" PAP, CP_CONF_REJ, "01030a" },
        { "020600000000" PAP, CP_CONF_ACK, "020600000000" PAP },
        { "0204ffff" PAP, CP_CONF_REJ, "0204ffff" },
        { PAP MAGIC, CP_CONF_ACK, PAP MAGIC },
        { PAP "050600000001", CP_CONF_NAK, "050600000001" }, /* ours: another one, which the test's numbers cannot be */
        { PAP "050600000000", CP_CONF_NAK, "050600000001" },
        { PAP "07020802", CP_CONF_ACK, PAP "07020802" },
        { PAP "0703aa", CP_CONF_REJ, "0703aa" },
        { PAP "0d0306", CP_CONF_REJ, "0d0306" },                     /* callback */
        { "0408c02500000000" PAP, CP_CONF_REJ, "0408c02500000000" }, /* quality */
        { PAP "1104064e1202", CP_CONF_REJ, "1104064e1202" },         /* multilink */
        { PAP "130301", CP_CONF_REJ, "130301" },                     /* endpoint */
        { PAP "170400ff", CP_CONF_REJ, "170400ff" },
        { PAP "fe02", CP_CONF_REJ, "fe02" },
        { "0305c22381", CP_CONF_ACK, "0305c22381" },
        { "0304c227", CP_CONF_NAK, "0305c22381" },     /* EAP is not in the list */
        { "0305c22305", CP_CONF_NAK, "0305c22381" },   /* MD5 neither */
        { "0305c22380", CP_CONF_NAK, "0305c22381" },   /* MS-CHAPv1 */
        { "0304c223", CP_CONF_NAK, "0305c22381" },     /* CHAP, any */
        { "0302", CP_CONF_NAK, "0305c22381" },         /* nothing */
        { "0306c02300ff", CP_CONF_NAK, "0305c22381" }, /* PAP with more */
        { "0304c227fe02", CP_CONF_REJ, "fe02" },       /* a Reject goes first */
        { PAP "0304c227", CP_CONF_NAK, "0305c22381" }, /* twice, one of them not allowed */
        { "010405", 0, "" },
        { "0100", 0, "" },
        { "05", 0, "" },
        { "", CP_CONF_ACK, "" },
    };
    f.cfg = with_pap;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        start(&f);
        expect(&f, PPP_LCP, CP_CONF_REQ, OWN);
        give(&f, PPP_LCP, CP_CONF_REQ, 9, rows[i].request);
        if (rows[i].code)
            assert_int_equal(expect(&f, PPP_LCP, rows[i].code, rows[i].answer), 9);
        quiet(&f);
        ppp_peer_free(f.l);
    }
}

static void test_mtu(void **state)
{
    (void)state;
    static struct fix f;
    static const struct {
        const char *request;
        uint16_t mtu;
    } rows[] = { { PAP, 1500 },
                 { PAP "01040578", 1400 },
                 { PAP "01040240", 576 },
                 { PAP "01040ffb", 4087 },
                 { PAP "0104ffff", 4087 } };
    f.cfg = with_pap;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        start(&f);
        assert_int_equal(ppp_peer_mtu(f.l), 1500);
        give(&f, PPP_LCP, CP_CONF_REQ, 9, rows[i].request);
        assert_int_equal(ppp_peer_mtu(f.l), rows[i].mtu);
        ppp_peer_free(f.l);
    }
}

/* What becomes of our own request. */
static void test_own_request(void **state)
{
    (void)state;
    static struct fix f;
    static const struct {
        uint16_t mru;
        const char *first;
        uint8_t code;
        const char *answer, *next;
    } rows[] = {
        { 0, OWN, CP_CONF_REJ, OWN, "" }, /* an empty request is one too */
        { 1500, OWN, CP_CONF_REJ, OWN, "" },
        { 1400, "01040578" OWN, CP_CONF_REJ, OWN, "01040578" },
        { 1400, "01040578" OWN, CP_CONF_REJ, "01040578" OWN, "" },
        { 4091, "01040ffb" OWN, CP_CONF_NAK, "010405dc", OWN }, /* 1500 is the default */
        { 4091, "01040ffb" OWN, CP_CONF_NAK, "01040500", "01040500" OWN },
        { 1400, "01040578" OWN, CP_CONF_NAK, "01040240", "01040240" OWN },
        { 1400, "01040578" OWN, CP_CONF_NAK, "0104023f", OWN },
        { 1400, "01040578" OWN, CP_CONF_NAK, "01040ffc", OWN },
        { 1400, "01040578" OWN, CP_CONF_NAK, "0103aa", OWN },
        { 0, OWN, CP_CONF_NAK, OWN, OWN },                /* another magic, which the test's numbers cannot be */
        { 0, OWN, CP_CONF_NAK, "0304c023010405dc", OWN }, /* what we did not ask for */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        f.cfg = with_pap;
        f.cfg.mru = rows[i].mru;
        start(&f);
        uint8_t id = expect(&f, PPP_LCP, CP_CONF_REQ, rows[i].first);
        give(&f, PPP_LCP, rows[i].code, (uint8_t)(id + 1), rows[i].answer); /* stale or invented */
        quiet(&f);
        give(&f, PPP_LCP, rows[i].code, id, rows[i].answer);
        expect(&f, PPP_LCP, CP_CONF_REQ, rows[i].next);
        quiet(&f);
        ppp_peer_free(f.l);
    }
}

/* Our first request goes at once, the next after 1 s, then 3 s each, ten in all. */
static void test_silence(void **state)
{
    (void)state;
    static struct fix f;
    f.cfg = with_pap;
    start(&f);
    expect(&f, PPP_LCP, CP_CONF_REQ, OWN);
    for (uint64_t at = 1000; at <= 25000; at += 3000) {
        wait_to(&f, at);
        expect(&f, PPP_LCP, CP_CONF_REQ, OWN);
        quiet(&f);
    }
    wait_to(&f, 28000);
    ends(&f, PPP_DOWN_LCP_TIMEOUT, "LCP did not open");
    ppp_peer_free(f.l);
}

/* Each method that we may answer is asked for, and none is rejected; then the end says what the server wants. */
static void refuses(struct fix *f, const char *request, const char *text)
{
    start(f);
    expect(f, PPP_LCP, CP_CONF_REQ, OWN);
    for (uint8_t id = 0; id < 4; id++) {
        give(f, PPP_LCP, CP_CONF_REQ, id, request);
        expect(f, PPP_LCP, CP_CONF_NAK, id < 2 ? "0304c227" : "0305c22381");
        quiet(f);
    }
    give(f, PPP_LCP, CP_CONF_REQ, 9, request);
    hangs_up(f, PPP_DOWN_NO_AUTH, text);
    ppp_peer_free(f->l);
}

static void test_no_method_in_common(void **state)
{
    (void)state;
    static struct fix f;
    f.cfg = (struct ppp_peer_cfg){ .auth = { PPP_AUTH_EAP_MSCHAPV2, PPP_AUTH_MSCHAPV2 } };
    refuses(&f, PAP, "the server wants only PAP");
    refuses(&f, "0305c22305", "the server wants only CHAP-MD5");
    refuses(&f, "0305c22380", "the server wants only MS-CHAPv1");
    refuses(&f, "0304c229", "the server wants only an unknown one");
}

static void test_no_authentication(void **state)
{
    (void)state;
    static struct fix f;
    f.cfg = with_pap;
    start(&f);
    uint8_t id = expect(&f, PPP_LCP, CP_CONF_REQ, OWN);
    give(&f, PPP_LCP, CP_CONF_REQ, 1, MAGIC);
    expect(&f, PPP_LCP, CP_CONF_ACK, MAGIC);
    give(&f, PPP_LCP, CP_CONF_ACK, id, OWN);
    hangs_up(&f, PPP_DOWN_NO_AUTH, "the server asks for no authentication");
    assert_int_equal(ppp_peer_methods(f.l), 0);
    ppp_peer_free(f.l);
}

static void test_survey(void **state)
{
    (void)state;
    static struct fix f;
    uint8_t unknown[8];
    f.cfg = (struct ppp_peer_cfg){ .survey = true };
    start(&f);
    expect(&f, PPP_LCP, CP_CONF_REQ, OWN);
    /* a server that has EAP, MS-CHAPv1 and PAP, and does not go back */
    give(&f, PPP_LCP, CP_CONF_REQ, 0, "0304c227");
    expect(&f, PPP_LCP, CP_CONF_NAK, "0305c22381");
    give(&f, PPP_LCP, CP_CONF_REQ, 1, "0305c22380");
    expect(&f, PPP_LCP, CP_CONF_NAK, "0305c22381");
    give(&f, PPP_LCP, CP_CONF_REQ, 2, "0305c22380");
    expect(&f, PPP_LCP, CP_CONF_NAK, "0305c22305");
    give(&f, PPP_LCP, CP_CONF_REQ, 3, PAP);
    expect(&f, PPP_LCP, CP_CONF_NAK, "0305c22305");
    give(&f, PPP_LCP, CP_CONF_REQ, 4, PAP);
    hangs_up(&f, PPP_DOWN_OUR_TERMINATE, "no login wanted");
    assert_int_equal(ppp_peer_methods(f.l), 1u << PPP_AUTH_EAP_MSCHAPV2 | 1u << PPP_AUTH_PAP);
    assert_int_equal(ppp_peer_first_method(f.l), PPP_AUTH_EAP_MSCHAPV2);
    assert_int_equal(ppp_peer_unknown_auth(f.l, unknown), 3);
    assert_memory_equal(unknown, "\xc2\x23\x80", 3);
    assert_int_equal(ppp_peer_method(f.l), PPP_AUTH_NONE);
    ppp_peer_free(f.l);
}

static void test_survey_without_any(void **state)
{
    (void)state;
    static struct fix f;
    f.cfg = (struct ppp_peer_cfg){ .survey = true };
    start(&f);
    uint8_t id = expect(&f, PPP_LCP, CP_CONF_REQ, OWN);
    give(&f, PPP_LCP, CP_CONF_REQ, 0, "");
    expect(&f, PPP_LCP, CP_CONF_ACK, "");
    give(&f, PPP_LCP, CP_CONF_ACK, id, OWN);
    hangs_up(&f, PPP_DOWN_OUR_TERMINATE, "no login wanted");
    assert_int_equal(ppp_peer_methods(f.l), 0);
    ppp_peer_free(f.l);
}

/* A method settled before must not count for a later request without one. */
static void test_authentication_dropped_later(void **state)
{
    (void)state;
    static struct fix f;
    f.cfg = with_pap;
    opened(&f);
    give(&f, PPP_LCP, CP_CONF_REQ, 7, "");
    uint8_t id = expect(&f, PPP_LCP, CP_CONF_REQ, OWN);
    expect(&f, PPP_LCP, CP_CONF_ACK, "");
    give(&f, PPP_LCP, CP_CONF_ACK, id, OWN);
    hangs_up(&f, PPP_DOWN_NO_AUTH, "the server asks for no authentication");
    ppp_peer_free(f.l);
}

/* ---- IPCP ---- */

static void test_ipcp_address(void **state)
{
    (void)state;
    static struct fix f;
    f.cfg = with_pap;
    uint8_t id = logged_in(&f);
    give(&f, PPP_IPCP, CP_CONF_REQ, 1, "03060a080001");
    expect(&f, PPP_IPCP, CP_CONF_ACK, "03060a080001");
    give(&f, PPP_IPCP, CP_CONF_REJ, id, "830600000000");
    id = expect(&f, PPP_IPCP, CP_CONF_REQ, "030600000000810600000000");
    give(&f, PPP_IPCP, CP_CONF_NAK, id, "03060a08000781060a080035");
    id = expect(&f, PPP_IPCP, CP_CONF_REQ, "03060a08000781060a080035");
    quiet(&f);
    give(&f, PPP_IPCP, CP_CONF_ACK, id, "03060a08000781060a080035");
    struct ev ev = event(&f, PPP_EV_IP4_UP);
    const struct ppp_peer_ip4 *ip4 = (const void *)ev.data;
    assert_int_equal(ip4->ip4, 0x0a080007);
    assert_int_equal(ip4->peer, 0x0a080001);
    assert_int_equal(ip4->dns[0], 0x0a080035);
    assert_int_equal(ip4->dns[1], 0);
    quiet(&f);
    ppp_peer_free(f.l);
}

static void test_ipcp_server_options(void **state)
{
    (void)state;
    static struct fix f;
    static const struct {
        const char *request;
        uint8_t code;
        const char *answer;
    } rows[] = {
        { "", CP_CONF_ACK, "" },
        { "03060a080001", CP_CONF_ACK, "03060a080001" },
        { "030600000000", CP_CONF_REJ, "030600000000" },
        { "03050a0800", CP_CONF_REJ, "03050a0800" },
        { "0206002d0f0103060a080001", CP_CONF_REJ, "0206002d0f01" },
        { "810600000000", CP_CONF_REJ, "810600000000" },
        { "03060a080001830600000000820600000000", CP_CONF_REJ, "830600000000820600000000" },
        { "010a0a0800010a080002", CP_CONF_REJ, "010a0a0800010a080002" },
        { "03", 0, "" },
    };
    f.cfg = with_pap;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        (void)logged_in(&f);
        give(&f, PPP_IPCP, CP_CONF_REQ, 5, rows[i].request);
        if (rows[i].code)
            assert_int_equal(expect(&f, PPP_IPCP, rows[i].code, rows[i].answer), 5);
        quiet(&f);
        ppp_peer_free(f.l);
    }
}

/* accel-ppp drops the first request: the next ones come soon. */
static void test_ipcp_first_request_lost(void **state)
{
    (void)state;
    static struct fix f;
    f.cfg = with_pap;
    f.cfg.dns = false;
    (void)logged_in(&f);
    wait_to(&f, 300);
    expect(&f, PPP_IPCP, CP_CONF_REQ, "030600000000");
    wait_to(&f, 1300);
    expect(&f, PPP_IPCP, CP_CONF_REQ, "030600000000");
    wait_to(&f, 4300);
    expect(&f, PPP_IPCP, CP_CONF_REQ, "030600000000");
    quiet(&f);
    ppp_peer_free(f.l);
}

/* Addresses that no host has are asked for again, and a server that has no other is left. */
static void test_ipcp_no_address(void **state)
{
    (void)state;
    static struct fix f;
    static const char *const bad[] = { "030600000000", "03067f000001", "0306e0000001", "0306ffffffff", "0305aabbcc" };
    f.cfg = with_pap;
    f.cfg.dns = false;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t id = logged_in(&f);
        for (unsigned n = 0; n < 10; n++) {
            give(&f, PPP_IPCP, CP_CONF_NAK, id, bad[i]);
            id = expect(&f, PPP_IPCP, CP_CONF_REQ, "030600000000");
            quiet(&f);
        }
        give(&f, PPP_IPCP, CP_CONF_NAK, id, bad[i]);
        hangs_up(&f, PPP_DOWN_NCP_FAILED, "the server gives no address");
        ppp_peer_free(f.l);
    }
    uint8_t id = logged_in(&f);
    give(&f, PPP_IPCP, CP_CONF_REJ, id, "030600000000");
    hangs_up(&f, PPP_DOWN_NCP_FAILED, "the server gives no address");
    ppp_peer_free(f.l);
}

/* An Ack of no address is none. */
static void test_ipcp_ack_of_nothing(void **state)
{
    (void)state;
    static struct fix f;
    f.cfg = with_pap;
    f.cfg.dns = false;
    uint8_t id = logged_in(&f);
    give(&f, PPP_IPCP, CP_CONF_REQ, 1, "03060a080001");
    expect(&f, PPP_IPCP, CP_CONF_ACK, "03060a080001");
    give(&f, PPP_IPCP, CP_CONF_ACK, id, "030600000000");
    quiet(&f);
    wait_to(&f, 300);
    id = expect(&f, PPP_IPCP, CP_CONF_REQ, "030600000000");
    give(&f, PPP_IPCP, CP_CONF_ACK, id, "030600000000");
    quiet(&f);
    wait_to(&f, 1300);
    id = expect(&f, PPP_IPCP, CP_CONF_REQ, "030600000000");
    give(&f, PPP_IPCP, CP_CONF_ACK, id, "030600000000");
    hangs_up(&f, PPP_DOWN_NCP_FAILED, "the server gives no address");
    ppp_peer_free(f.l);
}

/* A server that Naks name servers for ever gets a request without. */
static void test_ipcp_dns_naks(void **state)
{
    (void)state;
    static struct fix f;
    char nak[64], want[64];
    f.cfg = with_pap;
    uint8_t id = logged_in(&f);
    for (unsigned n = 1; n <= 3; n++) {
        snprintf(nak, sizeof nak, "03060a0800078106%08x8306%08x", 0x0a080000 + n, 0x0a090000 + n);
        give(&f, PPP_IPCP, CP_CONF_NAK, id, nak);
        snprintf(want, sizeof want, "%s", nak);
        id = expect(&f, PPP_IPCP, CP_CONF_REQ, want);
    }
    give(&f, PPP_IPCP, CP_CONF_NAK, id, "81060a08000a83060a09000a");
    id = expect(&f, PPP_IPCP, CP_CONF_REQ, "03060a080007");
    quiet(&f);
    ppp_peer_free(f.l);
}

static void ip4_up(struct fix *f)
{
    f->cfg.dns = false;
    uint8_t id = logged_in(f);
    give(f, PPP_IPCP, CP_CONF_REQ, 1, "");
    expect(f, PPP_IPCP, CP_CONF_ACK, "");
    give(f, PPP_IPCP, CP_CONF_NAK, id, "03060a080007");
    id = expect(f, PPP_IPCP, CP_CONF_REQ, "03060a080007");
    give(f, PPP_IPCP, CP_CONF_ACK, id, "03060a080007");
    struct ev ev = event(f, PPP_EV_IP4_UP);
    assert_int_equal(((const struct ppp_peer_ip4 *)(const void *)ev.data)->peer, 0);
}

/* ---- the rest of the network phase ---- */

/* Without an answer to IPV6CP (SoftEther) IPv4 stays; a rejected one is given up at once. */
static void test_ipv6cp_unanswered(void **state)
{
    (void)state;
    static struct fix f;
    f.cfg = with_pap;
    f.cfg.dns = false;
    f.cfg.ipv6 = true;
    uint8_t id = logged_in(&f);
    expect(&f, PPP_IPV6CP, CP_CONF_REQ, "010a0000000000000001");
    give(&f, PPP_IPCP, CP_CONF_REQ, 1, "");
    expect(&f, PPP_IPCP, CP_CONF_ACK, "");
    give(&f, PPP_IPCP, CP_CONF_NAK, id, "03060a080007");
    id = expect(&f, PPP_IPCP, CP_CONF_REQ, "03060a080007");
    give(&f, PPP_IPCP, CP_CONF_ACK, id, "03060a080007");
    event(&f, PPP_EV_IP4_UP);
    for (unsigned n = 0; n < 9; n++) {
        wait_to(&f, ppp_peer_deadline(f.l));
        expect(&f, PPP_IPV6CP, CP_CONF_REQ, "010a0000000000000001");
        quiet(&f);
    }
    wait_to(&f, ppp_peer_deadline(f.l));
    quiet(&f);
    assert_int_equal(ppp_peer_deadline(f.l), TIME_NEVER);
    assert_string_equal(ppp_peer_phase(f.l), "network");
    ppp_peer_free(f.l);
}

static void test_ipv6cp(void **state)
{
    (void)state;
    static struct fix f;
    f.cfg = with_pap;
    f.cfg.dns = false;
    f.cfg.ipv6 = true;
    (void)logged_in(&f);
    uint8_t id = expect(&f, PPP_IPV6CP, CP_CONF_REQ, "010a0000000000000001");
    give(&f, PPP_IPV6CP, CP_CONF_NAK, id, "010a0102030405060708"); /* taken over */
    id = expect(&f, PPP_IPV6CP, CP_CONF_REQ, "010a0102030405060708");
    give(&f, PPP_IPV6CP, CP_CONF_ACK, id, "010a0102030405060708");
    give(&f, PPP_IPV6CP, CP_CONF_REQ, 3, "010a00000000000000ff");
    expect(&f, PPP_IPV6CP, CP_CONF_ACK, "010a00000000000000ff");
    struct ev ev = event(&f, PPP_EV_IP6_UP);
    assert_int_equal(ev.len, sizeof(struct ppp_peer_ip6));
    assert_memory_equal(ev.data, "\1\2\3\4\5\6\7\10\0\0\0\0\0\0\0\xff", 16);
    /* IPv4 is rejected; IPv6 alone keeps the link */
    give(&f, PPP_LCP, CP_PROT_REJ, 4, "8021");
    quiet(&f);
    assert_string_equal(ppp_peer_phase(f.l), "network");
    give(&f, PPP_LCP, CP_PROT_REJ, 5, "8057");
    expect(&f, PPP_IPV6CP, CP_TERM_REQ, "");
    event(&f, PPP_EV_IP6_DOWN);
    ppp_peer_free(f.l);
}

static void test_unknown_protocols(void **state)
{
    (void)state;
    static struct fix f;
    f.cfg = with_pap;
    start(&f);
    expect(&f, PPP_LCP, CP_CONF_REQ, OWN);
    give(&f, PPP_CCP, 1, 1, "120601000040");
    quiet(&f); /* LCP is not open */
    ppp_peer_free(f.l);
    opened(&f);
    give(&f, PPP_CCP, 1, 1, "120601000040");
    quiet(&f); /* before authentication */
    ppp_peer_free(f.l);
    ip4_up(&f);
    give(&f, PPP_CCP, 1, 1, "120601000040");
    expect(&f, PPP_LCP, CP_PROT_REJ, "80fd0101000a120601000040");
    give(&f, PPP_CCP, 1, 2, "120601000040");
    quiet(&f);                                          /* once */
    give(&f, PPP_IPV6CP, 1, 1, "010a0102030405060708"); /* not configured */
    expect(&f, PPP_LCP, CP_PROT_REJ, "80570101000e010a0102030405060708");
    give(&f, PPP_LCP, 12, 1, "000000004d5352415356352e3230"); /* Identification */
    give(&f, PPP_LCP, 13, 1, "00000000ffffffff");
    quiet(&f);
    ppp_peer_free(f.l);
}

static void test_echo(void **state)
{
    (void)state;
    static struct fix f;
    f.cfg = with_pap;
    f.cfg.lcp_echo_idle_ms = 20000;
    f.cfg.lcp_echo_misses = 2;
    ip4_up(&f);
    give(&f, PPP_LCP, CP_ECHO_REQ, 77, "aabbccdd0102");
    assert_int_equal(expect(&f, PPP_LCP, CP_ECHO_REP, "000000010102"), 77);
    give(&f, PPP_LCP, CP_ECHO_REQ, 78, "00000001"); /* our own: a loop, no life */
    quiet(&f);
    wait_to(&f, 20000);
    expect(&f, PPP_LCP, CP_ECHO_REQ, "00000001");
    give(&f, PPP_LCP, CP_ECHO_REP, 1, "00000001"); /* looped back */
    for (unsigned n = 2; n <= 10; n++) {           /* a server that never answers echoes is not dead for that */
        wait_to(&f, n * 20000u);
        expect(&f, PPP_LCP, CP_ECHO_REQ, "00000001");
        quiet(&f);
    }
    give(&f, PPP_LCP, CP_ECHO_REP, 1, "aabbccdd");
    wait_to(&f, 220000);
    expect(&f, PPP_LCP, CP_ECHO_REQ, "00000001");
    wait_to(&f, 240000);
    expect(&f, PPP_LCP, CP_ECHO_REQ, "00000001");
    wait_to(&f, 260000);
    event(&f, PPP_EV_IP4_DOWN);
    ends(&f, PPP_DOWN_ECHO, "echoes unanswered");
    ppp_peer_free(f.l);

    f.cfg.lcp_echo_misses = 0; /* they never end the link */
    ip4_up(&f);
    for (unsigned n = 1; n <= 300; n++) {
        wait_to(&f, n * 20000u);
        expect(&f, PPP_LCP, CP_ECHO_REQ, "00000001");
        quiet(&f);
    }
    f.now_ms += 1000;
    ppp_peer_alive(f.l, f.now_ms);
    assert_int_equal(ppp_peer_deadline(f.l), f.now_ms + 20000);
    ppp_peer_free(f.l);
}

/* A server whose EAP is another one is asked for another protocol, in a new negotiation. */
static void test_other_eap(void **state)
{
    (void)state;
    static struct fix f;
    f.cfg = (struct ppp_peer_cfg){ .auth = { PPP_AUTH_EAP_MSCHAPV2, PPP_AUTH_MSCHAPV2 } };
    for (unsigned again = 0; again < 2; again++) {
        start(&f);
        uint8_t id = expect(&f, PPP_LCP, CP_CONF_REQ, OWN);
        give(&f, PPP_LCP, CP_CONF_ACK, id, OWN);
        give(&f, PPP_LCP, CP_CONF_REQ, 0, "0304c227");
        expect(&f, PPP_LCP, CP_CONF_ACK, "0304c227");
        give(&f, PPP_EAP, 1, 3, "0d20"); /* EAP-TLS */
        assert_int_equal(expect(&f, PPP_EAP, 2, "031a"), 3);
        give(&f, PPP_EAP, 4, 3, "");
        if (again)
            break;
        id = expect(&f, PPP_LCP, CP_CONF_REQ, OWN);
        quiet(&f);
        give(&f, PPP_LCP, CP_CONF_ACK, id, OWN);
        give(&f, PPP_LCP, CP_CONF_REQ, 1, "0304c227");
        expect(&f, PPP_LCP, CP_CONF_NAK, "0305c22381");
        give(&f, PPP_LCP, CP_CONF_REQ, 2, "0305c22381");
        expect(&f, PPP_LCP, CP_CONF_ACK, "0305c22381");
        quiet(&f);
        assert_string_equal(ppp_peer_phase(f.l), "authenticate");
        ppp_peer_free(f.l);
        f.cfg.auth[1] = PPP_AUTH_NONE; /* and without another one it is the end */
    }
    hangs_up(&f, PPP_DOWN_NO_AUTH, "the server wants another EAP method than EAP-MSCHAPv2");
    ppp_peer_free(f.l);
}

/* Success without proof: the text says so, and no code is the server's. */
static void test_lie(void **state)
{
    (void)state;
    static struct fix f;
    f.cfg = with_pap;
    start(&f);
    uint8_t id = expect(&f, PPP_LCP, CP_CONF_REQ, OWN);
    give(&f, PPP_LCP, CP_CONF_ACK, id, OWN);
    give(&f, PPP_LCP, CP_CONF_REQ, 0, "0305c22381");
    expect(&f, PPP_LCP, CP_CONF_ACK, "0305c22381");
    give(&f, PPP_CHAP, 1, 5, "105b5d7c7d7b3f2f3e3c2c602132262628");
    expect(&f, PPP_CHAP, 2, NULL);
    give(&f, PPP_CHAP, 3, 5, "533d30303030303030303030303030303030303030303030303030303030303030303030303030303030");
    hangs_up(&f, PPP_DOWN_AUTH_FAILED, "the server did not prove that it knows the password");
    assert_int_equal(ppp_peer_auth_error(f.l), 0);
    ppp_peer_free(f.l);
}

/* E= and the server's words are for the owner. */
static void test_refusal(void **state)
{
    (void)state;
    static struct fix f;
    f.cfg = with_pap;
    start(&f);
    uint8_t id = expect(&f, PPP_LCP, CP_CONF_REQ, OWN);
    give(&f, PPP_LCP, CP_CONF_ACK, id, OWN);
    give(&f, PPP_LCP, CP_CONF_REQ, 0, "0305c22381");
    expect(&f, PPP_LCP, CP_CONF_ACK, "0305c22381");
    give(&f, PPP_CHAP, 1, 5, "105b5d7c7d7b3f2f3e3c2c602132262628");
    expect(&f, PPP_CHAP, 2, NULL);
    give(&f, PPP_CHAP, 4, 5, "453d36343720523d3020563d33204d3d676f"); /* E=647 R=0 V=3 M=go */
    hangs_up(&f, PPP_DOWN_AUTH_FAILED, "go");
    assert_int_equal(ppp_peer_auth_error(f.l), PPP_AUTH_DISABLED);
    ppp_peer_free(f.l);
}

static void test_no_verdict(void **state)
{
    (void)state;
    static struct fix f;
    f.cfg = with_pap;
    opened(&f);
    for (uint64_t at = 3000; at < 30000; at += 3000) {
        wait_to(&f, at);
        expect(&f, PPP_PAP, 1, NULL);
        quiet(&f);
    }
    wait_to(&f, 30000);
    hangs_up(&f, PPP_DOWN_AUTH_TIMEOUT, "no verdict on the login");
    ppp_peer_free(f.l);
}

/* ---- hostile servers ---- */

static void test_endless_nak(void **state)
{
    (void)state;
    static struct fix f;
    char nak[32];
    f.cfg = with_pap;
    f.cfg.mru = 1400;
    start(&f);
    uint8_t id = expect(&f, PPP_LCP, CP_CONF_REQ, NULL);
    for (unsigned n = 0; n < 60; n++) {
        snprintf(nak, sizeof nak, "0104%04x0506%08x", 1000 + n, n);
        give(&f, PPP_LCP, CP_CONF_NAK, id, nak);
        id = expect(&f, PPP_LCP, CP_CONF_REQ, NULL);
        quiet(&f);
    }
    give(&f, PPP_LCP, CP_CONF_NAK, id, nak);
    expect(&f, PPP_LCP, CP_CONF_REQ, ""); /* both options were dropped long ago */
    hangs_up(&f, PPP_DOWN_PROTOCOL, "endless negotiation");
    ppp_peer_free(f.l);
}

static void test_endless_renegotiation(void **state)
{
    (void)state;
    static struct fix f;
    f.cfg = with_pap;
    opened(&f);
    unsigned n;
    struct ev ev = { 0 };
    bool down = false;
    for (n = 0; n < 100 && !down; n++) {
        give(&f, PPP_LCP, CP_CONF_REQ, (uint8_t)n, PAP MAGIC);
        uint8_t id = 0;
        while (evq_next(&f.q, &ev)) {
            struct rd r = rd_make(ev.data, ev.len);
            uint16_t protocol = 0;
            struct ppp_hdr pkt = { 0 };
            if (ev.type == PPP_EV_SEND && ppp_frame_open(&r, &protocol) && ppp_hdr_parse(r, &pkt)) {
                id = protocol == PPP_LCP && pkt.code == CP_CONF_REQ ? pkt.id : id;
                down |= protocol == PPP_LCP && pkt.code == CP_TERM_REQ;
            }
        }
        evq_reset(&f.q);
        give(&f, PPP_LCP, CP_CONF_ACK, id, OWN);
        while (evq_next(&f.q, &ev))
            ;
        evq_reset(&f.q);
    }
    assert_int_equal(n, 21);
    assert_string_equal(ppp_peer_phase(f.l), "terminate");
    ppp_peer_free(f.l);
}

static void test_rejects_of_the_server(void **state)
{
    (void)state;
    static struct fix f;
    f.cfg = with_pap;
    opened(&f);
    give(&f, PPP_LCP, CP_PROT_REJ, 1, "c023");
    hangs_up(&f, PPP_DOWN_PROTOCOL, "the server rejects LCP or authentication");
    ppp_peer_free(f.l);
    ip4_up(&f);
    give(&f, PPP_LCP, CP_PROT_REJ, 1, "c021");
    expect(&f, PPP_LCP, CP_TERM_REQ, NULL);
    event(&f, PPP_EV_IP4_DOWN);
    ppp_peer_free(f.l);
    (void)logged_in(&f);
    give(&f, PPP_LCP, CP_PROT_REJ, 1, "8021");
    hangs_up(&f, PPP_DOWN_NCP_FAILED, "no network protocol");
    ppp_peer_free(f.l);
    opened(&f);
    give(&f, PPP_LCP, CP_CODE_REJ, 1, "0101000a" OWN);
    uint8_t id = expect(&f, PPP_LCP, CP_TERM_REQ, NULL);
    give(&f, PPP_LCP, CP_TERM_ACK, id, "");
    ends(&f, PPP_DOWN_PROTOCOL, "fatal reject");
    ppp_peer_free(f.l);
}

static void test_server_terminates(void **state)
{
    (void)state;
    static struct fix f;
    f.cfg = with_pap;
    ip4_up(&f);
    give(&f, PPP_LCP, CP_TERM_REQ, 3, "627965");
    assert_int_equal(expect(&f, PPP_LCP, CP_TERM_ACK, "627965"), 3);
    event(&f, PPP_EV_IP4_DOWN);
    quiet(&f);
    wait_to(&f, 1000);
    ends(&f, PPP_DOWN_PEER_TERMINATE, "bye");
    ppp_peer_free(f.l);
}

/* Octets that are no packets, and packets with each octet changed, in each phase: a link that works or ends. */
static void test_mutations(void **state)
{
    (void)state;
    static struct fix f;
    static const char *const frames[] = {
        "ff03c021010000180104057803"
        "04c0230506aabbccdd0702080d0306",
        "ff03c0210201000a" OWN,
        "ff03c02103010008010405dc",
        "ff03c0210401000a" OWN,
        "ff03c0210505000762796500",
        "ff03c02107010008010100040000",
        "ff03c0210801000680210000",
        "ff03c0210901000aaabbccdd0000",
        "ff03c023020100050000",
        "ff03c22301010015105b5d7c7d7b3f2f3e3c2c602132262628",
        "ff03c22704010004",
        "ff0380210101000a03060a080001",
        "ff0380210301000a03060a080007",
        "ff0380570101000e010a0102030405060708",
        "ff0380fd0101000a120601000040",
    };
    f.cfg = with_pap;
    f.cfg.ipv6 = true;
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        uint8_t bytes[128];
        size_t n = strlen(frames[i]) / 2;
        assert_true(n <= sizeof bytes && hex_decode(frames[i], 2 * n, bytes, n));
        for (size_t k = 0; k < 9 * n; k++) {
            uint8_t copy[128];
            memcpy(copy, bytes, n);
            if (k >= n)
                copy[k % n] ^= (uint8_t)(1u << (k / n - 1));
            if (k % 3 == 0)
                start(&f);
            else if (k % 3 == 1)
                opened(&f);
            else
                (void)logged_in(&f);
            evq_reset(&f.q);
            for (unsigned again = 0; again < 3; again++)
                assert_int_equal(ppp_peer_input(f.l, rd_make(copy, k < n ? k : n), again, &f.q), 0);
            assert_false(f.q.failed);
            assert_true(ppp_peer_deadline(f.l) > 0);
            ppp_peer_free(f.l);
        }
    }
}

static void test_misuse(void **state)
{
    (void)state;
    static struct fix f;
    ppp_peer_free(NULL);
    f.cfg = with_pap;
    start(&f);
    assert_int_equal(ppp_peer_start(f.l, 0, &f.q), ERR_USAGE); /* once */
    ppp_peer_free(f.l);

    f.q = evq_make(f.mem, 20); /* a queue without room ends the connection */
    f.l = ppp_peer_new(&f.cfg, &alice, (struct rng){ zeros, NULL });
    assert_int_equal(ppp_peer_start(f.l, 0, &f.q), ERR_LIMIT);
    ppp_peer_free(f.l);

    f.q = evq_make(f.mem, sizeof f.mem); /* ended before it began */
    f.l = ppp_peer_new(&f.cfg, &alice, (struct rng){ zeros, NULL });
    assert_int_equal(ppp_peer_terminate(f.l, "never mind", 0, &f.q), 0);
    ends(&f, PPP_DOWN_OUR_TERMINATE, "never mind");
    assert_int_equal(ppp_peer_start(f.l, 0, &f.q), ERR_USAGE);
    ppp_peer_free(f.l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_method),
        cmocka_unit_test(test_wrong_password),
        cmocka_unit_test(test_bad_wire),
        cmocka_unit_test(test_bad_wire_auth),
        cmocka_unit_test(test_survey_of_our_server),
        cmocka_unit_test(test_server_options),
        cmocka_unit_test(test_mtu),
        cmocka_unit_test(test_own_request),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_no_method_in_common),
        cmocka_unit_test(test_no_authentication),
        cmocka_unit_test(test_survey),
        cmocka_unit_test(test_survey_without_any),
        cmocka_unit_test(test_authentication_dropped_later),
        cmocka_unit_test(test_ipcp_address),
        cmocka_unit_test(test_ipcp_server_options),
        cmocka_unit_test(test_ipcp_first_request_lost),
        cmocka_unit_test(test_ipcp_no_address),
        cmocka_unit_test(test_ipcp_ack_of_nothing),
        cmocka_unit_test(test_ipcp_dns_naks),
        cmocka_unit_test(test_ipv6cp_unanswered),
        cmocka_unit_test(test_ipv6cp),
        cmocka_unit_test(test_unknown_protocols),
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_other_eap),
        cmocka_unit_test(test_lie),
        cmocka_unit_test(test_refusal),
        cmocka_unit_test(test_no_verdict),
        cmocka_unit_test(test_endless_nak),
        cmocka_unit_test(test_endless_renegotiation),
        cmocka_unit_test(test_rejects_of_the_server),
        cmocka_unit_test(test_server_terminates),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_misuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
