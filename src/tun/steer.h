/*
 * Steering: an eBPF program on the TUN device that puts each packet for a call into a queue of the worker that owns
 * the call, one for its IPv4 and one for its IPv6. Loaded by the monitor; the engine writes the tables through shared
 * memory, without a system call.
 *
 * Two tables of entries (struct steer_entry). IPv4: one for each address of the pool, at its slot. IPv6: one for each
 * value of steer_hash6() of the destination's interface identifier (its last 8 bytes); when two calls meet there, the
 * packets of one of them come in on another worker's queue and are handed over, as all are without steering: the
 * tables are hints, never the truth about an address's owner.
 */
#ifndef GH_TUN_STEER_H
#define GH_TUN_STEER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "tun/device.h"

#define STEER_NETS_MAX 8
#define STEER_IP6_BITS 15 /* 32768 entries */

struct steer_entry {
    _Atomic uint32_t owner; /* queue + 1; 0: nobody */
    uint32_t unused;
};

/* The monitor's part. */
struct steer {
    int program, map4, map6; /* descriptors; -1: none */
};

/*
 * Makes the tables and the program for these networks (in the pool's order of slots) and sets it on the device of
 * tun_fd. ERR_SYSTEM with a text: why not; nothing is left then.
 */
MUST_USE int steer_open(struct steer *s, int tun_fd, const struct tun_net4 *nets, size_t n, char *err, size_t cap);
void steer_close(struct steer *s); /* the device keeps its program */

/* The engine's part: the tables in memory. map4, map6 are borrowed. */
struct steer_tables {
    struct steer_entry *ip4, *ip6; /* NULL: no steering */
    size_t n4;
    unsigned queues; /* of a worker: worker w has queues w * queues and on; entries are spread over them */
};
MUST_USE int steer_map(struct steer_tables *t, int map4, int map6, size_t n4, unsigned queues);
void steer_unmap(struct steer_tables *t);

/* Index of an interface identifier in the IPv6 table; the program computes the same. */
uint32_t steer_hash6(const uint8_t iid[8]);

/* Which of a worker's queues is that of an index: an IPv4 slot, or steer_hash6(). */
static inline unsigned steer_queue(uint32_t index, unsigned queues)
{
    return index % queues;
}

/* worker: -1 for nobody. Any thread. */
void steer_set4(struct steer_tables *t, uint32_t slot, int worker);
void steer_set6(struct steer_tables *t, const uint8_t iid[8], int worker);
/* As with -1, but leaves an entry that has gone over to another worker's call as it is. */
void steer_drop6(struct steer_tables *t, const uint8_t iid[8], int worker);

#endif
