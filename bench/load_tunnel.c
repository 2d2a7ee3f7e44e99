#include "load_tunnel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ip/cut.h"
#include "ip/join.h"
#include "sstp/msg.h"
#include "tool.h"

/* Debian 12's headers are older than the kernels that know these. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

enum {
    FRAME_HDR = 8,        /* SSTP 4, FF 03, protocol */
    QUEUE = 512 * 1024,   /* bytes that wait for one call's socket */
    SCRATCH = 256 * 1024, /* of a read */
    RECORDS = 8,          /* of a call before another has its turn */
    READS = 16,           /* of the TUN before sockets have theirs */
    AT_ONCE = 16,         /* dials */
    TUN_QUEUE = 8192,     /* packets: the first ones of hundreds of connections come at once */
    RESERVED = 1024,      /* of the queue, for SSTP and PPP */
    VNET_LEN = sizeof(struct virtio_net_hdr),
};

struct tunnel {
    const struct tunnel_cfg *cfg;
    struct call_cfg *call_cfg;
    int tun, ep, sig;
    bool tun_more, ending;
    unsigned started, up;
    struct call *calls;
    struct call **by_ip; /* by the low 16 bits of its address */
    bool *ready;         /* calls with something to read */
    bool *filled;        /* calls with something new to send */
    unsigned *ready_list, *filled_list, n_ready, n_filled;
    struct join join;
    uint64_t dropped, write_errors;
    uint8_t packet[VNET_LEN + OFFLOAD_PACKET_MAX];
    uint8_t scratch[SCRATCH];
};

static unsigned index_of(const struct tunnel *t, const struct call *c)
{
    return (unsigned)(c - t->calls);
}

static void mark(bool *set, unsigned *list, unsigned *n, unsigned i)
{
    if (!set[i]) {
        set[i] = true;
        list[(*n)++] = i;
    }
}

/* ---- from calls to the TUN ---- */

static void from_call(void *arg, struct call *c, struct rd packet)
{
    struct tunnel *t = arg;
    struct rd head = packet;
    uint8_t first = 0;
    uint16_t total = 0;
    bool good =
        rd_u8(&head, &first) && (first >> 4 == 6 ? rd_skip(&head, 3) : rd_skip(&head, 1)) && rd_u16(&head, &total);
    size_t len = total + (first >> 4 == 6 ? 40u : 0u);
    (void)c;
    if (good && len >= 20 && len <= rd_left(&packet))
        join_add(&t->join, t->scratch + (packet.p - t->scratch), (uint32_t)len);
}

static void to_tun(void *arg, struct iovec *iov, unsigned n, const struct offload *o)
{
    static const uint8_t types[] = { [OFFLOAD_NONE] = VIRTIO_NET_HDR_GSO_NONE,
                                     [OFFLOAD_TCP4] = VIRTIO_NET_HDR_GSO_TCPV4,
                                     [OFFLOAD_TCP6] = VIRTIO_NET_HDR_GSO_TCPV6,
                                     [OFFLOAD_UDP] = VIRTIO_NET_HDR_GSO_UDP_L4 };
    struct tunnel *t = arg;
    struct virtio_net_hdr h = {
        .flags = o->csum ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0,
        .gso_type = (uint8_t)(types[o->gso] | (o->ecn ? VIRTIO_NET_HDR_GSO_ECN : 0)),
        .hdr_len = o->hdr_len,
        .gso_size = o->gso_size,
        .csum_start = o->csum_start,
        .csum_offset = o->csum_offset,
    };
    iov[0] = (struct iovec){ &h, sizeof h };
    if (writev(t->tun, iov, (int)n) < 0)
        t->write_errors++; /* what the kernel refuses is lost, as on any link */
}

static void flush_join(void *arg)
{
    struct tunnel *t = arg;
    join_flush(&t->join);
}

/* ---- from the TUN to calls ---- */

static struct call *owner(struct tunnel *t, const uint8_t *packet, size_t len)
{
    if (len < 20 || packet[0] >> 4 != 4)
        return NULL;
    return t->by_ip[packet[14] << 8 | packet[15]];
}

/* Room for n bytes of what waits for the socket; half of it is moved at a time, so that each byte moves once at most.
 */
static bool room(struct call *c, size_t n)
{
    if (c->out_cap - c->out_len < n && c->out_at >= c->out_cap / 2) {
        memmove(c->out, c->out + c->out_at, c->out_len - c->out_at);
        c->out_len -= c->out_at;
        c->out_at = 0;
    }
    return c->out_cap - c->out_len >= n;
}

