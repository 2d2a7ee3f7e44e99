/*
 * The companion on port 80: see redirect.h. HTTP itself is libmicrohttpd's, one daemon a socket, all of them turned by
 * one thread; who may connect, and for how long, is decided here: libmicrohttpd counts each daemon for itself, IPv6
 * addresses singly, and has a timeout only for those who are silent.
 */
#include "web/redirect.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CONN_MEMORY   16384 /* bytes for a request's head and the answer's */
#define BODY_MAX      65536 /* bytes of a request's body that are read away before it is answered */
#define SILENT_S      10
#define CHALLENGE_DIR ".well-known/acme-challenge/"

static const struct redirect_limits default_limits = { .connections = 256, .per_source = 32, .life_ms = 10000 };

struct slot { /* a connection */
    bool used;
    int fd;             /* libmicrohttpd's */
    uint8_t source[16]; /* of whom: IPv4 address in the first 4 bytes, or the first half of an IPv6 address */
    uint64_t end_ms;
    char *target; /* as in the request line */
};

struct redirect {
    struct MHD_Daemon *mhd[REDIRECT_LISTEN_MAX];
    struct pollfd polls[REDIRECT_LISTEN_MAX + 1]; /* of the daemons, and stop_fd */
    unsigned n;
    int webroot, stop_fd;
    uint16_t https_port;
    struct redirect_limits limits;
    struct slot *slots; /* limits.connections of them */
    pthread_t thread;
    bool running;
};

static uint64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- who is connected ---- */

static void source_of(const struct sockaddr *sa, uint8_t out[16])
{
    memset(out, 0, 16);
    if (sa->sa_family == AF_INET)
        memcpy(out, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
    else if (sa->sa_family == AF_INET6)
        memcpy(out, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 8);
}

static enum MHD_Result may_connect(void *arg, const struct sockaddr *sa, socklen_t len)
{
    struct redirect *r = arg;
    uint8_t source[16];
    unsigned all = 0, same = 0;
    (void)len;
    source_of(sa, source);
    for (unsigned i = 0; i < r->limits.connections; i++) {
        all += r->slots[i].used;
        same += r->slots[i].used && memcmp(r->slots[i].source, source, sizeof source) == 0;
    }
    return all < r->limits.connections && same < r->limits.per_source ? MHD_YES : MHD_NO;
}

static void slot_take(struct redirect *r, struct MHD_Connection *conn, void **context)
{
    const union MHD_ConnectionInfo *fd = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *addr = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    for (unsigned i = 0; fd && addr && i < r->limits.connections; i++) {
        struct slot *s = &r->slots[i];
        if (s->used)
            continue;
        *s = (struct slot){ .used = true, .fd = fd->connect_fd, .end_ms = now_ms() + r->limits.life_ms };
        source_of(addr->client_addr, s->source);
        *context = s;
        return;
    }
}

static void connection_event(void *arg, struct MHD_Connection *conn, void **context,
                             enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        slot_take(arg, conn, context);
        return;
    }
    struct slot *s = *context;
    if (s) {
        free(s->target);
        *s = (struct slot){ 0 };
    }
}

static struct slot *slot_of(struct MHD_Connection *conn)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

/* Ends connections whose time is over; returns when the next one's is. */
static uint64_t slots_expire(struct redirect *r, uint64_t now)
{
    uint64_t next = UINT64_MAX;
    for (unsigned i = 0; i < r->limits.connections; i++) {
        struct slot *s = &r->slots[i];
        if (s->used && s->end_ms <= now) {
            shutdown(s->fd, SHUT_RDWR); /* libmicrohttpd finds the end of the stream and closes it */
            s->end_ms = UINT64_MAX;
        }
        if (s->used && s->end_ms < next)
            next = s->end_ms;
    }
    return next;
}

/* ---- answers ---- */

static void header(struct MHD_Response *resp, const char *name, const char *value)
{
    (void)MHD_add_response_header(resp, name, value); /* out of memory: the answer goes without it */
}

