#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "server/config.h"
#include "server/monitor.h"

static int print_config(const char *path, bool json)
{
    struct config *cfg;
    struct config_error err;
    if (config_load(path, &cfg, &err)) {
        cli_fail("%s", err.text);
        return EXIT_USAGE;
    }
    char *text = json ? config_print_json(cfg) : config_print(cfg);
    if (text)
        puts(text);
    free(text);
    config_free(cfg);
    return text ? EXIT_GOOD : EXIT_BAD;
}

int cli_serve(int argc, char **argv)
{
    enum { OPT_DEMO = 256, OPT_PRINT, OPT_OPTIONS, OPT_JSON };
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' },       { "demo", required_argument, NULL, OPT_DEMO },
        { "print-config", no_argument, NULL, OPT_PRINT }, { "print-options", no_argument, NULL, OPT_OPTIONS },
        { "json", no_argument, NULL, OPT_JSON },          { NULL, 0, NULL, 0 },
    };
    const char *path = CLI_CONFIG_DEFAULT, *demo = NULL;
    bool print = false, json = false;
    int o;
    while ((o = getopt_long(argc, argv, "c:", options, NULL)) != -1)
        switch (o) {
        case 'c': path = optarg; break;
        case OPT_DEMO: demo = optarg; break;
        case OPT_PRINT: print = true; break;
        case OPT_OPTIONS: config_print_options(stdout); return EXIT_GOOD;
        case OPT_JSON: json = true; break;
        default: return EXIT_USAGE;
        }
    if (optind < argc) {
        cli_fail("serve takes no \"%s\": the configuration is given with -c FILE", argv[optind]);
        return EXIT_USAGE;
    }
    char *demo_path = NULL;
    if (demo) {
        if (demo_prepare(demo, &demo_path))
            return EXIT_BAD;
        path = demo_path;
        fflush(stdout);
    }
    int rc = print ? print_config(path, json) : monitor_run(path);
    free(demo_path);
    return rc;
}
