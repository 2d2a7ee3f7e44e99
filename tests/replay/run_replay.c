/*
 * Plays a scenario against the PPP link, alone or under the SSTP call machine, with a simulated clock, counting numbers
 * for random ones, and a users table.
 *
 *   config auth mschapv2 pap      methods, strongest first       config mtu 1400      config mru 1500
 *   config dns 10.8.0.53 [ADDR]   config nbns ADDR [ADDR]        config server ADDR   config ip6 on
 *   config tries 3                config echo IDLE_MS MISSES
 *   user LINE                     a line of the users file
 *   address ADDR                  given to the link after each `! authed`; without it `set-ip4 ADDR` gives one later
 *   manual                        verdicts come late: by `auth ok|CODE`, or from the users by `auth-user`
 *   start                         lower layer up, at 0 ms
 *   > PROTO CODE ID DATA...       a frame from the client        > raw HEX    the same byte by byte
 *   < PROTO CODE ID DATA...       the next event must be this frame
 *   ! authed NAME | auth NAME | ip4-up | ip4-down | ip6-up [HEX] | ip6-down | down CAUSE
 *   + MS                          time passes, every deadline on the way is served
 *   terminate TEXT                the owner hangs up
 *   phase NAME                    must be this one
 *   mru N                         the client's MRU must be this one
 *
 * With the SSTP machine (`sstp` instead of `start`; PPP then starts when the machine says so):
 *   header LINE                   a line of the client's HTTP head
 *   http                          judges the head, which has to be an SSTP request
 *   > sstp HEX                    a control packet
 *   < sstp HEX                    likewise (a last `*`: anything follows)
 *   > cc sha1|sha256 [bad]        CALL_CONNECTED with the binding of the last response; bad: of other keys
 *   ! up | ending CAUSE | close   events of the machine
 *   ! data                        the network frame that the client just sent passed the gate
 *
 * With `role client` first, the machines are those of a client, and `>` is what the server says:
 *   config auth eap mschapv2 chap pap    methods that may be answered   config mru N    config dns on   config ip6 on
 *   config echo IDLE_MS MISSES           config survey on
 *   login NAME PASSWORD                  what the client logs in with
 *   sstp                                 the client's CALL_CONNECT_REQUEST goes; PPP starts with the ACK
 *   > PROTO CODE ID proof PASSWORD       DATA: S= and the digits for the client's latest response
 *   < cc sha1|sha256                     CALL_CONNECTED with the binding of the keys of the latest `proof`
 *   ! ip4-up OWN/PEER/DNS1/DNS2          ! ip6-up OWN+PEER             ! down CAUSE "TEXT"
 *   methods HEX                          what a survey saw, as bits    auth-error N
 *
 * ID is a number, `$` (that of our latest request of the protocol), `$+1`, or, expected, `*`. DATA are pieces: hex
 * digits with `_` for any digit, "text", `=` (the data of our latest request, for an Ack), `*` at the end (anything),
 * and for responses `mschapv2 NAME PASSWORD`, `md5 NAME SECRET`, `login NAME PASSWORD`. Every event has to be expected
 * before the next `>`, `+` or command. `#` starts a comment.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/chap.h"
#include "auth/eap.h"
#include "auth/login.h"
#include "auth/mschapv2.h"
#include "auth/pap.h"
#include "base/ct.h"
#include "base/digest.h"
#include "base/timerq.h"
#include "http/head.h"
#include "ppp/link.h"
#include "ppp/opt.h"
#include "ppp/peer.h"
#include "sstp/binding.h"
#include "sstp/client.h"
#include "sstp/server.h"

#define WORDS_MAX   64
#define SSTP_EVENTS 0x100 /* added to the types of the SSTP machine's events */
#define DATA_PASSED 0x200 /* an event of our own: a network frame that the gate let through */

struct request { /* our latest Configure-Request or Challenge of a protocol */
    uint16_t protocol;
    uint8_t id;
    uint8_t data[256];
    size_t len;
};

struct run {
    const char *file;
    unsigned line;
    struct ppp_cfg cfg;
    struct ppp_link *link;
    bool client; /* the machines of a client: peer and dial instead of link and sstp */
    struct ppp_peer_cfg peer_cfg;
    struct ppp_peer *peer;
    struct sstp_client dial;
    struct ppp_secret secret;
    char user[64], password[64];
    struct chap_mschapv2_response response; /* the client's latest */
    char users_text[2048];
    struct users *users;
    uint32_t address;
    bool manual, started;
    uint64_t now_ms;
    uint8_t counter; /* the random numbers */
    struct request requests[8];
    uint8_t challenge[16]; /* of the Challenge or of the Failure's C= */
    uint8_t mem[65536];
    struct evq q;
    uint8_t seen_mem[65536]; /* events that the scenario has not looked at yet */
    struct evq seen;
    struct ppp_auth_request asked;
    char head[2048]; /* the client's HTTP head */
    bool with_sstp;
    struct sstp_server sstp;
    struct sstp_cert_hashes cert;
    uint8_t nonce[SSTP_NONCE_LEN];
    uint8_t hlak[SSTP_HLAK_LEN]; /* as the client knows it from its last response */
    uint8_t sstp_mem[8192];
    struct evq sq;
};

static void die(const struct run *r, const char *what, const char *detail)
{
    fprintf(stderr, "%s:%u: %s%s%s (at %llu ms)\n", r->file, r->line, what, detail ? ": " : "", detail ? detail : "",
            (unsigned long long)r->now_ms);
    exit(1);
}

