/* When the end of a certificate is announced: 30, 14, 7 and 1 days ahead, and when it has come. Pure. */
#ifndef GH_SERVER_EXPIRY_H
#define GH_SERVER_EXPIRY_H

#include <stdint.h>

#define EXPIRY_NONE 1000 /* nothing was announced yet */

/*
 * What is due at now_s for a certificate that ends at not_after_s, when `said` was announced last (EXPIRY_NONE, 30, 14,
 * 7, 1 or 0): the tightest of 30, 14, 7, 1 (days), 0 (it is over), or EXPIRY_NONE: nothing new.
 */
int expiry_due(int64_t not_after_s, int64_t now_s, int said);

/* Whole days that remain, rounded up; 0 when it is over. */
int expiry_days(int64_t not_after_s, int64_t now_s);

#endif
