/* A request: the pieces of its body, its response, its result, and the events about it.
 * May call the parser (for the form of a head), the pages and the mailbox. */
#ifndef WIRE_REQUEST_H
#define WIRE_REQUEST_H

#include "wire_state.h"

int wire_request_set_header(wire_request *request, const char *name, size_t name_length, const char *value,
                            size_t value_length);
void wire_request_clear_answer(wire_request *request);
/* Takes a piece of the answer's body; returns 0, or -1 when it is longer than allowed. */
int wire_request_take_body(wire_request *request, const char *data, size_t length);
/* The request has its result. It is released when none of its body is in a queue. */
void wire_request_finish(wire_request *request, int result, const char *why);
/* Whether an answer that is complete may count: a success does not before the whole body is out. */
int wire_request_answer_counts(const wire_request *request);
void wire_request_release(wire_request *request);
void wire_request_report_sent(wire_request *request);
/* The body goes on with a piece that is not there yet: the caller hears so, once. */
void wire_request_want(wire_request *request);
/* `bytes` of the request have moved, either way. A trickle is no sign of life: a peer that lets a byte pass now and then
 * would hold the caller as long as it likes. */
void wire_request_moved(wire_request *request, size_t bytes);
/* Whether it is the caller who is slow: it was asked for the body, and nothing but that is missing. */
int wire_request_caller_is_late(wire_request *request);
void wire_request_attach(wire_connection *connection, wire_request *request);
/* The piece that the body goes on with, or NULL: none yet, or none any more (`complete`). */
wire_piece *wire_request_next_piece(wire_request *request);

#endif
