/* What the server looks at in a packet that a client sent or is to get: enough to say whose it is. */
#ifndef GH_IP_INNER_H
#define GH_IP_INNER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rd.h"

struct ip_view {
    uint8_t version;     /* 4 or 6 */
    uint32_t src4, dst4; /* host order, version 4 */
    uint8_t src6[16], dst6[16];
    uint32_t len; /* bytes of the packet by its own header, <= what was given: the rest is padding */
};

/* False when the header is cut short or lies about the length: the packet is dropped. */
MUST_USE bool ip_view(struct rd packet, struct ip_view *out);

/* Link-local unicast, fe80::/64 (RFC 4291 2.5.6). */
bool ip6_is_link_local(const uint8_t a[16]);

#endif
