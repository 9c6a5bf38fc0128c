/* The clock of the wire: seconds of CLOCK_MONOTONIC.
 * Calls no other file of the wire. */
#ifndef WIRE_CLOCK_H
#define WIRE_CLOCK_H

#include <time.h>

static inline double wire_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#endif
