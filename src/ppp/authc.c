#include "ppp/authc.h"

#include "auth/chap.h"
#include "auth/eap.h"
#include "auth/pap.h"
#include "auth/users.h"
#include "base/ct.h"

void authc_init(struct authc *a, const struct ppp_secret *secret, struct rng rng)
{
    *a = (struct authc){ .secret = secret, .rng = rng, .resend_ms = TIME_NEVER, .limit_ms = TIME_NEVER };
}

void authc_fini(struct authc *a)
{
    secret_wipe(a, sizeof *a);
}

static uint16_t wire_protocol(const struct authc *a)
{
    switch ((enum ppp_auth_method)a->method) {
    case PPP_AUTH_PAP: return PPP_PAP;
    case PPP_AUTH_CHAP_MD5:
    case PPP_AUTH_MSCHAPV2: return PPP_CHAP;
    case PPP_AUTH_EAP_MSCHAPV2: return PPP_EAP;
    case PPP_AUTH_NONE:
    case PPP_AUTH_METHODS: break;
    }
    return 0;
}

static struct wr frame_open(const struct authc *a, struct evq *out)
{
    struct wr w = evq_open(out, PPP_EV_SEND);
    wr_u16(&w, 0xff03);
    wr_u16(&w, wire_protocol(a));
    return w;
}

static struct wr answer_open(struct authc *a)
{
    return wr_make(a->last, sizeof a->last);
}

static void answer_repeat(const struct authc *a, struct evq *out)
{
    struct wr w = frame_open(a, out);
    wr_bytes(&w, a->last, a->last_len);
    evq_close(out, &w);
}

/* Keeps what was written to answer_open()'s memory, and sends it. A name that is within CHAP_NAME_MAX always fits. */
static int answer_send(struct authc *a, const struct wr *w, struct evq *out)
{
    if (!wr_ok(w))
        return ERR_BUG;
    a->last_len = (uint16_t)wr_len(w);
    answer_repeat(a, out);
    return 0;
}

/* The password and the name go straight to the queue, no copy is kept. */
static void pap_send(struct authc *a, uint64_t now_ms, struct evq *out)
{
    struct wr w = frame_open(a, out);
    a->id++; /* RFC 1334 2.2.1: changes with each request */
    pap_request_encode(&w, a->id, a->secret->user, strlen(a->secret->user), a->secret->password,
                       strlen(a->secret->password));
    evq_close(out, &w);
    a->resend_ms = now_ms + AUTHC_RESEND_MS;
}

void authc_start(struct authc *a, enum ppp_auth_method method, uint64_t now_ms, struct evq *out)
{
    authc_stop(a);
    a->method = (uint8_t)method;
    a->state = AUTHC_WAITING;
    a->steps = 0;
    a->error = 0;
    a->text[0] = '\0';
    a->limit_ms = now_ms + AUTHC_LIMIT_MS;
    if (method != PPP_AUTH_PAP)
        return;
    a->first_id = (uint8_t)(a->id + 1);
    if (strlen(a->secret->user) <= UINT8_MAX && strlen(a->secret->password) <= UINT8_MAX) {
        pap_send(a, now_ms, out);
    } else {
        a->unsuited = true; /* no request can be written: said at the deadline, which is now */
        a->limit_ms = now_ms;
    }
}

void authc_stop(struct authc *a)
{
    a->state = AUTHC_IDLE;
    a->passed = a->unsuited = false;
    a->last_len = 0;
    a->resend_ms = a->limit_ms = TIME_NEVER;
    secret_wipe(a->expected, sizeof a->expected);
    secret_wipe(a->hlak, sizeof a->hlak);
}

/* An end that is not a pass: nothing of the server is looked at any more until the next start. */
static enum authc_outcome give_up(struct authc *a, enum authc_outcome why)
{
    authc_stop(a);
    return why;
}

static enum authc_outcome refused(struct authc *a)
{
    if (a->error == 0)
        a->error = PPP_AUTH_FAILURE;
    return give_up(a, AUTHC_REFUSED);
}

