/* The program: its commands, its help, and nothing else. */
#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/engine.h"
#include "client/requests.h"
#include "client/resolver.h"
#include "server/config.h"
#include "server/engine.h"
#include "server/monitor.h"
#include "server/redirect_process.h"
#include "server/site_process.h"

#define CONFIG_HELP "  -c, --config FILE  the configuration (" CLI_CONFIG_DEFAULT ")\n"
#define JSON_HELP   "      --json         print JSON\n"
#define SOCKET_HELP "  -s, --socket PATH  the daemon's control socket, instead of the configuration's\n"

const struct cli_command cli_commands[] = {
    { "serve", "[-c FILE | --demo DIR]", "run the server",
      CONFIG_HELP "      --demo DIR     make DIR with a certificate, a user and a configuration, print how to\n"
                  "                     connect from Windows, Linux and a browser, and serve that\n"
                  "      --print-config  print the configuration with every option and its value, and stop\n"
                  "      --print-options  print what can be configured: type, default and meaning, and stop\n"
                  "      --json         print the configuration as JSON\n"
                  "\n"
                  "Stays in the foreground and writes events to standard error. SIGHUP reloads, SIGTERM stops.\n",
      cli_serve },
    { "check", "[-c FILE] [--json]", "judge the configuration: files, certificates, users",
      CONFIG_HELP JSON_HELP
      "\n"
      "Reads the configuration as the server does and prints every finding with its place and remedy.\n"
      "Exit status: 0 nothing that stops the server, 1 errors, 2 the file cannot be read.\n",
      cli_check },
    { "explain", "CODE, or ADDRESS[:PORT] [NAME] [METHOD URL]",
      "what a code of Windows means here; what is served where",
      CONFIG_HELP JSON_HELP
      "      --list         print all codes, one a line\n"
      "\n"
      "CODE: 0x800B0109 or -2146762487, 691, 'RasSstp 6', 'RemoteAccess 20255', 'HTTP 503', 10054, or\n"
      "a name from the log: binding-mismatch. Prints what it says, what causes it here and what to do.\n"
      "\n"
      "ADDRESS is one that clients dial: 203.0.113.5, [2001:db8::5]:443. NAME is the server name they\n"
      "send. Prints, from the configuration alone, the certificate that is shown, the rule that decided,\n"
      "why the others did not, and where a request goes. Exit status 1: nothing is served there, or the\n"
      "code is not known.\n",
      cli_explain },
    { "connect", "[URL] [-c FILE]", "dial an SSTP server: the client",
      "  -c, --config FILE  url, user and all else (docs/client.md); options here go first\n"
      "      --user NAME    who logs in; --password-file FILE, else it is asked for at the terminal\n"
      "      --route PREFIX what goes through the tunnel; may be given again\n"
      "      --default-route  everything goes through it\n"
      "      --interface NAME  of the tunnel (ghc0)\n"
      "      --proxy URL    web proxy, http://[USER@]HOST:PORT; \"none\" for none (https_proxy, no_proxy)\n"
      "      --ca FILE      authorities to trust instead of the system's\n"
      "      --pin sha256:HEX  the one certificate to accept\n"
      "      --insecure     accept any certificate: whoever is in between can read everything\n"
      "      --auth LIST    ways to log in (eap-mschapv2,mschapv2); also chap, pap\n"
      "      --once         do not dial again when the call ends\n" JSON_HELP "\n"
      "Stays in the foreground, dials again when the connection breaks, and undoes routes and DNS at the\n"
      "end. Exit status: 0 ended by you, 2 usage, 4 network, 5 proxy, 6 TLS or certificate, 7 not an SSTP\n"
      "server, 8 login, 9 PPP or crypto binding, 10 this machine's network, 11 the call broke (--once).\n",
      cli_connect },
    { "probe", "URL", "what an SSTP server serves, and which clients could connect",
      "  -4, -6             addresses of this family alone\n"
      "      --user NAME    log in too, and hang up; --password-file FILE, else it is asked for\n"
      "      --ca FILE      authorities to trust instead of the system's\n"
      "      --auth LIST    ways to log in (eap-mschapv2,mschapv2); also chap, pap\n"
      "      --insecure     log in although the certificate is not good\n" JSON_HELP "\n"
      "Asks each address of the name: TLS, certificate with and without SNI, the answers of the SSTP URI,\n"
      "crypto binding, ways to log in. Nobody logs in unless --user is given. Exit status 1: some client\n"
      "could not connect.\n",
      cli_probe },
    { "profile", "windows|linux|routeros", "a file that sets a client up for this server",
      CONFIG_HELP "      --name NAME    of the connection (Gatehouse)\n"
                  "      --address HOST[:PORT]  what clients dial; else the best name of the certificate\n"
                  "      --user NAME    who will log in\n"
                  "      --split        only vpn.network goes through the tunnel, not everything\n"
                  "      --route PREFIX the same, and this network; may be given again\n"
                  "      --ca FILE      certificate of a private authority that clients must be given\n"
                  "      --xml          windows: a ProfileXML for device management, not a PowerShell script\n"
                  "\n"
                  "Prints it. windows: run it as an administrator. linux: for 'gatehouse connect -c FILE'.\n"
                  "routeros: a script for version 7. An authority that is not a public one is put in, or, linux,\n"
                  "the certificate is pinned. No profile holds a password.\n",
      cli_profile },
    { "status", "[--json] [-c FILE] [--connect [INTERFACE]]", "what the running server, or client, is doing",
      CONFIG_HELP SOCKET_HELP "      --connect      the client ('gatehouse connect'), not the server\n" JSON_HELP,
      cli_status },
    { "sessions", "[--json] [-c FILE]", "who is connected: user, addresses, since when, bytes",
      CONFIG_HELP SOCKET_HELP JSON_HELP, cli_sessions },
    { "disconnect", "ID | --user NAME", "end a call, or all calls of a user",
      "      --user NAME    all calls of this user\n" CONFIG_HELP SOCKET_HELP JSON_HELP "\n"
      "ID is the number in the first column of 'gatehouse sessions'.\n",
      cli_disconnect },
    { "reload", "[-c FILE]", "take changed files into use; calls stay up",
      CONFIG_HELP SOCKET_HELP JSON_HELP
      "\n"
      "The new configuration is checked whole first; when something is wrong, the old one stays.\n",
      cli_reload },
    { "drain", "[--off] [-c FILE]", "accept no new calls, let the present ones end",
      "      --off          accept new calls again\n" CONFIG_HELP SOCKET_HELP JSON_HELP "\n"
      "The web site keeps working. Load balancers that probe the SSTP URI get 503.\n",
      cli_drain },
    { "user", "add|passwd|set|remove NAME, or list", "local users",
      CONFIG_HELP
      "  -u, --users FILE   the users file itself, instead of the configuration's\n"
      "      --plain        store the password, not its NT hash: needed for CHAP-MD5 only\n"
      "      --up RATE      add, set: limit of what comes from the user, bits a second: 800k, 10M, 1G; none\n"
      "      --down RATE    add, set: limit of what goes to the user\n"
      "      --ip ADDRESS   add, set: always this address; none: one of the pool\n"
      "      --expires DATE add, set: first day on which the user no longer gets in, YYYY-MM-DD; none\n" JSON_HELP "\n"
      "add and passwd ask for the password twice, or read one line from standard input when that is\n"
      "no terminal. A running server is told to take the change into use; a call that is up keeps its limits.\n",
      cli_user },
    { "cert", "new NAME..., or show FILE", "make a certificate; look at one",
      "cert new makes a self-signed certificate for the names and addresses given, fit for SSTP.\n"
      "      --key ec|rsa   P-256 (default), or RSA with 2048 bits for very old clients\n"
      "      --days N       how long it is valid (825)\n"
      "      --out-cert F   where it goes (gatehouse.pem; gatehouse.csr with --csr)\n"
      "      --out-key F    where the private key goes (gatehouse.key), mode 0600\n"
      "      --csr          make a request for an authority instead of a certificate\n"
      "      --force        overwrite files that are there\n"
      "\n"
      "cert show prints what a PEM file holds: names, dates, key, hashes, and whether it is fit for SSTP.\n" JSON_HELP,
      cli_cert },
    { .name = NULL },
};

