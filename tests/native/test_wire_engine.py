"""The engine of the wire driven directly, where a test needs to hold it at a certain point."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import Any

from cosxfer._native import wire


class Ignored:
    """Takes the events that nobody looks at."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def put(body: bytes) -> wire.Exchange:
    head = b"PUT /x HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body)
    exchange = wire.Exchange(head, length=len(body), stall_seconds=30, max_answer_bytes=1000)
    exchange.set_body(body)
    exchange.no_more()
    return exchange


def until(engine: wire.Engine, condition: Callable[[], object]) -> None:
    handler: Any = Ignored()
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        select.select([engine.fileno()], [], [], 0.01)
        engine.drain(handler)


def connected(engine: wire.Engine, listener: socket.socket) -> tuple[wire.Connection, socket.socket]:
    ours = socket.create_connection(listener.getsockname())
    ours.setblocking(False)
    connection = wire.Connection(ours, http2=False)
    engine.add(connection)
    return connection, listener.accept()[0]


def test_what_arrives_before_any_of_a_request_was_sent_is_not_its_answer() -> None:
    engine = wire.Engine(wire.RateLimit(1.0))
    engine.start()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        first, theirs = connected(engine, listener)
        second, theirs_too = connected(engine, listener)
        with theirs, theirs_too:
            engine.submit(first, put(bytes(1_000_000)))
            theirs.recv(1)  # the rate is used up for long
            time.sleep(0.2)
            exchange = put(b"xyz")
            engine.submit(second, exchange)
            time.sleep(0.05)
            theirs_too.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            until(engine, lambda: exchange.done)
            assert exchange.result == wire.UNSENT
        engine.stop()
        until(engine, lambda: first.closed and second.closed)


def test_a_connection_that_was_never_added_closes_its_socket() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        connection = wire.Connection(ours, http2=False)
        del connection
        assert theirs.recv(1) == b""
