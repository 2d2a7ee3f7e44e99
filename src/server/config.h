/*
 * The configuration: what the file says, checked, as plain data.
 *
 * Every option is declared once, in the table of config_options.c: section, name, type, range, default, help. The table
 * drives the loader, `check`, `serve --print-config` and the manual page. A configuration is immutable once loaded and
 * is owned by whoever loaded it.
 *
 * config_load() is the operator's way in (file, @include, references to other files resolved relative to the file's own
 * folder). config_print() writes a canonical text with every option spelled out and absolute paths;
 * config_parse_text() reads it back without touching any file: that is how the monitor hands it to the engine.
 */
#ifndef GH_SERVER_CONFIG_H
#define GH_SERVER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "config/schema.h"
#include "http/proxy.h"

#define CONFIG_LISTEN_MAX   16
#define CONFIG_SOCKETS_MAX  (2 * CONFIG_LISTEN_MAX) /* listen.address and offload.listen together */
#define CONFIG_CERTS_MAX    64
#define CONFIG_CERT_FOR_MAX 64
#define CONFIG_WEB_MAX      64
#define CONFIG_PASS_MAX     64
#define CONFIG_REDIRECT_MAX 4
#define CONFIG_FROM_MAX     64
#define CONFIG_FRONT_MAX    32 /* offload.certificates */
#define CONFIG_NETWORKS_MAX 8
#define CONFIG_THREADS_MAX  64
#define CONFIG_POOL_MAX     (1u << 20) /* addresses in all networks together */

struct config_cert {
    char *name;                      /* for messages; default "certificate N" */
    char *chain;                     /* path of a PEM file: leaf first */
    char *key;                       /* path of a PEM file */
    char *ocsp;                      /* path of a DER file that need not be there (yet); NULL: nothing is stapled */
    char *for_[CONFIG_CERT_FOR_MAX]; /* rules in their one spelling, see tls/select.h */
    size_t n_for;
    const char *file;
    int line;
};

struct config_web {
    char *name;                     /* SNI name it is for, or "*.name"; NULL: everything without a site of its own */
    struct config_addr upstream;    /* len 0: the built-in site */
    struct config_addr upstream_h2; /* len 0: ALPN h2 is not offered */
    enum proxy_version proxy_protocol;
    char *root; /* folder of the built-in site; NULL: the welcome page. Not together with upstream */
    const char *file;
    int line;
};

struct config_pass {
    char *name; /* SNI name, or "*.name" */
    struct config_addr upstream;
    enum proxy_version proxy_protocol;
    const char *file;
    int line;
};

enum config_probe_answer { CONFIG_PROBE_401, CONFIG_PROBE_404, CONFIG_PROBE_WEB };
enum config_nat { CONFIG_NAT_OFF, CONFIG_NAT_AUTO };
enum config_no_match { CONFIG_NO_MATCH_DEFAULT, CONFIG_NO_MATCH_ALERT };

