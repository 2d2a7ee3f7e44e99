#include "ip/flow.h"

#include "base/rd.h"

#define LOOK_MAX 64 /* the longest IPv4 header and the ports behind it */

enum {
    PROTO_HOP_BY_HOP = 0,
    PROTO_ICMP = 1,
    PROTO_TCP = 6,
    PROTO_UDP = 17,
    PROTO_DCCP = 33,
    PROTO_ROUTING = 43,
    PROTO_FRAGMENT = 44,
    PROTO_ESP = 50,
    PROTO_AH = 51,
    PROTO_ICMPV6 = 58,
    PROTO_OPTIONS = 60,
    PROTO_SCTP = 132,
    PROTO_UDPLITE = 136,
};

/* A product of 128 bits, folded: each bit of both goes into each bit of the result. */
static uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 m = (unsigned __int128)(a ^ 0x9e3779b97f4a7c15) * (b ^ 0xd1b54a32d192ed03);
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

/* What tells flows of one protocol between two hosts apart; 0: nothing does. */
static uint32_t ports(uint8_t proto, struct rd r)
{
    uint32_t both = 0;
    uint16_t id = 0;
    uint8_t type = 0;
    if (proto == PROTO_TCP || proto == PROTO_UDP || proto == PROTO_SCTP || proto == PROTO_DCCP ||
        proto == PROTO_UDPLITE || proto == PROTO_ESP) /* ESP: the SPI */
        return rd_u32(&r, &both) ? both : 0;
    if ((proto != PROTO_ICMP && proto != PROTO_ICMPV6) || !rd_u8(&r, &type))
        return 0;
    bool echo = proto == PROTO_ICMP ? type == 0 || type == 8 : type == 128 || type == 129;
    return echo && rd_skip(&r, 3) && rd_u16(&r, &id) ? id : 0;
}

static uint64_t flow4(struct rd r)
{
    uint8_t first = 0, proto = 0;
    uint16_t fragment = 0;
    uint32_t src = 0, dst = 0, p = 0;
    if (!rd_u8(&r, &first) || !rd_skip(&r, 5) || !rd_u16(&r, &fragment) || !rd_skip(&r, 1) || !rd_u8(&r, &proto) ||
        !rd_skip(&r, 2) || !rd_u32(&r, &src) || !rd_u32(&r, &dst))
        return 0;
    /* Only a first fragment has ports, and it is to stay with the others. 0x3fff: more fragments, and the offset. */
    if (!(fragment & 0x3fff) && rd_skip(&r, (first & 0x0fU) < 5 ? 0 : (first & 0x0fU) * 4 - 20))
        p = ports(proto, r);
    return mix((uint64_t)src << 32 | dst, (uint64_t)p << 8 | proto);
}

/* Steps over extension headers (RFC 8200 4.1). False: they are longer than what is looked at. */
static bool to_transport(struct rd *r, uint8_t *proto, bool *fragment)
{
    uint8_t len;
    for (;;) {
        switch (*proto) {
        case PROTO_HOP_BY_HOP:
        case PROTO_ROUTING:
        case PROTO_OPTIONS:
            if (!rd_u8(r, proto) || !rd_u8(r, &len) || !rd_skip(r, len * 8U + 6))
                return false;
            break;
        case PROTO_AH: /* RFC 4302 2.2 counts in other units */
            if (!rd_u8(r, proto) || !rd_u8(r, &len) || !rd_skip(r, len * 4U + 6))
                return false;
            break;
        case PROTO_FRAGMENT: *fragment = true; return rd_u8(r, proto);
        default: return true;
        }
    }
}

static uint64_t flow6(struct rd r)
{
    uint64_t a[4];
    uint8_t proto = 0;
    if (!rd_skip(&r, 6) || !rd_u8(&r, &proto) || !rd_skip(&r, 1) || !rd_copy(&r, a, sizeof a))
        return 0;
    bool fragment = false;
    uint32_t p = to_transport(&r, &proto, &fragment) && !fragment ? ports(proto, r) : 0;
    return mix(mix(a[0], a[1]) ^ (uint64_t)p << 8 ^ proto, mix(a[2], a[3]));
}

uint32_t flow_hash(const uint8_t *packet, size_t len)
{
    struct rd r = rd_make(packet, len < LOOK_MAX ? len : LOOK_MAX);
    uint8_t first = 0;
    if (!rd_peek_u8(&r, &first))
        return 0;
    uint64_t h = first >> 4 == 6 ? flow6(r) : flow4(r);
    return (uint32_t)(h ^ h >> 32);
}
