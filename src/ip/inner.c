#include "ip/inner.h"

static bool view4(struct rd r, struct ip_view *v, size_t have)
{
    uint8_t first, tos;
    uint16_t total;
    if (!rd_u8(&r, &first) || !rd_u8(&r, &tos) || !rd_u16(&r, &total) || !rd_skip(&r, 8) || !rd_u32(&r, &v->src4) ||
        !rd_u32(&r, &v->dst4))
        return false;
    size_t header = (size_t)(first & 0x0f) * 4;
    if (header < 20 || total < header || total > have)
        return false;
    v->version = 4;
    v->len = total;
    return true;
}

static bool view6(struct rd r, struct ip_view *v, size_t have)
{
    uint16_t payload;
    if (!rd_skip(&r, 4) || !rd_u16(&r, &payload) || !rd_skip(&r, 2) || !rd_copy(&r, v->src6, 16) ||
        !rd_copy(&r, v->dst6, 16))
        return false;
    if ((size_t)payload + 40 > have)
        return false;
    v->version = 6;
    v->len = (uint32_t)payload + 40;
    return true;
}

bool ip_view(struct rd packet, struct ip_view *out)
{
    uint8_t first;
    if (!rd_peek_u8(&packet, &first))
        return false;
    size_t have = rd_left(&packet);
    if (first >> 4 == 4)
        return view4(packet, out, have);
    if (first >> 4 == 6)
        return view6(packet, out, have);
    return false;
}

bool ip6_is_link_local(const uint8_t a[16])
{
    static const uint8_t prefix[8] = { 0xfe, 0x80 };
    return memcmp(a, prefix, 8) == 0;
}
