#include "auth/users.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/users_line.h"
#include "base/ct.h"
#include "base/digest.h"
#include "base/list.h"

#define GROUPS_MAX 1024 /* bytes */

struct entry {
    struct user user;
    char *key; /* the name in lower case; points into the memory of user.name */
    UT_hash_handle by_key, by_ip4;
};

struct users {
    struct entry *entries; /* one piece: uthash points into it, it does not move */
    size_t count, cap;
    struct entry *by_key, *by_ip4;
};

struct parse {
    struct users *users;
    struct users_error *err;
    unsigned line;
};

/* Never given the text of a field: a secret that lacks its quotes looks like options. */
__attribute__((format(printf, 2, 3))) static int bad(const struct parse *c, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    c->err->line = c->line;
    vsnprintf(c->err->text, sizeof c->err->text, fmt, args);
    va_end(args);
    return ERR_USAGE;
}

static struct entry *find_key(const struct users *u, const char *key, size_t len)
{
    struct entry *e = NULL;
    HASH_FIND(by_key, u->by_key, key, len, e);
    return e;
}

static int name_parse(const struct parse *c, struct span field, struct entry *e)
{
    char name[USERS_NAME_MAX + 1];
    size_t len;
    if (!users_value_decode(field, name, sizeof name, &len))
        return bad(c, "bad name: at most %d bytes; in double quotes only \\\" and \\\\ are special", USERS_NAME_MAX);
    if (len == 0)
        return bad(c, "the name is empty");
    char *both = malloc(2 * len + 1);
    if (!both)
        return ERR_NOMEM;
    memcpy(both, name, len + 1);
    e->user.name = both;
    e->key = both + len + 1;
    users_name_fold(name, len, e->key);
    const struct entry *other = find_key(c->users, e->key, len);
    if (other)
        return bad(c, "this name is already used in line %u (names are compared without regard to case)",
                   other->user.line);
    HASH_ADD_KEYPTR(by_key, c->users->by_key, e->key, len, e);
    return e->by_key.tbl ? 0 : ERR_NOMEM;
}

static int plain_parse(const struct parse *c, struct span value, struct user *user)
{
    char password[USERS_PASSWORD_MAX + 1];
    size_t len;
    int r;
    if (value.p == value.end)
        return bad(c, "no password after plain:");
    if (!users_value_decode(value, password, sizeof password, &len)) {
        r = bad(c, "bad password: at most %d bytes; in double quotes only \\\" and \\\\ are special",
                USERS_PASSWORD_MAX);
    } else {
        r = users_nt_hash(password, len, user->nt_hash);
        if (r == ERR_USAGE)
            r = bad(c, "the password is not UTF-8");
    }
    if (r == 0) {
        user->password = strdup(password);
        r = user->password ? 0 : ERR_NOMEM;
    }
    secret_wipe(password, sizeof password);
    return r;
}

static int secret_parse(const struct parse *c, struct span field, struct user *user)
{
    if (span_take(&field, "plain:"))
        return plain_parse(c, field, user);
    if (!span_take(&field, "nt:"))
        return bad(c, "the second field is no secret: expected nt:HASH or plain:PASSWORD");
    if (!hex_decode(field.p, span_len(field), user->nt_hash, sizeof user->nt_hash))
        return bad(c, "bad hash after nt: expected 32 hexadecimal digits");
    return 0;
}

static int ip_parse(const struct parse *c, struct span value, struct entry *e)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr in;
    struct entry *other = NULL;
    size_t len = span_len(value);
    if (e->user.ip4)
        return bad(c, "ip= is given twice");
    if (len >= sizeof text)
        return bad(c, "bad ip=: expected an IPv4 address");
    memcpy(text, value.p, len);
    text[len] = 0;
    if (inet_pton(AF_INET, text, &in) != 1)
        return bad(c, "bad ip=: expected an IPv4 address");
    uint32_t ip4 = ntohl(in.s_addr), net = ip4 >> 24;
    if (net == 0 || net == 127 || net >= 224)
        return bad(c, "bad ip=: %s is not the address of a host", text);
    HASH_FIND(by_ip4, c->users->by_ip4, &ip4, sizeof ip4, other);
    if (other)
        return bad(c, "the address %s is already used in line %u", text, other->user.line);
    e->user.ip4 = ip4;
    HASH_ADD(by_ip4, c->users->by_ip4, user.ip4, sizeof ip4, e);
    return e->by_ip4.tbl ? 0 : ERR_NOMEM;
}

