"""Takes every connection of the store's port, and sees from its first bytes who serves it.

HTTP/1.1 is served here (`cosxfer.server.http1` says why); HTTP/2 goes on to granian, which listens on a port of its own
on the loopback interface. `--discard` does without: there granian listens on the port itself.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from cosxfer.server.client_hello import LONGEST_RECORD, is_whole, offered_protocols
from cosxfer.server.http1 import App, speak_http1
from cosxfer.server.relay import relay
from cosxfer.server.tls import Certificate

logger = logging.getLogger("cosxfer.server")

_H2C_PREFACE = b"PRI "
_BUFFER_BYTES = 1 << 20
_POLL_SECONDS = (0.005, 0.5)
"""Between two looks at first bytes that are not enough: soon at first, then rarely, for many may be slow."""
_ACCEPT_PAUSE_SECONDS = 0.1
_LINGER_SECONDS = 5.0
_FIRST_BYTES_SECONDS = 60.0
"""How long a connection may stay silent at its beginning."""


class Front:
    def __init__(
        self, listener: socket.socket, app: App, *, behind: tuple[str, int], certificate: Certificate | None
    ) -> None:
        """``behind`` is granian's address."""
        self._listener = listener
        self._app = app
        self._behind = behind
        self._tls = None if certificate is None else _tls_context(certificate)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Accept until cancelled; then the connections end too."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    connection, client = await loop.sock_accept(self._listener)
                except OSError as error:
                    # No descriptor is free, most likely; those who wait are served when others have gone.
                    logger.warning("a connection cannot be accepted: %s", error.strerror or error)
                    await asyncio.sleep(_ACCEPT_PAUSE_SECONDS)
                    continue
                task = loop.create_task(self._serve(connection, client[:2]))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        finally:
            for task in self._tasks:
                task.cancel()

    async def _serve(self, connection: socket.socket, client: tuple[str, int]) -> None:
        try:
            async with asyncio.timeout(_FIRST_BYTES_SECONDS):
                http2 = await self._is_http2(connection)
            if http2:
                relay(connection, await self._connect())
            elif self._tls is not None and connection.recv(1, socket.MSG_PEEK).isalpha():
                await self._speak_http1(refuse_plain, connection, client, tls=None)
            else:
                await self._speak_http1(self._app, connection, client, tls=self._tls)
        except (OSError, TimeoutError, asyncio.CancelledError):
            connection.close()

    async def _is_http2(self, connection: socket.socket) -> bool:
        """Look at the first bytes without taking them: the preface of HTTP/2, or its name in the TLS handshake."""
        pause, longest = _POLL_SECONDS
        while True:
            seen = await _peek(connection)
            if self._tls is None:
                if len(seen) >= len(_H2C_PREFACE) or not _H2C_PREFACE.startswith(seen) or not seen:
                    return seen.startswith(_H2C_PREFACE)
            elif is_whole(seen) or not seen:
                return b"h2" in offered_protocols(seen)
            # What is there stays readable: there is no event for "more of it".
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    async def _connect(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        behind = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        behind.setblocking(False)
        try:
            await loop.sock_connect(behind, self._behind)
        except BaseException:
            behind.close()
            raise
        return behind

    @staticmethod
    async def _speak_http1(
        app: App, connection: socket.socket, client: tuple[str, int], *, tls: ssl.SSLContext | None
    ) -> None:
        loop = asyncio.get_running_loop()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = asyncio.StreamReader(limit=_BUFFER_BYTES, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        with suppress(ssl.SSLError):
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=tls)
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            await speak_http1(app, reader, writer, client=client, scheme="http" if tls is None else "https")


async def refuse_plain(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
    """Answer a request that came without TLS to a port for TLS, in the words of nginx, which clients know."""
    page = b"<html><body><h1>400 Bad Request</h1><p>The plain HTTP request was sent to HTTPS port</p></body></html>\r\n"
    headers = [
        (b"content-type", b"text/html"),
        (b"content-length", str(len(page)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": page})
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_SECONDS):
            # Who is still sending reads the answer last.
            while (await receive()).get("more_body"):
                pass


async def _peek(connection: socket.socket) -> bytes:
    """The bytes that wait, at least one; empty at the end of the connection."""
    loop = asyncio.get_running_loop()
    readable = loop.create_future()

    def wake() -> None:
        # Once: it would be called again as long as nothing is taken.
        loop.remove_reader(connection)
        readable.set_result(None)

    loop.add_reader(connection, wake)
    try:
        await readable
    finally:
        loop.remove_reader(connection)
    return connection.recv(LONGEST_RECORD, socket.MSG_PEEK)


def _tls_context(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    context.set_alpn_protocols(["http/1.1"])
    return context
