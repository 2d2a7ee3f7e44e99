/* Making keys, self-signed certificates and requests. */
#include "cli/certfile.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "base/ct.h"
#include "cli/file.h"
#include "server/config.h"

static bool is_address(const char *name)
{
    unsigned char ip[16];
    return inet_pton(AF_INET, name, ip) == 1 || inet_pton(AF_INET6, name, ip) == 1;
}

/* "DNS:www.example.com,IP:192.0.2.1" */
static int names_text(const struct certfile_spec *spec, char *out, size_t cap, char *why, size_t why_cap)
{
    size_t n = 0;
    if (spec->n_names > CERTFILE_NAMES_MAX) {
        snprintf(why, why_cap, "at most %d names fit", CERTFILE_NAMES_MAX);
        return ERR_USAGE;
    }
    for (size_t i = 0; i < spec->n_names; i++) {
        const char *name = spec->names[i];
        bool ip = is_address(name);
        if (!ip && !config_name_valid(!strncmp(name, "*.", 2) ? name + 2 : name)) {
            snprintf(why, why_cap, "\"%s\" is neither a DNS name nor an address", name);
            return ERR_USAGE;
        }
        n += (size_t)snprintf(out + n, cap - n, "%s%s:%s", n ? "," : "", ip ? "IP" : "DNS", name);
    }
    return 0;
}

static bool add_extension(STACK_OF(X509_EXTENSION) * list, X509V3_CTX *ctx, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, ctx, nid, value);
    if (!e || !sk_X509_EXTENSION_push(list, e)) {
        X509_EXTENSION_free(e);
        return false;
    }
    return true;
}

/* What a server's certificate for SSTP carries: KB 947054, RFC 5280 4.2.1. */
static STACK_OF(X509_EXTENSION) * extensions(const struct certfile_spec *spec, X509V3_CTX *ctx, const char *names)
{
    STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();
    const char *usage = spec->rsa ? "critical,digitalSignature,keyEncipherment" : "critical,digitalSignature";
    if (list && add_extension(list, ctx, NID_basic_constraints, "critical,CA:FALSE") &&
        add_extension(list, ctx, NID_key_usage, usage) && add_extension(list, ctx, NID_ext_key_usage, "serverAuth") &&
        add_extension(list, ctx, NID_subject_alt_name, names) &&
        (spec->request || add_extension(list, ctx, NID_subject_key_identifier, "hash")))
        return list;
    sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
    return NULL;
}

static bool set_subject(X509_NAME *name, const struct certfile_spec *spec)
{
    const char *cn = spec->names[0];
    if (strlen(cn) > 64) /* ub-common-name, RFC 5280 appendix A.1; the subjectAltName has it in full */
        cn = "gatehouse";
    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0) == 1;
}

static bool set_serial(X509 *x)
{
    unsigned char raw[16];
    if (RAND_bytes(raw, sizeof raw) != 1)
        return false;
    raw[0] = (unsigned char)((raw[0] & 0x7f) | 0x40); /* positive, and not short */
    BIGNUM *n = BN_bin2bn(raw, sizeof raw, NULL);
    bool ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
    BN_free(n);
    return ok;
}

static bool write_cert(const struct certfile_spec *spec, EVP_PKEY *key, const char *names, BIO *out)
{
    X509 *x = X509_new();
    X509V3_CTX ctx;
    STACK_OF(X509_EXTENSION) *list = NULL;
    bool ok = x && X509_set_version(x, X509_VERSION_3) && set_serial(x) &&
              X509_gmtime_adj(X509_getm_notBefore(x), -3600) && /* clients' clocks */
              X509_time_adj_ex(X509_getm_notAfter(x), spec->days, 0, NULL) &&
              set_subject(X509_get_subject_name(x), spec) && X509_set_issuer_name(x, X509_get_subject_name(x)) &&
              X509_set_pubkey(x, key);
    if (ok) {
        X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
        list = extensions(spec, &ctx, names);
    }
    ok = list != NULL;
    for (int i = 0; ok && i < sk_X509_EXTENSION_num(list); i++)
        ok = X509_add_ext(x, sk_X509_EXTENSION_value(list, i), -1) == 1;
    ok = ok && X509_sign(x, key, EVP_sha256()) && PEM_write_bio_X509(out, x);
    sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
    X509_free(x);
    return ok;
}

static bool write_request(const struct certfile_spec *spec, EVP_PKEY *key, const char *names, BIO *out)
{
    X509_REQ *r = X509_REQ_new();
    X509V3_CTX ctx;
    STACK_OF(X509_EXTENSION) *list = NULL;
    bool ok = r && set_subject(X509_REQ_get_subject_name(r), spec) && X509_REQ_set_pubkey(r, key);
    if (ok) {
        X509V3_set_ctx(&ctx, NULL, NULL, r, NULL, 0);
        list = extensions(spec, &ctx, names);
    }
    ok = list && X509_REQ_add_extensions(r, list) && X509_REQ_sign(r, key, EVP_sha256()) &&
         PEM_write_bio_X509_REQ(out, r);
    sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
    X509_REQ_free(r);
    return ok;
}

static int save(BIO *from, const char *path, mode_t mode, bool replace, char *why, size_t cap)
{
    char *data;
    long len = BIO_get_mem_data(from, &data);
    int rc = file_write(path, data, (size_t)len, mode, replace ? FILE_OLD_GOES : FILE_OLD_STAYS);
    if (rc < 0 && errno == EEXIST) {
        snprintf(why, cap, "%s is there already; --force overwrites it", path);
        return ERR_USAGE;
    }
    if (rc < 0)
        snprintf(why, cap, "cannot write %s: %s", path, strerror(errno));
    return rc;
}

int certfile_make(const struct certfile_spec *spec, char *why, size_t cap)
{
    static char names[CERTFILE_NAMES_MAX * 260]; /* commands run once, on one thread */
    int rc = names_text(spec, names, sizeof names, why, cap);
    if (rc < 0)
        return rc;
    if (!spec->replace && access(spec->cert_path, F_OK) == 0) { /* before a key is written that nothing belongs to */
        snprintf(why, cap, "%s is there already; --force overwrites it", spec->cert_path);
        return ERR_USAGE;
    }
    EVP_PKEY *key = spec->rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
    BIO *cert = BIO_new(BIO_s_mem()), *secret = BIO_new(BIO_s_secmem());
    rc = ERR_SYSTEM;
    snprintf(why, cap, "OpenSSL could not make it");
    if (key && cert && secret && PEM_write_bio_PrivateKey(secret, key, NULL, NULL, 0, NULL, NULL) &&
        (spec->request ? write_request(spec, key, names, cert) : write_cert(spec, key, names, cert)))
        rc = save(secret, spec->key_path, 0600, spec->replace, why, cap);
    if (!rc)
        rc = save(cert, spec->cert_path, 0644, spec->replace, why, cap);
    BIO_free(cert);
    BIO_free(secret);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return rc;
}
