/* The loader: libconfig's tree walked along the table of options. */
#include "server/config_options.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX  (1 << 20) /* bytes of one configuration file */
#define TEXT_NAME "configuration"

/* Included files are named relative to the main file's folder; show them relative to the working directory, as that
 * was. */
static void source_name(const struct config_loader *l, const char *file, char *out, size_t cap)
{
    const char *slash = strrchr(l->path, '/');
    if (!file || !strcmp(file, l->path) || *file == '/' || !slash)
        snprintf(out, cap, "%s", file ? file : l->path);
    else
        snprintf(out, cap, "%.*s/%s", (int)(slash - l->path), l->path, file);
}

struct config_source { /* a list, since files that include are few */
    struct config_source *next;
    char name[];
};

const char *config_source(struct config_loader *l, const struct config_setting_t *s)
{
    char name[PATH_MAX];
    source_name(l, s ? config_setting_source_file(s) : NULL, name, sizeof name);
    for (const struct config_source *have = l->c->sources; have; have = have->next)
        if (!strcmp(have->name, name))
            return have->name;
    size_t size = strlen(name) + 1;
    struct config_source *new = malloc(sizeof *new + size);
    if (!new) {
        l->nomem = true;
        return NULL;
    }
    memcpy(new->name, name, size);
    new->next = l->c->sources;
    l->c->sources = new;
    return new->name;
}

__attribute__((format(printf, 6, 0))) static void fail_va(struct config_loader *l, const char *file, int line,
                                                          const char *code, const char *remedy, const char *fmt,
                                                          va_list ap)
{
    struct config_error e = { .line = line > 0 ? line : 1, .code = code };
    source_name(l, file, e.file, sizeof e.file);
    vsnprintf(e.what, sizeof e.what, fmt, ap);
    snprintf(e.remedy, sizeof e.remedy, "%s", remedy);
    snprintf(e.text, sizeof e.text, "%s:%d: %s: %s", e.file, e.line, e.what, e.remedy);
    l->errors++;
    l->report(l->arg, &e);
}

void config_fail_line(struct config_loader *l, const char *file, int line, const char *code, const char *remedy,
                      const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_va(l, file, line, code, remedy, fmt, ap);
    va_end(ap);
}

void config_fail(struct config_loader *l, const struct config_setting_t *at, const char *code, const char *remedy,
                 const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_va(l, at ? config_setting_source_file(at) : NULL, at ? (int)config_setting_source_line(at) : 1, code, remedy,
            fmt, ap);
    va_end(ap);
}

size_t config_word_distance(const char *a, const char *b)
{
    unsigned char row[64];
    size_t n = strlen(a), m = strlen(b);
    if (n >= sizeof row || m >= sizeof row)
        return 99;
    for (size_t j = 0; j <= m; j++)
        row[j] = (unsigned char)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned char diagonal = row[0];
        row[0] = (unsigned char)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);
            best = row[j] + 1u < best ? row[j] + 1u : best;
            best = row[j - 1] + 1u < best ? row[j - 1] + 1u : best;
            diagonal = row[j];
            row[j] = (unsigned char)best;
        }
    }
    return row[m];
}

static void unknown_section(struct config_loader *l, const struct config_setting_t *s)
{
    const char *name = config_setting_name(s);
    char remedy[200] = "there are", *sep = " ";
    size_t best = CONFIG_WORD_NEAR, n = strlen(remedy);
    for (const struct config_section *k = config_sections; k->name; k++, sep = ", ")
        n += (size_t)snprintf(remedy + n, sizeof remedy - n, "%s%s", sep, k->name);
    for (const struct config_option *o = config_options; o->name; o++) {
        if (!strcmp(o->name, name))
            snprintf(remedy, sizeof remedy, "%s belongs into the section %s", name, o->section);
    }
    for (const struct config_section *k = config_sections; k->name; k++) {
        size_t d = config_word_distance(name, k->name);
        if (d < best) {
            best = d;
            snprintf(remedy, sizeof remedy, "did you mean \"%s\"?", k->name);
        }
    }
    config_fail(l, s, "config-unknown-section", remedy, "unknown section \"%s\"", name);
}

static void unknown_key(struct config_loader *l, const struct config_section *section, const struct config_setting_t *s)
{
    const char *name = config_setting_name(s);
    char remedy[320] = "", all[256] = "";
    size_t best = CONFIG_WORD_NEAR, n = 0;
    for (const struct config_option *o = config_options; o->name; o++) {
        if (strcmp(o->section, section->name) != 0)
            continue;
        if (n < sizeof all)
            n += (size_t)snprintf(all + n, sizeof all - n, "%s%s", n ? ", " : "", o->name);
        size_t d = config_word_distance(name, o->name);
        if (d < best) {
            best = d;
            snprintf(remedy, sizeof remedy, "did you mean \"%s\"?", o->name);
        }
    }
    if (!*remedy)
        snprintf(remedy, sizeof remedy, "%s knows %s", section->name, all);
    config_fail(l, s, "config-unknown-key", remedy, "unknown option \"%s\" in %s", name, section->name);
}

