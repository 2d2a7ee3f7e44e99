/*
 * The first request of a connection: SSTP call or web traffic (MS-SSTP 2.2, 3.3.2; docs/architecture.md).
 *
 * The URI /sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/ is reserved: no first request that means it to some web server
 * is HTTP_WEB, whatever its method. uri.h says which targets mean it. What is around the target is read as web servers
 * read it:
 *   - empty lines and blanks in front of the request line (RFC 9112 2.2); runs of SP, HTAB, VT, FF or CR between its
 * words (RFC 9112 3); a line that ends in a bare LF;
 *   - a line of more than three words: its target may end at any blank. One that is the URI then is HTTP_BAD;
 *   - no version (HTTP/0.9) or any other: HTTP_WEB, or HTTP_BAD if the target is the URI.
 *
 * A target can become the URI until it ends ("/x/../sra_..."), so the verdict falls at its "?" or at the end of the
 * request line, not before; only what does not begin like a request (a token, blanks, a target) is HTTP_WEB at its
 * first byte that is wrong. The caller holds all bytes back until then, and relays them unchanged.
 *
 * HTTP/2 has its own way in (ALPN, web.upstream-h2) and is not looked at: the URI means nothing there, as SSTP exists
 * over HTTP/1.1 only. A connection preface ("PRI * HTTP/2.0") that comes here is HTTP_WEB.
 *
 * No more than HTTP_HEAD_MAX is ever held: what is undecided by then is HTTP_BAD, not HTTP_WEB. That includes request
 * lines of the web whose path alone is longer.
 */
#ifndef GH_HTTP_HEAD_H
#define GH_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rd.h"
#include "http/uri.h"

#define HTTP_HEAD_MAX    8192 /* bytes of a path of the web; of a head for the SSTP URI, with its empty line */
#define HTTP_HEADERS_MAX 64   /* header lines in such a head */
#define HTTP_METHOD_MAX  32   /* bytes of a method that are kept; longer ones are not SSTP_DUPLEX_POST */

#define SSTP_METHOD "SSTP_DUPLEX_POST"

enum http_verdict {
    HTTP_MORE,  /* undecided: feed more bytes                                             */
    HTTP_WEB,   /* not the SSTP URI: relay all bytes                                      */
    HTTP_SSTP,  /* a complete, valid SSTP_DUPLEX_POST head                                */
    HTTP_PROBE, /* a complete, valid head of another method on the SSTP URI, any HTTP/1.x */
    HTTP_BAD,   /* the SSTP URI in a head that cannot be served: see status and why; or   */
                /* HTTP_HEAD_MAX bytes without a decision                                 */
};

struct http_head {
    /* results */
    enum http_verdict verdict;
    size_t head_len; /* HTTP_SSTP, HTTP_PROBE: bytes of the head with its empty line; what follows is the body */
    int status;      /* HTTP_BAD: 400 (syntax), 404 (no trailing slash), 414 (request line too long), 431 (head too
                        large), 505 (version) */
    const char *why; /* HTTP_BAD: static text for the log */
    char method[HTTP_METHOD_MAX + 1]; /* as sent, cut */
    char host[256];                   /* Host, the last one, cut, may be empty; not trusted, for the log */
    char corr[48];                    /* SSTPCORRELATIONID as sent, cut; for the log */
    bool has_length;                  /* a Content-Length of 2^64-1 was there (a formality, never required) */
    /* parser state: private */
    struct {
        uint8_t step;      /* where in the request */
        bool slash;        /* the path ended in a slash */
        uint16_t lines;    /* header lines seen */
        size_t method_len; /* bytes, not cut */
        size_t pos;        /* bytes looked at so far */
        size_t target;     /* where it begins */
        size_t blank;      /* where the first blank behind the target is; 0: not yet */
        size_t line_start; /* of the version or header line being read */
    } s;
};

void http_head_init(struct http_head *h);

/*
 * Looks at the connection's bytes from its very first one. `all` holds everything received so far (the caller
 * keeps it contiguous; only what is new since the last call is scanned). Never looks past HTTP_HEAD_MAX. How the
 * bytes were split has no influence. Returns the verdict, which is final unless HTTP_MORE; calling again after
 * that returns it again.
 *
 * Header lines (RFC 9112 5): a token, a colon, text without control characters; LF alone may end one. Content-Length
 * must be digits and is otherwise ignored; Transfer-Encoding and folded lines are refused.
 */
enum http_verdict http_head_input(struct http_head *h, struct rd all);

/*
 * Writes the head of the answer to a good SSTP request (MS-SSTP 2.2.3): exactly "HTTP/1.1 200", Content-Length
 * 2^64-1, Server, Date, an empty line. unix_s: seconds since 1970, for the Date. Returns bytes, 0 if cap is short.
 */
size_t http_sstp_accept(char *out, size_t cap, int64_t unix_s);

/*
 * Writes a complete small answer: status line, Date, Content-Length, Connection: close, and a text body. NULL or ""
 * for no body, as an answer to HEAD must be. Returns bytes, 0 if cap is short. Neither answer is NUL-terminated.
 */
size_t http_error_reply(char *out, size_t cap, int status, int64_t unix_s, const char *body_text);

/* The standard reason phrase, "Error" when unknown. */
const char *http_reason(int status);

#endif
