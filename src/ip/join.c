#include "ip/join.h"

#include <netinet/in.h>
#include <string.h>

#include "ip/checksum.h"

/*
 * HOT PATH: a packet's lengths are judged once, in look(); after that its headers are read at fixed places, many bytes
 * at a time.
 */

enum {
    IP4_LEN = 20, /* without options: with them it goes alone */
    IP6_LEN = 40,
    TCP_LEN = 20,
    UDP_LEN = 8,
    TCP_CSUM = 16, /* from the transport header */
    UDP_CSUM = 6,
};

/* TCP flags (RFC 9293 3.1, RFC 3168 6.1). */
enum { FIN = 0x01, PSH = 0x08, ACK = 0x10, ECE = 0x40 };

_Static_assert(JOIN_FLOWS <= 32, "a bit each in join.open");

enum sight {
    SIGHT_NO_FLOW,  /* of no flow that is ever open */
    SIGHT_ANY_FLOW, /* a fragment or with a header that is not read: of any */
    SIGHT_FLOW,     /* addresses and ports can be read */
};

struct packet {
    uint8_t *p;
    uint32_t len;
    uint8_t kind; /* enum offload_gso */
    bool v4;
    bool last; /* nothing may follow it in its super-packet */
    uint8_t l4;
    uint8_t hdr_len; /* 0: it cannot be joined */
};

static uint16_t load16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint32_t load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint16_t be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)be16(p) << 16 | be16(p + 2);
}

/* As the wire has it, for store16() and for sums. */
static uint16_t net16(uint16_t v)
{
    uint8_t p[2] = { (uint8_t)(v >> 8), (uint8_t)v };
    return load16(p);
}

static void store16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, sizeof v);
}

/* The Internet sum of n 32-bit words, small enough to add a few more. */
static inline uint32_t sum_words(const uint8_t *p, unsigned n)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < n; i++)
        sum += load32(p + 4 * i);
    return (uint32_t)((sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32));
}

/* The sum of the pseudo header (RFC 9293 3.1, RFC 768, RFC 8200 8.1) for len bytes with the transport header. */
static uint32_t pseudo_sum(const uint8_t *ip, bool v4, uint8_t kind, uint32_t len)
{
    uint32_t addresses = v4 ? sum_words(ip + 12, 2) : sum_words(ip + 8, 8);
    uint32_t protocol = kind == OFFLOAD_UDP ? IPPROTO_UDP : IPPROTO_TCP;
    return addresses + net16((uint16_t)protocol) + net16((uint16_t)len);
}

/* Can its segments be cut again by the kernel? RFC 9293 3.1. */
static void look_tcp(struct packet *k)
{
    const uint8_t *t = k->p + k->l4;
    uint32_t hdr_len = k->l4 + (uint32_t)(t[12] >> 4) * 4;
    if (hdr_len < k->l4 + (uint32_t)TCP_LEN || hdr_len >= k->len)
        return; /* it lies, or is without payload */
    /* Reserved bits and AE (RFC 9768), CWR, URG, SYN, RST: the kernel's cutting would not keep them in every segment.
     */
    if ((t[12] & 0x0f) || (t[13] & ~(ECE | ACK | PSH | FIN)) || !(t[13] & ACK) || load16(t + 18))
        return;
    k->hdr_len = (uint8_t)hdr_len;
    k->last = t[13] & (PSH | FIN);
}

static void look_udp(struct packet *k)
{
    const uint8_t *u = k->p + k->l4;
    if (be16(u + 4) != k->len - k->l4 || k->len == k->l4 + (uint32_t)UDP_LEN || !load16(u + UDP_CSUM))
        return;
    k->hdr_len = (uint8_t)(k->l4 + UDP_LEN);
}

/* Fills k but for p and len. */
static enum sight look(struct packet *k)
{
    const uint8_t *p = k->p;
    uint8_t protocol;
    if (k->len >= IP4_LEN && p[0] == 0x45) {
        /* More fragments, an offset, or the bit that is reserved (RFC 791 3.1). */
        if (be16(p + 2) != k->len || (be16(p + 6) & 0xbfff))
            return SIGHT_ANY_FLOW;
        k->v4 = true;
        k->l4 = IP4_LEN;
        protocol = p[9];
    } else if (k->len >= IP6_LEN && p[0] >> 4 == 6) {
        if (be16(p + 4) != k->len - IP6_LEN)
            return SIGHT_ANY_FLOW;
        k->l4 = IP6_LEN;
        protocol = p[6];
    } else {
        return SIGHT_ANY_FLOW;
    }
    if (protocol == IPPROTO_TCP && k->len >= k->l4 + (uint32_t)TCP_LEN) {
        k->kind = k->v4 ? OFFLOAD_TCP4 : OFFLOAD_TCP6;
        look_tcp(k);
        return SIGHT_FLOW;
    }
    if (protocol == IPPROTO_UDP && k->len >= k->l4 + (uint32_t)UDP_LEN) {
        k->kind = OFFLOAD_UDP;
        look_udp(k);
        return SIGHT_FLOW;
    }
    if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP)
        return SIGHT_ANY_FLOW;
    return k->v4 || protocol == IPPROTO_ICMPV6 ? SIGHT_NO_FLOW : SIGHT_ANY_FLOW; /* else an extension header */
}

