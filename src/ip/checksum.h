/*
 * The Internet checksum (RFC 1071). HOT PATH.
 *
 * Sums are ones'-complement sums of 16-bit words in memory order, so a folded sum is stored with memcpy, whatever the
 * machine's byte order. A sum of several pieces is right when every piece but the last is of even length.
 */
#ifndef GH_IP_CHECKSUM_H
#define GH_IP_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * sum plus the n bytes at p (the last odd one is padded with zero). Any alignment, any sum; what comes back is below
 * 2^17, so that the caller may add thousands of 16-bit words to it by hand. 0 only when all was zero.
 */
uint32_t checksum_add(uint32_t sum, const void *p, size_t n);

/* The same while copying them to `to`; the areas do not overlap. */
uint32_t checksum_copy(uint32_t sum, void *to, const void *from, size_t n);

/* The one that the two above are tested against: two bytes at a time. */
uint32_t checksum_add_plain(uint32_t sum, const void *p, size_t n);

/* 16 bits in memory order, not complemented. */
static inline uint16_t checksum_fold(uint32_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

/* Which of the implementations this CPU gets: "avx2", "plain64". */
const char *checksum_way(void);

/* Takes that one instead, for tests and measurements; no thread may be summing. False: this CPU cannot. */
bool checksum_use(const char *way);

#endif
