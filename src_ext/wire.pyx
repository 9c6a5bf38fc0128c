# cython: language_level=3
# cython: freethreading_compatible=False
"""The Python classes of the wire. ``wire.pyi`` documents the API; ``wire_*.c`` does the work."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.unicode cimport PyUnicode_AsUTF8, PyUnicode_DecodeLatin1
from libc.errno cimport EINVAL, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memchr, strcmp, strlen, strncpy

cdef extern from "unistd.h":
    int close_fd "close"(int)

import _ssl
import os
import ssl
import threading
import time
import weakref

cdef extern from "Python.h":
    int PyBUF_READ, PyBUF_WRITE
    ctypedef struct PyObject:
        pass

cdef extern from "wire.h" nogil:
    ctypedef struct wire_io_thread
    ctypedef struct wire_connection
    ctypedef struct wire_request
    ctypedef struct wire_rate
    int WIRE_IO_END, WIRE_IO_WANT_READ, WIRE_IO_WANT_WRITE, WIRE_IO_ERROR, WIRE_IO_CUT
    ctypedef struct wire_tls_ops:
        ssize_t (*read)(void *, void *, size_t, char *, size_t)
        ssize_t (*write)(void *, const void *, size_t, char *, char *, size_t)
    size_t WIRE_RECORD_BYTES
    int wire_tls_load(const char *, unsigned long)
    int wire_tls_usable(void *, int)
    int wire_tls_offer(void *, const unsigned char *, unsigned, int)
    void wire_tls_prefer(void *, const char *)
    const wire_tls_ops *wire_tls_take(void **)
    void wire_tls_seal_allow(int, int)
    void wire_tls_seal_set_records_per_key(uint64_t)
    void wire_tls_begin()
    int wire_tls_enter(int)
    void wire_tls_leave(int)
    int WIRE_SENT, WIRE_WANTED, WIRE_BODY, WIRE_RECEIVED, WIRE_DONE, WIRE_RELEASED, WIRE_SETTINGS, WIRE_LEAVING, WIRE_STALLED, WIRE_CLOSED
    int WIRE_UNACKNOWLEDGED
    ctypedef struct wire_event:
        wire_event *next
        int kind
        void *owner
        int64_t number
        char *data
    ctypedef struct wire_response:
        int result, status, reusable, body_begun
        const char *headers
        size_t headers_length
        const char *body
        size_t body_length
        const char *why
        uint64_t received, crc64
        int accepted, error
    ctypedef uint64_t (*wire_crc64_function)(uint64_t, const uint8_t *, size_t)
    ctypedef struct wire_range:
        uint64_t first, length, received, crc64_so_far
        int ranged, shorter
        char *memory
        int fd
        uint64_t offset
        int sparse, counts_at_end
        const char *etag
        wire_crc64_function crc64
    int wire_request_receive(wire_request *, const wire_range *)
    wire_io_thread *wire_io_thread_new(wire_rate *)
    void wire_io_thread_free(wire_io_thread *)
    void wire_io_thread_run(wire_io_thread *)
    void wire_io_thread_stop(wire_io_thread *)
    void wire_io_thread_release(wire_io_thread *)
    int wire_io_thread_notify_fd(const wire_io_thread *)
    wire_event *wire_io_thread_events(wire_io_thread *)
    void wire_event_free(wire_event *)
    wire_connection *wire_connection_new(void *, int, int, const wire_tls_ops *, void *)
    void wire_connection_free(wire_connection *)
    void wire_io_thread_free_connection(wire_io_thread *, wire_connection *)
    void wire_io_thread_free_request(wire_io_thread *, wire_request *)
    const char *wire_connection_why(const wire_connection *)
    int wire_io_thread_add(wire_io_thread *, wire_connection *)
    void wire_io_thread_close(wire_io_thread *, wire_connection *)
    wire_request *wire_request_new(void *, const char *, size_t, int64_t, double, size_t, int)
    void wire_request_free(wire_request *)
    int wire_request_piece(wire_request *, const char *, size_t, int)
    void wire_request_file(wire_request *, int, int64_t)
    void wire_request_last_piece(wire_request *)
    void wire_request_unreported(wire_request *)
    int wire_io_thread_submit(wire_io_thread *, wire_connection *, wire_request *, int)
    void wire_io_thread_announce(wire_io_thread *)
    int wire_io_thread_feed(wire_io_thread *, wire_request *, const char *, size_t, int)
    void wire_io_thread_cancel(wire_io_thread *, wire_request *)
    int wire_io_thread_used(wire_io_thread *, wire_request *, size_t)
    void wire_request_response(const wire_request *, wire_response *)
    wire_rate *wire_rate_new(double)
    void wire_rate_free(wire_rate *)

cdef extern from "gcm_vaes.h" nogil:
    ctypedef struct cosx_gcm_key:
        int rounds
    int cosx_gcm_usable()
    void cosx_gcm_init(cosx_gcm_key *, const uint8_t *, size_t)
    void cosx_gcm_seal(const cosx_gcm_key *, const uint8_t *, const uint8_t *, const uint8_t *, size_t, uint8_t, uint8_t *)

cdef extern from "kernels.h" nogil:
    uint64_t cosx_crc64_table(uint64_t, const uint8_t *, size_t)

OK, UNSENT, BROKEN, TIMEOUT, MALFORMED, CANCELLED, LOST, TOO_LONG, NEEDS_H1, UNWANTED, UNWRITABLE = range(11)


cdef wire_crc64_function _crc64 = cosx_crc64_table


def use_crc64(function) -> None:
    """``function`` is `cosxfer._native.hashing.crc64_function`."""
    global _crc64
    _crc64 = <wire_crc64_function>PyCapsule_GetPointer(function, "cosx_crc64_function")


# -- TLS ------------------------------------------------------------------------------------------------------------

cdef bint _direct = False


def tls_without_gil(bint wanted=True) -> bool:
    global _direct
    file = getattr(_ssl, "__file__", None)
    _direct = wanted and file is not None and not wire_tls_load(os.fsencode(file), ssl.OPENSSL_VERSION_NUMBER)
    return _direct


tls_without_gil()


def seal(bint wanted=True, *, bint own_cipher=True, records_per_key=1 << 24) -> None:
    wire_tls_seal_set_records_per_key(max(1, records_per_key))
    wire_tls_seal_allow(wanted, own_cipher)


cdef void *_session(sock) except? NULL:
    """The session in an `ssl.SSLSocket`; NULL if it cannot be found."""
    cdef void **inside
    if not _direct:
        return NULL
    found = getattr(sock, "_sslobj", None)
    if type(found) is not _ssl._SSLSocket or type(found).__basicsize__ < sizeof(PyObject) + 3 * sizeof(void *):
        return NULL
    inside = <void **>(<char *><void *>found + sizeof(PyObject))
    reference, context = weakref.ref(sock), sock.context
    if inside[0] != <void *>reference or inside[2] != <void *>context or inside[1] == NULL:
        return NULL
    return inside[1] if wire_tls_usable(inside[1], sock.fileno()) else NULL


def offer(sock, protocols, str suites="") -> bool:
    cdef void *session = _session(sock)
    if session == NULL:
        return False
    names = [name.encode("ascii") for name in protocols]
    wire = b"".join(bytes([len(name)]) + name for name in names)
    # After the handshake, OpenSSL itself would have to send the client's certificate.
    if wire_tls_offer(session, wire, len(wire), not sock.context.post_handshake_auth):
        raise MemoryError
    if suites:
        wire_tls_prefer(session, suites.encode("ascii"))
    return True


def sealed(const uint8_t[::1] key, const uint8_t[::1] nonce, const uint8_t[::1] head, const uint8_t[::1] data, uint8_t kind):
    cdef cosx_gcm_key schedule
    cdef bytearray out
    cdef uint8_t nothing = 0
    if len(key) not in (16, 32) or len(nonce) != 12 or len(head) != 5:
        raise ValueError("a key has 16 or 32 bytes, a nonce 12, a head 5")
    if not cosx_gcm_usable():
        return None
    out = bytearray(len(data) + 17)
    cosx_gcm_init(&schedule, &key[0], len(key))
    cosx_gcm_seal(&schedule, &nonce[0], &head[0], &data[0] if len(data) else &nothing, len(data), kind, out)
    return bytes(out)


# Otherwise these functions drive the session through its Python object. They take the GIL; OpenSSL runs without it.

cdef ssize_t _tls_failed(object error, char *why, size_t why_size) noexcept:
    if isinstance(error, ssl.SSLWantReadError):
        return WIRE_IO_WANT_READ
    if isinstance(error, ssl.SSLWantWriteError):
        return WIRE_IO_WANT_WRITE
    if isinstance(error, ssl.SSLEOFError):
        return WIRE_IO_CUT
    if isinstance(error, ssl.SSLZeroReturnError):
        return WIRE_IO_END
    try:
        text = (getattr(error, "strerror", None) or str(error) or type(error).__name__).encode()
        strncpy(why, <const char *>text, why_size - 1)
        why[why_size - 1] = 0
    except Exception:
        pass
    return WIRE_IO_ERROR


cdef ssize_t _tls_read(void *tls, void *buffer, size_t length, char *why, size_t why_size) noexcept with gil:
    if not wire_tls_enter(True):
        return WIRE_IO_WANT_READ
    try:
        return (<object>tls).recv_into(PyMemoryView_FromMemory(<char *>buffer, length, PyBUF_WRITE))
    except Exception as error:
        return _tls_failed(error, why, why_size)
    finally:
        wire_tls_leave(True)


cdef ssize_t _tls_write(
    void *tls, const void *data, size_t length, char *scratch, char *why, size_t why_size
) noexcept with gil:
    # OpenSSL writes one record in each call (partial writes are on). The GIL is taken once for all of them.
    cdef size_t done = 0, part
    if not wire_tls_enter(True):
        return WIRE_IO_WANT_WRITE
    try:
        send = (<object>tls).send
        while done < length:
            part = min(length - done, WIRE_RECORD_BYTES)
            done += <size_t>send(PyMemoryView_FromMemory(<char *>data + done, part, PyBUF_READ))
    except Exception as error:
        if not done:
            return _tls_failed(error, why, why_size)
    finally:
        wire_tls_leave(True)
    return <ssize_t>done


cdef wire_tls_ops PYTHON_TLS
PYTHON_TLS.read = _tls_read
PYTHON_TLS.write = _tls_write


cdef class RateLimit:
    cdef wire_rate *_rate

    def __cinit__(self, double bytes_per_second):
        if not bytes_per_second > 0:
            raise ValueError("the rate must be above 0")
        self._rate = wire_rate_new(bytes_per_second)
        if self._rate == NULL:
            raise MemoryError

    def __dealloc__(self):
        wire_rate_free(self._rate)


# The garbage collector must not clear the two classes below: their __dealloc__ needs the I/O thread, which frees what
# it may still be using.

@cython.no_gc_clear
cdef class Connection:
    cdef wire_connection *_connection
    cdef IoThread _io_thread
    cdef object _tls
    cdef int _fd  # of a plain socket, until an I/O thread owns it; else -1
    cdef readonly bint closed, http2, without_gil, sealed
    cdef readonly str why
    cdef public object owner

    def __cinit__(self):
        self._fd = -1

    def __init__(self, sock, *, bint http2, owner=None):
        cdef bint tls = isinstance(sock, ssl.SSLSocket)
        cdef const wire_tls_ops *ops = NULL
        cdef void *session = NULL
        cdef void *found
        self.http2 = http2
        self.owner = owner
        self.why = ""
        if tls:
            self._tls = sock
            wire_tls_begin()
            session = _session(sock)
            self.without_gil = session != NULL
            if session != NULL:
                found = session
                ops = wire_tls_take(&session)
                self.sealed = session != found
            else:
                ops = &PYTHON_TLS
                session = <void *>sock
        fd = sock.fileno() if tls else sock.detach()
        if not tls:
            self._fd = fd
            self.without_gil = True
        self._connection = wire_connection_new(<void *>self, fd, http2, ops, session)
        if self._connection == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self._fd >= 0:
            close_fd(self._fd)
        if self._connection == NULL:
            return
        if self._io_thread is not None and self._io_thread._io != NULL:
            wire_io_thread_free_connection(self._io_thread._io, self._connection)
        else:
            wire_connection_free(self._connection)

    @property
    def io_thread(self):
        return self._io_thread

    cdef void _ended(self):
        self.closed = True
        self.why = wire_connection_why(self._connection).decode("utf-8", "replace")
        tls, self._tls = self._tls, None
        if tls is not None:
            tls.close()


@cython.no_gc_clear
cdef class Exchange:
    cdef wire_request *_request
    cdef IoThread _io_thread
    cdef Py_buffer *_buffers
    cdef size_t _buffer_count
    cdef Py_buffer _memory  # where the response body goes
    cdef bint _has_memory
    cdef list _fed  # of memoryviews, oldest first
    cdef int64_t _fed_left  # unsent bytes of the oldest one
    cdef bint _plain
    cdef readonly Connection connection
    cdef readonly bint done, released
    cdef readonly int result, status
    cdef readonly bint reusable, body_begun
    cdef readonly str why
    cdef dict _headers
    cdef readonly bytes fields
    cdef readonly bytes body
    cdef readonly int64_t fed_bytes
    cdef readonly bint accepted
    cdef readonly uint64_t received, crc64
    cdef readonly int error
    cdef public object owner

    def __init__(
        self, bytes head, *, int64_t length, double stall_seconds, size_t max_response_bytes, bint pass_body_on=False,
        owner=None,
    ):
        self._begin(head, length, stall_seconds, max_response_bytes, pass_body_on, owner)

    cdef int _begin(
        self, bytes head, int64_t length, double stall_seconds, size_t max_response_bytes, bint pass_body_on, owner
    ) except -1:
        self.owner = owner
        self._plain = True
        self._request = wire_request_new(
            <void *>self, head, len(head), length, stall_seconds, max_response_bytes, pass_body_on
        )
        if self._request == NULL:
            if errno == EINVAL:
                raise ValueError("a header holds a character that cannot be in one")
            raise MemoryError
        return 0

    def __dealloc__(self):
        self._drop_buffers()
        if self._request == NULL:
            return
        if self._plain or self._io_thread is None or self._io_thread._io == NULL:
            wire_request_free(self._request)
        else:
            wire_io_thread_free_request(self._io_thread._io, self._request)

    cdef void _drop_buffers(self):
        cdef size_t i
        for i in range(self._buffer_count):
            PyBuffer_Release(&self._buffers[i])
        self._buffer_count = 0
        if self._has_memory:
            self._has_memory = False
            PyBuffer_Release(&self._memory)
        PyMem_Free(self._buffers)
        self._buffers = NULL
        self._fed = None

    def set_body(self, data, *, bint mapped=False, int fd=-1, int64_t offset=0) -> None:
        if self._buffer_count or self.connection is not None:
            raise ValueError("there is a body already")
        self._buffers = <Py_buffer *>PyMem_Malloc(sizeof(Py_buffer))
        if self._buffers == NULL:
            raise MemoryError
        PyObject_GetBuffer(data, self._buffers, PyBUF_SIMPLE)
        self._buffer_count = 1
        if wire_request_piece(self._request, <const char *>self._buffers.buf, self._buffers.len, mapped):
            raise MemoryError
        if mapped and fd >= 0:
            wire_request_file(self._request, fd, offset)

    def receive(
        self, *, uint64_t first, uint64_t length, bint ranged, bint shorter, str etag, memory=None, int fd=-1,
        uint64_t offset=0, bint sparse=False, uint64_t received=0, uint64_t crc64=0,
    ) -> None:
        cdef wire_range place
        name = etag.encode()
        place.first, place.length, place.received, place.crc64_so_far = first, length, received, crc64
        place.ranged, place.shorter, place.etag = ranged, shorter, name
        place.fd, place.offset, place.sparse, place.counts_at_end = fd, offset, sparse, False
        self._receive(&place, memory)

    cdef int _receive(self, wire_range *place, memory) except -1:
        if self._has_memory or self.connection is not None:
            raise ValueError("the exchange has begun, or has a place already")
        if memory is not None:
            PyObject_GetBuffer(memory, &self._memory, PyBUF_WRITABLE)
            self._has_memory = True
            if <uint64_t>self._memory.len < place.length:
                raise ValueError("the memory is smaller than the range")
        elif place.fd < 0:
            raise ValueError("there is no place")
        if place.received > place.length:
            raise ValueError("more was received than the range has")
        place.memory = <char *>self._memory.buf if self._has_memory else NULL
        place.crc64 = _crc64
        self.received, self.crc64 = place.received, place.crc64_so_far
        if wire_request_receive(self._request, place):
            raise MemoryError
        return 0

    def no_more(self) -> None:
        wire_request_last_piece(self._request)

    cdef void _sent(self, int64_t count):
        # Release the fed pieces that were sent.
        while self._fed:
            if count < self._fed_left:
                self._fed_left -= count
                return
            count -= self._fed_left
            self.fed_bytes -= (<object>self._fed[0]).nbytes
            del self._fed[0]
            self._fed_left = self._fed[0].nbytes if self._fed else 0

    cdef void _responded(self):
        cdef wire_response response
        wire_request_response(self._request, &response)
        self.done = True
        self.result = response.result
        self.status = response.status
        self.reusable = response.reusable
        self.body_begun = response.body_begun
        self.accepted = response.accepted
        self.received = response.received
        self.crc64 = response.crc64
        self.error = response.error
        self.why = (<bytes>response.why).decode("utf-8", "replace") if response.why[0] else ""
        self.body = PyBytes_FromStringAndSize(response.body, response.body_length) if response.body_length else b""
        self.fields = PyBytes_FromStringAndSize(response.headers, response.headers_length)

    @property
    def http2(self) -> bool:
        return self.connection is not None and self.connection.http2

    @property
    def headers(self) -> dict:
        if self._headers is None:
            self._headers = headers_of(self.fields or b"")
        return self._headers

    def header(self, str name) -> str:
        cdef const char *value = NULL
        if self.fields is not None:
            value = self._value(PyUnicode_AsUTF8(name))
        return "" if value == NULL or value == _REPEATED else _text(value, strlen(value))

    def proves(self, uint64_t crc64, bytes md5) -> bool:
        cdef char number[24]
        cdef char digest[40]
        cdef const unsigned char *sum
        cdef int i
        if self.fields is None or self.status != 200 or self.body or len(md5) != 16:
            return False
        cdef const char *etag = self._value(b"etag")
        cdef const char *theirs = self._value(b"x-cos-hash-crc64ecma")
        if etag == NULL or not etag[0] or etag == _REPEATED or theirs == _REPEATED:
            return False
        if theirs != NULL and theirs[0]:
            snprintf(number, sizeof(number), b"%llu", <unsigned long long>crc64)
            return not strcmp(theirs, number)
        sum = <const unsigned char *>PyBytes_AS_STRING(md5)
        for i in range(16):
            snprintf(&digest[1 + 2 * i], 3, b"%02x", <unsigned int>sum[i])
        digest[0] = digest[33] = b'"'
        digest[34] = 0
        return not strcmp(etag, digest)

    cdef const char *_value(self, const char *name):
        # NULL: there is none. _REPEATED: there is more than one.
        cdef const char *data = self.fields
        cdef const char *end = data + len(self.fields)
        cdef const char *found = NULL
        cdef bint matches
        while data < end:
            matches = not strcmp(data, name)
            data += strlen(data) + 1
            if matches:
                if found != NULL:
                    return _REPEATED
                found = data
            data += strlen(data) + 1
        return found


cdef const char *_REPEATED = b"\n"  # no value has a line break

cdef dict _NAMES = {}  # a cache, because the same header names return in each response


cdef str _text(const char *data, size_t length):
    try:
        return data[:length].decode("utf-8")
    except UnicodeDecodeError:
        return PyUnicode_DecodeLatin1(data, length, NULL)


def headers_of(bytes fields) -> dict:
    cdef dict headers = {}
    cdef const char *data = fields
    cdef const char *end = data + len(fields)
    cdef size_t n
    while data < end:
        n = strlen(data)
        raw = data[:n]
        name = _NAMES.get(raw)
        if name is None:
            name = raw.decode("latin-1")
            if len(_NAMES) < 512:
                _NAMES[raw] = name
        data += n + 1
        n = strlen(data)
        value = _text(data, n)
        data += n + 1
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


cdef class IoThread:
    cdef wire_io_thread *_io
    cdef RateLimit _rate
    cdef object _thread, _clock  # of its CPU time; None: not started, or the system has none
    cdef readonly bint stopped
    cdef readonly int64_t unacknowledged_bytes

    def __cinit__(self, RateLimit rate=None):
        self._rate = rate
        self._io = wire_io_thread_new(rate._rate if rate is not None else NULL)
        if self._io == NULL:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        if self._io != NULL:
            wire_io_thread_free(self._io)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="cosxfer-wire", daemon=True)
        self._thread.start()

    def _run(self):
        if hasattr(time, "pthread_getcpuclockid"):  # macOS has none
            self._clock = time.pthread_getcpuclockid(threading.get_ident())
        with nogil:
            wire_io_thread_run(self._io)

    @property
    def cpu_seconds(self) -> float:
        if self.stopped or self._clock is None:
            return 0.0
        try:
            return time.clock_gettime(self._clock)
        except OSError:
            return 0.0  # the thread has ended, or this is a forked process

    def fileno(self) -> int:
        return wire_io_thread_notify_fd(self._io)

    def stop(self) -> None:
        if self.stopped:
            return
        self.stopped = True
        if self._thread is not None:
            wire_io_thread_stop(self._io)
            if self._thread is not threading.current_thread():  # the garbage collector may run in that thread
                self._thread.join()

    def release(self) -> None:
        if not self.stopped:
            raise ValueError("the I/O thread is not stopped")
        if self._thread is None or not self._thread.is_alive():
            wire_io_thread_release(self._io)

    def add(self, Connection connection) -> None:
        if self.stopped or connection._io_thread is not None:
            raise ValueError("the I/O thread is stopped, or the connection is in use")
        if wire_io_thread_add(self._io, connection._connection):
            raise MemoryError
        connection._io_thread = self
        connection._fd = -1
        Py_INCREF(connection)  # `drain` releases it, in this thread

    def close(self, Connection connection) -> None:
        if not self.stopped and not connection.closed:
            wire_io_thread_close(self._io, connection._connection)

    def fetch(
        self, Connection connection, bytes head, memory, uint64_t length, double stall_seconds,
        size_t max_response_bytes, owner,
    ):
        cdef Exchange exchange = Exchange.__new__(Exchange)
        cdef wire_range place
        exchange._begin(head, 0, stall_seconds, max_response_bytes, False, owner)
        wire_request_last_piece(exchange._request)
        place.first = place.received = place.crc64_so_far = place.offset = 0
        place.length, place.fd, place.etag = length, -1, b""
        place.ranged, place.shorter, place.sparse, place.counts_at_end = True, True, False, True
        exchange._receive(&place, memory)
        self._submit(connection, exchange, True)
        return exchange

    def store(
        self, Connection connection, bytes head, data, double stall_seconds, size_t max_response_bytes, bint reported,
        owner,
    ):
        cdef Exchange exchange = Exchange.__new__(Exchange)
        exchange._begin(head, len(data), stall_seconds, max_response_bytes, False, owner)
        if len(data):
            exchange.set_body(data)
        wire_request_last_piece(exchange._request)
        if not reported:
            wire_request_unreported(exchange._request)
        self._submit(connection, exchange, True)
        return exchange

    def submit(self, Connection connection, Exchange exchange, bint quietly=False) -> None:
        self._submit(connection, exchange, quietly)

    def announce(self) -> None:
        if not self.stopped:
            wire_io_thread_announce(self._io)

    cdef int _submit(self, Connection connection, Exchange exchange, bint quietly) except -1:
        if self.stopped or exchange.connection is not None:
            raise ValueError("the I/O thread is stopped, or the exchange was submitted before")
        exchange._io_thread = self
        exchange.connection = connection
        if wire_io_thread_submit(self._io, connection._connection, exchange._request, quietly):
            exchange._io_thread = None
            exchange.connection = None
            raise MemoryError
        Py_INCREF(exchange)  # `drain` releases it, in this thread
        return 0

    def feed(self, Exchange exchange, data) -> None:
        view = memoryview(data).cast("B")
        if exchange.released or not view.nbytes:
            return
        if exchange._fed is None:
            exchange._fed = []
        if not exchange._fed:
            exchange._fed_left = view.nbytes
        exchange._fed.append(view)
        exchange.fed_bytes += view.nbytes
        exchange._plain = False
        if wire_io_thread_feed(self._io, exchange._request, _address(view), view.nbytes, 0):
            raise MemoryError

    def feed_end(self, Exchange exchange) -> None:
        if not exchange.released:
            exchange._plain = False
            if wire_io_thread_feed(self._io, exchange._request, NULL, 0, 1):
                raise MemoryError

    def cancel(self, Exchange exchange) -> None:
        if not exchange.done:
            exchange._plain = False
            wire_io_thread_cancel(self._io, exchange._request)

    def used(self, Exchange exchange, size_t count) -> None:
        if self.stopped or exchange.released:
            return
        exchange._plain = False
        if wire_io_thread_used(self._io, exchange._request, count):
            raise MemoryError

    def drain(self, handler) -> None:
        cdef wire_event *event
        cdef wire_event *next
        cdef Exchange exchange
        cdef Connection connection
        cdef int kind
        failure = None
        event = wire_io_thread_events(self._io)
        while event != NULL:
            next = event.next
            kind = event.kind
            try:
                if kind <= WIRE_RELEASED:
                    exchange = <Exchange>event.owner
                    if kind == WIRE_DONE:
                        exchange._responded()
                        handler.on_done(exchange)
                    elif kind == WIRE_RELEASED:
                        exchange.released = True
                        exchange._drop_buffers()
                        Py_DECREF(exchange)
                    elif kind == WIRE_SENT:
                        exchange._sent(event.number)
                        handler.on_sent(exchange, event.number)
                    elif kind == WIRE_RECEIVED:
                        handler.on_received(exchange, event.number)
                    elif kind == WIRE_WANTED:
                        handler.on_wanted(exchange)
                    elif kind == WIRE_BODY:
                        piece = event.data[:event.number]
                        if not handler.on_body(exchange, piece):
                            self.used(exchange, event.number)
                elif kind == WIRE_UNACKNOWLEDGED:
                    self.unacknowledged_bytes = event.number
                else:
                    connection = <Connection>event.owner
                    if kind == WIRE_CLOSED:
                        connection._ended()
                        handler.on_closed(connection)
                        Py_DECREF(connection)
                    elif kind == WIRE_SETTINGS:
                        handler.on_settings(connection, event.number)
                    elif kind == WIRE_LEAVING:
                        handler.on_leaving(connection)
                    elif kind == WIRE_STALLED:
                        handler.on_stalled(connection)
            except BaseException as error:
                failure = failure or error  # raised after the remaining events were handled
            wire_event_free(event)
            event = next
        if failure is not None:
            raise failure


cdef const char *_address(view) except? NULL:
    cdef Py_buffer buffer
    PyObject_GetBuffer(view, &buffer, PyBUF_SIMPLE)
    address = <const char *>buffer.buf
    PyBuffer_Release(&buffer)  # the exchange's list keeps the view, so the address stays valid
    return address
