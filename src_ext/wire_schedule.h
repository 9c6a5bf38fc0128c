/* Who sends next: the list of connections with more to do, and the queue below the rate limit.
 * May call the rate limit. */
#ifndef WIRE_SCHEDULE_H
#define WIRE_SCHEDULE_H

#include "wire_state.h"

void wire_schedule_ready(wire_connection *connection);
/* At the end, when no connection is served any more. */
void wire_schedule_forget_ready(wire_io_thread *io);
/* How many of `want` bytes the rate limit lets the connection send or receive now. 0: it is in the queue. */
size_t wire_schedule_allowed(wire_connection *connection, size_t want);
void wire_schedule_leave(wire_connection *connection);

#endif
