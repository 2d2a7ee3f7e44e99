#include "client/engine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/ct.h"
#include "base/log.h"
#include "client/engine_state.h"
#include "client/netconf.h"
#include "client/outside.h"
#include "client/report.h"
#include "priv/process.h"

#define CALL_QUEUE (16u << 20) /* bytes of packets that may wait for the server */
#define DOUBT_MS   5000        /* after a change: how long the server may be silent */
#define STUCK_MS   1000        /* a dial that is so old when the network changes waits for what was lost before */
#define STEADY_MS  60000       /* a call that was up so long: the next wait begins small again */

/* ---- this machine's network ---- */

static void net_down(struct client_engine *e)
{
    struct priv_msg m;
    if (!e->net_up)
        return;
    e->net_up = false;
    int rc = client_ask(e, CLIENT_DOWN, 0, &m, NULL);
    (void)rc; /* when the monitor is gone, so is everything */
    if (e->tun_nf)
        net_fd_want(e->tun_nf, 0);
}

static void say_up(struct client_engine *e)
{
    char ip[INET_ADDRSTRLEN] = "", peer[INET_ADDRSTRLEN] = "", dns[2][INET_ADDRSTRLEN] = { "", "" }, to[64],
         proxy[300] = "";
    const struct client_call *k = &e->call;
    struct priv_msg m;
    const uint32_t v4[4] = { k->ip4.ip4, k->ip4.peer, k->ip4.dns[0], k->ip4.dns[1] };
    char *text[4] = { ip, peer, dns[0], dns[1] };
    for (int i = 0; i < 4; i++) {
        struct in_addr a = { htonl(v4[i]) };
        if (k->ip4_up && v4[i])
            inet_ntop(AF_INET, &a, text[i], INET_ADDRSTRLEN);
    }
    race_addr_text(&e->line.to, to, sizeof to);
    if (e->dial_cfg.proxy.host[0])
        http_url_authority(&e->dial_cfg.proxy, proxy, sizeof proxy);
    char *space = NULL;
    if (!client_ask(e, CLIENT_STATE, 0, &m, NULL) && (space = strchr(m.text, ' ')))
        *space = 0;
    e->up_ms = net_now(&e->loop);
    report_up(&(struct report_up){ .ip = ip,
                                   .peer = peer,
                                   .dns = { dns[0], dns[1] },
                                   .dns_way = space ? m.text : "",
                                   .interface = e->cfg->tunnel.interface,
                                   .routes = space ? space + 1 : "",
                                   .server = to,
                                   .proxy = proxy,
                                   .tls = tls_stream_version(e->line.tls),
                                   .cipher = tls_stream_cipher(e->line.tls),
                                   .hash = k->sstp.hash == SSTP_HASH_SHA256 ? "sha256" : "sha1",
                                   .method = client_method_name(ppp_peer_method(k->ppp)),
                                   .mtu = e->mtu,
                                   .ms = e->up_ms - e->dialled_ms });
}

