/* The link's interface: published frames, the constructed session, misuse, exhaustion. The scenarios are in
 * tests/replay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "auth/login.h"
#include "base/ct.h"
#include "base/digest.h"
#include "base/timerq.h"
#include "ppp/link.h"
#include "ppp/opt.h"
#include "sstp/msg.h"

struct fix {
    struct ppp_cfg cfg;
    struct ppp_link *link;
    const char *random_hex; /* what the random numbers are, in order; then zeros */
    uint8_t mem[16384];
    struct evq q;
};

static void scripted(void *arg, void *out, size_t n)
{
    struct fix *f = arg;
    uint8_t *p = out;
    memset(out, 0, n);
    for (size_t i = 0; i < n && *f->random_hex; i++, f->random_hex += 2)
        assert_true(hex_decode(f->random_hex, 2, &p[i], 1));
}

static void up(struct fix *f, const char *random_hex)
{
    f->random_hex = random_hex;
    f->q = evq_make(f->mem, sizeof f->mem);
    f->link = ppp_link_new(&f->cfg, (struct rng){ scripted, f });
    assert_non_null(f->link);
    assert_int_equal(ppp_link_start(f->link, 0, &f->q), 0);
}

static void give(struct fix *f, const char *hex)
{
    uint8_t bytes[512];
    size_t n = strlen(hex) / 2;
    assert_true(n <= sizeof bytes && hex_decode(hex, 2 * n, bytes, n));
    assert_int_equal(ppp_link_input(f->link, rd_make(bytes, n), 0, &f->q), 0);
}

