/*
 * A hostile head and our answer to its challenges: one line of text, without the password, of a bounded length, that
 * does not depend on anything but its inputs.
 */
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "http/authenticate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void answer(const struct http_answer *a, const struct http_login *login, bool basic_colon)
{
    static const unsigned char cnonce[16] = "sixteen random.";
    char out[4096], again[4096], small[40];
    enum http_scheme scheme, other;
    bool stale;
    int err = http_authenticate(a, login, "CONNECT", "vpn.example.com:443", cnonce, out, sizeof out, &scheme, &stale);
    check(err == 0 || err == ERR_PEER || (err == ERR_USAGE && basic_colon));
    check((err == ERR_PEER) == (scheme == HTTP_SCHEME_NONE));
    if (err)
        return;
    check(memchr(out, 0, sizeof out) != NULL && !strpbrk(out, "\r\n") && !strstr(out, login->password));
    check(!strncmp(out, scheme == HTTP_SCHEME_BASIC ? "Basic " : "Digest ", 6));
    check(!http_authenticate(a, login, "CONNECT", "vpn.example.com:443", cnonce, again, sizeof again, &other, &stale));
    check(!strcmp(out, again) && scheme == other);
    err = http_authenticate(a, login, "CONNECT", "vpn.example.com:443", cnonce, small, sizeof small, &other, &stale);
    check(err == (strlen(out) < sizeof small ? 0 : ERR_LIMIT));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_answer a;
    char names[64];
    check(digest_init() == 0);
    http_answer_init(&a);
    http_answer_input(&a, rd_make(data, size));
    http_schemes(&a, names, sizeof names);
    check(memchr(names, 0, sizeof names) != NULL);
    for (const char *p = names; *p; p++)
        check(*p >= ' ' && *p < 0x7f);
    answer(&a, &(struct http_login){ "us\"er\\", "p\xc3\xa4ss\"word" }, false);
    answer(&a, &(struct http_login){ "us:er", "p\xc3\xa4ss\"word" }, true);
    return 0;
}