static void check(const struct run *r, int rc, const char *what)
{
    if (rc != 0)
        die(r, what, err_name(rc));
}

/* ---- the two roles under one face ---- */

static struct sstp_call *call_of(struct run *r)
{
    return r->client ? &r->dial.call : &r->sstp.call;
}

static int ppp_start(struct run *r)
{
    return r->client ? ppp_peer_start(r->peer, r->now_ms, &r->q) : ppp_link_start(r->link, r->now_ms, &r->q);
}

static int ppp_input(struct run *r, struct rd frame)
{
    return r->client ? ppp_peer_input(r->peer, frame, r->now_ms, &r->q)
                     : ppp_link_input(r->link, frame, r->now_ms, &r->q);
}

static int ppp_expire(struct run *r)
{
    return r->client ? ppp_peer_expire(r->peer, r->now_ms, &r->q) : ppp_link_expire(r->link, r->now_ms, &r->q);
}

static int ppp_terminate(struct run *r, const char *reason)
{
    return r->client ? ppp_peer_terminate(r->peer, reason, r->now_ms, &r->q)
                     : ppp_link_terminate(r->link, reason, r->now_ms, &r->q);
}

static uint64_t ppp_deadline(const struct run *r)
{
    return r->client ? ppp_peer_deadline(r->peer) : ppp_link_deadline(r->link);
}

static int call_expire(struct run *r)
{
    return r->client ? sstp_client_expire(&r->dial, r->now_ms, &r->sq)
                     : sstp_server_expire(&r->sstp, r->now_ms, &r->sq);
}

static int call_authenticated(struct run *r, const uint8_t hlak[SSTP_HLAK_LEN])
{
    return r->client ? sstp_client_authenticated(&r->dial, hlak, r->now_ms, &r->sq)
                     : sstp_server_authenticated(&r->sstp, hlak, r->now_ms, &r->sq);
}

static void count_up(void *arg, void *out, size_t n)
{
    uint8_t *counter = arg, *p = out;
    for (size_t i = 0; i < n; i++)
        p[i] = ++*counter;
}

static const struct {
    const char *name;
    uint16_t number;
} protocols[] = { { "lcp", PPP_LCP },       { "pap", PPP_PAP }, { "chap", PPP_CHAP }, { "eap", PPP_EAP },
                  { "ipcp", PPP_IPCP },     { "ccp", PPP_CCP }, { "ecp", 0x8053 },    { "cbcp", 0xc029 },
                  { "ipv6cp", PPP_IPV6CP }, { "ip", PPP_IP } };

static const struct {
    const char *name;
    uint8_t code;
} codes[] = { { "req", 1 },      { "ack", 2 },     { "nak", 3 },     { "rej", 4 },       { "termreq", 5 },
              { "termack", 6 },  { "coderej", 7 }, { "protrej", 8 }, { "echoreq", 9 },   { "echorep", 10 },
              { "discard", 11 }, { "ident", 12 },  { "time", 13 },   { "challenge", 1 }, { "response", 2 },
              { "success", 3 },  { "failure", 4 } };

static uint16_t protocol_of(const struct run *r, const char *word)
{
    for (size_t i = 0; i < sizeof protocols / sizeof protocols[0]; i++)
        if (strcmp(word, protocols[i].name) == 0)
            return protocols[i].number;
    unsigned long n = strtoul(word, NULL, 16);
    if (strlen(word) != 4 || n == 0)
        die(r, "unknown protocol", word);
    return (uint16_t)n;
}

static uint8_t code_of(const struct run *r, const char *word)
{
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (strcmp(word, codes[i].name) == 0)
            return codes[i].code;
    if (!isdigit((unsigned char)word[0]))
        die(r, "unknown code", word);
    return (uint8_t)strtoul(word, NULL, 10);
}

static struct request *request_of(struct run *r, uint16_t protocol)
{
    size_t i = 0;
    while (r->requests[i].protocol && r->requests[i].protocol != protocol)
        if (++i == sizeof r->requests / sizeof r->requests[0])
            die(r, "too many protocols", NULL);
    r->requests[i].protocol = protocol;
    return &r->requests[i];
}

/* A client's response to our challenge: what the proof is made from. */
static void note_response(struct run *r, uint16_t protocol, struct rd frame)
{
    struct chap_pkt chap;
    struct eap_pkt eap;
    struct eap_mschapv2 m;
    struct rd value = rd_make(NULL, 0);
    if (protocol == PPP_CHAP && chap_parse(frame, 0, &chap) == 0 && chap.code == CHAP_RESPONSE)
        value = chap.value;
    if (protocol == PPP_EAP && eap_parse(frame, &eap) == 0 && eap.type == EAP_TYPE_MSCHAPV2 &&
        eap_mschapv2_parse(eap.data, &m) == 0)
        value = m.value;
    if (rd_left(&value) == CHAP_MSCHAPV2_VALUE_LEN)
        (void)!chap_mschapv2_response_parse(value, &r->response);
}