static void expect(struct fix *f, const char *hex)
{
    struct ev ev = { 0 };
    char text[1200];
    assert_true(evq_next(&f->q, &ev));
    assert_int_equal(ev.type, PPP_EV_SEND);
    assert_true(ev.len < 512);
    hex_encode(ev.data, ev.len, text);
    assert_string_equal(text, hex);
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

static const struct ppp_cfg plain = {
    .mtu = 1400, .auth = { PPP_AUTH_PAP }, .server_ip4 = 0x0a080001, .auth_tries = 3
};

static void opened(struct fix *f)
{
    up(f, "a1b2c3d4");
    give(f, "ff03c02101000004");
    event(f, PPP_EV_SEND);
    expect(f, "ff03c02102000004");
    give(f, "ff03c0210201001201040578"
            "0304c023"
            "0506d4c3b2a1");
    quiet(f);
    assert_string_equal(ppp_link_phase(f->link), "authenticate");
}

static json_t *load(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", VECTORS_DIR, name);
    json_t *j = json_load_file(path, 0, NULL);
    assert_non_null(j);
    return j;
}

/* ---- ppp-frames.json: every frame has a row in the table below, in the file's order ---- */

static const char *frame_named(json_t *frames, const char *name)
{
    size_t i;
    json_t *one;
    json_array_foreach(frames, i, one)
        if (strcmp(json_string_value(json_object_get(one, "name")), name) == 0)
            return json_string_value(json_object_get(one, "hex"));
    fail_msg("no vector %s", name);
    return "";
}

/* The option is the one that we send for our method. */
static void is_offered(json_t *frames, const char *hex, unsigned method)
{
    static struct fix f;
    (void)frames;
    f.cfg = plain;
    f.cfg.auth[0] = (uint8_t)method;
    up(&f, "a1b2c3d4");
    assert_int_equal(ppp_link_expire(f.link, 300, &f.q), 0);
    struct ev ev = event(&f, PPP_EV_SEND);
    char text[256];
    hex_encode(ev.data, ev.len, text);
    assert_memory_equal(text + 24, hex, strlen(hex)); /* behind FF 03, LCP, the packet's header and the MRU */
    quiet(&f);
    ppp_link_free(f.link);
}

static void nak_with(struct fix *f, unsigned id, const char *option)
{
    char hex[64];
    snprintf(hex, sizeof hex, "ff03c02103%02x00%02zx%s", id, 4 + strlen(option) / 2, option);
    give(f, hex);
}

/* A client that wants what we do not have: the next method is offered, and after the last one the link ends. */
static void is_not_had(json_t *frames, const char *hex, unsigned unused)
{
    static struct fix f;
    (void)unused;
    f.cfg = plain;
    f.cfg.auth[0] = PPP_AUTH_MSCHAPV2;
    f.cfg.auth[1] = PPP_AUTH_PAP;
    up(&f, "a1b2c3d4");
    assert_int_equal(ppp_link_expire(f.link, 300, &f.q), 0);
    event(&f, PPP_EV_SEND);
    nak_with(&f, 1, hex);
    char want[128];
    snprintf(want, sizeof want,
             "ff03c02101020012"
             "01040578%s0506d4c3b2a1",
             frame_named(frames, "auth option PAP"));
    expect(&f, want);
    nak_with(&f, 2, hex);
    struct ev ev = event(&f, PPP_EV_SEND);
    assert_memory_equal(ev.data, "\xff\x03\xc0\x21\x05", 5); /* Terminate-Request */
    quiet(&f);
    give(&f, "ff03c02106030004");
    ev = event(&f, PPP_EV_DOWN);
    assert_int_equal(((const struct ppp_down *)(const void *)ev.data)->cause, PPP_DOWN_NO_AUTH);
    ppp_link_free(f.link);
}

static void is_asked_about(json_t *frames, const char *hex, unsigned method)
{
    static struct fix f;
    (void)frames;
    f.cfg = plain;
    opened(&f);
    give(&f, hex);
    struct ev ev = event(&f, PPP_EV_AUTH);
    const struct ppp_auth_request *req = (const void *)ev.data;
    assert_int_equal(req->method, method);
    assert_int_equal(req->name_len, 5);
    assert_memory_equal(req->name, "alice", 5);
    assert_int_equal(req->password_len, 6);
    assert_memory_equal(req->password, "s3cret", 6);
    quiet(&f);
    ppp_link_free(f.link);
}

/* A link whose client has logged in. */
static void logged_in(struct fix *f, json_t *frames)
{
    struct ppp_auth_result ok = { .code = PPP_AUTH_OK };
    f->cfg = plain;
    opened(f);
    give(f, frame_named(frames, "PAP Authenticate-Request user alice pass s3cret"));
    event(f, PPP_EV_AUTH);
    assert_int_equal(ppp_link_auth_result(f->link, &ok, 0, &f->q), 0);
    event(f, PPP_EV_AUTHED);
    expect(f, "ff03c023020100130e416363657373206772616e746564");
    quiet(f);
}

/* Rejected as published, but for the Identifier, which counts our packets. */
static void is_rejected(json_t *frames, const char *hex, unsigned unused)
{
    static struct fix f;
    (void)unused;
    char want[64];
    snprintf(want, sizeof want, "%s", frame_named(frames, "Protocol-Reject of that ECP"));
    memcpy(want + 10, "02", 2);
    logged_in(&f, frames);
    give(&f, hex);
    expect(&f, want);
    give(&f, hex); /* once is enough */
    quiet(&f);
    ppp_link_free(f.link);
}

/* No answer and no end: verdicts that only a client gets, rejects of what nobody needs, network data. */
static void is_ignored(json_t *frames, const char *hex, unsigned unused)
{
    static struct fix f;
    (void)unused;
    logged_in(&f, frames);
    give(&f, hex);
    quiet(&f);
    assert_string_equal(ppp_link_phase(f.link), "network");
    ppp_link_free(f.link);
}

static void is_network_data(json_t *frames, const char *hex, unsigned want)
{
    uint8_t bytes[64];
    uint16_t protocol = 0;
    size_t n = strlen(hex) / 2;
    assert_true(n <= sizeof bytes && hex_decode(hex, 2 * n, bytes, n));
    struct rd r = rd_make(bytes, n);
    assert_true(ppp_frame_open(&r, &protocol));
    assert_int_equal(protocol, want);
    assert_int_equal(rd_left(&r), n - 1);
    is_ignored(frames, hex, 0);
}

static void is_echoed(json_t *frames, const char *hex, unsigned id)
{
    static struct fix f;
    char want[64];
    logged_in(&f, frames);
    give(&f, hex);
    snprintf(want, sizeof want, "ff03c0210a%02x0008d4c3b2a1", id);
    expect(&f, want);
    quiet(&f);
    ppp_link_free(f.link);
}

static void test_frames(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        void (*check)(json_t *frames, const char *hex, unsigned arg);
        unsigned arg;
    } rows[] = {
        { "auth option PAP", is_offered, PPP_AUTH_PAP },
        { "auth option CHAP-MD5", is_offered, PPP_AUTH_CHAP_MD5 },
        { "auth option MS-CHAPv1", is_not_had, 0 },
        { "auth option MS-CHAPv2", is_offered, PPP_AUTH_MSCHAPV2 },
        { "auth option EAP", is_not_had, 0 },
        { "PAP Authenticate-Request user alice pass s3cret", is_asked_about, PPP_AUTH_PAP },
        { "PAP Authenticate-Ack", is_ignored, 0 },
        { "PAP Authenticate-Nak", is_ignored, 0 },
        { "ECP Configure-Request, to be Protocol-Rejected", is_rejected, 0 },
        { "Protocol-Reject of that ECP", is_ignored, 0 },
        { "LCP Code-Reject of code 14", is_ignored, 0 },
        { "LCP frame with ACFC (no ff03)", is_echoed, 1 },
        { "IPv4 frame with ACFC and PFC (first octet 0x21)", is_network_data, PPP_IP },
    };
    json_t *j = load("ppp-frames.json"), *frames = json_object_get(j, "frames"), *one;
    size_t i;
    assert_int_equal(json_object_size(j), 3); /* a description, the frames, and the packets of the next test */
    assert_int_equal(json_array_size(frames), sizeof rows / sizeof rows[0]);
    json_array_foreach(frames, i, one) {
        assert_string_equal(json_string_value(json_object_get(one, "name")), rows[i].name);
        rows[i].check(frames, json_string_value(json_object_get(one, "hex")), rows[i].arg);
    }
    json_decref(j);
}

