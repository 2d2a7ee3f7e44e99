/* gatehouse explain CODE: what a code of ours or of Windows means here. For addresses see explain_route.c. */
#include "cli/explain.h"

#include <ctype.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/codes.h"

#define WIDTH 80
#define LEFT  8

void explain_field(const char *label, const char *text)
{
    size_t column = LEFT;
    if (!text || !*text)
        return;
    printf("%-*s", LEFT, label);
    while (*text) {
        size_t word = strcspn(text, " ");
        if (column > LEFT && column + 1 + word > WIDTH) {
            printf("\n%*s", LEFT, "");
            column = LEFT;
        } else if (column > LEFT) {
            putchar(' ');
            column++;
        }
        printf("%.*s", (int)word, text);
        column += word;
        text += word + strspn(text + word, " ");
    }
    putchar('\n');
}

/* The names in a comma-separated list, one by one; false at its end. */
static bool next_name(const char **list, const char **name, size_t *len)
{
    *list += strspn(*list, ", ");
    *name = *list;
    *len = strcspn(*list, ",");
    *list += *len;
    return *len != 0;
}

static bool is_ours(enum code_kind kind)
{
    return kind <= CODE_CLIENT;
}

static const char *shown_at(enum code_kind kind, const struct code *c)
{
    return is_ours(kind) ? NULL : c->shown ? c->shown : "client";
}

static const char *cause_of(const struct code *c)
{
    return c->cause ? c->cause : code_reach_text(c->reach);
}

/* ---- text ---- */

static void print_counterparts(const char *list)
{
    const char *name, *label = "events", *rest = list;
    char line[512];
    for (size_t len; rest && next_name(&rest, &name, &len); label = "") {
        const struct code *c = code_ours(name, len);
        if (c)
            snprintf(line, sizeof line, "%s: %s%s%s%s", c->name, c->means, c->see ? " (Windows: " : "",
                     c->see ? c->see : "", c->see ? ")" : "");
        else
            snprintf(line, sizeof line, "%.*s", (int)len, name);
        explain_field(label, line);
    }
}

static const char *what_it_is(enum code_kind kind)
{
    return kind == CODE_EVENT     ? "an event"
           : kind == CODE_REFUSAL ? "a cause of refused"
           : kind == CODE_CLIENT  ? "a cause of gatehouse connect"
                                  : "a cause of call-down or refused";
}

static const char *fields_label(enum code_kind kind)
{
    return kind == CODE_REFUSAL ? "answer" : kind == CODE_CLIENT ? "exit" : "fields";
}

static void print_code(enum code_kind kind, const struct code *c)
{
    char text[64];
    code_text(kind, c, text, sizeof text);
    printf("%s%s", kind == CODE_RAS ? "error " : "", text);
    if (is_ours(kind))
        printf(", %s%s%s, of Gatehouse\n\n", what_it_is(kind), c->shown ? ", " : "", c->shown ? c->shown : "");
    else if (kind == CODE_HRESULT)
        printf(" = %d, %s, at the %s\n\n", (int)c->number, c->name, shown_at(kind, c));
    else
        printf("%s%s, at the %s\n\n", c->name ? ", " : "", c->name ? c->name : "", shown_at(kind, c));
    explain_field(is_ours(kind) ? "when" : "says", c->means);
    explain_field(fields_label(kind), c->fields);
    explain_field("here", is_ours(kind) ? NULL : cause_of(c));
    explain_field("do", c->check);
    if (is_ours(kind))
        explain_field("Windows", c->see);
    else
        print_counterparts(c->see);
}

static void print_list(void)
{
    for (size_t t = 0; t < code_tables_n; t++)
        for (size_t i = 0; i < *code_tables[t].n; i++) {
            const struct code *c = &code_tables[t].codes[i];
            char text[64];
            code_text(code_tables[t].kind, c, text, sizeof text);
            printf("%-20s %s%s%s%s\n", text, c->number && c->name ? c->name : "", c->number && c->name ? ": " : "",
                   c->means, c->number && c->reach > CODE_RRAS ? " (not of this server)" : "");
        }
}

/* ---- JSON ---- */

static void set_text(json_t *o, const char *key, const char *text)
{
    if (text)
        json_object_set_new(o, key, json_string(text));
}

static json_t *names_json(const char *list)
{
    json_t *a = json_array();
    const char *name;
    for (size_t len; list && next_name(&list, &name, &len);)
        json_array_append_new(a, json_stringn(name, len));
    return a;
}

static json_t *code_json(enum code_kind kind, const struct code *c)
{
    char text[64];
    json_t *o = json_object();
    code_text(kind, c, text, sizeof text);
    set_text(o, "kind", code_kind_name(kind));
    set_text(o, "code", text);
    if (kind == CODE_HRESULT)
        json_object_set_new(o, "decimal", json_integer((int32_t)c->number));
    if (!is_ours(kind)) {
        set_text(o, "name", c->name);
        set_text(o, "reach", code_reach_name(c->reach));
    }
    set_text(o, "shown", shown_at(kind, c));
    set_text(o, "means", c->means);
    set_text(o, "here", is_ours(kind) ? NULL : cause_of(c));
    set_text(o, "do", c->check);
    if (is_ours(kind))
        set_text(o, "windows", c->see);
    else
        json_object_set_new(o, "events", names_json(c->see));
    if (kind == CODE_EVENT) {
        set_text(o, "level", c->shown);
        set_text(o, "part", c->part);
        json_object_set_new(o, "fields", names_json(c->fields));
    }
    if (kind == CODE_REFUSAL)
        set_text(o, "answer", c->fields);
    if (kind == CODE_CLIENT)
        json_object_set_new(o, "exit", json_integer(strtol(c->fields, NULL, 10)));
    return o;
}

