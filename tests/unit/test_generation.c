/* What a generation is made from: which web entry a name leads to, the front's certificates, dates, watched files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/config.h"
#include "server/expiry.h"
#include "server/front.h"
#include "server/watch.h"

static struct config cfg;

static void sites(char *const *names, size_t n)
{
    cfg.n_web = n;
    for (size_t i = 0; i < n; i++)
        cfg.web[i].name = names[i];
}

static void exact_before_wildcard_before_the_rest(void **state)
{
    (void)state;
    char wild[] = "*.example.com", rest[] = "other.example.net", exact[] = "blog.example.com";
    char *const names[] = { wild, NULL, rest, exact };
    sites(names, 4);
    assert_ptr_equal(config_site(&cfg, "blog.example.com"), &cfg.web[3]);
    assert_ptr_equal(config_site(&cfg, "BLOG.example.COM"), &cfg.web[3]);
    assert_ptr_equal(config_site(&cfg, "shop.example.com"), &cfg.web[0]);
    assert_ptr_equal(config_site(&cfg, "other.example.net"), &cfg.web[2]);
    assert_ptr_equal(config_site(&cfg, "example.org"), &cfg.web[1]);
    assert_ptr_equal(config_site(&cfg, NULL), &cfg.web[1]);
}

static void a_wildcard_is_one_whole_label(void **state)
{
    (void)state;
    char wild[] = "*.example.com";
    char *const names[] = { wild };
    sites(names, 1);
    assert_ptr_equal(config_site(&cfg, "a.example.com"), &cfg.web[0]);
    assert_null(config_site(&cfg, "a.b.example.com"));
    assert_null(config_site(&cfg, "example.com"));
    assert_null(config_site(&cfg, ".example.com"));
    assert_null(config_site(&cfg, "xexample.com"));
    assert_null(config_site(&cfg, "a.example.com.evil.org"));
    assert_null(config_site(&cfg, ""));
    assert_null(config_site(&cfg, NULL));
}

/* ---- the front's certificates ---- */

static struct sstp_cert_hashes leaf(uint8_t n)
{
    struct sstp_cert_hashes h = { .known = 3 };
    memset(h.sha1, n, sizeof h.sha1);
    memset(h.sha256, n, sizeof h.sha256);
    return h;
}

static void accepted(const struct front *f, int64_t now_s, const char *want)
{
    struct sstp_cert_hashes out[FRONT_MAX];
    char got[FRONT_MAX + 1] = "";
    size_t n = front_accepted(f, now_s, out);
    for (size_t i = 0; i < n; i++)
        got[i] = (char)out[i].sha256[0];
    assert_string_equal(got, want);
}

static void old_leaves_are_accepted_for_the_overlap(void **state)
{
    (void)state;
    struct front f[4];
    struct sstp_cert_hashes a = leaf('a'), bc[2] = { leaf('b'), leaf('c') }, dc[2] = { leaf('d'), leaf('c') };
    assert_true(front_build(&f[0], &a, 1, NULL, 1000, 600));
    accepted(&f[0], 1000, "a");
    accepted(&f[0], 1000000000, "a");
    assert_true(front_build(&f[1], bc, 2, &f[0], 2000, 600));
    accepted(&f[1], 2000, "bca");
    accepted(&f[1], 2599, "bca");
    accepted(&f[1], 2600, "bc");
    assert_true(front_build(&f[2], dc, 2, &f[1], 2500, 600));
    accepted(&f[2], 2500, "dcba");
    accepted(&f[2], 2600, "dcb"); /* a's overlap did not begin again */
    accepted(&f[2], 3100, "dc");
    assert_false(front_build(&f[3], dc, 2, &f[2], 3000, 600)); /* the same again */
    accepted(&f[3], 3050, "dcb");
    accepted(&f[3], 3100, "dc");
}

static void without_overlap_old_leaves_go_at_once(void **state)
{
    (void)state;
    struct front f[2];
    struct sstp_cert_hashes a = leaf('a'), b = leaf('b');
    assert_true(front_build(&f[0], &a, 1, NULL, 1000, 0));
    assert_true(front_build(&f[1], &b, 1, &f[0], 1000, 0));
    accepted(&f[1], 1000, "b");
}

static void one_that_comes_back_has_no_end(void **state)
{
    (void)state;
    struct front f[3];
    struct sstp_cert_hashes a = leaf('a'), b = leaf('b');
    assert_true(front_build(&f[0], &a, 1, NULL, 1000, 600));
    assert_true(front_build(&f[1], &b, 1, &f[0], 1000, 600));
    assert_true(front_build(&f[2], &a, 1, &f[1], 1100, 600));
    accepted(&f[2], 1100, "ab");
    accepted(&f[2], 9999, "a");
}

static void a_front_that_changes_for_ever_stays_bounded(void **state)
{
    (void)state;
    struct front f[2];
    struct sstp_cert_hashes h = leaf(0);
    assert_true(front_build(&f[0], &h, 1, NULL, 1, 600000));
    for (unsigned i = 1; i < 200; i++) {
        struct sstp_cert_hashes next = leaf((uint8_t)i);
        assert_true(front_build(&f[i % 2], &next, 1, &f[1 - i % 2], i, 600000));
    }
    assert_int_equal(f[1].n, FRONT_MAX);
    assert_int_equal(f[1].leaf[0].hashes.sha256[0], 199);
    assert_int_equal(f[1].leaf[FRONT_MAX - 1].hashes.sha256[0], 200 - FRONT_MAX); /* the oldest went */
}

