#include "server/engine_ctl.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "server/call.h"
#include "server/conn.h"
#include "server/engine.h"
#include "server/priv.h"
#include "server/worker.h"

/* ---- asking every worker, and waiting for all answers ---- */

/* What is told of a call: copied on its worker, which has packets to move, and made to JSON elsewhere. */
struct session {
    struct log_ctx who;
    const char *state, *tls, *phase; /* constants */
    uint64_t seconds, tx_packets, tx_bytes, queued, up_queued, window, up_bps, down_bps;
    struct call_counts n;
    struct fq_counts dropped, up_dropped;
    uint32_t ip; /* host byte order, 0: none */
    uint16_t worker, mru;
    bool up, ipv6;
};

struct sessions {
    struct session *of;
    size_t n;
    bool failed; /* no memory */
};

struct survey {
    pthread_mutex_t lock;
    pthread_cond_t done;
    unsigned missing;
    struct sessions sessions[CONFIG_THREADS_MAX];
    struct worker_counts sum;
    unsigned conns, relays;
    uint64_t inbox_dropped, refused;       /* refused: by the interface */
    json_int_t queued[CONFIG_THREADS_MAX]; /* bytes, of each worker */
    const char *user;                      /* disconnect: this user, or */
    uint64_t id;                           /* this call */
    unsigned hits;
    void (*visit)(struct survey *s, struct worker *w);         /* under the lock, on the worker's thread; or */
    void (*copy)(struct sessions *to, const struct worker *w); /* there, without it: no worker waits for another */
};

struct survey_msg {
    struct worker_msg m;
    struct survey *survey;
};

static void survey_run(struct worker *w, struct worker_msg *m)
{
    struct survey *s = ((struct survey_msg *)(void *)m)->survey;
    free(m);
    if (s->copy)
        s->copy(&s->sessions[w->index], w);
    pthread_mutex_lock(&s->lock);
    if (s->visit)
        s->visit(s, w);
    if (--s->missing == 0)
        pthread_cond_signal(&s->done);
    pthread_mutex_unlock(&s->lock);
}

static int survey(struct engine *e, struct survey *s)
{
    struct survey_msg *msg[CONFIG_THREADS_MAX];
    for (unsigned i = 0; i < e->n_workers; i++) {
        if (!(msg[i] = malloc(sizeof *msg[i]))) {
            while (i)
                free(msg[--i]);
            return ERR_NOMEM;
        }
        *msg[i] = (struct survey_msg){ .m.run = survey_run, .survey = s };
    }
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->done, NULL);
    s->missing = e->n_workers;
    for (unsigned i = 0; i < e->n_workers; i++)
        worker_post(&e->worker[i], &msg[i]->m);
    pthread_mutex_lock(&s->lock);
    while (s->missing)
        pthread_cond_wait(&s->done, &s->lock);
    pthread_mutex_unlock(&s->lock);
    pthread_cond_destroy(&s->done);
    pthread_mutex_destroy(&s->lock);
    return 0;
}

/* ---- sessions ---- */

static json_t *ip_json(uint32_t ip)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr a = { htonl(ip) };
    return ip ? json_string(inet_ntop(AF_INET, &a, text, sizeof text)) : json_null();
}

/* Names are bytes as the peer gave them: what is not UTF-8 is shown as '?'. */
static json_t *text_json(const char *s)
{
    json_t *j = json_string(s);
    if (j)
        return j;
    char clean[sizeof((struct log_ctx *)0)->user];
    size_t n = 0;
    for (; s[n] && n + 1 < sizeof clean; n++)
        clean[n] = (unsigned char)s[n] < 0x80 ? s[n] : '?';
    clean[n] = 0;
    return json_string(clean);
}

static json_t *rate_json(uint64_t bps)
{
    return bps ? json_integer((json_int_t)bps) : json_null();
}

static struct session session_of(const struct call *k)
{
    const struct conn *c = k->c;
    return (struct session){
        .who = c->log,
        .state = sstp_server_state_name(k->sstp.call.state),
        .tls = tls_stream_version(c->tls),
        .phase = ppp_link_phase(k->ppp),
        .seconds = (net_now(&c->w->loop) - k->started_ms) / 1000,
        .tx_packets = k->stream.packets,
        .tx_bytes = k->stream.bytes,
        .queued = tunnel_queued(&k->stream),
        .up_queued = shaper_queued(&k->shaper),
        .window = k->stream.window.bytes,
        .up_bps = k->up_bps,
        .down_bps = k->down_bps,
        .n = k->n,
        .dropped = k->stream.dropped,
        .up_dropped = k->shaper.dropped,
        .ip = k->ip4,
        .worker = (uint16_t)c->w->index,
        .mru = ppp_link_peer_mru(k->ppp),
        .up = k->up,
        .ipv6 = k->ip6_up,
    };
}

