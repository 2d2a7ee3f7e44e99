/* What the files of netconf share: the state that outlives a process, the way to the server, name servers. */
#ifndef GH_CLIENT_NETCONF_PARTS_H
#define GH_CLIENT_NETCONF_PARTS_H

#include "client/netconf.h"
#include "tun/netlink.h"

/*
 * The origin that our routes carry (rtm_protocol), so that `ip route show proto 115` finds them and nobody's else are
 * ever taken for ours. A number of the range that the kernel leaves to user programs, given to no program that
 * iproute2 knows.
 */
#define NETCONF_PROTOCOL 115

#define NETCONF_NAME_MAX     15          /* of an interface */
#define NETCONF_PATH_MAX     512         /* of a state file, of resolv.conf */
#define NETCONF_RESOLV_MAX   (64 * 1024) /* bytes of resolv.conf that are kept */
#define NETCONF_LEFTOVER_MAX 8           /* routes that do not end with the interface */
#define NETCONF_METRIC6      1           /* the kernel's own lowest would be 1024 */

/* resolv.conf while ours stands there. */
struct netconf_resolv {
    char path[NETCONF_PATH_MAX]; /* "": nothing was changed; no symbolic link */
    bool was_there;
    uint8_t *was, *ours; /* owned */
    size_t was_len, ours_len;
};

/* What a killed process leaves behind: the contents of the state file. */
struct netconf_state {
    struct config_prefix routes[NETCONF_LEFTOVER_MAX];
    size_t n_routes;
    struct netconf_resolv resolv;
};

enum netconf_way { NETCONF_WAY_NONE, NETCONF_WAY_RESOLVECTL, NETCONF_WAY_RESOLV_CONF };

struct netconf_route {
    struct netlink_route r;
    bool set;
};

#define NETCONF_ROUTES_MAX 300

struct netconf {
    const struct netconf_cfg *cfg;
    int lock; /* descriptor of INTERFACE.lock */
    struct netlink nl, watch;
    unsigned ifindex, old_ifindex; /* of the interface, and of the one before it; 0: none */
    struct tun_offload offload;
    bool up;
    struct netconf_wish wish;
    struct netconf_state state;
    struct netconf_route routes[NETCONF_ROUTES_MAX]; /* into the tunnel, and into nowhere */
    size_t n_routes;
    bool route_failed;         /* the latest netconf_up() ended at a route */
    bool host_wanted;          /* the tunnel's routes cover the server */
    struct netconf_route host; /* the route to the server, while we have one */
    struct netlink_route way;  /* to the server, without us; family 0: there is none */
    uint64_t seen;             /* the machine's network, as one number */
    uint32_t dns[2];           /* usable ones */
    size_t n_dns;
    enum netconf_way dns_way;
};

__attribute__((format(printf, 4, 5))) int netconf_fail(int rc, char *err, size_t cap, const char *fmt, ...);

/* ---- netconf_state.c ---- */

/* Takes FOLDER/INTERFACE.lock, the folder made when missing. ERR_USAGE: another process has it. */
MUST_USE int netconf_lock(const char *folder, const char *interface, int *fd, char *err, size_t cap);
void netconf_unlock(const char *folder, const char *interface, int fd); /* removes the file as well */

MUST_USE int netconf_state_save(const char *folder, const char *interface, const struct netconf_state *s);
/* 0 with an empty state when there is no file; ERR_USAGE: not a file that we would have written. */
MUST_USE int netconf_state_load(const char *folder, const char *interface, struct netconf_state *out);
void netconf_state_remove(const char *folder, const char *interface);
void netconf_state_fini(struct netconf_state *s);
MUST_USE bool netconf_name_valid(const char *interface);

/* ---- netconf_route.c ---- */

/* Fills n->routes from wish and configuration, n->host_wanted, and the state's routes. */
MUST_USE int netconf_route_plan(struct netconf *n, char *err, size_t cap);
/*
 * Finds the way to the server that there is without us, and, when host_wanted, gives the server a route of its own
 * along it, or an unreachable one when there is no way. *changed: something was done.
 */
MUST_USE int netconf_route_host(struct netconf *n, bool *changed);
MUST_USE int netconf_route_up(struct netconf *n, char *err, size_t cap);
void netconf_route_down(struct netconf *n);
/* Removes the routes of a state that are still there; how many. */
unsigned netconf_route_clean(struct netlink *nl, const struct netconf_state *s);
/* A number that changes with links, addresses and routes other than ours. */
uint64_t netconf_route_seen(struct netconf *n);

/* ---- netconf_dns.c ---- */

MUST_USE int netconf_dns_up(struct netconf *n, char *err, size_t cap);
void netconf_dns_down(struct netconf *n);
/* Puts resolv.conf back when what stands there is ours. True: it did. */
bool netconf_dns_restore(const struct netconf_resolv *r, const char *interface);
/* Says so when what stands there is ours though no state tells of it, as after a restart of the machine. */
void netconf_dns_orphan(const char *path, const char *interface);

#endif
