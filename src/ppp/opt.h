/*
 * Options of Configure packets: Type(1) Length(1) Data (RFC 1661 6), and the writing of whole PPP frames.
 */
#ifndef GH_PPP_OPT_H
#define GH_PPP_OPT_H

#include "base/evq.h"
#include "base/rd.h"
#include "base/wr.h"

#define PPP_OPT_HDR_LEN 2

struct ppp_opt {
    uint8_t type;
    struct rd data;  /* after Type and Length, borrowed */
    struct rd whole; /* with them */
};

/*
 * Takes the next option from the list. Returns 0; ERR_CLOSED at the end of the list; ERR_PEER when the Length is below
 * 2 or leaves the list (nothing consumed).
 */
MUST_USE int ppp_opt_next(struct rd *list, struct ppp_opt *out);

/* True when the list can be walked to its end. */
MUST_USE bool ppp_opt_list_valid(struct rd list);

/* The value of an option of exactly 2, 4 or n bytes of data; false for any other length. */
MUST_USE bool ppp_opt_u16(const struct ppp_opt *opt, uint16_t *out);
MUST_USE bool ppp_opt_u32(const struct ppp_opt *opt, uint32_t *out);
MUST_USE bool ppp_opt_copy(const struct ppp_opt *opt, void *out, size_t n);

/* Writers of one option; n is at most 253. */
void ppp_opt_put(struct wr *w, uint8_t type, const void *data, size_t n);
void ppp_opt_put_u16(struct wr *w, uint8_t type, uint16_t value);
void ppp_opt_put_u32(struct wr *w, uint8_t type, uint32_t value);

/* A packet under construction: FF 03, protocol, Code, Identifier, Length. */
struct ppp_pkt {
    struct wr w; /* the caller appends the packet's data here */
    size_t mark;
};

/* Starts a PPP_EV_SEND event with one packet; ppp_pkt_close() fills the Length in and ends the event. */
struct ppp_pkt ppp_pkt_open(struct evq *out, uint16_t protocol, uint8_t code, uint8_t id);
void ppp_pkt_close(struct ppp_pkt *p, struct evq *out);

/* Both at once, with n bytes of data. */
void ppp_pkt_send(struct evq *out, uint16_t protocol, uint8_t code, uint8_t id, const void *data, size_t n);

/*
 * Code, Identifier and Data of a received packet (RFC 1661 5). Bytes after Length are padding and cut off (a RouterOS
 * server's PAP Ack has some). False when it is cut short or its Length lies.
 */
struct ppp_hdr {
    uint8_t code, id;
    struct rd data;  /* after Length */
    struct rd whole; /* from Code to the end by Length */
};
MUST_USE bool ppp_hdr_parse(struct rd info, struct ppp_hdr *out);

#endif
