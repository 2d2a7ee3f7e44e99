#include "server/expiry.h"

#define DAY_S 86400

int expiry_days(int64_t not_after_s, int64_t now_s)
{
    return not_after_s <= now_s ? 0 : (int)((not_after_s - now_s + DAY_S - 1) / DAY_S);
}

int expiry_due(int64_t not_after_s, int64_t now_s, int said)
{
    static const int steps[] = { 0, 1, 7, 14, 30 };
    for (unsigned i = 0; i < sizeof steps / sizeof steps[0]; i++)
        if (not_after_s - now_s <= (int64_t)steps[i] * DAY_S)
            return steps[i] < said ? steps[i] : EXPIRY_NONE;
    return EXPIRY_NONE;
}
