#include "ip/pktbuf.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A class keeps at most so many: all of them, full, are less than PKTBUF_KEPT_MAX together. */
static const struct {
    uint32_t size, keep;
} class[PKTBUF_CLASSES] = {
    { 256, 512 }, { 2048, 160 }, { 8192, 36 }, { 32768, 12 }, { OFFLOAD_PACKET_MAX, 12 },
};

static size_t cost_of(unsigned k)
{
    return PKTBUF_COST(class[k].size);
}

size_t pktbuf_cost(const struct pktbuf *b)
{
    return cost_of(b->size_class);
}

static unsigned class_of(size_t len)
{
    unsigned k = 0;
    while (k < PKTBUF_CLASSES && class[k].size < len)
        k++;
    return k;
}

static void make_ready(struct pktbuf_pool *p)
{
    for (unsigned k = 0; k < PKTBUF_CLASSES; k++)
        STAILQ_INIT(&p->free[k]);
    TAILQ_INIT(&p->waiting);
    p->ready = true;
}

/* Without a look at max. Only the link and what the caller sets is defined. */
static struct pktbuf *get(struct pktbuf_pool *p, unsigned k)
{
    if (!p->ready)
        make_ready(p);
    struct pktbuf *b = STAILQ_FIRST(&p->free[k]);
    if (b) {
        STAILQ_REMOVE_HEAD(&p->free[k], link);
        p->n_free[k]--;
        p->kept -= cost_of(k);
    } else {
        b = malloc(sizeof *b + class[k].size);
        if (!b)
            return NULL;
    }
    p->used += cost_of(k);
    return b;
}

bool pktbuf_fits(const struct pktbuf_pool *p, size_t len)
{
    unsigned k = class_of(len);
    return k < PKTBUF_CLASSES && p->used + cost_of(k) <= p->max;
}

struct pktbuf *pktbuf_new(struct pktbuf_pool *p, size_t len)
{
    if (!pktbuf_fits(p, len))
        return NULL;
    unsigned k = class_of(len);
    struct pktbuf *b = get(p, k);
    if (b) {
        memset(b, 0, sizeof *b);
        b->size_class = (uint8_t)k;
    }
    return b;
}

void pktbuf_free(struct pktbuf_pool *p, struct pktbuf *b)
{
    if (!b)
        return;
    if (!p->ready)
        make_ready(p);
    unsigned k = b->size_class;
    pktbuf_given(p, b);
    if (p->n_free[k] >= class[k].keep) {
        free(b);
        return;
    }
    STAILQ_INSERT_HEAD(&p->free[k], b, link); /* the last used is in the CPU's cache */
    p->n_free[k]++;
    p->kept += cost_of(k);
}

struct pktbuf *pktbuf_fit(struct pktbuf_pool *p, struct pktbuf *b)
{
    unsigned k = class_of(b->len);
    if (k >= b->size_class || (size_t)b->len * 2 > class[b->size_class].size)
        return b;
    struct pktbuf *small = get(p, k);
    if (!small)
        return b;
    memcpy(small, b, sizeof *b);
    small->size_class = (uint8_t)k;
    memcpy(small->data, b->data, b->len);
    pktbuf_free(p, b);
    return small;
}

void pktbuf_given(struct pktbuf_pool *p, const struct pktbuf *b)
{
    assert(p->used >= pktbuf_cost(b));
    p->used -= pktbuf_cost(b);
}

void pktbuf_taken(struct pktbuf_pool *p, const struct pktbuf *b)
{
    if (!p->ready)
        make_ready(p);
    p->used += pktbuf_cost(b);
}

void pktbuf_pool_fini(struct pktbuf_pool *p)
{
    struct pktbuf *b;
    for (unsigned k = 0; p->ready && k < PKTBUF_CLASSES; k++) {
        while ((b = STAILQ_FIRST(&p->free[k]))) {
            STAILQ_REMOVE_HEAD(&p->free[k], link);
            free(b);
        }
        p->n_free[k] = 0;
    }
    p->kept = 0;
}
