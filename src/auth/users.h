/*
 * The users file: who may dial in. Pure text in, table out; reading and replacing the file is the callers' work.
 *
 * One user a line, fields separated by blanks, '#' starts a comment line:
 *
 *   NAME  SECRET  [key=value ...]
 *   alice nt:8846f7eaee8fb117ad06bdd830b7586c
 *   bob   plain:"correct horse" ip=10.77.0.20 groups=staff,admins
 *   carol nt:...                disabled
 *   dave  nt:...                expires=2026-12-31
 *   erin  nt:...                up=10M down=50M
 *
 * NAME and a plain secret may be in double quotes with \" and \\ ; names are compared without regard to ASCII case, as
 * Windows does. nt: is the NT hash (MD4 of the UTF-16LE password): enough for MS-CHAPv2 and PAP. plain: is
 * needed for CHAP-MD5. expires= is the first day (UTC) on which the user no longer gets in. up= and down= bound what
 * goes from the user to the network and to the user.
 */
#ifndef GH_AUTH_USERS_H
#define GH_AUTH_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define USERS_NAME_MAX     256 /* bytes */
#define USERS_PASSWORD_MAX 256 /* bytes of UTF-8 */
#define USERS_MAX          1000000

struct user {
    char *name;
    uint8_t nt_hash[16]; /* secret; always there */
    char *password;      /* secret; UTF-8; NULL when only the hash is known */
    uint32_t ip4;        /* host order; 0: from the pool */
    bool disabled;
    int64_t expires_s; /* Unix seconds, first moment when it no longer works; INT64_MAX: never */
    char *groups;      /* comma-separated, NULL: none */
    uint64_t up_bps;   /* bits a second from the user, of all calls together; 0: no limit */
    uint64_t down_bps; /* the same to the user */
    unsigned line;     /* in the file */
};

struct users;

struct users_error {
    unsigned line;
    char text[160]; /* what was wrong and what was expected; never a secret */
};

/* Builds a table from the text of a users file. ERR_USAGE with *err filled; ERR_NOMEM. Duplicate names and
 * addresses are errors. */
MUST_USE int users_parse(const char *text, size_t len, struct users **out, struct users_error *err);
void users_free(struct users *u); /* wipes secrets; NULL is fine */

/* The user with this name, or NULL. Names are opaque bytes; a leading DOMAIN\ is not removed here. */
const struct user *users_find(const struct users *u, const char *name, size_t len);
size_t users_count(const struct users *u);
const struct user *users_at(const struct users *u, size_t i); /* in file order */

/* The text of the second field for a password: nt:HASH, or plain:"..." . ERR_USAGE as users_nt_hash(), and for
 * control characters. */
#define USERS_SECRET_MAX (sizeof "plain:\"\"" + 2 * USERS_PASSWORD_MAX)
MUST_USE int users_secret_text(const char *password, size_t len, bool plain, char out[USERS_SECRET_MAX]);

/* NT hash of a UTF-8 password: MD4 over UTF-16LE. ERR_USAGE when it is not UTF-8 or too long. */
MUST_USE int users_nt_hash(const char *password, size_t len, uint8_t out[16]);

/*
 * A rate in bits a second: a whole number, then k, M or G (powers of 1000) or nothing. ERR_USAGE: not one, or outside
 * USERS_RATE_MIN to USERS_RATE_MAX.
 */
#define USERS_RATE_MIN UINT64_C(64000)         /* 64k */
#define USERS_RATE_MAX UINT64_C(1000000000000) /* 1000G */
MUST_USE int users_rate_parse(const char *text, size_t len, uint64_t *bps);

/* The reverse, exactly, with the largest unit: "10M", "1500k". */
#define USERS_RATE_TEXT_MAX 24
void users_rate_text(uint64_t bps, char out[USERS_RATE_TEXT_MAX]);

enum user_state {
    USER_OK,
    USER_UNKNOWN,
    USER_DISABLED,
    USER_EXPIRED,
    USER_WRONG_SECRET, /* said by login_check() only */
    USER_NEEDS_PLAIN,  /* said by login_check() only: CHAP-MD5 cannot be verified with an NT hash */
};
enum user_state user_state(const struct user *u, int64_t now_s); /* NULL: USER_UNKNOWN */
const char *user_state_name(enum user_state s);                  /* a few lower-case words, for the log */

/*
 * Editing keeps every other line, comment and blank as it is. The result is malloc'ed text (wipe it with secret_free).
 * Lines that are not well-formed are kept too: parse the result before it replaces the file.
 * users_edit_set replaces the secret of the line of `name` (keeping its options), or appends a new line.
 * secret: the text of the second field, as "nt:..." or plain:"...". ERR_USAGE when the name cannot be written.
 */
MUST_USE int users_edit_set(const char *text, size_t len, const char *name, const char *secret, char **out,
                            size_t *out_len);
/*
 * Gives an option of the line of `name` another value, adds it behind the others, or, value NULL, removes it. key with
 * its "=", as "up=". ERR_USAGE: no such user, or a value that is not one bare word.
 */
MUST_USE int users_edit_option(const char *text, size_t len, const char *name, const char *key, const char *value,
                               char **out, size_t *out_len);
/* ERR_USAGE: not there. */
MUST_USE int users_edit_remove(const char *text, size_t len, const char *name, char **out, size_t *out_len);

#endif