static const struct config_option *find_option(const char *section, const char *name)
{
    for (const struct config_option *o = config_options; o->name; o++) {
        if (!strcmp(o->section, section) && !strcmp(o->name, name))
            return o;
    }
    return NULL;
}

/* One group, NULL when it was not written: every option of the section gets its value or its default. */
static void load_group(struct config_loader *l, const struct config_section *section, struct config_setting_t *s,
                       void *base)
{
    for (int i = 0; s && i < config_setting_length(s); i++) {
        struct config_setting_t *e = config_setting_get_elem(s, (unsigned)i);
        if (!find_option(section->name, config_setting_name(e)))
            unknown_key(l, section, e);
    }
    for (const struct config_option *o = config_options; o->name; o++) {
        if (strcmp(o->section, section->name) != 0)
            continue;
        struct config_setting_t *v = s ? config_setting_get_member(s, o->name) : NULL;
        char range[256];
        config_option_range(o, range, sizeof range);
        if (s && !section->list)
            l->c->option[o - config_options] =
                (struct config_place){ config_source(l, v ? v : s), (int)config_setting_source_line(v ? v : s) };
        if (v)
            config_option_set(l, o, v, base);
        else if (s && o->flags & OPT_REQUIRED)
            config_fail(l, s, "config-missing", range, "%s.%s is missing (%s)", o->section, o->name, o->help);
        else
            config_option_default(l, o, base);
    }
}

static void load_list(struct config_loader *l, const struct config_section *section, struct config_setting_t *s)
{
    size_t *n = (size_t *)(void *)((char *)l->c + section->count_at);
    size_t len = (size_t)config_setting_length(s);
    if (len > section->max) {
        config_fail(l, s, "config-out-of-range", "remove some", "%s has %zu entries, at most %zu fit", section->name,
                    len, section->max);
        return;
    }
    for (size_t i = 0; i < len; i++) {
        struct config_setting_t *e = config_setting_get_elem(s, (unsigned)i);
        char *base = (char *)l->c + section->at + i * section->size;
        if (!config_setting_is_group(e)) {
            config_fail(l, e, "config-bad-type", "write each as { name = value; ... }",
                        "entry %zu of %s is not a group", i + 1, section->name);
            continue;
        }
        *n = i + 1;
        *(int *)(void *)(base + section->line_at) = (int)config_setting_source_line(e);
        *(const char **)(void *)(base + section->file_at) = config_source(l, e);
        load_group(l, section, e, base);
    }
}

static void load_tree(struct config_loader *l)
{
    struct config_setting_t *root = config_root_setting(&l->lc);
    for (int i = 0; i < config_setting_length(root); i++) {
        struct config_setting_t *e = config_setting_get_elem(root, (unsigned)i);
        const struct config_section *k = config_sections;
        while (k->name && strcmp(k->name, config_setting_name(e)) != 0)
            k++;
        if (!k->name)
            unknown_section(l, e);
    }
    for (const struct config_section *k = config_sections; k->name; k++) {
        struct config_setting_t *s = config_setting_get_member(root, k->name);
        if (s && k->list && config_setting_is_list(s))
            load_list(l, k, s);
        else if (s && !k->list && config_setting_is_group(s))
            load_group(l, k, s, l->c);
        else if (s)
            config_fail(l, s, "config-bad-type",
                        k->list ? "write ( { name = value; ... }, { ... } );" : "write { name = value; ... };",
                        "%s is not %s", k->name, k->list ? "a list of groups" : "a group");
        else if (!k->list)
            load_group(l, k, NULL, l->c);
    }
    for (const struct config_section *k = config_sections; k->name; k++)
        if (k->present_at)
            *(bool *)((char *)l->c + k->present_at) = config_setting_get_member(root, k->name) != NULL;
    config_rules_check(l);
}

/* Past blanks, strings and comments, which hold no numbers for us; NULL: p is none of these. Counts lines. */
static const char *skip_text(const char *p, int *line)
{
    bool string = *p == '"', block = p[0] == '/' && p[1] == '*';
    if (!string && !block && *p != '#' && !(p[0] == '/' && p[1] == '/'))
        return NULL;
    for (p += block ? 2 : 1; *p; p++) {
        if (*p == '\n' && !string && !block)
            return p;
        *line += *p == '\n';
        if (string && *p == '\\' && p[1])
            p++;
        else if ((string && *p == '"') || (block && p[0] == '*' && p[1] == '/'))
            return p + 1 + block;
    }
    return p;
}

