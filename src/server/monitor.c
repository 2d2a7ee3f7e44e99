#include "server/monitor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/ct.h"
#include "base/log.h"
#include "priv/open.h"
#include "priv/process.h"
#include "server/config.h"
#include "server/monitor_setup.h"
#include "server/priv.h"
#include "server/redirect_process.h"
#include "server/site_process.h"
#include "server/watch.h"

#define FRONT_FILE_MAX (1 << 20) /* bytes */
#define STOP_GRACE_S   7         /* the engine takes up to 5 s to hang up */
#define TWICE_S        2         /* sooner it is the same wish, sent to us and to our group: `timeout` does so */

struct monitor {
    const char *path;
    struct config *cfg;  /* in force */
    struct config *next; /* being loaded, else NULL */
    struct process_user user;
    int self;    /* O_PATH of the program */
    int channel; /* -1: the engine is not started or gone */
    pid_t engine;
    int signals;
    struct setup setup;
    struct site_set sites, next_sites;
    struct redirect_process redirect;
    struct watch watch, next_watch; /* files of cfg and of next */
    bool next_inside;               /* next has a VPN and cfg has none: it is open already */
    bool started;                   /* PRIV_READY came */
    bool stopping;
    time_t kill_at;
    int exit_status;
};

/* Of this process (0) or, when a reload needs more, of the engine. */
static void raise_limits(const struct config *cfg, pid_t pid)
{
    /* Each relayed connection takes two descriptors, and four more where pipes hold what a slow side does not take. */
    rlim_t each = cfg->n_pass ? 6 : 2;
    rlim_t want = (rlim_t)cfg->limits.connections * each + (rlim_t)cfg->vpn.max_calls + 1024;
    struct rlimit r = { want, want }, had;
    if (prlimit(pid, RLIMIT_NOFILE, NULL, &had) < 0 || had.rlim_cur >= want ||
        prlimit(pid, RLIMIT_NOFILE, &r, NULL) == 0)
        return;
    if (had.rlim_max < want)
        log_info(NULL, "limit", "cannot raise the number of open files: fewer connections will be possible",
                 LOG_N("wanted", want), LOG_N("allowed", had.rlim_max),
                 LOG_S("remedy", "raise fs.nr_open and the service's LimitNOFILE, or lower limits.connections"));
    had.rlim_cur = had.rlim_max < want ? had.rlim_max : want;
    prlimit(pid, RLIMIT_NOFILE, &had, NULL);
}

/* ---- answers ---- */

static void answer_blob(struct priv_msg *out, int *fds, const void *data, size_t len)
{
    out->status = priv_make_blob(data, len, &fds[0]);
    out->n_fds = out->status ? 0 : 1;
    if (out->status)
        snprintf(out->text, sizeof out->text, "out of memory files");
}

/* text: where the operator wrote the file's name, for messages about what is in it. */
static void answer_file(struct priv_msg *out, int *fds, const char *file, int line, const char *path)
{
    char *data, err[300];
    size_t len;
    out->status = priv_read_file(path, &data, &len, err, sizeof err);
    if (out->status) {
        snprintf(out->text, sizeof out->text, "%s:%d: %s", file, line, err);
        return;
    }
    snprintf(out->text, sizeof out->text, "%s:%d", file, line);
    answer_blob(out, fds, data, len);
    secret_free(data, len);
}

/* Moves the certificates of a PEM text to its front, cut ones as they are; returns the bytes that they take. */
static size_t certificates_alone(char *data, size_t len)
{
    static const char begin[] = "-----BEGIN CERTIFICATE-----", any[] = "-----BEGIN";
    size_t kept = 0;
    const char *end = data + len, *from;
    for (const char *at = data; (from = memmem(at, (size_t)(end - at), begin, sizeof begin - 1));) {
        at = from + sizeof begin - 1;
        const char *next = memmem(at, (size_t)(end - at), any, sizeof any - 1);
        size_t n = (size_t)((next ? next : end) - from);
        memmove(data + kept, from, n);
        kept += n;
        at = next ? next : end;
    }
    return kept;
}

/*
 * The certificates in a front's file and nothing else: it often holds a private key too, which is not for the engine.
 * What is too large to be such a file is not handed on.
 */
static void answer_front(struct priv_msg *out, int *fds, const char *file, int line, const char *path)
{
    char *data, err[300];
    size_t len;
    out->status = priv_read_file(path, &data, &len, err, sizeof err);
    if (out->status) {
        snprintf(out->text, sizeof out->text, "%s:%d: %s", file, line, err);
        return;
    }
    snprintf(out->text, sizeof out->text, "%s:%d", file, line);
    if (len > FRONT_FILE_MAX) {
        out->status = ERR_USAGE;
        snprintf(out->text, sizeof out->text, "%s:%d: %s is larger than 1 MiB: no PEM file with certificates", file,
                 line, path);
    } else {
        size_t n = certificates_alone(data, len);
        answer_blob(out, fds, n ? data : "\n", n ? n : len > 0); /* the engine says what is wrong with it */
    }
    secret_free(data, len);
}

