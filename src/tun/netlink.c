#include "tun/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>

#define MSG_LEN 512

int netlink_open(struct netlink *nl, const char *ifname)
{
    *nl = (struct netlink){ .ifindex = ifname ? if_nametoindex(ifname) : 0 };
    if (ifname && !nl->ifindex)
        return ERR_SYSTEM;
    nl->sock = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!nl->sock)
        return ERR_SYSTEM;
    if (mnl_socket_bind(nl->sock, 0, MNL_SOCKET_AUTOPID) < 0) {
        netlink_close(nl);
        return ERR_SYSTEM;
    }
    return 0;
}

void netlink_close(struct netlink *nl)
{
    if (nl->sock)
        mnl_socket_close(nl->sock);
    nl->sock = NULL;
}

static struct nlmsghdr *begin(struct netlink *nl, void *buf, uint16_t type, uint16_t flags)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
    h->nlmsg_type = type;
    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    h->nlmsg_seq = ++nl->seq;
    return h;
}

static int talk(struct netlink *nl, struct nlmsghdr *h)
{
    char answer[8192];
    if (mnl_socket_sendto(nl->sock, h, h->nlmsg_len) < 0)
        return ERR_SYSTEM;
    ssize_t n = mnl_socket_recvfrom(nl->sock, answer, sizeof answer);
    if (n < 0)
        return ERR_SYSTEM;
    return mnl_cb_run(answer, (size_t)n, h->nlmsg_seq, mnl_socket_get_portid(nl->sock), NULL, NULL) < 0 ? ERR_SYSTEM
                                                                                                        : 0;
}

static struct nlmsghdr *link_begin(struct netlink *nl, void *buf, uint16_t type, unsigned flags, unsigned change)
{
    struct nlmsghdr *h = begin(nl, buf, type, 0);
    struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(h, sizeof *ifi);
    ifi->ifi_family = AF_UNSPEC;
    ifi->ifi_index = (int)nl->ifindex;
    ifi->ifi_flags = flags;
    ifi->ifi_change = change;
    return h;
}

int netlink_link_mtu(struct netlink *nl, uint32_t mtu)
{
    _Alignas(struct nlmsghdr) char buf[MSG_LEN];
    struct nlmsghdr *h = link_begin(nl, buf, RTM_NEWLINK, 0, 0);
    mnl_attr_put_u32(h, IFLA_MTU, mtu);
    return talk(nl, h);
}

int netlink_link_txqlen(struct netlink *nl, uint32_t packets)
{
    _Alignas(struct nlmsghdr) char buf[MSG_LEN];
    struct nlmsghdr *h = link_begin(nl, buf, RTM_NEWLINK, 0, 0);
    mnl_attr_put_u32(h, IFLA_TXQLEN, packets);
    return talk(nl, h);
}

