#include "server/redirect_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "server/monitor.h"
#include "server/monitor_setup.h"
#include "server/priv.h"
#include "web/redirect.h"

#define BACKLOG  256
#define INFO_FD  3
#define FIRST_FD 4 /* the listening sockets, then the folder */

_Static_assert(CONFIG_REDIRECT_MAX <= REDIRECT_LISTEN_MAX, "the process takes what the configuration may name");
_Static_assert(CONFIG_REDIRECT_MAX + 2 <= 8, "process_spawn() passes eight descriptors");

/* ---- the monitor's side ---- */

static int bind_one(const struct config_addr *a)
{
    int one = 1;
    int fd = socket(a->u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (a->u.sa.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (bind(fd, &a->u.sa, a->len) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int e = errno;
    close(fd);
    errno = e;
    return -1;
}

static uint16_t addr_port(const struct config_addr *a)
{
    return ntohs(a->u.sa.sa_family == AF_INET6 ? a->u.in6.sin6_port : a->u.in.sin_port);
}

uint16_t redirect_process_https_port(const struct config *cfg)
{
    for (size_t i = 0; i < cfg->listen.n_address; i++)
        if (addr_port(&cfg->listen.address[i]) == 443)
            return 443;
    return cfg->listen.n_address ? addr_port(&cfg->listen.address[0]) : 443;
}

static void spawn(struct redirect_process *p, int self, const struct process_user *user)
{
    int fds[2 + CONFIG_REDIRECT_MAX];
    unsigned n = 0;
    fds[n++] = p->info;
    for (unsigned i = 0; i < p->n; i++)
        fds[n++] = p->listen_fds[i];
    if (p->webroot_fd >= 0)
        fds[n++] = p->webroot_fd;
    p->pid = process_spawn(self, user, PROCESS_REDIRECT, fds, n);
}

static int open_all(struct redirect_process *p, const struct config *cfg, char *err, size_t cap)
{
    char info[64];
    for (; p->n < cfg->listen.n_redirect; p->n++) {
        const struct config_addr *a = &cfg->listen.redirect[p->n];
        p->listen_fds[p->n] = bind_one(a);
        if (p->listen_fds[p->n] < 0) {
            snprintf(err, cap, "%s:%d: listen.redirect %s: %s: %s", a->file, a->line, a->text, strerror(errno),
                     setup_bind_remedy(errno));
            return ERR_SYSTEM;
        }
    }
    if (cfg->listen.acme_webroot) {
        p->webroot_fd = open(cfg->listen.acme_webroot, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (p->webroot_fd < 0) {
            snprintf(err, cap, "%s: listen.acme-webroot %s: %s: make the folder", cfg->origin.file,
                     cfg->listen.acme_webroot, strerror(errno));
            return ERR_USAGE;
        }
    }
    int len = snprintf(info, sizeof info, "%u %d %u", p->n, p->webroot_fd >= 0, redirect_process_https_port(cfg));
    if (priv_make_blob(info, (size_t)len, &p->info)) {
        snprintf(err, cap, "cannot start the redirect process: %s", strerror(errno));
        return ERR_SYSTEM;
    }
    return 0;
}

int redirect_process_start(struct redirect_process *p, const struct config *cfg, int self,
                           const struct process_user *user, char *err, size_t cap)
{
    *p = (struct redirect_process){ .info = -1, .webroot_fd = -1 };
    if (!cfg->listen.n_redirect)
        return 0;
    p->used = true;
    int rc = open_all(p, cfg, err, cap);
    if (!rc) {
        spawn(p, self, user);
        if (p->pid <= 0) {
            snprintf(err, cap, "cannot start the redirect process: %s", strerror(errno));
            rc = ERR_SYSTEM;
        }
    }
    if (rc) {
        redirect_process_stop(p);
        return rc;
    }
    for (unsigned i = 0; i < p->n; i++)
        log_notice(NULL, "listening", "redirecting to https", LOG_S("address", cfg->listen.redirect[i].text));
    return 0;
}

void redirect_process_child(struct redirect_process *p, pid_t pid, int self, const struct process_user *user)
{
    if (!p->used || p->pid != pid)
        return;
    long at = (long)time(NULL);
    log_error(NULL, "redirect-died", "the process that redirects to https ended and is started again");
    if (p->restarted_s == at)
        sleep(1);
    p->restarted_s = at;
    spawn(p, self, user);
}

void redirect_process_stop(struct redirect_process *p)
{
    if (!p->used)
        return;
    if (p->pid > 0) {
        kill(p->pid, SIGTERM);
        process_reap(p->pid);
    }
    for (unsigned i = 0; i < p->n; i++)
        close(p->listen_fds[i]);
    if (p->webroot_fd >= 0)
        close(p->webroot_fd);
    if (p->info >= 0)
        close(p->info);
    *p = (struct redirect_process){ .info = -1, .webroot_fd = -1 };
}

/* ---- the process ---- */

/* What open_all() wrote; closes the file. */
static bool take_info(unsigned *n, bool *webroot, uint16_t *https_port)
{
    char *text;
    size_t len;
    int folder;
    if (priv_take_blob(INFO_FD, &text, &len))
        return false;
    bool good = sscanf(text, "%u %d %hu", n, &folder, https_port) == 3 && *n && *n <= CONFIG_REDIRECT_MAX;
    *webroot = folder;
    free(text);
    return good;
}

int redirect_main(void)
{
    struct redirect *r;
    unsigned n;
    bool has_webroot;
    uint16_t https_port;
    int fds[CONFIG_REDIRECT_MAX], webroot, sig;
    process_hide();
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (!take_info(&n, &has_webroot, &https_port)) {
        log_error(NULL, "redirect-failed", "started without what it needs");
        return 1;
    }
    for (unsigned i = 0; i < n; i++)
        fds[i] = FIRST_FD + (int)i;
    webroot = has_webroot ? FIRST_FD + (int)n : -1;
    if (process_sandbox(SANDBOX_SITE, webroot)) {
        log_error(NULL, "redirect-failed", "the sandbox cannot be set up");
        return 1;
    }
    if (redirect_start(fds, n, webroot, https_port, NULL, &r)) {
        log_error(NULL, "redirect-failed", "the redirect to https cannot start");
        return 1;
    }
    /* Ctrl-C and a hang-up reach the whole terminal's group: the monitor decides, by SIGTERM. */
    while (sigwait(&set, &sig) == 0 && sig != SIGTERM)
        continue;
    redirect_stop(r);
    return 0;
}
