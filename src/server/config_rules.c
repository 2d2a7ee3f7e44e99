/* Rules between options: what is wrong although every value by itself is right. */
#include "server/config_options.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

/* One address can be listened on for one purpose. */
static void check_listen(struct config_loader *l)
{
    const struct config *c = l->c;
    const struct {
        const char *section, *key;
        const struct config_addr *list;
        size_t n;
    } use[] = { { "listen", "address", c->listen.address, c->listen.n_address },
                { "listen", "redirect", c->listen.redirect, c->listen.n_redirect },
                { "offload", "listen", c->offload.listen, c->offload.n_listen } };
    const struct config_addr *seen[2 * CONFIG_LISTEN_MAX + CONFIG_REDIRECT_MAX];
    size_t n = 0;
    for (size_t u = 0; u < 3; u++)
        for (size_t i = 0; i < use[u].n; seen[n++] = &use[u].list[i++])
            for (size_t j = 0; j < n; j++)
                if (use[u].list[i].len == seen[j]->len && !memcmp(&use[u].list[i].u, &seen[j]->u, seen[j]->len))
                    config_fail(l, config_written(l, use[u].section, use[u].key, i), "config-duplicate",
                                "write each address once", "%s.%s: %s is listened on already", use[u].section,
                                use[u].key, seen[j]->text);
    if (!c->listen.n_address && !c->offload.n_listen)
        config_fail(l, config_written(l, "listen", "address", 0), "config-missing", "[ \"0.0.0.0:443\", \"[::]:443\" ]",
                    "listen.address is empty, and there is no offload section: nothing would be served");
    if (c->listen.acme_webroot && !c->listen.n_redirect)
        config_fail(l, config_written(l, "listen", "acme-webroot", 0), "config-conflict",
                    "add redirect = [ \"0.0.0.0:80\", \"[::]:80\" ]: authorities ask on port 80",
                    "listen.acme-webroot is served on listen.redirect, which is not set");
}

static void name_certs(struct config_loader *l)
{
    struct config *c = l->c;
    for (size_t i = 0; i < c->n_certs; i++) {
        struct config_cert *cert = &c->certs[i];
        if (!cert->name && asprintf(&cert->name, "certificate %zu", i + 1) < 0) {
            cert->name = NULL;
            l->nomem = true;
            return;
        }
    }
}

/*
 * `for` number k of certificate i: does the same certificate have it already, or do two others? One other may: an RSA
 * and an ECDSA certificate make a pair (which of the two types they have is seen when the files are read). Returns an
 * earlier certificate's number, or n_certs.
 */
static size_t earlier_for(const struct config *c, size_t i, size_t k)
{
    size_t others = 0;
    for (size_t j = 0; j <= i; j++) {
        for (size_t m = 0; m < (j == i ? k : c->certs[j].n_for); m++) {
            if (!strcmp(c->certs[j].for_[m], c->certs[i].for_[k]) && (j == i || ++others == 2))
                return j;
        }
    }
    return c->n_certs;
}

static void check_certs(struct config_loader *l)
{
    const struct config *c = l->c;
    const struct config_setting_t *list = config_setting_get_member(config_root_setting(&l->lc), "certificates");
    if (!c->n_certs && c->listen.n_address && (!list || config_setting_is_list(list)))
        config_fail(l, list, "config-no-certificate",
                    "add certificates: ( { chain = \"...\"; key = \"...\"; } ); 'gatehouse cert new' makes one",
                    "there is no certificate");
    for (size_t i = 0; i < c->n_certs && !l->nomem; i++) {
        for (size_t j = 0; j < i; j++) {
            if (!strcmp(c->certs[i].name, c->certs[j].name))
                config_fail(l, config_written_item(l, "certificates", i, "name"), "config-duplicate",
                            "give each certificate its own name", "two certificates are named \"%s\"",
                            c->certs[i].name);
        }
        for (size_t k = 0; k < c->certs[i].n_for; k++) {
            size_t j = earlier_for(c, i, k);
            if (j < c->n_certs)
                config_fail(l, config_written_item(l, "certificates", i, "for"), "config-duplicate",
                            "each name belongs to one certificate; take it out of one of the two lists",
                            "certificate \"%s\" is for \"%s\", and so is \"%s\"", c->certs[i].name, c->certs[i].for_[k],
                            c->certs[j].name);
        }
    }
}

static bool same_name(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : a == b;
}

static void check_site(struct config_loader *l, size_t i)
{
    const struct config *c = l->c;
    const struct config_web *w = &c->web[i];
    if (w->upstream.len && w->root)
        config_fail(l, config_written_item(l, "web", i, "root"), "config-conflict",
                    "upstream relays to a web server, root is the built-in site: keep one of the two",
                    "a web site has upstream and root");
    if (!w->upstream.len && w->upstream_h2.len)
        config_fail(l, config_written_item(l, "web", i, "upstream-h2"), "config-conflict",
                    "add upstream, for clients that do not speak HTTP/2",
                    "a web site has upstream-h2 without upstream");
    if (!w->upstream.len && !w->upstream_h2.len && w->proxy_protocol != PROXY_OFF)
        config_fail(l, config_written_item(l, "web", i, "proxy-protocol"), "config-conflict",
                    "the built-in site needs no PROXY header: add upstream, or remove proxy-protocol",
                    "a web site has proxy-protocol without upstream");
    for (size_t j = 0; j < i; j++) {
        if (!same_name(w->name, c->web[j].name))
            continue;
        config_fail(l, config_written_item(l, "web", i, "name"), "config-duplicate",
                    w->name ? "keep one of them" : "one may be without name: it gets what has no site of its own",
                    w->name ? "two web sites are named \"%s\"" : "two web sites have no name%s",
                    w->name ? w->name : "");
        return;
    }
}

