#include "http/proxy.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static const uint8_t v2_signature[12] = { 0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a };

#define V2_LOCAL         0x20 /* version 2, command LOCAL */
#define V2_PROXY         0x21 /* version 2, command PROXY */
#define V2_UNSPEC        0x00
#define V2_TCP4          0x11
#define V2_TCP6          0x21
#define V2_LAST_PROTOCOL 2    /* DGRAM */
#define V2_TLV_AUTHORITY 0x02 /* PP2_TYPE_AUTHORITY */

static size_t addr_len(uint8_t family)
{
    return family == 4 ? 4 : 16;
}

static void encode_v1(struct wr *w, const struct proxy_addr *a)
{
    char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN], line[128];
    int af = a->family == 4 ? AF_INET : AF_INET6;
    if ((a->family != 4 && a->family != 6) || !inet_ntop(af, a->src, src, sizeof src) ||
        !inet_ntop(af, a->dst, dst, sizeof dst)) {
        wr_str(w, "PROXY UNKNOWN\r\n");
        return;
    }
    snprintf(line, sizeof line, "PROXY TCP%u %s %s %u %u\r\n", a->family, src, dst, a->src_port, a->dst_port);
    wr_str(w, line);
}

static void encode_v2(struct wr *w, const struct proxy_addr *a)
{
    bool known = a->family == 4 || a->family == 6;
    wr_bytes(w, v2_signature, sizeof v2_signature);
    wr_u8(w, known ? V2_PROXY : V2_LOCAL);
    wr_u8(w, a->family == 4 ? V2_TCP4 : a->family == 6 ? V2_TCP6 : V2_UNSPEC);
    wr_u16(w, known ? (uint16_t)(2 * addr_len(a->family) + 4) : 0);
    if (known) {
        wr_bytes(w, a->src, addr_len(a->family));
        wr_bytes(w, a->dst, addr_len(a->family));
        wr_u16(w, a->src_port);
        wr_u16(w, a->dst_port);
    }
}

void proxy_encode(struct wr *w, enum proxy_version v, const struct proxy_addr *a)
{
    switch (v) {
    case PROXY_OFF: return;
    case PROXY_V1: encode_v1(w, a); return;
    case PROXY_V2: encode_v2(w, a); return;
    }
}

/* The next word, up to one space or the end, as text; false when it is empty or does not fit. */
static bool word(struct rd *r, char *out, size_t cap)
{
    size_t n = 0;
    uint8_t c;
    while (rd_u8(r, &c) && c != ' ') {
        if (n + 1 == cap || !c)
            return false;
        out[n++] = (char)c;
    }
    out[n] = 0;
    return n > 0;
}

/* 0 to 65535 in decimal without leading zeros. */
static bool port_word(struct rd *r, uint16_t *out)
{
    char text[6];
    unsigned v = 0;
    if (!word(r, text, sizeof text) || (text[0] == '0' && text[1]))
        return false;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9')
            return false;
        v = v * 10 + (unsigned)(*p - '0');
    }
    *out = (uint16_t)v;
    return v <= UINT16_MAX;
}

/* The words after "PROXY ", without the line's end. */
static int decode_v1_line(struct rd line, struct proxy_header *out)
{
    char kind[8], src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];
    struct proxy_header h = { 0 };
    struct proxy_addr *a = &h.addr;
    if (!word(&line, kind, sizeof kind))
        return ERR_PEER;
    if (strcmp(kind, "UNKNOWN") == 0) { /* whatever follows is ignored */
        *out = h;
        return 0;
    }
    a->family = strcmp(kind, "TCP4") == 0 ? 4 : strcmp(kind, "TCP6") == 0 ? 6 : 0;
    int af = a->family == 4 ? AF_INET : AF_INET6;
    if (!a->family || !word(&line, src, sizeof src) || !word(&line, dst, sizeof dst) ||
        inet_pton(af, src, a->src) != 1 || inet_pton(af, dst, a->dst) != 1 || !port_word(&line, &a->src_port) ||
        !port_word(&line, &a->dst_port) || !rd_end(&line))
        return ERR_PEER;
    *out = h;
    return 0;
}

static int decode_v1(struct rd all, struct proxy_header *out, size_t *used)
{
    static const uint8_t start[6] = "PROXY ";
    struct rd in = all, line;
    uint8_t c, last = 0;
    for (size_t n = 1; n <= PROXY_V1_MAX; n++) {
        if (!rd_u8(&in, &c))
            return ERR_AGAIN;
        if (n <= sizeof start && c != start[n - 1])
            return ERR_PEER;
        if (last == '\r' && c == '\n') {
            if (!rd_skip(&all, sizeof start) || !rd_sub(&all, n - sizeof start - 2, &line))
                return ERR_BUG;
            int err = decode_v1_line(line, out);
            *used = err ? 0 : n;
            return err;
        }
        last = c;
    }
    return ERR_PEER;
}

