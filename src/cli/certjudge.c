/* What speaks against a certificate file: from the facts, and the time. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/certfile.h"

#define DAY_S    86400
#define SOON_S   (30 * DAY_S) /* certbot renews by then: something is wrong */
#define URGENT_S (7 * DAY_S)

const char *certfile_severity_name(enum severity s)
{
    switch (s) {
    case SEV_ERROR: return "error";
    case SEV_WARNING: return "warning";
    case SEV_NOTE: return "note";
    }
    return "?";
}

struct verdict {
    const struct certfile *c;
    struct certfile_reason *out;
    size_t n;
    int64_t now_s;
};

__attribute__((format(printf, 5, 6))) static void against(struct verdict *v, enum severity sev, const char *code,
                                                          const char *remedy, const char *fmt, ...)
{
    va_list ap;
    if (v->n == CERTFILE_REASONS_MAX)
        return;
    struct certfile_reason *r = &v->out[v->n++];
    *r = (struct certfile_reason){ .severity = sev, .code = code, .remedy = remedy };
    va_start(ap, fmt);
    vsnprintf(r->text, sizeof r->text, fmt, ap);
    va_end(ap);
}

static void judge_dates(struct verdict *v)
{
    const struct certfile *c = v->c;
    long long days = (c->not_after_s - v->now_s) / DAY_S;
    if (v->now_s >= c->not_after_s)
        against(v, SEV_ERROR, "cert-expired", "renew it; the server takes a new file into use by itself",
                "the certificate expired %lld days ago", -days);
    else if (v->now_s < c->not_before_s)
        against(v, SEV_ERROR, "cert-not-yet-valid", "wait, or look whether this host's clock is right",
                "the certificate is not valid yet");
    else if (c->not_after_s - v->now_s < URGENT_S)
        against(v, SEV_WARNING, "cert-expires-soon", "renew it now: clients will be refused",
                "the certificate expires in %lld days only, and nobody has renewed it", days);
    else if (c->not_after_s - v->now_s < SOON_S)
        against(v, SEV_WARNING, "cert-expires-soon", "renew it", "the certificate expires in %lld days", days);
}

/* Windows insists on serverAuth or anyExtendedKeyUsage, MS-SSTP 2.1; to RFC 5280 4.2.1.12 none at all means any. */
static void judge_usage(struct verdict *v)
{
    const struct certfile *c = v->c;
    if (c->has_eku && !c->eku_server)
        against(v, SEV_ERROR, "cert-usage", "get one whose extended key usage has serverAuth",
                "the certificate is not for servers: its extended key usage is %s", c->eku);
    else if (!c->has_eku)
        against(v, SEV_WARNING, "cert-usage-absent", "get one whose extended key usage has serverAuth",
                "the certificate has no extended key usage; some clients insist on serverAuth");
    if (c->no_signing)
        against(v, SEV_ERROR, "cert-key-usage", "get one whose key usage has digitalSignature, or that has none",
                "the certificate's key may not sign: its key usage lacks digitalSignature, which every handshake of "
                "today needs");
}

static void judge_names(struct verdict *v)
{
    static const char remedy[] = "get one with a subjectAltName of the names that clients connect to";
    if (!v->c->n_names && !v->c->common_name[0])
        against(v, SEV_ERROR, "cert-no-name", remedy, "the certificate has no name");
    else if (!v->c->n_names)
        against(v, SEV_WARNING, "cert-no-san", remedy,
                "the certificate has a common name only; browsers and new clients want a subjectAltName");
}

static void judge_key(struct verdict *v, const struct certfile_link *l, const char *whose)
{
    switch (l->key) {
    case KEY_GOOD: return;
    case KEY_WEAK:
        against(v, SEV_ERROR, "cert-key-weak", "make a new key: P-256, or RSA with 2048 bits",
                "the key of %s is too weak: %s with %d bits", whose, l->key_type, l->key_bits);
        return;
    case KEY_RARE:
        against(v, SEV_WARNING, "cert-key-rare", "P-256 and RSA with 2048 bits are understood everywhere",
                "many clients, Windows among them, do not take the key of %s: %s", whose, l->key_type);
        return;
    case KEY_UNKNOWN:
        against(v, SEV_ERROR, "cert-key-curve", "make a new key: P-256, or RSA with 2048 bits",
                "clients do not know the kind of key of %s: %s", whose, l->key_type);
        return;
    }
}

static void judge_links(struct verdict *v)
{
    for (size_t i = 0; i < v->c->chain_len; i++) {
        const struct certfile_link *l = &v->c->link[i];
        char whose[300] = "the certificate";
        if (i)
            snprintf(whose, sizeof whose, "certificate %zu of the file (%.200s)", i + 1, l->subject);
        judge_key(v, l, whose);
        if (l->digest_weak && !l->self_signed) /* nobody checks the signature of a root */
            against(v, SEV_ERROR, "cert-signature-weak", "get a new one from the authority",
                    "%s is signed with %s, which clients refuse", whose, l->digest);
        if (i && v->now_s >= l->not_after_s)
            against(v, l->self_signed ? SEV_WARNING : SEV_ERROR, "cert-issuer-expired",
                    "get the authority's present intermediate certificate", "%s has expired", whose);
        else if (i && v->now_s < l->not_before_s)
            against(v, SEV_ERROR, "cert-issuer-not-yet-valid", "wait, or look whether this host's clock is right",
                    "%s is not valid yet", whose);
    }
}

static void judge_chain(struct verdict *v)
{
    const struct certfile *c = v->c;
    const struct certfile_link *last = &c->link[c->chain_len - 1];
    if (c->self_signed)
        against(v, SEV_NOTE, "cert-self-signed",
                "import it on each client, into the trusted root authorities of the computer",
                "the certificate is self-signed: clients trust it only when they were given it");
    else if (!c->issuer_there)
        against(v, SEV_WARNING, "cert-chain-incomplete",
                "append the issuer's certificate; if that is a root that all clients have, leave it as it is",
                "the certificate of the issuer, %.300s, is not in the file", c->issuer);
    else if (!c->chain_ordered)
        against(v, SEV_WARNING, "cert-chain-order", "put the leaf first, then each issuer behind what it issued",
                "the certificates in the file do not follow each other");
    else if (last->self_signed)
        against(v, SEV_NOTE, "cert-root-included", "take it out: it makes every handshake longer",
                "the root certificate is in the file; clients use their own copy");
}

size_t certfile_judge(const struct certfile *c, int64_t now_s, struct certfile_reason out[CERTFILE_REASONS_MAX])
{
    struct verdict v = { .c = c, .out = out, .now_s = now_s };
    if (!c->leaf_first) { /* the rest would be said about the wrong one */
        against(&v, SEV_ERROR, "cert-leaf-not-first", "put the leaf first, then each issuer behind what it issued",
                "the first certificate of the file is an issuer of another in it");
        return v.n;
    }
    judge_dates(&v);
    judge_usage(&v);
    judge_names(&v);
    judge_links(&v);
    judge_chain(&v);
    return v.n;
}
