/*
 * The option negotiation automaton (RFC 1661 4), one for LCP, IPCP and IPV6CP and for either role.
 *
 * What the options mean is in a table of callbacks (struct cp_ops). Frames are appended to the event queue; what the
 * automaton tells its upper and lower layer (This-Layer-Up and so on) is left in `signals` for the owner, who asks with
 * cp_signals() after each call, so that nobody is called from inside.
 */
#ifndef GH_PPP_CP_H
#define GH_PPP_CP_H

#include "base/evq.h"
#include "base/rd.h"
#include "base/timerq.h"
#include "base/wr.h"
#include "ppp/opt.h"

#define CP_MAX_CONFIGURE   10 /* RFC 1661 4.6 */
#define CP_MAX_TERMINATE   2
#define CP_MAX_FAILURE     5
#define CP_TERMINATE_MS    1000 /* between Terminate-Requests; the transport is reliable, 3 s would be idle waiting */
#define CP_REQUEST_MAX     1500 /* bytes of a Configure-Request that is answered: the MRU of LCP (RFC 1661 6.1) */
#define CP_OWN_OPTIONS_MAX 64   /* bytes of options that we ever ask for */

enum cp_state { /* RFC 1661 4.2, in its numbering */
                CP_INITIAL,
                CP_STARTING,
                CP_CLOSED,
                CP_STOPPED,
                CP_CLOSING,
                CP_STOPPING,
                CP_REQ_SENT,
                CP_ACK_RCVD,
                CP_ACK_SENT,
                CP_OPENED,
                CP_STATES,
                CP_IMPOSSIBLE = CP_STATES, /* as a next state: this event cannot occur here and is ignored */
};

enum cp_event { /* RFC 1661 4.3 */
                CP_EV_UP,
                CP_EV_DOWN,
                CP_EV_OPEN,
                CP_EV_CLOSE,
                CP_EV_TO_PLUS,   /* timeout, restart counter > 0 */
                CP_EV_TO_MINUS,  /* timeout, restart counter 0   */
                CP_EV_RCR_PLUS,  /* acceptable Configure-Request */
                CP_EV_RCR_MINUS, /* another Configure-Request    */
                CP_EV_RCA,
                CP_EV_RCN, /* Configure-Nak or -Reject     */
                CP_EV_RTR,
                CP_EV_RTA,
                CP_EV_RUC,       /* unknown code                 */
                CP_EV_RXJ_PLUS,  /* tolerable Code- or Protocol-Reject */
                CP_EV_RXJ_MINUS, /* fatal one                    */
                CP_EV_RXR,       /* Echo or Discard              */
                CP_EVENTS
};

enum cp_action {                      /* RFC 1661 4.4; bits. Carried out in the order of this list */
                 CP_TLD = 1 << 0,     /* This-Layer-Down     */
                 CP_TLS = 1 << 1,     /* This-Layer-Started  */
                 CP_IRC = 1 << 2,     /* Initialize-Restart-Count */
                 CP_ZRC = 1 << 3,     /* Zero-Restart-Count  */
                 CP_SCR = 1 << 4,     /* Send-Configure-Request */
                 CP_SCA = 1 << 5,     /* Send-Configure-Ack  */
                 CP_SCN = 1 << 6,     /* Send-Configure-Nak or -Reject */
                 CP_STR = 1 << 7,     /* Send-Terminate-Request */
                 CP_STA = 1 << 8,     /* Send-Terminate-Ack  */
                 CP_SCJ = 1 << 9,     /* Send-Code-Reject    */
                 CP_SER = 1 << 10,    /* Send-Echo-Reply     */
                 CP_TLU = 1 << 11,    /* This-Layer-Up       */
                 CP_TLF = 1 << 12,    /* This-Layer-Finished */
                 CP_FAILED = 1 << 13, /* not an action: the peer refuses what we cannot do without; the owner closes */
};
#define CP_SIGNALS (CP_TLD | CP_TLS | CP_TLU | CP_TLF | CP_FAILED)

