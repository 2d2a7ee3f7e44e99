#include "ppp/authp.h"

#include <stdlib.h>

#include "auth/chap.h"
#include "auth/pap.h"
#include "base/ct.h"

void authp_init(struct authp *a, const struct ppp_cfg *cfg, struct rng rng)
{
    *a = (struct authp){ .cfg = cfg, .rng = rng, .resend_ms = TIME_NEVER, .limit_ms = TIME_NEVER };
}

void authp_fini(struct authp *a)
{
    free(a->name);
    secret_wipe(a, sizeof *a);
}

static uint16_t wire_protocol(const struct authp *a)
{
    return a->method == PPP_AUTH_PAP ? PPP_PAP : PPP_CHAP;
}

static struct wr frame_open(const struct authp *a, struct evq *out)
{
    struct wr w = evq_open(out, PPP_EV_SEND);
    wr_u16(&w, 0xff03);
    wr_u16(&w, wire_protocol(a));
    return w;
}

static void send_challenge(struct authp *a, uint64_t now_ms, struct evq *out)
{
    struct wr w = frame_open(a, out);
    chap_value_encode(&w, CHAP_CHALLENGE, a->id, a->challenge, sizeof a->challenge, a->cfg->name,
                      strnlen(a->cfg->name, sizeof a->cfg->name));
    evq_close(out, &w);
    a->resend_ms = now_ms + AUTHP_RESEND_MS;
}

static void send_verdict(const struct authp *a, struct evq *out)
{
    struct wr w = frame_open(a, out);
    wr_bytes(&w, a->verdict, a->verdict_len);
    evq_close(out, &w);
}

void authp_start(struct authp *a, enum ppp_auth_method method, uint64_t now_ms, struct evq *out)
{
    a->method = (uint8_t)method;
    a->state = AUTHP_WAITING;
    a->verdict_len = 0;
    a->limit_ms = now_ms + AUTHP_LIMIT_MS;
    a->resend_ms = TIME_NEVER;
    if (method == PPP_AUTH_PAP)
        return;
    a->id++; /* RFC 1994 4.1: changes with every new Challenge */
    rng_fill(&a->rng, a->challenge, sizeof a->challenge);
    send_challenge(a, now_ms, out);
}

void authp_stop(struct authp *a)
{
    if (a->state == AUTHP_ASKED)
        a->stale = true;
    a->state = AUTHP_IDLE;
    a->resend_ms = a->limit_ms = TIME_NEVER;
}

static const char *failure_text(unsigned code)
{
    switch (code) {
    case PPP_AUTH_RESTRICTED_HOURS: return "Not allowed at this hour";
    case PPP_AUTH_DISABLED: return "Account disabled";
    case PPP_AUTH_EXPIRED: return "Password expired";
    case PPP_AUTH_NO_DIALIN: return "No dial-in permission";
    default: return "Access denied";
    }
}

static void encode_success(struct authp *a, struct wr *w, const struct ppp_auth_result *r)
{
    static const char text[] = "Access granted";
    if (a->method == PPP_AUTH_PAP)
        pap_reply_encode(w, PAP_ACK, a->id, text, sizeof text - 1);
    else if (a->method == PPP_AUTH_MSCHAPV2)
        chap_mschapv2_success_encode(w, a->id, r->auth_response, text);
    else
        chap_message_encode(w, CHAP_SUCCESS, a->id, text, sizeof text - 1);
}

static void encode_failure(struct authp *a, struct wr *w, unsigned code, bool retry)
{
    /* PAP and CHAP-MD5 have one answer for all reasons. */
    const char *text = failure_text(a->method == PPP_AUTH_MSCHAPV2 ? code : PPP_AUTH_FAILURE);
    if (a->method == PPP_AUTH_PAP) {
        pap_reply_encode(w, PAP_NAK, a->id, text, strlen(text));
    } else if (a->method == PPP_AUTH_MSCHAPV2) {
        struct chap_failure f = {
            .error = code, .retry = retry, .has_challenge = true, .version = 3, .text = rd_make(text, strlen(text))
        };
        memcpy(f.challenge, a->challenge, sizeof f.challenge);
        chap_mschapv2_failure_encode(w, a->id, &f);
    } else {
        chap_message_encode(w, CHAP_FAILURE, a->id, text, strlen(text));
    }
}

