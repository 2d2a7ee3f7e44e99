/*
 * The event log: one line an event, to stderr, as logfmt or JSON, with a syslog priority in front (not on a terminal).
 *
 *   <5>level=notice event=call-up conn=17 peer=198.51.100.7:50112 user="alice" ip=10.77.0.5 msg="call is up"
 *
 * The event name is stable and documented; the message is for people. Text that came from a peer goes
 * through a field, which quotes and escapes it, never through the message. Safe from any thread: one
 * write() a line. Who reads too slowly does not hold us up: lines are lost then, and the next that is written is
 * preceded by one that tells how many (event log-lost).
 *
 * Levels by consequence: error (service affected, the operator must act), warn (one call failed
 * unexpectedly), notice (up, down, login, refusal), info, debug (state changes).
 */
#ifndef GH_BASE_LOG_H
#define GH_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum log_level { LOG_LV_ERROR, LOG_LV_WARN, LOG_LV_NOTICE, LOG_LV_INFO, LOG_LV_DEBUG };
enum log_format { LOG_FMT_LOGFMT, LOG_FMT_JSON };

struct log_kv {
    const char *key;
    const char *str; /* NULL: the number */
    size_t str_len;
    int64_t num;
};

static inline struct log_kv log_kv_text(const char *key, const char *text)
{
    return (struct log_kv){ key, text ? text : "", SIZE_MAX, 0 };
}

#define LOG_S(k, v)    log_kv_text((k), (v))                               /* text up to its NUL, or NULL */
#define LOG_B(k, v, n) ((struct log_kv){ (k), (const char *)(v), (n), 0 }) /* n bytes of text    */
#define LOG_N(k, v)    ((struct log_kv){ (k), NULL, 0, (int64_t)(v) })     /* a number           */
#define LOG_NZ(k, v)   ((v) ? LOG_N(k, v) : LOG_S(k, ""))                  /* a number, left out when 0 */

/* What every line of one connection carries; empty strings are left out. */
struct log_ctx {
    uint64_t conn;  /* connection id, 0: none */
    char peer[64];  /* address:port */
    char user[128]; /* as the peer gave it, cut */
    char corr[48];  /* SSTPCORRELATIONID, for matching with the client's own log */
};

void log_setup(enum log_level max, enum log_format format, bool timestamps);
/*
 * Makes sure that a reader that stopped never stops us, not even when several processes write into its pipe at the same
 * moment: stderr becomes non-blocking, without being so for others who have it. Where that cannot be done (no /proc, no
 * permission) it is looked at before each line, as without this call.
 */
void log_never_wait(void);
bool log_wants(enum log_level level);

/* Writes one line. ctx may be NULL. Fields with an empty string are left out. */
void log_write(enum log_level level, const struct log_ctx *ctx, const char *event, const char *msg,
               const struct log_kv *kv, size_t n);

/*
 * Formats without writing; returns the length written to out, at most cap - 1, NUL-terminated. A field that does not
 * fit is left out whole, so the line stays well-formed. cap: at least 8. For tests.
 */
size_t log_format_line(char *out, size_t cap, enum log_format format, enum log_level level, const struct log_ctx *ctx,
                       const char *event, const char *msg, const struct log_kv *kv, size_t n);

/*
 * For lines that a stranger can cause: at most `burst` lines a second for one limiter; the number of
 * lines dropped is told by the next line that passes (field dropped=). One limiter belongs to one thread.
 */
struct log_limit {
    uint64_t window_s;
    unsigned used, dropped;
};
bool log_allowed(struct log_limit *l, unsigned burst, uint64_t now_ms);

#define LOG_KV_ARR(...) ((const struct log_kv[]){ { 0 }, ##__VA_ARGS__ } + 1)
#define LOG_KV_N(...)   (sizeof((const struct log_kv[]){ { 0 }, ##__VA_ARGS__ }) / sizeof(struct log_kv) - 1)
#define log_ev(level, ctx, event, msg, ...)                                                                            \
    do {                                                                                                               \
        if (log_wants(level))                                                                                          \
            log_write(level, ctx, event, msg, LOG_KV_ARR(__VA_ARGS__), LOG_KV_N(__VA_ARGS__));                         \
    } while (0)
#define log_error(ctx, event, msg, ...)  log_ev(LOG_LV_ERROR, ctx, event, msg, ##__VA_ARGS__)
#define log_warn(ctx, event, msg, ...)   log_ev(LOG_LV_WARN, ctx, event, msg, ##__VA_ARGS__)
#define log_notice(ctx, event, msg, ...) log_ev(LOG_LV_NOTICE, ctx, event, msg, ##__VA_ARGS__)
#define log_info(ctx, event, msg, ...)   log_ev(LOG_LV_INFO, ctx, event, msg, ##__VA_ARGS__)
#define log_debug(ctx, event, msg, ...)  log_ev(LOG_LV_DEBUG, ctx, event, msg, ##__VA_ARGS__)

#endif
