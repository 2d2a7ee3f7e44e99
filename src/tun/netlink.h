/*
 * The few rtnetlink requests that the TUN interface needs. Each returns 0, or ERR_SYSTEM with errno set by the kernel's
 * answer.
 */
#ifndef GH_TUN_NETLINK_H
#define GH_TUN_NETLINK_H

#include <stdint.h>

#include "base/err.h"

struct mnl_socket;

struct netlink {
    struct mnl_socket *sock;
    uint32_t seq;
    unsigned ifindex;
};

MUST_USE int netlink_open(struct netlink *nl, const char *ifname);
void netlink_close(struct netlink *nl);
MUST_USE int netlink_link_mtu(struct netlink *nl, uint32_t mtu);
MUST_USE int netlink_link_no_auto6(struct netlink *nl); /* IFLA_INET6_ADDR_GEN_MODE none */
MUST_USE int netlink_link_up(struct netlink *nl);
MUST_USE int netlink_addr4_add(struct netlink *nl, uint32_t addr, uint8_t prefix); /* host order */
MUST_USE int netlink_addr6_add(struct netlink *nl, const uint8_t addr[16], uint8_t prefix);
MUST_USE int netlink_route4_add(struct netlink *nl, uint32_t base, uint8_t prefix); /* scope link, by the interface */

#endif
