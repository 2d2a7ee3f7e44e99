/* What the kernel tells: dumps of routes, addresses and links, and their changes. */
#include "tun/netlink.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>

#define DUMP_BUF   32768
#define DUMP_TRIES 4  /* a dump that changed under our eyes is repeated */
#define WATCH_MAX  64 /* datagrams a call */

static bool ip_copy(uint8_t out[16], uint8_t family, const struct nlattr *a)
{
    uint16_t len = family == 4 ? 4 : 16;
    if (mnl_attr_get_payload_len(a) != len)
        return false;
    memcpy(out, mnl_attr_get_payload(a), len);
    return true;
}

static uint8_t family_of(uint8_t af)
{
    return af == AF_INET ? 4 : af == AF_INET6 ? 6 : 0;
}

/* The gateway out of RTA_GATEWAY or RTA_VIA, of a route or of one of its next hops. */
static bool via_copy(struct netlink_route *r, const struct nlattr *a)
{
    uint16_t type = mnl_attr_get_type(a);
    if (type == RTA_GATEWAY) {
        r->via_family = r->family;
        return ip_copy(r->via, r->family, a);
    }
    const uint8_t *via = mnl_attr_get_payload(a);
    uint16_t af, len = mnl_attr_get_payload_len(a);
    if (len < sizeof af)
        return false;
    memcpy(&af, via, sizeof af);
    r->via_family = family_of((uint8_t)af);
    if (!r->via_family || len != sizeof af + (r->via_family == 4 ? 4 : 16))
        return false;
    memcpy(r->via, via + sizeof af, len - sizeof af);
    return true;
}

static int hop_attr(const struct nlattr *a, void *arg)
{
    uint16_t type = mnl_attr_get_type(a);
    return (type != RTA_GATEWAY && type != RTA_VIA) || via_copy(arg, a) ? MNL_CB_OK : MNL_CB_ERROR;
}

/* The first next hop that lives. */
static bool multipath_copy(struct netlink_route *r, const struct nlattr *list)
{
    const uint8_t *at = mnl_attr_get_payload(list), *end = at + mnl_attr_get_payload_len(list);
    struct rtnexthop hop;
    for (; (size_t)(end - at) >= sizeof hop; at += RTNH_ALIGN(hop.rtnh_len)) {
        memcpy(&hop, at, sizeof hop);
        if (hop.rtnh_len < sizeof hop || (size_t)RTNH_ALIGN(hop.rtnh_len) > (size_t)(end - at))
            return false;
        if (hop.rtnh_flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN))
            continue;
        r->ifindex = (unsigned)hop.rtnh_ifindex;
        r->onlink = hop.rtnh_flags & RTNH_F_ONLINK;
        return mnl_attr_parse_payload(at + sizeof hop, hop.rtnh_len - sizeof hop, hop_attr, r) != MNL_CB_ERROR;
    }
    r->dead = true;
    return true;
}

static bool kind_of(uint8_t type, enum netlink_route_kind *out)
{
    switch (type) {
    case RTN_UNICAST: *out = NETLINK_ROUTE_UNICAST; return true;
    case RTN_LOCAL: *out = NETLINK_ROUTE_LOCAL; return true;
    case RTN_UNREACHABLE:
    case RTN_PROHIBIT:
    case RTN_BLACKHOLE: *out = NETLINK_ROUTE_UNREACHABLE; return true;
    default: return false; /* broadcast, multicast, throw: nothing that tells a way */
    }
}

struct route_read {
    struct netlink_route *r;
    uint32_t table;
};

static int route_attr(const struct nlattr *a, void *arg)
{
    struct route_read *to = arg;
    uint32_t word = 0;
    bool ok = true;
    if (mnl_attr_get_payload_len(a) == sizeof word)
        word = mnl_attr_get_u32(a);
    switch (mnl_attr_get_type(a)) {
    case RTA_DST: ok = ip_copy(to->r->dst, to->r->family, a); break;
    case RTA_GATEWAY:
    case RTA_VIA: ok = via_copy(to->r, a); break;
    case RTA_MULTIPATH: ok = multipath_copy(to->r, a); break;
    case RTA_OIF: to->r->ifindex = word; break;
    case RTA_PRIORITY: to->r->metric = word; break;
    case RTA_TABLE: to->table = word; break;
    default: break;
    }
    return ok ? MNL_CB_OK : MNL_CB_ERROR;
}

