/* The table of options. docs/ and the manual page are made from it. */
#include "server/config_options.h"

#include <stddef.h>

#include "auth/request.h"

#define AT(field)    .at = offsetof(struct config, field)
#define COUNT(field) .count_at = offsetof(struct config, field)
#define CERT(field)  .at = offsetof(struct config_cert, field)
#define WEB(field)   .at = offsetof(struct config_web, field)
#define PASS(field)  .at = offsetof(struct config_pass, field)

/* Mozilla's "intermediate", without finite-field Diffie-Hellman: no client that speaks SSTP needs it. */
#define CIPHERS_DEFAULT                                                                                                \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"                         \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERSUITES_DEFAULT "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

/* clang-format off */
static const struct config_section config_sections[] = {
    { .name = "listen", .help = "where connections are accepted" },
    { .name = "certificates", .help = "which certificate is served for which name", .list = true,
      .at = offsetof(struct config, certs), .size = sizeof(struct config_cert), .max = CONFIG_CERTS_MAX,
      .count_at = offsetof(struct config, n_certs), .file_at = offsetof(struct config_cert, file),
      .line_at = offsetof(struct config_cert, line) },
    { .name = "tls", .help = "what TLS is spoken" },
    { .name = "web", .help = "where everything goes that is not SSTP", .list = true,
      .at = offsetof(struct config, web), .size = sizeof(struct config_web), .max = CONFIG_WEB_MAX,
      .count_at = offsetof(struct config, n_web), .file_at = offsetof(struct config_web, file),
      .line_at = offsetof(struct config_web, line) },
    { .name = "passthrough", .help = "names whose TLS another server ends", .list = true,
      .at = offsetof(struct config, pass), .size = sizeof(struct config_pass), .max = CONFIG_PASS_MAX,
      .count_at = offsetof(struct config, n_pass), .file_at = offsetof(struct config_pass, file),
      .line_at = offsetof(struct config_pass, line) },
    { .name = "vpn", .help = "the VPN; without this section there is none",
      .present_at = offsetof(struct config, vpn_on) },
    { .name = "offload", .help = "connections whose TLS a load balancer in front has ended",
      .present_at = offsetof(struct config, offload_on) },
    { .name = "control", .help = "how commands reach the daemon" },
    { .name = "log", .help = "the event log" },
    { .name = "worker", .help = "threads and rights" },
    { .name = "limits", .help = "deadlines and caps" },
    { .name = NULL },
};
/* clang-format on */

static const struct config_word tls_words[] = { { "1.2", 0x0303 }, { "1.3", 0x0304 }, { 0 } };
static const struct config_word proxy_words[] = { { "off", PROXY_OFF }, { "v1", PROXY_V1 }, { "v2", PROXY_V2 }, { 0 } };
static const struct config_word auth_words[] = {
    { "mschapv2", PPP_AUTH_MSCHAPV2 }, { "chap", PPP_AUTH_CHAP_MD5 }, { "pap", PPP_AUTH_PAP }, { 0 }
};
static const struct config_word nat_words[] = { { "off", CONFIG_NAT_OFF }, { "auto", CONFIG_NAT_AUTO }, { 0 } };
static const struct config_word probe_words[] = {
    { "401", CONFIG_PROBE_401 }, { "404", CONFIG_PROBE_404 }, { "web", CONFIG_PROBE_WEB }, { 0 }
};
static const struct config_word no_match_words[] = { { "default", CONFIG_NO_MATCH_DEFAULT },
                                                     { "alert", CONFIG_NO_MATCH_ALERT },
                                                     { 0 } };
static const struct config_word to_words[] = { { "stderr", 0 }, { 0 } };
static const struct config_word format_words[] = { { "logfmt", LOG_FMT_LOGFMT }, { "json", LOG_FMT_JSON }, { 0 } };
static const struct config_word level_words[] = { { "error", LOG_LV_ERROR },   { "warn", LOG_LV_WARN },
                                                  { "notice", LOG_LV_NOTICE }, { "info", LOG_LV_INFO },
                                                  { "debug", LOG_LV_DEBUG },   { 0 } };

