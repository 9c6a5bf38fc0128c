"""Reads the body of a request, of any kind, for the transports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from functools import partial

from cosxfer.cos.requests import Body, Buffer
from cosxfer.threads import in_thread, settled

_END = object()


async def body_views(body: Body) -> AsyncIterator[memoryview]:
    """Yield the body's buffers in order, as views of bytes."""
    if isinstance(body, bytes | bytearray | memoryview):
        yield memoryview(body).cast("B")
    elif isinstance(body, AsyncIterable):
        async for piece in body:
            yield memoryview(piece).cast("B")
    elif hasattr(body, "mapped") and body.mapped() is not None:
        for piece in body:
            yield memoryview(piece).cast("B")
    else:
        async for piece in _in_a_thread(iter(body)):
            yield memoryview(piece).cast("B")


async def _in_a_thread(pieces: Iterator[Buffer]) -> AsyncIterator[Buffer]:
    """Read the pieces in a thread, because reading a file may block the event loop."""
    while True:
        step = in_thread(None, partial(next, pieces, _END))
        try:
            found = await asyncio.shield(step)
        except asyncio.CancelledError:
            # The thread continues, and the next attempt reads the same file object.
            await settled(step)
            raise
        if found is _END:
            return
        yield found
