#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/proxy.h"

static uint32_t seed;

static uint32_t rnd(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(seed >> 8) * below >> 24);
}

static int decode(const void *data, size_t len, struct proxy_header *a, size_t *used)
{
    /* An exact copy, so that a sanitizer sees any read past its end. */
    uint8_t *copy = malloc(len ? len : 1);
    memcpy(copy, data, len);
    int err = proxy_decode(rd_make(copy, len), a, used);
    free(copy);
    return err;
}

/* All prefixes want more, the whole is good whatever follows. */
static struct proxy_header decode_whole(const void *data, size_t len)
{
    uint8_t more[PROXY_V2_MAX + 8];
    struct proxy_header a, untouched;
    size_t used;
    memset(&a, 0xa5, sizeof a);
    memset(&untouched, 0xa5, sizeof untouched);
    for (size_t n = 0; n < len; n++) {
        assert_int_equal(decode(data, n, &a, &used), ERR_AGAIN);
        assert_int_equal(used, 0);
        assert_memory_equal(&a, &untouched, sizeof a);
    }
    memcpy(more, data, len);
    memset(more + len, 'x', 8);
    assert_int_equal(decode(more, len + 8, &a, &used), 0);
    assert_int_equal(used, len);
    assert_int_equal(decode(data, len, &a, &used), 0);
    assert_int_equal(used, len);
    return a;
}

static struct proxy_addr decode_good(const void *data, size_t len)
{
    struct proxy_header h = decode_whole(data, len);
    assert_string_equal(h.authority, "");
    return h.addr;
}

static void decode_bad(const void *data, size_t len)
{
    struct proxy_header a, untouched;
    size_t used;
    memset(&a, 0xa5, sizeof a);
    memset(&untouched, 0xa5, sizeof untouched);
    if (decode(data, len, &a, &used) != ERR_PEER)
        fail_msg("accepted: %.*s", (int)len, (const char *)data);
    assert_int_equal(used, 0);
    assert_memory_equal(&a, &untouched, sizeof a);
}

static void test_proxy_v1(void **state)
{
    (void)state;
    static const uint8_t ones[16] = { 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255 };
    /* proxy-protocol.txt 2.1 */
    const char *text = "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n";
    struct proxy_addr a = decode_good(text, strlen(text));
    assert_int_equal(a.family, 4);
    assert_memory_equal(a.src, ones, 4);
    assert_int_equal(a.dst_port, 65535);
    text = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    a = decode_good(text, strlen(text));
    assert_int_equal(a.family, 6);
    assert_memory_equal(a.src, ones, 16);
    assert_memory_equal(a.dst, ones, 16);
    text = "PROXY UNKNOWN\r\n";
    assert_int_equal(decode_good(text, strlen(text)).family, 0);
    text = "PROXY UNKNOWN ffff:f...f:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert_int_equal(decode_good(text, strlen(text)).family, 0);
    text = "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";
    a = decode_good(text, strlen(text));
    assert_int_equal(a.src[3], 1);
    assert_int_equal(a.dst[3], 11);
    assert_int_equal(a.src_port, 56324);
    assert_int_equal(a.dst_port, 443);
}

/* As a dual-stack front writes an IPv4 client: one address has one form, or all of them would be one source. */
static void test_proxy_mapped(void **state)
{
    static const uint8_t src[16] = { 203, 0, 113, 9 }, dst[16] = { 192, 0, 2, 2 };
    static const char v1[] = "PROXY TCP6 ::ffff:203.0.113.9 ::ffff:192.0.2.2 40000 443\r\n";
    static const char half[] = "PROXY TCP6 ::ffff:203.0.113.9 2001:db8::2 40000 443\r\n";
    uint8_t v2[16 + 36];
    (void)state;
    struct proxy_addr a = decode_good(v1, sizeof v1 - 1), as6 = { .family = 6, .src_port = 40000, .dst_port = 443 };
    as6.src[10] = as6.src[11] = as6.dst[10] = as6.dst[11] = 0xff;
    memcpy(as6.src + 12, src, 4);
    memcpy(as6.dst + 12, dst, 4);
    struct wr w = wr_make(v2, sizeof v2);
    proxy_encode(&w, PROXY_V2, &as6);
    assert_int_equal(wr_len(&w), sizeof v2);
    struct proxy_addr b = decode_good(v2, sizeof v2);
    assert_int_equal(a.family, 4);
    assert_memory_equal(a.src, src, 16);
    assert_memory_equal(a.dst, dst, 16);
    assert_int_equal(a.src_port, 40000);
    assert_int_equal(a.dst_port, 443);
    assert_memory_equal(&a, &b, sizeof a);
    assert_int_equal(decode_good(half, sizeof half - 1).family, 6);
}

