/* A small file, written whole under a temporary name and moved to its place. */
#ifndef COSX_NEW_FILE_H
#define COSX_NEW_FILE_H

#include <stddef.h>
#include <stdint.h>

#define COSX_NEW_FILE_OTHER (-1)

/* Writes `size` bytes to `temporary` and renames it to `target`, where nothing is yet. The file is locked until it has its
 * name. `modified`: the time of its last modification in nanoseconds, if `has_time`. Returns 0; an errno if it cannot be
 * written, and then nothing is left; or COSX_NEW_FILE_OTHER: there is something under one of the names, or the file cannot
 * be created, and nothing was done. */
int cosx_new_file_write(const char *temporary, const char *target, const void *content, size_t size, int has_time,
                        int64_t modified);
/* Whether each folder of `path` below its first `root` bytes exists and is no link. `path` is changed meanwhile. */
int cosx_new_file_folders(char *path, size_t root);

#endif
