/* gatehouse explain: which of its two questions was asked. */
#ifndef GH_CLI_EXPLAIN_H
#define GH_CLI_EXPLAIN_H

#include <stdbool.h>

/* Prints text, wrapped for a terminal, behind a label of the left column; nothing for NULL. */
void explain_field(const char *label, const char *text);

/* `gatehouse explain ADDRESS[:PORT] [NAME] [METHOD URL]`: args has n of them. Returns the exit status. explain_route.c
 */
int explain_route(const char *config, int n, char **args, bool json);

#endif
