/*
 * The server's call machine. The input is a script; the first byte of each step says what happens:
 *   00 t t    time passes: t t milliseconds (16 bits) times 8     01       authentication ends well
 *   02        we hang up                                          03       a data packet: the peer lives
 *   04        the valid CALL_CONNECTED                            05       a valid CALL_CONNECT_REQUEST
 *   06 n ...  a control packet of n bytes as they are             07 at x  the valid CALL_CONNECTED, byte `at` ^ x
 *   08 type   an empty message of that type                       09       time passes up to the deadline
 * What must hold: UP at most once, only with authentication and a CALL_CONNECTED that is byte for byte the valid one;
 * ENDING exactly once and before CLOSE; nothing after CLOSE; a deadline at every moment until then.
 */
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/timerq.h"
#include "sstp/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

struct run {
    struct sstp_server s;
    struct evq q;
    uint8_t buf[4096];
    uint64_t now;
    unsigned ups, endings, closes, ppp;
    bool authed, genuine; /* genuine: the CALL_CONNECTED that the machine may hold or judge now is the valid one */
};

static const uint8_t nonce[SSTP_NONCE_LEN] = "nonce of thirty-two bytes, fixed";
static const uint8_t hlak[SSTP_HLAK_LEN] = "a key that nobody should guess";
static const struct sstp_cert_hashes cert = { 3, "sha1 of some leaf...", "sha256 of the leaf that was used" };
static uint8_t valid_cc[SSTP_CC_LEN];

static void fill(void *arg, void *out, size_t n)
{
    (void)arg;
    check(n == sizeof nonce);
    memcpy(out, nonce, n);
}

static void drain(struct run *r)
{
    struct ev e;
    struct sstp_msg m;
    check(!r->q.failed);
    while (evq_next(&r->q, &e)) {
        check(!r->closes);
        switch ((enum sstp_event)e.type) {
        case SSTP_EV_SEND: check(sstp_msg_parse(rd_make(e.data, e.len), &m) == 0); break;
        case SSTP_EV_PPP_START: check(!r->ppp++ && !r->endings); break;
        case SSTP_EV_UP: check(!r->ups++ && !r->endings && r->authed && r->genuine && r->ppp); break;
        case SSTP_EV_ENDING: check(!r->endings++ && e.len == sizeof(struct sstp_ended)); break;
        case SSTP_EV_CLOSE: check(!r->closes++ && r->endings); break;
        }
    }
    evq_reset(&r->q);
    check((sstp_server_deadline(&r->s) == TIME_NEVER) == (r->closes > 0));
    check(sstp_server_may_pass(&r->s, 0x0021) == (r->ups && !r->endings));
}

static void control(struct run *r, const uint8_t *pkt, size_t n)
{
    struct rd in = rd_make(pkt, n);
    struct sstp_pkt p;
    if (sstp_pkt_next(&in, &p) || !p.control)
        return;
    bool was_held = r->s.held_cc;
    bool same = rd_left(&p.whole) == SSTP_CC_LEN && !memcmp(pkt, valid_cc, SSTP_CC_LEN);
    if (!was_held)
        r->genuine = same;
    check(sstp_server_control(&r->s, p.whole, r->now, &r->q) == 0);
    drain(r);
}

static void authenticate(struct run *r)
{
    if (r->s.call.state == SSTP_SERVER_CALL_CONNECTED_PENDING)
        r->authed = true;
    check(sstp_server_authenticated(&r->s, hlak, r->now, &r->q) == 0);
    drain(r);
}

static void expire(struct run *r, uint64_t now_ms)
{
    r->now = now_ms;
    check(sstp_server_expire(&r->s, r->now, &r->q) == 0);
    drain(r);
    check(sstp_server_deadline(&r->s) > r->now);
}

static void mutated(struct run *r, uint8_t at, uint8_t x)
{
    uint8_t cc[SSTP_CC_LEN];
    memcpy(cc, valid_cc, sizeof cc);
    cc[at % SSTP_CC_LEN] ^= x;
    control(r, cc, sizeof cc);
}

static bool step(struct run *r, struct rd *script)
{
    static const uint8_t ccr[] = { 0x10, 1, 0, 14, 0, 1, 0, 1, 0, 1, 0, 6, 0, 1 };
    const uint8_t *p;
    uint8_t op, a, b;
    uint16_t t;
    if (!rd_u8(script, &op))
        return false;
    switch (op % 10) {
    case 0:
        if (rd_u16(script, &t))
            expire(r, r->now + 8u * t);
        break;
    case 1: authenticate(r); break;
    case 2:
        check(sstp_server_disconnect(&r->s, r->now, &r->q) == 0);
        drain(r);
        break;
    case 3: sstp_server_alive(&r->s, r->now); break;
    case 4: control(r, valid_cc, sizeof valid_cc); break;
    case 5: control(r, ccr, sizeof ccr); break;
    case 6:
        if (rd_u8(script, &a) && rd_bytes(script, a, &p))
            control(r, p, a);
        break;
    case 7:
        if (rd_u8(script, &a) && rd_u8(script, &b))
            mutated(r, a, b);
        break;
    case 8:
        if (rd_u8(script, &a))
            control(r, (const uint8_t[]){ 0x10, 1, 0, 8, 0, a, 0, 0 }, 8);
        break;
    case 9:
        if (!r->closes)
            expire(r, sstp_server_deadline(&r->s));
        break;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!valid_cc[0]) {
        struct wr w = wr_make(valid_cc, sizeof valid_cc);
        check(digest_init() == 0);
        check(sstp_cc_encode(&w, SSTP_HASH_SHA256, nonce, cert.sha256, hlak) == 0);
    }
    struct run r = { .now = 1000 };
    r.q = evq_make(r.buf, sizeof r.buf);
    sstp_server_init(&r.s, &sstp_server_cfg_default, &cert, 1, (struct rng){ fill, NULL }, r.now);
    struct rd script = rd_make(data, size);
    while (step(&r, &script))
        ;
    /* Left alone, every call comes to its end. */
    for (int i = 0; i < 5 && !r.closes; i++)
        expire(&r, sstp_server_deadline(&r.s));
    check(r.closes == 1 && r.endings == 1);
    sstp_server_fini(&r.s);
    return 0;
}
