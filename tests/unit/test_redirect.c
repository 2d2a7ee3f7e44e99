/* The companion on port 80, asked over real connections; and where it redirects to, which is pure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "web/redirect.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define ACME     "/.well-known/acme-challenge/"
#define ANSWER   "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"

static char dir[] = "/tmp/test-redirect-XXXXXX";
static struct redirect *plain; /* with a folder, to 443 */
static struct redirect *other; /* without, to 8443 */
static struct sockaddr_in at, at8443;
static struct sockaddr_in6 at6; /* the second socket of plain */
static const struct redirect_limits roomy = { .connections = 400, .per_source = 400, .life_ms = 20000 };

static int listen_on(struct sockaddr *a, socklen_t len)
{
    int fd = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, a, len), 0);
    assert_int_equal(getsockname(fd, a, &len), 0);
    assert_int_equal(listen(fd, 64), 0);
    return fd;
}

static int listen_v4(struct sockaddr_in *a)
{
    *a = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    return listen_on((struct sockaddr *)a, sizeof *a);
}

static void put(const char *name, const char *text, size_t len)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    close(fd);
}

static const char *in_dir(const char *name)
{
    static char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void make_folder(void)
{
    static char big[REDIRECT_FILE_MAX + 1];
    char name[sizeof "root" ACME + REDIRECT_TOKEN_MAX];
    memset(big, 'x', sizeof big);
    assert_int_equal(mkdir(in_dir("root"), 0755), 0);
    assert_int_equal(mkdir(in_dir("root/.well-known"), 0755), 0);
    assert_int_equal(mkdir(in_dir("root" ACME), 0755), 0);
    assert_int_equal(mkdir(in_dir("root" ACME "folder"), 0755), 0);
    put("root" ACME "token-1_A", ANSWER, strlen(ANSWER));
    put("root" ACME "empty", "", 0);
    put("root" ACME "most", big, REDIRECT_FILE_MAX);
    put("root" ACME "big", big, sizeof big);
    put("root" ACME "a.txt", "a dot", 5);
    put("root/token", "not below", 9);
    put("secret", "outside", 7);
    snprintf(name, sizeof name, "root" ACME "%0*d", REDIRECT_TOKEN_MAX, 7);
    put(name, "longest", 7);
    assert_int_equal(symlink("token-1_A", in_dir("root" ACME "link")), 0);
    assert_int_equal(symlink("../../../secret", in_dir("root" ACME "out")), 0);
    assert_int_equal(symlink("/etc/passwd", in_dir("root" ACME "abs")), 0);
    assert_int_equal(mkfifo(in_dir("root" ACME "fifo"), 0644), 0);
}

static int group_setup(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    make_folder();
    at6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
    int fds[2] = { listen_v4(&at), listen_on((struct sockaddr *)&at6, sizeof at6) };
    int root = open(in_dir("root"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (redirect_start(fds, 2, root, 443, &roomy, &plain))
        return -1;
    fds[0] = listen_v4(&at8443);
    return redirect_start(fds, 1, -1, 8443, NULL, &other);
}

static int group_teardown(void **state)
{
    char cmd[100];
    (void)state;
    redirect_stop(plain);
    redirect_stop(other);
    redirect_stop(NULL);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

/* ---- asking ---- */

static char answer[65536]; /* the whole of it, to the end of the connection */
static char *body;
static int status;

static int dial(const void *addr, socklen_t len)
{
    struct timeval tv = { 30, 0 };
    const struct sockaddr *sa = addr;
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    assert_int_equal(connect(fd, sa, len), 0);
    return fd;
}

static void read_answer(int fd)
{
    size_t n = 0;
    for (ssize_t r; (r = read(fd, answer + n, sizeof answer - 1 - n)) > 0;)
        n += (size_t)r;
    close(fd);
    answer[n] = 0;
    body = strstr(answer, "\r\n\r\n");
    status = 0;
    if (body) {
        body += 4;
        assert_int_equal(sscanf(answer, "HTTP/1.%*d %d", &status), 1);
    }
}

static void ask_bytes(const void *addr, socklen_t len, const char *req, size_t req_len)
{
    int fd = dial(addr, len);
    assert_int_equal(send(fd, req, req_len, MSG_NOSIGNAL), req_len);
    read_answer(fd);
}

static void ask(const char *req)
{
    ask_bytes(&at, sizeof at, req, strlen(req));
}

static void request(const char *method, const char *target, const char *headers)
{
    static char req[16384];
    int n = snprintf(req, sizeof req, "%s %s HTTP/1.1\r\n%s\r\n", method, target, headers);
    assert_true(n > 0 && (size_t)n < sizeof req);
    ask(req);
}

static void get(const char *target)
{
    request("GET", target, "Host: a.example\r\n");
}

static void has(const char *text)
{
    if (!strcasestr(answer, text))
        print_error("no \"%s\" in:\n%s\n", text, answer);
    assert_non_null(strcasestr(answer, text));
}

static void expect_status(const char *what, int want)
{
    if (status != want)
        print_error("%s: %d\n", what, status);
    assert_int_equal(status, want);
    has("\r\nConnection: close\r\n");
    assert_null(strcasestr(answer, "Strict-Transport-Security"));
}

static void expect_location(const char *what, int want, const char *location)
{
    char line[REDIRECT_LOCATION_MAX + 20];
    expect_status(what, want);
    snprintf(line, sizeof line, "\r\nLocation: %s\r\n", location);
    has(line);
    has("\r\nContent-Length: 0\r\n");
}

/* ---- challenges ---- */

static void test_challenge(void **state)
{
    (void)state;
    static const char *const good[] = { ACME "token-1_A", ACME "token-1_A?x=1", "http://b.example" ACME "token-1_A" };
    for (size_t i = 0; i < COUNT(good); i++) {
        get(good[i]);
        expect_status(good[i], 200);
        assert_string_equal(body, ANSWER);
        has("\r\nContent-Type: text/plain; charset=utf-8\r\n");
        has("\r\nX-Content-Type-Options: nosniff\r\n");
    }
    ask("GET " ACME "token-1_A HTTP/1.0\r\n\r\n"); /* no Host is needed for it */
    expect_status("1.0", 200);
    request("HEAD", ACME "token-1_A", "Host: a\r\n");
    expect_status("HEAD", 200);
    assert_string_equal(body, "");
    has("\r\nContent-Length: 87\r\n");
    get(ACME "empty");
    expect_status("empty", 200);
    get(ACME "most");
    expect_status("most", 200);
    assert_int_equal(strlen(body), REDIRECT_FILE_MAX);
    char longest[200];
    snprintf(longest, sizeof longest, ACME "%0*d", REDIRECT_TOKEN_MAX, 7);
    get(longest);
    expect_status("longest", 200);
    assert_string_equal(body, "longest");
}

static void test_what_is_no_challenge_file(void **state)
{
    (void)state;
    static const char *const row[] = { ACME "nothing", ACME "folder", ACME "big", ACME "link",
                                       ACME "out",     ACME "abs",    ACME "fifo" };
    for (size_t i = 0; i < COUNT(row); i++) {
        get(row[i]);
        expect_status(row[i], 404);
        assert_null(strstr(answer, "outside"));
        assert_null(strstr(answer, "root:"));
    }
    request("HEAD", ACME "nothing", "Host: a\r\n");
    expect_status("HEAD", 404);
    assert_string_equal(body, "");
}

/* What is not spelled as a challenge is redirected like anything else, and no file is looked for. */
static void test_odd_tokens(void **state)
{
    (void)state;
    char longer[200], want[300];
    snprintf(longer, sizeof longer, ACME "%0*d", REDIRECT_TOKEN_MAX + 1, 7);
    const char *const row[] = {
        ACME,
        ACME "a.txt",
        ACME "token-1_A/",
        ACME "../../token",
        ACME "..",
        ACME "%2e%2e%2ftoken",
        ACME "..%2f..%2ftoken",
        ACME "token%2d1_A",
        ACME "/token-1_A",
        "/.well-known/./acme-challenge/token-1_A",
        "/.well-known//acme-challenge/token-1_A",
        "//.well-known/acme-challenge/token-1_A",
        "/%2ewell-known/acme-challenge/token-1_A",
        "/.WELL-KNOWN/acme-challenge/token-1_A",
        "/.well-known/acme-challenge",
        "/token",
        "/?" ACME "token-1_A",
        longer,
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        get(row[i]);
        snprintf(want, sizeof want, "https://a.example%s", row[i]);
        expect_location(row[i], 301, want);
    }
    request("POST", ACME "token-1_A", "Host: a.example\r\nContent-Length: 0\r\n");
    expect_location("POST", 308, "https://a.example" ACME "token-1_A");
}

static void test_without_a_folder(void **state)
{
    (void)state;
    static const char req[] = "GET " ACME "token-1_A HTTP/1.1\r\nHost: a\r\n\r\n";
    ask_bytes(&at8443, sizeof at8443, req, sizeof req - 1);
    expect_location("no folder", 301, "https://a:8443" ACME "token-1_A");
}

static void test_files_come_and_go(void **state)
{
    (void)state;
    get(ACME "new");
    expect_status("before", 404);
    put("root" ACME "new", "1", 1);
    get(ACME "new");
    expect_status("there", 200);
    assert_string_equal(body, "1");
    unlink(in_dir("root" ACME "new"));
    get(ACME "new");
    expect_status("after", 404);
}

/* ---- redirects ---- */

static void test_redirects(void **state)
{
    (void)state;
    static const struct {
        const char *method, *target, *headers;
        int status;
        const char *location;
    } row[] = {
        { "GET", "/", "Host: a.example\r\n", 301, "https://a.example/" },
        { "GET", "/x/y?q=1&r=%20;/../?", "Host: a.example\r\n", 301, "https://a.example/x/y?q=1&r=%20;/../?" },
        { "GET", "/%00%zz", "Host: a.example\r\n", 301, "https://a.example/%00%zz" },
        { "GET", "/", "Host: a.example:80\r\n", 301, "https://a.example/" },
        { "GET", "/", "Host: [2001:db8::1]\r\n", 301, "https://[2001:db8::1]/" },
        { "GET", "/", "Host: [::1]:8080\r\n", 301, "https://[::1]/" },
        { "GET", "/", "Host: 192.0.2.1:80\r\n", 301, "https://192.0.2.1/" },
        { "GET", "http://other.example/p?q", "Host: a.example\r\n", 301, "https://a.example/p?q" },
        { "GET", "http://other.example", "Host: a.example\r\n", 301, "https://a.example/" },
        { "HEAD", "/x", "Host: a.example\r\n", 301, "https://a.example/x" },
        { "POST", "/x", "Host: a\r\nContent-Length: 3\r\n\r\nabc", 308, "https://a/x" },
        { "POST", "/x", "Host: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", 308, "https://a/x" },
        { "POST", "/x", "Host: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n", 308, "https://a/x" },
        { "PUT", "/x", "Host: a\r\nContent-Length: 99999999\r\n", 308, "https://a/x" },
        { "DELETE", "/x", "Host: a\r\n", 308, "https://a/x" },
        { "OPTIONS", "/x", "Host: a\r\n", 308, "https://a/x" },
        { "SSTP_DUPLEX_POST", "/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/",
          "Host: a\r\nContent-Length: 18446744073709551615\r\n", 308,
          "https://a/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/" },
        { "GET", "/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/", "Host: a\r\n", 301,
          "https://a/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/" },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        char what[200];
        request(row[i].method, row[i].target, row[i].headers);
        snprintf(what, sizeof what, "%s %s", row[i].method, row[i].target);
        expect_location(what, row[i].status, row[i].location);
        assert_string_equal(body, "");
        assert_null(strstr(answer, "100 Continue"));
    }
}

static void test_other_sockets_and_ports(void **state)
{
    (void)state;
    static const char req[] = "GET /x?y HTTP/1.1\r\nHost: a.example:8080\r\n\r\n";
    ask_bytes(&at6, sizeof at6, req, sizeof req - 1);
    expect_location("IPv6", 301, "https://a.example/x?y");
    ask_bytes(&at8443, sizeof at8443, req, sizeof req - 1);
    expect_location("8443", 301, "https://a.example:8443/x?y");
    ask("GET /x HTTP/1.0\r\nHost: a.example\r\n\r\n");
    expect_location("1.0", 301, "https://a.example/x");
}

static void test_no_usable_host(void **state)
{
    (void)state;
    char big[400] = "Host: ";
    memset(big + 6, 'a', 300);
    strcpy(big + 306, "\r\n");
    const char *const row[] = {
        "",
        "Host:\r\n",
        "Host: \r\n",
        "Host: a/b\r\n",
        "Host: a@b\r\n",
        "Host: a b\r\n",
        "Host: a\\b\r\n",
        "Host: a?b\r\n",
        "Host: a#b\r\n",
        "Host: a%0d%0aSet-Cookie:x\r\n",
        "Host: a:b\r\n",
        "Host: a:80:80\r\n",
        "Host: a:123456\r\n",
        "Host: [::1\r\n",
        "Host: [::1]x\r\n",
        "Host: [fe80::1%25eth0]\r\n",
        "Host: ::1\r\n",
        "Host: <script>\r\n",
        "Host: b\xc3\xbc.example\r\n",
        "Host: a..b\r\n",
        "Host: .\r\n",
        "Host: a\r\nHost: b\r\n",
        "Host: a\r\nHost: a\r\n",
        big,
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        request("GET", "/x", row[i]);
        expect_status(row[i], 400);
        assert_null(strcasestr(answer, "\r\nLocation:"));
    }
    ask("GET /x HTTP/1.0\r\n\r\n");
    expect_status("1.0", 400);
}

/* A line break cannot be smuggled into the answer: a bare CR or LF ends a header or is refused. */
static void test_no_header_is_smuggled(void **state)
{
    (void)state;
    static const char *const row[] = { "Host: a\rX-Evil: 1\r\n", "Host: a\nX-Evil: 1\r\n", "Host: a\r\n X-Evil: 1\r\n",
                                       "Host: a\tX-Evil: 1\r\n" };
    for (size_t i = 0; i < COUNT(row); i++) {
        request("GET", "/x", row[i]);
        assert_true(status == 400 || status == 301 || status == 0);
        assert_null(strcasestr(answer, "X-Evil"));
    }
    ask("GET /x\rX-Evil:1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_null(strcasestr(answer, "X-Evil"));
}

static void test_targets_that_are_none(void **state)
{
    (void)state;
    static const char *const row[] = { "*",     "x",    "ftp://a/x", "http://", "http:///x", "a:443",
                                       "/a\\b", "/a#b", "/<b>",      "/\"",     "/\xc3\xbc", "/\x01" };
    for (size_t i = 0; i < COUNT(row); i++) {
        get(row[i]);
        expect_status(row[i], 400);
    }
    request("CONNECT", "a:443", "Host: a\r\n");
    expect_status("CONNECT", 400);
    get("/a b");
    assert_true(status == 400 || status == 0);
}

static void test_long_targets(void **state)
{
    (void)state;
    static char target[12000], want[REDIRECT_LOCATION_MAX];
    size_t fits = REDIRECT_LOCATION_MAX - 1 - strlen("https://a.example");
    memset(target, 'a', sizeof target);
    target[0] = '/';
    target[fits] = 0;
    get(target);
    snprintf(want, sizeof want, "https://a.example%s", target);
    expect_location("longest", 301, want);
    target[fits] = 'a';
    target[fits + 1] = 0;
    get(target);
    expect_status("longer", 414);
    target[fits + 1] = 'a';
    target[sizeof target - 1] = 0;
    get(target);
    assert_true(status == 414 || status == 431 || status == 400 || status == 0);
}

/* ---- limits ---- */

static uint64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static struct redirect *limited(const struct redirect_limits *l, struct sockaddr_in *a)
{
    struct redirect *r = NULL;
    int fd = listen_v4(a);
    assert_int_equal(redirect_start(&fd, 1, -1, 443, l, &r), 0);
    return r;
}

static int dial_from(const struct sockaddr_in *a, uint32_t source)
{
    struct sockaddr_in me = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(source) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&me, sizeof me), 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)a, sizeof *a), 0);
    return fd;
}

/* Did the other side close? Waits so long for it. */
static bool closed_within(int fd, int ms)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    char c;
    return poll(&p, 1, ms) == 1 && recv(fd, &c, 1, MSG_DONTWAIT) <= 0;
}

