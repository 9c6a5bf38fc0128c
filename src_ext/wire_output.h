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
    WIRE_FLUSH_ALL,    /* all is out */
    WIRE_FLUSH_WAITS,  /* the socket is full, the turn is over, or the rate limit holds it back */
    WIRE_FLUSH_BROKEN, /* nothing can be written any more; the connection's `why` */
    WIRE_FLUSH_LOST    /* a file under the output was cut */
} wire_flush_result;
/* Write what is queued, `*budget` bytes at most. */
wire_flush_result wire_output_flush(wire_connection *connection, size_t *budget);
void wire_output_drop(wire_connection *connection);
/* The run pushed last is of this request, although not of its body. */
void wire_output_push_belongs(wire_connection *connection, wire_request *request);

#endif
