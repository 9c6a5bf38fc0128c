/* Preloaded into a client: reads of a file named "damaged" fail with EIO in the bytes from EIO_FROM to EIO_TO, as on a
 * disk with a bad sector. EIO_MAP says what a mapping of it does: "refuse" fails, "bus" raises SIGBUS in these bytes. */

#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static long number(const char *name)
{
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

static int is_damaged(int fd)
{
    char link[64], name[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, sizeof name);
    return length >= 8 && memcmp(name + length - 8, "/damaged", 8) == 0;
}

/* How many of `count` bytes from `at` can be read; 0 if the first is damaged. */
static size_t readable(int fd, size_t count, long at)
{
    long from = number("EIO_FROM"), to = number("EIO_TO");
    if (!is_damaged(fd) || at >= to || at + (long)count <= from)
        return count;
    return at < from ? (size_t)(from - at) : 0;
}

ssize_t pread64(int fd, void *buffer, size_t count, off_t at)
{
    size_t possible = readable(fd, count, at);
    if (count && !possible) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pread64, fd, buffer, possible, at);
}

ssize_t pread(int fd, void *buffer, size_t count, off_t at) { return pread64(fd, buffer, count, at); }

ssize_t preadv64(int fd, const struct iovec *pieces, int count, off_t at)
{
    return count == 0 ? 0 : pread64(fd, pieces[0].iov_base, pieces[0].iov_len, at);
}

ssize_t preadv(int fd, const struct iovec *pieces, int count, off_t at) { return preadv64(fd, pieces, count, at); }

ssize_t read(int fd, void *buffer, size_t count)
{
    long at = is_damaged(fd) ? syscall(SYS_lseek, fd, 0, SEEK_CUR) : -1;
    size_t possible = at < 0 ? count : readable(fd, count, at);
    if (count && !possible) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_read, fd, buffer, possible);
}

ssize_t preadv64v2(int fd, const struct iovec *pieces, int count, off_t at, int flags)
{
    (void)flags;
    return preadv64(fd, pieces, count, at);
}

ssize_t preadv2(int fd, const struct iovec *pieces, int count, off_t at, int flags)
{
    return preadv64v2(fd, pieces, count, at, flags);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    const char *how = fd >= 0 && is_damaged(fd) ? getenv("EIO_MAP") : NULL;
    if (how && strcmp(how, "refuse") == 0) {
        errno = ENODEV;
        return MAP_FAILED;
    }
    char *mapped = (char *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
    if (mapped != MAP_FAILED && how && strcmp(how, "bus") == 0) {
        /* Pages of an empty file raise SIGBUS, as those of a bad sector do. */
        int empty = memfd_create("empty", 0);
        long from = number("EIO_FROM"), to = number("EIO_TO");
        syscall(SYS_mmap, mapped + from, to - from, protection, MAP_SHARED | MAP_FIXED, empty, 0);
        close(empty);
    }
    return mapped;
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    return mmap64(address, length, protection, flags, fd, offset);
}
