#include "cli/codes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/config.h"

#define WIN32_HRESULT 0x80070000u /* HRESULT_FROM_WIN32 */

const struct code_table code_tables[] = {
    { CODE_EVENT, codes_event, &codes_event_n },
    { CODE_REFUSAL, codes_refusal, &codes_refusal_n },
    { CODE_CAUSE, codes_cause, &codes_cause_n },
    { CODE_CLIENT, codes_client, &codes_client_n },
    { CODE_RASSSTP, codes_rassstp, &codes_rassstp_n },
    { CODE_REMOTEACCESS, codes_remoteaccess, &codes_remoteaccess_n },
    { CODE_RASCLIENT, codes_rasclient, &codes_rasclient_n },
    { CODE_RAS, codes_ras, &codes_ras_n },
    { CODE_HRESULT, codes_hresult, &codes_hresult_n },
    { CODE_HTTP, codes_http, &codes_http_n },
};
const size_t code_tables_n = sizeof code_tables / sizeof code_tables[0];

const char *code_kind_name(enum code_kind kind)
{
    switch (kind) {
    case CODE_EVENT: return "event";
    case CODE_REFUSAL: return "refusal";
    case CODE_CAUSE: return "cause";
    case CODE_CLIENT: return "client-cause";
    case CODE_RASSSTP: return "RasSstp";
    case CODE_REMOTEACCESS: return "RemoteAccess";
    case CODE_RASCLIENT: return "RasClient";
    case CODE_RAS: return "error";
    case CODE_HRESULT: return "HRESULT";
    case CODE_HTTP: return "HTTP";
    }
    return "?";
}

const char *code_reach_name(enum code_reach reach)
{
    switch (reach) {
    case CODE_HERE: return "here";
    case CODE_RRAS: return "windows-server";
    case CODE_INSIDE: return "client";
    case CODE_EAP: return "eap";
    case CODE_MODEM: return "modem";
    case CODE_TUNNEL: return "other-tunnel";
    case CODE_ROUTER: return "windows-router";
    case CODE_SHARING: return "sharing";
    case CODE_REACH_MAX: break;
    }
    return "?";
}

const char *code_reach_text(enum code_reach reach)
{
    switch (reach) {
    case CODE_HERE: break;
    case CODE_RRAS: return "in the log of a Windows server only";
    case CODE_INSIDE: return "the client's Windows by itself; no server can cause it";
    case CODE_EAP:
        return "needs EAP, which this server does not offer: the connection is set to EAP (smart card or certificate); "
               "set "
               "it to MS-CHAPv2";
    case CODE_MODEM: return "of modems, ISDN and serial lines: cannot come from an SSTP call";
    case CODE_TUNNEL:
        return "of another kind of tunnel (PPTP, L2TP, IKEv2, PPPoE, NetBEUI, IPX): cannot come from an SSTP call; set "
               "the "
               "connection's type to SSTP";
    case CODE_ROUTER: return "of a Windows router, NPS or its RADIUS: cannot come from a call to this server";
    case CODE_SHARING: return "of internet connection sharing: has nothing to do with the call";
    case CODE_REACH_MAX: break;
    }
    return NULL;
}

void code_text(enum code_kind kind, const struct code *c, char *out, size_t cap)
{
    switch (kind) {
    case CODE_EVENT:
    case CODE_REFUSAL:
    case CODE_CAUSE:
    case CODE_CLIENT: snprintf(out, cap, "%s", c->name); return;
    case CODE_HRESULT: snprintf(out, cap, "0x%08X", c->number); return;
    case CODE_RAS: snprintf(out, cap, "%u", c->number); return;
    case CODE_RASSSTP:
    case CODE_REMOTEACCESS:
    case CODE_RASCLIENT:
    case CODE_HTTP: snprintf(out, cap, "%s %u", code_kind_name(kind), c->number); return;
    }
}

/* ---- reading ---- */

struct query {
    int kind; /* enum code_kind, -1: any */
    bool is_number;
    uint32_t number;
    const char *name;
};

