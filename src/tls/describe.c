/* Certificates in words: what a stranger wrote in them never reaches a terminal or a log as more than plain text. */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "tls/client.h"
#include "tls/internal.h"

static void clean(const unsigned char *text, int len, char *out, size_t cap)
{
    size_t n = 0;
    for (int i = 0; i < len && n + 1 < cap; i++)
        out[n++] = text[i] >= ' ' && text[i] < 0x7f ? (char)text[i] : '?';
    out[n] = 0;
}

void tls_clean_text(const char *text, char *out, size_t cap)
{
    size_t len = strnlen(text, cap);
    clean((const unsigned char *)text, (int)len, out, cap);
}

static void asn1_text(ASN1_STRING *s, char *out, size_t cap)
{
    unsigned char *text = NULL;
    int len = s ? ASN1_STRING_to_UTF8(&text, s) : -1;
    clean(text, len, out, cap);
    OPENSSL_free(text);
}

static void common_name(const X509_NAME *name, char *out, size_t cap)
{
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    asn1_text(at < 0 ? NULL : X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)), out, cap);
}

size_t tls_names_text(X509 *x, size_t max, char *out, size_t cap)
{
    GENERAL_NAMES *alt = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    size_t found = 0, at = 0;
    out[0] = 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(alt); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(alt, i);
        char name[256] = "";
        if (g->type == GEN_DNS)
            asn1_text(g->d.dNSName, name, sizeof name);
        else if (g->type == GEN_IPADD && (g->d.iPAddress->length == 4 || g->d.iPAddress->length == 16))
            inet_ntop(g->d.iPAddress->length == 4 ? AF_INET : AF_INET6, g->d.iPAddress->data, name, sizeof name);
        else if (g->type != GEN_IPADD)
            continue;
        if (found++ >= max || at + 1 >= cap)
            continue;
        int n = snprintf(out + at, cap - at, "%s%s", at ? " " : "", name);
        at = n < 0 || (size_t)n >= cap - at ? cap : at + (size_t)n;
    }
    GENERAL_NAMES_free(alt);
    ERR_clear_error();
    return found;
}

void tls_subject_text(X509 *x, char *out, size_t cap)
{
    common_name(X509_get_subject_name(x), out, cap);
    GENERAL_NAMES *alt = out[0] ? NULL : X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; !out[0] && i < sk_GENERAL_NAME_num(alt); i++)
        if (sk_GENERAL_NAME_value(alt, i)->type == GEN_DNS)
            asn1_text(sk_GENERAL_NAME_value(alt, i)->d.dNSName, out, cap);
    GENERAL_NAMES_free(alt);
}

/* All of it, in OpenSSL's one-line form with escapes: "C = DE, O = Example, CN = vpn.example.com". */
static void name_text(const X509_NAME *name, char *out, size_t cap)
{
    char *text = NULL;
    BIO *b = BIO_new(BIO_s_mem());
    long len = b && X509_NAME_print_ex(b, name, 0, XN_FLAG_ONELINE) >= 0 ? BIO_get_mem_data(b, &text) : 0;
    size_t used = len > 0 ? (size_t)len : 0;
    clean((const unsigned char *)text, (int)(used < cap ? used : cap), out, cap);
    BIO_free(b);
}

void tls_issuer_text(X509 *x, char *out, size_t cap)
{
    common_name(X509_get_issuer_name(x), out, cap);
    if (!out[0])
        name_text(X509_get_issuer_name(x), out, cap);
}

void tls_key_text(EVP_PKEY *key, char *out, size_t cap)
{
    char group[64] = "";
    const char *nist = NULL;
    switch (key ? EVP_PKEY_get_base_id(key) : EVP_PKEY_NONE) {
    case EVP_PKEY_NONE: snprintf(out, cap, "unknown"); return;
    case EVP_PKEY_RSA: snprintf(out, cap, "RSA %d", EVP_PKEY_get_bits(key)); return;
    case EVP_PKEY_ED25519: snprintf(out, cap, "Ed25519"); return;
    case EVP_PKEY_EC:
        if (EVP_PKEY_get_group_name(key, group, sizeof group, NULL) == 1)
            nist = EC_curve_nid2nist(OBJ_txt2nid(group));
        snprintf(out, cap, "EC %.12s", nist ? nist : group);
        return;
    default: snprintf(out, cap, "%.15s", EVP_PKEY_get0_type_name(key) ? EVP_PKEY_get0_type_name(key) : "unknown");
    }
}

bool tls_cert_hashes(X509 *x, uint8_t sha1[20], uint8_t sha256[32])
{
    return X509_digest(x, EVP_sha1(), sha1, NULL) == 1 && X509_digest(x, EVP_sha256(), sha256, NULL) == 1;
}

bool tls_cert_describe(X509 *x, struct tls_peer_cert *out)
{
    memset(out, 0, sizeof *out);
    name_text(X509_get_subject_name(x), out->subject, sizeof out->subject);
    name_text(X509_get_issuer_name(x), out->issuer, sizeof out->issuer);
    (void)tls_names_text(x, SIZE_MAX, out->names, sizeof out->names);
    (void)!tls_asn1_time(X509_get0_notBefore(x), &out->not_before_s);
    (void)!tls_asn1_time(X509_get0_notAfter(x), &out->not_after_s);
    tls_key_text(X509_get0_pubkey(x), out->key_type, sizeof out->key_type);
    int nid = X509_get_signature_nid(x);
    snprintf(out->signature, sizeof out->signature, "%s", nid == NID_undef ? "unknown" : OBJ_nid2ln(nid));
    out->has_eku = X509_get_extension_flags(x) & EXFLAG_XKUSAGE;
    out->server_auth = X509_get_extended_key_usage(x) & (XKU_SSL_SERVER | XKU_ANYEKU);
    out->self_signed = X509_self_signed(x, 1) == 1;
    bool ok = tls_cert_hashes(x, out->sha1, out->sha256);
    ERR_clear_error();
    return ok;
}
