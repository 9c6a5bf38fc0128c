/* HTTP/1.1 on a connection: one request and its response at a time.
 * May call the parser, the closing of a connection, and what that may call. */
#ifndef WIRE_H1_H
#define WIRE_H1_H

#include "wire_state.h"

void wire_h1_submit(wire_connection *connection, wire_request *request);
void wire_h1_produce(wire_connection *connection);
void wire_h1_input(wire_connection *connection, const char *data, size_t length);
/* If the next bytes are of a body that goes to its place: where to receive them, at most `*room`. Else NULL. They are not
 * given to `wire_h1_input`, but to `wire_h1_body`. */
char *wire_h1_body_room(wire_connection *connection, size_t *room);
void wire_h1_body(wire_connection *connection, size_t length);
void wire_h1_input_end(wire_connection *connection, int clean, const char *why);

#endif
