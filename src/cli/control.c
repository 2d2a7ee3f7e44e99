/* The commands that talk to the running daemon: status, sessions, disconnect, reload, drain. */
#include <errno.h>
#include <getopt.h>
#include <glob.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "client/config.h"
#include "ctl/client.h"
#include "server/config.h"

struct control {
    const char *config, *socket, *user;
    bool json, off, connect;
    const char *arg; /* what is left of the command line, at most one word */
};

static int parse(struct control *c, int argc, char **argv, bool takes_arg)
{
    enum { OPT_JSON = 256, OPT_USER, OPT_OFF, OPT_CONNECT };
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' },
        { "socket", required_argument, NULL, 's' },
        { "json", no_argument, NULL, OPT_JSON },
        { "user", required_argument, NULL, OPT_USER },
        { "off", no_argument, NULL, OPT_OFF },
        { "connect", no_argument, NULL, OPT_CONNECT },
        { NULL, 0, NULL, 0 },
    };
    int o;
    *c = (struct control){ 0 };
    while ((o = getopt_long(argc, argv, "c:s:", options, NULL)) != -1)
        switch (o) {
        case 'c': c->config = optarg; break;
        case 's': c->socket = optarg; break;
        case OPT_JSON: c->json = true; break;
        case OPT_USER: c->user = optarg; break;
        case OPT_OFF: c->off = true; break;
        case OPT_CONNECT: c->connect = true; break;
        default: return EXIT_USAGE;
        }
    if (!c->config && !c->connect)
        c->config = CLI_CONFIG_DEFAULT;
    if ((takes_arg || c->connect) && optind < argc)
        c->arg = argv[optind++];
    if (optind < argc) {
        cli_fail("\"%s\" is one word too many; see 'gatehouse %s --help'", argv[optind], argv[0]);
        return EXIT_USAGE;
    }
    return EXIT_GOOD;
}

/*
 * The control socket of a configuration that cannot be loaded: while the file is broken the daemon runs on with the one
 * before, and can be asked. A look at the text is enough: socket = "PATH", relative to the file's folder; else the
 * default.
 */
static void socket_of_broken(const char *config, char *out, size_t cap)
{
    static char text[65536];
    snprintf(out, cap, "%s", CLI_SOCKET_DEFAULT);
    FILE *f = fopen(config, "r");
    if (!f)
        return;
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    for (char *p = text; (p = strstr(p, "socket")); p += 6) {
        char *value = p + 6 + strspn(p + 6, " \t"), *end, *line = p;
        while (line > text && line[-1] != '\n' && *line != '#' && strncmp(line, "//", 2) != 0)
            line--;
        if (*line == '#' || strncmp(line, "//", 2) == 0)
            continue; /* in a comment */
        if (*value != '=' && *value != ':')
            continue;
        value += 1 + strspn(value + 1, " \t");
        if (*value != '"' || !(end = strchr(value + 1, '"')))
            continue;
        *end = 0;
        const char *slash = strrchr(config, '/');
        if (value[1] == '/' || !slash)
            snprintf(out, cap, "%s", value + 1);
        else
            snprintf(out, cap, "%.*s/%s", (int)(slash - config), config, value + 1);
        return;
    }
}

/* The answer's JSON, or NULL after saying why not; *status is the exit status then. */
static json_t *ask(const struct control *c, const char *method, const char *path, json_t *body, int *status)
{
    struct config *cfg = NULL;
    struct config_error err;
    const char *socket = c->socket;
    char guess[512];
    if (!socket && config_load(c->config, &cfg, &err)) {
        socket_of_broken(c->config, guess, sizeof guess);
        socket = guess;
    }
    if (!socket)
        socket = cfg->control.socket;
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL, *answer = NULL;
    int http = 0, rc = ctl_request(socket, method, path, text, &http, &answer);
    json_decref(body);
    free(text);
    if (rc) {
        *status = EXIT_NO_DAEMON;
        if (socket == guess)
            cli_fail("%s", err.text);
        if (rc == ERR_SYSTEM && errno == EACCES)
            cli_fail("%s: permission denied: run this as root", socket);
        else if (rc == ERR_SYSTEM)
            cli_fail("%s: %s: is 'gatehouse serve' running, with this configuration?", socket, strerror(errno));
        else
            cli_fail("%s: the daemon gave no answer", socket);
        config_free(cfg);
        return NULL;
    }
    config_free(cfg);
    json_t *j = json_loads(answer, 0, NULL);
    free(answer);
    const char *why = json_string_value(json_object_get(j, "error"));
    *status = http >= 200 && http < 300 ? EXIT_GOOD : EXIT_BAD;
    if (!j)
        cli_fail("the daemon's answer is not JSON");
    else if (*status == EXIT_BAD && !c->json)
        cli_fail("%s", why ? why : "nothing was found to do that to");
    return j;
}

