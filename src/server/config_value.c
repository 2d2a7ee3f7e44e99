/* One option's value: from the file, from its default, to JSON, and freed. */
#include "server/config_options.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/ct.h"
#include "tls/select.h"

static void *field(const struct config_option *o, void *base)
{
    return (char *)base + o->at;
}

static size_t *count(const struct config_option *o, void *base)
{
    return (size_t *)(void *)((char *)base + o->count_at);
}

static bool label_char(char c)
{
    return isalnum((unsigned char)c) || c == '-' || c == '_';
}

bool config_name_valid(const char *text)
{
    size_t label = 0;
    bool digits_only = true; /* of the last label: such a name would be an address */
    for (const char *p = text; *p; p++) {
        if (*p == '.') {
            if (!label)
                return false;
            label = 0;
            digits_only = true;
        } else if (label_char(*p) && label < 63) {
            label++;
            digits_only = digits_only && isdigit((unsigned char)*p);
        } else {
            return false;
        }
    }
    return label && !digits_only && strlen(text) <= 253;
}

bool config_net4_parse(const char *text, struct config_net4 *out)
{
    char ip[INET_ADDRSTRLEN];
    struct in_addr in;
    const char *slash = strchr(text, '/');
    if (!slash || (size_t)(slash - text) >= sizeof ip)
        return false;
    memcpy(ip, text, (size_t)(slash - text));
    ip[slash - text] = 0;
    size_t digits = strspn(slash + 1, "0123456789");
    if (inet_pton(AF_INET, ip, &in) != 1 || digits < 1 || digits > 2 || slash[1 + digits])
        return false;
    int prefix = (int)strtol(slash + 1, NULL, 10);
    if (prefix > 32)
        return false;
    *out = (struct config_net4){ .base = ntohl(in.s_addr), .prefix = (uint8_t)prefix };
    return true;
}

/* ":443" and the end of the text; 0: something else. */
static unsigned parse_port(const char *p)
{
    size_t digits = *p == ':' ? strspn(p + 1, "0123456789") : 0;
    unsigned long port = digits && digits <= 5 && !p[1 + digits] ? strtoul(p + 1, NULL, 10) : 0;
    return port <= 65535 ? (unsigned)port : 0;
}

static bool parse_ip_port(const char *text, struct config_addr *a)
{
    char ip[INET6_ADDRSTRLEN];
    bool six = *text == '[';
    const char *end = six ? strchr(text, ']') : strchr(text, ':');
    if (six)
        text++;
    if (!end || (size_t)(end - text) >= sizeof ip)
        return false;
    memcpy(ip, text, (size_t)(end - text));
    ip[end - text] = 0;
    unsigned port = parse_port(six ? end + 1 : end);
    if (!port)
        return false;
    if (six) {
        a->u.in6.sin6_family = AF_INET6;
        a->u.in6.sin6_port = htons((uint16_t)port);
        a->len = sizeof a->u.in6;
        return inet_pton(AF_INET6, ip, &a->u.in6.sin6_addr) == 1;
    }
    a->u.in.sin_family = AF_INET;
    a->u.in.sin_port = htons((uint16_t)port);
    a->len = sizeof a->u.in;
    return inet_pton(AF_INET, ip, &a->u.in.sin_addr) == 1;
}

int config_addr_parse(const char *text, bool allow_unix, struct config_addr *out)
{
    struct config_addr a;
    memset(&a, 0, sizeof a); /* two equal addresses are equal in all bytes */
    if (allow_unix && !strncmp(text, "unix:", 5)) {
        size_t len = strlen(text + 5);
        if (text[5] != '/' || len >= sizeof a.u.un.sun_path)
            return ERR_USAGE;
        a.u.un.sun_family = AF_UNIX;
        memcpy(a.u.un.sun_path, text + 5, len);
        a.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    } else if (!parse_ip_port(text, &a)) {
        return ERR_USAGE;
    }
    a.text = strdup(text);
    if (!a.text)
        return ERR_NOMEM;
    *out = a;
    return 0;
}

