"""A request's body as the transports read it, whatever it is made of."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator

from cosxfer.cos.requests import Body


async def views(body: Body) -> AsyncIterator[memoryview]:
    """The body's buffers, one after another, as views of bytes."""
    if isinstance(body, bytes | bytearray | memoryview):
        yield memoryview(body).cast("B")
    elif isinstance(body, AsyncIterable):
        async for piece in body:
            yield memoryview(piece).cast("B")
    else:
        for piece in body:
            yield memoryview(piece).cast("B")
