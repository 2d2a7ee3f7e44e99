/*
 * Super-packets cut into what travels, against packets built one by one (cutflow.h); and headers that lie. Packets and
 * outputs are on the heap and of the exact size, so that a sanitizer sees every byte too far.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cutflow.h"
#include "ip/cut.h"

enum { CAP = OFFLOAD_PACKET_MAX, BIG = 65535, ROUNDS = 1500 };

static struct flow flow;
static uint8_t built[CAP], want[CAP];
static uint32_t rnd = 20240229;

static uint8_t *heap(const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, p, n);
    return copy;
}

static bool chance(uint32_t of)
{
    return !flow_below(&rnd, of);
}

/* Gives out the next packet of c, which is to be the n bytes at `want`. */
static void expect_next(struct cut *c, const uint8_t *packet, uint32_t n, bool ce)
{
    assert_int_equal(cut_len(c), n);
    uint8_t *out = malloc(n);
    assert_non_null(out);
    cut_next(c, packet, out, ce);
    assert_memory_equal(out, want, n);
    free(out);
}

/* All packets of size payload bytes; skips, marks: one in so many of the packets, 0: none. */
static void expect_all(struct cut *c, const uint8_t *packet, uint32_t size, uint32_t skips, uint32_t marks)
{
    uint16_t i = 0;
    for (; !c->done; i++) {
        bool ce = marks && chance(marks);
        uint32_t n = flow_nth(&flow, size, i, ce, want, CAP);
        assert_int_not_equal(n, 0);
        if (skips && chance(skips)) {
            assert_int_equal(cut_len(c), n);
            cut_skip(c);
        } else {
            expect_next(c, packet, n, ce);
        }
    }
    assert_int_equal(flow_nth(&flow, size, i, false, want, CAP), 0);
    assert_int_equal(cut_len(c), 0);
    assert_int_equal(c->n, i);
}

static uint32_t any_size(void)
{
    static const uint16_t usual[] = { 1, 2, 536, 1220, 1348, 1400, 1448, 8948, 9000 };
    return chance(2) ? usual[flow_below(&rnd, 9)] : 1 + flow_below(&rnd, 9000);
}

static uint32_t any_payload(uint32_t size)
{
    uint32_t most = size * (uint64_t)64 < BIG ? size * 64 : BIG;
    return chance(4) ? size + 1 : most; /* two packets, or up to 64 */
}

static void super_round(bool v6, bool tcp)
{
    struct offload o;
    struct cut c;
    uint32_t size = any_size(), mtu = BIG;
    flow_any(&flow, &rnd, v6, tcp, any_payload(size));
    uint32_t len = flow_super(&flow, (uint16_t)size, built, CAP, &o);
    assert_int_not_equal(len, 0);
    if (tcp && chance(4) && size > 1) { /* larger than what may travel */
        size = 1 + flow_below(&rnd, size - 1);
        mtu = flow_headers(&flow) + size;
        if (size * 2000u < flow.payload_len)
            return;
    }
    if (chance(2))
        o.hdr_len = (uint16_t)flow_random(&rnd); /* says nothing */
    uint8_t *packet = heap(built, len);
    assert_int_equal(cut_init(&c, packet, len, &o, mtu), 0);
    assert_int_equal(c.ect, (flow.tos & 3) != 0);
    expect_all(&c, packet, size, chance(2) ? 3 : 0, chance(2) ? 2 : 0);
    assert_memory_equal(packet, built, len);
    free(packet);
}

static void test_super_tcp4(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ROUNDS; i++)
        super_round(false, true);
}

static void test_super_tcp6(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ROUNDS; i++)
        super_round(true, true);
}

static void test_super_udp4(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ROUNDS; i++)
        super_round(false, false);
}

static void test_super_udp6(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ROUNDS; i++)
        super_round(true, false);
}

