/* The pages that the site has of its own: see site.h. */
#include "web/pages.h"

/* The policy below names the hash of this text; test_site compares the two. */
#define STYLE                                                                                                          \
    "body{margin:0;min-height:100vh;display:grid;place-items:center;background:#f3f5f7;color:#1d2733;"                 \
    "font:17px/1.6 system-ui,sans-serif}main{max-width:38rem;margin:2rem;padding:2.2rem 2.6rem;backgr"                 \
    "ound:#fff;border-radius:14px;box-shadow:0 2px 24px #1d273318}h1{margin:0 0 .6rem;font-size:1.7re"                 \
    "m}p{margin:.7rem 0}a{color:#1260a8}pre{overflow-x:auto;padding:.9rem 1.1rem;background:#f3f5f7;b"                 \
    "order-radius:8px;font-size:.9rem;line-height:1.5}@media(prefers-color-scheme:dark){body{backgrou"                 \
    "nd:#12171d;color:#dde4ea}main{background:#1b222b;box-shadow:none}pre{background:#12171d}a{color:"                 \
    "#7db8f0}}"

const char site_csp[] = "default-src 'none'; style-src 'sha256-TGGJPxFt5TySc1DkGxSlMKS+haTYn432zVnPdoQhpWg=';"
                        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#define HEAD(title)                                                                                                    \
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"                                          \
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"                                       \
    "<title>" title "</title>\n<style>" STYLE "</style>\n</head>\n<body>\n<main>\n"
#define FOOT "</main>\n</body>\n</html>\n"

/* clang-format off */
const char site_welcome[] =
    HEAD("Gatehouse")
    "<h1>The gate is open</h1>\n"
    "<p>This address serves a web site and an SSTP VPN through the same port, with <strong>Gatehouse</strong>. "
    "Browsers see this page; VPN clients that use the same host name get a tunnel.</p>\n"
    "<p>There is no web site here yet. To show one, name its folder or the web server behind it in the "
    "configuration:</p>\n"
    "<pre>web: (\n"
    "  { root = \"/var/www/html\"; }          # a folder, or\n"
    "  { upstream = \"127.0.0.1:8080\"; }     # a web server\n"
    ");</pre>\n"
    "<p>Then run <code>gatehouse check</code> and <code>gatehouse reload</code>.</p>\n"
    FOOT;

const char site_not_found[] = HEAD("Not found")
    "<h1>Not found</h1>\n<p>There is no page at this address.</p>\n<p><a href=\"/\">To the start page</a></p>\n"
    FOOT;
/* clang-format on */
