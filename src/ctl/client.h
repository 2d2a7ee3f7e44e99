/* The control API's client: one request on the daemon's Unix socket. */
#ifndef GH_CTL_CLIENT_H
#define GH_CTL_CLIENT_H

#include "base/err.h"

/*
 * Sends method and path with a JSON body (NULL: none) and waits up to 30 s. Returns 0 with *status (HTTP) and *answer
 * (malloc'ed JSON text); ERR_SYSTEM with errno when nobody listens (ENOENT, ECONNREFUSED) or one may not (EACCES);
 * ERR_PEER for an answer that is none.
 */
MUST_USE int ctl_request(const char *socket_path, const char *method, const char *path, const char *json_body,
                         int *status, char **answer);

#endif