/* Data packets from public traces, from the SSTP header to the last option. */
static void test_observed_packets(void **state)
{
    (void)state;
    static const struct {
        const char *name; /* how it begins */
        uint16_t protocol;
        uint8_t code, id;
        const char *types;
    } rows[] = {
        { "lcp configure-request seen from a Windows Server 2016", PPP_LCP, 1, 0, "01030507080d1113" },
        { "IPCP Configure-Request from a RouterOS server", PPP_IPCP, 1, 1, "03" },
        { "IPCP Configure-Reject of VJ from a RouterOS server", PPP_IPCP, 4, 1, "02" },
        { "IPV6CP Configure-Request of sstpc/pppd", PPP_IPV6CP, 1, 1, "01" },
    };
    json_t *j = load("ppp-frames.json"), *all = json_object_get(j, "observed_sstp_data_packets"), *one;
    size_t i;
    assert_int_equal(json_array_size(all), sizeof rows / sizeof rows[0]);
    json_array_foreach(all, i, one) {
        const char *hex = json_string_value(json_object_get(one, "hex"));
        uint8_t bytes[128], seen[16];
        size_t n = strlen(hex) / 2, count = 0;
        char types[2 * sizeof seen + 1];
        struct sstp_pkt pkt = { 0 };
        struct ppp_hdr hdr;
        struct ppp_opt opt;
        uint16_t protocol = 0;
        int rc;
        assert_memory_equal(json_string_value(json_object_get(one, "name")), rows[i].name, strlen(rows[i].name));
        assert_true(n <= sizeof bytes && hex_decode(hex, 2 * n, bytes, n));
        struct rd in = rd_make(bytes, n);
        assert_int_equal(sstp_pkt_next(&in, &pkt), 0);
        assert_true(rd_end(&in) && !pkt.control);
        assert_true(ppp_frame_open(&pkt.payload, &protocol));
        assert_true(ppp_hdr_parse(pkt.payload, &hdr));
        assert_int_equal(protocol, rows[i].protocol);
        assert_int_equal(hdr.code, rows[i].code);
        assert_int_equal(hdr.id, rows[i].id);
        assert_int_equal(rd_left(&hdr.whole), rd_left(&pkt.payload)); /* no padding */
        while ((rc = ppp_opt_next(&hdr.data, &opt)) == 0) {
            assert_true(count < sizeof seen);
            seen[count++] = opt.type;
        }
        assert_int_equal(rc, ERR_CLOSED);
        hex_encode(seen, count, types);
        assert_string_equal(types, rows[i].types);
    }
    json_decref(j);
}

