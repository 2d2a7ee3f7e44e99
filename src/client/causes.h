/*
 * Why a dial failed or a call ended: one table with the name that scripts see, the exit status, the event that a
 * Windows client would log for it, and what to do.
 */
#ifndef GH_CLIENT_CAUSES_H
#define GH_CLIENT_CAUSES_H

#include <stdbool.h>

enum client_cause {
    CLIENT_OK,              /* ended because we wanted it                           */
    CLIENT_RESOLVE,         /* the server's (or proxy's) name has no address        */
    CLIENT_UNREACHABLE,     /* TCP: refused, no route, no answer                    */
    CLIENT_PROXY_DOWN,      /* the same about the web proxy                         */
    CLIENT_PROXY_REFUSED,   /* it answered CONNECT with something else than 2xx     */
    CLIENT_PROXY_LOGIN,     /* 407: it wants a login, or another one                */
    CLIENT_TLS,             /* handshake failed                                     */
    CLIENT_CERTIFICATE,     /* the certificate was judged bad                       */
    CLIENT_HTTP,            /* the answer to the SSTP request is not HTTP/1.1 200   */
    CLIENT_HTTP_BUSY,       /* 503: the server takes no calls now                   */
    CLIENT_HTTP_TIMEOUT,    /* no answer to the SSTP request                        */
    CLIENT_SSTP_REFUSED,    /* CALL_CONNECT_NAK                                     */
    CLIENT_SSTP,            /* ABORT either way, malformed messages, framing lost   */
    CLIENT_TIMEOUT,         /* SSTP or PPP negotiation took too long                */
    CLIENT_NO_METHOD,       /* no authentication method in common                   */
    CLIENT_LOGIN,           /* user or password refused, account disabled, expired  */
    CLIENT_SERVER_PROOF,    /* the server does not know our password: not our server */
    CLIENT_BINDING,         /* the server refused our crypto binding                */
    CLIENT_PPP,             /* LCP, IPCP: no agreement                              */
    CLIENT_NO_ADDRESS,      /* the server gave us none                              */
    CLIENT_LOCAL,           /* interface, routes or DNS here cannot be set          */
    CLIENT_LOST,            /* was up: the connection broke                         */
    CLIENT_SILENT,          /* was up: nothing heard, echoes unanswered             */
    CLIENT_HUNG_UP,         /* was up: the server ended the call                    */
    CLIENT_NETWORK_CHANGED, /* was up: our own address is gone                     */
    CLIENT_CONFIGURATION,   /* what it names cannot be used: files of authorities, lists  */
    CLIENT_INTERNAL,        /* out of memory, a bug                                 */
    CLIENT_CAUSES
};

enum { /* exit statuses of `gatehouse connect` beside those of cli.h (0 good, 1 other, 2 usage, 3 no daemon) */
       CLIENT_EXIT_NETWORK = 4,     /* name, TCP                          */
       CLIENT_EXIT_PROXY = 5,       /* the web proxy                      */
       CLIENT_EXIT_CERTIFICATE = 6, /* TLS and certificate                */
       CLIENT_EXIT_REFUSED = 7,     /* HTTP and SSTP: not this server     */
       CLIENT_EXIT_LOGIN = 8,       /* user, password, method             */
       CLIENT_EXIT_PPP = 9,         /* PPP, crypto binding, no address    */
       CLIENT_EXIT_LOCAL = 10,      /* this machine's settings            */
       CLIENT_EXIT_LOST = 11,       /* was up, and --once                 */
};

struct client_cause_info {
    const char *name; /* stable: "certificate" */
    int exit_status;
    const char *ras;  /* "RasSstp 2", "RemoteAccess 20227 (691)": what Windows logs for it; "" when nothing */
    bool permanent;   /* a first dial that fails so is not tried again: it would fail the same way */
    const char *text; /* one line, lower case */
    const char *remedy;
};

extern const struct client_cause_info client_causes[CLIENT_CAUSES];

/* One failure, with what is known about it. All text is printable: what a stranger sent has been cleaned. */
struct client_end {
    enum client_cause cause;
    char text[256];     /* what happened: "the proxy answers 403 Forbidden" */
    const char *ras;    /* static; instead of the cause's, NULL: that */
    const char *remedy; /* static; the same */
};

/* Fills e, control characters replaced by '?'. */
__attribute__((format(printf, 3, 4))) void client_end_set(struct client_end *e, enum client_cause cause,
                                                          const char *fmt, ...);
const char *client_end_ras(const struct client_end *e);
const char *client_end_remedy(const struct client_end *e);

#endif
