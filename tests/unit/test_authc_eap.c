/* The client's side of authentication with a small EAP server: every state with every step, lies, repetitions. */
#include <stdio.h>

#include "authctest.h"

#include "auth/eap.h"

/* EAP's server */

enum eap_step {
    S_IDENTITY,
    S_NOTIFY,
    S_MD5,
    S_CHALLENGE,
    S_PROOF,
    S_NO_PROOF,
    S_REFUSAL,
    S_SUCCESS,
    S_FAILURE,
    S_RESPONSE,
    S_GARBLED,
    S_STEPS
};

static const char refusal[] = "E=649 R=1 V=3 M=no dial-in for you";

static void eap_say_as(struct fix *f, enum eap_step s, uint8_t id)
{
    static const uint8_t md5[17] = { 16 };
    uint8_t buf[256];
    struct wr w = wr_make(buf, sizeof buf);
    switch (s) {
    case S_IDENTITY: eap_encode(&w, EAP_REQUEST, id, EAP_TYPE_IDENTITY, NULL, 0); break;
    case S_NOTIFY: eap_encode(&w, EAP_REQUEST, id, EAP_TYPE_NOTIFICATION, "hello", 5); break;
    case S_MD5: eap_encode(&w, EAP_REQUEST, id, EAP_TYPE_MD5, md5, sizeof md5); break;
    case S_CHALLENGE: eap_mschapv2_challenge_encode(&w, id, id, f->challenge, "srv", 3); break;
    case S_PROOF: eap_mschapv2_message_encode(&w, id, id, EAP_MSCHAPV2_SUCCESS, f->proof, 42); break;
    case S_NO_PROOF: eap_mschapv2_message_encode(&w, id, id, EAP_MSCHAPV2_SUCCESS, "M=OK", 4); break;
    case S_REFUSAL: eap_mschapv2_message_encode(&w, id, id, EAP_MSCHAPV2_FAILURE, refusal, strlen(refusal)); break;
    case S_SUCCESS: eap_encode(&w, EAP_SUCCESS, id, 0, NULL, 0); break;
    case S_FAILURE: eap_encode(&w, EAP_FAILURE, id, 0, NULL, 0); break;
    case S_RESPONSE: eap_encode(&w, EAP_RESPONSE, id, EAP_TYPE_IDENTITY, "me", 2); break;
    case S_GARBLED: eap_encode(&w, EAP_REQUEST, id, EAP_TYPE_MSCHAPV2, "\x01\x02\x00", 3); break;
    case S_STEPS: break;
    }
    give_wr(f, &w);
}

static void eap_say(struct fix *f, enum eap_step s)
{
    eap_say_as(f, s, ++f->eap_id);
}

/* The client's Response to the latest Request. */
static struct eap_pkt eap_answered(struct fix *f, uint8_t type)
{
    struct eap_pkt pkt;
    sends(f);
    nothing(f);
    assert_int_equal(eap_parse(f->sent, &pkt), 0);
    assert_int_equal(pkt.code, EAP_RESPONSE);
    assert_int_equal(pkt.id, f->eap_id);
    assert_int_equal(pkt.type, type);
    return pkt;
}

static struct eap_mschapv2 eap_answered_mschapv2(struct fix *f, enum eap_mschapv2_op op)
{
    struct eap_mschapv2 m;
    struct eap_pkt pkt = eap_answered(f, EAP_TYPE_MSCHAPV2);
    assert_int_equal(eap_mschapv2_parse(pkt.data, &m), 0);
    assert_int_equal(m.op, op);
    assert_int_equal(rd_left(&pkt.data) == 1, op != EAP_MSCHAPV2_RESPONSE);
    return m;
}

static void eap_challenged(struct fix *f)
{
    eap_say(f, S_CHALLENGE);
    struct eap_mschapv2 m = eap_answered_mschapv2(f, EAP_MSCHAPV2_RESPONSE);
    assert_int_equal(m.id, f->eap_id);
    judge(f, m.value, m.name);
}

static void eap_proved(struct fix *f)
{
    eap_say(f, S_PROOF);
    eap_answered_mschapv2(f, EAP_MSCHAPV2_SUCCESS);
    assert_int_equal(f->outcome, AUTHC_PENDING);
}