static bool offload_of(const struct virtio_net_hdr *h, struct offload *o)
{
    *o = (struct offload){ .ecn = h->gso_type & VIRTIO_NET_HDR_GSO_ECN,
                           .csum = h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM,
                           .gso_size = h->gso_size,
                           .hdr_len = h->hdr_len,
                           .csum_start = h->csum_start,
                           .csum_offset = h->csum_offset };
    switch (h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_NONE: o->gso = OFFLOAD_NONE; return true;
    case VIRTIO_NET_HDR_GSO_TCPV4: o->gso = OFFLOAD_TCP4; return true;
    case VIRTIO_NET_HDR_GSO_TCPV6: o->gso = OFFLOAD_TCP6; return true;
    case VIRTIO_NET_HDR_GSO_UDP_L4: o->gso = OFFLOAD_UDP; return true;
    default: return false;
    }
}

static void take(struct tunnel *t, const uint8_t *packet, size_t len, const struct offload *o)
{
    struct call *c = owner(t, packet, len);
    struct cut cut;
    if (!c || c->state != CALL_UP || cut_init(&cut, packet, len, o, (uint32_t)t->cfg->mtu) != 0)
        return;
    for (uint32_t n; (n = cut_len(&cut)) != 0;) {
        if (!room(c, FRAME_HDR + n + RESERVED)) {
            t->dropped++;
            cut_skip(&cut);
            continue;
        }
        uint8_t *at = c->out + c->out_len;
        sstp_data_hdr(at, n + FRAME_HDR - SSTP_HDR_LEN);
        memcpy(at + SSTP_HDR_LEN, (const uint8_t[]){ 0xff, 0x03, 0x00, 0x21 }, 4);
        cut_next(&cut, packet, at + FRAME_HDR, false);
        c->out_len += FRAME_HDR + n;
    }
    mark(t->filled, t->filled_list, &t->n_filled, index_of(t, c));
}

static void from_tun(struct tunnel *t)
{
    for (int i = 0; i < READS; i++) {
        struct virtio_net_hdr h;
        struct offload o;
        ssize_t n = read(t->tun, t->packet, sizeof t->packet);
        if (n < (ssize_t)VNET_LEN) {
            t->tun_more = false;
            break;
        }
        memcpy(&h, t->packet, VNET_LEN);
        if (offload_of(&h, &o))
            take(t, t->packet + VNET_LEN, (size_t)n - VNET_LEN, &o);
    }
    for (unsigned i = 0; i < t->n_filled; i++) {
        t->filled[t->filled_list[i]] = false;
        call_flush(&t->calls[t->filled_list[i]]);
    }
    t->n_filled = 0;
}

/* ---- setting up ---- */

static void set_addr(int s, unsigned long what, const char *name, uint32_t ip4)
{
    struct ifreq r = { 0 };
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(ip4) };
    snprintf(r.ifr_name, sizeof r.ifr_name, "%.*s", IFNAMSIZ - 1, name);
    memcpy(&r.ifr_addr, &a, sizeof a);
    if (ioctl(s, what, &r) < 0)
        tool_die_errno("setting the TUN's address");
}

static void configure(const struct tunnel *t)
{
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s < 0)
        tool_die_errno("socket");
    for (unsigned i = 0; i < t->cfg->calls; i++) {
        char name[IFNAMSIZ + 16];
        snprintf(name, sizeof name, i ? "%s:%u" : "%s", t->cfg->tun, i);
        set_addr(s, SIOCSIFADDR, name, t->calls[i].ip4);
        set_addr(s, SIOCSIFDSTADDR, name, t->calls[i].server_ip4);
    }
    struct ifreq r = { .ifr_mtu = t->cfg->mtu };
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", t->cfg->tun);
    if (ioctl(s, SIOCSIFMTU, &r) < 0)
        tool_die_errno("SIOCSIFMTU");
    r.ifr_qlen = TUN_QUEUE;
    if (ioctl(s, SIOCSIFTXQLEN, &r) < 0)
        tool_die_errno("SIOCSIFTXQLEN");
    r.ifr_flags = IFF_UP | IFF_RUNNING | IFF_POINTOPOINT | IFF_NOARP;
    if (ioctl(s, SIOCSIFFLAGS, &r) < 0)
        tool_die_errno("SIOCSIFFLAGS");
    close(s);
}

static void say_up(const struct tunnel *t)
{
    printf("{\"up\": %u, \"ips\": [", t->up);
    for (unsigned i = 0; i < t->up; i++) {
        char text[INET_ADDRSTRLEN];
        struct in_addr a = { htonl(t->calls[i].ip4) };
        printf("%s\"%s\"", i ? ", " : "", inet_ntop(AF_INET, &a, text, sizeof text));
    }
    printf("]}\n");
    fflush(stdout);
}

