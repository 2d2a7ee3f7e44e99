#include "ppp/opt.h"

#include "ppp/link.h"

int ppp_opt_next(struct rd *list, struct ppp_opt *out)
{
    struct rd r = *list;
    uint8_t type, len;
    if (rd_end(&r))
        return ERR_CLOSED;
    if (!rd_u8(&r, &type) || !rd_u8(&r, &len) || len < PPP_OPT_HDR_LEN)
        return ERR_PEER;
    struct rd data;
    if (!rd_sub(&r, len - PPP_OPT_HDR_LEN, &data))
        return ERR_PEER;
    *out = (struct ppp_opt){ .type = type, .data = data, .whole = { list->p, r.p } };
    *list = r;
    return 0;
}

bool ppp_opt_list_valid(struct rd list)
{
    struct ppp_opt opt;
    int rc;
    do
        rc = ppp_opt_next(&list, &opt);
    while (rc == 0);
    return rc == ERR_CLOSED;
}

bool ppp_opt_u16(const struct ppp_opt *opt, uint16_t *out)
{
    struct rd r = opt->data;
    uint16_t value;
    if (!rd_u16(&r, &value) || !rd_end(&r))
        return false;
    *out = value;
    return true;
}

bool ppp_opt_u32(const struct ppp_opt *opt, uint32_t *out)
{
    struct rd r = opt->data;
    uint32_t value;
    if (!rd_u32(&r, &value) || !rd_end(&r))
        return false;
    *out = value;
    return true;
}

bool ppp_opt_copy(const struct ppp_opt *opt, void *out, size_t n)
{
    struct rd r = opt->data;
    const uint8_t *at;
    if (!rd_bytes(&r, n, &at) || !rd_end(&r))
        return false;
    memcpy(out, at, n);
    return true;
}

void ppp_opt_put(struct wr *w, uint8_t type, const void *data, size_t n)
{
    wr_u8(w, type);
    wr_u8(w, (uint8_t)(PPP_OPT_HDR_LEN + n));
    wr_bytes(w, data, n);
}

void ppp_opt_put_u16(struct wr *w, uint8_t type, uint16_t value)
{
    wr_u8(w, type);
    wr_u8(w, PPP_OPT_HDR_LEN + 2);
    wr_u16(w, value);
}

void ppp_opt_put_u32(struct wr *w, uint8_t type, uint32_t value)
{
    wr_u8(w, type);
    wr_u8(w, PPP_OPT_HDR_LEN + 4);
    wr_u32(w, value);
}

struct ppp_pkt ppp_pkt_open(struct evq *out, uint16_t protocol, uint8_t code, uint8_t id)
{
    struct ppp_pkt p = { .w = evq_open(out, PPP_EV_SEND) };
    /* Address and Control are always sent, whatever ACFC says: Open SSTP needs them. */
    wr_u16(&p.w, 0xff03);
    wr_u16(&p.w, protocol);
    wr_u8(&p.w, code);
    wr_u8(&p.w, id);
    p.mark = wr_open16(&p.w);
    return p;
}

void ppp_pkt_close(struct ppp_pkt *p, struct evq *out)
{
    wr_close16(&p->w, p->mark, 2);
    evq_close(out, &p->w);
}

void ppp_pkt_send(struct evq *out, uint16_t protocol, uint8_t code, uint8_t id, const void *data, size_t n)
{
    struct ppp_pkt p = ppp_pkt_open(out, protocol, code, id);
    wr_bytes(&p.w, data, n);
    ppp_pkt_close(&p, out);
}

bool ppp_hdr_parse(struct rd info, struct ppp_hdr *out)
{
    struct rd r = info;
    uint8_t code, id;
    uint16_t len;
    if (!rd_u8(&r, &code) || !rd_u8(&r, &id) || !rd_u16(&r, &len) || len < 4)
        return false;
    struct rd data;
    if (!rd_sub(&r, len - 4u, &data))
        return false;
    *out = (struct ppp_hdr){ .code = code, .id = id, .data = data, .whole = { info.p, data.end } };
    return true;
}
