/*
 * The client's configuration. Input with "\n--\n" in it: behind that, lines of NAME=TEXT as the command line sets them.
 * What loads is printed and read back the same, whatever was set.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "client/config.h"

/* libconfig 1.5 loses a buffer when a text ends inside a string. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* False: refused, and c is only fit for being freed. */
static bool set_lines(struct client_config *c, char *lines)
{
    char *save = NULL, err[400];
    for (char *p = strtok_r(lines, "\n", &save); p; p = strtok_r(NULL, "\n", &save)) {
        char *eq = strchr(p, '=');
        if (!eq || !strncmp(eq + 1, "/", 1) || strstr(p, "ca=") || strstr(p, "crl=")) /* touches no file */
            continue;
        *eq = 0;
        err[0] = 0;
        if (client_config_set(c, p, eq + 1, err, sizeof err)) {
            if (!err[0])
                abort();
            return false;
        }
    }
    return true;
}

static void round_trip(const struct client_config *c)
{
    struct client_config *again;
    struct config_error err;
    char *one = client_config_print(c), *two = NULL, why[400];
    if (!one || client_config_parse_text(one, &again, &err) < 0)
        abort();
    two = client_config_print(again);
    if (!two || strcmp(one, two) != 0)
        abort();
    if ((client_config_check(c, why, sizeof why) == 0) != (client_config_check(again, why, sizeof why) == 0))
        abort();
    free(one);
    free(two);
    client_config_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client_config *c;
    struct config_error err;
    char *text = strndup((const char *)data, size);
    char *lines = text ? strstr(text, "\n--\n") : NULL;
    if (!text)
        return 0;
    if (lines) {
        *lines = 0;
        lines += 4;
    }
    int rc = client_config_parse_text(text, &c, &err);
    if (rc < 0 && !err.text[0])
        abort(); /* refused without a reason */
    if (!rc) {
        if (!lines || set_lines(c, lines))
            round_trip(c);
        client_config_free(c);
    }
    free(text);
    return 0;
}
