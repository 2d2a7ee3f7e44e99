/*
 * The companion on port 80: everything is redirected to https, but for ACME http-01 challenges (RFC 8555 8.3), which
 * are files below a folder. By libmicrohttpd in strict mode, in a process of its own without privileges and keys.
 */
#ifndef GH_WEB_REDIRECT_H
#define GH_WEB_REDIRECT_H

#include <stdint.h>

#include "base/err.h"

struct redirect;

/*
 * listen_fds: n listening TCP sockets, owned from now on. webroot_fd: the folder (O_DIRECTORY), owned; -1: no
 * challenges. https_port: where to redirect; 443 is left out of the URL.
 *
 * GET and HEAD of /.well-known/acme-challenge/TOKEN, TOKEN of 1 to 128 of [A-Za-z0-9_-], answer the regular file of
 * that path below the folder (at most 4 KiB, text/plain), or 404. Any other GET or HEAD: 301 to https://HOST/PATH?QUERY
 * as sent; other methods: 308. HOST is the Host header without its port and must be a name or an address; without a
 * usable one, 400. Connections are capped in all and by source, 10 s idle. Starts its own threads.
 */
MUST_USE int redirect_start(const int *listen_fds, unsigned n, int webroot_fd, uint16_t https_port,
                            struct redirect **out);
void redirect_stop(struct redirect *r);

/*
 * The Location for a request, pure: host as in the Host header, target as in the request line (origin-form or
 * absolute-form; its authority is not used). ERR_PEER: the host or target cannot be used in a URL; ERR_LIMIT: cap.
 */
MUST_USE int redirect_location(const char *host, const char *target, uint16_t https_port, char *out, size_t cap);

#endif
