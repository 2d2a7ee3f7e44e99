/*
 * What is joined must come apart again: every write of a struct join is cut as the kernel's segmentation does it, in
 * the plainest way, and what comes out must be what was fed in, bit for bit, in the order of each flow. For the unit
 * test and the fuzz target; a broken promise aborts.
 */
#ifndef GH_JOINTEST_H
#define GH_JOINTEST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ip/cut.h"
#include "ip/join.h"

#define JOINTEST_MAX 512 /* packets at a time */

struct jointest_packet {
    uint8_t *data; /* heap, of the exact size: a sanitizer sees every byte read past the end */
    uint8_t *copy; /* as it was */
    uint32_t len;
    bool out;
};

struct jointest {
    struct join join;
    struct jointest_packet fed[JOINTEST_MAX];
    unsigned n, out;                 /* packets fed, come out again */
    unsigned writes, joined, pieces; /* writes; super-packets; packets in them */
};

#define JOINTEST_CHECK(ok) jointest_check(ok, #ok, __LINE__)

static inline void jointest_check(bool ok, const char *what, int line)
{
    if (!ok) {
        fprintf(stderr, "jointest.h:%d: not so: %s\n", line, what);
        abort();
    }
}

static inline uint32_t jointest_be16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static inline void jointest_put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* RFC 1071, in network order. */
static inline uint32_t jointest_sum(uint32_t sum, const uint8_t *p, size_t n)
{
    uint64_t s = sum;
    for (size_t i = 0; i < n; i++)
        s += i % 2 ? (uint32_t)p[i] : (uint32_t)p[i] << 8;
    while (s >> 16)
        s = (s & 0xffff) + (s >> 16);
    return (uint32_t)s;
}

static inline uint32_t jointest_pseudo(const uint8_t *ip, uint32_t protocol, uint32_t len)
{
    return jointest_sum(protocol + len, ip[0] >> 4 == 4 ? ip + 12 : ip + 8, ip[0] >> 4 == 4 ? 8 : 32);
}

static inline uint32_t jointest_l4(const uint8_t *p)
{
    return p[0] >> 4 == 4 ? 20 : 40;
}

/* Writes the sums of a packet without IPv4 options or extension headers; of what is too short for that, none. */
static inline void jointest_sums(uint8_t *p, uint32_t len)
{
    uint32_t l4 = jointest_l4(p);
    if (len < l4)
        return;
    uint32_t protocol = p[l4 == 20 ? 9 : 6];
    if (len < l4 + (protocol == 17 ? 8u : 18u))
        return;
    uint8_t *check = p + l4 + (protocol == 17 ? 6 : 16);
    if (l4 == 20) {
        jointest_put16(p + 10, 0);
        jointest_put16(p + 10, ~jointest_sum(0, p, 20));
    }
    jointest_put16(check, 0);
    uint32_t sum = ~jointest_sum(jointest_pseudo(p, protocol, len - l4), p + l4, len - l4) & 0xffff;
    jointest_put16(check, !sum && protocol == 17 ? 0xffff : sum);
}

/*
 * Of which flow: a string that is equal for packets whose order counts; false: that of all others counts. Fragments,
 * options and whatever lies are of no one flow.
 */
static inline bool jointest_flow(const uint8_t *p, uint32_t len, uint8_t key[48])
{
    memset(key, 0, 48);
    bool v4 = len >= 20 && p[0] == 0x45 && jointest_be16(p + 2) == len && (jointest_be16(p + 6) & 0xbfff) == 0;
    bool v6 = len >= 40 && p[0] >> 4 == 6 && jointest_be16(p + 4) == len - 40;
    if (!v4 && !v6)
        return false;
    uint32_t l4 = v4 ? 20 : 40;
    uint8_t protocol = v4 ? p[9] : p[6];
    key[0] = p[0] >> 4;
    key[1] = protocol;
    memcpy(key + 2, v4 ? p + 12 : p + 8, v4 ? 8 : 32);
    if (protocol != 6 && protocol != 17)
        return v4 || protocol == 58;
    if (len < l4 + (protocol == 6 ? 20u : 8u))
        return false;
    memcpy(key + 40, p + l4, 4);
    return true;
}

