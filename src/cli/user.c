/* gatehouse user: the users file's commands. */
#include "cli/cli.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "auth/users.h"
#include "base/ct.h"
#include "base/digest.h"
#include "cli/file.h"
#include "cli/password.h"
#include "cli/userfile.h"
#include "ctl/client.h"
#include "server/config.h"

/* Options of a user that can be set: their values are judged by the parser of the file. */
enum { SET_UP = 256, SET_DOWN, SET_IP, SET_EXPIRES, SET_END };
static const char *const set_keys[] = { "up=", "down=", "ip=", "expires=" };
#define SET_MAX (SET_END - SET_UP)

struct user_args {
    const char *config, *users; /* as given */
    bool plain, json;
    struct userfile_option set[SET_MAX];
    size_t n_set;
    struct config *c; /* NULL with users given and no configuration there */
    const char *path; /* of the users file */
};

static const char *state_name(const struct user *u, int64_t now_s)
{
    switch (user_state(u, now_s)) {
    case USER_OK: return "ok";
    case USER_UNKNOWN:
    case USER_WRONG_SECRET:
    case USER_NEEDS_PLAIN: break; /* verdicts on a login, not on a line of the file */
    case USER_DISABLED: return "disabled";
    case USER_EXPIRED: return "expired";
    }
    return "unknown";
}

static void list_text(const struct users *users, int64_t now_s)
{
    printf("%-24s %-6s %-15s %-8s %-7s %-7s %s\n", "NAME", "SECRET", "ADDRESS", "STATE", "UP", "DOWN", "GROUPS");
    for (size_t i = 0; i < users_count(users); i++) {
        const struct user *u = users_at(users, i);
        char ip[INET_ADDRSTRLEN] = "pool", up[USERS_RATE_TEXT_MAX] = "-", down[USERS_RATE_TEXT_MAX] = "-";
        struct in_addr in = { htonl(u->ip4) };
        if (u->ip4)
            inet_ntop(AF_INET, &in, ip, sizeof ip);
        if (u->up_bps)
            users_rate_text(u->up_bps, up);
        if (u->down_bps)
            users_rate_text(u->down_bps, down);
        printf("%-24s %-6s %-15s %-8s %-7s %-7s %s\n", u->name, u->password ? "plain" : "nt", ip, state_name(u, now_s),
               up, down, u->groups ? u->groups : "-");
    }
}

static json_t *rate_json(uint64_t bps)
{
    return bps ? json_integer((json_int_t)bps) : json_null();
}

static void list_json(const struct users *users, int64_t now_s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < users_count(users); i++) {
        const struct user *u = users_at(users, i);
        char ip[INET_ADDRSTRLEN];
        struct in_addr in = { htonl(u->ip4) };
        json_t *name = json_string(u->name); /* NULL: bytes that are not UTF-8 */
        json_array_append_new(list, json_pack("{s:o, s:s, s:s?, s:s, s:s?, s:o, s:o}", "name",
                                              name ? name : json_string("?"), "secret", u->password ? "plain" : "nt",
                                              "ip", u->ip4 ? inet_ntop(AF_INET, &in, ip, sizeof ip) : NULL, "state",
                                              state_name(u, now_s), "groups", u->groups, "up_bps", rate_json(u->up_bps),
                                              "down_bps", rate_json(u->down_bps)));
    }
    json_t *all = json_pack("{s:o}", "users", list);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

static int user_list(const struct user_args *a)
{
    char *text = NULL;
    size_t len = 0;
    struct users *users = NULL;
    struct users_error err = { 0 };
    if (digest_init() < 0) { /* plain: secrets are hashed while parsing */
        cli_fail("OpenSSL's legacy provider (MD4) cannot be loaded; is the package openssl whole?");
        return EXIT_BAD;
    }
    if (file_read(a->path, USERFILE_MAX, &text, &len) < 0) {
        cli_fail("cannot read %s: %s; 'gatehouse user add NAME' makes it", a->path, strerror(errno));
        return EXIT_BAD;
    }
    int rc = users_parse(text, len, &users, &err);
    secret_free(text, len);
    if (rc < 0) {
        cli_fail("%s:%u: %s", a->path, err.line, err.text[0] ? err.text : err_name(rc));
        return EXIT_BAD;
    }
    if (a->json)
        list_json(users, time(NULL));
    else
        list_text(users, time(NULL));
    users_free(users);
    return EXIT_GOOD;
}

/* A running server takes the change into use at once; without one there is nothing to do. */
static void tell_server(const struct user_args *a)
{
    int status = 0;
    char *answer = NULL;
    if (!a->c || ctl_request(a->c->control.socket, "POST", "/v1/reload", NULL, &status, &answer) < 0)
        puts("It takes effect at the next start or reload of the server.");
    else if (status >= 200 && status < 300)
        puts("The running server has taken it into use.");
    else
        printf("The running server did not take it into use (status %d): see 'gatehouse reload'.\n", status);
    free(answer);
}

