#include "cli/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/ct.h"

static int read_all(int fd, char *buf, size_t cap, size_t *len)
{
    *len = 0;
    for (;;) {
        ssize_t n = read(fd, buf + *len, cap + 1 - *len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ERR_SYSTEM;
        *len += (size_t)n;
        if (*len > cap) {
            errno = EFBIG;
            return ERR_SYSTEM;
        }
        if (n == 0)
            return 0;
    }
}

int file_read(const char *path, size_t cap, char **out, size_t *len)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = ERR_SYSTEM;
    char *buf = NULL;
    if (fd < 0)
        return rc;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size >= 0 && (size_t)st.st_size < cap)
        cap = (size_t)st.st_size + 4096 < cap ? (size_t)st.st_size + 4096 : cap; /* room for growing meanwhile */
    buf = malloc(cap + 1);
    if (buf)
        rc = read_all(fd, buf, cap, len);
    int saved = errno;
    close(fd);
    if (rc < 0) {
        secret_free(buf, buf ? cap + 1 : 0);
        errno = saved;
        return rc;
    }
    buf[*len] = 0;
    *out = buf;
    return 0;
}

static int write_all(int fd, const char *p, size_t len)
{
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ERR_SYSTEM;
        p += n;
        len -= (size_t)n;
    }
    return fsync(fd) < 0 ? ERR_SYSTEM : 0;
}

static int dress(int fd, const char *path, mode_t mode, enum file_old old)
{
    struct stat st;
    if (old == FILE_OLD_LENDS && stat(path, &st) == 0) {
        mode = st.st_mode & 07777;
        if (fchown(fd, st.st_uid, st.st_gid) < 0 && (st.st_uid != geteuid() || st.st_gid != getegid()))
            return ERR_SYSTEM;
    }
    return fchmod(fd, mode) < 0 ? ERR_SYSTEM : 0;
}

static int sync_folder(const char *path)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) < 0 ? ERR_SYSTEM : 0;
    if (fd >= 0)
        close(fd);
    return rc;
}

int file_write(const char *path, const void *data, size_t len, mode_t mode, enum file_old old)
{
    char target[PATH_MAX], temp[PATH_MAX + 8];
    if (old == FILE_OLD_STAYS || !realpath(path, target)) /* a link stays a link: what it points to is replaced */
        snprintf(target, sizeof target, "%s", path);
    snprintf(temp, sizeof temp, "%s.XXXXXX", target);
    int fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0)
        return ERR_SYSTEM;
    int rc = dress(fd, target, mode, old);
    if (!rc)
        rc = write_all(fd, data, len);
    if (!rc && (old == FILE_OLD_STAYS ? link(temp, target) : rename(temp, target)) < 0)
        rc = ERR_SYSTEM;
    int saved = errno;
    if (rc || old == FILE_OLD_STAYS)
        unlink(temp);
    close(fd);
    errno = saved;
    return rc ? rc : sync_folder(target);
}

int file_lock(const char *path)
{
    char copy[PATH_MAX];
    if (!realpath(path, copy)) /* as file_write(): whoever comes by another name waits for the same lock */
        snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* Whoever may read the folder may hold its lock: not for ever. */
    for (int tries = 50; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0; tries--) {
        if (errno != EWOULDBLOCK || !tries) {
            int why = errno;
            close(fd);
            errno = why;
            return ERR_SYSTEM;
        }
        usleep(100 * 1000);
    }
    return fd < 0 ? ERR_SYSTEM : fd;
}
