# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=False
"""MD5 and CRC-64/XZ over the C kernels. ``hashing.pyi`` documents the API; ``pure_hashing.py`` is its Python form."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free

import os
from typing import NamedTuple

cdef extern from "digest.h" nogil:
    ctypedef struct cosx_md5:
        uint64_t length
    void cosx_md5_init(cosx_md5 *)
    void cosx_md5_update(cosx_md5 *, const uint8_t *, size_t)
    void cosx_md5_digest(const cosx_md5 *, uint8_t *)
    uint64_t cosx_crc64(uint64_t, const uint8_t *, size_t)
    uint64_t cosx_crc64_combine(uint64_t, uint64_t, uint64_t)
    ctypedef void (*cosx_digest_function)(const uint8_t *, uint64_t, uint8_t *, uint64_t *)
    const char *cosx_kernel_name(size_t)
    int cosx_kernel_use(const char *)
    const char *cosx_kernel_current()
    unsigned cosx_kernel_lanes()
    void cosx_kernel_limit_lanes(unsigned)

cdef extern from "lanes.h" nogil:
    ctypedef struct cosx_part:
        const uint8_t *data
        uint64_t size
        uint64_t position
        uint64_t crc
        uint8_t md5[16]
        cosx_part *next
    ctypedef struct cosx_job:
        cosx_part *first
        cosx_md5 *stream
    ctypedef struct cosx_worker
    ctypedef struct cosx_queue:
        cosx_job *jobs
        size_t count
        size_t taken
        int crc64, streams
    cosx_worker *cosx_worker_new(cosx_queue *, unsigned)
    void cosx_worker_free(cosx_worker *)
    uint64_t cosx_workers_run(cosx_worker **, unsigned, uint64_t)

cdef extern from "sys/mman.h" nogil:
    int madvise(void *, size_t, int)
    int MADV_DONTNEED

# For fewer bytes, releasing the GIL costs more time than other threads gain.
cdef enum:
    GIL_BYTES = 16384
    MAX_THREADS = 256

cdef uintptr_t PAGE_BYTES = os.sysconf("SC_PAGESIZE")
# What a page fault maps of a file at most, if its page cache has huge pages.
cdef uintptr_t HUGE_PAGE_BYTES = 2 << 20
# The bytes of each lane between two looks at what may be released.
cdef uint64_t LOOK_BYTES = 128 << 10

cdef uint64_t RUN_BYTES = 256 << 20  # pending signals are checked after so many bytes


class PartDigest(NamedTuple):
    md5: bytes
    crc64: int
    length: int


def md5(data) -> bytes:
    cdef Md5 stream = Md5()
    stream.update(data)
    return stream.digest()


cdef class Md5:
    cdef cosx_md5 _state
    cdef bint _busy
    cdef readonly str name

    digest_size = 16
    block_size = 64

    def __cinit__(self, data=None):
        cosx_md5_init(&self._state)
        self.name = "md5"

    def __init__(self, data=None):
        if data is not None:
            self.update(data)

    cdef int _free(self) except -1:
        if self._busy:
            raise RuntimeError("this MD5 stream is in use by another thread or by a PartHasher that is not done")
        return 0

    def update(self, data) -> None:
        cdef Py_buffer view
        self._free()
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if view.len < GIL_BYTES:
                cosx_md5_update(&self._state, <const uint8_t *>view.buf, view.len)
            else:
                self._busy = True
                with nogil:
                    cosx_md5_update(&self._state, <const uint8_t *>view.buf, view.len)
                self._busy = False
        finally:
            PyBuffer_Release(&view)

    def digest(self) -> bytes:
        cdef uint8_t out[16]
        self._free()
        cosx_md5_digest(&self._state, out)
        return (<char *>out)[:16]

    def hexdigest(self) -> str:
        return self.digest().hex()

    def copy(self):
        self._free()
        cdef Md5 other = Md5()
        other._state = self._state
        return other

    @property
    def length(self) -> int:
        return self._state.length


def crc64(data, value=0) -> int:
    cdef Py_buffer view
    cdef uint64_t crc = value
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if view.len < GIL_BYTES:
            crc = cosx_crc64(crc, <const uint8_t *>view.buf, view.len)
        else:
            with nogil:
                crc = cosx_crc64(crc, <const uint8_t *>view.buf, view.len)
    finally:
        PyBuffer_Release(&view)
    return crc


def crc64_combine(crc1, crc2, length2) -> int:
    return cosx_crc64_combine(crc1, crc2, length2)


cdef class PartHasher:
    cdef Py_buffer *_views
    cdef cosx_part *_parts
    cdef cosx_job *_jobs
    cdef cosx_queue _queue
    cdef cosx_worker **_workers
    cdef Py_ssize_t _count, _held
    cdef unsigned _threads
    cdef list _streams
    cdef bint _busy
    cdef readonly object total_bytes
    cdef uint64_t _hashed
    cdef bint _done, _crc64
    cdef uintptr_t *_released  # up to where the pages of each buffer are released; NULL if they are not

    def __cinit__(self):
        self._streams = []

    def __init__(self, buffers, *, crc64=True, whole=None, threads=1, mapped=False):
        if self._views != NULL:
            raise RuntimeError("a PartHasher is used once")
        if threads < 1:
            raise ValueError("threads must be at least 1")
        cdef list items = list(buffers)
        cdef Py_ssize_t count = len(items), i
        cdef uint64_t total = 0
        # One more than needed, because calloc(0) may return NULL.
        self._views = <Py_buffer *>calloc(count + 1, sizeof(Py_buffer))
        self._parts = <cosx_part *>calloc(count + 1, sizeof(cosx_part))
        self._jobs = <cosx_job *>calloc(count + 1, sizeof(cosx_job))
        if self._views == NULL or self._parts == NULL or self._jobs == NULL:
            raise MemoryError
        for i in range(count):
            PyObject_GetBuffer(items[i], &self._views[i], PyBUF_SIMPLE)
            self._held = i + 1
            self._parts[i].data = <const uint8_t *>self._views[i].buf
            self._parts[i].size = self._views[i].len
            total += self._parts[i].size
        if mapped:
            self._released = <uintptr_t *>calloc(count + 1, sizeof(uintptr_t))
            if self._released == NULL:
                raise MemoryError
            for i in range(count):
                self._released[i] = <uintptr_t>self._views[i].buf & ~(PAGE_BYTES - 1)
        self._count = count
        self._crc64 = crc64
        self.total_bytes = total
        self._plan(whole)
        self._queue.jobs = self._jobs
        self._queue.crc64 = self._crc64
        self._queue.streams = len(self._streams) > 0
        self._start(threads)
        if total == 0:
            self._settle()

    cdef int _plan(self, whole) except -1:
        """One job per part, or per stream: the parts of a stream are chained in order."""
        cdef Py_ssize_t i
        cdef Md5 stream
        cdef dict last = {}
        if whole is None or isinstance(whole, Md5):
            whole = [whole] * self._count
        whole = list(whole)
        if len(whole) != self._count:
            raise ValueError("whole must name one stream, or one for each buffer")
        for i in range(self._count):
            stream = whole[i]
            if stream is not None and stream in last:
                self._parts[<Py_ssize_t>last[stream]].next = &self._parts[i]
                last[stream] = i
                continue
            if stream is not None:
                stream._free()
                stream._busy = True
                self._streams.append(stream)
                last[stream] = i
                self._jobs[self._queue.count].stream = &stream._state
            self._jobs[self._queue.count].first = &self._parts[i]
            self._queue.count += 1
        return 0

    cdef int _start(self, unsigned threads) except -1:
        cdef unsigned i, jobs = <unsigned>min(<Py_ssize_t>self._queue.count, <Py_ssize_t>1 << 20)
        self._threads = max(1, min(threads, jobs, <unsigned>MAX_THREADS))
        self._workers = <cosx_worker **>calloc(self._threads, sizeof(cosx_worker *))
        if self._workers == NULL:
            raise MemoryError
        for i in range(self._threads):
            self._workers[i] = cosx_worker_new(&self._queue, self._threads)
            if self._workers[i] == NULL:
                raise MemoryError
        return 0

    cdef void _finish(self):
        cdef Md5 stream
        self._done = True
        # The collector may have cleared the list before it deallocates the object.
        for stream in self._streams or ():
            stream._busy = False
        self._streams = []

    def __dealloc__(self):
        cdef Py_ssize_t i
        cdef unsigned t
        if self._workers != NULL:
            for t in range(self._threads):
                cosx_worker_free(self._workers[t])
        free(self._workers)
        for i in range(self._held):
            PyBuffer_Release(&self._views[i])
        free(self._views)
        free(self._parts)
        free(self._jobs)
        free(self._released)
        self._finish()

    def advance(self, max_bytes) -> int:
        cdef uint64_t budget = max(0, max_bytes), step
        if self._busy:
            raise RuntimeError("another thread is inside advance()")
        if self._workers == NULL:
            raise RuntimeError("the PartHasher was not set up")
        while budget and not self._done:
            self._busy = True
            with nogil:
                step = self._run(min(budget, RUN_BYTES))
            self._busy = False
            self._hashed += step
            budget -= min(budget, step)
            if budget or self._hashed == <uint64_t>self.total_bytes:
                self._settle()
            PyErr_CheckSignals()
        return self._hashed

    cdef uint64_t _run(self, uint64_t budget) noexcept nogil:
        """Hash about ``budget`` bytes; those of a mapping are released on the way."""
        cdef uint64_t done = 0, step, most
        if self._released == NULL:
            return cosx_workers_run(self._workers, self._threads, budget)
        most = min(<uint64_t>self._count, <uint64_t>cosx_kernel_lanes() * self._threads) * LOOK_BYTES
        while done < budget:
            step = cosx_workers_run(self._workers, self._threads, min(budget - done, most))
            self._release()
            if step == 0:
                break
            done += step
        return done

    cdef void _release(self) noexcept nogil:
        """Unmap the huge pages that the lanes have left; a part of one would be mapped whole by the next fault in it."""
        cdef Py_ssize_t i
        cdef uintptr_t end
        for i in range(self._count):
            if self._parts[i].size == 0:
                continue  # an empty buffer has no pages: its address may be anywhere
            end = <uintptr_t>self._parts[i].data + self._parts[i].position
            if self._parts[i].position == self._parts[i].size:
                end = (end + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)
            else:
                end &= ~(HUGE_PAGE_BYTES - 1)
            if end > self._released[i]:
                madvise(<void *>self._released[i], end - self._released[i], MADV_DONTNEED)
                self._released[i] = end

    cdef int _settle(self) except -1:
        """No more bytes follow. Only padding is left, unless a worker still has work."""
        if self._hashed < <uint64_t>self.total_bytes:
            return 0
        with nogil:
            while cosx_workers_run(self._workers, self._threads, 1):
                pass
        self._finish()
        return 0

    @property
    def releases(self) -> bool:
        return self._released != NULL

    @property
    def hashed_bytes(self) -> int:
        return self._hashed

    @property
    def done(self) -> bool:
        return self._done

    def positions(self) -> list:
        cdef Py_ssize_t i
        return [self._parts[i].position for i in range(self._count)]

    def digests(self) -> list:
        cdef Py_ssize_t i
        if not self._done:
            raise RuntimeError("the digests are known when all is hashed: see done")
        return [
            PartDigest((<char *>self._parts[i].md5)[:16], self._parts[i].crc, self._parts[i].size)
            for i in range(self._count)
        ]

    cdef list _md5s(self):
        cdef Py_ssize_t i
        return [(<char *>self._parts[i].md5)[:16] for i in range(self._count)]


def hash_parts(buffers, *, threads=1) -> list:
    cdef PartHasher hasher = PartHasher(buffers, threads=threads)
    while not hasher._done:
        hasher.advance(1 << 62)
    return hasher.digests()


def md5_many(buffers, *, threads=1) -> list:
    cdef PartHasher hasher = PartHasher(buffers, crc64=False, threads=threads)
    while not hasher._done:
        hasher.advance(1 << 62)
    return hasher._md5s()


cdef void _digest(const uint8_t *data, uint64_t size, uint8_t *md5, uint64_t *crc64) noexcept nogil:
    cdef cosx_md5 stream
    cdef uint64_t position = 0, step
    cosx_md5_init(&stream)
    crc64[0] = 0
    while position < size:
        step = min(size - position, <uint64_t>GIL_BYTES)  # both read it while it is in the cache
        cosx_md5_update(&stream, data + position, step)
        crc64[0] = cosx_crc64(crc64[0], data + position, step)
        position += step
    cosx_md5_digest(&stream, md5)


digest_function = PyCapsule_New(<void *><cosx_digest_function>_digest, "cosx_digest_function", NULL)
crc64_function = PyCapsule_New(<void *>cosx_crc64, "cosx_crc64_function", NULL)


def kernels() -> tuple:
    cdef list names = []
    cdef const char *name
    while True:
        name = cosx_kernel_name(len(names))
        if name == NULL:
            return tuple(names)
        names.append(name.decode())


def kernel() -> str:
    return cosx_kernel_current().decode()


def use_kernel(name: str) -> None:
    if cosx_kernel_use(name.encode()) != 0:
        raise ValueError(f"no kernel {name!r} on this machine; there are {', '.join(kernels())}")


def lanes() -> int:
    return cosx_kernel_lanes()


def limit_lanes(count: int) -> None:
    cosx_kernel_limit_lanes(count)