/* Begins and goes on until this state. */
static void eap_reach(struct fix *f, enum authc_state state)
{
    begin(f, PPP_AUTH_EAP_MSCHAPV2);
    if (state == AUTHC_IDLE)
        authc_stop(&f->a);
    if (state >= AUTHC_ANSWERED)
        eap_challenged(f);
    if (state >= AUTHC_PROVED)
        eap_proved(f);
    if (state >= AUTHC_OVER) {
        eap_say(f, S_SUCCESS);
        assert_int_equal(f->outcome, AUTHC_PASSED);
        authed(f, f->hlak);
    }
    assert_int_equal(f->a.state, state);
}

static void test_eap_conversation(void **state)
{
    (void)state;
    struct fix f;
    begin(&f, PPP_AUTH_EAP_MSCHAPV2);
    nothing(&f); /* the server begins */
    assert_true(authc_deadline(&f.a) == f.now_ms + AUTHC_LIMIT_MS);
    f.eap_id = 0xff; /* Windows begins at 0 */
    eap_say(&f, S_IDENTITY);
    struct eap_pkt pkt = eap_answered(&f, EAP_TYPE_IDENTITY);
    assert_int_equal(rd_left(&pkt.data), strlen(f.secret.user));
    assert_memory_equal(pkt.data.p, f.secret.user, rd_left(&pkt.data));
    eap_say(&f, S_NOTIFY);
    pkt = eap_answered(&f, EAP_TYPE_NOTIFICATION);
    assert_int_equal(rd_left(&pkt.data), 0);
    eap_say(&f, S_MD5);
    pkt = eap_answered(&f, EAP_TYPE_NAK);
    assert_true(rd_left(&pkt.data) == 1 && pkt.data.p[0] == EAP_TYPE_MSCHAPV2);
    f.now_ms += AUTHC_LIMIT_MS - 1;
    eap_challenged(&f);
    assert_true(authc_deadline(&f.a) == f.now_ms + AUTHC_LIMIT_MS); /* from the latest step */
    eap_proved(&f);
    eap_say_as(&f, S_SUCCESS, f.eap_id);
    assert_int_equal(f.outcome, AUTHC_PASSED);
    authed(&f, f.hlak);
    assert_false(is_zero(f.hlak, 32));
    assert_true(is_zero(f.a.hlak, 32)); /* it has an owner now */
    assert_true(authc_deadline(&f.a) == TIME_NEVER);
    authc_fini(&f.a);
    assert_true(is_zero(&f.a, sizeof f.a));
}

/* Every state with every step of a server. answer: Type of the Response, 0: none. */
static void test_eap_table(void **state)
{
    (void)state;
    static const struct cell {
        uint8_t outcome, next, answer;
    } table[AUTHC_OVER + 1][S_STEPS] = {
#define P(next_, answer_) { AUTHC_PENDING, next_, answer_ }
#define X(outcome_)                                                                                                    \
    {                                                                                                                  \
        outcome_, AUTHC_IDLE, 0                                                                                        \
    }
        [AUTHC_WAITING] = { P(AUTHC_WAITING, 1), P(AUTHC_WAITING, 2), P(AUTHC_WAITING, 3), P(AUTHC_ANSWERED, 26),
                            X(AUTHC_LIED), X(AUTHC_LIED), P(AUTHC_WAITING, 26), X(AUTHC_LIED), X(AUTHC_REFUSED),
                            P(AUTHC_WAITING, 0), P(AUTHC_WAITING, 0) },
        [AUTHC_ANSWERED] = { P(AUTHC_ANSWERED, 1), P(AUTHC_ANSWERED, 2), P(AUTHC_ANSWERED, 3), P(AUTHC_ANSWERED, 26),
                             P(AUTHC_PROVED, 26), X(AUTHC_LIED), P(AUTHC_WAITING, 26), X(AUTHC_LIED), X(AUTHC_REFUSED),
                             P(AUTHC_ANSWERED, 0), P(AUTHC_ANSWERED, 0) },
        [AUTHC_PROVED] = { P(AUTHC_PROVED, 1),
                           P(AUTHC_PROVED, 2),
                           P(AUTHC_PROVED, 3),
                           P(AUTHC_ANSWERED, 26),
                           P(AUTHC_PROVED, 26),
                           X(AUTHC_LIED),
                           P(AUTHC_WAITING, 26),
                           { AUTHC_PASSED, AUTHC_OVER, 0 },
                           X(AUTHC_REFUSED),
                           P(AUTHC_PROVED, 0),
                           P(AUTHC_PROVED, 0) },
        [AUTHC_OVER] = { P(AUTHC_OVER, 1), P(AUTHC_OVER, 2), P(AUTHC_OVER, 3), P(AUTHC_ANSWERED, 26), P(AUTHC_OVER, 26),
                         X(AUTHC_LIED), P(AUTHC_WAITING, 26), P(AUTHC_OVER, 0), P(AUTHC_OVER, 0), P(AUTHC_OVER, 0),
                         P(AUTHC_OVER, 0) },
#undef P
#undef X
    };
    for (unsigned at = AUTHC_IDLE; at <= AUTHC_OVER; at++) {
        for (unsigned s = 0; s < S_STEPS; s++) {
            struct fix f;
            const struct cell *want = &table[at][s];
            eap_reach(&f, at);
            eap_say(&f, s);
            if (f.outcome != want->outcome || f.a.state != want->next)
                fail_msg("state %u step %u: outcome %d, state %u", at, s, (int)f.outcome, f.a.state);
            if (want->answer)
                eap_answered(&f, want->answer);
            else if (want->outcome == AUTHC_PASSED)
                authed(&f, f.hlak);
            nothing(&f);
            if (want->next == AUTHC_IDLE)
                assert_deaf(&f);
            authc_fini(&f.a);
        }
    }
}

