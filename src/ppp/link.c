#include "ppp/link.h"

#include <stdlib.h>

#include "base/ct.h"
#include "base/timerq.h"
#include "ppp/authp.h"
#include "ppp/guard.h"
#include "ppp/ipcp.h"
#include "ppp/ipv6cp.h"
#include "ppp/lcp.h"

#define FIRST_FRAME_MS      300 /* how long our first Configure-Request waits for the client to speak */
#define HELD_MAX            256 /* bytes of an IPCP request that waits for the client's address */
#define ECHO_MISSES_DEFAULT 3

enum phase { DEAD, ESTABLISH, AUTHENTICATE, NETWORK, TERMINATE }; /* RFC 1661 3.2 */

struct ppp_link {
    const struct ppp_cfg *cfg;
    struct ppp_guard guard;
    struct lcp lcp;
    struct authp auth;
    struct ipcp ipcp;
    struct ipv6cp ipv6cp;
    uint64_t start_ms; /* when our first Configure-Request goes; TIME_NEVER: gone or not started */
    uint64_t echo_ms;  /* when the next LCP Echo-Request goes */
    uint8_t *held;     /* owned: information of the client's early IPCP Configure-Request */
    uint16_t held_len;
    uint8_t phase; /* enum phase */
    uint8_t echoes_missed;
};

struct ppp_link *ppp_link_new(const struct ppp_cfg *cfg, struct rng rng)
{
    struct ppp_link *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->cfg = cfg;
    l->start_ms = l->echo_ms = TIME_NEVER;
    lcp_init(&l->lcp, cfg, rng, &l->guard.common);
    authp_init(&l->auth, cfg, rng);
    ipcp_init(&l->ipcp, cfg, &l->guard.common);
    ipv6cp_init(&l->ipv6cp, cfg->ip6_iid, rng, &l->guard.common);
    return l;
}

void ppp_link_free(struct ppp_link *l)
{
    if (!l)
        return;
    authp_fini(&l->auth);
    free(l->held);
    secret_free(l, sizeof *l);
}

static int done(const struct evq *out)
{
    return out->failed ? ERR_LIMIT : 0;
}

static bool ended(const struct ppp_link *l)
{
    return l->phase == DEAD || l->phase == TERMINATE;
}

static void set_cause(struct ppp_link *l, enum ppp_down_cause cause, const char *text)
{
    ppp_guard_cause(&l->guard, cause, text, strlen(text));
}

static void finish(struct ppp_link *l, struct evq *out)
{
    if (l->phase == DEAD)
        return;
    l->phase = DEAD;
    set_cause(l, PPP_DOWN_PROTOCOL, "fatal reject");
    evq_put(out, PPP_EV_DOWN, &l->guard.down, sizeof l->guard.down);
}

/* Ends the link in order: Terminate-Request with the text as its reason, then PPP_EV_DOWN. */
static void fail(struct ppp_link *l, enum ppp_down_cause cause, const char *text, uint64_t now_ms, struct evq *out)
{
    if (ended(l))
        return;
    set_cause(l, cause, text);
    l->phase = TERMINATE;
    l->start_ms = TIME_NEVER;
    l->lcp.cp.reason = l->guard.down.text;
    cp_event(&l->lcp.cp, CP_EV_CLOSE, now_ms, out);
}

static void count_renegotiation(struct ppp_link *l, uint64_t now_ms, struct evq *out)
{
    if (!ppp_guard_renegotiate(&l->guard, now_ms))
        fail(l, PPP_DOWN_PROTOCOL, "endless renegotiation", now_ms, out);
}

static void ncps_down(struct ppp_link *l, uint64_t now_ms, struct evq *out)
{
    cp_event(&l->ipcp.cp, CP_EV_DOWN, now_ms, out);
    cp_event(&l->ipv6cp.cp, CP_EV_DOWN, now_ms, out);
}

