"""Detects progress when Python moves the bytes. The rule is that of the native transport (wire_connection.c).

Progress means finishing a stage (request head, request body, response head) or moving 1 KiB of body, either way. Bytes
of the request that the peer acknowledges count too: the socket's send buffer has a megabyte or more, which a slow
server accepts long after it was written. Behind a proxy, the proxy acknowledges. Interim responses, single bytes, pings
and trailers do not count, so a trickling server cannot hold a caller. They are also limited.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Protocol, TypeVar

if sys.platform != "win32":
    import fcntl
    import termios

TRICKLE_BYTES = 1024
"""Bytes that must move within a timeout if no stage ends."""

MAX_INTERIM = 32
"""Maximum interim (1xx) responses to one request."""

MAX_NOISE_BYTES = 256 * 1024
"""Maximum bytes that a server may send without progress: interim responses, pings, chunk extensions, trailers."""

TICK_SECONDS = 0.1
_TCP_INFO_CONFIRMED = 120
"""Offset of tcpi_bytes_acked (64 bits) in Linux' ``struct tcp_info`` (since 4.1)."""

T = TypeVar("T")


class Outgoing(Protocol):
    """The part of a connection that `Progress` uses."""

    noise: int
    """Bytes received since the last progress of any request on it."""
    proven: bool
    """Whether there was a response on it."""

    def confirmed(self) -> tuple[int, int]:
        """Return how many bytes the peer has acknowledged, and how many are in flight."""
        ...


def confirmed(sock: socket.socket, written: int) -> tuple[int, int]:
    """Return `Outgoing.confirmed` for a socket to which ``written`` bytes were written."""
    waiting = 0
    if sys.platform != "win32":
        with suppress(OSError, ValueError):
            waiting = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
    if sys.platform == "linux":
        with suppress(OSError):
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_CONFIRMED + 8)
            if len(info) == _TCP_INFO_CONFIRMED + 8:
                return struct.unpack_from("Q", info, _TCP_INFO_CONFIRMED)[0], waiting
    return max(0, written - waiting), waiting


class NoiseError(Exception):
    """The server sends data, but no progress of the request."""


class Progress:
    """Ends one request if it makes no progress for ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._limit = asyncio.timeout(None)
        self._last = self._loop.time()
        self._moved = 0
        self._begun = False
        self._ours = 0
        self._connection: Outgoing | None = None
        self._confirmed = 0
        self._out_until = 0
        self._writing = False
        self._wrote = False
        self._interims = 0
        self._tail = b""
        self._responded = False
        self.body_bytes = 0
        """Of the request body, given to the connection."""

    @property
    def expired(self) -> bool:
        """Whether this ended the request."""
        return self._limit.expired()

    @property
    def has_connection(self) -> bool:
        """Whether the request is using a connection that was made."""
        return self._begun

    @property
    def is_fresh(self) -> bool:
        """Whether the request was sent over a connection that has had no response yet."""
        return self._connection is not None and not self._connection.proven

    async def watch(self, work: Awaitable[T]) -> T:
        """Await ``work``. Raises TimeoutError, with `expired` True, if there is no progress."""
        timer: list[asyncio.TimerHandle] = []

        def tick() -> None:
            self._look()
            if self._loop.time() - self._last >= self._seconds:
                self._limit.reschedule(self._loop.time())
            else:
                timer[:] = [self._loop.call_later(min(TICK_SECONDS, self._seconds / 4), tick)]

        token = CURRENT.set(self)
        try:
            async with self._limit:
                tick()
                return await work
        finally:
            timer[0].cancel() if timer else None
            CURRENT.reset(token)

    def begins(self) -> None:
        """Start the timeout: the request has a connection. Waiting for one and handshakes have other limits."""
        if not self._begun:
            self._begun = True
            self.stage()

    def follow(self, event: str) -> None:
        """Handle an event of httpcore's extension "trace"."""
        if event.endswith((".connect_tcp.started", ".start_tls.started")):
            # A handshake has its own limit. An earlier response was a proxy's to CONNECT.
            self._begun = self._responded = False
            self._interims, self._tail = 0, b""
        elif event.startswith(("http11.", "http2.")):
            self.begins()
            if event.endswith(".receive_response_headers.complete"):
                self.responded()
            elif event.endswith(("send_request_headers.complete", "send_request_body.complete")):
                self.stage()

    def stage(self) -> None:
        """A stage has ended."""
        self._moved = 0
        self._last = self._loop.time()
        if self._connection is not None:
            self._connection.noise = 0

    def responded(self) -> None:
        """The response head has arrived."""
        self._responded = True
        if self._connection is not None:
            self._connection.proven = True
        self.stage()

    def moved(self, count: int) -> None:
        """``count`` bytes of a body have moved."""
        self._moved += count
        if self._moved >= TRICKLE_BYTES:
            self.stage()

    def sent(self, count: int) -> None:
        """``count`` bytes of the request body were given to the connection."""
        self.body_bytes += count
        self.moved(count)

    @contextmanager
    def waits_for_us(self) -> Iterator[None]:
        """Stop the timeout during the block, which waits for the caller's body or the rate limit, not the server."""
        self._ours += 1
        try:
            yield
        finally:
            self._ours -= 1
            self._last = self._loop.time()

    @contextmanager
    def writes(self, connection: Outgoing) -> Iterator[None]:
        """The block writes a part of the request to ``connection``."""
        if connection is not self._connection:
            self._connection = connection
            self._confirmed, self._out_until = connection.confirmed()[0], 0
        self._writing = self._wrote = True
        try:
            yield
        finally:
            self._writing = False

    def received(self, connection: Outgoing, data: bytes) -> None:
        """``data`` was read from ``connection``. Raises `NoiseError`."""
        connection.noise += len(data)
        if not self._responded:
            seen = self._tail + data
            self._tail = seen[-10:]
            self._interims += seen.count(b"\r\n\r\nHTTP/1.")
            if self._interims > MAX_INTERIM:
                raise NoiseError("too many interim responses")
        if connection.noise > MAX_NOISE_BYTES:
            raise NoiseError(f"the server sent {MAX_NOISE_BYTES} bytes without any part of a response")

    def _look(self) -> None:
        if self._ours or not self._begun:
            self._last = self._loop.time()
        if self._connection is None:
            return
        now, waiting = self._connection.confirmed()
        if self._wrote:
            self._out_until = now + waiting
            self._wrote = self._writing
        before, self._confirmed = self._confirmed, max(now, self._confirmed)
        if before < now and before < self._out_until:
            self.moved(now - before)


def unacknowledged_bytes(in_flight: Iterable[Progress]) -> int:
    """Return how many bytes of the bodies of these requests the peers have not acknowledged yet."""
    bodies: dict[Outgoing, int] = {}
    for progress in in_flight:
        if progress._connection is not None:
            bodies[progress._connection] = bodies.get(progress._connection, 0) + progress.body_bytes
    # Heads, frame heads and TLS records are in flight too.
    return sum(min(sent, connection.confirmed()[1]) for connection, sent in bodies.items() if sent)


CURRENT: ContextVar[Progress | None] = ContextVar("cosxfer_progress", default=None)
"""The `Progress` of the request that a task is sending. A connection of httpcore finds it here."""
