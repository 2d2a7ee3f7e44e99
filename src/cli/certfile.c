/* Reading certificates and keys, and what is known about them. Whether that is good: certjudge.c. */
#include "cli/certfile.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/ct.h"
#include "cli/file.h"

#define OCSP_FILE_MAX (64u << 10)

/* ---- text ---- */

/* Whoever made the certificate chose the bytes: what is not a printable ASCII character stands there in hexadecimal. */
static void escape(const void *data, int len, char *out, size_t cap)
{
    const unsigned char *p = data;
    size_t n = 0;
    for (int i = 0; i < len && n + 5 < cap; i++) {
        if (p[i] >= ' ' && p[i] < 0x7f && p[i] != '\\')
            out[n++] = (char)p[i];
        else
            n += (size_t)snprintf(out + n, cap - n, "\\x%02X", p[i]);
    }
    out[n] = 0;
}

static void escape_string(const ASN1_STRING *s, char *out, size_t cap)
{
    escape(ASN1_STRING_get0_data(s), ASN1_STRING_length(s), out, cap);
}

__attribute__((format(printf, 4, 5))) static void say(struct certfile_reason *why, const char *code, const char *remedy,
                                                      const char *fmt, ...)
{
    va_list ap;
    *why = (struct certfile_reason){ .severity = SEV_ERROR, .code = code, .remedy = remedy };
    va_start(ap, fmt);
    vsnprintf(why->text, sizeof why->text, fmt, ap);
    va_end(ap);
}

/* ---- one certificate ---- */

static void read_names(X509 *x, struct certfile *out)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);
        int ip_len = g->type == GEN_IPADD ? ASN1_STRING_length(g->d.iPAddress) : 0;
        if (g->type != GEN_DNS && ip_len != 4 && ip_len != 16)
            continue;
        if (out->n_names == CERTFILE_NAMES_MAX) {
            out->more_names = true;
            break;
        }
        char *to = out->names[out->n_names++];
        if (g->type == GEN_DNS)
            escape_string(g->d.dNSName, to, sizeof out->names[0]);
        else
            inet_ntop(ip_len == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(g->d.iPAddress), to,
                      sizeof out->names[0]);
    }
    GENERAL_NAMES_free(all);
    X509_NAME *subject = X509_get_subject_name(x);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at >= 0)
        escape_string(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)), out->common_name,
                      sizeof out->common_name);
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
    out->no_signing = X509_get_extension_flags(x) & EXFLAG_KUSAGE && !(X509_get_key_usage(x) & KU_DIGITAL_SIGNATURE);
    STACK_OF(ASN1_INTEGER) *feature = X509_get_ext_d2i(x, NID_tlsfeature, NULL, NULL);
    for (int i = 0; i < sk_ASN1_INTEGER_num(feature); i++)
        out->must_staple = out->must_staple || ASN1_INTEGER_get(sk_ASN1_INTEGER_value(feature, i)) == 5;
    sk_ASN1_INTEGER_pop_free(feature, ASN1_INTEGER_free);
}

static void read_revocation(X509 *x, struct certfile *out)
{
    AUTHORITY_INFO_ACCESS *aia = X509_get_ext_d2i(x, NID_info_access, NULL, NULL);
    for (int i = 0; i < sk_ACCESS_DESCRIPTION_num(aia); i++) {
        const ACCESS_DESCRIPTION *a = sk_ACCESS_DESCRIPTION_value(aia, i);
        if (!out->ocsp_url[0] && OBJ_obj2nid(a->method) == NID_ad_OCSP && a->location->type == GEN_URI)
            escape_string(a->location->d.uniformResourceIdentifier, out->ocsp_url, sizeof out->ocsp_url);
    }
    AUTHORITY_INFO_ACCESS_free(aia);
    CRL_DIST_POINTS *points = X509_get_ext_d2i(x, NID_crl_distribution_points, NULL, NULL);
    for (int i = 0; i < sk_DIST_POINT_num(points); i++) {
        const DIST_POINT *p = sk_DIST_POINT_value(points, i);
        const GENERAL_NAMES *names = p->distpoint && p->distpoint->type == 0 ? p->distpoint->name.fullname : NULL;
        for (int k = 0; k < sk_GENERAL_NAME_num(names); k++) {
            const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, k);
            if (!out->crl_url[0] && g->type == GEN_URI)
                escape_string(g->d.uniformResourceIdentifier, out->crl_url, sizeof out->crl_url);
        }
    }
    CRL_DIST_POINTS_free(points);
}

