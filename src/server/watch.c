#include "server/watch.h"

#include <stdlib.h>
#include <string.h>

static struct watch_mark look_at(const char *path)
{
    struct stat st;
    struct watch_mark m;
    memset(&m, 0, sizeof m); /* padding too: marks are compared as memory */
    if (stat(path, &st) == 0) {
        m.dev = st.st_dev;
        m.ino = st.st_ino;
        m.size = st.st_size;
        m.changed = st.st_ctim;
        m.written = st.st_mtim;
    }
    return m;
}

int watch_set(struct watch *w, const char *const *paths, size_t n)
{
    watch_clear(w);
    w->item = calloc(n ? n : 1, sizeof *w->item);
    if (!w->item)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        if (!paths[i])
            continue;
        struct watch_item *x = &w->item[w->n++];
        x->path = strdup(paths[i]);
        if (!x->path) {
            watch_clear(w);
            return ERR_NOMEM;
        }
        x->mark = look_at(x->path);
    }
    return 0;
}

void watch_clear(struct watch *w)
{
    for (size_t i = 0; i < w->n; i++)
        free(w->item[i].path);
    free(w->item);
    *w = (struct watch){ 0 };
}

bool watch_look(struct watch *w, uint64_t now_ms)
{
    for (size_t i = 0; i < w->n; i++) {
        struct watch_mark m = look_at(w->item[i].path);
        if (!memcmp(&m, &w->item[i].mark, sizeof m))
            continue;
        w->item[i].mark = m;
        w->first_ms = w->first_ms ? w->first_ms : now_ms;
        w->last_ms = now_ms;
    }
    if (!w->first_ms || (now_ms - w->last_ms < WATCH_QUIET_MS && now_ms - w->first_ms < WATCH_MOST_MS))
        return false;
    w->first_ms = w->last_ms = 0;
    return true;
}

int watch_wait_ms(const struct watch *w)
{
    return !w->n ? -1 : w->first_ms ? WATCH_BUSY_MS : WATCH_IDLE_MS;
}
