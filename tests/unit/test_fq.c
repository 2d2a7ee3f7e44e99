/* The queues of a call, and the memory that packets wait in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ip/fq.h"

#include "fqtest.h"

#define MAX (4U << 20)

static struct pktbuf_pool pool;
static struct fq_counts counts;
static struct fq *q;

static int begin(void **state)
{
    (void)state;
    pool = (struct pktbuf_pool){ .max = 64 << 20 };
    counts = (struct fq_counts){ 0 };
    q = malloc(sizeof *q);
    if (!q)
        return -1;
    memset(q, 0xa5, sizeof *q); /* fq_init() needs no cleared memory */
    fq_init(q, &pool, &counts, FQTEST_MTU, MAX);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fq_fini(q);
    int rc = pool.used || q->bytes || q->cost ? -1 : 0;
    pktbuf_pool_fini(&pool);
    free(q);
    q = NULL;
    return rc;
}

static bool put(uint32_t flow, uint32_t seq, uint32_t payload, uint64_t now)
{
    struct pktbuf *b = fqtest_packet(&pool, flow, seq, payload, false);
    assert_non_null(b);
    return fq_put(q, b, now);
}

static struct fqtest_sent get(uint64_t now)
{
    struct fqtest_sent s;
    assert_true(fqtest_send(q, now, 0, &s));
    return s;
}

static const struct fq_flow *flow_of(uint32_t hash)
{
    for (unsigned i = 0; i < FQ_FLOWS; i++)
        if ((q->known >> i & 1) && q->hash[i] == hash)
            return &q->flow[i];
    fail_msg("no queue of this flow");
    return NULL;
}

/* --- the queues ----------------------------------------------------------------------------------------------- */

static void test_empty(void **state)
{
    (void)state;
    bool mark = true;
    assert_true(fq_empty(q));
    assert_null(fq_next(q, 1, 0, &mark));
    assert_false(mark);
    assert_true(put(1, 0, 100, 1));
    assert_false(fq_empty(q));
    assert_int_equal(get(1).len, 140);
    assert_true(fq_empty(q));
    assert_null(fq_next(q, 1, 0, &mark));
}

static void test_order_within_a_flow(void **state)
{
    (void)state;
    uint32_t seq = 0;
    for (uint32_t i = 0; i < 50; i++)
        assert_true(put(7, i * 5000, 5000, 1));
    for (uint32_t i = 0; i < 50 * 4; i++) {
        struct fqtest_sent s = get(2);
        assert_int_equal(s.seq, seq);
        seq += s.payload;
    }
    assert_int_equal(seq, 50 * 5000);
    assert_true(fq_empty(q));
}

static void test_the_same_until_sent(void **state)
{
    (void)state;
    bool mark;
    put(1, 0, 5000, 1);
    struct pktbuf *b = fq_next(q, 1, 0, &mark);
    put(2, 0, 100, 1);
    for (uint64_t now = 1; now < 1000000; now += 1000)
        assert_ptr_equal(fq_next(q, now, 1000000, &mark), b);
    assert_int_equal(counts.drop_late, 0);
    assert_int_equal(get(1000000).flow, 1);
    assert_int_equal(get(1000000).flow, 2); /* and now the new one, in the middle of the large packet */
    assert_int_equal(get(1000000).flow, 1);
}

/* n flows with more than goes out: none ever is more than its turn ahead. */
static void check_fairness(uint32_t n)
{
    uint64_t sent[FQ_FLOWS] = { 0 };
    uint32_t seq[FQ_FLOWS] = { 0 };
    for (unsigned i = 0; i < 20000; i++) {
        for (uint32_t f = 0; f < n; f++)
            while (!seq[f] || seq[f] < sent[f] + 5000) {
                uint32_t payload = f % 3 == 0 ? 60000 : f % 3 == 1 ? 1360 : 1 + (uint32_t)rand() % 1360;
                assert_true(put(f, seq[f], payload, i));
                seq[f] += payload;
            }
        struct fqtest_sent s = get(i);
        sent[s.flow] += s.len;
        uint64_t least = UINT64_MAX, most = 0;
        for (uint32_t f = 0; f < n; f++) {
            least = sent[f] < least ? sent[f] : least;
            most = sent[f] > most ? sent[f] : most;
        }
        assert_true(most - least <= 2 * FQTEST_MTU); /* its turn, and what a packet may go over it */
    }
}

