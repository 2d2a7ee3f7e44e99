/*
 * The program's commands. Each is one function with main's arguments after the command's name; it returns the exit
 * status.
 */
#ifndef GH_CLI_CLI_H
#define GH_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>

enum { EXIT_GOOD = 0, EXIT_BAD = 1, EXIT_USAGE = 2, EXIT_NO_DAEMON = 3 };

#define CLI_CONFIG_DEFAULT "/etc/gatehouse/gatehouse.conf"
#define CLI_SOCKET_DEFAULT "/run/gatehouse/control" /* as the option's */

struct cli_command {
    const char *name;
    const char *args;                  /* "[-c FILE] NAME" */
    const char *summary;               /* one line of `gatehouse --help` */
    const char *help;                  /* the rest of `gatehouse COMMAND --help`, fits a screen */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name */
};

int cli_serve(int argc, char **argv);   /* src/cli/serve.c   */
int cli_check(int argc, char **argv);   /* src/cli/check.c   */
int cli_explain(int argc, char **argv); /* src/cli/explain.c */
int cli_user(int argc, char **argv);    /* src/cli/user.c    */
int cli_cert(int argc, char **argv);    /* src/cli/cert.c    */
int cli_connect(int argc, char **argv); /* src/cli/connect.c */
int cli_probe(int argc, char **argv);   /* src/cli/probe.c   */
int cli_profile(int argc, char **argv); /* src/cli/profile.c */
int cli_status(int argc, char **argv);  /* src/cli/control.c */
int cli_sessions(int argc, char **argv);
int cli_disconnect(int argc, char **argv);
int cli_reload(int argc, char **argv);
int cli_drain(int argc, char **argv);

extern const struct cli_command cli_commands[]; /* ends with name NULL; in main.c */
void cli_help(const struct cli_command *c);     /* usage of one command to stdout */
const struct cli_command *cli_find(const char *name);

/*
 * Makes dir (mode 0700) a working demonstration: configuration, self-signed certificate, the user "demo". What is there
 * already is kept. Tells on standard output how to connect. *config_path is malloc'ed. 0, or negative after cli_fail().
 */
int demo_prepare(const char *dir, char **config_path); /* src/cli/demo.c */

/*
 * Copies UTF-8 text that a stranger chose, cut to cap, for a terminal: control characters, those of C1 too, become '?'.
 */
void cli_printable(const char *text, char *out, size_t cap); /* src/cli/control.c */

/* "gatehouse: text" to stderr. */
__attribute__((format(printf, 1, 2))) void cli_fail(const char *fmt, ...);

#endif
