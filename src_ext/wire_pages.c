#define _GNU_SOURCE
#include "wire_pages.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

/* A page fault on a mapping brings in 16 pages. One request for a whole step costs a fifth of that. Pages that were
 * sent are dropped again, because mapped pages count as memory of this process. */

static int advise(const char *from, const char *to, int advice)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t start = (uintptr_t)from & ~(page - 1);
    return madvise((void *)start, (size_t)((uintptr_t)to - start), advice);
}

void wire_pages_map(wire_piece *piece, size_t at, size_t length)
{
    if (!piece->mapped || at + length <= piece->populated)
        return;
    size_t end = (at + length + WIRE_STEP_BYTES - 1) / WIRE_STEP_BYTES * WIRE_STEP_BYTES;
    if (end > piece->length)
        end = piece->length;
    size_t start = piece->populated > at ? piece->populated : at;
    if (advise(piece->data + start, piece->data + end, MADV_POPULATE_READ) && errno == EINVAL)
        advise(piece->data + start, piece->data + end, MADV_WILLNEED);
    piece->populated = end;
}

int wire_pages_are_lost(const wire_piece *piece, size_t at, size_t length)
{
    return advise(piece->data + at, piece->data + at + length, MADV_POPULATE_READ) && errno != EINVAL;
}

void wire_pages_drop_all(wire_piece *piece, size_t at)
{
    if (!piece->mapped || piece->populated <= at)
        return;
    advise(piece->data + piece->dropped, piece->data + piece->populated, MADV_DONTNEED);
    piece->populated = piece->dropped = at;
}

void wire_pages_drop(wire_piece *piece, size_t up_to, size_t step)
{
    if (!piece->populated)
        return;
    if (up_to == piece->length || up_to - piece->dropped >= step) {
        if (up_to > piece->dropped)
            advise(piece->data + piece->dropped, piece->data + up_to, MADV_DONTNEED);
        piece->dropped = up_to;
    }
}
