#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A reload sets these while all threads write. */
static _Atomic(enum log_level) log_max = LOG_LV_NOTICE;
static _Atomic(enum log_format) log_fmt = LOG_FMT_LOGFMT;
static atomic_bool log_time;
static atomic_uint log_lost;   /* lines that nobody took */
static atomic_bool log_person; /* stderr is a terminal: nobody there wants the priority */

static const char *const level_name[] = { "error", "warn", "notice", "info", "debug" };
static const char level_prio[] = { '3', '4', '5', '6', '7' };

void log_setup(enum log_level max, enum log_format format, bool timestamps)
{
    log_max = max;
    log_fmt = format;
    log_time = timestamps;
    log_person = isatty(STDERR_FILENO) == 1;
}

void log_never_wait(void)
{
    struct stat st;
    int flags = fcntl(STDERR_FILENO, F_GETFL);
    if (flags < 0 || flags & O_NONBLOCK || fstat(STDERR_FILENO, &st) < 0 ||
        !(S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)))
        return;
    /* Opened anew: the flag belongs to what is open, which a shell may have, too. */
    int fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | (flags & O_APPEND));
    if (fd < 0)
        return;
    dup2(fd, STDERR_FILENO);
    close(fd);
}

bool log_wants(enum log_level level)
{
    return level <= log_max;
}

#define LOG_LINE_MAX 2048 /* within PIPE_BUF: a pipe takes all of it or nothing */

struct out {
    char *p, *end;
    bool json;
    bool any; /* a field was written */
};

static void put_char(struct out *o, char c)
{
    if (o->p < o->end)
        *o->p++ = c;
}

static void put_text(struct out *o, const char *s)
{
    while (*s)
        put_char(o, *s++);
}

__attribute__((format(printf, 2, 3))) static void put_fmt(struct out *o, const char *fmt, ...)
{
    char tmp[48];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(tmp, sizeof tmp, fmt, ap);
    va_end(ap);
    put_text(o, tmp);
}

/* Bytes of one well-formed UTF-8 sequence at s, or 0. Overlong forms and surrogates are not well-formed. */
static size_t utf8_len(const unsigned char *s, size_t n)
{
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    size_t len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f) || (s[0] == 0xc2 && s[1] < 0xa0))
        return 0;
    return len;
}

static void put_quoted(struct out *o, const char *s, size_t n)
{
    put_char(o, '"');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        size_t wide = utf8_len((const unsigned char *)s + i, n - i);
        if (c == '"' || c == '\\') {
            put_char(o, '\\');
            put_char(o, (char)c);
        } else if (c >= 0x20 && c < 0x7f) {
            put_char(o, (char)c);
        } else if (wide) {
            for (size_t k = 0; k < wide; k++)
                put_char(o, s[i + k]);
            i += wide - 1;
        } else {
            put_fmt(o, o->json ? "\\u%04x" : "\\x%02x", c);
        }
    }
    put_char(o, '"');
}

static bool plain_word(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '=')
            return false;
    }
    return n > 0;
}

/* Starts a field and returns where, for end_field(). */
static char *put_key(struct out *o, const char *key)
{
    char *start = o->p;
    if (o->any)
        put_char(o, o->json ? ',' : ' ');
    if (o->json) {
        put_quoted(o, key, strlen(key));
        put_char(o, ':');
    } else {
        put_text(o, key);
        put_char(o, '=');
    }
    return start;
}

/* A field that did not fit is left out whole: a long text from a peer costs neither the syntax nor the other fields. */
static void end_field(struct out *o, char *start)
{
    if (o->p == o->end)
        o->p = start;
    else
        o->any = true;
}

/* A word of ours may stand bare in logfmt; text from a peer is always quoted. */
static void put_pair(struct out *o, const char *key, const char *s, size_t n, bool ours)
{
    if (n == SIZE_MAX)
        n = strlen(s);
    if (!n)
        return;
    char *start = put_key(o, key);
    if (!o->json && ours && plain_word(s, n))
        for (size_t i = 0; i < n; i++)
            put_char(o, s[i]);
    else
        put_quoted(o, s, n);
    end_field(o, start);
}

