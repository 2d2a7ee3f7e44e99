/*
 * A client's answer to a challenge (RFC 9110 11): Basic (RFC 7617) and Digest (RFC 7616: MD5, MD5-sess, SHA-256,
 * SHA-256-sess; qop auth, or none as in RFC 2069). Pure: randomness is the caller's. Needs digest_init().
 */
#ifndef GH_HTTP_AUTHENTICATE_H
#define GH_HTTP_AUTHENTICATE_H

#include <stddef.h>

#include "http/answer.h"

struct http_login { /* secret; borrowed */
    const char *user, *password;
};

/* What is answered, the best first: Digest SHA-256, Digest MD5, Basic. */
enum http_scheme { HTTP_SCHEME_NONE, HTTP_SCHEME_BASIC, HTTP_SCHEME_DIGEST_MD5, HTTP_SCHEME_DIGEST_SHA256 };

/*
 * Chooses the best challenge of the answer that we know (several may stand in one line) and writes the value of
 * Authorization or Proxy-Authorization into out (secret: wipe it). cnonce: 16 random bytes, fresh each time, printed in
 * hex: each answer is the first use of its nonce. method, uri: as in the request line. user and password go as they
 * are, which should be UTF-8.
 * stale: the challenge said stale=true, so that the password is not what was wrong.
 * ERR_PEER when none of the challenges can be answered; ERR_USAGE when the user name holds what no scheme on offer can
 * carry (a colon for Basic, control characters for all); ERR_LIMIT when out is too small; else the digest's errors.
 */
MUST_USE int http_authenticate(const struct http_answer *a, const struct http_login *login, const char *method,
                               const char *uri, const unsigned char cnonce[16], char *out, size_t cap,
                               enum http_scheme *scheme, bool *stale);

/* The schemes that were offered, each once, "Negotiate, NTLM", for a message; printable. */
void http_schemes(const struct http_answer *a, char *out, size_t cap);

struct http_digest { /* what goes into the response of Digest; all borrowed */
    bool sha256;     /* else MD5 */
    bool session;    /* the algorithm's -sess form */
    bool qop;        /* auth, nc 00000001; else the response of RFC 2069 */
    const struct http_login *login;
    const char *realm, *nonce, *cnonce; /* without quotes and escapes */
    const char *method, *uri;
};

#define HTTP_DIGEST_MAX 65 /* the longer response in hex, with its NUL */

/* RFC 7616 3.4.1. */
MUST_USE int http_digest_response(const struct http_digest *d, char out[HTTP_DIGEST_MAX]);

#endif
