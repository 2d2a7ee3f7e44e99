#include "tls/bundle.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tls/pem.h"

struct entry {
    X509_NAME *subject;
    uint8_t *der; /* of OPENSSL_malloc; NULL: is in the store */
    long len;
};

struct bundle {
    pthread_mutex_t lock;
    struct entry *entries;
    size_t n, cap;
};

/* ---- reading ---- */

/* Steps into or over one element. */
static bool element(const uint8_t **p, const uint8_t *end, bool into)
{
    long len;
    int tag, class;
    const uint8_t *at = *p;
    if (at >= end || ASN1_get_object(&at, &len, &tag, &class, end - at) & 0x81) /* an error, or no definite length */
        return false;
    *p = into ? at : at + len;
    return true;
}

/* RFC 5280 4.1: version, serialNumber, signature, issuer and validity stand before the subject. */
static X509_NAME *subject_read(const uint8_t *der, long len)
{
    const uint8_t *p = der, *end = der + len;
    bool ok = element(&p, end, true) && element(&p, end, true);
    if (ok && p < end && *p == 0xa0) /* [0] EXPLICIT Version DEFAULT v1 */
        ok = element(&p, end, false);
    for (int i = 0; ok && i < 4; i++)
        ok = element(&p, end, false);
    return ok ? d2i_X509_NAME(NULL, &p, end - p) : NULL;
}

/* Takes der over. */
static int entry_add(struct bundle *b, uint8_t *der, long len)
{
    X509_NAME *subject = subject_read(der, len);
    if (subject && b->n == b->cap) {
        size_t cap = b->cap ? 2 * b->cap : 256;
        struct entry *more = reallocarray(b->entries, cap, sizeof *more);
        if (!more) {
            X509_NAME_free(subject);
            OPENSSL_free(der);
            return ERR_NOMEM;
        }
        b->entries = more;
        b->cap = cap;
    }
    if (subject)
        b->entries[b->n++] = (struct entry){ subject, der, len };
    else
        OPENSSL_free(der);
    return 0;
}

/* At the end, or else past the beginning of a damaged block: the next begins behind it. */
static bool at_end(void)
{
    unsigned long e = ERR_peek_last_error();
    ERR_clear_error();
    return ERR_GET_LIB(e) != ERR_LIB_PEM || ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

static int bundle_read(struct bundle *b, BIO *bio)
{
    for (;;) {
        char *kind = NULL, *header = NULL;
        unsigned char *der = NULL;
        long len = 0;
        int rc = 0;
        if (PEM_read_bio(bio, &kind, &header, &der, &len) == 1) {
            if (!strcmp(kind, PEM_STRING_X509))
                rc = entry_add(b, der, len);
            else
                OPENSSL_free(der);
            OPENSSL_free(kind);
            OPENSSL_free(header);
        } else if (at_end()) {
            return 0;
        }
        if (rc)
            return rc;
    }
}

/* ---- as OpenSSL asks ---- */

/* Moves it into the store. Borrowed from there, NULL: it cannot be read. */
static X509 *load(X509_STORE *store, struct entry *e)
{
    const uint8_t *p = e->der;
    X509 *x = d2i_X509(NULL, &p, e->len);
    bool ok = x && X509_STORE_add_cert(store, x) == 1;
    OPENSSL_free(e->der);
    e->der = NULL;
    X509_free(x);
    ERR_clear_error();
    return ok ? x : NULL;
}

/* All of this subject at once: what is in the store already is not asked for here again. */
static int by_subject(X509_LOOKUP *lu, X509_LOOKUP_TYPE type, const X509_NAME *name, X509_OBJECT *out)
{
    struct bundle *b = X509_LOOKUP_get_method_data(lu);
    X509 *found = NULL;
    if (type != X509_LU_X509)
        return 0;
    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < b->n; i++)
        if (b->entries[i].der && X509_NAME_cmp(b->entries[i].subject, name) == 0) {
            X509 *x = load(X509_LOOKUP_get_store(lu), &b->entries[i]);
            found = found ? found : x;
        }
    pthread_mutex_unlock(&b->lock);
    if (!found || X509_OBJECT_set1_X509(out, found) != 1)
        return 0;
    X509_free(found); /* set1 took a reference, and OpenSSL takes its own of what is borrowed from a store */
    return 1;
}

static void bundle_free(X509_LOOKUP *lu)
{
    struct bundle *b = X509_LOOKUP_get_method_data(lu);
    if (!b)
        return;
    for (size_t i = 0; i < b->n; i++) {
        X509_NAME_free(b->entries[i].subject);
        OPENSSL_free(b->entries[i].der);
    }
    pthread_mutex_destroy(&b->lock);
    free(b->entries);
    free(b);
}

static X509_LOOKUP_METHOD *method;

static void method_make(void)
{
    method = X509_LOOKUP_meth_new("bundle");
    if (method &&
        (!X509_LOOKUP_meth_set_get_by_subject(method, by_subject) || !X509_LOOKUP_meth_set_free(method, bundle_free))) {
        X509_LOOKUP_meth_free(method);
        method = NULL;
    }
}

int tls_bundle_add(X509_STORE *store, const char *pem, size_t len)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, method_make);
    if (len > TLS_PEM_FILE_MAX)
        return ERR_LIMIT;
    X509_LOOKUP *lu = method ? X509_STORE_add_lookup(store, method) : NULL; /* the store's */
    struct bundle *b = lu ? calloc(1, sizeof *b) : NULL;
    BIO *bio = BIO_new_mem_buf(pem, (int)len);
    int rc = b && bio ? 0 : ERR_NOMEM;
    if (b) {
        pthread_mutex_init(&b->lock, NULL);
        X509_LOOKUP_set_method_data(lu, b);
    }
    if (!rc)
        rc = bundle_read(b, bio);
    BIO_free(bio);
    ERR_clear_error();
    return rc;
}