/* Success without the proof, or with a wrong one; what it said against us does not count. */
static enum authc_outcome lied(struct authc *a)
{
    a->error = 0;
    a->text[0] = '\0';
    return give_up(a, AUTHC_LIED);
}

/* The server stays silent, or never comes to an end. */
static enum authc_outcome without_verdict(struct authc *a)
{
    if (a->error)
        return refused(a);
    return give_up(a, a->unsuited ? AUTHC_UNSUITED : AUTHC_TIMED_OUT);
}

/* What the server says against us, RFC 2759 6 or plain words. */
static void failure_keep(struct authc *a, struct rd message)
{
    struct chap_failure f = { .text = message };
    if (a->method == PPP_AUTH_PAP || a->method == PPP_AUTH_CHAP_MD5 || chap_mschapv2_failure_parse(message, &f) != 0 ||
        f.error == 0)
        f.error = PPP_AUTH_FAILURE;
    a->error = f.error;
    size_t n = rd_left(&f.text) < sizeof a->text - 1 ? rd_left(&f.text) : sizeof a->text - 1;
    if (n)
        memcpy(a->text, f.text.p, n);
    a->text[n] = '\0';
}

/* The owner must hold the HLAK before a packet of the next phase leaves: CALL_CONNECTED comes first. */
static void tell_owner(struct authc *a, struct evq *out)
{
    if (a->authed)
        return;
    a->authed = true;
    struct ppp_authed who = { .method = a->method };
    struct rd name = rd_make(a->secret->user, strlen(a->secret->user));
    who.name_len = (uint16_t)(rd_left(&name) < sizeof who.name ? rd_left(&name) : sizeof who.name);
    if (!rd_copy(&name, who.name, who.name_len))
        who.name_len = 0;
    memcpy(who.hlak, a->hlak, sizeof who.hlak);
    evq_put(out, PPP_EV_AUTHED, &who, sizeof who);
    secret_wipe(&who, sizeof who);
}

/* AUTHC_PASSED opens the network phase, which happens once a start; a reauthentication in it goes unnoticed. */
static enum authc_outcome pass(struct authc *a, struct evq *out)
{
    bool again = a->passed;
    tell_owner(a, out);
    secret_wipe(a->hlak, sizeof a->hlak);
    a->passed = true;
    a->state = AUTHC_OVER;
    a->error = 0;
    a->resend_ms = a->limit_ms = TIME_NEVER;
    return again ? AUTHC_PENDING : AUTHC_PASSED;
}

/* False when the server goes on without end. Once passed it may ask as often as it likes, and be late. */
static bool step(struct authc *a, uint64_t now_ms)
{
    if (a->passed)
        return true;
    a->limit_ms = now_ms + AUTHC_LIMIT_MS;
    return ++a->steps <= AUTHC_STEPS_MAX;
}

/* A Response to the challenge, the proof that is expected for it, and the keys. */
static int mschapv2_compute(struct authc *a, const uint8_t challenge[16], struct chap_mschapv2_response *r)
{
    struct mschapv2_keys keys = { 0 };
    uint8_t nt_hash[16], challenge8[8];
    const char *bare;
    size_t bare_len;
    mschapv2_bare_name(a->secret->user, strlen(a->secret->user), &bare, &bare_len);
    rng_fill(&a->rng, r->peer_challenge, sizeof r->peer_challenge);
    int rc = users_nt_hash(a->secret->password, strlen(a->secret->password), nt_hash);
    if (rc == 0)
        rc = mschapv2_challenge_hash(r->peer_challenge, challenge, bare, bare_len, challenge8);
    if (rc == 0)
        rc = mschapv2_nt_response(nt_hash, challenge8, r->nt_response);
    if (rc == 0)
        rc = mschapv2_auth_response(nt_hash, r->nt_response, challenge8, a->expected);
    if (rc == 0)
        rc = mschapv2_keys(nt_hash, r->nt_response, &keys);
    if (rc == 0)
        mschapv2_hlak(&keys, a->hlak);
    secret_wipe(&keys, sizeof keys);
    secret_wipe(nt_hash, sizeof nt_hash);
    secret_wipe(challenge8, sizeof challenge8);
    return rc;
}

