/* Where the body of a response goes if the caller has given a place for it: memory, or a file.
 * Knows nothing of connections. Calls only the CRC. */
#ifndef WIRE_SINK_H
#define WIRE_SINK_H

#include "wire_state.h"

/* The head of a 2xx response is complete. `headers` are those of the request (name NUL value NUL …). Returns whether the
 * body is the range that was asked for; nothing may be written otherwise. */
int wire_sink_accept(wire_sink *sink, int status, const char *headers, size_t length);
/* Takes a piece of the body. Returns 0, or the result with which the request has to end; `why` has the reason. */
int wire_sink_take(wire_sink *sink, const char *data, size_t length);
/* The place for the next bytes if it is memory, else NULL. After bytes were received there: `wire_sink_received`. */
char *wire_sink_memory(const wire_sink *sink);
void wire_sink_received(wire_sink *sink, size_t length);

#endif
