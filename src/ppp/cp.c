#include "ppp/cp.h"

/* clang-format off */
#define NO { 0, CP_IMPOSSIBLE }

/* The actions in the spelling of RFC 1661 4.4, for the table alone. */
enum {
    tld = CP_TLD, tls = CP_TLS, irc = CP_IRC, zrc = CP_ZRC, scr = CP_SCR, sca = CP_SCA, scn = CP_SCN,
    str = CP_STR, sta = CP_STA, scj = CP_SCJ, ser = CP_SER, tlu = CP_TLU, tlf = CP_TLF,
};

/*
 * RFC 1661 4.1: a row for each event, a column for each state from 0 Initial to 9 Opened, split after 4 Closing. The
 * restart option (r) is not used.
 */
const struct cp_cell cp_table[CP_EVENTS][CP_STATES] = {
    [CP_EV_UP] = {
        { 0, 2 },   { irc | scr, 6 }, NO,               NO,                     NO,
        NO,         NO,               NO,               NO,                     NO,
    },
    [CP_EV_DOWN] = {
        NO,         NO,               { 0, 0 },         { tls, 1 },             { 0, 0 },
        { 0, 1 },   { 0, 1 },         { 0, 1 },         { 0, 1 },               { tld, 1 },
    },
    [CP_EV_OPEN] = {
        { tls, 1 }, { 0, 1 },         { irc | scr, 6 }, { 0, 3 },               { 0, 5 },
        { 0, 5 },   { 0, 6 },         { 0, 7 },         { 0, 8 },               { 0, 9 },
    },
    [CP_EV_CLOSE] = {
        { 0, 0 },   { tlf, 0 },       { 0, 2 },         { 0, 2 },               { 0, 4 },
        { 0, 4 },   { irc | str, 4 }, { irc | str, 4 }, { irc | str, 4 },       { tld | irc | str, 4 },
    },
    [CP_EV_TO_PLUS] = {
        NO,         NO,               NO,               NO,                     { str, 4 },
        { str, 5 }, { scr, 6 },       { scr, 6 },       { scr, 8 },             NO,
    },
    [CP_EV_TO_MINUS] = {
        NO,         NO,               NO,               NO,                     { tlf, 2 },
        { tlf, 3 }, { tlf, 3 },       { tlf, 3 },       { tlf, 3 },             NO,
    },
    [CP_EV_RCR_PLUS] = {
        NO,         NO,               { sta, 2 },       { irc | scr | sca, 8 }, { 0, 4 },
        { 0, 5 },   { sca, 8 },       { sca | tlu, 9 }, { sca, 8 },             { tld | scr | sca, 8 },
    },
    [CP_EV_RCR_MINUS] = {
        NO,         NO,               { sta, 2 },       { irc | scr | scn, 6 }, { 0, 4 },
        { 0, 5 },   { scn, 6 },       { scn, 7 },       { scn, 6 },             { tld | scr | scn, 6 },
    },
    [CP_EV_RCA] = {
        NO,         NO,               { sta, 2 },       { sta, 3 },             { 0, 4 },
        { 0, 5 },   { irc, 7 },       { scr, 6 },       { irc | tlu, 9 },       { tld | scr, 6 },
    },
    [CP_EV_RCN] = {
        NO,         NO,               { sta, 2 },       { sta, 3 },             { 0, 4 },
        { 0, 5 },   { irc | scr, 6 }, { scr, 6 },       { irc | scr, 8 },       { tld | scr, 6 },
    },
    [CP_EV_RTR] = {
        NO,         NO,               { sta, 2 },       { sta, 3 },             { sta, 4 },
        { sta, 5 }, { sta, 6 },       { sta, 6 },       { sta, 6 },             { tld | zrc | sta, 5 },
    },
    [CP_EV_RTA] = {
        NO,         NO,               { 0, 2 },         { 0, 3 },               { tlf, 2 },
        { tlf, 3 }, { 0, 6 },         { 0, 6 },         { 0, 8 },               { tld | scr, 6 },
    },
    [CP_EV_RUC] = {
        NO,         NO,               { scj, 2 },       { scj, 3 },             { scj, 4 },
        { scj, 5 }, { scj, 6 },       { scj, 7 },       { scj, 8 },             { scj, 9 },
    },
    [CP_EV_RXJ_PLUS] = {
        NO,         NO,               { 0, 2 },         { 0, 3 },               { 0, 4 },
        { 0, 5 },   { 0, 6 },         { 0, 6 },         { 0, 8 },               { 0, 9 },
    },
    [CP_EV_RXJ_MINUS] = {
        NO,         NO,               { tlf, 2 },       { tlf, 3 },             { tlf, 2 },
        { tlf, 3 }, { tlf, 3 },       { tlf, 3 },       { tlf, 3 },             { tld | irc | str, 5 },
    },
    [CP_EV_RXR] = {
        NO,         NO,               { 0, 2 },         { 0, 3 },               { 0, 4 },
        { 0, 5 },   { 0, 6 },         { 0, 7 },         { 0, 8 },               { ser, 9 },
    },
};
/* clang-format on */

