#include "sstp/server.h"

#include <stdlib.h>

#include "base/ct.h"
#include "base/timerq.h"

/* MS-SSTP 3.1.2.1, 3.1.2.2 */
#define ABORT_STATE_TIMER_1_MS      3000
#define ABORT_STATE_TIMER_2_MS      1000
#define DISCONNECT_STATE_TIMER_1_MS 5000
#define DISCONNECT_STATE_TIMER_2_MS 1000

const struct sstp_server_cfg sstp_server_cfg_default = {
    .hash_mask = SSTP_HASH_SHA1 | SSTP_HASH_SHA256,
    .negotiation_ms = 60000,
    .echo_idle_ms = 25000,
    .echo_wait_ms = 60000,
    .naks_max = 3,
};

static const char *const state_names[SSTP_SERVER_STATES] = {
    [SSTP_SERVER_CALL_DISCONNECTED] = "Server_Call_Disconnected",
    [SSTP_SERVER_CONNECT_REQUEST_PENDING] = "Server_Connect_Request_Pending",
    [SSTP_SERVER_CALL_CONNECTED_PENDING] = "Server_Call_Connected_Pending",
    [SSTP_SERVER_CALL_CONNECTED] = "Server_Call_Connected",
    [SSTP_SERVER_CALL_ABORT_PENDING] = "Call_Abort_Pending",
    [SSTP_SERVER_CALL_ABORT_TIMEOUT_PENDING] = "Call_Abort_Timeout_Pending",
    [SSTP_SERVER_CALL_DISCONNECT_ACK_PENDING] = "Call_Disconnect_Ack_Pending",
    [SSTP_SERVER_CALL_DISCONNECT_TIMEOUT_PENDING] = "Call_Disconnect_Timeout_Pending",
};

const char *sstp_server_state_name(enum sstp_server_state state)
{
    return (unsigned)state < SSTP_SERVER_STATES ? state_names[state] : "unknown";
}

/* Every transition passes here: a state always comes with the timer that ends it. */
static void set_state(struct sstp_server *s, const char *event, enum sstp_server_state next, uint64_t deadline_ms)
{
    log_debug(s->log, "sstp-state", "call changes state", LOG_S("from", sstp_server_state_name(s->state)),
              LOG_S("on", event), LOG_S("to", sstp_server_state_name(next)));
    s->state = next;
    s->deadline_ms = deadline_ms;
}

static void send_bare(struct evq *out, enum sstp_type type)
{
    struct wr w = evq_open(out, SSTP_EV_SEND);
    sstp_bare_encode(&w, type);
    evq_close(out, &w);
}

static void send_status(struct evq *out, enum sstp_type type, uint8_t attrib, uint32_t status)
{
    struct wr w = evq_open(out, SSTP_EV_SEND);
    sstp_status_encode(&w, type, attrib, status);
    evq_close(out, &w);
}

static void drop_secrets(struct sstp_server *s)
{
    secret_wipe(s->hlak, sizeof s->hlak);
    secret_free(s->held_cc, SSTP_CC_LEN);
    s->held_cc = NULL;
}

/* Call before leaving the state in which it happened. Only the first reason counts: a teardown may cross another. */
static void ending(struct sstp_server *s, struct sstp_ended why, struct evq *out)
{
    if (s->ended)
        return;
    s->ended = true;
    drop_secrets(s);
    why.state = (uint8_t)s->state;
    evq_put(out, SSTP_EV_ENDING, &why, sizeof why);
}

static void finish(struct sstp_server *s, const char *event, struct evq *out)
{
    set_state(s, event, SSTP_SERVER_CALL_DISCONNECTED, TIME_NEVER);
    evq_put(out, SSTP_EV_CLOSE, NULL, 0);
}

/* The ABORT procedure, 3.1.5.1: Call_Abort_In_Progress_1 and on. */
static int abort_call(struct sstp_server *s, const char *event, struct sstp_ended why, uint64_t now_ms, struct evq *out)
{
    send_status(out, SSTP_CALL_ABORT, why.attrib, why.status);
    ending(s, why, out);
    set_state(s, event, SSTP_SERVER_CALL_ABORT_PENDING, now_ms + ABORT_STATE_TIMER_1_MS);
    return 0;
}

static int abort_status(struct sstp_server *s, const char *event, enum sstp_status status, uint64_t now_ms,
                        struct evq *out)
{
    struct sstp_ended why = { .cause = SSTP_END_ABORT, .attrib = SSTP_ATTR_STATUS_INFO, .status = status };
    return abort_call(s, event, why, now_ms, out);
}

