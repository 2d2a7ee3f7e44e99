#include "tun/nat.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs `nft -f -` with the text on its standard input; its standard error comes back in err. */
static int nft_run(const char *text, char *err, size_t err_cap)
{
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) < 0)
        return ERR_SYSTEM;
    if (pipe2(out, O_CLOEXEC) < 0) {
        close(in[0]);
        close(in[1]);
        return ERR_SYSTEM;
    }
    posix_spawn_file_actions_t fa;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_adddup2(&fa, in[0], 0);
    posix_spawn_file_actions_adddup2(&fa, out[1], 1);
    posix_spawn_file_actions_adddup2(&fa, out[1], 2);
    char prog[] = "nft", opt[] = "-f", dash[] = "-";
    char *const argv[] = { prog, opt, dash, NULL };
    char *const env[] = { (char[]){ "PATH=/usr/sbin:/usr/bin:/sbin:/bin" }, NULL };
    pid_t pid;
    int rc = posix_spawnp(&pid, "/usr/sbin/nft", &fa, NULL, argv, env);
    posix_spawn_file_actions_destroy(&fa);
    close(in[0]);
    close(out[1]);
    if (rc) {
        snprintf(err, err_cap, "cannot run /usr/sbin/nft: %s: install the nftables package", strerror(rc));
        close(in[1]);
        close(out[0]);
        return ERR_SYSTEM;
    }
    ssize_t done = write(in[1], text, strlen(text)); /* smaller than a pipe */
    close(in[1]);
    size_t have = 0;
    ssize_t n;
    char chunk[256];
    while ((n = read(out[0], chunk, sizeof chunk)) > 0)
        for (ssize_t i = 0; i < n && have + 1 < err_cap; i++)
            err[have++] = chunk[i] == '\n' ? ' ' : chunk[i];
    err[have] = 0;
    close(out[0]);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return done == (ssize_t)strlen(text) && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : ERR_SYSTEM;
}

int nat_install(const char *interface, const struct tun_net4 *nets, size_t n, bool nat, char *err, size_t err_cap)
{
    char set[512] = "", text[2048];
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        struct in_addr a = { htonl(nets[i].base) };
        char addr[INET_ADDRSTRLEN];
        inet_ntop(AF_INET, &a, addr, sizeof addr);
        at += (size_t)snprintf(set + at, sizeof set - at, "%s%s/%u", i ? ", " : "", addr, nets[i].prefix);
    }
    char masquerade[900] = "";
    if (nat)
        snprintf(masquerade, sizeof masquerade,
                 "  chain postrouting {\n"
                 "    type nat hook postrouting priority srcnat; policy accept;\n"
                 "    ip saddr { %s } oifname != \"%s\" masquerade\n"
                 "  }\n",
                 set, interface);
    snprintf(text, sizeof text,
             "table inet gatehouse\n"
             "delete table inet gatehouse\n"
             "table inet gatehouse {\n"
             "  chain forward {\n"
             "    type filter hook forward priority mangle; policy accept;\n"
             "    oifname \"%s\" tcp flags syn tcp option maxseg size set rt mtu\n"
             "    iifname \"%s\" tcp flags syn tcp option maxseg size set rt mtu\n"
             "  }\n"
             "%s}\n",
             interface, interface, masquerade);
    return nft_run(text, err, err_cap);
}

void nat_remove(void)
{
    char err[256];
    int rc = nft_run("table inet gatehouse\ndelete table inet gatehouse\n", err, sizeof err);
    (void)rc;
}

#define FORWARD_PATH "/proc/sys/net/ipv4/ip_forward"

static int forward_write(int value)
{
    int fd = open(FORWARD_PATH, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR_SYSTEM;
    ssize_t n = write(fd, value ? "1\n" : "0\n", 2);
    close(fd);
    return n == 2 ? 0 : ERR_SYSTEM;
}

int forward_enable(int *was)
{
    char c = '0';
    int fd = open(FORWARD_PATH, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR_SYSTEM;
    ssize_t n = read(fd, &c, 1);
    close(fd);
    if (n != 1)
        return ERR_SYSTEM;
    *was = c != '0';
    return *was ? 0 : forward_write(1);
}

void forward_restore(int was)
{
    int rc = was ? 0 : forward_write(0);
    (void)rc;
}
