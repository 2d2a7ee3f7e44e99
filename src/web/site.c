/* The built-in site: see site.h. HTTP itself is libmicrohttpd's; here is which file answers which path. */
#include "web/site.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <microhttpd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/rd.h"
#include "web/pages.h"

#define THREADS     2
#define CONNECTIONS 512   /* at once */
#define TIMEOUT_S   60    /* of a connection on which nothing moves */
#define CONN_MEMORY 16384 /* bytes for a request's head */
#define PATH_CAP    1024  /* bytes of a decoded path, with its NUL */

struct site {
    struct MHD_Daemon *mhd;
    int root; /* -1: the welcome page only */
};

struct request {
    struct site *site;
    struct MHD_Connection *conn;
    const char *raw;     /* path as it was sent, from its first slash on, no query */
    char path[PATH_CAP]; /* decoded, without leading slashes */
    bool head;
};

/* ---- answers ---- */

static void header(struct MHD_Response *resp, const char *name, const char *value)
{
    (void)MHD_add_response_header(resp, name, value); /* out of memory: the answer goes without it */
}

static enum MHD_Result send_off(struct request *q, unsigned status, struct MHD_Response *resp)
{
    if (!resp)
        return MHD_NO; /* closes the connection */
    header(resp, MHD_HTTP_HEADER_X_CONTENT_TYPE_OPTIONS, "nosniff");
    enum MHD_Result r = MHD_queue_response(q->conn, status, resp);
    MHD_destroy_response(resp);
    return r;
}

static struct MHD_Response *page(const char *html)
{
    union {
        const char *in;
        void *out;
    } body = { .in = html }; /* MHD_RESPMEM_PERSISTENT: it is not written to */
    struct MHD_Response *resp = MHD_create_response_from_buffer(strlen(html), body.out, MHD_RESPMEM_PERSISTENT);
    if (resp) {
        header(resp, MHD_HTTP_HEADER_CONTENT_TYPE, "text/html; charset=utf-8");
        header(resp, MHD_HTTP_HEADER_CONTENT_SECURITY_POLICY, site_csp);
        header(resp, "Referrer-Policy", "no-referrer");
    }
    return resp;
}

static enum MHD_Result not_found(struct request *q)
{
    return send_off(q, MHD_HTTP_NOT_FOUND, page(site_not_found));
}

static enum MHD_Result empty(struct request *q, unsigned status, const char *name, const char *value)
{
    struct MHD_Response *resp = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (resp && name)
        header(resp, name, value);
    return send_off(q, status, resp);
}

/* ---- paths ---- */

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes once. False: bad escape, a NUL, or too long. */
static bool path_decode(const char *raw, char out[PATH_CAP])
{
    struct rd in = rd_make(raw, strlen(raw));
    size_t n = 0;
    for (uint8_t c, hi, lo; rd_u8(&in, &c);) {
        if (c == '%') {
            if (!rd_u8(&in, &hi) || !rd_u8(&in, &lo) || hex_value(hi) < 0 || hex_value(lo) < 0)
                return false;
            c = (uint8_t)(hex_value(hi) << 4 | hex_value(lo));
        }
        if (!c || n == PATH_CAP - 1)
            return false;
        if (n || c != '/')
            out[n++] = (char)c;
    }
    out[n] = 0;
    return true;
}

/* No part of a path may begin with a dot: that is "..", and what editors, shells and version control leave behind. */
static bool path_has_dot(const char *path)
{
    return path[0] == '.' || strstr(path, "/.");
}

/* Opens something below the root; the kernel sees to it that no link leads out of it. */
static int open_below(int root, const char *path)
{
    struct open_how how = { .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
    return (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof how);
}

static const char *content_type(const char *path)
{
    static const struct {
        const char *suffix, *type;
    } known[] = {
        { "html", "text/html; charset=utf-8" },
        { "htm", "text/html; charset=utf-8" },
        { "css", "text/css; charset=utf-8" },
        { "js", "text/javascript; charset=utf-8" },
        { "mjs", "text/javascript; charset=utf-8" },
        { "txt", "text/plain; charset=utf-8" },
        { "md", "text/plain; charset=utf-8" },
        { "csv", "text/csv; charset=utf-8" },
        { "json", "application/json" },
        { "map", "application/json" },
        { "webmanifest", "application/manifest+json" },
        { "xml", "application/xml" },
        { "pdf", "application/pdf" },
        { "wasm", "application/wasm" },
        { "zip", "application/zip" },
        { "gz", "application/gzip" },
        { "svg", "image/svg+xml" },
        { "png", "image/png" },
        { "jpg", "image/jpeg" },
        { "jpeg", "image/jpeg" },
        { "gif", "image/gif" },
        { "webp", "image/webp" },
        { "avif", "image/avif" },
        { "ico", "image/x-icon" },
        { "woff", "font/woff" },
        { "woff2", "font/woff2" },
        { "mp4", "video/mp4" },
        { "webm", "video/webm" },
        { "mp3", "audio/mpeg" },
        { "ogg", "audio/ogg" },
        { "cer", "application/pkix-cert" },
        { "crt", "application/x-x509-ca-cert" },
        { "ps1", "text/plain; charset=utf-8" },
    };
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof known / sizeof *known; i++)
        if (!strcasecmp(dot + 1, known[i].suffix))
            return known[i].type;
    return "application/octet-stream";
}

