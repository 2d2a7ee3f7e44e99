/* The address pool: everything it may give, nothing else, fixed addresses, several networks, owners. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/digest.h"
#include "server/pool.h"

#define IP(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))

static struct config *config_of(uint32_t base0, uint8_t prefix0, uint32_t base1, uint8_t prefix1)
{
    struct config *cfg = calloc(1, sizeof *cfg);
    assert_non_null(cfg);
    cfg->vpn.network[cfg->vpn.n_network++] = (struct config_net4){ base0, prefix0 };
    if (prefix1)
        cfg->vpn.network[cfg->vpn.n_network++] = (struct config_net4){ base1, prefix1 };
    return cfg;
}

static void test_gives_all_and_only_hosts(void **state)
{
    (void)state;
    struct config *cfg = config_of(IP(10, 77, 0, 0), 29, 0, 0);
    struct pool p;
    uint32_t ip;
    bool seen[8] = { false };
    assert_int_equal(pool_init(&p, cfg), 0);
    assert_int_equal(p.free, 5); /* 8 less network, broadcast and the server */
    for (int i = 0; i < 5; i++) {
        assert_int_equal(pool_take(&p, 0, 1, &ip), 0);
        assert_true(ip > IP(10, 77, 0, 1) && ip < IP(10, 77, 0, 7));
        assert_false(seen[ip & 7]);
        seen[ip & 7] = true;
        assert_int_equal(pool_owner(&p, pool_slot(&p, ip)), 1);
    }
    assert_int_equal(pool_take(&p, 0, 1, &ip), ERR_LIMIT);
    pool_give(&p, IP(10, 77, 0, 4));
    pool_give(&p, IP(10, 77, 0, 4)); /* twice is harmless */
    assert_int_equal(p.free, 1);
    assert_int_equal(pool_owner(&p, pool_slot(&p, IP(10, 77, 0, 4))), -1);
    assert_int_equal(pool_take(&p, 0, 0, &ip), 0);
    assert_int_equal(ip, IP(10, 77, 0, 4));
    pool_fini(&p);
    free(cfg);
}

static void test_fixed_addresses_are_kept(void **state)
{
    (void)state;
    static const char text[] = "alice nt:8846f7eaee8fb117ad06bdd830b7586c ip=10.77.0.2\n";
    struct config *cfg = config_of(IP(10, 77, 0, 0), 30, 0, 0);
    struct users *users;
    struct users_error err;
    struct pool p;
    uint32_t ip;
    assert_int_equal(users_parse(text, sizeof text - 1, &users, &err), 0);
    assert_int_equal(pool_init(&p, cfg), 0);
    pool_reserve(&p, users);
    assert_int_equal(pool_take(&p, 0, 0, &ip), ERR_LIMIT); /* the only one is alice's */
    assert_int_equal(pool_take(&p, IP(10, 77, 0, 2), 0, &ip), 0);
    assert_int_equal(pool_take(&p, IP(10, 77, 0, 2), 0, &ip), ERR_AGAIN);
    assert_int_equal(pool_take(&p, IP(10, 77, 0, 1), 0, &ip), ERR_USAGE); /* the server's */
    assert_int_equal(pool_take(&p, IP(10, 77, 0, 3), 0, &ip), ERR_USAGE); /* broadcast */
    assert_int_equal(pool_take(&p, IP(192, 0, 2, 1), 0, &ip), ERR_USAGE);
    pool_give(&p, IP(10, 77, 0, 2));
    assert_int_equal(pool_take(&p, 0, 0, &ip), ERR_LIMIT); /* still hers */
    pool_fini(&p);
    users_free(users);
    free(cfg);
}