/* RFC 2759 8.8. Servers are known to write the digits in either case: the bit that tells the two apart is left out. */
static bool proof_is_right(const struct authc *a, struct rd message)
{
    char got[MSCHAPV2_AUTH_RESPONSE_LEN], want[MSCHAPV2_AUTH_RESPONSE_LEN];
    struct rd text;
    if (chap_mschapv2_success_parse(message, got, &text) != 0)
        return false;
    for (size_t i = 0; i < sizeof got; i++) {
        got[i] &= ~0x20;
        want[i] = a->expected[i] & ~0x20;
    }
    bool right = ct_equal(got, want, sizeof got);
    secret_wipe(want, sizeof want);
    return right;
}

/* PAP: RFC 1334 2.2.2. An answer to any of the requests of this start counts. */
static void input_pap(struct authc *a, struct rd info, struct evq *out, enum authc_outcome *outcome)
{
    struct pap_pkt pkt;
    if (a->state != AUTHC_WAITING || pap_parse(info, &pkt) != 0 ||
        (uint8_t)(pkt.id - a->first_id) > (uint8_t)(a->id - a->first_id))
        return;
    if (pkt.code == PAP_ACK) {
        *outcome = pass(a, out);
    } else if (pkt.code == PAP_NAK) {
        failure_keep(a, pkt.message);
        *outcome = refused(a);
    }
}

static int chap_respond(struct authc *a, const struct chap_pkt *pkt, struct evq *out)
{
    struct chap_mschapv2_response r;
    uint8_t value[CHAP_MD5_VALUE_LEN];
    const char *user = a->secret->user;
    size_t user_len = strlen(user);
    struct wr w = answer_open(a);
    int rc;
    if (a->method == PPP_AUTH_CHAP_MD5) {
        rc = chap_md5_value(pkt->id, a->secret->password, strlen(a->secret->password), pkt->value.p,
                            rd_left(&pkt->value), value);
        if (rc == 0)
            chap_value_encode(&w, CHAP_RESPONSE, pkt->id, value, sizeof value, user, user_len);
    } else {
        rc = mschapv2_compute(a, pkt->value.p, &r);
        if (rc == 0)
            chap_mschapv2_response_encode(&w, pkt->id, &r, user, user_len);
    }
    return rc ? rc : answer_send(a, &w, out);
}

/*
 * RFC 1994 4.1: every Challenge is answered. The same one again gets the same Response: the server's Success may be
 * under way already, and its proof is for that one.
 */
static int chap_challenge(struct authc *a, const struct chap_pkt *pkt, struct evq *out)
{
    size_t n = rd_left(&pkt->value);
    if (a->last_len && pkt->id == a->id && n == a->challenge_len && memcmp(pkt->value.p, a->challenge, n) == 0) {
        answer_repeat(a, out);
        return 0;
    }
    a->id = pkt->id;
    a->challenge_len = (uint8_t)n;
    memcpy(a->challenge, pkt->value.p, n);
    a->state = AUTHC_ANSWERED;
    return chap_respond(a, pkt, out);
}

static void chap_success(struct authc *a, const struct chap_pkt *pkt, struct evq *out, enum authc_outcome *outcome)
{
    bool proves = a->method == PPP_AUTH_MSCHAPV2;
    bool awaited = a->state == AUTHC_ANSWERED && pkt->id == a->id;
    if (proves && (a->state == AUTHC_WAITING || (awaited && !proof_is_right(a, pkt->message))))
        *outcome = lied(a);
    else if (awaited)
        *outcome = pass(a, out);
}

