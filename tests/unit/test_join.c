/* Joining packets to super-packets: what is joined comes apart again as it was, and what can be joined is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "jointest.h"

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32, ECE = 64, CWR = 128 };

/* A flow, and what its next packet is to be. */
struct flow {
    bool v6, udp;
    uint8_t host;
    uint16_t port, id, window;
    uint32_t seq, ack, label;
    uint8_t flags, tos, ttl, options; /* options: bytes, TCP */
    bool df;
    uint32_t payload;
};

static uint64_t rnd_state = 1;

static uint32_t rnd(uint32_t below)
{
    rnd_state ^= rnd_state << 13;
    rnd_state ^= rnd_state >> 7;
    rnd_state ^= rnd_state << 17;
    return (uint32_t)(rnd_state >> 20) % below;
}

static void put32(uint8_t *p, uint32_t v)
{
    jointest_put16(p, v >> 16);
    jointest_put16(p + 2, v);
}

static struct flow flow_make(bool v6, bool udp, uint16_t port)
{
    return (struct flow){ .v6 = v6,
                          .udp = udp,
                          .host = 2,
                          .port = port,
                          .id = 7,
                          .window = 501,
                          .seq = 1000,
                          .ack = 77,
                          .label = 0xbeef,
                          .flags = ACK,
                          .ttl = 64,
                          .options = 12,
                          .df = true,
                          .payload = 1400 };
}

/* The next packet of the flow, which then goes on. */
static uint32_t make(struct flow *f, uint8_t *p)
{
    uint32_t l4 = f->v6 ? 40 : 20, hdr = l4 + (f->udp ? 8 : 20 + (uint32_t)f->options), len = hdr + f->payload;
    memset(p, 0, hdr);
    if (f->v6) {
        put32(p, 0x60000000 | (uint32_t)f->tos << 20 | f->label);
        jointest_put16(p + 4, len - 40);
        p[6] = f->udp ? 17 : 6;
        p[7] = f->ttl;
        p[8] = p[24] = 0xfd;
        p[23] = f->host;
        p[39] = 1;
    } else {
        p[0] = 0x45;
        p[1] = f->tos;
        jointest_put16(p + 2, len);
        jointest_put16(p + 4, f->id++);
        p[6] = f->df ? 0x40 : 0;
        p[8] = f->ttl;
        p[9] = f->udp ? 17 : 6;
        put32(p + 12, 0x0a4d0000u + f->host);
        put32(p + 16, 0x0a4d0001);
    }
    uint8_t *t = p + l4;
    jointest_put16(t, f->port);
    jointest_put16(t + 2, 443);
    if (f->udp) {
        jointest_put16(t + 4, len - l4);
    } else {
        put32(t + 4, f->seq);
        put32(t + 8, f->ack);
        t[12] = (uint8_t)((20 + f->options) / 4 << 4);
        t[13] = f->flags;
        jointest_put16(t + 14, f->window);
        memset(t + 20, 1, f->options);
        f->seq += f->payload + (f->flags & SYN ? 1 : 0) + (f->flags & FIN ? 1 : 0);
    }
    for (uint32_t i = hdr; i < len; i++)
        p[i] = (uint8_t)rnd(256);
    jointest_sums(p, len);
    return len;
}

static uint8_t buf[70000];

static void add(struct jointest *t, struct flow *f)
{
    jointest_add(t, buf, make(f, buf));
}

/* writes, and packets that were in super-packets, of n full packets that are followed by one of `tail` bytes. */
static void bulk(struct flow f, unsigned n, uint32_t tail, unsigned writes, unsigned pieces)
{
    struct jointest *t = jointest_new(true, true);
    for (unsigned i = 0; i < n; i++)
        add(t, &f);
    f.payload = tail;
    if (tail)
        add(t, &f);
    jointest_flush(t);
    assert_int_equal(t->writes, writes);
    assert_int_equal(t->pieces, pieces);
    jointest_free(t);
}

