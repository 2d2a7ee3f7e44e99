#include "tls/verdict.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tls/internal.h"

#define CHAIN_MAX  12 /* certificates above the leaf */
#define AUTH_LEVEL 2  /* 112 bits: RSA 2048 and SHA-256 at least */

static int64_t now_of(const struct tls_trust *t)
{
    return t->now_s ? t->now_s : time(NULL);
}

/* The first of its kind stays. */
static void note(struct tls_judgement *j, enum tls_fault fault, int depth, int code)
{
    if (!j->found[fault].is)
        j->found[fault] = (struct tls_found){ .is = true, .depth = depth, .code = code };
}

/* ---- the chain ---- */

/* TLS_FAULT_NONE: not looked at here, dates are looked at by ourselves. */
static enum tls_fault fault_of(int code)
{
    switch (code) {
    case X509_V_OK:
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
    case X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD:
    case X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD: return TLS_FAULT_NONE;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT: return TLS_FAULT_SELF_SIGNED;
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_UNTRUSTED: return TLS_FAULT_UNKNOWN_CA;
    case X509_V_ERR_CERT_REVOKED: return TLS_FAULT_REVOKED;
    case X509_V_ERR_UNABLE_TO_GET_CRL:
    case X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER:
    case X509_V_ERR_UNABLE_TO_DECRYPT_CRL_SIGNATURE:
    case X509_V_ERR_CRL_SIGNATURE_FAILURE:
    case X509_V_ERR_CRL_NOT_YET_VALID:
    case X509_V_ERR_CRL_HAS_EXPIRED:
    case X509_V_ERR_ERROR_IN_CRL_LAST_UPDATE_FIELD:
    case X509_V_ERR_ERROR_IN_CRL_NEXT_UPDATE_FIELD:
    case X509_V_ERR_KEYUSAGE_NO_CRL_SIGN:
    case X509_V_ERR_UNHANDLED_CRITICAL_CRL_EXTENSION:
    case X509_V_ERR_DIFFERENT_CRL_SCOPE:
    case X509_V_ERR_CRL_PATH_VALIDATION_ERROR: return TLS_FAULT_CRL;
    default: return TLS_FAULT_OTHER;
    }
}

/* Never stops, so that all that is wrong is found. */
static int verify_cb(int ok, X509_STORE_CTX *ctx)
{
    struct tls_judgement *j = X509_STORE_CTX_get_app_data(ctx);
    int code = X509_STORE_CTX_get_error(ctx), depth = X509_STORE_CTX_get_error_depth(ctx);
    enum tls_fault fault = ok ? TLS_FAULT_NONE : fault_of(code);
    /* A list is wanted of the leaf's issuer; a leaf that is an authority's own has none. */
    bool alone = sk_X509_num(X509_STORE_CTX_get0_chain(ctx)) == 1;
    bool unlisted = code == X509_V_ERR_UNABLE_TO_GET_CRL || code == X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER;
    if (fault != TLS_FAULT_NONE && !(unlisted && (depth > 0 || alone)))
        note(j, fault, depth, code);
    return 1;
}

static void chain_judge(const struct tls_trust *t, struct tls_judgement *j)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    if (!ctx || X509_STORE_CTX_init(ctx, t->store, sk_X509_value(j->sent, 0), j->sent) != 1) {
        note(j, TLS_FAULT_OTHER, 0, X509_V_ERR_OUT_OF_MEM);
        X509_STORE_CTX_free(ctx);
        return;
    }
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_time(param, now_of(t));
    X509_VERIFY_PARAM_set_depth(param, CHAIN_MAX);
    X509_VERIFY_PARAM_set_auth_level(param, AUTH_LEVEL);
    /* What was given to be trusted is trusted, be it an intermediate or the leaf itself. */
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN |
                                           (t->has_crl ? X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL : 0));
    X509_STORE_CTX_set_app_data(ctx, j);
    X509_STORE_CTX_set_verify_cb(ctx, verify_cb);
    if (X509_verify_cert(ctx) != 1)
        note(j, TLS_FAULT_OTHER, 0, X509_STORE_CTX_get_error(ctx));
    j->chain = X509_STORE_CTX_get1_chain(ctx);
    if (!sk_X509_num(j->chain))
        note(j, TLS_FAULT_OTHER, 0, X509_V_ERR_UNSPECIFIED);
    X509_STORE_CTX_free(ctx);
}