static void test_fairness(void **state)
{
    const uint32_t n[] = { 1, 2, 3, 8, 31, 32 };
    for (unsigned i = 0; i < sizeof n / sizeof *n; i++) {
        check_fairness(n[i]);
        assert_int_equal(counts.drop_full + counts.drop_late, 0);
        assert_int_equal(end(state), 0);
        begin(state);
    }
}

static void test_sparse_flow_goes_first(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 18; i++)
        assert_true(put(1, i * 60000, 60000, 1)); /* a megabyte */
    get(1);
    for (uint32_t i = 0; i < 20; i++) {
        assert_true(put(2, i, 56, 1));
        assert_int_equal(get(1).flow, 2);
        assert_int_equal(get(1).flow, 1);
    }
}

/* A flow that always has one packet more as soon as the last went is not new each time (RFC 8290 4.2). */
static void test_new_is_new_once(void **state)
{
    (void)state;
    unsigned mine[3] = { 0 };
    for (uint32_t i = 0; i < 18; i++)
        put(1, i * 60000, 60000, 1);
    put(2, 0, FQTEST_MSS, 1);
    for (uint32_t i = 1; i < 500; i++) {
        struct fqtest_sent s = get(1);
        mine[s.flow]++;
        if (s.flow == 2)
            put(2, i, FQTEST_MSS, 1);
    }
    assert_in_range(mine[2], 245, 250); /* the other's large packets end in short ones, of which one goes on top */
}

/* Nor is one that was empty for a moment: it comes back behind the others. */
static void test_back_behind_the_others(void **state)
{
    (void)state;
    unsigned mine[5] = { 0 }, asked = 0;
    for (uint32_t i = 0; i < 30; i++)
        put(i % 3 + 2, i / 3 * 60000, 60000, 1);
    for (uint32_t i = 0; i < 400; i++) {
        struct fqtest_sent s = get(1);
        mine[s.flow]++;
        if (s.flow != 1 && mine[1] == asked) { /* another had its turn, and nothing of ours waits */
            put(1, i, 10, 1);
            asked++;
        }
    }
    assert_in_range(mine[1], 100, 170); /* at most every second time it is first; 200: always */
}

static void test_known_flows_are_kept(void **state)
{
    (void)state;
    put(1, 0, 60000, 1); /* waits for too long, and goes to idle */
    get(10000);
    assert_true(flow_of(1)->codel.first_above_us);
    for (unsigned i = 1; i < fqtest_packets(60000); i++)
        get(10000);
    bool mark;
    assert_null(fq_next(q, 10000, 0, &mark));
    for (uint32_t i = 2; i < 9; i++) /* seven more have their part of the table */
        put(i, 0, 10, 1);
    assert_int_equal(flow_of(1)->state, 0);
}

/* A queue that was emptied by force is empty for CoDel too (RFC 8289 5.5). */
static void test_emptied_by_force(void **state)
{
    (void)state;
    bool mark;
    fq_init(q, &pool, &counts, FQTEST_MTU, 1);
    put(1, 0, 65000, 1);
    get(10000);
    assert_true(flow_of(1)->codel.first_above_us);
    assert_true(put(2, 0, 10, 10000));
    assert_int_equal(get(10000).flow, 2);
    assert_null(fq_next(q, 10000, 0, &mark));
    assert_true(!flow_of(1)->codel.first_above_us);
}

static void test_drops_from_the_longest(void **state)
{
    (void)state;
    put(2, 0, 50, 1);
    put(3, 0, 1000, 1);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_true(put(1, i * 13600, 13600, 1));
        assert_true(q->cost <= MAX);
    }
    assert_int_equal(counts.drop_full % 10, 0); /* whole buffers, of ten packets */
    assert_int_equal(counts.drop_full / 10, 1000 - flow_of(1)->cost / PKTBUF_COST(32768));
    struct fqtest_sent s = get(1);
    assert_int_equal(s.flow, 2);
    assert_int_equal(get(1).flow, 3);
    s = get(1);
    assert_int_equal(s.seq, counts.drop_full / 10 * 13600); /* the oldest went */
}

/* What is short in bytes may be long in memory. */
static void test_small_packets_are_not_a_short_queue(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 10; i++)
        assert_true(put(1, i * 60000, 60000, 1));
    for (uint32_t i = 0; i < 30000; i++)
        put(2, i, 1, 1);
    assert_true(flow_of(2)->bytes < 500000 && counts.drop_full > 10000);
    assert_int_equal(flow_of(1)->bytes, 10 * 60040);
}