/* A server's challenge, of either form. */
static void note_challenge(struct run *r, uint16_t protocol, struct rd frame)
{
    struct chap_pkt chap;
    struct eap_pkt eap;
    struct eap_mschapv2 m;
    if (protocol == PPP_CHAP && chap_parse(frame, 0, &chap) == 0 && chap.code == CHAP_CHALLENGE)
        (void)!rd_copy(&chap.value, r->challenge, 16);
    if (protocol == PPP_EAP && eap_parse(frame, &eap) == 0 && eap.type == EAP_TYPE_MSCHAPV2 &&
        eap_mschapv2_parse(eap.data, &m) == 0 && m.op == EAP_MSCHAPV2_CHALLENGE)
        (void)!rd_copy(&m.value, r->challenge, 16);
}

/* Remembers what answers refer to. */
static void note_sent(struct run *r, const struct ev *ev)
{
    struct rd frame = rd_make(ev->data, ev->len);
    uint16_t protocol;
    struct ppp_hdr pkt;
    if (!ppp_frame_open(&frame, &protocol) || !ppp_hdr_parse(frame, &pkt))
        die(r, "we sent a broken frame", NULL);
    if (rd_left(&frame) != rd_left(&pkt.whole) || memcmp(ev->data, "\xff\x03", 2) != 0)
        die(r, "a frame without FF 03 or with padding", NULL);
    if (r->client)
        note_response(r, protocol, frame);
    struct chap_pkt chap;
    struct chap_failure f;
    if (!r->client && protocol == PPP_CHAP && chap_parse(frame, 0, &chap) == 0) {
        if (chap.code == CHAP_CHALLENGE && !rd_copy(&chap.value, r->challenge, 16))
            die(r, "a short challenge", NULL);
        if (chap.code == CHAP_FAILURE && chap_mschapv2_failure_parse(chap.message, &f) == 0 && f.has_challenge) {
            memcpy(r->challenge, f.challenge, 16);
            request_of(r, protocol)->id = chap.id;
        }
    }
    if (pkt.code == CHAP_CHALLENGE) {
        struct request *q = request_of(r, protocol);
        q->id = pkt.id;
        q->len = rd_left(&pkt.data);
        if (q->len > sizeof q->data || !rd_copy(&pkt.data, q->data, q->len))
            die(r, "a large request", NULL);
    }
}

static void answer_auth(struct run *r, const struct ppp_auth_request *req)
{
    struct ppp_auth_result res;
    enum user_state why;
    check(r, login_check(r->users, req, 0, &res, &why), "login_check");
    check(r, ppp_link_auth_result(r->link, &res, r->now_ms, &r->q), "auth_result");
}

/* The SSTP machine's events; true when it starts PPP. */
static bool settle_sstp(struct run *r)
{
    struct ev ev;
    bool start = false;
    while (evq_next(&r->sq, &ev)) {
        start |= ev.type == SSTP_EV_PPP_START;
        if (ev.type == SSTP_EV_SEND && ev.len == 48 && ev.data[5] == SSTP_CALL_CONNECT_ACK)
            memcpy(r->nonce, ev.data + 16, SSTP_NONCE_LEN);
        if (ev.type != SSTP_EV_PPP_START)
            evq_put(&r->seen, (uint16_t)(ev.type + SSTP_EVENTS), ev.data, ev.len);
    }
    evq_reset(&r->sq);
    return start;
}

/* Moves events from the link's queue to `seen`, doing the owner's part of the work. */
static void settle(struct run *r)
{
    struct ev ev;
    bool ask = false, give = false;
    while (evq_next(&r->q, &ev)) {
        if (ev.type == PPP_EV_SEND)
            note_sent(r, &ev);
        if (ev.type == PPP_EV_AUTH && !r->client) {
            memcpy(&r->asked, ev.data, sizeof r->asked);
            ask = !r->manual;
            if (ask)
                continue;
        }
        evq_put(&r->seen, ev.type, ev.data, ev.len);
        if (ev.type != PPP_EV_AUTHED)
            continue;
        give = r->address != 0 && !r->client;
        if (r->with_sstp) {
            const struct ppp_authed *who = (const void *)ev.data;
            check(r, call_authenticated(r, who->hlak), "authenticated");
            (void)settle_sstp(r);
        }
    }
    evq_reset(&r->q);
    if (settle_sstp(r)) {
        check(r, ppp_start(r), "start");
        settle(r);
    }
    if (ask)
        answer_auth(r, &r->asked);
    if (give)
        check(r, ppp_link_set_ip4(r->link, r->address, r->now_ms, &r->q), "set_ip4");
    if (ask || give)
        settle(r);
}

static void describe(const struct ev *ev, char *out, size_t cap)
{
    static const char *const names[] = {
        "frame", "auth", "authed", "ip4-up", "ip4-down", "ip6-up", "ip6-down", "down"
    };
    char hex[2 * 256 + 1];
    hex_encode(ev->data, ev->len < 256 ? ev->len : 256, hex);
    const char *more = "";
    if (ev->type == PPP_EV_DOWN)
        more = ppp_down_name(ev->data[0]);
    bool frame = ev->type == PPP_EV_SEND || ev->type == SSTP_EVENTS + SSTP_EV_SEND;
    snprintf(out, cap, "%s %s %s", ev->type < 8 ? names[ev->type] : "of SSTP", more, frame ? hex : "");
}

static void quiet(struct run *r)
{
    struct ev ev;
    char text[700];
    if (evq_next(&r->seen, &ev)) {
        describe(&ev, text, sizeof text);
        die(r, "an event that nobody expects", text);
    }
    evq_reset(&r->seen);
}