/* The packet that an event is about; an empty one for administrative events, whose actions need none. */
struct cause {
    const struct ppp_hdr *pkt;
    enum cp_verdict verdict; /* of a Configure-Request */
};

void cp_init(struct cp *cp, const struct cp_ops *ops, void *self, struct cp_common *common)
{
    *cp = (struct cp){ .ops = ops, .self = self, .common = common, .deadline_ms = TIME_NEVER, .next_id = 1 };
}

unsigned cp_signals(struct cp *cp)
{
    unsigned s = cp->signals;
    cp->signals = 0;
    return s;
}

static bool timer_runs(unsigned state)
{
    return state >= CP_CLOSING && state <= CP_ACK_SENT;
}

static void send_request(struct cp *cp, uint64_t now_ms, struct evq *out)
{
    /* A new Identifier for retransmissions too: the answers to both copies arrive, and the first is then stale. */
    cp->req_id = cp->next_id++;
    struct ppp_pkt p = ppp_pkt_open(out, cp->ops->protocol, CP_CONF_REQ, cp->req_id);
    cp->ops->build(cp->self, &p.w);
    ppp_pkt_close(&p, out);
    unsigned n = cp->sent < 2 ? cp->sent++ : 2;
    cp->deadline_ms = now_ms + cp->ops->restart_ms[n];
    if (cp->restart)
        cp->restart--;
}

static void send_terminate(struct cp *cp, uint64_t now_ms, struct evq *out)
{
    cp->req_id = cp->next_id++;
    const char *text = cp->reason ? cp->reason : "";
    ppp_pkt_send(out, cp->ops->protocol, CP_TERM_REQ, cp->req_id, text, strlen(text));
    cp->deadline_ms = now_ms + CP_TERMINATE_MS;
    if (cp->restart)
        cp->restart--;
}

static unsigned max_failure(const struct cp *cp)
{
    return cp->ops->max_failure ? cp->ops->max_failure : CP_MAX_FAILURE;
}

/* Judges one option; past Max-Failure what would be Nak'd is rejected (RFC 1661 4.6). */
static enum cp_verdict judge(struct cp *cp, const struct ppp_opt *opt, struct wr *nak)
{
    enum cp_verdict v = cp->ops->judge(cp->self, opt, cp->naks, nak);
    return v == CP_NAK && cp->naks >= max_failure(cp) ? CP_REJECT : v;
}

/* Options that the request lacks, written to w; true when there are any. */
static bool missing(struct cp *cp, struct rd options, struct wr *w)
{
    size_t before = wr_len(w);
    if (cp->ops->missing)
        cp->ops->missing(cp->self, options, w);
    return wr_len(w) > before;
}

/* The answer to the request as a whole: any Reject outweighs any Nak, any Nak outweighs Ack (RFC 1661 5.4). */
static enum cp_verdict judge_all(struct cp *cp, struct rd options)
{
    enum cp_verdict worst = CP_ACK;
    struct ppp_opt opt;
    uint8_t scratch[CP_OWN_OPTIONS_MAX];
    for (struct rd list = options; ppp_opt_next(&list, &opt) == 0;) {
        struct wr w = wr_make(scratch, sizeof scratch);
        enum cp_verdict v = judge(cp, &opt, &w);
        if (v > worst)
            worst = v;
    }
    struct wr w = wr_make(scratch, sizeof scratch);
    if (worst == CP_ACK && missing(cp, options, &w))
        worst = CP_NAK;
    return worst;
}

static void send_ack(struct cp *cp, const struct ppp_hdr *pkt, struct evq *out)
{
    cp->naks = 0;
    cp->ops->accept(cp->self, pkt->data);
    ppp_pkt_send(out, cp->ops->protocol, CP_CONF_ACK, pkt->id, pkt->data.p, rd_left(&pkt->data));
}

