/*
 * Session tickets (RFC 5077, RFC 8446 4.6.1): their keys, and the certificate hashes inside them.
 *
 * A resumed session shows no certificate, and by then the server may have another one than in the full handshake. What
 * the client saw is therefore written into the ticket and read back out of it; a ticket without it is as good as none,
 * and so is one from a certificate that is not shown here and now.
 */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/ct.h"
#include "tls/internal.h"

#define KEY_LIFE_S   (12 * 3600)
#define KEY_NAME_LEN 16                 /* RFC 5077 4 */
#define APPDATA_LEN  (TLS_LEAF_LEN + 8) /* hashes of the leaf, then when the full handshake was, in network order */

int64_t tls_ticket_life_s = 24 * 3600;

struct ticket_key {
    uint8_t name[KEY_NAME_LEN];
    uint8_t aes[32];
    uint8_t mac[32];
};

struct tls_ticket_keys {
    pthread_mutex_t lock;
    struct ticket_key cur, prev;
    bool has_prev;
    time_t since; /* monotonic seconds when cur was made */
};

static time_t now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts); /* goes on while the machine sleeps */
    return ts.tv_sec;
}

static bool key_fill(struct ticket_key *k)
{
    return RAND_bytes(k->name, sizeof k->name) == 1 && RAND_priv_bytes(k->aes, sizeof k->aes) == 1 &&
           RAND_priv_bytes(k->mac, sizeof k->mac) == 1;
}

struct tls_ticket_keys *tls_ticket_keys_new(void)
{
    struct tls_ticket_keys *k = calloc(1, sizeof(*k));
    if (!k)
        return NULL;
    if (!key_fill(&k->cur) || pthread_mutex_init(&k->lock, NULL)) {
        secret_free(k, sizeof(*k));
        return NULL;
    }
    k->since = now_s();
    return k;
}

void tls_ticket_keys_free(struct tls_ticket_keys *k)
{
    if (!k)
        return;
    pthread_mutex_destroy(&k->lock);
    secret_free(k, sizeof(*k));
}

/* With the lock held. Without randomness the old key stays. */
static void rotate(struct tls_ticket_keys *k)
{
    struct ticket_key fresh;
    k->since = now_s();
    if (key_fill(&fresh)) {
        k->prev = k->cur;
        k->has_prev = true;
        k->cur = fresh;
    }
    secret_wipe(&fresh, sizeof fresh);
}

void tls_ticket_keys_rotate(struct tls_ticket_keys *k)
{
    pthread_mutex_lock(&k->lock);
    rotate(k);
    pthread_mutex_unlock(&k->lock);
}

/* Copies the key that a ticket names, or (name NULL) the one for new tickets. 1: found; 2: found, but due for a new
 * one; 0: none. */
static int key_take(struct tls_ticket_keys *k, const uint8_t *name, struct ticket_key *out)
{
    int found = 0;
    pthread_mutex_lock(&k->lock);
    time_t age = now_s() - k->since;
    if (age >= KEY_LIFE_S)
        rotate(k);
    if (age >= 2 * KEY_LIFE_S)
        k->has_prev = false; /* nobody came for so long that it has had its time, too */
    if (!name || ct_equal(name, k->cur.name, KEY_NAME_LEN)) {
        *out = k->cur;
        found = 1;
    } else if (k->has_prev && ct_equal(name, k->prev.name, KEY_NAME_LEN)) {
        *out = k->prev;
        found = 2;
    }
    pthread_mutex_unlock(&k->lock);
    return found;
}

static int key_cb(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int enc)
{
    struct tls_ticket_keys *keys = tls_shown(ssl)->tickets;
    struct ticket_key k;
    int found = key_take(keys, enc ? NULL : name, &k);
    if (!found)
        return 0;
    if (enc) {
        memcpy(name, k.name, KEY_NAME_LEN);
        if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1)
            found = -1;
    }
    char hash[] = "SHA256";
    OSSL_PARAM params[] = { OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k.mac, sizeof k.mac),
                            OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, hash, 0),
                            OSSL_PARAM_construct_end() };
    if (found > 0 && (EVP_MAC_CTX_set_params(mac, params) != 1 ||
                      EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k.aes, iv, enc) != 1))
        found = -1;
    secret_wipe(&k, sizeof k);
    return found;
}

