/* Texts to values. */
#include "config/value.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static bool label_char(char c)
{
    return isalnum((unsigned char)c) || c == '-' || c == '_';
}

bool config_name_valid(const char *text)
{
    size_t label = 0;
    bool digits_only = true; /* of the last label: such a name would be an address */
    for (const char *p = text; *p; p++) {
        if (*p == '.') {
            if (!label)
                return false;
            label = 0;
            digits_only = true;
        } else if (label_char(*p) && label < 63) {
            label++;
            digits_only = digits_only && isdigit((unsigned char)*p);
        } else {
            return false;
        }
    }
    return label && !digits_only && strlen(text) <= 253;
}

bool config_net4_parse(const char *text, struct config_net4 *out)
{
    char ip[INET_ADDRSTRLEN];
    struct in_addr in;
    const char *slash = strchr(text, '/');
    if (!slash || (size_t)(slash - text) >= sizeof ip)
        return false;
    memcpy(ip, text, (size_t)(slash - text));
    ip[slash - text] = 0;
    size_t digits = strspn(slash + 1, "0123456789");
    if (inet_pton(AF_INET, ip, &in) != 1 || digits < 1 || digits > 2 || slash[1 + digits])
        return false;
    int prefix = (int)strtol(slash + 1, NULL, 10);
    if (prefix > 32)
        return false;
    *out = (struct config_net4){ .base = ntohl(in.s_addr), .prefix = (uint8_t)prefix };
    return true;
}

bool config_prefix_parse(const char *text, struct config_prefix *out)
{
    struct config_prefix p = { 0 };
    char ip[INET6_ADDRSTRLEN];
    size_t len = strcspn(text, "/"), digits = text[len] ? strspn(text + len + 1, "0123456789") : 0;
    if (len < sizeof ip) {
        memcpy(ip, text, len);
        ip[len] = 0;
        p.family = inet_pton(AF_INET, ip, p.ip) == 1 ? 4 : inet_pton(AF_INET6, ip, p.ip) == 1 ? 6 : 0;
    }
    long most = p.family == 4 ? 32 : 128;
    long bits = !text[len]                                         ? most
                : digits && digits <= 3 && !text[len + 1 + digits] ? strtol(text + len + 1, NULL, 10)
                                                                   : -1;
    if (!p.family || bits < 0 || bits > most)
        return false;
    p.bits = (uint8_t)bits;
    *out = p;
    return true;
}

bool config_prefix_clean(const struct config_prefix *p)
{
    for (int i = p->bits; i < (p->family == 4 ? 32 : 128); i++)
        if (p->ip[i / 8] & 0x80 >> i % 8)
            return false;
    return true;
}

/* ":443" and the end of the text; 0: something else. */
static unsigned parse_port(const char *p)
{
    size_t digits = *p == ':' ? strspn(p + 1, "0123456789") : 0;
    unsigned long port = digits && digits <= 5 && !p[1 + digits] ? strtoul(p + 1, NULL, 10) : 0;
    return port <= 65535 ? (unsigned)port : 0;
}

static bool parse_ip_port(const char *text, struct config_addr *a)
{
    char ip[INET6_ADDRSTRLEN];
    bool six = *text == '[';
    const char *end = six ? strchr(text, ']') : strchr(text, ':');
    if (six)
        text++;
    if (!end || (size_t)(end - text) >= sizeof ip)
        return false;
    memcpy(ip, text, (size_t)(end - text));
    ip[end - text] = 0;
    unsigned port = parse_port(six ? end + 1 : end);
    if (!port)
        return false;
    if (six) {
        a->u.in6.sin6_family = AF_INET6;
        a->u.in6.sin6_port = htons((uint16_t)port);
        a->len = sizeof a->u.in6;
        return inet_pton(AF_INET6, ip, &a->u.in6.sin6_addr) == 1;
    }
    a->u.in.sin_family = AF_INET;
    a->u.in.sin_port = htons((uint16_t)port);
    a->len = sizeof a->u.in;
    return inet_pton(AF_INET, ip, &a->u.in.sin_addr) == 1;
}

int config_addr_parse(const char *text, bool allow_unix, struct config_addr *out)
{
    struct config_addr a;
    memset(&a, 0, sizeof a); /* two equal addresses are equal in all bytes */
    if (allow_unix && !strncmp(text, "unix:", 5)) {
        size_t len = strlen(text + 5);
        if (text[5] != '/' || len >= sizeof a.u.un.sun_path)
            return ERR_USAGE;
        a.u.un.sun_family = AF_UNIX;
        memcpy(a.u.un.sun_path, text + 5, len);
        a.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    } else if (!parse_ip_port(text, &a)) {
        return ERR_USAGE;
    }
    a.text = strdup(text);
    if (!a.text)
        return ERR_NOMEM;
    *out = a;
    return 0;
}

bool config_prefix_has(const struct config_prefix *list, size_t n, uint8_t family, const uint8_t ip[16])
{
    for (size_t i = 0; i < n; i++) {
        const struct config_prefix *p = &list[i];
        unsigned whole = p->bits / 8, rest = p->bits % 8;
        if (p->family == family && !memcmp(p->ip, ip, whole) &&
            (!rest || (p->ip[whole] ^ ip[whole]) >> (8 - rest) == 0))
            return true;
    }
    return false;
}

size_t config_word_distance(const char *a, const char *b)
{
    unsigned char row[64];
    size_t n = strlen(a), m = strlen(b);
    if (n >= sizeof row || m >= sizeof row)
        return 99;
    for (size_t j = 0; j <= m; j++)
        row[j] = (unsigned char)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned char diagonal = row[0];
        row[0] = (unsigned char)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);
            best = row[j] + 1u < best ? row[j] + 1u : best;
            best = row[j - 1] + 1u < best ? row[j - 1] + 1u : best;
            diagonal = row[j];
            row[j] = (unsigned char)best;
        }
    }
    return row[m];
}