static int ask_secret(const struct user_args *a, char **secret)
{
    char password[1024];
    size_t len = 0;
    const char *why = "out of memory";
    int rc = password_read(password, sizeof password, &len, &why);
    if (!rc)
        rc = userfile_secret(password, len, a->plain, secret, &why);
    secret_wipe(password, sizeof password);
    if (rc < 0)
        cli_fail("%s; nothing was changed", why);
    return rc;
}

static int user_change(const struct user_args *a, enum userfile_verb verb, const char *name)
{
    static const char *const done[] = { "is added", "has a new password", "is changed", "is removed" };
    char *secret = NULL;
    int rc = digest_init();
    if (rc < 0)
        cli_fail("OpenSSL's legacy provider (MD4) cannot be loaded; is the package openssl whole?");
    if (!rc && (verb == USERFILE_ADD || verb == USERFILE_PASSWD))
        rc = ask_secret(a, &secret);
    const struct userfile_change change = { verb, name, secret, a->set, a->n_set };
    if (!rc)
        rc = userfile_edit(a->path, &change);
    secret_free(secret, secret ? strlen(secret) : 0);
    if (rc < 0)
        return EXIT_BAD;
    printf("User \"%s\" %s.\n", name, done[verb]);
    tell_server(a);
    return EXIT_GOOD;
}

static void keep_first(void *arg, const struct config_error *e)
{
    struct config_error *first = arg;
    if (!first->text[0])
        *first = *e;
}

/* The users file, and the configuration for its control socket. */
static bool find_file(struct user_args *a)
{
    struct config_error err = { 0 };
    int rc = config_judge(a->config ? a->config : CLI_CONFIG_DEFAULT, false, &a->c, keep_first, &err);
    if (rc < 0 && (a->config || !a->users)) {
        cli_fail("%s", err.text[0] ? err.text : err_name(rc));
        return false;
    }
    a->path = a->users ? a->users : a->c->vpn.users;
    if (!a->path)
        cli_fail("the configuration has no vpn section with a users file; name the file with -u FILE");
    return a->path;
}

static bool options_fit(const struct user_args *a, enum userfile_verb verb)
{
    if (a->n_set && verb != USERFILE_ADD && verb != USERFILE_SET)
        cli_fail("--up, --down, --ip and --expires are for 'gatehouse user set NAME' and 'gatehouse user add NAME'");
    else if (!a->n_set && verb == USERFILE_SET)
        cli_fail("nothing to set: give --up, --down, --ip or --expires; see gatehouse user --help");
    else
        return true;
    return false;
}

static int run(struct user_args *a, int argc, char **argv)
{
    static const struct {
        const char *word;
        enum userfile_verb verb;
    } verbs[] = {
        { "add", USERFILE_ADD }, { "passwd", USERFILE_PASSWD }, { "set", USERFILE_SET }, { "remove", USERFILE_REMOVE }
    };
    bool list = argc == 1 && !strcmp(argv[0], "list");
    for (size_t i = 0; argc == 2 && i < sizeof verbs / sizeof verbs[0]; i++) {
        if (!strcmp(argv[0], verbs[i].word))
            return options_fit(a, verbs[i].verb) && find_file(a) ? user_change(a, verbs[i].verb, argv[1]) : EXIT_USAGE;
    }
    if (list)
        return options_fit(a, USERFILE_REMOVE) && find_file(a) ? user_list(a) : EXIT_USAGE;
    if (argc > 2)
        cli_fail("usage: gatehouse user add|passwd|set|remove NAME; a password is never an argument, it is asked for");
    else
        cli_fail("usage: gatehouse user add|passwd|set|remove NAME, or gatehouse user list; see gatehouse user --help");
    return EXIT_USAGE;
}

/* An option of a user, as given: the last one counts. */
static void set_take(struct user_args *a, int option, const char *value)
{
    const char *key = set_keys[option - SET_UP];
    bool rate = option == SET_UP || option == SET_DOWN;
    size_t i = 0;
    while (i < a->n_set && a->set[i].key != key)
        i++;
    a->set[i].key = key;
    a->set[i].value = !strcmp(value, "none") || (rate && !strcmp(value, "0")) ? NULL : value;
    a->n_set += i == a->n_set;
}

int cli_user(int argc, char **argv)
{
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' },
        { "users", required_argument, NULL, 'u' },
        { "plain", no_argument, NULL, 'p' },
        { "json", no_argument, NULL, 'j' },
        { "up", required_argument, NULL, SET_UP },
        { "down", required_argument, NULL, SET_DOWN },
        { "ip", required_argument, NULL, SET_IP },
        { "expires", required_argument, NULL, SET_EXPIRES },
        { 0 },
    };
    struct user_args a = { 0 };
    for (int o; (o = getopt_long(argc, argv, "c:u:", options, NULL)) != -1;) {
        switch (o) {
        case 'c': a.config = optarg; break;
        case 'u': a.users = optarg; break;
        case 'p': a.plain = true; break;
        case 'j': a.json = true; break;
        case SET_UP:
        case SET_DOWN:
        case SET_IP:
        case SET_EXPIRES: set_take(&a, o, optarg); break;
        default: return EXIT_USAGE;
        }
    }
    int rc = run(&a, argc - optind, argv + optind);
    config_free(a.c);
    return rc;
}
