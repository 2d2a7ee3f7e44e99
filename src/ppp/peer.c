#include "ppp/peer.h"

#include <stdlib.h>

#include "base/ct.h"
#include "ppp/guard.h"
#include "ppp/ipcp_peer.h"
#include "ppp/ipv6cp.h"
#include "ppp/lcp_peer.h"

#define IP_MAX (LCP_MRU_MAX - PPP_HDR_MAX) /* what fits an SSTP packet behind FF 03 and the protocol */

enum phase { DEAD, ESTABLISH, AUTHENTICATE, NETWORK, TERMINATE }; /* RFC 1661 3.2 */

struct ppp_peer {
    const struct ppp_peer_cfg *cfg;
    struct ppp_guard guard;
    struct lcp_peer lcp;
    struct authc auth;
    struct ipcp_peer ipcp;
    struct ipv6cp ipv6cp;
    uint64_t echo_ms;    /* when the next LCP Echo-Request goes */
    uint32_t auth_error; /* ppp_peer_auth_error() */
    uint8_t phase;       /* enum phase */
    uint8_t echoes_missed;
    bool echo_answered; /* the server does answer ours, so its silence means something */
    bool no_address;    /* IPCP ended since the server gives none */
};

struct ppp_peer *ppp_peer_new(const struct ppp_peer_cfg *cfg, const struct ppp_secret *secret, struct rng rng)
{
    static const uint8_t random_id[IPV6CP_ID_LEN];
    struct ppp_peer *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->cfg = cfg;
    l->echo_ms = TIME_NEVER;
    lcp_peer_init(&l->lcp, cfg, rng, &l->guard.common);
    authc_init(&l->auth, secret, rng);
    ipcp_peer_init(&l->ipcp, cfg, &l->guard.common);
    ipv6cp_init(&l->ipv6cp, random_id, rng, &l->guard.common);
    return l;
}

void ppp_peer_free(struct ppp_peer *l)
{
    if (!l)
        return;
    authc_fini(&l->auth);
    secret_free(l, sizeof *l);
}

static int done(const struct evq *out)
{
    return out->failed ? ERR_LIMIT : 0;
}

static bool ended(const struct ppp_peer *l)
{
    return l->phase == DEAD || l->phase == TERMINATE;
}

static void set_cause(struct ppp_peer *l, enum ppp_down_cause cause, const char *text)
{
    ppp_guard_cause(&l->guard, cause, text, strlen(text));
}

static void finish(struct ppp_peer *l, struct evq *out)
{
    if (l->phase == DEAD)
        return;
    l->phase = DEAD;
    set_cause(l, PPP_DOWN_PROTOCOL, "fatal reject");
    evq_put(out, PPP_EV_DOWN, &l->guard.down, sizeof l->guard.down);
}

/* Ends the link in order: Terminate-Request with the text as its reason, then PPP_EV_DOWN. */
static void fail(struct ppp_peer *l, enum ppp_down_cause cause, const char *text, uint64_t now_ms, struct evq *out)
{
    if (ended(l))
        return;
    set_cause(l, cause, text);
    l->phase = TERMINATE;
    l->lcp.cp.reason = l->guard.down.text;
    cp_event(&l->lcp.cp, CP_EV_CLOSE, now_ms, out);
}

static void fail_no_auth(struct ppp_peer *l, uint64_t now_ms, struct evq *out)
{
    char text[sizeof l->guard.down.text];
    if (l->cfg->survey) {
        fail(l, PPP_DOWN_OUR_TERMINATE, "no login wanted", now_ms, out);
        return;
    }
    lcp_peer_tell(&l->lcp, text, sizeof text);
    fail(l, PPP_DOWN_NO_AUTH, text, now_ms, out);
}

static void count_renegotiation(struct ppp_peer *l, uint64_t now_ms, struct evq *out)
{
    if (!ppp_guard_renegotiate(&l->guard, now_ms))
        fail(l, PPP_DOWN_PROTOCOL, "endless renegotiation", now_ms, out);
}

