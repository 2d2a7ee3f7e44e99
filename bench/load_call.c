#include "load_call.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509.h>

#include "auth/chap.h"
#include "auth/mschapv2.h"
#include "base/ct.h"
#include "base/wr.h"
#include "http/head.h"
#include "ppp/cp.h"
#include "ppp/link.h"
#include "ppp/opt.h"
#include "sstp/binding.h"
#include "sstp/msg.h"
#include "tool.h"

enum { SMALL = 4096, RECORD = 16384, IN_OWN = SMALL + RECORD };
enum { LCP_MRU = 1, LCP_AUTH = 3, LCP_MAGIC = 5, IPCP_ADDRESS = 3 };

static const uint8_t sstp_request[] = { 0x10, 1, 0, 14, 0, 1, 0, 1, 0, 1, 0, 6, 0, 1 };
static const uint8_t sstp_echo_response[] = { 0x10, 1, 0, 8, 0, 9, 0, 0 };
static const uint8_t sstp_disconnect[] = { 0x10, 1, 0, 20, 0, 6, 0, 1, 0, 2, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0 };
static const uint8_t sstp_disconnect_ack[] = { 0x10, 1, 0, 8, 0, 7, 0, 0 };

static void fail(struct call *c, const char *why)
{
    if (c->state != CALL_FAILED && c->state != CALL_ENDED) {
        c->state = CALL_FAILED;
        c->why = why;
    }
}

void call_send(struct call *c, const void *data, size_t n)
{
    if (c->out_len + n > c->out_cap) {
        fail(c, "send queue full");
        return;
    }
    memcpy(c->out + c->out_len, data, n);
    c->out_len += n;
}

void call_flush(struct call *c)
{
    while (c->out_at < c->out_len && !c->blocked && c->ssl) {
        ERR_clear_error();
        int n = SSL_write(c->ssl, c->out + c->out_at, (int)(c->out_len - c->out_at));
        if (n > 0) {
            c->out_at += (size_t)n;
        } else if (SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_WRITE) {
            c->blocked = true;
        } else {
            fail(c, "connection lost while sending");
            return;
        }
    }
    if (c->out_at == c->out_len)
        c->out_at = c->out_len = 0;
}

/* A PPP packet of a control protocol in an SSTP data packet. */
static void ppp_send(struct call *c, uint16_t protocol, uint8_t code, uint8_t id, const void *data, size_t n)
{
    uint8_t buf[600];
    struct wr w = wr_make(buf, sizeof buf);
    uint8_t *hdr = wr_room(&w, SSTP_HDR_LEN);
    wr_u16(&w, 0xff03);
    wr_u16(&w, protocol);
    wr_u8(&w, code);
    wr_u8(&w, id);
    wr_u16(&w, (uint16_t)(n + 4));
    wr_bytes(&w, data, n);
    if (!wr_ok(&w)) {
        fail(c, "PPP packet too long");
        return;
    }
    sstp_data_hdr(hdr, wr_len(&w) - SSTP_HDR_LEN);
    call_send(c, buf, wr_len(&w));
}

static void lcp_request(struct call *c, uint8_t id, bool bare)
{
    uint8_t buf[16];
    struct wr w = wr_make(buf, sizeof buf);
    if (!bare) {
        ppp_opt_put_u16(&w, LCP_MRU, 1400);
        ppp_opt_put_u32(&w, LCP_MAGIC, (uint32_t)(uintptr_t)c ^ (uint32_t)c->start_ns);
    }
    ppp_send(c, PPP_LCP, CP_CONF_REQ, id, buf, wr_len(&w));
}

static void ipcp_request(struct call *c, uint8_t id)
{
    uint8_t buf[8];
    struct wr w = wr_make(buf, sizeof buf);
    ppp_opt_put_u32(&w, IPCP_ADDRESS, c->ip4);
    ppp_send(c, PPP_IPCP, CP_CONF_REQ, id, buf, wr_len(&w));
}

static void maybe_up(struct call *c)
{
    if (c->ipcp_mine && c->ipcp_theirs && c->state == CALL_PPP) {
        c->state = CALL_UP;
        c->up_ns = tool_now_ns();
    }
}

