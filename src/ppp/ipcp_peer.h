/* IPCP's options (RFC 1332, RFC 1877), client side: the server gives us an address and name servers. */
#ifndef GH_PPP_IPCP_PEER_H
#define GH_PPP_IPCP_PEER_H

#include "ppp/cp.h"
#include "ppp/ipcp.h"
#include "ppp/peer.h"

struct ipcp_peer {
    struct cp cp;
    struct ppp_peer_ip4 ip4; /* own address: what we ask for, 0 until the server names one */
    bool want_dns[2];
    uint8_t naks;      /* since it was open */
    uint8_t zero_acks; /* of a request without an address */
};

void ipcp_peer_init(struct ipcp_peer *i, const struct ppp_peer_cfg *cfg, struct cp_common *common);

/*
 * An Ack of a request for 0.0.0.0 gives us nothing: to be dropped, so that we ask again. CP_NAK: drop it. CP_REJECT: it
 * came too often. CP_ACK: the packet is none.
 */
enum cp_verdict ipcp_peer_study(struct ipcp_peer *i, const struct ppp_hdr *pkt);

void ipcp_peer_opened(struct ipcp_peer *i);

#endif
