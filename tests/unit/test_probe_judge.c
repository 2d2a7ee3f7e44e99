/* What the probe makes of what it collected: findings, a verdict for each kind of client, the scenarios of KB 947026.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "client/probe.h"

#define NOW 1800000000
#define DAY 86400

static struct probe_report r;
static struct probe_judgement j;

/* ---- what a good server looks like ---- */

static void good_tls(struct probe_tls *t, uint8_t leaf)
{
    *t = (struct probe_tls){ .tried = true, .good = true, .version = "TLSv1.3", .n_chain = 1 };
    t->verdict = (struct tls_verdict){ .chain_ok = true, .name_ok = true, .usage_ok = true, .dates_ok = true };
    t->chain[0] = (struct tls_peer_cert){ .names = "vpn.example.com",
                                          .not_before_s = NOW - 10 * DAY,
                                          .not_after_s = NOW + 60 * DAY };
    memset(t->chain[0].sha256, leaf, 32);
}

static struct probe_address *add(const char *text)
{
    struct probe_address *a = &r.address[r.n++];
    bool six = text[0] == '[';
    *a = (struct probe_address){ .tcp = true, .cbc_tried = true, .cbc = true };
    a->addr.sa.sa_family = six ? AF_INET6 : AF_INET;
    snprintf(a->text, sizeof a->text, "%s", text);
    a->version[PROBE_TLS12] = a->version[PROBE_TLS13] = true;
    good_tls(&a->sni, 1);
    good_tls(&a->no_sni, 1);
    a->call = (struct probe_call){ .tried = true,
                                   .status = 200,
                                   .acked = true,
                                   .lcp = true,
                                   .hash_mask = SSTP_HASH_SHA1 | SSTP_HASH_SHA256,
                                   .methods = 1u << PPP_AUTH_MSCHAPV2,
                                   .first = PPP_AUTH_MSCHAPV2 };
    return a;
}

static struct probe_address *fresh(void)
{
    memset(&r, 0, sizeof r);
    snprintf(r.url.host, sizeof r.url.host, "vpn.example.com");
    r.url.port = 443;
    return add("192.0.2.2:443");
}

static void log_in(struct probe_address *a)
{
    a->login = (struct probe_login){ .tried = true, .up = true, .hash = SSTP_HASH_SHA256, .method = PPP_AUTH_MSCHAPV2 };
}

static void bind_refused(struct probe_address *a)
{
    a->login = (struct probe_login){ .tried = true };
    client_end_set(&a->login.end, CLIENT_BINDING, "CALL_ABORT");
}

static void no_tls(struct probe_tls *t, const char *why)
{
    *t = (struct probe_tls){ .tried = true };
    snprintf(t->error, sizeof t->error, "%s", why);
}

static void refuse_call(struct probe_address *a, int status, enum client_cause cause)
{
    a->call = (struct probe_call){ .tried = true, .status = status };
    client_end_set(&a->call.end, cause, "it answers %d", status);
}

/* ---- what is expected ---- */

static const struct probe_finding *finding(const char *code)
{
    for (size_t i = 0; i < j.n; i++)
        if (!strcmp(j.finding[i].code, code))
            return &j.finding[i];
    return NULL;
}

/* codes: blanks between, in order; all of them and no others. */
static void expect_codes(const char *codes)
{
    char got[2000] = "";
    for (size_t i = 0; i < j.n; i++) {
        strncat(got, i ? " " : "", sizeof got - strlen(got) - 1);
        strncat(got, j.finding[i].code, sizeof got - strlen(got) - 1);
        assert_true(j.finding[i].text[0] && j.finding[i].remedy[0]);
    }
    assert_string_equal(got, codes);
}

/* A letter each, in the order of enum probe_client: n(o), i(f), y(es). A reason stands with all but yes. */
static void expect_clients(const char *want)
{
    char got[PROBE_CLIENTS + 1] = "";
    for (int c = 0; c < PROBE_CLIENTS; c++) {
        got[c] = "niy"[j.client[c].connects];
        assert_int_equal(j.client[c].connects == PROBE_YES, j.client[c].why[0] == 0);
    }
    assert_string_equal(got, want);
    assert_int_equal(probe_fails_somewhere(&j), strchr(want, 'n') != NULL);
}

