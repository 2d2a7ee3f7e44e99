/*
 * A UDP source and sink that cost little beside what is measured: sendmmsg and recvmmsg, a paced or unlimited rate.
 *
 *   bench-udp send ADDR:PORT --size BYTES --rate PPS --ms N [--gso] [--two]    prints {"sent": N, "seconds": S}
 *   bench-udp recv ADDR:PORT                             for each run one line {"received": N, "seconds": S}
 *
 * A run at the sink begins with the first packet and ends 300 ms after the last one; seconds is first to last packet.
 * `--rate 0` is as fast as possible. `--gso` gives the kernel up to 32 datagrams as one (UDP_SEGMENT), as QUIC servers
 * do; `--two` is two processes that each send half, for what one cannot fill. The sink answers nothing.
 */
#include "tool.h"

#include <errno.h>
#include <getopt.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum { BATCH = 32, SIZE_MAX_UDP = 2048, GSO_BYTES = 65000 };

static uint8_t payload[SIZE_MAX_UDP * BATCH];

static int socket_udp(void)
{
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = 8 << 20;
    if (s < 0)
        tool_die_errno("socket");
    setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    setsockopt(s, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    return s;
}

/* Sends up to n packets; those that the device refuses count as sent: they are lost like any other. */
static void burst(int s, unsigned n, size_t size)
{
    struct iovec iov = { payload, size };
    struct mmsghdr m[BATCH];
    memset(m, 0, sizeof m);
    for (unsigned i = 0; i < n; i++)
        m[i].msg_hdr = (struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1 };
    for (unsigned done = 0; done < n;) {
        int r = sendmmsg(s, m + done, n - done, 0);
        if (r < 0 && errno != ENOBUFS && errno != EAGAIN && errno != ECONNREFUSED)
            tool_die_errno("sendmmsg");
        done += r > 0 ? (unsigned)r : 1;
    }
}

/* The same with as many as the kernel takes at once. */
static void burst_gso(int s, unsigned n, size_t size)
{
    unsigned most = (unsigned)(GSO_BYTES / size);
    for (unsigned done = 0, k; done < n; done += k) {
        k = n - done < most ? n - done : most;
        if (send(s, payload, k * size, 0) < 0 && errno != ENOBUFS && errno != EAGAIN && errno != ECONNREFUSED)
            tool_die_errno("send");
    }
}

/* How many were sent. */
static uint64_t send_for(const char *where, size_t size, double rate, unsigned ms, bool gso)
{
    struct sockaddr_in to = tool_addr(where);
    int s = socket_udp();
    if (connect(s, (struct sockaddr *)&to, sizeof to) < 0)
        tool_die_errno("connect");
    int segment = (int)size;
    if (gso && setsockopt(s, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment) < 0)
        tool_die_errno("UDP_SEGMENT");
    uint64_t start = tool_now_ns(), end = start + (uint64_t)ms * 1000000u, now = start;
    uint64_t sent = 0;
    while (now < end) {
        double due = rate > 0 ? rate * (double)(now - start) / 1e9 + 1 : (double)sent + BATCH;
        uint64_t owed = due > (double)sent ? (uint64_t)due - sent : 0;
        unsigned n = owed > BATCH ? BATCH : (unsigned)owed;
        /* Half a millisecond of sleep costs nothing and makes bursts no longer than a NIC's interrupt would. */
        if (rate > 0 && n < BATCH && (double)n < rate / 5000) {
            nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
        } else if (n) {
            gso ? burst_gso(s, n, size) : burst(s, n, size);
            sent += n;
        }
        now = tool_now_ns();
    }
    close(s);
    return sent;
}

static void run_send(const char *where, size_t size, double rate, unsigned ms, bool gso, bool two)
{
    uint64_t *other = mmap(NULL, sizeof *other, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (other == MAP_FAILED)
        tool_die_errno("mmap");
    uint64_t start = tool_now_ns();
    pid_t child = two ? fork() : -1;
    if (two && child < 0)
        tool_die_errno("fork");
    uint64_t sent = send_for(where, size, two ? rate / 2 : rate, ms, gso);
    if (child == 0) {
        *other = sent;
        _exit(0);
    }
    int status = 0;
    if (two && (waitpid(child, &status, 0) != child || status != 0))
        tool_die("the other sender failed");
    printf("{\"sent\": %llu, \"seconds\": %.6f}\n", (unsigned long long)(sent + *other),
           (double)(tool_now_ns() - start) / 1e9);
}

static void run_recv(const char *where)
{
    static uint8_t buf[BATCH][SIZE_MAX_UDP];
    struct sockaddr_in at = tool_addr(where);
    int s = socket_udp(), one = 1;
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(s, (struct sockaddr *)&at, sizeof at) < 0)
        tool_die_errno(where);
    struct iovec iov[BATCH];
    struct mmsghdr m[BATCH];
    memset(m, 0, sizeof m);
    for (int i = 0; i < BATCH; i++) {
        iov[i] = (struct iovec){ buf[i], SIZE_MAX_UDP };
        m[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i], .msg_iovlen = 1 };
    }
    puts("ready");
    fflush(stdout);
    uint64_t got = 0, first = 0, last = 0;
    for (;;) {
        struct pollfd p = { .fd = s, .events = POLLIN };
        int r = poll(&p, 1, got ? 300 : -1);
        if (r == 0) {
            printf("{\"received\": %llu, \"seconds\": %.6f}\n", (unsigned long long)got, (double)(last - first) / 1e9);
            fflush(stdout);
            got = 0;
            continue;
        }
        int n = recvmmsg(s, m, BATCH, MSG_DONTWAIT, NULL);
        if (n <= 0)
            continue;
        last = tool_now_ns();
        first = got ? first : last;
        got += (uint64_t)n;
        if (n < BATCH) /* a wake-up for each packet would cost its sender more than the packet */
            nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
    }
}

int main(int argc, char **argv)
{
    static const struct option opts[] = {
        { "size", required_argument, NULL, 's' }, { "rate", required_argument, NULL, 'r' },
        { "ms", required_argument, NULL, 'm' },   { "gso", no_argument, NULL, 'g' },
        { "two", no_argument, NULL, '2' },        { NULL, 0, NULL, 0 },
    };
    size_t size = 1372;
    double rate = 0;
    unsigned ms = 1000;
    bool gso = false, two = false;
    for (int o; (o = getopt_long(argc, argv, "", opts, NULL)) != -1;) {
        switch (o) {
        case 's': size = strtoul(optarg, NULL, 10); break;
        case 'r': rate = strtod(optarg, NULL); break;
        case 'm': ms = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'g': gso = true; break;
        case '2': two = true; break;
        default: return 2;
        }
    }
    if (argc - optind != 2 || size < 1 || size > SIZE_MAX_UDP) {
        fprintf(
            stderr,
            "usage: bench-udp send ADDR:PORT [--size BYTES] [--rate PPS] [--ms N] [--gso] [--two] | recv ADDR:PORT\n");
        return 2;
    }
    if (strcmp(argv[optind], "send") == 0)
        run_send(argv[optind + 1], size, rate, ms, gso, two);
    else
        run_recv(argv[optind + 1]);
    return 0;
}
