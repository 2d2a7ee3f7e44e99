#include "server/pool.h"

#include <stdlib.h>
#include <string.h>

/* To be reserved, too: not given away meanwhile. */
enum { POOL_UNUSABLE = 1, POOL_TAKEN = 2, POOL_RESERVED = 4, POOL_TO_RESERVE = 8 };

#define RESERVE_PIECE 4096 /* users, or slots, under the lock at a time: workers wait for it */

int pool_init(struct pool *p, const struct config *cfg)
{
    memset(p, 0, sizeof *p);
    for (size_t i = 0; i < cfg->vpn.n_network; i++) {
        uint32_t size = (uint32_t)1 << (32 - cfg->vpn.network[i].prefix), base = cfg->vpn.network[i].base;
        p->net[p->n_net++] = (struct pool_net){ base, base + size - 1, p->slots };
        p->slots += size;
    }
    if (pthread_mutex_init(&p->lock, NULL))
        return ERR_SYSTEM;
    p->state = calloc(p->slots + 1, 1);
    p->owner = calloc(p->slots + 1, 1);
    if (!p->state || !p->owner)
        return ERR_NOMEM;
    p->free = p->slots;
    for (size_t i = 0; i < p->n_net; i++) {
        uint32_t not_for_calls[3] = { p->net[i].base, p->net[i].last,
                                      i == 0 ? config_server_ip4(cfg) : p->net[i].base };
        for (int k = 0; k < 3; k++) {
            uint8_t *s = &p->state[pool_slot(p, not_for_calls[k])];
            p->free -= *s ? 0 : 1;
            *s = POOL_UNUSABLE;
        }
    }
    return 0;
}

void pool_fini(struct pool *p)
{
    if (p->state)
        pthread_mutex_destroy(&p->lock);
    free(p->state);
    free((void *)(uintptr_t)p->owner);
    memset(p, 0, sizeof *p);
}

static void mark_users(struct pool *p, const struct users *users, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        uint32_t ip = users_at(users, i)->ip4, slot = pool_slot(p, ip);
        if (ip && slot != UINT32_MAX)
            p->state[slot] |= POOL_TO_RESERVE;
    }
}

static void take_marks(struct pool *p, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        bool marked = p->state[i] & POOL_TO_RESERVE;
        p->state[i] &= (uint8_t) ~(POOL_RESERVED | POOL_TO_RESERVE);
        p->state[i] |= marked ? POOL_RESERVED : 0;
    }
}

void pool_reserve(struct pool *p, const struct users *users)
{
    size_t n = users_count(users), done, to;
    for (done = 0; done < n; done = to) {
        to = n - done < RESERVE_PIECE ? n : done + RESERVE_PIECE;
        pthread_mutex_lock(&p->lock);
        mark_users(p, users, done, to);
        pthread_mutex_unlock(&p->lock);
    }
    for (done = 0; done < p->slots; done = to) {
        to = p->slots - done < RESERVE_PIECE ? p->slots : done + RESERVE_PIECE;
        pthread_mutex_lock(&p->lock);
        take_marks(p, done, to);
        pthread_mutex_unlock(&p->lock);
    }
}

static uint32_t slot_ip(const struct pool *p, uint32_t slot)
{
    size_t i = p->n_net;
    while (i > 1 && p->net[i - 1].first_slot > slot)
        i--;
    return p->net[i - 1].base + (slot - p->net[i - 1].first_slot);
}

static int take_any(struct pool *p, uint32_t *slot)
{
    for (uint32_t n = 0; p->free && n < p->slots; n++) {
        uint32_t i = p->hint;
        p->hint = p->hint + 1 < p->slots ? p->hint + 1 : 0;
        if (!p->state[i]) {
            *slot = i;
            return 0;
        }
    }
    return ERR_LIMIT;
}

static int take_fixed(const struct pool *p, uint32_t ip, uint32_t *slot)
{
    *slot = pool_slot(p, ip);
    if (*slot == UINT32_MAX || (p->state[*slot] & POOL_UNUSABLE))
        return ERR_USAGE;
    return p->state[*slot] & POOL_TAKEN ? ERR_AGAIN : 0;
}

/* worker: -1 for nobody. Under the lock. */
static void set_owner(struct pool *p, uint32_t slot, int worker)
{
    atomic_store_explicit(&p->owner[slot], (uint8_t)(worker + 1), memory_order_release);
    if (p->steer)
        steer_set4(p->steer, slot, worker);
}

int pool_take(struct pool *p, uint32_t fixed, unsigned worker, uint32_t *ip)
{
    uint32_t slot;
    pthread_mutex_lock(&p->lock);
    int rc = fixed ? take_fixed(p, fixed, &slot) : take_any(p, &slot);
    if (!rc) {
        p->state[slot] |= POOL_TAKEN;
        p->free--;
        set_owner(p, slot, (int)worker);
        *ip = slot_ip(p, slot);
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

void pool_give(struct pool *p, uint32_t ip)
{
    uint32_t slot = pool_slot(p, ip);
    if (slot == UINT32_MAX)
        return;
    pthread_mutex_lock(&p->lock);
    if (p->state[slot] & POOL_TAKEN) {
        p->state[slot] &= (uint8_t)~POOL_TAKEN;
        p->free++;
        set_owner(p, slot, -1);
    }
    pthread_mutex_unlock(&p->lock);
}

uint32_t pool_free(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    uint32_t n = p->free;
    pthread_mutex_unlock(&p->lock);
    return n;
}