static void test_eap_repeats(void **state)
{
    (void)state;
    static const enum eap_step steps[] = { S_IDENTITY, S_NOTIFY, S_MD5, S_CHALLENGE, S_PROOF };
    struct fix f;
    begin(&f, PPP_AUTH_EAP_MSCHAPV2);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        uint8_t first[512];
        eap_say(&f, steps[i]);
        sends(&f);
        size_t n = rd_left(&f.sent);
        memcpy(first, f.copy, n);
        if (steps[i] == S_CHALLENGE) {
            struct rd value = rd_make(first + 10, 49);
            judge(&f, value, rd_make(first + 59, n - 59));
        }
        for (int again = 0; again < 2; again++) { /* octet for octet, the peer challenge as well */
            eap_say_as(&f, steps[i], f.eap_id);
            sends(&f);
            nothing(&f);
            assert_int_equal(rd_left(&f.sent), n);
            assert_memory_equal(f.copy, first, n);
        }
    }
    assert_int_equal(f.a.state, AUTHC_PROVED);
    eap_say(&f, S_SUCCESS);
    authed(&f, f.hlak);
    eap_say_as(&f, S_SUCCESS, f.eap_id);
    nothing(&f);

    /* Same Identifier, another step of the method: not a repetition. */
    eap_reach(&f, AUTHC_ANSWERED);
    eap_say_as(&f, S_PROOF, f.eap_id);
    eap_answered_mschapv2(&f, EAP_MSCHAPV2_SUCCESS);
    assert_int_equal(f.a.state, AUTHC_PROVED);
}

static void test_eap_proofs(void **state)
{
    (void)state;
    struct fix f;
    for (size_t i = 0; i < 42 + 1; i++) { /* each character counts; the last round has none wrong */
        eap_reach(&f, AUTHC_ANSWERED);
        if (i < 42)
            f.proof[i] = f.proof[i] == '0' ? '1' : '0';
        eap_say(&f, S_PROOF);
        assert_int_equal(f.outcome, i < 42 ? AUTHC_LIED : AUTHC_PENDING);
        if (i < 42)
            assert_deaf(&f);
    }
    eap_reach(&f, AUTHC_ANSWERED);
    for (size_t i = 2; i < 42; i++) /* the case is the server's */
        if (f.proof[i] >= 'A')
            f.proof[i] = (char)(f.proof[i] + 'a' - 'A');
    eap_proved(&f);
    /* The proof of the challenge before is none for this one. */
    eap_reach(&f, AUTHC_ANSWERED);
    eap_say(&f, S_CHALLENGE);
    eap_answered_mschapv2(&f, EAP_MSCHAPV2_RESPONSE);
    eap_say(&f, S_PROOF);
    assert_int_equal(f.outcome, AUTHC_LIED);
    assert_int_equal(f.a.error, 0);
}

