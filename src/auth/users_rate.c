/* Rates of the users file: "10M" and the number of bits a second it stands for. */
#include <inttypes.h>
#include <stdio.h>

#include "auth/users.h"

static const struct {
    char letter;
    uint64_t factor;
} units[] = { { 'G', 1000000000 }, { 'M', 1000000 }, { 'k', 1000 } };

#define UNITS (sizeof units / sizeof units[0])

int users_rate_parse(const char *text, size_t len, uint64_t *bps)
{
    uint64_t n = 0, factor = 1;
    size_t digits = 0;
    for (; digits < len && text[digits] >= '0' && text[digits] <= '9'; digits++) {
        n = n * 10 + (uint64_t)(text[digits] - '0');
        if (n > USERS_RATE_MAX)
            return ERR_USAGE;
    }
    if (digits + 1 == len) {
        factor = 0;
        for (size_t i = 0; i < UNITS; i++)
            if (text[digits] == units[i].letter)
                factor = units[i].factor;
    }
    if (digits == 0 || (digits < len && digits + 1 != len) || factor == 0 || n > USERS_RATE_MAX / factor ||
        n * factor < USERS_RATE_MIN)
        return ERR_USAGE;
    *bps = n * factor;
    return 0;
}

void users_rate_text(uint64_t bps, char out[USERS_RATE_TEXT_MAX])
{
    for (size_t i = 0; i < UNITS; i++) {
        if (bps && bps % units[i].factor == 0) {
            snprintf(out, USERS_RATE_TEXT_MAX, "%" PRIu64 "%c", bps / units[i].factor, units[i].letter);
            return;
        }
    }
    snprintf(out, USERS_RATE_TEXT_MAX, "%" PRIu64, bps);
}