static void redirected(int fd)
{
    static const char req[] = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_int_equal(send(fd, req, sizeof req - 1, MSG_NOSIGNAL), sizeof req - 1);
    read_answer(fd);
    assert_int_equal(status, 301);
}

/* A request that never becomes whole is waited for until its time is over, all of them at the same time. */
static void test_garbage(void **state)
{
    (void)state;
    static const struct redirect_limits l = { .connections = 400, .per_source = 400, .life_ms = 500 };
    static const char *const row[] = { "GARBAGE\r\n\r\n",
                                       "\r\n\r\n\r\n\r\n",
                                       "\x16\x03\x01\x02",
                                       "GET\r\n\r\n",
                                       "GET / HTTP/9.9\r\n\r\n",
                                       "GET / HTTP/1.1\r\nnonsense\r\n\r\n",
                                       "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" };
    enum { RANDOM = 200, ALL = RANDOM + COUNT(row) };
    struct sockaddr_in a;
    struct redirect *r = limited(&l, &a);
    uint32_t x = 5;
    int fd[ALL];
    for (size_t i = 0; i < ALL; i++) {
        char junk[300];
        for (size_t k = 0; k < sizeof junk; k++)
            junk[k] = (char)((x = x * 1664525u + 1013904223u) >> 24);
        if (i % 2)
            memcpy(junk, "GET /x HTTP/1.1\r\nHost: ", 23);
        fd[i] = dial(&a, sizeof a);
        (void)!send(fd[i], i < RANDOM ? junk : row[i - RANDOM], i < RANDOM ? sizeof junk : strlen(row[i - RANDOM]),
                    MSG_NOSIGNAL);
        shutdown(fd[i], SHUT_WR);
    }
    for (size_t i = 0; i < ALL; i++) {
        read_answer(fd[i]);
        assert_true(status == 0 || status >= 400);
    }
    redirected(dial(&a, sizeof a)); /* and lives on */
    redirect_stop(r);
}

