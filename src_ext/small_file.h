/* A small regular file, read whole; what identifies a file; and the sizes of many files. */
#ifndef COSX_SMALL_FILE_H
#define COSX_SMALL_FILE_H

#include <stddef.h>
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
/* Sets `sizes` to the sizes of the files at `paths`, through symbolic links: 0 for what is no regular file or cannot be
 * found, -1 if the path is too long for a system call. It is fastest if files of one folder follow each other. */
void cosx_small_file_sizes(const char *const *paths, size_t count, int64_t *sizes);

#endif
