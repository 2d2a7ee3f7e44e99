/* What the files of the server's configuration share. Nobody else includes this. */
#ifndef GH_SERVER_CONFIG_OPTIONS_H
#define GH_SERVER_CONFIG_OPTIONS_H

#include "config/loader.h"
#include "server/config.h"

extern const struct config_schema config_server_schema;

/* Rules between options (config_rules.c). */
void config_rules_check(struct config_loader *l);

#endif