/* ---- one fault each ---- */

static void nothing(struct probe_address *a)
{
    (void)a;
}
static void unreachable(struct probe_address *a)
{
    *a = (struct probe_address){ .addr = a->addr, .text = "192.0.2.2:443", .tcp_error = "Connection refused" };
}
static void tls_fails(struct probe_address *a)
{
    no_tls(&a->sni, "closed");
    no_tls(&a->no_sni, "closed");
    memset(a->version, 0, sizeof a->version);
    a->call = (struct probe_call){ 0 };
}
static void sni_refused(struct probe_address *a)
{
    no_tls(&a->sni, "unrecognized name");
}
static void sni_required(struct probe_address *a)
{
    no_tls(&a->no_sni, "unrecognized name");
}
static void sni_differs(struct probe_address *a)
{
    good_tls(&a->no_sni, 2);
}
static void sni_differs_bound(struct probe_address *a)
{
    good_tls(&a->no_sni, 2);
    log_in(a);
}
static void default_for_another_name(struct probe_address *a)
{
    good_tls(&a->no_sni, 2);
    a->no_sni.verdict.name_ok = false;
}
static void old_alone(struct probe_address *a)
{
    memset(a->version, 0, sizeof a->version);
    a->version[PROBE_TLS10] = true;
    a->cbc_tried = false;
}
static void tls11_alone(struct probe_address *a)
{
    old_alone(a);
    a->version[PROBE_TLS10] = false;
    a->version[PROBE_TLS11] = true;
}
static void old_too(struct probe_address *a)
{
    a->version[PROBE_TLS10] = a->version[PROBE_TLS11] = true;
}
static void tls13_alone(struct probe_address *a)
{
    a->version[PROBE_TLS12] = a->cbc_tried = a->cbc = false;
}
static void no_cbc(struct probe_address *a)
{
    a->cbc = false;
}
static void anonymous(struct probe_address *a)
{
    a->sni.n_chain = a->no_sni.n_chain = 0;
    a->sni.verdict = a->no_sni.verdict = (struct tls_verdict){ .fault = TLS_FAULT_NO_CERTIFICATE };
    a->version[PROBE_TLS13] = a->cbc_tried = a->cbc = false;
}
static void untrusted(struct probe_address *a)
{
    a->sni.verdict.chain_ok = a->no_sni.verdict.chain_ok = false;
    a->sni.verdict.fault = a->no_sni.verdict.fault = TLS_FAULT_UNKNOWN_CA;
}
static void another_name(struct probe_address *a)
{
    a->sni.verdict.name_ok = a->no_sni.verdict.name_ok = false;
}
static void usage(struct probe_address *a)
{
    a->sni.verdict.usage_ok = a->no_sni.verdict.usage_ok = false;
}
static void expired(struct probe_address *a)
{
    a->sni.verdict.chain_ok = a->no_sni.verdict.chain_ok = false;
    a->sni.verdict.dates_ok = a->no_sni.verdict.dates_ok = false;
    a->sni.chain[0].not_after_s = a->no_sni.chain[0].not_after_s = NOW - 1;
}
static void expiring(struct probe_address *a)
{
    a->sni.chain[0].not_after_s = a->no_sni.chain[0].not_after_s = NOW + 3 * DAY;
}
static void not_yet(struct probe_address *a)
{
    a->sni.verdict.chain_ok = a->no_sni.verdict.chain_ok = false;
    a->sni.verdict.dates_ok = a->no_sni.verdict.dates_ok = false;
    a->sni.chain[0].not_before_s = a->no_sni.chain[0].not_before_s = NOW + 1;
}
static void revoked(struct probe_address *a)
{
    a->sni.verdict.fault = a->no_sni.verdict.fault = TLS_FAULT_REVOKED;
    a->sni.verdict.stapled = a->no_sni.verdict.stapled = true;
    a->sni.verdict.ocsp = a->no_sni.verdict.ocsp = TLS_OCSP_REVOKED;
}
static void stale(struct probe_address *a)
{
    a->sni.verdict.stapled = true;
    a->sni.verdict.ocsp = TLS_OCSP_STALE;
}
static void good_staple(struct probe_address *a)
{
    a->sni.verdict.stapled = true;
    a->sni.verdict.ocsp = TLS_OCSP_GOOD;
}
static void web_alone(struct probe_address *a)
{
    refuse_call(a, 404, CLIENT_HTTP);
}
static void draining(struct probe_address *a)
{
    refuse_call(a, 503, CLIENT_HTTP_BUSY);
}
static void http_proxy(struct probe_address *a)
{
    refuse_call(a, 400, CLIENT_HTTP);
}
static void page(struct probe_address *a)
{
    refuse_call(a, 200, CLIENT_HTTP);
}
static void no_answer(struct probe_address *a)
{
    refuse_call(a, 0, CLIENT_HTTP_TIMEOUT);
}
static void aborted(struct probe_address *a)
{
    refuse_call(a, 200, CLIENT_SSTP);
}
static void sha1(struct probe_address *a)
{
    a->call.hash_mask = SSTP_HASH_SHA1;
}
static void sha256(struct probe_address *a)
{
    a->call.hash_mask = SSTP_HASH_SHA256;
}
static void no_ppp(struct probe_address *a)
{
    a->call.lcp = false;
    a->call.methods = 0;
    client_end_set(&a->call.end, CLIENT_TIMEOUT, "PPP's LCP did not open");
}
static void eap_alone(struct probe_address *a)
{
    a->call.methods = 1u << PPP_AUTH_EAP_MSCHAPV2;
}
static void eap_alone_logged_in(struct probe_address *a)
{
    eap_alone(a);
    log_in(a);
    a->login.method = PPP_AUTH_EAP_MSCHAPV2;
}
static void eap_of_another_kind(struct probe_address *a)
{
    eap_alone(a);
    a->login = (struct probe_login){ .tried = true };
    client_end_set(&a->login.end, CLIENT_NO_METHOD, "the server wants PEAP");
}
static void eap_too(struct probe_address *a)
{
    a->call.methods |= 1u << PPP_AUTH_EAP_MSCHAPV2;
}
static void pap_alone(struct probe_address *a)
{
    a->call.methods = 1u << PPP_AUTH_PAP;
}
static void pap_too(struct probe_address *a)
{
    a->call.methods |= 1u << PPP_AUTH_PAP;
}
static void chap_alone(struct probe_address *a)
{
    a->call.methods = 1u << PPP_AUTH_CHAP_MD5;
}
static void mschapv1(struct probe_address *a)
{
    a->call.methods = 0;
    snprintf(a->call.unknown_auth, sizeof a->call.unknown_auth, "c22380");
}
static void everybody(struct probe_address *a)
{
    a->call.methods = 0;
}
static void login_refused(struct probe_address *a)
{
    a->login = (struct probe_login){ .tried = true };
    client_end_set(&a->login.end, CLIENT_LOGIN, "691");
}
static void dropped_later(struct probe_address *a)
{
    log_in(a);
    client_end_set(&a->login.end, CLIENT_HUNG_UP, "gone");
}