/* IPv4 or IPv6 of the call came up, or another one did. */
static void net_set(struct client_engine *e)
{
    struct netconf_wish w = { 0 };
    struct client_call *k = &e->call;
    struct priv_msg m = { .type = CLIENT_UP };
    uint64_t begun = uv_hrtime();
    bool first = !e->net_up;
    if (k->ip4_up) {
        w.ip4 = k->ip4.ip4;
        w.peer4 = k->ip4.peer;
        memcpy(w.dns, k->ip4.dns, sizeof w.dns);
    }
    if (k->ip6_up)
        memcpy(w.ip6_iid, k->ip6.own, sizeof w.ip6_iid);
    e->mtu = (unsigned)e->cfg->tunnel.mtu < ppp_peer_mtu(k->ppp) ? (unsigned)e->cfg->tunnel.mtu : ppp_peer_mtu(k->ppp);
    w.mtu = (uint16_t)e->mtu;
    w.server_family = e->line.to.sa.sa_family == AF_INET6 ? 6 : 4;
    if (w.server_family == 6)
        memcpy(w.server, &e->line.to.in6.sin6_addr, 16);
    else
        memcpy(w.server, &e->line.to.in.sin_addr, 4);
    memcpy(m.text, &w, sizeof w);
    e->net_up = true;
    int rc = priv_call(e->channel, &m, NULL, 0);
    if (rc) { /* ERR_PEER: it is the server that wants what cannot be */
        e->net_up = false;
        client_call_hangup(k, rc == ERR_PEER ? CLIENT_PPP : CLIENT_LOCAL,
                           rc == ERR_CLOSED ? "the monitor's process is gone" : m.text, net_now(&e->loop));
        if (rc != ERR_CLOSED && m.index == CLIENT_UP_ROUTE)
            k->end.ras = "RasSstp 14";
        return;
    }
    if (first) {
        report_step("network", e->cfg->tunnel.interface, (uv_hrtime() - begun) / 1000000);
        net_fd_want(e->tun_nf, NET_READ);
        e->ever_up = true;
        say_up(e);
    }
}

/* ---- the call ---- */

static void dial_again(struct client_engine *e, uint64_t in_ms);
static void over(struct client_engine *e, const struct client_end *why, bool was_up);

static void drop_call(struct client_engine *e)
{
    net_timer_cancel(&e->loop, &e->call_timer);
    client_call_fini(&e->call);
    if (e->line.tls) {
        int rc = tls_stream_shutdown(e->line.tls);
        (void)rc; /* the server may be gone */
    }
    tls_stream_free(e->line.tls);
    net_fd_close(e->line.nf);
    e->line = (struct dial_line){ 0 };
    e->calling = false;
}

static void end_call(struct client_engine *e, const struct client_end *why)
{
    bool was_up = e->up_ms != 0;
    struct client_end end = *why; /* it may be the call's own */
    net_down(e);
    drop_call(e);
    over(e, &end, was_up);
}

/* After everything that may have moved the call. */
static void settle(struct client_engine *e)
{
    struct client_end why;
    if (!e->calling)
        return;
    if (e->net_dirty && e->call.up && (e->call.ip4_up || e->call.ip6_up)) { /* else the server took it back already */
        e->net_dirty = false;
        net_set(e);
    }
    if (client_call_over(&e->call, &why)) {
        end_call(e, &why);
        return;
    }
    net_fd_want(e->line.nf, client_call_wants(&e->call));
    if (client_call_turns(&e->call))
        net_loop_again(&e->loop);
    if (net_timer_set(&e->loop, &e->call_timer, client_call_deadline(&e->call))) {
        client_end_set(&why, CLIENT_INTERNAL, "out of memory");
        end_call(e, &why);
    }
}

static void on_line(void *arg, int events)
{
    struct client_engine *e = arg;
    client_call_io(&e->call, events, net_now(&e->loop));
    settle(e);
}

static void on_tun(void *arg, int events)
{
    struct client_engine *e = arg;
    (void)events;
    if (e->calling && e->net_up)
        client_call_from_tun(&e->call, uv_hrtime() / 1000);
    settle(e);
}

static void on_call_timer(struct timer_entry *t, uint64_t now_ms)
{
    struct client_engine *e = (struct client_engine *)(void *)((char *)t - offsetof(struct client_engine, call_timer));
    client_call_expire(&e->call, now_ms);
    settle(e);
}

static void on_turn(struct net_loop *l)
{
    struct client_engine *e = l->arg;
    if (!e->calling || !client_call_turns(&e->call))
        return;
    client_call_turn(&e->call, uv_hrtime() / 1000);
    settle(e);
}

static void on_call_step(void *arg, const char *step, const char *text)
{
    struct client_engine *e = arg;
    uint64_t now = net_now(&e->loop);
    report_step(step, text, now - e->step_ms);
    e->step_ms = now;
}

