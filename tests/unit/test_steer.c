/*
 * Steering: the tables in memory, and, where this may make interfaces, a TUN device with several queues: each packet
 * comes out of its owner's queue.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tun/device.h"
#include "tun/steer.h"

#define IP(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))
#define QUEUES         3
#define ENTRIES6       ((size_t)1 << STEER_IP6_BITS)

static void test_hash6_fills_the_table(void **state)
{
    static unsigned hits[1 << STEER_IP6_BITS];
    unsigned most = 0;
    (void)state;
    for (uint32_t i = 0; i < 10000; i++) {
        uint8_t iid[8] = { 2, 0, 0, 0, (uint8_t)(i >> 24), (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i };
        uint32_t h = steer_hash6(iid);
        assert_in_range(h, 0, ENTRIES6 - 1);
        if (++hits[h] > most)
            most = hits[h];
    }
    assert_in_range(most, 1, 6); /* neighbours do not meet */
    for (int byte = 0; byte < 8; byte++) {
        uint8_t a[8] = { 1, 2, 3, 4, 5, 6, 7, 8 }, b[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
        b[byte] ^= 0x40;
        assert_int_not_equal(steer_hash6(a), steer_hash6(b)); /* every byte counts */
    }
}

static void test_tables(void **state)
{
    static const uint8_t iid[8] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    struct steer_tables t, none = { 0 };
    int fd4 = memfd_create("ip4", MFD_CLOEXEC), fd6 = memfd_create("ip6", MFD_CLOEXEC);
    (void)state;
    assert_int_equal(ftruncate(fd4, 256 * sizeof(struct steer_entry)), 0);
    assert_int_equal(ftruncate(fd6, (off_t)(ENTRIES6 * sizeof(struct steer_entry))), 0);
    assert_int_equal(steer_map(&t, fd4, fd6, 256, 1), 0);
    steer_set4(&t, 255, 0);
    steer_set4(&t, 256, 1); /* no slot of these networks */
    steer_set4(&t, UINT32_MAX, 1);
    steer_set6(&t, iid, 63);
    assert_int_equal(t.ip4[255].owner, 1);
    assert_int_equal(t.ip6[steer_hash6(iid)].owner, 64);
    steer_drop6(&t, iid, 62); /* another's */
    assert_int_equal(t.ip6[steer_hash6(iid)].owner, 64);
    steer_drop6(&t, iid, 63);
    assert_int_equal(t.ip6[steer_hash6(iid)].owner, 0);
    steer_set6(&t, iid, 63);
    steer_set4(&t, 255, -1);
    steer_set6(&t, iid, -1);
    for (size_t i = 0; i < 256; i++)
        assert_int_equal(t.ip4[i].owner, 0);
    for (size_t i = 0; i < ENTRIES6; i++)
        assert_int_equal(t.ip6[i].owner, 0);
    steer_unmap(&t);
    assert_null(t.ip4);
    steer_set4(&none, 0, 1); /* without steering: nothing to write to */
    steer_set6(&none, iid, 1);
    steer_drop6(&none, iid, 1);
    assert_int_equal(steer_map(&t, -1, fd6, 256, 1), ERR_SYSTEM);
    assert_null(t.ip6);
    close(fd4);
    close(fd6);
}

/* ---- with a device ---- */

static const struct tun_net4 nets[] = { { IP(10, 91, 0, 0), 24 }, { IP(10, 92, 4, 0), 22 }, { IP(10, 93, 0, 0), 30 } };
static const uint8_t server_iid[8] = { 0, 0, 0, 0, 0, 0, 0, 1 };

/* Neighbours have different queues, all of the worker's; and who gives one back knows which it was. */
static void test_spread(void **state)
{
    enum { WORKERS = 5, EACH = 4, SLOTS = 16 };
    struct steer_entry ip4[SLOTS] = { 0 };
    struct steer_entry *ip6 = calloc(ENTRIES6, sizeof *ip6);
    struct steer_tables t = { .ip4 = ip4, .ip6 = ip6, .n4 = SLOTS, .queues = EACH };
    unsigned seen6 = 0;
    (void)state;
    for (int worker = 0; worker < WORKERS; worker++) {
        unsigned seen = 0;
        for (uint32_t slot = 0; slot < SLOTS; slot++) {
            steer_set4(&t, slot, worker);
            unsigned queue = ip4[slot].owner - 1;
            assert_int_equal(queue / EACH, worker);
            seen |= 1u << queue % EACH;
            if (slot)
                assert_int_not_equal(ip4[slot].owner, ip4[slot - 1].owner);
            steer_set4(&t, slot, -1);
            assert_int_equal(ip4[slot].owner, 0);
        }
        assert_int_equal(seen, (1u << EACH) - 1);
    }
    for (uint8_t i = 0; i < 64; i++) {
        const uint8_t iid[8] = { 2, 0, 0, 0, 0, 0, 0, i };
        steer_set6(&t, iid, 3);
        unsigned queue = ip6[steer_hash6(iid)].owner - 1;
        assert_int_equal(queue / EACH, 3);
        seen6 |= 1u << queue % EACH;
        steer_drop6(&t, iid, 2);
        assert_int_equal(ip6[steer_hash6(iid)].owner, queue + 1);
        steer_drop6(&t, iid, 3);
        assert_int_equal(ip6[steer_hash6(iid)].owner, 0);
    }
    assert_int_equal(seen6, (1u << EACH) - 1);
    free(ip6);
}

