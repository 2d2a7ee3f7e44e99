/* Many records with one system call: tls_stream_begin() and what follows it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>

#include "net/loop.h"
#include "tlsclient.h"
#include "tlstest.h"

static struct test_cert cert;
static struct tls_cert *loaded;
static struct tls_certs *certs;
static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

static int group_setup(void **state)
{
    static const struct tls_params params = { .min_version = 0x0303 };
    struct tls_rule rule;
    char err[256];
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    cert = test_cert_make(EVP_EC_gen("P-256"), "records");
    loaded = test_cert_load(&cert, "cert");
    if (!loaded || tls_rule_parse("default", &rule))
        return -1;
    struct tls_cert_use use = { .cert = loaded, .rules = &rule, .n_rules = 1 };
    return tls_certs_new(&use, 1, &params, NULL, &certs, err, sizeof err);
}

static int group_teardown(void **state)
{
    (void)state;
    tls_certs_unref(certs);
    tls_cert_unref(loaded);
    test_cert_free(&cert);
    return 0;
}

static void ready(struct conn *k, int version)
{
    conn_open(k, certs, version, NULL);
    assert_int_equal(handshake(k), 0);
    say_hello(k);
}

static uint32_t seed = 1;
static uint32_t rnd(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

static uint8_t *random_bytes(size_t n)
{
    uint8_t *p = malloc(n);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)rnd(256);
    return p;
}

/* From here on a socket that keeps the boundaries of writes: one message a system call. */
static void keep_boundaries(struct conn *k)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(dup3(pair[0], k->fd[0], O_CLOEXEC), k->fd[0]);
    assert_int_equal(dup3(pair[1], k->fd[1], O_CLOEXEC), k->fd[1]);
    close(pair[0]);
    close(pair[1]);
    SSL_set0_rbio(k->c, BIO_new(BIO_s_mem()));
}

/* One system call's worth to the client. Returns its bytes; 0: there was none. */
static size_t next_write(struct conn *k)
{
    static uint8_t buf[1 << 18];
    ssize_t n = recv(k->fd[1], buf, sizeof buf, 0);
    if (n <= 0)
        return 0;
    assert_int_equal(BIO_write(SSL_get_rbio(k->c), buf, (int)n), n);
    return (size_t)n;
}

static void test_one_system_call(void **state)
{
    (void)state;
    static const size_t lens[TLS_GATHER] = { TLS_RECORD_MAX, 15400, 1, TLS_RECORD_MAX };
    uint8_t *data = random_bytes(TLS_RECORD_MAX), *got = malloc(TLS_RECORD_MAX);
    for (size_t v = 0; v < 2; v++) {
        struct conn k;
        ready(&k, versions[v]);
        keep_boundaries(&k);
        for (unsigned n = 1; n <= TLS_GATHER; n++) {
            size_t sum = 0;
            tls_stream_begin(k.s);
            for (unsigned i = 0; i < n; i++) {
                uint8_t *once = malloc(lens[i]); /* free again at once */
                memcpy(once, data, lens[i]);
                assert_int_equal(tls_stream_record(k.s, once, lens[i]), 0);
                free(once);
                sum += lens[i];
            }
            assert_int_equal(next_write(&k), 0); /* not before the end */
            assert_int_equal(tls_stream_end(k.s), 0);
            assert_false(tls_stream_unsent(k.s));
            size_t wire = next_write(&k);
            assert_true(wire > sum && wire < sum + n * 64);
            assert_int_equal(next_write(&k), 0);
            for (unsigned i = 0; i < n; i++) { /* SSL_read() gives one record at a time */
                assert_int_equal(SSL_read(k.c, got, TLS_RECORD_MAX), lens[i]);
                assert_memory_equal(got, data, lens[i]);
            }
        }
        tls_stream_begin(k.s);
        assert_int_equal(tls_stream_end(k.s), 0);
        assert_int_equal(next_write(&k), 0); /* nothing is nothing */
        conn_close(&k);
    }
    free(data);
    free(got);
}

