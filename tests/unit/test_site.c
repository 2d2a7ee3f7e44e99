/* The built-in site, asked over a Unix socket as the relay does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "web/pages.h"
#include "web/site.h"

static char dir[] = "/tmp/test-site-XXXXXX";
static struct sockaddr_un addr;
static struct site *site, *empty_site;
static struct sockaddr_un empty_addr;

#define MTIME      1700000000 /* Tue, 14 Nov 2023 22:13:20 GMT */
#define MTIME_TEXT "Tue, 14 Nov 2023 22:13:20 GMT"
#define TEXT       "0123456789abcdefghij"

static void put(const char *name, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    const struct timespec t[2] = { { MTIME, 0 }, { MTIME, 0 } };
    futimens(fd, t);
    close(fd);
}

static void folder(const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(mkdir(path, 0755), 0);
}

static void link_to(const char *target, const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(symlink(target, path), 0);
}

static int listener(struct sockaddr_un *a, const char *name)
{
    a->sun_family = AF_UNIX;
    snprintf(a->sun_path, sizeof a->sun_path, "%s/%s", dir, name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)a, sizeof *a), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static int group_setup(void **state)
{
    (void)state;
    char path[200];
    if (!mkdtemp(dir))
        return -1;
    folder("root");
    folder("root/sub");
    folder("root/bare");
    folder("root/.git");
    put("secret.txt", "outside");
    put("root/index.html", "<p>start");
    put("root/sub/index.html", "<p>sub");
    put("root/a.txt", TEXT);
    put("root/b c.css", "css");
    put("root/empty", "");
    put("root/.htpasswd", "hidden");
    put("root/.git/config", "hidden");
    put("root/sub/.env", "hidden");
    link_to("../secret.txt", "root/out.txt");
    link_to("/etc/passwd", "root/abs.txt");
    link_to("..", "root/up");
    link_to("a.txt", "root/in.txt");
    link_to("/proc/self/root", "root/magic");
    snprintf(path, sizeof path, "%s/root/fifo", dir);
    mkfifo(path, 0644);
    snprintf(path, sizeof path, "%s/root", dir);
    int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (site_start(listener(&addr, "s"), root, &site))
        return -1;
    return site_start(listener(&empty_addr, "e"), -1, &empty_site);
}