static void print_json(const json_t *j)
{
    char *text = json_dumps(j, JSON_INDENT(2));
    if (text)
        puts(text);
    free(text);
}

static int64_t num(const json_t *j, const char *key)
{
    return json_integer_value(json_object_get(j, key));
}

static const char *str(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "-";
}

/* 75 -> "1m15s", 90000 -> "1d1h". */
static const char *span(int64_t s, char out[32])
{
    if (s >= 86400)
        snprintf(out, 32, "%" PRId64 "d%" PRId64 "h", s / 86400, s % 86400 / 3600);
    else if (s >= 3600)
        snprintf(out, 32, "%" PRId64 "h%" PRId64 "m", s / 3600, s % 3600 / 60);
    else if (s >= 60)
        snprintf(out, 32, "%" PRId64 "m%" PRId64 "s", s / 60, s % 60);
    else
        snprintf(out, 32, "%" PRId64 "s", s);
    return out;
}

static const char *bytes(int64_t n, char out[32])
{
    static const char unit[] = " KMGTP";
    double v = (double)n;
    int u = 0;
    for (; v >= 1024 && unit[u + 1]; u++)
        v /= 1024;
    snprintf(out, 32, u ? "%.1f%c" : "%.0f", v, unit[u]);
    return out;
}

/* "www: 89d23h left, EC P-256, for default, www.example.com", and what is wrong with it. */
static void print_certificate(const json_t *cert)
{
    char left[32];
    int64_t s = num(cert, "seconds_left");
    size_t i;
    json_t *rule;
    printf("certificate  %s: %s%s, %s, for", str(cert, "name"), s > 0 ? span(s, left) : "EXPIRED", s > 0 ? " left" : "",
           str(cert, "key"));
    json_array_foreach(json_object_get(cert, "for"), i, rule) {
        printf("%s %s", i ? "," : "", json_string_value(rule));
    }
    const json_t *ocsp = json_object_get(cert, "ocsp");
    if (json_is_object(ocsp))
        printf("; OCSP %s", str(ocsp, "state"));
    putchar('\n');
    if (!strcmp(str(cert, "state"), "kept"))
        printf("             KEPT, its files cannot be used now: %s\n", str(cert, "reason"));
    else if (!strcmp(str(cert, "state"), "unfit"))
        printf("             UNFIT: %s\n", str(cert, "reason"));
}

static void print_client_status(const struct control *c, const json_t *j);