static void test_proxy_v1_bad(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "GET / HTTP/1.1\r\n",
        "proxy TCP4",
        "PROXYX",
        "PROXY\r\n",
        "PROXY \r\n",
        "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n",
        "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        "PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP6 ::1 :::1 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2x\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 100000 2\r\n",
        /* what one parser takes for a separator, a number or an end, and another one not */
        "PROXY\tTCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4\t1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4\t1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\t2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\t\r\n",
        "PROXY TCP4 \t1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1  2\r\n",
        " PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP46 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY TCP4 001.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 0x1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4.5 1.2.3.4 1 2\r\n",
        "PROXY TCP4 16909060 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4:1 1.2.3.4 1 2\r\n",
        "PROXY TCP4 localhost 1.2.3.4 1 2\r\n",
        "PROXY TCP6 ::1%lo ::1 1 2\r\n",
        "PROXY TCP6 [::1] ::1 1 2\r\n",
        "PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 2\r\n",
        "PROXY TCP6 ::12345 ::1 1 2\r\n",
        "PROXY TCP6 ::1 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 00 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 002\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 0x1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 4294967297 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 18446744073709551617\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4  2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rPROXY TCP4 9.9.9.9 9.9.9.9 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\nPROXY TCP4 9.9.9.9 9.9.9.9 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\v\r\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        decode_bad(bad[i], strlen(bad[i]));

    const char nul[] = "PROXY TCP4 1.2.3.4\0 1.2.3.4 1 2\r\n";
    decode_bad(nul, sizeof nul - 1);
    /* Ends that are none: more is wanted, up to the longest line. */
    static const char *const endless[] = { "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r",
                                           "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n\r", "PROXY UNKNOWN\r \n" };
    for (size_t i = 0; i < sizeof endless / sizeof endless[0]; i++) {
        struct proxy_header h;
        size_t n = strlen(endless[i]), consumed;
        char text[PROXY_V1_MAX];
        memset(text, ' ', sizeof text);
        memcpy(text, endless[i], n);
        for (; n < PROXY_V1_MAX; n++)
            assert_int_equal(decode(text, n, &h, &consumed), ERR_AGAIN);
        decode_bad(text, PROXY_V1_MAX);
    }

    /* The longest line has 107 bytes. */
    char line[PROXY_V1_MAX + 2];
    struct proxy_header a;
    size_t used;
    memset(line, 'x', sizeof line);
    memcpy(line, "PROXY UNKNOWN ", 14);
    assert_int_equal(decode(line, PROXY_V1_MAX - 1, &a, &used), ERR_AGAIN);
    decode_bad(line, PROXY_V1_MAX);
    memcpy(line + PROXY_V1_MAX - 2, "\r\n", 2);
    assert_int_equal(decode(line, PROXY_V1_MAX, &a, &used), 0);
    memcpy(line + PROXY_V1_MAX - 2, "x\r\n", 3);
    decode_bad(line, PROXY_V1_MAX + 1);
}

#define V2 "\r\n\r\n\0\r\nQUIT\n"

