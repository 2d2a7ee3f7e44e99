#include "server/engine.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/list.h"
#include "base/log.h"
#include "ctl/server.h"
#include "server/call.h"
#include "server/engine_ctl.h"
#include "server/priv.h"
#include "priv/process.h"
#include "server/worker.h"

#define TICK_S 60

/* ---- IPv6 interface identifiers of all calls ---- */

struct iid_entry {
    uint8_t iid[8];
    unsigned worker;
    struct call *call;
    UT_hash_handle hh;
};

int engine_iid_claim(struct engine *e, const uint8_t iid[8], unsigned worker, struct call *call)
{
    struct iid_entry *x = NULL;
    int rc = ERR_LIMIT;
    pthread_mutex_lock(&e->iid_lock);
    HASH_FIND(hh, e->iids, iid, 8, x);
    if (!x && (x = calloc(1, sizeof *x))) {
        memcpy(x->iid, iid, 8);
        x->worker = worker;
        x->call = call;
        HASH_ADD(hh, e->iids, iid, 8, x);
        if (x->hh.tbl) {
            steer_set6(&e->steer, iid, (int)worker);
            rc = 0;
        } else {
            free(x);
        }
    }
    pthread_mutex_unlock(&e->iid_lock);
    return rc;
}

void engine_iid_release(struct engine *e, const uint8_t iid[8])
{
    struct iid_entry *x = NULL;
    pthread_mutex_lock(&e->iid_lock);
    HASH_FIND(hh, e->iids, iid, 8, x);
    if (x) {
        HASH_DEL(e->iids, x);
        steer_drop6(&e->steer, iid, (int)x->worker);
    }
    pthread_mutex_unlock(&e->iid_lock);
    free(x);
}

int engine_iid_find(struct engine *e, const uint8_t iid[8], struct call **call)
{
    struct iid_entry *x = NULL;
    int owner = -1;
    pthread_mutex_lock(&e->iid_lock);
    HASH_FIND(hh, e->iids, iid, 8, x);
    if (x) {
        owner = (int)x->worker;
        *call = x->call;
    }
    pthread_mutex_unlock(&e->iid_lock);
    return owner;
}

/* ---- messages to workers ---- */

struct ip_msg {
    struct worker_msg m;
    uint32_t ip;
};

static void run_hangup_ip(struct worker *w, struct worker_msg *m)
{
    uint32_t slot = pool_slot(&w->engine->pool, ((struct ip_msg *)(void *)m)->ip);
    free(m);
    struct call *k = slot == UINT32_MAX ? NULL : w->by_slot[slot];
    if (k) {
        call_hangup(k, "replaced", "the same user dials again");
        call_settle(k);
    }
}

void engine_hangup_ip(struct engine *e, unsigned owner, uint32_t ip)
{
    struct ip_msg *msg = malloc(sizeof *msg);
    if (!msg)
        return;
    *msg = (struct ip_msg){ .m.run = run_hangup_ip, .ip = ip };
    worker_post(&e->worker[owner], &msg->m);
}

struct gen_msg {
    struct worker_msg m;
    struct generation *gen; /* one reference */
    struct worker_tun tun;  /* with by_slot */
    struct call **by_slot;  /* not NULL: this generation is the first with a VPN */
};

static void run_new_generation(struct worker *w, struct worker_msg *m)
{
    struct gen_msg *g = (struct gen_msg *)(void *)m;
    struct generation *old = w->gen;
    if (g->by_slot)
        worker_take_vpn(w, &g->tun, g->by_slot);
    w->gen = g->gen;
    worker_take_limits(w);
    generation_unref(old);
    free(m);
}

static void run_stop(struct worker *w, struct worker_msg *m)
{
    free(m);
    worker_begin_stop(w);
}

void engine_fail(struct engine *e)
{
    atomic_store(&e->failed, true);
    pthread_kill(e->control_thread, SIGTERM);
}

/* ---- reload ---- */

/* What only a restart changes stays as it is: pool and interface do not follow a reload. */
static void keep_fixed_parts(struct generation *g, const struct generation *old)
{
    g->ppp.server_ip4 = old->ppp.server_ip4;
    g->ppp.mtu = old->ppp.mtu;
    g->ppp.ipv6 = old->ppp.ipv6;
}

static int take_fds(struct engine *e, enum priv_request what, uint32_t index, int *fds, unsigned *n)
{
    struct priv_msg answer = { 0 };
    int rc = priv_ask(e->channel, what, index, &answer, fds, PRIV_FDS_MAX);
    *n = rc ? 0 : answer.n_fds;
    return rc;
}

