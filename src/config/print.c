/* The way out: configuration to a JSON tree, and that to text. One tree serves both, so they cannot disagree. */
#include "config/loader.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/ct.h"

static const char *word_of(const struct config_option *o, int value)
{
    for (const struct config_word *w = o->words; w->word; w++) {
        if (w->value == value)
            return w->word;
    }
    return "";
}

static json_t *text_or_null(const char *s)
{
    return s ? json_string(s) : json_null();
}

static json_t *prefix_json(const struct config_prefix *p)
{
    char ip[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN + 8];
    bool whole = p->bits == (p->family == 4 ? 32 : 128);
    inet_ntop(p->family == 4 ? AF_INET : AF_INET6, p->ip, ip, sizeof ip);
    snprintf(text, sizeof text, whole ? "%s" : "%s/%u", ip, p->bits);
    return json_string(text);
}

static json_t *pin_json(const uint8_t pin[32])
{
    char text[7 + 65] = "sha256:";
    hex_encode(pin, 32, text + 7);
    return json_string(text);
}

static json_t *list_json(const struct config_option *o, const void *f, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        char ip[INET_ADDRSTRLEN], text[INET_ADDRSTRLEN + 8];
        if (o->type == OPT_RULES || o->type == OPT_TEXTS) {
            json_array_append_new(list, json_string(((char *const *)f)[i]));
        } else if (o->type == OPT_PINS) {
            json_array_append_new(list, pin_json((const uint8_t *)f + 32 * i));
        } else if (o->type == OPT_LEAVES) {
            json_array_append_new(list, json_string(((const struct config_leaf *)f)[i].text));
        } else if (o->type == OPT_FROM) {
            json_array_append_new(list, prefix_json((const struct config_prefix *)f + i));
        } else if (o->type == OPT_ADDRS) {
            json_array_append_new(list, json_string(((const struct config_addr *)f)[i].text));
        } else if (o->type == OPT_WORDS && ((const uint8_t *)f)[i]) {
            json_array_append_new(list, json_string(word_of(o, ((const uint8_t *)f)[i])));
        } else if (o->type == OPT_IP4S && ((const uint32_t *)f)[i]) {
            struct in_addr in = config_ip4(((const uint32_t *)f)[i]);
            json_array_append_new(list, json_string(inet_ntop(AF_INET, &in, ip, sizeof ip)));
        } else if (o->type == OPT_NETS) {
            const struct config_net4 *net = (const struct config_net4 *)f + i;
            struct in_addr in = config_ip4(net->base);
            snprintf(text, sizeof text, "%s/%u", inet_ntop(AF_INET, &in, ip, sizeof ip), net->prefix);
            json_array_append_new(list, json_string(text));
        }
    }
    return list;
}

json_t *config_option_json(const struct config_option *o, const void *base)
{
    const void *f = (const char *)base + o->at;
    const size_t *n = (const size_t *)(const void *)((const char *)base + o->count_at);
    switch (o->type) {
    case OPT_INT: return json_integer(*(const int *)f);
    case OPT_BOOL: return json_boolean(*(const bool *)f);
    case OPT_WORD: return json_string(word_of(o, *(const int *)f));
    case OPT_STRING:
    case OPT_IFNAME:
    case OPT_NAME:
    case OPT_PATH: return text_or_null(*(char *const *)f);
    case OPT_ADDR: return text_or_null(((const struct config_addr *)f)->text);
    case OPT_WORDS:
    case OPT_IP4S: return list_json(o, f, (size_t)o->max);
    case OPT_RULES:
    case OPT_ADDRS:
    case OPT_NETS:
    case OPT_FROM:
    case OPT_PINS:
    case OPT_TEXTS:
    case OPT_LEAVES: return list_json(o, f, *n);
    }
    return NULL;
}

static json_t *group_json(const struct config_schema *schema, const struct config_section *s, const void *base)
{
    json_t *group = json_object();
    for (const struct config_option *o = schema->options; o->name; o++) {
        if (!strcmp(o->section, s->name))
            json_object_set_new(group, o->name, config_option_json(o, base));
    }
    return group;
}

static bool section_on(const struct config_section *s, const void *c)
{
    return !s->present_at || *(const bool *)((const char *)c + s->present_at);
}