static void put_response(struct run *r, struct wr *w, char **word, uint8_t id, const char *kind)
{
    const char *name = word[0], *secret = word[1];
    struct wr tmp = wr_make((uint8_t[512]){ 0 }, 512);
    if (strcmp(kind, "login") == 0) {
        pap_request_encode(&tmp, id, name, strlen(name), secret, strlen(secret));
    } else if (strcmp(kind, "md5") == 0) {
        uint8_t value[16];
        check(r, chap_md5_value(id, secret, strlen(secret), r->challenge, 16, value), "md5");
        chap_value_encode(&tmp, CHAP_RESPONSE, id, value, 16, name, strlen(name));
    } else {
        uint8_t hash[16], c8[8];
        const char *bare;
        size_t bare_len;
        struct chap_mschapv2_response resp = { .peer_challenge = "peer-challenge!" };
        mschapv2_bare_name(name, strlen(name), &bare, &bare_len);
        check(r, users_nt_hash(secret, strlen(secret), hash), "nt hash");
        check(r, mschapv2_challenge_hash(resp.peer_challenge, r->challenge, bare, bare_len, c8), "challenge hash");
        check(r, mschapv2_nt_response(hash, c8, resp.nt_response), "nt response");
        chap_mschapv2_response_encode(&tmp, id, &resp, name, strlen(name));
        struct mschapv2_keys keys;
        check(r, mschapv2_keys(hash, resp.nt_response, &keys), "keys");
        mschapv2_hlak(&keys, r->hlak);
    }
    wr_bytes(w, tmp.base + 4, wr_len(&tmp) - 4); /* the header is written by the caller */
}

/* S= of the server that knows the password, and the keys that go with it. */
static void put_proof(struct run *r, struct wr *w, const char *password)
{
    uint8_t hash[16], c8[8];
    const char *bare;
    size_t bare_len;
    char proof[MSCHAPV2_AUTH_RESPONSE_LEN];
    struct mschapv2_keys keys;
    mschapv2_bare_name(r->user, strlen(r->user), &bare, &bare_len);
    check(r, users_nt_hash(password, strlen(password), hash), "nt hash");
    check(r, mschapv2_challenge_hash(r->response.peer_challenge, r->challenge, bare, bare_len, c8), "challenge hash");
    check(r, mschapv2_auth_response(hash, r->response.nt_response, c8, proof), "auth response");
    check(r, mschapv2_keys(hash, r->response.nt_response, &keys), "keys");
    mschapv2_hlak(&keys, r->hlak);
    wr_bytes(w, proof, sizeof proof);
}

/* Builds DATA; mask has a zero for each byte half that may be anything. True in *open when it ends in `*`. */
static void put_data(struct run *r, struct wr *w, uint8_t *mask, char **word, uint16_t protocol, uint8_t id, bool *open)
{
    for (; *word; word++) {
        const struct request *q = request_of(r, protocol);
        size_t n = strlen(*word), at = wr_len(w);
        if (strcmp(*word, "*") == 0) {
            *open = true;
        } else if (strcmp(*word, "=") == 0) {
            wr_bytes(w, q->data, q->len);
        } else if ((*word)[0] == '"') {
            wr_bytes(w, *word + 1, n - 1);
        } else if (strcmp(*word, "mschapv2") == 0 || strcmp(*word, "md5") == 0 || strcmp(*word, "login") == 0) {
            if (!word[1] || !word[2])
                die(r, "a name and a password are missing", NULL);
            put_response(r, w, word + 1, id, *word);
            word += 2;
        } else if (strcmp(*word, "proof") == 0 && word[1]) {
            put_proof(r, w, *++word);
        } else {
            for (size_t i = 0; i + 1 < n; i += 2) {
                char two[3] = { (*word)[i] == '_' ? '0' : (*word)[i], (*word)[i + 1] == '_' ? '0' : (*word)[i + 1], 0 };
                uint8_t byte;
                if (!hex_decode(two, 2, &byte, 1))
                    die(r, "not hexadecimal", *word);
                wr_u8(w, byte);
                mask[at + i / 2] = (uint8_t)(((*word)[i] == '_' ? 0 : 0xf0) | ((*word)[i + 1] == '_' ? 0 : 0x0f));
            }
        }
        if (!wr_ok(w))
            die(r, "a frame too long", NULL);
    }
}

/* "PROTO CODE ID DATA..." as bytes behind FF 03. */
static size_t build_frame(struct run *r, char **word, uint8_t *out, uint8_t *mask, size_t cap, bool *open)
{
    if (!word[0] || !word[1] || !word[2])
        die(r, "protocol, code and id are needed", NULL);
    uint16_t protocol = protocol_of(r, word[0]);
    uint8_t id = request_of(r, protocol)->id;
    if (strcmp(word[2], "$+1") == 0)
        id++;
    else if (word[2][0] != '$')
        id = (uint8_t)strtoul(word[2], NULL, 10);
    memset(mask, 0xff, cap);
    struct wr w = wr_make(out, cap);
    wr_u16(&w, 0xff03);
    wr_u16(&w, protocol);
    wr_u8(&w, code_of(r, word[1]));
    wr_u8(&w, id);
    if (strcmp(word[2], "*") == 0)
        mask[5] = 0;
    size_t mark = wr_open16(&w);
    *open = false;
    put_data(r, &w, mask, word + 3, protocol, id, open);
    wr_close16(&w, mark, 2);
    if (*open)
        mask[6] = mask[7] = 0;
    return wr_len(&w);
}

