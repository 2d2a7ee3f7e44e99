/* Lines and fields of the users file: what the parser and the editor share. All of it borrows. */
#ifndef GH_AUTH_USERS_LINE_H
#define GH_AUTH_USERS_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define USERS_BOM "\xef\xbb\xbf" /* invisible at the start of a line: refused there outside quotes */

struct span {
    const char *p, *end;
};

static inline struct span span_make(const char *text, size_t len)
{
    return (struct span){ text, text ? text + len : text };
}

static inline size_t span_len(struct span s)
{
    return (size_t)(s.end - s.p);
}

/* Takes the prefix off; false (nothing changed) when the span does not begin with it. */
MUST_USE bool span_take(struct span *s, const char *prefix);
MUST_USE bool span_is(struct span s, const char *text);

/* Takes the next line off the text: the line itself without its end ("\n" or "\r\n"). False at the end of the text. */
MUST_USE bool users_line_next(struct span *text, struct span *line);

/* True for a line that names no user: empty, blank, or a comment. */
bool users_line_is_empty(struct span line);

/* Takes the next field off the line, with its quotes. False when there is none, and when a quote stays open (then *open
 * is set). */
MUST_USE bool users_field_next(struct span *line, struct span *field, bool *open);

/*
 * The text that a field, or the part after its "key:", stands for: as it is, or in quotes with \" and \\ .
 * out has room for cap bytes and gets a NUL. False: badly quoted, or longer than cap - 1.
 */
MUST_USE bool users_value_decode(struct span raw, char *out, size_t cap, size_t *len);

/* The reverse, in quotes, for text without control characters; out has room for 2 len + 3 bytes. */
void users_value_quote(const char *text, size_t len, char *out);

/* ASCII letters in lower case, as names are compared; other bytes are opaque. out has room for len bytes. */
void users_name_fold(const char *name, size_t len, char *out);

bool users_text_is_clean(const char *text, size_t len); /* no control characters */

#endif
