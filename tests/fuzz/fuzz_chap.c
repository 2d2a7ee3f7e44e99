/* CHAP and PAP packets. The first byte chooses the codec and the expected Value-Size; what parses is written again as
 * it was. */
#include <stdlib.h>
#include <string.h>

#include "auth/chap.h"
#include "auth/pap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void same(const struct wr *w, struct rd packet)
{
    if (!wr_ok(w) || wr_len(w) > rd_left(&packet) || memcmp(w->base, packet.p, wr_len(w)) != 0)
        abort();
}

static void failure(struct rd message)
{
    struct chap_failure f, again;
    struct chap_pkt pkt;
    static uint8_t buf[70000];
    struct wr w = wr_make(buf, sizeof buf);
    if (chap_mschapv2_failure_parse(message, &f) != 0)
        return;
    chap_mschapv2_failure_encode(&w, 1, &f);
    if (!wr_ok(&w))
        return; /* longer than a packet can be */
    if (chap_parse(rd_make(buf, wr_len(&w)), 0, &pkt) != 0 || chap_mschapv2_failure_parse(pkt.message, &again) != 0)
        abort();
    if (again.error != f.error || again.retry != f.retry || again.version != f.version ||
        again.has_challenge != f.has_challenge || rd_left(&again.text) != rd_left(&f.text))
        abort();
}

static void chap(struct rd in, size_t value_len)
{
    struct chap_pkt pkt;
    struct chap_mschapv2_response r;
    struct rd text;
    char auth[MSCHAPV2_AUTH_RESPONSE_LEN];
    static uint8_t buf[70000];
    struct wr w = wr_make(buf, sizeof buf);
    if (chap_parse(in, value_len, &pkt) != 0)
        return;
    if (pkt.code == CHAP_CHALLENGE || pkt.code == CHAP_RESPONSE) {
        chap_value_encode(&w, pkt.code, pkt.id, pkt.value.p, (uint8_t)rd_left(&pkt.value), pkt.name.p,
                          rd_left(&pkt.name));
        if ((chap_mschapv2_response_parse(pkt.value, &r) == 0) != (rd_left(&pkt.value) == CHAP_MSCHAPV2_VALUE_LEN))
            abort();
    } else {
        chap_message_encode(&w, pkt.code, pkt.id, pkt.message.p, rd_left(&pkt.message));
        if (chap_mschapv2_success_parse(pkt.message, auth, &text) == 0 && text.end != pkt.message.end)
            abort();
        failure(pkt.message);
    }
    same(&w, in);
}

static void pap(struct rd in)
{
    struct pap_pkt pkt;
    static uint8_t buf[1024];
    struct wr w = wr_make(buf, sizeof buf);
    if (pap_parse(in, &pkt) != 0)
        return;
    if (pkt.code == PAP_REQUEST)
        pap_request_encode(&w, pkt.id, pkt.name.p, rd_left(&pkt.name), pkt.password.p, rd_left(&pkt.password));
    else
        pap_reply_encode(&w, pkt.code, pkt.id, pkt.message.p, rd_left(&pkt.message));
    if (!wr_ok(&w) || (pkt.code == PAP_REQUEST && memcmp(buf + 4, in.p + 4, wr_len(&w) - 4) != 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint8_t value_len[4] = { 0, CHAP_MD5_VALUE_LEN, CHAP_MSCHAPV2_VALUE_LEN, 0 };
    struct rd in = rd_make(data, len);
    uint8_t choice;
    if (!rd_u8(&in, &choice))
        return 0;
    if (choice & 4)
        pap(in);
    else
        chap(in, value_len[choice & 3]);
    return 0;
}
