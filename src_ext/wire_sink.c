/* The place of a response body: checks that the response is the range that was asked for, writes, and computes the CRC64
 * of each block while it is in cache. */
#define _GNU_SOURCE
#include "wire_sink.h"

#include "wire_clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_DIGITS 18
#define BLOCK_BYTES 4096 /* of a file system: a smaller hole saves nothing */

/* Reads digits up to `end`, which is moved on. Returns 0, or -1 if there are none or too many. */
static int number(const char **at, uint64_t *value)
{
    const char *start = *at;
    uint64_t n = 0;
    while (**at >= '0' && **at <= '9' && *at - start <= MAX_DIGITS)
        n = n * 10 + (uint64_t)(*(*at)++ - '0');
    *value = n;
    return *at == start || *at - start > MAX_DIGITS ? -1 : 0;
}

/* Reads "bytes first-last/total". */
static int content_range(const char *value, uint64_t *first, uint64_t *last, uint64_t *total)
{
    if (strncmp(value, "bytes ", 6))
        return -1;
    value += 6;
    return number(&value, first) || *value++ != '-' || number(&value, last) || *value++ != '/' ||
                   number(&value, total) || *value || *first > *last || *last >= *total
               ? -1
               : 0;
}

typedef struct {
    const char *range, *length, *etag;
    int twice;
} fields;

static fields find(const char *headers, size_t length)
{
    fields found = {0};
    for (const char *name = headers, *end = headers + length; name < end;) {
        const char *value = name + strlen(name) + 1;
        const char **field = !strcmp(name, "content-range")    ? &found.range
                             : !strcmp(name, "content-length") ? &found.length
                             : !strcmp(name, "etag")           ? &found.etag
                                                               : NULL;
        if (field) {
            found.twice |= *field && strcmp(*field, value);
            *field = value;
        }
        name = value + strlen(value) + 1;
    }
    return found;
}

int wire_sink_accept(wire_sink *s, int status, const char *headers, size_t length)
{
    fields found = find(headers, length);
    uint64_t first, last, total, announced = 0, wanted = s->range.length - s->received;
    if (found.twice || (s->range.etag[0] && (!found.etag || strcmp(found.etag, s->range.etag))))
        return 0;
    const char *at = found.length;
    if (at && (number(&at, &announced) || *at))
        return 0;
    if (status == 206 && s->range.ranged) {
        if (!found.range || content_range(found.range, &first, &last, &total))
            return 0;
        uint64_t size = last - first + 1;
        if (first != s->range.first + s->received || size > wanted || (found.length && announced != size))
            return 0;
        if (size < wanted && !(s->range.shorter && last == total - 1))
            return 0;
        s->left = size;
    } else if (status == 200 && (!s->range.ranged || s->range.shorter)) {
        /* Without a range, or the server ignores it, as it may for an empty object: the whole object. */
        if (!found.length || found.range || s->range.first + s->received || announced > wanted ||
            (announced < wanted && !s->range.shorter))
            return 0;
        s->left = announced;
    } else {
        return 0;
    }
    s->accepted = 1;
    return 1;
}

static void note(wire_sink *s, const char *data, size_t length)
{
    s->crc64 = s->range.crc64(s->crc64, (const uint8_t *)data, length);
    s->received += length;
    s->left -= length;
}

/* How many of `length` bytes are in the block of the file that has the byte `at`. */
static size_t in_block(uint64_t at, size_t length)
{
    size_t left = BLOCK_BYTES - (size_t)(at % BLOCK_BYTES);
    return left < length ? left : length;
}

/* Returns how many bytes at the start are blocks of zeros (`zeros`), or blocks of anything else. */
static size_t stretch(uint64_t at, const char *data, size_t length, int zeros)
{
    size_t found = 0;
    while (found < length) {
        size_t block = in_block(at + found, length - found);
        const char *start = data + found;
        /* A byte that is not zero mostly ends the comparison at once. */
        if ((!start[0] && !memcmp(start, start + 1, block - 1)) != zeros)
            break;
        found += block;
    }
    return found;
}

static int write_file(wire_sink *s, const char *data, size_t length)
{
    double began = wire_now();
    int result = 0;
    while (length) {
        uint64_t at = s->range.offset + s->received;
        size_t hole = s->range.sparse ? stretch(at, data, length, 1) : 0;
        if (hole) {
            note(s, data, hole);
            data += hole;
            length -= hole;
            continue;
        }
        size_t now = s->range.sparse ? stretch(at, data, length, 0) : length;
        ssize_t n = pwrite(s->range.fd, data, now, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            s->error = n ? errno : ENOSPC;
            s->why = strerror(s->error);
            result = WIRE_UNWRITABLE;
            break;
        }
        note(s, data, (size_t)n);
        data += n;
        length -= (size_t)n;
    }
    s->seconds += wire_now() - began;
    return result;
}

static int write_held(wire_sink *s)
{
    size_t length = s->held;
    s->held = 0;
    return length ? write_file(s, s->block, length) : 0;
}

int wire_sink_take(wire_sink *s, const char *data, size_t length)
{
    int result;
    if (length > wire_sink_left(s)) {
        s->why = "the body is longer than its range";
        return WIRE_MALFORMED;
    }
    if (!s->range.memory)
        return (result = write_held(s)) ? result : write_file(s, data, length);
    memcpy(s->range.memory + s->received, data, length);
    note(s, data, length);
    return 0;
}

/* How many bytes there are from the next one to write to the end of its block of the file. */
static size_t block_left(const wire_sink *s)
{
    return WIRE_READ_BYTES - (size_t)((s->range.offset + s->received) % WIRE_READ_BYTES);
}

char *wire_sink_place(wire_sink *s, wire_spare_blocks *spare, size_t *room)
{
    if (s->range.memory) {
        *room = WIRE_READ_BYTES;
        return s->range.memory + s->received;
    }
    if (!s->block)
        s->block = spare->count ? spare->blocks[--spare->count] : malloc(WIRE_READ_BYTES);
    if (!s->block)
        return NULL;
    *room = block_left(s) - s->held;
    return s->block + s->held;
}

int wire_sink_placed(wire_sink *s, size_t length, int last)
{
    if (s->range.memory) {
        note(s, s->range.memory + s->received, length);
        return 0;
    }
    s->held += length;
    return last || s->held == block_left(s) ? write_held(s) : 0;
}

void wire_sink_end(wire_sink *s, wire_spare_blocks *spare)
{
    if (!s->block)
        return;
    write_held(s); /* if it fails, `received` says how much of it is there */
    if (spare->count < WIRE_SPARE_BLOCKS)
        spare->blocks[spare->count++] = s->block;
    else
        free(s->block);
    s->block = NULL;
}

uint64_t wire_sink_left(const wire_sink *s)
{
    return s->left - s->held;
}

uint64_t wire_sink_arrived(const wire_sink *s)
{
    return s->received + s->held;
}
