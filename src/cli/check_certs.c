/* Certificates, each by itself: can the file be read, is the key its own, would clients take it, what is stapled. */
#include "cli/check.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/ct.h"
#include "cli/file.h"
#include "tls/certs.h"

void check_reasons(struct check *k, const struct certfile_reason *why, size_t n, const char *file, int line,
                   const char *name)
{
    for (size_t i = 0; i < n; i++)
        finding(k, why[i].severity, why[i].code, file, line, why[i].remedy, "%s: %s", name, why[i].text);
}

static void check_names(struct check *k, const struct config_cert *cert, const struct certfile *have)
{
    for (size_t i = 0; i < cert->n_for; i++) {
        struct tls_rule rule;
        if (!tls_rule_parse(cert->for_[i], &rule) && (rule.kind == TLS_RULE_NAME || rule.kind == TLS_RULE_WILDCARD) &&
            !certfile_names_host(have, cert->for_[i]))
            finding(k, SEV_WARNING, "cert-wrong-name", cert->file, cert->line,
                    "get a certificate with this name, or take the name out of for",
                    "certificate \"%s\" is for \"%s\", which is not among its names: clients would refuse it",
                    cert->name, cert->for_[i]);
    }
}

/* False: the key says that another certificate of the file is the leaf. */
static bool check_key(struct check *k, const struct config_cert *cert)
{
    struct certfile_reason why;
    struct stat st;
    int rc = certfile_key_judge(cert->chain, cert->key, &why);
    if (rc < 0)
        finding(k, why.severity, why.code, cert->file, cert->line, why.remedy, "key %s: %s", cert->key, why.text);
    else if (stat(cert->key, &st) == 0 && st.st_mode & 07)
        finding(k, SEV_WARNING, "key-exposed", cert->file, cert->line, "chmod o= it: the server reads it as root",
                "key %s can be read by everyone on this host", cert->key);
    return rc == 0 || strcmp(why.code, "cert-leaf-not-first") != 0;
}

static void check_staple_file(struct check *k, const struct config_cert *cert, const struct certfile *have)
{
    static const char refresh[] = "look at the program that refreshes the file; a changed file is used by itself";
    enum severity missing = have->must_staple ? SEV_WARNING : SEV_NOTE;
    struct tls_ocsp o = { 0 };
    struct stat st;
    bool there = stat(cert->ocsp, &st) == 0;
    if (there && !S_ISREG(st.st_mode))
        finding(k, SEV_WARNING, "ocsp-unreadable", cert->file, cert->line, "name the file that holds the response",
                "%s: %s is not a file", cert->name, cert->ocsp);
    else if (!there && errno == ENOENT)
        finding(k, missing, "ocsp-missing", cert->file, cert->line, refresh,
                "%s: there is no OCSP response to staple yet: %s", cert->name, cert->ocsp);
    else if (!there || certfile_ocsp(cert->chain, cert->ocsp, k->now_s, &o) < 0)
        finding(k, SEV_WARNING, "ocsp-unreadable", cert->file, cert->line, "look at its owner and mode", "%s: %s: %s",
                cert->name, cert->ocsp, strerror(errno));
    switch (o.state) {
    case TLS_OCSP_NONE:
    case TLS_OCSP_GOOD: return;
    case TLS_OCSP_STALE:
        finding(k, SEV_WARNING, "ocsp-stale", cert->file, cert->line, refresh,
                "%s: the OCSP response is not stapled: %s", cert->name, o.why);
        return;
    case TLS_OCSP_REVOKED:
        finding(k, SEV_ERROR, "ocsp-revoked", cert->file, cert->line, "get a new certificate",
                "%s: the authority has revoked it: clients refuse it", cert->name);
        return;
    case TLS_OCSP_WRONG:
        finding(k, SEV_WARNING, "ocsp-wrong", cert->file, cert->line,
                "it must be a DER response of the issuer's responder about this certificate",
                "%s: the OCSP response is not stapled: %s", cert->name, o.why);
        return;
    }
}

