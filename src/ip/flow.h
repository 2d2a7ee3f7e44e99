/* Which packets are of one flow: a hash over addresses, protocol and ports. HOT PATH. */
#ifndef GH_IP_FLOW_H
#define GH_IP_FLOW_H

#include <stddef.h>
#include <stdint.h>

/*
 * packet: a whole IP packet that ip_view() accepted. Fragments and what has no ports hash by addresses and protocol.
 * Not keyed: whoever makes flows meet harms his own call. Bounded: looks at no more than the first 64 bytes.
 */
uint32_t flow_hash(const uint8_t *packet, size_t len);

#endif
