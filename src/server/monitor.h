/*
 * The privileged process: prepares what needs root, starts the unprivileged processes, answers the engine's few
 * requests (priv.h), and undoes everything at the end. It never looks at a byte from the network.
 */
#ifndef GH_SERVER_MONITOR_H
#define GH_SERVER_MONITOR_H

/* Runs until SIGTERM/SIGINT or the engine's end. Returns the exit status: 0, 1 (environment), 2 (configuration). */
int monitor_run(const char *config_path);

/* argv[0] of the processes that it starts; src/cli/main.c hands these to engine_main(), site_main() and
 * redirect_main(). */
#define PROCESS_ENGINE   "gatehouse: engine"
#define PROCESS_SITE     "gatehouse: site"
#define PROCESS_REDIRECT "gatehouse: redirect"

#endif
