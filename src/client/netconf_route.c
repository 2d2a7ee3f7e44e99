/* Routes: which ones a call wants, and the one to the server that keeps the call out of its own tunnel. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "client/netconf_parts.h"

static uint8_t full_bits(uint8_t family)
{
    return family == 4 ? 32 : 128;
}

static bool covers(const struct netlink_route *r, uint8_t family, const uint8_t ip[16])
{
    struct config_prefix p = { .family = r->family, .bits = r->bits };
    memcpy(p.ip, r->dst, 16);
    return config_prefix_has(&p, 1, family, ip);
}

static void dest_text(char *out, size_t cap, const struct netlink_route *r)
{
    char ip[INET6_ADDRSTRLEN];
    inet_ntop(r->family == 4 ? AF_INET : AF_INET6, r->dst, ip, sizeof ip);
    snprintf(out, cap, "%s/%u", ip, r->bits);
}

static bool to_server(const struct netconf *n, const struct netlink_route *r)
{
    return r->bits == full_bits(r->family) && covers(r, n->wish.server_family, n->wish.server);
}

/* ---- the plan ---- */

static int plan_add(struct netconf *n, uint8_t family, const uint8_t ip[16], uint8_t bits, bool way)
{
    struct netlink_route r = { .family = family,
                               .bits = bits,
                               .protocol = NETCONF_PROTOCOL,
                               .kind = way ? NETLINK_ROUTE_UNICAST : NETLINK_ROUTE_UNREACHABLE,
                               .ifindex = way ? n->ifindex : 0,
                               .metric = family == 6 ? NETCONF_METRIC6 : 0 };
    for (unsigned i = 0; i < bits; i++)
        r.dst[i / 8] |= (uint8_t)(ip[i / 8] & 0x80 >> i % 8);
    for (size_t i = 0; i < n->n_routes; i++)
        if (n->routes[i].r.family == family && n->routes[i].r.bits == bits && !memcmp(n->routes[i].r.dst, r.dst, 16))
            return 0; /* the first one that was asked for stands */
    if (n->n_routes == NETCONF_ROUTES_MAX)
        return ERR_LIMIT;
    n->routes[n->n_routes++].r = r;
    return 0;
}

/* Two halves instead of 0/0: more specific than any default route, which stays untouched beside them. */
static int plan_default(struct netconf *n, uint8_t family, bool way)
{
    const uint8_t low[16] = { 0 }, high[16] = { 0x80 };
    int rc = plan_add(n, family, low, 1, way);
    return rc ? rc : plan_add(n, family, high, 1, way);
}

static int plan_listed(struct netconf *n, const struct config_prefix *p, bool have)
{
    struct netlink_route r = { .family = p->family, .bits = p->bits };
    memcpy(r.dst, p->ip, 16);
    char text[64];
    dest_text(text, sizeof text, &r);
    if (!have)
        log_warn(NULL, "route-skipped", "the call does not carry this route's address family", LOG_S("route", text));
    else if (to_server(n, &r))
        log_warn(NULL, "route-skipped", "the server cannot be reached through its own tunnel", LOG_S("route", text));
    else
        return p->bits ? plan_add(n, p->family, p->ip, p->bits, true) : plan_default(n, p->family, true);
    return 0;
}

/* Name servers are asked through the tunnel, whatever the routes. */
static int plan_dns(struct netconf *n, uint32_t dns)
{
    uint8_t ip[16] = { (uint8_t)(dns >> 24), (uint8_t)(dns >> 16), (uint8_t)(dns >> 8), (uint8_t)dns };
    struct netlink_route r = { .family = 4, .bits = 32 };
    memcpy(r.dst, ip, 16);
    bool there = dns == n->wish.peer4 || to_server(n, &r);
    for (size_t i = 0; i < n->n_routes && !there; i++)
        there = covers(&n->routes[i].r, 4, ip);
    return there ? 0 : plan_add(n, 4, ip, 32, true);
}

static bool link_local(uint8_t family, const uint8_t ip[16])
{
    return family == 6 && ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80;
}

