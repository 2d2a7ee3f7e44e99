/* The demonstration folder: made whole, kept on a second run, and good for the server's own loader. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/certfile.h"
#include "cli/cli.h"
#include "server/config.h"

static char said[512]; /* what the command complained about last */

void cli_fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(said, sizeof said, fmt, ap);
    va_end(ap);
}

/* Runs it with standard output in a file, whose text is returned. */
static char *prepare(const char *dir, int want, char **config)
{
    char *text = calloc(1, 65536);
    FILE *tmp = tmpfile();
    int out = dup(STDOUT_FILENO);
    assert_true(text && tmp && out >= 0);
    fflush(stdout);
    dup2(fileno(tmp), STDOUT_FILENO);
    int rc = demo_prepare(dir, config);
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    close(out);
    rewind(tmp);
    assert_true(fread(text, 1, 65535, tmp) < 65535);
    fclose(tmp);
    assert_int_equal(rc, want);
    return text;
}

static void test_demo(void **state)
{
    (void)state;
    char top[] = "/tmp/gatehouse-demo-XXXXXX", dir[64], cmd[96], *path = NULL, *again = NULL, password[17] = "";
    struct config *c = NULL;
    struct config_error err;
    static struct certfile cert;
    struct stat st;
    assert_non_null(mkdtemp(top));
    snprintf(dir, sizeof dir, "%s/d", top);

    char *first = prepare(dir, 0, &path);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(config_load(path, &c, &err), 0);
    assert_int_equal(config_server_ip4(c), 0x0a4d0001);
    assert_true(c->vpn.forward && c->vpn.nat == CONFIG_NAT_AUTO && !c->vpn.dns[0]);
    assert_int_equal(strncmp(c->control.socket, top, strlen(top)), 0);
    assert_int_equal(stat(c->certs[0].key, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(certfile_read(c->certs[0].chain, &cert, said, sizeof said), 0);
    assert_true(certfile_names_host(&cert, "localhost") && certfile_names_host(&cert, "127.0.0.1"));
    assert_int_equal(certfile_key_check(c->certs[0].chain, c->certs[0].key, said, sizeof said), 0);

    char *p = strstr(first, "rasdial Gatehouse demo ");
    assert_non_null(p);
    assert_int_equal(sscanf(p, "rasdial Gatehouse demo %16s", password), 1);
    assert_int_equal(strlen(password), 16);
    assert_non_null(strstr(first, "Add-VpnConnection"));
    assert_non_null(strstr(first, "sstpc "));

    char *second = prepare(dir, 0, &again);
    assert_string_equal(path, again);
    assert_null(strstr(second, password));
    static struct certfile kept;
    assert_int_equal(certfile_read(c->certs[0].chain, &kept, said, sizeof said), 0);
    assert_string_equal(cert.sha256, kept.sha256);

    char *third, *none = NULL;
    assert_int_equal(chmod(dir, 0777), 0);
    third = prepare(dir, ERR_SYSTEM, &none); /* a folder where others write is no place for keys */
    assert_non_null(strstr(said, "others may write"));
    assert_null(none);

    config_free(c);
    free(first);
    free(second);
    free(third);
    free(path);
    free(again);
    snprintf(cmd, sizeof cmd, "rm -r %s", top);
    assert_int_equal(system(cmd), 0);
}

/* Somebody else's link in /tmp may lead to a folder of ours that was never meant. One of our own is good. */
static void test_foreign_link(void **state)
{
    (void)state;
    char top[] = "/tmp/gatehouse-demo-XXXXXX", real[64], link[64], slashes[72], cmd[96], *path = NULL;
    if (geteuid() != 0)
        skip(); /* only root can make a link that is another's */
    assert_non_null(mkdtemp(top));
    snprintf(real, sizeof real, "%s/d", top);
    snprintf(link, sizeof link, "%s/l", top);
    snprintf(slashes, sizeof slashes, "%s//", link);
    assert_int_equal(mkdir(real, 0700), 0);
    assert_int_equal(symlink(real, link), 0);
    assert_int_equal(lchown(link, 65534, 65534), 0);
    const char *const ways[] = { link, slashes };
    for (size_t i = 0; i < 2; i++) {
        free(prepare(ways[i], ERR_SYSTEM, &path));
        assert_non_null(strstr(said, "someone else"));
        assert_null(path);
    }
    assert_int_equal(rmdir(real), 0); /* nothing was put there */
    assert_int_equal(mkdir(real, 0700), 0);
    assert_int_equal(lchown(link, 0, 0), 0);
    free(prepare(link, 0, &path));
    assert_int_equal(strncmp(path, real, strlen(real)), 0);
    free(path);
    snprintf(cmd, sizeof cmd, "rm -r %s", top);
    assert_int_equal(system(cmd), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_demo), cmocka_unit_test(test_foreign_link) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
