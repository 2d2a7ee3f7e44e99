/* A password from the person at the terminal, or from a pipe. */
#ifndef GH_CLI_PASSWORD_H
#define GH_CLI_PASSWORD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/*
 * On a terminal: asks twice with echo off. Else: one line of standard input. out (cap bytes) gets it with a NUL; wipe
 * it. ERR_USAGE when it is empty, too long or not the same twice, ERR_CLOSED on end of input or interrupt; why says so.
 */
MUST_USE int password_read(char *out, size_t cap, size_t *len, const char **why);

/* One that exists already: the same, but asked for once. Standard input is a terminal. */
MUST_USE int password_ask(const char *prompt, char *out, size_t cap, size_t *len, const char **why);

#endif