static int abort_binding(struct sstp_server *s, const struct sstp_binding_verdict *v, uint64_t now_ms, struct evq *out)
{
    struct sstp_ended why = { .cause = SSTP_END_BINDING,
                              .attrib = SSTP_ATTR_CRYPTO_BINDING,
                              .status = SSTP_STATUS_VALUE_NOT_SUPPORTED,
                              .binding = (uint8_t)v->fault,
                              .hash_protocol = v->hash_protocol };
    if (v->fault == SSTP_BINDING_MISSING) {
        why.attrib = SSTP_ATTR_STATUS_INFO;
        why.status = SSTP_STATUS_ATTRIB_NOT_SUPPORTED_IN_MSG;
    }
    if (v->fault == SSTP_BINDING_CERT)
        memcpy(why.cert_hash_seen, v->cert_hash, sizeof why.cert_hash_seen);
    return abort_call(s, "CALL_CONNECTED refused", why, now_ms, out);
}

/* ---- messages: what 3.3.5.2 says for each ---- */

static int on_invalid(struct sstp_server *s, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    (void)m;
    return abort_status(s, "invalid message", SSTP_STATUS_INVALID_FRAME_RECEIVED, now_ms, out);
}

static int on_unexpected(struct sstp_server *s, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    return abort_status(s, sstp_type_name((uint16_t)m->type), SSTP_STATUS_UNACCEPTED_FRAME_RECEIVED, now_ms, out);
}

static int refuse_request(struct sstp_server *s, const struct sstp_status_info *faults, size_t n, uint64_t now_ms,
                          struct evq *out)
{
    if (s->naks >= s->cfg->naks_max)
        return abort_status(s, "CALL_CONNECT_REQUEST once too often", SSTP_STATUS_RETRY_COUNT_EXCEEDED, now_ms, out);
    s->naks++; /* the negotiation timer runs on: a client cannot live on faulty requests */
    struct wr w = evq_open(out, SSTP_EV_SEND);
    sstp_nak_encode(&w, faults, n);
    evq_close(out, &w);
    return 0;
}

static int on_request(struct sstp_server *s, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    struct sstp_status_info faults[SSTP_CCR_FAULTS_MAX];
    size_t n = sstp_ccr_faults(m, faults, SSTP_CCR_FAULTS_MAX);
    if (n)
        return refuse_request(s, faults, n, now_ms, out);
    s->offered = s->cfg->hash_mask;
    for (size_t i = 0; i < s->n_certs; i++)
        s->offered &= s->certs[i].known;
    /* Nothing in common: something must be offered, and the binding will fail with words. */
    if (!s->offered)
        s->offered = s->cfg->hash_mask;
    struct sstp_ack ack = { .hash_mask = s->offered };
    rng_fill(&s->rng, s->nonce, sizeof s->nonce);
    memcpy(ack.nonce, s->nonce, sizeof ack.nonce);
    struct wr w = evq_open(out, SSTP_EV_SEND);
    sstp_ack_encode(&w, &ack);
    evq_close(out, &w);
    evq_put(out, SSTP_EV_PPP_START, NULL, 0);
    set_state(s, "CALL_CONNECT_REQUEST", SSTP_SERVER_CALL_CONNECTED_PENDING, now_ms + s->cfg->negotiation_ms);
    return 0;
}

/* The checks of 3.3.5.2.3 on a well-shaped packet, once authentication has ended. */
static int judge_connected(struct sstp_server *s, const uint8_t cc[SSTP_CC_LEN], uint64_t now_ms, struct evq *out)
{
    const struct sstp_binding want = { s->offered, s->nonce, s->certs, s->n_certs, s->hlak };
    struct sstp_binding_verdict verdict;
    int err = sstp_binding_check(&want, cc, &verdict);
    if (err)
        return err;
    drop_secrets(s); /* used once, whatever the verdict */
    if (verdict.fault != SSTP_BINDING_OK)
        return abort_binding(s, &verdict, now_ms, out);
    set_state(s, "CALL_CONNECTED", SSTP_SERVER_CALL_CONNECTED, now_ms + s->cfg->echo_idle_ms);
    evq_put(out, SSTP_EV_UP, NULL, 0);
    return 0;
}

static int on_connected(struct sstp_server *s, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    if (s->held_cc)
        return on_unexpected(s, m, now_ms, out);
    if (!sstp_cc_shaped(m)) {
        struct sstp_binding_verdict missing = { .fault = SSTP_BINDING_MISSING };
        return abort_binding(s, &missing, now_ms, out);
    }
    uint8_t cc[SSTP_CC_LEN];
    struct rd whole = m->whole;
    if (!rd_copy(&whole, cc, sizeof cc))
        return ERR_BUG;
    if (s->authenticated)
        return judge_connected(s, cc, now_ms, out);
    /* Checked now it would be checked against a key that anybody knows: all zero. */
    s->held_cc = malloc(SSTP_CC_LEN);
    if (!s->held_cc)
        return ERR_NOMEM;
    memcpy(s->held_cc, cc, sizeof cc);
    log_debug(s->log, "sstp-held", "CALL_CONNECTED waits for the end of authentication");
    return 0;
}

