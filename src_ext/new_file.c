#define _GNU_SOURCE
#include "new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

static int write_all(int fd, const char *content, size_t size)
{
    while (size) {
        ssize_t n = write(fd, content, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? errno : ENOSPC;
        content += n;
        size -= (size_t)n;
    }
    return 0;
}

static int set_time(int fd, int64_t modified)
{
    int64_t rest = modified % SECOND;
    struct timespec time = {.tv_sec = (time_t)(modified / SECOND - (rest < 0)),
                            .tv_nsec = (long)(rest < 0 ? rest + SECOND : rest)};
    struct timespec times[2] = {time, time};
    return futimens(fd, times) ? errno : 0;
}

/* Whether the file at `name` is the open one. */
static int is_at(const char *name, int fd)
{
    struct stat there, open;
    return !lstat(name, &there) && !fstat(fd, &open) && there.st_dev == open.st_dev && there.st_ino == open.st_ino;
}

int cosx_new_file_write(const char *temporary, const char *target, const void *content, size_t size, int has_time,
                        int64_t modified)
{
    struct stat status;
    int fd, lock, error;
    if (!lstat(target, &status) || errno != ENOENT)
        return COSX_NEW_FILE_OTHER;
    fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0)
        return COSX_NEW_FILE_OTHER;
    /* Another writer may see the file before it is locked, take it for an abandoned one, and remove it. Its name may
     * then be that of the other's file. A file system may have no locks. */
    if ((flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) || !is_at(temporary, fd)) {
        close(fd);
        return COSX_NEW_FILE_OTHER;
    }
    lock = fcntl(fd, F_DUPFD_CLOEXEC, 0); /* keeps the lock after the close, which may report that the disk is full */
    error = write_all(fd, content, size);
    if (!error && has_time)
        error = set_time(fd, modified);
    if (close(fd) && !error)
        error = errno;
    if (!error && rename(temporary, target))
        error = errno;
    if (error)
        unlink(temporary);
    if (lock >= 0)
        close(lock);
    return error;
}

int cosx_new_file_folders(char *path, size_t root)
{
    struct stat status;
    int found = 1;
    for (char *slash = path + root; found && (slash = strchr(slash + 1, '/'));) {
        *slash = 0;
        found = !lstat(path, &status) && S_ISDIR(status.st_mode);
        *slash = '/';
    }
    return found;
}