static void on_call_up(void *arg)
{
    struct client_engine *e = arg;
    e->net_dirty = true; /* set when the machines are at rest: settle() */
}

static void on_call_down(void *arg)
{
    net_down(arg);
}

static void begin_call(struct client_engine *e)
{
    const struct client_call_ops ops = { on_call_step, on_call_up, on_call_down, e };
    uint64_t now = net_now(&e->loop);
    dial_take(&e->dial, &e->line);
    net_fd_rebind(e->line.nf, on_line, e);
    e->calling = true;
    e->net_dirty = false;
    e->up_ms = 0;
    e->step_ms = now;
    if (client_call_start(&e->call, &e->call_cfg, &ops, e->line.tls, &e->bufs,
                          rd_make(e->line.early, e->line.early_len), now)) {
        struct client_end why;
        client_end_set(&why, CLIENT_INTERNAL, "out of memory");
        drop_call(e);
        over(e, &why, false);
        return;
    }
    client_call_tun(&e->call, &e->tun);
    settle(e);
}

/* ---- dialling ---- */

static void on_dial_step(void *arg, const char *step, const char *text, uint64_t ms)
{
    (void)arg;
    report_step(step, text, ms);
}

static void on_dial_done(void *arg, const struct client_end *why)
{
    struct client_engine *e = arg;
    e->dialling = false;
    if (why)
        over(e, why, false);
    else
        begin_call(e);
}

static void dial(struct client_engine *e)
{
    const struct dial_ops ops = { on_dial_step, on_dial_done, e };
    struct client_end why;
    e->dialled_ms = net_now(&e->loop);
    e->dialling = true;
    report_dialling(e->cfg->server.url, ++e->attempts);
    /* Authorities and revocation lists as they are now: a client runs for months. */
    if (e->attempts > 1 && client_trust_load(e, &why)) {
        why.cause = CLIENT_CERTIFICATE;
        e->dialling = false;
        over(e, &why, false);
        return;
    }
    dial_start(&e->dial, &e->dial_cfg, &ops);
}

static void on_retry(struct timer_entry *t, uint64_t now_ms)
{
    struct client_engine *e = (struct client_engine *)(void *)((char *)t - offsetof(struct client_engine, retry_timer));
    (void)now_ms;
    dial(e);
}

static void finish(struct client_engine *e, const struct client_end *why)
{
    e->exit_status = client_causes[why->cause].exit_status;
    report_end(why, e->exit_status);
    net_loop_stop(&e->loop);
}

static void dial_again(struct client_engine *e, uint64_t in_ms)
{
    report_retry(in_ms);
    if (net_timer_set(&e->loop, &e->retry_timer, net_now(&e->loop) + in_ms)) {
        struct client_end why;
        client_end_set(&why, CLIENT_INTERNAL, "out of memory");
        finish(e, &why);
    }
}

/*
 * Whether the next dial would end the same way: on the first one, what only a person can mend; later only what it is
 * wrong to repeat, such as a password that was refused. A certificate that suddenly is a wrong one is refused each
 * time, and asked for again: in a hotel's network it is the hotel's until somebody has clicked.
 */
static bool gives_up(const struct client_engine *e, enum client_cause cause)
{
    if (e->cfg->reconnect.once || cause == CLIENT_INTERNAL)
        return true;
    if (!e->ever_up)
        return client_causes[cause].permanent;
    return cause == CLIENT_LOGIN || cause == CLIENT_SERVER_PROOF || cause == CLIENT_NO_METHOD ||
           cause == CLIENT_PROXY_LOGIN || cause == CLIENT_LOCAL;
}

