/*
 * What Windows logs and shows: events of RasSstp, RemoteAccess and RasClient, HRESULTs, HTTP status. Numbers and
 * meanings as in Microsoft's event and error lists; the words are ours.
 */
#include "cli/codes.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* ---- RasSstp: the SSTP service, of the client and of a Windows server ---- */

#define NO_STORE "a Windows server keeps this in its registry or HTTP.sys; here the configuration file is all there is"

const struct code codes_rassstp[] = {
    { 1, NULL, "the first request could not be sent: network, or the certificate is not trusted", CODE_HERE,
      "the client did not reach the port, or refused the certificate it was shown; the event's text has the HRESULT",
      "'gatehouse explain HRESULT'; 'gatehouse explain ADDRESS NAME' shows the certificate; 'gatehouse check'",
      "closed-early, tls-failed", "client" },
    { 2, NULL, "the answer to the first request did not come", CODE_HERE,
      "the connection was closed or fell silent between TLS and the answer: a limit, a device in between, or a server "
      "that is no SSTP server",
      "the log at that time: 'timed-out', 'refused'; whether name and port lead to this server", "timed-out, refused",
      "client" },
    { 3, NULL, "the answer is not HTTP/1.1", CODE_HERE,
      "this server answers HTTP/1.1 always: something else answered, a proxy or another server",
      "what listens on that address: 'gatehouse explain ADDRESS NAME METHOD URL', a web proxy on the way", NULL,
      "client" },
    { 4, NULL, "the server refused; the data is the HTTP status", CODE_HERE,
      "400: no vpn section; 401, 404: the request was no call; 503: draining, or all calls taken; 407: a proxy on the "
      "way",
      "'gatehouse explain HTTP STATUS'; 'gatehouse status'", "refused", "client" },
    { 5, NULL, "SSTP's own negotiation failed", CODE_HERE,
      "the stream was no SSTP any more, or a message broke the protocol: a faulty client or a device in between",
      "the line 'refused' of the connection: its cause and text", "refused", "client" },
    { 6, NULL, "ended by a security check; the event has the hashes of the certificate that the client saw", CODE_HERE,
      "the crypto binding failed: the client was shown another certificate than the one served to it, so somebody "
      "between "
      "them ends TLS; or, with an offload section, a front serves a certificate that is not configured",
      "compare the hashes with the line 'binding-mismatch' and 'gatehouse cert show FILE'; take the device out of the "
      "path, "
      "or add the front's certificate to offload.certificates",
      "binding-mismatch, binding-cert, binding-hash, binding-mac", "client" },
    { 7, NULL, "the service cannot open its store", CODE_RRAS, NO_STORE, NULL, "start-failed", "server" },
    { 8, NULL, "HTTP.sys cannot be set up", CODE_RRAS, "an address cannot be bound", NULL, "start-failed, listening",
      "server" },
    { 9, NULL, "the SSTP URL could not be reserved for the new settings", CODE_RRAS,
      "here the URL is reserved always, ahead of any web site", NULL, NULL, "server" },
    { 10, NULL, "the default SSTP URL could not be reserved", CODE_RRAS,
      "here the URL is reserved always, ahead of any web site", NULL, NULL, "server" },
    { 11, NULL, "there is no certificate for server authentication with a private key", CODE_RRAS,
      "no usable certificate is configured", "'gatehouse check'", "start-failed, certificate-unfit", "server" },
    { 12, NULL, "the certificate cannot be set up for IPv4", CODE_RRAS,
      "here one line of listen.address and one certificate serve a family; 'gatehouse check' finds one without the "
      "other",
      "'gatehouse check'", "start-failed", "server" },
    { 13, NULL, "the certificate cannot be set up for IPv6", CODE_RRAS,
      "here one line of listen.address and one certificate serve a family; 'gatehouse check' finds one without the "
      "other",
      "'gatehouse check'", "start-failed", "server" },
    { 14, NULL, "the client cannot set its route to the server", CODE_INSIDE,
      "the client's routing table, usually another VPN's doing", NULL, NULL, "client" },
    { 15, NULL, "the client cannot find out the server's address for its route", CODE_INSIDE,
      "the connection was lost at once, or the client goes through a proxy", NULL, NULL, "client" },
    { 16, NULL, "the certificate's extended key usage is not for servers", CODE_HERE,
      "the leaf that was served has an extended key usage without serverAuth and without anyExtendedKeyUsage",
      "'gatehouse explain ADDRESS NAME' for the certificate, 'gatehouse cert show FILE' for its usage; get one with "
      "serverAuth",
      "closed-early, certificate-unfit", "client" },
    { 17, NULL, "the service cannot read its parameters from the registry", CODE_RRAS, NO_STORE, NULL, "start-failed",
      "server" },
    { 18, NULL, "the registry's SHA-256 hash of the certificate is missing or not 32 bytes", CODE_RRAS,
      "here nobody writes hashes: they are taken from the certificate that each connection was shown, or from the "
      "files in "
      "offload.certificates",
      "'gatehouse check'", "start-failed, front-kept", "server" },
    { 19, NULL, "the registry's SHA-1 hash of the certificate is missing or not 20 bytes", CODE_RRAS,
      "here nobody writes hashes: they are taken from the certificate that each connection was shown, or from the "
      "files in "
      "offload.certificates",
      "'gatehouse check'", "start-failed, front-kept", "server" },
    { 20, NULL, "no memory for the configuration", CODE_RRAS, "start or reload fails for want of memory", NULL,
      "start-failed, reload-failed", "server" },
    { 21, NULL, "the hash of HTTP.sys' certificate cannot be determined", CODE_RRAS,
      "a certificate file cannot be used", "'gatehouse check'; 'gatehouse cert show FILE'",
      "start-failed, certificate-kept", "server" },
    { 22, NULL, "the service cannot be made to accept connections", CODE_RRAS, "the start is given up", NULL,
      "start-failed", "server" },
    { 23, NULL, "a web proxy wants a login, which SSTP of Windows cannot give", CODE_INSIDE,
      "a proxy on the client's way answered 407; this server never saw the request",
      "let the proxy pass this server's name without a login", NULL, "client" },
    { 24, NULL, "the certificates bound for IPv4 and for IPv6 differ", CODE_RRAS,
      "harmless here: a call is bound to the certificate that its own connection was shown, whichever that was",
      "'gatehouse explain ADDRESS NAME' for an address of each family", NULL, "server" },
    { 25, NULL, "the certificate that SSTP was given is missing", CODE_RRAS,
      "a certificate file is gone; while running, the last good one stays", "'gatehouse check'",
      "start-failed, certificate-kept", "server" },
    { 32, NULL, "SSTP's certificate is another than the web listener's", CODE_RRAS,
      "cannot happen here: what a connection was shown is what its call is bound to; with an offload section the same "
      "mistake is a front's certificate that is not configured",
      "with a front: 'gatehouse check', offload.certificates", "binding-mismatch", "server" },
    { 33, NULL, "the client could not set the server's cookies", CODE_INSIDE,
      "this server needs no cookies; a load balancer that sticks by cookie may", NULL, NULL, "client" },
};
const size_t codes_rassstp_n = COUNT(codes_rassstp);