/* Of any number of workers each has some, and all together no more than the kernel has. */
static void test_queues_per_worker(void **state)
{
    (void)state;
    assert_int_equal(tun_queues_per_worker(1), TUN_QUEUES_WORKER);
    assert_int_equal(tun_queues_per_worker(TUN_QUEUES_MAX / TUN_QUEUES_WORKER), TUN_QUEUES_WORKER);
    assert_int_equal(tun_queues_per_worker(64), 4);
    for (unsigned workers = 1; workers <= TUN_QUEUES_MAX; workers++)
        assert_in_range(tun_queues_per_worker(workers) * workers, workers, TUN_QUEUES_MAX);
}

struct rig {
    int fds[QUEUES];
    struct tun_offload offload;
    struct steer steer;
    struct steer_tables t;
    int s4, s6;
};

/* False: not allowed here, and why is printed. */
static bool rig_open(struct rig *r, bool offload)
{
    struct tun_params p = { .name = "ghsteer",
                            .queues = QUEUES,
                            .mtu = 1400,
                            .server_ip4 = IP(10, 91, 0, 1),
                            .nets = nets,
                            .n_nets = 3,
                            .ip6_iid = server_iid,
                            .offload = offload };
    char err[300];
    static bool apart;
    if (!apart && unshare(CLONE_NEWNET) < 0) {
        print_message("no name space of its own: %s\n", strerror(errno));
        return false;
    }
    apart = true;
    if (tun_device_open(&p, r->fds, &r->offload, err, sizeof err)) {
        print_message("no interface: %s\n", err);
        return false;
    }
    r->s4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    r->s6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (!steer_open(&r->steer, r->fds[1], nets, 3, err, sizeof err)) {
        assert_int_equal(steer_map(&r->t, r->steer.map4, r->steer.map6, 256 + 1024 + 4, 1), 0);
        steer_close(&r->steer); /* device and memory live on */
        return true;
    }
    print_message("no steering: %s\n", err);
    assert_true(err[0] && r->steer.program == -1 && r->steer.map4 == -1 && r->steer.map6 == -1);
    for (int i = 0; i < QUEUES; i++)
        close(r->fds[i]);
    close(r->s4);
    close(r->s6);
    return false;
}

static void rig_close(struct rig *r)
{
    steer_unmap(&r->t);
    for (int i = 0; i < QUEUES; i++)
        close(r->fds[i]);
    close(r->s4);
    close(r->s6);
}

/* The queue that the one packet of this mark comes out of; packets of the kernel's own are passed over. */
static int queue_of(struct rig *r, uint32_t mark)
{
    for (int round = 0; round < 50; round++) {
        struct pollfd p[QUEUES];
        for (int i = 0; i < QUEUES; i++)
            p[i] = (struct pollfd){ .fd = r->fds[i], .events = POLLIN };
        if (poll(p, QUEUES, 2000) <= 0)
            return -1;
        for (int i = 0; i < QUEUES; i++) {
            uint8_t packet[2048];
            ssize_t n = p[i].revents ? read(r->fds[i], packet, sizeof packet) : 0;
            if (n >= (ssize_t)(sizeof(struct virtio_net_hdr) + 8 + sizeof mark) &&
                memcmp(packet + n - sizeof mark, &mark, sizeof mark) == 0)
                return i;
        }
    }
    return -1;
}

static int to4(struct rig *r, uint32_t ip)
{
    static uint32_t mark = 0x5eed0000;
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(ip) };
    mark++;
    assert_int_equal(sendto(r->s4, &mark, sizeof mark, 0, (struct sockaddr *)&to, sizeof to), (int)sizeof mark);
    return queue_of(r, mark);
}