/* "RasSstp 6", "RasSstp:6", "error 619": what the word in front of the number says. Returns what is behind it. */
static const char *read_source(const char *s, int *kind)
{
    static const struct {
        const char *word;
        int kind;
    } words[] = { { "rassstp", CODE_RASSSTP },
                  { "remoteaccess", CODE_REMOTEACCESS },
                  { "rasclient", CODE_RASCLIENT },
                  { "error", CODE_RAS },
                  { "ras", CODE_RAS },
                  { "hresult", CODE_HRESULT },
                  { "http", CODE_HTTP } };
    *kind = -1;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t n = strlen(words[i].word);
        const char *rest = s + n;
        if (strncasecmp(s, words[i].word, n) != 0 || !*rest || !strchr(" :\t", *rest))
            continue;
        *kind = words[i].kind;
        rest += strspn(rest, " :\t");
        return strncasecmp(rest, "event ", 6) ? rest : rest + 6 + strspn(rest + 6, " ");
    }
    return s;
}

/* Hexadecimal, or decimal that may be the signed form of 32 bits. */
static bool read_number(const char *s, uint32_t *out)
{
    size_t len = strlen(s), hex = strspn(s, "0123456789abcdefABCDEF");
    bool prefixed = s[0] == '0' && (s[1] == 'x' || s[1] == 'X');
    if (prefixed || (len == 8 && hex == 8 && s[0] == '8')) { /* no decimal code has eight digits */
        const char *digits = s + (prefixed ? 2 : 0);
        size_t n = strlen(digits);
        if (!n || n > 8 || strspn(digits, "0123456789abcdefABCDEF") != n)
            return false;
        *out = (uint32_t)strtoul(digits, NULL, 16);
        return true;
    }
    bool negative = *s == '-';
    const char *digits = s + negative;
    size_t n = strlen(digits);
    if (!n || n > 10 || strspn(digits, "0123456789") != n)
        return false;
    int64_t v = strtoll(s, NULL, 10);
    if (v < INT32_MIN || v > UINT32_MAX)
        return false;
    *out = (uint32_t)v;
    return true;
}

/* "RasClient 20227 (691)": an event that carries an error. Parts them; false when it is nothing of the kind. */
static bool split_event(const char *text, char *buf, size_t cap, const char **error)
{
    size_t len = strcspn(text, "("), inner = strspn(text + len, "(") == 1 ? strspn(text + len + 1, "0123456789") : 0;
    const char *end = text + len + 1 + inner;
    if (!inner || *end != ')' || end[1 + strspn(end + 1, " \t")] || len + 1 + inner >= cap)
        return false;
    memcpy(buf, text, len + 1 + inner);
    buf[len] = 0;
    buf[len + 1 + inner] = 0;
    *error = buf + len + 1;
    return true;
}