static void check_staple(struct check *k, const struct config_cert *cert, const struct certfile *have)
{
    if (cert->ocsp) {
        if (have->issuer_there || have->self_signed) /* else nothing can be checked, and the chain is the finding */
            check_staple_file(k, cert, have);
    } else if (have->must_staple) {
        finding(k, SEV_WARNING, "cert-must-staple", cert->file, cert->line,
                "let a program fetch its OCSP responses into a file, and name that in certificates.ocsp",
                "%s: it says that a response must be stapled (TLS feature), and none is: some clients refuse it",
                cert->name);
    } else if (have->ocsp_url[0]) {
        finding(k, SEV_NOTE, "cert-not-stapled", cert->file, cert->line,
                "certificates.ocsp staples an answer, which serves clients that cannot reach the authority",
                "%s: Windows asks %s whether it is revoked, and gives up when that cannot be reached", cert->name,
                have->ocsp_url);
    } else if (have->crl_url[0]) {
        finding(k, SEV_NOTE, "cert-not-stapled", cert->file, cert->line,
                "this address must be reachable for clients that are not connected yet",
                "%s: Windows fetches %s to see whether it is revoked, and gives up when that cannot be reached",
                cert->name, have->crl_url);
    }
}

/* Whatever the server itself has against it, and nothing above has found. */
static void check_load(struct check *k, const struct config_cert *cert)
{
    struct tls_cert_source src = { .name = cert->name };
    struct tls_cert *loaded = NULL;
    char *chain = NULL, *key = NULL, err[400];
    if (file_read(cert->chain, TLS_PEM_FILE_MAX, &chain, &src.chain_len) == 0 &&
        file_read(cert->key, TLS_PEM_FILE_MAX, &key, &src.key_len) == 0) {
        src.chain_pem = chain;
        src.key_pem = key;
        if (tls_cert_load(&src, k->now_s, &loaded, err, sizeof err) == ERR_USAGE)
            finding(k, SEV_ERROR, "cert-unusable", cert->file, cert->line, "get a new certificate", "%s", err);
    }
    tls_cert_unref(loaded);
    secret_free(chain, src.chain_len);
    secret_free(key, src.key_len);
}

static void check_cert(struct check *k, const struct config_cert *cert, struct check_cert *out)
{
    struct certfile_reason why[CERTFILE_REASONS_MAX];
    size_t errors = k->count[SEV_ERROR];
    if (certfile_load(cert->chain, &out->file, why) < 0) {
        finding(k, why->severity, why->code, cert->file, cert->line, why->remedy, "chain %s: %s", cert->chain,
                why->text);
        return;
    }
    if (!check_key(k, cert))
        return;
    size_t n = certfile_judge(&out->file, k->now_s, why);
    check_reasons(k, why, n, cert->file, cert->line, cert->name);
    if (!out->file.leaf_first)
        return;
    out->read = true;
    check_names(k, cert, &out->file);
    check_staple(k, cert, &out->file);
    if (k->count[SEV_ERROR] == errors)
        check_load(k, cert);
}

static bool both_for(const struct config_cert *a, const struct config_cert *b, const char **what)
{
    for (size_t i = 0; i < a->n_for; i++)
        for (size_t j = 0; j < b->n_for; j++)
            if (!strcmp(*what = a->for_[i], b->for_[j]))
                return true;
    return false;
}

/* One name may have two certificates, an RSA and an ECDSA one. */
static void check_pairs(struct check *k)
{
    const char *what;
    for (size_t i = 0; i < k->c->n_certs; i++)
        for (size_t j = 0; j < i; j++) {
            const struct config_cert *later = &k->c->certs[i], *earlier = &k->c->certs[j];
            if (!k->cert[i].read || !k->cert[j].read || !both_for(later, earlier, &what) ||
                strncmp(k->cert[i].file.key_type, k->cert[j].file.key_type, 2) != 0)
                continue;
            finding(k, SEV_ERROR, "cert-same-key-type", later->file, later->line,
                    "take the name out of one of the two, or make them an RSA and an ECDSA certificate",
                    "\"%s\" and \"%s\" are both for \"%s\", with the same type of key", earlier->name, later->name,
                    what);
        }
}

void check_certs(struct check *k)
{
    for (size_t i = 0; i < k->c->n_certs; i++)
        check_cert(k, &k->c->certs[i], &k->cert[i]);
    check_pairs(k);
}
