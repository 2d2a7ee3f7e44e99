/* Secrets: comparison in constant time, wiping that the compiler keeps, hexadecimal. */
#ifndef GH_BASE_CT_H
#define GH_BASE_CT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* True when the n bytes are equal; the time taken depends on n alone. */
MUST_USE bool ct_equal(const void *a, const void *b, size_t n);

/* Overwrites n bytes in a way that is not optimised away. NULL with n 0 is fine. */
void secret_wipe(void *p, size_t n);

/* Wipes n bytes and frees. NULL is fine. */
void secret_free(void *p, size_t n);

/* Writes 2 n lower-case digits and a NUL to out, which has room for 2 n + 1 bytes. */
void hex_encode(const void *data, size_t n, char *out);

/* Reads exactly 2 n digits of either case into out; false (out undefined) on any other character or length. */
MUST_USE bool hex_decode(const char *text, size_t text_len, uint8_t *out, size_t n);

#endif
