/*
 * The head of a response, as a client reads it (RFC 9112): the answer to the SSTP request, to CONNECT, to a probe.
 *
 * Bounded: a head longer than HTTP_ANSWER_MAX, or with more than HTTP_ANSWER_LINES header lines, is HTTP_ANSWER_BAD. So
 * is what hostile servers and broken middleboxes send: control characters, a bare CR, folded lines, blanks in front of
 * a colon, no version 1.x, lengths that contradict each other. Text that is kept is cut to its field and has all but
 * printable ASCII replaced by '?': it is for people. Challenges are kept as sent, as what answers them must repeat
 * them. Pure.
 */
#ifndef GH_HTTP_ANSWER_H
#define GH_HTTP_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rd.h"

#define HTTP_ANSWER_MAX        16384 /* bytes of a head with its empty line */
#define HTTP_ANSWER_LINES      100
#define HTTP_ANSWER_CHALLENGES 4

enum http_answer_verdict {
    HTTP_ANSWER_MORE, /* undecided: feed more bytes */
    HTTP_ANSWER_DONE, /* a complete head */
    HTTP_ANSWER_BAD,  /* this is no HTTP: see why */
};

struct http_answer {
    enum http_answer_verdict verdict;
    size_t head_len;       /* HTTP_ANSWER_DONE: bytes of the head; what follows is the body, or SSTP */
    const char *why;       /* HTTP_ANSWER_BAD: static text */
    int minor;             /* HTTP/1.minor; -1: another version, which is HTTP_ANSWER_BAD, or none seen yet */
    int status;            /* 100..599; interim answers (1xx) are heads as others: the next one follows at head_len */
    char reason[80];       /* may be empty */
    char server[80];       /* Server, else empty */
    char location[256];    /* Location, else empty */
    bool has_length;       /* a Content-Length */
    bool sstp_length;      /* it is 2^64-1 */
    uint64_t length;       /* saturates */
    bool chunked;          /* Transfer-Encoding ends with chunked */
    bool close;            /* Connection: close */
    unsigned n_challenges; /* WWW-Authenticate (401) and Proxy-Authenticate (407) lines, as sent, one each */
    char challenge[HTTP_ANSWER_CHALLENGES][512]; /* a longer one is left out, as are those past the last place */
    struct {                                     /* private */
        size_t pos;                              /* bytes looked at */
        size_t line_start;                       /* of the line being read */
        size_t length_at, length_len;            /* digits of the first Content-Length, without leading zeros */
        unsigned lines;                          /* header lines seen */
        bool cr;                                 /* the byte before was CR */
    } s;
};

void http_answer_init(struct http_answer *a);

/*
 * `all` holds everything received so far from the first byte on; only what is new is looked at. LF alone may end a
 * line. Final once it is not HTTP_ANSWER_MORE; how the bytes were split has no influence. For the next head on a
 * connection (after 1xx, after a body) init anew and begin at its first byte.
 */
enum http_answer_verdict http_answer_input(struct http_answer *a, struct rd all);

#endif
