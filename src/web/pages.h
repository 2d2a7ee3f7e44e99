/* The pages that the built-in site has of its own; they need nothing from elsewhere. */
#ifndef GH_WEB_PAGES_H
#define GH_WEB_PAGES_H

extern const char site_csp[]; /* Content-Security-Policy that goes with them */
extern const char site_welcome[];
extern const char site_not_found[];

#endif
