"""Bodies for the native transport.

The I/O thread gets the address of bytes in memory, and of parts of a mapped file with its descriptor. Any other body is
read piece by piece, at most ``AHEAD_BYTES`` ahead of the sending. The I/O thread writes response bodies to their sinks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from cosxfer._native import wire
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.sink import BodySink
from cosxfer.errors import ProtocolError
from cosxfer.transport.request_body import body_views

AHEAD_BYTES = 2 * 1024 * 1024
"""How many bytes of a body that is read piece by piece may wait to be sent."""


def attach_body(exchange: wire.Exchange, request: HttpRequest) -> bool:
    """Pass the body to the exchange if it has an address. Returns whether it has; if not, call `feed`."""
    body = request.body
    if isinstance(body, bytes | bytearray | memoryview):
        view = body if isinstance(body, bytes) else memoryview(body).cast("B")
        check_length(request, len(view))
        if len(view):
            exchange.set_body(view)
        exchange.no_more()
        return True
    mapped: Callable[[], memoryview | None] | None = getattr(body, "mapped", None)
    part = None if mapped is None else mapped()
    if part is None:
        return False
    check_length(request, len(part))
    if len(part):
        place: Callable[[], tuple[int, int]] | None = getattr(body, "place", None)
        fd, offset = (-1, 0) if place is None else place()
        exchange.set_body(part, mapped=True, fd=fd, offset=offset)
    exchange.no_more()
    return True


async def feed(io_thread: wire.IoThread, exchange: wire.Exchange, request: HttpRequest, room: asyncio.Event) -> None:
    """Read the body and feed it piece by piece. ``room`` is set when the body is wanted and when some was sent."""
    total, expected = 0, request.content_length
    # HTTP/2 never asks for a body that was announced as empty. Read it to check that it is empty.
    if expected != 0 and not await _is_wanted(exchange, room):
        return
    async for view in body_views(request.body):
        total += len(view)
        if expected is not None and total > expected:
            check_length(request, total)
        io_thread.feed(exchange, view)
        while exchange.fed_bytes > AHEAD_BYTES and not exchange.done:
            room.clear()
            await room.wait()
        if exchange.done:
            return  # the request has ended; to read on would block the event loop until the end of the body
    check_length(request, total)
    io_thread.feed_end(exchange)


async def _is_wanted(exchange: wire.Exchange, room: asyncio.Event) -> bool:
    """Wait until the connection takes the body. Until then, a body that can be read once can be sent again."""
    await room.wait()
    return not exchange.done


def check_length(request: HttpRequest, length: int) -> None:
    """Raise `ProtocolError` if the body has another length than was announced."""
    if request.content_length is not None and length != request.content_length:
        raise ProtocolError(
            f"{request.method} {request.url}: the body is not the {request.content_length} bytes that were announced",
            url=request.url,
        )


def used_later(thread: wire.IoThread | None, exchange: wire.Exchange, count: int, room: Awaitable[None] | None) -> bool:
    """Read on when ``room`` is done, if that is given; returns whether it is."""
    if room is None or thread is None:
        return False
    asyncio.ensure_future(room).add_done_callback(lambda _: thread.used(exchange, count))
    return True


def attach_sink(exchange: wire.Exchange, sink: BodySink) -> None:
    """Let the I/O thread write the response body to ``sink``, after the bytes that are there."""
    sink.accepted = False
    exchange.receive(
        first=sink.first,
        length=sink.length,
        ranged=sink.ranged,
        shorter=sink.shorter,
        etag=sink.etag,
        memory=sink.memory,
        fd=sink.fd,
        offset=sink.offset,
        sparse=sink.take_sparse(),
        received=sink.received,
        crc64=sink.crc64,
    )


def take_received(exchange: wire.Exchange, sink: BodySink) -> None:
    """Note in ``sink`` what the I/O thread has written."""
    sink.accepted, sink.received, sink.crc64 = exchange.accepted, exchange.received, exchange.crc64
