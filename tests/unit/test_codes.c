/* The codes that `gatehouse explain` knows: every spelling is found, the tables are whole and name each other rightly.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <inttypes.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/cli.h"
#include "cli/codes.h"
#include "client/causes.h"

void cli_fail(const char *fmt, ...)
{
    (void)fmt;
}

static const struct code *find(const char *text, enum code_kind kind)
{
    const struct code_table *table = NULL;
    const struct code *c = NULL;
    if (code_find(text, &table, &c) != 0)
        fail_msg("\"%s\" is not found", text);
    assert_int_equal(table->kind, kind);
    return c;
}

/* ---- spellings ---- */

static void test_hresults(void **state)
{
    (void)state;
    static const uint32_t all[] = {
        0x80072746, 0x8007274C, 0x8007274D, 0x80072AF9, 0x800704C9, 0x800704D4, 0x80070040,
        0x80092012, 0x80092013, 0x800B0101, 0x800B0109, 0x800B010A, 0x800B010E, 0x800B010F,
        0x800B0110, 0x80090325, 0x80090326, 0x80090327, 0x80090331, 0x80072EE7,
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        char text[32];
        static const char *const formats[] = {
            "0x%08X", "0x%08x", "0X%08x", "%08x", "%08X", "hresult 0x%08x", " %08X "
        };
        for (size_t k = 0; k < sizeof formats / sizeof formats[0]; k++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(text, sizeof text, formats[k], all[i]);
#pragma GCC diagnostic pop
            assert_int_equal(find(text, CODE_HRESULT)->number, all[i]);
        }
        snprintf(text, sizeof text, "%" PRId32, (int32_t)all[i]);
        assert_int_equal(find(text, CODE_HRESULT)->number, all[i]);
        snprintf(text, sizeof text, "error %" PRId32, (int32_t)all[i]);
        assert_int_equal(find(text, CODE_HRESULT)->number, all[i]);
        snprintf(text, sizeof text, "%" PRIu32, all[i]);
        assert_int_equal(find(text, CODE_HRESULT)->number, all[i]);
        code_text(CODE_HRESULT, find(text, CODE_HRESULT), text, sizeof text);
        assert_int_equal(strtoul(text, NULL, 16), all[i]);
    }
    assert_int_equal(find("10054", CODE_HRESULT)->number, 0x80072746);
    assert_int_equal(find("1225", CODE_HRESULT)->number, 0x800704C9);
    assert_int_equal(find("cert_e_untrustedroot", CODE_HRESULT)->number, 0x800B0109);
}

/* The whole documented range: those that were named, and every other number of the SDK's two lists. */
static void test_ras(void **state)
{
    (void)state;
    for (uint32_t n = 600; n <= 955; n++) {
        char text[32];
        if ((n > 878 && n < 900) || n == 947) /* no such error */
            continue;
        snprintf(text, sizeof text, "%u", n);
        assert_int_equal(find(text, CODE_RAS)->number, n);
        snprintf(text, sizeof text, "Error:%u", n);
        assert_int_equal(find(text, CODE_RAS)->number, n);
        snprintf(text, sizeof text, "0x%x", 0x80070000u | n);
        if (n != 0x40) /* of the HRESULTs none has such a low part */
            assert_int_equal(find(text, CODE_RAS)->number, n);
    }
    static const uint32_t here[] = { 619, 628, 629, 631, 646, 647, 648, 649, 691,
                                     709, 717, 718, 720, 734, 812, 853, 868, 919 };
    for (size_t i = 0; i < sizeof here / sizeof here[0]; i++) {
        char text[32];
        snprintf(text, sizeof text, "RAS %u", here[i]);
        const struct code *c = find(text, CODE_RAS);
        assert_non_null(c->cause);
        assert_non_null(c->check);
    }
}