/* n digits at *p as a number; -1 when something else is there. */
static int digits(const char *p, int n)
{
    int v = 0;
    for (int i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return -1;
        v = v * 10 + p[i] - '0';
    }
    return v;
}

/* Days from 1970-01-01 (proleptic Gregorian, UTC); -1 when there is no such day, or before 1970. */
static int64_t day_number(int year, int month, int day)
{
    static const int month_days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > month_days[month - 1] + (month == 2 && leap))
        return -1;
    int past = year - 1; /* whole years before this one */
    int64_t days = 365LL * (year - 1970) + (past / 4 - past / 100 + past / 400) - (1969 / 4 - 1969 / 100 + 1969 / 400);
    for (int m = 1; m < month; m++)
        days += month_days[m - 1] + (m == 2 && leap);
    return days + day - 1;
}

static int expires_parse(const struct parse *c, struct span value, struct user *user)
{
    const char *p = value.p;
    int64_t day = -1;
    if (user->expires_s != INT64_MAX)
        return bad(c, "expires= is given twice");
    if (span_len(value) == 10 && p[4] == '-' && p[7] == '-')
        day = day_number(digits(p, 4), digits(p + 5, 2), digits(p + 8, 2));
    if (day < 0)
        return bad(c, "bad expires=: expected a date as YYYY-MM-DD");
    user->expires_s = day * 86400;
    return 0;
}

static int groups_parse(const struct parse *c, struct span value, struct user *user)
{
    char before = ',';
    if (user->groups)
        return bad(c, "groups= is given twice");
    for (const char *p = value.p; p != value.end; before = *p++) {
        bool word = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || (*p & 0x80) ||
                    strchr("_.-", *p);
        if (!word && (*p != ',' || before == ','))
            return bad(c, "bad groups=: expected names of letters, digits, _ . - separated by commas");
    }
    if (before == ',' || span_len(value) > GROUPS_MAX)
        return bad(c, "bad groups=: expected names separated by commas, at most %d bytes", GROUPS_MAX);
    user->groups = strndup(value.p, span_len(value));
    return user->groups ? 0 : ERR_NOMEM;
}

static int rate_parse(const struct parse *c, const char *key, struct span value, uint64_t *bps)
{
    if (*bps)
        return bad(c, "%s is given twice", key);
    if (users_rate_parse(value.p, span_len(value), bps))
        return bad(c, "bad %s: expected bits a second as 800k, 10M or 1G, from 64k to 1000G", key);
    return 0;
}

static int option_parse(const struct parse *c, struct span field, struct entry *e)
{
    if (span_take(&field, "ip="))
        return ip_parse(c, field, e);
    if (span_take(&field, "groups="))
        return groups_parse(c, field, &e->user);
    if (span_take(&field, "expires="))
        return expires_parse(c, field, &e->user);
    if (span_take(&field, "up="))
        return rate_parse(c, "up=", field, &e->user.up_bps);
    if (span_take(&field, "down="))
        return rate_parse(c, "down=", field, &e->user.down_bps);
    if (!span_is(field, "disabled"))
        return bad(c, "unknown option: expected ip=, groups=, expires=, up=, down= or disabled (a password with blanks "
                      "needs quotes)");
    if (e->user.disabled)
        return bad(c, "disabled is given twice");
    e->user.disabled = true;
    return 0;
}

