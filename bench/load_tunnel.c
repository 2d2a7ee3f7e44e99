#include "load_tunnel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sstp/msg.h"
#include "tool.h"

enum {
    RECORD = 16384,
    FRAME_HDR = 8, /* SSTP 4, FF 03, protocol */
    SLOT = 2048,   /* room for one more packet */
    ROUNDS = 32,   /* records one way before the other way has its turn */
};

struct tunnel {
    struct call call;
    int tun;
    bool tun_empty, sock_empty;
};

static void to_tun(void *arg, struct rd packet)
{
    struct tunnel *t = arg;
    /* What the kernel refuses is lost, as on any link. */
    if (write(t->tun, packet.p, rd_left(&packet)) < 0 && errno == EBADFD)
        tool_die_errno("write to the TUN");
}

/* One record's worth of packets from the TUN, each behind its SSTP and PPP header. */
static void fill(struct tunnel *t)
{
    struct call *c = &t->call;
    while (c->out_len + SLOT <= RECORD) {
        uint8_t *at = c->out + c->out_len;
        ssize_t n = read(t->tun, at + FRAME_HDR, SLOT - FRAME_HDR);
        if (n <= 0) {
            t->tun_empty = true;
            return;
        }
        sstp_data_hdr(at, (size_t)n + FRAME_HDR - SSTP_HDR_LEN);
        at[4] = 0xff;
        at[5] = 0x03;
        at[6] = 0x00;
        at[7] = at[FRAME_HDR] >> 4 == 6 ? 0x57 : 0x21;
        c->out_len += FRAME_HDR + (size_t)n;
    }
}

static void from_tun(struct tunnel *t)
{
    for (int i = 0; i < ROUNDS && !t->call.blocked && !t->tun_empty; i++) {
        fill(t);
        call_flush(&t->call);
    }
}

static void set_addr(int s, unsigned long what, const char *name, uint32_t ip4)
{
    struct ifreq r = { 0 };
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(ip4) };
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
    memcpy(&r.ifr_addr, &a, sizeof a);
    if (ioctl(s, what, &r) < 0)
        tool_die_errno("setting the TUN's address");
}

static void configure(const struct call *c, const char *name, int mtu)
{
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s < 0)
        tool_die_errno("socket");
    set_addr(s, SIOCSIFADDR, name, c->ip4);
    set_addr(s, SIOCSIFDSTADDR, name, c->server_ip4);
    struct ifreq r = { .ifr_mtu = mtu };
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
    if (ioctl(s, SIOCSIFMTU, &r) < 0)
        tool_die_errno("SIOCSIFMTU");
    r.ifr_flags = IFF_UP | IFF_RUNNING | IFF_POINTOPOINT | IFF_NOARP;
    if (ioctl(s, SIOCSIFFLAGS, &r) < 0)
        tool_die_errno("SIOCSIFFLAGS");
    close(s);
}

static void say_up(const struct call *c)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr a = { htonl(c->ip4) };
    inet_ntop(AF_INET, &a, text, sizeof text);
    printf("{\"up\": true, \"ip\": \"%s\", \"dial_ms\": %.2f}\n", text, (double)(c->up_ns - c->start_ns) / 1e6);
    fflush(stdout);
}

static void turn(struct tunnel *t)
{
    struct call *c = &t->call;
    bool up = c->state == CALL_UP;
    struct pollfd p[2] = {
        { .fd = c->fd, .events = (short)(POLLIN | (c->blocked || c->state == CALL_TLS ? POLLOUT : 0)) },
        { .fd = !up || c->blocked ? -1 : t->tun, .events = POLLIN },
    };
    bool more = !t->sock_empty || (up && !t->tun_empty && !c->blocked);
    if (poll(p, 2, more ? 0 : -1) < 0 && errno != EINTR)
        tool_die_errno("poll");
    if (p[0].revents & POLLOUT)
        c->blocked = false;
    if (p[1].revents)
        t->tun_empty = false;
    if (p[0].revents || !t->sock_empty)
        t->sock_empty = !call_drive(c, ROUNDS);
    if (c->state == CALL_UP)
        from_tun(t);
}

int tunnel_run(struct call_cfg *cfg, const char *tun_name, int mtu)
{
    static struct tunnel t;
    t.tun = tool_tun_open(tun_name, false);
    t.sock_empty = true;
    cfg->bulk = true;
    cfg->data = to_tun;
    cfg->arg = &t;
    call_start(&t.call, cfg, 0);
    for (bool was_up = false; t.call.state < CALL_ENDED; turn(&t)) {
        if (t.call.state == CALL_UP && !was_up) {
            was_up = true;
            configure(&t.call, tun_name, mtu);
            say_up(&t.call);
        }
    }
    fprintf(stderr, "gatehouse-load: %s\n", t.call.why ? t.call.why : "the call ended");
    return 1;
}