static void test_events(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 33; n++) {
        char text[32];
        if (n > 25 && n < 32) /* nobody documents these */
            continue;
        static const char *const formats[] = { "RasSstp %u", "rassstp:%u", "RASSSTP  %u", "RasSstp event %u" };
        for (size_t k = 0; k < sizeof formats / sizeof formats[0]; k++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(text, sizeof text, formats[k], n);
#pragma GCC diagnostic pop
            assert_int_equal(find(text, CODE_RASSSTP)->number, n);
        }
    }
    static const uint32_t server[] = { 20049, 20250, 20255, 20271, 20272, 20274, 20275 };
    for (size_t i = 0; i < sizeof server / sizeof server[0]; i++) {
        char text[32];
        snprintf(text, sizeof text, "RemoteAccess %u", server[i]);
        assert_int_equal(find(text, CODE_REMOTEACCESS)->number, server[i]);
        snprintf(text, sizeof text, "RasClient %u", server[i]); /* a mix-up */
        assert_int_equal(find(text, CODE_REMOTEACCESS)->number, server[i]);
    }
    for (uint32_t n = 20221; n <= 20227; n++) {
        char text[32];
        snprintf(text, sizeof text, "%u", n);
        assert_int_equal(find(text, CODE_RASCLIENT)->number, n);
    }
    assert_string_equal(find("binding-mismatch", CODE_EVENT)->name, "binding-mismatch");
    assert_string_equal(find("BINDING-CERT", CODE_CAUSE)->name, "binding-cert");
    assert_string_equal(find("not-from-front", CODE_REFUSAL)->name, "not-from-front");
    assert_int_equal(find("http 503", CODE_HTTP)->number, 503);
}

/* ---- what gatehouse connect prints ---- */

/* An event, or an event with its error: the answer is about the error, and the event is named too. */
static void explained(const char *ras)
{
    const struct code_table *table = NULL, *of_event = NULL;
    const struct code *c = NULL;
    const char *error = strchr(ras, '(');
    if (code_find(ras, &table, &c) != 0)
        fail_msg("\"%s\" is not found", ras);
    const struct code *event = code_event(ras, &of_event);
    assert_int_equal(table->kind, error ? CODE_RAS : CODE_RASSSTP);
    assert_int_equal(event != NULL, error != NULL);
    if (!error)
        return;
    assert_int_equal(c->number, strtoul(error + 1, NULL, 10));
    assert_int_equal(of_event->kind, CODE_RASCLIENT);
    assert_int_equal(event->number, strtoul(strchr(ras, ' '), NULL, 10));
    assert_ptr_equal(find(strchr(ras, ' '), CODE_RAS), c); /* without the source, spaces around */
    assert_int_equal(event->number, code_event(strchr(ras, ' '), &of_event)->number);
}

static void test_client_causes(void **state)
{
    (void)state;
    assert_int_equal(codes_client_n, CLIENT_CAUSES);
    for (size_t i = 0; i < CLIENT_CAUSES; i++) {
        const struct client_cause_info *info = &client_causes[i];
        const struct code_table *table = NULL;
        const struct code *c = NULL;
        char text[64];
        if (code_find(info->name, &table, &c) != 0)
            fail_msg("\"%s\" is not found", info->name);
        while (c && table->kind != CODE_CLIENT)
            c = code_namesake(c, &table);
        assert_non_null(c);
        assert_string_equal(c->name, info->name);
        assert_ptr_equal(c, &codes_client[i]);
        assert_int_equal(strtol(c->fields, NULL, 10), info->exit_status);
        /* "RasClient 20227 (691)" is "RasClient 20227, error 691" in the table. */
        const char *error = strchr(info->ras, '(');
        if (error)
            snprintf(text, sizeof text, "%.*s, error %lu", (int)(error - info->ras) - 1, info->ras,
                     strtoul(error + 1, NULL, 10));
        else
            snprintf(text, sizeof text, "%s", info->ras);
        if (strncmp(c->see ? c->see : "", text, strlen(text)) != 0 || (!*text && c->see))
            fail_msg("%s: %s, not %s", info->name, c->see ? c->see : "nothing", text);
        if (*info->ras)
            explained(info->ras);
    }
    const struct code_table *table = NULL;
    const struct code *c = NULL;
    assert_int_equal(code_find("binding", &table, &c), 0); /* the server's first, then the client's */
    assert_int_equal(table->kind, CODE_CAUSE);
    assert_non_null(code_namesake(c, &table));
    assert_int_equal(table->kind, CODE_CLIENT);
    assert_null(code_namesake(c + 1, &table));
}

