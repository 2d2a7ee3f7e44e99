#include "client/monitor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/ct.h"
#include "base/log.h"
#include "client/causes.h"
#include "client/netconf.h"
#include "client/report.h"
#include "priv/open.h"
#include "priv/process.h"

#define STOP_GRACE_S 8 /* the engine takes up to 7 s to hang up */
#define TWICE_S      2 /* sooner it is the same wish, sent to us and to our group: `timeout` does so */
#define CRL_FILES    1000
#define ACCOUNT      "gatehouse" /* the default of worker.user */

struct client_monitor {
    const struct client_config *cfg;
    const struct client_secrets *secrets;
    enum client_mode mode;
    struct process_user user;
    int self, channel, signals, control;
    char *control_path;
    struct netconf *net;
    pid_t engine, resolver;
    bool stopping;
    time_t kill_at;
    int exit_status;
};

/* ---- answers ---- */

static void answer_blob(struct priv_msg *out, int *fd, const void *data, size_t len)
{
    out->status = priv_make_blob(data, len, fd);
    out->n_fds = out->status ? 0 : 1;
    if (out->status)
        snprintf(out->text, sizeof out->text, "out of memory files");
}

static void answer_text(struct priv_msg *out, int *fd, const char *text)
{
    out->status = 0;
    if (text)
        answer_blob(out, fd, text, strlen(text));
}

static void answer_file(struct priv_msg *out, int *fd, const char *path)
{
    char *data;
    size_t len;
    out->status = priv_read_file(path, &data, &len, out->text, sizeof out->text);
    if (out->status)
        return;
    answer_blob(out, fd, data, len);
    free(data);
}

/* The bundle of the system, where the distributions have it. */
static void answer_system_ca(struct priv_msg *out, int *fd)
{
    static const char *const places[] = { "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                          "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem" };
    out->status = 0;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (access(places[i], R_OK) == 0) {
            answer_file(out, fd, places[i]);
            return;
        }
}

static int is_list(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

/* File `index` of server.crl: the file itself, or one of a folder, by name. */
static void answer_crl(const struct client_config *cfg, uint32_t index, struct priv_msg *out, int *fd)
{
    struct stat st;
    struct dirent **list;
    out->status = 0;
    if (!cfg->server.crl)
        return;
    if (stat(cfg->server.crl, &st) < 0) {
        out->status = ERR_USAGE;
        snprintf(out->text, sizeof out->text, "server.crl: %s: %s", cfg->server.crl, strerror(errno));
        return;
    }
    if (!S_ISDIR(st.st_mode)) {
        if (index == 0)
            answer_file(out, fd, cfg->server.crl);
        return;
    }
    int n = scandir(cfg->server.crl, &list, is_list, alphasort);
    for (int i = 0; i < n; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", cfg->server.crl, list[i]->d_name);
        if ((uint32_t)i == index && i < CRL_FILES)
            answer_file(out, fd, path);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    if (index == 0 && n <= 0) {
        out->status = ERR_USAGE;
        snprintf(out->text, sizeof out->text, "server.crl: %s: there is no revocation list in this folder",
                 cfg->server.crl);
    }
}

static void answer_up(struct client_monitor *m, const struct priv_msg *ask, struct priv_msg *out)
{
    struct netconf_wish w;
    memcpy(&w, ask->text, sizeof w);
    out->status = netconf_up(m->net, &w, out->text, sizeof out->text);
    out->index = out->status && netconf_route_failed(m->net) ? CLIENT_UP_ROUTE : 0;
}

static void answer(struct client_monitor *m, const struct priv_msg *ask, struct priv_msg *out, int *fd)
{
    char *text;
    out->status = ERR_USAGE;
    if (ask->type >= CLIENT_REQUESTS)
        return;
    switch ((enum client_request)ask->type) {
    case CLIENT_CONFIG:
        text = client_config_print(m->cfg);
        out->index = m->mode;
        if (text)
            answer_text(out, fd, text);
        free(text);
        return;
    case CLIENT_PASSWORD: answer_text(out, fd, m->secrets->password); return;
    case CLIENT_PROXY_USER: answer_text(out, fd, m->secrets->proxy_user); return;
    case CLIENT_PROXY_PASSWORD: answer_text(out, fd, m->secrets->proxy_password); return;
    case CLIENT_CA:
        out->status = 0;
        if (m->cfg->server.ca)
            answer_file(out, fd, m->cfg->server.ca);
        return;
    case CLIENT_SYSTEM_CA: answer_system_ca(out, fd); return;
    case CLIENT_CRL: answer_crl(m->cfg, ask->index, out, fd); return;
    case CLIENT_TUN:
        out->status = netconf_tun(m->net, fd, out->text, sizeof out->text);
        out->n_fds = out->status ? 0 : 1;
        out->index = tun_offload_pack(netconf_offload(m->net));
        return;
    case CLIENT_CONTROL:
        if (m->control < 0)
            return;
        *fd = m->control;
        m->control = -1;
        out->status = 0;
        out->n_fds = 1;
        return;
    case CLIENT_UP: answer_up(m, ask, out); return;
    case CLIENT_DOWN:
        netconf_down(m->net);
        out->status = 0;
        return;
    case CLIENT_STATE: {
        char routes[PRIV_TEXT_MAX - 32];
        netconf_routes_text(m->net, routes, sizeof routes);
        snprintf(out->text, sizeof out->text, "%s %s", netconf_dns_way(m->net), routes);
        out->status = 0;
        return;
    }
    case CLIENT_REQUESTS: return;
    }
}

/* One request; false when the engine is gone. */
static bool serve_request(struct client_monitor *m)
{
    struct priv_msg ask = { 0 }, out = { 0 };
    int fd = -1;
    if (priv_recv(m->channel, &ask, NULL, 0))
        return false;
    out.type = ask.type;
    answer(m, &ask, &out, &fd);
    int rc = priv_send(m->channel, &out, &fd);
    if (out.n_fds)
        close(fd);
    return rc == 0;
}

/* ---- life ---- */

static void signal_engine(struct client_monitor *m, int sig)
{
    if (m->engine > 0)
        kill(m->engine, sig);
}

static void engine_died(struct client_monitor *m, int sig)
{
    struct client_end why;
    client_end_set(&why, CLIENT_INTERNAL, "the engine process ended by signal %d", sig);
    m->exit_status = client_causes[CLIENT_INTERNAL].exit_status;
    log_error(NULL, "engine-died", "the engine process ended unexpectedly", LOG_N("signal", sig),
              LOG_S("remedy", "report this with the log lines before it; the service manager may restart it"));
    if (m->mode == CLIENT_MODE_JSON) { /* who reads that waits for the last line */
        report_failed(&why, false);
        report_end(&why, m->exit_status);
    }
}

static void on_child(struct client_monitor *m)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == m->resolver)
            m->resolver = 0; /* the engine notices, and says so */
        if (pid != m->engine)
            continue;
        m->engine = 0;
        if (WIFEXITED(status))
            m->exit_status = WEXITSTATUS(status);
        else
            engine_died(m, WTERMSIG(status));
    }
}

