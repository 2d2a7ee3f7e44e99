/* The table of the client's options. The manual page is made from it. */
#include "client/config_options.h"

#include "auth/request.h"
#include "client/config.h"
#include "client/netconf.h"

#define AT(field)    .at = offsetof(struct client_config, field)
#define COUNT(field) .count_at = offsetof(struct client_config, field)

static const struct config_section sections[] = {
    { .name = "server", .help = "which server, and how it is known to be it" },
    { .name = "login", .help = "who logs in" },
    { .name = "tunnel", .help = "what goes through, and what changes on this machine" },
    { .name = "proxy", .help = "the web proxy on the way" },
    { .name = "reconnect", .help = "when the call breaks" },
    { .name = "control", .help = "how gatehouse status reaches it" },
    { .name = "log", .help = "the event log" },
    { .name = "worker", .help = "rights" },
    { .name = NULL },
};

static const struct config_word tls_words[] = { { "1.2", 0x0303 }, { "1.3", 0x0304 }, { 0 } };
static const struct config_word auth_words[] = { { "eap-mschapv2", PPP_AUTH_EAP_MSCHAPV2 },
                                                 { "mschapv2", PPP_AUTH_MSCHAPV2 },
                                                 { "chap", PPP_AUTH_CHAP_MD5 },
                                                 { "pap", PPP_AUTH_PAP },
                                                 { 0 } };
static const struct config_word dns_words[] = { { "auto", NETCONF_DNS_AUTO },
                                                { "off", NETCONF_DNS_OFF },
                                                { "resolvectl", NETCONF_DNS_RESOLVECTL },
                                                { "resolv.conf", NETCONF_DNS_RESOLV_CONF },
                                                { 0 } };
static const struct config_word format_words[] = { { "logfmt", LOG_FMT_LOGFMT }, { "json", LOG_FMT_JSON }, { 0 } };
static const struct config_word level_words[] = { { "error", LOG_LV_ERROR },   { "warn", LOG_LV_WARN },
                                                  { "notice", LOG_LV_NOTICE }, { "info", LOG_LV_INFO },
                                                  { "debug", LOG_LV_DEBUG },   { 0 } };

