/*
 * Does a request-target mean the SSTP URI (MS-SSTP 2.2.1) to anybody who may read it?
 *
 * Web servers disagree about paths. So a target means the URI when it does in any combination of the readings below;
 * what this takes for the URI without need is a path that carries its name, which no web site has.
 *
 * In every reading:
 *   - origin-form, or absolute-form with any scheme (RFC 9112 3.2.1, 3.2.2). A target without its first slash is read
 *     as if it had one: authority-form and "*" need no rule of their own, as they never are the URI;
 *   - "." and ".." segments are resolved; above the root there is nothing (RFC 3986 5.2.4);
 *   - letters of either case; percent-encoded bytes, once: "%2573" is not an "s"; also "%u0073", which HTTP.sys
 *     takes. A "%" that begins neither stands for itself;
 *   - everything from "?" on is ignored; "#", blanks and NUL (raw or "%00") end the path, or are text;
 *   - the slash at the end may be missing: URI_NO_SLASH.
 * As readings:
 *   - an encoded "/" (or "\", or ";", if they count at all) separates like a plain one, or is text;
 *   - an encoded dot is a dot, or is text where segments are resolved first and decoded then;
 *   - "\" is a slash (Windows), or text;
 *   - what follows ";" in a segment is a parameter, which is ignored (Java servers), or text;
 *   - empty segments vanish (nginx, Apache), or count, so that ".." takes one back (RFC 3986);
 *   - "//host" in front is an authority (RFC 3986 4.2), or two slashes like others.
 */
#ifndef GH_HTTP_URI_H
#define GH_HTTP_URI_H

#include "base/rd.h"

#define SSTP_URI "/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/"

#define URI_READ_MAX 1024 /* bytes of a target that are looked at in all readings */

enum uri_match {
    URI_OTHER,    /* not the SSTP URI in any reading                */
    URI_NO_SLASH, /* the URI, but without its trailing slash        */
    URI_SSTP,     /* the URI, or what some server would take for it */
};

/*
 * The best match of all readings. `target` may go on to the end of the request line, for servers that take blanks into
 * it: that takes nothing away from those who end it at the first one. What carries the name of the URI in more than
 * URI_READ_MAX bytes is URI_NO_SLASH unread, so that a stranger can cost a millisecond at most.
 */
MUST_USE enum uri_match uri_match(struct rd target);

#endif
