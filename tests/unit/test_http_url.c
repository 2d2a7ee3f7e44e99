#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/url.h"

static struct http_url u;
static char why[160];

static int parse(const char *text)
{
    memset(&u, 0xee, sizeof u);
    return http_url_parse(text, "https", &u, why, sizeof why);
}

static void test_good(void **state)
{
    (void)state;
    static const struct {
        const char *text, *authority, *path;
        bool https, given;
    } rows[] = {
        { "https://vpn.example.com", "vpn.example.com:443", "", true, false },
        { "https://VPN.Example.COM./", "vpn.example.com:443", "/", true, false },
        { "HTTPS://vpn.example.com:8443/a/b?c=d", "vpn.example.com:8443", "/a/b?c=d", true, true },
        { "http://proxy:3128", "proxy:3128", "", false, true },
        { "http://proxy", "proxy:80", "", false, false },
        { "vpn.example.com", "vpn.example.com:443", "", true, false },
        { "vpn.example.com:1", "vpn.example.com:1", "", true, true },
        { "vpn.example.com:065535", "vpn.example.com:65535", "", true, true },
        { "localhost/x", "localhost:443", "/x", true, false },
        { "h?tenantid=1", "h:443", "/?tenantid=1", true, false },
        { "https://h/a@b:c", "h:443", "/a@b:c", true, false },
        { "https://192.0.2.1:444", "192.0.2.1:444", "", true, true },
        { "https://192.0.2.1.", "192.0.2.1:443", "", true, false },
        { "https://[2001:DB8:0::1]", "[2001:db8::1]:443", "", true, false },
        { "[::1]:444/x", "[::1]:444", "/x", true, true },
        { "https://[::ffff:192.0.2.1]/", "[::ffff:192.0.2.1]:443", "/", true, false },
        { "xn--mnchen-3ya.example", "xn--mnchen-3ya.example:443", "", true, false },
        { "my_host-1.a9", "my_host-1.a9:443", "", true, false },
        { "3com.example", "3com.example:443", "", true, false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char authority[264];
        if (parse(rows[i].text))
            fail_msg("%s: %s", rows[i].text, why);
        http_url_authority(&u, authority, sizeof authority);
        assert_string_equal(authority, rows[i].authority);
        assert_string_equal(u.path, rows[i].path);
        assert_int_equal(u.https, rows[i].https);
        assert_int_equal(u.port_given, rows[i].given);
        assert_string_equal(u.user, "");
        assert_string_equal(u.password, "");
        assert_int_equal(u.ip6, authority[0] == '[');
        assert_int_equal(u.ip4, !strncmp(u.host, "192.", 4));
        assert_string_equal(why, "");
    }
    assert_int_equal(http_url_parse("proxy", "http", &u, why, sizeof why), 0);
    assert_true(!u.https && u.port == 80);
}

static void test_bad(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } rows[] = {
        { "", "no host" },
        { "https://", "no host" },
        { "https:///x", "no host" },
        { "https://:443", "no host" },
        { "https://u:p@", "no host" },
        { "ftp://h", "\"ftp\" is none of https and http" },
        { "socks5://h:1080", "\"socks5\"" },
        { "://h", "scheme" },
        { "https//h", NULL }, /* a host of that name, with a path: as good as any */
        { "https:/h", "port" },
        { "https://h h", "blank" },
        { " https://h", "blank" },
        { "https://h\n", "blank" },
        { "https://h/\x7f", "control" },
        { "https://h/#x", "fragment" },
        { "https://h:0", "1 to 65535" },
        { "https://h:", "1 to 65535" },
        { "https://h:65536", "1 to 65535" },
        { "https://h:99999999999999999999", "1 to 65535" },
        { "https://h:x", "1 to 65535" },
        { "https://h:-1", "1 to 65535" },
        { "https://[::1]:", "1 to 65535" },
        { "https://2001:db8::1", "in brackets" },
        { "https://[::1", "not closed" },
        { "https://[]", "no host" },
        { "https://[::1]x", "colon and the port" },
        { "https://[fe80::1%25eth0]", "zone" },
        { "https://[192.0.2.1]", "no IPv6 address" },
        { "https://[:::::::::::::::::::::::::::::::::::::::::::::::::::::]", "no IPv6 address" },
        { "https://m\xc3\xbcnchen.example", "xn--" },
        { "https://a..b", "no host name" },
        { "https://.a", "no host name" },
        { "https://.", "no host name" },
        { "https://a..", "no host name" },
        { "https://a%41", "no host name" },
        { "https://a\\b", "no host name" },
        { "https://a,b", "no host name" },
        { "https://a64"
          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
          "no host name" },
        { "https://1.2.3", "no IPv4 address" },
        { "https://127.1", "no IPv4 address" },
        { "https://2130706433", "no IPv4 address" },
        { "https://0x7f.1", "no IPv4 address" },
        { "https://0x7f000001", "no IPv4 address" },
        { "https://256.0.0.1", "no IPv4 address" },
        { "https://h/\xc3\xbc", "percent-encoded" },
    };
    static const struct http_url none;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int err = parse(rows[i].text);
        assert_int_equal(err, rows[i].says ? ERR_USAGE : 0);
        if (!rows[i].says)
            continue;
        if (!strstr(why, rows[i].says))
            fail_msg("%s: %s", rows[i].text, why);
        assert_memory_equal(&u, &none, sizeof u);
    }
    assert_int_equal(http_url_parse("ftp://h", "https", &u, why, 0), ERR_USAGE);
    assert_int_equal(http_url_parse("ftp://h", "https", &u, why, 1), ERR_USAGE);
    assert_string_equal(why, "");
}

