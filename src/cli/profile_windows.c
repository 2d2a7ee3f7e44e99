/*
 * Windows: a PowerShell script (module VpnClient: Add-VpnConnection, Add-VpnConnectionRoute), or a ProfileXML of the
 * VPNv2 configuration service provider for device management.
 */
#include "cli/profile.h"

#include <string.h>

#include "auth/request.h"
#include "cli/cli.h"

/*
 * A text between single quotes, in which nothing is special but the quotes themselves: doubled. PowerShell takes the
 * typographic ones, U+2018 to U+201B, for quotes too.
 */
static void quoted(FILE *out, const char *text)
{
    fputc('\'', out);
    for (const char *p = text; *p; p++) {
        bool curly = !strncmp(p, "\xe2\x80", 2) && (unsigned char)p[2] >= 0x98 && (unsigned char)p[2] <= 0x9b;
        if (curly) {
            fprintf(out, "%.3s%.3s", p, p);
            p += 2;
        } else {
            fputs(*p == '\'' ? "''" : (char[]){ *p, 0 }, out);
        }
    }
    fputc('\'', out);
}

static bool ascii(const char *text)
{
    for (; text && *text; text++)
        if (*text & 0x80)
            return false;
    return true;
}

static void import_authority(FILE *out, const struct profile *p)
{
    fputs("\n# Trust the server's authority: Cert:\\LocalMachine\\Root.\n"
          "$bytes = [Convert]::FromBase64String(@'\n",
          out);
    profile_authority_base64(out, p, "");
    fputs("'@)\n"
          "$certificate = New-Object Security.Cryptography.X509Certificates.X509Certificate2 -ArgumentList @(,$bytes)\n"
          "$store = New-Object Security.Cryptography.X509Certificates.X509Store -ArgumentList 'Root', 'LocalMachine'\n"
          "$store.Open('ReadWrite')\n"
          "$store.Add($certificate)\n"
          "$store.Close()\n",
          out);
}

/* The strongest that the server takes. MPPE, which the level is about, is none of SSTP's: TLS encrypts. */
static const char *method(const struct profile *p, const char **level)
{
    *level = profile_has_auth(p, PPP_AUTH_MSCHAPV2) ? "Required" : "Optional";
    return profile_has_auth(p, PPP_AUTH_MSCHAPV2)   ? "MSChapv2"
           : profile_has_auth(p, PPP_AUTH_CHAP_MD5) ? "Chap"
                                                    : "Pap";
}

int profile_windows_script(FILE *out, const struct profile *p)
{
    char server[300], route[64];
    const char *level, *auth = method(p, &level);
    profile_server_text(p, server, sizeof server);
    if (!ascii(p->ask->name) || !ascii(p->ask->user))
        fputs("\xef\xbb\xbf", out); /* without the mark Windows PowerShell would take it for an 8-bit code page */
    if (p->authority)
        fputs("#Requires -RunAsAdministrator\n", out);
    fputs("# A VPN connection to Gatehouse, for Windows 8.1 and later: powershell -ExecutionPolicy Bypass -File THIS\n"
          "$ErrorActionPreference = 'Stop'\n"
          "$name = ",
          out);
    quoted(out, p->ask->name);
    fputc('\n', out);
    if (p->authority)
        import_authority(out, p);
    fputs("\nif (Get-VpnConnection -Name $name -ErrorAction SilentlyContinue) {\n"
          "    Remove-VpnConnection -Name $name -Force\n}\n"
          "Add-VpnConnection -Name $name -TunnelType Sstp -ServerAddress ",
          out);
    quoted(out, server);
    fprintf(out, " -AuthenticationMethod %s -EncryptionLevel %s -RememberCredential%s -Force\n", auth, level,
            p->n_route ? " -SplitTunneling" : "");
    for (size_t i = 0; i < p->n_route; i++) {
        profile_route_text(&p->route[i], true, route, sizeof route);
        fprintf(out, "Add-VpnConnectionRoute -ConnectionName $name -DestinationPrefix '%s'\n", route);
    }
    fputs("\n# To connect: click the network symbol, or, asking for the password:\n# rasdial ", out);
    quoted(out, p->ask->name);
    fputc(' ', out);
    quoted(out, p->ask->user ? p->ask->user : "USER");
    fputs(" *\n", out);
    return 0;
}

static void xml_text(FILE *out, const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '&': fputs("&amp;", out); break;
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '"': fputs("&quot;", out); break;
        case '\'': fputs("&apos;", out); break;
        default: fputc(*text, out);
        }
}

/* The elements stand in the order of the schema, not in that of the published examples. */
int profile_windows_xml(FILE *out, const struct profile *p)
{
    char server[300], ip[64];
    profile_server_text(p, server, sizeof server);
    if (!profile_has_auth(p, PPP_AUTH_MSCHAPV2)) {
        cli_fail("ProfileXML has no way to say CHAP or PAP: use the script, or allow mschapv2 in vpn.auth");
        return ERR_USAGE;
    }
    fputs("<VPNProfile>\n", out);
    if (p->authority)
        fputs("  <!-- The server's authority is private: distribute it as a trusted root certificate first. -->\n",
              out);
    fputs("  <RememberCredentials>true</RememberCredentials>\n"
          "  <NativeProfile>\n"
          "    <Servers>",
          out);
    xml_text(out, server);
    fprintf(out,
            "</Servers>\n"
            "    <RoutingPolicyType>%s</RoutingPolicyType>\n"
            "    <NativeProtocolType>Sstp</NativeProtocolType>\n",
            p->n_route ? "SplitTunnel" : "ForceTunnel");
    if (p->n_route)
        fputs("    <DisableClassBasedDefaultRoute>true</DisableClassBasedDefaultRoute>\n", out);
    fputs("    <Authentication>\n"
          "      <UserMethod>MSChapv2</UserMethod>\n"
          "    </Authentication>\n"
          "  </NativeProfile>\n",
          out);
    for (size_t i = 0; i < p->n_route; i++) {
        profile_route_text(&p->route[i], false, ip, sizeof ip);
        fprintf(out, "  <Route>\n    <Address>%s</Address>\n    <PrefixSize>%u</PrefixSize>\n  </Route>\n", ip,
                p->route[i].bits);
    }
    fputs("</VPNProfile>\n", out);
    return 0;
}
