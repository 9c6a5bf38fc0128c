"""HTTP/1.1 and HTTP/2 on I/O threads, without the GIL. There is no Python form of it: without this module the package
uses httpx. Lengths are bytes, times are seconds.

All functions except ``IoThread.stop`` must be called from one thread. ``IoThread.drain`` passes events to a handler.
"""

import socket
import ssl
from collections.abc import Sequence
from typing import Any, Protocol

from typing_extensions import Buffer

OK: int
"""There is a response."""
UNSENT: int
"""The server has not acted on the request: any request may be sent again."""
BROKEN: int
"""The connection or the stream ended."""
TIMEOUT: int
"""The request made no progress for ``stall_seconds``."""
MALFORMED: int
"""The response is not HTTP, or was cut short."""
CANCELLED: int
LOST: int
"""The file that holds the body was cut."""
TOO_LONG: int
"""The response is longer than ``max_response_bytes``."""
NEEDS_H1: int
"""The server requires HTTP/1.1 for this request. It has not acted on it."""
UNWANTED: int
"""A success, but not the range that was asked for. Status and headers are there; the body was not read."""
UNWRITABLE: int
"""The body cannot be written to its place; ``error`` and ``why`` have the reason."""

def headers_of(fields: bytes) -> dict[str, str]:
    """Return the headers of `Exchange.fields`: lower-case names; repeated ones joined with a comma."""

def use_crc64(function: object) -> None:
    """Compute the CRC64 of received bytes with this function (`cosxfer._native.hashing.crc64_function`)."""

class RateLimit:
    """A token bucket. It limits all I/O threads that share it together."""

    def __init__(self, bytes_per_second: float) -> None: ...

def tls_without_gil(wanted: bool = True) -> bool:
    """Switch TLS without the GIL on or off for new connections. Returns whether it is on: it needs Python's OpenSSL."""

def seal(wanted: bool = True, *, own_cipher: bool = True, records_per_key: int = 1 << 24) -> None:
    """Switch on or off, for new connections, that records of TLS 1.3 are made here instead of in OpenSSL. Without
    ``own_cipher`` it is OpenSSL's. The keys are changed after ``records_per_key`` records, for older sessions too."""

def sealed(key: Buffer, nonce: Buffer, head: Buffer, data: Buffer, kind: int) -> bytes | None:
    """Encrypt ``data`` and the byte ``kind`` with the AES-GCM of this module; ``head`` is the additional data. Returns
    the text and its tag, or None if this machine lacks the instructions (VAES, VPCLMULQDQ, AVX-512). For tests."""

def offer(sock: ssl.SSLSocket, protocols: Sequence[str], suites: str = "") -> bool:
    """Before the handshake, for this connection only: offer these protocols by ALPN, and these cipher suites of TLS 1.3
    in their order (``A:B``; empty: those of the context). False if only the context can be changed."""

class Connection:
    """Takes over a connected non-blocking socket. With TLS: an ``ssl.SSLSocket`` after its handshake, made with
    ``suppress_ragged_eofs=False``."""

    owner: Any
    def __init__(self, sock: socket.socket, *, http2: bool, owner: object = None) -> None: ...
    @property
    def io_thread(self) -> IoThread | None:
        """The I/O thread that it was added to."""
    @property
    def http2(self) -> bool: ...
    @property
    def closed(self) -> bool: ...
    @property
    def without_gil(self) -> bool:
        """Whether its bytes move without the GIL."""
    @property
    def sealed(self) -> bool:
        """Whether its records are made here: see `seal`."""
    @property
    def why(self) -> str:
        """Why it closed; empty if it closed normally."""

class Exchange:
    """One request and its response. ``head`` is the HTTP/1.1 form with the empty line at its end, also for HTTP/2.

    ``length`` is the length of the body, -1 for chunked. Raises ``ValueError`` if the head is malformed.
    """

    owner: Any
    def __init__(
        self,
        head: bytes,
        *,
        length: int,
        stall_seconds: float,
        max_response_bytes: int,
        pass_body_on: bool = False,
        owner: object = None,
    ) -> None: ...
    def set_body(self, data: Buffer, *, mapped: bool = False, fd: int = -1, offset: int = 0) -> None:
        """Set the whole body. The exchange holds it until it is ``released``.

        ``mapped``: it lies in a mapped file. The I/O thread maps its pages before it sends them and drops them
        afterwards. If ``fd`` is that file's descriptor, long runs are sent by sendfile over a plain connection; the
        body begins at ``offset`` of the file. The descriptor must stay open until the exchange is ``released``.
        """
    def receive(
        self,
        *,
        first: int,
        length: int,
        ranged: bool,
        shorter: bool,
        etag: str,
        memory: Buffer | None = None,
        fd: int = -1,
        offset: int = 0,
        sparse: bool = False,
        received: int = 0,
        crc64: int = 0,
    ) -> None:
        """The body of a success is ``length`` bytes of an object from ``first`` on, and goes to ``memory`` or to
        ``offset`` of the file ``fd``. The first ``received`` bytes are there already, and ``crc64`` is theirs.
        ``sparse``: the file has a hole there, and blocks of zeros are not written.

        ``ranged``: the request has a Range. ``shorter``: the object may end earlier. ``etag``: the response must name
        it. Nothing else is written: another response ends as `UNWANTED`, and one with an error is collected in
        ``body``. The file stays open until the exchange is done.
        """
    def no_more(self) -> None:
        """The body is complete. Call this before `IoThread.submit`, or call `IoThread.feed` after it."""
    @property
    def connection(self) -> Connection | None: ...
    @property
    def done(self) -> bool:
        """Whether there is a result."""
    @property
    def released(self) -> bool:
        """Whether the I/O thread no longer uses the exchange or its body."""
    @property
    def result(self) -> int: ...
    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> dict[str, str]:
        """Lower-case names; repeated ones joined with a comma. Made of ``fields`` when they are first read."""
    @property
    def fields(self) -> bytes:
        """The headers as they came, for `headers_of`."""
    def header(self, name: str) -> str:
        """Return the value of one header; empty if there is none, or more than one."""
    def proves(self, crc64: int, md5: bytes) -> bool:
        """Whether it is 200 without a body, has an ETag, and proves that a body with these checksums is stored.

        The CRC64 does, or if there is none the ETag. False if one of these headers is repeated.
        """
    @property
    def body(self) -> bytes: ...
    @property
    def accepted(self) -> bool:
        """With `receive`: whether the response is the range that was asked for."""
    @property
    def received(self) -> int:
        """With `receive`: how many bytes of the range are in their place, also after an error."""
    @property
    def crc64(self) -> int:
        """The CRC64 of the ``received`` bytes."""
    @property
    def error(self) -> int:
        """`UNWRITABLE`: the error number."""
    @property
    def why(self) -> str: ...
    @property
    def http2(self) -> bool:
        """Whether it was submitted to a connection of HTTP/2."""
    @property
    def reusable(self) -> bool:
        """HTTP/1.1: whether the connection can take the next request."""
    @property
    def body_begun(self) -> bool:
        """Whether any of the request body was taken or requested (``on_wanted``)."""
    @property
    def fed_bytes(self) -> int:
        """How many bytes were fed and not yet sent."""

