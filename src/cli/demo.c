/* gatehouse serve --demo DIR: everything that a first try needs, in one folder. */
#include "cli/cli.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/rand.h>

#include "base/ct.h"
#include "cli/certfile.h"
#include "cli/file.h"
#include "cli/userfile.h"
#include "server/config.h"

#define PASSWORD_LEN 16
#define NAMES_MAX    32

struct demo {
    char *dir; /* absolute */
    char names[NAMES_MAX][256];
    size_t n_names;
    const char *host;                /* what clients are told to connect to: one of names */
    char password[PASSWORD_LEN + 1]; /* empty when the user was there already */
};

static void add_name(struct demo *d, const char *name)
{
    for (size_t i = 0; i < d->n_names; i++) {
        if (!strcmp(d->names[i], name))
            return;
    }
    if (d->n_names < NAMES_MAX)
        snprintf(d->names[d->n_names++], sizeof d->names[0], "%s", name);
}

static bool outside(const struct ifaddrs *i)
{
    return i->ifa_addr && i->ifa_flags & IFF_UP && !(i->ifa_flags & IFF_LOOPBACK);
}

/* Addresses that others reach, IPv4 first, then the host's name, then what works on this host alone. */
static void find_names(struct demo *d)
{
    char text[INET6_ADDRSTRLEN], host[256] = "";
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) < 0)
        all = NULL;
    for (int pass = 0; pass < 2; pass++) {
        for (struct ifaddrs *i = all; i; i = i->ifa_next) {
            const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)i->ifa_addr;
            const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)i->ifa_addr;
            if (!outside(i))
                continue;
            if (pass == 0 && four->sin_family == AF_INET)
                add_name(d, inet_ntop(AF_INET, &four->sin_addr, text, sizeof text));
            if (pass == 1 && six->sin6_family == AF_INET6 && !IN6_IS_ADDR_LINKLOCAL(&six->sin6_addr))
                add_name(d, inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof text));
        }
    }
    freeifaddrs(all);
    if (gethostname(host, sizeof host - 1) == 0 && config_name_valid(host))
        add_name(d, host);
    add_name(d, "localhost");
    add_name(d, "127.0.0.1");
    add_name(d, "::1");
    d->host = d->names[0];
}

static char *path_in(const struct demo *d, const char *name)
{
    char *path;
    return asprintf(&path, "%s/%s", d->dir, name) < 0 ? NULL : path;
}

/*
 * Whether the folder's name is a link that somebody else made: in /tmp it may lead to a folder of ours that is no
 * demonstration. realpath() would follow it even where the kernel does not (fs.protected_symlinks).
 */
static bool is_foreign_link(const char *dir)
{
    struct stat st;
    char name[PATH_MAX];
    size_t n = (size_t)snprintf(name, sizeof name, "%s", dir);
    if (n >= sizeof name)
        return true;
    while (n > 1 && name[n - 1] == '/') /* "link/" is what the link leads to */
        name[--n] = 0;
    return lstat(name, &st) == 0 && S_ISLNK(st.st_mode) && st.st_uid != geteuid();
}

static bool make_folder(struct demo *d, const char *dir)
{
    struct stat st;
    if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
        cli_fail("cannot make %s: %s", dir, strerror(errno));
        return false;
    }
    if (is_foreign_link(dir)) {
        cli_fail("%s is a link that someone else made; choose a folder of your own", dir);
        return false;
    }
    d->dir = realpath(dir, NULL);
    if (!d->dir || stat(d->dir, &st) < 0 || !S_ISDIR(st.st_mode) || strpbrk(d->dir, "\"\\\n")) {
        cli_fail("%s cannot be used: a folder is expected, without quotes in its name", dir);
        return false;
    }
    if (st.st_uid != geteuid() || st.st_mode & 022) {
        cli_fail("%s belongs to someone else or others may write there; choose a folder of your own", d->dir);
        return false;
    }
    return true;
}

static bool make_cert(const struct demo *d)
{
    const char *names[NAMES_MAX];
    char *cert = path_in(d, "certificate.pem"), *key = path_in(d, "certificate.key"), why[512] = "out of memory";
    for (size_t i = 0; i < d->n_names; i++)
        names[i] = d->names[i];
    struct certfile_spec spec = {
        .names = names, .n_names = d->n_names, .days = 825, .cert_path = cert, .key_path = key
    };
    bool ok = cert && key;
    if (ok && (access(cert, F_OK) < 0 || access(key, F_OK) < 0)) {
        spec.replace = true; /* one without the other is of no use */
        ok = certfile_make(&spec, why, sizeof why) == 0;
    }
    if (!ok)
        cli_fail("%s", why);
    free(cert);
    free(key);
    return ok;
}

/* Letters and digits without those that look alike; 16 of 32 are 80 bits. */
static bool make_password(char out[PASSWORD_LEN + 1])
{
    static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789";
    unsigned char raw[PASSWORD_LEN];
    if (RAND_bytes(raw, sizeof raw) != 1)
        return false;
    for (size_t i = 0; i < PASSWORD_LEN; i++)
        out[i] = letters[raw[i] % 32];
    out[PASSWORD_LEN] = 0;
    secret_wipe(raw, sizeof raw);
    return true;
}