static int group_teardown(void **state)
{
    (void)state;
    char cmd[100];
    site_stop(site);
    site_stop(empty_site);
    site_stop(NULL);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

/* ---- asking ---- */

static char reply[65536]; /* the whole answer */
static char *body;
static int status;

static void ask_raw(const struct sockaddr_un *a, const char *req, size_t req_len)
{
    size_t n = 0;
    struct timeval tv = { 20, 0 };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    assert_int_equal(connect(fd, (const struct sockaddr *)a, sizeof *a), 0);
    assert_int_equal(send(fd, req, req_len, MSG_NOSIGNAL), req_len);
    for (ssize_t r; (r = read(fd, reply + n, sizeof reply - 1 - n)) > 0;)
        n += (size_t)r;
    close(fd);
    reply[n] = 0;
    body = strstr(reply, "\r\n\r\n");
    status = 0;
    if (body) {
        body += 4;
        assert_int_equal(sscanf(reply, "HTTP/1.%*d %d", &status), 1);
        assert_non_null(strcasestr(reply, "\r\nX-Content-Type-Options: nosniff\r\n"));
    }
}

static void ask(const char *method, const char *target, const char *headers)
{
    char req[4096];
    int n =
        snprintf(req, sizeof req, "%s %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%s\r\n", method, target, headers);
    assert_true(n > 0 && (size_t)n < sizeof req);
    ask_raw(&addr, req, (size_t)n);
}

static void get(const char *target)
{
    ask("GET", target, "");
}

static void has(const char *text)
{
    if (!strcasestr(reply, text))
        print_error("no \"%s\" in:\n%s\n", text, reply);
    assert_non_null(strcasestr(reply, text));
}

/* ---- tests ---- */

static void test_files(void **state)
{
    (void)state;
    static const struct {
        const char *target, *text, *type;
    } row[] = {
        { "/", "<p>start", "text/html; charset=utf-8" },
        { "/index.html", "<p>start", "text/html; charset=utf-8" },
        { "/?a=/../b", "<p>start", "text/html; charset=utf-8" },
        { "/sub/", "<p>sub", "text/html; charset=utf-8" },
        { "/a.txt", TEXT, "text/plain; charset=utf-8" },
        { "//a.txt", TEXT, "text/plain; charset=utf-8" },
        { "/%61.t%78t", TEXT, "text/plain; charset=utf-8" },
        { "/b%20c.css", "css", "text/css; charset=utf-8" },
        { "/in.txt", TEXT, "text/plain; charset=utf-8" }, /* a link that stays inside */
        { "/empty", "", "application/octet-stream" },
        { "http://a/a.txt", TEXT, "text/plain; charset=utf-8" },
        { "http://a/", "<p>start", "text/html; charset=utf-8" },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char line[100];
        get(row[i].target);
        if (status != 200)
            print_error("%s: %d\n", row[i].target, status);
        assert_int_equal(status, 200);
        assert_string_equal(body, row[i].text);
        snprintf(line, sizeof line, "\r\nContent-Type: %s\r\n", row[i].type);
        has(line);
        snprintf(line, sizeof line, "\r\nContent-Length: %zu\r\n", strlen(row[i].text));
        has(line);
        has("\r\nLast-Modified: " MTIME_TEXT "\r\n");
        has("\r\nDate: ");
    }
}

static void test_nothing_outside(void **state)
{
    (void)state;
    static const char *const row[] = {
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/sub/../../secret.txt",
        "/sub/%2E%2E/%2e./secret.txt",
        "/.%2e/secret.txt",
        "/..\\secret.txt",
        "/%252e%252e/secret.txt",
        "/out.txt",
        "/abs.txt",
        "/up/secret.txt",
        "/up/",
        "/magic/etc/passwd",
        "//etc/passwd",
        "///../secret.txt",
        "/%2fetc%2fpasswd",
        "/sub/..",
        "/..",
        "/.",
        "/./a.txt",
        "/.htpasswd",
        "/.git/config",
        "/.git/",
        "/%2egit/config",
        "/sub/.env",
        "/sub//.env",
        "/fifo",
        "/nothing",
        "/a.txt/",
        "/a.txt/b",
        "/bare/",
        "/dev/null",
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        get(row[i]);
        if (status != 404)
            print_error("%s: %d\n", row[i], status);
        assert_int_equal(status, 404);
        assert_null(strstr(reply, "outside"));
        assert_null(strstr(reply, "hidden"));
        assert_null(strstr(reply, "root:"));
        assert_string_equal(body, site_not_found);
        has("\r\nContent-Security-Policy: default-src 'none'");
    }
}

static void test_bad_paths(void **state)
{
    (void)state;
    static const char *const row[] = { "/a.txt%00", "/a.txt%00.html", "/%", "/%4", "/%zz", "/a%g0", "a.txt", "*" };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        get(row[i]);
        if (status != 400)
            print_error("%s: %d\n", row[i], status);
        assert_int_equal(status, 400);
    }
    char big[1500] = "/";
    memset(big + 1, 'a', sizeof big - 2);
    get(big);
    assert_true(status >= 400 && status < 500);
    char folder_path[1024] = "/"; /* fits itself, but not with index.html behind it */
    memset(folder_path + 1, 'b', 1020);
    folder_path[1021] = '/';
    get(folder_path);
    assert_int_equal(status, 404);
}

static void test_folder_without_slash(void **state)
{
    (void)state;
    get("/sub");
    assert_int_equal(status, 301);
    has("\r\nLocation: ./sub/\r\n");
    get("//sub"); /* must not become the address of a host */
    assert_int_equal(status, 301);
    has("\r\nLocation: ./sub/\r\n");
    get("/s%75b?x=y");
    assert_int_equal(status, 301);
    has("\r\nLocation: ./s%75b/\r\n");
}

