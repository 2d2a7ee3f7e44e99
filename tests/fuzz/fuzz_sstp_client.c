/*
 * The client's call machine. The input is a script; the first byte of each step says what happens:
 *   00 t t    time passes: t t milliseconds (16 bits) times 8     01       authentication ends well
 *   02        we hang up                                          03       a data packet: the peer lives
 *   04 mask   a CALL_CONNECT_ACK that offers these hashes         05 t     the network changed: t times 16 ms to wait
 *   06 n ...  a control packet of n bytes as they are             07       a CALL_CONNECT_NAK
 *   08 type   an empty message of that type                       09       time passes up to the deadline
 * What must hold: at most retries_max + 1 requests; UP at most once, with a CALL_CONNECTED that the server would take;
 * ENDING exactly once and before CLOSE; nothing after CLOSE; a deadline at every moment until then.
 */
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "sstp/client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

struct run {
    struct sstp_client s;
    struct evq q;
    uint8_t buf[4096];
    uint64_t now;
    unsigned requests, connected, ups, endings, closes, ppp;
    bool authed;
};

static const uint8_t hlak[SSTP_HLAK_LEN] = "a key that nobody should guess";
static const struct sstp_cert_hashes leaf = { 3, "sha1 of some leaf...", "sha256 of the leaf that was used" };

static void check_connected(struct run *r, const struct ev *e, const struct sstp_msg *m)
{
    struct sstp_binding want = { r->s.offered, r->s.nonce, &leaf, 1, hlak };
    struct sstp_binding_verdict verdict;
    check(!r->connected++ && r->authed && r->ppp && sstp_cc_shaped(m));
    check(sstp_binding_check(&want, e->data, &verdict) == 0 && verdict.fault == SSTP_BINDING_OK);
    check(!(r->s.offered & SSTP_HASH_SHA256) || verdict.hash_protocol == SSTP_HASH_SHA256);
}

static void check_sent(struct run *r, const struct ev *e)
{
    struct sstp_msg m;
    check(sstp_msg_parse(rd_make(e->data, e->len), &m) == 0);
    if (m.type == SSTP_CALL_CONNECTED)
        check_connected(r, e, &m);
    if (m.type == SSTP_CALL_CONNECT_REQUEST)
        check(++r->requests <= sstp_client_cfg_default.retries_max + 1u && !r->ppp && !r->endings);
    check(m.type != SSTP_CALL_CONNECT_ACK && m.type != SSTP_CALL_CONNECT_NAK);
}

static void drain(struct run *r)
{
    struct ev e;
    check(!r->q.failed);
    while (evq_next(&r->q, &e)) {
        check(!r->closes);
        switch ((enum sstp_event)e.type) {
        case SSTP_EV_SEND: check_sent(r, &e); break;
        case SSTP_EV_PPP_START: check(!r->ppp++ && !r->endings); break;
        case SSTP_EV_UP: check(!r->ups++ && !r->endings && r->connected); break;
        case SSTP_EV_ENDING: check(!r->endings++ && e.len == sizeof(struct sstp_ended)); break;
        case SSTP_EV_CLOSE: check(!r->closes++ && r->endings); break;
        }
    }
    evq_reset(&r->q);
    check((sstp_client_deadline(&r->s) == TIME_NEVER) == (r->closes > 0));
    check(sstp_client_may_pass(&r->s, 0x0021) == (r->ups && !r->endings));
    check(sstp_client_may_pass(&r->s, 0xc021) == (r->ppp && !r->endings));
}

static void control(struct run *r, const uint8_t *pkt, size_t n)
{
    struct rd in = rd_make(pkt, n);
    struct sstp_pkt p;
    if (sstp_pkt_next(&in, &p) || !p.control)
        return;
    check(sstp_client_control(&r->s, p.whole, r->now, &r->q) == 0);
    drain(r);
}

static void expire(struct run *r, uint64_t now_ms)
{
    r->now = now_ms;
    check(sstp_client_expire(&r->s, r->now, &r->q) == 0);
    drain(r);
    check(sstp_client_deadline(&r->s) > r->now);
}

static void ack(struct run *r, uint8_t mask)
{
    uint8_t pkt[64];
    struct wr w = wr_make(pkt, sizeof pkt);
    struct sstp_ack a = { .hash_mask = mask, .nonce = "nonce of thirty-two bytes, fixed" };
    sstp_ack_encode(&w, &a);
    control(r, pkt, wr_len(&w));
}

/* What the owner does. */
static void call_in(struct run *r, uint8_t op, uint32_t wait_ms)
{
    int err = 0;
    if (op == 1) {
        r->authed = true;
        err = sstp_client_authenticated(&r->s, hlak, r->now, &r->q);
    } else if (op == 2) {
        err = sstp_client_disconnect(&r->s, r->now, &r->q);
    } else {
        err = sstp_client_doubt(&r->s, wait_ms, r->now, &r->q);
    }
    check(err == 0);
    drain(r);
}

static bool step(struct run *r, struct rd *script)
{
    static const uint8_t nak[] = { 0x10, 1, 0, 20, 0, 3, 0, 1, 0, 2, 0, 12, 0, 0, 0, 1, 0, 0, 0, 4 };
    const uint8_t *p;
    uint8_t op, a;
    uint16_t t;
    if (!rd_u8(script, &op))
        return false;
    switch (op % 10) {
    case 0:
        if (rd_u16(script, &t))
            expire(r, r->now + 8u * t);
        break;
    case 1:
    case 2: call_in(r, op % 10, 0); break;
    case 3: sstp_client_alive(&r->s, r->now); break;
    case 4:
        if (rd_u8(script, &a))
            ack(r, a);
        break;
    case 5:
        if (rd_u8(script, &a))
            call_in(r, 5, 16u * a + 1);
        break;
    case 6:
        if (rd_u8(script, &a) && rd_bytes(script, a, &p))
            control(r, p, a);
        break;
    case 7: control(r, nak, sizeof nak); break;
    case 8:
        if (rd_u8(script, &a))
            control(r, (const uint8_t[]){ 0x10, 1, 0, 8, 0, a, 0, 0 }, 8);
        break;
    case 9:
        if (!r->closes)
            expire(r, sstp_client_deadline(&r->s));
        break;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check(digest_init() == 0);
    struct run r = { .now = 1000 };
    r.q = evq_make(r.buf, sizeof r.buf);
    sstp_client_init(&r.s, &sstp_client_cfg_default, &leaf);
    check(sstp_client_start(&r.s, r.now, &r.q) == 0);
    drain(&r);
    struct rd script = rd_make(data, size);
    while (step(&r, &script))
        ;
    /* Left alone, every call comes to its end. */
    for (int i = 0; i < 5 && !r.closes; i++)
        expire(&r, sstp_client_deadline(&r.s));
    check(r.closes == 1 && r.endings == 1);
    sstp_client_fini(&r.s);
    return 0;
}
