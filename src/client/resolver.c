#include "client/resolver.h"

#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "priv/channel.h"
#include "priv/process.h"

void resolver_look_up(const struct resolver_ask *ask, struct resolver_answer *out)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV }, *list;
    char port[8];
    *out = (struct resolver_answer){ 0 };
    snprintf(out->host, sizeof out->host, "%s", ask->host);
    out->id = ask->id;
    snprintf(port, sizeof port, "%u", ask->port);
    int rc = getaddrinfo(ask->host, port, &hints, &list);
    if (rc) {
        snprintf(out->why, sizeof out->why, "%s", gai_strerror(rc));
        return;
    }
    for (struct addrinfo *a = list; a && out->n < RACE_MAX; a = a->ai_next)
        if ((a->ai_family == AF_INET || a->ai_family == AF_INET6) && a->ai_addrlen <= sizeof out->addr[0])
            memcpy(&out->addr[out->n++], a->ai_addr, a->ai_addrlen);
    freeaddrinfo(list);
    if (!out->n)
        snprintf(out->why, sizeof out->why, "no IPv4 or IPv6 address");
}

int resolver_main(void)
{
    struct resolver_ask ask;
    struct resolver_answer answer;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL); /* the monitor blocks what it waits for */
    process_hide();
    signal(SIGINT, SIG_IGN); /* Ctrl-C reaches the whole terminal's group: the monitor decides, by SIGTERM */
    signal(SIGHUP, SIG_IGN);
    if (process_sandbox(SANDBOX_RESOLVER, -1)) {
        log_error(NULL, "resolver-failed", "the sandbox cannot be set up");
        return 1;
    }
    for (;;) {
        ssize_t n = recv(PRIV_CHANNEL_FD, &ask, sizeof ask, 0);
        if (n <= 0)
            return 0;
        if (n != (ssize_t)sizeof ask)
            return 1;
        ask.host[sizeof ask.host - 1] = 0;
        resolver_look_up(&ask, &answer);
        if (send(PRIV_CHANNEL_FD, &answer, sizeof answer, MSG_NOSIGNAL) != (ssize_t)sizeof answer)
            return 0;
    }
}
