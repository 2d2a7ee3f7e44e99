/* The channel between monitor and engine: messages, descriptors that come with them, and sealed memory files. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/priv.h"

static int pair[2];

static int open_pair(void **state)
{
    (void)state;
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int close_pair(void **state)
{
    (void)state;
    close(pair[0]);
    close(pair[1]);
    return 0;
}

/* Lowest free number: equal before and after means that nothing was left open below it. */
static int lowest_free(void)
{
    int fd = dup(pair[0]);
    close(fd);
    return fd;
}

static void message_arrives_whole(void **state)
{
    (void)state;
    struct priv_msg m = { .type = PRIV_KEY, .index = 7, .status = ERR_USAGE, .text = "why" }, got = { 0 };
    assert_int_equal(priv_send(pair[0], &m, NULL), 0);
    assert_int_equal(priv_recv(pair[1], &got, NULL, 0), 0);
    assert_memory_equal(&got, &m, sizeof m);
}

static void text_is_always_ended(void **state)
{
    (void)state;
    struct priv_msg m = { .type = PRIV_FAIL }, got;
    memset(m.text, 'x', sizeof m.text);
    assert_int_equal(priv_send(pair[0], &m, NULL), 0);
    assert_int_equal(priv_recv(pair[1], &got, NULL, 0), 0);
    assert_int_equal(strlen(got.text), sizeof got.text - 1);
}

static void descriptors_come_along(void **state)
{
    (void)state;
    struct priv_msg m = { .type = PRIV_TUN, .n_fds = 2 }, got;
    int sent[2] = { pair[0], pair[1] }, fds[2];
    assert_int_equal(priv_send(pair[0], &m, sent), 0);
    assert_int_equal(priv_recv(pair[1], &got, fds, 2), 0);
    assert_int_equal(got.n_fds, 2);
    for (int i = 0; i < 2; i++) {
        assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
        close(fds[i]);
    }
}

static void unexpected_descriptors_are_closed(void **state)
{
    (void)state;
    struct priv_msg m = { .type = PRIV_RELOAD, .n_fds = 3 }, got;
    int sent[3] = { pair[0], pair[0], pair[0] }, fds[1], before = lowest_free();
    assert_int_equal(priv_send(pair[0], &m, sent), 0);
    assert_int_equal(priv_recv(pair[1], &got, NULL, 0), ERR_BUG); /* as the monitor asks: none expected */
    assert_int_equal(lowest_free(), before);
    assert_int_equal(priv_send(pair[0], &m, sent), 0);
    assert_int_equal(priv_recv(pair[1], &got, fds, 1), ERR_BUG); /* more than there is room for */
    assert_int_equal(lowest_free(), before);
}

/* A few fit, or none does: neither stays, and it is said what to do. */
static void no_descriptor_is_left(void **state)
{
    (void)state;
    struct priv_msg m = { .type = PRIV_TUN, .n_fds = 3 }, got;
    int sent[3] = { pair[0], pair[0], pair[0] }, fds[3], before = lowest_free();
    struct rlimit was, few;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    for (int room = 0; room < 3; room++) {
        assert_int_equal(priv_send(pair[0], &m, sent), 0);
        few = (struct rlimit){ (rlim_t)(before + room), was.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        int rc = priv_recv(pair[1], &got, fds, 3);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
        assert_int_equal(rc, ERR_LIMIT);
        assert_int_equal(lowest_free(), before);
    }
    assert_non_null(strstr(priv_error(ERR_LIMIT), "LimitNOFILE"));
    assert_string_equal(priv_error(ERR_CLOSED), err_name(ERR_CLOSED));
}

static void a_count_that_lies_is_refused(void **state)
{
    (void)state;
    struct priv_msg m = { .type = PRIV_CONFIG, .n_fds = 5 }, got;
    int fds[8];
    assert_int_equal(send(pair[0], &m, sizeof m, 0), sizeof m);
    assert_int_equal(priv_recv(pair[1], &got, fds, 8), ERR_BUG);
}

static void other_lengths_are_refused(void **state)
{
    (void)state;
    struct priv_msg got;
    char longer[sizeof got + 1] = { 0 };
    assert_int_equal(send(pair[0], longer, sizeof got - 1, 0), sizeof got - 1);
    assert_int_equal(priv_recv(pair[1], &got, NULL, 0), ERR_BUG);
    assert_int_equal(send(pair[0], longer, sizeof longer, 0), sizeof longer);
    assert_int_equal(priv_recv(pair[1], &got, NULL, 0), ERR_BUG);
}

static void the_end_is_told(void **state)
{
    (void)state;
    struct priv_msg m = { .type = PRIV_CONFIG };
    shutdown(pair[0], SHUT_RDWR);
    assert_int_equal(priv_recv(pair[1], &m, NULL, 0), ERR_CLOSED);
    assert_int_equal(priv_send(pair[1], &m, NULL), ERR_CLOSED);
}

/* An engine that asks and never reads the answers must not stop the monitor. */
static void nobody_waits_for_a_reader(void **state)
{
    (void)state;
    struct priv_msg m = { .type = PRIV_CONFIG };
    int rc = 0, sent = 0;
    while (!rc && sent++ < 100000)
        rc = priv_send(pair[0], &m, NULL);
    assert_int_equal(rc, ERR_CLOSED);
}

static void blob_travels_and_is_sealed(void **state)
{
    (void)state;
    const char text[] = "-----BEGIN";
    int fd;
    char *data;
    size_t len;
    assert_int_equal(priv_make_blob(text, sizeof text - 1, &fd), 0);
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_int_equal(ftruncate(fd, 100), -1);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(priv_take_blob(fd, &data, &len), 0);
    assert_int_equal(len, sizeof text - 1);
    assert_string_equal(data, text);
    free(data);
    assert_int_equal(fcntl(fd, F_GETFD), -1); /* taken: closed */
}

static void empty_blob(void **state)
{
    (void)state;
    int fd;
    char *data;
    size_t len = 1;
    assert_int_equal(priv_make_blob("", 0, &fd), 0);
    assert_int_equal(priv_take_blob(fd, &data, &len), 0);
    assert_int_equal(len, 0);
    assert_string_equal(data, "");
    free(data);
}

#define WITH_PAIR(f) cmocka_unit_test_setup_teardown(f, open_pair, close_pair)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PAIR(message_arrives_whole),     WITH_PAIR(text_is_always_ended),
        WITH_PAIR(descriptors_come_along),    WITH_PAIR(unexpected_descriptors_are_closed),
        WITH_PAIR(no_descriptor_is_left),     WITH_PAIR(a_count_that_lies_is_refused),
        WITH_PAIR(other_lengths_are_refused), WITH_PAIR(the_end_is_told),
        WITH_PAIR(nobody_waits_for_a_reader), cmocka_unit_test(blob_travels_and_is_sealed),
        cmocka_unit_test(empty_blob),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