/* A file that may be missing. */
static void answer_optional(struct priv_msg *out, int *fds, const char *file, int line, const char *path)
{
    if (access(path, F_OK) < 0 && errno == ENOENT) {
        out->status = 0;
        snprintf(out->text, sizeof out->text, "%s:%d: %s is not there", file, line, path);
    } else {
        answer_file(out, fds, file, line, path);
    }
}

/* The files whose change the engine is told of: all that a certificate is made of, and the certificates of a front. */
static int watch_files(struct watch *w, const struct config *cfg)
{
    const char *path[3 * CONFIG_CERTS_MAX + CONFIG_FRONT_MAX];
    size_t n = 0;
    for (size_t i = 0; i < cfg->n_certs; i++) {
        path[n++] = cfg->certs[i].chain;
        path[n++] = cfg->certs[i].key;
        path[n++] = cfg->certs[i].ocsp;
    }
    for (size_t i = 0; i < cfg->offload.n_cert; i++)
        path[n++] = cfg->offload.cert[i].hash_len ? NULL : cfg->offload.cert[i].text;
    return watch_set(w, path, n);
}

static void answer_config(const struct config *cfg, struct priv_msg *out, int *fds)
{
    char *text = config_print(cfg);
    snprintf(out->text, sizeof out->text, "%s", cfg->origin.path);
    if (text)
        answer_blob(out, fds, text, strlen(text));
    else
        out->status = ERR_NOMEM;
    free(text);
}

static void answer_reload(struct monitor *m, struct priv_msg *out)
{
    struct config_error err;
    if (m->next) {
        out->status = ERR_USAGE;
        snprintf(out->text, sizeof out->text, "another reload is under way");
        return;
    }
    out->status = config_load(m->path, &m->next, &err);
    if (out->status) {
        m->next = NULL;
        snprintf(out->text, sizeof out->text, "%s", err.text);
        return;
    }
    config_restart_needed(m->cfg, m->next, out->text, sizeof out->text);
    char why[400] = "out of memory";
    out->status = watch_files(&m->next_watch, m->next);
    if (!out->status)
        out->status = site_set_start(&m->next_sites, m->next, &m->sites, m->self, &m->user, why, sizeof why);
    if (!out->status && m->next->vpn_on && !m->cfg->vpn_on) {
        out->status = setup_inside_open(&m->setup, m->next, why, sizeof why);
        m->next_inside = !out->status;
        if (out->status)
            site_set_finish(&m->sites, &m->next_sites, false);
    }
    if (out->status) {
        watch_clear(&m->next_watch);
        snprintf(out->text, sizeof out->text, "%s", why);
        config_free(m->next);
        m->next = NULL;
    }
}

static void end_reload(struct monitor *m, bool commit)
{
    if (!m->next)
        return;
    site_set_finish(&m->sites, &m->next_sites, commit);
    if (m->next_inside && commit)
        setup_close_tun(&m->setup); /* the engine has them */
    else if (m->next_inside)
        setup_inside_undo(&m->setup);
    m->next_inside = false;
    config_free(commit ? m->cfg : m->next);
    if (commit) {
        m->cfg = m->next;
        watch_clear(&m->watch);
        m->watch = m->next_watch;
        m->next_watch = (struct watch){ 0 };
        log_setup(m->cfg->log.level, m->cfg->log.format, !getenv("JOURNAL_STREAM"));
        raise_limits(m->cfg, m->engine);
    }
    watch_clear(&m->next_watch);
    m->next = NULL;
}

