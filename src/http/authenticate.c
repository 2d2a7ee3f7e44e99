#include "http/authenticate.h"

#include <string.h>
#include <strings.h>

#include "base/ct.h"
#include "base/digest.h"
#include "base/wr.h"
#include "http/octet.h"

#define TEXT_MAX sizeof((struct http_answer *)0)->challenge[0] /* no value is longer than its line */

/* One challenge (RFC 9110 11.3), its parameters without quotes and escapes. */
struct challenge {
    char scheme[32];
    bool has_realm, has_nonce, has_opaque, has_algorithm, has_qop;
    char realm[TEXT_MAX], nonce[TEXT_MAX], opaque[TEXT_MAX];
    bool sha256, session, algorithm_known;
    bool auth; /* among the values of qop */
    bool stale;
};

/* ---- reading: a list of challenges, each with a list of its own, both parted by commas ---- */

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static void skip_blanks(struct rd *r)
{
    uint8_t c;
    while (rd_peek_u8(r, &c) && is_blank(c) && rd_skip(r, 1))
        ;
}

static bool take_octet(struct rd *r, uint8_t want)
{
    uint8_t c;
    return rd_peek_u8(r, &c) && c == want && rd_skip(r, 1);
}

static bool take_token(struct rd *r, char *out, size_t cap)
{
    size_t n = 0;
    uint8_t c;
    while (rd_peek_u8(r, &c) && octet_is_token(c) && rd_skip(r, 1)) {
        if (n + 1 == cap)
            return false;
        out[n++] = (char)c;
    }
    out[n] = 0;
    return n > 0;
}

/* token or quoted-string (RFC 9110 5.6.4) */
static bool take_value(struct rd *r, char *out, size_t cap)
{
    size_t n = 0;
    uint8_t c = 0;
    if (!take_octet(r, '"'))
        return take_token(r, out, cap);
    while (rd_u8(r, &c) && c != '"') {
        if ((c == '\\' && !rd_u8(r, &c)) || n + 1 == cap)
            return false;
        out[n++] = (char)c;
        c = 0; /* an escaped quote is not the end */
    }
    out[n] = 0;
    return c == '"';
}

/* The blob that other schemes carry in place of parameters: nothing of ours. Consumed only if that is what it is. */
static void skip_token68(struct rd *r)
{
    struct rd at = *r;
    uint8_t c;
    while (rd_peek_u8(&at, &c) && (octet_is_alpha(c) || octet_is_digit(c) || (c && strchr("-._~+/", c))))
        at.p++;
    while (take_octet(&at, '='))
        ;
    skip_blanks(&at);
    if (rd_end(&at) || at.p[0] == ',')
        *r = at;
}

/* Whether a list, parted by commas and blanks, holds a word. */
static bool list_has(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; *p;) {
        const char *end = p;
        while (*end && *end != ',' && !is_blank((uint8_t)*end))
            end++;
        if ((size_t)(end - p) == n && !strncasecmp(p, word, n))
            return true;
        p = *end ? end + 1 : end;
    }
    return false;
}

static void set_algorithm(struct challenge *c, const char *value)
{
    static const struct {
        const char *name;
        bool sha256, session;
    } known[] = {
        { "MD5", false, false },
        { "MD5-sess", false, true },
        { "SHA-256", true, false },
        { "SHA-256-sess", true, true },
    };
    c->has_algorithm = true;
    c->algorithm_known = false;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (!strcasecmp(value, known[i].name)) {
            c->algorithm_known = true;
            c->sha256 = known[i].sha256;
            c->session = known[i].session;
        }
}

static void keep(const char *value, bool *has, char out[TEXT_MAX])
{
    *has = true;
    memcpy(out, value, strlen(value) + 1);
}

static void set_param(struct challenge *c, const char *name, const char *value)
{
    if (!strcasecmp(name, "realm"))
        keep(value, &c->has_realm, c->realm);
    else if (!strcasecmp(name, "nonce"))
        keep(value, &c->has_nonce, c->nonce);
    else if (!strcasecmp(name, "opaque"))
        keep(value, &c->has_opaque, c->opaque);
    else if (!strcasecmp(name, "algorithm"))
        set_algorithm(c, value);
    else if (!strcasecmp(name, "stale"))
        c->stale = !strcasecmp(value, "true");
    else if (!strcasecmp(name, "qop")) {
        c->has_qop = true;
        c->auth = list_has(value, "auth");
    }
}

