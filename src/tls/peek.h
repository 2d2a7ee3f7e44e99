/*
 * The server name in a ClientHello that was not consumed (RFC 8446 4.1.2, RFC 6066 3), for TLS passthrough. Pure.
 * A ClientHello may be cut into records (RFC 8446 5.1) and segments anywhere.
 */
#ifndef GH_TLS_PEEK_H
#define GH_TLS_PEEK_H

#include "base/rd.h"
#include "tls/select.h"

#define TLS_PEEK_MAX 18432 /* bytes of records that are looked at: 16 KiB of ClientHello, and headers */

/*
 * all: the connection's bytes so far. 0: out holds the name, lower case, no final dot, "" when none (or none usable) is
 * there; ERR_AGAIN: more bytes are needed, never with TLS_PEEK_MAX of them; ERR_PEER: not a ClientHello, as far as can
 * be seen; ERR_LIMIT: one longer than is looked at.
 */
MUST_USE int tls_peek_sni(struct rd all, char out[TLS_NAME_MAX + 1]);

#endif
