/* What a monitor opens on behalf of a process without rights: files that the configuration names, the control socket.
 */
#ifndef GH_PRIV_OPEN_H
#define GH_PRIV_OPEN_H

#include <stddef.h>

#include "base/err.h"

/*
 * Reads an ordinary file of at most 64 MiB whole, with a NUL behind it; malloc'ed, wipe it if it is secret. ERR_USAGE
 * with why ("cannot read PATH: ...").
 */
MUST_USE int priv_read_file(const char *path, char **data, size_t *len, char *err, size_t cap);

/*
 * Listens on a Unix socket that root alone may use; makes its folder when missing, takes the place of one that a killed
 * daemon left. option: its name in the configuration, for messages. ERR_USAGE: the path is too long; ERR_SYSTEM:
 * somebody listens there already, or the system's words.
 */
MUST_USE int priv_listen_control(const char *path, const char *option, int *fd, char *err, size_t cap);

#endif
