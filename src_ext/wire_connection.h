/* A connection: reads, writes and keeps time for both protocols.
 * May call HTTP/1.1, HTTP/2, and all below them; not the I/O thread. */
#ifndef WIRE_CONNECTION_H
#define WIRE_CONNECTION_H

#include "wire_state.h"

void wire_connection_read(wire_connection *connection);
void wire_connection_write(wire_connection *connection);
void wire_connection_submit(wire_connection *connection, wire_request *request);
void wire_connection_cancel(wire_connection *connection, wire_request *request);
/* `disk_seconds`: how long this thread has waited for disks since the last tick. The servers are not the cause. */
void wire_connection_tick(wire_connection *connection, double now, double disk_seconds);
/* Returns that time for the requests of one connection, and begins anew. */
double wire_connection_disk_seconds(wire_connection *connection);
/* How many bytes of the bodies of its requests were written to the socket and not acknowledged at the last tick. */
uint64_t wire_connection_unacknowledged(const wire_connection *connection);
void wire_connection_start(wire_io_thread *io, wire_connection *connection);

#endif
