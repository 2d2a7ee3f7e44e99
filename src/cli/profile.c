/* gatehouse profile: files that set a client up, from the server's configuration. */
#include "cli/profile.h"

#include <getopt.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const struct {
    const char *name;
    int (*write)(FILE *out, const struct profile *p);
} kinds[] = {
    { "windows", profile_windows_script }, { "linux", profile_linux }, { "routeros", profile_routeros }, { NULL, NULL }
};

struct profile_args {
    struct profile_ask ask;
    const char *config;
    bool xml;
};

/* One line of printable UTF-8: it becomes part of a script. */
static bool one_line(const char *what, const char *text, size_t max)
{
    bool good = text[0] && strlen(text) <= max;
    for (const unsigned char *p = (const unsigned char *)text; good && *p; p++)
        good = *p >= 0x20 && *p != 0x7f;
    json_t *probe = json_string(text); /* jansson takes well-formed UTF-8 only */
    good = good && probe && !strstr(text, "\xc2\x85") && !strstr(text, "\xe2\x80\xa8") && !strstr(text, "\xe2\x80\xa9");
    json_decref(probe);
    if (!good)
        cli_fail("%s is one line of text, 1 to %zu bytes of UTF-8", what, max);
    return good;
}

static int read_args(int argc, char **argv, struct profile_args *a)
{
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' },
        { "name", required_argument, NULL, 'n' },
        { "address", required_argument, NULL, 'a' },
        { "user", required_argument, NULL, 'u' },
        { "route", required_argument, NULL, 'r' },
        { "split", no_argument, NULL, 's' },
        { "ca", required_argument, NULL, 'A' },
        { "xml", no_argument, NULL, 'x' },
        { 0 },
    };
    *a = (struct profile_args){ .ask.name = "Gatehouse", .config = CLI_CONFIG_DEFAULT };
    for (int o; (o = getopt_long(argc, argv, "c:", options, NULL)) != -1;) {
        switch (o) {
        case 'c': a->config = optarg; break;
        case 'n': a->ask.name = optarg; break;
        case 'a': a->ask.address = optarg; break;
        case 'u': a->ask.user = optarg; break;
        case 'A': a->ask.ca = optarg; break;
        case 'x': a->xml = true; break;
        case 's': a->ask.split = true; break;
        case 'r':
            if (a->ask.n_route == PROFILE_ROUTES_MAX) {
                cli_fail("at most %d routes", PROFILE_ROUTES_MAX);
                return EXIT_USAGE;
            }
            a->ask.route[a->ask.n_route++] = optarg;
            a->ask.split = true;
            break;
        default: return EXIT_USAGE;
        }
    }
    if (!one_line("--name", a->ask.name, 64) || (a->ask.user && !one_line("--user", a->ask.user, 255)))
        return EXIT_USAGE;
    return 0;
}

/* Nothing half-written: the profile is made in memory first. */
static int make(const struct profile *p, int (*write)(FILE *, const struct profile *))
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return EXIT_BAD;
    int rc = write(out, p);
    if (fclose(out) != 0 && !rc)
        rc = ERR_NOMEM;
    if (!rc && (fwrite(text, 1, len, stdout) != len || fflush(stdout) != 0)) {
        cli_fail("standard output cannot be written");
        rc = ERR_SYSTEM;
    }
    free(text);
    return rc ? EXIT_BAD : EXIT_GOOD;
}

int cli_profile(int argc, char **argv)
{
    struct profile_args a;
    struct profile p;
    struct config *c = NULL;
    struct config_error err;
    size_t k = 0;
    int rc = read_args(argc, argv, &a);
    if (rc)
        return rc;
    while (kinds[k].name && (argc - optind != 1 || strcmp(kinds[k].name, argv[optind]) != 0))
        k++;
    if (!kinds[k].name || (a.xml && strcmp(kinds[k].name, "windows") != 0)) {
        cli_fail("usage: gatehouse profile windows [--xml], or linux, or routeros; see gatehouse profile --help");
        return EXIT_USAGE;
    }
    if (config_load(a.config, &c, &err)) {
        cli_fail("%s", err.text);
        return EXIT_USAGE;
    }
    rc = profile_read(&p, c, &a.ask) ? EXIT_BAD : make(&p, a.xml ? profile_windows_xml : kinds[k].write);
    profile_fini(&p);
    config_free(c);
    return rc;
}
