/* The client's side of authentication with CHAP and PAP: every state with every input, silence, our own server. */
#include <stdio.h>

#include "authctest.h"

#include <jansson.h>

#include "auth/pap.h"
#include "ppp/authp.h"

static const uint8_t zeros[32];

/* CHAP's server */

static void chap_challenge(struct fix *f, uint8_t id)
{
    uint8_t buf[64];
    struct wr w = wr_make(buf, sizeof buf);
    chap_value_encode(&w, CHAP_CHALLENGE, id, f->challenge, 16, "srv", 3);
    give_wr(f, &w);
}

static void chap_answered(struct fix *f, uint8_t id)
{
    struct chap_pkt pkt;
    sends(f);
    nothing(f);
    assert_int_equal(chap_parse(f->sent, 0, &pkt), 0);
    assert_int_equal(pkt.code, CHAP_RESPONSE);
    assert_int_equal(pkt.id, id);
    assert_int_equal(rd_left(&pkt.name), strlen(f->secret.user)); /* DOMAIN\ included */
    assert_memory_equal(pkt.name.p, f->secret.user, rd_left(&pkt.name));
    if (f->a.method == PPP_AUTH_MSCHAPV2)
        judge(f, pkt.value, pkt.name);
    else
        assert_int_equal(chap_md5_check(id, "clientPass", 10, f->challenge, 16, pkt.value.p), 0);
}

static void chap_message(struct fix *f, enum chap_code code, uint8_t id, const char *text, size_t n)
{
    uint8_t buf[256];
    struct wr w = wr_make(buf, sizeof buf);
    chap_message_encode(&w, code, id, text, n);
    give_wr(f, &w);
}

static void chap_success(struct fix *f, uint8_t id)
{
    chap_message(f, CHAP_SUCCESS, id, f->proof, f->a.method == PPP_AUTH_MSCHAPV2 ? sizeof f->proof : 0);
}

/* CHAP and PAP: every state with every input. */

enum chap_step {
    C_CHALLENGE,
    C_SUCCESS,
    C_SUCCESS_WRONG,
    C_SUCCESS_ID,
    C_FAILURE,
    C_FAILURE_ID,
    C_RESPONSE,
    C_CODE,
    C_STEPS
};

static void chap_say(struct fix *f, enum chap_step s, uint8_t id)
{
    static const uint8_t unknown[] = { 9, 1, 0, 4 }, response[] = { 2, 1, 0, 21, 16, [20] = 0 };
    char wrong[42];
    switch (s) {
    case C_CHALLENGE:
        f->challenge[0]++;
        chap_challenge(f, (uint8_t)(id + 1));
        break;
    case C_SUCCESS: chap_success(f, id); break;
    case C_SUCCESS_WRONG:
        memcpy(wrong, f->proof, sizeof wrong);
        wrong[41] = wrong[41] == '0' ? '1' : '0';
        chap_message(f, CHAP_SUCCESS, id, wrong, sizeof wrong);
        break;
    case C_SUCCESS_ID: chap_success(f, (uint8_t)(id + 1)); break;
    case C_FAILURE: chap_message(f, CHAP_FAILURE, id, "E=647 R=0 M=off", 15); break;
    case C_FAILURE_ID: chap_message(f, CHAP_FAILURE, (uint8_t)(id + 1), "E=647 R=0 M=off", 15); break;
    case C_RESPONSE: give(f, response, sizeof response); break;
    case C_CODE: give(f, unknown, sizeof unknown); break;
    case C_STEPS: break;
    }
}

static void chap_reach(struct fix *f, enum ppp_auth_method method, enum authc_state state)
{
    begin(f, method);
    nothing(f);
    if (state == AUTHC_IDLE)
        authc_stop(&f->a);
    if (state >= AUTHC_ANSWERED) {
        chap_challenge(f, 7);
        chap_answered(f, 7);
    }
    if (state >= AUTHC_OVER) {
        chap_success(f, 7);
        assert_int_equal(f->outcome, AUTHC_PASSED);
        authed(f, method == PPP_AUTH_MSCHAPV2 ? f->hlak : zeros);
    }
    assert_int_equal(f->a.state, state);
}

