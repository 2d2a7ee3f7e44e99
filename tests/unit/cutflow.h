/*
 * A TCP or UDP flow, described field by field; its packets, each built by itself with sums made two bytes at a time;
 * and the super-packet of them. What ip/cut.c is compared with, and what the laboratory gives to the kernel.
 */
#ifndef GH_TESTS_CUTFLOW_H
#define GH_TESTS_CUTFLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/wr.h"
#include "ip/offload.h"

enum { FLOW_FIN = 0x01, FLOW_PSH = 0x08, FLOW_CWR = 0x80 };
enum { FLOW_TCP = 6, FLOW_UDP = 17 };

struct flow {
    bool v6, tcp;
    uint8_t tos, ttl, flags, reserved; /* tos: or traffic class; reserved: the bits beside TCP's data offset */
    uint16_t id, frag, sport, dport, window, urgent;
    uint32_t label, seq, ack;
    uint8_t src[16], dst[16], last[16];  /* last: IPv6, the destination in the pseudo header */
    uint8_t next;                        /* IPv6: of the first extension header, or the protocol */
    uint8_t net_more[128], tcp_more[40]; /* IPv4 options or IPv6 extension headers; TCP options */
    size_t net_more_len, tcp_more_len;
    uint8_t payload[65536];
    uint32_t payload_len;
};

/* Which part of the payload a packet has, and which of its fields follow from that. */
struct flow_part {
    uint32_t at, len;
    uint16_t index;
    bool last, ce;
    bool partial; /* the transport checksum is the pseudo header's alone, not complemented */
};

static inline uint32_t flow_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static inline uint32_t flow_below(uint32_t *state, uint32_t n)
{
    return (uint32_t)((uint64_t)flow_random(state) * n >> 32);
}

static inline void flow_fill(uint32_t *state, uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(flow_random(state) >> 9);
}

static inline uint64_t flow_sum(uint64_t sum, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum += i % 2 ? p[i] : (uint64_t)p[i] << 8;
    return sum;
}

