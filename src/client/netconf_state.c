/* The state file and its lock: what has to be undone when the process that did it is gone. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/ct.h"
#include "client/netconf_parts.h"

#define STATE_VERSION 1
#define STATE_MAX     (5 * NETCONF_RESOLV_MAX) /* bytes: two texts in hexadecimal, and little else */
#define LOCK_TRIES    8

bool netconf_name_valid(const char *name)
{
    size_t len = strlen(name);
    return len >= 1 && len <= NETCONF_NAME_MAX && name[0] != '-' && name[0] != '.' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == len;
}

/* FOLDER, when it is nobody's but root's: what is read there is acted upon as root. */
static int folder_open(const char *folder)
{
    struct stat st;
    int fd = open(folder, O_DIRECTORY | O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return ERR_SYSTEM;
    if (fstat(fd, &st) < 0 || st.st_uid != 0 || (st.st_mode & 022)) {
        close(fd);
        errno = EPERM;
        return ERR_USAGE;
    }
    return fd;
}

static void folder_make(const char *folder)
{
    char path[NETCONF_PATH_MAX];
    if (snprintf(path, sizeof path, "%s", folder) >= (int)sizeof path)
        return;
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0755);
        *slash = '/';
    }
    mkdir(path, 0755);
}

static void file_name(char out[64], const char *interface, const char *ending)
{
    snprintf(out, 64, "%.*s.%s", NETCONF_NAME_MAX, interface, ending);
}

