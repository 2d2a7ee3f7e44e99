/* What this host has: addresses of interfaces, routes. */
#include "cli/check.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/file.h"

#define ROUTES_FILE_MAX (1u << 20)
#define RTF_UP_BIT      0x0001

static bool take(struct check_addr *out, const struct ifaddrs *i)
{
    uint8_t mask[16] = { 0 };
    size_t len = 0;
    if (!i->ifa_addr || !i->ifa_netmask)
        return false;
    memset(out, 0, sizeof *out);
    if (i->ifa_addr->sa_family == AF_INET) {
        struct sockaddr_in a, m;
        memcpy(&a, i->ifa_addr, sizeof a);
        memcpy(&m, i->ifa_netmask, sizeof m);
        len = 4;
        memcpy(out->ip, &a.sin_addr, len);
        memcpy(mask, &m.sin_addr, len);
    } else if (i->ifa_addr->sa_family == AF_INET6) {
        struct sockaddr_in6 a, m;
        memcpy(&a, i->ifa_addr, sizeof a);
        memcpy(&m, i->ifa_netmask, sizeof m);
        len = 16;
        memcpy(out->ip, &a.sin6_addr, len);
        memcpy(mask, &m.sin6_addr, len);
    }
    out->family = len == 4 ? 4 : 6;
    for (size_t k = 0; k < len; k++)
        out->bits = (uint8_t)(out->bits + __builtin_popcount(mask[k]));
    snprintf(out->ifname, sizeof out->ifname, "%s", i->ifa_name);
    return len != 0;
}

/* /proc/net/route: addresses are in the host's order of the network's bytes. */
static void read_routes(struct check_host *out)
{
    char *text = NULL, *save = NULL;
    size_t len = 0;
    if (file_read("/proc/net/route", ROUTES_FILE_MAX, &text, &len) < 0)
        return;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        struct check_addr r = { .family = 4 };
        uint32_t to, mask;
        unsigned flags;
        if (out->n_route == CHECK_ROUTES_MAX)
            break;
        if (sscanf(line, "%15s %8x %*x %x %*d %*d %*d %8x", r.ifname, &to, &flags, &mask) != 4 || !mask ||
            !(flags & RTF_UP_BIT))
            continue;
        memcpy(r.ip, &to, sizeof to);
        r.bits = (uint8_t)__builtin_popcount(mask);
        out->route[out->n_route++] = r;
    }
    free(text);
}

void check_host_read(struct check_host *out)
{
    struct ifaddrs *list = NULL;
    memset(out, 0, sizeof *out);
    if (getifaddrs(&list) == 0)
        for (struct ifaddrs *i = list; i && out->n_addr < CHECK_ADDRS_MAX; i = i->ifa_next)
            out->n_addr += take(&out->addr[out->n_addr], i);
    freeifaddrs(list);
    read_routes(out);
}