static void keep_verdict(struct authp *a, const struct wr *w)
{
    a->verdict_len = wr_ok(w) ? (uint8_t)wr_len(w) : 0;
    a->state = AUTHP_OVER;
    a->resend_ms = a->limit_ms = TIME_NEVER;
}

static enum authp_outcome refuse(struct authp *a, unsigned code, uint64_t now_ms, struct evq *out)
{
    unsigned tries = a->cfg->auth_tries > AUTHP_TRIES_MAX ? AUTHP_TRIES_MAX : a->cfg->auth_tries;
    if (a->failures < UINT8_MAX)
        a->failures++;
    bool retry = a->method == PPP_AUTH_MSCHAPV2 && code == PPP_AUTH_FAILURE && a->failures < tries && !a->authenticated;
    rng_fill(&a->rng, a->challenge, sizeof a->challenge); /* what a new Response has to be computed on */
    struct wr w = wr_make(a->verdict, sizeof a->verdict);
    encode_failure(a, &w, code, retry);
    keep_verdict(a, &w);
    send_verdict(a, out);
    if (!retry)
        return AUTHP_REFUSED;
    a->state = AUTHP_WAITING;
    a->id++;
    a->limit_ms = now_ms + AUTHP_RETRY_LIMIT_MS;
    return AUTHP_PENDING;
}

/* Before Success leaves, the owner must hold the HLAK: the client's CALL_CONNECTED comes right behind it. */
static void tell_owner(struct authp *a, const struct ppp_auth_result *r, struct evq *out)
{
    if (a->authenticated)
        return;
    a->authenticated = true;
    struct ppp_authed who = { .method = a->method, .name_len = a->name_len };
    memcpy(who.name, a->name, a->name_len);
    memcpy(who.hlak, r->hlak, sizeof who.hlak);
    evq_put(out, PPP_EV_AUTHED, &who, sizeof who);
    secret_wipe(&who, sizeof who);
}

enum authp_outcome authp_result(struct authp *a, const struct ppp_auth_result *r, uint64_t now_ms, struct evq *out)
{
    if (a->stale) {
        a->stale = false;
        return AUTHP_PENDING;
    }
    if (a->state != AUTHP_ASKED)
        return AUTHP_PENDING;
    if (r->code != PPP_AUTH_OK)
        return refuse(a, r->code, now_ms, out);
    tell_owner(a, r, out);
    struct wr w = wr_make(a->verdict, sizeof a->verdict);
    encode_success(a, &w, r);
    keep_verdict(a, &w);
    send_verdict(a, out);
    return AUTHP_PASSED;
}

/* Remembers the name and asks. Somebody else may not take over an authenticated link by renegotiating LCP. */
static int ask(struct authp *a, struct ppp_auth_request *req, struct rd name, uint64_t now_ms, struct evq *out,
               enum authp_outcome *outcome)
{
    size_t n = rd_left(&name);
    if (a->authenticated) {
        if (n != a->name_len || (n && memcmp(name.p, a->name, n) != 0)) {
            *outcome = refuse(a, PPP_AUTH_FAILURE, now_ms, out);
            return 0;
        }
    } else {
        char *copy = malloc(n ? n : 1);
        if (!copy)
            return ERR_NOMEM;
        if (n)
            memcpy(copy, name.p, n);
        free(a->name);
        a->name = copy;
        a->name_len = (uint16_t)n;
    }
    req->method = a->method;
    req->id = a->id;
    req->name_len = (uint16_t)n;
    if (n)
        memcpy(req->name, name.p, n);
    memcpy(req->challenge, a->challenge, sizeof req->challenge);
    evq_put(out, PPP_EV_AUTH, req, sizeof *req);
    a->state = AUTHP_ASKED;
    a->resend_ms = a->limit_ms = TIME_NEVER; /* the verdict's time is the owner's matter */
    return 0;
}

