/*
 * The control API's server: HTTP/1.1 with JSON on a Unix socket (docs/control-api.md), by libmicrohttpd on a thread of
 * its own.
 */
#ifndef GH_CTL_SERVER_H
#define GH_CTL_SERVER_H

#include <jansson.h>

#include "base/err.h"

#define CTL_BODY_MAX 4096

/*
 * One request; runs on the control thread, one at a time. body: parsed JSON or NULL when there was none. Returns the
 * HTTP status and sets *answer (a reference that the caller drops).
 */
typedef int ctl_handler(void *arg, const char *method, const char *path, const json_t *body, json_t **answer);

struct ctl_server;
/* listen_fd: owned from now on, also when it fails. */
MUST_USE int ctl_server_start(int listen_fd, ctl_handler *fn, void *arg, struct ctl_server **out);
void ctl_server_stop(struct ctl_server *s); /* NULL is fine */

#endif