/* The interface's queues of a worker, and what goes with them. */
static int take_tun(struct engine *e, unsigned worker, struct worker_tun *tun)
{
    struct priv_msg answer = { 0 };
    int rc = priv_ask(e->channel, PRIV_TUN, worker, &answer, tun->fd, TUN_QUEUES_WORKER);
    tun->n = rc ? 0 : answer.n_fds;
    e->tun_offload = tun_offload_unpack(rc ? 0 : answer.index);
    return rc ? rc : tun->n ? 0 : ERR_BUG;
}

/* With the pool there already. Without steering all goes on: workers hand packets to each other then. */
static void take_steering(struct engine *e, unsigned queues)
{
    struct priv_msg answer = { 0 };
    int fds[PRIV_FDS_MAX];
    int rc = priv_ask(e->channel, PRIV_STEER, 0, &answer, fds, PRIV_FDS_MAX);
    unsigned n = rc ? 0 : answer.n_fds;
    if (n == 2 && steer_map(&e->steer, fds[0], fds[1], e->pool.slots, queues))
        snprintf(answer.text, sizeof answer.text, "cannot map eBPF tables: %s", strerror(errno));
    snprintf(e->steer_why, sizeof e->steer_why, "%s", answer.text);
    while (n)
        close(fds[--n]);
    e->pool.steer = &e->steer;
}

/* The pool and each worker's part, when g is the first generation with a VPN. */
static int add_vpn(struct engine *e, const struct generation *g, struct gen_msg **msg)
{
    int rc = pool_init(&e->pool, g->cfg);
    unsigned ready = 0, queues = 0;
    for (; !rc && ready < e->n_workers; ready++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): publish() made n_workers of them */
        msg[ready]->by_slot = calloc(e->pool.slots + 1, sizeof(struct call *));
        rc = msg[ready]->by_slot ? take_tun(e, ready, &msg[ready]->tun) : ERR_NOMEM;
        queues = msg[ready]->tun.n;
    }
    if (!rc) {
        take_steering(e, queues);
        pool_reserve(&e->pool, g->users); /* before anybody can ask for an address */
        return 0;
    }
    while (ready--) {
        free(msg[ready]->by_slot);
        while (msg[ready]->tun.n)
            close(msg[ready]->tun.fd[--msg[ready]->tun.n]);
    }
    pool_fini(&e->pool);
    return rc;
}

static int publish(struct engine *e, struct generation *g)
{
    struct gen_msg *msg[CONFIG_THREADS_MAX] = { 0 };
    int rc = 0;
    unsigned n = 0;
    for (; !rc && n < e->n_workers; n++)
        rc = (msg[n] = calloc(1, sizeof *msg[n])) ? 0 : ERR_NOMEM;
    if (!rc && g->cfg->vpn_on && !e->gen->cfg->vpn_on)
        rc = add_vpn(e, g, msg);
    for (unsigned i = 0; i < n; i++) {
        if (rc) {
            free(msg[i]);
            continue;
        }
        msg[i]->m.run = run_new_generation;
        msg[i]->gen = generation_ref(g);
        worker_post(&e->worker[i], &msg[i]->m);
    }
    return rc;
}

/*
 * Frees those that nobody else has. Here, and not where the last connection of one ends: a worker has no time to wipe
 * and free a million users.
 */
static void bury(struct engine *e)
{
    struct generation **at = &e->retired, *g;
    while ((g = *at)) {
        if (generation_is_last(g)) {
            *at = g->next;
            generation_unref(g);
        } else {
            at = &g->next;
        }
    }
}

/* next is in force from now on. */
static void retire(struct engine *e, struct generation *next)
{
    bury(e);
    e->gen->next = e->retired;
    e->retired = e->gen;
    e->gen = next;
}