/*
 * libconfig 1.5 stores 5000000000 as 705032704 without a word, so numbers are looked at before it does: none of ours
 * needs more than 31 bits.
 */
static void check_numbers(struct config_loader *l, const char *file, const char *text)
{
    int line = 1;
    const char *p = text;
    while (*p) {
        const char *past = skip_text(p, &line);
        char *end;
        if (past) {
            p = past;
        } else if (*p >= '0' && *p <= '9') {
            errno = 0;
            unsigned long long v = strtoull(p, &end, p[0] == '0' && (p[1] | 32) == 'x' ? 16 : 10);
            if (v > INT_MAX || errno)
                config_fail_line(l, file, line, "config-out-of-range", "numbers go up to 2147483647",
                                 "%.*s is too large", (int)(end - p < 40 ? end - p : 40), p);
            p = end;
            while (*p == '.' || (*p >= '0' && *p <= '9')) /* the rest of a float */
                p++;
        } else if ((*p | 32) >= 'a' && (*p | 32) <= 'z') { /* digits in a name are no number */
            while (((*p | 32) >= 'a' && (*p | 32) <= 'z') || (*p >= '0' && *p <= '9') || *p == '-' || *p == '_')
                p++;
        } else {
            line += *p++ == '\n';
        }
    }
}

static void check_file_numbers(struct config_loader *l, const char *file)
{
    char name[PATH_MAX];
    source_name(l, file, name, sizeof name);
    FILE *in = fopen(name, "re");
    char *text = in ? calloc(1, FILE_MAX + 1) : NULL;
    if (text && fread(text, 1, FILE_MAX + 1, in) > FILE_MAX)
        config_fail_line(l, file, 1, "config-unreadable", "split it, or look whether it is the right file",
                         "the file has more than %d bytes", FILE_MAX);
    else if (text)
        check_numbers(l, file, text);
    else
        config_fail_line(l, file, 1, "config-unreadable", "is it still there?", "cannot read it again: %s",
                         strerror(errno));
    free(text);
    if (in)
        fclose(in);
}

static void syntax_error(struct config_loader *l)
{
    const char *what = config_error_text(&l->lc), *remedy = "";
    if (!what)
        what = "cannot be read";
    if (strstr(what, "syntax"))
        remedy = "here or just before, a ';', a quote or a bracket is missing or too much";
    else if (strstr(what, "duplicate"))
        remedy = "each section and option may be written once; remove one";
    else if (strstr(what, "open include"))
        remedy = "the name after @include is relative to the folder of the main file; is it there and readable?";
    else if (strstr(what, "nesting"))
        remedy = "a file must not include itself";
    else if (strstr(what, "mismatched"))
        remedy = "all entries of a list [ ... ] are of one kind; here they are texts in quotes";
    else
        remedy = "look at this line";
    config_fail_line(l, config_error_file(&l->lc), config_error_line(&l->lc),
                     strstr(what, "duplicate") ? "config-duplicate" : "config-syntax", remedy, "%s", what);
}

static bool read_main_file(struct config_loader *l)
{
    struct stat st;
    const char *what = stat(l->path, &st) < 0 ? strerror(errno) : !S_ISREG(st.st_mode) ? "not a file" : NULL;
    if (!what && access(l->path, R_OK) < 0)
        what = strerror(errno);
    if (!what && st.st_size > FILE_MAX)
        what = "larger than a megabyte";
    if (what) {
        config_fail_line(l, NULL, 1, "config-unreadable",
                         "name the configuration with -c FILE; 'gatehouse serve --demo DIR' makes one to try", "%s",
                         what);
        return false;
    }
    config_set_include_dir(&l->lc, l->folder);
    if (!config_read_file(&l->lc, l->path)) {
        syntax_error(l);
        return false;
    }
    for (unsigned i = 0; i < l->lc.num_filenames; i++)
        check_file_numbers(l, l->lc.filenames[i]);
    return true;
}

static bool read_text(struct config_loader *l, const char *text)
{
    for (const char *p = text; p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
        if (!strncmp(p + strspn(p, " \t\r\f\v"), "@include", 8)) {
            config_fail_line(l, NULL, 1, "config-syntax", "canonical text stands by itself", "there is an @include");
            return false;
        }
    }
    if (!config_read_string(&l->lc, text)) {
        syntax_error(l);
        return false;
    }
    check_numbers(l, NULL, text);
    return true;
}

static char *absolute(const char *path)
{
    char cwd[PATH_MAX], *out = NULL;
    if (*path == '/')
        return strdup(path);
    if (!getcwd(cwd, sizeof cwd) || asprintf(&out, "%s/%s", cwd, path) < 0)
        return NULL;
    return out;
}