static void lcp_down(struct ppp_peer *l, uint64_t now_ms, struct evq *out)
{
    authc_stop(&l->auth);
    cp_event(&l->ipcp.cp, CP_EV_DOWN, now_ms, out);
    cp_event(&l->ipv6cp.cp, CP_EV_DOWN, now_ms, out);
    if (ended(l))
        return;
    if (l->lcp.cp.state == CP_STOPPING) { /* a fatal Code-Reject: the automaton has said Terminate-Request itself */
        set_cause(l, PPP_DOWN_PROTOCOL, "fatal reject");
        l->phase = TERMINATE;
        return;
    }
    l->phase = ESTABLISH;
    count_renegotiation(l, now_ms, out);
}

static void lcp_up(struct ppp_peer *l, uint64_t now_ms, struct evq *out)
{
    if (ended(l))
        return;
    l->lcp.mru_naks = l->lcp.magic_naks = 0;
    if (l->cfg->survey) {
        fail_no_auth(l, now_ms, out);
    } else if (l->lcp.auth == PPP_AUTH_NONE) { /* MS-SSTP 2.1: no call without authentication */
        fail(l, PPP_DOWN_NO_AUTH, "the server asks for no authentication", now_ms, out);
    } else {
        l->phase = AUTHENTICATE;
        authc_start(&l->auth, l->lcp.auth, now_ms, out);
    }
}

static void settle_lcp(struct ppp_peer *l, unsigned sig, uint64_t now_ms, struct evq *out)
{
    if (sig & CP_TLD)
        lcp_down(l, now_ms, out);
    if (sig & CP_TLU)
        lcp_up(l, now_ms, out);
    if (sig & CP_TLF)
        finish(l, out);
}

static bool ncp_dead(const struct cp *cp)
{
    return cp->state == CP_STOPPED || cp->state == CP_CLOSED;
}

/*
 * The link lives as long as one network protocol does: a server that never answers IPV6CP loses nothing else, and one
 * that has no IPv4 carries IPv6. But where IPv4 was spoken and no address came of it, the rest would be half a call.
 */
static void end_without_network(struct ppp_peer *l, uint64_t now_ms, struct evq *out)
{
    bool ip6_lives = l->cfg->ipv6 && !ncp_dead(&l->ipv6cp.cp) && !l->no_address;
    if (l->phase != NETWORK || !ncp_dead(&l->ipcp.cp) || ip6_lives)
        return;
    const char *text = l->no_address ? "the server gives no address" : "no network protocol";
    fail(l, PPP_DOWN_NCP_FAILED, text, now_ms, out);
}

static void settle_ip4(struct ppp_peer *l, unsigned sig, uint64_t now_ms, struct evq *out)
{
    if (sig & CP_TLD)
        evq_put(out, PPP_EV_IP4_DOWN, NULL, 0);
    if (sig & CP_FAILED) {
        l->no_address = true;
        cp_event(&l->ipcp.cp, CP_EV_RXJ_MINUS, now_ms, out);
    }
    if (sig & CP_TLU) {
        ipcp_peer_opened(&l->ipcp);
        evq_put(out, PPP_EV_IP4_UP, &l->ipcp.ip4, sizeof l->ipcp.ip4);
    }
}

static void settle_ip6(struct ppp_peer *l, unsigned sig, uint64_t now_ms, struct evq *out)
{
    if (sig & CP_TLD)
        evq_put(out, PPP_EV_IP6_DOWN, NULL, 0);
    if (sig & CP_FAILED)
        cp_event(&l->ipv6cp.cp, CP_EV_RXJ_MINUS, now_ms, out);
    if (sig & CP_TLU) {
        struct ppp_peer_ip6 ip6;
        memcpy(ip6.own, l->ipv6cp.id, sizeof ip6.own);
        memcpy(ip6.peer, l->ipv6cp.peer_id, sizeof ip6.peer);
        evq_put(out, PPP_EV_IP6_UP, &ip6, sizeof ip6);
    }
}

