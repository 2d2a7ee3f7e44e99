#include "ip/cut.h"

#include <string.h>

#include "base/rd.h"
#include "ip/checksum.h"

enum {
    IP4_ECN = 1, /* ECN: its low two bits (RFC 3168 5) */
    IP4_LEN = 2,
    IP4_ID = 4,
    IP4_SUM = 10,
    IP4_SRC = 12,
    IP6_LEN = 4,
    IP6_SRC = 8,
    IP6_HDR = 40,
    TCP_SEQ = 4,
    TCP_OFF = 12, /* data offset; flags in the byte behind */
    TCP_SUM = 16,
    TCP_MIN = 20,
    UDP_LEN = 4,
    UDP_SUM = 6,
    UDP_HDR = 8,
};

enum { TCP_FIN = 0x01, TCP_PSH = 0x08, TCP_CWR = 0x80 };
enum { PROTO_HOP = 0, PROTO_TCP = 6, PROTO_UDP = 17, PROTO_ROUTING = 43, PROTO_DEST = 60 };
enum { FRAGMENT = 0x3fff }; /* IPv4: more fragments, or an offset */

/* What the network header says. */
struct net {
    uint8_t version, ecn, proto; /* IPv6: the first Next Header, until net_extensions() */
    bool fragment;
    uint32_t hdr_len, len;
};

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* A word as checksums see it: in memory order. */
static uint32_t word(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}

/* A number as checksums see it. */
static uint32_t sum16(uint32_t v)
{
    uint8_t p[2];
    put16(p, v);
    return word(p);
}

static void put_sum(uint8_t *p, uint16_t sum)
{
    memcpy(p, &sum, 2);
}

static bool net4(struct rd r, size_t have, struct net *net)
{
    uint8_t first, tos;
    uint16_t total, frag;
    if (!rd_u8(&r, &first) || !rd_u8(&r, &tos) || !rd_u16(&r, &total) || !rd_skip(&r, 2) || !rd_u16(&r, &frag) ||
        !rd_skip(&r, 1) || !rd_u8(&r, &net->proto))
        return false;
    net->version = 4;
    net->ecn = tos & 3;
    net->fragment = frag & FRAGMENT;
    net->hdr_len = (first & 0x0fu) * 4;
    net->len = total;
    return net->hdr_len >= 20 && net->hdr_len <= total && total <= have;
}

static bool net6(struct rd r, size_t have, struct net *net)
{
    uint32_t first;
    uint16_t payload;
    if (!rd_u32(&r, &first) || !rd_u16(&r, &payload) || !rd_u8(&r, &net->proto) || !rd_skip(&r, 1 + 2 * 16))
        return false;
    net->version = 6;
    net->ecn = (first >> 20) & 3;
    net->fragment = false; /* a header of its own, which net_extensions() does not know */
    net->hdr_len = IP6_HDR;
    net->len = payload + (uint32_t)IP6_HDR;
    return net->len <= have;
}

/* IPv6: over the headers that the kernel's segmentation copies to each packet, to the transport header. */
static bool net_extensions(const uint8_t *packet, struct net *net)
{
    struct rd r = rd_make(packet, net->len);
    uint8_t units;
    if (!rd_skip(&r, net->hdr_len))
        return false;
    while (net->proto == PROTO_HOP || net->proto == PROTO_ROUTING || net->proto == PROTO_DEST) {
        if (!rd_u8(&r, &net->proto) || !rd_u8(&r, &units) || !rd_skip(&r, 6 + units * (size_t)8))
            return false;
    }
    net->hdr_len = net->len - (uint32_t)rd_left(&r);
    return true;
}

/* Of network and transport header; 0: they do not fit. */
static uint32_t headers_len(const uint8_t *packet, const struct net *net, bool tcp)
{
    struct rd r = rd_make(packet, net->len);
    uint8_t off;
    uint16_t len;
    if (!rd_skip(&r, net->hdr_len))
        return 0;
    if (!tcp)
        return rd_left(&r) >= UDP_HDR && rd_skip(&r, UDP_LEN) && rd_u16(&r, &len) && len == net->len - net->hdr_len
                   ? net->hdr_len + UDP_HDR
                   : 0;
    if (rd_left(&r) < TCP_MIN || !rd_skip(&r, TCP_OFF) || !rd_u8(&r, &off))
        return 0;
    uint32_t tcp_len = (uint32_t)(off >> 4) * 4, all = net->hdr_len + tcp_len;
    return tcp_len >= TCP_MIN && all <= net->len ? all : 0;
}