static void test_dropped_in_the_middle(void **state)
{
    (void)state;
    put(1, 0, 13600, 1);
    get(1);
    get(1);
    bool mark;
    assert_non_null(fq_next(q, 1, 0, &mark)); /* and the one that was to be next goes */
    uint32_t i = 1;
    while (!counts.drop_full)
        assert_true(put(1, 13600 * i++, 13600, 1));
    assert_int_equal(counts.drop_full, 8);
    struct fqtest_sent s = get(1);
    assert_int_equal(s.seq, 13600);
}

static void test_new_one_itself(void **state)
{
    (void)state;
    fq_init(q, &pool, &counts, FQTEST_MTU, 1); /* one packet of any size always may wait */
    assert_int_equal(q->max, PKTBUF_COST_MAX);
    bool mark;
    const uint32_t n = fqtest_packets(65000);
    assert_true(put(1, 0, 65000, 1));
    assert_non_null(fq_next(q, 1, 0, &mark));
    assert_true(put(2, 0, 65000, 1)); /* as long as the other, which goes, although it was to be next */
    assert_int_equal(counts.drop_full, n);
    assert_true(put(3, 0, 100, 1)); /* shorter */
    assert_int_equal(counts.drop_full, 2 * n);
    assert_false(put(4, 0, 65000, 1)); /* longer than all */
    assert_int_equal(counts.drop_full, 3 * n);
    assert_int_equal(get(1).flow, 3);
    assert_true(fq_empty(q));
}

static void test_share_of_the_pool(void **state)
{
    (void)state;
    struct fq_counts others = { 0 };
    struct fq *other = malloc(sizeof *other);
    assert_non_null(other);
    pool.max = 3 << 20;
    fq_init(other, &pool, &others, FQTEST_MTU, MAX);
    for (uint32_t i = 0; i < 5000; i++)
        put(i % 4, i * 1000, 1000, 1);
    assert_in_range(q->cost, (1 << 20) - 2200, 1 << 20); /* as much as half of what is left beside it */
    for (uint32_t i = 0; i < 5000; i++)
        (void)fq_put(other, fqtest_packet(&pool, i % 4, i * 1000, 1000, false), 1);
    assert_in_range(other->cost, (2 << 20) / 3 - 2200, (2 << 20) / 3); /* nor does the next one take it all */
    assert_true(put(1, 0, 1, 1));
    uint32_t now_mine = (uint32_t)(pool.max - other->cost) / 3; /* with whom the first one now shares */
    assert_in_range(q->cost, now_mine - 2200, now_mine);
    assert_int_equal(q->cost + other->cost, pool.used);
    fq_fini(other);
    free(other);
}

/* However little the pool has left, a call gets its one packet, as long as there is memory at all. */
static void test_one_packet_always(void **state)
{
    (void)state;
    pool.max = 2 * PKTBUF_COST_MAX + 1000;
    struct pktbuf *rest = pktbuf_new(&pool, 60000);
    assert_non_null(rest);
    assert_true(put(1, 0, 60000, 1));
    assert_int_equal(counts.drop_full, 0);
    assert_null(fqtest_packet(&pool, 1, 0, 60000, false));
    assert_true(put(2, 0, 10, 1)); /* the second makes the first go */
    assert_int_equal(counts.drop_full, fqtest_packets(60000));
    pktbuf_free(&pool, rest);
}

