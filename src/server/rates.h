/*
 * What the calls of one user share, on whichever workers they are: the buckets of the user's rates. Only of users that
 * have a rate. Thread-safe.
 */
#ifndef GH_SERVER_RATES_H
#define GH_SERVER_RATES_H

#include <pthread.h>

#include "base/list.h"
#include "ip/bucket.h"

struct rates {
    struct bucket up, down; /* any thread's */
    unsigned calls;         /* this and what follows under the table's lock */
    UT_hash_handle hh;
    char user[];
};

struct rates_table {
    pthread_mutex_t lock;
    struct rates *all; /* uthash */
};

/* The user's, made for the first call; name as the users file has it. NULL: out of memory. Each is given back once. */
struct rates *rates_get(struct rates_table *t, const char *user);
void rates_put(struct rates_table *t, struct rates *r); /* r may be NULL */

#endif
