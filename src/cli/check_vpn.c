/* The VPN: users, addresses for them, forwarding. */
#include "cli/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "auth/request.h"
#include "auth/users.h"
#include "base/ct.h"
#include "base/digest.h"
#include "cli/file.h"

#define USERS_FILE_MAX (256u << 20)

static bool in_pool(const struct config *c, uint32_t ip)
{
    for (size_t i = 0; i < c->vpn.n_network; i++) {
        const struct config_net4 *n = &c->vpn.network[i];
        if ((ip ^ n->base) >> (32 - n->prefix) == 0)
            return ip != config_server_ip4(c);
    }
    return false;
}

static bool allows(const struct config *c, enum ppp_auth_method method)
{
    return memchr(c->vpn.auth, method, sizeof c->vpn.auth) != NULL;
}

static void judge_users(struct check *k, const struct users *users)
{
    const struct config *c = k->c;
    size_t hashed = 0;
    for (size_t i = 0; i < users_count(users); i++) {
        const struct user *u = users_at(users, i);
        char ip[INET_ADDRSTRLEN];
        struct in_addr in = { htonl(u->ip4) };
        hashed += !u->password;
        if (u->ip4 && !in_pool(c, u->ip4))
            finding(k, SEV_ERROR, "users-address", c->vpn.users, (int)u->line,
                    "choose one of vpn.network that is not the server's",
                    "the address %s of user \"%s\" cannot be given to a client", inet_ntop(AF_INET, &in, ip, sizeof ip),
                    u->name);
    }
    if (!users_count(users))
        finding(k, SEV_WARNING, "users-none", c->vpn.users, 1, "gatehouse user add NAME",
                "there are no users: nobody can dial in");
    if (hashed && allows(c, PPP_AUTH_CHAP_MD5))
        finding(k, allows(c, PPP_AUTH_MSCHAPV2) ? SEV_NOTE : SEV_WARNING, "users-chap", c->vpn.users, 1,
                "'gatehouse user passwd --plain NAME' stores what CHAP needs",
                "vpn.auth allows chap, but %zu users have only an NT hash, which works with mschapv2 and pap", hashed);
}

static void check_users(struct check *k)
{
    const struct config *c = k->c;
    char *text = NULL;
    size_t len = 0;
    struct users *users = NULL;
    struct users_error err = { 0 };
    struct stat st;
    if (digest_init() < 0) { /* the parser hashes plain: secrets, the server every answer of MS-CHAPv2 */
        finding(k, SEV_ERROR, "crypto-legacy", c->origin.file, 1,
                "install the package openssl whole: legacy.so is a part of it",
                "OpenSSL's legacy provider (MD4, DES) cannot be loaded");
        return;
    }
    if (file_read(c->vpn.users, USERS_FILE_MAX, &text, &len) < 0) {
        finding(k, SEV_ERROR, "users-unreadable", c->vpn.users, 1, "look at its owner and mode", "users file: %s",
                strerror(errno));
        return;
    }
    int rc = users_parse(text, len, &users, &err);
    if (rc == 0)
        judge_users(k, users);
    else
        finding(k, SEV_ERROR, "users-syntax", c->vpn.users, (int)err.line,
                "a line is NAME SECRET [key=value ...]; 'gatehouse user' writes them", "%s",
                err.text[0] ? err.text : err_name(rc));
    if (stat(c->vpn.users, &st) == 0 && st.st_mode & 07)
        finding(k, SEV_WARNING, "users-exposed", c->vpn.users, 1, "chmod 600 it: an NT hash is as good as a password",
                "everyone on this host can read the users' secrets");
    users_free(users);
    secret_free(text, len);
}

static bool forwarding_is_on(void)
{
    char *text = NULL;
    size_t len = 0;
    bool on = file_read("/proc/sys/net/ipv4/ip_forward", 16, &text, &len) == 0 && text[0] == '1';
    free(text);
    return on;
}

void check_vpn(struct check *k)
{
    const struct config *c = k->c;
    struct config_place network = config_place(c, c->vpn.network), forward = config_place(c, &c->vpn.forward);
    uint64_t hosts = 0;
    for (size_t i = 0; i < c->vpn.n_network; i++)
        hosts += (1ull << (32 - c->vpn.network[i].prefix)) - 2;
    check_users(k);
    if ((uint64_t)c->vpn.max_calls > hosts - 1)
        finding(k, SEV_NOTE, "vpn-pool", network.file, network.line, "add a network, if that is too few",
                "vpn.network has addresses for %llu calls, vpn.max-calls allows %d", (unsigned long long)hosts - 1,
                c->vpn.max_calls);
    if (!c->vpn.forward && !forwarding_is_on())
        finding(k, SEV_WARNING, "vpn-forward", forward.file, forward.line,
                "forward = true; in vpn, or sysctl net.ipv4.ip_forward=1",
                "this host does not forward packets: clients reach this host only");
}