static void test_limit_per_source(void **state)
{
    (void)state;
    static const struct redirect_limits l = { .connections = 8, .per_source = 3, .life_ms = 30000 };
    struct sockaddr_in a;
    struct redirect *r = limited(&l, &a);
    int mine[3];
    for (int i = 0; i < 3; i++)
        mine[i] = dial_from(&a, 0x7f000002);
    int more = dial_from(&a, 0x7f000002);
    assert_true(closed_within(more, 10000));
    close(more);
    redirected(dial_from(&a, 0x7f000003)); /* others are served */
    redirected(mine[0]);
    redirected(dial_from(&a, 0x7f000002)); /* and there is room again */
    close(mine[1]);
    close(mine[2]);
    redirect_stop(r);
}

static void test_limit_of_all(void **state)
{
    (void)state;
    static const struct redirect_limits l = { .connections = 4, .per_source = 3, .life_ms = 30000 };
    struct sockaddr_in a;
    struct redirect *r = limited(&l, &a);
    int fd[4];
    for (unsigned i = 0; i < 4; i++)
        fd[i] = dial_from(&a, 0x7f000010 + i);
    int more = dial_from(&a, 0x7f000020);
    assert_true(closed_within(more, 10000));
    close(more);
    for (int i = 0; i < 4; i++)
        redirected(fd[i]);
    redirect_stop(r);
}

