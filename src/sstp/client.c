#include "sstp/client.h"

#include "base/ct.h"

const struct sstp_client_cfg sstp_client_cfg_default = {
    .hash_mask = SSTP_HASH_SHA1 | SSTP_HASH_SHA256,
    .negotiation_ms = 60000,
    .echo_idle_ms = 20000,
    .echo_wait_ms = 20000,
    .retries_max = 3,
};

static struct sstp_client *client_of(struct sstp_call *c)
{
    return (struct sstp_client *)c; /* its first member */
}

static void send_request(struct sstp_client *s, const char *event, uint64_t now_ms, struct evq *out)
{
    struct wr w = evq_open(out, SSTP_EV_SEND);
    sstp_ccr_encode(&w, SSTP_PROTOCOL_PPP);
    evq_close(out, &w);
    sstp_call_set_state(&s->call, event, SSTP_STATE_REQUEST, now_ms + s->cfg->negotiation_ms);
}

/* ---- messages: what 3.2.5.3 says for each ---- */

static int on_ack(struct sstp_call *c, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    struct sstp_client *s = client_of(c);
    struct sstp_ack ack = { 0 };
    int err = sstp_ack_parse(m, &ack);
    uint8_t common = (uint8_t)(ack.hash_mask & s->cfg->hash_mask & s->leaf->known);
    if (err || !common) {
        struct sstp_ended why = { .cause = SSTP_END_ABORT,
                                  .attrib = SSTP_ATTR_CRYPTO_BINDING_REQ,
                                  .status = SSTP_STATUS_VALUE_NOT_SUPPORTED };
        return sstp_call_abort(c, err ? "CALL_CONNECT_ACK refused" : "no common hash", why, now_ms, out);
    }
    s->offered = ack.hash_mask;
    s->hash = common & SSTP_HASH_SHA256 ? SSTP_HASH_SHA256 : SSTP_HASH_SHA1; /* 3.2.5.3.2 */
    memcpy(s->nonce, ack.nonce, sizeof s->nonce);
    evq_put(out, SSTP_EV_PPP_START, NULL, 0);
    sstp_call_set_state(c, "CALL_CONNECT_ACK", SSTP_STATE_NEGOTIATES, now_ms + s->cfg->negotiation_ms);
    return 0;
}

/* The request never changes, so only the server can: one that refused for want of something may have it now. */
static int on_nak(struct sstp_call *c, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    struct sstp_client *s = client_of(c);
    s->nak = (struct sstp_status_info){ 0 };
    if (sstp_msg_status(m, &s->nak))
        s->nak.value = rd_make(NULL, 0); /* it is the packet's */
    if (s->naks >= s->cfg->retries_max)
        return sstp_call_abort_status(c, "CALL_CONNECT_NAK once too often", SSTP_END_REFUSED,
                                      SSTP_STATUS_RETRY_COUNT_EXCEEDED, now_ms, out);
    s->naks++;
    send_request(s, "CALL_CONNECT_NAK", now_ms, out);
    return 0;
}

static int overdue(struct sstp_call *c, uint64_t now_ms, struct evq *out)
{
    return sstp_call_abort_status(c, "negotiation timeout", SSTP_END_NEGOTIATION_TIMEOUT,
                                  SSTP_STATUS_NEGOTIATION_TIMEOUT, now_ms, out);
}

/* ---- the receive matrix of 3.2.5.3 ---- */

#define invalid    sstp_on_invalid
#define unexpected sstp_on_unexpected

