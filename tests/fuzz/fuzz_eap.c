/*
 * EAP packets, and the client's side of authentication under a script of its server.
 *
 * First octet: bit 0 clear: the rest is one packet for the codec. Set: bits 1 and 2 choose the method, steps follow. A
 * step is an octet: below 0xf0 the length of a packet that follows (of what is left, at most); 0xf0 a good proof in
 * place of the script's; 0xf1 EAP-Success or CHAP Success with it; 0xf2 time to the deadline; 0xf3 LCP once more; else
 * time passes. Checked: nothing but our method's frames, whole; PPP_EV_AUTHED once and, with MS-CHAPv2, never without
 * the proof; after an end nothing more; bounded answers before.
 */
#include <stdlib.h>

#include "auth/eap.h"
#include "base/digest.h"
#include "ppp/authc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void need(bool fact)
{
    if (!fact)
        abort();
}

static void codec(struct rd in)
{
    static uint8_t buf[70000];
    struct wr w = wr_make(buf, sizeof buf);
    struct eap_pkt pkt;
    struct eap_mschapv2 m;
    if (eap_parse(in, &pkt) != 0)
        return;
    eap_encode(&w, pkt.code, pkt.id, pkt.type, pkt.data.p, rd_left(&pkt.data));
    need(wr_ok(&w) && wr_len(&w) <= rd_left(&in) && memcmp(buf, in.p, wr_len(&w)) == 0);
    if (eap_mschapv2_parse(pkt.data, &m) != 0)
        return;
    need(m.op >= EAP_MSCHAPV2_CHALLENGE && m.op <= EAP_MSCHAPV2_CHANGE_PASSWORD);
    need(rd_left(&m.name) <= CHAP_NAME_MAX && rd_left(&m.message) < rd_left(&pkt.data));
    if (m.op == EAP_MSCHAPV2_CHALLENGE) {
        struct rd value = m.value;
        uint8_t challenge[16];
        need(rd_copy(&value, challenge, 16) && rd_end(&value));
        w = wr_make(buf, sizeof buf);
        eap_mschapv2_challenge_encode(&w, pkt.id, m.id, challenge, m.name.p, rd_left(&m.name));
        need(wr_ok(&w) && wr_len(&w) == rd_left(&pkt.data) + 5);
    }
}

struct world {
    struct authc a;
    struct evq q;
    uint64_t now_ms;
    unsigned authed, sends;
    bool proof_given; /* the script could not have found it */
};

static uint8_t mem[4096];

static void count_up(void *arg, void *out, size_t n)
{
    uint8_t *counter = arg, *p = out;
    for (size_t i = 0; i < n; i++)
        p[i] = ++*counter;
}

static uint16_t protocol_of(const struct authc *a)
{
    if (a->method == PPP_AUTH_EAP_MSCHAPV2)
        return PPP_EAP;
    return a->method == PPP_AUTH_PAP ? PPP_PAP : PPP_CHAP;
}

static void drain(struct world *w, enum authc_outcome outcome)
{
    struct ev ev;
    unsigned n = 0;
    need(!w->q.failed);
    while (evq_next(&w->q, &ev)) {
        struct rd frame = rd_make(ev.data, ev.len);
        uint16_t protocol, length = 0;
        n++;
        if (ev.type == PPP_EV_AUTHED) {
            need(++w->authed == 1 && outcome == AUTHC_PASSED && n == 1);
            need(w->proof_given || w->a.method == PPP_AUTH_PAP || w->a.method == PPP_AUTH_CHAP_MD5);
            continue;
        }
        w->sends++;
        need(ev.type == PPP_EV_SEND && ppp_frame_open(&frame, &protocol) && protocol == protocol_of(&w->a));
        need(rd_left(&frame) <= AUTHC_ANSWER_MAX && rd_skip(&frame, 2) && rd_u16(&frame, &length));
        need(length == rd_left(&frame) + 4);
    }
    need(n <= 1);
    if (outcome > AUTHC_PASSED)
        need(n == 0 && w->a.state == AUTHC_IDLE && authc_deadline(&w->a) == TIME_NEVER);
    evq_reset(&w->q);
}

static void give(struct world *w, const void *packet, size_t n)
{
    enum authc_outcome outcome;
    int rc = authc_input(&w->a, protocol_of(&w->a), rd_make(packet, n), w->now_ms, &w->q, &outcome);
    need(rc == 0 && (w->a.steps <= AUTHC_STEPS_MAX || w->a.state == AUTHC_IDLE));
    drain(w, outcome);
}

/* What a server that knows the password says next. */
static void give_proof(struct world *w, bool end)
{
    uint8_t buf[128];
    struct wr out = wr_make(buf, sizeof buf);
    char proof[MSCHAPV2_AUTH_RESPONSE_LEN];
    memcpy(proof, w->a.expected, sizeof proof);
    uint8_t id = w->a.id;
    if (w->a.method == PPP_AUTH_EAP_MSCHAPV2 && end) {
        eap_encode(&out, EAP_SUCCESS, id, 0, NULL, 0);
    } else if (w->a.method == PPP_AUTH_EAP_MSCHAPV2) {
        w->proof_given |= w->a.state == AUTHC_ANSWERED;
        eap_mschapv2_message_encode(&out, (uint8_t)(id + 1), id, EAP_MSCHAPV2_SUCCESS, proof, sizeof proof);
    } else {
        w->proof_given |= w->a.state == AUTHC_ANSWERED;
        chap_message_encode(&out, CHAP_SUCCESS, id, proof, sizeof proof);
    }
    give(w, buf, wr_len(&out));
}

static void pass_time(struct world *w, uint8_t op)
{
    uint64_t at = authc_deadline(&w->a);
    w->now_ms = op == 0xf2 && at != TIME_NEVER ? at : w->now_ms + 100u * op;
    drain(w, authc_expire(&w->a, w->now_ms, &w->q));
    need(authc_deadline(&w->a) > w->now_ms);
}

static void script(struct rd in, enum ppp_auth_method method)
{
    static const struct ppp_secret secret = { "EXAMPLE\\User", "clientPass" };
    uint8_t op, counter = 0;
    unsigned steps = 0;
    struct world w = { .q = evq_make(mem, sizeof mem) };
    authc_init(&w.a, &secret, (struct rng){ count_up, &counter });
    authc_start(&w.a, method, 0, &w.q);
    drain(&w, AUTHC_PENDING);
    while (steps++ < 200 && rd_u8(&in, &op)) {
        struct rd packet;
        if (op == 0xf0 || op == 0xf1) {
            give_proof(&w, op & 1);
        } else if (op == 0xf3) {
            authc_start(&w.a, method, w.now_ms, &w.q);
            drain(&w, AUTHC_PENDING);
        } else if (op > 0xf0) {
            pass_time(&w, op);
        } else if (rd_sub(&in, op < rd_left(&in) ? op : rd_left(&in), &packet)) {
            give(&w, packet.p, rd_left(&packet));
        }
    }
    authc_fini(&w.a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const enum ppp_auth_method methods[] = { PPP_AUTH_EAP_MSCHAPV2, PPP_AUTH_MSCHAPV2, PPP_AUTH_CHAP_MD5,
                                                    PPP_AUTH_PAP };
    struct rd in = rd_make(data, len);
    uint8_t choice;
    if (!rd_u8(&in, &choice) || digest_init() != 0)
        return 0;
    if (choice & 1)
        script(in, methods[(choice >> 1) & 3]);
    else
        codec(in);
    return 0;
}