static void put_number(struct out *o, const char *key, int64_t v)
{
    char *start = put_key(o, key);
    put_fmt(o, "%lld", (long long)v);
    end_field(o, start);
}

static void put_time(struct out *o)
{
    struct timespec ts;
    struct tm tm;
    char buf[40];
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    strftime(buf, sizeof buf, "%Y-%m-%dT%H:%M:%S", &tm);
    char *start = put_key(o, "time");
    put_fmt(o, o->json ? "\"%s.%03uZ\"" : "%s.%03uZ", buf, (unsigned)(ts.tv_nsec / 1000000));
    end_field(o, start);
}

size_t log_format_line(char *out, size_t cap, enum log_format format, enum log_level level, const struct log_ctx *ctx,
                       const char *event, const char *msg, const struct log_kv *kv, size_t n)
{
    /* Room for the last brace and the NUL stays free. */
    struct out o = { out, out + cap - 2, format == LOG_FMT_JSON, false };
    put_char(&o, '<');
    put_char(&o, level_prio[level]);
    put_char(&o, '>');
    if (o.json)
        put_char(&o, '{');
    if (log_time)
        put_time(&o);
    put_pair(&o, "level", level_name[level], SIZE_MAX, true);
    put_pair(&o, "event", event, SIZE_MAX, true);
    if (ctx) {
        if (ctx->conn)
            put_number(&o, "conn", (int64_t)ctx->conn);
        put_pair(&o, "peer", ctx->peer, SIZE_MAX, true);
        put_pair(&o, "user", ctx->user, SIZE_MAX, false);
        put_pair(&o, "corr", ctx->corr, SIZE_MAX, false);
    }
    for (size_t i = 0; i < n; i++) {
        if (kv[i].str)
            put_pair(&o, kv[i].key, kv[i].str, kv[i].str_len, true);
        else
            put_number(&o, kv[i].key, kv[i].num);
    }
    put_pair(&o, "msg", msg, SIZE_MAX, false);
    if (o.json)
        *o.p++ = '}';
    *o.p = 0;
    return (size_t)(o.p - out);
}

/* False when the line would have to wait for its reader. */
static bool emit(enum log_level level, const struct log_ctx *ctx, const char *event, const char *msg,
                 const struct log_kv *kv, size_t n)
{
    char line[LOG_LINE_MAX];
    size_t len = log_format_line(line, sizeof line - 1, log_fmt, level, ctx, event, msg, kv, n);
    line[len++] = '\n';
    size_t skip = log_person ? 3 : 0;
    struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
    if (poll(&p, 1, 0) == 0)
        return false;
    /* Nobody to tell when stderr is gone. */
    return write(STDERR_FILENO, line + skip, len - skip) >= 0 || errno != EAGAIN;
}

void log_write(enum log_level level, const struct log_ctx *ctx, const char *event, const char *msg,
               const struct log_kv *kv, size_t n)
{
    unsigned lost = atomic_exchange(&log_lost, 0);
    const struct log_kv lines = LOG_N("lines", lost);
    if (lost && !emit(LOG_LV_WARN, NULL, "log-lost", "who reads the log was too slow: lines are missing", &lines, 1))
        atomic_fetch_add(&log_lost, lost + 1);
    else if (!emit(level, ctx, event, msg, kv, n))
        atomic_fetch_add(&log_lost, 1);
}

bool log_allowed(struct log_limit *l, unsigned burst, uint64_t now_ms)
{
    uint64_t s = now_ms / 1000;
    if (s != l->window_s) {
        l->window_s = s;
        l->used = 0;
    }
    if (l->used < burst) {
        l->used++;
        return true;
    }
    l->dropped++;
    return false;
}
