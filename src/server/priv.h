/*
 * What the engine may ask of the monitor, over the channel of priv/channel.h. The monitor re-checks every argument,
 * hands out only what the configuration names (by kind and index, never by path), and parses nothing that comes from
 * the network.
 */
#ifndef GH_SERVER_PRIV_H
#define GH_SERVER_PRIV_H

#include "priv/channel.h"

enum priv_request {
    PRIV_CONFIG,    /* canonical text of the configuration in force, or of the one being loaded                    */
    PRIV_CHAIN,     /* PEM of certificate `index`                                                                  */
    PRIV_KEY,       /* its key                                                                                     */
    PRIV_OCSP,      /* the response to staple with it; no descriptor and the reason in text when there is none (yet) */
    PRIV_FRONT,     /* PEM of the certificates, alone, in the file offload.certificates[index]                     */
    PRIV_USERS,     /* the users file                                                                              */
    PRIV_LISTENERS, /* start only: listening sockets of worker `index`: listen.address, then offload.listen, in order */
    PRIV_TUN,       /* start, or a reload that adds the VPN: the queues of worker `index`; answer's index:
                       tun_offload_pack()                                                                          */
    PRIV_STEER,     /* the same times: the tables of steering, IPv4 and IPv6; refused with why there is none, in text */
    PRIV_CONTROL,   /* start only: the listening control socket                                                    */
    PRIV_SITE,      /* abstract name of the built-in site's socket for web entry `index`, in text (without the NUL) */
    PRIV_READY,     /* start only, once: the engine serves; tell whoever waits                                     */
    PRIV_RELOAD,    /* read the configuration again; until COMMIT or DROP, requests are about the new one          */
    PRIV_COMMIT,
    PRIV_DROP,
    PRIV_FAIL, /* start only: the engine cannot start; text says why, index is the exit status                */
    PRIV_REQUESTS
};

/* Engine side: one request and its answer. Returns the answer's status, or ERR_CLOSED. */
MUST_USE int priv_ask(int channel, enum priv_request type, uint32_t index, struct priv_msg *answer, int *fds,
                      unsigned fds_max);

#endif
