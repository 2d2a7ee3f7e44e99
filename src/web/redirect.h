/*
 * The companion on port 80: everything is redirected to https, but for ACME http-01 challenges (RFC 8555 8.3), which
 * are files below a folder. By libmicrohttpd in strict mode, in a process of its own without privileges and keys.
 */
#ifndef GH_WEB_REDIRECT_H
#define GH_WEB_REDIRECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define REDIRECT_LISTEN_MAX   4
#define REDIRECT_TOKEN_MAX    128  /* bytes of a challenge's name */
#define REDIRECT_FILE_MAX     4096 /* and of what answers it */
#define REDIRECT_LOCATION_MAX 4096 /* bytes of a Location, with its NUL */

/* What strangers may take. */
struct redirect_limits {
    unsigned connections; /* at once, on all sockets together; 256 */
    unsigned per_source;  /* of these from one IPv4 address or IPv6 /64; 32 */
    unsigned life_ms;     /* of a connection, from accept to its end, however busy it is; 10000 */
};

struct redirect;

/*
 * listen_fds: n listening TCP sockets, 1 to REDIRECT_LISTEN_MAX, owned from now on. webroot_fd: the folder
 * (O_DIRECTORY), owned; -1: no challenges. https_port: where to redirect; 443 is left out of the URL. limits: NULL for
 * the numbers above.
 *
 * GET and HEAD of /.well-known/acme-challenge/TOKEN, TOKEN of 1 to 128 of [A-Za-z0-9_-], answer the regular file of
 * that path below the folder (at most 4 KiB, text/plain; no symbolic link anywhere in it), or 404. Any other GET or
 * HEAD: 301 to https://HOST/PATH?QUERY as sent; other methods: 308. HOST is the Host header without its port and must
 * be a name or an address; without a usable one, 400; 414 for what is too long to be redirected. One request a
 * connection. Connections beyond the limits are closed at once. Starts a thread of its own.
 */
MUST_USE int redirect_start(const int *listen_fds, unsigned n, int webroot_fd, uint16_t https_port,
                            const struct redirect_limits *limits, struct redirect **out);
void redirect_stop(struct redirect *r); /* NULL is fine */

/* The rest is pure (redirect_location.c). */

/*
 * The Location for a request: host as in the Host header, target as in the request line (origin-form or absolute-form;
 * its authority is not used, RFC 9112 3.2). ERR_PEER: the host or target cannot be used in a URL; ERR_LIMIT: cap, which
 * counts the NUL. out is "" unless 0 is returned.
 */
MUST_USE int redirect_location(const char *host, const char *target, uint16_t https_port, char *out, size_t cap);

/* Is the target a challenge? Then token has its name. A query is ignored; nothing is percent-decoded. */
MUST_USE bool redirect_challenge(const char *target, char token[REDIRECT_TOKEN_MAX + 1]);

#endif