/* The largest there can be, in the smallest pieces. */
static void test_extremes(void **state)
{
    (void)state;
    struct offload o;
    struct cut c;
    for (unsigned v6 = 0; v6 < 2; v6++) {
        flow_any(&flow, &rnd, v6, true, 1);
        flow.payload_len = 65535 + (v6 ? 40 : 0) - flow_headers(&flow);
        flow_fill(&rnd, flow.payload, flow.payload_len);
        uint32_t len = flow_super(&flow, 1, built, CAP, &o);
        assert_int_equal(len, v6 ? CAP : BIG);
        uint8_t *packet = heap(built, len);
        assert_int_equal(cut_init(&c, packet, len, &o, BIG), 0);
        expect_all(&c, packet, 1, 0, 0);
        o.gso_size = BIG; /* the most that an MTU may be, whatever the caller says */
        int rc = cut_init(&c, packet, len, &o, UINT32_MAX);
        assert_int_equal(rc, 0);
        assert_int_equal(cut_len(&c), BIG);
        o = (struct offload){ .gso = OFFLOAD_NONE };
        assert_int_equal(cut_init(&c, packet, len, &o, UINT32_MAX), v6 ? ERR_LIMIT : 0);
        free(packet);
    }
}

/* One that a reader can follow: three packets, every rule of theirs. */
static void test_rules(void **state)
{
    (void)state;
    struct offload o;
    struct cut c;
    uint8_t out[3][60];
    flow_any(&flow, &rnd, false, true, 1);
    flow.net_more_len = flow.tcp_more_len = flow.reserved = 0;
    flow.flags = 0xd9; /* CWR ECE PSH FIN ACK */
    flow.id = 0xffff;
    flow.seq = 0xfffffff0;
    flow.tos = 2;
    flow.payload_len = 25;
    uint32_t len = flow_super(&flow, 10, built, CAP, &o);
    uint8_t *packet = heap(built, len);
    assert_int_equal(cut_init(&c, packet, len, &o, 1400), 0);
    assert_true(c.ect);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(cut_len(&c), i < 2 ? 50 : 45);
        cut_next(&c, packet, out[i], i == 1);
    }
    assert_true(c.done);
    static const uint8_t id[3][2] = { { 0xff, 0xff }, { 0, 0 }, { 0, 1 } }, tos[3] = { 2, 3, 2 };
    static const uint8_t seq[3][4] = { { 0xff, 0xff, 0xff, 0xf0 }, { 0xff, 0xff, 0xff, 0xfa }, { 0, 0, 0, 4 } };
    static const uint8_t flags[3] = { 0xd0, 0x50, 0x59 }; /* CWR in the first; FIN and PSH in the last; ECE in all */
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(out[i][1], tos[i]);
        assert_int_equal(out[i][3], i < 2 ? 50 : 45);
        assert_memory_equal(out[i] + 4, id[i], 2);
        assert_memory_equal(out[i] + 24, seq[i], 4);
        assert_int_equal(out[i][33], flags[i]);
    }
    free(packet);
}

/* The kernel makes TCP's checksum anew where it was not left undone. */
static void test_tcp_sum_done(void **state)
{
    (void)state;
    struct offload o;
    struct cut c;
    for (unsigned i = 0; i < 50; i++) {
        flow_any(&flow, &rnd, i % 2, true, 4000);
        memcpy(flow.last, flow.dst, 16);
        flow.payload_len += 100;
        uint32_t len = flow_super(&flow, 100, built, CAP, &o);
        built[flow_l4(&flow) + 16] ^= 0x5a;
        o.csum = false;
        o.csum_start = o.csum_offset = 0;
        uint8_t *packet = heap(built, len);
        assert_int_equal(cut_init(&c, packet, len, &o, BIG), 0);
        expect_all(&c, packet, 100, 0, 2);
        free(packet);
    }
}

