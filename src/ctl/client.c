#include "ctl/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX (64u << 20)

static int dial(const char *path)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct timeval patience = { .tv_sec = 30 };
    if (strlen(path) >= sizeof un.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(un.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&un, sizeof un) == 0)
        return fd;
    int e = errno;
    close(fd);
    errno = e;
    return -1;
}

/* Everything until the server closes, with a NUL after it. */
static char *read_all(int fd)
{
    size_t cap = 16384, len = 0;
    char *buf = malloc(cap + 1);
    ssize_t n = 1;
    while (buf && len < ANSWER_MAX && (n = read(fd, buf + len, cap - len)) > 0) {
        len += (size_t)n;
        if (len == cap) {
            char *more = realloc(buf, cap * 2 + 1);
            if (!more)
                break;
            buf = more;
            cap *= 2;
        }
    }
    if (!buf || n != 0) {
        free(buf);
        return NULL;
    }
    buf[len] = 0;
    return buf;
}

int ctl_request(const char *socket_path, const char *method, const char *path, const char *json_body, int *status,
                char **answer)
{
    char head[512];
    const char *body = json_body ? json_body : "";
    int fd = dial(socket_path);
    if (fd < 0)
        return ERR_SYSTEM;
    int n = snprintf(head, sizeof head,
                     "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", method,
                     path, strlen(body));
    char *text = NULL;
    /* Without a body the server may have answered and closed by now: even sending nothing would be EPIPE. */
    if (n > 0 && (size_t)n < sizeof head && send(fd, head, (size_t)n, MSG_NOSIGNAL) == n &&
        (!*body || send(fd, body, strlen(body), MSG_NOSIGNAL) == (ssize_t)strlen(body)))
        text = read_all(fd);
    close(fd);
    char *end = text ? strstr(text, "\r\n\r\n") : NULL;
    int rc = end && sscanf(text, "HTTP/1.1 %d", status) == 1 ? 0 : ERR_PEER;
    if (!rc && !(*answer = strdup(end + 4)))
        rc = ERR_NOMEM;
    free(text);
    return rc;
}