/* name=value of the challenge in progress; nothing is consumed when a scheme stands there. */
static bool take_param(struct rd *r, char name[TEXT_MAX])
{
    struct rd at = *r;
    if (!take_token(&at, name, TEXT_MAX))
        return false;
    skip_blanks(&at);
    if (!take_octet(&at, '='))
        return false;
    skip_blanks(&at);
    *r = at;
    return true;
}

static void skip_commas(struct rd *r)
{
    do
        skip_blanks(r);
    while (take_octet(r, ','));
}

/* Takes the next challenge. False at the end, and where the line cannot be read: what follows is not guessed at. */
static bool challenge_next(struct rd *r, struct challenge *c)
{
    char name[TEXT_MAX], value[TEXT_MAX];
    *c = (struct challenge){ .algorithm_known = true }; /* without the parameter it is MD5 */
    skip_commas(r);
    if (!take_token(r, c->scheme, sizeof c->scheme))
        return false;
    skip_blanks(r);
    skip_token68(r);
    for (;;) {
        uint8_t next = 0;
        skip_commas(r);
        if (!take_param(r, name))
            return rd_end(r) || (rd_peek_u8(r, &next) && octet_is_token(next));
        if (!take_value(r, value, sizeof value))
            return false;
        set_param(c, name, value);
        skip_blanks(r);
        if (!rd_end(r) && r->p[0] != ',')
            return false;
    }
}

/* ---- choosing ---- */

static enum http_scheme judge(const struct challenge *c)
{
    if (!strcasecmp(c->scheme, "Basic"))
        return HTTP_SCHEME_BASIC;
    if (strcasecmp(c->scheme, "Digest") != 0 || !c->has_realm || !c->has_nonce || !c->algorithm_known ||
        (c->has_qop && !c->auth))
        return HTTP_SCHEME_NONE;
    return c->sha256 ? HTTP_SCHEME_DIGEST_SHA256 : HTTP_SCHEME_DIGEST_MD5;
}

static struct rd line_of(const struct http_answer *a, unsigned i)
{
    return rd_make(a->challenge[i], strlen(a->challenge[i]));
}

/* The first one of the best scheme. */
static enum http_scheme choose(const struct http_answer *a, struct challenge *best)
{
    enum http_scheme scheme = HTTP_SCHEME_NONE;
    struct challenge c;
    for (unsigned i = 0; i < a->n_challenges; i++)
        for (struct rd line = line_of(a, i); challenge_next(&line, &c);)
            if (judge(&c) > scheme) {
                scheme = judge(&c);
                *best = c;
            }
    return scheme;
}

/* ---- Digest, RFC 7616 3.4 ---- */

/* H of words with a colon between each two, in hex. */
static int hash_words(bool sha256, const char *const *words, size_t n, char out[HTTP_DIGEST_MAX])
{
    struct digest_part parts[2 * 6];
    uint8_t sum[SHA256_LEN];
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (i)
            parts[k++] = (struct digest_part){ ":", 1 };
        parts[k++] = (struct digest_part){ words[i], strlen(words[i]) };
    }
    int err = digest(sha256 ? DIGEST_SHA256 : DIGEST_MD5, parts, k, sum);
    if (!err)
        hex_encode(sum, sha256 ? SHA256_LEN : MD5_LEN, out);
    secret_wipe(sum, sizeof sum);
    return err;
}

int http_digest_response(const struct http_digest *d, char out[HTTP_DIGEST_MAX])
{
    char a1[HTTP_DIGEST_MAX], inner[HTTP_DIGEST_MAX], a2[HTTP_DIGEST_MAX];
    const char *const secret[] = { d->login->user, d->realm, d->login->password };
    const char *const session[] = { inner, d->nonce, d->cnonce };
    const char *const request[] = { d->method, d->uri };
    const char *const with_qop[] = { a1, d->nonce, "00000001", d->cnonce, "auth", a2 };
    const char *const without[] = { a1, d->nonce, a2 };
    int err = hash_words(d->sha256, secret, 3, d->session ? inner : a1);
    if (!err && d->session)
        err = hash_words(d->sha256, session, 3, a1);
    if (!err)
        err = hash_words(d->sha256, request, 2, a2);
    if (!err)
        err = d->qop ? hash_words(d->sha256, with_qop, 6, out) : hash_words(d->sha256, without, 3, out);
    secret_wipe(a1, sizeof a1); /* as good as the password for this realm */
    secret_wipe(inner, sizeof inner);
    return err;
}

