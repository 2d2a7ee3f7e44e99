#include "tun/device.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tun/netlink.h"

/* Linux 6.2 has them, older headers do not. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

/*
 * Packets that a queue between the kernel and us holds. It drops from its end, and knows nothing of calls, delay or
 * ECN: it must never be the place where packets wait. That place is the calls' own queues, which are filled from it in
 * bursts of several calls; the kernel's 500 do not last until a busy worker comes around.
 */
#define RING_PACKETS 4096

__attribute__((format(printf, 3, 4))) static int fail(char *err, size_t cap, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err, cap, fmt, ap);
    va_end(ap);
    return ERR_SYSTEM;
}

static int queue_open(const char *name, const char *option, short more_flags, char *err, size_t err_cap)
{
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        fail(err, err_cap, "/dev/net/tun: %s: load the tun module (modprobe tun), or give this container the device",
             strerror(errno));
        return -1;
    }
    struct ifreq ifr = { .ifr_flags = (short)(IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE | IFF_VNET_HDR | more_flags) };
    snprintf(ifr.ifr_name, sizeof ifr.ifr_name, "%s", name);
    int hdr = sizeof(struct virtio_net_hdr);
    if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
        const char *busy = errno == EBUSY ? ": another program has it, choose another " : "";
        fail(err, err_cap, "interface %s: %s%s%s", name, strerror(errno), busy, *busy ? option : "");
    } else if (ioctl(fd, TUNSETVNETHDRSZ, &hdr) < 0 || ioctl(fd, TUNSETOFFLOAD, 0) < 0) {
        fail(err, err_cap, "interface %s: cannot set packet headers: %s", name, strerror(errno));
    } else {
        return fd;
    }
    close(fd);
    return -1;
}

/* Of the interface, whichever of its queues is asked. */
static struct tun_offload offload_open(int fd, bool wanted)
{
    const unsigned tso = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    if (wanted && ioctl(fd, TUNSETOFFLOAD, tso | TUN_F_USO4 | TUN_F_USO6) == 0)
        return (struct tun_offload){ .tso = true, .uso = true };
    if (wanted && ioctl(fd, TUNSETOFFLOAD, tso) == 0)
        return (struct tun_offload){ .tso = true };
    return (struct tun_offload){ 0 }; /* as queue_open() left it */
}

unsigned tun_queues_per_worker(unsigned workers)
{
    unsigned most = TUN_QUEUES_MAX / (workers ? workers : 1);
    return most < TUN_QUEUES_WORKER ? most : TUN_QUEUES_WORKER;
}

const char *tun_offload_text(struct tun_offload o)
{
    return o.uso ? "tso,uso" : o.tso ? "tso" : "off";
}

uint32_t tun_offload_pack(struct tun_offload o)
{
    return (uint32_t)o.tso | (uint32_t)o.uso << 1;
}

struct tun_offload tun_offload_unpack(uint32_t bits)
{
    return (struct tun_offload){ .tso = bits & 1, .uso = bits & 2 };
}

/* Best effort: what the ring loses is sent again. */
static void ring_size(struct netlink *nl)
{
    int rc = netlink_link_txqlen(nl, RING_PACKETS);
    (void)rc;
}

int tun_device_new(const char *name, const char *option, bool offload, int *fd, struct tun_offload *got, char *err,
                   size_t err_cap)
{
    struct netlink nl;
    *fd = queue_open(name, option, IFF_TUN_EXCL, err, err_cap);
    if (*fd < 0)
        return ERR_SYSTEM;
    *got = offload_open(*fd, offload);
    if (!netlink_open(&nl, name)) {
        ring_size(&nl);
        netlink_close(&nl);
    }
    return 0;
}

void tun_device_ipv6(const char *name, bool on)
{
    char path[96];
    snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = write(fd, on ? "0" : "1", 1);
    (void)n;
    close(fd);
}

