/* Addresses: listeners against what the host has, upstreams that lead back here, the pool against local networks. */
#include "cli/check.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

/* ---- addresses ---- */

struct endpoint {
    uint8_t family; /* 0: a Unix socket, or not set */
    uint8_t ip[16];
    uint16_t port;
};

static bool any_ip(const uint8_t ip[16])
{
    static const uint8_t zero[16];
    return !memcmp(ip, zero, sizeof zero);
}

static struct endpoint endpoint_of(const struct config_addr *a)
{
    struct endpoint e = { .family = 0 };
    if (a->len && a->u.sa.sa_family == AF_INET) {
        e.family = 4;
        e.port = ntohs(a->u.in.sin_port);
        memcpy(e.ip, &a->u.in.sin_addr, 4);
    } else if (a->len && a->u.sa.sa_family == AF_INET6) {
        bool mapped = IN6_IS_ADDR_V4MAPPED(&a->u.in6.sin6_addr);
        e.family = mapped ? 4 : 6;
        e.port = ntohs(a->u.in6.sin6_port);
        memcpy(e.ip, a->u.in6.sin6_addr.s6_addr + (mapped ? 12 : 0), mapped ? 4 : 16);
    }
    return e;
}

static bool is_loopback(uint8_t family, const uint8_t ip[16])
{
    static const uint8_t one[16] = { [15] = 1 };
    return family == 4 ? ip[0] == 127 : !memcmp(ip, one, sizeof one);
}

static bool is_link_local(uint8_t family, const uint8_t ip[16])
{
    return family == 4 ? ip[0] == 169 && ip[1] == 254 : ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80;
}

static const char *ip_text(const struct check_addr *a, char out[INET6_ADDRSTRLEN])
{
    return inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->ip, out, INET6_ADDRSTRLEN);
}

static bool is_ours(const struct check *k, const struct check_addr *a)
{
    return k->c->vpn_on && !strcmp(a->ifname, k->c->vpn.interface);
}

/* An address by which other hosts may come; NULL when there is none of this family. */
static const struct check_addr *outside(const struct check *k, uint8_t family)
{
    for (size_t i = 0; i < k->host->n_addr; i++) {
        const struct check_addr *a = &k->host->addr[i];
        if (a->family == family && !is_ours(k, a) && !is_loopback(family, a->ip) && !is_link_local(family, a->ip))
            return a;
    }
    return NULL;
}

/* ---- both families ---- */

/* Does the list listen on what is not loopback? */
static const struct config_addr *listens(const struct config_addr *list, size_t n, uint8_t family)
{
    for (size_t i = 0; i < n; i++) {
        struct endpoint e = endpoint_of(&list[i]);
        if (e.family == family && !is_loopback(family, e.ip))
            return &list[i];
    }
    return NULL;
}

static void check_families(struct check *k, const char *option, const struct config_addr *list, size_t n)
{
    const struct config_addr *four = listens(list, n, 4), *six = listens(list, n, 6);
    const struct check_addr *a = four && !six ? outside(k, 6) : six && !four ? outside(k, 4) : NULL;
    char ip[INET6_ADDRSTRLEN];
    if (a && four)
        finding(k, SEV_WARNING, "listen-no-ipv6", four->file, four->line,
                "add the same with [::], or take the host's IPv6 address out of DNS",
                "%s has no IPv6 address, and the host has one (%s, %s): clients that are given it come for nothing",
                option, ip_text(a, ip), a->ifname);
    else if (a)
        finding(k, SEV_WARNING, "listen-no-ipv4", six->file, six->line,
                "add the same with 0.0.0.0: [::] takes IPv6 only",
                "%s has no IPv4 address, and the host has one (%s, %s): most clients come that way", option,
                ip_text(a, ip), a->ifname);
}

/* ---- loops ---- */

/* Would a connection to this address end on this host? */
static bool is_local(const struct check *k, const struct endpoint *to)
{
    uint32_t server = k->c->vpn_on ? htonl(config_server_ip4(k->c)) : 0;
    if (any_ip(to->ip) || is_loopback(to->family, to->ip))
        return true;
    if (to->family == 4 && server && !memcmp(to->ip, &server, sizeof server))
        return true;
    for (size_t i = 0; i < k->host->n_addr; i++)
        if (k->host->addr[i].family == to->family && !memcmp(k->host->addr[i].ip, to->ip, 16))
            return true;
    return false;
}