static void watch(struct tunnel *t, int fd, uint32_t events, uint64_t what)
{
    struct epoll_event ev = { .events = events, .data.u64 = what };
    if (epoll_ctl(t->ep, EPOLL_CTL_ADD, fd, &ev) < 0)
        tool_die_errno("epoll_ctl");
}

/* What epoll's data says beside the index of a call. */
enum { WHAT_TUN = -1, WHAT_SIGNAL = -2 };

static void start_some(struct tunnel *t)
{
    while (t->started < t->cfg->calls && t->started - t->up < AT_ONCE) {
        struct call *c = &t->calls[t->started];
        call_start(c, t->call_cfg, t->started);
        if (c->state >= CALL_ENDED)
            tool_die("%s", c->why);
        watch(t, c->fd, EPOLLIN | EPOLLOUT | EPOLLET, t->started++);
    }
}

static void came_up(struct tunnel *t, struct call *c)
{
    t->by_ip[c->ip4 & 0xffff] = c;
    if (++t->up == t->cfg->calls) {
        configure(t);
        say_up(t);
        watch(t, t->tun, EPOLLIN | EPOLLET, (uint64_t)WHAT_TUN);
        t->tun_more = true;
    } else {
        start_some(t);
    }
}

/* ---- the loop ---- */

static void events(struct tunnel *t)
{
    struct epoll_event ev[64];
    int n = epoll_wait(t->ep, ev, 64, t->n_ready || t->tun_more ? 0 : -1);
    if (n < 0 && errno != EINTR)
        tool_die_errno("epoll_wait");
    for (int i = 0; i < n; i++) {
        if (ev[i].data.u64 == (uint64_t)WHAT_TUN) {
            t->tun_more = true;
        } else if (ev[i].data.u64 == (uint64_t)WHAT_SIGNAL) {
            t->ending = true;
        } else {
            unsigned at = (unsigned)ev[i].data.u64;
            t->calls[at].blocked = false;
            mark(t->ready, t->ready_list, &t->n_ready, at);
        }
    }
}

static void drive_ready(struct tunnel *t)
{
    unsigned n = t->n_ready, again = 0;
    for (unsigned i = 0; i < n; i++) {
        unsigned at = t->ready_list[i];
        struct call *c = &t->calls[at];
        bool was_up = c->up_ns != 0;
        bool more = call_drive(c, RECORDS);
        if (c->state >= CALL_ENDED)
            tool_die("call %u: %s", at, c->why ? c->why : "ended");
        t->ready[at] = more;
        if (more)
            t->ready_list[again++] = at;
        if (c->up_ns && !was_up)
            came_up(t, c);
    }
    t->n_ready = again;
}

static void *zeros(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (!p)
        tool_die("out of memory");
    return p;
}

static void init(struct tunnel *t)
{
    unsigned n = t->cfg->calls;
    unsigned long tso = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    t->tun = tool_tun_open(t->cfg->tun, true);
    t->join = (struct join){ .write = to_tun, .arg = t, .tcp = true };
    t->join.udp = ioctl(t->tun, TUNSETOFFLOAD, tso | TUN_F_USO4 | TUN_F_USO6) == 0;
    t->calls = zeros(n, sizeof *t->calls);
    t->by_ip = zeros(1 << 16, sizeof *t->by_ip); /* NOLINT(bugprone-sizeof-expression): of pointers */
    t->ready = zeros(n, sizeof *t->ready);
    t->filled = zeros(n, sizeof *t->filled);
    t->ready_list = zeros(n, sizeof *t->ready_list);
    t->filled_list = zeros(n, sizeof *t->filled_list);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    t->ep = epoll_create1(EPOLL_CLOEXEC);
    t->sig = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    watch(t, t->sig, EPOLLIN, (uint64_t)WHAT_SIGNAL);
}

int tunnel_run(struct call_cfg *call, const struct tunnel_cfg *cfg)
{
    struct tunnel *t = zeros(1, sizeof *t);
    t->cfg = cfg;
    t->call_cfg = call;
    init(t);
    call->out_cap = QUEUE;
    call->scratch = t->scratch;
    call->scratch_len = sizeof t->scratch;
    call->data = from_call;
    call->flush = flush_join;
    call->arg = t;
    start_some(t);
    while (!t->ending) {
        events(t);
        drive_ready(t);
        if (t->tun_more)
            from_tun(t);
    }
    printf("{\"up\": 0, \"dropped\": %llu, \"write_errors\": %llu, \"packets\": %llu, \"writes\": %llu}\n",
           (unsigned long long)t->dropped, (unsigned long long)t->write_errors, (unsigned long long)t->join.packets,
           (unsigned long long)t->join.writes);
    return 0;
}
