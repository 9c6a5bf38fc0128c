# cython: language_level=3
"""A file mapped for reading. ``slicing.pyi`` documents the API; ``pure_slicing.py`` is the same in Python."""

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINVAL, errno
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.stdlib cimport free
from posix.time cimport timespec

import os

cdef extern from "small_file.h" nogil:
    ctypedef struct cosx_identity:
        uint64_t device, inode
        int64_t size
        timespec mtime, ctime
    char *cosx_small_file_read(const char *, int64_t, cosx_identity *)
    void cosx_small_file_sizes(const char *const *, size_t, int64_t *)

cdef extern from "new_file.h" nogil:
    int cosx_new_file_write(const char *, const char *, const void *, size_t, int, int64_t)

cdef extern from "guard.h" nogil:
    ctypedef struct cosx_mapping
    int cosx_guard_install()
    cosx_mapping *cosx_guard_add(void *, size_t)
    void cosx_guard_remove(cosx_mapping *)
    int cosx_guard_lost(const cosx_mapping *)

cdef extern from "<unistd.h>" nogil:
    int close_fd "close"(int)

cdef extern from "<sys/mman.h>" nogil:
    """
    #ifndef MADV_POPULATE_READ
    #define MADV_POPULATE_READ 22
    #endif
    """
    void *mmap(void *, size_t, int, int, int, long)
    int munmap(void *, size_t)
    int madvise(void *, size_t, int)
    int PROT_READ, MAP_SHARED, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED, MADV_POPULATE_READ
    void *MAP_FAILED

cdef size_t PAGE_BYTES = os.sysconf("SC_PAGESIZE")
cdef char NOTHING[1]  # an empty mapping points here


def write_new(bytes temporary, bytes target, const unsigned char[::1] content, modified=None) -> int:
    cdef const char *own = temporary
    cdef const char *final = target
    cdef const void *data = NULL
    cdef size_t size = content.shape[0]
    cdef bint has_time = modified is not None
    cdef int64_t time = modified if has_time else 0
    cdef int result
    if b"\0" in temporary or b"\0" in target:
        return -1
    if size:
        data = &content[0]
    with nogil:
        result = cosx_new_file_write(own, final, data, size, has_time, time)
    return result


def read_small(path, int64_t max_bytes):
    cdef bytes name
    cdef cosx_identity found
    cdef char *read
    cdef const char *text
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:
        return None
    if b"\0" in name:
        return None
    text = name
    with nogil:
        read = cosx_small_file_read(text, max_bytes, &found)
    if read == NULL:
        return None
    try:
        content = PyBytes_FromStringAndSize(read, found.size)
    finally:
        free(read)
    return content, (found.device, found.inode, found.size, nanoseconds(found.mtime), nanoseconds(found.ctime))


cdef extern from "Python.h":
    bytes PyUnicode_EncodeFSDefault(object)

cdef enum:
    SIZES_AT_ONCE = 256


def sizes_of(list paths) -> list:
    cdef const char *names[SIZES_AT_ONCE]
    cdef int64_t sizes[SIZES_AT_ONCE]
    cdef Py_ssize_t first, i, count
    cdef list found = [], kept
    cdef bytes name
    for first in range(0, len(paths), SIZES_AT_ONCE):
        count = min(SIZES_AT_ONCE, len(paths) - first)
        kept = []  # what the names point to
        for i in range(count):
            name = _name_of(paths[first + i])
            kept.append(name)
            names[i] = name
        with nogil:
            cosx_small_file_sizes(names, count, sizes)
        PyErr_CheckSignals()
        for i in range(count):
            found.append(sizes[i])
    return found


cdef bytes _name_of(path):
    """The path for a system call; an empty one, where nothing is, for what cannot be a path."""
    cdef bytes name
    try:
        path = os.fspath(path)
        name = path if type(path) is bytes else PyUnicode_EncodeFSDefault(path)
    except (TypeError, UnicodeEncodeError):
        return b""
    return b"" if b"\0" in name else name


cdef nanoseconds(timespec moment):
    """Since 1970, as in ``os.stat_result``; a Python int, which does not overflow."""
    cdef object seconds = moment.tv_sec
    return seconds * 1_000_000_000 + moment.tv_nsec


cdef class MappedFile:
    cdef void *_address
    cdef cosx_mapping *_guard
    cdef readonly Py_ssize_t size
    cdef Py_ssize_t _exports
    cdef bint _closed, _lost
    cdef int _fd

    def __cinit__(self, fd, Py_ssize_t size):
        cdef void *address
        cdef int descriptor = fd
        self._fd = -1
        self.size = size
        if size < 0:
            raise ValueError("size must not be negative")
        if size == 0:
            return
        if cosx_guard_install():
            raise OSError(errno, os.strerror(errno))
        with nogil:
            address = mmap(NULL, size, PROT_READ, MAP_SHARED, descriptor, 0)
        if address == MAP_FAILED:
            raise OSError(errno, os.strerror(errno))
        self._address = address
        self._guard = cosx_guard_add(address, size)
        if self._guard == NULL:
            raise MemoryError
        madvise(address, size, MADV_SEQUENTIAL)

    def __dealloc__(self):
        self._unmap()

    cdef void _unmap(self) noexcept:
        cdef void *address = self._address
        if self._guard != NULL:
            self._lost = cosx_guard_lost(self._guard)
            cosx_guard_remove(self._guard)
            self._guard = NULL
        if address != NULL:
            self._address = NULL
            with nogil:
                munmap(address, self.size)
        if self._fd >= 0:
            close_fd(self._fd)
            self._fd = -1

    def __getbuffer__(self, Py_buffer *view, int flags):
        if self._closed:
            raise ValueError("the mapping is closed")
        PyBuffer_FillInfo(view, self, self._address if self._address != NULL else <void *>NOTHING, self.size, 1, flags)
        self._exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self._exports -= 1
        if self._closed and self._exports == 0:
            self._unmap()

    cdef int _check(self, Py_ssize_t offset, Py_ssize_t length) except -1:
        if self._closed:
            raise ValueError("the mapping is closed")
        if offset < 0 or length < 0 or length > self.size or offset > self.size - length:
            raise ValueError(f"[{offset}, {offset} + {length}) is not inside the {self.size} bytes of the file")
        return 0

    def slice(self, Py_ssize_t offset, Py_ssize_t length) -> memoryview:
        self._check(offset, length)
        cosx_guard_install()
        return memoryview(self)[offset:offset + length]

    cdef int _advise(self, Py_ssize_t offset, Py_ssize_t length, int advice):
        cdef uintptr_t start, end
        cdef int result
        if length == 0 or self._address == NULL:
            return 0
        start = (<uintptr_t>self._address + offset) & ~(PAGE_BYTES - 1)
        end = <uintptr_t>self._address + offset + length
        with nogil:
            result = madvise(<void *>start, end - start, advice)
        return result

    def prefetch(self, Py_ssize_t offset, Py_ssize_t length) -> None:
        self._check(offset, length)
        if self._advise(offset, length, MADV_POPULATE_READ) and errno == EINVAL:
            self._advise(offset, length, MADV_WILLNEED)

    def release(self, Py_ssize_t offset, Py_ssize_t length) -> None:
        self._check(offset, length)
        self._advise(offset, length, MADV_DONTNEED)

    @property
    def lost(self) -> bool:
        if self._guard != NULL:
            return cosx_guard_lost(self._guard) != 0
        return self._lost

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self, int fd=-1) -> None:
        if fd >= 0:
            self._fd = fd
        self._closed = True
        if self._exports == 0:
            self._unmap()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