static void chap_table(enum ppp_auth_method method)
{
    static const uint8_t states[] = { AUTHC_IDLE, AUTHC_WAITING, AUTHC_ANSWERED, AUTHC_OVER };
    bool proves = method == PPP_AUTH_MSCHAPV2;
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned s = 0; s < C_STEPS; s++) {
            struct fix f;
            unsigned at = states[i];
            enum authc_outcome want = AUTHC_PENDING;
            bool success = s == C_SUCCESS || s == C_SUCCESS_WRONG;
            if (proves && at == AUTHC_WAITING && (success || s == C_SUCCESS_ID))
                want = AUTHC_LIED;
            else if (proves && at == AUTHC_ANSWERED && s == C_SUCCESS_WRONG)
                want = AUTHC_LIED;
            else if (at == AUTHC_ANSWERED && success)
                want = AUTHC_PASSED;
            else if (at == AUTHC_ANSWERED && s == C_FAILURE)
                want = AUTHC_REFUSED;
            chap_reach(&f, method, at);
            chap_say(&f, s, 7);
            if (f.outcome != want)
                fail_msg("method %d state %u step %u: outcome %d", (int)method, at, s, (int)f.outcome);
            if (s == C_CHALLENGE && at != AUTHC_IDLE) {
                chap_answered(&f, 8);
                assert_int_equal(f.a.state, AUTHC_ANSWERED);
            } else if (want == AUTHC_PASSED) {
                authed(&f, proves ? f.hlak : zeros);
            } else if (want == AUTHC_REFUSED) {
                assert_int_equal(f.a.error, proves ? 647 : 691);
                assert_string_equal(f.a.text, proves ? "off" : "E=647 R=0 M=off");
            }
            nothing(&f);
            if (want == AUTHC_LIED || want == AUTHC_REFUSED)
                assert_deaf(&f);
            else if (want == AUTHC_PENDING && s != C_CHALLENGE)
                assert_int_equal(f.a.state, at);
        }
    }
}

static void test_chap_table(void **state)
{
    (void)state;
    chap_table(PPP_AUTH_MSCHAPV2);
    chap_table(PPP_AUTH_CHAP_MD5);
}

static void test_chap_repeats(void **state)
{
    (void)state;
    struct fix f;
    struct chap_pkt pkt;
    uint8_t first[16];
    chap_reach(&f, PPP_AUTH_MSCHAPV2, AUTHC_ANSWERED);
    assert_int_equal(chap_parse(f.sent, 0, &pkt), 0);
    memcpy(first, pkt.value.p, 16);
    chap_challenge(&f, 7); /* our Response is under way, and so is its Success: the peer challenge must stay */
    chap_answered(&f, 7);
    assert_int_equal(chap_parse(f.sent, 0, &pkt), 0);
    assert_memory_equal(pkt.value.p, first, 16);
    chap_success(&f, 7);
    assert_int_equal(f.outcome, AUTHC_PASSED);
    chap_challenge(&f, 7); /* late */
    chap_answered(&f, 7);
    assert_int_equal(f.a.state, AUTHC_OVER);
    chap_challenge(&f, 9); /* the same challenge under another Identifier */
    chap_answered(&f, 9);
    f.challenge[3]++; /* the same Identifier for another challenge */
    chap_challenge(&f, 9);
    chap_answered(&f, 9);
    assert_int_equal(chap_parse(f.sent, 0, &pkt), 0);
    assert_memory_not_equal(pkt.value.p, first, 16);
}