/* Calls that nobody empties hold all of the pool, and still there is memory for the next packet. */
static void test_pool_is_relieved(void **state)
{
    enum { CALLS = 60, EACH = 40 }; /* one large packet for each is more than the pool has */
    struct fq_counts others = { 0 };
    struct fqtest_sent s;
    struct fq *other = calloc(CALLS, sizeof *other);
    uint64_t in = 0;
    (void)state;
    assert_non_null(other);
    pool.max = 3 << 20;
    fq_relieve(&pool, OFFLOAD_PACKET_MAX); /* nobody there to take from */
    for (unsigned i = 0; i < CALLS; i++)
        fq_init(&other[i], &pool, &others, FQTEST_MTU, MAX);
    assert_true(put(1, 0, 10, 1));
    for (uint32_t i = 0; i < EACH * CALLS; i++) { /* one call after the other, and none comes back */
        fq_relieve(&pool, 60000);
        struct pktbuf *b = fqtest_packet(&pool, i, 0, 60000, false);
        assert_non_null(b);
        (void)fq_put(&other[i / EACH], b, 1);
        in += fqtest_packets(60000);
    }
    assert_in_range(pool.used, pool.max / 2, pool.max);
    assert_false(fq_empty(&other[CALLS - 1])); /* nor is the last one without any */
    assert_int_equal(counts.drop_full, 0);     /* who has little keeps it */
    assert_int_equal(get(2).len, 50);
    for (unsigned i = 0; i < CALLS; i++)
        while (fqtest_send(&other[i], 2, 0, &s))
            in--;
    assert_int_equal(in, others.drop_full);
    assert_int_equal(pool.used, 0);
    fq_relieve(&pool, OFFLOAD_PACKET_MAX + 1); /* will never fit */
    free(other);
}

/* Waits too long for too long: ECN-capable packets are marked, each only as CoDel says; others go. */
static void check_late(bool ect)
{
    uint64_t ce = 0, sent = 0, bytes = 0;
    for (uint32_t i = 0; i < 60; i++)
        assert_true(fq_put(q, fqtest_packet(&pool, 1, i * 60000, 60000, ect), 1));
    struct fqtest_sent s;
    for (uint64_t now = 10000; fqtest_send(q, now, 0, &s); now += 1000) {
        sent++;
        ce += s.ce;
        assert_true(now >= 110000 || !s.ce);
        assert_int_equal(s.seq % 60000 % FQTEST_MSS, 0);
        assert_true(s.seq >= bytes);
        bytes = s.seq + s.payload;
    }
    assert_int_equal(sent + counts.drop_late, 60 * fqtest_packets(60000));
    assert_int_equal(ce, counts.marked);
    if (ect)
        assert_true(counts.marked > 100 && !counts.drop_late);
    else
        assert_true(counts.drop_late > 100 && !counts.marked);
    assert_int_equal(counts.drop_full, 0);
}

static void test_late_is_marked(void **state)
{
    (void)state;
    check_late(true);
}

static void test_late_is_dropped(void **state)
{
    (void)state;
    check_late(false);
}

static void test_what_waits_outside_counts(void **state)
{
    (void)state;
    struct fqtest_sent s;
    uint32_t seq = 0;
    for (uint64_t now = 1000; now < 1000000; now += 1000) { /* waits three milliseconds here, and ten behind us */
        while (q->bytes < 3000) {
            assert_true(fq_put(q, fqtest_packet(&pool, 1, seq, 1000, true), now));
            seq += 1000;
        }
        assert_true(fqtest_send(q, now, now < 500000 ? 0 : 10000, &s));
        assert_true(now >= 600000 || !counts.marked);
    }
    assert_true(counts.marked >= 5);
}

/* Thousands of anything: the sums hold, nothing overtakes within a flow, and every packet is accounted for. */
static void run_random(unsigned seed, uint32_t flows, uint32_t max)
{
    static uint32_t in[400], out[400];
    uint64_t now = 1, packets_in = 0, packets_out = 0;
    uint32_t waiting;
    unsigned drain = 0;
    memset(in, 0, sizeof in);
    memset(out, 0, sizeof out);
    srand(seed);
    fq_init(q, &pool, &counts, FQTEST_MTU, max);
    for (unsigned i = 0; i < 6000; i++) {
        uint32_t f = (uint32_t)rand() % flows;
        struct fqtest_sent s;
        now += (uint64_t)(rand() % 400);
        if (i % 1000 == 0)
            drain = (unsigned)rand() % 100;
        if ((unsigned)rand() % 100 >= drain) {
            uint32_t payload = 1 + (uint32_t)rand() % (rand() % 4 ? 1500 : 65000);
            struct pktbuf *b = fqtest_packet(&pool, f * 0x9e3779b1, in[f], payload, rand() % 2);
            if (b) {
                in[f] += payload;
                packets_in += fqtest_packets(payload);
                (void)fq_put(q, b, now);
            }
        } else if (fqtest_send(q, now, (uint32_t)rand() % 2000, &s)) {
            packets_out++;
            f = s.flow * 0x0e8b2f51; /* the inverse of what flows were multiplied by */
            assert_true(f < flows && s.seq >= out[f]);
            out[f] = s.seq + s.payload;
        }
        assert_true(fqtest_holds(q, &waiting));
        assert_int_equal(pool.used, q->cost);
        assert_int_equal(packets_in, packets_out + counts.drop_full + counts.drop_late + waiting);
    }
    struct fqtest_sent s;
    while (fqtest_send(q, now, 0, &s))
        packets_out++;
    assert_int_equal(packets_in, packets_out + counts.drop_full + counts.drop_late);
    assert_true(fq_empty(q) && !q->cost && !pool.used && !q->listed);
}

