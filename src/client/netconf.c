#include "client/netconf.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "client/netconf_parts.h"
#include "tun/device.h"

#define MTU_MIN     576
#define MTU_MIN_IP6 1280 /* RFC 8200 5: below, the kernel takes IPv6 off the interface */
#define MTU_MAX     4087 /* an SSTP packet of 4095 bytes, its header and PPP's */

int netconf_fail(int rc, char *err, size_t cap, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err, cap, fmt, ap);
    va_end(ap);
    return rc;
}

/* ---- what killed ones left ---- */

static void clean_dns(struct netconf_state *s, const char *resolv_conf, const char *interface, bool *restored)
{
    if (!s->resolv.path[0])
        return;
    char *real = realpath(resolv_conf, NULL);
    if (real && strcmp(real, s->resolv.path) != 0)
        log_warn(NULL, "dns-left", "the name servers of a killed client stay in another file than the one configured",
                 LOG_S("path", s->resolv.path), LOG_S("interface", interface));
    else if (real || s->resolv.was_there)
        *restored = netconf_dns_restore(&s->resolv, interface);
    free(real);
}

/* With the lock held. True: there was a state file. */
static bool clean_one(struct netlink *nl, const char *folder, const char *interface, const char *resolv_conf)
{
    char path[NETCONF_PATH_MAX];
    struct netconf_state s;
    bool restored = false;
    snprintf(path, sizeof path, "%s/%s.state", folder, interface);
    if (access(path, F_OK))
        return false;
    if (netconf_state_load(folder, interface, &s)) {
        log_warn(NULL, "state-refused", "not a file of ours, or not readable: removed unread", LOG_S("path", path));
    } else {
        unsigned routes = netconf_route_clean(nl, &s);
        clean_dns(&s, resolv_conf, interface, &restored);
        log_notice(NULL, "leftovers", "what a killed client left is undone", LOG_S("interface", interface),
                   LOG_N("routes", routes), LOG_S("dns", restored ? "restored" : ""));
        netconf_state_fini(&s);
    }
    netconf_state_remove(folder, interface);
    return true;
}

/* "ghc0.state", ".state" -> "ghc0" */
static bool name_before(const char *file, const char *ending, char out[NETCONF_NAME_MAX + 1])
{
    size_t len = strlen(file), tail = strlen(ending);
    if (len <= tail || len - tail > NETCONF_NAME_MAX || strcmp(file + len - tail, ending) != 0)
        return false;
    memcpy(out, file, len - tail);
    out[len - tail] = 0;
    return netconf_name_valid(out);
}