static void chap_again(enum ppp_auth_method method)
{
    struct fix f;
    chap_reach(&f, method, AUTHC_OVER);
    for (int n = 0; n < 3 * AUTHC_STEPS_MAX; n++) {
        f.challenge[0]++;
        chap_challenge(&f, (uint8_t)n);
        chap_answered(&f, (uint8_t)n);
        assert_true(authc_deadline(&f.a) == TIME_NEVER); /* a server that says nothing more does no harm */
        if (n % 3 == 0)
            continue;
        chap_success(&f, (uint8_t)n);
        assert_int_equal(f.outcome, AUTHC_PENDING);
        assert_int_equal(f.a.state, AUTHC_OVER);
        nothing(&f);
    }
    chap_say(&f, C_CHALLENGE, 100);
    chap_answered(&f, 101);
    chap_say(&f, method == PPP_AUTH_MSCHAPV2 ? C_SUCCESS_WRONG : C_FAILURE, 101);
    assert_int_equal(f.outcome, method == PPP_AUTH_MSCHAPV2 ? AUTHC_LIED : AUTHC_REFUSED);
}

static void test_chap_again(void **state)
{
    (void)state;
    chap_again(PPP_AUTH_MSCHAPV2);
    chap_again(PPP_AUTH_CHAP_MD5);
}

static void test_chap_endless(void **state)
{
    (void)state;
    struct fix f;
    begin(&f, PPP_AUTH_MSCHAPV2);
    for (int n = 0; n < AUTHC_STEPS_MAX; n++) {
        f.now_ms += AUTHC_LIMIT_MS - 1;
        chap_say(&f, C_CHALLENGE, (uint8_t)n);
        assert_int_equal(f.outcome, AUTHC_PENDING);
    }
    chap_say(&f, C_CHALLENGE, AUTHC_STEPS_MAX);
    assert_int_equal(f.outcome, AUTHC_TIMED_OUT);
    assert_deaf(&f);
}

/* Value-Size other than 16 is no challenge of MS-CHAPv2; MD5 takes any. */
static void test_chap_sizes(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 256; n++) {
        struct fix f;
        uint8_t value[255] = { 1 }, buf[300];
        for (unsigned md5 = 0; md5 < 2; md5++) {
            begin(&f, md5 ? PPP_AUTH_CHAP_MD5 : PPP_AUTH_MSCHAPV2);
            struct wr w = wr_make(buf, sizeof buf);
            chap_value_encode(&w, CHAP_CHALLENGE, 1, value, (uint8_t)n, NULL, 0);
            give_wr(&f, &w);
            if (md5 || n == 16)
                sends(&f);
            nothing(&f);
        }
    }
}

static void fixed(void *arg, void *out, size_t n)
{
    assert_int_equal(n, 16);
    memcpy(out, arg, n);
}

static const char *text(const json_t *o, const char *key)
{
    const char *t = json_string_value(json_object_get(o, key));
    if (!t)
        fail_msg("vector without %s", key);
    return t;
}

static size_t unhex(const char *hex, uint8_t out[512])
{
    size_t n = strlen(hex) / 2;
    assert_true(n <= 512 && hex_decode(hex, 2 * n, out, n));
    return n;
}

/* RFC 2759 9.2 and others through the machine; the domain stays in Name and is not hashed. */
static void test_chap_vectors(void **state)
{
    (void)state;
    json_error_t err;
    json_t *root = json_load_file(VECTORS_DIR "/mschapv2.json", 0, &err), *v;
    size_t i;
    assert_non_null(root);
    assert_true(json_array_size(json_object_get(root, "auth")) >= 6);
    json_array_foreach(json_object_get(root, "auth"), i, v) {
        struct fix f;
        uint8_t peer[512], hlak[512], in[512], want[512];
        size_t n;
        unhex(text(v, "peer_challenge"), peer);
        unhex(text(v, "hlak"), hlak);
        begin_as(&f, PPP_AUTH_MSCHAPV2, text(v, "user"), text(v, "password"));
        f.a.rng = (struct rng){ fixed, peer };
        n = unhex(text(v, "chap_challenge_packet"), in);
        give(&f, in, n);
        sends(&f);
        n = unhex(text(v, "chap_response_packet"), want);
        assert_int_equal(rd_left(&f.sent), n);
        assert_memory_equal(f.copy, want, n);
        n = unhex(text(v, "chap_success_packet"), in);
        give(&f, in, n);
        assert_int_equal(f.outcome, AUTHC_PASSED);
        authed(&f, hlak);
    }
    json_decref(root);
}