static void answer(struct monitor *m, const struct priv_msg *ask, struct priv_msg *out, int *fds)
{
    const struct config *cfg = m->next ? m->next : m->cfg;
    struct config_place users = config_place(cfg, &cfg->vpn.users);
    bool at_start = !m->started;
    uint32_t i = ask->index;
    out->status = ERR_USAGE;
    if (ask->type >= PRIV_REQUESTS)
        return;
    switch ((enum priv_request)ask->type) {
    case PRIV_CONFIG:
        out->status = 0;
        answer_config(cfg, out, fds);
        return;
    case PRIV_CHAIN:
    case PRIV_KEY:
        if (i < cfg->n_certs)
            answer_file(out, fds, cfg->certs[i].file, cfg->certs[i].line,
                        ask->type == PRIV_KEY ? cfg->certs[i].key : cfg->certs[i].chain);
        return;
    case PRIV_OCSP:
        if (i < cfg->n_certs && cfg->certs[i].ocsp)
            answer_optional(out, fds, cfg->certs[i].file, cfg->certs[i].line, cfg->certs[i].ocsp);
        return;
    case PRIV_FRONT:
        if (i < cfg->offload.n_cert && !cfg->offload.cert[i].hash_len)
            answer_front(out, fds, cfg->offload.cert[i].file, cfg->offload.cert[i].line, cfg->offload.cert[i].text);
        return;
    case PRIV_USERS:
        if (cfg->vpn_on)
            answer_file(out, fds, users.file, users.line, cfg->vpn.users);
        return;
    case PRIV_LISTENERS:
        if (at_start && i < m->setup.threads)
            out->status = setup_take_listeners(&m->setup, i, fds, &out->n_fds);
        return;
    case PRIV_TUN:
        if ((at_start || m->next_inside) && i < m->setup.threads)
            out->status = setup_take_tun(&m->setup, i, fds, &out->n_fds);
        out->index = tun_offload_pack(m->setup.offload);
        return;
    case PRIV_STEER:
        if (at_start || m->next_inside)
            out->status = setup_take_steer(&m->setup, fds, &out->n_fds);
        snprintf(out->text, sizeof out->text, "%s", m->setup.steer_why);
        return;
    case PRIV_CONTROL:
        if (at_start)
            out->status = setup_take_control(&m->setup, fds, &out->n_fds);
        return;
    case PRIV_SITE:
        if (i < cfg->n_web)
            out->status = site_set_name(m->next ? &m->next_sites : &m->sites, i, out->text, sizeof out->text);
        return;
    case PRIV_READY:
        if (at_start) {
            m->started = true;
            out->status = 0;
            setup_close_given(&m->setup);
            log_notice(NULL, "ready", "serving", LOG_S("config", m->path), LOG_N("workers", m->setup.threads));
        }
        return;
    case PRIV_RELOAD:
        if (!at_start)
            answer_reload(m, out);
        return;
    case PRIV_COMMIT:
    case PRIV_DROP:
        end_reload(m, ask->type == PRIV_COMMIT);
        out->status = 0;
        return;
    case PRIV_FAIL:
        if (at_start) {
            log_error(NULL, "start-failed", ask->text);
            m->exit_status = ask->index == 2 ? 2 : 1;
            m->stopping = true;
            out->status = 0;
        }
        return;
    case PRIV_REQUESTS: return;
    }
}

static bool is_lent(enum priv_request type)
{
    return type == PRIV_LISTENERS || type == PRIV_TUN || type == PRIV_STEER || type == PRIV_CONTROL;
}

/* One request; false when the engine is gone. */
static bool serve_request(struct monitor *m)
{
    struct priv_msg ask = { 0 }, out = { 0 };
    int fds[PRIV_FDS_MAX];
    if (priv_recv(m->channel, &ask, NULL, 0))
        return false;
    out.type = ask.type;
    answer(m, &ask, &out, fds);
    int rc = priv_send(m->channel, &out, fds);
    if (!is_lent(ask.type))
        for (unsigned i = 0; i < out.n_fds; i++)
            close(fds[i]); /* NOLINT(clang-analyzer-core.CallAndMessage): answer() filled n_fds of them */
    return rc == 0;
}

/* ---- life ---- */

static void signal_engine(struct monitor *m, int sig)
{
    if (m->engine > 0)
        kill(m->engine, sig);
}

static void on_child(struct monitor *m)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == m->engine) {
            m->engine = 0;
            bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
            if (!m->stopping || (!good && m->started)) {
                log_error(
                    NULL, "engine-died", "the engine process ended unexpectedly",
                    LOG_N("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0),
                    LOG_N("status", WIFEXITED(status) ? WEXITSTATUS(status) : 0),
                    LOG_S("remedy", "report this with the log lines before it; the service manager may restart it"));
                m->exit_status = 1;
            }
        } else if (!m->stopping) {
            redirect_process_child(&m->redirect, pid, m->self, &m->user);
            site_set_child(&m->sites, m->next ? &m->next_sites : NULL, pid, m->self, &m->user);
        }
    }
}

static void on_signal(struct monitor *m)
{
    struct signalfd_siginfo si;
    if (read(m->signals, &si, sizeof si) != (ssize_t)sizeof si)
        return;
    switch (si.ssi_signo) {
    case SIGCHLD: on_child(m); break;
    case SIGHUP: signal_engine(m, SIGHUP); break;
    default:
        if (!m->stopping) {
            m->stopping = true;
            m->kill_at = time(NULL) + STOP_GRACE_S;
            signal_engine(m, SIGTERM);
        } else if (time(NULL) >= m->kill_at - STOP_GRACE_S + TWICE_S) {
            signal_engine(m, SIGKILL); /* asked twice */
        }
    }
}

