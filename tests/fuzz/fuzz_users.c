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
        return 0;
    }
    for (size_t i = 0; i < users_count(u); i++) {
        const struct user *user = users_at(u, i);
        if (users_find(u, user->name, strlen(user->name)) != user)
            abort();
    }
    if (users_count(u) > 0)
        check_edit(text, len, users_at(u, users_count(u) - 1)->name, users_count(u), true);
    check_edit(text, len, "bob", users_count(u), users_find(u, "bob", 3) != NULL);
    users_free(u);
    return 0;
}
