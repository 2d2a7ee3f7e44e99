#include "sstp/server.h"

#include <stdlib.h>

#include "base/ct.h"

const struct sstp_server_cfg sstp_server_cfg_default = {
    .hash_mask = SSTP_HASH_SHA1 | SSTP_HASH_SHA256,
    .negotiation_ms = 60000,
    .echo_idle_ms = 25000,
    .echo_wait_ms = 60000,
    .naks_max = 3,
};

static void drop_secrets(struct sstp_server *s)
{
    secret_wipe(s->hlak, sizeof s->hlak);
    secret_free(s->held_cc, SSTP_CC_LEN);
    s->held_cc = NULL;
}

static struct sstp_server *server_of(struct sstp_call *c)
{
    return (struct sstp_server *)c; /* its first member */
}

static void forget(struct sstp_call *c)
{
    drop_secrets(server_of(c));
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
    return sstp_call_abort(&s->call, "CALL_CONNECTED refused", why, now_ms, out);
}

/* ---- messages: what 3.3.5.2 says for each ---- */

static int refuse_request(struct sstp_server *s, const struct sstp_status_info *faults, size_t n, uint64_t now_ms,
                          struct evq *out)
{
    if (s->naks >= s->cfg->naks_max)
        return sstp_call_abort_status(&s->call, "CALL_CONNECT_REQUEST once too often", SSTP_END_ABORT,
                                      SSTP_STATUS_RETRY_COUNT_EXCEEDED, now_ms, out);
    s->naks++; /* the negotiation timer runs on: a client cannot live on faulty requests */
    struct wr w = evq_open(out, SSTP_EV_SEND);
    sstp_nak_encode(&w, faults, n);
    evq_close(out, &w);
    return 0;
}

static int on_request(struct sstp_call *c, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    struct sstp_server *s = server_of(c);
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
    sstp_call_set_state(c, "CALL_CONNECT_REQUEST", SSTP_STATE_NEGOTIATES, now_ms + s->cfg->negotiation_ms);
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
    sstp_call_set_state(&s->call, "CALL_CONNECTED", SSTP_STATE_CONNECTED, now_ms + s->cfg->echo_idle_ms);
    evq_put(out, SSTP_EV_UP, NULL, 0);
    return 0;
}

static int on_connected(struct sstp_call *c, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    struct sstp_server *s = server_of(c);
    if (s->held_cc)
        return sstp_on_unexpected(c, m, now_ms, out);
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
    log_debug(c->log, "sstp-held", "CALL_CONNECTED waits for the end of authentication");
    return 0;
}

/* While a CALL_CONNECTED is held the client believes to be connected: as in that state. */
static int on_early_echo_request(struct sstp_call *c, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    return (server_of(c)->held_cc ? sstp_on_echo_request : sstp_on_unexpected)(c, m, now_ms, out);
}

static int on_early_echo_response(struct sstp_call *c, const struct sstp_msg *m, uint64_t now_ms, struct evq *out)
{
    return (server_of(c)->held_cc ? sstp_on_echo_response : sstp_on_unexpected)(c, m, now_ms, out);
}

/* 3.3.2.1 and figure 5: a plain failure while a request is awaited, an ABORT afterwards. */
static int overdue(struct sstp_call *c, uint64_t now_ms, struct evq *out)
{
    if (c->state == SSTP_STATE_NEGOTIATES)
        return sstp_call_abort_status(c, "negotiation timeout", SSTP_END_NEGOTIATION_TIMEOUT,
                                      SSTP_STATUS_NEGOTIATION_TIMEOUT, now_ms, out);
    sstp_call_drop(c, "negotiation timeout", SSTP_END_NEGOTIATION_TIMEOUT, out);
    return 0;
}

/* ---- the receive matrix of 3.3.5.2 ---- */

#define invalid    sstp_on_invalid
#define unexpected sstp_on_unexpected

static const struct sstp_role role = {
    .names = { "Server_Call_Disconnected", "Server_Connect_Request_Pending", "Server_Call_Connected_Pending",
               "Server_Call_Connected", "Call_Abort_Pending", "Call_Abort_Timeout_Pending",
               "Call_Disconnect_Ack_Pending", "Call_Disconnect_Timeout_Pending" },
    /* Columns: Server_Connect_Request_Pending, Server_Call_Connected_Pending, Server_Call_Connected. */
    .matrix = {
        [0] = { invalid, invalid, invalid },
        [SSTP_CALL_CONNECT_REQUEST] = { on_request, unexpected, unexpected },
        [SSTP_CALL_CONNECT_ACK] = { unexpected, unexpected, unexpected },
        [SSTP_CALL_CONNECT_NAK] = { unexpected, unexpected, unexpected },
        [SSTP_CALL_CONNECTED] = { unexpected, on_connected, unexpected },
        [SSTP_CALL_ABORT] = { sstp_on_abort, sstp_on_abort, sstp_on_abort },
        [SSTP_CALL_DISCONNECT] = { sstp_on_disconnect, sstp_on_disconnect, sstp_on_disconnect },
        [SSTP_CALL_DISCONNECT_ACK] = { unexpected, unexpected, unexpected },
        [SSTP_ECHO_REQUEST] = { unexpected, on_early_echo_request, sstp_on_echo_request },
        [SSTP_ECHO_RESPONSE] = { unexpected, on_early_echo_response, sstp_on_echo_response },
    },
    .overdue = overdue,
    .forget = forget,
};

const char *sstp_server_state_name(unsigned state)
{
    return state < SSTP_STATES ? role.names[state] : "unknown";
}

int sstp_server_control(struct sstp_server *s, struct rd pkt, uint64_t now_ms, struct evq *out)
{
    return sstp_call_control(&s->call, pkt, now_ms, out);
}

/* ---- the owner's side ---- */

void sstp_server_init(struct sstp_server *s, const struct sstp_server_cfg *cfg, const struct sstp_cert_hashes *certs,
                      size_t n_certs, struct rng rng, uint64_t now_ms)
{
    *s = (struct sstp_server){
        .call = { .role = &role, .echo_idle_ms = cfg->echo_idle_ms, .echo_wait_ms = cfg->echo_wait_ms },
        .cfg = cfg,
        .certs = certs,
        .n_certs = n_certs,
        .rng = rng,
    };
    sstp_call_set_state(&s->call, "HTTPS accepted", SSTP_STATE_REQUEST, now_ms + cfg->negotiation_ms);
}

void sstp_server_fini(struct sstp_server *s)
{
    drop_secrets(s);
    secret_wipe(s, sizeof *s);
}

int sstp_server_authenticated(struct sstp_server *s, const uint8_t hlak[SSTP_HLAK_LEN], uint64_t now_ms,
                              struct evq *out)
{
    if (s->authenticated || s->call.state != SSTP_STATE_NEGOTIATES)
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
    return sstp_call_disconnect(&s->call, now_ms, out);
}

uint64_t sstp_server_deadline(const struct sstp_server *s)
{
    return sstp_call_deadline(&s->call);
}

int sstp_server_expire(struct sstp_server *s, uint64_t now_ms, struct evq *out)
{
    return sstp_call_expire(&s->call, now_ms, out);
}