static inline uint16_t flow_fold(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static inline void flow_put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline uint32_t flow_l4(const struct flow *f)
{
    return (f->v6 ? 40 : 20) + (uint32_t)f->net_more_len;
}

static inline uint32_t flow_headers(const struct flow *f)
{
    return flow_l4(f) + (f->tcp ? 20 + (uint32_t)f->tcp_more_len : 8);
}

static inline void flow_net(const struct flow *f, struct wr *w, uint32_t l4_len, const struct flow_part *part)
{
    uint8_t tos = part->ce && f->tos & 3 ? f->tos | 3 : f->tos;
    uint8_t *start = w->p;
    if (f->v6) {
        wr_u32(w, 6u << 28 | (uint32_t)tos << 20 | f->label);
        wr_u16(w, (uint16_t)(l4_len + f->net_more_len));
        wr_u8(w, f->next);
        wr_u8(w, f->ttl);
        wr_bytes(w, f->src, 16);
        wr_bytes(w, f->dst, 16);
        wr_bytes(w, f->net_more, f->net_more_len);
        return;
    }
    wr_u8(w, (uint8_t)(0x45 + f->net_more_len / 4));
    wr_u8(w, tos);
    wr_u16(w, (uint16_t)(20 + f->net_more_len + l4_len));
    wr_u16(w, (uint16_t)(f->id + part->index));
    wr_u16(w, f->frag);
    wr_u8(w, f->ttl);
    wr_u8(w, f->tcp ? FLOW_TCP : FLOW_UDP);
    wr_u16(w, 0);
    wr_bytes(w, f->src, 4);
    wr_bytes(w, f->dst, 4);
    wr_bytes(w, f->net_more, f->net_more_len);
    flow_put16(start + 10, (uint16_t)~flow_fold(flow_sum(0, start, 20 + f->net_more_len)));
}

static inline void flow_tcp(const struct flow *f, struct wr *w, const struct flow_part *part)
{
    uint8_t flags = f->flags;
    if (part->index)
        flags &= (uint8_t)~FLOW_CWR;
    if (!part->last)
        flags &= (uint8_t) ~(FLOW_FIN | FLOW_PSH);
    wr_u16(w, f->sport);
    wr_u16(w, f->dport);
    wr_u32(w, f->seq + part->at);
    wr_u32(w, f->ack);
    wr_u8(w, (uint8_t)((5 + f->tcp_more_len / 4) << 4 | f->reserved));
    wr_u8(w, flags);
    wr_u16(w, f->window);
    wr_u16(w, 0);
    wr_u16(w, f->urgent);
    wr_bytes(w, f->tcp_more, f->tcp_more_len);
}

/* Returns the packet's length. */
static inline uint32_t flow_packet(const struct flow *f, const struct flow_part *part, uint8_t *out, size_t cap)
{
    struct wr w = wr_make(out, cap);
    uint32_t l4_len = flow_headers(f) - flow_l4(f) + part->len;
    flow_net(f, &w, l4_len, part);
    uint8_t *l4 = w.p;
    if (f->tcp) {
        flow_tcp(f, &w, part);
    } else {
        wr_u16(&w, f->sport);
        wr_u16(&w, f->dport);
        wr_u16(&w, (uint16_t)l4_len);
        wr_u16(&w, 0);
    }
    wr_bytes(&w, f->payload + part->at, part->len);
    if (!wr_ok(&w))
        return 0;
    uint64_t sum = flow_sum((uint64_t)(f->tcp ? FLOW_TCP : FLOW_UDP) + l4_len, f->src, f->v6 ? 16 : 4);
    sum = flow_sum(sum, f->v6 ? f->last : f->dst, f->v6 ? 16 : 4);
    uint16_t sum_whole = (uint16_t)~flow_fold(flow_sum(sum, l4, l4_len));
    if (!f->tcp && !sum_whole)
        sum_whole = 0xffff;
    flow_put16(l4 + (f->tcp ? 16 : 6), part->partial ? flow_fold(sum) : sum_whole);
    return (uint32_t)wr_len(&w);
}

/* The packet number index of those with size payload bytes; 0 behind the last one. */
static inline uint32_t flow_nth(const struct flow *f, uint32_t size, uint16_t index, bool ce, uint8_t *out, size_t cap)
{
    uint32_t at = index * size, left = f->payload_len - at;
    if (at >= f->payload_len)
        return 0;
    struct flow_part part = {
        .at = at, .len = left < size ? left : size, .index = index, .last = left <= size, .ce = ce
    };
    return flow_packet(f, &part, out, cap);
}

/* All of it as one packet, its checksum left undone; gso_size 0: no super-packet. */
static inline uint32_t flow_super(const struct flow *f, uint16_t gso_size, uint8_t *out, size_t cap, struct offload *o)
{
    struct flow_part part = { .len = f->payload_len, .last = true, .partial = true };
    *o = (struct offload){ .gso = OFFLOAD_NONE, .csum = true, .csum_start = (uint16_t)flow_l4(f) };
    o->csum_offset = f->tcp ? 16 : 6;
    if (gso_size) {
        o->gso = f->tcp ? (f->v6 ? OFFLOAD_TCP6 : OFFLOAD_TCP4) : OFFLOAD_UDP;
        o->gso_size = gso_size;
        o->hdr_len = (uint16_t)flow_headers(f);
        o->ecn = f->tcp && f->flags & FLOW_CWR;
    }
    return flow_packet(f, &part, out, cap);
}

/* Extension headers as routers pass them on: unknown options, a routing header of an unknown type. */
static inline void flow_extensions(struct flow *f, uint32_t *rnd)
{
    static const uint8_t kinds[4][3] = { { 60 }, { 0, 60 }, { 0, 43, 60 }, { 60, 43 } };
    static const unsigned counts[4] = { 1, 2, 3, 2 };
    unsigned kind = flow_below(rnd, 4), n = counts[kind];
    struct wr w = wr_make(f->net_more, sizeof f->net_more);
    for (unsigned i = 0; i < n; i++) {
        uint8_t units = (uint8_t)flow_below(rnd, 4);
        wr_u8(&w, i + 1 < n ? kinds[kind][i + 1] : f->tcp ? FLOW_TCP : FLOW_UDP);
        wr_u8(&w, units);
        if (kinds[kind][i] == 43) {
            wr_u16(&w, 253 << 8 | 1); /* one segment left: dst is not yet the last */
            flow_fill(rnd, w.p, 4 + units * 8u);
            wr_room(&w, 4 + units * 8u);
            flow_fill(rnd, f->last, 16);
        } else {
            wr_u8(&w, 0x1e); /* an experiment's option, that who does not know it skips (RFC 4727 3.4) */
            wr_u8(&w, (uint8_t)(4 + units * 8));
            flow_fill(rnd, w.p, 4 + units * 8u);
            wr_room(&w, 4 + units * 8u);
        }
    }
    f->next = kinds[kind][0];
    f->net_more_len = wr_len(&w);
}

static inline void flow_addresses(struct flow *f, uint32_t *rnd)
{
    static const uint8_t net6[2][8] = { { 0xfd, 0, 0, 1 }, { 0xfd, 0, 0, 2 } };
    flow_fill(rnd, f->src, 16);
    flow_fill(rnd, f->dst, 16);
    if (f->v6) {
        memcpy(f->src, net6[0], 8);
        memcpy(f->dst, net6[1], 8);
    } else {
        memcpy(f->src, (const uint8_t[]){ 10, 1 }, 2);
        memcpy(f->dst, (const uint8_t[]){ 10, 2 }, 2);
        f->src[2] |= 1; /* no network's own address, no broadcast */
        f->dst[2] |= 1;
        f->src[2] &= 0x7f;
        f->dst[2] &= 0x7f;
    }
    memcpy(f->last, f->dst, 16);
}

/* A flow of the kind; its fields are what routers pass on, whatever the flags. payload_len: at most. */
static inline void flow_any(struct flow *f, uint32_t *rnd, bool v6, bool tcp, uint32_t payload_max)
{
    static const uint16_t edges[4] = { 0, 0xffff, 0xfff0, 1 };
    static const uint8_t timestamps[4] = { 1, 1, 8, 10 };
    memset(f, 0, offsetof(struct flow, payload));
    f->v6 = v6;
    f->tcp = tcp;
    f->tos = (uint8_t)flow_random(rnd);
    f->ttl = (uint8_t)(2 + flow_below(rnd, 250));
    f->flags = (uint8_t)flow_random(rnd);
    f->reserved = flow_random(rnd) & 0x0f;
    f->id = flow_random(rnd) & 0x100 ? edges[flow_below(rnd, 4)] : (uint16_t)flow_random(rnd);
    f->frag = flow_random(rnd) & 0x100 ? 0x4000 : 0;
    f->sport = (uint16_t)(1 + flow_below(rnd, 65535));
    f->dport = (uint16_t)(1 + flow_below(rnd, 65535));
    f->window = (uint16_t)flow_random(rnd);
    f->urgent = (uint16_t)flow_random(rnd);
    f->label = flow_random(rnd) & 0xfffff;
    f->seq = flow_random(rnd) & 0x100 ? 0u - flow_below(rnd, 70000) : flow_random(rnd);
    f->ack = flow_random(rnd);
    f->next = tcp ? FLOW_TCP : FLOW_UDP;
    flow_addresses(f, rnd);
    if (v6 && flow_random(rnd) & 0x100) {
        flow_extensions(f, rnd);
    } else if (!v6 && !flow_below(rnd, 4)) {
        f->net_more_len = 4 * flow_below(rnd, 11);
        memset(f->net_more, 1, f->net_more_len); /* No Operation */
    }
    if (tcp && flow_random(rnd) & 0x100) {
        f->tcp_more_len = 12;
        memcpy(f->tcp_more, timestamps, 4);
        flow_fill(rnd, f->tcp_more + 4, 8);
    } else if (tcp) {
        f->tcp_more_len = 4 * flow_below(rnd, 11);
        flow_fill(rnd, f->tcp_more, f->tcp_more_len);
    }
    uint32_t room = 65535 - flow_headers(f) + (v6 ? 40 : 0);
    f->payload_len = 1 + flow_below(rnd, payload_max < room ? payload_max : room);
    switch (flow_below(rnd, 4)) {
    case 0: memset(f->payload, 0xff, f->payload_len); break; /* as many carries as there can be */
    case 1: memset(f->payload, 0, f->payload_len); break;
    case 2:
    case 3: flow_fill(rnd, f->payload, f->payload_len); break;
    }
}

#endif
