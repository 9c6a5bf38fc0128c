"""Servers that a test scripts byte by byte, and requests to send to them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, ParamSpec

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings

from cosxfer.config import ClientConfig, HttpVersion
from cosxfer.cos.endpoint import resolve_endpoint
from cosxfer.cos.requests import HttpRequest
from cosxfer.transport.base import Transport
from cosxfer.transport.httpx import HttpxTransport
from cosxfer.transport.native import NativeTransport

P = ParamSpec("P")


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a coroutine function as a test."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

Serve = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The server's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number
        """The number of the connection, from 0."""

    async def head(self) -> bytes:
        """Read the head of the next request."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def body(self, length: int) -> bytes:
        return await self.reader.readexactly(length)

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def secure(self, context: ssl.SSLContext) -> None:
        """Make the server's side of the TLS handshake."""
        transport = self.writer.transport
        try:
            await self.writer.start_tls(context)
        except BaseException:
            transport.abort()  # asyncio does not close it after a failed handshake
            raise

    def reset(self) -> None:
        """Close the connection with a RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def until(condition: Callable[[], object]) -> None:
    """Poll until a condition holds. Only the timeout of the test limits the wait."""
    while not condition():  # noqa: ASYNC110 # there is no event
        await asyncio.sleep(0.001)


class Server:
    def __init__(self, port: int, *, scheme: str = "http") -> None:
        self.port = port
        self.scheme = scheme
        self.connections = 0

    def request(self, method: str = "PUT", body: Any = b"", **more: Any) -> HttpRequest:
        endpoint = resolve_endpoint(
            f"{self.scheme}://127.0.0.1:{self.port}", bucket="examplebucket-1250000000", region=None
        )
        length = more.pop("content_length", len(body) if isinstance(body, bytes | memoryview) else None)
        headers: Mapping[str, str] = more.pop("headers", {})
        named = {"host": endpoint.authority, **headers}
        if length is not None and (length or method == "PUT"):
            named["content-length"] = str(length)
        fields: dict[str, Any] = {
            "method": method,
            "endpoint": endpoint,
            "target": "/object",
            "headers": named,
            "body": body,
            "content_length": length,
            "stall_timeout_seconds": 20.0,
        }
        return HttpRequest(**{**fields, **more})


@contextlib.asynccontextmanager
async def serving(serve: Serve, *, scheme: str = "http") -> AsyncIterator[Server]:
    """A server on a free port that runs ``serve`` for each connection. For TLS, ``serve`` calls `Peer.secure` first."""
    running: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer, server.connections)
        server.connections += 1
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            await serve(peer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has closed the connection
        except asyncio.CancelledError:
            writer.transport.abort()  # the test is over: close() would first send the rest
        finally:
            running.discard(task)
            with contextlib.suppress(OSError):
                writer.close()

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, limit=1 << 20)
    server = Server(listener.sockets[0].getsockname()[1], scheme=scheme)
    try:
        yield server
    finally:
        listener.close()
        for _ in range(10):
            await asyncio.sleep(0)  # lets accepted connections get their tasks
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@contextlib.asynccontextmanager
async def native(version: HttpVersion = "1.1", **more: Any) -> AsyncIterator[NativeTransport]:
    transport = NativeTransport(ClientConfig(http_version=version, **more))
    try:
        yield transport
    finally:
        await transport.aclose()


TRANSPORTS: dict[str, Callable[[ClientConfig], Transport]] = {"native": NativeTransport, "httpx": HttpxTransport}


@contextlib.asynccontextmanager
async def sending(over: str, **settings: Any) -> AsyncIterator[Transport]:
    """One of `TRANSPORTS`, with HTTP/1.1 unless ``http_version`` is given."""
    transport = TRANSPORTS[over](ClientConfig(**{"http_version": "1.1", **settings}))
    try:
        yield transport
    finally:
        await transport.aclose()


class Http2Peer:
    """The server's side of HTTP/2 on a `Peer`, by the library h2."""

    def __init__(self, peer: Peer, settings: Mapping[int, int] | None = None) -> None:
        self.peer = peer
        self.http2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        given = dict(settings or {})
        streams = given.pop(SettingCodes.MAX_CONCURRENT_STREAMS, 100)
        first = {SettingCodes.MAX_CONCURRENT_STREAMS: streams}
        self.http2.local_settings = Settings(client=False, initial_values=first)  # type: ignore[arg-type]
        self.http2.initiate_connection()
        if given:
            # In a separate SETTINGS frame: h2 enforces a window only after the client has acknowledged it.
            self.http2.update_settings(given)  # type: ignore[arg-type]

    async def flush(self) -> None:
        await self.peer.say(self.http2.data_to_send())

    async def events(self) -> AsyncIterator[Any]:
        """The client's events, until it closes the connection."""
        await self.flush()
        while data := await self.peer.reader.read(65536):
            for event in self.http2.receive_data(data):
                yield event
            await self.flush()

    def answer(self, stream_id: int, status: int = 200, body: bytes = b"ok", *, end: bool = True) -> None:
        headers = [(":status", str(status)), ("content-length", str(len(body)))]
        self.http2.send_headers(stream_id, headers)
        self.http2.send_data(stream_id, body, end_stream=end)
