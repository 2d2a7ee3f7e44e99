/*
 * The bounds of the benchmark: a bare TLS-to-TUN forwarder without SSTP, PPP, users or more than one peer. What it
 * reaches is what the design it stands for can reach on the machine at hand.
 *
 *   plain   one packet a read, a TLS record and a write
 *   packed  one packet a read, but records of 16 KiB filled with packets (2-byte length in front) while the TUN has
 *           more; the other side reads large and writes one packet a call
 *   gso     TSO on the TUN: super-packets of up to 64 KiB travel whole, with their virtio header, and are written with
 * it
 *
 * Both ends are the same program: one connection, one thread, a poll loop. AES-128-GCM, TLS 1.3.
 */
#include "tool.h"

#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>

enum mode { MODE_PLAIN, MODE_PACKED, MODE_GSO };

enum {
    RECORD_MAX = 16384,
    PACKET_MAX = 65535,
    VNET_LEN = 10, /* struct virtio_net_hdr */
    FRAME_MAX = 2 + VNET_LEN + PACKET_MAX,
    SLOT = 2048, /* room for one more packet of any MTU used here */
    OUT_MAX = 4 * FRAME_MAX,
    IN_MAX = 4 * FRAME_MAX,
    ROUNDS = 32, /* work for one direction before the other has its turn */
};

struct end {
    enum mode mode;
    int tun, sock;
    SSL *ssl;
    bool tun_empty; /* the last read said so */
    bool sock_empty;
    bool sock_full;
    size_t out_at, out_len; /* plaintext that waits for the socket */
    size_t in_len;          /* plaintext of a frame not yet whole */
    uint8_t out[OUT_MAX], in[IN_MAX];
};

static void tls_die(const char *what)
{
    tool_die("%s: %s", what, ERR_error_string(ERR_get_error(), NULL));
}

/* One packet from the TUN behind what is waiting; false when there is none. */
static bool tun_take(struct end *e)
{
    size_t prefix = e->mode == MODE_PLAIN ? 0 : 2;
    uint8_t *at = e->out + e->out_len;
    ssize_t n = read(e->tun, at + prefix, e->mode == MODE_GSO ? VNET_LEN + PACKET_MAX : SLOT - 2);
    if (n <= 0) {
        e->tun_empty = true;
        return false;
    }
    if (prefix) {
        size_t len = (size_t)n - (e->mode == MODE_GSO ? VNET_LEN : 0);
        at[0] = (uint8_t)(len >> 8);
        at[1] = (uint8_t)len;
    }
    e->out_len += prefix + (size_t)n;
    return true;
}

static void fill(struct end *e)
{
    e->out_at = e->out_len = 0;
    switch (e->mode) {
    case MODE_PLAIN: tun_take(e); break;
    case MODE_PACKED:
        while (e->out_len + SLOT <= RECORD_MAX && tun_take(e))
            ;
        break;
    case MODE_GSO:
        while (e->out_len < PACKET_MAX && tun_take(e))
            ;
        break;
    }
}

/* TUN to socket. */
static void pump_out(struct end *e)
{
    for (int i = 0; i < ROUNDS && !e->sock_full; i++) {
        if (e->out_at == e->out_len)
            fill(e);
        if (e->out_at == e->out_len)
            return;
        ERR_clear_error();
        int n = SSL_write(e->ssl, e->out + e->out_at, (int)(e->out_len - e->out_at));
        if (n > 0)
            e->out_at += (size_t)n;
        else if (SSL_get_error(e->ssl, n) == SSL_ERROR_WANT_WRITE)
            e->sock_full = true;
        else
            tls_die("SSL_write");
    }
}

static void tun_put(struct end *e, const uint8_t *p, size_t n)
{
    /* A refused packet is a lost one, as on any link. */
    if (write(e->tun, p, n) < 0 && errno != EAGAIN && errno != EINVAL && errno != EIO && errno != ENOBUFS)
        tool_die_errno("write to the TUN");
}

/* Whole frames to the TUN; what is left of the last one moves to the front. */
static void deliver(struct end *e)
{
    size_t extra = e->mode == MODE_GSO ? VNET_LEN : 0, at = 0;
    while (e->in_len - at >= 2) {
        size_t len = ((size_t)e->in[at] << 8 | e->in[at + 1]) + extra;
        if (e->in_len - at - 2 < len)
            break;
        tun_put(e, e->in + at + 2, len);
        at += 2 + len;
    }
    e->in_len -= at;
    memmove(e->in, e->in + at, e->in_len);
}

/* Socket to TUN. */
static void pump_in(struct end *e)
{
    for (int i = 0; i < ROUNDS; i++) {
        ERR_clear_error();
        int n = SSL_read(e->ssl, e->in + e->in_len, (int)(IN_MAX - e->in_len));
        if (n <= 0) {
            int why = SSL_get_error(e->ssl, n);
            if (why == SSL_ERROR_ZERO_RETURN || (why == SSL_ERROR_SYSCALL && !ERR_peek_error()))
                exit(0);
            if (why != SSL_ERROR_WANT_READ)
                tls_die("SSL_read");
            e->sock_empty = true;
            return;
        }
        if (e->mode == MODE_PLAIN) {
            tun_put(e, e->in, (size_t)n);
            continue;
        }
        e->in_len += (size_t)n;
        deliver(e);
    }
}

