/*
 * What the server would do with a connection and its first request, from the configuration alone: the same functions
 * decide here and there (tls/select.h, http/head.h, config_site, config_passthrough). Pure.
 */
#ifndef GH_CLI_EXPLAIN_ROUTE_H
#define GH_CLI_EXPLAIN_ROUTE_H

#include "server/config.h"
#include "tls/select.h"

struct route_ask {
    struct tls_where where; /* sni points to name, or is NULL */
    char address[80];       /* in its one spelling, "[2001:db8::5]:443" */
    char name[TLS_NAME_MAX + 1];
    const char *method, *target; /* NULL: no request was given */
};

enum route_listener { ROUTE_NOBODY, ROUTE_TLS, ROUTE_FRONT, ROUTE_REDIRECT };

enum route_end {
    ROUTE_CALL,  /* 200, the call begins                           */
    ROUTE_WEB,   /* to the web site                                */
    ROUTE_REPLY, /* a short answer of this server: status, and why */
};

struct route_rule {
    struct tls_rule rule;
    size_t cert;     /* index into config.certs */
    const char *why; /* why it did not decide; NULL: it did */
};

struct route {
    enum route_listener listener;
    const char *listen;             /* the listener as written; NULL for ROUTE_NOBODY */
    const struct config_pass *pass; /* TLS is not ended here; what follows is not used */
    struct route_rule *rules;       /* in the file's order; malloc'ed, ROUTE_TLS only */
    size_t n_rules;
    int won;   /* index of the first rule that decided, -1: none matched */
    int shown; /* index of a rule whose certificates are shown: won, else the first; -1: none, the client is refused */
    const struct config_web *site;
    enum route_end end; /* of the request */
    int status;         /* ROUTE_REPLY */
    const char *why;    /* of the end, in words */
};

/* Reads what was asked: ADDRESS[:PORT] [NAME] [METHOD URL]. ERR_USAGE with why. */
MUST_USE int route_ask_parse(int n, char **args, struct route_ask *out, char *why, size_t cap);

/* ERR_NOMEM. route_free() the result. */
MUST_USE int route_decide(const struct config *c, const struct route_ask *ask, struct route *out);
void route_free(struct route *r);

/* explain_print.c. Both return the exit status. */
int route_print_text(const struct config *c, const struct route_ask *ask, const struct route *r);
int route_print_json(const struct config *c, const struct route_ask *ask, const struct route *r);

#endif
