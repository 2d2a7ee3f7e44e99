#include "server/site_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/ct.h"
#include "base/log.h"
#include "server/monitor.h"
#include "web/site.h"

static bool same_root(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static int listen_abstract(char *name, size_t cap)
{
    uint8_t raw[10];
    char hex[21];
    if (getrandom(raw, sizeof raw, 0) != (ssize_t)sizeof raw)
        return -1;
    hex_encode(raw, sizeof raw, hex);
    snprintf(name, cap, "gatehouse-%s", hex);
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    memcpy(un.sun_path + 1, name, strlen(name));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
    if (fd >= 0 && (bind(fd, (struct sockaddr *)&un, len) < 0 || listen(fd, 1024) < 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

static void spawn(struct site_process *p, int self, const struct process_user *user)
{
    int fds[2] = { p->listen_fd, p->root_fd };
    p->pid = process_spawn(self, user, PROCESS_SITE, fds, p->root_fd >= 0 ? 2 : 1);
}

static int open_one(struct site_process *p, const struct config_web *w, int self, const struct process_user *user,
                    char *err, size_t cap)
{
    *p = (struct site_process){ .listen_fd = -1, .root_fd = -1, .used = true };
    if (w->root) {
        p->root = strdup(w->root);
        p->root_fd = open(w->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (p->root_fd < 0) {
            snprintf(err, cap, "%.100s:%d: web root %.100s: %s", w->file, w->line, w->root, strerror(errno));
            return ERR_USAGE;
        }
    }
    p->listen_fd = listen_abstract(p->name, sizeof p->name);
    if (p->listen_fd >= 0)
        spawn(p, self, user);
    if (p->listen_fd < 0 || p->pid <= 0) {
        snprintf(err, cap, "cannot start the built-in site: %s", strerror(errno));
        return ERR_SYSTEM;
    }
    return 0;
}

static void close_one(struct site_process *p)
{
    if (!p->used)
        return;
    if (p->pid > 0)
        kill(p->pid, SIGTERM);
    if (p->listen_fd >= 0)
        close(p->listen_fd);
    if (p->root_fd >= 0)
        close(p->root_fd);
    free(p->root);
    *p = (struct site_process){ .listen_fd = -1, .root_fd = -1 };
}

static struct site_process *find(struct site_set *old, const char *root)
{
    for (unsigned i = 0; old && i < CONFIG_WEB_MAX; i++)
        if (old->site[i].used && !old->site[i].shared && same_root(old->site[i].root, root))
            return &old->site[i];
    return NULL;
}

int site_set_start(struct site_set *s, const struct config *cfg, struct site_set *old, int self,
                   const struct process_user *user, char *err, size_t cap)
{
    memset(s, 0, sizeof *s);
    for (unsigned i = 0; i < cfg->n_web; i++) {
        const struct config_web *w = &cfg->web[i];
        if (w->upstream.len)
            continue;
        struct site_process *had = find(old, w->root);
        int rc = 0;
        if (had) {
            s->site[i] = *had;
            s->site[i].shared = had->shared = true;
        } else {
            rc = open_one(&s->site[i], w, self, user, err, cap);
        }
        if (rc) {
            if (old)
                site_set_finish(old, s, false);
            else
                site_set_stop(s);
            return rc;
        }
    }
    return 0;
}

void site_set_finish(struct site_set *now, struct site_set *next, bool commit)
{
    struct site_set *drop = commit ? now : next, *keep = commit ? next : now;
    for (unsigned i = 0; i < CONFIG_WEB_MAX; i++) {
        if (!drop->site[i].shared)
            close_one(&drop->site[i]);
        keep->site[i].shared = false;
    }
    if (commit)
        *now = *next;
    memset(next, 0, sizeof *next);
}

void site_set_stop(struct site_set *s)
{
    pid_t pid[CONFIG_WEB_MAX];
    for (unsigned i = 0; i < CONFIG_WEB_MAX; i++) {
        pid[i] = s->site[i].used ? s->site[i].pid : 0;
        close_one(&s->site[i]);
    }
    for (unsigned i = 0; i < CONFIG_WEB_MAX; i++)
        if (pid[i] > 0)
            process_reap(pid[i]);
}

static struct site_process *find_pid(struct site_set *s, pid_t pid)
{
    for (unsigned i = 0; s && i < CONFIG_WEB_MAX; i++)
        if (s->site[i].used && s->site[i].pid == pid)
            return &s->site[i];
    return NULL;
}

void site_set_child(struct site_set *now, struct site_set *next, pid_t pid, int self, const struct process_user *user)
{
    struct site_process *in_now = find_pid(now, pid), *in_next = find_pid(next, pid), *p = in_now ? in_now : in_next;
    if (!p)
        return;
    long at = (long)time(NULL);
    log_error(NULL, "site-died", "the built-in site's process ended and is started again", LOG_S("root", p->root));
    if (p->restarted_s == at)
        sleep(1);
    p->restarted_s = at;
    spawn(p, self, user);
    if (in_now && in_next) {
        in_next->pid = p->pid; /* a reload has taken it over: both know the new one */
        in_next->restarted_s = at;
    }
}

int site_set_name(const struct site_set *s, unsigned web, char *out, size_t cap)
{
    if (web >= CONFIG_WEB_MAX || !s->site[web].used)
        return ERR_USAGE;
    snprintf(out, cap, "%s", s->site[web].name);
    return 0;
}

int site_main(void)
{
    struct site *site;
    int root = fcntl(4, F_GETFD) >= 0 ? 4 : -1;
    process_hide();
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (process_sandbox(SANDBOX_SITE, root)) {
        log_error(NULL, "site-failed", "the sandbox cannot be set up");
        return 1;
    }
    if (site_start(3, root, &site)) {
        log_error(NULL, "site-failed", "the built-in site cannot start");
        return 1;
    }
    int sig;
    /* Ctrl-C and a hang-up reach the whole terminal's group: the monitor decides, by SIGTERM. */
    while (sigwait(&set, &sig) == 0 && sig != SIGTERM)
        continue;
    site_stop(site);
    return 0;
}
