#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "auth/chap.h"
#include "auth/login.h"
#include "auth/mschapv2.h"
#include "base/ct.h"
#include "base/digest.h"

#define NOW 1700000000 /* 2023-11-14 */

static const char people[] = "User plain:clientPass\n"
                             "hash nt:44ebba8d5312b8d611474411f56989ae\n"
                             "off plain:clientPass disabled\n"
                             "old plain:clientPass expires=2023-11-14\n"
                             "new plain:clientPass expires=2023-11-15\n"
                             "DOM\\User plain:other\n"
                             "user@realm plain:clientPass\n";

static struct users *users;

static struct ppp_auth_request request(enum ppp_auth_method method, const char *name)
{
    struct ppp_auth_request r = { .method = (uint8_t)method, .id = 9, .name_len = (uint16_t)strlen(name) };
    memcpy(r.name, name, strlen(name));
    memset(r.challenge, 0x31, sizeof r.challenge);
    memset(r.peer_challenge, 0x72, sizeof r.peer_challenge);
    return r;
}

static struct ppp_auth_request pap(const char *name, const char *password)
{
    struct ppp_auth_request r = request(PPP_AUTH_PAP, name);
    r.password_len = (uint16_t)strlen(password);
    memcpy(r.password, password, strlen(password));
    return r;
}

static struct ppp_auth_request md5(const char *name, const char *password)
{
    struct ppp_auth_request r = request(PPP_AUTH_CHAP_MD5, name);
    assert_int_equal(chap_md5_value(r.id, password, strlen(password), r.challenge, 16, r.response), 0);
    return r;
}

/* hashed: what the client puts into ChallengeHash */
static struct ppp_auth_request mschapv2(const char *name, const char *hashed, const char *password)
{
    struct ppp_auth_request r = request(PPP_AUTH_MSCHAPV2, name);
    uint8_t hash[16], challenge8[8];
    assert_int_equal(users_nt_hash(password, strlen(password), hash), 0);
    assert_int_equal(mschapv2_challenge_hash(r.peer_challenge, r.challenge, hashed, strlen(hashed), challenge8), 0);
    assert_int_equal(mschapv2_nt_response(hash, challenge8, r.response), 0);
    return r;
}

static void expect(struct ppp_auth_request req, enum ppp_auth_code code, enum user_state why)
{
    static const struct ppp_auth_result none;
    struct ppp_auth_result out;
    enum user_state got;
    memset(&out, 0xee, sizeof out);
    assert_int_equal(login_check(users, &req, NOW, &out, &got), 0);
    assert_int_equal(out.code, code);
    assert_int_equal(got, why);
    bool keys = code == PPP_AUTH_OK && req.method == PPP_AUTH_MSCHAPV2;
    assert_int_equal(memcmp(out.hlak, none.hlak, sizeof out.hlak) != 0, keys);
    assert_int_equal(memcmp(out.auth_response, "S=", 2) == 0, keys);
    if (!keys)
        assert_memory_equal(out.auth_response, none.auth_response, sizeof out.auth_response);
}

static void test_verdicts(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum ppp_auth_code right; /* with clientPass */
        enum user_state why_right, why_wrong;
    } cases[] = {
        { "User", PPP_AUTH_OK, USER_OK, USER_WRONG_SECRET },
        { "uSER", PPP_AUTH_OK, USER_OK, USER_WRONG_SECRET },
        { "new", PPP_AUTH_OK, USER_OK, USER_WRONG_SECRET },
        { "user@realm", PPP_AUTH_OK, USER_OK, USER_WRONG_SECRET },
        { "ELSE\\User", PPP_AUTH_OK, USER_OK, USER_WRONG_SECRET },
        { "A\\B\\new", PPP_AUTH_OK, USER_OK, USER_WRONG_SECRET },
        { "off", PPP_AUTH_DISABLED, USER_DISABLED, USER_WRONG_SECRET },
        { "old", PPP_AUTH_DISABLED, USER_EXPIRED, USER_WRONG_SECRET },
        { "DOM\\User", PPP_AUTH_FAILURE, USER_WRONG_SECRET, USER_WRONG_SECRET },
        { "stranger", PPP_AUTH_FAILURE, USER_UNKNOWN, USER_UNKNOWN },
        { "", PPP_AUTH_FAILURE, USER_UNKNOWN, USER_UNKNOWN },
        { "User@realm2", PPP_AUTH_FAILURE, USER_UNKNOWN, USER_UNKNOWN },
        { "User\\", PPP_AUTH_FAILURE, USER_UNKNOWN, USER_UNKNOWN },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *name = cases[i].name, *slash = strrchr(name, '\\'), *bare = slash ? slash + 1 : name;
        expect(pap(name, "clientPass"), cases[i].right, cases[i].why_right);
        expect(md5(name, "clientPass"), cases[i].right, cases[i].why_right);
        expect(mschapv2(name, bare, "clientPass"), cases[i].right, cases[i].why_right);
        expect(mschapv2(name, name, "clientPass"), cases[i].right, cases[i].why_right); /* the lenient form */
        expect(pap(name, "clientpass"), PPP_AUTH_FAILURE, cases[i].why_wrong);
        expect(pap(name, ""), PPP_AUTH_FAILURE, cases[i].why_wrong);
        expect(pap(name, "\xff"), PPP_AUTH_FAILURE, cases[i].why_wrong);
        expect(md5(name, "clientpass"), PPP_AUTH_FAILURE, cases[i].why_wrong);
        expect(md5(name, ""), PPP_AUTH_FAILURE, cases[i].why_wrong);
        expect(mschapv2(name, bare, "clientpass"), PPP_AUTH_FAILURE, cases[i].why_wrong);
        expect(mschapv2(name, "somebody", "clientPass"), PPP_AUTH_FAILURE, cases[i].why_wrong);
    }
    expect(pap("DOM\\User", "other"), PPP_AUTH_OK, USER_OK); /* the whole name comes first */
    expect(mschapv2("DOM\\User", "User", "other"), PPP_AUTH_OK, USER_OK);
}