static void test_random(void **state)
{
    const uint32_t flows[] = { 1, 3, 20, 32, 60, 400 };
    const uint32_t max[] = { 1, 300000, 1 << 20, 32 << 20 };
    for (unsigned seed = 0; seed < 48; seed++) {
        pool.max = seed % 5 ? 64 << 20 : 1 << 20;
        run_random(seed, flows[seed % 6], max[seed % 4]);
        assert_int_equal(end(state), 0);
        begin(state);
    }
}

static void test_fini_frees_what_waits(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 100; i++)
        put(i, 0, i * 300 + 1, 1);
    get(1);
    fq_fini(q);
    assert_int_equal(pool.used, 0);
    assert_int_equal(counts.drop_full + counts.drop_late, 0);
    assert_true(fq_empty(q) && put(1, 0, 1, 1) && get(1).flow == 1);
}

/* --- memory --------------------------------------------------------------------------------------------------- */

static void test_pool_bound(void **state)
{
    (void)state;
    struct pktbuf *b[3];
    assert_null(pktbuf_new(&pool, OFFLOAD_PACKET_MAX + 1));
    pool.max = 2 * PKTBUF_COST_MAX;
    assert_non_null(b[0] = pktbuf_new(&pool, OFFLOAD_PACKET_MAX));
    assert_non_null(b[1] = pktbuf_new(&pool, OFFLOAD_PACKET_MAX));
    memset(b[1]->data, 1, OFFLOAD_PACKET_MAX);
    assert_null(pktbuf_new(&pool, 1));
    pktbuf_free(&pool, b[1]);
    assert_non_null(b[1] = pktbuf_new(&pool, 1));
    assert_int_equal(pool.used, PKTBUF_COST_MAX + PKTBUF_COST(256));
    assert_null(pktbuf_new(&pool, 65000));
    assert_non_null(b[2] = pktbuf_new(&pool, 30000)); /* what is kept does not count as used */
    for (int i = 0; i < 3; i++)
        pktbuf_free(&pool, b[i]);
    pktbuf_free(&pool, NULL);
    assert_int_equal(pool.used, 0);
}

static void test_pool_uses_again(void **state)
{
    (void)state;
    const size_t len[PKTBUF_CLASSES] = { 256, 2048, 8192, 32768, OFFLOAD_PACKET_MAX };
    for (unsigned k = 0; k < PKTBUF_CLASSES; k++) {
        struct pktbuf *b = pktbuf_new(&pool, len[k]);
        assert_non_null(b);
        assert_int_equal(pktbuf_cost(b), PKTBUF_COST(len[k]));
        b->flow = b->len = 1000;
        b->cut.done = true;
        pktbuf_free(&pool, b);
        assert_ptr_equal(pktbuf_new(&pool, k ? len[k - 1] + 1 : 0), b);
        assert_true(!b->flow && !b->len && !b->cut.done && !b->at_us && b->size_class == k);
        pktbuf_free(&pool, b);
    }
}

static void test_pool_fit(void **state)
{
    (void)state;
    const uint32_t len[] = { 40, 256, 257, 2048, 2049, 8192, 8193, 32768, 32769, OFFLOAD_PACKET_MAX };
    const size_t want[] = { 256, 256, 2048, 2048, 8192, 8192, 32768, 32768, OFFLOAD_PACKET_MAX, OFFLOAD_PACKET_MAX };
    pool.max = PKTBUF_COST_MAX; /* the smaller one is had although the pool is full */
    for (unsigned i = 0; i < sizeof len / sizeof *len; i++) {
        struct pktbuf *b = pktbuf_new(&pool, OFFLOAD_PACKET_MAX);
        assert_non_null(b);
        b->len = len[i];
        b->flow = 77;
        b->owner = 3;
        b->offload.gso_size = 5;
        b->cut.l4 = 20;
        for (uint32_t k = 0; k < len[i]; k++)
            b->data[k] = (uint8_t)(k * 7 + i);
        b = pktbuf_fit(&pool, b);
        assert_int_equal(pktbuf_cost(b), PKTBUF_COST(want[i]));
        assert_int_equal(pool.used, pktbuf_cost(b));
        assert_true(b->len == len[i] && b->flow == 77 && b->owner == 3 && b->offload.gso_size == 5 && b->cut.l4 == 20);
        for (uint32_t k = 0; k < len[i]; k++)
            assert_int_equal(b->data[k], (uint8_t)(k * 7 + i));
        assert_ptr_equal(pktbuf_fit(&pool, b), b);
        pktbuf_free(&pool, b);
    }
}

