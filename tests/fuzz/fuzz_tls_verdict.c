/*
 * Certificates as a server sends them, each behind its length in two octets, and then one octet that chooses what was
 * dialled and what is trusted. The authority of the seeds has lost its key.
 */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/rd.h"
#include "tls/internal.h"
#include "tls/verdict.h"

#define NOW_S 1800000000 /* when the seeds are in date */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char root_pem[] = "-----BEGIN CERTIFICATE-----\n"
                               "MIIBVzCB/aADAgECAhQwkgLIlxMaXAUUMMoIbvOpNQiM8jAKBggqhkjOPQQDAjAh\n"
                               "MRAwDgYDVQQKDAdFeGFtcGxlMQ0wCwYDVQQDDARyb290MB4XDTE3MDExNzA4MDAw\n"
                               "MFoXDTQ3MDExMDA4MDAwMFowITEQMA4GA1UECgwHRXhhbXBsZTENMAsGA1UEAwwE\n"
                               "cm9vdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABKKBeUJQeg4wx7nP0azH5trJ\n"
                               "eMn5InpBa+Gp3w8ycyq01cc6kqN5GyMqgX6x9OpioCjEqJkH2T2AlpndRp7kAryj\n"
                               "EzARMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAPGJVgR/zbZO\n"
                               "3l49k/cwdr39GfNR+lCorT44LFtA7vB3AiEAiX+Zsvd5UyQlcwl/fiOd5/URKSXs\n"
                               "R2pSXmgPn81sgHQ=\n"
                               "-----END CERTIFICATE-----\n";

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_printable(const char *text, size_t cap)
{
    check(memchr(text, 0, cap) != NULL);
    for (; *text; text++)
        check(*text >= ' ' && *text < 0x7f);
}

static X509_STORE *store_make(void)
{
    BIO *b = BIO_new_mem_buf(root_pem, -1);
    X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);
    X509_STORE *store = X509_STORE_new();
    check(x && store && X509_STORE_add_cert(store, x) == 1);
    BIO_free(b);
    X509_free(x);
    return store;
}

static STACK_OF(X509) * certs_read(struct rd *in)
{
    STACK_OF(X509) *list = sk_X509_new_null();
    struct rd one;
    for (uint16_t len; rd_u16(in, &len) && rd_sub(in, len, &one);) {
        const uint8_t *p = one.p;
        X509 *x = d2i_X509(NULL, &p, one.end - one.p);
        if (x)
            sk_X509_push(list, x);
    }
    ERR_clear_error();
    return list;
}

static void check_certs(STACK_OF(X509) * list)
{
    struct tls_peer_cert c;
    for (int i = 0; i < sk_X509_num(list); i++) {
        check(tls_cert_describe(sk_X509_value(list, i), &c));
        check_printable(c.subject, sizeof c.subject);
        check_printable(c.issuer, sizeof c.issuer);
        check_printable(c.names, sizeof c.names);
        check_printable(c.key_type, sizeof c.key_type);
        check_printable(c.signature, sizeof c.signature);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static X509_STORE *store;
    static const char *const hosts[] = { "vpn.example.com", "192.0.2.1", "2001:db8::1", "" };
    if (!store)
        store = store_make();
    uint8_t how = size ? data[size - 1] : 0;
    struct rd in = rd_make(data, size ? size - 1 : 0);
    STACK_OF(X509) *list = certs_read(&in);
    struct tls_trust trust = {
        .store = store, .has_ca = how & 4, .n_pins = how >> 3 & 1, .has_crl = how & 16, .now_s = NOW_S
    };
    struct tls_judgement j = { 0 };
    const struct tls_verdict *v = &j.verdict;
    tls_judge(&trust, hosts[how & 3], list, &j);
    check_printable(v->text, sizeof v->text);
    check(v->text[0]);
    check((v->fault == TLS_FAULT_NO_CERTIFICATE) == (sk_X509_num(list) == 0));
    check(v->fault != TLS_FAULT_NONE || (v->chain_ok && v->name_ok && v->usage_ok && v->dates_ok && !trust.n_pins));
    check_certs(list);
    enum tls_fault before = v->fault;
    tls_judge_staple(&trust, hosts[how & 3], in.p, (size_t)(in.end - in.p), &j);
    /* cppcheck-suppress incorrectLogicOperator ; a staple changes the verdict, and may not make it good */
    check(before == TLS_FAULT_NONE || v->fault != TLS_FAULT_NONE);
    check(ERR_peek_error() == 0);
    tls_judgement_fini(&j);
    sk_X509_pop_free(list, X509_free);
    return 0;
}