static void test_bulk_is_one_write(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct flow f = flow_make(kind & 1, kind & 2, 5000);
        bulk(f, 1, 0, 1, 0);
        bulk(f, 2, 0, 1, 2);
        bulk(f, 45, 0, 1, 45);
        bulk(f, 45, 1, 1, 46);
        bulk(f, 45, 1400, 1, 46);
        bulk(f, 45, 1401, 2, 45);
    }
}

/* As many as a length field of 16 bits takes, and 64 at most. */
static void test_bulk_as_much_as_goes(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct flow f = flow_make(kind & 1, kind & 2, 5000);
        unsigned hdr = (f.v6 ? 40 : 20) + (f.udp ? 8 : 32), most = f.v6 ? 65535 + 40 : 65535;
        for (f.payload = 1; f.payload < 9000; f.payload = f.payload * 7 / 4 + 1) {
            unsigned n = (most - hdr) / f.payload;
            n = n > JOIN_PIECES ? JOIN_PIECES : n;
            bulk(f, n, 0, 1, n);
            bulk(f, n + 1, 0, 2, n);
            bulk(f, 3 * n, 0, 3, 3 * n);
        }
    }
}

/* To the last byte: 65535 in the length field, and one more. */
static void test_length_field_is_filled(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct flow f = flow_make(kind & 1, kind & 2, 5000);
        unsigned hdr = (f.v6 ? 40 : 20) + (f.udp ? 8 : 32), most = (f.v6 ? 65535 + 40 : 65535) - hdr;
        f.payload = 8000;
        bulk(f, 8, most - 64000, 1, 9);
        bulk(f, 8, most - 64000 + 1, 2, 8);
    }
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        uint32_t size[6];
        unsigned writes;
    } rows[] = {
        { { 100, 100, 50, 100, 100, 50 }, 2 },      { { 100, 101, 101, 101, 102, 102 }, 3 },
        { { 100, 99, 99, 99, 99, 98 }, 2 },         { { 1, 2, 3, 4, 5, 6 }, 6 },
        { { 1400, 1400, 1, 1, 1400, 1400 }, 3 },    { { 6, 5, 4, 3, 2, 1 }, 3 },
        { { 1400, 1400, 1400, 1400, 1400, 1 }, 1 },
    };
    for (int kind = 0; kind < 4; kind++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            struct jointest *t = jointest_new(true, true);
            struct flow f = flow_make(kind & 1, kind & 2, 5000);
            for (unsigned k = 0; k < 6; k++) {
                f.payload = rows[i].size[k];
                add(t, &f);
            }
            jointest_flush(t);
            assert_int_equal(t->writes, rows[i].writes);
            jointest_free(t);
        }
}

/* Flows that take turns are joined each for itself; one more than there are places writes the oldest. */
static void test_many_flows(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++)
        for (unsigned flows = 1; flows <= JOIN_FLOWS + 1; flows++) {
            struct jointest *t = jointest_new(true, true);
            struct flow f[JOIN_FLOWS + 1];
            for (unsigned i = 0; i < flows; i++)
                f[i] = flow_make(kind & 1, kind & 2, (uint16_t)(5000 + i));
            for (unsigned k = 0; k < 20; k++)
                for (unsigned i = 0; i < flows; i++)
                    add(t, &f[i]);
            jointest_flush(t);
            assert_int_equal(t->writes, flows <= JOIN_FLOWS ? flows : 20 * flows);
            jointest_free(t);
        }
}

static void test_oldest_goes(void **state)
{
    (void)state;
    struct jointest *t = jointest_new(true, true);
    struct flow f[JOIN_FLOWS + 1];
    for (unsigned i = 0; i <= JOIN_FLOWS; i++) {
        f[i] = flow_make(false, false, (uint16_t)(5000 + i));
        add(t, &f[i]);
        assert_int_equal(t->writes, i == JOIN_FLOWS);
    }
    assert_true(t->fed[0].out);
    add(t, &f[0]); /* now the second is the oldest */
    assert_true(t->fed[1].out);
    assert_int_equal(t->writes, 2);
    jointest_free(t);
}