class Handler(Protocol):
    """The events that `IoThread.drain` passes on."""

    def on_done(self, exchange: Exchange) -> None: ...
    def on_sent(self, exchange: Exchange, count: int) -> None: ...
    def on_wanted(self, exchange: Exchange) -> None:
        """The body can be fed. If the head has ``Expect``, the server has sent 100, or nothing for a second. Pieces
        that were fed earlier wait until then."""
    def on_received(self, exchange: Exchange, count: int) -> None:
        """``count`` bytes of the response's body went to their place since the last call."""
    def on_body(self, exchange: Exchange, piece: bytes) -> bool | None:
        """A piece of the response's body. Returns True if `IoThread.used` follows when there is room for more."""
    def on_settings(self, connection: Connection, streams: int) -> None:
        """HTTP/2: the peer allows ``streams`` at a time."""
    def on_leaving(self, connection: Connection) -> None:
        """HTTP/2: the connection takes no more requests."""
    def on_stalled(self, connection: Connection) -> None:
        """HTTP/2: flow control blocks the bodies, or the peer has sent no SETTINGS."""
    def on_closed(self, connection: Connection) -> None: ...

class IoThread:
    """An I/O thread with its connections."""

    def __init__(self, rate: RateLimit | None = None) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None:
        """End the thread and wait for it. All exchanges and connections end. Call `drain` once more afterwards."""
    def release(self) -> None:
        """After `stop` and the last `drain`: close the file descriptors, even if the object stays alive."""
    @property
    def stopped(self) -> bool: ...
    @property
    def unacknowledged_bytes(self) -> int:
        """How many bytes of request bodies were written to sockets and not acknowledged, at the moment of the last
        ``on_sent`` events (0.1 s apart). 0 without a request in flight."""
    @property
    def cpu_seconds(self) -> float:
        """CPU time of the thread; 0 before `start`, after `stop`, and if the system does not tell it."""
    def fileno(self) -> int:
        """The file descriptor that is readable if there are events to `drain`; -1 after `release`."""
    def used(self, exchange: Exchange, count: int) -> None:
        """There is room again for ``count`` bytes of a piece for which ``on_body`` returned True."""
    def drain(self, handler: Handler) -> None: ...
    def add(self, connection: Connection) -> None: ...
    def close(self, connection: Connection) -> None: ...
    def submit(self, connection: Connection, exchange: Exchange, quietly: bool = False) -> None:
        """Hand over a request. ``quietly``: a sleeping thread is not woken before `announce`, or another command."""
    def announce(self) -> None:
        """Wake the thread for what was submitted quietly."""
    def fetch(
        self,
        connection: Connection,
        head: bytes,
        memory: Buffer,
        length: int,
        stall_seconds: float,
        max_response_bytes: int,
        owner: object,
    ) -> Exchange:
        """Submit quietly a request without a body for the first ``length`` bytes of an object, which may be shorter.

        They go to ``memory``, as those of `Exchange.receive` with ``ranged`` and ``shorter``. Bytes that come just
        before the end are not reported by ``on_received``, which saves an event for each short object; ``received``
        has them.
        """
    def store(
        self,
        connection: Connection,
        head: bytes,
        data: bytes | memoryview,
        stall_seconds: float,
        max_response_bytes: int,
        reported: bool,
        owner: object,
    ) -> Exchange:
        """Submit quietly a request with the body ``data``, which is one-dimensional and has bytes as its items.

        Without ``reported`` there is no ``on_sent``, which saves an event for each small object.
        """
    def feed(self, exchange: Exchange, data: Buffer) -> None:
        """Add the next piece of the body. The exchange holds it until it is sent."""
    def feed_end(self, exchange: Exchange) -> None: ...
    def cancel(self, exchange: Exchange) -> None:
        """End the exchange. It is ``done`` after a later `drain`. Other streams of its connection continue."""