static size_t plain_hex(struct run *r, const char *word, uint8_t *out, size_t cap)
{
    size_t n = word ? strlen(word) / 2 : 0;
    if (n > cap || (n && !hex_decode(word, 2 * n, out, n)))
        die(r, "not hexadecimal", word);
    return n;
}

/* CALL_CONNECTED or another control packet. */
static void other_side_sends_sstp(struct run *r, char **word)
{
    uint8_t pkt[SSTP_PKT_MAX];
    size_t n = 0;
    if (!word[1])
        die(r, "what?", NULL);
    if (strcmp(word[0], "cc") == 0) {
        bool sha1 = strcmp(word[1], "sha1") == 0;
        struct wr w = wr_make(pkt, sizeof pkt);
        r->hlak[0] ^= word[2] ? 1 : 0;
        check(r,
              sstp_cc_encode(&w, sha1 ? SSTP_HASH_SHA1 : SSTP_HASH_SHA256, r->nonce,
                             sha1 ? r->cert.sha1 : r->cert.sha256, r->hlak),
              "cc");
        n = wr_len(&w);
    } else {
        n = plain_hex(r, word[1], pkt, sizeof pkt);
    }
    if (r->client && n == 48 && pkt[5] == SSTP_CALL_CONNECT_ACK)
        memcpy(r->nonce, pkt + 16, SSTP_NONCE_LEN);
    struct rd in = rd_make(pkt, n);
    check(r,
          r->client ? sstp_client_control(&r->dial, in, r->now_ms, &r->sq)
                    : sstp_server_control(&r->sstp, in, r->now_ms, &r->sq),
          "control");
}

static void other_side_sends(struct run *r, char **word)
{
    uint8_t frame[4200], mask[4200];
    size_t n;
    bool open;
    if (word[0] && (strcmp(word[0], "sstp") == 0 || strcmp(word[0], "cc") == 0)) {
        other_side_sends_sstp(r, word);
        return;
    }
    if (word[0] && strcmp(word[0], "raw") == 0) {
        n = plain_hex(r, word[1], frame, sizeof frame);
    } else {
        n = build_frame(r, word, frame, mask, sizeof frame, &open);
    }
    struct rd peek = rd_make(frame, n);
    uint16_t protocol;
    sstp_call_alive(call_of(r), r->now_ms);
    if (r->with_sstp && ppp_frame_open(&peek, &protocol)) {
        if (!sstp_call_may_pass(call_of(r), protocol))
            return;
        if (protocol < 0x8000)
            evq_put(&r->seen, DATA_PASSED, frame, n);
    }
    peek = rd_make(frame, n);
    if (r->client && ppp_frame_open(&peek, &protocol))
        note_challenge(r, protocol, peek);
    check(r, ppp_input(r, rd_make(frame, n)), "input");
}

static void next_event(struct run *r, unsigned type, struct ev *ev)
{
    char text[700];
    if (!evq_next(&r->seen, ev))
        die(r, "nothing happened", NULL);
    if (ev->type != type) {
        describe(ev, text, sizeof text);
        die(r, "another event", text);
    }
}

static void expect_frame(struct run *r, char **word)
{
    uint8_t want[4200], mask[4200];
    bool open;
    struct ev ev;
    size_t n;
    if (word[0] && strcmp(word[0], "cc") == 0 && word[1]) {
        next_event(r, SSTP_EVENTS + SSTP_EV_SEND, &ev);
        bool sha1 = strcmp(word[1], "sha1") == 0;
        struct wr w = wr_make(want, sizeof want);
        memset(mask, 0xff, sizeof mask);
        open = false;
        check(r,
              sstp_cc_encode(&w, sha1 ? SSTP_HASH_SHA1 : SSTP_HASH_SHA256, r->nonce,
                             sha1 ? r->cert.sha1 : r->cert.sha256, r->hlak),
              "cc");
        n = wr_len(&w);
    } else if (word[0] && strcmp(word[0], "sstp") == 0) {
        next_event(r, SSTP_EVENTS + SSTP_EV_SEND, &ev);
        struct wr w = wr_make(want, sizeof want);
        memset(mask, 0xff, sizeof mask);
        open = false;
        put_data(r, &w, mask, word + 1, 0x5353, 0, &open);
        n = wr_len(&w);
    } else {
        next_event(r, PPP_EV_SEND, &ev);
        n = build_frame(r, word, want, mask, sizeof want, &open);
    }
    bool good = open ? ev.len >= n : ev.len == n;
    for (size_t i = 0; good && i < n; i++)
        good = (ev.data[i] & mask[i]) == (want[i] & mask[i]);
    char text[700];
    describe(&ev, text, sizeof text);
    if (!good)
        die(r, "another frame", text);
}