/* ---- dates ---- */

static void expiry_is_told_once_a_step(void **state)
{
    (void)state;
    const int64_t day = 86400, end = 1000 * day;
    int said = EXPIRY_NONE;
    char told[64] = "";
    for (int64_t now = end - 40 * day; now <= end + 2 * day; now += 60) {
        int due = expiry_due(end, now, said);
        if (due == EXPIRY_NONE)
            continue;
        assert_true(end - now <= due * day && end - now > due * day - 60);
        snprintf(told + strlen(told), sizeof told - strlen(told), "%d ", due);
        said = due;
    }
    assert_string_equal(told, "30 14 7 1 0 ");
    assert_int_equal(expiry_due(end, end - 6 * day, EXPIRY_NONE), 7); /* started late: the tightest alone */
    assert_int_equal(expiry_due(end, end + day, EXPIRY_NONE), 0);
    assert_int_equal(expiry_days(end, end - 1), 1);
    assert_int_equal(expiry_days(end, end - 6 * day), 6);
    assert_int_equal(expiry_days(end, end), 0);
}

/* ---- watched files ---- */

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* Looks until it is told, from `from` on; the time at which it was, 0: never. */
static uint64_t told_at(struct watch *w, uint64_t from)
{
    for (uint64_t t = from; t < from + 10000; t += 50)
        if (watch_look(w, t))
            return t;
    return 0;
}

static void changes_are_seen_however_they_are_made(void **state)
{
    (void)state;
    char dir[] = "/tmp/gatehouse-watch-XXXXXX", a[64], b[64], link[64], other[64];
    assert_non_null(mkdtemp(dir));
    snprintf(a, sizeof a, "%s/a", dir);
    snprintf(b, sizeof b, "%s/b", dir);
    snprintf(link, sizeof link, "%s/link", dir);
    snprintf(other, sizeof other, "%s/later", dir);
    put(a, "one");
    put(b, "two");
    assert_int_equal(symlink("a", link), 0);
    const char *const paths[] = { link, NULL, other };
    struct watch w = { 0 };
    assert_int_equal(watch_set(&w, paths, 3), 0);
    assert_int_equal(watch_wait_ms(&w), WATCH_IDLE_MS);
    assert_int_equal(told_at(&w, 1000), 0);
    put(a, "once more"); /* in place, behind a link */
    assert_int_equal(told_at(&w, 20000), 20000 + WATCH_QUIET_MS);
    assert_int_equal(told_at(&w, 30000), 0);
    char fresh[64];
    snprintf(fresh, sizeof fresh, "%s/fresh", dir);
    assert_int_equal(symlink("b", fresh), 0); /* the link is swapped */
    assert_int_equal(rename(fresh, link), 0);
    assert_int_equal(told_at(&w, 40000), 40000 + WATCH_QUIET_MS);
    put(fresh, "renamed over");
    assert_int_equal(rename(fresh, b), 0);
    assert_int_equal(told_at(&w, 60000), 60000 + WATCH_QUIET_MS);
    put(other, "came later");
    assert_int_equal(told_at(&w, 80000), 80000 + WATCH_QUIET_MS);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(told_at(&w, 100000), 100000 + WATCH_QUIET_MS);
    watch_clear(&w);
    unlink(a), unlink(b), unlink(other), rmdir(dir);
}

static void a_change_must_come_to_rest_but_not_for_ever(void **state)
{
    (void)state;
    char path[] = "/tmp/gatehouse-watch-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    const char *const paths[] = { path };
    struct watch w = { 0 };
    uint64_t t = 1000;
    assert_int_equal(watch_set(&w, paths, 1), 0);
    for (int i = 0; i < 4; i++, t += 100) { /* chain, then key, then ... */
        assert_int_equal(write(fd, "x", 1), 1);
        assert_false(watch_look(&w, t));
        assert_int_equal(watch_wait_ms(&w), WATCH_BUSY_MS);
    }
    assert_int_equal(told_at(&w, t), t - 100 + WATCH_QUIET_MS);
    uint64_t began = t = 20000, at = 0;
    for (; !at && t < began + 2 * WATCH_MOST_MS; t += 100) {
        assert_int_equal(write(fd, "x", 1), 1);
        at = watch_look(&w, t) ? t : 0;
    }
    assert_int_equal(at, began + WATCH_MOST_MS);
    watch_clear(&w);
    assert_int_equal(watch_wait_ms(&w), -1);
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_leaves_are_accepted_for_the_overlap),
        cmocka_unit_test(without_overlap_old_leaves_go_at_once),
        cmocka_unit_test(one_that_comes_back_has_no_end),
        cmocka_unit_test(a_front_that_changes_for_ever_stays_bounded),
        cmocka_unit_test(expiry_is_told_once_a_step),
        cmocka_unit_test(changes_are_seen_however_they_are_made),
        cmocka_unit_test(a_change_must_come_to_rest_but_not_for_ever),
        cmocka_unit_test(exact_before_wildcard_before_the_rest),
        cmocka_unit_test(a_wildcard_is_one_whole_label),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