static void lcp_down(struct ppp_link *l, uint64_t now_ms, struct evq *out)
{
    authp_stop(&l->auth);
    ncps_down(l, now_ms, out);
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

static void lcp_up(struct ppp_link *l, uint64_t now_ms, struct evq *out)
{
    if (ended(l))
        return;
    if (l->lcp.auth == PPP_AUTH_NONE) { /* none is configured */
        fail(l, PPP_DOWN_NO_AUTH, "no authentication method", now_ms, out);
        return;
    }
    l->phase = AUTHENTICATE;
    authp_start(&l->auth, l->lcp.auth, now_ms, out);
}

static void settle_lcp(struct ppp_link *l, unsigned sig, uint64_t now_ms, struct evq *out)
{
    if (sig & CP_TLD)
        lcp_down(l, now_ms, out);
    if (sig & CP_FAILED)
        fail(l, PPP_DOWN_NO_AUTH, "no authentication method in common", now_ms, out);
    if (sig & CP_TLU)
        lcp_up(l, now_ms, out);
    if (sig & CP_TLF)
        finish(l, out);
}

static bool ncp_dead(const struct cp *cp)
{
    return cp->state == CP_STOPPED || cp->state == CP_CLOSED;
}

static void settle_ncp(struct ppp_link *l, struct cp *cp, unsigned sig, uint64_t now_ms, struct evq *out)
{
    bool v4 = cp == &l->ipcp.cp;
    if (sig & CP_TLD) {
        evq_put(out, v4 ? PPP_EV_IP4_DOWN : PPP_EV_IP6_DOWN, NULL, 0);
        if (l->lcp.cp.state == CP_OPENED)
            count_renegotiation(l, now_ms, out);
    }
    if (sig & CP_FAILED)
        cp_event(cp, CP_EV_RXJ_MINUS, now_ms, out);
    if (sig & CP_TLU && v4)
        evq_put(out, PPP_EV_IP4_UP, NULL, 0);
    if (sig & CP_TLU && !v4)
        evq_put(out, PPP_EV_IP6_UP, l->ipv6cp.peer_id, sizeof l->ipv6cp.peer_id);
    if (l->phase == NETWORK && ncp_dead(&l->ipcp.cp) && (!l->cfg->ipv6 || ncp_dead(&l->ipv6cp.cp)))
        fail(l, PPP_DOWN_NCP_FAILED, "no network protocol", now_ms, out);
}

/* Carries out what the automatons have signalled, until they are quiet. Ends: causes are set once, and phases go
 * forward. */
static void settle(struct ppp_link *l, uint64_t now_ms, struct evq *out)
{
    if (ppp_guard_endless(&l->guard))
        fail(l, PPP_DOWN_PROTOCOL, "endless negotiation", now_ms, out);
    for (;;) {
        unsigned sig = cp_signals(&l->lcp.cp);
        if (sig)
            settle_lcp(l, sig, now_ms, out);
        unsigned sig4 = cp_signals(&l->ipcp.cp), sig6 = cp_signals(&l->ipv6cp.cp);
        if (sig4)
            settle_ncp(l, &l->ipcp.cp, sig4, now_ms, out);
        if (sig6)
            settle_ncp(l, &l->ipv6cp.cp, sig6, now_ms, out);
        if (!sig && !sig4 && !sig6)
            break;
    }
}

int ppp_link_start(struct ppp_link *l, uint64_t now_ms, struct evq *out)
{
    if (l->phase != DEAD || l->guard.cause_known)
        return ERR_USAGE;
    l->phase = ESTABLISH;
    l->start_ms = now_ms + FIRST_FRAME_MS;
    cp_event(&l->lcp.cp, CP_EV_OPEN, now_ms, out);
    cp_event(&l->ipcp.cp, CP_EV_OPEN, now_ms, out);
    cp_event(&l->ipv6cp.cp, CP_EV_OPEN, now_ms, out);
    settle(l, now_ms, out);
    return done(out);
}

static void lower_layer_up(struct ppp_link *l, uint64_t now_ms, struct evq *out)
{
    if (l->start_ms == TIME_NEVER)
        return;
    l->start_ms = TIME_NEVER;
    cp_event(&l->lcp.cp, CP_EV_UP, now_ms, out);
}

void ppp_link_alive(struct ppp_link *l, uint64_t now_ms)
{
    l->echoes_missed = 0;
    l->echo_ms = l->cfg->lcp_echo_idle_ms ? now_ms + l->cfg->lcp_echo_idle_ms : TIME_NEVER;
}

/* RFC 1661 5.7: in the Opened state only. */
static void protocol_rejected(struct ppp_link *l, struct rd data, uint64_t now_ms, struct evq *out)
{
    uint16_t protocol;
    if (l->lcp.cp.state != CP_OPENED || !rd_u16(&data, &protocol))
        return;
    if (protocol == PPP_IPCP)
        cp_event(&l->ipcp.cp, CP_EV_RXJ_MINUS, now_ms, out);
    else if (protocol == PPP_IPV6CP)
        cp_event(&l->ipv6cp.cp, CP_EV_RXJ_MINUS, now_ms, out);
    else if (protocol == PPP_LCP || (l->phase == AUTHENTICATE && (protocol == PPP_CHAP || protocol == PPP_PAP)))
        fail(l, PPP_DOWN_PROTOCOL, "the client rejects LCP or authentication", now_ms, out);
}

/* The client wants to end. From Opened the automaton waits a moment, in which the client hangs SSTP up by itself. */
static void terminate_requested(struct ppp_link *l, const struct ppp_hdr *pkt, uint64_t now_ms, struct evq *out)
{
    bool refused = l->phase == AUTHENTICATE && l->auth.failures > 0; /* it does not want to try again */
    cp_input(&l->lcp.cp, pkt, now_ms, out);
    if (l->phase == DEAD)
        return;
    ppp_guard_cause(&l->guard, refused ? PPP_DOWN_AUTH_FAILED : PPP_DOWN_PEER_TERMINATE, pkt->data.p,
                    rd_left(&pkt->data));
    if (l->phase == TERMINATE)
        return;
    l->phase = TERMINATE;
    if (l->lcp.cp.state != CP_STOPPING)
        finish(l, out);
}

static void input_lcp(struct ppp_link *l, struct rd info, uint64_t now_ms, struct evq *out)
{
    struct ppp_hdr pkt;
    if (!ppp_hdr_parse(info, &pkt))
        return;
    bool own = (pkt.code == CP_ECHO_REQ || pkt.code == CP_ECHO_REP) && lcp_echo_is_own(l->lcp.magic, pkt.data);
    if (own)
        return; /* looped back: no sign of life */
    ppp_link_alive(l, now_ms);
    switch (pkt.code) {
    case CP_PROT_REJ: protocol_rejected(l, pkt.data, now_ms, out); return;
    case CP_ECHO_REP:
    case CP_DISCARD_REQ: return;
    case CP_TERM_REQ: terminate_requested(l, &pkt, now_ms, out); return;
    default: cp_input(&l->lcp.cp, &pkt, now_ms, out); return;
    }
}

/* The client may ask before it has an address here; dropping the request would cost it a retransmission timeout. */
static int hold_ipcp(struct ppp_link *l, const struct ppp_hdr *pkt)
{
    size_t n = rd_left(&pkt->whole);
    if (pkt->code != CP_CONF_REQ || n > HELD_MAX)
        return 0;
    uint8_t *copy = malloc(n);
    if (!copy)
        return ERR_NOMEM;
    memcpy(copy, pkt->whole.p, n);
    free(l->held);
    l->held = copy;
    l->held_len = (uint16_t)n;
    return 0;
}

static int input_ncp(struct ppp_link *l, struct cp *cp, struct rd info, uint64_t now_ms, struct evq *out)
{
    struct ppp_hdr pkt;
    if (!ppp_hdr_parse(info, &pkt))
        return 0;
    if (cp == &l->ipcp.cp && !l->ipcp.peer_ip4)
        return hold_ipcp(l, &pkt);
    cp_input(cp, &pkt, now_ms, out);
    return 0;
}

static void network_begin(struct ppp_link *l, uint64_t now_ms, struct evq *out)
{
    l->phase = NETWORK;
    ppp_link_alive(l, now_ms);
    if (l->cfg->ipv6)
        cp_event(&l->ipv6cp.cp, CP_EV_UP, now_ms, out);
    if (l->ipcp.peer_ip4)
        cp_event(&l->ipcp.cp, CP_EV_UP, now_ms, out);
}

static void auth_outcome(struct ppp_link *l, enum authp_outcome outcome, uint64_t now_ms, struct evq *out)
{
    if (l->phase != AUTHENTICATE)
        return;
    switch (outcome) {
    case AUTHP_PENDING: return;
    case AUTHP_PASSED: network_begin(l, now_ms, out); return;
    case AUTHP_REFUSED: fail(l, PPP_DOWN_AUTH_FAILED, "authentication failed", now_ms, out); return;
    case AUTHP_TIMED_OUT: fail(l, PPP_DOWN_AUTH_TIMEOUT, "no answer to authentication", now_ms, out); return;
    }
}

static int input_auth(struct ppp_link *l, uint16_t protocol, struct rd info, uint64_t now_ms, struct evq *out)
{
    enum authp_outcome outcome;
    int rc = authp_input(&l->auth, protocol, info, now_ms, out, &outcome);
    if (rc == 0)
        auth_outcome(l, outcome, now_ms, out);
    return rc;
}

static int dispatch(struct ppp_link *l, uint16_t protocol, struct rd info, uint64_t now_ms, struct evq *out)
{
    if (protocol == PPP_LCP) {
        input_lcp(l, info, now_ms, out);
        return 0;
    }
    if (l->lcp.cp.state != CP_OPENED)
        return 0;
    ppp_link_alive(l, now_ms);
    if (protocol == PPP_CHAP || protocol == PPP_PAP)
        return input_auth(l, protocol, info, now_ms, out);
    if (protocol < 0xc000 && l->phase != NETWORK)
        return 0; /* RFC 1661 3.5: network control waits for authentication */
    if (protocol == PPP_IPCP)
        return input_ncp(l, &l->ipcp.cp, info, now_ms, out);
    if (protocol == PPP_IPV6CP && l->cfg->ipv6)
        return input_ncp(l, &l->ipv6cp.cp, info, now_ms, out);
    if (ppp_guard_reject(&l->guard, protocol)) /* Windows probes CCP and needs the answer */
        lcp_protocol_reject_send(&l->lcp.cp, l->lcp.peer_mru, protocol, info, out);
    return 0;
}

int ppp_link_input(struct ppp_link *l, struct rd frame, uint64_t now_ms, struct evq *out)
{
    uint16_t protocol;
    if (l->phase == DEAD || !ppp_frame_open(&frame, &protocol) || protocol < 0x8000)
        return 0;
    lower_layer_up(l, now_ms, out);
    int rc = dispatch(l, protocol, frame, now_ms, out);
    settle(l, now_ms, out);
    return rc ? rc : done(out);
}

int ppp_link_auth_result(struct ppp_link *l, const struct ppp_auth_result *r, uint64_t now_ms, struct evq *out)
{
    auth_outcome(l, authp_result(&l->auth, r, now_ms, out), now_ms, out);
    settle(l, now_ms, out);
    return done(out);
}

int ppp_link_set_ip4(struct ppp_link *l, uint32_t ip4, uint64_t now_ms, struct evq *out)
{
    if (!ip4 || (l->ipcp.peer_ip4 && l->ipcp.peer_ip4 != ip4))
        return ERR_USAGE;
    l->ipcp.peer_ip4 = ip4;
    if (l->phase != NETWORK)
        return 0;
    cp_event(&l->ipcp.cp, CP_EV_UP, now_ms, out);
    struct ppp_hdr pkt;
    if (l->held && ppp_hdr_parse(rd_make(l->held, l->held_len), &pkt))
        cp_input(&l->ipcp.cp, &pkt, now_ms, out);
    free(l->held);
    l->held = NULL;
    settle(l, now_ms, out);
    return done(out);
}

int ppp_link_terminate(struct ppp_link *l, const char *reason, uint64_t now_ms, struct evq *out)
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
static void expire_echo(struct ppp_link *l, uint64_t now_ms, struct evq *out)
{
    unsigned max = l->cfg->lcp_echo_misses ? l->cfg->lcp_echo_misses : ECHO_MISSES_DEFAULT;
    if (l->phase != NETWORK || now_ms < l->echo_ms)
        return;
    if (l->echoes_missed >= max) {
        set_cause(l, PPP_DOWN_ECHO, "echoes unanswered");
        l->phase = TERMINATE;
        cp_event(&l->lcp.cp, CP_EV_DOWN, now_ms, out);
        settle(l, now_ms, out);
        finish(l, out);
        return;
    }
    l->echoes_missed++;
    l->echo_ms = now_ms + l->cfg->lcp_echo_idle_ms;
    lcp_echo_send(&l->lcp.cp, l->lcp.magic, out);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t ppp_link_deadline(const struct ppp_link *l)
{
    if (l->phase == DEAD)
        return TIME_NEVER;
    uint64_t t = earlier(l->start_ms, authp_deadline(&l->auth));
    t = earlier(t, l->lcp.cp.deadline_ms);
    t = earlier(t, l->ipcp.cp.deadline_ms);
    t = earlier(t, l->ipv6cp.cp.deadline_ms);
    return l->phase == NETWORK ? earlier(t, l->echo_ms) : t;
}

static void expire_lcp(struct ppp_link *l, uint64_t now_ms, struct evq *out)
{
    bool negotiating = l->lcp.cp.state >= CP_REQ_SENT;
    cp_expire(&l->lcp.cp, now_ms, out);
    if (negotiating && l->lcp.cp.state == CP_STOPPED)
        set_cause(l, PPP_DOWN_LCP_TIMEOUT, "LCP did not open");
}

int ppp_link_expire(struct ppp_link *l, uint64_t now_ms, struct evq *out)
{
    if (l->phase == DEAD)
        return 0;
    if (now_ms >= l->start_ms)
        lower_layer_up(l, now_ms, out);
    expire_lcp(l, now_ms, out);
    settle(l, now_ms, out);
    auth_outcome(l, authp_expire(&l->auth, now_ms, out), now_ms, out);
    cp_expire(&l->ipcp.cp, now_ms, out);
    cp_expire(&l->ipv6cp.cp, now_ms, out);
    settle(l, now_ms, out);
    expire_echo(l, now_ms, out);
    return done(out);
}

uint16_t ppp_link_peer_mru(const struct ppp_link *l)
{
    return l->lcp.peer_mru;
}

const char *ppp_link_phase(const struct ppp_link *l)
{
    static const char *const names[] = { "dead", "establish", "authenticate", "network", "terminate" };
    return names[l->phase];
}

const char *ppp_down_name(enum ppp_down_cause cause)
{
    switch (cause) {
    case PPP_DOWN_PEER_TERMINATE: return "peer-terminate";
    case PPP_DOWN_OUR_TERMINATE: return "our-terminate";
    case PPP_DOWN_LCP_TIMEOUT: return "lcp-timeout";
    case PPP_DOWN_NO_AUTH: return "no-auth";
    case PPP_DOWN_AUTH_FAILED: return "auth-failed";
    case PPP_DOWN_AUTH_TIMEOUT: return "auth-timeout";
    case PPP_DOWN_ECHO: return "echo";
    case PPP_DOWN_NCP_FAILED: return "ncp-failed";
    case PPP_DOWN_PROTOCOL: return "protocol";
    }
    return "?";
}