static void no_address(struct probe_address *a)
{
    a->login = (struct probe_login){ .tried = true };
    client_end_set(&a->login.end, CLIENT_NO_ADDRESS, "IPCP");
}
static void no_proof(struct probe_address *a)
{
    a->login = (struct probe_login){ .tried = true };
    client_end_set(&a->login.end, CLIENT_SERVER_PROOF, "S= is wrong");
}

static void not_tried(struct probe_address *a)
{
    untrusted(a);
    client_end_set(&a->login.end, CLIENT_CERTIFICATE, "nobody trusts it");
}

struct one {
    void (*spoil)(struct probe_address *a);
    const char *codes, *clients; /* windows 7, 10, 11, routeros, sstpc, gatehouse */
    int scenario;
};

static const struct one ones[] = {
    { nothing, "", "iyyyyy", 3 },
    { log_in, "", "iyyyyy", 3 },
    { unreachable, "tcp", "nnnnnn", 0 },
    /* TLS: who sends no name needs a default certificate; 7 has TLS 1.0, RouterOS 1.2, 10 no 1.3 */
    { tls_fails, "tls-failed", "nnnnnn", 0 },
    { sni_refused, "sni-refused", "innyyn", 0 },
    { sni_required, "sni-required", "nyynny", 3 },
    { sni_differs, "leaf-differs-by-sni", "iyyiiy", 4 },
    { sni_differs_bound, "leaf-differs-by-sni", "iyyiiy", 0 },
    { default_for_another_name, "name-mismatch leaf-differs-by-sni", "nyyiiy", 4 },
    { old_alone, "tls-old", "yinnnn", 3 },
    { tls11_alone, "tls-old", "iinnnn", 3 },
    { old_too, "tls-legacy", "yyyyyy", 3 },
    { tls13_alone, "tls12-missing", "nninyy", 3 },
    { no_cbc, "", "iyyiyy", 3 },
    /* the certificate: RouterOS does not look at it, as it comes */
    { anonymous, "no-certificate", "nnnynn", 0 },
    { untrusted, "chain-untrusted", "nnnynn", 3 },
    { another_name, "name-mismatch", "nnnynn", 4 },
    { usage, "usage", "nnnynn", 3 },
    { expired, "expired", "nnnynn", 3 },
    { expiring, "expiring", "iyyyyy", 3 },
    { not_yet, "not-yet-valid", "nnnynn", 3 },
    { revoked, "revoked", "nnnyyn", 3 },
    { stale, "staple", "iyyyyy", 3 },
    { good_staple, "", "iyyyyy", 3 },
    /* HTTP and SSTP */
    { web_alone, "no-sstp", "nnnnnn", 0 },
    { draining, "no-sstp", "nnnnnn", 0 },
    { http_proxy, "no-sstp", "nnnnnn", 0 },
    { page, "no-sstp", "nnnnnn", 0 },
    { no_answer, "no-sstp", "nnnnnn", 0 },
    { aborted, "no-sstp", "nnnnnn", 0 },
    { sha1, "hash-sha1", "iyyyyy", 3 },
    { sha256, "", "iyyiyy", 3 },
    /* ways to log in */
    { no_ppp, "no-ppp", "nnnnnn", 3 },
    { eap_alone, "", "iiinii", 3 },
    { eap_alone_logged_in, "", "iiiniy", 3 },
    { eap_of_another_kind, "login-failed", "iiinin", 3 },
    { eap_too, "", "iyyyyy", 3 },
    { pap_alone, "pap", "iiiyyi", 3 },
    { pap_too, "pap", "iyyyyy", 3 },
    { chap_alone, "", "iiiyyi", 3 },
    { mschapv1, "no-method", "iiiiin", 3 },
    { everybody, "no-method", "iiiiin", 3 },
    /* with a login */
    { login_refused, "login-failed", "iyyyyy", 3 },
    { dropped_later, "login-failed", "iiiiin", 3 },
    { no_address, "login-failed", "iiiiin", 3 },
    { no_proof, "login-failed", "iiiiin", 3 },
    { bind_refused, "binding-refused", "nnnnnn", 4 },
    { not_tried, "chain-untrusted login-not-tried", "nnnynn", 3 },
};

