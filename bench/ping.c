/*
 * Echo requests that cost little beside what is measured: ping(8) looks for answers without a pause when it sends every
 * 10 ms, and takes a fifth of a core for it.
 *
 *   bench-ping ADDR --count N --ms PAUSE          prints {"sent": N, "times_ms": [T, ...]}
 *
 * Times are from just before the send to the kernel's stamp of the answer, in the order of the answers; what does not
 * come within a second of the last request is not in the list. IPv4; needs a raw socket.
 */
#include "tool.h"

#include <errno.h>
#include <getopt.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 65536, PAYLOAD = 56, WAIT_MS = 1000 };

static uint64_t sent_at[MOST]; /* ns of the real-time clock; 0: answered, or not sent */

static uint64_t real_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint16_t checksum(const uint8_t *p, size_t n)
{
    uint32_t sum = 0;
    for (size_t i = 0; i + 1 < n; i += 2)
        sum += (uint32_t)p[i] << 8 | p[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return htons((uint16_t)~sum);
}

static void ask(int s, uint16_t id, unsigned n)
{
    uint8_t packet[sizeof(struct icmphdr) + PAYLOAD];
    struct icmphdr h = { .type = ICMP_ECHO, .un.echo = { .id = htons(id), .sequence = htons((uint16_t)n) } };
    memset(packet, 0, sizeof packet);
    memcpy(packet, &h, sizeof h);
    h.checksum = checksum(packet, sizeof packet);
    memcpy(packet, &h, sizeof h);
    sent_at[n] = real_ns();
    if (send(s, packet, sizeof packet, 0) < 0 && errno != ENOBUFS && errno != EAGAIN)
        tool_die_errno("send");
}

/* Of one packet of the socket: the time of an answer of ours in ms, or -1. */
static double answer(int s, uint16_t id)
{
    uint8_t buf[256];
    union {
        struct cmsghdr align;
        char bytes[256];
    } control;
    struct iovec iov = { buf, sizeof buf };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    ssize_t n = recvmsg(s, &m, MSG_DONTWAIT);
    size_t at = n > 0 ? (size_t)(buf[0] & 15) * 4 : 0;
    struct icmphdr h;
    if (n < (ssize_t)(at + sizeof h))
        return -1;
    memcpy(&h, buf + at, sizeof h);
    unsigned seq = ntohs(h.un.echo.sequence);
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (h.type != ICMP_ECHOREPLY || ntohs(h.un.echo.id) != id || !sent_at[seq] || !c || c->cmsg_type != SCM_TIMESTAMPNS)
        return -1;
    struct timespec t;
    memcpy(&t, CMSG_DATA(c), sizeof t);
    double ms = (double)((uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec - sent_at[seq]) / 1e6;
    sent_at[seq] = 0;
    return ms;
}

static void run(const char *where, unsigned count, unsigned pause_ms)
{
    char text[64];
    snprintf(text, sizeof text, "%s:1", where);
    struct sockaddr_in to = tool_addr(text);
    int s = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP), one = 1;
    if (s < 0 || connect(s, (struct sockaddr *)&to, sizeof to) < 0 ||
        setsockopt(s, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one) < 0)
        tool_die_errno(where);
    uint16_t id = (uint16_t)getpid();
    unsigned sent = 0, got = 0;
    uint64_t due = tool_now_ns(), end = due + ((uint64_t)count * pause_ms + WAIT_MS) * 1000000u;
    printf("{\"sent\": %u, \"times_ms\": [", count);
    for (uint64_t now; got < count && (now = tool_now_ns()) < end;) {
        if (sent < count && now >= due) {
            ask(s, id, sent++);
            due += pause_ms * 1000000ull;
            continue;
        }
        uint64_t left = (sent < count ? due : end) - now;
        struct pollfd p = { .fd = s, .events = POLLIN };
        struct timespec t = { (time_t)(left / 1000000000u), (long)(left % 1000000000u) };
        if (ppoll(&p, 1, &t, NULL) > 0) {
            double ms = answer(s, id);
            if (ms >= 0)
                printf("%s%.3f", got++ ? ", " : "", ms);
        }
    }
    puts("]}");
}

int main(int argc, char **argv)
{
    static const struct option opts[] = {
        { "count", required_argument, NULL, 'c' },
        { "ms", required_argument, NULL, 'm' },
        { NULL, 0, NULL, 0 },
    };
    unsigned count = 100, ms = 10;
    for (int o; (o = getopt_long(argc, argv, "", opts, NULL)) != -1;) {
        switch (o) {
        case 'c': count = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'm': ms = (unsigned)strtoul(optarg, NULL, 10); break;
        default: return 2;
        }
    }
    if (argc - optind != 1 || !count || count > MOST || !ms) {
        fprintf(stderr, "usage: bench-ping ADDR [--count N] [--ms PAUSE]\n");
        return 2;
    }
    run(argv[optind], count, ms);
    return 0;
}