/* ---- session-mschapv2.json ---- */

/* Marks the step as used. */
static const char *step_named(json_t *steps, const char *from, const char *prefix, unsigned skip)
{
    size_t i;
    json_t *one;
    json_array_foreach(steps, i, one)
        if (strcmp(json_string_value(json_object_get(one, "from")), from) == 0 &&
            strncmp(json_string_value(json_object_get(one, "name")), prefix, strlen(prefix)) == 0 && skip-- == 0) {
            json_object_set_new(one, "used", json_true());
            return json_string_value(json_object_get(one, "hex")) + 8; /* without the SSTP header */
        }
    fail_msg("no step %s", prefix);
    return "";
}

/* Every data packet of the session was looked at; but for a Reject that we have no need to send. */
static void all_steps_used(json_t *steps)
{
    size_t i, left = 0;
    json_t *one;
    json_array_foreach(steps, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        if (strncmp(json_string_value(json_object_get(one, "hex")), "1000", 4) != 0 || json_object_get(one, "used"))
            continue;
        assert_string_equal(name, "LCP Configure-Reject: PFC, ACFC, callback");
        left++;
    }
    assert_int_equal(left, 1);
}

/*
 * session-mschapv2.json with our own choices: PFC and ACFC are acknowledged, MRU is the MTU. Authentication, IPCP,
 * IPV6CP and the end are the published bytes.
 */