static enum MHD_Result reply(struct MHD_Connection *conn, unsigned status, const void *body, size_t len,
                             const char *location)
{
    union {
        const void *in;
        void *out;
    } data = { .in = body }; /* MHD_RESPMEM_MUST_COPY: it is not written to */
    struct MHD_Response *resp = MHD_create_response_from_buffer(len, data.out, MHD_RESPMEM_MUST_COPY);
    if (!resp)
        return MHD_NO; /* closes the connection */
    header(resp, MHD_HTTP_HEADER_CONNECTION, "close");
    if (len) {
        header(resp, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain; charset=utf-8");
        header(resp, MHD_HTTP_HEADER_X_CONTENT_TYPE_OPTIONS, "nosniff");
    }
    if (location)
        header(resp, MHD_HTTP_HEADER_LOCATION, location);
    enum MHD_Result rc = MHD_queue_response(conn, status, resp);
    MHD_destroy_response(resp);
    return rc;
}

static enum MHD_Result reply_text(struct MHD_Connection *conn, unsigned status, const char *text)
{
    return reply(conn, status, text, strlen(text), NULL);
}

/* The file of a challenge; -1: there is none, or it is not one. */
static ssize_t challenge_read(int webroot, const char *token, char out[REDIRECT_FILE_MAX])
{
    char path[sizeof CHALLENGE_DIR + REDIRECT_TOKEN_MAX];
    struct open_how how = { .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };
    struct stat st;
    ssize_t n = -1;
    snprintf(path, sizeof path, CHALLENGE_DIR "%s", token);
    int fd = (int)syscall(SYS_openat2, webroot, path, &how, sizeof how);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= REDIRECT_FILE_MAX)
        n = read(fd, out, REDIRECT_FILE_MAX);
    close(fd);
    return n;
}

static enum MHD_Result count_hosts(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
    unsigned *n = arg;
    (void)kind, (void)value;
    *n += !strcasecmp(name, MHD_HTTP_HEADER_HOST);
    return MHD_YES;
}

