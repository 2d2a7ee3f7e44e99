/*
 * The load client's data path: one call attached to a TUN device. The packed design of limit.c: TUN packets fill
 * records of 16 KiB while there are more, the socket is read in large pieces.
 */
#ifndef GH_BENCH_LOAD_TUNNEL_H
#define GH_BENCH_LOAD_TUNNEL_H

#include "load_call.h"

/* Dials, sets the TUN's address and MTU from IPCP, prints {"up": ...} and forwards until the call ends. Exit status. */
int tunnel_run(struct call_cfg *cfg, const char *tun_name, int mtu);

#endif
