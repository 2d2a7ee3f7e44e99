#include "server/monitor_setup.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "priv/open.h"
#include "tun/device.h"
#include "tun/nat.h"

const uint8_t setup_ip6_iid[8] = { 0, 0, 0, 0, 0, 0, 0, 1 };

#define BACKLOG 4096

/* ---- listeners ---- */

static int bind_one(const struct config_addr *a, bool share, int *out)
{
    int one = 1;
    int fd = socket(a->u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return ERR_SYSTEM;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (share)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (a->u.sa.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(fd, &a->u.sa, a->len) == 0 && listen(fd, BACKLOG) == 0) {
        *out = fd;
        return 0;
    }
    int e = errno;
    close(fd);
    errno = e;
    return ERR_SYSTEM;
}

const char *setup_bind_remedy(int e)
{
    switch (e) {
    case EADDRINUSE:
        return "another program listens there: stop it (`ss -ltnp` shows which) or choose another address or port";
    case EADDRNOTAVAIL: return "this host does not have that address: correct it";
    case EAFNOSUPPORT: return "this kernel has no IPv6: remove the [::] address";
    case EACCES: return "ports below 1024 need root";
    default: return "correct it";
    }
}

static int listeners_open(struct setup *s, const struct config *cfg, char *err, size_t cap)
{
    for (unsigned i = 0; i < cfg->listen.n_address + cfg->offload.n_listen; i++) {
        bool front = i >= cfg->listen.n_address;
        const struct config_addr *a = front ? &cfg->offload.listen[i - cfg->listen.n_address] : &cfg->listen.address[i];
        /* First without SO_REUSEPORT: with it a second daemon of ours would silently share the port. */
        int probe, rc = bind_one(a, false, &probe);
        if (!rc)
            close(probe);
        for (unsigned w = 0; !rc && w < s->threads; w++)
            rc = bind_one(a, true, &s->listeners[w][i]);
        if (rc) {
            snprintf(err, cap, "%s:%d: %s %s: %s: %s", a->file, a->line, front ? "offload.listen" : "listen.address",
                     a->text, strerror(errno), setup_bind_remedy(errno));
            return ERR_SYSTEM;
        }
        log_notice(NULL, "listening", front ? "accepting connections from the front" : "accepting connections",
                   LOG_S("address", a->text));
    }
    s->n_listen = (unsigned)(cfg->listen.n_address + cfg->offload.n_listen);
    return 0;
}

/* ---- control socket ---- */

static int control_open(struct setup *s, const struct config *cfg, char *err, size_t cap)
{
    char why[300];
    int rc = priv_listen_control(cfg->control.socket, "control.socket", &s->control, why, sizeof why);
    if (rc)
        snprintf(err, cap, "%s%s%s", rc == ERR_USAGE ? cfg->origin.file : "", rc == ERR_USAGE ? ": " : "", why);
    else
        s->control_path = strdup(cfg->control.socket);
    return rc;
}

/* ---- the inside ---- */

static void close_all(int *fds, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}

void setup_close_tun(struct setup *s)
{
    close_all(s->tun, TUN_QUEUES_MAX);
    steer_close(&s->steer);
}

/* Never a reason not to serve: without it the workers hand packets to each other. */
static void steering_open(struct setup *s, const struct config *cfg, const struct tun_net4 *nets, size_t n)
{
    s->steer_why[0] = 0;
    if (cfg->vpn.steering == CONFIG_OFF)
        snprintf(s->steer_why, sizeof s->steer_why, "vpn.steering is off");
    else if (steer_open(&s->steer, s->tun[0], nets, n, s->steer_why, sizeof s->steer_why) && s->threads > 1)
        log_info(NULL, "steering", "workers hand packets to each other: the kernel does not tell them apart",
                 LOG_S("reason", s->steer_why),
                 LOG_S("remedy", "nothing must be done; for more speed with several workers give the service CAP_BPF, "
                                 "and let its container use bpf(); or say vpn.steering = \"off\""));
}

static int inside_open(struct setup *s, const struct config *cfg, char *err, size_t cap)
{
    struct tun_net4 nets[CONFIG_NETWORKS_MAX];
    size_t n = cfg->vpn.n_network;
    for (size_t i = 0; i < n; i++)
        nets[i] = (struct tun_net4){ cfg->vpn.network[i].base, cfg->vpn.network[i].prefix };
    s->tun_queues = tun_queues_per_worker(s->threads);
    struct tun_params p = { .name = cfg->vpn.interface,
                            .queues = s->threads * s->tun_queues,
                            .mtu = cfg->vpn.mtu,
                            .server_ip4 = config_server_ip4(cfg),
                            .nets = nets,
                            .n_nets = n,
                            .ip6_iid = cfg->vpn.ipv6 ? setup_ip6_iid : NULL,
                            .offload = cfg->vpn.offload == CONFIG_AUTO };
    char why[300];
    int rc = tun_overlap_check(nets, n, p.name, why, sizeof why);
    if (rc) {
        snprintf(err, cap, "%s:%d: %s", cfg->vpn.network[0].file, cfg->vpn.network[0].line, why);
        return ERR_SYSTEM;
    }
    rc = tun_device_open(&p, s->tun, &s->offload, why, sizeof why);
    if (rc) {
        snprintf(err, cap, "vpn: %s", why);
        return rc;
    }
    s->tun_open = true;
    steering_open(s, cfg, nets, n);
    rc = nat_install(p.name, nets, n, cfg->vpn.nat == CONFIG_NAT_AUTO, why, sizeof why);
    if (!rc) {
        s->nat = true;
    } else if (cfg->vpn.nat == CONFIG_NAT_AUTO) {
        snprintf(err, cap, "vpn.nat: %s", why);
        return ERR_SYSTEM;
    } else {
        log_warn(NULL, "nft", "TCP segment sizes are not clamped to the tunnel's MTU", LOG_S("reason", why));
    }
    if (cfg->vpn.forward) {
        if (forward_enable(&s->forward_was)) {
            snprintf(err, cap,
                     "vpn.forward: cannot write net.ipv4.ip_forward: %s: set it on the host, and forward = false",
                     strerror(errno));
            return ERR_SYSTEM;
        }
        s->forward = true;
    }
    return 0;
}

void setup_inside_undo(struct setup *s)
{
    setup_close_tun(s);
    if (s->nat)
        nat_remove();
    if (s->forward)
        forward_restore(s->forward_was);
    s->tun_open = s->nat = s->forward = false;
}

int setup_inside_open(struct setup *s, const struct config *cfg, char *err, size_t cap)
{
    int rc = inside_open(s, cfg, err, cap);
    if (rc)
        setup_inside_undo(s);
    return rc;
}

int setup_open(struct setup *s, const struct config *cfg, char *err, size_t cap)
{
    *s = (struct setup){ .control = -1, .steer = { -1, -1, -1 } };
    memset(s->listeners, -1, sizeof s->listeners);
    memset(s->tun, -1, sizeof s->tun);
    cpu_set_t cpus;
    int n = cfg->worker.threads;
    if (n == 0)
        n = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
    s->threads = (unsigned)(n > CONFIG_THREADS_MAX ? CONFIG_THREADS_MAX : n);
    int rc = listeners_open(s, cfg, err, cap);
    if (!rc)
        rc = control_open(s, cfg, err, cap);
    if (!rc && cfg->vpn_on)
        rc = inside_open(s, cfg, err, cap);
    return rc;
}

/* ---- lending and undoing ---- */

static int take(const int *have, unsigned n, int *fds, uint32_t *count)
{
    for (unsigned i = 0; i < n; i++)
        if (have[i] < 0)
            return ERR_USAGE;
    memcpy(fds, have, n * sizeof *fds);
    *count = n;
    return 0;
}

int setup_take_listeners(struct setup *s, unsigned worker, int *fds, uint32_t *n)
{
    return take(s->listeners[worker], s->n_listen, fds, n);
}

int setup_take_tun(struct setup *s, unsigned worker, int *fds, uint32_t *n)
{
    return s->tun_open ? take(s->tun + (size_t)worker * s->tun_queues, s->tun_queues, fds, n) : ERR_USAGE;
}

int setup_take_steer(struct setup *s, int *fds, uint32_t *n)
{
    const int have[] = { s->steer.map4, s->steer.map6 };
    return take(have, 2, fds, n);
}

int setup_take_control(struct setup *s, int *fds, uint32_t *n)
{
    return take(&s->control, 1, fds, n);
}

void setup_close_given(struct setup *s)
{
    for (unsigned w = 0; w < s->threads; w++)
        close_all(s->listeners[w], CONFIG_SOCKETS_MAX);
    setup_close_tun(s);
    close_all(&s->control, 1);
}

void setup_undo(struct setup *s)
{
    if (!s->threads)
        return; /* never opened */
    setup_close_given(s);
    if (s->control_path)
        unlink(s->control_path);
    free(s->control_path);
    setup_inside_undo(s);
    *s = (struct setup){ .control = -1 };
}
