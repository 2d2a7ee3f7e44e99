/*
 * The queues of a call: the input's bytes are what is done to them. Whatever it is, sums and bounds hold, packets of a
 * flow stay in order, and each is sent, dropped and counted, or still there. The first two bytes choose how much may
 * wait; then each operation is a byte, of which the low three bits say what, and its arguments.
 */
#include "../unit/fqtest.h"

#include "ip/flow.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OPERATIONS 4000
#define FLOWS      64

struct run {
    struct pktbuf_pool pool;
    struct fq_counts counts;
    struct fq fq;
    uint64_t now, in, out;
    uint32_t put[FLOWS], sent[FLOWS];
};

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void put(struct run *r, uint32_t flow, uint32_t payload, bool ect)
{
    struct pktbuf *b = fqtest_packet(&r->pool, flow, r->put[flow], payload, ect);
    if (!b)
        return;
    b = pktbuf_fit(&r->pool, b);
    r->put[flow] += payload;
    r->in += fqtest_packets(payload);
    uint64_t dropped = r->counts.drop_full;
    check(fq_put(&r->fq, b, r->now) || r->counts.drop_full > dropped);
}

static bool send_one(struct run *r, uint32_t outside_us)
{
    struct fqtest_sent s;
    bool mark, again;
    const struct pktbuf *b = fq_next(&r->fq, r->now, outside_us, &mark);
    check(fq_next(&r->fq, r->now + 1000000, 0, &again) == b && again == mark);
    check(b || fq_empty(&r->fq));
    if (!fqtest_send(&r->fq, r->now, outside_us, &s))
        return false;
    check(s.flow < FLOWS && s.len <= FQTEST_MTU && s.ce == mark && s.seq >= r->sent[s.flow]);
    check(s.seq + s.payload <= r->put[s.flow]);
    r->sent[s.flow] = s.seq + s.payload;
    r->out++;
    return true;
}

static bool operation(struct run *r, struct rd *in)
{
    uint8_t what, flow;
    uint16_t n;
    if (!rd_u8(in, &what))
        return false;
    switch (what & 7) {
    case 0:
    case 1:
    case 2: /* in */
        if (!rd_u8(in, &flow) || !rd_u16(in, &n))
            return false;
        put(r, flow % FLOWS, n < OFFLOAD_PACKET_MAX - 80 && n ? n : 1, what & 8);
        return true;
    case 3: /* many small ones */
        if (!rd_u8(in, &flow))
            return false;
        for (unsigned i = 0; i < 40; i++)
            put(r, (flow + (what & 16 ? i : 0)) % FLOWS, 1 + what, what & 8);
        return true;
    case 4:
    case 5: /* out */
        for (unsigned i = 0; i < 1U + (what >> 3) && send_one(r, 0); i++)
            ;
        return true;
    case 6: /* out, with something waiting behind us */
        if (!rd_u16(in, &n))
            return false;
        (void)send_one(r, n * 16U);
        return true;
    default: /* time */
        if (!rd_u16(in, &n))
            return false;
        r->now += n * (what & 8 ? 64U : 1U);
        if (what & 16) /* and another call's packet needs memory */
            fq_relieve(&r->pool, n);
        return true;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct run r;
    struct rd in = rd_make(data, size);
    uint32_t waiting;
    uint8_t max, pool;
    (void)flow_hash(data, size);
    if (!rd_u8(&in, &max) || !rd_u8(&in, &pool))
        return 0;
    r.now = 1;
    r.in = r.out = 0;
    memset(r.put, 0, sizeof r.put);
    memset(r.sent, 0, sizeof r.sent);
    r.counts = (struct fq_counts){ 0 };
    r.pool.max = PKTBUF_COST_MAX + ((size_t)pool << 14);
    fq_init(&r.fq, &r.pool, &r.counts, FQTEST_MTU, (uint32_t)max << 14);
    for (unsigned i = 0; i < OPERATIONS && operation(&r, &in); i++) {
        check(fqtest_holds(&r.fq, &waiting) && r.pool.used == r.fq.cost && r.pool.used <= r.pool.max);
        check(r.in == r.out + r.counts.drop_full + r.counts.drop_late + waiting);
    }
    if (size & 1)
        while (send_one(&r, 0))
            ;
    fq_fini(&r.fq);
    check(!r.pool.used && fq_empty(&r.fq));
    if (size & 2)
        pktbuf_pool_fini(&r.pool);
    return 0;
}
