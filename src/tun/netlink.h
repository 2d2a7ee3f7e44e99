/*
 * The few rtnetlink requests that the TUN interface and the client's routes need. Each returns 0, or ERR_SYSTEM with
 * errno set by the kernel's answer.
 */
#ifndef GH_TUN_NETLINK_H
#define GH_TUN_NETLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct mnl_socket;

struct netlink {
    struct mnl_socket *sock;
    uint32_t seq;
    unsigned ifindex;
};

/* ifname: what the requests without an index are about; NULL: none (ifindex can be set later). */
MUST_USE int netlink_open(struct netlink *nl, const char *ifname);
void netlink_close(struct netlink *nl);
MUST_USE int netlink_link_mtu(struct netlink *nl, uint32_t mtu);
MUST_USE int netlink_link_txqlen(struct netlink *nl, uint32_t packets); /* all its rings follow at once */
MUST_USE int netlink_link_no_auto6(struct netlink *nl);                 /* IFLA_INET6_ADDR_GEN_MODE none */
MUST_USE int netlink_link_up(struct netlink *nl);
MUST_USE int netlink_link_down(struct netlink *nl);
MUST_USE int netlink_link_del(struct netlink *nl);
MUST_USE int netlink_addr4_add(struct netlink *nl, uint32_t addr, uint8_t prefix); /* host order */
MUST_USE int netlink_addr6_add(struct netlink *nl, const uint8_t addr[16], uint8_t prefix);
MUST_USE int netlink_addr4_peer_add(struct netlink *nl, uint32_t addr, uint32_t peer); /* addr/32, peer/32 behind it */
MUST_USE int netlink_addr_del_all(struct netlink *nl);                                 /* both families */
MUST_USE int netlink_route4_add(struct netlink *nl, uint32_t base, uint8_t prefix); /* scope link, by the interface */

/* How a route takes a packet on, as far as we care. */
enum netlink_route_kind {
    NETLINK_ROUTE_UNICAST,
    NETLINK_ROUTE_UNREACHABLE, /* also prohibit and blackhole: there is no way */
    NETLINK_ROUTE_LOCAL,       /* an address of this machine */
};

struct netlink_route {
    uint8_t family; /* 4, 6 */
    uint8_t bits;
    uint8_t dst[16]; /* network order, IPv4 in the first 4 */
    uint8_t protocol;
    enum netlink_route_kind kind;
    unsigned ifindex;   /* of the interface it leaves by; 0: none */
    uint8_t via_family; /* 4, 6, of the gateway; 0: none, the destination is a neighbour */
    uint8_t via[16];
    uint32_t metric;
    bool onlink; /* the gateway is a neighbour though no network says so */
    bool dead;   /* its link is down or without carrier */
};

/* In the main table. Never takes the place of another: EEXIST then. */
MUST_USE int netlink_route_add(struct netlink *nl, const struct netlink_route *r);
MUST_USE int netlink_route_del(struct netlink *nl, const struct netlink_route *r); /* ESRCH when it is not there */

/*
 * All routes of the main table, and the local ones of the local table. Of several next hops the first that lives is
 * told. Routes for a TOS or a source, multicast and cached ones are left out.
 */
typedef void netlink_route_fn(void *arg, const struct netlink_route *r);
MUST_USE int netlink_route_dump(struct netlink *nl, netlink_route_fn *fn, void *arg);

struct netlink_addr {
    uint8_t family; /* 4, 6 */
    uint8_t bits;
    uint8_t scope;
    uint8_t ip[16];
    unsigned ifindex;
};
typedef void netlink_addr_fn(void *arg, const struct netlink_addr *a);
MUST_USE int netlink_addr_dump(struct netlink *nl, netlink_addr_fn *fn, void *arg);

struct netlink_link {
    unsigned ifindex;
    bool up, carrier;
};
typedef void netlink_link_fn(void *arg, const struct netlink_link *l);
MUST_USE int netlink_link_dump(struct netlink *nl, netlink_link_fn *fn, void *arg);

/* One change that the kernel tells of. */
struct netlink_change {
    enum { NETLINK_CHANGE_LINK, NETLINK_CHANGE_ADDR, NETLINK_CHANGE_ROUTE } what;
    bool gone;
    struct netlink_link link;
    struct netlink_addr addr;
    struct netlink_route route;
};
typedef void netlink_change_fn(void *arg, const struct netlink_change *c);

/* A socket, non-blocking, that changes of links, addresses and routes of both families come from. */
MUST_USE int netlink_watch_open(struct netlink *nl);
/* Tells the changes that wait, a bounded number of datagrams. ERR_LIMIT: some were lost (ENOBUFS). */
MUST_USE int netlink_watch_read(struct netlink *nl, netlink_change_fn *fn, void *arg);

#endif