int engine_reload(struct engine *e, char *err, size_t cap)
{
    struct priv_msg answer = { 0 };
    struct generation *g = NULL;
    int status;
    pthread_mutex_lock(&e->reload_lock);
    int rc = priv_ask(e->channel, PRIV_RELOAD, 0, &answer, NULL, 0);
    snprintf(err, cap, "%s", answer.text);
    if (!rc) {
        char why[PRIV_TEXT_MAX] = "out of memory";
        rc = generation_load(e->channel, e->tickets, e->gen, &g, why, sizeof why, &status);
        if (!rc && !g->cfg->vpn_on && e->gen->cfg->vpn_on) {
            snprintf(why, sizeof why, "taking the vpn section away needs a restart");
            rc = ERR_USAGE;
        }
        if (!rc && !g->certs && e->gen->certs) { /* the sockets of listen.address stay, and have nothing to show */
            snprintf(why, sizeof why, "taking the last certificate away needs a restart");
            rc = ERR_USAGE;
        }
        if (!rc && e->gen->cfg->vpn_on)
            keep_fixed_parts(g, e->gen);
        if (!rc && (rc = publish(e, g)))
            snprintf(why, sizeof why, "%s", priv_error(rc));
        if (rc)
            snprintf(err, cap, "%s", why);
        struct priv_msg end = { 0 };
        int told = priv_ask(e->channel, rc ? PRIV_DROP : PRIV_COMMIT, 0, &end, NULL, 0);
        (void)told; /* a monitor that is gone ends us by signal */
    }
    if (rc) {
        generation_unref(g);
        snprintf(e->last_reload_error, sizeof e->last_reload_error, "%s", err);
        log_error(NULL, "reload-failed", "the new configuration is not used: the one before stays in force",
                  LOG_S("reason", err));
    } else {
        log_notice(NULL, "reload-done", "the new configuration is in force for new connections",
                   LOG_N("generation", g->number), LOG_S("restart_needed_for", err));
        cert_news_generation(&e->news, g, e->gen, time(NULL));
        retire(e, g);
        e->last_reload_error[0] = 0;
        if (g->users)
            pool_reserve(&e->pool, g->users);
        log_setup(g->cfg->log.level, g->cfg->log.format, !getenv("JOURNAL_STREAM"));
    }
    pthread_mutex_unlock(&e->reload_lock);
    return rc;
}

void engine_refresh(struct engine *e)
{
    struct generation *g = NULL;
    pthread_mutex_lock(&e->reload_lock);
    int rc = generation_refresh(e->channel, e->tickets, e->gen, &g);
    if (!rc)
        rc = publish(e, g);
    e->refresh_again = rc != 0;
    if (rc) {
        generation_unref(g);
        log_error(NULL, "reload-failed", "changed certificates are not used: the ones before stay in force",
                  LOG_S("reason", priv_error(rc)), LOG_S("remedy", "it is tried again in a minute"));
    } else {
        cert_news_generation(&e->news, g, e->gen, time(NULL));
        retire(e, g);
    }
    pthread_mutex_unlock(&e->reload_lock);
}

static void tick(struct engine *e)
{
    int64_t now_s = time(NULL);
    pthread_mutex_lock(&e->reload_lock);
    bury(e);
    cert_news_tick(&e->news, e->gen, now_s);
    bool refresh = e->refresh_again || (e->gen->again_s && e->gen->again_s <= now_s);
    pthread_mutex_unlock(&e->reload_lock);
    if (refresh)
        engine_refresh(e);
}

/* ---- life ---- */

static int fail(struct engine *e, int status, const char *text)
{
    struct priv_msg m = { 0 };
    snprintf(m.text, sizeof m.text, "%s", text);
    int rc = priv_ask(e->channel, PRIV_FAIL, (uint32_t)status, &m, NULL, 0);
    (void)rc;
    return status;
}

/* The number of workers is that of the listener sets that the monitor gives out. */
static int start_workers(struct engine *e)
{
    struct worker_tun tun[CONFIG_THREADS_MAX] = { 0 };
    int listeners[PRIV_FDS_MAX];
    unsigned n = 0;
    int rc = 0;
    e->worker = calloc(CONFIG_THREADS_MAX, sizeof *e->worker);
    if (!e->worker)
        return ERR_NOMEM;
    int all[CONFIG_THREADS_MAX][CONFIG_SOCKETS_MAX];
    for (unsigned got;
         !rc && e->n_workers < CONFIG_THREADS_MAX && !take_fds(e, PRIV_LISTENERS, e->n_workers, listeners, &got);) {
        memcpy(all[e->n_workers++], listeners, got * sizeof listeners[0]);
        n = got;
    }
    if (!e->n_workers)
        rc = ERR_BUG;
    for (unsigned i = 0; !rc && e->gen->cfg->vpn_on && i < e->n_workers; i++)
        rc = take_tun(e, i, &tun[i]);
    if (!rc && tun[0].n)
        take_steering(e, tun[0].n);
    for (unsigned i = 0; !rc && i < e->n_workers; i++)
        rc = worker_start(&e->worker[i], e, i, all[i], n, &tun[i]);
    return rc;
}

