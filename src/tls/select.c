#include "tls/select.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static bool port_parse(const char *s, uint16_t *out)
{
    size_t len = strspn(s, "0123456789");
    uint32_t n = 0;
    if (!len || len > 5 || s[len])
        return false;
    for (; *s; s++)
        n = n * 10 + (uint32_t)(*s - '0');
    *out = (uint16_t)n;
    return n && n <= UINT16_MAX;
}

/* "203.0.113.5:443" or "[2001:db8::5]:443" */
static int addr_parse(const char *text, struct tls_rule *r)
{
    static const uint8_t zero[16];
    char host[INET6_ADDRSTRLEN];
    bool six = text[0] == '[';
    const char *end = six ? strchr(text, ']') : strrchr(text, ':'), *start = text + six;
    if (!end || (size_t)(end - start) >= sizeof host || (six && end[1] != ':') || !port_parse(end + 1 + six, &r->port))
        return ERR_USAGE;
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = 0;
    if (inet_pton(six ? AF_INET6 : AF_INET, host, r->ip) != 1)
        return ERR_USAGE;
    if (!memcmp(r->ip, zero, sizeof zero)) {
        r->kind = six ? TLS_RULE_ANY6 : TLS_RULE_ANY;
        return 0;
    }
    r->kind = TLS_RULE_ADDR;
    r->family = six ? 6 : 4;
    return 0;
}

int tls_rule_parse(const char *text, struct tls_rule *out)
{
    struct tls_rule r = { .kind = TLS_RULE_NAME };
    uint8_t ip[4];
    if (strpbrk(text, "[:") || inet_pton(AF_INET, text, ip) == 1) {
        int rc = addr_parse(text, &r);
        if (!rc)
            *out = r;
        return rc;
    }
    if (!strcmp(text, "default")) {
        r.kind = TLS_RULE_DEFAULT;
        *out = r;
        return 0;
    }
    if (!strncmp(text, "*.", 2)) {
        r.kind = TLS_RULE_WILDCARD;
        text += 2;
    }
    size_t len = strlen(text);
    if (!len || len > TLS_NAME_MAX)
        return ERR_USAGE;
    for (size_t i = 0; i < len; i++)
        r.name[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] - 'A' + 'a' : text[i]);
    *out = r;
    return 0;
}

void tls_rule_text(const struct tls_rule *r, char *out, size_t cap)
{
    char ip[INET6_ADDRSTRLEN];
    switch (r->kind) {
    case TLS_RULE_ADDR:
        inet_ntop(r->family == 4 ? AF_INET : AF_INET6, r->ip, ip, sizeof ip);
        snprintf(out, cap, r->family == 4 ? "%s:%u" : "[%s]:%u", ip, r->port);
        return;
    case TLS_RULE_NAME: snprintf(out, cap, "%s", r->name); return;
    case TLS_RULE_WILDCARD: snprintf(out, cap, "*.%s", r->name); return;
    case TLS_RULE_ANY6: snprintf(out, cap, "[::]:%u", r->port); return;
    case TLS_RULE_ANY: snprintf(out, cap, "0.0.0.0:%u", r->port); return;
    case TLS_RULE_DEFAULT: snprintf(out, cap, "default"); return;
    }
}

bool tls_rule_equal(const struct tls_rule *a, const struct tls_rule *b)
{
    return a->kind == b->kind && a->family == b->family && !memcmp(a->ip, b->ip, sizeof a->ip) && a->port == b->port &&
           !strcmp(a->name, b->name);
}

static const char *addr_mismatch(const struct tls_rule *r, const struct tls_where *w)
{
    if (!w->family)
        return "the address that was dialled is not known";
    if (r->family != w->family)
        return r->family == 4 ? "for an IPv4 address" : "for an IPv6 address";
    if (memcmp(r->ip, w->ip, r->family == 4 ? 4 : 16) != 0)
        return "another address";
    return r->port == w->port ? NULL : "another port";
}

static const char *wildcard_mismatch(const char *parent, const char *sni)
{
    size_t len = strlen(sni), tail = strlen(parent);
    if (len <= tail + 1 || sni[len - tail - 1] != '.' || strcmp(sni + len - tail, parent) != 0)
        return "another name";
    return strchr(sni, '.') == sni + len - tail - 1 ? NULL : "a wildcard stands for one label only";
}

const char *tls_rule_mismatch(const struct tls_rule *r, const struct tls_where *w)
{
    switch (r->kind) {
    case TLS_RULE_ADDR: return addr_mismatch(r, w);
    case TLS_RULE_NAME:
    case TLS_RULE_WILDCARD:
        if (!w->sni)
            return "the client sent no name";
        if (r->kind == TLS_RULE_WILDCARD)
            return wildcard_mismatch(r->name, w->sni);
        return strcmp(r->name, w->sni) == 0 ? NULL : "another name";
    case TLS_RULE_ANY6:
    case TLS_RULE_ANY:
        if (!w->family)
            return "the address that was dialled is not known";
        if (r->kind == TLS_RULE_ANY6 && w->family != 6)
            return "for IPv6 only";
        return r->port == w->port ? NULL : "another port";
    case TLS_RULE_DEFAULT: return NULL;
    }
    return "no such rule";
}

int tls_rule_select(const struct tls_rule *rules, size_t n, const struct tls_where *w)
{
    int best = -1;
    for (size_t i = 0; i < n; i++)
        if ((best < 0 || rules[i].kind < rules[best].kind) && !tls_rule_mismatch(&rules[i], w))
            best = (int)i;
    return best;
}
