#include <stdlib.h>
#include <string.h>

#include "auth/users.h"
#include "auth/users_line.h"
#include "base/ct.h"
#include "base/wr.h"

/* The line's secret field when it is the line of this name and has one. */
static bool line_match(struct span line, const char *name, struct span *secret)
{
    char text[USERS_NAME_MAX + 1];
    struct span field;
    size_t len, name_len = strlen(name);
    bool open;
    if (users_line_is_empty(line) || !users_field_next(&line, &field, &open) ||
        !users_value_decode(field, text, sizeof text, &len) || !users_field_next(&line, secret, &open))
        return false;
    if (len != name_len)
        return false;
    char want[USERS_NAME_MAX];
    users_name_fold(name, len, want);
    users_name_fold(text, len, text);
    return memcmp(text, want, len) == 0;
}

/* The name as a field: bare where that is unmistakable. Room for 2 USERS_NAME_MAX + 3. */
static void name_write(const char *name, char *out)
{
    static const char bare[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-@+\\";
    size_t len = strlen(name), n = 0;
    while (n < len && (strchr(bare, name[n]) || (name[n] & 0x80)))
        n++;
    if (n == len && strncmp(name, USERS_BOM, 3) != 0)
        memcpy(out, name, len + 1);
    else
        users_value_quote(name, len, out);
}

/* Ends an edit: hands the text over with a NUL behind it. */
static int finish(struct wr *w, char *buf, size_t cap, char **out, size_t *out_len)
{
    size_t len = wr_len(w);
    wr_u8(w, 0);
    if (!wr_ok(w)) {
        secret_free(buf, cap);
        return ERR_BUG;
    }
    *out = buf;
    *out_len = len;
    return 0;
}

/* The line that would be written must be one user and nothing else. */
static int entry_check(const char *name_field, const char *secret)
{
    struct users *users;
    struct users_error err;
    struct span rest = span_make(secret, strlen(secret)), field;
    bool open;
    char line[2 * USERS_NAME_MAX + USERS_SECRET_MAX + 8];
    struct wr w = wr_make(line, sizeof line);
    if (!users_field_next(&rest, &field, &open) || field.p != secret || rest.p != rest.end)
        return ERR_USAGE;
    wr_str(&w, name_field);
    wr_str(&w, " ");
    wr_str(&w, secret);
    int r = wr_ok(&w) ? users_parse(line, wr_len(&w), &users, &err) : ERR_USAGE;
    if (r == 0)
        users_free(users);
    secret_wipe(line, sizeof line);
    return r;
}

int users_edit_set(const char *text, size_t len, const char *name, const char *secret, char **out, size_t *out_len)
{
    char field[2 * USERS_NAME_MAX + 3];
    struct span rest = span_make(text, len), line, old;
    bool found = false;
    if (name[0] == 0 || strlen(name) > USERS_NAME_MAX)
        return ERR_USAGE;
    name_write(name, field);
    int r = entry_check(field, secret);
    if (r != 0)
        return r;
    size_t cap = len + strlen(field) + strlen(secret) + sizeof "\n \n";
    char *buf = malloc(cap);
    if (!buf)
        return ERR_NOMEM;
    struct wr w = wr_make(buf, cap);
    while (!found && users_line_next(&rest, &line))
        found = line_match(line, name, &old);
    if (found) {
        wr_bytes(&w, text, (size_t)(old.p - text));
        wr_str(&w, secret);
        wr_bytes(&w, old.end, (size_t)(text + len - old.end));
    } else {
        wr_bytes(&w, text, len);
        if (len && text[len - 1] != '\n')
            wr_str(&w, "\n");
        wr_str(&w, field);
        wr_str(&w, " ");
        wr_str(&w, secret);
        wr_str(&w, "\n");
    }
    return finish(&w, buf, cap, out, out_len);
}

/*
 * Where the option is among the fields that at begins with, and where what is before it ends; an empty field behind the
 * last one when it is not there.
 */
static void option_find(struct span at, const char *key, struct span *field, const char **before)
{
    bool open;
    for (*before = at.p; users_field_next(&at, field, &open); *before = at.p) {
        struct span f = *field;
        if (span_take(&f, key))
            return;
    }
    *field = (struct span){ *before, *before };
}

static bool is_word(const char *value)
{
    return value[0] && !strpbrk(value, " \"\\") && users_text_is_clean(value, strlen(value));
}

int users_edit_option(const char *text, size_t len, const char *name, const char *key, const char *value, char **out,
                      size_t *out_len)
{
    struct span rest = span_make(text, len), line, secret, field;
    const char *before;
    bool found = false;
    while (!found && users_line_next(&rest, &line))
        found = line_match(line, name, &secret);
    if (!found || (value && !is_word(value)))
        return ERR_USAGE;
    option_find((struct span){ secret.end, line.end }, key, &field, &before);
    bool there = field.p != field.end;
    size_t cap = len + strlen(key) + (value ? strlen(value) : 0) + sizeof " ";
    char *buf = malloc(cap);
    if (!buf)
        return ERR_NOMEM;
    struct wr w = wr_make(buf, cap);
    wr_bytes(&w, text, (size_t)((there && value ? field.p : before) - text));
    if (value) {
        wr_str(&w, there ? "" : " ");
        wr_str(&w, key);
        wr_str(&w, value);
    }
    wr_bytes(&w, field.end, (size_t)(text + len - field.end));
    return finish(&w, buf, cap, out, out_len);
}

int users_edit_remove(const char *text, size_t len, const char *name, char **out, size_t *out_len)
{
    struct span rest = span_make(text, len), line, secret;
    char *buf = malloc(len + 1);
    bool found = false;
    if (!buf)
        return ERR_NOMEM;
    struct wr w = wr_make(buf, len + 1);
    for (const char *at = rest.p; users_line_next(&rest, &line); at = rest.p) {
        if (line_match(line, name, &secret))
            found = true;
        else
            wr_bytes(&w, at, (size_t)(rest.p - at));
    }
    if (!found) {
        secret_free(buf, len + 1);
        return ERR_USAGE;
    }
    return finish(&w, buf, len + 1, out, out_len);
}