static void plan_leftover(struct netconf *n, const struct netlink_route *r)
{
    if (n->state.n_routes == NETCONF_LEFTOVER_MAX)
        return;
    struct config_prefix *p = &n->state.routes[n->state.n_routes++];
    *p = (struct config_prefix){ .family = r->family, .bits = r->bits };
    memcpy(p->ip, r->dst, 16);
}

int netconf_route_plan(struct netconf *n, char *err, size_t cap)
{
    static const uint8_t no_iid[8];
    bool have4 = n->wish.ip4, have6 = memcmp(n->wish.ip6_iid, no_iid, 8) != 0;
    int rc = 0;
    n->n_routes = 0;
    n->host_wanted = false;
    memset(n->routes, 0, sizeof n->routes);
    for (size_t i = 0; !rc && i < n->cfg->n_routes; i++)
        rc = plan_listed(n, &n->cfg->routes[i], n->cfg->routes[i].family == 4 ? have4 : have6);
    if (!rc && n->cfg->default_route)
        rc = plan_default(n, 4, have4);
    if (!rc && n->cfg->default_route)
        rc = plan_default(n, 6, false); /* nothing of it leaves beside the tunnel either */
    for (size_t i = 0; !rc && have4 && n->cfg->dns != NETCONF_DNS_OFF && i < n->n_dns; i++)
        rc = plan_dns(n, n->dns[i]);
    if (rc)
        return netconf_fail(rc, err, cap, "tunnel.routes: more than %d routes: join neighbouring networks",
                            NETCONF_ROUTES_MAX - 8);
    for (size_t i = 0; i < n->n_routes; i++) {
        const struct netlink_route *r = &n->routes[i].r;
        n->host_wanted |= covers(r, n->wish.server_family, n->wish.server);
        if (r->kind == NETLINK_ROUTE_UNREACHABLE)
            plan_leftover(n, r);
    }
    n->host_wanted &= !link_local(n->wish.server_family, n->wish.server);
    struct netlink_route host = { .family = n->wish.server_family, .bits = full_bits(n->wish.server_family) };
    memcpy(host.dst, n->wish.server, 16);
    if (n->host_wanted)
        plan_leftover(n, &host);
    return 0;
}

/* ---- the way to the server ---- */

struct way {
    const struct netconf *n;
    struct netlink_route best; /* family 0: none */
    bool local;                /* the server is this machine */
    bool ours_there;
};

static bool same_way(const struct netlink_route *a, const struct netlink_route *b)
{
    return a->family == b->family && a->kind == b->kind && a->metric == b->metric &&
           (a->kind != NETLINK_ROUTE_UNICAST || (a->ifindex == b->ifindex && a->via_family == b->via_family &&
                                                 !memcmp(a->via, b->via, 16) && a->onlink == b->onlink));
}

static void way_see(void *arg, const struct netlink_route *r)
{
    struct way *w = arg;
    const struct netconf *n = w->n;
    bool ours = r->protocol == NETCONF_PROTOCOL, into_tunnel = n->ifindex && r->ifindex == n->ifindex;
    if (into_tunnel || !covers(r, n->wish.server_family, n->wish.server))
        return;
    if (r->kind == NETLINK_ROUTE_LOCAL) {
        w->local = true;
        return;
    }
    if (ours && to_server(n, r)) /* or another client's to the same proxy, no better than ours */
        w->ours_there |= n->host.set && same_way(r, &n->host.r);
    /* The tunnel of another client is a way like any other; what it made unreachable is none, but not for its sake. */
    else if (!r->dead && !(ours && r->kind == NETLINK_ROUTE_UNREACHABLE) &&
             (!w->best.family || r->bits > w->best.bits || (r->bits == w->best.bits && r->metric < w->best.metric)))
        w->best = *r;
}