/* Everything the server asks for is fine but another authentication. */
static void lcp_judge(struct call *c, const struct ppp_hdr *h)
{
    static const uint8_t want[] = { LCP_AUTH, 5, 0xc2, 0x23, CHAP_ALG_MSCHAPV2 };
    struct rd list = h->data;
    struct ppp_opt o;
    while (ppp_opt_next(&list, &o) == 0) {
        uint8_t auth[3];
        if (o.type == LCP_AUTH && (!ppp_opt_copy(&o, auth, 3) || memcmp(auth, want + 2, 3) != 0)) {
            ppp_send(c, PPP_LCP, CP_CONF_NAK, h->id, want, sizeof want);
            return;
        }
    }
    ppp_send(c, PPP_LCP, CP_CONF_ACK, h->id, h->data.p, rd_left(&h->data));
}

static void lcp_input(struct call *c, const struct ppp_hdr *h)
{
    static const uint8_t magic[4];
    switch (h->code) {
    case CP_CONF_REQ: lcp_judge(c, h); break;
    case CP_CONF_NAK:
    case CP_CONF_REJ: lcp_request(c, (uint8_t)(h->id + 1), true); break;
    case CP_ECHO_REQ: ppp_send(c, PPP_LCP, CP_ECHO_REP, h->id, magic, sizeof magic); break;
    case CP_TERM_REQ:
        ppp_send(c, PPP_LCP, CP_TERM_ACK, h->id, NULL, 0);
        if (c->state != CALL_ENDING)
            fail(c, c->authed ? "the server ended LCP" : "the server ended LCP before authentication");
        break;
    default: break;
    }
}

static void ipcp_input(struct call *c, const struct ppp_hdr *h)
{
    struct rd list = h->data;
    struct ppp_opt o;
    uint32_t addr = 0;
    while (ppp_opt_next(&list, &o) == 0) {
        if (o.type == IPCP_ADDRESS && !ppp_opt_u32(&o, &addr))
            return fail(c, "IPCP option cut short");
    }
    switch (h->code) {
    case CP_CONF_REQ:
        c->server_ip4 = addr;
        c->ipcp_theirs = true;
        ppp_send(c, PPP_IPCP, CP_CONF_ACK, h->id, h->data.p, rd_left(&h->data));
        break;
    case CP_CONF_NAK:
        c->ip4 = addr;
        ipcp_request(c, (uint8_t)(h->id + 1));
        break;
    case CP_CONF_ACK: c->ipcp_mine = true; break;
    case CP_CONF_REJ: return fail(c, "the server gives no address");
    default: break;
    }
    maybe_up(c);
}

/* MS-SSTP 3.2.5.2: with SHA-256, which every server here offers. */
static int binding_send(struct call *c)
{
    uint8_t pkt[SSTP_CC_LEN];
    struct wr w = wr_make(pkt, sizeof pkt);
    int r = sstp_cc_encode(&w, SSTP_HASH_SHA256, c->nonce, c->cert_hash, c->hlak);
    if (r == 0)
        call_send(c, pkt, sizeof pkt);
    return r;
}

static int chap_answer(struct call *c, const struct chap_pkt *p)
{
    struct chap_mschapv2_response resp;
    struct mschapv2_keys keys;
    uint8_t challenge[16], hash[8], buf[320];
    struct rd value = p->value;
    if (!rd_copy(&value, challenge, 16) || RAND_bytes(resp.peer_challenge, 16) != 1)
        return ERR_PEER;
    const uint8_t *nt = c->cfg->nt_hash;
    size_t user_len = strlen(c->cfg->user);
    int r = mschapv2_challenge_hash(resp.peer_challenge, challenge, c->cfg->user, user_len, hash);
    r = r ? r : mschapv2_nt_response(nt, hash, resp.nt_response);
    r = r ? r : mschapv2_auth_response(nt, resp.nt_response, hash, (char *)c->auth_expected);
    r = r ? r : mschapv2_keys(nt, resp.nt_response, &keys);
    if (r)
        return r;
    mschapv2_hlak(&keys, c->hlak);
    struct wr w = wr_make(buf, sizeof buf);
    chap_mschapv2_response_encode(&w, p->id, &resp, c->cfg->user, user_len);
    struct rd pkt = rd_make(buf, wr_len(&w));
    if (!wr_ok(&w) || !rd_skip(&pkt, 4))
        return ERR_LIMIT;
    ppp_send(c, PPP_CHAP, CHAP_RESPONSE, p->id, pkt.p, rd_left(&pkt));
    return 0;
}