/* ---- RemoteAccess: RRAS ---- */

const struct code codes_remoteaccess[] = {
    { 20049, NULL, "authentication did not end in time", CODE_RRAS,
      "the client did not answer the challenge, or not in "
      "time",
      "the line 'refused': cause and phase", "refused, auth-timeout, negotiation-timeout", "server" },
    { 20249, NULL, "a user failed to authenticate and was disconnected", CODE_RRAS,
      "the last try failed, or the client "
      "gave up after one",
      "the line 'login-failed': its reason", "login-failed, auth-failed, lost", "server" },
    { 20250, NULL, "a user was authenticated", CODE_RRAS, "the password was right", NULL, "login-ok", "server" },
    { 20253, NULL, "no network protocol could be agreed on", CODE_RRAS,
      "no IPv4 and no IPv6 came about, or the pool is "
      "empty",
      "the line 'refused': its cause; vpn.network", "refused, network-failed, no-address", "server" },
    { 20255, NULL, "PPP ended with an error; the text has the RAS error's words", CODE_RRAS,
      "a call that did not come up says its cause, phase and text",
      "the line 'refused' of the connection; before it 'login-failed' or 'binding-mismatch'", "refused, call-error",
      "server" },
    { 20271, NULL, "a user failed an authentication attempt; with address and reason", CODE_RRAS,
      "each attempt that fails is a line with user, address, method and reason",
      "by reason: 'gatehouse user list', 'gatehouse user passwd NAME'; no-auth-method: vpn.auth and the client's "
      "settings",
      "login-failed, refused, no-auth-method", "server" },
    { 20272, NULL, "the summary of a call: user, duration, bytes, reason", CODE_RRAS, "how a call that was up ended",
      NULL, "call-down", "server" },
    { 20274, NULL, "a user was given an address", CODE_RRAS, "packets pass", "'gatehouse sessions'", "call-up",
      "server" },
    { 20275, NULL, "the user with this address has disconnected", CODE_RRAS, "how a call that was up ended", NULL,
      "call-down", "server" },
};
const size_t codes_remoteaccess_n = COUNT(codes_remoteaccess);