static int configure(const struct tun_params *p, char *err, size_t err_cap)
{
    struct netlink nl;
    int rc = netlink_open(&nl, p->name);
    if (rc)
        return fail(err, err_cap, "interface %s: netlink: %s", p->name, strerror(errno));
    const char *step = "set the MTU of";
    ring_size(&nl);
    rc = netlink_link_mtu(&nl, (uint32_t)p->mtu);
    if (!rc && !p->ip6_iid)
        tun_device_ipv6(p->name, false); /* before it comes up, so that the kernel never gives it an address */
    if (!rc && p->ip6_iid) {
        step = "switch off automatic IPv6 addresses of";
        rc = netlink_link_no_auto6(&nl);
        if (rc && errno == EAFNOSUPPORT)
            rc = 0; /* a kernel without IPv6 */
    }
    if (!rc) {
        step = "bring up";
        rc = netlink_link_up(&nl);
    }
    if (!rc) {
        step = "give an address to";
        rc = netlink_addr4_add(&nl, p->server_ip4, p->nets[0].prefix);
    }
    for (size_t i = 1; !rc && i < p->n_nets; i++) {
        step = "route a network to";
        rc = netlink_route4_add(&nl, p->nets[i].base, p->nets[i].prefix);
    }
    if (!rc && p->ip6_iid) {
        uint8_t addr[16] = { 0xfe, 0x80 };
        memcpy(addr + 8, p->ip6_iid, 8);
        int rc6 = netlink_addr6_add(&nl, addr, 64);
        (void)rc6; /* a host without IPv6 still serves IPv4 */
    }
    if (rc)
        fail(err, err_cap, "cannot %s interface %s: %s", step, p->name, strerror(errno));
    netlink_close(&nl);
    return rc;
}

int tun_device_open(const struct tun_params *p, int *fds, struct tun_offload *got, char *err, size_t err_cap)
{
    unsigned n = 0;
    for (; n < p->queues; n++) {
        fds[n] = queue_open(p->name, "vpn.interface", 0, err, err_cap);
        if (fds[n] < 0)
            break;
    }
    if (n == p->queues && !configure(p, err, err_cap)) {
        *got = offload_open(fds[0], p->offload);
        return 0;
    }
    while (n > 0) {
        close(fds[--n]);
        fds[n] = -1;
    }
    return ERR_SYSTEM;
}

static uint32_t mask4(unsigned prefix)
{
    return prefix ? ~(uint32_t)0 << (32 - prefix) : 0;
}

int tun_overlap_check(const struct tun_net4 *nets, size_t n, const char *ignore_if, char *err, size_t err_cap)
{
    struct ifaddrs *list;
    int rc = 0;
    if (getifaddrs(&list) < 0)
        return 0; /* not a reason to refuse service */
    for (struct ifaddrs *i = list; i && !rc; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || !i->ifa_netmask || !strcmp(i->ifa_name, ignore_if))
            continue;
        struct sockaddr_in a, m;
        memcpy(&a, i->ifa_addr, sizeof a);
        memcpy(&m, i->ifa_netmask, sizeof m);
        uint32_t addr = ntohl(a.sin_addr.s_addr), mask = ntohl(m.sin_addr.s_addr);
        for (size_t k = 0; k < n && !rc; k++) {
            uint32_t both = mask & mask4(nets[k].prefix);
            if ((addr & both) != (nets[k].base & both))
                continue;
            struct in_addr base = { htonl(nets[k].base) };
            char text[INET_ADDRSTRLEN], local[INET_ADDRSTRLEN];
            inet_ntop(AF_INET, &base, text, sizeof text);
            inet_ntop(AF_INET, &a.sin_addr, local, sizeof local);
            snprintf(err, err_cap,
                     "vpn.network %s/%u overlaps the network of %s (%s/%d): choose another network for the VPN", text,
                     nets[k].prefix, i->ifa_name, local, __builtin_popcount(mask));
            rc = ERR_USAGE;
        }
    }
    freeifaddrs(list);
    return rc;
}
