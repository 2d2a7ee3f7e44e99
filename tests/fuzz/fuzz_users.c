/* The users file: parser, look-up and editor. What was parsed is found again, and an edit of a good file is a good
 * file. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "auth/users.h"
#include "base/ct.h"
#include "base/digest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct users *parse(const char *text, size_t len)
{
    struct users *u = NULL;
    struct users_error err;
    if (users_parse(text, len, &u, &err) == 0)
        return u;
    if (memchr(err.text, 0, sizeof err.text) == NULL || err.line == 0)
        abort();
    return NULL;
}

static void check_edit(const char *text, size_t len, const char *name, size_t count, bool known)
{
    char *out;
    size_t out_len;
    if (users_edit_set(text, len, name, "plain:\"a b\"", &out, &out_len) != 0)
        abort();
    struct users *u = parse(out, out_len);
    if (!u || users_count(u) != count + !known)
        abort();
    const struct user *user = users_find(u, name, strlen(name));
    if (!user || !user->password || strcmp(user->password, "a b") != 0)
        abort();
    users_free(u);
    char *less;
    size_t less_len;
    if (users_edit_remove(out, out_len, name, &less, &less_len) != 0)
        abort();
    u = parse(less, less_len);
    if (!u || users_count(u) != count - known || users_find(u, name, strlen(name)))
        abort();
    users_free(u);
    secret_free(less, less_len + 1);
    secret_free(out, out_len + 1);
}

/* An option of a good file set and taken away again: the others are what they were. */
static void check_option(const char *text, size_t len, const struct user *before, size_t count)
{
    char *out, *less;
    size_t out_len, less_len;
    if (users_edit_option(text, len, before->name, "up=", "10M", &out, &out_len) != 0)
        abort();
    struct users *u = parse(out, out_len);
    const struct user *user = u ? users_find(u, before->name, strlen(before->name)) : NULL;
    if (!user || users_count(u) != count || user->up_bps != 10000000 || user->down_bps != before->down_bps ||
        user->ip4 != before->ip4 || user->disabled != before->disabled || user->line != before->line ||
        memcmp(user->nt_hash, before->nt_hash, sizeof user->nt_hash) != 0)
        abort();
    users_free(u);
    if (users_edit_option(out, out_len, before->name, "up=", NULL, &less, &less_len) != 0)
        abort();
    u = parse(less, less_len);
    if (!u || users_count(u) != count || users_find(u, before->name, strlen(before->name))->up_bps != 0)
        abort();
    users_free(u);
    if (!before->up_bps && (less_len != len || memcmp(less, text, len) != 0))
        abort();
    secret_free(less, less_len + 1);
    secret_free(out, out_len + 1);
}

/* What a rate is shown as is the rate. */
static void check_rate(uint64_t bps)
{
    char text[USERS_RATE_TEXT_MAX];
    uint64_t again = 0;
    users_rate_text(bps, text);
    if (bps && (users_rate_parse(text, strlen(text), &again) != 0 || again != bps))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const char *text = (const char *)data;
    char *out;
    size_t out_len;
    if (digest_init() != 0)
        abort();
    struct users *u = parse(text, len);
    if (!u) { /* the editor takes anything */
        if (users_edit_remove(text, len, "bob", &out, &out_len) == 0)
            secret_free(out, out_len + 1);
        if (users_edit_set(text, len, "bob", "plain:x", &out, &out_len) == 0)
            secret_free(out, out_len + 1);
        if (users_edit_option(text, len, "bob", "up=", "10M", &out, &out_len) == 0)
            secret_free(out, out_len + 1);
        return 0;
    }
    for (size_t i = 0; i < users_count(u); i++) {
        const struct user *user = users_at(u, i);
        if (users_find(u, user->name, strlen(user->name)) != user)
            abort();
        check_rate(user->up_bps);
        check_rate(user->down_bps);
    }
    if (users_count(u) > 0)
        check_option(text, len, users_at(u, users_count(u) - 1), users_count(u));
    if (users_count(u) > 0)
        check_edit(text, len, users_at(u, users_count(u) - 1)->name, users_count(u), true);
    check_edit(text, len, "bob", users_count(u), users_find(u, "bob", 3) != NULL);
    users_free(u);
    return 0;
}
