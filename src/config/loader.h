/*
 * What the parts of the loader share, and what the rules of a schema (struct config_schema) need. Nobody else includes
 * this.
 */
#ifndef GH_CONFIG_LOADER_H
#define GH_CONFIG_LOADER_H

#include <jansson.h>
#include <libconfig.h>

#include "config/schema.h"

struct config_loader {
    const struct config_schema *schema;
    const char *path; /* as the operator gave it */
    char *folder;     /* of the main file, absolute; NULL for text: relative paths are errors */
    bool files;       /* files that are named must exist */
    struct config_t lc;
    void *c;                      /* what is being filled */
    struct config_origin *origin; /* in it */
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

/* Where section.key (or its i-th element) was written, for the message of a rule; NULL when it was not. */
const struct config_setting_t *config_written(struct config_loader *l, const char *section, const char *key, size_t i);
/* The i-th item of a list of groups, or its key when that was written. */
const struct config_setting_t *config_written_item(struct config_loader *l, const char *section, size_t i,
                                                   const char *key);

/* Stores what the file says, or the default, in the section's struct at base. */
void config_option_set(struct config_loader *l, const struct config_option *o, struct config_setting_t *s, void *base);
void config_option_default(struct config_loader *l, const struct config_option *o, void *base);
/* The same from a text, as an argument is: numbers are read and judged. */
void config_option_text(struct config_loader *l, const struct config_option *o, const char *text, void *base);
/* Complains when a list has fewer entries than it must. */
void config_option_enough(struct config_loader *l, const struct config_option *o, void *base);
bool config_option_is_list(const struct config_option *o);
/* Frees what it holds and leaves it empty. */
void config_option_free(const struct config_option *o, void *base);
void config_option_range(const struct config_option *o, char *out, size_t cap); /* type and range in words */
json_t *config_option_json(const struct config_option *o, const void *base);

#endif