static void test_session(void **state)
{
    (void)state;
    static struct fix f;
    static struct ppp_auth_request req;
    json_t *j = load("session-mschapv2.json"), *s = json_object_get(j, "steps");
    f.cfg = plain;
    f.cfg.auth[0] = PPP_AUTH_MSCHAPV2;
    f.cfg.mtu = 4091;
    f.cfg.lcp_echo_idle_ms = 30000;
    f.cfg.dns[0] = 0x0a080035;
    f.cfg.ipv6 = true;
    assert_int_equal(digest_init(), 0);
    /* magic (in memory order), our identifier and the suggested one, the challenge */
    up(&f, "d4c3b2a1"
           "0000000000000001"
           "0000000000000002"
           "5b5d7c7d7b3f2f3e3c2c602132262628");
    give(&f, step_named(s, "C", "LCP Configure-Request: MRU 4091, magic, PFC", 0));
    expect(&f, step_named(s, "S", "LCP Configure-Request", 0));
    expect(&f, "ff03c021040000070d0306");
    give(&f, step_named(s, "C", "LCP Configure-Request: MRU 4091, magic", 1));
    expect(&f, step_named(s, "S", "LCP Configure-Ack", 0));
    give(&f, step_named(s, "C", "LCP Configure-Ack", 0));
    expect(&f, step_named(s, "S", "CHAP Challenge", 0));
    give(&f, step_named(s, "C", "LCP Identification", 0));
    give(&f, step_named(s, "C", "CHAP Response", 0));
    struct ev ev = event(&f, PPP_EV_AUTH);
    memcpy(&req, ev.data, sizeof req);
    quiet(&f);

    struct users *users;
    struct users_error err;
    struct ppp_auth_result res;
    enum user_state why;
    const char text[] = "User plain:\"clientPass\"\n";
    assert_int_equal(users_parse(text, strlen(text), &users, &err), 0);
    assert_int_equal(login_check(users, &req, 0, &res, &why), 0);
    assert_int_equal(ppp_link_auth_result(f.link, &res, 0, &f.q), 0);
    users_free(users);
    ev = event(&f, PPP_EV_AUTHED); /* before the Success, so that SSTP has the HLAK when CALL_CONNECTED comes */
    const struct ppp_authed *who = (const void *)ev.data;
    char hlak[65];
    hex_encode(who->hlak, 32, hlak);
    assert_string_equal(hlak, "d5f0e9521e3ea9589645e86051c822268b7cdc149b993a1ba118cb153f56dccb");
    expect(&f, step_named(s, "S", "CHAP Success", 0));
    expect(&f, step_named(s, "S", "IPV6CP Configure-Request", 0));
    quiet(&f);

    give(&f, step_named(s, "C", "CCP Configure-Request", 0));
    expect(&f, step_named(s, "S", "LCP Protocol-Reject", 0));
    give(&f, step_named(s, "C", "IPCP Configure-Request: address, DNS1, NBNS1", 0));
    quiet(&f);
    assert_int_equal(ppp_link_set_ip4(f.link, 0x0a080007, 0, &f.q), 0);
    expect(&f, step_named(s, "S", "IPCP Configure-Request", 0));
    expect(&f, step_named(s, "S", "IPCP Configure-Reject", 0));
    give(&f, step_named(s, "C", "IPCP Configure-Ack", 0));
    give(&f, step_named(s, "C", "IPCP Configure-Request: address, DNS1 zero", 0));
    expect(&f, step_named(s, "S", "IPCP Configure-Nak", 0));
    give(&f, step_named(s, "C", "IPCP Configure-Request with the given values", 0));
    expect(&f, step_named(s, "S", "IPCP Configure-Ack", 0));
    event(&f, PPP_EV_IP4_UP);
    give(&f, step_named(s, "C", "IPV6CP Configure-Request", 0));
    expect(&f, step_named(s, "S", "IPV6CP Configure-Ack", 0));
    give(&f, step_named(s, "C", "IPV6CP Configure-Ack", 0));
    ev = event(&f, PPP_EV_IP6_UP);
    assert_memory_equal(ev.data, "\x02\0\0\xff\xfe\0\0\x07", 8);
    give(&f, step_named(s, "C", "IPv4 ICMP", 0));
    assert_int_equal(ppp_link_expire(f.link, 30000, &f.q), 0);
    expect(&f, step_named(s, "S", "LCP Echo-Request", 0));
    give(&f, step_named(s, "C", "LCP Echo-Reply", 0));
    quiet(&f);
    give(&f, step_named(s, "C", "LCP Terminate-Request", 0));
    expect(&f, step_named(s, "S", "LCP Terminate-Ack", 0));
    event(&f, PPP_EV_IP4_DOWN);
    event(&f, PPP_EV_IP6_DOWN);
    quiet(&f);
    uint64_t at = ppp_link_deadline(f.link);
    assert_int_equal(ppp_link_expire(f.link, at, &f.q), 0);
    ev = event(&f, PPP_EV_DOWN);
    const struct ppp_down *down = (const void *)ev.data;
    assert_int_equal(down->cause, PPP_DOWN_PEER_TERMINATE);
    assert_string_equal(down->text, "User request");
    all_steps_used(s);
    ppp_link_free(f.link);
    json_decref(j);
}

/* Every frame of the session's client, cut at each length and with each octet changed, leaves a link that works or
 * ends. */
