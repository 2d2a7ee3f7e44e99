#include "priv/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/ct.h"

#define BLOB_MAX (256u << 20)

union fd_control {
    char buf[CMSG_SPACE(PRIV_FDS_MAX * sizeof(int))];
    struct cmsghdr align;
};

int priv_send(int channel, const struct priv_msg *m, const int *fds)
{
    struct iovec iov = { (void *)(uintptr_t)m, sizeof *m };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
    union fd_control control;
    if (m->n_fds) {
        memset(&control, 0, sizeof control);
        h.msg_control = control.buf;
        h.msg_controllen = CMSG_SPACE(m->n_fds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(m->n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, m->n_fds * sizeof(int));
    }
    ssize_t n;
    do /* one message is under way: who does not read holds nobody up */
        n = sendmsg(channel, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof *m ? 0 : ERR_CLOSED;
}

static void take_fds(struct msghdr *h, int *fds, unsigned max, unsigned *n)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
            if (fds && *n < max)
                fds[(*n)++] = fd;
            else
                close(fd);
        }
    }
}

int priv_recv(int channel, struct priv_msg *m, int *fds, unsigned fds_max)
{
    /* cppcheck-suppress ctuuninitvar ; recvmsg fills it */
    struct iovec iov = { m, sizeof *m };
    union fd_control control;
    struct msghdr h = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof control
    };
    ssize_t n;
    do
        n = recvmsg(channel, &h, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return ERR_CLOSED;
    unsigned got = 0;
    take_fds(&h, fds, fds_max, &got);
    bool whole = n == (ssize_t)sizeof *m && !(h.msg_flags & MSG_TRUNC), cut = h.msg_flags & MSG_CTRUNC;
    if (!whole || cut || m->n_fds != got) {
        while (got > 0)
            close(fds[--got]);
        return whole && cut && m->n_fds <= fds_max ? ERR_LIMIT : ERR_BUG;
    }
    m->text[sizeof m->text - 1] = 0;
    return 0;
}

const char *priv_error(int rc)
{
    if (rc == ERR_LIMIT)
        return "no descriptor is left: raise fs.nr_open and the service's LimitNOFILE, or lower limits.connections";
    return err_name(rc);
}

int priv_call(int channel, struct priv_msg *m, int *fds, unsigned fds_max)
{
    m->n_fds = 0;
    int rc = priv_send(channel, m, NULL);
    if (!rc)
        rc = priv_recv(channel, m, fds, fds_max);
    return rc ? rc : m->status;
}

int priv_take_blob(int fd, char **data, size_t *len)
{
    struct stat st;
    int rc = ERR_SYSTEM;
    char *buf = NULL;
    if (fstat(fd, &st) == 0 && st.st_size >= 0 && (uint64_t)st.st_size <= BLOB_MAX) {
        size_t want = (size_t)st.st_size, have = 0;
        buf = malloc(want + 1);
        rc = buf ? 0 : ERR_NOMEM;
        while (!rc && have < want) {
            ssize_t n = pread(fd, buf + have, want - have, (off_t)have);
            if (n <= 0)
                rc = ERR_SYSTEM;
            else
                have += (size_t)n;
        }
        if (!rc) {
            buf[want] = 0;
            *data = buf;
            *len = want;
        }
    }
    if (rc)
        secret_free(buf, buf ? (size_t)st.st_size : 0);
    close(fd);
    return rc;
}

int priv_make_blob(const void *data, size_t len, int *fd)
{
    if (len > BLOB_MAX)
        return ERR_LIMIT;
    int f = memfd_create("gatehouse", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (f < 0)
        return ERR_SYSTEM;
    size_t done = 0;
    while (done < len) {
        ssize_t n = pwrite(f, (const char *)data + done, len - done, (off_t)done);
        if (n <= 0) {
            close(f);
            return ERR_SYSTEM;
        }
        done += (size_t)n;
    }
    if (fcntl(f, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0) {
        close(f);
        return ERR_SYSTEM;
    }
    *fd = f;
    return 0;
}