/* True when the word names an event of the SSTP machine, which then was the next one. */
static bool expect_sstp_event(struct run *r, char **word)
{
    static const char *const names[] = { [SSTP_EV_UP] = "up", [SSTP_EV_ENDING] = "ending", [SSTP_EV_CLOSE] = "close" };
    static const char *const causes[] = {
        [SSTP_END_PEER_DISCONNECT] = "peer-disconnect",
        [SSTP_END_PEER_ABORT] = "peer-abort",
        [SSTP_END_OUR_DISCONNECT] = "our-disconnect",
        [SSTP_END_ABORT] = "abort",
        [SSTP_END_BINDING] = "binding",
        [SSTP_END_NEGOTIATION_TIMEOUT] = "negotiation-timeout",
        [SSTP_END_HELLO_TIMEOUT] = "hello-timeout",
        [SSTP_END_REFUSED] = "refused",
    };
    for (unsigned type = SSTP_EV_UP; type <= SSTP_EV_CLOSE; type++) {
        struct ev ev;
        if (strcmp(names[type], word[0]) != 0)
            continue;
        next_event(r, SSTP_EVENTS + type, &ev);
        if (type == SSTP_EV_ENDING && word[1] && strcmp(causes[ev.data[0]], word[1]) != 0)
            die(r, "another cause", causes[ev.data[0]]);
        return true;
    }
    return false;
}

static void name_ip4(const struct ev *ev, char *out, size_t cap)
{
    const struct ppp_peer_ip4 *up = (const void *)ev->data;
    const uint32_t all[4] = { up->ip4, up->peer, up->dns[0], up->dns[1] };
    size_t n = 0;
    for (size_t i = 0; i < 4; i++) {
        struct in_addr a = { .s_addr = htonl(all[i]) };
        char text[INET_ADDRSTRLEN];
        n += (size_t)snprintf(out + n, cap - n, "%s%s", i ? "/" : "", inet_ntop(AF_INET, &a, text, sizeof text));
    }
}

static void expect_event(struct run *r, char **word)
{
    struct ev ev;
    if (expect_sstp_event(r, word))
        return;
    if (strcmp(word[0], "data") == 0) {
        next_event(r, DATA_PASSED, &ev);
        return;
    }
    static const char *const names[] = {
        [PPP_EV_AUTH] = "auth",         [PPP_EV_AUTHED] = "authed", [PPP_EV_IP4_UP] = "ip4-up",
        [PPP_EV_IP4_DOWN] = "ip4-down", [PPP_EV_IP6_UP] = "ip6-up", [PPP_EV_IP6_DOWN] = "ip6-down",
        [PPP_EV_DOWN] = "down"
    };
    unsigned type = PPP_EV_AUTH;
    while (type <= PPP_EV_DOWN && strcmp(names[type], word[0]) != 0)
        type++;
    if (type > PPP_EV_DOWN)
        die(r, "unknown event", word[0]);
    char got[300] = "";
    next_event(r, type, &ev);
    if (type == PPP_EV_AUTH)
        snprintf(got, sizeof got, "%.*s", ((const struct ppp_auth_request *)(const void *)ev.data)->name_len,
                 ((const struct ppp_auth_request *)(const void *)ev.data)->name);
    if (type == PPP_EV_AUTHED)
        snprintf(got, sizeof got, "%.*s", ((const struct ppp_authed *)(const void *)ev.data)->name_len,
                 ((const struct ppp_authed *)(const void *)ev.data)->name);
    if (type == PPP_EV_IP6_UP)
        hex_encode(ev.data, ev.len, got);
    if (type == PPP_EV_IP4_UP && r->client)
        name_ip4(&ev, got, sizeof got);
    if (type == PPP_EV_DOWN)
        snprintf(got, sizeof got, "%s", ppp_down_name(ev.data[0]));
    if (type == PPP_EV_DOWN && word[1] && word[2] &&
        strcmp(word[2] + 1, ((const struct ppp_down *)(const void *)ev.data)->text) != 0)
        die(r, "another text", ((const struct ppp_down *)(const void *)ev.data)->text);
    if (word[1] && strcmp(word[1], got) != 0)
        die(r, "another value", got);
}

static uint32_t ip4(const struct run *r, const char *word)
{
    struct in_addr a;
    if (!word || inet_pton(AF_INET, word, &a) != 1)
        die(r, "not an address", word);
    return ntohl(a.s_addr);
}

static const char *const methods[] = { "none", "pap", "chap", "mschapv2", "eap" };

static void config_peer(struct run *r, char **word)
{
    struct ppp_peer_cfg *c = &r->peer_cfg;
    const char *key = word[0];
    bool on = strcmp(word[1], "on") == 0;
    if (strcmp(key, "auth") == 0) {
        memset(c->auth, 0, sizeof c->auth);
        for (unsigned i = 0; word[1 + i] && i < sizeof c->auth - 1; i++)
            for (uint8_t m = 0; m < PPP_AUTH_METHODS; m++)
                if (strcmp(word[1 + i], methods[m]) == 0)
                    c->auth[i] = m;
    } else if (strcmp(key, "mru") == 0) {
        c->mru = (uint16_t)atoi(word[1]);
    } else if (strcmp(key, "dns") == 0) {
        c->dns = on;
    } else if (strcmp(key, "ip6") == 0) {
        c->ipv6 = on;
    } else if (strcmp(key, "survey") == 0) {
        c->survey = on;
    } else if (strcmp(key, "echo") == 0 && word[2]) {
        c->lcp_echo_idle_ms = (uint32_t)atoi(word[1]);
        c->lcp_echo_misses = (uint8_t)atoi(word[2]);
    } else {
        die(r, "unknown key", key);
    }
}

