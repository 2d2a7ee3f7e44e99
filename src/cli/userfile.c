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

static bool parses(const char *path, const char *text, size_t len, struct users **out)
{
    struct users_error err = { 0 };
    int rc = users_parse(text, len, out, &err);
    if (rc < 0)
        cli_fail("%s:%u: %s", path, err.line, err.text[0] ? err.text : err_name(rc));
    return rc == 0;
}

/* May the verb be done, given whether the user is there? */
static bool allowed(const char *path, enum userfile_verb verb, const char *name, bool there)
{
    if (verb == USERFILE_ADD && there)
        cli_fail("user \"%s\" is in %s already; 'gatehouse user passwd' sets a new password", name, path);
    else if (verb != USERFILE_ADD && !there)
        cli_fail("there is no user \"%s\" in %s; 'gatehouse user list' tells who is", name, path);
    else
        return true;
    return false;
}

static int edit(const char *path, enum userfile_verb verb, const char *name, const char *secret, const char *old,
                size_t old_len)
{
    struct users *users = NULL;
    char *text = NULL;
    size_t len = 0;
    int rc = ERR_USAGE;
    if (!parses(path, old, old_len, &users))
        return rc;
    bool ok = allowed(path, verb, name, users_find(users, name, strlen(name)) != NULL);
    users_free(users);
    users = NULL;
    if (!ok)
        return rc;
    rc = verb == USERFILE_REMOVE ? users_edit_remove(old, old_len, name, &text, &len)
                                 : users_edit_set(old, old_len, name, secret, &text, &len);
    if (rc < 0) {
        cli_fail("\"%s\" cannot be a user's name: 1 to %d bytes without control characters", name, USERS_NAME_MAX);
    } else if (!parses(path, text, len, &users)) {
        rc = ERR_USAGE;
    } else {
        rc = file_write(path, text, len, 0600, FILE_OLD_LENDS);
        if (rc < 0)
            cli_fail("cannot write %s: %s", path, strerror(errno));
    }
    users_free(users);
    secret_free(text, len);
    return rc;
}

int userfile_edit(const char *path, enum userfile_verb verb, const char *name, const char *secret)
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
        rc = edit(path, verb, name, secret, old, old_len);
    else if (errno == ENOENT && verb == USERFILE_ADD)
        rc = edit(path, verb, name, secret, "", 0);
    else
        cli_fail("cannot read %s: %s", path, strerror(errno));
    secret_free(old, old_len);
    close(lock);
    return rc;
}