/*
 * Are the checksums those that the kernel would put there? A sum of zero may be written in two ways (RFC 1624 3), and
 * only one of them is what comes out: never 0xffff in IPv4 and TCP, never 0 in UDP (look_udp()).
 */
static bool sums_right(const struct packet *k)
{
    if (k->v4 && (checksum_fold(sum_words(k->p, IP4_LEN / 4)) != 0xffff || load16(k->p + 10) == 0xffff))
        return false;
    if (k->kind != OFFLOAD_UDP && load16(k->p + k->l4 + TCP_CSUM) == 0xffff)
        return false;
    uint32_t len = k->len - k->l4;
    uint32_t sum = pseudo_sum(k->p, k->v4, k->kind, len);
    return checksum_fold(checksum_add(sum, k->p + k->l4, len)) == 0xffff;
}

static uint32_t flow_hash(const struct packet *k)
{
    uint64_t h = load32(k->p + k->l4) + ((uint64_t)k->kind << 32);
    const uint8_t *addresses = k->p + (k->v4 ? 12 : 8);
    for (unsigned i = 0; i < (k->v4 ? 1 : 4); i++)
        h = (h ^ load64(addresses + (size_t)8 * i)) * 0x9e3779b97f4a7c15;
    return (uint32_t)(h >> 32);
}

/* Same addresses, protocol and ports? */
static bool flow_is(const struct join_flow *f, const struct packet *k)
{
    if (f->kind != k->kind || f->v4 != k->v4)
        return false;
    const uint8_t *p = k->p, *q = f->iov[1].iov_base;
    if (k->v4)
        return load64(p + 12) == load64(q + 12) && load32(p + 20) == load32(q + 20);
    return load64(p + 24) == load64(q + 24) && load32(p + 40) == load32(q + 40) && load64(p + 8) == load64(q + 8) &&
           load64(p + 16) == load64(q + 16) && load64(p + 32) == load64(q + 32);
}

static struct join_flow *flow_find(struct join *j, const struct packet *k)
{
    if ((j->open >> j->last & 1) && flow_is(&j->flow[j->last], k))
        return &j->flow[j->last];
    if (!j->open)
        return NULL;
    uint32_t hash = flow_hash(k);
    for (uint32_t left = j->open; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        if (j->hash[i] == hash && flow_is(&j->flow[i], k)) {
            j->last = i;
            return &j->flow[i];
        }
    }
    return NULL;
}

/* Would the kernel cut the super-packet so that k, which is of its flow, comes out behind the others? */
static bool flow_continues(const struct join_flow *f, const struct packet *k)
{
    const uint8_t *p = k->p, *q = f->iov[1].iov_base;
    uint32_t payload = k->len - k->hdr_len;
    if (k->hdr_len != f->hdr_len || payload > f->size || f->len + payload > (f->v4 ? 65535 : 65535 + IP6_LEN))
        return false;
    if (f->v4) { /* type of service with ECN; DF, time to live */
        if (p[1] != q[1] || load32(p + 6) != load32(q + 6) || be16(p + 4) != f->id)
            return false;
    } else if (load32(p) != load32(q) || load16(p + 6) != load16(q + 6)) { /* class, flow label; hop limit */
        return false;
    }
    if (f->kind == OFFLOAD_UDP)
        return true;
    p += k->l4;
    q += k->l4;
    return be32(p + 4) == f->seq && load32(p + 8) == load32(q + 8) && !((p[13] ^ q[13]) & ~(PSH | FIN)) &&
           load16(p + 14) == load16(q + 14) &&
           memcmp(p + TCP_LEN, q + TCP_LEN, (size_t)k->hdr_len - k->l4 - TCP_LEN) == 0;
}

