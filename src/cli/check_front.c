/* Offload: the certificates that a front serves, and who can pose as that front. */
#include "cli/check.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/ct.h"

/* A front's file: what the front serves is what our clients judge. False when it cannot be used. */
static bool check_file(struct check *k, const struct config_leaf *leaf, struct certfile *have)
{
    static const char remedy[] = "name the PEM file that the front serves, readable for root";
    struct certfile_reason why[CERTFILE_REASONS_MAX];
    struct stat st;
    if (stat(leaf->text, &st) == 0 && !S_ISREG(st.st_mode)) {
        finding(k, SEV_ERROR, "offload-certificate", leaf->file, leaf->line, remedy,
                "offload.certificates %s: it is not a file", leaf->text);
        return false;
    }
    if (certfile_load(leaf->text, have, why) < 0) {
        finding(k, SEV_ERROR, "offload-certificate", leaf->file, leaf->line, remedy, "offload.certificates %s: %s",
                leaf->text, why->text);
        return false;
    }
    check_reasons(k, why, certfile_judge(have, k->now_s, why), leaf->file, leaf->line, leaf->text);
    return true;
}

static bool is_leaf(const struct config_leaf *leaf, const struct certfile *file)
{
    char hex[65];
    hex_encode(leaf->hash, leaf->hash_len, hex);
    return !strcmp(hex, leaf->hash_len == 32 ? file->sha256 : file->sha1);
}

static void check_hash(struct check *k, const struct config_leaf *leaf, const struct certfile *files, size_t n)
{
    bool known = false;
    for (size_t i = 0; i < n; i++)
        known = known || is_leaf(leaf, &files[i]);
    for (size_t i = 0; i < k->c->n_certs; i++)
        known = known || (k->cert[i].read && is_leaf(leaf, &k->cert[i].file));
    if (!known) /* beside files it is probably one that was replaced; alone, the front is another host */
        finding(
            k, n ? SEV_WARNING : SEV_NOTE, "offload-hash-unknown", leaf->file, leaf->line,
            "'gatehouse cert show FILE' tells the hash of what the front serves; when the front is on another host, "
            "compare it there",
            "offload.certificates has %.20s..., which is the hash of none of the certificate files here", leaf->text);
}

static bool has_sha1(const struct config *c)
{
    for (size_t i = 0; i < c->offload.n_cert; i++)
        if (c->offload.cert[i].hash_len != 32)
            return true;
    return false;
}

static void check_certificates(struct check *k)
{
    const struct config *c = k->c;
    struct certfile *files = calloc(CONFIG_FRONT_MAX, sizeof *files);
    size_t n = 0;
    for (size_t i = 0; files && i < c->offload.n_cert; i++)
        if (!c->offload.cert[i].hash_len && check_file(k, &c->offload.cert[i], &files[n]))
            n++;
    for (size_t i = 0; files && i < c->offload.n_cert; i++)
        if (c->offload.cert[i].hash_len)
            check_hash(k, &c->offload.cert[i], files, n);
    if (c->offload.n_cert && !has_sha1(c))
        finding(k, SEV_NOTE, "offload-sha256-only", c->offload.cert[0].file, c->offload.cert[0].line,
                "name the file instead, or add its \"sha1:...\" too",
                "offload.certificates has SHA-256 hashes only: clients that bind with SHA-1, as RouterOS does, cannot "
                "connect");
    free(files);
}

static void check_reach(struct check *k)
{
    static const uint8_t zero[16];
    const struct config *c = k->c;
    struct config_place from = config_place(c, c->offload.from), proxy = config_place(c, &c->offload.proxy_required);
    for (size_t i = 0; i < c->offload.n_listen; i++) {
        const struct config_addr *a = &c->offload.listen[i];
        bool any =
            a->u.sa.sa_family == AF_INET ? !a->u.in.sin_addr.s_addr : !memcmp(&a->u.in6.sin6_addr, zero, sizeof zero);
        if (any)
            finding(k, SEV_WARNING, "offload-open", a->file, a->line,
                    "listen on the address that the front uses, 127.0.0.1 when it is on this host",
                    "offload.listen %s is on every address of this host, without TLS: only offload.from keeps others "
                    "out",
                    a->text);
    }
    for (size_t i = 0; i < c->offload.n_from; i++)
        if (!c->offload.from[i].bits) {
            finding(k, SEV_WARNING, "offload-from-anywhere", from.file, from.line, "name the addresses of the front",
                    "offload.from has every IPv%u address: whoever reaches offload.listen can pose as the front",
                    c->offload.from[i].family);
        }
    if (!c->offload.proxy_required)
        finding(k, SEV_NOTE, "offload-no-proxy", proxy.file, proxy.line,
                "proxy-protocol = true; in offload, and the same in the front (HAProxy: send-proxy-v2)",
                "without a PROXY header all clients have the front's address: in the log, and for limits");
}

void check_front(struct check *k)
{
    check_certificates(k);
    check_reach(k);
}
