/*
 * The kernel's segmentation beside ours. Writes random super-packets (tests/unit/cutflow.h) into one TUN, reads from
 * another, without offloads, what the kernel routed there and had to cut, and compares it with cut_next() bit for bit.
 *
 *     gatehouse-gso IN OUT SEED ROUNDS     both TUN devices are there, IN with vnet_hdr; routes lead from IN to OUT
 *     gatehouse-gso --speed [SECONDS]      CPU nanoseconds a packet, for each way to sum
 *
 * Prints what was compared, one kind a line; the status is 1 at the first difference.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../unit/cutflow.h"
#include "ip/checksum.h"
#include "ip/cut.h"

/* Newer than the oldest headers that we build with. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

enum { MTU = 9200, WAIT_MS = 3000, PACKETS_MAX = 700 };

static struct flow flow;
static uint8_t sent[sizeof(struct virtio_net_hdr) + OFFLOAD_PACKET_MAX], routed[OFFLOAD_PACKET_MAX];
static uint32_t rnd;

static int tun_open(const char *name, short flags)
{
    struct ifreq ifr = { .ifr_flags = (short)(IFF_TUN | IFF_NO_PI | flags) };
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    snprintf(ifr.ifr_name, sizeof ifr.ifr_name, "%s", name);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0) {
        fprintf(stderr, "%s: %s\n", name, strerror(errno));
        exit(2);
    }
    return fd;
}

/* A device drops what it is given until the kernel has seen that it is in use now, up to a second later. */
static void wait_running(const char *name)
{
    struct ifreq ifr = { 0 };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc = -1;
    snprintf(ifr.ifr_name, sizeof ifr.ifr_name, "%s", name);
    for (unsigned i = 0; i < 500; i++) {
        rc = ioctl(fd, SIOCGIFFLAGS, &ifr);
        if (rc < 0 || ifr.ifr_flags & IFF_RUNNING)
            break;
        usleep(10000);
    }
    close(fd);
    if (rc < 0 || !(ifr.ifr_flags & IFF_RUNNING)) {
        fprintf(stderr, "%s does not come up\n", name);
        exit(2);
    }
}

static uint8_t virtio_gso(const struct offload *o)
{
    switch ((enum offload_gso)o->gso) {
    case OFFLOAD_NONE: return VIRTIO_NET_HDR_GSO_NONE;
    case OFFLOAD_TCP4: return VIRTIO_NET_HDR_GSO_TCPV4 | (o->ecn ? VIRTIO_NET_HDR_GSO_ECN : 0);
    case OFFLOAD_TCP6: return VIRTIO_NET_HDR_GSO_TCPV6 | (o->ecn ? VIRTIO_NET_HDR_GSO_ECN : 0);
    case OFFLOAD_UDP: return VIRTIO_NET_HDR_GSO_UDP_L4;
    }
    return VIRTIO_NET_HDR_GSO_NONE;
}

/* The packet is behind the place of the header. */
static bool inject(int fd, const struct offload *o, uint32_t len)
{
    struct virtio_net_hdr h = { .gso_type = virtio_gso(o), .gso_size = o->gso_size, .hdr_len = o->hdr_len };
    if (o->csum) {
        h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
        h.csum_start = o->csum_start;
        h.csum_offset = o->csum_offset;
    }
    memcpy(sent, &h, sizeof h);
    return write(fd, sent, sizeof h + len) == (ssize_t)(sizeof h + len);
}

/* The next packet of the flow; others (the kernel's own, for its neighbours) are passed over. 0: none came. */
static uint32_t receive(int fd, uint8_t *buf, size_t cap)
{
    for (;;) {
        ssize_t n = read(fd, buf, cap);
        if (n < 0) {
            struct pollfd p = { .fd = fd, .events = POLLIN };
            if (errno != EAGAIN || poll(&p, 1, WAIT_MS) <= 0)
                return 0;
            continue;
        }
        size_t at = flow.v6 ? 8 : 12, size = flow.v6 ? 16 : 4;
        if ((size_t)n >= at + size && buf[0] >> 4 == (flow.v6 ? 6 : 4) && !memcmp(buf + at, flow.src, size))
            return (uint32_t)n;
    }
}

static void dump(const char *what, const uint8_t *p, uint32_t n)
{
    fprintf(stderr, "%s %u:", what, n);
    for (uint32_t i = 0; i < n && i < 160; i++)
        fprintf(stderr, "%s%02x", i % 4 ? "" : " ", p[i]);
    fputc('\n', stderr);
}

/* What the router has in hand when it cuts: the same, one hop on. */
static uint32_t one_hop_on(uint16_t gso_size, struct offload *o)
{
    flow.ttl--;
    return flow_super(&flow, gso_size, routed, sizeof routed, o);
}

static bool compare(int out, struct cut *c, unsigned *packets)
{
    static uint8_t ours[OFFLOAD_PACKET_MAX], theirs[OFFLOAD_PACKET_MAX];
    for (; !c->done; ++*packets) {
        uint32_t n = cut_len(c), got = receive(out, theirs, sizeof theirs);
        cut_next(c, routed, ours, false);
        if (got != n || memcmp(ours, theirs, n) != 0) {
            fprintf(stderr, "packet %u of a super-packet differs\n", c->n);
            dump("super ", routed, 160);
            dump("ours  ", ours, n);
            dump("kernel", theirs, got);
            return false;
        }
    }
    return true;
}

/* Makes the checksum of the first packet come out as 0, which is written in two ways. */
static void sum_to_zero(uint32_t size)
{
    static uint8_t first[OFFLOAD_PACKET_MAX];
    flow_put16(flow.payload, 0);
    flow_nth(&flow, size, 0, false, first, sizeof first);
    memcpy(flow.payload, first + flow_l4(&flow) + (flow.tcp ? 16 : 6), 2);
}

