/* A packet of the TUN and what the kernel says beside it, cut: the pieces are the packet's bytes, whole and in order,
 * none larger than allowed, and their lengths and IPv4 header checksums are right. */
#include <stdlib.h>
#include <string.h>

#include "base/rd.h"
#include "ip/checksum.h"
#include "ip/cut.h"

enum { PACKETS_MAX = 300 }; /* looked at; the others are left out, which must come to the same */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool cond)
{
    if (!cond)
        abort();
}

static void piece(const struct cut *c, const uint8_t *packet, const uint8_t *out, uint32_t n)
{
    if (c->gso == OFFLOAD_NONE)
        return;
    must(memcmp(out + c->hdr_len, packet + c->at, n - c->hdr_len) == 0);
    if (packet[0] >> 4 == 6) {
        must((size_t)(out[4] << 8 | out[5]) + 40 == n);
        return;
    }
    must((size_t)(out[2] << 8 | out[3]) == n);
    must(checksum_fold(checksum_add_plain(0, out, (out[0] & 0x0fu) * 4)) == 0xffff);
}

static void cut(const uint8_t *packet, size_t len, const struct offload *o, uint32_t mtu, uint8_t marks)
{
    struct cut c;
    int rc = cut_init(&c, packet, len, o, mtu);
    must(rc == 0 || rc == ERR_PEER || rc == ERR_LIMIT);
    uint32_t left = c.left, more;
    for (unsigned i = 0; !rc && (more = cut_len(&c)); i++) {
        must(more <= mtu && more > c.hdr_len && more - c.hdr_len <= left);
        left -= more - c.hdr_len;
        if (i >= PACKETS_MAX) {
            cut_skip(&c);
            continue;
        }
        const struct cut before = c;
        uint8_t *out = malloc(more);
        if (!out)
            abort();
        cut_next(&c, packet, out, marks >> i % 8 & 1);
        piece(&before, packet, out, more);
        free(out);
    }
    must(rc || (!left && c.done));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct rd r = rd_make(data, len);
    struct offload o = { 0 };
    uint8_t flags, marks;
    uint16_t mtu;
    if (!rd_u8(&r, &o.gso) || !rd_u8(&r, &flags) || !rd_u16(&r, &o.gso_size) || !rd_u16(&r, &o.hdr_len) ||
        !rd_u16(&r, &o.csum_start) || !rd_u16(&r, &o.csum_offset) || !rd_u16(&r, &mtu) || !rd_u8(&r, &marks))
        return 0;
    o.csum = flags & 1;
    o.ecn = flags & 2;
    size_t n = rd_left(&r);
    uint8_t *packet = malloc(n ? n : 1); /* of the exact size */
    if (!packet)
        abort();
    if (n)
        memcpy(packet, r.p, n);
    cut(packet, n, &o, mtu, marks);
    free(packet);
    return 0;
}