static int to6(struct rig *r, const uint8_t iid[8])
{
    static uint32_t mark = 0xfeed0000;
    struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_port = htons(9) };
    to.sin6_scope_id = if_nametoindex("ghsteer");
    to.sin6_addr.s6_addr[0] = 0xfe;
    to.sin6_addr.s6_addr[1] = 0x80;
    memcpy(to.sin6_addr.s6_addr + 8, iid, 8);
    mark++;
    assert_int_equal(sendto(r->s6, &mark, sizeof mark, 0, (struct sockaddr *)&to, sizeof to), (int)sizeof mark);
    return queue_of(r, mark);
}

static void check_ip4(struct rig *r)
{
    /* first and last of each network, and slots that differ in the network alone */
    static const uint32_t ip[] = { IP(10, 91, 0, 2), IP(10, 91, 0, 254), IP(10, 92, 4, 0), IP(10, 92, 4, 2),
                                   IP(10, 92, 5, 7), IP(10, 92, 7, 255), IP(10, 93, 0, 1), IP(10, 93, 0, 3) };
    static const uint32_t slot[] = { 2, 254, 256, 258, 256 + 263, 256 + 1023, 256 + 1024 + 1, 256 + 1024 + 3 };
    for (int turn = 0; turn < QUEUES; turn++) {
        for (size_t i = 0; i < sizeof ip / sizeof ip[0]; i++)
            steer_set4(&r->t, slot[i], (int)(i + (size_t)turn) % QUEUES);
        for (size_t i = 0; i < sizeof ip / sizeof ip[0]; i++)
            assert_int_equal(to4(r, ip[i]), (int)(i + (size_t)turn) % QUEUES);
    }
    steer_set4(&r->t, slot[0], -1);
    assert_int_not_equal(to4(r, ip[0]), -1); /* nobody's: some queue */
    steer_set4(&r->t, slot[0], 200);         /* what no worker has: some queue */
    assert_int_not_equal(to4(r, ip[0]), -1);
}

static void check_ip6(struct rig *r)
{
    static const uint8_t iid[][8] = { { 2, 0, 0, 0, 0, 0, 0, 7 },
                                      { 0x02, 0x11, 0x22, 0xff, 0xfe, 0x33, 0x44, 0x55 },
                                      { 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10 },
                                      { 0, 0, 0, 0, 0, 0, 0, 2 } };
    for (int turn = 0; turn < QUEUES; turn++)
        for (size_t i = 0; i < sizeof iid / sizeof iid[0]; i++) {
            steer_set6(&r->t, iid[i], (int)(i + (size_t)turn) % QUEUES);
            assert_int_equal(to6(r, iid[i]), (int)(i + (size_t)turn) % QUEUES);
        }
}

static void test_device(void **state)
{
    struct rig r;
    (void)state;
    for (int offload = 0; offload < 2; offload++) {
        if (!rig_open(&r, offload)) {
            skip();
            return;
        }
        assert_true(r.offload.tso == (offload != 0) && (offload || !r.offload.uso));
        check_ip4(&r);
        check_ip6(&r);
        rig_close(&r);
    }
}

static void test_refused(void **state)
{
    static const struct tun_net4 large[] = { { 0, 1 } };
    static const struct tun_net4 many[STEER_NETS_MAX + 1] = { [0 ... STEER_NETS_MAX] = { IP(10, 0, 0, 0), 30 } };
    struct steer s;
    char err[200] = "";
    (void)state;
    assert_int_equal(steer_open(&s, -1, large, 1, err, sizeof err), ERR_SYSTEM);
    assert_non_null(strstr(err, "too large"));
    assert_int_equal(steer_open(&s, -1, many, STEER_NETS_MAX + 1, err, sizeof err), ERR_SYSTEM);
    assert_int_equal(steer_open(&s, -1, nets, 3, err, sizeof err), ERR_SYSTEM); /* no device, or no eBPF at all */
    assert_non_null(strstr(err, "eBPF"));
    assert_true(s.program == -1 && s.map4 == -1 && s.map6 == -1);
}

static void test_offload_numbers(void **state)
{
    static const struct tun_offload all[] = { { 0 }, { .tso = true }, { .tso = true, .uso = true } };
    static const char *text[] = { "off", "tso", "tso,uso" };
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct tun_offload o = tun_offload_unpack(tun_offload_pack(all[i]));
        assert_true(o.tso == all[i].tso && o.uso == all[i].uso);
        assert_string_equal(tun_offload_text(o), text[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash6_fills_the_table),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_spread),
        cmocka_unit_test(test_queues_per_worker),
        cmocka_unit_test(test_offload_numbers),
        cmocka_unit_test(test_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