static bool make_user(struct demo *d)
{
    char *users = path_in(d, "users"), *secret = NULL;
    const char *why = "out of memory";
    bool ok = users != NULL;
    if (ok && access(users, F_OK) < 0) {
        ok = make_password(d->password) && userfile_secret(d->password, PASSWORD_LEN, false, &secret, &why) == 0;
        if (!ok)
            cli_fail("%s", why);
        const struct userfile_change add = { .verb = USERFILE_ADD, .name = "demo", .secret = secret };
        ok = ok && userfile_edit(users, &add) == 0;
        secret_free(secret, secret ? strlen(secret) : 0);
    }
    free(users);
    return ok;
}

static char *make_config(const struct demo *d)
{
    char *path = path_in(d, "gatehouse.conf"), *text = NULL;
    const char *user = getpwnam("gatehouse") ? "gatehouse" : "nobody";
    int len = asprintf(
        &text,
        "# Made by gatehouse serve --demo; it is kept when that runs again. 'gatehouse check -c' judges it.\n"
        "listen: { address = [ \"0.0.0.0:443\", \"[::]:443\" ]; };\n\n"
        "certificates: (\n"
        "  { name = \"demo\"; chain = \"certificate.pem\"; key = \"certificate.key\"; for = [ \"default\" ]; }\n"
        ");\n\n"
        "# The built-in site. Relay to a web server instead: web: ( { upstream = \"127.0.0.1:8080\"; } );\n"
        "web: ( { } );\n\n"
        "vpn: {\n"
        "  network = [ \"10.77.0.0/24\" ];\n"
        "  users   = \"users\";\n"
        "  nat     = \"auto\";\n"
        "  forward = true;\n"
        "};\n\n"
        "control: { socket = \"control\"; };\n"
        "worker:  { user = \"%s\"; };\n",
        user);
    bool ok = path && len >= 0;
    if (ok && file_write(path, text, (size_t)len, 0600, FILE_OLD_STAYS) < 0 && errno != EEXIST) {
        cli_fail("cannot write %s: %s", path, strerror(errno));
        ok = false;
    }
    if (len >= 0)
        free(text);
    if (!ok) {
        free(path);
        path = NULL;
    }
    return path;
}

static void tell(const struct demo *d)
{
    const char *left = strchr(d->host, ':') ? "[" : "", *right = *left ? "]" : "";
    const char *password = *d->password ? d->password : "PASSWORD";
    printf("Gatehouse demonstration in %s\n\n"
           "  address   %s (the certificate also has",
           d->dir, d->host);
    for (size_t i = 1; i < d->n_names; i++)
        printf("%s %s", i > 1 ? "," : "", d->names[i]);
    printf(")\n  user      demo\n");
    if (*d->password)
        printf("  password  %s   (shown this once: only its hash is stored)\n", d->password);
    else
        printf("  password  as shown on the first run; a new one:\n"
               "            gatehouse user passwd demo -c %s/gatehouse.conf\n",
               d->dir);
    printf("\nBrowser: https://%s%s%s/   (it warns, because the certificate is self-signed)\n\n"
           "Windows, in PowerShell as administrator, with certificate.pem copied there as gatehouse.cer:\n"
           "  Import-Certificate -FilePath .\\gatehouse.cer -CertStoreLocation Cert:\\LocalMachine\\Root\n"
           "  Add-VpnConnection -Name Gatehouse -ServerAddress %s -TunnelType Sstp -AuthenticationMethod MSChapv2\n"
           "  rasdial Gatehouse demo %s\n\n"
           "Linux, with Gatehouse, and certificate.pem copied there (it asks for the password):\n"
           "  sudo gatehouse connect https://%s%s%s --user demo --ca certificate.pem\n"
           "  gatehouse probe https://%s%s%s --ca certificate.pem\n\n"
           "Linux, with sstp-client and pppd, and certificate.pem copied there:\n"
           "  sudo sstpc --log-stderr --ca-cert certificate.pem --user demo --password %s %s \\\n"
           "    noauth require-mschap-v2 noipdefault nodefaultroute\n"
           "  then 'ping 10.77.0.1' reaches this server through the tunnel\n\n",
           left, d->host, right, d->host, password, left, d->host, right, left, d->host, right, password, d->host);
    fflush(stdout);
}

int demo_prepare(const char *dir, char **config_path)
{
    static struct demo d; /* large; runs once */
    memset(&d, 0, sizeof d);
    char *path = NULL;
    find_names(&d);
    if (make_folder(&d, dir) && make_cert(&d) && make_user(&d) && (path = make_config(&d))) {
        tell(&d);
        *config_path = path;
    }
    secret_wipe(d.password, sizeof d.password);
    free(d.dir);
    return path ? 0 : ERR_SYSTEM;
}
