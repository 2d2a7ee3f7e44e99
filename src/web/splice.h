/*
 * A passthrough: two TCP (or Unix) sockets joined by splice(2), bytes never seen (docs/architecture.md). For
 * connections whose TLS another server ends. What was peeked at is still in the client's socket, so that nothing needs
 * to be sent first but a PROXY header.
 *
 * Half-closes are carried through either way. A slow side stops the reader of the other; at most a pipe's worth waits
 * in each direction. Pipes are taken from a pool while bytes wait and given back when they are empty. Without a pipe to
 * be had (out of descriptors), a direction waits until there is one. Descriptors: two sockets, and four more while both
 * directions are held up.
 */
#ifndef GH_WEB_SPLICE_H
#define GH_WEB_SPLICE_H

#include "web/relay.h"

struct splice_pool;                           /* pipes of one worker */
struct splice_pool *splice_pool_new(void);    /* NULL: out of memory */
void splice_pool_free(struct splice_pool *p); /* after the last passthrough that uses it; NULL is fine */

struct splice;

/*
 * Takes over client (rebound). Of p, these count: upstream, upstream_len, proxy, addr, idle_ms, connect_ms, done, arg;
 * the rest is ignored. RELAY_UPSTREAM_DOWN: the client's connection was closed (there is no page to show inside of
 * TLS that is not ours). NULL: out of memory, then client is freed too and done() is not called.
 */
struct splice *splice_start(struct net_loop *loop, struct splice_pool *pool, struct net_fd *client,
                            const struct relay_params *p);

/* Ends it at once; done() is called with RELAY_STOPPED. */
void splice_stop(struct splice *s);

#endif