/* What is no super-packet, or claims to be one and is not. */
static void test_whole(void **state)
{
    (void)state;
    struct offload o;
    struct cut c;
    for (unsigned i = 0; i < ROUNDS; i++) {
        bool ce = chance(2), left = chance(2), claims = chance(2);
        flow_any(&flow, &rnd, i & 1, i & 2, 2000);
        bool sum_of_kernel = left || (claims && !flow.tcp);
        uint32_t size = flow.payload_len + flow_below(&rnd, 2);
        uint32_t len = flow_super(&flow, claims ? (uint16_t)size : 0, built, CAP, &o);
        uint32_t n = flow_nth(&flow, BIG, 0, ce, want, CAP);
        assert_int_equal(n, len);
        if (!sum_of_kernel) { /* whole already */
            o.csum = false;
            flow_nth(&flow, BIG, 0, false, built, CAP);
        }
        /* The kernel's finishing never leaves 0, TCP's neither. */
        size_t at = flow_l4(&flow) + (flow.tcp ? 16 : 6);
        if (sum_of_kernel && !want[at] && !want[at + 1])
            want[at] = want[at + 1] = 0xff;
        uint8_t *packet = heap(built, len);
        assert_int_equal(cut_init(&c, packet, len, &o, n), 0);
        if (chance(8)) {
            cut_skip(&c);
        } else {
            expect_next(&c, packet, n, ce);
        }
        assert_true(c.done);
        assert_int_equal(cut_init(&c, packet, len, &o, n - 1),
                         claims && flow.tcp && n - 1 > flow_headers(&flow) ? 0 : ERR_LIMIT);
        free(packet);
    }
}

/* csum_start and csum_offset of no protocol that we know: the kernel's rule all the same, at odd places too. */
static void test_whole_any_place(void **state)
{
    (void)state;
    struct cut c;
    for (unsigned i = 0; i < ROUNDS; i++) {
        flow_any(&flow, &rnd, i & 1, i & 2, 300);
        uint32_t len = flow_nth(&flow, BIG, 0, false, built, CAP), net = flow_l4(&flow);
        uint32_t first = flow.v6 ? 40 : net;
        uint32_t start = first + flow_below(&rnd, len - first - 1);
        uint32_t offset = flow_below(&rnd, len - start - 1);
        struct offload o = { .csum = true, .csum_start = (uint16_t)start, .csum_offset = (uint16_t)offset };
        memcpy(want, built, len);
        uint16_t sum = (uint16_t)~flow_fold(flow_sum(0, built + start, len - start));
        flow_put16(want + start + offset, sum ? sum : 0xffff);
        uint8_t *packet = heap(built, len);
        assert_int_equal(cut_init(&c, packet, len, &o, BIG), 0);
        expect_next(&c, packet, len, false);
        free(packet);
    }
}

/* Packets whose checksum comes out as 0. */
static void test_sum_zero(void **state)
{
    (void)state;
    struct offload o;
    struct cut c;
    for (unsigned i = 0; i < 8; i++) {
        bool tcp = i & 2, super = i & 4;
        flow_any(&flow, &rnd, i & 1, tcp, 100);
        flow.payload_len = super ? 150 : 100;
        flow_put16(flow.payload, 0);
        uint32_t len = flow_nth(&flow, 100, 0, false, want, CAP), at = flow_l4(&flow) + (tcp ? 16 : 6);
        flow_put16(flow.payload, (uint16_t)(want[at] << 8 | want[at + 1])); /* now the sum is 0xffff */
        len = flow_nth(&flow, 100, 0, false, want, CAP);
        static const uint8_t zeros[2][2] = { { 0xff, 0xff }, { 0, 0 } };
        assert_memory_equal(want + at, zeros[tcp], 2);
        if (!super) /* and the kernel makes no difference */
            memcpy(want + at, zeros[0], 2);
        uint32_t all = flow_super(&flow, super ? 100 : 0, built, CAP, &o);
        uint8_t *packet = heap(built, all);
        assert_int_equal(cut_init(&c, packet, all, &o, BIG), 0);
        expect_next(&c, packet, len, false);
        free(packet);
    }
}