static enum MHD_Result reply_redirect(const struct redirect *r, struct MHD_Connection *conn, const char *target,
                                      bool get)
{
    char location[REDIRECT_LOCATION_MAX];
    unsigned hosts = 0;
    MHD_get_connection_values(conn, MHD_HEADER_KIND, count_hosts, &hosts);
    const char *host = MHD_lookup_connection_value(conn, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
    if (hosts != 1) /* RFC 9112 3.2 */
        return reply_text(conn, MHD_HTTP_BAD_REQUEST, "One Host header is needed to know where to redirect to.\n");
    int rc = redirect_location(host, target, r->https_port, location, sizeof location);
    if (rc == ERR_LIMIT)
        return reply_text(conn, MHD_HTTP_URI_TOO_LONG, "This address is too long.\n");
    if (rc)
        return reply_text(conn, MHD_HTTP_BAD_REQUEST, "This host or path cannot be redirected to.\n");
    return reply(conn, get ? MHD_HTTP_MOVED_PERMANENTLY : MHD_HTTP_PERMANENT_REDIRECT, NULL, 0, location);
}

/* Is the answer due before the body was read? To read it all away keeps a reset from overtaking the answer. */
static bool answer_early(struct MHD_Connection *conn)
{
    const char *len = MHD_lookup_connection_value(conn, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return MHD_lookup_connection_value(conn, MHD_HEADER_KIND, MHD_HTTP_HEADER_EXPECT) ||
           (len && strtoull(len, NULL, 10) > BODY_MAX);
}

static enum MHD_Result answer(void *arg, struct MHD_Connection *conn, const char *url, const char *method,
                              const char *version, const char *upload, size_t *upload_len, void **seen)
{
    static int mark;
    const struct redirect *r = arg;
    char token[REDIRECT_TOKEN_MAX + 1], file[REDIRECT_FILE_MAX];
    (void)url, (void)version, (void)upload;
    if (!*seen && !answer_early(conn)) {
        *seen = &mark;
        return MHD_YES;
    }
    if (*upload_len) {
        *upload_len = 0;
        return MHD_YES;
    }
    const struct slot *s = slot_of(conn);
    if (!s || !s->target)
        return MHD_NO;
    bool get = !strcmp(method, MHD_HTTP_METHOD_GET) || !strcmp(method, MHD_HTTP_METHOD_HEAD);
    if (!get || r->webroot < 0 || !redirect_challenge(s->target, token))
        return reply_redirect(r, conn, s->target, get);
    ssize_t n = challenge_read(r->webroot, token, file);
    if (n < 0)
        return reply_text(conn, MHD_HTTP_NOT_FOUND, "There is no such challenge.\n");
    return reply(conn, MHD_HTTP_OK, file, (size_t)n, NULL);
}

/* The target before libmicrohttpd takes it apart. */
static void *keep_target(void *arg, const char *uri, struct MHD_Connection *conn)
{
    struct slot *s = slot_of(conn);
    (void)arg;
    if (s && !s->target && uri)
        s->target = strdup(uri);
    return NULL;
}

/* ---- life ---- */

static int wait_ms(const struct redirect *r, uint64_t next_end, uint64_t now)
{
    uint64_t wait = next_end == UINT64_MAX ? INT_MAX : next_end > now ? next_end - now : 0;
    for (unsigned i = 0; i < r->n; i++) {
        MHD_UNSIGNED_LONG_LONG ms;
        if (MHD_get_timeout(r->mhd[i], &ms) == MHD_YES && ms < wait)
            wait = ms;
    }
    return wait < INT_MAX ? (int)wait : -1;
}

static void *run(void *arg)
{
    struct redirect *r = arg;
    for (;;) {
        uint64_t now = now_ms(), next_end = slots_expire(r, now);
        if (poll(r->polls, r->n + 1, wait_ms(r, next_end, now)) < 0 && errno != EINTR)
            return NULL;
        if (r->polls[r->n].revents)
            return NULL;
        for (unsigned i = 0; i < r->n; i++)
            MHD_run(r->mhd[i]);
    }
}

/* One more socket; closes fd. */
static int add_listener(struct redirect *r, int fd)
{
    /* libmicrohttpd gets a descriptor of its own: whether it closes one when it cannot start is not documented. */
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    close(fd);
    struct MHD_Daemon *d = NULL;
    if (own >= 0 && fcntl(own, F_SETFL, O_RDWR | O_NONBLOCK) == 0)
        d = MHD_start_daemon(MHD_USE_EPOLL, 0, may_connect, r, answer, r, MHD_OPTION_LISTEN_SOCKET, own,
                             MHD_OPTION_CONNECTION_LIMIT, r->limits.connections + 1, MHD_OPTION_CONNECTION_TIMEOUT,
                             (unsigned)SILENT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONN_MEMORY,
                             MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_URI_LOG_CALLBACK, keep_target, NULL,
                             MHD_OPTION_NOTIFY_CONNECTION, connection_event, r, MHD_OPTION_END);
    if (!d)
        return ERR_SYSTEM;
    r->mhd[r->n] = d;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(d, MHD_DAEMON_INFO_EPOLL_FD);
    r->polls[r->n++] = (struct pollfd){ .fd = info ? info->epoll_fd : -1, .events = POLLIN };
    return info ? 0 : ERR_SYSTEM;
}

int redirect_start(const int *listen_fds, unsigned n, int webroot_fd, uint16_t https_port,
                   const struct redirect_limits *limits, struct redirect **out)
{
    struct redirect *r = calloc(1, sizeof(*r));
    int rc = n && n <= REDIRECT_LISTEN_MAX ? 0 : ERR_USAGE;
    if (r) {
        r->webroot = webroot_fd;
        r->https_port = https_port;
        r->limits = limits ? *limits : default_limits;
        r->slots = calloc(r->limits.connections, sizeof(*r->slots));
        r->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        rc = rc ? rc : !r->slots ? ERR_NOMEM : r->stop_fd < 0 ? ERR_SYSTEM : 0;
    } else {
        rc = ERR_NOMEM;
        if (webroot_fd >= 0)
            close(webroot_fd);
    }
    for (unsigned i = 0; i < n; i++) {
        if (rc)
            close(listen_fds[i]);
        else
            rc = add_listener(r, listen_fds[i]);
    }
    if (!rc) {
        r->polls[r->n] = (struct pollfd){ .fd = r->stop_fd, .events = POLLIN };
        r->running = pthread_create(&r->thread, NULL, run, r) == 0;
        rc = r->running ? 0 : ERR_SYSTEM;
    }
    if (rc)
        redirect_stop(r);
    else
        *out = r;
    return rc;
}

void redirect_stop(struct redirect *r)
{
    if (!r)
        return;
    if (r->running) {
        eventfd_write(r->stop_fd, 1);
        pthread_join(r->thread, NULL);
    }
    for (unsigned i = 0; i < r->n; i++)
        MHD_stop_daemon(r->mhd[i]);
    if (r->stop_fd >= 0)
        close(r->stop_fd);
    if (r->webroot >= 0)
        close(r->webroot);
    free(r->slots);
    free(r);
}