/* ---- conditions and ranges ---- */

#define HTTP_DATE     "%a, %d %b %Y %H:%M:%S GMT"
#define HTTP_DATE_CAP 32

static const char *request_header(struct request *q, const char *name)
{
    return MHD_lookup_connection_value(q->conn, MHD_HEADER_KIND, name);
}

/* RFC 9110 13.1.3 */
static bool not_modified(struct request *q, time_t mtime)
{
    const char *since = request_header(q, MHD_HTTP_HEADER_IF_MODIFIED_SINCE);
    struct tm tm = { 0 };
    if (!since || request_header(q, MHD_HTTP_HEADER_IF_NONE_MATCH))
        return false;
    const char *rest = strptime(since, HTTP_DATE, &tm);
    return rest && !*rest && mtime <= timegm(&tm);
}

/* A decimal number; false when there is none or it is beyond any file. */
static bool take_number(struct rd *r, uint64_t *out)
{
    uint8_t c;
    bool any = false;
    for (*out = 0; rd_peek_u8(r, &c) && c >= '0' && c <= '9'; any = true) {
        if (*out > UINT64_MAX / 16 || !rd_u8(r, &c))
            return false;
        *out = *out * 10 + (uint64_t)(c - '0');
    }
    return any;
}

enum range { RANGE_ALL, RANGE_PART, RANGE_BAD };

/* RFC 9110 14.2: one range of bytes; several, other units and what is malformed are ignored. */
static enum range range_parse(const char *text, uint64_t size, uint64_t *from, uint64_t *len)
{
    struct rd r = rd_make(text, strlen(text));
    const uint8_t *unit;
    uint8_t dash;
    uint64_t first = 0, last = 0;
    if (!rd_bytes(&r, 6, &unit) || strncasecmp((const char *)unit, "bytes=", 6))
        return RANGE_ALL;
    bool has_first = take_number(&r, &first);
    if (!rd_u8(&r, &dash) || dash != '-')
        return RANGE_ALL;
    bool has_last = take_number(&r, &last);
    if (!rd_end(&r) || (!has_first && !has_last) || (has_first && has_last && last < first))
        return RANGE_ALL;
    if (!has_first) { /* the last so many bytes */
        first = last < size ? size - last : 0;
        last = last ? UINT64_MAX : 0;
        if (!last)
            return RANGE_BAD;
    } else if (!has_last) {
        last = UINT64_MAX;
    }
    if (first >= size)
        return RANGE_BAD;
    *from = first;
    *len = (last < size ? last + 1 : size) - first;
    return RANGE_PART;
}

static enum range range_wanted(struct request *q, uint64_t size, const char *modified, uint64_t *from, uint64_t *len)
{
    const char *range = request_header(q, MHD_HTTP_HEADER_RANGE);
    const char *only_if = request_header(q, MHD_HTTP_HEADER_IF_RANGE);
    if (!range || q->head || (only_if && strcmp(only_if, modified)))
        return RANGE_ALL;
    return range_parse(range, size, from, len);
}

/* ---- files ---- */

/* Answers with an open regular file, which is closed in the end. */
static enum MHD_Result send_file(struct request *q, int fd, const struct stat *st, const char *name)
{
    char modified[HTTP_DATE_CAP], content_range[80];
    struct tm tm;
    uint64_t size = (uint64_t)st->st_size, from = 0, len = size;
    if (!gmtime_r(&st->st_mtime, &tm))
        tm = (struct tm){ .tm_mday = 1, .tm_year = 70 }; /* a time that no calendar has */
    strftime(modified, sizeof modified, HTTP_DATE, &tm);
    if (not_modified(q, st->st_mtime)) {
        close(fd);
        return empty(q, MHD_HTTP_NOT_MODIFIED, MHD_HTTP_HEADER_LAST_MODIFIED, modified);
    }
    enum range kind = range_wanted(q, size, modified, &from, &len);
    if (kind == RANGE_BAD) {
        close(fd);
        snprintf(content_range, sizeof content_range, "bytes */%llu", (unsigned long long)size);
        return empty(q, MHD_HTTP_RANGE_NOT_SATISFIABLE, MHD_HTTP_HEADER_CONTENT_RANGE, content_range);
    }
    struct MHD_Response *resp = MHD_create_response_from_fd_at_offset64(len, fd, from);
    if (!resp) {
        close(fd);
        return MHD_NO;
    }
    header(resp, MHD_HTTP_HEADER_CONTENT_TYPE, content_type(name));
    header(resp, MHD_HTTP_HEADER_LAST_MODIFIED, modified);
    header(resp, MHD_HTTP_HEADER_ACCEPT_RANGES, "bytes");
    if (kind == RANGE_PART) {
        snprintf(content_range, sizeof content_range, "bytes %llu-%llu/%llu", (unsigned long long)from,
                 (unsigned long long)(from + len - 1), (unsigned long long)size);
        header(resp, MHD_HTTP_HEADER_CONTENT_RANGE, content_range);
    }
    return send_off(q, kind == RANGE_PART ? MHD_HTTP_PARTIAL_CONTENT : MHD_HTTP_OK, resp);
}

