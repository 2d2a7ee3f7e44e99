#include "cli/certfile.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/ct.h"

#define SOON_S (14 * 86400) /* a certificate that expires sooner is worth a warning */

static void read_names(X509 *x, struct certfile *out)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(all) && out->n_names < CERTFILE_NAMES_MAX; i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);
        char *to = out->names[out->n_names];
        if (g->type == GEN_DNS) {
            snprintf(to, sizeof out->names[0], "%.*s", ASN1_STRING_length(g->d.dNSName),
                     (const char *)ASN1_STRING_get0_data(g->d.dNSName));
            out->n_names++;
        } else if (g->type == GEN_IPADD) {
            int len = ASN1_STRING_length(g->d.iPAddress);
            if ((len == 4 || len == 16) && inet_ntop(len == 4 ? AF_INET : AF_INET6,
                                                     ASN1_STRING_get0_data(g->d.iPAddress), to, sizeof out->names[0]))
                out->n_names++;
        }
    }
    GENERAL_NAMES_free(all);
    if (X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, out->common_name, sizeof out->common_name) <
        0)
        out->common_name[0] = 0;
}

static void read_usage(X509 *x, struct certfile *out)
{
    EXTENDED_KEY_USAGE *eku = X509_get_ext_d2i(x, NID_ext_key_usage, NULL, NULL);
    size_t n = 0;
    out->has_eku = eku != NULL;
    for (int i = 0; i < sk_ASN1_OBJECT_num(eku); i++) {
        int nid = OBJ_obj2nid(sk_ASN1_OBJECT_value(eku, i));
        out->eku_server = out->eku_server || nid == NID_server_auth || nid == NID_anyExtendedKeyUsage;
        if (n < sizeof out->eku)
            n += (size_t)snprintf(out->eku + n, sizeof out->eku - n, "%s%s", n ? ", " : "",
                                  nid == NID_undef ? "other" : OBJ_nid2sn(nid));
    }
    EXTENDED_KEY_USAGE_free(eku);
}

static int64_t unix_time(const ASN1_TIME *t)
{
    struct tm tm;
    memset(&tm, 0, sizeof tm);
    return ASN1_TIME_to_tm(t, &tm) ? (int64_t)timegm(&tm) : 0;
}

static void read_key(X509 *x, struct certfile *out)
{
    EVP_PKEY *key = X509_get0_pubkey(x);
    char group[32] = "";
    const char *type = key ? EVP_PKEY_get0_type_name(key) : NULL;
    if (!type)
        type = "unknown";
    if (key && EVP_PKEY_get_group_name(key, group, sizeof group, NULL) && !strcmp(group, "prime256v1"))
        snprintf(group, sizeof group, "P-256");
    snprintf(out->key_type, sizeof out->key_type, "%.12s%s%.16s", type, *group ? " " : "", group);
    out->key_bits = key ? EVP_PKEY_get_bits(key) : 0;
}

static void read_leaf(X509 *x, struct certfile *out)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned len;
    X509_NAME_oneline(X509_get_subject_name(x), out->subject, sizeof out->subject);
    X509_NAME_oneline(X509_get_issuer_name(x), out->issuer, sizeof out->issuer);
    out->not_before_s = unix_time(X509_get0_notBefore(x));
    out->not_after_s = unix_time(X509_get0_notAfter(x));
    out->self_signed = X509_self_signed(x, 1) == 1;
    if (X509_digest(x, EVP_sha256(), hash, &len))
        hex_encode(hash, 32, out->sha256);
    if (X509_digest(x, EVP_sha1(), hash, &len))
        hex_encode(hash, 20, out->sha1);
    read_names(x, out);
    read_usage(x, out);
    read_key(x, out);
}

int certfile_read(const char *path, struct certfile *out, char *why, size_t cap)
{
    BIO *in = BIO_new_file(path, "r");
    X509 *previous = NULL, *x;
    if (!in) {
        snprintf(why, cap, "%s", errno ? strerror(errno) : "cannot be opened");
        ERR_clear_error();
        return ERR_SYSTEM;
    }
    memset(out, 0, sizeof *out);
    out->chain_ordered = true;
    while ((x = PEM_read_bio_X509(in, NULL, NULL, NULL))) {
        if (!out->chain_len++)
            read_leaf(x, out);
        else if (X509_check_issued(x, previous) != X509_V_OK)
            out->chain_ordered = false;
        X509_free(previous);
        previous = x;
    }
    bool clean = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    X509_free(previous);
    BIO_free(in);
    ERR_clear_error();
    if (!clean || !out->chain_len) {
        snprintf(why, cap,
                 out->chain_len ? "certificate %zu in it is damaged"
                                : "there is no certificate in it (PEM is expected)",
                 out->chain_len + 1);
        return ERR_USAGE;
    }
    return 0;
}

