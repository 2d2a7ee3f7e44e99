#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/provider.h>

#include "base/ct.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/evq.h"
#include "base/list.h"
#include "base/log.h"
#include "base/rd.h"
#include "base/timerq.h"
#include "base/wr.h"

static uint32_t seed;

static uint32_t rnd(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(seed >> 8) * below >> 24);
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    assert_non_null(s);
    return s;
}

static void hex(const char *text, uint8_t *out, size_t n)
{
    assert_true(hex_decode(text, strlen(text), out, n));
}

/* ---- err ---- */

static void test_err_names(void **state)
{
    (void)state;
    for (int a = 0; a >= ERR_BUG; a--)
        for (int b = a - 1; b >= ERR_BUG; b--)
            assert_string_not_equal(err_name(a), err_name(b));
    assert_string_equal(err_name(ERR_BUG - 1), "unknown error");
    assert_string_equal(err_name(1), "unknown error");
}

/* ---- rd ---- */

static void test_rd_values(void **state)
{
    (void)state;
    const uint8_t data[] = { 0x01, 0x82, 0x83, 0xf4, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c };
    struct rd r = rd_make(data, sizeof data), sub;
    uint8_t u8, copy[2];
    uint16_t u16;
    uint32_t u32;
    const uint8_t *p;
    assert_true(rd_peek_u8(&r, &u8) && u8 == 0x01 && rd_left(&r) == sizeof data);
    assert_true(rd_u8(&r, &u8) && u8 == 0x01);
    assert_true(rd_u16(&r, &u16) && u16 == 0x8283);
    assert_true(rd_u32(&r, &u32) && u32 == 0xf4050607);
    assert_true(rd_bytes(&r, 1, &p) && p == data + 7);
    assert_true(rd_copy(&r, copy, 2) && copy[0] == 9 && copy[1] == 10);
    assert_true(rd_sub(&r, 1, &sub) && rd_left(&sub) == 1 && sub.p == data + 10);
    assert_false(rd_end(&r));
    assert_true(rd_skip(&r, 1) && rd_end(&r));
    assert_true(rd_u8(&sub, &u8) && u8 == 0x0b && !rd_u8(&sub, &u8));
    struct rd none = rd_make(NULL, 0);
    assert_true(rd_end(&none) && rd_left(&none) == 0);
    assert_true(rd_skip(&none, 0) && rd_copy(&none, copy, 0) && rd_bytes(&none, 0, &p) && rd_sub(&none, 0, &sub));
    assert_true(rd_end(&sub) && !rd_skip(&none, 1));
}

static bool rd_get(int which, struct rd *r, size_t n, void *out)
{
    switch (which) {
    case 0: return rd_u8(r, out);
    case 1: return rd_u16(r, out);
    case 2: return rd_u32(r, out);
    case 3: return rd_bytes(r, n, out);
    case 4: return rd_copy(r, out, n);
    case 5: return rd_sub(r, n, out);
    case 6: return rd_skip(r, n);
    default: return rd_peek_u8(r, out);
    }
}

/* A get that fails changes nothing; one that succeeds consumes what it says. */
static void test_rd_property(void **state)
{
    (void)state;
    uint8_t data[16] = { 0 }, out[64], before[64];
    memset(before, 0xa5, sizeof before);
    for (int which = 0; which < 8; which++) {
        for (size_t left = 0; left <= sizeof data; left++) {
            for (size_t n = 0; n <= sizeof data + 1; n++) {
                const size_t ask[2] = { n, SIZE_MAX - n };
                for (int k = 0; k < 2; k++) {
                    size_t need = which == 0 || which == 7 ? 1 : which == 1 ? 2 : which == 2 ? 4 : ask[k];
                    struct rd r = rd_make(data, left), was = r;
                    memcpy(out, before, sizeof out);
                    bool ok = rd_get(which, &r, ask[k], out);
                    assert_true(ok == (need <= left));
                    assert_ptr_equal(r.end, was.end);
                    assert_ptr_equal(r.p, was.p + (ok && which != 7 ? need : 0));
                    if (!ok)
                        assert_memory_equal(out, before, sizeof out);
                }
            }
        }
    }
}

