/*
 * One generation of everything that a reload can change: configuration, certificates, users, web sites. Immutable,
 * reference counted; a connection keeps the one that it began with. When only files of certificates change, the next
 * generation shares all but those with the one before.
 */
#ifndef GH_SERVER_GENERATION_H
#define GH_SERVER_GENERATION_H

#include "auth/users.h"
#include "ppp/link.h"
#include "server/config.h"
#include "server/front.h"
#include "sstp/server.h"
#include "tls/certs.h"

struct generation_web {
    struct config_addr upstream; /* the configured one, or the built-in site's socket; text is borrowed */
    const struct config_web *cfg;
};

#define GENERATION_TROUBLE_MAX 1000

struct generation_cert {
    struct tls_cert *cert;
    char *trouble; /* what is wrong with its files now, so that the certificate of before is served; NULL: nothing */
};

/* What generations share when only files of certificates changed. */
struct generation_base {
    _Atomic unsigned refs;
    struct config *cfg;
    struct users *users;
};

struct generation {
    _Atomic unsigned refs;
    unsigned number; /* 1 at start, one more for each reload or change of files */
    struct generation_base *base;
    struct config *cfg;      /* base's */
    struct tls_certs *certs; /* NULL without certificates */
    struct generation_cert cert[CONFIG_CERTS_MAX];
    struct front front;                                    /* with offload */
    struct sstp_cert_hashes front_named[CONFIG_FRONT_MAX]; /* of offload.certificates, in order */
    char *front_trouble[CONFIG_FRONT_MAX];                 /* as above */
    int64_t again_s;     /* Unix: a certificate that was kept back becomes valid then; 0: none */
    struct users *users; /* base's; NULL without vpn */
    struct ppp_cfg ppp;
    struct sstp_server_cfg sstp;
    struct generation_web web[CONFIG_WEB_MAX];
    struct generation *next; /* the engine's: of those that were in force */
};

/*
 * Asks the monitor for the configuration and all that it names, and judges it whole. On failure err says what is wrong,
 * with file and line; *status is the exit status that a start would end with (2: configuration, 1: environment).
 * before: the generation in force, NULL at start. A certificate that was not in force must be fit (tls_cert_fit); at
 * start there is nothing better, and it is served with a warning.
 */
MUST_USE int generation_load(int channel, struct tls_ticket_keys *tickets, const struct generation *before,
                             struct generation **out, char *err, size_t cap, int *status);

/*
 * The same for files of certificates alone, with the configuration of `before`. A file that cannot be used is no
 * failure: what was read last goes on, and trouble says why. ERR_NOMEM, or ERR_CLOSED without a monitor.
 */
MUST_USE int generation_refresh(int channel, struct tls_ticket_keys *tickets, struct generation *before,
                                struct generation **out);

struct generation *generation_ref(struct generation *g);
void generation_unref(struct generation *g);

/* Nobody has it but the caller. */
bool generation_is_last(const struct generation *g);

/* The name of the configured certificate with this leaf; "" when none has it. */
const char *generation_cert_name(const struct generation *g, const uint8_t sha256[32]);

/* The web entry for an SNI name (NULL: none was sent): exact, wildcard, or the one without a name, which every
 * configuration has. */
const struct generation_web *generation_site(const struct generation *g, const char *sni);

#endif
