/*
 * The addresses that calls are given, for all workers together. Taken and given back at call set-up and end only, under
 * a lock; the owner table is read for each packet without one.
 */
#ifndef GH_SERVER_POOL_H
#define GH_SERVER_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "auth/users.h"
#include "server/config.h"
#include "tun/steer.h"

struct pool_net {
    uint32_t base, last; /* host order, inclusive */
    uint32_t first_slot;
};

struct pool {
    struct pool_net net[CONFIG_NETWORKS_MAX];
    size_t n_net;
    uint32_t slots; /* addresses in all networks, usable or not */
    uint32_t free;  /* usable ones not taken; reserved ones count only while not taken */
    uint32_t hint;
    uint8_t *state;             /* per slot: POOL_* bits; under the lock */
    _Atomic uint8_t *owner;     /* per slot: worker + 1, 0: nobody */
    struct steer_tables *steer; /* told of owners; NULL: none */
    pthread_mutex_t lock;
};

MUST_USE int pool_init(struct pool *p, const struct config *cfg);
void pool_fini(struct pool *p);

/* Keeps the users' fixed addresses for them; replaces what was reserved before. One thread at a time; workers go on. */
void pool_reserve(struct pool *p, const struct users *users);

/*
 * fixed (host order) or 0 for any. ERR_LIMIT: none left; ERR_AGAIN: the fixed address is taken; ERR_USAGE: the fixed
 * address is not one of the pool's.
 */
MUST_USE int pool_take(struct pool *p, uint32_t fixed, unsigned worker, uint32_t *ip);
void pool_give(struct pool *p, uint32_t ip);
uint32_t pool_free(struct pool *p); /* addresses left */

/* Slot of an address, or UINT32_MAX. HOT PATH. */
static inline uint32_t pool_slot(const struct pool *p, uint32_t ip)
{
    for (size_t i = 0; i < p->n_net; i++)
        if (ip >= p->net[i].base && ip <= p->net[i].last)
            return p->net[i].first_slot + (ip - p->net[i].base);
    return UINT32_MAX;
}

/* Worker that owns a slot, or -1. HOT PATH. */
static inline int pool_owner(const struct pool *p, uint32_t slot)
{
    /* Whoever finds an owner here sees that worker as it was set up. */
    return (int)atomic_load_explicit(&p->owner[slot], memory_order_acquire) - 1;
}

#endif