static void over(struct client_engine *e, const struct client_end *why, bool was_up)
{
    uint32_t random;
    e->last = *why;
    e->last_was_up = was_up;
    e->up_ms = was_up ? e->up_ms : 0;
    bool steady = was_up && net_now(&e->loop) - e->up_ms >= STEADY_MS;
    e->up_ms = 0;
    if (was_up || why->cause != CLIENT_OK)
        report_failed(why, was_up);
    if (e->stopping || why->cause == CLIENT_OK) {
        struct client_end good;
        client_end_set(&good, CLIENT_OK, "%s", "");
        finish(e, &good);
        return;
    }
    if (gives_up(e, why->cause)) {
        finish(e, why);
        return;
    }
    if (steady || why->cause == CLIENT_NETWORK_CHANGED)
        backoff_reset(&e->backoff);
    rng_fill(&e->call_cfg.rng, &random, sizeof random);
    dial_again(e, why->cause == CLIENT_NETWORK_CHANGED ? 0 : backoff_next(&e->backoff, random));
}

/* ---- what changes around us ---- */

static bool fd_outside_is_ours(const struct net_fd *nf)
{
    union race_addr own;
    socklen_t len = sizeof own;
    return getsockname(net_fd_num(nf), &own.sa, &len) < 0 || outside_is_ours(&own);
}

/* Begins the dial anew when it waits for what the old network lost, or from an address that is gone. */
static void redial(struct client_engine *e)
{
    struct dial *d = &e->dial;
    bool waits = d->stage == DIAL_RESOLVE || d->stage == DIAL_TCP;
    bool good = !waits || net_now(&e->loop) - d->begun_ms < STUCK_MS;
    if (d->line.nf)
        good = good && fd_outside_is_ours(d->line.nf);
    for (size_t i = 0; d->stage == DIAL_TCP && i < d->race.next; i++)
        good = good && (!d->race.tries[i].nf || fd_outside_is_ours(d->race.tries[i].nf));
    if (good)
        return;
    dial_cancel(d);
    e->dialling = false;
    dial_again(e, 0);
}

static void network_changed(struct client_engine *e)
{
    union race_addr own, out;
    socklen_t len = sizeof own;
    if (e->stopping)
        return;
    if (e->retry_timer.pos) {
        backoff_reset(&e->backoff);
        net_timer_cancel(&e->loop, &e->retry_timer);
        dial_again(e, 0);
        return;
    }
    if (e->dialling) {
        redial(e);
        return;
    }
    if (!e->calling || getsockname(net_fd_num(e->line.nf), &own.sa, &len) < 0)
        return;
    if (!outside_is_ours(&own)) {
        struct client_end why;
        char text[64];
        race_addr_text(&own, text, sizeof text);
        client_end_set(&why, CLIENT_NETWORK_CHANGED, "%s is no address of this machine any more", text);
        end_call(e, &why);
        return;
    }
    if (!outside_way(&e->line.to, &out))
        return; /* no way at all: it may come back, and the call with it; echoes limit how long */
    client_call_doubt(&e->call, outside_same_ip(&own, &out) ? DOUBT_MS : DOUBT_MS / 2, net_now(&e->loop));
    settle(e);
}

static void on_tick(void *arg, int events)
{
    struct client_engine *e = arg;
    struct outside_clocks now;
    uint64_t ticks;
    (void)events;
    ssize_t n = read(net_fd_num(e->tick), &ticks, sizeof ticks);
    (void)n; /* how many does not matter */
    outside_clocks(&now);
    int64_t slept = outside_slept_ms(&e->clocks, &now);
    if (!slept)
        return;
    log_info(NULL, "resumed", "the machine slept", LOG_N("seconds", slept / 1000));
    network_changed(e);
}

/* A signal to the whole group comes twice, from there and from the monitor: the second changes nothing. */
static void stop(struct client_engine *e)
{
    struct client_end good;
    client_end_set(&good, CLIENT_OK, "%s", "");
    if (e->stopping)
        return;
    e->stopping = true;
    if (!e->calling) {
        dial_cancel(&e->dial);
        net_down(e);
        finish(e, &good);
        return;
    }
    client_call_hangup(&e->call, CLIENT_OK, "", net_now(&e->loop));
    settle(e);
}

static void on_signal(uv_signal_t *s, int sig)
{
    struct client_engine *e = s->data;
    if (sig == SIGTERM)
        stop(e);
    else
        network_changed(e);
}

