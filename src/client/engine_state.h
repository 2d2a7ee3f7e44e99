/* What the engine's own files share: engine.c runs it, status.c tells of it. */
#ifndef GH_CLIENT_ENGINE_STATE_H
#define GH_CLIENT_ENGINE_STATE_H

#include <jansson.h>
#include <pthread.h>

#include "client/backoff.h"
#include "client/call.h"
#include "client/config.h"
#include "client/dial.h"
#include "client/outside.h"
#include "client/requests.h"
#include "ctl/server.h"
#include "tun/device.h"

struct client_engine {
    int channel; /* to the monitor */
    struct net_loop loop;
    struct client_config *cfg;
    char *password, *proxy_user, *proxy_password; /* secret */
    struct ppp_secret secret;
    struct tls_client *tls;
    uv_signal_t signal[2];
    struct timer_entry call_timer, retry_timer;
    struct backoff backoff;
    struct net_fd *tick; /* see outside_tick_open(); NULL: none */
    struct outside_clocks clocks;
    int exit_status;
    bool stopping;

    struct dial dial;
    struct dial_cfg dial_cfg;
    struct dial_line line; /* while calling */
    bool dialling;
    uint64_t dialled_ms;
    unsigned attempts;

    struct client_call call;
    struct client_call_cfg call_cfg;
    struct tunnel_bufs bufs;
    bool calling;
    uint64_t step_ms;

    struct net_fd *tun_nf;
    struct tun_queue tun;
    struct tun_offload tun_offload;
    bool net_dirty, net_up; /* this machine's network: to be set, is set */
    unsigned mtu;

    uint64_t up_ms; /* since when; 0: it is not up */
    bool ever_up;
    struct client_end last; /* why the latest dial or call ended */
    bool last_was_up;

    struct { /* status.c: a question of the control thread */
        struct ctl_server *server;
        pthread_mutex_t lock;
        pthread_cond_t answered;
        bool asked;
        json_t *answer;
    } status;
};

/* ---- engine_setup.c ---- */

/* Configuration, secrets, whom to trust. Not 0: *why is filled. */
MUST_USE int client_setup(struct client_engine *e, struct client_end *why);
/* Authorities and revocation lists as they are now; on failure those of before stay. No stream may be open. */
MUST_USE int client_trust_load(struct client_engine *e, struct client_end *why);
/* One request to the monitor; fd NULL: none is expected. m: its answer, text says why not. */
MUST_USE int client_ask(struct client_engine *e, enum client_request what, uint32_t index, struct priv_msg *m, int *fd);
/* Returns rc, with *why about it. */
int client_trouble(struct client_end *why, int rc, const char *text);

/* ---- status.c ---- */

/* GET /v1/status, as docs/client.md describes. listen_fd is owned. */
MUST_USE int client_status_start(struct client_engine *e, int listen_fd);
void client_status_stop(struct client_engine *e);
void client_status_woken(struct net_loop *l); /* on the loop's thread */

#endif