/* One try. The file that was locked must still be the one of that name: its last owner may just have removed it. */
static int lock_try(int dir, const char *name, int *fd)
{
    struct stat mine, there;
    *fd = openat(dir, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (*fd < 0)
        return ERR_SYSTEM;
    int rc = 0;
    if (flock(*fd, LOCK_EX | LOCK_NB) < 0)
        rc = errno == EWOULDBLOCK ? ERR_USAGE : ERR_SYSTEM;
    else if (fstat(*fd, &mine) < 0 || fstatat(dir, name, &there, AT_SYMLINK_NOFOLLOW) < 0 ||
             mine.st_ino != there.st_ino || mine.st_dev != there.st_dev)
        rc = ERR_AGAIN;
    if (rc)
        close(*fd);
    return rc;
}

int netconf_lock(const char *folder, const char *interface, int *fd, char *err, size_t cap)
{
    char name[64];
    file_name(name, interface, "lock");
    folder_make(folder);
    int dir = folder_open(folder);
    if (dir == ERR_USAGE)
        return netconf_fail(ERR_SYSTEM, err, cap,
                            "%s must belong to root and be writable by nobody else: chown root and chmod go-w it, or "
                            "set control.folder to another",
                            folder);
    if (dir < 0)
        return netconf_fail(ERR_SYSTEM, err, cap, "%s: %s: set control.folder to a folder that can be made", folder,
                            strerror(errno));
    int rc = ERR_AGAIN;
    for (int i = 0; i < LOCK_TRIES && rc == ERR_AGAIN; i++)
        rc = lock_try(dir, name, fd);
    int why = errno;
    close(dir);
    if (rc == ERR_USAGE)
        return netconf_fail(ERR_USAGE, err, cap,
                            "interface %s: a gatehouse connect that runs has it: end that one, or choose another "
                            "tunnel.interface",
                            interface);
    return rc ? netconf_fail(ERR_SYSTEM, err, cap, "%s/%s: cannot lock: %s", folder, name, strerror(why)) : 0;
}

static void file_remove(const char *folder, const char *interface, const char *ending)
{
    char name[64];
    file_name(name, interface, ending);
    int dir = folder_open(folder);
    if (dir < 0)
        return;
    unlinkat(dir, name, 0);
    close(dir);
}

void netconf_unlock(const char *folder, const char *interface, int fd)
{
    if (fd < 0)
        return;
    file_remove(folder, interface, "lock");
    close(fd);
}

void netconf_state_remove(const char *folder, const char *interface)
{
    file_remove(folder, interface, "state");
}

void netconf_state_fini(struct netconf_state *s)
{
    free(s->resolv.was);
    free(s->resolv.ours);
    *s = (struct netconf_state){ 0 };
}

static json_t *json_bytes(const uint8_t *data, size_t n)
{
    char *hex = malloc(2 * n + 1);
    if (!hex)
        return NULL;
    hex_encode(data, n, hex);
    json_t *out = json_string(hex);
    free(hex);
    return out;
}

static json_t *json_route(const struct config_prefix *d)
{
    char text[INET6_ADDRSTRLEN];
    inet_ntop(d->family == 4 ? AF_INET : AF_INET6, d->ip, text, sizeof text);
    return json_pack("{s:s, s:i}", "to", text, "bits", (int)d->bits);
}

static char *state_print(const struct netconf_state *s)
{
    json_t *routes = json_array(), *root = json_pack("{s:i, s:o}", "version", STATE_VERSION, "routes", routes);
    int rc = root ? 0 : -1;
    for (size_t i = 0; !rc && i < s->n_routes; i++)
        rc = json_array_append_new(routes, json_route(&s->routes[i]));
    if (!rc && s->resolv.path[0])
        rc = json_object_set_new(root, "resolv-conf",
                                 json_pack("{s:s, s:b, s:o, s:o}", "path", s->resolv.path, "was-there",
                                           s->resolv.was_there, "was", json_bytes(s->resolv.was, s->resolv.was_len),
                                           "ours", json_bytes(s->resolv.ours, s->resolv.ours_len)));
    char *text = rc ? NULL : json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

static int write_all(int fd, const char *text)
{
    for (size_t at = 0, len = strlen(text); at < len;) {
        ssize_t n = write(fd, text + at, len - at);
        if (n < 0 && errno != EINTR)
            return ERR_SYSTEM;
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int netconf_state_save(const char *folder, const char *interface, const struct netconf_state *s)
{
    char name[64], fresh[64];
    file_name(name, interface, "state");
    file_name(fresh, interface, "state.new");
    char *text = state_print(s);
    if (!text)
        return ERR_NOMEM;
    int dir = folder_open(folder), fd = -1, rc = dir < 0 ? ERR_SYSTEM : 0;
    if (!rc) {
        unlinkat(dir, fresh, 0); /* of one that was killed here */
        fd = openat(dir, fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        rc = fd < 0 ? ERR_SYSTEM : write_all(fd, text);
    }
    if (!rc && renameat(dir, fresh, dir, name) < 0)
        rc = ERR_SYSTEM;
    int why = errno;
    if (rc && fd >= 0)
        unlinkat(dir, fresh, 0);
    if (fd >= 0)
        close(fd);
    if (dir >= 0)
        close(dir);
    free(text);
    errno = why;
    return rc;
}

/* The text of a file that only root could have written; NULL with errno, ENOENT when there is none. */
static char *file_read(const char *folder, const char *name)
{
    struct stat st;
    char *text = NULL;
    int dir = folder_open(folder);
    int fd = dir < 0 ? -1 : openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    int why = fd < 0 ? errno : EPERM;
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == 0 && (st.st_mode & 07777) == 0600 &&
        st.st_size < STATE_MAX)
        text = calloc(1, (size_t)st.st_size + 1);
    if (text && read(fd, text, (size_t)st.st_size) != st.st_size) {
        free(text);
        text = NULL;
    }
    if (fd >= 0)
        close(fd);
    if (dir >= 0)
        close(dir);
    errno = why;
    return text;
}

static bool bytes_read(const json_t *hex, uint8_t **out, size_t *len)
{
    size_t n = json_string_length(hex);
    if (!json_is_string(hex) || n % 2 || n / 2 > NETCONF_RESOLV_MAX)
        return false;
    *len = n / 2;
    *out = malloc(*len + 1);
    return *out && hex_decode(json_string_value(hex), n, *out, *len);
}

static bool route_read(const json_t *j, struct config_prefix *out)
{
    const char *to = json_string_value(json_object_get(j, "to"));
    json_int_t bits = json_integer_value(json_object_get(j, "bits"));
    *out = (struct config_prefix){ .family = to && strchr(to, ':') ? 6 : 4, .bits = (uint8_t)bits };
    return to && bits >= 1 && bits <= (out->family == 4 ? 32 : 128) &&
           inet_pton(out->family == 4 ? AF_INET : AF_INET6, to, out->ip) == 1;
}

static bool resolv_read(const json_t *j, struct netconf_resolv *out)
{
    const char *path = json_string_value(json_object_get(j, "path"));
    if (!path || path[0] != '/' || strlen(path) >= sizeof out->path ||
        !bytes_read(json_object_get(j, "was"), &out->was, &out->was_len) ||
        !bytes_read(json_object_get(j, "ours"), &out->ours, &out->ours_len))
        return false;
    out->was_there = json_is_true(json_object_get(j, "was-there"));
    memcpy(out->path, path, strlen(path) + 1);
    return true;
}

int netconf_state_load(const char *folder, const char *interface, struct netconf_state *out)
{
    char name[64];
    file_name(name, interface, "state");
    *out = (struct netconf_state){ 0 };
    char *text = file_read(folder, name);
    if (!text)
        return errno == ENOENT ? 0 : ERR_USAGE;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    free(text);
    const json_t *routes = json_object_get(root, "routes"), *resolv = json_object_get(root, "resolv-conf");
    out->n_routes = json_array_size(routes);
    bool ok = json_integer_value(json_object_get(root, "version")) == STATE_VERSION &&
              out->n_routes <= NETCONF_LEFTOVER_MAX && (!resolv || resolv_read(resolv, &out->resolv));
    for (size_t i = 0; ok && i < out->n_routes; i++)
        ok = route_read(json_array_get(routes, i), &out->routes[i]);
    json_decref(root);
    if (!ok)
        netconf_state_fini(out);
    return ok ? 0 : ERR_USAGE;
}