static void dates_judge(const struct tls_trust *t, struct tls_judgement *j)
{
    int64_t now_s = now_of(t);
    for (int i = 0; i < sk_X509_num(j->chain); i++) {
        const X509 *x = sk_X509_value(j->chain, i);
        int64_t from_s, to_s;
        if (!tls_asn1_time(X509_get0_notBefore(x), &from_s) || !tls_asn1_time(X509_get0_notAfter(x), &to_s))
            note(j, TLS_FAULT_EXPIRED, i, X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD);
        else if (now_s > to_s)
            note(j, TLS_FAULT_EXPIRED, i, X509_V_ERR_CERT_HAS_EXPIRED);
        else if (now_s < from_s)
            note(j, TLS_FAULT_NOT_YET, i, X509_V_ERR_CERT_NOT_YET_VALID);
    }
}

/* Those that an authority made are asked too: one that may sign clients' only makes no servers. */
static void usage_judge(struct tls_judgement *j)
{
    int n = sk_X509_num(j->chain);
    for (int i = 0; i < n; i++) {
        uint32_t good = XKU_SSL_SERVER | XKU_ANYEKU | (i ? XKU_SGC : 0);
        if ((i == 0 || i < n - 1) && !(X509_get_extended_key_usage(sk_X509_value(j->chain, i)) & good))
            note(j, TLS_FAULT_USAGE, i, X509_V_ERR_INVALID_PURPOSE);
    }
}

/* ---- the name ---- */

bool tls_host_literal(const char *host, char canon[46])
{
    char text[INET6_ADDRSTRLEN];
    uint8_t ip[16];
    size_t len = strcspn(host, "%"); /* a scope is not the server's */
    if (len >= sizeof text)
        return false;
    memcpy(text, host, len);
    text[len] = 0;
    int family = strchr(text, ':') ? AF_INET6 : AF_INET;
    return inet_pton(family, text, ip) == 1 && inet_ntop(family, ip, canon, 46);
}

/*
 * RFC 6125 6.4: the subjectAltName; the common name only when that holds neither a DNS name nor an address. A wildcard
 * is a whole label.
 */
static bool name_matches(X509 *leaf, const char *host)
{
    char canon[46], none[2];
    bool literal = tls_host_literal(host, canon), has_san = tls_names_text(leaf, 0, none, sizeof none) > 0;
    size_t len = strlen(host);
    if (literal && X509_check_ip_asc(leaf, canon, 0) == 1)
        return true;
    if (literal)
        return !has_san && X509_check_host(leaf, canon, 0, X509_CHECK_FLAG_NO_WILDCARDS, NULL) == 1;
    if (len && host[len - 1] == '.')
        len--;
    if (!len || host[0] == '.') /* to OpenSSL that is any name below */
        return false;
    return X509_check_host(leaf, host, len,
                           X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | (has_san ? X509_CHECK_FLAG_NEVER_CHECK_SUBJECT : 0),
                           NULL) == 1;
}

/* ---- the verdict ---- */

const char *tls_fault_name(enum tls_fault f)
{
    switch (f) {
    case TLS_FAULT_NONE: return "none";
    case TLS_FAULT_NO_CERTIFICATE: return "no-certificate";
    case TLS_FAULT_PIN: return "pin";
    case TLS_FAULT_SELF_SIGNED: return "self-signed";
    case TLS_FAULT_UNKNOWN_CA: return "unknown-ca";
    case TLS_FAULT_EXPIRED: return "expired";
    case TLS_FAULT_NOT_YET: return "not-yet";
    case TLS_FAULT_NAME: return "name";
    case TLS_FAULT_USAGE: return "usage";
    case TLS_FAULT_REVOKED: return "revoked";
    case TLS_FAULT_CRL: return "crl";
    case TLS_FAULT_OTHER: return "other";
    }
    return "?";
}

