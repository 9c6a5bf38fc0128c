/* The rate limit: one token bucket for the I/O threads of a client, under a lock of its own.
 * May call the clock only. */
#ifndef WIRE_RATE_H
#define WIRE_RATE_H

#include "wire.h"

/* Takes up to `want` bytes and returns how many may be sent or received now. */
size_t wire_rate_take(wire_rate *rate, double now, size_t want);
/* After how many seconds bytes may be sent. 0: now. */
double wire_rate_wait(wire_rate *rate, double now);
/* Returns bytes that were taken and not sent or received. */
void wire_rate_give_back(wire_rate *rate, size_t bytes);

#endif
