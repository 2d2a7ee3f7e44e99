/* The PROXY header: what is decoded survives being encoded again, and no prefix of a good header is refused. */
#include <stdlib.h>
#include <string.h>

#include "http/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void reencode(const struct proxy_addr *a, enum proxy_version v)
{
    uint8_t buf[PROXY_V1_MAX];
    struct wr w = wr_make(buf, sizeof buf);
    struct proxy_header again;
    const struct proxy_addr *b = &again.addr;
    size_t used;
    proxy_encode(&w, v, a);
    check(wr_ok(&w));
    check(proxy_decode(rd_make(buf, wr_len(&w)), &again, &used) == 0 && used == wr_len(&w));
    check(a->family == b->family && a->src_port == b->src_port && a->dst_port == b->dst_port);
    check(memcmp(a->src, b->src, sizeof b->src) == 0 && memcmp(a->dst, b->dst, sizeof b->dst) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header a, b;
    size_t used, half_used;
    int err = proxy_decode(rd_make(data, size), &a, &used);
    check(err == 0 || err == ERR_AGAIN || err == ERR_PEER);
    if (err) {
        check(used == 0 && (err == ERR_PEER || size < PROXY_V2_MAX));
        return 0;
    }
    check(used > 0 && used <= size);
    check(memchr(a.authority, 0, sizeof a.authority));
    for (const char *p = a.authority; *p; p++)
        check((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || strchr("-._", *p));
    check(proxy_decode(rd_make(data, used), &b, &half_used) == 0 && half_used == used);
    for (size_t n = 0; n < used; n++)
        check(proxy_decode(rd_make(data, n), &b, &half_used) == ERR_AGAIN);
    reencode(&a.addr, PROXY_V1);
    reencode(&a.addr, PROXY_V2);
    return 0;
}
