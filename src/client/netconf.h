/*
 * What a call changes on this machine, and its undoing: interface, addresses, routes, DNS. Run by the client's monitor,
 * as root.
 *
 * Everything that a process which is killed would leave behind is written to a state file first
 * (FOLDER/INTERFACE.state, mode 0600), so that the next start cleans up: the route to the server, the unreachable IPv6
 * routes, resolv.conf. The interface is not persistent and takes what goes through it along. A lock on
 * FOLDER/INTERFACE.lock says that its owner lives. The folder is root's, and nobody else may write there.
 */
#ifndef GH_CLIENT_NETCONF_H
#define GH_CLIENT_NETCONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "config/value.h"
#include "tun/device.h"

enum netconf_dns { NETCONF_DNS_OFF, NETCONF_DNS_AUTO, NETCONF_DNS_RESOLVECTL, NETCONF_DNS_RESOLV_CONF };

struct netconf_cfg {       /* borrowed, outlives it */
    const char *folder;    /* of the state file, made when missing: /run/gatehouse/connect */
    const char *interface; /* "ghc0" */
    bool offload;          /* super-packets on it are wanted */
    const struct config_prefix *routes;
    size_t n_routes;
    bool default_route; /* everything into the tunnel: 0.0.0.0/1, 128.0.0.0/1; the server stays reachable by a route of
                           its own; IPv6, which these calls do not carry, is made unreachable so that nothing leaks */
    enum netconf_dns dns;
    const char *resolv_conf; /* "/etc/resolv.conf" */
    const char *resolvectl;  /* NULL: where systems have it */
    const char *resolved;    /* the folder that is there while systemd-resolved runs; NULL: where systems have it */
};

/* What one call wants, as the engine sends it. Every field is checked: it stems from the network. */
struct netconf_wish {
    uint32_t ip4;          /* host order, ours; 0: no IPv4 */
    uint32_t peer4;        /* host order; 0: not told */
    uint32_t dns[2];       /* host order; 0: none */
    uint8_t ip6_iid[8];    /* link-local address fe80:: and this; zeros: no IPv6 */
    uint16_t mtu;          /* 576..4087 */
    uint8_t server_family; /* 4, 6: what the TCP connection goes to, the server or a proxy */
    uint8_t server[16];    /* network order, IPv4 in the first 4 */
};

struct netconf;

/*
 * Takes the state file's lock and undoes what a killed one left under it. ERR_USAGE when a running client has it. err:
 * what is wrong and what to do.
 */
MUST_USE int netconf_new(const struct netconf_cfg *cfg, struct netconf **out, char *err, size_t cap);
void netconf_free(struct netconf *n); /* undoes all, removes the file; NULL is fine */

/*
 * Undoes what killed clients left, whatever their interface. Best effort; returns how many state files it dealt with.
 * Of name servers only those in resolv_conf are put back.
 */
unsigned netconf_clean(const char *folder, const char *resolv_conf);

/* Opens the interface (one queue, as tun/queue.h wants it); a second call replaces it. *fd is the caller's. */
MUST_USE int netconf_tun(struct netconf *n, int *fd, char *err, size_t cap);
struct tun_offload netconf_offload(const struct netconf *n); /* of the interface that netconf_tun() opened */

/*
 * Sets all of it for a call; on failure nothing is left set. Called again without netconf_down() in between it undoes
 * first. ERR_PEER: the wish is none that a server may have; ERR_SYSTEM, ERR_LIMIT: err says what and what to do.
 *
 * A server's address that is one of this machine's own, or link-local, needs no route. Name servers that no route
 * leads to get one through the tunnel. A prefix of length 0 becomes its two halves, which never collide with a default
 * route; one of a family that the call does not carry is left out with a log line.
 */
MUST_USE int netconf_up(struct netconf *n, const struct netconf_wish *wish, char *err, size_t cap);
/* Routes and DNS as they were; the interface loses its addresses and stays, down. */
void netconf_down(struct netconf *n);

/*
 * Changes of links, addresses and routes that are not our own. netconf_watch_fd() becomes readable; netconf_watch()
 * reads what is there, puts the route to the server right again (another gateway; or unreachable while there is none,
 * so that the call never runs through itself), and returns true when something changed that a call should know of.
 */
int netconf_watch_fd(const struct netconf *n);
bool netconf_watch(struct netconf *n);

/* Whether it was a route that the latest netconf_up() could not set, what Windows logs as an event of its own. */
bool netconf_route_failed(const struct netconf *n);

/* What is set, for status and messages: "0.0.0.0/1 128.0.0.0/1", "resolvectl", ... Empty when nothing. */
void netconf_routes_text(const struct netconf *n, char *out, size_t cap);
const char *netconf_dns_way(const struct netconf *n); /* "resolvectl", "resolv.conf", "" */

#endif