static void test_hash_only(void **state)
{
    (void)state;
    expect(pap("hash", "clientPass"), PPP_AUTH_OK, USER_OK);
    expect(mschapv2("hash", "hash", "clientPass"), PPP_AUTH_OK, USER_OK);
    expect(md5("hash", "clientPass"), PPP_AUTH_FAILURE, USER_NEEDS_PLAIN);
}

/* What stands in for an unknown user must not let anyone in. */
static void test_unknown_has_no_secret(void **state)
{
    (void)state;
    static const uint8_t dummy[16] = { 0x5a };
    struct ppp_auth_request r = request(PPP_AUTH_MSCHAPV2, "stranger");
    uint8_t challenge8[8];
    assert_int_equal(mschapv2_challenge_hash(r.peer_challenge, r.challenge, "stranger", 8, challenge8), 0);
    assert_int_equal(mschapv2_nt_response(dummy, challenge8, r.response), 0);
    expect(r, PPP_AUTH_FAILURE, USER_UNKNOWN);
    expect(md5("stranger", "no such user"), PPP_AUTH_FAILURE, USER_UNKNOWN);
    expect(md5("hash", "no such user"), PPP_AUTH_FAILURE, USER_NEEDS_PLAIN);
}

static void test_bad_requests(void **state)
{
    (void)state;
    struct ppp_auth_request r = request(PPP_AUTH_NONE, "User");
    struct ppp_auth_result out = { .code = PPP_AUTH_OK };
    enum user_state why;
    assert_int_equal(login_check(users, &r, NOW, &out, &why), ERR_USAGE);
    assert_int_equal(out.code, PPP_AUTH_FAILURE);
    r.method = 200;
    assert_int_equal(login_check(users, &r, NOW, &out, &why), ERR_USAGE);
    r = pap("User", "clientPass");
    r.name_len = 257;
    assert_int_equal(login_check(users, &r, NOW, &out, &why), ERR_USAGE);
    r.name_len = 4;
    r.password_len = 257;
    assert_int_equal(login_check(users, &r, NOW, &out, &why), ERR_USAGE);
    assert_int_equal(out.code, PPP_AUTH_FAILURE);
    r = request(PPP_AUTH_PAP, "");
    r.name_len = r.password_len = 256;
    memset(r.name, '\\', 256);
    memset(r.password, 'x', 256);
    expect(r, PPP_AUTH_FAILURE, USER_UNKNOWN);
}

static void unhex(const json_t *v, const char *key, uint8_t *out, size_t n)
{
    const char *s = json_string_value(json_object_get(v, key));
    assert_non_null(s);
    assert_true(hex_decode(s, strlen(s), out, n));
}

/* Every vector as a login: the packet's name and response, a users file with its name and hash. */
static void test_vectors(void **state)
{
    (void)state;
    json_t *root = json_load_file(VECTORS_DIR "/mschapv2.json", 0, NULL), *v;
    size_t i;
    assert_true(json_array_size(json_object_get(root, "auth")) >= 6);
    json_array_foreach(json_object_get(root, "auth"), i, v) {
        const char *name = json_string_value(json_object_get(v, "user"));
        char line[512];
        uint8_t hlak[32];
        struct users *u;
        struct users_error err;
        struct ppp_auth_result out;
        enum user_state why;
        snprintf(line, sizeof line, "%s nt:%s\n", name, json_string_value(json_object_get(v, "nt_hash")));
        assert_int_equal(users_parse(line, strlen(line), &u, &err), 0);
        struct ppp_auth_request r = request(PPP_AUTH_MSCHAPV2, name);
        unhex(v, "authenticator_challenge", r.challenge, 16);
        unhex(v, "peer_challenge", r.peer_challenge, 16);
        unhex(v, "nt_response", r.response, 24);
        unhex(v, "hlak", hlak, 32);
        assert_int_equal(login_check(u, &r, NOW, &out, &why), 0);
        assert_int_equal(out.code, PPP_AUTH_OK);
        assert_memory_equal(out.hlak, hlak, 32);
        assert_memory_equal(out.auth_response, json_string_value(json_object_get(v, "authenticator_response")), 42);
        for (size_t bit = 0; bit < 24 * 8; bit += 7) {
            r.response[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_int_equal(login_check(u, &r, NOW, &out, &why), 0);
            assert_int_equal(out.code, PPP_AUTH_FAILURE);
            assert_int_equal(why, USER_WRONG_SECRET);
            r.response[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        users_free(u);
    }
    json_decref(root);
}

static int setup(void **state)
{
    (void)state;
    struct users_error err;
    int r = digest_init();
    return r ? r : users_parse(people, sizeof people - 1, &users, &err);
}

static int teardown(void **state)
{
    (void)state;
    users_free(users);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_hash_only),
        cmocka_unit_test(test_unknown_has_no_secret),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_vectors),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