static void print_status(const struct control *c, const json_t *j)
{
    char up[32];
    const json_t *t = json_object_get(j, "totals");
    if (!strcmp(str(j, "role"), "client")) {
        print_client_status(c, j);
        return;
    }
    printf("gatehouse %s, up %s, configuration %s (generation %" PRId64 ")%s\n", str(j, "version"),
           span(num(j, "seconds"), up), str(j, "config"), num(j, "generation"),
           json_is_true(json_object_get(j, "draining")) ? ", draining" : "");
    printf("calls        %" PRId64 " now, %" PRId64 " came up since the start; %" PRId64 " addresses free\n",
           num(j, "calls"), num(t, "calls_up"), num(j, "addresses_free"));
    printf("web          %" PRId64 " connections now, %" PRId64 " since the start\n", num(j, "web"), num(t, "web"));
    printf("logins       %" PRId64 " good, %" PRId64 " refused\n", num(t, "login_ok"), num(t, "login_failed"));
    printf("connections  %" PRId64 " now, %" PRId64 " accepted; %" PRId64 " refused, %" PRId64 " failed in TLS\n",
           num(j, "connections"), num(t, "accepted"), num(t, "refused"), num(t, "tls_failed"));
    bool steered = !strcmp(str(j, "steering"), "ebpf");
    printf("packets      offloads %s, steering %s%s%s%s\n", str(j, "offload"), str(j, "steering"), steered ? "" : " (",
           steered ? "" : str(j, "steering_reason"), steered ? "" : ")");
    size_t i;
    json_t *cert;
    json_array_foreach(json_object_get(j, "certificates"), i, cert) {
        print_certificate(cert);
    }
    if (json_object_get(j, "front"))
        printf("front        %zu certificates accepted\n", json_array_size(json_object_get(j, "front")));
    const char *err = str(j, "last_reload_error");
    if (*err)
        printf("last reload  FAILED: %s\n", err);
}

/* Asks, and prints the answer: as JSON if wanted, else by print. */
static int command(const struct control *c, const char *method, const char *path, json_t *body,
                   void (*print)(const struct control *c, const json_t *j))
{
    int status;
    json_t *j = ask(c, method, path, body, &status);
    if (j && c->json)
        print_json(j);
    else if (j && status == EXIT_GOOD)
        print(c, j);
    json_decref(j);
    return status;
}

/* ---- status of a client ---- */

static void print_client_status(const struct control *c, const json_t *j)
{
    char up[32], rx[32], tx[32];
    const json_t *call = json_object_get(j, "call"), *last = json_object_get(j, "last_end");
    (void)c;
    printf("gatehouse %s, client, %s: %s\n", str(j, "version"), str(j, "url"), str(j, "state"));
    if (!strcmp(str(j, "state"), "up"))
        printf("up           %s on %s for %s, MTU %" PRId64 "%s\n", str(call, "ip"), str(j, "interface"),
               span(num(j, "up_seconds"), up), num(call, "mtu"),
               json_is_true(json_object_get(call, "ipv6")) ? ", IPv6 too" : "");
    if (call)
        printf("server       %s, %s, %s, login by %s\n", str(call, "server"), str(call, "tls"), str(call, "cipher"),
               str(call, "method"));
    if (call)
        printf("traffic      %s in, %s out; %" PRId64 " packets dropped\n", bytes(num(call, "rx_bytes"), rx),
               bytes(num(call, "tx_bytes"), tx),
               num(call, "drop_gate") + num(call, "drop_odd") + num(call, "drop_mtu") + num(call, "drop_memory"));
    if (call)
        printf("packets      offloads %s\n", str(call, "offload"));
    if (json_object_get(j, "retry_in_ms"))
        printf("next dial    in %" PRId64 " s\n", num(j, "retry_in_ms") / 1000);
    if (last)
        printf("last end     %s%s%s\n             %s\n", str(last, "what"), *str(last, "text") ? ": " : "",
               str(last, "text"), str(last, "remedy"));
}

/* The socket of the one client that runs, or of the interface that was named. */
static int find_client(const struct control *c, char *out, size_t cap)
{
    struct client_config *cfg = NULL;
    struct config_error err;
    glob_t found;
    char pattern[512];
    int rc = c->config ? client_config_load(c->config, &cfg, &err) : client_config_default(&cfg);
    if (rc) {
        cli_fail("%s", c->config ? err.text : "out of memory");
        return EXIT_USAGE;
    }
    const char *interface = c->arg ? c->arg : c->config ? cfg->tunnel.interface : "*";
    snprintf(pattern, sizeof pattern, "%s/%s.sock", cfg->control.folder, interface);
    rc = EXIT_GOOD;
    if (glob(pattern, 0, NULL, &found)) {
        cli_fail("%s: is 'gatehouse connect' running?", pattern);
        rc = EXIT_NO_DAEMON;
    } else if (found.gl_pathc > 1) {
        cli_fail("several clients run: name the interface, as in 'gatehouse status --connect ghc0'");
        rc = EXIT_USAGE;
    } else {
        snprintf(out, cap, "%s", found.gl_pathv[0]);
    }
    globfree(&found);
    client_config_free(cfg);
    return rc;
}

