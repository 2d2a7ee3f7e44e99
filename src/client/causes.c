#include "client/causes.h"

#include <stdarg.h>
#include <stdio.h>

#define SERVER_LOG "the server's log at that time; 'gatehouse probe URL' shows what it serves"

const struct client_cause_info client_causes[CLIENT_CAUSES] = {
    [CLIENT_OK] = { "ok", 0, "", false, "ended", "" },
    [CLIENT_RESOLVE] = { "resolve", CLIENT_EXIT_NETWORK, "RasSstp 1", false, "the name has no address",
                         "check the name in the URL and this machine's DNS" },
    [CLIENT_UNREACHABLE] = { "unreachable", CLIENT_EXIT_NETWORK, "RasSstp 1", false, "no address of the server answers",
                             "check address and port; where only a web proxy leads out, give it with --proxy" },
    [CLIENT_PROXY_DOWN] = { "proxy-unreachable", CLIENT_EXIT_PROXY, "RasSstp 1", false,
                            "the web proxy does not lead to the server",
                            "check --proxy, proxy.url or https_proxy; --proxy none dials directly" },
    [CLIENT_PROXY_REFUSED] = { "proxy-refused", CLIENT_EXIT_PROXY, "RasSstp 1", true,
                               "the web proxy refuses the connection",
                               "ask whoever runs the proxy to allow CONNECT to this server and port" },
    [CLIENT_PROXY_LOGIN] = { "proxy-login", CLIENT_EXIT_PROXY, "RasSstp 23", true, "the web proxy wants another login",
                             "give user and password: --proxy http://USER@HOST:PORT asks, or proxy.user and "
                             "proxy.password-file" },
    [CLIENT_TLS] = { "tls", CLIENT_EXIT_CERTIFICATE, "RasSstp 1", false, "TLS could not be set up",
                     "what listens there may be no TLS server, or one too old for TLS 1.2: 'gatehouse probe URL' "
                     "tells" },
    [CLIENT_CERTIFICATE] = { "certificate", CLIENT_EXIT_CERTIFICATE, "RasSstp 1", true,
                             "the server's certificate is refused",
                             "'gatehouse probe URL' shows it; trust its authority with --ca FILE, or this one "
                             "certificate with --pin; "
                             "if it was good before, somebody may be in between" },
    [CLIENT_HTTP] = { "http", CLIENT_EXIT_REFUSED, "RasSstp 4", true,
                      "the server does not take SSTP calls at this address", "check name and port; " SERVER_LOG },
    [CLIENT_HTTP_BUSY] = { "busy", CLIENT_EXIT_REFUSED, "RasSstp 4", false, "the server takes no calls now",
                           "try later" },
    [CLIENT_HTTP_TIMEOUT] = { "http-timeout", CLIENT_EXIT_REFUSED, "RasSstp 2", false, "no answer to the SSTP request",
                              "something between may hold it up; " SERVER_LOG },
    [CLIENT_SSTP_REFUSED] = { "sstp-refused", CLIENT_EXIT_REFUSED, "RasSstp 5", true,
                              "the server refuses the call (CALL_CONNECT_NAK)", SERVER_LOG },
    [CLIENT_SSTP] = { "sstp", CLIENT_EXIT_REFUSED, "RasSstp 5", false, "SSTP broke off", SERVER_LOG },
    [CLIENT_TIMEOUT] = { "timeout", CLIENT_EXIT_PPP, "RasSstp 5", false, "the negotiation came to no end", SERVER_LOG },
    [CLIENT_NO_METHOD] = { "no-method", CLIENT_EXIT_LOGIN, "RasClient 20227 (919)", true,
                           "no way to log in that both sides allow",
                           "allow the server's method with --auth, if it is safe enough: pap and chap show the "
                           "password to who holds the "
                           "server's certificate" },
    [CLIENT_LOGIN] = { "login", CLIENT_EXIT_LOGIN, "RasClient 20227 (691)", true, "the server refuses the login",
                       "check user and password; 'gatehouse explain CODE' tells what the code means" },
    [CLIENT_SERVER_PROOF] = { "server-proof", CLIENT_EXIT_LOGIN, "RasClient 20227 (691)", true,
                              "the server does not know the password: it is not the one that the account is on",
                              "check whose server this is before you give it a password again" },
    [CLIENT_BINDING] = { "binding", CLIENT_EXIT_PPP, "RasSstp 6", true,
                         "the server refuses the crypto binding: it thinks that another certificate was served",
                         "somebody between ends TLS, or the server has the hash of another certificate stored "
                         "(Windows: "
                         "KB 947026): 'gatehouse probe URL' tells which" },
    [CLIENT_PPP] = { "ppp", CLIENT_EXIT_PPP, "RasClient 20227 (718)", false, "PPP could not be set up", SERVER_LOG },
    [CLIENT_NO_ADDRESS] = { "no-address", CLIENT_EXIT_PPP, "RasClient 20227 (735)", false, "the server gave no address",
                            "its pool may be used up; " SERVER_LOG },
    [CLIENT_LOCAL] = { "local", CLIENT_EXIT_LOCAL, "", true, "this machine's network cannot be set", "" },
    [CLIENT_LOST] = { "lost", CLIENT_EXIT_LOST, "RasClient 20227 (629)", false, "the connection broke", "" },
    [CLIENT_SILENT] = { "silent", CLIENT_EXIT_LOST, "RasClient 20227 (829)", false,
                        "nothing is heard of the server any more", "" },
    [CLIENT_HUNG_UP] = { "hung-up", CLIENT_EXIT_LOST, "RasClient 20226 (629)", false, "the server ended the call",
                         "the server's log tells why" },
    [CLIENT_NETWORK_CHANGED] = { "network-changed", CLIENT_EXIT_LOST, "RasSstp 15", false,
                                 "this machine's address changed", "" },
    [CLIENT_CONFIGURATION] = { "configuration", 2, "", true, "what the configuration names cannot be used",
                               "correct what it names, and start again" },
    [CLIENT_INTERNAL] = { "internal", 1, "", false, "something went wrong inside",
                          "report this with the lines before it" },
};

void client_end_set(struct client_end *e, enum client_cause cause, const char *fmt, ...)
{
    va_list ap;
    *e = (struct client_end){ .cause = cause };
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    for (unsigned char *c = (unsigned char *)e->text; *c; c++)
        if (*c < 0x20 || *c >= 0x7f)
            *c = '?';
}

const char *client_end_ras(const struct client_end *e)
{
    return e->ras ? e->ras : client_causes[e->cause].ras;
}

const char *client_end_remedy(const struct client_end *e)
{
    return e->remedy ? e->remedy : client_causes[e->cause].remedy;
}
