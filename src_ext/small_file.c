#include "small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __APPLE__
#define TIME(status, which) (status)->st_##which##timespec
#else
#define TIME(status, which) (status)->st_##which##tim
#endif

static cosx_identity identity_of(const struct stat *status)
{
    return (cosx_identity){
        status->st_dev, status->st_ino, status->st_size, TIME(status, m), TIME(status, c),
    };
}

/* Whether the file holds exactly `size` bytes from here on. Reads them to `content`. */
static int read_all(int fd, char *content, int64_t size)
{
    for (int64_t done = 0; done < size;) {
        ssize_t count = read(fd, content + done, size - done);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return 0;
        done += count;
    }
    char more;
    return read(fd, &more, 1) == 0; /* else it has grown, or is longer than its size */
}

static char *read_descriptor(int fd, int64_t max_bytes, cosx_identity *identity)
{
    struct stat status;
    if (fstat(fd, &status) || !S_ISREG(status.st_mode) || status.st_size < 1 || status.st_size > max_bytes)
        return NULL;
    char *content = malloc(status.st_size);
    if (!content)
        return NULL;
    if (!read_all(fd, content, status.st_size)) {
        free(content);
        return NULL;
    }
    *identity = identity_of(&status);
    return content;
}

char *cosx_small_file_read(const char *path, int64_t max_bytes, cosx_identity *identity)
{
    int fd;
    do
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* O_NONBLOCK: a pipe must not wait for its writer */
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return NULL;
    char *content = read_descriptor(fd, max_bytes, identity);
    close(fd);
    return content;
}

int cosx_small_file_identify(const char *path, cosx_identity *identity)
{
    struct stat status;
    if (stat(path, &status))
        return errno;
    *identity = identity_of(&status);
    return 0;
}
