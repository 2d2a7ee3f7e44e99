/* Randomness handed to the cores at init: fills n bytes, cryptographically strong outside of tests. */
#ifndef GH_BASE_RAND_H
#define GH_BASE_RAND_H

#include <stddef.h>

struct rng {
    void (*fill)(void *arg, void *out, size_t n); /* cannot fail: a system without randomness stops the process */
    void *arg;
};

static inline void rng_fill(const struct rng *r, void *out, size_t n)
{
    r->fill(r->arg, out, n);
}

#endif
