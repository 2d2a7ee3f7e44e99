/*
 * The client's side of the authentication phase: MS-CHAPv2 (RFC 2759), EAP-MSCHAPv2 (RFC 3748), CHAP-MD5 (RFC 1994),
 * PAP (RFC 1334). The other role of ppp/authp.h. Without I/O.
 *
 * Which method is spoken was settled by LCP; nothing here answers another one, so a server cannot talk us down. With
 * the two MS-CHAPv2 forms the server must prove that it knows the password (S=) before anything is taken as success:
 * EAP-Success or CHAP Success without it is AUTHC_LIED.
 */
#ifndef GH_PPP_AUTHC_H
#define GH_PPP_AUTHC_H

#include "auth/request.h"
#include "base/evq.h"
#include "base/rand.h"
#include "base/timerq.h"
#include "ppp/link.h"

#define AUTHC_RESEND_MS 3000  /* of an unanswered PAP request */
#define AUTHC_LIMIT_MS  30000 /* for the server's verdict, from its latest step */
#define AUTHC_STEPS_MAX 20    /* packets of the server taken in one authentication */
/* Our longest answer: EAP, EAP-MSCHAPv2, Value-Size, Value, Name */
#define AUTHC_ANSWER_MAX (5 + 4 + 1 + 49 + 256)

struct ppp_secret {       /* secret; borrowed from the owner, who wipes it */
    const char *user;     /* as the server shall see it, DOMAIN\ included */
    const char *password; /* UTF-8 */
};

enum authc_state {
    AUTHC_IDLE,
    AUTHC_WAITING,  /* for the server's first step, or PAP's request is sent */
    AUTHC_ANSWERED, /* our response is sent, the verdict awaited */
    AUTHC_PROVED,   /* EAP: S= was right, EAP-Success awaited */
    AUTHC_OVER,     /* passed; a repeated verdict or a new challenge is answered again */
};

enum authc_outcome {
    AUTHC_PENDING,
    AUTHC_PASSED,    /* once a start; PPP_EV_AUTHED was appended, the first time. Reauthentication: AUTHC_PENDING */
    AUTHC_REFUSED,   /* the server says no: see error and text */
    AUTHC_LIED,      /* the server does not know the password, or skipped its proof */
    AUTHC_TIMED_OUT, /* no verdict */
    AUTHC_UNSUITED,  /* EAP: the server insists on a method that we do not have. PAP: the name or the password is above
                        255 octets, told by authc_expire() at once */
};

struct authc {
    const struct ppp_secret *secret; /* borrowed */
    struct rng rng;
    uint64_t resend_ms, limit_ms;
    uint8_t state;    /* enum authc_state */
    uint8_t method;   /* enum ppp_auth_method */
    uint8_t id;       /* of what we sent last */
    uint8_t first_id; /* PAP: of the first request of this start */
    uint8_t steps;
    bool authed;           /* PPP_EV_AUTHED was given, which happens once */
    bool passed;           /* since the start; from then on a reauthentication has no limits */
    bool unsuited;         /* EAP: our latest word on methods was Nak */
    uint32_t error;        /* AUTHC_REFUSED: E= of RFC 2759 6; 691 where there is no code. EAP's Failure request sets it
                              already: the server may just end the link then */
    char text[96];         /* the server's words, unescaped, cut */
    char expected[42];     /* S= that proves it */
    uint8_t hlak[32];      /* secret; zeros for PAP and CHAP-MD5 */
    uint8_t challenge_len; /* CHAP: what the latest Response is for */
    uint8_t challenge[255];
    uint8_t last_type, last_first; /* EAP: Type and first octet of the Request that was answered */
    uint16_t last_len; /* our latest Response, repeated when its Request is (RFC 3748 4.1, RFC 1994 4.1); 0: none */
    uint8_t last[AUTHC_ANSWER_MAX];
};

void authc_init(struct authc *a, const struct ppp_secret *secret, struct rng rng);
void authc_fini(struct authc *a); /* wipes */

/* LCP opened with this method: sends PAP's request, or waits for the server. */
void authc_start(struct authc *a, enum ppp_auth_method method, uint64_t now_ms, struct evq *out);
void authc_stop(struct authc *a); /* LCP went down */

/* The information of a PAP, CHAP or EAP frame; other protocols than the method's are dropped. Errors: the digest's. */
MUST_USE int authc_input(struct authc *a, uint16_t protocol, struct rd info, uint64_t now_ms, struct evq *out,
                         enum authc_outcome *outcome);

uint64_t authc_deadline(const struct authc *a);
enum authc_outcome authc_expire(struct authc *a, uint64_t now_ms, struct evq *out);

#endif