static void on_signal(struct client_monitor *m)
{
    struct signalfd_siginfo si;
    if (read(m->signals, &si, sizeof si) != (ssize_t)sizeof si)
        return;
    if (si.ssi_signo == SIGCHLD) {
        on_child(m);
    } else if (!m->stopping) {
        m->stopping = true;
        m->kill_at = time(NULL) + STOP_GRACE_S;
        signal_engine(m, SIGTERM);
    } else if (time(NULL) >= m->kill_at - STOP_GRACE_S + TWICE_S) {
        signal_engine(m, SIGKILL); /* asked twice */
    }
}

static void loop(struct client_monitor *m)
{
    while (m->engine > 0) {
        struct pollfd p[3] = { { m->signals, POLLIN, 0 },
                               { netconf_watch_fd(m->net), POLLIN, 0 },
                               { m->channel, POLLIN, 0 } };
        int n = poll(p, 3, m->stopping ? 500 : -1);
        if (n < 0 && errno != EINTR)
            break;
        if (n > 0 && p[0].revents)
            on_signal(m);
        if (n > 0 && p[1].revents && netconf_watch(m->net) && !m->stopping)
            signal_engine(m, SIGUSR1);
        if (n > 0 && m->channel >= 0 && p[2].revents && !serve_request(m)) {
            close(m->channel);
            m->channel = -1; /* poll() passes over it */
        }
        if (m->stopping && m->kill_at && time(NULL) >= m->kill_at) {
            log_warn(NULL, "stop-forced", "the engine did not end in time and is killed");
            m->kill_at = 0;
            signal_engine(m, SIGKILL);
        }
    }
}