/* The listener that a connection to this address would reach. */
static const struct config_addr *reached(const struct check *k, const struct endpoint *to,
                                         const struct config_addr *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct endpoint at = endpoint_of(&list[i]);
        if (at.family != to->family || at.port != to->port)
            continue;
        if (!memcmp(at.ip, to->ip, 16) || (any_ip(at.ip) && is_local(k, to)) ||
            (any_ip(to->ip) && is_loopback(at.family, at.ip))) /* connecting to 0.0.0.0 goes to 127.0.0.1 */
            return &list[i];
    }
    return NULL;
}

static void check_upstream(struct check *k, const char *option, const struct config_addr *a)
{
    const struct config *c = k->c;
    const struct {
        const char *name;
        const struct config_addr *list;
        size_t n;
    } own[] = { { "listen.address", c->listen.address, c->listen.n_address },
                { "listen.redirect", c->listen.redirect, c->listen.n_redirect },
                { "offload.listen", c->offload.listen, c->offload.n_listen } };
    struct endpoint to = endpoint_of(a);
    for (size_t i = 0; to.family && i < sizeof own / sizeof own[0]; i++) {
        const struct config_addr *at = reached(k, &to, own[i].list, own[i].n);
        if (!at)
            continue;
        finding(k, SEV_ERROR, "upstream-loops", a->file, a->line,
                "give the web server another port or address, and name that",
                "%s %s loops back: %s %s is this server itself", option, a->text, own[i].name, at->text);
        return;
    }
}

/* ---- the pool ---- */

static uint32_t mask4(unsigned bits)
{
    return bits ? ~(uint32_t)0 << (32 - bits) : 0;
}

static uint32_t base4(const struct check_addr *a)
{
    uint32_t ip;
    memcpy(&ip, a->ip, sizeof ip);
    return ntohl(ip) & mask4(a->bits);
}

static bool overlap(const struct config_net4 *net, const struct check_addr *a)
{
    if (a->family != 4)
        return false;
    uint32_t both = mask4(a->bits) & mask4(net->prefix);
    return (base4(a) & both) == (net->base & both);
}

static void check_network(struct check *k, const struct config_net4 *net)
{
    static const char remedy[] = "choose another network for the VPN";
    char ip[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN];
    struct check_addr self = { .family = 4 };
    uint32_t base = htonl(net->base);
    memcpy(self.ip, &base, sizeof base);
    ip_text(&self, text);
    for (size_t i = 0; i < k->host->n_addr; i++) {
        const struct check_addr *a = &k->host->addr[i];
        if (is_ours(k, a) || !overlap(net, a))
            continue;
        finding(k, SEV_ERROR, "vpn-network-overlaps", net->file, net->line, remedy,
                "vpn.network %s/%u overlaps a network of this host: %s/%u on %s", text, net->prefix, ip_text(a, ip),
                a->bits, a->ifname);
        return;
    }
    for (size_t i = 0; i < k->host->n_route; i++) { /* a wider route is no harm: ours is the more specific one */
        const struct check_addr *r = &k->host->route[i];
        if (is_ours(k, r) || r->bits < net->prefix || !overlap(net, r))
            continue;
        finding(k, SEV_WARNING, "vpn-network-routed", net->file, net->line, remedy,
                "vpn.network %s/%u holds a network that this host has a route to: %s/%u by way of %s", text,
                net->prefix, ip_text(r, ip), r->bits, r->ifname);
        return;
    }
}

void check_net(struct check *k)
{
    const struct config *c = k->c;
    check_families(k, "listen.address", c->listen.address, c->listen.n_address);
    check_families(k, "listen.redirect", c->listen.redirect, c->listen.n_redirect);
    for (size_t i = 0; i < c->n_web; i++) {
        check_upstream(k, "web.upstream", &c->web[i].upstream);
        check_upstream(k, "web.upstream-h2", &c->web[i].upstream_h2);
    }
    for (size_t i = 0; i < c->n_pass; i++)
        check_upstream(k, "passthrough.upstream", &c->pass[i].upstream);
    for (size_t i = 0; c->vpn_on && i < c->vpn.n_network; i++)
        check_network(k, &c->vpn.network[i]);
}
