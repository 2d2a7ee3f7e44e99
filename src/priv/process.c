#include "priv/process.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define STOP_MS 1000 /* that a child which was told to end may take */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

int process_user_find(const char *name, struct process_user *out)
{
    struct passwd *pw = getpwnam(name);
    if (!pw || pw->pw_uid == 0)
        return ERR_USAGE;
    *out = (struct process_user){ pw->pw_uid, pw->pw_gid };
    return 0;
}

/* In the child, between fork and exec: only what is safe there, and nothing that can be left half done. */
static void become(int self, const struct process_user *user, const char *argv0, int *fds, unsigned n_fds, pid_t parent)
{
    /* First out of the way of the numbers that they shall get, then to them. */
    for (unsigned i = 0; i < n_fds; i++)
        if ((fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 100)) < 0)
            return;
    if ((self = fcntl(self, F_DUPFD_CLOEXEC, 100)) < 0)
        return;
    for (unsigned i = 0; i < n_fds; i++)
        if (dup2(fds[i], 3 + (int)i) < 0)
            return;
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
        return;
    if (null > 2 && (unsigned)null >= 3 + n_fds)
        close(null);
    /*
     * What whoever started us left open is not for them; everything of ours has the mark already. Linux before 5.11
     * cannot.
     */
    syscall(SYS_close_range, 3 + n_fds, ~0U, CLOSE_RANGE_CLOEXEC);
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent)
        return;
    capng_clear(CAPNG_SELECT_BOTH);
    if (capng_change_id((int)user->uid, (int)user->gid, CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_BOUNDING) < 0)
        return;
    /* Changing ids clears it. */
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || getppid() != parent)
        return;
    if (setuid(0) == 0)
        return;
    char name[64];
    snprintf(name, sizeof name, "%s", argv0);
    char *const argv[] = { name, NULL };
    char *env[5] = { (char[]){ "PATH=/usr/sbin:/usr/bin:/sbin:/bin" }, NULL };
    const char *keep[] = { "JOURNAL_STREAM", "ASAN_OPTIONS", "UBSAN_OPTIONS" };
    static char kept[3][512];
    for (int i = 0, n = 1; i < (SANITIZED ? 3 : 1); i++)
        if (getenv(keep[i])) {
            snprintf(kept[i], sizeof kept[i], "%s=%s", keep[i], getenv(keep[i]));
            env[n++] = kept[i];
        }
    syscall(SYS_execveat, self, "", argv, env, AT_EMPTY_PATH);
}

pid_t process_spawn(int self, const struct process_user *user, const char *argv0, const int *fds, unsigned n_fds)
{
    int copy[8];
    if (n_fds > 8)
        return -1;
    if (n_fds)
        memcpy(copy, fds, n_fds * sizeof(int));
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid)
        return pid;
    become(self, user, argv0, copy, n_fds, parent);
    log_error(NULL, "spawn-failed", "cannot start an unprivileged process", LOG_S("reason", strerror(errno)));
    _exit(1);
}

void process_reap(pid_t pid)
{
    const struct timespec tick = { 0, 10 * 1000000 };
    for (int ms = 0; ms < STOP_MS; ms += 10) {
        if (waitpid(pid, NULL, WNOHANG) != 0)
            return;
        nanosleep(&tick, NULL);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

void process_hide(void)
{
    struct rlimit none = { 0, 0 };
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
}

/* Denies every use of the file system by name, but reading: everywhere, or below dir_fd when that is not -1. */
static void landlock_close_in(int dir_fd, bool read_all)
{
    struct landlock_ruleset_attr attr = {
        .handled_access_fs = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |
                             LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                             LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                             LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                             LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM,
    };
    if (read_all)
        attr.handled_access_fs &= ~(uint64_t)(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR);
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (ruleset < 0) {
        log_info(NULL, "sandbox", "this kernel has no Landlock: seccomp and the empty account stand alone");
        return;
    }
    if (dir_fd >= 0) {
        struct landlock_path_beneath_attr below = {
            .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
            .parent_fd = dir_fd,
        };
        syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &below, 0);
    }
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        log_warn(NULL, "sandbox", "Landlock refused the rules", LOG_S("reason", strerror(errno)));
    close(ruleset);
}

/* What both roles need: sockets that exist, memory, threads, time, their log. */
/* clang-format off */
static const int calls_common[] = {
    SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(pread64), SCMP_SYS(close),
    SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(shutdown),
    SCMP_SYS(accept4), SCMP_SYS(accept), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(getsockname),
    SCMP_SYS(getpeername), SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
    SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(eventfd2), SCMP_SYS(pipe2), SCMP_SYS(mmap), SCMP_SYS(munmap),
    SCMP_SYS(mremap), SCMP_SYS(mprotect), SCMP_SYS(madvise), SCMP_SYS(brk), SCMP_SYS(futex), SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq), SCMP_SYS(exit), SCMP_SYS(exit_group),
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigtimedwait),
    SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall), SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(getrandom), SCMP_SYS(getpid),
    SCMP_SYS(gettid), SCMP_SYS(tgkill), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(fcntl),
    SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(lseek), SCMP_SYS(prctl), SCMP_SYS(getrusage),
    SCMP_SYS(sysinfo), SCMP_SYS(prlimit64), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid),
};
/* clang-format on */