static void test_proxy_v2(void **state)
{
    (void)state;
    const char tcp4[] = V2 "\x21\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\xdc\x04\x01\xbb";
    struct proxy_addr a = decode_good(tcp4, sizeof tcp4 - 1);
    assert_int_equal(a.family, 4);
    assert_memory_equal(a.src, "\x0a\0\0\x01", 4);
    assert_memory_equal(a.dst, "\x0a\0\0\x02", 4);
    assert_int_equal(a.src_port, 0xdc04);
    assert_int_equal(a.dst_port, 443);
    /* TLVs: CRC32C, an empty NOOP. */
    const char tlv[] = V2 "\x21\x11\0\x16\x0a\0\0\x01\x0a\0\0\x02\xdc\x04\x01\xbb\x03\0\x04"
                          "abcd\x04\0\0";
    a = decode_good(tlv, sizeof tlv - 1);
    assert_int_equal(a.family, 4);
    const char tcp6[] = V2 "\x21\x21\0\x24"
                           "0123456789abcdefFEDCBA9876543210"
                           "\0\x01\0\x02";
    a = decode_good(tcp6, sizeof tcp6 - 1);
    assert_int_equal(a.family, 6);
    assert_memory_equal(a.src, "0123456789abcdef", 16);
    assert_memory_equal(a.dst, "FEDCBA9876543210", 16);
    /* No addresses: LOCAL (with whatever family), UNSPEC, datagrams, unix sockets. */
    const char local[] = V2 "\x20\0\0\0",
               local_any[] = V2 "\x20\xff\0\x03"
                                "abc",
               unspec[] = V2 "\x21\0\0\x02"
                             "ab";
    const char udp[] = V2 "\x21\x12\0\x0c"
                          "abcdefghijkl";
    char sun[16 + 216] = V2 "\x21\x31\0\xd8";
    assert_int_equal(decode_good(local, sizeof local - 1).family, 0);
    assert_int_equal(decode_good(local_any, sizeof local_any - 1).family, 0);
    assert_int_equal(decode_good(unspec, sizeof unspec - 1).family, 0);
    assert_int_equal(decode_good(udp, sizeof udp - 1).family, 0);
    assert_int_equal(decode_good(sun, sizeof sun).family, 0);
    /* The largest that is accepted, and one byte more. */
    static char big[PROXY_V2_MAX + 1] = V2 "\x21\x11\x10\0............\x04\x0f\xf1";
    assert_int_equal(decode_good(big, PROXY_V2_MAX).family, 4);
    big[15] = 1;
    decode_bad(big, 16);
}

/* A version 2 header for TCP over IPv4 with these bytes for TLVs. */
static size_t with_tlvs(uint8_t *out, const void *tlvs, size_t len)
{
    struct wr w = wr_make(out, PROXY_V2_MAX);
    wr_bytes(&w, V2 "\x21\x11", 14);
    wr_u16(&w, (uint16_t)(12 + len));
    wr_bytes(&w, "\x0a\0\0\x01\x0a\0\0\x02\xdc\x04\x01\xbb", 12);
    wr_bytes(&w, tlvs, len);
    assert_true(wr_ok(&w));
    return wr_len(&w);
}