static void chap_input(struct call *c, struct rd info)
{
    struct chap_pkt p;
    char auth[MSCHAPV2_AUTH_RESPONSE_LEN];
    struct rd text;
    if (chap_parse(info, 0, &p) != 0)
        return;
    switch (p.code) {
    case CHAP_CHALLENGE:
        if (chap_answer(c, &p) != 0)
            fail(c, "cannot answer the challenge");
        break;
    case CHAP_SUCCESS:
        if (c->authed)
            break;
        if (chap_mschapv2_success_parse(p.message, auth, &text) != 0 || !ct_equal(auth, c->auth_expected, sizeof auth))
            return fail(c, "the server does not know the password");
        c->authed = true;
        if (binding_send(c) != 0)
            return fail(c, "crypto binding");
        ipcp_request(c, 1);
        break;
    case CHAP_FAILURE: fail(c, "login refused"); break;
    default: break;
    }
}

static void frame_input(struct call *c, struct rd frame)
{
    uint16_t protocol;
    struct ppp_hdr h;
    struct rd whole = frame;
    if (!ppp_frame_open(&frame, &protocol))
        return;
    if (protocol == PPP_IP || protocol == PPP_IPV6) {
        if (c->cfg->data)
            c->cfg->data(c->cfg->arg, c, frame);
        return;
    }
    if (protocol == PPP_CHAP)
        return chap_input(c, frame);
    if (protocol != PPP_LCP && protocol != PPP_IPCP) {
        if (rd_left(&whole) >= 4 && whole.p[0] == 0xff)
            ppp_send(c, PPP_LCP, CP_PROT_REJ, 1, whole.p + 2, rd_left(&whole) - 2);
        return;
    }
    if (!ppp_hdr_parse(frame, &h))
        return;
    if (protocol == PPP_LCP)
        lcp_input(c, &h);
    else
        ipcp_input(c, &h);
}

static void control_input(struct call *c, const struct sstp_pkt *pkt)
{
    struct rd r = pkt->payload;
    uint16_t type, attrs;
    if (!rd_u16(&r, &type) || !rd_u16(&r, &attrs))
        return fail(c, "SSTP control packet cut short");
    switch (type) {
    case SSTP_CALL_CONNECT_ACK:
        if (!rd_skip(&r, 7) || !rd_u8(&r, &c->hash_mask) || !rd_copy(&r, c->nonce, 32) ||
            !(c->hash_mask & SSTP_HASH_SHA256))
            return fail(c, "bad CALL_CONNECT_ACK");
        c->state = CALL_PPP;
        lcp_request(c, 1, false);
        break;
    case SSTP_ECHO_REQUEST: call_send(c, sstp_echo_response, sizeof sstp_echo_response); break;
    case SSTP_CALL_DISCONNECT_ACK: c->state = CALL_ENDED; break;
    case SSTP_CALL_DISCONNECT:
        call_send(c, sstp_disconnect_ack, sizeof sstp_disconnect_ack);
        fail(c, "the server hung up");
        break;
    case SSTP_CALL_ABORT: fail(c, "the server aborted the call"); break;
    case SSTP_CALL_CONNECT_NAK: fail(c, "CALL_CONNECT_NAK"); break;
    default: break;
    }
}

static void http_input(struct call *c)
{
    static const char ok[] = "HTTP/1.1 200";
    uint8_t *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
    if (c->in_len >= sizeof ok - 1 && memcmp(c->in, ok, sizeof ok - 1) != 0)
        return fail(c, "HTTP answer is not 200");
    if (!end)
        return;
    size_t head = (size_t)(end + 4 - c->in);
    c->in_len -= head;
    memmove(c->in, c->in + head, c->in_len);
    c->state = CALL_SSTP;
    call_send(c, sstp_request, sizeof sstp_request);
}

static void stream_input(struct call *c)
{
    if (c->state == CALL_HTTP)
        http_input(c);
    if (c->state == CALL_HTTP)
        return;
    struct rd r = rd_make(c->in, c->in_len);
    struct sstp_pkt pkt;
    int e = 0;
    while (c->state < CALL_ENDED && (e = sstp_pkt_next(&r, &pkt)) == 0) {
        if (pkt.control)
            control_input(c, &pkt);
        else
            frame_input(c, pkt.payload);
    }
    if (c->cfg->flush)
        c->cfg->flush(c->cfg->arg);
    if (e == ERR_PEER)
        return fail(c, "SSTP packets out of step");
    c->in_len = rd_left(&r);
    memmove(c->in, r.p, c->in_len);
}

