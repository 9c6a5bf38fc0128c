# cython: language_level=3
"""Threads of native code that read, identify and write files. ``files.pyi`` documents the API."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.errno cimport ENOMEM, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t, uintptr_t
from posix.time cimport timespec

import os

cdef extern from "digest.h" nogil:
    ctypedef void (*cosx_digest_function)(const uint8_t *, uint64_t, uint8_t *, uint64_t *)

cdef extern from "small_file.h" nogil:
    ctypedef struct cosx_identity:
        uint64_t device, inode
        int64_t size
        timespec mtime, ctime

cdef extern from "file_service.h" nogil:
    ctypedef struct cosx_file_service
    ctypedef struct cosx_file_request:
        cosx_file_request *next
        int64_t max_bytes
        const char *temporary
        int error
        char *content
        char *folder
        int has_digest
        uint8_t md5[16]
        uint64_t crc64
        cosx_identity identity
    cosx_file_service *cosx_file_service_new(cosx_digest_function, int64_t)
    void cosx_file_service_free(cosx_file_service *)
    int cosx_file_service_descriptor(const cosx_file_service *)
    cosx_file_request *cosx_file_service_request(const char *, int64_t, double)
    cosx_file_request *cosx_file_service_write_request(
        const char *, const char *, size_t, const void *, size_t, int, int64_t, double
    )
    void cosx_file_service_free_request(cosx_file_request *)
    int cosx_file_service_submit(cosx_file_service *, cosx_file_request *, int)
    void cosx_file_service_announce(cosx_file_service *)
    cosx_file_request *cosx_file_service_collect(cosx_file_service *, unsigned)
    double cosx_file_service_oldest(cosx_file_service *)
    void cosx_file_service_set_width(cosx_file_service *, unsigned)
    unsigned cosx_file_service_threads(cosx_file_service *)
    unsigned cosx_file_service_done(cosx_file_service *)


cdef class FileService:
    cdef cosx_file_service *_service
    cdef public bint quiet
    cdef dict _owners  # by the address of their request

    def __cinit__(self, digest, int64_t digest_above):
        function = <cosx_digest_function>PyCapsule_GetPointer(digest, "cosx_digest_function")
        self._owners = {}
        self._service = cosx_file_service_new(function, digest_above)
        if self._service == NULL:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        if self._service != NULL:
            cosx_file_service_free(self._service)

    cdef cosx_file_service *_open(self) except NULL:
        if self._service == NULL:
            raise ValueError("the file service is closed")
        return self._service

    cdef int _submit(self, bytes path, int64_t max_bytes, double since, owner) except -1:
        self._open()
        _check(path)
        return self._hand_over(cosx_file_service_request(path, max_bytes, since), owner)

    cdef int _hand_over(self, cosx_file_request *request, owner) except -1:
        cdef cosx_file_service *service = self._service
        if request == NULL:
            raise MemoryError
        cdef uintptr_t address = <uintptr_t>request
        try:
            self._owners[address] = owner
            if cosx_file_service_submit(service, request, self.quiet):
                del self._owners[address]
                raise RuntimeError("can't start new thread")
        except BaseException:
            cosx_file_service_free_request(request)
            raise
        return 0

    def read(self, bytes path, int64_t max_bytes, double since, owner) -> None:
        if max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        self._submit(path, max_bytes, since, owner)

    def identify(self, bytes path, double since, owner) -> None:
        self._submit(path, 0, since, owner)

    def write(
        self, bytes path, bytes temporary, const unsigned char[::1] content, size_t root, modified, double since, owner
    ) -> None:
        cdef size_t size = content.shape[0]
        cdef const void *data = &content[0] if size else NULL
        cdef bint has_time = modified is not None
        cdef int64_t time = modified if has_time else 0
        self._open()
        _check(path)
        _check(temporary)
        if root >= <size_t>len(path):
            raise ValueError("the path is not below the folder")
        self._hand_over(
            cosx_file_service_write_request(path, temporary, root, data, size, has_time, time, since), owner
        )

    def announce(self) -> None:
        if self._service != NULL:
            cosx_file_service_announce(self._service)

    def collect(self, unsigned most) -> list:
        cdef cosx_file_request *request = cosx_file_service_collect(self._open(), most)
        cdef cosx_file_request *following
        cdef list done = []
        while request != NULL:
            following = request.next
            try:
                if request.temporary != NULL:
                    outcome = request.error
                else:
                    outcome = _read(request) if request.max_bytes else _identified(request)
            except MemoryError:
                outcome = None if request.max_bytes else ENOMEM
            done.append((self._owners.pop(<uintptr_t>request), outcome))
            cosx_file_service_free_request(request)
            request = following
        return done

    @property
    def closed(self) -> bool:
        return self._service == NULL

    @property
    def pending(self) -> int:
        return len(self._owners)

    @property
    def done(self) -> int:
        return cosx_file_service_done(self._open())

    @property
    def threads(self) -> int:
        return cosx_file_service_threads(self._open())

    def fileno(self) -> int:
        return cosx_file_service_descriptor(self._open())

    def oldest(self):
        cdef double since = cosx_file_service_oldest(self._open())
        return None if since < 0 else since

    def set_width(self, unsigned width) -> None:
        if width < 1:
            raise ValueError("width must be at least 1")
        cosx_file_service_set_width(self._open(), width)

    def close(self) -> None:
        cdef cosx_file_service *service = self._service
        self._service = NULL
        if service != NULL:
            cosx_file_service_free(service)
        self._owners.clear()


cdef int _check(bytes path) except -1:
    """A path ends at its first null byte here."""
    if b"\0" in path:
        raise ValueError("embedded null byte")
    return 0


cdef _read(const cosx_file_request *request):
    if request.content == NULL:
        return None
    content = PyBytes_FromStringAndSize(request.content, request.identity.size)
    folder = None if request.folder == NULL else os.fsdecode(<bytes>request.folder)
    digest = ((<const char *>request.md5)[:16], request.crc64) if request.has_digest else None
    return content, _identity(&request.identity), folder, digest


cdef _identified(const cosx_file_request *request):
    return request.error or _identity(&request.identity)


cdef tuple _identity(const cosx_identity *found):
    return found.device, found.inode, found.size, _nanoseconds(found.mtime), _nanoseconds(found.ctime)


cdef _nanoseconds(timespec moment):
    """Since 1970, as in ``os.stat_result``; a Python int, which does not overflow."""
    cdef object seconds = moment.tv_sec
    return seconds * 1_000_000_000 + moment.tv_nsec
