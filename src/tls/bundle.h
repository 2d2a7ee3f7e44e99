/*
 * The system's bundle of authorities in a store. It has hundreds of certificates, of which a connection needs one or
 * two, and reading one takes OpenSSL long: only its subject is read, until a chain asks for that subject.
 */
#ifndef GH_TLS_BUNDLE_H
#define GH_TLS_BUNDLE_H

#include <openssl/x509.h>
#include <stddef.h>

#include "base/err.h"

/*
 * pem is copied as far as needed; what cannot be read is passed over. The store owns all of it, and threads may share
 * the store. ERR_NOMEM; ERR_LIMIT: more than TLS_PEM_FILE_MAX bytes.
 */
MUST_USE int tls_bundle_add(X509_STORE *store, const char *pem, size_t len);

#endif