/* However busy a client is, and whatever it is busy with. */
static void test_slow_clients(void **state)
{
    (void)state;
    static const struct redirect_limits l = { .connections = 8, .per_source = 8, .life_ms = 400 };
    static const char *const begin[] = { "", "GET /x HT", "GET /x HTTP/1.1\r\nHost: a\r\nX-A: ",
                                         "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n",
                                         "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n" };
    struct sockaddr_in a;
    struct redirect *r = limited(&l, &a);
    for (size_t i = 0; i < COUNT(begin); i++) {
        uint64_t from = now_ms();
        int fd = dial_from(&a, 0x7f000001);
        (void)!send(fd, begin[i], strlen(begin[i]), MSG_NOSIGNAL);
        bool closed = false;
        while (!closed && now_ms() - from < 20000) {
            (void)!send(fd, "a", *begin[i] ? 1 : 0, MSG_NOSIGNAL);
            closed = closed_within(fd, 20);
        }
        assert_true(closed);
        assert_true(now_ms() - from >= 390);
        close(fd);
    }
    redirected(dial_from(&a, 0x7f000001));
    redirect_stop(r);
}

/* Stopping does not wait for anybody. */
static void test_stop_with_open_connections(void **state)
{
    (void)state;
    struct sockaddr_in a;
    struct redirect *r = limited(NULL, &a);
    int fd = dial_from(&a, 0x7f000001);
    assert_int_equal(send(fd, "GET /x", 6, MSG_NOSIGNAL), 6);
    assert_false(closed_within(fd, 50));
    redirect_stop(r);
    assert_true(closed_within(fd, 10000));
    close(fd);
}

