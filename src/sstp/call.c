#include "sstp/call.h"

/* MS-SSTP 3.1.2.1, 3.1.2.2 */
#define ABORT_STATE_TIMER_1_MS      3000
#define ABORT_STATE_TIMER_2_MS      1000
#define DISCONNECT_STATE_TIMER_1_MS 5000
#define DISCONNECT_STATE_TIMER_2_MS 1000

#define INVALID_MESSAGE 0 /* the row of what sstp_msg_parse() refused */
#define ignored         NULL

void sstp_call_set_state(struct sstp_call *c, const char *event, enum sstp_state next, uint64_t deadline_ms)
{
    log_debug(c->log, "sstp-state", "call changes state", LOG_S("from", c->role->names[c->state]), LOG_S("on", event),
              LOG_S("to", c->role->names[next]));
    c->state = next;
    c->deadline_ms = deadline_ms;
}

void sstp_send_bare(struct evq *out, enum sstp_type type)
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

/* Call before leaving the state in which it happened. Only the first reason counts: a teardown may cross another. */
static void ending(struct sstp_call *c, struct sstp_ended why, struct evq *out)
{
    if (c->ended)
        return;
    c->ended = true;
    if (c->role->forget)
        c->role->forget(c);
    why.state = (uint8_t)c->state;
    evq_put(out, SSTP_EV_ENDING, &why, sizeof why);
}

static void finish(struct sstp_call *c, const char *event, struct evq *out)
{
    sstp_call_set_state(c, event, SSTP_STATE_DISCONNECTED, TIME_NEVER);
    evq_put(out, SSTP_EV_CLOSE, NULL, 0);
}

/* Call_Abort_In_Progress_1 and on. */
int sstp_call_abort(struct sstp_call *c, const char *event, struct sstp_ended why, uint64_t now_ms, struct evq *out)
{
    send_status(out, SSTP_CALL_ABORT, why.attrib, why.status);
    ending(c, why, out);
    sstp_call_set_state(c, event, SSTP_STATE_ABORT_PENDING, now_ms + ABORT_STATE_TIMER_1_MS);
    return 0;
}

int sstp_call_abort_status(struct sstp_call *c, const char *event, enum sstp_end_cause cause, enum sstp_status status,
                           uint64_t now_ms, struct evq *out)
{
    struct sstp_ended why = { .cause = (uint8_t)cause, .attrib = SSTP_ATTR_STATUS_INFO, .status = status };
    return sstp_call_abort(c, event, why, now_ms, out);
}

void sstp_call_drop(struct sstp_call *c, const char *event, enum sstp_end_cause cause, struct evq *out)
{
    ending(c, (struct sstp_ended){ .cause = (uint8_t)cause }, out);
    finish(c, event, out);
}

/* ---- messages ---- */

int sstp_on_invalid(struct sstp_call *c, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    (void)m;
    return sstp_call_abort_status(c, "invalid message", SSTP_END_ABORT, SSTP_STATUS_INVALID_FRAME_RECEIVED, now_ms,
                                  out);
}

int sstp_on_unexpected(struct sstp_call *c, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    return sstp_call_abort_status(c, sstp_type_name((uint16_t)m->type), SSTP_END_ABORT,
                                  SSTP_STATUS_UNACCEPTED_FRAME_RECEIVED, now_ms, out);
}

int sstp_on_echo_request(struct sstp_call *c, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    (void)c, (void)m, (void)now_ms;
    sstp_send_bare(out, SSTP_ECHO_RESPONSE);
    return 0;
}

int sstp_on_echo_response(struct sstp_call *c, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    (void)c, (void)m, (void)now_ms, (void)out; /* any packet restarts the hello timer; there is no more to it */
    return 0;
}

/* What the peer said about its end; silent about a body that cannot be read. */
static struct sstp_ended peer_reason(enum sstp_end_cause cause, const struct sstp_msg *m)
{
    struct sstp_status_info info = { 0 };
    if (!sstp_msg_status(m, &info))
        info.status = SSTP_STATUS_NO_ERROR;
    return (struct sstp_ended){ .cause = (uint8_t)cause, .attrib = info.attrib, .status = info.status };
}

int sstp_on_abort(struct sstp_call *c, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    send_status(out, SSTP_CALL_ABORT, SSTP_ATTR_NO_ERROR, SSTP_STATUS_NO_ERROR);
    ending(c, peer_reason(SSTP_END_PEER_ABORT, m), out);
    sstp_call_set_state(c, "CALL_ABORT", SSTP_STATE_ABORT_TIMEOUT_PENDING, now_ms + ABORT_STATE_TIMER_2_MS);
    return 0;
}

