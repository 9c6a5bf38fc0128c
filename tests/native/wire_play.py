"""Drives an I/O thread directly and simulates the TLS sessions that it calls. A test can stop it at any point."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

from cosxfer._native import wire

PATIENCE_SECONDS = 20.0
"""Longest wait before a test fails."""


class Ignored:
    """Ignores events."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


IGNORED: Any = Ignored()


def until(io_thread: wire.IoThread, condition: Callable[[], object], handler: Any = IGNORED) -> None:
    """Drain until the condition holds. ``handler`` gets the events."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        select.select([io_thread.fileno()], [], [], 0.01)
        io_thread.drain(handler)


def has_events(io_thread: wire.IoThread) -> bool:
    """Wait until there is something to drain, and do not drain it."""
    return bool(select.select([io_thread.fileno()], [], [], PATIENCE_SECONDS)[0])


class Gate:
    """A point at which the I/O thread blocks until the test releases it."""

    def __init__(self) -> None:
        self._there = threading.Event()
        self._open = threading.Event()

    def __call__(self) -> None:
        self._there.set()
        self._open.wait(PATIENCE_SECONDS)

    def reached(self) -> None:
        """Wait until the I/O thread has reached the gate."""
        assert self._there.wait(PATIENCE_SECONDS), "the I/O thread did not come here"

    def open(self) -> None:
        self._open.set()


class PlayedTls(ssl.SSLSocket):
    """A TLS session. Each read calls the next of ``reads``, then returns nothing. Each write calls ``sent``, which
    returns the number of bytes that it accepted.

    The bytes on the socket itself only wake the I/O thread.
    """

    def __init__(self, sock: socket.socket) -> None:
        socket.socket.__init__(self, sock.family, sock.type, sock.proto, fileno=sock.detach())
        socket.socket.setblocking(self, False)
        self.reads: list[Callable[[], bytes]] = []
        self.sent: Callable[[bytes], int] = len
        self.asked = threading.Event()
        """Set when a read found nothing."""

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        if not self.reads:
            self.asked.set()
            raise ssl.SSLWantReadError
        data = self.reads.pop(0)()
        buffer[: len(data)] = data
        return len(data)

    def send(self, data: Any, flags: int = 0) -> int:
        return self.sent(bytes(data))

    def close(self) -> None:
        socket.socket.close(self)


def cut() -> bytes:
    """A read that finds the connection closed."""
    raise ssl.SSLEOFError


def plain(io_thread: wire.IoThread) -> tuple[wire.Connection, socket.socket]:
    """A connection without TLS, and the other end of its socket."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    connection = wire.Connection(ours, http2=False)
    io_thread.add(connection)
    return connection, theirs


def played(
    io_thread: wire.IoThread, *, http2: bool, sent: Callable[[bytes], int] = len
) -> tuple[wire.Connection, PlayedTls, socket.socket]:
    """A connection in the I/O thread's poll, its session, and the other end of its socket.

    ``sent`` gets all output from the first byte on. A function that is set later may miss the preface.
    """
    ours, theirs = socket.socketpair()
    session = PlayedTls(ours)
    session.sent = sent
    connection = wire.Connection(session, http2=http2)
    io_thread.add(connection)
    assert session.asked.wait(PATIENCE_SECONDS)
    return connection, session, theirs


def gate_before(io_thread: wire.IoThread) -> tuple[Gate, socket.socket]:
    """A gate at which the I/O thread blocks when a byte is written to the socket."""
    _, session, theirs = played(io_thread, http2=False)
    gate = Gate()

    def wait() -> bytes:
        gate()
        return cut()

    session.reads.append(wait)
    return gate, theirs