static void test_head_and_methods(void **state)
{
    (void)state;
    ask("HEAD", "/a.txt", "");
    assert_int_equal(status, 200);
    has("\r\nContent-Length: 20\r\n");
    assert_string_equal(body, "");
    ask("HEAD", "/a.txt", "Range: bytes=1-2\r\n");
    assert_int_equal(status, 200);
    ask("HEAD", "/nothing", "");
    assert_int_equal(status, 404);
    assert_string_equal(body, "");
    static const char *const other[] = { "POST", "PUT", "DELETE", "OPTIONS", "SSTP_DUPLEX_POST", "TRACE" };
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        ask(other[i], "/a.txt", "Content-Length: 0\r\n");
        assert_int_equal(status, 405);
        has("\r\nAllow: GET, HEAD\r\n");
    }
    ask("GET", "/a.txt", "Content-Length: 3\r\n\r\nabc");
    assert_int_equal(status, 200);
    assert_string_equal(body, TEXT);
}

static void test_ranges(void **state)
{
    (void)state;
    static const struct {
        const char *range;
        int status;
        const char *text, *content_range;
    } row[] = {
        { "bytes=0-0", 206, "0", "bytes 0-0/20" },
        { "bytes=5-9", 206, "56789", "bytes 5-9/20" },
        { "bytes=15-", 206, "fghij", "bytes 15-19/20" },
        { "bytes=15-99", 206, "fghij", "bytes 15-19/20" },
        { "bytes=-3", 206, "hij", "bytes 17-19/20" },
        { "bytes=-99", 206, TEXT, "bytes 0-19/20" },
        { "bytes=19-19", 206, "j", "bytes 19-19/20" },
        { "bytes=20-", 416, "", "bytes */20" },
        { "bytes=-0", 416, "", "bytes */20" },
        { "bytes=0-18446744073709551615", 200, TEXT, NULL },
        { "bytes=99999999999999999999999-", 200, TEXT, NULL },
        { "bytes=3-2", 200, TEXT, NULL },
        { "bytes=0-1,3-4", 200, TEXT, NULL },
        { "bytes=-", 200, TEXT, NULL },
        { "bytes=", 200, TEXT, NULL },
        { "bytes", 200, TEXT, NULL },
        { "lines=0-1", 200, TEXT, NULL },
        { "bytes=1-2x", 200, TEXT, NULL },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char h[100];
        snprintf(h, sizeof h, "Range: %s\r\n", row[i].range);
        ask("GET", "/a.txt", h);
        if (status != row[i].status)
            print_error("%s: %d\n", row[i].range, status);
        assert_int_equal(status, row[i].status);
        assert_string_equal(body, row[i].text);
        if (row[i].content_range) {
            snprintf(h, sizeof h, "\r\nContent-Range: %s\r\n", row[i].content_range);
            has(h);
        } else {
            assert_null(strcasestr(reply, "Content-Range"));
        }
    }
    ask("GET", "/empty", "Range: bytes=0-\r\n");
    assert_int_equal(status, 416);
    ask("GET", "/a.txt", "Range: bytes=0-0\r\nIf-Range: " MTIME_TEXT "\r\n");
    assert_int_equal(status, 206);
    ask("GET", "/a.txt", "Range: bytes=0-0\r\nIf-Range: Tue, 14 Nov 2023 22:13:21 GMT\r\n");
    assert_int_equal(status, 200);
}