int netlink_link_no_auto6(struct netlink *nl)
{
    _Alignas(struct nlmsghdr) char buf[MSG_LEN];
    struct nlmsghdr *h = link_begin(nl, buf, RTM_NEWLINK, 0, 0);
    struct nlattr *spec = mnl_attr_nest_start(h, IFLA_AF_SPEC);
    struct nlattr *in6 = mnl_attr_nest_start(h, AF_INET6);
    mnl_attr_put_u8(h, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
    mnl_attr_nest_end(h, in6);
    mnl_attr_nest_end(h, spec);
    return talk(nl, h);
}

int netlink_link_up(struct netlink *nl)
{
    _Alignas(struct nlmsghdr) char buf[MSG_LEN];
    return talk(nl, link_begin(nl, buf, RTM_NEWLINK, IFF_UP, IFF_UP));
}

int netlink_link_down(struct netlink *nl)
{
    _Alignas(struct nlmsghdr) char buf[MSG_LEN];
    return talk(nl, link_begin(nl, buf, RTM_NEWLINK, 0, IFF_UP));
}

int netlink_link_del(struct netlink *nl)
{
    _Alignas(struct nlmsghdr) char buf[MSG_LEN];
    return talk(nl, link_begin(nl, buf, RTM_DELLINK, 0, 0));
}

/* peer: what is behind the link, addr itself when it is no point-to-point address. */
static int addr_add(struct netlink *nl, uint8_t family, const void *addr, const void *peer, size_t len, uint8_t prefix,
                    uint8_t scope)
{
    _Alignas(struct nlmsghdr) char buf[MSG_LEN];
    struct nlmsghdr *h = begin(nl, buf, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
    struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(h, sizeof *ifa);
    ifa->ifa_family = family;
    ifa->ifa_prefixlen = prefix;
    ifa->ifa_scope = scope;
    ifa->ifa_index = nl->ifindex;
    ifa->ifa_flags = family == AF_INET6 ? IFA_F_NODAD : 0;
    mnl_attr_put(h, IFA_LOCAL, len, addr);
    mnl_attr_put(h, IFA_ADDRESS, len, peer);
    return talk(nl, h);
}

int netlink_addr4_add(struct netlink *nl, uint32_t addr, uint8_t prefix)
{
    uint32_t wire = htonl(addr);
    return addr_add(nl, AF_INET, &wire, &wire, 4, prefix, RT_SCOPE_UNIVERSE);
}

int netlink_addr4_peer_add(struct netlink *nl, uint32_t addr, uint32_t peer)
{
    uint32_t wire = htonl(addr), other = htonl(peer);
    return addr_add(nl, AF_INET, &wire, &other, 4, 32, RT_SCOPE_UNIVERSE);
}

int netlink_addr6_add(struct netlink *nl, const uint8_t addr[16], uint8_t prefix)
{
    return addr_add(nl, AF_INET6, addr, addr, 16, prefix, RT_SCOPE_LINK);
}

int netlink_route4_add(struct netlink *nl, uint32_t base, uint8_t prefix)
{
    _Alignas(struct nlmsghdr) char buf[MSG_LEN];
    uint32_t wire = htonl(base);
    struct nlmsghdr *h = begin(nl, buf, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
    struct rtmsg *rt = mnl_nlmsg_put_extra_header(h, sizeof *rt);
    rt->rtm_family = AF_INET;
    rt->rtm_dst_len = prefix;
    rt->rtm_table = RT_TABLE_MAIN;
    rt->rtm_protocol = RTPROT_STATIC;
    rt->rtm_scope = RT_SCOPE_LINK;
    rt->rtm_type = RTN_UNICAST;
    mnl_attr_put(h, RTA_DST, 4, &wire);
    mnl_attr_put_u32(h, RTA_OIF, nl->ifindex);
    return talk(nl, h);
}

static size_t ip_len(uint8_t family)
{
    return family == 4 ? 4 : 16;
}

static uint16_t af_of(uint8_t family)
{
    return family == 4 ? AF_INET : AF_INET6;
}

static void put_via(struct nlmsghdr *h, const struct netlink_route *r)
{
    if (r->via_family == r->family) {
        mnl_attr_put(h, RTA_GATEWAY, ip_len(r->family), r->via);
    } else if (r->via_family) {
        /* An IPv4 route through an IPv6 neighbour (RFC 5549): struct rtvia is the family and the address. */
        uint8_t via[2 + 16];
        uint16_t af = af_of(r->via_family);
        memcpy(via, &af, 2);
        memcpy(via + 2, r->via, ip_len(r->via_family));
        mnl_attr_put(h, RTA_VIA, 2 + ip_len(r->via_family), via);
    }
}

static struct nlmsghdr *route_begin(struct netlink *nl, void *buf, uint16_t type, uint16_t flags,
                                    const struct netlink_route *r)
{
    bool way = r->kind == NETLINK_ROUTE_UNICAST;
    struct nlmsghdr *h = begin(nl, buf, type, flags);
    struct rtmsg *rt = mnl_nlmsg_put_extra_header(h, sizeof *rt);
    rt->rtm_family = (uint8_t)af_of(r->family);
    rt->rtm_dst_len = r->bits;
    rt->rtm_table = RT_TABLE_MAIN;
    rt->rtm_protocol = r->protocol;
    rt->rtm_scope = way && r->family == 4 && !r->via_family ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    if (type == RTM_DELROUTE)
        rt->rtm_scope = RT_SCOPE_NOWHERE; /* whatever it has */
    rt->rtm_type = way ? RTN_UNICAST : RTN_UNREACHABLE;
    mnl_attr_put(h, RTA_DST, ip_len(r->family), r->dst);
    if (r->metric)
        mnl_attr_put_u32(h, RTA_PRIORITY, r->metric);
    if (way) {
        rt->rtm_flags = r->onlink ? RTNH_F_ONLINK : 0;
        mnl_attr_put_u32(h, RTA_OIF, r->ifindex);
        put_via(h, r);
    }
    return h;
}

int netlink_route_add(struct netlink *nl, const struct netlink_route *r)
{
    _Alignas(struct nlmsghdr) char buf[MSG_LEN];
    return talk(nl, route_begin(nl, buf, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, r));
}

int netlink_route_del(struct netlink *nl, const struct netlink_route *r)
{
    _Alignas(struct nlmsghdr) char buf[MSG_LEN];
    return talk(nl, route_begin(nl, buf, RTM_DELROUTE, 0, r));
}

struct addr_list {
    unsigned ifindex, n;
    struct netlink_addr a[16];
};

static void addr_collect(void *arg, const struct netlink_addr *a)
{
    struct addr_list *l = arg;
    if (a->ifindex == l->ifindex && l->n < sizeof l->a / sizeof *l->a)
        l->a[l->n++] = *a;
}

int netlink_addr_del_all(struct netlink *nl)
{
    struct addr_list l = { .ifindex = nl->ifindex };
    int rc = netlink_addr_dump(nl, addr_collect, &l);
    for (unsigned i = 0; !rc && i < l.n; i++) {
        _Alignas(struct nlmsghdr) char buf[MSG_LEN];
        struct nlmsghdr *h = begin(nl, buf, RTM_DELADDR, 0);
        struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(h, sizeof *ifa);
        ifa->ifa_family = (uint8_t)af_of(l.a[i].family);
        ifa->ifa_prefixlen = l.a[i].bits;
        ifa->ifa_index = nl->ifindex;
        mnl_attr_put(h, IFA_LOCAL, ip_len(l.a[i].family), l.a[i].ip);
        rc = talk(nl, h);
    }
    return rc;
}