static int input_chap(struct authc *a, struct rd info, uint64_t now_ms, struct evq *out, enum authc_outcome *outcome)
{
    struct chap_pkt pkt;
    if (chap_parse(info, a->method == PPP_AUTH_MSCHAPV2 ? CHAP_CHALLENGE_LEN : 0, &pkt) != 0)
        return 0;
    switch ((enum chap_code)pkt.code) {
    case CHAP_CHALLENGE:
        if (step(a, now_ms))
            return chap_challenge(a, &pkt, out);
        *outcome = without_verdict(a);
        break;
    case CHAP_SUCCESS: chap_success(a, &pkt, out, outcome); break;
    case CHAP_FAILURE: /* R=1 is not taken up: there is one password */
        if (a->state != AUTHC_ANSWERED || pkt.id != a->id)
            break;
        failure_keep(a, pkt.message);
        *outcome = refused(a);
        break;
    case CHAP_RESPONSE: break;
    }
    return 0;
}

static int eap_challenge(struct authc *a, uint8_t id, const struct eap_mschapv2 *m, struct evq *out,
                         enum authc_outcome *outcome)
{
    struct chap_mschapv2_response r;
    if (a->error) { /* after a Failure request: there is one password */
        *outcome = refused(a);
        return 0;
    }
    int rc = mschapv2_compute(a, m->value.p, &r);
    if (rc != 0)
        return rc;
    a->state = AUTHC_ANSWERED;
    a->unsuited = false;
    struct wr w = answer_open(a);
    eap_mschapv2_response_encode(&w, id, m->id, &r, a->secret->user, strlen(a->secret->user));
    return answer_send(a, &w, out);
}

static int eap_mschapv2(struct authc *a, const struct eap_pkt *pkt, struct evq *out, enum authc_outcome *outcome)
{
    struct eap_mschapv2 m;
    if (eap_mschapv2_parse(pkt->data, &m) != 0)
        return 0;
    struct wr w;
    switch ((enum eap_mschapv2_op)m.op) {
    case EAP_MSCHAPV2_CHALLENGE: return eap_challenge(a, pkt->id, &m, out, outcome);
    case EAP_MSCHAPV2_SUCCESS:
        if (a->state == AUTHC_WAITING || !proof_is_right(a, m.message)) {
            *outcome = lied(a);
            return 0;
        }
        if (a->state == AUTHC_ANSWERED)
            a->state = AUTHC_PROVED;
        w = answer_open(a);
        eap_mschapv2_ack_encode(&w, pkt->id, EAP_MSCHAPV2_SUCCESS);
        return answer_send(a, &w, out);
    case EAP_MSCHAPV2_FAILURE: /* EAP-Failure follows, or the link's end */
        a->state = AUTHC_WAITING;
        failure_keep(a, m.message);
        w = answer_open(a);
        eap_mschapv2_ack_encode(&w, pkt->id, EAP_MSCHAPV2_FAILURE);
        return answer_send(a, &w, out);
    case EAP_MSCHAPV2_RESPONSE:
    case EAP_MSCHAPV2_CHANGE_PASSWORD: break; /* a client's */
    }
    return 0;
}

/* A Response whose Type-Data is known beforehand. */
static int eap_respond(struct authc *a, uint8_t id, uint8_t type, const void *data, size_t len, struct evq *out)
{
    struct wr w = answer_open(a);
    eap_encode(&w, EAP_RESPONSE, id, type, data, len);
    return answer_send(a, &w, out);
}

/* RFC 3748 5 */
static int eap_request(struct authc *a, const struct eap_pkt *pkt, struct evq *out, enum authc_outcome *outcome)
{
    static const uint8_t wanted = EAP_TYPE_MSCHAPV2;
    switch (pkt->type) {
    case EAP_TYPE_IDENTITY:
        return eap_respond(a, pkt->id, EAP_TYPE_IDENTITY, a->secret->user, strlen(a->secret->user), out);
    case EAP_TYPE_NOTIFICATION: return eap_respond(a, pkt->id, EAP_TYPE_NOTIFICATION, NULL, 0, out);
    case 0:
    case EAP_TYPE_NAK: return 0; /* not of a Request */
    case EAP_TYPE_MSCHAPV2: return eap_mschapv2(a, pkt, out, outcome);
    default: break; /* a wire value, not our enum */
    }
    a->unsuited = true;
    return eap_respond(a, pkt->id, EAP_TYPE_NAK, &wanted, 1, out);
}

