"""A wire without sockets. The test decides how each exchange ends, and sees the transport's calls."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from cosxfer._native import wire
from cosxfer.config import ClientConfig
from cosxfer.transport import native
from cosxfer.transport.native import NativeTransport
from cosxfer.transport.native_connect import Target

RESULTS = (
    "OK",
    "UNSENT",
    "BROKEN",
    "TIMEOUT",
    "MALFORMED",
    "CANCELLED",
    "LOST",
    "TOO_LONG",
    "NEEDS_H1",
    "UNWANTED",
    "UNWRITABLE",
)


class FakeConnection:
    def __init__(self, sock: FakeSocket, *, http2: bool) -> None:
        self.sock = sock
        self.http2 = http2
        self.owner: Any = None
        self.io_thread: FakeIoThread | None = None


class FakeExchange:
    def __init__(self, head: bytes, *, length: int, owner: Any, **settings: Any) -> None:
        self.head = head
        self.length = length
        self.owner = owner
        self.settings = settings
        self.body_given: list[bytes] = []
        self.complete = self.done = self.cancelled = False
        self.connection: FakeConnection | None = None
        self.result, self.status, self.headers, self.body, self.why = wire.OK, 200, {"etag": '"e"'}, b"", ""
        self.reusable, self.body_begun, self.fed_bytes = True, False, 0

    def set_body(self, data: bytes, *, mapped: bool = False, fd: int = -1, offset: int = 0) -> None:
        self.body_given.append(bytes(data))

    def no_more(self) -> None:
        self.complete = True


class FakeSocket:
    def __init__(self) -> None:
        self.closed = False

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        raise OSError("no TCP")

    def close(self) -> None:
        self.closed = True


class FakeIoThread:
    """Delivers the results that `Wire` posts. Its file descriptor is a pipe, so the event loop calls `drain`."""

    def __init__(self, at: Wire) -> None:
        self.at = at
        self.readable, self.writable = os.pipe()
        self.events: deque[tuple[str, tuple[Any, ...]]] = deque()

    def start(self) -> None: ...

    def fileno(self) -> int:
        return self.readable

    def post(self, name: str, *arguments: Any) -> None:
        self.events.append((name, arguments))
        os.write(self.writable, b"!")

    def drain(self, handler: Any) -> None:
        if self.events:
            os.read(self.readable, len(self.events))
        while self.events:
            name, arguments = self.events.popleft()
            getattr(handler, name)(*arguments)

    def stop(self) -> None:
        for exchange in [exchange for exchange in self.at.exchanges if not exchange.done]:
            self.at.end(exchange, "CANCELLED")

    def release(self) -> None:
        os.close(self.readable)
        os.close(self.writable)
        self.readable = -1

    def add(self, connection: FakeConnection) -> None:
        connection.io_thread = self

    def close(self, connection: FakeConnection) -> None:
        self.post("on_closed", connection)

    def submit(self, connection: FakeConnection, exchange: FakeExchange) -> None:
        exchange.connection = connection
        self.at.exchanges.append(exchange)
        self.at.on_submit(exchange)

    def feed(self, exchange: FakeExchange, data: memoryview) -> None:
        exchange.body_given.append(bytes(data))
        exchange.fed_bytes += len(data)

    def feed_end(self, exchange: FakeExchange) -> None:
        exchange.complete = True

    def cancel(self, exchange: FakeExchange) -> None:
        exchange.cancelled = True
        if not exchange.done:
            self.at.end(exchange, "CANCELLED")


class Wire:
    """Records the transport's calls, and controls their results."""

    def __init__(self) -> None:
        self.exchanges: list[FakeExchange] = []
        self.connections: list[FakeConnection] = []
        self.targets: list[Target] = []
        self.http2 = False
        self.refusals: deque[BaseException] = deque()
        """Errors for the next attempts to connect."""
        self.hold: asyncio.Event | None = None
        """If set, connecting waits for it."""
        self.on_submit: Callable[[FakeExchange], None] = self.end

    async def connect(self, target: Target, *, timeout_seconds: float) -> tuple[FakeSocket, bool]:
        self.targets.append(target)
        if self.hold is not None:
            await self.hold.wait()
        if self.refusals:
            raise self.refusals.popleft()
        return FakeSocket(), self.http2 and "h2" in target.protocols

    def connection(self, sock: FakeSocket, *, http2: bool) -> FakeConnection:
        self.connections.append(FakeConnection(sock, http2=http2))
        return self.connections[-1]

    def end(self, exchange: FakeExchange, result: str = "OK", **fields: Any) -> None:
        """End the exchange with ``result``."""
        exchange.done = True
        exchange.result = getattr(wire, result)
        exchange.reusable = result == "OK"
        for name, value in fields.items():
            setattr(exchange, name, value)
        self.post("on_done", exchange)

    @staticmethod
    def post(name: str, exchange: FakeExchange, *arguments: Any) -> None:
        assert exchange.connection is not None
        assert exchange.connection.io_thread is not None
        exchange.connection.io_thread.post(name, exchange, *arguments)

    def script(self, *results: str, **fields: Any) -> None:
        """Results of the next exchanges, in order; the last one repeats."""
        left = deque(results)
        self.on_submit = lambda exchange: self.end(exchange, left.popleft() if len(left) > 1 else left[0], **fields)


def install(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Make `NativeTransport` use a fake wire."""
    fake = Wire()
    names = {name: getattr(wire, name) for name in RESULTS}
    module = SimpleNamespace(
        IoThread=lambda rate: FakeIoThread(fake), Connection=fake.connection, Exchange=FakeExchange, **names
    )
    monkeypatch.setattr(native, "wire", module)
    monkeypatch.setattr(native, "connect", fake.connect)
    return fake


def transport(**settings: Any) -> NativeTransport:
    return NativeTransport(ClientConfig(**{"http_version": "1.1", **settings}), threads=1)