int tls_fault_code(enum tls_fault f)
{
    switch (f) {
    case TLS_FAULT_NONE: return X509_V_OK;
    case TLS_FAULT_NO_CERTIFICATE:
    case TLS_FAULT_PIN:
    case TLS_FAULT_OTHER: return X509_V_ERR_CERT_REJECTED;
    case TLS_FAULT_SELF_SIGNED: return X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT;
    case TLS_FAULT_UNKNOWN_CA: return X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY;
    case TLS_FAULT_EXPIRED: return X509_V_ERR_CERT_HAS_EXPIRED;
    case TLS_FAULT_NOT_YET: return X509_V_ERR_CERT_NOT_YET_VALID;
    case TLS_FAULT_NAME: return X509_V_ERR_HOSTNAME_MISMATCH;
    case TLS_FAULT_USAGE: return X509_V_ERR_INVALID_PURPOSE;
    case TLS_FAULT_REVOKED: return X509_V_ERR_CERT_REVOKED;
    case TLS_FAULT_CRL: return X509_V_ERR_UNABLE_TO_GET_CRL;
    }
    return X509_V_ERR_CERT_REJECTED;
}

/* Whether what was found counts: pins alone ask for that very certificate, in date and not revoked. */
static bool counts(const struct tls_trust *t, enum tls_fault f, const struct tls_found *found)
{
    if (!found->is)
        return false;
    if (!t->n_pins || t->has_ca || f <= TLS_FAULT_PIN)
        return true;
    return found->depth == 0 && (f == TLS_FAULT_EXPIRED || f == TLS_FAULT_NOT_YET || f == TLS_FAULT_REVOKED);
}

static void date_text(const ASN1_TIME *at, char out[32])
{
    struct tm tm;
    if (ASN1_TIME_to_tm(at, &tm) != 1 || !strftime(out, 32, "%Y-%m-%d %H:%M UTC", &tm))
        snprintf(out, 32, "an unreadable date");
}

static void name_words(X509 *leaf, const char *host, char *out, size_t cap)
{
    char names[80], asked[80], more[32] = "";
    size_t n = tls_names_text(leaf, 2, names, sizeof names);
    if (!n)
        tls_subject_text(leaf, names, sizeof names);
    if (n > 2)
        snprintf(more, sizeof more, " and %zu more", n - 2);
    tls_clean_text(host, asked, sizeof asked);
    snprintf(out, cap, "its certificate is for %s%s, not %s", names[0] ? names : "no name", more, asked);
}

static void pin_words(const struct tls_judgement *j, char *out, size_t cap)
{
    char hex[65];
    for (size_t i = 0; i < sizeof j->sha256; i++)
        snprintf(hex + 2 * i, 3, "%02x", j->sha256[i]);
    snprintf(out, cap, "its certificate is not the pinned one: its SHA-256 is %s", hex);
}

/* "its certificate", or whose it is. */
static void whose(X509 *x, int depth, char *out, size_t cap)
{
    char subject[64];
    tls_subject_text(x, subject, sizeof subject);
    if (depth)
        snprintf(out, cap, "the certificate of its authority \"%s\"", subject);
    else
        snprintf(out, cap, "its certificate");
}

static void words(const struct tls_judgement *j, enum tls_fault fault, const char *host, char *out, size_t cap)
{
    const struct tls_found *f = &j->found[fault];
    int last = sk_X509_num(j->chain) - 1;
    X509 *x = sk_X509_value(j->chain, f->depth <= last ? f->depth : last);
    char who[112] = "its certificate", at[32] = "", issuer[64] = "";
    if (x) {
        whose(x, f->depth, who, sizeof who);
        date_text(fault == TLS_FAULT_NOT_YET ? X509_get0_notBefore(x) : X509_get0_notAfter(x), at);
        tls_issuer_text(fault == TLS_FAULT_UNKNOWN_CA ? sk_X509_value(j->chain, last) : x, issuer, sizeof issuer);
    }
    const char *reason = X509_verify_cert_error_string(f->code);
    switch (fault) {
    case TLS_FAULT_NONE:
        snprintf(out, cap, "its certificate is %s", j->verdict.pinned ? "the pinned one" : "good");
        break;
    case TLS_FAULT_NO_CERTIFICATE: snprintf(out, cap, "it shows no certificate at all"); break;
    case TLS_FAULT_PIN: pin_words(j, out, cap); break;
    case TLS_FAULT_SELF_SIGNED:
        snprintf(out, cap, "its certificate, \"%s\", is self-signed and not trusted", issuer);
        break;
    case TLS_FAULT_UNKNOWN_CA:
        snprintf(out, cap, "its certificate leads to \"%s\", which is not trusted%s", issuer,
                 f->code == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ? "" : " or which it should send along");
        break;
    case TLS_FAULT_EXPIRED: snprintf(out, cap, "%s expired at %s", who, at); break;
    case TLS_FAULT_NOT_YET: snprintf(out, cap, "%s is not valid before %s", who, at); break;
    case TLS_FAULT_NAME: name_words(sk_X509_value(j->sent, 0), host, out, cap); break;
    case TLS_FAULT_USAGE: snprintf(out, cap, "%s is not for servers: its extended key usage says so", who); break;
    case TLS_FAULT_REVOKED: snprintf(out, cap, "%s is revoked", who); break;
    case TLS_FAULT_CRL:
        snprintf(out, cap, "whether %s is revoked cannot be told: %s, issuer \"%s\"", who,
                 f->code == X509_V_ERR_UNABLE_TO_GET_CRL ? "no CRL is at hand" : reason, issuer);
        break;
    case TLS_FAULT_OTHER: snprintf(out, cap, "%s is refused: %s", who, reason); break;
    }
}