void cli_fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("gatehouse: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
}

const struct cli_command *cli_find(const char *name)
{
    for (const struct cli_command *c = cli_commands; c->name; c++) {
        if (!strcmp(c->name, name))
            return c;
    }
    return NULL;
}

void cli_help(const struct cli_command *c)
{
    printf("gatehouse %s %s\n\n%c%s.\n\n%s", c->name, c->args, c->summary[0] & ~32, c->summary + 1, c->help);
}

static void program_help(void)
{
    puts("Gatehouse: a web site and an SSTP VPN behind one port 443.\n\nUsage: gatehouse COMMAND [OPTION]...\n");
    for (const struct cli_command *c = cli_commands; c->name; c++)
        printf("  %-11s %s\n", c->name, c->summary);
    puts("\n'gatehouse COMMAND --help' tells more about one. 'gatehouse --version' prints the version.\n"
         "\nTo try it: gatehouse serve --demo /tmp/gatehouse\n"
         "\nExit status: 0 good, 1 the thing asked about is not good, 2 usage, 3 no daemon to talk to.");
}

static int unknown_command(const char *name)
{
    const char *near = NULL;
    size_t best = CONFIG_WORD_NEAR;
    for (const struct cli_command *c = cli_commands; c->name; c++) {
        size_t d = config_word_distance(name, c->name);
        if (d < best) {
            best = d;
            near = c->name;
        }
    }
    if (near)
        cli_fail("there is no command \"%s\"; did you mean \"%s\"?", name, near);
    else
        cli_fail("there is no command \"%s\"; 'gatehouse --help' lists them", name);
    return EXIT_USAGE;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
            return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    /* The monitor starts this same file again, without privileges, under these names. */
    if (argc == 1 && !strcmp(argv[0], PROCESS_ENGINE))
        return engine_main();
    if (argc == 1 && !strcmp(argv[0], PROCESS_SITE))
        return site_main();
    if (argc == 1 && !strcmp(argv[0], PROCESS_REDIRECT))
        return redirect_main();
    if (argc == 1 && !strcmp(argv[0], PROCESS_CLIENT))
        return client_engine_main();
    if (argc == 1 && !strcmp(argv[0], PROCESS_RESOLVER))
        return resolver_main();
    const char *name = argc > 1 ? argv[1] : "";
    if (!*name) {
        program_help();
        return EXIT_USAGE;
    }
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        const struct cli_command *c = argc > 2 ? cli_find(argv[2]) : NULL;
        if (c)
            cli_help(c);
        else
            program_help();
        return EXIT_GOOD;
    }
    if (!strcmp(name, "--version") || !strcmp(name, "-V")) {
        puts("gatehouse " GATEHOUSE_VERSION);
        return EXIT_GOOD;
    }
    const struct cli_command *c = cli_find(name);
    if (!c)
        return unknown_command(name);
    if (wants_help(argc - 1, argv + 1)) {
        cli_help(c);
        return EXIT_GOOD;
    }
    return c->run(argc - 1, argv + 1);
}
