#include "ppp/guard.h"

void ppp_guard_cause(struct ppp_guard *g, enum ppp_down_cause cause, const void *text, size_t n)
{
    if (g->cause_known)
        return;
    g->cause_known = true;
    g->down.cause = (uint8_t)cause;
    if (n >= sizeof g->down.text)
        n = sizeof g->down.text - 1;
    if (n)
        memcpy(g->down.text, text, n);
    g->down.text[n] = 0;
}

bool ppp_guard_renegotiate(struct ppp_guard *g, uint64_t now_ms)
{
    if (now_ms - g->window_ms >= PPP_RENEGOTIATION_WINDOW_MS) {
        g->window_ms = now_ms;
        g->renegotiations = 0;
    }
    return ++g->renegotiations <= PPP_RENEGOTIATIONS_MAX;
}

bool ppp_guard_reject(struct ppp_guard *g, uint16_t protocol)
{
    for (size_t i = 0; i < g->rejected_n; i++)
        if (g->rejected[i] == protocol)
            return false;
    if (g->rejected_n == PPP_REJECTED_MAX)
        return false;
    g->rejected[g->rejected_n++] = protocol;
    return true;
}