static int read_query(const char *text, char *buf, size_t cap, struct query *q)
{
    size_t len = strlen(text);
    while (len && strchr(" \t", *text)) {
        text++;
        len--;
    }
    while (len && strchr(" \t", text[len - 1]))
        len--;
    if (!len || len >= cap)
        return ERR_USAGE;
    memcpy(buf, text, len);
    buf[len] = 0;
    const char *rest = read_source(buf, &q->kind);
    q->name = rest;
    q->is_number = read_number(rest, &q->number);
    if (q->is_number)
        return 0;
    /* A name is a word; "CERT_E_EXPIRED", "binding-cert", "ip6-taken". */
    bool word = strspn(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == strlen(rest);
    return word && strcspn(rest, "0123456789") ? 0 : ERR_USAGE;
}

/* ---- finding ---- */

static const struct code *find_number(int kind, uint32_t number, const struct code_table **table)
{
    for (size_t t = 0; t < code_tables_n; t++)
        for (size_t i = 0; i < *code_tables[t].n; i++)
            if ((int)code_tables[t].kind == kind && number && code_tables[t].codes[i].number == number) {
                *table = &code_tables[t];
                return &code_tables[t].codes[i];
            }
    return NULL;
}

static const struct code *find_name(const char *name, const struct code_table **table)
{
    for (size_t t = 0; t < code_tables_n; t++)
        for (size_t i = 0; i < *code_tables[t].n; i++)
            if (code_tables[t].codes[i].name && !strcasecmp(code_tables[t].codes[i].name, name)) {
                *table = &code_tables[t];
                return &code_tables[t].codes[i];
            }
    return NULL;
}

/*
 * A number alone: a RAS error, an HRESULT, one of the events with a long number, a Win32 error (10054 for 0x80072746),
 * HTTP status; and a RAS error dressed as an HRESULT (0x800702B3 for 691).
 */
static const struct code *find_bare(uint32_t n, const struct code_table **table)
{
    static const int kinds[] = { CODE_RAS, CODE_HRESULT, CODE_RASCLIENT, CODE_REMOTEACCESS, CODE_HTTP };
    const struct code *c = NULL;
    for (size_t i = 0; !c && i < sizeof kinds / sizeof kinds[0]; i++)
        c = find_number(kinds[i], n, table);
    if (!c && n <= UINT16_MAX)
        c = find_number(CODE_HRESULT, WIN32_HRESULT | n, table);
    if (!c && (n & 0xffff0000u) == WIN32_HRESULT)
        c = find_number(CODE_RAS, n & 0xffff, table);
    return c;
}

/* RRAS and the client log with numbers of one series: people mix the two sources up. */
static const struct code *find_in(int kind, uint32_t n, const struct code_table **table)
{
    const struct code *c = find_number(kind, n, table);
    if (!c && (kind == CODE_REMOTEACCESS || kind == CODE_RASCLIENT))
        c = find_number(kind == CODE_RASCLIENT ? CODE_REMOTEACCESS : CODE_RASCLIENT, n, table);
    if (!c && (kind == CODE_RAS || kind == CODE_HRESULT)) /* "error 0x800B0109", "error 10060" */
        c = find_bare(n, table);
    return c;
}

static int find(const char *text, const struct code_table **table, const struct code **code)
{
    char buf[64];
    struct query q = { 0 };
    int rc = read_query(text, buf, sizeof buf, &q);
    if (rc)
        return rc;
    if (!q.is_number)
        *code = find_name(q.name, table);
    else
        *code = q.kind < 0 ? find_bare(q.number, table) : find_in(q.kind, q.number, table);
    return *code ? 0 : ERR_CLOSED;
}

const struct code *code_event(const char *text, const struct code_table **table)
{
    char buf[64];
    const char *error;
    const struct code *c = NULL;
    if (!split_event(text, buf, sizeof buf, &error) || find(buf, table, &c) != 0)
        return NULL;
    return (*table)->kind == CODE_RASCLIENT || (*table)->kind == CODE_REMOTEACCESS ? c : NULL;
}

int code_find(const char *text, const struct code_table **table, const struct code **code)
{
    char buf[64];
    const char *error;
    if (!code_event(text, table))
        return find(text, table, code);
    if (!split_event(text, buf, sizeof buf, &error))
        return ERR_USAGE;
    *code = find_number(CODE_RAS, (uint32_t)strtoul(error, NULL, 10), table);
    return *code ? 0 : ERR_CLOSED;
}

const struct code *code_namesake(const struct code *c, const struct code_table **table)
{
    for (const struct code_table *t = *table + 1; c->name && t < code_tables + code_tables_n; t++)
        for (size_t i = 0; i < *t->n; i++)
            if (t->codes[i].name && !strcasecmp(t->codes[i].name, c->name)) {
                *table = t;
                return &t->codes[i];
            }
    return NULL;
}

static size_t distance(const struct query *q, const struct code *c)
{
    if (q->is_number)
        return c->number > q->number ? c->number - q->number : q->number - c->number;
    return c->name ? config_word_distance(q->name, c->name) : SIZE_MAX;
}

const struct code *code_near(const char *text, const struct code_table **table)
{
    char buf[64];
    struct query q = { 0 };
    const struct code *best = NULL;
    size_t least = SIZE_MAX;
    if (read_query(text, buf, sizeof buf, &q) < 0)
        return NULL;
    for (size_t t = 0; t < code_tables_n; t++)
        for (size_t i = 0; i < *code_tables[t].n; i++) {
            const struct code *c = &code_tables[t].codes[i];
            if (q.is_number && (!c->number || (q.kind >= 0 && (int)code_tables[t].kind != q.kind)))
                continue;
            size_t d = distance(&q, c);
            if (d < least) {
                least = d;
                best = c;
                *table = &code_tables[t];
            }
        }
    return q.is_number || least < CONFIG_WORD_NEAR ? best : NULL;
}

const struct code *code_ours(const char *name, size_t len)
{
    for (size_t t = 0; t < code_tables_n && code_tables[t].kind <= CODE_CAUSE; t++)
        for (size_t i = 0; i < *code_tables[t].n; i++) {
            const struct code *c = &code_tables[t].codes[i];
            if (strlen(c->name) == len && !memcmp(c->name, name, len))
                return c;
        }
    return NULL;
}
