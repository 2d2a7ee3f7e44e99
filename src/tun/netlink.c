#include "tun/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#define MSG_LEN 512

int netlink_open(struct netlink *nl, const char *ifname)
{
    *nl = (struct netlink){ .ifindex = if_nametoindex(ifname) };
    if (!nl->ifindex)
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

static struct nlmsghdr *link_begin(struct netlink *nl, void *buf, unsigned flags)
{
    struct nlmsghdr *h = begin(nl, buf, RTM_NEWLINK, 0);
    struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(h, sizeof *ifi);
    ifi->ifi_family = AF_UNSPEC;
    ifi->ifi_index = (int)nl->ifindex;
    ifi->ifi_flags = flags;
    ifi->ifi_change = flags;
    return h;
}

int netlink_link_mtu(struct netlink *nl, uint32_t mtu)
{
    _Alignas(struct nlmsghdr) char buf[MSG_LEN];
    struct nlmsghdr *h = link_begin(nl, buf, 0);
    mnl_attr_put_u32(h, IFLA_MTU, mtu);
    return talk(nl, h);
}

int netlink_link_no_auto6(struct netlink *nl)
{
    _Alignas(struct nlmsghdr) char buf[MSG_LEN];
    struct nlmsghdr *h = link_begin(nl, buf, 0);
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
    return talk(nl, link_begin(nl, buf, IFF_UP));
}

static int addr_add(struct netlink *nl, uint8_t family, const void *addr, size_t len, uint8_t prefix, uint8_t scope)
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
    mnl_attr_put(h, IFA_ADDRESS, len, addr);
    return talk(nl, h);
}

int netlink_addr4_add(struct netlink *nl, uint32_t addr, uint8_t prefix)
{
    uint32_t wire = htonl(addr);
    return addr_add(nl, AF_INET, &wire, 4, prefix, RT_SCOPE_UNIVERSE);
}

int netlink_addr6_add(struct netlink *nl, const uint8_t addr[16], uint8_t prefix)
{
    return addr_add(nl, AF_INET6, addr, 16, prefix, RT_SCOPE_LINK);
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
