/* The server's configuration: its public face, and questions that are asked of it. */
#include "server/config.h"

#include <string.h>
#include <strings.h>

#include "server/config_options.h"

int config_load(const char *path, struct config **out, struct config_error *err)
{
    void *c;
    int rc = config_schema_load_first(&config_server_schema, path, &c, err);
    if (!rc)
        *out = c;
    return rc;
}

int config_judge(const char *path, bool files, struct config **out, config_report_fn *report, void *arg)
{
    void *c;
    int rc = config_schema_load(&config_server_schema, path, files, &c, report, arg);
    if (!rc)
        *out = c;
    return rc;
}

int config_parse_text(const char *text, struct config **out, struct config_error *err)
{
    void *c;
    int rc = config_schema_parse(&config_server_schema, text, &c, err);
    if (!rc)
        *out = c;
    return rc;
}

char *config_print(const struct config *c)
{
    return config_schema_print(&config_server_schema, c);
}

char *config_print_json(const struct config *c)
{
    return config_schema_print_json(&config_server_schema, c);
}

void config_print_options(FILE *out)
{
    config_schema_print_options(&config_server_schema, out);
}

void config_free(struct config *c)
{
    config_schema_free(&config_server_schema, c);
}

struct config_place config_place(const struct config *c, const void *field)
{
    return config_schema_place(&config_server_schema, c, field);
}

void config_restart_needed(const struct config *a, const struct config *b, char *out, size_t cap)
{
    /* a VPN may be added while running */
    config_schema_differ(&config_server_schema, a, b, OPT_RESTART, a->vpn_on ? NULL : "vpn", out, cap);
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

uint32_t config_server_ip4(const struct config *c)
{
    return c->vpn.network[0].base + 1;
}
