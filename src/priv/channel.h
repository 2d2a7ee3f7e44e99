/*
 * What an unprivileged process may ask of its monitor: short messages over a SOCK_SEQPACKET pair, one answer each, with
 * descriptors. What can be asked is the programs' own table (server/priv.h, client/requests.h). Contents of files
 * travel in sealed memory files.
 */
#ifndef GH_PRIV_CHANNEL_H
#define GH_PRIV_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define PRIV_CHANNEL_FD 3  /* the unprivileged end */
#define PRIV_FDS_MAX    64 /* descriptors in one answer */
#define PRIV_TEXT_MAX   1200

struct priv_msg {
    uint32_t type; /* the program's own enum */
    uint32_t index;
    int32_t status;           /* answer: 0 or enum err */
    uint32_t n_fds;           /* answer */
    char text[PRIV_TEXT_MAX]; /* NUL-terminated text, or a small structure */
};

/*
 * Both return ERR_CLOSED when the other side is gone. fds may be NULL when none are expected: then extra ones are
 * closed. priv_recv() waits, and ends the text with a NUL.
 */
MUST_USE int priv_send(int channel, const struct priv_msg *m, const int *fds);
MUST_USE int priv_recv(int channel, struct priv_msg *m, int *fds, unsigned fds_max);

/*
 * What priv_recv() and priv_call() returned, in words. ERR_LIMIT: descriptors came that this process may not have, its
 * table is full; none stays open.
 */
const char *priv_error(int rc);

/* One request, which its answer replaces. Returns the answer's status, or ERR_CLOSED. */
MUST_USE int priv_call(int channel, struct priv_msg *m, int *fds, unsigned fds_max);

/* Reads a memory file whole: malloc'ed, with a NUL after it; wipe it if secret. Closes fd. */
MUST_USE int priv_take_blob(int fd, char **data, size_t *len);
/* Makes a sealed memory file. */
MUST_USE int priv_make_blob(const void *data, size_t len, int *fd);

#endif