static int line_parse(const struct parse *c, struct span line, struct entry *e)
{
    struct span field;
    bool open;
    if (!users_field_next(&line, &field, &open))
        return bad(c, "a double quote stays open");
    int r = name_parse(c, field, e);
    if (r == 0 && !users_field_next(&line, &field, &open))
        return bad(c,
                   open ? "a double quote stays open" : "no secret: expected nt:HASH or plain:PASSWORD after the name");
    if (r == 0)
        r = secret_parse(c, field, &e->user);
    while (r == 0 && users_field_next(&line, &field, &open))
        r = option_parse(c, field, e);
    if (r == 0 && open)
        r = bad(c, "a double quote stays open");
    return r;
}

static size_t count_lines(struct span text)
{
    struct span line;
    size_t n = 0;
    while (users_line_next(&text, &line))
        n += !users_line_is_empty(line);
    return n;
}

static bool line_is_clean(struct span line)
{
    for (; line.p != line.end; line.p++)
        if (*line.p != '\t' && !users_text_is_clean(line.p, 1))
            return false;
    return true;
}

static int text_parse(struct parse *c, struct span text)
{
    struct span line;
    int r = 0;
    while (r == 0 && users_line_next(&text, &line)) {
        c->line++;
        if (!line_is_clean(line))
            return bad(c, "control character");
        if (span_take(&line, USERS_BOM)) /* on any line: files are joined, and lines removed */
            return bad(c, "the line begins with a byte order mark: save the file as UTF-8 without one");
        if (users_line_is_empty(line))
            continue;
        if (c->users->count == c->users->cap)
            return bad(c, "more than %d users", USERS_MAX);
        struct entry *e = &c->users->entries[c->users->count++];
        e->user.line = c->line;
        e->user.expires_s = INT64_MAX;
        r = line_parse(c, line, e);
    }
    return r;
}

int users_parse(const char *text, size_t len, struct users **out, struct users_error *err)
{
    struct span all = span_make(text, len);
    struct parse c = { .err = err };
    *err = (struct users_error){ 0 };
    struct users *u = calloc(1, sizeof *u);
    if (!u)
        return ERR_NOMEM;
    u->cap = count_lines(all);
    if (u->cap > USERS_MAX)
        u->cap = USERS_MAX;
    u->entries = calloc(u->cap + 1, sizeof *u->entries);
    c.users = u;
    int r = u->entries ? text_parse(&c, all) : ERR_NOMEM;
    if (r != 0) {
        users_free(u);
        return r;
    }
    *out = u;
    return 0;
}

void users_free(struct users *u)
{
    if (!u)
        return;
    HASH_CLEAR(by_key, u->by_key);
    HASH_CLEAR(by_ip4, u->by_ip4);
    for (size_t i = 0; i < u->count; i++) {
        struct user *user = &u->entries[i].user;
        free(user->name);
        free(user->groups);
        secret_free(user->password, user->password ? strlen(user->password) : 0);
    }
    secret_free(u->entries, u->count * sizeof *u->entries);
    free(u);
}

const struct user *users_find(const struct users *u, const char *name, size_t len)
{
    char key[USERS_NAME_MAX];
    if (len > sizeof key)
        return NULL;
    users_name_fold(name, len, key);
    const struct entry *e = find_key(u, key, len);
    return e ? &e->user : NULL;
}

size_t users_count(const struct users *u)
{
    return u->count;
}

const struct user *users_at(const struct users *u, size_t i)
{
    return i < u->count ? &u->entries[i].user : NULL;
}

enum user_state user_state(const struct user *u, int64_t now_s)
{
    if (!u)
        return USER_UNKNOWN;
    if (u->disabled)
        return USER_DISABLED;
    return now_s >= u->expires_s ? USER_EXPIRED : USER_OK;
}

const char *user_state_name(enum user_state s)
{
    switch (s) {
    case USER_OK: return "ok";
    case USER_UNKNOWN: return "unknown user";
    case USER_DISABLED: return "account disabled";
    case USER_EXPIRED: return "account expired";
    case USER_WRONG_SECRET: return "wrong password";
    case USER_NEEDS_PLAIN: return "chap-md5 needs a plain password on file";
    }
    return "?";
}
