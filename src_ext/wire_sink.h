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

/* A server that is no faster than the reading gives some KiB at a time: many small writes, which mostly end within a
 * page. File systems take whole and aligned blocks for a third of the CPU. */

/* Where the next bytes can be received without a copy, and how many fit: the caller's memory, or the block of a file.
 * NULL if there is no memory for a block. After bytes were put there: `wire_sink_placed`, which writes a block if it is
 * full, or if the body ends (`last`); its result is that of `wire_sink_take`. */
char *wire_sink_place(wire_sink *sink, wire_spare_blocks *spare, size_t *room);
int wire_sink_placed(wire_sink *sink, size_t length, int last);
/* No more bytes come: writes what waits, and gives the block back. */
void wire_sink_end(wire_sink *sink, wire_spare_blocks *spare);
/* Bytes of the body that are missing, and bytes of the range that have arrived. */
uint64_t wire_sink_left(const wire_sink *sink);
uint64_t wire_sink_arrived(const wire_sink *sink);

#endif