/* ---- wr ---- */

static void test_wr_values(void **state)
{
    (void)state;
    uint8_t buf[20], want[] = { 1, 0x02, 0x03, 4, 5, 6, 7, 'a', 'b', 'c', 'd', 0, 0, 0xee };
    struct wr w = wr_make(buf, sizeof buf), back;
    wr_u8(&w, 1);
    wr_u16(&w, 0x0203);
    wr_u32(&w, 0x04050607);
    wr_bytes(&w, "ab", 2);
    wr_str(&w, "cd");
    wr_zero(&w, 2);
    *wr_room(&w, 1) = 0xee;
    assert_true(wr_ok(&w) && wr_len(&w) == sizeof want);
    assert_memory_equal(buf, want, sizeof want);
    back = wr_make(NULL, 0);
    wr_bytes(&back, NULL, 0);
    assert_true(wr_ok(&back));
    wr_u8(&back, 1);
    assert_false(wr_ok(&back));
}

static void test_wr_overflow_sticks(void **state)
{
    (void)state;
    for (size_t cap = 0; cap < 8; cap++) {
        uint8_t buf[16];
        memset(buf, 0xa5, sizeof buf);
        struct wr w = wr_make(buf, cap);
        wr_bytes(&w, "12345678", 8);
        assert_false(wr_ok(&w));
        assert_int_equal(wr_len(&w), 0);
        wr_u8(&w, 1);
        wr_zero(&w, 1);
        assert_null(wr_room(&w, 0));
        assert_false(wr_ok(&w));
        for (size_t i = 0; i < sizeof buf; i++)
            assert_int_equal(buf[i], 0xa5);
    }
}

static void test_wr_lengths(void **state)
{
    (void)state;
    static uint8_t buf[70000];
    for (size_t n = 65520; n < 65540; n++) {
        for (size_t before = 0; before < 3; before++) {
            struct wr w = wr_make(buf, sizeof buf);
            wr_u8(&w, 9);
            wr_u8(&w, 9);
            size_t mark = wr_open16(&w), len = n + 2 + before;
            wr_zero(&w, n);
            wr_close16(&w, mark, before);
            assert_true(wr_ok(&w) == (len <= 65535));
            assert_int_equal(buf[2] << 8 | buf[3], len <= 65535 ? len : 0);
        }
    }
    struct wr w = wr_make(buf, 1);
    buf[0] = 7;
    wr_close16(&w, wr_open16(&w), 0);
    assert_false(wr_ok(&w));
    assert_int_equal(buf[0], 7);
}

/* ---- evq ---- */

static void test_evq_order(void **state)
{
    (void)state;
    static _Alignas(8) uint8_t buf[4096];
    uint8_t payload[32];
    struct evq q = evq_make(buf, sizeof buf);
    struct ev e;
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (uint8_t)(i + 1);
    for (int round = 0; round < 2; round++) {
        assert_false(evq_next(&q, &e));
        for (uint16_t i = 0; i < 32; i++)
            evq_put(&q, (uint16_t)(1000 + i), payload, i);
        struct wr w = evq_open(&q, 7);
        wr_str(&w, "open");
        evq_close(&q, &w);
        assert_false(q.failed);
        for (uint16_t i = 0; i < 32; i++) {
            assert_true(evq_next(&q, &e));
            assert_int_equal(e.type, 1000 + i);
            assert_int_equal(e.len, i);
            assert_memory_equal(e.data, payload, i);
            assert_int_equal((uintptr_t)e.data % 8, 0);
        }
        assert_true(evq_next(&q, &e) && e.type == 7 && e.len == 4);
        assert_memory_equal(e.data, "open", 4);
        assert_false(evq_next(&q, &e));
        evq_put(&q, 8, NULL, 0);
        assert_true(evq_next(&q, &e) && e.type == 8 && e.len == 0);
        assert_false(evq_next(&q, &e));
        evq_reset(&q);
    }
}