/* ---- RasClient: the client's dialler, in the application log ---- */

const struct code codes_rasclient[] = {
    { 20220, NULL, "a connection was ended; with the error", CODE_HERE, "the call was up, or nearly",
      "'gatehouse explain ERROR'; the line 'call-down' with the same correlation id (corr)", "call-down", "client" },
    { 20221, NULL, "dialling begins; with the connection's settings", CODE_HERE, "the client has sent nothing yet",
      "its settings: tunnel type, authentication; CoId is our corr", NULL, "client" },
    { 20222, NULL, "the link to the server is being set up", CODE_HERE,
      "TCP, TLS and the SSTP request; when this is the last one before 20227, these failed",
      "the lines 'tls-failed', 'closed-early', 'refused' with that address", "call-request", "client" },
    { 20223, NULL, "the link to the server is up", CODE_HERE, "the server has answered 200; PPP begins",
      "when this is the last one before 20227, PPP failed: 'login-failed', 'refused'", "call-request", "client" },
    { 20224, NULL, "all links are up", CODE_HERE, "as 20223; SSTP has one link",
      "when this is the last one before 20227, PPP failed: 'login-failed', 'refused'", "call-request", "client" },
    { 20225, NULL, "connected", CODE_HERE, "packets pass", "'gatehouse sessions'", "call-up", "client" },
    { 20226, NULL, "a connection ended; with the reason", CODE_HERE, "the call ended, from either side",
      "'gatehouse explain REASON'; the line 'call-down' with the same correlation id (corr)", "call-down", "client" },
    { 20227, NULL, "dialling failed; with the error", CODE_HERE,
      "the error says why: a RAS error, or an HRESULT in decimal",
      "'gatehouse explain ERROR'; our lines with the same correlation id (corr)", "refused, login-failed, closed-early",
      "client" },
};
const size_t codes_rasclient_n = COUNT(codes_rasclient);

/* ---- HTTP status in RasSstp 4 ---- */

const struct code codes_http[] = {
    { 400, NULL, "Bad Request", CODE_HERE, "a request for the SSTP URI that breaks HTTP; or there is no vpn section",
      "the line 'refused': cause vpn-off or bad-request", "vpn-off, bad-request", "client" },
    { 401, NULL, "Unauthorized", CODE_HERE,
      "another method than SSTP_DUPLEX_POST on the SSTP URI: a load balancer's probe; "
      "it needs no login",
      "vpn.probe-answer chooses the answer", "probe", "client" },
    { 404, NULL, "Not Found", CODE_HERE,
      "the SSTP URI without its final slash; a probe with vpn.probe-answer = 404; or "
      "another web server answered",
      "'gatehouse explain ADDRESS NAME METHOD URL'", "bad-request, probe", "client" },
    { 407, NULL, "Proxy Authentication Required", CODE_INSIDE,
      "a web proxy on the client's way; this server never saw the "
      "request",
      "let the proxy pass this server's name without a login", NULL, "client" },
    { 414, NULL, "URI Too Long", CODE_HERE, "a request line that goes on and on and may still ask for the SSTP URI",
      "a scanner", "bad-request", "client" },
    { 431, NULL, "Request Header Fields Too Large", CODE_HERE,
      "more than 8192 bytes or 64 lines in the head of a request "
      "for the SSTP URI",
      "no SSTP client sends this; a proxy that adds headers", "bad-request", "client" },
    { 502, NULL, "Bad Gateway", CODE_HERE, "the web server behind cannot be reached; a call is not affected",
      "start the web server, or correct web.upstream; an SSTP client that sees it asked for another path",
      "upstream-down", "client" },
    { 503, NULL, "Service Unavailable", CODE_HERE, "no new calls while draining, or vpn.max-calls are up",
      "'gatehouse status'; 'gatehouse drain --off'; vpn.max-calls", "draining, call-limit", "client" },
    { 505, NULL, "HTTP Version Not Supported", CODE_HERE, "a call that is not HTTP/1.1",
      "a proxy that rewrites requests", "bad-request", "client" },
};
const size_t codes_http_n = COUNT(codes_http);

