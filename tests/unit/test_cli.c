/* What several commands share: text for terminals, the lock of a folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/file.h"

void cli_fail(const char *fmt, ...)
{
    (void)fmt;
}

/* A user's name is shown in `gatehouse sessions` before its password is judged: a terminal must not obey it. */
static void test_printable(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        { "alice", "alice" },
        { "", "" },
        { "\x1b]0;own\x07\x1b[2J", "?]0;own??[2J" },
        { "a\r\nb\tc\x7f", "a??b?c?" },
        { "\xc2\x9b"
          "2J\xc2\x80\xc2\x9f",
          "?2J??" }, /* CSI of C1 */
        { "J\xc3\xbcrgen \xc2\xa0\xe2\x82\xac", "J\xc3\xbcrgen \xc2\xa0\xe2\x82\xac" },
        { "\xc2", "\xc2" },
    };
    char out[64];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cli_printable(cases[i].in, out, sizeof out);
        assert_string_equal(out, cases[i].out);
    }
    memset(out, 'x', sizeof out);
    cli_printable("alice", out, 4);
    assert_string_equal(out, "ali");
    assert_int_equal(out[4], 'x');
}

/* Two editors of one file wait for one another, by whichever name they came. */
static void test_lock_behind_link(void **state)
{
    (void)state;
    char top[] = "/tmp/gatehouse-cli-XXXXXX", real[64], file[72], link[64], cmd[96];
    assert_non_null(mkdtemp(top));
    snprintf(real, sizeof real, "%s/d", top);
    snprintf(file, sizeof file, "%s/users", real);
    snprintf(link, sizeof link, "%s/users", top);
    assert_int_equal(mkdir(real, 0700), 0);
    assert_int_equal(file_write(file, "", 0, 0600, FILE_OLD_STAYS), 0);
    assert_int_equal(symlink(file, link), 0);
    int lock = file_lock(link), other = open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(lock >= 0 && other >= 0);
    assert_int_equal(flock(other, LOCK_EX | LOCK_NB), -1);
    assert_int_equal(errno, EWOULDBLOCK);
    close(lock);
    assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
    close(other);
    snprintf(cmd, sizeof cmd, "rm -r %s", top);
    assert_int_equal(system(cmd), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_printable), cmocka_unit_test(test_lock_behind_link) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
