/*
 * The verdict on a login from the users file alone. Pure: the caller brings the time and logs.
 */
#ifndef GH_AUTH_LOGIN_H
#define GH_AUTH_LOGIN_H

#include <stdint.h>

#include "auth/request.h"
#include "auth/users.h"
#include "base/err.h"

/*
 * Verifies what the peer sent (PAP, CHAP-MD5, MS-CHAPv2) and always fills *out: PPP_AUTH_OK with what the method
 * needs, or a code.
 *
 * The user is looked up by the name as sent, then without DOMAIN\ . Unknown name and wrong secret are both 691 and
 * take the same time; 647 (disabled, or past its date) is told only to who knows the secret, so that a stranger
 * cannot probe accounts.
 * MS-CHAPv2 hashes the name without DOMAIN\ ; a response over the whole name, as some clients make it, is accepted too.
 *
 *   why   for the log: the state of the user when the secret was right, else USER_UNKNOWN, USER_WRONG_SECRET or
 *         USER_NEEDS_PLAIN (CHAP-MD5 and only an NT hash on file)
 *
 * Returns 0 when there is a verdict, whichever; ERR_NOMEM or ERR_SYSTEM from the arithmetic, ERR_USAGE for a method
 * that it does not know or lengths out of range: *out is a failure then.
 */
MUST_USE int login_check(const struct users *users, const struct ppp_auth_request *req, int64_t now_s,
                         struct ppp_auth_result *out, enum user_state *why);

/* The user whom a login name means, as login_check finds it; NULL: none. */
const struct user *login_user(const struct users *users, const char *name, size_t len);

#endif