static void conclude(const struct tls_trust *t, const char *host, struct tls_judgement *j)
{
    const struct tls_found *f = j->found;
    struct tls_verdict *v = &j->verdict;
    int fault = TLS_FAULT_NONE + 1;
    while (fault < TLS_FAULTS && !counts(t, (enum tls_fault)fault, &f[fault]))
        fault++;
    v->fault = fault < TLS_FAULTS ? (enum tls_fault)fault : TLS_FAULT_NONE;
    v->depth = f[v->fault].depth;
    words(j, v->fault, host, v->text, sizeof v->text);
    ERR_clear_error();
}

void tls_judge(const struct tls_trust *t, const char *host, STACK_OF(X509) * sent, struct tls_judgement *j)
{
    struct tls_verdict *v = &j->verdict;
    X509 *leaf = sent && sk_X509_num(sent) ? sk_X509_value(sent, 0) : NULL;
    j->sent = leaf ? X509_chain_up_ref(sent) : NULL;
    if (!j->sent || !tls_cert_hashes(leaf, j->sha1, j->sha256)) {
        note(j, leaf ? TLS_FAULT_OTHER : TLS_FAULT_NO_CERTIFICATE, 0, X509_V_ERR_OUT_OF_MEM);
        conclude(t, host, j);
        return;
    }
    for (size_t i = 0; i < t->n_pins; i++)
        v->pinned |= !memcmp(t->pin[i], j->sha256, sizeof j->sha256);
    if (t->n_pins && !v->pinned)
        note(j, TLS_FAULT_PIN, 0, 0);
    chain_judge(t, j);
    dates_judge(t, j);
    usage_judge(j);
    v->name_ok = name_matches(leaf, host);
    if (!v->name_ok)
        note(j, TLS_FAULT_NAME, 0, X509_V_ERR_HOSTNAME_MISMATCH);
    const struct tls_found *f = j->found;
    v->dates_ok = !f[TLS_FAULT_EXPIRED].is && !f[TLS_FAULT_NOT_YET].is;
    v->usage_ok = !f[TLS_FAULT_USAGE].is;
    v->chain_ok = v->dates_ok && !f[TLS_FAULT_SELF_SIGNED].is && !f[TLS_FAULT_UNKNOWN_CA].is && !f[TLS_FAULT_OTHER].is;
    conclude(t, host, j);
}

void tls_judge_staple(const struct tls_trust *t, const char *host, const uint8_t *der, size_t len,
                      struct tls_judgement *j)
{
    struct tls_ocsp ocsp;
    X509 *leaf = j->sent ? sk_X509_value(j->sent, 0) : NULL;
    if (!leaf || !der || j->verdict.stapled)
        return;
    tls_ocsp_judge(der, len, leaf, tls_issuer_find(leaf, j->chain), now_of(t), &ocsp);
    j->verdict.stapled = true;
    j->verdict.ocsp = ocsp.state;
    if (ocsp.state == TLS_OCSP_REVOKED)
        note(j, TLS_FAULT_REVOKED, 0, X509_V_ERR_CERT_REVOKED);
    conclude(t, host, j);
}

void tls_judgement_fini(struct tls_judgement *j)
{
    sk_X509_pop_free(j->sent, X509_free);
    sk_X509_pop_free(j->chain, X509_free);
}
