/*
 * A queue of the TUN device, over a socket pair whose messages are the device's packets: the header between kernel and
 * us, the memory that packets are read into, and headers that lie.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ip/cut.h"
#include "ip/fq.h"
#include "tun/queue.h"

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

enum { MTU = 1400, LIES = 20000 };

struct rig {
    struct tun_queue q;
    struct pktbuf_pool pool;
    struct pktbuf *hand;
    int kernel;
};

static void rig_open(struct rig *r, size_t max)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    *r = (struct rig){ .q = { .fd = pair[0] }, .pool = { .max = max }, .kernel = pair[1] };
}

static void rig_close(struct rig *r)
{
    pktbuf_free(&r->pool, r->hand);
    assert_int_equal(r->pool.used, 0);
    pktbuf_pool_fini(&r->pool);
    close(r->q.fd);
    close(r->kernel);
}

/* The kernel gives us a packet, n bytes of it. */
static void gives(struct rig *r, const struct virtio_net_hdr *h, const void *packet, size_t n)
{
    struct iovec iov[2] = { { (void *)(uintptr_t)h, sizeof *h }, { (void *)(uintptr_t)packet, n } };
    struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };
    assert_int_equal(sendmsg(r->kernel, &m, 0), sizeof *h + n);
}

static int takes(struct rig *r, struct pktbuf **out)
{
    return tun_queue_take(&r->q, &r->pool, &r->hand, out);
}

static const struct {
    uint8_t gso, type;
} kinds[] = { { OFFLOAD_NONE, VIRTIO_NET_HDR_GSO_NONE },
              { OFFLOAD_TCP4, VIRTIO_NET_HDR_GSO_TCPV4 },
              { OFFLOAD_TCP6, VIRTIO_NET_HDR_GSO_TCPV6 },
              { OFFLOAD_UDP, VIRTIO_NET_HDR_GSO_UDP_L4 } };

static void test_read(void **state)
{
    (void)state;
    struct rig r;
    struct offload o;
    uint32_t len;
    uint8_t *buf = malloc(OFFLOAD_PACKET_MAX);
    assert_non_null(buf);
    rig_open(&r, 0);
    for (unsigned i = 0; i < 16; i++) {
        const struct virtio_net_hdr h = { .flags = i & 1 ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0,
                                          .gso_type =
                                              (uint8_t)(kinds[i / 4].type | (i & 2 ? VIRTIO_NET_HDR_GSO_ECN : 0)),
                                          .hdr_len = 0x1234,
                                          .gso_size = 0x2345,
                                          .csum_start = 0x3456,
                                          .csum_offset = 0x4567 };
        gives(&r, &h, "packet", 6);
        assert_int_equal(tun_queue_read(&r.q, buf, &len, &o), 0);
        assert_int_equal(len, 6);
        assert_memory_equal(buf, "packet", 6);
        assert_int_equal(o.gso, kinds[i / 4].gso);
        assert_int_equal(o.csum, i & 1);
        assert_int_equal(o.ecn, (i & 2) != 0);
        assert_int_equal(o.hdr_len, 0x1234);
        assert_int_equal(o.gso_size, 0x2345);
        assert_int_equal(o.csum_start, 0x3456);
        assert_int_equal(o.csum_offset, 0x4567);
    }
    assert_int_equal(tun_queue_read(&r.q, buf, &len, &o), ERR_AGAIN);
    assert_int_equal(r.q.reads, 16);
    free(buf);
    rig_close(&r);
}

static void test_no_packet(void **state)
{
    (void)state;
    struct rig r;
    struct pktbuf *b;
    rig_open(&r, 1 << 20);
    for (unsigned type = 0; type < 0x80; type++) {
        bool known = type == 0 || type == 1 || type == 4 || type == 5;
        gives(&r, &(struct virtio_net_hdr){ .gso_type = (uint8_t)type }, "packet", 6);
        assert_int_equal(takes(&r, &b), known ? 0 : ERR_PEER);
        assert_int_equal(b != NULL, known);
        pktbuf_free(&r.pool, b);
    }
    for (size_t n = 1; n <= sizeof(struct virtio_net_hdr); n++) {
        const struct virtio_net_hdr h = { 0 };
        assert_int_equal(send(r.kernel, &h, n, 0), n);
        assert_int_equal(takes(&r, &b), ERR_PEER);
        assert_null(b);
    }
    assert_int_equal(takes(&r, &b), ERR_AGAIN);
    assert_null(b);
    int fd = r.q.fd;
    r.q.fd = -1;
    assert_int_equal(takes(&r, &b), ERR_SYSTEM);
    r.q.fd = epoll_create1(EPOLL_CLOEXEC); /* which gives EINVAL, as the kernel for a packet that it cannot describe */
    assert_int_equal(takes(&r, &b), ERR_PEER);
    assert_null(b);
    close(r.q.fd);
    r.q.fd = fd;
    rig_close(&r);
}