static void test_lengths(void **state)
{
    (void)state;
    char text[1400] = "https://";
    for (int i = 0; i < 63; i++)
        strncat(text, "a.b.", 5);
    strncat(text, "c", 2); /* 253 */
    assert_int_equal(parse(text), 0);
    assert_int_equal(strlen(u.host), HTTP_URL_HOST_MAX);
    strncat(text, ".", 2); /* its final dot does not count */
    assert_int_equal(parse(text), 0);
    strncat(text, "d", 2);
    assert_int_equal(parse(text), ERR_USAGE);

    for (size_t n = 511; n <= 512; n++)
        for (int query = 0; query < 2; query++) {
            memset(text, 'x', sizeof text);
            memcpy(text, "https://h", 9);
            text[9] = query ? '?' : '/';
            text[9 + n - (size_t)query] = 0; /* "/" is put in front of a query */
            assert_int_equal(parse(text), n == 511 ? 0 : ERR_USAGE);
            assert_int_equal(strlen(u.path), n == 511 ? 511 : 0);
        }
}

static void test_user_and_password(void **state)
{
    (void)state;
    static const struct {
        const char *text, *user, *password;
    } rows[] = {
        { "http://alice:secret@proxy:3128", "alice", "secret" },
        { "http://alice@proxy:3128", "alice", "" },
        { "http://alice:@proxy:3128", "alice", "" },
        { "http://:secret@proxy:3128", "", "secret" },
        { "http://al%69ce:p%40s%3a%2F%23s%25@proxy:3128", "alice", "p@s:/#s%" },
        { "http://alice:p@ss:w@proxy:3128", "alice", "p@ss:w" },
        { "http://DOM%5Calice:%c3%a4\xc3\xa4\"@proxy:3128", "DOM\\alice", "\xc3\xa4\xc3\xa4\"" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(parse(rows[i].text), 0);
        assert_string_equal(u.user, rows[i].user);
        assert_string_equal(u.password, rows[i].password);
        assert_string_equal(u.host, "proxy");
        assert_int_equal(u.port, 3128);
    }
    static const char *const bad[] = {
        "http://alice:topsecret%@h",   "http://alice:topsecret%4@h",  "http://alice:topsecret%gg@h",
        "http://alice:topsecret%00@h", "http://alice:topsecret%0d@h", "http://alice:topsecret@h:x",
        "http://alice:topsecret@",     "http://alice:topsecret@a..b", "http://alice:topsecret@h#",
        "http://alice:topsecret@1.2",  "topsecret://alice:x@@",       "alice:topsecret://h",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(parse(bad[i]), ERR_USAGE);
        assert_true(why[0]);
        if (strncmp(bad[i], "topsecret", 9) != 0)
            assert_null(strstr(why, "topsecret"));
    }
    char text[300];
    for (int n = 127; n <= 128; n++) {
        snprintf(text, sizeof text, "http://u:%0*d@h", n, 0);
        assert_int_equal(parse(text), n == 127 ? 0 : ERR_USAGE);
        snprintf(text, sizeof text, "http://%0*d@h", n, 0);
        assert_int_equal(parse(text), n == 127 ? 0 : ERR_USAGE);
    }
}

static void test_no_proxy(void **state)
{
    (void)state;
    static const struct {
        const char *list, *url;
        bool excepted;
    } rows[] = {
        { "", "a.example", false },
        { ",, ,", "a.example", false },
        { "*", "a.example", true },
        { "x.example, *", "192.0.2.1", true },
        { "example", "a.example", true },
        { ".example", "a.example", true },
        { "*.example", "a.example", true },
        { "EXAMPLE.", "A.example.", true },
        { ".a.example", "a.example", true },
        { "a.example", "a.example", true },
        { "b.a.example", "a.example", false },
        { "xample", "a.example", false },
        { "ba.example", "a.example", false },
        { "a.example", "ba.example", false },
        { "localhost,a.example\tb.example", "x.b.example", true },
        { "a.example:443", "a.example", true },
        { "a.example:444", "a.example", false },
        { "a.example:444", "a.example:444", true },
        { "a.example:x", "a.example", false },
        { "*:444", "a.example:444", true },
        { "*:444", "a.example", false },
        { "192.0.2.1", "192.0.2.1", true },
        { "192.0.2.1", "192.0.2.2", false },
        { "192.0.2.1:443", "192.0.2.1", true },
        { "192.0.2.1:80", "192.0.2.1", false },
        { "10.0.0.0/8", "10.200.3.4", true },
        { "10.0.0.0/8", "11.0.0.1", false },
        { "10.0.0.0/8:443", "10.0.0.1", true },
        { "10.0.0.0/8:80", "10.0.0.1", false },
        { "10.8.0.0/13", "10.15.255.255", true },
        { "10.8.0.0/13", "10.16.0.0", false },
        { "10.0.0.1/32", "10.0.0.1", true },
        { "10.0.0.1/32", "10.0.0.0", false },
        { "0.0.0.0/0", "10.0.0.1", true },
        { "0.0.0.0/0", "[::1]", false },
        { "0.0.0.0/33", "10.0.0.1", false },
        { "10.0.0.0/", "10.0.0.1", false },
        { "10.0.0.0/8/8", "10.0.0.1", false },
        { "10.0.0.0/8", "ten.example", false },
        { "0.0.2.1", "192.0.2.1", false }, /* no parent of an address */
        { ".2.1", "192.0.2.1", false },
        { "2001:db8::1", "[2001:DB8:0::1]", true },
        { "[2001:db8::1]", "[2001:db8::1]", true },
        { "[2001:db8::1]:443", "[2001:db8::1]", true },
        { "[2001:db8::1]:444", "[2001:db8::1]", false },
        { "[2001:db8::1]x", "[2001:db8::1]", false },
        { "[2001:db8::1", "[2001:db8::1]", false },
        { "2001:db8::/32", "[2001:db8:1::5]", true },
        { "[2001:db8::/32]:443", "[2001:db8:1::5]", true },
        { "2001:db8::/33", "[2001:db8:8000::5]", false },
        { "::/0", "[2001:db8::1]", true },
        { "::/129", "[2001:db8::1]", false },
        { "::1", "a.example", false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(parse(rows[i].url), 0);
        if (http_no_proxy(rows[i].list, &u) != rows[i].excepted)
            fail_msg("%s in \"%s\"", rows[i].url, rows[i].list);
    }
    assert_false(http_no_proxy(NULL, &u));
    static char big[5000];
    memset(big, 'a', sizeof big - 12);
    memcpy(big + sizeof big - 12, ",h.example", 11);
    assert_int_equal(parse("h.example"), 0);
    assert_true(http_no_proxy(big, &u));
}

/* Every cut and many flips of a good one: taken or refused with words, and nothing else. */
static void test_mutations(void **state)
{
    (void)state;
    static const char good[] = "https://us%40er:pass@vpn.example.com:8443/path?query";
    static const char six[] = "http://[2001:db8::192.0.2.1]:80/";
    uint32_t x = 12345;
    unsigned ok = 0, bad = 0;
    for (unsigned run = 0; run < 20000; run++) {
        char text[64];
        snprintf(text, sizeof text, "%s", run % 2 ? good : six);
        size_t n = strlen(text);
        x = x * 1664525u + 1013904223u;
        if (run < 200)
            text[run / 2 % n] = 0;
        else
            text[(x >> 8) % n] ^= (char)(1u << (x >> 3) % 7);
        if (parse(text)) {
            bad++;
            assert_true(why[0]);
        } else {
            ok++;
            assert_true(u.host[0] && u.port);
        }
    }
    assert_true(ok > 500 && bad > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),     cmocka_unit_test(test_bad),
        cmocka_unit_test(test_lengths),  cmocka_unit_test(test_user_and_password),
        cmocka_unit_test(test_no_proxy), cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