/* PAP */

static struct pap_pkt pap_sent(struct fix *f)
{
    struct pap_pkt pkt;
    sends(f);
    nothing(f);
    assert_int_equal(pap_parse(f->sent, &pkt), 0);
    assert_int_equal(pkt.code, PAP_REQUEST);
    assert_int_equal(rd_left(&pkt.name), strlen(f->secret.user));
    assert_memory_equal(pkt.name.p, f->secret.user, rd_left(&pkt.name));
    assert_int_equal(rd_left(&pkt.password), strlen(f->secret.password));
    assert_memory_equal(pkt.password.p, f->secret.password, rd_left(&pkt.password));
    return pkt;
}

/* The forms that are seen: with Msg-Length, without, with more than its Msg-Length or the packet's Length says. */
static void test_pap_acks(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[12];
        size_t len;
        bool good;
    } rows[] = {
        { { 2, 1, 0, 5, 0 }, 5, true },
        { { 2, 1, 0, 4 }, 4, true },
        { { 2, 1, 0, 7, 2, 'o', 'k' }, 7, true },
        { { 2, 1, 0, 6, 'o', 'k' }, 6, true },
        { { 2, 1, 0, 8, 1, 'o', 'k', '!' }, 8, true },
        { { 2, 1, 0, 5, 0, 1, 2, 3 }, 8, true },
        { { 2, 1, 0, 9, 0 }, 5, false }, /* Length lies */
        { { 2, 1, 0, 3, 0 }, 5, false },
        { { 2, 2, 0, 5, 0 }, 5, false }, /* of no request of ours */
        { { 2, 0, 0, 5, 0 }, 5, false },
        { { 1, 1, 0, 6, 0, 0 }, 6, false }, /* a client's */
        { { 4, 1, 0, 5, 0 }, 5, false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fix f;
        begin(&f, PPP_AUTH_PAP);
        assert_int_equal(pap_sent(&f).id, 1);
        for (size_t n = 0; n < 4; n++) {
            give(&f, rows[i].bytes, n);
            assert_int_equal(f.outcome, AUTHC_PENDING);
        }
        give(&f, rows[i].bytes, rows[i].len);
        assert_int_equal(f.outcome, rows[i].good ? AUTHC_PASSED : AUTHC_PENDING);
        if (rows[i].good) {
            authed(&f, zeros);
            assert_true(authc_deadline(&f.a) == TIME_NEVER);
            give(&f, rows[i].bytes, rows[i].len); /* repeated */
            assert_int_equal(f.outcome, AUTHC_PENDING);
            assert_int_equal(f.a.state, AUTHC_OVER);
        }
        nothing(&f);
    }
}

static void test_pap_nak(void **state)
{
    (void)state;
    static const uint8_t nak[] = { 3, 1, 0, 7, 2, 'n', 'o' }, stray[] = { 3, 9, 0, 7, 2, 'n', 'o' };
    struct fix f;
    begin(&f, PPP_AUTH_PAP);
    give(&f, stray, sizeof stray);
    assert_int_equal(f.outcome, AUTHC_PENDING);
    give(&f, nak, sizeof nak);
    assert_int_equal(f.outcome, AUTHC_REFUSED);
    assert_int_equal(f.a.error, 691);
    assert_string_equal(f.a.text, "no");
    assert_deaf(&f);
}