/* What cannot be joined comes out within its own join_add(). */
static void test_nothing_is_held_back(void **state)
{
    (void)state;
    static const uint8_t flags[] = { 0,         SYN | ACK, ACK | RST, ACK | URG,       ACK | CWR,
                                     ACK | PSH, ACK | FIN, SYN,       ACK | PSH | CWR, RST };
    for (int v6 = 0; v6 < 2; v6++) {
        struct jointest *t = jointest_new(true, true);
        struct flow f = flow_make(v6, false, 5000);
        for (size_t i = 0; i < sizeof flags; i++) {
            f.flags = flags[i];
            add(t, &f);
            assert_int_equal(t->out, t->n);
        }
        f.flags = ACK;
        f.payload = 0;
        add(t, &f);
        assert_int_equal(t->out, t->n);
        f = flow_make(v6, true, 5000);
        f.payload = 0;
        add(t, &f);
        assert_int_equal(t->out, t->n);
        f.payload = 100;
        uint32_t len = make(&f, buf);
        jointest_put16(buf + jointest_l4(buf) + 6, 0); /* no checksum */
        jointest_add(t, buf, len);
        assert_int_equal(t->out, t->n);
        jointest_free(t);
    }
}

static void test_closing_packet_is_written_at_once(void **state)
{
    (void)state;
    static const uint8_t flags[] = { PSH, FIN, PSH | FIN, 0 };
    for (int v6 = 0; v6 < 2; v6++)
        for (int i = 0; i < 4; i++) {
            struct jointest *t = jointest_new(true, true);
            struct flow f = flow_make(v6, false, 5000);
            add(t, &f);
            add(t, &f);
            assert_int_equal(t->writes, 0);
            f.flags = ACK | flags[i];
            f.payload = flags[i] ? 1400 : 1399;
            add(t, &f);
            assert_int_equal(t->writes, 1);
            assert_int_equal(t->pieces, 3);
            jointest_free(t);
        }
}

static void test_off_is_off(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        bool udp = kind & 2;
        struct jointest *t = jointest_new(udp, !udp);
        struct flow f = flow_make(kind & 1, udp, 5000);
        for (int i = 0; i < 9; i++) {
            add(t, &f);
            assert_int_equal(t->writes, i + 1);
        }
        jointest_free(t);
    }
}

/* One thing that differs between two packets; true: they are joined nevertheless. */
static bool joined_after(int kind, void (*change)(uint8_t *p, uint32_t len), bool fix_sums)
{
    struct jointest *t = jointest_new(true, true);
    struct flow f = flow_make(kind & 1, kind & 2, 5000);
    add(t, &f);
    uint32_t len = make(&f, buf);
    change(buf, len);
    if (fix_sums)
        jointest_sums(buf, len);
    jointest_add(t, buf, len);
    jointest_flush(t);
    bool joined = t->joined;
    jointest_free(t);
    return joined;
}

static int change_at, change_by;

static void change_byte(uint8_t *p, uint32_t len)
{
    (void)len;
    p[change_at] = (uint8_t)(p[change_at] ^ change_by);
}

static void change_nothing(uint8_t *p, uint32_t len)
{
    (void)p;
    (void)len;
}

/* Every bit of the headers: with right sums only PSH, FIN (and the sums themselves) may differ; without, nothing. */
static void test_every_header_bit_counts(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        int l4 = kind & 1 ? 40 : 20, hdr = l4 + (kind & 2 ? 8 : 32), check = l4 + (kind & 2 ? 6 : 16);
        assert_true(joined_after(kind, change_nothing, true));
        for (change_at = 0; change_at < hdr; change_at++)
            for (int bit = 0; bit < 8; bit++) {
                change_by = 1 << bit;
                bool flags = !(kind & 2) && change_at == l4 + 13;
                bool sum =
                    change_at == check || change_at == check + 1 || (l4 == 20 && (change_at == 10 || change_at == 11));
                assert_int_equal(joined_after(kind, change_byte, false), false);
                /* Of another version there is nothing to mend. */
                if (change_at && change_at != (l4 == 20 ? 9 : 6))
                    assert_int_equal(joined_after(kind, change_byte, true), sum || (flags && change_by & (PSH | FIN)));
            }
        change_at = hdr + 700;
        assert_false(joined_after(kind, change_byte, false));
        assert_true(joined_after(kind, change_byte, true));
    }
}

