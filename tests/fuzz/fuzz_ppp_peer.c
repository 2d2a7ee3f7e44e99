/*
 * The client's side of a PPP link under a script: configuration octet, then steps. A step is an octet: below 0xc0 the
 * length of a frame that follows (0xbf: 4091 less what is missing), else a command. Identifiers of answers to our
 * requests cannot be guessed by a script of bytes, so that 0xc0 gives the Ack of our latest
 * Configure-Request or PAP login. Checked: deadlines move, the end comes once, frames are well-formed, nothing is up
 * before the server was believed.
 */
#include <stdlib.h>

#include "base/digest.h"
#include "base/rd.h"
#include "base/timerq.h"
#include "ppp/cp.h"
#include "ppp/opt.h"
#include "ppp/peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count_up(void *arg, void *out, size_t n)
{
    uint8_t *counter = arg, *p = out;
    for (size_t i = 0; i < n; i++)
        p[i] = ++*counter;
}

static void need(bool fact)
{
    if (!fact)
        abort();
}

struct world {
    struct ppp_peer *peer;
    struct evq q;
    uint64_t now_ms;
    unsigned downs, authed;
    int up4, up6;
    uint8_t ack[128]; /* the answer to our latest Configure-Request or PAP request; empty: none */
    size_t ack_len;
};

static uint8_t mem[65536];

static void frame_sent(struct world *w, const struct ev *ev)
{
    struct rd frame = rd_make(ev->data, ev->len);
    uint16_t protocol = 0;
    struct ppp_hdr pkt = { 0 };
    need(ev->len <= 4091 && ev->data[0] == 0xff && ppp_frame_open(&frame, &protocol) && protocol >= 0x8000);
    need(ppp_hdr_parse(frame, &pkt) && rd_left(&pkt.whole) == rd_left(&frame));
    if (protocol == PPP_PAP) {
        static const uint8_t ok[] = { 0xff, 3, 0xc0, 0x23, 2, 0, 0, 5, 0 };
        memcpy(w->ack, ok, w->ack_len = sizeof ok);
        w->ack[5] = pkt.id;
    }
    if (protocol == PPP_CHAP || protocol == PPP_PAP || protocol == PPP_EAP)
        return;
    if (pkt.code >= CP_CONF_REQ && pkt.code <= CP_CONF_REJ)
        need(ppp_opt_list_valid(pkt.data));
    if (pkt.code == CP_CONF_REQ && ev->len <= sizeof w->ack) {
        memcpy(w->ack, ev->data, w->ack_len = ev->len);
        w->ack[4] = CP_CONF_ACK;
    }
}

static void drain(struct world *w)
{
    struct ev ev;
    need(!w->q.failed);
    while (evq_next(&w->q, &ev)) {
        need(w->downs == 0); /* PPP_EV_DOWN is the last word */
        if (ev.type == PPP_EV_SEND)
            frame_sent(w, &ev);
        if (ev.type == PPP_EV_IP4_UP) {
            const struct ppp_peer_ip4 *ip4 = (const void *)ev.data;
            need(ev.len == sizeof *ip4 && ip4->ip4 >> 24 && ip4->ip4 >> 24 != 127 && ip4->ip4 >> 24 < 224);
        }
        w->authed += ev.type == PPP_EV_AUTHED;
        w->downs += ev.type == PPP_EV_DOWN;
        w->up4 += (ev.type == PPP_EV_IP4_UP) - (ev.type == PPP_EV_IP4_DOWN);
        w->up6 += (ev.type == PPP_EV_IP6_UP) - (ev.type == PPP_EV_IP6_DOWN);
        need(w->up4 >= 0 && w->up4 <= 1 && w->up6 >= 0 && w->up6 <= 1 && w->authed <= 1);
        need(w->authed == 1 || (w->up4 == 0 && w->up6 == 0));
    }
    need(w->downs == 0 || (w->up4 == 0 && w->up6 == 0 && ppp_peer_deadline(w->peer) == TIME_NEVER));
    need(ppp_peer_mtu(w->peer) >= 576 && ppp_peer_mtu(w->peer) <= 4087);
    evq_reset(&w->q);
}

static void step(struct world *w, uint8_t op)
{
    int rc = 0;
    if (op < 0xc8) {
        rc = ppp_peer_input(w->peer, rd_make(w->ack, w->ack_len), w->now_ms, &w->q);
    } else if (op < 0xe0) {
        uint64_t at = ppp_peer_deadline(w->peer);
        if (at == TIME_NEVER)
            return;
        w->now_ms = at > w->now_ms ? at : w->now_ms;
        rc = ppp_peer_expire(w->peer, w->now_ms, &w->q);
        need(ppp_peer_deadline(w->peer) > w->now_ms);
    } else if (op < 0xf8) {
        w->now_ms += 250u << (op & 7);
        ppp_peer_alive(w->peer, w->now_ms);
    } else {
        rc = ppp_peer_terminate(w->peer, "the script says so", w->now_ms, &w->q);
    }
    need(rc == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t lists[4][5] = { { PPP_AUTH_EAP_MSCHAPV2, PPP_AUTH_MSCHAPV2 },
                                         { PPP_AUTH_EAP_MSCHAPV2, PPP_AUTH_MSCHAPV2, PPP_AUTH_CHAP_MD5, PPP_AUTH_PAP },
                                         { PPP_AUTH_PAP },
                                         { PPP_AUTH_MSCHAPV2 } };
    static const struct ppp_secret secret = { "DOMAIN\\User", "clientPass" };
    struct rd in = rd_make(data, size);
    struct ppp_peer_cfg cfg = { .lcp_echo_misses = 3 };
    uint8_t conf = 0, op, counter = 0;
    if (!rd_u8(&in, &conf) || digest_init() != 0)
        return 0;
    memcpy(cfg.auth, lists[conf & 3], sizeof cfg.auth);
    cfg.mru = conf & 0x04 ? 1400 : 0;
    cfg.dns = conf & 0x08;
    cfg.ipv6 = conf & 0x10;
    cfg.survey = conf & 0x20;
    cfg.lcp_echo_idle_ms = conf & 0x40 ? 20000 : 0;
    struct world w = { .peer = ppp_peer_new(&cfg, cfg.survey ? NULL : &secret, (struct rng){ count_up, &counter }),
                       .q = evq_make(mem, sizeof mem) };
    if (!w.peer)
        return 0;
    int rc = ppp_peer_start(w.peer, 0, &w.q);
    need(rc == 0);
    drain(&w);
    while (rd_u8(&in, &op)) {
        if (op < 0xc0) {
            struct rd frame;
            size_t n = op == 0xbf || op > rd_left(&in) ? rd_left(&in) : op;
            if (n > 4091)
                n = 4091;
            if (rd_sub(&in, n, &frame))
                rc = ppp_peer_input(w.peer, frame, w.now_ms, &w.q);
            need(rc == 0);
        } else {
            step(&w, op);
        }
        drain(&w);
    }
    ppp_peer_free(w.peer);
    return 0;
}
