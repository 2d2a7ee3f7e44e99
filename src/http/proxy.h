/*
 * PROXY protocol, versions 1 and 2 (HAProxy, doc/proxy-protocol.txt): who the client really is.
 */
#ifndef GH_HTTP_PROXY_H
#define GH_HTTP_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rd.h"
#include "base/wr.h"

#define PROXY_V1_MAX   107         /* bytes of the longest version 1 line */
#define PROXY_V2_MAX   (16 + 4096) /* bytes that we accept of a version 2 header, TLVs included */
#define PROXY_NAME_MAX 253         /* bytes of a host name */

enum proxy_version { PROXY_OFF, PROXY_V1, PROXY_V2 };

struct proxy_addr {
    uint8_t family;           /* 4, 6, or 0: UNKNOWN / LOCAL / UNSPEC, addresses not set */
    uint8_t src[16], dst[16]; /* network order; IPv4 in the first 4 bytes */
    uint16_t src_port, dst_port;
};

struct proxy_header { /* as received */
    struct proxy_addr addr;
    char authority[PROXY_NAME_MAX + 1]; /* version 2, PP2_TYPE_AUTHORITY: the server name that the client sent to the
                                           front; "" when not there or not a host name; lower case, no final dot */
};

/*
 * Writes a header for one TCP connection; check wr_ok(). Version PROXY_OFF writes nothing. Without a family that
 * is UNKNOWN in version 1 and LOCAL in version 2.
 */
void proxy_encode(struct wr *w, enum proxy_version v, const struct proxy_addr *a);

/*
 * Reads a header from the start of `all`. Returns 0 with *used = bytes of the header and *out filled; ERR_AGAIN while
 * the bytes so far may be the beginning of one (never with PROXY_V1_MAX bytes of version 1 or PROXY_V2_MAX of
 * version 2); ERR_PEER when they are not a PROXY header. Only TCP over IPv4 and IPv6 gives addresses; datagrams,
 * unix sockets and LOCAL give family 0, and an IPv4-mapped pair is IPv4. TLVs that lie about their length are ERR_PEER;
 * all but the authority are skipped, and so is everything behind LOCAL or an unspecified family. *used is 0 and *out
 * untouched unless 0 is returned.
 */
MUST_USE int proxy_decode(struct rd all, struct proxy_header *out, size_t *used);

#endif
