"""HTTP/1.1 with COS's spelling of header names.

granian sends every name in lower case, which HTTP allows. But cos-python-sdk-v5 returns headers as a plain dictionary,
and its users (and its own ``download_file``) look for ``ETag`` and ``Content-Length``. So this module serves HTTP/1.1
with h11, which httpx depends on.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import h11

from cosxfer.limits import MIB
from cosxfer.server.framing import RequestFraming
from cosxfer.server.http import ClientGone

App = Callable[..., Awaitable[None]]

_READ_BYTES = 1 * MIB
_HEAD_SECONDS = 60.0
"""How long a head may take after its first byte. Before that, a connection may be idle without limit."""
_BODY_SECONDS = 120.0
"""How long a client may pause while it sends or reads a body."""
_SPELT = {
    b"etag": b"ETag",
    b"content-md5": b"Content-MD5",
    b"x-cos-server-side-encryption-customer-key-md5": b"x-cos-server-side-encryption-customer-key-MD5",
}


def spell(name: bytes) -> bytes:
    """Return ``content-length`` as ``Content-Length``. ``x-cos-…`` stays unchanged."""
    return _SPELT.get(name) or (name if name.startswith(b"x-") else name.title())


async def speak_http1(
    app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, client: tuple[str, int], scheme: str
) -> None:
    """Serve one connection until either side ends it."""
    connection = _Connection(app, reader, writer, client, scheme)
    try:
        while await connection.serve_one():
            pass
    except (ClientGone, ConnectionError, ssl.SSLError, h11.LocalProtocolError):
        # The client is gone, or the response was cut on purpose.
        writer.transport.abort()
    finally:
        writer.close()


class _Connection:
    def __init__(
        self,
        app: App,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: tuple[str, int],
        scheme: str,
    ) -> None:
        self._app = app
        self._reader = reader
        self._writer = writer
        self._client = client
        self._scheme = scheme
        self._h11 = h11.Connection(h11.SERVER)
        self._framing = RequestFraming()
        self._malformed: h11.RemoteProtocolError | None = None

    async def serve_one(self) -> bool:
        """Serve one request. Return whether the connection can carry another one."""
        try:
            event = await self._next_head()
        except h11.RemoteProtocolError as error:
            await self._refuse(error.error_status_hint)
            return False
        except TimeoutError:
            await self._refuse(HTTPStatus.REQUEST_TIMEOUT)
            return False
        if not isinstance(event, h11.Request):
            return False
        await self._app(self._scope(event), self._receive, self._send)
        if self._h11.our_state is h11.MUST_CLOSE:
            # The client sends no further request. Data that it has not read is still sent.
            return False
        if self._malformed is not None and self._h11.our_state is h11.SEND_RESPONSE:
            await self._refuse(self._malformed.error_status_hint)
            return False
        if self._h11.our_state is not h11.DONE:
            # The application sent no response, or part of one, on purpose.
            self._writer.transport.abort()
            return False
        if not self._request_is_over():
            return False
        self._h11.start_next_cycle()
        self._framing.next_request()
        return True

    def _request_is_over(self) -> bool:
        """Whether the whole request has been read. For a request without a body, h11 still has to report its end."""
        if self._h11.their_state is h11.SEND_BODY:
            try:
                self._h11.next_event()
            except h11.RemoteProtocolError:
                return False
        return self._h11.their_state is h11.DONE

    def _scope(self, request: h11.Request) -> Mapping[str, Any]:
        target = request.target
        if not target.startswith(b"/"):
            # The absolute form, as for a proxy. Its host equals the Host header.
            rest = target.partition(b"://")[2]
            authority = re.split(rb"[/?]", rest, maxsplit=1)[0]
            target = b"/" + rest[len(authority) :].removeprefix(b"/")
        path, _, query = target.partition(b"?")
        return {
            "type": "http",
            "http_version": request.http_version.decode(),
            "method": request.method.decode(),
            "scheme": self._scheme,
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "headers": list(request.headers),
            "client": self._client,
        }

    async def _receive(self) -> dict[str, Any]:
        if self._h11.they_are_waiting_for_100_continue:
            await self._write(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
        try:
            event = await self._next_event(timeout_seconds=_BODY_SECONDS)
        except h11.RemoteProtocolError as error:
            self._malformed = error
            return {"type": "http.disconnect"}
        except (ConnectionError, ssl.SSLError, TimeoutError):
            return {"type": "http.disconnect"}
        if isinstance(event, h11.Data):
            return {"type": "http.request", "body": bytes(event.data), "more_body": True}
        if isinstance(event, h11.EndOfMessage):
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.disconnect"}

    async def _next_head(self) -> Any:
        if not self._framing.has_input:
            await self._read(timeout_seconds=None)
        async with asyncio.timeout(_HEAD_SECONDS):
            return await self._next_event(timeout_seconds=None)

    async def _next_event(self, *, timeout_seconds: float | None) -> Any:
        while True:
            if passed := self._framing.take():
                self._h11.receive_data(passed)
            if (event := self._h11.next_event()) is not h11.NEED_DATA:
                return event
            await self._read(timeout_seconds=timeout_seconds)

    async def _read(self, *, timeout_seconds: float | None) -> None:
        async with asyncio.timeout(timeout_seconds):
            data = await self._reader.read(_READ_BYTES)
        if data:
            self._framing.feed(data)
        else:
            self._framing.end_of_input()
            self._h11.receive_data(b"")

    async def _send(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = [(spell(name), value) for name, value in message["headers"]]
            await self._write(
                h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase.encode())
            )
            return
        if message["body"]:
            await self._write(h11.Data(data=message["body"]))
        if not message.get("more_body", False):
            await self._write(h11.EndOfMessage())

    async def _write(self, event: Any) -> None:
        data = self._h11.send(event)
        if data:
            self._writer.write(data)
            try:
                await self._taken()
            except (ConnectionError, ssl.SSLError) as error:
                raise ClientGone from error

    async def _taken(self) -> None:
        """Wait until the client has read most of the buffer. A client that reads nothing for long counts as gone."""
        transport = self._writer.transport
        while True:
            waiting = transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(_BODY_SECONDS):
                    return await self._writer.drain()
            except TimeoutError:
                if transport.get_write_buffer_size() >= waiting:
                    raise ClientGone from None

    async def _refuse(self, status: int) -> None:
        """Send an error status for malformed HTTP, unless a response was already sent."""
        if self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers = [("Content-Length", "0"), ("Connection", "close")]
            reason = HTTPStatus(status).phrase.encode()
            await self._write(h11.Response(status_code=status, headers=headers, reason=reason))
            await self._write(h11.EndOfMessage())