static void copy_sessions(struct sessions *to, const struct worker *w)
{
    const struct conn *c;
    if (w->n_conns && !(to->of = malloc(w->n_conns * sizeof *to->of))) {
        to->failed = true;
        return;
    }
    LIST_FOREACH(c, &w->conns, link)
        if (c->call)
            to->of[to->n++] = session_of(c->call);
}

static json_t *session_json(const struct session *k)
{
    const struct call_counts *n = &k->n;
    const struct fq_counts *d = &k->dropped, *u = &k->up_dropped;
    json_t *j = json_pack("{s:I s:o s:s s:o s:s s:b s:I s:I s:I s:I s:I s:I s:I s:I s:I s:i s:i s:s s:s s:o s:b}", "id",
                          (json_int_t)k->who.conn, "user", text_json(k->who.user), "peer", k->who.peer, "ip",
                          ip_json(k->ip), "state", k->state, "up", k->up, "seconds", (json_int_t)k->seconds,
                          "rx_packets", (json_int_t)n->rx_packets, "rx_bytes", (json_int_t)n->rx_bytes, "tx_packets",
                          (json_int_t)k->tx_packets, "tx_bytes", (json_int_t)k->tx_bytes, "drop_source",
                          (json_int_t)n->drop_source, "drop_gate", (json_int_t)n->drop_gate, "drop_queue",
                          (json_int_t)d->drop_full + (json_int_t)d->drop_late, "drop_mtu", (json_int_t)n->drop_mtu,
                          "worker", (int)k->worker, "mru", (int)k->mru, "tls", k->tls, "phase", k->phase, "correlation",
                          text_json(k->who.corr), "ipv6", k->ipv6);
    json_t *more = json_pack("{s:I s:I s:I s:I s:I s:I s:o s:o}", "queued", (json_int_t)k->queued, "drop_odd",
                             (json_int_t)n->drop_odd, "drop_full", (json_int_t)d->drop_full, "drop_late",
                             (json_int_t)d->drop_late, "marked", (json_int_t)d->marked, "window", (json_int_t)k->window,
                             "up_bps", rate_json(k->up_bps), "down_bps", rate_json(k->down_bps));
    json_t *up =
        json_pack("{s:I s:I s:I s:I}", "up_queued", (json_int_t)k->up_queued, "up_drop_full", (json_int_t)u->drop_full,
                  "up_drop_late", (json_int_t)u->drop_late, "up_marked", (json_int_t)u->marked);
    json_object_update_new(j, more);
    json_object_update_new(j, up);
    return j;
}

static int get_sessions(struct engine *e, json_t **answer)
{
    struct survey s = { .copy = copy_sessions };
    json_t *list = json_array();
    bool failed = !list || survey(e, &s);
    for (unsigned i = 0; i < e->n_workers; i++) {
        struct sessions *from = &s.sessions[i];
        failed |= from->failed;
        for (size_t k = 0; k < from->n && !failed; k++)
            json_array_append_new(list, session_json(&from->of[k]));
        free(from->of);
    }
    if (failed) {
        json_decref(list);
        return 500;
    }
    *answer = json_pack("{s:o}", "sessions", list);
    return 200;
}

/* ---- status ---- */

static void visit_counts(struct survey *s, struct worker *w)
{
    const uint64_t *from = (const uint64_t *)&w->counts;
    uint64_t *to = (uint64_t *)&s->sum;
    for (size_t i = 0; i < sizeof s->sum / sizeof *to; i++)
        to[i] += from[i];
    s->conns += w->n_conns;
    s->relays += w->n_relays;
    for (unsigned i = 0; i < w->n_queues; i++)
        s->refused += w->queue[i].tun.write_errors;
    s->queued[w->index] = (json_int_t)(w->bufs.packets.used - (w->tun_buf ? pktbuf_cost(w->tun_buf) : 0));
    pthread_mutex_lock(&w->inbox.lock);
    s->inbox_dropped += w->inbox.dropped;
    pthread_mutex_unlock(&w->inbox.lock);
}