static void check_web(struct config_loader *l)
{
    struct config *c = l->c;
    bool rest = false;
    for (size_t i = 0; i < c->n_web; i++) {
        check_site(l, i);
        rest = rest || !c->web[i].name;
    }
    if (rest)
        return;
    if (c->n_web == CONFIG_WEB_MAX) {
        config_fail(l, config_written_item(l, "web", c->n_web - 1, "name"), "config-out-of-range",
                    "leave room for the site without name that gets the rest", "there are %d web sites with names",
                    CONFIG_WEB_MAX);
        return;
    }
    struct config_web *w = &c->web[c->n_web++];
    w->proxy_protocol = PROXY_OFF;
    w->file = c->origin.file;
}

static void check_passthrough(struct config_loader *l)
{
    const struct config *c = l->c;
    for (size_t i = 0; i < c->n_pass; i++)
        for (size_t j = 0; j < i; j++)
            if (same_name(c->pass[i].name, c->pass[j].name) && c->pass[i].name)
                config_fail(l, config_written_item(l, "passthrough", i, "name"), "config-duplicate", "keep one of them",
                            "two passthrough entries are named \"%s\"", c->pass[i].name);
}

static void check_network(struct config_loader *l, size_t i)
{
    const struct config *c = l->c;
    const struct config_net4 *n = &c->vpn.network[i];
    const struct config_setting_t *s = config_written(l, "vpn", "network", i);
    const char *text = s && s->type == CONFIG_TYPE_STRING ? config_setting_get_string(s) : "?";
    uint32_t mask = config_net4_mask(n->prefix), first = n->base >> 24;
    char remedy[96], ip[INET_ADDRSTRLEN];
    struct in_addr in = config_ip4(n->base & mask);

    if (n->base & ~mask) {
        snprintf(remedy, sizeof remedy, "write \"%s/%u\"", inet_ntop(AF_INET, &in, ip, sizeof ip), n->prefix);
        config_fail(l, s, "config-bad-value", remedy, "vpn.network \"%s\" has bits set behind its prefix", text);
    } else if (n->prefix > 30) {
        config_fail(l, s, "config-out-of-range", "at least /30: one address is the server's, one a client's",
                    "vpn.network \"%s\" is too small", text);
    } else if (first == 0 || first == 127 || first >= 224) {
        config_fail(l, s, "config-bad-value", "a private network is usual: \"10.77.0.0/16\"",
                    "vpn.network \"%s\" holds addresses that hosts cannot have", text);
    }
    for (size_t j = 0; j < i; j++) {
        const struct config_net4 *o = &c->vpn.network[j];
        uint32_t both = mask & config_net4_mask(o->prefix);
        if ((n->base & both) == (o->base & both))
            config_fail(l, s, "config-conflict", "networks may not overlap: remove or change one",
                        "vpn.network \"%s\" overlaps with the one %zu before it", text, i - j);
    }
}

static void check_vpn(struct config_loader *l)
{
    struct config *c = l->c;
    uint64_t pool = 0;
    for (size_t i = 0; i < c->vpn.n_network; i++) {
        check_network(l, i);
        pool += 1ull << (32 - c->vpn.network[i].prefix);
    }
    if (pool > CONFIG_POOL_MAX)
        config_fail(l, config_written(l, "vpn", "network", 0), "config-out-of-range",
                    "at most 1048576 in all: one /12, or several smaller ones", "vpn.network has %llu addresses",
                    (unsigned long long)pool);
}

static void check_queues(struct config_loader *l)
{
    struct config *c = l->c;
    const struct config_setting_t *at = config_written(l, "limits", "call-queue", 0);
    if (c->limits.call_queue_kib <= c->limits.worker_queue_mib * 1024)
        return;
    if (!at) /* the default */
        c->limits.call_queue_kib = c->limits.worker_queue_mib * 1024;
    else
        config_fail(l, at, "config-conflict", "raise limits.worker-queue or lower limits.call-queue",
                    "limits.call-queue, %d KiB, is more than limits.worker-queue, %d MiB for all calls of a worker",
                    c->limits.call_queue_kib, c->limits.worker_queue_mib);
}

void config_rules_check(struct config_loader *l)
{
    const struct config *c = l->c;
    name_certs(l);
    check_listen(l);
    check_certs(l);
    check_web(l);
    check_passthrough(l);
    check_queues(l);
    if (c->vpn_on)
        check_vpn(l);
}