static bool route_parse(const struct nlmsghdr *h, struct netlink_route *r)
{
    const struct rtmsg *rt = mnl_nlmsg_get_payload(h);
    if (mnl_nlmsg_get_payload_len(h) < sizeof *rt)
        return false;
    struct route_read to = { r, rt->rtm_table };
    *r = (struct netlink_route){ .family = family_of(rt->rtm_family),
                                 .bits = rt->rtm_dst_len,
                                 .protocol = rt->rtm_protocol,
                                 .onlink = rt->rtm_flags & RTNH_F_ONLINK,
                                 .dead = rt->rtm_flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN) };
    if (!r->family || rt->rtm_tos || rt->rtm_src_len || rt->rtm_flags & RTM_F_CLONED ||
        !kind_of(rt->rtm_type, &r->kind))
        return false;
    if (mnl_attr_parse(h, sizeof *rt, route_attr, &to) == MNL_CB_ERROR)
        return false;
    return to.table == (r->kind == NETLINK_ROUTE_LOCAL ? RT_TABLE_LOCAL : RT_TABLE_MAIN);
}

struct addr_read {
    struct netlink_addr *a;
    bool have, local;
};

/* IFA_LOCAL is the address; where there is none, IFA_ADDRESS is. */
static int addr_attr(const struct nlattr *a, void *arg)
{
    struct addr_read *to = arg;
    uint16_t type = mnl_attr_get_type(a);
    if (type != IFA_LOCAL && (type != IFA_ADDRESS || to->local))
        return MNL_CB_OK;
    to->local = type == IFA_LOCAL;
    to->have = ip_copy(to->a->ip, to->a->family, a);
    return to->have ? MNL_CB_OK : MNL_CB_ERROR;
}

static bool addr_parse(const struct nlmsghdr *h, struct netlink_addr *out)
{
    const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(h);
    if (mnl_nlmsg_get_payload_len(h) < sizeof *ifa)
        return false;
    *out = (struct netlink_addr){ .family = family_of(ifa->ifa_family),
                                  .bits = ifa->ifa_prefixlen,
                                  .scope = ifa->ifa_scope,
                                  .ifindex = ifa->ifa_index };
    struct addr_read to = { out, false, false };
    return out->family && mnl_attr_parse(h, sizeof *ifa, addr_attr, &to) != MNL_CB_ERROR && to.have;
}

static bool link_parse(const struct nlmsghdr *h, struct netlink_link *out)
{
    const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(h);
    if (mnl_nlmsg_get_payload_len(h) < sizeof *ifi)
        return false;
    *out = (struct netlink_link){ (unsigned)ifi->ifi_index, ifi->ifi_flags & IFF_UP, ifi->ifi_flags & IFF_RUNNING };
    return true;
}

struct dump {
    union {
        netlink_route_fn *route;
        netlink_addr_fn *addr;
        netlink_link_fn *link;
    } fn;
    void *arg;
};

static int dump_route(const struct nlmsghdr *h, void *arg)
{
    const struct dump *d = arg;
    struct netlink_route r;
    if (h->nlmsg_type == RTM_NEWROUTE && route_parse(h, &r))
        d->fn.route(d->arg, &r);
    return MNL_CB_OK;
}

static int dump_addr(const struct nlmsghdr *h, void *arg)
{
    const struct dump *d = arg;
    struct netlink_addr a;
    if (h->nlmsg_type == RTM_NEWADDR && addr_parse(h, &a))
        d->fn.addr(d->arg, &a);
    return MNL_CB_OK;
}

static int dump_link(const struct nlmsghdr *h, void *arg)
{
    const struct dump *d = arg;
    struct netlink_link l;
    if (h->nlmsg_type == RTM_NEWLINK && link_parse(h, &l))
        d->fn.link(d->arg, &l);
    return MNL_CB_OK;
}