/* A shorter or longer header is another one, whatever the bytes behind it are. */
static void test_options_differ(void **state)
{
    (void)state;
    for (int v6 = 0; v6 < 2; v6++)
        for (uint8_t a = 0; a <= 40; a += 4)
            for (uint8_t b = 0; b <= 40; b += 4) {
                struct jointest *t = jointest_new(true, true);
                struct flow f = flow_make(v6, false, 5000);
                f.options = a;
                uint32_t len = make(&f, buf);
                memset(buf + len - f.payload, 1, f.payload); /* as the options */
                jointest_sums(buf, len);
                jointest_add(t, buf, len);
                f.options = b;
                f.payload = 1000;
                add(t, &f);
                jointest_flush(t);
                assert_int_equal(t->joined, a == b);
                jointest_free(t);
            }
}

/* A sum of zero can be written in two ways, and the kernel knows one: what has the other stays alone and as it is. */
static void test_other_zero_stays(void **state)
{
    (void)state;
    enum { IP4, TCP, UDP, UDP_NONE };
    for (int what = IP4; what <= UDP_NONE; what++) {
        struct jointest *t = jointest_new(true, true);
        struct flow f = flow_make(false, what == UDP || what == UDP_NONE, 5000);
        uint32_t host = 0;
        for (int i = 0; i < 5; i++) {
            uint32_t len = make(&f, buf);
            uint8_t *check = what == IP4 ? buf + 10 : buf + 20 + (what == TCP ? 16 : 6);
            uint8_t *vary = what == IP4 ? buf + 16 : buf + len - 2; /* to where the sum comes out as zero */
            if (what != IP4 || i == 0)
                host = jointest_sum(jointest_be16(vary) + jointest_be16(check), NULL, 0);
            jointest_put16(vary, host);
            jointest_sums(buf, len);
            bool zero = what != IP4 || i == 0;
            assert_int_equal(jointest_be16(check) == (what < UDP ? 0 : 0xffff), zero);
            if (zero && i != 2 && what != UDP)
                jointest_put16(check, what < UDP ? 0xffff : 0);
            jointest_add(t, buf, len);
        }
        jointest_flush(t);
        static const unsigned writes[] = { 2, 5, 1, 5 };
        assert_int_equal(t->writes, writes[what]);
        jointest_free(t);
    }
}

/* Ids and sequence numbers go over their ends. */
static void test_wrap(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct flow f = flow_make(kind & 1, kind & 2, 5000);
        f.id = 65530;
        f.seq = 0xffffffff - 5 * 1400 - 3;
        bulk(f, 20, 0, 1, 20);
        f.df = false;
        f.id = 65515;
        bulk(f, 40, 33, 1, 41);
        f.flags = ACK | ECE;
        f.tos = 3;
        f.options = 40;
        bulk(f, 40, 33, 1, 41);
        f.options = 0;
        bulk(f, 40, 33, 1, 41);
    }
}