static int no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)writing;
    *(bool *)arg = true;
    return -1;
}

int certfile_key_check(const char *chain, const char *key, char *why, size_t cap)
{
    bool encrypted = false;
    int rc = ERR_SYSTEM;
    BIO *in = BIO_new_file(key, "r");
    if (!in) {
        snprintf(why, cap, "%s", strerror(errno));
        ERR_clear_error();
        return rc;
    }
    EVP_PKEY *k = PEM_read_bio_PrivateKey(in, NULL, no_passphrase, &encrypted);
    BIO_free(in);
    in = BIO_new_file(chain, "r");
    X509 *x = in ? PEM_read_bio_X509(in, NULL, NULL, NULL) : NULL;
    BIO_free(in);
    if (!k)
        snprintf(why, cap,
                 encrypted ? "it is protected by a passphrase; 'openssl pkey -in OLD -out NEW' removes that"
                           : "there is no private key in it (PEM is expected)");
    else if (!x)
        snprintf(why, cap, "the certificate cannot be read");
    else if (X509_check_private_key(x, k) != 1) {
        snprintf(why, cap, "it does not belong to the certificate in %s", chain);
        rc = ERR_USAGE;
    } else
        rc = 0;
    EVP_PKEY_free(k);
    X509_free(x);
    ERR_clear_error();
    return rc;
}

__attribute__((format(printf, 6, 7))) static void against(struct certfile_reason *out, size_t *n, bool fatal,
                                                          const char *code, const char *remedy, const char *fmt, ...)
{
    va_list ap;
    struct certfile_reason *r = &out[(*n)++];
    *r = (struct certfile_reason){ .fatal = fatal, .code = code, .remedy = remedy };
    va_start(ap, fmt);
    vsnprintf(r->text, sizeof r->text, fmt, ap);
    va_end(ap);
}

/* At most one reason a line below: CERTFILE_REASONS_MAX has room for all. */
size_t certfile_judge(const struct certfile *c, int64_t now_s, struct certfile_reason out[CERTFILE_REASONS_MAX])
{
    size_t n = 0;
    if (now_s >= c->not_after_s)
        against(out, &n, true, "cert-expired", "renew it; the server takes a new file into use by itself or on reload",
                "the certificate expired %lld days ago", (long long)(now_s - c->not_after_s) / 86400);
    else if (now_s < c->not_before_s)
        against(out, &n, true, "cert-not-yet-valid", "wait, or look whether this host's clock is right",
                "the certificate is not valid yet");
    else if (c->not_after_s - now_s < SOON_S)
        against(out, &n, false, "cert-expires-soon", "renew it", "the certificate expires in %lld days",
                (long long)(c->not_after_s - now_s) / 86400);
    if (c->has_eku && !c->eku_server)
        against(out, &n, true, "cert-usage", "get one whose extended key usage has serverAuth",
                "the certificate is not for servers: its extended key usage is %s", c->eku);
    else if (!c->has_eku)
        against(out, &n, false, "cert-usage-absent", "get one whose extended key usage has serverAuth",
                "the certificate has no extended key usage; some clients insist on serverAuth");
    if (!c->n_names && !c->common_name[0])
        against(out, &n, true, "cert-no-name", "get one with a subjectAltName of the names that clients connect to",
                "the certificate has no name");
    else if (!c->n_names)
        against(out, &n, false, "cert-no-san", "get one with a subjectAltName of the names that clients connect to",
                "the certificate has a common name only; browsers and new clients want a subjectAltName");
    if (!strncmp(c->key_type, "RSA", 3) && c->key_bits < 2048)
        against(out, &n, true, "cert-key-weak", "make a new key: P-256, or RSA with 2048 bits",
                "the RSA key has only %d bits", c->key_bits);
    if (!c->chain_ordered)
        against(out, &n, false, "cert-chain-order", "put the leaf first, then each issuer behind what it issued",
                "the certificates in the file do not follow each other");
    return n;
}

bool certfile_names_host(const struct certfile *c, const char *name)
{
    const char *dot = strchr(name, '.');
    for (size_t i = 0; i < (c->n_names ? c->n_names : 1); i++) {
        const char *have = c->n_names ? c->names[i] : c->common_name;
        if (!strcasecmp(have, name) || (!strncmp(have, "*.", 2) && dot && !strcasecmp(have + 1, dot)))
            return true;
    }
    return false;
}
