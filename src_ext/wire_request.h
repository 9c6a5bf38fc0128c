/* A request: the pieces of its body, its response, its result, and the events about it.
 * May call the parser (for the form of a head), the pages, the mailbox and the schedule. */
#ifndef WIRE_REQUEST_H
#define WIRE_REQUEST_H

#include "wire_state.h"

int wire_request_set_header(wire_request *request, const char *name, size_t name_length, const char *value,
                            size_t value_length);
void wire_request_clear_response(wire_request *request);
/* The head of the final response is complete. Returns 0, or WIRE_UNWANTED: the request has to end. */
int wire_request_take_head(wire_request *request);
/* Takes a piece of the response body. Returns 0, or the result with which the request has to end. */
int wire_request_take_body(wire_request *request, const char *data, size_t length);
/* Why `wire_request_take_body` ends the request. */
const char *wire_request_body_problem(const wire_request *request);
/* Whether the body goes to its place now. */
int wire_request_is_receiving(const wire_request *request);
/* Sets the result, once. The request is released when none of its body is in the output queue. */
void wire_request_finish(wire_request *request, int result, const char *why);
/* Whether the response is complete and valid. A success is not valid before the whole body was sent. */
int wire_request_response_counts(const wire_request *request);
void wire_request_release(wire_request *request);
/* Reports what was sent and received since the last report. */
void wire_request_report(wire_request *request);
/* Asks the caller for the body (WIRE_WANTED), once. */
void wire_request_want(wire_request *request);
/* `bytes` of the request or response body have moved. Only WIRE_TRICKLE_BYTES together count as progress: a peer that
 * lets single bytes pass must not hold the caller. */
void wire_request_moved(wire_request *request, size_t bytes);
/* Whether the request waits for nothing but the caller's next piece. */
int wire_request_caller_is_late(wire_request *request);
void wire_request_attach(wire_connection *connection, wire_request *request);
/* The next piece of the body that is not fully queued. NULL: there is none yet, or no more will come (`complete`). */
wire_piece *wire_request_next_piece(wire_request *request);

#endif