static void settle_ncps(struct ppp_peer *l, unsigned sig4, unsigned sig6, uint64_t now_ms, struct evq *out)
{
    settle_ip4(l, sig4, now_ms, out);
    settle_ip6(l, sig6, now_ms, out);
    if ((sig4 | sig6) & CP_TLD && l->lcp.cp.state == CP_OPENED)
        count_renegotiation(l, now_ms, out);
    end_without_network(l, now_ms, out);
}

/* Carries out what the automatons have signalled, until they are quiet. Ends: causes are set once, and phases go
 * forward. */
static void settle(struct ppp_peer *l, uint64_t now_ms, struct evq *out)
{
    if (ppp_guard_endless(&l->guard))
        fail(l, PPP_DOWN_PROTOCOL, "endless negotiation", now_ms, out);
    for (;;) {
        unsigned sig = cp_signals(&l->lcp.cp);
        if (sig)
            settle_lcp(l, sig, now_ms, out);
        unsigned sig4 = cp_signals(&l->ipcp.cp), sig6 = cp_signals(&l->ipv6cp.cp);
        if (sig4 || sig6)
            settle_ncps(l, sig4, sig6, now_ms, out);
        if (!sig && !sig4 && !sig6)
            break;
    }
}

int ppp_peer_start(struct ppp_peer *l, uint64_t now_ms, struct evq *out)
{
    if (l->phase != DEAD || l->guard.cause_known)
        return ERR_USAGE;
    l->phase = ESTABLISH;
    cp_event(&l->lcp.cp, CP_EV_OPEN, now_ms, out);
    cp_event(&l->ipcp.cp, CP_EV_OPEN, now_ms, out);
    cp_event(&l->ipv6cp.cp, CP_EV_OPEN, now_ms, out);
    cp_event(&l->lcp.cp, CP_EV_UP, now_ms, out);
    settle(l, now_ms, out);
    return done(out);
}

void ppp_peer_alive(struct ppp_peer *l, uint64_t now_ms)
{
    l->echoes_missed = 0;
    l->echo_ms = l->cfg->lcp_echo_idle_ms ? now_ms + l->cfg->lcp_echo_idle_ms : TIME_NEVER;
}

static bool is_auth(uint16_t protocol)
{
    return protocol == PPP_PAP || protocol == PPP_CHAP || protocol == PPP_EAP;
}

/* RFC 1661 5.7: in the Opened state only. */
static void protocol_rejected(struct ppp_peer *l, struct rd data, uint64_t now_ms, struct evq *out)
{
    uint16_t protocol;
    if (l->lcp.cp.state != CP_OPENED || !rd_u16(&data, &protocol))
        return;
    if (protocol == PPP_IPCP)
        cp_event(&l->ipcp.cp, CP_EV_RXJ_MINUS, now_ms, out);
    else if (protocol == PPP_IPV6CP)
        cp_event(&l->ipv6cp.cp, CP_EV_RXJ_MINUS, now_ms, out);
    else if (protocol == PPP_LCP || (l->phase == AUTHENTICATE && is_auth(protocol)))
        fail(l, PPP_DOWN_PROTOCOL, "the server rejects LCP or authentication", now_ms, out);
}

static const char *unsuited_text(const struct ppp_peer *l)
{
    return l->lcp.barred & 1u << PPP_AUTH_EAP_MSCHAPV2 ? "the server wants another EAP method than EAP-MSCHAPv2"
                                                       : "name or password too long for PAP";
}

