/* Whole files, for commands: read with a cap, replaced in one step. */
#ifndef GH_CLI_FILE_H
#define GH_CLI_FILE_H

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* Reads at most cap bytes, NUL-terminated behind them; malloc'ed. ERR_SYSTEM with errno (EFBIG over the cap). */
MUST_USE int file_read(const char *path, size_t cap, char **out, size_t *len);

enum file_old {
    FILE_OLD_STAYS, /* a file that is there: ERR_SYSTEM with errno EEXIST */
    FILE_OLD_GOES,  /* is replaced                                         */
    FILE_OLD_LENDS, /* is replaced and gives the new one its mode and owner */
};

/* Writes a new file beside path, syncs it and moves it there: readers see the old or the new one, never half of one. */
MUST_USE int file_write(const char *path, const void *data, size_t len, mode_t mode, enum file_old old);

/* Waits for the one lock of the folder that the file is in, behind links. Returns a descriptor to close, or ERR_SYSTEM
 * with errno. */
MUST_USE int file_lock(const char *path);

#endif
