/*
 * Room in front of a packet that is moved in place: whoever passes it on may write a header of its own there.
 */
#ifndef GH_BASE_PKT_H
#define GH_BASE_PKT_H

#define PKT_HEADROOM 32 /* bytes */

#endif