/* The first packet's header becomes the super-packet's, with the transport checksum left to the kernel. */
static void flow_finish(struct join_flow *f, struct offload *o)
{
    uint8_t *ip = f->iov[1].iov_base, *l4 = ip + f->l4;
    uint32_t len = f->len - f->l4;
    if (f->v4) {
        store16(ip + 2, net16((uint16_t)f->len));
        store16(ip + 10, 0);
        store16(ip + 10, (uint16_t)~checksum_fold(sum_words(ip, IP4_LEN / 4)));
    } else {
        store16(ip + 4, net16((uint16_t)len));
    }
    if (f->kind == OFFLOAD_UDP)
        store16(l4 + 4, net16((uint16_t)len));
    o->gso = f->kind;
    o->csum = true;
    o->gso_size = f->size;
    o->hdr_len = f->hdr_len;
    o->csum_start = f->l4;
    o->csum_offset = f->kind == OFFLOAD_UDP ? UDP_CSUM : TCP_CSUM;
    store16(l4 + o->csum_offset, checksum_fold(pseudo_sum(ip, f->v4, f->kind, len)));
}

static void flow_close(struct join *j, struct join_flow *f)
{
    struct offload o = { .gso = OFFLOAD_NONE };
    if (f->n > 2)
        flow_finish(f, &o);
    j->open &= ~(UINT32_C(1) << (f - j->flow));
    j->writes++;
    j->write(j->arg, f->iov, f->n, &o);
}

static void flow_append(struct join *j, struct join_flow *f, const struct packet *k)
{
    uint32_t payload = k->len - k->hdr_len;
    f->iov[f->n++] = (struct iovec){ k->p + k->hdr_len, payload };
    f->len += payload;
    f->seq += payload;
    f->id++;
    if (k->last) /* the kernel gives PSH and FIN to the last segment alone */
        ((uint8_t *)f->iov[1].iov_base)[f->l4 + 13] |= k->p[k->l4 + 13] & (PSH | FIN);
    if (k->last || payload < f->size || f->n == 1 + JOIN_PIECES)
        flow_close(j, f);
}

static unsigned flow_oldest(const struct join *j)
{
    unsigned oldest = 0;
    for (unsigned i = 1; i < JOIN_FLOWS; i++)
        if (j->born[i] < j->born[oldest])
            oldest = i;
    return oldest;
}

static void flow_open(struct join *j, const struct packet *k)
{
    uint32_t free_ones = ~j->open & (uint32_t)((UINT64_C(1) << JOIN_FLOWS) - 1);
    unsigned i = free_ones ? (unsigned)__builtin_ctz(free_ones) : flow_oldest(j);
    struct join_flow *f = &j->flow[i];
    if (!free_ones)
        flow_close(j, f);
    f->iov[1] = (struct iovec){ k->p, k->len };
    f->n = 2;
    f->len = k->len;
    f->size = (uint16_t)(k->len - k->hdr_len);
    f->kind = k->kind;
    f->v4 = k->v4;
    f->l4 = k->l4;
    f->hdr_len = k->hdr_len;
    f->id = k->v4 ? (uint16_t)(be16(k->p + 4) + 1) : 0;
    f->seq = k->kind == OFFLOAD_UDP ? 0 : be32(k->p + k->l4 + 4) + f->size;
    j->hash[i] = flow_hash(k);
    j->born[i] = j->packets;
    j->last = i;
    j->open |= UINT32_C(1) << i;
}

static void write_alone(struct join *j, const struct packet *k)
{
    struct iovec iov[2] = { { NULL, 0 }, { k->p, k->len } };
    struct offload o = { .gso = OFFLOAD_NONE };
    j->writes++;
    j->write(j->arg, iov, 2, &o);
}

void join_add(struct join *j, uint8_t *data, uint32_t len)
{
    struct packet k = { .p = data, .len = len };
    enum sight sight = look(&k);
    j->packets++;
    if (sight == SIGHT_FLOW) {
        struct join_flow *f = flow_find(j, &k);
        if (f && k.hdr_len && flow_continues(f, &k) && sums_right(&k)) {
            flow_append(j, f, &k);
            return;
        }
        if (f)
            flow_close(j, f);
        bool wanted = k.kind == OFFLOAD_UDP ? j->udp : j->tcp;
        if (wanted && k.hdr_len && !k.last && sums_right(&k)) {
            flow_open(j, &k);
            return;
        }
    } else if (sight == SIGHT_ANY_FLOW) {
        join_flush(j);
    }
    write_alone(j, &k);
}

void join_flush(struct join *j)
{
    while (j->open)
        flow_close(j, &j->flow[__builtin_ctz(j->open)]);
}
