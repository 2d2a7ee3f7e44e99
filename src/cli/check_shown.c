/*
 * Who is shown which certificate: for every address that is listened on and every name that is configured, the rule
 * that wins by the server's own function, and whether a client would take what it is shown. And names that never get
 * here, because passthrough has them.
 */
#include "cli/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct point { /* where a client may arrive */
    struct tls_where where;
    const char *text;
    uint64_t always; /* certificates of the rule for this very address, which wins over names; 0: none */
    bool dead;       /* nobody is served there, which was said */
};

struct shown {
    struct check *k;
    struct tls_rule *rule; /* of all certificates */
    const char **text;
    uint8_t *owner; /* which certificate a rule is of */
    size_t n_rules;
    struct point *point; /* first those of listen.address */
    size_t n_points;
};

struct name { /* that clients may ask for */
    const char *text, *file;
    int line;
};

#define BIT(i) ((uint64_t)1 << (i))
_Static_assert(CONFIG_CERTS_MAX <= 64, "sets of certificates are bits of a word");

struct list { /* "a, b, c", cut when long */
    char text[200];
    size_t len, n;
};

static void list_add(struct list *l, const char *item)
{
    if (l->n++ && l->len < sizeof l->text)
        l->len += (size_t)snprintf(l->text + l->len, sizeof l->text - l->len, ", ");
    if (l->len < sizeof l->text)
        l->len += (size_t)snprintf(l->text + l->len, sizeof l->text - l->len, "%s", item);
}

/* ---- rules and places ---- */

static bool collect_rules(struct shown *s)
{
    const struct config *c = s->k->c;
    size_t n = 0;
    for (size_t i = 0; i < c->n_certs; i++)
        n += c->certs[i].n_for;
    s->rule = calloc(n + 1, sizeof *s->rule);
    s->text = calloc(n + 1, sizeof *s->text);
    s->owner = calloc(n + 1, sizeof *s->owner);
    for (size_t i = 0; s->rule && s->text && s->owner && i < c->n_certs; i++)
        for (size_t j = 0; j < c->certs[i].n_for; j++) {
            if (tls_rule_parse(c->certs[i].for_[j], &s->rule[s->n_rules]) < 0)
                continue;
            s->text[s->n_rules] = c->certs[i].for_[j];
            s->owner[s->n_rules++] = (uint8_t)i;
        }
    return s->rule && s->text && s->owner;
}

/* The certificates that share this rule. */
static uint64_t owners(const struct shown *s, const struct tls_rule *rule)
{
    uint64_t set = 0;
    for (size_t i = 0; i < s->n_rules; i++)
        if (tls_rule_equal(&s->rule[i], rule))
            set |= BIT(s->owner[i]);
    return set;
}

static struct tls_where where_of(const struct config_addr *a)
{
    struct tls_where w = { .family = a->u.sa.sa_family == AF_INET ? 4 : 6 };
    if (w.family == 4) {
        memcpy(w.ip, &a->u.in.sin_addr, 4);
        w.port = ntohs(a->u.in.sin_port);
    } else {
        memcpy(w.ip, &a->u.in6.sin6_addr, 16);
        w.port = ntohs(a->u.in6.sin6_port);
    }
    return w;
}

static bool is_any(const struct tls_where *w)
{
    static const uint8_t zero[16];
    return !memcmp(w->ip, zero, sizeof zero);
}

static bool listens(const struct config *c, const struct tls_rule *r)
{
    for (size_t i = 0; i < c->listen.n_address; i++) {
        struct tls_where w = where_of(&c->listen.address[i]);
        if (w.port != r->port || (r->kind == TLS_RULE_ANY6 && w.family != 6))
            continue;
        if (r->kind != TLS_RULE_ADDR || (w.family == r->family && (is_any(&w) || !memcmp(w.ip, r->ip, 16))))
            return true;
    }
    return false;
}

/* Every address listened on, and every address with a rule of its own that one of them takes in. */
static bool collect_points(struct shown *s)
{
    const struct config *c = s->k->c;
    s->point = calloc(c->listen.n_address + s->n_rules + 1, sizeof *s->point);
    for (size_t i = 0; s->point && i < c->listen.n_address; i++)
        s->point[s->n_points++] =
            (struct point){ .where = where_of(&c->listen.address[i]), .text = c->listen.address[i].text };
    for (size_t i = 0; s->point && i < s->n_rules; i++) {
        const struct tls_rule *r = &s->rule[i];
        struct point p = { .where = { .family = r->family, .port = r->port }, .text = s->text[i] };
        bool first = true;
        for (size_t j = 0; j < i; j++)
            first = first && !tls_rule_equal(&s->rule[j], r);
        if (r->kind != TLS_RULE_ADDR || !first || !listens(c, r))
            continue;
        memcpy(p.where.ip, r->ip, 16);
        p.always = owners(s, r);
        s->point[s->n_points++] = p;
    }
    return s->point != NULL;
}

