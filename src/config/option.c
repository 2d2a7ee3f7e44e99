/* One option's value: from the file, an argument or its default, its range in words, and freed. */
#include "config/loader.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/ct.h"
#include "tls/select.h"

const struct config_word config_auto_words[] = { { "off", CONFIG_OFF }, { "auto", CONFIG_AUTO }, { 0 } };

static void *field(const struct config_option *o, void *base)
{
    return (char *)base + o->at;
}

static size_t *count(const struct config_option *o, void *base)
{
    return (size_t *)(void *)((char *)base + o->count_at);
}

void config_option_range(const struct config_option *o, char *out, size_t cap)
{
    char words[128] = "";
    size_t n = 0;
    for (const struct config_word *w = o->words; w && w->word; w++)
        n += (size_t)snprintf(words + n, sizeof words - n, "%s\"%s\"", n ? w[1].word ? ", " : " or " : "", w->word);

    switch (o->type) {
    case OPT_INT: snprintf(out, cap, "a whole number from %d to %d", o->min, o->max); break;
    case OPT_BOOL: snprintf(out, cap, "true or false"); break;
    case OPT_WORD: snprintf(out, cap, "%s", words); break;
    case OPT_WORDS: snprintf(out, cap, "a list [ ... ] of %s, strongest first", words); break;
    case OPT_STRING: snprintf(out, cap, "text in quotes, %d to %d bytes", o->min, o->max); break;
    case OPT_IFNAME: snprintf(out, cap, "an interface name in quotes, 1 to 15 of letters, digits, - _ ."); break;
    case OPT_NAME: snprintf(out, cap, "a DNS name in quotes, like \"www.example.com\" or \"*.example.com\""); break;
    case OPT_RULES:
        snprintf(out, cap, "a list like [ \"default\", \"www.example.com\", \"*.example.com\", \"203.0.113.5:443\" ]");
        break;
    case OPT_PATH: snprintf(out, cap, "a path in quotes"); break;
    case OPT_ADDR:
        snprintf(out, cap, "an address and port in quotes, like \"127.0.0.1:8080\", \"[::1]:8080\"%s",
                 o->flags & OPT_UNIX ? " or \"unix:/run/web.sock\"" : "");
        break;
    case OPT_ADDRS:
        snprintf(out, cap, "a list of up to %d addresses, like [ \"0.0.0.0:443\", \"[::]:443\" ]", o->max);
        break;
    case OPT_NETS: snprintf(out, cap, "a list of 1 to %d networks, like [ \"10.77.0.0/16\" ]", o->max); break;
    case OPT_FROM:
        snprintf(out, cap, "a list of addresses and networks, like [ \"127.0.0.1\", \"2001:db8::/32\" ]");
        break;
    case OPT_LEAVES:
        snprintf(out, cap, "a list of paths and hashes, like [ \"/etc/haproxy/site.pem\", \"sha256:9f86...\" ]");
        break;
    case OPT_PINS:
        snprintf(out, cap, "a list of certificates' hashes, like [ \"sha256:9f86...\" ], 64 digits each");
        break;
    case OPT_TEXTS: snprintf(out, cap, "a list of up to %d texts in quotes", o->max); break;
    case OPT_IP4S: snprintf(out, cap, "a list of up to %d IPv4 addresses, like [ \"10.77.0.1\" ]", o->max); break;
    }
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
        if (!isalnum((unsigned char)*text) && !strchr("-_.", *text))
            return false;
    }
    return true;
}

