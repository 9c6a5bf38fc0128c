"""A transport without a network, for tests: a function returns the responses, and the requests are recorded."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import field

from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.records import dataclass
from cosxfer.transport.request_body import body_views
from cosxfer.transport.sink_writer import SinkWriter

Handler = Callable[[HttpRequest, bytes], "HttpResponse | Awaitable[HttpResponse]"]


@dataclass
class MemoryTransport:
    """Returns or raises what ``handler(request, body)`` returns or raises."""

    handler: Handler
    requests: list[HttpRequest] = field(default_factory=list)
    closed: bool = False

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        body = await collect(request)
        result = self.handler(request, body)
        response = await result if inspect.isawaitable(result) else result
        if request.sink is not None and 200 <= response.status < 300:
            writer = SinkWriter(request.sink, request.on_sent)
            if writer.accept(response.status, {"content-length": str(len(response.body)), **response.headers}):
                await writer.write(response.body, request.url)
                await writer.finish(request.url)
            return HttpResponse(status=response.status, headers=response.headers)
        if request.on_body is not None and 200 <= response.status < 300:
            if (room := request.on_body(response.body)) is not None:
                await asyncio.wait([asyncio.ensure_future(room)])
            return HttpResponse(status=response.status, headers=response.headers)
        return response

    async def aclose(self) -> None:
        self.closed = True


async def collect(request: HttpRequest) -> bytes:
    """Read the body of ``request`` as a transport does, and report the bytes to ``on_sent``."""
    pieces: list[bytes] = []
    async for view in body_views(request.body):
        pieces.append(bytes(view))
        if request.on_sent is not None:
            request.on_sent(len(view))
    return b"".join(pieces)
