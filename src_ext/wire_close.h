/* How a connection ends: its requests get their results, and it leaves every list but that of the dead.
 * May call the output, the request, the pages, the schedule and the mailbox. */
#ifndef WIRE_CLOSE_H
#define WIRE_CLOSE_H

#include "wire_state.h"

/* Ends the connection. Its requests end with `result`. */
void wire_close_now(wire_connection *connection, int result, const char *why);
/* The same after WIRE_FLUSH_LOST: requests whose file was cut end with WIRE_LOST. */
void wire_close_lost_file(wire_connection *connection);
/* The connection takes no more requests. Those on it continue. */
void wire_close_gracefully(wire_connection *connection);

#endif
