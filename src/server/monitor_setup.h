/*
 * What the monitor opens before the engine starts, and undoes when it is gone: listeners, TUN, NAT, forwarding, the
 * control socket.
 */
#ifndef GH_SERVER_MONITOR_SETUP_H
#define GH_SERVER_MONITOR_SETUP_H

#include <stdbool.h>
#include <stdint.h>

#include "server/config.h"
#include "tun/steer.h"

/* fe80::1 is our end inside every tunnel. */
extern const uint8_t setup_ip6_iid[8];

struct setup {
    unsigned threads;
    int listeners[CONFIG_THREADS_MAX][CONFIG_SOCKETS_MAX]; /* -1: not open, or given away */
    unsigned n_listen;
    int tun[TUN_QUEUES_MAX]; /* the workers' one after the other */
    unsigned tun_queues;     /* of each */
    bool tun_open;
    struct tun_offload offload; /* of the interface */
    struct steer steer;
    char steer_why[200]; /* why there is no steering */
    int control;
    char *control_path;
    bool nat;
    bool forward;
    int forward_was;
};

/*
 * Opens all of it, or nothing and an error with a remedy: ERR_USAGE (the configuration) or ERR_SYSTEM (the
 * environment).
 */
MUST_USE int setup_open(struct setup *s, const struct config *cfg, char *err, size_t cap);
void setup_undo(struct setup *s);

/* The inside alone, for a VPN that is added while running. On failure nothing of it is left. */
MUST_USE int setup_inside_open(struct setup *s, const struct config *cfg, char *err, size_t cap);
void setup_inside_undo(struct setup *s);

/* What to do about a failed bind(). */
const char *setup_bind_remedy(int error);

/* Lends the descriptors to the engine; the monitor's copies are closed by setup_close_given(). */
MUST_USE int setup_take_listeners(struct setup *s, unsigned worker, int *fds, uint32_t *n);
MUST_USE int setup_take_tun(struct setup *s, unsigned worker, int *fds, uint32_t *n);
/* The tables for IPv4 and IPv6. ERR_USAGE: there is no steering, steer_why says why. */
MUST_USE int setup_take_steer(struct setup *s, int *fds, uint32_t *n);
MUST_USE int setup_take_control(struct setup *s, int *fds, uint32_t *n);
void setup_close_given(struct setup *s); /* all of them */
void setup_close_tun(struct setup *s);   /* and what steers; the interface keeps its program */

#endif
