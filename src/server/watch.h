/*
 * Files that are watched for change: the monitor looks at what a path leads to, not at the path, so that a rename, a
 * write in place and a swapped symbolic link (of the file or of a folder above it) are all seen, on any file system.
 *
 * A change is reported once it has been quiet for WATCH_QUIET_MS: a certificate and its key are seldom written at once.
 * What never comes to rest is reported after WATCH_MOST_MS nevertheless.
 */
#ifndef GH_SERVER_WATCH_H
#define GH_SERVER_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/err.h"

#define WATCH_IDLE_MS  1000 /* between two looks while nothing happens */
#define WATCH_BUSY_MS  50   /* while a change settles */
#define WATCH_QUIET_MS 200
#define WATCH_MOST_MS  3000

struct watch_mark { /* what stat(2) told about a file; all zero: it is not there */
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec changed, written;
};

struct watch {
    struct watch_item {
        char *path;
        struct watch_mark mark;
    } * item;
    size_t n;
    uint64_t first_ms, last_ms; /* when the change that settles began, and when it was seen going on; 0: none */
};

/* Takes the paths (NULLs are left out, copies are made) and how they are now. On ERR_NOMEM w is empty. */
MUST_USE int watch_set(struct watch *w, const char *const *paths, size_t n);
void watch_clear(struct watch *w);

/* Looks. True when there was a change and it has come to rest. */
MUST_USE bool watch_look(struct watch *w, uint64_t now_ms);

/* Milliseconds until the next look; -1: nothing is watched. */
int watch_wait_ms(const struct watch *w);

#endif