static void test_start_fails(void **state)
{
    (void)state;
    struct redirect *r = NULL;
    int fds[REDIRECT_LISTEN_MAX + 1] = { -1 };
    assert_int_equal(redirect_start(fds, 1, -1, 443, NULL, &r), ERR_SYSTEM);
    assert_int_equal(redirect_start(fds, 0, -1, 443, NULL, &r), ERR_USAGE);
    for (unsigned i = 0; i <= REDIRECT_LISTEN_MAX; i++)
        fds[i] = dup(0);
    assert_int_equal(redirect_start(fds, REDIRECT_LISTEN_MAX + 1, dup(0), 443, NULL, &r), ERR_USAGE);
    assert_int_equal(fcntl(fds[0], F_GETFD), -1); /* they were ours no more */
    assert_null(r);
}

/* ---- pure ---- */

#define L63  "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff123"
#define L253 L63 "." L63 "." L63 "." L63 /* 255, of which the rows below use less */

static void test_location_table(void **state)
{
    (void)state;
    static const struct {
        const char *host, *target;
        uint16_t port;
        const char *want; /* NULL: ERR_PEER */
    } row[] = {
        { "a", "/", 443, "https://a/" },
        { "A.Example", "/", 443, "https://A.Example/" },
        { "a.example.", "/", 443, "https://a.example./" },
        { "a_b-c.example", "/", 443, "https://a_b-c.example/" },
        { "a", "/", 8443, "https://a:8443/" },
        { "a:80", "/", 8443, "https://a:8443/" },
        { "a:", "/", 443, "https://a/" },
        { "a:99999", "/", 443, "https://a/" },
        { "[::]", "/", 1, "https://[::]:1/" },
        { "[2001:DB8::192.0.2.1]:1", "/", 443, "https://[2001:DB8::192.0.2.1]/" },
        { L63, "/", 443, "https://" L63 "/" },
        { "a", "//b.example/x", 443, "https://a//b.example/x" },
        { "a", "/x?http://b/", 443, "https://a/x?http://b/" },
        { "a", "HTTP://b/x", 443, "https://a/x" },
        { "a", "https://b:99/x", 443, "https://a/x" },
        { "a", "http://b?q", 443, "https://a/?q" },
        { "a", "http://u:p@b/q", 443, "https://a/q" },
        { "a", "/{}|^`'!$&()*+,;=:@~[]", 443, "https://a/{}|^`'!$&()*+,;=:@~[]" },
        { NULL, "/", 443, NULL },
        { "a", NULL, 443, NULL },
        { "", "/", 443, NULL },
        { "a", "", 443, NULL },
        { ":80", "/", 443, NULL },
        { ".", "/", 443, NULL },
        { ".a", "/", 443, NULL },
        { "a..", "/", 443, NULL },
        { "a:x", "/", 443, NULL },
        { "a:80 ", "/", 443, NULL },
        { "a:123456", "/", 443, NULL },
        { " a", "/", 443, NULL },
        { "a\r\nb", "/", 443, NULL },
        { "a/", "/", 443, NULL },
        { "u@a", "/", 443, NULL },
        { "a,b", "/", 443, NULL },
        { "*.a", "/", 443, NULL },
        { L63 "x", "/", 443, NULL },
        { L253, "/", 443, NULL },
        { "[]", "/", 443, NULL },
        { "[", "/", 443, NULL },
        { "[::1", "/", 443, NULL },
        { "[::1]]", "/", 443, NULL },
        { "[::1]80", "/", 443, NULL },
        { "[fe80::1%1]", "/", 443, NULL },
        { "[1.2.3.4]", "/", 443, NULL },
        { "[a.example]", "/", 443, NULL },
        { "[1:2:3:4:5:6:7:8:9]", "/", 443, NULL },
        { "[00000000000000000000000000000000000000000000000000::]", "/", 443, NULL },
        { "a", "x", 443, NULL },
        { "a", "*", 443, NULL },
        { "a", "http:/b", 443, NULL },
        { "a", "http://", 443, NULL },
        { "a", "http://?q", 443, NULL },
        { "a", "javascript:alert(1)", 443, NULL },
        { "a", "/ ", 443, NULL },
        { "a", "/\r\nX: y", 443, NULL },
        { "a", "/\x7f", 443, NULL },
        { "a", "/\x80", 443, NULL },
        { "a", "http://b\r\n/", 443, NULL },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        char out[400] = "before";
        int rc = redirect_location(row[i].host, row[i].target, row[i].port, out, sizeof out);
        if (rc != (row[i].want ? 0 : ERR_PEER) || strcmp(out, row[i].want ? row[i].want : "") != 0)
            print_error("row %zu: %d \"%s\"\n", i, rc, out);
        assert_int_equal(rc, row[i].want ? 0 : ERR_PEER);
        assert_string_equal(out, row[i].want ? row[i].want : "");
    }
}

