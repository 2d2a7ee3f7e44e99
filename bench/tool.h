/* What the benchmark's programs share. A tool that fails says why and exits: there is nobody to recover for. */
#ifndef GH_BENCH_TOOL_H
#define GH_BENCH_TOOL_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

/* "name: text" to stderr, exit status 1. */
__attribute__((format(printf, 1, 2), noreturn)) void tool_die(const char *fmt, ...);
/* The same, followed by errno's text. */
__attribute__((noreturn)) void tool_die_errno(const char *what);

uint64_t tool_now_ns(void); /* monotonic */

/* "1.2.3.4:443"; exits on anything else. */
struct sockaddr_in tool_addr(const char *text);

/* A non-blocking TUN device without packet information; vnet: with virtio headers, checksum and TSO offloads on. */
int tool_tun_open(const char *name, bool vnet);

void tool_nonblock(int fd);

#endif
