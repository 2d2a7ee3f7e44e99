/* The processes of the built-in site: one for each web entry without an upstream, unprivileged, without keys. */
#ifndef GH_SERVER_SITE_PROCESS_H
#define GH_SERVER_SITE_PROCESS_H

#include <sys/types.h>

#include "server/config.h"
#include "priv/process.h"

struct site_process {
    pid_t pid;     /* 0: none */
    int listen_fd; /* kept, so that a new process can take over the name */
    int root_fd;   /* -1: the welcome page */
    char *root;    /* path, NULL: the welcome page */
    char name[32]; /* abstract socket name, without the leading NUL */
    bool used;
    bool shared; /* taken over from the set in force */
    long restarted_s;
};

struct site_set {
    struct site_process site[CONFIG_WEB_MAX];
};

/*
 * Starts what cfg needs; a site with the same root is taken over from `old` (NULL: none). On failure nothing new is
 * left.
 */
MUST_USE int site_set_start(struct site_set *s, const struct config *cfg, struct site_set *old, int self,
                            const struct process_user *user, char *err, size_t cap);
/* After a reload: *next replaces *now (commit), or what only next has is ended. */
void site_set_finish(struct site_set *now, struct site_set *next, bool commit);
void site_set_stop(struct site_set *s);
/* A child ended: starts it again (at most once a second). next: the set of a reload under way, or NULL. */
void site_set_child(struct site_set *now, struct site_set *next, pid_t pid, int self, const struct process_user *user);
MUST_USE int site_set_name(const struct site_set *s, unsigned web, char *out, size_t cap);

/* The process itself: descriptors 3 (listening socket) and 4 (folder, if there is one). */
int site_main(void);

#endif