/* Who can take small records only (RFC 6066 4) gets them, and nothing is left out. */
static void test_small_fragments(void **state)
{
    (void)state;
    uint8_t *data = random_bytes(TLS_RECORD_MAX), *got = malloc(TLS_RECORD_MAX);
    for (size_t v = 0; v < 2; v++) {
        struct conn k;
        conn_open(&k, certs, versions[v], NULL);
        assert_int_equal(SSL_set_tlsext_max_fragment_length(k.c, TLSEXT_max_fragment_length_512), 1);
        assert_int_equal(handshake(&k), 0);
        say_hello(&k);
        tls_stream_begin(k.s);
        for (unsigned i = 0; i < TLS_GATHER; i++)
            assert_int_equal(tls_stream_record(k.s, data, TLS_RECORD_MAX), 0);
        int rc = tls_stream_end(k.s);
        for (size_t rcvd = 0; rcvd < TLS_GATHER * (size_t)TLS_RECORD_MAX;) {
            int n = SSL_read(k.c, got, TLS_RECORD_MAX);
            assert_true(n > 0 ? n <= 512 : rc == ERR_AGAIN);
            if (n > 0)
                assert_memory_equal(got, data + rcvd % TLS_RECORD_MAX, n);
            else
                rc = tls_stream_flush(k.s);
            rcvd += n > 0 ? (size_t)n : 0;
        }
        conn_close(&k);
    }
    free(data);
    free(got);
}