/* A survey's server that has no further method may say so by ending the link: that was the purpose. */
static void terminate_requested(struct ppp_peer *l, const struct ppp_hdr *pkt, uint64_t now_ms, struct evq *out)
{
    bool surveyed = l->cfg->survey && (l->lcp.seen || l->lcp.unknown_len);
    bool unsuited = l->lcp.barred && l->phase == ESTABLISH;
    cp_input(&l->lcp.cp, pkt, now_ms, out);
    if (l->phase == DEAD)
        return;
    if (unsuited) /* its answer to our Nak */
        set_cause(l, PPP_DOWN_NO_AUTH, unsuited_text(l));
    ppp_guard_cause(&l->guard, surveyed ? PPP_DOWN_OUR_TERMINATE : PPP_DOWN_PEER_TERMINATE, pkt->data.p,
                    rd_left(&pkt->data));
    if (l->phase == TERMINATE)
        return;
    l->phase = TERMINATE;
    if (l->lcp.cp.state != CP_STOPPING)
        finish(l, out);
}

static void input_lcp_request(struct ppp_peer *l, const struct ppp_hdr *pkt, uint64_t now_ms, struct evq *out)
{
    if (!ended(l) && !lcp_peer_study(&l->lcp, pkt->data))
        fail_no_auth(l, now_ms, out);
    else
        cp_input(&l->lcp.cp, pkt, now_ms, out);
}

static void input_lcp(struct ppp_peer *l, struct rd info, uint64_t now_ms, struct evq *out)
{
    struct ppp_hdr pkt;
    if (!ppp_hdr_parse(info, &pkt))
        return;
    if ((pkt.code == CP_ECHO_REQ || pkt.code == CP_ECHO_REP) && lcp_echo_is_own(l->lcp.magic, pkt.data))
        return; /* looped back: no sign of life */
    ppp_peer_alive(l, now_ms);
    switch (pkt.code) {
    case CP_CONF_REQ: input_lcp_request(l, &pkt, now_ms, out); return;
    case CP_PROT_REJ: protocol_rejected(l, pkt.data, now_ms, out); return;
    case CP_ECHO_REP: l->echo_answered = true; return;
    case CP_DISCARD_REQ: return;
    case CP_TERM_REQ: terminate_requested(l, &pkt, now_ms, out); return;
    default: cp_input(&l->lcp.cp, &pkt, now_ms, out); return;
    }
}

static void network_begin(struct ppp_peer *l, uint64_t now_ms, struct evq *out)
{
    l->phase = NETWORK;
    ppp_peer_alive(l, now_ms);
    cp_event(&l->ipcp.cp, CP_EV_UP, now_ms, out);
    if (l->cfg->ipv6)
        cp_event(&l->ipv6cp.cp, CP_EV_UP, now_ms, out);
}

/*
 * EAP stands for many methods, of which the server may want one that we do not have; a name or password may be too long
 * for PAP. Another protocol may still do.
 */
static void try_other_method(struct ppp_peer *l, uint64_t now_ms, struct evq *out)
{
    if (l->phase != AUTHENTICATE || !lcp_peer_bar(&l->lcp, ppp_peer_method(l))) {
        fail(l, PPP_DOWN_NO_AUTH, unsuited_text(l), now_ms, out);
        return;
    }
    cp_event(&l->lcp.cp, CP_EV_DOWN, now_ms, out);
    cp_event(&l->lcp.cp, CP_EV_UP, now_ms, out);
}

static void refused(struct ppp_peer *l, uint64_t now_ms, struct evq *out)
{
    l->auth_error = l->auth.error ? l->auth.error : PPP_AUTH_FAILURE;
    fail(l, PPP_DOWN_AUTH_FAILED, l->auth.text[0] ? l->auth.text : "authentication failed", now_ms, out);
}

/* A server may ask again at any time (RFC 1994 4.1), so that all but the first passing counts in the network phase too.
 */
