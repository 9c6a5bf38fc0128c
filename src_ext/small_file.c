#define _GNU_SOURCE
#include "small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
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

/* Whether the file holds exactly `size` bytes from here on. Reads them to `content`, which has room for one more: a read
 * of a regular file returns less than was asked for at its end alone, so the last read shows whether there is more. */
static int read_all(int fd, char *content, int64_t size)
{
    int64_t done = 0;
    while (done < size) {
        ssize_t count = read(fd, content + done, size + 1 - done);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return 0;
        done += count;
    }
    return done == size; /* else it has grown, or is longer than its size */
}

static char *read_descriptor(int fd, int64_t max_bytes, cosx_identity *identity)
{
    struct stat status;
    if (fstat(fd, &status) || !S_ISREG(status.st_mode) || status.st_size < 1 || status.st_size > max_bytes)
        return NULL;
    char *content = malloc(status.st_size + 1);
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

/* -- sizes --------------------------------------------------------------------------------------------------------- */

/* The folder of the last file. To look up a name in it takes half the time that the whole path takes. */
typedef struct {
    const char *path; /* of a file in it */
    size_t length;    /* of the folder's part of `path`, with the slash */
    int fd;           /* -1: it was not opened */
} folder;

static void leave(folder *last)
{
    if (last->fd >= 0)
        close(last->fd);
    last->fd = -1;
}

/* Where to look for `*name`, the path of a file: in the folder of the last file, which is opened for the second file, or
 * nowhere else than at the path. */
static int place_of(folder *last, const char **name)
{
    const char *path = *name, *slash = strrchr(path, '/');
    size_t length = slash ? slash - path + 1 : 0;
    int same = last->path && length == last->length && !memcmp(path, last->path, length);
    if (!same) {
        leave(last);
        last->path = path;
        last->length = length;
        return AT_FDCWD;
    }
#ifdef O_PATH
    char text[PATH_MAX];
    if (last->fd < 0 && length && length < sizeof text) {
        memcpy(text, path, length);
        text[length] = 0;
        last->fd = open(text, O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
#endif
    /* An empty name would be the folder itself. */
    if (last->fd < 0 || !path[length])
        return AT_FDCWD;
    *name = path + length;
    return last->fd;
}

void cosx_small_file_sizes(const char *const *paths, size_t count, int64_t *sizes)
{
    folder last = {.fd = -1};
    for (size_t i = 0; i < count; i++) {
        const char *name = paths[i];
        int place = place_of(&last, &name);
        struct stat status;
        if (!fstatat(place, name, &status, 0))
            sizes[i] = S_ISREG(status.st_mode) ? status.st_size : 0;
        else
            sizes[i] = errno == ENAMETOOLONG && strlen(paths[i]) >= 1000 ? -1 : 0;
    }
    leave(&last);
}
