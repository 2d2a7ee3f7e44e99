#include "server/rates.h"

#include <stdlib.h>
#include <string.h>

struct rates *rates_get(struct rates_table *t, const char *user)
{
    struct rates *r = NULL;
    size_t len = strlen(user);
    pthread_mutex_lock(&t->lock);
    HASH_FIND(hh, t->all, user, len, r);
    if (!r && (r = calloc(1, sizeof *r + len + 1))) {
        memcpy(r->user, user, len);
        HASH_ADD(hh, t->all, user, len, r);
        if (!r->hh.tbl) {
            free(r);
            r = NULL;
        }
    }
    if (r)
        r->calls++;
    pthread_mutex_unlock(&t->lock);
    return r;
}

void rates_put(struct rates_table *t, struct rates *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&t->lock);
    if (--r->calls)
        r = NULL;
    else
        HASH_DEL(t->all, r);
    pthread_mutex_unlock(&t->lock);
    free(r);
}