/* One packet, as it is but for a checksum that was left to us. */
static int init_whole(struct cut *c, const struct net *net, const struct offload *o, uint32_t mtu)
{
    uint32_t csum_at = (uint32_t)o->csum_start + o->csum_offset;
    if (o->csum && (o->csum_start < net->hdr_len || csum_at + 2 > net->len))
        return ERR_PEER;
    if (net->len > mtu)
        return ERR_LIMIT;
    c->left = net->len;
    c->size = (uint16_t)net->len;
    c->l4 = o->csum ? o->csum_start : 0;
    c->csum_at = o->csum ? (uint16_t)csum_at : 0;
    return 0;
}

/*
 * The pseudo header without its length (RFC 9293 3.1, RFC 8200 8.1). Where the kernel left the checksum to us, it is in
 * the checksum's place; there it has the destination behind a routing header, too.
 */
static uint32_t pseudo_sum(const uint8_t *packet, const struct net *net, const struct offload *o, uint32_t at)
{
    if (o->csum)
        return word(packet + at) + (0xffff ^ sum16(net->len - net->hdr_len));
    bool v4 = net->version == 4;
    return checksum_add(sum16(net->proto), packet + (v4 ? IP4_SRC : IP6_SRC), v4 ? 8 : 32);
}

static void init_sums(struct cut *c, const uint8_t *packet, const struct net *net, const struct offload *o)
{
    const uint8_t *l4 = packet + c->l4;
    uint32_t sum = checksum_add(pseudo_sum(packet, net, o, c->csum_at), l4, 4); /* ports */
    if (c->gso != OFFLOAD_UDP) /* but for sequence number, data offset and flags, checksum */
        sum = checksum_add(sum + word(l4 + 8) + word(l4 + 10) + word(l4 + 14), l4 + 18, c->hdr_len - c->l4 - 18u);
    c->hdr_sum = sum;
    if (net->version == 4) /* but for ECN, length, id, checksum */
        c->ip_sum = checksum_add(word(packet + 6) + word(packet + 8), packet + IP4_SRC, net->hdr_len - IP4_SRC);
}

/* A super-packet, to be cut; or whole, where one packet is enough. */
static int init_super(struct cut *c, const uint8_t *packet, struct net *net, const struct offload *o, uint32_t mtu)
{
    bool tcp = o->gso != OFFLOAD_UDP;
    if (net->fragment || !o->gso_size || (o->gso == OFFLOAD_TCP4 && net->version != 4) ||
        (o->gso == OFFLOAD_TCP6 && net->version != 6) || (net->version == 6 && !net_extensions(packet, net)) ||
        net->proto != (tcp ? PROTO_TCP : PROTO_UDP))
        return ERR_PEER;
    uint32_t hdr_len = headers_len(packet, net, tcp), sum_at = net->hdr_len + (tcp ? TCP_SUM : UDP_SUM);
    if (!hdr_len)
        return ERR_PEER;
    /* As in the kernel: TCP's checksum is always made new; who sends several datagrams at once left it to the device.
     */
    if (o->csum ? o->csum_start != net->hdr_len || (uint32_t)o->csum_start + o->csum_offset != sum_at : !tcp)
        return ERR_PEER;
    uint32_t payload = net->len - hdr_len, size = o->gso_size;
    if (hdr_len >= mtu)
        return init_whole(c, net, o, mtu); /* no payload, or too large */
    if (tcp && size > mtu - hdr_len)
        size = mtu - hdr_len;
    if (payload <= size)
        return init_whole(c, net, o, mtu); /* no super-packet */
    if (size > mtu - hdr_len)
        return ERR_LIMIT;
    c->left = payload;
    c->at = hdr_len;
    c->size = (uint16_t)size;
    c->hdr_len = (uint16_t)hdr_len;
    c->l4 = (uint16_t)net->hdr_len;
    c->csum_at = (uint16_t)sum_at;
    c->gso = o->gso;
    init_sums(c, packet, net, o);
    return 0;
}