static void test_proxy_authority(void **state)
{
    (void)state;
    static const struct {
        const char *name, *want;
    } names[] = {
        { "vpn.example.com", "vpn.example.com" },
        { "VPN.Example.COM", "vpn.example.com" },
        { "vpn.example.com.", "vpn.example.com" },
        { "xn--bcher-kva.example", "xn--bcher-kva.example" },
        { "_a-1.b", "_a-1.b" },
        { "a", "a" },
        { "", "" },
        { ".", "" },
        { "..", "" },
        { "a..b", "" },
        { ".a", "" },
        { "a..", "" },
        { "a b", "" },
        { "a:443", "" },
        { "[::1]", "" },
        { "*.example.com", "" },
        { "b\xc3\xbc"
          "cher.example",
          "" },
        { "a/b", "" },
        { "a\"b", "" },
        { "a\nb", "" },
    };
    uint8_t buf[PROXY_V2_MAX] = { 0 };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char tlvs[64] = "\x01\0\x02h2\x02\0"; /* ALPN, authority, an SSL one behind it */
        size_t n = strlen(names[i].name);
        tlvs[7] = (char)n;
        memcpy(tlvs + 8, names[i].name, n);
        memcpy(tlvs + 8 + n, "\x20\0\x05\x01\0\0\0\0", 8);
        struct proxy_header h = decode_whole(buf, with_tlvs(buf, tlvs, 16 + n));
        assert_string_equal(h.authority, names[i].want);
        assert_int_equal(h.addr.src_port, 0xdc04);
    }
    const char nul[] = "\x02\0\x03"
                       "a\0b",
               twice[] = "\x02\0\x01"
                         "a\x02\0\x01"
                         "b",
               spoilt[] = "\x02\0\x01"
                          "a\x02\0\x01"
                          "!";
    assert_string_equal(decode_whole(buf, with_tlvs(buf, nul, sizeof nul - 1)).authority, "");
    assert_string_equal(decode_whole(buf, with_tlvs(buf, twice, sizeof twice - 1)).authority, "b");
    assert_string_equal(decode_whole(buf, with_tlvs(buf, spoilt, sizeof spoilt - 1)).authority, "");
    /* The longest name has 253 bytes, and a dot may follow. */
    for (int n = 252; n <= 256; n++) {
        uint8_t tlvs[300] = { 2, (uint8_t)(n >> 8), (uint8_t)n };
        memset(tlvs + 3, 'n', (size_t)n);
        struct proxy_header h = decode_whole(buf, with_tlvs(buf, tlvs, 3 + (size_t)n));
        assert_int_equal(strlen(h.authority), n <= PROXY_NAME_MAX ? n : 0);
        tlvs[2 + n] = '.';
        h = decode_whole(buf, with_tlvs(buf, tlvs, 3 + (size_t)n));
        assert_int_equal(strlen(h.authority), n <= PROXY_NAME_MAX + 1 ? n - 1 : 0);
    }
    /* LOCAL and UNSPEC have nothing to say. */
    const char local[] = V2 "\x20\x11\0\x10\x0a\0\0\x01\x0a\0\0\x02\xdc\x04\x01\xbb\x02\0\x01"
                            "a";
    const char unspec[] = V2 "\x21\0\0\x04\x02\0\x01"
                             "a";
    assert_int_equal(decode_good(local, sizeof local - 1).family, 0);
    assert_int_equal(decode_good(unspec, sizeof unspec - 1).family, 0);
}

/* Each length field off by one, and TLVs cut anywhere: the body ends inside of one. */
static void test_proxy_tlvs_that_lie(void **state)
{
    (void)state;
    static const char tlvs[] = "\x02\0\x03"
                               "abc\x04\0\0\x05\0\x02"
                               "xy";
    static const size_t ends[] = { 0, 6, 9, sizeof tlvs - 1 };
    uint8_t buf[PROXY_V2_MAX] = { 0 };
    for (size_t cut = 0, k = 0; cut < sizeof tlvs; cut++) {
        size_t n = with_tlvs(buf, tlvs, cut);
        if (cut == ends[k]) {
            assert_string_equal(decode_whole(buf, n).authority, cut ? "abc" : "");
            k++;
        } else {
            decode_bad(buf, n);
        }
    }
    static const size_t fields[] = { 2, 8, 11 };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        for (int by = -1; by <= 1; by += 2) {
            uint8_t bad[sizeof tlvs - 1];
            memcpy(bad, tlvs, sizeof bad);
            bad[fields[i]] = (uint8_t)(bad[fields[i]] + by);
            if (i == 1 && by < 0)
                bad[fields[i] - 1] = 0xff; /* 0 - 1 */
            decode_bad(buf, with_tlvs(buf, bad, sizeof bad));
        }
    }
    /* The header's own length: one less cuts the last TLV, one more waits for a byte, which then is no TLV. */
    size_t n = with_tlvs(buf, tlvs, sizeof tlvs - 1), used;
    struct proxy_header h;
    buf[15]--;
    decode_bad(buf, n);
    buf[15] = (uint8_t)(buf[15] + 2);
    assert_int_equal(decode(buf, n, &h, &used), ERR_AGAIN);
    decode_bad(buf, n + 1);
    /* Address blocks that are cut short, of every family. */
    static const uint8_t families[] = { 0x11, 0x12, 0x21, 0x22, 0x31, 0x32 }, block[] = { 12, 12, 36, 36, 216, 216 };
    for (size_t i = 0; i < sizeof families; i++) {
        uint8_t header[16 + 216] = V2 "\x21";
        header[13] = families[i];
        for (uint8_t len = 0; len < block[i]; len++) {
            header[15] = len;
            decode_bad(header, 16u + len);
        }
        header[15] = block[i];
        decode_good(header, 16u + block[i]);
    }
}

