/* The schema of the client's configuration. For config.c alone. */
#ifndef GH_CLIENT_CONFIG_OPTIONS_H
#define GH_CLIENT_CONFIG_OPTIONS_H

#include "config/schema.h"

extern const struct config_schema client_config_schema;

#endif