static void send_nak_or_reject(struct cp *cp, const struct cause *c, struct evq *out)
{
    uint8_t code = c->verdict == CP_NAK ? CP_CONF_NAK : CP_CONF_REJ;
    struct ppp_pkt p = ppp_pkt_open(out, cp->ops->protocol, code, c->pkt->id);
    struct ppp_opt opt;
    uint8_t scratch[CP_OWN_OPTIONS_MAX];
    for (struct rd list = c->pkt->data; ppp_opt_next(&list, &opt) == 0;) {
        struct wr nak = wr_make(scratch, sizeof scratch);
        enum cp_verdict v = judge(cp, &opt, &nak);
        if (v != c->verdict)
            continue;
        if (v == CP_NAK)
            wr_bytes(&p.w, scratch, wr_len(&nak));
        else
            wr_bytes(&p.w, opt.whole.p, rd_left(&opt.whole));
    }
    if (c->verdict == CP_NAK)
        (void)missing(cp, c->pkt->data, &p.w);
    ppp_pkt_close(&p, out);
    if (c->verdict != CP_NAK)
        return;
    if (cp->naks < UINT8_MAX)
        cp->naks++;
    if (cp->ops->nakked)
        cp->ops->nakked(cp->self, c->pkt->data);
}

static void send_code_reject(struct cp *cp, const struct ppp_hdr *pkt, struct evq *out)
{
    if (cp->common->code_rejected)
        return;
    cp->common->code_rejected = true;
    size_t n = rd_left(&pkt->whole);
    if (n > CP_REQUEST_MAX - 4)
        n = CP_REQUEST_MAX - 4; /* RFC 1661 5.7: cut to the peer's MRU */
    ppp_pkt_send(out, cp->ops->protocol, CP_CODE_REJ, cp->next_id++, pkt->whole.p, n);
}

static void send_echo_reply(struct cp *cp, const struct ppp_hdr *pkt, struct evq *out)
{
    if (!cp->ops->echo)
        return;
    struct ppp_pkt p = ppp_pkt_open(out, cp->ops->protocol, CP_ECHO_REP, pkt->id);
    cp->ops->echo(cp->self, pkt->data, &p.w);
    ppp_pkt_close(&p, out);
}

static void act(struct cp *cp, unsigned actions, const struct cause *c, uint64_t now_ms, struct evq *out)
{
    if (actions & CP_IRC)
        cp->restart = actions & CP_STR ? CP_MAX_TERMINATE : CP_MAX_CONFIGURE;
    if (actions & CP_ZRC) {
        cp->restart = 0;
        cp->deadline_ms = now_ms + CP_TERMINATE_MS;
    }
    if (actions & CP_SCR)
        send_request(cp, now_ms, out);
    if (actions & CP_SCA)
        send_ack(cp, c->pkt, out);
    if (actions & CP_SCN)
        send_nak_or_reject(cp, c, out);
    if (actions & CP_STR)
        send_terminate(cp, now_ms, out);
    if (actions & CP_STA) /* the data is the peer's to repeat or not: RFC 1661 5.5; we repeat it when it asked */
        ppp_pkt_send(out, cp->ops->protocol, CP_TERM_ACK, c->pkt->id, c->pkt->data.p,
                     c->pkt->code == CP_TERM_REQ ? rd_left(&c->pkt->data) : 0);
    if (actions & CP_SCJ)
        send_code_reject(cp, c->pkt, out);
    if (actions & CP_SER)
        send_echo_reply(cp, c->pkt, out);
}

/* The one place where the state changes. */
static void step(struct cp *cp, enum cp_event ev, const struct cause *c, uint64_t now_ms, struct evq *out)
{
    const struct cp_cell *cell = &cp_table[ev][cp->state];
    if (cell->next == CP_IMPOSSIBLE)
        return;
    if (ev == CP_EV_UP || ev == CP_EV_OPEN)
        cp->sent = 0;
    act(cp, cell->actions, c, now_ms, out);
    cp->signals |= cell->actions & CP_SIGNALS;
    cp->state = cell->next;
    if (cp->state == CP_OPENED && cell->actions & CP_TLU)
        cp->common->packets = 0;
    if (!timer_runs(cp->state))
        cp->deadline_ms = TIME_NEVER;
}

void cp_event(struct cp *cp, enum cp_event ev, uint64_t now_ms, struct evq *out)
{
    static const struct ppp_hdr none;
    step(cp, ev, &(struct cause){ &none, CP_ACK }, now_ms, out);
}

static void input_request(struct cp *cp, const struct ppp_hdr *pkt, uint64_t now_ms, struct evq *out)
{
    if (rd_left(&pkt->whole) > CP_REQUEST_MAX || !ppp_opt_list_valid(pkt->data))
        return;
    struct cause c = { pkt, judge_all(cp, pkt->data) };
    if (c.verdict == CP_NAK && cp->naks >= max_failure(cp)) {
        /* Only a missing option gets here: it cannot be rejected, and asking for it did not help. */
        cp->signals |= CP_FAILED;
        return;
    }
    step(cp, c.verdict == CP_ACK ? CP_EV_RCR_PLUS : CP_EV_RCR_MINUS, &c, now_ms, out);
}