/* ---- beginning and end ---- */

static int open_tun(struct client_engine *e, struct client_end *why)
{
    struct priv_msg m;
    int fd;
    int rc = client_ask(e, CLIENT_TUN, 0, &m, &fd);
    if (rc) {
        client_end_set(why, CLIENT_LOCAL, "%s", m.text);
        return rc;
    }
    e->tun_offload = tun_offload_unpack(m.index);
    e->tun_nf = net_fd_new(&e->loop, fd, on_tun, e);
    e->tun = (struct tun_queue){ .fd = fd, .offload = e->tun_offload };
    return e->tun_nf ? 0 : client_trouble(why, ERR_NOMEM, "");
}

static void watch_signals(struct client_engine *e)
{
    static const int which[2] = { SIGTERM, SIGUSR1 };
    sigset_t none;
    for (int i = 0; i < 2; i++) {
        uv_signal_init(&e->loop.uv, &e->signal[i]);
        e->signal[i].data = e;
        uv_signal_start(&e->signal[i], on_signal, which[i]);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL); /* the monitor blocks what it waits for */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* Ctrl-C reaches the whole terminal's group: the monitor decides, by SIGTERM */
    signal(SIGHUP, SIG_IGN);
}

static int prepare(struct client_engine *e, struct client_end *why)
{
    process_hide();
    int rc = client_setup(e, why);
    if (!rc && ((rc = net_loop_init(&e->loop, client_status_woken, e)) ||
                (rc = tunnel_bufs_init(&e->bufs, CALL_QUEUE, 3 * CALL_QUEUE))))
        client_trouble(why, rc, "");
    if (rc)
        return rc;
    e->loop.turn = on_turn;
    watch_signals(e);
    rc = open_tun(e, why);
    int tick = outside_tick_open();
    e->tick = tick < 0 ? NULL : net_fd_new(&e->loop, tick, on_tick, e); /* without it echoes notice a sleep */
    if (!rc && (rc = dial_init(&e->dial, &e->loop, CLIENT_RESOLVER_FD, e->call_cfg.rng)))
        client_trouble(why, rc, "");
    if (!rc && (rc = process_sandbox(SANDBOX_CLIENT, -1)))
        client_trouble(why, rc, "the sandbox cannot be set up");
    if (!rc) {
        struct priv_msg m;
        int fd;
        rc = client_ask(e, CLIENT_CONTROL, 0, &m, &fd);
        if (!rc)
            rc = client_status_start(e, fd);
        if (rc)
            client_trouble(why, rc, m.text);
    }
    return rc;
}

static void put_away(struct client_engine *e)
{
    client_status_stop(e);
    if (e->calling) {
        net_down(e);
        drop_call(e);
    }
    secret_free(e->password, e->password ? strlen(e->password) : 0);
    secret_free(e->proxy_password, e->proxy_password ? strlen(e->proxy_password) : 0);
}

int client_engine_main(void)
{
    static struct client_engine e;
    struct client_end why;
    e.channel = PRIV_CHANNEL_FD;
    report_setup(CLIENT_MODE_LOG, CLIENT_STDOUT_FD);
    if (prepare(&e, &why)) {
        report_failed(&why, false);
        report_end(&why, client_causes[why.cause].exit_status);
        return client_causes[why.cause].exit_status;
    }
    e.call_timer.fn = on_call_timer;
    e.retry_timer.fn = on_retry;
    outside_clocks(&e.clocks);
    if (e.tick)
        net_fd_want(e.tick, NET_READ);
    if (e.cfg->server.insecure)
        report_warning(
            "insecure",
            "the server's certificate is NOT verified: whoever is between can read everything, and the "
            "login with it",
            "leave --insecure out; trust one certificate with --pin sha256:HEX, or its authority with --ca FILE");
    dial(&e);
    net_loop_run(&e.loop);
    put_away(&e);
    return e.exit_status;
}