/* What may be of any flow closes all; a ping does not. */
static void test_strangers(void **state)
{
    (void)state;
    struct jointest *t = jointest_new(true, true);
    struct flow tcp = flow_make(false, false, 5000), udp = flow_make(true, true, 5001), other;
    add(t, &tcp);
    add(t, &udp);
    static const uint8_t ping[28] = { 0x45, 0, 0,  28, 0, 1, 0, 0, 64, 1, 0, 0, 10, 77,
                                      0,    2, 10, 77, 0, 1, 8, 0, 0,  7, 0, 8, 0,  0 };
    jointest_add(t, ping, sizeof ping);
    assert_int_equal(t->out, 1);
    other = flow_make(false, true, 5000);
    uint32_t len = make(&other, buf);
    buf[6] = 0x20; /* the first fragment */
    jointest_add(t, buf, len);
    assert_int_equal(t->out, t->n);
    assert_int_equal(t->writes, 4);
    add(t, &tcp);
    add(t, &udp);
    buf[0] = 0x60;
    buf[6] = 44; /* fragment header */
    jointest_add(t, buf, jointest_l4(buf) + jointest_be16(buf + 4));
    assert_int_equal(t->out, t->n);
    jointest_free(t);
}

/* Each header cut at each length, and lengths off by one, with an open flow that they seem to be of. */
static void test_cut_short(void **state)
{
    (void)state;
    static uint8_t p[2000];
    for (int kind = 0; kind < 4; kind++)
        for (int lie = 0; lie < 5; lie++) {
            struct jointest *t = jointest_new(true, true);
            struct flow f = flow_make(kind & 1, kind & 2, 5000);
            f.payload = 30;
            uint32_t full = make(&f, p), field = f.v6 ? 4 : 2, l4 = jointest_l4(p);
            for (uint32_t n = 1; n < full; n++) {
                jointest_add(t, p, full);
                memcpy(buf, p, full);
                uint32_t says = f.v6 ? n - 40 : n; /* lie: as before, right, off by one, UDP length or data offset */
                if (lie)
                    jointest_put16(buf + field, says + (lie == 2) - (lie == 3));
                if (lie == 4 && f.udp)
                    jointest_put16(buf + l4 + 4, n - l4 + 1);
                if (lie == 4 && !f.udp)
                    buf[l4 + 12] = (uint8_t)(n << 4);
                if (lie && n > l4 + 20)
                    jointest_sums(buf, n);
                jointest_add(t, buf, n);
                jointest_flush(t);
                assert_int_equal(t->joined, 0);
            }
            jointest_free(t);
        }
}

/* Makes something odd of a packet; the length that it has now. */
static uint32_t oddity(uint8_t *p, uint32_t len)
{
    uint32_t l4 = jointest_l4(p);
    switch (rnd(9)) {
    case 0: p[rnd(len)] ^= (uint8_t)(1 << rnd(8)); return len; /* mostly a bad checksum */
    case 1: p[rnd(l4 + 8)] ^= (uint8_t)(1 << rnd(8)); return len;
    case 2: p[l4 == 20 ? 9 : 6] = l4 == 20 ? 1 : 58; return len; /* ICMP */
    case 3:
        p[l4 == 20 ? 6 : 7] ^= 0x20;
        jointest_sums(p, len);
        return len;                                          /* a fragment; another hop limit */
    case 4: p[0] = (uint8_t)(p[0] + (l4 == 20)); return len; /* IPv4 options */
    case 5: p[6] = 0; return len;                            /* IPv6: hop by hop; IPv4: no DF */
    case 6:
        p[1] ^= l4 == 20 ? 3 : 0x30;
        jointest_sums(p, len);
        return len; /* ECN */
    case 7: return 1 + rnd(len);
    default:
        p[l4 + rnd(len - l4)] = (uint8_t)rnd(256);
        jointest_sums(p, len);
        return len;
    }
}