static void test_evq_overflow(void **state)
{
    (void)state;
    static _Alignas(8) uint8_t buf[70100];
    static const uint8_t zeros[65536];
    struct ev e;
    for (size_t cap = 0; cap < 64; cap++) {
        struct evq q = evq_make(buf, cap);
        memset(buf, 0xa5, 128);
        int fit = 0;
        for (; fit < 10; fit++) {
            evq_put(&q, (uint16_t)fit, zeros, 8);
            if (q.failed)
                break;
        }
        assert_int_equal(fit, cap / 16);
        assert_int_equal(buf[cap], 0xa5);
        evq_put(&q, 99, NULL, 0); /* failed for good, even for what would fit */
        assert_true(q.failed);
        for (int i = 0; i < fit; i++)
            assert_true(evq_next(&q, &e) && e.type == i);
        assert_false(evq_next(&q, &e));
        evq_reset(&q);
        assert_false(q.failed);
    }
    struct evq q = evq_make(buf, sizeof buf);
    evq_put(&q, 1, zeros, 65535);
    assert_true(!q.failed && evq_next(&q, &e) && e.len == 65535);
    evq_reset(&q);
    evq_put(&q, 1, zeros, 65536);
    assert_true(q.failed);
}

/* ---- timerq ---- */

#define TIMERS 300

struct model_timer {
    struct timer_entry entry; /* first, so that the callback finds the rest */
    uint64_t due;             /* TIME_NEVER: not armed */
};

static struct timerq tq;
static struct model_timer *model[TIMERS];
static unsigned fired;

static void model_fire(struct timer_entry *e, uint64_t now);

static uint64_t model_earliest(void)
{
    uint64_t min = TIME_NEVER;
    for (size_t i = 0; i < TIMERS; i++)
        if (model[i]->due < min)
            min = model[i]->due;
    return min;
}

static void model_set(struct model_timer *t, uint64_t due)
{
    t->due = due;
    assert_int_equal(timerq_set(&tq, &t->entry, due), 0);
    assert_true((t->entry.pos != 0) == (due != TIME_NEVER));
}

static void model_renew(size_t i)
{
    timerq_cancel(&tq, &model[i]->entry);
    free(model[i]);
    model[i] = calloc(1, sizeof *model[i]);
    assert_non_null(model[i]);
    *model[i] = (struct model_timer){ .entry.fn = model_fire, .due = TIME_NEVER };
}

/* Fires the earliest of the model, then does something that owners do. */
static void model_fire(struct timer_entry *e, uint64_t now)
{
    struct model_timer *t = (struct model_timer *)e;
    assert_true(t->due <= now && t->due == model_earliest());
    assert_int_equal(e->pos, 0);
    t->due = TIME_NEVER;
    fired++;
    size_t other = rnd(TIMERS);
    switch (rnd(6)) {
    case 0: model_set(t, now + 1 + rnd(500)); break;
    case 1: model_set(model[other], TIME_NEVER); break;
    case 2: model_set(model[other], now + 1 + rnd(500)); break;
    case 3: model_renew(other); break;                     /* frees itself, or one that may be due now */
    case 4: model_set(model[other], now - rnd(20)); break; /* due at once */
    default: break;
    }
}

static void test_timerq_model(void **state)
{
    (void)state;
    uint64_t now = 1000;
    seed = 5;
    fired = 0;
    timerq_init(&tq);
    assert_true(timerq_next(&tq) == TIME_NEVER);
    for (size_t i = 0; i < TIMERS; i++) {
        model[i] = calloc(1, sizeof *model[i]);
        *model[i] = (struct model_timer){ .entry.fn = model_fire, .due = TIME_NEVER };
    }
    for (int round = 0; round < 60000; round++) {
        size_t i = rnd(TIMERS);
        switch (rnd(8)) {
        case 0:
            model[i]->due = TIME_NEVER;
            timerq_cancel(&tq, &model[i]->entry);
            break;
        case 1: model_set(model[i], TIME_NEVER); break;
        case 2:
            now += rnd(60);
            timerq_run(&tq, now);
            assert_true(model_earliest() > now);
            break;
        case 3: model_renew(i); break;
        default: model_set(model[i], now + rnd(1000)); break;
        }
        assert_true(timerq_next(&tq) == model_earliest());
    }
    assert_true(fired > 1000);
    timerq_fini(&tq);
    for (size_t i = 0; i < TIMERS; i++) {
        assert_int_equal(model[i]->entry.pos, 0);
        free(model[i]);
    }
}

