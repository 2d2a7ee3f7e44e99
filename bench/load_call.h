/*
 * One SSTP call as the load client dials it: TCP, TLS, HTTP, SSTP, LCP, MS-CHAPv2, crypto binding, IPCP, then echoes
 * are answered until it hangs up. Small on purpose: it asks for no more than an address, trusts every certificate and
 * repeats nothing, since its transport loses nothing.
 */
#ifndef GH_BENCH_LOAD_CALL_H
#define GH_BENCH_LOAD_CALL_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "base/rd.h"

enum call_state {
    CALL_TLS,  /* TCP and TLS */
    CALL_HTTP, /* request sent */
    CALL_SSTP, /* CALL_CONNECT_REQUEST sent */
    CALL_PPP,  /* LCP, authentication, IPCP */
    CALL_UP,
    CALL_ENDING, /* DISCONNECT sent */
    CALL_ENDED,  /* in order */
    CALL_FAILED, /* see why */
};

struct call;

struct call_cfg {
    struct sockaddr_in server;
    struct in_addr source; /* first of n_sources consecutive addresses; 0: the kernel chooses */
    unsigned n_sources;
    SSL_CTX *tls;
    const char *user;
    uint8_t nt_hash[16];
    size_t out_cap; /* bytes of plaintext that may wait for the socket; 0: a few */
    /*
     * For calls that carry traffic: memory that all of them read into, in large pieces; NULL: each has a little of its
     * own. data: an IP packet for us, in memory that stays until flush(). Both may be NULL.
     */
    uint8_t *scratch;
    size_t scratch_len;
    void (*data)(void *arg, struct call *c, struct rd packet);
    void (*flush)(void *arg);
    void *arg;
};

struct call {
    const struct call_cfg *cfg; /* borrowed */
    enum call_state state;
    const char *why; /* CALL_FAILED: static text */
    int fd;
    SSL *ssl;
    uint64_t start_ns, up_ns;
    uint32_t ip4, server_ip4; /* host order */
    uint8_t *in, *out;        /* plaintext not yet whole, plaintext not yet sent; owned */
    uint8_t *own;             /* of call_drive(): the call's own, while `in` is the scratch memory */
    size_t in_len, in_cap, out_at, out_len, out_cap;
    bool blocked; /* the socket takes no more for now */
    bool lost;    /* nothing more comes from it */
    uint8_t cert_hash[32], nonce[32];
    uint8_t auth_expected[42];
    uint8_t hlak[32];
    uint8_t hash_mask;
    bool authed, ipcp_mine, ipcp_theirs;
};

/* Begins a dial; index chooses the source address. Failure is a state. */
void call_start(struct call *c, const struct call_cfg *cfg, unsigned index);

/* Goes on until the socket blocks or `records` TLS records were read. True when there may be more to read at once. */
bool call_drive(struct call *c, unsigned records);

/* Appends to what is to be sent; call_drive() or call_flush() sends it. */
void call_send(struct call *c, const void *data, size_t n);
void call_flush(struct call *c);

/* SSTP DISCONNECT; the state is CALL_ENDED when it was acknowledged. */
void call_hang_up(struct call *c);

/* Closes the socket and frees what the call holds; state and times stay. Fine twice. */
void call_close(struct call *c);

#endif