/* Every such text in the client's sources, those that stand beside the table of causes too. */
static void test_client_texts(void **state)
{
    (void)state;
    static const char *const files[] = { "call.c", "causes.c", "dial.c" };
    size_t all = 0;
    regex_t re;
    assert_int_equal(regcomp(&re, "\"Ras[A-Za-z]+ [0-9]+( \\([0-9]+\\))?\"", REG_EXTENDED), 0);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[512], line[512], text[64];
        size_t n = 0;
        snprintf(path, sizeof path, "%s/../../src/client/%s", VECTORS_DIR, files[i]);
        FILE *f = fopen(path, "r");
        assert_non_null(f);
        while (fgets(line, sizeof line, f)) {
            regmatch_t m;
            for (const char *p = line; regexec(&re, p, 1, &m, 0) == 0; p += m.rm_eo, n++) {
                snprintf(text, sizeof text, "%.*s", (int)(m.rm_eo - m.rm_so - 2), p + m.rm_so + 1);
                explained(text);
            }
        }
        fclose(f);
        assert_true(n > 0);
        all += n;
    }
    regfree(&re);
    assert_true(all >= CLIENT_CAUSES);
}

static void test_not_found(void **state)
{
    (void)state;
    const struct code_table *table = NULL;
    const struct code *c = NULL;
    static const char *const unknown[] = {
        "0x80091234",    "947", "880", "RasSstp 26", "RasSstp 0",      "RasSstp 691",        "HTTP 200",
        "no-such-event", "0",   "0x0", "4294967295", "RemoteAccess 6", "RasClient 20227 (1)"
    };
    static const char *const odd[] = { "",
                                       " ",
                                       "-",
                                       "0x",
                                       "0x123456789",
                                       "4294967296",
                                       "-2147483649",
                                       "99999999999",
                                       "0xfoo",
                                       "6 19",
                                       "619x",
                                       "1.2",
                                       "a b",
                                       "RasSstp",
                                       "RasSstp ",
                                       "rassstp 6 7",
                                       "\xff",
                                       "--619",
                                       "RasClient 20227 ()",
                                       "RasClient 20227 (691",
                                       "RasClient 20227 691)",
                                       "RasClient 20227 ((691))",
                                       "RasClient 20227 (691) 7",
                                       "RasClient 9 (691)",
                                       "RasSstp 6 (691)",
                                       "login (691)",
                                       "(691)",
                                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        if (code_find(unknown[i], &table, &c) != ERR_CLOSED)
            fail_msg("\"%s\"", unknown[i]);
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
        if (code_find(odd[i], &table, &c) == 0)
            fail_msg("\"%s\" is found", odd[i]);
}

static void test_near(void **state)
{
    (void)state;
    static const struct {
        const char *asked, *near;
    } cases[] = { { "6", "RasSstp 6" },
                  { "947", "946" },
                  { "RasSstp 26", "RasSstp 25" },
                  { "bindng-cert", "binding-cert" },
                  { "0x800B0108", "0x800B0109" },
                  { "quite something else", NULL },
                  { "zzzzzzzz", NULL } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct code_table *table = NULL;
        const struct code *c = code_near(cases[i].asked, &table);
        char text[64];
        if (!cases[i].near) {
            assert_null(c);
            continue;
        }
        assert_non_null(c);
        code_text(table->kind, c, text, sizeof text);
        assert_string_equal(text, cases[i].near);
    }
}

/* ---- the tables ---- */

static void each(void (*fn)(const struct code_table *t, const struct code *c))
{
    for (size_t t = 0; t < code_tables_n; t++)
        for (size_t i = 0; i < *code_tables[t].n; i++)
            fn(&code_tables[t], &code_tables[t].codes[i]);
}

/* Nothing is there twice, and everything is found by its own text: the first of two would hide the second. */
static void found_as_itself(const struct code_table *t, const struct code *c)
{
    char text[64];
    code_text(t->kind, c, text, sizeof text);
    const struct code_table *table = NULL;
    const struct code *found = NULL;
    if (code_find(text, &table, &found) != 0)
        fail_msg("%s is not found", text);
    while (found && table->kind < t->kind && t->kind == CODE_CLIENT)
        found = code_namesake(found, &table);
    if (found != c)
        fail_msg("%s is there twice", text);
}

static void is_whole(const struct code_table *t, const struct code *c)
{
    bool ours = t->kind <= CODE_CLIENT;
    if (!c->means || !*c->means || (ours ? c->number || !c->name : !c->number))
        fail_msg("%s %u: incomplete", c->name ? c->name : "?", c->number);
    if (!ours && c->reach == CODE_HERE && !c->cause)
        fail_msg("%u: no cause", c->number);
    if (!ours && c->reach != CODE_HERE && !c->cause && !code_reach_text(c->reach))
        fail_msg("%u: nothing to say", c->number);
    if ((t->kind == CODE_EVENT && (!c->shown || !c->part)) ||
        ((t->kind == CODE_REFUSAL || t->kind == CODE_CLIENT) && !c->fields))
        fail_msg("%s: incomplete", c->name);
}

static void names_ours(const struct code_table *t, const struct code *c)
{
    if (t->kind <= CODE_CLIENT)
        return;
    for (const char *p = c->see; p && *p;) {
        size_t n = strcspn(p, ",");
        if (!code_ours(p, n))
            fail_msg("%u names %.*s, which we do not have", c->number, (int)n, p);
        p += n;
        p += strspn(p, ", ");
    }
}

/* "RasSstp 6, 32; error 691; HRESULT 0x800B0101": each number is one that we know. */
static void names_windows(const struct code_table *t, const struct code *c)
{
    static const char *const sources[] = { "RasSstp", "RemoteAccess", "RasClient", "error", "HRESULT" };
    char source[64] = "";
    if (t->kind > CODE_CLIENT)
        return;
    for (const char *p = c->see; p && *p; p += strspn(p, " ,;:")) {
        size_t n = strcspn(p, " ,;:");
        char word[64], text[140];
        snprintf(word, sizeof word, "%.*s", (int)n, p);
        p += n;
        for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++)
            if (!strcmp(word, sources[i]))
                snprintf(source, sizeof source, "%s", word);
        const struct code_table *table;
        const struct code *found;
        if (!isdigit((unsigned char)word[0]) || !*source || !strcmp(word, "947026"))
            continue;
        snprintf(text, sizeof text, "%s %s", source, word);
        if (code_find(text, &table, &found) != 0)
            fail_msg("%s names %s, which we do not know", c->name, text);
    }
}

static void test_tables(void **state)
{
    (void)state;
    assert_int_equal(code_tables_n, CODE_HTTP + 1);
    for (size_t t = 0; t < code_tables_n; t++)
        assert_int_equal(code_tables[t].kind, t);
    each(found_as_itself);
    each(is_whole);
    each(names_ours);
    each(names_windows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hresults),      cmocka_unit_test(test_ras),          cmocka_unit_test(test_events),
        cmocka_unit_test(test_client_causes), cmocka_unit_test(test_client_texts), cmocka_unit_test(test_not_found),
        cmocka_unit_test(test_near),          cmocka_unit_test(test_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