/* To the folder's own name with a slash, relative, so that no spelling of it can point to another host. */
static enum MHD_Result add_slash(struct request *q)
{
    char where[3 * PATH_CAP];
    const char *last = strrchr(q->raw, '/');
    int n = snprintf(where, sizeof where, "./%s/", last ? last + 1 : q->raw);
    if (n < 0 || (size_t)n >= sizeof where)
        return not_found(q);
    return empty(q, MHD_HTTP_MOVED_PERMANENTLY, MHD_HTTP_HEADER_LOCATION, where);
}

static enum MHD_Result send_path(struct request *q)
{
    struct stat st = { 0 };
    size_t n = strlen(q->path);
    if (!n || q->path[n - 1] == '/') {
        if (n + sizeof "index.html" > sizeof q->path)
            return not_found(q);
        memcpy(q->path + n, "index.html", sizeof "index.html");
    }
    int fd = open_below(q->site->root, q->path);
    if (fd < 0)
        return errno == EMFILE || errno == ENFILE || errno == ENOMEM
                   ? empty(q, MHD_HTTP_SERVICE_UNAVAILABLE, MHD_HTTP_HEADER_RETRY_AFTER, "5")
                   : not_found(q);
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return send_file(q, fd, &st, q->path);
    close(fd);
    return S_ISDIR(st.st_mode) ? add_slash(q) : not_found(q);
}

/* ---- libmicrohttpd ---- */

/* The path is decoded here, once, and strictly: libmicrohttpd would end it at a %00. */
static size_t keep_escapes(void *arg, struct MHD_Connection *conn, char *s)
{
    (void)arg, (void)conn;
    return strlen(s);
}

static enum MHD_Result answer(void *arg, struct MHD_Connection *conn, const char *url, const char *method,
                              const char *version, const char *upload, size_t *upload_len, void **seen)
{
    static int mark;
    (void)version, (void)upload;
    struct request q = { .site = arg, .conn = conn, .head = !strcmp(method, MHD_HTTP_METHOD_HEAD) };
    if (!q.head && strcmp(method, MHD_HTTP_METHOD_GET))
        return empty(&q, MHD_HTTP_METHOD_NOT_ALLOWED, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    if (!*seen) { /* the head; the answer is due when the body, which a GET should not have, is over */
        *seen = &mark;
        return MHD_YES;
    }
    if (*upload_len) {
        *upload_len = 0;
        return MHD_YES;
    }
    const char *authority = strstr(url, "://"); /* absolute-form, RFC 9112 3.2.2 */
    q.raw = *url == '/' ? url : authority ? strchr(authority + 3, '/') : NULL;
    if (!q.raw)
        q.raw = authority ? "/" : "";
    if (*q.raw != '/' || !path_decode(q.raw, q.path))
        return empty(&q, MHD_HTTP_BAD_REQUEST, NULL, NULL);
    if (path_has_dot(q.path))
        return not_found(&q);
    if (q.site->root >= 0)
        return send_path(&q);
    if (*q.path && strcmp(q.path, "index.html"))
        return not_found(&q);
    return send_off(&q, MHD_HTTP_OK, page(site_welcome));
}

int site_start(int listen_fd, int root_fd, struct site **out)
{
    struct site *s = calloc(1, sizeof(*s));
    if (!s) {
        close(listen_fd);
        if (root_fd >= 0)
            close(root_fd);
        return ERR_NOMEM;
    }
    s->root = root_fd;
    /* libmicrohttpd gets a descriptor of its own: whether it closes one when it cannot start is not documented. */
    int fd = fcntl(listen_fd, F_DUPFD_CLOEXEC, 3);
    close(listen_fd);
    if (fd >= 0 && fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) == 0) /* several threads accept from it */
        s->mhd = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_USE_ITC, 0, NULL, NULL, answer,
                                  s, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)THREADS,
                                  MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
                                  (unsigned)TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONN_MEMORY,
                                  MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
                                  MHD_OPTION_END);
    if (!s->mhd) {
        site_stop(s);
        return ERR_SYSTEM;
    }
    *out = s;
    return 0;
}

void site_stop(struct site *s)
{
    if (!s)
        return;
    if (s->mhd)
        MHD_stop_daemon(s->mhd);
    if (s->root >= 0)
        close(s->root);
    free(s);
}
