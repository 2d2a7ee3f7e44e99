/*
 * CoDel (RFC 8289): whether the packet that is about to leave a queue waited too long, for too long. Pure; times are
 * microseconds of a monotonic clock.
 */
#ifndef GH_IP_CODEL_H
#define GH_IP_CODEL_H

#include <stdbool.h>
#include <stdint.h>

#define CODEL_TARGET_US   5000
#define CODEL_INTERVAL_US 100000

struct codel { /* zeros to begin with */
    uint64_t first_above_us, drop_next_us;
    uint32_t count, last_count;
    bool dropping;
    bool dropped; /* the last one asked about, not the first of its time: drop_next_us is to move on */
};

/*
 * True when the head of the queue, which waited waited_us, is to be dropped or marked. backlog: bytes waiting with it;
 * one packet's worth (mtu) alone is never too much. After a drop ask again for the next head; when there is none, with
 * zeros for waited_us and backlog.
 */
bool codel_says(struct codel *c, uint64_t now_us, uint64_t waited_us, uint32_t backlog, uint32_t mtu);

/*
 * How much longer than the target a packet may wait where one of mtu bytes takes long itself (RFC 8290 5.2.1): as one
 * and a half of them do, at so many bytes a second. 0 for no rate.
 */
static inline uint32_t codel_slack_us(uint64_t rate, uint32_t mtu)
{
    uint64_t us = rate ? mtu * 1500000ULL / rate : 0;
    us = us < UINT32_MAX ? us : UINT32_MAX;
    return us > CODEL_TARGET_US ? (uint32_t)us - CODEL_TARGET_US : 0;
}

#endif
