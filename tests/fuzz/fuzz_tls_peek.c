/* The name in a ClientHello: the answer is one of those promised, and stays the same when more bytes come. */
#include <stdlib.h>
#include <string.h>

#include "tls/peek.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char name[TLS_NAME_MAX + 1], early[TLS_NAME_MAX + 1];
    int rc = tls_peek_sni(rd_make(data, size), name);
    check(rc == 0 || rc == ERR_PEER || rc == ERR_LIMIT || (rc == ERR_AGAIN && size < TLS_PEEK_MAX));
    if (!rc) {
        check(memchr(name, 0, sizeof name) != NULL);
        check(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-._") == strlen(name));
    }
    for (size_t n = 0; n < size; n += size / 32 + 1) {
        int before = tls_peek_sni(rd_make(data, n), early);
        check(before == ERR_AGAIN || before == rc);
        check(before || strcmp(early, name) == 0);
    }
    return 0;
}