static void config(struct run *r, char **word)
{
    struct ppp_cfg *c = &r->cfg;
    const char *key = word[0];
    if (strcmp(key, "auth") == 0) {
        memset(c->auth, 0, sizeof c->auth);
        for (unsigned i = 0; word[1 + i]; i++)
            for (uint8_t m = 0; m < 4; m++)
                if (strcmp(word[1 + i], methods[m]) == 0)
                    c->auth[i] = m;
    } else if (strcmp(key, "mtu") == 0) {
        c->mtu = (uint16_t)atoi(word[1]);
    } else if (strcmp(key, "mru") == 0) {
        c->mru = (uint16_t)atoi(word[1]);
    } else if (strcmp(key, "server") == 0) {
        c->server_ip4 = ip4(r, word[1]);
    } else if (strcmp(key, "dns") == 0 || strcmp(key, "nbns") == 0) {
        uint32_t *to = key[0] == 'd' ? c->dns : c->nbns;
        to[0] = ip4(r, word[1]);
        to[1] = word[2] ? ip4(r, word[2]) : 0;
    } else if (strcmp(key, "ip6") == 0) {
        c->ipv6 = strcmp(word[1], "on") == 0;
    } else if (strcmp(key, "tries") == 0) {
        c->auth_tries = (uint8_t)atoi(word[1]);
    } else if (strcmp(key, "echo") == 0) {
        c->lcp_echo_idle_ms = (uint32_t)atoi(word[1]);
        c->lcp_echo_misses = (uint8_t)atoi(word[2]);
    } else {
        die(r, "unknown key", key);
    }
}

static void make_link(struct run *r)
{
    struct users_error err;
    if (r->link || r->peer)
        return;
    if (r->client) {
        r->secret = (struct ppp_secret){ r->user, r->password };
        r->peer = ppp_peer_new(&r->peer_cfg, &r->secret, (struct rng){ count_up, &r->counter });
        if (!r->peer)
            die(r, "out of memory", NULL);
        return;
    }
    if (users_parse(r->users_text, strlen(r->users_text), &r->users, &err) != 0)
        die(r, "users", err.text);
    r->link = ppp_link_new(&r->cfg, (struct rng){ count_up, &r->counter });
    if (!r->link)
        die(r, "out of memory", NULL);
}

static uint64_t next_deadline(const struct run *r)
{
    uint64_t ppp = ppp_deadline(r), call = TIME_NEVER;
    if (r->with_sstp)
        call = r->client ? sstp_client_deadline(&r->dial) : sstp_server_deadline(&r->sstp);
    return ppp < call ? ppp : call;
}

static void pass_time(struct run *r, uint64_t ms)
{
    uint64_t end = r->now_ms + ms, at;
    while ((at = next_deadline(r)) <= end) {
        if (at > r->now_ms)
            r->now_ms = at;
        check(r, ppp_expire(r), "expire");
        if (r->with_sstp)
            check(r, call_expire(r), "expire");
        if (next_deadline(r) <= r->now_ms)
            die(r, "a deadline that does not move", NULL);
        settle(r);
    }
    r->now_ms = end;
}

static void auth_verdict(struct run *r, const char *word)
{
    struct ppp_auth_result res = { .code = (uint16_t)(strcmp(word, "ok") == 0 ? 0 : atoi(word)) };
    memcpy(res.auth_response, "S=0123456789ABCDEF0123456789ABCDEF01234567", 42);
    check(r, ppp_link_auth_result(r->link, &res, r->now_ms, &r->q), "auth_result");
}

static void judge_head(struct run *r)
{
    struct http_head h;
    size_t n = strlen(r->head);
    snprintf(r->head + n, sizeof r->head - n, "\r\n");
    http_head_init(&h);
    if (http_head_input(&h, rd_make(r->head, n + 2)) != HTTP_SSTP || h.head_len != n + 2)
        die(r, "not an SSTP request", h.why);
}

static void start_sstp(struct run *r)
{
    r->with_sstp = true;
    r->cert.known = 3;
    memset(r->cert.sha1, 0x11, sizeof r->cert.sha1);
    memset(r->cert.sha256, 0x22, sizeof r->cert.sha256);
    if (r->client) {
        sstp_client_init(&r->dial, &sstp_client_cfg_default, &r->cert);
        check(r, sstp_client_start(&r->dial, r->now_ms, &r->sq), "start");
        return;
    }
    sstp_server_init(&r->sstp, &sstp_server_cfg_default, &r->cert, 1, (struct rng){ count_up, &r->counter }, r->now_ms);
}

/* What the owner of a server's link does. */
static void command_link(struct run *r, char **word)
{
    const char *verb = word[0];
    if (strcmp(verb, "http") == 0) {
        judge_head(r);
    } else if (strcmp(verb, "auth") == 0 && word[1]) {
        auth_verdict(r, word[1]);
    } else if (strcmp(verb, "auth-user") == 0) {
        answer_auth(r, &r->asked);
    } else if (strcmp(verb, "set-ip4") == 0) {
        check(r, ppp_link_set_ip4(r->link, ip4(r, word[1]), r->now_ms, &r->q), "set_ip4");
    } else {
        die(r, "unknown command", verb);
    }
}

static void command_peer(struct run *r, char **word)
{
    const char *verb = word[0];
    if (strcmp(verb, "methods") == 0 && word[1]) {
        if (strtoul(word[1], NULL, 16) != ppp_peer_methods(r->peer))
            die(r, "other methods", NULL);
    } else if (strcmp(verb, "auth-error") == 0 && word[1]) {
        if (strtoul(word[1], NULL, 10) != ppp_peer_auth_error(r->peer))
            die(r, "another error", NULL);
    } else if (strcmp(verb, "disconnect") == 0) {
        check(r, sstp_client_disconnect(&r->dial, r->now_ms, &r->sq), "disconnect");
    } else {
        die(r, "unknown command", verb);
    }
}