static bool round_one(int in, int out, bool v6, bool tcp, unsigned *packets)
{
    static const uint16_t usual[] = { 1, 8, 100, 536, 1220, 1348, 1448, 8948 };
    struct offload o;
    struct cut c;
    uint32_t size = flow_below(&rnd, 2) ? usual[flow_below(&rnd, 8)] : 1 + flow_below(&rnd, 8960);
    bool super = flow_below(&rnd, 8);
    uint32_t most = super ? size * (tcp ? PACKETS_MAX : 64) : 1400;
    flow_any(&flow, &rnd, v6, tcp, most < 65000 ? most : 65000);
    if (super && flow.payload_len <= size)
        flow.payload_len = size + 1;
    uint32_t headers = flow_headers(&flow);
    if (headers + flow.payload_len > OFFLOAD_PACKET_MAX - 40) /* a router's super-packet has 16 bits of length, too */
        flow.payload_len = OFFLOAD_PACKET_MAX - 40 - headers;
    if (size > 1 && flow.payload_len > 1 && !flow_below(&rnd, 4))
        sum_to_zero(super ? size : flow.payload_len);
    uint16_t gso_size = super ? (uint16_t)size : 0;
    uint32_t len = flow_super(&flow, gso_size, sent + sizeof(struct virtio_net_hdr), OFFLOAD_PACKET_MAX, &o);
    if (!inject(in, &o, len)) {
        fprintf(stderr, "the kernel does not take a super-packet: %s\n", strerror(errno));
        dump("super ", sent, len);
        return false;
    }
    len = one_hop_on(gso_size, &o);
    if (cut_init(&c, routed, len, &o, MTU)) {
        fprintf(stderr, "we do not take a super-packet\n");
        dump("super ", routed, len);
        return false;
    }
    return compare(out, &c, packets);
}

static int beside_kernel(const char *in_name, const char *out_name, unsigned rounds)
{
    int in = tun_open(in_name, IFF_VNET_HDR), out = tun_open(out_name, 0);
    wait_running(in_name);
    wait_running(out_name);
    bool uso = ioctl(in, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6) == 0;
    for (unsigned kind = 0; kind < 4; kind++) {
        bool v6 = kind & 1, tcp = !(kind & 2);
        const char *name = tcp ? (v6 ? "tcp6" : "tcp4") : v6 ? "udp6" : "udp4";
        unsigned packets = 0;
        if (!tcp && !uso) {
            printf("%s unknown to this kernel\n", name);
            continue;
        }
        for (unsigned i = 0; i < rounds; i++) {
            if (!round_one(in, out, v6, tcp, &packets)) {
                fprintf(stderr, "%s, round %u\n", name, i);
                return 1;
            }
        }
        printf("%s %u super-packets, %u packets\n", name, rounds, packets);
    }
    return 0;
}

/* Seconds of this process: others may be running. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Super-packets of 64 KiB, one after the other from 1 MiB of them, cut to 1400 bytes into records. */
static void speed_of(const char *way, bool v6, bool tcp, double seconds)
{
    enum { SUPERS = 16, RECORD = 16384 };
    static uint8_t supers[SUPERS][OFFLOAD_PACKET_MAX], record[RECORD];
    struct offload o;
    uint32_t len = 0, packets = 0;
    if (!checksum_use(way))
        return;
    flow_any(&flow, &rnd, v6, tcp, 1);
    flow.net_more_len = 0;
    flow.next = tcp ? FLOW_TCP : FLOW_UDP;
    flow.tcp_more_len = tcp ? 12 : 0;
    flow.payload_len = 65535 - flow_headers(&flow);
    flow_fill(&rnd, flow.payload, flow.payload_len);
    for (unsigned i = 0; i < SUPERS; i++)
        len = flow_super(&flow, (uint16_t)(1400 - flow_headers(&flow)), supers[i], OFFLOAD_PACKET_MAX, &o);
    double begin = now(), took;
    do {
        for (unsigned i = 0; i < SUPERS * 16; i++) {
            struct cut c;
            if (cut_init(&c, supers[i % SUPERS], len, &o, 1400))
                exit(2);
            for (size_t at = 0; !c.done; packets++) {
                uint32_t n = cut_len(&c) + 8;
                at = at + n > RECORD ? 0 : at;
                cut_next(&c, supers[i % SUPERS], record + at + 8, false);
                at += n;
            }
        }
        took = now() - begin;
    } while (took < seconds);
    printf("%-8s %s%d %6.1f ns a packet of 1400 bytes\n", way, tcp ? "tcp" : "udp", v6 ? 6 : 4, took * 1e9 / packets);
}

int main(int argc, char **argv)
{
    static const char *const ways[] = { "plain64", "avx2" };
    rnd = 88172645;
    if (argc >= 2 && !strcmp(argv[1], "--speed")) {
        double seconds = argc > 2 ? atof(argv[2]) : 1;
        for (unsigned i = 0; i < 2 * 4; i++)
            speed_of(ways[i / 4], i & 1, !(i & 2), seconds);
        return 0;
    }
    if (argc != 5) {
        fprintf(stderr, "gatehouse-gso IN OUT SEED ROUNDS | --speed [SECONDS]\n");
        return 2;
    }
    rnd = (uint32_t)strtoul(argv[3], NULL, 10) | 1;
    return beside_kernel(argv[1], argv[2], (unsigned)strtoul(argv[4], NULL, 10));
}
