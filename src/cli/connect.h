/* What connect and probe share: where the password comes from, and names of methods. */
#ifndef GH_CLI_CONNECT_H
#define GH_CLI_CONNECT_H

#include <stddef.h>
#include <stdint.h>

/*
 * A password: the first line of file; without one the service manager's credential of that name; else the person at the
 * terminal is asked. 0, or an exit status after cli_fail(). Wipe out.
 */
int connect_password(const char *file, const char *credential, const char *prompt, char *out, size_t cap);

/* "eap-mschapv2,mschapv2": into at most 4 of enum ppp_auth_method, in that order. Not 0: why says what was expected. */
int connect_methods(const char *text, uint8_t out[5], char *why, size_t cap);

#endif
