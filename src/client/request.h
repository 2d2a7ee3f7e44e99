/* The request that makes a connection an SSTP call, and the answer to it (MS-SSTP 2.2.2, 2.2.3). Pure but for
 * randomness. */
#ifndef GH_CLIENT_REQUEST_H
#define GH_CLIENT_REQUEST_H

#include "base/rand.h"
#include "client/causes.h"
#include "http/answer.h"
#include "http/url.h"

/* The SSTP request for a host (MS-SSTP 2.2.2), correlation id included; bytes written, 0 when out is too small. */
size_t request_write(char *out, size_t cap, const struct http_url *server, const struct rng *rng);

/* Judges the answer to it: true when SSTP may begin; else *why says what is wrong. */
MUST_USE bool request_answer_good(const struct http_answer *a, struct client_end *why);

#endif
