/*
 * The stream walker and the message parser: the input is a stream as it comes out of TLS. Every message that was read
 * is walked, judged as a request, and what we would answer must be readable again.
 */
#include <stdlib.h>
#include <string.h>

#include "sstp/binding.h"
#include "sstp/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void nak(const struct sstp_msg *m)
{
    struct sstp_status_info faults[SSTP_CCR_FAULTS_MAX], first;
    uint8_t buf[SSTP_NAK_MAX];
    size_t n = sstp_ccr_faults(m, faults, SSTP_CCR_FAULTS_MAX);
    check(n <= SSTP_CCR_FAULTS_MAX);
    if (!n)
        return;
    struct wr w = wr_make(buf, sizeof buf);
    struct sstp_msg again;
    sstp_nak_encode(&w, faults, n);
    check(wr_ok(&w));
    check(sstp_msg_parse(rd_make(buf, wr_len(&w)), &again) == 0);
    check(again.type == SSTP_CALL_CONNECT_NAK && again.count == n);
    check(sstp_msg_status(&again, &first) && first.attrib == faults[0].attrib && first.status == faults[0].status);
}

static void message(struct rd whole)
{
    struct sstp_msg m;
    struct sstp_attr a;
    struct sstp_status_info info;
    struct sstp_ack ack;
    if (sstp_msg_parse(whole, &m))
        return;
    check(m.attrs.p == whole.p + SSTP_CTL_HDR_LEN && m.attrs.end <= whole.end);
    struct rd attrs = m.attrs;
    size_t n = 0;
    while (sstp_attr_next(&attrs, &a)) {
        check(a.value.p >= whole.p && a.value.end <= whole.end);
        n++;
    }
    check(n == m.count && rd_end(&attrs));
    if (sstp_msg_status(&m, &info))
        check(info.value.end <= whole.end);
    if (sstp_ack_parse(&m, &ack) == 0)
        check(ack.hash_mask && ack.hash_mask <= 3);
    if (sstp_cc_shaped(&m))
        check(rd_left(&whole) == SSTP_CC_LEN);
    if (m.type == SSTP_CALL_CONNECT_REQUEST)
        nak(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd in = rd_make(data, size);
    struct sstp_pkt pkt;
    for (;;) {
        struct rd before = in;
        int err = sstp_pkt_next(&in, &pkt);
        if (err) {
            check(in.p == before.p && (err == ERR_AGAIN || err == ERR_PEER));
            return 0;
        }
        size_t len = rd_left(&pkt.whole);
        check(in.p == before.p + len && len >= SSTP_HDR_LEN && len <= SSTP_PKT_MAX);
        check(rd_left(&pkt.payload) == len - SSTP_HDR_LEN);
        uint8_t *copy = malloc(len); /* its own allocation: a read past the packet shows */
        if (!copy)
            abort();
        memcpy(copy, pkt.whole.p, len);
        message(rd_make(copy, len));
        free(copy);
    }
}
