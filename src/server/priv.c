#include "server/priv.h"

int priv_ask(int channel, enum priv_request type, uint32_t index, struct priv_msg *answer, int *fds, unsigned fds_max)
{
    answer->type = type;
    answer->index = index;
    answer->status = 0;
    return priv_call(channel, answer, fds, fds_max);
}
