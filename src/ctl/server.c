#include "ctl/server.h"

#include <microhttpd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct ctl_server {
    struct MHD_Daemon *daemon;
    ctl_handler *fn;
    void *arg;
};

struct request {
    char body[CTL_BODY_MAX];
    size_t len;
    bool too_long;
};

static enum MHD_Result reply(struct MHD_Connection *conn, unsigned status, json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT);
    if (!text)
        return MHD_NO;
    struct MHD_Response *r = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    if (!r) {
        free(text);
        return MHD_NO;
    }
    MHD_add_response_header(r, "Content-Type", "application/json");
    MHD_add_response_header(r, "Connection", "close");
    enum MHD_Result rc = MHD_queue_response(conn, status, r);
    MHD_destroy_response(r);
    return rc;
}

static enum MHD_Result fail(struct MHD_Connection *conn, unsigned status, const char *why)
{
    json_t *j = json_pack("{s:s}", "error", why);
    enum MHD_Result rc = j ? reply(conn, status, j) : MHD_NO;
    json_decref(j);
    return rc;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *path, const char *method,
                                  const char *version, const char *data, size_t *size, void **state)
{
    struct ctl_server *s = cls;
    struct request *req = *state;
    (void)version;
    if (!req) {
        *state = calloc(1, sizeof *req);
        return *state ? MHD_YES : MHD_NO;
    }
    if (*size) {
        if (*size > sizeof req->body - req->len)
            req->too_long = true;
        else {
            memcpy(req->body + req->len, data, *size);
            req->len += *size;
        }
        *size = 0;
        return MHD_YES;
    }
    if (req->too_long)
        return fail(conn, 413, "the request is too long");
    json_t *body = NULL, *answer = NULL;
    if (req->len && !(body = json_loadb(req->body, req->len, JSON_REJECT_DUPLICATES, NULL)))
        return fail(conn, 400, "the request's body is not JSON");
    int status = s->fn(s->arg, method, path, body, &answer);
    json_decref(body);
    enum MHD_Result rc = answer ? reply(conn, (unsigned)status, answer) : fail(conn, 500, "out of memory");
    json_decref(answer);
    return rc;
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **state, enum MHD_RequestTerminationCode why)
{
    (void)cls;
    (void)conn;
    (void)why;
    free(*state);
    *state = NULL;
}

int ctl_server_start(int listen_fd, ctl_handler *fn, void *arg, struct ctl_server **out)
{
    struct ctl_server *s = calloc(1, sizeof *s);
    if (s) {
        s->fn = fn;
        s->arg = arg;
        s->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_USE_ITC, 0, NULL, NULL,
                                     on_request, s, MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_NOTIFY_COMPLETED,
                                     on_completed, NULL, MHD_OPTION_CONNECTION_TIMEOUT, 30u,
                                     MHD_OPTION_CONNECTION_LIMIT, 64u, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    }
    if (!s || !s->daemon) {
        close(listen_fd);
        free(s);
        return ERR_SYSTEM;
    }
    *out = s;
    return 0;
}

void ctl_server_stop(struct ctl_server *s)
{
    if (!s)
        return;
    MHD_stop_daemon(s->daemon);
    free(s);
}