int cut_init(struct cut *c, const uint8_t *packet, size_t len, const struct offload *o, uint32_t mtu)
{
    struct rd r = rd_make(packet, len);
    struct net net;
    uint8_t first;
    *c = (struct cut){ .gso = OFFLOAD_NONE };
    if (mtu > UINT16_MAX)
        mtu = UINT16_MAX;
    if (!rd_peek_u8(&r, &first) || !(first >> 4 == 4 ? net4(r, len, &net) : first >> 4 == 6 && net6(r, len, &net)))
        return ERR_PEER;
    c->ect = net.ecn;
    switch ((enum offload_gso)o->gso) {
    case OFFLOAD_NONE: return init_whole(c, &net, o, mtu);
    case OFFLOAD_TCP4:
    case OFFLOAD_TCP6:
    case OFFLOAD_UDP: return init_super(c, packet, &net, o, mtu);
    }
    return ERR_PEER;
}

/* Congestion Experienced (RFC 3168 5). The IPv4 header checksum is the caller's. */
static void mark(uint8_t *out, bool v4)
{
    if (v4)
        out[IP4_ECN] |= 0x03;
    else
        out[1] |= 0x30;
}

static void next_whole(const struct cut *c, const uint8_t *packet, uint8_t *out, bool ce)
{
    uint32_t len = c->left;
    if (c->csum_at) {
        memcpy(out, packet, c->l4);
        uint16_t sum = (uint16_t)~checksum_fold(checksum_copy(0, out + c->l4, packet + c->l4, len - c->l4));
        put_sum(out + c->csum_at, sum ? sum : 0xffff); /* as the kernel, which does not ask whether it is UDP's */
    } else {
        memcpy(out, packet, len);
    }
    if (!ce)
        return;
    bool v4 = out[0] >> 4 == 4;
    uint32_t before = word(out);
    mark(out, v4);
    if (v4) /* RFC 1624 3 */
        put_sum(out + IP4_SUM,
                (uint16_t)~checksum_fold((0xffff ^ word(out + IP4_SUM)) + (0xffff ^ before) + word(out)));
}

static void net_finish(const struct cut *c, uint8_t *out, uint32_t len, bool ce)
{
    bool v4 = out[0] >> 4 == 4;
    if (ce)
        mark(out, v4);
    if (!v4) {
        put16(out + IP6_LEN, len - IP6_HDR);
        return;
    }
    put16(out + IP4_LEN, len);
    put16(out + IP4_ID, get16(out + IP4_ID) + (uint32_t)c->n);
    uint32_t sum = c->ip_sum + word(out) + word(out + IP4_LEN) + word(out + IP4_ID);
    put_sum(out + IP4_SUM, (uint16_t)~checksum_fold(sum));
}

static void tcp_finish(const struct cut *c, uint8_t *l4, uint32_t sum)
{
    uint32_t seq = get32(l4 + TCP_SEQ) + (c->at - c->hdr_len);
    put16(l4 + TCP_SEQ, seq >> 16);
    put16(l4 + TCP_SEQ + 2, seq);
    if (c->n)
        l4[TCP_OFF + 1] &= (uint8_t)~TCP_CWR;
    if (c->left > c->size)
        l4[TCP_OFF + 1] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
    sum += word(l4 + TCP_SEQ) + word(l4 + TCP_SEQ + 2) + word(l4 + TCP_OFF);
    put_sum(l4 + TCP_SUM, (uint16_t)~checksum_fold(sum));
}

static void udp_finish(uint8_t *l4, uint32_t len, uint32_t sum)
{
    put16(l4 + UDP_LEN, len);
    uint16_t whole = (uint16_t)~checksum_fold(sum + word(l4 + UDP_LEN));
    put_sum(l4 + UDP_SUM, whole ? whole : 0xffff); /* RFC 768: 0 says that there is none */
}

void cut_next(struct cut *c, const uint8_t *packet, uint8_t *out, bool ce)
{
    if (c->done)
        return;
    ce = ce && c->ect;
    if (c->gso == OFFLOAD_NONE) {
        next_whole(c, packet, out, ce);
    } else {
        uint32_t n = c->left < c->size ? c->left : c->size, l4_len = c->hdr_len - c->l4 + n;
        memcpy(out, packet, c->hdr_len);
        uint32_t sum = checksum_copy(c->hdr_sum, out + c->hdr_len, packet + c->at, n) + sum16(l4_len);
        net_finish(c, out, c->hdr_len + n, ce);
        if (c->gso == OFFLOAD_UDP)
            udp_finish(out + c->l4, l4_len, sum);
        else
            tcp_finish(c, out + c->l4, sum);
    }
    cut_skip(c);
}

void cut_skip(struct cut *c)
{
    uint32_t n = c->left < c->size ? c->left : c->size;
    c->at += n;
    c->left -= n;
    c->n++;
    c->done = !c->left;
}
