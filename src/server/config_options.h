/*
 * Inside the configuration loader: the table of options and what its parts share. Nobody else includes this.
 */
#ifndef GH_SERVER_CONFIG_OPTIONS_H
#define GH_SERVER_CONFIG_OPTIONS_H

#include <jansson.h>
#include <libconfig.h>

#include "server/config.h"

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
    OPT_LEAVES, /* struct config_leaf[.max] and a count                                 */
};

enum {
    OPT_REQUIRED = 1, /* where its section is written, it must be there              */
    OPT_RESTART = 2,  /* a reload cannot change it                                   */
    OPT_FILE = 4,     /* path of a file that must be there                           */
    OPT_FOLDER = 8,   /* path of a folder that must be there                         */
    OPT_UNIX = 16,    /* address that may be "unix:/path"; path that must fit sockaddr_un */
};

struct config_word {
    const char *word; /* NULL ends a list */
    int value;
};

struct config_option {
    const char *section, *name;
    enum config_opt_type type;
    int min, max;    /* integers: range; strings: bytes; lists: how many */
    const char *def; /* as it would be written, lists with blanks between; NULL: not set */
    unsigned flags;
    const struct config_word *words;
    size_t at;       /* offset of the field in struct config, or in one item of the section's list */
    size_t count_at; /* offset of a list's count */
    const char *help;
};

struct config_section {
    const char *name, *help;
    size_t present_at; /* offset of the bool that says whether it was written; 0: it need not be, defaults do */
    bool list;         /* of groups; the rest is for lists */
    size_t at, size, max,
        count_at;            /* the array in struct config: offset, bytes of one item, items, offset of the count */
    size_t file_at, line_at; /* where an item keeps its place in the source */
};

extern const struct config_option config_options[];   /* ends with name NULL */
extern const struct config_section config_sections[]; /* ends with name NULL */

struct config_loader {
    const char *path; /* as the operator gave it */
    char *folder;     /* of the main file, absolute; NULL for text: relative paths are errors */
    bool files;       /* files that are named must exist */
    struct config_t lc;
    struct config *c;
    config_report_fn *report;
    void *arg;
    size_t errors;
    bool nomem;
};

/* Reports one error at a setting (NULL: the main file as a whole). */
__attribute__((format(printf, 5, 6))) void config_fail(struct config_loader *l, const struct config_setting_t *at,
                                                       const char *code, const char *remedy, const char *fmt, ...);
/* The same at a line of a file. */
__attribute__((format(printf, 6, 7))) void config_fail_line(struct config_loader *l, const char *file, int line,
                                                            const char *code, const char *remedy, const char *fmt, ...);

/* Name of the file in which s stands (NULL: the main file), kept with the configuration; NULL: no memory. */
const char *config_source(struct config_loader *l, const struct config_setting_t *s);

/* Stores what the file says, or the default, in the section's struct at base. */
void config_option_set(struct config_loader *l, const struct config_option *o, struct config_setting_t *s, void *base);
void config_option_default(struct config_loader *l, const struct config_option *o, void *base);
void config_option_free(const struct config_option *o, void *base);
void config_option_range(const struct config_option *o, char *out, size_t cap); /* type and range in words */
json_t *config_option_json(const struct config_option *o, const void *base);

/* Rules between options (config_rules.c). */
void config_rules_check(struct config_loader *l);

#endif