static void auth_outcome(struct ppp_peer *l, enum authc_outcome outcome, uint64_t now_ms, struct evq *out)
{
    if (ended(l))
        return;
    switch (outcome) {
    case AUTHC_PENDING: return;
    case AUTHC_PASSED:
        if (l->phase == AUTHENTICATE)
            network_begin(l, now_ms, out);
        return;
    case AUTHC_REFUSED: refused(l, now_ms, out); return;
    case AUTHC_LIED:
        fail(l, PPP_DOWN_AUTH_FAILED, "the server did not prove that it knows the password", now_ms, out);
        return;
    case AUTHC_TIMED_OUT: fail(l, PPP_DOWN_AUTH_TIMEOUT, "no verdict on the login", now_ms, out); return;
    case AUTHC_UNSUITED: try_other_method(l, now_ms, out); return;
    }
}

static int input_auth(struct ppp_peer *l, uint16_t protocol, struct rd info, uint64_t now_ms, struct evq *out)
{
    enum authc_outcome outcome = AUTHC_PENDING;
    int rc = authc_input(&l->auth, protocol, info, now_ms, out, &outcome);
    if (rc == 0)
        auth_outcome(l, outcome, now_ms, out);
    return rc;
}

static void input_ipcp(struct ppp_peer *l, const struct ppp_hdr *pkt, uint64_t now_ms, struct evq *out)
{
    switch (ipcp_peer_study(&l->ipcp, pkt)) {
    case CP_ACK: cp_input(&l->ipcp.cp, pkt, now_ms, out); return;
    case CP_NAK: return;
    case CP_REJECT: l->ipcp.cp.signals |= CP_FAILED; return;
    }
}

static int dispatch(struct ppp_peer *l, uint16_t protocol, struct rd info, uint64_t now_ms, struct evq *out)
{
    struct ppp_hdr pkt;
    if (protocol == PPP_LCP) {
        input_lcp(l, info, now_ms, out);
        return 0;
    }
    if (l->lcp.cp.state != CP_OPENED)
        return 0;
    ppp_peer_alive(l, now_ms);
    if (is_auth(protocol))
        return input_auth(l, protocol, info, now_ms, out);
    if (protocol < 0xc000 && l->phase != NETWORK)
        return 0; /* RFC 1661 3.5: network control waits for authentication */
    if (protocol == PPP_IPCP || (protocol == PPP_IPV6CP && l->cfg->ipv6)) {
        if (ppp_hdr_parse(info, &pkt) && protocol == PPP_IPCP)
            input_ipcp(l, &pkt, now_ms, out);
        else if (ppp_hdr_parse(info, &pkt))
            cp_input(&l->ipv6cp.cp, &pkt, now_ms, out);
        return 0;
    }
    if (ppp_guard_reject(&l->guard, protocol))
        lcp_protocol_reject_send(&l->lcp.cp, l->lcp.peer_mru, protocol, info, out);
    return 0;
}

int ppp_peer_input(struct ppp_peer *l, struct rd frame, uint64_t now_ms, struct evq *out)
{
    uint16_t protocol;
    if (l->phase == DEAD || !ppp_frame_open(&frame, &protocol) || protocol < 0x8000)
        return 0;
    int rc = dispatch(l, protocol, frame, now_ms, out);
    settle(l, now_ms, out);
    return rc ? rc : done(out);
}

int ppp_peer_terminate(struct ppp_peer *l, const char *reason, uint64_t now_ms, struct evq *out)
{
    if (l->phase == DEAD && !l->guard.cause_known)
        l->phase = ESTABLISH; /* never started: there is nobody to tell */
    fail(l, PPP_DOWN_OUR_TERMINATE, reason, now_ms, out);
    settle(l, now_ms, out);
    if (l->lcp.cp.state == CP_INITIAL)
        finish(l, out);
    return done(out);
}

