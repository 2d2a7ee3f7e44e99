/*
 * One PPP link, client side, without I/O: LCP as an undemanding peer, authentication (authc.h), IPCP, IPV6CP. The other
 * role of ppp/link.h, on the same automaton (cp.h) and events.
 *
 * The owner calls ppp_peer_start() when SSTP says so (LCP's Configure-Request goes at once: some servers begin PPP only
 * after our first data packet), passes every PPP frame that is not network data to ppp_peer_input(), calls
 * ppp_peer_expire() at ppp_peer_deadline(), and drains the events after each call:
 *
 *   PPP_EV_SEND    one whole frame
 *   PPP_EV_AUTHED  struct ppp_authed (secret): the server proved itself; SSTP gets the HLAK before anything else is
 *                  sent: the frames of IPCP and IPV6CP come right behind it in the queue. Once
 *   PPP_EV_IP4_UP  struct ppp_peer_ip4
 *   PPP_EV_IP6_UP  struct ppp_peer_ip6
 *   PPP_EV_IP4_DOWN, PPP_EV_IP6_DOWN
 *   PPP_EV_DOWN    struct ppp_down: the link is finished; hang up. Once
 *
 * The link lives as long as one of IPv4 and IPv6 does or may come up.
 */
#ifndef GH_PPP_PEER_H
#define GH_PPP_PEER_H

#include "ppp/authc.h"
#include "ppp/link.h"

struct ppp_peer_cfg {
    uint16_t mru;              /* largest packet we take, asked for when it is not 1500; 0: the option is left out */
    uint8_t auth[5];           /* enum ppp_auth_method that we may answer, the one to ask for first; 0 ends */
    bool dns;                  /* ask for name servers */
    bool ipv6;                 /* IPV6CP; else Protocol-Reject */
    uint32_t lcp_echo_idle_ms; /* 0: no LCP echoes of ours */
    /* Unanswered ones until the link is down, for a server that has answered one before; 0: they never end it. */
    uint8_t lcp_echo_misses;
    /*
     * Do not log in: answer each authentication method of the server's Configure-Request with a Nak for another one,
     * until it has none that is new, then end the link (PPP_DOWN_OUR_TERMINATE). ppp_peer_methods() has the list.
     */
    bool survey;
};

struct ppp_peer_ip4 { /* host order */
    uint32_t ip4;     /* ours; never 0 */
    uint32_t peer;    /* the server's; 0: not told */
    uint32_t dns[2];  /* 0: none */
};

struct ppp_peer_ip6 {
    uint8_t own[8], peer[8]; /* interface identifiers */
};

struct ppp_peer;

/* cfg and secret are borrowed and outlive the link (secret: NULL with survey). NULL on allocation failure. */
struct ppp_peer *ppp_peer_new(const struct ppp_peer_cfg *cfg, const struct ppp_secret *secret, struct rng rng);
void ppp_peer_free(struct ppp_peer *l); /* wipes; NULL is fine */

MUST_USE int ppp_peer_start(struct ppp_peer *l, uint64_t now_ms, struct evq *out);
MUST_USE int ppp_peer_input(struct ppp_peer *l, struct rd frame, uint64_t now_ms, struct evq *out);
MUST_USE int ppp_peer_terminate(struct ppp_peer *l, const char *reason, uint64_t now_ms, struct evq *out);

uint64_t ppp_peer_deadline(const struct ppp_peer *l);
MUST_USE int ppp_peer_expire(struct ppp_peer *l, uint64_t now_ms, struct evq *out);
void ppp_peer_alive(struct ppp_peer *l, uint64_t now_ms); /* a network packet arrived; cheap */
/* An LCP Echo-Request out of turn, which nothing is concluded from. A no-op before the network phase. */
MUST_USE int ppp_peer_ask(struct ppp_peer *l, struct evq *out);

uint16_t ppp_peer_mtu(const struct ppp_peer *l); /* largest packet that the server takes: its MRU, 1500 until told */
const char *ppp_peer_phase(const struct ppp_peer *l); /* as ppp_link_phase() */

/* Whether the link is ending, PPP's goodbye unfinished; *why is then what PPP_EV_DOWN will say. For when SSTP or TLS
 * ends first: many servers do not wait. */
MUST_USE bool ppp_peer_ending(const struct ppp_peer *l, struct ppp_down *why);

/* What the server asked for in LCP, one bit (1 << enum ppp_auth_method) each; and the first of them. */
unsigned ppp_peer_methods(const struct ppp_peer *l);
enum ppp_auth_method ppp_peer_first_method(const struct ppp_peer *l);
uint8_t ppp_peer_unknown_auth(const struct ppp_peer *l, uint8_t out[8]); /* option 3 of a method unknown to us: bytes */

enum ppp_auth_method ppp_peer_method(const struct ppp_peer *l); /* settled by LCP; PPP_AUTH_NONE before */
/* After PPP_DOWN_AUTH_FAILED: E= of the server's Failure (691 when it gave none); 0: it failed OUR check of its proof.
 */
uint32_t ppp_peer_auth_error(const struct ppp_peer *l);

#endif