static int start_processes(struct client_monitor *m)
{
    int pair[2], names[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return ERR_SYSTEM;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, names) < 0) {
        close(pair[0]);
        close(pair[1]);
        return ERR_SYSTEM;
    }
    const int fds[3] = { pair[1], STDOUT_FILENO, names[0] };
    m->resolver = process_spawn(m->self, &m->user, PROCESS_RESOLVER, &names[1], 1);
    m->engine = process_spawn(m->self, &m->user, PROCESS_CLIENT, fds, 3);
    close(pair[1]);
    close(names[0]);
    close(names[1]);
    m->channel = pair[0];
    return m->engine > 0 && m->resolver > 0 ? 0 : ERR_SYSTEM;
}

static int block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    sigaddset(&set, SIGUSR1); /* for the engine, that inherits this: the network may change before it listens */
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return fd;
}

static int listen_control(struct client_monitor *m, char *err, size_t cap)
{
    if (asprintf(&m->control_path, "%s/%s.sock", m->cfg->control.folder, m->cfg->tunnel.interface) < 0) {
        m->control_path = NULL;
        snprintf(err, cap, "out of memory");
        return ERR_NOMEM;
    }
    int rc = priv_listen_control(m->control_path, "control.folder", &m->control, err, cap);
    if (rc) {
        free(m->control_path);
        m->control_path = NULL;
    }
    return rc;
}

static int prepare(struct client_monitor *m, struct netconf_cfg *nc, char *err, size_t cap)
{
    /* Tried before anything was installed: the account that every system has is not ours alone, but good enough. */
    bool found = process_user_find(m->cfg->worker.user, &m->user) == 0 ||
                 (!strcmp(m->cfg->worker.user, ACCOUNT) && process_user_find("nobody", &m->user) == 0);
    if (!found) {
        snprintf(err, cap,
                 "worker.user = \"%s\": there is no such account, or it is root: create it with "
                 "`useradd --system --no-create-home %s`",
                 m->cfg->worker.user, m->cfg->worker.user);
        return ERR_USAGE;
    }
    m->self = open("/proc/self/exe", O_PATH | O_CLOEXEC);
    m->signals = block_signals();
    if (m->self < 0 || m->signals < 0) {
        snprintf(err, cap, "cannot start: %s", strerror(errno));
        return ERR_SYSTEM;
    }
    *nc = (struct netconf_cfg){ .folder = m->cfg->control.folder,
                                .interface = m->cfg->tunnel.interface,
                                .offload = m->cfg->tunnel.offload == CONFIG_AUTO,
                                .routes = m->cfg->tunnel.route,
                                .n_routes = m->cfg->tunnel.n_route,
                                .default_route = m->cfg->tunnel.default_route,
                                .dns = (enum netconf_dns)m->cfg->tunnel.dns,
                                .resolv_conf = m->cfg->tunnel.resolv_conf };
    netconf_clean(nc->folder, nc->resolv_conf);
    int rc = netconf_new(nc, &m->net, err, cap);
    if (!rc)
        rc = listen_control(m, err, cap);
    if (!rc && start_processes(m)) {
        snprintf(err, cap, "cannot start a process: %s", strerror(errno));
        rc = ERR_SYSTEM;
    }
    return rc;
}

static void put_away(struct client_monitor *m)
{
    if (m->resolver > 0) {
        kill(m->resolver, SIGTERM);
        process_reap(m->resolver);
    }
    if (m->control_path)
        unlink(m->control_path); /* before the lock is given away: the next owner makes one of that name */
    free(m->control_path);
    netconf_free(m->net);
    const int fds[] = { m->channel, m->control, m->self, m->signals };
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

int client_monitor_run(const struct client_config *cfg, const struct client_secrets *secrets, enum client_mode mode)
{
    struct client_monitor m = {
        .cfg = cfg, .secrets = secrets, .mode = mode, .self = -1, .channel = -1, .signals = -1, .control = -1
    };
    struct netconf_cfg nc;
    char err[512];
    log_setup(cfg->log.level, cfg->log.format, !getenv("JOURNAL_STREAM"));
    report_setup(mode, STDOUT_FILENO);
    umask(022);
    process_hide();
    if (prepare(&m, &nc, err, sizeof err)) {
        struct client_end why;
        client_end_set(&why, CLIENT_LOCAL, "%s", err);
        why.ras = "";
        report_failed(&why, false);
        m.exit_status = client_causes[CLIENT_LOCAL].exit_status;
        report_end(&why, m.exit_status);
        signal_engine(&m, SIGKILL);
    }
    loop(&m);
    put_away(&m);
    return m.exit_status;
}
