/*
 * The authenticator's side of the authentication phase: PAP (RFC 1334 2), CHAP-MD5 (RFC 1994), MS-CHAPv2 (RFC 2759).
 *
 * Asks the owner with PPP_EV_AUTH and is told the verdict by authp_result(). At most one question is open at a time:
 * when LCP goes down under it, its verdict is waited for and thrown away before another question is asked.
 */
#ifndef GH_PPP_AUTHP_H
#define GH_PPP_AUTHP_H

#include "base/rand.h"
#include "base/timerq.h"
#include "ppp/link.h"

#define AUTHP_RESEND_MS      3000  /* of an unanswered Challenge */
#define AUTHP_LIMIT_MS       30000 /* for the client's answer in all */
#define AUTHP_RETRY_LIMIT_MS 60000 /* after R=1 a person types a password (RFC 2759 6) */
#define AUTHP_TRIES_MAX      10
#define AUTHP_VERDICT_MAX    128 /* bytes of the Success, Failure, Ack or Nak that is kept for repetition */

enum authp_state {
    AUTHP_IDLE,    /* not in the authentication phase            */
    AUTHP_WAITING, /* for a Response or an Authenticate-Request  */
    AUTHP_ASKED,   /* PPP_EV_AUTH given, verdict awaited         */
    AUTHP_OVER,    /* verdict sent; repeated when asked again    */
};

enum authp_outcome { AUTHP_PENDING, AUTHP_PASSED, AUTHP_REFUSED, AUTHP_TIMED_OUT };

struct authp {
    const struct ppp_cfg *cfg; /* borrowed */
    struct rng rng;
    uint64_t resend_ms, limit_ms;
    char *name; /* who asked last, owned; once authenticated, who it is for good */
    uint16_t name_len;
    uint8_t state;       /* enum authp_state */
    uint8_t method;      /* enum ppp_auth_method */
    uint8_t id;          /* of the Response that is awaited, or of the request asked about */
    uint8_t failures;    /* verdicts against the client in the life of the link */
    bool authenticated;  /* PPP_EV_AUTHED was given, which happens once */
    bool stale;          /* the next verdict belongs to a question that LCP's renegotiation made void */
    uint8_t verdict_len; /* 0: none yet */
    uint8_t challenge[16];
    uint8_t verdict[AUTHP_VERDICT_MAX]; /* whole packet, from Code; nothing secret is in it */
};

void authp_init(struct authp *a, const struct ppp_cfg *cfg, struct rng rng);
void authp_fini(struct authp *a);

/* LCP opened with this method: sends a Challenge, or waits for PAP's request. */
void authp_start(struct authp *a, enum ppp_auth_method method, uint64_t now_ms, struct evq *out);

/* LCP went down. */
void authp_stop(struct authp *a);

/* The information of a PAP or CHAP frame. AUTHP_REFUSED when a reauthentication names somebody else. ERR_NOMEM. */
MUST_USE int authp_input(struct authp *a, uint16_t protocol, struct rd info, uint64_t now_ms, struct evq *out,
                         enum authp_outcome *outcome);

/* The verdict: appends PPP_EV_AUTHED and then the Success, or the Failure. */
enum authp_outcome authp_result(struct authp *a, const struct ppp_auth_result *r, uint64_t now_ms, struct evq *out);

uint64_t authp_deadline(const struct authp *a);
enum authp_outcome authp_expire(struct authp *a, uint64_t now_ms, struct evq *out);

#endif
