#include "priv/open.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/ct.h"
#include "base/log.h"

int priv_read_file(const char *path, char **data, size_t *len, char *err, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a pipe would hold us up */
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        snprintf(err, cap, "cannot read %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return ERR_USAGE;
    }
    if (!S_ISREG(st.st_mode) || st.st_size > 64 << 20) {
        snprintf(err, cap, "cannot read %s: not an ordinary file of at most 64 MiB", path);
        close(fd);
        return ERR_USAGE;
    }
    size_t want = (size_t)st.st_size, have = 0;
    char *buf = malloc(want + 1);
    ssize_t n = 1;
    while (buf && have < want && (n = read(fd, buf + have, want - have)) > 0)
        have += (size_t)n;
    close(fd);
    if (!buf || n < 0) {
        snprintf(err, cap, "cannot read %s: %s", path, buf ? strerror(errno) : "out of memory");
        secret_free(buf, buf ? want : 0);
        return ERR_USAGE;
    }
    *data = buf;
    *len = have;
    return 0;
}

static void make_parent(const char *path)
{
    char dir[256];
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash && slash != dir) {
        *slash = 0;
        if (mkdir(dir, 0755) < 0 && errno != EEXIST)
            log_info(NULL, "control", "cannot create the folder of the control socket", LOG_S("path", dir));
    }
}

int priv_listen_control(const char *path, const char *option, int *fd, char *err, size_t cap)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct stat st;
    if (strlen(path) >= sizeof un.sun_path) {
        snprintf(err, cap, "%s: the path is longer than %zu characters", option, sizeof un.sun_path - 1);
        return ERR_USAGE;
    }
    memcpy(un.sun_path, path, strlen(path) + 1);
    make_parent(un.sun_path);
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s >= 0 && connect(s, (struct sockaddr *)&un, sizeof un) == 0) {
        close(s);
        snprintf(err, cap, "%s: another gatehouse is running: stop it, or give this one another %s", un.sun_path,
                 option);
        return ERR_SYSTEM;
    }
    if (lstat(un.sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(un.sun_path); /* left by a daemon that was killed */
    mode_t old = umask(0177);
    int rc = s < 0 ? -1 : bind(s, (struct sockaddr *)&un, sizeof un);
    umask(old);
    if (rc == 0 && listen(s, 16) == 0) {
        *fd = s;
        return 0;
    }
    snprintf(err, cap, "%s %s: %s", option, un.sun_path, strerror(errno));
    if (s >= 0)
        close(s);
    return ERR_SYSTEM;
}
