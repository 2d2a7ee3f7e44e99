/*
 * What the engine may ask of the monitor: a short table of requests over a SOCK_SEQPACKET pair, one answer each. The
 * monitor re-checks every argument, hands out only what the configuration names (by kind and index, never by path), and
 * parses nothing that comes from the network. Contents of files travel in sealed memory files.
 */
#ifndef GH_SERVER_PRIV_H
#define GH_SERVER_PRIV_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define PRIV_CHANNEL_FD 3  /* the engine's end */
#define PRIV_FDS_MAX    64 /* descriptors in one answer */
#define PRIV_TEXT_MAX   1200

enum priv_request {
    PRIV_CONFIG,    /* canonical text of the configuration in force, or of the one being loaded                    */
    PRIV_CHAIN,     /* PEM of certificate `index`                                                                  */
    PRIV_KEY,       /* its key                                                                                     */
    PRIV_OCSP,      /* the response to staple with it; no descriptor and the reason in text when there is none (yet) */
    PRIV_FRONT,     /* PEM of the certificates, alone, in the file offload.certificates[index]                     */
    PRIV_USERS,     /* the users file                                                                              */
    PRIV_LISTENERS, /* start only: listening sockets of worker `index`: listen.address, then offload.listen, in order */
    PRIV_TUN,       /* start, or a reload that adds the VPN: one queue for each worker                             */
    PRIV_CONTROL,   /* start only: the listening control socket                                                    */
    PRIV_SITE,      /* abstract name of the built-in site's socket for web entry `index`, in text (without the NUL) */
    PRIV_READY,     /* start only, once: the engine serves; tell whoever waits                                     */
    PRIV_RELOAD,    /* read the configuration again; until COMMIT or DROP, requests are about the new one          */
    PRIV_COMMIT,
    PRIV_DROP,
    PRIV_FAIL, /* start only: the engine cannot start; text says why, index is the exit status                */
    PRIV_REQUESTS
};

struct priv_msg {
    uint32_t type; /* enum priv_request */
    uint32_t index;
    int32_t status;           /* answer: 0 or enum err */
    uint32_t n_fds;           /* answer */
    char text[PRIV_TEXT_MAX]; /* NUL-terminated */
};

/*
 * Both return ERR_CLOSED when the other side is gone. fds may be NULL when none are expected: then extra ones are
 * closed.
 */
MUST_USE int priv_send(int channel, const struct priv_msg *m, const int *fds);
MUST_USE int priv_recv(int channel, struct priv_msg *m, int *fds, unsigned fds_max);

/* Engine side: one request and its answer. Returns the answer's status, or ERR_CLOSED. */
MUST_USE int priv_ask(int channel, enum priv_request type, uint32_t index, struct priv_msg *answer, int *fds,
                      unsigned fds_max);

/* Reads a memory file whole: malloc'ed, with a NUL after it; wipe it if secret. Closes fd. */
MUST_USE int priv_take_blob(int fd, char **data, size_t *len);
/* Makes a sealed memory file. */
MUST_USE int priv_make_blob(const void *data, size_t len, int *fd);

#endif