static int64_t unix_time(const ASN1_TIME *t)
{
    struct tm tm;
    memset(&tm, 0, sizeof tm);
    return ASN1_TIME_to_tm(t, &tm) ? (int64_t)timegm(&tm) : 0;
}

static enum certfile_key judge_key(int type, int bits, int curve)
{
    switch (type) {
    case EVP_PKEY_RSA: return bits < 2048 ? KEY_WEAK : KEY_GOOD;
    case EVP_PKEY_ED25519: return KEY_RARE;
    case EVP_PKEY_EC:
        return curve == NID_X9_62_prime256v1 || curve == NID_secp384r1 ? KEY_GOOD
               : curve == NID_secp521r1                                ? KEY_RARE
               : bits < 256                                            ? KEY_WEAK
                                                                       : KEY_UNKNOWN;
    default: return KEY_UNKNOWN; /* OpenSSL's numbers, not an enum of ours */
    }
}

static void read_key(X509 *x, struct certfile_link *out)
{
    EVP_PKEY *key = X509_get0_pubkey(x);
    char group[32] = "";
    const char *type = key ? EVP_PKEY_get0_type_name(key) : NULL;
    int curve = key && EVP_PKEY_get_group_name(key, group, sizeof group, NULL) ? OBJ_txt2nid(group) : NID_undef;
    if (curve == NID_X9_62_prime256v1)
        snprintf(group, sizeof group, "P-256");
    snprintf(out->key_type, sizeof out->key_type, "%.12s%s%.16s", type ? type : "unknown", *group ? " " : "", group);
    out->key_bits = key ? EVP_PKEY_get_bits(key) : 0;
    out->key = key ? judge_key(EVP_PKEY_get_base_id(key), out->key_bits, curve) : KEY_UNKNOWN;
}

static void read_link(X509 *x, struct certfile_link *out)
{
    int digest = NID_undef;
    X509_NAME_oneline(X509_get_subject_name(x), out->subject, sizeof out->subject); /* escapes */
    out->not_before_s = unix_time(X509_get0_notBefore(x));
    out->not_after_s = unix_time(X509_get0_notAfter(x));
    out->self_signed = X509_self_signed(x, 1) == 1;
    if (X509_get_signature_info(x, &digest, NULL, NULL, NULL) == 1 && digest != NID_undef)
        snprintf(out->digest, sizeof out->digest, "%s", OBJ_nid2sn(digest));
    out->digest_weak = digest == NID_md2 || digest == NID_md4 || digest == NID_md5 || digest == NID_sha1;
    read_key(x, out);
}

static void read_leaf(X509 *x, struct certfile *out)
{
    const struct certfile_link *l = &out->link[0];
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned len;
    X509_NAME_oneline(X509_get_subject_name(x), out->subject, sizeof out->subject);
    X509_NAME_oneline(X509_get_issuer_name(x), out->issuer, sizeof out->issuer);
    out->not_before_s = l->not_before_s;
    out->not_after_s = l->not_after_s;
    out->self_signed = l->self_signed;
    memcpy(out->key_type, l->key_type, sizeof out->key_type);
    out->key_bits = l->key_bits;
    if (X509_digest(x, EVP_sha256(), hash, &len))
        hex_encode(hash, 32, out->sha256);
    if (X509_digest(x, EVP_sha1(), hash, &len))
        hex_encode(hash, 20, out->sha1);
    read_names(x, out);
    read_usage(x, out);
    read_revocation(x, out);
}

