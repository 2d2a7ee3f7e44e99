/*
 * What the client's engine may ask of its monitor, over the channel of priv/channel.h. The monitor hands out only what
 * the configuration names, checks every field of a wish again, and parses nothing that comes from the network.
 */
#ifndef GH_CLIENT_REQUESTS_H
#define GH_CLIENT_REQUESTS_H

#include "priv/channel.h"

#define CLIENT_STDOUT_FD   4 /* of the engine: standard output, for --json */
#define CLIENT_RESOLVER_FD 5 /* of the engine: the resolver's channel */

#define PROCESS_CLIENT   "gatehouse: connect"
#define PROCESS_RESOLVER "gatehouse: resolver"

enum client_request {
    CLIENT_CONFIG,         /* canonical text of the configuration; answer's index: enum client_mode          */
    CLIENT_PASSWORD,       /* of login.user                                                                  */
    CLIENT_PROXY_USER,     /* no descriptor: none                                                            */
    CLIENT_PROXY_PASSWORD, /* the same                                                                       */
    CLIENT_CA,             /* authorities of server.ca, PEM; no descriptor: none are given                   */
    CLIENT_SYSTEM_CA,      /* the system's; no descriptor: it has none                                       */
    CLIENT_CRL,            /* revocation list `index`; no descriptor: that was the last                      */
    CLIENT_TUN,            /* the interface's queue, made anew; answer's index: tun_offload_pack()           */
    CLIENT_CONTROL,        /* the listening control socket; once                                             */
    CLIENT_UP,             /* text holds a struct netconf_wish; answer's text: why not                       */
    CLIENT_DOWN,           /* routes and DNS as they were                                                    */
    CLIENT_STATE,          /* what is set: answer's text, DNS way, then a blank, then routes                 */
    CLIENT_REQUESTS
};

#define CLIENT_UP_ROUTE 1 /* index of a refusing answer to CLIENT_UP: a route could not be set */

enum client_mode {
    CLIENT_MODE_LOG,      /* events in the log, quiet otherwise */
    CLIENT_MODE_TERMINAL, /* lines for a person who watches     */
    CLIENT_MODE_JSON,     /* objects on standard output         */
};

#endif