static const struct config_option config_options[] = {
    { "listen", "address", OPT_ADDRS, 0, CONFIG_LISTEN_MAX, "0.0.0.0:443 [::]:443", OPT_RESTART, NULL,
      AT(listen.address), COUNT(listen.n_address), "addresses and ports for web and VPN alike" },
    { "listen", "proxy-from", OPT_FROM, 0, CONFIG_FROM_MAX, NULL, 0, NULL, AT(listen.proxy_from),
      COUNT(listen.n_proxy_from),
      "load balancers whose connections begin with a PROXY header, version 1 or 2, in front of TLS" },
    { "listen", "redirect", OPT_ADDRS, 0, CONFIG_REDIRECT_MAX, NULL, OPT_RESTART, NULL, AT(listen.redirect),
      COUNT(listen.n_redirect), "addresses and ports of plain HTTP that is redirected to https, like 0.0.0.0:80" },
    { "listen", "acme-webroot", OPT_PATH, 0, 0, NULL, OPT_FOLDER | OPT_RESTART, NULL, AT(listen.acme_webroot), 0,
      "folder with .well-known/acme-challenge/ for certificate authorities, served on listen.redirect" },

    { "certificates", "name", OPT_STRING, 1, 64, NULL, 0, NULL, CERT(name), 0,
      "name in messages; \"certificate N\" when not given" },
    { "certificates", "chain", OPT_PATH, 0, 0, NULL, OPT_REQUIRED | OPT_FILE, NULL, CERT(chain), 0,
      "PEM file: the certificate, then its intermediates" },
    { "certificates", "key", OPT_PATH, 0, 0, NULL, OPT_REQUIRED | OPT_FILE, NULL, CERT(key), 0,
      "PEM file: the private key" },
    { "certificates", "ocsp", OPT_PATH, 0, 0, NULL, 0, NULL, CERT(ocsp), 0,
      "DER file with an OCSP response to staple, refreshed by another program; it may come later" },
    { "certificates", "for", OPT_RULES, 1, CONFIG_CERT_FOR_MAX, "default", 0, NULL, CERT(for_),
      offsetof(struct config_cert, n_for),
      "what it is served for, the first that fits: IP:port, a server name (SNI), \"*.\" and a name, \"[::]:443\" "
      "(IPv6), "
      "\"0.0.0.0:443\" (both), \"default\"" },

    { "tls", "min-version", OPT_WORD, 0, 0, "1.2", 0, tls_words, AT(tls.min_version), 0, "oldest TLS version spoken" },
    { "tls", "ciphers", OPT_STRING, 1, 2000, CIPHERS_DEFAULT, 0, NULL, AT(tls.ciphers), 0,
      "ciphers of TLS 1.2, as OpenSSL writes them" },
    { "tls", "ciphersuites", OPT_STRING, 1, 500, CIPHERSUITES_DEFAULT, 0, NULL, AT(tls.ciphersuites), 0,
      "ciphers of TLS 1.3, as OpenSSL writes them" },
    { "tls", "no-match", OPT_WORD, 0, 0, "default", 0, no_match_words, AT(tls.no_match), 0,
      "client for whom no certificate has a rule: default shows the first one, alert refuses" },

    { "web", "name", OPT_NAME, 0, 0, NULL, 0, NULL, WEB(name), 0,
      "server name (SNI) this site is for, or \"*.\" and a name; without: whatever has no site of its own" },
    { "web", "upstream", OPT_ADDR, 0, 0, NULL, OPT_UNIX, NULL, WEB(upstream), 0,
      "web server to relay to, byte for byte; without: the built-in site" },
    { "web", "upstream-h2", OPT_ADDR, 0, 0, NULL, OPT_UNIX, NULL, WEB(upstream_h2), 0,
      "the same for HTTP/2 without TLS; without: HTTP/2 is not offered" },
    { "web", "proxy-protocol", OPT_WORD, 0, 0, "off", 0, proxy_words, WEB(proxy_protocol), 0,
      "PROXY header that tells the upstream who the client is" },
    { "web", "root", OPT_PATH, 0, 0, NULL, OPT_FOLDER, NULL, WEB(root), 0,
      "folder of the built-in site; without: a welcome page" },

    { "passthrough", "name", OPT_NAME, 0, 0, NULL, OPT_REQUIRED, NULL, PASS(name), 0,
      "server name (SNI), or \"*.\" and a name" },
    { "passthrough", "upstream", OPT_ADDR, 0, 0, NULL, OPT_REQUIRED | OPT_UNIX, NULL, PASS(upstream), 0,
      "server that ends TLS for this name" },
    { "passthrough", "proxy-protocol", OPT_WORD, 0, 0, "off", 0, proxy_words, PASS(proxy_protocol), 0,
      "PROXY header that tells it who the client is" },

    { "vpn", "network", OPT_NETS, 1, CONFIG_NETWORKS_MAX, NULL, OPT_REQUIRED | OPT_RESTART, NULL, AT(vpn.network),
      COUNT(vpn.n_network), "networks that clients get addresses from; the first host is the server" },
    { "vpn", "dns", OPT_IP4S, 0, 2, NULL, 0, NULL, AT(vpn.dns), 0, "name servers told to clients" },
    { "vpn", "nbns", OPT_IP4S, 0, 2, NULL, 0, NULL, AT(vpn.nbns), 0, "WINS servers told to clients" },
    { "vpn", "auth", OPT_WORDS, 1, 3, "mschapv2", 0, auth_words, AT(vpn.auth), 0,
      "how users may prove themselves, strongest first" },
    { "vpn", "users", OPT_PATH, 0, 0, NULL, OPT_REQUIRED | OPT_FILE, NULL, AT(vpn.users), 0,
      "users file, see gatehouse user", "make it with 'gatehouse user add NAME', or correct the path" },
    { "vpn", "interface", OPT_IFNAME, 1, 15, "gh0", OPT_RESTART, NULL, AT(vpn.interface), 0,
      "name of the tunnel interface" },
    { "vpn", "mtu", OPT_INT, 1280, 4087, "1400", OPT_RESTART, NULL, AT(vpn.mtu), 0,
      "largest packet in the tunnel, bytes" },
    { "vpn", "nat", OPT_WORD, 0, 0, "off", OPT_RESTART, nat_words, AT(vpn.nat), 0,
      "auto: packets of clients leave with the server's address" },
    { "vpn", "forward", OPT_BOOL, 0, 0, "false", OPT_RESTART, NULL, AT(vpn.forward), 0,
      "switch the system's forwarding on while running" },
    { "vpn", "ipv6", OPT_BOOL, 0, 0, "true", OPT_RESTART, NULL, AT(vpn.ipv6), 0,
      "IPv6 in the tunnel, link-local addresses only" },
    { "vpn", "offload", OPT_WORD, 0, 0, "auto", OPT_RESTART, config_auto_words, AT(vpn.offload), 0,
      "super-packets on the interface (TSO, USO): auto where the kernel has them; off: one packet at a time" },
    { "vpn", "steering", OPT_WORD, 0, 0, "auto", OPT_RESTART, config_auto_words, AT(vpn.steering), 0,
      "packets go straight to the worker that has the call (eBPF): auto where the kernel lets us; off: workers hand "
      "them over" },
    { "vpn", "max-calls", OPT_INT, 1, 1000000, "10000", 0, NULL, AT(vpn.max_calls), 0, "calls at once" },
    { "vpn", "probe-answer", OPT_WORD, 0, 0, "401", 0, probe_words, AT(vpn.probe_answer), 0,
      "answer to other methods on the SSTP URI, as load balancers send them; web: what the web site says" },
    { "vpn", "echo-interval", OPT_INT, 1, 300, "25", 0, NULL, AT(vpn.echo_interval_s), 0,
      "seconds of silence until the client is asked for an echo" },
    { "vpn", "echo-timeout", OPT_INT, 1, 300, "60", 0, NULL, AT(vpn.echo_timeout_s), 0,
      "seconds of silence after that until the call is dropped" },
    { "vpn", "lcp-echo-interval", OPT_INT, 0, 3600, "0", 0, NULL, AT(vpn.lcp_echo_interval_s), 0,
      "seconds between LCP echoes; 0: none, SSTP has its own" },
    { "vpn", "auth-tries", OPT_INT, 1, 10, "3", 0, NULL, AT(vpn.auth_tries), 0,
      "passwords a caller may try in one call" },

    { "offload", "listen", OPT_ADDRS, 1, CONFIG_LISTEN_MAX, NULL, OPT_REQUIRED | OPT_RESTART, NULL, AT(offload.listen),
      COUNT(offload.n_listen), "addresses and ports for plain HTTP and SSTP from a front that has ended TLS" },
    { "offload", "from", OPT_FROM, 1, CONFIG_FROM_MAX, NULL, OPT_REQUIRED, NULL, AT(offload.from),
      COUNT(offload.n_from), "addresses of that front; others are closed without a word" },
    { "offload", "proxy-protocol", OPT_BOOL, 0, 0, "false", 0, NULL, AT(offload.proxy_required), 0,
      "the front begins each connection with a PROXY header, version 1 or 2" },
    { "offload", "certificates", OPT_LEAVES, 1, CONFIG_FRONT_MAX, NULL, OPT_REQUIRED, NULL, AT(offload.cert),
      COUNT(offload.n_cert),
      "certificates that the front serves: PEM files, or \"sha256:\" and the hash of the DER in hexadecimal" },
    { "offload", "overlap", OPT_INT, 0, 604800, "600", 0, NULL, AT(offload.overlap_s), 0,
      "seconds that a certificate of the front is accepted after its file changed" },

    { "control", "socket", OPT_PATH, 0, 0, "/run/gatehouse/control", OPT_RESTART | OPT_UNIX, NULL, AT(control.socket),
      0, "Unix socket of status, sessions, reload and the like" },

    { "log", "to", OPT_WORD, 0, 0, "stderr", 0, to_words, AT(log.to), 0, "where events are written" },
    { "log", "format", OPT_WORD, 0, 0, "logfmt", 0, format_words, AT(log.format), 0, "how events are written" },
    { "log", "level", OPT_WORD, 0, 0, "notice", 0, level_words, AT(log.level), 0, "least important events written" },

    { "worker", "threads", OPT_INT, 0, CONFIG_THREADS_MAX, "0", OPT_RESTART, NULL, AT(worker.threads), 0,
      "worker threads; 0: one for each CPU" },
    { "worker", "user", OPT_STRING, 1, 32, "gatehouse", OPT_RESTART, NULL, AT(worker.user), 0,
      "account that the network side runs as" },

    { "limits", "handshake-timeout", OPT_INT, 1, 300, "10", 0, NULL, AT(limits.handshake_timeout_s), 0,
      "seconds for the TLS handshake" },
    { "limits", "head-timeout", OPT_INT, 1, 300, "10", 0, NULL, AT(limits.head_timeout_s), 0,
      "seconds for the first request" },
    { "limits", "idle-timeout", OPT_INT, 1, 86400, "300", 0, NULL, AT(limits.idle_timeout_s), 0,
      "seconds a relayed web connection may be silent" },
    { "limits", "connections", OPT_INT, 16, 1000000, "20000", 0, NULL, AT(limits.connections), 0,
      "connections open at once" },
    { "limits", "unauthenticated-per-source", OPT_INT, 1, 1000000, "64", 0, NULL, AT(limits.unauthenticated_per_source),
      0, "connections of one source that are neither web nor logged in, for each worker" },
    { "limits", "web-per-source", OPT_INT, 1, 1000000, "512", 0, NULL, AT(limits.web_per_source), 0,
      "relayed web connections of one source, for each worker" },
    { "limits", "call-queue", OPT_INT, 64, 65536, "16384", 0, NULL, AT(limits.call_queue_kib), 0,
      "KiB that may wait for one call that reads slower than is sent to it" },
    { "limits", "worker-queue", OPT_INT, 8, 65536, "64", 0, NULL, AT(limits.worker_queue_mib), 0,
      "MiB that may wait for all calls of a worker together" },
    { .name = NULL },
};

_Static_assert(sizeof config_options / sizeof config_options[0] <= CONFIG_OPTIONS_MAX, "there is a place for each");

const struct config_schema config_server_schema = {
    .options = config_options,
    .sections = config_sections,
    .size = sizeof(struct config),
    .origin_at = offsetof(struct config, origin),
    .rules = config_rules_check,
    .unreadable = "name the configuration with -c FILE; 'gatehouse serve --demo DIR' makes one to try",
    .missing = "make one with 'gatehouse cert new', or correct the path",
};