static void command(struct run *r, char **word)
{
    const char *verb = word[0];
    make_link(r);
    if (strcmp(verb, "start") == 0) {
        check(r, ppp_start(r), "start");
    } else if (strcmp(verb, "sstp") == 0) {
        start_sstp(r);
    } else if (strcmp(verb, "terminate") == 0 && word[1]) {
        check(r, ppp_terminate(r, word[1] + (word[1][0] == '"')), "terminate");
    } else if (strcmp(verb, "alive") == 0) {
        if (r->client)
            ppp_peer_alive(r->peer, r->now_ms);
        else
            ppp_link_alive(r->link, r->now_ms);
    } else if (strcmp(verb, "phase") == 0 && word[1]) {
        const char *phase = r->client ? ppp_peer_phase(r->peer) : ppp_link_phase(r->link);
        if (strcmp(word[1], phase) != 0)
            die(r, "another phase", phase);
    } else if (strcmp(verb, "mru") == 0 && word[1]) {
        if (atoi(word[1]) != (r->client ? ppp_peer_mtu(r->peer) : ppp_link_peer_mru(r->link)))
            die(r, "another MRU", NULL);
    } else if (r->client) {
        command_peer(r, word);
    } else {
        command_link(r, word);
    }
}

/* Splits at blanks; a word that begins with a quote runs to the next one and keeps the first. */
static void split(char *line, char **word)
{
    size_t n = 0;
    for (char *p = line; *p && n < WORDS_MAX - 1;) {
        p += strspn(p, " \t\r\n");
        if (!*p || *p == '#')
            break;
        word[n++] = p;
        p += *p == '"' ? 1 + strcspn(p + 1, "\"") : strcspn(p, " \t\r\n");
        if (*p)
            *p++ = 0;
    }
    word[n] = NULL;
}

static void play_line(struct run *r, char *line)
{
    char *word[WORDS_MAX];
    if (strncmp(line, "user ", 5) == 0) {
        size_t used = strlen(r->users_text);
        snprintf(r->users_text + used, sizeof r->users_text - used, "%s", line + 5);
        return;
    }
    if (strncmp(line, "header ", 7) == 0) {
        size_t used = strlen(r->head);
        snprintf(r->head + used, sizeof r->head - used, "%.*s\r\n", (int)strcspn(line + 7, "\r\n"), line + 7);
        return;
    }
    split(line, word);
    if (!word[0])
        return;
    if (strcmp(word[0], "role") == 0 && word[1]) {
        r->client = strcmp(word[1], "client") == 0;
    } else if (strcmp(word[0], "login") == 0 && word[1] && word[2]) {
        snprintf(r->user, sizeof r->user, "%s", word[1]);
        snprintf(r->password, sizeof r->password, "%s", word[2]);
    } else if (strcmp(word[0], "config") == 0 && word[1] && word[2]) {
        if (r->client)
            config_peer(r, word + 1);
        else
            config(r, word + 1);
    } else if (strcmp(word[0], "address") == 0) {
        r->address = ip4(r, word[1]);
    } else if (strcmp(word[0], "manual") == 0) {
        r->manual = true;
    } else if (strcmp(word[0], "<") == 0) {
        expect_frame(r, word + 1);
    } else if (strcmp(word[0], "!") == 0 && word[1]) {
        expect_event(r, word + 1);
    } else {
        quiet(r);
        if (strcmp(word[0], ">") == 0)
            other_side_sends(r, word + 1);
        else if (strcmp(word[0], "+") == 0 && word[1])
            pass_time(r, strtoul(word[1], NULL, 10));
        else
            command(r, word);
        settle(r);
    }
}

int main(int argc, char **argv)
{
    static struct run r;
    char line[9000];
    if (argc != 2 || digest_init() != 0) {
        fprintf(stderr, "usage: run_replay FILE.rp\n");
        return 2;
    }
    r.file = argv[1];
    r.cfg = (struct ppp_cfg){ .mtu = 1400, .auth = { PPP_AUTH_MSCHAPV2 }, .server_ip4 = 0x0a080001, .auth_tries = 3 };
    r.peer_cfg = (struct ppp_peer_cfg){ .auth = { PPP_AUTH_EAP_MSCHAPV2, PPP_AUTH_MSCHAPV2 }, .dns = true };
    r.q = evq_make(r.mem, sizeof r.mem);
    r.sq = evq_make(r.sstp_mem, sizeof r.sstp_mem);
    r.seen = evq_make(r.seen_mem, sizeof r.seen_mem);
    FILE *f = fopen(r.file, "r");
    if (!f)
        die(&r, "cannot open", NULL);
    while (fgets(line, sizeof line, f)) {
        r.line++;
        play_line(&r, line);
    }
    fclose(f);
    quiet(&r);
    if (!r.link && !r.peer)
        die(&r, "an empty scenario", NULL);
    ppp_link_free(r.link);
    ppp_peer_free(r.peer);
    sstp_server_fini(&r.sstp);
    sstp_client_fini(&r.dial);
    users_free(r.users);
    return 0;
}