/* Reads the file, or the text when that is given. */
static int load(struct config_loader *l, const char *text, struct config **out)
{
    int rc = ERR_NOMEM;
    config_init(&l->lc);
    l->c = calloc(1, sizeof *l->c);
    if (l->c)
        l->c->path = text ? strdup(l->path) : absolute(l->path);
    if (!l->c || !l->c->path || !(l->c->file = config_source(l, NULL)))
        goto out;
    if (!text) {
        l->folder = strdup(l->c->path);
        if (!l->folder)
            goto out;
        char *slash = strrchr(l->folder, '/');
        slash[slash == l->folder] = 0; /* "/" stays for a file in the root folder */
    }
    if (text ? read_text(l, text) : read_main_file(l))
        load_tree(l);
    rc = l->nomem ? ERR_NOMEM : l->errors ? ERR_USAGE : 0;
    if (!rc) {
        *out = l->c;
        l->c = NULL;
    }
out:
    config_free(l->c);
    config_destroy(&l->lc);
    free(l->folder);
    return rc;
}

static void keep_first(void *arg, const struct config_error *e)
{
    struct config_error *first = arg;
    if (!first->text[0])
        *first = *e;
}

int config_judge(const char *path, bool files, struct config **out, config_report_fn *report, void *arg)
{
    struct config_loader l = { .path = path, .files = files, .report = report, .arg = arg };
    return load(&l, NULL, out);
}

static void say_nomem(int rc, struct config_error *err)
{
    if (rc == ERR_NOMEM)
        snprintf(err->text, sizeof err->text, "%s", err_name(rc));
}

int config_load(const char *path, struct config **out, struct config_error *err)
{
    memset(err, 0, sizeof *err);
    int rc = config_judge(path, true, out, keep_first, err);
    say_nomem(rc, err);
    return rc;
}

int config_parse_text(const char *text, struct config **out, struct config_error *err)
{
    struct config_loader l = { .path = TEXT_NAME, .report = keep_first, .arg = err };
    memset(err, 0, sizeof *err);
    int rc = load(&l, text, out);
    say_nomem(rc, err);
    return rc;
}

void config_free(struct config *c)
{
    if (!c)
        return;
    for (const struct config_option *o = config_options; o->name; o++) {
        const struct config_section *k = config_sections;
        while (strcmp(k->name, o->section) != 0)
            k++;
        size_t n = k->list ? *(size_t *)(void *)((char *)c + k->count_at) : 1;
        for (size_t i = 0; i < n; i++)
            config_option_free(o, k->list ? (char *)c + k->at + i * k->size : (char *)c);
    }
    for (struct config_source *next, *s = c->sources; s; s = next) {
        next = s->next;
        free(s);
    }
    free(c->path);
    free(c);
}

struct config_place config_place(const struct config *c, const void *field)
{
    for (size_t i = 0; config_options[i].name; i++)
        if (c->option[i].file && (const char *)c + config_options[i].at == field)
            return c->option[i];
    return (struct config_place){ c->file, 1 };
}

/* 2: the name itself, 1: a wildcard has it, 0: no. */
static int name_fits(const char *pattern, const char *name)
{
    if (pattern[0] != '*')
        return strcasecmp(pattern, name) == 0 ? 2 : 0;
    const char *dot = strchr(name, '.');
    return dot && dot != name && strcasecmp(pattern + 1, dot) == 0;
}

const struct config_web *config_site(const struct config *c, const char *sni)
{
    const struct config_web *best = NULL;
    int best_fit = -1;
    for (size_t i = 0; i < c->n_web; i++) {
        const char *name = c->web[i].name;
        int fit = !name ? 0 : sni && name_fits(name, sni) ? name_fits(name, sni) : -1;
        if (fit > best_fit) {
            best = &c->web[i];
            best_fit = fit;
        }
    }
    return best;
}

const struct config_pass *config_passthrough(const struct config *c, const char *sni)
{
    const struct config_pass *best = NULL;
    for (size_t i = 0; sni && i < c->n_pass; i++) {
        int fit = name_fits(c->pass[i].name, sni);
        if (fit == 2)
            return &c->pass[i];
        best = fit && !best ? &c->pass[i] : best;
    }
    return best;
}

bool config_prefix_has(const struct config_prefix *list, size_t n, uint8_t family, const uint8_t ip[16])
{
    for (size_t i = 0; i < n; i++) {
        const struct config_prefix *p = &list[i];
        unsigned whole = p->bits / 8, rest = p->bits % 8;
        if (p->family == family && !memcmp(p->ip, ip, whole) &&
            (!rest || (p->ip[whole] ^ ip[whole]) >> (8 - rest) == 0))
            return true;
    }
    return false;
}

uint32_t config_server_ip4(const struct config *c)
{
    return c->vpn.network[0].base + 1;
}