/* An Ack must repeat our request bit for bit (RFC 1661 5.2). */
static bool ack_matches(struct cp *cp, struct rd options)
{
    uint8_t own[CP_OWN_OPTIONS_MAX];
    struct wr w = wr_make(own, sizeof own);
    cp->ops->build(cp->self, &w);
    return wr_ok(&w) && wr_len(&w) == rd_left(&options) && (wr_len(&w) == 0 || !memcmp(own, options.p, wr_len(&w)));
}

static bool answer_expected(const struct cp *cp)
{
    return cp->state >= CP_REQ_SENT;
}

static void input_ack(struct cp *cp, const struct ppp_hdr *pkt, uint64_t now_ms, struct evq *out)
{
    if (pkt->id != cp->req_id || (answer_expected(cp) && !ack_matches(cp, pkt->data)))
        return;
    step(cp, CP_EV_RCA, &(struct cause){ pkt, CP_ACK }, now_ms, out);
}

static void input_nak(struct cp *cp, const struct ppp_hdr *pkt, uint64_t now_ms, struct evq *out)
{
    if (pkt->id != cp->req_id || !ppp_opt_list_valid(pkt->data))
        return;
    if (answer_expected(cp) && !cp->ops->apply(cp->self, pkt->code, pkt->data)) {
        cp->signals |= CP_FAILED;
        return;
    }
    step(cp, CP_EV_RCN, &(struct cause){ pkt, CP_ACK }, now_ms, out);
}

static void input_code_reject(struct cp *cp, const struct ppp_hdr *pkt, uint64_t now_ms, struct evq *out)
{
    uint8_t code;
    struct rd r = pkt->data;
    if (!rd_u8(&r, &code))
        return;
    /* Without the codes of the automaton itself there is no link; echo and the like can be done without. */
    bool fatal = code >= CP_CONF_REQ && code <= CP_CODE_REJ;
    step(cp, fatal ? CP_EV_RXJ_MINUS : CP_EV_RXJ_PLUS, &(struct cause){ pkt, CP_ACK }, now_ms, out);
}

void cp_input(struct cp *cp, const struct ppp_hdr *pkt, uint64_t now_ms, struct evq *out)
{
    const struct cause c = { pkt, CP_ACK };
    if (pkt->code >= CP_CONF_REQ && pkt->code <= CP_CONF_REJ && cp->common->packets < UINT16_MAX)
        cp->common->packets++;
    if (cp->state == CP_INITIAL || cp->state == CP_STARTING)
        return; /* the lower layer is down: there is nobody to answer */
    switch (pkt->code) {
    case CP_CONF_REQ: input_request(cp, pkt, now_ms, out); return;
    case CP_CONF_ACK: input_ack(cp, pkt, now_ms, out); return;
    case CP_CONF_NAK:
    case CP_CONF_REJ: input_nak(cp, pkt, now_ms, out); return;
    case CP_TERM_REQ: step(cp, CP_EV_RTR, &c, now_ms, out); return;
    case CP_TERM_ACK:
        if (pkt->id == cp->req_id)
            step(cp, CP_EV_RTA, &c, now_ms, out);
        return;
    case CP_CODE_REJ: input_code_reject(cp, pkt, now_ms, out); return;
    case CP_ECHO_REQ: step(cp, cp->ops->echo ? CP_EV_RXR : CP_EV_RUC, &c, now_ms, out); return;
    case CP_IDENTIFICATION:
    case CP_TIME_REMAINING: return; /* Windows sends the first after LCP opened; it wants no answer */
    default: step(cp, CP_EV_RUC, &c, now_ms, out); return;
    }
}

void cp_expire(struct cp *cp, uint64_t now_ms, struct evq *out)
{
    if (now_ms < cp->deadline_ms)
        return;
    cp->deadline_ms = TIME_NEVER;
    cp_event(cp, cp->restart ? CP_EV_TO_PLUS : CP_EV_TO_MINUS, now_ms, out);
}

const char *cp_state_name(enum cp_state state)
{
    static const char *const names[CP_STATES] = { "Initial",  "Starting", "Closed",   "Stopped",  "Closing",
                                                  "Stopping", "Req-Sent", "Ack-Rcvd", "Ack-Sent", "Opened" };
    return state < CP_STATES ? names[state] : "?";
}
