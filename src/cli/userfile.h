/* The users file, edited in place by commands; see auth/users.h for what is in it. */
#ifndef GH_CLI_USERFILE_H
#define GH_CLI_USERFILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define USERFILE_MAX (256u << 20)

enum userfile_verb { USERFILE_ADD, USERFILE_PASSWD, USERFILE_SET, USERFILE_REMOVE };

struct userfile_option {
    const char *key, *value; /* "up=", "10M"; value NULL: the option goes */
};

struct userfile_change {
    enum userfile_verb verb;
    const char *name;
    const char *secret;                   /* for add and passwd */
    const struct userfile_option *option; /* for add and set */
    size_t n_option;
};

/*
 * The second field of a line: "nt:..." or, plain, plain:"...". malloc'ed, wipe it with secret_free over its strlen.
 * ERR_USAGE when the password cannot be used; why says so.
 */
MUST_USE int userfile_secret(const char *password, size_t len, bool plain, char **out, const char **why);

/*
 * Changes the file under the lock of its folder; a missing one is made (0600) by USERFILE_ADD. The file is parsed
 * before and after, so a broken one is never written. Negative after cli_fail(): ERR_USAGE (no such user, there
 * already, a name or a value that cannot be) or ERR_SYSTEM.
 */
MUST_USE int userfile_edit(const char *path, const struct userfile_change *change);

#endif
