/*
 * What the control thread tells about certificates: that one was changed or could not be, that its end is near, that
 * its OCSP response is no good. And the same for `gatehouse status --json`. All under the engine's reload_lock.
 */
#ifndef GH_SERVER_ENGINE_CERTS_H
#define GH_SERVER_ENGINE_CERTS_H

#include <jansson.h>

#include "server/generation.h"

struct cert_news { /* what was said, so that it is said once */
    struct {
        uint8_t sha256[32];
        int days;                 /* see expiry.h */
        enum tls_ocsp_state ocsp; /* TLS_OCSP_GOOD: nothing to say */
    } said[CONFIG_CERTS_MAX];
};

/* A new generation is in force: which certificates are others than before (NULL at start), which could not be taken. */
void cert_news_generation(struct cert_news *n, const struct generation *g, const struct generation *before,
                          int64_t now_s);

/* Time goes by: expiry and OCSP. Once a minute is often enough. */
void cert_news_tick(struct cert_news *n, const struct generation *g, int64_t now_s);

/* Arrays for the status: docs/control-api.md. */
json_t *cert_status_json(const struct generation *g, int64_t now_s);
json_t *front_status_json(const struct generation *g, int64_t now_s);

#endif