/* ---- HRESULTs ---- */

#define SEE_CERT   "'gatehouse explain ADDRESS NAME' for what is served there; "
#define SEE_REACH  "closed-early, tls-failed"
#define CHECK_PATH "whether the name leads to this server; whether a firewall lets TCP 443 through both ways"
#define REVOCATION                                                                                                     \
    "'openssl x509 -noout -ext authorityInfoAccess,crlDistributionPoints -in FILE' tells where Windows asks; let "     \
    "clients reach that, or staple an OCSP response: certificates.ocsp"

const struct code codes_hresult[] = {
    { 0x80070005, "E_ACCESSDENIED", "access denied", CODE_INSIDE,
      "with SSTP: a web proxy on the client's way wants a login (RasSstp 23); this server never saw the request",
      "let the proxy pass this server's name without a login", NULL },
    { 0x80070040, "ERROR_NETNAME_DELETED", "the connection went away while it was being set up", CODE_HERE,
      "the connection was closed during TLS or the first request: no certificate matches and tls.no-match is alert, a "
      "limit of this server, or a device in between",
      SEE_CERT "the log at that time: 'tls-failed', 'refused'", "tls-failed, refused" },
    { 0x80070079, "ERROR_SEM_TIMEOUT", "a step took too long", CODE_HERE, "no answer over the network in time",
      CHECK_PATH "; path MTU", "timed-out" },
    { 0x800704C7, "ERROR_CANCELLED", "cancelled by the user", CODE_INSIDE, "somebody at the client gave up", NULL,
      NULL },
    { 0x800704C9, "ERROR_CONNECTION_REFUSED", "the connection was refused", CODE_HERE,
      "nothing listens there, or a firewall refuses; Windows also shows it for a server that has no call left, which "
      "here "
      "is 503: draining, or vpn.max-calls",
      "'gatehouse status'; 'ss -ltn'; 'gatehouse explain ADDRESS'", "refused, draining, call-limit" },
    { 0x800704CA, "ERROR_GRACEFUL_DISCONNECT", "the connection was closed in order", CODE_HERE,
      "this server hung up: the administrator, or its end", "the line 'call-down': its cause", "call-down" },
    { 0x800704CF, "ERROR_NETWORK_UNREACHABLE", "no route to the server's network", CODE_INSIDE,
      "the client has no route, often for IPv6", "whether the name has an AAAA record that clients cannot use", NULL },
    { 0x800704D0, "ERROR_HOST_UNREACHABLE", "no route to the server", CODE_HERE,
      "a router on the way says so, or nobody has "
      "that address",
      CHECK_PATH, NULL },
    { 0x800704D4, "ERROR_CONNECTION_ABORTED", "the client's own side broke the connection off", CODE_HERE,
      "a security program on the client, a web proxy, or a change of its network",
      "dial without the proxy or security program; the line with that address here: 'closed-early', 'lost'",
      "closed-early, lost" },
    { 0x800705B4, "ERROR_TIMEOUT", "a step took too long", CODE_HERE, "no answer over the network in time",
      CHECK_PATH "; path MTU", "timed-out" },
    { 0x80072743, "WSAENETUNREACH", "no route to the server's network", CODE_INSIDE,
      "the client has no route, often for IPv6", "whether the name has an AAAA record that clients cannot use", NULL },
    { 0x80072745, "WSAECONNABORTED", "the client's own side broke the connection off", CODE_HERE,
      "a security program on the client, or packets that were not acknowledged",
      "dial without the security program; the line with that address here: 'closed-early', 'lost'",
      "closed-early, lost" },
    { 0x80072746, "WSAECONNRESET", "the other side reset the connection", CODE_HERE,
      "a device in between resets TLS on 443; or the connection hit a limit here, or the server was stopped; on a "
      "Windows "
      "server it means a listener without a certificate, here tls.no-match = alert",
      "the log at that time: 'refused', 'tls-failed', 'stopping'; " SEE_CERT CHECK_PATH,
      "refused, tls-failed, stopping" },
    { 0x8007274C, "WSAETIMEDOUT", "no answer", CODE_HERE,
      "packets to the port are dropped: a firewall, a missing port "
      "forwarding, or the wrong address",
      CHECK_PATH "; 'gatehouse explain ADDRESS'", NULL },
    { 0x8007274D, "WSAECONNREFUSED", "nothing listens there", CODE_HERE,
      "the server does not run, or listens on another address or family",
      "'gatehouse status'; 'gatehouse explain ADDRESS'; listen.address has both families?", "listening, start-failed" },
    { 0x80072751, "WSAEHOSTUNREACH", "no route to the server", CODE_HERE,
      "a router on the way says so, or nobody has that "
      "address",
      CHECK_PATH, NULL },
    { 0x80072AF9, "WSAHOST_NOT_FOUND", "the server's name does not exist", CODE_INSIDE,
      "the name's DNS record is missing, or "
      "the client asks another DNS server",
      "'nslookup NAME' at the client", NULL },
    { 0x80072AFA, "WSATRY_AGAIN", "the DNS server did not answer", CODE_INSIDE, "the client's DNS",
      "'nslookup NAME' at the client", NULL },
    { 0x80072AFC, "WSANO_DATA", "the server's name has no address", CODE_INSIDE, "the name has no A and no AAAA record",
      "'nslookup NAME' at the client", NULL },
    { 0x80072EE2, "ERROR_WINHTTP_TIMEOUT", "no answer in time", CODE_HERE,
      "packets are dropped, or the server or a proxy is "
      "silent",
      CHECK_PATH, "timed-out" },
    { 0x80072EE7, "ERROR_WINHTTP_NAME_NOT_RESOLVED", "the server's or the proxy's name does not exist", CODE_INSIDE,
      "the name's DNS record is missing", "'nslookup NAME' at the client; its proxy settings", NULL },
    { 0x80072EFD, "ERROR_WINHTTP_CANNOT_CONNECT", "no connection to the server or proxy", CODE_HERE,
      "nothing listens there, or a firewall", CHECK_PATH "; 'gatehouse explain ADDRESS'", NULL },
    { 0x80072EFE, "ERROR_WINHTTP_CONNECTION_ERROR", "the connection was lost", CODE_HERE,
      "it was closed during TLS or the request: a limit, no certificate, a device in between",
      "the log at that time: 'refused', 'tls-failed'", "refused, tls-failed" },
    { 0x80072EFF, "ERROR_INTERNET_CONNECTION_RESET", "the other side reset the connection", CODE_HERE, "as 0x80072746",
      "'gatehouse explain 0x80072746'", "refused, tls-failed" },
    { 0x80072F05, "ERROR_WINHTTP_SECURE_CERT_DATE_INVALID", "the certificate has expired or is not valid yet",
      CODE_HERE, "the certificate's dates, or the client's clock", SEE_CERT "renew it",
      "certificate-expired, closed-early" },
    { 0x80072F06, "ERROR_WINHTTP_SECURE_CERT_CN_INVALID", "the certificate does not have the name that was dialled",
      CODE_HERE, "another certificate is served for that name, or it is dialled by address",
      SEE_CERT "dial by a name that "
               "it has",
      "closed-early" },
    { 0x80072F0D, "ERROR_WINHTTP_SECURE_INVALID_CA", "the certificate's issuer is not trusted", CODE_HERE,
      "self-signed, a private authority, or the chain file lacks an issuer",
      SEE_CERT "'gatehouse check'; put the root into "
               "the client's machine store",
      SEE_REACH },
    { 0x80072F19, "ERROR_WINHTTP_SECURE_CERT_REV_FAILED", "revocation could not be checked", CODE_HERE,
      "the client cannot reach the authority's CRL or OCSP server", REVOCATION, "closed-early, ocsp-missing" },
    { 0x80072F78, "ERROR_WINHTTP_INVALID_SERVER_RESPONSE", "the answer is not HTTP", CODE_HERE,
      "something else answers on that port", "whether the name leads to this server; listen.proxy-from", NULL },
    { 0x80072F7D, "ERROR_WINHTTP_SECURE_CHANNEL_ERROR", "TLS failed", CODE_HERE,
      "no common version or cipher, or a device in between",
      "tls.min-version and tls.ciphers against the client's age; the line 'tls-failed': its reason", "tls-failed" },
    { 0x80072F89, "ERROR_WINHTTP_SECURE_INVALID_CERT", "the certificate is not acceptable", CODE_HERE,
      "one of: dates, name, issuer, usage", SEE_CERT "'gatehouse check'", SEE_REACH },
    { 0x80072F8A, "ERROR_WINHTTP_SECURE_CERT_REVOKED", "the certificate has been revoked", CODE_HERE,
      "its authority says so", "get a new one; the changed file is taken into use by itself", "ocsp-refused" },
    { 0x80072F8F, "ERROR_WINHTTP_SECURE_FAILURE", "the certificate was refused, for one reason or more", CODE_HERE,
      "one of: dates, name, issuer, usage, revocation; or the client's clock", SEE_CERT "'gatehouse check'",
      SEE_REACH },
    { 0x80090302, "SEC_E_UNSUPPORTED_FUNCTION", "TLS asked for something that the client does not have", CODE_HERE,
      "no common version or cipher", "tls.min-version, tls.ciphers", "tls-failed" },
    { 0x80090304, "SEC_E_INTERNAL_ERROR", "the client's TLS failed inside", CODE_HERE,
      "seen for keys or signatures that an old client cannot verify",
      "an RSA certificate beside the ECDSA one; the line "
      "'tls-failed': its reason",
      "tls-failed" },
    { 0x80090308, "SEC_E_INVALID_TOKEN", "what came is not TLS", CODE_HERE,
      "something else answers on that port, or a proxy's error page in plain text",
      "whether name and port lead to this server", "tls-failed" },
    { 0x8009030D, "SEC_E_UNKNOWN_CREDENTIALS", "the client's own credentials cannot be used", CODE_INSIDE,
      "the client's certificate store; this server asks for no client certificate", NULL, NULL },
    { 0x80090322, "SEC_E_WRONG_PRINCIPAL", "the certificate does not have the name that was dialled", CODE_HERE,
      "another certificate is served for that name, or it is dialled by address", SEE_CERT "dial by a name that it has",
      SEE_REACH },
    { 0x80090325, "SEC_E_UNTRUSTED_ROOT", "the certificate's root is not trusted", CODE_HERE,
      "self-signed, a private authority, or the chain file lacks an issuer",
      SEE_CERT "'gatehouse check'; put the root into the client's machine store", SEE_REACH },
    { 0x80090326, "SEC_E_ILLEGAL_MESSAGE", "a TLS message was not understood, or an alert came", CODE_HERE,
      "no common version or cipher; no certificate matches and tls.no-match is alert; or a device in between",
      "tls.min-version, tls.ciphers; " SEE_CERT "the line 'tls-failed': its reason", "tls-failed" },
    { 0x80090327, "SEC_E_CERT_UNKNOWN", "something about the certificate could not be processed", CODE_HERE,
      "usage or names of the certificate, or an extension that the client does not know",
      SEE_CERT "'gatehouse cert show FILE'", SEE_REACH },
    { 0x80090328, "SEC_E_CERT_EXPIRED", "the certificate has expired", CODE_HERE,
      "the certificate's dates, or the client's clock", SEE_CERT "renew it", "certificate-expired, closed-early" },
    { 0x80090330, "SEC_E_DECRYPT_FAILURE", "a record could not be decrypted", CODE_HERE,
      "bytes were changed on the way", "a device in between", "tls-failed" },
    { 0x80090331, "SEC_E_ALGORITHM_MISMATCH", "no common TLS version, cipher or signature", CODE_HERE,
      "an old client against tls.min-version, tls.ciphers, or an ECDSA certificate alone",
      "lower tls.min-version, widen tls.ciphers, or add an RSA certificate for the same name", "tls-failed" },
    { 0x80090349, "SEC_E_CERT_WRONG_USAGE", "the certificate is not for servers", CODE_HERE,
      "its extended key usage is without serverAuth", SEE_CERT "get one with serverAuth",
      "certificate-unfit, closed-early" },
    { 0x80092010, "CRYPT_E_REVOKED", "the certificate has been revoked", CODE_HERE, "its authority says so",
      "get a new one; the changed file is taken into use by itself", "ocsp-refused" },
    { 0x80092012, "CRYPT_E_NO_REVOCATION_CHECK", "revocation could not be checked", CODE_HERE,
      "the certificate names no CRL or OCSP server that Windows can use, as private authorities' often do",
      "issue it with a CRL that clients can reach; " REVOCATION, "closed-early, ocsp-missing" },
    { 0x80092013, "CRYPT_E_REVOCATION_OFFLINE", "the server for revocation cannot be reached", CODE_HERE,
      "the client cannot reach the authority's CRL or OCSP server: it is down, private, or behind this very VPN",
      REVOCATION, "closed-early, ocsp-missing, ocsp-stale" },
    { 0x80092014, "CRYPT_E_NOT_IN_REVOCATION_DATABASE", "the OCSP server does not know the certificate", CODE_HERE,
      "the authority's doing", "ask the authority; get a new one", "closed-early" },
    { 0x800B0101, "CERT_E_EXPIRED", "the certificate has expired or is not valid yet", CODE_HERE,
      "the certificate's dates, or the client's clock", SEE_CERT "renew it: a changed file is taken into use by itself",
      "certificate-expired, certificate-expires, closed-early" },
    { 0x800B0109, "CERT_E_UNTRUSTEDROOT", "the certificate's root is not trusted", CODE_HERE,
      "self-signed, or a private authority whose root is not in the client's machine store (the user's is not enough)",
      SEE_CERT "put the root into Local Computer, Trusted Root Certification Authorities", SEE_REACH },
    { 0x800B010A, "CERT_E_CHAINING", "no chain to a trusted root", CODE_HERE,
      "the chain file has the leaf alone, or the wrong issuers", "'gatehouse check'; put every issuer behind the leaf",
      SEE_REACH },
    { 0x800B010C, "CERT_E_REVOKED", "the certificate has been revoked", CODE_HERE, "its authority says so",
      "get a new one; the changed file is taken into use by itself", "ocsp-refused" },
    { 0x800B010E, "CERT_E_REVOCATION_FAILURE", "the check for revocation failed", CODE_HERE,
      "the client cannot reach the authority's CRL or OCSP server, or its answer is not usable", REVOCATION,
      "closed-early, ocsp-missing, ocsp-stale" },
    { 0x800B010F, "CERT_E_CN_NO_MATCH", "the certificate does not have the name that was dialled", CODE_HERE,
      "another certificate is served for that name, the certificate lacks it, or the server is dialled by address",
      SEE_CERT "dial by a name that it has, or get one with that name", "closed-early" },
    { 0x800B0110, "CERT_E_WRONG_USAGE", "the certificate is not for servers", CODE_HERE,
      "its extended key usage is without serverAuth", SEE_CERT "get one with serverAuth",
      "certificate-unfit, closed-early" },
    { 0x800B0111, "TRUST_E_EXPLICIT_DISTRUST", "the client's administrator distrusts the certificate", CODE_INSIDE,
      "it, or an issuer of it, is in the client's list of distrusted certificates", NULL, NULL },
    { 0x800B0112, "CERT_E_UNTRUSTEDCA", "an issuer of the certificate is not trusted", CODE_HERE,
      "a policy of the client", SEE_CERT "get one from another authority", SEE_REACH },
    { 0x800B0114, "CERT_E_INVALID_NAME", "a name in the certificate is not allowed", CODE_HERE,
      "an issuer limits the names it may certify", SEE_CERT "get one from another authority", SEE_REACH },
};
const size_t codes_hresult_n = COUNT(codes_hresult);