/* One packet came out: it is the oldest with these bytes, and nothing that had to be before it is still inside. */
static inline void jointest_out(struct jointest *t, const uint8_t *p, uint32_t len)
{
    uint8_t key[48], other[48];
    unsigned i = 0;
    while (i < t->n && (t->fed[i].out || t->fed[i].len != len || memcmp(t->fed[i].copy, p, len) != 0))
        i++;
    JOINTEST_CHECK(i < t->n);
    bool one = jointest_flow(p, len, key);
    for (unsigned k = 0; k < i; k++)
        if (!t->fed[k].out) {
            JOINTEST_CHECK(one && jointest_flow(t->fed[k].copy, t->fed[k].len, other));
            JOINTEST_CHECK(memcmp(key, other, sizeof key) != 0);
        }
    t->fed[i].out = true;
    t->out++;
}

/* Packet i of those that the kernel makes of a super-packet; bytes of payload that it has. */
static inline uint32_t jointest_segment(const uint8_t *p, uint32_t len, const struct offload *o, uint32_t i,
                                        uint8_t *out)
{
    uint32_t l4 = o->csum_start, total = len - l4, at = o->hdr_len + i * o->gso_size;
    uint32_t payload = len - at < o->gso_size ? len - at : o->gso_size, n = o->hdr_len + payload;
    bool v4 = p[0] >> 4 == 4, last = at + payload == len;
    memcpy(out, p, o->hdr_len);
    memcpy(out + o->hdr_len, p + at, payload);
    if (v4) {
        jointest_put16(out + 2, n);
        jointest_put16(out + 4, jointest_be16(p + 4) + i);
        jointest_put16(out + 10, 0);
        jointest_put16(out + 10, ~jointest_sum(0, out, 20));
    } else {
        jointest_put16(out + 4, n - 40);
    }
    uint8_t *t = out + l4, *check = t + o->csum_offset;
    if (o->gso == OFFLOAD_UDP) {
        jointest_put16(t + 4, n - l4);
    } else {
        uint32_t seq = (jointest_be16(t + 4) << 16 | jointest_be16(t + 6)) + i * o->gso_size;
        jointest_put16(t + 4, seq >> 16);
        jointest_put16(t + 6, seq);
        if (i)
            t[13] &= (uint8_t)~0x80;
        if (!last)
            t[13] &= (uint8_t)~0x09;
    }
    /* As the kernel does it: the sum that was left there, less the length that it was made with. */
    uint32_t sum = jointest_be16(check) + (~total & 0xffff) + (n - l4);
    jointest_put16(check, 0);
    sum = ~jointest_sum(sum, t, n - l4) & 0xffff;
    jointest_put16(check, !sum && o->gso == OFFLOAD_UDP ? 0xffff : sum);
    return payload;
}

/* What Linux asks of a header that says NEEDS_CSUM and GSO (virtio_net_hdr_to_skb()), and what we promise. */
static inline void jointest_gso(const uint8_t *p, uint32_t len, const struct offload *o)
{
    bool v4 = p[0] >> 4 == 4, udp = o->gso == OFFLOAD_UDP;
    uint32_t l4 = v4 ? 20 : 40;
    JOINTEST_CHECK(o->csum && o->csum_start == l4 && o->csum_offset == (udp ? 6 : 16) && !o->ecn);
    JOINTEST_CHECK(udp || o->gso == (v4 ? OFFLOAD_TCP4 : OFFLOAD_TCP6));
    JOINTEST_CHECK(p[v4 ? 9 : 6] == (udp ? 17 : 6));
    JOINTEST_CHECK(o->hdr_len == l4 + (udp ? 8 : (uint32_t)(p[l4 + 12] >> 4) * 4));
    JOINTEST_CHECK(o->gso_size && o->gso_size != 0xffff && len > (uint32_t)o->hdr_len + o->gso_size);
    JOINTEST_CHECK(len - o->hdr_len <= (uint32_t)JOIN_PIECES * o->gso_size);
    JOINTEST_CHECK(jointest_be16(v4 ? p + 2 : p + 4) == (v4 ? len : len - 40));
    JOINTEST_CHECK(!v4 || jointest_sum(0, p, 20) == 0xffff);
    JOINTEST_CHECK(!udp || jointest_be16(p + l4 + 4) == len - l4);
    JOINTEST_CHECK(udp || !(p[l4 + 13] & 0x80));
    JOINTEST_CHECK(jointest_be16(p + l4 + o->csum_offset) == jointest_pseudo(p, udp ? 17 : 6, len - l4));
}