static void test_proxy_v2_bad(void **state)
{
    (void)state;
    const char short4[] = V2 "\x21\x11\0\x0b\x0a\0\0\x01\x0a\0\0\x02\xdc\x04\x01\xbb";
    const char short6[] = V2 "\x21\x21\0\x23"
                             "0123456789abcdefFEDCBA9876543210"
                             "\0\x01\0\x02";
    const char family[] = V2 "\x21\x41\0\0", protocol[] = V2 "\x21\x13\0\0";
    decode_bad(short4, sizeof short4 - 1);
    decode_bad(short6, sizeof short6 - 1);
    decode_bad(family, sizeof family - 1);
    decode_bad(protocol, sizeof protocol - 1);
    for (int c = 0; c < 256; c++) {
        char command[14] = V2;
        command[12] = (char)c;
        struct proxy_header a;
        size_t used;
        assert_int_equal(decode(command, 13, &a, &used), c == 0x20 || c == 0x21 ? ERR_AGAIN : ERR_PEER);
    }
    for (size_t i = 0; i < 12; i++) {
        char signature[12];
        memcpy(signature, V2, 12);
        signature[i] ^= 1;
        decode_bad(signature, i + 1);
    }
}

static void test_proxy_roundtrip(void **state)
{
    (void)state;
    seed = 3;
    for (int i = 0; i < 3000; i++) {
        struct proxy_addr a = { .family = (uint8_t[]){ 0, 4, 6 }[rnd(3)] }, b;
        for (int k = 0; a.family && k < (a.family == 4 ? 4 : 16); k++) {
            a.src[k] = (uint8_t)(rnd(2) ? rnd(256) : 0);
            a.dst[k] = (uint8_t)(rnd(2) ? rnd(256) : 0);
        }
        if (a.family) {
            a.src_port = (uint16_t)rnd(65536);
            a.dst_port = (uint16_t)rnd(65536);
        }
        enum proxy_version v = rnd(2) ? PROXY_V1 : PROXY_V2;
        uint8_t buf[PROXY_V1_MAX], small[PROXY_V1_MAX];
        struct wr w = wr_make(buf, sizeof buf);
        proxy_encode(&w, v, &a);
        assert_true(wr_ok(&w));
        b = decode_good(buf, wr_len(&w));
        assert_memory_equal(&a, &b, sizeof a);
        struct wr s = wr_make(small, wr_len(&w) - 1);
        proxy_encode(&s, v, &a);
        assert_false(wr_ok(&s));
    }
    struct wr none = wr_make(NULL, 0);
    proxy_encode(&none, PROXY_OFF, &(struct proxy_addr){ 0 });
    assert_true(wr_ok(&none));
}

static void test_proxy_random(void **state)
{
    (void)state;
    static const char v1[] = "PROXY TCP6 2001:db8::1 ::ffff:1.2.3.4 5 443\r\n";
    static const char v2[] = V2 "\x21\x11\0\x0e\x0a\0\0\x01\x0a\0\0\x02\xdc\x04\x01\xbb"
                                "ab";
    seed = 4;
    for (int i = 0; i < 50000; i++) {
        char buf[64];
        bool first = rnd(2);
        size_t len = first ? sizeof v1 - 1 : sizeof v2 - 1, used;
        struct proxy_header a = { 0 };
        memcpy(buf, first ? v1 : v2, len);
        for (uint32_t k = rnd(3); k > 0; k--)
            buf[rnd((uint32_t)len)] = (char)rnd(256);
        int err = decode(buf, len, &a, &used);
        assert_true(err == 0 || err == ERR_AGAIN || err == ERR_PEER);
        assert_true(err == 0 ? used >= 15 && used <= len : used == 0);
        assert_true(a.addr.family == 0 || a.addr.family == 4 || a.addr.family == 6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proxy_v1),
        cmocka_unit_test(test_proxy_mapped),
        cmocka_unit_test(test_proxy_v1_bad),
        cmocka_unit_test(test_proxy_v2),
        cmocka_unit_test(test_proxy_v2_bad),
        cmocka_unit_test(test_proxy_authority),
        cmocka_unit_test(test_proxy_tlvs_that_lie),
        cmocka_unit_test(test_proxy_roundtrip),
        cmocka_unit_test(test_proxy_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