static int on_echo_request(struct sstp_server *s, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    (void)s, (void)m, (void)now_ms;
    send_bare(out, SSTP_ECHO_RESPONSE);
    return 0;
}

static int on_echo_response(struct sstp_server *s, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    (void)s, (void)m, (void)now_ms, (void)out; /* any packet restarts the hello timer; there is no more to it */
    return 0;
}

/* While a CALL_CONNECTED is held the client believes to be connected: as in that state. */
static int on_early_echo_request(struct sstp_server *s, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    return (s->held_cc ? on_echo_request : on_unexpected)(s, m, now_ms, out);
}

static int on_early_echo_response(struct sstp_server *s, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    return (s->held_cc ? on_echo_response : on_unexpected)(s, m, now_ms, out);
}

/* What the peer said about its end; silent about a body that cannot be read. */
static struct sstp_ended peer_reason(enum sstp_end_cause cause, const struct sstp_msg *m)
{
    struct sstp_status_info info = { 0 };
    if (!sstp_msg_status(m, &info))
        info.status = SSTP_STATUS_NO_ERROR;
    return (struct sstp_ended){ .cause = (uint8_t)cause, .attrib = info.attrib, .status = info.status };
}

static int on_abort(struct sstp_server *s, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    send_status(out, SSTP_CALL_ABORT, SSTP_ATTR_NO_ERROR, SSTP_STATUS_NO_ERROR);
    ending(s, peer_reason(SSTP_END_PEER_ABORT, m), out);
    set_state(s, "CALL_ABORT", SSTP_SERVER_CALL_ABORT_TIMEOUT_PENDING, now_ms + ABORT_STATE_TIMER_2_MS);
    return 0;
}

static int on_abort_answer(struct sstp_server *s, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    (void)m, (void)out;
    set_state(s, "CALL_ABORT", SSTP_SERVER_CALL_ABORT_TIMEOUT_PENDING, now_ms + ABORT_STATE_TIMER_2_MS);
    return 0;
}

static int on_disconnect(struct sstp_server *s, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    send_bare(out, SSTP_CALL_DISCONNECT_ACK);
    ending(s, peer_reason(SSTP_END_PEER_DISCONNECT, m), out);
    set_state(s, "CALL_DISCONNECT", SSTP_SERVER_CALL_DISCONNECT_TIMEOUT_PENDING, now_ms + DISCONNECT_STATE_TIMER_2_MS);
    return 0;
}

static int on_disconnect_ack(struct sstp_server *s, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    (void)m, (void)now_ms;
    finish(s, "CALL_DISCONNECT_ACK", out);
    return 0;
}

/* ---- the receive matrix of 3.3.5.2 ---- */

typedef int handler(struct sstp_server *s, const struct sstp_msg *m, uint64_t now_ms, struct evq *out);

#define INVALID_MESSAGE 0 /* the row of what sstp_msg_parse() refused */
#define ignored         NULL

/* Columns in the order of enum sstp_server_state: Server_Call_Disconnected, the three states of a call, then
 * Call_Abort_Pending, Call_Abort_Timeout_Pending, Call_Disconnect_Ack_Pending, Call_Disconnect_Timeout_Pending. */
static handler *const matrix[SSTP_TYPES][SSTP_SERVER_STATES] = {
    [INVALID_MESSAGE] = { ignored, on_invalid, on_invalid, on_invalid, ignored, ignored, ignored, ignored },
    [SSTP_CALL_CONNECT_REQUEST] = { ignored, on_request, on_unexpected, on_unexpected, ignored, ignored, ignored,
                                    ignored },
    [SSTP_CALL_CONNECT_ACK] = { ignored, on_unexpected, on_unexpected, on_unexpected, ignored, ignored, ignored,
                                ignored },
    [SSTP_CALL_CONNECT_NAK] = { ignored, on_unexpected, on_unexpected, on_unexpected, ignored, ignored, ignored,
                                ignored },
    [SSTP_CALL_CONNECTED] = { ignored, on_unexpected, on_connected, on_unexpected, ignored, ignored, ignored, ignored },
    [SSTP_CALL_ABORT] = { ignored, on_abort, on_abort, on_abort, on_abort_answer, ignored, on_abort, ignored },
    [SSTP_CALL_DISCONNECT] = { ignored, on_disconnect, on_disconnect, on_disconnect, ignored, ignored, on_disconnect,
                               ignored },
    [SSTP_CALL_DISCONNECT_ACK] = { ignored, on_unexpected, on_unexpected, on_unexpected, ignored, ignored,
                                   on_disconnect_ack, ignored },
    [SSTP_ECHO_REQUEST] = { ignored, on_unexpected, on_early_echo_request, on_echo_request, ignored, ignored, ignored,
                            ignored },
    [SSTP_ECHO_RESPONSE] = { ignored, on_unexpected, on_early_echo_response, on_echo_response, ignored, ignored,
                             ignored, ignored },
};