static bool appdata_get(SSL_SESSION *sess, uint8_t out[APPDATA_LEN])
{
    void *data = NULL;
    size_t len = 0;
    if (!sess || SSL_SESSION_get0_ticket_appdata(sess, &data, &len) != 1 || !data || len != APPDATA_LEN)
        return false;
    memcpy(out, data, APPDATA_LEN);
    return true;
}

static void appdata_set_time(uint8_t data[APPDATA_LEN])
{
    uint64_t t = (uint64_t)now_s();
    for (int i = 0; i < 8; i++)
        data[TLS_LEAF_LEN + i] = (uint8_t)(t >> (56 - 8 * i));
}

/* Seconds since the full handshake that these data are of. */
static int64_t appdata_age(const uint8_t data[APPDATA_LEN])
{
    uint64_t t = 0;
    for (int i = 0; i < 8; i++)
        t = t << 8 | data[TLS_LEAF_LEN + i];
    return (int64_t)((uint64_t)now_s() - t);
}

static bool served_leaf(SSL *ssl, uint8_t out[TLS_LEAF_LEN])
{
    const struct tls_cert *c = tls_served(ssl);
    if (!c)
        return false;
    memcpy(out, c->info.sha1, 20);
    memcpy(out + 20, c->info.sha256, 32);
    return true;
}

/* Would a full handshake show this leaf now? */
static bool still_shown(const struct tls_shown *shown, const uint8_t leaf[TLS_LEAF_LEN])
{
    for (int slot = 0; slot < TLS_SLOTS; slot++)
        if (shown->cert[slot] && !memcmp(shown->cert[slot]->info.sha256, leaf + 20, 32))
            return true;
    return false;
}

bool tls_leaf_get(SSL *ssl, uint8_t out[TLS_LEAF_LEN])
{
    /* After a resumption SSL_get_certificate() is what the context would serve, not what the client was shown. */
    uint8_t data[APPDATA_LEN];
    if (!SSL_session_reused(ssl))
        return served_leaf(ssl, out);
    if (!appdata_get(SSL_get_session(ssl), data))
        return false;
    memcpy(out, data, TLS_LEAF_LEN);
    return true;
}

/* A ticket is about to be written. One that renews a resumed session keeps the hashes and the time of the full
 * handshake. */
static int ticket_write(SSL *ssl, void *arg)
{
    (void)arg;
    uint8_t data[APPDATA_LEN];
    if (SSL_session_reused(ssl) ? !appdata_get(SSL_get_session(ssl), data) : !served_leaf(ssl, data))
        return 0;
    if (!SSL_session_reused(ssl))
        appdata_set_time(data);
    return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), data, sizeof data) == 1;
}

static SSL_TICKET_RETURN ticket_read(SSL *ssl, SSL_SESSION *sess, const unsigned char *name, size_t name_len,
                                     SSL_TICKET_STATUS status, void *arg)
{
    uint8_t data[APPDATA_LEN];
    (void)name, (void)name_len, (void)arg;
    bool good = status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW;
    /* In TLS 1.3 a ticket is for one use (RFC 8446 C.4), so that each gives the next one. */
    if (good && appdata_get(sess, data) && appdata_age(data) >= 0 && appdata_age(data) < tls_ticket_life_s &&
        still_shown(tls_shown(ssl), data))
        return status == SSL_TICKET_SUCCESS_RENEW || SSL_version(ssl) == TLS1_3_VERSION ? SSL_TICKET_RETURN_USE_RENEW
                                                                                        : SSL_TICKET_RETURN_USE;
    return SSL_TICKET_RETURN_IGNORE_RENEW; /* a full handshake, and a ticket from it */
}

int tls_tickets_install(SSL_CTX *ctx, struct tls_ticket_keys *keys)
{
    static const unsigned char id[] = "gatehouse";
    if (!keys) {
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
        return SSL_CTX_set_num_tickets(ctx, 0) == 1 ? 0 : ERR_SYSTEM;
    }
    /* One ticket for each handshake in TLS 1.3, and one for each resumption: a second one costs a tenth of a handshake.
     */
    if (SSL_CTX_set_session_id_context(ctx, id, sizeof id - 1) != 1 || SSL_CTX_set_num_tickets(ctx, 1) != 1 ||
        SSL_CTX_set_session_ticket_cb(ctx, ticket_write, ticket_read, NULL) != 1 ||
        SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, key_cb) != 1)
        return ERR_SYSTEM;
    return 0;
}
