/*
 * The load client's data path: calls attached to one TUN device with offloads. A super-packet from the TUN is cut into
 * records of the call that has its source address; what calls deliver is joined. One thread; a call whose socket is
 * full loses packets and keeps no other waiting.
 */
#ifndef GH_BENCH_LOAD_TUNNEL_H
#define GH_BENCH_LOAD_TUNNEL_H

#include "load_call.h"

struct tunnel_cfg {
    const char *tun;
    int mtu;
    unsigned calls;
};

/*
 * Dials the calls, gives their addresses to the TUN, prints {"up": N, "ips": [...]} and forwards until a call ends,
 * which is a failure, or until SIGTERM, when it prints {"up": 0, ...} with what was lost. Exit status.
 */
int tunnel_run(struct call_cfg *call, const struct tunnel_cfg *cfg);

#endif