static void run(struct end *e)
{
    for (;;) {
        struct pollfd p[2] = {
            { .fd = e->sock, .events = (short)(POLLIN | (e->sock_full ? POLLOUT : 0)) },
            { .fd = e->sock_full ? -1 : e->tun, .events = POLLIN },
        };
        bool more = !e->sock_empty || (!e->tun_empty && !e->sock_full);
        if (poll(p, 2, more ? 0 : -1) < 0 && errno != EINTR)
            tool_die_errno("poll");
        if (p[0].revents & (POLLIN | POLLERR | POLLHUP))
            e->sock_empty = false;
        if (p[0].revents & POLLOUT)
            e->sock_full = false;
        if (p[1].revents)
            e->tun_empty = false;
        if (!e->sock_empty)
            pump_in(e);
        if (!e->sock_full && (!e->tun_empty || e->out_at < e->out_len))
            pump_out(e);
    }
}

static int accept_one(const char *where)
{
    struct sockaddr_in a = tool_addr(where);
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (l < 0 || setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        bind(l, (struct sockaddr *)&a, sizeof a) < 0 || listen(l, 1) < 0)
        tool_die_errno(where);
    puts("listening");
    fflush(stdout);
    int s = accept(l, NULL, NULL);
    if (s < 0)
        tool_die_errno("accept");
    close(l);
    return s;
}

static int connect_to(const char *where)
{
    struct sockaddr_in a = tool_addr(where);
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s < 0 || connect(s, (struct sockaddr *)&a, sizeof a) < 0)
        tool_die_errno(where);
    return s;
}

static SSL *tls_start(int sock, bool server, const char *cert, const char *key, enum mode mode)
{
    SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") != 1)
        tls_die("TLS context");
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (mode != MODE_PLAIN) { /* many records a read() */
        SSL_CTX_set_read_ahead(ctx, 1);
        SSL_CTX_set_default_read_buffer_len(ctx, 256 * 1024);
    }
    if (server && (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1 ||
                   SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1))
        tls_die("certificate");
    SSL *ssl = SSL_new(ctx);
    if (!ssl || SSL_set_fd(ssl, sock) != 1 || (server ? SSL_accept(ssl) : SSL_connect(ssl)) != 1)
        tls_die("handshake");
    return ssl;
}

static void usage(void)
{
    fprintf(stderr, "usage: limit server --mode plain|packed|gso --tun NAME --listen ADDR:PORT --cert PEM --key PEM\n"
                    "       limit client --mode plain|packed|gso --tun NAME --connect ADDR:PORT\n");
    exit(2);
}

static enum mode mode_of(const char *s)
{
    static const char *const names[] = { [MODE_PLAIN] = "plain", [MODE_PACKED] = "packed", [MODE_GSO] = "gso" };
    for (int i = 0; s && i < 3; i++) {
        if (strcmp(s, names[i]) == 0)
            return (enum mode)i;
    }
    usage();
    return MODE_PLAIN;
}

int main(int argc, char **argv)
{
    static const struct option opts[] = {
        { "mode", required_argument, NULL, 'm' },
        { "tun", required_argument, NULL, 't' },
        { "listen", required_argument, NULL, 'a' },
        { "connect", required_argument, NULL, 'a' },
        { "cert", required_argument, NULL, 'c' },
        { "key", required_argument, NULL, 'k' },
        { NULL, 0, NULL, 0 },
    };
    const char *mode = NULL, *tun = NULL, *addr = NULL, *cert = NULL, *key = NULL;
    for (int o; (o = getopt_long(argc, argv, "", opts, NULL)) != -1;) {
        switch (o) {
        case 'm': mode = optarg; break;
        case 't': tun = optarg; break;
        case 'a': addr = optarg; break;
        case 'c': cert = optarg; break;
        case 'k': key = optarg; break;
        default: usage();
        }
    }
    bool server = optind < argc && strcmp(argv[optind], "server") == 0;
    if (optind >= argc || (!server && strcmp(argv[optind], "client") != 0) || !tun || !addr ||
        (server && (!cert || !key)))
        usage();
    signal(SIGPIPE, SIG_IGN);
    struct end *e = calloc(1, sizeof *e);
    if (!e)
        tool_die("out of memory");
    e->mode = mode_of(mode);
    e->tun = tool_tun_open(tun, e->mode == MODE_GSO);
    e->sock = server ? accept_one(addr) : connect_to(addr);
    int one = 1;
    setsockopt(e->sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    e->ssl = tls_start(e->sock, server, cert, key, e->mode);
    tool_nonblock(e->sock);
    puts("up");
    fflush(stdout);
    run(e);
}