/* Marks go where they may, and nowhere else. */
static void test_ecn(void **state)
{
    (void)state;
    struct offload o;
    struct cut c;
    for (unsigned i = 0; i < 32; i++) {
        flow_any(&flow, &rnd, i & 1, i & 2, 1000);
        flow.tos = (uint8_t)(0xb8 | (i >> 3));
        flow.payload_len += 300;
        bool super = i & 4;
        uint32_t size = super ? 300 : BIG, len = flow_super(&flow, super ? 300 : 0, built, CAP, &o);
        uint8_t *packet = heap(built, len);
        assert_int_equal(cut_init(&c, packet, len, &o, BIG), 0);
        assert_int_equal(c.ect, i >> 3 != 0);
        for (uint16_t k = 0; !c.done; k++)
            expect_next(&c, packet, flow_nth(&flow, size, k, true, want, CAP), true);
        free(packet);
    }
}

static int init(const uint8_t *data, size_t len, const struct offload *o, uint32_t mtu)
{
    struct cut c;
    uint8_t *packet = heap(data, len);
    int rc = cut_init(&c, packet, len, o, mtu);
    free(packet);
    return rc;
}

static void test_refused(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 4; kind++) {
        struct offload good, o;
        bool v6 = kind & 1, tcp = kind & 2;
        flow_any(&flow, &rnd, v6, tcp, 1);
        flow.frag = 0;
        flow.payload_len = 500;
        uint32_t len = flow_super(&flow, 100, built, CAP, &good), l4 = flow_l4(&flow);
        assert_int_equal(init(built, len, &good, BIG), 0);
        for (uint8_t gso = 0; gso < 255; gso++) {
            bool same = gso == good.gso || gso == OFFLOAD_NONE;
            o = good;
            o.gso = gso;
            assert_int_equal(init(built, len, &o, BIG), same ? 0 : ERR_PEER);
        }
        o = good;
        o.gso_size = 0;
        assert_int_equal(init(built, len, &o, BIG), ERR_PEER);
        for (int off = -1; off <= 1; off += 2) {
            o = good;
            o.csum_start = (uint16_t)(l4 + (unsigned)off);
            assert_int_equal(init(built, len, &o, BIG), ERR_PEER);
            o = good;
            o.csum_offset = (uint16_t)(good.csum_offset + off);
            assert_int_equal(init(built, len, &o, BIG), ERR_PEER);
        }
        o = good;
        o.csum = false;
        assert_int_equal(init(built, len, &o, BIG), tcp ? 0 : ERR_PEER);
        uint8_t proto = v6 ? 6 : 9;
        uint8_t was = built[proto];
        built[proto] = v6 ? 44 : 1; /* IPv6: a fragment */
        assert_int_equal(init(built, len, &good, BIG), ERR_PEER);
        built[proto] = was;
        static const uint16_t frags[3] = { 0x2000, 1, 0x1fff };
        for (unsigned i = 0; i < 3 && !v6; i++) {
            flow_put16(built + 6, frags[i]);
            assert_int_equal(init(built, len, &good, BIG), ERR_PEER);
            o = (struct offload){ .gso = OFFLOAD_NONE };
            assert_int_equal(init(built, len, &o, BIG), 0); /* as it is, it goes */
        }
    }
}

/* A checksum left to us that is not behind the IP header, or not in the packet. */
static void test_refused_places(void **state)
{
    (void)state;
    for (unsigned v6 = 0; v6 < 2; v6++) {
        flow_any(&flow, &rnd, v6, true, 100);
        uint32_t len = flow_nth(&flow, BIG, 0, false, built, CAP), net = v6 ? 40 : flow_l4(&flow);
        const uint32_t places[][3] = {
            { 0, 0, 0 },
            { net - 1, 10, 0 },
            { net, 0, 1 },
            { net, len - net - 2, 1 },
            { net, len - net - 1, 0 },
            { len - 2, 0, 1 },
            { len - 1, 0, 0 },
            { len, 0, 0 },
            { 0xffff, 0, 0 },
            { net, 0xffff, 0 },
            { 0xffff, 0xffff, 0 },
        };
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            struct offload o = { .csum = true,
                                 .csum_start = (uint16_t)places[i][0],
                                 .csum_offset = (uint16_t)places[i][1] };
            assert_int_equal(init(built, len, &o, BIG), places[i][2] ? 0 : ERR_PEER);
        }
    }
}