/* ---- ct, hex ---- */

static void test_ct(void **state)
{
    (void)state;
    uint8_t a[32] = { 0 }, b[32] = { 0 };
    assert_true(ct_equal(a, b, 32) && ct_equal(a, b, 0));
    for (size_t bit = 0; bit < 256; bit++) {
        b[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(ct_equal(a, b, 32));
        assert_true(ct_equal(a, b, bit / 8));
        b[bit / 8] = 0;
    }
    memset(a, 0xff, sizeof a);
    secret_wipe(a, 31);
    assert_true(ct_equal(a, b, 31) && a[31] == 0xff);
    secret_wipe(NULL, 0);
    secret_free(NULL, 0);
    secret_free(malloc(8), 8);
}

static void test_hex(void **state)
{
    (void)state;
    uint8_t all[256], back[256];
    char text[513];
    for (int i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    hex_encode(all, 256, text);
    assert_int_equal(strlen(text), 512);
    assert_memory_equal(text, "000102", 6);
    assert_string_equal(text + 506, "fdfeff");
    assert_true(hex_decode(text, 512, back, 256));
    assert_memory_equal(all, back, 256);
    assert_true(hex_decode("aFA0", 4, back, 2) && back[0] == 0xaf && back[1] == 0xa0);
    assert_false(hex_decode("aFA0", 4, back, 1));
    assert_false(hex_decode("aFA", 3, back, 2));
    assert_true(hex_decode("", 0, back, 0));
    for (int c = 0; c < 256; c++) {
        char two[2] = { '0', (char)c };
        bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        assert_true(hex_decode(two, 2, back, 1) == digit);
    }
}

/* ---- log ---- */

static void test_log_logfmt(void **state)
{
    (void)state;
    struct log_ctx ctx = { .conn = 17, .peer = "198.51.100.7:50112", .user = "al\"ice" };
    const struct log_kv kv[] = { LOG_S("ip", "10.77.0.5"), LOG_S("to", "a>"),
                                 LOG_S("empty", ""),       LOG_S("none", (char *)NULL),
                                 LOG_N("n", -5),           LOG_B("raw", "x y\n\x01\xff\xc3\xa4=", 9) };
    char out[512];
    log_setup(LOG_LV_NOTICE, LOG_FMT_LOGFMT, false);
    size_t n = log_format_line(out, sizeof out, LOG_FMT_LOGFMT, LOG_LV_NOTICE, &ctx, "call-up", "call is up", kv, 6);
    assert_string_equal(out, "<5>level=notice event=call-up conn=17 peer=198.51.100.7:50112 user=\"al\\\"ice\" "
                             "ip=10.77.0.5 to=a> n=-5 raw=\"x y\\x0a\\x01\\xff\xc3\xa4=\" msg=\"call is up\"");
    assert_int_equal(n, strlen(out));
    log_format_line(out, sizeof out, LOG_FMT_LOGFMT, LOG_LV_ERROR, NULL, "e", "", NULL, 0);
    assert_string_equal(out, "<3>level=error event=e");
    assert_true(log_wants(LOG_LV_NOTICE) && !log_wants(LOG_LV_INFO));
}

static json_t *parse_line(const char *line)
{
    json_error_t err;
    assert_memory_equal(line, "<4>", 3);
    json_t *o = json_loads(line + 3, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &err);
    if (!o)
        fail_msg("%s: %s", line, err.text);
    return o;
}

static void test_log_json(void **state)
{
    (void)state;
    struct log_ctx ctx = { .conn = 3, .corr = "{A}" };
    char out[1024];
    for (int a = 0; a < 256; a++) {
        for (int b = 0; b < 256; b += 3) {
            const char raw[5] = { 'x', (char)a, (char)b, (char)0x80, 'y' };
            const struct log_kv kv[] = { LOG_B("raw", raw, 5), LOG_N("big", INT64_MIN) };
            log_format_line(out, sizeof out, LOG_FMT_JSON, LOG_LV_WARN, &ctx, "e", "m \"\\", kv, 2);
            for (const char *p = out; *p; p++)
                assert_true((unsigned char)*p >= ' ' && *p != 0x7f);
            json_t *o = parse_line(out);
            assert_string_equal(text_of(o, "level"), "warn");
            assert_string_equal(text_of(o, "msg"), "m \"\\");
            assert_string_equal(text_of(o, "corr"), "{A}");
            assert_null(json_object_get(o, "peer"));
            assert_int_equal(json_integer_value(json_object_get(o, "conn")), 3);
            assert_true(json_integer_value(json_object_get(o, "big")) == INT64_MIN);
            const json_t *s = json_object_get(o, "raw");
            assert_true(json_string_length(s) >= 5 && json_string_value(s)[0] == 'x');
            assert_int_equal(json_string_value(s)[json_string_length(s) - 1], 'y');
            json_decref(o);
        }
    }
    /* Well-formed text passes unchanged, ill-formed bytes become the characters of their numbers. */
    const struct log_kv kv[] = { LOG_S("good", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\x92"),
                                 LOG_S("bad", "\xc0\xaf\xed\xa0\x80") };
    log_format_line(out, sizeof out, LOG_FMT_JSON, LOG_LV_WARN, NULL, "e", "", kv, 2);
    assert_string_equal(out, "<4>{\"level\":\"warn\",\"event\":\"e\",\"good\":\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\x92\","
                             "\"bad\":\"\\u00c0\\u00af\\u00ed\\u00a0\\u0080\"}");
}

/* Whatever the room, a line is well-formed, within bounds, and only lacks what does not fit. */
static void test_log_long_lines(void **state)
{
    (void)state;
    char longer[600], out[2048];
    for (size_t i = 0; i < sizeof longer; i++)
        longer[i] = i % 3 ? "\xc3\xa4"[i % 3 - 1] : '\x01';
    for (int timestamps = 0; timestamps < 2; timestamps++) {
        log_setup(LOG_LV_NOTICE, LOG_FMT_JSON, timestamps);
        for (size_t cap = 8; cap < sizeof out; cap++) {
            const struct log_kv kv[] = { LOG_B("long", longer, sizeof longer), LOG_N("n", 7) };
            out[cap - 1] = out[cap] = 0x55;
            size_t n = log_format_line(out, cap, LOG_FMT_JSON, LOG_LV_WARN, NULL, "event", "message", kv, 2);
            assert_true(n < cap && out[n] == 0 && out[cap] == 0x55);
            json_t *o = parse_line(out);
            bool whole = json_object_get(o, "long") != NULL;
            assert_true(whole == (cap >= 1700) || (cap > 1600 && cap < 1700));
            if (cap > 120) {
                assert_string_equal(text_of(o, "level"), "warn");
                assert_string_equal(text_of(o, "event"), "event");
            }
            if (cap >= 1800 || (cap > 120 && !whole)) {
                assert_string_equal(text_of(o, "msg"), "message");
                assert_int_equal(json_integer_value(json_object_get(o, "n")), 7);
            }
            if (!timestamps || cap > 60)
                assert_true((json_object_get(o, "time") != NULL) == timestamps);
            json_decref(o);
            n = log_format_line(out, cap, LOG_FMT_LOGFMT, LOG_LV_WARN, NULL, "event", "message", kv, 2);
            size_t quotes = 0;
            for (size_t i = 0; i < n; i++)
                quotes += out[i] == '"';
            assert_true(n < cap && out[n] == 0 && quotes % 2 == 0);
        }
    }
    log_setup(LOG_LV_NOTICE, LOG_FMT_LOGFMT, false);
}

/* Nobody reads the pipe: no line waits, and the first after the reader is back tells of those that are missing. */
static void test_log_never_waits(void **state)
{
    (void)state;
    int p[2], old = dup(STDERR_FILENO);
    char text[1 << 16], tail[400];
    memset(text, 'x', 500);
    text[500] = 0;
    assert_int_equal(pipe(p), 0);
    dup2(p[1], STDERR_FILENO);
    int shared = fcntl(p[1], F_GETFL);
    for (int round = 0; round < 2; round++) { /* as it is; and made non-blocking */
        for (int i = 0; i < 1000; i++)
            log_write(LOG_LV_NOTICE, NULL, "e", text, NULL, 0);
        int flags = fcntl(p[0], F_GETFL);
        fcntl(p[0], F_SETFL, flags | O_NONBLOCK);
        unsigned whole = 0;
        for (ssize_t n; (n = read(p[0], text, sizeof text)) > 0;)
            for (ssize_t i = 0; i < n; i++)
                whole += text[i] == '\n';
        memset(text, 'x', 500);
        text[500] = 0;
        assert_in_range(whole, 10, 999);
        log_write(LOG_LV_NOTICE, NULL, "e", "again", NULL, 0);
        ssize_t n = read(p[0], tail, sizeof tail - 1);
        assert_true(n > 0);
        tail[n] = 0;
        char want[64];
        snprintf(want, sizeof want, "event=log-lost lines=%u ", 1000 - whole);
        assert_non_null(strstr(tail, want));
        assert_non_null(strstr(tail, "again"));
        log_never_wait();
        assert_true(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK);
        assert_int_equal(fcntl(p[1], F_GETFL), shared);
    }
    dup2(old, STDERR_FILENO);
    close(old);
    close(p[0]);
    close(p[1]);
}

static void test_log_allowed(void **state)
{
    (void)state;
    struct log_limit l = { 0 };
    for (uint64_t s = 0; s < 5; s++) {
        for (unsigned i = 0; i < 10; i++)
            assert_true(log_allowed(&l, 3, s * 1000 + i * 99) == (i < 3));
        assert_int_equal(l.dropped, 7);
        l.dropped = 0;
    }
    assert_false(log_allowed(&l, 0, 99000));
}

/* ---- hash ---- */

struct named {
    char name[16];
    UT_hash_handle hh;
};

static void test_hash(void **state)
{
    (void)state;
    const uint64_t k0[2] = { 1, 2 }, k1[2] = { 1, 3 }, k2[2] = { 2, 2 };
    static struct named items[500];
    struct named *table = NULL, *found;
    unsigned same1 = 0, same2 = 0;
    uint8_t data[64];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7);
    for (size_t n = 0; n <= sizeof data; n++) {
        hash_seed(k0);
        unsigned h = hash_keyed(data, n);
        assert_int_equal(h, hash_keyed(data, n));
        if (n) {
            data[n - 1] ^= 1; /* the last byte counts at every length */
            assert_int_not_equal(h, hash_keyed(data, n));
            data[n - 1] ^= 1;
            assert_int_not_equal(h, hash_keyed(data, n - 1));
        }
        hash_seed(k1);
        same1 += h == hash_keyed(data, n);
        hash_seed(k2);
        same2 += h == hash_keyed(data, n);
    }
    assert_int_equal(same1 + same2, 0);
    for (int i = 0; i < 500; i++) {
        snprintf(items[i].name, sizeof items[i].name, "user%d", i);
        HASH_ADD_STR(table, name, &items[i]);
        assert_non_null(items[i].hh.tbl);
    }
    assert_int_equal(HASH_COUNT(table), 500);
    for (int i = 0; i < 500; i++) {
        HASH_FIND_STR(table, items[i].name, found);
        assert_ptr_equal(found, &items[i]);
    }
    HASH_FIND_STR(table, "user500", found);
    assert_null(found);
    HASH_CLEAR(hh, table);
}

/* ---- digest ---- */

static const struct {
    enum digest_alg alg;
    const char *text, *want;
} digests[] = {
    /* RFC 1320 A.5 */
    { DIGEST_MD4, "", "31d6cfe0d16ae931b73c59d7e0c089c0" },
    { DIGEST_MD4, "abc", "a448017aaf21d8525fc10ae87aa6729d" },
    { DIGEST_MD4, "message digest", "d9130a8164549fe818874806e1c7014b" },
    /* RFC 1321 A.5 */
    { DIGEST_MD5, "", "d41d8cd98f00b204e9800998ecf8427e" },
    { DIGEST_MD5, "abc", "900150983cd24fb0d6963f7d28e17f72" },
    { DIGEST_MD5, "message digest", "f96b697d7cb7938d525a2f31aaf161d0" },
    /* RFC 3174 7.3, RFC 6234 8.5 */
    { DIGEST_SHA1, "abc", "a9993e364706816aba3e25717850c26c9cd0d89d" },
    { DIGEST_SHA1, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
      "84983e441c3bd26ebaae4aa1f95129e5e54670f1" },
    { DIGEST_SHA256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
    { DIGEST_SHA256, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
};

static void test_digest(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof digests / sizeof digests[0]; i++) {
        uint8_t want[32], out[33];
        const char *text = digests[i].text;
        size_t n = strlen(digests[i].want) / 2, len = strlen(text);
        hex(digests[i].want, want, n);
        for (size_t cut = 0; cut <= len; cut++) {
            struct digest_part parts[3] = { { text, cut }, { NULL, 0 }, { text + cut, len - cut } };
            memset(out, 0xa5, sizeof out);
            assert_int_equal(digest(digests[i].alg, parts, 3, out), 0);
            assert_memory_equal(out, want, n);
            assert_int_equal(out[n], 0xa5);
        }
    }
}

static void test_hmac(void **state)
{
    (void)state;
    uint8_t key[131], out[32], want[32];
    /* RFC 2202 3 and RFC 4231 4: cases 1, 2, 6 */
    memset(key, 0x0b, 20);
    assert_int_equal(digest_hmac(DIGEST_SHA1, key, 20, "Hi There", 8, out), 0);
    hex("b617318655057264e28bc0b6fb378c8ef146be00", want, 20);
    assert_memory_equal(out, want, 20);
    assert_int_equal(digest_hmac(DIGEST_SHA256, key, 20, "Hi There", 8, out), 0);
    hex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7", want, 32);
    assert_memory_equal(out, want, 32);
    assert_int_equal(digest_hmac(DIGEST_SHA1, "Jefe", 4, "what do ya want for nothing?", 28, out), 0);
    hex("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79", want, 20);
    assert_memory_equal(out, want, 20);
    assert_int_equal(digest_hmac(DIGEST_SHA256, "Jefe", 4, "what do ya want for nothing?", 28, out), 0);
    hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843", want, 32);
    assert_memory_equal(out, want, 32);
    memset(key, 0xaa, sizeof key);
    const char *text = "Test Using Larger Than Block-Size Key - Hash Key First";
    assert_int_equal(digest_hmac(DIGEST_SHA256, key, 131, text, strlen(text), out), 0);
    hex("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54", want, 32);
    assert_memory_equal(out, want, 32);
    assert_int_equal(digest_hmac(DIGEST_SHA1, key, 80, text, strlen(text), out), 0);
    hex("aa4ae5e15272d00e95705637ce8a3b55ed402112", want, 20);
    assert_memory_equal(out, want, 20);
}

/* DES with an 8-byte key, parity and all, straight from the library. */
static void des8(const uint8_t key[8], const uint8_t in[8], uint8_t out[8])
{
    OSSL_LIB_CTX *lib = OSSL_LIB_CTX_new();
    OSSL_PROVIDER *legacy = OSSL_PROVIDER_load(lib, "legacy");
    EVP_CIPHER *des = EVP_CIPHER_fetch(lib, "DES-ECB", NULL);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int len = 0;
    assert_int_equal(EVP_EncryptInit_ex2(ctx, des, key, NULL, NULL), 1);
    assert_int_equal(EVP_EncryptUpdate(ctx, out, &len, in, 8), 1);
    assert_int_equal(len, 8);
    EVP_CIPHER_CTX_free(ctx);
    EVP_CIPHER_free(des);
    OSSL_PROVIDER_unload(legacy);
    OSSL_LIB_CTX_free(lib);
}

static void test_des7(void **state)
{
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s/mschapv2.json", VECTORS_DIR);
    json_t *root = json_load_file(path, 0, NULL), *v;
    assert_non_null(root);
    size_t i, checked = 0;
    /* ChallengeResponse, RFC 2759 8.5: three keys of 7 bytes from the hash and 5 zero bytes (9.2 and others). */
    json_array_foreach(json_object_get(root, "auth"), i, v) {
        uint8_t keys[21] = { 0 }, challenge[8], want[24], out[24];
        hex(text_of(v, "nt_hash"), keys, 16);
        hex(text_of(v, "challenge8"), challenge, 8);
        hex(text_of(v, "nt_response"), want, 24);
        for (int k = 0; k < 3; k++)
            assert_int_equal(digest_des7(keys + 7 * k, challenge, out + 8 * k), 0);
        assert_memory_equal(out, want, 24);
        checked++;
    }
    assert_true(checked >= 6);
    /* RFC 2759 9.3: raw keys and what they are with their parity bits. */
    const json_t *keys = json_object_get(root, "des_key_expansion");
    static const char *const names[2][2] = { { "raw1", "key1" }, { "raw2", "key2" } };
    for (int k = 0; k < 2; k++) {
        uint8_t raw[7], spread[8], want[8], out[8];
        hex(text_of(keys, names[k][0]), raw, 7);
        hex(text_of(keys, names[k][1]), spread, 8);
        des8(spread, (const uint8_t *)"KGS!@#$%", want);
        assert_int_equal(digest_des7(raw, (const uint8_t *)"KGS!@#$%", out), 0);
        assert_memory_equal(out, want, 8);
    }
    json_decref(root);
}

static void test_digest_states(void **state)
{
    (void)state;
    uint8_t out[32], key[7] = { 0 }, block[8] = { 0 };
    digest_fini();
    assert_int_equal(digest(DIGEST_MD5, NULL, 0, out), ERR_BUG);
    assert_int_equal(digest_hmac(DIGEST_SHA1, "", 0, "", 0, out), ERR_BUG);
    assert_int_equal(digest_des7(key, block, out), ERR_BUG);
    digest_fini();
    assert_int_equal(digest_init(), 0);
    assert_int_equal(digest_init(), 0);
    assert_int_equal(digest(DIGEST_MD5, NULL, 0, out), 0);
}

static int setup(void **state)
{
    (void)state;
    return digest_init();
}

static int teardown(void **state)
{
    (void)state;
    digest_fini();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_err_names),
        cmocka_unit_test(test_rd_values),
        cmocka_unit_test(test_rd_property),
        cmocka_unit_test(test_wr_values),
        cmocka_unit_test(test_wr_overflow_sticks),
        cmocka_unit_test(test_wr_lengths),
        cmocka_unit_test(test_evq_order),
        cmocka_unit_test(test_evq_overflow),
        cmocka_unit_test(test_timerq_model),
        cmocka_unit_test(test_ct),
        cmocka_unit_test(test_hex),
        cmocka_unit_test(test_log_logfmt),
        cmocka_unit_test(test_log_json),
        cmocka_unit_test(test_log_long_lines),
        cmocka_unit_test(test_log_never_waits),
        cmocka_unit_test(test_log_allowed),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_hmac),
        cmocka_unit_test(test_des7),
        cmocka_unit_test(test_digest_states),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
