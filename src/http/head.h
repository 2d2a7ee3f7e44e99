/*
 * The first request of a connection: SSTP call or web traffic (MS-SSTP 2.2, 3.3.2; docs/architecture.md).
 *
 * Bytes are held back only while they could still become a request for the SSTP URI: any method, then a
 * target that is a prefix of one of the URI's spellings (origin-form or absolute-form, any case, percent-encoded;
 * query ignored). The first byte that rules this out gives HTTP_WEB, without waiting for the end of
 * the line or of the head, and the caller relays everything read so far, unchanged.
 *
 * The URI: /sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/
 */
#ifndef GH_HTTP_HEAD_H
#define GH_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rd.h"

#define HTTP_HEAD_MAX 8192   /* bytes of a head that asks for the SSTP URI, request line included */
#define HTTP_HEADERS_MAX 64  /* header lines in such a head */
#define HTTP_METHOD_MAX 32   /* bytes of a method; longer ones cannot be ours: web */

#define SSTP_URI "/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/"
#define SSTP_METHOD "SSTP_DUPLEX_POST"

enum http_verdict {
    HTTP_MORE,  /* undecided: feed more bytes                                                           */
    HTTP_WEB,   /* not the SSTP URI: relay all bytes                                                    */
    HTTP_SSTP,  /* a complete, valid SSTP_DUPLEX_POST head                                              */
    HTTP_PROBE, /* a complete head of another method on the SSTP URI                                    */
    HTTP_BAD,   /* the SSTP URI, but a head that cannot be served: see status and why                   */
};

struct http_head {
    /* results */
    enum http_verdict verdict;
    size_t head_len;     /* HTTP_SSTP, HTTP_PROBE: bytes of the head with its empty line; what follows is the body */
    int status;          /* HTTP_BAD: 400 (syntax), 431 (too large), 505 (version), 501 ... */
    const char *why;     /* HTTP_BAD: static text for the log */
    char method[HTTP_METHOD_MAX + 1];
    char host[256];      /* Host header, cut, may be empty; not trusted, for the log */
    char corr[48];       /* SSTPCORRELATIONID as sent, cut; log only */
    bool has_length;     /* a Content-Length of 2^64-1 was there (a formality, never required) */
    /* parser state: private */
    struct {
        uint8_t step;
        uint8_t escape;     /* percent-decoding */
        uint8_t hi;
        uint16_t matched;
        uint16_t method_len;
        uint16_t lines;
        size_t pos;         /* bytes looked at so far */
        size_t line_start;
    } s;
};

void http_head_init(struct http_head *h);

/*
 * Looks at the connection's bytes from its very first one. `all` holds everything received so far (the caller
 * keeps it contiguous; only what is new since the last call is scanned). Never looks past HTTP_HEAD_MAX.
 * Returns the verdict, which is final unless HTTP_MORE; calling again after that returns it again.
 */
enum http_verdict http_head_input(struct http_head *h, struct rd all);

/*
 * Writes the head of the answer to a good SSTP request (MS-SSTP 2.2.3): exactly "HTTP/1.1 200", Content-Length
 * 2^64-1, Server, Date, CRLF each, in at most 7 lines. unix_s: seconds, for the Date. Returns bytes, 0 if cap is short.
 */
size_t http_sstp_accept(char *out, size_t cap, int64_t unix_s);

/* A complete small answer (status line, Date, Content-Length, Connection: close, text body). Returns bytes, 0 if cap is short. */
size_t http_error_reply(char *out, size_t cap, int status, int64_t unix_s, const char *body_text);

/* The standard reason phrase, "Error" when unknown. */
const char *http_reason(int status);

#endif
