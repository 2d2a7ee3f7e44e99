/*
 * The one family of error codes.
 *
 * Functions that can fail return int: 0, or one of these. The groups are what a caller acts on; the
 * detail is logged where the error is handled.
 */
#ifndef GH_BASE_ERR_H
#define GH_BASE_ERR_H

#define MUST_USE __attribute__((warn_unused_result))

enum err {
    ERR_OK = 0,
    ERR_AGAIN = -1,  /* would block, or more bytes are needed: try again later             */
    ERR_CLOSED = -2, /* the peer ended the stream in an orderly way                         */
    ERR_PEER = -3,   /* the peer broke the protocol: end this connection, count it          */
    ERR_AUTH = -4,   /* the peer is not who it says, or may not                             */
    ERR_LIMIT = -5,  /* a cap of ours was reached                                           */
    ERR_SYSTEM = -6, /* a system call or a library failed; errno is kept where it has sense */
    ERR_NOMEM = -7,  /* allocation failed: ends the call, never the daemon                  */
    ERR_USAGE = -8,  /* the operator or the caller asked for something wrong                */
    ERR_BUG = -9,    /* our own invariant broke                                             */
};

/* A few lower-case words for the group, never NULL. */
const char *err_name(int err);

#endif