static void test_eap_refusals(void **state)
{
    (void)state;
    struct fix f;
    eap_reach(&f, AUTHC_ANSWERED); /* as Windows does: at once */
    eap_say_as(&f, S_FAILURE, f.eap_id);
    assert_int_equal(f.outcome, AUTHC_REFUSED);
    assert_int_equal(f.a.error, 691);

    begin(&f, PPP_AUTH_EAP_MSCHAPV2); /* a Nak before does not count when our method was had */
    eap_say(&f, S_MD5);
    eap_answered(&f, EAP_TYPE_NAK);
    eap_challenged(&f);
    eap_say(&f, S_FAILURE);
    assert_int_equal(f.outcome, AUTHC_REFUSED);

    eap_reach(&f, AUTHC_ANSWERED); /* with a reason, then EAP-Failure */
    eap_say(&f, S_REFUSAL);
    eap_answered_mschapv2(&f, EAP_MSCHAPV2_FAILURE);
    assert_int_equal(f.a.error, 649); /* known now already: the link's end may be next */
    eap_say(&f, S_FAILURE);
    assert_int_equal(f.outcome, AUTHC_REFUSED);
    assert_int_equal(f.a.error, 649);
    assert_string_equal(f.a.text, "no dial-in for you");

    eap_reach(&f, AUTHC_ANSWERED); /* R=1 and another challenge: there is one password */
    eap_say(&f, S_REFUSAL);
    eap_say(&f, S_CHALLENGE);
    assert_int_equal(f.outcome, AUTHC_REFUSED);
    nothing(&f);
    assert_deaf(&f);

    eap_reach(&f, AUTHC_ANSWERED); /* a reason, then silence */
    eap_say(&f, S_REFUSAL);
    evq_reset(&f.q);
    assert_int_equal(authc_expire(&f.a, f.now_ms + AUTHC_LIMIT_MS, &f.q), AUTHC_REFUSED);
    assert_int_equal(f.a.error, 649);

    eap_reach(&f, AUTHC_ANSWERED); /* a code that says nothing is a refusal all the same */
    uint8_t buf[64];
    struct wr w = wr_make(buf, sizeof buf);
    eap_mschapv2_message_encode(&w, ++f.eap_id, 1, EAP_MSCHAPV2_FAILURE, "E=0 R=0", 7);
    give_wr(&f, &w);
    eap_answered_mschapv2(&f, EAP_MSCHAPV2_FAILURE);
    assert_int_equal(f.a.error, 691);

    eap_reach(&f, AUTHC_PROVED); /* a reason, then success */
    eap_say(&f, S_REFUSAL);
    eap_say(&f, S_SUCCESS);
    assert_int_equal(f.outcome, AUTHC_LIED);
    assert_int_equal(f.a.error, 0);
}

static void test_eap_methods(void **state)
{
    (void)state;
    for (unsigned type = 0; type < 256; type++) {
        struct fix f;
        uint8_t buf[16];
        struct wr w = wr_make(buf, sizeof buf);
        begin(&f, PPP_AUTH_EAP_MSCHAPV2);
        eap_encode(&w, EAP_REQUEST, ++f.eap_id, (uint8_t)type, "\0", 1);
        give_wr(&f, &w);
        assert_int_equal(f.outcome, AUTHC_PENDING);
        bool ours = type <= EAP_TYPE_NAK || type == EAP_TYPE_MSCHAPV2;
        if (!ours) {
            struct eap_pkt pkt = eap_answered(&f, EAP_TYPE_NAK);
            assert_true(rd_left(&pkt.data) == 1 && pkt.data.p[0] == EAP_TYPE_MSCHAPV2);
        } else if (type == 0 || type >= EAP_TYPE_NAK) { /* not of a Request; and ours, but unreadable */
            nothing(&f);
        }
        eap_say(&f, S_FAILURE);
        assert_int_equal(f.outcome, ours ? AUTHC_REFUSED : AUTHC_UNSUITED);
    }
}