static void test_one_fault_each(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ones / sizeof ones[0]; i++) {
        ones[i].spoil(fresh());
        probe_judge(&r, NOW, &j);
        if (ones[i].scenario != j.kb947026)
            print_error("row %zu\n", i);
        expect_codes(ones[i].codes);
        expect_clients(ones[i].clients);
        assert_int_equal(j.kb947026, ones[i].scenario);
        assert_int_equal(j.kb947026 != 0, j.kb947026_text[0] != 0);
        assert_int_equal(j.kb947026 == 1 || j.kb947026 == 2 || j.kb947026 == 4, j.kb947026_cure[0] != 0);
    }
}

/* ---- words ---- */

static void test_remedies_fit(void **state)
{
    static const struct {
        void (*spoil)(struct probe_address *a);
        const char *code, *words;
    } rows[] = { { web_alone, "no-sstp", "knows no SSTP" },      { draining, "no-sstp", "no new calls" },
                 { http_proxy, "no-sstp", "HTTP proxies" },      { page, "no-sstp", "for a page" },
                 { no_answer, "no-sstp", "let TCP through" },    { aborted, "no-sstp", "log" },
                 { bind_refused, "binding-refused", "hash of" }, { login_refused, "login-failed", "password" },
                 { no_address, "login-failed", "pool" },         { dropped_later, "login-failed", "log" },
                 { no_proof, "login-failed", "whose server" } };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rows[i].spoil(fresh());
        probe_judge(&r, NOW, &j);
        assert_non_null(finding(rows[i].code));
        assert_non_null(strstr(finding(rows[i].code)->remedy, rows[i].words));
        assert_null(strstr(finding(rows[i].code)->remedy, "gatehouse probe")); /* that is what they are reading */
    }
}

