/* The configuration's text: whatever loads is printed and read back the same. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/config.h"

/* libconfig 1.5 loses a buffer when a text ends inside a string. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config *c, *again;
    struct config_error err;
    char *text = strndup((const char *)data, size);
    if (!text)
        return 0;
    int rc = config_parse_text(text, &c, &err);
    if (rc < 0 && !err.text[0])
        abort(); /* refused without a reason */
    if (!rc) {
        char *one = config_print(c), *two = NULL;
        if (!one || config_parse_text(one, &again, &err) < 0)
            abort();
        two = config_print(again);
        if (!two || strcmp(one, two) != 0)
            abort();
        free(one);
        free(two);
        config_free(again);
        config_free(c);
    }
    free(text);
    return 0;
}
