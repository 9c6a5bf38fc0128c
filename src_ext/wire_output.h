/* A connection's output queue, and the writing of it to the socket or the TLS session.
 * May call the request, the pages, the schedule and the rate limit. */
#ifndef WIRE_OUTPUT_H
#define WIRE_OUTPUT_H

#include "wire_state.h"

wire_span *wire_output_push(wire_connection *connection, const char *data, size_t length);
int wire_output_push_copy(wire_connection *connection, const char *data, size_t length); /* -1: no memory */
void wire_output_push_body(wire_connection *connection, wire_request *request, wire_piece *piece, size_t at,
                           size_t length);
typedef enum {
    WIRE_FLUSH_ALL,    /* the queue is empty */
    WIRE_FLUSH_WAITS,  /* the socket is full, the turn is over, or the rate limit has no bytes left */
    WIRE_FLUSH_BROKEN, /* writing failed; the connection's `why` has the reason */
    WIRE_FLUSH_LOST    /* a file that holds some of the output was cut */
} wire_flush_result;
/* Writes the queue, at most `*budget` bytes of it. */
wire_flush_result wire_output_flush(wire_connection *connection, size_t *budget);
void wire_output_drop(wire_connection *connection);
/* The last run in the queue belongs to this request, but not to its body. */
void wire_output_push_belongs(wire_connection *connection, wire_request *request);

#endif
