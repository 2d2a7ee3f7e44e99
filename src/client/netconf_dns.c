/* Name servers of a call: told to systemd-resolved where that runs, else written into resolv.conf and taken out again.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "client/netconf_parts.h"

#define RESOLVED       "/run/systemd/resolve"
#define RESOLVECTL_MS  5000 /* it talks to a service on the same machine */
#define RESOLVECTL_ERR 160  /* characters of what it says */
#define HEAD           "# Written by gatehouse connect (%s). What stood here comes back when the call ends.\n"

/* ---- resolvectl ---- */

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Reads what the program says until it ends; false: it did not within the time, or failed. */
static bool wait_bounded(pid_t pid, int out, char *err, size_t cap)
{
    int64_t end = now_ms() + RESOLVECTL_MS, left;
    size_t have = 0;
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), status = 0;
    struct pollfd p[2] = { { pidfd, POLLIN, 0 }, { out, POLLIN, 0 } };
    while ((left = end - now_ms()) > 0) {
        int n = poll(p, 2, (int)left);
        if (n < 0 && errno != EINTR)
            break;
        char chunk[128];
        ssize_t got = n > 0 && p[1].revents ? read(out, chunk, sizeof chunk) : 0;
        for (ssize_t i = 0; i < got && have + 1 < cap; i++)
            err[have++] = chunk[i];
        if (p[1].revents && got <= 0)
            p[1].fd = -1;
        if (n > 0 && (p[0].revents || pidfd < 0) && p[1].fd < 0)
            break;
        if (n > 0 && p[0].revents && got <= 0)
            break; /* a child of its own may hold the pipe */
    }
    if (left <= 0) {
        kill(pid, SIGKILL);
        have = (size_t)snprintf(err, cap, "no answer within %d s", RESOLVECTL_MS / 1000);
    }
    err[have < cap ? have : cap - 1] = 0;
    err[strcspn(err, "\n")] = 0;
    if (pidfd >= 0)
        close(pidfd);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return left > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* The child gets nothing of ours: a fixed environment, signals as they are by default, no descriptors. */
static int spawn_plain(pid_t *pid, const char *program, char *const argv[], int err_fd)
{
    char *const env[] = { (char[]){ "PATH=/usr/sbin:/usr/bin:/sbin:/bin" }, (char[]){ "LC_ALL=C" }, NULL };
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&fa, 0, 1);
    posix_spawn_file_actions_adddup2(&fa, err_fd, 2);
    posix_spawn_file_actions_addclosefrom_np(&fa, 3);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int rc = posix_spawn(pid, program, &fa, &attr, argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&fa);
    return rc;
}

/* resolvectl VERB INTERFACE [A [B]]. err: its own words. */
static int resolvectl(const struct netconf *n, const char *verb, char *a, char *b, char *err, size_t cap)
{
    static const char *const places[] = { "/usr/bin/resolvectl", "/bin/resolvectl" };
    const char *program = n->cfg->resolvectl;
    char name[] = "resolvectl", word[24], interface[NETCONF_NAME_MAX + 1];
    for (size_t i = 0; !program && i < sizeof places / sizeof *places; i++)
        program = access(places[i], X_OK) ? NULL : places[i];
    if (!program)
        return netconf_fail(ERR_SYSTEM, err, cap, "there is no resolvectl");
    snprintf(word, sizeof word, "%s", verb);
    snprintf(interface, sizeof interface, "%s", n->cfg->interface);
    char *const argv[] = { name, word, interface, a, a ? b : NULL, NULL };
    int out[2];
    pid_t pid;
    if (pipe2(out, O_CLOEXEC) < 0)
        return netconf_fail(ERR_SYSTEM, err, cap, "%s", strerror(errno));
    int rc = spawn_plain(&pid, program, argv, out[1]);
    close(out[1]);
    bool ok = !rc && wait_bounded(pid, out[0], err, cap);
    close(out[0]);
    if (rc)
        return netconf_fail(ERR_SYSTEM, err, cap, "%s: %s", program, strerror(rc));
    return ok ? 0 : ERR_SYSTEM;
}

static void server_text(char out[INET_ADDRSTRLEN], uint32_t dns)
{
    struct in_addr a = config_ip4(dns);
    inet_ntop(AF_INET, &a, out, INET_ADDRSTRLEN);
}

static void resolvectl_down(const struct netconf *n)
{
    char err[RESOLVECTL_ERR];
    if (resolvectl(n, "revert", NULL, NULL, err, sizeof err))
        log_info(NULL, "dns-revert", "resolvectl cannot revert; the name servers go with the interface",
                 LOG_S("reason", err));
}