static void host_log(const struct netconf *n)
{
    char dev[IF_NAMESIZE] = "", via[INET6_ADDRSTRLEN] = "", to[64];
    const struct netlink_route *r = &n->host.r;
    dest_text(to, sizeof to, r);
    if (r->kind == NETLINK_ROUTE_UNREACHABLE) {
        log_warn(NULL, "route-server-lost", "there is no way to the server at present", LOG_S("to", to));
        return;
    }
    if (r->via_family)
        inet_ntop(r->via_family == 4 ? AF_INET : AF_INET6, r->via, via, sizeof via);
    log_info(NULL, "route-server", "the server keeps a route of its own beside the tunnel", LOG_S("to", to),
             LOG_S("via", via), LOG_S("dev", if_indextoname(r->ifindex, dev) ? dev : ""));
}

static int host_del(struct netconf *n)
{
    int rc = n->host.set ? netlink_route_del(&n->nl, &n->host.r) : 0;
    n->host.set = false;
    return rc && errno != ESRCH && errno != ENODEV ? rc : 0;
}

static int host_add(struct netconf *n, const struct netlink_route *want)
{
    n->host.r = *want;
    int rc = netlink_route_add(&n->nl, want);
    n->host.set = !rc;
    if (rc && errno == EEXIST)
        return 0; /* somebody else keeps the server reachable: that route is theirs, now and at the end */
    if (!rc)
        host_log(n);
    return rc;
}

int netconf_route_host(struct netconf *n, bool *changed)
{
    struct way w = { .n = n };
    *changed = false;
    int rc = netlink_route_dump(&n->nl, way_see, &w);
    if (rc)
        return rc;
    bool none = !w.best.family || w.best.kind == NETLINK_ROUTE_UNREACHABLE;
    *changed = n->way.family != w.best.family || (w.best.family && !same_way(&n->way, &w.best));
    n->way = w.best;
    if (!n->host_wanted)
        return 0;
    if (w.local || (w.best.family && to_server(n, &w.best))) {
        *changed |= n->host.set;
        return host_del(n);
    }
    struct netlink_route want = { .family = n->wish.server_family,
                                  .bits = full_bits(n->wish.server_family),
                                  .protocol = NETCONF_PROTOCOL,
                                  .kind = NETLINK_ROUTE_UNREACHABLE,
                                  .metric = n->wish.server_family == 6 ? NETCONF_METRIC6 : 0 };
    struct netlink_route nowhere = want;
    if (!none) {
        want.kind = NETLINK_ROUTE_UNICAST;
        want.ifindex = w.best.ifindex;
        want.via_family = w.best.via_family;
        want.onlink = w.best.onlink;
        memcpy(want.via, w.best.via, 16);
    }
    memcpy(want.dst, n->wish.server, 16);
    memcpy(nowhere.dst, n->wish.server, 16);
    if (n->host.set && w.ours_there && same_way(&n->host.r, &want))
        return 0;
    *changed = true;
    rc = host_del(n);
    if (!rc)
        rc = host_add(n, &want);
    /* A way that the kernel does not take any more: better none than one through the tunnel, until the next change. */
    int why = errno;
    if (rc && !none && host_add(n, &nowhere))
        log_warn(NULL, "undo-failed", "the server has no route of its own", LOG_S("reason", strerror(errno)));
    errno = why;
    return rc;
}

/* ---- setting and removing ---- */

static bool no_ipv6(const struct netlink_route *r)
{
    return r->family == 6 && r->kind == NETLINK_ROUTE_UNREACHABLE && (errno == EAFNOSUPPORT || errno == EOPNOTSUPP);
}

int netconf_route_up(struct netconf *n, char *err, size_t cap)
{
    for (size_t i = 0; i < n->n_routes; i++) {
        struct netconf_route *r = &n->routes[i];
        int rc = netlink_route_add(&n->nl, &r->r);
        r->set = !rc;
        if (!rc || no_ipv6(&r->r)) /* a kernel without IPv6 leaks none */
            continue;
        char text[64];
        int why = errno;
        dest_text(text, sizeof text, &r->r);
        return netconf_fail(ERR_SYSTEM, err, cap, "route %s: %s%s", text, strerror(why),
                            why == EEXIST ? ": another program, perhaps another VPN, has set it: end that one, or "
                                            "choose other tunnel.routes"
                                          : "");
    }
    return 0;
}