static void put_quoted(struct wr *w, const char *name, const char *value)
{
    wr_str(w, name);
    wr_str(w, "=\"");
    for (; *value; value++) {
        if (*value == '"' || *value == '\\')
            wr_u8(w, '\\');
        wr_u8(w, (uint8_t)*value);
    }
    wr_u8(w, '"');
}

static int put_digest(struct wr *w, const struct challenge *c, const struct http_digest *d)
{
    char response[HTTP_DIGEST_MAX];
    int err = http_digest_response(d, response);
    if (err)
        return err;
    put_quoted(w, "Digest username", d->login->user);
    put_quoted(w, ", realm", d->realm);
    put_quoted(w, ", nonce", d->nonce);
    put_quoted(w, ", uri", d->uri);
    if (c->has_algorithm) {
        wr_str(w, c->sha256 ? ", algorithm=SHA-256" : ", algorithm=MD5");
        wr_str(w, c->session ? "-sess" : "");
    }
    put_quoted(w, ", response", response);
    if (d->qop)
        wr_str(w, ", qop=auth, nc=00000001"); /* neither is quoted, RFC 7616 3.4 */
    if (d->qop || d->session)
        put_quoted(w, ", cnonce", d->cnonce);
    if (c->has_opaque)
        put_quoted(w, ", opaque", c->opaque);
    return 0;
}

/* ---- Basic, RFC 7617 2 ---- */

struct base64 {
    struct wr *w;
    uint32_t bits;
    unsigned n; /* bytes in bits, 0..2 */
};

static void base64_flush(struct base64 *b)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (!b->n)
        return;
    b->bits <<= 8 * (3 - b->n);
    for (unsigned i = 0; i < 4; i++)
        wr_u8(b->w, i <= b->n ? (uint8_t)digit[b->bits >> (18 - 6 * i) & 63] : '=');
    b->bits = b->n = 0;
}

static void base64_text(struct base64 *b, const char *text)
{
    for (; *text; text++) {
        b->bits = b->bits << 8 | (uint8_t)*text;
        if (++b->n == 3)
            base64_flush(b);
    }
}

static int put_basic(struct wr *w, const struct http_login *login)
{
    struct base64 b = { .w = w };
    if (strchr(login->user, ':'))
        return ERR_USAGE;
    wr_str(w, "Basic ");
    base64_text(&b, login->user);
    base64_text(&b, ":");
    base64_text(&b, login->password);
    base64_flush(&b);
    secret_wipe(&b, sizeof b);
    return 0;
}

/* ---- the whole ---- */

/* A user name with a line's end in it would be a header line of its own. */
static bool has_control(const char *text)
{
    for (; *text; text++)
        if ((uint8_t)*text < ' ' || *text == 0x7f)
            return true;
    return false;
}

int http_authenticate(const struct http_answer *a, const struct http_login *login, const char *method, const char *uri,
                      const unsigned char cnonce[16], char *out, size_t cap, enum http_scheme *scheme, bool *stale)
{
    struct challenge c = { 0 };
    char hex[33];
    *stale = false;
    *scheme = choose(a, &c);
    if (*scheme == HTTP_SCHEME_NONE)
        return ERR_PEER;
    if (has_control(login->user) || has_control(login->password))
        return ERR_USAGE;
    *stale = c.stale;
    hex_encode(cnonce, 16, hex);
    struct http_digest d = { .sha256 = c.sha256,
                             .session = c.session,
                             .qop = c.has_qop,
                             .login = login,
                             .realm = c.realm,
                             .nonce = c.nonce,
                             .cnonce = hex,
                             .method = method,
                             .uri = uri };
    struct wr w = wr_make(out, cap);
    int err = *scheme == HTTP_SCHEME_BASIC ? put_basic(&w, login) : put_digest(&w, &c, &d);
    wr_u8(&w, 0);
    if (!err && !wr_ok(&w))
        err = ERR_LIMIT;
    if (err)
        secret_wipe(out, cap);
    return err;
}

void http_schemes(const struct http_answer *a, char *out, size_t cap)
{
    struct challenge c;
    size_t n = 0;
    if (!cap)
        return;
    out[0] = 0;
    for (unsigned i = 0; i < a->n_challenges; i++)
        for (struct rd line = line_of(a, i); challenge_next(&line, &c);) {
            size_t len = strlen(c.scheme);
            if (list_has(out, c.scheme) || n + len + 3 > cap)
                continue;
            if (n) {
                memcpy(out + n, ", ", 2);
                n += 2;
            }
            memcpy(out + n, c.scheme, len + 1);
            n += len;
        }
}