static const struct sstp_role role = {
    .names = { "Client_Call_Disconnected", "Client_Connect_Request_Sent", "Client_Connect_Ack_Received",
               "Client_Call_Connected", "Call_Abort_Pending", "Call_Abort_Timeout_Pending",
               "Call_Disconnect_Ack_Pending", "Call_Disconnect_Timeout_Pending" },
    /* Columns: Client_Connect_Request_Sent, Client_Connect_Ack_Received, Client_Call_Connected. */
    .matrix = {
        [0] = { invalid, invalid, invalid },
        [SSTP_CALL_CONNECT_REQUEST] = { unexpected, unexpected, unexpected },
        [SSTP_CALL_CONNECT_ACK] = { on_ack, unexpected, unexpected },
        [SSTP_CALL_CONNECT_NAK] = { on_nak, unexpected, unexpected },
        [SSTP_CALL_CONNECTED] = { unexpected, unexpected, unexpected },
        [SSTP_CALL_ABORT] = { sstp_on_abort, sstp_on_abort, sstp_on_abort },
        [SSTP_CALL_DISCONNECT] = { sstp_on_disconnect, sstp_on_disconnect, sstp_on_disconnect },
        [SSTP_CALL_DISCONNECT_ACK] = { unexpected, unexpected, unexpected },
        [SSTP_ECHO_REQUEST] = { unexpected, unexpected, sstp_on_echo_request },
        [SSTP_ECHO_RESPONSE] = { unexpected, unexpected, sstp_on_echo_response },
    },
    .overdue = overdue,
};

const char *sstp_client_state_name(unsigned state)
{
    return state < SSTP_STATES ? role.names[state] : "unknown";
}

/* ---- the owner's side ---- */

void sstp_client_init(struct sstp_client *s, const struct sstp_client_cfg *cfg, const struct sstp_cert_hashes *leaf)
{
    *s = (struct sstp_client){
        .call = { .role = &role, .echo_idle_ms = cfg->echo_idle_ms, .echo_wait_ms = cfg->echo_wait_ms },
        .cfg = cfg,
        .leaf = leaf,
    };
    s->call.deadline_ms = TIME_NEVER;
}

void sstp_client_fini(struct sstp_client *s)
{
    secret_wipe(s, sizeof *s);
}

int sstp_client_start(struct sstp_client *s, uint64_t now_ms, struct evq *out)
{
    if (s->call.ended || s->call.state != SSTP_STATE_DISCONNECTED)
        return 0;
    send_request(s, "HTTPS accepted", now_ms, out);
    return 0;
}

int sstp_client_control(struct sstp_client *s, struct rd pkt, uint64_t now_ms, struct evq *out)
{
    return sstp_call_control(&s->call, pkt, now_ms, out);
}

int sstp_client_authenticated(struct sstp_client *s, const uint8_t hlak[SSTP_HLAK_LEN], uint64_t now_ms,
                              struct evq *out)
{
    if (s->call.state != SSTP_STATE_NEGOTIATES)
        return 0;
    const uint8_t *cert_hash = s->hash == SSTP_HASH_SHA256 ? s->leaf->sha256 : s->leaf->sha1;
    uint8_t cc[SSTP_CC_LEN];
    struct wr w = wr_make(cc, sizeof cc);
    int err = sstp_cc_encode(&w, s->hash, s->nonce, cert_hash, hlak);
    if (err)
        return err;
    evq_put(out, SSTP_EV_SEND, cc, sizeof cc);
    sstp_call_set_state(&s->call, "authenticated", SSTP_STATE_CONNECTED, now_ms + s->call.echo_idle_ms);
    evq_put(out, SSTP_EV_UP, NULL, 0);
    return 0;
}

int sstp_client_disconnect(struct sstp_client *s, uint64_t now_ms, struct evq *out)
{
    return sstp_call_disconnect(&s->call, now_ms, out);
}

int sstp_client_doubt(struct sstp_client *s, uint32_t wait_ms, uint64_t now_ms, struct evq *out)
{
    struct sstp_call *c = &s->call;
    if (c->state != SSTP_STATE_CONNECTED)
        return 0;
    if (!c->echo_sent || now_ms + wait_ms < c->deadline_ms)
        c->deadline_ms = now_ms + wait_ms;
    c->echo_sent = true;
    sstp_send_bare(out, SSTP_ECHO_REQUEST);
    return 0;
}

uint64_t sstp_client_deadline(const struct sstp_client *s)
{
    return sstp_call_deadline(&s->call);
}

int sstp_client_expire(struct sstp_client *s, uint64_t now_ms, struct evq *out)
{
    return sstp_call_expire(&s->call, now_ms, out);
}