static void test_pool_hand_over(void **state)
{
    (void)state;
    struct pktbuf_pool to = { .max = 1000 };
    struct pktbuf *b = pktbuf_new(&pool, 5000);
    pktbuf_given(&pool, b);
    assert_int_equal(pool.used, 0);
    pktbuf_taken(&to, b);
    assert_int_equal(to.used, pktbuf_cost(b)); /* more than max: what comes is there already */
    assert_null(pktbuf_new(&to, 1));
    pktbuf_free(&to, b);
    assert_int_equal(to.used, 0);
    assert_int_equal(to.kept, PKTBUF_COST(8192));
    pktbuf_pool_fini(&to);
    assert_int_equal(to.kept, 0);
}

static void test_pool_random(void **state)
{
    (void)state;
    enum { N = 4000 };
    static struct pktbuf *b[N];
    size_t used = 0, top = 0;
    pool.max = 8 << 20;
    srand(1);
    for (unsigned i = 0; i < 200000; i++) {
        unsigned k = (unsigned)rand() % (i / 20000 % 2 ? N : 300);
        size_t len = (size_t)(rand() % (rand() % 3 ? 2500 : OFFLOAD_PACKET_MAX + 1));
        if (b[k]) {
            used -= pktbuf_cost(b[k]);
            pktbuf_free(&pool, b[k]);
            b[k] = NULL;
        } else if ((b[k] = pktbuf_new(&pool, len))) {
            b[k]->len = (uint32_t)len;
            used += pktbuf_cost(b[k]);
            b[k]->data[len ? len - 1 : 0] = 1;
        } else {
            assert_true(pool.max - used < PKTBUF_COST_MAX);
        }
        top = pool.kept > top ? pool.kept : top;
        assert_int_equal(pool.used, used);
        assert_true(used <= pool.max && pool.kept <= PKTBUF_KEPT_MAX);
    }
    for (unsigned k = 0; k < N; k++) {
        pktbuf_free(&pool, b[k]);
        b[k] = NULL;
    }
    assert_int_equal(pool.used, 0);
    assert_true(pool.kept <= PKTBUF_KEPT_MAX && top > PKTBUF_KEPT_MAX / 2);
}

#define WITH_QUEUE(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_QUEUE(test_empty),
        WITH_QUEUE(test_order_within_a_flow),
        WITH_QUEUE(test_the_same_until_sent),
        WITH_QUEUE(test_fairness),
        WITH_QUEUE(test_sparse_flow_goes_first),
        WITH_QUEUE(test_new_is_new_once),
        WITH_QUEUE(test_back_behind_the_others),
        WITH_QUEUE(test_known_flows_are_kept),
        WITH_QUEUE(test_emptied_by_force),
        WITH_QUEUE(test_drops_from_the_longest),
        WITH_QUEUE(test_small_packets_are_not_a_short_queue),
        WITH_QUEUE(test_dropped_in_the_middle),
        WITH_QUEUE(test_new_one_itself),
        WITH_QUEUE(test_share_of_the_pool),
        WITH_QUEUE(test_pool_is_relieved),
        WITH_QUEUE(test_one_packet_always),
        WITH_QUEUE(test_late_is_marked),
        WITH_QUEUE(test_late_is_dropped),
        WITH_QUEUE(test_what_waits_outside_counts),
        WITH_QUEUE(test_random),
        WITH_QUEUE(test_fini_frees_what_waits),
        WITH_QUEUE(test_pool_bound),
        WITH_QUEUE(test_pool_uses_again),
        WITH_QUEUE(test_pool_fit),
        WITH_QUEUE(test_pool_hand_over),
        WITH_QUEUE(test_pool_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
