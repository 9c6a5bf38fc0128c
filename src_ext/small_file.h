/* A small regular file, read whole, and what identifies a file. */
#ifndef COSX_SMALL_FILE_H
#define COSX_SMALL_FILE_H

#include <stdint.h>
#include <time.h>

typedef struct {
    uint64_t device, inode;
    int64_t size;
    struct timespec mtime, ctime; /* as nanoseconds, 64 bits would end in the year 2262 */
} cosx_identity;

/* Opens, reads and closes a regular file of 1 to `max_bytes` bytes. Returns its content, which the caller frees, and
 * sets `identity` to what the file was when it was opened. NULL: any other file, a file that is shorter or longer than
 * its size, or an error. */
char *cosx_small_file_read(const char *path, int64_t max_bytes, cosx_identity *identity);
/* Identifies the file at `path`, through symbolic links. Returns 0 or errno. */
int cosx_small_file_identify(const char *path, cosx_identity *identity);

#endif