/* Where echoes have gone unanswered a Terminate-Request would too: the link is down at once. */
static void expire_echo(struct ppp_peer *l, uint64_t now_ms, struct evq *out)
{
    if (l->phase != NETWORK || now_ms < l->echo_ms)
        return;
    if (l->cfg->lcp_echo_misses && l->echo_answered && l->echoes_missed >= l->cfg->lcp_echo_misses) {
        set_cause(l, PPP_DOWN_ECHO, "echoes unanswered");
        l->phase = TERMINATE;
        cp_event(&l->lcp.cp, CP_EV_DOWN, now_ms, out);
        settle(l, now_ms, out);
        finish(l, out);
        return;
    }
    if (l->echoes_missed < UINT8_MAX)
        l->echoes_missed++;
    l->echo_ms = now_ms + l->cfg->lcp_echo_idle_ms;
    lcp_echo_send(&l->lcp.cp, l->lcp.magic, out);
}

int ppp_peer_ask(struct ppp_peer *l, struct evq *out)
{
    if (l->phase == NETWORK)
        lcp_echo_send(&l->lcp.cp, l->lcp.magic, out);
    return done(out);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t ppp_peer_deadline(const struct ppp_peer *l)
{
    if (l->phase == DEAD)
        return TIME_NEVER;
    uint64_t t = earlier(l->lcp.cp.deadline_ms, authc_deadline(&l->auth));
    t = earlier(t, l->ipcp.cp.deadline_ms);
    t = earlier(t, l->ipv6cp.cp.deadline_ms);
    return l->phase == NETWORK ? earlier(t, l->echo_ms) : t;
}

static void expire_lcp(struct ppp_peer *l, uint64_t now_ms, struct evq *out)
{
    bool negotiating = l->lcp.cp.state >= CP_REQ_SENT;
    cp_expire(&l->lcp.cp, now_ms, out);
    if (negotiating && l->lcp.cp.state == CP_STOPPED)
        set_cause(l, PPP_DOWN_LCP_TIMEOUT, "LCP did not open");
}

static void expire_ipcp(struct ppp_peer *l, uint64_t now_ms, struct evq *out)
{
    cp_expire(&l->ipcp.cp, now_ms, out);
    if (l->ipcp.cp.signals & CP_TLF && !l->ipcp.ip4.ip4 && (l->ipcp.naks || l->ipcp.zero_acks))
        l->no_address = true;
}

int ppp_peer_expire(struct ppp_peer *l, uint64_t now_ms, struct evq *out)
{
    if (l->phase == DEAD)
        return 0;
    expire_lcp(l, now_ms, out);
    settle(l, now_ms, out);
    auth_outcome(l, authc_expire(&l->auth, now_ms, out), now_ms, out);
    expire_ipcp(l, now_ms, out);
    cp_expire(&l->ipv6cp.cp, now_ms, out);
    settle(l, now_ms, out);
    expire_echo(l, now_ms, out);
    return done(out);
}

uint16_t ppp_peer_mtu(const struct ppp_peer *l)
{
    return l->lcp.peer_mru < IP_MAX ? l->lcp.peer_mru : IP_MAX;
}

const char *ppp_peer_phase(const struct ppp_peer *l)
{
    static const char *const names[] = { "dead", "establish", "authenticate", "network", "terminate" };
    return names[l->phase];
}

unsigned ppp_peer_methods(const struct ppp_peer *l)
{
    return l->lcp.seen;
}

enum ppp_auth_method ppp_peer_first_method(const struct ppp_peer *l)
{
    return (enum ppp_auth_method)l->lcp.first;
}

uint8_t ppp_peer_unknown_auth(const struct ppp_peer *l, uint8_t out[8])
{
    memcpy(out, l->lcp.unknown, sizeof l->lcp.unknown);
    return l->lcp.unknown_len;
}

bool ppp_peer_ending(const struct ppp_peer *l, struct ppp_down *why)
{
    if (l->phase != TERMINATE || !l->guard.cause_known)
        return false;
    *why = l->guard.down;
    return true;
}

enum ppp_auth_method ppp_peer_method(const struct ppp_peer *l)
{
    return (enum ppp_auth_method)l->lcp.auth;
}

uint32_t ppp_peer_auth_error(const struct ppp_peer *l)
{
    return l->auth_error;
}