static void test_pap_resent(void **state)
{
    (void)state;
    struct fix f;
    begin(&f, PPP_AUTH_PAP);
    for (unsigned id = 1; id <= AUTHC_LIMIT_MS / AUTHC_RESEND_MS; id++) {
        assert_int_equal(pap_sent(&f).id, id);
        evq_reset(&f.q);
        if (id == AUTHC_LIMIT_MS / AUTHC_RESEND_MS)
            break;
        assert_true(authc_deadline(&f.a) == f.now_ms + AUTHC_RESEND_MS);
        assert_int_equal(authc_expire(&f.a, f.now_ms + AUTHC_RESEND_MS - 1, &f.q), AUTHC_PENDING);
        nothing(&f);
        f.now_ms += AUTHC_RESEND_MS;
        assert_int_equal(authc_expire(&f.a, f.now_ms, &f.q), AUTHC_PENDING);
    }
    struct fix late = f;
    static const uint8_t ack[] = { 2, 2, 0, 5, 0 }; /* of the second request */
    late.q = evq_make(late.mem, sizeof late.mem);
    give(&late, ack, sizeof ack);
    assert_int_equal(late.outcome, AUTHC_PASSED);
    f.now_ms += AUTHC_RESEND_MS;
    assert_int_equal(authc_expire(&f.a, f.now_ms, &f.q), AUTHC_TIMED_OUT);
    assert_deaf(&f);

    /* The next start has requests of its own: an answer to the old ones is none. */
    authc_start(&f.a, PPP_AUTH_PAP, f.now_ms, &f.q);
    assert_int_equal(pap_sent(&f).id, 11);
    give(&f, ack, sizeof ack);
    assert_int_equal(f.outcome, AUTHC_PENDING);
}

/* Silence, at each place of the conversation. */
static void test_silence(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct fix f;
        chap_reach(&f, i & 1 ? PPP_AUTH_MSCHAPV2 : PPP_AUTH_CHAP_MD5, i & 2 ? AUTHC_ANSWERED : AUTHC_WAITING);
        silent(&f);
    }
}

/* Other protocols than the method's say nothing: no talking down. */
static void test_other_protocols(void **state)
{
    (void)state;
    static const uint8_t challenge[] = { 1, 1, 0, 21, 16, [20] = 0 }, request[] = { 1, 1, 0, 5, 1 },
                         ack[] = { 2, 1, 0, 5, 0 };
    static const enum ppp_auth_method methods[] = { PPP_AUTH_PAP, PPP_AUTH_CHAP_MD5, PPP_AUTH_MSCHAPV2,
                                                    PPP_AUTH_EAP_MSCHAPV2 };
    for (size_t i = 0; i < 4; i++) {
        static const uint16_t protocols[] = { PPP_PAP, PPP_CHAP, PPP_EAP, PPP_LCP, 0 };
        for (size_t k = 0; k < 5; k++) {
            struct fix f;
            begin(&f, methods[i]);
            if (protocols[k] == protocol_of(&f))
                continue;
            assert_int_equal(give_rc(&f, protocols[k], challenge, sizeof challenge), 0);
            assert_int_equal(give_rc(&f, protocols[k], request, sizeof request), 0);
            assert_int_equal(give_rc(&f, protocols[k], ack, sizeof ack), 0);
            assert_int_equal(f.outcome, AUTHC_PENDING);
            nothing(&f);
        }
    }
}

static void test_long_names(void **state)
{
    (void)state;
    static const uint8_t challenge[] = { 1, 1, 0, 21, 16, [20] = 0 }, identity[] = { 1, 1, 0, 5, 1 };
    static const uint8_t eap[] = { 1, 2, 0, 26, 26, 1, 2, 0, 21, 16, [25] = 0 };
    for (size_t n = 254; n <= 258; n++) {
        struct fix f;
        char name[300] = { 0 };
        memset(name, 'n', n);
        int want = n <= CHAP_NAME_MAX ? 0 : ERR_USAGE;
        begin_as(&f, PPP_AUTH_MSCHAPV2, name, "p");
        assert_int_equal(give_rc(&f, PPP_CHAP, challenge, sizeof challenge), want);
        if (want == 0)
            sends(&f);
        begin_as(&f, PPP_AUTH_EAP_MSCHAPV2, name, "p");
        assert_int_equal(give_rc(&f, PPP_EAP, identity, sizeof identity), want);
        assert_int_equal(give_rc(&f, PPP_EAP, eap, sizeof eap), want);
        if (want == 0) {
            sends(&f);
            assert_int_equal(rd_left(&f.sent), 59 + n);
        }
        nothing(&f);
        for (unsigned k = 0; k < 2; k++) { /* PAP has one octet for each of the two lengths */
            begin_as(&f, PPP_AUTH_PAP, k ? "u" : name, k ? name : "p");
            if (n <= 255) {
                pap_sent(&f);
                continue;
            }
            nothing(&f);
            assert_true(authc_deadline(&f.a) == f.now_ms);
            assert_int_equal(authc_expire(&f.a, f.now_ms, &f.q), AUTHC_UNSUITED);
            nothing(&f);
        }
    }
}