static inline void jointest_write(void *arg, struct iovec *iov, unsigned n, const struct offload *o)
{
    static uint8_t p[1 << 17], segment[1 << 17], other[1 << 17];
    struct jointest *t = arg;
    uint32_t len = 0;
    struct cut c;
    JOINTEST_CHECK(n >= 2 && n <= 1 + JOIN_PIECES);
    iov[0] = (struct iovec){ &len, sizeof len }; /* the sink's own */
    for (unsigned i = 1; i < n; i++) {
        memcpy(p + len, iov[i].iov_base, iov[i].iov_len);
        len += (uint32_t)iov[i].iov_len;
    }
    t->writes++;
    if (o->gso == OFFLOAD_NONE) {
        static const struct offload none;
        JOINTEST_CHECK(n == 2 && o->csum == none.csum && !o->gso_size && !o->ecn);
        jointest_out(t, p, len);
        return;
    }
    jointest_gso(p, len, o);
    t->joined++;
    JOINTEST_CHECK(cut_init(&c, p, len, o, OFFLOAD_PACKET_MAX) == 0);
    uint32_t at = o->hdr_len, i = 0;
    while (at < len) {
        uint32_t payload = jointest_segment(p, len, o, i++, segment);
        JOINTEST_CHECK(cut_len(&c) == o->hdr_len + payload);
        cut_next(&c, p, other, false);
        JOINTEST_CHECK(memcmp(segment, other, o->hdr_len + payload) == 0);
        jointest_out(t, segment, o->hdr_len + payload);
        at += payload;
    }
    JOINTEST_CHECK(cut_len(&c) == 0 && i == n - 1 && i > 1);
    t->pieces += i;
}

static inline struct jointest *jointest_new(bool tcp, bool udp)
{
    struct jointest *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    t->join.write = jointest_write;
    t->join.arg = t;
    t->join.tcp = tcp;
    t->join.udp = udp;
    return t;
}

static inline void jointest_add(struct jointest *t, const uint8_t *p, uint32_t len)
{
    JOINTEST_CHECK(t->n < JOINTEST_MAX);
    struct jointest_packet *k = &t->fed[t->n++];
    *k = (struct jointest_packet){ malloc(len), malloc(len), len, false };
    if (!k->data || !k->copy)
        abort();
    memcpy(k->data, p, len);
    memcpy(k->copy, p, len);
    join_add(&t->join, k->data, len);
    JOINTEST_CHECK(t->join.packets == t->n && t->join.writes == t->writes);
}

/* Nothing is left inside; ready for more. writes, joined and pieces go on counting. */
static inline void jointest_flush(struct jointest *t)
{
    join_flush(&t->join);
    JOINTEST_CHECK(t->out == t->n && !t->join.open);
    for (unsigned i = 0; i < t->n; i++) {
        free(t->fed[i].data);
        free(t->fed[i].copy);
    }
    t->n = t->out = 0;
    t->join.packets = 0;
    t->join.writes = t->writes;
}

static inline void jointest_free(struct jointest *t)
{
    jointest_flush(t);
    free(t);
}

#endif
