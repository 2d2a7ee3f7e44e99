/* What the tests of the client's side of authentication share: the machine, its frames, and a server's arithmetic. */
#ifndef GH_TEST_AUTHCTEST_H
#define GH_TEST_AUTHCTEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "auth/chap.h"
#include "auth/login.h"
#include "base/ct.h"
#include "base/digest.h"
#include "ppp/authc.h"

struct fix {
    struct authc a;
    struct ppp_secret secret;
    uint8_t mem[8192], counter;
    struct evq q;
    uint64_t now_ms;
    enum authc_outcome outcome; /* of the latest call */

    /* the server */
    uint8_t eap_id, challenge[16];
    char proof[42];
    uint8_t hlak[32];
    struct rd sent; /* information of the frame that the client sent last, in copy */
    uint8_t copy[512];
};

static inline void counted(void *arg, void *out, size_t n)
{
    uint8_t *counter = arg, *p = out;
    for (size_t i = 0; i < n; i++)
        p[i] = ++*counter;
}

static inline void begin_as(struct fix *f, enum ppp_auth_method method, const char *user, const char *password)
{
    *f = (struct fix){ .secret = { user, password }, .now_ms = 1000 };
    memset(f->challenge, 0x5c, sizeof f->challenge);
    f->q = evq_make(f->mem, sizeof f->mem);
    authc_init(&f->a, &f->secret, (struct rng){ counted, &f->counter });
    assert_true(authc_deadline(&f->a) == TIME_NEVER);
    authc_start(&f->a, method, f->now_ms, &f->q);
}

static inline void begin(struct fix *f, enum ppp_auth_method method)
{
    begin_as(f, method, "EXAMPLE\\User", "clientPass");
}

static inline uint16_t protocol_of(const struct fix *f)
{
    return f->a.method == PPP_AUTH_PAP ? PPP_PAP : f->a.method == PPP_AUTH_EAP_MSCHAPV2 ? PPP_EAP : PPP_CHAP;
}

/* Gives information of its own size, so that a sanitizer sees reads past its end. */
static inline int give_rc(struct fix *f, uint16_t protocol, const void *data, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, data, n);
    evq_reset(&f->q);
    int rc = authc_input(&f->a, protocol, rd_make(copy, n), f->now_ms, &f->q, &f->outcome);
    free(copy);
    assert_false(f->q.failed);
    return rc;
}

static inline void give(struct fix *f, const void *data, size_t n)
{
    assert_int_equal(give_rc(f, protocol_of(f), data, n), 0);
}

static inline void give_wr(struct fix *f, const struct wr *w)
{
    assert_true(wr_ok(w));
    give(f, w->base, wr_len(w));
}

static inline void nothing(struct fix *f)
{
    struct ev ev = { 0 };
    assert_false(evq_next(&f->q, &ev));
}

/* The next event is a frame of the method's protocol. */
static inline void sends(struct fix *f)
{
    struct ev ev = { 0 };
    uint16_t protocol;
    assert_true(evq_next(&f->q, &ev));
    assert_int_equal(ev.type, PPP_EV_SEND);
    assert_true(ev.len >= 4 && ev.len - 4u <= sizeof f->copy && ev.data[0] == 0xff && ev.data[1] == 3);
    struct rd frame = rd_make(ev.data, ev.len);
    assert_true(ppp_frame_open(&frame, &protocol));
    assert_int_equal(protocol, protocol_of(f));
    size_t n = rd_left(&frame);
    memcpy(f->copy, frame.p, n);
    f->sent = rd_make(f->copy, n);
}

static inline void authed(struct fix *f, const uint8_t hlak[32])
{
    struct ev ev = { 0 };
    struct ppp_authed who;
    assert_true(evq_next(&f->q, &ev));
    assert_int_equal(ev.type, PPP_EV_AUTHED);
    assert_int_equal(ev.len, sizeof who);
    memcpy(&who, ev.data, sizeof who);
    assert_int_equal(who.method, f->a.method);
    assert_int_equal(who.name_len, strlen(f->secret.user));
    assert_memory_equal(who.name, f->secret.user, who.name_len);
    assert_memory_equal(who.hlak, hlak, 32);
    nothing(f);
}

static inline bool is_zero(const void *p, size_t n)
{
    const uint8_t *at = p;
    while (n--)
        if (at[n])
            return false;
    return true;
}

/* Given up: no timers, no secrets, deaf. */
static inline void assert_deaf(struct fix *f)
{
    static const uint8_t challenge[] = { 1, 1, 0, 21, 16, [20] = 0 }, request[] = { 1, 99, 0, 5, 1 };
    assert_int_equal(f->a.state, AUTHC_IDLE);
    assert_true(authc_deadline(&f->a) == TIME_NEVER);
    assert_true(is_zero(f->a.hlak, 32) && is_zero(f->a.expected, 42));
    give(f, challenge, sizeof challenge);
    give(f, request, sizeof request);
    assert_int_equal(f->outcome, AUTHC_PENDING);
    nothing(f);
}

/* The server says nothing more: it ends at the deadline, not before. */
static inline void silent(struct fix *f)
{
    evq_reset(&f->q);
    assert_true(authc_deadline(&f->a) == f->now_ms + AUTHC_LIMIT_MS);
    assert_int_equal(authc_expire(&f->a, f->now_ms + AUTHC_LIMIT_MS - 1, &f->q), AUTHC_PENDING);
    assert_int_equal(authc_expire(&f->a, f->now_ms + AUTHC_LIMIT_MS, &f->q), AUTHC_TIMED_OUT);
    nothing(f);
    assert_deaf(f);
}

/* What a server with the user's hash makes of the Response: the proof and the keys. */
static inline void judge(struct fix *f, struct rd value, struct rd name)
{
    static const char file[] = "User plain:clientPass\n";
    struct users *users;
    struct users_error err;
    enum user_state why;
    struct ppp_auth_result result;
    struct chap_mschapv2_response r;
    struct ppp_auth_request req = { .method = PPP_AUTH_MSCHAPV2, .name_len = (uint16_t)rd_left(&name) };
    assert_int_equal(users_parse(file, strlen(file), &users, &err), 0);
    assert_int_equal(chap_mschapv2_response_parse(value, &r), 0);
    memcpy(req.name, name.p, req.name_len);
    memcpy(req.challenge, f->challenge, 16);
    memcpy(req.peer_challenge, r.peer_challenge, 16);
    memcpy(req.response, r.nt_response, 24);
    assert_int_equal(login_check(users, &req, 0, &result, &why), 0);
    assert_int_equal(result.code, PPP_AUTH_OK);
    memcpy(f->proof, result.auth_response, 42);
    memcpy(f->hlak, result.hlak, 32);
    users_free(users);
}

static inline int setup(void **state)
{
    (void)state;
    return digest_init();
}

static inline int teardown(void **state)
{
    (void)state;
    digest_fini();
    return 0;
}

#endif