static void block_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* A signal, or -1 after a minute, or when a certificate that was kept back is valid at last. */
static int wait_signal(struct engine *e, const sigset_t *set)
{
    pthread_mutex_lock(&e->reload_lock);
    int64_t again_s = e->gen->again_s;
    pthread_mutex_unlock(&e->reload_lock);
    int64_t left_s = again_s ? again_s - time(NULL) : TICK_S;
    struct timespec wait = { left_s < 1 ? 1 : left_s < TICK_S ? left_s : TICK_S, 0 };
    return sigtimedwait(set, NULL, &wait);
}

static void serve(struct engine *e, const sigset_t *set)
{
    char err[PRIV_TEXT_MAX];
    int sig;
    /* SIGINT goes to the whole terminal's group: the monitor decides, by SIGTERM. */
    while ((sig = wait_signal(e, set)) != SIGTERM)
        if (sig == SIGHUP) {
            int rc = engine_reload(e, err, sizeof err);
            (void)rc; /* logged */
        } else if (sig == SIGUSR1) {
            engine_refresh(e);
        } else if (sig < 0 && errno == EAGAIN) {
            tick(e);
        }
}

static void stop_workers(struct engine *e)
{
    log_notice(NULL, "stopping", "hanging up", LOG_N("calls", atomic_load(&e->n_calls)));
    for (unsigned i = 0; i < e->n_workers; i++) {
        struct worker_msg *m = malloc(sizeof *m);
        if (!m)
            abort(); /* out of memory while going down */
        m->run = run_stop;
        worker_post(&e->worker[i], m);
    }
    for (unsigned i = 0; i < e->n_workers; i++)
        pthread_join(e->worker[i].thread, NULL);
    for (unsigned i = 0; i < e->n_workers; i++)
        worker_fini(&e->worker[i]);
}

static uint64_t monotonic_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int prepare(struct engine *e)
{
    char err[PRIV_TEXT_MAX] = "out of memory";
    int status;
    uint64_t key[2];
    if (digest_init())
        return fail(e, 1,
                    "OpenSSL's legacy provider (MD4 and DES for MS-CHAPv2) cannot be loaded: install the openssl "
                    "package with its ossl-modules/legacy.so");
    if (getrandom(key, sizeof key, 0) != (ssize_t)sizeof key)
        return fail(e, 1, "no randomness");
    hash_seed(key);
    e->tickets = tls_ticket_keys_new();
    if (!e->tickets)
        return fail(e, 1, "out of memory");
    if (generation_load(e->channel, e->tickets, NULL, &e->gen, err, sizeof err, &status))
        return fail(e, status, err);
    log_setup(e->gen->cfg->log.level, e->gen->cfg->log.format, !getenv("JOURNAL_STREAM"));
    cert_news_generation(&e->news, e->gen, NULL, time(NULL));
    if (e->gen->cfg->vpn_on) {
        if (pool_init(&e->pool, e->gen->cfg))
            return fail(e, 1, "out of memory for the address pool");
        pool_reserve(&e->pool, e->gen->users);
    }
    return 0;
}

int engine_main(void)
{
    struct engine e = { .channel = PRIV_CHANNEL_FD };
    struct ctl_server *ctl = NULL;
    sigset_t set;
    int control[PRIV_FDS_MAX];
    unsigned n;
    process_hide();
    block_signals(&set);
    e.control_thread = pthread_self();
    pthread_mutex_init(&e.reload_lock, NULL);
    pthread_mutex_init(&e.iid_lock, NULL);
    pthread_mutex_init(&e.rates.lock, NULL);
    e.started_ms = monotonic_ms();
    e.started_s = (int64_t)time(NULL);
    int status = prepare(&e);
    if (status)
        return status;
    if (process_sandbox(SANDBOX_ENGINE, -1))
        return fail(&e, 1, "the sandbox cannot be set up: this kernel lacks seccomp");
    if (start_workers(&e))
        return fail(&e, 1, /* NOLINT(clang-analyzer-unix.Malloc): the process ends */
                    "the workers cannot start: out of memory or threads");
    if (take_fds(&e, PRIV_CONTROL, 0, control, &n) || n != 1 || ctl_server_start(control[0], engine_ctl, &e, &ctl))
        return fail(&e, 1, "the control socket cannot be served");
    struct priv_msg answer = { 0 };
    if (priv_ask(e.channel, PRIV_READY, 0, &answer, NULL, 0))
        return 1;
    serve(&e, &set);
    ctl_server_stop(ctl);
    stop_workers(&e);
    bury(&e);
    generation_unref(e.gen);
    tls_ticket_keys_free(e.tickets);
    pool_fini(&e.pool);
    steer_unmap(&e.steer);
    free(e.worker);
    digest_fini();
    return atomic_load(&e.failed) ? 1 : 0;
}