int sstp_server_control(struct sstp_server *s, struct rd pkt, uint64_t now_ms, struct evq *out)
{
    struct sstp_msg msg = { 0 };
    unsigned row = sstp_msg_parse(pkt, &msg) ? INVALID_MESSAGE : (unsigned)msg.type;
    sstp_server_alive(s, now_ms);
    handler *handle = matrix[row][s->state];
    return handle ? handle(s, &msg, now_ms, out) : 0;
}

/* ---- the owner's side ---- */

void sstp_server_init(struct sstp_server *s, const struct sstp_server_cfg *cfg, const struct sstp_cert_hashes *certs,
                      size_t n_certs, struct rng rng, uint64_t now_ms)
{
    *s = (struct sstp_server){ .cfg = cfg, .certs = certs, .n_certs = n_certs, .rng = rng };
    set_state(s, "HTTPS accepted", SSTP_SERVER_CONNECT_REQUEST_PENDING, now_ms + cfg->negotiation_ms);
}

void sstp_server_fini(struct sstp_server *s)
{
    drop_secrets(s);
    secret_wipe(s, sizeof *s);
}

int sstp_server_authenticated(struct sstp_server *s, const uint8_t hlak[SSTP_HLAK_LEN], uint64_t now_ms,
                              struct evq *out)
{
    if (s->authenticated || s->state != SSTP_SERVER_CALL_CONNECTED_PENDING)
        return 0;
    s->authenticated = true;
    memcpy(s->hlak, hlak, sizeof s->hlak);
    if (!s->held_cc)
        return 0;
    uint8_t cc[SSTP_CC_LEN];
    memcpy(cc, s->held_cc, sizeof cc);
    return judge_connected(s, cc, now_ms, out);
}

int sstp_server_disconnect(struct sstp_server *s, uint64_t now_ms, struct evq *out)
{
    if (s->ended || s->state == SSTP_SERVER_CALL_DISCONNECTED)
        return 0;
    send_status(out, SSTP_CALL_DISCONNECT, SSTP_ATTR_NO_ERROR, SSTP_STATUS_NO_ERROR);
    ending(s, (struct sstp_ended){ .cause = SSTP_END_OUR_DISCONNECT }, out);
    set_state(s, "disconnect", SSTP_SERVER_CALL_DISCONNECT_ACK_PENDING, now_ms + DISCONNECT_STATE_TIMER_1_MS);
    return 0;
}

uint64_t sstp_server_deadline(const struct sstp_server *s)
{
    return s->state == SSTP_SERVER_CALL_DISCONNECTED ? TIME_NEVER : s->deadline_ms;
}

/* 3.1.6.3: one more interval after the question, then the call is dropped, without an ABORT (3.1.2.3). */
static void hello_expired(struct sstp_server *s, uint64_t now_ms, struct evq *out)
{
    if (!s->echo_sent) {
        s->echo_sent = true;
        s->deadline_ms = now_ms + s->cfg->echo_wait_ms;
        send_bare(out, SSTP_ECHO_REQUEST);
        return;
    }
    ending(s, (struct sstp_ended){ .cause = SSTP_END_HELLO_TIMEOUT }, out);
    finish(s, "hello timeout", out);
}

int sstp_server_expire(struct sstp_server *s, uint64_t now_ms, struct evq *out)
{
    struct sstp_ended timeout = { .cause = SSTP_END_NEGOTIATION_TIMEOUT };
    if (now_ms < sstp_server_deadline(s))
        return 0;
    switch (s->state) {
    case SSTP_SERVER_CALL_DISCONNECTED:
    case SSTP_SERVER_STATES: break;
    case SSTP_SERVER_CONNECT_REQUEST_PENDING: /* 3.3.2.1 and figure 5: a plain failure */
        ending(s, timeout, out);
        finish(s, "negotiation timeout", out);
        break;
    case SSTP_SERVER_CALL_CONNECTED_PENDING:
        timeout.attrib = SSTP_ATTR_STATUS_INFO;
        timeout.status = SSTP_STATUS_NEGOTIATION_TIMEOUT;
        return abort_call(s, "negotiation timeout", timeout, now_ms, out);
    case SSTP_SERVER_CALL_CONNECTED: hello_expired(s, now_ms, out); break;
    case SSTP_SERVER_CALL_ABORT_PENDING:
    case SSTP_SERVER_CALL_ABORT_TIMEOUT_PENDING:
    case SSTP_SERVER_CALL_DISCONNECT_ACK_PENDING:
    case SSTP_SERVER_CALL_DISCONNECT_TIMEOUT_PENDING: finish(s, "timer", out); break;
    }
    return 0;
}