static int input_pap(struct authp *a, struct rd info, uint64_t now_ms, struct evq *out, enum authp_outcome *outcome)
{
    struct pap_pkt pkt;
    struct ppp_auth_request req = { 0 };
    if (pap_parse(info, &pkt) != 0 || pkt.code != PAP_REQUEST)
        return 0;
    size_t n = rd_left(&pkt.password);
    if (rd_left(&pkt.name) > sizeof req.name || !rd_copy(&pkt.password, req.password, n))
        return 0;
    req.password_len = (uint16_t)n;
    a->id = pkt.id; /* of the latest copy: its sender waits for an answer to that one */
    int rc = 0;
    if (a->state == AUTHP_OVER && a->verdict_len > 1) {
        a->verdict[1] = pkt.id;
        send_verdict(a, out);
    } else if (a->state == AUTHP_WAITING && !a->stale) {
        rc = ask(a, &req, pkt.name, now_ms, out, outcome);
    }
    secret_wipe(&req, sizeof req);
    return rc;
}

/* Takes the value of a Response apart; false when it is not of our method's form. */
static bool chap_value(const struct authp *a, struct rd value, struct ppp_auth_request *req)
{
    struct chap_mschapv2_response r;
    if (a->method == PPP_AUTH_CHAP_MD5)
        return rd_copy(&value, req->response, CHAP_MD5_VALUE_LEN);
    if (chap_mschapv2_response_parse(value, &r) != 0)
        return false;
    memcpy(req->peer_challenge, r.peer_challenge, sizeof req->peer_challenge);
    memcpy(req->response, r.nt_response, sizeof r.nt_response);
    return true;
}

static int input_chap(struct authp *a, struct rd info, uint64_t now_ms, struct evq *out, enum authp_outcome *outcome)
{
    struct chap_pkt pkt;
    struct ppp_auth_request req = { 0 };
    size_t value_len = a->method == PPP_AUTH_MSCHAPV2 ? CHAP_MSCHAPV2_VALUE_LEN : CHAP_MD5_VALUE_LEN;
    if (chap_parse(info, value_len, &pkt) != 0 || pkt.code != CHAP_RESPONSE || rd_left(&pkt.name) > sizeof req.name)
        return 0;
    if (a->verdict_len > 1 && a->state != AUTHP_ASKED && pkt.id == a->verdict[1]) {
        send_verdict(a, out); /* RFC 1994 4.1: the same answer to a repeated Response */
        return 0;
    }
    if (a->state != AUTHP_WAITING || a->stale || pkt.id != a->id || !chap_value(a, pkt.value, &req))
        return 0;
    int rc = ask(a, &req, pkt.name, now_ms, out, outcome);
    secret_wipe(&req, sizeof req);
    return rc;
}

int authp_input(struct authp *a, uint16_t protocol, struct rd info, uint64_t now_ms, struct evq *out,
                enum authp_outcome *outcome)
{
    *outcome = AUTHP_PENDING;
    if (a->state == AUTHP_IDLE || protocol != wire_protocol(a))
        return 0;
    if (protocol == PPP_PAP)
        return input_pap(a, info, now_ms, out, outcome);
    return input_chap(a, info, now_ms, out, outcome);
}

uint64_t authp_deadline(const struct authp *a)
{
    return a->resend_ms < a->limit_ms ? a->resend_ms : a->limit_ms;
}

enum authp_outcome authp_expire(struct authp *a, uint64_t now_ms, struct evq *out)
{
    if (now_ms >= a->limit_ms) {
        a->resend_ms = a->limit_ms = TIME_NEVER;
        return AUTHP_TIMED_OUT;
    }
    if (now_ms >= a->resend_ms)
        send_challenge(a, now_ms, out);
    return AUTHP_PENDING;
}