static const struct config_option options[] = {
    { "server", "url", OPT_STRING, 1, 1000, NULL, 0, NULL, AT(server.url), 0,
      "https://host, with :port and /path when they are unusual" },
    { "server", "ca", OPT_PATH, 0, 0, NULL, OPT_FILE, NULL, AT(server.ca), 0,
      "PEM file with the authorities to trust; without: the system's" },
    { "server", "crl", OPT_PATH, 0, 0, NULL, OPT_FILE | OPT_FOLDER, NULL, AT(server.crl), 0,
      "file with revocation lists, or a folder of such files" },
    { "server", "pin", OPT_PINS, 0, CLIENT_PINS_MAX, NULL, 0, NULL, AT(server.pin), COUNT(server.n_pin),
      "certificates to accept, and no others: \"sha256:\" and the hash of the DER in hexadecimal" },
    { "server", "insecure", OPT_BOOL, 0, 0, "false", 0, NULL, AT(server.insecure), 0,
      "accept any certificate: whoever is in between can read everything" },
    { "server", "min-version", OPT_WORD, 0, 0, "1.2", 0, tls_words, AT(server.min_version), 0,
      "oldest TLS version spoken" },

    { "login", "user", OPT_STRING, 1, 255, NULL, 0, NULL, AT(login.user), 0,
      "name to log in with, DOMAIN\\NAME where the server has domains (in the file the backslash is written twice)" },
    { "login", "password-file", OPT_PATH, 0, 0, NULL, 0, NULL, AT(login.password_file), 0,
      "file whose first line is the password; without: the credential \"password\" of systemd, or the terminal" },
    { "login", "auth", OPT_WORDS, 1, 4, "eap-mschapv2 mschapv2", 0, auth_words, AT(login.auth), 0,
      "ways to log in that are agreed to; chap and pap show the server (pap: the password itself) more than it needs" },

    { "tunnel", "interface", OPT_IFNAME, 1, 15, "ghc0", 0, NULL, AT(tunnel.interface), 0,
      "name of the tunnel interface" },
    { "tunnel", "mtu", OPT_INT, 576, 4087, "1400", 0, NULL, AT(tunnel.mtu), 0,
      "largest packet in the tunnel, bytes; less when the server takes less" },
    { "tunnel", "routes", OPT_FROM, 0, CLIENT_ROUTES_MAX, NULL, 0, NULL, AT(tunnel.route), COUNT(tunnel.n_route),
      "networks that go through the tunnel" },
    { "tunnel", "default-route", OPT_BOOL, 0, 0, "false", 0, NULL, AT(tunnel.default_route), 0,
      "everything goes through the tunnel" },
    { "tunnel", "dns", OPT_WORD, 0, 0, "auto", 0, dns_words, AT(tunnel.dns), 0,
      "how the server's name servers are taken into use; auto: resolvectl where it runs, else resolv.conf" },
    { "tunnel", "resolv-conf", OPT_PATH, 0, 0, "/etc/resolv.conf", 0, NULL, AT(tunnel.resolv_conf), 0,
      "file that is changed, and put back, for dns = \"resolv.conf\"" },
    { "tunnel", "ipv6", OPT_BOOL, 0, 0, "true", 0, NULL, AT(tunnel.ipv6), 0,
      "IPv6 in the tunnel where the server has it, link-local addresses only" },
    { "tunnel", "offload", OPT_WORD, 0, 0, "auto", 0, config_auto_words, AT(tunnel.offload), 0,
      "super-packets on the interface (TSO, USO): auto where the kernel has them; off: one packet at a time" },

    { "proxy", "url", OPT_STRING, 0, 1000, NULL, 0, NULL, AT(proxy.url), 0,
      "http://host:port of the web proxy; none: dial directly; without: https_proxy and no_proxy of the environment" },
    { "proxy", "user", OPT_STRING, 1, 127, NULL, 0, NULL, AT(proxy.user), 0, "name to log in with at the proxy" },
    { "proxy", "password-file", OPT_PATH, 0, 0, NULL, 0, NULL, AT(proxy.password_file), 0,
      "file whose first line is the password for the proxy; without: the credential \"proxy-password\"" },
    { "proxy", "none", OPT_TEXTS, 0, CLIENT_NO_PROXY_MAX, NULL, 0, NULL, AT(proxy.none), COUNT(proxy.n_none),
      "servers that are dialled directly, written as in no_proxy" },

    { "reconnect", "once", OPT_BOOL, 0, 0, "false", 0, NULL, AT(reconnect.once), 0,
      "end when the call ends or cannot be made" },
    { "reconnect", "first", OPT_INT, 1, 3600, "1", 0, NULL, AT(reconnect.first_s), 0,
      "seconds until the second dial; doubled after each failure" },
    { "reconnect", "max", OPT_INT, 1, 86400, "60", 0, NULL, AT(reconnect.max_s), 0, "seconds between dials at most" },
    { "reconnect", "echo-interval", OPT_INT, 1, 300, "20", 0, NULL, AT(reconnect.echo_interval_s), 0,
      "seconds of silence until the server is asked for an echo" },
    { "reconnect", "echo-timeout", OPT_INT, 1, 300, "20", 0, NULL, AT(reconnect.echo_timeout_s), 0,
      "seconds of silence after that until the call is given up" },

    { "control", "folder", OPT_PATH, 0, 0, "/run/gatehouse/connect", 0, NULL, AT(control.folder), 0,
      "folder of INTERFACE.sock, for gatehouse status, and of INTERFACE.state, for what is to be undone" },

    { "log", "level", OPT_WORD, 0, 0, "notice", 0, level_words, AT(log.level), 0, "least important events written" },
    { "log", "format", OPT_WORD, 0, 0, "logfmt", 0, format_words, AT(log.format), 0, "how events are written" },

    { "worker", "user", OPT_STRING, 1, 32, "gatehouse", 0, NULL, AT(worker.user), 0,
      "account that the network side runs as" },
    { .name = NULL },
};

_Static_assert(sizeof options / sizeof options[0] <= CONFIG_OPTIONS_MAX, "there is a place for each");

const struct config_schema client_config_schema = {
    .options = options,
    .sections = sections,
    .size = sizeof(struct client_config),
    .origin_at = offsetof(struct client_config, origin),
    .unreadable = "name the configuration with -c FILE, or give the server's URL alone",
    .missing = "correct the path",
};
