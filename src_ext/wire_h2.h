/* HTTP/2 on a connection, over nghttp2.
 * May call the closing of a connection, and what that may call. */
#ifndef WIRE_H2_H
#define WIRE_H2_H

#include "wire_state.h"

int wire_h2_start(wire_connection *connection);
void wire_h2_free(wire_connection *connection);
void wire_h2_submit(wire_connection *connection, wire_request *request);
void wire_h2_resume(wire_connection *connection, wire_request *request);
void wire_h2_end(wire_connection *connection, wire_request *request, int result);
void wire_h2_produce(wire_connection *connection);
void wire_h2_input(wire_connection *connection, const char *data, size_t length);
void wire_h2_tick(wire_connection *connection, double now);
/* Whether the request has a body to send and waits only for space in the connection's output queue. */
int wire_h2_waits_for_room(const wire_connection *connection, const wire_request *request);

#endif
