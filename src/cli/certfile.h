/* What a PEM file holds, and whether SSTP clients would take it. */
#ifndef GH_CLI_CERTFILE_H
#define GH_CLI_CERTFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CERTFILE_NAMES_MAX   100
#define CERTFILE_REASONS_MAX 8
#define CERTFILE_MAX         (1u << 20) /* bytes of a file */

struct certfile { /* of the leaf, the first certificate */
    char subject[512], issuer[512];
    char names[CERTFILE_NAMES_MAX][256]; /* subjectAltName: DNS names and addresses */
    size_t n_names;
    char common_name[256];
    int64_t not_before_s, not_after_s; /* Unix seconds */
    char key_type[32];                 /* "EC P-256", "RSA" */
    int key_bits;
    bool has_eku, eku_server; /* serverAuth or anyExtendedKeyUsage is in it */
    char eku[256];            /* "serverAuth, clientAuth" */
    bool self_signed;
    bool chain_ordered;        /* each certificate is followed by its issuer's */
    char sha256[65], sha1[41]; /* of the DER */
    size_t chain_len;          /* certificates in the file */
};

struct certfile_reason {
    bool fatal;       /* clients refuse it; else: some may */
    const char *code; /* stable, "cert-expired" */
    char text[200];
    const char *remedy;
};

/* ERR_SYSTEM when it cannot be read, ERR_USAGE when it holds no certificate; why says so in words. */
MUST_USE int certfile_read(const char *path, struct certfile *out, char *why, size_t cap);

/* Does the key belong to the leaf of the chain? ERR_USAGE when not, ERR_SYSTEM when unreadable. */
MUST_USE int certfile_key_check(const char *chain, const char *key, char *why, size_t cap);

/* What speaks against it, worst first as found; returns how many. */
size_t certfile_judge(const struct certfile *c, int64_t now_s, struct certfile_reason out[CERTFILE_REASONS_MAX]);

/* Is it for this server name ("www.example.com", "*.example.com")? */
MUST_USE bool certfile_names_host(const struct certfile *c, const char *name);

struct certfile_spec {
    const char *const *names; /* DNS names and addresses; the first is the common name */
    size_t n_names;
    bool rsa, request, replace;
    int days;
    const char *cert_path, *key_path;
};

/* Makes key and self-signed certificate (or request). ERR_USAGE: a name or file is not right; ERR_SYSTEM. */
MUST_USE int certfile_make(const struct certfile_spec *spec, char *why, size_t cap);

#endif
