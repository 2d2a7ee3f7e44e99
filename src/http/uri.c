#include "http/uri.h"

#include "http/octet.h"

static const char uri_name[] = "sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}"; /* the letter s is its first byte alone */
#define URI_NAME_LEN (sizeof uri_name - 1)
_Static_assert(sizeof SSTP_URI - 1 == URI_NAME_LEN + 2, "the segment and its two slashes");

enum reading {
    READ_ESCAPED_SEPARATOR = 1, /* %2f, %5c and %3b are what they stand for               */
    READ_ESCAPED_DOT = 2,       /* so is %2e                                              */
    READ_BACKSLASH = 4,         /* a backslash is a slash                                 */
    READ_PARAMETER = 8,         /* a segment ends at its semicolon                        */
    READ_MERGE = 16,            /* empty segments do not count                            */
    READ_AUTHORITY = 32,        /* an authority follows two slashes at the start          */
    READINGS = 64,              /* combinations                                           */
};

/* A path, followed up to some byte. */
struct walk {
    unsigned how;      /* enum reading */
    size_t ended;      /* segments that ended; the first one is what precedes the first slash */
    size_t depth;      /* of them, those that are left */
    bool named;        /* the first one left is the URI's */
    bool authority;    /* the current segment is no segment but an authority */
    bool parameter;    /* behind the semicolon of the current segment */
    size_t len;        /* bytes of the current segment */
    size_t dots, name; /* how many of them, from the first on, are dots; are those of the URI's segment */
};

struct octet {
    uint8_t c;
    bool escaped;
};

/* `digits` hexadecimal digits; consumes nothing unless they are there. */
static bool take_hex(struct rd *r, int digits, unsigned *out)
{
    struct rd in = *r;
    unsigned v = 0;
    for (uint8_t c; digits > 0; digits--) {
        if (!rd_u8(&in, &c) || octet_hex(c) < 0)
            return false;
        v = v << 4 | (unsigned)octet_hex(c);
    }
    *r = in;
    *out = v;
    return true;
}

/* The next byte, decoded once. */
static bool take_octet(struct rd *r, struct octet *o)
{
    unsigned v;
    *o = (struct octet){ 0 };
    if (!rd_u8(r, &o->c))
        return false;
    if (o->c != '%')
        return true;
    struct rd wide = *r;
    uint8_t u;
    if (take_hex(r, 2, &v)) {
        *o = (struct octet){ (uint8_t)v, true };
    } else if (rd_u8(&wide, &u) && octet_lower(u) == 'u' && take_hex(&wide, 4, &v)) {
        *o = (struct octet){ v < 0x80 ? (uint8_t)v : 0x80, true }; /* beyond ASCII there is nothing to tell apart */
        *r = wide;
    }
    return true;
}

/* Whether the URI's segment is spelled anywhere in the target: hardly ever, and nothing else needs a closer look. */
static bool has_name(struct rd target)
{
    size_t n = 0;
    for (struct octet o; n < URI_NAME_LEN && take_octet(&target, &o);) {
        uint8_t c = octet_lower(o.c);
        n = c == octet_lower((uint8_t)uri_name[n]) ? n + 1 : c == 's';
    }
    return n == URI_NAME_LEN;
}

static bool is_name(const struct walk *w)
{
    return w->len == URI_NAME_LEN && w->name == URI_NAME_LEN;
}

/* RFC 3986 5.2.4, one segment. `last`: no slash follows. */
static void segment_end(struct walk *w, bool last)
{
    bool first = w->ended++ == 0, empty = !w->len, authority = w->authority;
    w->authority = w->ended == 2 && empty && (w->how & READ_AUTHORITY);
    if (authority || w->authority || (w->dots == 1 && w->len == 1) ||
        (empty && (first || last || (w->how & READ_MERGE)))) {
        /* goes without a trace */
    } else if (w->dots == 2 && w->len == 2) {
        w->depth -= w->depth > 0;
    } else if (w->depth++ == 0) {
        w->named = is_name(w);
    }
    w->parameter = false;
    w->len = w->dots = w->name = 0;
}

static void segment_octet(struct walk *w, struct octet o)
{
    bool dot = o.c == '.' && (!o.escaped || (w->how & READ_ESCAPED_DOT));
    w->dots += dot && w->dots == w->len;
    w->name +=
        w->name == w->len && w->name < URI_NAME_LEN && octet_lower(o.c) == octet_lower((uint8_t)uri_name[w->name]);
    w->len++;
}

/* If the path ended here. */
static enum uri_match match_here(const struct walk *at)
{
    struct walk w = *at;
    bool no_slash = is_name(&w);
    segment_end(&w, true);
    return w.depth != 1 || !w.named ? URI_OTHER : no_slash ? URI_NO_SLASH : URI_SSTP;
}

static enum uri_match match_as(struct rd target, unsigned how)
{
    struct walk w = { .how = how };
    enum uri_match best = URI_OTHER, m;
    for (struct octet o; take_octet(&target, &o);) {
        bool special = !o.escaped || (how & READ_ESCAPED_SEPARATOR);
        bool slash = special && (o.c == '/' || (o.c == '\\' && (how & READ_BACKSLASH)));
        bool may_end = o.c == 0 || (!o.escaped && (o.c == '#' || octet_is_gap(o.c)));
        if (may_end && (m = match_here(&w)) > best)
            best = m;
        if (!w.ended && !slash)
            w.ended = 1; /* as if the first slash had been there */
        if (slash)
            segment_end(&w, false);
        else if (special && o.c == ';' && (how & READ_PARAMETER))
            w.parameter = true;
        else if (!w.parameter)
            segment_octet(&w, o);
    }
    m = match_here(&w);
    return m > best ? m : best;
}

/* Steps over "scheme:" (RFC 3986 3.1) if the target begins with one. */
static struct rd without_scheme(struct rd target)
{
    struct rd in = target;
    uint8_t c;
    if (!rd_u8(&in, &c) || !octet_is_alpha(c))
        return target;
    while (rd_u8(&in, &c) && (octet_is_alpha(c) || octet_is_digit(c) || c == '+' || c == '-' || c == '.'))
        ;
    return c == ':' ? in : target;
}

enum uri_match uri_match(struct rd target)
{
    enum uri_match best = URI_OTHER, m;
    if (!has_name(target))
        return URI_OTHER;
    if (rd_left(&target) > URI_READ_MAX)
        return URI_NO_SLASH;
    target = without_scheme(target);
    for (unsigned how = 0; how < READINGS && best < URI_SSTP; how++)
        if ((m = match_as(target, how)) > best)
            best = m;
    return best;
}
