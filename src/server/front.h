/*
 * Offload mode: which leaf certificates a client may have been served by the front that ended TLS (MS-SSTP 3.3.3). The
 * list is what the configuration names now, and for an overlap what it named before: between the change of the file and
 * the front's own reload both are in use. Immutable once built; a generation owns one.
 */
#ifndef GH_SERVER_FRONT_H
#define GH_SERVER_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sstp/binding.h"

#define FRONT_MAX 64 /* leaves, old ones included; when there are more, the oldest go first */

struct front {
    struct front_leaf {
        struct sstp_cert_hashes hashes;
        int64_t until_s; /* Unix; 0: named now, no end */
    } leaf[FRONT_MAX];
    size_t n;
};

/*
 * out: the n hashes named now, then those of old (NULL: none) that are named no more, until now_s + overlap_s, and
 * those whose overlap runs already. Returns whether the hashes named now are others than old's.
 */
bool front_build(struct front *out, const struct sstp_cert_hashes *now, size_t n, const struct front *old,
                 int64_t now_s, int overlap_s);

/* What is accepted at now_s; returns how many were written to out. */
size_t front_accepted(const struct front *f, int64_t now_s, struct sstp_cert_hashes out[FRONT_MAX]);

#endif
