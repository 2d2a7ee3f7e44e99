/*
 * What a PEM file holds, and whether SSTP clients would take it. Files are read by the server's own parser (tls/pem.h);
 * whatever text a certificate has is escaped here, so that it can be printed.
 */
#ifndef GH_CLI_CERTFILE_H
#define GH_CLI_CERTFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "tls/ocsp.h"
#include "tls/pem.h"

#define CERTFILE_NAMES_MAX   500
#define CERTFILE_REASONS_MAX 64

enum severity {
    SEV_ERROR,   /* clients are refused, or the server does not start */
    SEV_WARNING, /* some clients are refused, or soon will be */
    SEV_NOTE,    /* good to know */
};

enum certfile_key {             /* what clients think of a public key */
                    KEY_GOOD,   /* RSA from 2048 bits, P-256, P-384 */
                    KEY_WEAK,   /* RSA below 2048 bits, curves below 256 */
                    KEY_RARE,   /* many clients lack it: P-521, Ed25519 */
                    KEY_UNKNOWN /* no client or next to none: other curves, other types */
};

struct certfile_link { /* any certificate of the file */
    char subject[256];
    int64_t not_before_s, not_after_s; /* Unix seconds */
    char key_type[32];                 /* "EC P-256", "RSA" */
    int key_bits;
    enum certfile_key key;
    char digest[24]; /* of its signature: "SHA256" */
    bool digest_weak, self_signed;
};

struct certfile {
    /* of the leaf, the first certificate */
    char subject[512], issuer[512];
    char names[CERTFILE_NAMES_MAX][256]; /* subjectAltName: DNS names and addresses */
    size_t n_names;
    bool more_names; /* than fit */
    char common_name[256];
    int64_t not_before_s, not_after_s;
    char key_type[32];
    int key_bits;
    bool has_eku, eku_server; /* serverAuth or anyExtendedKeyUsage is in it */
    char eku[256];            /* "serverAuth, clientAuth" */
    bool no_signing;          /* there is a key usage, and digitalSignature is not in it */
    bool self_signed;
    bool must_staple;                 /* TLS feature status_request, RFC 7633 */
    char ocsp_url[256], crl_url[256]; /* where clients ask whether it is revoked; "" when nowhere */
    char sha256[65], sha1[41];        /* of the DER */
    /* of the file */
    struct certfile_link link[TLS_PEM_CHAIN_MAX + 1]; /* the leaf too */
    size_t chain_len;                                 /* certificates in the file */
    bool leaf_first;                                  /* the first certificate issued no other of the file */
    bool issuer_there;                                /* the leaf's is in the file */
    bool chain_ordered;                               /* each certificate is followed by its issuer's */
};

struct certfile_reason {
    enum severity severity;
    const char *code; /* stable, "cert-expired"; docs/check.md lists them */
    char text[400];
    const char *remedy;
};

/* ERR_SYSTEM when it cannot be read, ERR_USAGE when it holds no certificate or something broken; why says so in words.
 */
MUST_USE int certfile_read(const char *path, struct certfile *out, char *why, size_t cap);

/* The same, with a code and a remedy. */
MUST_USE int certfile_load(const char *path, struct certfile *out, struct certfile_reason *why);

/* The same from PEM text of any kind; what: its name in *why. ERR_NOMEM too. */
MUST_USE int certfile_parse(const char *pem, size_t len, const char *what, struct certfile *out,
                            struct certfile_reason *why);

/* Does the key belong to the leaf of the chain? ERR_USAGE when not or there is none, ERR_SYSTEM when unreadable. */
MUST_USE int certfile_key_check(const char *chain, const char *key, char *why, size_t cap);
MUST_USE int certfile_key_judge(const char *chain, const char *key, struct certfile_reason *why);

/* What the file says about the leaf of the chain: as the server judges it before stapling. ERR_SYSTEM with errno. */
MUST_USE int certfile_ocsp(const char *chain, const char *ocsp, int64_t now_s, struct tls_ocsp *out);

/* What speaks against it; returns how many. Pure. src/cli/certjudge.c */
size_t certfile_judge(const struct certfile *c, int64_t now_s, struct certfile_reason out[CERTFILE_REASONS_MAX]);

const char *certfile_severity_name(enum severity s); /* "error", "warning", "note" */

/* Is it for this server name ("www.example.com", "*.example.com")? True as well when it has more names than were read.
 */
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
