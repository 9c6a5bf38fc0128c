"""Reads the response bodies of the httpx transport: into their place, piece by piece, or into memory."""

from __future__ import annotations

import asyncio

import httpx

from cosxfer.cos.headers import decode_headers
from cosxfer.cos.requests import HttpRequest
from cosxfer.errors import ProtocolError
from cosxfer.transport.base import MAX_RESPONSE_BYTES
from cosxfer.transport.pace import Pace
from cosxfer.transport.progress import Progress
from cosxfer.transport.sink_writer import SinkWriter


async def read_body(response: httpx.Response, request: HttpRequest, progress: Progress, pace: Pace | None) -> bytes:
    """Read the body, and return it unless the request has a place for it or a function that takes it.

    ``pace`` limits the rate of what has such a place: the content of objects. Raises `ProtocolError`."""
    if request.sink is not None and 200 <= response.status_code < 300:
        writer = SinkWriter(request.sink, request.on_sent)
        if writer.accept(response.status_code, decode_headers(response.headers.raw)):
            async for chunk in response.aiter_raw():
                progress.moved(len(chunk))
                with progress.waits_for_us():
                    await writer.write(chunk, request.url)
                    if pace is not None:
                        await pace.wait(len(chunk))  # the server cannot send more than fits into the buffers meanwhile
            with progress.waits_for_us():
                await writer.finish(request.url)
        return b""
    if request.on_body is not None and 200 <= response.status_code < 300:
        async for chunk in response.aiter_raw():
            progress.moved(len(chunk))
            if (room := request.on_body(chunk)) is not None:
                await asyncio.wait([asyncio.ensure_future(room)])
            if pace is not None:
                with progress.waits_for_us():
                    await pace.wait(len(chunk))
        return b""
    pieces: list[bytes] = []
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        progress.moved(len(chunk))
        if size > MAX_RESPONSE_BYTES:
            raise ProtocolError(
                f"the response from {request.url} is longer than {MAX_RESPONSE_BYTES} bytes; it cannot be COS's",
                url=request.url,
            )
        pieces.append(chunk)
    return b"".join(pieces)