static uint8_t first_octet(const struct eap_pkt *pkt)
{
    uint8_t octet;
    return rd_peek_u8(&pkt->data, &octet) ? octet : 0;
}

/* The Request that was answered last, sent again: RFC 3748 4.1. The first octet tells the steps of a method apart. */
static bool eap_is_repeated(const struct authc *a, const struct eap_pkt *pkt)
{
    return a->last_len && pkt->id == a->id && pkt->type == a->last_type && first_octet(pkt) == a->last_first;
}

static int eap_request_new(struct authc *a, const struct eap_pkt *pkt, struct evq *out, enum authc_outcome *outcome)
{
    a->last_len = 0; /* until it is answered */
    a->id = pkt->id;
    a->last_type = pkt->type;
    a->last_first = first_octet(pkt);
    return eap_request(a, pkt, out, outcome);
}

/* Identifiers of Success and Failure are not judged: servers disagree on them, and neither is believed alone. */
static void eap_success(struct authc *a, struct evq *out, enum authc_outcome *outcome)
{
    switch ((enum authc_state)a->state) {
    case AUTHC_WAITING:
    case AUTHC_ANSWERED: *outcome = lied(a); break;
    case AUTHC_PROVED: *outcome = pass(a, out); break;
    case AUTHC_IDLE:
    case AUTHC_OVER: break;
    }
}

static void eap_failure(struct authc *a, enum authc_outcome *outcome)
{
    if (a->state == AUTHC_OVER)
        return; /* RFC 3748 4.2: success is final */
    *outcome = a->unsuited && !a->error ? give_up(a, AUTHC_UNSUITED) : refused(a);
}

static int input_eap(struct authc *a, struct rd info, uint64_t now_ms, struct evq *out, enum authc_outcome *outcome)
{
    struct eap_pkt pkt;
    if (eap_parse(info, &pkt) != 0)
        return 0;
    switch ((enum eap_code)pkt.code) {
    case EAP_REQUEST:
        if (!step(a, now_ms)) {
            *outcome = without_verdict(a);
            break;
        }
        if (!eap_is_repeated(a, &pkt))
            return eap_request_new(a, &pkt, out, outcome);
        answer_repeat(a, out);
        break;
    case EAP_SUCCESS: eap_success(a, out, outcome); break;
    case EAP_FAILURE: eap_failure(a, outcome); break;
    case EAP_RESPONSE: break;
    }
    return 0;
}

int authc_input(struct authc *a, uint16_t protocol, struct rd info, uint64_t now_ms, struct evq *out,
                enum authc_outcome *outcome)
{
    *outcome = AUTHC_PENDING;
    if (a->state == AUTHC_IDLE || protocol != wire_protocol(a))
        return 0;
    if (strlen(a->secret->user) > CHAP_NAME_MAX)
        return ERR_USAGE;
    if (protocol == PPP_CHAP)
        return input_chap(a, info, now_ms, out, outcome);
    if (protocol == PPP_EAP)
        return input_eap(a, info, now_ms, out, outcome);
    input_pap(a, info, out, outcome);
    return 0;
}

uint64_t authc_deadline(const struct authc *a)
{
    return a->resend_ms < a->limit_ms ? a->resend_ms : a->limit_ms;
}

enum authc_outcome authc_expire(struct authc *a, uint64_t now_ms, struct evq *out)
{
    if (now_ms >= a->limit_ms)
        return without_verdict(a);
    if (now_ms >= a->resend_ms)
        pap_send(a, now_ms, out);
    return AUTHC_PENDING;
}