static void check_file(struct config_loader *l, const struct config_option *o, const struct config_setting_t *s,
                       const char *path)
{
    struct stat st;
    bool file = o->flags & OPT_FILE, folder = o->flags & OPT_FOLDER;
    const char *make = o->make           ? o->make
                       : folder && !file ? "make the folder, or correct the path"
                                         : l->schema->missing;
    if (stat(path, &st) < 0)
        config_fail(l, s, "config-file-missing", make, "%s.%s: %s: %s", o->section, o->name, path, strerror(errno));
    else if (file && !S_ISREG(st.st_mode) && !(folder && S_ISDIR(st.st_mode)))
        config_fail(l, s, "config-file-missing", make, "%s.%s: %s is not a file", o->section, o->name, path);
    else if (folder && !file && !S_ISDIR(st.st_mode))
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
    if (!config_prefix_parse(text, p)) {
        bad_value(l, o, s, text);
        return;
    }
    if (!config_prefix_clean(p)) {
        config_fail(l, s, "config-bad-value", "write the network's own address in front of the prefix",
                    "%s.%s \"%s\" has bits set behind its prefix", o->section, o->name, text);
        return;
    }
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

static void add_pin(struct config_loader *l, const struct config_option *o, const struct config_setting_t *s,
                    const char *text, void *base)
{
    struct config_leaf leaf;
    if (!leaf_hash(text, &leaf) || leaf.hash_len != 32) {
        bad_value(l, o, s, text);
        return;
    }
    memcpy((uint8_t *)field(o, base) + 32 * *count(o, base), leaf.hash, 32);
    *count(o, base) += 1;
}

static void add_string(struct config_loader *l, const struct config_option *o, const struct config_setting_t *s,
                       const char *text, void *base)
{
    char **list = field(o, base);
    size_t *n = count(o, base);
    if (!*text || strlen(text) > 255) {
        bad_value(l, o, s, text);
        return;
    }
    list[*n] = copy(l, text, false);
    *n += list[*n] != NULL;
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
    case OPT_PINS: add_pin(l, o, s, text, base); return;
    case OPT_TEXTS: add_string(l, o, s, text, base); return;
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

bool config_option_is_list(const struct config_option *o)
{
    return o->type == OPT_WORDS || o->type == OPT_RULES || o->type == OPT_ADDRS || o->type == OPT_NETS ||
           o->type == OPT_IP4S || o->type == OPT_FROM || o->type == OPT_LEAVES || o->type == OPT_PINS ||
           o->type == OPT_TEXTS;
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
    if (config_option_is_list(o) && s->type == CONFIG_TYPE_ARRAY) {
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
    } else if (!config_option_is_list(o) && o->type != OPT_INT && o->type != OPT_BOOL &&
               s->type == CONFIG_TYPE_STRING) {
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
    if (def && !config_option_is_list(o))
        set_text(l, o, NULL, def, base);
    for (char *p = def && config_option_is_list(o) ? strtok_r(def, " ", &save) : NULL; p;
         p = strtok_r(NULL, " ", &save))
        set_text(l, o, NULL, p, base);
    free(def);
}

static size_t list_len(const struct config_option *o, void *base)
{
    size_t n = 0;
    if (o->type == OPT_WORDS)
        return strlen(field(o, base)); /* zeros end it, and there is room for one */
    if (o->type != OPT_IP4S)
        return *count(o, base);
    while (n < (size_t)o->max && ((uint32_t *)field(o, base))[n])
        n++;
    return n;
}

void config_option_text(struct config_loader *l, const struct config_option *o, const char *text, void *base)
{
    char *end, range[256];
    config_option_range(o, range, sizeof range);
    if (o->type == OPT_INT) {
        errno = 0;
        long v = strtol(text, &end, 10);
        if (end == text || *end)
            bad_value(l, o, NULL, text);
        else if (errno || v < o->min || v > o->max)
            config_fail(l, NULL, "config-out-of-range", range, "%s.%s is %s", o->section, o->name, text);
        else
            *(int *)field(o, base) = (int)v;
    } else if (o->type == OPT_BOOL && strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
        bad_value(l, o, NULL, text);
    } else if (config_option_is_list(o) && list_len(o, base) >= (size_t)o->max) {
        config_fail(l, NULL, "config-out-of-range", range, "%s.%s has more than %d entries", o->section, o->name,
                    o->max);
    } else {
        set_text(l, o, NULL, text, base);
    }
}

void config_option_enough(struct config_loader *l, const struct config_option *o, void *base)
{
    char range[256];
    config_option_range(o, range, sizeof range);
    if (list_len(o, base) < (size_t)o->min)
        config_fail(l, NULL, "config-out-of-range", range, "%s.%s has %zu entries", o->section, o->name,
                    list_len(o, base));
}

void config_option_free(const struct config_option *o, void *base)
{
    void *f = field(o, base);
    switch (o->type) {
    case OPT_INT:
    case OPT_BOOL:
    case OPT_WORD: return;
    case OPT_WORDS: memset(f, 0, (size_t)o->max); return;
    case OPT_IP4S: memset(f, 0, (size_t)o->max * sizeof(uint32_t)); return;
    case OPT_NETS:
    case OPT_FROM:
    case OPT_PINS: break;
    case OPT_STRING:
    case OPT_IFNAME:
    case OPT_NAME:
    case OPT_PATH:
        free(*(char **)f);
        *(char **)f = NULL;
        return;
    case OPT_RULES:
    case OPT_TEXTS:
        for (size_t i = 0; i < *count(o, base); i++)
            free(((char **)f)[i]);
        break;
    case OPT_LEAVES:
        for (size_t i = 0; i < *count(o, base); i++)
            free(((struct config_leaf *)f)[i].text);
        break;
    case OPT_ADDR:
        free(((struct config_addr *)f)->text);
        memset(f, 0, sizeof(struct config_addr));
        return;
    case OPT_ADDRS:
        for (size_t i = 0; i < *count(o, base); i++)
            free(((struct config_addr *)f)[i].text);
        break;
    }
    *count(o, base) = 0;
}
