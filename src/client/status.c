/* The control socket of a running client: one question, answered by the loop's thread. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "client/engine_state.h"

#define WAIT_S 5

static json_t *ip_json(uint32_t ip)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr a = { htonl(ip) };
    return ip ? json_string(inet_ntop(AF_INET, &a, text, sizeof text)) : json_null();
}

static const char *state_name(const struct client_engine *e)
{
    if (e->stopping)
        return "stopping";
    if (e->up_ms)
        return "up";
    if (e->calling)
        return "negotiating";
    return e->dialling ? "dialling" : "waiting";
}

static json_t *call_json(struct client_engine *e)
{
    const struct client_call *k = &e->call;
    const struct client_call_counts *n = &k->n;
    char to[64];
    race_addr_text(&e->line.to, to, sizeof to);
    const struct fq_counts *d = &k->stream.dropped;
    return json_pack(
        "{s:s s:s s:s s:s s:s s:s s:o s:o s:b s:i s:s s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I}", "server",
        to, "tls", tls_stream_version(e->line.tls), "cipher", tls_stream_cipher(e->line.tls), "sstp",
        sstp_client_state_name(k->sstp.call.state), "phase", ppp_peer_phase(k->ppp), "method",
        client_method_name(ppp_peer_method(k->ppp)), "ip", ip_json(k->ip4_up ? k->ip4.ip4 : 0), "peer",
        ip_json(k->ip4_up ? k->ip4.peer : 0), "ipv6", k->ip6_up, "mtu", (int)e->mtu, "offload",
        tun_offload_text(e->tun_offload), "rx_packets", (json_int_t)n->rx_packets, "rx_bytes", (json_int_t)n->rx_bytes,
        "tx_packets", (json_int_t)k->stream.packets, "tx_bytes", (json_int_t)k->stream.bytes, "drop_gate",
        (json_int_t)n->drop_gate, "drop_odd", (json_int_t)n->drop_odd, "drop_mtu", (json_int_t)n->drop_mtu,
        "drop_memory", (json_int_t)n->drop_memory, "queued", (json_int_t)tunnel_queued(&k->stream), "drop_full",
        (json_int_t)d->drop_full, "drop_late", (json_int_t)d->drop_late, "marked", (json_int_t)d->marked, "window",
        (json_int_t)k->stream.window.bytes);
}

static json_t *status_json(struct client_engine *e)
{
    uint64_t now = net_now(&e->loop);
    json_t *j = json_pack("{s:s s:s s:s s:s s:s s:i s:I}", "role", "client", "version", GATEHOUSE_VERSION, "state",
                          state_name(e), "url", e->cfg->server.url, "interface", e->cfg->tunnel.interface, "attempts",
                          (int)e->attempts, "up_seconds", (json_int_t)(e->up_ms ? (now - e->up_ms) / 1000 : 0));
    if (j && e->calling)
        json_object_set_new(j, "call", call_json(e));
    if (j && e->retry_timer.pos)
        json_object_set_new(j, "retry_in_ms", json_integer((json_int_t)(e->retry_timer.deadline_ms - now)));
    if (j && e->last.cause != CLIENT_OK)
        json_object_set_new(j, "last_end",
                            json_pack("{s:s s:s s:s s:b s:s}", "cause", client_causes[e->last.cause].name, "what",
                                      client_causes[e->last.cause].text, "text", e->last.text, "was_up", e->last_was_up,
                                      "remedy", client_end_remedy(&e->last)));
    return j;
}

void client_status_woken(struct net_loop *l)
{
    struct client_engine *e = l->arg;
    pthread_mutex_lock(&e->status.lock);
    if (e->status.asked) {
        e->status.asked = false;
        e->status.answer = status_json(e);
        pthread_cond_signal(&e->status.answered);
    }
    pthread_mutex_unlock(&e->status.lock);
}

static int handle(void *arg, const char *method, const char *path, const json_t *body, json_t **answer)
{
    struct client_engine *e = arg;
    struct timespec until;
    (void)body;
    if (strcmp(path, "/v1/status") != 0 || strcmp(method, "GET") != 0) {
        *answer = json_pack("{s:s}", "error", "a client answers GET /v1/status");
        return 404;
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&e->status.lock);
    e->status.asked = true;
    net_loop_wake(&e->loop);
    int rc = 0;
    while (e->status.asked && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&e->status.answered, &e->status.lock, &until);
    *answer = e->status.answer;
    e->status.answer = NULL;
    e->status.asked = false;
    pthread_mutex_unlock(&e->status.lock);
    if (*answer)
        return 200;
    *answer = json_pack("{s:s}", "error", "the client is busy");
    return 503;
}

int client_status_start(struct client_engine *e, int listen_fd)
{
    pthread_mutex_init(&e->status.lock, NULL);
    pthread_cond_init(&e->status.answered, NULL);
    return ctl_server_start(listen_fd, handle, e, &e->status.server);
}

void client_status_stop(struct client_engine *e)
{
    ctl_server_stop(e->status.server);
    e->status.server = NULL;
}