/* The folder may be shared with others' sockets, whatever their owners do with our lock. */
static bool nobody_listens(const char *folder, const char *file)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct stat st;
    if (snprintf(un.sun_path, sizeof un.sun_path, "%s/%s", folder, file) >= (int)sizeof un.sun_path ||
        lstat(un.sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool nobody = fd >= 0 && connect(fd, (struct sockaddr *)&un, sizeof un) < 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return nobody;
}

unsigned netconf_clean(const char *folder, const char *resolv_conf)
{
    unsigned done = 0;
    struct netlink nl;
    DIR *dir = opendir(folder);
    if (!dir)
        return 0;
    if (netlink_open(&nl, NULL)) {
        closedir(dir);
        return 0;
    }
    for (const struct dirent *e; (e = readdir(dir));) {
        char interface[NETCONF_NAME_MAX + 1], ignored[256];
        int lock;
        bool sock = name_before(e->d_name, ".sock", interface);
        if ((!sock && !name_before(e->d_name, ".state", interface)) ||
            netconf_lock(folder, interface, &lock, ignored, sizeof ignored))
            continue;
        done += clean_one(&nl, folder, interface, resolv_conf);
        if (sock && nobody_listens(folder, e->d_name))
            unlinkat(dirfd(dir), e->d_name, 0);
        netconf_unlock(folder, interface, lock);
    }
    netlink_close(&nl);
    closedir(dir);
    return done;
}

/* ---- one client ---- */

int netconf_new(const struct netconf_cfg *cfg, struct netconf **out, char *err, size_t cap)
{
    *out = NULL;
    if (!netconf_name_valid(cfg->interface))
        return netconf_fail(ERR_USAGE, err, cap,
                            "tunnel.interface = \"%s\": a name has 1 to 15 letters, digits, '.', '_' and '-'",
                            cfg->interface);
    struct netconf *n = calloc(1, sizeof *n);
    if (!n)
        return netconf_fail(ERR_NOMEM, err, cap, "out of memory");
    n->cfg = cfg;
    n->lock = -1;
    int rc = netconf_lock(cfg->folder, cfg->interface, &n->lock, err, cap);
    if (rc) {
        free(n);
        return rc;
    }
    if (netlink_open(&n->nl, NULL) || netlink_watch_open(&n->watch)) {
        rc = netconf_fail(ERR_SYSTEM, err, cap, "netlink: %s", strerror(errno));
        netconf_free(n);
        return rc;
    }
    if (!clean_one(&n->nl, cfg->folder, cfg->interface, cfg->resolv_conf))
        netconf_dns_orphan(cfg->resolv_conf, cfg->interface);
    n->seen = netconf_route_seen(n);
    *out = n;
    return 0;
}

void netconf_free(struct netconf *n)
{
    if (!n)
        return;
    netconf_down(n);
    netconf_unlock(n->cfg->folder, n->cfg->interface, n->lock);
    netlink_close(&n->nl);
    netlink_close(&n->watch);
    free(n);
}

int netconf_tun(struct netconf *n, int *fd, char *err, size_t cap)
{
    netconf_down(n);
    if (n->ifindex && if_nametoindex(n->cfg->interface) == n->ifindex && netlink_link_del(&n->nl))
        return netconf_fail(ERR_SYSTEM, err, cap, "interface %s: cannot replace: %s", n->cfg->interface,
                            strerror(errno));
    n->old_ifindex = n->ifindex;
    n->ifindex = n->nl.ifindex = 0;
    int rc = tun_device_new(n->cfg->interface, "tunnel.interface", n->cfg->offload, fd, &n->offload, err, cap);
    if (rc)
        return rc;
    n->ifindex = n->nl.ifindex = if_nametoindex(n->cfg->interface);
    n->seen = netconf_route_seen(n);
    return 0;
}

struct tun_offload netconf_offload(const struct netconf *n)
{
    return n->offload;
}

/* ---- the wish ---- */

static bool unicast4(uint32_t ip)
{
    uint8_t top = (uint8_t)(ip >> 24);
    return top != 0 && top != 127 && top < 224;
}

static uint32_t ip4_of(const uint8_t ip[4])
{
    return (uint32_t)ip[0] << 24 | (uint32_t)ip[1] << 16 | (uint32_t)ip[2] << 8 | ip[3];
}

static int wish_server(struct netconf_wish *w, char *err, size_t cap)
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff }, none[16];
    if (w->server_family == 6 && !memcmp(w->server, mapped, 12)) {
        w->server_family = 4;
        memmove(w->server, w->server + 12, 4);
    }
    if (w->server_family == 4)
        memset(w->server + 4, 0, 12);
    uint32_t ip = ip4_of(w->server);
    bool fine = (w->server_family == 4 && (unicast4(ip) || ip >> 24 == 127)) ||
                (w->server_family == 6 && w->server[0] != 0xff && memcmp(w->server, none, 16) != 0);
    return fine ? 0 : netconf_fail(ERR_USAGE, err, cap, "the server's own address is none");
}