static int dump_once(struct netlink *nl, uint16_t type, mnl_cb_t cb, struct dump *d)
{
    _Alignas(struct nlmsghdr) char buf[DUMP_BUF];
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
    h->nlmsg_type = type;
    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    h->nlmsg_seq = ++nl->seq;
    struct rtgenmsg *g = mnl_nlmsg_put_extra_header(h, sizeof *g);
    g->rtgen_family = AF_UNSPEC;
    unsigned seq = h->nlmsg_seq;
    if (mnl_socket_sendto(nl->sock, h, h->nlmsg_len) < 0)
        return ERR_SYSTEM;
    for (bool torn = false;;) {
        ssize_t n = mnl_socket_recvfrom(nl->sock, buf, sizeof buf);
        if (n < 0)
            return ERR_SYSTEM;
        int rc = mnl_cb_run(buf, (size_t)n, seq, mnl_socket_get_portid(nl->sock), cb, d);
        if (rc < 0 && errno != EINTR)
            return ERR_SYSTEM;
        /* The library stops at a message that says the dump was torn; the rest still has to be read. */
        torn = torn || rc < 0;
        const struct nlmsghdr *m = (const void *)buf;
        bool done = rc == MNL_CB_STOP;
        for (int left = (int)n; rc < 0 && !done && mnl_nlmsg_ok(m, left); m = mnl_nlmsg_next(m, &left))
            done = m->nlmsg_seq == seq && m->nlmsg_type == NLMSG_DONE;
        if (done)
            return torn ? ERR_AGAIN : 0;
    }
}

static int dump_all(struct netlink *nl, uint16_t type, mnl_cb_t cb, struct dump *d)
{
    int rc = ERR_AGAIN;
    for (int i = 0; i < DUMP_TRIES && rc == ERR_AGAIN; i++)
        rc = dump_once(nl, type, cb, d);
    return rc == ERR_AGAIN ? 0 : rc; /* restless, but nearly right; a change is told of anyway */
}

int netlink_route_dump(struct netlink *nl, netlink_route_fn *fn, void *arg)
{
    struct dump d = { .fn.route = fn, .arg = arg };
    return dump_all(nl, RTM_GETROUTE, dump_route, &d);
}

int netlink_addr_dump(struct netlink *nl, netlink_addr_fn *fn, void *arg)
{
    struct dump d = { .fn.addr = fn, .arg = arg };
    return dump_all(nl, RTM_GETADDR, dump_addr, &d);
}

int netlink_link_dump(struct netlink *nl, netlink_link_fn *fn, void *arg)
{
    struct dump d = { .fn.link = fn, .arg = arg };
    return dump_all(nl, RTM_GETLINK, dump_link, &d);
}

int netlink_watch_open(struct netlink *nl)
{
    *nl = (struct netlink){ .sock = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK) };
    if (!nl->sock)
        return ERR_SYSTEM;
    if (mnl_socket_bind(nl->sock,
                        RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE,
                        MNL_SOCKET_AUTOPID) < 0) {
        netlink_close(nl);
        return ERR_SYSTEM;
    }
    return 0;
}

struct changes {
    netlink_change_fn *fn;
    void *arg;
};

static int change_one(const struct nlmsghdr *h, void *arg)
{
    const struct changes *to = arg;
    struct netlink_change c = { 0 };
    bool told = false;
    switch (h->nlmsg_type) {
    case RTM_DELLINK:
    case RTM_NEWLINK:
        c.what = NETLINK_CHANGE_LINK;
        c.gone = h->nlmsg_type == RTM_DELLINK;
        told = link_parse(h, &c.link);
        break;
    case RTM_DELADDR:
    case RTM_NEWADDR:
        c.what = NETLINK_CHANGE_ADDR;
        c.gone = h->nlmsg_type == RTM_DELADDR;
        told = addr_parse(h, &c.addr);
        break;
    case RTM_DELROUTE:
    case RTM_NEWROUTE:
        c.what = NETLINK_CHANGE_ROUTE;
        c.gone = h->nlmsg_type == RTM_DELROUTE;
        told = route_parse(h, &c.route);
        break;
    default: break;
    }
    if (told)
        to->fn(to->arg, &c);
    return MNL_CB_OK;
}

int netlink_watch_read(struct netlink *nl, netlink_change_fn *fn, void *arg)
{
    _Alignas(struct nlmsghdr) char buf[DUMP_BUF];
    struct changes to = { fn, arg };
    int rc = 0;
    for (int i = 0; i < WATCH_MAX; i++) {
        ssize_t n = mnl_socket_recvfrom(nl->sock, buf, sizeof buf);
        if (n < 0 && errno == ENOBUFS)
            rc = ERR_LIMIT;
        else if (n < 0)
            return errno == EAGAIN || errno == EINTR ? rc : ERR_SYSTEM;
        else if (mnl_cb_run(buf, (size_t)n, 0, 0, change_one, &to) < 0)
            rc = ERR_LIMIT;
    }
    return rc;
}
