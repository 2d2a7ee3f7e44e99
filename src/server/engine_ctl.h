/* The control API's requests, answered by the engine (docs/control-api.md). */
#ifndef GH_SERVER_ENGINE_CTL_H
#define GH_SERVER_ENGINE_CTL_H

#include <jansson.h>

/* A ctl_handler (ctl/server.h); arg is the struct engine. */
int engine_ctl(void *arg, const char *method, const char *path, const json_t *body, json_t **answer);

#endif
