#include "cli/password.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/ct.h"

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
    (void)sig;
    interrupted = 1;
}

/* The next byte. A signal is let in only while waiting, so that none is lost between looking at the flag and reading.
 */
static ssize_t read_byte(char *c, const sigset_t *waiting)
{
    struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
    while (!interrupted) {
        ssize_t n = ppoll(&in, 1, NULL, waiting) < 0 ? -1 : read(STDIN_FILENO, c, 1);
        if (n >= 0 || errno != EINTR)
            return n;
    }
    return -1;
}

/* One line byte by byte: stdio would keep a copy. Too long a line is read to its end. */
static int read_line(char *out, size_t cap, size_t *len, const sigset_t *waiting, const char **why)
{
    char c;
    bool over = false, any = false;
    *len = 0;
    for (;;) {
        ssize_t n = read_byte(&c, waiting);
        if (n < 0 || (n == 0 && !any)) {
            *why = interrupted ? "interrupted" : "no password was given";
            return ERR_CLOSED;
        }
        any = true;
        if (n == 0 || c == '\n')
            break;
        if (*len + 1 < cap)
            out[(*len)++] = c;
        else
            over = true;
    }
    secret_wipe(&c, 1);
    if (*len && out[*len - 1] == '\r')
        --*len;
    out[*len] = 0;
    if (over || !*len || strlen(out) != *len) {
        *why = over ? "the password is too long" : *len ? "the password holds a zero byte" : "the password is empty";
        return ERR_USAGE;
    }
    return 0;
}

static int ask(const char *prompt, char *out, size_t cap, size_t *len, const sigset_t *waiting, const char **why)
{
    fputs(prompt, stderr);
    int rc = read_line(out, cap, len, waiting, why);
    fputc('\n', stderr);
    return rc;
}

static int ask_twice(char *out, size_t cap, size_t *len, const sigset_t *waiting, const char **why)
{
    char again[1024];
    size_t again_len = 0;
    int rc = ask("Password: ", out, cap, len, waiting, why);
    if (!rc)
        rc = ask("Again: ", again, sizeof again, &again_len, waiting, why);
    if (!rc && (again_len != *len || !ct_equal(out, again, *len))) {
        *why = "the two passwords differ";
        rc = ERR_USAGE;
    }
    secret_wipe(again, sizeof again);
    return rc;
}

/* prompt NULL: a new password, asked for twice. */
static int ask_quietly(const struct termios *old, const char *prompt, char *out, size_t cap, size_t *len,
                       const char **why)
{
    struct sigaction act = { .sa_handler = on_signal }, old_int, old_term;
    sigset_t ours, waiting;
    interrupted = 0;
    sigemptyset(&ours);
    sigaddset(&ours, SIGINT);
    sigaddset(&ours, SIGTERM);
    sigprocmask(SIG_BLOCK, &ours, &waiting);
    sigaction(SIGINT, &act, &old_int); /* so that a terminal is never left without echo */
    sigaction(SIGTERM, &act, &old_term);
    struct termios quiet = *old;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    int rc = prompt ? ask(prompt, out, cap, len, &waiting, why) : ask_twice(out, cap, len, &waiting, why);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, old);
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGTERM, &old_term, NULL);
    sigprocmask(SIG_SETMASK, &waiting, NULL);
    return rc;
}

int password_read(char *out, size_t cap, size_t *len, const char **why)
{
    struct termios old;
    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &old) < 0)
        return read_line(out, cap, len, NULL, why);
    return ask_quietly(&old, NULL, out, cap, len, why);
}

int password_ask(const char *prompt, char *out, size_t cap, size_t *len, const char **why)
{
    struct termios old;
    if (tcgetattr(STDIN_FILENO, &old) < 0) {
        *why = "no terminal to ask for the password at";
        return ERR_CLOSED;
    }
    return ask_quietly(&old, prompt, out, cap, len, why);
}