/* A password that no NT hash can be made of. */
static void test_bad_password(void **state)
{
    (void)state;
    static const uint8_t challenge[] = { 1, 1, 0, 21, 16, [20] = 0 };
    struct fix f;
    begin_as(&f, PPP_AUTH_MSCHAPV2, "User", "caf\xe9");
    assert_int_equal(give_rc(&f, PPP_CHAP, challenge, sizeof challenge), ERR_USAGE);
    nothing(&f);
    begin_as(&f, PPP_AUTH_CHAP_MD5, "User", "caf\xe9"); /* octets are enough here */
    assert_int_equal(give_rc(&f, PPP_CHAP, challenge, sizeof challenge), 0);
    sends(&f);
}

/* The server's words are cut and end. */
static void test_long_words(void **state)
{
    (void)state;
    struct fix f;
    char words[200];
    memset(words, 'w', sizeof words);
    memcpy(words, "E=691 M=", 8);
    chap_reach(&f, PPP_AUTH_MSCHAPV2, AUTHC_ANSWERED);
    chap_message(&f, CHAP_FAILURE, 7, words, sizeof words);
    assert_int_equal(f.outcome, AUTHC_REFUSED);
    assert_int_equal(strlen(f.a.text), sizeof f.a.text - 1);
    chap_reach(&f, PPP_AUTH_MSCHAPV2, AUTHC_ANSWERED); /* without E= */
    chap_message(&f, CHAP_FAILURE, 7, "go away", 7);
    assert_int_equal(f.outcome, AUTHC_REFUSED);
    assert_int_equal(f.a.error, 691);
    assert_string_equal(f.a.text, "go away");
    chap_reach(&f, PPP_AUTH_MSCHAPV2, AUTHC_ANSWERED); /* no words at all, and no code */
    chap_message(&f, CHAP_FAILURE, 7, "E=0", 3);
    assert_int_equal(f.outcome, AUTHC_REFUSED);
    assert_int_equal(f.a.error, 691);
    assert_string_equal(f.a.text, "");
}

/* Both of our roles against each other. */

struct pair {
    struct fix client;
    struct authp server;
    struct ppp_cfg cfg;
    struct users *users;
    uint8_t mem[8192], server_hlak[32];
    struct evq q; /* the server's */
    enum authp_outcome server_outcome;
    bool passed, client_authed, server_authed;
    uint8_t client_hlak[32];
};

static void pair_server_events(struct pair *p)
{
    struct ev ev = { 0 };
    uint8_t copy[1024];
    struct evq q = p->q;
    evq_reset(&p->q);
    uint8_t events[8192];
    memcpy(events, q.buf, q.len);
    q.buf = events;
    while (evq_next(&q, &ev)) {
        assert_true(ev.len <= sizeof copy);
        memcpy(copy, ev.data, ev.len);
        if (ev.type == PPP_EV_SEND) {
            assert_int_equal(give_rc(&p->client, protocol_of(&p->client), copy + 4, ev.len - 4u), 0);
            p->passed |= p->client.outcome == AUTHC_PASSED;
            return; /* one at a time; none of these conversations has two in flight */
        }
        if (ev.type == PPP_EV_AUTHED) {
            memcpy(p->server_hlak, ((struct ppp_authed *)(void *)copy)->hlak, 32);
            p->server_authed = true;
        } else if (ev.type == PPP_EV_AUTH) {
            struct ppp_auth_request req;
            struct ppp_auth_result result;
            enum user_state why;
            memcpy(&req, copy, sizeof req);
            assert_int_equal(login_check(p->users, &req, 0, &result, &why), 0);
            p->server_outcome = authp_result(&p->server, &result, p->client.now_ms, &p->q);
        }
    }
}

