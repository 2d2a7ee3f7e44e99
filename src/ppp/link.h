/*
 * One PPP link, server side, without I/O: LCP, authentication, IPCP, IPV6CP (RFC 1661, 1332, 5072, 2759, 1994, 1334).
 *
 * The owner calls ppp_link_start() when SSTP says so, passes every PPP frame that is not network data to
 * ppp_link_input(), calls ppp_link_expire() at ppp_link_deadline(), and drains the events after each call. Verifying a
 * login may take time (RADIUS): PPP_EV_AUTH asks, ppp_link_auth_result() answers, now or later.
 */
#ifndef GH_PPP_LINK_H
#define GH_PPP_LINK_H

#include "auth/request.h"
#include "base/evq.h"
#include "base/rand.h"
#include "base/rd.h"

#define PPP_IP      0x0021
#define PPP_IPV6    0x0057
#define PPP_IPCP    0x8021
#define PPP_IPV6CP  0x8057
#define PPP_CCP     0x80fd
#define PPP_LCP     0xc021
#define PPP_PAP     0xc023
#define PPP_CHAP    0xc223
#define PPP_EAP     0xc227
#define PPP_HDR_MAX 4

struct ppp_cfg {
    uint16_t mtu; /* of the tunnel interface: largest packet that we send, default 1400 */
    uint16_t
        mru; /* what we offer to receive; 0: the MTU, see spec rule 4. Frames up to SSTP_PAYLOAD_MAX are always taken */
    uint8_t auth[4];           /* enum ppp_auth_method, strongest first, 0 ends */
    uint32_t server_ip4;       /* host order, our end */
    uint32_t dns[2], nbns[2];  /* host order, 0: none */
    bool ipv6;                 /* IPV6CP answered; else Protocol-Reject */
    uint8_t ip6_iid[8];        /* our interface identifier; zeros: a random one for each link */
    uint32_t lcp_echo_idle_ms; /* 0: no LCP echoes (SSTP has its own) */
    uint8_t lcp_echo_misses;   /* unanswered echoes until the link is down */
    uint8_t auth_tries;        /* MS-CHAPv2 attempts in all (R=1 in between), 1..10 */
    char name[64];             /* our name in CHAP challenges */
};

enum ppp_event {
    PPP_EV_SEND,   /* payload: one whole frame, FF 03 and protocol included */
    PPP_EV_AUTH,   /* payload: struct ppp_auth_request; answer with ppp_link_auth_result() */
    PPP_EV_AUTHED, /* payload: struct ppp_authed: the verdict is on its way to the client; the owner gives SSTP the HLAK
                      and an address to the link (ppp_link_set_ip4), before or after; IPCP starts with it            */
    PPP_EV_IP4_UP, /* payload: none; IPCP opened: IPv4 passes                  */
    PPP_EV_IP4_DOWN,
    PPP_EV_IP6_UP, /* payload: 8 bytes, the client's interface identifier      */
    PPP_EV_IP6_DOWN,
    PPP_EV_DOWN, /* payload: struct ppp_down: the link is finished; hang up. Once */
};

struct ppp_authed { /* secret */
    uint8_t method;
    uint16_t name_len;
    char name[256];
    uint8_t hlak[32];
};

enum ppp_down_cause {
    PPP_DOWN_PEER_TERMINATE, /* LCP Terminate-Request from the client           */
    PPP_DOWN_OUR_TERMINATE,  /* ppp_link_terminate(), acknowledged or timed out */
    PPP_DOWN_LCP_TIMEOUT,    /* LCP did not open                                */
    PPP_DOWN_NO_AUTH,        /* no authentication method in common, or option 3 rejected */
    PPP_DOWN_AUTH_FAILED,    /* wrong credentials, tries used up                */
    PPP_DOWN_AUTH_TIMEOUT,   /* no answer to the challenge                      */
    PPP_DOWN_ECHO,           /* LCP echoes unanswered                           */
    PPP_DOWN_NCP_FAILED,     /* no network protocol could be opened             */
    PPP_DOWN_PROTOCOL,       /* a fatal reject, a loop, endless Naks            */
};

struct ppp_down {
    uint8_t cause; /* enum ppp_down_cause */
    char text[64]; /* for the log: a few words, may quote the peer's own reason (unescaped) */
};

struct ppp_link;

/* cfg is borrowed and outlives the link. NULL on allocation failure. */
struct ppp_link *ppp_link_new(const struct ppp_cfg *cfg, struct rng rng);
void ppp_link_free(struct ppp_link *l); /* wipes; NULL is fine */

/* Lower layer up. Sends nothing yet: waits up to 300 ms for the client's first frame (spec/clients rule 1), since many
 * clients' PPP is not ready right after CALL_CONNECT_ACK; then Configure-Request, repeated after 300 ms, 1 s, then
 * every 3 s. */
MUST_USE int ppp_link_start(struct ppp_link *l, uint64_t now_ms, struct evq *out);

/* One frame as received: FF 03 optional, protocol of 1 or 2 bytes, then information. Network data (protocol < 0x8000)
 * is ignored here. */
MUST_USE int ppp_link_input(struct ppp_link *l, struct rd frame, uint64_t now_ms, struct evq *out);

MUST_USE int ppp_link_auth_result(struct ppp_link *l, const struct ppp_auth_result *r, uint64_t now_ms,
                                  struct evq *out);

/* The client's address (host order), any time after PPP_EV_AUTHED. */
MUST_USE int ppp_link_set_ip4(struct ppp_link *l, uint32_t ip4, uint64_t now_ms, struct evq *out);

/* LCP Terminate-Request with a readable reason; PPP_EV_DOWN follows when it is acknowledged or after 2 tries. */
MUST_USE int ppp_link_terminate(struct ppp_link *l, const char *reason, uint64_t now_ms, struct evq *out);

uint64_t ppp_link_deadline(const struct ppp_link *l);
MUST_USE int ppp_link_expire(struct ppp_link *l, uint64_t now_ms, struct evq *out);

/* A network packet arrived (any data): LCP echo is not needed for a while. Cheap. */
void ppp_link_alive(struct ppp_link *l, uint64_t now_ms);

uint16_t ppp_link_peer_mru(const struct ppp_link *l); /* 1500 until negotiated */
const char *ppp_link_phase(const struct ppp_link *l); /* "establish", "authenticate", "network", "terminate", "dead" */
const char *ppp_down_name(enum ppp_down_cause cause);

/*
 * The protocol number of a frame and where its information starts; skips FF 03 and honours PFC. False when cut short.
 * Inline: every data packet passes here.
 */
static inline bool ppp_frame_open(struct rd *frame, uint16_t *protocol)
{
    const uint8_t *p = frame->p;
    size_t left = rd_left(frame);
    if (left >= 2 && p[0] == 0xff && p[1] == 0x03) {
        p += 2;
        left -= 2;
    }
    if (left < 1)
        return false;
    if (p[0] & 1) {
        *protocol = p[0];
        frame->p = p + 1;
        return true;
    }
    if (left < 2)
        return false;
    *protocol = (uint16_t)(p[0] << 8 | p[1]);
    frame->p = p + 2;
    return true;
}

#endif