static void test_limits(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 4; kind++) {
        struct offload o;
        flow_any(&flow, &rnd, kind & 1, kind & 2, 1);
        flow.payload_len = 3000;
        uint32_t len = flow_super(&flow, 1000, built, CAP, &o), headers = flow_headers(&flow);
        assert_int_equal(init(built, len, &o, headers + 1000), 0);
        assert_int_equal(init(built, len, &o, headers + 999), flow.tcp ? 0 : ERR_LIMIT);
        assert_int_equal(init(built, len, &o, headers + 1), flow.tcp ? 0 : ERR_LIMIT);
        assert_int_equal(init(built, len, &o, headers), ERR_LIMIT);
        assert_int_equal(init(built, len, &o, 0), ERR_LIMIT);
        o.gso = OFFLOAD_NONE;
        assert_int_equal(init(built, len, &o, len - 1), ERR_LIMIT);
        assert_int_equal(init(built, len, &o, len), 0);
        flow.payload_len = 0; /* as small as it can be */
        len = flow_super(&flow, 1000, built, CAP, &o);
        assert_int_equal(init(built, len, &o, headers), 0);
        assert_int_equal(init(built, len, &o, headers - 1), ERR_LIMIT);
    }
}

/* Whatever the headers say: cut_init() refuses, or what comes out keeps within its bounds. */
static void walk(const uint8_t *data, size_t len, const struct offload *o, uint32_t mtu)
{
    struct cut c;
    uint8_t *packet = heap(data, len);
    if (cut_init(&c, packet, len, o, mtu)) {
        free(packet);
        return;
    }
    uint64_t payload = 0, limit = c.left;
    unsigned n = 0;
    for (uint32_t more; (more = cut_len(&c)); n++) {
        assert_true(more <= mtu && more > c.hdr_len && n <= limit);
        payload += more - c.hdr_len;
        if (n > 100 && n % 64) { /* enough is enough */
            cut_skip(&c);
            continue;
        }
        uint8_t *out = malloc(more);
        assert_non_null(out);
        cut_next(&c, packet, out, n & 1);
        free(out);
    }
    assert_true(n > 0);
    assert_int_equal(payload, limit);
    assert_true(limit <= len);
    free(packet);
}

static void test_cut_short(void **state)
{
    (void)state;
    struct offload o, none = { .gso = OFFLOAD_NONE };
    struct cut c;
    for (unsigned i = 0; i < 40; i++) {
        flow_any(&flow, &rnd, i & 1, i & 2, 600);
        flow.payload_len += 200;
        uint32_t len = flow_super(&flow, 100, built, CAP, &o);
        for (uint32_t n = 0; n < len; n++) {
            assert_int_equal(init(built, n, &o, BIG), ERR_PEER);
            assert_int_equal(init(built, n, &none, BIG), ERR_PEER);
        }
        memset(built + len, 0xee, 10); /* padding is no payload */
        uint8_t *packet = heap(built, len + 10);
        assert_int_equal(cut_init(&c, packet, len + 10, &o, BIG), 0);
        expect_all(&c, packet, 100, 0, 0);
        free(packet);
    }
}

/* The packet's own length says where it is cut: the headers must still fit. */
static void test_cut_short_in_order(void **state)
{
    (void)state;
    struct offload o;
    for (unsigned i = 0; i < 40; i++) {
        flow_any(&flow, &rnd, i & 1, i & 2, 600);
        flow.payload_len += 200;
        uint32_t len = flow_super(&flow, 100, built, CAP, &o);
        for (uint32_t n = 0; n < len; n++) {
            flow_put16(built + (flow.v6 ? 4 : 2), (uint16_t)(flow.v6 ? n - 40 : n));
            bool fits = flow.tcp && n >= flow_headers(&flow); /* UDP has a length of its own */
            if (!flow.v6 || n >= 40)
                assert_int_equal(init(built, n, &o, BIG), fits ? 0 : ERR_PEER);
            walk(built, n, &o, BIG);
        }
    }
}