static int get_status(struct engine *e, json_t **answer)
{
    struct survey s = { .visit = visit_counts };
    if (survey(e, &s))
        return 500;
    const struct worker_counts *n = &s.sum;
    pthread_mutex_lock(&e->reload_lock);
    const struct config *cfg = e->gen->cfg;
    *answer = json_pack(
        "{s:s s:s s:I s:I s:b s:i s:s s:I s:I s:i s:I s:I s:{s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I}}",
        "version", GATEHOUSE_VERSION, "config", cfg->origin.path, "started", (json_int_t)e->started_s, "seconds",
        (json_int_t)(time(NULL) - e->started_s), "draining", (int)atomic_load(&e->draining), "generation",
        (int)e->gen->number, "last_reload_error", e->last_reload_error, "connections", (json_int_t)s.conns, "web",
        (json_int_t)s.relays, "workers", (int)e->n_workers, "calls", (json_int_t)atomic_load(&e->n_calls),
        "addresses_free", (json_int_t)(cfg->vpn_on ? pool_free(&e->pool) : 0), "totals", "accepted",
        (json_int_t)n->accepted, "refused", (json_int_t)n->refused, "tls_failed", (json_int_t)n->tls_failed, "web",
        (json_int_t)n->web, "calls_up", (json_int_t)n->calls_up, "login_ok", (json_int_t)n->login_ok, "login_failed",
        (json_int_t)n->login_failed, "handed_over", (json_int_t)n->handed_over, "handover_dropped",
        (json_int_t)s.inbox_dropped, "unknown_destination", (json_int_t)n->unknown_dst, "drop_memory",
        (json_int_t)n->drop_memory, "drop_odd", (json_int_t)n->drop_odd, "drop_interface", (json_int_t)s.refused);
    json_object_set_new(*answer, "certificates", cert_status_json(e->gen, time(NULL)));
    json_object_update_new(*answer, json_pack("{s:s s:s s:s}", "offload", tun_offload_text(e->tun_offload), "steering",
                                              e->steer.ip4 ? "ebpf" : "handover", "steering_reason",
                                              cfg->vpn_on ? e->steer_why : "there is no vpn section"));
    json_t *queued = json_array();
    for (unsigned i = 0; i < e->n_workers; i++)
        json_array_append_new(queued, json_integer(s.queued[i]));
    json_object_set_new(*answer, "queued", queued);
    if (cfg->offload_on)
        json_object_set_new(*answer, "front", front_status_json(e->gen, time(NULL)));
    pthread_mutex_unlock(&e->reload_lock);
    return 200;
}

/* ---- orders ---- */

static void visit_disconnect(struct survey *s, struct worker *w)
{
    struct conn *c, *next;
    bool cutting = w->cutting;
    w->cutting = true; /* next stays, also when this was the last call of a worker that stops */
    for (c = LIST_FIRST(&w->conns); c; c = next) {
        next = LIST_NEXT(c, link);
        if (!c->call || !(s->user ? strcasecmp(c->log.user, s->user) == 0 : c->log.conn == s->id))
            continue;
        s->hits++;
        call_hangup(c->call, "admin", "disconnected by the administrator");
        call_settle(c->call);
    }
    w->cutting = cutting;
    worker_conn_gone(w);
}

static int post_disconnect(struct engine *e, const json_t *body, json_t **answer)
{
    const char *user = json_string_value(json_object_get(body, "user"));
    const json_t *id = json_object_get(body, "id");
    if (!user && !json_is_integer(id)) {
        *answer = json_pack("{s:s}", "error", "give \"id\": N or \"user\": \"NAME\"");
        return 400;
    }
    struct survey s = { .visit = visit_disconnect, .user = user, .id = (uint64_t)json_integer_value(id) };
    if (survey(e, &s))
        return 500;
    log_notice(NULL, "disconnect", "calls ended by the administrator", LOG_S("for", user ? user : ""),
               LOG_NZ("id", s.id), LOG_N("calls", s.hits));
    *answer = json_pack("{s:i}", "disconnected", (int)s.hits);
    return s.hits ? 200 : 404;
}

static int post_reload(struct engine *e, json_t **answer)
{
    char text[PRIV_TEXT_MAX];
    int rc = engine_reload(e, text, sizeof text);
    pthread_mutex_lock(&e->reload_lock); /* SIGHUP may bring the next one */
    int generation = (int)e->gen->number;
    pthread_mutex_unlock(&e->reload_lock);
    if (rc)
        *answer = json_pack("{s:s}", "error", text);
    else
        *answer = json_pack("{s:i s:s}", "generation", generation, "restart_needed_for", text);
    return rc ? 409 : 200;
}

static void visit_drain(struct survey *s, struct worker *w)
{
    (void)s;
    w->draining = atomic_load(&w->engine->draining);
}

static int post_drain(struct engine *e, const json_t *body, json_t **answer)
{
    bool off = json_is_true(json_object_get(body, "off"));
    struct survey s = { .visit = visit_drain };
    atomic_store(&e->draining, !off);
    if (survey(e, &s))
        return 500;
    log_notice(NULL, "drain", off ? "new calls are accepted again" : "no new calls are accepted");
    *answer = json_pack("{s:b s:i}", "draining", !off, "calls", (int)atomic_load(&e->n_calls));
    return 200;
}

int engine_ctl(void *arg, const char *method, const char *path, const json_t *body, json_t **answer)
{
    struct engine *e = arg;
    bool get = strcmp(method, "GET") == 0, post = strcmp(method, "POST") == 0;
    if (get && !strcmp(path, "/v1/status"))
        return get_status(e, answer);
    if (get && !strcmp(path, "/v1/sessions"))
        return get_sessions(e, answer);
    if (post && !strcmp(path, "/v1/disconnect"))
        return post_disconnect(e, body, answer);
    if (post && !strcmp(path, "/v1/reload"))
        return post_reload(e, answer);
    if (post && !strcmp(path, "/v1/drain"))
        return post_drain(e, body, answer);
    *answer = json_pack("{s:s}", "error", "no such request");
    return 404;
}