static void bad_value(struct config_loader *l, const struct config_option *o, const struct config_setting_t *s,
                      const char *text)
{
    char range[256];
    config_option_range(o, range, sizeof range);
    config_fail(l, s, "config-bad-value", range, "%s.%s cannot be \"%s\"", o->section, o->name, text);
}

static char *copy(struct config_loader *l, const char *text, bool lower)
{
    char *s = strdup(text);
    if (!s)
        l->nomem = true;
    for (char *p = s; lower && p && *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return s;
}

/* Printable UTF-8: what can be shown in messages and written back as it was. */
static bool printable(const char *text)
{
    for (const char *p = text; *p; p++) {
        if (iscntrl((unsigned char)*p))
            return false;
    }
    json_t *probe = json_string(text); /* jansson takes well-formed UTF-8 only */
    bool ok = probe != NULL;
    json_decref(probe);
    return ok;
}

static bool ifname_valid(const char *text)
{
    size_t len = strlen(text);
    if (len < 1 || len > 15 || !strcmp(text, ".") || !strcmp(text, ".."))
        return false;
    for (; *text; text++) {
        if (!label_char(*text) && *text != '.')
            return false;
    }
    return true;
}

static void check_file(struct config_loader *l, const struct config_option *o, const struct config_setting_t *s,
                       const char *path)
{
    struct stat st;
    const char *make = !strcmp(o->section, "vpn") ? "make it with 'gatehouse user add NAME', or correct the path"
                       : o->flags & OPT_FOLDER    ? "make the folder, or correct the path"
                                                  : "make one with 'gatehouse cert new', or correct the path";
    if (stat(path, &st) < 0)
        config_fail(l, s, "config-file-missing", make, "%s.%s: %s: %s", o->section, o->name, path, strerror(errno));
    else if (o->flags & OPT_FILE && !S_ISREG(st.st_mode))
        config_fail(l, s, "config-file-missing", make, "%s.%s: %s is not a file", o->section, o->name, path);
    else if (o->flags & OPT_FOLDER && !S_ISDIR(st.st_mode))
        config_fail(l, s, "config-file-missing", make, "%s.%s: %s is not a folder", o->section, o->name, path);
}

static void set_path(struct config_loader *l, const struct config_option *o, const struct config_setting_t *s,
                     const char *text, char **out)
{
    if (*text == '/') {
        *out = copy(l, text, false);
    } else if (!*text || !l->folder) {
        bad_value(l, o, s, text);
        return;
    } else if (asprintf(out, "%s/%s", strcmp(l->folder, "/") ? l->folder : "", text) < 0) {
        *out = NULL;
        l->nomem = true;
    }
    if (*out && o->flags & OPT_UNIX && strlen(*out) >= sizeof((struct sockaddr_un *)0)->sun_path)
        config_fail(l, s, "config-bad-value", "the path of a socket has at most 107 bytes; choose a shorter one",
                    "%s.%s is too long: %s", o->section, o->name, *out);
    if (*out && l->files && o->flags & (OPT_FILE | OPT_FOLDER))
        check_file(l, o, s, *out);
}

static const struct config_word *find_word(const struct config_option *o, const char *text)
{
    const struct config_word *w = o->words;
    while (w->word && strcmp(w->word, text) != 0)
        w++;
    return w->word ? w : NULL;
}

static void add_word(struct config_loader *l, const struct config_option *o, const struct config_setting_t *s,
                     const char *text, uint8_t *list)
{
    const struct config_word *w = find_word(o, text);
    size_t n = strlen((char *)list); /* zeros end it, and there is room for one */
    if (!w)
        bad_value(l, o, s, text);
    else if (memchr(list, w->value, n))
        config_fail(l, s, "config-duplicate", "write each once", "%s.%s has \"%s\" twice", o->section, o->name, text);
    else if (n && list[n - 1] < w->value)
        config_fail(l, s, "config-bad-value", "the strongest comes first: it is what clients are asked for first",
                    "%s.%s has \"%s\" after something weaker", o->section, o->name, text);
    else
        list[n] = (uint8_t)w->value;
}

/* A DNS name, "*." in front or not. */
static bool pattern_valid(const char *text)
{
    return config_name_valid(!strncmp(text, "*.", 2) ? text + 2 : text);
}

/* An address that was written without its port. */
static bool is_portless(const char *text)
{
    uint8_t ip[16];
    size_t len = strlen(text);
    return inet_pton(AF_INET, text, ip) == 1 || inet_pton(AF_INET6, text, ip) == 1 ||
           (*text == '[' && text[len - 1] == ']');
}

static void add_rule(struct config_loader *l, const struct config_option *o, const struct config_setting_t *s,
                     const char *text, void *base)
{
    char **list = field(o, base), spelled[300];
    size_t *n = count(o, base);
    struct tls_rule rule;
    bool name = !strcmp(text, "default") || pattern_valid(text);
    if (!name && is_portless(text))
        config_fail(l, s, "config-bad-value", "write address and port, like \"203.0.113.5:443\"",
                    "%s.%s: there is no port in \"%s\"", o->section, o->name, text);
    else if ((!name && !strchr(text, ':')) || tls_rule_parse(text, &rule) < 0) {
        bad_value(l, o, s, text);
    } else {
        tls_rule_text(&rule, spelled, sizeof spelled);
        list[*n] = copy(l, spelled, true);
        *n += list[*n] != NULL;
    }
}

static void add_prefix(struct config_loader *l, const struct config_option *o, const struct config_setting_t *s,
                       const char *text, void *base)
{
    struct config_prefix *p = (struct config_prefix *)field(o, base) + *count(o, base);
    char ip[INET6_ADDRSTRLEN];
    size_t len = strcspn(text, "/"), digits = text[len] ? strspn(text + len + 1, "0123456789") : 0;
    memset(p, 0, sizeof *p);
    if (len < sizeof ip) {
        memcpy(ip, text, len);
        ip[len] = 0;
        p->family = inet_pton(AF_INET, ip, p->ip) == 1 ? 4 : inet_pton(AF_INET6, ip, p->ip) == 1 ? 6 : 0;
    }
    long most = p->family == 4 ? 32 : 128;
    long bits = !text[len]                                         ? most
                : digits && digits <= 3 && !text[len + 1 + digits] ? strtol(text + len + 1, NULL, 10)
                                                                   : -1;
    if (!p->family || bits < 0 || bits > most) {
        bad_value(l, o, s, text);
        return;
    }
    for (long i = bits; i < most; i++)
        if (p->ip[i / 8] & 0x80 >> i % 8) {
            config_fail(l, s, "config-bad-value", "write the network's own address in front of the prefix",
                        "%s.%s \"%s\" has bits set behind its prefix", o->section, o->name, text);
            return;
        }
    p->bits = (uint8_t)bits;
    *count(o, base) += 1;
}

/* "sha256:HEX" or "sha1:HEX", with or without colons between the bytes, as tools print them. */
static bool leaf_hash(const char *text, struct config_leaf *leaf)
{
    char hex[65];
    size_t n = 0, want = !strncasecmp(text, "sha256:", 7) ? 64 : !strncasecmp(text, "sha1:", 5) ? 40 : 0;
    for (const char *p = strchr(text, ':'); want && *p; p++) {
        if (*p == ':')
            continue;
        if (n == want || !isxdigit((unsigned char)*p))
            return false;
        hex[n++] = (char)tolower((unsigned char)*p);
    }
    hex[n] = 0;
    leaf->hash_len = want / 2;
    return want && n == want && hex_decode(hex, want, leaf->hash, want / 2);
}

static void add_leaf(struct config_loader *l, const struct config_option *o, const struct config_setting_t *s,
                     const char *text, void *base)
{
    struct config_leaf *leaf = (struct config_leaf *)field(o, base) + *count(o, base);
    char hex[65];
    leaf->file = config_source(l, s);
    leaf->line = s ? (int)config_setting_source_line(s) : 0;
    if (strncasecmp(text, "sha256:", 7) != 0 && strncasecmp(text, "sha1:", 5) != 0) {
        set_path(l, o, s, text, &leaf->text);
    } else if (!leaf_hash(text, leaf)) {
        bad_value(l, o, s, text);
        return;
    } else {
        hex_encode(leaf->hash, leaf->hash_len, hex);
        if (asprintf(&leaf->text, "%s:%s", leaf->hash_len == 32 ? "sha256" : "sha1", hex) < 0) {
            leaf->text = NULL;
            l->nomem = true;
        }
    }
    *count(o, base) += leaf->text != NULL;
}

static void add_ip4(struct config_loader *l, const struct config_option *o, const struct config_setting_t *s,
                    const char *text, uint32_t *list)
{
    struct in_addr in;
    int n = 0;
    while (n < o->max && list[n])
        n++;
    if (n == o->max || inet_pton(AF_INET, text, &in) != 1 || !in.s_addr)
        bad_value(l, o, s, text);
    else
        list[n] = ntohl(in.s_addr);
}

static void set_addr(struct config_loader *l, const struct config_option *o, const struct config_setting_t *s,
                     const char *text, struct config_addr *out)
{
    int rc = config_addr_parse(text, o->flags & OPT_UNIX, out);
    if (rc == ERR_NOMEM)
        l->nomem = true;
    else if (rc < 0)
        bad_value(l, o, s, text);
    out->file = config_source(l, s);
    out->line = s ? (int)config_setting_source_line(s) : 0;
}

/* One text: a whole value, or one element of a list. s is where it was written, NULL for defaults. */
static void set_text(struct config_loader *l, const struct config_option *o, const struct config_setting_t *s,
                     const char *text, void *base)
{
    void *f = field(o, base);
    if (!printable(text)) {
        config_fail(l, s, "config-bad-value", "remove control characters and write UTF-8",
                    "%s.%s holds something that is not text", o->section, o->name);
        return;
    }
    switch (o->type) {
    case OPT_INT: *(int *)f = (int)strtol(text, NULL, 10); return;
    case OPT_BOOL: *(bool *)f = !strcmp(text, "true"); return;
    case OPT_WORD:
        if (find_word(o, text))
            *(int *)f = find_word(o, text)->value;
        else
            bad_value(l, o, s, text);
        return;
    case OPT_WORDS: add_word(l, o, s, text, f); return;
    case OPT_STRING:
        if (strlen(text) < (size_t)o->min || strlen(text) > (size_t)o->max)
            bad_value(l, o, s, text);
        else
            *(char **)f = copy(l, text, false);
        return;
    case OPT_IFNAME:
    case OPT_NAME:
        if (o->type == OPT_IFNAME ? ifname_valid(text) : pattern_valid(text))
            *(char **)f = copy(l, text, o->type == OPT_NAME);
        else
            bad_value(l, o, s, text);
        return;
    case OPT_RULES: add_rule(l, o, s, text, base); return;
    case OPT_FROM: add_prefix(l, o, s, text, base); return;
    case OPT_LEAVES: add_leaf(l, o, s, text, base); return;
    case OPT_PATH: set_path(l, o, s, text, f); return;
    case OPT_ADDR: set_addr(l, o, s, text, f); return;
    case OPT_ADDRS: {
        struct config_addr *a = (struct config_addr *)f + *count(o, base);
        set_addr(l, o, s, text, a);
        *count(o, base) += a->len != 0;
        return;
    }
    case OPT_NETS: {
        struct config_net4 *net = (struct config_net4 *)f + *count(o, base);
        if (!config_net4_parse(text, net)) {
            bad_value(l, o, s, text);
            return;
        }
        net->file = config_source(l, s);
        net->line = s ? (int)config_setting_source_line(s) : 0;
        *count(o, base) += 1;
        return;
    }
    case OPT_IP4S: add_ip4(l, o, s, text, f); return;
    }
}

static bool is_list(const struct config_option *o)
{
    return o->type == OPT_WORDS || o->type == OPT_RULES || o->type == OPT_ADDRS || o->type == OPT_NETS ||
           o->type == OPT_IP4S || o->type == OPT_FROM || o->type == OPT_LEAVES;
}

static const char *type_name(const struct config_setting_t *s)
{
    switch (s->type) {
    case CONFIG_TYPE_GROUP: return "a group { }";
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64: return "a whole number";
    case CONFIG_TYPE_FLOAT: return "a number with a point";
    case CONFIG_TYPE_STRING: return "text in quotes";
    case CONFIG_TYPE_BOOL: return "true or false";
    case CONFIG_TYPE_ARRAY: return "a list [ ]";
    default: return "a list ( )"; /* libconfig's types, not an enum of ours */
    }
}

static void bad_type(struct config_loader *l, const struct config_option *o, const struct config_setting_t *s)
{
    char range[256];
    config_option_range(o, range, sizeof range);
    config_fail(l, s, "config-bad-type", range, "%s.%s is %s", o->section, o->name, type_name(s));
}

static void set_list(struct config_loader *l, const struct config_option *o, struct config_setting_t *s, void *base)
{
    int n = config_setting_length(s);
    char range[256];
    config_option_range(o, range, sizeof range);
    if (n < o->min || n > o->max) {
        config_fail(l, s, "config-out-of-range", range, "%s.%s has %d entries", o->section, o->name, n);
        return;
    }
    for (int i = 0; i < n; i++) {
        struct config_setting_t *e = config_setting_get_elem(s, (unsigned)i);
        if (e->type == CONFIG_TYPE_STRING)
            set_text(l, o, e, config_setting_get_string(e), base);
        else
            bad_type(l, o, e);
    }
}

void config_option_set(struct config_loader *l, const struct config_option *o, struct config_setting_t *s, void *base)
{
    if (is_list(o) && s->type == CONFIG_TYPE_ARRAY) {
        set_list(l, o, s, base);
    } else if (o->type == OPT_INT && (s->type == CONFIG_TYPE_INT || s->type == CONFIG_TYPE_INT64)) {
        long long v = config_setting_get_int64(s);
        char range[256];
        config_option_range(o, range, sizeof range);
        if (v < o->min || v > o->max)
            config_fail(l, s, "config-out-of-range", range, "%s.%s is %lld", o->section, o->name, v);
        else
            *(int *)field(o, base) = (int)v;
    } else if (o->type == OPT_BOOL && s->type == CONFIG_TYPE_BOOL) {
        *(bool *)field(o, base) = config_setting_get_bool(s);
    } else if (!is_list(o) && o->type != OPT_INT && o->type != OPT_BOOL && s->type == CONFIG_TYPE_STRING) {
        set_text(l, o, s, config_setting_get_string(s), base);
    } else {
        bad_type(l, o, s);
    }
}

void config_option_default(struct config_loader *l, const struct config_option *o, void *base)
{
    char *def = o->def ? strdup(o->def) : NULL, *save = NULL;
    if (o->def && !def)
        l->nomem = true;
    if (def && !is_list(o))
        set_text(l, o, NULL, def, base);
    for (char *p = def && is_list(o) ? strtok_r(def, " ", &save) : NULL; p; p = strtok_r(NULL, " ", &save))
        set_text(l, o, NULL, p, base);
    free(def);
}

void config_option_free(const struct config_option *o, void *base)
{
    void *f = field(o, base);
    switch (o->type) {
    case OPT_INT:
    case OPT_BOOL:
    case OPT_WORD:
    case OPT_WORDS:
    case OPT_NETS:
    case OPT_IP4S:
    case OPT_FROM: return;
    case OPT_STRING:
    case OPT_IFNAME:
    case OPT_NAME:
    case OPT_PATH: free(*(char **)f); return;
    case OPT_RULES:
        for (size_t i = 0; i < *count(o, base); i++)
            free(((char **)f)[i]);
        return;
    case OPT_LEAVES:
        for (size_t i = 0; i < *count(o, base); i++)
            free(((struct config_leaf *)f)[i].text);
        return;
    case OPT_ADDR: free(((struct config_addr *)f)->text); return;
    case OPT_ADDRS:
        for (size_t i = 0; i < *count(o, base); i++)
            free(((struct config_addr *)f)[i].text);
        return;
    }
}