static int on_abort_answer(struct sstp_call *c, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    (void)m, (void)out;
    sstp_call_set_state(c, "CALL_ABORT", SSTP_STATE_ABORT_TIMEOUT_PENDING, now_ms + ABORT_STATE_TIMER_2_MS);
    return 0;
}

int sstp_on_disconnect(struct sstp_call *c, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    sstp_send_bare(out, SSTP_CALL_DISCONNECT_ACK);
    ending(c, peer_reason(SSTP_END_PEER_DISCONNECT, m), out);
    sstp_call_set_state(c, "CALL_DISCONNECT", SSTP_STATE_DISCONNECT_TIMEOUT_PENDING,
                        now_ms + DISCONNECT_STATE_TIMER_2_MS);
    return 0;
}

static int on_disconnect_ack(struct sstp_call *c, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    (void)m, (void)now_ms;
    finish(c, "CALL_DISCONNECT_ACK", out);
    return 0;
}

/*
 * The receive matrix from Call_Abort_Pending on; what has no row is ignored there. Columns: Call_Abort_Pending,
 * Call_Abort_Timeout_Pending, Call_Disconnect_Ack_Pending, Call_Disconnect_Timeout_Pending.
 */
static sstp_handler *const teardown[SSTP_TYPES][SSTP_STATES - SSTP_STATE_ABORT_PENDING] = {
    [SSTP_CALL_ABORT] = { on_abort_answer, ignored, sstp_on_abort, ignored },
    [SSTP_CALL_DISCONNECT] = { ignored, ignored, sstp_on_disconnect, ignored },
    [SSTP_CALL_DISCONNECT_ACK] = { ignored, ignored, on_disconnect_ack, ignored },
};

static sstp_handler *cell(const struct sstp_call *c, unsigned row)
{
    if (c->state == SSTP_STATE_DISCONNECTED)
        return ignored;
    if (c->state < SSTP_STATE_ABORT_PENDING)
        return c->role->matrix[row][c->state - SSTP_STATE_REQUEST];
    return teardown[row][c->state - SSTP_STATE_ABORT_PENDING];
}

int sstp_call_control(struct sstp_call *c, struct rd pkt, uint64_t now_ms, struct evq *out)
{
    struct sstp_msg msg = { 0 };
    unsigned row = sstp_msg_parse(pkt, &msg) ? INVALID_MESSAGE : (unsigned)msg.type;
    sstp_call_alive(c, now_ms);
    sstp_handler *handle = cell(c, row);
    return handle ? handle(c, &msg, now_ms, out) : 0;
}

/* ---- the owner's side ---- */

int sstp_call_disconnect(struct sstp_call *c, uint64_t now_ms, struct evq *out)
{
    if (c->ended || c->state == SSTP_STATE_DISCONNECTED)
        return 0;
    send_status(out, SSTP_CALL_DISCONNECT, SSTP_ATTR_NO_ERROR, SSTP_STATUS_NO_ERROR);
    ending(c, (struct sstp_ended){ .cause = SSTP_END_OUR_DISCONNECT }, out);
    sstp_call_set_state(c, "disconnect", SSTP_STATE_DISCONNECT_ACK_PENDING, now_ms + DISCONNECT_STATE_TIMER_1_MS);
    return 0;
}

uint64_t sstp_call_deadline(const struct sstp_call *c)
{
    return c->state == SSTP_STATE_DISCONNECTED ? TIME_NEVER : c->deadline_ms;
}

/* 3.1.6.3: one more interval after the question, then the call is dropped, without an ABORT (3.1.2.3). */
static void hello_expired(struct sstp_call *c, uint64_t now_ms, struct evq *out)
{
    if (c->echo_sent) {
        sstp_call_drop(c, "hello timeout", SSTP_END_HELLO_TIMEOUT, out);
        return;
    }
    c->echo_sent = true;
    c->deadline_ms = now_ms + c->echo_wait_ms;
    sstp_send_bare(out, SSTP_ECHO_REQUEST);
}

int sstp_call_expire(struct sstp_call *c, uint64_t now_ms, struct evq *out)
{
    if (now_ms < sstp_call_deadline(c))
        return 0;
    switch ((enum sstp_state)c->state) {
    case SSTP_STATE_DISCONNECTED:
    case SSTP_STATES: break;
    case SSTP_STATE_REQUEST:
    case SSTP_STATE_NEGOTIATES: return c->role->overdue(c, now_ms, out);
    case SSTP_STATE_CONNECTED: hello_expired(c, now_ms, out); break;
    case SSTP_STATE_ABORT_PENDING:
    case SSTP_STATE_ABORT_TIMEOUT_PENDING:
    case SSTP_STATE_DISCONNECT_ACK_PENDING:
    case SSTP_STATE_DISCONNECT_TIMEOUT_PENDING: finish(c, "timer", out); break;
    }
    return 0;
}