static int print_json(json_t *o)
{
    json_dumpf(o, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(o);
    return EXIT_GOOD;
}

static json_t *list_json(void)
{
    json_t *all = json_array();
    for (size_t t = 0; t < code_tables_n; t++)
        for (size_t i = 0; i < *code_tables[t].n; i++)
            json_array_append_new(all, code_json(code_tables[t].kind, &code_tables[t].codes[i]));
    return json_pack("{s:o}", "codes", all);
}

/* ---- the command ---- */

/* What was found; the event that carried it; and, of a name that server and client have in common, the other one. */
static int found_json(const char *text, const struct code_table *table, const struct code *c)
{
    const struct code_table *of_event;
    const struct code *event = code_event(text, &of_event);
    json_t *o = code_json(table->kind, c), *also = json_array();
    if (event)
        json_object_set_new(o, "event", code_json(of_event->kind, event));
    while ((c = code_namesake(c, &table)))
        json_array_append_new(also, code_json(table->kind, c));
    if (json_array_size(also))
        json_object_set(o, "also", also);
    json_decref(also);
    return print_json(o);
}

static int print_found(const char *text, const struct code_table *table, const struct code *c)
{
    const struct code_table *of_event;
    const struct code *event = code_event(text, &of_event);
    char name[64], line[256];
    print_code(table->kind, c);
    if (event) {
        code_text(of_event->kind, event, name, sizeof name);
        snprintf(line, sizeof line, "%s: %s", name, event->means);
        explain_field("logged", line);
    }
    while ((c = code_namesake(c, &table))) {
        putchar('\n');
        print_code(table->kind, c);
    }
    return EXIT_GOOD;
}

static int explain_code(const char *text, bool json)
{
    const struct code_table *table = NULL;
    const struct code *c = NULL;
    char near[64];
    if (!code_find(text, &table, &c))
        return json ? found_json(text, table, c) : print_found(text, table, c);
    c = code_near(text, &table);
    if (c) {
        code_text(table->kind, c, near, sizeof near);
        cli_fail("nothing is known about \"%s\"; the nearest is %s; 'gatehouse explain --list' has all", text, near);
    } else {
        cli_fail(
            "nothing is known about \"%s\"; write a code as 0x800B0109, -2146762487, 691, \"RasSstp 6\" or an event's "
            "name, an address as 203.0.113.5:443 or [2001:db8::5]:443",
            text);
    }
    return EXIT_BAD;
}

/* An address has dots between digits, or colons between hexadecimal digits; a code has neither. */
static bool is_address(const char *text)
{
    const char *colon = strchr(text, ':');
    if (*text == '[')
        return true;
    return (isdigit((unsigned char)*text) && strchr(text, '.')) ||
           (colon && strchr(colon + 1, ':') && !text[strspn(text, "0123456789abcdefABCDEF:.%")]);
}

static int explain_words(int n, char **words, bool json)
{
    char text[256] = "";
    size_t len = 0;
    for (int i = 0; i < n; i++) {
        int put = snprintf(text + len, sizeof text - len, "%s%s", i ? " " : "", words[i]);
        if (put < 0 || (size_t)put >= sizeof text - len) {
            cli_fail("that is too long for a code");
            return EXIT_USAGE;
        }
        len += (size_t)put;
    }
    return explain_code(text, json);
}

/* -2146885613 is a code, not an option. */
static bool is_negative_number(const char *arg)
{
    return arg[0] == '-' && isdigit((unsigned char)arg[1]);
}

static char *take_negative(int *argc, char **argv)
{
    for (int i = 1; i < *argc && strcmp(argv[i], "--") != 0; i++) {
        if (!is_negative_number(argv[i]))
            continue;
        char *code = argv[i];
        memmove(&argv[i], &argv[i + 1], (size_t)(*argc - i) * sizeof argv[0]);
        (*argc)--;
        return code;
    }
    return NULL;
}

int cli_explain(int argc, char **argv)
{
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' },
        { "json", no_argument, NULL, 'j' },
        { "list", no_argument, NULL, 'l' },
        { 0 },
    };
    const char *config = CLI_CONFIG_DEFAULT;
    char *code = take_negative(&argc, argv);
    bool json = false, list = false;
    for (int o; (o = getopt_long(argc, argv, "c:", options, NULL)) != -1;) {
        if (o == 'c')
            config = optarg;
        else if (o == 'j')
            json = true;
        else if (o == 'l')
            list = true;
        else
            return EXIT_USAGE;
    }
    int n = argc - optind;
    char **words = argv + optind;
    if (list && !n && !code) {
        if (json)
            return print_json(list_json());
        print_list();
        return EXIT_GOOD;
    }
    if (list || (!n && !code)) {
        cli_fail("usage: gatehouse explain CODE, or ADDRESS[:PORT] [NAME] [METHOD URL]; see gatehouse explain --help");
        return EXIT_USAGE;
    }
    if (code) { /* "HRESULT -2146762487" is one, too */
        char *both[] = { n ? words[0] : code, code };
        if (n <= 1)
            return explain_words(n + 1, both, json);
        cli_fail("one code at a time");
        return EXIT_USAGE;
    }
    return is_address(words[0]) ? explain_route(config, n, words, json) : explain_words(n, words, json);
}
