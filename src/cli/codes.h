/*
 * What `gatehouse explain CODE` knows: our events and causes, and what Windows logs or shows, each with what is behind
 * it here and what to do. Plain tables and a pure parser; docs/events.md is made from the same tables (tools/manpages).
 *
 * Texts name commands in single quotes ('gatehouse check') and options as section.name. "; " parts two things to do.
 */
#ifndef GH_CLI_CODES_H
#define GH_CLI_CODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum code_kind {
    CODE_EVENT,        /* ours: an event's name                                */
    CODE_REFUSAL,      /* ours: `cause` of a connection that became no call    */
    CODE_CAUSE,        /* ours: `cause` of a call's end                        */
    CODE_CLIENT,       /* ours: `cause` of a dial or call of gatehouse connect */
    CODE_RASSSTP,      /* event of the source RasSstp, at the client or RRAS   */
    CODE_REMOTEACCESS, /* event of the source RemoteAccess, at RRAS            */
    CODE_RASCLIENT,    /* event of the source RasClient, at the client         */
    CODE_RAS,          /* error of remote access, 600 and up                   */
    CODE_HRESULT,      /* 32 bits, shown in hexadecimal or as signed decimal   */
    CODE_HTTP,         /* status in RasSstp 4                                  */
};

enum code_reach {                 /* can it come from a call to this server? */
                  CODE_HERE,      /* yes: cause and check say how                              */
                  CODE_RRAS,      /* in the log of a Windows server only; cause has our part   */
                  CODE_INSIDE,    /* the client's Windows by itself, before or after a call    */
                  CODE_EAP,       /* needs EAP, which this server does not offer               */
                  CODE_MODEM,     /* modem, ISDN, X.25 and serial lines                        */
                  CODE_TUNNEL,    /* PPTP, L2TP, IKEv2, PPPoE, IPX, SLIP, NetBEUI              */
                  CODE_ROUTER,    /* interfaces and policies of a Windows router or NPS        */
                  CODE_SHARING,   /* internet connection sharing                               */
                  CODE_REACH_MAX, /* how many there are */
};

struct code {
    uint32_t number;       /* 0: has a name only */
    const char *name;      /* ours; or Windows' symbol, NULL: none */
    const char *means;     /* what it is called, or when it is logged; our words */
    enum code_reach reach; /* where it comes from; what follows may be NULL unless it is CODE_HERE */
    const char *cause;     /* what leads to it here */
    const char *check;     /* what to look at and do */
    const char *see;       /* counterparts, comma-separated: ours for Windows', Windows' for ours; NULL: none */
    const char *shown;     /* Windows' events: "client", "server"; our events: the level */
    const char *fields;    /* our events: comma-separated; refusals: the answer; the client's causes: the exit status */
    const char *part;      /* our events: "server", "connection", "call": the part of the catalogue */
};

struct code_table {
    enum code_kind kind;
    const struct code *codes;
    const size_t *n;
};

/* All tables, in the order of `explain --list`. */
extern const struct code_table code_tables[];
extern const size_t code_tables_n;

/* From codes_ours.c, codes_client.c, codes_windows.c and codes_ras.c. */
extern const struct code codes_event[], codes_refusal[], codes_cause[], codes_client[], codes_rassstp[],
    codes_remoteaccess[], codes_rasclient[], codes_hresult[], codes_http[], codes_ras[];
extern const size_t codes_event_n, codes_refusal_n, codes_cause_n, codes_client_n, codes_rassstp_n,
    codes_remoteaccess_n, codes_rasclient_n, codes_hresult_n, codes_http_n, codes_ras_n;

/* What to say of a code that cannot be from here, in place of its cause and check. Never NULL but for CODE_HERE. */
const char *code_reach_text(enum code_reach reach);
const char *code_reach_name(enum code_reach reach); /* "here", "modem", ... */
const char *code_kind_name(enum code_kind kind);    /* "event", "hresult", ... */

/*
 * Finds a code however it is written: 0x800B010F, 800b010f, -2146762481, 2148204815; 691, "error 691"; "RasSstp 6",
 * "RasSstp:6", "RemoteAccess 20255"; 20227; 10054; "HTTP 503"; "binding-mismatch"; CERT_E_EXPIRED. Letters of either
 * case. "RasClient 20227 (691)" is the error in parentheses. 0; ERR_USAGE: this is no code in any spelling, nor a name;
 * ERR_CLOSED: well written, and not in the tables.
 */
MUST_USE int code_find(const char *text, const struct code_table **table, const struct code **code);

/* The event around an error, RasClient 20227 for "RasClient 20227 (691)"; NULL when text is no such thing. */
const struct code *code_event(const char *text, const struct code_table **table);

/* The next entry of c's name, in a later table: server and client have some causes in common. NULL: there is none. */
const struct code *code_namesake(const struct code *c, const struct code_table **table);

/* The code in its usual spelling: "0x800B010F", "691", "RasSstp 6", "binding-mismatch". */
void code_text(enum code_kind kind, const struct code *c, char *out, size_t cap);

/* The entry nearest to what was not found, by number or by name, for "did you mean"; NULL when nothing is near. */
const struct code *code_near(const char *text, const struct code_table **table);

/* The entry among our events and causes with this name of len bytes; NULL when there is none. */
const struct code *code_ours(const char *name, size_t len);

#endif
