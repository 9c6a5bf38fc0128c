/* Many buffers hashed at once: MD5 in lanes, CRC-64 of the same bytes while they are in cache.
 *
 * A cosx_part is one buffer with a digest of its own. Parts that are consecutive pieces of one stream (one file) can
 * be chained: they then also feed the stream's MD5, in order, in the same pass over memory.
 */
#ifndef COSX_LANES_H
#define COSX_LANES_H

#include "digest.h"

typedef struct cosx_part {
    const uint8_t *data;
    uint64_t size;
    uint64_t position; /* bytes hashed so far; other threads read it during a run */
    uint64_t crc;
    uint8_t md5[16];
    struct cosx_part *next; /* the next piece of the same stream, NULL at the end */
} cosx_part;

/* The work of one lane (of two with a stream): a part, or a stream's chain of parts. */
typedef struct {
    cosx_part *first;
    cosx_md5 *stream; /* NULL: no stream MD5 */
} cosx_job;

typedef struct cosx_worker cosx_worker;

/* The jobs that several workers take. The caller keeps all of it alive and sets `taken` to 0. */
typedef struct {
    cosx_job *jobs;
    size_t count;
    size_t taken; /* atomic */
    int crc64;    /* whether parts get a CRC */
    int streams;  /* whether any job has a stream */
} cosx_queue;

/* Makes one of the `threads` workers of a queue. NULL: no memory. A worker keeps the kernel that was in use when it was
 * made. */
cosx_worker *cosx_worker_new(cosx_queue *queue, unsigned threads);
void cosx_worker_free(cosx_worker *worker);
/* Hashes about `budget` more bytes, or until the queue is empty. Returns how many bytes it hashed. */
uint64_t cosx_worker_run(cosx_worker *worker, uint64_t budget);
/* The same on several threads, one worker each. The first worker runs on the caller's thread. Returns the sum. */
uint64_t cosx_workers_run(cosx_worker *const *workers, unsigned count, uint64_t budget);

#endif
