/*
 * Between OpenSSL and the socket: a BIO that can gather records, so that several of them take one system call. What the
 * socket did not take at once is kept, and goes before anything else.
 */
#ifndef GH_TLS_WIRE_H
#define GH_TLS_WIRE_H

#include <openssl/bio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct wire { /* a member of its owner's structure, at one place until the BIO is freed; zeros but for fd to begin with
               */
    int fd;
    bool eof;
    bool gathering;
    bool apart;    /* each send is a buffer of its own in the kernel */
    uint8_t *kept; /* NULL, or what waits for the socket: [kept_off, kept_len) */
    size_t kept_off, kept_len;
};

/* The caller's, or that of the SSL it is given to. NULL: out of memory. */
BIO *wire_bio(struct wire *w);

/*
 * From here to wire_send() what is written is gathered, in one buffer a thread: nothing else may gather on this thread
 * meanwhile. wire_room() says whether one more record of the largest size has room.
 */
void wire_gather(struct wire *w);
bool wire_room(const struct wire *w);

/*
 * Sends what is kept and what was gathered. ERR_AGAIN: the socket did not take it all; call it again when it is
 * writable. ERR_SYSTEM: errno; ERR_NOMEM.
 */
MUST_USE int wire_send(struct wire *w);

/* Adds to what is gathered; for who needs no BIO. n: at most a record of the largest size, and wire_room() said yes. */
void wire_put(struct wire *w, const void *buf, size_t n);

static inline bool wire_unsent(const struct wire *w)
{
    return w->kept;
}

void wire_fini(struct wire *w); /* forgets what is kept */

#endif