/*
 * With a default route every name goes to the tunnel's servers alone ("~."). With listed routes the tunnel is asked
 * beside the other links, and whoever knows the name answers.
 */
static int resolvectl_up(const struct netconf *n, char *err, size_t cap)
{
    char first[INET_ADDRSTRLEN], second[INET_ADDRSTRLEN] = "", all[] = "~.", yes[] = "yes", ignored[RESOLVECTL_ERR];
    server_text(first, n->dns[0]);
    if (n->n_dns > 1)
        server_text(second, n->dns[1]);
    int rc = resolvectl(n, "dns", first, *second ? second : NULL, err, cap);
    if (!rc && n->cfg->default_route)
        rc = resolvectl(n, "domain", all, NULL, err, cap);
    if (!rc && resolvectl(n, "default-route", yes, NULL, ignored, sizeof ignored))
        log_debug(NULL, "dns-default-route", "resolvectl of before systemd 240", LOG_S("reason", ignored));
    return rc;
}

/* ---- resolv.conf ---- */

/* The whole file in new memory. ERR_LIMIT: too long to keep. */
static int file_all(int fd, uint8_t **out, size_t *len)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return ERR_SYSTEM;
    if (!S_ISREG(st.st_mode) || st.st_size > NETCONF_RESOLV_MAX) {
        errno = S_ISREG(st.st_mode) ? EFBIG : EINVAL;
        return ERR_LIMIT;
    }
    *out = malloc((size_t)st.st_size + 1);
    if (!*out)
        return ERR_NOMEM;
    ssize_t n = pread(fd, *out, (size_t)st.st_size, 0);
    *len = n > 0 ? (size_t)n : 0;
    return n < 0 ? ERR_SYSTEM : 0;
}

/* In place: the file may be a bind mount, and keeps its mode and owner. First the text, then the length. */
static int file_rewrite(int fd, const uint8_t *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = pwrite(fd, text + at, len - at, (off_t)at);
        if (n < 0 && errno != EINTR)
            return ERR_SYSTEM;
        at += n > 0 ? (size_t)n : 0;
    }
    return ftruncate(fd, (off_t)len) < 0 ? ERR_SYSTEM : 0;
}

static bool same(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    return a_len == b_len && !memcmp(a, b, a_len);
}

/* Is `have` what file_rewrite() leaves when it is killed after `over` and before the length: the end of `under`? */
static bool overlaid(const uint8_t *have, size_t len, const uint8_t *over, size_t over_len, const uint8_t *under,
                     size_t under_len)
{
    return under_len > over_len && len == under_len && !memcmp(have, over, over_len) &&
           !memcmp(have + over_len, under + over_len, under_len - over_len);
}

bool netconf_dns_restore(const struct netconf_resolv *r, const char *interface)
{
    uint8_t *have = NULL;
    size_t len = 0;
    if (!r->path[0])
        return false;
    int fd = open(r->path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    int rc = fd < 0 ? ERR_SYSTEM : file_all(fd, &have, &len);
    const char *why = rc ? strerror(errno) : "";
    bool ours = !rc && (same(have, len, r->ours, r->ours_len) ||
                        overlaid(have, len, r->ours, r->ours_len, r->was, r->was_len) ||
                        overlaid(have, len, r->was, r->was_len, r->ours, r->ours_len));
    bool untouched = !rc && same(have, len, r->was, r->was_len);
    if (ours && !r->was_there)
        rc = unlink(r->path) < 0 ? ERR_SYSTEM : 0;
    else if (ours)
        rc = file_rewrite(fd, r->was, r->was_len);
    if (ours && rc)
        why = strerror(errno);
    if (rc || (!ours && !untouched))
        log_warn(NULL, "dns-left", rc ? "the name servers of the call stay" : "somebody else wrote it meanwhile: left",
                 LOG_S("path", r->path), LOG_S("interface", interface), LOG_S("reason", why));
    free(have);
    if (fd >= 0)
        close(fd);
    return ours && !rc;
}

void netconf_dns_orphan(const char *path, const char *interface)
{
    char head[160], have[160] = "";
    int len = snprintf(head, sizeof head, HEAD, interface);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? 0 : pread(fd, have, sizeof have - 1, 0);
    if (fd >= 0)
        close(fd);
    if (n >= len && !memcmp(have, head, (size_t)len))
        log_warn(NULL, "dns-left", "a call's name servers stand there, and what was before is lost with its state file",
                 LOG_S("path", path), LOG_S("interface", interface));
}

/* The lines that say how short names are completed; those work with any server. */
static size_t keep_lines(char *out, const uint8_t *text, size_t len)
{
    size_t at = 0;
    for (const uint8_t *line = text, *end = text + len; line < end;) {
        const uint8_t *nl = memchr(line, '\n', (size_t)(end - line));
        size_t n = nl ? (size_t)(nl - line) : (size_t)(end - line);
        if ((n > 7 && !memcmp(line, "search ", 7)) || (n > 7 && !memcmp(line, "domain ", 7))) {
            memcpy(out + at, line, n);
            at += n;
            out[at++] = '\n';
        }
        line += n + (nl ? 1 : 0);
    }
    return at;
}

static int text_make(const struct netconf *n, struct netconf_resolv *r)
{
    char first[INET_ADDRSTRLEN], second[INET_ADDRSTRLEN] = "";
    char *text = malloc(r->was_len + 512);
    if (!text)
        return ERR_NOMEM;
    server_text(first, n->dns[0]);
    if (n->n_dns > 1)
        server_text(second, n->dns[1]);
    int head = snprintf(text, 500, HEAD "nameserver %s\n%s%s%s", n->cfg->interface, first, *second ? "nameserver " : "",
                        second, *second ? "\n" : "");
    r->ours_len = (size_t)head + keep_lines(text + head, r->was, r->was_len);
    r->ours = (uint8_t *)text;
    return r->ours_len > NETCONF_RESOLV_MAX ? ERR_LIMIT : 0;
}

/* Where the open file stands, every link followed: the state names it, and the undoing follows none. */
static int path_of(int fd, struct netconf_resolv *r)
{
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, r->path, sizeof r->path - 1);
    if (n > 0)
        r->path[n] = 0;
    if (n > 0 && (size_t)n < sizeof r->path - 1 && r->path[0] == '/')
        return 0;
    r->path[0] = 0;
    errno = ENAMETOOLONG;
    return ERR_SYSTEM;
}

