/*
 * A file as OCSP response about one certificate. The seeds were signed by the issuer and a delegate of it, for one
 * fixed moment; their keys are gone.
 */
#include <openssl/pem.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tls/ocsp.h"

#define NOW_S 1800000000 /* when the seeds are good */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char leaf_pem[] = "-----BEGIN CERTIFICATE-----\n"
                               "MIIBSDCB76ADAgECAgECMAoGCCqGSM49BAMCMA0xCzAJBgNVBAMMAmNhMB4XDTI0\n"
                               "MDExNjA4MDAwMFoXDTQ3MDExMDA4MDAwMFowGjEYMBYGA1UEAwwPdnBuLmV4YW1w\n"
                               "bGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAECvapfpXlYjdJwTKWvNZ9\n"
                               "pBUOHONeePN4NkKBihsn27EFvKLMe2GNP0TsbI74bPUw1oxdghQpzT/6MsSmhcG6\n"
                               "BaMzMDEwEwYDVR0lBAwwCgYIKwYBBQUHAwEwGgYDVR0RBBMwEYIPdnBuLmV4YW1w\n"
                               "bGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIEytWT8B3XseMn4Q33gsyse2PWmum8M6\n"
                               "jWWm+ap1SrR/AiEA/o+ygMN+yNvTTO8UB8vyJ5IWpWhezppfunD+ODKTljo=\n"
                               "-----END CERTIFICATE-----\n";
static const char issuer_pem[] = "-----BEGIN CERTIFICATE-----\n"
                                 "MIIBGjCBwqADAgECAgEBMAoGCCqGSM49BAMCMA0xCzAJBgNVBAMMAmNhMB4XDTI0\n"
                                 "MDExNjA4MDAwMFoXDTQ3MDExMDA4MDAwMFowDTELMAkGA1UEAwwCY2EwWTATBgcq\n"
                                 "hkjOPQIBBggqhkjOPQMBBwNCAARw/zSOSsVZ95Ty/MPkHyu0tMHsS6lvrGR+pEam\n"
                                 "ogkmClSBr95jYhsFiZc4pIk6WWDcXQrEsJfiaV07LQiI6wwdoxMwETAPBgNVHRMB\n"
                                 "Af8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCIFGZlbVNWGEbXtPjZ+3PLSCYbOEP\n"
                                 "uuMy6xHEA1hiuRH2AiAoS3G08Z3klwzMnkHqXArU4bOJieLLGvhmkw17IaVxug==\n"
                                 "-----END CERTIFICATE-----\n";

static void check(bool ok)
{
    if (!ok)
        abort();
}

static X509 *cert(const char *pem)
{
    BIO *b = BIO_new_mem_buf(pem, -1);
    X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);
    BIO_free(b);
    check(x != NULL);
    return x;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static X509 *leaf, *issuer;
    struct tls_ocsp o, late;
    if (!leaf) {
        leaf = cert(leaf_pem);
        issuer = cert(issuer_pem);
    }
    tls_ocsp_judge(data, size, leaf, issuer, NOW_S, &o);
    check(o.state != TLS_OCSP_NONE && strlen(tls_ocsp_state_name(o.state)) > 2);
    check(memchr(o.why, 0, sizeof o.why) != NULL && !o.why[0] == (o.state == TLS_OCSP_GOOD));
    check(o.state != TLS_OCSP_GOOD || o.this_update_s <= NOW_S + 300);
    check(o.state != TLS_OCSP_GOOD || !o.next_update_s || o.next_update_s > NOW_S);
    /* Nothing is good without an issuer, or when the issuer is no more. */
    tls_ocsp_judge(data, size, leaf, NULL, NOW_S, &late);
    check(late.state == TLS_OCSP_WRONG);
    tls_ocsp_judge(data, size, leaf, issuer, NOW_S + (int64_t)30 * 365 * 86400, &late);
    check(late.state == TLS_OCSP_WRONG);
    return 0;
}
