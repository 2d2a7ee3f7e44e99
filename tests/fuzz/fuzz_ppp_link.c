/*
 * The PPP link under a script: configuration octet, then steps. A step is an octet: below 0xc0 the length of a frame
 * that follows (0xbf: 4091 less what is missing), else a command. Checked: deadlines move, the end comes once, frames
 * are well-formed.
 */
#include <stdlib.h>

#include "base/rd.h"
#include "base/timerq.h"
#include "ppp/link.h"
#include "ppp/opt.h"

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
    struct ppp_link *link;
    struct evq q;
    uint64_t now_ms;
    unsigned asked, downs, authed;
    int up4, up6;
};

static uint8_t mem[65536];

static void drain(struct world *w)
{
    struct ev ev;
    need(!w->q.failed);
    while (evq_next(&w->q, &ev)) {
        need(w->downs == 0); /* PPP_EV_DOWN is the last word */
        if (ev.type == PPP_EV_SEND) {
            struct rd frame = rd_make(ev.data, ev.len);
            uint16_t protocol;
            struct ppp_hdr pkt;
            need(ev.len <= 4091 && ev.data[0] == 0xff && ppp_frame_open(&frame, &protocol) && protocol >= 0x8000);
            need(ppp_hdr_parse(frame, &pkt) && rd_left(&pkt.whole) == rd_left(&frame));
            if (pkt.code >= 1 && pkt.code <= 4 && protocol != PPP_CHAP && protocol != PPP_PAP)
                need(ppp_opt_list_valid(pkt.data));
        }
        w->asked += ev.type == PPP_EV_AUTH;
        w->authed += ev.type == PPP_EV_AUTHED;
        w->downs += ev.type == PPP_EV_DOWN;
        w->up4 += (ev.type == PPP_EV_IP4_UP) - (ev.type == PPP_EV_IP4_DOWN);
        w->up6 += (ev.type == PPP_EV_IP6_UP) - (ev.type == PPP_EV_IP6_DOWN);
        need(w->up4 >= 0 && w->up4 <= 1 && w->up6 >= 0 && w->up6 <= 1 && w->authed <= 1);
    }
    need(w->downs == 0 || (w->up4 == 0 && w->up6 == 0 && ppp_link_deadline(w->link) == TIME_NEVER));
    evq_reset(&w->q);
}

static void step(struct world *w, uint8_t op)
{
    struct ppp_auth_result good = { .code = PPP_AUTH_OK }, bad = { .code = (uint16_t)(640 + (op & 63)) };
    int rc = 0;
    if (op < 0xd0) {
        uint64_t at = ppp_link_deadline(w->link);
        if (at == TIME_NEVER)
            return;
        w->now_ms = at > w->now_ms ? at : w->now_ms;
        rc = ppp_link_expire(w->link, w->now_ms, &w->q);
        need(ppp_link_deadline(w->link) > w->now_ms);
    } else if (op < 0xe0) {
        memset(good.auth_response, 'A', sizeof good.auth_response);
        if (w->asked) {
            w->asked--;
            rc = ppp_link_auth_result(w->link, op & 1 ? &good : &bad, w->now_ms, &w->q);
        }
    } else if (op < 0xf0) {
        rc = ppp_link_set_ip4(w->link, 0x0a080007, w->now_ms, &w->q);
    } else if (op < 0xf8) {
        w->now_ms += 250u << (op & 7);
        ppp_link_alive(w->link, w->now_ms);
    } else {
        rc = ppp_link_terminate(w->link, "the script says so", w->now_ms, &w->q);
    }
    need(rc == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd in = rd_make(data, size);
    struct ppp_cfg cfg = { .mtu = 1400, .server_ip4 = 0x0a080001, .dns = { 0x0a080035 }, .auth_tries = 3 };
    uint8_t conf = 0, op, counter = 0;
    if (!rd_u8(&in, &conf))
        return 0;
    cfg.auth[0] = conf & 3;
    cfg.auth[1] = conf & 3 ? (conf >> 2) & 3 : 0;
    cfg.auth[2] = cfg.auth[1] ? (conf >> 4) & 3 : 0;
    cfg.ipv6 = conf & 0x40;
    cfg.lcp_echo_idle_ms = conf & 0x80 ? 20000 : 0;
    struct world w = { .link = ppp_link_new(&cfg, (struct rng){ count_up, &counter }), .q = evq_make(mem, sizeof mem) };
    if (!w.link)
        return 0;
    int rc = ppp_link_start(w.link, 0, &w.q);
    need(rc == 0);
    drain(&w);
    while (rd_u8(&in, &op)) {
        if (op < 0xc0) {
            struct rd frame;
            size_t n = op == 0xbf || op > rd_left(&in) ? rd_left(&in) : op;
            if (n > 4091)
                n = 4091;
            if (rd_sub(&in, n, &frame))
                rc = ppp_link_input(w.link, frame, w.now_ms, &w.q);
            need(rc == 0);
        } else {
            step(&w, op);
        }
        drain(&w);
    }
    ppp_link_free(w.link);
    return 0;
}
