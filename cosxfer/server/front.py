"""Accepts every connection and chooses its server by the first bytes.

HTTP/1.1 is served here (`cosxfer.server.http1` says why). HTTP/2 is relayed to granian, which listens on another
loopback port. With `--discard`, granian listens on the public port and this module is not used.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from cosxfer.loopback import do_not_pace
from cosxfer.server.client_hello import LONGEST_RECORD, is_whole, offered_protocols
from cosxfer.server.http1 import App, speak_http1
from cosxfer.server.patience import Patience
from cosxfer.server.relay import relay
from cosxfer.server.tls import Certificate

logger = logging.getLogger("cosxfer.server")

_H2C_PREFACE = b"PRI "
_BUFFER_BYTES = 1 << 20
_POLL_SECONDS = (0.005, 0.5)
"""First and longest pause before incomplete first bytes are examined again. Many slow connections must cost little."""
_ACCEPT_PAUSE_SECONDS = 0.1
_LINGER_SECONDS = 5.0
_FIRST_BYTES_SECONDS = 60.0
"""How long a new connection may stay silent."""


class Front:
    def __init__(
        self,
        listener: socket.socket,
        app: App,
        patience: Patience,
        *,
        behind: tuple[str, int],
        certificate: Certificate | None,
    ) -> None:
        """``behind`` is granian's address; it serves ``patience``, which stands before ``app``."""
        self._listener = listener
        self._app = app
        self._patience = patience
        self._behind = behind
        self._tls = None if certificate is None else _tls_context(certificate)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Accept connections until cancelled; then end them all."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    connection, client = await _accept(self._listener)
                except OSError as error:
                    # Probably no descriptor is free. Waiting connections are accepted when others have ended.
                    logger.warning("cannot accept a connection: %s", error.strerror or error)
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
                self._relay(connection, await self._connect())
            elif self._tls is not None and connection.recv(1, socket.MSG_PEEK).isalpha():
                await self._speak_http1(refuse_plain, connection, client, tls=None)
            else:
                await self._speak_http1(self._app, connection, client, tls=self._tls)
        except (OSError, TimeoutError, asyncio.CancelledError):
            connection.close()

    async def _is_http2(self, connection: socket.socket) -> bool:
        """Peek at the first bytes: the preface of HTTP/2, or its name in the TLS handshake."""
        pause, longest = _POLL_SECONDS
        while True:
            seen = await _peek(connection)
            if self._tls is None:
                if len(seen) >= len(_H2C_PREFACE) or not _H2C_PREFACE.startswith(seen) or not seen:
                    return seen.startswith(_H2C_PREFACE)
            elif is_whole(seen) or not seen:
                return b"h2" in offered_protocols(seen)
            # The socket stays readable, so there is no event for further bytes.
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    def _relay(self, connection: socket.socket, behind: socket.socket) -> None:
        loop = asyncio.get_running_loop()

        def ended() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(forget)

        # For granian the client is our end of the connection to it.
        forget = self._patience.watch(behind.getsockname()[:2], lambda: cut())
        cut = relay(connection, behind, ended)

    async def _connect(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        behind = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        behind.setblocking(False)
        try:
            do_not_pace(behind)
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
    """Refuse a request without TLS at a TLS port, with nginx's text, which clients recognise."""
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
            # A client that is still sending reads the response afterwards.
            while (await receive()).get("more_body"):
                pass


async def _accept(listener: socket.socket) -> tuple[socket.socket, tuple[Any, ...]]:
    """Wait for a connection, and return it and the client's address.

    ``loop.sock_accept`` loses a connection that comes while its caller is cancelled.
    """
    while True:
        try:
            connection, client = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            await _readable(listener)
        else:
            connection.setblocking(False)
            return connection, client


async def _peek(connection: socket.socket) -> bytes:
    """Wait for bytes and return them without consuming them; empty at the end of the connection."""
    await _readable(connection)
    return connection.recv(LONGEST_RECORD, socket.MSG_PEEK)


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    readable = loop.create_future()

    def wake() -> None:
        # Remove it at once, or it is called again until the bytes are consumed.
        loop.remove_reader(sock)
        if not readable.done():  # the server may be stopping
            readable.set_result(None)

    loop.add_reader(sock, wake)
    try:
        await readable
    finally:
        loop.remove_reader(sock)


def _tls_context(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    context.set_alpn_protocols(["http/1.1"])
    return context
