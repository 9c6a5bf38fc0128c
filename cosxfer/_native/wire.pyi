"""HTTP/1.1 and HTTP/2 on I/O threads of their own, which need no GIL. There is no twin in Python: without this module
the package uses httpx. Lengths are bytes, times seconds.

Everything here is called from one thread, but for ``IoThread.stop``. What happens is told to a handler in
``IoThread.drain``.
"""

import socket
import ssl
from collections.abc import Sequence
from typing import Any, Protocol

from typing_extensions import Buffer

OK: int
"""There is an answer."""
UNSENT: int
"""The server has not acted on the request: it may be sent again, whatever it is."""
BROKEN: int
"""The connection or the stream ended."""
TIMEOUT: int
"""The server stopped talking for ``stall_seconds``."""
MALFORMED: int
"""The answer is not HTTP, or was cut short."""
CANCELLED: int
LOST: int
"""The file under the body was cut."""
TOO_LONG: int
"""The answer is longer than ``max_answer_bytes``."""
NEEDS_H1: int
"""The server wants HTTP/1.1 for this request, on which it has not acted."""

class RateLimit:
    """A token bucket; I/O threads that share it send so much together."""

    def __init__(self, bytes_per_second: float) -> None: ...

def tls_without_gil(wanted: bool = True) -> bool:
    """Whether TLS is driven without the GIL from now on: if wanted, and if Python's OpenSSL can be reached."""

def offer_protocols(sock: ssl.SSLSocket, protocols: Sequence[str]) -> bool:
    """Before the handshake: offer these by ALPN on this connection alone. False where only the context can be told."""

class Connection:
    """A connected non-blocking socket, which becomes the connection's own; with TLS an ``ssl.SSLSocket`` after its
    handshake, made with ``suppress_ragged_eofs=False``."""

    owner: Any
    def __init__(self, sock: socket.socket, *, http2: bool, owner: object = None) -> None: ...
    @property
    def io_thread(self) -> IoThread | None:
        """What it was added to."""
    @property
    def http2(self) -> bool: ...
    @property
    def closed(self) -> bool: ...
    @property
    def without_gil(self) -> bool:
        """Whether its bytes move without the GIL."""
    @property
    def why(self) -> str:
        """Why it closed; empty where in order."""

class Exchange:
    """One request and its answer. ``head`` is the HTTP/1.1 form with the empty line at its end, for HTTP/2 as well.

    ``length`` is the body's, -1 for chunks. Raises ``ValueError`` for a head that is not well-formed.
    """

    owner: Any
    def __init__(
        self,
        head: bytes,
        *,
        length: int,
        stall_seconds: float,
        max_answer_bytes: int,
        pass_body_on: bool = False,
        owner: object = None,
    ) -> None: ...
    def set_body(self, data: Buffer, *, mapped: bool = False) -> None:
        """The whole body. It is held until nothing of it is in use any more.

        ``mapped`` says that it lies in the mapping of a file: its pages are brought in ahead of the sending and dropped
        behind it.
        """
    def no_more(self) -> None:
        """The body is complete; to be said before `IoThread.submit`, otherwise `IoThread.feed` follows."""
    @property
    def connection(self) -> Connection | None: ...
    @property
    def done(self) -> bool:
        """Whether there is a result."""
    @property
    def released(self) -> bool:
        """Whether nothing of it is in use any more."""
    @property
    def result(self) -> int: ...
    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> dict[str, str]:
        """Lower-case names; repeated ones joined with a comma."""
    @property
    def body(self) -> bytes: ...
    @property
    def why(self) -> str: ...
    @property
    def reusable(self) -> bool:
        """HTTP/1.1: whether the connection is free for the next request."""
    @property
    def body_begun(self) -> bool:
        """Whether any of the request's body was taken, or was asked for (``on_wanted``)."""
    @property
    def fed_bytes(self) -> int:
        """What was fed and has not been sent."""

class Handler(Protocol):
    """What `IoThread.drain` calls."""

    def on_done(self, exchange: Exchange) -> None: ...
    def on_sent(self, exchange: Exchange, count: int) -> None: ...
    def on_wanted(self, exchange: Exchange) -> None:
        """The body is to be fed: the connection takes it, and the server has said 100 (or nothing for a second) where
        the head asks for that. What is fed before waits."""
    def on_body(self, exchange: Exchange, piece: bytes) -> None: ...
    def on_settings(self, connection: Connection, streams: int) -> None:
        """HTTP/2: the peer takes so many streams at a time."""
    def on_leaving(self, connection: Connection) -> None:
        """HTTP/2: the connection takes no more requests."""
    def on_stalled(self, connection: Connection) -> None:
        """HTTP/2: its flow control holds the bodies back, or its peer does not say its settings."""
    def on_closed(self, connection: Connection) -> None: ...

class IoThread:
    """An I/O thread with its connections."""

    def __init__(self, rate: RateLimit | None = None) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None:
        """End the thread and wait for it; all exchanges and connections end. Then `drain` once more."""
    def release(self) -> None:
        """After `stop` and the last `drain`: close its file descriptors, however long somebody holds it."""
    @property
    def stopped(self) -> bool: ...
    def fileno(self) -> int:
        """Readable when there is something to `drain`; -1 after `release`."""
    def drain(self, handler: Handler) -> None: ...
    def add(self, connection: Connection) -> None: ...
    def close(self, connection: Connection) -> None: ...
    def submit(self, connection: Connection, exchange: Exchange) -> None: ...
    def feed(self, exchange: Exchange, data: Buffer) -> None:
        """The next piece of the body, which is held until it is sent."""
    def feed_end(self, exchange: Exchange) -> None: ...
    def cancel(self, exchange: Exchange) -> None:
        """End it; it is ``done`` when `drain` says so. Other streams of its connection go on."""