/* ---- a file ---- */

static void read_chain(STACK_OF(X509) * all, struct certfile *out)
{
    X509 *leaf = sk_X509_value(all, 0);
    int n = sk_X509_num(all);
    memset(out, 0, sizeof *out);
    out->chain_len = (size_t)n;
    out->chain_ordered = out->leaf_first = true;
    for (int i = 0; i < n; i++) {
        X509 *x = sk_X509_value(all, i), *previous = i ? sk_X509_value(all, i - 1) : NULL;
        read_link(x, &out->link[i]);
        out->chain_ordered = out->chain_ordered && (!i || X509_check_issued(x, previous) == X509_V_OK);
        out->leaf_first = out->leaf_first && (!i || X509_check_issued(leaf, x) != X509_V_OK || !X509_cmp(leaf, x));
        out->issuer_there = out->issuer_there || (i && X509_check_issued(x, leaf) == X509_V_OK);
    }
    read_leaf(leaf, out);
    ERR_clear_error();
}

static void say_pem(struct certfile_reason *why, bool key, const struct tls_pem_error *e)
{
    static const struct {
        const char *cert, *key, *remedy;
    } table[] = {
        [TLS_PEM_EMPTY] = { "cert-empty", "key-empty", "look at the program that writes it" },
        [TLS_PEM_TOO_LARGE] = { "cert-too-large", "key-too-large", "name the right file" },
        [TLS_PEM_BINARY] = { "cert-not-pem", "key-not-pem", "convert it to PEM" },
        [TLS_PEM_NONE] = { "cert-unreadable", "key-unreadable", "name the right file, in PEM" },
        [TLS_PEM_DAMAGED] = { "cert-unreadable", "key-unreadable", "get the file anew: it was cut or changed" },
        [TLS_PEM_TOO_MANY] = { "cert-chain-long", "key-unreadable", "leave the leaf and its issuers in it, no others" },
        [TLS_PEM_ENCRYPTED] = { "cert-unreadable", "key-encrypted", "keep it without a password, readable for root" },
    };
    say(why, key ? table[e->fault].key : table[e->fault].cert, table[e->fault].remedy, "%s", e->text);
}

/* The bytes of a file, to be freed with secret_free(). */
static int read_file(const char *path, bool key, char **text, size_t *len, struct certfile_reason *why)
{
    if (file_read(path, TLS_PEM_FILE_MAX, text, len) == 0)
        return 0;
    if (errno == EFBIG)
        say_pem(why, key,
                &(struct tls_pem_error){ TLS_PEM_TOO_LARGE, "the file is larger than 1 MiB: no PEM file is" });
    else
        say(why, key ? "key-unreadable" : "cert-unreadable", "look at its owner and mode", "%s", strerror(errno));
    return errno == EFBIG ? ERR_USAGE : ERR_SYSTEM;
}

static int parse(const char *pem, size_t len, const char *what, STACK_OF(X509) * *out, struct certfile_reason *why)
{
    struct tls_pem_error e;
    int rc = tls_pem_chain(pem, len, what, out, &e);
    if (rc == ERR_USAGE)
        say_pem(why, false, &e);
    else if (rc)
        say(why, "cert-unreadable", "free some memory", "%s", err_name(rc));
    return rc;
}

int certfile_parse(const char *pem, size_t len, const char *what, struct certfile *out, struct certfile_reason *why)
{
    STACK_OF(X509) *all = NULL;
    int rc = parse(pem, len, what, &all, why);
    if (!rc)
        read_chain(all, out);
    sk_X509_pop_free(all, X509_free);
    return rc;
}

static int read_all(const char *path, STACK_OF(X509) * *out, struct certfile_reason *why)
{
    char *text = NULL;
    size_t len = 0;
    int rc = read_file(path, false, &text, &len, why);
    if (!rc)
        rc = parse(text, len, "the file", out, why);
    secret_free(text, len); /* HAProxy keeps keys there too */
    return rc;
}

