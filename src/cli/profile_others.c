/* Linux: a configuration of `gatehouse connect`. RouterOS: a script for version 7. */
#include "cli/profile.h"

#include <ctype.h>
#include <string.h>

#include "auth/request.h"
#include "base/ct.h"

/* ---- gatehouse connect ---- */

static void conf_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++)
        fprintf(out, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    fputc('"', out);
}

static void linux_server(FILE *out, const struct profile *p)
{
    char server[300], hex[65];
    profile_server_text(p, server, sizeof server);
    fputs("server: {\n  url = ", out);
    fprintf(out, "\"https://%s\";\n", server);
    if (p->authority && p->n_pin) {
        fputs("  # No public authority vouches for this server, so exactly its certificate is accepted. Make this\n"
              "  # profile anew when the certificate is replaced; or use ca = \"FILE\" with the authority's.\n"
              "  pin = [ ",
              out);
        for (size_t i = 0; i < p->n_pin; i++) {
            hex_encode(p->pin[i], 32, hex);
            fprintf(out, "%s\"sha256:%s\"", i ? ", " : "", hex);
        }
        fputs(" ];\n", out);
    }
    fputs("};\n", out);
}

static void linux_login(FILE *out, const struct profile *p)
{
    fputs("login: {\n", out);
    if (p->ask->user) {
        fputs("  user = ", out);
        conf_text(out, p->ask->user);
        fputs(";\n", out);
    } else {
        fputs("  # user = \"NAME\"; or --user NAME\n", out);
    }
    fputs("  # The password is asked for at the terminal, or stands in password-file = \"FILE\".\n", out);
    if (!profile_has_auth(p, PPP_AUTH_MSCHAPV2))
        fprintf(out, "  auth = [ %s%s%s ];\n", profile_has_auth(p, PPP_AUTH_CHAP_MD5) ? "\"chap\"" : "",
                profile_has_auth(p, PPP_AUTH_CHAP_MD5) && profile_has_auth(p, PPP_AUTH_PAP) ? ", " : "",
                profile_has_auth(p, PPP_AUTH_PAP) ? "\"pap\"" : "");
    fputs("};\n", out);
}

int profile_linux(FILE *out, const struct profile *p)
{
    char route[64];
    fprintf(out, "# %s: gatehouse connect -c THIS\n", p->ask->name);
    linux_server(out, p);
    linux_login(out, p);
    fputs("tunnel: {\n", out);
    if (!p->n_route)
        fputs("  default-route = true;\n", out);
    else
        fputs("  routes = [ ", out);
    for (size_t i = 0; i < p->n_route; i++) {
        profile_route_text(&p->route[i], true, route, sizeof route);
        fprintf(out, "%s\"%s\"%s", i ? ", " : "", route, i + 1 == p->n_route ? " ];\n" : "");
    }
    fprintf(out, "  mtu = %d;\n};\n", p->c->vpn.mtu);
    return 0;
}

/* ---- RouterOS ---- */

/* Whatever could mean something to its scripts is written as \XX, two upper-case hexadecimal digits. */
static void ros_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        fprintf(out, isalnum(*p) || strchr(" ._-/:@", *p) ? "%c" : "\\%02X", *p);
    fputc('"', out);
}

static void ros_authority(FILE *out, const struct profile *p)
{
    fputs(
        "#\n# 1. The server's authority is private. Save the lines below, without \"# \", as gatehouse-ca.pem, upload\n"
        "#    that file to the router, and run:\n"
        "#      /certificate import file-name=gatehouse-ca.pem passphrase=\"\"\n"
        "# -----BEGIN CERTIFICATE-----\n",
        out);
    profile_authority_base64(out, p, "# ");
    fputs("# -----END CERTIFICATE-----\n", out);
}

static void ros_methods(FILE *out, const struct profile *p)
{
    const struct {
        uint8_t method;
        const char *name;
    } all[] = { { PPP_AUTH_MSCHAPV2, "mschap2" }, { PPP_AUTH_CHAP_MD5, "chap" }, { PPP_AUTH_PAP, "pap" } };
    const char *sep = "";
    for (size_t i = 0; i < 3; i++)
        if (profile_has_auth(p, all[i].method)) {
            fprintf(out, "%s%s", sep, all[i].name);
            sep = ",";
        }
}

int profile_routeros(FILE *out, const struct profile *p)
{
    char route[64];
    fputs("# A VPN connection to Gatehouse, for RouterOS 7.15 and later: /import file-name=THIS.rsc\n", out);
    if (p->authority)
        ros_authority(out, p);
    fputs("/interface sstp-client\nadd name=", out);
    ros_text(out, p->ask->name);
    fputs(" connect-to=", out);
    ros_text(out, p->host);
    fprintf(out, " port=%u user=", p->port);
    ros_text(out, p->ask->user ? p->ask->user : "");
    fputs(" \\\n    profile=default authentication=", out);
    ros_methods(out, p);
    fprintf(out,
            " tls-version=only-1.2 ciphers=aes256-gcm-sha384,aes256-sha \\\n"
            "    verify-server-certificate=yes verify-server-address-from-certificate=yes add-sni=%s \\\n"
            "    add-default-route=%s disabled=yes\n",
            p->literal ? "no" : "yes", p->n_route ? "no" : "yes");
    for (size_t i = 0; i < p->n_route; i++) {
        profile_route_text(&p->route[i], true, route, sizeof route);
        fprintf(out, "/%s route add dst-address=%s gateway=", p->route[i].family == 4 ? "ip" : "ipv6", route);
        ros_text(out, p->ask->name);
        fputc('\n', out);
    }
    fputs("# Then the password, which no profile holds, and on:\n# /interface sstp-client set ", out);
    ros_text(out, p->ask->name);
    fprintf(out, "%s password=\"...\" disabled=no\n", p->ask->user ? "" : " user=\"...\"");
    return 0;
}
