#include "tls/wire.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define RECORD_MAX (5 + 16384 + 256) /* RFC 8446 5.2; in TLS 1.2 no cipher of ours adds more */
#define GATHER_MAX (5 * RECORD_MAX)  /* four of the caller's, and what TLS itself may have to say before */

static _Thread_local struct {
    size_t len;
    uint8_t buf[GATHER_MAX];
} gathered;

/* Bytes sent, or -1 with errno. */
static ssize_t socket_send(const struct wire *w, const void *buf, size_t n)
{
    ssize_t rc;
    do
        rc = send(w->fd, buf, n, MSG_NOSIGNAL | (w->apart ? MSG_EOR : 0));
    while (rc < 0 && errno == EINTR);
    return rc;
}

static int failed(void)
{
    return errno == EAGAIN ? ERR_AGAIN : ERR_SYSTEM;
}

static int kept_send(struct wire *w)
{
    while (w->kept_off < w->kept_len) {
        ssize_t n = socket_send(w, w->kept + w->kept_off, w->kept_len - w->kept_off);
        if (n < 0)
            return failed();
        w->kept_off += (size_t)n;
    }
    wire_fini(w);
    return 0;
}

/* The socket is full: what was gathered and not sent must outlive this call. Nothing was kept before. */
static int keep(struct wire *w, const uint8_t *buf, size_t n)
{
    w->kept = malloc(n);
    if (!w->kept)
        return ERR_NOMEM;
    memcpy(w->kept, buf, n);
    w->kept_off = 0;
    w->kept_len = n;
    return ERR_AGAIN;
}

void wire_gather(struct wire *w)
{
    w->gathering = true;
    gathered.len = 0;
}

bool wire_room(const struct wire *w)
{
    return w->gathering && GATHER_MAX - gathered.len >= 2 * RECORD_MAX; /* one stays free */
}

void wire_put(struct wire *w, const void *buf, size_t n)
{
    (void)w;
    memcpy(gathered.buf + gathered.len, buf, n);
    gathered.len += n;
}

int wire_send(struct wire *w)
{
    size_t len = w->gathering ? gathered.len : 0, off = 0;
    w->gathering = false;
    gathered.len = 0;
    int err = kept_send(w);
    if (err)
        return len ? ERR_BUG : err; /* one does not gather behind what is kept */
    while (off < len) {
        ssize_t n = socket_send(w, gathered.buf + off, len - off);
        if (n < 0)
            return failed() == ERR_AGAIN ? keep(w, gathered.buf + off, len - off) : ERR_SYSTEM;
        off += (size_t)n;
    }
    return 0;
}

void wire_fini(struct wire *w)
{
    free(w->kept);
    w->kept = NULL;
    w->kept_off = w->kept_len = 0;
}

/* ---- the BIO ---- */

static int bio_write(BIO *b, const char *buf, int n)
{
    struct wire *w = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    if (w->gathering && (size_t)n <= GATHER_MAX - gathered.len) {
        memcpy(gathered.buf + gathered.len, buf, (size_t)n);
        gathered.len += (size_t)n;
        return n;
    }
    int err = wire_send(w);
    ssize_t rc = err ? -1 : socket_send(w, buf, (size_t)n);
    if (rc < 0 && (err ? err : failed()) == ERR_AGAIN)
        BIO_set_retry_write(b);
    return (int)rc;
}

static int bio_read(BIO *b, char *buf, int n)
{
    struct wire *w = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    ssize_t rc;
    do
        rc = recv(w->fd, buf, (size_t)n, 0);
    while (rc < 0 && errno == EINTR);
    w->eof = rc == 0;
    if (rc < 0 && errno == EAGAIN)
        BIO_set_retry_read(b);
    return (int)rc;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    const struct wire *w = BIO_get_data(b);
    (void)num, (void)ptr;
    switch (cmd) {
    case BIO_CTRL_EOF: return w->eof;
    case BIO_CTRL_FLUSH: return 1;
    default: return 0;
    }
}

static BIO_METHOD *method;

static void method_make(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket, gathering");
    if (method && (!BIO_meth_set_write(method, bio_write) || !BIO_meth_set_read(method, bio_read) ||
                   !BIO_meth_set_ctrl(method, bio_ctrl))) {
        BIO_meth_free(method);
        method = NULL;
    }
}

BIO *wire_bio(struct wire *w)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, method_make);
    BIO *b = method ? BIO_new(method) : NULL;
    if (b) {
        BIO_set_data(b, w);
        BIO_set_init(b, 1);
    }
    return b;
}
