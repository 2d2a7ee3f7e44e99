#include "cli/userfile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/users.h"
#include "base/ct.h"
#include "base/digest.h"
#include "cli/cli.h"
#include "cli/file.h"

static int nt_secret(const char *password, size_t len, char **out, const char **why)
{
    uint8_t hash[16];
    char hex[33];
    int rc = digest_init();
    if (rc < 0) {
        *why = "OpenSSL's legacy provider (MD4) cannot be loaded; is the package openssl whole?";
        return rc;
    }
    rc = users_nt_hash(password, len, hash);
    *why = "the password is not UTF-8, or longer than 256 bytes";
    if (!rc) {
        hex_encode(hash, sizeof hash, hex);
        if (asprintf(out, "nt:%s", hex) < 0)
            rc = ERR_NOMEM;
    }
    secret_wipe(hash, sizeof hash);
    secret_wipe(hex, sizeof hex);
    return rc;
}

static int plain_secret(const char *password, size_t len, char **out, const char **why)
{
    char *s = malloc(2 * len + 10), *p = s;
    if (!s)
        return ERR_NOMEM;
    p = stpcpy(p, "plain:\"");
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)password[i] < 0x20 || password[i] == 0x7f) {
            *why = "the password holds a control character";
            secret_free(s, 2 * len + 10);
            return ERR_USAGE;
        }
        if (password[i] == '"' || password[i] == '\\')
            *p++ = '\\';
        *p++ = password[i];
    }
    memcpy(p, "\"", 2);
    *out = s;
    return 0;
}

int userfile_secret(const char *password, size_t len, bool plain, char **out, const char **why)
{
    char *nt = NULL;
    int rc = nt_secret(password, len, &nt, why); /* for plain, too: the server makes the hash of it */
    if (rc || !plain) {
        *out = nt;
        return rc;
    }
    secret_free(nt, strlen(nt));
    return plain_secret(password, len, out, why);
}

/* May the verb be done, given whether the user is there? */
static bool allowed(const char *path, const struct userfile_change *c, bool there)
{
    if (c->verb == USERFILE_ADD && there)
        cli_fail("user \"%s\" is in %s already; 'gatehouse user passwd' sets a new password", c->name, path);
    else if (c->verb != USERFILE_ADD && !there)
        cli_fail("there is no user \"%s\" in %s; 'gatehouse user list' tells who is", c->name, path);
    else
        return true;
    return false;
}

/* The file as it is: whole, and such that the change can be made. */
static bool may_change(const char *path, const struct userfile_change *c, const char *text, size_t len)
{
    struct users *users = NULL;
    struct users_error err = { 0 };
    int rc = users_parse(text, len, &users, &err);
    if (rc < 0)
        cli_fail("%s:%u: %s", path, err.line, err.text[0] ? err.text : err_name(rc));
    bool ok = !rc && allowed(path, c, users_find(users, c->name, strlen(c->name)) != NULL);
    users_free(users);
    return ok;
}

/* The file as it would be. */
static bool may_write(const char *text, size_t len)
{
    struct users *users = NULL;
    struct users_error err = { 0 };
    int rc = users_parse(text, len, &users, &err);
    if (rc < 0)
        cli_fail("%s; nothing was changed", err.text[0] ? err.text : err_name(rc));
    users_free(users);
    return !rc;
}

/* The first step of a change: *text is a new one. */
static int change_line(const struct userfile_change *c, const char *old, size_t old_len, char **text, size_t *len)
{
    switch (c->verb) {
    case USERFILE_ADD:
    case USERFILE_PASSWD: return users_edit_set(old, old_len, c->name, c->secret, text, len);
    case USERFILE_REMOVE: return users_edit_remove(old, old_len, c->name, text, len);
    case USERFILE_SET: break;
    }
    *text = malloc(old_len + 1);
    if (!*text)
        return ERR_NOMEM;
    memcpy(*text, old, old_len);
    *len = old_len;
    return 0;
}

static int change_options(const struct userfile_change *c, char **text, size_t *len)
{
    for (size_t i = 0; i < c->n_option; i++) {
        char *next = NULL;
        size_t next_len = 0;
        int rc = users_edit_option(*text, *len, c->name, c->option[i].key, c->option[i].value, &next, &next_len);
        if (rc == ERR_USAGE)
            cli_fail("the value for %s is no single word; nothing was changed", c->option[i].key);
        if (rc < 0)
            return rc;
        secret_free(*text, *len);
        *text = next;
        *len = next_len;
    }
    return 0;
}

static int edit(const char *path, const struct userfile_change *c, const char *old, size_t old_len)
{
    char *text = NULL;
    size_t len = 0;
    if (!may_change(path, c, old, old_len))
        return ERR_USAGE;
    int rc = change_line(c, old, old_len, &text, &len);
    if (rc < 0)
        cli_fail("\"%s\" cannot be a user's name: 1 to %d bytes without control characters", c->name, USERS_NAME_MAX);
    else
        rc = change_options(c, &text, &len);
    if (!rc && !may_write(text, len))
        rc = ERR_USAGE;
    if (!rc) {
        rc = file_write(path, text, len, 0600, FILE_OLD_LENDS);
        if (rc < 0)
            cli_fail("cannot write %s: %s", path, strerror(errno));
    }
    secret_free(text, len);
    return rc;
}

int userfile_edit(const char *path, const struct userfile_change *change)
{
    char *old = NULL;
    size_t old_len = 0;
    int lock = file_lock(path), rc = ERR_SYSTEM;
    if (lock < 0) {
        cli_fail("cannot lock the folder of %s: %s", path,
                 errno == EWOULDBLOCK ? "somebody else has been editing for 5 seconds; try again" : strerror(errno));
        return rc;
    }
    if (file_read(path, USERFILE_MAX, &old, &old_len) == 0)
        rc = edit(path, change, old, old_len);
    else if (errno == ENOENT && change->verb == USERFILE_ADD)
        rc = edit(path, change, "", 0);
    else
        cli_fail("cannot read %s: %s", path, strerror(errno));
    secret_free(old, old_len);
    close(lock);
    return rc;
}