static void handshake_done(struct call *c)
{
    unsigned n = 0;
    X509 *leaf = SSL_get0_peer_certificate(c->ssl);
    if (!leaf || X509_digest(leaf, EVP_sha256(), c->cert_hash, &n) != 1)
        return fail(c, "no certificate");
    static const char head[] =
        SSTP_METHOD " " SSTP_URI " HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n"
                    "Host: bench\r\nSSTPCORRELATIONID: {00000000-0000-4000-8000-000000000000}\r\n\r\n";
    c->state = CALL_HTTP;
    call_send(c, head, sizeof head - 1);
}

/* While a call is driven it reads into the memory of all calls; between two times it keeps a part of a packet. */
static void borrow(struct call *c)
{
    if (!c->cfg->scratch)
        return;
    memcpy(c->cfg->scratch, c->in, c->in_len);
    c->own = c->in;
    c->in = c->cfg->scratch;
    c->in_cap = c->cfg->scratch_len;
}

static void give_back(struct call *c)
{
    if (!c->cfg->scratch)
        return;
    if (c->in_len > IN_OWN) {
        c->in_len = 0;
        fail(c, "HTTP head too long");
    }
    memcpy(c->own, c->in, c->in_len);
    c->in = c->own;
}

/* As many as there is room for. False when the socket has no more. */
static bool read_records(struct call *c, unsigned *records)
{
    while (*records && c->in_cap - c->in_len >= RECORD) {
        ERR_clear_error();
        int n = SSL_read(c->ssl, c->in + c->in_len, (int)(c->in_cap - c->in_len));
        if (n <= 0) {
            c->lost = SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ;
            return false;
        }
        c->in_len += (size_t)n;
        (*records)--;
    }
    return true;
}

bool call_drive(struct call *c, unsigned records)
{
    if (c->state >= CALL_ENDED)
        return false;
    ERR_clear_error();
    if (c->state == CALL_TLS) {
        int n = SSL_connect(c->ssl);
        if (n != 1) {
            int why = SSL_get_error(c->ssl, n);
            if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
                fail(c, errno ? strerror(errno) : "TLS handshake");
            return false;
        }
        handshake_done(c);
    }
    call_flush(c);
    borrow(c);
    bool more = true;
    while (records && more && c->state < CALL_ENDED) {
        more = read_records(c, &records);
        stream_input(c);
        call_flush(c);
    }
    give_back(c);
    if (!more && c->lost)
        fail(c, "connection lost");
    return more && c->state < CALL_ENDED;
}

void call_hang_up(struct call *c)
{
    call_send(c, sstp_disconnect, sizeof sstp_disconnect);
    if (c->state == CALL_UP)
        c->state = CALL_ENDING;
    call_flush(c);
}

static int source_bind(int fd, const struct call_cfg *cfg, unsigned index)
{
    if (!cfg->n_sources)
        return 0;
    int one = 1;
    struct sockaddr_in a = { .sin_family = AF_INET };
    a.sin_addr.s_addr = htonl(ntohl(cfg->source.s_addr) + index % cfg->n_sources);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    return bind(fd, (struct sockaddr *)&a, sizeof a);
}

void call_start(struct call *c, const struct call_cfg *cfg, unsigned index)
{
    int one = 1;
    *c = (struct call){ .cfg = cfg, .start_ns = tool_now_ns() };
    c->in_cap = IN_OWN;
    c->out_cap = cfg->out_cap ? cfg->out_cap : SMALL;
    c->in = malloc(c->in_cap);
    c->out = malloc(c->out_cap);
    c->ssl = SSL_new(cfg->tls);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (!c->in || !c->out || !c->ssl || c->fd < 0 || SSL_set_fd(c->ssl, c->fd) != 1 ||
        source_bind(c->fd, cfg, index) < 0)
        return fail(c, "no socket or memory");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (const struct sockaddr *)&cfg->server, sizeof cfg->server) < 0 && errno != EINPROGRESS)
        return fail(c, "connect");
    SSL_set_connect_state(c->ssl);
}

void call_close(struct call *c)
{
    if (c->ssl) {
        if (c->state == CALL_ENDED)
            SSL_shutdown(c->ssl);
        SSL_free(c->ssl);
    }
    if (c->fd >= 0 && c->cfg)
        close(c->fd);
    free(c->in);
    free(c->out);
    c->ssl = NULL;
    c->in = c->out = NULL;
    c->fd = -1;
}
