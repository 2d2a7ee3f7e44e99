/*
 * The configuration of `gatehouse connect`: the file of -c, options of the command line laid over it, as plain data.
 * Every option is declared once, in the table of config_options.c; the same loader as the server's reads it, and
 * options of the command line pass the same types, ranges and messages.
 */
#ifndef GH_CLIENT_CONFIG_H
#define GH_CLIENT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "config/schema.h"

#define CLIENT_PINS_MAX     8
#define CLIENT_ROUTES_MAX   64
#define CLIENT_NO_PROXY_MAX 64

struct client_config {
    struct config_origin origin;
    struct {
        char *url;                        /* NULL: not given */
        char *ca;                         /* path of a PEM file; NULL: the system's authorities */
        char *crl;                        /* path of a file or of a folder of files; NULL: none */
        uint8_t pin[CLIENT_PINS_MAX][32]; /* SHA-256 of certificates that are accepted, and no others */
        size_t n_pin;
        bool insecure;
        int min_version; /* 0x0303 (1.2, the default) or 0x0304 */
    } server;
    struct {
        char *user;          /* NULL: not given */
        char *password_file; /* path; NULL: a credential, or the terminal */
        uint8_t auth[5];     /* enum ppp_auth_method, strongest first, 0 ends; default eap-mschapv2, mschapv2 */
    } login;
    struct {
        char *interface; /* "ghc0" */
        int mtu;         /* 576..4087, default 1400 */
        struct config_prefix route[CLIENT_ROUTES_MAX];
        size_t n_route;
        bool default_route;
        int dns; /* enum netconf_dns */
        char *resolv_conf;
        bool ipv6;
        enum config_auto offload; /* super-packets on the interface */
    } tunnel;
    struct {
        char *url;           /* NULL, "": not given; "none": dial directly whatever the environment says */
        char *user;          /* NULL: none */
        char *password_file; /* path */
        char *none[CLIENT_NO_PROXY_MAX];
        size_t n_none;
    } proxy;
    struct {
        bool once;
        int first_s, max_s;
        int echo_interval_s, echo_timeout_s;
    } reconnect;
    struct {
        char *folder;
    } control;
    struct {
        enum log_level level;
        enum log_format format;
    } log;
    struct {
        char *user;
    } worker;
};

/* Reads the file. Rules between options wait for client_config_check(). ERR_USAGE, ERR_NOMEM with *err filled. */
MUST_USE int client_config_load(const char *path, struct client_config **out, struct config_error *err);

/* Without a file: every option at its default. ERR_NOMEM. */
MUST_USE int client_config_default(struct client_config **out);

/* From canonical text, touching no file; then client_config_check() has passed already. */
MUST_USE int client_config_parse_text(const char *text, struct client_config **out, struct config_error *err);

/* Canonical text, malloc'ed; NULL when out of memory. Holds no secret: those are in files. */
char *client_config_print(const struct client_config *c);

void client_config_free(struct client_config *c); /* NULL is fine */

/*
 * Sets an option by its name, as "server.url". Booleans are "true" and "false". The first text for a list takes the
 * place of what the file or the default has, further ones are added; commas part several in one text. Paths are
 * relative to the working directory. ERR_USAGE with "what: what was expected" in err; then the configuration is only
 * fit for being freed.
 */
MUST_USE int client_config_set(struct client_config *c, const char *name, const char *text, char *err, size_t cap);

/*
 * What is wrong although every value by itself is right; with "FILE:LINE: " in front where it stands in a file. To be
 * called once the command line's options are in.
 */
MUST_USE int client_config_check(const struct client_config *c, char *err, size_t cap);

/* The option's name, type, default and help, one a line, for the manual page. */
void client_config_print_options(FILE *out);

#endif
