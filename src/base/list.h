/* Lists and hash tables: sys/queue.h and uthash, set up so that running out of memory is an error, not an exit. */
#ifndef GH_BASE_LIST_H
#define GH_BASE_LIST_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

/* For keys that strangers choose: SipHash-like keyed mixing, so that collisions cannot be prepared. */
extern uint64_t hash_key[2];

/* Sets the key, once, before threads start. */
void hash_seed(const uint64_t key[2]);
unsigned hash_keyed(const void *data, size_t n);

/* After HASH_ADD with HASH_NONFATAL_OOM an element that could not be added has hh.tbl == NULL. */
#define HASH_NONFATAL_OOM                    1
#define HASH_FUNCTION(keyptr, keylen, hashv) ((hashv) = hash_keyed((keyptr), (keylen)))
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#include <uthash.h>
#pragma GCC diagnostic pop

#endif