static void pair_client_events(struct pair *p)
{
    struct ev ev = { 0 };
    uint16_t protocol = protocol_of(&p->client);
    enum authp_outcome outcome;
    while (evq_next(&p->client.q, &ev)) {
        if (ev.type == PPP_EV_AUTHED) {
            struct ppp_authed who;
            memcpy(&who, ev.data, sizeof who);
            memcpy(p->client_hlak, who.hlak, 32);
            p->client_authed = true;
        } else {
            struct rd info = rd_make(ev.data + 4, ev.len - 4u);
            assert_int_equal(authp_input(&p->server, protocol, info, p->client.now_ms, &p->q, &outcome), 0);
        }
    }
    evq_reset(&p->client.q);
}

static void pair_run(struct pair *p, enum ppp_auth_method method, const char *file, const char *user,
                     const char *password)
{
    struct users_error err;
    *p = (struct pair){ .cfg = { .auth_tries = 3, .name = "gatehouse" } };
    p->q = evq_make(p->mem, sizeof p->mem);
    assert_int_equal(users_parse(file, strlen(file), &p->users, &err), 0);
    begin_as(&p->client, method, user, password);
    authp_init(&p->server, &p->cfg, (struct rng){ counted, &p->client.counter });
    authp_start(&p->server, method, p->client.now_ms, &p->q);
    for (int turn = 0; turn < 10; turn++) {
        pair_client_events(p);
        pair_server_events(p);
    }
    assert_int_equal(p->q.len, 0);
}

static void pair_end(struct pair *p)
{
    authc_fini(&p->client.a);
    authp_fini(&p->server);
    users_free(p->users);
}

static void test_own_server(void **state)
{
    (void)state;
    static const enum ppp_auth_method methods[] = { PPP_AUTH_PAP, PPP_AUTH_CHAP_MD5, PPP_AUTH_MSCHAPV2 };
    for (size_t i = 0; i < 3; i++) {
        static struct pair p;
        bool keys = methods[i] == PPP_AUTH_MSCHAPV2;
        pair_run(&p, methods[i], "alice plain:wonder\n", "CORP\\alice", "wonder");
        assert_true(p.passed && p.client_authed && p.server_authed);
        assert_int_equal(p.server_outcome, AUTHP_PASSED);
        assert_int_equal(p.client.a.state, AUTHC_OVER);
        assert_memory_equal(p.client_hlak, p.server_hlak, 32);
        assert_int_equal(is_zero(p.client_hlak, 32), !keys);
        pair_end(&p);

        pair_run(&p, methods[i], "alice plain:wonder\n", "alice", "wander");
        assert_false(p.passed || p.client_authed || p.server_authed);
        assert_int_equal(p.client.outcome, AUTHC_REFUSED);
        assert_int_equal(p.client.a.error, 691);
        assert_string_equal(p.client.a.text, "Access denied");
        pair_end(&p);

        pair_run(&p, methods[i], "alice plain:wonder disabled\n", "alice", "wonder");
        assert_int_equal(p.client.outcome, AUTHC_REFUSED);
        assert_int_equal(p.client.a.error, keys ? 647 : 691);
        pair_end(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chap_table),      cmocka_unit_test(test_chap_repeats),
        cmocka_unit_test(test_chap_again),      cmocka_unit_test(test_chap_endless),
        cmocka_unit_test(test_chap_sizes),      cmocka_unit_test(test_chap_vectors),
        cmocka_unit_test(test_pap_acks),        cmocka_unit_test(test_pap_nak),
        cmocka_unit_test(test_pap_resent),      cmocka_unit_test(test_silence),
        cmocka_unit_test(test_other_protocols), cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_bad_password),    cmocka_unit_test(test_long_words),
        cmocka_unit_test(test_own_server),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
