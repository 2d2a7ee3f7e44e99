/*
 * Routes, addresses and DNS of a call, in a network and mount namespace of each test's own. Needs root, ip(8) and
 * /dev/net/tun; is skipped without.
 *
 * The machine: e0 192.0.2.2/24 and 2001:db8:1::2/64 with default routes by .1 and ::1; e1 198.18.0.2/24 as a spare.
 */
#include <errno.h>
#include <poll.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "client/netconf_parts.h"

#define SERVER4 "198.51.100.1"
#define SERVER6 "2001:db8:ffff::1"
#define RESOLV  "search example.org\nnameserver 192.0.2.53\nnameserver 192.0.2.54\nnameserver 192.0.2.55\n# the end\n"

static const char *why_not; /* the reason to skip everything; NULL: none */

struct machine {
    char top[64], folder[96], resolv[96], fake[96], fake_log[96];
    struct netconf_cfg cfg;
    struct netconf *n;
    int fd;
    char err[1024];
    char *before;
};

__attribute__((format(printf, 1, 2))) static int run(const char *fmt, ...)
{
    char cmd[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(cmd, sizeof cmd, fmt, ap);
    va_end(ap);
    return system(cmd);
}

/* What a command prints, owned by the caller. */
__attribute__((format(printf, 1, 2))) static char *told(const char *fmt, ...)
{
    char cmd[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(cmd, sizeof cmd, fmt, ap);
    va_end(ap);
    FILE *f = popen(cmd, "r");
    assert_non_null(f);
    char *out = calloc(1, 65536);
    assert_non_null(out);
    size_t n = fread(out, 1, 65535, f);
    out[n] = 0;
    pclose(f);
    return out;
}

static void file_put(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
}

static void assert_file(const char *path, const char *text)
{
    char *have = told("cat %s", path);
    assert_string_equal(have, text);
    free(have);
}

/* Both take the text over. */
static bool has(char *text, const char *part)
{
    bool yes = strstr(text, part) != NULL;
    free(text);
    return yes;
}

static void assert_told(char *text, const char *all)
{
    assert_string_equal(text, all);
    free(text);
}

/* "via GATEWAY dev e0", as the kernel would send a packet; "" when it would not. */
static char *way(const char *ip)
{
    return told("ip route get %s 2>/dev/null | head -1", ip);
}

static char *whole_network(void)
{
    return told(
        "(ip -4 route show table all; ip -6 route show table all; ip -o addr show; ip rule; ip -6 rule) | sort");
}

static void machine_net(void)
{
    assert_int_equal(run("ip link set lo up"
                         " && ip link add e0 type veth peer name p0 && ip link add e1 type veth peer name p1"
                         " && for i in e0 e1 p0 p1; do ip link set $i addrgenmode none && ip link set $i up; done"
                         " && ip addr add 192.0.2.2/24 dev e0 && ip addr add 198.18.0.2/24 dev e1"
                         " && ip -6 addr add 2001:db8:1::2/64 dev e0 nodad"
                         " && ip route add default via 192.0.2.1 metric 100"
                         " && ip -6 route add default via 2001:db8:1::1"),
                     0);
    /* Carriers come when the kernel comes to it; a route that waits for one looks different. */
    assert_int_equal(run("for i in $(seq 150); do"
                         " ip -o link | grep -v ' lo:' | grep -q -e NO-CARRIER -e 'state [DL]' || exit 0; sleep 0.02;"
                         " done; exit 1"),
                     0);
}

static int setup(void **state)
{
    struct machine *m = calloc(1, sizeof *m);
    *state = m;
    if (!m || why_not)
        return m ? 0 : -1;
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -1;
    snprintf(m->top, sizeof m->top, "/tmp/test-netconf-XXXXXX");
    if (!mkdtemp(m->top))
        return -1;
    snprintf(m->folder, sizeof m->folder, "%s/state", m->top);
    snprintf(m->resolv, sizeof m->resolv, "%s/resolv.conf", m->top);
    snprintf(m->fake, sizeof m->fake, "%s/resolvectl", m->top);
    snprintf(m->fake_log, sizeof m->fake_log, "%s/asked", m->top);
    machine_net();
    file_put(m->resolv, RESOLV, 0640);
    m->fd = -1;
    m->cfg = (struct netconf_cfg){ .folder = m->folder,
                                   .interface = "ghc0",
                                   .dns = NETCONF_DNS_RESOLV_CONF,
                                   .resolv_conf = m->resolv,
                                   .resolvectl = m->fake,
                                   .resolved = m->top };
    m->before = whole_network();
    return 0;
}

static void stop(struct machine *m)
{
    netconf_free(m->n);
    m->n = NULL;
    if (m->fd >= 0)
        close(m->fd);
    m->fd = -1;
}

static int teardown(void **state)
{
    struct machine *m = *state;
    stop(m);
    if (m->top[0])
        run("umount -l %s 2>/dev/null; chattr -i %s 2>/dev/null; rm -rf %s", m->resolv, m->resolv, m->top);
    free(m->before);
    free(m);
    return 0;
}

/* Skips the test, with the reason, where namespaces cannot be made. */
static struct machine *machine(void **state)
{
    if (why_not) {
        print_message("skipped: %s\n", why_not);
        skip();
    }
    return *state;
}

static struct netconf_wish wish4(void)
{
    return (struct netconf_wish){ .ip4 = 0x0a4d0002,
                                  .peer4 = 0x0a4d0001,
                                  .dns = { 0x0a4d0001, 0x08080808 },
                                  .ip6_iid = { 2, 0, 0, 0, 0, 0, 0, 7 },
                                  .mtu = 1400,
                                  .server_family = 4,
                                  .server = { 198, 51, 100, 1 } };
}

static struct netconf_wish wish6(void)
{
    struct netconf_wish w = wish4();
    w.server_family = 6;
    memcpy(w.server, (const uint8_t[16]){ 0x20, 1, 0xd, 0xb8, 0xff, 0xff, [15] = 1 }, 16);
    return w;
}

static void start(struct machine *m)
{
    int rc = netconf_new(&m->cfg, &m->n, m->err, sizeof m->err);
    if (!rc)
        rc = netconf_tun(m->n, &m->fd, m->err, sizeof m->err);
    if (rc)
        print_message("%s\n", m->err);
    assert_int_equal(rc, 0);
}

static void up(struct machine *m, const struct netconf_wish *w)
{
    int rc = netconf_up(m->n, w, m->err, sizeof m->err);
    if (rc)
        print_message("%s\n", m->err);
    assert_int_equal(rc, 0);
}

static bool state_there(const struct machine *m)
{
    return run("test -e %s/ghc0.state", m->folder) == 0;
}

/* All is as it was before the client came. */
static void assert_as_before(struct machine *m)
{
    char *now = whole_network();
    assert_string_equal(now, m->before);
    free(now);
    assert_false(state_there(m));
}

static void assert_stops_clean(struct machine *m)
{
    stop(m);
    assert_as_before(m);
    assert_file(m->resolv, RESOLV);
    assert_int_not_equal(run("test -e %s/ghc0.lock", m->folder), 0);
}

static void default_route(void **state)
{
    struct machine *m = machine(state);
    struct netconf_wish w = wish4();
    struct stat st;
    char text[256];
    m->cfg.default_route = true;
    start(m);
    up(m, &w);
    assert_true(has(way("203.0.113.9"), "dev ghc0 src 10.77.0.2"));
    assert_true(has(way("9.9.9.9"), "dev ghc0"));
    assert_true(has(way(SERVER4), "via 192.0.2.1 dev e0"));
    assert_true(has(way("192.0.2.9"), "dev e0")); /* neighbours stay neighbours */
    assert_told(way("2001:db8:2::1"), "");
    assert_true(has(way("2001:db8:1::9"), "dev e0"));
    assert_true(has(told("ip -o addr show dev ghc0"), "inet 10.77.0.2 peer 10.77.0.1/32"));
    assert_true(has(told("ip -o addr show dev ghc0"), "inet6 fe80::200:0:0:7/64"));
    assert_true(has(told("ip link show dev ghc0"), "mtu 1400"));
    assert_true(has(told("ip route show proto 115"), SERVER4));
    assert_true(has(told("cat %s", m->resolv), "nameserver 10.77.0.1\nnameserver 8.8.8.8\nsearch example.org\n"));
    assert_true(has(told("head -1 %s", m->resolv), "# Written by gatehouse connect (ghc0)"));
    assert_int_equal(stat(m->resolv, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_true(has(told("stat -c %%a %s/ghc0.state", m->folder), "600"));
    netconf_routes_text(m->n, text, sizeof text);
    assert_string_equal(text, "0.0.0.0/1 128.0.0.0/1");
    netconf_routes_text(m->n, text, 20);
    assert_string_equal(text, "0.0.0.0/1");
    assert_string_equal(netconf_dns_way(m->n), "resolv.conf");

    netconf_down(m->n);
    assert_file(m->resolv, RESOLV);
    assert_true(has(way(SERVER4), "via 192.0.2.1 dev e0"));
    assert_true(has(way("203.0.113.9"), "dev e0"));
    assert_string_equal(netconf_dns_way(m->n), "");
    netconf_routes_text(m->n, text, sizeof text);
    assert_string_equal(text, "");
    assert_false(state_there(m));

    up(m, &w);
    up(m, &w); /* once more without an end in between */
    assert_true(has(way("203.0.113.9"), "dev ghc0"));
    assert_stops_clean(m);
}

static void default_route_over_ipv6(void **state)
{
    struct machine *m = machine(state);
    struct netconf_wish w = wish6();
    m->cfg.default_route = true;
    start(m);
    up(m, &w);
    assert_true(has(way(SERVER6), "via 2001:db8:1::1 dev e0"));
    assert_told(way("2001:db8:2::1"), "");
    assert_true(has(way(SERVER4), "dev ghc0"));
    assert_stops_clean(m);
}

static void listed_routes(void **state)
{
    struct machine *m = machine(state);
    struct netconf_wish w = wish4();
    const struct config_prefix routes[] = {
        { 4, 8, { 10 } },
        { 4, 16, { 198, 51 } },         /* covers the server */
        { 4, 32, { 198, 51, 100, 1 } }, /* is the server: left out */
        { 6, 32, { 0x20, 1, 0xd, 0xb9 } },
    };
    char text[256];
    m->cfg.routes = routes;
    m->cfg.n_routes = 4;
    start(m);
    up(m, &w);
    netconf_routes_text(m->n, text, sizeof text);
    assert_string_equal(text, "10.0.0.0/8 198.51.0.0/16 2001:db9::/32 8.8.8.8/32");
    assert_true(has(way(SERVER4), "via 192.0.2.1 dev e0"));
    assert_true(has(way("198.51.100.2"), "dev ghc0"));
    assert_true(has(way("203.0.113.9"), "dev e0"));
    assert_true(has(way("2001:db9::5"), "dev ghc0"));
    assert_true(has(way("2001:db8:2::1"), "dev e0"));
    memset(w.ip6_iid, 0, 8);
    up(m, &w);
    netconf_routes_text(m->n, text, sizeof text);
    assert_string_equal(text, "10.0.0.0/8 198.51.0.0/16 8.8.8.8/32");
    assert_false(has(told("ip -o addr show dev ghc0"), "inet6"));
    assert_stops_clean(m);
}

static void no_routes(void **state)
{
    struct machine *m = machine(state);
    struct netconf_wish w = wish4();
    w.peer4 = 0xc6336401; /* the server's own address: no route of its own may lead there */
    w.dns[0] = w.dns[1] = 0;
    start(m);
    up(m, &w);
    assert_true(has(way(SERVER4), "via 192.0.2.1 dev e0"));
    assert_true(has(told("ip -o addr show dev ghc0"), "inet 10.77.0.2/32"));
    assert_file(m->resolv, RESOLV);
    w.peer4 = 0xc0000201; /* the gateway's */
    up(m, &w);
    assert_true(has(way("192.0.2.1"), "dev e0"));
    assert_stops_clean(m);
}

/* Both halves of a listed 0/0, and an IPv6 default into the tunnel instead of nowhere. */
static void listed_default(void **state)
{
    struct machine *m = machine(state);
    struct netconf_wish w = wish6();
    const struct config_prefix routes[] = { { 4, 0, { 0 } }, { 6, 0, { 0 } } };
    m->cfg.routes = routes;
    m->cfg.n_routes = 2;
    m->cfg.default_route = true;
    start(m);
    up(m, &w);
    assert_true(has(way("203.0.113.9"), "dev ghc0"));
    assert_true(has(way("2001:db8:2::1"), "dev ghc0"));
    assert_true(has(way(SERVER6), "dev e0"));
    assert_stops_clean(m);
}

/* A client that is killed while its call is up. The signal comes when everything is set. */
static void kill_one(struct machine *m, const struct netconf_wish *w)
{
    int ready[2];
    char c;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int fd;
        if (netconf_new(&m->cfg, &m->n, m->err, sizeof m->err) || netconf_tun(m->n, &fd, m->err, sizeof m->err) ||
            netconf_up(m->n, w, m->err, sizeof m->err))
            _exit(1);
        if (write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void killed(void **state)
{
    struct machine *m = machine(state);
    struct netconf_wish w = wish6();
    m->cfg.default_route = true;
    kill_one(m, &w);
    assert_true(has(told("ip -6 route show proto 115"), SERVER6));
    assert_true(has(told("ip -6 route show proto 115"), "unreachable"));
    assert_true(has(told("cat %s", m->resolv), "gatehouse"));
    assert_true(state_there(m));
    assert_int_equal(netconf_new(&m->cfg, &m->n, m->err, sizeof m->err), 0);
    assert_as_before(m);
    assert_file(m->resolv, RESOLV);
    stop(m);

    w = wish4();
    kill_one(m, &w);
    assert_int_equal(netconf_clean(m->folder, m->resolv), 1);
    assert_as_before(m);
    assert_file(m->resolv, RESOLV);
    assert_int_equal(netconf_clean(m->folder, m->resolv), 0);
}

/* A restoring that was itself cut off before the length is finished by the next start. */
static void killed_in_restore(void **state)
{
    struct machine *m = machine(state);
    struct netconf_wish w = wish4();
    kill_one(m, &w);
    char *ours = told("cat %s", m->resolv);
    assert_true(strlen(ours) > strlen(RESOLV));
    memcpy(ours, RESOLV, strlen(RESOLV));
    file_put(m->resolv, ours, 0640);
    free(ours);
    assert_int_equal(netconf_clean(m->folder, m->resolv), 1);
    assert_file(m->resolv, RESOLV);
}

static int listen_at(const char *path)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(snprintf(un.sun_path, sizeof un.sun_path, "%s", path) < (int)sizeof un.sun_path);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

/* A killed client's control socket goes; what somebody listens at, and what is none, stays. */
static void sockets_of_others(void **state)
{
    struct machine *m = machine(state);
    char dead[128], live[128], file[128];
    snprintf(dead, sizeof dead, "%s/dead.sock", m->folder);
    snprintf(live, sizeof live, "%s/live.sock", m->folder);
    snprintf(file, sizeof file, "%s/file.sock", m->folder);
    assert_int_equal(run("mkdir -p -m 755 %s", m->folder), 0);
    close(listen_at(dead));
    int fd = listen_at(live);
    file_put(file, "", 0600);
    assert_int_equal(netconf_clean(m->folder, m->resolv), 0);
    assert_int_not_equal(access(dead, F_OK), 0);
    assert_int_equal(access(live, F_OK), 0);
    assert_int_equal(access(file, F_OK), 0);
    close(fd);
}

/* A live client's file is not touched; nor can a second one have the interface. */
static void locked(void **state)
{
    struct machine *m = machine(state);
    struct netconf_wish w = wish4();
    struct netconf *second;
    m->cfg.default_route = true;
    start(m);
    up(m, &w);
    assert_int_equal(netconf_clean(m->folder, m->resolv), 0);
    assert_int_equal(netconf_new(&m->cfg, &second, m->err, sizeof m->err), ERR_USAGE);
    assert_null(second);
    assert_non_null(strstr(m->err, "choose another tunnel.interface"));
    assert_true(has(way("203.0.113.9"), "dev ghc0"));
    assert_stops_clean(m);
}

static void interface_taken(void **state)
{
    struct machine *m = machine(state);
    assert_int_equal(run("ip tuntap add dev ghc0 mode tun multi_queue"), 0);
    assert_int_equal(netconf_new(&m->cfg, &m->n, m->err, sizeof m->err), 0);
    assert_int_equal(netconf_tun(m->n, &m->fd, m->err, sizeof m->err), ERR_SYSTEM);
    assert_non_null(strstr(m->err, "choose another tunnel.interface"));
    assert_int_equal(run("ip link del ghc0"), 0);
    assert_int_equal(netconf_tun(m->n, &m->fd, m->err, sizeof m->err), 0);
    assert_false(netconf_offload(m->n).tso || netconf_offload(m->n).uso); /* not asked for */
    assert_int_equal(run("ip link show ghc0 | grep -q 'qlen 4096'"), 0);
    struct netconf_wish w = wish4();
    m->cfg.default_route = true;
    up(m, &w);
    int old = m->fd; /* still open: its interface is replaced all the same */
    m->cfg.offload = true;
    assert_int_equal(netconf_tun(m->n, &m->fd, m->err, sizeof m->err), 0);
    assert_true(netconf_offload(m->n).tso); /* Linux has had it for ages; USO is new */
    up(m, &w);
    assert_true(has(way("203.0.113.9"), "dev ghc0"));
    close(old);
    assert_true(has(way("203.0.113.9"), "dev ghc0"));
    assert_int_equal(run("ip link del ghc0"), 0);
    assert_int_equal(netconf_up(m->n, &w, m->err, sizeof m->err), ERR_SYSTEM);
    assert_non_null(strstr(m->err, "is gone"));
    assert_stops_clean(m);
}

/* The kernel tells of a carrier when it comes to it, at most a second late. */
static bool changed(struct machine *m)
{
    struct pollfd p = { .fd = netconf_watch_fd(m->n), .events = POLLIN };
    while (poll(&p, 1, 3000) == 1)
        if (netconf_watch(m->n)) /* false: of the other end, or nothing that counts */
            return true;
    return false;
}

static void settle(struct machine *m)
{
    struct pollfd p = { .fd = netconf_watch_fd(m->n), .events = POLLIN };
    while (poll(&p, 1, 1100) == 1)
        netconf_watch(m->n);
}

static void gateway_changes(void **state)
{
    struct machine *m = machine(state);
    struct netconf_wish w = wish4();
    m->cfg.default_route = true;
    start(m);
    settle(m);
    up(m, &w);
    assert_false(netconf_watch(m->n)); /* what we did ourselves is no change */
    assert_int_equal(run("ip route replace default via 192.0.2.254 metric 100"), 0);
    assert_true(changed(m));
    assert_true(has(way(SERVER4), "via 192.0.2.254 dev e0"));
    assert_false(netconf_watch(m->n));
    assert_int_equal(run("ip route add default via 198.18.0.1 metric 50"), 0); /* a better one */
    assert_true(changed(m));
    assert_true(has(way(SERVER4), "via 198.18.0.1 dev e1"));
    assert_int_equal(run("ip route del default via 198.18.0.1; ip route del default"), 0);
    assert_true(changed(m));
    assert_told(way(SERVER4), ""); /* never through itself */
    assert_int_equal(run("ip route add default via 192.0.2.1 metric 100"), 0);
    assert_true(changed(m));
    assert_true(has(way(SERVER4), "via 192.0.2.1 dev e0"));
    assert_int_equal(run("ip route del %s proto 115", SERVER4), 0); /* somebody's flush */
    netconf_watch(m->n);
    assert_true(has(way(SERVER4), "via 192.0.2.1 dev e0"));
    assert_stops_clean(m);
}

static void link_changes(void **state)
{
    struct machine *m = machine(state);
    struct netconf_wish w = wish4();
    m->cfg.default_route = true;
    start(m);
    settle(m);
    up(m, &w);
    assert_int_equal(run("ip link set e0 down"), 0); /* takes addresses' routes along */
    assert_true(changed(m));
    assert_told(way(SERVER4), "");
    assert_int_equal(run("ip link set e0 up && ip -6 addr add 2001:db8:1::2/64 dev e0 nodad"
                         " && ip route add default via 192.0.2.1 metric 100"
                         " && ip -6 route add default via 2001:db8:1::1"),
                     0);
    assert_true(changed(m));
    assert_true(has(way(SERVER4), "via 192.0.2.1 dev e0"));
    /* Down and up between two looks: the kernel took our route, and nothing tells but the link. */
    assert_int_equal(run("ip link set e0 down && ip link set e0 up && ip -6 addr add 2001:db8:1::2/64 dev e0 nodad"
                         " && ip route add default via 192.0.2.1 metric 100"
                         " && ip -6 route add default via 2001:db8:1::1"),
                     0);
    assert_true(changed(m));
    assert_true(has(way(SERVER4), "via 192.0.2.1 dev e0"));
    settle(m);
    assert_int_equal(run("ip link set p0 down"), 0); /* the cable */
    assert_true(changed(m));
    assert_true(has(told("ip route show proto 115"), "unreachable " SERVER4));
    settle(m);
    assert_int_equal(run("ip link set p0 up"), 0);
    assert_true(changed(m));
    assert_true(has(way(SERVER4), "via 192.0.2.1 dev e0"));
    assert_int_equal(run("ip addr add 192.0.2.77/24 dev e0"), 0);
    assert_true(changed(m));
    assert_int_equal(run("ip addr del 192.0.2.77/24 dev e0"), 0);
    assert_true(changed(m));
    settle(m);
    assert_false(netconf_watch(m->n));
    assert_stops_clean(m);
}

static void watch_overflow(void **state)
{
    struct machine *m = machine(state);
    start(m);
    assert_false(netconf_watch(m->n));
    /* More than a socket's buffer holds, and at the end everything as before. */
    assert_int_equal(run("for i in $(seq 1 20); do for j in $(seq 1 120); do"
                         " echo route add 203.$i.$j.0/24 via 192.0.2.1; echo route del 203.$i.$j.0/24; done; done"
                         " | ip -batch -"),
                     0);
    assert_true(netconf_watch(m->n));
    assert_stops_clean(m);
}

static void routes_of_others(void **state)
{
    struct machine *m = machine(state);
    struct netconf_wish w = wish4();
    m->cfg.default_route = true;
    assert_int_equal(run("ip route add %s via 192.0.2.77", SERVER4), 0);
    free(m->before);
    m->before = whole_network();
    start(m);
    up(m, &w);
    assert_true(has(way(SERVER4), "via 192.0.2.77 dev e0"));
    netconf_down(m->n);
    assert_true(has(way(SERVER4), "via 192.0.2.77 dev e0"));
    up(m, &w);
    assert_int_equal(run("ip route del %s via 192.0.2.77", SERVER4), 0); /* theirs goes: ours comes */
    assert_true(netconf_watch(m->n));
    assert_true(has(way(SERVER4), "via 192.0.2.1 dev e0"));
    netconf_down(m->n);
    assert_int_equal(run("ip route add %s via 192.0.2.77", SERVER4), 0);
    stop(m);
    assert_as_before(m);

    /* Another VPN has the default route: refused, and nothing stays. */
    assert_int_equal(run("ip route add 128.0.0.0/1 via 192.0.2.78"), 0);
    free(m->before);
    m->before = whole_network();
    start(m);
    assert_int_equal(netconf_up(m->n, &w, m->err, sizeof m->err), ERR_SYSTEM);
    assert_non_null(strstr(m->err, "another VPN"));
    assert_file(m->resolv, RESOLV);
    assert_stops_clean(m);
}

static void server_nearby(void **state)
{
    struct machine *m = machine(state);
    struct netconf_wish w = wish4();
    m->cfg.default_route = true;
    start(m);
    memcpy(w.server, (const uint8_t[]){ 127, 0, 0, 1 }, 4); /* a proxy on this machine */
    up(m, &w);
    assert_true(has(way("127.0.0.1"), "dev lo"));
    memcpy(w.server, (const uint8_t[]){ 192, 0, 2, 2 }, 4);
    up(m, &w);
    assert_false(has(told("ip route show proto 115"), "192.0.2.2"));
    memcpy(w.server, (const uint8_t[]){ 192, 0, 2, 9 }, 4); /* a neighbour: by the interface */
    up(m, &w);
    assert_true(has(told("ip route show proto 115"), "192.0.2.9 dev e0"));
    w = wish6();
    memcpy(w.server, (const uint8_t[16]){ [10] = 0xff, [11] = 0xff, 198, 51, 100, 1 }, 16); /* ::ffff:198.51.100.1 */
    up(m, &w);
    assert_true(has(way(SERVER4), "via 192.0.2.1 dev e0"));
    assert_stops_clean(m);
}

static void resolv_conf_of_others(void **state)
{
    struct machine *m = machine(state);
    struct netconf_wish w = wish4();
    start(m);
    up(m, &w);
    file_put(m->resolv, "nameserver 203.0.113.53\n", 0644);
    netconf_down(m->n);
    assert_file(m->resolv, "nameserver 203.0.113.53\n");
    assert_false(state_there(m));
    stop(m);
    assert_as_before(m);

    file_put(m->resolv, RESOLV, 0640);
    kill_one(m, &w);
    file_put(m->resolv, "nameserver 203.0.113.53\n", 0644);
    assert_int_equal(netconf_clean(m->folder, m->resolv), 1);
    assert_file(m->resolv, "nameserver 203.0.113.53\n");

    file_put(m->resolv, RESOLV, 0640);
    kill_one(m, &w); /* the state names another file than the one that is configured now */
    char other[128];
    snprintf(other, sizeof other, "%s/other.conf", m->top);
    file_put(other, "x\n", 0644);
    assert_int_equal(netconf_clean(m->folder, other), 1);
    assert_file(other, "x\n");
    assert_true(has(told("cat %s", m->resolv), "gatehouse"));
}

static void resolv_conf_link(void **state)
{
    struct machine *m = machine(state);
    struct netconf_wish w = wish4();
    char target[128];
    snprintf(target, sizeof target, "%s/target.conf", m->top);
    assert_int_equal(rename(m->resolv, target), 0);
    assert_int_equal(symlink("target.conf", m->resolv), 0);
    start(m);
    up(m, &w);
    assert_true(has(told("cat %s", target), "nameserver 10.77.0.1"));
    netconf_down(m->n);
    assert_file(target, RESOLV);
    assert_true(has(told("readlink %s", m->resolv), "target.conf"));
    stop(m);
    kill_one(m, &w);
    assert_int_equal(netconf_clean(m->folder, m->resolv), 1);
    assert_file(target, RESOLV);

    /* As a bind mount, it can only be written in place. */
    assert_int_equal(unlink(m->resolv), 0);
    file_put(m->resolv, "", 0644);
    assert_int_equal(mount(target, m->resolv, NULL, MS_BIND, NULL), 0);
    start(m);
    up(m, &w);
    assert_true(has(told("cat %s", target), "nameserver 10.77.0.1"));
    assert_stops_clean(m);
    assert_int_equal(mount(NULL, m->resolv, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL), 0);
    m->cfg.default_route = true;
    start(m);
    assert_int_equal(netconf_up(m->n, &w, m->err, sizeof m->err), ERR_SYSTEM);
    assert_non_null(strstr(m->err, "Read-only file system: make it writable, or set tunnel.dns"));
    assert_true(has(way("203.0.113.9"), "dev e0"));
    assert_stops_clean(m);
}

static void resolv_conf_missing(void **state)
{
    struct machine *m = machine(state);
    struct netconf_wish w = wish4();
    assert_int_equal(unlink(m->resolv), 0);
    start(m);
    up(m, &w);
    assert_true(has(told("cat %s", m->resolv), "nameserver 10.77.0.1"));
    netconf_down(m->n);
    assert_int_not_equal(access(m->resolv, F_OK), 0);
    m->cfg.resolv_conf = m->top; /* a folder */
    assert_int_equal(netconf_up(m->n, &w, m->err, sizeof m->err), ERR_SYSTEM);
    m->cfg.resolv_conf = m->resolv;
    file_put(m->resolv, "", 0644); /* too long to keep */
    assert_int_equal(truncate(m->resolv, NETCONF_RESOLV_MAX + 1), 0);
    assert_int_equal(netconf_up(m->n, &w, m->err, sizeof m->err), ERR_LIMIT);
    stop(m);
    assert_as_before(m);
}

static void fake_put(struct machine *m, const char *end)
{
    char text[256];
    snprintf(text, sizeof text, "#!/bin/sh\necho \"$@\" >> %s\n%s\n", m->fake_log, end);
    file_put(m->fake, text, 0755);
}

static void resolvectl(void **state)
{
    struct machine *m = machine(state);
    struct netconf_wish w = wish4();
    fake_put(m, "exit 0");
    m->cfg.dns = NETCONF_DNS_AUTO;
    m->cfg.default_route = true;
    start(m);
    up(m, &w);
    assert_string_equal(netconf_dns_way(m->n), "resolvectl");
    assert_file(m->resolv, RESOLV);
    netconf_down(m->n);
    assert_file(m->fake_log, "dns ghc0 10.77.0.1 8.8.8.8\ndomain ghc0 ~.\ndefault-route ghc0 yes\nrevert ghc0\n");

    assert_int_equal(unlink(m->fake_log), 0);
    m->cfg.default_route = false;
    w.dns[0] = 0;
    up(m, &w);
    netconf_down(m->n);
    assert_file(m->fake_log, "dns ghc0 8.8.8.8\ndefault-route ghc0 yes\nrevert ghc0\n");

    fake_put(m, "sleep 600 & echo $! >> pids"); /* a child of its own that holds the pipe does not hold us */
    assert_int_equal(chdir(m->top), 0);
    up(m, &w);
    assert_string_equal(netconf_dns_way(m->n), "resolvectl");
    netconf_down(m->n);
    assert_int_equal(run("kill $(cat pids)"), 0);
    assert_int_equal(chdir("/"), 0);

    fake_put(m, "echo 'Unit dbus-org.freedesktop.resolve1.service not found.' >&2; exit 1");
    up(m, &w); /* automatic: the other way */
    assert_string_equal(netconf_dns_way(m->n), "resolv.conf");
    m->cfg.dns = NETCONF_DNS_RESOLVECTL;
    assert_int_equal(netconf_up(m->n, &w, m->err, sizeof m->err), ERR_SYSTEM);
    assert_non_null(strstr(m->err, "service not found.: start systemd-resolved"));
    m->cfg.dns = NETCONF_DNS_AUTO;
    m->cfg.resolved = "/nonexistent"; /* it does not run: not even asked */
    assert_int_equal(unlink(m->fake_log), 0);
    up(m, &w);
    assert_string_equal(netconf_dns_way(m->n), "resolv.conf");
    assert_int_not_equal(access(m->fake_log, F_OK), 0);
    m->cfg.dns = NETCONF_DNS_OFF;
    up(m, &w);
    assert_string_equal(netconf_dns_way(m->n), "");
    assert_false(has(told("ip route show proto 115"), "8.8.8.8"));
    assert_stops_clean(m);
}

static void wishes(void **state)
{
    struct machine *m = machine(state);
    start(m);
    static const uint32_t no_address[] = { 0x7f000001, 0xe0000001, 0xffffffff, 1, 0xc6336401 };
    for (size_t i = 0; i < sizeof no_address / sizeof *no_address; i++) {
        struct netconf_wish w = wish4();
        w.ip4 = no_address[i];
        assert_int_equal(netconf_up(m->n, &w, m->err, sizeof m->err), ERR_PEER);
    }
    static const uint16_t no_mtu[] = { 0, 575, 4088, 65535 };
    for (size_t i = 0; i < sizeof no_mtu / sizeof *no_mtu; i++) {
        struct netconf_wish w = wish4();
        w.mtu = no_mtu[i];
        assert_int_equal(netconf_up(m->n, &w, m->err, sizeof m->err), ERR_PEER);
    }
    struct netconf_wish w = wish4();
    w.ip4 = 0;
    memset(w.ip6_iid, 0, 8);
    assert_int_equal(netconf_up(m->n, &w, m->err, sizeof m->err), ERR_PEER);
    static const struct {
        uint8_t family, ip[16];
    } no_server[] = { { 0, { 1 } }, { 5, { 1 } }, { 4, { 0 } }, { 4, { 224 } }, { 6, { 0 } }, { 6, { 0xff, 2 } } };
    for (size_t i = 0; i < sizeof no_server / sizeof *no_server; i++) {
        w = wish4();
        w.server_family = no_server[i].family;
        memcpy(w.server, no_server[i].ip, 16);
        assert_int_equal(netconf_up(m->n, &w, m->err, sizeof m->err), ERR_USAGE);
    }
    w = wish4();
    w.dns[0] = 0x7f000001;
    w.dns[1] = 0xffffffff;
    w.mtu = 576; /* too small for IPv6 */
    up(m, &w);
    assert_file(m->resolv, RESOLV);
    assert_false(has(told("ip -o addr show dev ghc0"), "inet6"));
    assert_stops_clean(m);
}

/* State files that only look like ours are not acted upon, and go. */
static void state_distrusted(void **state)
{
    struct machine *m = machine(state);
    struct netconf_wish w = wish4();
    char path[160], moved[160];
    m->cfg.default_route = true;
    snprintf(path, sizeof path, "%s/ghc0.state", m->folder);
    snprintf(moved, sizeof moved, "%s/elsewhere", m->top);
    kill_one(m, &w);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(netconf_clean(m->folder, m->resolv), 1);
    assert_true(has(told("cat %s", m->resolv), "gatehouse"));
    assert_true(has(told("ip route show proto 115"), SERVER4));
    assert_false(state_there(m));

    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "{\"version\":1,\"routes\":[{\"to\":\"x\",\"bits\":32}]}",
        "{\"version\":1,\"routes\":[{\"to\":\"" SERVER4 "\",\"bits\":33}]}",
        "{\"version\":2,\"routes\":[{\"to\":\"" SERVER4 "\",\"bits\":32}]}",
        "{\"version\":1,\"routes\":[],\"resolv-conf\":{\"path\":\"x\",\"was\":\"\",\"ours\":\"\"}}",
        "{\"version\":1,\"routes\":[],\"resolv-conf\":{\"path\":\"/x\",\"was\":\"0\",\"ours\":\"\"}}",
        "{\"version\":1,\"routes\":[1,2,3,4,5,6,7,8,9]}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct netconf_state s;
        file_put(path, texts[i], 0600);
        assert_int_equal(netconf_state_load(m->folder, "ghc0", &s), ERR_USAGE);
        assert_int_equal(netconf_clean(m->folder, m->resolv), 1);
        assert_false(state_there(m));
    }
    assert_true(has(told("ip route show proto 115"), SERVER4));
    file_put(moved, "{\"version\":1,\"routes\":[{\"to\":\"" SERVER4 "\",\"bits\":32}]}", 0600);
    assert_int_equal(symlink(moved, path), 0);
    assert_int_equal(netconf_clean(m->folder, m->resolv), 1);
    assert_true(has(told("ip route show proto 115"), SERVER4));
    assert_int_equal(rename(moved, path), 0); /* the same, believed, as a check of this test */
    assert_int_equal(netconf_clean(m->folder, m->resolv), 1);
    assert_told(told("ip route show proto 115"), "");
    /* A route of that name that is somebody's stays, whatever the file says. */
    assert_int_equal(run("ip route add %s via 192.0.2.9", SERVER4), 0);
    file_put(path, "{\"version\":1,\"routes\":[{\"to\":\"" SERVER4 "\",\"bits\":32}]}", 0600);
    assert_int_equal(netconf_clean(m->folder, m->resolv), 1);
    assert_true(has(way(SERVER4), "via 192.0.2.9"));
    assert_int_equal(chmod(m->folder, 0777), 0);
    assert_int_equal(netconf_new(&m->cfg, &m->n, m->err, sizeof m->err), ERR_SYSTEM);
    assert_non_null(strstr(m->err, "chmod go-w"));
    m->cfg.interface = "../etc";
    assert_int_equal(netconf_new(&m->cfg, &m->n, m->err, sizeof m->err), ERR_USAGE);
}

/* The gateway is a neighbour only because the route says so, as at some hosters. */
static void gateway_onlink(void **state)
{
    struct machine *m = machine(state);
    struct netconf_wish w = wish4();
    m->cfg.default_route = true;
    assert_int_equal(run("ip route replace default via 172.31.1.1 dev e0 onlink metric 100"), 0);
    free(m->before);
    m->before = whole_network();
    start(m);
    up(m, &w);
    assert_true(has(way(SERVER4), "via 172.31.1.1 dev e0"));
    assert_int_equal(run("ip route replace default metric 100 nexthop via 192.0.2.1 dev e0 nexthop via 198.18.0.1"), 0);
    assert_true(netconf_watch(m->n));
    assert_true(has(way(SERVER4), "via 192.0.2.1 dev e0"));
    assert_int_equal(run("ip -4 route replace default via inet6 2001:db8:1::1 dev e0 metric 100"), 0);
    assert_true(netconf_watch(m->n));
    assert_true(has(way(SERVER4), "via inet6 2001:db8:1::1 dev e0"));
    assert_int_equal(run("ip route replace default via 172.31.1.1 dev e0 onlink metric 100"), 0);
    assert_stops_clean(m);
}

static const char *reason(void)
{
    if (geteuid() != 0)
        return "needs root for namespaces";
    if (access("/dev/net/tun", R_OK | W_OK) != 0)
        return "there is no /dev/net/tun";
    if (run("ip -V >/dev/null 2>&1") != 0)
        return "there is no ip(8)";
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0)
        return "namespaces are not allowed here";
    return NULL;
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    log_setup(getenv("NETCONF_LOG") ? LOG_LV_DEBUG : LOG_LV_ERROR, LOG_FMT_LOGFMT, false);
    why_not = reason();
    const struct CMUnitTest tests[] = {
        CASE(default_route),
        CASE(default_route_over_ipv6),
        CASE(listed_routes),
        CASE(no_routes),
        CASE(listed_default),
        CASE(killed),
        CASE(killed_in_restore),
        CASE(sockets_of_others),
        CASE(locked),
        CASE(interface_taken),
        CASE(gateway_changes),
        CASE(link_changes),
        CASE(watch_overflow),
        CASE(routes_of_others),
        CASE(server_nearby),
        CASE(resolv_conf_of_others),
        CASE(resolv_conf_link),
        CASE(resolv_conf_missing),
        CASE(resolvectl),
        CASE(wishes),
        CASE(state_distrusted),
        CASE(gateway_onlink),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