static void test_severities(void **state)
{
    (void)state;
    old_too(fresh());
    probe_judge(&r, NOW, &j);
    assert_int_equal(finding("tls-legacy")->severity, PROBE_WARNING);
    untrusted(fresh());
    probe_judge(&r, NOW, &j);
    assert_int_equal(finding("chain-untrusted")->severity, PROBE_ERROR);
    unreachable(fresh());
    probe_judge(&r, NOW, &j);
    assert_int_equal(finding("tcp")->severity, PROBE_ERROR);
    add("[2001:db8::2]:443");
    probe_judge(&r, NOW, &j);
    assert_int_equal(finding("tcp")->severity, PROBE_WARNING);
}

static void test_names(void **state)
{
    char text[24];
    (void)state;
    mschapv1(fresh());
    probe_unknown_text(&r.address[0].call, text);
    assert_string_equal(text, "mschapv1");
    snprintf(r.address[0].call.unknown_auth, sizeof r.address[0].call.unknown_auth, "c027");
    probe_unknown_text(&r.address[0].call, text);
    assert_string_equal(text, "c027");
    assert_string_equal(probe_method_name(PPP_AUTH_EAP_MSCHAPV2), "eap");
    assert_string_equal(probe_method_name(PPP_AUTH_MSCHAPV2), "mschapv2");
    assert_string_equal(probe_client_name(PROBE_ROUTEROS), "routeros");
    assert_string_equal(probe_version_name(PROBE_TLS12), "TLSv1.2");
    assert_string_equal(probe_client_name(PROBE_CLIENTS), "?");
}

/* ---- several addresses ---- */

static void test_no_address(void **state)
{
    (void)state;
    fresh();
    r.n = 0;
    snprintf(r.resolve_error, sizeof r.resolve_error, "Name or service not known");
    probe_judge(&r, NOW, &j);
    expect_codes("resolve");
    expect_clients("nnnnnn");
    assert_false(j.same_leaf);
    assert_string_equal(j.client[0].why, "Name or service not known");
}

static void test_one_of_two_unreachable(void **state)
{
    (void)state;
    fresh();
    log_in(&r.address[0]);
    unreachable(add("[2001:db8::2]:443"));
    snprintf(r.address[1].text, sizeof r.address[1].text, "[2001:db8::2]:443");
    probe_judge(&r, NOW, &j);
    expect_codes("tcp");
    expect_clients("iiiiii");
    assert_true(j.same_leaf);
    assert_non_null(strstr(j.client[PROBE_WINDOWS_10].why, "[2001:db8::2]:443"));
}

static void test_an_address(void **state) /* dialled as such: no name is ever sent */
{
    (void)state;
    fresh()->sni = (struct probe_tls){ 0 };
    r.url.ip4 = true;
    probe_judge(&r, NOW, &j);
    expect_codes("");
    expect_clients("iyyyyy");
    assert_true(j.same_leaf);
}

/* The worst address counts: clients take any. */
static void test_worst_address(void **state)
{
    (void)state;
    fresh();
    web_alone(add("192.0.2.3:443"));
    probe_judge(&r, NOW, &j);
    expect_codes("no-sstp");
    expect_clients("nnnnnn");
    assert_non_null(strstr(j.client[PROBE_SSTPC].why, "192.0.2.3:443"));
}

/* A fault of a certificate that all addresses show is told once. */
static void test_told_once(void **state)
{
    (void)state;
    expired(fresh());
    expired(add("192.0.2.3:443"));
    probe_judge(&r, NOW, &j);
    expect_codes("expired");
    good_tls(&r.address[1].sni, 2);
    good_tls(&r.address[1].no_sni, 2);
    expired(&r.address[1]);
    probe_judge(&r, NOW, &j);
    expect_codes("expired expired leaf-differs-by-address");
}