/* The next packet of a flow, with all that happens to flows. */
static uint32_t any_packet(struct flow *f, uint8_t *p, uint32_t odd)
{
    static const uint8_t flags[] = { ACK | PSH, ACK | FIN, SYN, ACK | ECE, ACK | CWR, ACK | URG, ACK | RST, 0 };
    struct flow g = *f;
    uint32_t size = f->payload;
    bool strange = rnd(100) < odd;
    if (strange && rnd(2)) {
        switch (rnd(8)) {
        case 0: f->payload = rnd(3) ? rnd(size + 1) : 0; break;
        case 1: f->payload = size + 1; break;
        case 2: f->flags = flags[rnd(sizeof flags)]; break;
        case 3: f->id = (uint16_t)(f->id + rnd(3)); break;
        case 4: f->seq += rnd(3); break;
        case 5: f->ack += 1400; break;
        case 6: f->window++; break;
        default: f->tos = (uint8_t)rnd(4); break;
        }
    }
    uint32_t len = make(f, p);
    f->payload = size;
    f->flags = ACK;
    if (strange && rnd(4) == 0)
        *f = g; /* it comes again */
    return strange && rnd(4) == 0 ? oddity(p, len) : len;
}

static void test_random_flows(void **state)
{
    (void)state;
    static uint8_t kept[8][3000];
    unsigned joined = 0;
    for (int round = 0; round < 600; round++) {
        struct jointest *t = jointest_new(rnd(8), rnd(8));
        struct flow f[24];
        uint32_t n = 1 + rnd(24), odd = rnd(3) * 20, swap = rnd(3) * 5, kept_len[8] = { 0 };
        for (uint32_t i = 0; i < n; i++) {
            f[i] = flow_make(rnd(2), rnd(2), (uint16_t)(5000 + rnd(4)));
            f[i].host = (uint8_t)rnd(3);
            f[i].payload = rnd(2) ? 1 + rnd(1400) : 1400;
            f[i].options = (uint8_t)(4 * rnd(11));
            f[i].id = (uint16_t)rnd(65536);
            f[i].seq = rnd(UINT32_MAX);
            f[i].df = rnd(4);
            f[i].tos = (uint8_t)rnd(256);
        }
        for (int batch = 0; batch < 3; batch++) {
            uint32_t at = 0;
            for (int i = 0; i < 150; i++) {
                if (rnd(3) == 0)
                    at = rnd(n);
                uint32_t len = any_packet(&f[at], buf, odd), k = rnd(8);
                if (rnd(100) < swap) { /* it is late: another, kept before, goes instead */
                    memcpy(kept[k], buf, len);
                    len = kept_len[k];
                    kept_len[k] = 0;
                    memcpy(buf, kept[k], len);
                }
                if (len)
                    jointest_add(t, buf, len);
            }
            jointest_flush(t);
        }
        joined += t->pieces;
        jointest_free(t);
    }
    assert_true(joined > 600 * 450 / 4); /* the test would say nothing, did it join nothing */
}

/* Anything at all, and things that look like packets. */
static void test_random_bytes(void **state)
{
    (void)state;
    struct jointest *t = jointest_new(true, true);
    for (int i = 0; i < 200000; i++) {
        struct flow f = flow_make(rnd(2), rnd(2), (uint16_t)(5000 + rnd(2)));
        f.payload = rnd(60);
        f.options = (uint8_t)(4 * rnd(3));
        uint32_t len = make(&f, buf);
        for (uint32_t k = rnd(4); k; k--)
            buf[rnd(len)] = (uint8_t)rnd(256);
        len = rnd(4) ? len : 1 + rnd(len);
        if (rnd(8) == 0)
            for (uint32_t k = 0; k < len; k++)
                buf[k] = (uint8_t)rnd(256);
        jointest_add(t, buf, len);
        if (t->n == 32)
            jointest_flush(t);
    }
    jointest_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bulk_is_one_write),
        cmocka_unit_test(test_bulk_as_much_as_goes),
        cmocka_unit_test(test_length_field_is_filled),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_many_flows),
        cmocka_unit_test(test_oldest_goes),
        cmocka_unit_test(test_nothing_is_held_back),
        cmocka_unit_test(test_closing_packet_is_written_at_once),
        cmocka_unit_test(test_off_is_off),
        cmocka_unit_test(test_every_header_bit_counts),
        cmocka_unit_test(test_options_differ),
        cmocka_unit_test(test_other_zero_stays),
        cmocka_unit_test(test_wrap),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_random_flows),
        cmocka_unit_test(test_random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