static void test_location_caps(void **state)
{
    (void)state;
    static const char want[] = "https://a.example:8443/x?y";
    for (size_t cap = 0; cap < sizeof want + 3; cap++) {
        char *out = malloc(cap ? cap : 1); /* of the exact size, for the sanitizers */
        *out = 'z';
        int rc = redirect_location("a.example:80", "/x?y", 8443, out, cap);
        assert_int_equal(rc, cap >= sizeof want ? 0 : ERR_LIMIT);
        if (cap)
            assert_string_equal(out, rc ? "" : want);
        else
            assert_int_equal(*out, 'z');
        free(out);
    }
}

/* Whatever comes in: what goes out is a URL of that host and that path, and nothing else. */
static void test_location_property(void **state)
{
    (void)state;
    static const char set[] = "aZ09-_.:[]/?%@\\ #<\"\r\n\x80{|~http://";
    uint32_t x = 9;
    unsigned good = 0;
    for (int i = 0; i < 300000; i++) {
        char host[20], target[24], out[64], again[64];
        char *part[2] = { host, target };
        for (int p = 0; p < 2; p++) {
            size_t len = (x = x * 1664525u + 1013904223u) >> 28, n = 0;
            for (; n < len; n++)
                part[p][n] = set[((x = x * 1664525u + 1013904223u) >> 8) % (i % 3 ? 12 : sizeof set - 1)];
            part[p][n] = 0;
        }
        if (i % 2)
            target[0] = '/';
        int rc = redirect_location(host, target, 443, out, sizeof out);
        assert_true(rc == 0 || rc == ERR_PEER || rc == ERR_LIMIT);
        if (rc)
            continue;
        good++;
        assert_memory_equal(out, "https://", 8);
        assert_int_equal(strcspn(out, " \r\n\x80\"<#\\"), strlen(out));
        size_t n = strcspn(out + 8, "/");
        assert_int_equal(out[8 + n], '/');
        assert_memory_equal(out + 8, host, n); /* the host as it came */
        assert_true(!host[n] || host[n] == ':');
        out[8 + n] = 0;
        char only[64];
        strcpy(only, out + 8);
        out[8 + n] = '/';
        assert_int_equal(redirect_location(only, out, 443, again, sizeof again), 0);
        assert_string_equal(out, again);
    }
    assert_true(good > 1000);
}