int cli_status(int argc, char **argv)
{
    struct control c;
    char socket[512];
    int status = parse(&c, argc, argv, false);
    if (!status && c.connect && !c.socket) {
        status = find_client(&c, socket, sizeof socket);
        c.socket = socket;
    }
    return status ? status : command(&c, "GET", "/v1/status", NULL, print_status);
}

void cli_printable(const char *text, char *out, size_t cap)
{
    size_t n = 0;
    for (const unsigned char *p = (const unsigned char *)text; *p && n + 1 < cap; p++) {
        bool c1 = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0;
        out[n++] = c1 || *p < ' ' || *p == 0x7f ? '?' : (char)*p;
        p += c1;
    }
    out[n] = 0;
}

static void print_sessions(const struct control *c, const json_t *j)
{
    const json_t *list = json_object_get(j, "sessions");
    size_t i;
    json_t *s;
    (void)c;
    printf("%-8s %-20s %-15s %-24s %8s %8s %8s  %s\n", "ID", "USER", "ADDRESS", "FROM", "TIME", "IN", "OUT", "STATE");
    json_array_foreach(list, i, s) {
        char t[32], in[32], out[32], user[257];
        cli_printable(str(s, "user"), user, sizeof user); /* anybody's choice: it is there before the login is judged */
        printf("%-8" PRId64 " %-20s %-15s %-24s %8s %8s %8s  %s\n", num(s, "id"), *user ? user : "-", str(s, "ip"),
               str(s, "peer"), span(num(s, "seconds"), t), bytes(num(s, "rx_bytes"), in),
               bytes(num(s, "tx_bytes"), out), json_is_true(json_object_get(s, "up")) ? "up" : str(s, "phase"));
    }
}

int cli_sessions(int argc, char **argv)
{
    struct control c;
    int status = parse(&c, argc, argv, false);
    return status ? status : command(&c, "GET", "/v1/sessions", NULL, print_sessions);
}

static void print_disconnected(const struct control *c, const json_t *j)
{
    (void)c;
    printf("%" PRId64 " call%s ended\n", num(j, "disconnected"), num(j, "disconnected") == 1 ? "" : "s");
}

int cli_disconnect(int argc, char **argv)
{
    struct control c;
    int status = parse(&c, argc, argv, true);
    if (status)
        return status;
    char *end = NULL;
    long long id = c.arg ? strtoll(c.arg, &end, 10) : 0;
    if (!!c.arg == !!c.user || (c.arg && (!*c.arg || *end || id <= 0))) {
        cli_fail("disconnect takes the ID of a call (see 'gatehouse sessions'), or --user NAME");
        return EXIT_USAGE;
    }
    json_t *body = c.user ? json_pack("{s:s}", "user", c.user) : json_pack("{s:I}", "id", (json_int_t)id);
    return command(&c, "POST", "/v1/disconnect", body, print_disconnected);
}

static void print_reloaded(const struct control *c, const json_t *j)
{
    const char *later = str(j, "restart_needed_for");
    (void)c;
    printf("reloaded: generation %" PRId64 " serves new connections, calls stay as they are\n", num(j, "generation"));
    if (*later)
        printf("changed, but taken into use at the next start only: %s\n", later);
}

int cli_reload(int argc, char **argv)
{
    struct control c;
    int status = parse(&c, argc, argv, false);
    return status ? status : command(&c, "POST", "/v1/reload", NULL, print_reloaded);
}

static void print_drained(const struct control *c, const json_t *j)
{
    printf("%s; %" PRId64 " up now\n", c->off ? "new calls are accepted again" : "no new calls are accepted",
           num(j, "calls"));
}

int cli_drain(int argc, char **argv)
{
    struct control c;
    int status = parse(&c, argc, argv, false);
    return status ? status : command(&c, "POST", "/v1/drain", json_pack("{s:b}", "off", c.off), print_drained);
}