/* A host name in the form in which names are compared: lower case, no final dot. "" when it is none. */
static void host_name(struct rd value, char out[PROXY_NAME_MAX + 1])
{
    char text[PROXY_NAME_MAX + 1]; /* with its final dot */
    size_t n = 0;
    out[0] = 0;
    for (uint8_t c, last = '.'; rd_u8(&value, &c); last = c) {
        bool upper = c >= 'A' && c <= 'Z';
        bool plain = upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        if (n == sizeof text || !(plain || (c == '.' && last != '.')))
            return;
        text[n++] = (char)(upper ? c + 'a' - 'A' : c);
    }
    if (n && text[n - 1] == '.')
        n--;
    if (n > PROXY_NAME_MAX)
        return;
    memcpy(out, text, n);
    out[n] = 0;
}

/* What follows the addresses. Of several authorities the last one counts. */
static int decode_tlvs(struct rd tlvs, struct proxy_header *h)
{
    uint8_t type;
    uint16_t len;
    struct rd value;
    while (!rd_end(&tlvs)) {
        if (!rd_u8(&tlvs, &type) || !rd_u16(&tlvs, &len) || !rd_sub(&tlvs, len, &value))
            return ERR_PEER;
        if (type == V2_TLV_AUTHORITY)
            host_name(value, h->authority);
    }
    return 0;
}

/* Addresses and TLVs. LOCAL and an unspecified family say nothing about the layout of what follows: it is ignored. */
static int decode_v2_body(struct rd body, uint8_t command, uint8_t fam, struct proxy_header *out)
{
    static const uint8_t block_len[] = { 0, 2 * 4 + 4, 2 * 16 + 4, 2 * 108 }; /* by address family */
    struct proxy_header h = { 0 };
    struct proxy_addr *a = &h.addr;
    struct rd block;
    if (command == V2_PROXY && (fam >> 4 >= (int)sizeof block_len || (fam & 15) > V2_LAST_PROTOCOL))
        return ERR_PEER;
    if (command == V2_PROXY && fam >> 4) {
        if (!rd_sub(&body, block_len[fam >> 4], &block) || decode_tlvs(body, &h))
            return ERR_PEER;
        a->family = fam == V2_TCP4 ? 4 : fam == V2_TCP6 ? 6 : 0;
    }
    if (a->family && (!rd_copy(&block, a->src, addr_len(a->family)) || !rd_copy(&block, a->dst, addr_len(a->family)) ||
                      !rd_u16(&block, &a->src_port) || !rd_u16(&block, &a->dst_port)))
        return ERR_BUG;
    *out = h;
    return 0;
}

/* Dual-stack sockets write IPv4 addresses as IPv6 (RFC 4291 2.5.5.2): they are what they were for the client. */
static void unmap(struct proxy_addr *a)
{
    static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };
    if (a->family != 6 || memcmp(a->src, prefix, sizeof prefix) != 0 || memcmp(a->dst, prefix, sizeof prefix) != 0)
        return;
    a->family = 4;
    memmove(a->src, a->src + 12, 4);
    memset(a->src + 4, 0, 12);
    memmove(a->dst, a->dst + 12, 4);
    memset(a->dst + 4, 0, 12);
}

static int decode_v2(struct rd all, struct proxy_header *out, size_t *used)
{
    struct rd in = all, body;
    uint8_t c, command, fam;
    uint16_t len;
    for (size_t i = 0; i < sizeof v2_signature; i++) {
        if (!rd_u8(&in, &c))
            return ERR_AGAIN;
        if (c != v2_signature[i])
            return ERR_PEER;
    }
    if (!rd_u8(&in, &command))
        return ERR_AGAIN;
    if (command != V2_LOCAL && command != V2_PROXY)
        return ERR_PEER;
    if (!rd_u8(&in, &fam) || !rd_u16(&in, &len))
        return ERR_AGAIN;
    if (len > PROXY_V2_MAX - 16)
        return ERR_PEER;
    if (!rd_sub(&in, len, &body))
        return ERR_AGAIN;
    int err = decode_v2_body(body, command, fam, out);
    *used = err ? 0 : 16u + len;
    return err;
}

int proxy_decode(struct rd all, struct proxy_header *out, size_t *used)
{
    uint8_t first;
    *used = 0;
    if (!rd_peek_u8(&all, &first))
        return ERR_AGAIN;
    int err = first == 'P' ? decode_v1(all, out, used) : decode_v2(all, out, used);
    if (!err)
        unmap(&out->addr);
    return err;
}
