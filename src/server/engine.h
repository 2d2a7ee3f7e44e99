/*
 * The unprivileged process: workers, one control thread, and what they share.
 */
#ifndef GH_SERVER_ENGINE_H
#define GH_SERVER_ENGINE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdatomic.h>
#include <stdint.h>

#include "priv/channel.h"
#include "server/engine_certs.h"
#include "server/generation.h"
#include "server/pool.h"
#include "server/rates.h"
#include "tun/steer.h"

struct worker;
struct call;

/* Which call an IPv6 interface identifier belongs to: link-local packets are few, a lock is fine. */
struct iid_entry;

struct engine {
    int channel; /* to the monitor; the control thread's, under reload_lock */
    pthread_mutex_t reload_lock;
    struct tls_ticket_keys *tickets;
    struct generation *gen;       /* in force; the control thread's, under reload_lock */
    struct generation *retired;   /* those before it, while connections have them; under reload_lock */
    char last_reload_error[1200]; /* under reload_lock; "": good */
    struct cert_news news;        /* under reload_lock */
    bool refresh_again;           /* a refresh failed for a passing reason; under reload_lock */
    struct pool pool;
    struct tun_offload tun_offload; /* of the interface; as steer_why, written once, with the VPN */
    struct steer_tables steer;      /* which queue the kernel puts packets in: told by pool and engine_iid_*() */
    char steer_why[PRIV_TEXT_MAX];  /* why there is no steering; under reload_lock */
    struct worker *worker;          /* n_workers */
    unsigned n_workers;
    uint64_t started_ms;        /* monotonic */
    int64_t started_s;          /* Unix */
    _Atomic uint64_t next_conn; /* connection ids */
    _Atomic unsigned n_conns;   /* all workers */
    _Atomic unsigned n_calls;   /* SSTP calls, from the 200 to the end */
    _Atomic bool draining;
    _Atomic bool failed; /* engine_fail() */
    pthread_t control_thread;
    pthread_mutex_t iid_lock;
    struct iid_entry *iids;
    struct rates_table rates;
};

/* The engine process: descriptor 3 is the channel. Returns the exit status. */
int engine_main(void);

/*
 * New generation from the monitor, validated whole, then given to every worker. err: why not, or (on success) which
 * options wait for a restart. From the control thread or on SIGHUP.
 */
MUST_USE int engine_reload(struct engine *e, char *err, size_t cap);

/* Files of certificates changed: the same configuration with what is in them now. On SIGUSR1 from the monitor. */
void engine_refresh(struct engine *e);

/*
 * Something that serving cannot go on without is gone: stops in order and exits with 1. From any thread; the caller
 * logs why.
 */
void engine_fail(struct engine *e);

/* Has worker `owner` end the call that holds this address: another one wants it. */
void engine_hangup_ip(struct engine *e, unsigned owner, uint32_t ip);

/* Interface identifiers. Claim: ERR_LIMIT when another call has it. */
MUST_USE int engine_iid_claim(struct engine *e, const uint8_t iid[8], unsigned worker, struct call *call);
void engine_iid_release(struct engine *e, const uint8_t iid[8]);
/* Worker of the call with this identifier, or -1; *call is only to be used by that worker. */
int engine_iid_find(struct engine *e, const uint8_t iid[8], struct call **call);

#endif
