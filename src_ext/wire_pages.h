/* The memory pages of bodies that lie in a mapped file: mapped ahead of the sending, dropped behind it.
 * Calls no other file of the wire. */
#ifndef WIRE_PAGES_H
#define WIRE_PAGES_H

#include "wire_state.h"

void wire_pages_map(wire_piece *piece, size_t at, size_t length);
/* Whether some of these bytes are beyond the end of their file. */
int wire_pages_are_lost(const wire_piece *piece, size_t at, size_t length);
/* Drops all pages. The next bytes, from `at` on, are mapped again when they are sent. */
void wire_pages_drop_all(wire_piece *piece, size_t at);
/* Drops the pages before `up_to` if they come to `step` bytes, or if `up_to` is the end of the piece. */
void wire_pages_drop(wire_piece *piece, size_t up_to, size_t step);

#endif