/* Takes the wish over, without what is no use; refuses what no server may ask for. */
static int wish_take(struct netconf *n, const struct netconf_wish *wish, char *err, size_t cap)
{
    static const uint8_t no_iid[8];
    struct netconf_wish *w = &n->wish;
    char text[INET_ADDRSTRLEN];
    struct in_addr a = config_ip4(wish->ip4);
    *w = *wish;
    int rc = wish_server(w, err, cap);
    if (rc)
        return rc;
    uint32_t server = w->server_family == 4 ? ip4_of(w->server) : 0;
    if (w->ip4 && (!unicast4(w->ip4) || w->ip4 == server))
        return netconf_fail(ERR_PEER, err, cap, "the server gave the address %s, which this machine cannot have",
                            inet_ntop(AF_INET, &a, text, sizeof text));
    if (w->mtu < MTU_MIN || w->mtu > MTU_MAX)
        return netconf_fail(ERR_PEER, err, cap, "an MTU of %u cannot be: %d to %d", w->mtu, MTU_MIN, MTU_MAX);
    if (w->mtu < MTU_MIN_IP6)
        memset(w->ip6_iid, 0, 8);
    if (!w->ip4 && !memcmp(w->ip6_iid, no_iid, 8))
        return netconf_fail(ERR_PEER, err, cap, "the server gave no address that could be used");
    /* Some servers name their public address as the peer: its route would lead the call into itself. */
    if (!unicast4(w->peer4) || w->peer4 == server || w->peer4 == w->ip4)
        w->peer4 = 0;
    n->n_dns = 0;
    for (size_t i = 0; i < 2; i++) {
        a = config_ip4(w->dns[i]);
        if (w->dns[i] && (!unicast4(w->dns[i]) || w->dns[i] == w->ip4))
            log_warn(NULL, "dns-dropped", "the server named a name server that cannot be one",
                     LOG_S("ip", inet_ntop(AF_INET, &a, text, sizeof text)));
        else if (w->dns[i] && (i == 0 || w->dns[1] != w->dns[0]))
            n->dns[n->n_dns++] = w->dns[i];
    }
    return 0;
}

/* ---- up and down ---- */

static int interface_up(struct netconf *n, char *err, size_t cap)
{
    static const uint8_t no_iid[8];
    bool with6 = memcmp(n->wish.ip6_iid, no_iid, 8) != 0;
    const char *step = "set the MTU of";
    int rc = netlink_link_mtu(&n->nl, n->wish.mtu);
    tun_device_ipv6(n->cfg->interface, with6); /* before it comes up, so that the kernel never gives it an address */
    if (!rc && with6) {
        step = "switch off automatic IPv6 addresses of";
        rc = netlink_link_no_auto6(&n->nl);
        rc = rc && errno == EAFNOSUPPORT ? 0 : rc; /* a kernel without IPv6 */
    }
    if (!rc) {
        step = "bring up";
        rc = netlink_link_up(&n->nl);
    }
    if (!rc && n->wish.ip4) {
        step = "give an address to";
        rc = n->wish.peer4 ? netlink_addr4_peer_add(&n->nl, n->wish.ip4, n->wish.peer4)
                           : netlink_addr4_add(&n->nl, n->wish.ip4, 32);
    }
    if (!rc && with6) {
        uint8_t addr[16] = { 0xfe, 0x80 };
        memcpy(addr + 8, n->wish.ip6_iid, 8);
        if (netlink_addr6_add(&n->nl, addr, 64))
            log_info(NULL, "no-ipv6", "this machine takes no IPv6 address; the call carries IPv4",
                     LOG_S("reason", strerror(errno)));
    }
    return rc ? netconf_fail(rc, err, cap, "cannot %s interface %s: %s", step, n->cfg->interface, strerror(errno)) : 0;
}

static int host_up(struct netconf *n, char *err, size_t cap)
{
    bool changed;
    int rc = netconf_route_host(n, &changed);
    if (rc)
        return netconf_fail(rc, err, cap, "cannot give the server a route of its own: %s", strerror(errno));
    /* The gateway to the server is no peer of the tunnel, whatever the server says. */
    if (n->way.via_family == 4 && ip4_of(n->way.via) == n->wish.peer4)
        n->wish.peer4 = 0;
    return 0;
}

int netconf_up(struct netconf *n, const struct netconf_wish *wish, char *err, size_t cap)
{
    netconf_down(n);
    if (!n->ifindex || if_nametoindex(n->cfg->interface) != n->ifindex)
        return netconf_fail(ERR_SYSTEM, err, cap, "interface %s is gone: somebody deleted it", n->cfg->interface);
    int rc = wish_take(n, wish, err, cap);
    if (rc)
        return rc;
    rc = netconf_route_plan(n, err, cap);
    n->up = true;
    if (!rc && netconf_state_save(n->cfg->folder, n->cfg->interface, &n->state))
        rc = netconf_fail(ERR_SYSTEM, err, cap, "%s/%s.state: %s: nothing is changed without it", n->cfg->folder,
                          n->cfg->interface, strerror(errno));
    n->route_failed = !rc && (rc = host_up(n, err, cap)) != 0;
    if (!rc)
        rc = interface_up(n, err, cap);
    if (!rc)
        n->route_failed = (rc = netconf_route_up(n, err, cap)) != 0;
    if (!rc)
        rc = netconf_dns_up(n, err, cap);
    if (rc)
        netconf_down(n);
    return rc;
}

