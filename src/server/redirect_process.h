/*
 * The process `gatehouse: redirect`: the companion on port 80 (web/redirect.h), unprivileged, without keys, and without
 * any way into the engine.
 *
 * For the monitor: redirect_process_start() once, before the engine (it binds ports and reports what an operator can
 * mend); redirect_process_child() for every child that ended, as with the sites; redirect_process_stop() at the end.
 * A struct of zeros is one that was never started: both may be called on it. Addresses and folder are those of the
 * start: a changed listen.redirect or listen.acme-webroot needs a restart.
 */
#ifndef GH_SERVER_REDIRECT_PROCESS_H
#define GH_SERVER_REDIRECT_PROCESS_H

#include <sys/types.h>

#include "server/config.h"
#include "priv/process.h"

struct redirect_process {
    bool used;
    pid_t pid; /* 0: none */
    int info;  /* sealed memory file that tells the process what it was given */
    int listen_fds[CONFIG_REDIRECT_MAX];
    unsigned n;
    int webroot_fd; /* -1: no ACME challenges */
    long restarted_s;
};

/* Does nothing when cfg names no listen.redirect. On failure err tells the place and the remedy, and nothing is left.
 */
MUST_USE int redirect_process_start(struct redirect_process *p, const struct config *cfg, int self,
                                    const struct process_user *user, char *err, size_t cap);
/* A child ended: if it is this one, starts it again (at most once a second). */
void redirect_process_child(struct redirect_process *p, pid_t pid, int self, const struct process_user *user);
void redirect_process_stop(struct redirect_process *p);

/* Where plain HTTP is redirected to: 443 when listen.address has it, else the port of its first address. */
uint16_t redirect_process_https_port(const struct config *cfg);

/* The process itself: descriptor 3 tells how many listening sockets follow and whether a folder comes after them. */
int redirect_main(void);

#endif