enum cp_code { /* RFC 1661 5 */
               CP_CONF_REQ = 1,
               CP_CONF_ACK,
               CP_CONF_NAK,
               CP_CONF_REJ,
               CP_TERM_REQ,
               CP_TERM_ACK,
               CP_CODE_REJ,
               CP_PROT_REJ, /* from here on LCP only */
               CP_ECHO_REQ,
               CP_ECHO_REP,
               CP_DISCARD_REQ,
               CP_IDENTIFICATION, /* RFC 1570 2.1: ignored */
               CP_TIME_REMAINING, /* RFC 1570 2.2: ignored */
};

struct cp_cell {
    uint16_t actions; /* enum cp_action */
    uint8_t next;     /* enum cp_state  */
};

/* RFC 1661 4.1, its rows and columns. */
extern const struct cp_cell cp_table[CP_EVENTS][CP_STATES];

enum cp_verdict { CP_ACK, CP_NAK, CP_REJECT };

struct cp_ops { /* self is struct cp's self */
    uint16_t protocol;
    uint8_t max_failure;    /* Naks until Reject; 0: CP_MAX_FAILURE */
    uint16_t restart_ms[3]; /* restart timer after the first, the second and each further Configure-Request */

    /* Writes the options of our Configure-Request; the same until apply() is called, since an Ack is compared with it.
     */
    void (*build)(void *self, struct wr *w);

    /* Judges one option of the peer's request; for CP_NAK, and only then, writes the acceptable option. No side
     * effects. naks: how many Naks went out since the last Ack. */
    enum cp_verdict (*judge)(void *self, const struct ppp_opt *opt, unsigned naks, struct wr *nak);

    /* Writes options that the request lacks and must have, to be appended to a Nak. May be NULL. */
    void (*missing)(void *self, struct rd options, struct wr *nak);

    /* A Nak of these options went out. May be NULL. */
    void (*nakked)(void *self, struct rd options);

    /* The request is being acknowledged: these options are in force. */
    void (*accept)(void *self, struct rd options);

    /* Our request was answered by Nak or Reject. False: we cannot go on without what was refused. */
    bool (*apply)(void *self, enum cp_code code, struct rd options);

    /* Data of an Echo-Reply for the data of an Echo-Request. LCP only. */
    void (*echo)(void *self, struct rd data, struct wr *w);
};

/* What the protocols of one link share. */
struct cp_common {
    uint16_t packets; /* Configure packets received since any protocol opened: the owner's cap on endless negotiation */
    bool code_rejected; /* a Code-Reject went out; one is enough (Open SSTP ends its session on it) */
};

struct cp {
    const struct cp_ops *ops; /* borrowed */
    void *self;
    struct cp_common *common; /* borrowed */
    const char *reason;       /* text of Terminate-Requests, borrowed, may be NULL */
    uint64_t deadline_ms;     /* restart timer, TIME_NEVER when stopped */
    uint16_t signals;         /* enum cp_action, those that are the owner's */
    uint8_t state;            /* enum cp_state */
    uint8_t next_id;          /* Identifier of the next packet that we begin */
    uint8_t req_id;           /* of our latest Configure- or Terminate-Request: others' answers are stale */
    uint8_t restart;          /* restart counter */
    uint8_t sent;             /* Configure-Requests since Up, for the schedule; saturates */
    uint8_t naks;             /* Naks sent since the last Ack (Max-Failure) */
};

void cp_init(struct cp *cp, const struct cp_ops *ops, void *self, struct cp_common *common);

/* Administrative events and Protocol-Reject: Up, Down, Open, Close, RXJ+, RXJ-. */
void cp_event(struct cp *cp, enum cp_event ev, uint64_t now_ms, struct evq *out);

/* A packet with code 1 to 7, an Echo-Request, or an unknown code. Invalid and stale ones are dropped (RFC 1661 5). */
void cp_input(struct cp *cp, const struct ppp_hdr *pkt, uint64_t now_ms, struct evq *out);

/* The restart timer ran out; a no-op before cp->deadline_ms. */
void cp_expire(struct cp *cp, uint64_t now_ms, struct evq *out);

/* What happened since the last call: CP_TLU, CP_TLD, CP_TLS, CP_TLF, CP_FAILED. */
unsigned cp_signals(struct cp *cp);

const char *cp_state_name(enum cp_state state);

#endif
