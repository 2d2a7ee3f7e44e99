#include "auth/users_line.h"

#include <string.h>

bool span_take(struct span *s, const char *prefix)
{
    size_t n = strlen(prefix);
    if (span_len(*s) < n || memcmp(s->p, prefix, n) != 0)
        return false;
    s->p += n;
    return true;
}

bool span_is(struct span s, const char *text)
{
    return span_take(&s, text) && s.p == s.end;
}

bool users_line_next(struct span *text, struct span *line)
{
    if (text->p == text->end)
        return false;
    const char *nl = memchr(text->p, '\n', span_len(*text));
    *line = (struct span){ text->p, nl ? nl : text->end };
    text->p = nl ? nl + 1 : text->end;
    if (nl && line->p != line->end && line->end[-1] == '\r')
        line->end--;
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void skip_blanks(struct span *s)
{
    while (s->p != s->end && is_blank(*s->p))
        s->p++;
}

bool users_line_is_empty(struct span line)
{
    skip_blanks(&line);
    return line.p == line.end || *line.p == '#';
}

bool users_field_next(struct span *line, struct span *field, bool *open)
{
    struct span at = *line;
    bool quoted = false;
    *open = false;
    skip_blanks(&at);
    field->p = at.p;
    for (; at.p != at.end && (quoted || !is_blank(*at.p)); at.p++) {
        if (*at.p == '"')
            quoted = !quoted;
        else if (quoted && *at.p == '\\' && at.p + 1 != at.end)
            at.p++;
    }
    field->end = at.p;
    *open = quoted;
    if (quoted || field->p == field->end)
        return false;
    *line = at;
    return true;
}

bool users_value_decode(struct span raw, char *out, size_t cap, size_t *len)
{
    size_t n = 0;
    bool quoted = span_take(&raw, "\"");
    for (; raw.p != raw.end && n + 1 < cap; raw.p++) {
        if (*raw.p == '"')
            break;
        if (quoted && *raw.p == '\\') {
            raw.p++;
            if (raw.p == raw.end || (*raw.p != '"' && *raw.p != '\\'))
                return false;
        }
        out[n++] = *raw.p;
    }
    out[n] = 0;
    *len = n;
    return quoted ? span_is(raw, "\"") : raw.p == raw.end;
}

void users_value_quote(const char *text, size_t len, char *out)
{
    *out++ = '"';
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"' || text[i] == '\\')
            *out++ = '\\';
        *out++ = text[i];
    }
    *out++ = '"';
    *out = 0;
}

void users_name_fold(const char *name, size_t len, char *out)
{
    for (size_t i = 0; i < len; i++)
        out[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] - 'A' + 'a') : name[i];
}

bool users_text_is_clean(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    return true;
}