static void small_buffer(struct conn *k)
{
    int small = 4096;
    assert_int_equal(setsockopt(k->fd[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
}

static size_t client_reads(struct conn *k, uint8_t *at, size_t most)
{
    int r = most ? SSL_read(k->c, at, (int)most) : 0;
    if (r < 0)
        assert_int_equal(SSL_get_error(k->c, r), SSL_ERROR_WANT_READ);
    return r > 0 ? (size_t)r : 0;
}

/* The socket takes parts, at thousands of places: the rest waits inside and goes on; ordinary writes come between. */
static void test_parts(void **state)
{
    (void)state;
    enum { TOTAL = 8 << 20 };
    uint8_t *data = random_bytes(TOTAL), *got = malloc(TOTAL);
    for (size_t v = 0; v < 2; v++) {
        struct conn k;
        size_t sent = 0, rcvd = 0, parts = 0, flushes = 0;
        ready(&k, versions[v]);
        small_buffer(&k);
        tls_stream_bulk(k.s);
        while (rcvd < TOTAL) {
            if (tls_stream_unsent(k.s)) {
                int rc = tls_stream_flush(k.s);
                assert_true(rc == 0 || rc == ERR_AGAIN);
                assert_int_equal(rc == ERR_AGAIN, tls_stream_unsent(k.s));
                assert_true(!rc || tls_stream_wants(k.s) == NET_WRITE);
                flushes += rc == 0;
            } else if (sent < TOTAL && !rnd(8)) {
                size_t n = 0, len = TOTAL - sent < 100 ? TOTAL - sent : 100;
                while (tls_stream_write(k.s, data + sent, len, &n) == ERR_AGAIN) /* until it says what it took */
                    rcvd += client_reads(&k, got + rcvd, TOTAL - rcvd);
                sent += n;
            } else if (sent < TOTAL) {
                tls_stream_begin(k.s);
                for (unsigned i = rnd(TLS_GATHER) + 1; i && sent < TOTAL; i--) {
                    size_t len = 1 + rnd(rnd(4) ? 200 : TLS_RECORD_MAX);
                    len = len < TOTAL - sent ? len : TOTAL - sent;
                    assert_int_equal(tls_stream_record(k.s, data + sent, len), 0);
                    sent += len;
                }
                int rc = tls_stream_end(k.s);
                assert_true(rc == 0 || rc == ERR_AGAIN);
                parts += rc == ERR_AGAIN;
            }
            size_t most = 1 + rnd(rnd(4) ? 2000 : 16000);
            rcvd += client_reads(&k, got + rcvd, most < TOTAL - rcvd ? most : TOTAL - rcvd);
        }
        assert_int_equal(rcvd, sent);
        assert_true(parts > 200 && flushes > 200);
        assert_memory_equal(data, got, TOTAL);
        conn_close(&k);
    }
    free(data);
    free(got);
}

/* A peer asks for new keys while much waits: records in either key come in order, and reading goes on. */
static void test_new_keys(void **state)
{
    (void)state;
    enum { ROUNDS = 300 };
    uint8_t *data = random_bytes(TLS_RECORD_MAX), *got = malloc(TLS_RECORD_MAX);
    struct conn k;
    size_t sent = 0, rcvd = 0, heard = 0, said = 0, parts = 0;
    ready(&k, TLS1_3_VERSION);
    small_buffer(&k);
    for (unsigned i = 0; sent < ROUNDS * 40000 || rcvd < sent || heard < said; i++) {
        if (sent < ROUNDS * 40000 && i % 5 == 0)
            assert_int_equal(SSL_key_update(k.c, SSL_KEY_UPDATE_REQUESTED), 1);
        if (sent < ROUNDS * 40000 && SSL_write(k.c, data, 10) == 10)
            said += 10;
        size_t n = 0;
        while (tls_stream_read(k.s, got, TLS_RECORD_MAX, &n) == 0)
            heard += n;
        if (tls_stream_unsent(k.s)) {
            assert_int_not_equal(tls_stream_flush(k.s), ERR_PEER);
        } else if (sent < ROUNDS * 40000) {
            tls_stream_begin(k.s);
            for (unsigned j = 0; j < TLS_GATHER; j++)
                assert_int_equal(tls_stream_record(k.s, data, 10000), 0);
            int rc = tls_stream_end(k.s);
            assert_true(rc == 0 || rc == ERR_AGAIN);
            parts += rc == ERR_AGAIN;
            sent += 40000;
        }
        while (rnd(3)) {
            size_t at = rcvd % 10000, n_read = client_reads(&k, got, 10000 - at);
            assert_memory_equal(got, data + at, n_read);
            rcvd += n_read;
        }
        assert_true(i < 100000);
    }
    assert_true(parts > ROUNDS / 2);
    conn_close(&k);
    free(data);
    free(got);
}

/* Gone while we write, or while a part waits: an error, the same ever after; and nothing counts as waiting for ever. */
static void test_errors(void **state)
{
    (void)state;
    uint8_t *data = random_bytes(TLS_RECORD_MAX);
    for (int waits = 0; waits < 2; waits++) {
        for (size_t v = 0; v < 3; v++) {
            struct conn k;
            if (v < 2) {
                ready(&k, versions[v]);
            } else {
                conn_open(&k, certs, TLS1_3_VERSION, NULL);
                tls_stream_free(k.s);
                k.s = tls_stream_new_plain(k.fd[0], NULL);
            }
            int rc = 0;
            while (waits && !rc) {
                tls_stream_begin(k.s);
                assert_int_equal(tls_stream_record(k.s, data, TLS_RECORD_MAX), 0);
                rc = tls_stream_end(k.s);
            }
            assert_int_equal(rc, waits ? ERR_AGAIN : 0);
            close(k.fd[1]);
            k.fd[1] = -1;
            if (waits) {
                rc = tls_stream_flush(k.s);
            } else {
                tls_stream_begin(k.s);
                assert_int_equal(tls_stream_record(k.s, data, 100), 0);
                rc = tls_stream_end(k.s);
            }
            assert_int_equal(rc, ERR_PEER);
            assert_string_not_equal(tls_stream_error(k.s), "");
            size_t n;
            assert_int_equal(tls_stream_flush(k.s), ERR_PEER);
            assert_int_equal(tls_stream_write(k.s, data, 1, &n), ERR_PEER);
            assert_int_equal(tls_stream_read(k.s, data, 1, &n), ERR_PEER);
            tls_stream_begin(k.s);
            assert_int_equal(tls_stream_record(k.s, data, 100), ERR_PEER);
            assert_int_equal(tls_stream_end(k.s), ERR_PEER);
            conn_close(&k);
        }
    }
    free(data);
}

/* Behind our own goodbye there is nothing to say. */
static void test_after_shutdown(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        struct conn k;
        ready(&k, versions[v]);
        assert_int_equal(tls_stream_shutdown(k.s), 0);
        tls_stream_begin(k.s);
        assert_int_equal(tls_stream_record(k.s, "late", 4), ERR_PEER);
        assert_int_equal(tls_stream_end(k.s), ERR_PEER);
        assert_false(tls_stream_unsent(k.s));
        conn_close(&k);
    }
}

/* The same face without TLS: the bytes themselves. */
static void test_plain(void **state)
{
    (void)state;
    int fd[2];
    uint8_t *data = random_bytes(TLS_GATHER * TLS_RECORD_MAX), *got = malloc(TLS_GATHER * TLS_RECORD_MAX + 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd), 0);
    struct tls_stream *s = tls_stream_new_plain(fd[0], NULL);
    tls_stream_begin(s);
    for (size_t i = 0; i < TLS_GATHER; i++)
        assert_int_equal(tls_stream_record(s, data + i * TLS_RECORD_MAX, TLS_RECORD_MAX), 0);
    assert_int_equal(tls_stream_end(s), 0);
    assert_int_equal(recv(fd[1], got, TLS_GATHER * TLS_RECORD_MAX + 1, 0), TLS_GATHER * TLS_RECORD_MAX);
    assert_memory_equal(got, data, TLS_GATHER * TLS_RECORD_MAX);
    tls_stream_free(s);
    close(fd[0]);
    close(fd[1]);
    free(data);
    free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_system_call), cmocka_unit_test(test_small_fragments),
        cmocka_unit_test(test_parts),           cmocka_unit_test(test_new_keys),
        cmocka_unit_test(test_errors),          cmocka_unit_test(test_after_shutdown),
        cmocka_unit_test(test_plain),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
