/*
 * The client's unprivileged process: dials, keeps the call, dials again. See requests.h for what it has root do, and
 * docs/client.md for when it gives up.
 */
#ifndef GH_CLIENT_ENGINE_H
#define GH_CLIENT_ENGINE_H

/* Descriptors as in requests.h. Returns the exit status of `gatehouse connect`. */
int client_engine_main(void);

#endif