/* What waits takes about the memory that it needs, not that of the largest packet. */
static void test_memory_by_size(void **state)
{
    (void)state;
    static uint8_t packet[OFFLOAD_PACKET_MAX];
    static const size_t lens[] = { 1, 40, 256, 257, 1400, 2048, 2049, 32768, 40000, OFFLOAD_PACKET_MAX };
    struct rig r;
    struct pktbuf *b;
    rig_open(&r, 1 << 20);
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        packet[lens[i] - 1] = (uint8_t)i;
        gives(&r, &(struct virtio_net_hdr){ 0 }, packet, lens[i]);
        assert_int_equal(takes(&r, &b), 0);
        assert_int_equal(b->len, lens[i]);
        assert_memory_equal(b->data, packet, lens[i]);
        assert_true(pktbuf_cost(b) <= PKTBUF_COST(8 * lens[i] < 256 ? 256 : 8 * lens[i]));
        pktbuf_free(&r.pool, b);
    }
    rig_close(&r);
}

/* Without memory what comes is read all the same, or nobody else's would be. */
static void test_no_memory(void **state)
{
    (void)state;
    struct rig r;
    struct pktbuf *b, *first;
    rig_open(&r, PKTBUF_COST_MAX + PKTBUF_COST(2048));
    for (int i = 0; i < 3; i++)
        gives(&r, &(struct virtio_net_hdr){ 0 }, (uint8_t[1000]){ (uint8_t)i }, 1000);
    assert_int_equal(takes(&r, &first), 0);
    assert_int_equal(takes(&r, &b), ERR_NOMEM);
    assert_null(b);
    pktbuf_free(&r.pool, first);
    assert_int_equal(takes(&r, &b), 0);
    assert_int_equal(b->data[0], 2);
    pktbuf_free(&r.pool, b);
    rig_close(&r);
    rig_open(&r, 0); /* not even for the buffer in hand */
    gives(&r, &(struct virtio_net_hdr){ 0 }, "packet", 6);
    assert_int_equal(takes(&r, &b), ERR_NOMEM);
    assert_null(b);
    assert_int_equal(takes(&r, &b), ERR_AGAIN);
    rig_close(&r);
}

/* A call's packets that nobody fetches make room for what comes, oldest first; the buffer in hand stays the same. */
static void test_makes_room(void **state)
{
    (void)state;
    enum { N = 40 };
    static const struct virtio_net_hdr none = { 0 };
    static uint8_t packet[40000] = { 0x45, 0, 1000 >> 8, 1000 & 0xff };
    struct rig r;
    struct pktbuf *b;
    struct fq_counts counts = { 0 };
    struct fq *fq = malloc(sizeof *fq);
    assert_non_null(fq);
    rig_open(&r, 2 * PKTBUF_COST_MAX + PKTBUF_COST(256));
    fq_init(fq, &r.pool, &counts, MTU, UINT32_MAX);
    for (uint32_t i = 0; i < N; i++) {
        gives(&r, &none, packet, 1000);
        assert_int_equal(takes(&r, &b), 0);
        assert_int_equal(cut_init(&b->cut, b->data, b->len, &b->offload, MTU), 0);
        if (!fq_put(fq, b, i))
            fail_msg("a packet of its own flow alone was dropped");
    }
    const struct pktbuf *hand = r.hand;
    while (pktbuf_fits(&r.pool, 1000))
        r.pool.max--; /* not one more */
    uint32_t before = fq->bytes;
    gives(&r, &none, packet, 1000);
    assert_int_equal(takes(&r, &b), 0);
    assert_ptr_equal(r.hand, hand);
    assert_int_equal(before - fq->bytes, 1000);
    pktbuf_free(&r.pool, b);
    /* A large one is the buffer in hand itself; the next hand needs room, too. */
    gives(&r, &none, packet, sizeof packet);
    assert_int_equal(takes(&r, &b), 0);
    assert_ptr_equal(b, hand);
    assert_null(r.hand);
    r.pool.max = 2 * PKTBUF_COST_MAX;
    gives(&r, &none, packet, 1000);
    struct pktbuf *next;
    assert_int_equal(takes(&r, &next), ERR_NOMEM); /* room for a hand, and for no more */
    assert_true(r.hand && !next && fq_empty(fq));
    assert_int_equal(r.pool.used, 2 * PKTBUF_COST_MAX);
    pktbuf_free(&r.pool, b);
    fq_fini(fq);
    free(fq);
    rig_close(&r);
}

