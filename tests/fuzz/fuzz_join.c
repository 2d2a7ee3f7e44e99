/*
 * Joining packets: what is joined comes apart again as it was fed in. The input is a list of packets, each one whole or
 * "as the one before, which it follows", changed or not: else the fuzzer would have to find checksums.
 */
#include "../unit/jointest.h"
#include "base/rd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OP_WHOLE, OP_NEXT, OP_RESIZED, OP_CHANGED, OP_KIND = 3, OP_SUMS = 4, OP_FLUSH = 8, OP_MANY = 16 };

static uint8_t p[2048];
static uint32_t len;

/* The packet that would follow the one in p. */
static void next(void)
{
    uint32_t l4 = jointest_l4(p);
    if (len < l4 + 20)
        return;
    if (l4 == 20)
        jointest_put16(p + 4, jointest_be16(p + 4) + 1);
    if (p[l4 == 20 ? 9 : 6] != 6)
        return;
    uint32_t hdr = l4 + (uint32_t)(p[l4 + 12] >> 4) * 4, seq = jointest_be16(p + l4 + 4) << 16;
    seq += jointest_be16(p + l4 + 6) + (len > hdr ? len - hdr : 0);
    jointest_put16(p + l4 + 4, seq >> 16);
    jointest_put16(p + l4 + 6, seq);
}

static void resize(uint32_t n)
{
    uint32_t l4 = jointest_l4(p);
    if (n == 0 || n > sizeof p)
        return;
    if (n > len)
        memset(p + len, 0x55, n - len);
    len = n;
    if (n < l4 + 8)
        return;
    jointest_put16(p + (l4 == 20 ? 2 : 4), l4 == 20 ? n : n - 40);
    if (p[l4 == 20 ? 9 : 6] == 17)
        jointest_put16(p + l4 + 4, n - l4);
}

/* False: the input is at its end. */
static bool step(struct jointest *t, struct rd *in)
{
    uint8_t op, v;
    uint16_t n;
    const uint8_t *bytes;
    if (!rd_u8(in, &op))
        return false;
    if (op & OP_FLUSH)
        jointest_flush(t);
    switch (op & OP_KIND) {
    case OP_WHOLE:
        if (!rd_u16(in, &n) || n == 0 || n > sizeof p || !rd_bytes(in, n, &bytes))
            return false;
        memcpy(p, bytes, n);
        len = n;
        break;
    case OP_NEXT: next(); break;
    case OP_RESIZED:
        if (!rd_u16(in, &n))
            return false;
        next();
        resize(n);
        break;
    case OP_CHANGED:
        if (!rd_u16(in, &n) || !rd_u8(in, &v) || len == 0)
            return false;
        next();
        p[n % len] = v;
        break;
    }
    if (len == 0)
        return false;
    for (unsigned i = 0; i < (op & OP_MANY ? 50 : 1); i++) {
        if (i)
            next();
        if (op & OP_SUMS)
            jointest_sums(p, len);
        if (t->n == JOINTEST_MAX)
            jointest_flush(t);
        jointest_add(t, p, len);
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd in = rd_make(data, size);
    struct jointest *t = jointest_new(true, true);
    len = 0;
    for (unsigned i = 0; i < 60 && step(t, &in); i++)
        ;
    jointest_free(t);
    return 0;
}
