/* Starting a process of our own without privileges, and closing it in. */
#ifndef GH_PRIV_PROCESS_H
#define GH_PRIV_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

struct process_user {
    uid_t uid;
    gid_t gid;
};

/* ERR_USAGE when there is no such account or it is root. */
MUST_USE int process_user_find(const char *name, struct process_user *out);

/*
 * Forks, becomes the user (no supplementary groups, no capabilities, no_new_privs), keeps stderr and the given
 * descriptors (as 3, 4, ...) and nothing else, and executes this very program file again with argv0. The child dies
 * with its parent (SIGTERM). self: an O_PATH descriptor of the program. Returns the pid or -1.
 */
pid_t process_spawn(int self, const struct process_user *user, const char *argv0, const int *fds, unsigned n_fds);

/* Waits for a child that was told to end; one that does not within a second is killed. */
void process_reap(pid_t pid);

/*
 * Closes the calling process in for good: no new files by name (Landlock, where the kernel has it), only the system
 * calls that its role needs (seccomp; another one kills the process). Sanitizer builds leave seccomp out. Threads
 * started later inherit it.
 */
enum sandbox_role {
    SANDBOX_ENGINE,   /* the server's: sockets, no files */
    SANDBOX_SITE,     /* files below one folder, no new sockets */
    SANDBOX_CLIENT,   /* as the engine, without new Unix sockets; and bind(), to ask whether an address is ours still */
    SANDBOX_RESOLVER, /* the C library's resolver: reads files, speaks to name servers and name service daemons. Another
                         call fails, as on a system that has none: its modules are not ours to know */
};
MUST_USE int process_sandbox(enum sandbox_role role, int readable_dir_fd);

/* No core dumps, no ptrace by the same user. */
void process_hide(void);

#endif