static void test_write(void **state)
{
    (void)state;
    struct rig r;
    char a[] = "pack", z[] = "et";
    struct {
        struct virtio_net_hdr h;
        char packet[16];
    } got;
    rig_open(&r, 0);
    for (unsigned i = 0; i < 16; i++) {
        const struct offload o = { .gso = kinds[i / 4].gso,
                                   .csum = i & 1,
                                   .ecn = i & 2,
                                   .gso_size = 0x2345,
                                   .hdr_len = 0x1234,
                                   .csum_start = 0x3456,
                                   .csum_offset = 0x4567 };
        struct iovec iov[3] = { { NULL, 0 }, { a, 4 }, { z, 2 } };
        tun_queue_write(&r.q, iov, 3, &o);
        assert_int_equal(recv(r.kernel, &got, sizeof got, 0), sizeof got.h + 6);
        assert_memory_equal(got.packet, "packet", 6);
        assert_int_equal(got.h.gso_type, kinds[i / 4].type | (i & 2 ? VIRTIO_NET_HDR_GSO_ECN : 0));
        assert_int_equal(got.h.flags, i & 1 ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0);
        assert_int_equal(got.h.gso_size, 0x2345);
        assert_int_equal(got.h.hdr_len, 0x1234);
        assert_int_equal(got.h.csum_start, 0x3456);
        assert_int_equal(got.h.csum_offset, 0x4567);
    }
    assert_int_equal(r.q.writes, 16);
    assert_int_equal(r.q.write_errors, 0);
    int fd = r.q.fd;
    r.q.fd = -1; /* no device any more: packets go nowhere, and are counted */
    tun_queue_write(&r.q, (struct iovec[2]){ { NULL, 0 }, { a, 4 } }, 2, &(struct offload){ 0 });
    assert_int_equal(r.q.write_errors, 1);
    r.q.fd = fd;
    rig_close(&r);
}

/* Only what the device takes is joined. */
static void test_join(void **state)
{
    (void)state;
    struct join *j = calloc(1, sizeof *j);
    assert_non_null(j);
    for (unsigned i = 0; i < 4; i++) {
        struct tun_queue q = { .fd = -1, .offload = { .tso = i & 1, .uso = i & 2 } };
        tun_queue_join(&q, j);
        assert_int_equal(j->tcp, i & 1);
        assert_int_equal(j->udp, (i & 2) != 0);
    }
    free(j);
}

static uint32_t seed = 1;
static uint32_t rnd(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

/* Half of the fields are near what would be true. */
static struct virtio_net_hdr lie(size_t len)
{
    uint16_t near[] = { 0, 1, 20, 40, 60, MTU, (uint16_t)len, (uint16_t)(len - 1), (uint16_t)(len - 40), 65535 };
    uint16_t v[4];
    for (int i = 0; i < 4; i++)
        v[i] = rnd(2) ? near[rnd(sizeof near / sizeof near[0])] : (uint16_t)rnd(65536);
    return (struct virtio_net_hdr){ .flags = (uint8_t)rnd(2),
                                    .gso_type = rnd(2) ? kinds[rnd(4)].type : (uint8_t)rnd(256),
                                    .hdr_len = v[0],
                                    .gso_size = v[1],
                                    .csum_start = v[2],
                                    .csum_offset = rnd(2) ? (rnd(2) ? 16 : 6) : v[3] };
}

/* Whatever the header and the packet say: it is refused, or it is cut into packets that are not too large. */
static void test_lies(void **state)
{
    (void)state;
    struct rig r;
    uint8_t *packet = malloc(65535);
    unsigned refused = 0, cut = 0;
    assert_non_null(packet);
    rig_open(&r, 1 << 20);
    for (unsigned i = 0; i < LIES; i++) {
        size_t len = 1 + rnd(rnd(4) ? 200 : 9000);
        for (size_t k = 0; k < len; k++)
            packet[k] = (uint8_t)rnd(256);
        packet[0] = rnd(2) ? 0x45 : 0x60;
        if (len >= 40 && rnd(8)) {
            size_t says = packet[0] == 0x45 ? len : len - 40;
            uint8_t *at = packet + (packet[0] == 0x45 ? 2 : 4);
            at[0] = (uint8_t)(says >> 8);
            at[1] = (uint8_t)says;
            packet[packet[0] == 0x45 ? 9 : 6] = rnd(2) ? 6 : 17;
            memset(packet + 6 + (packet[0] == 0x45 ? 0 : 60), 0, 2);
        }
        struct virtio_net_hdr h = lie(len);
        struct pktbuf *b;
        gives(&r, &h, packet, len);
        int rc = takes(&r, &b);
        assert_true(rc == 0 || rc == ERR_PEER);
        if (!rc && !cut_init(&b->cut, b->data, b->len, &b->offload, MTU)) {
            for (unsigned n = 0; cut_len(&b->cut); n++) {
                uint32_t size = cut_len(&b->cut);
                uint8_t *out = malloc(size); /* of the exact size, so that a sanitizer sees every byte too far */
                assert_true(out && size <= MTU && n <= len);
                cut_next(&b->cut, b->data, out, rnd(2));
                free(out);
            }
            cut++;
        } else {
            refused++;
        }
        pktbuf_free(&r.pool, b);
    }
    assert_true(refused > LIES / 10 && cut > LIES / 100);
    free(packet);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),      cmocka_unit_test(test_no_packet),  cmocka_unit_test(test_memory_by_size),
        cmocka_unit_test(test_no_memory), cmocka_unit_test(test_makes_room), cmocka_unit_test(test_write),
        cmocka_unit_test(test_join),      cmocka_unit_test(test_lies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