static const int calls_engine[] = { SCMP_SYS(connect), SCMP_SYS(timerfd_settime), SCMP_SYS(splice) };
static const int calls_client[] = { SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(timerfd_settime) };
static const int calls_resolver[] = { SCMP_SYS(connect),   SCMP_SYS(bind),       SCMP_SYS(open),
                                      SCMP_SYS(openat),    SCMP_SYS(stat),       SCMP_SYS(statx),
                                      SCMP_SYS(access),    SCMP_SYS(faccessat),  SCMP_SYS(faccessat2),
                                      SCMP_SYS(readlink),  SCMP_SYS(uname),      SCMP_SYS(sendmmsg),
                                      SCMP_SYS(recvmmsg),  SCMP_SYS(getdents64), SCMP_SYS(getppid),
                                      SCMP_SYS(socketpair) };
static const int calls_site[] = { SCMP_SYS(openat2), SCMP_SYS(sendfile), SCMP_SYS(epoll_create), SCMP_SYS(eventfd) };

static int allow(scmp_filter_ctx ctx, const int *calls, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0) < 0)
            return ERR_SYSTEM;
    return 0;
}

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/*
 * Calls of which a part would be a way out: typing into the terminal that we were started from, name spaces of one's
 * own, packet sockets.
 */
static int allow_in_part(scmp_filter_ctx ctx, enum sandbox_role role)
{
    static const unsigned ioctls[] = { FIONBIO, FIONREAD, FIOCLEX, TCGETS };
    static const int families[] = { AF_INET, AF_INET6, AF_UNIX, AF_NETLINK };
    static const size_t allowed[] = {
        [SANDBOX_ENGINE] = 3, [SANDBOX_SITE] = 0, [SANDBOX_CLIENT] = 2, [SANDBOX_RESOLVER] = 4
    };
    size_t n_families = allowed[role];
    const uint64_t spaces =
        CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
    int rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, spaces, 0));
    /* Its flags are in memory, where no filter sees them; without it the C library uses clone. */
    if (rc >= 0 && role != SANDBOX_RESOLVER) /* where that is what becomes of all others */
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    for (size_t i = 0; rc >= 0 && i < COUNT(ioctls); i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, SCMP_A1(SCMP_CMP_EQ, ioctls[i]));
    for (size_t i = 0; rc >= 0 && i < n_families; i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, (uint64_t)families[i]));
    return rc < 0 ? ERR_SYSTEM : 0;
}

static int seccomp_close_in(enum sandbox_role role)
{
    /* One of the many modules of the C library's resolver may look for more: it is told that there is none. */
    scmp_filter_ctx ctx = seccomp_init(role == SANDBOX_RESOLVER ? SCMP_ACT_ERRNO(ENOSYS) : SCMP_ACT_KILL_PROCESS);
    if (!ctx)
        return ERR_SYSTEM;
    const struct {
        const int *calls;
        size_t n;
    } more[] = {
        [SANDBOX_ENGINE] = { calls_engine, COUNT(calls_engine) },
        [SANDBOX_SITE] = { calls_site, COUNT(calls_site) },
        [SANDBOX_CLIENT] = { calls_client, COUNT(calls_client) },
        [SANDBOX_RESOLVER] = { calls_resolver, COUNT(calls_resolver) },
    };
    int rc = allow(ctx, calls_common, COUNT(calls_common));
    if (!rc)
        rc = allow(ctx, more[role].calls, more[role].n);
    if (!rc)
        rc = allow_in_part(ctx, role);
    /* Libraries that look for a file (localisation, CPU topology) are told that there is none. */
    const int absent[] = { SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(readlink), SCMP_SYS(access),
                           SCMP_SYS(stat), SCMP_SYS(statx),  SCMP_SYS(faccessat) };
    for (size_t i = 0; !rc && role != SANDBOX_RESOLVER && i < COUNT(absent); i++)
        if (seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOENT), absent[i], 0) < 0)
            rc = ERR_SYSTEM;
    if (!rc && seccomp_load(ctx) < 0)
        rc = ERR_SYSTEM;
    seccomp_release(ctx);
    return rc;
}

int process_sandbox(enum sandbox_role role, int readable_dir_fd)
{
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    landlock_close_in(readable_dir_fd, role == SANDBOX_RESOLVER);
    return SANITIZED ? 0 : seccomp_close_in(role);
}