/* Certificates that a client at this point is shown (an RSA and an ECDSA one, say); 0: it is refused. */
static uint64_t shown_at(const struct shown *s, const struct point *p, const char *sni, bool *by_rule)
{
    struct tls_where w = p->where;
    w.sni = sni;
    int i = p->always ? -1 : tls_rule_select(s->rule, s->n_rules, &w);
    *by_rule = p->always || i >= 0;
    if (p->always)
        return p->always;
    if (i < 0 && s->k->c->tls.no_match == CONFIG_NO_MATCH_ALERT)
        return 0;
    return owners(s, &s->rule[i < 0 ? 0 : i]);
}

/* ---- clients that send no name ---- */

static void check_addresses(struct shown *s)
{
    const struct config *c = s->k->c;
    struct list first = { .n = 0 }, named = { .n = 0 }, dead = { .n = 0 };
    bool names = false, by_rule;
    struct config_place at = { .file = c->origin.file };
    for (size_t i = 0; i < s->n_rules; i++)
        names = names || s->rule[i].kind == TLS_RULE_NAME || s->rule[i].kind == TLS_RULE_WILDCARD;
    for (size_t i = 0; i < c->listen.n_address; i++) {
        struct point *p = &s->point[i];
        uint64_t set = shown_at(s, p, NULL, &by_rule);
        if (by_rule)
            continue;
        if (!at.line)
            at = (struct config_place){ c->listen.address[i].file, c->listen.address[i].line };
        p->dead = !set && !names;
        list_add(set ? &first : names ? &named : &dead, p->text);
    }
    if (first.n)
        finding(s->k, SEV_WARNING, "cert-no-default", at.file, at.line,
                "add \"default\" to the for of the certificate for the VPN",
                "no certificate is for \"default\" or for %s: clients that send no server name, as older VPN clients, "
                "are shown the first one",
                first.text);
    if (named.n)
        finding(s->k, SEV_WARNING, "cert-none-without-name", at.file, at.line,
                "add \"default\" to the for of a certificate, unless that is what you want",
                "clients that send no server name, as older VPN clients, are refused at %s: no certificate is for it, "
                "and tls.no-match is alert",
                named.text);
    if (dead.n)
        finding(
            s->k, SEV_ERROR, "cert-none-for-address", at.file, at.line,
            "add the address, or \"default\", to the for of a certificate",
            "no certificate can be shown at %s, but at addresses with a rule of their own: clients are refused there, "
            "since tls.no-match is alert",
            dead.text);
}

static void check_unused(struct shown *s)
{
    const struct config *c = s->k->c;
    for (size_t i = 0; i < s->n_rules && !c->listen.n_proxy_from; i++) { /* else a front says what was dialled */
        const struct tls_rule *r = &s->rule[i];
        const struct config_cert *cert = &c->certs[s->owner[i]];
        if ((r->kind != TLS_RULE_ADDR && r->kind != TLS_RULE_ANY && r->kind != TLS_RULE_ANY6) || listens(c, r))
            continue;
        finding(s->k, SEV_WARNING, "cert-for-unused", cert->file, cert->line,
                "add the address to listen.address, or take it out of for",
                "certificate \"%s\" is for %s, where nothing listens", cert->name, s->text[i]);
    }
}

/* ---- names ---- */

static const char *cert_names(const struct shown *s, uint64_t set, struct list *out)
{
    for (size_t i = 0; i < s->k->c->n_certs; i++)
        if (set & BIT(i))
            list_add(out, s->k->c->certs[i].name);
    return out->text;
}

/* Which certificates have the name; *unread: which could not be read, that is another finding. */
static uint64_t covering(const struct shown *s, const char *name, uint64_t *unread)
{
    uint64_t set = 0;
    *unread = 0;
    for (size_t i = 0; i < s->k->c->n_certs; i++)
        if (!s->k->cert[i].read)
            *unread |= BIT(i);
        else if (certfile_names_host(&s->k->cert[i].file, name))
            set |= BIT(i);
    return set;
}

/* Those whose `for` has the name itself: when it is not among their names, check_certs() has said so. */
static uint64_t meant_for(const struct shown *s, const char *name)
{
    struct tls_rule rule;
    return tls_rule_parse(name, &rule) ? 0 : owners(s, &rule);
}

struct outcome {
    struct list none, bad;
    uint64_t shown;         /* certificates without the name */
    bool good[2], wrong[2]; /* at some point of IPv4, IPv6 */
};

