/*
 * One generation of everything that a reload can change: configuration, certificates, users, web sites. Immutable,
 * reference counted; a connection keeps the one that it began with.
 */
#ifndef GH_SERVER_GENERATION_H
#define GH_SERVER_GENERATION_H

#include "auth/users.h"
#include "ppp/link.h"
#include "server/config.h"
#include "sstp/server.h"
#include "tls/certs.h"

struct generation_web {
    struct config_addr upstream; /* the configured one, or the built-in site's socket; text is borrowed */
    const struct config_web *cfg;
};

struct generation {
    _Atomic unsigned refs;
    unsigned number; /* 1 at start, one more for each reload */
    struct config *cfg;
    struct tls_certs *certs;
    struct users *users; /* NULL without vpn */
    struct ppp_cfg ppp;
    struct sstp_server_cfg sstp;
    struct generation_web web[CONFIG_WEB_MAX];
};

/*
 * Asks the monitor for the configuration and all that it names, and judges it whole. On failure err says what is wrong,
 * with file and line; *status is the exit status that a start would end with (2: configuration, 1: environment).
 */
MUST_USE int generation_load(int channel, struct tls_ticket_keys *tickets, unsigned number, struct generation **out,
                             char *err, size_t cap, int *status);
struct generation *generation_ref(struct generation *g);
void generation_unref(struct generation *g);

/* The web entry for an SNI name (NULL: none was sent): exact, wildcard, or the one without a name, which every
 * configuration has. */
const struct generation_web *generation_site(const struct generation *g, const char *sni);

#endif