static void test_if_modified_since(void **state)
{
    (void)state;
    ask("GET", "/a.txt", "If-Modified-Since: " MTIME_TEXT "\r\n");
    assert_int_equal(status, 304);
    assert_string_equal(body, "");
    has("\r\nLast-Modified: " MTIME_TEXT "\r\n");
    ask("GET", "/a.txt", "If-Modified-Since: Wed, 15 Nov 2023 00:00:00 GMT\r\n");
    assert_int_equal(status, 304);
    static const char *const full[] = { "Tue, 14 Nov 2023 22:13:19 GMT", "yesterday", "", MTIME_TEXT " or so",
                                        MTIME_TEXT "\r\nIf-None-Match: \"x\"" };
    for (size_t i = 0; i < sizeof full / sizeof *full; i++) {
        char h[200];
        snprintf(h, sizeof h, "If-Modified-Since: %s\r\n", full[i]);
        ask("GET", "/a.txt", h);
        assert_int_equal(status, 200);
        assert_string_equal(body, TEXT);
    }
}

static void test_welcome(void **state)
{
    (void)state;
    static const char *const start[] = { "GET / HTTP/1.0\r\n\r\n", "GET /index.html HTTP/1.0\r\n\r\n",
                                         "GET http://a HTTP/1.0\r\n\r\n" };
    for (size_t i = 0; i < 3; i++) {
        ask_raw(&empty_addr, start[i], strlen(start[i]));
        assert_int_equal(status, 200);
        assert_string_equal(body, site_welcome);
        has("\r\nContent-Security-Policy: default-src 'none'");
    }
    ask_raw(&empty_addr, "GET /a.txt HTTP/1.0\r\n\r\n", 23);
    assert_int_equal(status, 404);
    ask_raw(&empty_addr, "GET /etc/passwd HTTP/1.0\r\n\r\n", 28);
    assert_int_equal(status, 404);
}

/* The policy lets through exactly the style that the pages have, and they fetch nothing. */
static void pages_one(const char *html)
{
    const char *from = strstr(html, "<style>"), *to = strstr(html, "</style>");
    assert_true(from && to);
    from += 7;
    uint8_t hash[32];
    unsigned char b64[60];
    char want[80];
    assert_int_equal(EVP_Digest(from, (size_t)(to - from), hash, NULL, EVP_sha256(), NULL), 1);
    EVP_EncodeBlock(b64, hash, sizeof hash);
    snprintf(want, sizeof want, "style-src 'sha256-%s'", (char *)b64);
    assert_non_null(strstr(site_csp, want));
    assert_null(strstr(html, "src="));
    assert_null(strstr(html, "<link"));
    assert_null(strstr(html, "<script"));
    assert_null(strstr(html, "style="));
    assert_null(strstr(html, "url("));
}

static void test_pages(void **state)
{
    (void)state;
    pages_one(site_welcome);
    pages_one(site_not_found);
}

static void test_broken_requests(void **state)
{
    (void)state;
    static const char *const row[] = { "GARBAGE\r\n\r\n",
                                       "GET /a.txt HTTP/1.1\r\nConnection: close\r\n\r\n", /* no Host */
                                       "\r\n\r\n\r\nGET\r\n\r\n" };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        size_t n = strlen(row[i]);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct timeval tv = { 20, 0 };
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
        assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
        assert_int_equal(send(fd, row[i], n, MSG_NOSIGNAL), n);
        shutdown(fd, SHUT_WR);
        ssize_t got = read(fd, reply, sizeof reply - 1);
        reply[got > 0 ? got : 0] = 0;
        assert_null(strstr(reply, " 200 "));
        close(fd);
    }
    get("/a.txt"); /* and lives on */
    assert_int_equal(status, 200);
}

static void test_start_fails_on_no_socket(void **state)
{
    (void)state;
    struct site *s = NULL;
    assert_int_equal(site_start(-1, -1, &s), ERR_SYSTEM);
    assert_null(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_nothing_outside),
        cmocka_unit_test(test_bad_paths),
        cmocka_unit_test(test_folder_without_slash),
        cmocka_unit_test(test_head_and_methods),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_if_modified_since),
        cmocka_unit_test(test_welcome),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_broken_requests),
        cmocka_unit_test(test_start_fails_on_no_socket),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