static void look(const struct shown *s, const char *name, uint64_t fine, struct outcome *o)
{
    bool by_rule;
    for (size_t i = 0; i < s->n_points; i++) {
        const struct point *p = &s->point[i];
        uint64_t set = shown_at(s, p, name, &by_rule);
        bool *at = &(set & ~fine ? o->wrong : o->good)[p->where.family == 6];
        if (!set) {
            if (!p->dead)
                list_add(&o->none, p->text);
            continue;
        }
        *at = true;
        if (set & ~fine)
            list_add(&o->bad, p->text);
        o->shown |= set & ~fine;
    }
}

static void check_name(struct shown *s, const struct name *n)
{
    uint64_t unread, have = covering(s, n->text, &unread);
    struct outcome o = { .shown = 0 };
    struct list who = { .n = 0 }, other = { .n = 0 };
    look(s, n->text, have | unread | meant_for(s, n->text), &o);
    if (o.none.n)
        finding(s->k, SEV_ERROR, "cert-none-for-name", n->file, n->line,
                "add the name, or \"default\", to the for of a certificate",
                "no certificate can be shown to clients that ask for \"%s\" at %s: they are refused, since "
                "tls.no-match is alert",
                n->text, o.none.text);
    if (!o.bad.n)
        return;
    cert_names(s, o.shown, &who);
    if ((o.wrong[0] && !o.good[0]) || (o.wrong[1] && !o.good[1]))
        finding(s->k, SEV_WARNING, "name-not-covered", n->file, n->line,
                have ? "add the name to the for of the certificate that has it" : "get a certificate with this name",
                "clients that ask for \"%s\" at %s are shown \"%s\", which does not have that name%s%s", n->text,
                o.bad.text, who.text, have ? "; it is in " : ", nor has any other",
                have ? cert_names(s, have, &other) : "");
    else
        finding(s->k, SEV_NOTE, "name-shadowed", n->file, n->line,
                "nothing, when that name leads to other addresses only",
                "clients that ask for \"%s\" at %s are shown \"%s\", which does not have that name: a rule for an "
                "address wins over names",
                n->text, o.bad.text, who.text);
}

static bool is_new(const struct name *list, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(list[i].text, text))
            return false;
    return true;
}

/* Names of certificates and web sites, each once. */
static struct name *collect_names(const struct shown *s, size_t *n)
{
    const struct config *c = s->k->c;
    struct name *list = calloc(s->n_rules + c->n_web + 1, sizeof *list);
    *n = 0;
    for (size_t i = 0; list && i < c->n_web; i++)
        if (c->web[i].name && is_new(list, *n, c->web[i].name))
            list[(*n)++] = (struct name){ c->web[i].name, c->web[i].file, c->web[i].line };
    for (size_t i = 0; list && i < c->n_certs; i++)
        for (size_t j = 0; j < c->certs[i].n_for; j++) {
            struct tls_rule r;
            if (!tls_rule_parse(c->certs[i].for_[j], &r) && (r.kind == TLS_RULE_NAME || r.kind == TLS_RULE_WILDCARD) &&
                is_new(list, *n, c->certs[i].for_[j]))
                list[(*n)++] = (struct name){ c->certs[i].for_[j], c->certs[i].file, c->certs[i].line };
        }
    return list;
}

static void check_passthrough(struct check *k, const struct config_pass *pass, const struct name *n)
{
    bool same = !strcmp(pass->name, n->text);
    if (same)
        finding(k, SEV_ERROR, "passthrough-contradicts", pass->file, pass->line,
                "take the name out of passthrough, or out of certificates and web",
                "\"%s\" is passed through to %s, and is named in %s:%d too: that is never reached", n->text,
                pass->upstream.text, n->file, n->line);
    else
        finding(k, SEV_WARNING, "passthrough-swallows", pass->file, pass->line,
                "passthrough comes first: name there what is meant, instead of a wildcard",
                "\"%s\" is passed through to %s, because it is one of \"%s\"; what %s:%d says is never reached",
                n->text, pass->upstream.text, pass->name, n->file, n->line);
}

void check_shown(struct check *k)
{
    struct shown s = { .k = k };
    size_t n = 0;
    struct name *names = NULL;
    if (collect_rules(&s) && collect_points(&s) && (names = collect_names(&s, &n))) {
        if (s.n_rules) {
            check_addresses(&s);
            check_unused(&s);
        }
        for (size_t i = 0; i < n; i++) {
            const struct config_pass *pass = config_passthrough(k->c, names[i].text);
            if (pass)
                check_passthrough(k, pass, &names[i]);
            else if (s.n_rules)
                check_name(&s, &names[i]);
        }
    }
    free(names);
    free(s.point);
    free(s.rule);
    free(s.text);
    free(s.owner);
}
