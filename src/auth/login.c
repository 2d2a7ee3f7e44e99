#include "auth/login.h"

#include <string.h>

#include "auth/chap.h"
#include "auth/mschapv2.h"
#include "base/ct.h"
#include "base/digest.h"

/* Whom an unknown name is verified against, so that it takes as long as a known one; whatever comes out is a failure.
 */
static const struct user nobody = { .nt_hash = { 0x5a }, .password = NULL };
static const char nobody_password[] = "no such user";

const struct user *login_user(const struct users *users, const char *name, size_t len)
{
    const char *bare;
    size_t bare_len;
    mschapv2_bare_name(name, len, &bare, &bare_len);
    const struct user *whole = users_find(users, name, len);
    const struct user *part = users_find(users, bare, bare_len);
    return whole ? whole : part;
}

/* Every method below: *good is written when 0 is returned. */

static int pap_verify(const struct user *u, const struct ppp_auth_request *req, bool *good)
{
    uint8_t hash[MD4_LEN] = { 0 };
    int r = users_nt_hash(req->password, req->password_len, hash);
    *good = r == 0 && ct_equal(hash, u->nt_hash, sizeof hash);
    secret_wipe(hash, sizeof hash);
    return r == ERR_USAGE ? 0 : r; /* not UTF-8: no password of ours */
}

static int md5_verify(const struct user *u, const struct ppp_auth_request *req, bool *good)
{
    const char *password = u->password ? u->password : nobody_password;
    int r = chap_md5_check(req->id, password, strlen(password), req->challenge, sizeof req->challenge, req->response);
    *good = r == 0 && u->password;
    return r == ERR_AUTH ? 0 : r;
}

/* One try with the name hashed as given; when good, challenge8 is what the answer is computed with. */
static int mschapv2_try(const struct user *u, const struct ppp_auth_request *req, const char *name, size_t len,
                        uint8_t challenge8[8], bool *good)
{
    uint8_t want[MSCHAPV2_NT_RESPONSE_LEN];
    int r = mschapv2_challenge_hash(req->peer_challenge, req->challenge, name, len, challenge8);
    if (r == 0)
        r = mschapv2_nt_response(u->nt_hash, challenge8, want);
    *good = r == 0 && ct_equal(want, req->response, sizeof want);
    secret_wipe(want, sizeof want);
    return r;
}

static int mschapv2_verify(const struct user *u, const struct ppp_auth_request *req, struct ppp_auth_result *out,
                           bool *good)
{
    struct mschapv2_keys keys;
    uint8_t challenge8[8];
    const char *bare;
    size_t bare_len;
    mschapv2_bare_name(req->name, req->name_len, &bare, &bare_len);
    int r = mschapv2_try(u, req, bare, bare_len, challenge8, good);
    if (r == 0 && !*good && bare_len != req->name_len) /* some clients hash DOMAIN\ too */
        r = mschapv2_try(u, req, req->name, req->name_len, challenge8, good);
    if (r != 0 || !*good)
        return r;
    r = mschapv2_auth_response(u->nt_hash, req->response, challenge8, out->auth_response);
    if (r == 0)
        r = mschapv2_keys(u->nt_hash, req->response, &keys);
    if (r == 0)
        mschapv2_hlak(&keys, out->hlak);
    secret_wipe(&keys, sizeof keys);
    return r;
}

static int verify(const struct user *u, const struct ppp_auth_request *req, struct ppp_auth_result *out, bool *good)
{
    switch ((enum ppp_auth_method)req->method) {
    case PPP_AUTH_PAP: return pap_verify(u, req, good);
    case PPP_AUTH_CHAP_MD5: return md5_verify(u, req, good);
    case PPP_AUTH_MSCHAPV2: return mschapv2_verify(u, req, out, good);
    case PPP_AUTH_NONE:
    case PPP_AUTH_EAP_MSCHAPV2:
    case PPP_AUTH_METHODS: break;
    }
    return ERR_USAGE;
}

/* What to tell when the secret was right. */
static enum ppp_auth_code state_code(enum user_state state)
{
    switch (state) {
    case USER_OK: return PPP_AUTH_OK;
    case USER_DISABLED: return PPP_AUTH_DISABLED;
    /* Not 648: that is a password that may be changed, and Windows would ask the user for a new one. */
    case USER_EXPIRED: return PPP_AUTH_DISABLED;
    case USER_UNKNOWN:
    case USER_WRONG_SECRET:
    case USER_NEEDS_PLAIN: break;
    }
    return PPP_AUTH_FAILURE;
}

static enum user_state judge(const struct user *u, const struct ppp_auth_request *req, int64_t now_s, bool good)
{
    if (!u)
        return USER_UNKNOWN;
    if (req->method == PPP_AUTH_CHAP_MD5 && !u->password)
        return USER_NEEDS_PLAIN;
    return good ? user_state(u, now_s) : USER_WRONG_SECRET;
}

int login_check(const struct users *users, const struct ppp_auth_request *req, int64_t now_s,
                struct ppp_auth_result *out, enum user_state *why)
{
    struct ppp_auth_result result = { .code = PPP_AUTH_FAILURE };
    bool good = false;
    *out = result;
    *why = USER_UNKNOWN;
    if (req->name_len > sizeof req->name || req->password_len > sizeof req->password)
        return ERR_USAGE;
    const struct user *u = login_user(users, req->name, req->name_len);
    int r = verify(u ? u : &nobody, req, &result, &good);
    if (r == 0) {
        *why = judge(u, req, now_s, good);
        result.code = (uint16_t)state_code(*why);
        if (result.code == PPP_AUTH_OK)
            *out = result;
        else
            out->code = result.code;
    }
    secret_wipe(&result, sizeof result);
    return r;
}