void netconf_route_down(struct netconf *n)
{
    for (size_t i = n->n_routes; i-- > 0;) {
        struct netconf_route *r = &n->routes[i];
        char text[64];
        if (r->set && netlink_route_del(&n->nl, &r->r) && errno != ESRCH && errno != ENODEV) {
            int why = errno;
            dest_text(text, sizeof text, &r->r);
            log_warn(NULL, "undo-failed", "a route stays", LOG_S("route", text), LOG_S("reason", strerror(why)));
        }
        r->set = false;
    }
    n->n_routes = 0;
    if (host_del(n))
        log_warn(NULL, "undo-failed", "the route to the server stays", LOG_S("reason", strerror(errno)));
    n->host_wanted = false;
    n->way = (struct netlink_route){ 0 };
}

struct leftovers {
    const struct netconf_state *s;
    struct netlink_route found[2 * NETCONF_LEFTOVER_MAX];
    size_t n;
};

static void leftover_see(void *arg, const struct netlink_route *r)
{
    struct leftovers *l = arg;
    for (size_t i = 0; i < l->s->n_routes; i++) {
        const struct config_prefix *p = &l->s->routes[i];
        if (r->protocol == NETCONF_PROTOCOL && r->kind != NETLINK_ROUTE_LOCAL && r->family == p->family &&
            r->bits == p->bits && !memcmp(r->dst, p->ip, 16) && l->n < sizeof l->found / sizeof *l->found)
            l->found[l->n++] = *r;
    }
}

unsigned netconf_route_clean(struct netlink *nl, const struct netconf_state *s)
{
    struct leftovers l = { .s = s };
    unsigned done = 0;
    if (s->n_routes && netlink_route_dump(nl, leftover_see, &l))
        log_warn(NULL, "undo-failed", "cannot look for routes that were left", LOG_S("reason", strerror(errno)));
    for (size_t i = 0; i < l.n; i++)
        if (!netlink_route_del(nl, &l.found[i]))
            done++;
    return done;
}

/* ---- what the machine's network looks like ---- */

struct look {
    const struct netconf *n;
    uint64_t sum; /* of the parts, so that their order does not matter */
};

static void look_add(struct look *l, const void *part, size_t len)
{
    uint64_t h = 0xcbf29ce484222325; /* FNV-1a */
    for (size_t i = 0; i < len; i++)
        h = (h ^ ((const uint8_t *)part)[i]) * 0x100000001b3;
    l->sum += h;
}

static void look_route(void *arg, const struct netlink_route *r)
{
    struct look *l = arg;
    if (r->kind == NETLINK_ROUTE_LOCAL || r->protocol == NETCONF_PROTOCOL || r->ifindex == l->n->ifindex)
        return;
    uint8_t part[64] = { 'r', r->family, r->bits, (uint8_t)r->kind, r->via_family, r->dead };
    memcpy(part + 6, r->dst, 16);
    memcpy(part + 22, r->via, 16);
    memcpy(part + 38, &r->ifindex, 4);
    memcpy(part + 42, &r->metric, 4);
    look_add(l, part, sizeof part);
}

static void look_addr(void *arg, const struct netlink_addr *a)
{
    struct look *l = arg;
    uint8_t part[24] = { 'a', a->family, a->bits };
    memcpy(part + 3, a->ip, 16);
    memcpy(part + 19, &a->ifindex, 4);
    if (a->ifindex != l->n->ifindex)
        look_add(l, part, sizeof part);
}

static void look_link(void *arg, const struct netlink_link *k)
{
    struct look *l = arg;
    uint8_t part[8] = { 'l' };
    memcpy(part + 1, &k->ifindex, 4);
    if (k->ifindex != l->n->ifindex && k->up && k->carrier)
        look_add(l, part, sizeof part);
}

uint64_t netconf_route_seen(struct netconf *n)
{
    struct look l = { .n = n };
    if (netlink_link_dump(&n->nl, look_link, &l) || netlink_addr_dump(&n->nl, look_addr, &l) ||
        netlink_route_dump(&n->nl, look_route, &l))
        return 0; /* differs from what was seen before: a change to look after */
    return l.sum;
}