static json_t *config_tree(const struct config_schema *schema, const void *c)
{
    json_t *tree = json_object();
    for (const struct config_section *s = schema->sections; s->name; s++) {
        json_t *part;
        if (s->list) {
            const size_t *n = (const size_t *)(const void *)((const char *)c + s->count_at);
            part = json_array();
            for (size_t i = 0; i < *n; i++)
                json_array_append_new(part, group_json(schema, s, (const char *)c + s->at + i * s->size));
        } else if (!section_on(s, c)) {
            part = json_null();
        } else {
            part = group_json(schema, s, c);
        }
        json_object_set_new(tree, s->name, part);
    }
    return tree;
}

static void print_text(FILE *out, const char *s)
{
    fputc('"', out);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            fputc('\\', out);
        fputc(*s, out);
    }
    fputc('"', out);
}

static void print_value(FILE *out, const json_t *v)
{
    size_t i;
    json_t *e;
    switch (json_typeof(v)) {
    case JSON_INTEGER: fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v)); break;
    case JSON_TRUE: fputs("true", out); break;
    case JSON_FALSE: fputs("false", out); break;
    case JSON_STRING: print_text(out, json_string_value(v)); break;
    case JSON_ARRAY:
        fputs("[ ", out);
        json_array_foreach(v, i, e) {
            fputs(i ? ", " : "", out);
            print_value(out, e);
        }
        fputs(" ]", out);
        break;
    case JSON_NULL:
    case JSON_REAL:
    case JSON_OBJECT: break; /* not made for options */
    }
}

static void print_group(FILE *out, const char *indent, json_t *group)
{
    const char *key;
    json_t *v;
    json_object_foreach(group, key, v) {
        fprintf(out, json_is_null(v) ? "%s# %s is not set" : "%s%s = ", indent, key);
        print_value(out, v);
        fputs(json_is_null(v) ? "\n" : ";\n", out);
    }
}

static void print_tree(FILE *out, json_t *tree)
{
    const char *key;
    json_t *part, *item;
    size_t i;
    json_object_foreach(tree, key, part) {
        if (json_is_object(part)) {
            fprintf(out, "%s: {\n", key);
            print_group(out, "  ", part);
            fputs("};\n", out);
        } else if (json_is_array(part)) {
            fprintf(out, "%s: (", key);
            json_array_foreach(part, i, item) {
                fputs(i ? ",\n  {\n" : "\n  {\n", out);
                print_group(out, "    ", item);
                fputs("  }", out);
            }
            fputs("\n);\n", out);
        }
    }
}

char *config_schema_print(const struct config_schema *s, const void *c)
{
    char *text = NULL;
    size_t len;
    json_t *tree = config_tree(s, c);
    FILE *out = tree ? open_memstream(&text, &len) : NULL;
    if (out) {
        print_tree(out, tree);
        if (fclose(out) != 0) {
            free(text);
            text = NULL;
        }
    }
    json_decref(tree);
    return text;
}

char *config_schema_print_json(const struct config_schema *s, const void *c)
{
    json_t *tree = config_tree(s, c);
    char *text = tree ? json_dumps(tree, JSON_INDENT(2)) : NULL;
    json_decref(tree);
    return text;
}

void config_schema_print_options(const struct config_schema *s, FILE *out)
{
    for (const struct config_option *o = s->options; o->name; o++) {
        char range[256];
        const char *def = o->flags & OPT_REQUIRED ? "(required)" : "(none)";
        config_option_range(o, range, sizeof range);
        fprintf(out, "%s.%s\t%s\t%s\t%s\n", o->section, o->name, range, o->def ? o->def : def, o->help);
    }
}

void config_schema_differ(const struct config_schema *s, const void *a, const void *b, unsigned flag, const char *skip,
                          char *out, size_t cap)
{
    size_t n = 0;
    if (cap)
        out[0] = 0;
    for (const struct config_option *o = s->options; o->name; o++) {
        const struct config_section *k = s->sections;
        while (strcmp(k->name, o->section) != 0)
            k++;
        if (!(o->flags & flag) || (skip && !strcmp(o->section, skip)))
            continue;
        json_t *x = section_on(k, a) ? config_option_json(o, a) : json_null();
        json_t *y = section_on(k, b) ? config_option_json(o, b) : json_null();
        if (!json_equal(x, y) && n < cap)
            n += (size_t)snprintf(out + n, cap - n, "%s%s.%s", n ? ", " : "", o->section, o->name);
        json_decref(x);
        json_decref(y);
    }
}
