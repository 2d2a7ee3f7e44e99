/*
 * The built-in web site: files of a folder, or a welcome page, by libmicrohttpd in strict mode, on a listening socket
 * that the relay connects to like to any upstream. Runs in a process of its own, without privileges and without keys.
 */
#ifndef GH_WEB_SITE_H
#define GH_WEB_SITE_H

#include "base/err.h"

struct site;

/*
 * listen_fd: a listening stream socket (Unix or TCP), owned from now on. root_fd: the folder (O_DIRECTORY), owned; -1:
 * the welcome page only. Only regular files that are below the folder without leaving it are served (openat2
 * RESOLVE_BENEATH, no dot files), GET and HEAD, index.html for folders, ranges, Last-Modified/If-Modified-Since, a
 * content type by suffix, X-Content-Type-Options: nosniff. Starts its own threads.
 */
MUST_USE int site_start(int listen_fd, int root_fd, struct site **out);
void site_stop(struct site *s);

#endif
