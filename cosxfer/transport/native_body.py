"""The bodies of requests on their way into the native transport.

Bytes in memory and parts of a mapped file are handed over whole, by address, for the I/O thread to send. Anything else
is read piece by piece, a bounded way ahead of the sending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cosxfer._native import wire
from cosxfer.cos.requests import HttpRequest
from cosxfer.errors import ProtocolError
from cosxfer.transport.request_body import body_views

AHEAD_BYTES = 2 * 1024 * 1024
"""What may wait to be sent of a body that is read piece by piece."""


def attach_body(exchange: wire.Exchange, request: HttpRequest) -> bool:
    """Hand the body over if it has an address; returns whether it did. Otherwise `feed` is to be called."""
    body = request.body
    if isinstance(body, bytes | bytearray | memoryview):
        view = body if isinstance(body, bytes) else memoryview(body).cast("B")
        _check_length(request, len(view))
        if len(view):
            exchange.set_body(view)
        exchange.no_more()
        return True
    mapped: Callable[[], memoryview | None] | None = getattr(body, "mapped", None)
    part = None if mapped is None else mapped()
    if part is None:
        return False
    _check_length(request, len(part))
    if len(part):
        exchange.set_body(part, mapped=True)
    exchange.no_more()
    return True


async def feed(io_thread: wire.IoThread, exchange: wire.Exchange, request: HttpRequest, room: asyncio.Event) -> None:
    """Read the body and hand it over as it is sent; ``room`` is set when it is wanted and when some of it is out."""
    total, expected = 0, request.content_length
    # HTTP/2 never asks for a body that was announced as empty; that it is shows when it is read.
    if expected != 0 and not await _is_wanted(exchange, room):
        return
    async for view in body_views(request.body):
        total += len(view)
        if expected is not None and total > expected:
            _check_length(request, total)
        io_thread.feed(exchange, view)
        while exchange.fed_bytes > AHEAD_BYTES and not exchange.done:
            room.clear()
            await room.wait()
        if exchange.done:
            return  # nobody takes more of it; reading on would hold the event loop until the body's end
    _check_length(request, total)
    io_thread.feed_end(exchange)


async def _is_wanted(exchange: wire.Exchange, room: asyncio.Event) -> bool:
    """The body is not begun before the connection takes it: what can be read only once can be sent again until then."""
    await room.wait()
    return not exchange.done


def _check_length(request: HttpRequest, length: int) -> None:
    if request.content_length is not None and length != request.content_length:
        raise ProtocolError(
            f"{request.method} {request.url}: the body is not the {request.content_length} bytes that were announced",
            url=request.url,
        )
