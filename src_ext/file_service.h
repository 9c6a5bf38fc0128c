/* Threads that read, identify and write small files, so that the caller never waits for a file system.
 *
 * The caller submits requests and collects the finished ones in batches. A descriptor becomes readable when 16 are
 * finished, or when no request waits for a thread. If a file system keeps the threads waiting, finished requests may
 * wait too, so the caller looks from time to time (`cosx_file_service_done`). The threads start as they are needed, up
 * to a number that the caller sets. Nothing here needs the GIL. All functions are for one caller at a time.
 */
#ifndef COSX_FILE_SERVICE_H
#define COSX_FILE_SERVICE_H

#include "digest.h"
#include "new_file.h"
#include "small_file.h"

typedef struct cosx_file_service cosx_file_service;

typedef struct cosx_file_request {
    struct cosx_file_request *next;
    double since;      /* when it was submitted, by the caller's clock */
    int64_t max_bytes; /* of a file that is to be read; 0: identify the file */
    /* of a file that is to be written; `temporary` is NULL for any other request */
    const char *temporary;
    size_t size, root; /* of `content`; of the folder below which no link is followed, 0: there is none */
    int has_time;
    int64_t modified;
    /* the result */
    int error;      /* of identifying: errno, or 0; of writing: what `cosx_new_file_write` returns */
    char *content;  /* of reading; NULL: the file is to be opened in another way. What is to be written */
    char *folder;   /* of reading a relative path: the working directory */
    int has_digest; /* whether `md5` and `crc64` are set */
    uint8_t md5[16];
    uint64_t crc64;
    cosx_identity identity;
    char path[];
} cosx_file_request;

/* Makes a service with no threads yet. The threads compute the digests of files of more than `digest_above` bytes.
 * NULL with errno: no memory or no descriptor. */
cosx_file_service *cosx_file_service_new(cosx_digest_function digest, int64_t digest_above);
/* Ends the threads and frees all requests. A thread that is busy ends after its request; nobody waits for it. In a
 * child after a fork nothing is freed, because a thread of the parent may have held the lock. */
void cosx_file_service_free(cosx_file_service *service);
int cosx_file_service_descriptor(const cosx_file_service *service);

/* Makes a request. NULL: no memory. */
cosx_file_request *cosx_file_service_request(const char *path, int64_t max_bytes, double since);
/* Makes a request to write a new file as `cosx_new_file_write` does; the content is copied. The first `root` bytes of
 * `path` name a folder: each folder below it has to exist, and nothing is done if one of them is a link. */
cosx_file_request *cosx_file_service_write_request(const char *path, const char *temporary, size_t root,
                                                   const void *content, size_t size, int has_time, int64_t modified,
                                                   double since);
void cosx_file_service_free_request(cosx_file_request *request);

/* Hands a request to the threads. 0, or errno if there is no thread and none can be started; then the request stays
 * the caller's. `quietly`: threads that sleep are not woken before the next `cosx_file_service_announce`. */
int cosx_file_service_submit(cosx_file_service *service, cosx_file_request *request, int quietly);
/* Wakes the threads for requests that were submitted quietly. */
void cosx_file_service_announce(cosx_file_service *service);
/* Returns up to `most` finished requests, which the caller frees. If others are left, the descriptor stays readable. */
cosx_file_request *cosx_file_service_collect(cosx_file_service *service, unsigned most);
/* When the oldest request that no thread has begun was submitted; negative: there is none. */
double cosx_file_service_oldest(cosx_file_service *service);
/* Sets how many threads there may be, and starts as many as there are requests for them. Surplus threads end when they
 * have nothing to do. */
void cosx_file_service_set_width(cosx_file_service *service, unsigned width);
unsigned cosx_file_service_threads(cosx_file_service *service);
/* How many finished requests have not been collected. */
unsigned cosx_file_service_done(cosx_file_service *service);

#endif
