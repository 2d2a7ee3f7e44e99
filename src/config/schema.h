/*
 * One kind of configuration file: a table of its options, a table of its sections, and where they go. The tables drive
 * the loader, the printer and the manual pages; what they describe is a plain struct with a struct config_origin in it.
 *
 * A loaded configuration is immutable and owned by whoever loaded it (config_schema_free()).
 */
#ifndef GH_CONFIG_SCHEMA_H
#define GH_CONFIG_SCHEMA_H

#include <stdio.h>

#include "config/value.h"

#define CONFIG_OPTIONS_MAX 96 /* rows of a table */

struct config_loader;
struct config_source;

struct config_origin {                              /* inside the loader but for the first two */
    char *path;                                     /* of the main file, absolute */
    const char *file;                               /* the same, as the operator wrote it */
    struct config_source *sources;                  /* names of all files */
    struct config_place option[CONFIG_OPTIONS_MAX]; /* by row of the table */
};

enum config_opt_type {
    OPT_INT,    /* int                                                                  */
    OPT_BOOL,   /* bool                                                                 */
    OPT_WORD,   /* int or an enum: one of .words                                        */
    OPT_WORDS,  /* uint8_t[.max]: several of .words, strongest (largest value) first    */
    OPT_STRING, /* char *: .min to .max bytes of printable UTF-8                        */
    OPT_IFNAME, /* char *: a network interface                                          */
    OPT_NAME,   /* char *: a DNS name or "*." and one, stored in lower case             */
    OPT_RULES,  /* char *[.max] and a count: rules of tls/select.h                      */
    OPT_PATH,   /* char *: stored absolute                                              */
    OPT_ADDR,   /* struct config_addr                                                   */
    OPT_ADDRS,  /* struct config_addr[.max] and a count                                 */
    OPT_NETS,   /* struct config_net4[.max] and a count                                 */
    OPT_IP4S,   /* uint32_t[.max], host order, 0 ends                                   */
    OPT_FROM,   /* struct config_prefix[.max] and a count                               */
    OPT_PINS,   /* uint8_t[.max][32] and a count: "sha256:HEX" of certificates          */
    OPT_TEXTS,  /* char *[.max] and a count: 1 to 255 bytes of printable UTF-8 each     */
    OPT_LEAVES, /* struct config_leaf[.max] and a count                                 */
};

enum {
    OPT_REQUIRED = 1, /* where its section is written, it must be there              */
    OPT_RESTART = 2,  /* a reload cannot change it                                   */
    OPT_FILE = 4,     /* path of a file that must be there                           */
    OPT_FOLDER = 8,   /* path of a folder that must be there; with OPT_FILE: of either */
    OPT_UNIX = 16,    /* address that may be "unix:/path"; path that must fit sockaddr_un */
};

struct config_word {
    const char *word; /* NULL ends a list */
    int value;
};

/* "off" and "auto": what the kernel may or may not have is used where it has it. */
enum config_auto { CONFIG_OFF, CONFIG_AUTO };
extern const struct config_word config_auto_words[];

struct config_option {
    const char *section, *name;
    enum config_opt_type type;
    int min, max;    /* integers: range; strings: bytes; lists: how many */
    const char *def; /* as it would be written, lists with blanks between; NULL: not set */
    unsigned flags;
    const struct config_word *words;
    size_t at;       /* offset of the field in the configuration, or in one item of the section's list */
    size_t count_at; /* offset of a list's count */
    const char *help;
    const char *make; /* OPT_FILE, OPT_FOLDER: what to do when it is not there; NULL: the schema's words */
};

struct config_section {
    const char *name, *help;
    size_t present_at; /* offset of the bool that says whether it was written; 0: it need not be, defaults do */
    bool list;         /* of groups; the rest is for lists */
    size_t at, size, max,
        count_at;            /* the array in the configuration: offset, bytes of one item, items, offset of the count */
    size_t file_at, line_at; /* where an item keeps its place in the source */
};

struct config_schema {
    const struct config_option *options;   /* ends with name NULL, CONFIG_OPTIONS_MAX at most */
    const struct config_section *sections; /* ends with name NULL */
    size_t size, origin_at;                /* bytes of the configuration's struct; offset of its struct config_origin */
    void (*rules)(struct config_loader *l); /* what is wrong although every value is right; NULL: nothing can be */
    const char *unreadable;                 /* what to do when the main file cannot be read */
    const char *missing;                    /* when a file cannot be found that an option names */
};

/*
 * Reads and checks the file; references to other files are relative to its folder. report is called for every error.
 * With files false the files that the configuration names need not exist. ERR_USAGE when anything is wrong, ERR_NOMEM;
 * *out is written only when there was no error.
 */
MUST_USE int config_schema_load(const struct config_schema *s, const char *path, bool files, void **out,
                                config_report_fn *report, void *arg);

/* The same, the first error alone. ERR_USAGE, ERR_NOMEM with *err filled. */
MUST_USE int config_schema_load_first(const struct config_schema *s, const char *path, void **out,
                                      struct config_error *err);

/* The same from canonical text, touching no file: an @include or a relative path is an error. */
MUST_USE int config_schema_parse(const struct config_schema *s, const char *text, void **out, struct config_error *err);

void config_schema_free(const struct config_schema *s, void *c); /* NULL is fine */

/* Canonical libconfig text with every option spelled out and absolute paths, malloc'ed; NULL when out of memory. */
char *config_schema_print(const struct config_schema *s, const void *c);
/* The same as JSON. */
char *config_schema_print_json(const struct config_schema *s, const void *c);
/* A line for each option: section and name, type and range, default, help, tabs between. */
void config_schema_print_options(const struct config_schema *s, FILE *out);

/*
 * Where an option that is in no list of groups stands, by the address of its field: the option when it was written,
 * else its section, else the main file.
 */
MUST_USE struct config_place config_schema_place(const struct config_schema *s, const void *c, const void *field);

/* Names of options with this flag whose values differ, comma-separated; sections that skip() tells are left out. */
void config_schema_differ(const struct config_schema *s, const void *a, const void *b, unsigned flag, const char *skip,
                          char *out, size_t cap);

/*
 * Sets one option, "section.name", as the command line gives it: the types, ranges and messages of the file, paths
 * relative to the working directory. The first text for a list takes the place of what the file or the default has, the
 * next ones are added; several may stand in one text with commas between. Not for lists of groups. ERR_USAGE (also for
 * a name that is not there), ERR_NOMEM with *err filled; then the configuration is only fit for being freed.
 */
MUST_USE int config_schema_set(const struct config_schema *s, void *c, const char *name, const char *text,
                               struct config_error *err);

static inline struct config_origin *config_schema_origin(const struct config_schema *s, void *c)
{
    return (struct config_origin *)(void *)((char *)c + s->origin_at);
}

#endif
