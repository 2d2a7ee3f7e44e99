/*
 * What an SSTP server really serves: each address of its name is asked by itself, one connection after the other, about
 * a dozen in all. Nothing is sent that a browser or an SSTP client would not send, nobody logs in unless asked to.
 *
 * probe_run() collects (blocking; a server that is silent at any stage costs less than a minute an address);
 * probe_judge() is pure: what is collected goes in, findings and a verdict for each kind of client come out.
 */
#ifndef GH_CLIENT_PROBE_H
#define GH_CLIENT_PROBE_H

#include "client/call.h"
#include "client/causes.h"
#include "client/race.h"
#include "http/url.h"
#include "tls/client.h"

#define PROBE_CHAIN_MAX 6

enum probe_version { PROBE_TLS10, PROBE_TLS11, PROBE_TLS12, PROBE_TLS13, PROBE_VERSIONS };

struct probe_tls { /* one kind of handshake */
    bool tried, good;
    char error[160]; /* not good: why */
    char version[16], cipher[64], alpn[16];
    struct tls_verdict verdict;
    struct tls_peer_cert chain[PROBE_CHAIN_MAX];
    unsigned n_chain;
};

struct probe_http { /* the answer to GET or HEAD on the SSTP URI */
    bool tried;
    int status; /* 0: none, see error */
    char reason[80], server[80], location[256], error[160];
};

struct probe_call { /* the real request */
    bool tried;
    int status; /* of HTTP; 0: none */
    char server[80];
    bool acked;        /* CALL_CONNECT_ACK came */
    uint8_t hash_mask; /* that it offers */
    unsigned methods;  /* 1 << enum ppp_auth_method each */
    uint8_t first;     /* enum ppp_auth_method that was asked for first; PPP_AUTH_NONE: none of ours, or none at all */
    char unknown_auth[24]; /* hex of option 3 of a method unknown to us; "" */
    bool lcp;              /* PPP answered */
    struct client_end end; /* CLIENT_OK: all went as planned */
};

struct probe_login {
    bool tried, up;
    uint8_t hash, method;
    uint32_t ip4, peer, dns[2];
    uint64_t ms;
    struct client_end end;
};

struct probe_address {
    union race_addr addr;
    char text[64];
    bool tcp;
    char tcp_error[96];
    uint64_t tcp_ms;
    bool version[PROBE_VERSIONS]; /* is spoken */
    char version_cipher[PROBE_VERSIONS][64];
    bool cbc_tried, cbc;          /* TLS 1.2 with AES-CBC and SHA-1, all that older RouterOS has */
    struct probe_tls sni, no_sni; /* the name is sent, or not; for an address there is no_sni alone */
    struct probe_http get, head;
    struct probe_call call;
    struct probe_login login;
};

struct probe_report {
    struct http_url url;
    char resolve_error[96];
    struct probe_address address[RACE_MAX];
    size_t n;
};

struct probe_options {
    const char *ca_pem; /* NULL: the system's authorities count */
    size_t ca_len;
    const char *system_pem;
    size_t system_len;
    const char *user, *password; /* NULL: nobody logs in */
    bool insecure;               /* log in although the certificate is not good */
    uint8_t auth[5];             /* for the login */
    unsigned family;             /* 4, 6; 0: both */
    void (*progress)(void *arg, const char *address, const char *what); /* before each step; may be NULL */
    void *arg;
    struct rng rng;
};

/* addresses come resolved. Fills out->address; ERR_NOMEM, ERR_USAGE (bad CA, text in err). */
MUST_USE int probe_run(const struct http_url *url, const struct probe_options *o, const union race_addr *addr, size_t n,
                       struct probe_report *out, char *err, size_t cap);

/* ---- judgement ---- */

enum probe_severity { PROBE_INFO, PROBE_WARNING, PROBE_ERROR };

struct probe_finding {
    enum probe_severity severity;
    const char *code; /* stable: "leaf-differs-by-family" */
    char text[300];
    char remedy[300];
};

enum probe_client {
    PROBE_WINDOWS_7,
    PROBE_WINDOWS_10,
    PROBE_WINDOWS_11,
    PROBE_ROUTEROS,
    PROBE_SSTPC,
    PROBE_GATEHOUSE,
    PROBE_CLIENTS
};

enum probe_answer { PROBE_NO, PROBE_IF, PROBE_YES };

struct probe_client_verdict {
    enum probe_answer connects;
    char why[240]; /* PROBE_NO: what stops it; PROBE_IF: what it depends on */
};

#define PROBE_FINDINGS_MAX 64

struct probe_judgement {
    struct probe_finding finding[PROBE_FINDINGS_MAX];
    size_t n;
    struct probe_client_verdict client[PROBE_CLIENTS];
    bool same_leaf; /* every address, with and without SNI; false when none was shown */
    int kb947026;   /* which of the four scenarios of KB 947026 this looks like; 3 is the good one; 0: none */
    char kb947026_text[300], kb947026_cure[300];
};

void probe_judge(const struct probe_report *r, int64_t now_s, struct probe_judgement *out);

/* Exit status of the command: some client could not connect. */
MUST_USE bool probe_fails_somewhere(const struct probe_judgement *j);

const char *probe_client_name(enum probe_client c);    /* "windows-10" */
const char *probe_method_name(enum ppp_auth_method m); /* as client_method_name(), but "eap": LCP does not tell more */
/* Option 3 of a method that we do not have: "mschapv1", or its hex. out: 24 bytes. */
void probe_unknown_text(const struct probe_call *c, char *out);
const char *probe_version_name(enum probe_version v); /* "TLSv1.2" */

#endif