static int resolv_conf_up(struct netconf *n, char *err, size_t cap)
{
    struct netconf_resolv *r = &n->state.resolv;
    struct stat st;
    const char *path = n->cfg->resolv_conf;
    r->was_there = stat(path, &st) == 0;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (r->was_there ? 0 : O_CREAT), 0644);
    if (fd < 0)
        return netconf_fail(ERR_SYSTEM, err, cap, "%s: %s: make it writable, or set tunnel.dns to off or resolvectl",
                            path, strerror(errno));
    int rc = file_all(fd, &r->was, &r->was_len);
    if (!rc)
        rc = text_make(n, r);
    if (!rc)
        rc = path_of(fd, r);
    if (!rc)
        rc = netconf_state_save(n->cfg->folder, n->cfg->interface, &n->state);
    if (rc) {
        netconf_fail(rc, err, cap, "%s: cannot keep what stands there: %s: set tunnel.dns to off", path,
                     strerror(errno));
        if (!r->was_there)
            unlink(path);
        r->path[0] = 0;
    } else {
        n->dns_way = NETCONF_WAY_RESOLV_CONF;
        rc = file_rewrite(fd, r->ours, r->ours_len);
        if (rc)
            netconf_fail(rc, err, cap, "%s: %s: make room, or set tunnel.dns to off", path, strerror(errno));
    }
    close(fd);
    return rc;
}

int netconf_dns_up(struct netconf *n, char *err, size_t cap)
{
    char why[RESOLVECTL_ERR] = "";
    enum netconf_dns how = n->cfg->dns;
    if (how == NETCONF_DNS_OFF || !n->n_dns)
        return 0;
    bool runs = access(n->cfg->resolved ? n->cfg->resolved : RESOLVED, F_OK) == 0;
    if (how == NETCONF_DNS_RESOLVECTL || (how == NETCONF_DNS_AUTO && runs)) {
        n->dns_way = NETCONF_WAY_RESOLVECTL;
        if (!resolvectl_up(n, why, sizeof why))
            return 0;
        if (how == NETCONF_DNS_RESOLVECTL)
            return netconf_fail(ERR_SYSTEM, err, cap,
                                "resolvectl: %s: start systemd-resolved, or set tunnel.dns to resolv.conf or off", why);
        log_info(NULL, "dns-resolvectl", "resolvectl does not take the name servers; resolv.conf does",
                 LOG_S("reason", why));
        resolvectl_down(n);
        n->dns_way = NETCONF_WAY_NONE;
    }
    return resolv_conf_up(n, err, cap);
}

void netconf_dns_down(struct netconf *n)
{
    switch (n->dns_way) {
    case NETCONF_WAY_NONE: break;
    case NETCONF_WAY_RESOLVECTL: resolvectl_down(n); break;
    case NETCONF_WAY_RESOLV_CONF: netconf_dns_restore(&n->state.resolv, n->cfg->interface); break;
    }
    n->dns_way = NETCONF_WAY_NONE;
}