static void test_many_findings(void **state)
{
    (void)state;
    memset(&r, 0, sizeof r);
    for (unsigned i = 0; i < RACE_MAX; i++) {
        struct probe_address *a = add("192.0.2.3:443");
        good_tls(&a->sni, (uint8_t)(i + 1));
        good_tls(&a->no_sni, (uint8_t)(i + 100));
        expired(a);
        usage(a);
        another_name(a);
        pap_too(a);
        bind_refused(a);
    }
    probe_judge(&r, NOW, &j);
    assert_int_equal(j.n, PROBE_FINDINGS_MAX);
    expect_clients("nnnnnn");
}

/* ---- KB 947026 ---- */

static void leaf(struct probe_address *a, uint8_t n)
{
    good_tls(&a->sni, n);
    good_tls(&a->no_sni, n);
}

static const struct scenario {
    const char *second;                           /* address */
    uint8_t second_leaf;                          /* the first has 1 */
    void (*first_login)(struct probe_address *a); /* NULL: nobody logs in */
    void (*second_login)(struct probe_address *a);
    int want;
    const char *codes, *clients;
} scenarios[] = {
    { "[2001:db8::2]:443", 1, NULL, NULL, 3, "", "iyyyyy" },
    { "[2001:db8::2]:443", 1, log_in, log_in, 3, "", "iyyyyy" },
    { "[2001:db8::2]:443", 2, NULL, NULL, 1, "leaf-differs-by-family", "iiiiii" },
    { "[2001:db8::2]:443", 2, log_in, bind_refused, 1, "binding-refused leaf-differs-by-family", "nnnnnn" },
    { "[2001:db8::2]:443", 2, log_in, log_in, 0, "leaf-differs-by-family", "iyyyyy" },
    { "[2001:db8::2]:443", 2, log_in, unreachable, 3, "tcp", "iiiiii" },
    { "192.0.2.3:443", 2, NULL, NULL, 2, "leaf-differs-by-address", "iiiiii" },
    { "192.0.2.3:443", 2, bind_refused, log_in, 2, "binding-refused leaf-differs-by-address", "nnnnnn" },
    { "192.0.2.3:443", 2, log_in, log_in, 0, "leaf-differs-by-address", "iyyyyy" },
    { "192.0.2.3:443", 1, bind_refused, bind_refused, 4, "binding-refused binding-refused", "nnnnnn" },
    { "[2001:db8::2]:443", 1, log_in, login_refused, 3, "login-failed", "iyyyyy" },
};

static void test_scenarios(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++) {
        const struct scenario *s = &scenarios[i];
        struct probe_address *a = fresh(), *b = add(s->second);
        leaf(b, s->second_leaf);
        if (s->first_login)
            s->first_login(a);
        if (s->second_login)
            s->second_login(b);
        probe_judge(&r, NOW, &j);
        if (j.kb947026 != s->want)
            print_error("row %zu\n", i);
        assert_int_equal(j.kb947026, s->want);
        expect_codes(s->codes);
        expect_clients(s->clients);
        assert_int_equal(j.same_leaf, s->second_leaf == 1 || !b->tcp);
        bool seen = strstr(s->codes, "binding-refused") || s->want == 3 || !s->want;
        assert_int_equal(strstr(j.kb947026_text, "--user") == NULL, seen);
    }
}

/* Without SSTP there is no binding to fail. */
static void test_no_scenario_without_sstp(void **state)
{
    (void)state;
    web_alone(fresh());
    struct probe_address *b = add("[2001:db8::2]:443");
    leaf(b, 2);
    web_alone(b);
    probe_judge(&r, NOW, &j);
    assert_int_equal(j.kb947026, 0);
    assert_non_null(finding("leaf-differs-by-family"));
    assert_false(j.same_leaf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_fault_each), cmocka_unit_test(test_remedies_fit),
        cmocka_unit_test(test_severities),     cmocka_unit_test(test_names),
        cmocka_unit_test(test_no_address),     cmocka_unit_test(test_one_of_two_unreachable),
        cmocka_unit_test(test_an_address),     cmocka_unit_test(test_worst_address),
        cmocka_unit_test(test_told_once),      cmocka_unit_test(test_many_findings),
        cmocka_unit_test(test_scenarios),      cmocka_unit_test(test_no_scenario_without_sstp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