bool netconf_route_failed(const struct netconf *n)
{
    return n->route_failed;
}

void netconf_down(struct netconf *n)
{
    if (!n->up)
        return;
    netconf_dns_down(n);
    netconf_route_down(n);
    /* The interface may be gone with its queue, and its addresses with it. */
    if (if_nametoindex(n->cfg->interface) == n->ifindex &&
        (netlink_addr_del_all(&n->nl) || netlink_link_down(&n->nl)) && errno != ENODEV && errno != EADDRNOTAVAIL)
        log_warn(NULL, "undo-failed", "the interface keeps its addresses", LOG_S("interface", n->cfg->interface),
                 LOG_S("reason", strerror(errno)));
    netconf_state_remove(n->cfg->folder, n->cfg->interface);
    netconf_state_fini(&n->state);
    n->up = false;
}

/* ---- changes of others ---- */

int netconf_watch_fd(const struct netconf *n)
{
    return mnl_socket_get_fd(n->watch.sock);
}

struct seen {
    struct netconf *n;
    bool any;     /* something of others changed, perhaps to what it was before */
    bool certain; /* something of others went away */
};

static bool own_index(const struct netconf *n, unsigned ifindex)
{
    return ifindex && (ifindex == n->ifindex || ifindex == n->old_ifindex);
}

static void change_see(void *arg, const struct netlink_change *c)
{
    struct seen *s = arg;
    const struct netconf *n = s->n;
    switch (c->what) {
    case NETLINK_CHANGE_LINK:
        if (own_index(n, c->link.ifindex))
            return;
        /* A link that is cut and mended within one look leaves no trace but this. */
        s->certain |=
            n->way.family && c->link.ifindex == n->way.ifindex && (c->gone || !c->link.up || !c->link.carrier);
        break;
    case NETLINK_CHANGE_ADDR:
        if (own_index(n, c->addr.ifindex))
            return;
        s->certain |= c->gone;
        break;
    case NETLINK_CHANGE_ROUTE:
        if (own_index(n, c->route.ifindex) || c->route.protocol == NETCONF_PROTOCOL)
            return; /* netconf_watch() looks after the one to the server whatever it was that changed */
        s->certain |= c->gone && c->route.kind != NETLINK_ROUTE_LOCAL;
        break;
    }
    s->any = true;
}

bool netconf_watch(struct netconf *n)
{
    struct seen s = { .n = n };
    if (netlink_watch_read(&n->watch, change_see, &s))
        s.certain = true; /* some were lost */
    bool changed = false;
    if (n->up && netconf_route_host(n, &changed))
        log_warn(NULL, "route-server-lost", "the server has no route of its own", LOG_S("reason", strerror(errno)));
    if (!s.any && !s.certain)
        return changed;
    uint64_t seen = netconf_route_seen(n);
    changed |= s.certain || !seen || seen != n->seen;
    n->seen = seen;
    return changed;
}

/* ---- words ---- */

void netconf_routes_text(const struct netconf *n, char *out, size_t cap)
{
    size_t at = 0;
    *out = 0;
    for (size_t i = 0; i < n->n_routes; i++) {
        const struct netlink_route *r = &n->routes[i].r;
        char ip[INET6_ADDRSTRLEN];
        if (!n->routes[i].set || r->kind != NETLINK_ROUTE_UNICAST)
            continue;
        inet_ntop(r->family == 4 ? AF_INET : AF_INET6, r->dst, ip, sizeof ip);
        int len = snprintf(out + at, cap - at, "%s%s/%u", at ? " " : "", ip, r->bits);
        if (len < 0 || (size_t)len >= cap - at) {
            out[at] = 0; /* a route that does not fit is left out whole */
            return;
        }
        at += (size_t)len;
    }
}

const char *netconf_dns_way(const struct netconf *n)
{
    static const char *const names[] = {
        [NETCONF_WAY_NONE] = "", [NETCONF_WAY_RESOLVECTL] = "resolvectl", [NETCONF_WAY_RESOLV_CONF] = "resolv.conf"
    };
    return names[n->dns_way];
}