static uint64_t monotonic_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void loop(struct monitor *m)
{
    while (m->engine > 0) {
        struct pollfd p[2] = { { m->signals, POLLIN, 0 }, { m->channel, POLLIN, 0 } };
        bool watching = m->started && !m->stopping && !m->next;
        int n = poll(p, m->channel >= 0 ? 2 : 1, m->stopping ? 500 : watching ? watch_wait_ms(&m->watch) : -1);
        if (watching && watch_look(&m->watch, monotonic_ms()))
            signal_engine(m, SIGUSR1); /* it asks for the files again */
        if (n < 0 && errno != EINTR)
            break;
        if (n > 0 && (p[0].revents & POLLIN))
            on_signal(m);
        if (n > 0 && m->channel >= 0 && p[1].revents && !serve_request(m)) {
            close(m->channel);
            m->channel = -1;
        }
        if (m->stopping && m->kill_at && time(NULL) >= m->kill_at) {
            log_warn(NULL, "stop-forced", "the engine did not end in time and is killed");
            m->kill_at = 0;
            signal_engine(m, SIGKILL);
        }
    }
}

static int start_engine(struct monitor *m)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return ERR_SYSTEM;
    m->engine = process_spawn(m->self, &m->user, PROCESS_ENGINE, &pair[1], 1);
    close(pair[1]);
    m->channel = pair[0];
    return m->engine > 0 ? 0 : ERR_SYSTEM;
}

static int block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int prepare(struct monitor *m, char *err, size_t cap)
{
    if (geteuid() != 0) {
        snprintf(err, cap,
                 "serve needs root to open port 443 and the VPN's interface (it gives that up for everything "
                 "that talks to the network): run it with sudo or from the service manager");
        return ERR_SYSTEM;
    }
    if (process_user_find(m->cfg->worker.user, &m->user)) {
        snprintf(err, cap,
                 "%s: worker.user = \"%s\": there is no such account, or it is root: create it with "
                 "`useradd --system --no-create-home %s`",
                 m->path, m->cfg->worker.user, m->cfg->worker.user);
        return ERR_USAGE;
    }
    m->self = open("/proc/self/exe", O_PATH | O_CLOEXEC);
    m->signals = block_signals();
    if (m->self < 0 || m->signals < 0) {
        snprintf(err, cap, "cannot start: %s", strerror(errno));
        return ERR_SYSTEM;
    }
    raise_limits(m->cfg, 0);
    int rc = setup_open(&m->setup, m->cfg, err, cap);
    if (!rc)
        rc = site_set_start(&m->sites, m->cfg, NULL, m->self, &m->user, err, cap);
    if (!rc)
        rc = redirect_process_start(&m->redirect, m->cfg, m->self, &m->user, err, cap);
    if (!rc && watch_files(&m->watch, m->cfg)) {
        snprintf(err, cap, "out of memory");
        rc = ERR_NOMEM;
    }
    if (!rc && start_engine(m)) {
        snprintf(err, cap, "cannot start the engine process: %s", strerror(errno));
        rc = ERR_SYSTEM;
    }
    return rc;
}

int monitor_run(const char *config_path)
{
    struct monitor m = { .path = config_path, .channel = -1, .self = -1, .signals = -1 };
    struct config_error cerr;
    char err[400];
    log_never_wait();
    if (config_load(config_path, &m.cfg, &cerr)) {
        log_error(NULL, "start-failed", cerr.text);
        return 2;
    }
    log_setup(m.cfg->log.level, m.cfg->log.format, !getenv("JOURNAL_STREAM"));
    umask(022);
    process_hide();
    int rc = prepare(&m, err, sizeof err);
    if (rc) {
        log_error(NULL, "start-failed", err);
        m.exit_status = rc == ERR_USAGE ? 2 : 1;
        m.stopping = true;
        signal_engine(&m, SIGKILL);
    }
    loop(&m);
    redirect_process_stop(&m.redirect);
    site_set_stop(&m.sites);
    watch_clear(&m.watch);
    setup_undo(&m.setup);
    if (m.started)
        log_notice(NULL, "stopped", "everything is undone", LOG_N("status", m.exit_status));
    if (m.channel >= 0)
        close(m.channel);
    if (m.self >= 0)
        close(m.self);
    if (m.signals >= 0)
        close(m.signals);
    config_free(m.next);
    config_free(m.cfg);
    return m.exit_status;
}