/* Requests without end: new ones, the same one, wishes for a method that we do not have. */
static void test_eap_endless(void **state)
{
    (void)state;
    static const enum eap_step steps[] = { S_IDENTITY, S_NOTIFY, S_MD5, S_CHALLENGE, S_GARBLED };
    for (size_t i = 0; i < 2 * sizeof steps / sizeof steps[0]; i++) {
        struct fix f;
        enum eap_step s = steps[i / 2];
        begin(&f, PPP_AUTH_EAP_MSCHAPV2);
        for (int n = 0; n < AUTHC_STEPS_MAX; n++) {
            eap_say_as(&f, s, i % 2 ? (uint8_t)n : 7);
            assert_int_equal(f.outcome, AUTHC_PENDING);
        }
        eap_say(&f, s);
        assert_int_equal(f.outcome, s == S_MD5 ? AUTHC_UNSUITED : AUTHC_TIMED_OUT);
        nothing(&f);
        assert_deaf(&f);
    }
}

static void test_eap_again(void **state)
{
    (void)state;
    struct fix f;
    eap_reach(&f, AUTHC_OVER);
    for (int n = 0; n < 3 * AUTHC_STEPS_MAX; n++) { /* for days */
        f.challenge[0]++;
        eap_say(&f, S_IDENTITY);
        eap_answered(&f, EAP_TYPE_IDENTITY);
        eap_challenged(&f);
        assert_true(authc_deadline(&f.a) == TIME_NEVER);
        eap_proved(&f);
        eap_say(&f, S_SUCCESS);
        assert_int_equal(f.outcome, AUTHC_PENDING);
        nothing(&f); /* PPP_EV_AUTHED was once */
    }
    eap_challenged(&f);
    eap_say(&f, S_SUCCESS);
    assert_int_equal(f.outcome, AUTHC_LIED);

    /* LCP once more: the phase passes again, but the keys were given. */
    eap_reach(&f, AUTHC_OVER);
    authc_stop(&f.a);
    authc_start(&f.a, PPP_AUTH_EAP_MSCHAPV2, f.now_ms, &f.q);
    eap_challenged(&f);
    eap_proved(&f);
    eap_say(&f, S_SUCCESS);
    assert_int_equal(f.outcome, AUTHC_PASSED);
    nothing(&f);
}

static void test_eap_silence(void **state)
{
    (void)state;
    for (unsigned at = AUTHC_WAITING; at <= AUTHC_PROVED; at++) {
        struct fix f;
        eap_reach(&f, at);
        silent(&f);
    }
}

/* Every packet of a server cut at each length, in the state that it is for: dropped, or an end; no frame too much. */
static void test_cut(void **state)
{
    (void)state;
    for (size_t cut = 0; cut < 80; cut++) {
        for (unsigned s = 0; s < 3; s++) {
            struct fix f;
            uint8_t buf[128];
            struct wr w = wr_make(buf, sizeof buf);
            eap_reach(&f, s == 0 ? AUTHC_WAITING : AUTHC_ANSWERED);
            if (s == 0)
                eap_mschapv2_challenge_encode(&w, 50, 50, f.challenge, "srv", 3);
            else if (s == 1)
                eap_mschapv2_message_encode(&w, 50, 50, EAP_MSCHAPV2_SUCCESS, f.proof, 42);
            else
                eap_mschapv2_message_encode(&w, 50, 50, EAP_MSCHAPV2_FAILURE, refusal, strlen(refusal));
            if (cut >= wr_len(&w))
                continue;
            give(&f, buf, cut); /* the frame is cut */
            assert_int_equal(f.outcome, AUTHC_PENDING);
            nothing(&f);
            buf[3] = (uint8_t)cut; /* the packet is */
            give(&f, buf, wr_len(&w));
            /* The Success with a shorter proof is a lie; one without its ID and length is not readable. */
            bool lie = s == 1 && (cut == 6 || (cut >= 9 && cut < 9 + 42));
            assert_int_equal(f.outcome, lie ? AUTHC_LIED : AUTHC_PENDING);
            assert_int_equal(f.a.authed, false);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eap_conversation), cmocka_unit_test(test_eap_table),
        cmocka_unit_test(test_eap_repeats),      cmocka_unit_test(test_eap_proofs),
        cmocka_unit_test(test_eap_refusals),     cmocka_unit_test(test_eap_methods),
        cmocka_unit_test(test_eap_endless),      cmocka_unit_test(test_eap_again),
        cmocka_unit_test(test_eap_silence),      cmocka_unit_test(test_cut),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
