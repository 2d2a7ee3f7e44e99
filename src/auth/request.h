/*
 * What the PPP side asks about a login and what whoever verifies it (the users file, RADIUS) answers. Here
 * and not in ppp/, since verifiers know nothing of PPP.
 */
#ifndef GH_AUTH_REQUEST_H
#define GH_AUTH_REQUEST_H

#include <stdint.h>

enum ppp_auth_method { /* weakest first */
                       PPP_AUTH_NONE,
                       PPP_AUTH_PAP,
                       PPP_AUTH_CHAP_MD5,
                       PPP_AUTH_MSCHAPV2,
                       PPP_AUTH_EAP_MSCHAPV2, /* a client's alone */
                       PPP_AUTH_METHODS
};

struct ppp_auth_request { /* secret; wipe the queue after use */
    uint8_t method;       /* enum ppp_auth_method */
    uint8_t id;           /* CHAP identifier (MD5) */
    uint16_t name_len;
    uint16_t password_len;      /* PAP */
    char name[256];             /* opaque bytes, DOMAIN\ still there */
    char password[256];         /* PAP */
    uint8_t challenge[16];      /* ours */
    uint8_t peer_challenge[16]; /* MS-CHAPv2 */
    uint8_t response[24];       /* NT-Response (24), or MD5 value (16) */
};

/* What MS-CHAPv2 tells as E= (RFC 2759 6); PAP and CHAP-MD5 answer plain failure. */
enum ppp_auth_code {
    PPP_AUTH_OK = 0,
    PPP_AUTH_RESTRICTED_HOURS = 646,
    PPP_AUTH_DISABLED = 647,
    PPP_AUTH_EXPIRED = 648,
    PPP_AUTH_NO_DIALIN = 649,
    PPP_AUTH_FAILURE = 691,
};

struct ppp_auth_result {    /* secret */
    uint16_t code;          /* enum ppp_auth_code */
    char auth_response[42]; /* MS-CHAPv2, good: "S=" and 40 digits */
    uint8_t hlak[32];       /* good: for SSTP; zeros without keys */
};

#endif