static void test_lengths_off_by_one(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 400; i++) {
        struct offload o;
        flow_any(&flow, &rnd, i & 1, i & 2, 600);
        flow.payload_len += 200;
        uint32_t len = flow_super(&flow, 100, built, CAP, &o), l4 = flow_l4(&flow);
        const uint32_t at[] = { 0, 2, 3, 4, 5, flow.v6 ? 41 : 0, l4 + 4, l4 + 5, l4 + 12 };
        for (size_t k = 0; k < sizeof at / sizeof *at; k++) {
            for (int by = -16; by <= 16; by += 1) { /* a nibble's one, too */
                if (by != 16 && by != -16 && by != 1 && by != -1)
                    continue;
                built[at[k]] = (uint8_t)(built[at[k]] + by);
                walk(built, len, &o, BIG);
                walk(built, len, &o, 600);
                built[at[k]] = (uint8_t)(built[at[k]] - by);
            }
        }
        uint32_t length = flow.v6 ? 5 : 3;
        built[length]++;
        if (built[length]) /* no carry */
            assert_int_equal(init(built, len, &o, BIG), ERR_PEER);
        built[length]--;
        if (!flow.tcp) {
            built[l4 + 5]++;
            assert_int_equal(init(built, len, &o, BIG), ERR_PEER);
            built[l4 + 5] = (uint8_t)(built[l4 + 5] - 2);
            assert_int_equal(init(built, len, &o, BIG), ERR_PEER);
        } else {
            built[l4 + 12] = 0x4f; /* header of 16 bytes */
            assert_int_equal(init(built, len, &o, BIG), ERR_PEER);
        }
    }
}

static void mutate_offload(struct offload *o)
{
    switch (flow_below(&rnd, 7)) {
    case 0: o->gso = (uint8_t)flow_below(&rnd, 6); break;
    case 1: o->csum = !o->csum; break;
    case 2: o->gso_size = (uint16_t)(chance(2) ? flow_random(&rnd) : flow_below(&rnd, 100)); break;
    case 3: o->csum_start = (uint16_t)(chance(2) ? flow_random(&rnd) : o->csum_start + flow_below(&rnd, 9) - 4); break;
    case 4:
        o->csum_offset = (uint16_t)(chance(2) ? flow_random(&rnd) : o->csum_offset + flow_below(&rnd, 9) - 4);
        break;
    case 5: o->hdr_len = (uint16_t)flow_random(&rnd); break;
    case 6: o->ecn = !o->ecn; break;
    }
}

static void test_mutations(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        struct offload o;
        flow_any(&flow, &rnd, i & 1, i & 2, 3000);
        uint32_t len = flow_super(&flow, chance(3) ? 0 : (uint16_t)(1 + flow_below(&rnd, 1500)), built, CAP, &o);
        uint32_t headers = flow_headers(&flow);
        for (unsigned n = flow_below(&rnd, 5); n; n--)
            built[flow_below(&rnd, chance(4) ? len : headers)] = (uint8_t)flow_random(&rnd);
        for (unsigned n = flow_below(&rnd, 3); n; n--)
            mutate_offload(&o);
        if (chance(4))
            len = flow_below(&rnd, len + 1);
        walk(built, len, &o, chance(2) ? BIG : flow_below(&rnd, 2000));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_super_tcp4),
        cmocka_unit_test(test_super_tcp6),
        cmocka_unit_test(test_super_udp4),
        cmocka_unit_test(test_super_udp6),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_tcp_sum_done),
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_whole_any_place),
        cmocka_unit_test(test_sum_zero),
        cmocka_unit_test(test_ecn),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_refused_places),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_cut_short_in_order),
        cmocka_unit_test(test_lengths_off_by_one),
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
