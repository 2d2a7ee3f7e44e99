#include "http/head.h"

#include <stdio.h>
#include <string.h>

#include "base/wr.h"

#define DATE_LEN   29                    /* IMF-fixdate */
#define DATE_MAX_S INT64_C(253402300799) /* the last second of year 9999: its year has four digits */

static const struct {
    int status;
    const char *text;
} reasons[] = {
    { 200, "OK" },
    { 301, "Moved Permanently" },
    { 308, "Permanent Redirect" },
    { 400, "Bad Request" },
    { 401, "Unauthorized" },
    { 403, "Forbidden" },
    { 404, "Not Found" },
    { 405, "Method Not Allowed" },
    { 408, "Request Timeout" },
    { 414, "URI Too Long" },
    { 421, "Misdirected Request" },
    { 429, "Too Many Requests" },
    { 431, "Request Header Fields Too Large" },
    { 500, "Internal Server Error" },
    { 501, "Not Implemented" },
    { 502, "Bad Gateway" },
    { 503, "Service Unavailable" },
    { 504, "Gateway Timeout" },
    { 505, "HTTP Version Not Supported" },
};

const char *http_reason(int status)
{
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "Error";
}

/* IMF-fixdate (RFC 9110 5.6.7) by arithmetic alone: a core has no clock, time zone or locale. */
static void put_date(struct wr *w, int64_t unix_s)
{
    /* 1 January 1970 was a Thursday. */
    static const char week[][4] = { "Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed" };
    static const char month[][4] = {
        "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"
    };
    int64_t t = unix_s < 0 ? 0 : unix_s > DATE_MAX_S ? DATE_MAX_S : unix_s;
    unsigned s = (unsigned)(t % 86400), days = (unsigned)(t / 86400);

    /* Years that begin on 1 March have their leap day last; 719468 days lead from 1 March 0 to 1970. */
    unsigned d = days + 719468;
    unsigned era = d / 146097, day_of_era = d % 146097; /* 400 years */
    unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned m = (5 * day_of_year + 2) / 153; /* 0: March; five months have 153 days */
    unsigned day = day_of_year - (153 * m + 2) / 5 + 1;
    unsigned year = era * 400 + year_of_era + (m >= 10);

    char text[64];
    snprintf(text, sizeof text, "%s, %02u %s %04u %02u:%02u:%02u GMT", week[days % 7], day, month[m], year, s / 3600,
             s / 60 % 60, s % 60);
    wr_bytes(w, text, DATE_LEN);
}

static size_t written(const struct wr *w)
{
    return wr_ok(w) ? wr_len(w) : 0;
}

size_t http_sstp_accept(char *out, size_t cap, int64_t unix_s)
{
    struct wr w = wr_make(out, cap);
    wr_str(&w, "HTTP/1.1 200\r\n"
               "Content-Length: 18446744073709551615\r\n"
               "Server: Microsoft-HTTPAPI/2.0\r\n"
               "Date: ");
    put_date(&w, unix_s);
    wr_str(&w, "\r\n\r\n");
    return written(&w);
}

size_t http_error_reply(char *out, size_t cap, int status, int64_t unix_s, const char *body_text)
{
    struct wr w = wr_make(out, cap);
    const char *body = body_text ? body_text : "";
    char line[96];
    snprintf(line, sizeof line, "HTTP/1.1 %03d %s\r\nDate: ", status, http_reason(status));
    wr_str(&w, line);
    put_date(&w, unix_s);
    /* RFC 9110 15.5.2: a 401 names a scheme. One that browsers do not know makes them ask nobody for a password. */
    if (status == 401)
        wr_str(&w, "\r\nWWW-Authenticate: SSTP");
    if (body[0])
        wr_str(&w, "\r\nContent-Type: text/plain; charset=utf-8");
    snprintf(line, sizeof line, "\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", strlen(body));
    wr_str(&w, line);
    wr_str(&w, body);
    return written(&w);
}