int certfile_load(const char *path, struct certfile *out, struct certfile_reason *why)
{
    STACK_OF(X509) *all = NULL;
    int rc = read_all(path, &all, why);
    if (!rc)
        read_chain(all, out);
    sk_X509_pop_free(all, X509_free);
    return rc;
}

int certfile_read(const char *path, struct certfile *out, char *why, size_t cap)
{
    struct certfile_reason r;
    int rc = certfile_load(path, out, &r);
    if (rc < 0)
        snprintf(why, cap, "%s", r.text);
    return rc;
}

static int key_judge(STACK_OF(X509) * all, EVP_PKEY *key, struct certfile_reason *why)
{
    for (int i = 0; i < sk_X509_num(all); i++) {
        if (X509_check_private_key(sk_X509_value(all, i), key) != 1)
            continue;
        if (!i)
            return 0;
        say(why, "cert-leaf-not-first", "put the leaf first, then each issuer behind what it issued",
            "it belongs to certificate %d of the chain file, not to the first", i + 1);
        return ERR_USAGE;
    }
    say(why, "key-mismatch", "name the key that was made together with the certificate",
        "it does not belong to the certificate");
    return ERR_USAGE;
}

int certfile_key_judge(const char *chain, const char *key, struct certfile_reason *why)
{
    char *text = NULL;
    size_t len = 0;
    EVP_PKEY *k = NULL;
    STACK_OF(X509) *all = NULL;
    struct tls_pem_error e;
    int rc = read_file(key, true, &text, &len, why);
    if (!rc && (rc = tls_pem_key(text, len, "the file", &k, &e)) == ERR_USAGE)
        say_pem(why, true, &e);
    else if (rc == ERR_NOMEM)
        say(why, "key-unreadable", "free some memory", "%s", err_name(rc));
    if (!rc)
        rc = read_all(chain, &all, why);
    if (!rc)
        rc = key_judge(all, k, why);
    EVP_PKEY_free(k);
    sk_X509_pop_free(all, X509_free);
    secret_free(text, len);
    ERR_clear_error();
    return rc;
}

int certfile_key_check(const char *chain, const char *key, char *why, size_t cap)
{
    struct certfile_reason r;
    int rc = certfile_key_judge(chain, key, &r);
    if (rc < 0)
        snprintf(why, cap, "%s", r.text);
    return rc;
}

int certfile_ocsp(const char *chain, const char *ocsp, int64_t now_s, struct tls_ocsp *out)
{
    struct certfile_reason why;
    STACK_OF(X509) *all = NULL;
    char *der = NULL;
    size_t len = 0;
    if (file_read(ocsp, OCSP_FILE_MAX, &der, &len) < 0) {
        if (errno != EFBIG)
            return ERR_SYSTEM;
        *out = (struct tls_ocsp){ .state = TLS_OCSP_WRONG, .why = "it is larger than 64 KiB" };
        return 0;
    }
    int rc = read_all(chain, &all, &why);
    if (!rc) {
        X509 *leaf = sk_X509_shift(all);
        tls_ocsp_judge((const uint8_t *)der, len, leaf, tls_issuer_find(leaf, all), now_s, out);
        X509_free(leaf);
    }
    sk_X509_pop_free(all, X509_free);
    free(der);
    ERR_clear_error();
    return rc;
}

bool certfile_names_host(const struct certfile *c, const char *name)
{
    const char *dot = strchr(name, '.');
    for (size_t i = 0; i < (c->n_names ? c->n_names : 1); i++) {
        const char *have = c->n_names ? c->names[i] : c->common_name;
        if (!strcasecmp(have, name) || (!strncmp(have, "*.", 2) && dot && !strcasecmp(have + 1, dot)))
            return true;
    }
    return c->more_names;
}
