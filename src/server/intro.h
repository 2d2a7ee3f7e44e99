/*
 * From accept to the first byte of TLS: may this address connect, is there a PROXY header from a load balancer, which
 * server name is in the ClientHello (for passthrough). Headers and names are peeked at, so that nothing read here is
 * missing later; only a PROXY header is then taken away.
 */
#ifndef GH_SERVER_INTRO_H
#define GH_SERVER_INTRO_H

#include "server/conn.h"

/* CONN_PROXY: reads the header; then what comes next begins, or the connection is refused. c may be gone afterwards. */
void intro_proxy_io(struct conn *c);

/* CONN_PEEK: reads the name; then TLS begins or is passed through, or the connection is refused. */
void intro_peek_io(struct conn *c);

#endif
