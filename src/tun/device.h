/*
 * The TUN interface, privileged side: made, addressed and brought up by the monitor. It is not persistent: it goes away
 * with the last queue descriptor, whatever happens to the processes.
 */
#ifndef GH_TUN_DEVICE_H
#define GH_TUN_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define TUN_QUEUES_MAX    256 /* of one interface: the kernel's own limit */
#define TUN_QUEUES_WORKER 8

struct tun_net4 {
    uint32_t base; /* host order */
    uint8_t prefix;
};

/* What the kernel leaves to us, and takes from us (ip/offload.h). */
struct tun_offload {
    bool tso; /* TCP super-packets of both families, and checksums undone */
    bool uso; /* UDP's too: Linux 6.2 */
};

struct tun_params {
    const char *name;    /* interface name */
    unsigned queues;     /* TUN_QUEUES_MAX at most */
    int mtu;             /* bytes */
    uint32_t server_ip4; /* host order: our address, with the prefix of nets[0] */
    const struct tun_net4 *nets;
    size_t n_nets;          /* routes to nets[1..] are added */
    const uint8_t *ip6_iid; /* 8 bytes: fe80::/64 with this identifier is added; NULL: IPv6 is switched off */
    bool offload;           /* wanted */
};

/*
 * Opens `queues` descriptors (IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE | IFF_VNET_HDR, non-blocking) and configures the
 * interface. On failure nothing is left, and fds are -1; err says what and what to do. fds has room for queues; got:
 * the offloads that this kernel has, none when they were not wanted.
 */
MUST_USE int tun_device_open(const struct tun_params *p, int *fds, struct tun_offload *got, char *err, size_t err_cap);

/*
 * One queue of an interface that must not exist yet, with nothing configured: the client's. `option` is what the
 * operator chose the name with, for err. offload: whether they are wanted; got: which there are.
 */
MUST_USE int tun_device_new(const char *name, const char *option, bool offload, int *fd, struct tun_offload *got,
                            char *err, size_t err_cap);

/*
 * How many queues each of so many workers has: a few, so that a call that is flooded fills, and loses from, a queue
 * that most others have no packets in.
 */
unsigned tun_queues_per_worker(unsigned workers);

/* "tso,uso", "tso" or "off". And as a number, for messages between processes. */
const char *tun_offload_text(struct tun_offload o);
uint32_t tun_offload_pack(struct tun_offload o);
struct tun_offload tun_offload_unpack(uint32_t bits);

/* Whether the kernel speaks IPv6 on the interface at all. Best effort. */
void tun_device_ipv6(const char *name, bool on);

/*
 * ERR_USAGE and a text when one of the networks overlaps a network on a local interface (other than `ignore_if`).
 */
MUST_USE int tun_overlap_check(const struct tun_net4 *nets, size_t n, const char *ignore_if, char *err, size_t err_cap);

#endif