/* More than are marked at a time; those that are no user's any more are anybody's again. */
static void test_many_fixed_addresses(void **state)
{
    (void)state;
    enum { USERS = 5000, HOSTS = 8192 - 3 }; /* all but network, server, broadcast */
    static char text[USERS * 80];
    struct config *cfg = config_of(IP(10, 77, 0, 0), 19, 0, 0);
    struct users *many, *one;
    struct users_error err;
    struct pool p;
    uint32_t ip, taken = 0;
    int n = 0;
    for (unsigned i = 0; i < USERS; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "u%u nt:8846f7eaee8fb117ad06bdd830b7586c ip=10.77.%u.%u\n", i,
                      (i + 2) >> 8, (i + 2) & 255);
    assert_int_equal(users_parse(text, (size_t)n, &many, &err), 0);
    assert_int_equal(users_parse(text, strcspn(text, "\n") + 1, &one, &err), 0);
    assert_int_equal(pool_init(&p, cfg), 0);
    pool_reserve(&p, many);
    for (; !pool_take(&p, 0, 0, &ip); taken++)
        assert_true(ip >= IP(10, 77, 0, 2) + USERS);
    assert_int_equal(taken, HOSTS - USERS);
    pool_reserve(&p, one);
    for (; !pool_take(&p, 0, 0, &ip); taken++)
        assert_true(ip != IP(10, 77, 0, 2));
    assert_int_equal(taken, HOSTS - 1);
    pool_fini(&p);
    users_free(many);
    users_free(one);
    free(cfg);
}

static void test_several_networks(void **state)
{
    (void)state;
    struct config *cfg = config_of(IP(10, 77, 0, 0), 30, IP(192, 168, 7, 0), 29);
    struct pool p;
    uint32_t ip;
    unsigned first = 0, second = 0;
    assert_int_equal(pool_init(&p, cfg), 0);
    assert_int_equal(p.free, 1 + 6); /* the server's address is in the first one only */
    while (!pool_take(&p, 0, 0, &ip)) {
        assert_true(pool_slot(&p, ip) < p.slots);
        if (ip >> 24 == 10)
            first++;
        else
            second++;
    }
    assert_int_equal(first, 1);
    assert_int_equal(second, 6);
    assert_int_equal(pool_slot(&p, IP(10, 78, 0, 0)), UINT32_MAX);
    pool_fini(&p);
    free(cfg);
}

/* Who steers is told of every owner; an address that is given twice is nobody's only once. */
static void test_tells_who_steers(void **state)
{
    struct steer_entry ip4[9] = { 0 }; /* one more than there are slots */
    struct steer_tables tables = { .ip4 = ip4, .n4 = 8, .queues = 1 };
    struct config *cfg = config_of(IP(10, 77, 0, 0), 30, IP(10, 78, 0, 0), 30);
    struct pool p;
    uint32_t ip;
    (void)state;
    assert_int_equal(pool_init(&p, cfg), 0);
    p.steer = &tables;
    assert_int_equal(pool_take(&p, 0, 3, &ip), 0);
    assert_int_equal(ip4[pool_slot(&p, ip)].owner, 4);
    assert_int_equal(pool_take(&p, IP(10, 78, 0, 2), 0, &ip), 0);
    assert_int_equal(ip4[4 + 2].owner, 1);
    assert_int_equal(pool_take(&p, IP(10, 78, 0, 2), 5, &ip), ERR_AGAIN);
    assert_int_equal(ip4[4 + 2].owner, 1); /* still the first one's */
    pool_give(&p, IP(10, 78, 0, 2));
    assert_int_equal(ip4[4 + 2].owner, 0);
    assert_int_equal(pool_take(&p, IP(10, 78, 0, 2), 5, &ip), 0);
    assert_int_equal(ip4[4 + 2].owner, 6);
    for (uint32_t slot = 0; slot < 9; slot++)
        assert_int_equal(ip4[slot].owner, slot < 8 ? pool_owner(&p, slot) + 1 : 0);
    pool_fini(&p);
    free(cfg);
}

int main(void)
{
    assert_int_equal(digest_init(), 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gives_all_and_only_hosts), cmocka_unit_test(test_fixed_addresses_are_kept),
        cmocka_unit_test(test_many_fixed_addresses),     cmocka_unit_test(test_several_networks),
        cmocka_unit_test(test_tells_who_steers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