static void test_session_mutated(void **state)
{
    (void)state;
    static struct fix f;
    json_t *j = load("session-mschapv2.json"), *s = json_object_get(j, "steps");
    size_t i;
    json_t *one;
    f.cfg = plain;
    json_array_foreach(s, i, one) {
        const char *hex = json_string_value(json_object_get(one, "hex"));
        uint8_t bytes[256];
        if (strncmp(hex, "1000", 4) != 0)
            continue;
        size_t n = strlen(hex) / 2 - 4;
        assert_true(n < sizeof bytes && hex_decode(hex + 8, 2 * n, bytes, n));
        for (size_t k = 0; k < 2 * n; k++) {
            opened(&f);
            uint8_t copy[256];
            memcpy(copy, bytes, n);
            copy[k % n] ^= k < n ? 0 : (uint8_t)(1u << (k & 7));
            for (unsigned again = 0; again < 3; again++)
                assert_int_equal(ppp_link_input(f.link, rd_make(copy, k < n ? k : n), again, &f.q), 0);
            assert_false(f.q.failed);
            assert_true(ppp_link_deadline(f.link) > 0);
            ppp_link_free(f.link);
        }
    }
    json_decref(j);
}

static void test_frame_forms(void **state)
{
    (void)state;
    static const struct {
        const char *hex;
        bool good;
        uint16_t protocol;
        size_t left;
    } rows[] = { { "ff03c021aa", true, 0xc021, 1 }, { "c021aa", true, 0xc021, 1 },
                 { "ff0321aabb", true, 0x21, 2 },   { "21aabb", true, 0x21, 2 },
                 { "ff030021aa", true, 0x21, 1 },   { "", false, 0, 0 },
                 { "ff03", false, 0, 0 },           { "c0", false, 0, 0 },
                 { "ff03c0", false, 0, 0 },         { "21", true, 0x21, 0 } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t bytes[16];
        uint16_t protocol = 0;
        size_t n = strlen(rows[i].hex) / 2;
        assert_true(hex_decode(rows[i].hex, 2 * n, bytes, n));
        struct rd r = rd_make(bytes, n);
        assert_int_equal(ppp_frame_open(&r, &protocol), rows[i].good);
        if (rows[i].good) {
            assert_int_equal(protocol, rows[i].protocol);
            assert_int_equal(rd_left(&r), rows[i].left);
        }
    }
}

static void test_misuse(void **state)
{
    (void)state;
    static struct fix f;
    ppp_link_free(NULL);
    f.cfg = plain;
    up(&f, "");
    assert_int_equal(ppp_link_start(f.link, 0, &f.q), ERR_USAGE); /* once */
    assert_int_equal(ppp_link_set_ip4(f.link, 0, 0, &f.q), ERR_USAGE);
    assert_int_equal(ppp_link_set_ip4(f.link, 1, 0, &f.q), 0);
    assert_int_equal(ppp_link_set_ip4(f.link, 1, 0, &f.q), 0);
    assert_int_equal(ppp_link_set_ip4(f.link, 2, 0, &f.q), ERR_USAGE); /* an address does not change */
    struct ppp_auth_result ok = { 0 };
    assert_int_equal(ppp_link_auth_result(f.link, &ok, 0, &f.q), 0); /* nobody asked */
    quiet(&f);
    assert_string_equal(ppp_link_phase(f.link), "establish");
    ppp_link_free(f.link);
}

/* A queue without room ends the connection: every call says so. */
static void test_queue_full(void **state)
{
    (void)state;
    static struct fix f;
    f.cfg = plain;
    up(&f, "");
    f.q = evq_make(f.mem, 20);
    assert_int_equal(ppp_link_expire(f.link, 300, &f.q), ERR_LIMIT);
    ppp_link_free(f.link);
}

static void test_names(void **state)
{
    (void)state;
    for (unsigned a = 0; a <= PPP_DOWN_PROTOCOL; a++) {
        assert_string_not_equal(ppp_down_name((enum ppp_down_cause)a), "?");
        for (unsigned b = 0; b < a; b++)
            assert_string_not_equal(ppp_down_name((enum ppp_down_cause)a), ppp_down_name((enum ppp_down_cause)b));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames),      cmocka_unit_test(test_observed_packets),
        cmocka_unit_test(test_session),     cmocka_unit_test(test_session_mutated),
        cmocka_unit_test(test_frame_forms), cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_queue_full),  cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
