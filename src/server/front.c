#include "server/front.h"

#include <string.h>

static bool same(const struct sstp_cert_hashes *a, const struct sstp_cert_hashes *b)
{
    return a->known == b->known && !memcmp(a->sha1, b->sha1, sizeof a->sha1) &&
           !memcmp(a->sha256, b->sha256, sizeof a->sha256);
}

static bool has(const struct front *f, const struct sstp_cert_hashes *h)
{
    for (size_t i = 0; i < f->n; i++)
        if (same(&f->leaf[i].hashes, h))
            return true;
    return false;
}

static void add(struct front *f, const struct sstp_cert_hashes *h, int64_t until_s)
{
    if (f->n < FRONT_MAX && !has(f, h))
        f->leaf[f->n++] = (struct front_leaf){ *h, until_s };
}

bool front_build(struct front *out, const struct sstp_cert_hashes *now, size_t n, const struct front *old,
                 int64_t now_s, int overlap_s)
{
    size_t named_before = 0;
    *out = (struct front){ 0 };
    for (size_t i = 0; i < n; i++)
        add(out, &now[i], 0);
    size_t named = out->n;
    bool changed = false;
    /* Newest first: what was named until now, then what was replaced before. Old ones stand in that order already. */
    for (size_t i = 0; old && i < old->n; i++) {
        const struct front_leaf *l = &old->leaf[i];
        named_before += !l->until_s;
        changed |= !l->until_s && !has(out, &l->hashes);
        if (!l->until_s ? overlap_s > 0 : l->until_s > now_s)
            add(out, &l->hashes, l->until_s ? l->until_s : now_s + overlap_s);
    }
    return changed || named != named_before;
}

size_t front_accepted(const struct front *f, int64_t now_s, struct sstp_cert_hashes out[FRONT_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < f->n; i++)
        if (!f->leaf[i].until_s || f->leaf[i].until_s > now_s)
            out[n++] = f->leaf[i].hashes;
    return n;
}