static void test_challenge_table(void **state)
{
    (void)state;
    char longest[200] = ACME, token[REDIRECT_TOKEN_MAX + 1];
    memset(longest + strlen(ACME), 'k', REDIRECT_TOKEN_MAX);
    assert_true(redirect_challenge(longest, token));
    assert_int_equal(strlen(token), REDIRECT_TOKEN_MAX);
    longest[strlen(ACME) + REDIRECT_TOKEN_MAX] = 'k';
    assert_false(redirect_challenge(longest, token));
    assert_true(redirect_challenge(ACME "a-Z_09?x/../", token));
    assert_string_equal(token, "a-Z_09");
    assert_true(redirect_challenge("http://a" ACME "t", token));
    assert_string_equal(token, "t");
    static const char *const bad[] = { "",         "/",         ACME,         ACME "?",
                                       ACME ".",   ACME "a/",   ACME "a%41",  ACME "a b",
                                       ACME "a\n", ACME "a?\n", "x" ACME "a", "ftp://a" ACME "a" };
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_false(redirect_challenge(bad[i], token));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_challenge),
        cmocka_unit_test(test_what_is_no_challenge_file),
        cmocka_unit_test(test_odd_tokens),
        cmocka_unit_test(test_without_a_folder),
        cmocka_unit_test(test_files_come_and_go),
        cmocka_unit_test(test_redirects),
        cmocka_unit_test(test_other_sockets_and_ports),
        cmocka_unit_test(test_no_usable_host),
        cmocka_unit_test(test_no_header_is_smuggled),
        cmocka_unit_test(test_targets_that_are_none),
        cmocka_unit_test(test_long_targets),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_limit_per_source),
        cmocka_unit_test(test_limit_of_all),
        cmocka_unit_test(test_slow_clients),
        cmocka_unit_test(test_stop_with_open_connections),
        cmocka_unit_test(test_start_fails),
        cmocka_unit_test(test_location_table),
        cmocka_unit_test(test_location_caps),
        cmocka_unit_test(test_location_property),
        cmocka_unit_test(test_challenge_table),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
