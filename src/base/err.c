#include "base/err.h"

const char *err_name(int err)
{
    switch ((enum err)err) {
    case ERR_OK: return "ok";
    case ERR_AGAIN: return "try again";
    case ERR_CLOSED: return "closed by the peer";
    case ERR_PEER: return "protocol error";
    case ERR_AUTH: return "not authenticated";
    case ERR_LIMIT: return "limit reached";
    case ERR_SYSTEM: return "system error";
    case ERR_NOMEM: return "out of memory";
    case ERR_USAGE: return "wrong use";
    case ERR_BUG: return "internal error";
    }
    return "unknown error";
}
