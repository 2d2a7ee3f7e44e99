/*
 * nftables: one table of our own, `inet gatehouse`, replaced atomically; others are never touched. Run by the monitor.
 */
#ifndef GH_TUN_NAT_H
#define GH_TUN_NAT_H

#include <stdbool.h>
#include <stddef.h>

#include "tun/device.h"

/*
 * Masquerades what leaves from the networks by another interface (when nat), and clamps TCP MSS to the path's MTU on
 * what is forwarded through the interface. ERR_SYSTEM with nft's own words in err. Takes the place of a table that an
 * earlier run left.
 */
MUST_USE int nat_install(const char *interface, const struct tun_net4 *nets, size_t n, bool nat, char *err,
                         size_t err_cap);
void nat_remove(void);

/* net.ipv4.ip_forward: sets it to 1 and tells what it was, for forward_restore(). */
MUST_USE int forward_enable(int *was);
void forward_restore(int was);

#endif
