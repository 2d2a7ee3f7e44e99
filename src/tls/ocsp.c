#include "tls/ocsp.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tls/internal.h"

#define RESPONSE_MAX (64u << 10)
#define SLACK_S      300         /* the responder's clock may be this far ahead of ours */
#define LIFE_S       (24 * 3600) /* of a response that does not say */

const char *tls_ocsp_state_name(enum tls_ocsp_state s)
{
    switch (s) {
    case TLS_OCSP_NONE: return "none";
    case TLS_OCSP_GOOD: return "good";
    case TLS_OCSP_STALE: return "stale";
    case TLS_OCSP_REVOKED: return "revoked";
    case TLS_OCSP_WRONG: return "wrong";
    }
    return "?";
}

bool tls_asn1_time(const ASN1_TIME *t, int64_t *out)
{
    struct tm tm = { 0 };
    if (!t || ASN1_TIME_to_tm(t, &tm) != 1)
        return false;
    *out = timegm(&tm);
    return true;
}

X509 *tls_issuer_find(X509 *leaf, const STACK_OF(X509) * list)
{
    X509 *found = NULL;
    for (int i = 0; !found && i < sk_X509_num(list); i++) {
        X509 *x = sk_X509_value(list, i);
        if (X509_check_issued(x, leaf) == X509_V_OK && X509_verify(leaf, X509_get0_pubkey(x)) == 1)
            found = x;
    }
    ERR_clear_error();
    return found;
}

static void verdict(struct tls_ocsp *out, enum tls_ocsp_state state, const char *why)
{
    out->state = state;
    snprintf(out->why, sizeof out->why, "%s", why);
    ERR_clear_error();
}

enum tls_ocsp_state tls_ocsp_at(const struct tls_ocsp *o, int64_t now_s)
{
    if (o->state != TLS_OCSP_GOOD && o->state != TLS_OCSP_STALE)
        return o->state;
    int64_t end_s = o->next_update_s ? o->next_update_s : o->this_update_s + LIFE_S;
    return now_s >= o->this_update_s - SLACK_S && now_s < end_s ? TLS_OCSP_GOOD : TLS_OCSP_STALE;
}

/* Signed by the issuer, or by one whom the issuer let sign for it (RFC 6960 4.2.2.2)? */
static bool signed_well(OCSP_BASICRESP *basic, X509 *issuer, int64_t now_s)
{
    X509_STORE *store = X509_STORE_new();
    STACK_OF(X509) *certs = sk_X509_new_null();
    bool good = false;
    if (store && certs && X509_STORE_add_cert(store, issuer) == 1 && sk_X509_push(certs, issuer) > 0) {
        X509_VERIFY_PARAM_set_time(X509_STORE_get0_param(store), now_s);
        good = OCSP_basic_verify(basic, certs, store, OCSP_PARTIAL_CHAIN | OCSP_NOEXPLICIT) == 1;
    }
    sk_X509_free(certs);
    X509_STORE_free(store);
    return good;
}

static bool is_about(OCSP_SINGLERESP *one, X509 *leaf, X509 *issuer)
{
    const OCSP_CERTID *theirs = OCSP_SINGLERESP_get0_id(one);
    ASN1_OBJECT *alg = NULL;
    const EVP_MD *md = NULL;
    if (OCSP_id_get0_info(NULL, &alg, NULL, NULL, (OCSP_CERTID *)(uintptr_t)theirs) == 1)
        md = EVP_get_digestbyobj(alg);
    OCSP_CERTID *ours = md ? OCSP_cert_to_id(md, leaf, issuer) : NULL;
    bool same = ours && OCSP_id_cmp(ours, theirs) == 0;
    OCSP_CERTID_free(ours);
    return same;
}

/* The one answer about the leaf; NULL: none, or several. */
static OCSP_SINGLERESP *answer_find(OCSP_BASICRESP *basic, X509 *leaf, X509 *issuer)
{
    OCSP_SINGLERESP *found = NULL;
    for (int i = 0; i < OCSP_resp_count(basic); i++) {
        OCSP_SINGLERESP *one = OCSP_resp_get0(basic, i);
        if (!is_about(one, leaf, issuer))
            continue;
        if (found)
            return NULL;
        found = one;
    }
    return found;
}

static void judge_answer(OCSP_SINGLERESP *one, int64_t now_s, struct tls_ocsp *out)
{
    ASN1_GENERALIZEDTIME *this_update = NULL, *next_update = NULL;
    int status = OCSP_single_get0_status(one, NULL, NULL, &this_update, &next_update);
    if (!tls_asn1_time(this_update, &out->this_update_s) ||
        (next_update &&
         (!tls_asn1_time(next_update, &out->next_update_s) || out->next_update_s <= out->this_update_s))) {
        verdict(out, TLS_OCSP_WRONG, "its times make no sense");
        return;
    }
    if (status == V_OCSP_CERTSTATUS_REVOKED) {
        verdict(out, TLS_OCSP_REVOKED, "the certificate is revoked");
        return;
    }
    if (status != V_OCSP_CERTSTATUS_GOOD) {
        verdict(out, TLS_OCSP_WRONG, "the responder does not know the certificate");
        return;
    }
    verdict(out, TLS_OCSP_GOOD, "");
    if (tls_ocsp_at(out, now_s) == TLS_OCSP_STALE)
        verdict(out, TLS_OCSP_STALE,
                now_s < out->this_update_s ? "its time has not come yet" : "its time is over: fetch a new one");
}

static void judge_basic(OCSP_BASICRESP *basic, X509 *leaf, X509 *issuer, int64_t now_s, struct tls_ocsp *out)
{
    OCSP_SINGLERESP *one = answer_find(basic, leaf, issuer);
    if (!one)
        verdict(out, TLS_OCSP_WRONG, "it has not exactly one answer about this certificate");
    else if (!signed_well(basic, issuer, now_s))
        verdict(out, TLS_OCSP_WRONG, "it is not signed by the issuer of the certificate or its delegate");
    else
        judge_answer(one, now_s, out);
}

void tls_ocsp_judge(const uint8_t *der, size_t len, X509 *leaf, X509 *issuer, int64_t now_s, struct tls_ocsp *out)
{
    memset(out, 0, sizeof *out);
    if (!issuer) {
        verdict(out, TLS_OCSP_WRONG, "the certificate's issuer is not in its chain, so that no answer can be checked");
        return;
    }
    const uint8_t *p = der;
    OCSP_RESPONSE *resp = len <= RESPONSE_MAX ? d2i_OCSP_RESPONSE(NULL, &p, (long)len) : NULL;
    OCSP_BASICRESP *basic = NULL;
    if (!resp || p != der + len)
        verdict(out, TLS_OCSP_WRONG, "it cannot be read: it must be one OCSP response in DER");
    else if (OCSP_response_status(resp) != OCSP_RESPONSE_STATUS_SUCCESSFUL)
        verdict(out, TLS_OCSP_WRONG, "the responder answered with an error");
    else if (!(basic = OCSP_response_get1_basic(resp)))
        verdict(out, TLS_OCSP_WRONG, "it is not a basic OCSP response");
    else
        judge_basic(basic, leaf, issuer, now_s, out);
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(resp);
}
