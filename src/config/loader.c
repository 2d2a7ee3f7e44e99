/* The loader: libconfig's tree walked along the table of options. */
#include "config/loader.h"

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
    for (const struct config_source *have = l->origin->sources; have; have = have->next)
        if (!strcmp(have->name, name))
            return have->name;
    size_t size = strlen(name) + 1;
    struct config_source *new = malloc(sizeof *new + size);
    if (!new) {
        l->nomem = true;
        return NULL;
    }
    memcpy(new->name, name, size);
    new->next = l->origin->sources;
    l->origin->sources = new;
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

static void unknown_section(struct config_loader *l, const struct config_setting_t *s)
{
    const char *name = config_setting_name(s);
    char remedy[200] = "there are", *sep = " ";
    size_t best = CONFIG_WORD_NEAR, n = strlen(remedy);
    for (const struct config_section *k = l->schema->sections; k->name; k++, sep = ", ")
        n += (size_t)snprintf(remedy + n, sizeof remedy - n, "%s%s", sep, k->name);
    for (const struct config_option *o = l->schema->options; o->name; o++) {
        if (!strcmp(o->name, name))
            snprintf(remedy, sizeof remedy, "%s belongs into the section %s", name, o->section);
    }
    for (const struct config_section *k = l->schema->sections; k->name; k++) {
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
    for (const struct config_option *o = l->schema->options; o->name; o++) {
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

static const struct config_option *find_option(const struct config_schema *s, const char *section, const char *name)
{
    for (const struct config_option *o = s->options; o->name; o++) {
        if (!strcmp(o->section, section) && !strcmp(o->name, name))
            return o;
    }
    return NULL;
}

const struct config_setting_t *config_written(struct config_loader *l, const char *section, const char *key, size_t i)
{
    const struct config_setting_t *s = config_setting_get_member(config_root_setting(&l->lc), section);
    s = s ? config_setting_get_member(s, key) : NULL;
    const struct config_setting_t *e = s ? config_setting_get_elem(s, (unsigned)i) : NULL;
    return e ? e : s;
}

const struct config_setting_t *config_written_item(struct config_loader *l, const char *section, size_t i,
                                                   const char *key)
{
    const struct config_setting_t *s = config_setting_get_member(config_root_setting(&l->lc), section);
    s = s ? config_setting_get_elem(s, (unsigned)i) : NULL;
    const struct config_setting_t *k = s ? config_setting_get_member(s, key) : NULL;
    return k ? k : s;
}

/* One group, NULL when it was not written: every option of the section gets its value or its default. */
static void load_group(struct config_loader *l, const struct config_section *section, struct config_setting_t *s,
                       void *base)
{
    for (int i = 0; s && i < config_setting_length(s); i++) {
        struct config_setting_t *e = config_setting_get_elem(s, (unsigned)i);
        if (!find_option(l->schema, section->name, config_setting_name(e)))
            unknown_key(l, section, e);
    }
    for (const struct config_option *o = l->schema->options; o->name; o++) {
        if (strcmp(o->section, section->name) != 0)
            continue;
        struct config_setting_t *v = s ? config_setting_get_member(s, o->name) : NULL;
        char range[256];
        config_option_range(o, range, sizeof range);
        if (s && !section->list)
            l->origin->option[o - l->schema->options] =
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
        const struct config_section *k = l->schema->sections;
        while (k->name && strcmp(k->name, config_setting_name(e)) != 0)
            k++;
        if (!k->name)
            unknown_section(l, e);
    }
    for (const struct config_section *k = l->schema->sections; k->name; k++) {
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
    for (const struct config_section *k = l->schema->sections; k->name; k++)
        if (k->present_at)
            *(bool *)((char *)l->c + k->present_at) = config_setting_get_member(root, k->name) != NULL;
    if (l->schema->rules)
        l->schema->rules(l);
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
        config_fail_line(l, NULL, 1, "config-unreadable", l->schema->unreadable, "%s", what);
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

static int loader_begin(struct config_loader *l, bool text)
{
    config_init(&l->lc);
    l->c = calloc(1, l->schema->size);
    if (!l->c)
        return ERR_NOMEM;
    l->origin = config_schema_origin(l->schema, l->c);
    l->origin->path = text ? strdup(l->path) : absolute(l->path);
    if (!l->origin->path || !(l->origin->file = config_source(l, NULL)))
        return ERR_NOMEM;
    if (!text) {
        l->folder = strdup(l->origin->path);
        if (!l->folder)
            return ERR_NOMEM;
        char *slash = strrchr(l->folder, '/');
        slash[slash == l->folder] = 0; /* "/" stays for a file in the root folder */
    }
    return 0;
}

/* Reads the file, or the text when that is given. */
static int load(struct config_loader *l, const char *text, void **out)
{
    int rc = loader_begin(l, text != NULL);
    if (!rc) {
        if (text ? read_text(l, text) : read_main_file(l))
            load_tree(l);
        rc = l->nomem ? ERR_NOMEM : l->errors ? ERR_USAGE : 0;
    }
    if (!rc)
        *out = l->c;
    else
        config_schema_free(l->schema, l->c);
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

static void say_nomem(int rc, struct config_error *err)
{
    if (rc == ERR_NOMEM)
        snprintf(err->text, sizeof err->text, "%s", err_name(rc));
}

int config_schema_load(const struct config_schema *s, const char *path, bool files, void **out,
                       config_report_fn *report, void *arg)
{
    struct config_loader l = { .schema = s, .path = path, .files = files, .report = report, .arg = arg };
    return load(&l, NULL, out);
}

int config_schema_load_first(const struct config_schema *s, const char *path, void **out, struct config_error *err)
{
    memset(err, 0, sizeof *err);
    int rc = config_schema_load(s, path, true, out, keep_first, err);
    say_nomem(rc, err);
    return rc;
}

int config_schema_parse(const struct config_schema *s, const char *text, void **out, struct config_error *err)
{
    struct config_loader l = { .schema = s, .path = TEXT_NAME, .report = keep_first, .arg = err };
    memset(err, 0, sizeof *err);
    int rc = load(&l, text, out);
    say_nomem(rc, err);
    return rc;
}

/* "section.name" of an option that stands in the configuration's own struct. */
static const struct config_option *named_option(const struct config_schema *s, const char *name)
{
    const char *dot = strchr(name, '.');
    for (const struct config_section *k = s->sections; dot && k->name; k++)
        if (!k->list && strlen(k->name) == (size_t)(dot - name) && !strncmp(k->name, name, (size_t)(dot - name)))
            return find_option(s, k->name, dot + 1);
    return NULL;
}

/* Texts with commas between into a list. */
static void set_texts(struct config_loader *l, const struct config_option *o, const char *text)
{
    char *all = strdup(text), *save = NULL;
    if (!all)
        l->nomem = true;
    for (char *p = all ? strtok_r(all, ",", &save) : NULL; p && !l->errors; p = strtok_r(NULL, ",", &save))
        config_option_text(l, o, p, l->c);
    free(all);
    if (!l->errors && !l->nomem)
        config_option_enough(l, o, l->c);
}

int config_schema_set(const struct config_schema *s, void *c, const char *name, const char *text,
                      struct config_error *err)
{
    static const char line_name[] = "command line";
    struct config_loader l = { .schema = s,
                               .path = line_name,
                               .report = keep_first,
                               .arg = err,
                               .files = true,
                               .c = c,
                               .origin = config_schema_origin(s, c) };
    const struct config_option *o = named_option(s, name);
    char cwd[PATH_MAX];
    memset(err, 0, sizeof *err);
    if (!o)
        config_fail_line(&l, NULL, 1, "config-unknown-key", "look into the manual page", "there is no option %s", name);
    else if (!(l.folder = getcwd(cwd, sizeof cwd)))
        config_fail_line(&l, NULL, 1, "config-unreadable", "change to a folder that is there", "working directory: %s",
                         strerror(errno));
    if (l.errors)
        return ERR_USAGE;
    struct config_place *place = &l.origin->option[o - s->options];
    if (!config_option_is_list(o) || place->file != line_name)
        config_option_free(o, c);
    if (config_option_is_list(o))
        set_texts(&l, o, text);
    else
        config_option_text(&l, o, text, c);
    int rc = l.nomem ? ERR_NOMEM : l.errors ? ERR_USAGE : 0;
    *place = (struct config_place){ line_name, 1 };
    say_nomem(rc, err);
    return rc;
}

void config_schema_free(const struct config_schema *s, void *c)
{
    if (!c)
        return;
    for (const struct config_option *o = s->options; o->name; o++) {
        const struct config_section *k = s->sections;
        while (strcmp(k->name, o->section) != 0)
            k++;
        size_t n = k->list ? *(size_t *)(void *)((char *)c + k->count_at) : 1;
        for (size_t i = 0; i < n; i++)
            config_option_free(o, k->list ? (char *)c + k->at + i * k->size : (char *)c);
    }
    struct config_origin *origin = config_schema_origin(s, c);
    for (struct config_source *next, *source = origin->sources; source; source = next) {
        next = source->next;
        free(source);
    }
    free(origin->path);
    free(c);
}

struct config_place config_schema_place(const struct config_schema *s, const void *c, const void *field)
{
    const struct config_origin *origin = (const void *)((const char *)c + s->origin_at);
    for (size_t i = 0; s->options[i].name; i++)
        if (origin->option[i].file && (const char *)c + s->options[i].at == field)
            return origin->option[i];
    return (struct config_place){ origin->file, 1 };
}