struct config {
    struct config_origin origin;
    struct {
        struct config_addr address[CONFIG_LISTEN_MAX];
        size_t n_address;
        struct config_prefix proxy_from[CONFIG_FROM_MAX]; /* connections from there begin with a PROXY header */
        size_t n_proxy_from;
        struct config_addr redirect[CONFIG_REDIRECT_MAX]; /* plain HTTP, redirected to https */
        size_t n_redirect;
        char *acme_webroot; /* folder; NULL: no ACME challenges */
    } listen;
    struct config_cert certs[CONFIG_CERTS_MAX];
    size_t n_certs;
    struct {
        int min_version;    /* 0x0303 (1.2, the default) or 0x0304 (1.3) */
        char *ciphers;      /* TLS 1.2, OpenSSL syntax; default Mozilla intermediate */
        char *ciphersuites; /* TLS 1.3 */
        enum config_no_match no_match;
    } tls;
    struct config_web web[CONFIG_WEB_MAX]; /* exactly one has no name: the loader adds the welcome site when none has */
    size_t n_web;
    struct config_pass pass[CONFIG_PASS_MAX];
    size_t n_pass;
    bool vpn_on; /* there is a vpn section */
    struct {
        struct config_net4 network[CONFIG_NETWORKS_MAX];
        size_t n_network;
        uint32_t dns[2], nbns[2];  /* host order, 0: none */
        uint8_t auth[4];           /* enum ppp_auth_method, strongest first, 0 ends; default mschapv2 only */
        char *users;               /* path */
        char *interface;           /* "gh0" */
        int mtu;                   /* 1280..4087, default 1400 */
        enum config_nat nat;       /* default off; "auto": masquerade what leaves by another interface */
        bool forward;              /* switch forwarding on while running; default false */
        bool ipv6;                 /* IPV6CP answered, link-local only; default true */
        enum config_auto offload;  /* super-packets on the interface; default auto */
        enum config_auto steering; /* the kernel hands each worker its own calls' packets; default auto */
        int max_calls;             /* default 10000 */
        enum config_probe_answer probe_answer;
        int echo_interval_s;     /* silence until ECHO_REQUEST; default 25, 1..300 */
        int echo_timeout_s;      /* silence after it until the call is dropped; default 60, 1..300 */
        int lcp_echo_interval_s; /* 0: off, the default */
        int auth_tries;          /* default 3 */
    } vpn;
    bool offload_on; /* there is an offload section */
    struct {         /* TLS ended in front of us */
        struct config_addr listen[CONFIG_LISTEN_MAX];
        size_t n_listen;
        struct config_prefix from[CONFIG_FROM_MAX]; /* who may connect there */
        size_t n_from;
        bool proxy_required; /* each connection begins with a PROXY header */
        struct config_leaf cert[CONFIG_FRONT_MAX];
        size_t n_cert;
        int overlap_s; /* a certificate that was replaced is accepted so long; default 600 */
    } offload;
    struct {
        char *socket; /* default "/run/gatehouse/control" */
    } control;
    struct {
        int to;                 /* 0: standard error, all there is now */
        enum log_level level;   /* default notice */
        enum log_format format; /* default logfmt */
    } log;
    struct {
        int threads; /* 0: one per CPU */
        char *user;  /* default "gatehouse" */
    } worker;
    struct {
        int handshake_timeout_s;        /* TLS handshake, default 10 */
        int head_timeout_s;             /* first request, default 10 */
        int idle_timeout_s;             /* a relayed web connection without a byte either way, default 300 */
        int connections;                /* open at once, all workers together, default 20000 */
        int unauthenticated_per_source; /* connections of one source (IPv4 address, IPv6 /64) that are neither web nor a
                                           logged-in call, per worker; default 64 */
        int web_per_source;             /* relayed web connections of one source, per worker; default 512 */
        int call_queue_kib;             /* that may wait for one call, default 16384 */
        int worker_queue_mib;           /* for all calls of a worker together, default 64; at least one call's */
    } limits;
};

/* Reads and checks the file. ERR_USAGE with *err filled when anything is wrong; nothing is half-loaded. */
MUST_USE int config_load(const char *path, struct config **out, struct config_error *err);

/*
 * The same for `check` and the commands that mend things: report is called for every error, not only the first. With
 * files false the files that the configuration names need not exist. *out is written only when there was no error.
 */
MUST_USE int config_judge(const char *path, bool files, struct config **out, config_report_fn *report, void *arg);

/* The same from canonical text, touching no file: an @include or a relative path is an error. */
MUST_USE int config_parse_text(const char *text, struct config **out, struct config_error *err);

/* Canonical libconfig text, malloc'ed; NULL when out of memory. Contains no secret (those live in files). */
char *config_print(const struct config *c);

/* The same as JSON (jansson), malloc'ed text. */
char *config_print_json(const struct config *c);

void config_free(struct config *c);

/*
 * Where an option that is in no list of groups stands, by the address of its field, as &c->worker.user: the option
 * when it was written, else its section, else the main file.
 */
MUST_USE struct config_place config_place(const struct config *c, const void *field);

/* First host of the first network: the server's own tunnel address, host order. */
uint32_t config_server_ip4(const struct config *c);

/*
 * For each option in the table, in order: section, name, type and range in words, default, help. The manual page is
 * made from it (`gatehouse serve --print-options`).
 */
void config_print_options(FILE *out);

/*
 * What a reload cannot change while running (listen addresses, vpn.network, vpn.interface, worker, control.socket):
 * names of such options that differ between a and b, comma-separated, "" when none. out has cap bytes.
 */
void config_restart_needed(const struct config *a, const struct config *b, char *out, size_t cap);

/* The web entry for an SNI name (NULL: none was sent): exact, then wildcard, then the one without a name. Never NULL.
 */
const struct config_web *config_site(const struct config *c, const char *sni);

/* The passthrough entry for an SNI name: exact, then wildcard; NULL: none, TLS ends here. */
const struct config_pass *config_passthrough(const struct config *c, const char *sni);

#endif
