/*
 * `gatehouse connect` as root: the password, files, interface, routes and DNS; never a byte from the network. It starts
 * the engine and the resolver, and undoes everything when they end, however they end.
 */
#ifndef GH_CLIENT_MONITOR_H
#define GH_CLIENT_MONITOR_H

#include "client/config.h"
#include "client/requests.h"

struct client_secrets { /* secret; owned by the caller, who wipes them */
    const char *password;
    const char *proxy_user, *proxy_password; /* NULL: none */
};

/* Runs until the client ends; the configuration has been checked. Returns the exit status. */
int client_monitor_run(const struct client_config *cfg, const struct client_secrets *secrets, enum client_mode mode);

#endif
