/* The option iterator: what it returns lies inside, adds up, and survives being written again. */
#include <stdlib.h>

#include "ppp/opt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool fact)
{
    if (!fact)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t mem[8192];
    struct ppp_hdr pkt;
    struct ppp_opt opt;
    if (size > sizeof mem)
        return 0;
    struct rd list = rd_make(data, size);
    if (ppp_hdr_parse(list, &pkt)) {
        need(rd_left(&pkt.whole) <= size && rd_left(&pkt.whole) == rd_left(&pkt.data) + 4);
        list = pkt.data;
    }
    struct rd all = list;
    struct wr w = wr_make(mem, sizeof mem);
    int rc;
    while ((rc = ppp_opt_next(&list, &opt)) == 0) {
        uint16_t v16;
        uint32_t v32;
        need(ppp_opt_u16(&opt, &v16) == (rd_left(&opt.data) == 2) &&
             ppp_opt_u32(&opt, &v32) == (rd_left(&opt.data) == 4));
        ppp_opt_put(&w, opt.type, opt.data.p, rd_left(&opt.data));
    }
    need(wr_ok(&w) && wr_len(&w) + rd_left(&list) == rd_left(&all));
    need(wr_len(&w) == 0 || memcmp(mem, all.p, wr_len(&w)) == 0);
    need(ppp_opt_list_valid(all) == (rc == ERR_CLOSED));
    return 0;
}
