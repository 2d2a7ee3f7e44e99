/* What the running server says, when there is one: files that it could not take, certificates that it serves still. */
#include "cli/check.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/client.h"

static const char *str(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "";
}

static void check_served(struct check *k, size_t i, const json_t *served)
{
    const struct config_cert *cert = &k->c->certs[i];
    if (!strcmp(str(served, "state"), "kept"))
        finding(k, SEV_WARNING, "cert-kept", cert->file, cert->line,
                "correct the files; the server looks at them again when they change",
                "the running server could not take the files of \"%s\" and serves the last good ones (%.16s...): %s",
                cert->name, str(served, "sha256"), str(served, "reason"));
    else if (k->cert[i].read && strcmp(str(served, "sha256"), k->cert[i].file.sha256) != 0)
        finding(k, SEV_WARNING, "cert-not-served", cert->file, cert->line,
                "gatehouse reload; the server takes changed files into use by itself within seconds",
                "the running server serves another \"%s\" (%.16s...) than the file has (%.16s...)", cert->name,
                str(served, "sha256"), k->cert[i].file.sha256);
}

static bool same_file(const char *a, const char *b)
{
    char ra[PATH_MAX], rb[PATH_MAX];
    return !strcmp(a, b) || (realpath(a, ra) && realpath(b, rb) && !strcmp(ra, rb));
}

void check_daemon_status(struct check *k, const json_t *status)
{
    const json_t *list = json_object_get(status, "certificates");
    size_t at;
    json_t *served;
    if (*str(status, "config") && !same_file(str(status, "config"), k->c->origin.path))
        return; /* it runs another configuration: this one is being tried */
    if (*str(status, "last_reload_error"))
        finding(k, SEV_WARNING, "reload-failed", k->c->origin.file, 1, "correct it, then gatehouse reload",
                "the running server could not take the last change: %s", str(status, "last_reload_error"));
    json_array_foreach(list, at, served)
        for (size_t i = 0; i < k->c->n_certs; i++)
            if (!strcmp(str(served, "name"), k->c->certs[i].name))
                check_served(k, i, served);
}

void check_daemon(struct check *k)
{
    int http = 0;
    char *answer = NULL;
    if (access(k->c->control.socket, W_OK) < 0 ||
        ctl_request(k->c->control.socket, "GET", "/v1/status", NULL, &http, &answer) < 0)
        return; /* it is not running, or not for us to ask */
    json_t *status = json_loads(answer, 0, NULL);
    if (status && http == 200)
        check_daemon_status(k, status);
    json_decref(status);
    free(answer);
}
